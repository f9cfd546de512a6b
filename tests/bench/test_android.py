"""One cell on a phone, from the push to the verdict, whatever the phone does meanwhile."""

import contextlib
import subprocess

import pytest

from tfseg.bench import adb, android, numerics
from tfseg.bench.android import Limits
from tfseg.bench.task import Task
from tfseg.errors import InputError, WorkError

QUICK = Limits(cell_s=60, cool_s=0.2, return_s=20)


@pytest.fixture
def measure(write_harness, write_network, tmp_path):
    """Measure one cell in a session of its own; return it and what was told."""

    def run(dialect="v1", delegate="cpu", *, precision="fp32", limits=QUICK, prepare=False, **network):
        file = numerics.open_file(write_network(tmp_path / f"{precision}.tflite", precision, **network))
        threads = 2 if delegate == "cpu" else None
        task = Task(name="run/final/fp32.tflite", file=file, delegate=delegate, threads=threads, runs=5)
        told = []
        harness = write_harness(dialect)
        with android.session(harness, serial=None, prepare=prepare, limits=limits, tell=told.append) as at:
            cell, log = android.measure(at, task)
        return cell, told, log

    return run


@pytest.mark.parametrize("dialect", ["v1", "v2"])
def test_a_healthy_phone_gives_a_whole_cell(phone, measure, dialect):
    cell, told, log = measure(dialect)
    assert (cell.status, cell.reason) == ("ok", "")
    assert cell.harness == f"benchmark_model {dialect}"
    assert (cell.delegate_ran, cell.coverage, cell.threads, cell.runs_asked) == ("xnnpack", "complete", 2, 5)
    assert cell.runs is not None
    assert cell.runs >= 5
    assert None not in (cell.init_ms, cell.first_ms, cell.memory_init_mb, cell.memory_overall_mb, cell.warmup_runs)
    assert 0 < cell.min_ms <= cell.p5_ms <= cell.median_ms <= cell.p95_ms <= cell.max_ms
    assert cell.min_ms <= cell.mean_ms <= cell.max_ms
    assert cell.sd_ms is not None
    assert (cell.device, cell.soc, cell.android) == ("Example Stand-in 5", "Example S1", "15 (API 35)")
    assert (cell.battery_before_c, cell.zone_before_c) == (27.1, 31.5)
    assert told == ["Example Stand-in 5 (Example S1, Android 15 (API 35)): screen on, airplane mode off"]
    assert "STARTING!" in log
    assert phone.files() == []


def test_what_the_phone_computes_is_compared(phone, measure):
    cell, _, _ = measure()
    assert (cell.largest_difference, cell.flipped_pixels, cell.output_pixels) == (0.0, 0, 256)  # the same CPU
    assert cell.notes == ()


@pytest.mark.parametrize("precision", ["fp16", "dynamic", "int8"])
def test_every_precision_is_measured_and_compared(phone, measure, precision):
    cell, _, _ = measure(precision=precision)
    assert (cell.status, cell.precision, cell.largest_difference) == ("ok", precision, 0.0)


@pytest.mark.parametrize("name", ["image", "a:b:0", "a b", "$(touch made)", "';touch made;'", "a,b"])
def test_any_name_of_a_tensor_reaches_the_harness(phone, measure, name):
    cell, _, _ = measure(name=name)
    assert cell.status == "ok"
    assert (cell.largest_difference is None) == ("," in name)  # the harness would take it for two inputs
    assert phone.files() == []


def test_the_compiled_models_tool_compares_nothing_and_says_so(phone, measure):
    cell, _, _ = measure("v2")
    assert cell.largest_difference is None
    assert cell.notes == ("this harness cannot take an image and give back the answer: the output was not compared",)


def test_an_old_harness_is_asked_for_what_it_knows(phone, measure):
    cell, _, _ = measure("v1-old")
    assert cell.status == "ok"
    assert (cell.median_ms, cell.p95_ms) == (None, None)  # it prints no percentiles
    assert cell.mean_ms > 0
    assert (cell.delegate_ran, cell.coverage) == ("cpu", "unknown")
    cell, _, _ = measure("v1-old", "gpu-fp32")
    assert cell.status == "failed"
    assert "cannot ask a GPU for single precision" in cell.reason


def test_an_old_phone_without_exit_statuses_gives_a_whole_cell(plug, measure):
    plug(plain_shell=True)
    cell, _, _ = measure()
    assert (cell.status, cell.largest_difference) == ("ok", 0.0)


@pytest.mark.parametrize("dialect", ["v1", "v2"])
def test_a_gpu_that_ran_the_whole_graph_counts(phone, measure, dialect):
    cell, _, _ = measure(dialect, "gpu")
    assert (cell.status, cell.delegate_ran, cell.coverage, cell.gpu_api) == ("ok", "gpu", "complete", "OpenCL")
    assert cell.median_ms > 0
    assert cell.threads is None


def test_half_precision_shows_in_the_numerics(phone, measure):
    half, exact = measure(delegate="gpu")[0], measure(delegate="gpu-fp32")[0]
    assert 0 < half.largest_difference < 2**-11  # of a probability below one, half of the last of its 11 bits
    assert exact.largest_difference == 0


@pytest.mark.parametrize("dialect", ["v1", "v2"])
@pytest.mark.parametrize(
    ("gpu", "coverage", "said"),
    [
        pytest.param("partial", "partial", "the GPU took only a part of the graph", id="partial"),
        pytest.param("none", "none", "the GPU took nothing of the graph", id="none"),
        pytest.param("absent", "unknown", "the log does not say that the GPU ran", id="built-without"),
    ],
)
def test_a_gpu_that_did_not_run_it_all_gives_no_latency(plug, measure, dialect, gpu, coverage, said):
    plug(run={"gpu": gpu})
    cell, _, _ = measure(dialect, "gpu")
    assert (cell.status, cell.coverage) == ("ran on CPU", coverage)
    assert cell.reason.startswith(said)
    assert (cell.median_ms, cell.mean_ms, cell.runs) == (None, None, None)
    if gpu != "absent":
        assert cell.unsupported_operations == ("LOGISTIC: Operation is not supported.",)
        assert "LOGISTIC" in cell.reason
    if (dialect, gpu) == ("v1", "partial"):
        assert cell.kernels == 1


@pytest.mark.parametrize(
    ("run", "delegate", "said"),
    [
        pytest.param({"gpu": "broken"}, "gpu", "exit status 1: Failed to apply GPU delegate", id="no-driver"),
        pytest.param({"unknown": "num_threads"}, "cpu", "did not know --num_threads=2", id="unconsumed"),
        pytest.param({"cut": 600}, "cpu", "exit status 1", id="died"),
        pytest.param({"cut": 600, "status": 0}, "cpu", "the log is cut off", id="cut-off"),
        pytest.param({"other": True}, "cpu", "the log and the result file disagree", id="another-result"),
        pytest.param({"nan": True}, "cpu", "values that are no numbers", id="nan"),
    ],
)
def test_a_run_that_went_wrong_fails_its_cell(plug, measure, run, delegate, said):
    plug(run=run)
    cell, _, _ = measure(delegate=delegate)
    assert cell.status == "failed"
    assert said in cell.reason
    assert (cell.median_ms, cell.mean_ms) == (None, None)


def test_other_programs_lines_change_nothing(plug, measure):
    plug(run={"noise": True})
    cell, _, _ = measure()
    assert cell.status == "ok"
    assert cell.runs >= 5


def test_nothing_of_an_earlier_run_counts_for_a_later_one(plug, write_harness, write_network, tmp_path):
    plug(run={"at": {"2": {"mute": True}}})
    file = numerics.open_file(write_network(tmp_path / "a.tflite"))
    tasks = [Task(name="a.tflite", file=file, delegate="cpu", threads=threads, runs=5) for threads in (1, 2)]
    with session(write_harness()) as at:
        first, second = (android.measure(at, task)[0] for task in tasks)
    assert (first.status, first.largest_difference) == ("ok", 0.0)
    assert (second.status, second.largest_difference) == ("ok", None)
    assert second.notes == ("the harness wrote no output: it was not compared",)


def test_a_run_that_takes_too_long_is_ended_on_the_phone_too(plug, measure):
    phone = plug(run={"slow_s": 60})
    cell, _, _ = measure(limits=Limits(cell_s=1.5, cool_s=0, return_s=1))
    assert (cell.status, cell.reason) == ("failed", "no result within 1.5 s")
    assert phone.files() == []
    running = subprocess.run(["pgrep", "-f", f"benchmark_model.py {phone.root}"], capture_output=True, text=True)
    assert running.stdout == ""


def test_a_phone_that_stays_warm_is_measured_and_marked(plug, measure, tmp_path, write_harness, write_network):
    phone = plug()
    phone.state("battery_tenths", 452)
    phone.state("battery_floor_tenths", 452)
    cell, told, _ = measure()
    assert cell.status == "unsteady"
    assert cell.reason == "started warm: the battery at 45.2 °C instead of 39.0 °C at most"
    assert cell.median_ms > 0
    assert "cooling down: the battery at 45.2" in told[-1]


def test_a_phone_that_cools_down_is_waited_for(plug, measure):
    phone = plug()
    phone.state("battery_tenths", 422)  # two degrees less at every look, of which the session takes the first
    cell, told, _ = measure(limits=Limits(cell_s=60, cool_s=10, return_s=1))
    assert told[-1] == "cooling down: the battery at 40.2 °C instead of 39.0 °C at most; waiting for 10 s at most"
    assert (cell.status, cell.battery_before_c) == ("ok", 38.2)


def test_no_space_is_told_before_anything_is_sent(phone, measure):
    phone.state("free_kb", 1024)
    with pytest.raises(InputError, match="1 MB free, and 50 are needed"):
        measure()
    assert phone.files() == []


def test_a_phone_that_fills_up_leaves_nothing_behind(plug, measure):
    phone = plug(full=True)
    with pytest.raises(WorkError, match="no space left for benchmark_model_v1"):
        measure()
    assert phone.files() == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param(b"#!/bin/sh\n", "no program for Android", id="script"),
    ],
)
def test_a_harness_that_is_none_is_refused(phone, tmp_path, content, said):
    path = tmp_path / "harness"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said), session(path):
        pass


def test_a_harness_for_another_processor_is_refused(phone, write_harness):
    with (
        pytest.raises(InputError, match="a program for x86_64, and the phone runs arm64-v8a, armeabi-v7a"),
        session(write_harness(machine=62)),
    ):
        pass


def test_a_program_that_is_no_harness_is_refused(phone, write_harness):
    with (
        pytest.raises(InputError, match="no benchmark_model"),
        session(write_harness("another program")),
    ):
        pass
    assert phone.files() == []


def test_an_emulator_is_refused_by_its_properties(phone, write_harness):
    with (phone.root / "state/properties").open("a") as file:
        file.write("[ro.kernel.qemu]: [1]\n")
    with pytest.raises(InputError, match="an emulator: its latencies say nothing"), session(write_harness()):
        pass


@contextlib.contextmanager
def session(harness, *, prepare=False, told=None):
    told = [] if told is None else told
    with android.session(harness, serial=None, prepare=prepare, limits=QUICK, tell=told.append) as at:
        yield at


def test_prepare_changes_the_phone_and_puts_it_back(phone, write_harness):
    phone.state("wakefulness", "Asleep")
    with session(write_harness(), prepare=True):
        assert phone.state("wakefulness") == "Awake"
        assert phone.state("settings/stay_on_while_plugged_in") == "7"
        assert phone.state("settings/airplane_mode_on") == "0"  # on the network, the radio is the cable
    assert phone.state("wakefulness") == "Asleep"
    assert not (phone.root / "state/settings/stay_on_while_plugged_in").exists()


def test_airplane_mode_is_put_back_where_a_cable_holds_the_phone(phone, write_harness, monkeypatch):
    monkeypatch.setattr(adb, "on_network", lambda device: False)
    with session(write_harness(), prepare=True):
        assert phone.state("settings/airplane_mode_on") == "1"
    assert phone.state("settings/airplane_mode_on") == "0"


def test_nothing_is_changed_without_prepare(phone, write_harness):
    phone.state("wakefulness", "Asleep")
    told = []
    with session(write_harness(), told=told):
        assert phone.state("wakefulness") == "Asleep"
    assert told[0].endswith("screen off, airplane mode off")


def test_a_folder_that_could_not_be_removed_is_told(phone, write_harness):
    told = []
    with session(write_harness(), told=told) as at:
        phone.process.kill()
        phone.process.wait()
    assert told[-1].startswith(f"{at.folder} is still on the phone")


def test_only_a_folder_of_ours_is_removed(phone, write_harness):
    (phone.root / "data/local/tmp/theirs").mkdir()
    with session(write_harness()) as at:
        assert len(phone.files()) == 3
        assert str(at.folder).startswith("/data/local/tmp/tfseg-")
    assert phone.files() == ["theirs"]
