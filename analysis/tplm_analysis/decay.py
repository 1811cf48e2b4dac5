"""The decay of the whole map: when it starts and how long it lasts."""

import math

import numpy as np
from numpy.typing import ArrayLike

from .maps import FloatArray

_PEAK_COUNTS = 1000


def find_time_zero(t_ns: FloatArray, decay: FloatArray) -> tuple[float, bool]:
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
    """
    t, counts, merged = _merge(t_ns, decay)
    peak = int(np.argmax(counts))
    if peak == 0:
        return float(t_ns[0]), False
    base, top = float(counts[:peak].min()), float(counts[peak])
    if top - base < 8 * math.sqrt(top / merged) + 4 / merged:
        return float(t_ns[0]), False
    half = 0.5 * (base + top)
    below = int(np.flatnonzero(counts[:peak] < half)[-1])
    share = (half - counts[below]) / (counts[below + 1] - counts[below])
    return float(t[below] + share * (t[below + 1] - t[below])), True


def lifetime_1e(t_ns: ArrayLike, decay: ArrayLike, background: float = 0.0) -> float | None:
    """Return the time from the decay's maximum to 1/e of it, ns.

    Parameters
    ----------
    t_ns : (time,)
        Bin centres.
    decay : (time,)
        Counts per bin.
    background
        Counts per bin to subtract.

    Returns
    -------
    float or None
        None when the decay does not fall that far.
    """
    t, counts, _ = _merge(np.asarray(t_ns, np.float64), np.asarray(decay, np.float64))
    signal = counts - background
    peak = int(np.argmax(signal))
    target = float(signal[peak]) / math.e
    later = np.flatnonzero(signal[peak:] <= target)
    if target <= 0 or later.size == 0:
        return None
    after = peak + int(later[0])
    high, low = float(signal[after - 1]), float(signal[after])
    # Between two points a decay is closer to an exponential than to a line.
    share = math.log(high / target) / math.log(high / low) if low > 0 else (high - target) / high
    return float(t[after - 1] + share * (t[after] - t[after - 1]) - t[peak])


def _merge(t: FloatArray, decay: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Average pairs of bins until the brightest holds enough photons; (t, per bin, merged)."""
    merged = 1
    while decay.max() * merged < _PEAK_COUNTS and decay.size >= 32:
        even = decay.size // 2 * 2
        decay = decay[:even].reshape(-1, 2).mean(axis=1)
        t = t[:even].reshape(-1, 2).mean(axis=1)
        merged *= 2
    return t, decay, merged
