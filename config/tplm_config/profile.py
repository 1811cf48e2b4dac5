"""The instrument profile: which driver plays each role, how it is calibrated, what it may do."""

import math
from typing import Annotated, Literal

from pydantic import Field

from tplm_config._model import (
    ASCENDING,
    WHOLE,
    Interval,
    Model,
    NonNegativeFloat,
    PositiveFloat,
)
from tplm_config.devices import (
    Anc300Stage,
    Anc350Stage,
    AttoDry800,
    KinesisStage,
    KinesisWheel,
    LakeShore335,
    Montana,
    Pdl800d,
    PicoQuant,
    PiStage,
    Pm100,
    Sc10,
    Sepia2,
    Simulated,
    SuperK,
    ZaberStage,
)
from tplm_config.simulation import SimulationSettings

LaserDriver = Annotated[Simulated | SuperK | Sepia2 | Pdl800d, Field(discriminator="name")]
AttenuatorDriver = Annotated[Simulated | KinesisWheel, Field(discriminator="name")]
ShutterDriver = Annotated[Simulated | Sc10, Field(discriminator="name")]
PowerMeterDriver = Annotated[Simulated | Pm100, Field(discriminator="name")]
CardDriver = Annotated[Simulated | PicoQuant, Field(discriminator="name")]
DetectorStageDriver = Annotated[
    Simulated | KinesisStage | ZaberStage | PiStage, Field(discriminator="name")
]
SampleStageDriver = Annotated[Simulated | Anc300Stage | Anc350Stage, Field(discriminator="name")]
TemperatureDriver = Annotated[
    Simulated | LakeShore335 | Montana | AttoDry800, Field(discriminator="name")
]
Sign = Annotated[Literal[-1, 1], WHOLE]


class LaserRole(Model):
    """The pulsed laser that excites the sample."""

    driver: LaserDriver
    wavelength_nm: PositiveFloat = 405.0
    """Excitation wavelength."""
    warm_up_s: NonNegativeFloat = 0.0
    """Wait after switching the emission on."""


class AttenuatorRole(Model):
    """A continuously variable attenuator (ND wheel) in the excitation path."""

    driver: AttenuatorDriver
    timeout_s: PositiveFloat = 30.0
    """Longest time the wheel may take to reach a transmission."""


class ShutterRole(Model):
    """A shutter between laser and sample."""

    driver: ShutterDriver


class PowerMeterRole(Model):
    """A power meter that sees the nominal power, outside the microscope."""

    driver: PowerMeterDriver


class CardRole(Model):
    """The TCSPC card."""

    driver: CardDriver
    sync_warm_up_s: NonNegativeFloat = 0.2
    """Wait after configuring before the rate meters are valid (vendors ask for 100–200 ms)."""


class StageAxis(Model):
    """One axis of the detector stage, in stage (image-plane) micrometres."""

    sign: Sign = 1
    """+1 if the stage moves towards +x (+y) of the sample image when its reading grows."""
    zero_um: float = 0.0
    """Stage reading at which the detector looks at x = 0 (y = 0) of the sample plane."""
    travel_um: Interval = (-12500.0, 12500.0)
    """Lowest and highest stage reading allowed."""


class DetectorStageRole(Model):
    """The stage that carries the detector across the magnified image."""

    driver: DetectorStageDriver
    x: StageAxis = StageAxis()
    y: StageAxis = StageAxis()
    speed_um_per_s: PositiveFloat = 2000.0
    """Typical speed, used to estimate the duration of a plan."""
    acceleration_um_per_s2: PositiveFloat = 20_000.0
    """Typical acceleration, used likewise."""
    settle_s: NonNegativeFloat = 0.05
    """Wait after a move before counting starts."""
    tolerance_um: PositiveFloat = 5.0
    """A move has arrived when the read-back is this close to the target."""
    timeout_s: PositiveFloat = 60.0
    """Longest time one move may take."""


class SampleStageRole(Model):
    """The stage under the sample: x, y and focus."""

    driver: SampleStageDriver
    travel_um: Interval = (-2500.0, 2500.0)
    """Lowest and highest reading allowed on each axis."""
    tolerance_um: PositiveFloat = 1.0
    """A move has arrived when the read-back of each axis is this close to the target."""
    timeout_s: PositiveFloat = 60.0
    """Longest time one move may take."""


class TemperatureRole(Model):
    """The temperature controller of the cryostat."""

    driver: TemperatureDriver


class Optics(Model):
    """What lies between sample and detector, as calibrated."""

    magnification: PositiveFloat
    """Image-plane length divided by sample-plane length."""
    spot_fwhm_nm: PositiveFloat = 500.0
    """FWHM of the excitation spot on the sample."""
    throughput_to_sample: Annotated[float, Field(gt=0, le=1)] = 0.374
    """Share of the nominal power that reaches the sample."""
    detector_size_um: PositiveFloat
    """Edge (square) or diameter (disc) of the detector's active area in the image plane."""
    detector_shape: Literal["square", "disc"] = "square"
    """Shape of the active area, or of the fibre core in front of it."""
    dark_counts_hz: NonNegativeFloat = 0.0
    """Dark count rate of the detector."""


class Limits(Model):
    """What nobody may exceed, whatever a plan says."""

    detector_count_rate_hz: PositiveFloat
    """The detector is in danger, or its figures are worthless, above this rate."""
    pause_timeout_s: NonNegativeFloat = 600.0
    """How long a run that paused to protect the detector waits, in the dark, for somebody."""
    laser_power_nw: PositiveFloat
    """Highest nominal power that may be set."""
    temperature_k: Annotated[tuple[NonNegativeFloat, PositiveFloat], ASCENDING] = (4.0, 325.0)
    """Lowest and highest set point."""


class WatchdogSettings(Model):
    """When the watchdog takes the measuring program for dead and blocks the laser, in real time."""

    call_s: PositiveFloat | None = None
    """Longest time from one look at the requests to the next during a visit, in which only
    devices are spoken to. None: 2 s and twice the longest ``timeout_s`` of a driver."""
    grace_s: PositiveFloat = 10.0
    """Longest time without a sign otherwise: for the disk, the analysis, a busy computer."""
    visit_multiple: Annotated[float, Field(ge=1.5)] = 3.0
    """How many times its dwell a visit may count."""


class InstrumentProfile(Model):
    """One microscope: its devices, its calibration, its limits.

    ``attenuator``, ``detection_attenuator``, ``shutter``, ``power_meter``, ``sample_stage`` and
    ``temperature`` may be left out when the microscope has none.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: str = ""
    optics: Optics
    limits: Limits
    laser: LaserRole
    card: CardRole
    detector_stage: DetectorStageRole
    attenuator: AttenuatorRole | None = None
    detection_attenuator: AttenuatorRole | None = None
    shutter: ShutterRole | None = None
    power_meter: PowerMeterRole | None = None
    sample_stage: SampleStageRole | None = None
    temperature: TemperatureRole | None = None
    watchdog: WatchdogSettings = WatchdogSettings()
    simulation: SimulationSettings = SimulationSettings()
    """Settings of the virtual microscope; real devices ignore them."""

    def travel_s(self, image_um: float) -> float:
        """Typical time of a move of the detector stage over ``image_um``, settling included."""
        if image_um <= 0:
            return 0.0
        role = self.detector_stage
        ramp_um = role.speed_um_per_s * (role.speed_um_per_s / role.acceleration_um_per_s2)
        if image_um < ramp_um:
            moving_s = 2 * math.sqrt(image_um / role.acceleration_um_per_s2)
        else:
            moving_s = image_um / role.speed_um_per_s + ramp_um / role.speed_um_per_s
        return moving_s + role.settle_s

    def stage_position_um(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Stage reading (image plane) that looks at a place of the sample plane.

        Parameters
        ----------
        x_um, y_um : float
            Place in the sample plane in micrometres.

        Returns
        -------
        tuple of float
            Stage x and y in image-plane micrometres.
        """
        m = self.optics.magnification
        x, y = self.detector_stage.x, self.detector_stage.y
        return x.zero_um + x.sign * m * x_um, y.zero_um + y.sign * m * y_um


__all__ = [
    "AttenuatorRole",
    "CardRole",
    "DetectorStageRole",
    "InstrumentProfile",
    "LaserRole",
    "Limits",
    "Optics",
    "PowerMeterRole",
    "SampleStageRole",
    "ShutterRole",
    "StageAxis",
    "TemperatureRole",
    "WatchdogSettings",
]
