"""Scores of one class in one image or volume, the only source of reported numbers, and the rows of metrics.csv."""

import csv
import dataclasses
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from tfseg.errors import InputError

METRICS = ("dice", "iou", "accuracy", "sensitivity", "specificity", "precision", "efficiency", "hausdorff95")
HOLDOUT = "holdout"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one predicted mask is worth beside the true one; `score` says how each number is defined.

    Attributes:
        dice, iou, accuracy, sensitivity, specificity, precision, efficiency: in [0, 1], larger is better.
        hausdorff95: >= 0, in mm where the spacing is known, else in pixels; NaN where exactly one mask is empty.
        truth_empty, prediction_empty: whether that mask has no foreground pixel.
        tp, fp, fn, tn: pixels, or voxels, by truth and prediction; they add up to H * W, or D * H * W.
    """

    dice: float
    iou: float
    accuracy: float
    sensitivity: float
    specificity: float
    precision: float
    efficiency: float
    hausdorff95: float
    truth_empty: bool
    prediction_empty: bool
    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of metrics.csv: one class of one image, as one file segmented it.

    The attributes are the columns in their order; the column "class" is `class_name`, since `class` is a keyword.

    Attributes:
        image: posix path of the image file, relative to the data root.
        patient: the patient, or the group of near-duplicates where patients are unknown.
        fold: the number of the fold that held the image out, in digits, or "holdout".
        file: which network file was scored: keras, fp32, fp16, dynamic or int8.
        class_name: the class.
        dice to prediction_empty: see `Scores`.
        true_area to predicted_circumference: see `tfseg.measures.Shape`, in the unit of hausdorff95; NaN where not
            measured, and in files of versions that did not measure.
        listed_circumference: what a table of the data set says of the truth, in mm.
    """

    image: str
    patient: str
    fold: str
    file: str
    class_name: str
    dice: float
    iou: float
    accuracy: float
    sensitivity: float
    specificity: float
    precision: float
    efficiency: float
    hausdorff95: float
    truth_empty: bool
    prediction_empty: bool
    true_area: float = math.nan
    predicted_area: float = math.nan
    true_longest_diameter: float = math.nan
    predicted_longest_diameter: float = math.nan
    true_diameter_across: float = math.nan
    predicted_diameter_across: float = math.nan
    true_circumference: float = math.nan
    predicted_circumference: float = math.nan
    listed_circumference: float = math.nan


COLUMNS = tuple("class" if field.name == "class_name" else field.name for field in dataclasses.fields(Row))
_MEASURED = COLUMNS[COLUMNS.index("prediction_empty") + 1 :]
_EARLIER = COLUMNS[: -len(_MEASURED)]  # of metrics.csv before masks were measured


def score(truth: np.ndarray, prediction: np.ndarray, *, spacing_mm: tuple[float, ...] | None = None) -> Scores:
    """Score one predicted mask against the truth, both at the original resolution.

    A volume is scored as one: its voxels are what the pixels are of an image, and slices without foreground have no
    score of their own that could enter a mean.

    With tp, fp, fn and tn the pixels in both masks, in the prediction only, in the truth only and in neither:

    - dice = 2 tp / (2 tp + fp + fn), iou = tp / (tp + fp + fn), sensitivity = tp / (tp + fn) and
      precision = tp / (tp + fp). Both masks empty: 1, as the 2016 Kaggle nerve challenge scores its Dice.
      Exactly one empty: 0.
    - accuracy = (tp + tn) / (H * W); specificity = tn / (tn + fp), and 1 where the truth fills the image, since there
      is then no background to be taken for foreground.
    - efficiency = (sensitivity + specificity + accuracy) / 3, as section 2.5, equation 4 of the study of Mobile U-Net
      for liver tumours on LiTS17 defines it. Departure: that study gives percentages, we give shares.
    - hausdorff95: see `hausdorff95`.

    Args:
        truth: (H, W) or (D, H, W), uint8 or bool, 0 or 1.
        prediction: the same.
        spacing_mm: (row, column), or (slice, row, column), distance of pixel centres in mm; None measures the Hausdorff
            distance in pixels.

    Raises:
        ValueError: the masks are not of one shape, or hold something else than 0 and 1.

    >>> scores = score(np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 0, 0]], bool))
    >>> round(scores.dice, 3), scores.sensitivity, scores.precision, scores.accuracy
    (0.667, 0.5, 1.0, 0.75)
    """
    truth, prediction = _mask(truth, "truth"), _mask(prediction, "prediction")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} and prediction is {prediction.shape}: score at one resolution")
    tp = int(np.count_nonzero(truth & prediction))
    fn = int(np.count_nonzero(truth)) - tp
    fp = int(np.count_nonzero(prediction)) - tp
    tn = truth.size - tp - fn - fp
    accuracy = (tp + tn) / truth.size
    sensitivity = _share(tp, tp + fn, otherwise=fp == 0)
    specificity = _share(tn, tn + fp, otherwise=True)
    return Scores(
        dice=_share(2 * tp, 2 * tp + fp + fn, otherwise=True),
        iou=_share(tp, tp + fp + fn, otherwise=True),
        accuracy=accuracy,
        sensitivity=sensitivity,
        specificity=specificity,
        precision=_share(tp, tp + fp, otherwise=fn == 0),
        efficiency=(sensitivity + specificity + accuracy) / 3,
        hausdorff95=hausdorff95(truth, prediction, spacing_mm=spacing_mm),
        truth_empty=tp + fn == 0,
        prediction_empty=tp + fp == 0,
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
    )


def hausdorff95(truth: np.ndarray, prediction: np.ndarray, *, spacing_mm: tuple[float, ...] | None = None) -> float:
    """Return the larger of the two directed 95th percentiles of the distances between the masks' surfaces.

    A mask's surface is the mask less its erosion by the cross of 4 neighbours, in a volume of 6. What lies outside the
    image counts as background, so a mask that is cut by the image's border has a surface there. Percentiles are
    interpolated linearly. All this is what MONAI's `compute_hausdorff_distance(percentile=95)` does. Both masks empty:
    0. Exactly one empty: NaN, for there is nothing to measure to; means leave it out and say how many they kept. Equal
    masks are at 0, and so may be masks that differ on less than 5 % of their surfaces.

    Args:
        truth: (H, W) or (D, H, W) bool.
        prediction: the same.
        spacing_mm: (row, column), or (slice, row, column), distance of pixel centres in mm; None measures in pixels.
    """
    if not truth.any() or not prediction.any():
        return math.nan if truth.any() or prediction.any() else 0.0
    window = bounding_box(truth | prediction)
    spacing = np.array(spacing_mm or (1.0,) * truth.ndim)
    true_surface = _surface_points(truth[window]) * spacing
    predicted_surface = _surface_points(prediction[window]) * spacing
    return max(_directed95(true_surface, predicted_surface), _directed95(predicted_surface, true_surface))


def row_values(row: Row) -> tuple[str, ...]:
    """Return the fields of one line of metrics.csv, in the order of COLUMNS.

    Floats keep every digit that distinguishes them, NaN is an empty field, flags are 0 or 1; so equal rows are equal
    bytes.
    """
    return tuple(_text(getattr(row, field.name)) for field in dataclasses.fields(Row))


def read_rows(path: Path) -> list[Row]:
    """Read metrics.csv, also one without the columns of measures; InputError names the file and line of damage."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot read it ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error}); {_REMEDY}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = tuple(next(reader, ()))
        if columns not in (COLUMNS, _EARLIER):
            raise ValueError(f"the columns are not {','.join(COLUMNS)}")
        return [_row(columns, fields) for fields in reader]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: line {max(reader.line_num, 1)}: {error}; {_REMEDY}") from error


_REMEDY = "restore it, or score the run again"


def _mask(mask: np.ndarray, name: str) -> np.ndarray:
    """Return a mask as bool after refusing what is none: a probability, 0/255, or a shape of no image or volume."""
    if mask.ndim not in (2, 3) or mask.size == 0 or mask.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"{name} is {mask.dtype} {mask.shape}: it must be uint8 or bool of shape (H, W) or (D, H, W)")
    if mask.max() > 1:
        raise ValueError(f"{name} holds {mask.max()}: a mask is 0 or 1")
    return mask.astype(bool, copy=False)


def _share(part: int, whole: int, *, otherwise: bool) -> float:
    """part / whole; where the whole is nothing, 1 if `otherwise` (nothing was missed or invented), else 0."""
    return part / whole if whole else float(otherwise)


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box round what a mask of any shape, not all empty, shows: a slice for each axis.

    >>> bounding_box(np.array([[0, 0, 0, 0], [0, 1, 0, 1]]))
    (slice(1, 2, None), slice(1, 4, None))
    """
    box = []
    for axis in range(mask.ndim):
        shown = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(shown[0]), int(shown[-1]) + 1))
    return tuple(box)


def _surface_points(mask: np.ndarray) -> np.ndarray:
    """(N, 2 or 3) coordinates of the surface of a cropped mask, which its bounding box may touch."""
    padded = np.pad(mask, 1)
    middle = (slice(1, -1),) * mask.ndim
    inside = mask.copy()
    for axis in range(mask.ndim):
        for side in (slice(None, -2), slice(2, None)):
            inside &= padded[(*middle[:axis], side, *middle[axis + 1 :])]
    return np.argwhere(mask & ~inside)


def _directed95(points: np.ndarray, others: np.ndarray) -> float:
    """The 95th percentile of the distances from each of `points` (N, 2 or 3) to the nearest of `others` (M, 2 or 3).

    A k-d tree, for surfaces are sparse: 2 ms for a fetal head of 370 x 450 pixels where two exact distance transforms
    take 17 ms, and equal to the last digit; only masks of pure noise are faster by the transform (35 against 72 ms).
    """
    distances, _ = KDTree(others, leafsize=32).query(points)
    return float(np.percentile(distances, 95))


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    return "" if math.isnan(value) else repr(float(value))


def _row(columns: tuple[str, ...], fields: list[str]) -> Row:
    if len(fields) != len(columns):
        raise ValueError(f"expected {len(columns)} fields, found {len(fields)}")
    text = dict(zip(columns, fields, strict=True))
    if text["fold"] != HOLDOUT and not text["fold"].isdecimal():
        raise ValueError(f"fold = {text['fold']!r} is neither a number nor {HOLDOUT}")
    return Row(
        image=text["image"],
        patient=text["patient"],
        fold=text["fold"],
        file=text["file"],
        class_name=text["class"],
        **{name: _number(name, text[name]) for name in METRICS},
        truth_empty=_flag("truth_empty", text["truth_empty"]),
        prediction_empty=_flag("prediction_empty", text["prediction_empty"]),
        **{name: _number(name, text[name]) for name in _MEASURED if name in text},
    )


def _number(name: str, text: str) -> float:
    if not text and (name == "hausdorff95" or name in _MEASURED):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} = {text!r} is not a number from 0 up")
    return value


def _flag(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"{name} = {text!r} is neither 0 nor 1")
    return text == "1"
