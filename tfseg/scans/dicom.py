"""DICOM files: a picture, the frames of a clip, or the slices of a series, as the scanner meant them to be seen.

Of a file no more is read than its pixels, how they are coded and shown, and where they lie: nothing here, and nothing
written from it, knows a patient's name or number.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from tfseg.errors import InputError
from tfseg.scans.kinds import is_dicom, stem
from tfseg.scans.stack import Window, scaled

_SHOWN = ("PixelValueTransformationSequence", "FrameVOILUTSequence")  # of one frame of an enhanced file


class Scan:
    """The frames of one DICOM file, or of the files of one series, in the order of space; see tfseg.scans.stack.Stack.

    Attributes:
        files: in that order.
        headers: all of each file but its pixels.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the headers.

        Raises:
            InputError: a file is no DICOM, holds no pixels, is coded in a way that nobody here can decode, or differs
                in size from the others.
        """
        pairs = sorted(((path, _header(path)) for path in files), key=lambda pair: _place(*pair))
        self.files, self.headers = [path for path, _ in pairs], [header for _, header in pairs]
        self._frames = [(k, frame) for k, header in enumerate(self.headers) for frame in range(_frame_count(header))]
        sizes = {(int(header.Rows), int(header.Columns)): path for path, header in pairs}
        if len(sizes) > 1:
            (first, one), (second, other) = list(sizes.items())[:2]
            raise InputError(
                f"{other}: {second[1]}x{second[0]} pixels, and {one.name} of the same series {first[1]}x{first[0]}; "
                "predict them one by one"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W): frames or slices, rows, columns."""
        return len(self._frames), int(self.headers[0].Rows), int(self.headers[0].Columns)

    @property
    def is_volume(self) -> bool:
        """Whether its frames are slices of one body, and not moments of one clip, or a picture."""
        return len(self) > 1 and (len(self.files) > 1 or "PerFrameFunctionalGroupsSequence" in self.headers[0])

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """(slice, row, column) distance in mm, of a series of slices whose headers say it."""
        header, places = self.headers[0], [_along(header) for header in self.headers]
        if "PixelSpacing" not in header or None in places or len(places) < 2:
            return None
        steps = np.abs(np.diff([place for place in places if place is not None]))
        return float(np.median(steps)), float(header.PixelSpacing[0]), float(header.PixelSpacing[1])

    def read(self, index: int, *, window: Window | None) -> np.ndarray:
        """Return one frame, float32 (H, W, 1) or (H, W, 3) in [0, 1]; see Stack.read.

        Grey values pass the file's rescale, then `window`, or the file's own window or look-up table, or the whole
        range that its bits can hold. MONOCHROME1, where white is low, is turned over; YBR and palettes become RGB.
        """
        number, frame = self._frames[index]
        path, header = self.files[number], self.headers[number]
        try:
            values = pixel_array(path, index=frame)
            return _shown(values, header, frame, window)
        except (NotImplementedError, RuntimeError, AttributeError, ValueError, TypeError, IndexError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: the pixels of frame {frame} cannot be decoded ({reason})") from error

    def close(self) -> None:
        """Do nothing: no file stays open."""


def scans_in(folder: Path) -> dict[str, Scan]:
    """Return the scans in a folder by a name for their outputs: each series of slices, and each clip alone.

    Raises:
        InputError: as of Scan.
    """
    slices: dict[str, list[Path]] = {}
    scans: dict[str, Scan] = {}
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    for path in sorted(found):
        if is_dicom(path):
            header = _header(path)
            alone = _frame_count(header) > 1 or "ImagePositionPatient" not in header
            key = str(path) if alone else str(header.get("SeriesInstanceUID", path.parent))
            slices.setdefault(key, []).append(path)
    for number, paths in enumerate(slices.values(), 1):
        name = f"series-{number}" if len(paths) > 1 else neutral_name(paths[0], number)
        scans[f"{name}-{number}" if name in scans else name] = Scan(paths)
    return scans


def neutral_name(path: Path, number: int) -> str:
    """Return a file's name without its suffix, or "scan-NUMBER" where it holds a part of the patient's name or id."""
    header = dcmread(path, specific_tags=["PatientName", "PatientID", "OtherPatientIDs"], stop_before_pixels=True)
    said = [str(value) for value in (header.get("PatientName", ""), header.get("PatientID", ""))]
    parts = [part for text in said for part in text.replace("^", " ").replace("=", " ").lower().split()]
    name = stem(path)
    return f"scan-{number}" if any(len(part) > 1 and part in name.lower() for part in parts) else name


def _header(path: Path) -> Dataset:
    try:
        header = dcmread(path, defer_size=4096)
    except InvalidDicomError as error:
        raise InputError(f"{path}: not a DICOM file") from error
    except (OSError, EOFError, ValueError, AttributeError, KeyError, NotImplementedError) as error:
        raise InputError(f"{path}: damaged DICOM file ({' '.join(str(error).split())[:200]})") from error
    if "PixelData" not in header or "Rows" not in header or "Columns" not in header:
        raise InputError(f"{path}: this DICOM file holds no image (a report, a plan or a directory); leave it out")
    syntax = UID(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else UID("")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(
            f"{path}: its pixels are coded in transfer syntax {syntax.name or 'unknown'}, which nothing here decodes; "
            "convert it, for example with dcmdjpeg or gdcmconv --raw"
        ) from error
    if not decoder.is_available:
        raise InputError(
            f"{path}: its pixels are coded as {syntax.name}, for which no decoder is installed; "
            "say `pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`, or convert it with gdcmconv --raw"
        )
    del header.PixelData  # every frame is read from the file when it is wanted
    return header


def _frame_count(header: Dataset) -> int:
    return int(header.get("NumberOfFrames", 1) or 1)


def _place(path: Path, header: Dataset) -> tuple[float, int, str]:
    """Sort key: from the feet up, else by number, else by name."""
    along = _along(header)
    return (0.0 if along is None else along), int(header.get("InstanceNumber", 0) or 0), str(path)


def _along(header: Dataset) -> float | None:
    """How far up a slice lies along the normal of its plane, in mm; up is towards the head, the left or the back."""
    position, axes = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if not position or not axes:
        return None
    normal = np.cross(np.asarray(axes[:3], float), np.asarray(axes[3:], float))
    normal *= np.sign(normal[np.abs(normal).argmax()]) or 1
    return float(normal @ np.asarray(position, float))


def _shown(values: np.ndarray, header: Dataset, frame: int, window: Window | None) -> np.ndarray:
    """Turn stored values (H, W) or (H, W, 3) into what is to be seen, (H, W, 1 or 3) in [0, 1]."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        bits = header.RedPaletteColorLookupTableDescriptor[2]
        return scaled(apply_color_lut(values, header), (0, 2**bits - 1))
    if values.ndim == 3:
        return scaled(values, (0, 2 ** int(header.BitsStored) - 1))
    shown = _of_frame(header, frame)
    measured = apply_modality_lut(values, shown)
    if window is not None:
        return scaled(measured, window)[..., None]
    if shown.get("VOILUTSequence"):
        grey = scaled(apply_voi(measured, shown), (0, 2 ** int(shown.VOILUTSequence[0].LUTDescriptor[2]) - 1))
    else:
        grey = scaled(measured, _window(shown) or _full_range(shown))
    return (1 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey)[..., None]


def _of_frame(header: Dataset, frame: int) -> Dataset:
    """Return how one frame is to be shown: an enhanced file says so in its functional groups, others at the top."""
    groups: list[Any] = [*header.get("SharedFunctionalGroupsSequence", [])]
    groups += header.get("PerFrameFunctionalGroupsSequence", [])[frame : frame + 1]
    items = [item for group in groups for name in _SHOWN for item in group.get(name, [])]
    if not items:
        return header
    shown = Dataset()
    for item in (header, *items):
        for name in ("BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"):
            if name in item:
                setattr(shown, name, item[name].value)
        for name in ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence"):
            if name in item:
                setattr(shown, name, item[name].value)
    return shown


def _window(shown: Dataset) -> Window | None:
    """Return the values that become 0 and 1 (DICOM PS3.3 C.11.2.1.2): the first window where there are several."""
    centre, width = (_first(shown.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    if shown.get("VOILUTFunction", "LINEAR") == "LINEAR":
        if width <= 1:
            return None
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return centre - width / 2, centre + width / 2  # LINEAR_EXACT, and of SIGMOID the slope in its middle


def _full_range(shown: Dataset) -> Window:
    """Return the lowest and the highest value that the stored bits can hold, rescaled."""
    bits = int(shown.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if int(shown.PixelRepresentation) else (0, 2**bits - 1)
    slope, base = float(shown.get("RescaleSlope", 1) or 1), float(shown.get("RescaleIntercept", 0) or 0)
    ends = sorted((low * slope + base, high * slope + base))
    return ends[0], ends[1]


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, MultiValue) else value)
