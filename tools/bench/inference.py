"""How fast the shipped files run beside ONNX Runtime and PyTorch, on a CPU.

    python tools/bench/inference.py [--torch PYTHON[:PYTHON]] [--models NAME ...] [--threads 1 2] [--out FILE]

Every network that ships, with random weights, at 256x256: our .tflite files on XNNPACK in fp32 and int8, the network
exported from PyTorch in ONNX Runtime, fp32 and the faster of its 8-bit forms (activations unsigned and signed, weights
with a scale for each channel), and traced in PyTorch, channels last. Each runs in a process of its own; they are timed
in turn, so that a noisy machine hits all alike. Times are medians over the rounds, ratios are medians of the rounds'
ratios. The interpreters of --torch need torch, onnx and onnxruntime, and what training.py says.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfseg asks, which comes too late here

import keras
import numpy as np
from training import HERE, Worker, geometric_mean, processor, torch_python
from worker import Settings

from tfseg import models
from tfseg.lite import convert as converting
from tfseg.lite.calibration import Calibration
from tfseg.lite.convert import Options, convert
from tfseg.models.files import Card

UNFUSED = "lighter_unet@128"  # is also timed as it is without tfseg.lite.fuse
FILE_WORKER, TORCH_WORKER = HERE / "file_worker.py", HERE / "torch_inference_worker.py"
PUBLISHED = "segresnet"  # the network that the mobile paper ran in PyTorch, beside its shipping variant
TIMING_S = 0.5

Command = list[Any]  # an interpreter, its worker, and the worker's arguments after the settings: a file or a twin first


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=shipping(), metavar="NAME")
    parser.add_argument("--torch", default=os.environ.get("TFSEG_PARITY_PYTHON", sys.executable), metavar="PYTHON")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5, help="timings of each, of which the median counts")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            python = torch_python(name, arguments.torch.split(os.pathsep), "onnx", "onnxruntime")
            commands = prepare(name, arguments.image_size, Path(folder), python)
            for threads in arguments.threads:
                settings = Settings(name, arguments.image_size, 1, "float32", threads)
                rows.append({"name": name, "threads": threads} | measure(commands, settings, arguments.rounds))
                print(f"{name}, {threads}: {rows[-1]['ms']}", file=sys.stderr, flush=True)
        result = {
            "settings": {"image_size": arguments.image_size, "rounds": arguments.rounds},
            "processor": processor(),
            "networks": rows,
            "geometric_mean": means(rows),
        }
        result["table"] = table(result)
        if arguments.out:  # after each network: what is measured is kept
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def shipping() -> list[str]:
    """Return the networks that ship, and the widest Lighter U-Net, which fusing makes faster."""
    faithful = {name.rpartition("_")[0] for name in models.MODELS if name.endswith(("_bn", "_relu"))}
    return [*(name for name in models.MODELS if name not in faithful), UNFUSED]


def prepare(name: str, size: int, folder: Path, python: str) -> dict[str, Command]:
    """Write the files of a network into a folder and return what runs each."""
    keras.utils.set_random_seed(0)
    model = models.build(name, (size, size, 3), 1)
    card = Card(
        model=name,
        classes=("object",),
        activation="sigmoid",
        threshold=0.5,
        largest_component=False,
        dataset="random",
        fingerprint="",
        phantom=False,
        fold=None,
    )
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    images = Calibration(names=("0", "1"), images=list(noise))
    for precision in ("fp32", "int8"):
        (folder / f"{precision}.tflite").write_bytes(
            convert(model, card, Options(precision=precision, head="logits"), calibration=images)
        )
    if name == UNFUSED:
        with mock.patch.object(converting, "fuse", lambda network: network):
            content = convert(model, card, Options(precision="int8", head="logits"), calibration=images)
        (folder / "unfused.tflite").write_bytes(content)
    subprocess.run([python, HERE / "torch_export.py", name, str(size), folder], check=True)
    commands: dict[str, Command] = {
        path.name: [sys.executable, FILE_WORKER, path] for path in sorted(folder.glob("*.tflite"))
    }
    commands |= {path.name: [python, FILE_WORKER, path] for path in sorted(folder.glob("*.onnx"))}
    commands["torch"] = [python, TORCH_WORKER, name]
    if name == f"{PUBLISHED}_bn":
        commands[f"torch {PUBLISHED}"] = [python, TORCH_WORKER, PUBLISHED]
    return commands


def in_turn(
    commands: dict[str, Command], settings: Settings, rounds: int
) -> tuple[list[dict[str, float]], dict[str, dict[str, Any]]]:
    """Time all in turn: the seconds of each in every round, and what each says of itself, "peak_mib" with it."""
    workers = {key: Worker(command[:2], settings, *map(str, command[2:])) for key, command in commands.items()}
    facts = {key: worker.answer() for key, worker in workers.items()}
    warm = {key: worker.seconds(3) for key, worker in workers.items()}
    counts = {key: max(1, round(TIMING_S / seconds)) for key, seconds in warm.items()}
    times = [{key: worker.seconds(counts[key]) for key, worker in workers.items()} for _ in range(rounds)]
    for key, worker in workers.items():
        facts[key]["peak_mib"] = worker.peak_mib()
        worker.close()
    return times, facts


def measure(commands: dict[str, Command], settings: Settings, rounds: int) -> dict[str, Any]:
    """Time all in turn: the medians in milliseconds, and how many times as long as our int8 file each takes."""
    times, _ = in_turn(commands, settings, rounds)
    for row in times:
        row["onnxruntime int8"] = min(row.pop(key) for key in list(row) if key.endswith("8.onnx"))
    ours = {"int8.tflite": ["onnxruntime int8"], "fp32.tflite": ["fp32.onnx", "torch"]}
    ours["int8.tflite"] += [key for key in times[0] if key in ("unfused.tflite", f"torch {PUBLISHED}")]
    return {
        "ms": {key: round(1000 * statistics.median(row[key] for row in times), 2) for key in times[0]},
        "ratios": {
            f"{other} / {mine}": round(statistics.median(row[other] / row[mine] for row in times), 3)
            for mine, others in ours.items()
            for other in others
        },
    }


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the geometric mean of each ratio that all rows have."""
    common = set.intersection(*(set(row["ratios"]) for row in rows))
    return {key: round(geometric_mean([row["ratios"][key] for row in rows]), 3) for key in sorted(common)}


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| network | threads | tfseg int8, ms | ONNX Runtime int8 | ratio | fp32: tfseg | ONNX Runtime | PyTorch |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["networks"]:
        ms, ratio = row["ms"], row["ratios"]["onnxruntime int8 / int8.tflite"]
        numbers = [ms["int8.tflite"], ms["onnxruntime int8"]]
        others = [ms["fp32.tflite"], ms["fp32.onnx"], ms["torch"]]
        cells = [f"{value:.1f}" for value in numbers] + [f"{ratio:.2f}"] + [f"{value:.1f}" for value in others]
        lines.append(f"| {row['name']} | {row['threads']} | {' | '.join(cells)} |")
    mean = result["geometric_mean"]["onnxruntime int8 / int8.tflite"]
    lines.append(f"| geometric mean | | | | {mean:.2f} | | | |")
    extra = [
        f"{row['name']}, {row['threads']} thread{'s' * (row['threads'] > 1)}: {key} = {value:.2f}"
        for row in result["networks"]
        for key, value in row["ratios"].items()
        if "unfused" in key or PUBLISHED in key
    ]
    return "\n".join([*lines, "", *extra])


if __name__ == "__main__":
    main()
