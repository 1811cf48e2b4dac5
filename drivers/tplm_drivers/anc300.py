"""attocube ANC300 with stepping positioners, through pylablib.

The controller reads no positions: what this stage reports is the number of steps it was told to
make times the length of one step, counted from where the stage was when it was opened. Slipping,
a load, a step that is longer downwards than upwards, or the end of the travel are not seen. While
a motion runs, and after a stop in mid-move, the steps made are reckoned from the time that passed.
"""

import contextlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pylablib.core.devio.comm_backend import DeviceError as LibraryError
from pylablib.core.devio.comm_backend import IDeviceCommBackend, NetworkDeviceBackend, new_backend
from pylablib.core.utils import net
from pylablib.devices import Attocube
from pylablib.devices.Attocube.base import AttocubeBackendError

from tplm_config import InstrumentProfile
from tplm_config.devices import Anc300Stage as Anc300Settings
from tplm_drivers._translate import told
from tplm_drivers._travel import Travel, refuse_beyond
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity

RESTING_V = 0.5
"""An axis whose output is below this does not step."""
TCP_ADDRESS = re.compile(r"[^/:]+:\d+")


@dataclass
class _Motion:
    """Steps of one axis: those done, and those under way since a moment."""

    done: int = 0
    under_way: int = 0
    begin_s: float = -math.inf

    def passed(self, now_s: float, frequency_hz: float) -> int:
        """Of the steps under way, those made by now."""
        count = min(abs(self.under_way), (now_s - self.begin_s) * frequency_hz)
        return int(math.copysign(count, self.under_way))


class Anc300Stage:
    """Three axes of one controller as a sample stage, without read-back.

    Parameters
    ----------
    role
        The role it plays.
    settings
        How to reach it, and how long a step is.
    travel_um
        Lowest and highest reading of each axis.
    clock
        For reckoning the steps made.
    """

    def __init__(
        self, role: str, settings: Anc300Settings, travel_um: tuple[Travel, ...], clock: Clock
    ) -> None:
        self._role = role
        self._settings = settings
        self._travel_um = travel_um
        self._clock = clock
        self._slots = (settings.x_axis, settings.y_axis, settings.z_axis)
        self._motions = tuple(_Motion() for _ in self._slots)
        self._device: Attocube.ANC300 | None = None
        try:
            with self._talk() as device:
                found = device.get_all_axes()
                if missing := [str(slot) for slot in self._slots if slot not in found]:
                    raise DeviceError(
                        role,
                        f"the controller has no axis {', '.join(missing)}, only "
                        f"{', '.join(map(str, found))}",
                        "correct x_axis, y_axis and z_axis in the profile",
                    )
                for slot in self._slots:
                    device.enable_axis(slot)
                    device.set_voltage(slot, settings.voltage_v)
                    device.set_frequency(slot, settings.frequency_hz)
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Serial number and firmware of the controller; the model says that steps are counted."""
        with self._talk() as device:
            serial_number, version = device.get_device_info()
        firmware = version.rpartition("version ")[2]
        return Identity("attocube ANC300 (no read-back: counted steps)", serial_number, firmware)

    def position_um(self) -> tuple[float, ...]:
        """Counted steps, as a length; asks the controller only whether it is there."""
        with self._talk() as device:
            device.get_mode(self._slots[0])
        return tuple(steps * self._settings.step_um for steps in self._counted())

    def move_to(self, target_um: tuple[float, ...]) -> None:
        """Start stepping, all axes at once."""
        refuse_beyond(self._role, target_um, self._travel_um)
        self.stop()
        with self._talk() as device:
            for slot, motion, place_um in zip(self._slots, self._motions, target_um, strict=True):
                steps = round(place_um / self._settings.step_um) - motion.done
                if steps:
                    motion.under_way, motion.begin_s = steps, self._clock.now_s()
                    try:
                        device.move_by(slot, steps)
                    except AttocubeBackendError:
                        raise  # without an answer it has most likely been carried out
                    except LibraryError:
                        motion.under_way = 0
                        raise

    def is_moving(self) -> bool:
        """Whether steps are left to do, by the time they need and by the output of the axes."""
        with self._talk() as device:
            if any(device.get_output(slot) > RESTING_V for slot in self._slots):
                return True
        return any(
            counted != motion.done + motion.under_way
            for counted, motion in zip(self._counted(), self._motions, strict=True)
        )

    def stop(self) -> None:
        """Stop stepping; the steps made by then are reckoned from the time that passed."""
        with self._talk() as device:
            for slot, motion in zip(self._slots, self._motions, strict=True):
                device.stop(slot)
                now_s = self._clock.now_s()
                motion.done += motion.passed(now_s, self._settings.frequency_hz)
                motion.under_way = 0

    def close(self) -> None:
        """Let go of the controller."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(LibraryError, OSError):  # it is gone already
                device.close()

    def _counted(self) -> list[int]:
        now_s = self._clock.now_s()
        frequency_hz = self._settings.frequency_hz
        return [motion.done + motion.passed(now_s, frequency_hz) for motion in self._motions]

    @contextmanager
    def _talk(self) -> Iterator[Attocube.ANC300]:
        """The device; after a failure of the connection, over a new one.

        Replies carry no number, so one that comes late would be taken for the next answer.
        """
        settings = self._settings
        with told(
            self._role,
            LibraryError,
            advice="the manual of the controller explains its words",
            timeout_s=settings.timeout_s,
            address=settings.port,
        ):
            try:
                if self._device is None:
                    self._device = _open(settings)
                yield self._device
            except (AttocubeBackendError, OSError):
                self.close()
                raise


class _Network(NetworkDeviceBackend):  # type: ignore[misc] # the library has no types
    """The library's TCP connection, which forgets its timeout whenever it is opened."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        super().__init__(
            (host, port),
            timeout=timeout_s,
            term_write="\r\n",
            reraise_error=AttocubeBackendError,
        )

    def open(self) -> None:
        self.close()
        self.socket = net.ClientSocket(
            timeout=self._timeout_s, send_method="fixedlen", recv_method="fixedlen", nodelay=True
        )
        try:
            self.socket.connect(self.conn["addr"], self.conn["port"])
        except OSError:
            self.close()
            raise


def _open(settings: Anc300Settings) -> Attocube.ANC300:
    backend: IDeviceCommBackend
    if TCP_ADDRESS.fullmatch(settings.port):
        host, _, port = settings.port.rpartition(":")
        backend = _Network(host, int(port), settings.timeout_s)
    else:
        backend = new_backend(
            (settings.port, 38400, 8, "N", 1, 0),
            backend="serial",
            timeout=settings.timeout_s,
            term_write="\r\n",
            reraise_error=AttocubeBackendError,
        )
    try:
        return Attocube.ANC300(backend, pwd=settings.password)
    except BaseException:
        backend.close()
        raise


def open_device(
    *,
    role: str,
    settings: Anc300Settings,
    profile: InstrumentProfile,
    clock: Clock,
    library: object,
) -> Anc300Stage:
    """Open the controller and make its axes ready to step."""
    stage = profile.sample_stage
    assert stage is not None  # it has this driver
    return Anc300Stage(role, settings, (stage.travel_um,) * 3, clock)
