"""Expected counts of a decay: shapes of light, convolved with the response, in the time bins."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares, nnls
from scipy.special import exprel, gamma, gammainc, kl_div

from .irf import Irf
from .maps import FloatArray

PULSES = 4
"""Earlier pulses that are added one by one; those before are an integral."""
LEAST_BETA, MOST_BETA = 0.2, 2.0
LEAST_EXCESS, MOST_EXCESS = 0.02, 19.0
"""Limits of the power law's exponent minus one; from one down its light would be infinite."""
_EDGE = 0.01
"""Closer to a limit, in the logarithm, is at it."""
_SMALL = 1e-4
_ROUGH_TURNS, _TURNS = 15, 200
"""Steps from every start, and from the best of the points they lead to."""


@dataclass(frozen=True)
class Shape:
    """How one kind of light arrives after a pulse; all of it together is one photon.

    Attributes
    ----------
    arrived : callable
        (parameters, t_ns) → share that has arrived by t_ns ≥ 0.
    arrived_sum : callable
        Its integral from 0 to t_ns, ns.
    limits : callable
        (bin width, range) in ns → limits of each parameter. The parameters are logarithms, so
        that times and exponents stay positive.
    """

    arrived: Callable[[FloatArray, FloatArray], FloatArray]
    arrived_sum: Callable[[FloatArray, FloatArray], FloatArray]
    limits: Callable[[float, float], list[tuple[float, float]]]


def _exponential(q: FloatArray, t: FloatArray) -> FloatArray:
    return np.asarray(-np.expm1(-t / math.exp(q[0])))


def _exponential_sum(q: FloatArray, t: FloatArray) -> FloatArray:
    tau = math.exp(q[0])
    return np.asarray(t + tau * np.expm1(-t / tau))


def _stretched(q: FloatArray, t: FloatArray) -> FloatArray:
    beta = math.exp(q[1])
    return np.asarray(gammainc(1 / beta, (t / math.exp(q[0])) ** beta))


def _stretched_sum(q: FloatArray, t: FloatArray) -> FloatArray:
    tau, beta = math.exp(q[0]), math.exp(q[1])
    mean = tau * float(gamma(2 / beta) / gamma(1 / beta))  # time of arrival
    x = (t / tau) ** beta
    return np.asarray(t * gammainc(1 / beta, x) - mean * gammainc(2 / beta, x))


def _power_law(q: FloatArray, t: FloatArray) -> FloatArray:
    return np.asarray(-np.expm1(-math.exp(q[1]) * np.log1p(t / math.exp(q[0]))))


def _power_law_sum(q: FloatArray, t: FloatArray) -> FloatArray:
    start, excess = math.exp(q[0]), math.exp(q[1])
    later = np.log1p(t / start)
    # ∫ (1 + t/t₁)^(1−p) dt, written so that p = 2 is no special case
    return np.asarray(t - start * later * exprel((1 - excess) * later))


def _time_limits(step: float, span: float) -> tuple[float, float]:
    return math.log(0.1 * step), math.log(100 * span)


EXPONENTIAL = Shape(_exponential, _exponential_sum, lambda h, w: [_time_limits(h, w)])
"""exp(−t/τ); parameter ln τ."""
STRETCHED = Shape(
    _stretched,
    _stretched_sum,
    lambda h, w: [_time_limits(h, w), (math.log(LEAST_BETA), math.log(MOST_BETA))],
)
"""exp(−(t/τ)^β); parameters ln τ, ln β."""
POWER_LAW = Shape(
    _power_law,
    _power_law_sum,
    lambda h, w: [_time_limits(h, w), (math.log(LEAST_EXCESS), math.log(MOST_EXCESS))],
)
"""(1 + t/t₁)^−p; parameters ln t₁, ln(p − 1)."""


@dataclass(frozen=True, eq=False)
class Found:
    """A maximum of the likelihood.

    Attributes
    ----------
    parameters, stderr : (parameter,) float64
        Of every shape, the shift in bins, the photons of each shape, the background. NaN for an
        error that the counts do not determine.
    covariance : (parameter, parameter) float64
        Inverse of the Fisher information; zero for what is not free.
    lit : (shape,) bool
        Which shapes hold light.
    expected : (bin,) float64
        Expected counts.
    deviance, free : float, int
        -2 ln L against a model that hits every count, and the number of free parameters.
    inside : bool
        Whether the search ended, and away from every limit.
    """

    parameters: FloatArray
    stderr: FloatArray
    covariance: FloatArray
    lit: np.ndarray[tuple[int], np.dtype[np.bool_]]
    expected: FloatArray
    deviance: float
    free: int
    inside: bool


class DecayModel:
    """Expected counts of one histogram, as a sum of shapes and a flat background.

    Parameters
    ----------
    n, t : (bin,)
        Counts and bin centres.
    step : float
        Bin width.
    irf : Irf or None
        Instrument response. None: light begins with the first bin.
    period : float or None
        Time from pulse to pulse.
    shapes : tuple of Shape
        What the decay is a sum of.
    shift : float or None
        By how much the decay comes later than the response says; None: to be found.
    background : float or None
        Counts per bin; None: to be found.
    """

    def __init__(
        self,
        n: FloatArray,
        t: FloatArray,
        step: float,
        irf: Irf | None,
        period: float | None,
        shapes: tuple[Shape, ...],
        shift: float | None = 0.0,
        background: float | None = None,
    ) -> None:
        self.n, self.t, self.step, self.irf, self.period = n, t, step, irf, period
        self.shapes = shapes
        limits = [one for shape in shapes for one in shape.limits(step, step * n.size)]
        widest = 0.0 if irf is None else max(3.0, 3 * irf.fwhm_ns / step)
        at = 0.0 if shift is None else shift / step
        limits.append((-widest, widest) if shift is None else (at - 1.0, at + 1.0))
        self.curved = len(limits)
        """How many parameters the counts are not linear in."""
        limits += [(0.0, math.inf)] * (len(shapes) + 1)
        self.lowest, self.highest = np.array(limits).T
        self.fixed = np.zeros(len(limits), dtype=bool)
        self.fixed[self.curved - 1] = shift is not None
        self.fixed[-1] = background is not None
        self.given = np.full(len(limits), np.nan)
        self.given[self.curved - 1], self.given[-1] = at, background or 0.0
        self.size = [len(shape.limits(step, step * n.size)) for shape in shapes]
        self.lags = np.arange(n.size, dtype=np.float64)
        self.kernel = np.ones(1)
        if irf is not None:
            lit = np.flatnonzero(irf.share)
            first, last = int(lit[0]) - 1, int(lit[-1]) + 1
            share = np.pad(irf.share[first + 1 : last], 2)
            # Counting in bins, and even light within them, widen the response by a variance of
            # step²/12 each. Where it is faint the correction must not make it negative.
            whole, narrowed = share[1:-1], np.diff(share, 2) / 12
            self.kernel = whole - np.minimum(narrowed, np.maximum(whole, 0.0) / 2)
            self.lags = np.arange(-last, n.size - first, dtype=np.float64)

    def split(self, p: FloatArray) -> list[FloatArray]:
        """Return the parameters of each shape."""
        return np.split(p[: self.curved - 1], np.cumsum(self.size)[:-1])

    def columns(self, p: FloatArray) -> FloatArray:
        """Return what one photon of each shape leaves in every bin; (shape, bin)."""
        return np.array(
            [self._column(shape, q, p) for shape, q in zip(self.shapes, self.split(p), strict=True)]
        )

    def _column(self, shape: Shape, q: FloatArray, p: FloatArray) -> FloatArray:
        step, late = self.step, (self.lags - p[self.curved - 1]) * self.step

        def arrived(t: FloatArray) -> FloatArray:
            return shape.arrived(q, np.maximum(t, 0.0))

        if self.irf is None:  # light that began with the first bin
            light = arrived(late + step) - arrived(late)
            begun = 0.0
        else:  # light that began evenly spread over a bin
            edges = np.append(late - step, [late[-1], late[-1] + step])
            rise = shape.arrived_sum(q, np.maximum(edges, 0.0))
            light = np.diff(rise, 2) / step
            begun = step / 2
        if self.period is not None:
            since = late - begun
            for pulse in range(1, PULSES + 1):
                before = since + pulse * self.period
                light = light + arrived(before + step) - arrived(before)
            rest = since + step / 2 + (PULSES + 0.5) * self.period
            light = light + (1 - arrived(rest)) * step / self.period
        return np.convolve(light, self.kernel, "valid")

    def expected(self, p: FloatArray) -> FloatArray:
        """Return the expected counts."""
        return np.asarray(np.maximum(p[self.curved : -1] @ self.columns(p) + p[-1], 1e-9))

    def slopes(self, p: FloatArray) -> FloatArray:
        """Return the derivatives of the expected counts; (parameter, bin)."""
        out = np.ones((p.size, self.n.size))
        photons, shift = p[self.curved : -1], self.curved - 1
        owner = np.repeat(np.arange(len(self.shapes)), self.size)
        parts = self.split(p)
        starts = np.cumsum([0, *self.size])
        for k, one in enumerate(owner):
            up, down = parts[one].copy(), parts[one].copy()
            up[k - starts[one]] += _SMALL
            down[k - starts[one]] -= _SMALL
            rise = self._column(self.shapes[one], up, p) - self._column(self.shapes[one], down, p)
            out[k] = photons[one] * rise / (2 * _SMALL)
        if not self.fixed[shift]:
            later, sooner = p.copy(), p.copy()
            later[shift] += _SMALL
            sooner[shift] -= _SMALL
            out[shift] = photons @ (self.columns(later) - self.columns(sooner)) / (2 * _SMALL)
        out[self.curved : -1] = self.columns(p)
        out[self.fixed] = 0.0
        return out

    def fit(self, starts: list[list[float]]) -> Found:
        """Return the best maximum that is reached from several starts.

        Parameters
        ----------
        starts : list of list of float
            Parameters of all shapes, one after the other.
        """
        shifts = [self.given[self.curved - 1]]
        if not self.fixed[self.curved - 1]:  # first roughly, with the first start
            grid = np.linspace(self.lowest[self.curved - 1], self.highest[self.curved - 1], 25)
            shifts = [min(grid[1:-1], key=lambda at: self._linear(starts[0], float(at))[0])]
        first = [self._linear(start, float(shifts[0]))[1] for start in starts]
        tried = [self._search(start, _ROUGH_TURNS) for start in first]
        _, best, _ = min(tried, key=lambda one: one[0])
        deviance, p, ended = self._search(best, _TURNS)
        return self._found(self._sorted(p), deviance, ended)

    def _sorted(self, p: FloatArray) -> FloatArray:
        """Bring shapes of the same kind into the order of their times."""
        if any(shape is not EXPONENTIAL for shape in self.shapes):
            return p
        order = np.argsort(p[: self.curved - 1])
        photons = p[self.curved : -1][order]
        return np.concatenate([p[: self.curved - 1][order], [p[self.curved - 1]], photons, p[-1:]])

    def _linear(self, start: list[float], shift: float) -> tuple[float, FloatArray]:
        """Return the squares left by, and the parameters with, the best photons and background."""
        curved = np.append(start, shift)
        low, high = self.lowest[: self.curved], self.highest[: self.curved]
        curved = np.clip(curved, low + 0.1, high - 0.1)
        weight = 1 / np.sqrt(self.n + 1)
        known = self.given[-1] if self.fixed[-1] else 0.0
        rows = [*self.columns(curved)]
        if not self.fixed[-1]:
            rows.append(np.ones(self.n.size))
        best, squares = nnls((np.array(rows) * weight).T, (self.n - known) * weight)
        linear = np.maximum(best, 1e-3)
        if self.fixed[-1]:
            linear = np.append(linear, known)
        return float(squares), np.concatenate([curved, linear])

    def _search(self, start: FloatArray, turns: int) -> tuple[float, FloatArray, bool]:
        """Return deviance, parameters, and whether the search ended."""
        free = ~self.fixed

        def whole(part: FloatArray) -> FloatArray:
            return np.asarray(np.where(free, _spread(part, free), self.given))

        def residuals(part: FloatArray) -> FloatArray:
            return _residuals(self.n, self.expected(whole(part)))

        def jacobian(part: FloatArray) -> FloatArray:
            p = whole(part)
            slope = _residual_slope(self.n, self.expected(p))
            return np.asarray((slope * self.slopes(p)[free]).T)

        scale = np.ones(start.size)
        scale[self.curved :] = np.maximum(start[self.curved :], 1.0)
        # the squares of these residuals are the deviance, so least squares is maximum likelihood
        found = least_squares(
            residuals,
            start[free],
            jacobian,
            bounds=(self.lowest[free], self.highest[free]),
            x_scale=scale[free],
            max_nfev=turns,
        )
        return 2 * float(found.cost), whole(found.x), bool(found.success)

    def _found(self, p: FloatArray, deviance: float, ended: bool) -> Found:
        photons = p[self.curved : -1]
        # Photons or a background at their limit are not free, nor is the shape of no light.
        lit = photons > 1e-4 * float(photons.sum())
        shift_free = not self.fixed[self.curved - 1]
        free = np.concatenate(
            [np.repeat(lit, self.size), [shift_free], lit, [not self.fixed[-1] and p[-1] > 1e-6]]
        )
        expected = self.expected(p)
        scale = np.ones(p.size)
        scale[self.curved :] = np.maximum(p[self.curved :], 1.0)
        slopes = (self.slopes(p) * scale[:, None])[free]
        information = (slopes / expected) @ slopes.T
        covariance = np.zeros((p.size, p.size))
        try:
            inverse = np.linalg.inv(information)
        except np.linalg.LinAlgError:
            inverse = np.full_like(information, np.nan)
        covariance[np.ix_(free, free)] = inverse
        covariance *= np.outer(scale, scale)
        variance = np.diag(covariance)
        curved = slice(0, self.curved)
        inside = np.all(
            (p[curved] > self.lowest[curved] + _EDGE) & (p[curved] < self.highest[curved] - _EDGE)
        )
        return Found(
            parameters=p,
            stderr=np.sqrt(np.where(free & (variance > 0), variance, np.nan)),
            covariance=covariance,
            lit=np.asarray(lit),
            expected=expected,
            deviance=deviance,
            free=int(free.sum()),
            inside=ended and bool(inside),
        )


def _spread(part: FloatArray, free: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> FloatArray:
    whole = np.zeros(free.size)
    whole[free] = part
    return whole


def _residuals(n: FloatArray, expected: FloatArray) -> FloatArray:
    """Return signed roots of each bin's share of the deviance."""
    return np.asarray(np.sign(n - expected) * np.sqrt(2 * np.maximum(kl_div(n, expected), 0.0)))


def _residual_slope(n: FloatArray, expected: FloatArray) -> FloatArray:
    """Return the derivative of the residuals by the expected counts."""
    r = _residuals(n, expected)
    near = np.abs(r) < 1e-3
    exact = (1 - n / expected) / np.where(near, 1.0, r)
    return np.asarray(np.where(near, -1 / np.sqrt(expected), exact))
