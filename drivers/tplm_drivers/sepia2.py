"""PicoQuant Sepia II (PDL 828), through the vendor's C interface.

Names, arguments, constants and error codes are those of the vendor's header files as public code
quotes them. The oscillator's burst sequence and its enabled outputs stay as they were set up with
PicoQuant's own program; this driver changes frequency, divider, intensity and the soft lock.
"""

import ctypes
import re
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_ubyte, c_ushort
from typing import Any, NamedTuple

from tplm_config import InstrumentProfile
from tplm_config.devices import Sepia2 as Settings
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity, RoleName

SCM, SOM, SOMD, SLM = 0x40, 0x50, 0x51, 0x70
"""Types of modules: safety board, oscillator, oscillator with delays, laser driver."""
PRIMARY, NO_RESTART = 1, 0
LOCKED, UNLOCKED = 1, 0
PULSED = 1
EXTERNAL = {"rising": 6, "falling": 7}
"""How the laser driver is told to follow the oscillator."""
INTERNAL_OSCILLATORS = (2, 3, 4)
MAX_DIVIDER = {SOM: 255, SOMD: 65535}
RATE_TOLERANCE = 0.02
POLL_S = 0.02
TEXT_BYTES = 256
"""More than any text of the library."""
BUSY_CODES = (-9004, -9005)
LOST_CODES = (-9003, -9006, -9025)

_INT_P, _BYTE_P, _WORD_P = POINTER(c_int), POINTER(c_ubyte), POINTER(c_ushort)
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "LIB_DecodeError": (c_int, c_char_p),
    "LIB_GetVersion": (c_char_p,),
    "USB_OpenDevice": (c_int, c_char_p, c_char_p),
    "USB_CloseDevice": (c_int,),
    "FWR_GetVersion": (c_int, c_char_p),
    "FWR_GetModuleMap": (c_int, c_int, _INT_P),
    "FWR_GetModuleInfoByMapIdx": (c_int, c_int, _INT_P, _BYTE_P, _BYTE_P, _BYTE_P),
    "FWR_FreeModuleMap": (c_int,),
    "COM_GetModuleType": (c_int, c_int, c_int, _INT_P),
    "SCM_GetLaserLocked": (c_int, c_int, _BYTE_P),
    "SCM_SetLaserSoftLock": (c_int, c_int, c_ubyte),
    "SLM_SetIntensityFineStep": (c_int, c_int, c_ushort),
    "SLM_SetPulseParameters": (c_int, c_int, c_int, c_ubyte),
    "SOM_DecodeFreqTrigMode": (c_int, c_int, c_int, c_char_p),
    "SOM_GetFreqTrigMode": (c_int, c_int, _INT_P),
    "SOM_SetFreqTrigMode": (c_int, c_int, c_int),
    "SOM_GetBurstValues": (c_int, c_int, _BYTE_P, _BYTE_P, _BYTE_P),
    "SOM_SetBurstValues": (c_int, c_int, c_ubyte, c_ubyte, c_ubyte),
    "SOMD_DecodeFreqTrigMode": (c_int, c_int, c_int, c_char_p),
    "SOMD_GetFreqTrigMode": (c_int, c_int, _INT_P, _BYTE_P),
    "SOMD_SetFreqTrigMode": (c_int, c_int, c_int, c_ubyte),
    "SOMD_GetBurstValues": (c_int, c_int, _WORD_P, _BYTE_P, _BYTE_P),
    "SOMD_SetBurstValues": (c_int, c_int, c_ushort, c_ubyte, c_ubyte),
}
"""Functions by name, without ``SEPIA2_``; every one returns 0 or an error code."""


class Burst(NamedTuple):
    """What the oscillator makes of its base frequency."""

    divider: int
    pre_sync: int
    mask_sync: int


class Library:
    """The vendor's functions, with error codes told in one sentence.

    Parameters
    ----------
    role
        Whose device.
    functions
        A loaded library, or what takes its place in simulations.
    """

    def __init__(self, role: RoleName, functions: Any) -> None:
        self._role = role
        self._functions = {}
        for name, arguments in SIGNATURES.items():
            try:
                function = getattr(functions, f"SEPIA2_{name}")
            except AttributeError as error:
                raise DeviceError(
                    role,
                    f"PicoQuant's library has no function SEPIA2_{name}",
                    "install a newer PQLaserDrv package from PicoQuant",
                ) from error
            function.argtypes, function.restype = arguments, c_int
            self._functions[name] = function

    def call(self, name: str, *arguments: Any) -> None:
        """Call one function.

        Raises
        ------
        DeviceError
            If it returns an error code.
        """
        code = self._functions[name](*arguments)
        if code != 0:
            raise self._error(code)

    def text(self, name: str, *arguments: Any) -> str:
        """Call a function that fills in one text, its last argument."""
        buffer = ctypes.create_string_buffer(TEXT_BYTES)
        self.call(name, *arguments, buffer)
        return buffer.value.decode("latin-1").strip()

    def _error(self, code: int) -> DeviceError:
        buffer = ctypes.create_string_buffer(TEXT_BYTES)
        known = self._functions["LIB_DecodeError"](code, buffer) == 0
        words = " ".join(buffer.value.decode("latin-1").split()) if known else "unknown error"
        words = f"{words} ({code})"
        if code in LOST_CODES or words.startswith("USB"):
            return DeviceError(
                self._role,
                f"the connection to the Sepia II was lost or could not be made: {words}",
                "check that it is switched on, its USB cable, and its driver",
            )
        if code in BUSY_CODES:
            return DeviceError(
                self._role,
                f"the Sepia II is in use: {words}",
                "close PicoQuant's own program and every other one that uses it",
            )
        return DeviceError(self._role, f"refused: {words}", "compare the profile with the rack")


class Sepia2:
    """The laser driver, its oscillator and the safety board of one rack.

    Parameters
    ----------
    role
        Which role it plays.
    settings
        Of the profile.
    clock
        For the lock, which takes a moment.
    functions
        A loaded library, or what takes its place in simulations.
    """

    def __init__(self, role: RoleName, settings: Settings, clock: Clock, functions: Any) -> None:
        self.role = role
        self._settings = settings
        self._clock = clock
        self.library = Library(role, functions)
        self._device = settings.device
        model = ctypes.create_string_buffer(TEXT_BYTES)
        serial_number = ctypes.create_string_buffer(TEXT_BYTES)
        self.library.call("USB_OpenDevice", self._device, model, serial_number)
        try:
            self._identity = Identity(
                model=f"PicoQuant {model.value.decode('latin-1').strip()}",
                serial_number=serial_number.value.decode("latin-1").strip(),
                firmware=f"{self.library.text('FWR_GetVersion', self._device)}, library "
                f"{self.library.text('LIB_GetVersion')}",
            )
            self._safety_slot = self._find_safety_board()
            self._oscillator = self._type_at(settings.oscillator_slot, (SOM, SOMD), "oscillator")
            self._type_at(settings.laser_slot, (SLM,), "laser driver")
            self.set_emission(False)
            self._set_up()
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """What the rack said when it was opened, if it is still there."""
        self.library.text("FWR_GetVersion", self._device)
        return self._identity

    def close(self) -> None:
        """Let go of the rack; that it is gone already is no error."""
        for name in ("FWR_FreeModuleMap", "USB_CloseDevice"):
            try:
                self.library.call(name, self._device)
            except DeviceError:
                continue

    def emission(self) -> bool:
        """Whether the power line of the lasers is unlocked: key, interlock and soft lock."""
        locked = c_ubyte()
        self.library.call("SCM_GetLaserLocked", self._device, self._safety_slot, byref(locked))
        return not locked.value

    def set_emission(self, on: bool) -> None:
        """Unlock or lock by software, and wait until the power line agrees."""
        self._soft_lock(not on)
        deadline_s = self._clock.now_s() + self._settings.timeout_s
        while self.emission() != on:
            if self._clock.now_s() > deadline_s:
                break
            self._clock.wait(POLL_S)
        else:
            return
        if on:
            self._soft_lock(True)  # or it would start when somebody closes the interlock
            raise DeviceError(
                self.role,
                "refuses to emit: it is locked by its key or its interlock",
                "close the interlock and turn the key of the Sepia II",
            )
        raise DeviceError(
            self.role,
            "refuses to go off: it was locked, and its power line still reads back as unlocked",
            "block the beam by hand and turn the key of the Sepia II",
        )

    def repetition_rate_hz(self) -> float:
        """Base frequency of the oscillator over its divider, read back."""
        return self._base_hz(self._mode()) / self._burst().divider

    def set_repetition_rate_hz(self, rate_hz: float) -> None:
        """Choose the base frequency and divider that come nearest."""
        largest = MAX_DIVIDER[self._oscillator]
        choices = []
        for mode in INTERNAL_OSCILLATORS:
            base_hz = self._base_hz(mode)
            divider = min(max(round(base_hz / rate_hz), 1), largest)
            choices.append((abs(base_hz / divider / rate_hz - 1), mode, divider, base_hz / divider))
        deviation, mode, divider, nearest_hz = min(choices)
        if deviation > RATE_TOLERANCE:
            raise DeviceError(
                self.role,
                f"cannot pulse at {rate_hz:g} Hz: the nearest rate of its oscillator is "
                f"{nearest_hz:g} Hz",
                f"ask for {nearest_hz:g} Hz",
            )
        before = self._burst()
        # In this order, so that it is never faster on the way than before or after.
        if divider >= before.divider:
            self._set_burst(before._replace(divider=divider))
            self._set_mode(mode)
        else:
            self._set_mode(mode)
            self._set_burst(before._replace(divider=divider))

    def _set_up(self) -> None:
        """Intensity, pulsed, following the oscillator; with the laser locked."""
        settings = self._settings
        permille = round(1000 * settings.intensity_fraction)
        slot = (self._device, settings.laser_slot)
        self.library.call("SLM_SetIntensityFineStep", *slot, permille)
        edge = EXTERNAL[settings.trigger_edge]
        self.library.call("SLM_SetPulseParameters", *slot, edge, PULSED)

    def _find_safety_board(self) -> int:
        count = c_int()
        self.library.call("FWR_GetModuleMap", self._device, NO_RESTART, byref(count))
        for index in range(count.value):
            slot, primary, backplane, uptime = c_int(), c_ubyte(), c_ubyte(), c_ubyte()
            self.library.call(
                "FWR_GetModuleInfoByMapIdx",
                self._device, index, byref(slot), byref(primary), byref(backplane), byref(uptime),
            )  # fmt: skip
            if primary.value and not backplane.value and self._type(slot.value) == SCM:
                return slot.value
        raise DeviceError(
            self.role,
            "has no safety board (SCM 828) among its modules",
            "check with PicoQuant's own program what the rack holds",
        )

    def _type_at(self, slot: int, allowed: tuple[int, ...], what: str) -> int:
        found = self._type(slot)
        if found not in allowed:
            raise DeviceError(
                self.role,
                f"the module in slot {slot} has type 0x{found:02X} and is no {what}",
                "check the slots in the profile",
            )
        return found

    def _type(self, slot: int) -> int:
        kind = c_int()
        self.library.call("COM_GetModuleType", self._device, slot, PRIMARY, byref(kind))
        return kind.value

    def _soft_lock(self, locked: bool) -> None:
        state = LOCKED if locked else UNLOCKED
        self.library.call("SCM_SetLaserSoftLock", self._device, self._safety_slot, state)

    # -- the oscillator: SOM 828 and SOM 828-D differ in names and widths -------------------

    @property
    def _slot(self) -> tuple[int, int]:
        return self._device, self._settings.oscillator_slot

    @property
    def _prefix(self) -> str:
        return "SOM" if self._oscillator == SOM else "SOMD"

    def _base_hz(self, mode: int) -> float:
        """Frequency from a text such as ``80.00 MHz (int. A)``."""
        words = self.library.text(f"{self._prefix}_DecodeFreqTrigMode", *self._slot, mode)
        found = re.match(r"\s*(\d+(?:\.\d+)?)\s*MHz", words)
        if found is None:
            raise DeviceError(
                self.role,
                f"its oscillator is set to '{words}', whose frequency is not known",
                "set a repetition rate",
            )
        return float(found[1]) * 1e6

    def _mode(self) -> int:
        mode, synchronised = c_int(), c_ubyte()
        more = () if self._oscillator == SOM else (byref(synchronised),)
        self.library.call(f"{self._prefix}_GetFreqTrigMode", *self._slot, byref(mode), *more)
        return mode.value

    def _set_mode(self, mode: int) -> None:
        more = () if self._oscillator == SOM else (0,)
        self.library.call(f"{self._prefix}_SetFreqTrigMode", *self._slot, mode, *more)

    def _burst(self) -> Burst:
        divider = c_ubyte() if self._oscillator == SOM else c_ushort()
        pre_sync, mask_sync = c_ubyte(), c_ubyte()
        self.library.call(
            f"{self._prefix}_GetBurstValues",
            *self._slot, byref(divider), byref(pre_sync), byref(mask_sync),
        )  # fmt: skip
        if divider.value < 1:
            raise DeviceError(
                self.role, "gave the divider 0, which makes no sense", "switch the rack off and on"
            )
        return Burst(divider.value, pre_sync.value, mask_sync.value)

    def _set_burst(self, burst: Burst) -> None:
        self.library.call(f"{self._prefix}_SetBurstValues", *self._slot, *burst)


def load(role: RoleName, path: str | None) -> Any:
    """Load the vendor's library.

    Raises
    ------
    DeviceError
        If it is not where the vendor, or the profile, says.
    """
    windows = sys.platform == "win32"
    bits = "x64" if sys.maxsize > 2**32 else "Win32"
    usual = (
        (rf"C:\ProgramData\PQLaserDrv\API\{bits}\Sepia2_Lib.dll", "Sepia2_Lib.dll")
        if windows
        else ("libSepia2_Lib.so", "Sepia2_Lib.so")
    )
    loader = getattr(ctypes, "WinDLL" if windows else "CDLL")
    problems = []
    for name in (path,) if path else usual:
        try:
            return loader(name)
        except OSError as error:
            problems.append(" ".join(str(error).split()))
    raise DeviceError(
        role,
        f"PicoQuant's library for the Sepia II could not be loaded ({'; '.join(problems)})",
        "install PicoQuant's PQLaserDrv package, or give the library's path in the profile "
        "(laser.driver.library)",
    )


def open_device(
    *, role: RoleName, settings: Settings, profile: InstrumentProfile, clock: Clock, library: Any
) -> Sepia2:
    """Open the rack, with its lasers locked."""
    functions = load(role, settings.library) if library is None else library
    return Sepia2(role, settings, clock, functions)
