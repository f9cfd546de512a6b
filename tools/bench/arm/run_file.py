"""Let a file answer the same image twice: python run_file.py FILE.tflite|FILE.onnx OUT.npz [every].

Calls getppid() before, between and after the two, which is when instructions.c writes its count. OUT.npz holds the
outputs, or with `every` all that the operators of a .tflite file compute, in their order, under "NUMBER NAME".
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Outputs = dict[str, np.ndarray]


def main(path: str, out: str, every: bool) -> None:
    """Answer twice, keep what comes out, and leave without waiting for other threads."""
    infer, outputs = tflite(path, every) if path.endswith(".tflite") else onnx(path)
    os.getppid()
    infer()
    os.getppid()
    infer()
    os.getppid()
    np.savez(out, allow_pickle=False, **outputs())
    os._exit(0)  # ONNX Runtime's telemetry would wait for the network


def tflite(path: str, every: bool) -> tuple[Callable[[], Any], Callable[[], Outputs]]:
    """Return what runs a .tflite file on XNNPACK, in one thread, and what returns its outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1, experimental_preserve_all_tensors=every)
    interpreter.allocate_tensors()
    for source in interpreter.get_input_details():
        interpreter.set_tensor(source["index"], image(source["shape"], source["dtype"]))
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    targets = [target["index"] for target in interpreter.get_output_details()]
    if every:  # there is no public way to the order of the operators
        targets = [int(tensor) for operator in interpreter._get_ops_details() for tensor in operator["outputs"]]
        targets = [tensor for tensor in targets if tensor in names]  # others belong to XNNPACK
    return interpreter.invoke, lambda: {
        f"{tensor} {names[tensor]}": interpreter.get_tensor(tensor) for tensor in targets
    }


def onnx(path: str) -> tuple[Callable[[], Any], Callable[[], Outputs]]:
    """Return what runs an .onnx file in one thread, and what returns its outputs."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = {source.name: image(source.shape, np.float32) for source in session.get_inputs()}
    names = [target.name for target in session.get_outputs()]
    outputs: Outputs = {}
    return lambda: outputs.update(zip(names, session.run(names, images), strict=True)), lambda: outputs


def image(shape: Any, dtype: Any) -> np.ndarray:
    """Return noise in [0, 1], or over the whole range of integers: the same wherever this runs."""
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return rng.random(shape, "float32").astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:] == ["every"])
