"""The Zaber driver through zaber-motion, against simulated devices on a chain."""

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
from tplm_config.devices import ZaberStage
from tplm_simulators.wire import WireFault

ROLE = "detector_stage"
SETTINGS = ZaberStage(port="COM3")
STEP_UM = SETTINGS.microstep_um


@pytest.fixture
def at() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE) as made:
        yield made


@pytest.fixture
def hasty() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE, timeout_s=SHORT_S) as made:
        yield made


def test_the_real_library_homes_at_opening_and_identifies(at: Bench) -> None:
    assert type(at.stage._connection).__module__ == "zaber_motion.ascii.connection"
    assert at.virtual.position_um() == (-12500, -12500)
    assert at.stage.position_um() == (-12500, -12500)
    told_it = at.stage.identify()
    assert (told_it.model, told_it.serial_number) == ("Zaber device 50952", "12345, 12346")
    assert (told_it.firmware, told_it.checked_against) == ("7.38", "simulator only")
    assert b" home:" in at.received()


def test_an_exchange_byte_by_byte(at: Bench) -> None:
    at.wire.log.clear()
    at.stage.position_um()
    (question, asked), (answer, said) = at.wire.log[:2]
    assert (question, answer) == ("<", ">")
    request = asked[5:7]
    body = b"1 1 " + request + b" get pos"
    assert asked == b"/" + body + b":%02X\n" % (-sum(body) % 256)
    assert said == b"@01 1 " + request + b" OK IDLE -- 0\r\n"


def test_reading_and_stage_agree_and_every_move_ends_from_below(at: Bench) -> None:
    at.go(1000.0, -500.0)
    assert at.virtual.position_um() == pytest.approx((1000, -500), abs=STEP_UM)
    at.wire.log.clear()
    at.go(400.0, 300.0)
    assert at.stage.position_um() == pytest.approx((400, 300), abs=STEP_UM)
    assert at.stage.position_um() == pytest.approx(at.virtual.position_um(), abs=STEP_UM)
    # Downwards in x: past the target by the backlash, then up to it; upwards in y: straight.
    turn, target = (round((place + 12500) / STEP_UM) for place in (395, 400))
    sent = at.received()
    assert sent.index(b"move abs %d" % turn) < sent.index(b"move abs %d" % target)
    assert sent.count(b"/2 1") > 0
    assert sum(b"/2" in data and b"move" in data for _, data in at.wire.log) == 1


def test_moves_do_not_block_and_stop_stops(at: Bench) -> None:
    at.stage.move_to((0.0, 0.0))
    assert at.stage.is_moving()
    at.stage.stop()
    at.arrive()
    assert at.virtual.position_um()[0] < -100


def test_travel_is_kept_without_a_word_on_the_wire(at: Bench) -> None:
    at.wire.log.clear()
    with told(ROLE, "refuses y = 12501 µm", "-12500 to 12500 µm"):
        at.stage.move_to((0.0, 12501.0))
    with told(ROLE, "refuses x = nan"):
        at.stage.move_to((float("nan"), 0.0))
    assert at.wire.log == []


def test_the_device_itself_refuses_what_lies_beyond_its_end() -> None:
    with bench(SETTINGS, ROLE, lower_limit_um=-12500, upper_limit_um=3000) as at:
        with told(ROLE, "refused", "BADDATA"):
            at.stage.move_to((5000.0, 0.0))
        at.go(2000.0, 0.0)


def test_a_stage_that_is_not_homed_is_refused_if_it_must_not_be_homed(at: Bench) -> None:
    with bench(SETTINGS, ROLE) as fresh:  # homed by its opening
        reopened(fresh.served, fresh.microscope, ROLE, home=False).close()
    with told(ROLE, "has not been homed"), bench(SETTINGS.model_copy(update={"home": False}), ROLE):
        pass


@pytest.mark.parametrize("fault", WIRE_FAULTS, ids=lambda fault: fault.kind)
def test_a_reply_goes_wrong(hasty: Bench, fault: WireFault) -> None:
    lost = fault.kind == "dropped"
    survives(hasty, fault, "was lost" if lost else f"does not answer within {SHORT_S:g} s")


@pytest.mark.full
def test_the_connection_drops_in_mid_move(at: Bench) -> None:
    at.stage.move_to((0.0, 0.0))
    at.wire.drop()
    with told(ROLE, "connection", "was lost"):
        at.stage.is_moving()
    at.arrive()
    assert at.stage.position_um() == pytest.approx((0, 0), abs=STEP_UM)


def test_a_stage_that_stalls_is_told_and_moves_again_when_free(at: Bench) -> None:
    at.stage.move_to((0.0, 0.0))
    at.virtual.stall()
    with told(ROLE, "fault FS", "stalled"):
        at.arrive()
    at.virtual.release()
    at.go(0.0, 0.0)
    assert at.virtual.position_um() == pytest.approx((0, 0), abs=STEP_UM)


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
        stage.move_to((-12000.0, -12400.0))
        while stage.is_moving():
            at.microscope.clock.wait(0.02)
        assert at.virtual.position_um() == pytest.approx((-12000.0, -12400.0), abs=STEP_UM)
        stage.close()


def test_speed_goes_out_with_each_move_and_ends_with_none(at: Bench) -> None:
    fastest = at.microscope.settings.detector_stage.speed_um_per_s
    at.stage.set_speed_um_per_s(500.0)
    at.wire.log.clear()
    at.stage.move_to((-12000.0, -12500.0))
    place, velocity = round(500 / STEP_UM), round(500 / STEP_UM * 1.6384)
    assert b"move abs %d %d:" % (place, velocity) in at.received()
    assert at.virtual._travels[0].speed == pytest.approx(500, rel=1e-4)
    at.arrive()
    at.go(-12200.0, -12500.0)  # both legs of it
    assert at.virtual._travels[0].speed == pytest.approx(500, rel=1e-4)
    at.stage.set_speed_um_per_s(None)
    at.wire.log.clear()
    at.stage.move_to((-12000.0, -12500.0))
    assert b"move abs %d:" % place in at.received()
    assert at.virtual._travels[0].speed == pytest.approx(fastest, rel=1e-4)
    assert b"set maxspeed" not in at.received()


@pytest.mark.parametrize("speed_um_per_s", [2001.0, 0.0, -1.0, float("nan"), float("inf")])
def test_speeds_it_is_not_set_up_for_are_refused(at: Bench, speed_um_per_s: float) -> None:
    with told(ROLE, "refuses a speed", "at most 2000 µm/s"):
        at.stage.set_speed_um_per_s(speed_um_per_s)
    at.stage.set_speed_um_per_s(2000.0)
