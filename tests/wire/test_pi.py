"""The PI driver through pipython, against a simulated E-873 with two Q-521."""

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
from tplm_config.devices import PiStage
from tplm_simulators.wire import WireFault

ROLE = "detector_stage"
SETTINGS = PiStage(port="COM3")


@pytest.fixture
def at() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE) as made:
        yield made


@pytest.fixture
def hasty() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE, timeout_s=SHORT_S) as made:
        yield made


def test_the_real_library_references_at_opening_and_identifies(at: Bench) -> None:
    assert type(at.stage._device).__module__ == "pipython.pidevice.gcs2.gcs2device"
    for command in (b"SVO 1 1\n", b"SVO 2 1\n", b"FRF 1 2\n"):
        assert command in at.received()
    told_it = at.stage.identify()
    assert (told_it.model, told_it.serial_number) == ("PI E-873.3QTU", "116012345")
    assert (told_it.firmware, told_it.checked_against) == ("01.09", "simulator only")


def test_exchanges_byte_by_byte(at: Bench) -> None:
    at.go(1234.5, -0.05)
    at.wire.log.clear()
    at.stage.position_um()
    assert at.wire.log[:4] == [
        ("<", b"POS? 1 2\n"),
        (">", b"1=1.234500000 \n2=-0.000050000\n"),
        ("<", b"ERR?\n"),
        (">", b"0\n"),
    ]
    at.wire.log.clear()
    at.stage.is_moving()
    assert at.wire.log[:2] == [("<", b"\x05"), (">", b"0\n")]  # one byte, no line feed


def test_reading_and_stage_agree_in_millimetres_on_the_wire(at: Bench) -> None:
    at.wire.log.clear()
    at.go(1000.0, -500.0)
    assert b"MOV 1 1.000000 2 -0.500000\n" in at.received()
    assert at.stage.position_um() == pytest.approx((1000, -500), abs=1e-3)
    assert at.virtual.position_um() == pytest.approx((1000, -500), abs=1e-3)


def test_moves_do_not_block_and_stop_stops(at: Bench) -> None:
    at.stage.move_to((6000.0, 6000.0))
    assert at.stage.is_moving()
    at.stage.stop()
    at.arrive()
    assert at.virtual.position_um()[0] < 5000
    assert b"\x18ERR?\n" in at.received()  # not one byte more


def test_travel_is_kept_without_a_word_on_the_wire(at: Bench) -> None:
    at.wire.log.clear()
    with told(ROLE, "refuses x = -12501 µm", "-12500 to 12500 µm"):
        at.stage.move_to((-12501.0, 0.0))
    assert at.wire.log == []


def test_the_controller_itself_refuses_what_lies_beyond_its_end() -> None:
    with bench(SETTINGS, ROLE, lower_limit_um=-6000, upper_limit_um=6000) as at:
        with told(ROLE, "refused", "out of limits"):
            at.stage.move_to((7000.0, 0.0))
        assert at.virtual.position_um() == (0, 0)
        at.go(5000.0, 0.0)


def test_an_axis_that_is_not_there() -> None:
    with bench(SETTINGS, ROLE) as at, told(ROLE, "has no axis 7, only 1, 2"):
        reopened(at.served, at.microscope, ROLE, y_axis="7")


def test_a_stage_without_reference_is_refused_if_it_must_not_be_referenced() -> None:
    fixed = SETTINGS.model_copy(update={"home": False})
    with told(ROLE, "has not been referenced"), bench(fixed, ROLE):
        pass


def test_a_second_connection_works_after_a_failed_one(at: Bench) -> None:
    at.stage.close()
    at.wire.fail(WireFault("garbled", replies=1))
    with told(ROLE, "makes no sense"):
        reopened(at.served, at.microscope, ROLE)
    second = reopened(at.served, at.microscope, ROLE)
    assert second.position_um() == (0, 0)
    second.close()


@pytest.mark.parametrize("fault", WIRE_FAULTS, ids=lambda fault: fault.kind)
def test_a_reply_goes_wrong(hasty: Bench, fault: WireFault) -> None:
    words = {"garbled": "makes no sense", "dropped": "was lost"}
    survives(hasty, fault, words.get(fault.kind, f"does not answer within {SHORT_S:g} s"))


def test_a_reply_that_comes_late_is_never_taken_for_the_next_one(hasty: Bench) -> None:
    hasty.go(100.0, 200.0)
    hasty.wire.fail(WireFault("late", delay_s=1.5 * SHORT_S))
    with told(ROLE, "does not answer"):
        hasty.stage.position_um()
    hasty.go(300.0, 400.0)
    assert hasty.stage.position_um() == pytest.approx((300, 400), abs=1e-3)


def test_the_connection_drops_in_mid_move(at: Bench) -> None:
    at.stage.move_to((3000.0, 3000.0))
    at.wire.drop()
    with told(ROLE, "connection", "was lost"):
        at.stage.is_moving()
    at.arrive()
    assert at.stage.position_um() == pytest.approx((3000, 3000), abs=1e-3)


def test_a_stage_that_stalls_is_told_and_moves_again_when_free(at: Bench) -> None:
    at.stage.move_to((3000.0, 0.0))
    at.virtual.stall()
    with told(ROLE, "Motion error", "servo is switched off"):
        at.arrive()
    with told(ROLE, "the servo of axis x is off"):
        at.arrive()
    at.virtual.release()
    at.go(3000.0, 0.0)
    assert at.virtual.position_um() == pytest.approx((3000, 0), abs=1e-3)


def test_unplugged_is_silence_and_closing_never_fails(hasty: Bench) -> None:
    hasty.virtual.unplug()
    with told(ROLE, "does not answer"):
        hasty.stage.move_to((0.0, 0.0))
    hasty.served.stop()
    hasty.stage.close()
    hasty.stage.close()


def test_nobody_there() -> None:
    with bench(SETTINGS, ROLE) as at:
        pass
    with told(ROLE, "could not be made", "tcp://127.0.0.1"):
        reopened(at.served, at.microscope, ROLE)


def test_the_same_over_a_serial_port(at: Bench) -> None:
    before = at.stage.identify()
    at.stage.close()
    with serial_port(at.wire._instrument()) as port:
        stage = reopened(at.served, at.microscope, ROLE, port=port)
        assert stage.identify() == before
        stage.move_to((100.0, -50.0))
        while stage.is_moving():
            at.microscope.clock.wait(0.02)
        assert at.virtual.position_um() == pytest.approx((100.0, -50.0), abs=0.01)
        stage.close()


def test_speed_is_set_and_restored_in_millimetres_per_second(at: Bench) -> None:
    at.stage.set_speed_um_per_s(None)
    at.stage.set_speed_um_per_s(0.5)
    at.wire.log.clear()
    at.stage.set_speed_um_per_s(500.0)
    sent = b"".join(data for way, data in at.wire.log if way == "<")
    assert sent.startswith(b"VEL 1 0.500000 2 0.500000\n")
    at.stage.move_to((1000.0, -500.0))
    assert [travel.speed for travel in at.virtual._travels] == [500, 500]
    at.arrive()
    at.stage.set_speed_um_per_s(None)
    at.stage.move_to((0.0, 0.0))
    assert [travel.speed for travel in at.virtual._travels] == [2000, 2000]


@pytest.mark.parametrize("speed_um_per_s", [2001.0, 0.0, -1.0, float("nan"), float("inf")])
def test_speeds_it_is_not_set_up_for_are_refused(at: Bench, speed_um_per_s: float) -> None:
    at.stage.set_speed_um_per_s(100.0)
    with told(ROLE, "refuses a speed", "at most 2000 µm/s"):
        at.stage.set_speed_um_per_s(speed_um_per_s)
    assert b"VEL 1 0.100000" in at.received()
    assert at.received().count(b"VEL 1") == 1


def test_the_controller_itself_refuses_a_speed(at: Bench) -> None:
    at.stage.set_speed_um_per_s(100.0)
    at.stage._own_mm_per_s = [9.0, 9.0]
    with told(ROLE, "refused", "Velocity"):
        at.stage.set_speed_um_per_s(3000.0)
