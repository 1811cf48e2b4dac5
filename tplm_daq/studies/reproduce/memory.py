"""S1, figure 4e: diffusivity against the time between excitations of one nanocrystal."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import tplm_analysis as ta
from tplm_daq.studies.reproduce.base import (
    COLOURS,
    F64,
    Comparison,
    Study,
    finish,
    logarithmic,
    number,
    plus_minus,
    value_of,
)
from tplm_daq.studies.tasks import Outcome, Task, make_task
from tplm_simulators.samples.memory import MemoryModel

ALPHAS = (0.02, 0.04, 0.08, 0.16)
INTERVALS_US = (0.2, 0.4, 0.8, 1.2, 1.6, 2.0)
"""5 to 0.5 MHz, the repetition rates of S1."""
SEED = 2021
BURN_IN_TAUS = 5
SHORT_US = 20.0
READINGS = {
    "variance": "d_cm2_per_s",
    "radial": "d_radial_cm2_per_s",
    "displacement": "d_displacement_cm2_per_s",
}

READING = """\
24 points: α = 0.02, 0.04, 0.08, 0.16 by τ_pulse = 0.2 to 2 µs (5 to 0.5 MHz, those of the
experiment; the paper does not list those of its simulation), 1000 pulses on each of four films,
after a burn-in of five relaxation times of 8.1 µs. The time between excitations is τ_pulse/α, that
of the middle of the spot. The fit D∞ + A exp(−Δt/τ) weighs all points alike, since they are not
exactly on one curve, and the error of τ is from their scatter about it.

**What D is.** The paper defines σ² = ⟨r²⟩ over the density ρ(x, y, t) and D = (σ²(t) − σ²(0))/2t at
1 ns. With the ⟨r²⟩ of two dimensions this literal D is *twice* that along one axis, which the
microscope measures and equation 4 of the same paper means; τ is the same. So the plot shows the
growth of the variance of the *profile* along one axis. The excitons' own mean square displacement
gives a larger D and a longer τ: excitons at the rim drift inwards, to where the film is fast, and
this makes no profile wider.

**Amplitudes.** A film that is slow everywhere has D = 0.006 l²/4 per ps = 0.0015 cm²/s, so the
0.01 that was measured at long waits cannot come out with the printed rates; D at the shortest wait
depends on which one that is.

**Not one exponential.** τ depends on which waits are fitted, by more than its standard error; and
at long ones D falls even below 0.0015: an exciton makes its own trail fast, and bounces in it.

Four films, 1.3·10¹⁰ steps of excitons, take 43 s of processor time on all cores together."""


def _tasks(quick: bool) -> list[Task]:
    run = {"pulses": 60, "replicas": 2} if quick else {"pulses": 1000, "replicas": 4}
    tau_us = MemoryModel().relaxation_us
    return [
        make_task(
            "memory",
            {
                "alpha": alpha,
                "pulse_interval_us": interval_us,
                "burn_in": math.ceil(BURN_IN_TAUS * tau_us / interval_us),
                **run,
            },
            seed=SEED,
        )
        for alpha in ALPHAS
        for interval_us in INTERVALS_US
    ]


def _waits(tasks: list[Task]) -> F64:
    return np.array([value_of(t, "pulse_interval_us") / value_of(t, "alpha") for t in tasks])


def _d(results: list[Outcome], name: str) -> F64:
    return np.array([number(one, name) for one in results])


def _fit(wait_us: F64, d: F64) -> tuple[ta.Relaxation, float]:
    """Return the curve, all points alike, and by what its errors must be multiplied."""
    unit = float(np.std(d))
    fit = ta.fit_relaxation(wait_us, d, np.full_like(d, unit))
    return fit, math.sqrt(fit.chi2 / fit.degrees)


def _spread(wait_us: F64, d: F64) -> float:
    """Return the scatter of points with equal waits and other fluences, over that of all."""
    within, free = 0.0, 0
    for wait in np.unique(np.round(wait_us, 9)):
        same = d[np.isclose(wait_us, wait)]
        within += float(np.sum((same - same.mean()) ** 2))
        free += same.size - 1
    return math.sqrt(within / free) / float(np.std(d, ddof=1))


def _compare(tasks: list[Task], results: list[Outcome]) -> tuple[list[Comparison], dict[str, Any]]:
    wait_us = _waits(tasks)
    fits = {name: _fit(wait_us, _d(results, key)) for name, key in READINGS.items()}
    tau = {name: (fit.tau_us, fit.tau_stderr_us * scale) for name, (fit, scale) in fits.items()}
    fit, scale = fits["variance"]
    d = _d(results, READINGS["variance"])
    slow, slow_stderr = fit.d_slow_cm2_per_s, fit.d_slow_stderr_cm2_per_s * scale
    spread = _spread(wait_us, d)
    last, last_stderr = (
        float(results[int(np.argmax(wait_us))][f"d_{key}cm2_per_s"]) for key in ("", "stderr_")
    )
    short = wait_us <= SHORT_US
    early_fit, early_scale = _fit(wait_us[short], d[short])
    early = early_fit.tau_us, early_fit.tau_stderr_us * early_scale
    at_6 = abs(tau["variance"][0] - 6) <= 0.5 + 2 * tau["variance"][1]
    comparisons = [
        Comparison.of(
            "τ, one-axis variance (within 0.5 + 2 standard errors)",
            "~6 µs, measured (4a); simulation \"in near quantitative agreement\"",
            f"{plus_minus(*tau['variance'])} µs", at_6,
        ),
        Comparison.of(
            "D is primarily a function of τ_pulse/α (scatter between fluences at equal waits below "
            "0.1 of the scatter of all points)",
            "primarily", f"{spread:.3f}", spread < 0.1,
        ),
        Comparison.of(
            "D∞ of the fit (within a factor of 2)",
            "~0.01 cm²/s, measured", f"{plus_minus(slow, slow_stderr)} cm²/s",
            0.005 <= slow <= 0.02,
        ),
        Comparison.of(
            "largest D (within 20 %)",
            "up to 15 × 0.01 = 0.15 cm²/s, measured",
            f"{d.max():.3f} cm²/s at {wait_us[d.argmax()]:.3g} µs", abs(d.max() / 0.15 - 1) <= 0.2,
        ),
        Comparison(
            f"D at {wait_us.max():g} µs", "not given",
            f"{plus_minus(last, last_stderr)} cm²/s; a slow film 0.0015", "no number",
        ),
        Comparison(
            f"τ, waits up to {SHORT_US:g} µs only", "not given", f"{plus_minus(*early)} µs",
            "no number",
        ),
        Comparison(
            "τ, radial ⟨r²⟩ as printed", "not given for the simulation",
            f"{plus_minus(*tau['radial'])} µs, all D twice", "no number",
        ),
        Comparison(
            "τ, the excitons' own displacement", "not given for the simulation",
            f"{plus_minus(*tau['displacement'])} µs", "no number",
        ),
    ]  # fmt: skip
    values = {
        "alpha": [value_of(task, "alpha") for task in tasks],
        "pulse_interval_us": [value_of(task, "pulse_interval_us") for task in tasks],
        "time_between_excitations_us": wait_us,
        "d_cm2_per_s": d,
        "d_stderr_cm2_per_s": _d(results, "d_stderr_cm2_per_s"),
        **{f"tau_{name}_us": list(pair) for name, pair in tau.items()},
        "tau_short_waits_us": list(early),
        "d_slow_cm2_per_s": [slow, slow_stderr],
        "amplitude_cm2_per_s": fit.amplitude_cm2_per_s,
        "spread_at_equal_waits": spread,
        "exciton_steps": sum(one["exciton_steps"] for one in results),
    }
    return comparisons, values


def _draw(tasks: list[Task], results: list[Outcome], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    wait_us, d = _waits(tasks), _d(results, READINGS["variance"])
    error = _d(results, "d_stderr_cm2_per_s")
    fit, scale = _fit(wait_us, d)
    line = np.geomspace(wait_us.min(), wait_us.max(), 300)
    interval_us = np.array([value_of(task, "pulse_interval_us") for task in tasks])
    alphas = np.array([value_of(task, "alpha") for task in tasks])
    for alpha, colour in zip(ALPHAS, COLOURS, strict=False):
        own = alphas == alpha
        style: dict[str, Any] = {"fmt": "o", "color": colour, "markersize": 5}
        left.errorbar(wait_us[own], d[own], error[own], label=f"α = {alpha:g}", **style)
        right.errorbar(interval_us[own], d[own], error[own], label=f"α = {alpha:g}", **style)
    tau = plus_minus(fit.tau_us, fit.tau_stderr_us * scale)
    left.plot(line, fit.at(line), "--", color="#c0392b", label=f"fit, τ = {tau} µs")
    own_d = _d(results, READINGS["displacement"])
    left.plot(wait_us, own_d, ".", color="0.7", zorder=0, label="excitons' own displacement")
    left.axhline(0.0015, color="0.5", linewidth=0.8, linestyle=":", label="all slow")
    logarithmic(left, (1, 2, 5, 10, 20, 50, 100))
    finish(left, "time between excitations τ_pulse/α (µs)", "D (cm²/s)", "one axis, at 1 ns")
    logarithmic(right, INTERVALS_US)
    finish(right, "time between pulses (µs)", "D (cm²/s)", "the inset")


STUDY = Study("s1-4e", "S1, figure 4e: memory of excitation", READING, _tasks, _compare, _draw)
