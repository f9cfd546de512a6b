"""Files measured on this computer: the whole command, what two series say together, and GPUs that are none."""

import dataclasses
import json
import os

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfseg.bench import host, numerics, result
from tfseg.bench.host import Series
from tfseg.bench.task import Task
from tfseg.cli import main
from tfseg.errors import WorkError
from tfseg.lite import gpu

QUIET = Series(
    init_ms=3.0,
    first_ms=9.0,
    warmup_runs=4,
    latencies_ms=(10.0, 20.0, 20.0, 20.0, 50.0),
    memory_init_mb=1.0,
    memory_overall_mb=2.0,
    memory_peak_mb=30.0,
)


@pytest.fixture
def adapter():
    """The GPU of this computer; the test is skipped where there is none, not even a software one."""
    try:
        return gpu.device()
    except WorkError as error:
        pytest.skip(str(error))


@pytest.fixture
def task(write_network, tmp_path):
    """Return a task for a tiny network."""

    def make(delegate="cpu", threads=1, runs=4, **network):
        file = numerics.open_file(write_network(tmp_path / "a.tflite", **network))
        return Task(
            name="a.tflite", file=file, delegate=delegate, threads=threads if delegate == "cpu" else None, runs=runs
        )

    return make


def test_files_are_measured_and_kept(tfseg, write_proved, write_network, tmp_path):
    ours, theirs = (
        write_proved(tmp_path / "ours.tflite", phantom=True),
        write_network(tmp_path / "theirs.tflite", "int8"),
    )
    words = ("benchmark", ours, theirs, "--threads", "1,2", "--runs", 7, "--json", tmp_path / "out")
    done = tfseg(*words)
    assert "4 of 4 cells measured; results in" in done.stderr
    assert [line.count(".tflite") for line in done.stdout.splitlines()].count(1) == 4
    cells = {(cell.file, cell.threads): cell for cell in result.read_all(tmp_path / "out")}
    assert set(cells) == {("ours.tflite", 1), ("ours.tflite", 2), ("theirs.tflite", 1), ("theirs.tflite", 2)}
    for cell in cells.values():
        assert cell.counts  # tiny networks on a busy machine may be unsteady
        assert (cell.target, cell.runs, cell.runs_asked) == ("host", 8, 7)
        assert 0 < cell.min_ms <= cell.p5_ms <= cell.median_ms <= cell.p90_ms <= cell.p95_ms <= cell.max_ms
        assert cell.init_ms > 0
        assert cell.first_ms > 0
        assert 0 < cell.memory_init_mb <= cell.memory_overall_mb < cell.memory_peak_mb
        assert (cell.delegate_ran, cell.coverage, cell.kernels) == ("xnnpack", "complete", 1)
        assert cell.device
        assert cell.harness.startswith("ai-edge-litert ")
    one = cells["ours.tflite", 1]
    assert (one.model, one.dataset, one.dice, one.phantom) == ("tiny", "nerve", 0.8, True)
    assert (cells["theirs.tflite", 1].precision, cells["theirs.tflite", 1].dice) == ("int8", None)
    again = tfseg(*words)
    assert again.stdout == ""
    assert "0 of 4 cells measured, the others were there already" in again.stderr


def test_a_file_in_a_run_is_called_by_its_run(tfseg, write_network, tmp_path):
    file = write_network(tmp_path / "usgra-1/fold_0/int8.tflite", "int8")
    (tmp_path / "usgra-1/recipe.toml").touch()
    assert "usgra-1/fold_0/int8.tflite" in tfseg("benchmark", file, "--runs", 2).stdout


def test_without_a_file_the_newest_run_is_measured(tfseg, write_network, tmp_path):
    there = ("env", "-C", tmp_path)
    assert "no run in runs" in tfseg("benchmark", status=2, prefix=there).stderr
    for name in ("old", "new"):
        write_network(tmp_path / "runs" / name / "fold_0/int8.tflite", "int8")
        (tmp_path / "runs" / name / "recipe.toml").touch()
    os.utime(tmp_path / "runs/old/recipe.toml", (1, 1))
    done = tfseg("benchmark", "--runs", 2, prefix=there)
    assert "new/fold_0/int8.tflite" in done.stdout
    assert "old/" not in done.stdout
    (tmp_path / "runs/new/fold_0/int8.tflite").unlink()
    refused = tfseg("benchmark", status=2, prefix=there).stderr.splitlines()[-1]
    assert refused == "tfseg: runs/new: holds none of fp32, fp16, dynamic, int8 as .tflite: convert it first"


def test_two_series_that_agree_are_one_result():
    other = dataclasses.replace(QUIET, latencies_ms=(20.0, 20.0, 22.0, 24.0, 140.0), init_ms=5.0, warmup_runs=6)
    found = host.judge(QUIET, other)
    assert (found["status"], found["reason"]) == ("ok", "")
    assert (found["runs"], found["warmup_runs"], found["median_ms"]) == (10, 10, 20.0)
    assert found["mean_ms"] == pytest.approx(34.6)
    assert found["p5_ms"] == pytest.approx(14.5)  # 0.45 of the way from the first, 10, to the second, 20
    assert found["p90_ms"] == pytest.approx(59)  # 0.1 of the way from the ninth, 50, to the tenth, 140
    assert found["p95_ms"] == pytest.approx(99.5)
    assert (found["min_ms"], found["max_ms"], found["init_ms"], found["memory_peak_mb"]) == (10.0, 140.0, 3.0, 30.0)


def test_two_series_that_disagree_are_unsteady():
    other = dataclasses.replace(QUIET, latencies_ms=(48.0, 49.0, 50.0, 51.0, 52.0))
    found = host.judge(QUIET, other)
    assert (found["status"], found["reason"]) == ("unsteady", "two series disagree: medians of 20 and 50 ms")
    assert found["median_ms"] == 48.5  # between the fifth, 48, and the sixth, 49


@pytest.mark.parametrize(("median", "status"), [(104.0, "ok"), (106.0, "unsteady")])
def test_narrow_series_agree_when_their_medians_are_nearly_the_same(median, status):
    """Neither reaches the other; processes of one file differ by some per cent."""
    series = (
        dataclasses.replace(QUIET, latencies_ms=(middle - 0.1, middle, middle + 0.1)) for middle in (100.0, median)
    )
    assert host.judge(*series)["status"] == status


def test_series_that_agree_on_a_busy_machine_are_unsteady():
    busy = dataclasses.replace(QUIET, latencies_ms=(10.0, 10.0, 12.0, 20.0, 20.0))
    found = host.judge(busy, busy)
    assert found["reason"] == "the machine was busy: half of the inferences took 10 to 20 ms"
    assert (found["status"], found["median_ms"]) == ("unsteady", 12.0)


def test_one_series_within_a_wide_one_is_not_enough():
    wide, narrow = (1.0, 1.0, 2.0, 9.0, 9.0), (8.0, 8.1, 8.2, 8.3, 8.4)
    series = (dataclasses.replace(QUIET, latencies_ms=latencies) for latencies in (wide, narrow))
    assert host.judge(*series)["status"] == "unsteady"


def test_a_process_that_takes_too_long_is_ended(task, monkeypatch):
    monkeypatch.setattr(host, "LIMIT_S", 0.01)
    cell = host.measure(task())
    assert (cell.status, cell.median_ms) == ("failed", None)
    assert cell.reason == "the measuring process died of SIGKILL (it is ended after 0.01 s)"


def test_more_threads_than_cpus_are_noted(task):
    cell = host.measure(task(threads=512, runs=2))
    assert cell.notes[0].startswith("512 threads on ")


def test_what_the_runtime_does_not_know_fails(tfseg, write_network, tmp_path):
    path = write_network(tmp_path / "odd.tflite")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    code = model.operatorCodes[1]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, model.subgraphs[0].operators[1].builtinOptionsType = "Mystery", 0
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    done = tfseg("benchmark", path, status=1)
    assert "tfseg: 1 of 1 measurements failed; the first: odd.tflite cpu x1: failed: " in done.stderr
    assert "Mystery" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("delegate", ["gpu", "gpu-fp32"])
def test_a_software_gpu_is_compared_and_gives_no_latency(tfseg, adapter, write_proved, tmp_path, delegate):
    if not adapter.software:
        pytest.skip(f"a real GPU: {adapter.name}")
    path = write_proved(tmp_path / "a.tflite")
    done = tfseg("benchmark", path, "--delegate", delegate, "--json", tmp_path / "out")
    assert "ran on CPU: a software GPU" in done.stdout
    (cell,) = result.read_all(tmp_path / "out")
    assert (cell.status, cell.coverage, cell.threads) == ("ran on CPU", "complete", None)
    assert (cell.median_ms, cell.mean_ms, cell.init_ms, cell.runs) == (None,) * 4
    assert (cell.flipped_pixels, cell.output_pixels) == (0, 256)
    assert cell.largest_difference < 1e-6  # sums of three numbers, in another order
    assert cell.notes == (f"GPU: {adapter.name}",)


def test_a_gpu_is_timed_until_its_output_is_there(task, adapter, monkeypatch):
    """A software GPU that says it were none: the way that a real one takes."""
    if adapter.folder:
        monkeypatch.setenv("VK_ICD_FILENAMES", str(adapter.folder / "vk_swiftshader_icd.json"))
        monkeypatch.setenv(
            "LD_LIBRARY_PATH", os.pathsep.join([str(adapter.folder), os.environ.get("LD_LIBRARY_PATH", "")])
        )
    monkeypatch.setattr(gpu, "device", lambda: dataclasses.replace(adapter, software=False))
    cell = host.measure(task("gpu", runs=6))
    assert cell.counts, cell.reason
    assert (cell.delegate_ran, cell.coverage, cell.runs) == ("gpu", "complete", 6)
    assert 0 < cell.median_ms < cell.init_ms


def test_a_gpu_that_computes_something_else_is_shown(task, adapter, monkeypatch):
    real = gpu.run

    def wrong(path, image, *, exact, keep):
        found = real(path, image, exact=exact, keep=keep)
        keep.write_bytes(bytes(len(keep.read_bytes())))  # zeros
        return found

    monkeypatch.setattr(gpu, "run", wrong)
    cell = host.measure(task("gpu"))
    assert cell.flipped_pixels > 0
    assert cell.largest_difference > 0.5


def test_a_gpu_that_answers_no_numbers_fails(task, adapter, monkeypatch):
    real = gpu.run

    def wrong(path, image, *, exact, keep):
        found = real(path, image, exact=exact, keep=keep)
        keep.write_bytes(b"\xff" * len(keep.read_bytes()))  # not a number, in float32
        return found

    monkeypatch.setattr(gpu, "run", wrong)
    cell = host.measure(task("gpu"))
    assert (cell.status, cell.flipped_pixels) == ("failed", None)
    assert cell.reason == "the device's output holds values that are no numbers"


def test_a_cell_on_the_host_says_what_it_ran_on(task, tmp_path):
    written = json.loads(result.write(tmp_path, host.measure(task(runs=2))).read_text())
    assert written["schema"] == 2
    assert written["soc"].split()[1].startswith("CPU")
    assert os.uname().nodename not in json.dumps(written)


BAD = [
    pytest.param(["nowhere.tflite"], "nowhere.tflite: cannot be read (No such file or directory)", id="missing"),
    pytest.param([__file__], f"{__file__}: not a .tflite file", id="no-network"),
    pytest.param(["a.tflite", "--threads", "0"], "--threads 0: whole numbers from 1, such as 1,2,4", id="no-threads"),
    pytest.param(["a.tflite", "--threads", "1,x"], "--threads 1,x: whole numbers from 1", id="threads"),
    pytest.param(["a.tflite", "--threads", "2", "--delegate", "gpu"], "--threads goes with --delegate cpu", id="gpu"),
    pytest.param(["a.tflite", "--runs", "0"], "--runs 0: at least 1", id="runs"),
    pytest.param(["a.tflite", "--delegate", "npu"], "argument --delegate: invalid choice: 'npu'", id="delegate"),
    pytest.param(["a.tflite", "--serial", "1"], "--serial goes with --target android", id="serial"),
    pytest.param(["a.tflite", "--prepare"], "--prepare goes with --target android", id="prepare"),
]


@pytest.mark.parametrize(("words", "said"), BAD)
def test_wrong_calls_have_one_line(capsys, words, said):
    assert main(["benchmark", *words]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith(f"tfseg: {said}")
