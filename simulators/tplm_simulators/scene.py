"""What all devices together do to the light: from their states to the rates of the counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tplm_analysis.excitation import J_PER_EV, excitation
from tplm_config.simulation import SimulationSettings
from tplm_simulators.attenuator import Attenuator
from tplm_simulators.device import Device
from tplm_simulators.laser import Laser
from tplm_simulators.noise import SlowNoise
from tplm_simulators.optics import OpticsSettings
from tplm_simulators.period import PulsePeriod
from tplm_simulators.pileup import registered
from tplm_simulators.response import Response
from tplm_simulators.sample import Conditions, EmissionMap, Sample
from tplm_simulators.shutter import Shutter
from tplm_simulators.stage import DetectorStage, SampleStage
from tplm_simulators.thermostat import Thermostat

_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
_COARSEST_GRID_PS = 32.0
_STEP_NM = 2.0


@dataclass(frozen=True, slots=True)
class Layout:
    """How the card sorts the counts into time bins.

    Parameters
    ----------
    base_resolution_ps
        Narrowest bin of the card, ps.
    time_bin_ps
        Width of a bin, ps: the base resolution times a power of two.
    bins
        Number of bins.
    offset_ps
        Start of the first bin after the sync pulse, ps, in whole base resolutions.
    """

    base_resolution_ps: float
    time_bin_ps: float
    bins: int
    offset_ps: float

    @property
    def grid_ps(self) -> float:
        """Grid on which the light is computed: about 25 ps, dividing the bin and the offset."""
        base_ps = self.base_resolution_ps
        factor = 1
        while (
            2 * factor * base_ps <= min(_COARSEST_GRID_PS, self.time_bin_ps)
            and round(self.offset_ps / base_ps) % (2 * factor) == 0
        ):
            factor *= 2
        return factor * base_ps

    def sort(self, period: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the grid points of each bin; bins beyond the period stay empty."""
        per_bin = round(self.time_bin_ps / self.grid_ps)
        first = round(self.offset_ps / self.grid_ps)
        seen = period[first : first + self.bins * per_bin]
        sums = np.zeros(self.bins)
        lit = -(-seen.size // per_bin)
        sums[:lit] = np.add.reduceat(seen, np.arange(0, seen.size, per_bin)) if lit else 0.0
        return sums


@dataclass(frozen=True, slots=True)
class Rates:
    """Expected counts per second.

    Parameters
    ----------
    per_bin_hz
        In each time bin of the card.
    total_hz
        Over the whole period.
    """

    per_bin_hz: NDArray[np.float64]
    total_hz: float


@dataclass(frozen=True, slots=True)
class _View:
    """What the detector looks at: the sample in its conditions, at a point of the image."""

    conditions: Conditions
    x_um: float
    y_um: float


class Scene:
    """The light of all devices together, as a function of time.

    Parameters
    ----------
    settings, optics
        Of the microscope.
    sample
        Gives the emission.
    laser, attenuator, detection_attenuator, shutter, detector_stage, sample_stage, thermostat
        The devices that act on the light.
    noise
        Relative noise of the laser power.
    """

    def __init__(
        self,
        settings: SimulationSettings,
        optics: OpticsSettings,
        sample: Sample,
        laser: Laser,
        attenuator: Attenuator,
        detection_attenuator: Attenuator,
        shutter: Shutter,
        detector_stage: DetectorStage,
        sample_stage: SampleStage,
        thermostat: Thermostat,
        noise: SlowNoise,
    ) -> None:
        self._settings = settings
        self._optics = optics
        self._sample = sample
        self._laser = laser
        self._attenuator = attenuator
        self._detection_attenuator = detection_attenuator
        self._shutter = shutter
        self._detector_stage = detector_stage
        self._sample_stage = sample_stage
        self._thermostat = thermostat
        self._noise = noise
        self._devices: Sequence[Device] = (
            laser,
            attenuator,
            detection_attenuator,
            shutter,
            detector_stage,
            sample_stage,
            thermostat,
        )
        detection = settings.detection
        self._response = Response(
            detection.response_fwhm_ps,
            detection.response_tail_share,
            detection.response_tail_ps,
            detection.time_zero_ps,
        )
        # Kept only as long as they are likely to be asked for again: the state now and before.
        self._period = lru_cache(maxsize=4)(self._make_period)
        self._emission = lru_cache(maxsize=2)(self._make_emission)
        self._light = lru_cache(maxsize=2)(self._make_light)
        self._rates = lru_cache(maxsize=2)(self._make_rates)

    def steady_until_s(self, time_s: float) -> float:
        """Until when the light may be taken as constant, but for the noise of the laser."""
        drift_nm_per_s = math.hypot(*self._settings.laser.drift_nm_per_h) / 3600
        drifted_s = time_s + _STEP_NM / drift_nm_per_s if drift_nm_per_s > 0 else math.inf
        return min(drifted_s, *(device.steady_until_s(time_s) for device in self._devices))

    def power_nw_at(self, time_s: float) -> float:
        """Nominal power (after the attenuator) with the noise of the laser, nW."""
        return self._steady_power_nw(time_s) * self._noise_factor(time_s, time_s)

    def conditions_at(self, time_s: float) -> Conditions:
        """Conditions of the sample when the shutter is open, without the noise of the laser."""
        optics, rate_hz = self._optics, self._laser.pulse_rate_hz()
        x_um, y_um, z_um = self._sample_stage.place_um_at(time_s)
        defocus_um = z_um - self._settings.focus_z_um
        widening = 1 + (defocus_um / self._settings.focus_depth_um) ** 2
        excited = excitation(
            self._steady_power_nw(time_s),
            rate_hz,
            fwhm_nm=optics.spot_fwhm_nm * math.sqrt(widening),
            edge_nm=self._sample.edge_nm,
            wavelength_nm=optics.wavelength_nm,
            throughput=optics.throughput,
        )
        pulse_j = excited.power_at_sample_nw * 1e-9 / rate_hz
        emission_nm = self._settings.sample.emission_fwhm_nm * math.sqrt(widening)
        return Conditions(
            photons_per_pulse=pulse_j / (excited.photon_energy_ev * J_PER_EV),
            fluence_uj_per_cm2=excited.fluence_uj_per_cm2,
            mean_excitons_per_nc=excited.mean_excitons_per_nc,
            repetition_rate_hz=rate_hz,
            # Rounded, so that the last breath of a settling cryostat makes no new state.
            temperature_k=round(self._thermostat.kelvin_at(time_s), 2),
            spot_sigma_um=emission_nm * 1e-3 / _FWHM_PER_SIGMA,
            x_um=x_um,
            y_um=y_um,
        )

    def rates(self, from_s: float, to_s: float, layout: Layout) -> Rates:
        """Give the expected rates from `from_s` to `to_s`, while the scene is steady."""
        middle_s = 0.5 * (from_s + to_s)
        view = self._view_at(middle_s)
        noise = 1.0 if view is None else self._noise_factor(from_s, to_s)
        light_nw = 0.0 if view is None else self._steady_power_nw(middle_s) * noise
        detection = self._settings.detection
        passed = self._detection_attenuator.transmission_at(middle_s)
        factor = noise * passed
        ambient_hz = detection.ambient_rate_hz + detection.laser_background_hz_per_nw * light_nw
        background_hz = self._optics.dark_rate_hz + passed * ambient_hz
        return self._rates(layout, self._laser.pulse_rate_hz(), view, factor, background_hz)

    def sync_rate_hz(self) -> float:
        """Sync pulses per second."""
        return self._laser.pulse_rate_hz()

    def marker_times_s(self, from_s: float, to_s: float) -> list[float]:
        """When marker input 1 of the card had a pulse, after `from_s` and not after `to_s`."""
        return self._detector_stage.trigger_times_s(from_s, to_s)

    def _steady_power_nw(self, time_s: float) -> float:
        return self._laser.output_nw() * self._attenuator.transmission_at(time_s)

    def _noise_factor(self, from_s: float, to_s: float) -> float:
        return max(1 + self._noise.mean(from_s, to_s), 0.0)

    def _view_at(self, time_s: float) -> _View | None:
        if not self._shutter.passes_at(time_s) or self._laser.output_nw() == 0:
            return None
        x_um, y_um = self._optics.sample_position_um(self._detector_stage.place_um_at(time_s))
        drift_x_um, drift_y_um = (
            nm_per_h * 1e-3 * time_s / 3600 for nm_per_h in self._settings.laser.drift_nm_per_h
        )
        return _View(self.conditions_at(time_s), x_um - drift_x_um, y_um - drift_y_um)

    def _make_period(self, rate_hz: float, grid_ps: float) -> PulsePeriod:
        return PulsePeriod(rate_hz, grid_ps, self._response)

    def _make_emission(self, conditions: Conditions, grid_ps: float) -> EmissionMap:
        period = self._period(conditions.repetition_rate_hz, grid_ps)
        return self._sample.emission(period.time_edges_ns, conditions)

    def _make_light(self, view: _View, grid_ps: float) -> NDArray[np.float64]:
        period = self._period(view.conditions.repetition_rate_hz, grid_ps)
        emission = self._emission(view.conditions, grid_ps)
        return period.light(emission, view.x_um, view.y_um, self._optics.aperture)

    def _make_rates(
        self,
        layout: Layout,
        rate_hz: float,
        view: _View | None,
        factor: float,
        background_hz: float,
    ) -> Rates:
        grid_ps = layout.grid_ps
        points = self._period(rate_hz, grid_ps).points
        expected = np.full(points, background_hz / (rate_hz * points))
        if view is not None:
            expected += factor * self._light(view, grid_ps)
        dead_points = round(self._settings.detection.dead_time_ns * 1e3 / grid_ps)
        counts = registered(expected, dead_points)
        return Rates(layout.sort(counts) * rate_hz, float(counts.sum()) * rate_hz)
