"""What both fits of a map begin with: the bins to use, time zero, and the global fit."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._likelihood import FIRST_VARIANCE
from .ages import mean_age_ns
from .decay import blurred_ns, find_time_zero
from .fits import FitWarning, ModelChoice, TimeZero
from .global_fit import (
    GlobalFit,
    add_wings,
    fit_gaussian,
    fit_voigt,
    free_exponent,
    ln_likelihood_flat,
    refit,
)
from .irf import Irf
from .maps import MapData

_SIGNAL_LR = 30.0
_NARROWEST = 0.25
_POSITIONS_FOR_SHAPE = 7  # two widths, two shares, a background: fewer cannot tell
_EMPTY_RUN = 64
_EMPTY_COUNTS = 25.0
WINGS_GAIN = 3.0
"""Δ ln L above which a profile richer than one Gaussian is used."""
ALPHA_LR = 9.0
"""2 Δ ln L above which σ0² + K t^α is preferred to α = 1."""


@dataclass(frozen=True, eq=False)
class Study:
    """A map with its global fit.

    Attributes
    ----------
    data : MapData
        The whole map without its empty bins.
    used : MapData
        The bins that take part, not pooled; their times are those of their mean age if asked.
    time_zero_ns : float
        On the map's axis.
    time_zero_from : str
        Where it comes from, as in `MapFit`.
    single : GlobalFit
        One Gaussian.
    fit : GlobalFit
        One or two Gaussians or a Voigt, as the data or the caller ask for.
    empty_bins : int
        Bins that recorded nothing while their neighbours did.
    """

    data: MapData
    used: MapData
    time_zero_ns: float
    time_zero_from: str
    single: GlobalFit
    fit: GlobalFit
    empty_bins: int


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
    *,
    model: ModelChoice = "auto",
    voigt: bool = False,
    mix_ages: bool = False,
) -> Study | NoDiffusion:
    """Choose the bins, fit one Gaussian, and a second if it helps, or the profile asked for.

    Parameters
    ----------
    data
        A checked map.
    time_zero_ns, t_range_ns, background_per_bin, irf, time_zero, model, mix_ages
        As in `tplm_analysis.fit_map`.
    voigt
        Whether a Voigt may be tried where no Gaussian fits.

    Raises
    ------
    ValueError
        When an option is malformed.
    """
    given = background_per_bin
    if given is not None and not (math.isfinite(given) and given >= 0):
        raise ValueError(f"background_per_bin must be zero or more; it is {given}.")
    whole, empty = data, empty_bins(data)
    data = _without(data, empty)
    window = _window(data, time_zero_ns, t_range_ns, irf, time_zero, mix_ages)
    if isinstance(window, FitWarning):
        return NoDiffusion(window)
    used, zero, source = window
    if mix_ages:
        ages = mean_age_ns(whole, None if time_zero == "decay" else irf, zero)
        taken = np.isin(whole.t_ns, used.t_ns)
        used = replace(used, t_ns=zero + ages[taken])
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
    fit = single
    rich = single.data.x_um.size >= _POSITIONS_FOR_SHAPE
    if rich and (model == "voigt" or (voigt and _may_be_voigt(failure))):
        fit = _as_voigt(single, used)
        gained = fit.ln_likelihood > single.ln_likelihood + WINGS_GAIN
        if model == "voigt" or (gained and _no_diffusion(fit) is None):
            failure = _no_diffusion(fit)
    elif failure is None and model == "auto":
        single, fit = _with_wings(single, used)
    elif failure is None and model == "two-gaussian" and rich:
        fit = add_wings(single)
    if failure is not None:
        return NoDiffusion(failure, zero, source)
    return Study(data, used, zero, source, single, fit, int(empty.sum()))


def empty_bins(data: MapData) -> NDArray[np.bool_]:
    """Return the bins that recorded nothing although their neighbours are lit.

    A gap in the histogram is dead time of the card, not darkness: it holds no background either.
    A gap counts when as many bins (64 at most) on either side of it hold 25 counts. At the end of
    the histogram those before it are carried on as an exponential. Dark bins before the light are
    none.
    """
    found = np.zeros(data.t_ns.size, dtype=np.bool_)
    decay = data.decay
    lit = np.flatnonzero(decay)
    gaps = np.diff(lit, append=decay.size) - 1
    for k in np.flatnonzero(gaps):
        start, stop = int(lit[k]) + 1, int(lit[k] + 1 + gaps[k])
        n = min(stop - start, _EMPTY_RUN)
        before = float(decay[max(start - n, 0) : start].sum())
        if stop < decay.size:
            expected = min(before, float(decay[stop : stop + n].sum()))
        else:
            earlier = float(decay[max(start - 2 * n, 0) : max(start - n, 0)].sum())
            expected = before * min(1.0, before / max(earlier, 1.0))
        found[start:stop] = expected > _EMPTY_COUNTS
    return found


def _without(data: MapData, empty: NDArray[np.bool_]) -> MapData:
    if not empty.any():
        return data
    keep = ~empty
    return replace(data, counts=data.counts[keep], t_ns=data.t_ns[keep], width=data.width[keep])


def _may_be_voigt(failure: FitWarning | None) -> bool:
    """Whether what failed is the shape of the profile."""
    return failure is not None and failure.code == "not-converged"


def _as_voigt(single: GlobalFit, used: MapData) -> GlobalFit:
    """Return a Voigt on slices that are pooled with its own background."""
    fit = fit_voigt(single)
    return refit(fit, used.pooled(background=fit.background)) if fit.converged else fit


def _window(
    data: MapData,
    time_zero_ns: float | None,
    t_range_ns: tuple[float, float] | None,
    irf: Irf | None,
    time_zero: TimeZero,
    mix_ages: bool,
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
        zero, edge = find_time_zero(data.t_ns, data.density)
        source = "decay half-maximum" if edge else "decay first bin"
    if time_zero_ns is not None:
        zero, edge, source = float(time_zero_ns), bool(time_zero_ns > data.t_ns[0]), "given"
    start, stop = zero + (blurred_ns(data.t_ns, data.density) if edge else 0.0), math.inf
    if irf is not None:
        start = irf.half_maximum_ns + (0.0 if mix_ages else irf.tail_ns)
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
    if single.data.x_um.size < _POSITIONS_FOR_SHAPE:
        return single, single
    both = add_wings(single)
    gain = both.ln_likelihood - single.ln_likelihood
    if gain <= WINGS_GAIN or both.stderr(FIRST_VARIANCE + 1) is None:
        return single, single
    # A variance that is not linear in time leaves residuals which wings would soak up.
    bent = free_exponent(single)
    if 2 * (bent.ln_likelihood - single.ln_likelihood) > ALPHA_LR:
        gain = free_exponent(both).ln_likelihood - bent.ln_likelihood
    if gain <= WINGS_GAIN:
        return single, single
    # What one Gaussian took for background may have been wings: pool again.
    pooled = used.pooled(background=both.background)
    return refit(single, pooled), refit(both, pooled)
