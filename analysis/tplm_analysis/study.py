"""What both fits of a map begin with: the bins to use, time zero, and the global fit."""

import math
from dataclasses import dataclass

import numpy as np

from ._likelihood import FIRST_VARIANCE
from .decay import find_time_zero
from .fits import FitWarning, TimeZero
from .global_fit import (
    GlobalFit,
    add_wings,
    fit_gaussian,
    free_exponent,
    ln_likelihood_flat,
    refit,
)
from .irf import Irf
from .maps import MapData

_AFTER_EDGE_NS = 0.1
_WINGS_GAIN = 3.0
_SIGNAL_LR = 30.0
_NARROWEST = 0.25
ALPHA_LR = 9.0
"""2 Δ ln L above which σ0² + K t^α is preferred to α = 1."""


@dataclass(frozen=True, eq=False)
class Study:
    """A map with its global fit.

    Attributes
    ----------
    data : MapData
        The whole map.
    used : MapData
        The bins that take part, not pooled.
    time_zero_ns : float
        On the map's axis.
    time_zero_from : str
        Where it comes from, as in `MapFit`.
    single : GlobalFit
        One Gaussian.
    fit : GlobalFit
        One or two Gaussians, as the data ask for.
    """

    data: MapData
    used: MapData
    time_zero_ns: float
    time_zero_from: str
    single: GlobalFit
    fit: GlobalFit


@dataclass(frozen=True)
class NoDiffusion:
    """Why a map cannot give a D, and time zero if it was found."""

    reason: FitWarning
    time_zero_ns: float | None = None
    time_zero_from: str | None = None


def study(
    data: MapData,
    time_zero_ns: float | None,
    t_range_ns: tuple[float, float] | None,
    background_per_bin: float | None,
    irf: Irf | None = None,
    time_zero: TimeZero = "decay",
) -> Study | NoDiffusion:
    """Choose the bins, fit one Gaussian, and a second if it helps.

    Parameters
    ----------
    data
        A checked map.
    time_zero_ns, t_range_ns, background_per_bin, irf, time_zero
        As in `tplm_analysis.fit_map`.

    Raises
    ------
    ValueError
        When an option is malformed.
    """
    given = background_per_bin
    if given is not None and not (math.isfinite(given) and given >= 0):
        raise ValueError(f"background_per_bin must be zero or more; it is {given}.")
    window = _window(data, time_zero_ns, t_range_ns, irf, time_zero)
    if isinstance(window, FitWarning):
        return NoDiffusion(window)
    used, zero, source = window
    if used.pooled().t_ns.size < 2:
        reason = FitWarning(
            "too-few-counts",
            f"{used.decay.sum():.0f} counts after time zero are not enough for two time slices "
            f"of 200; D cannot be given. Measure longer.",
        )
        return NoDiffusion(reason, zero, source)
    single = fit_gaussian(used, zero, given)
    if not single.converged and source != "given":
        # A dim edge found a little early asks for a width below zero there: start where the
        # light does.
        late = fit_gaussian(used, float(single.data.t_ns[0]), given)
        if late.converged:
            single, zero, source = late, late.time_zero_ns, "first light"
    failure = _no_diffusion(single)
    if failure is not None:
        return NoDiffusion(failure, zero, source)
    single, fit = _with_wings(single, used)
    return Study(data, used, zero, source, single, fit)


def _window(
    data: MapData,
    time_zero_ns: float | None,
    t_range_ns: tuple[float, float] | None,
    irf: Irf | None,
    time_zero: TimeZero,
) -> tuple[MapData, float, str] | FitWarning:
    """Return the bins to use, time zero and where that is from, or why nothing can be used."""
    if time_zero_ns is not None and not math.isfinite(time_zero_ns):
        raise ValueError(f"time_zero_ns must be a number; it is {time_zero_ns}.")
    if t_range_ns is not None and not t_range_ns[0] < t_range_ns[1]:
        raise ValueError(f"t_range_ns must be (start, stop) with start < stop, not {t_range_ns}.")
    if data.x_um.size < 3 or np.ptp(data.x_um) < 1e-6:
        return FitWarning(
            "few-positions",
            f"{data.x_um.size} measured position(s): a width needs at least three different "
            f"ones, so D cannot be given.",
        )
    if data.t_ns.size < 2:
        return FitWarning("few-bins", "One time bin holds no diffusion; D cannot be given.")
    if not data.counts.any():
        return FitWarning("no-signal", "The map holds no counts; D cannot be given.")
    if irf is not None and time_zero != "decay":
        zero, edge, source = irf.time_zero_ns(time_zero), True, f"irf {time_zero}"
    else:
        irf = None
        zero, edge = find_time_zero(data.t_ns, data.decay)
        source = "decay half-maximum" if edge else "decay first bin"
    if time_zero_ns is not None:
        zero, edge, source = float(time_zero_ns), bool(time_zero_ns > data.t_ns[0]), "given"
    start, stop = zero + (_AFTER_EDGE_NS if edge else 0.0), math.inf
    if irf is not None:
        start = irf.half_maximum_ns + irf.tail_ns
    if t_range_ns is not None:
        start, stop = t_range_ns
    used = data.between(start, stop)
    if used.t_ns.size < 2 or not used.counts.any():
        return FitWarning(
            "no-signal",
            f"No counts between {start:.4g} and {min(stop, data.t_ns[-1]):.4g} ns; D cannot be "
            f"given. Check time zero ({zero:.4g} ns) and the range.",
        )
    return used, zero, source


def _no_diffusion(fit: GlobalFit) -> FitWarning | None:
    """Return why a fit holds no information on D, or None when it does."""
    gain = 2 * (fit.ln_likelihood - ln_likelihood_flat(fit.data))
    if gain < _SIGNAL_LR or fit.amplitude.sum() <= 0:
        return FitWarning(
            "no-signal",
            "No bright profile stands out of the noise, so there is no width that could grow and "
            "D cannot be given.",
        )
    if fit.data.t_ns.size < 2:
        return FitWarning(
            "too-few-counts",
            "There are not two time slices in which the signal stands out of the background, so "
            "D cannot be given. Measure longer or reduce the background.",
        )
    if not fit.converged or fit.stderr(FIRST_VARIANCE + 1) is None:
        return FitWarning(
            "not-converged",
            "No Gaussian profile fits inside the measured range (too narrow for the positions, "
            "wider than the line, or its centre outside), so D cannot be given.",
        )
    width = fit.sigma2_um2(fit.data.t_ns)
    if width.min() < _NARROWEST * width[0]:
        return FitWarning(
            "not-converged",
            "The late slices, mostly noise, pull the fit to a profile that shrinks below half its "
            "width, which light does not do; D cannot be given. Limit t_range_ns, measure longer "
            "or reduce the background.",
        )
    return None


def _with_wings(single: GlobalFit, used: MapData) -> tuple[GlobalFit, GlobalFit]:
    """Return one Gaussian, and two if that is what the data say, on the same slices."""
    # Two widths, two shares, a background: fewer than seven positions cannot tell.
    if single.data.x_um.size < 7:
        return single, single
    both = add_wings(single)
    gain = both.ln_likelihood - single.ln_likelihood
    if gain <= _WINGS_GAIN or both.stderr(FIRST_VARIANCE + 1) is None:
        return single, single
    # A variance that is not linear in time leaves residuals which wings would soak up.
    bent = free_exponent(single)
    if 2 * (bent.ln_likelihood - single.ln_likelihood) > ALPHA_LR:
        gain = free_exponent(both).ln_likelihood - bent.ln_likelihood
    if gain <= _WINGS_GAIN:
        return single, single
    # What one Gaussian took for background may have been wings: pool again.
    pooled = used.pooled(background=both.background)
    return refit(single, pooled), refit(both, pooled)
