"""Agreement with MONAI, an implementation that shares no line with ours."""

import numpy as np
import pytest
from scipy import ndimage

from tfseg.metrics import score

monai = pytest.importorskip("monai.metrics", reason="MONAI is not here: pip install 'tfseg[parity]'")
get_edge_surface_distance = pytest.importorskip("monai.metrics.utils").get_edge_surface_distance
torch = pytest.importorskip("torch", reason="torch is not here: pip install 'tfseg[parity]'")

# MONAI keeps quotients and distances in float32, where a rounding costs up to 6e-8 of the value, and each is rounded
# once or twice. (Counts are exact there, up to 2 ** 24 pixels.)
TOLERANCE = 1e-6
SPACINGS = (None, (0.8, 0.3))
CONFUSION = ("accuracy", "sensitivity", "specificity", "precision")


def blobs(seed):
    """A truth and a prediction that overlap, bool (H, W) each, neither empty, often cut by the image's border."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(24, 97, size=2))
    smooth, rough = (ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap") for sigma in (6, 2))
    truth, changed = smooth, smooth / smooth.std() + rng.uniform(0, 1) * rough / rough.std()
    share = rng.uniform(0.005, 0.6)
    return truth >= np.quantile(truth, 1 - share), changed >= np.quantile(changed, 1 - share * rng.uniform(0.5, 1.2))


def tensors(*masks):
    return (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in masks)


@pytest.fixture(scope="module")
def pairs():
    return [blobs(seed) for seed in range(200)]


def test_blobs_are_a_fair_sample(pairs):
    scores = [score(*pair) for pair in pairs]
    assert not any(s.truth_empty or s.prediction_empty for s in scores)
    assert min(s.dice for s in scores) < 0.4
    assert max(s.dice for s in scores) > 0.9
    assert sum(truth[0].any() or truth[-1].any() for truth, _ in pairs) > 50  # cut by the border


def test_dice_and_iou(pairs):
    for truth, prediction in pairs:
        ours, (y, y_pred) = score(truth, prediction), tensors(truth, prediction)
        assert ours.dice == pytest.approx(monai.compute_dice(y_pred, y).item(), rel=TOLERANCE)
        assert ours.iou == pytest.approx(monai.compute_iou(y_pred, y).item(), rel=TOLERANCE)


def test_confusion_matrix(pairs):
    for truth, prediction in pairs:
        ours, (y, y_pred) = score(truth, prediction), tensors(truth, prediction)
        counts = monai.get_confusion_matrix(y_pred, y)[0, 0]
        assert [ours.tp, ours.fp, ours.tn, ours.fn] == counts.tolist()
        for name in CONFUSION:
            theirs = monai.compute_confusion_matrix_metric(name, counts).item()
            assert getattr(ours, name) == pytest.approx(theirs, rel=TOLERANCE), name


# MONAI 1.6 calls a function of its own with an argument that it deprecates.
own_warning = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


@own_warning
@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_surface_distances(pairs, spacing_mm):
    """MONAI's distances, each rounded once to float32, and their percentiles taken in float64."""
    for truth, prediction in pairs:
        (y,), (y_pred,) = (tensor[0] for tensor in tensors(truth, prediction))
        _, directed, _ = get_edge_surface_distance(y_pred, y, spacing=spacing_mm, symmetric=True)
        theirs = max(np.percentile(distances.double().numpy(), 95) for distances in directed)
        assert score(truth, prediction, spacing_mm=spacing_mm).hausdorff95 == pytest.approx(theirs, rel=TOLERANCE)


@own_warning
@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_hausdorff95(pairs, spacing_mm):
    for truth, prediction in pairs:
        y, y_pred = tensors(truth, prediction)
        theirs = monai.compute_hausdorff_distance(y_pred, y, include_background=True, percentile=95, spacing=spacing_mm)
        ours = score(truth, prediction, spacing_mm=spacing_mm).hausdorff95
        # MONAI takes the percentile's rank, some 200, in float32 too. Its rounding, 8e-6, shifts the interpolation
        # between two distances that are a fraction of a pixel apart: 2e-6 of the result was the most seen.
        assert ours == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize("filled", [(), (0,), (1,)], ids=["both empty", "prediction empty", "truth empty"])
def test_dice_and_iou_of_empty_masks(filled):
    masks = [np.full((4, 4), index in filled) for index in range(2)]
    ours, (y, y_pred) = score(*masks), tensors(*masks)
    assert ours.dice == monai.compute_dice(y_pred, y, ignore_empty=False).item()
    assert ours.iou == monai.compute_iou(y_pred, y, ignore_empty=False).item()
