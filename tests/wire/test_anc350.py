"""The ANC350 driver through pylablib and PyUSB, over a simulated USB."""

import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NoReturn

import pytest
import usb.core

from tests.wire.stages import SHORT_S, WIRE_FAULTS, Bench, bench, reopened, survives, told
from tplm_config.devices import Anc350Stage
from tplm_simulators.wire import WireFault

ROLE = "sample_stage"
SETTINGS = Anc350Stage()
TOLERANCE_UM = SETTINGS.tolerance_um


@pytest.fixture
def at() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE) as made:
        yield made


@pytest.fixture
def hasty() -> Iterator[Bench]:
    with bench(SETTINGS, ROLE, timeout_s=SHORT_S) as made:
        yield made


def test_the_real_libraries_switch_the_axes_on_and_identify(at: Bench) -> None:
    device = at.stage._device
    assert type(device).__module__ == "pylablib.devices.Attocube.anc350"
    assert type(device.instr.instr).__module__ == "usb.core"
    assert all(device.is_enabled(axis) for axis in range(3))
    told_it = at.stage.identify()
    assert (told_it.model, told_it.serial_number) == ("attocube ANC350", "hardware ID -1")
    assert told_it.checked_against == "simulator only"


def test_an_exchange_byte_by_byte(at: Bench) -> None:
    at.go(5.0, 0.0, -3.0)
    at.microscope.clock.wait(1.0)
    at.wire.log.clear()
    at.stage.position_um()
    (_, asked), (_, said) = at.wire.log[4:6]
    correlation = asked[16:20]
    assert asked == struct.pack("<4I", 16, 1, 0x0415, 2) + correlation
    assert said == struct.pack("<4I", 24, 3, 0x0415, 2) + correlation + struct.pack("<Ii", 0, -3000)


def test_reading_and_stage_agree(at: Bench) -> None:
    at.go(10.0, 20.0, -5.0)
    assert at.virtual.position_um() == pytest.approx((10, 20, -5), abs=TOLERANCE_UM)
    at.microscope.clock.wait(1.0)
    assert at.stage.position_um() == pytest.approx((10, 20, -5), abs=1e-9)
    assert at.virtual.position_um() == (10, 20, -5)
    second = reopened(at.served, at.microscope, ROLE)
    assert second.position_um() == pytest.approx((10, 20, -5), abs=1e-9)
    second.close()


def test_moves_do_not_block_and_stop_stops(at: Bench) -> None:
    at.stage.move_to((2000.0, 0.0, 0.0))
    assert at.stage.is_moving()
    at.stage.stop()
    at.arrive()
    assert at.virtual.position_um()[0] < 1500


def test_travel_is_kept_without_a_word_on_the_wire(at: Bench) -> None:
    at.wire.log.clear()
    with told(ROLE, "refuses x = -2501 µm", "-2500 to 2500 µm"):
        at.stage.move_to((-2501.0, 0.0, 0.0))
    assert at.wire.log == []


def test_the_end_of_the_travel_is_told() -> None:
    with bench(SETTINGS, ROLE, lower_limit_um=-50, upper_limit_um=50) as at:
        at.stage.move_to((0.0, -60.0, 0.0))
        with told(ROLE, "axis y reports the lower end of its travel"):
            at.arrive()
        at.go(0.0, -40.0, 0.0)
        assert at.virtual.position_um()[1] == pytest.approx(-40, abs=TOLERANCE_UM)


def test_a_stage_that_stalls_never_arrives_and_moves_again_when_free(at: Bench) -> None:
    at.stage.move_to((100.0, 0.0, 0.0))
    at.virtual.stall()
    at.microscope.clock.wait(20.0)
    assert at.stage.is_moving()
    assert at.stage.position_um()[0] < 90
    at.virtual.release()
    at.go(100.0, 0.0, 0.0)
    assert at.stage.position_um()[0] == pytest.approx(100, abs=TOLERANCE_UM)


def test_a_missing_positioner_or_controller_is_told(at: Bench) -> None:
    at.served.library.controller.connected.discard(2)
    with told(ROLE, "no positioner is connected to axis 2 (z)"):
        reopened(at.served, at.microscope, ROLE)
    with told(ROLE, "connection to controller 1 on USB", "could not be made"):
        reopened(at.served, at.microscope, ROLE, index=1)


def test_a_missing_libusb_is_a_sentence(at: Bench) -> None:
    def missing() -> NoReturn:
        raise usb.core.NoBackendError("No backend available")

    without = SimpleNamespace(
        settings=at.served.settings, library=SimpleNamespace(get_backend=missing)
    )
    with told(ROLE, "libusb is not installed", "install libusb"):
        reopened(without, at.microscope, ROLE)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", WIRE_FAULTS, ids=lambda fault: fault.kind)
def test_a_reply_goes_wrong(hasty: Bench, fault: WireFault) -> None:
    words = {
        "garbled": "makes no sense",
        "truncated": "makes no sense",
        "dropped": "was lost",
    }
    survives(hasty, fault, words.get(fault.kind, f"does not answer within {SHORT_S:g} s"))


def test_the_cable_is_pulled_in_mid_move(at: Bench) -> None:
    at.stage.move_to((100.0, 0.0, 0.0))
    at.wire.drop()
    with told(ROLE, "connection", "was lost"):
        at.stage.is_moving()
    at.arrive()
    assert at.stage.position_um()[0] == pytest.approx(100, abs=TOLERANCE_UM)


def test_unplugged_is_silence_and_closing_never_fails(hasty: Bench) -> None:
    hasty.virtual.unplug()
    with told(ROLE, "does not answer"):
        hasty.stage.position_um()
    hasty.served.stop()
    hasty.stage.close()
    hasty.stage.close()
    with told(ROLE, "could not be made"):
        hasty.stage.position_um()
