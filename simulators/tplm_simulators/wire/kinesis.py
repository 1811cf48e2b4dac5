"""Thorlabs Kinesis controllers (KST101) speaking the APT binary protocol.

Each controller turns one motor: an actuator of the detector stage, or a neutral-density wheel.
Reading 0 of an actuator is the lower limit of the virtual stage, so a profile with limits 0 to
25000 µm for the virtual stage reads what a ZFS25B reads, and `zero_um` means the same to both.
Until it has been homed, a controller counts from where it was switched on.
"""

import math
import struct
import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

from tplm_simulators.attenuator import Attenuator
from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.stage import DetectorStage
from tplm_simulators.wire import Served, WireServer

WHEEL_DEG = 300.0
"""From the clear end of the wheel to the dark end; the optical density grows evenly."""
STEPS_PER_UM = {"ZFS": 2184.53333, "ZST": 2008.64563}
"""Microsteps of a KST101 for each family of actuators."""
VELOCITY_UNITS = 53.68
ACCELERATION_UNITS = VELOCITY_UNITS * 204.94e-6
"""Internal units of a KST101 for one step per second (squared)."""

REVERSE_LIMIT, FORWARD_LIMIT = 0x1, 0x2
MOVING_REVERSE, MOVING_FORWARD = 0x10, 0x20
CONNECTED, HOMING, HOMED, SETTLED = 0x100, 0x200, 0x400, 0x2000
MOTION_ERROR, OVERTEMPERATURE = 0x4000, 0x20000
ENABLED = 0x80000000


class Mechanics(Protocol):
    """What a motor turns; lengths are µm or degrees."""

    travel: tuple[float, float]
    speed: float
    acceleration: float

    def place(self) -> float:
        """Where it is."""

    def go(self, place: float) -> None:
        """Start moving."""

    def set_speed(self, speed: float) -> None:
        """Speed of the moves that follow; no faster than it can."""

    def is_moving(self) -> bool:
        """Whether it has not yet arrived."""


class Carriage:
    """The virtual detector stage, whose two axes move together, driven by two controllers."""

    def __init__(self, stage: DetectorStage) -> None:
        self._stage = stage
        self._lock = threading.Lock()
        self._targets_um = list(stage.position_um())

    def place_um(self, axis: int) -> float:
        """Where one axis is."""
        return self._stage.position_um()[axis]

    def go(self, axis: int, place_um: float) -> None:
        """Send one axis; the other one goes on to where it was sent."""
        with self._lock:
            if not self._stage.is_moving():
                self._targets_um = list(self._stage.position_um())
            targets_um = self._targets_um.copy()
            targets_um[axis] = place_um
            self._stage.move_to(*targets_um)
            self._targets_um = targets_um

    def set_speed(self, axis: int, speed_um_per_s: float) -> None:
        """Speed of the moves of one axis that follow."""
        self._stage.set_axis_speed_um_per_s(axis, speed_um_per_s)

    def is_moving(self, axis: int) -> bool:
        """Whether one axis has not yet arrived."""
        with self._lock:
            target_um = self._targets_um[axis]
        return self._stage.is_moving() and self.place_um(axis) != target_um


@dataclass
class StageAxis:
    """One axis of the detector stage, µm."""

    carriage: Carriage
    axis: int
    travel: tuple[float, float]
    speed: float
    acceleration: float

    def place(self) -> float:
        """Where it is."""
        return self.carriage.place_um(self.axis)

    def go(self, place: float) -> None:
        """Start moving."""
        self.carriage.go(self.axis, place)

    def set_speed(self, speed: float) -> None:
        """Speed of the moves that follow; no faster than it can."""
        self.carriage.set_speed(self.axis, min(speed, self.speed))

    def is_moving(self) -> bool:
        """Whether it has not yet arrived."""
        return self.carriage.is_moving(self.axis)


@dataclass
class Wheel:
    """A neutral-density wheel, degrees from its clear end."""

    attenuator: Attenuator
    density_per_s: float
    travel: tuple[float, float] = (0.0, WHEEL_DEG)
    speed: float = field(init=False)
    acceleration: float = field(init=False)

    def __post_init__(self) -> None:
        self._density_per_deg = -math.log10(self.attenuator.min_transmission) / WHEEL_DEG
        self.speed = self.density_per_s / self._density_per_deg
        self.acceleration = 10 * self.speed

    def table(self) -> str:
        """Its calibration, as ``tplm calibrate`` would find it without noise."""
        angles = [WHEEL_DEG * step / 30 for step in range(31)]
        rows = (f"{angle:g},{10 ** -(angle * self._density_per_deg):.8g}" for angle in angles)
        return "\n".join(["position_deg,transmission", *rows, ""])

    def place(self) -> float:
        """Where it is."""
        return -math.log10(self.attenuator.transmission()) / self._density_per_deg

    def go(self, place: float) -> None:
        """Start turning."""
        transmission = 10 ** -(place * self._density_per_deg)
        darkest = self.attenuator.min_transmission
        self.attenuator.set_transmission(min(max(transmission, darkest), 1.0))

    def set_speed(self, speed: float) -> None:
        """Ignored: the virtual wheel has one speed."""

    def is_moving(self) -> bool:
        """Whether it has not yet arrived."""
        return self.attenuator.is_moving()


class Controller:
    """One KST101 and its motor, whoever is connected to it.

    Parameters
    ----------
    mechanics
        What the motor turns.
    steps_per_unit
        Microsteps for each µm or degree.
    serial_number
        As reported.

    Attributes
    ----------
    fault_bits : int
        Set in the status word in addition, such as `MOTION_ERROR`.
    """

    def __init__(self, mechanics: Mechanics, steps_per_unit: float, serial_number: int) -> None:
        self._mechanics = mechanics
        self._steps = steps_per_unit
        self._serial_number = serial_number
        self._lock = threading.Lock()
        self.fault_bits = 0
        self._backlash_steps = 0
        self._velocity = (
            0,
            round(mechanics.acceleration * steps_per_unit * ACCELERATION_UNITS),
            round(mechanics.speed * steps_per_unit * VELOCITY_UNITS),
        )
        self._switch_on()

    def power_cycle(self) -> None:
        """Switch it off and on: the motor stands, and its reference is forgotten."""
        with self._lock:
            self._mechanics.go(self._mechanics.place())
            self._switch_on()

    def connect(self) -> None:
        """Somebody else listens now: the end of a move begun before is not told to them."""
        with self._lock:
            self._is_announced = False

    def answer(self, message: int, parameter: int, data: bytes) -> bytes:
        """Carry out a message; what was due to be told comes before the reply."""
        with self._lock:
            try:
                self._catch_up()
                due = self._due()
                return due + self._carry_out(message, parameter, data)
            except VirtualFault:
                return b""  # unplugged: neither heard nor answered

    def _switch_on(self) -> None:
        self._origin = self._mechanics.place()
        self._target = self._origin
        self._homed = self._homing = self._is_announced = False
        self._enabled = True
        self._limit = 0

    def _catch_up(self) -> None:
        """Let homing end when the motor has arrived."""
        if self._homing and not self._mechanics.is_moving():
            self._homing = False
            self._homed = abs(self._mechanics.place() - self._target) * self._steps < 1
            if self._homed:
                self._origin = self._target

    def _due(self) -> bytes:
        """The message at the end of a move, which comes unasked."""
        if not self._is_announced or self._mechanics.is_moving():
            return b""
        self._is_announced = False
        if self._is_home_due:
            return _short(0x0444, 1)
        return _long(0x0464, self._status_record())

    def _carry_out(self, message: int, parameter: int, data: bytes) -> bytes:
        match message:
            case 0x0005:
                return _long(0x0006, self._information())
            case 0x0411:
                return _long(0x0412, struct.pack("<Hi", 1, self._counter()))
            case 0x0429:
                return _long(0x042A, struct.pack("<HI", 1, self._status()))
            case 0x0480:
                return _long(0x0481, self._status_record())
            case 0x0211:
                return _short(0x0212, 1, 1 if self._enabled else 2)
            case 0x0414:
                return _long(0x0415, struct.pack("<Hiii", 1, *self._velocity))
            case 0x043B:
                return _long(0x043C, struct.pack("<Hi", 1, self._backlash_steps))
            case 0x0443:
                self._start(self._mechanics.travel[0], homing=True)
            case 0x0448 if len(data) >= 6:
                self._start(self._mechanics.place() + _steps(data) / self._steps)
            case 0x0453 if len(data) >= 6:
                self._start(self._origin + _steps(data) / self._steps)
            case 0x0465:
                self._mechanics.go(self._mechanics.place())
                self._homing = self._is_announced = False
                return _long(0x0466, self._status_record())
            case 0x0210:
                # the second byte of the header says on (1) or off (2)
                self._enabled = parameter >> 8 == 1
            case 0x0410 if len(data) >= 6:
                self._origin = self._mechanics.place() - _steps(data) / self._steps
            case 0x0413 if len(data) >= 14:
                self._velocity = struct.unpack("<iii", data[2:14])
                self._mechanics.set_speed(self._velocity[2] / (self._steps * VELOCITY_UNITS))
            case 0x043A if len(data) >= 6:
                self._backlash_steps = _steps(data)
        return b""

    def _start(self, place: float, *, homing: bool = False) -> None:
        if not self._enabled:
            return
        lowest, highest = self._mechanics.travel
        slack = 1 / self._steps  # positions come rounded to steps
        self._limit = (
            REVERSE_LIMIT if place < lowest - slack
            else FORWARD_LIMIT if place > highest + slack
            else 0
        )  # fmt: skip
        self._target = min(max(place, lowest), highest)
        self._mechanics.go(self._target)
        self._homing, self._is_announced = homing, True
        self._is_home_due = homing
        self._homed = self._homed and not homing

    def _counter(self) -> int:
        return round((self._mechanics.place() - self._origin) * self._steps)

    def _status(self) -> int:
        word = self.fault_bits | CONNECTED | (ENABLED if self._enabled else 0)
        word |= HOMED if self._homed else 0
        word |= HOMING if self._homing else 0
        if self._mechanics.is_moving():
            forward = self._target > self._mechanics.place()
            return word | (MOVING_FORWARD if forward else MOVING_REVERSE)
        return word | SETTLED | self._limit

    def _status_record(self) -> bytes:
        counter = self._counter()
        return struct.pack("<HiiI", 1, counter, counter, self._status())

    def _information(self) -> bytes:
        notes = b"APT Stepper Motor Controller (simulated)".ljust(60, b"\0")
        return (
            struct.pack("<I", self._serial_number) + b"KST101\0\0" + struct.pack("<H", 16)
            + bytes([1, 2, 3, 0]) + notes + struct.pack("<HHH", 1, 0, 1)
        )  # fmt: skip


class Connection:
    """Cuts the stream of one connection into messages."""

    def __init__(self, controller: Controller) -> None:
        controller.connect()
        self._controller = controller
        self._rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole message."""
        self._rest += data
        replies = []
        while len(self._rest) >= 6:
            message, parameter, destination, _ = struct.unpack("<HHBB", self._rest[:6])
            end = 6 + (parameter if destination & 0x80 else 0)
            if len(self._rest) < end:
                break
            body, self._rest = self._rest[6:end], self._rest[end:]
            replies.append(self._controller.answer(message, parameter, body))
        return [reply for reply in replies if reply]


@dataclass(frozen=True)
class ServedKinesis(Served):
    """Running controllers.

    Attributes
    ----------
    controllers
        In the order of the servers, for faults of the instruments themselves.
    """

    controllers: tuple[Controller, ...] = ()


def serve(settings: Any, microscope: VirtualMicroscope, role: str) -> ServedKinesis:
    """Start the controllers of a detector stage, or the one of a wheel."""
    if settings.name == "kinesis-wheel":
        controllers = {"port": _wheel(settings, microscope, role)}
    else:
        controllers = _axes(settings, microscope)
    servers = {port: _wire(controller) for port, controller in controllers.items()}
    addresses = {port: f"socket://{server.address}" for port, server in servers.items()}

    def stop() -> None:
        for server in servers.values():
            server.stop()

    return ServedKinesis(
        settings=settings.model_copy(update=addresses),
        stop=stop,
        servers=tuple(servers.values()),
        controllers=tuple(controllers.values()),
    )


def _wheel(settings: Any, microscope: VirtualMicroscope, role: str) -> Controller:
    serial_number = 26001003 if role == "attenuator" else 26001004
    mechanics = wheel_of(microscope, role)
    return Controller(mechanics, settings.steps_per_degree, serial_number)


def wheel_of(microscope: VirtualMicroscope, role: str) -> Wheel:
    """The wheel in the excitation or in the detection path."""
    if role == "attenuator":
        return Wheel(microscope.attenuator, microscope.settings.attenuator.density_per_s)
    settings = microscope.settings.detection_attenuator
    return Wheel(microscope.detection_attenuator, settings.density_per_s)


def _axes(settings: Any, microscope: VirtualMicroscope) -> dict[str, Controller]:
    stage = microscope.settings.detector_stage
    carriage = Carriage(microscope.detector_stage)
    return {
        port: Controller(
            StageAxis(
                carriage,
                axis,
                travel=microscope.detector_stage.limits_um,
                speed=stage.speed_um_per_s,
                acceleration=stage.acceleration_um_per_s2,
            ),
            STEPS_PER_UM[settings.scale[:3]],
            26001001 + axis,
        )
        for axis, port in enumerate(("x_port", "y_port"))
    }


def _wire(controller: Controller) -> WireServer:
    return WireServer(lambda: Connection(controller))


def _short(message: int, first: int = 0, second: int = 0) -> bytes:
    return struct.pack("<HBBBB", message, first, second, 0x01, 0x50)


def _long(message: int, data: bytes) -> bytes:
    return struct.pack("<HHBB", message, len(data), 0x01 | 0x80, 0x50) + data


def _steps(data: bytes) -> int:
    steps: int = struct.unpack("<i", data[2:6])[0]
    return steps
