"""The part of the report that one checks: on which data, by which command, how numbers are made, where they end."""

import dataclasses
import shlex
from typing import Any

from tfseg import losses, runs
from tfseg.config import Recipe
from tfseg.metrics import HOLDOUT
from tfseg.postprocess import exclusive
from tfseg.report.markup import Html, definitions, element, join, table
from tfseg.report.record import Record
from tfseg.tables import EARLIER_RULE

_SHOWN = 4  # files, or sizes, that stand for many
_HOST: dict[str, str] = {"system": "System", "machine": "Machine", "cpus": "CPU cores"}


def data(record: Record) -> Html:
    """Say which images these were, whose they are, and how the folds parted them."""
    about, dataset = record.data, record.dataset
    facts: dict[str, str] = {
        "Data set": element("span", about["name"], " (PHANTOM: simulated)" if record.phantom else "")
    }
    for key, term in (("images", "Images"), ("patients", "Patients" if record.patients_known else "Groups of images")):
        if key in about:
            facts[term] = str(about[key])
    if record.folds:
        parts = {name: len(images) for name, images in record.folds.items()}
        facts["Images per fold"] = ", ".join(f"{name}: {count}" for name, count in parts.items())
    if about.get("root"):
        facts["Folder"] = element("code", about["root"])
    if about.get("fingerprint"):
        facts["Fingerprint"] = element("code", about["fingerprint"])
    if dataset and not record.phantom:
        facts |= {"Cite": dataset.citation, "Licence": dataset.licence, "Source": dataset.source}
    elif dataset:
        facts["Layout of"] = dataset.citation
    return join([definitions({term: text for term, text in facts.items() if text}), _check(record.check)])


def procedure(record: Record) -> Html:
    """Say what was run, with what differs from the defaults first, and on which machine."""
    provenance = record.provenance
    commit = provenance.get("git_commit")
    facts: dict[str, str] = {"Git commit": element("code", commit)} if commit else {}
    facts |= {_HOST.get(str(key), str(key)): str(value) for key, value in provenance["host"].items()}
    versions = [(name, str(version)) for name, version in provenance["versions"].items()]
    return join(
        [
            element("pre", element("code", shlex.join(provenance["command"])), tabindex=0, aria_label="command"),
            element(
                "div",
                table("Recipe", ("key", "value", "default"), _recipe_rows(record.recipe), class_="recipe"),
                element(
                    "div", table("Versions", ("package", "version"), versions, class_="recipe"), definitions(facts)
                ),
                class_="pair",
            ),
        ]
    )


def method(record: Record) -> list[str]:
    """Say how each number came about, a point a string."""
    recipe, summary = record.recipe, record.summary
    whose = "patients" if record.patients_known else "groups of near-identical images"
    points = [f"The {whose} were parted into {recipe.folds} folds. {_held_out(record)}"]
    if not record.patients_known and record.rows:
        points.append(
            "The data set does not say who was scanned. Near-identical images were kept together; other images of one "
            "patient may lie on both sides, and then the scores are better than they would be on new patients."
        )
    if any(row.fold == HOLDOUT for row in record.rows):
        points.append(
            f"{recipe.holdout:.0%} of the {whose} were set aside before the folds were drawn. The mean of the folds' "
            "networks was scored on them; they enter no other number."
        )
    kept = f"A pixel is drawn where the network gives a probability of {recipe.threshold:g} or more"
    classes = summary["classes"] if summary else recipe.classes
    if exclusive(losses.loss(recipe.loss).activation, len(classes)):
        kept = "A pixel is drawn as the most probable of the background and the classes"
    if decisions := _decisions(record):
        kept = f"From which probability on a pixel is drawn was chosen in each fold: {decisions}"
    points += _training(record)
    points += [
        kept + (", and only the largest connected area of a class is kept." if recipe.largest_component else "."),
        "Every measure is computed image by image at the original resolution and then averaged over images.",
        "Nothing to find and nothing drawn counts as a Dice, IoU and precision of 1; one of the two empty counts as 0. "
        "A mean over many empty images is therefore high for a network that rarely draws: read it beside the counts of "
        "images.",
        "The 95 % Hausdorff distance is the larger of the two directed 95th percentiles of the distances between the "
        f"outlines, {_unit(summary)}. {_left_out(record)}",
        f"A 95 % interval comes from bootstrap samples of {whose}, not of images, since images "
        f"of one patient resemble each other; {_interval(summary)}. SD is the standard deviation of the folds' means.",
    ]
    return points


def _training(record: Record) -> list[str]:
    """Say what the networks started from, and which images they did not learn from."""
    weights = record.recipe.weights
    points = [f"Networks started from {'random numbers' if weights in ('', 'none') else f'{weights} weights'}."]
    contradicting = (record.check or {}).get("contradicting", {})
    classes = record.summary["classes"] if record.summary else record.recipe.classes
    left_out = {name for key in classes for name in contradicting.get(key, ())}
    if left_out:
        points.append(
            f"{len(left_out)} images were not trained on, since a near-duplicate of each has a contradicting mask; "
            "they were scored."
        )
    return points


def _decisions(record: Record) -> str:
    """Return what each fold chose on its validation patients, or "" where nothing was chosen."""
    chosen = []
    for folder in runs.fold_folders(record.run):
        if (folder / runs.DECISION).exists():
            decision = runs.read_json(folder / runs.DECISION)
            presence = ", ".join(f"{value:g}" for value in decision["presence"])
            area = f"at least {decision['smallest_area']:.2%} of the image"
            chosen.append(
                f"{folder.name.replace('_', ' ')} {decision['threshold']:g}, {area}"
                + (f", presence {presence}" if presence else "")
            )
    if not chosen:
        return ""
    return f"on validation patients of its training part, who learn nothing and are not scored ({'; '.join(chosen)})"


def limits(record: Record) -> list[str]:
    """Say what must not be concluded, a point a string."""
    points = [
        "This is a research result and not a medical device. No diagnosis, treatment or other decision about a patient "
        "may rest on it.",
        "It holds for images like these: other scanners, settings, examiners and patients were not tested.",
        "The truth is one annotator's outline per image unless the data set says otherwise; how far two annotators "
        "would differ was not measured here.",
    ]
    if record.phantom:
        points.insert(0, "PHANTOM: the images are simulated. No number here says anything about patients.")
    return points


def _recipe_rows(recipe: Recipe) -> list[tuple[str, ...]]:
    """Key, value and default, those that differ first; the default is shown only where it differs."""
    rows = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        differs = value != field.default
        cells = (
            (field.name, element("strong", _word(value)), _word(field.default))
            if differs
            else (field.name, _word(value), "")
        )
        rows.append((not differs, cells))
    return [cells for _, cells in sorted(rows, key=lambda row: row[0])]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) or "the data set's own") if isinstance(value, tuple) else str(value)


def _held_out(record: Record) -> str:
    scored = sorted({int(row.fold) for row in record.out_of_fold})
    if len(scored) in (0, record.recipe.folds):
        return (
            "For each fold a network was trained on the others and scored on this one, so that every image is scored "
            "once, by a network that never saw it."
        )
    names = ", ".join(map(str, scored))
    return f"Only on fold {names} was a network scored, trained on all others; how it would do on those is not known."


def _interval(summary: dict[str, Any] | None) -> str:
    if summary and "interval" not in summary:
        return (
            "an earlier version of tfseg made it of percentiles, which with few patients cover less than 95 % "
            "(72 % with 3, 88 % with 10, of skewed Dice)"
        )
    return (
        "it is the wider of bootstrap-t and Student's t, which covers some 95 % of skewed Dice with 3 patients or "
        "more, but less where a failure is so rare that none of the patients shows it"
    )


def _unit(summary: dict[str, Any] | None) -> str:
    return "in millimetres" if summary and summary["hausdorff_unit"] == "mm" else "in pixels of the original image"


def _left_out(record: Record) -> str:
    """Over which images sensitivity and distance are means, with the misses of each class of the first file."""
    rule = "It and the sensitivity are means over images that show the class"
    if not record.summary or not record.files:
        return f"{rule}."
    classes = record.summary["files"][record.files[0]]
    if record.summary.get("rule") is None:
        return EARLIER_RULE
    missed = (f"{entry['missed']['count']} of {entry['missed']['of']} with {name}" for name, entry in classes.items())
    return f"{rule}. Where nothing was drawn in such an image it has no distance: {' and '.join(missed)}."


def _check(check: dict[str, Any] | None) -> Html:
    """What `tfseg data check` said before the training: what the images are like, and its findings by kind."""
    if check is None:
        return Html()
    facts = {
        "Sizes": ", ".join(f"{size}: {count}" for size, count in list(check["sizes"].items())[:_SHOWN])
        + (", ..." if len(check["sizes"]) > _SHOWN else ""),
        "Empty masks": ", ".join(f"{name}: {empty['images']}" for name, empty in check["empties"].items()),
        "Near-duplicates": f"{len(check['groups'])} groups, {sum(map(len, check['groups']))} images"
        if check["groups"]
        else "none",
    }
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for finding in check["findings"]:
        kinds.setdefault((finding["severity"], finding["kind"]), []).append(finding)
    rows = [
        (f"{severity}: {kind}", str(len(found)), join([found[0]["message"], _first_files(found)]))
        for (severity, kind), found in kinds.items()
    ]
    findings = (
        table("Findings", ("finding", "times", "what it means, and the first files"), rows, class_="findings")
        if rows
        else element("p", "It found nothing wrong.")
    )
    return join([element("h3", "What tfseg data check said"), definitions(facts), findings])


def _first_files(findings: list[dict[str, Any]]) -> Html:
    files = [file for finding in findings for file in finding["files"]]
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return element("small", join((element("code", file) for file in files[:_SHOWN]), ", "), more)
