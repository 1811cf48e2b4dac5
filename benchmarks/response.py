"""How well time zero and lifetimes are found: bias, spread and coverage of the error bars.

A response of 80 or 200 ps (Gaussian, with or without an exponential tail of 200 ps) and decays
convolved with it are drawn by Poisson's law in bins of 25 ps; lifetimes are fitted with a response
that was itself measured, with 10⁶ counts.
"""

import argparse
import warnings

import numpy as np

import tplm_analysis as ta
from tplm_simulators.response import Response

SEED = 7
BIN_PS = 25.0
BINS = 1000
EDGES_PS = np.arange(BINS + 1) * BIN_PS
T_NS = (np.arange(BINS) + 0.5) * BIN_PS * 1e-3


def light(fwhm_ps: float, share: float, tail_ps: float) -> np.ndarray:
    """Return the share of the light in each bin; a decay is a response that is all tail."""
    cumulative = Response(fwhm_ps, share, tail_ps, 2003.0).cumulative(EDGES_PS)
    return np.maximum(np.diff(cumulative), 0)


def line(name: str, error: np.ndarray, stderr: np.ndarray, unit: str) -> None:
    """Print one line of figures."""
    z = error / stderr
    print(
        f"  {name:26} bias {error.mean():+8.3f} ± {error.std() / error.size**0.5:.3f} {unit}"
        f"   {z.mean():+.2f} ± {z.std() / z.size**0.5:.2f} σ   spread {error.std():.3f} {unit}"
        f"   68 %: {np.mean(np.abs(z) < 1):.2f}   95 %: {np.mean(np.abs(z) < 1.96):.2f}",
        flush=True,
    )


def response(repeats: int) -> None:
    """Print how well the response's own figures are found."""
    rng = np.random.default_rng(SEED)
    for share in (0.0, 0.3):
        for photons in (2e3, 1e5):
            kernel = light(80.0, share, 200.0)
            truth = ta.find_irf(1e10 * kernel, T_NS)
            found = [ta.find_irf(rng.poisson(photons * kernel + 0.2), T_NS) for _ in range(repeats)]
            print(f"response of 80 ps, {share:.0%} in the tail, {photons:g} photons")
            for name in ("half_maximum", "centroid", "fwhm"):
                values = np.array([getattr(irf, f"{name}_ns") for irf in found])
                errors = np.array([getattr(irf, f"{name}_stderr_ns") for irf in found])
                line(name, 1e3 * (values - getattr(truth, f"{name}_ns")), 1e3 * errors, "ps")


def lifetimes(repeats: int) -> None:
    """Print how well lifetimes are found."""
    rng = np.random.default_rng(SEED)
    for fwhm_ps in (80.0, 200.0):
        kernel = light(fwhm_ps, 0.0, 200.0)
        for truth, shares in (([0.2], [1]), ([1.0], [1]), ([3.0], [1]), ([0.3, 2.0], [0.3, 0.7])):
            for photons in (2e3, 1e5) if len(truth) == 1 else (1e5,):
                parts = [light(fwhm_ps, 1.0, 1e3 * tau) for tau in truth]
                expected = photons * np.dot(shares, parts) + 0.5
                found = []
                for _ in range(repeats):
                    irf = ta.find_irf(rng.poisson(1e6 * kernel + 2), T_NS)
                    fit = ta.fit_decay(rng.poisson(expected), T_NS, irf, len(truth))
                    found.append([fit.lifetime_ns, fit.lifetime_stderr_ns])
                values, errors = np.moveaxis(found, 1, 0)
                print(f"lifetimes {truth} ns, response of {fwhm_ps:g} ps, {photons:g} photons")
                for k, tau in enumerate(truth):
                    percent = 100 / tau
                    line(f"{tau} ns", percent * (values[:, k] - tau), percent * errors[:, k], "%")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("error")
    print(f"{repeats} repeats each, seed {SEED}; value ± its standard error")
    response(repeats)
    lifetimes(repeats)


if __name__ == "__main__":
    main()
