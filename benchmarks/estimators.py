"""How good the estimators of D are: bias, efficiency and coverage on synthetic maps.

The five methods of `fit_map` go through it as a user's map does, gates included; the further rows
are what one would write by hand. Conditions: 41 positions over ±2 µm, 800 bins of 25 ps, FWHM
600 nm, background 0.1 of the signal (S1, note 7); A is the area under the profile at time zero in
counts·nm per bin. Efficiency is the Cramér–Rao variance over the measured one. Every figure comes
with its own standard error, and every map with its own seed, so that neither the number of
processes nor the choice of cells changes a figure.

    python benchmarks/estimators.py                        nine cells, all estimators
    python benchmarks/estimators.py --cells 2e5:0.01 --maps 9000 --others 0
    python benchmarks/estimators.py --json FILE            keeps the figures for docs/images
"""

import argparse
import itertools
import json
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np

import tplm_analysis as ta

SEED = 20240611
CELLS = tuple(itertools.product((2e4, 2e5, 2e6), (0.001, 0.01, 0.1)))
LINE_NS = 3.0
CM2_PER_S = 0.1  # in µm²/ns

Estimate = tuple[float, float]
"""D and its standard error in cm²/s; NaN where there is none."""
NOTHING = (math.nan, math.nan)


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


def by_method(method: ta.Method) -> Callable[[ta.SyntheticMap], Estimate]:
    """Return one method of `fit_map` as an estimator."""

    def estimate(film: ta.SyntheticMap) -> Estimate:
        fit = ta.fit_map(film.counts, film.x_um, film.t_ns, method=method)
        values = fit.d_cm2_per_s, fit.d_stderr_cm2_per_s
        return tuple(math.nan if value is None else value for value in values)

    return estimate


def free_intercept(film: ta.SyntheticMap) -> Estimate:
    """Least-squares Gaussians as in S1, but a plain line with its own intercept over 0–3 ns."""
    fit = ta.fit_map(film.counts, film.x_um, film.t_ns, method="gaussian-msd")
    return NOTHING if fit.msd is None else plain_line(fit.msd.t_ns, fit.msd.msd_um2)


def least_squares_by_counts(film: ta.SyntheticMap) -> Estimate:
    """Least-squares Gaussians with weights 1/n (1 where n = 0), a plain line over 0–3 ns."""
    early = film.t_ns - film.t_ns[0] <= LINE_NS
    n = film.counts.T[early].astype(float)
    sigma = weighted_gaussians(n, film.x_um, 1 / np.maximum(n, 1))
    return plain_line(film.t_ns[early], sigma**2)


def own_errors(film: ta.SyntheticMap) -> Estimate:
    """Poisson likelihood of slices of 1000 counts, a line weighted by each slice's own error."""
    slices = ta.fit_slices(film.counts, film.x_um, film.t_ns, pool_counts=1000)
    good = slices.converged & (slices.sigma2_stderr_um2 > 0)
    if np.count_nonzero(good) < 2:
        return NOTHING
    t, y, w = slices.t_ns[good], slices.sigma2_um2[good], slices.sigma2_stderr_um2[good] ** -2
    u = t - np.average(t, weights=w)
    spread = float(w @ u**2)
    return float(w @ (u * y)) / spread / 2 / CM2_PER_S, spread**-0.5 / 2 / CM2_PER_S


def second_moment(film: ta.SyntheticMap, background: float) -> Estimate:
    """Second moment about the true centre, the given background taken off, a line over 0–3 ns."""
    early = film.t_ns - film.t_ns[0] <= LINE_NS
    signal = film.counts[:, early] - background
    u2 = (film.x_um - film.truth.center_um) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return plain_line(film.t_ns[early], u2 @ signal / signal.sum(axis=0))


def background_exact(film: ta.SyntheticMap) -> Estimate:
    """Second moment with the true background taken off."""
    return second_moment(film, film.truth.background_per_bin)


def background_left(film: ta.SyntheticMap) -> Estimate:
    """Second moment with the background left in."""
    return second_moment(film, 0.0)


def plain_line(t_ns: np.ndarray, sigma2: np.ndarray) -> Estimate:
    """D from a line over 0–3 ns, all points alike; the error from their scatter."""
    good = np.isfinite(sigma2) & (t_ns - t_ns[0] <= LINE_NS)
    t, y = t_ns[good], sigma2[good]
    if t.size < 3:
        return NOTHING
    u = t - t.mean()
    slope = float(u @ y / (u @ u))
    rest = y - y.mean() - slope * u
    error = math.sqrt(float(rest @ rest) / (t.size - 2) / float(u @ u))
    return slope / 2 / CM2_PER_S, error / 2 / CM2_PER_S


def weighted_gaussians(n: np.ndarray, x_um: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit area, centre, σ and offset of every slice by weighted least squares; σ or NaN.

    Levenberg–Marquardt on all slices at once.
    """
    span, step = float(np.ptp(x_um)), float(x_um[1] - x_um[0])
    low = np.array([-np.inf, x_um[0], 0.05 * step, -np.inf])
    high = np.array([np.inf, x_um[-1], 3 * span, np.inf])
    offset = n[:, np.abs(x_um) > 0.4 * span].mean(axis=1)
    area = np.maximum((n - offset[:, None]).sum(axis=1) * step, 1e-3)
    p = np.stack([area, np.zeros_like(area), np.full_like(area, 0.27), offset], axis=1)
    damping = np.full(area.size, 1e-3)

    def evaluate(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        u = (x_um - p[:, 1:2]) / p[:, 2:3]
        g = np.exp(-0.5 * u**2) / (math.sqrt(2 * math.pi) * p[:, 2:3])
        slope = p[:, :1] * g / p[:, 2:3]
        jac = np.stack([g, slope * u, slope * (u**2 - 1), np.ones_like(g)], axis=2)
        rest = n - p[:, :1] * g - p[:, 3:]
        return jac, rest, (weight * rest**2).sum(axis=1)

    jac, rest, chi2 = evaluate(p)
    for _ in range(60):
        normal = np.einsum("kir,ki,kic->krc", jac, weight, jac)
        scale = np.sqrt(np.maximum(np.einsum("krr->kr", normal), 1e-300))
        matrix = normal / scale[:, :, None] / scale[:, None, :] + damping[:, None, None] * np.eye(4)
        gradient = np.einsum("kir,ki,ki->kr", jac, weight, rest) / scale
        trial = p + np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0] / scale
        trial[:, 2] = np.abs(trial[:, 2])
        trial = np.clip(trial, low, high)
        new_jac, new_rest, new_chi2 = evaluate(trial)
        better = new_chi2 <= chi2
        done = np.all(~better | (chi2 - new_chi2 <= 1e-10 * chi2))
        p[better], jac[better], rest[better] = trial[better], new_jac[better], new_rest[better]
        chi2 = np.where(better, new_chi2, chi2)
        damping = np.clip(np.where(better, 0.1, 10.0) * damping, 1e-9, 1e9)
        if done and np.all(better | (damping >= 1e9)):
            break
    inside = (p[:, 2] > 1.01 * low[2]) & (p[:, 2] < 0.99 * high[2]) & (p[:, 0] > 0)
    return np.where(inside, p[:, 2], np.nan)


ESTIMATORS: dict[str, Callable[[ta.SyntheticMap], Estimate]] = {
    "global": by_method("global"),
    "slices": by_method("slices"),
    "slices, own errors": own_errors,
    "gaussian-msd": by_method("gaussian-msd"),
    "LSQ, free intercept": free_intercept,
    "LSQ, weights 1/n": least_squares_by_counts,
    "voigt-davg": by_method("voigt-davg"),
    "moment": by_method("moment"),
    "moment, exact backgr.": background_exact,
    "moment, backgr. left": background_left,
}
assert set(get_args(ta.Method)) <= set(ESTIMATORS)


def score(d: np.ndarray, stderr: np.ndarray, truth: float, bound: float, seconds: float) -> Score:
    """Work out the figures of one cell; `d` is NaN where no D was given.

    Coverage counts the maps with an error bar.
    """
    values = d[np.isfinite(d)]
    barred = np.isfinite(d) & np.isfinite(stderr)
    miss = np.abs(d[barred] - truth) / stderr[barred]
    n = values.size
    sigma = values.std(ddof=1)
    error = values - truth
    # The variance of a sample variance depends on the tails of what was sampled.
    square = (values - values.mean()) ** 2
    kurtosis = float(np.mean(square**2) / np.mean(square) ** 2)
    efficiency = bound**2 / sigma**2
    return Score(
        n,
        (error.mean() / sigma, 1 / math.sqrt(n)),
        (error.mean() / truth, sigma / math.sqrt(n) / truth),
        (efficiency, efficiency * math.sqrt((kurtosis - 1) / n)),
        share(miss < 1),
        share(miss < 1.96),
        1e3 * seconds / d.size,
    )


def share(hits: np.ndarray) -> tuple[float, float]:
    """Return a share and its standard error."""
    if hits.size == 0:
        return math.nan, math.nan
    p = float(hits.mean())
    return p, math.sqrt(max(p * (1 - p), 0.25 / hits.size) / hits.size)


@dataclass(frozen=True)
class Task:
    """One map, and by what to fit it."""

    amplitude: float
    d_cm2_per_s: float
    index: int
    names: tuple[str, ...]


def fit_one(task: Task) -> list[tuple[float, float, float]]:
    """Return D, its error and the seconds it took, for every estimator of a task."""
    truth = ta.expected_map(amplitude=task.amplitude, d_cm2_per_s=task.d_cm2_per_s)
    seed = (SEED, round(task.amplitude), round(1e6 * task.d_cm2_per_s), task.index)
    film = truth.sample(np.random.default_rng(seed))
    found = []
    for name in task.names:
        start = time.process_time()
        estimate = ESTIMATORS[name](film)
        found.append((*estimate, time.process_time() - start))
    return found


def run(
    amplitude: float,
    d_cm2_per_s: float,
    maps: dict[str, int],
    spread: Callable[..., list[list[tuple[float, float, float]]]],
) -> dict[str, Score]:
    """Fit the same maps by every estimator, each as many as it is asked for."""
    most = max(maps.values())
    tasks = [
        Task(amplitude, d_cm2_per_s, i, tuple(name for name in maps if i < maps[name]))
        for i in range(most)
    ]
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in maps}
    for task, found in zip(tasks, spread(fit_one, tasks), strict=True):
        for name, row in zip(task.names, found, strict=True):
            rows[name].append(row)
    bound = ta.cramer_rao(ta.expected_map(amplitude=amplitude, d_cm2_per_s=d_cm2_per_s))
    scores = {}
    for name, found in rows.items():
        d, stderr, seconds = np.array(found).T
        scores[name] = score(d, stderr, d_cm2_per_s, bound, float(seconds.sum()))
    return scores


def pm(pair: tuple[float, float]) -> str:
    """Print a value with its standard error."""
    value, error = pair
    if not math.isfinite(value):
        return "–"
    digits = min(max(0, 1 - math.floor(math.log10(error))), 5) if error > 0 else 3
    return f"{value:+.{digits}f} ± {error:.{digits}f}"


def cell(text: str) -> tuple[float, float]:
    """Read ``A:D``."""
    amplitude, d = text.split(":")
    return float(amplitude), float(d)


def prepare() -> None:
    """Load the kernels and let no warning pass, in this process."""
    warnings.simplefilter("error")
    ta.warm_up()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=4000, help="for the default method, global")
    parser.add_argument("--others", type=int, default=400, help="maps for all other estimators")
    parser.add_argument("--cells", type=cell, nargs="+", metavar="A:D", default=CELLS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    maps = {name: arguments.maps if name == "global" else arguments.others for name in ESTIMATORS}
    maps = {name: count for name, count in maps.items() if count > 0}
    kept = []
    print(f"global: {arguments.maps} maps per cell, others: {arguments.others}; seed {SEED}; "
          f"value ± its standard error")  # fmt: skip
    prepare()
    columns = ("bias/σ", "bias/D", "efficiency", "68 %", "95 %")
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.processes, prepare) as pool:
        for amplitude, d in arguments.cells:
            bound = ta.cramer_rao(ta.expected_map(amplitude=amplitude, d_cm2_per_s=d))
            print(f"\nA = {amplitude:g}, D = {d:g} cm²/s, Cramér–Rao σ/D = {bound / d:.4f}")
            print(f"{'':22}" + "".join(f"{c:>21}" for c in columns) + "   D given  CPU ms/map")
            for name, s in run(amplitude, d, maps, pool.map).items():
                figures = (s.bias_sigma, s.bias_d, s.efficiency, s.coverage_68, s.coverage_95)
                print(
                    f"{name:22}" + "".join(f"{pm(f):>21}" for f in figures)
                    + f"{s.given:>10}{s.ms_per_map:>12.1f}",
                    flush=True,
                )  # fmt: skip
                kept.append({"amplitude": amplitude, "d": d, "bound": bound / d,
                             "estimator": name, "maps": maps[name], **asdict(s)})  # fmt: skip
            if arguments.json:
                arguments.json.write_text(json.dumps(kept, indent=0) + "\n")


if __name__ == "__main__":
    main()
