"""A Lake Shore 335 on its wire: lines of commands joined by semicolons."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.motion import Travel
from tplm_simulators.wire import Lines, Served, WireServer

_EXECUTION_ERROR, _COMMAND_ERROR = 16, 32
_OPEN_LOAD = 1
_INVALID_READING = 1
_AT_ONCE_K_PER_MIN = 6.0e4


def serve(settings: Any, microscope: VirtualMicroscope, role: str) -> Served:
    """Serve one instrument whose chosen output and sensor are those of the cryostat."""
    instrument = LakeShore335(microscope, settings.sensor, settings.output)
    server = WireServer(lambda: Lines(instrument.answer))
    return Served(
        settings.model_copy(update={"port": f"tcp://{server.address}"}), server.stop, (server,)
    )


@dataclass
class _Output:
    """One heater output; the one without a load has settings only."""

    sensor: int
    """0: none, 1: A, 2: B."""
    set_point: Travel
    mode: int = 1
    range: int = 3
    ramp_on: bool = True
    ramp_k_per_min: float = 10.0
    pid: list[float] = field(default_factory=lambda: [50.0, 20.0, 0.0])
    fault: int = 0
    """Kept until it is asked for, as in the instrument."""


class LakeShore335:
    """The instrument behind every connection.

    Parameters
    ----------
    microscope
        Has the cryostat.
    sensor
        The input, ``A`` or ``B``, at which the cryostat's sensor is; there is none at the other.
    output
        The output, 1 or 2, at which its heater is.
    """

    def __init__(self, microscope: VirtualMicroscope, sensor: str, output: int) -> None:
        self._cryostat = microscope.thermostat
        self._clock = microscope.clock
        self._sensor = sensor
        self._output = output
        self._events = 0
        self._types = {name: [1, 1, 0, 0, 1] for name in "AB"}
        if sensor == "A":
            self._types["B"][0] = 0
        else:
            self._types["A"][0] = 0
        here = Travel.rest(self._cryostat.set_point_k)
        self._outputs = {
            number: _Output("AB".index(sensor) + 1 if number == output else 0, here)
            for number in (1, 2)
        }
        self._outputs[3 - output].mode = self._outputs[3 - output].range = 0
        self._outputs[output].ramp_k_per_min = self._cryostat.ramp_k_per_min
        self._commands: dict[str, Callable[[list[str]], str | None]] = {
            "*IDN?": lambda _: "LSCI,MODEL335,335A1B2/#######,1.3",
            "*OPC?": lambda _: "1",
            "*CLS": self._clear,
            "*ESR?": self._read_events,
            "EMUL": lambda _: None,
            "KRDG?": lambda at: f"{self._kelvin(at[0]):+08.3f}",
            "RDGST?": lambda at: f"{self._reading_status(at[0]):03d}",
            "INTYPE?": lambda at: ",".join(map(str, self._types[at[0]])),
            "INTYPE": self._set_type,
            "OUTMODE?": lambda at: f"{self._out(at).mode},{self._out(at).sensor},0",
            "OUTMODE": self._set_mode,
            "HTRSET?": lambda _: "0,1,0,1.732,2",
            "HTRST?": self._read_heater_fault,
            "RANGE?": lambda at: str(self._out(at).range),
            "RANGE": self._set_range,
            "RAMP?": lambda at: f"{self._out(at).ramp_on:d},{self._out(at).ramp_k_per_min:+.4f}",
            "RAMP": self._set_ramp,
            "RAMPST?": lambda at: f"{self._out(at).set_point.is_moving_at(self._clock.now_s()):d}",
            "SETP?": lambda at: f"{self._out(at).set_point.place_at(self._clock.now_s()):+08.3f}",
            "SETP": self._set_set_point,
            "PID?": lambda at: ",".join(f"{value:+07.1f}" for value in self._out(at).pid),
            "PID": self._set_pid,
        }

    def answer(self, line: str) -> str | None:
        """Carry out the commands of a line; its replies come in one line."""
        try:
            works = self._cryostat.heater_works
        except VirtualFault:
            return None  # unplugged
        self._watch_heater(works)
        replies = [self._one(command.strip().lstrip(":")) for command in line.split(";")]
        return ";".join(reply for reply in replies if reply is not None) or None

    def _one(self, command: str) -> str | None:
        if not command:
            return None
        name, _, arguments = command.partition(" ")
        try:
            action = self._commands[name.upper()]
        except KeyError:
            self._events |= _COMMAND_ERROR
            return None
        try:
            return action([argument.strip() for argument in arguments.split(",")])
        except (VirtualFault, ValueError, LookupError):
            self._events |= _EXECUTION_ERROR
            return None

    def _out(self, arguments: list[str]) -> _Output:
        return self._outputs[int(arguments[0])]

    def _clear(self, _: list[str]) -> None:
        self._events = 0

    def _read_events(self, _: list[str]) -> str:
        events, self._events = self._events, 0
        return f"{events:03d}"

    def _reading_status(self, sensor: str) -> int:
        return 0 if self._types[sensor][0] else _INVALID_READING

    def _kelvin(self, sensor: str) -> float:
        return 0.0 if self._reading_status(sensor) else self._cryostat.temperature_k()

    def _set_type(self, arguments: list[str]) -> None:
        self._types[arguments[0]] = [int(argument) for argument in arguments[1:6]]

    def _set_mode(self, arguments: list[str]) -> None:
        output = self._out(arguments)
        output.mode, output.sensor = int(arguments[1]), int(arguments[2])

    def _set_pid(self, arguments: list[str]) -> None:
        self._out(arguments).pid = [float(argument) for argument in arguments[1:4]]

    def _set_ramp(self, arguments: list[str]) -> None:
        on, rate = bool(int(arguments[1])), float(arguments[2])
        if rate != 0 and not 0.1 <= rate <= 100:
            raise ValueError(rate)
        output = self._out(arguments)
        output.ramp_on, output.ramp_k_per_min = on, rate

    def _set_set_point(self, arguments: list[str]) -> None:
        output, kelvin = self._out(arguments), float(arguments[1])
        lowest, highest = self._cryostat.limits_k
        if not lowest <= kelvin <= highest:
            raise ValueError(kelvin)
        now_s = self._clock.now_s()
        if output.ramp_on and output.ramp_k_per_min > 0:
            rate = output.ramp_k_per_min
            start_k = output.set_point.place_at(now_s)
            output.set_point = Travel(start_k, kelvin, now_s, rate / 60)
        else:
            rate = _AT_ONCE_K_PER_MIN
            output.set_point = Travel.rest(kelvin)
        self._heat(rate)

    def _set_range(self, arguments: list[str]) -> None:
        output, range_ = self._out(arguments), int(arguments[1])
        if range_ not in range(4):
            raise ValueError(range_)
        output.range = range_
        self._watch_heater(self._cryostat.heater_works)
        self._heat(self._cryostat.ramp_k_per_min)

    def _heat(self, rate_k_per_min: float) -> None:
        # Without current the sample goes to the base temperature; the virtual cryostat knows
        # no heater that is merely off, so it is given that as its set point.
        output = self._outputs[self._output]
        target_k = output.set_point.target if output.range else self._cryostat.limits_k[0]
        if target_k != self._cryostat.set_point_k:
            self._cryostat.set_ramp_k_per_min(rate_k_per_min)
            self._cryostat.set_set_point_k(target_k)

    def _watch_heater(self, works: bool) -> None:
        output = self._outputs[self._output]
        if not works and output.range:
            output.range, output.fault = 0, _OPEN_LOAD
            self._heat(self._cryostat.ramp_k_per_min)

    def _read_heater_fault(self, arguments: list[str]) -> str:
        output = self._out(arguments)
        fault, output.fault = output.fault, 0
        return str(fault)
