"""A Montana Cryostation on its wire: text with a length before it, or REST over HTTP."""

import json
import math
from collections.abc import Callable
from typing import Any

from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.thermostat import Thermostat
from tplm_simulators.wire import Served, WireServer

_STABLE_K = 0.1
_INVALID_COMMAND = "Error: Invalid command."
_CONTROLLER = "/v1/controller"
_THERMOMETERS = "/v1/sampleChamber/temperatureControllers"


def serve(settings: Any, microscope: VirtualMicroscope, role: str) -> Served:
    """Serve one Cryostation of the generation asked for; it is already controlling."""
    has_sample_thermometer = settings.thermometer == "sample"
    if settings.generation == "older":
        text = OlderCryostation(microscope.thermostat, has_sample_thermometer)
        server = WireServer(lambda: _Text(text.answer))
    else:
        rest = NewerCryostation(microscope.thermostat, has_sample_thermometer)
        server = WireServer(lambda: _Http(rest.answer))
    address = {"host": "127.0.0.1", "port": server.port}
    return Served(settings.model_copy(update=address), server.stop, (server,))


class OlderCryostation:
    """Answers the commands of the text interface.

    Parameters
    ----------
    cryostat
        What it controls.
    has_sample_thermometer
        Whether one is mounted beside the sample.
    """

    def __init__(self, cryostat: Thermostat, has_sample_thermometer: bool) -> None:
        self._cryostat = cryostat
        self._has_sample_thermometer = has_sample_thermometer

    def answer(self, command: str) -> str | None:
        """The reply to one command; None from an unplugged one."""
        try:
            works = self._cryostat.heater_works
        except VirtualFault:
            return None
        name, _, argument = command.partition(" ")
        match name:
            case "GAS":
                return "F" if works else "T"
            case "GPT":
                return f"{self._cryostat.temperature_k():.3f}"
            case "GST" if self._has_sample_thermometer:
                return f"{self._cryostat.temperature_k():.3f}"
            case "GST":
                return "-0.100"
            case "GTSP":
                return f"{self._cryostat.set_point_k:.2f}"
            case "GCP":
                return "0.012"
            case "STSP":
                return self._set_point(argument)
            case "SCD":
                return "OK"
            case "SWU" | "SSB" | "STP":
                return "System not able to execute command at this time"
            case _:
                return _INVALID_COMMAND

    def _set_point(self, argument: str) -> str:
        try:
            self._cryostat.set_set_point_k(float(argument))
        except (ValueError, VirtualFault):
            return "Error: Invalid set point"
        return f"OK, Temperature Set Point = {self._cryostat.set_point_k:.2f}"


class NewerCryostation:
    """Answers the requests of the REST interface.

    Parameters
    ----------
    cryostat
        What it controls.
    has_sample_thermometer
        Whether there is one at the first user connector.
    """

    def __init__(self, cryostat: Thermostat, has_sample_thermometer: bool) -> None:
        self._cryostat = cryostat
        self._has_sample_thermometer = has_sample_thermometer
        self._goal = "Cooldown"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object] | None:
        """Status and content; None from an unplugged one."""
        try:
            _ = self._cryostat.heater_works
        except VirtualFault:
            return None
        match method, path:
            case "GET", _:
                return self._property(path)
            case "PUT", p if p == f"{_CONTROLLER}/properties/platformTargetTemperature":
                return self._set_target(body)
            case "POST", p if p == f"{_CONTROLLER}/methods/cooldown()":
                self._goal = "Cooldown"
                return 200, {}
            case "POST", p if p == f"{_CONTROLLER}/methods/abortGoal()":
                self._goal = "None"
                return 200, {}
        return 404, {"error": "not found"}

    def _property(self, path: str) -> tuple[int, object]:
        values: dict[str, Callable[[], object]] = {
            f"{_CONTROLLER}/properties/systemGoal": lambda: self._goal,
            f"{_CONTROLLER}/properties/systemState": self._state,
            f"{_CONTROLLER}/properties/platformTargetTemperature": lambda: (
                self._cryostat.set_point_k
            ),
            f"{_THERMOMETERS}/platform/thermometer/properties/sample": lambda: self._sample(True),
            f"{_THERMOMETERS}/user1/thermometer/properties/sample": lambda: self._sample(
                self._has_sample_thermometer
            ),
        }
        if path not in values:
            return 404, {"error": "not found"}
        return 200, {path.rsplit("/", 1)[1]: values[path]()}

    def _state(self) -> str:
        off_k = abs(self._cryostat.temperature_k() - self._cryostat.set_point_k)
        if self._goal != "Cooldown":
            return "Ready"
        return "StableAtTarget" if off_k < _STABLE_K else "AcquiringTarget"

    def _sample(self, mounted: bool) -> dict[str, object]:
        kelvin = round(self._cryostat.temperature_k(), 4) if mounted else 0.0
        off_k = abs(kelvin - self._cryostat.set_point_k)
        return {
            "temperature": kelvin,
            "temperatureOK": mounted,
            "temperatureAvg1Sec": kelvin,
            "temperatureStability": round(off_k, 4),
            "temperatureStabilityOK": mounted,
            "temperatureStable": mounted and off_k < _STABLE_K,
            "resistance": 100.0,
            "resistanceOK": mounted,
        }

    def _set_target(self, body: bytes) -> tuple[int, object]:
        try:
            kelvin = float(json.loads(body)["platformTargetTemperature"])
            if not math.isfinite(kelvin):
                raise ValueError(kelvin)
            self._cryostat.set_set_point_k(kelvin)
        except (ValueError, TypeError, KeyError, VirtualFault) as error:
            return 400, {"error": str(error)}
        return 200, {"platformTargetTemperature": kelvin}


class _Text:
    """Cuts a stream into commands by the two digits before each."""

    def __init__(self, answer: Callable[[str], str | None]) -> None:
        self._answer = answer
        self._rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole command."""
        self._rest += data
        replies = []
        while len(self._rest) >= 2:
            if not self._rest[:2].isdigit():
                self._rest = b""
                replies.append(_prefixed(_INVALID_COMMAND))
                break
            end = 2 + int(self._rest[:2])
            if len(self._rest) < end:
                break
            command, self._rest = self._rest[2:end].decode("latin-1"), self._rest[end:]
            reply = self._answer(command)
            if reply is not None:
                replies.append(_prefixed(reply))
        return replies


class _Http:
    """Cuts a stream into HTTP requests."""

    def __init__(self, answer: Callable[[str, str, bytes], tuple[int, object] | None]) -> None:
        self._answer = answer
        self._rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole request."""
        self._rest += data
        replies = []
        while b"\r\n\r\n" in self._rest:
            head, _, body = self._rest.partition(b"\r\n\r\n")
            request, *headers = head.decode("latin-1").split("\r\n")
            fields = dict(header.lower().split(": ", 1) for header in headers if ": " in header)
            length = int(fields.get("content-length", "0"))
            if len(body) < length:
                break
            self._rest = body[length:]
            method, path, *_ = [*request.split(" "), "", ""]
            answer = self._answer(method, path, body[:length])
            if answer is not None:
                replies.append(_response(*answer))
        return replies


def _prefixed(reply: str) -> bytes:
    return f"{len(reply):02d}{reply}".encode("latin-1")


def _response(status: int, content: object) -> bytes:
    body = json.dumps(content).encode()
    reason = {200: "OK", 400: "Bad Request", 404: "Not Found"}[status]
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
