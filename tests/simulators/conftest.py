from collections.abc import Callable

import pytest

from tplm_config.simulation import SimulationSettings
from tplm_simulators import OpticsSettings, SimulatedClock, VirtualMicroscope

QUIET = SimulationSettings().model_copy(
    update={
        "laser": SimulationSettings().laser.model_copy(update={"noise_rms": 0.0}),
        "detector_stage": SimulationSettings().detector_stage.model_copy(
            update={"repeatability_um": 0.0}
        ),
    }
)


@pytest.fixture
def quiet() -> SimulationSettings:
    """Settings without laser noise and without stage errors."""
    return QUIET


Build = Callable[..., VirtualMicroscope]


@pytest.fixture
def build() -> Build:
    """Build a microscope; keyword arguments replace groups of settings, by dictionaries."""

    def make(optics: OpticsSettings | None = None, **groups: object) -> VirtualMicroscope:
        data = QUIET.model_dump()
        for name, value in groups.items():
            data[name] = {**data[name], **value} if isinstance(value, dict) else value
        settings = SimulationSettings.model_validate(data)
        return VirtualMicroscope(settings, optics or OpticsSettings(), SimulatedClock())

    return make


@pytest.fixture
def lit(build: Build) -> Callable[..., VirtualMicroscope]:
    """The same, with 1 nW on the way to the sample, shutter open and 1024 bins."""

    def make(optics: OpticsSettings | None = None, **groups: object) -> VirtualMicroscope:
        microscope = build(optics, **groups)
        microscope.card.configure(25, 1024)
        microscope.laser.set_emission(True)
        microscope.shutter.set_open(True)
        microscope.clock.wait(0.1)
        return microscope

    return make
