"""The virtual microscope: a transient photoluminescence microscope without the hardware."""

from tplm_simulators.clock import RunningClock, SimulatedClock
from tplm_simulators.faults import VirtualFault
from tplm_simulators.film import Film
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.optics import Aperture, OpticsSettings
from tplm_simulators.sample import Conditions, EmissionMap, Sample
from tplm_simulators.stage import DetectorStage, SampleStage

__all__ = [
    "Aperture",
    "Conditions",
    "DetectorStage",
    "EmissionMap",
    "Film",
    "OpticsSettings",
    "RunningClock",
    "Sample",
    "SampleStage",
    "SimulatedClock",
    "VirtualFault",
    "VirtualMicroscope",
]
