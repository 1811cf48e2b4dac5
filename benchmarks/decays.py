"""How well the models of a decay are found and told apart, and figures across scans.

Decays of the papers, convolved with a Gaussian response of 80 ps, are drawn by Poisson's law; the
response that they are fitted with was measured with 10⁷ counts.
"""

import argparse
import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy.integrate import cumulative_simpson
from scipy.special import ndtr

import tplm_analysis as ta

SEED = 11
FWHM_NS = 0.08
DELAY_NS = 2.003
BACKGROUND = 1.0


def binned(light: Callable[[np.ndarray], np.ndarray], edges_ns: np.ndarray) -> np.ndarray:
    """Return light convolved with the response, integrated over bins, from a grid of 1 ps."""
    sigma = FWHM_NS / (2 * math.sqrt(2 * math.log(2)))
    fine = np.arange(0, edges_ns[-1] + 1e-9, 1e-3)
    arrived = cumulative_simpson(light(fine), x=fine, initial=0)
    total = np.zeros(edges_ns.size)
    for late, weight in zip(*np.polynomial.hermite_e.hermegauss(40), strict=True):
        since = np.maximum(edges_ns - DELAY_NS - sigma * late, 0)
        total += weight / math.sqrt(2 * math.pi) * np.interp(since, fine, arrived)
    return np.maximum(np.diff(total), 0)


def s1(t: np.ndarray) -> np.ndarray:
    """Return the prompt exponential and delayed power law of S1."""
    return 0.9 * np.exp(-t / 2.3) + 0.1 * (1 + t) ** -1.5


def s2(t: np.ndarray) -> np.ndarray:
    """Return the bright and dark exponentials of S2, 42 % and 58 % of the photons."""
    return 0.42 / 0.48 * np.exp(-t / 0.48) + 0.58 / 52 * np.exp(-t / 52)


def s4(t: np.ndarray) -> np.ndarray:
    """Return three exponentials within the ranges of S4, a third of the photons each."""
    return sum(np.exp(-t / tau) / (3 * tau) for tau in (1.0, 5.0, 30.0))


def s1_windows(t: np.ndarray) -> np.ndarray:
    """Return a decay for which S1's reading is exact: the power law begins at 3 ns."""
    return np.where(t < 3, np.exp(-t / 2.3), math.exp(-3 / 2.3) * (np.maximum(t, 3) / 3) ** -1.5)


def one(t: np.ndarray) -> np.ndarray:
    """Return a single exponential."""
    return np.exp(-t / 2.3)


def stretched(t: np.ndarray) -> np.ndarray:
    """Return a stretched exponential."""
    return np.exp(-((t / 1.5) ** 0.6))


DECAYS = {
    "S1": (s1, 1000, 0.025),
    "S1 windows": (s1_windows, 1000, 0.025),
    "S2": (s2, 4000, 0.05),
    "S4": (s4, 4000, 0.05),
    "single": (one, 1000, 0.025),
    "stretched": (stretched, 1000, 0.025),
}


def drawn(name: str, photons: float, rng: np.random.Generator, repeats: int):
    """Yield decays with their time axis and a response."""
    light, bins, bin_ns = DECAYS[name]
    edges = np.arange(bins + 1) * bin_ns
    t_ns = 0.5 * (edges[1:] + edges[:-1])
    share = binned(light, edges)
    expected = photons * share / share.sum() + BACKGROUND
    sigma = FWHM_NS / (2 * math.sqrt(2 * math.log(2)))
    flash = np.diff(ndtr((edges - DELAY_NS) / sigma))
    for _ in range(repeats):
        irf = ta.find_irf(rng.poisson(1e7 * flash), t_ns)
        yield rng.poisson(expected), t_ns, irf


def line(name: str, truth: float, values: np.ndarray, stderr: np.ndarray) -> None:
    """Print one line of figures."""
    z = (values - truth) / stderr
    few = 1 / math.sqrt(values.size)
    print(
        f"  {name:18} true {truth:8.4g}  bias {values.mean() - truth:+9.4f} ± "
        f"{values.std() * few:.4f}  spread {values.std():.4f}  error bar {np.median(stderr):.4f}  "
        f"68 %: {np.mean(np.abs(z) < 1):.3f} ± {0.466 * few:.3f}  "
        f"95 %: {np.mean(np.abs(z) < 1.96):.3f} ± {0.218 * few:.3f}",
        flush=True,
    )


def prompt_fraction(span_ns: float) -> float:
    """Return the true share of the exponential of S1 within a range."""
    prompt = 0.9 * 2.3 * -math.expm1(-span_ns / 2.3)
    return prompt / (prompt + 0.2 * (1 - (1 + span_ns) ** -0.5))


FITS = (
    ("S1", 1e6, ta.fit_prompt_delayed_decay, {"background_per_bin": BACKGROUND},
     {"lifetime_ns": 2.3, "exponent": 1.5, "prompt_fraction": prompt_fraction(22.997)}),
    ("S1", 1e5, ta.fit_prompt_delayed_decay, {"background_per_bin": BACKGROUND},
     {"lifetime_ns": 2.3, "exponent": 1.5, "prompt_fraction": prompt_fraction(22.997)}),
    ("S1", 1e6, ta.fit_prompt_delayed_decay, {"shift_ns": None},
     {"lifetime_ns": 2.3, "exponent": 1.5, "prompt_fraction": prompt_fraction(22.997),
      "shift_ns": 0.0}),
    ("S2", 1e5, ta.fit_decay, {"exponentials": 2},
     {"lifetime_ns": [0.48, 52.0], "photon_share": [0.42, 0.58]}),
    ("S4", 1e6, ta.fit_decay, {"exponentials": 3},
     {"lifetime_ns": [1.0, 5.0, 30.0], "photon_share": [1 / 3, 1 / 3, 1 / 3]}),
    ("stretched", 1e5, ta.fit_stretched_decay, {},
     {"lifetime_ns": 1.5, "beta": 0.6, "mean_lifetime_ns": 1.5 / 0.6 * math.gamma(1 / 0.6)}),
    ("stretched", 3e3, ta.fit_stretched_decay, {},
     {"lifetime_ns": 1.5, "beta": 0.6, "mean_lifetime_ns": 1.5 / 0.6 * math.gamma(1 / 0.6)}),
)  # fmt: skip


def stderr_name(name: str) -> str:
    """Return the attribute with the standard error."""
    return f"{name[:-3]}_stderr_ns" if name.endswith("_ns") else f"{name}_stderr"


def fits(repeats: int) -> None:
    """Print how well parameters are found."""
    for decay, photons, fit, options, truths in FITS:
        rng = np.random.default_rng(SEED)
        found = [
            fit(counts, t_ns, irf, **options)
            for counts, t_ns, irf in drawn(decay, photons, rng, repeats)
        ]
        good = [one_ for one_ in found if one_.converged]
        misfits = sum(any(w.code == "misfit" for w in one_.warnings) for one_ in found)
        print(
            f"{decay}, {photons:g} photons, {fit.__name__} {options}: {len(good)} of {len(found)} "
            f"determined, {misfits} called misfits",
            flush=True,
        )
        for name, truth in truths.items():
            values = np.array([np.atleast_1d(getattr(one_, name)) for one_ in good])
            errors = np.array([np.atleast_1d(getattr(one_, stderr_name(name))) for one_ in good])
            for k, true in enumerate(np.atleast_1d(truth)):
                line(name, float(true), values[:, k], errors[:, k])


def windows(repeats: int) -> None:
    """Print what S1's two windows give on a decay that changes law at 3 ns, and on a sum."""
    prompt = 2.3 * (math.exp(-0.1 / 2.3) - math.exp(-3 / 2.3))
    delayed = math.exp(-3 / 2.3) * 6 * (1 - (20 / 3) ** -0.5)
    truths = {
        "lifetime_ns": 2.3, "exponent": 1.5, "prompt_fraction": prompt / (prompt + delayed),
    }  # fmt: skip
    for decay, photons in (("S1 windows", 1e4), ("S1 windows", 1e6), ("S1", 1e6)):
        rng = np.random.default_rng(SEED)
        found = [
            ta.prompt_delayed_windows(
                counts, t_ns, background_per_bin=BACKGROUND, time_zero_ns=DELAY_NS,
                prompt_ns=(0.1, 3.0),
            )
            for counts, t_ns, _ in drawn(decay, photons, rng, repeats)
        ]  # fmt: skip
        print(f"{decay} in windows, {photons:g} photons")
        for name, truth in truths.items():
            values = np.array([getattr(one_, name) for one_ in found])
            errors = np.array([getattr(one_, stderr_name(name)) for one_ in found])
            line(name, truth, values, errors)


def few(n: int, of: int) -> float:
    """Return the standard error of a share, in percent."""
    return 100 * math.sqrt(n * (of - n) / of**3)


def comparison(repeats: int) -> None:
    """Print which model is called warranted."""
    for decay, photons in (
        ("single", 3e3), ("single", 1e5), ("S2", 1e4), ("stretched", 1e4), ("stretched", 1e5),
        ("S4", 1e5), ("S4", 1e6), ("S1", 1e5), ("S1", 1e6),
    ):  # fmt: skip
        rng = np.random.default_rng(SEED)
        verdicts: dict[str, int] = {}
        for counts, t_ns, irf in drawn(decay, photons, rng, repeats):
            name = ta.compare_decays(counts, t_ns, irf).warranted or "none"
            verdicts[name] = verdicts.get(name, 0) + 1
        shares = ", ".join(
            f"{name} {100 * n / repeats:.1f} ± {few(n, repeats):.1f} %"
            for name, n in sorted(verdicts.items(), key=lambda pair: -pair[1])
        )
        print(f"{decay}, {photons:g} photons: {shares}", flush=True)


def to_1e(repeats: int) -> None:
    """Print how well the time to 1/e is found."""
    for decay in ("single", "S1", "S2"):
        for photons in (2e3, 2e4, 1e6):
            rng = np.random.default_rng(SEED)
            light, bins, bin_ns = DECAYS[decay]
            edges = np.arange(bins + 1) * bin_ns
            t_ns = 0.5 * (edges[1:] + edges[:-1])
            truth = ta.lifetime_1e(t_ns, 1e12 * binned(light, edges))
            found = [
                ta.find_lifetime_1e(t_ns, counts, BACKGROUND)
                for counts, t_ns, _ in drawn(decay, photons, rng, repeats)
            ]
            known = [one_ for one_ in found if one_ is not None]
            print(f"{decay}, {photons:g} photons, {len(known)} of {len(found)}")
            values = np.array([one_.lifetime_1e_ns for one_ in known])
            errors = np.array([one_.lifetime_1e_stderr_ns for one_ in known])
            line("time to 1/e, ns", truth, values, errors)


def across(repeats: int) -> None:
    """Print how well figures across scans are found."""
    rng = np.random.default_rng(SEED)
    kelvin = np.array([80.0, 110, 140, 180, 220, 260, 300])
    boltzmann = 0.08617333262
    for noise in (0.05, 0.3):
        for offset in (None, 0.004):
            true = 0.2 * np.exp(-40 / (boltzmann * kelvin)) + (offset or 0.0)
            error = np.full(kelvin.size, noise * 0.04)
            found, refused = [], 0
            for _ in range(10 * repeats):
                try:
                    found.append(
                        ta.fit_arrhenius(
                            kelvin, rng.normal(true, error), error, offset=offset is not None
                        )
                    )
                except ValueError:
                    refused += 1
            print(
                f"Arrhenius, errors {error[0]:g}, offset {offset}: {refused} of {10 * repeats} "
                f"refused, χ² {np.mean([one_.chi2 for one_ in found]):.2f} "
                f"for {found[0].degrees}"
            )
            energy, energy_stderr, d0, d0_stderr = np.array(
                [
                    (f.activation_mev, f.activation_stderr_mev, f.d0_cm2_per_s,
                     f.d0_stderr_cm2_per_s)
                    for f in found
                ]
            ).T  # fmt: skip
            line("activation, meV", 40.0, energy, energy_stderr)
            line("ln d0", math.log(0.2), np.log(np.abs(d0)), d0_stderr / np.abs(d0))
    power = np.array([1.0, 2, 5, 10, 20, 50])
    for law, true in (("line", 0.01 + 0.002 * power), ("power-law", 0.02 * (power / 10) ** 0.5)):
        error = 0.1 * true + 0.001
        found = [
            ta.fit_trend(power, rng.normal(true, error), error, law) for _ in range(10 * repeats)
        ]
        print(f"trend, {law}: varies in {np.mean([f.varies for f in found]):.4f}")
        name, truth = ("slope", 0.002) if law == "line" else ("exponent", 0.5)
        line(name, truth, np.array([getattr(f, name) for f in found]),
             np.array([getattr(f, f"{name}_stderr") for f in found]))  # fmt: skip
    flat = np.full(power.size, 0.02)
    error = np.full(power.size, 0.002)
    for law in ("constant", "line", "power-law"):
        false = np.mean(
            [
                ta.fit_trend(power, rng.normal(flat, error), error, law).varies
                for _ in range(10 * repeats)
            ]
        )
        few = math.sqrt(false * (1 - false) / (10 * repeats))
        print(f"no trend, {law}: called one in {100 * false:.2f} ± {100 * few:.2f} %")
    for extra in (0.0, 2.0):
        groups = []
        for _ in range(10 * repeats):
            d = rng.normal(0.02, 0.001 * math.hypot(1, extra), 5)
            groups += ta.average_repeats(np.ones(5), d, np.full(5, 0.001))
        print(
            f"five repeats, scatter {math.hypot(1, extra):.2f} × the error bar: called scattered "
            f"in {100 * np.mean([g.scatters for g in groups]):.2f} %"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=300)
    parts = {f.__name__: f for f in (fits, windows, comparison, to_1e, across)}
    parser.add_argument("--only", choices=parts)
    options = parser.parse_args()
    warnings.simplefilter("error")
    print(f"{options.repeats} repeats each, seed {SEED}; value ± its standard error", flush=True)
    for name, part in parts.items():
        if options.only in (None, name):
            part(options.repeats)


if __name__ == "__main__":
    main()
