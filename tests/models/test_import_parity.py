"""The published PyTorch implementations, with random weights, give the logits of ours with those weights.

They run under the interpreters that TFSEG_PARITY_PYTHON names (several may be needed: torchvision, transformers and
MONAI do not always install together), else under the one that runs the tests.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfseg import models
from tfseg.models import import_torch

# Read here: the tests themselves run without the user's settings.
_PYTHONS = os.environ.get("TFSEG_PARITY_PYTHON", sys.executable).split(os.pathsep)
_NEEDS = {
    "unet": "torch",
    "light_unet": "torch",
    "lighter_unet@1": "torch",
    "lighter_unet@16": "torch",
    "lighter_unet@128": "torch",
    "segresnet": "monai",
    "lraspp_mobilenetv3": "torch",
    "segformer_b0": "transformers",
    "mobilevitv2": "transformers",
    "mobilevitv2@os8": "transformers",
}


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, np.ndarray]]:
    """Run the published implementation of a network; the test is skipped where it is not installed."""

    def run(name: str) -> dict[str, np.ndarray]:
        needs = ("torch", _NEEDS[name])
        for python in _PYTHONS:
            if _has(python, needs):
                break
        else:
            pytest.skip(f"{' or '.join(_PYTHONS)}: no {' and '.join(dict.fromkeys(needs))} (the parity extra)")
        out = tmp_path_factory.mktemp("torch") / "run.npz"
        script = Path(__file__).parent / "parity" / "torch_reference.py"
        subprocess.run([python, script, name, out], check=True, capture_output=True, timeout=300)
        with np.load(out) as arrays:
            return dict(arrays)

    return run


def _has(python: str, modules: tuple[str, ...]) -> bool:
    code = "import importlib.util as u, sys; sys.exit(any(u.find_spec(name) is None for name in sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *modules], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", _NEEDS)
def test_published_implementation_gives_the_same_logits(name, torch_run):
    """Every tensor finds its place, every variable its tensor, and the numbers agree."""
    arrays = torch_run(name)
    state, file = (
        {key.removeprefix(f"{kind}/"): value for key, value in arrays.items() if key.startswith(f"{kind}/")}
        for kind in ("state", "file")
    )
    image, expected = arrays["image"], arrays["logits"]
    model = models.build(name, image.shape[1:], classes=expected.shape[-1])
    converted = import_torch.convert_state_dict(name, state)
    import_torch.assign(model, converted)
    logits = model.predict(image, verbose=0)
    # float32 sums of up to 100 layers in another order; a layer missed or swapped moves the logits by about their size.
    scale = np.abs(expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * max(1, scale))
    if file:
        again = import_torch.convert_state_dict(name, file)
        assert all(np.array_equal(again[path], values) for path, values in converted.items())
