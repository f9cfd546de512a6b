"""One inference in PyTorch, traced, channels last: python torch_inference_worker.py SETTINGS NAME."""

# pyright: reportMissingImports=false

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch_networks import twin
from worker import Settings, serve


def prepare(settings: Settings) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Build the twin of the network and return what runs it once on the same image."""
    torch.manual_seed(0)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    network = twin(sys.argv[2], 1).eval().to(memory_format=torch.channels_last)
    image = torch.from_numpy(settings.batch()[0]).permute(0, 3, 1, 2)
    with torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(network, image))

    def step() -> Any:
        with torch.no_grad():
            return traced(image)

    for _ in range(2):  # the first runs optimize the trace
        step()
    return step, {}


if __name__ == "__main__":
    serve(prepare)
