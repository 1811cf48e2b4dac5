"""What the tests of the temperature controllers share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tplm_config import load_profile
from tplm_config.simulation import SimulationSettings, ThermostatSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import Served, WireFault, WireServer, serve

TIMEOUT_S = 0.3
SILENT = "does not answer within 0.3 s"
LOST = "was lost or could not be made"
GARBLED = "gave a reply that makes no sense"
WIRE_FAULTS = [
    ("garbled", WireFault("garbled"), GARBLED),
    ("truncated", WireFault("truncated"), GARBLED),
    ("silent", WireFault("silent"), SILENT),
    ("late", WireFault("late", delay_s=2 * TIMEOUT_S), SILENT),
    # once for each attempt to reconnect
    ("dropped", WireFault("dropped", replies=3), LOST),
]


@dataclass
class Cryostat:
    """An open driver, its simulator, and the microscope behind both."""

    device: Any
    served: Served
    microscope: VirtualMicroscope

    @property
    def wire(self) -> WireServer:
        return self.served.servers[0]

    @property
    def truth_k(self) -> float:
        return self.microscope.thermostat.kelvin_at(self.microscope.clock.now_s())

    def refused(self, set_point_k: float) -> str:
        return told(lambda: self.device.set_set_point_k(set_point_k))

    def failed(self) -> str:
        return told(self.device.temperature_k)


def told(call: Any) -> str:
    """The one line that a failing call tells."""
    with pytest.raises(DeviceError) as caught:
        call()
    assert caught.value.device == "temperature"
    text = str(caught.value)
    assert text.startswith("temperature: ")
    assert "\n" not in text
    assert text.isprintable()
    return text


def opened(served: Served, microscope: VirtualMicroscope, **changes: Any) -> Any:
    settings = served.settings.model_copy(update=changes)
    return open_device("temperature", settings, load_profile("simulated"), microscope.clock)


@contextmanager
def cryostat(settings: Any, **thermostat: Any) -> Iterator[Cryostat]:
    simulation = SimulationSettings(thermostat=ThermostatSettings(**{"lag_s": 5.0} | thermostat))
    microscope = VirtualMicroscope(simulation, OpticsSettings(), RunningClock(50))
    served = serve(settings, microscope, "temperature")
    try:
        device = opened(served, microscope)
        yield Cryostat(device, served, microscope)
        device.close()
        device.close()
    finally:
        served.stop()


def sent(wire: WireServer, question: bytes) -> bytes:
    """The reply to the last question of this kind."""
    at = max(number for number, entry in enumerate(wire.log) if entry == ("<", question))
    direction, reply = wire.log[at + 1]
    assert direction == ">"
    return reply
