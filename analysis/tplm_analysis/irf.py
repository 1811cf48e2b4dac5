"""The instrument response: what the card records of light that comes at one instant."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from .maps import FloatArray
from .results import Result

_FEWEST = 1000
_TAIL_SHARE = 0.99
_BLOCKS = 32
_POINTS_PER_WIDTH = 4


@dataclass(frozen=True, eq=False)
class Irf(Result):
    """An instrument response function.

    Attributes
    ----------
    t_ns : (bin,) float64
        Bin centres, evenly spaced, on the axis of the decays measured with it.
    share : (bin,) float64
        Share of the light in each bin, background subtracted; the sum is 1. Zero away from the
        peak; noise makes single bins of its foot negative.
    half_maximum_ns, half_maximum_stderr_ns : float
        When the rising edge passes half the height of the peak.
    centroid_ns, centroid_stderr_ns : float
        Mean arrival time.
    fwhm_ns, fwhm_stderr_ns : float
        Full width at half maximum.
    tail_ns : float
        Time from the half maximum until 99 % have arrived.
    background_per_bin : float
        Flat background that was subtracted, counts.
    photons : float
        Counts without background.
    """

    SOURCE: ClassVar[str] = "The project's own"

    CURVES: ClassVar[tuple[str, ...]] = ("t_ns", "share")

    t_ns: FloatArray
    share: FloatArray
    half_maximum_ns: float
    half_maximum_stderr_ns: float
    centroid_ns: float
    centroid_stderr_ns: float
    fwhm_ns: float
    fwhm_stderr_ns: float
    tail_ns: float
    background_per_bin: float
    photons: float

    @property
    def bin_ns(self) -> float:
        """Width of a bin."""
        return float(self.t_ns[-1] - self.t_ns[0]) / (self.t_ns.size - 1)

    def time_zero_ns(self, name: Literal["half-maximum", "centroid"]) -> float:
        """Return time zero by the name of its definition."""
        return self.half_maximum_ns if name == "half-maximum" else self.centroid_ns

    def convolve(self, model_on_bins: ArrayLike) -> FloatArray:
        """Return what is recorded, on the bins of `t_ns`, of light that follows a model.

        Parameters
        ----------
        model_on_bins : (lag,)
            Light by the number of bins between a bin of the response and the one it is recorded
            in, first 0; same bin width.
        """
        model = np.asarray(model_on_bins, dtype=np.float64)
        lit = np.flatnonzero(self.share)
        first = int(lit[0])
        out = np.zeros(self.t_ns.size)
        part = np.convolve(self.share[first : lit[-1] + 1], model)[: out.size - first]
        out[first : first + part.size] = part
        return out


def find_irf(counts: ArrayLike, t_ns: ArrayLike) -> Irf:
    """Find the instrument response in a histogram of scattered light.

    The flat background is the mean of the bins away from the peak. The height, its half and the
    width are read off the slope of a cubic spline through the cumulated counts, on at least four
    points per width; the error bars are those of Poisson's law.

    Parameters
    ----------
    counts : (bin,)
        Histogram with one peak in it.
    t_ns : (bin,)
        Bin centres, evenly spaced.

    Raises
    ------
    ValueError
        When there is no usable peak, or the input is malformed.
    """
    n, t = check_histogram(counts, t_ns)
    step = float(t[-1] - t[0]) / (t.size - 1)
    first, stop, background = _peak(n)
    peak, at = n[first:stop], t[first:stop]
    signal = peak - background
    photons = float(signal.sum())
    if photons < _FEWEST:
        raise ValueError(
            f"{photons:.0f} photons in the peak are too few for an instrument response; at least "
            f"{_FEWEST} are needed."
        )
    share = np.zeros(n.size)
    share[first:stop] = signal / photons
    centroid = float(signal @ at) / photons
    outside = n.size - peak.size
    variance = float(peak @ (at - centroid) ** 2)
    variance += background / outside * float(np.sum(at - centroid)) ** 2
    merged = max(1, int(photons / float(signal.max()) / _POINTS_PER_WIDTH))
    edges, pooled = _merge(peak, at[0] - step / 2, step, merged)

    def rise(values: FloatArray) -> tuple[float, float]:
        return _half_maximum(edges, values - background * merged)

    half, width = rise(pooled)
    half_stderr, width_stderr = _errors(rise, pooled)
    # within its bins a narrow response may be anywhere, and of any shape
    unresolved = step * merged / math.sqrt(12) if width < 2 * step * merged else 0.0
    arrived = np.maximum.accumulate(np.cumsum(signal)) / photons
    late = float(np.interp(_TAIL_SHARE, arrived, at + step / 2))
    return Irf(
        t_ns=t,
        share=share,
        half_maximum_ns=half,
        half_maximum_stderr_ns=math.hypot(half_stderr, unresolved),
        centroid_ns=centroid,
        centroid_stderr_ns=math.hypot(math.sqrt(variance) / photons, unresolved),
        fwhm_ns=width,
        fwhm_stderr_ns=math.hypot(width_stderr, unresolved),
        tail_ns=late - half,
        background_per_bin=background,
        photons=photons,
    )


def check_histogram(counts: ArrayLike, t_ns: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return counts and evenly spaced bin centres, or raise a ValueError that says what is wrong.

    Parameters
    ----------
    counts, t_ns : (bin,)
        As given.
    """
    n, t = np.asarray(counts, dtype=np.float64), np.asarray(t_ns, dtype=np.float64)
    if n.ndim != 1 or n.shape != t.shape or n.size < 16:
        raise ValueError(
            f"counts and t_ns must be two lists of the same length, 16 bins or more; the shapes "
            f"are {n.shape} and {t.shape}."
        )
    if not (np.all(np.isfinite(n)) and np.all(np.isfinite(t))) or n.min() < 0:
        raise ValueError("counts and t_ns must be finite, and counts not negative.")
    steps = np.diff(t)
    if steps.min() <= 0 or np.ptp(steps) > 1e-3 * steps.mean():
        raise ValueError("t_ns must increase in even steps.")
    return n, t


def _peak(n: FloatArray) -> tuple[int, int, float]:
    """Return first and last + 1 bin of the peak with its foot, and the background."""
    blocks = np.array_split(n, min(_BLOCKS, n.size // 2))
    # most of the range is away from the peak, and a median does not see the rest
    background = float(np.median([block.mean() for block in blocks]))
    top = int(np.argmax(n))
    if n[top] < background + 6 * math.sqrt(background) + 5:
        raise ValueError("No peak stands out of the background: there is no instrument response.")
    high = n - background > 0.5 * (n[top] - background)
    left, right = top, top
    while left > 0 and high[left - 1]:
        left -= 1
    while right < n.size - 1 and high[right + 1]:
        right += 1
    # the foot ends where as many bins as the peak is wide hold no more than the background
    sums = np.concatenate([[0.0], np.cumsum(n - background)])
    width = min(int(sums[-1] / (n[top] - background)), n.size // 8)
    span = max(right - left + 1, width, 3)
    faint = sums[span:] - sums[:-span] < 2 * math.sqrt(max(background * span, 1.0))
    before = np.flatnonzero(faint[: max(left - span + 1, 0)])
    after = np.flatnonzero(faint[right + 1 :])
    if before.size == 0 or after.size == 0:
        raise ValueError(
            "The peak is cut off at the end of the range, or fills it: the instrument response "
            "needs background on both sides."
        )
    foot, end = int(before[-1]), right + 1 + int(after[0]) + span
    # as much again where there is room, for what is too faint to be seen bin by bin
    for first, stop in ((max(2 * foot - left, 0), min(2 * end - right, n.size)), (foot, end)):
        outside = np.concatenate([n[:first], n[stop:]])
        if outside.size >= max(8, n.size // 10):
            return first, stop, float(outside.mean())
    raise ValueError("The peak fills the range: its background cannot be told.")


def _merge(
    counts: FloatArray, start_ns: float, step_ns: float, merged: int
) -> tuple[FloatArray, FloatArray]:
    """Return edges and counts of bins added up in groups; a rest at the end is dropped."""
    groups = counts.size // merged
    pooled = counts[: groups * merged].reshape(groups, merged).sum(axis=1)
    edges = start_ns + step_ns * merged * np.arange(groups + 1, dtype=np.float64)
    return edges, np.asarray(pooled)


def _half_maximum(edges: FloatArray, signal: FloatArray) -> tuple[float, float]:
    """Return when the density of the signal rises through half its maximum, and for how long."""
    density = CubicSpline(edges, np.concatenate([[0.0], np.cumsum(signal)])).derivative()
    step = float(edges[1] - edges[0])
    middle = float(edges[int(np.argmax(signal))]) + step / 2
    turns = density.derivative().roots(extrapolate=False)
    turns = turns[np.abs(turns - middle) < 1.5 * step]
    top = float(np.max(density(np.append(turns, middle))))
    crossings = density.solve(0.5 * top, extrapolate=False)
    rising, falling = crossings[crossings < middle], crossings[crossings > middle]
    if rising.size == 0 or falling.size == 0:
        raise ValueError("The peak has no edges within its bins: there is no half maximum.")
    return float(rising[-1]), float(falling[0] - rising[-1])


def _errors(
    read: Callable[[FloatArray], tuple[float, float]], counts: FloatArray
) -> tuple[float, float]:
    """Return standard errors: every bin is raised by its own, and the effects add in squares."""
    best = np.array(read(counts))
    total = np.zeros(2)
    for k in np.flatnonzero(counts):
        raised = counts.copy()
        raised[k] += 0.5 * math.sqrt(counts[k])
        total += (2 * (np.array(read(raised)) - best)) ** 2
    return float(math.sqrt(total[0])), float(math.sqrt(total[1]))
