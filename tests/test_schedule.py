"""The course of a training: its rates by hand, and the passes that fit into minutes."""

import sys

import keras
import numpy as np
import pytest

from tfseg.schedule import Clock, WarmupSchedule


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_it_rises_and_falls_along_half_a_cosine():
    schedule = WarmupSchedule(0.4, 10, warmup=0.2, cosine=True)
    expected = [0.2, 0.4, 0.4, 0.4 * 0.5 * (1 + np.cos(np.pi / 2)), 0]
    assert rates(schedule, [0, 1, 2, 6, 10]) == pytest.approx(expected, abs=1e-7)  # float32


def test_it_rises_and_stays():
    assert rates(WarmupSchedule(0.4, 10, warmup=0.2, cosine=False), [0, 1, 5, 20]) == pytest.approx([0.2] + 3 * [0.4])


def test_without_warm_up_it_is_keras():
    theirs = keras.optimizers.schedules.CosineDecay(1e-3, 77)
    ours = WarmupSchedule(1e-3, 77, warmup=0.0, cosine=True)
    steps = [0, 1, 40, 76, 77, 90]
    assert rates(ours, steps) == pytest.approx([float(theirs(step)) for step in steps], abs=1e-9)  # float32


def test_a_shorter_training_squeezes_the_curve():
    schedule = WarmupSchedule(1.0, 100, warmup=0.0, cosine=True)
    schedule.set_steps(20)
    assert rates(schedule, [10, 20]) == pytest.approx([0.5, 0], abs=1e-6)
    assert WarmupSchedule.from_config(schedule.get_config()).get_config() == schedule.get_config()


@pytest.mark.parametrize(
    ("durations_s", "expected"),
    [
        ([30.0], sys.maxsize),  # 120 s in all: time is left, and the first pass says nothing of the others
        ([130.0], 0),
        ([30.0, 10.0, 10.0], 7),  # 70 s are left, the first pass does not count
        ([60.0, 70.0], 0),
    ],
)
def test_the_clock_counts_what_fits(durations_s, expected):
    clock = Clock(2)
    clock.durations_s = durations_s
    assert clock.epochs_left() == expected
