"""PicoQuant Sepia II: a library with the vendor's C interface, in this process.

The functions are real C function pointers (`ctypes.CFUNCTYPE`), called through the C calling
convention as those of a loaded library are; no compiler is needed.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_int, c_ubyte, c_ushort, c_void_p
from typing import Any

from tplm_config.devices import Sepia2
from tplm_simulators.faults import VirtualFault
from tplm_simulators.laser import Laser
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Served

SCM, SOM, SOMD, SLM = 0x40, 0x50, 0x51, 0x70
SAFETY_SLOT = 0
ERRORS = {
    -3211: "USB: vcmd failed",
    -9002: "LIB: illegal device index",
    -9003: "LIB: USB device open error",
    -9005: "LIB: USB device already opened",
    -9006: "LIB: unknown USB handle",
    -9009: "LIB: referenced slot is not in use",
    -9020: "LIB: no map found",
    -9910: "LIB: illegal parameter on function call",
}
VCMD_FAILED, OPEN_ERROR, ALREADY_OPEN = -3211, -9003, -9005
UNKNOWN_HANDLE, SLOT_UNUSED, NO_MAP, ILLEGAL = -9006, -9009, -9020, -9910
MODES = (
    "rising  edge (ext.)",
    "falling edge (ext.)",
    "80.00 MHz (int. A)",
    "64.00 MHz (int. B)",
    "50.00 MHz (int. C)",
)
BASES_HZ = {2: 80.0e6, 3: 64.0e6, 4: 50.0e6}

I, B, W, P = c_int, c_ubyte, c_ushort, c_void_p  # noqa: E741
"""int, unsigned char, unsigned short, and a pointer to whatever the caller holds."""


class Problem(Exception):  # noqa: N818 - becomes an error code
    """A call that returns an error code."""

    def __init__(self, code: int) -> None:
        self.code = code


def put_text(address: int, text: str) -> None:
    """Write a C string."""
    raw = text.encode("latin-1") + b"\0"
    ctypes.memmove(address, raw, len(raw))


def put(kind: Any, address: int, value: int) -> None:
    """Write a number."""
    kind.from_address(address).value = value


class SepiaLibrary:
    """The library and the rack on its USB.

    Parameters
    ----------
    laser
        The virtual laser behind the laser driver.
    device, oscillator_slot, laser_slot
        Where the rack and its modules are.
    oscillator
        `SOM`, or `SOMD` for the oscillator with delays.
    """

    def __init__(
        self,
        laser: Laser,
        device: int = 0,
        oscillator_slot: int = 100,
        laser_slot: int = 200,
        oscillator: int = SOM,
    ) -> None:
        self._laser = laser
        self._device = device
        self._modules = {SAFETY_SLOT: SCM, oscillator_slot: oscillator, laser_slot: SLM}
        self._is_open = False
        self._has_map = False
        self._soft_locked = True
        self.mode = 2
        self.divider = 32
        self.pulse: tuple[int, int] = (2, 1)
        """Trigger index and pulse mode of the laser driver."""
        self.calls: list[str] = []
        """Names of the functions called, in order."""
        self._thunks: list[Any] = []
        somd = W if oscillator == SOMD else B
        table: dict[str, tuple[tuple[Any, ...], Callable[..., None]]] = {
            "LIB_DecodeError": ((I, P), self._decode_error),
            "LIB_GetVersion": ((P,), lambda text: put_text(text, "1.2.64.793")),
            "USB_OpenDevice": ((I, P, P), self._open),
            "USB_CloseDevice": ((I,), self._close),
            "FWR_GetVersion": ((I, P), self._firmware),
            "FWR_GetModuleMap": ((I, I, P), self._map),
            "FWR_GetModuleInfoByMapIdx": ((I, I, P, P, P, P), self._module_info),
            "FWR_FreeModuleMap": ((I,), self._free_map),
            "COM_GetModuleType": ((I, I, I, P), self._module_type),
            "SCM_GetLaserLocked": ((I, I, P), self._get_locked),
            "SCM_GetLaserSoftLock": ((I, I, P), self._get_soft_lock),
            "SCM_SetLaserSoftLock": ((I, I, B), self._set_soft_lock),
            "SLM_GetIntensityFineStep": ((I, I, P), self._get_intensity),
            "SLM_SetIntensityFineStep": ((I, I, W), self._set_intensity),
            "SLM_GetPulseParameters": ((I, I, P, P, P), self._get_pulse),
            "SLM_SetPulseParameters": ((I, I, I, B), self._set_pulse),
        }
        for prefix, kind in (("SOM", SOM), ("SOMD", SOMD)):
            width = B if kind == SOM else somd
            extra = () if kind == SOM else (P,)
            more = () if kind == SOM else (B,)
            table |= {
                f"{prefix}_DecodeFreqTrigMode": ((I, I, I, P), self._decode_mode),
                f"{prefix}_GetFreqTrigMode": ((I, I, P, *extra), self._get_mode),
                f"{prefix}_SetFreqTrigMode": ((I, I, I, *more), self._set_mode),
                f"{prefix}_GetBurstValues": ((I, I, P, P, P), self._get_burst_as(width)),
                f"{prefix}_SetBurstValues": ((I, I, width, B, B), self._set_burst),
            }
        for name, (arguments, body) in table.items():
            setattr(self, f"SEPIA2_{name}", self._as_c(name, arguments, body))
        self._apply(self.mode, self.divider)

    def _as_c(self, name: str, arguments: tuple[Any, ...], body: Callable[..., None]) -> Any:
        """A C function of these arguments that runs `body` and returns its error code."""

        def guarded(*values: Any) -> int:
            self.calls.append(name)
            try:
                body(*values)
            except Problem as problem:
                return problem.code
            except VirtualFault as fault:
                return VCMD_FAILED if fault.message == "does not answer" else ILLEGAL
            return 0

        thunk = ctypes.CFUNCTYPE(c_int, *arguments)(guarded)
        self._thunks.append(thunk)  # C keeps no reference to it
        address = ctypes.cast(thunk, c_void_p).value or 0
        return ctypes.CFUNCTYPE(c_int)(address)  # as from a library: the caller says the types

    # -- library, USB and firmware -----------------------------------------------------------

    def _decode_error(self, code: int, text: int) -> None:
        if code not in ERRORS:
            raise Problem(-9999)
        put_text(text, ERRORS[code])

    def _open(self, device: int, model: int, serial_number: int) -> None:
        if device != self._device:
            raise Problem(OPEN_ERROR)
        if self._is_open:
            raise Problem(ALREADY_OPEN)
        try:
            _ = self._laser.emission
        except VirtualFault as fault:
            raise Problem(OPEN_ERROR) from fault
        self._is_open = True
        put_text(model, "PDL 828")
        put_text(serial_number, "1028123")

    def _close(self, device: int) -> None:
        self._check(device)
        self._is_open = self._has_map = False

    def _firmware(self, device: int, text: int) -> None:
        self._check(device)
        _ = self._laser.emission
        put_text(text, "2.01.673")

    def _map(self, device: int, _restart: int, count: int) -> None:
        self._check(device)
        self._has_map = True
        put(I, count, len(self._modules))

    def _module_info(
        self, device: int, index: int, slot: int, primary: int, backplane: int, uptime: int
    ) -> None:
        self._check(device)
        if not self._has_map:
            raise Problem(NO_MAP)
        if not 0 <= index < len(self._modules):
            raise Problem(ILLEGAL)
        put(I, slot, sorted(self._modules)[index])
        put(B, primary, 1)
        put(B, backplane, 0)
        put(B, uptime, 0)

    def _free_map(self, device: int) -> None:
        self._check(device)
        self._has_map = False

    def _module_type(self, device: int, slot: int, _primary: int, kind: int) -> None:
        self._check(device)
        if slot not in self._modules:
            raise Problem(SLOT_UNUSED)
        put(I, kind, self._modules[slot])

    def _check(self, device: int, slot: int | None = None, *kinds: int) -> None:
        if device != self._device or not self._is_open:
            raise Problem(UNKNOWN_HANDLE)
        if slot is not None and self._modules.get(slot) not in kinds:
            raise Problem(SLOT_UNUSED)

    # -- safety board ------------------------------------------------------------------------

    def _get_locked(self, device: int, slot: int, locked: int) -> None:
        self._check(device, slot, SCM)
        put(B, locked, 0 if self._laser.emission else 1)

    def _get_soft_lock(self, device: int, slot: int, locked: int) -> None:
        self._check(device, slot, SCM)
        put(B, locked, int(self._soft_locked))

    def _set_soft_lock(self, device: int, slot: int, locked: int) -> None:
        self._check(device, slot, SCM)
        self._soft_locked = bool(locked)
        if self._soft_locked or self._laser.interlock_closed:  # a hard lock overrides
            self._laser.set_emission(not self._soft_locked)

    # -- laser driver ------------------------------------------------------------------------

    def _get_intensity(self, device: int, slot: int, permille: int) -> None:
        self._check(device, slot, SLM)
        put(W, permille, round(1000 * self._laser.power_fraction))

    def _set_intensity(self, device: int, slot: int, permille: int) -> None:
        self._check(device, slot, SLM)
        self._laser.set_power_fraction(permille / 1000)

    def _get_pulse(self, device: int, slot: int, trigger: int, pulsed: int, head: int) -> None:
        self._check(device, slot, SLM)
        put(I, trigger, self.pulse[0])
        put(B, pulsed, self.pulse[1])
        put(I, head, 2)

    def _set_pulse(self, device: int, slot: int, trigger: int, pulsed: int) -> None:
        self._check(device, slot, SLM)
        if not 0 <= trigger <= 7:
            raise Problem(ILLEGAL)
        self.pulse = (trigger, pulsed)

    # -- oscillator --------------------------------------------------------------------------

    def _decode_mode(self, device: int, slot: int, mode: int, text: int) -> None:
        self._check(device, slot, SOM, SOMD)
        if not 0 <= mode < len(MODES):
            raise Problem(ILLEGAL)
        put_text(text, MODES[mode])

    def _get_mode(self, device: int, slot: int, mode: int, synchronised: int = 0) -> None:
        self._check(device, slot, SOM, SOMD)
        _ = self._laser.emission
        put(I, mode, self.mode)
        if synchronised:
            put(B, synchronised, 0)

    def _set_mode(self, device: int, slot: int, mode: int, _synchronise: int = 0) -> None:
        self._check(device, slot, SOM, SOMD)
        if mode not in BASES_HZ:
            raise Problem(ILLEGAL)
        self._apply(mode, self.divider)

    def _get_burst_as(self, width: Any) -> Callable[..., None]:
        def get_burst(device: int, slot: int, divider: int, pre_sync: int, mask_sync: int) -> None:
            self._check(device, slot, SOM, SOMD)
            _ = self._laser.emission
            put(width, divider, self.divider)
            put(B, pre_sync, 0)
            put(B, mask_sync, 0)

        return get_burst

    def _set_burst(self, device: int, slot: int, divider: int, _pre: int, _mask: int) -> None:
        self._check(device, slot, SOM, SOMD)
        if divider < 1:
            raise Problem(ILLEGAL)
        self._apply(self.mode, divider)

    def _apply(self, mode: int, divider: int) -> None:
        self._laser.set_repetition_rate_hz(BASES_HZ[mode] / divider)
        self.mode, self.divider = mode, divider


def serve(
    settings: Sepia2, microscope: VirtualMicroscope, role: str, oscillator: int = SOM
) -> Served:
    """Make a library; there is no wire and nothing to stop."""
    library = SepiaLibrary(
        microscope.laser,
        settings.device,
        settings.oscillator_slot,
        settings.laser_slot,
        oscillator,
    )
    return Served(settings, lambda: None, library=library)
