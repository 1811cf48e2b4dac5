"""The decay of the whole map: when it starts and how long it lasts."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .maps import FloatArray
from .results import Result

_PEAK_COUNTS = 1000
_WINDOWS_PER_TIME = 4
_TURNS = 3
_DRAWN = 100
_BLURRED_NS = 0.1


def find_time_zero(t_ns: ArrayLike, decay: ArrayLike) -> tuple[float, bool]:
    """Return when the decay's rising edge passes half its height (house definition).

    Dim decays are summed over neighbouring bins first, so that noise is not taken for an edge.

    Parameters
    ----------
    t_ns : (time,)
        Bin centres.
    decay : (time,)
        Counts per bin, all positions together.

    Returns
    -------
    time_zero_ns : float
        The half maximum, or the first bin when the decay has no rising edge.
    edge : bool
        Whether there is a rising edge.

    Raises
    ------
    ValueError
        When the lists do not match.
    """
    t, counts = np.asarray(t_ns, np.float64), np.asarray(decay, np.float64)
    if t.ndim != 1 or t.shape != counts.shape or t.size == 0:
        raise ValueError("t_ns and decay must be lists of the same length.")
    edge = _find_edge(t, counts)
    return (float(t[0]), False) if edge is None else (edge[0], True)


def blurred_ns(t_ns: FloatArray, decay: FloatArray) -> float:
    """Return for how long after time zero the light of a bin is of mixed ages (house rule).

    That is for as long as the decay takes to rise from 10 to 90 %, at least 0.1 ns. A rise within
    two bins is not resolved, and counts as sharp.

    Parameters
    ----------
    t_ns, decay : (time,)
        As for `find_time_zero`.
    """
    edge = _find_edge(t_ns, decay)
    return _BLURRED_NS if edge is None else max(edge[1], _BLURRED_NS)


def _find_edge(t_ns: FloatArray, decay: FloatArray) -> tuple[float, float] | None:
    """Return the half maximum of the rising edge and its 10-90 % time, 0 if not resolved."""
    t, counts, merged = _merge(t_ns, decay)
    peak = int(np.argmax(counts))
    if peak == 0:
        return None
    base, top = float(counts[:peak].min()), float(counts[peak])
    if top - base < 8 * math.sqrt(top / merged) + 4 / merged:
        return None

    def passes(share: float) -> float:
        """Return when the edge passes a share of its height for the last time."""
        level = (1 - share) * base + share * top
        below = int(np.flatnonzero(counts[:peak] < level)[-1])
        part = (level - counts[below]) / (counts[below + 1] - counts[below])
        return float(t[below] + part * (t[below + 1] - t[below]))

    half, rise = passes(0.5), passes(0.9) - passes(0.1)
    near = int(np.searchsorted(t, half).clip(1, t.size - 1))
    return half, rise if rise > 2 * float(t[near] - t[near - 1]) else 0.0


@dataclass(frozen=True)
class TimeTo1e(Result):
    """From the decay's maximum to 1/e of it.

    Attributes
    ----------
    lifetime_1e_ns, lifetime_1e_stderr_ns : float
        The time and the standard error that the noise of the counts gives it.
    """

    SOURCE: ClassVar[str] = "S2, methods: the time after which the light has dropped to 1/e"

    lifetime_1e_ns: float
    lifetime_1e_stderr_ns: float

    def __str__(self) -> str:
        return f"1/e after {self.lifetime_1e_ns:.4g} ± {self.lifetime_1e_stderr_ns:.2g} ns"


def lifetime_1e(t_ns: ArrayLike, decay: ArrayLike, background: float = 0.0) -> float | None:
    """Return the time from the decay's maximum to 1/e of it, ns, without its error.

    Parameters
    ----------
    t_ns, decay, background
        As for `find_lifetime_1e`.

    Raises
    ------
    ValueError
        When the input is malformed.
    """
    return _time_to_1e(*_checked(t_ns, decay), background)


def find_lifetime_1e(
    t_ns: ArrayLike,
    decay: ArrayLike,
    background: float = 0.0,
    background_stderr: float = 0.0,
) -> TimeTo1e | None:
    """Find the time from the decay's maximum to 1/e of it.

    The counts are added up in windows of a quarter of that time, the first where it holds most:
    a single bin would be known ten times worse, and the highest of many bins lies too high. The
    standard error is the scatter of 100 decays drawn anew from the counts: with few of them, the
    maximum may be the wrong bin.

    Parameters
    ----------
    t_ns : (time,)
        Bin centres, evenly spaced.
    decay : (time,)
        Counts per bin.
    background, background_stderr
        Counts per bin to subtract, and their standard error.

    Returns
    -------
    TimeTo1e or None
        None when the decay, or half of those drawn anew, does not fall that far.

    Raises
    ------
    ValueError
        When the input is malformed.
    """
    t, counts = _checked(t_ns, decay)
    if not (math.isfinite(background) and 0 <= background_stderr < math.inf):
        raise ValueError("background must be a number, and its error zero or more.")
    time = _time_to_1e(t, counts, background)
    if time is None:
        return None
    rng = np.random.default_rng(0)
    again = [
        _time_to_1e(t, rng.poisson(counts).astype(np.float64), rng.normal(background, error))
        for error in [background_stderr] * _DRAWN
    ]
    known = [one for one in again if one is not None]
    if 2 * len(known) < _DRAWN:
        return None
    return TimeTo1e(time, float(np.std(known, ddof=1)))


def _checked(t_ns: ArrayLike, decay: ArrayLike) -> tuple[FloatArray, FloatArray]:
    t, counts = np.asarray(t_ns, np.float64), np.asarray(decay, np.float64)
    if t.ndim != 1 or t.shape != counts.shape or t.size < 2:
        raise ValueError(
            f"A decay needs as many times as counts, two or more; the shapes are {t.shape} and "
            f"{counts.shape}."
        )
    if not (np.isfinite(t).all() and np.isfinite(counts).all() and counts.min() >= 0):
        raise ValueError("Times and counts of a decay must be finite, and counts not negative.")
    steps = np.diff(t)
    if steps.min() <= 0 or np.ptp(steps) > 0.1 * steps.mean():
        raise ValueError("The times of a decay must increase in even steps.")
    return t, counts


def _time_to_1e(t: FloatArray, counts: FloatArray, background: float) -> float | None:
    step = float(t[-1] - t[0]) / (t.size - 1)
    time = _first_below_1e(*_merge(t, counts)[:2], background)
    for _ in range(_TURNS):
        if time is None:
            return None
        width = max(1, round(time / step / _WINDOWS_PER_TIME))
        bins = _in_windows(counts, width, background)
        time = None if bins is None else bins * step
    return time


def _in_windows(counts: FloatArray, width: int, background: float) -> float | None:
    """Return the time to 1/e in bins, from windows that wide."""
    sums = np.concatenate([[0.0], np.cumsum(counts)])
    first = int(np.argmax(sums[width:] - sums[:-width]))
    windows = (counts.size - first) // width
    signal = np.diff(sums[first : first + windows * width + 1 : width]) - background * width
    target = float(signal[0]) / math.e
    later = np.flatnonzero(signal <= target)
    if target <= 0 or later.size == 0 or signal[later[0]] <= 0:
        return None
    k = int(later[0])
    # Between two points a decay is closer to an exponential than to a line.
    fall = math.log(signal[k - 1] / signal[k])
    return (k - 1 + math.log(signal[k - 1] / target) / fall) * width


def _first_below_1e(t: FloatArray, counts: FloatArray, background: float) -> float | None:
    """Return roughly when the decay is below 1/e of its highest bin."""
    signal = counts - background
    peak = int(np.argmax(signal))
    later = np.flatnonzero(signal[peak:] <= float(signal[peak]) / math.e)
    if signal[peak] <= 0 or later.size == 0:
        return None
    return float(t[peak + int(later[0])] - t[peak])


def _merge(t: FloatArray, decay: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Average pairs of bins until the brightest holds enough photons; (t, per bin, merged)."""
    merged = 1
    while decay.max() * merged < _PEAK_COUNTS and decay.size >= 32:
        even = decay.size // 2 * 2
        decay = decay[:even].reshape(-1, 2).mean(axis=1)
        t = t[:even].reshape(-1, 2).mean(axis=1)
        merged *= 2
    return t, decay, merged
