"""One inference in PyTorch, traced, channels last: python torch_inference_worker.py SETTINGS NAME|FILE.pt."""

# pyright: reportMissingImports=false

import sys
from collections.abc import Callable
from typing import Any

import torch
from worker import Settings, about, serve

Tensor = Any


def prepare(settings: Settings) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Open a trace, or trace the twin of the network, and return what runs it once on the same image."""
    facts = about(torch.__version__)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    image = torch.from_numpy(settings.batch()[0]).permute(0, 3, 1, 2)
    what = sys.argv[2]
    traced = torch.jit.load(what) if what.endswith(".pt") else trace(what, image)

    def step() -> Any:
        with torch.no_grad():
            return traced(image)

    for _ in range(2):  # the first runs optimize the trace
        step()
    return step, facts


def trace(name: str, image: Tensor) -> Any:
    """Trace the twin of a network for images (B, 3, H, W) that are channels last in memory."""
    from torch_networks import twin

    torch.manual_seed(0)
    network = twin(name, 1).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        return torch.jit.freeze(torch.jit.trace(network, image))


if __name__ == "__main__":
    serve(prepare)
