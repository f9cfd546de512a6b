"""Model cards: what they say is what the run's files say, and no name breaks them."""

import dataclasses
import json
import statistics

import pytest
from markdown_it import MarkdownIt

from tfseg import runs
from tfseg.bench import result
from tfseg.bench.result import Cell
from tfseg.errors import InputError
from tfseg.metrics import read_rows
from tfseg.report.card import NAME, write_card

CELL = Cell(
    file="run/net-int8.tflite",
    file_sha256="",
    precision="int8",
    target="host",
    device="Example CPU",
    device_id="0123abcd",
    soc="2 CPUs, x86_64",
    android="Linux 6",
    harness="ai-edge-litert 2.3.0",
    harness_sha256="cd" * 32,
    delegate="cpu",
    delegate_ran="xnnpack",
    threads=1,
    runs_asked=50,
    median_ms=12.5,
    status="ok",
    measured_at="2026-11-20T09:00:00+00:00",
)
SHIPPED = b"what ships"


def tables(text):
    """The tables of a page by the heading they stand under, as a reader of GitHub's Markdown shows them."""
    heading, found, inside = "", {}, None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "heading_open":
            inside = "heading"
        elif token.type == "table_open":
            found.setdefault(heading, []).append([])
            inside = "table"
        elif token.type == "tr_open":
            found[heading][-1].append([])
        elif token.type in ("heading_close", "table_close"):
            inside = None
        elif token.type == "inline" and inside:
            shown = "".join(child.content for child in token.children or ())
            if inside == "heading":
                heading = shown
            else:
                found[heading][-1][-1].append(shown)
    return found


def card(run, **options):
    return write_card(run, **options).read_text(encoding="utf-8")


@pytest.fixture
def sha256(bare_run):
    """That of the file that ships, which now lies in the run."""
    (bare_run / "net-int8.tflite").write_bytes(SHIPPED)
    return runs.sha256(bare_run / "net-int8.tflite")


def test_the_scores_are_those_of_the_summary(run_of_two_files):
    found = tables(card(run_of_two_files, out=run_of_two_files.parent / "card.md"))
    summary = runs.read_json(run_of_two_files / runs.SUMMARY)
    for file, folds in zip(("keras", "int8"), found["Folds"], strict=True):
        entry = summary["files"][file]["nerve"]
        assert [row[0] for row in folds[1:]] == ["0", "1", "2", "3", "4", "all"]
        assert [float(row[2]) for row in folds[1:6]] == [round(value, 3) for value in entry["dice"]["folds"].values()]
        assert float(folds[6][2].split()[0]) == round(entry["dice"]["mean"], 3)
        assert folds[6][2].endswith(f"[{entry['dice']['low']:.3f}, {entry['dice']['high']:.3f}]")
    (losses,) = found["What the files lose"]
    paired = summary["comparisons"]["int8"]["nerve"]
    assert losses[2][4].startswith(f"{paired['dice']['mean']:+.4f} [{paired['dice']['low']:+.4f}, ")
    assert losses[2][6] == f"{paired['flipped']} of 60"
    (measures,) = found["Areas, diameters and circumferences"]
    area = summary["files"]["int8"]["nerve"]["measures"]["area"]
    assert measures[4][:4] == ["nerve", "int8", "area (px²)", str(area["count"])]
    assert float(measures[4][5]) == round(area["error"], 1)


def test_strata_are_scored_apart(bare_run):
    rows = read_rows(bare_run / runs.METRICS)
    benign = [row.image for row in rows if int(row.image.split("_")[1].removesuffix(".tif")) > 2]  # frames 3 to 5
    check = {"ok": True, "patient_known": True, "sizes": {}, "empties": {}, "groups": [], "findings": []}
    runs.write_json(bare_run / runs.DATA_CHECK, check | {"strata": {"benign": benign}})
    text = card(bare_run)
    (parts,) = tables(text)["Scores by stratum"]
    assert [row[1] for row in parts[1:]] == ["all", "benign", "showing nerve", "without nerve"]
    for row, expected in zip(
        parts[1:],
        (
            rows,
            [row for row in rows if row.image in benign],
            *([r for r in rows if r.truth_empty is e] for e in (False, True)),
        ),
        strict=True,
    ):
        assert row[2:4] == [str(len(expected)), "12"]
        assert float(row[4].split()[0]) == pytest.approx(statistics.mean(one.dice for one in expected), abs=5e-4)
        assert "[" in row[4]
    assert parts[4][6:8] == ["n/a", "n/a"]  # sensitivity and distance of images without a nerve
    assert f"Stratum benign: {len(benign)} images" in text


def test_without_strata_or_files_or_benchmarks_there_is_nothing_of_them(bare_run):
    text = card(bare_run)
    assert not {"Files", "What the files lose", "Latency"} & tables(text).keys()
    assert "Stratum" not in text
    assert " ms" not in text


def test_a_changed_score_changes_the_card(bare_run):
    before = card(bare_run)
    summary = runs.read_json(bare_run / runs.SUMMARY)
    summary["files"]["keras"]["nerve"]["dice"]["mean"] = 0.123
    runs.write_json(bare_run / runs.SUMMARY, summary)
    assert "0.123" in card(bare_run)
    assert "0.123" not in before


def test_only_latencies_of_its_own_files_are_told(bare_run, sha256, tmp_path):
    cpu = {"delegate": "gpu", "threads": None, "median_ms": None, "status": "ran on CPU", "reason": "a software GPU"}
    gone = dataclasses.replace(CELL, file_sha256=sha256, **cpu)
    for cell in (dataclasses.replace(CELL, file_sha256=sha256), gone, dataclasses.replace(CELL, file_sha256="ee" * 32)):
        result.write(tmp_path / "results", cell)
    found = tables(card(bare_run, benchmarks=[tmp_path / "results"]))
    (times,) = found["Latency"]
    assert [row[:5] for row in times[1:]] == [
        ["run/net-int8.tflite", "Example CPU (2 CPUs, x86_64)", "cpu", "1", "12.5"],
        ["run/net-int8.tflite", "Example CPU (2 CPUs, x86_64)", "gpu", "", ""],
    ]
    assert times[2][-1] == "ran on CPU: a software GPU"
    assert found["Files"][0][1] == ["net-int8.tflite", "0.00", sha256]


def test_results_of_other_files_are_refused(bare_run, sha256, tmp_path):
    result.write(tmp_path / "results", dataclasses.replace(CELL, file_sha256="ee" * 32))
    for folder, message in (("results", "no measurement of this run's files"), ("nowhere", "no such folder")):
        with pytest.raises(InputError, match=message):
            write_card(bare_run, benchmarks=[tmp_path / folder])
    assert not (bare_run / NAME).exists()


def test_simulated_data_are_marked(bare_run):
    for name in (runs.PROVENANCE, runs.SUMMARY):
        content = runs.read_json(bare_run / name)
        content["data"]["phantom"] = True
        runs.write_json(bare_run / name, content)
    lines = card(bare_run).splitlines()
    assert lines[0] == "# Model card: nerve_unet on nerve, PHANTOM"
    assert lines[2].startswith("> PHANTOM: every image of this run was simulated")
    assert "**PHANTOM nerve: nerve, keras**" in lines
    assert "**PHANTOM nerve, by stratum**" in lines
    assert not [line for line in lines if line.startswith("- Licence")]  # it holds none of those images


def test_a_card_is_written_again_until_someone_edits_it(bare_run):
    first = card(bare_run)
    assert card(bare_run) == first
    (bare_run / NAME).write_text(first.replace("Intended use", "What it is for"))
    with pytest.raises(InputError, match="was edited"):
        write_card(bare_run)
    assert "What it is for" in (bare_run / NAME).read_text()
    assert card(bare_run, out=bare_run / "other.md") == first


def test_no_name_breaks_the_page(bare_run):
    hostile = "a|b `c` <script>alert(1)</script> [x](javascript:y)\n# z"
    for name in (runs.PROVENANCE, runs.SUMMARY):
        content = runs.read_json(bare_run / name)
        content["data"]["name"] = hostile
        runs.write_json(bare_run / name, content)
    provenance = runs.read_json(bare_run / runs.PROVENANCE)
    runs.write_json(bare_run / runs.PROVENANCE, provenance | {"command": ["tfseg", "kfold", "--data", "`\n# z```"]})
    text = card(bare_run)
    parsed = MarkdownIt("commonmark").enable("table").parse(text)
    headings = [token.tag for token in parsed if token.type == "heading_open"]
    assert headings == ["h1", *["h2"] * (len(headings) - 1)]
    kinds = {child.type for token in parsed for child in token.children or ()}
    assert not {"html_inline", "link_open"} & kinds
    assert [token for token in parsed if token.type == "html_block"] == [parsed[-1]]  # the seal
    assert {len(row) for folds in tables(text)["Folds"] for row in folds} == {12}


def test_a_run_without_scores_has_no_card(tfseg, bare_run):
    (bare_run / runs.SUMMARY).unlink()
    refused = tfseg("card", bare_run, status=2)
    assert refused.stderr == f"tfseg: {bare_run}: has no scores yet; go on with it: --resume\n"


def test_the_newest_run_is_taken_where_none_is_named(tfseg, bare_run, tmp_path):
    (tmp_path / "runs").mkdir()
    bare_run.rename(tmp_path / "runs" / "mine")
    done = tfseg("card", prefix=("env", "-C", tmp_path))
    assert done.stdout == f"runs/mine/{NAME}\n"
    assert json.loads((tmp_path / "runs/mine" / runs.SUMMARY).read_text())
    assert (tmp_path / "runs/mine" / NAME).read_text().startswith("# Model card: nerve_unet on nerve\n")
