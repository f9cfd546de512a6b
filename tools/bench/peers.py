"""The same network in LiteRT (ours), ONNX Runtime, PyTorch, OpenVINO and ExecuTorch: latency, memory, size of the file.

    python tools/bench/peers.py NAME ... [--torch PYTHON[:PYTHON]] [--image-size 256] [--threads 1] [--out FILE.json]

Random weights; all are prepared and timed as in inference.py, each in a process of its own that opens one file, in
turn. OpenVINO reads the files of ONNX Runtime; ExecuTorch runs on XNNPACK. In 8 bits ONNX Runtime and OpenVINO show the
faster of their two forms. Memory is the most that the process held, Python and the runtime with it, which a phone does
not load this way: what it held before it opened the file is shown beside it. The first interpreter of --torch that has
what a runtime needs runs it; what none has, and what cannot be exported, is listed below the table.
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

from inference import FILE_WORKER, TORCH_WORKER, Command, in_turn, prepare
from training import HERE, processor, python_with, torch_python, twin_needs
from worker import Settings

TITLES = {
    "litert": "tfseg, LiteRT",
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch, traced",
    "openvino": "OpenVINO",
    "executorch": "ExecuTorch, XNNPACK",
}
ONNX = {"fp32": "fp32.onnx", "int8 u8s8": "u8s8.onnx", "int8 s8s8": "s8s8.onnx"}


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--torch", default=os.environ.get("TFSEG_PARITY_PYTHON", sys.executable), metavar="PYTHON")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="timings of each, of which the median counts")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    networks, missing = [], []
    for name in arguments.names:
        settings = Settings(name, arguments.image_size, 1, "float32", arguments.threads)
        with tempfile.TemporaryDirectory() as folder:
            commands, reasons = prepare_all(settings, Path(folder), arguments.torch.split(os.pathsep))
            rows = measure(commands, settings, arguments.rounds)
        networks.append({"name": name, "runtimes": rows})
        missing += [reason for reason in reasons if reason not in missing]
        print(f"{name}: {[(row['runtime'], row['precision'], row['ms']) for row in rows]}", file=sys.stderr, flush=True)
    result: dict[str, Any] = {
        "settings": {key: getattr(arguments, key) for key in ("image_size", "threads", "rounds")},
        "processor": processor(),
        "networks": networks,
        "not_measured": missing,
    }
    result["table"] = table(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(result["table"])


def prepare_all(settings: Settings, folder: Path, pythons: list[str]) -> tuple[dict[str, Command], list[str]]:
    """Write the files of a network into a folder.

    Returns:
        What runs each file, under "RUNTIME PRECISION" or "RUNTIME PRECISION FORM", and why others are not measured.
    """
    name, size = settings.name, settings.image_size
    ours = prepare(name, size, folder, torch_python(name, pythons, "onnx", "onnxruntime"))
    commands = {f"litert {precision}": ours[f"{precision}.tflite"] for precision in ("fp32", "int8")}
    commands |= {f"onnxruntime {form}": ours[file] for form, file in ONNX.items()}
    missing = []
    for runtime, worker, suffix in (("torch", TORCH_WORKER, ".pt"), ("executorch", FILE_WORKER, ".pte")):
        needs = twin_needs(name, *({runtime} - {"torch"}))  # it names torch itself
        path = folder / f"{runtime}{suffix}"
        if not (python := python_with(needs, pythons)):
            missing.append(_not_installed(runtime, needs, pythons))
        elif reason := save(name, size, path, python):
            missing.append(f"{runtime}: {name} cannot be exported: {reason}")
        else:
            commands[f"{runtime} fp32"] = [python, worker, path]
    if python := python_with(["openvino"], pythons):
        commands |= {
            f"openvino {form}": [python, FILE_WORKER, folder / file, "openvino"] for form, file in ONNX.items()
        }
    else:
        missing.append(_not_installed("openvino", ["openvino"], pythons))
    return commands, missing


def _not_installed(runtime: str, needs: list[str], pythons: list[str]) -> str:
    return f"{runtime}: none of {', '.join(pythons)} has {' and '.join(needs)}"


def save(name: str, size: int, path: Path, python: str) -> str:
    """Let an interpreter write the network's twin into a file; return what hindered it, or ""."""
    command = [python, HERE / "torch_save.py", name, str(size), path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip().rpartition("\n")[2] or f"ended with {done.returncode}") if done.returncode else ""


def measure(commands: dict[str, Command], settings: Settings, rounds: int) -> list[dict[str, Any]]:
    """Time all in turn and return a row for each runtime and precision, of the fastest form where there are several."""
    times, facts = in_turn(commands, settings, rounds)
    return rows({key: command[2].stat().st_size for key, command in commands.items()}, times, facts)


def rows(
    sizes: dict[str, int], times: list[dict[str, float]], facts: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what was measured, by runtime and precision; the ratio is to our file of the same precision."""
    ms = {key: 1000 * statistics.median(row[key] for row in times) for key in sizes}
    best: dict[tuple[str, str], str] = {}
    for key in sizes:
        runtime, precision = key.split()[:2]
        best[runtime, precision] = min(best.get((runtime, precision), key), key, key=lambda form: ms[form])
    return [
        {
            "runtime": runtime,
            "version": facts[key]["version"],
            "precision": precision,
            "form": key,
            "ms": round(ms[key], 2),
            "ratio": round(statistics.median(row[key] / row[f"litert {precision}"] for row in times), 3),
            "peak_mib": round(facts[key]["peak_mib"], 1),
            "imported_mib": round(facts[key]["imported_mib"], 1),
            "file_mb": round(sizes[key] / 1e6, 3),
        }
        for (runtime, precision), key in best.items()
    ]


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    settings = result["settings"]
    versions = {row["runtime"]: row["version"] for network in result["networks"] for row in network["runtimes"]}
    lines = [
        f"{settings['image_size']}x{settings['image_size']}, {settings['threads']} thread"
        f"{'s' * (settings['threads'] > 1)} of {result['processor']}, median of {settings['rounds']} rounds; "
        f"{', '.join(f'{runtime} {version}' for runtime, version in versions.items())}.",
        "",
        "| network | precision | runtime | ms | / tfseg | peak memory, MiB | before the file, MiB | file, MB |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for network in result["networks"]:
        for row in sorted(network["runtimes"], key=lambda row: row["precision"]):
            numbers = f"{row['ms']:.1f} | {row['ratio']:.2f} | {row['peak_mib']:.0f} | {row['imported_mib']:.0f}"
            title = TITLES[row["runtime"]]
            lines.append(f"| {network['name']} | {row['precision']} | {title} | {numbers} | {row['file_mb']:.2f} |")
    notes = [f"not measured: {reason}" for reason in result["not_measured"]]
    return "\n".join([*lines, *([""] if notes else []), *notes])


if __name__ == "__main__":
    main()
