"""How many instructions a file takes on an Arm phone's CPU, and whether it answers there what it answers here.

    python tools/bench/arm.py prepare [--root DIR]
    python tools/bench/arm.py FILE.tflite ... [--onnx FILE.onnx ...] [--json FILE]
    python tools/bench/arm.py --networks [NAME ...] [--torch PYTHON[:PYTHON]] [--out FILE]

The first prepares what the others need, once. The second counts the instructions of one inference on an emulated
Cortex-A76, in one thread: of two inferences less those of one. The count of a .tflite file is the same in every run,
whatever else the machine does (ONNX Runtime, which reads the clock, differs by millionths), so that it shows any change
for the worse; but it is not time. The third does so for networks that ship (all, if none is named), with random
weights, at 256x256 in 8 bits, beside ONNX Runtime, and writes the table of docs/benchmarks.md; it needs interpreters as
inference.py does.
"""

import argparse
import dataclasses
import json
import math
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import emulator
import numpy as np

from tfseg.errors import InputError
from tfseg.lite import metadata

SIZE = 256
ONNX = ("u8s8.onnx", "s8s8.onnx")  # torch_export.py writes both; which is faster depends on the network


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="prepare | FILE.tflite")
    parser.add_argument("--onnx", nargs="+", type=Path, default=[], metavar="FILE.onnx")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--networks", nargs="*", metavar="NAME")
    parser.add_argument("--torch", default=os.environ.get("TFSEG_PARITY_PYTHON", sys.executable), metavar="PYTHON")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--root", type=Path, default=emulator.default_root(), metavar="DIR")
    arguments = parser.parse_args()
    if arguments.files == [Path("prepare")]:
        emulator.prepare(arguments.root)
        print(f"{arguments.root}: prepared")
        return
    if obstacle := emulator.obstacle(arguments.root):
        raise SystemExit(obstacle)
    if arguments.networks is not None:
        networks(arguments.networks, arguments.torch.split(os.pathsep), arguments.root, arguments.out)
        return
    for paths, suffix in ((arguments.files, ".tflite"), (arguments.onnx, ".onnx")):
        if refused := [str(path) for path in paths if path.suffix != suffix or not path.is_file()]:
            raise SystemExit(f"no {suffix} file: {', '.join(refused)}")
    if not arguments.files and not arguments.onnx:
        parser.error("name files, or --networks, or say prepare")
    result = []
    for path in arguments.files:
        answer = compare(path, arguments.root)
        result.append({"file": str(path)} | dataclasses.asdict(answer))
        print(f"{path}: {answer.instructions:,} instructions; {answer}", flush=True)
    for path in arguments.onnx:
        instructions = emulator.run(arguments.root, path).instructions
        result.append({"file": str(path), "instructions": instructions})
        print(f"{path}: {instructions:,} instructions", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a .tflite file does on the emulated CPU.

    Attributes:
        instructions: of one inference.
        equal: whether its outputs are, byte for byte, those of this host's CPU for the same image of noise.
        parts_at: if not, the first tensor that differs.
        flipped_pixels: how many pixels of the mask differ.
        pixels: of the mask.
    """

    instructions: int
    equal: bool
    parts_at: str
    flipped_pixels: int
    pixels: int

    def __str__(self) -> str:
        """Say whether it is equal."""
        if self.equal:
            return "equal outputs"
        return f"outputs part at {self.parts_at!r}, {self.flipped_pixels} of {self.pixels} pixels flipped"


def compare(path: Path, root: Path) -> Answer:
    """Run a .tflite file on the emulated CPU and on this one."""
    there, here = emulator.run(root, path), emulator.run_here(path)
    parted = _parted(here.outputs, there.outputs)
    if parted:
        parted = _parted(emulator.run_here(path, every=True).outputs, emulator.run(root, path, every=True).outputs)
        parted = parted or ["none, if all tensors are kept"]
    limit = threshold(path)
    flips = [(here.outputs[name] >= limit) != (there.outputs[name] >= limit) for name in here.outputs]
    return Answer(
        instructions=there.instructions,
        equal=not parted,
        parts_at=parted[0].partition(" ")[2] if parted else "",
        flipped_pixels=sum(int(flip.sum()) for flip in flips),
        pixels=sum(flip.size for flip in flips),
    )


def threshold(path: Path) -> float:
    """Return the output from which a pixel counts: what the metadata say, or one half for files that are not ours."""
    try:
        about = metadata.read(path)
    except InputError:
        return 0.5
    if about.head == "logits":
        return math.log(about.threshold / (1 - about.threshold))
    return about.threshold


def _parted(here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> list[str]:
    return [name for name, values in here.items() if values.tobytes() != there[name].tobytes()]


def networks(names: list[str], pythons: list[str], root: Path, out: Path | None) -> None:
    """Measure networks and print the table.

    The figures are written after each network, since all take an hour; what `out` already holds of others stays.
    """
    from inference import prepare, processor, torch_python
    from shipping import shipping

    kept = json.loads(out.read_text())["networks"] if out and out.exists() else []
    rows, result = {row["name"]: row for row in kept}, {}
    for name in names or shipping():
        with tempfile.TemporaryDirectory() as folder:
            prepare(name, SIZE, Path(folder), torch_python(name, pythons, "onnx", "onnxruntime"))
            answer = compare(Path(folder, "int8.tflite"), root)
            rivals = {kind: emulator.run(root, Path(folder, kind)).instructions for kind in ONNX}
        ratio = min(rivals.values()) / answer.instructions
        rows[name] = {"name": name, "tfseg": dataclasses.asdict(answer), "onnxruntime": rivals, "ratio": ratio}
        print(f"{name}: {answer.instructions:,} instructions; {answer}; {rivals}", file=sys.stderr, flush=True)
        result = {
            "settings": {"image_size": SIZE, "cpu": emulator.CPU, "host": processor()},
            "versions": emulator.versions(),
            "networks": list(rows.values()),
            "geometric_mean": statistics.geometric_mean(row["ratio"] for row in rows.values()),
        }
        result["table"] = table(result)
        if out:
            out.write_text(json.dumps(result, indent=1) + "\n")
    print(result["table"])


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    versions = result["versions"]
    lines = [
        f"Millions of instructions, not time, of one inference of a {SIZE}x{SIZE} image in 8 bits, in one thread of a "
        f"Cortex-A76 that QEMU {versions['qemu']} emulates: how long each takes, and how long memory makes it wait, is "
        f"not in them. LiteRT {versions['ai-edge-litert']}; ONNX Runtime {versions['onnxruntime']}, the better of its "
        "8-bit forms. Equal: the outputs are those of x86-64, byte for byte.",
        "",
        "| network | tfseg | ONNX Runtime | ONNX Runtime / tfseg | equal |",
        "|---|---:|---:|---:|---|",
    ]
    for row in result["networks"]:
        ours = row["tfseg"]
        numbers = f"{ours['instructions'] / 1e6:,.0f} | {min(row['onnxruntime'].values()) / 1e6:,.0f}"
        equal = "yes" if ours["equal"] else f"{ours['flipped_pixels']} of {ours['pixels']} pixels flip"
        lines.append(f"| {row['name']} | {numbers} | {row['ratio']:.2f} | {equal} |")
    return "\n".join([*lines, f"| geometric mean | | | {result['geometric_mean']:.2f} | |"])


if __name__ == "__main__":
    main()
