"""The Kinesis driver through pylablib, against simulated KST101 controllers."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tplm_config import load_profile
from tplm_config.devices import KinesisStage
from tplm_config.simulation import SimulationSettings, StageSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_drivers.kinesis import Stage
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import WireFault, serve
from tplm_simulators.wire.kinesis import MOTION_ERROR, ServedKinesis

SETTINGS = KinesisStage(x_port="COM3", y_port="COM4", timeout_s=0.3)
AXIS = "={zero_um=12500,travel_um=[0,25000]}"
PROFILE = (f"detector_stage.x{AXIS}", f"detector_stage.y{AXIS}")
CENTRE = (12500.0, 12500.0)
STEP_UM = 1 / 2184.53333


def bench(**stage: float) -> tuple[VirtualMicroscope, ServedKinesis]:
    settings = SimulationSettings(detector_stage=StageSettings(**stage))
    microscope = VirtualMicroscope(settings, OpticsSettings(), RunningClock(50))
    served = serve(SETTINGS, microscope, "detector_stage")
    assert isinstance(served, ServedKinesis)
    return microscope, served


@contextmanager
def opened(
    microscope: VirtualMicroscope, served: ServedKinesis, *overrides: str, **changes: Any
) -> Iterator[Stage]:
    device = open_device(
        "detector_stage",
        served.settings.model_copy(update=changes),
        load_profile("simulated", (*PROFILE, *overrides)),
        microscope.clock,
    )
    assert isinstance(device, Stage)
    try:
        yield device
    finally:
        device.close()


@pytest.fixture(scope="module")
def homed() -> Iterator[tuple[VirtualMicroscope, ServedKinesis, Stage]]:
    microscope, served = bench(upper_limit_um=12000.0)
    with opened(microscope, served) as stage:
        yield microscope, served, stage
    served.stop()


@pytest.fixture
def at_centre(
    homed: tuple[VirtualMicroscope, ServedKinesis, Stage],
) -> tuple[VirtualMicroscope, ServedKinesis, Stage]:
    _, served, stage = homed
    finish(stage, CENTRE)
    for server in served.servers:
        server.log.clear()
    return homed


def finish(stage: Stage, target_um: tuple[float, float]) -> None:
    stage.move_to(target_um)
    arrive(stage)
    assert stage.position_um() == pytest.approx(target_um, abs=2 * STEP_UM)


def arrive(stage: Stage) -> None:
    for _ in range(500):
        if not stage.is_moving():
            return
    pytest.fail("it moves for ever")


def targets_um(served: ServedKinesis, axis: int) -> list[float]:
    """Where the driver sent an axis, by the bytes on the wire."""
    sent = b"".join(data for way, data in served.servers[axis].log if way == "<")
    start = struct.pack("<HHBBH", 0x0453, 6, 0x50 | 0x80, 0x01, 1)
    pieces = sent.split(start)[1:]
    return [struct.unpack("<i", piece[:4])[0] * STEP_UM for piece in pieces]


def test_identity(homed: tuple[VirtualMicroscope, ServedKinesis, Stage]) -> None:
    _, _, stage = homed
    assert type(stage.motors[0].library).__module__ == "pylablib.devices.Thorlabs.kinesis"
    assert stage.motors[0].library.get_scale_units() == "m"
    identity = stage.identify()
    assert identity.model == "KST101 with ZFS25B"
    assert identity.serial_number == "26001001, 26001002"
    assert identity.firmware == "3.2.1"
    assert identity.checked_against == "simulator only"


def test_homes_what_has_lost_its_reference() -> None:
    microscope, served = bench()
    with opened(microscope, served) as stage:
        assert homings(served) == [1, 1]
        assert microscope.detector_stage.position_um() == (-12500, -12500)
        assert stage.position_um() == (0, 0)
        finish(stage, (100, 200))
    with opened(microscope, served) as stage:
        assert homings(served) == [1, 1]
        assert stage.position_um() == pytest.approx((100, 200), abs=2 * STEP_UM)
        served.controllers[1].power_cycle()
        with pytest.raises(DeviceError, match="y axis has lost its reference") as caught:
            stage.move_to((600.0, 600.0))
        assert caught.value.device == "detector_stage"
    with opened(microscope, served) as stage:
        assert homings(served) == [1, 2]
        finish(stage, (600.0, 600.0))
        place_um = microscope.detector_stage.position_um()
        assert place_um == pytest.approx((-11900, -11900), abs=0.01)
    served.stop()


def homings(served: ServedKinesis) -> list[int]:
    home = struct.pack("<HBBBB", 0x0443, 1, 0, 0x50, 0x01)
    return [server.log.count(("<", home)) for server in served.servers]


def test_without_homing_it_counts_from_where_it_was_switched_on() -> None:
    microscope, served = bench()
    narrow = "detector_stage.y.travel_um=[100, 24000]"
    with opened(microscope, served, narrow, home=False) as stage:
        assert homings(served) == [0, 0]
        assert microscope.detector_stage.position_um() == (0, 0)
        assert stage.position_um() == (0, 0)
        with pytest.raises(DeviceError, match="y = 90 µm: its travel is 100 to 24000 µm"):
            stage.move_to((900.0, 90.0))
        finish(stage, (100, 200))
        assert microscope.detector_stage.position_um() == pytest.approx((100, 200), abs=0.01)
    served.stop()


def test_move(at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage]) -> None:
    microscope, served, stage = at_centre
    begin_s = microscope.clock.now_s()
    stage.move_to((13000.0, 24000.0))
    assert stage.is_moving()
    arrive(stage)
    # 11 500 µm at 2000 µm/s and 20 000 µm/s²
    assert 5.85 <= microscope.clock.now_s() - begin_s < 20
    assert stage.position_um() == pytest.approx((13000, 24000), abs=2 * STEP_UM)
    assert microscope.detector_stage.position_um() == pytest.approx((500, 11500), abs=0.01)
    move = struct.pack("<HHBBHi", 0x0453, 6, 0xD0, 0x01, 1, int(0.013 * 2184533.33e3))
    assert ("<", move) in served.servers[0].log
    asked = ("<", bytes.fromhex("110401005001"))
    told = struct.pack("<HHBBHi", 0x0412, 6, 0x81, 0x50, 1, int(0.013 * 2184533.33e3))
    assert served.servers[0].log[-2:] == [asked, (">", told)]


@pytest.mark.parametrize(
    ("target_um", "legs_um"),
    [
        (12600.0, [12600.0]),
        (12400.0, [12390.0, 12400.0]),
        (12505.0, [12505.0]),  # the last move ended from below
        (4.0, [0.0, 4.0]),  # as far below as the travel allows
    ],
)
def test_approach_from_below(
    at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage],
    target_um: float,
    legs_um: list[float],
) -> None:
    _, served, stage = at_centre
    finish(stage, (target_um, 12500.0))
    assert targets_um(served, 0) == pytest.approx(legs_um, abs=2 * STEP_UM)


def test_after_a_stop_a_short_move_upwards_takes_up_the_backlash(
    at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage],
) -> None:
    microscope, served, stage = at_centre
    stage.move_to((1000.0, 12500.0))
    microscope.clock.wait(0.2)
    stage.stop()
    arrive(stage)
    here_um = stage.position_um()[0]
    assert 1000 < here_um < 12500
    microscope.clock.wait(0.5)
    assert stage.position_um()[0] == here_um
    served.servers[0].log.clear()
    finish(stage, (here_um + 5, 12500.0))
    assert targets_um(served, 0) == pytest.approx([here_um - 5, here_um + 5], abs=2 * STEP_UM)


def test_one_axis_leaves_the_other_alone(
    at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage],
) -> None:
    microscope, _, stage = at_centre
    stage.move_to((12500.0, 15500.0))
    stage.motors[0].start(12600.0)
    arrive(stage)
    assert stage.position_um() == pytest.approx((12600, 15500), abs=2 * STEP_UM)
    stage.move_to((11500.0, 12500.0))
    stage.motors[0].stop()
    arrive(stage)
    assert stage.position_um()[1] == pytest.approx(12500, abs=2 * STEP_UM)
    assert microscope.detector_stage.position_um()[1] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("target_um", [(-1.0, 0.0), (0.0, 25001.0)])
def test_outside_the_travel(
    at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage], target_um: tuple[float, float]
) -> None:
    _, served, stage = at_centre
    with pytest.raises(DeviceError, match=r"its travel is 0 to 25000 µm") as caught:
        stage.move_to(target_um)
    assert caught.value.device == "detector_stage"
    assert targets_um(served, 0) == targets_um(served, 1) == []


def test_limit_switch(at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage]) -> None:
    _, _, stage = at_centre
    stage.move_to((24900.0, 12500.0))
    with pytest.raises(DeviceError, match=r"x axis ran into its limit switch at 24500.0 µm"):
        arrive(stage)
    finish(stage, CENTRE)


@pytest.mark.parametrize(
    ("fault", "call", "words"),
    [
        (WireFault("garbled"), "position_um", "makes no sense|does not answer"),
        (WireFault("truncated"), "is_moving", "makes no sense|does not answer"),
        (
            WireFault("silent"),
            "position_um",
            "x axis at socket://.* does not answer within 0.3 s",
        ),
        (WireFault("silent"), "is_moving", "does not answer within 0.3 s"),
        (WireFault("late", delay_s=0.4), "position_um", "does not answer within 0.3 s"),
    ],
)
def test_bad_replies(
    at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage],
    fault: WireFault,
    call: str,
    words: str,
) -> None:
    _, served, stage = at_centre
    served.servers[0].fail(fault)
    with pytest.raises(DeviceError, match=words) as caught:
        getattr(stage, call)()
    assert caught.value.device == "detector_stage"
    assert "\n" not in str(caught.value)
    assert stage.position_um() == pytest.approx(CENTRE, abs=2 * STEP_UM)
    finish(stage, (12600.0, 12500.0))


def test_dropped_in_mid_move() -> None:
    microscope, served = bench()
    with opened(microscope, served) as stage:
        stage.move_to((5000.0, 5000.0))
        served.servers[1].drop()
        for _ in range(2):
            with pytest.raises(DeviceError, match="connection to the y axis .* was lost"):
                stage.position_um()
        with pytest.raises(DeviceError, match="connection to the y axis .* was lost"):
            stage.stop()
        x_um = stage.motors[0].position()
        microscope.clock.wait(0.5)
        assert stage.motors[0].position() == x_um  # the other axis was stopped all the same
    served.stop()


def test_nobody_there() -> None:
    microscope, served = bench()
    served.stop()
    with (
        pytest.raises(DeviceError, match="connection to the x axis .* could not be made"),
        opened(microscope, served),
    ):
        pass


def test_stall(at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage]) -> None:
    microscope, _, stage = at_centre
    stage.move_to((15000.0, 12500.0))
    microscope.detector_stage.stall()
    here_um = stage.position_um()
    microscope.clock.wait(3)
    assert stage.is_moving()
    assert stage.position_um() == here_um
    microscope.detector_stage.release()
    with pytest.raises(DeviceError, match=r"x axis stopped at \d+.\d µm on its way to 15000.0 µm"):
        arrive(stage)
    finish(stage, (15000.0, 12500.0))


def test_unplugged(at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage]) -> None:
    microscope, _, stage = at_centre
    microscope.detector_stage.unplug()
    with pytest.raises(DeviceError, match="does not answer within 0.3 s"):
        stage.move_to((15000.0, 12500.0))
    microscope.detector_stage.plug_in()
    assert not stage.is_moving()
    assert stage.position_um() == pytest.approx(CENTRE, abs=2 * STEP_UM)


def test_fault_of_the_motor(at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage]) -> None:
    _, served, stage = at_centre
    stage.move_to((15000.0, 12500.0))
    served.controllers[0].fault_bits = MOTION_ERROR
    with pytest.raises(DeviceError, match="controller of the x axis lost steps"):
        arrive(stage)
    served.controllers[0].fault_bits = 0
    stage.stop()
    finish(stage, CENTRE)


def test_homing_that_never_ends() -> None:
    microscope, served = bench()
    microscope.detector_stage.stall()
    with (
        pytest.raises(DeviceError, match="did not find its reference within 5 s"),
        opened(microscope, served, "detector_stage.timeout_s=5"),
    ):
        pass
    served.stop()


def test_speed_is_set_and_restored(
    at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage],
) -> None:
    microscope, served, stage = at_centre
    x_um, y_um = CENTRE
    stage.set_speed_um_per_s(500.0)
    units = 500 / STEP_UM * 53.68
    for server in served.servers:
        (asked,) = [data for way, data in server.log if way == "<" and data[:2] == b"\x13\x04"]
        assert struct.unpack("<i", asked[-4:])[0] == pytest.approx(units, abs=1)
    stage.move_to((x_um + 300, y_um + 200))
    speeds = [travel.speed for travel in microscope.detector_stage._travels]
    assert speeds == pytest.approx([500, 500], rel=1e-4)
    arrive(stage)
    stage.set_speed_um_per_s(None)
    stage.move_to(CENTRE)
    speeds = [travel.speed for travel in microscope.detector_stage._travels]
    assert speeds == pytest.approx([2000, 2000], rel=1e-4)
    arrive(stage)


@pytest.mark.parametrize("speed_um_per_s", [2001.0, 0.0, -1.0, float("nan"), float("inf")])
def test_speeds_it_is_not_set_up_for_are_refused(
    at_centre: tuple[VirtualMicroscope, ServedKinesis, Stage], speed_um_per_s: float
) -> None:
    _, _, stage = at_centre
    with pytest.raises(DeviceError, match="refuses a speed .* at most 2000 µm/s; use a longer"):
        stage.set_speed_um_per_s(speed_um_per_s)
    stage.set_speed_um_per_s(2000.0)
    stage.set_speed_um_per_s(None)
