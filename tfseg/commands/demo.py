"""tfseg demo."""

import argparse
import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tfseg.commands.output import say
from tfseg.errors import InputError

if TYPE_CHECKING:
    from tfseg.bench.adb import Device


def demo(arguments: argparse.Namespace) -> None:
    """tfseg demo: serve the page until Ctrl-C."""
    from tfseg.demo import page
    from tfseg.demo.clip import open_clip
    from tfseg.demo.server import Server
    from tfseg.lite import metadata
    from tfseg.progress import progress

    models = find_models(arguments.paths)
    dataset = metadata.read(models[0]).dataset
    root = page.folder()
    page.litert(root)
    device = _phone(arguments)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(arguments.host, arguments.port))
        with progress() as watch:
            server.answers = page.answers(root, models, open_clip(dataset, arguments.clip, watch))
        server.start()
        stack.callback(server.shutdown)
        signal.signal(signal.SIGTERM, _stop)  # so that what was done to a phone is undone
        try:
            if device:
                from tfseg.demo.phone import reached

                stack.enter_context(reached(device, server.server_port))
                say(f"{device.serial}: opened http://localhost:{server.server_port}/")
            print(server.address, flush=True)
            say("Ctrl-C ends it")
            while True:
                signal.pause()
        except KeyboardInterrupt:
            say("stopped")


def find_models(paths: Sequence[Path]) -> list[Path]:
    """Return the .tflite files that the words of the command stand for: files, and runs' own.

    A run gives what `tfseg convert` left in it, or else what `kfold --deploy` left: of its final network, or of the
    first fold that has some.

    Raises:
        InputError: there is none.
    """
    from tfseg import runs

    if not paths:
        newest = runs.newest(Path("runs"))
        if newest is None:
            raise InputError("no run in runs: name a run folder or .tflite files")
        paths = [newest]
    found: dict[Path, None] = {}  # keeps the order, and each file once
    for path in paths:
        if path.is_dir():
            runs.read_recipe(path)
            folders = [path, path / runs.FINAL, *runs.fold_folders(path)]
            own = next((files for folder in folders if (files := _smallest_first(folder))), [])
            if not own:
                raise InputError(f"{path}: holds no .tflite file; make one with `tfseg convert {path} --int8 --fp16`")
            found |= dict.fromkeys(own)
        else:
            found[path] = None
    return list(found)


def _smallest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tflite"), key=lambda path: (path.stat().st_size, path.name))


def _phone(arguments: argparse.Namespace) -> "Device | None":
    if arguments.android:
        from tfseg.bench import adb

        return adb.choose(arguments.serial)
    if arguments.serial:
        raise InputError("--serial goes with --android")
    return None


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
