"""The table of networks; importing it costs nothing, a network's module loads with Keras when it is built."""

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfseg.errors import InputError


@dataclass(frozen=True)
class Network:
    """A row of MODELS.

    Attributes:
        builder: "module.function" below tfseg.models; called as function(input_shape, classes, **options).
        stride: height and width must be multiples of it.
        paper: where the network comes from.
        variants: what may follow "@" in the network's name, and the builder's options that it stands for.
        weights: what it starts from where a recipe names nothing; "" for random numbers.
    """

    builder: str
    stride: int
    paper: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: str = ""


_MK_UNETS: dict[str, dict[str, Any]] = {
    "t": {"widths": (4, 8, 16, 24, 32)},
    "s": {"widths": (8, 16, 32, 48, 80)},
}

MODELS: dict[str, Network] = {
    "lite_unet": Network(
        "lite_unet.lite_unet",
        16,
        "ours, on EfficientNet-Lite0 (Tan and Le, ICML 2019, arXiv:1905.11946)",
        variants={"80": {"trunk_width": 80, "widths": (48, 32, 16)}},
        weights="imagenet",
    ),
    "nerve_unet": Network("nerve_unet.nerve_unet", 16, "Ronneberger et al., MICCAI 2015, arXiv:1505.04597"),
    "unet": Network("unet.unet", 16, "Li et al., ISBI 2021, hal-03140737"),
    "light_unet": Network("unet.light_unet", 16, "Li et al., ISBI 2021, hal-03140737"),
    "lighter_unet": Network(
        "unet.lighter_unet",
        16,
        "Li et al., ISBI 2021, hal-03140737",
        variants={str(size): {"group_size": size} for size in (1, 2, 4, 8, 16, 32, 64, 128)},
    ),
    "mobile_unet": Network("mobile_unet.mobile_unet", 16, "Mobile U-Net for liver tumours in CT, LiTS 2017"),
    "resunet": Network("resunet.resunet", 8, "Zhang et al., IEEE GRSL 2018, arXiv:1711.10684"),
    "fcn32s": Network("fcn.fcn32s", 32, "Long et al., CVPR 2015, arXiv:1411.4038"),
    "fcn16s": Network("fcn.fcn16s", 32, "Long et al., CVPR 2015, arXiv:1411.4038"),
    "fcn8s": Network("fcn.fcn8s", 32, "Long et al., CVPR 2015, arXiv:1411.4038"),
    "segresnet": Network("segresnet.segresnet", 8, "Myronenko, BrainLes 2018, arXiv:1810.11654"),
    "segresnet_bn": Network("segresnet.segresnet_bn", 8, "Myronenko, BrainLes 2018, arXiv:1810.11654"),
    "lraspp_mobilenetv3": Network("lraspp.lraspp_mobilenetv3", 16, "Howard et al., ICCV 2019, arXiv:1905.02244"),
    "lraspp_mobilenetv3_relu": Network(
        "lraspp.lraspp_mobilenetv3_relu", 16, "Howard et al., ICCV 2019, arXiv:1905.02244"
    ),
    "segformer_b0": Network("segformer.segformer_b0", 32, "Xie et al., NeurIPS 2021, arXiv:2105.15203"),
    "segformer_b0_bn": Network("segformer.segformer_b0_bn", 32, "Xie et al., NeurIPS 2021, arXiv:2105.15203"),
    "mobilevitv2": Network(
        "mobilevitv2.mobilevitv2",
        64,
        "Mehta and Rastegari, TMLR 2023, arXiv:2206.02680",
        variants={f"os{stride}": {"output_stride": stride} for stride in (8, 16)},
    ),
    "mobilevitv2_relu": Network(
        "mobilevitv2.mobilevitv2_relu",
        64,
        "Mehta and Rastegari, TMLR 2023, arXiv:2206.02680",
        variants={f"os{stride}": {"output_stride": stride} for stride in (8, 16)},
    ),
    "deeplabv3plus_mobilenet": Network(
        "deeplabv3plus.deeplabv3plus_mobilenet", 16, "Chen et al., ECCV 2018, arXiv:1802.02611"
    ),
    "deeplabv3plus_resnet101": Network(
        "deeplabv3plus.deeplabv3plus_resnet101", 16, "Chen et al., ECCV 2018, arXiv:1802.02611"
    ),
    "mk_unet": Network("mk_unet.mk_unet", 32, "Rahman and Marculescu, 2025, arXiv:2509.18493", variants=_MK_UNETS),
    "mk_unet_relu": Network(
        "mk_unet.mk_unet_relu", 32, "Rahman and Marculescu, 2025, arXiv:2509.18493", variants=_MK_UNETS
    ),
    "cmunext_s": Network("cmunext.cmunext_s", 16, "Tang et al., ISBI 2024, arXiv:2308.01239"),
    "cmunext_s_relu": Network("cmunext.cmunext_s_relu", 16, "Tang et al., ISBI 2024, arXiv:2308.01239"),
    "mobile_cmunext": Network("cmunext.mobile_cmunext", 16, "Mobile-CMUNeXt, IEEE YEF-ECE 2025"),
    "simple_unet": Network(
        "simple_unet.simple_unet",
        16,
        "Yu et al., 2025, arXiv:2506.13415",
        variants={str(width): {"width": width} for width in (16, 32, 64)},
    ),
}


def network(name: str, *, image_size: int | None = None) -> tuple[Network, Mapping[str, Any]]:
    """Return the row of a network and the options of its variant ("lighter_unet@16").

    Raises:
        InputError: no such network or variant, or an `image_size` in pixels that the network cannot take.
    """
    base, at, variant = name.partition("@")
    if base not in MODELS:
        near = difflib.get_close_matches(base, MODELS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(MODELS)}"
        raise InputError(f"unknown model {name!r}: {hint}")
    row = MODELS[base]
    if at and variant not in row.variants:
        known = f"has {', '.join(f'{base}@{key}' for key in row.variants)}" if row.variants else "has no variants"
        raise InputError(f"unknown model {name!r}: {base} {known}")
    if image_size is not None and image_size % row.stride:
        low = max(row.stride, image_size // row.stride * row.stride)
        raise InputError(
            f"image_size = {image_size}: {base} takes multiples of {row.stride}, such as {low} or {low + row.stride}"
        )
    return row, row.variants.get(variant, {})


def build(name: str, input_shape: tuple[int, int, int], classes: int, *, presence: str | None = None) -> Any:
    """Build a network from the table.

    Args:
        name: a key of MODELS, with "@variant" where it has variants.
        input_shape: (H, W, C) of one image.
        classes: channels of the logits; 1 means foreground against background.
        presence: the layer that a presence head stands on (tfseg.models.presence), "" for the deepest; None for none.

    Returns:
        A keras.Model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits.
    """
    _, options = network(name)
    for side in input_shape[:2]:
        network(name, image_size=side)
    model = builder(name)(input_shape, classes, **options)
    if presence is None:
        return model
    from tfseg.models.presence import with_presence

    return with_presence(model, presence)


def names() -> list[str]:
    """Return every name that `build` takes: the networks of the table, each followed by its variants."""
    return [name for base, row in MODELS.items() for name in (base, *(f"{base}@{key}" for key in row.variants))]


def load(path: str | Path) -> Any:
    """Read a .keras file of tfseg: a keras.Model from (B, H, W, C) images in [0, 1] to (B, H, W, K) logits.

    Raises:
        InputError: the file is missing, damaged or another tool's.
    """
    from tfseg.models.files import open_file

    return open_file(Path(path))[0]


def builder(name: str) -> Callable[..., Any]:
    """Import the module of a network, which registers its layers with Keras, and return the function that builds it."""
    module, function = network(name)[0].builder.split(".")
    return getattr(importlib.import_module(f"tfseg.models.{module}"), function)
