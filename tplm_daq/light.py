"""The light of a run, which any thread may put out at any moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tplm_drivers import DeviceError, Identity, Instrument, RoleName, SafeState
from tplm_drivers.instrument import make_safe
from tplm_drivers.roles import PulsedLaser, Shutter

PATIENCE_S = 5.0
"""How long the measuring thread waits while another one talks to the device."""
EMERGENCY_PATIENCE_S = 0.1
"""How long an emergency waits for that before it tries the next device."""


class Light:
    """Laser and shutter of a run, each spoken to by one thread at a time.

    Drivers are made for one thread, and an emergency comes from another: two questions at once
    on one line would garble both. So a lock stands before each of the two devices. An emergency
    that finds one taken does not wait for it, which might be for ever, but tries the other; once
    it was called, nothing makes light again.

    Parameters
    ----------
    instrument : Instrument
        Open devices.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._out = threading.Event()
        doors: dict[RoleName, threading.Lock] = {"laser": threading.Lock()}
        laser, shutter = instrument.laser, instrument.shutter
        if shutter is not None:
            doors["shutter"] = threading.Lock()

        def guarded(role: RoleName, patience_s: float) -> "_Door":
            return _Door(role, doors[role], patience_s, self._out)

        self.instrument = replace(
            instrument,
            laser=_GuardedLaser(laser, guarded("laser", PATIENCE_S)),
            shutter=shutter and _GuardedShutter(shutter, guarded("shutter", PATIENCE_S)),
        )
        """The same devices, for the measuring thread."""
        self._hurried: dict[RoleName, PulsedLaser | Shutter] = {
            "laser": _GuardedLaser(laser, guarded("laser", EMERGENCY_PATIENCE_S))
        }
        if shutter is not None:
            door = guarded("shutter", EMERGENCY_PATIENCE_S)
            self._hurried["shutter"] = _GuardedShutter(shutter, door)

    def put_out(self) -> SafeState:
        """Close the shutter, switch the laser off, and read both back; never raises.

        What is taken by a call that hangs is left to the measuring thread, and is told.
        """
        self._out.set()
        return make_safe(self._hurried)


class _Door:
    """Lets one thread at a time through to a device."""

    def __init__(
        self, role: RoleName, lock: threading.Lock, patience_s: float, out: threading.Event
    ) -> None:
        self._role = role
        self._lock = lock
        self._patience_s = patience_s
        self._out = out

    @contextmanager
    def passed(self, *, making_light: bool = False) -> Iterator[None]:
        # not re-entrant: what interrupts a call half way must not begin another one
        if not self._lock.acquire(timeout=self._patience_s):
            raise DeviceError(self._role, "is still busy with another call")
        try:
            if making_light and self._out.is_set():
                raise DeviceError(self._role, "makes no light after an emergency")
            yield
        finally:
            self._lock.release()


class _GuardedLaser:
    """A laser behind its door."""

    def __init__(self, laser: PulsedLaser, door: _Door) -> None:
        self._laser = laser
        self._door = door

    def identify(self) -> Identity:
        with self._door.passed():
            return self._laser.identify()

    def close(self) -> None:
        with self._door.passed():
            self._laser.close()

    def emission(self) -> bool:
        with self._door.passed():
            return self._laser.emission()

    def set_emission(self, on: bool) -> None:
        with self._door.passed(making_light=on):
            self._laser.set_emission(on)

    def repetition_rate_hz(self) -> float:
        with self._door.passed():
            return self._laser.repetition_rate_hz()

    def set_repetition_rate_hz(self, rate_hz: float) -> None:
        with self._door.passed():
            self._laser.set_repetition_rate_hz(rate_hz)


class _GuardedShutter:
    """A shutter behind its door."""

    def __init__(self, shutter: Shutter, door: _Door) -> None:
        self._shutter = shutter
        self._door = door

    def identify(self) -> Identity:
        with self._door.passed():
            return self._shutter.identify()

    def close(self) -> None:
        with self._door.passed():
            self._shutter.close()

    def is_open(self) -> bool:
        with self._door.passed():
            return self._shutter.is_open()

    def set_open(self, open_: bool) -> None:
        with self._door.passed(making_light=open_):
            self._shutter.set_open(open_)
