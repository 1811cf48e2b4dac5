"""S1, tables S1 and S2: excitation densities."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import tplm_analysis as ta
from tplm_daq.studies.reproduce.base import COLOURS, Comparison, Study, finish
from tplm_daq.studies.tasks import Outcome, Task

LIMIT = 0.02
QUANTITIES = {
    "power_at_sample_nw": "power at the sample",
    "intensity_w_per_cm2": "intensity",
    "fluence_uj_per_cm2": "fluence",
    "mean_excitons_per_nc": "⟨N⟩",
}

READING = """\
Formulas of supplementary note 6: the power over a disc as wide as the FWHM (500 nm), 37.4 % of the
nominal power at the sample, cross-section from the edge length of 8.3 nm. Up to 2 % is what the
paper's rounding explains: it carries 0.37 nW and 0.19 W/cm² on from 1 nW."""


def _tables() -> tuple[ta.PublishedComparison, ...]:
    return ta.compare_published("S1"), ta.compare_published("S2")


def _compare(tasks: list[Task], results: list[Outcome]) -> tuple[list[Comparison], dict[str, Any]]:
    comparisons = []
    for table in _tables():
        theirs, ours = np.array(table.paper), np.array(table.ours)
        off = ours / theirs - 1
        for column, name in enumerate(table.columns):
            worst = int(np.argmax(np.abs(off[:, column])))
            comparisons.append(
                Comparison.of(
                    f"table {table.table}, {QUANTITIES.get(name, name)}, {len(theirs)} values "
                    f"(all within {LIMIT:.0%}), the furthest",
                    f"{theirs[worst, column]:g}",
                    f"{ours[worst, column]:.4g} ({off[worst, column]:+.2%})",
                    bool(np.abs(off[:, column]).max() <= LIMIT),
                )
            )
    return comparisons, {table.table: table.to_dict() for table in _tables()}


def _draw(tasks: list[Task], results: list[Outcome], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    for table, colour in zip(_tables(), COLOURS, strict=False):
        theirs, ours = np.array(table.paper), np.array(table.ours)
        power, name = np.array(table.nominal_power_nw), f"table {table.table}"
        left.loglog(power, theirs[:, -1], "o", color=colour, label=f"{name}, paper")
        left.loglog(power, ours[:, -1], color=colour, label=f"{name}, here")
        for column, marker in enumerate("o^sD"):
            right.semilogx(
                power, 100 * (ours[:, column] / theirs[:, column] - 1), marker, color=colour,
                markersize=5, alpha=0.8,
                label=QUANTITIES.get(table.columns[column]) if table.table == "S1" else None,
            )  # fmt: skip
    finish(left, "nominal power (nW)", "⟨N⟩ per pulse", "excitons per nanocrystal")
    right.axhspan(-100 * LIMIT, 100 * LIMIT, color="0.93", zorder=0)
    finish(right, "nominal power (nW)", "here against paper (%)", "all columns of both tables")


STUDY = Study(
    "s1-tables", "S1, tables S1 and S2: excitation densities", READING,
    lambda _quick: [], _compare, _draw,
)  # fmt: skip
