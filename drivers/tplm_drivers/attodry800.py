"""attocube attoDRY800 of the newer generation, through a JSON-RPC client of our own.

Older attoDRY800 use a vendor's library on a COM port instead; this driver does not serve them.
"""

import itertools
import json
from typing import Any

from tplm_config import InstrumentProfile
from tplm_config.devices import AttoDry800
from tplm_drivers._link import TcpLink, line_length
from tplm_drivers._temperature import check_set_point
from tplm_drivers._translate import told
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity

_SYSTEM = "com.attocube.system"
_SAMPLE = "com.attocube.cryostat.interface.sample"
_USER_FRIENDLY = 1


def open_device(
    *,
    role: str,
    settings: AttoDry800,
    profile: InstrumentProfile,
    clock: Clock,
    library: Any = None,
) -> "AttoDry800Controller":
    """Connect, and see that it answers."""
    device = AttoDry800Controller(role, settings, clock)
    try:
        device.note_control()
    except BaseException:
        device.close()
        raise
    return device


class AttoDry800Controller:
    """An attoDRY800 as `TemperatureController`.

    The temperature control of the sample is left as it is until a set point is given.

    Parameters
    ----------
    role
        Which role it plays.
    settings
        Address and limits.
    clock
        For pauses between attempts to reconnect.
    """

    def __init__(self, role: str, settings: AttoDry800, clock: Clock) -> None:
        self._role = role
        self._settings = settings
        self._link = TcpLink(settings.host, settings.port, settings.timeout_s, clock.wait)
        self._told = told(
            role,
            timeout_s=settings.timeout_s,
            address=f"the attoDRY800 at {settings.host}:{settings.port}",
        )
        self._numbers = itertools.count(1)
        self._controlling = False

    def note_control(self) -> None:
        """Ask whether the control is on: from then on it is a fault if it is found off."""
        with self._told:
            self._controlling = bool(self._value(f"{_SAMPLE}.getTempControlStatus"))

    def identify(self) -> Identity:
        """Ask for name, serial number and firmware."""
        with self._told:
            return Identity(
                str(self._value(f"{_SYSTEM}.getDeviceName")),
                str(self._value(f"{_SYSTEM}.getSerialNumber")),
                str(self._value(f"{_SYSTEM}.getFirmwareVersion")),
            )

    def close(self) -> None:
        """Let go; the cryostat goes on with the set point it has."""
        self._link.close()

    def temperature_k(self) -> float:
        """Temperature of the sample; an error if its control has stopped by itself."""
        with self._told:
            temperature_k = self._number(f"{_SAMPLE}.getTemperature")
            is_off = self._controlling and not self._value(f"{_SAMPLE}.getTempControlStatus")
        if is_off:
            raise DeviceError(
                self._role,
                "the temperature control of the sample is off, although it was on",
                "see the cryostat's own screen for a heater fault, then give the set point again",
            )
        return temperature_k

    def set_point_k(self) -> float:
        """The set point of the sample."""
        with self._told:
            return self._number(f"{_SAMPLE}.getSetPoint")

    def set_set_point_k(self, set_point_k: float) -> None:
        """Give a new set point and switch the control on."""
        check_set_point(self._role, set_point_k, self._settings.limits_k)
        with self._told:
            self._call(f"{_SAMPLE}.setSetPoint", float(set_point_k))
            if not self._value(f"{_SAMPLE}.getTempControlStatus"):
                self._call(f"{_SAMPLE}.startTempControl")
        self._controlling = True

    # -- questions: what goes wrong on the wire is told by the callers above -----------------

    def _number(self, method: str) -> float:
        value = self._value(method)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{value!r:.60} is not a number")
        return float(value)

    def _value(self, method: str) -> Any:
        """The one value a method returns."""
        return self._call(method)[1]

    def _call(self, method: str, *parameters: object) -> list[Any]:
        """Error number and values of a method; raises if the number is not 0."""
        result = self._request(method, *parameters)
        if result[0] == 0:
            return result
        words = self._request(f"{_SYSTEM}.errorNumberToString", _USER_FRIENDLY, result[0])
        raise DeviceError(
            self._role,
            f"refused {method.rsplit('.', 1)[1]}{list(parameters) or ''}: "
            f"{' '.join(str(words[-1]).split())} (error {result[0]})",
            "see the cryostat's own screen",
        )

    def _request(self, method: str, *parameters: object) -> list[Any]:
        number = next(self._numbers)
        request: dict[str, object] = {
            "jsonrpc": "2.0", "method": method, "params": list(parameters), "id": number, "api": 2,
        }  # fmt: skip
        reply = json.loads(self._link.ask(json.dumps(request).encode(), line_length))
        if not isinstance(reply, dict) or reply.get("id") != number:
            raise ValueError(f"an answer to another question: {reply!r:.100}")
        if "error" in reply:
            raise DeviceError(
                self._role,
                f"does not know {method}: {' '.join(str(reply['error']).split())}",
                "this driver is for the newer attoDRY800; see which firmware yours has",
            )
        result = reply["result"]
        if not isinstance(result, list) or not result:
            raise ValueError(f"no result: {reply!r:.100}")
        return result
