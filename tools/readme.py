"""Write the tables of README.md and docs/ and the README's picture from runs; nothing in them is typed by hand.

python tools/readme.py --demo runs/demo                   # the picture
python tools/readme.py --result runs/usgra                # a row of the table of results
python tools/readme.py --shipped runs/usgra-deploy        # what the files of a run lose
python tools/readme.py --study studies/lighter            # the table of a study
tfseg compare RUN TAUGHT_RUN --json > tools/readme/teachers/NETWORK.json     # a row of what a teacher is worth
tfseg models --json > tools/readme/networks.json          # the table of networks
python tools/bench/training.py --out tools/readme/training.json    # beside PyTorch: see there
python tools/bench/inference.py --out tools/readme/inference.json
python tools/bench/arm.py --networks NAME ... --out tools/readme/arm.json
python tools/zoo_table.py --out tools/readme/zoo.json
python tools/bench/accuracy.py RUN --minutes N --smp PYTHON --nnunet PYTHON --out tools/readme/accuracy.json
python tools/bench/shipping.py DIR; tfseg benchmark DIR/*.tflite --runs 10 --json results
python tools/readme.py --latency results                  # of those files
python tools/readme.py                                    # the pages again, from what tools/readme holds
"""

import argparse
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfseg.bench.result import UNSTEADY, read_all

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tools" / "readme"
PRECISIONS = ("fp32", "fp16", "dynamic", "int8")


def main() -> None:
    """Keep what the named runs say, then write the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--demo", type=Path, metavar="RUN", help="take the picture from this run")
    parser.add_argument(
        "--result", type=Path, metavar="RUN", action="append", default=[], help="take the scores of this run"
    )
    parser.add_argument(
        "--shipped", type=Path, metavar="RUN", action="append", default=[], help="take what the files of this run lose"
    )
    parser.add_argument(
        "--latency", type=Path, metavar="DIR", help="take the latencies that tfseg benchmark left there"
    )
    parser.add_argument(
        "--study", type=Path, metavar="DIR", action="append", default=[], help="take the table of this study"
    )
    arguments = parser.parse_args()
    if arguments.latency:
        keep_latency(arguments.latency)
    if arguments.demo:
        shutil.copyfile(arguments.demo / "figures" / "case_best_1.png", KEPT / "demo.png")
    for run in arguments.result:
        keep(run, "results")
    for run in arguments.shipped:
        keep(run, "shipped")
    for folder in arguments.study:
        keep_study(folder)
    for page in PAGES:
        (ROOT / page).write_text(rendered(page, (ROOT / page).read_text(encoding="utf-8")), encoding="utf-8")


def keep(run: Path, section: str) -> None:
    """Copy what a section shows of a run into tools/readme."""
    summary = json.loads((run / "summary.json").read_text())
    provenance = json.loads((run / "provenance.json").read_text())
    recipe = (run / "recipe.toml").read_text()
    model = re.search(r'^model = "(.*)"$', recipe, re.MULTILINE)
    folds = re.search(r"^folds = (\d+)$", recipe, re.MULTILINE)
    assert model
    assert folds
    about = {key: summary["data"][key] for key in ("name", "phantom", "fingerprint", "images", "patients")}
    kept = {
        "command": command(provenance["command"]),
        "model": model[1],
        "folds": int(folds[1]),
        "data": about,
        "hausdorff_unit": summary["hausdorff_unit"],
        "versions": provenance["versions"],
        "git_commit": provenance["git_commit"],
        "files": summary["files"],
        "comparisons": summary["comparisons"],
    }
    path = KEPT / section / f"{about['name']}-{model[1]}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n")


def keep_study(folder: Path) -> None:
    """Copy a study's table into tools/readme, without the folders of the machine it ran on."""
    study = json.loads((folder / "study.json").read_text())
    study["command"] = command(study["command"]).split()
    for about in study["data"].values():
        del about["root"]
    name = "-".join([study["study"], *study["data"]])
    path = KEPT / "studies" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(study, indent=1) + "\n")


def keep_latency(folder: Path) -> None:
    """Keep a host's latencies in tools/readme/latency.json: of each network, by its precision, in one thread."""
    cells = [
        cell for cell in read_all(folder) if cell.target == "host" and cell.delegate == "cpu" and cell.threads == 1
    ]
    networks: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in cells:
        name = Path(cell.file).name.removesuffix(f"-{cell.precision}.tflite")
        found = {"median_ms": cell.median_ms, "status": cell.status}
        networks.setdefault(name, {})[cell.precision] = found
    kept = {"device": cells[0].device, "harness": cells[0].harness, "networks": networks}
    (KEPT / "latency.json").write_text(json.dumps(kept, indent=1) + "\n")


def command(words: list[str]) -> str:
    """Return a command without the folders of the machine it ran on.

    >>> command(["tfseg", "kfold", "--dataset", "usgra", "--data", "/home/me/usgra", "--out", "runs/1", "--resume"])
    'tfseg kfold --dataset usgra --data DIR'
    """
    kept: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if word not in ("--resume", "--out") and before != "--out":
            kept.append("DIR" if before == "--data" else word)
    return " ".join(kept)


def rendered(page: str, text: str) -> str:
    """Return the text of a page with what is between its markers written anew."""
    for name, write in PAGES[page].items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        assert pattern.search(text), f"{page} has lost its markers <!-- {name} -->"
        text = pattern.sub(lambda match, write=write: match[1] + write() + match[2], text)
    return text


def results() -> str:
    """Return the table of results from tools/readme/results/*.json, and their commands."""
    rows, commands = [], []
    for path in sorted((KEPT / "results").glob("*.json")):
        kept: dict[str, Any] = json.loads(path.read_text())
        commands.append(kept["command"])
        for file, classes in kept["files"].items():
            rows += [row(kept, file, name, measured) for name, measured in classes.items()]
    header = ("Data", "Network", "Class", "Images", "Folds", "Dice", "IoU", "Sensitivity", "HD95")
    return table(header, rows) + "\n```\n" + "".join(f"{line}\n" for line in commands) + "```\n"


def shipped() -> str:
    """Return what the files of the runs in tools/readme/shipped/*.json lose, and their commands."""
    rows, commands = [], []
    for path in sorted((KEPT / "shipped").glob("*.json")):
        kept: dict[str, Any] = json.loads(path.read_text())
        commands.append(kept["command"])
        for file, classes in kept["comparisons"].items():
            for name, found in classes.items():
                dice = found["dice"]
                interval = f"{dice['mean']:+.4f} [{dice['low']:+.4f}, {dice['high']:+.4f}]"
                flipped = f"{found['flipped']} of {found['images']}"
                about = (kept["data"]["name"], kept["model"], name, file)
                rows.append((*about, f"{found['score']:.3f}", interval, flipped))
    header = ("Data", "Network", "Class", "File", "Dice", "less the network's", "Flipped")
    return table(header, rows) + "\n```\n" + "".join(f"{line}\n" for line in commands) + "```\n"


def studies() -> str:
    """Return the tables of tools/readme/studies/*.json, ours beside the published numbers, and their commands."""
    from tfseg.study.table import markdown
    from tfseg.study.table import table as study_table

    kept = [json.loads(path.read_text()) for path in sorted((KEPT / "studies").glob("*.json"))]
    return "\n".join(f"{markdown(study_table(study))}\n```\n{' '.join(study['command'])}\n```\n" for study in kept)


def teachers() -> str:
    """Return the table of pupils alone and with a teacher, from tools/readme/teachers/*.json."""
    rows = []
    for path in sorted((KEPT / "teachers").glob("*.json")):
        kept = json.loads(path.read_text())
        for name, (taught,) in kept["classes"].items():
            dice, alone = taught["dice"], taught["score"] - taught["dice"]["mean"]
            interval = f"{dice['mean']:+.3f} [{dice['low']:+.3f}, {dice['high']:+.3f}]"
            counts = f"{taught['wins']}, {taught['losses']}"
            scores = (f"{alone:.3f}", f"{taught['score']:.3f}", interval, counts)
            rows.append((kept["data"], path.stem, name, taught["images"], *scores))
    header = (
        "Data",
        "Network",
        "Class",
        "Images",
        "Dice alone",
        "with a teacher",
        "Difference",
        "Images higher, lower",
    )
    return table(header, rows)


def networks() -> str:
    """Return the table of networks from tools/readme/networks.json."""
    rows = [
        (row["name"], f"{row['parameters']:,}", f"{row['gmac']:.2f}", row["stride"], row["paper"])
        for row in json.loads((KEPT / "networks.json").read_text())
    ]
    return table(("Network", "Parameters", "GMAC", "Stride", "From"), rows)


def sizes() -> str:
    """Return the sizes of each network's files and how far their probabilities are off, from tools/readme/zoo.json."""
    rows = [
        (row["name"], *(f"{file['megabytes']:.2f}, {file['largest_difference']:.1g}" for file in row["files"].values()))
        for row in json.loads((KEPT / "zoo.json").read_text())["networks"]
    ]
    return table(("Network", *PRECISIONS), rows)


def speed() -> str:
    """Return the table of latencies here, from tools/readme/latency.json, beside the instructions on Arm."""
    here = json.loads((KEPT / "latency.json").read_text())
    arm = json.loads((KEPT / "arm.json").read_text())
    counts = {row["name"]: (row["tfseg"]["instructions"] / 1e6, row["ratio"]) for row in arm["networks"]}
    precisions = ("fp32", "fp16", "int8")
    rows = []
    for name, files in sorted(here["networks"].items(), key=lambda item: item[1]["int8"]["median_ms"] or math.inf):
        count, ratio = counts.get(name, (None, None))
        times = [latency(**files[precision]) for precision in precisions]
        rows.append((name, *times, "" if count is None else f"{count:,.0f}", "" if ratio is None else f"{ratio:.2f}"))
    header = ("Network", *(f"{precision}, ms" for precision in precisions), "int8 on Arm, million instructions")
    about = f"One thread of {here['device']}, {here['harness']}; ~: unsteady, the machine was busy.\n\n"
    return about + table((*header, "ONNX Runtime's / ours"), rows)


def latency(median_ms: float | None, status: str) -> str:
    """Write a latency, marked where two series did not agree."""
    return status if median_ms is None else f"{median_ms:.1f}{'~' if status == UNSTEADY else ''}"


def bench(name: str) -> str:
    """Return the table that a tool of tools/ has written into tools/readme/NAME.json."""
    return json.loads((KEPT / f"{name}.json").read_text())["table"] + "\n"


ACCURACY = """## Accuracy beside peers

    python tools/bench/accuracy.py RUN --minutes N --smp PYTHON --nnunet PYTHON --out tools/readme/accuracy.json

The same images, folds, minutes of training and two cores for tfseg, for the U-Net of segmentation_models_pytorch on
EfficientNet-Lite0, and for nnU-Net in two dimensions with its own plans. "Default" is each library's own way, "tuned"
our choice for it with so little time. How each row was made stands below the tables.

"""


def accuracy() -> str:
    """Return the section about accuracy beside peers, from tools/readme/accuracy.json; nothing where it is missing."""
    path = KEPT / "accuracy.json"
    data = json.loads(path.read_text() or "{}").get("data", []) if path.exists() else []
    return ACCURACY + bench("accuracy") + made(data) if data else ""


def made(data: list[dict[str, Any]]) -> str:
    """Return how each row of a data set was made: our command, a peer's settings."""
    lines = [
        f"{entry['name']}, {row['title']}: {command(row['run']) if 'run' in row else words(row['settings'])}"
        for entry in data
        for row in entry["rows"]
    ]
    return "\n```\n" + "".join(f"{line}\n" for line in lines) + "```\n"


def words(settings: dict[str, Any]) -> str:
    """Return settings in a line.

    >>> words({"loss": "dice", "augment": False})
    'loss dice, augment False'
    """
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def row(kept: dict[str, Any], file: str, name: str, measured: dict[str, Any]) -> tuple[Any, ...]:
    """Return one class of one file as a row: mean over out-of-fold images [95 % interval over patients]."""
    dice, distance, unit = measured["dice"], measured["hausdorff95"], kept["hausdorff_unit"]
    network = kept["model"] if file == "keras" else f"{kept['model']} ({file})"
    return (
        kept["data"]["name"] + (" PHANTOM" if kept["data"]["phantom"] else ""),
        network,
        name,
        measured["images"],
        kept["folds"],
        f"{dice['mean']:.3f} [{dice['low']:.3f}, {dice['high']:.3f}]",
        f"{measured['iou']['mean']:.3f}",
        f"{measured['sensitivity']['mean']:.3f}",
        f"{distance['mean']:.1f} {unit}",
    )


BENCHES = ("training", "inference", "zoo", "arm", "scale")
PAGES: dict[str, dict[str, Callable[[], str]]] = {  # page -> section -> what writes it
    "README.md": {"results": results, "studies": studies, "networks": networks, "sizes": sizes, "speed": speed},
    "docs/shipping.md": {"shipped": shipped},
    "docs/studies.md": {"teachers": teachers},
    "docs/benchmarks.md": {name: partial(bench, name) for name in BENCHES} | {"accuracy": accuracy},
}


if __name__ == "__main__":
    main()
