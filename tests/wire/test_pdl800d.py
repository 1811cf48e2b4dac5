"""The PDL 800-D driver through PyMeasure and PyVISA-py, against simulated generators."""

from collections.abc import Iterator

import pytest

from tplm_config import load_profile
from tplm_config.devices import Pdl800d as Settings
from tplm_config.simulation import SimulationSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_drivers.pdl800d import Pdl800d
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import Served, WireFault, serve

SETTINGS = Settings(generator="USB0::0x0957::0x2807::MY5::INSTR", timeout_s=0.3, dial="3.5")
MODELS = ["Agilent33500", "Agilent33220A", "AFG3152C"]


@pytest.fixture
def microscope() -> VirtualMicroscope:
    return VirtualMicroscope(SimulationSettings(), OpticsSettings(), RunningClock(50))


@pytest.fixture
def model() -> str:
    return "Agilent33500"


@pytest.fixture
def served(microscope: VirtualMicroscope, model: str) -> Iterator[Served]:
    served = serve(SETTINGS.model_copy(update={"model": model}), microscope, "laser")
    yield served
    served.stop()


@pytest.fixture
def laser(served: Served, microscope: VirtualMicroscope) -> Iterator[Pdl800d]:
    profile = load_profile("simulated")
    device = open_device("laser", served.settings, profile, microscope.clock, served.library)
    assert isinstance(device, Pdl800d)
    yield device
    device.close()


@pytest.mark.parametrize("model", MODELS)
def test_rate_and_emission(laser: Pdl800d, microscope: VirtualMicroscope, model: str) -> None:
    assert type(laser.line.instrument).__module__.startswith("pymeasure.")
    assert type(laser.line.instrument).__name__ == model
    laser.set_repetition_rate_hz(1.25e6)
    assert laser.repetition_rate_hz() == pytest.approx(1.25e6)
    assert microscope.laser.repetition_rate_hz == pytest.approx(1.25e6)
    laser.set_emission(True)
    assert laser.emission()
    assert microscope.laser.output_nw() > 0
    laser.set_emission(False)
    assert not laser.emission()
    assert microscope.laser.output_nw() == 0


SET_UP = {
    "Agilent33500": [
        b"OUTP 0\n", b"OUTP?\n", b"SYST:ERR?\n", b"*CLS\n", b"OUTP:LOAD 50\n", b"FUNC SQU\n",
        b"VOLT:UNIT VPP\n", b"VOLT 1.500000\n", b"VOLT:OFFS 0.000000\n", b"SYST:ERR?\n",
    ],
    "AFG3152C": [
        b"OUTP1:STAT OFF\n", b"OUTP1:STAT?\n", b"SYST:ERR?\n", b"*CLS\n", b"OUTP1:IMP 50\n",
        b"source1:function:shape SQU\n", b"source1:voltage:unit VPP\n",
        b"source1:voltage:amplitude 1.500000e+00VPP\n", b"source1:voltage:offset 0.000000e+00\n",
        b"SYST:ERR?\n",
    ],
}  # fmt: skip
SET_UP["Agilent33220A"] = SET_UP["Agilent33500"]


@pytest.mark.parametrize("model", MODELS)
def test_bytes_of_opening(laser: Pdl800d, served: Served, model: str) -> None:
    sent = b"".join(data for way, data in served.servers[0].log if way == "<")
    assert sent == b"".join(SET_UP[model])


def test_identity_is_that_of_a_composite(laser: Pdl800d) -> None:
    identity = laser.identify()
    assert identity.model == (
        "PicoQuant PDL 800-D, dial 3.5, triggered on the rising edge by Agilent Technologies 33522A"
    )
    assert identity.serial_number == "generator MY50000123"
    assert identity.checked_against == "simulator only"


def test_limits(laser: Pdl800d, microscope: VirtualMicroscope) -> None:
    with pytest.raises(DeviceError, match="5e.07 Hz is beyond the 4e.07 Hz"):
        laser.set_repetition_rate_hz(50e6)
    with pytest.raises(DeviceError, match="the generator refused: Data out of range"):
        laser.set_repetition_rate_hz(35e6)  # more than a square wave of this generator
    laser.set_repetition_rate_hz(20e6)
    assert microscope.laser.repetition_rate_hz == pytest.approx(20e6)


def test_the_interlock_is_not_seen(laser: Pdl800d, microscope: VirtualMicroscope) -> None:
    microscope.laser.open_interlock()
    laser.set_emission(True)
    assert laser.emission()  # the trigger runs
    assert not microscope.laser.emission
    laser.set_emission(False)
    assert not laser.emission()


def test_refuses_to_go_off(laser: Pdl800d, microscope: VirtualMicroscope) -> None:
    laser.set_emission(True)
    microscope.laser.refuse_to_stop()
    with pytest.raises(DeviceError, match="^laser: refuses to go off.*block the beam"):
        laser.set_emission(False)
    assert laser.emission()
    microscope.laser.obey()
    laser.set_emission(False)


FAULTS = {
    "garbled": (WireFault("garbled"), "makes no sense"),
    "truncated": (WireFault("truncated"), "does not answer within 0.3 s"),
    "silent": (WireFault("silent"), "does not answer within 0.3 s"),
    "late": (WireFault("late", delay_s=0.35), "does not answer within 0.3 s"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faulty_replies(laser: Pdl800d, served: Served, kind: str) -> None:
    fault, words = FAULTS[kind]
    served.servers[0].fail(fault)
    with pytest.raises(DeviceError, match=f"^laser: .*{words}") as caught:
        laser.repetition_rate_hz()
    assert "\n" not in str(caught.value)
    laser.set_emission(True)
    assert laser.emission() is True  # the rate that came late is not taken for it
    assert laser.repetition_rate_hz() == pytest.approx(2.5e6)


def test_unplugged(laser: Pdl800d, microscope: VirtualMicroscope) -> None:
    microscope.laser.unplug()
    with pytest.raises(DeviceError, match="does not answer within 0.3 s"):
        laser.emission()
    microscope.laser.plug_in()
    assert laser.emission() is False


def test_dropped_connection_is_never_made_again(laser: Pdl800d, served: Served) -> None:
    served.servers[0].drop()
    for _ in range(3):
        with pytest.raises(DeviceError, match="connection to TCPIP0::.* was lost"):
            laser.emission()
    laser.close()
