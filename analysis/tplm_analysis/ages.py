"""How old the light of a time bin is: a mixture, by the instrument response and the bin."""

import math

import numpy as np
from scipy.optimize import nnls

from .irf import Irf
from .maps import FloatArray, MapData

_PARTS = 4  # of a bin
_LIFETIMES = 24


def mean_age_ns(data: MapData, irf: Irf | None, time_zero_ns: float) -> FloatArray:
    """Return the mean time since excitation of the light of every bin.

    Light recorded at t is of all ages that the response and the width of the bin let through:
    p(s | t) ∝ I(s) h(t - s). I(s), the decay without the response, is a sum of exponentials from
    one bin to ten times the range that is fitted to the decay of all positions together.

    With σ² linear in the age, the mixture has exactly the variance of light of the mean age; its
    shape differs from a Gaussian in the fourth moment only, by 3 (2D s)² / σ⁴ with s the standard
    deviation of the ages.

    Parameters
    ----------
    data
        The whole map, in even bins.
    irf
        Instrument response on these bins; None takes light at `time_zero_ns` as instantaneous and
        accounts for the width of the bins alone.
    time_zero_ns
        Time of excitation; `irf` has its own.

    Returns
    -------
    (time,) float64
        Mean age, never falling; 0 in bins that no light can reach.

    Raises
    ------
    ValueError
        When the bins are uneven, or not those of the response.
    """
    n, t = data.decay, data.t_ns
    step = float(t[-1] - t[0]) / max(t.size - 1, 1)
    if t.size < 16 or np.ptp(np.diff(t)) > 0.1 * step:
        raise ValueError("Ages of light need the even time bins of the timing card, 16 or more.")
    fine = step / _PARTS
    ahead = 0.0
    if irf is None:
        place = (time_zero_ns - (t[0] - step / 2)) / fine
        if place >= t.size * _PARTS - 1:
            raise ValueError(f"Time zero ({time_zero_ns:.4g} ns) is after the last bin.")
        first = max(math.floor(place), 0)
        ahead = min(place, 0.0) * fine  # excited before the first bin: that much older
        response = np.zeros(t.size * _PARTS)
        response[first + 1] = max(place - first, 0.0)
        response[first] = 1 - response[first + 1]
    else:
        response = _in_parts(irf, t, step)
    age = (np.arange(response.size) + 0.5) * fine - ahead
    tau = np.geomspace(step, 10 * step * t.size, _LIFETIMES)
    light = np.exp(-age / tau[:, None])
    columns = _recorded(light, response)
    weight = 1 / np.sqrt(n + 1)
    scale = np.maximum(columns.sum(axis=1, keepdims=True), 1e-300)
    table = np.vstack((columns / scale, np.ones((1, n.size)) / n.size))
    found, _ = nnls((table * weight).T, n * weight)
    decay = (found[:-1] / scale[:, 0]) @ light
    total, aged = _recorded(np.stack((decay, decay * age)), response)
    lit = total > 1e-9 * float(total.max())
    mean = np.where(lit, aged / np.where(lit, total, 1.0), 0.0)
    return np.asarray(np.maximum.accumulate(np.maximum(mean, 0.0)), dtype=np.float64)


def _in_parts(irf: Irf, t: FloatArray, step: float) -> FloatArray:
    """Return what falls into each part of the map's bins of light that began spread over one."""
    if abs(irf.bin_ns - step) > 1e-3 * step:
        raise ValueError("The instrument response has other time bins than the map.")
    index = np.arange(t.size) + round((t[0] - irf.t_ns[0]) / step)
    inside = (index >= 0) & (index < irf.share.size)
    share = np.where(inside, irf.share[np.clip(index, 0, irf.share.size - 1)], 0.0)
    # the response is taken as even within each bin, so a part's light lies over two parts
    parts = np.repeat(share, _PARTS) / _PARTS
    return np.asarray(0.5 * (parts + np.append(0.0, parts[:-1])), dtype=np.float64)


def _recorded(light: FloatArray, response: FloatArray) -> FloatArray:
    """Return what falls into each bin; light and response in parts of bins."""
    from scipy.signal import fftconvolve  # loading it takes half a second

    spread = fftconvolve(light, response[None, :], axes=1)[:, : response.size]
    return np.asarray(spread.reshape(light.shape[0], -1, _PARTS).sum(axis=2))
