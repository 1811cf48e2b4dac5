"""The pictures and the tables of docs/estimators.md.

    python benchmarks/estimators.py --json docs/images/estimators.json
    python benchmarks/estimator_pictures.py

The tables and the first picture show what the benchmark measured; the second is measured here.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from estimators import ESTIMATORS

import tplm_analysis as ta

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES, PAGE = DOCS / "images", DOCS / "estimators.md"

NAMES = {
    "global": "global",
    "slices": "slices",
    "slices, own errors": "slices, each with its own error",
    "gaussian-msd": "gaussian-msd (S1 as printed)",
    "LSQ, free intercept": "least squares, line with intercept",
    "LSQ, weights 1/n": "least squares weighted by 1/n",
    "voigt-davg": "voigt-davg (S2 as printed)",
    "moment": "moment (S3)",
    "moment, exact backgr.": "moment, true background known",
    "moment, backgr. left": "moment, background left in",
}
TABLES = {
    "efficiency": "efficiency",
    "bias_d": "bias/*D*",
    "coverage_68": "covered by ± 1 error bar",
    "coverage_95": "covered by ± 1.96 error bars",
}
COLOURS = {0.001: "#0072b2", 0.01: "#009e73", 0.1: "#d55e00"}
SHOWN = {
    "global": ("#000000", "o"),
    "LSQ, free intercept": ("#0072b2", "v"),
    "moment": ("#009e73", "^"),
    "moment, exact backgr.": ("#e69f00", "D"),
    "moment, backgr. left": ("#d55e00", "x"),
}
MAPS, SEED = 24, 77


def draw_efficiency(rows: list[dict]) -> None:
    """Efficiency of every estimator, one panel for each brightness."""
    amplitudes = sorted({row["amplitude"] for row in rows})
    figure, axes = plt.subplots(
        1, len(amplitudes), figsize=(11, 4.2), sharey=True, layout="constrained"
    )
    for axis, amplitude in zip(np.atleast_1d(axes), amplitudes, strict=True):
        for row in rows:
            if row["amplitude"] != amplitude:
                continue
            y = list(NAMES).index(row["estimator"])
            y += (list(COLOURS).index(row["d"]) - 1) * 0.22
            value, error = row["efficiency"]
            # an estimate that is off by more than its scatter is no estimate
            filled = abs(row["bias_sigma"][0]) < 0.5
            axis.errorbar(
                value, y, xerr=error, fmt="o", ms=5, color=COLOURS[row["d"]],
                mfc=COLOURS[row["d"]] if filled else "white",
            )  # fmt: skip
        axis.axvline(1, color="0.3", lw=1)
        axis.set_xscale("log")
        axis.set_xlim(2e-5, 3)
        axis.set_title(f"A = {power(amplitude)} counts·nm per bin")
        axis.set_xlabel("efficiency (Cramér–Rao bound = 1)")
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
    axis.set_yticks(range(len(NAMES)), NAMES.values())
    axis.invert_yaxis()
    for d, colour in COLOURS.items():
        axis.plot([], [], "o", color=colour, label=f"D = {d:g} cm²/s")
    axis.plot([], [], "o", color="0.4", mfc="white", label="biased by > ½ σ")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(PICTURES / "estimators-efficiency.png", dpi=130)


def bias(name: str, truth: ta.ExpectedMap) -> tuple[float, float]:
    """Return the mean error of D in percent, and its standard error."""
    rng = np.random.default_rng(SEED)
    d = np.array([ESTIMATORS[name](truth.sample(rng))[0] for _ in range(MAPS)])
    d = 100 * (d[np.isfinite(d)] / truth.d_cm2_per_s - 1)
    if d.size < 2:
        return np.nan, np.nan
    return float(d.mean()), float(d.std(ddof=1) / np.sqrt(d.size))


def draw_traps() -> None:
    """Bias against the length of the line and against the background."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    bright = 2e6
    panels: tuple[tuple[str, list[float], Callable[[float], ta.ExpectedMap]], ...] = (
        ("half-range of the line / µm   (σ0 = 0.255 µm)", [0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0],
         lambda r: ta.expected_map(amplitude=bright, half_range_um=r)),
        ("background / signal, both over the whole map", [0, 0.02, 0.05, 0.1, 0.2, 0.4],
         lambda b: ta.expected_map(amplitude=bright, background_fraction=b)),
    )  # fmt: skip
    for axis, (label, values, make) in zip(axes, panels, strict=True):
        for name, (colour, marker) in SHOWN.items():
            points = [bias(name, make(value)) for value in values]
            mean, error = np.array(points).T
            print(f"{label[:12]:14}{name:24}", *(f"{m:+.1f}±{e:.1f}" for m, e in points))
            axis.errorbar(
                values, mean, yerr=error, fmt=marker + "-", color=colour, lw=1, ms=5,
                label=NAMES[name],
            )  # fmt: skip
        axis.axhline(0, color="0.3", lw=1)
        axis.set_yscale("symlog", linthresh=10, linscale=1.2)
        axis.set_ylim(-200, 3000)
        ticks = [-100, -10, -5, 0, 5, 10, 100, 1000]
        axis.set_yticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        axis.minorticks_off()
        axis.set_xlabel(label)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
    axes[0].set_ylabel("error of D / %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(PICTURES / "estimators-traps.png", dpi=130)


def tables(rows: list[dict]) -> dict[str, list[str]]:
    """Return the tables of docs/estimators.md by name, as lines of Markdown."""
    made = {
        "default": [
            "| A | *D* | bound σ/*D* | bias/σ | efficiency | 68 % | 95 % | maps |",
            "|---|---|---|---|---|---|---|---|",
        ]
    }
    for row in rows:
        if row["estimator"] == "global":
            keys = ("bias_sigma", "efficiency", "coverage_68", "coverage_95")
            figures = (power(row["amplitude"]), f"{row['d']:g}", f"{row['bound']:.4f}",
                       *(pm(*row[key]) for key in keys), str(row["maps"]))  # fmt: skip
            made["default"].append(f"| {' | '.join(figures)} |")
    cells = sorted({(row["amplitude"], row["d"]) for row in rows})
    for key, title in TABLES.items():
        heads = (f"{power(a)}, {d:g}" for a, d in cells)
        made[key] = [f"| {title} | {' | '.join(heads)} |", "|---|" + "---|" * len(cells)]
        for name, words in NAMES.items():
            found = {(r["amplitude"], r["d"]): r[key] for r in rows if r["estimator"] == name}
            figures = (pm(*found[c]) if c in found else "–" for c in cells)
            made[key].append(f"| {words} | {' | '.join(figures)} |")
    return made


def write_tables(rows: list[dict]) -> None:
    """Put the tables in their places in docs/estimators.md."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in tables(rows).items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + "\n".join(lines) + end + rest.split(end)[1]
    PAGE.write_text(text, encoding="utf-8")


def power(value: float) -> str:
    """Print 2e5 as 2·10⁵."""
    digit, exponent = f"{value:.0e}".split("e+0")
    return f"{digit}·10{'⁰¹²³⁴⁵⁶⁷⁸⁹'[int(exponent)]}"


def pm(value: float, error: float) -> str:
    """Print a value with its standard error, to the first digit of the latter."""
    if not np.isfinite(value) or not np.isfinite(error):
        return "–"
    digits = int(np.clip(-np.floor(np.log10(max(error, 1e-9))), 0, 5))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    """Draw both pictures and write the tables."""
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    warnings.simplefilter("error")
    ta.warm_up()
    rows = json.loads((PICTURES / "estimators.json").read_text())
    write_tables(rows)
    draw_efficiency(rows)
    draw_traps()


if __name__ == "__main__":
    main()
