"""Montana Instruments Cryostation, in both generations, through clients of our own.

The maker's interfaces name no model, serial number or firmware, so `identify` proves only that
the Cryostation answers. The newer one has no property known to us for a heater fault: it shows
as a temperature that leaves the set point.
"""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any

from tplm_config import InstrumentProfile
from tplm_config.devices import Montana
from tplm_drivers._link import TcpLink, reconnecting
from tplm_drivers._temperature import check_set_point
from tplm_drivers._translate import told
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity

OLDER_PORT, NEWER_PORT = 7773, 47101
_CONTROLLER = "/v1/controller/properties"
_THERMOMETERS = "/v1/sampleChamber/temperatureControllers"


def open_device(
    *, role: str, settings: Montana, profile: InstrumentProfile, clock: Clock, library: Any = None
) -> "OlderMontana | NewerMontana":
    """Connect, and see that it answers."""
    make = OlderMontana if settings.generation == "older" else NewerMontana
    device = make(role, settings, clock)
    try:
        device.identify()
    except BaseException:
        device.close()
        raise
    return device


class _Montana:
    """What both generations share.

    Parameters
    ----------
    role
        Which role it plays.
    settings
        Address, thermometer and limits.
    clock
        For pauses between attempts to reconnect.
    """

    def __init__(self, role: str, settings: Montana, clock: Clock) -> None:
        self._role = role
        self._settings = settings
        own = OLDER_PORT if settings.generation == "older" else NEWER_PORT
        self._place = (settings.host, settings.port or own)
        self._wait = clock.wait
        self._told = told(
            role,
            timeout_s=settings.timeout_s,
            address="the Cryostation at {}:{}".format(*self._place),
        )

    def _no_reading(self) -> DeviceError:
        return DeviceError(
            self._role,
            f"the {self._settings.thermometer} thermometer gives no reading",
            "check that it is mounted and plugged in, or choose the other one in the profile",
        )


class OlderMontana(_Montana):
    """A Cryostation that speaks text with a length before it (TCP 7773).

    The server in the maker's program must be enabled by hand each time it is started.
    """

    def __init__(self, role: str, settings: Montana, clock: Clock) -> None:
        super().__init__(role, settings, clock)
        self._link = TcpLink(*self._place, settings.timeout_s, clock.wait)

    def identify(self) -> Identity:
        """Ask for the alarm, for it has nothing to say about itself."""
        with self._told:
            self._alarm()
        return Identity("Montana Instruments Cryostation (text interface)")

    def close(self) -> None:
        """Let go; the Cryostation goes on with the set point it has."""
        self._link.close()

    def temperature_k(self) -> float:
        """Temperature of the chosen thermometer; an error while there is an alarm."""
        with self._told:
            if self._alarm():
                raise DeviceError(
                    self._role,
                    "the Cryostation reports an alarm",
                    "read what it is in the Cryostation's own program",
                )
            platform = self._settings.thermometer == "platform"
            temperature_k = float(self._ask("GPT" if platform else "GST"))
        if temperature_k < 0:  # -0.100 stands for no reading
            raise self._no_reading()
        return temperature_k

    def set_point_k(self) -> float:
        """The set point."""
        with self._told:
            return float(self._ask("GTSP"))

    def set_set_point_k(self, set_point_k: float) -> None:
        """Give a new set point, to a hundredth of a kelvin."""
        check_set_point(self._role, set_point_k, self._settings.limits_k)
        with self._told:
            reply = self._ask(f"STSP {set_point_k:.2f}")
        if not reply.startswith("OK"):
            raise DeviceError(
                self._role,
                f"refused {set_point_k:.2f} K: {' '.join(reply.split())}",
                "see the Cryostation's own program",
            )

    def _alarm(self) -> bool:
        return {"T": True, "F": False}[self._ask("GAS")]

    def _ask(self, command: str) -> str:
        question = f"{len(command):02d}{command}".encode("ascii")
        return self._link.ask(question, _prefixed_length)[2:].decode("ascii")


class NewerMontana(_Montana):
    """A Cryostation with a REST interface (port 47101)."""

    def identify(self) -> Identity:
        """Ask for the system's state, for it has nothing to say about itself."""
        with self._told:
            str(self._get(f"{_CONTROLLER}/systemState"))
        return Identity("Montana Instruments Cryostation (REST interface)")

    def close(self) -> None:
        """Nothing is kept open; the Cryostation goes on with the set point it has."""

    def temperature_k(self) -> float:
        """Temperature of the chosen thermometer."""
        name = "platform" if self._settings.thermometer == "platform" else "user1"
        with self._told:
            sample = self._get(f"{_THERMOMETERS}/{name}/thermometer/properties/sample")
            is_valid, temperature_k = bool(sample["temperatureOK"]), float(sample["temperature"])
        if not is_valid:
            raise self._no_reading()
        return temperature_k

    def set_point_k(self) -> float:
        """The target temperature of the platform."""
        with self._told:
            return float(self._get(f"{_CONTROLLER}/platformTargetTemperature"))

    def set_set_point_k(self, set_point_k: float) -> None:
        """Give a new target to a Cryostation that is cold; a cool-down is started by hand."""
        check_set_point(self._role, set_point_k, self._settings.limits_k)
        with self._told:
            goal = self._get(f"{_CONTROLLER}/systemGoal")
            if goal != "Cooldown":
                raise DeviceError(
                    self._role,
                    f"the Cryostation does not control its temperature now (its goal is '{goal}')",
                    "start a cool-down at its own screen",
                )
            target = {"platformTargetTemperature": set_point_k}
            self._request("PUT", f"{_CONTROLLER}/platformTargetTemperature", json.dumps(target))

    def _get(self, path: str) -> Any:
        """A property, by its path; the reply names it again."""
        reply = json.loads(self._request("GET", path))
        if not isinstance(reply, dict):
            raise ValueError(f"not an object: {reply!r:.60}")
        return reply[path.rsplit("/", 1)[1]]

    def _request(self, method: str, path: str, body: str | None = None) -> bytes:
        status, reason, reply = reconnecting(lambda: self._once(method, path, body), self._wait)
        if status != 200:
            words = " ".join(reply.decode("utf-8", "replace").split())[:200]
            raise DeviceError(
                self._role,
                f"refused {method} {path}: {status} {reason} {words}".rstrip(),
                "see the Cryostation's own screen",
            )
        return reply

    def _once(self, method: str, path: str, body: str | None) -> tuple[int, str, bytes]:
        # A connection for each request: nothing of an old reply can be left in it.
        connection = HTTPConnection(*self._place, timeout=self._settings.timeout_s)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.reason, response.read()
        except ConnectionError:
            raise
        except HTTPException as error:
            raise ValueError(f"not HTTP: {error!r:.100}") from error
        finally:
            connection.close()


def _prefixed_length(reply: bytes) -> int | None:
    if len(reply) < 2:
        return None
    if not reply[:2].isdigit():
        raise ValueError(f"no length before {reply[:60]!r}")
    return 2 + int(reply[:2])
