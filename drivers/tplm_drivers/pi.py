"""PI stages on a controller that speaks GCS 2 (Q-521 on an E-873), through pipython.

`pipython.GCS2Device` is what the library's `GCSDevice` turns itself into once it has asked the
controller for its dialect. `GCSDevice` also leaves a callback in the library that keeps devices
which failed to open alive and breaks the connections after them, so it is not used.
"""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pipython import GCS2Device
from pipython.pidevice import GCSError
from pipython.pidevice.interfaces.piserial import PISerial
from pipython.pidevice.interfaces.pisocket import PISocket

from tplm_config import InstrumentProfile
from tplm_config.devices import PiStage as PiSettings
from tplm_drivers._translate import told
from tplm_drivers._travel import Travel, no_faster, refuse_beyond
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity

HOMING_S = 120.0
"""Longest time for the reference move."""
WIRE_ERRORS = (*range(-99, 0), -1004)
"""Numbers of errors between the library and the controller; the others are the controller's."""
ADVICE = "the manual of the controller explains the error; look for what blocks the stage"


class PiStage:
    """Two axes of one controller as a detector stage.

    Parameters
    ----------
    role
        The role it plays.
    settings
        How to reach it.
    travel_um
        Lowest and highest reading of each axis.
    clock
        For waiting until it is referenced.
    """

    def __init__(
        self, role: str, settings: PiSettings, travel_um: tuple[Travel, Travel], clock: Clock
    ) -> None:
        self._role = role
        self._settings = settings
        self._travel_um = travel_um
        self._clock = clock
        self._names = [settings.x_axis, settings.y_axis]
        self._device: GCS2Device | None = None
        self._opened = False
        self._own_mm_per_s: list[float] | None = None
        try:
            with self._talk() as device:
                if missing := [name for name in self._names if name not in device.axes]:
                    raise DeviceError(
                        role,
                        f"the controller has no axis {', '.join(missing)}, only "
                        f"{', '.join(device.axes)}",
                        "correct x_axis and y_axis in the profile",
                    )
                self._switch_servo_on(device)
                if not all(device.qFRF(self._names).values()):
                    self._find_reference(device)
            self._opened = True
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """What the controller says to ``*IDN?``."""
        with self._talk() as device:
            *_, model, serial_number, firmware = device.qIDN().strip().split(",")
        return Identity(f"PI {model.strip()}", serial_number.strip(), firmware.strip())

    def position_um(self) -> tuple[float, ...]:
        """Where the stage is."""
        with self._talk() as device:
            places_mm = device.qPOS(self._names)
            return tuple(places_mm[name] * 1e3 for name in self._names)

    def move_to(self, target_um: tuple[float, ...]) -> None:
        """Start moving both axes at once."""
        refuse_beyond(self._role, target_um, self._travel_um)
        with self._talk() as device:
            self._switch_servo_on(device)  # a motion error switches it off
            # As text: the library would write 50 nm as 5e-05, which GCS 2 does not know.
            device.MOV(self._names, [f"{place_um / 1e3:.6f}" for place_um in target_um])

    def is_moving(self) -> bool:
        """Whether any axis still moves, or has not settled on its target."""
        with self._talk() as device:
            if any(device.IsMoving(self._names).values()):
                return True
            if all(device.qONT(self._names).values()):
                return False
            servo = device.qSVO(self._names)
            if off := [
                axis for axis, name in zip("xy", self._names, strict=True) if not servo[name]
            ]:
                raise DeviceError(
                    self._role,
                    f"the servo of axis {', '.join(off)} is off: it stopped short of its target",
                    "look for what blocks the stage, then move again",
                )
            return True

    def stop(self) -> None:
        """Stop moving at once; the targets are then where the axes stand."""
        with self._talk() as device:
            device.StopAll(noraise=True)

    def set_speed_um_per_s(self, speed_um_per_s: float | None) -> None:
        """Speed of the moves that follow, the same for both axes; None is what they had."""
        with self._talk() as device:
            if self._own_mm_per_s is None:  # nobody has asked for another one yet
                told_it = device.qVEL(self._names)
                self._own_mm_per_s = [told_it[name] for name in self._names]
            speeds = self._own_mm_per_s
            if speed_um_per_s is not None:
                speed = no_faster(self._role, speed_um_per_s, min(speeds) * 1e3)
                speeds = [speed / 1e3] * len(speeds)
            # as text, as in `move_to`
            device.VEL(self._names, [f"{speed:.6f}" for speed in speeds])

    def close(self) -> None:
        """Let go of the controller."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(GCSError, OSError):  # it is gone already
                device.close()

    def _switch_servo_on(self, device: GCS2Device) -> None:
        servo = device.qSVO(self._names)
        for name in self._names:
            if not servo[name]:
                device.SVO(name, 1)

    def _find_reference(self, device: GCS2Device) -> None:
        if not self._settings.home:
            raise DeviceError(
                self._role,
                "does not know where it is: it has not been referenced since it was switched on",
                "set home = true in the profile",
            )
        device.FRF(self._names)
        end_s = self._clock.now_s() + HOMING_S
        while any(device.IsMoving(self._names).values()):
            if self._clock.now_s() > end_s:
                device.StopAll(noraise=True)
                break
            self._clock.wait(0.1)
        if not all(device.qFRF(self._names).values()):
            raise DeviceError(
                self._role, "did not find its reference", "look for what blocks the stage"
            )

    def _connect(self) -> GCS2Device:
        """Connect; if not for the first time, the axes must still know where they are."""
        self._device = device = _open(self._settings)
        if self._opened and not all(device.qFRF(self._names).values()):
            self.close()
            raise DeviceError(
                self._role,
                "has lost its reference: its readings mean nothing",
                "open the profile again to find it",
            )
        return device

    @contextmanager
    def _talk(self) -> Iterator[GCS2Device]:
        """The device; after a failure of the connection, over a new one.

        Replies carry no number, so one that comes late would be taken for the next answer.
        """
        settings = self._settings
        with told(
            self._role, GCSError, advice=ADVICE, timeout_s=settings.timeout_s, address=settings.port
        ):
            try:
                yield self._device or self._connect()
            except GCSError as error:
                if error.val in WIRE_ERRORS:
                    self.close()
                raise
            except OSError:
                self.close()
                raise
            except (ValueError, LookupError) as error:
                self.close()
                # The library's own words are about its parsing.
                raise ValueError("it is not in the form of GCS 2") from error


class _Socket(PISocket):  # type: ignore[misc] # the library has no types
    """The library's socket, which hangs for ever when the other side closes the connection."""

    def ConnectTCPIP(self, ipaddress: str, ipport: int = 50000) -> None:  # noqa: N802
        self._socket = socket.create_connection((ipaddress, ipport), self._timeout / 1e3)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(0.02)
        self._connected = True

    def read(self) -> str:
        try:
            received = self._socket.recv(2048)
        except TimeoutError:
            return ""
        if not received:
            raise ConnectionResetError("the other side closed the connection")
        return str(received.decode("cp1252"))

    def close(self) -> None:
        self._connected = False
        if self._socket is not None:
            self._socket.close()


def _open(settings: PiSettings) -> GCS2Device:
    timeout_ms = round(settings.timeout_s * 1e3)
    if settings.port.startswith("tcp://"):
        host, _, port = settings.port.removeprefix("tcp://").rpartition(":")
        gateway = _Socket(host, int(port), autoconnect=False)
        gateway.settimeout(timeout_ms)
        gateway.ConnectTCPIP(host, int(port))
    else:
        gateway = PISerial(settings.port, settings.baud)
        gateway.settimeout(timeout_ms)
    return GCS2Device(gateway=gateway)


def open_device(
    *, role: str, settings: PiSettings, profile: InstrumentProfile, clock: Clock, library: object
) -> PiStage:
    """Open the controller, switch the servos on and find the reference if it is lost."""
    stage = profile.detector_stage
    return PiStage(role, settings, (stage.x.travel_um, stage.y.travel_um), clock)
