"""The house estimator: Poisson maximum likelihood of a whole map at once."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import voigt_profile

from ._likelihood import FIRST_VARIANCE, LORENTZ, WING, WING_UM2, X0, B, profile_likelihood
from .maps import FloatArray, IntArray, MapData

D_UNIT = 0.1
"""1 cm²/s in µm²/ns."""

_COARSE = 16
_STRETCH_COUNTS = 1000
_WIDEST_ALPHA = (0.05, 4.0)


@dataclass(frozen=True, eq=False)
class FreeWidths:
    """A variance that is free in stretches of time: v_k = c_g(k) + the slope of a law.

    Attributes
    ----------
    law_um2 : (slice,) float64
        The law without its mean in each stretch.
    stretch : (slice,) int64
        Stretch each slice belongs to.
    """

    law_um2: FloatArray
    stretch: IntArray


@dataclass(frozen=True, eq=False)
class GlobalFit:
    """A maximum of the likelihood.

    Attributes
    ----------
    data : MapData
        The pooled map that was fitted.
    time_zero_ns : float
        Where σ² equals σ0².
    theta : (4 + n,) float64
        x0 (µm), b (counts per bin and row), f, δ (µm²), σ0² (µm²), then 2D (µm²/ns), or K and α.
        With `voigt` γ (µm) is in the place of f; with `free_widths` c of every stretch in that of
        the law's parameters.
    covariance : (4 + n, 4 + n) float64 or None
        From the Fisher information, every amplitude free; rows of fixed parameters are zero.
        None when the information is singular.
    amplitude : (slice,) float64
        Area under each slice, counts·µm at mean exposure.
    ln_likelihood : float
        ln L minus that of the saturated model.
    converged : bool
        Whether a maximum was reached; background, wings and γ may sit at their limits.
    voigt : bool
        Whether the profile is a Voigt, its Lorentzian the same at all times.
    free_widths : FreeWidths or None
        When the variance follows no law.
    """

    data: MapData
    time_zero_ns: float
    theta: FloatArray
    covariance: FloatArray | None
    amplitude: FloatArray
    ln_likelihood: float
    converged: bool
    voigt: bool = False
    free_widths: FreeWidths | None = None

    @property
    def free(self) -> list[int]:
        """Places of the parameters that were free, those at a limit among them."""
        return _free(self)

    @property
    def wings(self) -> bool:
        """Whether a second, wider Gaussian takes part."""
        return bool(self.theta[WING] > 0) and not self.voigt

    @property
    def background(self) -> float:
        """Background in counts per bin and row; 0 when it sits at its lower limit."""
        b = float(self.theta[B])
        return 0.0 if b <= 1.001 * _least_background(self.data) else b

    def sigma2_um2(self, t_ns: FloatArray) -> FloatArray:
        """Return the variance of the (narrower) Gaussian at times on the map's axis.

        With `free_widths` at the times of the slices only.
        """
        return _variance(self.theta, t_ns - self.time_zero_ns, self.free_widths)[0]

    def stderr(self, index: int) -> float | None:
        """Return the standard error of one parameter, or None."""
        if self.covariance is None or not self.covariance[index, index] > 0:
            return None
        return float(math.sqrt(self.covariance[index, index]))

    def profile(self) -> FloatArray:
        """Return the normalised profile of every slice; (slice, position), 1/µm."""
        variance = self.sigma2_um2(self.data.t_ns)[:, None]
        return self.height(self.data.x_um - self.theta[X0], variance)

    def height(self, u_um: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the profile at distances from its centre, 1/µm; both shapes broadcast."""
        if self.voigt:
            sigma = np.sqrt(variance)
            return np.asarray(voigt_profile(u_um, sigma, self.theta[LORENTZ]), dtype=np.float64)
        u2 = np.square(u_um)
        narrow = _normal(u2, variance)
        if not self.wings:
            return narrow
        f = self.theta[WING]
        wide = _normal(u2, variance + self.theta[WING_UM2])
        return np.asarray((1 - f) * narrow + f * wide, dtype=np.float64)

    def predicted(self) -> FloatArray:
        """Return the expected counts; (slice, position)."""
        signal = self.amplitude[:, None] * self.profile()
        rate = signal + self.theta[B] * self.data.width[:, None]
        return np.asarray(self.data.exposure * rate, dtype=np.float64)


def fit_gaussian(data: MapData, time_zero_ns: float, background: float | None = None) -> GlobalFit:
    """Fit one Gaussian whose variance is linear in time.

    Starts from several widths on a few pooled slices, then refines on all of them.

    Parameters
    ----------
    data
        The map from time zero on; it is pooled here, once the background is roughly known.
    time_zero_ns
        Where the variance is σ0².
    background
        Counts per bin and row when known; None leaves it free.
    """
    free = [X0, FIRST_VARIANCE, FIRST_VARIANCE + 1]
    if background is None:
        free.append(B)
    coarse = data.pooled(1, _COARSE)
    trials = [_maximise(coarse, time_zero_ns, start, free) for start in _starts(coarse, background)]
    best = max(trials, key=lambda fit: fit.ln_likelihood)
    pooled = data.pooled(background=best.background)
    return _maximise(pooled, time_zero_ns, best.theta, free)


def add_wings(fit: GlobalFit) -> GlobalFit:
    """Fit a second, wider Gaussian beside the first, both widened by the same 2Dt.

    A rough fit on a few slices decides whether the full one is worth while: the shape of the
    profile hardly needs time resolution.

    Parameters
    ----------
    fit
        One Gaussian; returned as it is when wings do not help.
    """
    zero = fit.time_zero_ns
    free = [*_free(fit), WING, WING_UM2]
    coarse = fit.data.pooled(1, _COARSE)
    one = _maximise(coarse, zero, fit.theta, _free(fit))
    best = one
    for factor in (1.5, 8.0):
        start = fit.theta.copy()
        start[WING], start[WING_UM2] = 0.1, factor * fit.theta[FIRST_VARIANCE]
        trial = _maximise(coarse, zero, start, free, rough=True)
        best = max(best, trial, key=lambda known: known.ln_likelihood)
    if best.ln_likelihood < one.ln_likelihood + 1:
        return fit
    rough = _maximise(fit.data, zero, best.theta, free, rough=True)
    if rough.ln_likelihood < fit.ln_likelihood + 1:
        return fit
    return _maximise(fit.data, zero, rough.theta, free)


def fit_voigt(fit: GlobalFit) -> GlobalFit:
    """Fit a Voigt profile whose Gaussian part widens by 2Dt (S2) to the slices of a fit.

    Parameters
    ----------
    fit
        One Gaussian, or two: where the fit starts, with and without a part of the width in γ.
    """
    free = [*_core(fit), LORENTZ]
    coarse = fit.data.pooled(1, _COARSE)
    trials = []
    for share in (0.05, 0.3, 0.8):
        start = fit.theta.copy()
        start[LORENTZ], start[WING_UM2] = share * math.sqrt(fit.theta[FIRST_VARIANCE]), 1.0
        start[FIRST_VARIANCE] *= (1 - 0.5 * share) ** 2
        trials.append(_maximise(coarse, fit.time_zero_ns, start, free, voigt=True))
    best = max(trials, key=lambda known: known.ln_likelihood)
    return _maximise(fit.data, fit.time_zero_ns, best.theta, free, voigt=True)


def refit(fit: GlobalFit, data: MapData) -> GlobalFit:
    """Fit the same model to the map pooled in another way."""
    return _maximise(data, fit.time_zero_ns, fit.theta, _free(fit), voigt=fit.voigt)


def free_background(fit: GlobalFit) -> GlobalFit:
    """Fit one Gaussian to the same slices with the background free."""
    free = [X0, B, FIRST_VARIANCE, FIRST_VARIANCE + 1]
    return _maximise(fit.data, fit.time_zero_ns, fit.theta, free)


def free_exponent(fit: GlobalFit) -> GlobalFit:
    """Fit σ0² + K (t - t0)^α in place of σ0² + 2D (t - t0), the same profile otherwise."""
    alpha = 0.8
    t = fit.data.t_ns - fit.time_zero_ns
    middle = max(float(np.average(t, weights=np.maximum(fit.amplitude, 0) + 1e-300)), 1e-6)
    slope = fit.theta[FIRST_VARIANCE + 1]
    theta = np.append(fit.theta, alpha)
    theta[FIRST_VARIANCE + 1] = slope * middle ** (1 - alpha)
    free = [*_free(fit), FIRST_VARIANCE + 2]
    return _maximise(fit.data, fit.time_zero_ns, theta, free, voigt=fit.voigt)


def free_widths(fit: GlobalFit, stretches: int) -> GlobalFit:
    """Free the variance in stretches of time of equal counts, the same profile otherwise.

    Within a stretch the variance keeps the slope of `fit`, so that this contains `fit` and the
    difference of their ln L tests its law and nothing else.

    Parameters
    ----------
    fit
        One law for all times.
    stretches
        How many at most; each gets 1000 counts or more.
    """
    decay = fit.data.decay
    seen = np.cumsum(decay) - 0.5 * decay
    wanted = max(1, min(stretches, int(decay.sum() / _STRETCH_COUNTS), decay.size))
    # every stretch holds a slice, and they are numbered without a gap
    _, stretch = np.unique(np.floor(seen / decay.sum() * wanted), return_inverse=True)
    law = fit.sigma2_um2(fit.data.t_ns)
    mean = stretch_means(law, decay, stretch)
    widths = FreeWidths(law - mean[stretch], stretch.astype(np.int64))
    theta = np.concatenate((fit.theta[:FIRST_VARIANCE], mean))
    own = range(FIRST_VARIANCE, theta.size)
    free = [*(i for i in _free(fit) if i < FIRST_VARIANCE), *own]
    return _maximise(fit.data, fit.time_zero_ns, theta, free, voigt=fit.voigt, free_widths=widths)


def stretch_means(values: FloatArray, counts: FloatArray, stretch: IntArray) -> FloatArray:
    """Return the mean of each stretch, weighted by counts."""
    return np.asarray(np.bincount(stretch, counts * values) / np.bincount(stretch, counts))


def ln_likelihood_flat(data: MapData) -> float:
    """Return ln L, relative to the saturated model, of slices that do not depend on position."""
    rate = data.decay[:, None] * (data.exposure / data.exposure.sum())
    seen = data.counts > 0
    return float(np.sum(data.counts[seen] * np.log(rate[seen] / data.counts[seen])))


def information_at(
    data: MapData, time_zero_ns: float, theta: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the information on `theta`, every amplitude free, and the amplitudes.

    `data` may hold expected counts: then this is the Cramér–Rao information.
    """
    place = _evaluate(data, time_zero_ns, theta, np.zeros(data.t_ns.size))
    return place.information, place.amplitude


def shift_of(fit: GlobalFit, data: MapData) -> FloatArray:
    """Return how far the parameters of a fit move, to first order, on slightly changed data.

    Parameters
    ----------
    fit
        A maximum.
    data
        The same slices with positions or exposures a little different.
    """
    if fit.covariance is None:
        return np.zeros(fit.theta.size)
    place = _evaluate(data, fit.time_zero_ns, fit.theta, fit.amplitude, fit.voigt, fit.free_widths)
    return np.asarray(fit.covariance @ place.score)


def invert(information: FloatArray, free: list[int]) -> FloatArray | None:
    """Return the covariance of the free parameters in a full-size matrix, None if singular."""
    block = information[np.ix_(free, free)]
    # Rounding can leave a parameter without information slightly negative.
    scale = np.sqrt(np.maximum(np.diag(block), 0.0))
    if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        return None
    values, vectors = np.linalg.eigh(block / np.outer(scale, scale))
    if values[0] < 1e-11:
        return None
    covariance = np.zeros_like(information)
    inverse = (vectors / values) @ vectors.T
    covariance[np.ix_(free, free)] = inverse / np.outer(scale, scale)
    return covariance


@dataclass(frozen=True, eq=False)
class _Place:
    """The likelihood at one point."""

    theta: FloatArray
    ln_l: float
    score: FloatArray
    information: FloatArray
    amplitude: FloatArray


def _free(fit: GlobalFit) -> list[int]:
    if fit.covariance is None:
        return [X0, B, FIRST_VARIANCE, FIRST_VARIANCE + 1]
    return [int(i) for i in np.flatnonzero(np.diag(fit.covariance))]


def _core(fit: GlobalFit) -> list[int]:
    """Return the free parameters without those of the shape."""
    return [i for i in _free(fit) if i not in (WING, WING_UM2)]


def _normal(u2: FloatArray, v: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * u2 / v) / np.sqrt(2 * np.pi * v), dtype=np.float64)


def _variance(
    theta: FloatArray, t: FloatArray, widths: FreeWidths | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return v(t) and its derivatives by σ0² and 2D, by σ0², K and α, or by every c."""
    if widths is not None:
        own = np.eye(theta.size - FIRST_VARIANCE)[widths.stretch]
        return theta[FIRST_VARIANCE + widths.stretch] + widths.law_um2, own
    if theta.size == FIRST_VARIANCE + 2:
        return theta[4] + theta[5] * t, np.column_stack((np.ones_like(t), t))
    late = np.maximum(t, 1e-12)
    power = late ** theta[6]
    slopes = np.column_stack((np.ones_like(t), power, theta[5] * power * np.log(late)))
    return theta[4] + theta[5] * power, slopes


def _least_background(data: MapData) -> float:
    """Return half a count in the whole map: at none at all, dark cells weigh infinitely."""
    return 0.5 / float(data.exposure.sum() * data.width.sum())


def _limits(
    data: MapData, size: int, voigt: bool = False, widths: FreeWidths | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return the lower and upper limits of the parameters."""
    span = float(data.x_um[-1] - data.x_um[0])
    rate = float(data.counts.sum() / (data.exposure.sum() * data.width.sum()))
    smallest = (0.15 * data.spacing_um) ** 2
    # At no wings at all nothing tells how wide they are: the share stays a hair above zero.
    low = np.array([data.x_um[0], _least_background(data), 1e-4, 0.2 * smallest, smallest, -np.inf])
    high = np.array([data.x_um[-1], 2 * rate + low[B], 0.95, 9 * span**2, 9 * span**2, np.inf])
    if voigt:
        low[LORENTZ], high[LORENTZ] = 0.0, span
    if widths is not None:
        more = size - FIRST_VARIANCE
        low = np.append(low[:FIRST_VARIANCE], np.full(more, smallest))
        high = np.append(high[:FIRST_VARIANCE], np.full(more, 9 * span**2))
    elif size > low.size:
        low, high = np.append(low, _WIDEST_ALPHA[0]), np.append(high, _WIDEST_ALPHA[1])
    return low, high


def _starts(data: MapData, background: float | None) -> list[FloatArray]:
    """Return starting points: the brightest place, three widths, no diffusion."""
    rate = data.counts.sum(axis=0) / data.exposure
    bins = float(data.width.sum())
    b = float(np.percentile(rate, 15)) * 0.8 / bins if background is None else background
    above = np.maximum(rate - b * bins, 0.0) * data.exposure
    smooth = np.convolve(np.pad(above, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    peak = float(data.x_um[int(np.argmax(smooth))])
    span = float(data.x_um[-1] - data.x_um[0])
    near = np.abs(data.x_um - peak) <= 0.25 * span
    core = above * near
    total = float(core.sum())
    middle = float(core @ data.x_um) / total if total > 0 else peak
    moment = float(core @ (data.x_um - middle) ** 2) / total if total > 0 else 0.0
    low, high = _limits(data, FIRST_VARIANCE + 2)
    b = float(np.clip(b, low[B], high[B])) if background is None else max(b, float(low[B]))
    widths = (moment, (span / 40) ** 2, (span / 4) ** 2)
    return [
        np.array([x0, b, 0.0, 1.0, np.clip(v, 4 * low[4], 0.9 * high[4]), 0.0])
        for x0, v in zip((middle, peak, peak), widths, strict=True)
    ]


def _evaluate(
    data: MapData,
    time_zero_ns: float,
    theta: FloatArray,
    amplitude: FloatArray,
    voigt: bool = False,
    widths: FreeWidths | None = None,
) -> _Place:
    variance, slopes = _variance(theta, data.t_ns - time_zero_ns, widths)
    score = np.empty(theta.size)
    information = np.empty((theta.size, theta.size))
    amplitude = amplitude.copy()
    ln_l = profile_likelihood(
        data.counts,
        data.x_um,
        data.exposure,
        data.width,
        theta,
        variance,
        slopes,
        amplitude,
        score,
        information,
        voigt,
    )
    return _Place(theta, ln_l, score, information, amplitude)


def _maximise(
    data: MapData,
    time_zero_ns: float,
    start: FloatArray,
    free: list[int],
    *,
    rough: bool = False,
    voigt: bool = False,
    free_widths: FreeWidths | None = None,
) -> GlobalFit:
    """Climb by damped Fisher scoring (Levenberg–Marquardt) inside the limits.

    `rough` stops within about 0.05 of the top of ln L, or after a few steps.
    """
    tolerance, steps = (0.1, 25) if rough else (1e-8, 80)
    low, high = _limits(data, start.size, voigt, free_widths)
    held = np.ones(start.size, dtype=bool)
    held[free] = False
    low, high = np.where(held, -np.inf, low), np.where(held, np.inf, high)
    t = data.t_ns - time_zero_ns
    smallest, largest = low[FIRST_VARIANCE], high[FIRST_VARIANCE]
    start = np.clip(start, low, high)
    here = _evaluate(data, time_zero_ns, start, np.zeros(t.size), voigt, free_widths)
    damping, converged, gain = 1e-4, False, math.inf
    moving = list(free)
    for _ in range(steps):
        at_limit = ((here.theta <= low) & (here.score < 0)) | (
            (here.theta >= high) & (here.score > 0)
        )
        moving = [i for i in free if not at_limit[i]]
        step = _step(here, moving, damping)
        if step is None:
            break
        gain = float(step @ here.score)
        theta = np.clip(here.theta + step, low, high)
        variance = _variance(theta, t, free_widths)[0]
        if variance.min() < smallest or variance.max() > largest:
            damping = max(10 * damping, 1e-3)
        else:
            there = _evaluate(data, time_zero_ns, theta, here.amplitude, voigt, free_widths)
            # A tie within rounding counts as progress: large counts leave no more digits.
            if there.ln_l >= here.ln_l - 1e-13 * abs(float(data.counts.sum())):
                here, damping = there, max(0.1 * damping, 1e-12)
                if gain < tolerance:
                    converged = True
                    break
                continue
            damping = max(10 * damping, 1e-3)
        if damping > 1e8:
            break
    # Next to no background Fisher's steps are short; an undamped gain this small is the top.
    converged = converged or (gain < 1e-4 and damping < 1e-3)
    covariance = invert(here.information, moving)
    inside = all(i in moving for i in free if i not in (B, WING, WING_UM2))
    return GlobalFit(
        data,
        time_zero_ns,
        here.theta,
        covariance,
        here.amplitude,
        here.ln_l,
        converged and inside and covariance is not None,
        voigt,
        free_widths,
    )


def _step(here: _Place, moving: list[int], damping: float) -> FloatArray | None:
    block = here.information[np.ix_(moving, moving)]
    scale = np.sqrt(np.maximum(np.diag(block), 0.0))
    if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        return None
    damped = block / np.outer(scale, scale) + damping * np.eye(len(moving))
    values, vectors = np.linalg.eigh(damped)
    values = np.maximum(values, 1e-10)
    step = np.zeros(here.theta.size)
    step[moving] = vectors @ ((vectors.T @ (here.score[moving] / scale)) / values) / scale
    return step
