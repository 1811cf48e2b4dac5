"""NKT SuperK Fianium with VARIA, over pylablib's Interbus.

pylablib knows the bus; the registers are ours. They follow NKT's own register files (88.txt for
the Fianium, 60.txt for its older mainboard, 68.txt for the VARIA) as public code quotes them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pylablib.devices.NKT import GenericInterbusDevice
from pylablib.devices.NKT.interbus import InterbusError

from tplm_config import InstrumentProfile
from tplm_config.devices import SuperK as Settings
from tplm_drivers._translate import told
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity, RoleName

EMISSION, SETUP, INTERLOCK, RATIO, POWER, LARGEST_RATIO = 0x30, 0x31, 0x32, 0x34, 0x37, 0x3D
FIRMWARE, SERIAL_NUMBER, STATUS = 0x64, 0x65, 0x66
MODULE_TYPE = 0x61
SHORT_PASS, LONG_PASS = 0x33, 0x34
"""VARIA: upper and lower edge of the band, in steps of 0.1 nm."""

FIANIUM, EXTREME, VARIA = 0x88, 0x60, 0x68
"""Module types; early Fianiums have the mainboard of the Extreme."""
NAMES = {FIANIUM: "SuperK FIANIUM", EXTREME: "SuperK FIANIUM (older mainboard)"}
EMISSION_ON, EMISSION_OFF = 3, 0
CONSTANT_POWER = 1
EMITS = 1 << 0
FILTERS_MOVE = 0b111 << 12
INTERLOCK_OPEN, INTERLOCK_WAITS, INTERLOCK_OK = 0, 1, 2
OPENED_BY = {
    1: "key switch",
    2: "door switch",
    3: "external module",
    4: "application",
    5: "internal module",
    6: "interlock supply",
    7: "light source itself",
}
RATE_TOLERANCE = 0.02
"""How far the nearest possible repetition rate may be from the one asked for."""
FILTER_TIME_S = 30.0
POLL_S = 0.05


class SuperK:
    """The white-light laser and its filter on one bus.

    Parameters
    ----------
    role
        Which role it plays.
    settings
        Of the profile.
    clock
        For the filters, which take seconds to move.
    """

    def __init__(self, role: RoleName, settings: Settings, clock: Clock) -> None:
        self.role = role
        self._settings = settings
        self._clock = clock
        self._told = told(
            role,
            InterbusError,
            advice="read the display of the SuperK",
            timeout_s=settings.timeout_s,
            address=settings.port,
        )
        with self._told:
            self.bus = GenericInterbusDevice(settings.port)
        try:
            with self._told:
                self.bus.instr.set_timeout(settings.timeout_s)
            self._type = self._check_type(settings.fianium_address, (FIANIUM, EXTREME), "a Fianium")
            self._check_type(settings.varia_address, (VARIA,), "a VARIA")
            self.set_emission(False)
            self._set_up()
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Ask the mainboard; the serial number of the VARIA stands behind its own."""
        laser, varia = self._settings.fianium_address, self._settings.varia_address
        serials = [_text(self._read_raw(module, SERIAL_NUMBER)) for module in (laser, varia)]
        return Identity(
            model=f"NKT {NAMES[self._type]} with VARIA",
            serial_number=" + ".join(serials),
            firmware=_text(self._read_raw(laser, FIRMWARE)),
        )

    def close(self) -> None:
        """Let go of the port."""
        with _ignoring_loss():
            self.bus.close()

    def emission(self) -> bool:
        """Bit 0 of the status: what the laser does, not what it was told."""
        return bool(self._read(self._settings.fianium_address, STATUS) & EMITS)

    def set_emission(self, on: bool) -> None:
        """Switch the emission; off is proven by the status, on comes after the soft start.

        An interlock that waits for its reset is not reset from here: that is for somebody who
        sees the room.
        """
        laser = self._settings.fianium_address
        if on:
            self._check_interlock()
            self._write(laser, EMISSION, EMISSION_ON, "u8")
            return
        self._write(laser, EMISSION, EMISSION_OFF, "u8")
        deadline_s = self._clock.now_s() + self._settings.timeout_s
        while self.emission():
            if self._clock.now_s() > deadline_s:
                raise DeviceError(
                    self.role,
                    "refuses to go off: it was told to, and its status still says that it emits",
                    "block the beam by hand and turn the key of the SuperK",
                )
            self._clock.wait(POLL_S)

    def repetition_rate_hz(self) -> float:
        """The seed's rate divided by the ratio of the pulse picker."""
        return self._settings.seed_rate_hz / self._ratio()

    def set_repetition_rate_hz(self, rate_hz: float) -> None:
        """Set the pulse picker to the whole-number ratio nearest to a rate."""
        seed_hz = self._settings.seed_rate_hz
        ratio = max(1, round(seed_hz / rate_hz))
        largest = self._largest_ratio()
        nearest_hz = seed_hz / min(ratio, largest)
        if abs(nearest_hz / rate_hz - 1) > RATE_TOLERANCE:
            raise DeviceError(
                self.role,
                f"cannot pulse at {rate_hz:g} Hz: the pulse picker divides {seed_hz:g} Hz by whole "
                f"numbers up to {largest}, and the nearest rate is {nearest_hz:g} Hz",
                f"ask for {nearest_hz:g} Hz",
            )
        self._write(self._settings.fianium_address, RATIO, ratio, "u16")

    def _set_up(self) -> None:
        """Set power and filter edges, with the emission off."""
        settings = self._settings
        if self._type == EXTREME:  # it obeys the power register in this mode only
            self._write(settings.fianium_address, SETUP, CONSTANT_POWER, "u16")
        permille = round(1000 * settings.power_fraction)
        self._write(settings.fianium_address, POWER, permille, "u16")
        lower_nm, upper_nm = settings.filter_nm
        self._write(settings.varia_address, LONG_PASS, round(10 * lower_nm), "u16")
        self._write(settings.varia_address, SHORT_PASS, round(10 * upper_nm), "u16")
        deadline_s = self._clock.now_s() + FILTER_TIME_S
        while self._read(settings.varia_address, STATUS) & FILTERS_MOVE:
            if self._clock.now_s() > deadline_s:
                raise DeviceError(
                    self.role,
                    f"the filters of the VARIA still move after {FILTER_TIME_S:g} s",
                    "switch the VARIA off and on",
                )
            self._clock.wait(POLL_S)

    def _check_type(self, module: int, allowed: tuple[int, ...], what: str) -> int:
        found = self._read(module, MODULE_TYPE)
        if found not in allowed:
            raise DeviceError(
                self.role,
                f"the module at address {module} has type 0x{found:02X} and is not {what}",
                "check the addresses in the profile",
            )
        return found

    def _check_interlock(self) -> None:
        word = self._read(self._settings.fianium_address, INTERLOCK)
        state, opened_by = word & 0xFF, word >> 8
        if state == INTERLOCK_OK:
            return
        if state == INTERLOCK_WAITS:
            raise DeviceError(
                self.role,
                "refuses to emit: the interlock is closed and waits for its reset",
                "see that the room is safe and press the reset on the front panel",
            )
        where = OPENED_BY.get(opened_by, f"code {opened_by}")
        raise DeviceError(
            self.role,
            f"refuses to emit: the interlock is open ({where})",
            "close the interlock, reset it, and try again",
        )

    def _ratio(self) -> int:
        ratio = self._read(self._settings.fianium_address, RATIO)
        if ratio < 1:
            raise DeviceError(
                self.role,
                f"gave the pulse-picker ratio {ratio}",
                "check that it has a pulse picker",
            )
        return ratio

    def _largest_ratio(self) -> int:
        if self._type == EXTREME:  # its register file has no such register
            return 0xFFFF
        return self._read(self._settings.fianium_address, LARGEST_RATIO)

    def _read(self, module: int, register: int) -> int:
        raw = self._read_raw(module, register)
        # The Extreme's mainboard sends ratios below 256 as one byte.
        if len(raw) not in (1, 2):
            raise DeviceError(
                self.role,
                f"gave {len(raw)} bytes for register 0x{register:02X}, which makes no sense",
                "check that this is a SuperK Fianium with VARIA",
            )
        return int.from_bytes(raw, "little")

    def _read_raw(self, module: int, register: int) -> bytes:
        return bytes(self._exchange(lambda: self.bus.ib_get_reg(module, register, "raw")))

    def _write(self, module: int, register: int, value: int, kind: Literal["u8", "u16"]) -> None:
        self._exchange(lambda: self.bus.ib_set_reg(module, register, value, kind, echo=False))

    def _exchange(self, ask: Callable[[], Any]) -> Any:
        with self._told:
            self.bus.instr.flush_read()  # what came too late for an earlier question
            return ask()


@contextmanager
def _ignoring_loss() -> Iterator[None]:
    """What is gone already needs no closing."""
    try:
        yield
    except (InterbusError, OSError):
        return


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("ascii", "replace").strip()


def open_device(
    *, role: RoleName, settings: Settings, profile: InstrumentProfile, clock: Clock, library: object
) -> SuperK:
    """Open the laser, with its emission switched off."""
    return SuperK(role, settings, clock)
