"""How often a 95 % interval over few patients holds the true mean, by simulation: ours beside three others.

    python tools/bench/interval_coverage.py [--runs 2000] [--groups 3 5 10 20 40]

Patients have one to seven images each. Dice is skewed, as segmentation has it: `skewed`, a patient's mean is drawn from
Beta(8, 1.5); `failing`, a tenth of the patients is drawn from Beta(1, 4) and the others from Beta(30, 4). An image's
Dice is its patient's mean with a standard deviation of 0.05, cut to 0 to 1. A cell gives the share of the runs in which
the interval holds the mean of 400,000 patients, and the intervals' mean width.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import special, stats

from tfseg.intervals import bootstrap_interval

Interval = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


def skewed(patients: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the mean Dice of patients: (P,)."""
    return rng.beta(8, 1.5, patients)


def failing(patients: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the mean Dice of patients, of whom a tenth fails: (P,)."""
    return np.where(rng.random(patients) < 0.1, rng.beta(1, 4, patients), rng.beta(30, 4, patients))


KINDS = {"skewed": skewed, "failing": failing}


def sample(kind: str, patients: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the Dice of each image, and whose it is: (N,) each."""
    owner = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
    return np.clip(KINDS[kind](patients, rng)[owner] + rng.normal(0, 0.05, len(owner)), 0, 1), owner


def student(values: np.ndarray, owner: np.ndarray) -> tuple[float, float]:
    """Student's t on the ratio's linearised standard error."""
    sums, counts = np.bincount(owner, weights=values), np.bincount(owner)
    mean, patients = sums.sum() / counts.sum(), len(counts)
    error = np.sqrt(((sums - mean * counts) ** 2).sum() * patients / (patients - 1)) / counts.sum()
    reach = special.stdtrit(patients - 1, 0.975) * error
    return mean - reach, mean + reach


def drawn(values: np.ndarray, owner: np.ndarray, *, method: str) -> tuple[float, float]:
    """SciPy's bootstrap of the ratio, patients drawn: "percentile" or "BCa"."""
    parts = np.bincount(owner, weights=values), np.bincount(owner).astype(float)

    def ratio(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    found = stats.bootstrap(parts, ratio, paired=True, n_resamples=1000, method=method, rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def coverage(interval: Interval, kind: str, patients: int, runs: int) -> tuple[float, float]:
    """Return the share of runs in which the interval holds the true mean, and its mean width."""
    true = sample(kind, 400_000, np.random.default_rng(1))[0].mean()
    rng = np.random.default_rng(patients)
    ends = np.array([interval(*sample(kind, patients, rng)) for _ in range(runs)])
    return float(((ends[:, 0] <= true) & (true <= ends[:, 1])).mean()), float((ends[:, 1] - ends[:, 0]).mean())


METHODS: dict[str, Interval] = {
    "percentile": partial(drawn, method="percentile"),
    "BCa": partial(drawn, method="BCa"),
    "Student's t": student,
    "ours": partial(bootstrap_interval, bounds=(0.0, 1.0)),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--groups", type=int, nargs="+", default=[3, 5, 10, 20, 40, 80])
    arguments = parser.parse_args()
    print(f"| Dice | patients | {' | '.join(METHODS)} |")
    print(f"|{' --- |' * (len(METHODS) + 2)}")
    for kind in KINDS:
        for patients in arguments.groups:
            found = (coverage(interval, kind, patients, arguments.runs) for interval in METHODS.values())
            cells = " | ".join(f"{share:.1%} ({width:.2f})" for share, width in found)
            print(f"| {kind} | {patients} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
