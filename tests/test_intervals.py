"""The interval against a slow loop over the same draws, on samples with a known answer, and by how often it holds."""

import math
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tfseg import intervals
from tfseg.intervals import bootstrap_interval

sys.path.append(str(Path(__file__).parents[1] / "tools/bench"))
from interval_coverage import coverage, sample, student


def test_the_interval_equals_that_of_a_slow_loop_over_the_same_draws():
    rng = np.random.default_rng(1)
    patients = np.repeat([f"p{patient}" for patient in range(7)], [1, 5, 2, 2, 9, 1, 3])
    values = rng.random(len(patients)) ** 8  # skewed
    values[:3] = np.nan  # the first patient, who then takes no part, and two images of the second
    names = sorted(set(patients[3:].tolist()))

    def error(images, mean):
        squares = [(np.nansum(part) - mean * np.count_nonzero(~np.isnan(part))) ** 2 for part in images]
        return math.sqrt(6 / 5 * sum(squares)) / np.count_nonzero(~np.isnan(np.concatenate(images)))

    images = [values[patients == name] for name in names]
    mean = np.nanmean(values)
    whole = error(images, mean)
    ratios = []
    for draw in np.random.default_rng(3).integers(6, size=(50, 6)):
        drawn = [images[number] for number in draw]
        its_mean = np.nanmean(np.concatenate(drawn))
        ratios.append((its_mean - mean) / max(error(drawn, its_mean), whole / 4))
    low, high = np.percentile(ratios, [2.5, 97.5])
    t = stats.t.ppf(0.975, 5)
    assert (high > t) != (-low > t)  # so that both rules are seen here: bootstrap-t on one side, t on the other
    expected = mean - max(high, t) * whole, mean + max(-low, t) * whole
    # Rounding: sums of 20 numbers below 1 taken in another order differ by some 1e-16, and squares are subtracted.
    assert bootstrap_interval(values, patients, seed=3, resamples=50) == pytest.approx(expected, rel=1e-10)


def test_the_interval_of_a_mean_is_near_the_normal_one():
    # 400 patients of one image each, half of them 0 and half 1: the mean's standard error is 0.5 / sqrt(399) = 0.025.
    values = np.tile([0.0, 1.0], 200)
    low, high = bootstrap_interval(values, np.arange(400).astype(str), resamples=4000)
    # Such a quantile of 4000 draws has a standard error of 0.042 * 0.025 = 0.001: three of them, and t for 1.96.
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.005)


def test_patients_are_drawn_and_not_images():
    # Patients of a hundred equal images each are no more than patients of one.
    values, patients = np.array([0.2, 0.4, 0.5, 0.9]), np.array(list("abcd"))
    many = bootstrap_interval(np.repeat(values, 100), np.repeat(patients, 100))
    assert many == pytest.approx(bootstrap_interval(values, patients))


def test_ends_stay_within_what_a_mean_can_be():
    values, patients = np.array([0.0, 1.0]), np.array(["p", "q"])
    low, high = bootstrap_interval(values, patients)
    t = 12.706  # of one degree of freedom; the standard error of two patients is half their difference
    assert (low, high) == pytest.approx((0.5 - 0.5 * t, 0.5 + 0.5 * t), abs=1e-3)
    assert bootstrap_interval(values, patients, bounds=(0.0, 1.0)) == (0, 1)


def test_one_patient_says_nothing_and_equal_ones_differ_by_nothing():
    assert all(math.isnan(end) for end in bootstrap_interval(np.array([0.1, 0.9]), np.array(["p", "p"])))
    assert bootstrap_interval(np.full(6, 0.3), np.array(list("aabbcc"))) == pytest.approx((0.3, 0.3), rel=1e-12)


def test_equal_seeds_give_equal_intervals():
    values, patients = np.linspace(0, 1, 30) ** 4, np.arange(30).astype(str)
    assert bootstrap_interval(values, patients, seed=5) == bootstrap_interval(values, patients, seed=5)
    assert bootstrap_interval(values, patients, seed=5) != bootstrap_interval(values, patients, seed=6)


@pytest.mark.parametrize("patients", [3, 5, 10, 20])
def test_it_holds_the_mean_of_skewed_dice_as_often_as_it_says(patients):
    def ours(values, owner):
        return bootstrap_interval(values, owner, bounds=(0.0, 1.0), resamples=500)

    # 300 runs: a share of 0.94 has a standard error of 0.014; percentiles hold it in 0.72, 0.82, 0.87 and 0.90.
    share, width = coverage(ours, "skewed", patients, 300)
    assert share > 0.94 - 2.5 * 0.014
    assert width < 0.55  # of all that a Dice can be


def test_many_patients_take_no_more_memory_and_a_like_interval(monkeypatch):
    values, owner = sample("failing", 1999, np.random.default_rng(3))
    ours, theirs = bootstrap_interval(values, owner), student(values, owner)
    assert ours == pytest.approx(theirs, abs=0.05 * (theirs[1] - theirs[0]))  # so that 2000 patients may do with t
    assert ours != pytest.approx(theirs, rel=1e-9)
    monkeypatch.setattr(intervals, "_MANY", 1999)
    assert bootstrap_interval(values, owner) == pytest.approx(theirs, rel=1e-12)
    monkeypatch.undo()
    tracemalloc.start()
    bootstrap_interval(values, owner)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # 2000 draws of 1999 patients, 8 bytes each, are 32 MB when drawn at once
