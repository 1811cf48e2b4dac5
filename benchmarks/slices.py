"""How many time slices a second one core fits, and how many scipy's `curve_fit` does.

Amplitude and variance of 4096 slices at 41 positions by Poisson maximum likelihood, centre and
background given. Cold: every slice starts from one and the same width (that of the excitation),
with no amplitude. Warm: from the result for the same scan 2 % of its counts earlier, as a live
display does. `curve_fit` fits the same two parameters to the same counts by least squares with
the same start, on evenly chosen slices. Processor time of one thread; best of several runs, as
others may use the machine.

    python benchmarks/slices.py
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import curve_fit

import tplm_analysis as ta
from tplm_analysis.batch import fit_each

SLICES, POSITIONS = 4096, 41
START_UM2 = 0.08
SEED = 5


def seconds_of(task: Callable[[], object], repeats: int) -> float:
    """Return the processor time of the quickest run of a task."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        task()
        times.append(time.thread_time() - start)
    return min(times)


def measure(amplitude: float, repeats: int, rival_slices: int) -> None:
    """Print the rates for maps of one brightness."""
    truth = ta.expected_map(amplitude=amplitude, bins=SLICES, bin_ns=20 / SLICES)
    rng = np.random.default_rng(SEED)
    before = rng.poisson(0.98 * truth.expected)
    counts = np.ascontiguousarray((before + rng.poisson(0.02 * truth.expected)).T, dtype=float)
    earlier = np.ascontiguousarray(before.T, dtype=float)
    x, b = truth.x_um, truth.background_per_bin
    theta = np.array([truth.center_um, b, 0.0, 1.0])
    limits = np.array([(0.1 * (x[1] - x[0])) ** 2, 4 * np.ptp(x) ** 2])
    result = [np.empty(SLICES) for _ in range(4)]
    good = np.zeros(SLICES, dtype=np.bool_)

    def fit(table: np.ndarray, variance: np.ndarray, area: np.ndarray) -> None:
        result[0][:], result[1][:] = variance, area
        fit_each(table, x, np.ones(POSITIONS), np.ones(SLICES), theta, limits, 40, *result, good)

    start = np.full(SLICES, START_UM2)
    fit(earlier, start, np.zeros(SLICES))
    known = [np.where(good, result[0], start), np.where(good, result[1], 0.0)]
    warm_s = seconds_of(lambda: fit(counts, *known), repeats)
    cold_s = seconds_of(lambda: fit(counts, start, np.zeros(SLICES)), repeats)
    found, sigma = result[0].copy(), result[2].copy()

    def gaussian(x: np.ndarray, area: float, v: float) -> np.ndarray:
        return area * np.exp(-0.5 * (x - truth.center_um) ** 2 / v) / np.sqrt(2 * np.pi * v) + b

    some = np.linspace(0, SLICES - 1, rival_slices).astype(int)
    rival: list[float] = []

    def by_scipy() -> None:
        rival.clear()
        for k in some:
            area = max(counts[k].sum() - b * POSITIONS, 1.0) * (x[1] - x[0])
            try:
                best, _ = curve_fit(gaussian, x, counts[k], (area, START_UM2), method="lm")
            except RuntimeError:  # no minimum found
                best = (math.nan, math.nan)
            rival.append(best[1])

    with np.errstate(all="ignore"):
        rival_s = seconds_of(by_scipy, 3)
    cold, warm, other = SLICES / cold_s, SLICES / warm_s, some.size / rival_s
    late = truth.sigma0_nm**2 * 1e-6 + 0.2 * truth.d_cm2_per_s * truth.t_ns
    z = (found - late)[good] / sigma[good]
    print(f"\nA = {amplitude:g}: {counts.sum(axis=1).mean():.0f} counts a slice, "
          f"{good.mean():.1%} of the slices with a maximum, median error {np.median(z):+.2f} σ, "
          f"half of them within {np.median(np.abs(z)):.2f} σ")  # fmt: skip
    print(f"  cold   {cold / 1e6:6.2f} M slices/s   {cold / other:6.0f} × curve_fit")
    print(f"  warm   {warm / 1e6:6.2f} M slices/s   {warm / other:6.0f} × curve_fit")
    print(f"  scipy  {other / 1e3:6.2f} k slices/s   ({some.size} slices)", flush=True)


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--amplitudes", type=float, nargs="+", default=[2e5, 2e6, 2e7])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--rival-slices", type=int, default=400)
    arguments = parser.parse_args()
    ta.warm_up()
    print(f"{SLICES} slices × {POSITIONS} positions, Poisson likelihood, two parameters, one core")
    for amplitude in arguments.amplitudes:
        measure(amplitude, arguments.repeats, arguments.rival_slices)


if __name__ == "__main__":
    main()
