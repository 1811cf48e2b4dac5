"""The relaxation curve: how diffusion slows down when excitations come further apart (S1)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from .maps import FloatArray
from .results import Result

_STARTS = 40
"""Relaxation times tried before the best of them is refined."""
_LARGEST_CONDITION = 1e10


@dataclass(frozen=True)
class Relaxation(Result):
    """D(Δt) = d_slow + amplitude · exp(−Δt / tau), by weighted least squares.

    Attributes
    ----------
    d_slow_cm2_per_s, amplitude_cm2_per_s, tau_us : float
        The curve.
    d_slow_stderr_cm2_per_s, amplitude_stderr_cm2_per_s, tau_stderr_us : float
        Standard errors that follow from those of the points.
    chi2, degrees : float, int
        Weighted squares, and the degrees of freedom.
    """

    SOURCE: ClassVar[str] = "S1, fig. 4a"

    d_slow_cm2_per_s: float
    d_slow_stderr_cm2_per_s: float
    amplitude_cm2_per_s: float
    amplitude_stderr_cm2_per_s: float
    tau_us: float
    tau_stderr_us: float
    chi2: float
    degrees: int

    def at(self, interval_us: ArrayLike) -> FloatArray:
        """D at some times between excitations."""
        interval = np.asarray(interval_us, dtype=np.float64)
        relaxed = np.exp(-interval / self.tau_us)
        return np.asarray(self.d_slow_cm2_per_s + self.amplitude_cm2_per_s * relaxed)

    def __str__(self) -> str:
        return (
            f"τ = {self.tau_us:.3g} ± {self.tau_stderr_us:.2g} µs, "
            f"D_slow = {self.d_slow_cm2_per_s:.3g} ± {self.d_slow_stderr_cm2_per_s:.2g}, "
            f"A = {self.amplitude_cm2_per_s:.3g} ± {self.amplitude_stderr_cm2_per_s:.2g} cm²/s, "
            f"χ² = {self.chi2:.1f} for {self.degrees} degrees of freedom"
        )


def fit_relaxation(
    interval_us: ArrayLike, d_cm2_per_s: ArrayLike, d_stderr_cm2_per_s: ArrayLike
) -> Relaxation:
    """Fit the relaxation curve to diffusivities at different times between excitations.

    Parameters
    ----------
    interval_us
        Mean time between excitations of one nanocrystal.
    d_cm2_per_s, d_stderr_cm2_per_s
        Diffusivity and its standard error.

    Raises
    ------
    ValueError
        With fewer than four points, or points that do not determine the curve.
    """
    interval = np.asarray(interval_us, dtype=np.float64)
    d = np.asarray(d_cm2_per_s, dtype=np.float64)
    error = np.asarray(d_stderr_cm2_per_s, dtype=np.float64)
    if not interval.shape == d.shape == error.shape == (interval.size,):
        raise ValueError("interval_us, d_cm2_per_s and d_stderr_cm2_per_s must be equally long.")
    if not (np.isfinite([interval, d, error]).all() and (interval > 0).all() and (error > 0).all()):
        raise ValueError("Times and errors must be positive numbers, diffusivities finite.")
    if np.unique(interval).size < 4:
        raise ValueError("The relaxation curve needs at least four different times.")

    def design(tau_us: float) -> FloatArray:
        return np.stack([np.ones_like(interval), np.exp(-interval / tau_us)], axis=1)

    def start(tau_us: float) -> tuple[float, FloatArray]:
        weighted = design(tau_us) / error[:, None]
        linear, *_ = np.linalg.lstsq(weighted, d / error, rcond=None)
        return float(np.sum((weighted @ linear - d / error) ** 2)), np.append(linear, tau_us)

    def residuals(p: FloatArray) -> FloatArray:
        return np.asarray((design(p[2]) @ p[:2] - d) / error)

    def jacobian(p: FloatArray) -> FloatArray:
        by_tau = p[1] * interval / p[2] ** 2 * np.exp(-interval / p[2])
        return np.asarray(np.column_stack([design(p[2]), by_tau]) / error[:, None])

    low, high = 0.1 * interval.min(), 10 * interval.max()
    _, best = min((start(tau) for tau in np.geomspace(low, high, _STARTS)), key=lambda s: s[0])
    limits = ([-np.inf, -np.inf, 0.3 * low], [np.inf, np.inf, 3 * high])
    found = least_squares(
        residuals, best, jacobian, bounds=limits, x_scale=np.maximum(np.abs(best), 1e-6)
    )
    jac = jacobian(found.x)
    scale = np.sqrt((jac**2).sum(axis=0))
    refused = ValueError("The diffusivities do not determine a relaxation time.")
    if not (found.success and low < found.x[2] < high and (scale > 0).all()):
        raise refused
    correlation = (jac / scale).T @ (jac / scale)
    if np.linalg.cond(correlation) > _LARGEST_CONDITION:
        raise refused
    stderr = np.sqrt(np.diag(np.linalg.inv(correlation))) / scale
    if stderr[2] > found.x[2]:
        raise refused
    return Relaxation(
        d_slow_cm2_per_s=float(found.x[0]),
        d_slow_stderr_cm2_per_s=float(stderr[0]),
        amplitude_cm2_per_s=float(found.x[1]),
        amplitude_stderr_cm2_per_s=float(stderr[1]),
        tau_us=float(found.x[2]),
        tau_stderr_us=float(stderr[2]),
        chi2=float(2 * found.cost),
        degrees=interval.size - 3,
    )
