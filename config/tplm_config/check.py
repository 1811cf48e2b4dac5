"""Whether a plan can be carried out by an instrument, before anything is opened."""

from pathlib import Path

from tplm_config._model import Model, NonNegativeFloat
from tplm_config.errors import InputError
from tplm_config.plan import ScanPlan
from tplm_config.profile import InstrumentProfile
from tplm_config.visit import Place

OVERHEAD_S = 0.02
"""Time a visit takes beside counting and travel: shutter, read-out, disk, polling."""
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
    here = Place(0.0, 0.0)
    for visit in plan.visits():
        counting_s += visit.dwell_s
        step_um = max(abs(visit.x_um - here.x_um), abs(visit.y_um - here.y_um))
        travel_s += profile.travel_s(step_um * profile.optics.magnification)
        here = Place(visit.x_um, visit.y_um)
    count = plan.visit_count
    return PlanEstimate(
        visits=count,
        positions=plan.place_count,
        counting_s=counting_s,
        duration_s=counting_s + travel_s + count * OVERHEAD_S,
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
    if plan.card.mode == "t3":
        raise InputError(
            source,
            'found "t3"',
            'no card driver of this version streams photons; use "histogram"',
            "card.mode",
        )
    return estimate(plan, profile)


def _check_travel(plan: ScanPlan, profile: InstrumentProfile, source: str | Path) -> None:
    role = profile.detector_stage
    for visit in plan.visits():
        stage = profile.stage_position_um(visit.x_um, visit.y_um)
        for name, axis, value in zip("xy", (role.x, role.y), stage, strict=True):
            low, high = axis.travel_um
            if not low <= value <= high:
                place = visit.x_um if name == "x" else visit.y_um
                raise InputError(
                    source,
                    f"the place {name} = {place:g} µm needs the detector stage at {value:.0f} µm",
                    f"its {name} axis travels from {low:g} to {high:g} µm "
                    f"(profile '{profile.name}', magnification {profile.optics.magnification:g})",
                )
