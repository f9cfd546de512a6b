"""DICOM: what a file shows, in what order its slices lie, and what is refused."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID, RLELossless, UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

from tfseg.errors import InputError
from tfseg.scans.dicom import Scan, neutral_name, scans_in


def seen(path, *, window=None):
    return Scan([path]).read(0, window=window)[..., 0].ravel().tolist()


RAMP = np.array([[0, 50, 100, 200]], np.uint8)


def test_grey_bytes_fill_their_range(write_dicom, tmp_path):
    assert seen(write_dicom(tmp_path / "a.dcm", RAMP)) == pytest.approx([0, 50 / 255, 100 / 255, 200 / 255])
    inverted = write_dicom(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    assert seen(inverted) == pytest.approx([1, 205 / 255, 155 / 255, 55 / 255])


def test_twelve_of_sixteen_bits_are_full_scale(write_dicom, tmp_path):
    pixels = np.array([[0, 4095, 819, 2048]], np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, BitsStored=12, HighBit=11)
    assert seen(path) == pytest.approx([0, 1, 0.2, 2048 / 4095])


def test_a_window_is_that_of_the_standard(write_dicom, tmp_path):
    """Centre 100, width 101: PS3.3 C.11.2.1.2 makes 49.5 black and 149.5 white."""
    path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=100, WindowWidth=101)
    assert seen(path) == pytest.approx([0, 0.005, 0.505, 1])
    exact = write_dicom(
        tmp_path / "b.dcm", RAMP, WindowCenter=[100, 7], WindowWidth=[100, 7], VOILUTFunction="LINEAR_EXACT"
    )
    assert seen(exact) == pytest.approx([0, 0, 0.5, 1])


def test_the_networks_window_counts_in_hounsfield_units(write_dicom, tmp_path):
    pixels = np.array([[0, 924, 1174, 1424]], np.int16)
    path = write_dicom(
        tmp_path / "ct.dcm", pixels, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=10
    )
    assert seen(path, window=(-100, 400)) == pytest.approx([0, 0, 0.5, 1])


def test_colour_comes_as_rgb(write_dicom, tmp_path):
    red = np.full((4, 4, 3), (255, 0, 0), np.uint8)
    assert Scan([write_dicom(tmp_path / "a.dcm", red)]).read(0, window=None)[0, 0].tolist() == [1, 0, 0]
    ybr = np.full((4, 4, 3), (76, 85, 255), np.uint8)  # red after ITU-R BT.601, in whole steps
    path = write_dicom(tmp_path / "b.dcm", ybr, PhotometricInterpretation="YBR_FULL")
    assert Scan([path]).read(0, window=None)[0, 0] == pytest.approx([1, 0, 0], abs=2 / 255)  # rounding of both ways


def test_frames_of_a_clip_and_a_lossless_code(write_dicom, tmp_path):
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    path = write_dicom(tmp_path / "clip.dcm", pixels, sop_class=UltrasoundMultiFrameImageStorage, NumberOfFrames=3)
    file = dcmread(path)
    file.compress(RLELossless)
    file.save_as(path)
    scan = Scan([path])
    assert scan.shape == (3, 4, 5)
    assert not scan.is_volume
    for k in range(3):
        np.testing.assert_allclose(scan.read(k, window=None)[..., 0] * 255, pixels[k], atol=1e-4)  # float32


def test_a_series_is_ordered_from_the_feet_up_whatever_its_names_and_numbers(write_dicom, tmp_path):
    for k, z in enumerate((7.5, 0.0, 2.5, 5.0)):
        write_dicom(
            tmp_path / f"{k}.dcm", np.full((2, 2), int(10 * z), np.uint8), InstanceNumber=9 - k,
            PixelSpacing=[0.8, 0.7], ImagePositionPatient=[0, 0, z], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )  # fmt: skip
    (scan,) = scans_in(tmp_path).values()
    assert [round(float(scan.read(k, window=None)[0, 0, 0]) * 255) for k in range(4)] == [0, 25, 50, 75]
    assert scan.spacing_mm == (2.5, 0.8, 0.7)
    assert scan.is_volume


def test_pictures_in_a_folder_are_one_by_one(write_dicom, tmp_path):
    for name in ("a", "b"):
        write_dicom(tmp_path / name, RAMP, sop_class=UltrasoundImageStorage)
    assert list(scans_in(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("name", ["doelittle.dcm", "scan_JANE_2.dcm", "4711-0815.dcm"])
def test_a_name_that_tells_the_patient_is_not_used(write_dicom, tmp_path, name):
    assert neutral_name(write_dicom(tmp_path / name, RAMP), 3) == "scan-3"
    assert neutral_name(write_dicom(tmp_path / "IM0001.dcm", RAMP), 3) == "IM0001"


def damaged(path, change):
    file = dcmread(path)
    change(file)
    file.save_as(path)
    return path


def test_a_file_without_pixels_is_refused(write_dicom, tmp_path):
    def strip(file):
        del file.PixelData

    with pytest.raises(InputError, match=r"a.dcm: this DICOM file holds no image"):
        Scan([damaged(write_dicom(tmp_path / "a.dcm", RAMP), strip)])


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        ("1.2.826.0.1.3680043.9.9999.1", "which nothing here decodes"),
        ("1.2.840.10008.1.2.4.70", "no decoder is installed"),
    ],
)
def test_an_unknown_transfer_syntax_is_refused(write_dicom, tmp_path, syntax, message):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    old, new = b"1.2.840.10008.1.2.1\0", syntax.encode() + b"\0" * (len(syntax) % 2)
    content = path.read_bytes()
    place = content.index(old)
    header = content[: place - 2] + len(new).to_bytes(2, "little") + new + content[place + len(old) :]
    grown = len(new) - len(old)
    length = int.from_bytes(header[140:144], "little") + grown  # of the group of file meta information
    path.write_bytes(header[:140] + length.to_bytes(4, "little") + header[144:])
    assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == UID(syntax)
    with pytest.raises(InputError, match=message):
        Scan([path])


def test_pixels_cut_short_are_refused(write_dicom, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"a.dcm: (the pixels of frame 0 cannot be decoded|damaged DICOM file)"):
        Scan([path]).read(0, window=None)


def test_what_is_no_dicom_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"a.dcm: not a DICOM file"):
        Scan([tmp_path / "a.dcm"])
