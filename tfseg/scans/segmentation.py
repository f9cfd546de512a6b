"""DICOM Segmentation objects: a mask that viewers lay over the images it was made from, without a patient's name.

What is taken over from the images is listed here, and nothing else is: the identifiers (UIDs) of study, series, images
and frame of reference, without which no viewer finds the images, and size and place of the pixels. An archive that
holds the images can tell from the identifiers whose they are; nobody else can. Patient, birth date, sex, dates,
physicians, institution and accession number stay behind: PatientID reads "ANONYMOUS".
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.uid import UID, UltrasoundImageStorage, generate_uid

from tfseg import __version__
from tfseg.errors import InputError
from tfseg.runs import replacing

_KEPT = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices"),
)
_PLACE = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PLACES = ("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence")
_NAME = "ANONYMOUS"
_STACK_POSITION, _FRAME_CONTENT = 0x00209057, 0x00209111


def write_segmentation(
    mask: np.ndarray, headers: Sequence[Dataset], path: Path, *, classes: Sequence[str], network: str
) -> Path:
    """Write a mask as one DICOM Segmentation object and return `path`.

    Args:
        mask: uint8 (D, H, W, K), 0 or 1, a frame or slice each.
        headers: of the files it was made from, in the order of the slices; one for all frames of a clip.
        path: where it goes.
        classes: a segment each.
        network: the name of what drew it.

    Raises:
        InputError: the slices of a series do not say where they lie.
    """
    sources = [_nameless(header) for header in headers]
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=network or "network", family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segments = [
        SegmentDescription(
            segment_number=k,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=highdicom.sr.CodedConcept(name, "99TFSEG", name),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for k, name in enumerate(classes, 1)
    ]
    enhanced = _GROUPS[1] in sources[0]
    clip = len(headers) == 1 and len(mask) > 1 and not enhanced
    if clip:
        del sources[0].NumberOfFrames  # to begin with, its first frame
    if len(sources) > 1:
        _complete(sources, path)
    elif clip or not (enhanced or _says(sources[0], "FrameOfReferenceUID", "SliceThickness", *_PLACE)):
        sources[0].SOPClassUID = UltrasoundImageStorage  # which needs no place in the patient; `_refer` names its own
        for name in ("FrameOfReferenceUID", *_PLACE):
            sources[0].pop(name, None)
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=mask[:1] if clip else mask,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=900,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="tfseg",
        manufacturer_model_name=network or "network",
        software_versions=__version__,
        device_serial_number="0",
        series_description="tfseg",
        content_label="TFSEG",
        omit_empty_frames=not clip and bool(mask.any()),
    )
    if clip:
        _spread(segmentation, mask)
    if len(headers) == 1:
        _refer(segmentation, headers[0].SOPClassUID)
    with replacing(path) as temporary:
        segmentation.save_as(temporary)
    return path


def _says(header: Dataset, *names: str) -> bool:
    return all(name in header and header[name].value not in (None, "") for name in names)


def _complete(slices: Sequence[Dataset], path: Path) -> None:
    """Add what a series may leave out and its slices tell: their common frame of reference, and how thick they are."""
    for header in slices:
        if not _says(header, *_PLACE):
            missing = next(name for name in _PLACE if not _says(header, name))
            raise InputError(f"{path.name}: a slice has no {missing}, so nobody can tell where its mask belongs")
        if not _says(header, "FrameOfReferenceUID"):
            header.FrameOfReferenceUID = generate_uid(entropy_srcs=[header.SeriesInstanceUID])
        if not _says(header, "SliceThickness"):
            first, second = (np.array(header.ImagePositionPatient, float) for header in slices[:2])
            header.SliceThickness = float(np.linalg.norm(second - first))


def _refer(segmentation: Dataset, sop_class: UID) -> None:
    """Say what kind of object the one file is that the segmentation was made from."""
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", []):
            for source in derivation.SourceImageSequence:
                source.ReferencedSOPClassUID = sop_class
    segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPClassUID = sop_class


def _spread(segmentation: Dataset, mask: np.ndarray) -> None:
    """Turn the segmentation of a clip's first frame into that of all frames that show something (of one, if none do).

    highdicom writes several frames only where each has a place in the patient, and those of a clip have none.
    """
    templates = list(segmentation.PerFrameFunctionalGroupsSequence)  # one a segment
    shown = [(k, frame) for k in range(mask.shape[-1]) for frame in np.flatnonzero(mask[..., k].any(axis=(1, 2)))]
    groups = []
    for k, frame in shown or [(0, 0)]:
        group = copy.deepcopy(templates[k])
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = int(frame) + 1
        content = group.FrameContentSequence[0]
        content.StackID, content.InStackPositionNumber = "1", int(frame) + 1
        content.DimensionIndexValues = [k + 1, int(frame) + 1]
        groups.append(group)
    index = copy.deepcopy(segmentation.DimensionIndexSequence[0])
    index.DimensionIndexPointer, index.FunctionalGroupPointer = _STACK_POSITION, _FRAME_CONTENT
    index.DimensionDescriptionLabel = "In-Stack Position Number"
    segmentation.DimensionIndexSequence.append(index)
    segmentation.PerFrameFunctionalGroupsSequence = groups
    segmentation.NumberOfFrames = len(groups)
    segmentation.SegmentsOverlap = "UNDEFINED"
    pixels = np.stack([mask[frame, ..., k] for k, frame in shown or [(0, 0)]])
    segmentation.PixelData = pack_bits(pixels, pad=True)


def _nameless(header: Dataset) -> Dataset:
    """Return a header that holds what a segmentation must refer to, and blanks where it would hold a patient."""
    kept = Dataset()
    for name in _KEPT:
        if name in header:
            setattr(kept, name, header[name].value)
    for name in _GROUPS:
        if name in header:
            setattr(kept, name, [_placed(group) for group in header[name].value])
    for name in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(kept, name, "")
    kept.PatientName, kept.PatientID = f"{_NAME}^", _NAME
    return kept


def _placed(group: Dataset) -> Dataset:
    """Return of a functional group what says where its frame lies."""
    kept = Dataset()
    for name in _PLACES:
        if name in group:
            setattr(kept, name, group[name].value)
    return kept
