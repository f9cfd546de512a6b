"""What is wrong with a folder of images and masks, before a network learns from it: `tfseg data check`."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfseg.data import checked
from tfseg.data.duplicates import Pairs, agreement, as_floats, near_duplicates, unite
from tfseg.data.examine import ERROR, INFO, SEVERITIES, WARNING, Facts, Finding, examine, name_below
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError

_CONTRADICTING_DICE = 0.5
_FILES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that `check` found. Images are named by their path relative to the root of the data.

    Attributes:
        dataset: name of the data set.
        images: how many there are.
        patients: how many are known.
        patient_known: whether the patient of every image is known.
        sizes: "WIDTHxHEIGHT", of volumes "WIDTHxHEIGHTxSLICES", -> images of that size, the most frequent first.
        strata: stratum -> its images; those of no stratum are in none.
        empties: class -> the images whose mask shows nothing of it.
        groups: near-duplicates, two or more images each.
        contradicting: class -> the images whose near-duplicate has another mask of it; training leaves them out.
        findings: errors first.
    """

    dataset: str
    images: int
    patients: int
    patient_known: bool
    sizes: dict[str, int]
    strata: dict[str, tuple[str, ...]]
    empties: dict[str, tuple[str, ...]]
    groups: tuple[tuple[str, ...], ...]
    contradicting: dict[str, tuple[str, ...]]
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Return the content of data_check.json."""
        empties = {
            name: {"images": len(files), "share": len(files) / self.images if self.images else None}
            for name, files in self.empties.items()
        }
        return {"ok": not fatal(self), **asdict(self), "counts": self.counts, "empties": empties}


def check(
    dataset: Dataset, root: Path, *, channels: int = 1, watch: Callable[[int, int], None] | None = None
) -> Report:
    """Read every image and mask below `root` once and report what is wrong with them.

    What an earlier command read is not read again (tfseg.data.checked). Only thumbnails stay in memory, (20 + 4 K) KiB
    for an image with K classes.

    Args:
        dataset: says where the files lie and reads the masks.
        root: the folder of the data.
        channels: 1 or 3, as the network will read the images.
        watch: told how many images are read, and of how many.

    Raises:
        InputError: there are no images, or the layout is not met, so that they cannot even be listed.
    """
    facts, pairs = examine_all(dataset, root, channels=channels, watch=watch)
    return report_on(facts, pairs, dataset, root)


def examine_all(
    dataset: Dataset, root: Path, *, channels: int, watch: Callable[[int, int], None] | None = None
) -> tuple[list[Facts], Pairs]:
    """Read every image and mask below `root` that is not as an earlier command read it, and find near-duplicates.

    Arguments and errors are those of `check`.
    """
    samples = dataset.samples(root)
    if not samples:
        raise InputError(f"{root}: holds no image; expected {dataset.layout}")
    known = checked.recall(dataset, root, samples, channels=channels)

    def look(sample: Sample) -> Facts:
        return known.facts.get(name_below(sample.image, root)) or examine(sample, dataset, root, channels=channels)

    facts: list[Facts] = []
    with ThreadPoolExecutor(2) as pool:
        for fact in pool.map(look, samples):
            facts.append(fact)
            if watch:
                watch(len(facts), len(samples))
    if known.pairs is not None:
        return facts, known.pairs
    pairs = _alike(facts)
    checked.keep(facts, pairs, dataset, root, channels=channels)
    return facts, pairs


def report_on(facts: Sequence[Facts], pairs: Pairs, dataset: Dataset, root: Path) -> Report:
    """Report what is wrong with images and masks that were read, all of them below `root`."""
    samples = [fact.sample for fact in facts]
    groups = _groups(facts, pairs)
    empties = {
        name: tuple(fact.name for fact in facts if fact.has_mask and not fact.drawn[channel])
        for channel, name in enumerate(dataset.classes)
    }
    findings = [finding for fact in facts for finding in fact.problems]
    findings += [
        Finding(
            kind="mask without image", severity=WARNING, files=(name_below(mask, root),), message="belongs to no image"
        )
        for mask in dataset.orphans(root)
    ]
    pairs, dice = _with_masks(facts, pairs, len(dataset.classes))
    findings += _contradictions(facts, pairs, dice, dataset.classes)
    findings += [finding for group in groups for finding in _duplicates(group)]
    findings += _spellings(facts)
    findings += _empty_masks(facts, empties, root)
    patients = {sample.patient for sample in samples}
    return Report(
        dataset=dataset.name,
        images=len(samples),
        patients=len(patients - {None}),
        patient_known=None not in patients,
        sizes=dict(Counter("x".join(map(str, fact.size[::-1])) for fact in facts if fact.size).most_common()),
        strata={
            stratum: tuple(name_below(sample.image, root) for sample in samples if sample.stratum == stratum)
            for stratum in sorted({sample.stratum for sample in samples} - {""})
        },
        empties=empties,
        groups=tuple(tuple(fact.name for fact in group) for group in groups),
        contradicting={
            name: tuple(facts[index].name for index in np.unique(pairs.indices[dice[:, k] < _CONTRADICTING_DICE]))
            for k, name in enumerate(dataset.classes)
        },
        findings=tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))),
    )


def fatal(report: Report) -> bool:
    """Tell whether training on these data would be wrong."""
    return any(finding.severity == ERROR for finding in report.findings)


def require_clean(report: Report, root: Path) -> None:
    """Raise InputError with the first error, how many more there are, and the command that lists them all."""
    errors = [finding for finding in report.findings if finding.severity == ERROR]
    if errors:
        more = f" (and {_count(len(errors) - 1, 'more error')})" if errors[1:] else ""
        list_all = f"see the whole list: {_command(report, root)}"
        raise InputError(f"{root / errors[0].files[0]}: {errors[0].message}{more}; {list_all}")


def lines(report: Report, *, limit: int) -> list[str]:
    """Return the report as text: what there is, then each kind of finding with its count and first `limit` ones."""
    patients = _count(report.patients, "patient") if report.patients else "patients unknown"
    if report.patients and not report.patient_known:
        patients += " and images of which the patient is unknown"
    twins = sum(map(len, report.groups))
    text = [
        f"{report.dataset}: {_count(report.images, 'image')}, {patients}",
        f"sizes: {', '.join(f'{size} ({images})' for size, images in report.sizes.items())}",
        f"near-duplicates: {_count(twins, 'image')} in {_count(len(report.groups), 'group')}",
    ]
    for kind, count in report.counts.items():
        found = [finding for finding in report.findings if finding.kind == kind]
        text.append(f"{found[0].severity}: {kind}: {count}")
        text += [f"    {_shown(finding.files)}: {finding.message}" for finding in found[:limit]]
        text += [f"    and {count - limit} more"] if count > limit else []
    return text


def warnings(report: Report, root: Path) -> list[str]:
    """Return what to know before training, in short: the kinds of warnings, their counts and first cases."""
    text = []
    for kind, count in report.counts.items():
        first = next(finding for finding in report.findings if finding.kind == kind)
        if first.severity == WARNING:
            text.append(f"warning: {kind}: {count}, first {_shown(first.files)}: {first.message}")
    return [*text, f"see the whole list: {_command(report, root)}"] if text else []


def _command(report: Report, root: Path) -> str:
    """Return the command that lists all findings."""
    return f"tfseg data check {shlex.quote(str(root))} --dataset {report.dataset}"


def _alike(facts: Sequence[Facts]) -> Pairs:
    """Find near-duplicates, and equal images though they be flat, which no correlation sees."""
    found = near_duplicates(as_floats(np.stack([fact.thumbnail for fact in facts])))
    first: dict[bytes, int] = {}
    equal = [(first.setdefault(fact.digest, index), index) for index, fact in enumerate(facts) if fact.digest]
    different = np.array([pair for pair in equal if pair[0] != pair[1]], np.int32).reshape(-1, 2)
    return replace(found, indices=np.unique(np.concatenate([found.indices, different]), axis=0))


def _groups(facts: Sequence[Facts], pairs: Pairs) -> list[list[Facts]]:
    members: dict[int, list[Facts]] = {}
    for fact, unit in zip(facts, unite(len(facts), pairs.indices).tolist(), strict=True):
        members.setdefault(unit, []).append(fact)
    return [group for group in members.values() if len(group) > 1]


def _with_masks(facts: Sequence[Facts], pairs: Pairs, classes: int) -> tuple[Pairs, np.ndarray]:
    """Return the pairs of which both images have a mask, and the Dice of these masks by class: (M, K)."""
    readable = np.array([fact.has_mask for fact in facts])
    pairs = replace(pairs, indices=pairs.indices[readable[pairs.indices].all(axis=1)])
    dice = agreement([fact.regions for fact in facts], [fact.drawn for fact in facts], pairs)
    return pairs, dice.reshape(len(pairs.indices), classes)


def _contradictions(
    facts: Sequence[Facts], pairs: Pairs, dice: np.ndarray, classes: Sequence[str]
) -> Iterator[Finding]:
    """Yield one finding for each group of near-duplicates, about the pair that contradicts itself most."""
    if not len(pairs.indices):
        return
    contradicting = np.flatnonzero(dice.min(axis=1) < _CONTRADICTING_DICE)
    unit = unite(len(facts), pairs.indices)[pairs.indices[contradicting, 0]]
    for number in np.unique(unit):
        rows = contradicting[unit == number]
        row = int(rows[dice[rows].min(axis=1).argmin()])
        channel = int(dice[row].argmin())
        first, second = (facts[index] for index in pairs.indices[row])
        if first.drawn[channel] == second.drawn[channel]:
            how = f"the masks of {classes[channel]} agree to a Dice of {dice[row, channel]:.2f}"
        else:
            how = f"{classes[channel]} is drawn in only one of the two"
        message = f"nearly the same image, but {how}"
        if len(rows) > 1:
            message += f"; {_count(len(rows) - 1, 'more such pair')} in this group"
        yield Finding(kind="contradicting masks", severity=WARNING, files=(first.name, second.name), message=message)


def _duplicates(group: Sequence[Facts]) -> Iterator[Finding]:
    """Yield what is to be said of one group of near-duplicates."""

    def finding(kind: str, severity: str, facts: Sequence[Facts], message: str) -> Finding:
        return Finding(kind=kind, severity=severity, files=tuple(fact.name for fact in facts), message=message)

    for digest, count in Counter(fact.digest for fact in group).items():
        if count > 1:
            equal = [fact for fact in group if fact.digest == digest]
            yield finding("duplicate", WARNING, equal, "the same pixels; keep one of them")
    patients = sorted({fact.sample.patient for fact in group if fact.sample.patient is not None})
    strata = sorted({fact.sample.stratum for fact in group})
    if len(strata) > 1:
        message = f"nearly the same image is in {_listed(strata)}; which is right?"
        yield finding("near-duplicate across strata", WARNING, group, message)
    if len(patients) > 1:
        message = f"nearly the same image is of {_listed(patients)}; if it is one patient, give it one name"
        yield finding("near-duplicate across patients", WARNING, group, message)
    if len({fact.digest for fact in group}) > 1:
        yield finding("near-duplicate", INFO, group, f"{len(group)} images that are nearly the same")


def _spellings(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Yield a finding for each patient who seems to be spelled in several ways: 1 and 1.0, 03 and 3, P2 and p2."""
    spelled: dict[str, dict[str, str]] = {}
    for fact in facts:
        if fact.sample.patient is not None:
            spelled.setdefault(_plain(fact.sample.patient), {}).setdefault(fact.sample.patient, fact.name)
    for images in spelled.values():
        if len(images) > 1:
            message = f"the patients {_listed(list(images))} count as {len(images)}; if they are one, spell them alike"
            files = tuple(images.values())
            yield Finding(kind="patient spelled in two ways", severity=WARNING, files=files, message=message)


def _plain(patient: str) -> str:
    """Return a patient's name without what differs between spellings: case, leading zeros, a decimal of 0, blanks.

    >>> [_plain(name) for name in ("03", "3.0", "P 2", "p_002", "1.10")]
    ['3', '3', 'p 2', 'p 2', '1.10']
    """
    name = re.sub(r"[\s_-]+", " ", patient.strip().casefold())
    name = re.sub(r"(?<![\d.])(\d+)\.0+(?![\d.])", r"\1", name)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", name)


def _empty_masks(facts: Sequence[Facts], empties: dict[str, tuple[str, ...]], root: Path) -> Iterator[Finding]:
    right = [fact for fact in facts if fact.has_mask]
    blank = [fact for fact in right if not fact.drawn.any()]
    if right and len(blank) == len(right):
        example = (right[0].sample.masks or (right[0].sample.image,))[0]
        message = f"this mask is empty, and so are all {len(right)}: there is nothing to learn"
        yield Finding(kind="all masks empty", severity=ERROR, files=(name_below(example, root),), message=message)
    shares = {name: files for name, files in empties.items() if files}
    if len(empties) > 1 and blank:
        shares["any class"] = tuple(fact.name for fact in blank)
    for name, files in shares.items():
        message = f"{_count(len(files), 'mask')} of {len(right)} ({len(files) / len(right):.1%}) without {name}"
        yield Finding(kind="empty mask", severity=INFO, files=files, message=message)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    shown = [word or "no stratum" for word in words[:5]]
    return ", ".join(shown) + (f" and {len(words) - 5} more" if words[5:] else "")


def _shown(files: Sequence[str]) -> str:
    more = len(files) - _FILES_SHOWN
    return ", ".join(files[:_FILES_SHOWN]) + (f" and {more} more" if more > 0 else "")
