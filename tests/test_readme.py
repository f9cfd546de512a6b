"""The numbers of README.md and docs/ are those of the runs that tools/readme keeps, and their commands exist."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from tfseg.models import names, network

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("readme_tool", ROOT / "tools" / "readme.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def test_every_section_is_written_by_the_tool(tool):
    marked = {
        page: re.findall(r"^<!-- (\w+) -->$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE) for page in PAGES
    }
    assert {page: set(names) for page, names in marked.items() if names} == {
        page: set(sections) for page, sections in tool.PAGES.items()
    }


def test_the_tables_are_what_the_tool_writes(tool):
    for page in tool.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert tool.rendered(page, text) == text, f"{page} is stale: run python tools/readme.py"


def test_a_changed_bench_would_be_seen(tool, tmp_path, monkeypatch):
    page, text = "docs/benchmarks.md", (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name in tool.BENCHES:
        shutil.copytree(tool.KEPT, tmp_path / name)
        kept = json.loads((tmp_path / name / f"{name}.json").read_text())
        kept["table"] = re.sub(r"\d", "7", kept["table"])
        (tmp_path / name / f"{name}.json").write_text(json.dumps(kept))
        monkeypatch.setattr(tool, "KEPT", tmp_path / name)
        assert tool.rendered(page, text) != text, name


def test_accuracy_beside_peers_is_shown_where_it_was_measured(tool, tmp_path, monkeypatch):
    page, text = "docs/benchmarks.md", (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    shutil.copytree(tool.KEPT, tmp_path / "kept")
    kept = tmp_path / "kept" / "accuracy.json"
    monkeypatch.setattr(tool, "KEPT", tmp_path / "kept")
    for empty in ("", "{}", '{"data": [], "table": "nothing"}'):
        kept.write_text(empty)
        assert "<!-- accuracy -->\n<!-- /accuracy -->\n" in tool.rendered(page, text)
    kept.unlink()
    assert "<!-- accuracy -->\n<!-- /accuracy -->\n" in tool.rendered(page, text)
    run = ["tfseg", "kfold", "--dataset", "hc18", "--data", "/home/me/hc18", "--out", "/home/me/run"]
    ours = {"title": "tfseg, int8", "run": run}
    peer = {"title": "smp U-Net, default", "settings": {"loss": "dice", "augment": False}}
    kept.write_text(json.dumps({"data": [{"name": "hc18", "rows": [ours, peer]}], "table": "| a table |"}))
    shown = tool.rendered(page, text)
    assert "## Accuracy beside peers" in shown
    assert "\n| a table |\n\n```\nhc18, tfseg, int8: tfseg kfold --dataset hc18 --data DIR\n" in shown
    assert "\nhc18, smp U-Net, default: loss dice, augment False\n```\n<!-- /accuracy -->" in shown


def test_a_changed_result_would_be_seen(tool, tmp_path, monkeypatch):
    shutil.copytree(tool.KEPT, tmp_path / "kept")
    kept = sorted((tmp_path / "kept" / "results").glob("*.json"))
    assert kept
    for path in kept:
        path.write_text(re.sub(r'"mean": 0\.\d+', '"mean": 0.123', path.read_text()))
    monkeypatch.setattr(tool, "KEPT", tmp_path / "kept")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tool.rendered("README.md", text) != text


def test_every_command_of_the_pages_is_one(tfseg):
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    commands = set(re.findall(r"^ {4}tfseg ((?:data )?[a-z]+)", text, re.MULTILINE))
    assert {"kfold", "train", "evaluate", "predict", "report", "data check"} <= commands
    for command in commands:
        tfseg(*command.split(), "--help")


def test_the_picture_exists():
    assert (ROOT / "tools" / "readme" / "demo.png").stat().st_size < 500_000


def test_the_table_of_networks_is_that_of_the_program(tool):
    kept = json.loads((tool.KEPT / "networks.json").read_text())
    assert [row["name"] for row in kept] == names(), "say tfseg models --json > tools/readme/networks.json"
    assert {row["name"]: row["stride"] for row in kept} == {name: network(name)[0].stride for name in names()}
