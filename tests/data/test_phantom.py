import csv
import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tfseg.data import dataset
from tfseg.data.images import image_size, network_input, open_image
from tfseg.data.locate import PHANTOM_MARKER, is_phantom
from tfseg.data.phantom import LAYOUTS, VERSION, generate
from tfseg.data.phantom.anatomy import Anatomy
from tfseg.data.phantom.exam import Plan, is_away, shots
from tfseg.data.phantom.grid import BEAMS, SAMPLES, Pose, fan_grid, filled, in_image, linear_grid
from tfseg.data.phantom.limb import limb
from tfseg.data.phantom.organs import breast
from tfseg.data.phantom.scan import Scanner, Tissue, envelope, losses, scan, scatterers, view
from tfseg.data.phantom.shapes import ellipse
from tfseg.errors import InputError

RAYLEIGH_SNR = 1.913  # mean over standard deviation: sqrt(pi / (4 - pi))


def homogeneous(shape=(SAMPLES, BEAMS), *, power=1.0, attenuation=0.0):
    maps = (np.full(shape, level, np.float32) for level in (power, 0.0, attenuation))
    return Tissue(**dict(zip(("power", "specular", "attenuation"), maps, strict=True)))


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def nerve(tmp_path_factory):
    """Three frames of each of two subjects, in the layout of the nerve challenge."""
    root = tmp_path_factory.mktemp("nerve") / "data"
    generate("nerve", root, subjects=2, frames=3, seed=5)
    return root


@pytest.mark.parametrize(("looks", "expected"), [(1, RAYLEIGH_SNR), (4, 2 * RAYLEIGH_SNR)])
def test_homogeneous_tissue_is_fully_developed_speckle(looks, expected):
    # A resolution cell is about 3.5 samples by 5 beams: 7000 cells, so the ratio's standard error is about 0.7 %.
    field = scatterers(np.random.default_rng(0), (looks, SAMPLES, BEAMS))
    received = envelope(homogeneous(), field, Scanner(looks=looks))
    assert received.mean() / received.std() == pytest.approx(expected, rel=0.03)
    assert received.mean() == pytest.approx(np.sqrt(np.pi) / 2, rel=0.03)  # of a Rayleigh variable of power 1


def test_echo_amplitude_is_the_root_of_echogenicity():
    field = scatterers(np.random.default_rng(0), (1, SAMPLES, BEAMS))
    once, fourfold = (envelope(homogeneous(power=power), field, Scanner()) for power in (1.0, 4.0))
    np.testing.assert_allclose(fourfold, 2 * once, rtol=1e-5)  # float32


def test_scatterers_without_a_layer_for_each_look_are_refused():
    field = scatterers(np.random.default_rng(0), (1, SAMPLES, BEAMS))
    with pytest.raises(ValueError, match="for 2 looks"):
        envelope(homogeneous(), field, Scanner(looks=2))


def test_the_beam_is_narrowest_in_the_focus():
    scanner = Scanner(focus=0.5, beam=1.5)
    tissue = homogeneous(power=0.0)
    rows = (SAMPLES // 2, SAMPLES - 15)  # in the focus, and in the middle of the deepest band
    tissue.specular[rows, BEAMS // 2] = 1.0
    received = envelope(tissue, np.zeros((1, SAMPLES, BEAMS, 2), np.float32), scanner)
    across = np.arange(BEAMS) - BEAMS // 2
    in_focus, deep = (np.sqrt((received[row] * across**2).sum() / received[row].sum()) for row in rows)
    # The kernels end at three standard deviations, which makes them a hundredth narrower; bands add another.
    assert in_focus == pytest.approx(1.5, rel=0.03)
    assert deep == pytest.approx(1.5 * np.hypot(1, (rows[1] / SAMPLES - 0.5) / 0.4), rel=0.03)


@pytest.mark.parametrize(
    ("around", "inside", "change_db"),
    [pytest.param(0, 420, -20, id="bone-shadows"), pytest.param(42, 0, 2, id="fluid-enhances")],
)
def test_attenuation_changes_what_lies_below(around, inside, change_db):
    """A layer of 20 of 420 samples takes 1/21 of its attenuation; 100 dB of range give 2.55 grey levels a dB."""
    grid, scanner = linear_grid((SAMPLES, BEAMS)), Scanner(range_db=100, noise_db=-300, smoothing=0.5)
    field = scatterers(np.random.default_rng(1), (1, SAMPLES, BEAMS))
    plain, layered = homogeneous(attenuation=around), homogeneous(attenuation=around)
    layered.attenuation[100:120, 100:200] = inside
    before, after = (
        scan(tissue, grid, scanner, field=field, rng=np.random.default_rng(2)).astype(float)
        for tissue in (plain, layered)
    )
    change = (after - before) / 2.55
    assert change[150:, 120:180].mean() == pytest.approx(change_db, abs=0.05)  # whole grey levels, averaged
    assert np.abs(change[:95]).max() == 0  # above the layer
    assert np.abs(change[:, :80]).max() == 0  # beside it


def test_time_gain_compensation_can_undo_the_attenuation():
    lost, added = losses(homogeneous(attenuation=30.0), Scanner(tgc_db=(0.0, 30.0)))
    assert np.abs(lost - added).max() < 0.1  # the sum over samples runs one sample (30 / 420 dB) ahead of the knob


@pytest.mark.parametrize("grid", [linear_grid((420, 580)), fan_grid((540, 800))], ids=["linear", "fan"])
def test_masks_lie_on_what_the_image_shows(grid):
    height, width = grid.shape
    tissue, pose = homogeneous((height + 50, width + 100), power=0.0), Pose(right=40, down=12, tilt_degrees=8)
    outline = ellipse(np.array([0.62 * width, 0.55 * height]), (90, 50), 30)
    cv2.fillPoly(tissue.power, [np.rint(outline).astype(np.int32)], (1.0,))
    field = scatterers(np.random.default_rng(3), (1, SAMPLES, BEAMS))
    image = scan(view(tissue, grid, pose), grid, Scanner(), field=field, rng=np.random.default_rng(4))
    mask = filled([in_image(outline, grid, pose)], grid)
    assert 0.9 < mask.sum() / (np.pi * 90 * 50) < 1.1  # a polygon of an ellipse that lies in the image
    shown = [points.mean() for points in np.nonzero(image > 100)]
    drawn = [points.mean() for points in np.nonzero(mask)]
    assert np.abs(np.subtract(shown, drawn)).max() < 2  # speckle weighs a side more than the other; 8 degrees are 40 px


def test_outside_the_fan_all_is_black():
    grid = fan_grid((540, 800))
    field = scatterers(np.random.default_rng(0), (1, SAMPLES, BEAMS))
    image = scan(homogeneous(), grid, Scanner(gain_db=20), field=field, rng=np.random.default_rng(0))
    assert grid.seen[530, 400]
    assert not grid.seen[[10, 10, 539], [10, 790, 10]].any()
    assert image[~grid.seen].max() == 0
    assert (image[grid.seen] > 0).mean() > 0.99


def test_same_seed_same_bytes(nerve, tmp_path):
    for seed in (5, 6):
        generate("nerve", tmp_path / str(seed), subjects=2, frames=3, seed=seed)
    assert contents(tmp_path / "5") == contents(nerve)
    images = {name for name in contents(nerve) if name.endswith(".tif") and "mask" not in name}
    assert all(contents(tmp_path / "6")[name] != contents(nerve)[name] for name in images)


def test_a_frame_does_not_depend_on_how_many_there_are(nerve, tmp_path):
    generate("nerve", tmp_path / "few", subjects=1, frames=2, seed=5)
    few = {name: data for name, data in contents(tmp_path / "few").items() if name != PHANTOM_MARKER}
    assert few.items() <= contents(nerve).items()
    assert sorted(few) == ["train/1_1.tif", "train/1_1_mask.tif", "train/1_2.tif", "train/1_2_mask.tif"]


def test_nerve_frames_are_those_of_the_challenge(nerve):
    samples = dataset("nerve").samples(nerve)
    assert [sample.image.name for sample in samples] == [f"{s}_{f}.tif" for s in (1, 2) for f in (1, 2, 3)]
    for sample in samples:
        image, mask = (open_image(path) for path in (sample.image, *sample.masks))
        assert (image.mode, image.size, mask.mode, mask.size) == ("L", (580, 420), "L", (580, 420))
        assert set(np.unique(mask)) <= {0, 255}
    away = [is_away(subject, frame, 0.5) for subject in (0, 1) for frame in (0, 1, 2)]
    assert [not np.any(open_image(sample.masks[0])) for sample in samples] == away
    assert True in away
    assert False in away


def test_the_marker_says_what_it_is(nerve):
    assert is_phantom(nerve)
    marker = json.loads((nerve / PHANTOM_MARKER).read_text())
    expected = {
        "phantom": True,
        "dataset": "nerve",
        "version": VERSION,
        "subjects": 2,
        "frames": 3,
        "seed": 5,
        "empty_share": 0.5,
    }
    assert marker == expected


@pytest.mark.parametrize("share", [0.0, 0.4, 0.5, 0.59, 1.0])
def test_share_of_frames_without_nerve(share):
    away = [is_away(subject, frame, share) for subject in range(20) for frame in range(10)]
    assert np.mean(away) == pytest.approx(share, abs=0.03)  # 6 of 200: subjects begin anywhere in the turn
    assert np.mean(away[::10]) == pytest.approx(share, abs=0.1)  # so first frames alone are as mixed: 2 of 20


def test_frames_of_a_subject_are_nearly_identical_and_subjects_are_not():
    plan, grid = Plan(subjects=3, frames=3, seed=0, empty_share=0.0), linear_grid((420, 580))
    frames = [
        network_input(shot.image[..., None] / np.float32(255), 128).ravel()
        for subject in range(3)
        for shot in shots(plan, subject, limb, grid)
    ]
    correlation = np.corrcoef(frames)
    within = [correlation[a, b] for a, b in itertools.combinations(range(9), 2) if a // 3 == b // 3]
    across = [correlation[a, b] for a, b in itertools.combinations(range(9), 2) if a // 3 != b // 3]
    assert np.median(within) > 0.9
    assert min(within) > 0.8
    assert max(across) < 0.5


def test_speckle_is_partly_redrawn_from_frame_to_frame(monkeypatch):
    monkeypatch.setattr("tfseg.data.phantom.exam.draw_pose", lambda *_, **__: Pose(right=20))
    plan, grid = Plan(subjects=1, frames=2, seed=0, empty_share=0.0), linear_grid((SAMPLES, BEAMS))
    even = Anatomy(tissue=homogeneous((SAMPLES + 20, BEAMS + 40)), outlines={}, home=20)
    frames = (shot.image[50:150].astype(float) for shot in shots(plan, 0, lambda *_: even, grid))
    first, second = ((frame - frame.mean(1, keepdims=True)).ravel() for frame in frames)  # without the gain of a depth
    # 0.8 of the power stays. Intensities correlate with the square of that, 0.64; the compressed ones a little less.
    assert 0.5 < np.corrcoef(first, second)[0, 1] < 0.65


def test_the_nerve_is_seen_and_told_from_what_lies_around_it():
    plan, grid = Plan(subjects=4, frames=1, seed=0, empty_share=0.0), linear_grid((420, 580))
    for shot in (next(shots(plan, subject, limb, grid)) for subject in range(4)):
        mask = shot.mask("nerve")
        assert 3500 < mask.sum() < 12000  # half axes of 46 to 82 by 27 to 42 pixels, times pi: 3900 to 10 800
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert not border.any()
        inner = cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0
        assert 15 < shot.image[inner].std() < 70  # fascicles beside epineurium: neither flat nor black on white


@pytest.mark.parametrize(("lesions", "stratum"), [(1, "benign"), (2, "benign"), (1, "malignant"), (0, "normal")])
def test_lesions_are_darker_than_the_breast(lesions, stratum):
    grid, rng = linear_grid((470, 620)), np.random.default_rng(0)
    anatomy = breast(rng, grid.shape, stratum=stratum, lesions=max(lesions, 1))
    assert len(anatomy.outlines["lesion"]) == lesions
    mask = filled(anatomy.outlines["lesion"], linear_grid(anatomy.tissue.power.shape)) > 0
    if lesions:
        assert anatomy.tissue.power[mask].mean() < 0.5 * anatomy.tissue.power[~mask].mean()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_real_loader_reads_it(name, tmp_path):
    seen = []
    assert generate(name, tmp_path / "data", subjects=4, frames=1, watch=lambda *step: seen.append(step)) == 4
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    data = dataset(name)
    samples = data.samples(tmp_path / "data")
    assert len(samples) == 4
    assert data.orphans(tmp_path / "data") == []
    sizes = [(sample.slices, 96, 96) if sample.slices else image_size(sample.image) for sample in samples]
    masks = [data.read_mask(sample, size) for sample, size in zip(samples, sizes, strict=True)]
    assert all(mask.shape[-1] == len(data.classes) for mask in masks)
    empty = sum(not mask[..., 0].any() for mask in masks)
    assert empty == {"nerve": 2, "folder": 2, "busi": 1}.get(name, 0)
    assert all(mask.mean() < 0.35 for mask in masks)
    patients = {sample.patient for sample in samples}
    assert len(patients) == (1 if name in ("busi", "ct2us", "usgra") else 4)  # where no patient is known it is None


def test_busi_masks_are_a_mixture(tmp_path):
    generate("busi", tmp_path / "data", subjects=4, frames=2)
    samples = dataset("busi").samples(tmp_path / "data")
    assert [sample.stratum for sample in samples] == ["benign"] * 4 + ["malignant"] * 2 + ["normal"] * 2
    assert [len(sample.masks) for sample in samples] == [1, 1, 2, 2] + [1] * 4
    assert {open_image(path).mode for sample in samples for path in sample.masks} == {"1", "RGB", "RGBA"}
    assert {open_image(sample.image).mode for sample in samples} == {"RGB"}


def test_the_two_sonographers_agree_but_not_fully(tmp_path):
    generate("open_kidney", tmp_path / "data", subjects=1, frames=1)
    sets = [dataset(name) for name in ("open_kidney", "open_kidney_2")]
    first, second = (data.read_mask(data.samples(tmp_path / "data")[0], (768, 1024)) > 0 for data in sets)
    overlap = (first & second).sum((0, 1)) / (first | second).sum((0, 1))
    assert 0.75 < overlap[0] < 0.995  # they differ by 3 % in size and 3 pixels in place
    assert first.any((0, 1)).all()
    capsule, *inner = np.moveaxis(first, -1, 0)
    assert all((part & ~capsule).sum() < 0.03 * part.sum() for part in inner)  # polygons are whole pixels


def test_usgra_masks_hold_class_numbers(tmp_path):
    generate("usgra", tmp_path / "data", subjects=2, frames=3)
    masks = [open_image(path) for path in sorted((tmp_path / "data").rglob("masks/*.png"))]
    assert {mask.mode for mask in masks} == {"P"}
    assert {int(value) for mask in masks for value in np.unique(np.asarray(mask))} == {0, 1, 2}
    assert [path.name for path in (tmp_path / "data" / "test" / "images").iterdir()] == ["0005.png"]


def test_head_circumference_is_that_of_the_outline(tmp_path):
    generate("hc18", tmp_path / "data", subjects=2, frames=2)
    data = dataset("hc18")
    samples = data.samples(tmp_path / "data")
    assert [sample.image.name for sample in samples] == [f"00{n}_{m}HC.png" for n in "01" for m in ("2", "")]
    with (tmp_path / "data" / "training_set_pixel_size_and_HC.csv").open() as file:
        table = {row["filename"]: float(row["head circumference (mm)"]) for row in csv.DictReader(file)}
    for sample in samples:
        points = np.argwhere(data.read_mask(sample, (540, 800))[..., 0])
        b, a = 2 * np.sqrt(np.linalg.eigvalsh(np.cov(points.T)))  # half axes of a filled ellipse
        around_px = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))  # Ramanujan, 1914
        assert sample.spacing_mm is not None
        # The reader counts the line, 3 pixels wide, to the head: 1.5 pixels on a radius of more than 100.
        assert table[sample.image.name] == pytest.approx(around_px * sample.spacing_mm[0], rel=0.02)


@pytest.mark.parametrize("present", ["file in it", "is a file"])
def test_what_exists_is_refused_and_left_alone(present, tmp_path):
    root = tmp_path / "data"
    if present == "is a file":
        root.write_text("mine")
    else:
        root.mkdir()
        (root / "mine.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        generate("nerve", root, subjects=1, frames=1)
    assert contents(tmp_path) == before


def test_an_empty_folder_is_taken(tmp_path):
    assert generate("ct2us", tmp_path, subjects=1, frames=1) == 1
    assert (tmp_path / PHANTOM_MARKER).is_file()


@pytest.mark.parametrize(
    "wrong", [{"name": "nervs"}, {"subjects": 0}, {"frames": 0}, {"seed": -1}, {"empty_share": 1.5}], ids=str
)
def test_a_wrong_call_is_refused(wrong, tmp_path):
    with pytest.raises(InputError):
        generate(**{"name": "nerve", "root": tmp_path / "data"} | wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate("ct2us", tmp_path / "data", subjects=1, frames=2, watch=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_half_data_set_and_no_obstacle(tmp_path):
    script = (
        "import os, pathlib, sys; from tfseg.data.phantom import generate\n"
        "generate('ct2us', pathlib.Path(sys.argv[1]), frames=3, watch=lambda *_: os.kill(os.getpid(), 9))"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path / "data"], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "data").exists()
    assert len(list(tmp_path.iterdir())) == 1  # what it had begun
    generate("ct2us", tmp_path / "data", subjects=1, frames=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_unfinished_work_of_a_living_process_is_left_alone(tmp_path):
    other = tmp_path / ".data.0.phantom"
    other.mkdir()
    descriptor = os.open(other, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    generate("ct2us", tmp_path / "data", subjects=1, frames=1)
    os.close(descriptor)
    assert other.is_dir()
