"""The course of a training: its learning rate from step to step, and how many passes its minutes hold."""

import math
import statistics
import sys
import time
from typing import Any

import keras
from keras import ops

Tensor = Any


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rise linearly from 0, then stay, or fall to 0 along half a cosine (Loshchilov and Hutter, arXiv:1608.03983).

    Without warm-up, and with `cosine`, it is keras.optimizers.schedules.CosineDecay.

    Args:
        learning_rate: at the end of the warm-up.
        steps: of the whole training; `set_steps` changes it.
        warmup: share of the steps that the rise takes, in [0, 1).
        cosine: whether it falls afterwards.
    """

    def __init__(self, learning_rate: float, steps: int, *, warmup: float, cosine: bool) -> None:
        self.learning_rate, self.warmup, self.cosine = learning_rate, warmup, cosine
        self._steps = keras.Variable(steps, dtype="float32", trainable=False, name="steps")

    def set_steps(self, steps: int) -> None:
        """Let the training end after so many steps: the rest of the curve is stretched or squeezed."""
        self._steps.assign(steps)

    def __call__(self, step: Tensor) -> Tensor:
        """Return the learning rate of a step, counted from 0."""
        done = ops.cast(step, "float32") / self._steps
        rest = ops.clip((done - self.warmup) / (1 - self.warmup), 0.0, 1.0)
        rate = self.learning_rate * (0.5 * (1 + ops.cos(math.pi * rest)) if self.cosine else ops.ones_like(rest))
        if not self.warmup:
            return rate
        return rate * ops.minimum(1.0, (done + 1 / self._steps) / self.warmup)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {
            "learning_rate": self.learning_rate,
            "steps": int(self._steps),
            "warmup": self.warmup,
            "cosine": self.cosine,
        }


class Clock:
    """Measures passes over the training images from when it is made, and says how many more fit into the time left.

    Args:
        minutes: of the whole training.

    Attributes:
        durations_s: of each pass so far, in seconds; a training that goes on in another process brings them along.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes, self.durations_s = minutes, list[float]()
        self._since = time.monotonic()

    def lap(self) -> None:
        """Note the end of a pass."""
        now = time.monotonic()
        self.durations_s.append(now - self._since)
        self._since = now

    def epochs_left(self) -> int:
        """Return how many passes of the median duration fit into the time left.

        The first pass, in which TensorFlow traces, is not typical: after it alone, any number fits while time is left.

        >>> clock = Clock(1)
        >>> clock.durations_s = [15.0, 5.0, 5.0]
        >>> clock.epochs_left()
        7
        """
        left = 60 * self.minutes - sum(self.durations_s)
        if len(self.durations_s) < 2:
            return sys.maxsize if left > 0 else 0
        return max(0, int(left / statistics.median(self.durations_s[1:])))
