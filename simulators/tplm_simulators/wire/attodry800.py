"""An attoDRY800 of the newer generation on its wire: JSON-RPC over TCP."""

import json
from collections.abc import Callable
from typing import Any

from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.thermostat import Thermostat
from tplm_simulators.wire import Served, WireServer

_OK, _OUT_OF_RANGE, _NO_HARDWARE = 0, 10, 9
_WORDS = {
    _OK: "No error",
    _NO_HARDWARE: "Hardware not available",
    _OUT_OF_RANGE: "Value out of range",
}


def serve(settings: Any, microscope: VirtualMicroscope, role: str) -> Served:
    """Serve one cryostat; the temperature control of its sample is on."""
    cryostat = AttoDry800(microscope.thermostat)
    server = WireServer(lambda: _JsonRpc(cryostat.answer))
    address = {"host": "127.0.0.1", "port": server.port}
    return Served(settings.model_copy(update=address), server.stop, (server,))


class AttoDry800:
    """Answers the methods of the cryostat.

    Parameters
    ----------
    cryostat
        What it controls.
    """

    def __init__(self, cryostat: Thermostat) -> None:
        self._cryostat = cryostat
        self._set_point_k = cryostat.set_point_k
        self._controls = True
        system, sample = "com.attocube.system", "com.attocube.cryostat.interface.sample"
        self._methods: dict[str, Callable[..., list[object]]] = {
            f"{system}.getDeviceName": lambda: [_OK, "attoDRY800"],
            f"{system}.getSerialNumber": lambda: [_OK, "D800-0042"],
            f"{system}.getFirmwareVersion": lambda: [_OK, "1.5.3"],
            f"{system}.errorNumberToString": lambda _, number: [
                _OK, _WORDS.get(number, "Unknown error"),
            ],
            f"{sample}.getTemperature": lambda: [_OK, self._cryostat.temperature_k()],
            f"{sample}.getSetPoint": lambda: [_OK, self._set_point_k],
            f"{sample}.setSetPoint": self._set_set_point,
            f"{sample}.getTempControlStatus": lambda: [_OK, self._controls],
            f"{sample}.startTempControl": self._start,
            f"{sample}.stopTempControl": self._stop,
        }  # fmt: skip

    def answer(self, request: dict[str, Any]) -> dict[str, object] | None:
        """The reply to one request; None from an unplugged one."""
        try:
            works = self._cryostat.heater_works
        except VirtualFault:
            return None
        self._controls = self._controls and works
        reply: dict[str, object] = {"jsonrpc": "2.0", "id": request.get("id")}
        method = self._methods.get(str(request.get("method")))
        if method is None:
            return reply | {"error": {"code": -32601, "message": "Method not found"}}
        try:
            return reply | {"result": method(*request.get("params", []))}
        except TypeError:
            return reply | {"error": {"code": -32602, "message": "Invalid params"}}

    def _set_set_point(self, kelvin: float) -> list[object]:
        lowest, highest = self._cryostat.limits_k
        if not lowest <= kelvin <= highest:
            return [_OUT_OF_RANGE]
        self._set_point_k = float(kelvin)
        self._heat()
        return [_OK]

    def _start(self) -> list[object]:
        if not self._cryostat.heater_works:
            return [_NO_HARDWARE]
        self._controls = True
        self._heat()
        return [_OK]

    def _stop(self) -> list[object]:
        self._controls = False
        self._heat()
        return [_OK]

    def _heat(self) -> None:
        # Without control the sample goes to the base temperature; the virtual cryostat knows no
        # heater that is merely off, so it is given that as its set point.
        target_k = self._set_point_k if self._controls else self._cryostat.limits_k[0]
        self._cryostat.set_set_point_k(target_k)


class _JsonRpc:
    """Cuts a stream into requests, which come without any end."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, object] | None]) -> None:
        self._answer = answer
        self._rest = ""

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole request."""
        self._rest = (self._rest + data.decode("latin-1")).lstrip()
        replies = []
        while self._rest:
            try:
                request, end = json.JSONDecoder().raw_decode(self._rest)
            except ValueError:
                break  # not whole yet
            self._rest = self._rest[end:].lstrip()
            reply = self._answer(request)
            if reply is not None:
                replies.append(json.dumps(reply).encode() + b"\r\n")
        return replies
