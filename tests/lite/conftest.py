"""Small networks as TensorFlow's own converter writes them, without any of our changes."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def plain_tflite(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write `network`, a function of a Keras tensor or a model, as a file of batch 1.

    plain_tflite(network, (H, W, C)), with a `precision` of "float32", "float16", "dynamic", "int8" (in and out, too) or
    "int16"; flex=True allows TensorFlow's operations.
    """

    def convert(
        network: Callable[[Any], Any], shape: tuple[int, ...], *, precision: str = "float32", flex: bool = False
    ) -> Path:
        keras.utils.set_random_seed(0)
        image = keras.Input(batch_shape=(1, *shape), name="image")
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, network(image)))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if flex:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision.startswith("int"):
            rng = np.random.default_rng(0)
            converter.representative_dataset = lambda: ([rng.random((1, *shape), "float32")] for _ in range(4))
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8
                if precision == "int8"
                else tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            ]
            converter.inference_input_type = converter.inference_output_type = tf.as_dtype(precision)
        path = tmp_path_factory.mktemp("tflite") / f"{precision}.tflite"
        with warnings.catch_warnings():
            # The converter misses statistics that only files made without calibration images need.
            warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
            path.write_bytes(converter.convert())
        return path

    return convert


@pytest.fixture(scope="session")
def settled() -> Callable[..., keras.Model]:
    """Draw weights for a model, take its batch norms' statistics from noise, and return it: `settled(model, seed=1)`.

    Kernels are He normal, all else is near 0 or, where it multiplies, near 1. With statistics that are random, too, the
    activations of a deep network would explode.
    """

    def settle(model: keras.Model, *, seed: int = 0) -> keras.Model:
        rng = np.random.default_rng(seed)
        for variable in model.variables:
            shape = tuple(variable.shape)
            if not variable.dtype.startswith("float"):  # seeds of dropout
                continue
            if variable.name in ("gamma", "moving_variance"):
                values = rng.uniform(0.5, 1.5, shape)
            elif "kernel" in variable.name:
                depthwise = len(shape) == 4 and shape[0] > 1 and shape[-1] == 1
                values = rng.normal(0, np.sqrt(2 / np.prod(shape[:2] if depthwise else shape[:-1])), shape)
                if "attention_output" in variable.path:  # random attention without softmax cubes what comes in
                    values *= 0.01
            else:
                values = rng.normal(0, 0.1, shape)
            variable.assign(values)
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
            if norm.name.endswith("_3_norm"):  # the 33 branches of a random ResNet-101 move the logits more than depth
                norm.gamma.assign(0.1 * norm.gamma)
        model(rng.uniform(0, 1, (8, *model.input_shape[1:])).astype("float32"), training=True)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        return model

    return settle
