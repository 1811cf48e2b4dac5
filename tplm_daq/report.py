"""The report: one picture of a scan that can go into a talk."""

import textwrap
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredText
from numpy.typing import NDArray

from tplm_analysis import MapFit
from tplm_config import InputError
from tplm_daq.store import ScanMap
from tplm_daq.store.files import replacing

F64 = NDArray[np.float64]
FORMATS = (".png", ".pdf", ".svg")
SLICES = 5
COLOURS = ("#1f4e79", "#2a9d8f", "#8ab17d", "#e9a03b", "#c8553d")
MSD_POINTS = 60
MOST_WARNINGS = 4
BEFORE_NS = -0.1
"""Before the pulse there is nothing to normalise."""
FEW_COUNTS = 5
GLOBAL_MODEL = "global model"
"""Profiles and residuals are those of the global likelihood, whatever method gave D."""


def draw_report(found: ScanMap, fit: MapFit, path: str | Path, title: str = "") -> None:
    """Draw map, slices, MSD, residuals and decay of a fitted map.

    Parameters
    ----------
    found : ScanMap
        The map.
    fit : MapFit
        Its fit, by any method.
    path : str or Path
        PNG, PDF or SVG to write.
    title : str
        Over the picture.

    Raises
    ------
    InputError
        If the picture cannot be written there.
    """
    path = picture_path(path)
    figure = Figure(figsize=(13.5, 7.6), dpi=150, layout="constrained")
    axes = figure.subplots(2, 3)
    heading = f"{title}   –   method {fit.method}" if title else f"method {fit.method}"
    figure.suptitle(heading, fontsize=13, fontweight="bold")
    measured = found.exposure_s > 0
    x_um = found.x_um[measured]
    rate = found.counts[measured] / found.exposure_s[measured, None]
    t_ns = found.t_ns - (fit.time_zero_ns or 0.0)
    place = f"{found.axis} position (µm)"
    lit = t_ns >= BEFORE_NS
    _map(axes[0, 0], x_um, t_ns[lit], rate[:, lit], place, normalised=False)
    _map(axes[0, 1], x_um, t_ns[lit], _normalised(rate[:, lit]), place, normalised=True)
    _slices(axes[0, 2], fit, place)
    _msd(axes[1, 0], fit)
    _residuals(axes[1, 1], fit, place)
    _decay(axes[1, 2], t_ns, found.counts[measured].sum(axis=0), fit)
    warnings = [warning for warning in fit.warnings if not warning.is_remark]
    if warnings:
        lines = [textwrap.shorten(f"{w.code}: {w.message}", 190) for w in warnings[:MOST_WARNINGS]]
        figure.supxlabel("\n".join(lines), fontsize=8, color="#a03020", x=0.01, ha="left")
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        raise InputError(path, f"the picture cannot be written ({error.strerror})") from None


def picture_path(path: str | Path) -> Path:
    """The path of a picture that can be drawn, so that a wrong one is told before a long scan.

    Raises
    ------
    InputError
        If the file name is no picture's, or its folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(path, f"'{path.suffix}' is no picture", f"allowed: {', '.join(FORMATS)}")
    if path.is_dir():
        raise InputError(path, "this is a folder", "name a file")
    if not path.parent.is_dir():
        raise InputError(path, f"the folder {path.parent} does not exist", "make it first")
    return path


def _normalised(rate: F64) -> F64:
    """Each time bin divided by its own maximum, neighbouring bins pooled against noise."""
    pooled = rate.cumsum(axis=1)
    half = max(1, rate.shape[1] // 128)
    right = np.minimum(np.arange(rate.shape[1]) + half, rate.shape[1] - 1)
    left = np.maximum(np.arange(rate.shape[1]) - half, 0)
    smooth = pooled[:, right] - pooled[:, left]
    top = smooth.max(axis=0) if smooth.size else np.zeros(rate.shape[1])
    return np.asarray(np.divide(smooth, top, out=np.zeros_like(smooth), where=top > 0))


def _map(axis: Axes, x_um: F64, t_ns: F64, values: F64, place: str, *, normalised: bool) -> None:
    axis.set_xlabel("time (ns)")
    axis.set_ylabel(place)
    axis.set_title("normalised to each time" if normalised else "counts per second and bin")
    positive = values[values > 0]
    if x_um.size < 2 or t_ns.size < 2 or positive.size == 0:
        _nothing(axis, "no counts")
        return
    scale = {"vmin": 0.0, "vmax": 1.0} if normalised else {"norm": _log_norm(positive)}
    mesh = axis.pcolormesh(
        t_ns, x_um, values, cmap="magma" if not normalised else "viridis", shading="nearest",
        rasterized=True, **scale,
    )  # fmt: skip
    axis.figure.colorbar(mesh, ax=axis, pad=0.01)
    if not normalised:
        axis.set_facecolor("black")


def _log_norm(positive: F64) -> LogNorm:
    top = float(positive.max())
    # at least a decade, so that a map of single counts shows them
    return LogNorm(vmin=min(max(float(positive.min()), top * 1e-4), top / 10), vmax=top)


def _groups(fit: MapFit) -> list[slice]:
    """The pooled slices in a few groups of about equal counts."""
    n = fit.slice_t_ns.size
    if n == 0 or fit.observed.size == 0:
        return []
    cumulative = fit.observed.sum(axis=0).cumsum()
    edges = np.searchsorted(cumulative, np.linspace(0, cumulative[-1], SLICES + 1))
    edges[0], edges[-1] = 0, n
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def _slices(axis: Axes, fit: MapFit, place: str) -> None:
    axis.set_title(f"profiles in five windows ({GLOBAL_MODEL})")
    axis.set_xlabel(place)
    axis.set_ylabel("counts / maximum of the fit, shifted")
    groups = _groups(fit)
    if not groups:
        _nothing(axis, "no fit")
        return
    for i, (group, colour) in enumerate(zip(groups, COLOURS, strict=False)):
        seen = fit.observed[:, group].sum(axis=1)
        expected = fit.predicted[:, group].sum(axis=1)
        top = max(float(expected.max()), 1.0)
        shift = 0.18 * (len(groups) - 1 - i)
        t_ns = fit.slice_t_ns[group] - (fit.time_zero_ns or 0.0)
        axis.errorbar(
            fit.x_um, seen / top + shift, np.sqrt(np.maximum(seen, 1)) / top, fmt="o", ms=3,
            color=colour, lw=0.8, label=f"{t_ns[0]:.2f}–{t_ns[-1]:.2f} ns",
        )  # fmt: skip
        axis.plot(fit.x_um, expected / top + shift, color=colour, lw=1.4)
    axis.legend(fontsize=8, frameon=False, loc="upper right")


def _msd(axis: Axes, fit: MapFit) -> None:
    axis.set_title("mean square displacement")
    axis.set_xlabel("time (ns)")
    axis.set_ylabel("MSD (10³ nm²)")
    curve = fit.msd
    usable = None if curve is None else np.isfinite(curve.msd_um2 + curve.stderr_um2)
    if curve is None or usable is None or not usable.any():
        _nothing(axis, "no MSD")
        return
    zero_ns = fit.time_zero_ns or 0.0
    t_ns, msd, error = _pooled(
        curve.t_ns[usable] - zero_ns, curve.msd_um2[usable], curve.stderr_um2[usable]
    )
    axis.errorbar(
        t_ns, 1e3 * msd, 1e3 * error, fmt="o", ms=3, lw=0.8, color=COLOURS[0],
        label=f"slices ({fit.method})",
    )  # fmt: skip
    has_line = np.isfinite(curve.line_um2)
    line_t = curve.t_ns[has_line] - zero_ns
    line = 1e3 * curve.line_um2[has_line]
    axis.plot(line_t, line, color=COLOURS[4], lw=1.6, label="what D was read from", zorder=5)
    if fit.d_stderr_cm2_per_s is not None and line_t.size:
        # 1 cm²/s = 0.1 µm²/ns, so 2 σ_D t in 10³ nm²
        band = 1e3 * 2 * 0.1 * fit.d_stderr_cm2_per_s * line_t
        axis.fill_between(line_t, line - band, line + band, color=COLOURS[4], alpha=0.25, lw=0)
    text = "D cannot be given"
    if fit.d_cm2_per_s is not None:
        error_text = "" if fit.d_stderr_cm2_per_s is None else f" ± {fit.d_stderr_cm2_per_s:.2g}"
        text = f"D = {fit.d_cm2_per_s:.4g}{error_text} cm²/s"
    if fit.alpha is not None:
        text += f",  α = {fit.alpha:.2f}" + (
            "" if fit.alpha_stderr is None else f" ± {fit.alpha_stderr:.2f}"
        )
    axis.set_title(f"mean square displacement\n{text}", fontsize=11)
    axis.legend(fontsize=8, loc="best", framealpha=0.85, edgecolor="none")
    spread = 1e3 * float(np.median(error))
    low = min(float(line.min(initial=0.0)), float(1e3 * np.percentile(msd, 2)))
    high = max(float(line.max(initial=0.0)), float(1e3 * np.percentile(msd, 98)))
    axis.set_ylim(low - 2 * spread - 0.05 * (high - low), high + 2 * spread + 0.1 * (high - low))


def _pooled(t_ns: F64, values: F64, errors: F64) -> tuple[F64, F64, F64]:
    """Weighted means of neighbouring points, so that a picture can show them."""
    if t_ns.size <= MSD_POINTS:
        return t_ns, values, errors
    weight = 1 / np.maximum(errors, 1e-12) ** 2
    starts = np.unique(np.linspace(0, t_ns.size, MSD_POINTS, endpoint=False).astype(int))
    total = np.add.reduceat(weight, starts)
    mean_t = np.add.reduceat(weight * t_ns, starts) / total
    return mean_t, np.add.reduceat(weight * values, starts) / total, 1 / np.sqrt(total)


def _residuals(axis: Axes, fit: MapFit, place: str) -> None:
    axis.set_title(f"residuals in σ ({GLOBAL_MODEL})")
    axis.set_xlabel("time window, early to late")
    axis.set_ylabel(place)
    if fit.observed.size == 0 or fit.x_um.size < 2:
        _nothing(axis, "no fit")
        return
    # windows of equal counts, wide enough that even dark positions expect a few
    faintest = max(float(fit.predicted.sum(axis=1).min()), 1e-9)
    windows = int(np.clip(faintest / FEW_COUNTS, 4, min(60, fit.slice_t_ns.size)))
    cumulative = fit.predicted.sum(axis=0).cumsum()
    edges = np.searchsorted(cumulative, np.linspace(0, cumulative[-1], windows + 1)[1:-1])
    starts = np.unique(np.concatenate([[0], edges]))
    seen = np.add.reduceat(fit.observed, starts, axis=1)
    expected = np.add.reduceat(fit.predicted, starts, axis=1)
    mesh = axis.pcolormesh(
        np.arange(starts.size), fit.x_um, _deviance(seen, expected), cmap="RdBu_r", vmin=-4,
        vmax=4, shading="nearest", rasterized=True,
    )  # fmt: skip
    ticks = np.linspace(0, starts.size - 1, min(6, starts.size)).astype(int)
    times = fit.slice_t_ns[starts[ticks]] - (fit.time_zero_ns or 0.0)
    axis.set_xticks(ticks, [f"{t:.1f} ns" for t in times])
    axis.figure.colorbar(mesh, ax=axis, pad=0.01)


def _deviance(seen: F64, expected: F64) -> F64:
    """Signed root of the Poisson deviance: close to normal from a few expected counts on."""
    expected = np.maximum(expected, 1e-12)
    log_ratio = np.log(np.maximum(seen, 1e-300) / expected, where=seen > 0, out=np.zeros_like(seen))
    deviance = 2 * (seen * log_ratio - (seen - expected))
    return np.asarray(np.sign(seen - expected) * np.sqrt(np.maximum(deviance, 0)))


def _decay(axis: Axes, t_ns: F64, decay: NDArray[np.int64], fit: MapFit) -> None:
    axis.set_title("decay, all positions")
    axis.set_xlabel("time (ns)")
    axis.set_ylabel("counts per bin")
    if not decay.any():
        _nothing(axis, "no counts")
        return
    axis.step(t_ns, decay, where="mid", color=COLOURS[0], lw=0.9)
    axis.set_yscale("log")
    axis.set_ylim(bottom=max(0.5, 0.5 * float(decay[decay > 0].min())))
    if fit.lifetime_1e_ns is not None:
        start = t_ns[int(np.argmax(decay))]
        axis.axvline(start + fit.lifetime_1e_ns, color=COLOURS[4], lw=1, ls="--")
        axis.add_artist(
            AnchoredText(f"1/e after {fit.lifetime_1e_ns:.2f} ns", loc="upper right", frameon=False)
        )


def _nothing(axis: Axes, why: str) -> None:
    axis.text(0.5, 0.5, why, ha="center", va="center", transform=axis.transAxes, color="0.4")
    axis.set_xticks([])
    axis.set_yticks([])
