"""A film described by formulas: a Gaussian that widens by diffusion, and a decay."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import voigt_profile

from tplm_config.simulation import FilmSettings
from tplm_simulators._jit import jit
from tplm_simulators.optics import Aperture
from tplm_simulators.sample import Conditions

_ROOM_TEMPERATURE_K = 295.0
_UM2_PER_NS_PER_CM2_PER_S = 0.1


@jit
def _through_square(
    variance: NDArray[np.float64],
    photons: NDArray[np.float64],
    x: float,
    y: float,
    half: float,
    out: NDArray[np.float64],
) -> None:
    # erfc of distances keeps its relative accuracy far out, where erf differences lose it.
    x, y = abs(x), abs(y)
    for k in range(variance.size):
        scale = 1.0 / math.sqrt(2.0 * variance[k])
        along_x = 0.5 * (math.erfc((x - half) * scale) - math.erfc((x + half) * scale))
        along_y = 0.5 * (math.erfc((y - half) * scale) - math.erfc((y + half) * scale))
        out[k] = photons[k] * along_x * along_y


@jit
def _through_points(
    variance: NDArray[np.float64],
    photons: NDArray[np.float64],
    squared_distance: NDArray[np.float64],
    area: float,
    out: NDArray[np.float64],
) -> None:
    for k in range(variance.size):
        scale = -0.5 / variance[k]
        total = 0.0
        for squared in squared_distance:
            total += math.exp(scale * squared)
        density = total / (squared_distance.size * 2.0 * math.pi * variance[k])
        out[k] = photons[k] * area * density


def disc_points(radius: float) -> NDArray[np.float64]:
    """Sixteen points whose mean is the mean over a disc, exact for polynomials of degree 7."""
    # Gauss-Legendre nodes in r² (two, equal weights) times eight directions.
    radii = radius * np.sqrt(0.5 + np.array([-0.5, 0.5]) / math.sqrt(3))
    angles = np.arange(8) * (math.pi / 4)
    return np.stack(
        [np.outer(radii, np.cos(angles)).ravel(), np.outer(radii, np.sin(angles)).ravel()]
    )


@dataclass(frozen=True, slots=True)
class GaussianMap:
    """A Gaussian of the same variance along both axes in each time interval.

    Parameters
    ----------
    variance_um2
        Variance along one axis in each time interval, µm².
    photons
        Photons per pulse in each time interval over the whole plane.
    prompt_variance_um2, prompt_photons
        The same for scattered light at the instant of the pulse.
    """

    variance_um2: NDArray[np.float64]
    photons: NDArray[np.float64]
    prompt_variance_um2: float
    prompt_photons: float
    lorentz_hwhm_um: float = 0.0
    """Half width of a Lorentzian that the profile is convolved with along each axis."""

    def through_aperture(self, x_um: float, y_um: float, aperture: Aperture) -> NDArray[np.float64]:
        """Photons expected per pulse in each time interval, with the aperture at (x, y)."""
        if self.lorentz_hwhm_um > 0:
            return self._voigt(self.variance_um2, self.photons, x_um, y_um, aperture)
        return _gaussian(self.variance_um2, self.photons, x_um, y_um, aperture)

    def prompt_through_aperture(self, x_um: float, y_um: float, aperture: Aperture) -> float:
        """Photons expected per pulse at the instant of the pulse."""
        variance, photons = np.array([self.prompt_variance_um2]), np.array([self.prompt_photons])
        return float(_gaussian(variance, photons, x_um, y_um, aperture)[0])

    def _voigt(
        self,
        variance_um2: NDArray[np.float64],
        photons: NDArray[np.float64],
        x_um: float,
        y_um: float,
        aperture: Aperture,
    ) -> NDArray[np.float64]:
        """Light of a profile with wings, averaged over the aperture at three points an axis."""
        sigma, half = np.sqrt(variance_um2)[:, None], aperture.half_width_um
        nodes, weights = np.polynomial.legendre.leggauss(3)
        area = 4 * half**2 if aperture.shape == "square" else math.pi * half**2
        along = [
            voigt_profile(place + half * nodes, sigma, self.lorentz_hwhm_um) @ weights / 2
            for place in (x_um, y_um)
        ]
        return np.asarray(photons * area * along[0] * along[1])


def _gaussian(
    variance_um2: NDArray[np.float64],
    photons: NDArray[np.float64],
    x_um: float,
    y_um: float,
    aperture: Aperture,
) -> NDArray[np.float64]:
    out = np.empty_like(photons)
    half = aperture.half_width_um
    if aperture.shape == "square":
        _through_square(variance_um2, photons, x_um, y_um, half, out)
    else:
        points = disc_points(half) + np.array([[x_um], [y_um]])
        squared = np.sum(points**2, axis=0)
        _through_points(variance_um2, photons, squared, math.pi * half**2, out)
    return out


class Film:
    """A film of nanocrystals with bare glass beyond its edge.

    Parameters
    ----------
    settings
        Its decay, diffusivity and brightness.
    rng
        Gives the field of brightness, once.
    """

    def __init__(self, settings: FilmSettings, rng: np.random.Generator) -> None:
        self._settings = settings
        modes = 12
        length_um = settings.amplitude_length_um * rng.uniform(0.5, 2.0, modes)
        direction = rng.uniform(0, 2 * np.pi, modes)
        self._wave = 2 * np.pi / length_um * np.array([np.cos(direction), np.sin(direction)])
        self._phase = rng.uniform(0, 2 * np.pi, modes)

    @property
    def edge_nm(self) -> float:
        """Edge length of a nanocrystal, nm."""
        return self._settings.edge_nm

    def pending(self, _conditions: Conditions) -> None:
        """Nothing: formulas are at hand."""

    def describe(self, _conditions: Conditions) -> None:
        """Nothing: its settings say it all."""

    def close(self) -> None:
        """Do nothing."""

    def diffusivity_cm2_per_s(self, conditions: Conditions) -> float:
        """Diffusivity along one axis, cm²/s."""
        settings = self._settings
        if settings.d_cm2_per_s is not None:
            return settings.d_cm2_per_s
        rate_hz = conditions.mean_excitons_per_nc * conditions.repetition_rate_hz
        memory = math.exp(-1e6 / (rate_hz * settings.memory_us)) if rate_hz > 0 else 0.0
        at_room = settings.d_slow_cm2_per_s + settings.d_memory_cm2_per_s * memory
        warmth = self._mobility(conditions.temperature_k) / self._mobility(_ROOM_TEMPERATURE_K)
        return at_room * warmth

    def brightness(self, x_um: float, y_um: float) -> float:
        """Brightness at a place of the film, relative to the one at (0, 0)."""
        modes = self._phase.size
        waves = np.cos(np.array([x_um, y_um]) @ self._wave + self._phase) - np.cos(self._phase)
        # Crests multiply, so that no place is ever black.
        return math.exp(self._settings.amplitude_contrast * math.sqrt(2 / modes) * waves.sum())

    def decay_integral(self, time_ns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the photons that come before each time, ns."""
        settings = self._settings
        prompt = settings.prompt_share * settings.prompt_lifetime_ns
        power = settings.delayed_exponent - 1
        delayed = (1 - settings.prompt_share) * settings.delayed_onset_ns / power
        early = -prompt * np.expm1(-time_ns / settings.prompt_lifetime_ns)
        late = -delayed * np.expm1(-power * np.log1p(time_ns / settings.delayed_onset_ns))
        share: NDArray[np.float64] = (early + late) / (prompt + delayed)
        return share

    def emission(self, time_edges_ns: NDArray[np.float64], conditions: Conditions) -> GaussianMap:
        """Light in the time intervals between the edges (time since the pulse, ns)."""
        settings = self._settings
        variance0_um2 = conditions.spot_sigma_um**2
        beyond_um = conditions.x_um - settings.film_edge_um
        on_glass = 0.5 * math.erfc(-beyond_um / math.sqrt(2 * variance0_um2))
        incident = conditions.photons_per_pulse
        photons = (
            (1 - on_glass)
            * self.brightness(conditions.x_um, conditions.y_um)
            * settings.detected_per_incident_photon
            * incident
        )
        d_um2_per_ns = self.diffusivity_cm2_per_s(conditions) * _UM2_PER_NS_PER_CM2_PER_S
        middle_ns = 0.5 * (time_edges_ns[1:] + time_edges_ns[:-1])
        return GaussianMap(
            variance_um2=variance0_um2 + 2 * d_um2_per_ns * middle_ns,
            photons=photons * np.diff(self.decay_integral(time_edges_ns)),
            prompt_variance_um2=variance0_um2,
            prompt_photons=on_glass * settings.glass_scatter_per_incident_photon * incident,
            lorentz_hwhm_um=settings.emission_lorentz_hwhm_nm * 1e-3,
        )

    def _mobility(self, temperature_k: float) -> float:
        ratio = temperature_k / self._settings.fastest_temperature_k
        return (ratio * math.exp(1 - ratio)) ** 2
