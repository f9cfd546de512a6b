"""Record: everything a report is written from, read from a run folder at once."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.config import Recipe
from tfseg.data import DATASETS
from tfseg.data.sample import Dataset
from tfseg.errors import InputError
from tfseg.metrics import HOLDOUT, METRICS, Row, read_rows
from tfseg.report.curves import History, read_history


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What a run folder holds; a part that the run has not come to is None or empty.

    Attributes:
        run: the folder.
        recipe: what was to be trained.
        provenance: content of provenance.json.
        check: content of data_check.json, or None.
        folds: content of folds.json, or None.
        histories: "fold 0" -> history.csv of that fold.
        rows: of metrics.csv.
        summary: content of summary.json, or None.
    """

    run: Path
    recipe: Recipe
    provenance: dict[str, Any]
    check: dict[str, Any] | None
    folds: dict[str, list[str]] | None
    histories: dict[str, History]
    rows: list[Row]
    summary: dict[str, Any] | None

    @property
    def data(self) -> dict[str, Any]:
        """What is known of the data: name, root, phantom, fingerprint, images, patients."""
        return self.provenance["data"]

    @property
    def phantom(self) -> bool:
        """Whether any file says that the data were simulated."""
        return bool(self.data["phantom"] or (self.summary and self.summary["data"]["phantom"]))

    @property
    def mark(self) -> str:
        """The word that stands on every picture of simulated data."""
        return "PHANTOM" if self.phantom else ""

    @property
    def dataset(self) -> Dataset | None:
        """The data set's row of DATASETS, or None for one that this version does not know."""
        return DATASETS.get(self.data["name"])

    @property
    def out_of_fold(self) -> list[Row]:
        """The rows of images that were held out of some fold's training."""
        return [row for row in self.rows if row.fold != HOLDOUT]

    @property
    def files(self) -> list[str]:
        """The network files that were scored, in the order of summary.json."""
        return list(self.summary["files"]) if self.summary else []

    @property
    def patients_known(self) -> bool:
        """Whether the data set says who was scanned; groups of near-duplicates stand in where it does not."""
        if self.check is not None:
            return bool(self.check["patient_known"])
        return any(not row.patient.startswith("group-") for row in self.rows)


def read_record(run: Path) -> Record:
    """Read a run folder.

    Raises:
        InputError: `run` is no run folder, or one of its files is damaged; the line names it.
    """
    recipe = runs.read_recipe(run)
    summary = _optional(run / runs.SUMMARY, ("data", "classes", "hausdorff_unit", "files"))
    if summary:
        _require_scores(run / runs.SUMMARY, summary)
    provenance = _mapping(run / runs.PROVENANCE, ("command", "data", "versions", "host"))
    for path, about in (
        (run / runs.PROVENANCE, provenance["data"]),
        (run / runs.SUMMARY, (summary or provenance)["data"]),
    ):
        if not isinstance(about, dict) or not {"name", "phantom"} <= about.keys():
            raise InputError(f"{path}: damaged: its data have no name or no phantom mark; restore the file")
    folders = runs.fold_folders(run)
    return Record(
        run=run,
        recipe=recipe,
        provenance=provenance,
        check=_optional(run / runs.DATA_CHECK, ("patient_known", "sizes", "empties", "groups", "findings")),
        folds=_optional(run / runs.FOLDS),
        histories={
            folder.name.replace("_", " "): read_history(folder / runs.HISTORY)
            for folder in folders
            if (folder / runs.HISTORY).exists()
        },
        rows=read_rows(run / runs.METRICS) if (run / runs.METRICS).exists() else [],
        summary=summary,
    )


def _require_scores(path: Path, summary: dict[str, Any]) -> None:
    """Raise InputError unless every file and class has every metric with its mean and interval."""
    for part in (summary["files"], summary.get(HOLDOUT, {})):
        for file, by_class in part.items() if isinstance(part, dict) else [(part, None)]:
            for name in summary["classes"]:
                entry = by_class.get(name) if isinstance(by_class, dict) else None
                for metric in METRICS:
                    scores = entry.get(metric) if isinstance(entry, dict) else None
                    if not isinstance(scores, dict) or not {"mean", "low", "high", "folds"} <= scores.keys():
                        raise InputError(f"{path}: damaged: no {metric} of {name} for {file}; restore the file")


def _optional(path: Path, keys: Sequence[str] = ()) -> dict[str, Any] | None:
    return _mapping(path, keys) if path.exists() else None


def _mapping(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    content = runs.read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged: not a JSON object; restore the file")
    for key in keys:
        if key not in content:
            raise InputError(f"{path}: damaged: has no {key!r}; restore the file")
    return content
