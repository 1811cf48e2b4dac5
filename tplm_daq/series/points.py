"""What a point of a series asks of the instrument, as a scan plan and as an excitation."""

from pathlib import Path

from tplm_analysis import Excitation, excitation
from tplm_config import (
    InputError,
    InstrumentProfile,
    PlanEstimate,
    Point,
    ScanPlan,
    SeriesPlan,
    Temperature,
    check,
)

SETUP_S = 5.0
"""Time a point takes beside its scan: laser, power, wheel, card."""
RAMP_K_PER_MIN = 10.0
"""Assumed of the cryostat."""


def scan_of(plan: SeriesPlan, point: Point, profile: InstrumentProfile) -> ScanPlan:
    """The scan of one point.

    Raises
    ------
    InputError
        If a fluence is asked for and the repetition rate is not known.
    """
    asked, scan = point.settings, plan.scan
    light, seen = scan.excitation, scan.detection
    rate_hz = asked.repetition_rate_hz or light.repetition_rate_hz
    power_nw = asked.power_nw or light.power_nw
    if asked.fluence_uj_per_cm2 is not None:
        if rate_hz is None:
            raise InputError(
                point.label,
                "a fluence is asked for and nothing says at which repetition rate",
                "add repetition_rate_hz to [scan.excitation]",
            )
        at_1_nw = excitation_at(plan, profile, 1.0, rate_hz).fluence_uj_per_cm2
        power_nw = asked.fluence_uj_per_cm2 / at_1_nw
    light = light.model_copy(update={"power_nw": power_nw, "repetition_rate_hz": rate_hz})
    if asked.count_rate_hz is not None or asked.transmission is not None:
        wheel = {"count_rate_hz": asked.count_rate_hz, "transmission": asked.transmission}
        seen = seen.model_copy(update=wheel)
    warmth = scan.temperature
    if asked.temperature_k is not None:
        set_point = {"set_point_k": asked.temperature_k}
        warmth = warmth.model_copy(update=set_point) if warmth else Temperature(**set_point)
    return scan.model_copy(
        update={
            "time_limit_s": scan.time_limit_s if plan.share is None else plan.share.time_s,
            "excitation": light,
            "detection": seen,
            "temperature": warmth,
            "sample_xy_um": asked.sample_xy_um or scan.sample_xy_um,
        }
    )


def excitation_at(
    plan: SeriesPlan, profile: InstrumentProfile, power_nw: float, rate_hz: float
) -> Excitation:
    """Fluence and excitons at a nominal power, with the optics of a profile."""
    return excitation(
        power_nw,
        rate_hz,
        fwhm_nm=profile.optics.spot_fwhm_nm,
        edge_nm=plan.edge_nm,
        wavelength_nm=profile.laser.wavelength_nm,
        throughput=profile.optics.throughput_to_sample,
    )


def set_up_s(scan: ScanPlan, before_k: float | None) -> float:
    """Time from the end of one point to the first visit or search of the next.

    Parameters
    ----------
    scan : ScanPlan
        Of the point.
    before_k : float or None
        Set point before it; None if it is not known.
    """
    if scan.temperature is None:
        return SETUP_S
    way_k = 0.0 if before_k is None else abs(scan.temperature.set_point_k - before_k)
    return SETUP_S + 60 * way_k / RAMP_K_PER_MIN + scan.temperature.time_s


def light_of(scan: ScanPlan) -> float:
    """How much light reaches the detector, in proportion."""
    return (scan.excitation.power_nw or 1.0) * (scan.detection.transmission or 1.0)


def check_series(
    plan: SeriesPlan, profile: InstrumentProfile, source: str | Path = "series"
) -> list[tuple[Point, ScanPlan, PlanEstimate]]:
    """Check every point against an instrument before anything is opened.

    Returns
    -------
    list of tuple
        Each point with its scan and what that will cost.

    Raises
    ------
    InputError
        Naming the first point that cannot be measured.
    """
    found = []
    for point in plan.walk():
        named = f"{source}: point {point.index} ({point.label})"
        try:
            scan = scan_of(plan, point, profile)
            found.append((point, scan, check(scan, profile, named)))
        except InputError as error:
            if error.source == named:
                raise
            raise InputError(named, error.problem, error.allowed, error.key) from None
    return found
