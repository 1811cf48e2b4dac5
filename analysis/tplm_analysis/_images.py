"""Likelihood of a stack of images, a two-dimensional Gaussian in each.

The model of place i and slice k is, for photon counts and for a signal with Gaussian noise::

    λ_ik = e_i [ a_k N(r_i - r0; C_k) + b w_k ]        s_ik = a_k N(r_i - r0; C_k) + o_k

with N the normal density in two dimensions, C_k its covariance, e the exposure, w the bins in the
slice and b the background. What enters one slice only and linearly (a_k, and o_k of a signal) is
solved for slice by slice and removed from score and information by a Schur complement. C_k is
linear in its parameters: no angle is fitted, so a round spot is no special place.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from ._likelihood import best_amplitude
from .global_fit import invert
from .maps import FloatArray, MapData

X0, Y0, FLOOR, VXX, VYY, VXY, AREA = range(7)
"""What one slice sees: centre (µm), background, covariance (µm²), area (counts·µm²)."""
C0 = 3
"""Place of the first parameter of the covariance in a parameter vector."""
CLEAR = 6.0
"""Least amplitude of a slice over its error, for a width of its own."""
VISIBLE = 3.0
"""The same, for a part in the fit of a whole stack of signals."""

_ROUND = np.array([[1.0], [1.0], [0.0]])
_TILTED = np.eye(3)
_LOWEST = 0.9  # an amplitude of counts may be negative down to this share of the background
_GRID = 24
_WIDTHS = 8


@dataclass(frozen=True, eq=False)
class Stack:
    """Checked images; places in any order.

    Attributes
    ----------
    values : (slice, place) float64
        Counts, or the signal.
    weight : (slice, place) float64
        1 / variance of the signal, 0 where there is none; not used for counts.
    x_um, y_um : (place,) float64
        Sample-plane places.
    t_ns : (slice,) float64
        Mean photon times, or delays.
    exposure : (place,) float64
        Relative to the mean.
    width : (slice,) float64
        Bins in each slice.
    poisson : bool
        Whether the values are photon counts.
    """

    values: FloatArray
    weight: FloatArray
    x_um: FloatArray
    y_um: FloatArray
    t_ns: FloatArray
    exposure: FloatArray
    width: FloatArray
    poisson: bool

    @property
    def span_um(self) -> float:
        """Longer side of the field."""
        return float(max(np.ptp(self.x_um), np.ptp(self.y_um)))

    @property
    def spacing_um(self) -> float:
        """Mean distance of neighbouring places."""
        area = float(np.ptp(self.x_um) * np.ptp(self.y_um))
        return math.sqrt(area / self.x_um.size)

    @property
    def limits_um2(self) -> tuple[float, float]:
        """Smallest and largest variance along any axis."""
        return (0.15 * self.spacing_um) ** 2, 9 * self.span_um**2

    @property
    def measured(self) -> int:
        """Number of values that take part."""
        return int(self.values.size if self.poisson else np.count_nonzero(self.weight))

    def with_noise(self, stderr: float) -> "Stack":
        """Return the same signal with another noise; the weights are multiplied."""
        return replace(self, weight=self.weight / stderr**2)

    def some(self, keep: NDArray[np.bool_]) -> "Stack":
        """Return some of the slices."""
        return replace(
            self,
            values=np.ascontiguousarray(self.values[keep]),
            weight=np.ascontiguousarray(self.weight[keep]),
            t_ns=self.t_ns[keep],
            width=self.width[keep],
        )


def stack_of_counts(data: MapData, x_um: FloatArray, y_um: FloatArray) -> Stack:
    """Return pooled counts of a map whose `x_um` numbers the places."""
    place = data.x_um.astype(np.intp)
    counts = np.ascontiguousarray(data.counts)
    return Stack(
        counts, np.empty((data.t_ns.size, 0)), x_um[place], y_um[place], data.t_ns,
        data.exposure, data.width, True,
    )  # fmt: skip


@jit
def _slices(
    values: FloatArray,
    weight: FloatArray,
    x_um: FloatArray,
    y_um: FloatArray,
    exposure: FloatArray,
    width: FloatArray,
    poisson: bool,
    local: FloatArray,
    area: FloatArray,
    floor: FloatArray,
    ln_l: FloatArray,
    score: FloatArray,
    information: FloatArray,
) -> None:
    """Evaluate every slice at its best area (and offset).

    Parameters
    ----------
    values, weight : (slice, place)
        As in `Stack`.
    x_um, y_um, exposure : (place,)
        Places and relative exposures.
    width : (slice,)
        Bins in each slice.
    poisson
        Counts, or a signal.
    local : (slice, 6)
        x0, y0, background, and the covariance xx, yy, xy.
    area : (slice,)
        In: where to start, or 0 (counts); out: the best area.
    floor : (slice,)
        Out: best offset of a signal; background of counts.
    ln_l : (slice,)
        Out: ln L minus that of the saturated model.
    score, information : (slice, 7), (slice, 7, 7)
        Out: by x0, y0, background or offset, xx, yy, xy, area.
    """
    slices, places = values.shape
    g = np.empty(places)
    ground = np.empty(places)
    jac = np.empty(7)
    for k in range(slices):
        vxx, vyy, vxy = local[k, 3], local[k, 4], local[k, 5]
        det = vxx * vyy - vxy * vxy
        pxx, pyy, pxy = vyy / det, vxx / det, -vxy / det
        norm = 1.0 / (2.0 * math.pi * math.sqrt(det))
        for i in range(places):
            dx, dy = x_um[i] - local[k, 0], y_um[i] - local[k, 1]
            q = pxx * dx * dx + 2.0 * pxy * dx * dy + pyy * dy * dy
            g[i] = norm * math.exp(-0.5 * q)
        lowest = 0.0
        if poisson:
            counted, dark, bright = 0.0, 0.0, 0.0
            for i in range(places):
                g[i] *= exposure[i]
                ground[i] = exposure[i] * local[k, 2] * width[k]
                counted += values[k, i]
                dark += ground[i]
                bright += g[i]
            lowest = -_LOWEST * local[k, 2] * width[k] / norm
            start = area[k]
            if start <= 0.0:
                start = max(counted - dark, 0.05 * counted) / max(bright, 1e-300)
            a = best_amplitude(values[k], g, ground, lowest, start)
            floor[k] = local[k, 2]
        else:
            w0, wg, wgg, wv, wgv = 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(places):
                w = weight[k, i]
                w0 += w
                wg += w * g[i]
                wgg += w * g[i] * g[i]
                wv += w * values[k, i]
                wgv += w * g[i] * values[k, i]
            spread = wgg - wg * wg / w0
            a = (wgv - wg * wv / w0) / spread if spread > 1e-12 * wgg else 0.0
            floor[k] = (wv - a * wg) / w0
        area[k] = a
        score[k] = 0.0
        information[k] = 0.0
        total = 0.0
        for i in range(places):
            dx, dy = x_um[i] - local[k, 0], y_um[i] - local[k, 1]
            ux, uy = pxx * dx + pxy * dy, pxy * dx + pyy * dy
            ag = a * g[i]
            jac[0] = ag * ux
            jac[1] = ag * uy
            jac[2] = exposure[i] * width[k] if poisson else 1.0
            jac[3] = 0.5 * ag * (ux * ux - pxx)
            jac[4] = 0.5 * ag * (uy * uy - pyy)
            jac[5] = ag * (ux * uy - pxy)
            jac[6] = g[i]
            n = values[k, i]
            if poisson:
                rate = ag + ground[i]
                w = 1.0 / rate
                rest = n - rate
                total -= rate
                if n > 0.0:
                    total += n + n * math.log(rate / n)
            else:
                w = weight[k, i]
                rest = n - ag - floor[k]
                total -= 0.5 * w * rest * rest
            for p in range(7):
                wj = w * jac[p]
                score[k, p] += wj * rest
                for q in range(p + 1):
                    information[k, p, q] += wj * jac[q]
        ln_l[k] = total
        for p in range(7):
            for q in range(p):
                information[k, q, p] = information[k, p, q]
        if poisson and a <= lowest:
            # An area held at its lowest value is not free and takes no information away.
            score[k, 6] = 0.0
            for p in range(7):
                information[k, p, 6] = 0.0
                information[k, 6, p] = 0.0
            information[k, 6, 6] = 1.0


@dataclass(frozen=True, eq=False)
class Slices:
    """The likelihood of every slice at one point, what is linear profiled out.

    Attributes
    ----------
    area, area_stderr, floor : (slice,) float64
        Best areas, their errors at this shape, and offsets or backgrounds.
    ln_l : (slice,) float64
        ln L minus that of the saturated model.
    score : (slice, 6) float64
    information : (slice, 6, 6) float64
    """

    area: FloatArray
    area_stderr: FloatArray
    floor: FloatArray
    ln_l: FloatArray
    score: FloatArray
    information: FloatArray


def evaluate(stack: Stack, local: FloatArray, area: FloatArray | None = None) -> Slices:
    """Evaluate every slice; `local` is (slice, 6)."""
    k = stack.t_ns.size
    area = np.zeros(k) if area is None else area.copy()
    floor, ln_l = np.empty(k), np.empty(k)
    score, information = np.empty((k, 7)), np.empty((k, 7, 7))
    _slices(
        stack.values, stack.weight, stack.x_um, stack.y_um, stack.exposure, stack.width,
        stack.poisson, local, area, floor, ln_l, score, information,
    )  # fmt: skip
    linear = [AREA] if stack.poisson else [FLOOR, AREA]
    inner = information[:, linear][:, :, linear]
    # A slice without light would be singular.
    scale = np.maximum(np.sqrt(np.einsum("kii->ki", inner)), 1e-150)
    inverse = np.linalg.pinv(inner / scale[:, :, None] / scale[:, None], 1e-13, hermitian=True)
    inverse = inverse / scale[:, :, None] / scale[:, None]
    cross = information[:, :6][:, :, linear]
    taken = np.einsum("kpa,kab,kqb->kpq", cross, inverse, cross)
    reduced = information[:, :6, :6] - taken
    gradient = score[:, :6] - np.einsum("kpa,kab,kb->kp", cross, inverse, score[:, linear])
    if not stack.poisson:
        reduced[:, FLOOR], reduced[:, :, FLOOR], gradient[:, FLOOR] = 0.0, 0.0, 0.0
    return Slices(
        area, np.sqrt(np.maximum(inverse[:, -1, -1], 0.0)), floor, ln_l, gradient, reduced
    )


def profile(stack: Stack, local: FloatArray) -> FloatArray:
    """Return the normalised Gaussian of every slice; (slice, place), 1/µm²."""
    dx, dy = stack.x_um - local[:, :1], stack.y_um - local[:, 1:2]
    vxx, vyy, vxy = local[:, VXX, None], local[:, VYY, None], local[:, VXY, None]
    det = vxx * vyy - vxy**2
    q = (vyy * dx**2 - 2 * vxy * dx * dy + vxx * dy**2) / det
    return np.asarray(np.exp(-0.5 * q) / (2 * np.pi * np.sqrt(det)))


def predicted(stack: Stack, local: FloatArray, found: Slices) -> FloatArray:
    """Return the expected counts or signal; (slice, place)."""
    signal = found.area[:, None] * profile(stack, local)
    if not stack.poisson:
        return np.asarray(signal + found.floor[:, None])
    return np.asarray(stack.exposure * (signal + (found.floor * stack.width)[:, None]))


@dataclass(frozen=True, eq=False)
class Growth:
    """C(t) = C0 + 2D t, or C0 + K t^α; parameters x0, y0, b, C0…, 2D or K…, and α.

    Attributes
    ----------
    tilted : bool
        C0 and D are tensors (xx, yy, xy); else the same along every axis.
    anomalous : bool
        Whether α is a parameter.
    """

    tilted: bool
    anomalous: bool = False

    @property
    def shape(self) -> FloatArray:
        """Covariance xx, yy, xy by its parameters; (3, n)."""
        return _TILTED if self.tilted else _ROUND

    @property
    def slope(self) -> int:
        """Place of the first parameter of 2D."""
        return C0 + int(self.shape.shape[1])

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.slope + int(self.shape.shape[1]) + int(self.anomalous)

    def local(self, theta: FloatArray, t: FloatArray) -> FloatArray:
        """Return centre, background and covariance of every slice; (slice, 6)."""
        n = self.shape.shape[1]
        power = self._power(theta, t)
        covariance = theta[C0 : C0 + n] + power[:, None] * theta[self.slope : self.slope + n]
        start = np.broadcast_to(theta[:C0], (t.size, C0))
        return np.ascontiguousarray(np.hstack([start, covariance @ self.shape.T]))

    def jacobian(self, theta: FloatArray, t: FloatArray) -> FloatArray:
        """Return the derivatives of `local`; (slice, 6, parameter)."""
        n, shape = self.shape.shape[1], self.shape
        power = self._power(theta, t)
        jac = np.zeros((t.size, 6, self.size))
        jac[:, [0, 1, 2], [0, 1, 2]] = 1.0
        jac[:, VXX:, C0 : C0 + n] = shape
        jac[:, VXX:, self.slope : self.slope + n] = power[:, None, None] * shape
        if self.anomalous:
            rise = shape @ theta[self.slope : self.slope + n]
            jac[:, VXX:, -1] = (power * np.log(np.maximum(t, 1e-12)))[:, None] * rise
        return jac

    def _power(self, theta: FloatArray, t: FloatArray) -> FloatArray:
        return np.maximum(t, 1e-12) ** theta[-1] if self.anomalous else t


@dataclass(frozen=True, eq=False)
class StackFit:
    """A maximum of the likelihood of a whole stack.

    Attributes
    ----------
    stack, growth, time_zero_ns
        What was fitted.
    theta : (parameter,) float64
        As in `Growth`.
    covariance : (parameter, parameter) float64 or None
        From the Fisher information, everything else free; None when it is singular.
    slices : Slices
        Areas and offsets.
    ln_likelihood : float
        ln L minus that of the saturated model.
    converged : bool
        Whether a maximum inside the limits was reached; the background may sit at its limit.
    """

    stack: Stack
    growth: Growth
    time_zero_ns: float
    theta: FloatArray
    covariance: FloatArray | None
    slices: Slices
    ln_likelihood: float
    converged: bool

    @property
    def local(self) -> FloatArray:
        """Centre, background and covariance of every slice; (slice, 6)."""
        return self.growth.local(self.theta, self.stack.t_ns - self.time_zero_ns)

    def stderr(self, index: int) -> float | None:
        """Return the standard error of one parameter, or None."""
        if self.covariance is None or not self.covariance[index, index] > 0:
            return None
        return float(math.sqrt(self.covariance[index, index]))


def maximise(stack: Stack, growth: Growth, time_zero_ns: float, start: FloatArray) -> StackFit:
    """Climb by damped Fisher scoring (Levenberg–Marquardt) inside the limits."""
    t = stack.t_ns - time_zero_ns
    low, high = _limits(stack, growth)
    free = [i for i in range(growth.size) if stack.poisson or i != FLOOR]
    moving = free
    theta = np.clip(start, low, high)
    here = evaluate(stack, growth.local(theta, t))
    score, information = _summed(here, growth.jacobian(theta, t))
    damping, converged = 1e-3, False
    for _ in range(100):
        blocked = ((theta <= low) & (score < 0)) | ((theta >= high) & (score > 0))
        moving = [i for i in free if not blocked[i]]
        step = _step(information, score, moving, damping)
        if step is None:
            break
        gain = float(step @ score)
        trial = np.clip(theta + step, low, high)
        local = growth.local(trial, t)
        better = False
        if _inside(stack, local):
            there = evaluate(stack, local, here.area)
            before = float(here.ln_l.sum())
            # A tie within rounding counts as progress: large counts leave no more digits.
            better = bool(there.ln_l.sum() >= before - 1e-13 * (abs(before) + stack.measured))
        if better:
            theta, here, damping = trial, there, max(0.1 * damping, 1e-12)
            score, information = _summed(here, growth.jacobian(theta, t))
            if gain < 1e-8:
                converged = True
                break
            continue
        damping = max(10 * damping, 1e-3)
        if damping > 1e8:
            # Where no step helps although hardly any gain is left, rounding is the limit.
            converged = gain < 1e-4
            break
    covariance = _covariance(stack, here, growth.jacobian(theta, t), moving)
    held = [i for i in free if i not in moving and i != FLOOR]
    return StackFit(
        stack, growth, time_zero_ns, theta, covariance, here, float(here.ln_l.sum()),
        converged and not held and covariance is not None,
    )  # fmt: skip


def fit_round(pool: Callable[[float], Stack], coarse: Stack, time_zero_ns: float) -> StackFit:
    """Fit one round Gaussian that grows linearly.

    Parameters
    ----------
    pool
        Gives the images to fit for a background, counts per bin and place.
    coarse
        A few slices to start on.
    time_zero_ns
        Where the variance is σ0².
    """
    growth = Growth(tilted=False)
    rough = maximise(coarse, growth, time_zero_ns, start_of(coarse))
    return maximise(pool(float(rough.theta[FLOOR])), growth, time_zero_ns, rough.theta)


def tilt(fit: StackFit) -> StackFit:
    """Fit an elliptic Gaussian from a round one."""
    v, slope = fit.theta[C0], fit.theta[C0 + 1]
    start = np.concatenate([fit.theta[:C0], [v, v, 0.0, slope, slope, 0.0]])
    return maximise(fit.stack, Growth(tilted=True), fit.time_zero_ns, start)


def free_exponent(fit: StackFit) -> StackFit:
    """Fit C0 + K t^α in place of C0 + 2D t."""
    alpha, slope = 0.8, fit.growth.slope
    t = fit.stack.t_ns - fit.time_zero_ns
    light = np.abs(fit.slices.area)
    middle = max(float(light @ t / max(float(light.sum()), 1e-300)), 1e-9)
    start = np.append(fit.theta, alpha)
    start[slope:-1] *= middle ** (1 - alpha)
    growth = Growth(fit.growth.tilted, anomalous=True)
    return maximise(fit.stack, growth, fit.time_zero_ns, start)


def ln_likelihood_flat(stack: Stack) -> float:
    """Return ln L, relative to the saturated model, of slices that do not depend on place."""
    if stack.poisson:
        rate = stack.values.sum(axis=1)[:, None] * (stack.exposure / stack.exposure.sum())
        seen = stack.values > 0
        return float(np.sum(stack.values[seen] * np.log(rate[seen] / stack.values[seen])))
    total = np.maximum(stack.weight.sum(axis=1), 1e-300)
    mean = np.sum(stack.weight * stack.values, axis=1) / total
    return float(-0.5 * np.sum(stack.weight * (stack.values - mean[:, None]) ** 2))


def start_of(stack: Stack) -> FloatArray:
    """Return where to start a round fit: the best Gaussian on a coarse grid of places."""
    x, y, p = _pattern(stack)
    span = stack.span_um
    best, start = -np.inf, np.zeros(C0 + 2)
    for sigma in np.geomspace(max(0.5 * stack.spacing_um, span / 60), span / 2, _WIDTHS):
        distance2 = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
        g = np.exp(-0.5 * distance2 / sigma**2)
        above = g - g.mean(axis=1, keepdims=True)
        size = np.sum(above**2, axis=1)
        overlap = above @ p
        gain = np.where(size > 1e-6, overlap * np.abs(overlap) / np.maximum(size, 1e-6), -np.inf)
        i = int(np.argmax(gain))
        if gain[i] > best:
            best = float(gain[i])
            floor = float(p.mean() - overlap[i] / size[i] * g[i].mean())
            start = np.array([x[i], y[i], floor, sigma**2, 0.0])
    if stack.poisson:
        start[FLOOR] = max(start[FLOOR], 0.0) / float(stack.width.sum())
    return start


def _pattern(stack: Stack) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what all slices share, upright, as means in the cells of a coarse grid."""
    column, row = _cells(stack.x_um), _cells(stack.y_um)
    used, cell = np.unique(row * _GRID + column, return_inverse=True)
    if stack.poisson:
        values = (stack.values.sum(axis=0) / stack.exposure)[None]
        weight = np.ones_like(values)
    else:
        weight = (stack.weight > 0).astype(np.float64)
        mean = np.sum(stack.values * weight, axis=1) / np.maximum(weight.sum(axis=1), 1)
        # As if all had the same noise: a dim slice of little noise says as much.
        noise = np.sqrt(np.maximum(stack.weight.max(axis=1), 1e-300))
        values = (stack.values - mean[:, None]) * weight * noise[:, None]
    number = np.array([np.bincount(cell, one, used.size) for one in weight])
    means = np.array([np.bincount(cell, one, used.size) for one in values])
    means = means / np.maximum(number, 1)
    size = np.bincount(cell)
    x = np.bincount(cell, stack.x_um) / size
    y = np.bincount(cell, stack.y_um) / size
    if stack.poisson:
        return x, y, means[0]
    pattern = np.linalg.svd(means, full_matrices=False)[2][0]
    # The sign of a singular vector is free; a spot is a few high cells among many low ones.
    return x, y, np.asarray(pattern * np.sign(np.sum((pattern - np.median(pattern)) ** 3) or 1.0))


def _cells(place: FloatArray) -> NDArray[np.intp]:
    share = (place - place.min()) / max(float(np.ptp(place)), 1e-300)
    return np.asarray(np.minimum(share * _GRID, _GRID - 1), dtype=np.intp)


def _limits(stack: Stack, growth: Growth) -> tuple[FloatArray, FloatArray]:
    low, high = np.full(growth.size, -np.inf), np.full(growth.size, np.inf)
    low[X0], high[X0] = stack.x_um.min(), stack.x_um.max()
    low[Y0], high[Y0] = stack.y_um.min(), stack.y_um.max()
    low[FLOOR], high[FLOOR] = least_background(stack), np.inf
    if growth.anomalous:
        low[-1], high[-1] = 0.05, 4.0
    return low, high


def least_background(stack: Stack) -> float:
    """Return half a count in all images: at none at all, dark cells weigh infinitely."""
    return 0.5 / float(stack.exposure.sum() * stack.width.sum())


def principal(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the larger and the smaller variance of (…, 3) covariances xx, yy, xy."""
    xx, yy, xy = covariance[..., 0], covariance[..., 1], covariance[..., 2]
    mean, half = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    return np.asarray(mean + half), np.asarray(mean - half)


def _inside(stack: Stack, local: FloatArray) -> bool:
    large, small = principal(local[:, VXX:])
    least, most = stack.limits_um2
    return bool(small.min() >= least and large.max() <= most)


def _summed(slices: Slices, jacobian: FloatArray) -> tuple[FloatArray, FloatArray]:
    score = np.einsum("kp,kpa->a", slices.score, jacobian)
    bent = np.matmul(slices.information, jacobian)
    return score, np.asarray(np.einsum("kpa,kpb->ab", jacobian, bent))


def _covariance(
    stack: Stack, slices: Slices, jacobian: FloatArray, moving: list[int]
) -> FloatArray | None:
    """Return the covariance of the parameters.

    The information of a slice goes with a_k². For a signal the square of the amplitude that was
    found is on average a_k² + σ_a²: what noise adds scatters the score and informs of nothing, so
    the errors are those of an estimating equation, S⁻¹ V S⁻¹.
    """
    scatter = _summed(slices, jacobian)[1]
    if stack.poisson:
        return invert(scatter, moving)
    error = slices.area_stderr
    real = 1 - (error / np.maximum(np.maximum(np.abs(slices.area), error), 1e-300)) ** 2
    information = slices.information * real[:, None, None]
    sensitivity = _summed(replace(slices, information=information), jacobian)[1]
    inverse = invert(sensitivity, moving)
    return None if inverse is None else np.asarray(inverse @ scatter @ inverse)


def _step(
    information: FloatArray, score: FloatArray, moving: list[int], damping: float
) -> FloatArray | None:
    block = information[np.ix_(moving, moving)]
    scale = np.sqrt(np.maximum(np.diag(block), 0.0))
    if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        return None
    damped = block / np.outer(scale, scale) + damping * np.eye(len(moving))
    values, vectors = np.linalg.eigh(damped)
    step = np.zeros(score.size)
    gradient = vectors.T @ (score[moving] / scale)
    step[moving] = vectors @ (gradient / np.maximum(values, 1e-10)) / scale
    return step


@dataclass(frozen=True, eq=False)
class EachFit:
    """A covariance of its own for every slice; the centre (and b of counts) is common.

    Attributes
    ----------
    stack : Stack
        What was fitted.
    local : (slice, 6) float64
        Centre, background and covariance.
    covariance : (slice, n, n) float64
        Of the n parameters of each slice's covariance, everything else free.
    slices : Slices
        Areas and offsets.
    good : (slice,) bool
        Where there is a maximum inside the limits.
    shared_stderr : (3,) float64
        Errors of x0, y0 and b; NaN where there is none.
    """

    stack: Stack
    local: FloatArray
    covariance: FloatArray
    slices: Slices
    good: NDArray[np.bool_]
    shared_stderr: FloatArray


def fit_each(fit: StackFit, tilted: bool) -> EachFit:
    """Fit every slice of a stack by itself, with a centre and background common to all.

    Parameters
    ----------
    fit
        Where to start.
    tilted
        Elliptic, or the same variance along every axis.
    """
    stack, shape = fit.stack, _TILTED if tilted else _ROUND
    n = shape.shape[1]
    shared = [X0, Y0, FLOOR] if stack.poisson else [X0, Y0]
    local = fit.local
    if not tilted:
        local[:, VXX:] = local[:, VXX:].mean(axis=1, keepdims=True) * 1.5 * _ROUND.T
    lowest = least_background(stack)
    here, good = _widths(stack, local, shape, np.full(stack.t_ns.size, True))
    common, inverse = np.zeros((len(shared), len(shared))), np.zeros((stack.t_ns.size, n, n))
    cross = np.zeros((stack.t_ns.size, len(shared), n))
    for _ in range(20):
        m = here.information
        inner = np.einsum("pa,kpq,qb->kab", shape, m[:, VXX:, VXX:], shape)
        inverse, regular = _inverses(inner)
        good &= regular
        inverse[~good] = 0.0
        cross = m[:, shared][:, :, VXX:] @ shape
        score = here.score[:, shared] - np.einsum(
            "ksa,kab,kb->ks", cross, inverse, here.score[:, VXX:] @ shape
        )
        own = m[:, shared][:, :, shared]
        common = (own - np.einsum("ksa,kab,krb->ksr", cross, inverse, cross))[good].sum(axis=0)
        gradient = score[good].sum(axis=0)
        moving = list(range(len(shared)))
        if stack.poisson and local[0, FLOOR] <= lowest and gradient[-1] < 0:
            moving = moving[:-1]
        step = _step(common, gradient, moving, 0.0)
        if step is None or not good.any():
            break
        local[:, shared] += step
        local[:, FLOOR] = np.maximum(local[:, FLOOR], lowest)
        here, still = _widths(stack, local, shape, good)
        good &= still
        if float(step @ gradient) < 1e-6:
            break
    covariance, stderr = inverse.copy(), np.full(3, np.nan)
    known = invert(common, list(range(len(shared)))) if good.any() else None
    if known is not None:
        stderr[shared] = np.sqrt(np.diag(known))
        pull = inverse @ np.swapaxes(cross, 1, 2)
        covariance += pull @ known @ np.swapaxes(pull, 1, 2)
    covariance[~good] = np.nan
    return EachFit(stack, local, covariance, here, good, stderr)


def _widths(
    stack: Stack, local: FloatArray, shape: FloatArray, active: NDArray[np.bool_]
) -> tuple[Slices, NDArray[np.bool_]]:
    """Climb in every slice's covariance by itself, in place; return where that succeeded."""
    here = evaluate(stack, local)
    damping = np.full(stack.t_ns.size, 1e-3)
    running = active.copy()
    done = np.zeros_like(active)
    least, most = stack.limits_um2
    eye = np.eye(shape.shape[1])
    for _ in range(60):
        inner = np.einsum("pa,kpq,qb->kab", shape, here.information[:, VXX:, VXX:], shape)
        scale = np.maximum(np.sqrt(np.maximum(np.einsum("kaa->ka", inner), 0.0)), 1e-150)
        scaled = inner / scale[:, :, None] / scale[:, None] + damping[:, None, None] * eye
        gradient = here.score[:, VXX:] @ shape
        scaled[~np.isfinite(scaled).all(axis=(1, 2))] = eye
        step = np.linalg.solve(scaled + 1e-12 * eye, (gradient / scale)[:, :, None])[:, :, 0]
        step = step / scale
        gain = np.sum(step * gradient, axis=1)
        trial = local.copy()
        trial[:, VXX:] += step @ shape.T
        large, small = principal(trial[:, VXX:])
        allowed = running & (small >= least) & (large <= most)
        trial[~allowed] = local[~allowed]
        there = evaluate(stack, trial, here.area)
        better = allowed & (there.ln_l >= here.ln_l - 1e-12 * (np.abs(here.ln_l) + 1))
        local[better] = trial[better]
        here = _chosen(better, there, here)
        finished = better & (gain < 1e-8)
        done |= finished
        damping = np.where(better, np.maximum(0.1 * damping, 1e-12), np.maximum(10 * damping, 1e-3))
        # No step helps any more: the top within rounding, or the edge of what is allowed.
        stuck = running & (damping > 1e8)
        done |= stuck & (gain < 1e-4)
        running &= ~finished & ~stuck
        if not running.any():
            break
    return here, done


def _chosen(better: NDArray[np.bool_], there: Slices, here: Slices) -> Slices:
    def pick(new: FloatArray, old: FloatArray) -> FloatArray:
        return np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return Slices(
        pick(there.area, here.area),
        pick(there.area_stderr, here.area_stderr),
        pick(there.floor, here.floor),
        pick(there.ln_l, here.ln_l),
        pick(there.score, here.score),
        pick(there.information, here.information),
    )


def _inverses(matrices: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Invert small matrices; zeros where one is singular."""
    scale = np.sqrt(np.maximum(np.einsum("kaa->ka", matrices), 0.0))
    regular = np.all(np.isfinite(scale) & (scale > 0), axis=1)
    scale[~regular] = 1.0
    scaled = matrices / scale[:, :, None] / scale[:, None]
    scaled[~regular] = np.eye(matrices.shape[1])
    values, vectors = np.linalg.eigh(scaled)
    regular &= values[:, 0] > 1e-10
    values = np.where(values > 1e-10, values, 1.0)
    inverse = (vectors / values[:, None]) @ np.swapaxes(vectors, 1, 2)
    inverse = inverse / scale[:, :, None] / scale[:, None]
    inverse[~regular] = 0.0
    return inverse, regular
