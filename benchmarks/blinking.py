"""How well on-fractions and the laws of blinking are known: ``python benchmarks/blinking.py``.

Each row: bias with its standard error, spread over the mean error bar, coverage of the 68 % and
95 % intervals, and how often the likelihood ratio chose a truncated law.
"""

import math
import sys

import numpy as np

from tplm_analysis.blinking import (
    bin_photons,
    durations,
    fit_durations,
    intermittency,
    synthetic_blinking,
)

REPEATS = 400


def summary(name, values, errors, truth):
    """Print one row."""
    values, errors = np.array(values), np.array(errors)
    known = np.isfinite(errors)
    values, errors = values[known], errors[known]
    z = (values - truth) / errors
    bias, stderr = values.mean() - truth, values.std(ddof=1) / math.sqrt(values.size)
    print(
        f"  {name:14} {truth:8.4g}  bias {bias:+.4f} ± {stderr:.4f}  error bar {errors.mean():.4f}"
        f"  spread {values.std(ddof=1) / errors.mean():.2f}"
        f"  68 %: {np.mean(np.abs(z) < 1):.0%}  95 %: {np.mean(np.abs(z) < 1.96):.0%}"
        f"  known {known.mean():.0%}"
    )


def laws(seed):
    """Fit movies whose laws are known."""
    print("laws of the on-times, shortest_frames = 1, off-times α = 1.5")
    for alpha, cut, particles, frames in (
        (1.5, math.inf, 1, 5000),
        (1.5, math.inf, 20, 2000),
        (2.2, math.inf, 20, 2000),
        (1.2, 11.0, 1, 5000),
        (1.2, 11.0, 20, 2000),
        (0.8, 100.0, 20, 2000),
    ):
        rng = np.random.default_rng(seed)
        fits = []
        for _ in range(REPEATS):
            counts = synthetic_blinking(
                rng,
                particles=particles,
                frames=frames,
                alpha_on=alpha,
                truncation_on_frames=cut,
            )
            found = durations(intermittency(counts).on)
            fits.append(fit_durations(found.on, found.on_censored, frame_s=0.02))
        fitted = [fit for fit in fits if fit.model is not None]
        chosen = np.mean([fit.model == "truncated-power-law" for fit in fitted])
        events = np.mean([fit.complete for fit in fitted])
        print(
            f"α = {alpha:g}, t_c = {cut * 0.02:g} s, {particles} × {frames} frames, "
            f"{events:.0f} durations, fitted {len(fitted) / REPEATS:.0%}, truncated chosen "
            f"{chosen:.1%} ± {math.sqrt(chosen * (1 - chosen) / len(fitted)):.1%}"
        )
        law = [fit.power_law if math.isinf(cut) else fit.truncated for fit in fitted]
        summary("α", [one.alpha for one in law], [one.alpha_stderr for one in law], alpha)
        if math.isfinite(cut):
            # an interval in ln t_c, as the likelihood is more nearly symmetric there
            logs = [math.log(one.truncation_s) for one in law]
            errors = [one.truncation_stderr_s / one.truncation_s for one in law]
            summary("ln(t_c / s)", logs, errors, math.log(cut * 0.02))


def fractions(seed):
    """Compare the errors of on-fractions with their scatter."""
    print("on-fractions, 2000 frames, one particle")
    for name, alpha, cut in (
        ("exponential, 10 frames", 0.0, 10.0),
        ("t^-1.2, cut at 11 frames", 1.2, 11.0),
        ("t^-1.5, cut at 200 frames", 1.5, 200.0),
    ):
        counts = synthetic_blinking(
            seed,
            particles=2000,
            frames=2000,
            alpha_on=alpha,
            alpha_off=alpha,
            truncation_on_frames=cut,
            truncation_off_frames=cut,
        )
        found = intermittency(counts)
        naive = np.sqrt(found.on_fraction * (1 - found.on_fraction) / 2000)
        print(name)
        summary("cycles", found.on_fraction, found.on_fraction_stderr, 0.5)
        summary("binomial", found.on_fraction, naive, 0.5)


def within_frames(seed):
    """Switching at any time, every frame counted as on or off: what the shortest stays do."""
    print("switching within frames, on and off t^-1.5 from 0.2 frames on, 20 × 2000 frames")
    found = {shortest: [] for shortest in (1, 2, 3, 5, 10)}
    rng = np.random.default_rng(seed)
    for _ in range(100):
        traces = []
        for _ in range(20):
            switch = np.cumsum(0.2 * rng.random(4000) ** (-1 / 0.5))
            switch = np.append(switch[switch < 2000], 2000.0)
            lit = np.diff(switch, prepend=0.0)
            lit[1::2] = 0
            start = switch - np.diff(switch, prepend=0.0)
            times = [
                a + length * rng.random(rng.poisson(300 * length))
                for a, length in zip(start, lit, strict=True)
            ]
            photons = np.concatenate([*times, 2000 * rng.random(rng.poisson(20 * 2000))])
            traces.append(bin_photons(photons, 1.0, 2000.0))
        stays = durations(intermittency(np.array(traces)).on)
        for shortest, fits in found.items():
            fits.append(
                fit_durations(stays.on, stays.on_censored, shortest_frames=shortest).power_law
            )
    for shortest, fits in found.items():
        values, errors = [fit.alpha for fit in fits], [fit.alpha_stderr for fit in fits]
        summary(f"shortest {shortest}", values, errors, 1.5)


if __name__ == "__main__":
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 20261121
    laws(seed)
    fractions(seed)
    within_frames(seed)
