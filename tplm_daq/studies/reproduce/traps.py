"""S2, figures 3c and d: traps, and the time of the largest MSD."""

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
    value_of,
)
from tplm_daq.studies.tasks import Outcome, Task, make_task
from tplm_simulators.samples.bright_dark import BrightDarkModel, bright_dark_moments

TRAP_RATES = (0.0025, 0.005, 0.01, 0.0175, 0.025)
GAMMA_FRET = (0.12, 0.09, 0.15)
STEPS = 400
SEED = 2023

READING = """\
Bright excitons and traps only: γ_B = 0.03, trapped excitons emit 1/100 of that and stay; trap rates
up to the printed 0.025, γ_FRET = 0.12 from the middle of the printed 0.09 to 0.15 (which values
the figure has is not said). Points: simulated excitons; lines: the exact recursion.

**The fall.** After its maximum the MSD falls, since the light of the trapped excitons takes over,
which have hopped less. It falls to their mean square displacement when they were trapped, not to
zero: a trapped exciton shines where it sits. "Decaying back to zero" does not follow from the
model as described."""


def _tasks(quick: bool) -> list[Task]:
    repeats = 500 if quick else 10_000
    common = {"gamma_bd": 0.0, "bright_fraction": 1.0, "steps": STEPS, "repeats": repeats}
    points = [(rate, GAMMA_FRET[0]) for rate in TRAP_RATES]
    points += [(0.01, gamma) for gamma in GAMMA_FRET[1:]]
    return [
        make_task("bright-dark", {"trap_rate": r, "gamma_fret": g, **common}, seed=SEED)
        for r, g in points
    ]


def _exact(task: Task, steps: int = STEPS) -> F64:
    model = BrightDarkModel.traps(
        value_of(task, "trap_rate"), gamma_fret=value_of(task, "gamma_fret")
    )
    return bright_dark_moments(model, steps=steps).msd_sites2


def _compare(tasks: list[Task], results: list[Outcome]) -> tuple[list[Comparison], dict[str, Any]]:
    t_max = [float(one["t_max_ns"]) for one in results]
    rates = len(TRAP_RATES)
    highest = rates - 1
    msd, stderr = (array(results[highest], f"msd_{key}sites2") for key in ("", "stderr_"))
    t = array(results[highest], "time_ns")
    top = int(np.argmin(np.abs(t - t_max[highest])))
    # late, where trapped excitons shine alone: 25 ns after the pulse
    after = float(_exact(tasks[highest], 1001)[-1])
    half = float(msd[top // 2] / msd[top] * top / (top // 2))
    hops = [t_max[TRAP_RATES.index(0.01)], *t_max[rates:]]
    slopes = [float(array(one, "msd_sites2")[40]) for one in results[rates:]]
    comparisons = [
        Comparison.of(
            "trap rate 0.025: MSD rises, then falls (maximum above that at 10 ns by 5 standard "
            "errors)",
            "rises up to t_max, then contracts",
            f"{msd[top]:.1f} sites² at {t_max[highest]:.3g} ns, {msd[-1]:.1f} at 10 ns",
            bool(msd[top] - msd[-1] > 5 * np.hypot(stderr[top], stderr[-1])),
        ),
        Comparison.of(
            "the rise is near-linear (mean slope to t_max/2 within 40 % of that to t_max)",
            "near-linear increase", f"{half:.2f}", abs(half - 1) < 0.4,
        ),
        Comparison.of(
            "MSD at 25 ns (exact; zero within 1 % of the maximum)",
            "decays back to zero",
            f"{after:.1f} sites², {after / msd[top]:.0%} of the maximum",
            after < 0.01 * msd[top],
        ),
        Comparison.of(
            "a lower trap rate shifts t_max to later times",
            "higher t_max",
            ", ".join(f"{one:.3g}" for one in t_max[:rates]) + " ns for rates "
            + ", ".join(f"{rate:g}" for rate in TRAP_RATES),
            bool(np.all(np.diff(t_max[:rates]) < 0)),
        ),
        Comparison.of(
            "the hopping rate changes the rise but not t_max (trap rate 0.01)",
            "does not affect t_max",
            ", ".join(f"{one:.4g}" for one in hops) + " ns for γ_FRET = "
            + ", ".join(f"{gamma:g}" for gamma in GAMMA_FRET)
            + f"; MSD at 1 ns {slopes[1] / slopes[0]:.2f} times as large for 0.15 as for 0.09",
            max(hops) - min(hops) < 1e-9 and slopes[1] > 1.3 * slopes[0],
        ),
        Comparison(
            "t_max of the measurements", "10 to 30 ns",
            f"{min(t_max):.3g} to {max(t_max):.3g} ns; the rates of the figure are not given",
            "no number",
        ),
    ]  # fmt: skip
    return comparisons, {
        "trap_rate": [value_of(task, "trap_rate") for task in tasks],
        "gamma_fret": [value_of(task, "gamma_fret") for task in tasks],
        "t_max_ns": t_max,
        "msd_sites2": [one["msd_sites2"] for one in results],
    }


def _draw(tasks: list[Task], results: list[Outcome], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    rates = len(TRAP_RATES)
    for task, result, colour in zip(tasks[:rates], results, COLOURS, strict=False):
        t, msd = array(result, "time_ns"), array(result, "msd_sites2")
        name = f"trap rate {value_of(task, 'trap_rate'):g}"
        left.plot(t, _exact(task), color=colour, linewidth=1.2, label=name)
        left.errorbar(
            t[::16], msd[::16], array(result, "msd_stderr_sites2")[::16], fmt="o", color=colour,
            markersize=3,
        )  # fmt: skip
        right.plot(value_of(task, "trap_rate"), result["t_max_ns"], "o", color=colour)
    for task, result, marker in zip(tasks[rates:], results[rates:], "^v", strict=True):
        name = f"γ_FRET = {value_of(task, 'gamma_fret'):g}"
        right.plot(
            value_of(task, "trap_rate"), result["t_max_ns"], marker, color="0.3", markersize=9,
            fillstyle="none", label=name,
        )  # fmt: skip
    top = max(float(np.max(_exact(task))) for task in tasks[:rates])
    left.set(ylim=(0, 1.25 * top))
    finish(left, "time (ns)", "MSD of the light (sites²)", "figure 3c, γ_FRET = 0.12")
    finish(right, "trap rate (per 25 ps)", "t_max (ns)", "figure 3d")


STUDY = Study("s2-3cd", "S2, figures 3c and d: traps", READING, _tasks, _compare, _draw)
