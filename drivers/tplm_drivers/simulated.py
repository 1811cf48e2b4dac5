"""The simulated devices: the virtual microscope, adapted to the roles."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tplm_config import InstrumentProfile
from tplm_drivers.clock import Clock
from tplm_drivers.roles import CardConfiguration, Device, DeviceError, Histogram, Identity, RoleName
from tplm_simulators import (
    DetectorStage,
    OpticsSettings,
    SampleStage,
    SimulatedClock,
    VirtualFault,
    VirtualMicroscope,
)

ADVICE = "this is the virtual microscope: a fault was put in on purpose, or a limit was met"


@contextmanager
def _told(role: RoleName) -> Iterator[None]:
    """Turn a virtual device's complaint into a `DeviceError`."""
    try:
        yield
    except VirtualFault as fault:
        raise DeviceError(role, fault.message, ADVICE) from fault


@dataclass(frozen=True)
class _Simulated:
    """What every simulated device shares."""

    microscope: VirtualMicroscope
    role: RoleName

    def identify(self) -> Identity:
        return Identity(f"virtual {self.role.replace('_', ' ')}", "SIM-0", "1")

    def close(self) -> None:
        """Nothing to let go of."""


class SimulatedLaser(_Simulated):
    """The virtual laser."""

    def emission(self) -> bool:
        with _told(self.role):
            return self.microscope.laser.emission

    def set_emission(self, on: bool) -> None:
        with _told(self.role):
            self.microscope.laser.set_emission(on)

    def repetition_rate_hz(self) -> float:
        with _told(self.role):
            return self.microscope.laser.repetition_rate_hz

    def set_repetition_rate_hz(self, rate_hz: float) -> None:
        with _told(self.role):
            self.microscope.laser.set_repetition_rate_hz(rate_hz)


class SimulatedAttenuator(_Simulated):
    """The virtual ND wheel."""

    def transmission(self) -> float:
        with _told(self.role):
            return self.microscope.attenuator.transmission()

    def set_transmission(self, transmission: float) -> None:
        with _told(self.role):
            darkest = self.microscope.attenuator.min_transmission
            self.microscope.attenuator.set_transmission(max(transmission, darkest))

    def is_moving(self) -> bool:
        with _told(self.role):
            return self.microscope.attenuator.is_moving()


class SimulatedShutter(_Simulated):
    """The virtual shutter; its blade needs a few milliseconds."""

    def is_open(self) -> bool:
        with _told(self.role):
            return self.microscope.shutter.is_open()

    def set_open(self, open_: bool) -> None:
        with _told(self.role):
            self.microscope.shutter.set_open(open_)
            self.microscope.clock.wait(self.microscope.settings.shutter.travel_s)


class SimulatedPowerMeter(_Simulated):
    """The virtual power meter, behind the attenuator and before the shutter."""

    def power_nw(self) -> float:
        with _told(self.role):
            return self.microscope.power_meter.power_nw()


class SimulatedCard(_Simulated):
    """The virtual TCSPC card."""

    def allowed_time_bins_ps(self) -> tuple[float, ...]:
        base_ps = self.microscope.card.base_resolution_ps
        return tuple(base_ps * 2**step for step in range(16))

    def max_bins(self) -> int:
        return self.microscope.card.max_bins

    def configure(
        self, time_bin_ps: float, bins: int, offset_ns: float, sync_divider: int
    ) -> CardConfiguration:
        base_ps = self.microscope.card.base_resolution_ps
        offset_ps = round(offset_ns * 1e3 / base_ps) * base_ps
        with _told(self.role):
            self.microscope.card.configure(time_bin_ps, bins, offset_ps, sync_divider)
        return CardConfiguration(time_bin_ps, bins, offset_ps / 1e3, sync_divider)

    def sync_rate_hz(self) -> float:
        with _told(self.role):
            return self.microscope.card.sync_rate_hz()

    def count_rate_hz(self) -> float:
        with _told(self.role):
            return self.microscope.card.count_rate_hz()

    def start(self, dwell_s: float) -> None:
        with _told(self.role):
            self.microscope.card.start(dwell_s)

    def is_counting(self) -> bool:
        with _told(self.role):
            return self.microscope.card.is_running()

    def stop(self) -> None:
        with _told(self.role):
            self.microscope.card.stop()

    def read(self) -> Histogram:
        card = self.microscope.card
        with _told(self.role):
            return Histogram(card.histogram(), card.elapsed_s(), card.flags())


class SimulatedStage(_Simulated):
    """The virtual detector stage or sample stage."""

    @property
    def _stage(self) -> DetectorStage | SampleStage:
        at = self.microscope
        return at.detector_stage if self.role == "detector_stage" else at.sample_stage

    def position_um(self) -> tuple[float, ...]:
        with _told(self.role):
            return self._stage.position_um()

    def move_to(self, target_um: tuple[float, ...]) -> None:
        with _told(self.role):
            self._stage.move_to(*target_um)

    def is_moving(self) -> bool:
        with _told(self.role):
            return self._stage.is_moving()

    def stop(self) -> None:
        with _told(self.role):
            self._stage.stop()


class SimulatedTemperature(_Simulated):
    """The virtual cryostat."""

    def temperature_k(self) -> float:
        with _told(self.role):
            return self.microscope.thermostat.temperature_k()

    def set_point_k(self) -> float:
        with _told(self.role):
            return self.microscope.thermostat.set_point_k

    def set_set_point_k(self, set_point_k: float) -> None:
        with _told(self.role):
            self.microscope.thermostat.set_set_point_k(set_point_k)


_CLASSES: dict[RoleName, type[_Simulated]] = {
    "laser": SimulatedLaser,
    "attenuator": SimulatedAttenuator,
    "shutter": SimulatedShutter,
    "power_meter": SimulatedPowerMeter,
    "card": SimulatedCard,
    "detector_stage": SimulatedStage,
    "sample_stage": SimulatedStage,
    "temperature": SimulatedTemperature,
}


class SimulatedBench:
    """One virtual microscope, and the devices on it.

    Parameters
    ----------
    profile : InstrumentProfile
        Its optics, and the settings of the simulation.
    """

    def __init__(self, profile: InstrumentProfile) -> None:
        simulated_clock = SimulatedClock(profile.simulation.speed)
        optics, stage = profile.optics, profile.detector_stage
        self.clock: Clock = simulated_clock
        self.microscope = VirtualMicroscope(
            profile.simulation,
            OpticsSettings(
                magnification=optics.magnification,
                aperture_um=optics.detector_size_um,
                aperture_shape=optics.detector_shape,
                throughput=optics.throughput_to_sample,
                dark_rate_hz=optics.dark_counts_hz,
                wavelength_nm=profile.laser.wavelength_nm,
                spot_fwhm_nm=optics.spot_fwhm_nm,
                stage_directions=(stage.x.sign, stage.y.sign),
                stage_zero_um=(stage.x.zero_um, stage.y.zero_um),
            ),
            simulated_clock,
        )

    def open(self, role: RoleName) -> Device:
        """The device that plays a role."""
        return _CLASSES[role](self.microscope, role)
