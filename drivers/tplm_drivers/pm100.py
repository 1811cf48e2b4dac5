"""Thorlabs PM100 power meters (PM100D, PM100A, PM100USB, PM101, …), through PyMeasure."""

import math

from pymeasure.instruments.thorlabs import ThorlabsPM100USB

from tplm_config import InstrumentProfile
from tplm_config.devices import Pm100 as Settings
from tplm_drivers._visa import VisaLine
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity, RoleName

OVER_RANGE_W = 9.0e37
"""SCPI's way to say infinity is 9.9E+37."""
WAVELENGTH_TOLERANCE_NM = 1.0


class Pm100:
    """The power meter, set to the wavelength of the laser.

    Parameters
    ----------
    role
        Which role it plays.
    settings
        Of the profile.
    wavelength_nm
        Of the laser: the sensor's sensitivity depends on it.
    library
        Which VISA; None takes the computer's own.
    """

    def __init__(
        self, role: RoleName, settings: Settings, wavelength_nm: float, library: str | None
    ) -> None:
        self.role = role
        self.line = VisaLine(
            role,
            settings.resource,
            settings.timeout_s,
            ThorlabsPM100USB,
            library,
            reopens=True,
            advice="check that a sensor is plugged in",
        )
        try:
            self._set_up(wavelength_nm)
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Ask the console; the sensor belongs to its model."""
        with self.line.exchange() as meter:
            _, model, serial_number, firmware = (part.strip() for part in meter.id.split(","))
            sensor = f"{meter.sensor_name} {meter.sensor_sn:.0f}".strip()
        return Identity(f"Thorlabs {model} with sensor {sensor}", serial_number, firmware)

    def close(self) -> None:
        """Let go of the resource."""
        self.line.close()

    def power_nw(self) -> float:
        """One reading."""
        with self.line.exchange() as meter:
            power_w = _number(meter.power)
        if not math.isfinite(power_w) or abs(power_w) >= OVER_RANGE_W:
            raise DeviceError(
                self.role,
                "is over range: more light than its sensor can measure",
                "turn the laser down or put a filter before the sensor, which this much light "
                "may damage",
            )
        return power_w * 1e9

    def _set_up(self, wavelength_nm: float) -> None:
        with self.line.exchange() as meter:
            sensor, measures_power = meter.sensor_name, meter.is_power_sensor
            if measures_power:
                meter.write("SENS:POW:UNIT W")
                meter.write("SENS:POW:RANG:AUTO 1")
            found_nm = wavelength_nm
            if meter.wavelength_settable:
                meter.wavelength = wavelength_nm  # clipped by PyMeasure to what the sensor can
                found_nm = _number(meter.wavelength)
        if not measures_power:
            raise DeviceError(
                self.role, f"the sensor {sensor} does not measure power", "plug in a power sensor"
            )
        if abs(found_nm - wavelength_nm) > WAVELENGTH_TOLERANCE_NM:
            raise DeviceError(
                self.role,
                f"the sensor {sensor} cannot be set to {wavelength_nm:g} nm; it is at "
                f"{found_nm:g} nm",
                "plug in a sensor for the wavelength of the laser",
            )


def _number(value: object) -> float:
    if not isinstance(value, float):
        raise ValueError(f"unexpected reply {value!r}")
    return value


def open_device(
    *,
    role: RoleName,
    settings: Settings,
    profile: InstrumentProfile,
    clock: Clock,
    library: str | None,
) -> Pm100:
    """Open the power meter."""
    return Pm100(role, settings, profile.laser.wavelength_nm, library)
