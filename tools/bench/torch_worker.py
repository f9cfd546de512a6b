"""One training step in PyTorch, at its best on a CPU: channels last, the faster one of Adam's two forms."""

# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import torch
from torch_networks import twin
from worker import Settings, seconds, serve

Tensor = Any


def prepare(settings: Settings) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Build the twin of the network and its training step."""
    torch.manual_seed(0)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)  # as TensorFlow does
    network = twin(settings.name, 1).to(memory_format=torch.channels_last).train()
    image, mask = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in settings.batch())  # channels last as they are
    optimizer: Any = None

    def gradients() -> Tensor:
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bfloat16"):
            logits = network(image)
        loss = soft_dice(mask, logits.float())
        loss.backward()
        return loss

    def step() -> float:
        loss = gradients()
        optimizer.step()
        return loss.item()

    gradients()
    forms = [torch.optim.Adam(network.parameters(), **{form: True}) for form in ("fused", "foreach")]
    for optimizer in forms:
        optimizer.step()
    optimizer = min(forms, key=lambda form: seconds(form.step, 3))
    parameters = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return step, {
        "parameters": parameters,
        "versions": {"torch": torch.__version__},
        "adam": "fused" if optimizer is forms[0] else "foreach",
    }


def soft_dice(mask: Tensor, logits: Tensor) -> Tensor:
    """tfseg.losses' "dice"."""
    probability = torch.sigmoid(logits)
    overlap = (mask * probability).sum((2, 3))
    return (1 - (2 * overlap + 1) / (mask.sum((2, 3)) + probability.sum((2, 3)) + 1)).mean()


if __name__ == "__main__":
    serve(prepare)
