"""How often the comparison of models, and the two gates of the default, ask for too much.

Maps whose profile and growth are known are drawn by Poisson's law: 41 positions over ±2 µm, 400
bins of 50 ps, the decay and background of docs/estimators.md. Each row: how often a model was
warranted, and what the default made of the same maps. `--exact` prints instead, on maps
without noise, what a response does to D and σ₀ and what is left of that with `mix_ages`, and what
is left of an aperture.

    python benchmarks/models.py [--maps 200] [--only "one Gaussian"]
    python benchmarks/models.py --exact
"""

import argparse
import math
import warnings
from collections import Counter

import numpy as np
from scipy.signal import fftconvolve

import tplm_analysis as ta
from tplm_simulators.response import Response

SEED = 20240805
TRUTHS = {
    "one Gaussian": {},
    "5 % of the light wider": {"wing_fraction": 0.05},
    "20 % of the light wider": {"wing_fraction": 0.2},
    "α = 0.9": {"alpha": 0.9},
    "α = 0.6": {"alpha": 0.6},
}
CELLS = ((2e5, 0.01), (2e6, 0.01), (2e6, 0.1))
"""Area under the profile at time zero in counts·nm per bin of 25 ps, and D in cm²/s."""


def share(n: int, of: int) -> str:
    """Return a share with its standard error; where nothing or all was found, that of one case."""
    p = n / of
    error = math.sqrt(max(p * (1 - p), 1 / of) / of)
    return f"{100 * p:.1f} ± {100 * error:.1f} %"


def row(name: str, truth: ta.ExpectedMap, maps: int, rng: np.random.Generator) -> None:
    """Print what became of the maps of one truth."""
    warranted: Counter[str] = Counter()
    wings = anomalous = 0
    for _ in range(maps):
        counts = rng.poisson(truth.expected)
        found = ta.compare_models(counts, truth.x_um, truth.t_ns)
        warranted[found.warranted or "none"] += 1
        fit = ta.fit_map(counts, truth.x_um, truth.t_ns)
        wings += fit.model == "two-gaussian"
        anomalous += any(one.code == "anomalous" for one in fit.warnings)
    print(name)
    print(f"  default: two Gaussians {share(wings, maps)}, anomalous {share(anomalous, maps)}")
    for model, n in warranted.most_common():
        print(f"  warranted: {model:26} {share(n, maps)}", flush=True)


def ages(d: float, bin_ns: float, fwhm_ns: float, tail_share: float, tail_ns: float) -> None:
    """Print the errors of D and σ₀ of light of all ages, integrated on eight parts of a bin."""
    x, bins, sigma2 = np.linspace(-2, 2, 41), round(25 / bin_ns), 0.255**2
    edges = np.arange(8 * bins + 1) * bin_ns / 8
    age, t = 0.5 * (edges[1:] + edges[:-1]), (np.arange(bins) + 0.5) * bin_ns
    shape = Response(1e3 * fwhm_ns, tail_share, 1e3 * tail_ns, 2003.0)
    response = np.diff(shape.cumulative(1e3 * edges))
    variance = sigma2 + 0.2 * d * age
    profile = np.exp(-0.5 * x[:, None] ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    light = fftconvolve(ta.two_part_decay(age) * profile, response[None], axes=1)[:, : 8 * bins]
    rate = np.maximum(light.reshape(x.size, bins, 8).sum(axis=2), 0)
    rate *= 3e5 / rate.max()
    counts = np.rint(rate + 0.02 * rate.mean()).astype(np.int64)
    irf = ta.find_irf(np.rint(1e8 * response.reshape(bins, 8).sum(axis=1)), t)
    cells = []
    for window in (None, (irf.half_maximum_ns, 30.0)):
        for mix in (False, True):
            fit = ta.fit_map(
                counts, x, t, irf=irf, mix_ages=mix, t_range_ns=window, model="gaussian"
            )
            assert fit.d_cm2_per_s is not None and fit.sigma0_nm is not None
            off_nm = fit.sigma0_nm - 1e3 * math.sqrt(sigma2)
            cells.append(f"{100 * (fit.d_cm2_per_s / d - 1):+.2f} %, {off_nm:+.2f} nm")
    tail = f"{tail_share:.0%} in a tail of {1e3 * tail_ns:.0f} ps"
    print(f"D = {d:g}, response {1e3 * fwhm_ns:.0f} ps, {tail}: {' | '.join(cells)}")


def aperture(size_um: float) -> None:
    """Print the errors of D and σ₀ of a map averaged over a square aperture."""
    d, x, t, sigma2 = 0.01, np.linspace(-2, 2, 41), (np.arange(800) + 0.5) * 0.025, 0.255**2
    variance = sigma2 + 0.2 * d * t
    nodes, weights = np.polynomial.legendre.leggauss(24)
    u = x[:, None, None] + nodes[:, None] * size_um / 2
    profile = 0.5 * weights @ np.exp(-0.5 * u**2 / variance) / np.sqrt(2 * np.pi * variance)
    rate = 2e6 * ta.two_part_decay(t) * profile
    counts = np.rint(rate + 0.1 * rate.mean()).astype(np.int64)
    fit = ta.fit_map(counts, x, t, aperture_um=size_um, model="gaussian", time_zero_ns=0.0)
    assert fit.d_cm2_per_s is not None and fit.sigma0_nm is not None
    off_nm = fit.sigma0_nm - 1e3 * math.sqrt(sigma2)
    print(f"D = {d:g}, square of {size_um:g} µm taken off: {fit.d_cm2_per_s / d - 1:+.2%}, "
          f"{off_nm:+.2f} nm")  # fmt: skip


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=200)
    parser.add_argument("--only", choices=TRUTHS, help="One kind of map.")
    parser.add_argument("--exact", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.exact:
        print("as it is | mix_ages | from the rising edge on: as it is | mix_ages")
        for d in (0.01, 0.1):
            for shape in ((0.025, 0.08, 0.3, 0.2), (0.025, 0.3, 0, 0.2), (0.025, 0.3, 0.3, 0.5)):
                ages(d, *shape)
        for size_um in (0.1, 0.255, 0.4, 0.6):
            aperture(size_um)
        return
    for amplitude, d in CELLS:
        for i, (name, given) in enumerate(TRUTHS.items()):
            if options.only in (None, name):
                truth = ta.expected_map(
                    amplitude=2 * amplitude, d_cm2_per_s=d, bins=400, bin_ns=0.05, **given
                )
                rng = np.random.default_rng((SEED, i, int(amplitude), round(1000 * d)))
                row(f"A = {amplitude:g}, D = {d:g}, {name}", truth, options.maps, rng)


if __name__ == "__main__":
    main()
