"""The simulated devices: the virtual microscope, adapted to the roles."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import InstrumentProfile
from tplm_config.devices import KinesisWheel
from tplm_drivers.clock import Clock
from tplm_drivers.roles import (
    CardConfiguration,
    Device,
    DeviceError,
    Histogram,
    Identity,
    RoleName,
    StreamConfiguration,
    StreamEnd,
)
from tplm_simulators import (
    DetectorStage,
    OpticsSettings,
    RunningClock,
    SampleStage,
    SimulatedClock,
    VirtualFault,
    VirtualMicroscope,
)
from tplm_simulators.attenuator import Attenuator
from tplm_simulators.wire import Served, serve
from tplm_simulators.wire.kinesis import wheel_of

RUNNING_SPEED = 20.0
"""Simulated seconds per real second behind real drivers, if the profile names no speed."""
RECORD_TYPE = 0x00010307
READ_RECORDS = 2**17
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
    """The virtual ND wheel, in the excitation or the detection path."""

    @property
    def _wheel(self) -> Attenuator:
        at = self.microscope
        return at.attenuator if self.role == "attenuator" else at.detection_attenuator

    def transmission(self) -> float:
        with _told(self.role):
            return self._wheel.transmission()

    def set_transmission(self, transmission: float) -> None:
        with _told(self.role):
            self._wheel.set_transmission(max(transmission, self._wheel.min_transmission))

    def is_moving(self) -> bool:
        with _told(self.role):
            return self._wheel.is_moving()


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

    def counter_max(self) -> int:
        return self.microscope.settings.detection.counter_max

    def configure(
        self, time_bin_ps: float, bins: int, offset_ns: float, sync_divider: int
    ) -> CardConfiguration:
        offset_ps = self._offset_ps(offset_ns)
        with _told(self.role):
            self.microscope.card.configure(time_bin_ps, bins, offset_ps, sync_divider)
        return CardConfiguration(time_bin_ps, bins, offset_ps / 1e3, sync_divider)

    def configure_stream(
        self, time_bin_ps: float, offset_ns: float, sync_divider: int, *, markers: bool = False
    ) -> StreamConfiguration:
        offset_ps = self._offset_ps(offset_ns)
        card = self.microscope.card
        with _told(self.role):
            card.configure_stream(
                time_bin_ps, offset_ps, sync_divider, record_type=RECORD_TYPE, markers=markers
            )
        return StreamConfiguration(
            time_bin_ps=time_bin_ps,
            offset_ns=offset_ps / 1e3,
            sync_divider=sync_divider,
            record_type=RECORD_TYPE,
            channel=0,
            fifo_records=card.fifo_records,
            read_records=READ_RECORDS,
        )

    def _offset_ps(self, offset_ns: float) -> float:
        base_ps = self.microscope.card.base_resolution_ps
        return round(offset_ns * 1e3 / base_ps) * base_ps

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

    def read_records(self, into: NDArray[np.uint32]) -> int:
        with _told(self.role):
            records = self.microscope.card.read_records(min(into.size, READ_RECORDS))
        into[: records.size] = records
        return records.size

    def end_stream(self) -> StreamEnd:
        card = self.microscope.card
        with _told(self.role):
            flags = card.flags()
            card.stop()
            return StreamEnd(card.elapsed_s(), flags)


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


class SimulatedDetectorStage(SimulatedStage):
    """The virtual detector stage, whose speed can be set."""

    def set_speed_um_per_s(self, speed_um_per_s: float | None) -> None:
        with _told(self.role):
            self.microscope.detector_stage.set_speed_um_per_s(speed_um_per_s)


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
    "detection_attenuator": SimulatedAttenuator,
    "shutter": SimulatedShutter,
    "power_meter": SimulatedPowerMeter,
    "card": SimulatedCard,
    "detector_stage": SimulatedDetectorStage,
    "sample_stage": SimulatedStage,
    "temperature": SimulatedTemperature,
}


class SimulatedBench:
    """One virtual microscope, and the devices on it.

    Parameters
    ----------
    profile : InstrumentProfile
        Its optics, and the settings of the simulation.
    running : bool
        Whether time runs by itself, as the libraries of real drivers need it.
    """

    def __init__(self, profile: InstrumentProfile, *, running: bool = False) -> None:
        speed = profile.simulation.speed
        simulated_clock = RunningClock(speed or RUNNING_SPEED) if running else SimulatedClock(speed)
        self._profile = profile
        self._folder: TemporaryDirectory[str] | None = None
        self.served: dict[RoleName, Served] = {}
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
                stage_zero_um=profile.simulation.spot_image_um
                or (stage.x.zero_um, stage.y.zero_um),
            ),
            simulated_clock,
        )
        if profile.shutter is None:
            self.microscope.shutter.set_open(True)  # nothing stands in the beam

    def open(self, role: RoleName) -> Device:
        """The device that plays a role, in this process."""
        return _CLASSES[role](self.microscope, role)

    def serve(self, role: RoleName) -> tuple[Any, Any]:
        """Start the simulator of a role's real instrument.

        Returns
        -------
        tuple
            The driver's settings with the simulator's address, and what takes the place of the
            vendor's library, if the driver loads one.
        """
        settings = getattr(self._profile, role).driver
        served = self.served[role] = serve(settings, self.microscope, role)
        return self._with_table(served.settings, role), served.library

    def _with_table(self, settings: Any, role: RoleName) -> Any:
        """A wheel whose table is not there brings its own: simulations need no calibration."""
        if not isinstance(settings, KinesisWheel) or settings.calibration is None:
            return settings
        if Path(settings.calibration).is_file():
            return settings
        self._folder = self._folder or TemporaryDirectory(prefix="tplm-simulation-")
        table = Path(self._folder.name) / f"{role}.csv"
        table.write_text(wheel_of(self.microscope, role).table(), encoding="utf-8")
        return settings.model_copy(update={"calibration": str(table)})

    def pending(self) -> float | None:
        """Share of the sample's light that is computed; None when all of it is."""
        return self.microscope.pending()

    def truth(self) -> str | None:
        """What is true of the sample at present, beyond its settings."""
        return self.microscope.truth()

    def close(self) -> None:
        """Stop every simulator."""
        self.microscope.sample.close()
        for served in self.served.values():
            served.stop()
        if self._folder is not None:
            self._folder.cleanup()
