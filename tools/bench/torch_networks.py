"""The networks of tfseg.models in PyTorch: the same layers and widths, as one would write them there.

Where a published implementation is the network's origin, it is the twin: MONAI's SegResNet, Hugging Face's SegFormer
and MobileViTV2. Runs under an interpreter with PyTorch; TensorFlow is not needed.
"""

# pyright: reportMissingImports=false

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parents[2] / "tests/models/parity"))
from torch_reference import Lraspp, Unet

Tensor = Any


def twin(name: str, classes: int) -> nn.Module:
    """Build the twin of a network: (B, 3, H, W) to logits (B, classes, H, W), as `tfseg.models.build` names it."""
    base, _, variant = name.partition("@")
    return TWINS[base](classes, *([int(variant.removeprefix("os"))] if variant else []))


class Resized(nn.Module):
    """A network whose logits, of a lower resolution or wrapped by Hugging Face, are enlarged to the image's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return logits as large as the image."""
        logits = self.network(image)
        logits = getattr(logits, "logits", logits)
        return functional.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)


def conv_norm(
    channels: int, width: int, size: int, activation: nn.Module | None = None, *, groups: int = 1, **options: Any
) -> nn.Sequential:
    """Convolution without bias, batch norm, activation; padded so that only a stride makes the result smaller."""
    padding = size // 2 * options.get("dilation", 1)
    conv = nn.Conv2d(channels, width, size, padding=padding, groups=groups, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(width), *([activation] if activation else []))


def unet(classes: int, first: int | None = None, second: int | None = None) -> nn.Module:
    """U-Net, Light and Lighter U-Net."""
    network = Unet(classes, first, second)
    network.down4.maxpool_conv.append(nn.Dropout(0.5))
    return network


class UpAndDown(nn.Module):
    """What U-Nets have in common: `down` for each level, and on the way up `enlarge`, concatenation and `up`."""

    def __init__(self, down: Sequence[nn.Module], enlarge: Sequence[nn.Module], up: Sequence[nn.Module]) -> None:
        super().__init__()
        self.down, self.enlarge, self.up = nn.ModuleList(down), nn.ModuleList(enlarge), nn.ModuleList(up)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of full resolution."""
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for enlarge, up in zip(self.enlarge, self.up, strict=True):
            x = up(torch.cat([skips.pop(), enlarge(x)], dim=1))
        return x


def bilinear() -> nn.Module:
    """Twice the size, as `tfseg.models.layers.Upsample`."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def nerve_unet(classes: int) -> nn.Module:
    """The U-Net of the nerve slides."""
    widths = (32, 64, 128, 256, 512)

    def pair(channels: int, width: int) -> list[nn.Module]:
        convolutions = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        return [convolutions[0], nn.ReLU(inplace=True), convolutions[1], nn.ReLU(inplace=True)]

    down = [nn.Sequential(*pair(3, 32))]
    down += [nn.Sequential(nn.MaxPool2d(2), *pair(width // 2, width)) for width in widths[1:]]
    enlarge = [nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[-2::-1]]
    up = [nn.Sequential(*pair(2 * width, width)) for width in widths[-2::-1]]
    return nn.Sequential(UpAndDown(down, enlarge, up), nn.Conv2d(32, classes, 1))


def mobile_unet(classes: int) -> nn.Module:
    """The Mobile U-Net of the liver tumour paper."""
    widths = (32, 64, 128, 256, 512)
    down = [nn.Sequential(conv_norm(3, 32, 3, nn.ReLU(inplace=True)), ResidualSeparable(32, 32))]
    down += [nn.Sequential(nn.MaxPool2d(2), ResidualSeparable(width // 2, width)) for width in widths[1:]]
    up = [
        nn.Sequential(conv_norm(3 * width, width, 1, nn.ReLU(inplace=True)), ResidualSeparable(width, width))
        for width in widths[-2::-1]
    ]
    return nn.Sequential(UpAndDown(down, [bilinear() for _ in up], up), nn.Conv2d(32, classes, 1))


class ResidualSeparable(nn.Module):
    """Two separable convolutions and, around both, their input."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(channels, channels, 3, nn.ReLU(inplace=True), groups=channels),
            conv_norm(channels, width, 1, nn.ReLU(inplace=True)),
            conv_norm(width, width, 3, nn.ReLU(inplace=True), groups=width),
            conv_norm(width, width, 1),
        )
        self.shortcut = nn.Identity() if channels == width else conv_norm(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of `width` channels."""
        return functional.relu(self.body(x) + self.shortcut(x), inplace=True)


def resunet(classes: int) -> nn.Module:
    """The Deep Residual U-Net."""
    widths = (64, 128, 256, 512)
    down = [ResidualUnit(3, 64, first=True)]
    down += [ResidualUnit(width // 2, width, stride=2) for width in widths[1:]]
    up = [ResidualUnit(3 * width, width) for width in widths[-2::-1]]
    return nn.Sequential(UpAndDown(down, [bilinear() for _ in up], up), nn.Conv2d(64, classes, 1))


class ResidualUnit(nn.Module):
    """Norm, ReLU and convolution twice, added to the input after a 1x1 convolution."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride), nn.BatchNorm2d(width))
        before = [] if first else [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        after = [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*before, nn.Conv2d(channels, width, 3, stride, padding=1), *after)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of `width` channels."""
        return self.body(x) + self.shortcut(x)


class Fcn(nn.Module):
    """FCN-32s, -16s and -8s (`skips` 0, 1 and 2) on VGG16."""

    def __init__(self, classes: int, skips: int) -> None:
        super().__init__()
        self.skips = skips
        channels, blocks = 3, []
        for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            layers = []
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.blocks = nn.ModuleList(blocks)
        self.ups, self.norms = nn.ModuleList(), nn.ModuleList()
        for width in (512, 256, 128, 64, 32):
            self.ups.append(nn.ConvTranspose2d(channels, width, 3, stride=2, padding=1, output_padding=1))
            self.norms.append(nn.BatchNorm2d(width))
            channels = width
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        pooled = []
        for block in self.blocks:
            x = block(x)
            pooled.append(x)
        for step, (up, norm) in enumerate(zip(self.ups, self.norms, strict=True), 1):
            x = functional.relu(up(x), inplace=True)
            if step <= self.skips:
                x = x + pooled[-1 - step]
            x = norm(x)
        return self.classifier(x)


def segresnet(classes: int) -> nn.Module:
    """MONAI's SegResNet."""
    from monai.networks.nets import SegResNet

    norm = ("GROUP", {"num_groups": 8})
    return SegResNet(spatial_dims=2, init_filters=8, in_channels=3, out_channels=classes, norm=norm)


def segresnet_bn(classes: int) -> nn.Module:
    """MONAI's SegResNet with batch norm after the convolutions, in the form that ships."""
    from monai.networks.blocks.segresnet_block import ResBlock

    network: Any = segresnet(classes)
    network.convInit = conv_norm(3, 8, 3, nn.ReLU(inplace=True))
    *_, network.conv_final = network.conv_final  # without norm and ReLU
    return _replaced(network, {ResBlock: lambda block: NormsLast(block.conv1.conv.in_channels)})


class NormsLast(nn.Module):
    """A residual block: convolution, norm, ReLU, convolution, norm, addition, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(width, width, 3, nn.ReLU(inplace=True)), conv_norm(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return as many features as `x` has."""
        return functional.relu(self.body(x) + x, inplace=True)


def lraspp(classes: int, *, ships: bool = False) -> nn.Module:
    """LR-ASPP on MobileNetV3-Large, with ReLU for hard-swish in the form that ships."""
    return Resized(_replaced(Lraspp(classes), {nn.Hardswish: lambda _: nn.ReLU(inplace=True)} if ships else {}))


def segformer(classes: int, *, ships: bool = False) -> nn.Module:
    """Hugging Face's SegFormer-B0, with batch norm and ReLU in the form that ships."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(num_labels=classes, hidden_act="relu" if ships else "gelu")
    network = SegformerForSemanticSegmentation(config)
    return Resized(_replaced(network, {nn.LayerNorm: lambda norm: TokenNorm(*norm.normalized_shape)} if ships else {}))


class TokenNorm(nn.BatchNorm1d):
    """Batch norm of tokens (B, N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize over all tokens."""
        return super().forward(x.flatten(0, 1)).view(x.shape)


def mobilevitv2(classes: int, output_stride: int = 32, *, ships: bool = False) -> nn.Module:
    """Hugging Face's MobileViTV2, with batch norm and ReLU in the form that ships."""
    from transformers import MobileViTV2Config, MobileViTV2ForSemanticSegmentation

    activation = "relu" if ships else "swish"
    config = MobileViTV2Config(num_labels=classes, output_stride=output_stride, hidden_act=activation)
    network = MobileViTV2ForSemanticSegmentation(config)
    return Resized(_replaced(network, {nn.GroupNorm: lambda norm: nn.BatchNorm2d(norm.num_channels)} if ships else {}))


def _replaced(network: nn.Module, by: dict[type[nn.Module], Callable[[Any], nn.Module]]) -> nn.Module:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) in by:
                setattr(module, name, by[type(child)](child))
    return network


class Deeplab(nn.Module):
    """DeepLab v3+ on `encoder`, which returns features of 1/4 (`low` channels) and 1/16 (`high` channels)."""

    def __init__(self, classes: int, encoder: nn.Module, low: int, high: int) -> None:
        super().__init__()
        self.encoder = encoder
        relu = nn.ReLU(inplace=True)
        self.maps = nn.ModuleList([conv_norm(high, 256, 1, relu)])
        self.maps += [conv_norm(high, 256, 3, relu, dilation=rate) for rate in (6, 12, 18)]
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_norm(high, 256, 1, relu))
        self.project = nn.Sequential(conv_norm(1280, 256, 1, relu), nn.Dropout(0.5))
        self.low = conv_norm(low, 48, 1, relu)
        self.decoder = nn.Sequential(
            *(conv_norm(304, 256, 3, relu), nn.Dropout(0.5)),
            *(conv_norm(256, 256, 3, relu), nn.Dropout(0.1)),
            nn.Conv2d(256, classes, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        low, x = self.encoder(image)
        pooled = self.pool(x).expand(-1, -1, *x.shape[-2:])
        x = self.project(torch.cat([*(branch(x) for branch in self.maps), pooled], dim=1))
        x = functional.interpolate(x, low.shape[-2:], mode="bilinear", align_corners=True)
        x = self.decoder(torch.cat([x, self.low(low)], dim=1))
        return functional.interpolate(x, image.shape[-2:], mode="bilinear", align_corners=True)


class Encoder(nn.Module):
    """Two halves: one down to the features that the decoder takes, one from there on."""

    def __init__(self, first: Sequence[nn.Module], second: Sequence[nn.Module]) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(*first), nn.Sequential(*second)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of both."""
        low = self.first(x)
        return low, self.second(low)


def deeplab_mobilenet(classes: int) -> nn.Module:
    """DeepLab v3+ on MobileNetV2."""
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 1), (6, 320, 1, 1))
    channels, halves = 32, ([conv_norm(3, 32, 3, nn.ReLU6(inplace=True), stride=2)], [])
    for row, (expansion, width, blocks, stride) in enumerate(rows):
        for block in range(blocks):
            residual = InvertedResidual(channels, width, expansion, 1 if block else stride, 2 if row == 6 else 1)
            halves[row > 1].append(residual)
            channels = width
    return Deeplab(classes, Encoder(*halves), 24, 320)


class InvertedResidual(nn.Module):
    """MobileNetV2's block, which pads before it expands."""

    def __init__(self, channels: int, width: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.adds = stride == 1 and channels == width
        expanded, relu = expansion * channels, nn.ReLU6(inplace=True)
        depthwise = nn.Conv2d(
            expanded, expanded, 3, stride, dilation=dilation, groups=expanded, bias=False
        )  # fmt: skip
        self.body = nn.Sequential(
            nn.ZeroPad2d(dilation),
            *([conv_norm(channels, expanded, 1, relu)] if expansion > 1 else []),
            *(depthwise, nn.BatchNorm2d(expanded), relu),
            conv_norm(expanded, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of `width` channels."""
        return x + self.body(x) if self.adds else self.body(x)


def deeplab_resnet101(classes: int) -> nn.Module:
    """DeepLab v3+ on ResNet-101."""
    stages = ((64, 1, (1,) * 3), (128, 2, (1,) * 4), (256, 2, (1,) * 23), (512, 1, (2, 4, 8)))
    channels, halves = 64, ([conv_norm(3, 64, 7, nn.ReLU(inplace=True), stride=2), nn.MaxPool2d(3, 2, 1)], [])
    for stage, (width, stride, dilations) in enumerate(stages):
        for block, dilation in enumerate(dilations):
            halves[stage > 0].append(Bottleneck(channels, width, 1 if block else stride, dilation))
            channels = 4 * width
    return Deeplab(classes, Encoder(*halves), 256, 2048)


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions."""

    def __init__(self, channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(
            conv_norm(channels, width, 1, relu),
            conv_norm(width, width, 3, relu, stride=stride, dilation=dilation),
            conv_norm(width, 4 * width, 1),
        )
        same = channels == 4 * width
        self.shortcut = nn.Identity() if same else conv_norm(channels, 4 * width, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of four times `width` channels."""
        return functional.relu(self.body(x) + self.shortcut(x), inplace=True)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "nerve_unet": nerve_unet,
    "unet": unet,
    "light_unet": lambda classes: unet(classes, None, 1),
    "lighter_unet": lambda classes, size=128: unet(classes, size, size),
    "mobile_unet": mobile_unet,
    "resunet": resunet,
    "fcn32s": lambda classes: Fcn(classes, 0),
    "fcn16s": lambda classes: Fcn(classes, 1),
    "fcn8s": lambda classes: Fcn(classes, 2),
    "segresnet": segresnet,
    "segresnet_bn": segresnet_bn,
    "lraspp_mobilenetv3": lraspp,
    "lraspp_mobilenetv3_relu": lambda classes: lraspp(classes, ships=True),
    "segformer_b0": segformer,
    "segformer_b0_bn": lambda classes: segformer(classes, ships=True),
    "mobilevitv2": mobilevitv2,
    "mobilevitv2_relu": lambda classes, stride=32: mobilevitv2(classes, stride, ships=True),
    "deeplabv3plus_mobilenet": deeplab_mobilenet,
    "deeplabv3plus_resnet101": deeplab_resnet101,
}
