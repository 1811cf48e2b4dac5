"""S2, figure 2e: bright and dark excitons, and the diffusion that seems to be negative."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tplm_daq.studies.reproduce.base import (
    COLOURS,
    F64,
    Comparison,
    Study,
    array,
    finish,
    plus_minus,
    value_of,
)
from tplm_daq.studies.tasks import Outcome, Task, make_task
from tplm_simulators.samples.bright_dark import BrightDarkModel, bright_dark_moments

GAMMA_DB = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
STEPS = 300
SEED = 2022

READING = """\
γ_B = 0.03, γ_D = 0.0003, γ_BD = 0.15 and γ_FRET = 0.09 as printed, γ_DB from 0 to 0.1, 300 steps of
25 ps. Points: simulated excitons; lines: the exact recursion of the same model. MSD is that of the
light, in sites², both axes. The printed rate of hops, 4·(1/16 + 1/26)·γ_FRET, is damaged;
4·(1/1⁶ + 1/√2⁶)·γ_FRET = 4.5 γ_FRET is used.

**The return to zero.** Without a way back from dark to bright the MSD rises and falls, but it does
not return to zero: excitons that hopped before they went dark still shine, where they are. This
plateau is a fixed share of the maximum, whatever γ_FRET is: both scale with the rate of hops. The
measured 5 nm sample does return to 0, and S2 says that its simulation does."""


def _tasks(quick: bool) -> list[Task]:
    repeats = 500 if quick else 10_000
    return [
        make_task("bright-dark", {"gamma_db": gamma, "repeats": repeats, "steps": STEPS}, seed=SEED)
        for gamma in GAMMA_DB
    ]


def _exact(task: Task) -> F64:
    model = BrightDarkModel(gamma_db=value_of(task, "gamma_db"))
    return bright_dark_moments(model, steps=STEPS).msd_sites2


def _compare(tasks: list[Task], results: list[Outcome]) -> tuple[list[Comparison], dict[str, Any]]:
    msd = [array(one, "msd_sites2") for one in results]
    stderr = [array(one, "msd_stderr_sites2") for one in results]
    cold, cold_stderr = msd[0], stderr[0]
    top = int(np.argmax(cold))
    end, end_stderr = float(cold[-1]), float(cold_stderr[-1])
    exact = [_exact(task) for task in tasks]
    worst = max(
        float(np.max(np.abs(m - e)[1:] / s[1:])) for m, s, e in zip(msd, stderr, exact, strict=True)
    )
    rising = [g for g, e in zip(GAMMA_DB, exact, strict=True) if np.all(np.diff(e) > 0)]
    warm = exact[GAMMA_DB.index(0.02)]
    early, late = float(warm[10] / 10), float((warm[-1] - warm[-101]) / 100)
    comparisons = [
        Comparison.of(
            "γ_DB = 0: MSD rises, then falls (maximum above the end by 5 standard errors)",
            "clear negative diffusion trend",
            f"maximum {plus_minus(float(cold[top]), float(cold_stderr[top]))} sites² at "
            f"{results[0]['t_max_ns']:.3g} ns",
            bool(cold[top] - end > 5 * np.hypot(cold_stderr[top], end_stderr)),
        ),
        Comparison.of(
            "γ_DB = 0: MSD at 7.5 ns (zero within 3 standard errors)",
            "returns to 0",
            f"{plus_minus(end, end_stderr)} sites², {end / cold[top]:.0%} of the maximum",
            abs(end) <= 3 * end_stderr,
        ),
        Comparison.of(
            "larger γ_DB: MSD grows all the time (exact recursion)",
            "monotonous at higher temperatures",
            f"for γ_DB ≥ {min(rising):g}" if rising else "for none",
            bool(rising) and rising == [g for g in GAMMA_DB if g >= min(rising)],
        ),
        Comparison.of(
            "γ_DB = 0.02: two slopes, the first one steeper (by a factor of 2)",
            "bimodal increase",
            f"{early / late:.1f} times steeper in the first 0.25 ns than in the last 2.5 ns",
            early > 2 * late,
        ),
    ]
    return comparisons, {
        "gamma_db": list(GAMMA_DB),
        "time_ns": results[0]["time_ns"],
        "msd_sites2": msd,
        "msd_stderr_sites2": stderr,
        "largest_deviation_from_exact_stderrs": worst,
    }


def _draw(tasks: list[Task], results: list[Outcome], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    for task, result, colour in zip(tasks, results, COLOURS, strict=False):
        t, msd = array(result, "time_ns"), array(result, "msd_sites2")
        error, exact = array(result, "msd_stderr_sites2"), _exact(task)
        name = f"γ_DB = {value_of(task, 'gamma_db'):g}"
        for axes in (left, right):
            label = name if axes is left else None
            axes.plot(t, exact, color=colour, linewidth=1.2, label=label)
            axes.errorbar(t[::12], msd[::12], error[::12], fmt="o", color=colour, markersize=3)
    right.set(xlim=(0, 3), ylim=(0, 10))
    finish(left, "time (ns)", "MSD of the light (sites²)", "bright and dark, γ_FRET = 0.09")
    finish(right, "time (ns)", "MSD of the light (sites²)", "the same, early")


STUDY = Study("s2-2e", "S2, figure 2e: bright and dark excitons", READING, _tasks, _compare, _draw)
