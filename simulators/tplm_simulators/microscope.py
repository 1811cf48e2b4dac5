"""The virtual microscope: all devices around one sample."""

from collections.abc import Callable

import numpy as np

from tplm_config.simulation import FilmSettings, SimulationSettings
from tplm_simulators.attenuator import Attenuator
from tplm_simulators.card import Card
from tplm_simulators.clock import SimulatedClock
from tplm_simulators.device import Bench
from tplm_simulators.film import Film
from tplm_simulators.laser import Laser
from tplm_simulators.noise import SlowNoise
from tplm_simulators.optics import OpticsSettings
from tplm_simulators.power_meter import PowerMeter
from tplm_simulators.sample import Conditions, Sample
from tplm_simulators.samples.modelled import ModelledSample
from tplm_simulators.scene import Scene
from tplm_simulators.shutter import Shutter
from tplm_simulators.stage import DetectorStage, SampleStage
from tplm_simulators.thermostat import Thermostat


class VirtualMicroscope:
    """A laser, an attenuator, a power meter, a shutter, a sample, a detector and a card.

    Light goes laser → attenuator → beam sampler with the power meter → shutter → sample in its
    thermostat on its stage → magnified image → detector on its stage → card. Everything starts
    dark: emission off, shutter closed, stages at 0.

    Parameters
    ----------
    settings
        Of the simulation.
    optics
        Of the instrument.
    clock
        Device time.
    sample
        Another sample than the one of the settings.
    """

    def __init__(
        self,
        settings: SimulationSettings,
        optics: OpticsSettings,
        clock: SimulatedClock,
        sample: Sample | None = None,
    ) -> None:
        def stream(number: int) -> np.random.Generator:
            # One stream for each use, so that reading one device never changes another.
            return np.random.default_rng((settings.seed, number))

        self.settings = settings
        self.optics = optics
        self.clock = clock
        if sample is not None:
            self.sample: Sample = sample
        elif isinstance(settings.sample, FilmSettings):
            self.sample = Film(settings.sample, stream(0))
        else:
            self.sample = ModelledSample(settings.sample)
        bench = Bench(clock)
        self._bench = bench
        self.laser = Laser("laser", bench, settings.laser)
        self.attenuator = Attenuator("attenuator", bench, settings.attenuator)
        self.detection_attenuator = Attenuator(
            "detection attenuator", bench, settings.detection_attenuator
        )
        self.shutter = Shutter("shutter", bench, settings.shutter)
        self.detector_stage = DetectorStage(
            "detector stage", bench, settings.detector_stage, optics.aperture_um / 10, stream(1)
        )
        self.sample_stage = SampleStage(
            "sample stage", bench, settings.sample_stage, 0.1, stream(2)
        )
        self.thermostat = Thermostat("thermostat", bench, settings.thermostat, stream(3))
        self._scene = Scene(
            settings,
            optics,
            self.sample,
            self.laser,
            self.attenuator,
            self.detection_attenuator,
            self.shutter,
            self.detector_stage,
            self.sample_stage,
            self.thermostat,
            SlowNoise(settings.laser.noise_rms, stream(4)),
        )
        self.power_meter = PowerMeter(
            "power meter", bench, settings.power_meter, self._scene.power_nw_at, stream(5)
        )
        self.card = Card(
            "timing card", bench, settings.detection, self._scene, stream(6), stream(7)
        )
        bench.record_with(self.card.record)

    def schedule(self, at_s: float, action: Callable[[], object]) -> None:
        """Run `action` when the clock passes the device time `at_s`: a fault in mid-scan."""
        self.clock.call_at(at_s, action)

    def conditions(self) -> Conditions:
        """Conditions of the sample at present, were the shutter open (truth)."""
        with self._bench.lock:
            return self._scene.conditions_at(self.clock.now_s())

    def pending(self) -> float | None:
        """Share of the sample's light under `conditions` that is computed; None when all is."""
        return self.sample.pending(self.conditions())

    def truth(self) -> str | None:
        """What is true of the sample under `conditions`, if its settings do not say it all."""
        return self.sample.describe(self.conditions())
