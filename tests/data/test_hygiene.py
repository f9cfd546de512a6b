import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from tfseg.data import DATASETS, hygiene, locate
from tfseg.data.examine import examine
from tfseg.data.files import images_in
from tfseg.data.hygiene import Report, check, fatal, lines, require_clean, warnings
from tfseg.data.masks import read_indexed
from tfseg.data.sample import Dataset, Sample
from tfseg.data.source import open_source
from tfseg.errors import InputError

SHAPE = (60, 80)


def picture(seed: int) -> np.ndarray:
    """A picture (H, W) in 0..255 with large and small structures; another seed is another place."""
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    large, small = gaussian_filter(noise, 6), gaussian_filter(noise, 1)
    return np.clip(128 + 30 * large / large.std() + 20 * small / small.std(), 0, 255).astype(np.uint8)


def disk(x: int, *, index: int = 1) -> np.ndarray:
    """A mask with a disk of radius 10 round (x, 30); one that is 20 pixels further has nothing in common with it."""
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (index * ((row - 30) ** 2 + (column - x) ** 2 < 100)).astype(np.uint8)


EMPTY = np.zeros(SHAPE, np.uint8)


@pytest.fixture
def add(tmp_path) -> Callable[..., Path]:
    """Write one image and its mask into images/ and masks/, and return the image's path."""

    def write(name: str, image: np.ndarray, mask: np.ndarray | None) -> Path:
        for folder, array in (("images", image), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            if array is not None:
                Image.fromarray(array).save(tmp_path / folder / name)
        return tmp_path / "images" / name

    return write


def dataset(*, patient: bool = False, stratum: bool = False) -> Dataset:
    """Images and masks of equal name, PATIENT-STRATUM-*.png, with the classes nerve (1) and vessel (2)."""

    def samples(root: Path) -> list[Sample]:
        masks = {path.name: path for path in images_in(root / "masks")}
        return [
            Sample(
                image=image,
                masks=(masks[image.name],) if image.name in masks else (),
                patient=image.name.split("-")[0] if patient else None,
                stratum=image.name.split("-")[1] if stratum else "",
            )
            for image in images_in(root / "images")
        ]

    def orphans(root: Path) -> list[Path]:
        return [path for path in images_in(root / "masks") if not (root / "images" / path.name).exists()]

    return Dataset(
        name="test",
        classes=("nerve", "vessel"),
        default_classes=("nerve",),
        samples=samples,
        orphans=orphans,
        read_mask=lambda sample, size: read_indexed(sample, size, classes=2),
        layout="images/ and masks/",
        citation="",
        licence="",
        source="",
    )


def files_of(report: Report, kind: str) -> list[tuple[str, ...]]:
    return [finding.files for finding in report.findings if finding.kind == kind]


def one(report: Report, kind: str, severity: str) -> str:
    """Assert that there is one finding of that kind and return its message."""
    found = [finding for finding in report.findings if finding.kind == kind]
    assert len(found) == 1
    assert found[0].severity == severity
    return found[0].message


def test_nothing_wrong(add, tmp_path):
    for seed in range(4):
        add(f"{seed}-a-0.png", picture(seed), disk(20) + disk(60, index=2))
    report = check(dataset(patient=True), tmp_path)
    assert not fatal(report)
    assert report.findings == ()
    assert (report.images, report.patients, report.patient_known) == (4, 4, True)
    assert report.sizes == {"80x60": 4}
    assert report.empties == {"nerve": (), "vessel": ()}
    assert report.groups == ()
    require_clean(report, tmp_path)
    assert check(dataset(), tmp_path).patient_known is False


def test_progress_counts_images(add, tmp_path):
    for seed in range(3):
        add(f"{seed}.png", picture(seed), disk(20))
    seen = []
    check(dataset(), tmp_path, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_files_that_cannot_be_read(add, tmp_path):
    for seed in range(4):
        add(f"{seed}.png", picture(seed), disk(20))
    (tmp_path / "images/0.png").write_bytes(b"")
    for name in ("images/1.png", "masks/1.png", "masks/2.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    report = check(dataset(), tmp_path)
    assert fatal(report)
    assert files_of(report, "unreadable") == [("images/0.png",), ("images/1.png",), ("masks/1.png",), ("masks/2.png",)]
    assert report.findings[0].message == "the file is empty"
    assert report.counts == {"unreadable": 4, "empty mask": 1}  # the one mask that is right has no vessel


def test_masks_and_images_that_have_no_partner(add, tmp_path):
    for seed in range(3):
        add(f"{seed}.png", picture(seed), disk(20))
    (tmp_path / "masks/1.png").unlink()
    (tmp_path / "images/2.png").unlink()
    report = check(dataset(), tmp_path)
    assert files_of(report, "image without mask") == [("images/1.png",)]
    assert files_of(report, "mask without image") == [("masks/2.png",)]
    assert fatal(report)
    (tmp_path / "images/1.png").unlink()
    assert not fatal(check(dataset(), tmp_path))  # the mask that is left over harms nobody


def test_a_mask_of_another_size(add, tmp_path):
    add("0.png", picture(0), disk(20))
    add("1.png", picture(1), disk(20)[:50])
    report = check(dataset(), tmp_path)
    assert files_of(report, "size differs") == [("masks/1.png",)]
    assert "80x50" in one(report, "size differs", "error")
    assert "80x60" in one(report, "size differs", "error")


def test_values_that_a_mask_must_not_hold(add, tmp_path):
    add("0.png", picture(0), disk(20))
    add("1.png", picture(1), disk(20, index=7))
    report = check(dataset(), tmp_path)
    assert files_of(report, "wrong mask values") == [("masks/1.png",)]
    assert "7" in one(report, "wrong mask values", "error")


def test_empty_masks_are_counted_by_class(add, tmp_path):
    for number, mask in enumerate([disk(20), disk(20), disk(60, index=2), EMPTY]):
        add(f"{number}.png", picture(number), mask)
    report = check(dataset(), tmp_path)
    assert report.empties == {
        "nerve": ("images/2.png", "images/3.png"),
        "vessel": ("images/0.png", "images/1.png", "images/3.png"),
    }
    assert [finding.message for finding in report.findings] == [
        "2 masks of 4 (50.0%) without nerve",
        "3 masks of 4 (75.0%) without vessel",
        "1 mask of 4 (25.0%) without any class",
    ]
    assert report.to_json()["empties"]["vessel"] == {"images": 3, "share": 0.75}
    assert not fatal(report)


def test_masks_that_are_all_empty(add, tmp_path):
    for seed in range(3):
        add(f"{seed}.png", picture(seed), EMPTY)
    report = check(dataset(), tmp_path)
    assert fatal(report)
    assert files_of(report, "all masks empty") == [("masks/0.png",)]


def test_equal_pixels_under_two_names_and_formats(add, tmp_path):
    every_grey = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(np.uint8)
    add("0.png", every_grey, disk(20))
    add("1.png", picture(1), disk(20))
    add("2.bmp", np.stack([every_grey] * 3, axis=-1), None)  # grey, stored as colour
    Image.fromarray(disk(20)).save(tmp_path / "masks/2.bmp")
    report = check(dataset(), tmp_path)
    assert files_of(report, "duplicate") == [("images/0.png", "images/2.bmp")]
    assert report.groups == (("images/0.png", "images/2.bmp"),)
    assert files_of(report, "near-duplicate") == []  # said already
    assert not fatal(report)


def test_equal_flat_images_are_duplicates_of_which_no_correlation_tells(add, tmp_path):
    for number, grey in enumerate([90, 90, 91]):
        add(f"{number}.png", np.full(SHAPE, grey, np.uint8), disk(20))
    assert check(dataset(), tmp_path).groups == (("images/0.png", "images/1.png"),)


def test_near_duplicates_across_patients_and_strata(add, tmp_path):
    add("1-benign-0.png", picture(0), disk(20))
    add("1-benign-1.png", picture(0) // 2, disk(20))
    add("2-benign-0.png", picture(1), disk(20))
    add("3-malignant-0.png", picture(1) // 2, disk(20))
    report = check(dataset(patient=True, stratum=True), tmp_path)
    within, across = (
        ("images/1-benign-0.png", "images/1-benign-1.png"),
        ("images/2-benign-0.png", "images/3-malignant-0.png"),
    )
    assert report.groups == (within, across)
    assert files_of(report, "near-duplicate") == [within, across]
    assert files_of(report, "near-duplicate across patients") == [across]
    assert files_of(report, "near-duplicate across strata") == [across]
    assert "2, 3" in one(report, "near-duplicate across patients", "warning")
    assert "benign, malignant" in one(report, "near-duplicate across strata", "warning")
    assert not fatal(report)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        pytest.param((disk(30), disk(34)), None, id="drawn-by-hand-twice"),
        pytest.param((disk(20), disk(50)), "the masks of nerve agree to a Dice of 0.00", id="elsewhere"),
        pytest.param((disk(20), EMPTY), "nerve is drawn in only one of the two", id="one-empty"),
        pytest.param((disk(20), disk(20, index=2)), "nerve is drawn in only one of the two", id="another-class"),
        pytest.param((EMPTY, EMPTY), None, id="both-empty"),
    ],
)
def test_contradicting_masks(add, tmp_path, masks, message):
    for number, mask in enumerate(masks):
        add(f"{number}.png", picture(0) // (number + 1), mask)
    add("2.png", picture(1), disk(60))
    report = check(dataset(), tmp_path)
    if message is None:
        assert files_of(report, "contradicting masks") == []
    else:
        assert files_of(report, "contradicting masks") == [("images/0.png", "images/1.png")]
        assert one(report, "contradicting masks", "warning") == f"nearly the same image, but {message}"
    assert report.contradicting["nerve"] == (() if message is None else ("images/0.png", "images/1.png"))
    assert not fatal(report)


def test_contradictions_of_one_group_are_one_finding(add, tmp_path):
    for number, x in enumerate([20, 50, 70]):
        add(f"{number}.png", picture(0) // (number + 1), disk(x))
    report = check(dataset(), tmp_path)
    assert one(report, "contradicting masks", "warning").endswith("; 1 more such pair in this group")


def test_sixteen_bits_that_hold_eight(add, tmp_path):
    add("0.png", picture(0).astype(np.uint16), disk(20))
    add("1.png", picture(1).astype(np.uint16) * 257, disk(20))
    report = check(dataset(), tmp_path)
    assert files_of(report, "dark 16-bit image") == [("images/0.png",)]
    message = one(report, "dark 16-bit image", "warning")
    assert f"brightest value is {picture(0).max()} of 65535" in message
    assert not fatal(report)


def test_no_image_at_all(tmp_path):
    with pytest.raises(InputError, match="holds no image; expected images/ and masks/"):
        check(dataset(), tmp_path)


def test_require_clean_names_the_first_file_and_the_command(add, tmp_path):
    for seed in range(3):
        add(f"{seed}.png", picture(seed), None)
    with pytest.raises(InputError) as caught:
        require_clean(check(dataset(), tmp_path), tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'images/0.png'}: ")
    assert "(and 2 more errors)" in line
    assert line.endswith(f"tfseg data check {tmp_path} --dataset test")
    assert "\n" not in line


def test_lines_show_a_few_of_each_kind(add, tmp_path):
    for seed in range(5):
        add(f"{seed}.png", picture(seed), None)
    add("5.png", picture(5), disk(20))
    text = lines(check(dataset(), tmp_path), limit=2)
    assert text[:3] == ["test: 6 images, patients unknown", "sizes: 80x60 (6)", "near-duplicates: 0 images in 0 groups"]
    assert text[3] == "error: image without mask: 5"
    assert text[4].startswith("    images/0.png: ")
    assert text[6] == "    and 3 more"
    assert text[7:] == ["info: empty mask: 1", "    images/5.png: 1 mask of 1 (100.0%) without vessel"]


def test_strata_are_listed_with_their_images(add, tmp_path):
    for number, name in enumerate(("1-benign-0.png", "1-malignant-1.png", "2-benign-0.png")):
        add(name, picture(number), disk(20))
    assert check(dataset(stratum=True), tmp_path).to_json()["strata"] == {
        "benign": ("images/1-benign-0.png", "images/2-benign-0.png"),
        "malignant": ("images/1-malignant-1.png",),
    }
    assert check(dataset(), tmp_path).strata == {}


def test_json_can_be_written(add, tmp_path):
    add("0.png", picture(0), disk(20))
    add("1.png", picture(0), disk(60, index=2))
    content = json.loads(json.dumps(check(dataset(), tmp_path).to_json()))
    assert content["ok"] is True
    assert content["groups"] == [["images/0.png", "images/1.png"]]
    assert content["counts"] == {"contradicting masks": 1, "duplicate": 1, "empty mask": 2}
    assert set(content["findings"][0]) == {"kind", "severity", "files", "message"}
    (tmp_path / "masks/0.png").unlink()
    assert check(dataset(), tmp_path).to_json()["ok"] is False


# Image of the first device in usgra-seg -> the image in images/ or test/images/ of which it is a crop, found by sliding
# the one over the other at full resolution: a correlation of 1.0000 at an offset of 2 columns and 4 rows.
ACROSS = {
    "0002": "0047",
    "0004": "0054",
    "0011": "0068",
    "0017": "0091",
    "0024": "0112",
    "0034": "0143",
    "0035": "0144",
}


@pytest.mark.parametrize(("one_way", "another"), [("1", "1.0"), ("03", "3"), ("P2", "p2"), ("P 002", "p_2")])
def test_a_patient_spelled_in_two_ways(add, tmp_path, one_way, another):
    for seed, patient in enumerate([one_way, another, "30", "4"]):
        add(f"{patient}-a-{seed}.png", picture(seed), disk(20))
    report = check(dataset(patient=True), tmp_path)
    message = one_way_first(one(report, "patient spelled in two ways", "warning"), one_way, another)
    assert message == "the patients A, B count as 2; if they are one, spell them alike"
    assert set(files_of(report, "patient spelled in two ways")[0]) == {
        f"images/{one_way}-a-0.png",
        f"images/{another}-a-1.png",
    }


def one_way_first(message: str, one_way: str, another: str) -> str:
    """Name the patients of a message A and B, in the order in which their files were listed."""
    pair, turned = f"patients {one_way}, {another} ", f"patients {another}, {one_way} "
    return message.replace(pair, "patients A, B ").replace(turned, "patients A, B ")


def test_patients_of_other_numbers_are_other_patients(add, tmp_path):
    for seed, patient in enumerate(["1.1", "1.10", "11", "10", "1", "P1", "P11"]):
        add(f"{patient}-a-{seed}.png", picture(seed), disk(20))
    assert files_of(check(dataset(patient=True), tmp_path), "patient spelled in two ways") == []


def test_warnings_in_short(add, tmp_path):
    add("1-a-0.png", picture(0), disk(20))
    add("2-a-0.png", picture(0), disk(20))
    add("02-a-0.png", picture(1), np.zeros_like(disk(20)))
    text = warnings(check(dataset(patient=True), tmp_path), tmp_path)
    assert [line.split(", first ")[0] for line in text] == [
        "warning: duplicate: 1",
        "warning: near-duplicate across patients: 1",
        "warning: patient spelled in two ways: 1",
        f"see the whole list: tfseg data check {tmp_path} --dataset test",
    ]
    for number in (1, 2):
        (tmp_path / "images" / f"{'0' * (number - 1)}2-a-0.png").unlink()
    assert warnings(check(dataset(patient=True), tmp_path), tmp_path)[0].startswith("warning: mask without image: 2")


@pytest.fixture
def examined(monkeypatch) -> list[str]:
    """The names of the images that are read."""
    names = []

    def look(sample: Sample, *rest, **options):
        names.append(sample.image.name)
        return examine(sample, *rest, **options)

    monkeypatch.setattr(hygiene, "examine", look)
    return names


def settle(root: Path) -> None:
    """Let all files be an hour old: one that has just changed may change again within the tick of the clock."""
    for path in root.rglob("*.*"):
        os.utime(path, (time.time() - 3600,) * 2)


def test_what_was_checked_is_not_read_again_until_it_changes(add, tmp_path, examined):
    for seed, x in enumerate([20, 50, 30]):
        add(f"{seed}.png", picture(max(seed, 1)), disk(x))  # 0 and 1 are equal, and their masks contradict
    (tmp_path / "masks" / "orphan.png").write_bytes(b"")
    settle(tmp_path)
    first = check(dataset(), tmp_path)
    assert examined == ["0.png", "1.png", "2.png"]
    assert {finding.kind for finding in first.findings} >= {"duplicate", "contradicting masks", "mask without image"}
    assert check(dataset(), tmp_path) == first
    assert len(examined) == 3
    check(dataset(), tmp_path, channels=3)
    assert len(examined) == 6
    add("1.png", picture(9), disk(50))
    assert check(dataset(), tmp_path).groups == ()
    assert examined[6:] == ["1.png"]
    Image.fromarray(disk(40)).save(tmp_path / "masks" / "2.png")
    check(dataset(), tmp_path)
    assert examined[7:] == ["1.png", "2.png"]  # 1.png is still too new to be sure of
    assert len(open_source(dataset(), tmp_path, channels=1, watch=lambda done, total: None).samples) == 3


def test_a_damaged_cache_is_no_error(add, tmp_path, examined):
    for seed in range(2):
        add(f"{seed}.png", picture(seed), disk(20))
    settle(tmp_path)
    first = check(dataset(), tmp_path)
    kept = list((locate.cache_root() / "checked").iterdir())
    assert len(kept) == 1
    for damaged in (kept[0].read_bytes()[:100], b"", kept[0].read_bytes()[:-100]):
        kept[0].write_bytes(damaged)
        assert check(dataset(), tmp_path) == first
    assert len(examined) == 8
    kept[0].unlink()
    kept[0].mkdir()  # nothing can be written there
    assert check(dataset(), tmp_path) == first


def test_usgra(shared_data):
    """34 groups, each looked at: 29 crops, one exact pair, and four scenes seen twice or three times."""
    report = check(DATASETS["usgra"], shared_data / "usgra")
    assert (report.images, report.patients, fatal(report)) == (244, 0, False)
    assert report.sizes == {"534x512": 183, "512x512": 40, "761x632": 21}
    assert (len(report.empties["nerve"]), len(report.empties["vessel"])) == (0, 25)
    across = [group for group in report.groups if len({image.startswith("test") for image in group}) == 2]
    stems = {frozenset(Path(image).stem for image in group) for group in across}
    assert stems == {frozenset(pair) for pair in ACROSS.items()} | {frozenset(["0079", "0081", "0114"])}
    assert (len(report.groups), sum(map(len, report.groups))) == (34, 69)
    assert files_of(report, "duplicate") == [("images/0043.png", "images/0077.png")]


def test_hc18(shared_data):
    """Second images of one head are other views, not near-duplicates."""
    report = check(DATASETS["hc18"], shared_data / "hc18")
    assert (report.images, report.patients, report.patient_known) == (117, 80, True)
    assert report.findings == ()
