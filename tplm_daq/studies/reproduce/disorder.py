"""S3, figure 3e: D(t) of a wave packet in disorder alone."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tplm_daq.studies.reproduce.base import (
    COLOURS,
    Comparison,
    Study,
    array,
    finish,
    logarithmic,
    number,
    plus_minus,
    value_of,
)
from tplm_daq.studies.tasks import Outcome, Task, Value, make_task

DISORDERS = (0.25, 0.5, 1.0, 2.0, 3.0)
T_MAX = 40.0
SEED = 2025

READING = """\
Γ = 0, start as a coherent Gaussian whose *population* has a standard deviation of 10 sites, a chain
of 240 sites, 300 realisations (10 when quick). The paper's values of Δ/J are not given. Its public
code takes the amplitude exp(−n²/w²) with w = 10, which makes that standard deviation 5; the caption
says 10. L₀ = √(∫D dt) up to t_max, as the paper estimates it.

**Inversely proportional.** Judged by the exponent of a power law through all five. L₀ is close to
it, t_max falls somewhat faster and D_max more slowly: a wide packet starts with velocities near
zero, and gets its speed from the disorder that then stops it."""


def _tasks(quick: bool) -> list[Task]:
    common: dict[str, Value] = {
        "sites": 240, "dephasing": 0.0, "geometry": "chain", "start": "gaussian",
        "method": "trajectories", "t_max": T_MAX, "realisations": 10 if quick else 300,
    }  # fmt: skip
    return [make_task("quantum", {"disorder": one, **common}, seed=SEED) for one in DISORDERS]


def _length(result: Outcome) -> float:
    """Return L₀ in sites."""
    t, msd = array(result, "time"), array(result, "msd")
    return math.sqrt(float(np.interp(number(result, "t_d_max"), t, msd)) / 2)


def _compare(tasks: list[Task], results: list[Outcome]) -> tuple[list[Comparison], dict[str, Any]]:
    found = {
        "D_max": np.array([number(one, "d_max") for one in results]),
        "t_max": np.array([number(one, "t_d_max") for one in results]),
        "L₀": np.array([_length(one) for one in results]),
    }
    comparisons = []
    for name, values in found.items():
        lists = ", ".join(f"{one:.3g}" for one in values)
        where = f"{lists} for Δ/J = " + ", ".join(f"{one:g}" for one in DISORDERS)
        comparisons.append(
            Comparison.of(
                f"{name} falls as Δ/J grows", "falls", where, bool(np.all(np.diff(values) < 0))
            )
        )
        power = float(np.polyfit(np.log(DISORDERS), np.log(values), 1)[0])
        comparisons.append(
            Comparison.of(
                f"{name} ∝ (Δ/J)^p (p within 0.25 of −1)", "inversely proportional",
                f"p = {power:.2f}", abs(power + 1) <= 0.25,
            )
        )  # fmt: skip
    last = results[DISORDERS.index(2.0)]
    late, late_stderr = number(last, "d_window"), number(last, "d_window_stderr")
    comparisons.append(
        Comparison.of(
            "Δ/J = 2: mean D over the last third of the times (zero within 3 standard errors)",
            "0 in the long-time limit (Anderson)", plus_minus(late, late_stderr),
            abs(late) <= 3 * late_stderr,
        )
    )  # fmt: skip
    return comparisons, {
        "disorder": list(DISORDERS),
        "d_max": found["D_max"],
        "d_max_stderr": [one["d_max_stderr"] for one in results],
        "t_d_max": found["t_max"],
        "coherence_sites": found["L₀"],
        "edge_share": [one["edge_share"] for one in results],
        "time": results[0]["time"],
        "diffusivity": [one["diffusivity"] for one in results],
    }


def _draw(tasks: list[Task], results: list[Outcome], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    for task, result, colour in zip(tasks, results, COLOURS, strict=False):
        t, d, error = (array(result, n) for n in ("time", "diffusivity", "diffusivity_stderr"))
        left.plot(t, d, color=colour, label=f"Δ/J = {value_of(task, 'disorder'):g}")
        left.fill_between(t, d - error, d + error, color=colour, alpha=0.2, linewidth=0)
        left.plot(result["t_d_max"], result["d_max"], "o", color=colour)
    left.axhline(0, color="0.6", linewidth=0.8)
    finish(left, "time (ħ/J)", "D (Ja²/ħ)", "Γ = 0, Gaussian start")
    x = np.array(DISORDERS)
    for name, values, colour in (
        ("D_max", [number(one, "d_max") for one in results], COLOURS[0]),
        ("t_max", [number(one, "t_d_max") for one in results], COLOURS[1]),
        ("L₀", [_length(one) for one in results], COLOURS[4]),
    ):
        right.loglog(x, values, "o-", color=colour, label=name)
    right.loglog(x, 3 / x, ":", color="0.5", label="∝ J/Δ")
    logarithmic(right, DISORDERS)
    finish(right, "Δ/J", "D_max, t_max, L₀", "against the disorder")


STUDY = Study("s3-3e", "S3, figure 3e: D(t) and disorder", READING, _tasks, _compare, _draw)
