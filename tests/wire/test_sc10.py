"""The SC10 driver through pyserial, against the simulated command line."""

from collections.abc import Iterator

import pytest

from tplm_config import load_profile
from tplm_config.devices import Sc10 as Settings
from tplm_config.simulation import SimulationSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_drivers.sc10 import Sc10
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import WireFault, serve
from tplm_simulators.wire.sc10 import Controller, ServedSc10


class Bench:
    """A microscope whose shutter hangs on a simulated SC10."""

    def __init__(self) -> None:
        self.microscope = VirtualMicroscope(
            SimulationSettings(), OpticsSettings(), RunningClock(50)
        )
        served = serve(Settings(port="COM7", timeout_s=0.3), self.microscope, "shutter")
        assert isinstance(served, ServedSc10)
        assert isinstance(served.controller, Controller)
        self.served, self.controller = served, served.controller
        self.server = served.servers[0]

    def open(self) -> Sc10:
        device = open_device(
            "shutter", self.served.settings, load_profile("simulated"), self.microscope.clock
        )
        assert isinstance(device, Sc10)
        return device

    def is_lit(self) -> bool:
        return self.microscope.shutter.passes_at(self.microscope.clock.now_s())

    def sent(self) -> list[bytes]:
        return [data for way, data in self.server.log if way == "<"]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.served.stop()


@pytest.fixture
def shutter(bench: Bench) -> Iterator[Sc10]:
    device = bench.open()
    bench.server.log.clear()
    yield device
    device.close()


def test_identity(shutter: Sc10, bench: Bench) -> None:
    assert type(shutter.port).__module__ == "serial.urlhandler.protocol_socket"
    identity = shutter.identify()
    assert identity.model == "Thorlabs SC10"
    assert identity.firmware == "1.07"
    assert identity.checked_against == "simulator only"
    assert bench.server.log == [("<", b"id?\r"), (">", b"id?\rTHORLABS SC10 VERSION 1.07\r> ")]


def test_opens_and_closes(shutter: Sc10, bench: Bench) -> None:
    assert not shutter.is_open()
    bench.server.log.clear()
    shutter.set_open(True)
    assert bench.is_lit()
    assert bench.server.log == [
        ("<", b"interlock?\r"), (">", b"interlock?\r0\r> "),
        ("<", b"ens?\r"), (">", b"ens?\r0\r> "),
        ("<", b"ens\r"), (">", b"ens\r> "),
        ("<", b"ens?\r"), (">", b"ens?\r1\r> "),
        ("<", b"closed?\r"), (">", b"closed?\r0\r> "),
    ]  # fmt: skip
    assert shutter.is_open()
    shutter.set_open(False)
    assert not bench.is_lit()
    assert not shutter.is_open()


@pytest.mark.parametrize("open_", [True, False])
def test_the_same_command_twice_does_not_toggle(shutter: Sc10, bench: Bench, open_: bool) -> None:
    shutter.set_open(open_)
    bench.server.log.clear()
    shutter.set_open(open_)
    assert bench.is_lit() is open_
    assert b"ens\r" not in bench.sent()


def test_opening_sets_the_manual_mode(bench: Bench) -> None:
    bench.controller.parameters.update(mode=5, trig=1)
    bench.open().close()
    assert bench.controller.parameters["mode"] == 1
    assert bench.controller.parameters["trig"] == 0
    assert not bench.is_lit()
    bench.server.log.clear()
    bench.open().close()
    assert not any(b"=" in data for data in bench.sent())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (WireFault("garbled"), "makes no sense"),
        (WireFault("truncated"), "makes no sense .* without a prompt"),
        (WireFault("silent"), "socket://.* does not answer within 0.3 s"),
        (WireFault("late", delay_s=0.4), "does not answer within 0.3 s"),
    ],
    ids=lambda value: value.kind if isinstance(value, WireFault) else "",
)
def test_bad_replies(shutter: Sc10, bench: Bench, fault: WireFault, words: str) -> None:
    shutter.set_open(True)
    bench.server.fail(fault)
    with pytest.raises(DeviceError, match=words) as caught:
        shutter.is_open()
    assert caught.value.device == "shutter"
    assert "\n" not in str(caught.value)
    shutter.set_open(False)
    assert not shutter.is_open()
    assert not bench.is_lit()


def test_a_lost_reply_to_the_toggle(shutter: Sc10, bench: Bench) -> None:
    shutter.set_open(True)
    # the reply to ens? passes, the one to ens comes too late
    bench.server.fail(WireFault("late", delay_s=0.0))
    bench.server.fail(WireFault("late", delay_s=0.4))
    with pytest.raises(DeviceError, match="does not answer"):
        shutter.set_open(False)
    assert not bench.is_lit()
    shutter.set_open(False)
    assert not bench.is_lit()


def test_dropped(shutter: Sc10, bench: Bench) -> None:
    shutter.set_open(True)
    bench.server.drop()
    for _ in range(2):
        with pytest.raises(DeviceError, match="connection to socket://.* was lost"):
            shutter.set_open(False)
    again = bench.open()
    again.set_open(False)
    assert not bench.is_lit()
    again.close()


def test_interlock(shutter: Sc10, bench: Bench) -> None:
    shutter.set_open(True)
    bench.controller.trip_interlock()
    bench.microscope.clock.wait(0.1)
    assert not shutter.is_open()
    with pytest.raises(DeviceError, match="will not open: its interlock is tripped"):
        shutter.set_open(True)
    shutter.set_open(False)
    bench.controller.reset_interlock()
    assert not shutter.is_open()
    shutter.set_open(True)
    assert bench.is_lit()


@pytest.mark.parametrize(
    ("open_", "words"),
    [
        (True, r"did not open: the blade did not move within 0.02 s"),
        (False, r"did not close: .*; block the beam by hand"),
    ],
)
def test_jammed(shutter: Sc10, bench: Bench, open_: bool, words: str) -> None:
    shutter.set_open(not open_)
    bench.microscope.shutter.jam()
    for _ in range(2):
        with pytest.raises(DeviceError, match=words):
            shutter.set_open(open_)
    bench.microscope.shutter.free()


def test_unplugged(shutter: Sc10, bench: Bench) -> None:
    bench.microscope.shutter.unplug()
    with pytest.raises(DeviceError, match="does not answer within 0.3 s"):
        shutter.is_open()
    bench.microscope.shutter.plug_in()
    assert not shutter.is_open()


def test_a_command_it_does_not_know(shutter: Sc10) -> None:
    with pytest.raises(DeviceError, match="refused fly: Command error CMD_NOT_DEFINED"):
        shutter._ask("fly")
    with pytest.raises(DeviceError, match="refused mode=9: Command error CMD_ARG_INVALID"):
        shutter._ask("mode=9")
    assert not shutter.is_open()


def test_another_instrument_at_the_port(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tplm_simulators.wire.sc10.IDENTITY", "THORLABS TC200 VERSION 2.0")
    with pytest.raises(DeviceError, match="says it is 'THORLABS TC200 VERSION 2.0', not an SC10"):
        bench.open()


def test_nobody_there(bench: Bench) -> None:
    bench.served.stop()
    with pytest.raises(DeviceError, match="connection to socket://.* could not be made"):
        bench.open()
