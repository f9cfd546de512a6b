"""Data at the place where they were found: listed, checked, fingerprinted."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfseg.data import folds, hygiene
from tfseg.data.locate import fingerprint, is_phantom
from tfseg.data.sample import Dataset, Sample
from tfseg.data.seen import Seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A data set on disk, fit to train on.

    Attributes:
        dataset: its row of DATASETS.
        root: the folder.
        samples: its images by their path relative to `root`, in order.
        groups: of each image, the unit that folds never part: its patient, or its near-duplicates.
        labels: of each image, what folds keep in proportion: its stratum, and the classes that its mask shows.
        report: what `tfseg data check` says of it.
        fingerprint: SHA-256 of names and contents.
        phantom: whether it was simulated.
        seen: what a network that learns from all of them would remember of them.
        thumbnails: int8 (N, 64, 64) of them, see tfseg.data.duplicates.as_levels; None where other processes work.
    """

    dataset: Dataset
    root: Path
    samples: dict[str, Sample]
    groups: dict[str, str]
    labels: dict[str, frozenset[str]]
    report: hygiene.Report
    fingerprint: str
    phantom: bool
    seen: Seen
    thumbnails: np.ndarray | None

    @property
    def unit(self) -> str:
        """Unit of distances: "mm" where every image has a spacing, else "px"."""
        return "px" if any(sample.spacing_mm is None for sample in self.samples.values()) else "mm"

    @property
    def volumes(self) -> bool:
        """Whether its images are volumes."""
        return any(sample.slices for sample in self.samples.values())

    def contradicting(self, classes: Sequence[str]) -> frozenset[str]:
        """Return the images whose near-duplicate has another mask of one of these classes."""
        return frozenset(name for key in classes for name in self.report.contradicting[key])

    def paths(self) -> list[Path]:
        """Return every file that holds an image or a mask."""
        return [path for sample in self.samples.values() for path in (sample.image, *sample.masks)]

    def moved(self, root: Path) -> "Source":
        """Return the same data in another folder."""
        if root == self.root:
            return self

        def there(path: Path) -> Path:
            return root / path.relative_to(self.root)

        samples = {
            name: dataclasses.replace(sample, image=there(sample.image), masks=tuple(map(there, sample.masks)))
            for name, sample in self.samples.items()
        }
        return dataclasses.replace(self, root=root, samples=samples)

    def about(self) -> dict[str, Any]:
        """Return what provenance.json and summary.json say of the data."""
        return {
            "name": self.dataset.name,
            "root": str(self.root.resolve()),
            "phantom": self.phantom,
            "fingerprint": self.fingerprint,
            "images": len(self.samples),
            "patients": len(set(self.groups.values())),
        }


def same_images(root: Path, samples: Sequence[Sample], wanted: str) -> bool:
    """Tell whether `root` holds, on this machine, all samples with the fingerprint `wanted`."""
    return all(sample.image.is_file() for sample in samples) and fingerprint(root, samples) == wanted


def open_source(dataset: Dataset, root: Path, *, channels: int, watch: Callable[[int, int], None]) -> Source:
    """List, check and fingerprint the images below `root`.

    Raises:
        InputError: training on them would be wrong; the line names the first file and the command that lists all.
    """
    facts, pairs = hygiene.examine_all(dataset, root, channels=channels, watch=watch)
    report = hygiene.report_on(facts, pairs, dataset, root)
    hygiene.require_clean(report, root)
    samples = [fact.sample for fact in facts]
    thumbnails = np.stack([fact.thumbnail for fact in facts])
    names = [sample.image.relative_to(root).as_posix() for sample in samples]
    if any(sample.spacing_mm is None for sample in samples):  # distances of one run share one unit
        samples = [dataclasses.replace(sample, spacing_mm=None) for sample in samples]
    return Source(
        dataset=dataset,
        root=root,
        samples=dict(zip(names, samples, strict=True)),
        groups=dict(zip(names, folds.groups(samples, report.groups, root), strict=True)),
        labels=dict(zip(names, folds.labels(samples, report.empties, root), strict=True)),
        report=report,
        fingerprint=fingerprint(root, samples, [fact.contents for fact in facts]),
        phantom=is_phantom(root),
        seen=Seen.of([fact.digest for fact in facts if fact.digest], thumbnails),
        thumbnails=thumbnails,
    )
