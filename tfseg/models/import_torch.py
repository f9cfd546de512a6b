"""Weights of the published PyTorch implementations: which of their tensors goes where."""

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfseg.errors import InputError
from tfseg.models import build, lraspp, network


@dataclass(frozen=True)
class Source:
    """Where the tensors of a published implementation go.

    Attributes:
        layers: its modules, "{}" standing for a number, and our layers. "a | b" shares one tensor out to several
            layers, by output channels.
        first: our first layer that has all input channels in each of its kernels.
        last: our layer that gives the logits.
    """

    layers: Mapping[str, str]
    first: str
    last: str


_SEGRESNET = {  # monai.networks.nets.SegResNet(spatial_dims=2)
    "convInit.conv": "stem_conv",
    "down_layers.{}.0.conv": "down{}_conv",
    "down_layers.{}.{}.norm{}": "down{}_block{}_norm{}",
    "down_layers.{}.{}.conv{}.conv": "down{}_block{}_conv{}",
    "up_samples.{}.0.conv": "up{}_conv",
    "up_layers.{}.{}.norm{}": "up{}_block{}_norm{}",
    "up_layers.{}.{}.conv{}.conv": "up{}_block{}_conv{}",
    "conv_final.0": "final_norm",
    "conv_final.2.conv": "logits",
}

_LRASPP = {  # torchvision.models.segmentation.lraspp_mobilenet_v3_large
    "backbone.0.0": "stem_conv",
    "backbone.0.1": "stem_norm",
    "backbone.16.0": "last_conv",
    "backbone.16.1": "last_norm",
    "classifier.cbr.0": "head_conv",
    "classifier.cbr.1": "head_norm",
    "classifier.scale.1": "head_scale",
    "classifier.low_classifier": "low_logits",
    "classifier.high_classifier": "high_logits",
}
for _block in range(1, len(lraspp.BLOCKS) + 1):
    for _position, _part in enumerate(lraspp.block_parts(_block)):
        _theirs, _ours = f"backbone.{_block}.block.{_position}", f"block{_block}_{_part}"
        if _part == "squeeze":
            _LRASPP |= {f"{_theirs}.fc1": f"{_ours}_fc1", f"{_theirs}.fc2": f"{_ours}_fc2"}
        else:
            _LRASPP |= {f"{_theirs}.0": f"{_ours}_conv", f"{_theirs}.1": f"{_ours}_norm"}

_SEGFORMER = {  # transformers.SegformerForSemanticSegmentation, names in its files
    "segformer.encoder.patch_embeddings.{}.proj": "stage{}_patch",
    "segformer.encoder.patch_embeddings.{}.layer_norm": "stage{}_patch_norm",
    "segformer.encoder.block.{}.{}.layer_norm_1": "stage{}_block{}_norm1",
    "segformer.encoder.block.{}.{}.attention.self.query": "stage{}_block{}_attention_query",
    "segformer.encoder.block.{}.{}.attention.self.key": "stage{}_block{}_attention_key",
    "segformer.encoder.block.{}.{}.attention.self.value": "stage{}_block{}_attention_value",
    "segformer.encoder.block.{}.{}.attention.self.sr": "stage{}_block{}_attention_reduction",
    "segformer.encoder.block.{}.{}.attention.self.layer_norm": "stage{}_block{}_attention_reduction_norm",
    "segformer.encoder.block.{}.{}.attention.output.dense": "stage{}_block{}_attention_output",
    "segformer.encoder.block.{}.{}.layer_norm_2": "stage{}_block{}_norm2",
    "segformer.encoder.block.{}.{}.mlp.dense1": "stage{}_block{}_mlp_fc1",
    "segformer.encoder.block.{}.{}.mlp.dwconv.dwconv": "stage{}_block{}_mlp_depthwise",
    "segformer.encoder.block.{}.{}.mlp.dense2": "stage{}_block{}_mlp_fc2",
    "segformer.encoder.layer_norm.{}": "stage{}_norm",
    "decode_head.linear_c.{}.proj": "head_linear{}",
    "decode_head.linear_fuse": "head_fuse",
    "decode_head.batch_norm": "head_norm",
    "decode_head.classifier": "head_classifier",
} | {  # and the names of its modules since transformers 5
    "segformer.stages.{}.patch_embeddings.proj": "stage{}_patch",
    "segformer.stages.{}.patch_embeddings.layer_norm": "stage{}_patch_norm",
    "segformer.stages.{}.blocks.{}.layernorm_before": "stage{}_block{}_norm1",
    "segformer.stages.{}.blocks.{}.attention.q_proj": "stage{}_block{}_attention_query",
    "segformer.stages.{}.blocks.{}.attention.k_proj": "stage{}_block{}_attention_key",
    "segformer.stages.{}.blocks.{}.attention.v_proj": "stage{}_block{}_attention_value",
    "segformer.stages.{}.blocks.{}.attention.sequence_reduction.sequence_reduction": (
        "stage{}_block{}_attention_reduction"
    ),
    "segformer.stages.{}.blocks.{}.attention.sequence_reduction.layer_norm": (
        "stage{}_block{}_attention_reduction_norm"
    ),
    "segformer.stages.{}.blocks.{}.attention.o_proj": "stage{}_block{}_attention_output",
    "segformer.stages.{}.blocks.{}.layernorm_after": "stage{}_block{}_norm2",
    "segformer.stages.{}.blocks.{}.mlp.fc1": "stage{}_block{}_mlp_fc1",
    "segformer.stages.{}.blocks.{}.mlp.dwconv.dwconv": "stage{}_block{}_mlp_depthwise",
    "segformer.stages.{}.blocks.{}.mlp.fc2": "stage{}_block{}_mlp_fc2",
    "segformer.stages.{}.layer_norm": "stage{}_norm",
    "decode_head.linear_projections.{}.proj": "head_linear{}",
}

_QKV = "layer{0}_block{1}_attention_query | layer{0}_block{1}_attention_key | layer{0}_block{1}_attention_value"
_MOBILEVITV2 = {  # transformers.MobileViTV2ForSemanticSegmentation
    "mobilevitv2.conv_stem.convolution": "stem_conv",
    "mobilevitv2.conv_stem.normalization": "stem_norm",
    "mobilevitv2.encoder.layer.{}.layer.{}.expand_1x1.convolution": "layer{}_block{}_expand_conv",
    "mobilevitv2.encoder.layer.{}.layer.{}.expand_1x1.normalization": "layer{}_block{}_expand_norm",
    "mobilevitv2.encoder.layer.{}.layer.{}.conv_3x3.convolution": "layer{}_block{}_depthwise_conv",
    "mobilevitv2.encoder.layer.{}.layer.{}.conv_3x3.normalization": "layer{}_block{}_depthwise_norm",
    "mobilevitv2.encoder.layer.{}.layer.{}.reduce_1x1.convolution": "layer{}_block{}_reduce_conv",
    "mobilevitv2.encoder.layer.{}.layer.{}.reduce_1x1.normalization": "layer{}_block{}_reduce_norm",
    "mobilevitv2.encoder.layer.{}.downsampling_layer.expand_1x1.convolution": "layer{}_down_expand_conv",
    "mobilevitv2.encoder.layer.{}.downsampling_layer.expand_1x1.normalization": "layer{}_down_expand_norm",
    "mobilevitv2.encoder.layer.{}.downsampling_layer.conv_3x3.convolution": "layer{}_down_depthwise_conv",
    "mobilevitv2.encoder.layer.{}.downsampling_layer.conv_3x3.normalization": "layer{}_down_depthwise_norm",
    "mobilevitv2.encoder.layer.{}.downsampling_layer.reduce_1x1.convolution": "layer{}_down_reduce_conv",
    "mobilevitv2.encoder.layer.{}.downsampling_layer.reduce_1x1.normalization": "layer{}_down_reduce_norm",
    "mobilevitv2.encoder.layer.{}.conv_kxk.convolution": "layer{}_local_conv",
    "mobilevitv2.encoder.layer.{}.conv_kxk.normalization": "layer{}_local_norm",
    "mobilevitv2.encoder.layer.{}.conv_1x1.convolution": "layer{}_enter",
    "mobilevitv2.encoder.layer.{}.transformer.layer.{}.layernorm_before": "layer{}_block{}_norm1",
    "mobilevitv2.encoder.layer.{}.transformer.layer.{}.attention.qkv_proj.convolution": _QKV,
    "mobilevitv2.encoder.layer.{}.transformer.layer.{}.attention.out_proj.convolution": (
        "layer{}_block{}_attention_output"
    ),
    "mobilevitv2.encoder.layer.{}.transformer.layer.{}.layernorm_after": "layer{}_block{}_norm2",
    "mobilevitv2.encoder.layer.{}.transformer.layer.{}.ffn.conv{}.convolution": "layer{}_block{}_ffn_conv{}",
    "mobilevitv2.encoder.layer.{}.layernorm": "layer{}_norm",
    "mobilevitv2.encoder.layer.{}.conv_projection.convolution": "layer{}_leave_conv",
    "mobilevitv2.encoder.layer.{}.conv_projection.normalization": "layer{}_leave_norm",
    "segmentation_head.aspp.convs.{}.convolution": "aspp{}_conv",
    "segmentation_head.aspp.convs.{}.normalization": "aspp{}_norm",
    "segmentation_head.aspp.convs.4.conv_1x1.convolution": "aspp_pool_conv",
    "segmentation_head.aspp.convs.4.conv_1x1.normalization": "aspp_pool_norm",
    "segmentation_head.aspp.project.convolution": "aspp_project_conv",
    "segmentation_head.aspp.project.normalization": "aspp_project_norm",
    "segmentation_head.classifier.convolution": "head_classifier",
}


def _unet(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Yingping-LI/Light-U-net on GitHub; what a pair's first and second convolution consist of: theirs -> ours."""
    places = {"inc": "down0"} | {f"down{level}.maxpool_conv.1": f"down{level}" for level in range(1, 5)}
    places |= {f"up{step}.conv": f"up{4 - step}" for step in range(1, 5)}
    layers = {"outc.conv": "logits"}
    for theirs, ours in places.items():
        for number, part, convolution in ((0, "a", first), (3, "b", second)):
            for inner, outer in convolution.items():
                layers[f"{theirs}.double_conv.{number}{inner}"] = f"{ours}{part}_{outer}"
            layers[f"{theirs}.double_conv.{number + 1}"] = f"{ours}{part}_norm"
    return layers


_REGULAR, _GROUPED = {"": "conv"}, {".conv.0": "group", ".conv.1": "point"}

SOURCES: dict[str, Source] = {
    "unet": Source(_unet(_REGULAR, _REGULAR), "down0a_conv", "logits"),
    "light_unet": Source(_unet(_REGULAR, _GROUPED), "down0a_conv", "logits"),
    "lighter_unet": Source(_unet(_GROUPED, _GROUPED), "down0a_point", "logits"),
    "segresnet": Source(_SEGRESNET, "stem_conv", "logits"),
    "lraspp_mobilenetv3": Source(_LRASPP, "stem_conv", "low_logits"),
    "segformer_b0": Source(_SEGFORMER, "stage0_patch", "head_classifier"),
    "mobilevitv2": Source(_MOBILEVITV2, "stem_conv", "head_classifier"),
}

# PyTorch's names of what a layer holds, and ours; of two, the layer has one.
_VARIABLES = {
    "weight": ("kernel", "gamma"),
    "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}


def convert_state_dict(name: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of a published PyTorch implementation under the names and in the layout of ours.

    Args:
        name: a key of SOURCES, with "@variant" where the network has variants.
        state: the state dict, as arrays. Input channels and classes are whatever the tensors say.

    Returns:
        A float32 array for each variable of `tfseg.models.build(name, ...)`, seeds of dropout left out, by its path.

    Raises:
        InputError: no such source, or tensors without a place, of another shape, or missing; the message lists them.
    """
    base = name.partition("@")[0]
    if base not in SOURCES:
        raise InputError(f"model {name!r} takes no PyTorch weights; {', '.join(SOURCES)} do")
    source = SOURCES[base]
    places = {tensor: _places(source, tensor) for tensor in state if not tensor.endswith(".num_batches_tracked")}
    expected = _expected_shapes(name, source, state, places)
    converted: dict[str, np.ndarray] = {}
    problems = []
    for tensor, layers in places.items():
        paths = [path for layer in layers for path in _paths(layer, tensor, expected)]
        if not paths or len(paths) != len(layers):
            problems.append(f"{tensor} (no place for it)")
            continue
        try:
            converted |= _fit(state[tensor], {path: expected[path] for path in paths})
        except ValueError:
            problems.append(f"{tensor} (shape {_text(state[tensor].shape)} does not fit)")
    if problems:
        raise InputError(f"{name}: {len(problems)} of {len(places)} tensors do not fit: {_some(problems)}")
    if missing := [path for path in expected if path not in converted]:
        raise InputError(f"{name}: the weights lack {len(missing)} of {len(expected)} variables: {_some(missing)}")
    return converted


def import_network(name: str, state: Mapping[str, np.ndarray], *, image_size: int) -> keras.Model:
    """Build a network with the input channels, classes and weights of a published implementation's state dict.

    Args:
        name: a key of SOURCES, with "@variant" where the network has variants.
        state: the state dict, as arrays.
        image_size: height and width of the network's input, in pixels.

    Raises:
        InputError: as `convert_state_dict` does, or the network cannot take the size.
    """
    weights = convert_state_dict(name, state)
    source = SOURCES[name.partition("@")[0]]
    channels, classes = weights[f"{source.first}/kernel"].shape[-2], weights[f"{source.last}/kernel"].shape[-1]
    model = build(name, (image_size, image_size, channels), classes)
    assign(model, weights)
    return model


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a .safetensors file, or of a .pt, .pth or .bin file through torch's weights_only loader.

    A dictionary that holds them under "state_dict", "model_state_dict" or "model", as training scripts write it, is
    opened; the prefix "module." of nn.DataParallel is taken off.

    Raises:
        InputError: the file is missing, damaged, of another kind, or holds more than tensors; or torch is missing.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): values for name, values in state.items()}
    return state


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise InputError(f"{path}: weights are read from .safetensors, .pt, .pth and .bin files")
    try:
        import torch  # pyright: ignore[reportMissingImports] - an extra
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: reading it takes torch (pip install torch); .safetensors files do not") from error
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors, which could run foreign code when read; where you trust it, "
            "load it with PyTorch and save its state_dict()"
        ) from error
    except (RuntimeError, ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a file of PyTorch weights ({error})") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(values, torch.Tensor) for values in state.values()):
        raise InputError(f"{path}: not a state dict (names and their tensors)")
    return {name: values.float().numpy() for name, values in state.items()}


def assign(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Set the variables of a network to what `convert_state_dict` returned for it.

    Raises:
        InputError: a shape is another: the network has other input channels or classes than the weights.
    """
    variables = {variable.path: variable for variable in model.variables}
    for path, values in weights.items():
        if tuple(variables[path].shape) != values.shape:
            raise InputError(
                f"{model.name}: {path} is {_text(tuple(variables[path].shape))} here and {_text(values.shape)} in the "
                "weights: build it with their input channels and classes"
            )
    for path, values in weights.items():
        variables[path].assign(values)


def _places(source: Source, tensor: str) -> list[str]:
    """Return our layers that a tensor goes to; none if the table does not know it."""
    module = tensor.rpartition(".")[0]
    exact = source.layers.get(module)
    if exact:
        return exact.split(" | ")
    for theirs, ours in source.layers.items():
        if match := re.fullmatch(re.escape(theirs).replace(r"\{\}", r"(\d+)"), module):
            return ours.format(*match.groups()).split(" | ")
    return []


def _expected_shapes(
    name: str, source: Source, state: Mapping[str, np.ndarray], places: Mapping[str, list[str]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of our variables, in a network of the channels and classes that the tensors have."""
    weights = {layers[0]: state[tensor] for tensor, layers in places.items() if layers and tensor.endswith(".weight")}
    if missing := {source.first, source.last} - weights.keys():
        raise InputError(f"{name}: these are not its weights (nothing in them goes to {' and '.join(sorted(missing))})")
    if any(weights[layer].ndim < 2 for layer in (source.first, source.last)):
        raise InputError(f"{name}: these are not its weights (their first or last layer is no convolution)")
    channels, classes = weights[source.first].shape[1], weights[source.last].shape[0]
    side = 2 * network(name)[0].stride
    model = build(name, (side, side, channels), classes)
    return {variable.path: tuple(variable.shape) for variable in model.variables if "seed" not in variable.name}


def _paths(layer: str, tensor: str, expected: Iterable[str]) -> list[str]:
    suffix = tensor.rpartition(".")[2]
    return [path for kind in _VARIABLES.get(suffix, ()) if (path := f"{layer}/{kind}") in expected]


def _fit(values: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Cut a tensor into output channels for each variable, and turn kernels: (out, in, k, k) to (k, k, in, out).

    Raises:
        ValueError: the shapes differ by more than axes of length 1.
    """
    depthwise = any(len(shape) == 4 and shape[3] == 1 and values.shape[0] == shape[2] != 1 for shape in shapes.values())
    lengths = [values.shape[0]] if depthwise else [shape[-1] for shape in shapes.values()]
    if values.ndim == 0 or sum(lengths) != values.shape[0]:
        raise ValueError
    fitted = {}
    for part, (path, shape) in zip(np.split(values, np.cumsum(lengths)[:-1]), shapes.items(), strict=True):
        if part.ndim == 4:
            part = part.transpose(2, 3, 0, 1) if depthwise else part.transpose(2, 3, 1, 0)
        elif part.ndim == 2:
            part = part.T
        if [side for side in part.shape if side > 1] != [side for side in shape if side > 1]:
            raise ValueError
        fitted[path] = np.ascontiguousarray(part.reshape(shape), "float32")
    return fitted


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"


def _some(names: list[str], limit: int = 20) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
