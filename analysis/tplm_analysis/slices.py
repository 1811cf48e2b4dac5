"""Poisson maximum likelihood, one time slice after another."""

import math

import numpy as np

from .batch import fit_each
from .global_fit import GlobalFit
from .maps import FloatArray, MapData


class SliceTable:
    """Slice fits of a map with everything shared taken from a global fit.

    Parameters
    ----------
    data
        The map, pooled or not.
    fit
        Where centre, background and wings come from.
    variance : (slice,), optional
        Work out errors at these variances in place of fitting them.
    variance_start, amplitude_start : (slice,), optional
        Where to start, from an earlier fit of the same slices; NaN where that found nothing.

    Attributes
    ----------
    variance, variance_stderr, amplitude, amplitude_stderr : (slice,) float64
        Results; NaN where not `converged`.
    converged : (slice,) bool
        Where a maximum was found inside the limits.
    """

    def __init__(
        self,
        data: MapData,
        fit: GlobalFit,
        variance: FloatArray | None = None,
        *,
        variance_start: FloatArray | None = None,
        amplitude_start: FloatArray | None = None,
    ) -> None:
        n = data.t_ns.size
        span = float(data.x_um[-1] - data.x_um[0])
        limits = np.array([(0.1 * data.spacing_um) ** 2, 4 * span**2])
        start = fit.sigma2_um2(np.maximum(data.t_ns, fit.time_zero_ns))
        if variance is not None:
            start = variance
        elif variance_start is not None:
            start = np.where(np.isfinite(variance_start), variance_start, start)
        self.variance = np.clip(start, *limits)
        self.amplitude = np.zeros(n) if amplitude_start is None else np.nan_to_num(amplitude_start)
        self.variance_stderr, self.amplitude_stderr = np.empty(n), np.empty(n)
        self.converged = np.zeros(n, dtype=np.bool_)
        fit_each(
            data.counts,
            data.x_um,
            data.exposure,
            data.width,
            fit.theta,
            limits,
            40 if variance is None else 0,
            self.variance,
            self.amplitude,
            self.variance_stderr,
            self.amplitude_stderr,
            self.converged,
        )
        lost = ~self.converged
        for array in (self.variance, self.amplitude, self.variance_stderr, self.amplitude_stderr):
            array[lost] = np.nan


def line_through(
    t: FloatArray, y: FloatArray, stderr: FloatArray
) -> tuple[float, float, float] | None:
    """Return intercept, slope and the slope's error of a weighted line, None if undetermined."""
    if t.size < 2:
        return None
    w = 1 / stderr**2
    middle = float(w @ t / w.sum())
    spread = float(w @ (t - middle) ** 2)
    if not spread > 0:
        return None
    slope = float(w @ ((t - middle) * y)) / spread
    return float(w @ y / w.sum()) - slope * middle, slope, 1 / math.sqrt(spread)
