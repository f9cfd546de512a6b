"""The page about benchmarks: what counts, what stands on the front, and what is told of the rest."""

import csv
import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from tfseg.bench import result
from tfseg.bench.result import Cell
from tfseg.cli import main
from tfseg.report.benchmark import fastest, write_benchmark_report
from tfseg.report.tradeoff import Point, numbers, pareto, tradeoff

CELL = Cell(
    file="a/final/fp32.tflite",
    file_sha256="aa" * 32,
    precision="fp32",
    model="a",
    dataset="nerve",
    dice=0.8,
    target="host",
    device="Example CPU",
    device_id="0123abcd",
    soc="2 CPUs, x86_64",
    android="Linux 6",
    harness="ai-edge-litert 2.3.0",
    harness_sha256="cd" * 32,
    delegate="cpu",
    delegate_ran="xnnpack",
    coverage="complete",
    threads=1,
    runs_asked=50,
    runs=50,
    median_ms=20.0,
    status="ok",
    measured_at="2026-11-20T09:00:00+00:00",
)
QUICK = dataclasses.replace(CELL, threads=2, median_ms=12.0)
SMALL = dataclasses.replace(CELL, file="b/final/int8.tflite", file_sha256="bb" * 32, median_ms=4.0, dice=0.75)
POOR = dataclasses.replace(CELL, file="c.tflite", file_sha256="cc" * 32, median_ms=15.0, dice=0.7)
UNPROVED = dataclasses.replace(CELL, file="<d>.tflite", file_sha256="dd" * 32, median_ms=1.0, dice=None)
NO_GPU = dataclasses.replace(
    CELL,
    delegate="gpu",
    threads=None,
    runs=None,
    median_ms=None,
    status="ran on CPU",
    reason="a software GPU",
    flipped_pixels=3,
    output_pixels=256,
    largest_difference=0.25,
)
PHONE = dataclasses.replace(CELL, target="android", device="Example Phone", device_id="ffff0000", median_ms=40.0)


@pytest.fixture
def results(tmp_path):
    """Write cells as the benchmark does."""

    def write(*cells, name="out"):
        for cell in cells:
            result.write(tmp_path / name, cell)
        return tmp_path / name

    return write


def test_no_point_of_the_front_is_beaten():
    speed_and_dice = [(4, 0.75), (12, 0.8), (15, 0.7), (12, 0.79), (20, 0.8), (30, 0.9)]
    points = [Point(file=str(i), device="x", latency_ms=ms, dice=dice) for i, (ms, dice) in enumerate(speed_and_dice)]
    assert [point.file for point in pareto(points)] == ["0", "1", "5"]
    assert pareto([]) == []


def test_a_file_has_one_mark_on_each_device():
    points = fastest([CELL, QUICK, SMALL, UNPROVED, NO_GPU, PHONE])
    assert [(point.file, point.device, point.latency_ms) for point in points] == [
        ("a/final/fp32.tflite", "Example CPU 0123abcd", 12.0),
        ("b/final/int8.tflite", "Example CPU 0123abcd", 4.0),
        ("a/final/fp32.tflite", "Example Phone ffff0000", 40.0),
    ]


def test_files_of_two_data_sets_do_not_beat_each_other():
    points = fastest([CELL, dataclasses.replace(SMALL, dataset="hc18", dice=0.97), UNPROVED])
    assert {point.device: [one.file for one in pareto([point])] for point in points} == {
        "Example CPU 0123abcd, nerve": [CELL.file],
        "Example CPU 0123abcd, hc18": [SMALL.file],
    }


def test_the_page_tells_everything(results):
    folder = results(CELL, QUICK, SMALL, POOR, UNPROVED, NO_GPU)
    path = write_benchmark_report([folder, results(PHONE, name="phone")])
    assert path == folder / "benchmark.html"
    text = path.read_text()
    assert "7 measurements of 4 files on 2 devices; the latency of 6 counts." in text
    front = "1 b/final/int8.tflite (4 ms, 0.750); 2 a/final/fp32.tflite (12 ms, 0.800)"
    assert f"<strong>Example CPU 0123abcd</strong>: {front}</li>" in text
    assert "ran on CPU: a software GPU; 3 of 256 pixels differ" in text
    assert "&lt;d&gt;.tflite" in text
    assert "PHANTOM" not in text
    with (folder / "benchmark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["median_ms"] for row in rows if row["delegate"] == "gpu"] == [""]
    assert sorted(float(row["median_ms"]) for row in rows if row["median_ms"]) == [1, 4, 12, 15, 20, 40]
    assert {row["dice"] for row in rows} == {"0.8", "0.75", "0.7", ""}
    assert ElementTree.parse(folder / "benchmark.svg").getroot().tag.endswith("svg")
    before = {file: file.read_bytes() for file in folder.glob("benchmark.*")}
    write_benchmark_report([folder, folder.with_name("phone")])
    assert {file: file.read_bytes() for file in folder.glob("benchmark.*")} == before


def test_the_picture_numbers_the_front_and_names_the_devices():
    points = [
        Point(file="a", device="_x$ $1", latency_ms=2, dice=0.8),
        Point(file="b", device="_x$ $1", latency_ms=9, dice=0.8),  # as good, and slower
        Point(file="c", device="y", latency_ms=1, dice=0.7),
        Point(file="a", device="y", latency_ms=4, dice=0.8),
    ]
    assert numbers(points) == {"c": 1, "a": 2}
    texts = [text.strip() for text in ElementTree.fromstring(tradeoff(points).encode()).itertext() if text.strip()]
    assert {"x$ $1", "y"} <= set(texts)
    assert texts.count("1") + texts.count("2") >= 3
    assert "PHANTOM" in tradeoff(points, mark="PHANTOM")


def test_simulated_images_are_marked(results):
    folder = results(dataclasses.replace(CELL, phantom=True), SMALL)
    text = write_benchmark_report([folder]).read_text()
    assert '<aside class="phantom" aria-label="PHANTOM">' in text
    assert "PHANTOM 0.800" in text
    assert "PHANTOM 0.750" not in text
    assert "PHANTOM" in (folder / "benchmark.svg").read_text()


def test_without_a_proof_there_is_no_picture(results):
    folder = results(UNPROVED)
    assert "No file here brings a proof of its Dice" in write_benchmark_report([folder]).read_text()
    assert not (folder / "benchmark.svg").exists()


def test_the_command_writes_the_page(tfseg, results):
    folder = results(CELL)
    assert tfseg("report", "--benchmark", folder).stdout == f"{folder}/benchmark.html\n"
    assert (folder / "benchmark.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--benchmark", "nowhere"], "nowhere: no such folder; `tfseg benchmark", id="missing"),
        pytest.param(["--benchmark", "EMPTY"], "holds no results; `tfseg benchmark", id="empty"),
        pytest.param(["--benchmark", "DAMAGED"], "a.json: damaged JSON", id="damaged"),
        pytest.param([], "name a run folder, or results with --benchmark DIR", id="nothing"),
        pytest.param(["run", "--benchmark", "EMPTY"], "name a run folder, or results", id="both"),
    ],
)
def test_wrong_calls_have_one_line(capsys, tmp_path, words, said):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "DAMAGED").mkdir()
    (tmp_path / "DAMAGED/a.json").write_text("{")
    words = [str(tmp_path / word) if word.isupper() else word for word in words]
    assert main(["report", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tfseg: ")
    assert said in line
