"""Prompt and delayed light of a decay in two windows, as S1 reads them."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .decay import find_time_zero
from .irf import check_histogram
from .maps import FloatArray
from .results import Result

_TURNS = 100


@dataclass(frozen=True, eq=False)
class PromptDelayedWindows(Result):
    """A exp(−t/τ) in an early window and B t^−p in a later one, each by Poisson likelihood.

    Attributes
    ----------
    lifetime_ns, lifetime_stderr_ns : float
        τ of the first window.
    exponent, exponent_stderr : float
        p of the second.
    prompt_fraction, prompt_fraction_stderr : float
        Counts of the first window over those of both, background subtracted.
    prompt_chi2, prompt_degrees, delayed_chi2, delayed_degrees : float, int
        Pearson's χ² of each window and its degrees of freedom. The windows cut where one law goes
        over into the other, so that χ² is high with enough counts; the error bars do not know.
    time_zero_ns : float
        Time zero that was used.
    prompt_ns, delayed_ns : tuple of float
        The windows, from time zero.
    """

    SOURCE: ClassVar[str] = "S1, main text to fig. 1d, fig. S6"

    lifetime_ns: float
    lifetime_stderr_ns: float
    exponent: float
    exponent_stderr: float
    prompt_fraction: float
    prompt_fraction_stderr: float
    prompt_chi2: float
    prompt_degrees: int
    delayed_chi2: float
    delayed_degrees: int
    time_zero_ns: float
    prompt_ns: tuple[float, float]
    delayed_ns: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"prompt, {self.prompt_ns[0]:g}–{self.prompt_ns[1]:g} ns: "
            f"τ = {self.lifetime_ns:.4g} ± {self.lifetime_stderr_ns:.2g} ns, "
            f"χ² = {self.prompt_chi2:.0f} for {self.prompt_degrees} degrees of freedom\n"
            f"delayed, {self.delayed_ns[0]:g}–{self.delayed_ns[1]:g} ns: "
            f"p = {self.exponent:.4g} ± {self.exponent_stderr:.2g}, "
            f"χ² = {self.delayed_chi2:.0f} for {self.delayed_degrees} degrees of freedom\n"
            f"prompt fraction {self.prompt_fraction:.1%} ± {self.prompt_fraction_stderr:.1%}, "
            f"time zero {self.time_zero_ns:.4g} ns"
        )


def prompt_delayed_windows(
    counts: ArrayLike,
    t_ns: ArrayLike,
    *,
    background_per_bin: float = 0.0,
    time_zero_ns: float | None = None,
    prompt_ns: tuple[float, float] = (0.0, 3.0),
    delayed_ns: tuple[float, float] = (3.0, 20.0),
) -> PromptDelayedWindows:
    """Fit an exponential to the first 3 ns and a power law to 3–20 ns.

    S1 says neither how the curves were fitted nor how the prompt fraction was found; here the
    likelihood is Poisson's, the background is given and fixed, no response is taken into account,
    and the fraction is that of the counts.

    Parameters
    ----------
    counts, t_ns : (bin,)
        Histogram and its bin centres, evenly spaced.
    background_per_bin
        Flat background.
    time_zero_ns
        None: the half maximum of the rising edge.
    prompt_ns, delayed_ns
        The windows, from time zero; bins whose centre lies in them are used.

    Raises
    ------
    ValueError
        When a window holds too little, or the input is malformed.
    """
    n, t = check_histogram(counts, t_ns)
    if not 0 <= background_per_bin < math.inf:
        raise ValueError("background_per_bin must be a number, not negative.")
    zero = find_time_zero(t, n)[0] if time_zero_ns is None else time_zero_ns
    late = t - zero
    # the rising edge belongs to the response
    risen = np.arange(n.size) >= (int(np.argmax(n)) if time_zero_ns is None else 0)

    def window(
        name: str, limits: tuple[float, float]
    ) -> tuple[FloatArray, FloatArray, float, float]:
        """Return counts and times to fit, and all counts and background of the window."""
        within = (late > max(limits[0], 0.0)) & (late <= limits[1])
        used = within & risen
        light = float((n[used] - background_per_bin).sum())
        if used.sum() < 5 or light < 50 or light < 3 * math.sqrt(float(n[used].sum())):
            raise ValueError(
                f"The {name} window of {limits[0]:g}–{limits[1]:g} ns holds {light:.0f} counts "
                f"above the background in {used.sum()} bins: too few for a fit."
            )
        dark = background_per_bin * float(within.sum())
        return n[used], late[used], float(n[within].sum()), dark

    early, early_t, first_all, first_dark = window("prompt", prompt_ns)
    later, later_t, second_all, second_dark = window("delayed", delayed_ns)
    slope, slope_stderr, prompt_chi2 = _log_linear(early, early_t, background_per_bin)
    # the mean of t^−p over a bin is that at its centre to (step/t)² p(p+1)/24
    power, power_stderr, delayed_chi2 = _log_linear(later, np.log(later_t), background_per_bin)
    if not slope < 0:
        raise ValueError("The light does not fall in the prompt window: there is no lifetime.")
    first, second = first_all - first_dark, second_all - second_dark
    fraction = first / (first + second)
    spread = math.hypot((1 - fraction) * math.sqrt(first_all), fraction * math.sqrt(second_all)) / (
        first + second
    )
    return PromptDelayedWindows(
        lifetime_ns=-1 / slope,
        lifetime_stderr_ns=slope_stderr / slope**2,
        exponent=-power,
        exponent_stderr=power_stderr,
        prompt_fraction=fraction,
        prompt_fraction_stderr=spread,
        prompt_chi2=prompt_chi2,
        prompt_degrees=early.size - 2,
        delayed_chi2=delayed_chi2,
        delayed_degrees=later.size - 2,
        time_zero_ns=float(zero),
        prompt_ns=prompt_ns,
        delayed_ns=delayed_ns,
    )


def _log_linear(n: FloatArray, u: FloatArray, background: float) -> tuple[float, float, float]:
    """Fit exp(a + b u) + background by Poisson likelihood; return b, its error and χ².

    Fisher's scoring, in steps that are halved until the likelihood rises.
    """
    middle = float(u.mean())
    design = np.stack([np.ones_like(u), u - middle])
    p = np.array([math.log(max(float(n.mean()) - background, 1e-3)), 0.0])

    def parts(p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the slopes by the parameters, and the expected counts."""
        light = np.exp(np.clip(p @ design, -300, 300))
        return design * light, light + background

    def ln_l(p: FloatArray) -> float:
        rate = parts(p)[1]
        return float(np.sum(n * np.log(rate) - rate))

    best = ln_l(p)
    for _ in range(_TURNS):
        slopes, rate = parts(p)
        step = np.linalg.solve((slopes / rate) @ slopes.T, slopes @ (n / rate - 1))
        size = 1.0
        while (new := ln_l(p + size * step)) < best and size > 1e-6:
            size /= 2
        p, gain, best = p + size * step, new - best, new
        if abs(gain) < 1e-10 * max(1.0, abs(best)):
            break
    slopes, rate = parts(p)
    covariance = np.linalg.inv((slopes / rate) @ slopes.T)
    chi2 = float(np.sum((n - rate) ** 2 / rate))
    return float(p[1]), math.sqrt(float(covariance[1, 1])), chi2
