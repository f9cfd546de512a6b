"""DICOM files as scanners write them, with a patient who must not be found again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import tfseg.scans.video  # noqa: F401 - FFmpeg is told once how much to say, before any test opens a video


@pytest.fixture(scope="session")
def write_dicom():
    """Write one DICOM file."""

    def write(path: Path, pixels: np.ndarray, *, sop_class: str = CTImageStorage, **more: Any) -> Path:
        """Write `pixels`, (H, W), (H, W, 3) or, with NumberOfFrames, (D, H, W) or (D, H, W, 3)."""
        colour = pixels.shape[-1] == 3
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID, file.SOPInstanceUID = sop_class, generate_uid()
        file.StudyInstanceUID, file.SeriesInstanceUID = (
            generate_uid(entropy_srcs=["1"]),
            generate_uid(entropy_srcs=["2"]),
        )
        file.PatientName, file.PatientID, file.PatientBirthDate = "Doelittle^Jane", "4711-0815", "19700101"
        file.ReferringPhysicianName, file.InstitutionName, file.StudyDate = "Housing^Greg", "Plainsboro", "20260102"
        file.AccessionNumber, file.PatientSex, file.Modality = "ACC99", "F", "CT"
        file.Rows, file.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        file.SamplesPerPixel, file.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
        if colour:
            file.PlanarConfiguration = 0
        file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
        file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(pixels.dtype.kind == "i")
        for name, value in more.items():
            setattr(file, name, value)
        file.PixelData = pixels.tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        file.save_as(path, enforce_file_format=True)
        return path

    return write
