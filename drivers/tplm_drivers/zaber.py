"""Zaber stages, through zaber-motion.

Lengths go over the wire in microsteps only: the library's own units want its online database.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from zaber_motion import Units
from zaber_motion.ascii import Axis, Connection
from zaber_motion.exceptions import (
    ConnectionClosedException,
    ConnectionFailedException,
    MotionLibException,
    OsFailedException,
    RequestTimeoutException,
    SerialPortBusyException,
)

from tplm_config import InstrumentProfile
from tplm_config.devices import ZaberStage as ZaberSettings
from tplm_drivers._translate import told
from tplm_drivers._travel import Travel, no_faster, refuse_beyond
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity

HOMING_S = 180.0
"""Longest time for homing."""
LOST_REFERENCE = ("WR", "WH")
"""Flags of an axis that does not know where it is."""
VELOCITY_UNITS = 1.6384
"""Native units of velocity for one microstep per second."""
_GONE = (
    ConnectionClosedException,
    ConnectionFailedException,
    OsFailedException,
    SerialPortBusyException,
)


class ZaberStage:
    """Two Zaber axes as a detector stage.

    Parameters
    ----------
    role
        The role it plays.
    settings
        How to reach it.
    travel_um
        Lowest and highest reading of each axis.
    clock
        For waiting until it is homed.
    """

    def __init__(
        self, role: str, settings: ZaberSettings, travel_um: tuple[Travel, Travel], clock: Clock
    ) -> None:
        self._role = role
        self._settings = settings
        self._travel_um = travel_um
        self._clock = clock
        self._last_legs: dict[int, int] = {}
        self._lost = False
        self._velocity = 0.0
        with self._told():
            self._connection = _open(settings)
            try:
                # Whole milliseconds are what the library takes.
                self._connection.default_request_timeout = max(round(settings.timeout_s * 1e3), 1)
                self._axes = tuple(
                    self._connection.get_device(address).get_axis(number)
                    for address, number in (
                        (settings.x_address, settings.x_axis),
                        (settings.y_address, settings.y_axis),
                    )
                )
                self._home_what_is_lost()
            except BaseException:
                self.close()
                raise

    def identify(self) -> Identity:
        """Model number, serial numbers and firmware of the two devices."""
        with self._told():
            found = [
                tuple(
                    axis.device.settings.get_string(name)
                    for name in ("device.id", "system.serial", "version")
                )
                for axis in self._axes
            ]
        models, serials, versions = (
            ", ".join(dict.fromkeys(of)) for of in zip(*found, strict=True)
        )
        return Identity(f"Zaber device {models}", serials, versions)

    def position_um(self) -> tuple[float, ...]:
        """Where the stage is."""
        with self._told():
            return tuple(self._from_native(axis.get_position(Units.NATIVE)) for axis in self._axes)

    def move_to(self, target_um: tuple[float, ...]) -> None:
        """Start moving; downwards in two legs, so that every move ends from below."""
        refuse_beyond(self._role, target_um, self._travel_um)
        with self._told():
            self._last_legs.clear()
            for n, (axis, place_um) in enumerate(zip(self._axes, target_um, strict=True)):
                target = self._to_native(place_um)
                first = target
                if target < axis.get_position(Units.NATIVE):
                    lowest_um = max(self._travel_um[n][0], self._settings.home_um)
                    turn_um = max(place_um - self._settings.backlash_um, lowest_um)
                    first = self._to_native(turn_um)
                if first != target:
                    self._last_legs[n] = target
                self._start(axis, first)

    def is_moving(self) -> bool:
        """Whether any axis still moves; starts the second leg of those that need one."""
        with self._told():
            moving = [axis.is_busy() for axis in self._axes]
            for n, axis in enumerate(self._axes):
                if moving[n]:
                    continue
                self._refuse_faults(n)
                if n in self._last_legs:
                    self._start(axis, self._last_legs.pop(n))
                    moving[n] = True
            return any(moving)

    def stop(self) -> None:
        """Stop moving at once."""
        self._last_legs.clear()
        with self._told():
            for axis in self._axes:
                axis.stop(wait_until_idle=False)

    def set_speed_um_per_s(self, speed_um_per_s: float | None) -> None:
        """Speed of the moves that follow, the same for both axes; None is their ``maxspeed``.

        It goes out with each move: ``maxspeed`` itself would outlive the program and the power.
        """
        if speed_um_per_s is None:
            self._velocity = 0.0
            return
        with self._told():
            own = min(axis.settings.get("maxspeed", Units.NATIVE) for axis in self._axes)
        per_um_per_s = VELOCITY_UNITS / self._settings.microstep_um
        speed_um_per_s = no_faster(self._role, speed_um_per_s, own / per_um_per_s)
        self._velocity = float(max(round(speed_um_per_s * per_um_per_s), 1))

    def close(self) -> None:
        """Let go of the chain."""
        with contextlib.suppress(MotionLibException):  # it is gone already
            self._connection.close()

    def _start(self, axis: Axis, place: int) -> None:
        # a velocity of 0 is not sent: older firmware takes none
        axis.move_absolute(place, Units.NATIVE, wait_until_idle=False, velocity=self._velocity)

    def _home_what_is_lost(self) -> None:
        lost = [axis for axis in self._axes if not axis.is_homed()]
        if not lost:
            return
        if not self._settings.home:
            raise DeviceError(
                self._role,
                "does not know where it is: it has not been homed since it was switched on",
                "home it, or set home = true in the profile",
            )
        for axis in lost:
            axis.home(wait_until_idle=False)
        end_s = self._clock.now_s() + HOMING_S
        while any(axis.is_busy() for axis in lost):
            if self._clock.now_s() > end_s:
                for axis in lost:
                    axis.stop(wait_until_idle=False)
                raise DeviceError(
                    self._role,
                    f"was not homed within {HOMING_S:g} s",
                    "look for what blocks it",
                )
            self._clock.wait(0.1)
        for n in range(len(self._axes)):
            self._refuse_faults(n)

    def _refuse_faults(self, n: int) -> None:
        flags = self._axes[n].warnings.get_flags()
        name = "xy"[n]
        if faults := sorted(flag for flag in flags if flag.startswith("F")):
            self._last_legs.clear()
            stalled = " (it stalled and stopped)" if "FS" in faults else ""
            raise DeviceError(
                self._role,
                f"axis {name} reports the fault {', '.join(faults)}{stalled}",
                "look for what blocks it; the manual explains the flags",
            )
        if flags.intersection(LOST_REFERENCE):
            self._last_legs.clear()
            raise DeviceError(
                self._role,
                f"axis {name} has lost its reference: its readings mean nothing",
                "open the profile again to home it",
            )

    def _connect_again(self) -> None:
        """Try to reach a chain that was lost; its axes must still know where they are."""
        self._connection.reopen()
        self._lost = False
        for n in range(len(self._axes)):
            self._refuse_faults(n)

    def _from_native(self, microsteps: float) -> float:
        return self._settings.home_um + microsteps * self._settings.microstep_um

    def _to_native(self, place_um: float) -> int:
        return round((place_um - self._settings.home_um) / self._settings.microstep_um)

    @contextmanager
    def _told(self) -> Iterator[None]:
        settings = self._settings
        with told(
            self._role,
            MotionLibException,
            advice="compare travel_um and home_um in the profile with the stage",
            timeout_s=settings.timeout_s,
            address=settings.port,
        ):
            try:
                if self._lost:
                    self._connect_again()
                yield
            except _GONE as error:
                self._lost = True
                # The library has no common type for what the rest of Python calls this.
                raise ConnectionError(f"connection closed: {error.message}") from error
            except RequestTimeoutException as error:
                if self._connection.is_open:
                    raise
                self._lost = True  # it went while the library waited
                raise ConnectionError("connection closed") from error


def _open(settings: ZaberSettings) -> Connection:
    if not settings.port.startswith("tcp://"):
        return Connection.open_serial_port(settings.port)
    host, _, port = settings.port.removeprefix("tcp://").rpartition(":")
    return Connection.open_tcp(host, int(port))


def open_device(
    *, role: str, settings: ZaberSettings, profile: InstrumentProfile, clock: Clock, library: object
) -> ZaberStage:
    """Open the chain, and home what has lost its reference."""
    stage = profile.detector_stage
    return ZaberStage(role, settings, (stage.x.travel_um, stage.y.travel_um), clock)
