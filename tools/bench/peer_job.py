"""One fold of a peer: what accuracy.py asks of a worker, and what the worker leaves in the fold's folder.

A worker is called as `python WORKER.py FOLDER DATA`. FOLDER holds job.json; DATA holds the images as nnU-Net wants them
(imagesTr/CASE_0000.png and labelsTr/CASE.png). The worker leaves predictions/CASE.png (0 or 1, as large as the image)
for each held-out case, network.onnx (one input, "image", of a static shape) and, last, facts.json. Only the standard
library, NumPy, SciPy and Pillow, since workers run under other interpreters.
"""

# pyright: reportMissingImports=false

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

JOB, FACTS, PREDICTIONS, NETWORK = "job.json", "facts.json", "predictions", "network.onnx"
FORM = 1  # of these files: a finished fold of another form is not taken over


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker does.

    Attributes:
        row: name of the settings, as in accuracy.py's table.
        settings: what the peer's worker reads.
        fold: number of the fold.
        train, test: cases to learn from, and to predict.
        seconds: time for training, from the first step on; reading, planning and predicting do not count.
        threads: CPU threads.
        largest_component: whether only the largest component of a predicted mask is kept.
        form: see FORM.
    """

    row: str
    settings: dict[str, Any]
    fold: int
    train: list[str]
    test: list[str]
    seconds: float
    threads: int
    largest_component: bool
    form: int = FORM


def arguments() -> tuple[Job, Path, Path]:
    """Return the job, its folder and the data that the command line names."""
    folder, data = map(Path, sys.argv[1:])
    return Job(**json.loads((folder / JOB).read_text())), folder, data


def import_torchvision() -> None:
    """Import torchvision, as timm does.

    Its wheel on PyPI is built for CUDA. Beside a torch without CUDA some operators are missing, and the import fails on
    their names; nothing here runs them, so that a declaration is enough.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")


def image_path(data: Path, case: str) -> Path:
    """Return where a case's image is: uint8 (H, W)."""
    return data / "imagesTr" / f"{case}_0000.png"


def label_path(data: Path, case: str) -> Path:
    """Return where a case's true mask is: uint8 (H, W), 0 or 1."""
    return data / "labelsTr" / f"{case}.png"


def read(path: Path) -> np.ndarray:
    """Read a grey PNG as uint8 (H, W)."""
    with Image.open(path) as image:
        return np.asarray(image)


def write_prediction(job: Job, folder: Path, case: str, mask: np.ndarray) -> None:
    """Write a predicted mask (H, W), 0 or 1, after the clean-up that the job asks for."""
    kept = largest_component(mask) if job.largest_component else mask
    (folder / PREDICTIONS).mkdir(exist_ok=True)
    Image.fromarray(kept.astype(np.uint8)).save(folder / PREDICTIONS / f"{case}.png")


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest component, of 8 neighbours, of a mask (H, W).

    >>> largest_component(np.array([[1, 0, 1, 1]])).tolist()
    [[0, 0, 1, 1]]
    """
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return (labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1).astype(np.uint8) if count else mask


def finish(folder: Path, network: Any, shape: tuple[int, int, int, int], **facts: Any) -> None:
    """Export a PyTorch network for images of one shape (1, C, H, W), and write the facts.

    Args:
        folder: of the fold.
        network: in the mode in which it predicts.
        shape: of its input.
        facts: "steps" that were made, "cpu_s" that they took of processors (far below threads times the job's seconds:
            the machine was busy), "passes" of the network that one image takes, "versions".
    """
    import torch

    torch.onnx.export(
        network, (torch.zeros(shape),), folder / NETWORK, input_names=["image"], opset_version=17, dynamo=False
    )
    parameters = sum(value.numel() for value in network.parameters() if value.requires_grad)
    content = {"parameters": parameters, "input": list(shape), **facts}
    (folder / FACTS).write_text(json.dumps(content, indent=1) + "\n")
