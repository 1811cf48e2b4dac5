"""The PM100 driver through PyMeasure and PyVISA-py, against the simulated console."""

from collections.abc import Iterator

import pytest

from tplm_config import load_profile
from tplm_config.devices import Pm100 as Settings
from tplm_config.simulation import LaserSettings, PowerMeterSettings, SimulationSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_drivers.pm100 import Pm100
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import Served, WireFault, serve

SETTINGS = Settings(resource="USB0::0x1313::0x8078::P0012345::INSTR", timeout_s=0.3)
QUIET = PowerMeterSettings(noise_rms=0.0, noise_nw=0.0)


@pytest.fixture
def microscope() -> VirtualMicroscope:
    settings = SimulationSettings(
        power_meter=QUIET, laser=LaserSettings(full_scale_nw=6e6, noise_rms=0.0)
    )
    return VirtualMicroscope(settings, OpticsSettings(), RunningClock(50))


@pytest.fixture
def served(microscope: VirtualMicroscope) -> Iterator[Served]:
    served = serve(SETTINGS, microscope, "power_meter")
    yield served
    served.stop()


def opened(served: Served, *overrides: str) -> Pm100:
    profile = load_profile("simulated", overrides)
    device = open_device(
        "power_meter", served.settings, profile, RunningClock(50), library=served.library
    )
    assert isinstance(device, Pm100)
    return device


@pytest.fixture
def meter(served: Served) -> Iterator[Pm100]:
    device = opened(served)
    yield device
    device.close()


def test_identity(meter: Pm100) -> None:
    assert type(meter.line.instrument).__module__.startswith("pymeasure.")
    identity = meter.identify()
    assert identity.model == "Thorlabs PM100D with sensor S130C 140101101"
    assert identity.serial_number == "P0012345"
    assert identity.firmware == "2.4.0"
    assert identity.checked_against == "simulator only"


def test_power(meter: Pm100, microscope: VirtualMicroscope) -> None:
    assert meter.power_nw() == pytest.approx(QUIET.zero_offset_nw)
    microscope.laser.set_emission(True)
    assert meter.power_nw() == pytest.approx(6e4, rel=1e-5)  # through a wheel at 1 %


def test_bytes_on_the_wire(meter: Pm100, served: Served) -> None:
    (server,) = served.servers
    server.log.clear()
    meter.power_nw()
    assert server.log == [("<", b"MEAS:POW?\n"), (">", b"1.000000E-11\n")]


def test_wavelength(served: Served) -> None:
    opened(served, "laser.wavelength_nm=450.0").close()
    assert ("<", b"SENSE:CORR:WAV 450.0\n") in served.servers[0].log
    with pytest.raises(DeviceError, match="S130C cannot be set to 355 nm; it is at 400 nm"):
        opened(served, "laser.wavelength_nm=355.0")


def test_over_range(meter: Pm100, microscope: VirtualMicroscope) -> None:
    microscope.laser.set_emission(True)
    microscope.attenuator.set_transmission(1.0)
    microscope.clock.wait(5)
    with pytest.raises(DeviceError, match="^power_meter: is over range: more light.*turn the"):
        meter.power_nw()
    microscope.attenuator.set_transmission(0.5)
    microscope.clock.wait(5)
    assert meter.power_nw() == pytest.approx(3e6, rel=1e-3)


FAULTS = {
    "garbled": (WireFault("garbled"), "makes no sense"),
    "truncated": (WireFault("truncated"), "does not answer within 0.3 s"),
    "silent": (WireFault("silent"), "does not answer within 0.3 s"),
    "late": (WireFault("late", delay_s=0.45), "does not answer within 0.3 s"),
    "dropped": (WireFault("dropped"), "connection to TCPIP0::.* was lost"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faulty_replies(
    meter: Pm100, microscope: VirtualMicroscope, served: Served, kind: str
) -> None:
    fault, words = FAULTS[kind]
    served.servers[0].fail(fault)
    with pytest.raises(DeviceError, match=f"^power_meter: .*{words}") as caught:
        meter.power_nw()
    assert "\n" not in str(caught.value)
    microscope.laser.set_emission(True)
    assert meter.power_nw() == pytest.approx(6e4, rel=1e-5)  # no reply from before the failure


def test_unplugged_and_plugged_in_again(meter: Pm100, microscope: VirtualMicroscope) -> None:
    microscope.power_meter.unplug()
    for _ in range(2):
        with pytest.raises(DeviceError, match="does not answer within 0.3 s"):
            meter.power_nw()
    microscope.power_meter.plug_in()
    assert meter.power_nw() == pytest.approx(QUIET.zero_offset_nw)


def test_gone_for_good(meter: Pm100, served: Served) -> None:
    served.stop()
    for _ in range(2):
        with pytest.raises(DeviceError, match="connection to TCPIP0::.* was lost or could not"):
            meter.power_nw()
    meter.close()
