"""Synthetic maps with known diffusivity (S1, supplementary note 7)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .maps import FloatArray

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, eq=False)
class ExpectedMap:
    """The noise-free map and all that made it.

    Attributes
    ----------
    expected : (position, time) float64
        Mean counts.
    x_um : (position,) float64
        Positions, µm.
    t_ns : (time,) float64
        Bin centres, ns.
    exposure_s : (position,) float64
        Exposure of each position, s.
    d_cm2_per_s, sigma0_nm, center_um, background_per_bin, time_zero_ns : float
        The truth a fit has to find.
    wing_fraction, wing_sigma0_nm : float
        Share of the light in a second Gaussian, and its width at time zero; 0 for none.
    """

    expected: FloatArray
    x_um: FloatArray
    t_ns: FloatArray
    exposure_s: FloatArray
    d_cm2_per_s: float
    sigma0_nm: float
    center_um: float
    background_per_bin: float
    time_zero_ns: float
    wing_fraction: float
    wing_sigma0_nm: float

    def sample(self, seed: int | np.random.Generator) -> "SyntheticMap":
        """Draw Poisson counts.

        Parameters
        ----------
        seed
            A seed or a generator to draw from.
        """
        counts = np.random.default_rng(seed).poisson(self.expected)
        return SyntheticMap(counts.astype(np.int64), self.x_um, self.t_ns, self)


@dataclass(frozen=True, eq=False)
class SyntheticMap:
    """Counts drawn from an `ExpectedMap`.

    Attributes
    ----------
    counts : (position, time) int64
        Poisson counts.
    x_um : (position,) float64
        Positions, µm.
    t_ns : (time,) float64
        Bin centres, ns.
    truth : ExpectedMap
        Where they were drawn from.
    """

    counts: NDArray[np.int64]
    x_um: FloatArray
    t_ns: FloatArray
    truth: ExpectedMap


def two_part_decay(
    t_ns: FloatArray, *, prompt: float = 0.9, lifetime_ns: float = 2.3, exponent: float = 1.5
) -> FloatArray:
    """Return a prompt exponential and a delayed power law, 1 at time zero, 0 before it.

    The two regimes of S1, figure 1d: ``p exp(-t/τ) + (1 - p)(1 + t)^-n`` with t in ns.
    """
    t = np.maximum(t_ns, 0.0)
    decay = prompt * np.exp(-t / lifetime_ns) + (1 - prompt) * (1 + t) ** -exponent
    return np.asarray(np.where(t_ns >= -1e-12, decay, 0.0), dtype=np.float64)


def expected_map(
    *,
    amplitude: float = 2e5,
    d_cm2_per_s: float = 0.01,
    fwhm0_nm: float = 600.0,
    positions: int = 41,
    half_range_um: float = 2.0,
    center_um: float = 0.0,
    bins: int = 800,
    bin_ns: float = 0.025,
    background_fraction: float = 0.1,
    time_zero_ns: float = 0.0,
    response_fwhm_ns: float = 0.0,
    alpha: float = 1.0,
    wing_fraction: float = 0.0,
    wing_fwhm0_nm: float = 1500.0,
    x_um: ArrayLike | None = None,
    exposure_s: ArrayLike | None = None,
) -> ExpectedMap:
    """Return the noise-free map of S1, equations 8 to 10, with background.

    Parameters
    ----------
    amplitude
        A of S1: area under the profile at time zero, counts·nm per bin and unit exposure.
    d_cm2_per_s
        Diffusivity along the line.
    fwhm0_nm
        Full width at half maximum of the profile at time zero.
    positions, half_range_um
        Evenly spaced positions over ± the half range.
    center_um
        Where the excitation sits.
    bins, bin_ns
        Time bins.
    background_fraction
        Background over signal, both summed over the whole map.
    time_zero_ns
        Arrival of the pulse on the time axis; bins before it hold background only.
    response_fwhm_ns
        Width of a Gaussian instrument response; 0 for none.
    alpha
        Exponent of anomalous diffusion: σ² = σ0² + 2D·(1 ns)·(t / 1 ns)^α.
    wing_fraction, wing_fwhm0_nm
        Share of the light in a second, wider Gaussian, and its width at time zero.
    x_um : (position,), optional
        Positions in place of the even ones.
    exposure_s : (position,), optional
        Exposure of each position; 1 s when None.

    Raises
    ------
    ValueError
        When a width, a count or the diffusivity makes no profile.
    """
    numbers = (d_cm2_per_s, center_um, time_zero_ns, alpha, amplitude, background_fraction)
    widths = (fwhm0_nm, wing_fwhm0_nm, bin_ns, response_fwhm_ns, wing_fraction, half_range_um)
    if not np.isfinite([*numbers, *widths]).all():
        raise ValueError("what a map is made of must be finite numbers.")
    if min(amplitude, background_fraction, wing_fraction, response_fwhm_ns) < 0:
        raise ValueError("amplitude, background, wings and response must not be negative.")
    if min(fwhm0_nm, wing_fwhm0_nm, bin_ns) <= 0 or min(positions, bins) < 1:
        raise ValueError("widths must be positive, and positions and bins at least 1.")
    line: ArrayLike = np.linspace(-half_range_um, half_range_um, positions)
    x = np.asarray(line if x_um is None else x_um, dtype=np.float64)
    exposure = np.ones(x.size) if exposure_s is None else np.asarray(exposure_s, dtype=np.float64)
    if exposure.shape != x.shape or not (np.isfinite(x).all() and np.isfinite(exposure).all()):
        raise ValueError("x_um and exposure_s must be finite, one exposure for each position.")
    if np.any(exposure < 0) or not np.any(exposure > 0):
        raise ValueError("exposures must not be negative, nor all zero.")
    t = ((np.arange(bins) + 0.5) * bin_ns).astype(np.float64)
    since = np.maximum(t - time_zero_ns, 0.0)
    growth = 0.2 * d_cm2_per_s * since**alpha
    profile = np.zeros((x.size, bins))
    for share, fwhm in ((1 - wing_fraction, fwhm0_nm), (wing_fraction, wing_fwhm0_nm)):
        variance = (fwhm / FWHM_PER_SIGMA / 1e3) ** 2 + growth
        if variance.min() <= 0:
            raise ValueError("the diffusivity makes the profile narrower than nothing.")
        u2 = (x[:, None] - center_um) ** 2
        profile += share * np.exp(-0.5 * u2 / variance) / np.sqrt(2 * np.pi * variance)
    signal = amplitude * 1e-3 * two_part_decay(t - time_zero_ns) * profile
    if response_fwhm_ns > 0:
        half = math.ceil(3 * response_fwhm_ns / bin_ns)
        lag = np.arange(-half, half + 1) * bin_ns * FWHM_PER_SIGMA / response_fwhm_ns
        response = np.exp(-0.5 * lag**2)
        response /= response.sum()
        padded = np.pad(signal, ((0, 0), (half, half)))
        signal = np.array([np.convolve(row, response, mode="valid") for row in padded])
    background = background_fraction * float(signal.mean())
    return ExpectedMap(
        exposure[:, None] * (signal + background),
        x,
        t,
        exposure,
        d_cm2_per_s,
        fwhm0_nm / FWHM_PER_SIGMA,
        center_um,
        background * float(exposure[exposure > 0].mean()),
        time_zero_ns,
        wing_fraction,
        wing_fwhm0_nm / FWHM_PER_SIGMA if wing_fraction else 0.0,
    )


def synthetic_map(
    seed: int | np.random.Generator = 0,
    *,
    amplitude: float = 2e5,
    d_cm2_per_s: float = 0.01,
    fwhm0_nm: float = 600.0,
    positions: int = 41,
    half_range_um: float = 2.0,
    center_um: float = 0.0,
    bins: int = 800,
    bin_ns: float = 0.025,
    background_fraction: float = 0.1,
    time_zero_ns: float = 0.0,
    response_fwhm_ns: float = 0.0,
    alpha: float = 1.0,
    wing_fraction: float = 0.0,
    wing_fwhm0_nm: float = 1500.0,
    x_um: ArrayLike | None = None,
    exposure_s: ArrayLike | None = None,
) -> SyntheticMap:
    """Return a map with Poisson counts; the arguments after `seed` are `expected_map`'s.

    S1 adds ``rand·√signal``; counts of single photons follow Poisson's law, so this draws that.
    """
    return expected_map(
        amplitude=amplitude,
        d_cm2_per_s=d_cm2_per_s,
        fwhm0_nm=fwhm0_nm,
        positions=positions,
        half_range_um=half_range_um,
        center_um=center_um,
        bins=bins,
        bin_ns=bin_ns,
        background_fraction=background_fraction,
        time_zero_ns=time_zero_ns,
        response_fwhm_ns=response_fwhm_ns,
        alpha=alpha,
        wing_fraction=wing_fraction,
        wing_fwhm0_nm=wing_fwhm0_nm,
        x_um=x_um,
        exposure_s=exposure_s,
    ).sample(seed)
