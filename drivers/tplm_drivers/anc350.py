"""attocube ANC350 with read-back, through pylablib and PyUSB."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import usb.core
from pylablib.core.devio.comm_backend import DeviceError as LibraryError
from pylablib.core.devio.comm_backend import PyUSBDeviceBackend
from pylablib.devices import Attocube
from pylablib.devices.Attocube.base import AttocubeBackendError

from tplm_config import InstrumentProfile
from tplm_config.devices import Anc350Stage as Anc350Settings
from tplm_drivers._translate import told
from tplm_drivers._travel import Travel, refuse_beyond
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity

USB = (0x16C0, 0x055B)
ENDPOINTS = (0x86, 0x02)
"""For reading and for writing."""


class Anc350Stage:
    """Three axes of one controller as a sample stage.

    Parameters
    ----------
    role
        The role it plays.
    settings
        Which controller, which axes.
    travel_um
        Lowest and highest reading of each axis.
    library
        A back end of PyUSB in the place of libusb, in simulations.
    """

    def __init__(
        self, role: str, settings: Anc350Settings, travel_um: tuple[Travel, ...], library: Any
    ) -> None:
        self._role = role
        self._settings = settings
        self._travel_um = travel_um
        self._library = library
        self._axes = (settings.x_axis, settings.y_axis, settings.z_axis)
        self._moving: set[int] = set()
        self._device: Attocube.ANC350 | None = None
        try:
            with self._talk() as device:
                for name, axis in zip("xyz", self._axes, strict=True):
                    if not device.is_connected(axis):
                        raise DeviceError(
                            role,
                            f"no positioner is connected to axis {axis} ({name})",
                            "check the cable, or correct the axes in the profile",
                        )
                    if not device.is_enabled(axis):
                        device.enable_axis(axis)
                    device.set_precision(axis, settings.tolerance_um * 1e-6)
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """The model and the hardware number, which is -1 unless somebody gave it another."""
        with self._talk() as device:
            return Identity("attocube ANC350", f"hardware ID {device.get_hardware_id()}")

    def position_um(self) -> tuple[float, ...]:
        """Where the stage is."""
        with self._talk() as device:
            return tuple(device.get_position(axis) * 1e6 for axis in self._axes)

    def move_to(self, target_um: tuple[float, ...]) -> None:
        """Start moving all axes."""
        refuse_beyond(self._role, target_um, self._travel_um)
        with self._talk() as device:
            for axis, place_um in zip(self._axes, target_um, strict=True):
                # The library cuts off after the nanometres, and rounding errors are below one.
                place_nm = round(place_um * 1e3)
                device.move_to(axis, (place_nm + 0.5 * (1 if place_nm >= 0 else -1)) * 1e-9)
                self._moving.add(axis)

    def is_moving(self) -> bool:
        """Whether any axis has not reached its target; one at its end of travel never will."""
        with self._talk() as device:
            for axis in tuple(self._moving):
                if self._has_arrived(device, axis):
                    self._moving.discard(axis)
            return bool(self._moving)

    def stop(self) -> None:
        """Stop moving at once."""
        with self._talk() as device:
            for axis in self._axes:
                device.stop(axis)
                self._moving.discard(axis)

    def close(self) -> None:
        """Let go of the controller."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(LibraryError, OSError):  # it is gone already
                device.close()

    def _has_arrived(self, device: Attocube.ANC350, axis: int) -> bool:
        if device.is_target_reached(axis, precision=self._settings.tolerance_um * 1e-6):
            return True
        if (end := device.check_limit(axis)) is not None:
            self._moving.clear()
            name = "xyz"[self._axes.index(axis)]
            raise DeviceError(
                self._role,
                f"axis {name} reports the {'upper' if end == 'fwd' else 'lower'} end of its travel",
                "choose a place within, or correct travel_um in the profile",
            )
        return False

    @contextmanager
    def _talk(self) -> Iterator[Attocube.ANC350]:
        """The device; after a failure of the connection, over a new one."""
        settings = self._settings
        with told(
            self._role,
            LibraryError,
            advice="the manual of the controller explains its words",
            timeout_s=settings.timeout_s,
            address=f"controller {settings.index} on USB",
        ):
            try:
                if self._device is None:
                    self._device = _open(settings, self._library)
                yield self._device
            except usb.core.NoBackendError as error:
                raise DeviceError(
                    self._role,
                    "the library libusb is not installed on this computer",
                    "install libusb; on Windows also the driver libusb-win32 for the controller",
                ) from error
            except (LibraryError, OSError, ValueError):
                # Whatever is still on its way must not be taken for the next answer.
                self.close()
                raise


def _open(settings: Anc350Settings, library: Any) -> Attocube.ANC350:
    address = (*USB, settings.index, *ENDPOINTS, "libusb0")
    backend = PyUSBDeviceBackend
    if library is not None:
        backend = type("SimulatedUsb", (backend,), {"_usb_backends": {"libusb0": library}})
    try:
        instr = backend(
            address,
            timeout=settings.timeout_s,
            check_read_size=False,
            reraise_error=AttocubeBackendError,
        )
    except AttocubeBackendError as error:
        if "can't find device" not in str(error):
            raise
        raise ConnectionError(f"{settings.index + 1} needed, but not so many are there") from error
    try:
        return Attocube.ANC350(instr)
    except BaseException:
        instr.close()
        raise


def open_device(
    *,
    role: str,
    settings: Anc350Settings,
    profile: InstrumentProfile,
    clock: Clock,
    library: Any,
) -> Anc350Stage:
    """Open the controller and switch its axes on."""
    stage = profile.sample_stage
    assert stage is not None  # it has this driver
    return Anc350Stage(role, settings, (stage.travel_um,) * 3, library)
