"""One inference of a file: python file_worker.py SETTINGS FILE.tflite|FILE.onnx."""

import sys
from collections.abc import Callable
from typing import Any

from worker import Settings, serve


def prepare(settings: Settings) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Open the file and return what runs it once on the same image."""
    path = sys.argv[2]
    return (_tflite if path.endswith(".tflite") else _onnx)(path, settings), {}


def _tflite(path: str, settings: Settings) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=settings.threads)
    interpreter.allocate_tensors()
    image = (255 * settings.batch()[0]).astype("uint8")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    return interpreter.invoke


def _onnx(path: str, settings: Settings) -> Callable[[], Any]:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = settings.batch()[0].transpose(0, 3, 1, 2).copy()
    return lambda: session.run(None, {"image": image})


if __name__ == "__main__":
    serve(prepare)
