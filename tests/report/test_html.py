import dataclasses
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tfseg import runs
from tfseg.errors import InputError
from tfseg.metrics import COLUMNS, read_rows, row_values
from tfseg.report.card import write_card
from tfseg.report.html import write_report
from tfseg.report.markup import Html, chart, element, join, table
from tfseg.tables import EARLIER_RULE

MEASURES = {  # label in the report -> name in summary.json
    "Dice": "dice",
    "Kaggle score": "kaggle_score",
    "IoU": "iou",
    "Sensitivity": "sensitivity",
    "Precision": "precision",
    "Specificity": "specificity",
    "Pixel accuracy": "accuracy",
    "Efficiency": "efficiency",
    "95 % Hausdorff, px": "hausdorff95",
}


class Page(HTMLParser):
    """What a reader and a browser find: tags with attributes, tables as text, and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "small" and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += "|"

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def rows(self, heading: str) -> dict[str, list[str]]:
        """The rows of all tables whose header starts with `heading`, by their first cell."""
        return {row[0].split("|")[0]: row[1:] for rows in self.tables if rows[0][0] == heading for row in rows[1:]}


@pytest.fixture(scope="session")
def report(pristine_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with its report."""
    run = Path(shutil.copytree(pristine_run, tmp_path_factory.mktemp("reported") / "run"))
    return run, write_report(run).read_text(encoding="utf-8")


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def as_phantom(run: Path) -> None:
    for path in (run / runs.PROVENANCE, run / runs.SUMMARY):
        change(path, data=json.loads(path.read_text())["data"] | {"phantom": True})


def test_page_is_whole_and_loads_nothing(report):
    page = Page(report[1])
    assert page.open == []
    assert report[1].startswith("<!doctype html>\n<html")
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    style = report[1].partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_and_chart_says_what_it_shows(report):
    page = Page(report[1])
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(images) == 18  # 9 cases, each alone and outlined
    assert len(charts) == 5  # 4 curves and a histogram
    assert all(attributes["alt"] for attributes in images)
    assert all(attributes["aria-label"] for attributes in charts)
    assert "Of 12 images without nerve, 9 were left empty." in charts[0]["aria-label"]


def test_ids_are_unique_and_links_lead_somewhere(report):
    page = Page(report[1])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert len(set(ids)) == len(ids)
    assert links <= {f"#{name}" for name in ids}
    assert "#limits" in links


def test_tables_have_headers(report):
    page = Page(report[1])
    scopes = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert len([tag for tag, _ in page.tags if tag == "caption"]) == len(page.tables)


def test_errors_of_measures_are_those_of_the_summary(report):
    run, text = report
    measures = json.loads((run / runs.SUMMARY).read_text())["files"]["keras"]["nerve"]["measures"]
    assert list(measures) == ["area", "longest_diameter", "diameter_across"]
    (shown,) = (rows for rows in Page(text).tables if rows[0][:3] == ["class", "file", "measure"])
    for cells, entry in zip(shown[1:], measures.values(), strict=True):
        values = f"{entry['reference']:.1f}", f"{entry['error']:+.1f}", f"{entry['absolute_error']:.1f}"
        assert cells[3:] == [str(entry["count"]), *values, f"{entry['low']:+.1f} to {entry['high']:+.1f}"]


def test_numbers_are_those_of_the_summary(report):
    run, text = report
    entry = json.loads((run / runs.SUMMARY).read_text())["files"]["keras"]["nerve"]
    rows = Page(text).rows("mean per image (95 % interval)")
    assert rows.keys() == MEASURES.keys()
    for label, name in MEASURES.items():
        digits = 1 if name == "hausdorff95" else 3
        mean, low, high, spread = (f"{entry[name][key]:.{digits}f}" for key in ("mean", "low", "high", "sd_folds"))
        assert rows[label] == [f"{mean} |{low} to {high}", spread, str(entry[name]["count"])]
    folds = Page(text).rows("fold")
    assert [folds[fold][1] for fold in "01234"] == [f"{entry['dice']['folds'][fold]:.3f}" for fold in "01234"]
    assert folds["all"][0] == "60"
    dice = entry["dice"]
    assert (
        f"the mean Dice was {dice['mean']:.2f} (95\u00a0% interval {dice['low']:.2f} to {dice['high']:.2f}) for nerve."
        in text
    )


def test_counts_add_up_to_the_images_and_the_pixels(report):
    page = Page(report[1])
    images, pixels = page.rows("image"), page.rows("pixel")
    assert images == {"shows nerve": ["45", "3"], "shows no nerve": ["3", "9"]}
    counts = [int(cell.replace("\u202f", "")) for row in pixels.values() for cell in row]
    assert sum(counts) == 60 * 63 * 87
    assert "in such an image it has no distance: 3 of 48 with nerve." in page.text
    assert "it is the wider of bootstrap-t and Student's t" in page.text
    assert page.rows("fold")["all"][-2:] == ["3 of 48", "3 of 12"]


def test_a_network_that_draws_nothing_is_named_before_its_scores(bare_run):
    assert "caution" not in {attributes.get("class") for _, attributes in Page(write_report(bare_run).read_text()).tags}
    rows = read_rows(bare_run / runs.METRICS)
    rows = [dataclasses.replace(row, prediction_empty=row.prediction_empty or row.fold == "3") for row in rows]
    runs.write_csv(bare_run / runs.METRICS, COLUMNS, map(row_values, rows))
    text = Page(write_report(bare_run).read_text(encoding="utf-8")).text
    named = "CAUTION: fold 3, keras: drew nothing on all 10 images, 8 of which show nerve"
    assert 0 < text.index(named) < text.index("On patients the network never saw")
    assert f"\n> {named}" in write_card(bare_run).read_text(encoding="utf-8")


def test_a_run_of_the_earlier_rule_says_so(bare_run):
    summary = json.loads((bare_run / runs.SUMMARY).read_text())
    del summary["rule"], summary["interval"]
    for name in ("missed", "false_alarms"):
        del summary["files"]["keras"]["nerve"][name]
    (bare_run / runs.SUMMARY).write_text(json.dumps(summary))
    page = Page(write_report(bare_run).read_text(encoding="utf-8"))
    assert page.text.count(EARLIER_RULE) == 2  # below the table, and where the report says how numbers are made
    assert "made it of percentiles" in page.text
    assert EARLIER_RULE in write_card(bare_run).read_text(encoding="utf-8")


def test_recipe_begins_with_what_differs_from_the_defaults(report):
    rows = list(Page(report[1]).rows("key").items())
    assert rows[:3] == [("epochs", ["12", "30"]), ("learning_rate", ["0.0005", "0.001"]), ("dataset", ["nerve", ""])]


def test_page_says_what_was_run_and_on_what(report):
    page = Page(report[1])
    for words in (
        "tfseg kfold --dataset nerve --out 'runs/a b'",
        "ab" * 32,
        "0" * 40,
        "On patients the network never saw",
        "Scored on 60 images of 12 patients. 12 images show no nerve",
        "not a medical device",
        "Ultrasound Nerve Segmentation, Kaggle, 2016",
        "Validation is the held-out fold itself",
    ):
        assert words in page.text
    assert "What tfseg data check said" not in page.text  # this run has no data_check.json


def test_same_files_give_the_same_bytes(report):
    run, text = report
    figures = {path.name: path.read_bytes() for path in (run / runs.FIGURES).iterdir()}
    assert write_report(run).read_text(encoding="utf-8") == text
    assert {path.name: path.read_bytes() for path in (run / runs.FIGURES).iterdir()} == figures
    assert {"curves.svg", "dice-nerve-keras.svg", "case_worst_3.png"} <= figures.keys()


def test_patient_cannot_break_the_page(report):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in report[1]
    assert "<script" not in report[1]
    assert "patient &quot;7&quot;, fold 1" in report[1]


def test_file_name_cannot_break_the_page(bare_run):
    text = (bare_run / runs.METRICS).read_text()
    worst = sorted(line.split(",")[0] for line in text.splitlines() if line.split(",")[5] == "0.0")
    nasty = "train/\"><script>alert('x')</script>&.tif"
    (bare_run / runs.METRICS).write_text(text.replace(f"{worst[0]},", f'"{nasty.replace(chr(34), chr(34) * 2)}",'))
    finding = {"kind": nasty, "severity": "warning", "files": [nasty], "message": nasty}
    check = {
        "patient_known": True,
        "sizes": {nasty: 1},
        "empties": {nasty: {"images": 1}},
        "groups": [],
        "findings": [finding],
    }
    runs.write_json(bare_run / runs.DATA_CHECK, check)
    change(bare_run / runs.PROVENANCE, command=["tfseg", nasty])
    page = Page(write_report(bare_run).read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.text.count("<script>alert('x')</script>&.tif") >= 5


@pytest.mark.parametrize("phantom", [False, True])
def test_phantom_is_impossible_to_miss_where_it_is_one_and_absent_where_it_is_none(fake_run, phantom):
    if phantom:
        as_phantom(fake_run)
    text = write_report(fake_run).read_text(encoding="utf-8")
    figures = [path.read_text() for path in (fake_run / runs.FIGURES).glob("*.svg")]
    if not phantom:
        assert "PHANTOM" not in text + "".join(figures)
        return
    page = Page(text)
    assert "<title>tfseg: nerve_unet on nerve, PHANTOM</title>" in text
    assert ("aside", {"class": "phantom", "aria-label": "PHANTOM"}) in page.tags
    assert "On simulated subjects the network never saw" in page.text
    assert "On patients the network never saw" not in page.text
    assert all("PHANTOM" in figure for figure in figures)
    assert len(figures) == 2


def test_report_without_the_data_shows_the_pictures_drawn_before(bare_run, tmp_path):
    with_data = Page(write_report(bare_run).read_text(encoding="utf-8"))
    about = json.loads((bare_run / runs.PROVENANCE).read_text())["data"]
    change(bare_run / runs.PROVENANCE, data=about | {"root": str(tmp_path / "gone")})
    without = Page(write_report(bare_run).read_text(encoding="utf-8"))
    sources = [[attributes["src"] for tag, attributes in page.tags if tag == "img"] for page in (with_data, without)]
    assert sources[0] == sources[1]
    assert f"The images are not at {tmp_path / 'gone'} any more" in without.text
    shutil.rmtree(bare_run / runs.FIGURES)
    assert "Best, median and worst" not in Page(write_report(bare_run).read_text(encoding="utf-8")).text


def test_several_files_stand_side_by_side(run_of_two_files):
    run = run_of_two_files
    page = Page(write_report(run).read_text(encoding="utf-8"))
    files = json.loads((run / runs.SUMMARY).read_text())["files"]
    header = next(rows[0] for rows in page.tables if rows[0][0].startswith("mean per image"))
    assert header[1:] == ["keras", "int8"]
    cells = page.rows("mean per image (95 % interval)")["Dice"]
    assert [cell.split(" ")[0] for cell in cells] == [f"{files[name]['nerve']['dice']['mean']:.3f}" for name in files]
    assert "for nerve as keras and" in page.text


def test_the_files_that_ship_are_compared(run_of_two_files):
    page = write_report(run_of_two_files).read_text()
    paired = runs.read_json(run_of_two_files / runs.SUMMARY)["comparisons"]["int8"]["nerve"]
    section = page[page.index("The files that ship") :]
    assert f"{paired['dice']['mean']:+.4f}" in section
    assert f"{paired['flipped']} of {paired['images']}" in section


def test_what_was_not_measured_is_not_in_the_report(bare_run):
    for name in (runs.METRICS, runs.SUMMARY, runs.FOLDS):
        (bare_run / name).unlink()
    page = Page(write_report(bare_run).read_text(encoding="utf-8"))
    headings = [attributes["id"] for tag, attributes in page.tags if tag == "h2"]
    assert headings == ["data", "what-was-run", "how-the-numbers-are-made", "limits"]
    assert "This run has no scores yet." in page.text


def test_one_fold_alone_says_so(bare_run):
    lines = (bare_run / runs.METRICS).read_text().splitlines(keepends=True)
    (bare_run / runs.METRICS).write_text("".join(line for line in lines if line.split(",")[2] in ("fold", "0")))
    assert "Only on fold 0 was a network scored" in write_report(bare_run).read_text(encoding="utf-8")


def test_unknown_patients_are_not_called_patients(bare_run):
    check = {
        "patient_known": False,
        "sizes": {"87x63": 60},
        "empties": {"nerve": {"images": 12}},
        "groups": [["a", "b"]],
    }
    runs.write_json(bare_run / runs.DATA_CHECK, check | {"findings": []})
    page = Page(write_report(bare_run).read_text(encoding="utf-8"))
    assert "On images the network never saw" in page.text
    assert "The data set does not say who was scanned." in page.text
    assert "It found nothing wrong." in page.text
    assert "1 groups, 2 images" in page.text


def test_findings_of_data_check_are_counted_by_kind_with_the_first_files(bare_run):
    near = [
        {"kind": "near-duplicate", "severity": "info", "files": [f"{k}a.tif", f"{k}b.tif"], "message": "Alike."}
        for k in range(3)
    ]
    torn = [{"kind": "unreadable", "severity": "error", "files": ["x.tif"], "message": "Mend it."}]
    check = {"patient_known": True, "sizes": {}, "empties": {}, "groups": [], "findings": torn + near}
    runs.write_json(bare_run / runs.DATA_CHECK, check)
    rows = Page(write_report(bare_run).read_text(encoding="utf-8")).rows("finding")
    assert rows == {
        "error: unreadable": ["1", "Mend it.|x.tif"],
        "info: near-duplicate": ["3", "Alike.|0a.tif, 0b.tif, 1a.tif, 1b.tif and 2 more"],
    }


@pytest.mark.parametrize(
    "name", [runs.PROVENANCE, runs.SUMMARY, runs.METRICS, f"fold_1/{runs.HISTORY}", runs.DATA_CHECK, runs.FOLDS]
)
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"schema": 1, "data": 3}', b"\xff\xfe", b'"'])
def test_damaged_file_is_one_line_with_its_name(fake_run, name, content):
    if (name, content[:1]) in ((runs.FOLDS, b"{"), (runs.PROVENANCE, b"[")):
        pytest.skip("folds.json may have any keys, and the schema is read before this module sees provenance.json")
    (fake_run / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        write_report(fake_run)
    assert str(fake_run) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (fake_run / runs.REPORT).exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda summary: summary["files"]["keras"]["nerve"].pop("dice"),
        lambda summary: summary["files"]["keras"]["nerve"]["iou"].pop("low"),
        lambda summary: summary["files"].update(keras=[]),
        lambda summary: summary.update(files=[1]),
    ],
    ids=["no-dice", "no-interval", "list-of-classes", "list-of-files"],
)
def test_summary_that_lacks_a_score_is_one_line_with_its_name(fake_run, change):
    run = fake_run
    summary = runs.read_json(run / runs.SUMMARY)
    change(summary)
    runs.write_json(run / runs.SUMMARY, summary)
    with pytest.raises(InputError, match=r"summary.json: damaged: no ") as error:
        write_report(run)
    assert "\n" not in str(error.value)


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="no such run folder"):
        write_report(tmp_path / "none")


def test_markup_escapes_all_that_is_not_markup():
    assert element("p", "<b>", Html("<b>x</b>"), title='"a"') == '<p title="&quot;a&quot;">&lt;b&gt;<b>x</b></p>'
    assert join(["a & b", element("i", "c")], " < ") == "a &amp; b &lt; <i>c</i>"
    assert '<th scope="row">&lt;i&gt;</th><td>&amp;</td>' in table("t", ("a", "b"), [("<i>", "&")])


def test_chart_takes_the_pages_colours_and_keeps_its_ids_to_itself():
    svg = '<path id="a" style="fill: #123456"/><use xlink:href="#a"/></svg>'
    svg = f'<?xml version="1.0"?>\n<svg viewBox="0 0 4 4" width="4pt">{svg}'
    inline = chart(svg, 'of "x"', name="n", colours={"#123456": "var(--ink)"})
    assert inline == (
        '<svg class="chart" viewBox="0 0 4 4" role="img" aria-label="of &quot;x&quot;">'
        '<path id="n-a" style="fill: var(--ink)"/><use xlink:href="#n-a"/></svg>'
    )


def test_the_report_says_what_was_decided_and_what_was_not_trained_on(fake_run):
    run = fake_run
    for fold, presence in ((0, [0.35]), (1, [])):
        decision = {"threshold": 0.45, "smallest_area": 0.004, "presence": presence, "images": 9, "dice": 1}
        (run / f"fold_{fold}" / "decision.json").write_text(json.dumps(decision | {"dice_before": 1}))
    check = {"patient_known": True, "sizes": {}, "empties": {}, "groups": [], "findings": []}
    check["contradicting"] = {"nerve": ["a.png", "b.png"], "vessel": ["c.png"]}
    (run / "data_check.json").write_text(json.dumps(check))
    page = write_report(run).read_text()
    assert "fold 0 0.45, at least 0.40% of the image, presence 0.35; fold 1 0.45, at least 0.40% of the image)" in page
    assert "Networks started from random numbers." in page
    assert "2 images were not trained on" in page  # the vessel is not learned
