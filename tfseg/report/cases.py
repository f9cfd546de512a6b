"""The best, middle and worst images of a run, drawn with what the annotator and the network outlined."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from tfseg import runs
from tfseg.data import DATASETS
from tfseg.data.frames import open_volume
from tfseg.data.images import open_image, read_image
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError
from tfseg.metrics import HOLDOUT, Row, score
from tfseg.overlays import overlay, stamp, to_rgb
from tfseg.scans.nifti import Volume

BEST, MEDIAN, WORST = "best", "median", "worst"
_WIDEST = 640  # pixels of a picture in the report; wider ones are shrunk, so that the page can be sent by mail
_SHOWS = "Description"  # the PNG keyword under which a picture says which image it shows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One image to show.

    Attributes:
        kind: BEST, MEDIAN or WORST.
        place: from 1 within its kind.
        rows: the scores of its classes, in the order of the classes.
        dice: mean over the classes that the annotator drew.
    """

    kind: str
    place: int
    rows: tuple[Row, ...]
    dice: float

    @property
    def image(self) -> str:
        """The image's path relative to the data root."""
        return self.rows[0].image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """A case's two pictures as PNG files: the image alone, and with its outlines."""

    case: Case
    plain: bytes
    outlined: bytes
    earlier: bool  # drawn by an earlier report, since the data are not where they were


def choose(rows: Sequence[Row], *, file: str, each: int = 3) -> list[Case]:
    """Choose the best, middle and worst out-of-fold images of one file; no image stands twice.

    Images are ranked by the mean Dice of the classes that the annotator drew, then by name. Images in which nothing was
    drawn are not ranked: their Dice is 0 or 1 and their overlay shows nothing that the counts do not tell.
    """
    by_image: dict[str, list[Row]] = {}
    for row in rows:
        if row.file == file and row.fold != HOLDOUT:
            by_image.setdefault(row.image, []).append(row)
    ranked = []
    for image, scored in by_image.items():
        drawn = [row.dice for row in scored if not row.truth_empty]
        if drawn:
            ranked.append((float(np.mean(drawn)), image, tuple(scored)))
    ranked.sort(key=lambda entry: entry[:2])
    each = min(each, max(1, len(ranked) // 3))
    middle = (len(ranked) - each) // 2
    chosen = {BEST: ranked[::-1][:each], MEDIAN: ranked[middle : middle + each], WORST: ranked[:each]}
    cases: dict[str, Case] = {}
    for kind, entries in chosen.items():
        for place, (dice, image, scored) in enumerate(entries, 1):
            cases.setdefault(image, Case(kind=kind, place=place, rows=scored, dice=dice))
    return list(cases.values())


def draw(cases: Sequence[Case], run: Path, *, dataset: str, root: Path, mark: str = "") -> list[Drawn]:
    """Draw cases from the data, or take up the pictures that an earlier report left in the run's figures.

    A picture is drawn only where truth and stored prediction give the very Dice that was reported: data that changed
    since are not shown under the old scores. Cases that cannot be shown at all are left out.

    Args:
        cases: which.
        run: the run folder, with the predictions; new pictures are written into its figures.
        dataset: name in DATASETS.
        root: where the data were.
        mark: a word to stamp on each picture, such as PHANTOM.
    """
    samples = _samples(dataset, root)
    shown = []
    for case in cases:
        names = [_figure(run, case), _figure(run, case, "_plain")]
        pictures = _draw(case, samples.get(case.image), DATASETS.get(dataset), run)
        if pictures is not None:
            for path, pixels in zip(names, pictures, strict=True):
                runs.write_whole(path, _png(stamp(pixels, mark) if mark else pixels, case.image))
        elif not all(_shows(path, case.image) for path in names):
            continue
        outlined, plain = (path.read_bytes() for path in names)
        shown.append(Drawn(case=case, plain=plain, outlined=outlined, earlier=pictures is None))
    return shown


def _samples(dataset: str, root: Path) -> dict[str, Sample]:
    """The samples at the data root by relative path; none where the data are gone."""
    if dataset not in DATASETS or not root.is_dir():
        return {}
    try:
        return {sample.image.relative_to(root).as_posix(): sample for sample in DATASETS[dataset].samples(root)}
    except InputError:
        return {}


def _draw(
    case: Case, sample: Sample | None, dataset: Dataset | None, run: Path
) -> tuple[np.ndarray, np.ndarray] | None:
    """The outlined and the plain picture, or None where image, truth or prediction are not what was scored."""
    if sample is None or dataset is None:
        return None
    folder = runs.fold_folder(run, int(case.rows[0].fold)) / runs.PREDICTIONS
    stem = (folder / case.image).with_suffix("")
    channels = [dataset.classes.index(row.class_name) for row in case.rows]
    try:
        if sample.slices:
            return _draw_volume(case, sample, dataset, run, stem.with_suffix(""), channels)
        image = read_image(sample.image, channels=3)
        drawn = dataset.read_mask(sample, image.shape[:2])
        paths = [stem.with_name(f"{stem.name}_{row.class_name}.png") for row in case.rows]
        prediction = np.stack([np.asarray(open_image(path).convert("L")) > 127 for path in paths], -1).astype(np.uint8)
    except InputError:
        return None
    truth = drawn[..., channels]
    if truth.shape != prediction.shape:
        return None
    for k, row in enumerate(case.rows):
        if abs(score(truth[..., k], prediction[..., k]).dice - row.dice) > 1e-9:  # one pixel moves Dice by over 1e-8
            return None
    return _shrunk(overlay(image, truth, prediction)), _shrunk(to_rgb(image))


def _draw_volume(
    case: Case, sample: Sample, dataset: Dataset, run: Path, stem: Path, channels: list[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same of a volume: the slice on which the annotator drew most."""
    recipe = runs.read_recipe(run)
    with contextlib.closing(open_volume(sample)) as volume:
        truth = dataset.read_mask(sample, volume.shape)[..., channels]
        index = int(truth.sum(axis=(1, 2, 3)).argmax())
        image = volume.read(index, window=(recipe.window_low_hu, recipe.window_high_hu))
    prediction = []
    for k, row in enumerate(case.rows):
        with contextlib.closing(Volume(stem.with_name(f"{stem.name}_{row.class_name}.nii.gz"))) as predicted:
            if predicted.shape != truth.shape[:3]:
                return None
            mask = np.stack([predicted.values(place) for place in range(len(truth))])
        if abs(score(truth[..., k], mask).dice - row.dice) > 1e-9:
            return None
        prediction.append(mask[index])
    image = np.repeat(image, 3, axis=-1)
    return _shrunk(overlay(image, truth[index], np.stack(prediction, -1))), _shrunk(to_rgb(image))


def _shrunk(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if width <= _WIDEST:
        return picture
    return cv2.resize(picture, (_WIDEST, round(height * _WIDEST / width)), interpolation=cv2.INTER_AREA)


def _figure(run: Path, case: Case, suffix: str = "") -> Path:
    return run / runs.FIGURES / f"case_{case.kind}_{case.place}{suffix}.png"


def _png(picture: np.ndarray, shows: str) -> bytes:
    grey = (picture == picture[..., :1]).all()
    text, file = PngInfo(), io.BytesIO()
    text.add_itxt(_SHOWS, shows)
    Image.fromarray(picture[..., 0] if grey else picture).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def _shows(path: Path, image: str) -> bool:
    """Whether an earlier report drew this very image here: ranks change when a run is scored again."""
    try:
        with Image.open(path) as picture:
            return picture.info.get(_SHOWS) == image
    except (OSError, UnidentifiedImageError):
        return False
