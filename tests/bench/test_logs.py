"""Logs of both tools: whole, cut, disturbed and made up; never a traceback, and never a wrong number."""

import dataclasses
import time

import hypothesis
import pytest
from hypothesis import strategies

from tfseg.bench import logs
from tfseg.bench.logs import Coverage
from tfseg.bench.result import Figures

V1 = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [4]
INFO: Graph: [/data/local/tmp/unet.tflite]
INFO: Loaded model /data/local/tmp/unet.tflite
INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.
INFO: The input model file size (MB): 5.28
INFO: Initialized session in 5.685ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=6 first=98535 curr=81462 min=80462 max=98535 avg=84462.3 std=6310 p5=80462 median=81462 p95=98535

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929 p5=77510 median=79600 p95=83020

INFO: Inference timings in us: Init: 5685, First inference: 98535, Warmup (avg): 84462.3, Inference (avg): 79732
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual.
INFO: Memory footprint delta from the start of the tool (MB): init=8.12 overall=12.5
"""
FIGURES_V1 = Figures(
    runs=50,
    warmup_runs=6,
    init_ms=5.685,
    first_ms=98.535,
    median_ms=79.6,
    mean_ms=79.732,
    p5_ms=77.51,
    p95_ms=83.02,
    sd_ms=1.929,
    min_ms=77.385,
    max_ms=88.213,
    memory_init_mb=8.12,
    memory_overall_mb=12.5,
)
OLD = "".join(
    line.removeprefix("INFO: ").partition(" p5=")[0] + "\n" for line in V1.splitlines()
)  # before 2021: no severities, no percentiles
FIGURES_OLD = dataclasses.replace(FIGURES_V1, p5_ms=None, median_ms=None, p95_ms=None)
V2 = """\
INFO: STARTING!
INFO: [benchmark_litert_model.cc:120] Loading model from: /data/local/tmp/unet.tflite
VERBOSE: Replacing 70 out of 70 node(s) with delegate (LITERT_CL) node, yielding 1 partitions for subgraph 0 (main).
INFO: Initialized OpenCL-based API.
INFO: [benchmark_litert_model.h:90] 
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:94] Model initialization: 515.86 ms
INFO: [benchmark_litert_model.h:96] Warmup (first):       125.84 ms
INFO: [benchmark_litert_model.h:98] Warmup (avg):         110.98 ms (5 runs)
INFO: [benchmark_litert_model.h:100] Inference (avg):      79.73 ms (50 runs)
INFO: [benchmark_litert_model.h:104] Inference (min):      77.39 ms
INFO: [benchmark_litert_model.h:106] Inference (max):      88.21 ms
INFO: [benchmark_litert_model.h:108] Inference (std):      1.93
INFO: [benchmark_litert_model.h:115] Throughput:           27.46 MB/s
INFO: [benchmark_litert_model.h:124] 
Memory Usage:
INFO: [benchmark_litert_model.h:126] Init footprint:       94.57 MB
INFO: [benchmark_litert_model.h:128] Overall footprint:    95.57 MB
INFO: [benchmark_litert_model.h:135] Peak memory usage not available. (peak_mem_mb <= 0)
INFO: [benchmark_litert_model.h:140] ======================================

"""  # noqa: W291 - the tool ends two lines with a space
FIGURES_V2 = Figures(
    runs=50,
    warmup_runs=5,
    init_ms=515.86,
    first_ms=125.84,
    mean_ms=79.73,
    sd_ms=1.93,
    min_ms=77.39,
    max_ms=88.21,
    memory_init_mb=94.57,
    memory_overall_mb=95.57,
)
COUNT = (
    "INFO: count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929 p5=77510 median=79600 p95=83020\n\n"
)
LOGCAT = "11-20 09:15:01.123  1234  5678 I tflite  : count=9 first=5 curr=5 min=5 max=5 avg=5 std=0\n"
WHOLE = {"v1": (V1, FIGURES_V1), "old": (OLD, FIGURES_OLD), "v2": (V2, FIGURES_V2)}
whole = pytest.mark.parametrize("name", WHOLE)


@whole
def test_a_whole_log_gives_the_result_and_not_the_warm_up(name):
    text, figures = WHOLE[name]
    log = logs.parse(text)
    assert log.figures == figures
    assert log.dialect == ("v2" if name == "v2" else "v1")
    assert log.coverage == {"gpu": Coverage(extent="complete")}
    assert (log.unconsumed_flags, log.unsupported_operations, log.errors, log.failed) == ((), (), (), False)


def test_the_second_tool_prints_exact_figures_in_the_first_ones_line():
    text = V2.replace("INFO: [benchmark_litert_model.h:90]", COUNT + "INFO: [benchmark_litert_model.h:90]", 1)
    exact = {"mean_ms": 79.732, "sd_ms": 1.929, "min_ms": 77.385, "max_ms": 88.213}
    assert logs.parse(text).figures == dataclasses.replace(
        FIGURES_V2, p5_ms=77.51, median_ms=79.6, p95_ms=83.02, **exact
    )
    assert logs.parse(V2.replace("Inference (max):      88.21", "Inference (max):      70.00")).figures is None
    of_another_run = text.replace("avg=79732", "avg=80732")
    assert logs.parse(of_another_run).figures == FIGURES_V2


def test_the_second_tool_may_print_percentiles_itself():
    line = "INFO: [benchmark_litert_model.h:115] Throughput"
    printed = {"p5": 77.51, "median": 79.6, "p95": 83.02}
    more = "".join(f"INFO: [x.h:1] Inference ({name}):   {value:.2f} ms\n" for name, value in printed.items())
    expected = dataclasses.replace(FIGURES_V2, p5_ms=77.51, median_ms=79.6, p95_ms=83.02)
    assert logs.parse(V2.replace(line, more + line)).figures == expected
    assert logs.parse(V2.replace(line, more.replace("79.60", "99.60") + line)).figures is None


@whole
@pytest.mark.parametrize("end", ["\r\n", "\r\r\n"])
def test_carriage_returns_change_nothing(name, end):
    text, figures = WHOLE[name]
    assert logs.parse(text.replace("\n", end)).figures == figures


def test_stdout_and_stderr_may_come_apart():
    lines = V1.splitlines(keepends=True)
    assert logs.parse("".join(lines[6:]), "".join(lines[:6])) == logs.parse(V1)
    assert logs.parse(V1.rstrip("\n"), "ERROR: one\n").figures == dataclasses.replace(
        FIGURES_V1, memory_init_mb=None, memory_overall_mb=None
    )  # the last line of stdout does not end: stderr's first must not end it


@pytest.mark.parametrize(
    ("line", "figures"),
    [
        pytest.param("count=50 curr=79449(all same)", {"min_ms": 79.449, "max_ms": 79.449, "sd_ms": 0.0}, id="same"),
        pytest.param(
            "count=1 curr=79449 p5=79449 median=79449 p95=79449", {"median_ms": 79.449, "runs": 1}, id="single"
        ),
        pytest.param(
            "count=3 first=1e6 curr=1234568 min=1200000 max=1300000 avg=1.23457e+06 std=50000", None, id="no-number"
        ),
        pytest.param(
            "count=3 first=1200000 curr=1234568 min=1200000 max=1269143 avg=1.23457e+06 std=28227",
            {"mean_ms": 1234.57, "runs": 3},
            id="exponent",
        ),
    ],
)
def test_the_result_line_in_its_other_forms(line, figures):
    mean = "1.23457e+06" if "e+06" in line else "79449"
    text = V1.replace(COUNT.rstrip(), f"INFO: {line}").replace("(avg): 79732", f"(avg): {mean}")
    found = logs.parse(text).figures
    if figures is None:
        assert found is None
    else:
        assert {name: getattr(found, name) for name in figures} == figures


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("min=77385", "min=79999", id="least-above-percentile"),
        pytest.param("avg=79732 std", "avg=99732 std", id="mean-above-most"),
        pytest.param("std=1929", "std=192", id="spread-below-possible"),
        pytest.param("std=1929", "std=19290", id="spread-above-possible"),
        pytest.param("Inference (avg): 79732", "Inference (avg): 79832", id="another-mean"),
        pytest.param("First inference: 98535", "First inference: 98534", id="another-warm-up"),
        pytest.param("INFO: Inference timings", "INFO: Timings", id="no-closing-line"),
        pytest.param(COUNT, COUNT + COUNT, id="three-series"),
        pytest.param(COUNT, COUNT.replace("INFO: ", "Timings (microseconds): "), id="an-operator's-profile"),
    ],
)
def test_a_result_that_contradicts_itself_is_none(old, new):
    assert old in V1
    assert logs.parse(V1.replace(old, new, 1)).figures is None


def test_a_line_that_goes_on_in_the_next_one_is_none():
    outliers = V1.replace("p95=83020", "p95=879994")  # as 87999 it would be in order as well
    outliers = outliers.replace("max=88213 avg=79732 std=1929", "max=900000 avg=160000 std=200000")
    outliers = outliers.replace("(avg): 79732", "(avg): 160000")
    assert logs.parse(outliers).figures.p95_ms == 879.994
    assert logs.parse(outliers.replace("p95=87999", "p95=87999\n")).figures is None
    assert logs.parse(V1.replace("overall=12", "overall=12\n")).figures.memory_overall_mb is None
    assert logs.parse(V1.replace("overall=12", f"overall=12\n{LOGCAT}\n")).figures.memory_overall_mb is None


@pytest.mark.parametrize(
    ("text", "coverage"),
    [
        pytest.param(
            "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate"
            " w/ 3 delegate kernels.",
            {"gpu": Coverage(extent="partial", kernels=3)},
            id="partial",
        ),
        pytest.param(
            "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
            {"gpu": Coverage(extent="none")},
            id="none",
        ),
        pytest.param(
            "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the"
            " delegate.",
            {"xnnpack": Coverage(extent="complete")},
            id="another-delegate",
        ),
        pytest.param(
            "VERBOSE: Replacing 48 out of 90 node(s) with delegate (LITERT_CL) node, yielding 2 partitions for subgraph"
            " 0 (main).\nVERBOSE: Replacing 32 out of 43 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding"
            " 4 partitions for subgraph 0 (main).",
            {"gpu": Coverage(extent="partial"), "xnnpack": Coverage(extent="partial")},
            id="replaced",
        ),
        pytest.param(
            "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
            "VERBOSE: Replacing 9 out of 10 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions.",
            {"gpu": Coverage(extent="partial")},
            id="the-worse-holds",
        ),
        pytest.param(
            "VERBOSE: Replacing 0 out of 10 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.\n"
            "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
            {"gpu": Coverage(extent="none")},
            id="the-worse-holds-first",
        ),
        pytest.param(
            "INFO: Explicitly applied GPU delegate, and the model graph will be completely exe", {}, id="cut-off"
        ),
    ],
)
def test_coverage(text, coverage):
    assert logs.parse(text + "\n").coverage == coverage


def test_unsupported_operations_end_where_the_log_counts():
    text = (
        "ERROR: Following operations are not supported by GPU delegate:\n"
        "TRANSPOSE_CONV: Max version supported: 3. Requested version 4.\nDEQUANTIZE:\n"
        "47 operations will run on the GPU, and the remaining 2 operations will run on the CPU.\nERROR: other\n"
    )
    listed = ("TRANSPOSE_CONV: Max version supported: 3. Requested version 4.", "DEQUANTIZE:")
    assert logs.parse(text).unsupported_operations == listed
    assert logs.parse(text.partition("47 op")[0]).unsupported_operations == ()


@pytest.mark.parametrize("text", ["ERROR: Benchmarking failed.\n", "FATAL: no memory\n"])
def test_a_failure_is_told(text):
    log = logs.parse(V1, text)
    assert log.failed
    assert len(log.errors) == 1


def test_ten_megabytes_of_other_programs_lines_change_nothing():
    noise = LOGCAT * (5 * 2**20 // len(LOGCAT))
    begin = time.monotonic()
    assert (
        logs.parse(noise + V1.replace("INFO: Running", noise[: 2**20] + "INFO: Running") + noise).figures == FIGURES_V1
    )
    assert logs.parse("x" * 10 * 2**20).figures is None
    assert time.monotonic() - begin < 20  # linear: far above what a busy machine needs


def known(found: Figures | None) -> dict[str, float]:
    """What was found, as far as it was."""
    table = dataclasses.asdict(found) if found else {}
    return {name: value for name, value in table.items() if value is not None}


noise = strategies.sampled_from(
    [LOGCAT, "E/AdrenoGSL( 123): count=1 curr=7\n", "I0000 00:00:1790597656.4 82 kernel.cc:866] Initialized\n", "\n"]
)
places = strategies.integers(0, 10**6)


@hypothesis.given(name=strategies.sampled_from(sorted(WHOLE)), place=places)
def test_a_log_that_is_cut_off_holds_no_wrong_number(name, place):
    text, figures = WHOLE[name]
    found = known(logs.parse(text[: place % len(text)]).figures)
    assert found.items() <= known(figures).items()


@hypothesis.given(
    name=strategies.sampled_from(sorted(WHOLE)), cuts=strategies.lists(strategies.tuples(places, noise), max_size=6)
)
def test_lines_that_break_into_others_make_no_wrong_number(name, cuts):
    text, figures = WHOLE[name]
    for place, line in cuts:
        text = text[: place % len(text)] + line + text[place % len(text) :]
    found = known(logs.parse(text).figures)
    assert found.items() <= known(figures).items()


@hypothesis.given(name=strategies.sampled_from(sorted(WHOLE)), start=places, length=strategies.integers(1, 2000))
def test_a_hole_in_a_log_makes_no_wrong_number(name, start, length):
    text, figures = WHOLE[name]
    start %= len(text)
    hypothesis.assume("\n" in text[start : start + length])  # digits lost out of one number are lost to anybody
    found = known(logs.parse(text[:start] + text[start + length :]).figures)
    assert found.items() <= known(figures).items()


@hypothesis.given(
    name=strategies.sampled_from(sorted(WHOLE)), cuts=strategies.lists(strategies.tuples(places, noise), max_size=6)
)
def test_whole_lines_between_the_tools_own_change_nothing(name, cuts):
    text, figures = WHOLE[name]
    lines = text.splitlines(keepends=True)
    for place, line in cuts:
        lines.insert(place % (len(lines) + 1), line)
    assert logs.parse("".join(lines)).figures == figures


words = strategies.lists(
    strategies.one_of(strategies.text(max_size=30), strategies.sampled_from(sorted(set((V1 + V2).split(" "))))),
    max_size=60,
)


@hypothesis.given(words, words)
def test_any_text_is_a_log(first, second):
    assert logs.parse(" ".join(first), " ".join(second)).failed in (True, False)
