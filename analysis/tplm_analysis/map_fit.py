"""From a map to a diffusivity, or to the reason why there is none."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from . import published, quality
from ._likelihood import FIRST_VARIANCE, LORENTZ, WING, WING_UM2, X0, B
from .decay import lifetime_1e
from .drift import Drift, find_drift
from .fits import (
    ApertureShape,
    FitWarning,
    MapFit,
    Method,
    Model,
    ModelChoice,
    MsdCurve,
    PileUp,
    Revisits,
    TimeZero,
)
from .global_fit import (
    D_UNIT,
    GlobalFit,
    free_background,
    free_exponent,
    free_widths,
    stretch_means,
)
from .irf import Irf
from .maps import FloatArray, MapData, check_map
from .pileup import coates
from .study import ALPHA_LR, NoDiffusion, Study, study

_MODELS: dict[Method, Model] = {"voigt-davg": "voigt", "moment": "moment"}
_SECOND_MOMENT = {"square": 1 / 12, "disc": 1 / 16}
_STRETCHES = 48
_MOST_EVEN_BINS = 16384
_WIDE_APERTURE = 0.1  # of the measured variance


def fit_map(
    counts: ArrayLike,
    x_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None = None,
    method: Method = "global",
    *,
    time_zero_ns: float | None = None,
    t_range_ns: tuple[float, float] | None = None,
    background_per_bin: float | None = None,
    sync_rate_hz: float | None = None,
    excitation_pulses: ArrayLike | None = None,
    revisits: Revisits | None = None,
    irf: Irf | None = None,
    time_zero: TimeZero | None = None,
    pile_up: PileUp = "none",
    dead_time_ns: float | None = None,
    model: ModelChoice = "auto",
    mix_ages: bool = False,
    aperture_um: float | None = None,
    aperture: ApertureShape = "square",
    measured_s: ArrayLike | None = None,
) -> MapFit:
    """Fit the diffusivity of a map.

    Time zero is the half maximum of the rising edge of the whole decay. Bins are used from 0.1 ns
    after it on, or from the 10-90 % time of that edge after it if this is longer (instrument
    response); a map that starts at its maximum, without a rising edge, is used from its first bin
    on. With an instrument response, time zero is the half maximum of its
    rising edge, and bins are used from where 99 % of it have arrived.

    Parameters
    ----------
    counts : (position, time)
        Whole numbers of photons.
    x_um : (position,)
        Positions in the sample plane, any order, repeats allowed.
    t_ns : (time,)
        Bin centres, increasing.
    exposure_s : (position,), optional
        Time spent at each position. 0: not measured, the row is ignored; None: all equal.
    method
        ``"global"`` (default, house estimator): Poisson maximum likelihood of the whole map.
        ``"slices"`` (house): Poisson likelihood per slice and a weighted line.
        ``"gaussian-msd"``: S1 as printed; ``"voigt-davg"``: S2, equation 2; ``"moment"``: S3.
        The last three are documented in `tplm_analysis.published`.
    time_zero_ns
        Time zero, when known.
    t_range_ns : (start, stop), optional
        Bin centres to use, on the axis of `t_ns`; takes the place of the rules above.
    background_per_bin
        Mean counts per position and bin at the mean exposure, when known; None fits it.
    sync_rate_hz
        Laser pulses per second; with `exposure_s` in seconds it shows pile-up. Give it, above
        all, for a map that begins at time zero: what is left of earlier pulses hardly shows there.
    excitation_pulses : (position,), optional
        Laser pulses at each position, in place of exposure times `sync_rate_hz`.
    revisits
        Repeated measurements of a reference during the scan; they show drift, and with
        `measured_s` take it out.
    irf
        Instrument response on the time axis of the map, from `find_irf`.
    time_zero
        ``"half-maximum"`` or ``"centroid"`` of `irf`; ``"decay"`` does without `irf`. None: the
        half maximum of `irf` if there is one.
    pile_up
        ``"coates"`` corrects every row for pile-up before anything else, and says so in a
        warning; the number of laser pulses must be known. See `coates`.
    dead_time_ns
        Dead time of detector and card for that correction, rounded to whole bins; with
        `sync_rate_hz` it may reach over further pulses. None: until the next pulse.
    model
        Profile of method ``"global"``. ``"auto"``: two Gaussians where they raise ln L by more
        than 3, a Voigt where no Gaussian fits, else one Gaussian. ``"two-gaussian"``: one where
        a second raises ln L by less than 1; the result's `model` says so. ``"voigt"``: its
        Gaussian part widens by 2Dt, its Lorentzian stays (S2), by the likelihood of the whole
        map. `compare_models` says which is warranted.
    mix_ages
        Count time as the mean age of the light in a bin: light of all ages that the instrument
        response (`irf`, or none) and the width of the bin let through. Bins then count from the
        half maximum of `irf` on, and σ0 is that at age zero. See `tplm_analysis.ages`.
    aperture_um, aperture
        Side of a square or diameter of a disc that collects the light at each position, in the
        sample plane. It adds side²/12 or diameter²/16 to σ² along the line, which is taken off
        σ0, so that σ0 is that of the light; D does not change.
    measured_s : (position,), optional
        When each row was measured (its middle), on the clock of `revisits`. Give one row per
        visit, not sums over passes. Brightness and place of the reference, interpolated between
        revisits, are then taken out; see `tplm_analysis.drift`.

    Returns
    -------
    MapFit
        Every value that cannot be given is None, with a warning that says why.

    Raises
    ------
    ValueError
        When the input is malformed; never because of what the counts say.
    """
    if method not in get_args(Method):
        raise ValueError(f'method is one of {", ".join(get_args(Method))}; not "{method}".')
    if pile_up not in get_args(PileUp):
        raise ValueError(f'pile_up is "none" or "coates"; not "{pile_up}".')
    if model not in get_args(ModelChoice):
        raise ValueError(f'model is one of {", ".join(get_args(ModelChoice))}; not "{model}".')
    if model != "auto" and method != "global":
        raise ValueError(f'model "{model}" needs method "global"; "{method}" has its own.')
    blur_um2 = _blur(aperture_um, aperture)
    drift = None if measured_s is None or revisits is None else find_drift(revisits, measured_s)
    if measured_s is not None and drift is None:
        raise ValueError("measured_s needs revisits: without a reference no drift is known.")
    spent_s = exposure_s
    if drift is not None:
        x_um, exposure_s = drift.corrected(x_um, exposure_s)
    data = check_map(counts, x_um, t_ns, exposure_s)
    pulses = _pulses(spent_s, sync_rate_hz, excitation_pulses, data.rows)
    warnings = quality.judge_positions(data)
    if pile_up == "coates":
        data, words = _corrected(counts, x_um, t_ns, exposure_s, pulses, sync_rate_hz, dead_time_ns)
        warnings += words
    else:
        warnings += quality.judge_pile_up(data, counts, pulses, sync_rate_hz is not None)
    zero = choose_time_zero(irf, time_zero)
    if irf is not None and zero != "decay" and time_zero_ns is None:
        words = quality.judge_irf(data, irf)
        warnings += words
        zero = "decay" if words else zero
    found = study(
        data,
        time_zero_ns,
        t_range_ns,
        background_per_bin,
        irf,
        zero,
        model=model,
        voigt=method == "global",
        mix_ages=mix_ages,
    )
    if isinstance(found, NoDiffusion):
        warnings += _drift_words(drift, revisits, None)
        return _no_fit(method, data, [found.reason, *warnings], found)
    fit = found.fit
    period_ns = None if sync_rate_hz is None else 1e9 / sync_rate_hz
    if pile_up == "none":
        warnings += quality.judge_hidden(fit, x_um, pulses)
    warnings += quality.judge_empty_bins(found.empty_bins)
    warnings += quality.judge_previous_pulse(found.data, fit, irf, period_ns)
    warnings += _drift_words(drift, revisits, math.sqrt(fit.theta[FIRST_VARIANCE]))
    warnings += quality.judge_range(fit)
    lr_given = _background_lr(found, background_per_bin)
    warnings += quality.judge_background(fit, background_per_bin, lr_given)
    house = method in ("global", "slices")
    warnings += quality.judge_model(found.single, fit, widened=house)
    sigma0_nm = 1e3 * math.sqrt(fit.theta[FIRST_VARIANCE])
    warnings += quality.judge_units(sigma0_nm, found.data.t_ns)
    alpha, alpha_stderr, words = _exponent(fit)
    warnings += words
    if method == "global":
        warnings += quality.judge_diffusivity(fit)
    lifetime = _lifetime(found.data, fit)
    result = _run(method, found.used, fit, lifetime)
    if drift is not None:
        rows = np.asarray(x_um, dtype=np.float64)
        if exposure_s is not None:
            rows = np.where(np.asarray(exposure_s) > 0, rows, np.nan)
        result = _with_drift(result, drift, fit, rows)
    result, words = _without_aperture(result, blur_um2)
    warnings += words
    warnings += _judge_result(method, result, lifetime)
    return _assemble(
        method,
        fit,
        result,
        lifetime,
        (alpha, alpha_stderr),
        warnings,
        found.time_zero_from,
        blur_um2,
    )


def _lifetime(data: MapData, fit: GlobalFit) -> float | None:
    """Return the 1/e lifetime of the light at all positions together."""
    decay, t = data.density, data.t_ns
    background = float(fit.theta[B] * data.exposure.sum() * data.width.min())
    steps = np.diff(t)
    if np.ptp(steps) > 0.1 * steps.mean():
        bins = min(round(float((t[-1] - t[0]) / steps.min())) + 1, _MOST_EVEN_BINS)
        even = np.linspace(t[0], t[-1], bins)
        decay, t = np.interp(even, t, decay), even
    return lifetime_1e(t, decay, background)


def _blur(aperture_um: float | None, aperture: ApertureShape) -> float:
    """Return what an aperture adds to the variance along the line, µm²."""
    if aperture not in _SECOND_MOMENT:
        raise ValueError(f'aperture is "square" or "disc"; not "{aperture}".')
    if aperture_um is None:
        return 0.0
    if not (math.isfinite(aperture_um) and aperture_um >= 0):
        raise ValueError(f"aperture_um must be zero or more; it is {aperture_um}.")
    return aperture_um**2 * _SECOND_MOMENT[aperture]


def _without_aperture(
    result: published.Procedure, blur_um2: float
) -> tuple[published.Procedure, list[FitWarning]]:
    """Return a result whose σ0 is that of the light."""
    if blur_um2 == 0 or result.sigma0_um is None:
        return result, []
    sigma2, size_nm = result.sigma0_um**2 - blur_um2, 1e3 * math.sqrt(blur_um2)
    if sigma2 <= 0:
        word = FitWarning(
            "aperture",
            f"The aperture alone would give σ = {size_nm:.0f} nm, more than the measured profile "
            f"({1e3 * result.sigma0_um:.0f} nm): there is no σ0 of the light. Check its size in "
            f"the sample plane.",
        )
        return replace(result, sigma0_um=None), [word]
    words = []
    if blur_um2 > _WIDE_APERTURE * result.sigma0_um**2:
        words = [
            FitWarning(
                "aperture",
                f"The aperture (σ = {size_nm:.0f} nm) is wide for the profile "
                f"({1e3 * result.sigma0_um:.0f} nm with it), which is then not Gaussian: D may be "
                f"high by some per cent. Use a smaller one.",
            )
        ]
    return replace(result, sigma0_um=math.sqrt(sigma2)), words


def _drift_words(
    drift: Drift | None, revisits: Revisits | None, sigma0_um: float | None
) -> list[FitWarning]:
    if drift is None:
        return quality.judge_drift(revisits, sigma0_um)
    return drift.judge(sigma0_um)


def _with_drift(
    result: published.Procedure, drift: Drift, fit: GlobalFit, rows_um: FloatArray
) -> published.Procedure:
    """Return a result whose error of D holds the noise of the revisits."""
    if result.d_stderr_um2_per_ns is None:
        return result
    more = drift.stderr_um2_per_ns(fit, rows_um) / 2
    return replace(result, d_stderr_um2_per_ns=math.hypot(result.d_stderr_um2_per_ns, more))


def _background_lr(found: Study, given: float | None) -> float:
    """Return 2 Δ ln L by which a free background beats a given one; 0 when none was given."""
    if given is None:
        return 0.0
    # Both on the same slices: those of the given background may be others.
    free = free_background(found.single)
    return 2 * (free.ln_likelihood - found.single.ln_likelihood)


def _pulses(
    exposure_s: ArrayLike | None,
    sync_rate_hz: float | None,
    excitation_pulses: ArrayLike | None,
    rows: int,
) -> FloatArray | None:
    """Return the laser pulses of each row, or None when they are unknown."""
    if excitation_pulses is not None:
        pulses = np.asarray(excitation_pulses, dtype=np.float64)
        if pulses.shape != (rows,) or not np.all(np.isfinite(pulses)) or np.any(pulses < 0):
            raise ValueError(f"excitation_pulses must hold one number per position ({rows}).")
        return pulses
    if sync_rate_hz is None:
        return None
    if not (math.isfinite(sync_rate_hz) and sync_rate_hz > 0):
        raise ValueError(f"sync_rate_hz must be positive; it is {sync_rate_hz}.")
    if exposure_s is None:
        return None
    return np.asarray(exposure_s, dtype=np.float64) * sync_rate_hz


def choose_time_zero(irf: Irf | None, asked: TimeZero | None) -> TimeZero:
    """Return the definition of time zero to use."""
    if asked is None:
        return "decay" if irf is None else "half-maximum"
    if asked not in get_args(TimeZero):
        raise ValueError(f'time_zero is one of {", ".join(get_args(TimeZero))}; not "{asked}".')
    if irf is None and asked != "decay":
        raise ValueError(
            f'time_zero "{asked}" is that of the instrument response, and there is none.'
        )
    return asked


def _corrected(
    counts: ArrayLike,
    x_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None,
    pulses: FloatArray | None,
    sync_rate_hz: float | None,
    dead_time_ns: float | None,
) -> tuple[MapData, list[FitWarning]]:
    """Return the map corrected for pile-up row by row, and what to say about that."""
    if pulses is None:
        raise ValueError(
            'pile_up "coates" needs the number of laser pulses: sync_rate_hz and exposure_s in '
            "seconds, or excitation_pulses."
        )
    if dead_time_ns is not None and not (math.isfinite(dead_time_ns) and dead_time_ns >= 0):
        raise ValueError(f"dead_time_ns must be zero or more; it is {dead_time_ns}.")
    x, t = np.asarray(x_um, dtype=np.float64), np.asarray(t_ns, dtype=np.float64)
    step = float(t[-1] - t[0]) / max(t.size - 1, 1)
    if t.size < 2 or np.ptp(np.diff(t)) > 0.1 * step:
        raise ValueError('pile_up "coates" needs the even time bins of the timing card.')
    measured = np.full(x.size, True) if exposure_s is None else np.asarray(exposure_s) > 0
    seen = np.where(measured[:, None], np.asarray(counts, dtype=np.float64), 0.0)
    dead_bins = period_bins = None
    dead = "dead until the next pulse"
    if dead_time_ns is not None:
        dead_bins, dead = round(dead_time_ns / step), f"dead time {dead_time_ns:.4g} ns"
        if sync_rate_hz is not None:
            period_bins = round(1e9 / sync_rate_hz / step)
    full = coates(seen, pulses, dead_bins, period_bins)
    words = quality.judge_correction(seen, full, x, dead)
    return check_map(full, x_um, t_ns, exposure_s, corrected=True), words


def _exponent(fit: GlobalFit) -> tuple[float | None, float | None, list[FitWarning]]:
    """Return α, its error and what to say about it."""
    power = free_exponent(fit)
    error = power.stderr(FIRST_VARIANCE + 2)
    lr = 2 * (power.ln_likelihood - fit.ln_likelihood)
    if lr > ALPHA_LR and not power.converged:
        return (
            None,
            None,
            [
                FitWarning(
                    "anomalous",
                    f"The profile does not grow linearly (likelihood ratio {lr:.0f}), nor as any "
                    f"power of time, so α cannot be given and a single D is no honest answer. "
                    f"Look at the MSD.",
                )
            ],
        )
    if not power.converged or error is None or error > 0.5:
        return (
            None,
            None,
            [
                FitWarning(
                    "alpha",
                    "The exponent α cannot be determined: the profile grows too little for it.",
                )
            ],
        )
    alpha = float(power.theta[FIRST_VARIANCE + 2])
    if lr <= ALPHA_LR:
        return alpha, error, []
    kind = "slower" if alpha < 1 else "faster"
    return (
        alpha,
        error,
        [
            FitWarning(
                "anomalous",
                f"The profile does not grow linearly: σ² = σ0² + K t^α with α = {alpha:.2f} ± "
                f"{error:.2f} fits better (likelihood ratio {lr:.0f}), {kind} than diffusion. A "
                f"single D is no honest answer; it depends on the time range.",
            )
        ],
    )


def _run(
    method: Method, used: MapData, fit: GlobalFit, lifetime_ns: float | None
) -> published.Procedure:
    """Return what one method makes of the map."""
    if method == "gaussian-msd":
        return published.gaussian_msd(used, fit)
    if method == "voigt-davg":
        return published.voigt_davg(used, fit, lifetime_ns)
    if method == "moment":
        return published.moment(fit.data, fit, lifetime_ns)
    if method == "slices":
        found = published.poisson_slices(used, fit)
        error = found.d_stderr_um2_per_ns
        widened = None if error is None else quality.misfit(fit) * error
        return replace(found, d_stderr_um2_per_ns=widened)
    msd, t_max = _voigt_msd(fit) if fit.voigt else published.poisson_msd(used, fit)
    slope = float(fit.theta[FIRST_VARIANCE + 1])
    error = fit.stderr(FIRST_VARIANCE + 1)
    return published.Procedure(
        d_um2_per_ns=slope / 2,
        d_stderr_um2_per_ns=None if error is None else quality.misfit(fit) * error / 2,
        sigma0_um=math.sqrt(fit.theta[FIRST_VARIANCE]),
        center_um=float(fit.theta[X0]),
        background=fit.background,
        t_max_ns=t_max,
        msd=msd,
    )


def _voigt_msd(fit: GlobalFit) -> tuple[MsdCurve, float | None]:
    """Return the MSD of a Voigt's Gaussian part, free in stretches, and its maximum."""
    free = free_widths(fit, _STRETCHES)
    assert free.free_widths is not None
    stretch = free.free_widths.stretch
    t = stretch_means(fit.data.t_ns, fit.data.decay, stretch)
    msd = free.theta[FIRST_VARIANCE:] - fit.theta[FIRST_VARIANCE]
    stderr = np.array([free.stderr(i) or np.nan for i in range(FIRST_VARIANCE, free.theta.size)])
    since = t - fit.time_zero_ns
    line = fit.theta[FIRST_VARIANCE + 1] * since
    return MsdCurve(t, msd, stderr, line), published.msd_maximum(since, msd, stderr)


def _judge_result(
    method: Method, result: published.Procedure, lifetime_ns: float | None
) -> list[FitWarning]:
    """Say why a number is missing, or which one it makes doubtful."""
    found = []
    d = result.d_um2_per_ns
    if d is None:
        found.append(
            FitWarning(
                "not-converged",
                f"{method} could not fit enough slices to give D; try the default method.",
            )
        )
    elif result.d_stderr_um2_per_ns is None:
        found.append(FitWarning("no-error-bar", f"{method} gives no error bar here."))
    if result.sigma0_um is None and d is not None:
        found.append(FitWarning("sigma0", "The width at time zero could not be determined."))
    if lifetime_ns is None:
        found.append(
            FitWarning("lifetime", "The decay does not fall to 1/e in the map: no lifetime.")
        )
    if d is None or d <= 0 or lifetime_ns is None:
        found.append(
            FitWarning(
                "diffusion-length", "A diffusion length needs a lifetime and a D above zero."
            )
        )
    if result.t_max_ns is None:
        found.append(
            FitWarning("t-max", "The MSD does not pass through a maximum: there is no t_max.")
        )
    elif method in ("global", "slices"):
        found.append(
            FitWarning(
                "msd-maximum",
                f"The MSD falls again after {result.t_max_ns:.2g} ns (dark states or traps): a "
                f"single D is no honest answer.",
            )
        )
    return found


def _assemble(
    method: Method,
    fit: GlobalFit,
    result: published.Procedure,
    lifetime_ns: float | None,
    alpha: tuple[float | None, float | None],
    warnings: list[FitWarning],
    time_zero_from: str,
    blur_um2: float,
) -> MapFit:
    d = _scaled(result.d_um2_per_ns, 1 / D_UNIT)
    length = None
    if d is not None and d > 0 and lifetime_ns is not None:
        length = 1e3 * math.sqrt(d * D_UNIT * lifetime_ns)
    wings = fit.wings
    shared_wings = wings and method in ("global", "slices")
    wide = None
    if wings:
        wide = math.sqrt(max(fit.theta[FIRST_VARIANCE] + fit.theta[WING_UM2] - blur_um2, 0.0))
    profile: Model = "two-gaussian" if shared_wings else "voigt" if fit.voigt else "gaussian"
    return MapFit(
        method=method,
        model=_MODELS.get(method, profile),
        d_cm2_per_s=d,
        d_stderr_cm2_per_s=_scaled(result.d_stderr_um2_per_ns, 1 / D_UNIT),
        sigma0_nm=_scaled(result.sigma0_um, 1e3),
        center_um=result.center_um,
        background_per_bin=result.background,
        alpha=alpha[0],
        alpha_stderr=alpha[1],
        lifetime_1e_ns=lifetime_ns,
        diffusion_length_nm=length,
        t_max_ns=result.t_max_ns,
        warnings=tuple(warnings),
        time_zero_ns=fit.time_zero_ns,
        d_max_cm2_per_s=_scaled(result.d_max_um2_per_ns, 1 / D_UNIT),
        wing_fraction=float(fit.theta[WING]) if wings else None,
        wing_sigma0_nm=_scaled(wide, 1e3),
        ln_likelihood=fit.ln_likelihood,
        x_um=fit.data.x_um,
        slice_t_ns=fit.data.t_ns,
        sigma2_um2=fit.sigma2_um2(fit.data.t_ns),
        observed=fit.data.counts.T,
        predicted=fit.predicted().T,
        msd=result.msd,
        diffusivity=result.diffusivity,
        d_max_stderr_cm2_per_s=_scaled(result.d_max_stderr_um2_per_ns, 1 / D_UNIT),
        time_zero_from=time_zero_from,
        lorentz_hwhm_nm=1e3 * float(fit.theta[LORENTZ]) if fit.voigt else None,
    )


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else float(value * factor)


def _no_fit(
    method: Method, data: MapData, warnings: list[FitWarning], found: NoDiffusion
) -> MapFit:
    """Return a result without numbers; the first warning says why."""
    none = np.empty(0)
    nothing_else = FitWarning(
        "no-fit",
        "Without a fit there is no width, centre, background, exponent, lifetime, diffusion "
        "length or t_max either.",
    )
    return MapFit(
        method=method,
        model=_MODELS.get(method, "gaussian"),
        d_cm2_per_s=None,
        d_stderr_cm2_per_s=None,
        sigma0_nm=None,
        center_um=None,
        background_per_bin=None,
        alpha=None,
        alpha_stderr=None,
        lifetime_1e_ns=None,
        diffusion_length_nm=None,
        t_max_ns=None,
        warnings=(*warnings, nothing_else),
        time_zero_ns=found.time_zero_ns,
        d_max_cm2_per_s=None,
        wing_fraction=None,
        wing_sigma0_nm=None,
        ln_likelihood=None,
        x_um=data.x_um,
        slice_t_ns=none,
        sigma2_um2=none,
        observed=np.empty((data.x_um.size, 0)),
        predicted=np.empty((data.x_um.size, 0)),
        msd=None,
        time_zero_from=found.time_zero_from,
    )
