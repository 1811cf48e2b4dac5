"""A PI E-873 controller with Q-521 stages, in the General Command Set 2.

Lengths are millimetres. A motion needs a reference (FRF, to the mark at 0) and the servo on
(SVO); a stage that stalls raises error -1024 and its servo goes off, as the controller does it.
"""

from tplm_config.devices import PiStage
from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Served, WireServer
from tplm_simulators.wire._axes import Axes

MOVING, READY, STOP_ALL = 0x05, 0x07, 0x18
"""Commands of one byte, without line feed."""
NOT_ALLOWED, OUT_OF_RANGE, UNKNOWN_COMMAND, STOPPED, NO_SUCH_AXIS = 5, 7, 2, 10, 15
WRONG_PARAMETER, WRONG_VELOCITY = 1, 8
MOTION_ERROR = -1024
IDENTITY = "(c)2015 Physik Instrumente (PI) GmbH & Co. KG, E-873.3QTU, 116012345, 01.09"
HELP = (
    "The following commands are available: ", "#5 ", "#7 ", "#24 ", "*IDN? ", "CSV? ", "ERR? ",
    "FRF ", "FRF? ", "HLP? ", "MOV ", "MOV? ", "ONT? ", "POS? ", "SAI? ", "STP ", "SVO ",
    "SVO? ", "TMN? ", "TMX? ", "VEL ", "VEL? ", "end of help",
)  # fmt: skip


class Refused(Exception):  # noqa: N818 - the controller's word is error, and it is a number
    """A command that the controller answers with an error number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Controller:
    """The state that all connections share.

    Parameters
    ----------
    axes
        The virtual stage.
    names
        What the controller calls each axis.
    """

    def __init__(self, axes: Axes, names: tuple[str, ...]) -> None:
        self._axes = axes
        self._names = names
        self._servo = dict.fromkeys(names, False)
        self._referenced = dict.fromkeys(names, False)
        self._velocity_um_per_s = dict.fromkeys(names, axes.fastest_um_per_s)
        self._referencing: set[str] = set()
        self._error = 0

    def byte(self, command: int) -> str | None:
        """Answer a command of one byte."""
        try:
            self._look()
            match command:
                case 0x05:
                    moving = (self._axes.is_moving(n) << n for n in range(len(self._names)))
                    return f"{sum(moving):X}"
                case 0x07:
                    return "\xb1"
                case _:
                    self._stop()
                    return None
        except VirtualFault:
            return None

    def line(self, line: str) -> str | None:
        """Answer a command that ends with a line feed."""
        words = line.split()
        if not words:
            return None
        name, arguments = words[0].upper(), words[1:]
        try:
            self._look()
            if name.endswith("?"):
                return self._ask(name, arguments)
            self._do(name, arguments)
        except VirtualFault:
            return None
        except Refused as refused:
            self._error = refused.number
        return None

    def _ask(self, name: str, arguments: list[str]) -> str:
        match name:
            case "*IDN?":
                return IDENTITY
            case "CSV?":
                return "2.0"
            case "ERR?":
                error, self._error = self._error, 0
                return str(error)
            case "SAI?":
                return " \n".join(self._names)
            case "HLP?":
                return "\n".join(HELP)
        values = self._values(name)
        asked = arguments or self._names
        if any(axis not in values for axis in asked):
            raise Refused(NO_SUCH_AXIS)
        return " \n".join(f"{axis}={values[axis]}" for axis in asked)

    def _values(self, name: str) -> dict[str, str]:
        lower_um, upper_um = self._axes.limits_um
        numbers = range(len(self._names))
        match name:
            case "POS?":
                values = [_mm(self._axes.position_um(n)) for n in numbers]
            case "MOV?":
                values = [_mm(self._axes.target_um(n)) for n in numbers]
            case "ONT?":
                values = [
                    str(int(self._servo[axis] and not self._axes.is_moving(n)))
                    for n, axis in enumerate(self._names)
                ]
            case "SVO?":
                values = [str(int(self._servo[axis])) for axis in self._names]
            case "FRF?":
                values = [str(int(self._referenced[axis])) for axis in self._names]
            case "TMN?":
                values = [_mm(lower_um) for _ in numbers]
            case "TMX?":
                values = [_mm(upper_um) for _ in numbers]
            case "VEL?":
                values = [_mm(self._velocity_um_per_s[axis]) for axis in self._names]
            case _:
                raise Refused(UNKNOWN_COMMAND)
        return dict(zip(self._names, values, strict=True))

    def _do(self, name: str, arguments: list[str]) -> None:
        match name:
            case "SVO":
                for axis, state in self._pairs(arguments).items():
                    self._servo[axis] = state != 0
            case "FRF":
                for axis in arguments or self._names:
                    self._start_reference(axis)
            case "MOV":
                self._move(self._pairs(arguments))
            case "VEL":
                self._set_velocity(self._pairs(arguments))
            case "STP" | "HLT":
                self._stop()
            case _:
                raise Refused(UNKNOWN_COMMAND)

    def _start_reference(self, axis: str) -> None:
        if axis not in self._names:
            raise Refused(NO_SUCH_AXIS)
        if not self._servo[axis]:
            raise Refused(NOT_ALLOWED)
        self._referenced[axis] = False
        self._referencing.add(axis)
        self._axes.move({self._names.index(axis): 0.0})

    def _move(self, places_mm: dict[str, float]) -> None:
        lower_um, upper_um = self._axes.limits_um
        targets_um = {}
        for axis, place_mm in places_mm.items():
            place_um = round(place_mm * 1e3, 6)
            if not (self._servo[axis] and self._referenced[axis]):
                raise Refused(NOT_ALLOWED)
            if not lower_um <= place_um <= upper_um:
                raise Refused(OUT_OF_RANGE)
            targets_um[self._names.index(axis)] = place_um
        self._axes.move(targets_um)

    def _set_velocity(self, speeds_mm_per_s: dict[str, float]) -> None:
        speeds = {axis: round(mm * 1e3, 6) for axis, mm in speeds_mm_per_s.items()}
        if not all(0 < speed <= self._axes.fastest_um_per_s for speed in speeds.values()):
            raise Refused(WRONG_VELOCITY)
        self._velocity_um_per_s |= speeds
        for axis, speed in speeds.items():
            self._axes.set_speed(self._names.index(axis), speed)

    def _stop(self) -> None:
        self._axes.stop()
        self._referencing.clear()
        self._error = STOPPED

    def _look(self) -> None:
        """Take note of what happened since the last command."""
        for n, axis in enumerate(self._names):
            if self._axes.is_stalled(n):
                self._axes.stop(n)
                self._servo[axis] = False
                self._error = MOTION_ERROR
                self._referencing.discard(axis)
            if axis in self._referencing and not self._axes.is_moving(n):
                self._referencing.discard(axis)
                self._referenced[axis] = True

    def _pairs(self, arguments: list[str]) -> dict[str, float]:
        try:
            pairs = dict(zip(arguments[::2], map(float, arguments[1::2]), strict=True))
        except ValueError:
            raise Refused(WRONG_PARAMETER) from None
        if any(axis not in self._names for axis in pairs):
            raise Refused(NO_SUCH_AXIS)
        return pairs


class Connection:
    """One connection: lines, and the bytes that are commands by themselves."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole command."""
        replies: list[str | None] = []
        for byte in data:
            if byte in (MOVING, READY, STOP_ALL):
                replies.append(self._controller.byte(byte))
            elif byte == ord("\n"):
                line, self._rest = self._rest, b""
                replies.append(self._controller.line(line.decode("cp1252")))
            else:
                self._rest += bytes([byte])
        return [reply.encode("cp1252") + b"\n" for reply in replies if reply is not None]


def _mm(place_um: float) -> str:
    return f"{place_um / 1e3:.9f}"


def serve(settings: PiStage, microscope: VirtualMicroscope, role: str) -> Served:
    """Serve the controller over TCP."""
    controller = Controller(Axes(microscope, role), (settings.x_axis, settings.y_axis))
    server = WireServer(lambda: Connection(controller))
    changed = settings.model_copy(update={"port": f"tcp://{server.address}"})
    return Served(changed, server.stop, (server,))
