"""What a mean square displacement says about transport: exponents, regimes, D(t), lengths."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from .fits import FitWarning
from .global_fit import D_UNIT
from .maps import FloatArray
from .results import Result

REGIME_CHI2 = 16.0
"""Drop of χ² that a second regime has to bring: two parameters, one of them a place looked for."""
_FEWEST = 3
_EXPONENTS = (0.1, 0.5, 1.0, 1.5, 2.2)
_MISFIT = 6.0


@dataclass(frozen=True)
class MsdRegime(Result):
    """A stretch of time with one exponent.

    Attributes
    ----------
    start_ns, stop_ns : float
        From the first point, or the break, to the break, or the last point.
    alpha, alpha_stderr : float
        Exponent of MSD ∝ t^α.
    kind : str
        "super-diffusive", "diffusive" or "sub-diffusive"; "diffusive" within two errors of 1.
    """

    SOURCE: ClassVar[str] = "MSD ∝ t^α: S5, figure 3; the break is the project's own"

    start_ns: float
    stop_ns: float
    alpha: float
    alpha_stderr: float
    kind: str


@dataclass(frozen=True, eq=False)
class MsdFit(Result):
    """Power law of a mean square displacement along one axis, in one or two regimes.

    Attributes
    ----------
    regimes : tuple of MsdRegime
        One, or two when the data ask for them; none when nothing could be fitted.
    k_um2, k_stderr_um2 : float or None
        MSD at `k_t_ns` after the fit: the middle point in log t, or the break.
    k_t_ns : float or None
        Where.
    break_ns, break_stderr_ns : float or None
        Where one regime passes into the other.
    break_length_nm, break_length_stderr_nm : float or None
        Transport length √MSD at the break: that of the first regime (S5).
    chi2_gain : float or None
        By how much the second regime lowers χ², over χ² per degree of freedom if that is above 1.
        At least `REGIME_CHI2` for two regimes.
    chi2, degrees : float or None, int or None
        Of the chosen model.
    warnings : tuple of FitWarning
        What to know before using the numbers.
    t_ns, msd_um2, stderr_um2 : (n,) float64
        Points that were used.
    fitted_um2 : (n,) float64
        The chosen power laws.
    d_mean_cm2_per_s, d_mean_stderr_cm2_per_s : (n,) float64
        D(t) = MSD / 2t (S5).
    d_slope_cm2_per_s, d_slope_stderr_cm2_per_s : (n,) float64
        D(t) = ½ dMSD/dt (S3), by differences of neighbouring points.
    d_fit_cm2_per_s : (n,) float64
        ½ dMSD/dt of the fitted power laws.
    length_nm, length_stderr_nm : (n,) float64
        Transport length √MSD (S5); NaN where the MSD is not above its error.
    """

    SOURCE: ClassVar[str] = (
        "MSD ∝ t^α, D(t) = MSD / 2t, length √MSD: S5, figure 3; D(t) = ½ dMSD/dt: S3; the "
        "break and its test are the project's own"
    )
    CURVES: ClassVar[tuple[str, ...]] = (
        "t_ns", "msd_um2", "stderr_um2", "fitted_um2", "d_mean_cm2_per_s",
        "d_mean_stderr_cm2_per_s", "d_slope_cm2_per_s", "d_slope_stderr_cm2_per_s",
        "d_fit_cm2_per_s", "length_nm", "length_stderr_nm",
    )  # fmt: skip

    regimes: tuple[MsdRegime, ...]
    k_um2: float | None
    k_stderr_um2: float | None
    k_t_ns: float | None
    break_ns: float | None
    break_stderr_ns: float | None
    break_length_nm: float | None
    break_length_stderr_nm: float | None
    chi2_gain: float | None
    chi2: float | None
    degrees: int | None
    warnings: tuple[FitWarning, ...]
    t_ns: FloatArray
    msd_um2: FloatArray
    stderr_um2: FloatArray
    fitted_um2: FloatArray
    d_mean_cm2_per_s: FloatArray
    d_mean_stderr_cm2_per_s: FloatArray
    d_slope_cm2_per_s: FloatArray
    d_slope_stderr_cm2_per_s: FloatArray
    d_fit_cm2_per_s: FloatArray
    length_nm: FloatArray
    length_stderr_nm: FloatArray

    def __str__(self) -> str:
        lines = [
            f"MSD ∝ t^α, α = {one.alpha:.3g} ± {one.alpha_stderr:.2g} from {one.start_ns:.4g} to "
            f"{one.stop_ns:.4g} ns: {one.kind}"
            for one in self.regimes
        ] or ["no power law of the MSD"]
        if self.break_length_nm is not None:
            lines.append(
                f"break at {self.break_ns:.4g} ± {self.break_stderr_ns:.2g} ns, transport length "
                f"{self.break_length_nm:.4g} ± {self.break_length_stderr_nm:.2g} nm"
            )
        return "\n".join([*lines, *(f"! {w.code}: {w.message}" for w in self.warnings)])


def fit_msd(
    t_ns: ArrayLike,
    msd_um2: ArrayLike,
    stderr_um2: ArrayLike,
    *,
    common_stderr_um2: float = 0.0,
) -> MsdFit:
    """Fit MSD = K t^α, and two such laws that meet at a break when one is not enough.

    Weighted least squares of the MSD itself, not of its logarithm, so that points at or below
    zero take part.

    Parameters
    ----------
    t_ns : (n,)
        Time since the MSD was zero, increasing; points at or before zero are left out, as are
        points that are NaN.
    msd_um2, stderr_um2 : (n,)
        MSD **along one axis** (half of ⟨r²⟩) and its standard errors, independent of each other.
    common_stderr_um2
        Error of σ0², which shifts all points alike.

    Raises
    ------
    ValueError
        When the input is malformed; never because of what the values say.
    """
    t, msd, stderr = (np.asarray(one, dtype=np.float64) for one in (t_ns, msd_um2, stderr_um2))
    if t.ndim != 1 or not (t.shape == msd.shape == stderr.shape):
        raise ValueError("t_ns, msd_um2 and stderr_um2 must be equally long lists of numbers.")
    if not np.isfinite(t).all() or np.any(np.diff(t) <= 0):
        raise ValueError("t_ns must be finite and increase from point to point.")
    if not (math.isfinite(common_stderr_um2) and common_stderr_um2 >= 0):
        raise ValueError(f"common_stderr_um2 must be zero or more; it is {common_stderr_um2}.")
    usable = (t > 0) & np.isfinite(msd) & np.isfinite(stderr)
    t, msd, stderr = t[usable], msd[usable], stderr[usable]
    if np.any(stderr <= 0):
        raise ValueError("stderr_um2 must be positive.")
    points = _Points(t, msd, stderr, common_stderr_um2)
    if t.size < _FEWEST:
        words = f"{t.size} point(s) after time zero: a power law needs at least {_FEWEST}."
        return _result(points, None, None, [FitWarning("few-points", words)])
    one = _fit_one(points)
    if one is None:
        words = "The MSD does not stand out of its errors: it has no exponent."
        return _result(points, None, None, [FitWarning("no-growth", words)])
    two = _fit_two(points, one)
    gain = None
    if two is not None:
        gain = (one.chi2 - two.chi2) / max(1.0, two.chi2 / max(t.size - 4, 1))
    chosen = two if two is not None and gain is not None and gain > REGIME_CHI2 else one
    return _result(points, chosen, gain, _judge(points, chosen))


@dataclass(frozen=True, eq=False)
class _Points:
    """Usable points, and how to whiten them."""

    t: FloatArray
    msd: FloatArray
    stderr: FloatArray
    common: float

    def white(self, values: NDArray[Any]) -> FloatArray:
        """Divide by the errors, the one that all points share included; (n,) or (n, m)."""
        scale = 1 / self.stderr
        part = values.T * scale
        # the square root of the inverse of 1 + s² d dᵀ, d the scaled shift of all points
        size2 = self.common**2 * float(scale @ scale)
        if size2 > 0:
            share = (1 - 1 / math.sqrt(1 + size2)) / float(scale @ scale)
            part = part - share * (part @ scale)[..., None] * scale
        return np.asarray(part.T)


@dataclass(frozen=True, eq=False)
class _Law:
    """K (t/tc)^α, with another α after tc if there are two; K, α… and ln tc."""

    p: FloatArray
    corner: float
    covariance: FloatArray
    chi2: float

    @property
    def broken(self) -> bool:
        return self.p.size == 4


def _law(p: FloatArray, t: FloatArray, corner: float) -> tuple[FloatArray, FloatArray]:
    """Return the law and its derivatives; (n,), (n, parameter)."""
    if p.size == 2:
        u = np.log(t / corner)
        power = np.exp(p[1] * u)
        return p[0] * power, np.column_stack([power, p[0] * power * u])
    u = np.log(t) - p[3]
    late = u > 0
    alpha = np.where(late, p[2], p[1])
    power = np.exp(alpha * u)
    slope = p[0] * power * u
    columns = [power, slope * ~late, slope * late, -p[0] * power * alpha]
    return p[0] * power, np.column_stack(columns)


def _fit(points: _Points, start: FloatArray, corner: float) -> _Law | None:
    """Fit a law from a start; None when the points do not determine it."""
    bounds = np.tile([[-np.inf], [np.inf]], start.size)
    bounds[:, 1:3] = [[-1.0], [8.0]]
    if start.size == 4:
        # some points on either side, or an exponent has none
        edge = np.log(points.t[[1, -2]])
        bounds[:, 3] = edge
        start[3] = np.clip(start[3], edge[0] + 1e-9, edge[1] - 1e-9)
    start[1:3] = np.clip(start[1:3], -0.9, 7.9)

    def residuals(p: FloatArray) -> FloatArray:
        return points.white(_law(p, points.t, corner)[0] - points.msd)

    def jacobian(p: FloatArray) -> FloatArray:
        return points.white(_law(p, points.t, corner)[1])

    found = least_squares(
        residuals,
        start,
        jacobian,
        bounds=(bounds[0], bounds[1]),
        x_scale=np.concatenate([[max(abs(start[0]), 1e-12)], np.ones(start.size - 1)]),
        max_nfev=50,
    )
    jac = jacobian(found.x)
    scale = np.maximum(np.linalg.norm(jac, axis=0), 1e-300)
    normal = (jac / scale).T @ (jac / scale)
    if np.any(found.active_mask) or np.linalg.eigvalsh(normal)[0] < 1e-9:
        return None
    covariance = np.linalg.inv(normal) / np.outer(scale, scale)
    return _Law(found.x, corner, covariance, 2 * float(found.cost))


def _fit_one(points: _Points) -> _Law | None:
    """Fit one power law; None when its height is not clear."""
    corner = float(np.exp(np.mean(np.log(points.t))))
    starts = [np.array([1.0, alpha]) for alpha in np.linspace(0.1, 3.0, 16)]
    law = _best(points, starts, corner, 1)
    return None if law is None or law.p[0] < 3 * math.sqrt(law.covariance[0, 0]) else law


def _fit_two(points: _Points, one: _Law) -> _Law | None:
    """Fit two power laws that meet; None when no break can be placed."""
    log_t = np.log(points.t)
    if log_t.size < 2 * _FEWEST:
        return None
    inner = np.arange(_FEWEST - 1, log_t.size - _FEWEST + 1)
    inner = inner[np.unique(np.linspace(0, inner.size - 1, min(inner.size, 9)).astype(int))]
    starts = [
        np.array([1.0, first, second, log_t[i]])
        for i, first, second in product(inner, _EXPONENTS, _EXPONENTS)
    ]
    law = _best(points, starts, one.corner, 2)
    if law is None or law.p[0] <= 0:
        return None
    before = int(np.count_nonzero(log_t <= law.p[3]))
    return law if _FEWEST - 1 <= before <= log_t.size - _FEWEST + 1 else None


def _best(points: _Points, starts: list[FloatArray], corner: float, most: int) -> _Law | None:
    """Fit from the best of several starts, each with the height that suits it."""
    msd = points.white(points.msd)
    shapes = points.white(np.column_stack([_law(p, points.t, corner)[0] for p in starts]))
    height = (msd @ shapes) / np.sum(shapes**2, axis=0)
    chi2 = np.sum((msd[:, None] - height * shapes) ** 2, axis=0)
    laws = []
    for i in np.argsort(chi2)[:most]:
        law = _fit(points, np.append(height[i], starts[i][1:]), corner)
        if law is not None:
            laws.append(law)
    return min(laws, key=lambda law: law.chi2) if laws else None


def _judge(points: _Points, law: _Law) -> list[FitWarning]:
    degrees = points.t.size - law.p.size
    if degrees <= 0 or law.chi2 - degrees <= _MISFIT * math.sqrt(2 * degrees):
        return []
    return [
        FitWarning(
            "misfit",
            f"Power laws do not describe the MSD: χ² is {law.chi2 / degrees:.2g} per degree of "
            f"freedom. It may pass through a maximum or hold more regimes, or its errors are too "
            f"small.",
        )
    ]


def _result(
    points: _Points, law: _Law | None, gain: float | None, warnings: list[FitWarning]
) -> MsdFit:
    t, msd, stderr = points.t, points.msd, points.stderr
    whole = np.sqrt(stderr**2 + points.common**2)
    positive = msd > whole
    root = np.sqrt(np.where(positive, msd, np.nan))
    slope, slope_stderr = _slope(t, msd, stderr)
    fitted = d_fit = np.full(t.size, np.nan)
    corner = corner_stderr = length = length_stderr = None
    regimes: tuple[MsdRegime, ...] = ()
    if law is not None:
        fitted = _law(law.p, t, law.corner)[0]
        exponent = np.full(t.size, law.p[1])
        cuts = [float(t[0]), float(t[-1])]
        errors = np.sqrt(np.diag(law.covariance))
        if law.broken:
            corner = math.exp(law.p[3])
            corner_stderr = corner * float(errors[3])
            length = 1e3 * math.sqrt(law.p[0])
            # of the length at the break, wherever that is
            length_stderr = length * float(errors[0]) / (2 * float(law.p[0]))
            exponent = np.where(t > corner, law.p[2], law.p[1])
            cuts.insert(1, corner)
        d_fit = 0.5 * exponent * fitted / t / D_UNIT
        regimes = tuple(
            MsdRegime(a, b, float(alpha), float(error), _kind(float(alpha), float(error)))
            for a, b, alpha, error in zip(
                cuts[:-1], cuts[1:], law.p[1:3], errors[1:3], strict=False
            )
        )
    return MsdFit(
        regimes=regimes,
        k_um2=None if law is None else float(law.p[0]),
        k_stderr_um2=None if law is None else math.sqrt(law.covariance[0, 0]),
        k_t_ns=None if law is None else (law.corner if corner is None else corner),
        break_ns=corner,
        break_stderr_ns=corner_stderr,
        break_length_nm=length,
        break_length_stderr_nm=length_stderr,
        chi2_gain=gain,
        chi2=None if law is None else law.chi2,
        degrees=None if law is None else t.size - law.p.size,
        warnings=tuple(warnings),
        t_ns=t,
        msd_um2=msd,
        stderr_um2=stderr,
        fitted_um2=fitted,
        d_mean_cm2_per_s=msd / (2 * t) / D_UNIT,
        d_mean_stderr_cm2_per_s=whole / (2 * t) / D_UNIT,
        d_slope_cm2_per_s=0.5 * slope / D_UNIT,
        d_slope_stderr_cm2_per_s=0.5 * slope_stderr / D_UNIT,
        d_fit_cm2_per_s=d_fit,
        length_nm=1e3 * root,
        length_stderr_nm=1e3 * whole / (2 * root),
    )


def _kind(alpha: float, error: float) -> str:
    if abs(alpha - 1) <= 2 * error:
        return "diffusive"
    return "super-diffusive" if alpha > 1 else "sub-diffusive"


def _slope(t: FloatArray, msd: FloatArray, stderr: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return dMSD/dt by differences of neighbours, and its errors; what all share cancels."""
    if t.size < 2:
        return np.full(t.size, np.nan), np.full(t.size, np.nan)
    # a difference takes at most three neighbours, so every third point adds apart
    third = np.arange(t.size) % 3
    parts = [np.gradient(np.where(third == k, stderr, 0.0), t) for k in range(3)]
    return np.gradient(msd, t), np.sqrt(np.sum(np.square(parts), axis=0))
