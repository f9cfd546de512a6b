"""tfseg predict."""

import argparse
import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tfseg.commands.opening import load_tensorflow
from tfseg.commands.output import say
from tfseg.errors import InputError

if TYPE_CHECKING:
    from tfseg.inference import Masking, Predict
    from tfseg.predict_scans import Drawer, Input
    from tfseg.scans.stack import Window


def predict(arguments: argparse.Namespace) -> None:
    """tfseg predict."""
    from tfseg import runs
    from tfseg.predict import expand, masks, refuse_existing, run_lengths
    from tfseg.predict_scans import split_inputs
    from tfseg.progress import progress

    for path in (arguments.run, *([arguments.region] if arguments.region else [])):
        _require_network(path)
    scans, pictures = split_inputs(arguments.inputs)
    if scans:
        if pictures or arguments.overlay or arguments.rle:
            raise InputError("pictures, --overlay and --rle do not go with NIfTI, DICOM or video: say them apart")
        _predict_scans(arguments, scans)
        return
    if arguments.region or arguments.window:
        raise InputError("--region and --window are for volumes: NIfTI, or a DICOM series")
    images = expand(pictures)
    load_tensorflow()
    from tfseg.inference import write_masks
    from tfseg.overlays import overlay, write_png

    predictor, masking = _open(arguments.run, arguments)
    classes = _chosen(arguments, masking.classes)
    if arguments.rle and len(classes) > 1:
        raise InputError(f"--rle holds one class: choose it with --class ({', '.join(classes)})")
    outputs = [
        f"{name}_{part}.png" for name in images for part in (*classes, *(["overlay"] if arguments.overlay else []))
    ]
    refuse_existing([arguments.out / name for name in outputs] + ([arguments.rle] if arguments.rle else []))
    channel = [masking.classes.index(name) for name in classes]
    lines, written = [], []
    with progress() as watch:
        for done, (name, image, mask) in enumerate(masks(predictor, masking, images), 1):
            mask = mask[..., channel]
            written += write_masks(mask, arguments.out / name, classes)
            if arguments.overlay:
                written.append(write_png(arguments.out / f"{name}_overlay.png", overlay(image, None, mask)))
            lines.append((Path(name).name, run_lengths(mask[..., 0])))
            watch("predicting", done, len(images))
    if arguments.rle:
        runs.write_csv(arguments.rle, ("img", "pixels"), lines)
        written.append(arguments.rle)
    if arguments.json:
        print(json.dumps({"written": [str(path) for path in written]}, indent=2))
    else:
        say(f"{len(images)} images: {len(written)} files in {arguments.out}")


def _require_network(path: Path) -> None:
    from tfseg import runs

    if path.suffix not in (".keras", ".tflite"):
        runs.read_recipe(path)
    elif not path.is_file():
        raise InputError(f"{path}: no such file")


def _open(path: Path, arguments: argparse.Namespace) -> "tuple[Predict, Masking]":
    from tfseg.inference import open_network, with_flips
    from tfseg.lite.interpret import open_file

    is_file = path.suffix == ".tflite"
    predictor, masking = open_file(path) if is_file else open_network(path, fold=arguments.fold)
    return with_flips(predictor) if arguments.flips else predictor, masking


def _chosen(arguments: argparse.Namespace, classes: tuple[str, ...]) -> tuple[str, ...]:
    if arguments.class_name is None:
        return classes
    if arguments.class_name not in classes:
        raise InputError(f"--class {arguments.class_name}: this network knows {', '.join(classes)}")
    return (arguments.class_name,)


def _predict_scans(arguments: argparse.Namespace, scans: "dict[str, Input]") -> None:
    """NIfTI, DICOM and video."""
    from tfseg.predict import refuse_existing
    from tfseg.predict_scans import draw_all
    from tfseg.progress import progress

    window = _window(arguments.window)
    load_tensorflow()
    drawer = _drawer(arguments, window)
    refuse_existing(
        [path for name, scan in scans.items() for path in scan.outputs(arguments.out / name, drawer.chosen)]
    )
    with progress() as watch:
        written, frames, seconds = draw_all(scans, drawer, arguments.out, watch)
    rate = frames / seconds
    if arguments.json:
        answer = {"written": [str(path) for path in written], "frames": frames, "frames_per_second": rate}
        print(json.dumps(answer, indent=2))
    else:
        say(f"{frames} frames or slices, {rate:.1f} a second: {len(written)} files in {arguments.out}")


def _drawer(arguments: argparse.Namespace, window: "Window | None") -> "Drawer":
    from tfseg.predict_scans import Drawer

    predict, masking = _open(arguments.run, arguments)
    masking = dataclasses.replace(masking, window=window or masking.window)
    classes, whole = masking.classes, None
    if arguments.region:
        from tfseg import cascade

        finder, found = _open(arguments.region, arguments)
        organ = finder, dataclasses.replace(found, window=window or found.window)
        cascade.check(found, masking)
        classes = found.classes + classes
        whole = functools.partial(cascade.predict, organ, (predict, masking))
    return Drawer(
        predict=predict,
        masking=masking,
        classes=classes,
        chosen=_chosen(arguments, classes),
        name=arguments.run.stem,
        volume=whole,
    )


def _window(text: str | None) -> "Window | None":
    """Return the window that `--window LOW,HIGH` asks for."""
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise InputError(f"--window {text}: write two numbers, for example --window=-100,400") from error
    if not low < high:
        raise InputError(f"--window {text}: the first number is not below the second")
    return low, high
