"""Run a published PyTorch implementation once with random weights: `python torch_reference.py NAME OUT.npz`.

It runs in a process of its own, under an interpreter that has the implementation; TensorFlow is not needed. The file
holds the state dict ("state/..."), the one that Hugging Face writes to files, where names differ ("file/..."), an image
(1, H, W, 3) and the logits at its resolution (1, H, W, classes).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CLASSES = 2
SIZE = {"lraspp_mobilenetv3": 96, "segformer_b0": 96, "mobilevitv2": 128, "mobilevitv2@os8": 128}


def reference(name: str) -> nn.Module:
    """Return the published implementation of a network."""
    base, _, variant = name.partition("@")
    if base in ("unet", "light_unet", "lighter_unet"):
        first = int(variant) if base == "lighter_unet" else None
        return Unet(CLASSES, first, {"unet": None, "light_unet": 1, "lighter_unet": first}[base])
    if base == "segresnet":
        from monai.networks.nets import SegResNet

        return SegResNet(spatial_dims=2, init_filters=8, in_channels=3, out_channels=CLASSES)
    if base == "segformer_b0":
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        return SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES))
    if base == "mobilevitv2":
        from transformers import MobileViTV2Config, MobileViTV2ForSemanticSegmentation

        stride = int(variant.removeprefix("os") or 32)
        return MobileViTV2ForSemanticSegmentation(MobileViTV2Config(num_labels=CLASSES, output_stride=stride))
    return Lraspp(CLASSES)


class Unet(nn.Module):
    """U-Net, Light and Lighter U-Net, written from the table of the paper with the module names of the authors' code.

    `first` and `second` are the channels in each group of a pair's convolutions, None for a regular one.
    """

    def __init__(self, classes: int, first: int | None, second: int | None) -> None:
        super().__init__()

        def convolution(channels: int, out: int, group: int | None) -> nn.Module:
            if group is None:
                return nn.Conv2d(channels, out, 3, padding=1)
            groups = channels // min(channels, group)
            pair = nn.Module()
            pair.conv = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=groups), nn.Conv2d(channels, out, 1)
            )
            pair.forward = pair.conv.forward
            return pair

        def pair(channels: int, middle: int, out: int) -> nn.Module:
            module = nn.Module()
            module.double_conv = nn.Sequential(
                convolution(channels, middle, first),
                nn.BatchNorm2d(middle),
                nn.ReLU(),
                convolution(middle, out, second),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            )
            module.forward = module.double_conv.forward
            return module

        widths = (64, 128, 256, 512, 512)
        self.inc = pair(3, 64, 64)
        for level in range(1, 5):
            down = nn.Module()
            down.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), pair(widths[level - 1], widths[level], widths[level]))
            self.add_module(f"down{level}", down)
        for step, (channels, out) in enumerate(((1024, 256), (512, 128), (256, 64), (128, 64)), 1):
            up = nn.Module()
            up.conv = pair(channels, channels // 2, out)
            self.add_module(f"up{step}", up)
        self.outc = nn.Module()
        self.outc.conv = nn.Conv2d(64, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        levels = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            levels.append(down.maxpool_conv(levels[-1]))
        x = levels.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = up.conv(torch.cat([levels.pop(), x], dim=1))
        return self.outc.conv(x)


class Lraspp(nn.Module):
    """LR-ASPP on MobileNetV3-Large, written from the papers with the module names of torchvision's."""

    # kernel, expanded, out, squeezed (0: none), hard-swish, stride, dilation
    ROWS = (
        (3, 16, 16, 0, False, 1, 1),
        (3, 64, 24, 0, False, 2, 1),
        (3, 72, 24, 0, False, 1, 1),
        (5, 72, 40, 24, False, 2, 1),
        (5, 120, 40, 32, False, 1, 1),
        (5, 120, 40, 32, False, 1, 1),
        (3, 240, 80, 0, True, 2, 1),
        (3, 200, 80, 0, True, 1, 1),
        (3, 184, 80, 0, True, 1, 1),
        (3, 184, 80, 0, True, 1, 1),
        (3, 480, 112, 120, True, 1, 1),
        (3, 672, 112, 168, True, 1, 1),
        (5, 672, 160, 168, True, 1, 2),
        (5, 960, 160, 240, True, 1, 2),
        (5, 960, 160, 240, True, 1, 2),
    )

    def __init__(self, classes: int) -> None:
        super().__init__()
        channels = [16, *(row[2] for row in self.ROWS)]
        blocks = [Residual(before, *row) for before, row in zip(channels, self.ROWS, strict=False)]
        stem = _conv_norm(3, 16, 3, nn.Hardswish(), stride=2)
        self.backbone = nn.ModuleList([stem, *blocks, _conv_norm(160, 960, 1, nn.Hardswish())])
        self.classifier = nn.ModuleDict(
            {
                "cbr": nn.Sequential(nn.Conv2d(960, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
                "scale": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(960, 128, 1, bias=False), nn.Sigmoid()),
                "low_classifier": nn.Conv2d(40, classes, 1),
                "high_classifier": nn.Conv2d(128, classes, 1),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits at an eighth of the resolution."""
        for number, part in enumerate(self.backbone):
            x = part(x)
            if number == 4:
                low = x
        head = self.classifier
        x = head["cbr"](x) * head["scale"](x)
        x = functional.interpolate(x, low.shape[-2:], mode="bilinear", align_corners=False)
        return head["low_classifier"](low) + head["high_classifier"](x)


class Residual(nn.Module):
    """An inverted residual with squeeze and excitation where the table says so."""

    def __init__(
        self, channels: int, size: int, expanded: int, out: int, squeezed: int, swish: bool, stride: int, dilation: int
    ) -> None:
        super().__init__()
        activation = nn.Hardswish() if swish else nn.ReLU()
        parts = [_conv_norm(channels, expanded, 1, activation)] if expanded != channels else []
        parts.append(_conv_norm(expanded, expanded, size, activation, stride, dilation, groups=expanded))
        if squeezed:
            parts.append(Squeeze(expanded, squeezed))
        self.block = nn.Sequential(*parts, _conv_norm(expanded, out, 1, nn.Identity()))
        self.adds = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        return self.block(x) + x if self.adds else self.block(x)


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh the channels."""
        gate = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * functional.hardsigmoid(gate)


def _conv_norm(
    channels: int, out: int, size: int, activation: nn.Module, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = size // 2 * dilation
    conv = nn.Conv2d(channels, out, size, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out, eps=1e-3), activation)


def randomize(model: nn.Module) -> None:
    """Give every tensor numbers that keep activations near 1, and that no two layers share."""
    for name, values in model.state_dict().items():
        if name.endswith("running_var") or (name.endswith("weight") and values.ndim == 1):
            values.uniform_(0.5, 1.5)
        elif values.ndim > 1:
            values.normal_(0, (2 / values[0].numel()) ** 0.5)
        elif values.is_floating_point():
            values.normal_(0, 0.1)


def saved(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what the model writes to a file."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def main(name: str, out: str) -> None:
    """Write the file."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = reference(name).eval()
    with torch.no_grad():
        randomize(model)
        size = SIZE.get(name, 64)
        image = torch.rand(1, 3, size, size)
        logits = model(image)
        logits = getattr(logits, "logits", logits)
        logits = functional.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)
    state = {f"state/{tensor}": values.numpy() for tensor, values in model.state_dict().items()}
    if hasattr(model, "save_pretrained"):
        state |= {f"file/{tensor}": values.numpy() for tensor, values in saved(model).items()}
    arrays = {"image": image.permute(0, 2, 3, 1).numpy(), "logits": logits.permute(0, 2, 3, 1).numpy()}
    np.savez(out, **state, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
