"""Calibration: which images, and which ranges."""

import numpy as np
import pytest

from tfseg.lite.calibration import cheapest_range, choose, histogram

NAMES = [f"{number:03}.png" for number in range(200)]
LABELS = [["nerve"] if number % 4 == 0 else [] for number in range(200)]


def test_images_with_and_without_findings_keep_their_shares() -> None:
    chosen = choose(NAMES, LABELS, seed=0)
    assert len(chosen) == len(set(chosen)) == 64
    assert sum(int(name[:3]) % 4 == 0 for name in chosen) == 16
    assert chosen == sorted(chosen)


def test_a_rare_finding_is_among_them() -> None:
    labels = [["vessel"] if number == 77 else ["nerve"] for number in range(200)]
    assert "077.png" in choose(NAMES, labels, count=5, seed=0)


def test_the_choice_follows_the_seed() -> None:
    assert choose(NAMES, LABELS, seed=3) == choose(NAMES, LABELS, seed=3)
    assert choose(NAMES, LABELS, seed=3) != choose(NAMES, LABELS, seed=4)


def test_few_images_are_all_chosen() -> None:
    assert choose(NAMES[:5], LABELS[:5], seed=0) == NAMES[:5]


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 3, shape).astype(np.float32)


def test_values_that_all_matter_are_all_in_range() -> None:
    x = values(4, 1000)
    low, high = cheapest_range([histogram(row, np.ones_like(row)) for row in x])
    # A bin is 3 % wide and the range's ends are tried 12 % apart; clipping the last few per cent can be worth it.
    assert low == pytest.approx(-1, rel=0.15)
    assert high == pytest.approx(3, rel=0.15)


def test_values_that_move_nothing_do_not_widen_the_range() -> None:
    x = values(4, 1000)
    wide, slopes = (
        np.append(x, np.full((4, 1), 500, np.float32), axis=1),
        np.append(np.ones_like(x), np.zeros((4, 1)), 1),
    )
    low, high = cheapest_range([histogram(*pair) for pair in zip(wide, slopes, strict=True)])
    assert high == pytest.approx(3, rel=1)  # of 500, a hundredth is the least that is tried
    assert low == pytest.approx(-1, rel=0.15)


def test_one_image_does_not_rule_the_others() -> None:
    x = [values(1000, seed=seed) * (20 if seed == 0 else 1) for seed in range(16)]
    _, high = cheapest_range([histogram(row, np.ones_like(row)) for row in x])
    assert high < 6  # the one reaches to 60, all others to 3


def test_a_rectified_tensor_starts_at_zero_and_an_empty_one_is_nothing() -> None:
    x = np.maximum(values(1000), 0)
    assert cheapest_range([histogram(x, np.ones_like(x))])[0] == 0
    assert cheapest_range([histogram(0 * x, np.zeros_like(x))]) == (0, pytest.approx(0, abs=1e-30))


def test_where_no_value_matters_all_do() -> None:
    x = values(1000)
    low, high = cheapest_range([histogram(x, np.zeros_like(x))])
    assert (low, high) == (pytest.approx(-1, rel=0.15), pytest.approx(3, rel=0.15))
