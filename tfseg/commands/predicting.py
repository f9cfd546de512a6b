"""tfseg predict."""

import argparse
import json
from pathlib import Path

from tfseg.commands.opening import load_tensorflow
from tfseg.commands.output import say
from tfseg.errors import InputError


def predict(arguments: argparse.Namespace) -> None:
    """tfseg predict."""
    from tfseg import runs
    from tfseg.predict import expand, masks, refuse_existing, run_lengths
    from tfseg.progress import progress

    images = expand(arguments.inputs)
    if arguments.run.suffix not in (".keras", ".tflite"):
        runs.read_recipe(arguments.run)
    elif not arguments.run.is_file():
        raise InputError(f"{arguments.run}: no such file")
    load_tensorflow()
    from tfseg.inference import open_network, with_flips, write_masks
    from tfseg.lite.interpret import open_file
    from tfseg.overlays import overlay, write_png

    if arguments.run.suffix == ".tflite":
        predictor, masking = open_file(arguments.run)
    else:
        predictor, masking = open_network(arguments.run, fold=arguments.fold)
    if arguments.flips:
        predictor = with_flips(predictor)
    classes = masking.classes
    if arguments.class_name is not None:
        if arguments.class_name not in classes:
            raise InputError(f"--class {arguments.class_name}: this network knows {', '.join(classes)}")
        classes = (arguments.class_name,)
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
