"""Calibrating wheels: a stand-in of known density, the table it makes, and what may go wrong."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.rig import small_profile, virtual
from tests.daq.test_cli import run, run_json
from tplm_config import InputError
from tplm_daq.calibration import Point, Which, calibrate, one_way, table, write_table
from tplm_drivers import DeviceError, Identity, Instrument, connect
from tplm_simulators.attenuator import Attenuator

ANGLES = np.linspace(0, 270, 10).tolist()
DENSITY_PER_DEG = 3.0 / 270


@dataclass
class StandIn:
    """A wheel that knows its angle only, in front of a virtual attenuator."""

    attenuator: Attenuator
    clear_deg: float = 0.0
    stuck: bool = False
    target_deg: float = 0.0

    def density(self, position_deg: float) -> float:
        return DENSITY_PER_DEG * abs(position_deg - self.clear_deg)

    def position_deg(self) -> float:
        density = -math.log10(self.attenuator.transmission())
        side = math.copysign(1, self.target_deg - self.clear_deg)
        return self.clear_deg + side * density / DENSITY_PER_DEG

    def move_to_deg(self, position_deg: float) -> None:
        self.target_deg = position_deg
        self.attenuator.set_transmission(10 ** -self.density(position_deg))

    def is_moving(self) -> bool:
        return self.stuck or self.attenuator.is_moving()

    def transmission(self) -> float:
        raise DeviceError("attenuator", "the wheel has no calibration table")

    def set_transmission(self, transmission: float) -> None:
        raise DeviceError("attenuator", "the wheel has no calibration table")

    def identify(self) -> Identity:
        return Identity("stand-in, with a comma", "7")

    def close(self) -> None: ...


@pytest.fixture
def bare() -> Iterator[Instrument]:
    with connect(small_profile("simulation.laser.noise_rms=0.0005")) as instrument:
        instrument.laser.set_repetition_rate_hz(2.5e6)
        yield instrument


@pytest.fixture
def instrument(bare: Instrument) -> Instrument:
    """With both wheels standing in."""
    at = virtual(bare)
    return replace(
        bare,
        attenuator=StandIn(at.attenuator),
        detection_attenuator=StandIn(at.detection_attenuator),
    )


def test_attenuator(instrument: Instrument) -> None:
    told: list[Point] = []
    found = calibrate(instrument, "attenuator", ANGLES, progress=told.append)
    assert len(found.points) + len(found.dropped) == 10
    assert len(found.points) >= 8
    assert len(told) == 11  # and the brightest again
    for point, transmission in zip(found.points, found.transmissions(), strict=True):
        exact = 10 ** (-DENSITY_PER_DEG * point.position_deg)
        noise = 3 * point.error / found.brightest.signal
        assert transmission == pytest.approx(exact, rel=0.01, abs=noise)
    assert found.brightest.signal == pytest.approx(100.0, rel=0.01)
    assert found.unit == "nW"
    assert abs(found.change) < 0.01


def test_the_sample_stays_in_the_dark(instrument: Instrument) -> None:
    at = virtual(instrument)

    def look(_point: Point) -> None:
        assert at.laser.output_nw() > 0
        assert not at.shutter.passes_at(at.clock.now_s())

    assert instrument.shutter is not None
    instrument.shutter.set_open(True)
    calibrate(instrument, "attenuator", ANGLES, progress=look)


def test_a_wheel_the_other_way_round(bare: Instrument) -> None:
    wheel = StandIn(virtual(bare).attenuator, clear_deg=270.0)
    found = calibrate(replace(bare, attenuator=wheel), "attenuator", ANGLES)
    assert found.brightest.position_deg == pytest.approx(270.0)
    assert list(found.transmissions()) == sorted(found.transmissions())


def test_detection_attenuator(instrument: Instrument) -> None:
    at = virtual(instrument)
    at.attenuator.set_transmission(0.05)
    at.clock.wait(10)
    instrument.card.configure(200.0, 128, 0.0, 1)
    angles = np.linspace(0, 135, 6).tolist()
    found = calibrate(instrument, "detection_attenuator", angles, readings=8)
    assert found.unit == "counts/s"
    for point, transmission in zip(found.points, found.transmissions(), strict=True):
        exact = 10 ** (-DENSITY_PER_DEG * point.position_deg)
        noise = 4 * point.error / found.brightest.signal
        assert transmission == pytest.approx(exact, rel=0.05, abs=noise)
    assert not at.shutter.passes_at(at.clock.now_s() + 1)


def test_too_many_counts(instrument: Instrument) -> None:
    at = virtual(instrument)
    at.attenuator.set_transmission(1.0)
    at.clock.wait(10)
    instrument.card.configure(200.0, 128, 0.0, 1)
    with pytest.raises(DeviceError, match="card: counts .* still is a measure of the light; turn"):
        calibrate(instrument, "detection_attenuator", ANGLES)
    at.clock.wait(1)
    assert not at.shutter.passes_at(at.clock.now_s())


def test_table_is_what_the_driver_reads(instrument: Instrument, tmp_path: Path) -> None:
    wheel_driver = pytest.importorskip("tplm_drivers.kinesis_wheel")
    found = calibrate(instrument, "attenuator", ANGLES)
    path = tmp_path / "attenuator.csv"
    write_table(found, path, instrument, datetime(2026, 11, 20, 17, tzinfo=UTC))
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert "# made by tplm calibrate on 2026-11-20T17:00:00+00:00 with the profile" in text
    assert "# attenuator: stand-in, with a comma 7" in lines
    assert sum("spread of one reading" in line for line in lines) == 10
    assert lines.count("position_deg,transmission") == 1
    assert list(tmp_path.iterdir()) == [path]
    read = wheel_driver.Calibration.read(path)
    assert read.transmission(45.0) == pytest.approx(10 ** (-DENSITY_PER_DEG * 45), rel=0.02)
    assert read.position_deg(0.1) == pytest.approx(90.0, abs=1.0)


def test_a_failing_disk_leaves_the_old_table(
    instrument: Instrument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = calibrate(instrument, "attenuator", ANGLES)
    path = tmp_path / "attenuator.csv"
    path.write_text("old", encoding="utf-8")

    def full(_path: Path, _target: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_table(found, path, instrument, datetime(2026, 11, 20, tzinfo=UTC))
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def points(*signals: float, error: float = 0.001) -> list[Point]:
    return [Point(10.0 * i, signal, error, error) for i, signal in enumerate(signals)]


def test_one_way_leaves_out_noise() -> None:
    kept = one_way(points(1.0, 0.5, 0.501, 0.2, 0.05, 0.001), "attenuator")
    assert [point.signal for point in kept] == [1.0, 0.5, 0.2, 0.05]
    kept = one_way(points(0.001, 0.05, 0.2, 1.0, 0.999), "attenuator")
    assert [point.signal for point in kept] == [0.05, 0.2, 0.999]


@pytest.mark.parametrize(
    ("signals", "words"),
    [
        ((1.0, 0.5, 0.2, 0.9), "does not go one way only: 0.2 at 20.0° but 0.9 at 30.0°"),
        ((0.5, 0.1, 0.01, 0.001, 1.0), "does not go one way only: 0.01 at 20.0° but 0.1"),
        ((1.0, 0.002, 0.001, 0.0), "only 1 angles differ by more than the noise"),
    ],
)
def test_one_way_refuses(signals: tuple[float, ...], words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        one_way(points(*signals), "attenuator")


def test_the_gap_of_the_wheel(bare: Instrument) -> None:
    wheel = StandIn(virtual(bare).attenuator, clear_deg=60.0)
    with pytest.raises(DeviceError, match="does not go one way only.*gap of the wheel"):
        calibrate(replace(bare, attenuator=wheel), "attenuator", ANGLES)


def test_light_that_changes(instrument: Instrument) -> None:
    at = virtual(instrument)
    seen = 0

    def fade(_point: Point) -> None:
        nonlocal seen
        seen += 1
        at.laser.set_power_fraction(1 - 0.01 * seen)

    with pytest.raises(DeviceError, match=r"the light changed by -10% while"):
        calibrate(instrument, "attenuator", ANGLES, progress=fade)


def test_stuck_wheel(bare: Instrument) -> None:
    wheel = StandIn(virtual(bare).attenuator, stuck=True)
    with pytest.raises(DeviceError, match="attenuator: the wheel still turns 30 s after"):
        calibrate(replace(bare, attenuator=wheel), "attenuator", ANGLES)


def test_interlock(instrument: Instrument) -> None:
    virtual(instrument).laser.open_interlock()
    with pytest.raises(DeviceError, match="interlock"):
        calibrate(instrument, "attenuator", ANGLES)


def test_power_limit() -> None:
    with connect(small_profile("limits.laser_power_nw=50.0")) as bare:
        wheel = StandIn(virtual(bare).attenuator)
        with pytest.raises(
            DeviceError, match=r"reads [\d.]+ nW at 0.0°.* allows 50 nW at most; turn"
        ):
            calibrate(replace(bare, attenuator=wheel), "attenuator", ANGLES)


MISSING: list[tuple[Which, dict[str, Any], str]] = [
    ("attenuator", {"power_meter": None}, "no power meter"),
    ("attenuator", {"attenuator": None}, "no attenuator"),
    ("attenuator", {"shutter": None}, "--beam-blocked"),
    ("detection_attenuator", {"shutter": None}, "no shutter"),
]


@pytest.mark.parametrize(("which", "changes", "words"), MISSING)
def test_what_the_profile_lacks(
    instrument: Instrument, which: Which, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        calibrate(replace(instrument, **changes), which, ANGLES)


def test_no_shutter_but_a_blocked_beam(instrument: Instrument) -> None:
    found = calibrate(replace(instrument, shutter=None), "attenuator", ANGLES, beam_blocked=True)
    assert "attenuator" in table(found)


def test_a_driver_without_angles(bare: Instrument) -> None:
    with pytest.raises(InputError, match="driver 'simulated' of the attenuator needs no table"):
        calibrate(bare, "attenuator", ANGLES)


@pytest.mark.parametrize(("angles", "readings"), [([0.0, 1.0], 5), (ANGLES, 1)])
def test_too_little_asked_for(instrument: Instrument, angles: list[float], readings: int) -> None:
    with pytest.raises(InputError):
        calibrate(instrument, "attenuator", angles, readings=readings)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real wheel driver, on its simulated controller, from no table to a power that is set."""
    pytest.importorskip("tplm_drivers.kinesis_wheel")
    path = tmp_path / "wheel.csv"
    wheel = 'attenuator.driver={name="kinesis-wheel",port="COM7"}'
    arguments = [
        "calibrate", "attenuator", "--set-profile", wheel, "--simulated", "--out", path,
        "--angles", 8, "--to-deg", 200,
    ]  # fmt: skip
    code, answer = run_json(capsys, *arguments)
    assert code == 0
    assert answer["file"] == str(path)
    assert answer["points"] >= 7
    assert answer["brightest"] == pytest.approx(100, rel=0.05)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "exists already" in err
    calibrated = wheel.replace("}", f',calibration="{path.as_posix()}"}}')
    code, answer = run_json(
        capsys, "scan", "line", "--out", tmp_path / "a.h5", "--simulated",
        "--set-profile", calibrated, "--set", "positions=3", "--set", "passes=1",
        "--set", "card.time_bin_ps=200", "--set", "dwell_s=0.5",
        "--set", "excitation.power_nw=5.0",
    )  # fmt: skip
    assert code == 0


def test_command_needs_a_wheel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "calibrate", "attenuator", "--out", tmp_path / "a.csv")
    assert code == 2
    assert "needs no table" in err
    code, _, err = run(capsys, "calibrate", "attenuator", "--out", tmp_path / "no" / "a.csv")
    assert code == 2
    assert "folder does not exist" in err
    assert not list(tmp_path.iterdir())
