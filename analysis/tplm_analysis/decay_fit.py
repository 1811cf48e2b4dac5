"""Lifetimes of a decay: exponentials, a stretched one, or a prompt one with a delayed power law."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, gamma

from .decay_models import EXPONENTIAL, POWER_LAW, STRETCHED, DecayModel, Found, Shape
from .fits import FitWarning
from .irf import Irf, check_histogram
from .maps import FloatArray
from .results import Result

_EXPONENTIALS: dict[int, tuple[tuple[float, ...], ...]] = {
    1: ((1.0,), (0.2,)),
    2: ((0.25, 1.5), (0.5, 5.0), (0.1, 1.0)),
    3: ((0.1, 0.7, 3.0), (0.3, 1.0, 6.0), (0.03, 0.4, 2.0)),
}
"""Lifetimes to start from, in units of the mean arrival time."""
_STRETCHED = ((0.9, 0.9), (0.5, 0.7), (0.15, 0.45))
"""Lifetimes in that unit, and β."""
_PROMPT_DELAYED = ((0.7, 0.7, 0.6), (0.3, 1.0, 1.5), (0.7, 3.0, 4.0), (0.2, 0.2, 0.3))
"""Lifetime and t₁ in that unit, and p - 1."""
_MISFIT = 4.0
"""Standard deviations of χ² above what Poisson's law expects."""


class DecayOptions(TypedDict, total=False):
    """What every fit of a decay may be told; see `fit_decay`."""

    period_ns: float | None
    shift_ns: float | None
    background_per_bin: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class DecayModelFit(Result, ABC):
    """What the fits of all models of a decay have in common.

    Attributes
    ----------
    model : str
        "exponential", "two-exponential", "three-exponential", "stretched" or "prompt-delayed".
    background_per_bin, background_stderr_per_bin : float
        Flat background; the error is NaN if it was given or is at zero.
    shift_ns, shift_stderr_ns : float
        By how much the decay comes later than the response says; the error is NaN if it was given.
    chi2, degrees : float, int
        Pearson's χ² over all bins used, and the degrees of freedom.
    deviance, free : float, int
        -2 ln L against a model that hits every count, and the number of free parameters.
    converged : bool
        Whether a maximum of the likelihood was reached with light in every part, and every
        parameter of the shape inside its limits and with an error smaller than itself. If not,
        try a simpler model.
    warnings : tuple of FitWarning
        What to know before using the numbers.
    t_ns, observed, predicted : (bin,) float64
        Bins used, their counts, and the model.
    """

    CURVES: ClassVar[tuple[str, ...]] = ("t_ns", "observed", "predicted")

    model: str
    background_per_bin: float
    background_stderr_per_bin: float
    shift_ns: float
    shift_stderr_ns: float
    chi2: float
    degrees: int
    deviance: float
    free: int
    converged: bool
    warnings: tuple[FitWarning, ...]
    t_ns: FloatArray
    observed: FloatArray
    predicted: FloatArray

    @abstractmethod
    def _lines(self) -> list[str]:
        """Name the lifetimes with their errors."""

    def __str__(self) -> str:
        lines = self._lines()
        if math.isfinite(self.shift_stderr_ns):
            lines.append(
                f"the decay comes {self.shift_ns:.4g} ± {self.shift_stderr_ns:.2g} ns after the "
                "response"
            )
        lines.append(
            f"background {self.background_per_bin:.4g} counts per bin, "
            f"χ² = {self.chi2:.0f} for {self.degrees} degrees of freedom"
        )
        return "\n".join([*lines, *(f"! {w}" for w in self.warnings)])


@dataclass(frozen=True, eq=False, kw_only=True)
class DecayFit(DecayModelFit):
    """Exponentials and a flat background, by Poisson maximum likelihood.

    Attributes
    ----------
    lifetime_ns, lifetime_stderr_ns : (exponential,) float64
        Lifetimes, shortest first; NaN for an error that the counts do not determine.
    photon_share, photon_share_stderr : (exponential,) float64
        Share of all photons of the decay, those beyond the range included: amplitude × lifetime
        over the sum. Without an IRF, of the photons after the first bin used.
    mean_lifetime_ns, mean_lifetime_stderr_ns : float
        Mean time of emission: the lifetimes weighted by their photons.
    """

    SOURCE: ClassVar[str] = "S2 (two, shares of photons), S4 (three); Poisson likelihood"

    lifetime_ns: FloatArray
    lifetime_stderr_ns: FloatArray
    photon_share: FloatArray
    photon_share_stderr: FloatArray
    mean_lifetime_ns: float
    mean_lifetime_stderr_ns: float

    def _lines(self) -> list[str]:
        rows = zip(
            self.lifetime_ns, self.lifetime_stderr_ns, self.photon_share, self.photon_share_stderr,
            strict=True,
        )  # fmt: skip
        return [
            f"τ = {tau:.4g} ± {error:.2g} ns, {share:.1%} ± {share_error:.1%} of the photons"
            for tau, error, share, share_error in rows
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class StretchedFit(DecayModelFit):
    """A exp(−(t/τ)^β) and a flat background, by Poisson maximum likelihood.

    Attributes
    ----------
    lifetime_ns, lifetime_stderr_ns : float
        τ.
    beta, beta_stderr : float
        β; below one the lifetimes are distributed.
    mean_lifetime_ns, mean_lifetime_stderr_ns : float
        Mean of the distributed lifetimes, τ/β Γ(1/β).
    """

    SOURCE: ClassVar[str] = "The project's own; Kohlrausch's function, Poisson likelihood"

    lifetime_ns: float
    lifetime_stderr_ns: float
    beta: float
    beta_stderr: float
    mean_lifetime_ns: float
    mean_lifetime_stderr_ns: float

    def _lines(self) -> list[str]:
        line = (
            f"τ = {self.lifetime_ns:.4g} ± {self.lifetime_stderr_ns:.2g} ns, "
            f"β = {self.beta:.4g} ± {self.beta_stderr:.2g}, "
            f"mean {self.mean_lifetime_ns:.4g} ± {self.mean_lifetime_stderr_ns:.2g} ns"
        )
        return [line]


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptDelayedFit(DecayModelFit):
    """A exp(−t/τ) + B (1 + t/t₁)^−p and a flat background, by Poisson maximum likelihood.

    Attributes
    ----------
    lifetime_ns, lifetime_stderr_ns : float
        τ of the prompt exponential.
    exponent, exponent_stderr : float
        p of the delayed power law, above one.
    delayed_time_ns, delayed_time_stderr_ns : float
        t₁, from which on the power law is a straight line in a double logarithmic plot.
    prompt_fraction, prompt_fraction_stderr : float
        Share of the exponential in the light that arrives from time zero to the last bin: what
        comes later depends on where the power law ends.
    """

    SOURCE: ClassVar[str] = "S1, fig. 1d and S6, as one likelihood"

    lifetime_ns: float
    lifetime_stderr_ns: float
    exponent: float
    exponent_stderr: float
    delayed_time_ns: float
    delayed_time_stderr_ns: float
    prompt_fraction: float
    prompt_fraction_stderr: float

    def _lines(self) -> list[str]:
        prompt = (
            f"prompt τ = {self.lifetime_ns:.4g} ± {self.lifetime_stderr_ns:.2g} ns, "
            f"{self.prompt_fraction:.1%} ± {self.prompt_fraction_stderr:.1%} of the light in range"
        )
        delayed = (
            f"delayed p = {self.exponent:.4g} ± {self.exponent_stderr:.2g}, "
            f"t₁ = {self.delayed_time_ns:.4g} ± {self.delayed_time_stderr_ns:.2g} ns"
        )
        return [prompt, delayed]


def fit_decay(
    counts: ArrayLike,
    t_ns: ArrayLike,
    irf: Irf | None = None,
    exponentials: Literal[1, 2, 3] = 1,
    period_ns: float | None = None,
    *,
    shift_ns: float | None = 0.0,
    background_per_bin: float | None = None,
) -> DecayFit:
    """Fit a sum of exponentials and a flat background to a decay.

    Parameters
    ----------
    counts : (bin,)
        Histogram; one corrected for pile-up may be given.
    t_ns : (bin,)
        Bin centres, evenly spaced; those of `irf` if there is one.
    irf
        Instrument response. The exponentials are convolved with it and integrated over each bin;
        its own noise is not in the error bars. None: the bins from the maximum on are fitted, as
        if the excitation had been instantaneous; lifetimes must then be long against the response.
    exponentials
        How many.
    period_ns
        Time from pulse to pulse; the light that is left of all earlier pulses is then added.
    shift_ns
        By how much the decay comes later than the response says; None: to be found.
    background_per_bin
        Flat background, if it is known; None: to be found.

    Raises
    ------
    ValueError
        When there is nothing to fit, or the input is malformed.
    """
    if exponentials not in _EXPONENTIALS:
        raise ValueError(f"exponentials is 1, 2 or 3; not {exponentials}.")
    shapes = (EXPONENTIAL,) * exponentials
    model, mean = _prepare(
        counts, t_ns, irf, shapes,
        period_ns=period_ns, shift_ns=shift_ns, background_per_bin=background_per_bin,
    )  # fmt: skip
    starts = [[math.log(mean * tau) for tau in start] for start in _EXPONENTIALS[exponentials]]
    found = model.fit(starts)
    tau, photons, at = _parts(model, found)
    share = photons / max(float(photons.sum()), 1e-300)
    pull = (np.eye(exponentials) - share[:, None]) / max(float(photons.sum()), 1e-300)
    rows = np.zeros((exponentials + 1, found.parameters.size))
    rows[:-1, at] = pull
    mean_lifetime = float(share @ tau)
    rows[-1, at] = tau @ pull
    rows[-1, :exponentials] = share * tau
    errors = _propagate(found, rows)
    known = bool(np.all(found.lit & (found.stderr[:exponentials] < 1)))
    return DecayFit(
        lifetime_ns=tau,
        lifetime_stderr_ns=tau * found.stderr[:exponentials],
        photon_share=share,
        photon_share_stderr=np.where(found.lit, errors[:-1], np.nan),
        mean_lifetime_ns=mean_lifetime,
        mean_lifetime_stderr_ns=float(errors[-1]),
        **_common(("exponential", "two-exponential", "three-exponential")[exponentials - 1],
                  model, found, known),
    )  # fmt: skip


def fit_stretched_decay(
    counts: ArrayLike, t_ns: ArrayLike, irf: Irf | None = None, **options: Unpack[DecayOptions]
) -> StretchedFit:
    """Fit a stretched exponential and a flat background to a decay.

    Parameters
    ----------
    counts, t_ns, irf, **options
        As for `fit_decay`. β is looked for from 0.2 to 2.

    Raises
    ------
    ValueError
        When there is nothing to fit, or the input is malformed.
    """
    model, mean = _prepare(counts, t_ns, irf, (STRETCHED,), **options)
    found = model.fit([[math.log(mean * tau), math.log(beta)] for tau, beta in _STRETCHED])
    tau, beta = np.exp(found.parameters[:2])
    mean_lifetime = tau / beta * float(gamma(1 / beta))
    row = np.zeros(found.parameters.size)
    row[:2] = mean_lifetime, -mean_lifetime * (1 + float(digamma(1 / beta)) / beta)
    return StretchedFit(
        lifetime_ns=float(tau),
        lifetime_stderr_ns=float(tau * found.stderr[0]),
        beta=float(beta),
        beta_stderr=float(beta * found.stderr[1]),
        mean_lifetime_ns=float(mean_lifetime),
        mean_lifetime_stderr_ns=float(_propagate(found, row)),
        **_common("stretched", model, found, bool(np.all(found.stderr[:2] < 1))),
    )


def fit_prompt_delayed_decay(
    counts: ArrayLike, t_ns: ArrayLike, irf: Irf | None = None, **options: Unpack[DecayOptions]
) -> PromptDelayedFit:
    """Fit a prompt exponential, a delayed power law and a flat background to a decay.

    The power law and the background are alike at late times: give `background_per_bin` where the
    bins before the pulse tell it.

    Parameters
    ----------
    counts, t_ns, irf, **options
        As for `fit_decay`.

    Raises
    ------
    ValueError
        When there is nothing to fit, or the input is malformed.
    """
    shapes = (EXPONENTIAL, POWER_LAW)
    model, mean = _prepare(counts, t_ns, irf, shapes, **options)
    found = model.fit(
        [
            [math.log(mean * tau), math.log(mean * start), math.log(excess)]
            for tau, start, excess in _PROMPT_DELAYED
        ]
    )
    span = float(model.t[-1] - (model.t[0] if irf is None else irf.centroid_ns)) + model.step / 2

    def fraction(p: FloatArray) -> float:
        light = [
            one * float(shape.arrived(q, np.array(span)))
            for one, shape, q in zip(p[model.curved : -1], shapes, model.split(p), strict=True)
        ]
        return float(light[0] / max(sum(light), 1e-300))

    p = found.parameters
    row = np.zeros(p.size)
    for k in (0, 1, 2, model.curved, model.curved + 1):
        by = np.zeros(p.size)
        by[k] = 1e-5 * max(abs(p[k]), 1.0)
        row[k] = (fraction(p + by) - fraction(p - by)) / (2 * by[k])
    tau, start, excess = np.exp(p[:3])
    errors = found.stderr[:3]
    known = bool(found.lit.all() and np.all(errors[:2] < 1) and errors[2] * excess < 1 + excess)
    return PromptDelayedFit(
        lifetime_ns=float(tau),
        lifetime_stderr_ns=float(tau * errors[0]),
        exponent=float(1 + excess),
        exponent_stderr=float(excess * errors[2]),
        delayed_time_ns=float(start),
        delayed_time_stderr_ns=float(start * errors[1]),
        prompt_fraction=fraction(p),
        prompt_fraction_stderr=float(_propagate(found, row)) if found.lit.all() else math.nan,
        **_common("prompt-delayed", model, found, known),
    )


class _Common(TypedDict):
    model: str
    background_per_bin: float
    background_stderr_per_bin: float
    shift_ns: float
    shift_stderr_ns: float
    chi2: float
    degrees: int
    deviance: float
    free: int
    converged: bool
    warnings: tuple[FitWarning, ...]
    t_ns: FloatArray
    observed: FloatArray
    predicted: FloatArray


def _prepare(
    counts: ArrayLike,
    t_ns: ArrayLike,
    irf: Irf | None,
    shapes: tuple[Shape, ...],
    *,
    period_ns: float | None = None,
    shift_ns: float | None = 0.0,
    background_per_bin: float | None = None,
) -> tuple[DecayModel, float]:
    """Check the input; return the model and the mean arrival time, ns."""
    n, t = check_histogram(counts, t_ns)
    step = float(t[-1] - t[0]) / (t.size - 1)
    if irf is not None and (irf.t_ns.shape != t.shape or np.abs(irf.t_ns - t).max() > 0.01 * step):
        raise ValueError("t_ns must be the time bins of the instrument response.")
    if period_ns is not None and not t.size * step <= period_ns * 1.001 < math.inf:
        raise ValueError(f"The range of {t.size * step:.4g} ns is longer than the period.")
    if irf is None and shift_ns != 0.0:
        raise ValueError("shift_ns needs an instrument response to be counted from.")
    if shift_ns is not None and not abs(shift_ns) < t.size * step:
        raise ValueError("shift_ns must be shorter than the range.")
    if background_per_bin is not None and not 0 <= background_per_bin < math.inf:
        raise ValueError("background_per_bin must be a number, not negative.")
    if irf is None:
        first = int(np.argmax(n))
        n, t = n[first:], t[first:]
    if n.size < 2 * len(shapes) + 8 or n.sum() < 100 * len(shapes):
        raise ValueError(
            f"{n.sum():.0f} counts in {n.size} bins are too few for {len(shapes)} "
            f"{'exponential' if set(shapes) == {EXPONENTIAL} else 'part'}(s)."
        )
    start_ns = t[0] if irf is None else irf.centroid_ns + (shift_ns or 0.0)
    signal = n - np.median(n[-max(n.size // 10, 4) :])
    mean = float(signal @ (t - start_ns)) / max(float(signal.sum()), 1.0)
    mean = min(max(mean, step), float(t[-1] - t[0]))
    model = DecayModel(n, t, step, irf, period_ns, shapes, shift_ns, background_per_bin)
    return model, mean


def _parts(model: DecayModel, found: Found) -> tuple[FloatArray, FloatArray, slice]:
    """Return the lifetimes and photons of all exponentials, and where the photons stand."""
    at = slice(model.curved, found.parameters.size - 1)
    return np.exp(found.parameters[: model.curved - 1]), found.parameters[at], at


def _propagate(found: Found, rows: FloatArray) -> FloatArray:
    """Return standard errors of what depends on the parameters by the rows."""
    variance = np.einsum("...i,ij,...j->...", rows, found.covariance, rows)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _common(name: str, model: DecayModel, found: Found, known: bool) -> _Common:
    """Return what all results have."""
    n, expected, shift = model.n, found.expected, model.curved - 1
    chi2 = float(np.sum((n - expected) ** 2 / expected))
    degrees = n.size - found.free
    warnings = []
    if not (known and found.inside):
        words = "a part of it holds no light, is at a limit, or its error exceeds its value"
        warnings.append(
            FitWarning("not-converged", f"The counts do not determine this model: {words}.")
        )
    excess = (chi2 - degrees) / math.sqrt(2 * n.size + float(np.sum(1 / expected)))
    if excess > _MISFIT:
        warnings.append(
            FitWarning(
                "misfit",
                f"χ² is {excess:.0f} standard deviations above what counting noise allows: the "
                "model, or the measured response with its own noise, does not describe the decay.",
            )
        )
    return _Common(
        model=name,
        background_per_bin=float(found.parameters[-1]),
        background_stderr_per_bin=float(found.stderr[-1]),
        shift_ns=float(found.parameters[shift]) * model.step,
        shift_stderr_ns=float(found.stderr[shift]) * model.step,
        chi2=chi2,
        degrees=degrees,
        deviance=found.deviance,
        free=found.free,
        converged=known and found.inside,
        warnings=tuple(warnings),
        t_ns=model.t,
        observed=n,
        predicted=expected,
    )
