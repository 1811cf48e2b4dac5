"""S3, figure 3d: D(t) of the Haken–Strobl–Reineker model for growing dephasing."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tplm_daq.studies.reproduce.base import (
    COLOURS,
    Comparison,
    Study,
    array,
    finish,
    number,
    plus_minus,
    value_of,
)
from tplm_daq.studies.tasks import Outcome, Task, make_task

DEPHASINGS = (0.0, 0.05, 0.1, 0.3, 1.0, 3.0)
T_MAX = 20.0
SEED = 2024

READING = """\
Δ/J = 1 as in the caption, the exciton starting on one site; Γ = 0 to 3 (the paper's values are not
given), a ring of 100 sites, averaged over all starts and 40 realisations of the disorder (6 when
quick), over the noise exactly. D in units of Ja²/ħ, times in ħ/J.

**The Γ axis.** The equations have one noise for each *site*, with ⟨ξξ⟩ = Γ δ(t − t′). The authors'
public code draws a random phase for each *matrix element* of a step of 0.1, with a variance that
makes its Γ ten times the rate of dephasing. Here Γ is the rate of the equations;
`tplm simulate quantum --variant published` is the code's."""


def tasks_of(quick: bool) -> list[Task]:
    """Return the tasks, which figure 4b shares."""
    return [
        make_task(
            "quantum",
            {"dephasing": g, "realisations": 6 if quick else 40, "t_max": T_MAX},
            seed=SEED,
        )
        for g in DEPHASINGS
    ]


def _compare(tasks: list[Task], results: list[Outcome]) -> tuple[list[Comparison], dict[str, Any]]:
    d_max = np.array([number(one, "d_max") for one in results])
    d_stderr = np.array([number(one, "d_max_stderr") for one in results])
    t_max = np.array([number(one, "t_d_max") for one in results])
    weak = results[DEPHASINGS.index(0.05)]
    fall = number(weak, "d_max") - number(weak, "d_window")
    fall_stderr = float(np.hypot(number(weak, "d_max_stderr"), number(weak, "d_window_stderr")))
    lists = ", ".join(f"{g:g}" for g in DEPHASINGS)
    none = results[0]
    comparisons = [
        Comparison.of(
            "Γ = 0.05: D(t) rises to D_max, then decays (by 5 standard errors)",
            "maximum D_max at t_max in the weak dissipative regime",
            f"{plus_minus(number(weak, 'd_max'), number(weak, 'd_max_stderr'))} at "
            f"{number(weak, 't_d_max'):.2g}, later "
            f"{plus_minus(number(weak, 'd_window'), number(weak, 'd_window_stderr'))}",
            fall > 5 * fall_stderr,
        ),
        Comparison.of(
            "D_max decreases as Γ grows",
            "decrease in D_max",
            ", ".join(plus_minus(a, b, 1) for a, b in zip(d_max, d_stderr, strict=True))
            + f" for Γ = {lists}",
            bool(np.all(np.diff(d_max) < 0)),
        ),
        Comparison.of(
            "the ballistic part gets shorter: t_max at Γ = 3 (by 20 % of that without dephasing)",
            "reduced ballistic transport",
            ", ".join(f"{one:.2g}" for one in t_max) + f" for Γ = {lists}",
            bool(t_max[-1] < 0.8 * t_max[0]),
        ),
        Comparison(
            "Γ = 0: mean D over the last third of the times", "approaches 0 in the long-time limit",
            f"{plus_minus(number(none, 'd_window'), number(none, 'd_window_stderr'))} at "
            f"{2 * T_MAX / 3:.0f} to {T_MAX:.0f}, still falling", "no number",
        ),
    ]  # fmt: skip
    return comparisons, {
        "dephasing": list(DEPHASINGS),
        "d_max": d_max,
        "d_max_stderr": d_stderr,
        "t_d_max": t_max,
        "time": results[0]["time"],
        "diffusivity": [one["diffusivity"] for one in results],
    }


def _draw(tasks: list[Task], results: list[Outcome], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    for task, result, colour in zip(tasks, results, COLOURS, strict=False):
        t, d, error = (array(result, n) for n in ("time", "diffusivity", "diffusivity_stderr"))
        for axes in (left, right):
            axes.plot(t, d, color=colour, label=f"Γ = {value_of(task, 'dephasing'):g}")
            axes.fill_between(t, d - error, d + error, color=colour, alpha=0.2, linewidth=0)
    right.set(xlim=(0, 6))
    for axes, title in ((left, "Δ/J = 1"), (right, "the same, early")):
        axes.set(ylim=(0, None))
        finish(axes, "time (ħ/J)", "D (Ja²/ħ)", title)


STUDY = Study("s3-3d", "S3, figure 3d: D(t) and dephasing", READING, tasks_of, _compare, _draw)
