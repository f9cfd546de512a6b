"""What every network of the ultrasound papers promises: parameters, goldens, files, a training step, conversion."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfseg.errors import InputError
from tfseg.models import MODELS, build
from tfseg.models.cost import gmac, parameters

PARAMETERS = {  # trainable, three channels in, one class
    "lite_unet": 723_545,  # ours
    "lite_unet@80": 267_761,
    "segresnet": 395_121,  # MONAI
    "segresnet_bn": 395_121,
    "lraspp_mobilenetv3": 3_218_138,  # torchvision
    "lraspp_mobilenetv3_relu": 3_218_138,
    "segformer_b0": 3_714_401,  # Hugging Face
    "segformer_b0_bn": 3_714_401,
    "mobilevitv2": 13_308_394,  # Hugging Face
    "mobilevitv2_relu": 13_308_394,
    "mobilevitv2_relu@os16": 13_308_394,
    "deeplabv3plus_mobilenet": 5_810_913,  # the sum of the paper's tables
    "deeplabv3plus_resnet101": 59_339_169,
    "mk_unet": 315_451,  # these as PUBLISHED explains, for three channels
    "mk_unet_relu": 315_353,
    "cmunext_s": 417_505,
    "cmunext_s_relu": 417_505,
    "mobile_cmunext": 46_569,
    "simple_unet": 63_441,
}
PUBLISHED = {  # channels, trainable parameters, those that we leave out, million multiplications of 256x256 pixels
    "mk_unet@t": (3, 27_384, 31, 50),  # unused 1x1 heads of 16, 8 and 4 channels, with biases
    "mk_unet@s": (3, 93_050, 59, 104),  # of 32, 16 and 8
    "mk_unet": (3, 315_566, 115, 278),  # of 64, 32 and 16
    "cmunext_s": (1, 417_361, 0, 1003),
    "cmunext_s_relu": (1, 417_361, 0, 1003),
    "mobile_cmunext": (1, 46_425, 0, 392),
    "simple_unet@16": (1, 16_010, 4 * 16 + 1, 172),  # factors that stay at 1, and scale and shift for a bias
    "simple_unet@32": (1, 62_994, 4 * 32 + 1, 667),
    "simple_unet": (1, 62_994, 4 * 32 + 1, 667),
    "simple_unet@64": (1, 249_890, 4 * 64 + 1, 2629),
}
SMALL = ("lite_unet", "mk_unet", "mk_unet_relu", "cmunext_s", "cmunext_s_relu", "mobile_cmunext", "simple_unet")
# A millionth more light moves the logits of a random one of these by up to a thousandth of their range.
CHAOTIC = ("mk_unet", "mk_unet_relu", "cmunext_s", "cmunext_s_relu", "mobile_cmunext")


def quick(*names: str) -> list[Any]:
    """All networks, of which these are tested quickly enough to be tested every time."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in PARAMETERS]


def image(height: int, width: int, channels: int, *, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(5).uniform(0, 1, (batch, height, width, channels)).astype("float32")


def side(name: str) -> int:
    return max(32, MODELS[name.partition("@")[0]].stride)


def settle(model: keras.Model, x: np.ndarray) -> None:
    """Take the moving averages from one batch: with random ones, the activations of a deep network explode."""
    kept = []
    for layer in model.layers:
        if layer.name.endswith("_3_norm"):
            # The 33 branches of a random ResNet-101 move the logits by 1e-2 for 1e-6 in the image; faint ones do not.
            layer.gamma.assign(0.1 * layer.gamma)
        for option in ("momentum", "rate"):  # of batch norm and of dropout
            if hasattr(layer, option):
                kept.append((layer, option, getattr(layer, option)))
                setattr(layer, option, 0.0)
    model(x, training=True)
    for layer, option, value in kept:
        setattr(layer, option, value)


@pytest.fixture
def precise(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compute in float64 what float32 leaves to chance."""
    policy = keras.config.dtype_policy()
    if request.node.callspec.params["name"] in CHAOTIC:
        keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(autouse=True)
def _forget_models() -> Any:
    yield
    keras.backend.clear_session()


@pytest.mark.parametrize(
    "name", quick("segresnet", "lraspp_mobilenetv3", "segformer_b0", "mobilevitv2", "deeplabv3plus_mobilenet")
)
def test_trainable_parameters(name: str) -> None:
    model = build(name, (64, 64, 3), classes=1)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == PARAMETERS[name]
    assert model.name == name.partition("@")[0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name: str) -> None:
    channels, published, left_out, millions = PUBLISHED[name]
    model = build(name, (256, 256, channels), classes=1)
    assert parameters(model) == published - left_out
    assert gmac(model) * 1e3 == pytest.approx(millions, abs=1)


@pytest.mark.parametrize("name", quick("segresnet", "lraspp_mobilenetv3", "segformer_b0", "mobilevitv2", *SMALL))
def test_logits_follow_the_golden(
    name: str, fill_weights: Callable[..., None], golden: Callable[[str, Any], None], precise: None
) -> None:
    height, width = side(name), 2 * side(name)
    model = build(name, (height, width, 3), classes=2)
    fill_weights(model)
    settle(model, image(height, width, 3, batch=8))
    logits = model(image(height, width, 3))
    assert logits.shape == (1, height, width, 2)
    golden(name, logits[0, 3 :: height // 4, 5 :: width // 4])  # (4, 4, 2)


@pytest.mark.parametrize("name", quick("segresnet", *SMALL))
def test_networks_survive_a_file(name: str, fill_weights: Callable[..., None], tmp_path: Path) -> None:
    model = build(name, (64, 64, 3), classes=2)
    fill_weights(model)
    settle(model, image(64, 64, 3, batch=8))
    model.save(tmp_path / "model.keras")
    x = image(64, 64, 3)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))


def test_sizes_off_the_stride_are_refused() -> None:
    for name in PARAMETERS:
        stride = MODELS[name.partition("@")[0]].stride
        with pytest.raises(InputError, match=f"takes multiples of {stride}"):
            build(name, (stride, stride + 1, 3), classes=1)


@pytest.mark.parametrize("name", quick("segresnet", "segformer_b0", *SMALL))
def test_one_step_lowers_the_loss_with_any_channels_and_classes(name: str) -> None:
    keras.utils.set_random_seed(3)
    height, width = side(name), 2 * side(name)
    model = build(name, (height, width, 2), classes=4)
    assert model.inputs[0].name == "image"
    assert model.output_shape == (None, height, width, 4)
    truth = np.zeros((4, height, width, 4), "float32")
    for row, mask in enumerate(truth):
        mask[: height // 2, row * width // 4 : (row + 1) * width // 4] = 1  # an eighth of the image
    x = 0.5 * image(height, width, 2, batch=4) + 0.5 * truth[..., :2]
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout | keras.layers.SpatialDropout2D):
            layer.rate = 0  # the second loss is comparable with the first
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        first = loss(truth, model(x, training=True))
    gradients = tape.gradient(first, [variable.value for variable in model.trainable_variables])
    # As long a step as would lower the loss by a hundredth if the slope stayed as it is; a fixed rate overshoots where
    # batch norm takes its statistics from the few pixels at the bottom.
    rate = 0.01 * first / sum(tf.reduce_sum(gradient**2) for gradient in gradients)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    second = loss(truth, model(x, training=True))
    assert second < first


@pytest.mark.parametrize("name", quick("segresnet_bn"))
def test_converted_files_agree(name: str, fill_weights: Callable[..., None]) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="runs .tflite files")
    model = build(name, (64, 64, 3), classes=1)
    fill_weights(model)
    settle(model, image(64, 64, 3, batch=8))
    fixed = keras.Input(batch_shape=(1, 64, 64, 3))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, model(fixed)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = interpreter.Interpreter(model_content=converter.convert())
    runner.allocate_tensors()
    x = image(64, 64, 3)
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    expected = np.asarray(model(x))
    converted = runner.get_tensor(runner.get_output_details()[0]["index"])
    # Batch norm is folded into the weights: float32 products in another order, over up to a hundred layers.
    tolerance = 2e-3 if name in CHAOTIC else 1e-4
    np.testing.assert_allclose(converted, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))
    assert max(len(detail["shape"]) for detail in runner.get_tensor_details()) <= 4
    operations = [detail["op_name"] for detail in runner._get_ops_details()]
    assert operations.count("DELEGATE") == 1  # XNNPACK takes all of it
