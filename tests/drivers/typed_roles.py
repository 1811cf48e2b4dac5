"""Every simulated device as its role; ``mypy tests/drivers/typed_roles.py`` is the test."""

from tplm_config import load_profile
from tplm_drivers import Instrument, roles
from tplm_drivers.simulated import (
    SimulatedAttenuator,
    SimulatedBench,
    SimulatedCard,
    SimulatedLaser,
    SimulatedPowerMeter,
    SimulatedShutter,
    SimulatedStage,
    SimulatedTemperature,
)


def assembled(bench: SimulatedBench) -> Instrument:
    """An instrument, each device assigned to its role."""
    at = bench.microscope
    laser: roles.PulsedLaser = SimulatedLaser(at, "laser")
    attenuator: roles.Attenuator = SimulatedAttenuator(at, "attenuator")
    detection: roles.Attenuator = SimulatedAttenuator(at, "detection_attenuator")
    shutter: roles.Shutter = SimulatedShutter(at, "shutter")
    power_meter: roles.PowerMeter = SimulatedPowerMeter(at, "power_meter")
    card: roles.TcspcCard = SimulatedCard(at, "card")
    detector_stage: roles.DetectorStage = SimulatedStage(at, "detector_stage")
    sample_stage: roles.SampleStage = SimulatedStage(at, "sample_stage")
    temperature: roles.TemperatureController = SimulatedTemperature(at, "temperature")
    return Instrument(
        load_profile("simulated"),
        bench.clock,
        laser,
        card,
        detector_stage,
        attenuator,
        detection,
        shutter,
        power_meter,
        sample_stage,
        temperature,
    )
