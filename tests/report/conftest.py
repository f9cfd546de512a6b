"""A run folder as kfold leaves it, on random smooth shapes in the nerve layout, scored by tfseg.metrics."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tfseg import runs
from tfseg.config import Recipe
from tfseg.data.nerve import DATASET
from tfseg.measures import shape
from tfseg.metrics import COLUMNS, Row, row_values, score
from tfseg.summary import summarise

COUNTS = ("tp", "fp", "fn", "tn")
CURVES = ("loss", "accuracy", "iou", "dice")
PATIENTS = ("<script>alert(1)</script>", '"7"', *(str(number) for number in range(10)))


def make_run(
    folder: Path, *, phantom: bool = False, size: tuple[int, int] = (63, 87), files: tuple[str, ...] = ("keras",)
) -> Path:
    """Write folder/data, 60 images of 12 patients, one in five without a nerve, and folder/run, a run of 5 folds."""
    rng = np.random.default_rng(0)
    root, run = folder / "data", folder / "run"
    (root / "train").mkdir(parents=True)
    recipe = Recipe(epochs=12, learning_rate=5e-4)
    rows: list[Row] = []
    confusion = {(file, "nerve"): dict.fromkeys(COUNTS, 0) for file in files}
    split: dict[str, list[str]] = {str(fold): [] for fold in range(5)}
    for number in range(60):
        patient, frame = number % 12, number // 12
        truth = smooth_shape(rng, size) if number % 5 else np.zeros(size, np.uint8)
        image = f"train/{patient + 1}_{frame + 1}.tif"
        fold = str(patient % 5)
        Image.fromarray(speckle(rng, truth)).save(root / image)
        Image.fromarray(truth * np.uint8(255)).save((root / image).with_stem(f"{patient + 1}_{frame + 1}_mask"))
        split[fold].append(image)
        for file in files:
            prediction = disturbed(rng, truth, number)
            if file == files[0]:
                path = runs.fold_folder(run, int(fold)) / runs.PREDICTIONS / image
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(prediction * np.uint8(255)).save(path.with_name(f"{path.stem}_nerve.png"))
            measured = dataclasses.asdict(score(truth, prediction))
            for key in COUNTS:
                confusion[file, "nerve"][key] += measured.pop(key)
            for whose, mask in (("true", truth), ("predicted", prediction)):
                measured |= {f"{whose}_{name}": value for name, value in dataclasses.asdict(shape(mask)).items()}
            rows.append(
                Row(image=image, patient=PATIENTS[patient], fold=fold, file=file, class_name="nerve", **measured)
            )
    about = {
        "name": DATASET.name,
        "root": str(root),
        "phantom": phantom,
        "fingerprint": "ab" * 32,
        "images": 60,
        "patients": 12,
    }
    runs.write_whole(run / runs.RECIPE, recipe.to_toml())
    runs.write_json(
        run / runs.PROVENANCE,
        runs.provenance(["tfseg", "kfold", "--dataset", "nerve", "--out", "runs/a b"], data=about)
        | {"git_commit": "0" * 40},
    )
    runs.write_json(run / runs.FOLDS, split)
    runs.write_csv(run / runs.METRICS, COLUMNS, map(row_values, rows))
    runs.write_json(
        run / runs.SUMMARY,
        summarise(rows, confusion, classes=["nerve"], data=about, hausdorff_unit="px", resamples=200),
    )
    for fold in range(5):
        write_history(runs.fold_folder(run, fold) / runs.HISTORY, rng, recipe.epochs)
    return run


def smooth_shape(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """One random blob, uint8 (H, W): an ellipse whose edge is bent by smooth noise."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    row, column = rng.uniform(0.35, 0.65, 2) * size
    tall, wide = rng.uniform(0.12, 0.2) * height, rng.uniform(0.15, 0.28) * width
    bend = cv2.GaussianBlur(rng.normal(size=size), (0, 0), height / 12)
    return (((rows - row) / tall) ** 2 + ((columns - column) / wide) ** 2 < 1 + bend / bend.std() * 0.25).astype(
        np.uint8
    )


def disturbed(rng: np.random.Generator, truth: np.ndarray, number: int) -> np.ndarray:
    """What a fair network might make of `truth`: moved a little, at times missed or seen where nothing is."""
    if not truth.any():
        return smooth_shape(rng, truth.shape) if number % 4 == 0 else truth
    if number % 17 == 1:
        return np.zeros_like(truth)
    height, width = truth.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 6), rng.normal(1, 0.06))
    turn[:, 2] += rng.normal(0, 0.025, 2) * (width, height)
    return cv2.warpAffine(truth, turn, (width, height), flags=cv2.INTER_NEAREST)


def speckle(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    """A grey image uint8 (H, W) in which the shape is brighter."""
    grain = cv2.GaussianBlur(rng.normal(size=truth.shape), (0, 0), 1.2)
    return np.clip(70 + 45 * truth + 80 * grain, 0, 255).astype(np.uint8)


def write_history(path: Path, rng: np.random.Generator, epochs: int) -> None:
    """Curves that rise and level off."""
    gain = 1 - np.exp(-np.arange(1, epochs + 1) / 4)
    values = {"loss": 1 - 0.85 * gain, "accuracy": 0.9 + 0.08 * gain, "iou": 0.7 * gain, "dice": 0.82 * gain}
    noisy = {f"val_{name}": value * 0.95 + rng.normal(0, 0.01, epochs) for name, value in values.items()}
    columns = {"epoch": range(1, epochs + 1), **values, **noisy, "learning_rate": [1e-3] * epochs}
    runs.write_csv(path, tuple(columns), zip(*columns.values(), strict=True))


@pytest.fixture(scope="session")
def pristine_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fake run that no test may change: copy it (with its data beside it)."""
    return make_run(tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="session")
def run_of_two_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which the network was scored as keras and as int8."""
    return make_run(tmp_path_factory.mktemp("two"), files=("keras", "int8"))


@pytest.fixture
def fake_run(pristine_run: Path, tmp_path: Path) -> Path:
    """A copy of the fake run; its data stay where they were, in pristine_run.parent / "data"."""
    return Path(shutil.copytree(pristine_run, tmp_path / "run"))


@pytest.fixture
def bare_run(fake_run: Path) -> Path:
    """The fake run without its curves, which take most of the time of a report."""
    for path in fake_run.glob(f"*/{runs.HISTORY}"):
        path.unlink()
    return fake_run
