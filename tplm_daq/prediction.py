"""How well a plan will know D, from the Fisher information of the map it will take."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tplm_analysis import LiveMap, MapSoFar
from tplm_analysis.design import UM2_PER_NS, Information, Light, best_exposure
from tplm_analysis.synthetic import two_part_decay
from tplm_config import InputError, InstrumentProfile, PlanEstimate, ScanPlan, check
from tplm_daq.store import Scan, ScanMap, project

BACKGROUND_SHARE = 0.1
"""Background over signal in the whole map, where nobody knows better."""
COUNT_RATE_HZ, D_CM2_PER_S = 10_000.0, 0.01
"""What is assumed where nobody knows better."""
FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
SLICES = 60
"""Of the light that a prediction is made from."""
WORTH = 1.15
"""Least factor of time that is worth a word of advice."""
SURE = 0.1
"""A prediction that may be off by less is worth no further word."""
RANGES = (0.5, 0.7, 1.4, 2.0)
"""Factors on the range of a line that are tried."""
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limit:
    """What else could be changed, and how much shorter the scan would then be.

    Attributes
    ----------
    name : str
        ``background``, ``range``, ``time window`` or ``dwell``.
    gain : float
        Factor by which the counting time would fall at the same error of D.
    advice : str
        In a sentence.
    """

    name: str
    gain: float
    advice: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a scan will be, before anything is opened.

    Attributes
    ----------
    cost : PlanEstimate
        Visits, time, disk.
    expected_counts : float
        In the map, without background.
    d_stderr_cm2_per_s : float or None
        Predicted error of D; None if it cannot be predicted.
    count_rate_hz, d_cm2_per_s : float
        Count rate at the centre, and D, that are assumed.
    limits : tuple of Limit
        What limits the error beside the number of counts, worst first.
    goal_s : float or None
        Time that the goal of the plan needs, travel included; None without one.
    between_cm2_per_s : tuple of float or None
        The predicted error if D is one error lower or higher than it was measured; None where that
        makes little difference, or D is assumed.
    """

    cost: PlanEstimate
    expected_counts: float
    d_stderr_cm2_per_s: float | None
    count_rate_hz: float
    d_cm2_per_s: float
    limits: tuple[Limit, ...] = ()
    goal_s: float | None = None
    between_cm2_per_s: tuple[float, float] | None = None


def outlook(
    plan: ScanPlan,
    profile: InstrumentProfile,
    count_rate_hz: float = COUNT_RATE_HZ,
    d_cm2_per_s: float = D_CM2_PER_S,
    source: str | Path = "plan",
    light: Light | None = None,
) -> Outlook:
    """Check a plan against an instrument and foretell the scan.

    Parameters
    ----------
    plan, profile
        What is measured, and by which instrument.
    count_rate_hz : float
        Count rate with the detector at the centre.
    d_cm2_per_s : float
        Diffusivity assumed.
    source : str or Path
        Where the plan came from, for messages.
    light : Light, optional
        What is known of the light, such as by `light_of_scan`; brought to that count rate and D.

    Raises
    ------
    InputError
        With the first thing the instrument cannot do.
    """
    cost = check(plan, profile, source)
    seen = _light(plan, profile, count_rate_hz, d_cm2_per_s, light)
    error = stderr_of(seen, plan)
    goal_s = None
    if plan.goal is not None and error is not None:
        times = (error / plan.goal.stderr_cm2_per_s(d_cm2_per_s)) ** 2 if d_cm2_per_s else math.inf
        if plan.adaptive is not None:
            times /= _dwell_gain(seen, plan)
        goal_s = cost.duration_s * times
    return Outlook(
        cost=cost,
        expected_counts=count_rate_hz * weighted_exposure_s(plan, profile),
        d_stderr_cm2_per_s=error,
        count_rate_hz=count_rate_hz,
        d_cm2_per_s=d_cm2_per_s,
        limits=() if error is None else _limits(seen, plan, error),
        goal_s=goal_s,
        between_cm2_per_s=None if error is None else _between(seen, plan, error),
    )


def weighted_exposure_s(plan: ScanPlan, profile: InstrumentProfile) -> float:
    """Counting time of all places, each weighted with its brightness over that of the centre."""
    two_variances = 2 * (profile.optics.spot_fwhm_nm * 1e-3 / FWHM_PER_SIGMA) ** 2
    seen = sum(math.exp(-(p.x_um**2 + p.y_um**2) / two_variances) for p in plan.places())
    return plan.passes * plan.dwell_s * seen


def predict(
    plan: ScanPlan, profile: InstrumentProfile, count_rate_hz: float, d_cm2_per_s: float
) -> float | None:
    """Predict the standard error of D for a plan.

    The Cramér–Rao bound of a map with the plan's positions and exposures, the decay and
    background of S1 note 7, and a spot as wide as the profile's.

    Parameters
    ----------
    plan : ScanPlan
        The scan; of a raster, all rows are summed.
    profile : InstrumentProfile
        For the width of the spot.
    count_rate_hz : float
        Count rate with the detector at the centre.
    d_cm2_per_s : float
        Diffusivity assumed.

    Returns
    -------
    float or None
        In cm²/s; None if such a map would hold no information on D.
    """
    return stderr_of(_light(plan, profile, count_rate_hz, d_cm2_per_s, None), plan)


def light_of_scan(scan: Scan) -> Light:
    """The light of a scan, a short one is enough, to foretell other scans by.

    Raises
    ------
    InputError
        If its map does not know D yet.
    """
    found = scan.map()
    fit = LiveMap(found.x_um, found.t_ns).update(found.counts, found.exposure_s)
    if fit.d_cm2_per_s is None:
        why = "" if fit.reason is None else f": {fit.reason.message}"
        raise InputError(scan.path, f"its map does not know D{why}")
    return light_of(fit, found)


def light_of(fit: MapSoFar, found: ScanMap) -> Light:
    """The light of a map, per second, from the map and its fit.

    Parameters
    ----------
    fit : MapSoFar
        With a D.
    found : ScanMap
        What was fitted.
    """
    slices, exposure_s = fit.slices, found.exposure_s
    zero_ns = slices.time_zero_ns or 0.0
    after = found.t_ns >= zero_ns
    since_ns = found.t_ns[after] - zero_ns
    mean_s = float(exposure_s[exposure_s > 0].mean())
    light = Light(
        since_ns=since_ns,
        amplitude_hz_um=np.zeros(since_ns.size),
        background_hz=np.full(since_ns.size, (slices.background_per_bin or 0.0) / mean_s),
        center_um=slices.center_um or 0.0,
        sigma0_um=(slices.sigma0_nm or 0.0) / 1e3,
        d_cm2_per_s=max(fit.d_cm2_per_s or 0.0, 0.0),
        d_stderr_cm2_per_s=fit.d_stderr_cm2_per_s or 0.0,
    )
    # all places together: single slices of a short scan are too dim for fits of their own
    counts = found.counts[:, after].sum(axis=0) - light.background_hz * exposure_s.sum()
    variance = _variance(light)
    shape = np.exp(-0.5 * (found.x_um[:, None] - light.center_um) ** 2 / variance)
    seen_s = exposure_s @ (shape / np.sqrt(2 * np.pi * variance))
    return replace(light, amplitude_hz_um=counts / seen_s)


def count_rate_hz_of(light: Light) -> float:
    """Counts per second with the detector at the centre, background included."""
    at_centre = light.amplitude_hz_um / np.sqrt(2 * np.pi * _variance(light))
    return float((at_centre + light.background_hz).sum())


def stderr_of(light: Light, plan: ScanPlan) -> float | None:
    """Predicted standard error of D of a plan in a light, cm²/s; None where none can be known."""
    known, exposure_s = _map_of(light, plan)
    error = known.stderr(exposure_s)
    return error if math.isfinite(error) else None


def _between(light: Light, plan: ScanPlan, error: float) -> tuple[float, float] | None:
    """The predicted error at both ends of the error bar of D, where that matters."""
    if light.d_stderr_cm2_per_s == 0:
        return None
    ends = [error]
    for side in (-1, 1):
        d = max(light.d_cm2_per_s + side * light.d_stderr_cm2_per_s, 0.0)
        ends.append(stderr_of(replace(light, d_cm2_per_s=d), plan) or math.inf)
    low, high = min(ends), max(ends)
    return (low, high) if max(error / low, high / error) > 1 + SURE else None


def _map_of(light: Light, plan: ScanPlan, stretch: float = 1.0) -> tuple[Information, F64]:
    """Information of the map that a plan takes, and its exposures; its line may be stretched."""
    places = plan.place_count
    nothing = np.zeros((places, 1), dtype=np.int64)
    line = project(plan, nothing, np.full(places, plan.passes * plan.dwell_s), np.zeros(1))
    beside = np.array([p.y_um if line.axis == "x" else p.x_um for p in plan.places()])
    if places > line.x_um.size and plan.kind != "raster":  # the other line of a cross
        beside = beside[: line.x_um.size]
    # what lies beside the line is dimmer, less so when the spot has widened
    dimmer = np.exp(-0.5 * np.unique(beside)[:, None] ** 2 / _variance(light)).mean(axis=0)
    dimmed = replace(light, amplitude_hz_um=light.amplitude_hz_um * dimmer)
    middle = float(line.x_um.mean())
    return Information(
        dimmed.pooled(SLICES), middle + stretch * (line.x_um - middle)
    ), line.exposure_s


def _light(
    plan: ScanPlan,
    profile: InstrumentProfile,
    count_rate_hz: float,
    d_cm2_per_s: float,
    like: Light | None,
) -> Light:
    """The light a plan will see, at a count rate and with a D."""
    bin_ns = plan.card.time_bin_ps * 1e-3
    if like is None:
        since_ns = np.arange(0.5, plan.card.bins) * bin_ns
        like = Light(
            since_ns, two_part_decay(since_ns), np.zeros(since_ns.size), 0.0,
            profile.optics.spot_fwhm_nm * 1e-3 / FWHM_PER_SIGMA, d_cm2_per_s,
        )  # fmt: skip
        level = BACKGROUND_SHARE * _mean_signal(plan, like)
        like = replace(like, background_hz=np.full(since_ns.size, level))
        background = like.background_hz
    else:
        measured = math.isclose(d_cm2_per_s, like.d_cm2_per_s, rel_tol=1e-3)
        like = replace(
            like.until(plan.card.range_ns),
            d_cm2_per_s=d_cm2_per_s,
            d_stderr_cm2_per_s=like.d_stderr_cm2_per_s if measured else 0.0,
        )
        background = np.zeros(like.since_ns.size)
    at_centre = like.amplitude_hz_um / np.sqrt(2 * np.pi * _variance(like))
    # the meter shows the background too, which either grows with the light or is known already
    fixed_hz = float((like.background_hz - background).sum())
    factor = (count_rate_hz - fixed_hz) / max(float((at_centre + background).sum()), 1e-300)
    factor = max(factor, 0.0)
    return replace(
        like,
        amplitude_hz_um=factor * like.amplitude_hz_um,
        background_hz=like.background_hz + (factor - 1) * background,
    )


def _variance(light: Light) -> F64:
    return light.sigma0_um**2 + 2 * UM2_PER_NS * light.d_cm2_per_s * light.since_ns


def _mean_signal(plan: ScanPlan, light: Light) -> float:
    """Mean over the places and bins of a plan, counts per second."""
    places = plan.places()
    along = np.unique([round(p.x_um, 9) for p in places])
    if along.size == 1:
        along = np.unique([round(p.y_um, 9) for p in places])
    variance = _variance(light)
    profile = np.exp(-0.5 * along[:, None] ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    return float((light.amplitude_hz_um * profile).mean())


def _dwell_gain(light: Light, plan: ScanPlan) -> float:
    """Factor of counting time that placing the dwell would save."""
    known, exposure_s = _map_of(light, plan)
    total_s = float(exposure_s.sum())
    floor = 0.2 if plan.adaptive is None else plan.adaptive.floor
    best = best_exposure(known, np.zeros(exposure_s.size), total_s, floor)
    return known.variances(exposure_s)[0] / known.variances(best)[0]


def _limits(light: Light, plan: ScanPlan, error: float) -> tuple[Limit, ...]:
    """What would shorten the scan."""
    found = []
    dark = replace(light, background_hz=light.background_hz * 1e-3)
    without = stderr_of(dark, plan)
    if without is not None:
        gain = (error / without) ** 2
        words = f"without background it would take {gain:.1f} times less: look for stray light"
        found.append(Limit("background", gain, words))
    if plan.kind == "line":
        gains = {}
        for stretch in RANGES:
            known, exposure_s = _map_of(light, plan, stretch)
            gains[stretch] = (error / known.stderr(exposure_s)) ** 2
        stretch = max(gains, key=lambda each: gains[each])
        half_um = stretch * float(getattr(plan, "half_range_um", 0.0))
        words = f"over ±{half_um:.2g} µm it would take {gains[stretch]:.1f} times less"
        found.append(Limit("range", gains[stretch], words))
    end_ns = float(light.since_ns[-1])
    short = stderr_of(light.until(end_ns / 2), plan)
    # what half the window costs tells what twice the window would bring, as long as light lasts
    if short is not None:
        gain = max((short / error) ** 2 - 1, 0.0) / 2 + 1
        words = (
            f"the light goes on: half of the time window would need {(short / error) ** 2:.1f} "
            "times as long; a longer one, or a lower repetition rate, may help"
        )
        found.append(Limit("time window", gain, words))
    if plan.kind == "line" and plan.adaptive is None:
        gain = _dwell_gain(light, plan)
        words = (
            f"with the dwell where it tells most ([adaptive]) it would take {gain:.1f} times less"
        )
        found.append(Limit("dwell", gain, words))
    return tuple(sorted((f for f in found if f.gain >= WORTH), key=lambda f: -f.gain))


__all__ = [
    "COUNT_RATE_HZ",
    "D_CM2_PER_S",
    "Limit",
    "Outlook",
    "count_rate_hz_of",
    "light_of",
    "light_of_scan",
    "outlook",
    "predict",
    "stderr_of",
    "weighted_exposure_s",
]  # fmt: skip
