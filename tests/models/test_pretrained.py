"""Pretrained encoders: the features are the original's, images in [0, 1] go in, and what fails is said in one line.

The originals are built by keras.applications and keras-cv and filled with random numbers. Before they are compared with
our networks, they are changed exactly as the docstring of `load_pretrained` says that ours depart from them.
"""

import dataclasses
import functools
import importlib.machinery
import importlib.util
import json
import re
import socket
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.errors import InputError, WorkError
from tfseg.models import build, pretrained
from tfseg.models.files import Card, save
from tfseg.models.lraspp import BLOCKS
from tfseg.models.pretrained import SOURCES, check, fetch, fill, load_pretrained

SIZE = 64


@dataclasses.dataclass(frozen=True)
class Case:
    """A network of ours and its original.

    Attributes:
        name: of our network.
        application: of the original, in keras.applications.
        prepare: what images of the original go through, and the pixels that its first convolution pads.
        options: what its layers have for ours to be equal, by name.
        pads: zeros around what a layer is given, by its name.
        features: our layers and the original's that must agree, the ends of the encoder among them.
    """

    name: str
    application: Callable[..., keras.Model]
    prepare: Callable[[np.ndarray], np.ndarray]
    border: int
    options: Mapping[str, dict[str, Any]]
    pads: Mapping[str, int]
    features: Mapping[str, str]


FCN = Case(
    name="fcn8s",
    application=keras.applications.VGG16,
    prepare=keras.applications.vgg16.preprocess_input,
    border=1,
    options={"block1_conv1": {"padding": "valid"}},
    pads={},
    features={f"block{block}_pool": f"block{block}_pool" for block in (1, 3, 5)},
)

MOBILENET = Case(
    name="deeplabv3plus_mobilenet",
    application=keras.applications.MobileNetV2,
    prepare=keras.applications.mobilenet_v2.preprocess_input,
    border=1,
    options={"Conv1": {"padding": "valid"}}
    | {f"block_{block}_depthwise": {"padding": "valid"} for block in range(1, 16)}
    | {f"block_{block}_pad": {"padding": 0} for block in (1, 3, 6, 13)}
    | {"block_13_depthwise": {"strides": 1}, "block_16_depthwise": {"padding": "valid", "dilation_rate": 2}},
    pads={f"block_{block}_expand": 1 for block in range(1, 16)} | {"block_16_expand": 2},
    features={"block3_add": "block_2_add", "block17_project_norm": "block_16_project_BN"},
)

_LAST = {f"expanded_conv_{block}_depthwise": {"dilation_rate": 2} for block in (12, 13, 14)}
_LAST["expanded_conv_12_depthwise"] = {"dilation_rate": 2, "strides": 1}
_PADS = {f"expanded_conv_{block}_depthwise_pad": {"padding": pad} for block, pad in ((1, 1), (3, 2), (6, 1), (12, 4))}

LRASPP = Case(
    name="lraspp_mobilenetv3",
    application=keras.applications.MobileNetV3Large,
    prepare=keras.applications.mobilenet_v3.preprocess_input,
    border=1,
    options={"conv": {"padding": "valid"}} | _PADS | _LAST,
    pads={},
    features={
        "block4_project_norm": "expanded_conv_3_project_bn",
        "block12_add": "expanded_conv_11_add",
        "last_norm": "conv_1_bn",
    },
)

RESNET = Case(
    name="deeplabv3plus_resnet101",
    application=keras.applications.ResNet101,
    prepare=keras.applications.resnet.preprocess_input,
    border=3,
    options={"conv1_pad": {"padding": 0}}
    | {f"conv{stage}_block1_1_conv": {"strides": 1} for stage in (3, 4, 5)}
    | {f"conv{stage}_block1_2_conv": {"strides": 2, "padding": "valid"} for stage in (3, 4)}
    | {f"conv5_block{block}_2_conv": {"dilation_rate": 2**block} for block in (1, 2, 3)}
    | {"conv5_block1_0_conv": {"strides": 1}},
    pads={"conv3_block1_2_conv": 1, "conv4_block1_2_conv": 1},
    features={
        "stem_relu": "conv1_relu",
        "layer1_block2_relu": "conv2_block3_out",
        "layer4_block2_relu": "conv5_block3_out",
    },
)

ALL = {case.name: case for case in (FCN, MOBILENET, LRASPP, RESNET)}
CASES = [pytest.param(case, id=name, marks=[pytest.mark.slow] * (case is RESNET)) for name, case in ALL.items()]


@pytest.fixture(scope="module")
def original(fill_weights: Callable[..., None]) -> Callable[[Case], keras.Model]:
    """Build the original of a case, once, with random weights."""

    @functools.cache
    def make(name: str) -> keras.Model:
        model = getattr(keras.applications, name)(include_top=False, weights=None)
        fill_weights(model)
        return model

    return lambda case: make(case.application.__name__)


@pytest.fixture(scope="module")
def filled(original: Callable[[Case], keras.Model]) -> Callable[[Case, int], keras.Model]:
    """Build our network of a case for a number of input channels, once, its encoder filled from the original."""

    @functools.cache
    def make(name: str, channels: int) -> keras.Model:
        model = build(name, (SIZE, SIZE, channels), 1)
        fill(model, source(name), original(ALL[name]))
        return model

    return lambda case, channels: make(case.name, channels)


def source(name: str, weights: str = "imagenet") -> pretrained.Source:
    """Return the row of a network."""
    return next(row for row in SOURCES if name in row.networks and row.weights == weights)


def departed(original: keras.Model, options: Mapping[str, dict[str, Any]], pads: Mapping[str, int]) -> keras.Model:
    """Copy a network with other options of some layers, and zeros around what some are given."""

    def clone(layer: keras.Layer) -> keras.Layer:
        return layer.__class__.from_config(layer.get_config() | options.get(layer.name, {}))

    def call(layer: keras.Layer, *inputs: Any, **keywords: Any) -> Any:
        if layer.name in pads:
            return layer(keras.layers.ZeroPadding2D(pads[layer.name])(*inputs))
        return layer(*inputs, **keywords)

    copy = keras.models.clone_model(original, clone_function=clone, call_function=call)
    copy.set_weights(original.get_weights())
    return copy


def features(model: keras.Model, names: Any, images: np.ndarray) -> list[np.ndarray]:
    """Return what some layers make of images."""
    maps = keras.Model(model.input, [model.get_layer(name).output for name in names])(images)
    return [np.asarray(array) for array in maps]


def assert_same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """Compare feature maps everywhere."""
    for our, their in zip(ours, theirs, strict=True):
        assert their.std() > 1e-3 * np.abs(their).max()  # there is something to compare
        # The same sums in another order, with 255 and the colours' means inside the kernel: 1e-5 of the range was seen.
        np.testing.assert_allclose(our, their, rtol=0, atol=1e-4 * np.abs(their).max())


def random_images(channels: int) -> np.ndarray:
    return np.random.default_rng(1).random((2, SIZE, SIZE, channels), np.float32)


@pytest.mark.parametrize("case", CASES)
def test_features_are_those_of_the_original(
    case: Case, original: Callable[[Case], keras.Model], filled: Callable[[Case, int], keras.Model]
) -> None:
    images = random_images(3)
    around = ((0, 0), (case.border, case.border), (case.border, case.border), (0, 0))
    theirs = departed(original(case), case.options, case.pads)
    expected = features(theirs, case.features.values(), case.prepare(255 * np.pad(images, around)))
    assert_same(features(filled(case, 3), case.features, images), expected)


@pytest.mark.parametrize("case", CASES)
def test_one_channel_is_the_grey_image_three_times(case: Case, filled: Callable[[Case, int], keras.Model]) -> None:
    grey = random_images(1)
    assert_same(
        features(filled(case, 1), case.features, grey),
        features(filled(case, 3), case.features, np.repeat(grey, 3, axis=-1)),
    )


@pytest.mark.parametrize("case", CASES)
def test_all_of_the_encoder_is_filled_and_none_of_the_decoder(
    case: Case, original: Callable[[Case], keras.Model], filled: Callable[[Case, int], keras.Model]
) -> None:
    model = filled(case, 3)
    encoder = keras.Model(model.input, [model.get_layer(name).output for name in case.features])
    expected = [variable.path for variable in encoder.variables]
    before = {variable.path: np.asarray(variable).copy() for variable in model.variables}
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 7, variable.dtype))
    count = fill(model, source(case.name), original(case))
    changed = [variable.path for variable in model.variables if not (np.asarray(variable) == 7).all()]
    assert sorted(changed) == sorted(expected)
    assert len(expected) == count
    for variable in model.variables:
        if variable.path in expected:
            np.testing.assert_array_equal(variable, before[variable.path])
        variable.assign(before[variable.path])


def test_relu_form_has_the_same_weights(
    original: Callable[[Case], keras.Model], filled: Callable[[Case, int], keras.Model]
) -> None:
    model = build("lraspp_mobilenetv3_relu", (SIZE, SIZE, 3), 2)
    count = fill(model, source(model.name), original(LRASPP))
    expected = {variable.path: variable for variable in filled(LRASPP, 3).variables}
    same = [variable.path for variable in model.variables if np.array_equal(variable, expected[variable.path])]
    assert len([path for path in same if not path.startswith(("head", "low_", "high_"))]) == count


def _without(layers: dict[str, Any]) -> dict[str, Any]:
    return {name: layer for name, layer in layers.items() if name != "block3_conv2"}


def _elsewhere(layers: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("block3_conv2", "block6_conv1"): layer for name, layer in layers.items()}


def _exchanged(layers: dict[str, Any]) -> dict[str, Any]:
    return layers | {"block3_conv2": layers["block3_conv1"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_without, r"fcn8s: block3_conv2/kernel \(nothing for it\), block3_conv2/bias \(no", id="missing"),
        pytest.param(_elsewhere, r"block6_conv1/kernel \(no place for it\), block6_conv1/bias \(no place", id="extra"),
        pytest.param(_exchanged, r"fcn8s: block3_conv2/kernel \(3x3x256x256 here, 3x3x128x256 there\)$", id="shape"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    message: str,
    original: Callable[[Case], keras.Model],
    filled: Callable[[Case, int], keras.Model],
) -> None:
    row = source("fcn8s")
    before = np.asarray(filled(FCN, 3).get_layer("block1_conv1").kernel).copy()
    changed = dataclasses.replace(row, layers=lambda network: change(dict(row.layers(network))))
    with pytest.raises(InputError, match=message) as error:
        fill(filled(FCN, 3), changed, original(FCN))
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(filled(FCN, 3).get_layer("block1_conv1").kernel, before)


def test_other_channels_are_refused(original: Callable[[Case], keras.Model]) -> None:
    with pytest.raises(InputError, match=r"weights = 'imagenet' go with 1 or 3 input channels, and fcn8s has 4"):
        fill(build("fcn8s", (32, 32, 4), 1), source("fcn8s"), original(FCN))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        pytest.param(
            "fcn8s", "imagnet", r"'imagnet': fcn8s takes imagenet, or the path of a .keras file", id="unknown"
        ),
        pytest.param("segformer_b0", "imagenet", r"segformer_b0 takes mit_b0_imagenet, or the path", id="other"),
        pytest.param(
            "unet", "imagenet", r"unet takes the path .* only; .* imagenet for fcn32s, fcn16s", id="no-encoder"
        ),
        pytest.param("lighter_unet@16", "imagenet", r"'imagenet': lighter_unet takes the path", id="variant"),
        pytest.param("unett", "imagenet", r"unknown model 'unett': did you mean unet\?", id="no-network"),
        pytest.param("unet", "gone/model.keras", r"^gone/model.keras: no such file$", id="no-file"),
    ],
)
def test_wrong_names_are_refused_in_one_line(name: str, weights: str, message: str) -> None:
    for function in (check, fetch):
        with pytest.raises(InputError, match=message) as error:
            function(name, weights)
        assert "\n" not in str(error.value)


def test_presets_need_keras_cv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    with pytest.raises(
        InputError, match=r"^weights = 'mit_b0_imagenet' needs keras-cv: pip install 'tfseg\[keras-cv\]'$"
    ):
        check("segformer_b0_bn", "mit_b0_imagenet")


def _proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    monkeypatch.setattr("urllib.request._opener", None)  # it remembers the first proxy that it saw


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Send every download to a port where nobody listens, keep nothing, and return the folder of Keras."""
    _proxy(monkeypatch, 9)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    (tmp_path / "keras").mkdir()
    return tmp_path / "keras"


def test_no_network_is_one_line(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    message = (
        rf"^{file}: no download \(.*refused.*\): try again with a network, or get https://\S+/{file} and put it into "
    )
    start = time.monotonic()
    with pytest.raises(WorkError, match=message + re.escape(str(offline / "models")) + "$"):
        fetch("fcn8s", "imagenet")
    assert time.monotonic() - start < 5
    assert list((offline / "models").iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_silent_server_is_no_network(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_SILENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        _proxy(monkeypatch, server.getsockname()[1])
        with pytest.raises(WorkError, match="timed out"):
            fetch("lraspp_mobilenetv3", "imagenet")
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def keras_cv_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it look as if keras-cv were installed."""
    module = types.ModuleType("keras_cv")
    module.__spec__ = importlib.machinery.ModuleSpec("keras_cv", None)
    monkeypatch.setitem(sys.modules, "keras_cv", module)


def test_no_connection_to_kaggle_is_one_line(offline: Path, keras_cv_found: None) -> None:
    start = time.monotonic()
    with pytest.raises(
        WorkError, match=r"^keras/mit/keras/mit_b0_imagenet/2: no download .* copy \S+/mit_b0_imagenet with"
    ):
        fetch("segformer_b0", "mit_b0_imagenet")
    assert time.monotonic() - start < 5


def test_a_preset_that_lies_there_needs_no_network(offline: Path, keras_cv_found: None, tmp_path: Path) -> None:
    variation = tmp_path / "kagglehub" / "models" / "keras" / "mit" / "keras" / "mit_b0_imagenet"
    for folder in (variation / "2", variation / ".complete" / "2"):
        folder.mkdir(parents=True)
    for name, content in (("config.json", json.dumps({"weights": "model.weights.h5"})), ("model.weights.h5", "")):
        (variation / "2" / name).write_text(content)
        (variation / ".complete" / "2" / f"{name}.complete").touch()
    assert fetch("segformer_b0", "mit_b0_imagenet") == variation / "2"


def test_a_file_that_lies_there_is_loaded(
    offline: Path, original: Callable[[Case], keras.Model], filled: Callable[[Case, int], keras.Model]
) -> None:
    file = offline / "models" / source("deeplabv3plus_mobilenet").origin.rpartition("/")[2]
    file.parent.mkdir()
    original(MOBILENET).save(file)
    model = build("deeplabv3plus_mobilenet", (SIZE, SIZE, 3), 4)
    assert (
        load_pretrained(model, "deeplabv3plus_mobilenet", "imagenet") == 5 * 51
    )  # a kernel and four numbers of batch norm
    for name in ("stem_conv", "block17_project_norm"):
        np.testing.assert_array_equal(
            model.get_layer(name).variables[-1], filled(MOBILENET, 3).get_layer(name).variables[-1]
        )
    file.write_bytes(b"<html>403</html>")
    with pytest.raises(InputError, match=rf"{re.escape(str(file))}: not the weights that it should be \(.*remove it"):
        load_pretrained(model, "deeplabv3plus_mobilenet", "imagenet")


@pytest.mark.parametrize("case", CASES)
def test_files_are_those_that_keras_asks_for(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def get_file(name: str, origin: str, *, cache_subdir: str, file_hash: str | None = None) -> str:
        asked.update(name=name, origin=origin, folder=cache_subdir, md5=file_hash)
        raise LookupError

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(LookupError):
        case.application(include_top=False, input_shape=(224, 224, 3))
    row = source(case.name)
    assert asked == {
        "name": row.origin.rpartition("/")[2],
        "origin": row.origin,
        "folder": "models",
        "md5": row.md5,
    }


def write(path: Path, name: str, channels: int, classes: int, fill_weights: Callable[..., None]) -> keras.Model:
    """Write a network file with random weights."""
    model = build(name, (16, 16, channels), classes)
    fill_weights(model)
    card = Card(
        model=name,
        classes=tuple(f"class{number}" for number in range(classes)),
        activation="sigmoid",
        threshold=0.5,
        largest_component=False,
        dataset="nerve",
        fingerprint="0" * 64,
        phantom=True,
        fold=0,
    )
    save(model, path, card)
    return model


@pytest.mark.parametrize("classes", [2, 3])
def test_a_network_file_is_copied_but_for_other_classes(
    tmp_path: Path, fill_weights: Callable[..., None], classes: int
) -> None:
    trained = write(tmp_path / "model.keras", "segresnet", 1, 2, fill_weights)
    model = build("segresnet", (8, 8, 1), classes)
    logits = np.asarray(model.get_layer("logits").kernel).copy()
    count = load_pretrained(model, "segresnet", str(tmp_path / "model.keras"))
    assert count == len(trained.variables) - (2 if classes == 3 else 0)
    for ours, theirs in zip(model.variables, trained.variables, strict=True):
        if classes == 2 or not ours.path.startswith("logits/"):
            np.testing.assert_array_equal(ours, theirs)
    if classes == 3:
        np.testing.assert_array_equal(model.get_layer("logits").kernel, logits)


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        pytest.param("segresnet_bn", 1, r"holds a segresnet, which a segresnet_bn cannot start from$", id="network"),
        pytest.param(
            "segresnet", 3, r"does not fit segresnet: stem_conv/kernel \(3x3x3x8 here, 3x3x1x8 there\)$", id="channels"
        ),
    ],
)
def test_another_network_file_is_refused(
    tmp_path: Path, fill_weights: Callable[..., None], name: str, channels: int, message: str
) -> None:
    path = tmp_path / "model.keras"
    write(path, "segresnet", 1, 2, fill_weights)
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: {message}"):
        load_pretrained(build(name, (8, 8, channels), 2), name, str(path))


@pytest.fixture
def keras_cv() -> Any:
    """keras-cv, where it is installed."""
    return pytest.importorskip("keras_cv", reason="needs keras-cv: pip install 'tfseg[keras-cv]'")


def write_preset(keras_cv: Any, network: keras.Model, row: pretrained.Source, cache: Path) -> None:
    """Save a network as keras-cv would, in the folder where kagglehub keeps the preset of a row."""
    save_to_preset = importlib.import_module("keras_cv.src.utils.preset_utils").save_to_preset
    folder = cache / "models" / row.origin.removeprefix("kaggle://")
    save_to_preset(network, str(folder))
    for name in ("config.json", "model.weights.h5"):
        marker = folder.parent / ".complete" / folder.name / f"{name}.complete"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def patches(self: Any, x: Any) -> Any:
    """Patches as ours are: padded alike on all sides."""
    pad = self.patch_size // 2
    x = ops.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    x = ops.conv(x, self.proj.kernel, self.stride, "valid") + self.proj.bias
    return self.norm(ops.reshape(x, (x.shape[0], -1, x.shape[-1])))


def attention(self: Any, x: Any) -> Any:
    """Attention as the paper has it: tokens stay where they are when keys and values are reduced."""
    batch, tokens, channels = x.shape
    side, reduced = round(tokens**0.5), x

    def heads(tokens: Any) -> Any:  # (B, N, C) -> (B, heads, N, C / heads)
        split = ops.reshape(tokens, (batch, -1, self.num_heads, channels // self.num_heads))
        return ops.transpose(split, (0, 2, 1, 3))

    if self.sr_ratio > 1:
        grid = self.sr(ops.reshape(x, (batch, side, side, channels)))
        reduced = self.norm(ops.reshape(grid, (batch, -1, channels)))
    scores = heads(self.q(x)) @ ops.transpose(heads(self.k(reduced)), (0, 1, 3, 2)) * self.scale
    context = ops.transpose(ops.softmax(scores) @ heads(self.v(reduced)), (0, 2, 1, 3))
    return self.proj(ops.reshape(context, (batch, tokens, channels)))


@pytest.mark.slow
def test_segformer_starts_from_keras_cv(
    keras_cv: Any, offline: Path, monkeypatch: pytest.MonkeyPatch, fill_weights: Callable[..., None]
) -> None:
    row = source("segformer_b0", "mit_b0_imagenet")
    assert keras_cv.models.MiTBackbone.presets_with_weights[row.weights]["kaggle_handle"] == row.origin
    original = keras_cv.models.MiTBackbone(
        include_rescaling=True, depths=[2] * 4, input_shape=(SIZE, SIZE, 3), embedding_dims=[32, 64, 160, 256]
    )
    fill_weights(original)
    write_preset(keras_cv, original, row, offline.parent / "kagglehub")
    model, shipping = (build(name, (SIZE, SIZE, 3), 1) for name in row.networks)
    encoder = keras.Model(model.input, [model.get_layer(f"stage{stage}_norm").output for stage in range(4)])
    assert load_pretrained(model, "segformer_b0", row.weights) == len(encoder.trainable_variables)
    assert load_pretrained(shipping, "segformer_b0_bn", row.weights) == len(encoder.trainable_variables)

    block = importlib.import_module("keras_cv.src.layers.hierarchical_transformer_encoder")
    monkeypatch.setattr(keras_cv.layers.OverlappingPatchingAndEmbedding, "call", patches)
    monkeypatch.setattr(keras_cv.layers.SegFormerMultiheadAttention, "call", attention)
    monkeypatch.setattr(block.ops.nn, "gelu", functools.partial(keras.ops.gelu, approximate=False))
    for layer in original._flatten_layers():
        if isinstance(layer, keras.layers.LayerNormalization):
            layer.epsilon = 1e-5
    images = random_images(3)
    stages = [f"output_level_{stage}" for stage in range(4)]
    assert_same(
        features(model, [f"stage{stage}_norm" for stage in range(4)], images), features(original, stages, 255 * images)
    )
    for layer in ("stage1_block1_norm2", "stage3_norm"):
        np.testing.assert_array_equal(shipping.get_layer(layer).gamma, model.get_layer(layer).gamma)
        np.testing.assert_array_equal(shipping.get_layer(layer).beta, model.get_layer(layer).beta)
        np.testing.assert_array_equal(shipping.get_layer(layer).moving_mean, 0)


@pytest.mark.slow
def test_lraspp_starts_from_keras_cv(keras_cv: Any, offline: Path, fill_weights: Callable[..., None]) -> None:
    row = source("lraspp_mobilenetv3", "mobilenet_v3_large_imagenet")
    assert keras_cv.models.MobileNetV3Backbone.presets_with_weights[row.weights]["kaggle_handle"] == row.origin
    widths = [16, *(block.out for block in BLOCKS)]
    original = keras_cv.models.MobileNetV3Backbone(
        stackwise_expansion=[block.expanded / width for block, width in zip(BLOCKS, widths, strict=False)],
        stackwise_filters=widths[1:],
        stackwise_kernel_size=[block.size for block in BLOCKS],
        stackwise_stride=[2 if number == 12 else block.stride for number, block in enumerate(BLOCKS)],
        stackwise_se_ratio=[0.25 if block.squeeze else None for block in BLOCKS],
        stackwise_activation=[block.activation for block in BLOCKS],
        include_rescaling=True,
    )
    fill_weights(original)
    write_preset(keras_cv, original, row, offline.parent / "kagglehub")
    model = build("lraspp_mobilenetv3", (SIZE, SIZE, 3), 1)
    assert load_pretrained(model, "lraspp_mobilenetv3", row.weights) == 5 * (3 * 15 - 1 + 2) + 4 * 8
    names = {"block4_project_norm": "expanded_conv_3_project_BatchNorm", "last_norm": "Conv_1_BatchNorm"}
    plain = keras.Model(original.input, original.output)
    theirs = departed(plain, {"Conv": {"padding": "valid"}} | _PADS | _LAST, {"Conv": 1})
    images = random_images(3)
    assert_same(features(model, names, images), features(theirs, names.values(), 255 * images))
