"""The ANC300 driver through pylablib, against a simulated controller on TCP."""

import time
from collections.abc import Iterator

import pytest

from tests.wire.stages import (
    SHORT_S,
    WIRE_FAULTS,
    Bench,
    bench,
    reopened,
    serial_port,
    survives,
    told,
)
from tplm_config.devices import Anc300Stage
from tplm_simulators.wire import WireFault

ROLE = "sample_stage"
SETTINGS = Anc300Stage(port="192.168.1.1:7230")
RECKONED_UM = 15.0
"""What 20 ms of this computer are worth at 50 simulated seconds per second and 500 steps/s."""


@pytest.fixture
def at() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE) as made:
        yield made


@pytest.fixture
def hasty() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE, timeout_s=SHORT_S) as made:
        yield made


def test_the_real_library_logs_in_prepares_the_axes_and_identifies(at: Bench) -> None:
    assert type(at.stage._device).__module__ == "pylablib.devices.Attocube.anc300"
    for line in (b"123456\r\n", b"setm 1 stp\r\n", b"setv 2 30.0\r\n", b"setf 3 500\r\n"):
        assert line in at.received()
    told_it = at.stage.identify()
    assert told_it.model == "attocube ANC300 (no read-back: counted steps)"
    assert told_it.serial_number == "ANC300B-C-1514-3006076"
    assert (told_it.firmware[:10], told_it.checked_against) == ("1.1.0-1304", "simulator only")


def test_exchanges_byte_by_byte(at: Bench) -> None:
    at.wire.log.clear()
    at.stage.move_to((10.0, 0.0, -2.0))
    assert at.wire.log[-4:] == [
        ("<", b"stepu 1 100\r\n"),
        (">", b"OK\r\n"),
        ("<", b"stepd 3 20\r\n"),
        (">", b"OK\r\n"),
    ]
    at.wire.log.clear()
    at.stage.position_um()
    assert at.wire.log == [("<", b"getm 1\r\n"), (">", b"mode = stp\r\nOK\r\n")]


def test_counted_steps_agree_with_the_stage_and_take_their_time(at: Bench) -> None:
    begin_s = at.microscope.clock.now_s()
    at.go(10.0, 20.0, -5.0)
    assert at.microscope.clock.now_s() - begin_s > 200 / SETTINGS.frequency_hz
    assert at.stage.position_um() == pytest.approx((10, 20, -5))
    assert at.virtual.position_um() == pytest.approx((10, 20, -5))
    at.go(3.0, 20.0, -5.0)
    assert at.virtual.position_um() == pytest.approx((3, 20, -5))


def test_readings_count_from_where_the_stage_was_when_opened(at: Bench) -> None:
    at.go(10.0, 0.0, 0.0)
    at.stage.close()
    second = reopened(at.served, at.microscope, ROLE)
    assert second.position_um() == (0, 0, 0)
    second.close()


def test_a_stop_in_mid_move_is_reckoned_from_the_time(at: Bench) -> None:
    at.stage.move_to((500.0, 0.0, 0.0))
    at.microscope.clock.wait(2.0)
    assert at.stage.is_moving()
    at.stage.stop()
    at.arrive()
    assert 100 <= at.stage.position_um()[0] < 400
    assert at.stage.position_um() == pytest.approx(at.virtual.position_um(), abs=RECKONED_UM)


def test_travel_is_kept_without_a_word_on_the_wire(at: Bench) -> None:
    at.wire.log.clear()
    with told(ROLE, "refuses z = 2501 µm", "-2500 to 2500 µm"):
        at.stage.move_to((0.0, 0.0, 2501.0))
    with told(ROLE, "has 3 axes, not 2"):
        at.stage.move_to((0.0, 0.0))
    assert at.wire.log == []


def test_open_loop_sees_neither_a_stall_nor_the_end_of_the_travel() -> None:
    with bench(SETTINGS, ROLE, lower_limit_um=-50, upper_limit_um=50) as at:
        at.go(60.0, 0.0, 0.0)
        assert at.stage.position_um()[0] == pytest.approx(60)
        assert at.virtual.position_um()[0] == pytest.approx(50)
        at.virtual.stall()
        at.go(60.0, 5.0, 0.0)
        assert at.stage.position_um()[1] == pytest.approx(5)
        assert at.virtual.position_um()[1] == 0


def test_a_refusal_comes_in_the_words_of_the_controller_and_counts_no_steps(at: Bench) -> None:
    at.stage._device.set_mode(1, "gnd")
    with told(ROLE, "refused: Axis in wrong mode"):
        at.stage.move_to((5.0, 0.0, 0.0))
    assert at.stage.position_um() == (0, 0, 0)


def test_a_wrong_password_and_a_missing_axis_are_told(at: Bench) -> None:
    with told(ROLE, f"does not answer within {SHORT_S:g} s"):
        reopened(at.served, at.microscope, ROLE, password="wrong", timeout_s=SHORT_S)
    with told(ROLE, "has no axis 5, only 1, 2, 3"):
        reopened(at.served, at.microscope, ROLE, z_axis=5)


@pytest.mark.parametrize("fault", WIRE_FAULTS, ids=lambda fault: fault.kind)
def test_a_reply_goes_wrong(hasty: Bench, fault: WireFault) -> None:
    lost = fault.kind == "dropped"
    begin_s = time.monotonic()
    survives(hasty, fault, "was lost" if lost else f"does not answer within {SHORT_S:g} s")
    assert time.monotonic() - begin_s < 1.0  # the library's own connection would wait for ever


def test_the_connection_drops_in_mid_move(at: Bench) -> None:
    at.stage.move_to((100.0, 0.0, 0.0))
    at.wire.drop()
    with told(ROLE, "connection", "was lost"):
        at.stage.is_moving()
    at.arrive()
    assert at.stage.position_um()[0] == pytest.approx(100)
    assert at.virtual.position_um()[0] == pytest.approx(100)


def test_unplugged_is_silence_and_closing_never_fails(hasty: Bench) -> None:
    hasty.virtual.unplug()
    with told(ROLE, "does not answer"):
        hasty.stage.move_to((0.0, 0.0, 0.0))
    hasty.served.stop()
    hasty.stage.close()
    hasty.stage.close()
    with told(ROLE, "could not be made", "127.0.0.1"):
        hasty.stage.position_um()


def test_the_same_over_a_serial_port(at: Bench) -> None:
    before = at.stage.identify()
    at.stage.close()
    connection = at.wire._instrument()
    connection._let_in = True  # there is no password on a serial port
    with serial_port(connection) as port:
        stage = reopened(at.served, at.microscope, ROLE, port=port)
        assert stage.identify() == before
        stage.move_to((10.0, 5.0, 2.0))
        while stage.is_moving():
            at.microscope.clock.wait(0.02)
        assert at.virtual.position_um() == pytest.approx((10.0, 5.0, 2.0), abs=0.01)
        stage.close()
