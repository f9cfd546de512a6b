"""`tfseg models` and `tfseg import`, as a user types them."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tfseg import models
from tfseg.models.import_torch import SOURCES

PARAMETERS = {  # trainable, three channels in, one class
    "unet": 17_267_393,  # Li et al., ISBI 2021, as are the next nine
    "light_unet": 11_000_257,
    "lighter_unet@128": 7_944_661,
    "lighter_unet@64": 4_995_541,
    "lighter_unet@32": 3_465_685,
    "lighter_unet@16": 2_700_757,
    "lighter_unet@8": 2_318_293,
    "lighter_unet@4": 2_127_061,
    "lighter_unet@2": 2_031_445,
    "lighter_unet@1": 1_983_583,
    "fcn32s": 18_643_713,
    "fcn16s": 18_643_713,
    "fcn8s": 18_643_713,
    "segresnet": 395_121,  # MONAI
    "segformer_b0": 3_714_401,  # Hugging Face
    "mobilevitv2": 13_308_394,  # Hugging Face
    "lraspp_mobilenetv3": 3_218_138,  # torchvision
}


@pytest.mark.slow
def test_models_are_listed_with_the_published_counts(tfseg) -> None:
    rows = {row["name"]: row for row in json.loads(tfseg("models", "--json").stdout)}
    assert {name: rows[name]["parameters"] for name in PARAMETERS} == PARAMETERS
    assert set(rows) == set(models.names())
    assert set(rows["unet"]) == {"name", "parameters", "gmac", "stride", "paper"}
    # At 256x256 the 3x3 convolutions of the whole resolution alone take 256 * 256 * 9 * (3 + 64 + 128 + 64) * 64.
    assert rows["unet"]["gmac"] > 9.7
    assert rows["lighter_unet@128"]["gmac"] == pytest.approx(37.7, abs=0.05)  # facts of the paper's networks
    assert rows["unet"]["stride"] == 16


def weights_of(name: str) -> dict[str, np.ndarray]:
    """A state dict for a network with one channel in and one class out, from the table of its names."""
    model = models.build(name, (32, 32, 1), 1)
    rng = np.random.default_rng(0)
    ours = {ours: theirs for theirs, ours in SOURCES[name].layers.items()}
    names = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
        "bias": "bias",
    }
    state = {}
    for variable in model.variables:
        layer, kind = variable.path.split("/")
        if layer not in ours:  # the seeds of dropout
            continue
        shape = tuple(variable.shape)
        values = rng.uniform(0.5, 1, shape[::-1][:2] + shape[:2] if len(shape) == 4 else shape)
        state[f"{ours[layer]}.{names[kind]}"] = values.astype("float32")
    return state


def test_imported_weights_predict(tfseg, tmp_path) -> None:
    state = weights_of("unet")
    save_file({f"module.{name}": values for name, values in state.items()}, tmp_path / "unet.safetensors")
    out = tmp_path / "unet.keras"
    options = ("--model", "unet", "--image-size", 32, "--classes", "lesion")
    answer = json.loads(tfseg("import", tmp_path / "unet.safetensors", *options, "--out", out, "--json").stdout)
    assert answer["channels"] == 1
    assert answer["classes"] == ["lesion"]
    kernel = np.asarray(models.load(out).get_layer("down1b_conv").kernel)
    theirs = state["down1.maxpool_conv.1.double_conv.3.weight"]
    assert kernel[0, 2, 5, 7] == theirs[7, 5, 0, 2]  # (k, k, in, out), (out, in, k, k)
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "image.png")
    tfseg("predict", out, tmp_path / "image.png", "--out", tmp_path / "masks")
    with Image.open(tmp_path / "masks" / "image_lesion.png") as mask:
        assert mask.size == (50, 40)
    again = tfseg("import", tmp_path / "unet.safetensors", *options, "--out", out, status=2)
    assert "exists already" in again.stderr


BAD = {
    "missing": (None, ".safetensors", "no such file"),
    "garbage": (b"garbage", ".safetensors", "not a safetensors file"),
    "suffix": (b"", ".h5", "weights are read from .safetensors"),
    "tensors-of-another-network": (b"", "other.safetensors", "these are not its weights"),
}


@pytest.mark.parametrize(("content", "name", "message"), BAD.values(), ids=BAD)
def test_bad_weights_get_one_line(tfseg, tmp_path, content, name, message) -> None:
    path = tmp_path / f"weights{name}" if name.startswith(".") else tmp_path / name
    if name == "other.safetensors":
        save_file({"a.weight": np.zeros(3, "float32")}, path)
    elif content is not None:
        path.write_bytes(content)
    done = tfseg("import", path, "--model", "unet", "--out", tmp_path / "out.keras", status=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out.keras").exists()


class Evil:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


def test_a_pickle_is_never_run(tfseg, tmp_path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"a": Evil(str(trap))}))
    done = tfseg("import", tmp_path / "weights.pth", "--model", "unet", "--out", tmp_path / "out.keras", status=2)
    assert len(done.stderr.strip().splitlines()) == 1  # names torch where it is missing, the pickle where it is there
    assert not trap.exists()
