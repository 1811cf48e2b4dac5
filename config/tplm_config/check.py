"""Whether a plan can be carried out by an instrument, before anything is opened."""

from pathlib import Path

from tplm_config._model import Model, NonNegativeFloat
from tplm_config.errors import InputError
from tplm_config.leg import flight, legs
from tplm_config.plan import Centring, ScanPlan
from tplm_config.profile import InstrumentProfile

OVERHEAD_S = 0.02
"""Time a visit takes beside counting and travel: shutter, read-out, disk, polling."""
FOCUS_STEP_S = 0.3
"""Typical time of a step of the sample stage."""
ROW_BYTES = 96
FIXED_BYTES = 400_000


class PlanEstimate(Model):
    """What a plan will cost."""

    visits: int
    positions: int
    counting_s: NonNegativeFloat
    duration_s: NonNegativeFloat
    """Counting, stage travel, settling and a little overhead for each visit."""
    disk_bytes: int
    """Size while measuring; the finished file is compressed and several times smaller."""


def estimate(plan: ScanPlan, profile: InstrumentProfile) -> PlanEstimate:
    """Duration and disk of a plan, with no device in sight."""
    counting_s = travel_s = 0.0
    here = profile.stage_position_um(0.0, 0.0)
    for leg in legs(plan, plan.visits()):
        counting_s += sum(visit.dwell_s for visit in leg)
        there = end = profile.stage_position_um(leg[0].x_um, leg[0].y_um)
        if len(leg) > 1:
            flown = flight(leg, profile)
            there, end = flown.start_um, flown.end_um
            beside_um = abs(end[flown.axis] - there[flown.axis]) - len(leg) * flown.step_um
            travel_s += beside_um / flown.speed_um_per_s
        travel_s += profile.travel_s(max(abs(a - b) for a, b in zip(here, there, strict=True)))
        here = end
    count = plan.visit_count
    centring_s = _centring_s(plan, profile)
    return PlanEstimate(
        visits=count,
        positions=plan.place_count,
        counting_s=counting_s,
        duration_s=counting_s + travel_s + centring_s + count * OVERHEAD_S,
        disk_bytes=count * (plan.card.bins * 4 + ROW_BYTES) + FIXED_BYTES,
    )


def check(plan: ScanPlan, profile: InstrumentProfile, source: str | Path = "plan") -> PlanEstimate:
    """Check a plan against a profile's devices, travel and limits.

    Parameters
    ----------
    plan : ScanPlan
        What is to be measured.
    profile : InstrumentProfile
        By which instrument.
    source : str or Path
        Where the plan came from, for messages.

    Returns
    -------
    PlanEstimate
        What the plan will cost.

    Raises
    ------
    InputError
        With the first thing that cannot be done.
    """
    _check_travel(plan, profile, source)
    power_nw = plan.excitation.power_nw
    if power_nw is not None:
        limit = profile.limits.laser_power_nw
        if power_nw > limit:
            raise InputError(
                source,
                f"found {power_nw:g}",
                f"the profile '{profile.name}' allows at most {limit:g} nW",
                "excitation.power_nw",
            )
        if profile.attenuator is None or profile.power_meter is None:
            raise InputError(
                source,
                f"found {power_nw:g}",
                f"the profile '{profile.name}' has no attenuator with power meter to set a power; "
                "leave the key out to measure with the power as it is",
                "excitation.power_nw",
            )
    rate_hz = plan.excitation.repetition_rate_hz
    end_ns = plan.card.offset_ns + plan.card.range_ns
    if rate_hz is not None and end_ns > 1.001e9 / rate_hz:
        raise InputError(
            source,
            f"the time range ends {end_ns:g} ns after a pulse",
            f"at {rate_hz / 1e6:g} MHz the next pulse comes after {1e9 / rate_hz:g} ns",
            "card.range_ns",
        )
    if plan.temperature is not None:
        if profile.temperature is None:
            raise InputError(
                source,
                "the plan sets a temperature",
                f"the profile '{profile.name}' has no temperature controller; leave it out",
                "temperature",
            )
        low, high = profile.limits.temperature_k
        if not low <= plan.temperature.set_point_k <= high:
            raise InputError(
                source,
                f"found {plan.temperature.set_point_k:g}",
                f"the profile '{profile.name}' allows {low:g} to {high:g} K",
                "temperature.set_point_k",
            )
    if plan.detection.is_set and profile.detection_attenuator is None:
        raise InputError(
            source,
            "the plan turns the wheel before the detector",
            f"the profile '{profile.name}' has no detection_attenuator; leave [detection] out",
            "detection",
        )
    if plan.background is not None and profile.shutter is None:
        raise InputError(
            source,
            "a background measurement needs a shutter",
            f"the profile '{profile.name}' has none; leave [background] out",
            "background",
        )
    if plan.irf is not None:
        if profile.sample_stage is None:
            raise InputError(
                source,
                "the IRF measurement moves the sample stage",
                f"the profile '{profile.name}' has none; leave [irf] out",
                "irf",
            )
        low, high = profile.sample_stage.travel_um
        for key, value in (("x", plan.irf.sample_x_um), ("y", plan.irf.sample_y_um)):
            if not low <= value <= high:
                raise InputError(
                    source,
                    f"found {value:g}",
                    f"the sample stage travels from {low:g} to {high:g} µm",
                    f"irf.sample_{key}_um",
                )
    if plan.sample_xy_um is not None:
        _check_spot(plan.sample_xy_um, profile, source)
    if plan.fly is not None:
        _check_flight(plan, profile, source)
    if plan.centring is not None:
        _check_centring(plan.centring, profile, source)
    _check_conditions(plan, profile, source)
    return estimate(plan, profile)


def _check_travel(plan: ScanPlan, profile: InstrumentProfile, source: str | Path) -> None:
    for visit in plan.visits():
        stage = profile.stage_position_um(visit.x_um, visit.y_um)
        for name, place, value in zip("xy", (visit.x_um, visit.y_um), stage, strict=True):
            _check_reading(profile, source, name, value, f"the place {name} = {place:g} µm")


def _check_reading(
    profile: InstrumentProfile, source: str | Path, name: str, value_um: float, what: str
) -> None:
    """Refuse a reading beyond the travel of the detector stage's axis."""
    low, high = getattr(profile.detector_stage, name).travel_um
    if not low <= value_um <= high:
        raise InputError(
            source,
            f"{what} needs the detector stage at {value_um:.0f} µm",
            f"its {name} axis travels from {low:g} to {high:g} µm "
            f"(profile '{profile.name}', magnification {profile.optics.magnification:g})",
        )


def _check_spot(
    spot_um: tuple[float, float], profile: InstrumentProfile, source: str | Path
) -> None:
    """Refuse a spot on the sample that its stage does not reach."""
    key = "sample_xy_um"
    if profile.sample_stage is None:
        words = f"the profile '{profile.name}' has none; leave it out"
        raise InputError(source, "the sample stage has to move there", words, key)
    low, high = profile.sample_stage.travel_um
    if not all(low <= value <= high for value in spot_um):
        words = f"the sample stage travels from {low:g} to {high:g} µm"
        raise InputError(source, f"found [{spot_um[0]:g}, {spot_um[1]:g}]", words, key)


def _check_flight(plan: ScanPlan, profile: InstrumentProfile, source: str | Path) -> None:
    """Refuse a flight that is too fast, or whose run-up the stage has no room for."""
    limit = profile.detector_stage.speed_um_per_s
    for leg in legs(plan, plan.visits()):
        if len(leg) == 1:
            continue
        flown = flight(leg, profile)
        if flown.speed_um_per_s > limit:
            raise InputError(
                source,
                f"a step every {leg[0].dwell_s:g} s is {flown.speed_um_per_s:.0f} µm/s of the "
                "detector stage",
                f"the profile '{profile.name}' allows {limit:g} µm/s; use a longer dwell",
                "dwell_s",
            )
        for name, readings in zip(
            "xy", zip(flown.start_um, flown.end_um, strict=True), strict=True
        ):
            for value in readings:
                _check_reading(profile, source, name, value, "the run-up of a flown line")


def _check_centring(centring: Centring, profile: InstrumentProfile, source: str | Path) -> None:
    """Refuse a search beyond the travel of the stages."""
    reach = centring.half_range_um
    for sign in (-1, 1):
        readings = profile.stage_position_um(sign * reach, sign * reach)
        for name, value in zip("xy", readings, strict=True):
            what = f"centring.half_range_um = {reach:g}"
            _check_reading(profile, source, name, value, what)
    if centring.focus is not None and profile.sample_stage is None:
        raise InputError(
            source,
            "refocusing moves the sample stage",
            f"the profile '{profile.name}' has none; leave [centring.focus] out",
            "centring.focus",
        )


def _check_conditions(plan: ScanPlan, profile: InstrumentProfile, source: str | Path) -> None:
    """Refuse a condition that nothing can measure."""
    asked = plan.conditions
    for key, condition, role in (
        ("temperature", asked.temperature, "temperature"),
        ("power", asked.power, "power_meter"),
    ):
        if condition is not None and getattr(profile, role) is None:
            raise InputError(
                source,
                "the condition has to be measured",
                f"the profile '{profile.name}' has no [{role}]; leave it out",
                f"conditions.{key}",
            )


def _centring_s(plan: ScanPlan, profile: InstrumentProfile) -> float:
    """Time for finding the peak: a coarse and a fine line along each axis."""
    centring = plan.centring
    if centring is None:
        return 0.0
    step_um = 2 * centring.half_range_um / centring.positions * profile.optics.magnification
    once_s = 4 * centring.positions * (centring.dwell_s + profile.travel_s(step_um) + OVERHEAD_S)
    if centring.focus is not None:
        a_blur_s = once_s / 2 if centring.focus.by == "width" else centring.dwell_s
        once_s += once_s / 2 + 2 * centring.focus.steps * (a_blur_s + FOCUS_STEP_S)
    times = 1 if centring.every_visits is None else 1 + plan.visit_count // centring.every_visits
    return times * once_s
