"""LiTS: which files belong together, what is in a mask, what a network sees of a volume, and what is refused."""

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest

from tfseg import cli
from tfseg.config import Recipe
from tfseg.data import dataset, folds
from tfseg.data.frames import View, frames, true_region
from tfseg.data.hygiene import check
from tfseg.data.pixels import decode
from tfseg.data.source import open_source
from tfseg.errors import InputError
from tfseg.job import view
from tfseg.scans.nifti import write_volume

LITS = dataset("lits")
VIEW = View(channels=1, window=(-100, 400))
SPACING = (5.0, 2.0, 1.0)


def write(root, number, *, depth=4, labels=None, values=None, suffix=".nii", axes="RAS"):
    """Write a volume of 150 HU whose liver, a block of 4x4 in slices 1 and 2, has a tumour of one voxel."""
    if labels is None:
        labels = np.zeros((depth, 8, 8), np.uint8)
        labels[1:3, 2:6, 2:6], labels[2, 3, 3] = 1, 2
    if values is None:
        values = np.full((depth, 8, 8), 150, np.int16) + number
    write_volume(values, root / f"volume-{number}{suffix}", spacing_mm=SPACING, axes=axes)
    write_volume(labels, root / f"segmentation-{number}{suffix}", spacing_mm=SPACING, axes=axes)


@pytest.fixture
def root(tmp_path):
    for number in (10, 2, 0):
        write(tmp_path, number, suffix=".nii.gz" if number else ".nii", axes="LPS" if number else "PIR")
    return tmp_path


def test_a_sample_is_a_volume_and_a_patient(root):
    listed = LITS.samples(root)
    assert [(sample.image.name, sample.patient, sample.slices) for sample in listed] == [
        ("volume-0.nii", "0", 4),
        ("volume-2.nii.gz", "2", 4),
        ("volume-10.nii.gz", "10", 4),
    ]
    assert listed[0].spacing_mm == pytest.approx(SPACING)
    assert LITS.orphans(root) == []
    (root / "volume-2.nii.gz").unlink()
    assert LITS.orphans(root) == [root / "segmentation-2.nii.gz"]


def test_the_liver_has_its_tumours(root):
    for sample in LITS.samples(root):
        mask = LITS.read_mask(sample, (4, 8, 8))
        assert mask[..., 0].sum() == 32
        assert np.argwhere(mask[..., 1]).tolist() == [[2, 3, 3]]


def test_two_files_of_one_number_are_refused(root):
    (root / "more").mkdir()
    write(root / "more", 2)
    with pytest.raises(InputError, match="bears this number, too"):
        LITS.samples(root)


def test_a_network_sees_every_slice_or_those_of_a_region(root):
    sample = LITS.samples(root)[0]
    whole = list(frames(sample, LITS, VIEW))
    assert [image.shape for image, _ in whole] == [(8, 8, 1)] * 4
    assert whole[0][0] == pytest.approx(0.5)  # 150 HU between -100 and 400
    assert [bool(mask.any()) for _, mask in whole] == [False, True, True, False]
    cut = list(frames(sample, LITS, dataclasses.replace(VIEW, region="liver", margin_mm=1)))
    assert [image.shape for image, _ in cut] == [(6, 6, 1)] * 4  # a voxel each way: 1 mm is less than any spacing
    assert cut[1][1][..., 0].sum() == 16


def test_a_volume_without_the_region_is_not_learned_from(tmp_path):
    write(tmp_path, 0, labels=np.zeros((4, 8, 8), np.uint8))
    (sample,) = LITS.samples(tmp_path)
    view = dataclasses.replace(VIEW, region="liver")
    assert list(frames(sample, LITS, view)) == []
    assert true_region(LITS.read_mask(sample, (4, 8, 8)), sample, LITS, view) is None


@pytest.mark.parametrize(("region", "records"), [("", 12), ("liver", 6)])
def test_pixels_know_which_slice_is_whose(root, tmp_path, region, records):
    samples = LITS.samples(root)
    view = dataclasses.replace(VIEW, region=region, margin_mm=0)
    pixels = decode(tmp_path / "pixels.bin", samples, LITS, classes=("tumour",), size=8, view=view)
    each = records // 3
    assert pixels.count == records
    assert pixels.records([2, 0]) == [*range(2 * each, 3 * each), *range(each)]
    assert pixels.records([1], shown=True) == ([5, 6] if not region else [2, 3])  # slices with a liver
    image, mask = pixels.read(2 if not region else 1)
    assert image[0, 0, 0] == 128  # 0.5 of 255, rounded to even
    assert mask.sum() == 255 * (4 if region else 1)  # a box of 4x4 is enlarged to 8x8
    pixels.close()


def test_folds_part_volumes_and_never_their_slices(root):
    for number in (3, 4, 5):
        write(root, number)
    source = open_source(LITS, root, channels=1, watch=lambda done, total: None)
    assert source.unit == "mm"
    assert source.volumes
    split = folds.draw(
        list(source.samples.values()),
        list(source.groups.values()),
        root,
        folds=3,
        seed=0,
        labels=list(source.labels.values()),
        classes=("liver", "tumour"),
    )
    assert sorted(len(names) for names in split.values()) == [2, 2, 2]


def test_a_region_is_a_class_of_a_volume(root, write_folder, tmp_path):
    volumes = open_source(LITS, root, channels=1, watch=lambda done, total: None)
    assert view(Recipe(dataset="lits", region="liver", region_margin_mm=7), volumes) == View(
        channels=1, window=(-100, 400), region="liver", margin_mm=7
    )
    with pytest.raises(InputError, match="has no class 'spleen'"):
        view(Recipe(dataset="lits", region="spleen"), volumes)
    folder = write_folder(tmp_path / "pictures", subjects=2)
    pictures = open_source(dataset("folder"), folder, channels=1, watch=lambda done, total: None)
    assert view(Recipe(dataset="folder"), pictures) == View(channels=1)
    with pytest.raises(InputError, match="only volumes have regions"):
        view(Recipe(dataset="folder", region="foreground"), pictures)
    with pytest.raises(InputError, match="window_low_hu = 5 is not below window_high_hu = 5"):
        Recipe(window_low_hu=5, window_high_hu=5)


def findings(root):
    return {(finding.kind, finding.severity): finding for finding in check(LITS, root).findings}


def test_the_check_finds_what_is_wrong_with_a_volume(root):
    write(root, 3, labels=np.zeros((5, 8, 8), np.uint8))
    wrong = findings(root)["wrong mask", "error"]
    assert wrong.files == ("segmentation-3.nii",)
    assert "the segmentation is 8x8x5 voxels and its volume volume-3.nii 8x8x4" in wrong.message
    write(root, 3, labels=np.full((4, 8, 8), 3, np.uint8))
    assert "slice 0 holds the label 3" in findings(root)["wrong mask", "error"].message
    write(root, 3, values=np.full((4, 8, 8), np.inf, np.float32))
    assert "64 voxels of slice 0 are NaN or infinite" in findings(root)["unreadable", "error"].message
    write(root, 3)
    content = (root / "volume-3.nii").read_bytes()
    (root / "volume-3.nii").write_bytes(content[:-1])
    assert "cut short" in findings(root)["unreadable", "error"].message
    (root / "volume-3.nii").write_bytes(content)
    assert not [severity for _, severity in findings(root) if severity == "error"]
    (root / "segmentation-3.nii").unlink()
    assert findings(root)["image without mask", "error"].files == ("volume-3.nii",)


def test_a_segmentation_elsewhere_is_pointed_out(root):
    image = nib.load(root / "segmentation-0.nii")
    affine = image.affine.copy()
    affine[:3, 3] += 40
    labels = np.asarray(image.dataobj).copy()
    nib.save(nib.Nifti1Image(labels, affine), root / "segmentation-0.nii")
    assert findings(root)["other place", "warning"].files == ("segmentation-0.nii",)


def test_equal_volumes_are_duplicates_and_others_are_not(root):
    assert "duplicate" not in check(LITS, root).counts
    write(root, 7, values=np.full((4, 8, 8), 150, np.int16))
    report = check(LITS, root)
    assert report.groups == (("volume-0.nii", "volume-7.nii"),)
    assert report.sizes == {"8x8x4": 4}


def test_the_phantom_has_livers_tumours_and_slices_without(tmp_path, capsys):
    arguments = ["phantom", "lits", str(tmp_path / "lits"), "--subjects", "5", "--frames", "12"]
    assert cli.main(["data", *arguments]) == 0
    assert cli.main(["data", "check", str(tmp_path / "lits"), "--dataset", "lits", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["patients"]) == (5, 5)
    assert report["empties"]["liver"]["images"] == 0
    assert report["empties"]["tumour"]["images"] == 1  # every fifth
    for sample in LITS.samples(tmp_path / "lits"):
        with_liver = LITS.read_mask(sample, (12, 96, 96))[..., 0].any(axis=(1, 2))
        assert 4 <= with_liver.sum() < 12
