"""The SuperK driver through pylablib's own Interbus, against the simulated bus."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tplm_config import load_profile
from tplm_config.devices import SuperK as Settings
from tplm_config.simulation import SimulationSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_drivers.superk import SuperK
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import Served, WireFault, serve
from tplm_simulators.wire.superk import EXTREME, crc16, framed, unframed
from tplm_simulators.wire.superk import serve as serve_superk

SETTINGS = Settings(port="COM9", timeout_s=0.3, power_fraction=0.8)


@pytest.fixture
def microscope() -> VirtualMicroscope:
    return VirtualMicroscope(SimulationSettings(), OpticsSettings(), RunningClock(50))


@pytest.fixture
def served(microscope: VirtualMicroscope) -> Iterator[Served]:
    served = serve(SETTINGS, microscope, "laser")
    yield served
    served.stop()


def opened(served: Served, microscope: VirtualMicroscope) -> SuperK:
    device = open_device("laser", served.settings, load_profile("simulated"), microscope.clock)
    assert isinstance(device, SuperK)
    return device


@pytest.fixture
def laser(served: Served, microscope: VirtualMicroscope) -> Iterator[SuperK]:
    device = opened(served, microscope)
    yield device
    device.close()


def test_framing() -> None:
    assert crc16(b"123456789") == 0x31C3  # the check value of CRC-16/XMODEM
    frame = framed(bytes([0x0D, 0x0A, 0x5E]))
    assert frame[:7] == bytes([0x0D, 0x5E, 0x4D, 0x5E, 0x4A, 0x5E, 0x9E])
    assert unframed(frame[1:-1])[:3] == bytes([0x0D, 0x0A, 0x5E])


def test_opening_sets_power_and_filter(laser: SuperK, microscope: VirtualMicroscope) -> None:
    assert type(laser.bus).__module__.startswith("pylablib.")
    assert microscope.laser.power_fraction == 0.8
    assert not microscope.laser.emission
    assert laser.bus.ib_get_reg(16, 0x34, "u16") == 4400
    assert laser.bus.ib_get_reg(16, 0x33, "u16") == 4500
    identity = laser.identify()
    assert identity.model == "NKT SuperK FIANIUM with VARIA"
    assert identity.serial_number == "K0012345 + V0006789"
    assert identity.checked_against == "simulator only"


def test_emission(laser: SuperK, microscope: VirtualMicroscope) -> None:
    laser.set_emission(True)
    assert laser.emission()
    assert microscope.laser.output_nw() > 0
    laser.set_emission(False)
    assert not laser.emission()
    assert microscope.laser.output_nw() == 0


def test_bytes_on_the_wire(laser: SuperK, served: Served) -> None:
    (server,) = served.servers
    server.log.clear()
    laser.emission()
    assert server.log == [
        ("<", framed(bytes([0x0F, 0x40, 0x04, 0x66]))),
        (">", framed(bytes([0x40, 0x0F, 0x08, 0x66, 0x00, 0x00]))),
    ]
    assert server.log[0][1].hex() == "0d0f40046609e70a"


def test_repetition_rate(laser: SuperK, microscope: VirtualMicroscope) -> None:
    laser.set_repetition_rate_hz(2.5e6)
    assert laser.repetition_rate_hz() == pytest.approx(78e6 / 31)
    assert microscope.laser.repetition_rate_hz == pytest.approx(78e6 / 31)
    for ratio in (10, 13, 94):  # bytes that the bus must escape
        laser.set_repetition_rate_hz(78e6 / ratio)
        assert laser.repetition_rate_hz() == pytest.approx(78e6 / ratio)


@pytest.mark.parametrize("rate_hz", [30e6, 1e4, 200e6])
def test_rates_out_of_reach(laser: SuperK, rate_hz: float) -> None:
    before_hz = laser.repetition_rate_hz()
    with pytest.raises(DeviceError, match="cannot pulse at .* nearest rate"):
        laser.set_repetition_rate_hz(rate_hz)
    assert laser.repetition_rate_hz() == before_hz


def test_a_rate_that_the_laser_refuses(laser: SuperK) -> None:
    with pytest.raises(DeviceError, match="laser: refused: .*not understood"):
        laser.set_repetition_rate_hz(78e6)
    assert laser.repetition_rate_hz() < 3e6


def test_older_mainboard(microscope: VirtualMicroscope) -> None:
    served = serve_superk(SETTINGS, microscope, "laser", module_type=EXTREME)
    try:
        laser = opened(served, microscope)
        laser.set_repetition_rate_hz(78e6 / 200)  # sent back as one byte
        assert laser.repetition_rate_hz() == pytest.approx(78e6 / 200)
        laser.set_repetition_rate_hz(78e6 / 300)
        assert laser.repetition_rate_hz() == pytest.approx(78e6 / 300)
        assert "older mainboard" in laser.identify().model
        laser.close()
    finally:
        served.stop()


def test_wrong_module(microscope: VirtualMicroscope) -> None:
    swapped = SETTINGS.model_copy(update={"fianium_address": 16, "varia_address": 15})
    served = serve(SETTINGS, microscope, "laser")
    try:
        settings = swapped.model_copy(update={"port": served.settings.port})
        with pytest.raises(DeviceError, match="address 16 has type 0x68 and is not a Fianium"):
            open_device("laser", settings, load_profile("simulated"), microscope.clock)
    finally:
        served.stop()


def test_interlock(laser: SuperK, microscope: VirtualMicroscope) -> None:
    laser.set_emission(True)
    microscope.laser.open_interlock()
    assert not laser.emission()
    with pytest.raises(DeviceError, match=r"refuses to emit: the interlock is open \(door switch"):
        laser.set_emission(True)
    laser.set_emission(False)
    microscope.laser.close_interlock()
    laser.set_emission(True)
    assert laser.emission()


def test_refuses_to_go_off(laser: SuperK, microscope: VirtualMicroscope) -> None:
    laser.set_emission(True)
    microscope.laser.refuse_to_stop()
    with pytest.raises(DeviceError, match="refuses to go off.*block the beam"):
        laser.set_emission(False)
    assert laser.emission()
    microscope.laser.obey()


FAULTS = {
    "garbled": (WireFault("garbled"), "makes no sense|does not answer"),
    "truncated": (WireFault("truncated"), "does not answer within 0.3 s"),
    "silent": (WireFault("silent"), "does not answer within 0.3 s"),
    "late": (WireFault("late", delay_s=0.5), "does not answer within 0.3 s"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faulty_replies(laser: SuperK, served: Served, kind: str) -> None:
    fault, words = FAULTS[kind]
    before_hz = laser.repetition_rate_hz()
    served.servers[0].fail(fault)
    with pytest.raises(DeviceError, match=f"^laser: .*({words})") as caught:
        laser.emission()
    assert "\n" not in str(caught.value)
    if kind == "late":
        with suppress(DeviceError):  # the late one is not taken for the answer
            assert laser.repetition_rate_hz() == before_hz
    laser.set_repetition_rate_hz(78e6 / 40)
    assert laser.repetition_rate_hz() == pytest.approx(78e6 / 40)


def test_unplugged(laser: SuperK, microscope: VirtualMicroscope) -> None:
    microscope.laser.unplug()
    with pytest.raises(DeviceError, match="does not answer within 0.3 s"):
        laser.emission()
    microscope.laser.plug_in()
    assert not laser.emission()


def test_dropped_connection_is_never_made_again(laser: SuperK, served: Served) -> None:
    served.servers[0].drop()
    for _ in range(3):
        with pytest.raises(DeviceError, match="connection to socket://.* was lost"):
            laser.emission()
    laser.close()


def test_nobody_at_the_port(microscope: VirtualMicroscope) -> None:
    served = serve(SETTINGS, microscope, "laser")
    served.stop()
    with pytest.raises(DeviceError, match="connection to socket://.* could not be made"):
        opened(served, microscope)
