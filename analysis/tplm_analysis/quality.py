"""Judgements on a fit, in words for the person who measured."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._likelihood import FIRST_VARIANCE, LORENTZ, WING, WING_UM2, X0, B
from .decay import find_time_zero
from .fits import FitWarning, Revisits
from .global_fit import D_UNIT, GlobalFit, shift_of
from .irf import Irf
from .maps import FloatArray, MapData

EDGE_SHARE = 0.05
OFF_CENTRE = 0.15
_PILE_UP = 0.01
_SHIFTED = 0.5  # of the error bar
_DRIFT = 0.05
_IRF_APART_NS = 0.5
_EARLY_NS = 1.0
_CLEARLY = 4.0
_LATE_SHARE = 0.8
_LEFT_OVER = 0.003
_NARROWEST_NM, _WIDEST_NM = 5.0, 5e4
_SHORTEST_NS = 1e-4


def judge_positions(data: MapData) -> list[FitWarning]:
    """Say when positions are missing or few."""
    found = []
    if data.missing:
        found.append(
            FitWarning(
                "missing-positions",
                f"{data.missing} of {data.rows} positions were not measured and are left out.",
            )
        )
    if 3 <= data.x_um.size < 7:
        found.append(
            FitWarning(
                "few-positions",
                f"Only {data.x_um.size} different positions: a profile that is not Gaussian would "
                f"go unnoticed. Measure at least 7.",
            )
        )
    return found


def judge_range(fit: GlobalFit) -> list[FitWarning]:
    """Say when the profile is cut off, off the middle or undersampled."""
    data, found = fit.data, []
    x0 = float(fit.theta[X0])
    left, right = float(data.x_um[0]), float(data.x_um[-1])
    light = np.maximum(fit.amplitude, 0)
    variance = float(light @ fit.sigma2_um2(data.t_ns) / light.sum())
    nearest = max(min(x0 - left, right - x0), 0.0)
    nearer, peak = fit.height(np.array([nearest, 0.0]), np.array([variance]))
    share = nearer / peak
    if share > EDGE_SHARE:
        found.append(
            FitWarning(
                "truncated-range",
                f"At the nearer end of the line the profile is still {share:.0%} of its peak, so "
                f"width and background are hard to tell apart and D may be far too large. Extend "
                f"the range to at least ±{3 * math.sqrt(variance):.2g} µm around {x0:.2f} µm.",
            )
        )
    middle, half = 0.5 * (left + right), 0.5 * (right - left)
    if abs(x0 - middle) > OFF_CENTRE * half:
        found.append(
            FitWarning(
                "off-centre",
                f"The profile sits {x0 - middle:+.2f} µm from the middle of the line "
                f"(± {half:.2g} µm). Recentre before a long scan.",
            )
        )
    sigma0 = math.sqrt(fit.theta[FIRST_VARIANCE])
    third = float(np.sort(np.abs(data.x_um - x0))[2])
    if third > 2.5 * sigma0:
        found.append(
            FitWarning(
                "undersampled",
                f"The third nearest position to the centre is {third * 1e3:.0f} nm away, the "
                f"profile has σ = {sigma0 * 1e3:.0f} nm: too few positions on it to trust its "
                f"width. Measure closer together.",
            )
        )
    return found


def judge_background(fit: GlobalFit, given: float | None, lr_given: float) -> list[FitWarning]:
    """Say when the background is wrong, unknown or large.

    Parameters
    ----------
    fit
        The fit whose D is reported.
    given
        Background the caller asked for, counts per bin and row.
    lr_given
        2 Δ ln L by which a free background beats the given one.
    """
    data = fit.data
    cells = float(data.exposure.sum() * data.width.sum())
    signal = max(float(fit.predicted().sum() - fit.theta[B] * cells), 1.0)
    if given is not None and lr_given > 9:
        return [
            FitWarning(
                "background",
                f"The given background of {given:.3g} counts per bin does not agree with the data "
                f"(likelihood ratio {lr_given:.0f}, 9 is a lot); D is then wrong, far too large if "
                f"it is too low. Leave it free or measure it again.",
            )
        ]
    error = fit.stderr(B)
    if error is not None and error * cells > 0.1 * signal:
        return [
            FitWarning(
                "background",
                f"The background ({fit.theta[B]:.3g} ± {error:.2g} counts per bin) is not well "
                f"determined: its error is {error * cells / signal:.0%} of the signal. Measure "
                f"further out, or measure it apart and give it.",
            )
        ]
    if fit.theta[B] * cells > signal:
        return [
            FitWarning(
                "background",
                f"There is {fit.theta[B] * cells / signal:.1f} times as much background as signal "
                f"in the map. Stray light or dark counts set the error of D: reduce them.",
            )
        ]
    return []


def judge_units(sigma0_nm: float, t_ns: FloatArray) -> list[FitWarning]:
    """Say when widths or times are those of no light microscope."""
    words = []
    if not _NARROWEST_NM <= sigma0_nm <= _WIDEST_NM:
        words.append(f"σ0 = {sigma0_nm:.3g} nm (x_um must be in µm)")
    if float(t_ns[-1] - t_ns[0]) < _SHORTEST_NS:
        words.append(f"{float(t_ns[-1] - t_ns[0]):.3g} ns of time (t_ns must be in ns)")
    if not words:
        return []
    return [FitWarning("units", f"Is the unit right? The map has {' and '.join(words)}.")]


def judge_model(single: GlobalFit, fit: GlobalFit, *, widened: bool) -> list[FitWarning]:
    """Say when the profile is not one Gaussian, or not what was fitted at all.

    Parameters
    ----------
    single, fit
        One Gaussian, and the profile that was chosen.
    widened
        Whether the error of D is widened by `misfit`; published procedures keep theirs.
    """
    found = []
    if fit.voigt:
        found.append(
            FitWarning(
                "not-gaussian",
                f"The profile is a Voigt: Lorentzian half width "
                f"{1e3 * fit.theta[LORENTZ]:.0f} nm at all times, beside which the Gaussian part "
                f"widens; ln L is {fit.ln_likelihood - single.ln_likelihood:.1f} above that of "
                f"one Gaussian.",
            )
        )
    if fit.wings:
        wide = math.sqrt(fit.theta[FIRST_VARIANCE] + fit.theta[WING_UM2])
        d_one = single.theta[FIRST_VARIANCE + 1] / (2 * D_UNIT)
        found.append(
            FitWarning(
                "not-gaussian",
                f"The profile has wings: a second Gaussian with σ = {wide * 1e3:.0f} nm and "
                f"{fit.theta[WING]:.0%} of the light raises ln L by "
                f"{fit.ln_likelihood - single.ln_likelihood:.1f}, so two Gaussians were used. One "
                f"alone would give D = {d_one:.3g} cm²/s.",
            )
        )
    widening = misfit(fit)
    if widening > 1:
        found.append(
            FitWarning(
                "misfit",
                f"The model does not describe the map: χ² is {widening**2:.2g} per degree of "
                f"freedom. Look at the residuals, and at what compare_models says. "
                + (f"The error of D is widened {widening:.2g} times, but " if widened else "")
                + "D itself may be off by more than its error.",
            )
        )
    return found


def misfit(fit: GlobalFit) -> float:
    """Return √(χ² per degree of freedom) when the model clearly misses the map, else 1."""
    coarse = max(1, math.ceil(fit.data.t_ns.size / 12))
    starts = np.arange(0, fit.data.t_ns.size, coarse)
    seen = np.add.reduceat(fit.data.counts, starts, axis=0)
    expected = np.add.reduceat(fit.predicted(), starts, axis=0)
    enough = expected >= 10
    chi2 = float(np.sum((seen[enough] - expected[enough]) ** 2 / expected[enough]))
    degrees = float(np.count_nonzero(enough)) - starts.size - 4
    if degrees <= 0 or chi2 - degrees <= 6 * math.sqrt(2 * degrees):
        return 1.0
    return math.sqrt(chi2 / degrees)


def judge_diffusivity(fit: GlobalFit) -> list[FitWarning]:
    """Say when D is buried in noise or negative."""
    found: list[FitWarning] = []
    counts = float(fit.data.counts.sum())
    error = fit.stderr(FIRST_VARIANCE + 1)
    slope = float(fit.theta[FIRST_VARIANCE + 1])
    if error is None:
        return found
    d, d_error = slope / (2 * D_UNIT), error / (2 * D_UNIT)
    if counts < 2000:
        found.append(
            FitWarning(
                "too-few-counts",
                f"{counts:.0f} counts in all: the error bar assumes more. Measure longer.",
            )
        )
    elif abs(d) < 2 * d_error:
        factor = (3 * d_error / max(abs(d), 0.3 * d_error)) ** 2
        found.append(
            FitWarning(
                "too-few-counts",
                f"D = {d:.2g} ± {d_error:.2g} cm²/s is not distinguishable from zero. With D as it "
                f"is, about {factor:.0f} times the counts would show it.",
            )
        )
    if d < -2 * d_error:
        found.append(
            FitWarning(
                "negative-d",
                f"The profile narrows with time (D = {d:.2g} ± {d_error:.2g} cm²/s). Look for "
                f"dark or trapped excitons, or for a background that changes.",
            )
        )
    return found


def judge_previous_pulse(
    data: MapData, fit: GlobalFit, irf: Irf | None, period_ns: float | None
) -> list[FitWarning]:
    """Say when light of earlier pulses is in the map.

    It shows before time zero as light with a profile: what the flat background leaves of those
    bins is compared with the profile of the latest slices (score test, 4 standard errors). A map
    that begins at time zero shows nothing; then the light at the end of the period is what the
    next pulse meets.

    Parameters
    ----------
    data
        The whole map.
    fit
        The fit whose D is reported.
    irf
        Instrument response, for how early its own light may come.
    period_ns
        Time between pulses when known.
    """
    zero = fit.time_zero_ns
    before = data.t_ns < zero - (_EARLY_NS if irf is None else 2 * irf.fwhm_ns)
    per_bin = np.maximum(fit.amplitude, 0) / fit.data.width
    if np.count_nonzero(before) >= 4:
        seen = data.counts[before].sum(axis=0)
        flat = data.exposure * seen.sum() / data.exposure.sum()
        width = float(data.width[before].sum())
        oldest = float(fit.sigma2_um2(fit.data.t_ns)[-1])
        u = data.x_um - fit.theta[X0]
        for variance in (oldest, 2 * oldest):
            shape = data.exposure * fit.height(u, np.array([variance]))
            # the flat level is free too
            shape -= data.exposure * shape.sum() / data.exposure.sum()
            weighted = shape / np.maximum(flat, 1e-300)
            error = math.sqrt(float(weighted @ shape))
            if float(weighted @ (seen - flat)) > _CLEARLY * error > 0:
                share = float(weighted @ (seen - flat)) / error**2 / width / float(per_bin.max())
                return [_previous_pulse(f"before time zero, {share:.2%} of the brightest time")]
    # an axis that runs on past the period is not that of the time since the pulse
    span = float(data.t_ns[-1] - data.t_ns[0])
    if period_ns is None or span > 1.05 * period_ns:
        return []
    since = fit.data.t_ns - zero
    if data.t_ns[-1] - zero < _LATE_SHARE * period_ns:
        return []
    late = since >= min(_LATE_SHARE * period_ns, float(since[-1]))
    light = np.maximum(fit.amplitude, 0)
    left = float(light[late].sum() / fit.data.width[late].sum())
    mean = float(light.sum() / fit.data.width.sum())
    if left < _LEFT_OVER * mean:
        return []
    return [_previous_pulse(f"at the end of the period, {left / mean:.2%} of the mean")]


def _previous_pulse(what: str) -> FitWarning:
    return FitWarning(
        "previous-pulse",
        f"Light is left over from earlier pulses: there is a profile {what}. It is older and "
        f"wider than the rest and lies under the whole decay, so D and α are off; lower the "
        f"repetition rate.",
    )


def judge_empty_bins(empty: int) -> list[FitWarning]:
    """Say when the histogram has gaps."""
    if empty == 0:
        return []
    return [
        FitWarning(
            "empty-bins",
            f"{empty} time bin(s) recorded nothing at all between bins with light, so they were "
            f"dead and are left out. Check the timing card.",
        )
    ]


def judge_pile_up(
    data: MapData, counts: ArrayLike, pulses: FloatArray | None, asked: bool
) -> list[FitWarning]:
    """Say when the brightest position is counted too fast for single-photon timing."""
    if pulses is None:
        if not asked:
            return []
        return [
            FitWarning(
                "pile-up",
                "Pile-up cannot be judged: exposure_s is needed with sync_rate_hz.",
            )
        ]
    rows = np.asarray(counts).sum(axis=1)
    measured = pulses > 0
    if not measured.any() or data.x_um.size == 0:
        return []
    worst = float(np.max(rows[measured] / pulses[measured]))
    if worst <= _PILE_UP:
        return []
    return [
        FitWarning(
            "pile-up",
            f"The brightest position counts {worst:.1%} photons per pulse; above 1 % early photons "
            f"hide later ones and the decay is distorted. Attenuate the detection, or correct for "
            f'it (pile_up "coates").',
        )
    ]


def judge_hidden(fit: GlobalFit, x_um: ArrayLike, pulses: FloatArray | None) -> list[FitWarning]:
    """Say when pile-up shifts D noticeably, also where the counts are fewer than 1 %.

    Parameters
    ----------
    x_um, pulses : (position,)
        As given to the fit; pulses None where they are unknown.
    """
    error = fit.stderr(FIRST_VARIANCE + 1)
    if pulses is None or error is None:
        return []
    x = np.asarray(x_um, dtype=np.float64)
    at = np.searchsorted(fit.data.x_um, x)
    at = np.minimum(at, fit.data.x_um.size - 1)
    mine = fit.data.x_um[at] == x
    there = np.bincount(at[mine], pulses[mine], fit.data.x_um.size)
    if not np.all(there > 0):
        return []
    counts = fit.data.counts
    hidden = (np.cumsum(counts, axis=0) - 0.5 * counts) / there
    full = replace(fit.data, counts=counts * (1 + hidden))
    shift = -float(shift_of(fit, full)[FIRST_VARIANCE + 1])
    worst = float(np.max(counts.sum(axis=0) / there))
    if worst > _PILE_UP or abs(shift) <= _SHIFTED * error:
        return []
    return [
        FitWarning(
            "pile-up",
            f"Pile-up of {worst:.2%} photons per pulse at the brightest position shifts D by about "
            f"{shift / 2 / D_UNIT:+.2g} cm²/s, {abs(shift) / error:.1f} of its error bars. Correct "
            f'for it (pile_up "coates").',
        )
    ]


def judge_correction(
    counts: FloatArray, corrected: FloatArray, x_um: FloatArray, dead: str
) -> list[FitWarning]:
    """Say how much a correction for pile-up changed the counts, and where most.

    Parameters
    ----------
    counts, corrected : (position, time)
        Before and after.
    x_um : (position,)
        Positions.
    dead
        What was taken for the dead time, in words.
    """
    seen = counts > 0
    if not seen.any():
        return []
    factor = np.divide(corrected, counts, out=np.ones_like(corrected), where=seen)
    row = int(np.argmax(factor.max(axis=1)))
    return [
        FitWarning(
            "pile-up-corrected",
            f"The counts were corrected for pile-up after Coates ({dead}), most at "
            f"{x_um[row]:.2f} µm: single bins by up to {factor[row].max() - 1:.2%}, all counts "
            f"there by {corrected[row].sum() / counts[row].sum() - 1:.2%}.",
        )
    ]


def judge_irf(data: MapData, irf: Irf) -> list[FitWarning]:
    """Say when an instrument response cannot belong to the map."""
    if data.t_ns.size < 2 or not data.counts.any():
        return []
    edge_ns, found = find_time_zero(data.t_ns, data.density)
    apart = irf.half_maximum_ns - edge_ns
    if not found or abs(apart) <= _IRF_APART_NS + irf.fwhm_ns:
        return []
    return [
        FitWarning(
            "irf",
            f"The instrument response rises {abs(apart):.2g} ns "
            f"{'after' if apart > 0 else 'before'} the decay, so it was not measured with the same "
            f"delays; the half maximum of the decay is used for time zero instead.",
        )
    ]


def judge_drift(revisits: Revisits | None, sigma0_um: float | None) -> list[FitWarning]:
    """Say when brightness or place changed in the course of the scan."""
    if revisits is None:
        return []
    time = _series("time_s", revisits.time_s)
    found = []
    if revisits.counts is not None:
        counts = _series("counts", revisits.counts, time.size)
        mean = float(counts.mean())
        if mean > 0 and counts.size >= 2:
            swing = float(np.ptp(counts)) / mean
            excess = float(np.sum((counts - mean) ** 2) / mean) - (counts.size - 1)
            if swing > _DRIFT and excess > 4 * math.sqrt(2 * (counts.size - 1)):
                found.append(
                    FitWarning(
                        "drift",
                        f"The signal changed by {swing:.0%} over {np.ptp(time):.0f} s of scanning. "
                        f"Unless many passes average it out, it shapes the profile.",
                    )
                )
    if revisits.x_um is not None:
        x = _series("x_um", revisits.x_um, time.size)
        moved = float(np.ptp(x))
        if sigma0_um is not None and moved > 0.1 * sigma0_um:
            found.append(
                FitWarning(
                    "drift",
                    f"The centre moved by {moved * 1e3:.0f} nm over {np.ptp(time):.0f} s, "
                    f"{moved / sigma0_um:.0%} of the profile's σ. Let the stage settle, or scan in "
                    f"many passes.",
                )
            )
    return found


def _series(name: str, values: ArrayLike, size: int | None = None) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.all(np.isfinite(array)) or size not in (None, array.size):
        raise ValueError(f"revisits.{name} must be a list of finite numbers, one per visit.")
    return array
