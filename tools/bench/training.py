"""How fast each network trains beside the same network in PyTorch, and beside Keras' own layers, on a CPU.

    python tools/bench/training.py [--torch PYTHON[:PYTHON]] [--models NAME ...] [--precision bfloat16] [--out FILE]
    python tools/bench/training.py --profile NAME

One training step (Dice loss, Adam) of 128x128 images with three channels, in batches of 8. Each framework holds its
network ready in a process of its own; they are timed in turn, some steps at a time, so that a noisy machine hits all
alike. Times are medians over the rounds, ratios are medians of the rounds' ratios. PyTorch runs as fast as it can:
channels last, the faster form of Adam. It may need several interpreters: MONAI for SegResNet, Hugging Face Transformers
for SegFormer and MobileViTV2.
"""

import argparse
import dataclasses
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from worker import Settings

from tfseg import models

HERE = Path(__file__).parent
RIVALS = ("torch", "stock")
NEEDS = {"segresnet": "monai", "segformer": "transformers", "mobilevitv2": "transformers"}  # besides torch
SLOW_S = 20  # a first step longer than this is all that is timed: grouped convolutions of stock Keras take minutes
TIMING_S = 0.6  # of our own steps, in each round


def main() -> None:
    """Measure, print the table and write the figures; or profile one network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(models.MODELS), metavar="NAME")
    parser.add_argument("--torch", default=os.environ.get("TFSEG_PARITY_PYTHON", sys.executable), metavar="PYTHON")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="timings of each, of which the median counts")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="rows of networks not named stay in it")
    parser.add_argument("--profile", metavar="NAME", help="print the ten most expensive operations of our step")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])  # workers inherit it
    options: dict[str, Any] = {
        field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Settings)
    }
    if arguments.profile:
        print(profile(Settings(**options | {"name": arguments.profile})))
        return
    about: dict[str, Any] = {
        "settings": {key: value for key, value in options.items() if key != "name"},
        "host": {"processor": processor(), "system": platform.platform()},
    }
    result: dict[str, Any] = {}
    rows = kept(arguments.out, arguments.models, about)
    for name in arguments.models:
        settings = Settings(**options | {"name": name})
        rows.append(measure(settings, arguments.torch.split(os.pathsep), arguments.rounds))
        print(f"{name}: {rows[-1]['tfseg_ms']:.1f} ms", file=sys.stderr, flush=True)
        result = about | {
            "networks": in_order(rows),
            "geometric_mean": {rival: geometric_mean([row[f"{rival}_ratio"] for row in rows]) for rival in RIVALS},
        }
        result["table"] = table(result)
        if arguments.out:  # after each network: what is measured is kept
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(result["table"])


def kept(out: Path | None, names: list[str], about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of networks other than `names` that a file holds: these must be `about` the same measurement."""
    held = json.loads(out.read_text()) if out and out.exists() else {"networks": []}
    rows = [row for row in held["networks"] if row["name"] not in names]
    if rows and (other := [key for key in about if held.get(key) != about[key]]):
        raise SystemExit(f"{out}: was measured elsewhere or otherwise, by its {' and '.join(other)}: name another file")
    return rows


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows as `tfseg models` lists the networks."""
    return sorted(rows, key=lambda row: models.names().index(row["name"]))


def measure(settings: Settings, pythons: list[str], rounds: int) -> dict[str, Any]:
    """Time one network in all frameworks: milliseconds for each image, and how many times as long as ours they take."""
    workers = {
        "tfseg": Worker([sys.executable, HERE / "keras_worker.py"], settings),
        "torch": Worker([torch_python(settings.name, pythons), HERE / "torch_worker.py"], settings),
        "stock": Worker([sys.executable, HERE / "keras_worker.py"], settings, "stock"),
    }
    facts = {key: worker.answer() for key, worker in workers.items()}
    parameters = {key: fact["parameters"] for key, fact in facts.items()}
    if len(set(parameters.values())) > 1:
        raise SystemExit(f"{settings.name}: not the same network, by its trainable parameters: {parameters}")
    first = {key: fact["first_step_s"] for key, fact in facts.items()}
    quick = [key for key in workers if key == "tfseg" or first[key] < SLOW_S]
    second = first | {key: workers[key].seconds(1) for key in quick}  # after tracing, caches are filled
    steps = max(1, round(TIMING_S / second["tfseg"]))
    times = [{key: workers[key].seconds(steps) for key in quick} for _ in range(rounds)]
    for worker in workers.values():
        worker.close()

    rows = [second | row for row in times]
    result: dict[str, Any] = {"name": settings.name, "parameters": parameters["tfseg"]}
    for key in workers:
        result[f"{key}_ms"] = 1000 * statistics.median(row[key] for row in rows) / settings.batch_size
    for key in RIVALS:
        result[f"{key}_ratio"] = statistics.median(row[key] / row["tfseg"] for row in rows)
    result |= {"first_step_s": first, "first_step_only": [key for key in workers if key not in quick]}
    result["torch_adam"] = facts["torch"]["adam"]
    return result | {"versions": facts["tfseg"]["versions"] | facts["torch"]["versions"]}


class Worker:
    """A process that holds a network ready and makes steps on request (see worker.py)."""

    def __init__(self, command: list[Any], settings: Settings, *more: str) -> None:
        self.command = [*map(str, command), json.dumps(dataclasses.asdict(settings)), *more]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin
        assert self.process.stdout
        self.requests, self.answers = self.process.stdin, self.process.stdout

    def answer(self) -> Any:
        """Wait for the next answer."""
        line = self.answers.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.command)}: ended with {self.process.wait()}")
        return json.loads(line)

    def seconds(self, steps: int) -> float:
        """Let it make some steps and return how long one took."""
        return self._ask(str(steps))

    def peak_mib(self) -> float:
        """Return the most memory that it has held so far."""
        return self._ask("memory")

    def _ask(self, request: str) -> Any:
        self.requests.write(f"{request}\n")
        self.requests.flush()
        return self.answer()

    def close(self) -> None:
        """End the process."""
        self.requests.close()
        self.process.wait()
        self.answers.close()


def torch_python(name: str, pythons: list[str], *more: str) -> str:
    """Return the first interpreter that has `more` and what the network's twin needs."""
    needs = twin_needs(name, *more)
    if python := python_with(needs, pythons):
        return python
    raise SystemExit(f"{name}: none of {', '.join(pythons)} has {' and '.join(needs)}: name one that has with --torch")


def twin_needs(name: str, *more: str) -> list[str]:
    """Return the packages that the network's twin needs, and `more`."""
    return ["torch", *more, *(package for prefix, package in NEEDS.items() if name.startswith(prefix))]


def python_with(packages: list[str], pythons: list[str]) -> str | None:
    """Return the first interpreter that has all packages."""
    code = "import importlib.util as u, sys; sys.exit(any(u.find_spec(name) is None for name in sys.argv[1:]))"
    for python in pythons:
        if subprocess.run([python, "-c", code, *packages], check=False).returncode == 0:
            return python
    return None


def processor() -> str:
    """Return what the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def geometric_mean(values: list[float]) -> float:
    """Return the n-th root of the product."""
    return math.exp(statistics.mean(map(math.log, values)))


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    settings = result["settings"]
    versions = {key: version for row in result["networks"] for key, version in row["versions"].items()}
    lines = [
        f"{settings['image_size']}x{settings['image_size']}, batch {settings['batch_size']}, {settings['precision']}, "
        f"{settings['threads']} threads of {result['host']['processor']}, TensorFlow {versions['tensorflow']}, "
        f"Keras {versions['keras']}, torch {versions['torch']}. A star: the first step alone was timed.",
        "",
        "| network | tfseg, ms/image | PyTorch | stock Keras | PyTorch / tfseg | stock / tfseg |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["networks"]:
        marks = {key: "*" if key in row["first_step_only"] else "" for key in ("tfseg", *RIVALS)}
        times = " | ".join(f"{row[f'{key}_ms']:.1f}{mark}" for key, mark in marks.items())
        ratios = " | ".join(f"{row[f'{rival}_ratio']:.2f}" for rival in RIVALS)
        lines.append(f"| {row['name']} | {times} | {ratios} |")
    means = " | ".join(f"{result['geometric_mean'][rival]:.2f}" for rival in RIVALS)
    return "\n".join([*lines, f"| geometric mean | | | | {means} |"])


def profile(settings: Settings, steps: int = 3) -> str:
    """Return the ten most expensive kinds of operation and the ten most expensive operations of our step."""
    import tensorflow as tf
    from keras_worker import compiled
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    model = compiled(settings)
    image, mask = map(tf.constant, settings.batch())
    for _ in range(2):
        model.train_on_batch(image, mask)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                model.train_on_batch(image, mask)
        trace = xplane_pb2.XSpace()
        trace.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    operations: Counter[tuple[str, str]] = Counter()
    for plane in trace.planes:
        for event in (event for line in plane.lines for event in line.events):
            name, _, kind = plane.event_metadata[event.metadata_id].name.partition(":")
            if plane.name == "/host:CPU" and kind.isidentifier():
                operations[name, kind] += event.duration_ps / 1e9 / steps
    kinds: Counter[str] = Counter()
    for (_, kind), milliseconds in operations.items():
        kinds[kind] += milliseconds
    whole = kinds.total()

    def lines(found: Iterable[tuple[str, float]]) -> list[str]:
        return [f"{milliseconds:9.2f} ms {milliseconds / whole:6.1%}  {what}" for what, milliseconds in found]

    single = [(f"{kind}  {name}", milliseconds) for (name, kind), milliseconds in operations.most_common(10)]
    return "\n".join([*lines(kinds.most_common(10)), "", *lines(single)])


if __name__ == "__main__":
    main()
