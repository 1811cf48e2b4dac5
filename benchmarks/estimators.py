"""How good the estimators of D are: bias, efficiency and coverage on synthetic maps.

Every map goes through the full default `fit_map`, gates included. Conditions: 41 positions over
±2 µm, 800 bins of 25 ps, FWHM 600 nm, background 0.1 of the signal (S1, note 7). Efficiency is
the Cramér–Rao variance over the measured one. Every figure comes with its own standard error.

    python benchmarks/estimators.py                        the two cells of A = 2e5
    python benchmarks/estimators.py --all                  nine cells
    python benchmarks/estimators.py --maps 2000 --cells 2e5:0.01 --methods global
"""

import argparse
import itertools
import math
import time
import warnings
from dataclasses import dataclass
from typing import get_args

import numpy as np

import tplm_analysis as ta

SEED = 20240611
TARGET_CELLS = ((2e5, 0.01), (2e5, 0.1))
ALL_CELLS = tuple(itertools.product((2e4, 2e5, 2e6), (0.001, 0.01, 0.1)))


@dataclass(frozen=True)
class Score:
    """One estimator in one cell: figures, each as (value, standard error)."""

    given: int
    bias_sigma: tuple[float, float]
    bias_d: tuple[float, float]
    efficiency: tuple[float, float]
    coverage_68: tuple[float, float]
    coverage_95: tuple[float, float]
    ms_per_map: float


def score(d: np.ndarray, stderr: np.ndarray, truth: float, bound: float, seconds: float) -> Score:
    """Work out the figures of one cell; `d` is NaN where no D was given."""
    good = np.isfinite(d) & np.isfinite(stderr)
    values, errors = d[good], stderr[good]
    n = values.size
    sigma = values.std(ddof=1)
    error = values - truth
    # The variance of a sample variance depends on the tails of what was sampled.
    kurtosis = float(np.mean((values - values.mean()) ** 4) / sigma**4)
    efficiency = bound**2 / sigma**2
    return Score(
        n,
        (error.mean() / sigma, 1 / math.sqrt(n)),
        (error.mean() / truth, sigma / math.sqrt(n) / truth),
        (efficiency, efficiency * math.sqrt((kurtosis - 1) / n)),
        share(np.abs(error) < errors),
        share(np.abs(error) < 1.96 * errors),
        1e3 * seconds / d.size,
    )


def share(hits: np.ndarray) -> tuple[float, float]:
    """Return a share and its standard error."""
    p = float(hits.mean())
    return p, math.sqrt(max(p * (1 - p), 0.25 / hits.size) / hits.size)


def run(amplitude: float, d_cm2_per_s: float, maps: int, methods: list[str]) -> dict[str, Score]:
    """Fit the same maps by every method."""
    truth = ta.expected_map(amplitude=amplitude, d_cm2_per_s=d_cm2_per_s)
    bound = ta.cramer_rao(truth)
    rng = np.random.default_rng(SEED)
    found = {method: np.full((maps, 2), np.nan) for method in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for i in range(maps):
        film = truth.sample(rng)
        for method in methods:
            start = time.perf_counter()
            fit = ta.fit_map(film.counts, film.x_um, film.t_ns, method=method)
            seconds[method] += time.perf_counter() - start
            if fit.d_cm2_per_s is not None and fit.d_stderr_cm2_per_s is not None:
                found[method][i] = fit.d_cm2_per_s, fit.d_stderr_cm2_per_s
    return {m: score(*found[m].T, d_cm2_per_s, bound, seconds[m]) for m in methods}


def pm(pair: tuple[float, float]) -> str:
    """Print a value with its standard error."""
    value, error = pair
    digits = min(max(0, 1 - math.floor(math.log10(error))), 4) if error > 0 else 3
    return f"{value:+.{digits}f} ± {error:.{digits}f}"


def cell(text: str) -> tuple[float, float]:
    """Read ``A:D``."""
    amplitude, d = text.split(":")
    return float(amplitude), float(d)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=400)
    parser.add_argument("--cells", type=cell, nargs="+", metavar="A:D", default=TARGET_CELLS)
    parser.add_argument("--all", action="store_true", help="all nine cells")
    parser.add_argument("--methods", nargs="+", choices=get_args(ta.Method),
                        default=list(get_args(ta.Method)))  # fmt: skip
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    ta.warm_up()
    print(f"{arguments.maps} maps per cell, seed {SEED}; value ± its standard error")
    columns = ("bias/σ", "bias/D", "efficiency", "68 %", "95 %")
    for amplitude, d in ALL_CELLS if arguments.all else arguments.cells:
        bound = ta.cramer_rao(ta.expected_map(amplitude=amplitude, d_cm2_per_s=d))
        print(f"\nA = {amplitude:g}, D = {d:g} cm²/s, Cramér–Rao σ/D = {bound / d:.4f}")
        print(f"{'method':14}" + "".join(f"{c:>19}" for c in columns) + "    D given   ms/map")
        for method, s in run(amplitude, d, arguments.maps, arguments.methods).items():
            figures = (s.bias_sigma, s.bias_d, s.efficiency, s.coverage_68, s.coverage_95)
            print(
                f"{method:14}" + "".join(f"{pm(f):>19}" for f in figures)
                + f"{s.given:>11}{s.ms_per_map:>9.1f}",
                flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
