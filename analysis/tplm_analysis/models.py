"""Which model of profile and growth a map warrants."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from ._likelihood import FIRST_VARIANCE, B
from .fits import FitWarning, TimeZero
from .global_fit import (
    D_UNIT,
    GlobalFit,
    add_wings,
    fit_voigt,
    free_exponent,
    free_widths,
    stretch_means,
)
from .irf import Irf
from .map_fit import choose_time_zero
from .maps import check_map
from .results import Result
from .study import ALPHA_LR, WINGS_GAIN, NoDiffusion, study

Profile = Literal["gaussian", "two-gaussian", "voigt"]
Growth = Literal["linear", "power-law", "free"]

_STRETCHES = 24
_RARE = 0.0027  # three standard deviations
_SHAPE = {"gaussian": 0, "voigt": 1, "two-gaussian": 2}
_LAW = {"linear": 0, "power-law": 1, "free": 2}


@dataclass(frozen=True, eq=False)
class ModelScore(Result):
    """One model of a map.

    Attributes
    ----------
    model : str
        Profile: "gaussian", "two-gaussian" or "voigt".
    growth : str
        σ²(t): "linear", "power-law" (σ0² + K t^α), or "free" in stretches of time.
    ln_likelihood : float
        ln L minus that of a model that hits every count.
    parameters : int
        Free ones without the amplitudes of the slices, which all models share.
    aic, bic : float
        -2 ln L + 2 k and -2 ln L + k ln n with n the cells of the pooled map.
    likelihood_ratio : float
        2 Δ ln L over one Gaussian with a linear σ², which is nested in every model.
    d_cm2_per_s, d_stderr_cm2_per_s : float or None
        Linear: the diffusivity. Power law: ½ dσ²/dt 1 ns after time zero. Free: half the slope of
        a line through the stretches, weighted by their joint covariance.
    alpha, alpha_stderr : float or None
        Exponent; 1 without an error for a linear σ².
    sigma0_nm : float or None
        Width of the (narrower) Gaussian at time zero.
    converged : bool
        Whether a maximum was found; without one the model is not warranted.
    """

    SOURCE: ClassVar[str] = "The project's own; Akaike, Schwarz"

    model: Profile
    growth: Growth
    ln_likelihood: float
    parameters: int
    aic: float
    bic: float
    likelihood_ratio: float
    d_cm2_per_s: float | None
    d_stderr_cm2_per_s: float | None
    alpha: float | None
    alpha_stderr: float | None
    sigma0_nm: float | None
    converged: bool

    @property
    def name(self) -> str:
        """Profile and growth."""
        return f"{self.model}, {self.growth}"


@dataclass(frozen=True, eq=False)
class ModelComparison(Result):
    """All models of a map side by side.

    Attributes
    ----------
    warranted : str or None
        Name of the simplest model that none beats; None when there is none.
    model, growth : str or None
        Its two parts.
    reason : str
        Why, in a sentence.
    scores : tuple of ModelScore
        Every model that was fitted, the simplest first.
    slices, positions : int
        Cells of the pooled map.
    time_zero_ns : float or None
        Time zero that was used.
    """

    SOURCE: ClassVar[str] = "The project's own: gates of its estimator, Poisson likelihood"

    warranted: str | None
    model: Profile | None
    growth: Growth | None
    reason: str
    scores: tuple[ModelScore, ...]
    slices: int
    positions: int
    time_zero_ns: float | None

    def __str__(self) -> str:
        lines = [
            f"{'model':24}{'k':>4}{'ln L':>11}{'ΔAIC':>9}{'ΔBIC':>9}{'LR':>9}   D (cm²/s), α",
        ]
        aic = min((one.aic for one in self.scores), default=0.0)
        bic = min((one.bic for one in self.scores), default=0.0)
        for one in self.scores:
            mark = "→ " if one.name == self.warranted else "  "
            lines.append(
                f"{mark}{one.name:22}{one.parameters:4}{one.ln_likelihood:11.1f}"
                f"{one.aic - aic:9.1f}{one.bic - bic:9.1f}{one.likelihood_ratio:9.1f}   "
                + _numbers(one)
            )
        return "\n".join([*lines, self.reason])


def compare_models(
    counts: ArrayLike,
    x_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None = None,
    *,
    models: Sequence[Profile] = ("gaussian", "two-gaussian", "voigt"),
    time_zero_ns: float | None = None,
    t_range_ns: tuple[float, float] | None = None,
    background_per_bin: float | None = None,
    irf: Irf | None = None,
    time_zero: TimeZero | None = None,
    mix_ages: bool = False,
) -> ModelComparison:
    """Fit every profile with every law of growth to the same slices, and say which is warranted.

    A model is beaten by another when 2 ln L of that one is higher by more than the sum of

    * 6 (Δ ln L = 3) if its profile is richer (Gaussian < Voigt < two Gaussians),
    * 9 if its σ² follows a power law where this one's is linear,
    * the 0.27 % quantile of χ² for the additional widths if its σ² is free where this one's is not.

    Warranted is the model with the fewest parameters that none beats; of two with as many, the
    likelier. A free σ² means that no single D, and no exponent, is an honest answer.

    Parameters
    ----------
    counts, x_um, t_ns, exposure_s
        As in `fit_map`.
    models
        Profiles to compare; the Gaussian always takes part. Two Gaussians and Voigt need seven
        positions.
    time_zero_ns, t_range_ns, background_per_bin, irf, time_zero, mix_ages
        As in `fit_map`.

    Raises
    ------
    ValueError
        When the input is malformed.
    """
    known = get_args(Profile)
    for one in models:
        if one not in known:
            raise ValueError(f'models are {", ".join(known)}; not "{one}".')
    data = check_map(counts, x_um, t_ns, exposure_s)
    zero = choose_time_zero(irf, time_zero)
    found = study(
        data, time_zero_ns, t_range_ns, background_per_bin, irf, zero, mix_ages=mix_ages, voigt=True
    )
    if isinstance(found, NoDiffusion):
        return _nothing(found.reason, found.time_zero_ns)
    single = found.single
    profiles: dict[Profile, GlobalFit] = {"gaussian": single}
    if single.data.x_um.size >= 7:
        if "voigt" in models:
            profiles["voigt"] = fit_voigt(single)
        if "two-gaussian" in models:
            profiles["two-gaussian"] = found.fit if found.fit.wings else add_wings(single)
    scores = []
    for model, linear in profiles.items():
        power = free_exponent(linear)
        better = power if power.ln_likelihood > linear.ln_likelihood else linear
        fits: dict[Growth, GlobalFit] = {
            "linear": linear,
            "power-law": power,
            "free": free_widths(better, _STRETCHES),
        }
        scores += [_score(model, law, fit, single) for law, fit in fits.items()]
    scores.sort(key=lambda one: (one.parameters, -one.ln_likelihood))
    free_of_rivals = [one for one in scores if one.converged and not _rivals(one, scores)]
    best = free_of_rivals[0] if free_of_rivals else None
    return ModelComparison(
        warranted=None if best is None else best.name,
        model=None if best is None else best.model,
        growth=None if best is None else best.growth,
        reason=_reason(best, scores),
        scores=tuple(scores),
        slices=single.data.t_ns.size,
        positions=single.data.x_um.size,
        time_zero_ns=found.time_zero_ns,
    )


def _score(model: Profile, law: Growth, fit: GlobalFit, single: GlobalFit) -> ModelScore:
    shared = 3 if B in single.free else 2  # x0, σ0² or the first width, and the background
    own = fit.theta.size - FIRST_VARIANCE - 1
    parameters = shared + own + _SHAPE[model]
    d, d_stderr = _diffusivity(law, fit)
    alpha: float | None = 1.0 if law == "linear" else None
    alpha_stderr: float | None = None
    if law == "power-law":
        alpha, alpha_stderr = float(fit.theta[FIRST_VARIANCE + 2]), fit.stderr(FIRST_VARIANCE + 2)
    deviance = -2 * fit.ln_likelihood
    sigma2 = float(fit.theta[FIRST_VARIANCE])
    return ModelScore(
        model=model,
        growth=law,
        ln_likelihood=fit.ln_likelihood,
        parameters=parameters,
        aic=deviance + 2 * parameters,
        bic=deviance + parameters * math.log(fit.data.counts.size),
        likelihood_ratio=2 * (fit.ln_likelihood - single.ln_likelihood),
        d_cm2_per_s=d,
        d_stderr_cm2_per_s=d_stderr,
        alpha=alpha,
        alpha_stderr=alpha_stderr,
        sigma0_nm=None if law == "free" else 1e3 * math.sqrt(sigma2),
        converged=fit.converged,
    )


def _diffusivity(law: Growth, fit: GlobalFit) -> tuple[float | None, float | None]:
    """Return D and its error as `ModelScore` defines them, cm²/s."""
    if fit.covariance is None:
        return None, None
    first = FIRST_VARIANCE
    own = fit.covariance[first:, first:]
    if law == "free":
        return _line(fit)
    pull = np.array([0.0, 1.0])
    slope = float(fit.theta[first + 1])
    if law == "power-law":
        k, alpha = fit.theta[first + 1], fit.theta[first + 2]
        pull, slope = np.array([0.0, alpha, k]), float(k * alpha)
    return slope / (2 * D_UNIT), math.sqrt(float(pull @ own @ pull)) / (2 * D_UNIT)


def _line(fit: GlobalFit) -> tuple[float | None, float | None]:
    """Return half the slope of a line through free widths, and its error."""
    assert fit.free_widths is not None and fit.covariance is not None
    own = fit.covariance[FIRST_VARIANCE:, FIRST_VARIANCE:]
    inside = np.diag(own) > 0
    time = stretch_means(fit.data.t_ns, fit.data.decay, fit.free_widths.stretch)
    if np.count_nonzero(inside) < 2:
        return None, None
    line = np.column_stack((np.ones(time.size), time))[inside]
    weighted = np.linalg.solve(own[np.ix_(inside, inside)], line)
    covariance = np.linalg.inv(line.T @ weighted)
    slope = (covariance @ (weighted.T @ fit.theta[FIRST_VARIANCE:][inside]))[1]
    return float(slope) / (2 * D_UNIT), math.sqrt(float(covariance[1, 1])) / (2 * D_UNIT)


def _gate(poorer: ModelScore, richer: ModelScore) -> float:
    """Return by how much 2 ln L of `richer` has to be higher."""
    gate = 2 * WINGS_GAIN if _SHAPE[richer.model] > _SHAPE[poorer.model] else 0.0
    if _LAW[richer.growth] <= _LAW[poorer.growth]:
        return gate
    if richer.growth == "power-law":
        return gate + ALPHA_LR
    more = richer.parameters - _SHAPE[richer.model] - poorer.parameters + _SHAPE[poorer.model]
    return gate + float(chdtri(max(more, 1), _RARE))


def _rivals(one: ModelScore, scores: Sequence[ModelScore]) -> list[ModelScore]:
    """Return the models that beat this one, the likeliest first."""
    found = [
        other
        for other in scores
        if other is not one
        and 2 * (other.ln_likelihood - one.ln_likelihood) > max(_gate(one, other), 1e-6)
    ]
    return sorted(found, key=lambda other: -other.ln_likelihood)


def _reason(best: ModelScore | None, scores: Sequence[ModelScore]) -> str:
    if best is None:
        return "No model describes the map: every one is beaten, or has no maximum. Look at it."
    simplest = next(one for one in scores if (one.model, one.growth) == ("gaussian", "linear"))
    if best is simplest:
        highest = max(scores, key=lambda one: one.likelihood_ratio)
        return (
            f"One Gaussian with a linear σ² is enough: the most any other model gains is a "
            f"likelihood ratio of {highest.likelihood_ratio:.1f} ({highest.name}, "
            f"{highest.parameters - simplest.parameters} more parameters)."
        )
    more = best.parameters - simplest.parameters
    text = (
        f"{best.name} is the simplest model that none beats: its likelihood ratio over one "
        f"Gaussian with a linear σ² is {best.likelihood_ratio:.1f} for {more} more parameter(s)."
    )
    if best.growth == "power-law":
        text += f" A single D is no honest answer; α = {best.alpha:.2f}."
    if best.growth == "free":
        text += " σ² follows neither a line nor a power of time: no single D is an honest answer."
    return text


def _nothing(reason: FitWarning, zero: float | None) -> ModelComparison:
    return ModelComparison(None, None, None, reason.message, (), 0, 0, zero)


def _numbers(one: ModelScore) -> str:
    d = "–" if one.d_cm2_per_s is None else f"{one.d_cm2_per_s:.4g}"
    error = "" if one.d_stderr_cm2_per_s is None else f" ± {one.d_stderr_cm2_per_s:.2g}"
    alpha = "" if one.alpha is None or one.growth == "linear" else f", α = {one.alpha:.2f}"
    return d + error + alpha + ("" if one.converged else " (no maximum)")
