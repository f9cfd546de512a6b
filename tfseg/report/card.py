"""MODEL_CARD.md: what others must know of a run's network before they use it, and no number that its files lack."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.bench import result
from tfseg.bench.result import Cell, milliseconds
from tfseg.config import Recipe
from tfseg.errors import InputError
from tfseg.models import network
from tfseg.report import background, results
from tfseg.report.html import PHANTOM
from tfseg.report.markdown import code, escaped, line, points, table, titled
from tfseg.report.record import Record, read_record
from tfseg.report.strata import strata_table
from tfseg.tables import comparison_table, fold_tables, measure_tables

NAME = "MODEL_CARD.md"
_SEAL = re.compile(r"<!-- tfseg card ([0-9a-f]{64}) -->\n\Z")


def write_card(run: Path, out: Path | None = None, *, benchmarks: Sequence[Path] = ()) -> Path:
    """Write a model card (Mitchell et al., FAT* 2019, arXiv:1810.03993) of a scored run as Markdown; return its path.

    Equal files give equal bytes. A card that was edited by hand is not overwritten: its last line no longer fits.

    Args:
        run: the run folder.
        out: where the card goes; RUN/MODEL_CARD.md if None.
        benchmarks: folders of `tfseg benchmark --json`: what they hold of this run's files stands in the card.

    Raises:
        InputError: `run` is no run folder, has no scores or is damaged; a folder holds no measurement of its files; or
            `out` holds something that is not ours to overwrite.
    """
    record = read_record(run)
    if not record.summary or not record.files:
        raise InputError(f"{run}: has no scores yet; go on with it: --resume")
    path = out or run / NAME
    if path.exists() and not _sealed(path):
        raise InputError(f"{path}: was edited, or is no card of tfseg; choose another place with --out, or remove it")
    text = "\n".join([*_head(record), *(f"## {name}\n\n{content}" for name, content in _sections(record, benchmarks))])
    runs.write_whole(path, f"{text}\n<!-- tfseg card {_digest(text)} -->\n")
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sealed(path: Path) -> bool:
    """Whether a file is a card as it was written."""
    text = path.read_text(encoding="utf-8", errors="replace")
    seal = _SEAL.search(text)
    return bool(seal) and seal[1] == _digest(text[: seal.start() - 1])


def _head(record: Record) -> list[str]:
    assert record.summary is not None
    title = f"{record.recipe.model} on {record.data['name']}{', PHANTOM' if record.phantom else ''}"
    caution = [f"> {escaped(text)}\n" for text in ([PHANTOM] if record.phantom else []) + results.known_first(record)]
    said = (*results.in_words(record, record.summary), results.basis(record))
    return [f"# Model card: {escaped(title)}\n", *caution, *(f"{line(text)}\n" for text in said)]


def _sections(record: Record, benchmarks: Sequence[Path]) -> list[tuple[str, str]]:
    assert record.summary is not None
    files = _files(record.run)
    final = [results.FINAL] if record.recipe.final else []
    named = [
        ("Network", _network(record.recipe, record.summary["classes"])),
        ("Files", _file_table(record.run, files)),
        ("Intended use", points(_use(record))),
        ("Data", _data(record)),
        ("Folds", "\n".join(titled(folds) for folds in fold_tables(record.summary))),
        ("Areas, diameters and circumferences", "\n".join(map(titled, measure_tables(record.summary)))),
        ("Scores by stratum", _strata(record)),
        ("What the files lose", _losses(record)),
        ("Latency", _latency(files, benchmarks)),
        ("How the numbers are made", points([*background.method(record), *final])),
        ("Limits", points(background.limits(record))),
        ("How it was made", _procedure(record)),
    ]
    return [(name, content) for name, content in named if content]


def _network(recipe: Recipe, classes: Sequence[str]) -> str:
    facts = [
        f"{recipe.model} ({network(recipe.model)[0].paper})",
        f"Input: {recipe.image_size}x{recipe.image_size} pixels, {'grey' if recipe.channels == 1 else 'RGB'}",
        f"Draws: {', '.join(classes)}",
        f"Starts from: {'random numbers' if recipe.weights in ('', 'none') else recipe.weights}",
    ]
    return points(facts)


def _files(run: Path) -> dict[str, Path]:
    """SHA-256 -> .tflite file of the run: those that ship first, then the final network's and the folds'."""
    folders = (run, run / runs.FINAL, *runs.fold_folders(run))
    files: dict[str, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.tflite"))):
        files.setdefault(runs.sha256(path), path)
    return files


def _file_table(run: Path, files: dict[str, Path]) -> str:
    """The files that lie in the run itself: one of these is what others are given."""
    rows = [
        (path.name, f"{path.stat().st_size / 1e6:.2f}", digest) for digest, path in files.items() if path.parent == run
    ]
    return table(("file", "MB", "SHA-256"), rows) if rows else ""


def _use(record: Record) -> list[str]:
    classes = ", ".join(record.summary["classes"]) if record.summary else ""
    return [
        f"Research on outlining {classes} in images like those of the data set {record.data['name']}, by people who "
        "check each outline.",
        "Not for diagnosis, treatment or any other decision about a patient: it is no medical device.",
        "Before it is used on images of another scanner, clinic or patient group, score it on some of these: "
        "tfseg evaluate FILE.tflite --data DIR.",
    ]


def _data(record: Record) -> str:
    about, dataset, check = record.data, record.dataset, record.check
    facts = [f"{about['name']}{' (PHANTOM: simulated)' if record.phantom else ''}"]
    whose = "patients" if record.patients_known else "groups of near-duplicates; who was scanned is not known"
    if "images" in about and "patients" in about:
        facts.append(f"{about['images']} images, {about['patients']} {whose}")
    if check:
        facts += [f"Stratum {name}: {len(images)} images" for name, images in check.get("strata", {}).items()]
        facts += [f"Images without {name}: {empty['images']}" for name, empty in check["empties"].items()]
    if record.folds:
        facts.append("Images of each fold: " + ", ".join(f"{name}: {len(part)}" for name, part in record.folds.items()))
    if dataset and not record.phantom:
        facts += [f"Licence: {dataset.licence}", f"Cite: {dataset.citation}", f"Source: {dataset.source}"]
    elif dataset:
        facts.append(f"In the layout of {dataset.citation}, of whose images it holds none")
    if about.get("fingerprint"):
        facts.append(f"Fingerprint (SHA-256): {about['fingerprint']}")
    return points(facts)


def _strata(record: Record) -> str:
    assert record.summary is not None
    strata = (record.check or {}).get("strata", {})
    unit, seed = record.summary["hausdorff_unit"], record.recipe.seed
    tables = (
        strata_table(record.out_of_fold, strata, class_name=name, unit=unit, seed=seed, mark=record.mark)
        for name in record.summary["classes"]
    )
    return "\n".join(map(titled, tables))


def _losses(record: Record) -> str:
    assert record.summary is not None
    comparison = comparison_table(record.summary)
    return titled(comparison) if comparison else ""


def _latency(files: dict[str, Path], folders: Sequence[Path]) -> str:
    """Measurements of this run's files, told by their SHA-256; what did not count has its reason instead of a time."""
    cells = [cell for folder in folders for cell in _cells(folder, files)]
    rows = [
        (
            f"{files[cell.file_sha256].parent.name}/{files[cell.file_sha256].name}",
            f"{cell.device} ({cell.soc})",
            cell.delegate,
            cell.threads or "",
            *map(milliseconds, (cell.latency_ms, cell.p90_ms, cell.init_ms)),
            result.verdict(cell),
        )
        for cell in cells
    ]
    header = ("file", "device", "delegate", "threads", "median, ms", "p90, ms", "load, ms", "status")
    return f"{table(header, rows)}\nOf the inference alone: no image is read, scaled or drawn in it.\n" if rows else ""


def _cells(folder: Path, files: dict[str, Path]) -> list[Cell]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `tfseg benchmark --json {folder}` writes results there")
    cells = [cell for cell in result.read_all(folder) if cell.file_sha256 in files]
    if not cells:
        raise InputError(f"{folder}: holds no measurement of this run's files; `tfseg benchmark RUN --json {folder}`")
    return cells


def _procedure(record: Record) -> str:
    provenance = record.provenance
    facts: dict[str, Any] = {"git commit": provenance.get("git_commit")} | provenance["host"] | provenance["versions"]
    settings = record.recipe.to_toml().splitlines()
    plain = set(Recipe().to_toml().splitlines())
    changed = [f"    {setting}" for setting in settings if setting not in plain]
    return "\n".join(
        [
            f"{code(shlex.join(provenance['command']))}\n",
            "Settings that differ from the defaults:\n",
            *changed,
            "",
            points(f"{key}: {value}" for key, value in facts.items() if value is not None),
        ]
    )
