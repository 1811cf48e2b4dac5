"""Lake Shore 335 temperature controller, through Lake Shore's own library."""

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import serial
from lakeshore import Model335
from lakeshore.generic_instrument import InstrumentException
from lakeshore.model_335 import Model335InputReadingStatus

from tplm_config import InstrumentProfile
from tplm_config.devices import LakeShore335
from tplm_drivers._link import TcpLink, line_length
from tplm_drivers._temperature import check_set_point
from tplm_drivers._translate import told
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity

_PORT_ERRORS: tuple[type[Exception], ...] = (serial.SerialException,)
if sys.platform != "win32":
    import termios

    # pyserial lets this one out when a port cannot be set up
    _PORT_ERRORS += (termios.error,)

_HEATER_FAULTS = {1: "an open load", 2: "a short circuit"}


def open_device(
    *,
    role: str,
    settings: LakeShore335,
    profile: InstrumentProfile,
    clock: Clock,
    library: Any = None,
) -> "LakeShore335Controller":
    """Connect, check that the output controls the sensor in kelvin, and set the PID if given."""
    return LakeShore335Controller(role, settings, clock)


class LakeShore335Controller:
    """A Lake Shore 335 as `TemperatureController`.

    The heater is left as it is until a set point is given. `set_point_k` follows the ramp: while
    the set point is on its way, that is what the instrument reports.

    Parameters
    ----------
    role
        Which role it plays.
    settings
        Address and control settings.
    clock
        For pauses between attempts to reconnect.
    """

    def __init__(self, role: str, settings: LakeShore335, clock: Clock) -> None:
        self._role = role
        self._settings = settings
        self._heating = False
        self._connection = _Connection(_link(settings, clock))
        try:
            with self._told():
                # Its own TCP code never returns once the other side has closed the connection,
                # and takes a late reply for the answer to the next question; hence ours.
                self.library = Model335(settings.baud, connection=self._connection)
                self._check_control()
                heater_range = self.library.get_heater_range(settings.output)
                self._heating = heater_range != self.library.HeaterRange.OFF
                if settings.pid is not None:
                    self.library.set_heater_pid(settings.output, *settings.pid)
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Ask for model, serial number and firmware."""
        with self._told():
            reply = self.library.query("*IDN?", check_errors=False)
            maker, model, serial_number, firmware = reply.split(",")
        return Identity(f"{maker} {model}", serial_number.split("/")[0], firmware)

    def close(self) -> None:
        """Let go; the controller goes on with the set point it has."""
        self._connection.link.close()

    def temperature_k(self) -> float:
        """Temperature of the sensor; an error if sensor or heater report a fault."""
        sensor, output = self._settings.sensor, self._settings.output
        with self._told():
            reply = self.library.query(
                f"KRDG? {sensor};RDGST? {sensor};HTRST? {output};RANGE? {output}"
            )
            kelvin, *states = reply.split(";")
            temperature_k = float(kelvin)
            status, heater_fault, heater_range = map(int, states)
        if status:
            faults = vars(Model335InputReadingStatus.from_integer(status))
            found = [name.replace("_", " ") for name, is_set in faults.items() if is_set]
            raise DeviceError(
                self._role,
                f"the sensor at input {sensor} gives no valid reading "
                f"({', '.join(found) or f'status {status}'})",
                "check the sensor, its wiring and its curve",
            )
        if heater_fault:
            kind = _HEATER_FAULTS.get(heater_fault, f"error {heater_fault}")
            raise DeviceError(
                self._role,
                f"heater output {output} reports {kind} and has switched itself off",
                "check the heater and its wiring, then give the set point again",
            )
        if heater_range == 0 and self._heating:
            raise DeviceError(
                self._role,
                f"heater output {output} is off, although it was on",
                "someone or a fault switched it off: find out why, then give the set point again",
            )
        return temperature_k

    def set_point_k(self) -> float:
        """The set point as it is now, somewhere on its ramp or at its end."""
        with self._told():
            return float(self.library.get_control_setpoint(self._settings.output))

    def set_set_point_k(self, set_point_k: float) -> None:
        """Start the ramp to a new set point, with the heater on."""
        at, device = self._settings, self.library
        check_set_point(self._role, set_point_k, at.limits_k)
        with self._told(f"{set_point_k:g} K may be beyond what its sensor curve allows"):
            if device.get_heater_range(at.output) == device.HeaterRange.OFF:
                # A ramp begins at the old set point, which may be far from the sample by now.
                device.set_setpoint_ramp_parameter(at.output, False, at.ramp_k_per_min)
                device.set_control_setpoint(at.output, device.get_kelvin_reading(at.sensor))
            device.set_setpoint_ramp_parameter(at.output, at.ramp_k_per_min > 0, at.ramp_k_per_min)
            device.set_control_setpoint(at.output, set_point_k)
            device.set_heater_range(at.output, device.HeaterRange[at.heater_range.upper()])
        self._heating = True

    def _told(self, advice: str = "") -> AbstractContextManager[None]:
        return told(
            self._role,
            InstrumentException,
            *_PORT_ERRORS,
            advice=advice,
            timeout_s=self._settings.timeout_s,
            address=f"the Lake Shore 335 at {self._settings.port}",
        )

    def _check_control(self) -> None:
        sensor, output = self._settings.sensor, self._settings.output
        device = self.library
        units = device.get_input_sensor(sensor).units
        if units != device.InputSensorUnits.KELVIN:
            raise DeviceError(
                self._role,
                f"input {sensor} is set to {units.name.lower()}, so set points are not in kelvin",
                "set its preferred units to kelvin at the front panel",
            )
        control = device.get_heater_output_mode(output)
        closed = (device.HeaterOutputMode.CLOSED_LOOP, device.HeaterOutputMode.ZONE)
        if control["mode"] not in closed or control["channel"].name != f"CHANNEL_{sensor}":
            mode = control["mode"].name.lower().replace("_", " ")
            channel = control["channel"].name.lower().replace("_", " ")
            raise DeviceError(
                self._role,
                f"output {output} is set to {mode} with {channel}, so it does not control "
                f"sensor {sensor}",
                f"set output {output} to closed loop PID with input {sensor} at the front panel",
            )


class _SerialLink:
    """The USB port of the instrument, with the interface of `TcpLink`."""

    def __init__(self, port: str, baud: int, timeout_s: float) -> None:
        self._name, self._baud, self._timeout_s = port, baud, timeout_s
        self._port: serial.Serial | None = None
        self._lock = threading.Lock()

    def ask(self, question: bytes, length: Callable[[bytes], int | None]) -> bytes:
        """Send a question and give the whole reply, which ends with a new line."""
        with self._lock:
            try:
                port = self._opened()
                port.write(question)
                reply = bytes(port.read_until(b"\r\n"))
                if not reply:
                    raise TimeoutError("no reply")
                if length(reply) is None:
                    raise ValueError(f"the reply broke off after {reply[:60]!r}")
            except serial.SerialException as error:
                self.close()
                raise ConnectionError(str(error)) from error
            except BaseException:
                self.close()
                raise
            return reply

    def close(self) -> None:
        """Close the port; the next question opens it again."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _opened(self) -> serial.Serial:
        if self._port is None:
            self._port = serial.Serial(
                self._name, self._baud, serial.SEVENBITS, serial.PARITY_ODD, serial.STOPBITS_ONE,
                timeout=self._timeout_s, write_timeout=self._timeout_s,
            )  # fmt: skip
            self._port.reset_input_buffer()
        return self._port


class _Connection:
    """What the library asks of a connection that is not its own."""

    def __init__(self, link: TcpLink | _SerialLink) -> None:
        self.link = link

    def write(self, command: str) -> None:
        """Never called: the library asks for the error register with each command."""
        raise NotImplementedError(command)

    def query(self, question: str) -> str:
        """Send a line and give the reply without its end."""
        return self.link.ask(question.encode("ascii") + b"\n", line_length).decode("ascii").rstrip()

    def clear(self) -> None:
        """Start afresh."""
        self.link.close()


def _link(settings: LakeShore335, clock: Clock) -> TcpLink | _SerialLink:
    if not settings.port.startswith("tcp://"):
        return _SerialLink(settings.port, settings.baud, settings.timeout_s)
    place = urlsplit(settings.port)
    return TcpLink(place.hostname or "", place.port or 7777, settings.timeout_s, clock.wait)
