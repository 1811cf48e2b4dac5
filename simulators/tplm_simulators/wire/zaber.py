"""Two Zaber stages on one chain, in the Zaber ASCII protocol (firmware 7).

An axis counts microsteps from its home, which lies at the reading ``home_um`` of the settings.
Until it has been homed it carries the warning ``WR``; one that stalls stops with the fault ``FS``.
"""

import re

from tplm_config.devices import ZaberStage
from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Lines, Served, WireServer
from tplm_simulators.wire._axes import Axes

VELOCITY_UNITS = 1.6384
"""Native velocity of one microstep per second."""
CHECKSUM = re.compile(r"^/(.*):([0-9A-F]{2})$")


class Axis:
    """One axis of the chain and its settings.

    Parameters
    ----------
    axes, number
        The virtual stage, and which of its axes.
    settings
        Of the driver: length of a microstep, place of the home.
    """

    def __init__(self, axes: Axes, number: int, settings: ZaberStage) -> None:
        self._axes = axes
        self._number = number
        self._home_um = settings.home_um
        self._microstep_um = settings.microstep_um
        self._homed = False
        self._fault = ""

    def warnings(self) -> list[str]:
        """Flags that are up, worst first."""
        if self._axes.is_stalled(self._number):
            self._axes.stop(self._number)
            self._fault = "FS"
        return [flag for flag in (self._fault, "" if self._homed else "WR") if flag]

    def status(self) -> str:
        """``BUSY`` or ``IDLE``."""
        return "BUSY" if self._axes.is_moving(self._number) else "IDLE"

    def position(self) -> int:
        """Microsteps from home."""
        place_um = self._axes.position_um(self._number)
        return round((place_um - self._home_um) / self._microstep_um)

    def limits(self) -> tuple[int, int]:
        """Lowest and highest position."""
        lower_um, upper_um = self._axes.limits_um
        lowest = round((lower_um - self._home_um) / self._microstep_um)
        return max(lowest, 0), round((upper_um - self._home_um) / self._microstep_um)

    def command(self, words: list[str]) -> str | None:
        """Carry out a command; the data of its reply, or None to reject it."""
        match words:
            case []:
                return "0"
            case ["home"]:
                self._homed = True
                self._go(self.limits()[0])
                return "0"
            case ["move", "abs", place]:
                return self._move(int(place), self._fastest())
            case ["move", "abs", place, velocity]:
                return self._move(int(place), int(velocity))
            case ["move", "rel", distance]:
                return self._move(self.position() + int(distance), self._fastest())
            case ["stop"]:
                self._axes.stop(self._number)
                return "0"
            case ["warnings"] | ["warnings", "clear"]:
                flags = self.warnings()
                if "clear" in words:
                    self._fault = ""
                return " ".join([f"{len(flags):02d}", *flags])
            case ["get", name]:
                return self._get(name)
        return None

    def _get(self, name: str) -> str | None:
        lowest, highest = self.limits()
        values = {
            "pos": str(self.position()),
            "limit.min": str(lowest),
            "limit.max": str(highest),
            "maxspeed": str(self._fastest()),
            "resolution": "64",
            "device.id": "50952",
            "deviceid": "50952",
            "system.serial": str(12345 + self._number),
            "system.axiscount": "1",
            "version": "7.38",
        }
        return values.get(name)

    def _move(self, place: int, velocity: int) -> str | None:
        lowest, highest = self.limits()
        if not (lowest <= place <= highest and 0 < velocity <= self._fastest()):
            return None
        speed_um_per_s = velocity / VELOCITY_UNITS * self._microstep_um
        self._axes.set_speed(self._number, min(speed_um_per_s, self._axes.fastest_um_per_s))
        self._go(place)
        return "0"

    def _fastest(self) -> int:
        return round(self._axes.fastest_um_per_s / self._microstep_um * VELOCITY_UNITS)

    def _go(self, place: int) -> None:
        self._fault = ""
        lower_um, upper_um = self._axes.limits_um
        place_um = self._home_um + place * self._microstep_um
        self._axes.move({self._number: min(max(place_um, lower_um), upper_um)})


class Chain:
    """The devices of the chain: takes lines and gives replies.

    Parameters
    ----------
    axes
        By device address and axis number.
    """

    def __init__(self, axes: dict[tuple[int, int], Axis]) -> None:
        self._axes = axes

    def answer(self, line: str) -> str | None:
        """The reply to one command; None if there is nobody, or the stage is dead."""
        body = _checked(line)
        if body is None:
            return None
        words = body.split()
        numbers: list[str] = []
        while words and len(numbers) < 3 and (words[0].isdigit() or words[0] == "--"):
            numbers.append(words.pop(0))
        address, number, request = [*numbers, *["0", "0", ""][len(numbers) :]]
        asked = [
            key
            for key in self._axes
            if int(address) in (0, key[0]) and int(number) in (0, key[1])
        ]  # fmt: skip
        try:
            replies = [self._reply(key, number, request, words) for key in asked]
        except VirtualFault:
            return None
        return "\r\n".join(replies) or None

    def _reply(self, key: tuple[int, int], number: str, request: str, words: list[str]) -> str:
        axis = self._axes[key]
        try:
            data = axis.command(words)
        except ValueError:
            data = None
        flag = "OK" if data is not None else "RJ"
        if data is None:
            data = "BADDATA" if words[0] == "move" else "BADCOMMAND"
        warning = next(iter(axis.warnings()), "--")
        middle = f"{request} " if request not in ("", "--") else ""
        return f"@{key[0]:02d} {number} {middle}{flag} {axis.status()} {warning} {data}"


def _checked(line: str) -> str | None:
    """The command without its checksum; None if it is none, or its checksum is wrong."""
    if not line.startswith("/"):
        return None
    found = CHECKSUM.match(line)
    if found is None:
        return line[1:]
    body, checksum = found.groups()
    return body if -sum(body.encode("latin-1")) % 256 == int(checksum, 16) else None


def serve(settings: ZaberStage, microscope: VirtualMicroscope, role: str) -> Served:
    """Serve the two axes over TCP."""
    axes = Axes(microscope, role)
    keys = ((settings.x_address, settings.x_axis), (settings.y_address, settings.y_axis))
    chain = Chain({key: Axis(axes, n, settings) for n, key in enumerate(keys)})
    server = WireServer(lambda: Lines(chain.answer))
    changed = settings.model_copy(update={"port": f"tcp://{server.address}"})
    return Served(changed, server.stop, (server,))
