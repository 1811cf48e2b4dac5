"""Setting the nominal power: the attenuator, closed on the power meter."""

from collections.abc import Callable

from tplm_drivers import DeviceError, Instrument

POWER_TOLERANCE = 0.02
"""Relative deviation of the power meter's reading that is good enough."""
MAX_STEPS = 12
READINGS = 4


def set_power(
    instrument: Instrument,
    power_nw: float,
    wait: Callable[[float], None],
    wait_until: Callable[[Callable[[], bool], float, str, str], None],
) -> float:
    """Turn the attenuator until the power meter reads the nominal power.

    Parameters
    ----------
    instrument : Instrument
        With the laser emitting; the shutter may be closed.
    power_nw : float
        Nominal power, before the microscope.
    wait, wait_until : callable
        How to let time pass, open to an abort.

    Returns
    -------
    float
        The reading in the end, in nanowatts.

    Raises
    ------
    DeviceError
        If the limit forbids it, a device is missing, or the power cannot be reached.
    """
    limit_nw = instrument.profile.limits.laser_power_nw
    if power_nw > limit_nw:
        raise DeviceError(
            "laser",
            f"the plan asks for {power_nw:g} nW but the profile allows {limit_nw:g} nW at most",
        )
    attenuator, meter = instrument.attenuator, instrument.power_meter
    role = instrument.profile.attenuator
    if attenuator is None or meter is None or role is None:
        raise DeviceError(
            "attenuator",
            f"the plan sets the power to {power_nw:g} nW, which needs an attenuator and a power "
            "meter, and the profile lacks one",
            "leave excitation.power_nw out of the plan to measure with the power as it is",
        )
    reading_nw = 0.0
    for _ in range(MAX_STEPS):
        readings = []
        for _ in range(READINGS):
            readings.append(meter.power_nw())
            wait(0.02)
        reading_nw = sum(readings) / READINGS
        if abs(reading_nw - power_nw) <= POWER_TOLERANCE * power_nw:
            return reading_nw
        now = attenuator.transmission()
        # a reading near zero says little: open up by a fixed factor and look again
        ratio = power_nw / reading_nw if reading_nw > 0 else 10.0
        target = min(1.0, max(now, 1e-6) * min(max(ratio, 0.01), 100.0))
        if now >= 1.0 and target >= 1.0:
            break
        attenuator.set_transmission(target)
        wait_until(lambda: not attenuator.is_moving(), role.timeout_s, "attenuator", "turning")
    raise DeviceError(
        "attenuator",
        f"the power meter reads {reading_nw:.3g} nW where {power_nw:.3g} nW are asked for",
        "check the beam path in front of the meter and the full power of the laser",
    )
