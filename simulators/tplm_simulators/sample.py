"""What the microscope asks of a sample, whatever model stands behind it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tplm_simulators.optics import Aperture


@dataclass(frozen=True, slots=True)
class Conditions:
    """What happens to the sample at one place.

    Parameters
    ----------
    photons_per_pulse
        Laser photons on the sample in one pulse.
    fluence_uj_per_cm2
        Fluence of one pulse, µJ/cm² (top hat whose diameter is the FWHM).
    mean_excitons_per_nc
        Mean number of excitons a pulse makes in one nanocrystal.
    repetition_rate_hz
        Pulses per second.
    temperature_k
        Temperature, K.
    spot_sigma_um
        Standard deviation of the emission along one axis at the instant of the pulse, µm.
    x_um, y_um
        Place on the sample under the spot (sample stage), µm.
    """

    photons_per_pulse: float
    fluence_uj_per_cm2: float
    mean_excitons_per_nc: float
    repetition_rate_hz: float
    temperature_k: float
    spot_sigma_um: float
    x_um: float = 0.0
    y_um: float = 0.0


class EmissionMap(Protocol):
    """Light of one pulse over the sample and over time; the spot is centred on (0, 0)."""

    def through_aperture(self, x_um: float, y_um: float, aperture: Aperture) -> NDArray[np.float64]:
        """Photons expected per pulse in each time interval, with the aperture at (x, y)."""
        ...

    def prompt_through_aperture(self, x_um: float, y_um: float, aperture: Aperture) -> float:
        """Photons expected per pulse at the very instant of the pulse (scattered light)."""
        ...


class Sample(Protocol):
    """A sample: from the conditions to the light it gives off."""

    @property
    def edge_nm(self) -> float:
        """Edge length of a nanocrystal, nm."""
        ...

    def emission(self, time_edges_ns: NDArray[np.float64], conditions: Conditions) -> EmissionMap:
        """Light in the time intervals between the edges (time since the pulse, ns).

        It may take long, unless `pending` has said None for the same conditions.
        """
        ...

    def pending(self, conditions: Conditions) -> float | None:
        """Share of the light for these conditions that is computed; None when all of it is.

        The first call begins with it; none waits long.
        """
        ...

    def describe(self, conditions: Conditions) -> str | None:
        """What is true of the sample in these conditions; None if its settings say it all."""
        ...

    def close(self) -> None:
        """End whatever is being computed."""
        ...
