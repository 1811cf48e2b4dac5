"""Pile-up: counts that hide later ones from the detector, and how to bring these back."""

import numpy as np
from numpy.typing import ArrayLike

from .maps import FloatArray


def coates(
    counts: ArrayLike,
    pulses: ArrayLike,
    dead_bins: int | None = None,
    period_bins: int | None = None,
) -> FloatArray:
    """Correct histograms for pile-up after P. B. Coates, J. Phys. E 1, 878 (1968).

    Photons expected in bin i per pulse: λ_i = -ln(1 - N_i / (E - Σ N_j)), the sum over the bins j
    within the dead time before i, E pulses. It is exact for light that does not change from pulse
    to pulse and a dead time that a hidden photon does not prolong; light outside the recorded
    range is taken to be too faint to hide any.

    Parameters
    ----------
    counts : (position, time)
        Counts as recorded.
    pulses : (position,)
        Laser pulses during the exposure; 0 where nothing was measured.
    dead_bins
        Dead time in bins. None: until the next pulse, the classical case. Without `period_bins`
        the detector is taken to be live again at the first bin after every pulse: a dead time
        longer than the recorded range then is the classical case too.
    period_bins
        Bins from pulse to pulse. With it a dead time may reach into the next pulse or over
        several; the steady state of equal pulses is assumed.

    Returns
    -------
    (position, time) float64
        E λ: the counts of a detector without dead time. They scatter more than Poisson's law
        says, by E over the pulses that were live.

    Raises
    ------
    ValueError
        When there are more counts than live pulses, or the input is malformed.
    """
    seen, starts = np.asarray(counts, np.float64), np.asarray(pulses, np.float64)
    if seen.ndim != 2 or starts.shape != seen.shape[:1]:
        raise ValueError(
            f"counts must be (position, time) with one number of pulses per position; the shapes "
            f"are {seen.shape} and {starts.shape}."
        )
    for name, values in (("counts", seen), ("pulses", starts)):
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise ValueError(f"{name} must be finite and not negative.")
    if dead_bins is not None and dead_bins < 0:
        raise ValueError(f"dead_bins must not be negative; it is {dead_bins}.")
    if period_bins is not None and (period_bins < 1 or np.any(seen[:, period_bins + 1 :])):
        raise ValueError(f"There are counts beyond the period of {period_bins} bins.")
    live = starts[:, None] - _hiding(seen, dead_bins, period_bins)
    bad = (seen >= live) & ((seen > 0) | (live < 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"Row {row}, bin {column}: {seen[row, column]:.0f} counts cannot come from "
            f"{max(live[row, column], 0):.0f} pulses with a live detector ({starts[row]:.0f} in "
            f"all). The number of pulses or the dead time is wrong."
        )
    share = np.divide(seen, live, out=np.zeros_like(seen), where=live > 0)
    return np.asarray(-starts[:, None] * np.log1p(-share), dtype=np.float64)


def _hiding(seen: FloatArray, dead_bins: int | None, period_bins: int | None) -> FloatArray:
    """Return for each bin the counts within the dead time before it."""
    n = seen.shape[1]
    before = np.zeros((seen.shape[0], n + 1))
    np.cumsum(seen, axis=1, out=before[:, 1:])
    if dead_bins is None:
        return before[:, :-1]
    total = before[:, -1:]
    whole, dead = (0, dead_bins) if period_bins is None else divmod(dead_bins, period_bins)
    first = np.arange(n) - dead
    hiding = whole * total + before[:, :-1] - before[:, np.maximum(first, 0)]
    if period_bins is not None:
        # What reaches back beyond the pulse finds the end of the period before.
        hiding += np.where(first < 0, total - before[:, np.clip(first + period_bins, 0, n)], 0.0)
    return np.asarray(hiding, dtype=np.float64)
