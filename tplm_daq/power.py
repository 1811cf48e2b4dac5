"""Setting the light: the attenuators, closed on the power meter or on the count rate."""

from collections.abc import Callable

from tplm_config import Detection
from tplm_drivers import DeviceError, Instrument
from tplm_drivers.roles import Attenuator

POWER_TOLERANCE = 0.02
"""Relative deviation of the power meter's reading that is good enough."""
MAX_STEPS = 12
READINGS = 4
RATE_TOLERANCE = 0.05
"""Relative deviation of the count rate that is good enough."""
RATE_READINGS = 5
RATE_GATE_S = 0.2
"""Rate meters integrate for 100 ms; one gate may still hold the old light."""

Wait = Callable[[float], None]
WaitUntil = Callable[[Callable[[], bool], float, str, str], None]


def set_power(
    instrument: Instrument,
    power_nw: float,
    wait: Wait,
    wait_until: WaitUntil,
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

    def read() -> float:
        readings = []
        for _ in range(READINGS):
            readings.append(meter.power_nw())
            wait(0.02)
        return sum(readings) / READINGS

    turning = _Turning(attenuator, role.timeout_s, "attenuator", wait_until)
    reading_nw, reached = turning.until(read, power_nw, POWER_TOLERANCE)
    if reached:
        return reading_nw
    raise DeviceError(
        "attenuator",
        f"the power meter reads {reading_nw:.3g} nW where {power_nw:.3g} nW are asked for",
        "check the beam path in front of the meter and the full power of the laser",
    )


def set_detection(
    instrument: Instrument,
    detection: Detection,
    wait: Wait,
    wait_until: WaitUntil,
) -> None:
    """Turn the wheel before the detector to a transmission, or until a count rate is met.

    Parameters
    ----------
    instrument : Instrument
        For a count rate: with light on the sample and the detector in place.
    detection : Detection
        What the plan asks for.
    wait, wait_until : callable
        How to let time pass, open to an abort.

    Raises
    ------
    DeviceError
        If there is no such wheel, or the count rate cannot be met within 5 %.
    """
    wheel, role = instrument.detection_attenuator, instrument.profile.detection_attenuator
    if wheel is None or role is None:
        raise DeviceError("detection_attenuator", "the plan needs it and the profile has none")
    turning = _Turning(wheel, role.timeout_s, "detection_attenuator", wait_until)
    if detection.transmission is not None:
        turning.to(detection.transmission)
    if detection.count_rate_hz is None:
        return

    def read() -> float:
        rates = []
        for _ in range(RATE_READINGS):
            wait(RATE_GATE_S)
            rates.append(instrument.card.count_rate_hz())
        return sum(rates) / RATE_READINGS

    rate_hz, reached = turning.until(read, detection.count_rate_hz, RATE_TOLERANCE)
    if not reached:
        raise DeviceError(
            "detection_attenuator",
            f"the detector counts {rate_hz:.3g}/s where {detection.count_rate_hz:.3g}/s are asked "
            "for, with the wheel as far as it goes",
            "change the laser power, or ask for another count rate",
        )


class _Turning:
    """Turns a wheel in steps until something reads what it should."""

    def __init__(
        self, wheel: Attenuator, timeout_s: float, name: str, wait_until: WaitUntil
    ) -> None:
        self._wheel = wheel
        self._timeout_s = timeout_s
        self._name = name
        self._wait_until = wait_until

    def to(self, transmission: float) -> None:
        """Turn to a transmission and wait until it is there."""
        self._wheel.set_transmission(transmission)
        self._wait_until(
            lambda: not self._wheel.is_moving(), self._timeout_s, self._name, "turning"
        )

    def until(
        self, read: Callable[[], float], wanted: float, tolerance: float
    ) -> tuple[float, bool]:
        """Turn until a reading is within a relative tolerance; gives the reading and whether."""
        reading = 0.0
        for _ in range(MAX_STEPS):
            reading = read()
            if abs(reading - wanted) <= tolerance * wanted:
                return reading, True
            now = self._wheel.transmission()
            # a reading near zero says little: open up by a fixed factor and look again
            ratio = wanted / reading if reading > 0 else 10.0
            target = min(1.0, max(now, 1e-6) * min(max(ratio, 0.01), 100.0))
            if now >= 1.0 and target >= 1.0:
                break
            self.to(target)
        return reading, False
