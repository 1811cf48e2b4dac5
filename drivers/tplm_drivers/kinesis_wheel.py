"""A neutral-density wheel on a Thorlabs Kinesis controller, as an attenuator.

Which transmission belongs to which angle is in a table, ``position_deg,transmission``, that
``tplm calibrate`` makes. Homing turns the wheel through its clear end: nothing but a closed
shutter or a dark laser protects the sample then, and both are the case while devices open.
"""

import csv
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tplm_config import InstrumentProfile
from tplm_config.devices import KinesisWheel
from tplm_drivers.clock import Clock
from tplm_drivers.kinesis import POLL_S, Motor, home
from tplm_drivers.roles import DeviceError, Identity, RoleName

COLUMNS = ["position_deg", "transmission"]
TOLERANCE_DEG = 0.05
ADVICE = "make the table with: tplm calibrate"


class Calibration:
    """Transmission against angle, interpolated in the optical density.

    Parameters
    ----------
    position_deg, transmission
        The table; both columns go one way only.

    Raises
    ------
    ValueError
        If they do not, in words for the person at the table.
    """

    def __init__(self, position_deg: list[float], transmission: list[float]) -> None:
        position, fraction = np.array(position_deg), np.array(transmission)
        if len(position) < 2:
            raise ValueError("it has fewer than two rows")
        if not np.all(np.isfinite(position)) or not np.all((fraction > 0) & (fraction <= 1)):
            raise ValueError("a transmission is not above 0 and at most 1, or a position no number")
        order = np.argsort(position)
        self._position, self._log = position[order], np.log(fraction[order])
        steps = np.diff(self._log)
        if not np.all(np.diff(self._position) > 0) or not (np.all(steps > 0) or np.all(steps < 0)):
            raise ValueError("the transmission does not go one way only with the position")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a CSV table.

        Raises
        ------
        OSError, ValueError
            If there is none, or it makes no sense.
        """
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
        if not rows or [name.strip() for name in rows[0]] != COLUMNS:
            raise ValueError(f"its first line is not {','.join(COLUMNS)}")
        if any(len(row) != 2 for row in rows):
            raise ValueError("a row has not two columns")
        table = [(float(position), float(fraction)) for position, fraction in rows[1:]]
        return cls([row[0] for row in table], [row[1] for row in table])

    @property
    def darkest_deg(self) -> float:
        """Where the least light passes."""
        return float(self._position[np.argmin(self._log)])

    def covers(self, position_deg: float) -> bool:
        """Whether the table says anything about an angle."""
        first, last = self._position[[0, -1]]
        return bool(first - TOLERANCE_DEG <= position_deg <= last + TOLERANCE_DEG)

    def transmission(self, position_deg: float) -> float:
        """Transmission at an angle."""
        return float(np.exp(np.interp(position_deg, self._position, self._log)))

    def position_deg(self, transmission: float) -> float:
        """Angle of a transmission; the nearest there is beyond the ends of the table."""
        lowest = float(np.exp(self._log.min()))
        return float(np.interp(np.log(max(transmission, lowest)), *self._rising()))

    def _rising(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The table in the order of growing transmission."""
        way = 1 if self._log[-1] > self._log[0] else -1
        return self._log[::way], self._position[::way]


class Wheel:
    """The wheel; at opening it is homed, if need be, and then turned to its darkest place.

    Parameters
    ----------
    settings
        Of the profile.
    role
        Which role it plays.
    limit_s
        Longest time for one way.
    clock
        Device time.
    """

    def __init__(
        self, settings: KinesisWheel, role: RoleName, limit_s: float, clock: Clock
    ) -> None:
        self._role = role
        self._settings = settings
        self._calibration: Calibration | None = None
        self.motor = Motor(
            role,
            "wheel",
            settings.port,
            scale=settings.steps_per_degree,
            unit="°",
            units_per_scale=1.0,
            tolerance=TOLERANCE_DEG,
            timeout_s=settings.timeout_s,
            clock=clock,
        )
        try:
            lost = home([self.motor], role, clock, limit_s if settings.home else None)
            if lost and not settings.home:
                raise DeviceError(
                    role,
                    "the wheel does not know its position",
                    "set home = true in the profile",
                )
            if role == "attenuator":  # a dark wheel before the detector protects nothing
                self._darken(bool(lost), limit_s, clock)
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Ask the controller."""
        return self.motor.identify()

    def close(self) -> None:
        """Let go of the controller."""
        self.motor.close()

    def transmission(self) -> float:
        """Transmission from 0 to 1, by the angle read back."""
        table, position_deg = self._table(), self.position_deg()
        if not table.covers(position_deg):
            raise DeviceError(
                self._role,
                f"the wheel stands at {position_deg:.1f}°, where its calibration says nothing",
                "connect again, which turns it to its darkest place, or calibrate it wider",
            )
        return table.transmission(position_deg)

    def set_transmission(self, transmission: float) -> None:
        """Start turning to a transmission, or the nearest there is; `is_moving` tells the end."""
        if not 0 <= transmission <= 1:
            raise DeviceError(self._role, f"a transmission of {transmission:g} is not from 0 to 1")
        self.move_to_deg(self._table().position_deg(transmission))

    def is_moving(self) -> bool:
        """Whether the wheel still turns."""
        return self.motor.is_moving()

    def position_deg(self) -> float:
        """Angle from home, read back; without a reference there is none."""
        self.motor.check()
        return self.motor.position()

    def move_to_deg(self, position_deg: float) -> None:
        """Start turning to an angle from home, for the calibration."""
        if not 0 <= position_deg <= 360:
            raise DeviceError(self._role, f"{position_deg:g}° is not an angle from 0 to 360°")
        self.motor.start(position_deg)

    def _table(self) -> Calibration:
        """The calibration, read when it is needed first: making one needs the wheel without it."""
        if self._calibration is None:
            if self._settings.calibration is None:
                raise DeviceError(self._role, "the wheel has no calibration table", ADVICE)
            path = Path(self._settings.calibration)
            try:
                self._calibration = Calibration.read(path)
            except FileNotFoundError as error:
                raise DeviceError(
                    self._role, f"there is no calibration table {path.absolute()}", ADVICE
                ) from error
            except (OSError, ValueError) as error:
                raise DeviceError(
                    self._role, f"the calibration table {path} cannot be used: {error}", ADVICE
                ) from error
        return self._calibration

    def _darken(self, was_homed: bool, limit_s: float, clock: Clock) -> None:
        """Leave the clear end where homing ends, and places of which the table says nothing."""
        try:
            table = self._table()
        except DeviceError:
            return  # told when somebody asks for a transmission
        if not was_homed and table.covers(self.position_deg()):
            return
        self.motor.start(table.darkest_deg)
        deadline_s = clock.now_s() + limit_s
        while self.motor.is_moving():
            if clock.now_s() > deadline_s:
                self.motor.stop()
                raise DeviceError(
                    self._role,
                    f"the wheel still turns after {limit_s:g} s",
                    "look for what holds it, then connect again",
                )
            clock.wait(POLL_S)


def open_device(
    *,
    role: RoleName,
    settings: KinesisWheel,
    profile: InstrumentProfile,
    clock: Clock,
    library: object = None,
) -> Wheel:
    """Open the wheel of the excitation or the detection path."""
    at = profile.attenuator if role == "attenuator" else profile.detection_attenuator
    assert at is not None
    return Wheel(settings, role, at.timeout_s, clock)
