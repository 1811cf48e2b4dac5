"""Thorlabs PM100D power meter with an S130C sensor."""

from tplm_config.devices import Pm100
from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.power_meter import PowerMeter
from tplm_simulators.wire import Lines, Served, WireServer

IDENTITY = "Thorlabs,PM100D,P0012345,2.4.0"
SENSOR = "S130C,140101101,20-Jan-2014,1,18,289"
"""Name, serial number, calibration, type, subtype, and flags: power, wavelength, thermometer."""
WAVELENGTHS_NM = (400.0, 1100.0)
MAX_POWER_W = 5.0e-3
OVER_RANGE = "9.900000E+37"


class Console:
    """What the console answers.

    Parameters
    ----------
    meter
        The virtual power meter.
    """

    def __init__(self, meter: PowerMeter) -> None:
        self._meter = meter
        self._errors: list[str] = []
        self.wavelength_nm = 635.0

    def answer(self, line: str) -> str | None:
        """Reply to one line."""
        try:
            power_w = self._meter.power_nw() * 1e-9
        except VirtualFault:
            return None  # switched off
        header, _, value = line.strip().upper().partition(" ")
        header = header.replace("SENSE:", "SENS:").replace("SENSOR:", "SENS:")
        match header:
            case "":
                return None
            case "*IDN?":
                return IDENTITY
            case "SYST:SENS:IDN?":
                return SENSOR
            case "SYST:ERR?":
                return self._errors.pop(0) if self._errors else '+0,"No error"'
            case "SENS:CORR:WAV?":
                lowest_nm, highest_nm = WAVELENGTHS_NM
                found_nm = {"MIN": lowest_nm, "MAX": highest_nm}.get(value, self.wavelength_nm)
                return f"{found_nm:.6E}"
            case "SENS:CORR:WAV":
                self._set_wavelength(value)
            case "MEAS:POW?":
                return OVER_RANGE if power_w > MAX_POWER_W else f"{power_w:.6E}"
            case "SENS:POW:UNIT" if value == "W":
                return None
            case "SENS:POW:RANG:AUTO" if value in ("0", "1", "ON", "OFF"):
                return None
            case _:
                self._errors.append('-113,"Undefined header"')
        return None

    def _set_wavelength(self, value: str) -> None:
        lowest_nm, highest_nm = WAVELENGTHS_NM
        try:
            wanted_nm = float(value)
        except ValueError:
            self._errors.append('-104,"Data type error"')
            return
        if lowest_nm <= wanted_nm <= highest_nm:
            self.wavelength_nm = wanted_nm
        else:
            self._errors.append('-222,"Data out of range"')


def serve(settings: Pm100, microscope: VirtualMicroscope, role: str) -> Served:
    """Start a power meter."""
    console = Console(microscope.power_meter)
    server = WireServer(lambda: Lines(console.answer, reply_end=b"\n"))
    resource = f"TCPIP0::127.0.0.1::{server.port}::SOCKET"
    changed = settings.model_copy(update={"resource": resource})
    return Served(changed, server.stop, (server,), library="@py")
