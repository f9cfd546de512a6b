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

from shipping import files, shipping
from training import HERE, Worker, geometric_mean, in_order, kept, processor, torch_python
from worker import Settings

from tfseg.lite import convert as converting

UNFUSED = "lighter_unet"  # is also timed as it is without tfseg.lite.fuse
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
    parser.add_argument("--files", type=Path, metavar="DIR", help="keep the files there, and use those that are there")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="rows of networks not named stay in it")
    arguments = parser.parse_args()
    about: dict[str, Any] = {
        "settings": {"image_size": arguments.image_size, "rounds": arguments.rounds, "threads": arguments.threads},
        "processor": processor(),
    }
    rows = kept(arguments.out, arguments.models, about)
    result: dict[str, Any] = {}
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as scratch:
            python = torch_python(name, arguments.torch.split(os.pathsep), "onnx", "onnxruntime")
            folder = (arguments.files or Path(scratch)) / f"{name}-{arguments.image_size}"
            if not folder.exists():
                part = folder.with_name(f"{folder.name}.part")  # of an interrupted run: written anew
                write(name, arguments.image_size, part, python)
                part.rename(folder)
            commands = runners(name, folder, python)
            for threads in arguments.threads:
                settings = Settings(name, arguments.image_size, 1, "float32", threads)
                rows.append({"name": name, "threads": threads} | measure(commands, settings, arguments.rounds))
                print(f"{name}, {threads}: {rows[-1]['ms']}", file=sys.stderr, flush=True)
        result = about | {"networks": in_order(rows), "geometric_mean": means(rows)}
        result["table"] = table(result)
        if arguments.out:  # after each network: what is measured is kept
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def prepare(name: str, size: int, folder: Path, python: str) -> dict[str, Command]:
    """Write the files of a network into a folder and return what runs each."""
    write(name, size, folder, python)
    return runners(name, folder, python)


def write(name: str, size: int, folder: Path, python: str) -> None:
    """Convert a network, and export its twin from PyTorch."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = files(name, size, ("fp32", "int8"))
    if name == UNFUSED:
        with mock.patch.object(converting, "fuse", lambda network: network):
            contents |= {"unfused": files(name, size, ("int8",))["int8"]}
    for stem, content in contents.items():
        (folder / f"{stem}.tflite").write_bytes(content)
    subprocess.run([python, HERE / "torch_export.py", name, str(size), folder], check=True)


def runners(name: str, folder: Path, python: str) -> dict[str, Command]:
    """Return what runs each file of a folder, and the network in PyTorch."""
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
    size, rounds = result["settings"]["image_size"], result["settings"]["rounds"]
    lines = [
        f"{size}x{size}, {result['processor']}, medians of {rounds} rounds.",
        "",
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
