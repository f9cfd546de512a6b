"""One series of timed inferences, as a fresh process: python -m tfseg.bench.series FILE IMAGE.npy DELEGATE THREADS.

It prints a line of JSON when the network is warm; one with as many latencies as each number on its input asks for; and
at the input's end one about its memory. Only the inference is timed, as Google's benchmark_model does it; on a GPU,
which works on while its caller goes on, with the output that is waited for.
"""

import gc
import json
import math
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfseg.lite import gpu

WARMUP_S = 0.5  # as benchmark_model's warmup_min_secs


def _main(path: str, image: str, delegate: str, threads: str) -> None:
    x = np.load(image)
    before_mb = _high_water_mb()
    gc.disable()  # a collection would be timed with the inference that it falls into
    try:
        start = time.perf_counter_ns()
        invoke = _on_cpu(path, x, int(threads)) if delegate == "cpu" else _on_gpu(path, x, exact=delegate == "gpu-fp32")
        init_ms = _since_ms(start)
        init_mb = _high_water_mb() - before_mb
        first_ms = _timed_ms(invoke)
    except (RuntimeError, ValueError) as error:
        _tell(error=" ".join(str(error).split()))
        return
    untimed, warm = 1, time.perf_counter() + WARMUP_S
    while time.perf_counter() < warm:
        invoke()
        untimed += 1
    _tell(init_ms=init_ms, first_ms=first_ms, memory_init_mb=init_mb)
    for line in sys.stdin:
        invoke()  # another process may have had the caches meanwhile
        untimed += 1
        _tell(latencies_ms=[_timed_ms(invoke) for _ in range(int(line))])
    peak_mb = _high_water_mb()
    _tell(warmup_runs=untimed, memory_overall_mb=peak_mb - before_mb, memory_peak_mb=peak_mb)


def _on_cpu(path: str, x: np.ndarray, threads: int) -> Callable[[], object]:
    interpreter = Interpreter(model_path=path, num_threads=threads)  # which brings XNNPACK unasked
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    return interpreter.invoke


def _on_gpu(path: str, x: np.ndarray, *, exact: bool) -> Callable[[], object]:
    network = gpu.open_compiled(path, exact=exact)
    inputs, outputs = network.create_input_buffers(0), network.create_output_buffers(0)
    inputs[0].write(x)
    (target,) = Interpreter(model_path=path).get_output_details()
    size, dtype = math.prod(target["shape"].tolist()), target["dtype"]

    def invoke() -> np.ndarray:
        network.run_by_index(0, inputs, outputs)
        return outputs[0].read(size, dtype)

    return invoke


def _timed_ms(invoke: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    invoke()
    return _since_ms(start)


def _since_ms(start_ns: int) -> float:
    return (time.perf_counter_ns() - start_ns) / 1e6


def _high_water_mb() -> float:
    """Return the most memory that this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts in what the process held that started this one
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        assert found
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: bytes


def _tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
