"""The driver of the ND wheel through pylablib, against a simulated KST101."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tplm_config import load_profile
from tplm_config.devices import KinesisWheel
from tplm_config.simulation import AttenuatorSettings, SimulationSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_drivers.kinesis_wheel import Calibration, Wheel
from tplm_drivers.roles import RoleName
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import WireFault, serve
from tplm_simulators.wire.kinesis import MOTION_ERROR, ServedKinesis

TABLE = "position_deg,transmission\n0,1\n30,0.4\n75,0.1\n150,0.01\n300,0.0001\n"
STEP_DEG = 360 / 409600


def bench(
    table: Path | None, role: RoleName = "attenuator"
) -> tuple[VirtualMicroscope, ServedKinesis]:
    # slow enough to be seen moving at 50 times the speed
    simulation = SimulationSettings(attenuator=AttenuatorSettings(density_per_s=0.25))
    microscope = VirtualMicroscope(simulation, OpticsSettings(), RunningClock(50))
    settings = KinesisWheel(
        port="COM5", calibration=None if table is None else str(table), timeout_s=0.3
    )
    served = serve(settings, microscope, role)
    assert isinstance(served, ServedKinesis)
    return microscope, served


@contextmanager
def opened(
    microscope: VirtualMicroscope, served: ServedKinesis, role: RoleName = "attenuator"
) -> Iterator[Wheel]:
    device = open_device(role, served.settings, load_profile("simulated"), microscope.clock)
    assert isinstance(device, Wheel)
    try:
        yield device
    finally:
        device.close()


def arrive(wheel: Wheel) -> None:
    for _ in range(500):
        if not wheel.is_moving():
            return
    pytest.fail("it turns for ever")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wheel") / "wheel.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def at_work(table: Path) -> Iterator[tuple[VirtualMicroscope, ServedKinesis, Wheel]]:
    microscope, served = bench(table)
    with opened(microscope, served) as wheel:
        yield microscope, served, wheel
    served.stop()


def test_identity(at_work: tuple[VirtualMicroscope, ServedKinesis, Wheel]) -> None:
    _, served, wheel = at_work
    assert type(wheel.motor.library).__module__ == "pylablib.devices.Thorlabs.kinesis"
    identity = wheel.identify()
    assert (identity.model, identity.serial_number) == ("KST101", "26001003")
    assert identity.checked_against == "simulator only"
    assert ("<", struct.pack("<HBBBB", 0x0443, 1, 0, 0x50, 0x01)) in served.servers[0].log


@pytest.mark.parametrize(
    ("role", "position_deg", "transmission"),
    [("attenuator", 300, 1e-4), ("detection_attenuator", 0, 1.0)],
)
def test_opens_dark_before_the_sample_and_clear_before_the_detector(
    table: Path, role: RoleName, position_deg: float, transmission: float
) -> None:
    microscope, served = bench(table, role)
    with opened(microscope, served, role) as wheel:
        assert wheel.position_deg() == pytest.approx(position_deg, abs=2 * STEP_DEG)
        assert wheel.transmission() == pytest.approx(transmission, rel=1e-3)
        # from the clear end, where homing ends; the other wheel stays as it was
        excitation = microscope.attenuator.transmission()
        detection = microscope.detection_attenuator.transmission()
        expected = (1e-4, 1.0) if role == "attenuator" else (0.01, 1.0)
        assert (excitation, detection) == pytest.approx(expected, rel=1e-3)
    served.stop()


@pytest.mark.parametrize(
    ("transmission", "position_deg"),
    [(1.0, 0.0), (0.1, 75.0), (0.0316228, 112.5), (0.0001, 300.0), (0.0, 300.0)],
)
def test_transmission(
    at_work: tuple[VirtualMicroscope, ServedKinesis, Wheel],
    transmission: float,
    position_deg: float,
) -> None:
    microscope, served, wheel = at_work
    wheel.move_to_deg(225.0)
    arrive(wheel)
    wheel.set_transmission(transmission)
    assert wheel.is_moving()
    arrive(wheel)
    assert wheel.position_deg() == pytest.approx(position_deg, abs=2 * STEP_DEG)
    truth = max(transmission, 1e-4)
    assert wheel.transmission() == pytest.approx(truth, rel=1e-3)
    assert microscope.attenuator.transmission() == pytest.approx(truth, rel=1e-3)
    sent = [data for way, data in served.servers[0].log if way == "<" and data[:2] == b"\x53\x04"]
    assert struct.unpack("<i", sent[-1][8:])[0] * STEP_DEG == pytest.approx(position_deg, abs=0.01)


def test_the_table_decides(at_work: tuple[VirtualMicroscope, ServedKinesis, Wheel]) -> None:
    microscope, _, wheel = at_work
    wheel.move_to_deg(30.0)
    arrive(wheel)
    assert wheel.transmission() == pytest.approx(0.4, rel=1e-3)
    assert microscope.attenuator.transmission() == pytest.approx(10**-0.4, rel=1e-3)


@pytest.mark.parametrize("transmission", [-0.1, 1.01, float("nan")])
def test_no_such_transmission(
    at_work: tuple[VirtualMicroscope, ServedKinesis, Wheel], transmission: float
) -> None:
    with pytest.raises(DeviceError, match="is not from 0 to 1") as caught:
        at_work[2].set_transmission(transmission)
    assert caught.value.device == "attenuator"


@pytest.mark.parametrize("position_deg", [-1.0, 361.0])
def test_no_such_angle(
    at_work: tuple[VirtualMicroscope, ServedKinesis, Wheel], position_deg: float
) -> None:
    with pytest.raises(DeviceError, match="is not an angle from 0 to 360°"):
        at_work[2].move_to_deg(position_deg)


@pytest.mark.parametrize(
    "fault",
    [WireFault("garbled"), WireFault("truncated"), WireFault("silent"), WireFault("late", 1, 0.4)],
    ids=lambda fault: fault.kind,
)
def test_bad_replies(
    at_work: tuple[VirtualMicroscope, ServedKinesis, Wheel], fault: WireFault
) -> None:
    _, served, wheel = at_work
    before = wheel.transmission()
    served.servers[0].fail(fault)
    with pytest.raises(DeviceError, match="makes no sense|does not answer within 0.3") as caught:
        wheel.transmission()
    assert caught.value.device == "attenuator"
    assert "\n" not in str(caught.value)
    assert wheel.transmission() == before


def test_faults_of_the_motor(at_work: tuple[VirtualMicroscope, ServedKinesis, Wheel]) -> None:
    microscope, served, wheel = at_work
    served.controllers[0].fault_bits = MOTION_ERROR
    with pytest.raises(DeviceError, match="controller of the wheel lost steps"):
        wheel.is_moving()
    served.controllers[0].fault_bits = 0
    microscope.attenuator.unplug()
    with pytest.raises(DeviceError, match="the wheel at socket://.* does not answer"):
        wheel.set_transmission(0.5)
    microscope.attenuator.plug_in()
    wheel.set_transmission(0.5)
    arrive(wheel)


def test_without_a_table_and_losing_its_position() -> None:
    microscope, served = bench(None)
    with opened(microscope, served) as wheel:
        assert wheel.position_deg() == 0
        for ask in (wheel.transmission, lambda: wheel.set_transmission(0.1)):
            with pytest.raises(DeviceError, match=r"no calibration table; .*tplm calibrate"):
                ask()
        wheel.move_to_deg(75.0)
        arrive(wheel)
        assert microscope.attenuator.transmission() == pytest.approx(0.1, rel=1e-3)
        served.controllers[0].power_cycle()
        calls = (wheel.position_deg, wheel.is_moving, lambda: wheel.move_to_deg(10.0))
        for ask_angle in calls:
            with pytest.raises(DeviceError, match="the wheel has lost its reference"):
                ask_angle()
        served.servers[0].drop()
        with pytest.raises(DeviceError, match="connection to the wheel .* was lost"):
            wheel.position_deg()
    served.stop()


def test_a_table_made_while_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    microscope, served = bench(Path("wheel.csv"))
    with opened(microscope, served) as wheel:
        with pytest.raises(DeviceError, match=rf"no calibration table {tmp_path}.wheel.csv; make"):
            wheel.transmission()
        Path("wheel.csv").write_text(
            "position_deg,transmission\n10,0.7\n200,0.002\n", encoding="utf-8"
        )
        with pytest.raises(DeviceError, match="stands at 0.0°, where its calibration says nothing"):
            wheel.transmission()
        wheel.set_transmission(1.0)
        arrive(wheel)
        assert wheel.transmission() == pytest.approx(0.7, rel=1e-3)
        wheel.move_to_deg(0.0)
        arrive(wheel)
    with opened(microscope, served) as wheel:
        assert wheel.transmission() == pytest.approx(0.002, rel=1e-3)
    served.stop()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line is not position_deg,transmission"),
        ("angle,transmission\n0,1\n1,0.5\n", "first line"),
        ("position_deg,transmission\n0,1\n", "fewer than two rows"),
        ("position_deg,transmission\n0,1\n1\n", "not two columns"),
        ("position_deg,transmission\n0,1\n1,dark\n", "could not convert"),
        ("position_deg,transmission\n0,1\n1,0\n", "not above 0"),
        ("position_deg,transmission\n0,1\n1,nan\n", "not above 0"),
        ("position_deg,transmission\n0,1\n1,1.2\n", "at most 1"),
        ("position_deg,transmission\n0,1\n0,0.5\n", "one way only"),
        ("position_deg,transmission\n0,1\n1,0.5\n2,0.6\n", "one way only"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "wheel.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        Calibration.read(path)


@pytest.mark.parametrize("rows", [((0, 1), (100, 0.1), (300, 0.001)), ((5, 0.01), (0, 0.2))])
def test_table_there_and_back(rows: tuple[tuple[float, float], ...]) -> None:
    table = Calibration([row[0] for row in rows], [row[1] for row in rows])
    for position_deg, transmission in rows:
        assert table.transmission(position_deg) == pytest.approx(transmission)
        assert table.position_deg(transmission) == pytest.approx(position_deg)
    halfway = (rows[0][0] + rows[1][0]) / 2
    assert table.transmission(halfway) == pytest.approx((rows[0][1] * rows[1][1]) ** 0.5)
