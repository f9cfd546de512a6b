"""One JSON a cell: what may stand in it, and that it is read again, by later versions too."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from tfseg.bench import result
from tfseg.bench.result import Cell
from tfseg.errors import InputError

CELL = Cell(
    file="unet/final/int8.tflite",
    file_sha256="ab" * 32,
    precision="int8",
    target="android",
    device="Google Pixel 9",
    device_id="0123abcd",
    soc="Google Tensor G4",
    android="15 (API 35)",
    harness="benchmark_model v1",
    harness_sha256="cd" * 32,
    delegate="gpu",
    delegate_ran="gpu",
    gpu_api="OpenCL",
    coverage="complete",
    unsupported_operations=("LOGISTIC: no",),
    runs_asked=50,
    runs=75,
    mean_ms=12.5,
    min_ms=11.0,
    median_ms=12.25,
    p95_ms=14.0,
    max_ms=15.0,
    battery_before_c=27.1,
    status="ok",
    measured_at="2026-11-20T09:00:00+00:00",
)
# A file as schema 1 was first written, and is read for good.
FIRST = {
    "schema": 1, "runs": 75, "warmup_runs": 6, "init_ms": 515.9, "first_ms": 20.5, "median_ms": 12.25, "mean_ms": 12.5,
    "p5_ms": 11.5, "p90_ms": None, "p95_ms": 14.0, "sd_ms": 0.5, "min_ms": 11.0, "max_ms": 15.0,
    "memory_init_mb": 94.6, "memory_overall_mb": 95.6, "memory_peak_mb": None, "file": "unet/final/int8.tflite",
    "file_sha256": "ab" * 32, "precision": "int8", "target": "android", "device": "Google Pixel 9",
    "device_id": "0123abcd", "soc": "Google Tensor G4", "android": "15 (API 35)", "harness": "benchmark_model v1",
    "harness_sha256": "cd" * 32, "delegate": "gpu", "delegate_ran": "gpu", "gpu_api": "OpenCL", "coverage": "complete",
    "kernels": None, "unsupported_operations": [], "threads": None, "runs_asked": 50, "battery_before_c": 27.1,
    "battery_after_c": 27.4, "zone_before_c": 31.5, "zone_after_c": 40.2, "largest_difference": 0.004,
    "flipped_pixels": 3, "output_pixels": 65536, "status": "ok", "reason": "", "notes": [],
    "measured_at": "2026-11-20T09:00:00+00:00",
}  # fmt: skip


def test_a_cell_is_read_as_it_was_written(tmp_path):
    path = result.write(tmp_path, CELL)
    assert path.parent == tmp_path / "Google-Pixel-9-0123abcd"
    assert path.name == "unet-final-int8-gpu-cdcdabab50.json"
    assert result.read(path) == CELL
    assert result.read_all(tmp_path) == [CELL]
    assert json.loads(path.read_text())["schema"] == result.SCHEMA


def test_the_first_schema_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(FIRST))
    cell = result.read(tmp_path / "a.json")
    assert (cell.median_ms, cell.flipped_pixels, cell.device) == (12.25, 3, "Google Pixel 9")
    later = {"model": "", "dataset": "", "phantom": False, "dice": None, "cpu_flags": ()}
    assert dataclasses.asdict(cell) | {"schema": 1} == FIRST | later | {"unsupported_operations": (), "notes": ()}


def test_what_a_file_does_not_hold_yet_takes_the_default(tmp_path):
    kept = {name: value for name, value in FIRST.items() if name not in ("gpu_api", "notes", "p90_ms", "kernels")}
    (tmp_path / "a.json").write_text(json.dumps(kept))
    cell = result.read(tmp_path / "a.json")
    assert (cell.gpu_api, cell.notes, cell.p90_ms, cell.kernels) == (None, (), None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("{", "damaged JSON", id="json"),
        pytest.param("[]", "not a benchmark result", id="list"),
        pytest.param('{"figures": 1}', "not a benchmark result", id="another"),
        pytest.param(json.dumps(FIRST | {"schema": 3}), "of schema 3, and this version reads up to 2", id="newer"),
        pytest.param(json.dumps(FIRST | {"latency": 1}), "damaged benchmark result", id="unknown-key"),
        pytest.param(json.dumps(FIRST | {"mean_ms": "12"}), "mean_ms is '12'", id="text"),
        pytest.param(json.dumps(FIRST | {"status": "fine"}), "status is 'fine'", id="status"),
        pytest.param('{"schema": 1}', "damaged benchmark result", id="empty"),
    ],
)
def test_a_file_that_is_no_cell_is_named(tmp_path, content, said):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json: ") as caught:
        result.read(tmp_path / "a.json")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"coverage": "partial"}, "no word that a GPU ran the whole graph", id="partly-on-the-gpu"),
        pytest.param({"delegate_ran": "cpu"}, "no word that a GPU ran", id="on-the-cpu"),
        pytest.param({"status": "ran on CPU", "reason": "it did"}, "there are figures: max_ms", id="figures-of-a-cpu"),
        pytest.param({"status": "failed", "reason": "it did"}, "there are figures", id="figures-of-a-failure"),
        pytest.param({"mean_ms": None, "median_ms": None}, "there is no latency", id="no-latency"),
        pytest.param({"reason": "warm"}, 'status is "ok" and the reason "warm"', id="reason"),
        pytest.param({"status": "unsteady"}, 'status is "unsteady" and the reason ""', id="no-reason"),
        pytest.param({"median_ms": 10.0}, "not in order", id="median-below-least"),
        pytest.param({"mean_ms": math.nan}, "mean_ms is nan", id="nan"),
        pytest.param({"init_ms": -1.0}, r"init_ms is -1\.0", id="negative"),
        pytest.param({"runs": 1.5}, r"runs is 1\.5", id="half-a-run"),
        pytest.param({"delegate": "npu"}, "delegate is 'npu'", id="delegate"),
    ],
)
def test_a_cell_that_contradicts_itself_cannot_be_made(change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(CELL, **change)


def test_a_measurement_is_the_same_only_on_the_same_phone_with_the_same_bytes():
    no_figures = dict.fromkeys(("runs", "mean_ms", "min_ms", "median_ms", "p95_ms", "max_ms"))
    failed = dataclasses.replace(CELL, **no_figures, status="failed", reason="unplugged")
    assert result.held([CELL, failed]) == {CELL.key}
    assert result.held([failed]) == set()
    for change in (
        {"device_id": "ffffffff"},
        {"harness_sha256": "ef" * 32},
        {"file_sha256": "ef" * 32},
        {"delegate": "gpu-fp32"},
        {"threads": 4},
        {"runs_asked": 10},
    ):
        assert dataclasses.replace(CELL, **change).key != CELL.key
    assert dataclasses.replace(CELL, measured_at="later", file="copy.tflite").key == CELL.key


def test_every_field_is_documented():
    text = (result.Cell.__doc__ or "") + (result.Figures.__doc__ or "")
    assert [field.name for field in dataclasses.fields(Cell) if f"        {field.name}: " not in text] == []


def test_nothing_is_read_where_there_is_nothing(tmp_path):
    assert result.read_all(tmp_path / "nowhere") == []
    assert result.read_all(Path(tmp_path)) == []
