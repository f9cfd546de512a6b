"""What `tfseg doctor` tries in processes of their own: a broken package may take its process down, or never end.

    python -m tfseg.probe packages MODULE ...     # import each
    python -m tfseg.probe tensorflow MODULE ...   # TensorFlow at work, then import each
    python -m tfseg.probe accelerator             # LiteRT's GPU accelerator
    python -m tfseg.probe kaggle                  # credentials

Each line that starts with SIGN holds JSON: what is tried is told before, and what was found after.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

SIGN = "probe: "  # packages print, too


def main(kind: str, modules: Sequence[str]) -> None:
    """Try one kind of thing, and tell."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if kind in ("packages", "tensorflow"):
        {"packages": packages, "tensorflow": tensorflow}[kind](modules)
    else:
        {"accelerator": accelerator, "kaggle": kaggle}[kind]()


def packages(modules: Sequence[str]) -> None:
    """Import modules."""
    for name in modules:
        _try(name, lambda name=name: bool(importlib.import_module(name)))


def tensorflow(modules: Sequence[str]) -> None:
    """Run one convolution and its gradient in TensorFlow, list its GPUs, then import what stands on TensorFlow."""
    _try("tensorflow", _gpus)
    _try("keras", lambda: bool(importlib.import_module("keras")))
    _try("onednn", _onednn)
    packages(modules)


def accelerator() -> None:
    """Run a network of one addition on the GPU, or the software GPU, that LiteRT finds."""
    from tfseg.lite import gpu

    _try("accelerator", lambda: [gpu.device().name, gpu.device().software])


def kaggle() -> None:
    """Look for credentials without using them."""
    from kagglehub.config import get_kaggle_credentials

    _try("kaggle", lambda: get_kaggle_credentials() is not None)


def _gpus() -> list[str]:
    import tensorflow as tf

    with tf.device("cpu"):
        assert float(tf.reduce_sum(tf.nn.conv2d(tf.ones((1, 3, 3, 1)), tf.ones((3, 3, 1, 1)), 1, "SAME"))) == 49
    return [device.name for device in tf.config.list_physical_devices("GPU")]


def _onednn() -> bool:
    from tfseg.models.layers import groups_train

    return groups_train()


def _try(name: str, find: Callable[[], Any]) -> None:
    """Tell what `find` returns; what it raises, whatever a package may throw, is told in one line."""
    print(SIGN + json.dumps({"trying": name}), flush=True)
    try:
        found = {"found": find()}
    except Exception as error:  # the package is broken, and how is what we were asked
        found = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(SIGN + json.dumps({"name": name} | found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
