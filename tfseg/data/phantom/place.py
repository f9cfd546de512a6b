"""A folder that appears when all in it is written: a killed process leaves nothing that looks whole."""

import contextlib
import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfseg.errors import InputError, WorkError


@contextlib.contextmanager
def appearing(root: Path) -> Iterator[Path]:
    """Yield a new folder beside `root` that takes its place when the block ends well, and is removed when it does not.

    What killed processes left beside `root` is removed first.

    Raises:
        InputError: `root` is neither absent nor an empty folder, or cannot be created where it is.
        WorkError: writing failed, for example on a full disk.
    """
    _require_vacant(root)
    place = root.resolve()
    partial = place.with_name(f".{place.name}.{os.getpid()}.phantom")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        partial.mkdir()
    except OSError as error:
        raise InputError(f"{root}: cannot create this folder ({error.strerror}); name another") from error
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # tells `_sweep` in other processes that somebody works here
        yield partial
        _require_vacant(root)
        partial.rename(place)
    except OSError as error:
        raise WorkError(f"{root}: cannot write the phantom ({error.strerror or error})") from error
    finally:
        os.close(descriptor)
        shutil.rmtree(partial, ignore_errors=True)


def _require_vacant(root: Path) -> None:
    try:
        vacant = not os.path.lexists(root) or (root.is_dir() and not any(root.iterdir()))
    except OSError as error:
        raise InputError(f"{root}: cannot look into it ({error.strerror}); name another folder") from error
    if not vacant:
        raise InputError(f"{root}: exists already; name a folder that is absent or empty")


def _sweep(place: Path) -> None:
    """Remove the unfinished folders beside `place` that no living process holds locked."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.phantom"):
        with contextlib.suppress(OSError):  # it is held, or its owner has just removed it
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(descriptor)
