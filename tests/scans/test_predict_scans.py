"""`tfseg predict` on what scanners write, as users type it, with networks whose answer one can tell by eye."""

import json

import cv2
import keras
import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, UltrasoundMultiFrameImageStorage

from tfseg import cli
from tfseg.models.files import Card, save
from tfseg.scans.nifti import write_volume

SIZE = 32
SECRETS = (b"doelittle", b"jane", b"4711-0815", b"19700101", b"housing", b"plainsboro", b"acc99")


@pytest.fixture(scope="session")
def write_network():
    """Write a network that draws what is brighter (or darker) than a level."""

    def write(path, *, level, darker=False, channels=1, classes=("liver",), **card):
        image = keras.Input((SIZE, SIZE, channels))
        logits = keras.layers.Conv2D(1, 1, name="logits")
        network = keras.Model(image, logits(image))
        slope = -1000.0 if darker else 1000.0
        logits.set_weights([np.full((1, 1, channels, 1), slope / channels), np.full(1, -slope * level)])
        defaults = {"largest_component": False, "dataset": "lits", "fingerprint": "", "phantom": True, "fold": None}
        save(network, path, Card(model="unet", classes=classes, activation="sigmoid", threshold=0.5, **defaults | card))
        return path

    return write


@pytest.fixture(scope="module")
def networks(write_network, tmp_path_factory):
    """A finder of livers above 50 HU, and of tumours below it in the liver's box, without a margin."""
    folder = tmp_path_factory.mktemp("networks")
    window = (-100.0, 400.0)
    write_network(folder / "liver.keras", level=0.3, window=window, largest_component=True)
    write_network(
        folder / "tumour.keras", level=0.3, darker=True, window=window, region="liver", margin_mm=0, classes=("tumour",)
    )
    write_network(folder / "nerve.keras", level=0.5, channels=3, classes=("nerve",))
    return folder


def body():
    """Two bright blocks of 100 HU; the larger one has a dark hole of 0 HU, and between slices it moves by a pixel."""
    values = np.full((6, SIZE, SIZE), -500, np.int16)
    for k in range(1, 5):
        values[k, 8:20, 4 + k : 16 + k] = 100
    values[2:4, 12:15, 10:13] = 0
    values[0:2, 26:30, 26:30] = 100
    return values


def main(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_a_cascade_is_pasted_back_onto_the_grid_of_the_volume(networks, tmp_path, axes, capsys):
    path = write_volume(body(), tmp_path / "ct.nii.gz", spacing_mm=(5, 1, 2), axes=axes)
    status = main(
        *("predict", networks / "tumour.keras", path, "--region", networks / "liver.keras"),
        *("--out", tmp_path / "out", "--json"),
    )
    assert status == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["frames"] == 6
    assert answer["frames_per_second"] > 0
    source = nib.load(path)
    stored = np.asarray(source.dataobj)
    liver, tumour = (nib.load(tmp_path / "out" / f"ct_{name}.nii.gz") for name in ("liver", "tumour"))
    for mask in (liver, tumour):
        np.testing.assert_array_equal(mask.affine, source.affine)
    assert int(np.asarray(liver.dataobj).sum()) == 4 * 144 - 2 * 9  # the larger body alone, less its hole
    assert (stored[np.asarray(liver.dataobj) == 1] == 100).all()
    # In the box of the liver everything dark counts: the hole, and what lies beside the moving block.
    assert int(np.asarray(tumour.dataobj).sum()) == 4 * 12 * 15 - (4 * 144 - 2 * 9)
    assert ((stored == 0) <= (np.asarray(tumour.dataobj) == 1)).all()


@pytest.fixture
def scans(write_dicom, tmp_path):
    """A CT series, a clip and a film, a patient's name in each of the first two and in the names of files."""
    folder = tmp_path / "scans"
    for k, plane in enumerate(body()):
        write_dicom(
            folder / "series" / f"doelittle_{k}.dcm", plane, PixelSpacing=[1, 2], SliceThickness=5,
            ImagePositionPatient=[0, 0, 5.0 * k], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            FrameOfReferenceUID="1.2.3", PatientComments="Doelittle has a hole",
        )  # fmt: skip
    clip = np.zeros((3, 20, 24), np.uint8)
    clip[1, 5:9, 5:9] = 255
    write_dicom(folder / "clip.dcm", clip, sop_class=UltrasoundMultiFrameImageStorage, NumberOfFrames=3, Modality="US")
    film = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12, (64, 48))
    for k in range(10):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[10:30, 5 + k : 25 + k] = 255
        film.write(frame)
    film.release()
    return folder


def test_a_series_becomes_a_segmentation_without_the_patient(networks, scans, tmp_path, capfd):
    out = tmp_path / "out"
    assert main("predict", networks / "liver.keras", scans / "series", "--out", out) == 0
    (path,) = out.iterdir()
    said = "".join(capfd.readouterr())
    for secret in SECRETS:
        assert secret not in path.read_bytes().lower()
        assert secret not in path.name.encode().lower()
        assert secret not in said.encode().lower()
    segmentation = dcmread(path)
    source = dcmread(scans / "series" / "doelittle_2.dcm")
    assert segmentation.PatientID == "ANONYMOUS"
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    frames = {
        str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID): pixels
        for group, pixels in zip(segmentation.PerFrameFunctionalGroupsSequence, segmentation.pixel_array, strict=True)
    }
    assert len(frames) == 4  # slices without a liver are left out
    np.testing.assert_array_equal(frames[str(source.SOPInstanceUID)], body()[2] == 100)
    assert [item.SegmentLabel for item in segmentation.SegmentSequence] == ["liver"]


@pytest.mark.parametrize("lone", [{}, {"FrameOfReferenceUID": "1.2.3"}, {"PixelSpacing": [1, 2]}])
def test_images_that_do_not_say_where_in_the_patient_they_are(networks, write_dicom, tmp_path, lone, capsys):
    """As after some anonymisations: a lone slice without a place, a series without frame of reference or thickness."""
    lone = write_dicom(tmp_path / "lone.dcm", body()[2], **lone)
    for k, plane in enumerate(body()):
        place = {"ImagePositionPatient": [0, 0, 5.0 * k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        write_dicom(tmp_path / "series" / f"{k}.dcm", plane, PixelSpacing=[1, 2], **place)
        write_dicom(tmp_path / "lost" / f"{k}.dcm", plane, **place)
    assert main("predict", networks / "liver.keras", lone, tmp_path / "series", "--out", tmp_path / "out") == 0
    lone, series = sorted((tmp_path / "out").iterdir(), key=lambda path: path.name != "lone_seg.dcm")
    one, many = dcmread(lone), dcmread(series)
    np.testing.assert_array_equal(one.pixel_array, body()[2] == 100)
    (source,) = one.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    of_series = one.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert {source.ReferencedSOPClassUID, of_series.ReferencedSOPClassUID} == {CTImageStorage}
    assert "FrameOfReferenceUID" not in one
    assert many.NumberOfFrames == 4
    assert many.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 5
    assert main("predict", networks / "liver.keras", tmp_path / "lost", "--out", tmp_path / "none") == 2
    assert "a slice has no PixelSpacing" in capsys.readouterr().err.splitlines()[-1]


def test_a_clip_and_a_film(networks, scans, tmp_path, capfd):
    out = tmp_path / "out"
    assert main("predict", networks / "nerve.keras", scans / "clip.dcm", scans / "film.avi", "--out", out) == 0
    assert "13 frames or slices, " in capfd.readouterr().err
    assert {path.name for path in out.iterdir()} == {"clip_seg.dcm", "film_overlay.mp4"}
    segmentation = dcmread(out / "clip_seg.dcm")
    (group,) = segmentation.PerFrameFunctionalGroupsSequence
    assert group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 2
    # 24 columns enter a network of 32: the edge of the 4x4 block is blurred by less than a pixel
    assert abs(int(segmentation.pixel_array.sum()) - 16) <= 9
    assert all(secret not in (out / "clip_seg.dcm").read_bytes().lower() for secret in SECRETS)
    drawn = cv2.VideoCapture(str(out / "film_overlay.mp4"))
    assert drawn.get(cv2.CAP_PROP_FPS) == 12
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    frame = drawn.read()[1]
    drawn.release()
    colour = frame.max(axis=-1).astype(int) - frame.min(axis=-1)
    assert colour[5:36, 1:30].max() > 60  # the outline
    assert colour[36:, 40:].max() < 30  # nothing far from it; a video's compression tints a little


@pytest.fixture
def refuse(networks, tmp_path, capfd):
    """Run `tfseg predict` and return the one line that it refuses with; nothing is written."""

    def run(*inputs, network="liver"):
        assert main("predict", networks / f"{network}.keras", *inputs, "--out", tmp_path / "out") == 2
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
        return line

    return run


def test_bad_scans_are_refused_in_one_line(refuse, networks, scans, tmp_path):
    short = write_volume(body(), tmp_path / "short.nii", spacing_mm=(5, 1, 2))
    short.write_bytes(short.read_bytes()[:-1])
    assert "short.nii: cut short" in refuse(short)
    holes = body().astype(np.float32)
    holes[3] = np.nan
    assert "are NaN" in refuse(write_volume(holes, tmp_path / "nan.nii", spacing_mm=(5, 1, 2)))
    (tmp_path / "film.mp4").write_bytes(b"no film" * 100)
    assert "film.mp4: cannot be decoded" in refuse(tmp_path / "film.mp4", network="nerve")
    film = (scans / "film.avi").read_bytes()
    (tmp_path / "half.avi").write_bytes(film[: len(film) * 10 // 13])
    assert "half.avi: only 5 of 10 frames can be decoded" in refuse(tmp_path / "half.avi", network="nerve")
    (tmp_path / "a.dcm").write_bytes(b"no DICOM")
    assert "a.dcm: not a DICOM file" in refuse(tmp_path / "a.dcm")
    good = write_volume(body(), tmp_path / "good.nii", spacing_mm=(5, 1, 2))
    assert "give --region RUN" in refuse(good, network="tumour")
    assert "give --window LOW,HIGH" in refuse(good, network="nerve")
    assert "say them apart" in refuse(good, "--overlay")
    assert "no such" in refuse(tmp_path / "nowhere.nii")


def test_nothing_that_exists_is_overwritten(networks, tmp_path, capsys):
    good = write_volume(body(), tmp_path / "good.nii", spacing_mm=(5, 1, 2))
    arguments = ("predict", networks / "liver.keras", good, "--out", tmp_path / "out")
    assert main(*arguments) == 0
    assert main(*arguments) == 2
    assert "good_liver.nii.gz: exists already" in capsys.readouterr().err
