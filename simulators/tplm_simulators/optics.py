"""The optics of the microscope: what lies between the laser, the sample and the detector."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Aperture:
    """The detector seen on the sample.

    Parameters
    ----------
    shape
        Square or disc.
    half_width_um
        Half the edge of the square, or the radius of the disc, on the sample, µm.
    """

    shape: Literal["square", "disc"]
    half_width_um: float


@dataclass(frozen=True, slots=True)
class OpticsSettings:
    """The optics as the instrument profile describes them.

    Parameters
    ----------
    magnification
        From the sample to the image plane.
    aperture_um
        Size of the detector in the image plane: edge of the square or diameter of the disc, µm.
    aperture_shape
        Square or disc.
    throughput
        Share of the nominal power that reaches the sample.
    dark_rate_hz
        Dark counts of the detector, Hz.
    wavelength_nm
        Excitation wavelength, nm.
    spot_fwhm_nm
        Full width at half maximum of the excitation spot, nm: sets the fluence. The width of
        the *emission* is a property of the sample settings.
    stage_directions
        +1 or -1 for x and y: how the detector stage runs against the sample axes.
    stage_zero_um
        Detector stage position on the optical axis, µm.
    """

    magnification: float = 495.0
    aperture_um: float = 50.0
    aperture_shape: Literal["square", "disc"] = "square"
    throughput: float = 0.374
    dark_rate_hz: float = 50.0
    wavelength_nm: float = 405.0
    spot_fwhm_nm: float = 500.0
    stage_directions: tuple[float, float] = (1.0, 1.0)
    stage_zero_um: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        positive = ("magnification", "aperture_um", "throughput", "wavelength_nm", "spot_fwhm_nm")
        for name in positive:
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive")
        if self.throughput > 1:
            raise ValueError("throughput is a share of the power, at most 1")
        if not self.dark_rate_hz >= 0:
            raise ValueError("dark_rate_hz must not be negative")
        if any(abs(direction) != 1 for direction in self.stage_directions):
            raise ValueError("stage_directions must be +1 or -1")

    @property
    def aperture(self) -> Aperture:
        """The detector seen on the sample."""
        return Aperture(self.aperture_shape, 0.5 * self.aperture_um / self.magnification)

    def sample_position_um(self, stage_um: tuple[float, float]) -> tuple[float, float]:
        """Point of the sample that the detector sees at a stage position, µm."""
        x, y = (
            direction * (place - zero) / self.magnification
            for direction, place, zero in zip(
                self.stage_directions, stage_um, self.stage_zero_um, strict=True
            )
        )
        return x, y
