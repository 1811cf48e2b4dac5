"""Calibrating a neutral-density wheel: which transmission belongs to which angle.

The wheel of the excitation path is measured with the power meter, which stands before the shutter,
so that the sample stays in the dark. The wheel of the detection path is measured with the count
rate, each time with the shutter open and closed: what does not come from the sample drops out.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from tplm_config import InputError
from tplm_daq.store.files import replacing
from tplm_drivers import DeviceError, Instrument

Which = Literal["attenuator", "detection_attenuator"]
READINGS = 5
SIGMAS = 3.0
"""Standard errors by which a signal must stand out from nothing."""
TOLERANCE = 0.02
"""How far a step may go the wrong way, relative: as exact as the power is closed on the meter."""
MAX_CHANGE = 0.05
"""How much the light may change from beginning to end, relative."""
MAX_COUNTS_PER_PULSE = 0.05
"""Above this, pile-up swallows counts and the rate is no measure of the light."""
MIN_POINTS = 3
POLL_S = 0.05
HEADER = "position_deg,transmission"
SOURCE = "tplm calibrate"


@runtime_checkable
class Wheel(Protocol):
    """What a wheel must be able to do to be calibrated."""

    def position_deg(self) -> float:
        """Angle, read back."""

    def move_to_deg(self, position_deg: float) -> None:
        """Start turning."""

    def is_moving(self) -> bool:
        """Whether the wheel still turns."""


@dataclass(frozen=True, slots=True)
class Point:
    """Readings at one angle.

    Attributes
    ----------
    position_deg : float
        Read back from the wheel.
    signal : float
        Mean without the zero: nW or counts per second.
    spread : float
        Standard deviation of one reading.
    error : float
        Standard error of `signal`.
    """

    position_deg: float
    signal: float
    spread: float
    error: float


@dataclass(frozen=True, slots=True)
class WheelCalibration:
    """A calibrated wheel.

    Attributes
    ----------
    which : str
        ``attenuator`` or ``detection_attenuator``.
    unit : str
        Of the signals.
    readings : int
        At each angle.
    points : tuple of Point
        In the order of the angle; their signals go one way only.
    dropped : tuple of Point
        Too dark to be seen, or not to be told from a neighbour.
    change : float
        Of the light from beginning to end, relative.
    """

    which: Which
    unit: str
    readings: int
    points: tuple[Point, ...]
    dropped: tuple[Point, ...]
    change: float

    @property
    def brightest(self) -> Point:
        """The point to which the transmissions refer."""
        return _brightest(self.points)

    def transmissions(self) -> tuple[float, ...]:
        """Transmission of each point, relative to the brightest."""
        return tuple(point.signal / self.brightest.signal for point in self.points)


def calibrate(
    instrument: Instrument,
    which: Which,
    positions_deg: Sequence[float],
    *,
    readings: int = READINGS,
    beam_blocked: bool = False,
    progress: Callable[[Point], object] = lambda _: None,
) -> WheelCalibration:
    """Measure the transmission of a wheel at some angles.

    Parameters
    ----------
    instrument : Instrument
        Open devices; afterwards no light reaches the sample, whatever happened.
    which : str
        ``attenuator`` or ``detection_attenuator``.
    positions_deg : sequence of float
        Three angles or more.
    readings : int
        At each angle, two or more.
    beam_blocked : bool
        Whether somebody has blocked the beam before the sample by hand, for want of a shutter.
    progress : callable
        Told of every point.

    Raises
    ------
    InputError
        If the profile lacks what this needs.
    DeviceError
        If a device fails, the light changes, or the transmission does not go one way only.
    """
    if len(set(positions_deg)) < MIN_POINTS:
        raise InputError(SOURCE, f"{len(set(positions_deg))} angles", "give three or more")
    if readings < 2:
        raise InputError(SOURCE, f"{readings} readings an angle", "two or more show their spread")
    wheel, timeout_s = _wheel(instrument, which)
    light: _Light
    if which == "attenuator":
        light = _Power(instrument, readings, beam_blocked)
    else:
        light = _Counts(instrument, readings)

    def measure(target_deg: float) -> Point:
        _turn(instrument, wheel, which, target_deg, timeout_s)
        point = light.measure(wheel.position_deg())
        progress(point)
        return point

    try:
        light.prepare()
        points = [measure(target_deg) for target_deg in sorted(set(positions_deg))]
        brightest = _brightest(points)
        again = measure(brightest.position_deg)
    finally:
        light.block()
    if brightest.signal <= SIGMAS * brightest.error:
        raise DeviceError(
            which, "no angle lets any light through", "check the beam path and the laser"
        )
    change = again.signal / brightest.signal - 1
    if abs(change) > MAX_CHANGE:
        raise DeviceError(
            which,
            f"the light changed by {change:+.0%} while the wheel was calibrated",
            "let the laser warm up and see that the wheel does not slip, then calibrate again",
        )
    kept = one_way(points, which)
    dropped = tuple(point for point in points if point not in kept)
    return WheelCalibration(which, light.unit, readings, kept, dropped, change)


def one_way(points: Sequence[Point], which: Which) -> tuple[Point, ...]:
    """The points whose signal is seen and goes one way only; what is noise is left out.

    Raises
    ------
    DeviceError
        If the signal turns back by more than its noise, or too few points are left.
    """
    ordered = sorted(points, key=lambda point: point.position_deg)
    seen = [point for point in ordered if point.signal > SIGMAS * point.error]
    if len(seen) < MIN_POINTS:
        raise _too_few(which, len(seen))
    brightest = _brightest(seen)
    falls = ordered.index(brightest) < len(ordered) / 2
    # from the bright end, so that what is dropped is the dimmer, noisier one of two
    way = ordered if falls else ordered[::-1]
    kept: list[Point] = []
    for point in way:
        if point not in seen:
            continue
        if kept and point.signal >= kept[-1].signal:
            _check_noise(kept[-1], point, which)
            continue
        kept.append(point)
    if len(kept) < MIN_POINTS:
        raise _too_few(which, len(kept))
    return tuple(kept if falls else kept[::-1])


def table(calibration: WheelCalibration, lines: Sequence[str] = ()) -> str:
    """The table as text: comments with what was measured, then angles and transmissions.

    Parameters
    ----------
    calibration : WheelCalibration
        What was measured.
    lines : sequence of str
        More comments.
    """
    name = calibration.which.replace("_", "-")
    unit = calibration.unit
    change = f"the light changed by {calibration.change:+.1%} from beginning to end"
    comments = [
        f"transmission of the {name}, relative to its brightest place",
        *lines,
        f"{calibration.readings} readings an angle; {change}",
    ]
    for words, points in (("", calibration.points), ("left out: ", calibration.dropped)):
        comments += [
            f"{words}{point.position_deg:.4f} deg: {point.signal:.5g} {unit}, "
            f"spread of one reading {point.spread:.2g} {unit}"
            for point in points
        ]
    rows = [
        f"{point.position_deg:.4f},{transmission:.6e}"
        for point, transmission in zip(calibration.points, calibration.transmissions(), strict=True)
    ]
    text = [*(f"# {' '.join(comment.split())}" for comment in comments), HEADER, *rows]
    return "\n".join(text) + "\n"


def write_table(
    calibration: WheelCalibration, path: Path, instrument: Instrument, now: datetime
) -> None:
    """Write the table; a file that is already there is replaced whole or not at all.

    Parameters
    ----------
    calibration : WheelCalibration
        What was measured.
    path : Path
        CSV file.
    instrument : Instrument
        What it was measured with.
    now : datetime
        When.
    """
    identities = [
        f"{role}: {device.identify().model} {device.identify().serial_number}".rstrip()
        for role, device in instrument.devices().items()
        if role in (calibration.which, "laser", "power_meter", "card")
    ]
    date, profile = now.isoformat(timespec="seconds"), instrument.profile.name
    lines = [f"made by {SOURCE} on {date} with the profile {profile}", *identities]
    with replacing(path) as temporary:
        temporary.write_text(table(calibration, lines), encoding="utf-8", newline="\n")


class _Light(Protocol):
    """How the light behind the wheel is measured."""

    unit: str

    def prepare(self) -> None:
        """Make light."""

    def measure(self, position_deg: float) -> Point:
        """Take the readings at one angle."""

    def block(self) -> None:
        """Let no light reach the sample."""


class _Power:
    """The power meter, with the shutter closed."""

    unit = "nW"

    def __init__(self, instrument: Instrument, readings: int, beam_blocked: bool) -> None:
        if instrument.power_meter is None:
            raise InputError(SOURCE, "the profile has no power meter", "which this needs")
        if instrument.shutter is None and not beam_blocked:
            raise InputError(
                SOURCE,
                "the profile has no shutter and the wheel will pass its clear place",
                "block the beam before the sample by hand and say so with --beam-blocked",
            )
        self._instrument = instrument
        self._meter = instrument.power_meter
        self._readings = readings
        self._zero: list[float] = []

    def prepare(self) -> None:
        """Read the meter in the dark, then switch the laser on behind the closed shutter."""
        self.block()
        self._instrument.laser.set_emission(False)
        self._zero = self._read()
        _emit(self._instrument)

    def measure(self, position_deg: float) -> Point:
        """Take the readings at one angle."""
        values = self._read()
        limit_nw = self._instrument.profile.limits.laser_power_nw
        if max(values) > limit_nw:
            raise DeviceError(
                "laser",
                f"the meter reads {max(values):.3g} nW at {position_deg:.1f}°, but the profile "
                f"allows {limit_nw:g} nW at most",
                "turn the laser down, or calibrate darker angles only",
            )
        return _point(position_deg, values, self._zero)

    def block(self) -> None:
        """Close the shutter, if there is one."""
        if self._instrument.shutter is not None:
            self._instrument.shutter.set_open(False)

    def _read(self) -> list[float]:
        values = []
        for _ in range(self._readings):
            self._instrument.clock.wait(POLL_S)
            values.append(self._meter.power_nw())
        return values


class _Counts:
    """The count rate, with the shutter open and closed."""

    unit = "counts/s"
    _READING_S = 0.2
    """Cards renew their rates every 100 ms."""

    def __init__(self, instrument: Instrument, readings: int) -> None:
        if instrument.shutter is None:
            raise InputError(
                SOURCE,
                "the profile has no shutter",
                "which tells the light of the sample from all other",
            )
        self._instrument = instrument
        self._shutter = instrument.shutter
        self._readings = readings

    def prepare(self) -> None:
        """Switch the laser on behind the closed shutter."""
        self.block()
        _emit(self._instrument)

    def measure(self, position_deg: float) -> Point:
        """Take the readings at one angle, dark and light."""
        self._shutter.set_open(False)
        dark = self._read(position_deg)
        self._shutter.set_open(True)
        try:
            values = self._read(position_deg)
        finally:
            self._shutter.set_open(False)
        return _point(position_deg, values, dark)

    def block(self) -> None:
        """Close the shutter."""
        self._shutter.set_open(False)

    def _read(self, position_deg: float) -> list[float]:
        limits = self._instrument.profile.limits
        pulses_hz = self._instrument.laser.repetition_rate_hz()
        highest_hz = min(limits.detector_count_rate_hz, MAX_COUNTS_PER_PULSE * pulses_hz)
        values: list[float] = []
        for _ in range(self._readings):
            self._instrument.clock.wait(self._READING_S)
            values.append(self._instrument.card.count_rate_hz())
            if values[-1] > highest_hz:
                raise DeviceError(
                    "card",
                    f"counts {values[-1]:.3g} per second at {position_deg:.1f}°, more than the "
                    f"{highest_hz:.3g} at which a rate still is a measure of the light",
                    "turn the excitation down, then calibrate again",
                )
        return values


def _emit(instrument: Instrument) -> None:
    instrument.laser.set_emission(True)
    instrument.clock.wait(instrument.profile.laser.warm_up_s)
    if not instrument.laser.emission():
        raise DeviceError(
            "laser", "the emission was switched on but reads back as off", "check the interlock"
        )


def _wheel(instrument: Instrument, which: Which) -> tuple[Wheel, float]:
    device, role = getattr(instrument, which), getattr(instrument.profile, which)
    if device is None:
        raise InputError(SOURCE, f"the profile has no {which}")
    if not isinstance(device, Wheel):
        raise InputError(
            SOURCE,
            f"the driver '{role.driver.name}' of the {which} needs no table",
            "only a wheel that knows nothing but its angle does, such as 'kinesis-wheel'",
        )
    return device, role.timeout_s


def _turn(
    instrument: Instrument, wheel: Wheel, which: Which, target_deg: float, timeout_s: float
) -> None:
    wheel.move_to_deg(target_deg)
    deadline_s = instrument.clock.now_s() + timeout_s
    while wheel.is_moving():
        if instrument.clock.now_s() > deadline_s:
            raise DeviceError(
                which,
                f"the wheel still turns {timeout_s:g} s after it was sent to {target_deg:g}°",
                "look for what holds it",
            )
        instrument.clock.wait(POLL_S)


def _point(position_deg: float, values: Sequence[float], zero: Sequence[float]) -> Point:
    spread = statistics.stdev(values)
    error = math.hypot(spread, statistics.stdev(zero)) / math.sqrt(len(values))
    signal = statistics.fmean(values) - statistics.fmean(zero)
    return Point(position_deg, signal, spread, error)


def _brightest(points: Sequence[Point]) -> Point:
    return max(points, key=lambda point: point.signal)


def _check_noise(before: Point, after: Point, which: Which) -> None:
    noise = SIGMAS * math.hypot(before.error, after.error) + TOLERANCE * before.signal
    if after.signal - before.signal > noise:
        raise DeviceError(
            which,
            f"the transmission does not go one way only: {before.signal:.3g} at "
            f"{before.position_deg:.1f}° but {after.signal:.3g} at {after.position_deg:.1f}°",
            "leave the gap of the wheel out of the angles, and see that it does not slip",
        )


def _too_few(which: Which, count: int) -> DeviceError:
    return DeviceError(
        which,
        f"only {count} angles differ by more than the noise",
        "choose more angles, brighter ones, or more readings",
    )
