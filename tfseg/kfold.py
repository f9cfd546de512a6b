"""k trainings, each scored on the patients that it never saw: the main job."""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfseg import deploy, losses, models, runs, teacher, unseen
from tfseg.config import Recipe
from tfseg.data import folds
from tfseg.data.source import Source, same_images
from tfseg.decide import Decision, decide
from tfseg.engine import Engine, Files, Local, Piece, Where
from tfseg.errors import InputError
from tfseg.inference import Masking, open_network
from tfseg.job import (
    PIXELS,
    Job,
    collect,
    decode_pixels,
    score,
    settled,
    training_part,
    write_scores,
)
from tfseg.metrics import HOLDOUT
from tfseg.models.files import Card, read_card, save
from tfseg.models.presence import close_gates
from tfseg.progress import Watch
from tfseg.train import STATE, Task, check_task, train

LOCAL = Local()
NETWORKS = "networks.json"  # of the hold-out: the folds whose networks were scored on it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One run to be: what is trained, on what, and in which run folder."""

    recipe: Recipe
    source: Source
    run: Path


def kfold(
    recipe: Recipe,
    source: Source,
    run: Path,
    *,
    command: Sequence[str],
    only: int | None = None,
    engine: Engine = LOCAL,
    watch: Watch,
) -> dict[str, Any]:
    """Cross-validate a recipe in the folder `run`, going on from whatever an earlier process left there.

    Args:
        recipe: what to train.
        source: on what.
        run: the run folder, locked by the caller; what is finished in it is not done again.
        command: how to say this again, for provenance.
        only: train and score that fold alone, instead of all.
        engine: where the folds are trained and scored.
        watch: told how far the work is.

    Returns:
        The content of summary.json.

    Raises:
        InputError: data and recipe do not fit together, or the run was begun with others.
        WorkError: a training failed.
    """
    plan = Plan(recipe=recipe, source=source, run=run)
    return _run([plan], command=command, only=only, engine=engine, watch=watch)[0]


def run_plans(
    plans: Sequence[Plan], *, engine: Engine = LOCAL, command: Sequence[str], watch: Watch
) -> list[dict[str, Any]]:
    """Cross-validate several recipes, as `kfold` does one, and return their summaries in order.

    The folds of all plans are one pool of work. The run folders are locked here, and must differ.
    """
    with contextlib.ExitStack() as stack:
        for plan in plans:
            stack.enter_context(runs.locked(plan.run))
            runs.sweep(plan.run)
        return _run(plans, command=command, engine=engine, watch=watch)


def _run(
    plans: Sequence[Plan], *, command: Sequence[str], only: int | None = None, engine: Engine, watch: Watch
) -> list[dict[str, Any]]:
    """Do what is missing of all plans, and sum up each run as soon as its last piece is done."""
    jobs = [
        Job(recipe=settled(plan.recipe, plan.source), source=plan.source, run=plan.run, watch=watch) for plan in plans
    ]
    for job in jobs:
        models.network(job.recipe.model, image_size=job.recipe.image_size)
    splits = [_split(job) for job in jobs]
    labels = [f"{job.run.name} " if len(jobs) > 1 else "" for job in jobs]
    todo = [_pieces(job, split, only, label) for job, split, label in zip(jobs, splits, labels, strict=True)]
    for job, split in zip(jobs, splits, strict=True):
        _begin(job, split, command)
    left = {job.run: len(pieces) for job, pieces in zip(jobs, todo, strict=True)}
    summaries = []
    with contextlib.closing(engine.run([piece for pieces in todo for piece in pieces], watch=watch)) as done:
        for job, split in zip(jobs, splits, strict=True):
            while left[job.run]:
                piece = next(done)
                (piece.run / piece.folder / STATE).unlink(missing_ok=True)
                left[piece.run] -= 1
            summaries.append(_finish(job, split))
    return summaries


def _split(job: Job) -> dict[str, list[str]]:
    """Draw the folds, or return those of the run folder after a check that it was begun with the same."""
    run, source = job.run, job.source
    samples = list(source.samples.values())
    if job.recipe.weights.endswith(".keras"):
        _check_weights(Path(job.recipe.weights), source)
    if (run / runs.FOLDS).exists():
        if runs.read_recipe(run) != job.recipe:
            raise InputError(
                f"{run}: was begun with another recipe ({run / runs.RECIPE}); give the same, or another --out"
            )
        if runs.read_json(run / runs.PROVENANCE)["data"]["fingerprint"] != source.fingerprint:
            raise InputError(f"{run}: was begun on other data than {source.root} holds now; choose another --out")
        split = folds.load(run / runs.FOLDS, samples, source.root)
        _check_teacher(job, split)
        return split
    split = folds.draw(
        samples,
        list(source.groups.values()),
        source.root,
        folds=job.recipe.folds,
        seed=job.recipe.seed,
        holdout=job.recipe.holdout,
        labels=list(source.labels.values()),
        classes=job.fold_classes,
    )
    _check_teacher(job, split)
    return split


def _check_weights(path: Path, source: Source) -> None:
    """Raise InputError where weights learned from some of the images, which no fold would then hold unseen."""
    card = read_card(path)
    known = [] if card.seen is None else sorted(unseen.seen_by(card.seen, source))
    if known or card.fingerprint == source.fingerprint:
        which = f"{len(known)} of the {len(source.samples)}, or nearly, {unseen.listed(known)}" if known else "all"
        raise InputError(
            f"{path}: learned from these same images ({which}), so that they would not be unseen in their fold; "
            "start from weights of other data, or leave these images out"
        )


def _begin(job: Job, split: dict[str, list[str]], command: Sequence[str]) -> None:
    """Write what a run folder starts with, where it has not begun; what can be refused was refused before."""
    run, source = job.run, job.source
    if (run / runs.FOLDS).exists():
        return
    runs.write_json(run / runs.PROVENANCE, runs.provenance(command, data=source.about()))
    runs.write_whole(run / runs.RECIPE, job.recipe.to_toml())
    runs.write_json(run / runs.DATA_CHECK, source.report.to_json())
    unseen.keep(run, source)
    runs.write_json(run / runs.FOLDS, split)  # last: its presence says that the run has begun


def _check_teacher(job: Job, split: dict[str, list[str]]) -> None:
    if job.recipe.teacher:
        teacher.check_teacher(job.recipe, split, job.source)


def _pieces(job: Job, split: dict[str, list[str]], only: int | None, label: str) -> list[Piece]:
    """List what is not done yet: a piece for each fold, and one for the final network; `label` begins their names."""
    chosen = list(range(job.recipe.folds)) if only is None else [only]
    parts = {fold: training_part(job, split, fold) for fold in chosen}
    for training, _ in parts.values():
        check_task(job.recipe, sum(job.source.samples[name].slices or 1 for name in training))
    source = job.source.moved(job.source.root.absolute())  # other processes may work in another folder
    source = dataclasses.replace(source, thumbnails=None)
    piece = functools.partial(Piece, run=job.run, files=_files(job.recipe, source))
    work = functools.partial(_work, recipe=job.recipe, source=source)
    names = [f"{label}fold {place + 1}/{len(chosen)}" for place in range(len(chosen))]
    pieces = [
        piece(
            name=names[place],
            folder=job.folder(fold).name,
            work=functools.partial(work, part=parts[fold], fold=fold, unseen=split[str(fold)]),
            share=functools.partial(_share, names, place),
        )
        for place, fold in enumerate(chosen)
        if not (job.folder(fold) / runs.METRICS).exists()
    ]
    if job.recipe.final and only is None and deploy.missing(job, job.run / runs.FINAL):
        last = functools.partial(work, part=training_part(job, split, None), fold=None, unseen=())
        pieces.append(piece(name=f"{label}final", folder=runs.FINAL, work=last, share=lambda watch: watch))
    return pieces


def _files(recipe: Recipe, source: Source) -> tuple[Files, ...]:
    """Return what the pieces of a run read: its images, the network that it starts from, and those that teach it."""
    names = dict.fromkeys(path.relative_to(source.root).as_posix() for path in source.paths())
    seen = functools.partial(same_images, source.root, list(source.samples.values()), source.fingerprint)
    images = Files(root=source.root, names=tuple(names), seen=seen)
    networks = [Path(recipe.weights)] if recipe.weights.endswith(".keras") else []
    networks += teacher.networks(recipe) if recipe.teacher else []
    return images, *(_network_file(path.absolute()) for path in networks)


def _network_file(path: Path) -> Files:
    same = functools.partial(runs.same_file, path, runs.sha256(path))
    return Files(root=path.parent, names=(path.name,), seen=same)


def _work(
    run: Path,
    where: Where,
    watch: Watch,
    *,
    recipe: Recipe,
    source: Source,
    part: tuple[list[str], list[str]],
    fold: int | None,
    unseen: Sequence[str],
) -> None:
    """Train a network, convert it, and score it and its files on `unseen`; `fold` is None for the final one."""

    def there(network: Path) -> Path:
        path = network.absolute()
        return where(path.parent) / path.name

    if recipe.weights.endswith(".keras"):
        recipe = dataclasses.replace(recipe, weights=str(there(Path(recipe.weights))))
    job = Job(recipe=recipe, source=source.moved(where(source.root)), run=run, watch=watch)
    folder = run / runs.FINAL if fold is None else job.folder(fold)
    teaching = there(teacher.network(recipe, fold)) if recipe.teacher else None
    _train_part(job, part, fold, folder, teaching)
    if fold is None:
        deploy.convert_network(job, folder, part[0], None)
    else:
        _score_fold(job, fold, part[0], unseen)


def _train_part(
    job: Job, part: tuple[list[str], list[str]], fold: int | None, folder: Path, teaching: Path | None
) -> None:
    """Train a network on images `part[0]`, watched on `part[1]`, and save it; `fold` is None for the final one."""
    path = folder / runs.MODEL
    if path.exists():
        return
    place = {name: index for index, name in enumerate(job.source.samples)}
    number = job.recipe.folds if fold is None else fold
    with contextlib.closing(decode_pixels(job)) as pixels:
        learned = pixels.records(place[name] for name in part[0])
        watched = pixels.records((place[name] for name in part[1]), shown=job.source.volumes)
        check_task(job.recipe, len(learned))
        task = Task(fold=number, training=learned, validation=watched, folder=folder, teacher=teaching)
        network = train(job.recipe, pixels, task, watch=job.watch)
    activation = losses.loss(job.recipe.loss).activation
    presence: tuple[float, ...] = ()
    if job.recipe.presence == "yes":  # where nothing is decided, as probable as not is the border
        close_gates(network, np.zeros(len(job.classes)))
        presence = (0.5,) * len(job.classes)
    decision = _decided(job, network, activation, part[1]) if job.recipe.decide == "yes" else None
    if decision:
        runs.write_json(folder / runs.DECISION, dataclasses.asdict(decision))
    seen = part[0] + part[1] if job.recipe.validation else part[0]
    before = read_card(Path(job.recipe.weights)).seen if job.recipe.weights.endswith(".keras") else None
    card = Card(
        model=job.recipe.model,
        classes=job.classes,
        activation=activation,
        threshold=decision.threshold if decision else job.recipe.threshold,
        largest_component=job.recipe.largest_component,
        smallest_area=decision.smallest_area if decision else job.recipe.smallest_area,
        presence=decision.presence if decision else presence,
        weights=Path(job.recipe.weights).name if job.recipe.weights.endswith(".keras") else job.recipe.weights,
        dataset=job.source.dataset.name,
        fingerprint=job.source.fingerprint,
        phantom=job.source.phantom,
        fold=fold,
        window=job.view.window,
        region=job.view.region,
        margin_mm=job.view.margin_mm,
        seen=unseen.learned(job.source, seen, before),
    )
    save(network, path, card)


def _decided(job: Job, network: Any, activation: str, validation: Sequence[str]) -> Decision:
    """Choose on the validation images when something is drawn, and close the network's gates accordingly."""
    masking = Masking(
        image_size=job.recipe.image_size,
        channels=job.recipe.channels,
        classes=job.classes,
        activation=activation,
        threshold=job.recipe.threshold,
        largest_component=job.recipe.largest_component,
        smallest_area=job.recipe.smallest_area,
    )
    job.watch("deciding", 0, 1)
    samples = [job.source.samples[name] for name in validation]
    return decide(network, masking, activation, samples, job.source.dataset)


def _score_fold(job: Job, fold: int, training: Sequence[str], unseen: Sequence[str]) -> None:
    """Score a fold's network, and the files that it is converted to, on the images that it never saw."""
    folder = job.folder(fold)
    rows, counts = score(job, open_network(job.run, fold=fold), unseen, str(fold), draw=folder / runs.PREDICTIONS)
    for file, opened in deploy.convert_network(job, folder, training, fold).items():
        more_rows, more_counts = score(job, opened, unseen, str(fold), file=file)
        rows, counts = rows + more_rows, counts + more_counts
    write_scores(folder, rows, counts)


def _finish(job: Job, split: dict[str, list[str]]) -> dict[str, Any]:
    """Score the folds' networks together on the hold-out images, and sum up; all pieces of the run are done."""
    if split.get(HOLDOUT):
        _score_holdout(job, split[HOLDOUT])
    (job.run / PIXELS).unlink(missing_ok=True)
    return collect(job)


def _score_holdout(job: Job, unseen: Sequence[str]) -> None:
    """Score the mean of the networks that the run has, unless those very networks were scored."""
    folder = job.run / HOLDOUT
    present = [path.name for path in runs.fold_folders(job.run) if (path / runs.MODEL).exists()]
    scored = folder / NETWORKS
    if (folder / runs.METRICS).exists() and scored.exists() and runs.read_json(scored) == present:
        return
    rows, counts = score(job, open_network(job.run), unseen, HOLDOUT, draw=folder / runs.PREDICTIONS)
    scored.unlink(missing_ok=True)
    write_scores(folder, rows, counts)
    runs.write_json(scored, present)


def _share(names: Sequence[str], place: int, watch: Watch) -> Watch:
    """Turn the progress of one training into that of all that have names."""

    def share(stage: str, done: int, total: int, detail: str = "") -> None:
        if stage == "training":
            note = f"{names[place]} {detail}" if detail else ""
            done, total, detail = place * total + done, len(names) * total, note
        watch(stage, done, total, detail)

    return share
