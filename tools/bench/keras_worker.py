"""One training step of a network of tfseg.models, as tfseg trains it: `train_on_batch` of the compiled model.

A second argument, "stock", puts Keras' own layers in place of those of tfseg.models.layers.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfseg asks, which comes too late here

import keras
import numpy as np
import tensorflow as tf
from worker import Settings, serve

from tfseg import losses, models
from tfseg.models.adam import Adam


def prepare(settings: Settings) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Build the network and its training step."""
    model = compiled(settings, stock=sys.argv[2:] == ["stock"])
    image, mask = (tf.constant(x) for x in settings.batch())
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    return lambda: model.train_on_batch(image, mask), {"parameters": parameters, "versions": versions}


def compiled(settings: Settings, *, stock: bool = False) -> keras.Model:
    """Build and compile a network with float32 weights, that computes in the precision of the settings."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if settings.precision == "bfloat16" else "float32")
    model = models.build(settings.name, (settings.image_size, settings.image_size, 3), 1)
    if stock:
        model = keras.models.clone_model(model, clone_function=stock_layer)
    optimizer = keras.optimizers.Adam() if stock else Adam()
    model.compile(optimizer, losses.loss("dice").load(), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def stock_layer(layer: keras.Layer) -> keras.Layer:
    """Return Keras' layer in place of one of ours; an Upsample that aligns corners becomes one that does not."""
    if type(layer).__module__ != "tfseg.models.layers":
        return layer.__class__.from_config(layer.get_config())
    config = {key: value for key, value in layer.get_config().items() if key != "align_corners"}
    return type(layer).__bases__[0].from_config(config)


if __name__ == "__main__":
    serve(prepare)
