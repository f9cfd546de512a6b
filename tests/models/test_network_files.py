"""Network files: the same bytes for the same weights, readable in a process that has built nothing."""

import subprocess
import sys

import numpy as np
import pytest

from tfseg import models
from tfseg.errors import InputError
from tfseg.models.files import Card, open_file, save


def card(model):
    return Card(
        model=model,
        classes=("nerve",),
        activation="sigmoid",
        threshold=0.5,
        largest_component=False,
        dataset="nerve",
        fingerprint="0" * 64,
        phantom=True,
        fold=0,
    )


@pytest.mark.parametrize("name", ["nerve_unet", "lighter_unet@16", "segformer_b0_bn"])
def test_a_file_is_read_in_another_process_and_predicts_the_same(tmp_path, fill_weights, name):
    network = models.build(name, (64, 64, 1), 1)
    fill_weights(network)
    path = tmp_path / "network.keras"
    save(network, path, card(name))
    image = np.random.default_rng(0).random((1, 64, 64, 1), np.float32)
    np.save(tmp_path / "image.npy", image)
    script = (
        "import sys, numpy as np; from pathlib import Path; from tfseg.models.files import open_file\n"
        "network, card = open_file(Path(sys.argv[1])); assert card.classes == ('nerve',)\n"
        "np.save(sys.argv[3], network(np.load(sys.argv[2])))"
    )
    arguments = (path, tmp_path / "image.npy", tmp_path / "logits.npy")
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True, capture_output=True)
    # the same operations on the same machine; oneDNN may split sums otherwise in a process with other threads
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), network(image), atol=1e-5, rtol=1e-5)


def test_equal_weights_give_equal_bytes(tmp_path, fill_weights):
    contents = []
    for path in (tmp_path / "one.keras", tmp_path / "two.keras"):
        network = models.build("nerve_unet", (32, 32, 1), 1)
        fill_weights(network)
        save(network, path, card("nerve_unet"))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not a network file"), (b"PK\x03\x04 cut", "not a network file"), (None, "no such file")],
)
def test_what_is_no_network_is_refused(tmp_path, content, reason):
    path = tmp_path / "network.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"network\.keras: .*{reason}"):
        open_file(path)


def test_another_tools_file_is_refused(tmp_path):
    path = tmp_path / "network.keras"
    models.build("nerve_unet", (32, 32, 1), 1).save(path)
    with pytest.raises(InputError, match="not one of tfseg"):
        open_file(path)
