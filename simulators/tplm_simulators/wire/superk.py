"""NKT SuperK Fianium and VARIA on one Interbus."""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tplm_config.devices import SuperK
from tplm_simulators.faults import VirtualFault
from tplm_simulators.laser import Laser
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Served, WireServer

START, END, ESCAPE, SHIFT = 0x0D, 0x0A, 0x5E, 0x40
NACK, CRC_ERROR, ACK, READ, WRITE, DATAGRAM = 0, 1, 3, 4, 5, 8
FIANIUM, EXTREME = 0x88, 0x60
NM_PER_S = 100.0
"""How fast the filters of the VARIA move."""


class Refusal(Exception):  # noqa: N818 - an answer of the instrument, not a fault of the program
    """A module does not accept a telegram."""


class Silence(Exception):  # noqa: N818
    """Nobody answers."""


@dataclass(frozen=True)
class Register:
    """One register: how to read it and, if it can be set, how."""

    read: Callable[[], bytes]
    write: Callable[[bytes], None] | None = None


def crc16(message: bytes) -> int:
    """CRC-16 with polynomial 0x1021 and start value 0."""
    crc = 0
    for byte in message:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1 & 0xFFFF
    return crc


def framed(message: bytes) -> bytes:
    """A telegram with its checksum, escapes and frame."""
    body = bytearray()
    for byte in message + struct.pack(">H", crc16(message)):
        body += bytes([ESCAPE, byte + SHIFT]) if byte in (START, END, ESCAPE) else bytes([byte])
    return bytes([START, *body, END])


def unframed(frame: bytes) -> bytes:
    """What stands between the frame's ends, without escapes."""
    message, rest = bytearray(), iter(frame)
    for byte in rest:
        message.append((next(rest, SHIFT) - SHIFT) & 0xFF if byte == ESCAPE else byte)
    return bytes(message)


class Interbus:
    """The bus: one connection to all modules on it."""

    def __init__(self, modules: dict[int, dict[int, Register]]) -> None:
        self._modules = modules
        self._rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole telegram."""
        *frames, self._rest = (self._rest + data).split(bytes([END]))
        replies = []
        for frame in frames:
            message = unframed(frame[frame.rfind(START) + 1 :])
            if len(message) < 6 or message[0] not in self._modules:
                continue  # as on the real bus, nobody feels spoken to
            try:
                reply = self._answer(message)
            except Silence:
                continue
            replies.append(framed(reply))
        return replies

    def _answer(self, message: bytes) -> bytes:
        module, host, kind, address = message[:4]
        back = bytes([host, module])
        if crc16(message) != 0:
            return back + bytes([CRC_ERROR, address])
        register = self._modules[module].get(address)
        try:
            if register is None:
                raise Refusal
            if kind == READ:
                return back + bytes([DATAGRAM, address]) + register.read()
            if kind != WRITE or register.write is None:
                raise Refusal
            register.write(message[4:-2])
            return back + bytes([ACK, address])
        except Refusal:
            return back + bytes([NACK, address])
        except VirtualFault as fault:
            if fault.message == "does not answer":
                raise Silence from fault
            return back + bytes([NACK, address])


class Fianium:
    """The mainboard, acting on the virtual laser."""

    def __init__(self, laser: Laser, seed_rate_hz: float, module_type: int) -> None:
        self._laser = laser
        self._seed_rate_hz = seed_rate_hz
        self._type = module_type
        self._setup = 0
        lowest_hz, _ = laser.repetition_rate_limits_hz
        self._largest_ratio = math.floor(seed_rate_hz / lowest_hz)
        self._set_ratio(round(seed_rate_hz / laser.pulse_rate_hz()))

    def registers(self) -> dict[int, Register]:
        """Its registers by address."""
        table = {
            0x11: Register(lambda: struct.pack("<h", 271)),
            0x30: Register(lambda: bytes([3 if self._laser.emission else 0]), self._set_emission),
            0x31: Register(lambda: struct.pack("<H", self._setup), self._set_setup),
            0x32: Register(self._interlock),
            0x34: Register(self._get_ratio, lambda raw: self._set_ratio(number(raw))),
            0x37: Register(
                lambda: struct.pack("<H", round(1000 * self._laser.power_fraction)), self._set_power
            ),
            0x61: Register(lambda: self._answering(bytes([self._type]))),
            0x64: Register(lambda: self._answering(b"1.04 SuperK\0")),
            0x65: Register(lambda: self._answering(b"K0012345")),
            0x66: Register(self._status),
        }
        if self._type == FIANIUM:
            table[0x3D] = Register(lambda: struct.pack("<H", self._largest_ratio))
        return table

    def _answering(self, value: bytes) -> bytes:
        _ = self._laser.emission  # raises if the laser is unplugged
        return value

    def _set_emission(self, raw: bytes) -> None:
        if raw not in (b"\0", b"\3"):
            raise Refusal
        self._laser.set_emission(raw == b"\3")

    def _set_setup(self, raw: bytes) -> None:
        self._setup = number(raw)

    def _interlock(self) -> bytes:
        # low byte: 0 open, 2 closed; high byte: what opened it (2 = the door)
        return b"\2\0" if self._laser.interlock_closed else b"\0\2"

    def _get_ratio(self) -> bytes:
        self._answering(b"")
        if self._type == EXTREME and self._ratio < 256:
            return bytes([self._ratio])
        return struct.pack("<H", self._ratio)

    def _set_ratio(self, ratio: int) -> None:
        if not 1 <= ratio <= self._largest_ratio:
            raise Refusal
        self._laser.set_repetition_rate_hz(self._seed_rate_hz / ratio)
        self._ratio = ratio

    def _set_power(self, raw: bytes) -> None:
        if number(raw) > 1000:
            raise Refusal
        self._laser.set_power_fraction(number(raw) / 1000)

    def _status(self) -> bytes:
        bits = 1 if self._laser.emission else 0
        if not self._laser.interlock_closed:
            bits |= 1 << 1 | 1 << 3
        return struct.pack("<H", bits)


class Varia:
    """The filter: three motors, which take their time."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._set_points = {0x32: 1000, 0x33: 6000, 0x34: 5000}
        self._arrive_s = dict.fromkeys(self._set_points, -math.inf)

    def registers(self) -> dict[int, Register]:
        """Its registers by address."""
        motors = {
            address: Register(partial(self._set_point, address), partial(self._move, address))
            for address in self._set_points
        }
        return motors | {
            0x61: Register(lambda: b"\x68"),
            0x64: Register(lambda: b"1.02 VARIA\0"),
            0x65: Register(lambda: b"V0006789"),
            0x66: Register(self._status),
        }

    def _set_point(self, address: int) -> bytes:
        return struct.pack("<H", self._set_points[address])

    def _move(self, address: int, raw: bytes) -> None:
        target = number(raw)
        allowed = range(1001) if address == 0x32 else range(4000, 8401)
        if target not in allowed:
            raise Refusal
        way_nm = abs(target - self._set_points[address]) / 10
        self._set_points[address] = target
        self._arrive_s[address] = self._now_s() + way_nm / NM_PER_S

    def _status(self) -> bytes:
        now_s = self._now_s()
        moving = sum(
            1 << 12 + index
            for index, arrive_s in enumerate(self._arrive_s.values())
            if now_s < arrive_s
        )
        return struct.pack("<H", moving)


def number(raw: bytes) -> int:
    """An unsigned number of one or two bytes."""
    if len(raw) not in (1, 2):
        raise Refusal
    return int.from_bytes(raw, "little")


def serve(
    settings: SuperK, microscope: VirtualMicroscope, role: str, module_type: int = FIANIUM
) -> Served:
    """Start a Fianium (or an older one, with the Extreme's mainboard) and a VARIA."""
    laser = Fianium(microscope.laser, settings.seed_rate_hz, module_type)
    varia = Varia(microscope.clock.now_s)
    modules = {
        settings.fianium_address: laser.registers(),
        settings.varia_address: varia.registers(),
    }
    server = WireServer(lambda: Interbus(modules))
    changed = settings.model_copy(update={"port": f"socket://{server.address}"})
    return Served(changed, server.stop, (server,))
