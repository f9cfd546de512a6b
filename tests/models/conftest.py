"""What the tests of networks share: weights that depend on no initializer, and golden numbers kept beside the tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Compare an array with the one kept in goldens/NAME.json: `golden("unet", logits[0, ::8, ::8, 0])`.

    Keep a few numbers only, of a network filled by `fill_weights`. `pytest --update-golden` writes the
    files, one for each name; without it a missing file fails the test.
    """
    update = request.config.getoption("--update-golden")

    def compare(name: str, values: Any) -> None:
        path = _GOLDENS / f"{name}.json"
        values = np.asarray(values, "float64")
        if update:
            rounded = [float(f"{value:.7g}") for value in values.ravel()]
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"shape": values.shape, "values": rounded}) + "\n")
            return
        if not path.exists():
            pytest.fail(f"{path} is missing: write it with `pytest --update-golden`")
        kept = json.loads(path.read_text())
        expected = np.reshape(kept["values"], kept["shape"])
        # float32 sums in another order (another CPU, another number of threads) were seen to move logits by 1e-6 of
        # their range; a mutated block moves them by more than 1e-2.
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=str(path))

    return compare


@pytest.fixture(scope="session")
def fill_weights() -> Callable[..., None]:
    """Fill a model with numbers that keep activations near 1: `fill_weights(model)` or `fill_weights(model, seed=1)`.

    They are drawn in the order of `model.variables`, by name: kernels as He normal, gammas and moving variances in
    [0.5, 1.5], all else (biases, betas, moving means, tokens) normal with a standard deviation of 0.1.
    """

    def draw(rng: np.random.Generator, variable: Any) -> np.ndarray:
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            return rng.uniform(0.5, 1.5, shape)
        if "kernel" in variable.name:
            depthwise = len(shape) == 4 and shape[0] > 1 and shape[-1] == 1
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            return rng.normal(0, np.sqrt(2 / fan_in), shape)
        return rng.normal(0, 0.1, shape)

    def fill(model: Any, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        for variable in model.variables:
            if variable.dtype.startswith(("float", "bfloat")):  # seeds of dropout are integers
                variable.assign(draw(rng, variable).astype("float32"))

    return fill
