"""How work grows: tasks against workers of a Ray cluster on this host, and `tfseg kfold` against the number of images.

    python tools/bench/scale.py [--rounds 3] [--out tools/readme/scale.json]

The cluster has 1, 2 and 4 nodes of one worker each. A task waits as long as it is told to and sends a file home twice,
as a fold does after its epochs: what is measured is not the processor but what sending, watching and fetching add. The
overhead of a task is the time that each one more takes, less its waiting, so that starting the pool does not count.

`tfseg kfold` runs on 1, 4 and 16 times as many simulated images of as many more subjects, each time in a fresh process
whose peak memory is read. The cost of an image is that of each one more, in time of the processors, which does not
count what else the machine does. All figures are medians over rounds that take turns.
"""

import argparse
import functools
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from training import processor

from tfseg.data import phantom
from tfseg.engine import Engine, Piece, Ray, Where
from tfseg.progress import Watch, silent

WORKERS = (1, 2, 4)
TASKS = (8, 32)
WAIT_S = 0.5  # of a task
SENT_BYTES = 1 << 20
FACTORS = (1, 4, 16)
SUBJECTS, FRAMES = 6, 4  # at factor 1
KFOLD = ("--folds", "2", "--epochs", "1", "--image-size", "32", "--batch-size", "4", "--model", "segresnet_bn")


def main() -> None:
    """Measure, print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, of which the median counts")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = {
            "settings": {"rounds": arguments.rounds, "wait_s": WAIT_S, "sent_bytes": SENT_BYTES, "kfold": KFOLD},
            "host": host(),
            "versions": {name: metadata.version(name) for name in ("tensorflow", "ray")},
            "workers": [on_workers(count, Path(folder), arguments.rounds) for count in WORKERS],
            "images": on_images(Path(folder), arguments.rounds),
        }
    result["table"] = table(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(result["table"])


def host() -> dict[str, Any]:
    """Return what the figures were measured on, and how busy it was beforehand."""
    return {
        "processor": processor(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
    }


def on_workers(workers: int, folder: Path, rounds: int) -> dict[str, Any]:
    """Time tasks on a cluster of that many workers: seconds of each number of tasks, and the overhead of one."""
    import ray
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": {"worker_niceness": 0}}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(workers):
        cluster.add_node(num_cpus=1)
    engine = Ray(address=str(cluster.address), cpus=1)
    start = time.perf_counter()
    ray.init(address=engine.address, log_to_driver=False, logging_level=logging.CRITICAL)
    join_s = time.perf_counter() - start
    seconds(engine, 2 * workers, folder / f"warm{workers}")  # starts the workers' processes
    times = [
        {count: seconds(engine, count, folder / f"{workers}-{count}-{number}") for count in TASKS}
        for number in range(rounds)
    ]
    ray.shutdown()
    cluster.shutdown()
    return {"workers": workers, "join_s": join_s} | summed_up(workers, times)


def summed_up(workers: int, times: list[dict[int, float]]) -> dict[str, Any]:
    """Return medians of seconds, and the worker's time that one more task takes, less its waiting."""
    few, many = TASKS
    more = [workers * (row[many] - row[few]) / (many - few) - WAIT_S for row in times]
    seconds = {count: statistics.median(row[count] for row in times) for count in TASKS}
    return {"seconds": seconds, "overhead_s": statistics.median(more)}


def seconds(engine: Engine, count: int, run: Path) -> float:
    """Return how long an engine takes for so many tasks."""
    pieces = [
        Piece(
            name=str(number),
            run=run,
            folder=str(number),
            work=functools.partial(wait, folder=str(number)),
            files=(),
            share=lambda watch: watch,
        )
        for number in range(count)
    ]
    start = time.perf_counter()
    assert len(list(engine.run(pieces, watch=silent))) == count
    return time.perf_counter() - start


def wait(run: Path, where: Where, watch: Watch, *, folder: str) -> None:
    """Wait, and leave a file twice."""
    del where
    (run / folder).mkdir(parents=True, exist_ok=True)
    for epoch in (1, 2):
        time.sleep(WAIT_S / 2)
        (run / folder / "state").write_bytes(os.urandom(SENT_BYTES))
        watch("training", epoch, 2, f"epoch {epoch}/2")


def on_images(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Time `tfseg kfold` on more and more images: what each takes, and what one more does."""
    for factor in FACTORS:
        phantom.generate("nerve", folder / f"nerve{factor}", subjects=SUBJECTS * factor, frames=FRAMES)
    found = [{factor: kfold(folder, factor, number) for factor in FACTORS} for number in range(rounds)]
    rows = []
    for before, factor in zip((None, *FACTORS), FACTORS, strict=False):
        row: dict[str, Any] = {"images": SUBJECTS * FRAMES * factor}
        row |= {key: statistics.median(each[factor][key] for each in found) for key in ("s", "cpu_s", "peak_mib")}
        first = FACTORS[0]
        row["peak_ratio"] = statistics.median(each[factor]["peak_mib"] / each[first]["peak_mib"] for each in found)
        if before:
            more = SUBJECTS * FRAMES * (factor - before)
            costs = [each[factor]["cpu_s"] - each[before]["cpu_s"] for each in found]
            row["cpu_s_of_one_more"] = statistics.median(costs) / more
        rows.append(row)
    return rows


def kfold(folder: Path, factor: int, number: int) -> dict[str, float]:
    """Return what one run in a fresh process takes: seconds, those of the processors, and peak memory."""
    words = ("--dataset", "nerve", "--data", folder / f"nerve{factor}", "--out", folder / f"run{factor}-{number}")
    command = [sys.executable, "-m", "tfseg", "kfold", *map(str, words), *KFOLD]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    settings, host, versions = result["settings"], result["host"], result["versions"]
    few, many = TASKS
    lines = [
        f"Tasks of {settings['wait_s']} s that send {settings['sent_bytes'] >> 20} MiB home twice, on a Ray "
        f"{versions['ray']} cluster of that many nodes with one worker each, all on one host with {host['cpus']} CPUs "
        f"({host['processor']}; load before the first: {host['load']}); medians of {settings['rounds']} rounds.",
        "",
        f"| workers | {few} tasks, s | {many} tasks, s | waiting alone, s | speed-up | overhead of a task, ms |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["workers"]:
        alone = f"{few * settings['wait_s'] / row['workers']:.1f} / {many * settings['wait_s'] / row['workers']:.1f}"
        speed = result["workers"][0]["seconds"][many] / row["seconds"][many]
        times = f"{row['seconds'][few]:.1f} | {row['seconds'][many]:.1f}"
        lines.append(f"| {row['workers']} | {times} | {alone} | {speed:.2f} | {1000 * row['overhead_s']:.0f} |")
    lines += [
        "",
        f"`tfseg kfold {' '.join(settings['kfold'])}` on simulated images, TensorFlow {versions['tensorflow']}.",
        "",
        "| images | s | processors, s | one more image, ms | peak memory, MiB | peak against the first |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["images"]:
        more = f"{1000 * row['cpu_s_of_one_more']:.0f}" if "cpu_s_of_one_more" in row else ""
        peak = f"{row['peak_mib']:.0f} | {row['peak_ratio']:.2f}"
        lines.append(f"| {row['images']} | {row['s']:.1f} | {row['cpu_s']:.1f} | {more} | {peak} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
