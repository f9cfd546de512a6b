"""Write a network with random weights for ONNX Runtime, in three forms: python torch_export.py NAME SIZE FOLDER."""

# pyright: reportMissingImports=false

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime import quantization
from torch_networks import twin


class Noise(quantization.CalibrationDataReader):
    """Two images of noise."""

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(0)
        self.images = iter([{"image": rng.random((1, 3, size, size), "float32")} for _ in range(2)])

    def get_next(self) -> Any:
        """Return the next image, or None."""
        return next(self.images, None)


def fold_patches(
    columns: Any, output_size: tuple[int, int], kernel_size: tuple[int, int], stride: tuple[int, int], **_: Any
) -> Any:
    """torch.nn.functional.fold for patches that do not overlap, in operators that ONNX had from the start."""
    (height, width), (rows, cols) = output_size, kernel_size
    assert tuple(stride) == tuple(kernel_size)
    patches = columns.reshape(columns.shape[0], -1, rows, cols, height // rows, width // cols)
    return patches.permute(0, 1, 4, 2, 5, 3).reshape(columns.shape[0], -1, height, width)


def main(name: str, size: int, folder: Path) -> None:
    """Export, prepare as ONNX Runtime advises, and quantize."""
    torch.manual_seed(0)
    network = twin(name, 1).eval()
    image = torch.rand(1, 3, size, size)
    torch.nn.functional.fold = fold_patches  # MobileViTV2's; the exporter has no other form of it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (image,), folder / "fp32.onnx", input_names=["image"], opset_version=17, dynamo=False
        )
    prepared = folder / "prepared"
    quantization.shape_inference.quant_pre_process(folder / "fp32.onnx", prepared, skip_symbolic_shape=True)
    for kind, activation in (("u8s8", quantization.QuantType.QUInt8), ("s8s8", quantization.QuantType.QInt8)):
        quantization.quantize_static(
            prepared,
            folder / f"{kind}.onnx",
            Noise(size),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=activation,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
