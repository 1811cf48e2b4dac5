"""The published procedures, computed as printed, so that old numbers can be compared."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._least_squares import CENTER, LORENTZ, OFFSET, SIGMA, fit_profiles
from ._likelihood import FIRST_VARIANCE, X0, B
from .fits import DiffusivityCurve, MsdCurve
from .global_fit import D_UNIT, GlobalFit
from .maps import FloatArray, MapData
from .slices import SliceTable, line_through

_NEIGHBOURS = 25
_LINE_NS = 3.0
_LIFETIMES = 5.0
_EARLY_NS = 1.0
_WINDOW_NS = 0.5
_STEP_NS = 0.05
_SLICE_COUNTS = 1000


@dataclass(frozen=True, eq=False)
class Procedure:
    """What one procedure gives; None where it gives nothing."""

    d_um2_per_ns: float | None
    d_stderr_um2_per_ns: float | None
    sigma0_um: float | None
    center_um: float | None
    background: float | None
    t_max_ns: float | None
    msd: MsdCurve
    d_max_um2_per_ns: float | None = None
    d_max_stderr_um2_per_ns: float | None = None
    diffusivity: DiffusivityCurve | None = None


def gaussian_msd(data: MapData, shared: GlobalFit, window_ns: float = _LINE_NS) -> Procedure:
    """Follow S1: a Gaussian per slice, MSD from the first slice, a line through the origin.

    Least squares without weights with a constant offset as a free fourth parameter (S1 asks that
    the background be accounted for, not how). The error bar of a point is the standard deviation
    of its 25 neighbouring points, itself in the middle; the line is weighted by them. Time counts
    from the first slice, where the MSD is zero.

    Parameters
    ----------
    data
        The map from time zero on, not pooled.
    shared
        Where the fits start.
    window_ns
        Length of the line.
    """
    parameters, _, good = _fit(data, shared, voigt=False)
    sigma2 = np.where(good, parameters[:, SIGMA] ** 2, np.nan)
    if not good.any():
        return _nothing(data)
    first = int(np.argmax(good))
    since = data.t_ns - data.t_ns[first]
    msd = sigma2 - sigma2[first]
    bars = _neighbour_scatter(msd)
    points = good & (since > 0) & (since <= window_ns) & (bars > 0)
    d = d_stderr = None
    line = np.full(msd.size, np.nan)
    if np.count_nonzero(points) >= 2:
        w = 1 / bars[points] ** 2
        t = since[points]
        slope = float(w @ (t * msd[points]) / (w @ t**2))
        d, d_stderr = slope / 2, 0.5 / math.sqrt(float(w @ t**2))
        line = np.where((since >= 0) & (since <= window_ns), slope * since, np.nan)
    return Procedure(
        d_um2_per_ns=d,
        d_stderr_um2_per_ns=d_stderr,
        sigma0_um=float(parameters[first, SIGMA]),
        center_um=float(np.median(parameters[good, CENTER])),
        background=float(np.median(parameters[good, OFFSET] / data.width[good])),
        t_max_ns=msd_maximum(data.t_ns - shared.time_zero_ns, msd, bars),
        msd=MsdCurve(data.t_ns, msd, bars, line),
    )


def voigt_davg(data: MapData, shared: GlobalFit, lifetime_ns: float | None) -> Procedure:
    """Follow S2: Voigt profiles, D averaged over time with the light as weight (equation 2).

    Gaussian and Lorentzian widths are free in the first slice; the Lorentzian keeps that value
    in all later ones, where area, centre, Gaussian width and a constant offset are free. The sum
    runs to five 1/e lifetimes with the total counts of each slice as weight. S2 gives no error;
    this one carries the errors of the slice fits through the sum.

    Parameters
    ----------
    data
        The map from time zero on, not pooled.
    shared
        Where the fits start.
    lifetime_ns
        1/e lifetime; None takes the whole range.
    """
    head = _rows(data, 0, 1)
    first, first_stderr, ok = _fit(head, shared, voigt=True)
    if not ok[0]:
        return _nothing(data)
    parameters, stderr, good = _fit(data, shared, voigt=True, lorentz=float(first[0, LORENTZ]))
    parameters[0], good[0], stderr[0] = first[0], True, first_stderr[0]
    msd = np.where(good, parameters[:, SIGMA] ** 2 - first[0, SIGMA] ** 2, np.nan)
    bars = 2 * parameters[:, SIGMA] * stderr
    stop = data.t_ns[0] + (math.inf if lifetime_ns is None else _LIFETIMES * lifetime_ns)
    index = np.flatnonzero(good & (data.t_ns <= stop))
    light = data.decay[index[:-1]]
    d = d_stderr = None
    if index.size >= 2 and light.sum() > 0:
        share = light / light.sum() / (2 * np.diff(data.t_ns[index]))
        d = float(share @ np.diff(msd[index]))
        # Each slice enters two terms of the sum, once with either sign.
        pull = np.append(0.0, share) - np.append(share, 0.0)
        known = np.isfinite(bars[index])
        if known.all():
            d_stderr = float(np.sqrt(np.sum((pull * bars[index]) ** 2)))
    line = np.full(msd.size, np.nan) if d is None else 2 * d * (data.t_ns - data.t_ns[0])
    return Procedure(
        d_um2_per_ns=d,
        d_stderr_um2_per_ns=d_stderr,
        sigma0_um=float(first[0, SIGMA]),
        center_um=float(first[0, CENTER]),
        background=float(np.median(parameters[good, OFFSET] / data.width[good])),
        t_max_ns=msd_maximum(data.t_ns - shared.time_zero_ns, msd, bars),
        msd=MsdCurve(data.t_ns, msd, bars, line),
    )


def moment(data: MapData, shared: GlobalFit, lifetime_ns: float | None) -> Procedure:
    """Follow S3: second moment of the profile itself, D(t) = ½ dMSD/dt.

    S3 does not say how the background is removed; with it left in D comes out several times too
    large, so the background and centre of the global fit are used. D_s, the long-time value, is
    half the slope from 1 ns after time zero to five lifetimes; D(t) half the slope over half a
    nanosecond around t, and D_max its largest value before 1 ns, at t_max.

    Parameters
    ----------
    data
        The pooled map.
    shared
        Where background, centre and error bars come from.
    lifetime_ns
        1/e lifetime; None takes the whole range.
    """
    space = np.gradient(data.x_um)
    u2 = (data.x_um - shared.theta[X0]) ** 2
    signal = data.counts / data.exposure - shared.theta[B] * data.width[:, None]
    total = signal @ space
    # Errors from the expected counts: those of the data would favour narrow slices.
    expected = shared.predicted() / data.exposure**2
    model_total = np.maximum(shared.amplitude, 1e-300)
    sigma2_model = shared.sigma2_um2(data.t_ns)
    pull2 = ((u2 - sigma2_model[:, None]) * space) ** 2
    bars = np.sqrt(np.sum(expected * pull2, axis=1)) / model_total
    good = (total > 0) & (shared.amplitude > 0) & (bars < float(np.ptp(data.x_um)) ** 2)
    if np.count_nonzero(good) < 2:
        return _nothing(data)
    sigma2 = np.full(total.size, np.nan)
    sigma2[good] = (signal[good] @ (u2 * space)) / total[good]
    first = int(np.argmax(good))
    msd = sigma2 - sigma2[first]
    since = data.t_ns - shared.time_zero_ns
    stop = math.inf if lifetime_ns is None else _LIFETIMES * lifetime_ns
    late = good & (since >= _EARLY_NS) & (since <= stop)
    fitted = line_through(since[late], msd[late], bars[late])
    d = d_stderr = None
    line = np.full(msd.size, np.nan)
    if fitted is not None:
        d, d_stderr = fitted[1] / 2, fitted[2] / 2
        line[late] = fitted[0] + fitted[1] * since[late]
    curve = _diffusivity(since[good], msd[good], bars[good], stop)
    early = np.where(curve.since_zero_ns <= _EARLY_NS + 1e-9, curve.d_cm2_per_s, np.nan)
    d_max = d_max_stderr = t_max = None
    if np.isfinite(early).any():
        top = int(np.nanargmax(early))
        d_max, t_max = float(early[top]) * D_UNIT, float(curve.since_zero_ns[top])
        d_max_stderr = float(curve.d_stderr_cm2_per_s[top]) * D_UNIT
    return Procedure(
        d_um2_per_ns=d,
        d_stderr_um2_per_ns=d_stderr,
        sigma0_um=math.sqrt(sigma2[first]) if sigma2[first] > 0 else None,
        center_um=float(shared.theta[X0]),
        background=shared.background,
        t_max_ns=t_max,
        msd=MsdCurve(data.t_ns, msd, bars, line),
        d_max_um2_per_ns=d_max,
        d_max_stderr_um2_per_ns=d_max_stderr,
        diffusivity=curve,
    )


def _diffusivity(
    since: FloatArray, msd: FloatArray, bars: FloatArray, stop_ns: float
) -> DiffusivityCurve:
    """Return half the slope of the MSD, half a nanosecond at a time."""
    last = min(float(since[-1]), stop_ns)
    middle = np.arange(_WINDOW_NS / 2, last - _WINDOW_NS / 2 + 1e-9, _STEP_NS)
    d, stderr = np.full(middle.size, np.nan), np.full(middle.size, np.nan)
    for k, center in enumerate(middle):
        near = np.abs(since - center) <= _WINDOW_NS / 2
        slope = line_through(since[near], msd[near], bars[near])
        if slope is not None:
            d[k], stderr[k] = slope[1] / 2 / D_UNIT, slope[2] / 2 / D_UNIT
    return DiffusivityCurve(middle, d, stderr)


def coherence_sites(
    since_zero_ns: ArrayLike, d_cm2_per_s: ArrayLike, t_max_ns: float, spacing_nm: float
) -> float | None:
    """Return the upper bound of the coherence length of S3, in sites.

    L₀ ≤ √(∫₀^t_max D(t) dt) / a. Before its first point D is taken as constant.

    Parameters
    ----------
    since_zero_ns, d_cm2_per_s : (n,)
        D(t), as in ``fit.diffusivity`` of ``fit_map(…, method="moment")``; NaN is left out.
    t_max_ns
        Time of the maximum of D(t), ``fit.t_max_ns``.
    spacing_nm
        Distance a of neighbouring nanocrystals.

    Returns
    -------
    float or None
        None where the integral is negative, since noise outweighs the diffusion then.

    Raises
    ------
    ValueError
        When there is no D(t) up to t_max, or the spacing is not positive.
    """
    t, d = np.asarray(since_zero_ns, dtype=np.float64), np.asarray(d_cm2_per_s, dtype=np.float64)
    if not (math.isfinite(spacing_nm) and spacing_nm > 0):
        raise ValueError(f"spacing_nm must be a positive number; it is {spacing_nm}.")
    if t.ndim != 1 or t.shape != d.shape or np.any(np.diff(t) <= 0) or np.any(t < 0):
        raise ValueError("since_zero_ns and d_cm2_per_s must be lists of equal length, in order.")
    known = np.isfinite(d)
    t, d = t[known], d[known]
    if t.size == 0 or not 0 < t_max_ns <= t[-1] + 1e-9:
        raise ValueError(f"D(t) must be known up to t_max_ns, {t_max_ns} here.")
    end = np.interp(t_max_ns, t, d)
    inside = t < t_max_ns
    times = np.concatenate(([0.0], t[inside], [t_max_ns]))
    values = np.concatenate((d[:1], d[inside], [end]))
    area_nm2 = 1e6 * D_UNIT * float(np.trapezoid(values, times))
    return math.sqrt(area_nm2) / spacing_nm if area_nm2 >= 0 else None


def poisson_slices(data: MapData, shared: GlobalFit) -> Procedure:
    """Fit each pooled slice by Poisson likelihood and a weighted line to σ² (house estimator).

    The errors are those expected along the global line, not at each slice's own width: a slice
    that came out narrow by chance would otherwise weigh too much.

    Parameters
    ----------
    data
        The map from time zero on; it is pooled to 1000 counts per slice, since the likelihood of
        one slice is biased below that.
    shared
        Where centre, background and the errors come from.
    """
    pooled = data.pooled(_SLICE_COUNTS, background=shared.background)
    table = SliceTable(pooled, shared)
    expected = SliceTable(pooled, shared, shared.sigma2_um2(pooled.t_ns)).variance_stderr
    since = pooled.t_ns - shared.time_zero_ns
    good = table.converged & np.isfinite(expected)
    fitted = line_through(since[good], table.variance[good], expected[good])
    if fitted is None:
        return _nothing(pooled)
    sigma2, slope, slope_stderr = fitted
    msd = table.variance - sigma2
    return Procedure(
        d_um2_per_ns=slope / 2,
        d_stderr_um2_per_ns=slope_stderr / 2,
        sigma0_um=math.sqrt(sigma2) if sigma2 > 0 else None,
        center_um=float(shared.theta[X0]),
        background=shared.background,
        t_max_ns=msd_maximum(since, msd, expected),
        msd=MsdCurve(pooled.t_ns, msd, table.variance_stderr, slope * since),
    )


def poisson_msd(data: MapData, shared: GlobalFit) -> tuple[MsdCurve, float | None]:
    """Return the MSD of single slices beside the global line, and its maximum if it has one.

    Parameters
    ----------
    data
        The map from time zero on.
    shared
        The global fit.
    """
    pooled = data.pooled(_SLICE_COUNTS, background=shared.background)
    table = SliceTable(pooled, shared)
    line = shared.sigma2_um2(pooled.t_ns) - shared.theta[FIRST_VARIANCE]
    expected = SliceTable(pooled, shared, shared.sigma2_um2(pooled.t_ns)).variance_stderr
    msd = table.variance - shared.theta[FIRST_VARIANCE]
    t_max = msd_maximum(pooled.t_ns - shared.time_zero_ns, msd, expected)
    return MsdCurve(pooled.t_ns, msd, table.variance_stderr, line), t_max


def msd_maximum(since_ns: FloatArray, msd: FloatArray, stderr: FloatArray) -> float | None:
    """Return when the MSD is largest if it clearly falls afterwards, else None.

    Clearly: the points after the maximum lie, on weighted average, five standard errors below
    the points around it.
    """
    good = np.isfinite(msd) & np.isfinite(stderr) & (stderr > 0)
    t, y, w = since_ns[good], msd[good], 1 / stderr[good] ** 2
    if t.size < 8:
        return None
    # Smooth over groups of equal information, so that no lucky late point is the maximum.
    group = np.minimum((np.cumsum(w) / w.sum() * 12).astype(np.int64), 11)
    weight = np.bincount(group, w, 12)
    some = weight > 0
    weight = weight[some]
    mean = np.bincount(group, w * y, 12)[some] / weight
    time = np.bincount(group, w * t, 12)[some] / weight
    top = int(np.argmax(mean))
    if top == mean.size - 1:
        return None
    after = weight[top + 1 :]
    fall = mean[top] - float(after @ mean[top + 1 :] / after.sum())
    if fall < 5 * math.sqrt(1 / weight[top] + 1 / after.sum()):
        return None
    return float(time[top])


def _fit(
    data: MapData, shared: GlobalFit, *, voigt: bool, lorentz: float | None = None
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Fit all slices from the global fit's profile; (parameters, error of σ, converged)."""
    n = data.t_ns.size
    span = float(data.x_um[-1] - data.x_um[0])
    sigma = np.sqrt(np.maximum(shared.sigma2_um2(data.t_ns), (0.3 * data.spacing_um) ** 2))
    background = shared.theta[B] * data.width
    space = float(np.ptp(data.x_um)) / max(data.x_um.size - 1, 1)
    rates = data.counts / data.exposure
    area = np.maximum((rates - background[:, None]).sum(axis=1) * space, 1e-3)
    start = np.zeros((n, 5))
    start[:, 0], start[:, CENTER], start[:, SIGMA] = area, shared.theta[X0], sigma
    start[:, OFFSET] = background
    if voigt:
        start[:, LORENTZ] = 0.1 * sigma if lorentz is None else lorentz
    stderr, good = np.empty(n), np.zeros(n, dtype=np.bool_)
    limits = np.array([0.05 * data.spacing_um, 3 * span])
    fit_profiles(rates, data.x_um, limits, voigt, voigt and lorentz is None, start, stderr, good)
    return start, stderr, good


def _rows(data: MapData, start: int, stop: int) -> MapData:
    rows = slice(start, stop)
    return MapData(
        data.counts[rows],
        data.x_um,
        data.t_ns[rows],
        data.exposure,
        data.width[rows],
        data.rows,
        data.missing,
    )


def _neighbour_scatter(msd: FloatArray) -> FloatArray:
    """Return the standard deviation of the 25 points around each point, fewer at the ends."""
    bars = np.full(msd.size, np.nan)
    half = _NEIGHBOURS // 2
    for k in range(msd.size):
        near = msd[max(k - half, 0) : k + half + 1]
        near = near[np.isfinite(near)]
        if near.size > 1:
            bars[k] = near.std(ddof=1)
    return bars


def _nothing(data: MapData) -> Procedure:
    blank = np.full(data.t_ns.size, np.nan)
    return Procedure(None, None, None, None, None, None, MsdCurve(data.t_ns, blank, blank, blank))
