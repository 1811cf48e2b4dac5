"""Diffusivities across scans: averages over repeats, trends, and activation by temperature."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.special import chdtrc

from .maps import FloatArray
from .photophysics import BOLTZMANN_MEV_PER_K
from .results import Result

UNLIKELY = 0.003
"""Probability below which scatter is called more than the error bars explain, or a trend real."""
Law = Literal["constant", "line", "power-law"]
_LARGEST_CONDITION = 1e10
_EXPONENTS = np.linspace(-6, 6, 61)
_ACTIVATION_MEV = np.concatenate([-np.geomspace(1000, 0.3, 40), np.geomspace(0.3, 1000, 40)])


@dataclass(frozen=True)
class RepeatedD(Result):
    """Diffusivities that were measured again under the same conditions.

    Attributes
    ----------
    x : float
        The quantity that was set; mean of the group.
    points : int
        How many.
    d_mean_cm2_per_s, d_std_cm2_per_s : float
        Plain mean, and the standard deviation of one measurement (n - 1 in the denominator; NaN of
        a single one). S3 gives these two.
    d_mean_stderr_cm2_per_s : float
        Standard error of the plain mean from the scatter, std/√n; NaN of a single one.
    d_weighted_cm2_per_s, d_weighted_stderr_cm2_per_s : float
        Mean with weights 1/stderr², and its error, which knows nothing of the scatter.
    chi2, degrees, p_value : float, int, float
        Weighted squares about the weighted mean, and how probable that much is if the error bars
        are the only scatter.
    scatters : bool
        Whether the repeats scatter more than their error bars explain (p below 0.3 %). Then the
        weighted mean's error is too small: use the plain mean with its own.
    """

    SOURCE: ClassVar[str] = (
        "S3 (mean and standard deviation over repeats); the rest is the project's"
    )

    x: float
    points: int
    d_mean_cm2_per_s: float
    d_std_cm2_per_s: float
    d_mean_stderr_cm2_per_s: float
    d_weighted_cm2_per_s: float
    d_weighted_stderr_cm2_per_s: float
    chi2: float
    degrees: int
    p_value: float
    scatters: bool

    def __str__(self) -> str:
        text = (
            f"{self.x:.4g}: D = {self.d_mean_cm2_per_s:.4g} ± {self.d_std_cm2_per_s:.2g} cm²/s "
            f"(mean and standard deviation of {self.points}), weighted "
            f"{self.d_weighted_cm2_per_s:.4g} ± {self.d_weighted_stderr_cm2_per_s:.2g}, "
            f"χ² = {self.chi2:.1f} for {self.degrees} degrees of freedom"
        )
        more = " ! the repeats scatter more than their error bars explain"
        return text + (more if self.scatters else "")


def average_repeats(
    x: ArrayLike, d_cm2_per_s: ArrayLike, d_stderr_cm2_per_s: ArrayLike, same: float = 0.0
) -> tuple[RepeatedD, ...]:
    """Average measurements that were made at the same value of a quantity.

    Parameters
    ----------
    x : (point,)
        What was set: power, fluence, repetition rate, temperature, …
    d_cm2_per_s, d_stderr_cm2_per_s : (point,)
        Diffusivity and its standard error.
    same
        Neighbouring values that differ by less than this share of the smaller one belong together.

    Returns
    -------
    tuple of RepeatedD
        One for each value, in rising order; `points` is 1 where nothing was repeated.

    Raises
    ------
    ValueError
        When the input is malformed.
    """
    x_, d, error = _checked(x, d_cm2_per_s, d_stderr_cm2_per_s, 1)
    if not (math.isfinite(same) and same >= 0):
        raise ValueError(f"same must be zero or more; it is {same}.")
    order = np.argsort(x_, kind="stable")
    x_, d, error = x_[order], d[order], error[order]
    new = np.diff(x_) > same * np.minimum(np.abs(x_[1:]), np.abs(x_[:-1]))
    return tuple(
        _averaged(*group)
        for group in zip(
            *(np.split(values, np.flatnonzero(new) + 1) for values in (x_, d, error)), strict=True
        )
    )


def _averaged(x: FloatArray, d: FloatArray, error: FloatArray) -> RepeatedD:
    weight = error**-2
    weighted = float(np.average(d, weights=weight))
    std = float(np.std(d, ddof=1)) if d.size > 1 else math.nan
    chi2, degrees = float(np.sum(((d - weighted) / error) ** 2)), d.size - 1
    p_value = _p_value(chi2, degrees)
    return RepeatedD(
        x=float(x.mean()),
        points=d.size,
        d_mean_cm2_per_s=float(d.mean()),
        d_std_cm2_per_s=std,
        d_mean_stderr_cm2_per_s=std / math.sqrt(d.size),
        d_weighted_cm2_per_s=weighted,
        d_weighted_stderr_cm2_per_s=float(weight.sum()) ** -0.5,
        chi2=chi2,
        degrees=degrees,
        p_value=p_value,
        scatters=p_value < UNLIKELY,
    )


@dataclass(frozen=True)
class Trend(Result):
    """D against a quantity x of the series, by least squares weighted with the errors of D.

    Attributes
    ----------
    law : str
        "constant": D = d; "line": D = d + slope · (x − reference); "power-law":
        D = d · (x / reference)^exponent.
    reference : float
        The mean of x, or its geometric mean for the power law.
    d_cm2_per_s, d_stderr_cm2_per_s : float
        D at the reference.
    slope, slope_stderr : float or None
        cm²/s for each unit of x; None unless a line.
    exponent, exponent_stderr : float or None
        None unless a power law.
    chi2, degrees, p_value : float, int, float
        Weighted squares left, and how probable that much is if the law holds.
    constant_chi2, constant_p_value : float
        The same of the best constant, with one degree of freedom more than a line.
    varies : bool
        Whether the law is better than a constant by what chance does in 0.3 % of cases; for a
        constant, whether it fails (p below 0.3 %).
    """

    SOURCE: ClassVar[str] = "The project's own; D against power and fluence as in S1, fig. 2"

    law: Law
    reference: float
    d_cm2_per_s: float
    d_stderr_cm2_per_s: float
    slope: float | None
    slope_stderr: float | None
    exponent: float | None
    exponent_stderr: float | None
    chi2: float
    degrees: int
    p_value: float
    constant_chi2: float
    constant_p_value: float
    varies: bool

    def at(self, x: ArrayLike) -> FloatArray:
        """D at some values of the quantity."""
        x_ = np.asarray(x, dtype=np.float64)
        if self.exponent is not None:
            return np.asarray(self.d_cm2_per_s * (x_ / self.reference) ** self.exponent)
        return np.asarray(self.d_cm2_per_s + (self.slope or 0.0) * (x_ - self.reference))

    def words(self, unit: str = "") -> str:
        """Say it in a line, with the unit of the quantity if that is known."""
        text = f"D = {self.d_cm2_per_s:.4g} ± {self.d_stderr_cm2_per_s:.2g} cm²/s"
        if self.law != "constant":
            text += f" at {self.reference:.4g} {unit}".rstrip()
        if self.slope is not None:
            per = unit or "unit"
            text += f", slope {self.slope:.3g} ± {self.slope_stderr:.2g} cm²/s per {per}"
        if self.exponent is not None:
            text += f", exponent {self.exponent:.3g} ± {self.exponent_stderr:.2g}"
        verdict = "varies" if self.varies else "no change beyond the error bars"
        return f"{text}, χ² = {self.chi2:.1f} for {self.degrees} degrees of freedom; {verdict}"

    def __str__(self) -> str:
        return self.words()


def fit_trend(
    x: ArrayLike, d_cm2_per_s: ArrayLike, d_stderr_cm2_per_s: ArrayLike, law: Law = "line"
) -> Trend:
    """Fit a law to diffusivities at several values of a quantity, and say whether D varies.

    The fit is in D itself, so that values below zero are used like all others.

    Parameters
    ----------
    x : (point,)
        Power, fluence, repetition rate, temperature, …; positive for a power law.
    d_cm2_per_s, d_stderr_cm2_per_s : (point,)
        Diffusivity and its standard error.
    law
        "constant", "line" or "power-law".

    Raises
    ------
    ValueError
        When the points do not determine the law, or the input is malformed.
    """
    if law not in get_args(Law):
        raise ValueError(f"law is one of {', '.join(get_args(Law))}; not {law}.")
    x_, d, error = _checked(x, d_cm2_per_s, d_stderr_cm2_per_s, 1 if law == "constant" else 2)
    weight = error**-2
    constant = float(np.average(d, weights=weight))
    constant_chi2 = float(np.sum(((d - constant) / error) ** 2))
    constant_p = _p_value(constant_chi2, d.size - 1)
    reference = float(np.average(x_))
    p, stderr = np.array([constant]), np.array([float(weight.sum()) ** -0.5])
    chi2 = constant_chi2
    if law == "line":
        design = np.stack([np.ones_like(x_), x_ - reference], axis=1)
        p, stderr, chi2 = _weighted(design, d, error)
    elif law == "power-law":
        if x_.min() <= 0:
            raise ValueError("A power law needs values of the quantity above zero.")
        reference = float(np.exp(np.mean(np.log(x_))))
        u = np.log(x_ / reference)
        p, stderr, chi2 = _curve(
            lambda q: np.exp(q * u), lambda q: u * np.exp(q * u), _EXPONENTS, d, error
        )
    degrees = d.size - p.size
    gained = constant_chi2 - chi2
    return Trend(
        law=law,
        reference=reference,
        d_cm2_per_s=float(p[0]),
        d_stderr_cm2_per_s=float(stderr[0]),
        slope=float(p[1]) if law == "line" else None,
        slope_stderr=float(stderr[1]) if law == "line" else None,
        exponent=float(p[1]) if law == "power-law" else None,
        exponent_stderr=float(stderr[1]) if law == "power-law" else None,
        chi2=chi2,
        degrees=degrees,
        p_value=_p_value(chi2, degrees),
        constant_chi2=constant_chi2,
        constant_p_value=constant_p,
        varies=(constant_p if law == "constant" else _p_value(gained, 1)) < UNLIKELY,
    )


@dataclass(frozen=True)
class Arrhenius(Result):
    """D(T) = d0 · exp(−activation / k T) (+ offset), by least squares weighted with errors of D.

    Attributes
    ----------
    d0_cm2_per_s, d0_stderr_cm2_per_s : float
        D at infinite temperature. Far outside the points: its logarithm is what is known, to
        stderr / d0.
    activation_mev, activation_stderr_mev : float
        Activation energy; negative where D falls with temperature.
    offset_cm2_per_s, offset_stderr_cm2_per_s : float or None
        D at zero temperature, of what is not activated; None if it was not asked for.
    reference_k, d_reference_cm2_per_s, d_reference_stderr_cm2_per_s : float
        Harmonic mean of the temperatures, and the activated D there.
    chi2, degrees, p_value : float, int, float
        Weighted squares left, and how probable that much is if the law holds.
    """

    SOURCE: ClassVar[str] = "The project's own; Arrhenius's law"

    d0_cm2_per_s: float
    d0_stderr_cm2_per_s: float
    activation_mev: float
    activation_stderr_mev: float
    offset_cm2_per_s: float | None
    offset_stderr_cm2_per_s: float | None
    reference_k: float
    d_reference_cm2_per_s: float
    d_reference_stderr_cm2_per_s: float
    chi2: float
    degrees: int
    p_value: float

    def at(self, temperature_k: ArrayLike) -> FloatArray:
        """D at some temperatures."""
        cold = 1 / np.asarray(temperature_k, dtype=np.float64) - 1 / self.reference_k
        activated = np.exp(-self.activation_mev / BOLTZMANN_MEV_PER_K * cold)
        return np.asarray(self.d_reference_cm2_per_s * activated + (self.offset_cm2_per_s or 0.0))

    def __str__(self) -> str:
        offset = (
            ""
            if self.offset_cm2_per_s is None
            else f"offset {self.offset_cm2_per_s:.3g} ± {self.offset_stderr_cm2_per_s:.2g} cm²/s, "
        )
        return (
            f"E_a = {self.activation_mev:.3g} ± {self.activation_stderr_mev:.2g} meV, "
            f"D0 = {self.d0_cm2_per_s:.3g} ± {self.d0_stderr_cm2_per_s:.2g} cm²/s, {offset}"
            f"χ² = {self.chi2:.1f} for {self.degrees} degrees of freedom"
            + ("" if self.p_value > UNLIKELY else " ! the points do not follow this law")
        )


def fit_arrhenius(
    temperature_k: ArrayLike,
    d_cm2_per_s: ArrayLike,
    d_stderr_cm2_per_s: ArrayLike,
    *,
    offset: bool = False,
) -> Arrhenius:
    """Fit an activation energy to diffusivities at several temperatures.

    The fit is in D itself, not in its logarithm: values below zero, and error bars as large as
    their values, are then used as they are.

    Parameters
    ----------
    temperature_k, d_cm2_per_s, d_stderr_cm2_per_s : (point,)
        Temperature, diffusivity and its standard error.
    offset
        Whether part of D does not depend on the temperature.

    Raises
    ------
    ValueError
        With fewer different temperatures than parameters, when the points do not determine the
        energy (D not known to be other than zero, or an error of the energy beyond 1 eV), or when
        the input is malformed.
    """
    kelvin, d, error = _checked(temperature_k, d_cm2_per_s, d_stderr_cm2_per_s, 3 if offset else 2)
    if kelvin.min() <= 0:
        raise ValueError("Temperatures must be above zero kelvin.")
    reference = float(1 / np.mean(1 / kelvin))
    u = (1 / reference - 1 / kelvin) / BOLTZMANN_MEV_PER_K

    # a grid energy for which every exponential stays finite
    grid = _ACTIVATION_MEV[np.abs(_ACTIVATION_MEV) * np.abs(u).max() < 300]
    p, stderr, chi2, covariance = _full_curve(
        lambda q: np.exp(q * u), lambda q: u * np.exp(q * u), grid, d, error, offset
    )
    at_reference, energy = float(p[0]), float(p[1])
    # ln d0 = ln d_reference + energy / k T_reference
    row = np.array([1 / at_reference, 1 / (BOLTZMANN_MEV_PER_K * reference)])
    ln_stderr = math.sqrt(float(row @ covariance[:2, :2] @ row))
    d0 = at_reference * math.exp(min(energy * float(row[1]), 700.0))
    degrees = d.size - p.size
    return Arrhenius(
        d0_cm2_per_s=d0,
        d0_stderr_cm2_per_s=abs(d0) * ln_stderr,
        activation_mev=energy,
        activation_stderr_mev=float(stderr[1]),
        offset_cm2_per_s=float(p[2]) if offset else None,
        offset_stderr_cm2_per_s=float(stderr[2]) if offset else None,
        reference_k=reference,
        d_reference_cm2_per_s=at_reference,
        d_reference_stderr_cm2_per_s=float(stderr[0]),
        chi2=chi2,
        degrees=degrees,
        p_value=_p_value(chi2, degrees),
    )


def _checked(
    x: ArrayLike, d: ArrayLike, error: ArrayLike, fewest: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the points as arrays, or raise a ValueError that says what is wrong."""
    x_, d_, error_ = (np.asarray(one, dtype=np.float64) for one in (x, d, error))
    if not x_.shape == d_.shape == error_.shape == (x_.size,) or x_.size == 0:
        raise ValueError("The quantity, D and its errors must be equally long lists.")
    if not (np.isfinite([x_, d_, error_]).all() and (error_ > 0).all()):
        raise ValueError("The quantity and D must be finite, and the errors positive.")
    if np.unique(x_).size < fewest:
        raise ValueError(
            f"{np.unique(x_).size} different value(s) of the quantity are too few; this law needs "
            f"{fewest}."
        )
    return x_, d_, error_


def _p_value(chi2: float, degrees: int) -> float:
    return float(chdtrc(degrees, chi2)) if degrees > 0 else 1.0


def _weighted(
    design: FloatArray, d: FloatArray, error: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Return parameters, errors and χ² of a linear law."""
    rows, aim = design / error[:, None], d / error
    p, *_ = np.linalg.lstsq(rows, aim, rcond=None)
    stderr = np.sqrt(np.diag(_inverse(rows)))
    return np.asarray(p, np.float64), stderr, float(np.sum((rows @ p - aim) ** 2))


def _inverse(rows: FloatArray) -> FloatArray:
    """Return the covariance of the parameters, or raise a ValueError where there is none."""
    scale = np.sqrt((rows**2).sum(axis=0))
    correlation = (rows / scale).T @ (rows / scale) if (scale > 0).all() else np.zeros((1, 1))
    if not np.isfinite(correlation).all() or np.linalg.cond(correlation) > _LARGEST_CONDITION:
        raise ValueError("The diffusivities do not determine this law.")
    return np.asarray(np.linalg.inv(correlation) / np.outer(scale, scale))


def _curve(
    shape: Callable[[float], FloatArray],
    slope: Callable[[float], FloatArray],
    grid: FloatArray,
    d: FloatArray,
    error: FloatArray,
) -> tuple[FloatArray, FloatArray, float]:
    return _full_curve(shape, slope, grid, d, error, False)[:3]


def _full_curve(
    shape: Callable[[float], FloatArray],
    slope: Callable[[float], FloatArray],
    grid: FloatArray,
    d: FloatArray,
    error: FloatArray,
    offset: bool,
) -> tuple[FloatArray, FloatArray, float, FloatArray]:
    """Fit p₀ · shape(p₁) (+ p₂); return parameters, errors, χ², covariance."""

    def linear(q: float) -> FloatArray:
        columns = [shape(q), np.ones_like(d)] if offset else [shape(q)]
        return np.stack(columns, axis=1) / error[:, None]

    def start(q: float) -> tuple[float, FloatArray]:
        rows = linear(q)
        best, *_ = np.linalg.lstsq(rows, d / error, rcond=None)
        return float(np.sum((rows @ best - d / error) ** 2)), np.insert(best, 1, q)

    def residuals(p: FloatArray) -> FloatArray:
        return np.asarray(linear(p[1]) @ np.delete(p, 1) - d / error)

    def jacobian(p: FloatArray) -> FloatArray:
        return np.asarray(np.insert(linear(p[1]), 1, p[0] * slope(p[1]) / error, axis=1))

    _, best = min((start(float(q)) for q in grid), key=lambda one: one[0])
    low, high = float(grid.min()), float(grid.max())
    widest = np.full(best.size, np.inf)
    lowest, highest = -widest, widest
    lowest[1], highest[1] = 1.5 * low, 1.5 * high
    scale = np.maximum(np.abs(best), 1e-6)
    found = least_squares(residuals, best, jacobian, bounds=(lowest, highest), x_scale=scale)
    covariance = _inverse(jacobian(found.x))
    stderr = np.sqrt(np.diag(covariance))
    inside = low < found.x[1] < high and stderr[1] < high
    if not (found.success and inside and abs(found.x[0]) > stderr[0]):
        raise ValueError("The diffusivities do not determine this law.")
    return found.x, stderr, 2 * float(found.cost), covariance
