"""Running a .tflite file: probabilities come out, whatever the file takes and gives."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfseg.inference import Masking, Opened, Predict
from tfseg.lite import metadata
from tfseg.lite.metadata import Metadata
from tfseg.postprocess import exclusive
from tfseg.quiet import silent_stderr


def open_file(path: Path, *, threads: int = 1) -> Opened:
    """Open a .tflite file of tfseg: what it predicts, and how that becomes a mask.

    Raises:
        InputError: as tfseg.lite.metadata.read does.
    """
    return open_content(metadata.read_bytes(path), str(path), threads=threads)


def open_content(content: bytes, name: str, *, threads: int = 1) -> Opened:
    """Open the content of such a file; errors name it `name`, and are those of `open_file`."""
    about = metadata.parse(content, name)
    return predict(content, about, threads=threads), masking(about)


def masking(about: Metadata) -> Masking:
    """Return how what a file gives becomes a mask.

    A file that ends in a mask has decided at its own resolution, by its own threshold; it gives the probabilities 0 and
    1. At the original resolution, where those are resized to, a pixel then goes to what holds at least half of it, and
    between exclusive classes to the one that holds most.
    """
    return Masking(
        image_size=about.image_size,
        channels=about.channels,
        classes=about.classes,
        activation=about.activation,
        threshold=0.5 if about.head == "mask" else about.threshold,
        largest_component=about.largest_component,
        smallest_area=about.smallest_area,
        window=about.window,
        region=about.region,
        margin_mm=about.margin_mm,
    )


def predict(content: bytes, about: Metadata, *, threads: int = 1) -> Predict:
    """Return what a file predicts, image by image, on XNNPACK where that has its operators."""
    with silent_stderr():  # LiteRT announces XNNPACK
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def probability(images: np.ndarray) -> np.ndarray:
        results = []
        for image in images:
            pixels = np.rint(image * 255) if about.input == "uint8" else image
            interpreter.set_tensor(source["index"], pixels[None].astype(source["dtype"]))
            interpreter.invoke()
            results.append(probabilities(interpreter.get_tensor(target["index"])[0], about))
        return np.stack(results)

    return probability


def probabilities(output: np.ndarray, about: Metadata) -> np.ndarray:
    """Turn what comes out of a file for one image into probabilities, float32 (H, W, K)."""
    if about.head == "mask":
        if exclusive(about.activation, len(about.classes)):
            output = output == np.arange(1, len(about.classes) + 1)
        return output.astype(np.float32)
    if about.head == "logits":
        return _activate(output, about.activation)
    return output


def _activate(logits: np.ndarray, activation: str) -> np.ndarray:
    """tfseg.activation.activate without Keras, which takes seconds to load."""
    if activation == "softmax":
        logits = np.concatenate([np.zeros_like(logits[..., :1]), logits], axis=-1)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return (powers / powers.sum(axis=-1, keepdims=True))[..., 1:]
    return 0.5 + 0.5 * np.tanh(0.5 * logits)
