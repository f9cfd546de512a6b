"""Write a network with random weights for PyTorch or ExecuTorch: python torch_save.py NAME SIZE FILE.pt|FILE.pte."""

# pyright: reportMissingImports=false

import sys
from pathlib import Path
from typing import Any

import torch
from torch_inference_worker import trace
from torch_networks import twin

Tensor = Any


def main(name: str, size: int, path: Path) -> None:
    """Trace or export it."""
    image = torch.rand(1, 3, size, size)
    if path.suffix == ".pt":
        trace(name, image.to(memory_format=torch.channels_last)).save(path)
    else:
        path.write_bytes(exported(name, image))


def exported(name: str, image: Tensor) -> bytes:
    """Return the twin of a network as an ExecuTorch program, whose operators go to XNNPACK where it has them."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    torch.manual_seed(0)
    program = torch.export.export(twin(name, 1).eval(), (image,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    return lowered.to_executorch().buffer


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
