"""tools/bench/scale.py: what one more task and one more image cost, apart from what starting costs."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "tools/bench"))
import scale

from tfseg.engine import Local


def test_the_start_is_no_overhead_of_a_task():
    # 2 workers, 3 s to start, tasks of 0.5 s with 0.1 s of overhead: 3 + 8 * 0.6 / 2, 3 + 32 * 0.6 / 2
    found = scale.summed_up(2, [{8: 5.4, 32: 12.6}, {8: 5.4, 32: 12.6}, {8: 9.0, 32: 99.0}])
    assert found["seconds"] == {8: 5.4, 32: 12.6}
    assert found["overhead_s"] == pytest.approx(0.1)


def test_one_more_image_costs_what_the_slope_says(monkeypatch, tmp_path):
    images = {factor: 24 * factor for factor in scale.FACTORS}
    monkeypatch.setattr(scale.phantom, "generate", lambda *names, **options: None)
    taken = {n: {"s": 99.0, "cpu_s": 10 + 0.1 * n, "peak_mib": 500 + n} for n in images.values()}
    monkeypatch.setattr(scale, "kfold", lambda folder, factor, number: taken[images[factor]])
    rows = scale.on_images(tmp_path, 1)
    assert [row["images"] for row in rows] == [24, 96, 384]
    assert [row.get("cpu_s_of_one_more") for row in rows] == [None, pytest.approx(0.1), pytest.approx(0.1)]
    assert rows[2]["peak_ratio"] == 884 / 524


def test_a_task_waits_and_leaves_its_file(tmp_path):
    assert scale.seconds(Local(), 1, tmp_path) >= scale.WAIT_S
    assert (tmp_path / "0/state").stat().st_size == scale.SENT_BYTES


def test_the_table_holds_every_row():
    workers = [{"workers": count} | scale.summed_up(count, [{8: 8 / count, 32: 32 / count}]) for count in (1, 2)]
    images = [{"images": 24, "s": 1.0, "cpu_s": 1.5, "peak_mib": 500.0, "peak_ratio": 1.0}]
    settings = {"wait_s": 0.5, "sent_bytes": 1 << 20, "rounds": 1, "kfold": scale.KFOLD}
    versions = {"ray": "2", "tensorflow": "2"}
    host = {"cpus": 2, "processor": "P", "load": 0.1}
    table = scale.table(
        {"settings": settings, "versions": versions, "host": host, "workers": workers, "images": images}
    )
    assert "| 2 | 4.0 | 16.0 | 2.0 / 8.0 | 2.00 | 500 |" in table.splitlines()
    assert "| 24 | 1.0 | 1.5 |  | 500 | 1.00 |" in table.splitlines()
