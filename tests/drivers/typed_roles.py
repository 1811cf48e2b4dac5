"""Devices as their roles; ``mypy tests/drivers/typed_roles.py`` is the test."""

from typing import TYPE_CHECKING

from tplm_config import load_profile
from tplm_drivers import Instrument, roles
from tplm_drivers.simulated import (
    SimulatedAttenuator,
    SimulatedBench,
    SimulatedCard,
    SimulatedDetectorStage,
    SimulatedLaser,
    SimulatedPowerMeter,
    SimulatedShutter,
    SimulatedStage,
    SimulatedTemperature,
)

if TYPE_CHECKING:  # their libraries need not be installed
    from tplm_drivers import kinesis, pi, picoquant, zaber

    def card(real: picoquant.PicoQuantCard) -> roles.TcspcCard:
        """The real card as its role."""
        return real

    def stage(real: kinesis.Stage | pi.PiStage | zaber.ZaberStage) -> roles.DetectorStage:
        """The real detector stages as their role."""
        return real


def assembled(bench: SimulatedBench) -> Instrument:
    """An instrument, each device assigned to its role."""
    at = bench.microscope
    laser: roles.PulsedLaser = SimulatedLaser(at, "laser")
    attenuator: roles.Attenuator = SimulatedAttenuator(at, "attenuator")
    detection: roles.Attenuator = SimulatedAttenuator(at, "detection_attenuator")
    shutter: roles.Shutter = SimulatedShutter(at, "shutter")
    power_meter: roles.PowerMeter = SimulatedPowerMeter(at, "power_meter")
    card: roles.TcspcCard = SimulatedCard(at, "card")
    detector_stage: roles.DetectorStage = SimulatedDetectorStage(at, "detector_stage")
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
