"""Response of the detection in time: a Gaussian with an exponential tail."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where light of one moment is detected on a grid of times.

    Parameters
    ----------
    first
        Grid point of the first weight, counted from the point of the moment.
    weights
        Share of the light on each point from there on; they sum to 1.
    """

    first: int
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Response:
    """Distribution of the detection time of light that comes at one instant.

    Parameters
    ----------
    fwhm_ps
        Full width at half maximum of the Gaussian, ps.
    tail_share
        Share of the photons that are further delayed by an exponential distribution.
    tail_ps
        Time constant of that delay, ps.
    delay_ps
        Centre of the Gaussian, ps.
    """

    fwhm_ps: float
    tail_share: float
    tail_ps: float
    delay_ps: float

    def cumulative(self, time_ps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the light detected before each time, ps."""
        sigma_ps = self.fwhm_ps / _FWHM_PER_SIGMA
        z = (time_ps - self.delay_ps) / sigma_ps
        gaussian = ndtr(z)
        decay = sigma_ps / self.tail_ps
        # In logarithms, because the two factors are huge and tiny for a short tail.
        tailed = gaussian - np.exp(0.5 * decay**2 - decay * z + log_ndtr(z - decay))
        share: NDArray[np.float64] = gaussian + self.tail_share * (tailed - gaussian)
        return share

    def prompt_kernel(self, grid_ps: float) -> Kernel:
        """Describe the detection of light at the instant that begins the first grid point."""
        return self._kernel(grid_ps, np.zeros(1), np.ones(1))

    def kernel(self, grid_ps: float) -> Kernel:
        """Describe the detection of light spread evenly over one grid point."""
        nodes, weights = np.polynomial.legendre.leggauss(8)
        return self._kernel(grid_ps, 0.5 * grid_ps * (nodes + 1), 0.5 * weights)

    def _kernel(
        self, grid_ps: float, instants_ps: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> Kernel:
        sigma_ps = self.fwhm_ps / _FWHM_PER_SIGMA
        after_ps = 5 * sigma_ps + (12 * self.tail_ps if self.tail_share > 0 else 0.0)
        first = math.floor((self.delay_ps - 5 * sigma_ps) / grid_ps)
        last = math.ceil((self.delay_ps + after_ps) / grid_ps) + 1
        edges_ps = np.arange(first, last + 1) * grid_ps
        share = sum(
            weight * np.diff(self.cumulative(edges_ps - instant_ps))
            for instant_ps, weight in zip(instants_ps, weights, strict=True)
        )
        return Kernel(first, share / np.sum(share))
