"""One inference of a file: python file_worker.py SETTINGS FILE.tflite|FILE.onnx|FILE.pte [openvino].

With the last word OpenVINO runs an .onnx file, else ONNX Runtime does. Only what runs the file is imported, since the
process answers how much memory it takes.
"""

# pyright: reportMissingImports=false

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from worker import Settings, about, serve

Ready = tuple[Callable[[], Any], dict[str, Any]]  # what runs the file once, and facts


def prepare(settings: Settings) -> Ready:
    """Open the file and return what runs it once on the same image."""
    path, *runtime = sys.argv[2:]
    return (_openvino if runtime == ["openvino"] else OPEN[Path(path).suffix])(path, settings)


def _tflite(path: str, settings: Settings) -> Ready:
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    facts = about(ai_edge_litert.__version__)
    interpreter = Interpreter(model_path=path, num_threads=settings.threads)
    interpreter.allocate_tensors()
    wanted = interpreter.get_input_details()[0]
    interpreter.set_tensor(wanted["index"], (255 * _noise(wanted["shape"])).astype("uint8"))
    return interpreter.invoke, facts


def _onnx(path: str, settings: Settings) -> Ready:
    import onnxruntime

    facts = about(onnxruntime.__version__)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = {"image": _noise(session.get_inputs()[0].shape)}
    return lambda: session.run(None, images), facts


def _noise(shape: Sequence[int]) -> np.ndarray:
    """An image of the shape that a file expects, for any network: float32 in [0, 1]."""
    return np.random.default_rng(0).random(shape, "float32")


def _openvino(path: str, settings: Settings) -> Ready:
    import openvino

    facts = about(openvino.__version__.partition("-")[0])
    options = {
        "INFERENCE_NUM_THREADS": settings.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # or fp32 would be bfloat16 on processors that have it
        "ENABLE_CPU_PINNING": False,  # the others are free to leave a busy core, too
    }
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    images = {"image": settings.planes()}
    return lambda: request.infer(images, share_inputs=True, share_outputs=True), facts


def _executorch(path: str, settings: Settings) -> Ready:
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    facts = about(version("executorch"))
    portable_lib._unsafe_reset_threadpool(settings.threads)  # there is no other way; it must come before loading
    method = Runtime.get().load_program(path).load_method("forward")
    images = [torch.from_numpy(settings.planes())]
    return lambda: method.execute(images), facts


OPEN = {".tflite": _tflite, ".onnx": _onnx, ".pte": _executorch}

if __name__ == "__main__":
    serve(prepare)
