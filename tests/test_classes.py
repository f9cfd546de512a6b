"""Several classes, as a user types it: six that exclude each other, and networks scored on data with other names."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from tfseg.data import folder
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError
from tfseg.evaluate import pair, parse_pairs

NAMES = ("one", "two", "three", "four", "five", "six")
TRAINING = (
    *("--model", "segresnet_bn", "--image-size", "32", "--epochs", "1", "--folds", "2", "--batch-size", "4"),
    *("--set", "learning_rate=3e-3", "--set", "augment=none"),
)
SCRIPT = '''"""tfseg with one more data set: masks/NAME.png hold 0 for the background and 1 to 6 for six classes."""
import sys

import numpy as np
from PIL import Image

from tfseg.cli import main
from tfseg.data import DATASETS
from tfseg.data.sample import Dataset, Sample

NAMES = ("one", "two", "three", "four", "five", "six")


def samples(root):
    return [
        Sample(image=path, masks=(root / "masks" / path.name,), patient=path.stem.partition("_")[0])
        for path in sorted((root / "images").glob("*.png"))
    ]


def read_mask(sample, size):
    with Image.open(sample.masks[0]) as image:
        return (np.asarray(image)[..., None] == np.arange(1, 7)).astype(np.uint8)


DATASETS["six"] = Dataset(
    name="six", classes=NAMES, default_classes=NAMES, samples=samples, orphans=lambda root: [], read_mask=read_mask,
    layout="", citation="", licence="", source="",
)
if __name__ == "__main__":
    sys.exit(main(sys.argv[4:]))  # after python -m tfseg
'''


@pytest.fixture(scope="module")
def six(tfseg, tmp_path_factory):
    """Return what runs tfseg with the data set of six classes, and the folder of its 12 images."""
    root = tmp_path_factory.mktemp("six")
    rng = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((40, 48), np.uint8)
        for place, k in enumerate(rng.permutation(6)):  # else all images would be nearly the same
            top, left = 4 + 18 * (place // 3), 3 + 15 * (place % 3)
            mask[top : top + 14, left : left + 12] = k + 1
        mask = np.roll(mask, rng.integers(-3, 4, 2), (0, 1))
        image = 30 * mask + rng.integers(0, 25, mask.shape)
        for name, array in (("images", image), ("masks", mask)):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(root / name / f"{number // 2}_{number % 2}.png")
    script = tmp_path_factory.mktemp("script") / "sextet.py"
    script.write_text(SCRIPT)

    def run(*words, **options):
        return tfseg(*words, prefix=(sys.executable, script), **options)

    return run, root


@pytest.fixture(scope="module")
def exclusive_run(six, tmp_path_factory):
    """A run of six classes that exclude each other, with a threshold that none of them has."""
    tfseg_six, root = six
    run = tmp_path_factory.mktemp("runs") / "six"
    words = ("--dataset", "six", "--data", root, *TRAINING, "--out", run, "--deploy", "int8")
    tfseg_six("kfold", *words, "--set", "loss=dice_ce", "--set", "threshold=0.3")
    return run


def test_six_classes_go_through_every_command(six, exclusive_run, tmp_path):
    tfseg_six, root = six
    summary = json.loads((exclusive_run / "summary.json").read_text())
    assert set(summary["files"]["int8"]) == set(NAMES)
    assert "the most probable of the background and the classes" in (exclusive_run / "report.html").read_text()
    tfseg_six("report", exclusive_run)
    again = json.loads(tfseg_six("evaluate", exclusive_run, "--json").stdout)
    assert again["files"]["keras"] == summary["files"]["keras"]
    for network in (exclusive_run, exclusive_run / "fold_0" / "int8.tflite"):
        out = tmp_path / network.name
        tfseg_six("predict", network, root / "images", "--out", out, "--overlay")
        masks = [np.asarray(Image.open(out / f"0_0_{name}.png")) > 0 for name in NAMES]
        assert np.sum(masks, axis=0).max() <= 1  # no pixel has two classes
    tfseg_six("data", "check", root, "--dataset", "six", "--image-size", "32")


def test_a_mask_file_is_proven_as_it_is_used(six, exclusive_run, tmp_path):
    tfseg_six, root = six
    words = ("--fp32", "--head", "mask", "--max-drop", "1")
    proof = json.loads(tfseg_six("convert", exclusive_run, *words, "--out", tmp_path / "six.tflite", "--json").stdout)
    file = exclusive_run / "fold_0" / "mask.tflite"
    tfseg_six("convert", exclusive_run / "fold_0" / "model.keras", *words[:3], "--out", file)
    used = json.loads(tfseg_six("evaluate", file, "--data", root, "--json").stdout)
    for name in NAMES:
        folds = proof["files"]["fp32"][name]["dice"]["folds"]
        assert used["files"]["fp32"][name]["dice"]["mean"] == pytest.approx(folds["0"], abs=1e-9)  # the same file


def test_a_network_is_scored_on_classes_of_other_names_only_when_told(six, tmp_path):
    """The class "two" of one data set is the foreground of another: pictures of the same kind."""
    tfseg_six, root = six
    other = tmp_path / "other"
    for path in sorted((root / "images").glob("*.png")):
        for name in ("images", "masks"):
            (other / name).mkdir(parents=True, exist_ok=True)
        image, mask = (np.asarray(Image.open(root / name / path.name)) for name in ("images", "masks"))
        # The halves change places: another picture, where a mirror image would count as seen.
        Image.fromarray(np.roll(image, 20, 0)).save(other / "images" / path.name)
        Image.fromarray(np.roll(((mask == 2) * 255).astype(np.uint8), 20, 0)).save(other / "masks" / path.name)
    run = tmp_path / "run"
    tfseg_six("train", "--dataset", "six", "--data", root, *TRAINING, "--set", "classes=two", "--out", run)
    tfseg_six("convert", run / "fold_0" / "model.keras", "--fp32", "--out", run / "two.tflite")
    scored = []
    for network in (run, run / "two.tflite"):
        words = ("evaluate", network, "--dataset", "folder", "--data", other, "--json")
        refused = tfseg_six(*words, status=2).stderr.strip().splitlines()
        assert refused == [
            "tfseg: the network draws two, and data set folder has foreground: pair them with --map two=CLASS"
        ]
        done = tfseg_six(*words, "--map", "two=foreground")
        assert "two of the network is scored against foreground of folder" in done.stderr
        (of_file,) = json.loads(done.stdout)["holdout"].values()
        assert list(of_file) == ["two"]
        scored.append(of_file["two"]["dice"]["mean"])
    # fp32 differs from the network by the rounding of sums: no pixel is that near to the threshold.
    assert scored[0] == pytest.approx(scored[1], abs=1e-3)


def four():
    """A data set of four classes whose masks are 1, 2, 3 and 4."""
    return Dataset(
        name="four", classes=("a", "b", "c", "d"), default_classes=("a",), samples=lambda root: [],
        orphans=lambda root: [], read_mask=lambda sample, size: np.ones((1, 1, 1), np.uint8) * np.arange(1, 5),
        layout="", citation="", licence="", source="",
    )  # fmt: skip


def test_classes_are_paired_by_name_and_as_told(tmp_path):
    sample = Sample(image=tmp_path / "x.png")
    for classes, pairs, region, expected in (
        (("c", "a"), {}, "", [3, 1]),
        (("nerve", "a"), {"nerve": "d"}, "", [4, 1]),
        (("a", "b"), {"a": "b", "b": "a"}, "", [2, 1]),
        (("x", "y"), {"x": "b", "y": "b"}, "", [2, 2]),
        (("tumour",), {"tumour": "b", "liver": "c"}, "liver", [2, 3]),
    ):
        paired = pair(four(), classes, pairs, region=region)
        assert paired.read_mask(sample, (1, 1)).ravel().tolist() == expected
        assert paired.select(()) == classes


@pytest.mark.parametrize(
    ("classes", "pairs", "message"),
    [
        (("nerve", "vessel"), {}, "the network draws nerve, vessel, and data set folder has foreground: pair them"),
        (("nerve", "vessel"), {"nerve": "foreground"}, "the network draws vessel, .*--map vessel=CLASS"),
        (("nerve",), {"vein": "foreground"}, "--map vein=foreground: the network has no class 'vein': it has nerve"),
        (("nerve",), {"nerve": "nerf"}, "--map nerve=nerf: data set folder has no class 'nerf': it has foreground"),
    ],
)
def test_what_does_not_pair_is_refused_in_one_line(classes, pairs, message):
    with pytest.raises(InputError, match=f"^{message}"):
        pair(folder.DATASET, classes, pairs)


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b,", "a=b,a=c"])
def test_pairs_that_say_nothing_are_refused(text):
    with pytest.raises(InputError, match=f"^--map {text}: "):
        parse_pairs(text)
