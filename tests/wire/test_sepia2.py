"""The Sepia II driver, through ctypes, against a library with the vendor's C interface."""

import ctypes
from collections.abc import Iterator

import pytest

from tplm_config import load_profile
from tplm_config.devices import Sepia2 as Settings
from tplm_config.simulation import SimulationSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_drivers.sepia2 import Sepia2
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import Served, serve
from tplm_simulators.wire.sepia2 import SOMD, SepiaLibrary
from tplm_simulators.wire.sepia2 import serve as serve_sepia

SETTINGS = Settings(timeout_s=0.3, intensity_fraction=0.62)


@pytest.fixture
def microscope() -> VirtualMicroscope:
    return VirtualMicroscope(SimulationSettings(), OpticsSettings(), RunningClock(50))


@pytest.fixture
def served(microscope: VirtualMicroscope) -> Served:
    return serve(SETTINGS, microscope, "laser")


def opened(served: Served, microscope: VirtualMicroscope) -> Sepia2:
    profile = load_profile("simulated")
    device = open_device("laser", served.settings, profile, microscope.clock, served.library)
    assert isinstance(device, Sepia2)
    return device


@pytest.fixture
def laser(served: Served, microscope: VirtualMicroscope) -> Iterator[Sepia2]:
    device = opened(served, microscope)
    yield device
    device.close()


def test_the_simulated_functions_are_c_functions(served: Served) -> None:
    function = served.library.SEPIA2_LIB_GetVersion
    function.argtypes = (ctypes.c_char_p,)
    buffer = ctypes.create_string_buffer(16)
    assert function(buffer) == 0
    assert buffer.value == b"1.2.64.793"
    assert function.__class__.__mro__[1] is ctypes._CFuncPtr  # type: ignore[attr-defined]


def test_opening(laser: Sepia2, served: Served, microscope: VirtualMicroscope) -> None:
    library = served.library
    assert isinstance(library, SepiaLibrary)
    assert library.calls[0] == "USB_OpenDevice"
    assert library.calls.index("SCM_SetLaserSoftLock") < library.calls.index(
        "SLM_SetIntensityFineStep"
    )
    assert microscope.laser.power_fraction == 0.62
    assert library.pulse == (7, 1)
    identity = laser.identify()
    assert identity.model == "PicoQuant PDL 828"
    assert identity.serial_number == "1028123"
    assert identity.firmware == "2.01.673, library 1.2.64.793"
    assert identity.checked_against == "simulator only"


def test_emission_is_the_lock(laser: Sepia2, microscope: VirtualMicroscope) -> None:
    assert not laser.emission()
    laser.set_emission(True)
    assert laser.emission()
    assert microscope.laser.output_nw() > 0
    laser.set_emission(False)
    assert not laser.emission()
    assert microscope.laser.output_nw() == 0


@pytest.mark.parametrize(
    ("rate_hz", "mode", "divider"),
    [(2.5e6, 2, 32), (40e6, 2, 2), (6.4e6, 3, 10), (0.2e6, 4, 250), (10.2e6, 2, 8)],
)
def test_repetition_rate(
    laser: Sepia2,
    served: Served,
    microscope: VirtualMicroscope,
    rate_hz: float,
    mode: int,
    divider: int,
) -> None:
    laser.set_repetition_rate_hz(rate_hz)
    assert laser.repetition_rate_hz() == pytest.approx(rate_hz, rel=0.02)
    assert microscope.laser.repetition_rate_hz == laser.repetition_rate_hz()
    assert (served.library.mode, served.library.divider) == (mode, divider)


def test_never_faster_on_the_way(laser: Sepia2, microscope: VirtualMicroscope) -> None:
    for rate_hz in (40e6, 0.25e6, 32e6, 25e6, 0.2e6, 40e6):
        laser.set_repetition_rate_hz(rate_hz)  # the virtual laser refuses more than 40 MHz
        assert microscope.laser.repetition_rate_hz == pytest.approx(rate_hz)


def test_rates_out_of_reach(laser: Sepia2) -> None:
    with pytest.raises(DeviceError, match="cannot pulse at 100000 Hz: the nearest .* 196078 Hz"):
        laser.set_repetition_rate_hz(1e5)
    with pytest.raises(DeviceError, match="nearest rate of its oscillator is 2.66667e.07"):
        laser.set_repetition_rate_hz(28e6)
    with pytest.raises(DeviceError, match=r"refused: LIB: illegal parameter .* \(-9910\)"):
        laser.set_repetition_rate_hz(80e6)


def test_oscillator_with_delays(microscope: VirtualMicroscope) -> None:
    served = serve_sepia(SETTINGS, microscope, "laser", oscillator=SOMD)
    laser = opened(served, microscope)
    laser.set_repetition_rate_hz(0.1e6)  # a divider of more than one byte
    assert served.library.divider in (500, 640, 800)
    assert laser.repetition_rate_hz() == pytest.approx(0.1e6)
    assert microscope.laser.repetition_rate_hz == pytest.approx(0.1e6)
    laser.close()


def test_interlock(laser: Sepia2, microscope: VirtualMicroscope) -> None:
    laser.set_emission(True)
    microscope.laser.open_interlock()
    assert not laser.emission()
    with pytest.raises(DeviceError, match="^laser: refuses to emit: it is locked by its key or"):
        laser.set_emission(True)
    microscope.laser.close_interlock()
    assert not laser.emission()  # the soft lock was put back
    laser.set_emission(True)
    assert laser.emission()


def test_refuses_to_go_off(laser: Sepia2, microscope: VirtualMicroscope) -> None:
    laser.set_emission(True)
    microscope.laser.refuse_to_stop()
    with pytest.raises(DeviceError, match="^laser: refuses to go off.*block the beam"):
        laser.set_emission(False)
    assert laser.emission()
    microscope.laser.obey()
    laser.set_emission(False)
    assert not laser.emission()


def test_unplugged_and_plugged_in_again(laser: Sepia2, microscope: VirtualMicroscope) -> None:
    microscope.laser.unplug()
    for ask in (laser.emission, laser.repetition_rate_hz, laser.identify):
        with pytest.raises(DeviceError, match=r"connection to the Sepia II was lost.*\(-3211\)"):
            ask()
    microscope.laser.plug_in()
    assert not laser.emission()
    laser.close()
    with pytest.raises(DeviceError, match="unknown USB handle"):
        laser.emission()
    laser.close()


def test_wrong_slots_and_devices(served: Served, microscope: VirtualMicroscope) -> None:
    def attempt(**changes: int) -> None:
        settings = SETTINGS.model_copy(update=changes)
        profile = load_profile("simulated")
        open_device("laser", settings, profile, microscope.clock, served.library)

    with pytest.raises(DeviceError, match="slot 200 has type 0x70 and is no oscillator"):
        attempt(oscillator_slot=200)
    with pytest.raises(DeviceError, match=r"referenced slot is not in use \(-9009\)"):
        attempt(laser_slot=300)
    with pytest.raises(DeviceError, match=r"could not be made: LIB: USB device open error"):
        attempt(device=3)


def test_in_use(laser: Sepia2, served: Served, microscope: VirtualMicroscope) -> None:
    with pytest.raises(DeviceError, match="in use: LIB: USB device already opened.*close"):
        opened(served, microscope)


def test_library_missing(microscope: VirtualMicroscope) -> None:
    settings = SETTINGS.model_copy(update={"library": "/nowhere/Sepia2_Lib.dll"})
    with pytest.raises(DeviceError, match="library for the Sepia II could not be loaded.*install"):
        open_device("laser", settings, load_profile("simulated"), microscope.clock)
