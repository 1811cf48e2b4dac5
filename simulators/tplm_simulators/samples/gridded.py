"""Light known as a histogram of photons over the sample and over time."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tplm_simulators.film import disc_points
from tplm_simulators.optics import Aperture

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LightHistogram:
    """Where and when simulated excitons give their light, as the sample alone knows it.

    Parameters
    ----------
    photons : (time, y, x) float32
        Photons per exciton in each bin; y and x have the same bins, or a single one when the MSD
        alone says where the light is.
    edges_um : (bin + 1,) float64
        Edges of the bins, equally spaced, µm from the middle of the spot.
    time_edges_ns : (time + 1,) float64
        Edges of the times since the pulse, the first at 0, ns. Later there is no light.
    msd_um2 : (time + 1,) float64
        By how much the variance along one axis of the light at `time_edges_ns` exceeds that at
        the start, as the model itself knows it, µm².
    start_variance_um2 : float
        Variance of the excitons' first places along one axis, as binned, µm².
    d_cm2_per_s, d_stderr_cm2_per_s : float
        The model's own diffusivity along one axis; NaN where it has none.

    Raises
    ------
    ValueError
        When these do not fit each other.
    """

    photons: F32
    edges_um: F64
    time_edges_ns: F64
    msd_um2: F64
    start_variance_um2: float
    d_cm2_per_s: float = math.nan
    d_stderr_cm2_per_s: float = math.nan

    def __post_init__(self) -> None:
        bins = self.edges_um.size - 1
        if self.photons.shape != (self.time_edges_ns.size - 1, bins, bins) or bins < 1:
            raise ValueError("the shape of the photons does not fit the edges")
        if self.msd_um2.shape != self.time_edges_ns.shape or not np.isfinite(self.msd_um2).all():
            raise ValueError("there must be a finite MSD for each time edge")
        if not (np.isfinite(self.photons).all() and (self.photons >= 0).all()):
            raise ValueError("photons must be finite and not negative")
        for edges in (self.edges_um, self.time_edges_ns):
            if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
                raise ValueError("edges must rise")
        if not (math.isfinite(self.start_variance_um2) and self.start_variance_um2 >= 0):
            raise ValueError("the variance at the start must not be negative")

    def line_d_cm2_per_s(self, spot_sigma_um: float, from_ns: float, to_ns: float) -> float:
        """Half the slope of a straight line through the model's own variance against time.

        Each time counts as the light then tells of the variance, photons / σ⁴, so that a fit
        of σ² = σ₀² + 2Dt to a map without background tends to this D, whatever the true growth.

        Parameters
        ----------
        spot_sigma_um
            Standard deviation of the image at the start, µm.
        from_ns, to_ns
            Times to use.

        Returns
        -------
        float
            In cm²/s; NaN without light in two times or more.
        """
        time_ns = 0.5 * (self.time_edges_ns[1:] + self.time_edges_ns[:-1])
        growth_um2 = 0.5 * (self.msd_um2[1:] + self.msd_um2[:-1])
        information = self.photons.sum(axis=(1, 2)) / (spot_sigma_um**2 + growth_um2) ** 2
        information[(time_ns < from_ns) | (time_ns > to_ns)] = 0.0
        if np.count_nonzero(information) < 2:
            return math.nan
        away_ns = time_ns - np.average(time_ns, weights=information)
        slope = (information * away_ns) @ growth_um2 / ((information * away_ns) @ away_ns)
        return float(5.0 * slope)  # 1 µm²/ns is 10 cm²/s


def symmetrised(photons: NDArray[np.number], *, exchange: bool) -> F64:
    """Mean over the symmetries of a spot on a lattice, which lowers the noise.

    Parameters
    ----------
    photons : (time, y, x)
        With the spot in the middle.
    exchange
        Whether x and y may be exchanged, as on a square lattice; the mirrors are always used.
    """
    mean = photons.astype(np.float64)
    mean = 0.5 * (mean + mean[:, ::-1])
    mean = 0.5 * (mean + mean[:, :, ::-1])
    return 0.5 * (mean + mean.transpose(0, 2, 1)) if exchange else mean


class GriddedMap:
    """The image of a histogram of photons: blurred by the optics, seen through an aperture.

    Each bin shines as a Gaussian from its middle. The sum of these is smooth as long as the blur
    is not much narrower than a bin, and its integral over a square aperture is exact; over a disc
    it is a mean over sixteen points.

    Parameters
    ----------
    histogram
        The light of the sample.
    time_edges_ns : (interval + 1,)
        Edges of the time intervals asked for; within one of the histogram the light is even.
    excitons
        By which the photons are multiplied.
    spot_sigma_um
        Standard deviation of the image along one axis at the instant of the pulse, µm. The blur
        is what the excitons' first places lack of it.

    Raises
    ------
    ValueError
        When the blur that is left is narrower than 0.55 bins.
    """

    def __init__(
        self,
        histogram: LightHistogram,
        time_edges_ns: F64,
        excitons: float,
        spot_sigma_um: float,
    ) -> None:
        bin_um = float(histogram.edges_um[1] - histogram.edges_um[0])
        self._blur_um = math.sqrt(max(spot_sigma_um**2 - histogram.start_variance_um2, 0.0))
        if self._blur_um < 0.55 * bin_um:
            raise ValueError(
                f"a spot with a standard deviation of {spot_sigma_um * 1e3:.0f} nm is too narrow "
                f"for excitons that begin within "
                f"{math.sqrt(histogram.start_variance_um2) * 1e3:.0f} nm, "
                f"in bins of {bin_um * 1e3:.0f} nm"
            )
        self._middle_um = 0.5 * (histogram.edges_um[1:] + histogram.edges_um[:-1])
        self._photons = histogram.photons.reshape(histogram.photons.shape[0], -1)
        self._known_ns = histogram.time_edges_ns
        self._asked_ns = time_edges_ns
        self._excitons = excitons

    def through_aperture(self, x_um: float, y_um: float, aperture: Aperture) -> F64:
        """Photons expected per pulse in each time interval, with the aperture at (x, y)."""
        weights = self._weights(x_um, y_um, aperture).astype(np.float32)
        since = np.concatenate([[0.0], np.cumsum(self._photons @ weights.ravel(), dtype=float)])
        seen = np.interp(self._asked_ns, self._known_ns, since)
        return np.asarray(self._excitons * np.diff(seen))

    def prompt_through_aperture(self, x_um: float, y_um: float, aperture: Aperture) -> float:
        """Nothing: these films have no bare glass that scatters."""
        return 0.0

    def _weights(self, x_um: float, y_um: float, aperture: Aperture) -> F64:
        """Share of the light of each bin that passes; (y, x)."""
        half, blur = aperture.half_width_um, self._blur_um
        if aperture.shape == "square":
            along_x, along_y = (
                ndtr((place - self._middle_um + half) / blur)
                - ndtr((place - self._middle_um - half) / blur)
                for place in (x_um, y_um)
            )
            return np.outer(along_y, along_x)
        points = disc_points(half) + np.array([[x_um], [y_um]])
        along = np.exp(-0.5 * ((points[:, :, None] - self._middle_um) / blur) ** 2)
        density = along[1].T @ along[0] / (points.shape[1] * 2 * math.pi * blur**2)
        return np.asarray(math.pi * half**2 * density)
