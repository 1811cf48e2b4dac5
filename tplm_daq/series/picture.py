"""The report of a series: one picture with D against what was swept, and every map."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tplm_analysis import Relaxation
from tplm_config import InputError
from tplm_daq.report import COLOURS, picture_path
from tplm_daq.series.manifest import Entry, Result
from tplm_daq.series.results import known
from tplm_daq.store import read_scan
from tplm_daq.store.files import replacing

PICTURE = "series.png"
MOST_MAPS = 16
MAPS_IN_A_ROW = 8
SHOWN_NS = 8.0
"""Time after the light begins that a small map shows."""
POOLED = 64
"""Time bins a small map has at most."""
NAMES = {
    "power_nw": "nominal power (nW)",
    "fluence_uj_per_cm2": "fluence (µJ/cm²)",
    "repetition_rate_hz": "repetition rate (Hz)",
    "temperature_k": "temperature (K)",
    "count_rate_hz": "count rate (Hz)",
    "transmission": "transmission before the detector",
}
LOGARITHMIC = {"fluence_uj_per_cm2", "repetition_rate_hz"}
D_NAME = "D (cm²/s)"


def draw_series(
    entries: Sequence[Entry],
    curve: Relaxation | None,
    folder: Path,
    title: str = "",
    name: str = PICTURE,
) -> Path:
    """Draw D against the swept quantity, against the time between excitations, and the maps.

    Parameters
    ----------
    entries : sequence of Entry
        All points; those without a D are left out.
    curve : Relaxation or None
        The relaxation curve, if there is one.
    folder : Path
        Where the scans are, and where the picture goes.
    title : str
        Over the picture.
    name : str
        PNG, PDF or SVG.

    Raises
    ------
    InputError
        If the picture cannot be written there.
    """
    path = picture_path(folder / name)
    done = [entry for entry in entries if entry.state == "done"]
    shown = done[:MOST_MAPS]
    rows = -(-len(shown) // MAPS_IN_A_ROW)
    figure = Figure(figsize=(13.5, 4.6 + 2.1 * rows), dpi=150, layout="constrained")
    heights = [4.2, 2.1 * rows] if rows else [1.0]
    upper, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    figure.suptitle(title, fontsize=13, fontweight="bold")
    left, right = upper.subplots(1, 2)
    _swept(left, entries)
    if curve is None:
        _in_order(right, entries)
    else:
        _relaxation(right, entries, curve)
    if below:
        axes = below[0].subplots(rows, MAPS_IN_A_ROW, squeeze=False, sharex=True, sharey=True)
        for axis, entry in zip(axes.flat, shown, strict=False):
            _small_map(axis, folder, entry)
        for axis in axes.flat[len(shown) :]:
            axis.axis("off")
        more = f" (the first {MOST_MAPS} of {len(done)})" if len(done) > MOST_MAPS else ""
        below[0].supxlabel(f"time after the light begins (ns){more}", fontsize=9)
        below[0].supylabel("position (µm)", fontsize=9)
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        raise InputError(path, f"the picture cannot be written ({error.strerror})") from None
    return path


def swept_quantity(entries: Sequence[Entry]) -> str | None:
    """The first quantity that is set in every point and varies."""
    for name in NAMES:
        values = {getattr(entry.settings, name) for entry in entries}
        if None not in values and len(values) > 1:
            return name
    return None


def _swept(axis: Axes, entries: Sequence[Entry]) -> None:
    quantity = swept_quantity(entries)
    axis.set_ylabel(D_NAME)
    if quantity is None:
        _in_order(axis, entries)
        return
    axis.set_xlabel(NAMES[quantity])
    if quantity in LOGARITHMIC:
        axis.set_xscale("log")
    repeats = sorted({entry.repeat for entry in entries})
    for repeat, colour in zip(repeats, np.resize(COLOURS, len(repeats)), strict=True):
        rows = [
            (getattr(entry.settings, quantity), d, error)
            for entry, _, d, error in known(entries)
            if entry.repeat == repeat
        ]
        if rows:
            x, d, error = np.array(rows).T
            label = f"repeat {repeat + 1}" if len(repeats) > 1 else None
            axis.errorbar(x, d, error, fmt="o", ms=5, capsize=3, color=str(colour), label=label)
    if len(repeats) > 1:
        axis.legend(fontsize=9, frameon=False)
    _from_zero(axis)


def _in_order(axis: Axes, entries: Sequence[Entry]) -> None:
    """D in the order of measurement, which shows what does not come back."""
    axis.set_xlabel("point, in the order of measurement")
    axis.set_ylabel(D_NAME)
    rows = [(entry.index, d, error) for entry, _, d, error in known(entries)]
    if rows:
        index, d, error = np.array(rows).T
        axis.errorbar(index, d, error, fmt="o-", ms=5, capsize=3, lw=0.8, color=COLOURS[0])
    if len(entries) <= MOST_MAPS:
        axis.set_xticks([entry.index for entry in entries])
    _from_zero(axis)


def _relaxation(axis: Axes, entries: Sequence[Entry], curve: Relaxation) -> None:
    axis.set_xlabel("mean time between excitations (µs)")
    axis.set_ylabel(D_NAME)
    rows = [
        (r.time_between_excitations_us, d, error)
        for _, r, d, error in known(entries)
        if r.time_between_excitations_us is not None
    ]
    interval, d, error = np.array(rows).T
    axis.errorbar(interval, d, error, fmt="o", ms=5, capsize=3, color=COLOURS[0])
    along = np.linspace(0.5 * interval.min(), 1.05 * interval.max(), 300)
    axis.plot(along, curve.at(along), color=COLOURS[4], lw=1.6)
    axis.set_title(
        f"D = D_slow + A exp(−Δt/τ):  τ = {curve.tau_us:.2f} ± {curve.tau_stderr_us:.2f} µs\n"
        f"D_slow = {curve.d_slow_cm2_per_s:.4f} ± {curve.d_slow_stderr_cm2_per_s:.4f},  "
        f"A = {curve.amplitude_cm2_per_s:.4f} ± {curve.amplitude_stderr_cm2_per_s:.4f} cm²/s",
        fontsize=10,
    )
    _from_zero(axis)


def _from_zero(axis: Axes) -> None:
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, 0.0), high)


def _small_map(axis: Axes, folder: Path, entry: Entry) -> None:
    """A map normalised to each time, so that its width shows."""
    try:
        found = read_scan(folder / entry.file).map()
    except InputError:  # of a cross or raster of another shape, or taken away meanwhile
        axis.axis("off")
        return
    seen = found.exposure_s > 0
    rate = found.counts[seen] / found.exposure_s[seen, None]
    start = int(np.argmax(found.counts.sum(axis=0)))
    bin_ns = found.t_ns[1] - found.t_ns[0]
    length = min(rate.shape[1] - start, round(SHOWN_NS / bin_ns))
    step = -(-length // POOLED)
    pooled = np.add.reduceat(rate[:, start : start + length], np.arange(0, length, step), axis=1)
    top = pooled.max(axis=0)
    shape = np.divide(pooled, top, out=np.zeros_like(pooled), where=top > 0)
    t_ns = (np.arange(pooled.shape[1]) + 0.5) * step * bin_ns
    axis.pcolormesh(
        t_ns, found.x_um[seen], shape, cmap="viridis", vmin=0, vmax=1, shading="nearest",
        rasterized=True,
    )  # fmt: skip
    axis.set_title(f"{entry.label}\n{_d_of(entry.result)}", fontsize=8)
    axis.tick_params(labelsize=7)


def _d_of(result: Result | None) -> str:
    if result is None or result.d_cm2_per_s is None:
        return "no D"
    error = result.d_stderr_cm2_per_s
    return f"D = {result.d_cm2_per_s:.4f}" + (f" ± {error:.4f}" if error is not None else "")
