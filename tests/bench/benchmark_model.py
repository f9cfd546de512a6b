"""What the stand-in phone runs as benchmark_model: the pushed .tflite file really runs, on this host's CPU.

The pushed program's last line names a dialect: "v1" is the Interpreter's tool as of 2026, "v1-old" the same of 2019,
"v2" the CompiledModel's tool. What it cannot have, a GPU, is told by FOLDER/faults.json under "run":

    gpu        "complete", "partial", "none", "broken" (no driver), "absent" (built without): what --use_gpu meets
    unknown    a flag of --help that it does not take all the same
    slow_s     seconds before it says anything
    heat       tenths of a degree that the battery gains, until the end of the next run
    noise      other programs' lines between its own
    cut        bytes of its log after which it dies, with exit status `status` (1)
    other      the result file is another run's
    nan        the output holds no numbers
    mute       it writes neither output nor result file
    at         such a table for one run of the phone's life alone: {"3": {"gpu": "partial"}}

Of the seconds that it is asked to run it takes a hundredth.
"""

import json
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

V1_OLD = {"graph", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs", "num_threads", "use_gpu"}
V1_OLD |= {"input_layer", "input_layer_shape"}
V1 = V1_OLD | {"input_layer_value_files", "output_filepath", "result_file_path", "use_xnnpack", "enable_op_profiling"}
V1 |= {"gpu_precision_loss_allowed", "gpu_backend", "require_full_delegation"}
V2 = V1_OLD - {"input_layer", "input_layer_shape"}
V2 |= {"use_cpu", "use_npu", "allow_fp16", "gpu_backend", "use_profiler", "result_file_path"}
FLAGS = {"another program": {"version"}, "v1": V1, "v1-old": V1_OLD, "v2": V2}
NOISE = (
    "11-20 09:15:01.123  1234  5678 I tflite  : count=7 first=1 curr=1 min=1 max=1 avg=1 std=0 p5=1 median=1 p95=1\n"
    "11-20 09:15:01.124  1234  5678 E Adreno-GSL: <gsl_memory_alloc_pure:2297>: GSL MEM ERROR\n"
)


class Log:
    """stdout and stderr in one order, with whatever else the phone says."""

    def __init__(self, dialect: str, faults: dict[str, object]) -> None:
        self.prefixed = dialect != "v1-old"
        self.faults = faults
        self.left = faults.get("cut")

    def __call__(self, text: str, severity: str = "INFO", *, bare: bool = False) -> None:
        """Print one message."""
        line = text + "\n" if bare or not self.prefixed else f"{severity}: {text}\n"
        if self.faults.get("noise"):
            line += NOISE
        stream = sys.stderr if severity in ("ERROR", "FATAL") else sys.stdout
        if self.left is not None and len(line) >= self.left:
            print(line[: self.left], end="", file=stream, flush=True)
            raise SystemExit(self.faults.get("status", 1))
        if self.left is not None:
            self.left -= len(line)
        print(line, end="", file=stream, flush=True)


def main() -> int:
    """Run one benchmark."""
    root, program, *words = sys.argv[1:]
    path = Path(root) / "faults.json"
    faults = json.loads(path.read_text()).get("run", {}) if path.exists() else {}
    dialect = Path(program).read_bytes().rstrip().rpartition(b"\n")[2].decode()
    flags = FLAGS[dialect]
    if words == ["--help"]:
        shown = "".join(f"\t--{name}=\tstring\toptional\t{name}\n" for name in sorted(flags))
        Log(dialect, {})(f"usage: {program} <flags>\nFlags:\n{shown}", "ERROR")
        return 1
    faults |= faults.get("at", {}).get(Path(root, "state/runs").read_text(), {})
    log = Log(dialect, faults)
    given = dict(word.removeprefix("--").split("=", 1) for word in words)
    time.sleep(faults.get("slow_s", 0))
    log("STARTING!")
    unknown = [f"--{key}={value}" for key, value in given.items() if key not in flags or key == faults.get("unknown")]
    if unknown:
        log(f"Unconsumed cmdline flags: {' '.join(unknown)}", "WARN")
    return benchmark(
        Path(root), dialect, log, {key: given[key] for key in given if f"--{key}={given[key]}" not in unknown}
    )


def benchmark(root: Path, dialect: str, log: Log, given: dict[str, str]) -> int:
    """Run the file and print what the dialect prints."""
    faults, start_kb = log.faults, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    log(f"Graph: [{given['graph']}]")
    try:
        interpreter = Interpreter(given["graph"], num_threads=int(given.get("num_threads", 1)))
        interpreter.allocate_tensors()
    except (OSError, ValueError) as error:
        log(f"Failed to load model {given['graph']}: {error}", "ERROR")
        log("Benchmarking failed.", "ERROR")
        return 1
    log(f"Loaded model {given['graph']}")
    nodes = len(interpreter._get_ops_details())
    if not delegate(dialect, log, given, nodes):
        log("Benchmarking failed.", "ERROR")
        return 1
    init_us = round((time.perf_counter() - start) * 1e6)
    init_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kb
    log(f"Initialized session in {init_us / 1000:g}ms.")
    fill(interpreter, given)
    series = []
    for count, seconds in (("warmup_runs", "warmup_min_secs"), ("num_runs", "min_secs")):
        least, least_s = int(given.get(count, 1 if count == "warmup_runs" else 50)), float(given.get(seconds, 1)) / 100
        log(f"Running benchmark for at least {least} iterations and at least {given.get(seconds, 1)} seconds.")
        series.append(invoke(interpreter, least, least_s))
        log(counted(series[-1], percentiles=dialect != "v1-old") + "\n")
    memory = init_kb, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kb
    (say_v2 if dialect == "v2" else say_v1)(log, init_us, series, memory)
    if faults.get("mute"):
        return 0
    if "output_filepath" in given:
        output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        lossy = given.get("use_gpu") == "true" and given.get("gpu_precision_loss_allowed", "true") == "true"
        output = output.astype(np.float16).astype(output.dtype) if lossy and output.dtype == np.float32 else output
        output = output * np.nan if faults.get("nan") else output
        Path(given["output_filepath"]).write_bytes(output.tobytes())
    if "result_file_path" in given:
        runs = [time_us + 1000 for time_us in series[1]] if faults.get("other") else series[1]
        Path(given["result_file_path"]).write_bytes(message(init_us, [series[0], runs], memory))
        log(f"Saved benchmark result to: {given['result_file_path']}")
    for name in ("battery_tenths", "battery_floor_tenths"):
        (root / "state" / name).write_text(f"{271 + faults.get('heat', 0)}\n")
    return 0


def delegate(dialect: str, log: Log, given: dict[str, str], nodes: int) -> bool:
    """Say who runs the graph; return whether it goes on."""
    gpu = log.faults.get("gpu", "complete") if given.get("use_gpu") == "true" else None
    if gpu == "absent":
        log("GPU acceleration is unsupported on this platform.", "WARN")
    elif gpu == "broken":
        log("Can not open OpenCL library on this device - dlopen failed: library not found", "ERROR", bare=True)
        log("Failed to apply GPU delegate.", "ERROR")
        return False
    elif gpu:
        taken = {"complete": nodes, "partial": nodes - 1, "none": 0}[gpu]
        if taken < nodes:
            log("Following operations are not supported by GPU delegate:\nLOGISTIC: Operation is not supported.\n"
                f"{taken} operations will run on the GPU, and the remaining {nodes - taken} operations will run on the"
                " CPU.", "ERROR")  # fmt: skip
        name = "LITERT_CL" if dialect == "v2" else "TfLiteGpuDelegateV2"
        parts = 1 if taken == nodes else 2
        log(f"Replacing {taken} out of {nodes} node(s) with delegate ({name}) node, yielding {parts} partitions for"
            " subgraph 0 (main).", "VERBOSE")  # fmt: skip
        log("Initialized OpenCL-based API.")
        if dialect != "v2":
            say_coverage(log, "GPU", {"complete": None, "partial": 1, "none": 0}[gpu])
    if dialect == "v2" and gpu in (None, "absent"):
        log(f"Replacing {nodes} out of {nodes} node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1"
            " partitions for subgraph 0 (main).", "VERBOSE")  # fmt: skip
    log("Created TensorFlow Lite XNNPACK delegate for CPU.")
    if given.get("use_xnnpack") == "true":
        say_coverage(log, "XNNPACK", None)
    return True


def say_coverage(log: Log, name: str, kernels: int | None) -> None:
    """Say how much of the graph a delegate took; None is all of it."""
    if kernels is None:
        log(f"Explicitly applied {name} delegate, and the model graph will be completely executed by the delegate.")
    elif kernels:
        log(f"Explicitly applied {name} delegate, and the model graph will be partially executed by the delegate w/"
            f" {kernels} delegate kernels.")  # fmt: skip
    else:
        log(f"Though {name} delegate is explicitly applied, the model graph will not be executed by the delegate.")


def fill(interpreter: Interpreter, given: dict[str, str]) -> None:
    """Write the input: from a file, or random."""
    about = interpreter.get_input_details()[0]
    shape, kind = about["shape"], about["dtype"]
    value = np.random.default_rng().integers(0, 2, shape).astype(kind)
    if files := given.get("input_layer_value_files"):
        assert given["input_layer"] == about["name"]
        assert given["input_layer_shape"] == ",".join(map(str, shape))
        name, path = (part.replace("\0", ":") for part in files.replace("::", "\0").split(":"))
        assert name == about["name"]
        value = np.fromfile(path, kind).reshape(shape)
    interpreter.set_tensor(about["index"], value)


def invoke(interpreter: Interpreter, least: int, least_s: float) -> list[int]:
    """Return the microseconds of each run."""
    begin, times = time.perf_counter(), []
    while len(times) < least or time.perf_counter() - begin < least_s:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(max(round((time.perf_counter() - start) * 1e6), 1))
    return times


def percentile(times: list[int], percent: int) -> int:
    """The smallest time that so many percent of the runs do not exceed."""
    return sorted(times)[max(-(-len(times) * percent // 100), 1) - 1]


def counted(times: list[int], *, percentiles: bool) -> str:
    """One line of statistics, as TensorFlow's stats calculator prints them."""
    if len(set(times)) == 1:
        line = f"count={len(times)} curr={times[-1]}" + ("(all same)" if len(times) > 1 else "")
    else:
        line = f"count={len(times)} first={times[0]} curr={times[-1]} min={min(times)} max={max(times)}"
        line += f" avg={np.mean(times):g} std={int(np.std(times))}"
    shown = ((5, "p5"), (50, "median"), (95, "p95")) if percentiles else ()
    return line + "".join(f" {name}={percentile(times, percent)}" for percent, name in shown)


def say_v1(log: Log, init_us: int, series: list[list[int]], memory: tuple[int, int]) -> None:
    """The last lines of the Interpreter's tool."""
    warm, runs = series
    log(f"Inference timings in us: Init: {init_us}, First inference: {warm[0]}, Warmup (avg): {np.mean(warm):g}, "
        f"Inference (avg): {np.mean(runs):g}")  # fmt: skip
    log("Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.")
    log("Memory footprint delta from the start of the tool (MB): "
        f"init={memory[0] / 1024:g} overall={memory[1] / 1024:g}")  # fmt: skip


def say_v2(log: Log, init_us: int, series: list[list[int]], memory: tuple[int, int]) -> None:
    """The last lines of the CompiledModel's tool."""
    warm, runs = series
    log("[benchmark_litert_model.h:90] \n========== BENCHMARK RESULTS ==========")
    for line, text in enumerate(
        (
            f"Model initialization: {init_us / 1000:.2f} ms",
            f"Warmup (first):       {warm[0] / 1000:.2f} ms",
            f"Warmup (avg):         {np.mean(warm) / 1000:.2f} ms ({len(warm)} runs)",
            f"Inference (avg):      {np.mean(runs) / 1000:.2f} ms ({len(runs)} runs)",
            f"Inference (min):      {min(runs) / 1000:.2f} ms",
            f"Inference (max):      {max(runs) / 1000:.2f} ms",
            f"Inference (std):      {np.std(runs) / 1000:.2f}",
            "Throughput:           1.00 MB/s",
            "\nMemory Usage:",
            f"Init footprint:       {memory[0] / 1024:.2f} MB",
            f"Overall footprint:    {memory[1] / 1024:.2f} MB",
            "Peak memory usage not available. (peak_mem_mb <= 0)",
        ),
        94,
    ):
        log(f"[benchmark_litert_model.h:{line}] {text}")
    log("[benchmark_litert_model.h:140] ======================================\n")


def message(init_us: int, series: list[list[int]], memory: tuple[int, int]) -> bytes:
    """The result as the protocol buffer that facts of the tools describe: numbers in their order, by hand."""
    warm, runs = series
    latencies = [np.mean(runs), min(runs), max(runs), np.std(runs)]
    latencies += [*(percentile(runs, percent) for percent in (50, 5, 95)), init_us, warm[0], np.mean(warm)]
    latency = b"".join(bytes([8 * field + 5]) + struct.pack("<f", us / 1000) for field, us in enumerate(latencies, 1))
    footprint = b"".join(bytes([8 * field]) + varint(kb) for field, kb in enumerate(memory, 1))
    rest = bytes([8 + 5]) + struct.pack("<f", 0.1) + bytes([16]) + varint(len(runs)) + bytes([24]) + varint(len(warm))
    return b"".join(
        bytes([8 * field + 2]) + varint(len(part)) + part for field, part in enumerate((latency, footprint, rest), 2)
    )


def varint(value: int) -> bytes:
    """A number, seven bits a byte, the lowest first."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


if __name__ == "__main__":
    sys.exit(main())
