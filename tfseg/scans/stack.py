"""A stack: slices of a volume or frames of a clip, each read when it is wanted."""

from typing import Protocol

import numpy as np

Window = tuple[float, float]  # the values that become 0 and 1


class Stack(Protocol):
    """What volumes, series and clips have in common.

    Attributes:
        shape: (D, H, W): slices or frames, rows, columns.
        spacing_mm: (slice, row, column) distance of pixel centres in mm, or None.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None: ...

    def read(self, index: int, *, window: Window | None) -> np.ndarray:
        """Return one slice, float32 (H, W, 1) or (H, W, 3) in [0, 1].

        Args:
            index: from 0.
            window: in the units of the scanner (Hounsfield for CT); None takes what the file says of its own range.

        Raises:
            InputError: it cannot be decoded, holds voxels that are no numbers, or nothing says what its range is.
        """
        ...

    def close(self) -> None:
        """Give back files and temporary copies."""
        ...


def scaled(values: np.ndarray, window: Window) -> np.ndarray:
    """Return values as float32 in [0, 1]: the window's lower end and all below are 0, its upper end and above 1.

    >>> scaled(np.array([-1000, -100, 150, 400, 3000]), (-100, 400))
    array([0. , 0. , 0.5, 1. , 1. ], dtype=float32)
    """
    low, high = window
    return np.clip((values.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
