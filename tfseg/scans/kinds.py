"""What kind of file something is, told without the libraries that read it."""

from pathlib import Path

VOLUMES = (".nii", ".nii.gz")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm")
_DICOM = (".dcm", ".dicom", ".ima")


def is_volume(path: Path) -> bool:
    """Tell by its name whether a file is a NIfTI volume."""
    return path.name.lower().endswith(VOLUMES)


def is_video(path: Path) -> bool:
    """Tell by its name whether a file is a video."""
    return path.suffix.lower() in VIDEOS


def is_dicom(path: Path) -> bool:
    """Tell by its name or its first bytes whether a file is DICOM: many scanners write names without a suffix."""
    if path.suffix.lower() in _DICOM:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def stem(path: Path) -> str:
    """Return a file's name without what says its kind.

    >>> stem(Path("ct/volume-0.nii.gz")), stem(Path("IM000001.dcm")), stem(Path("1.2.840.113619"))
    ('volume-0', 'IM000001', '1.2.840.113619')
    """
    known = (*reversed(VOLUMES), *VIDEOS, *_DICOM)
    ending = next((ending for ending in known if path.name.lower().endswith(ending)), "")
    return path.name[: len(path.name) - len(ending)]
