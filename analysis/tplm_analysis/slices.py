"""Poisson maximum likelihood, one time slice after another."""

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from ._likelihood import best_amplitude
from .global_fit import GlobalFit
from .maps import FloatArray, MapData

_FEWEST = 10  # photons in a slice that can have a width at all


@jit
def _fit_each(
    counts: FloatArray,
    x_um: FloatArray,
    exposure: FloatArray,
    width: FloatArray,
    theta: FloatArray,
    limits: FloatArray,
    steps: int,
    variance: FloatArray,
    amplitude: FloatArray,
    variance_stderr: FloatArray,
    amplitude_stderr: FloatArray,
    converged: NDArray[np.bool_],
) -> None:
    """Fit amplitude and variance of every slice; `variance` holds the start on entry.

    Fisher scoring on the variance with the amplitude at its best; the sign of the score brackets
    the root, and a step that leaves the bracket is replaced by its geometric middle. With
    ``steps=0`` only the errors at the given variance are worked out.
    """
    slices, positions = counts.shape
    x0, b, f, delta = theta[0], theta[1], theta[2], theta[3]
    wings = f > 0.0
    profile = np.empty(positions)
    slope = np.empty(positions)
    floor = np.empty(positions)
    for k in range(slices):
        low, high = limits[0], limits[1]
        v = min(max(variance[k], low), high)
        counted = 0.0
        dark = 0.0
        for i in range(positions):
            floor[i] = b * width[k] * exposure[i]
            dark += floor[i]
            counted += counts[k, i]
        a = 0.0
        done = steps == 0
        ok = False
        i_aa, i_av, i_vv, left = 1.0, 0.0, 1.0, 0.0
        if counted >= _FEWEST:
            for _ in range(steps + 1):
                bright = 0.0
                norm = 1.0 / math.sqrt(2.0 * math.pi * v)
                wide = v + delta
                wide_norm = 1.0 / math.sqrt(2.0 * math.pi * wide)
                for i in range(positions):
                    u2 = (x_um[i] - x0) ** 2
                    g = exposure[i] * norm * math.exp(-0.5 * u2 / v)
                    d = 0.5 * g * (u2 / v - 1.0) / v
                    if wings:
                        h = exposure[i] * wide_norm * math.exp(-0.5 * u2 / wide)
                        d = (1.0 - f) * d + f * 0.5 * h * (u2 / wide - 1.0) / wide
                        g = (1.0 - f) * g + f * h
                    profile[i] = g
                    slope[i] = d
                    bright += g
                if bright <= 0.0:
                    break
                start = a if a > 0.0 else max(counted - dark, 0.05 * counted) / bright
                a = best_amplitude(counts[k], profile, floor, 0.0, start)
                score, i_aa, i_av, i_vv = 0.0, 0.0, 0.0, 0.0
                for i in range(positions):
                    rate = a * profile[i] + floor[i]
                    if rate > 0.0:
                        w = 1.0 / rate
                        dv = a * slope[i]
                        score += dv * (counts[k, i] * w - 1.0)
                        i_aa += profile[i] * profile[i] * w
                        i_av += profile[i] * dv * w
                        i_vv += dv * dv * w
                left = i_vv - i_av * i_av / i_aa
                if a <= 0.0 or not left > 1e-12 * i_vv:
                    break
                if done:
                    ok = True
                    break
                if score > 0.0:
                    low = v
                else:
                    high = v
                new = v + score / left
                if new <= low or new >= high:
                    new = math.sqrt(low * high)
                if (new - v) * (new - v) * left < 1e-6:
                    done = True
                v = new
        variance[k] = v
        amplitude[k] = a
        inside = v > 1.001 * limits[0] and v < 0.999 * limits[1]
        converged[k] = ok and (inside or steps == 0)
        variance_stderr[k] = math.sqrt(1.0 / left) if ok else math.nan
        amplitude_stderr[k] = math.sqrt(i_vv / (i_aa * left)) if ok else math.nan


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

    Attributes
    ----------
    variance, variance_stderr, amplitude, amplitude_stderr : (slice,) float64
        Results; NaN where not `converged`.
    converged : (slice,) bool
        Where a maximum was found inside the limits.
    """

    def __init__(self, data: MapData, fit: GlobalFit, variance: FloatArray | None = None) -> None:
        n = data.t_ns.size
        span = float(data.x_um[-1] - data.x_um[0])
        limits = np.array([(0.1 * data.spacing_um) ** 2, 4 * span**2])
        model = fit.sigma2_um2(np.maximum(data.t_ns, fit.time_zero_ns))
        start = np.clip(model if variance is None else variance, *limits)
        self.variance, self.amplitude = start.copy(), np.zeros(n)
        self.variance_stderr, self.amplitude_stderr = np.empty(n), np.empty(n)
        self.converged = np.zeros(n, dtype=np.bool_)
        _fit_each(
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
