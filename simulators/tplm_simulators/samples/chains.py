"""Light of chains of nanocrystals along x, on which excitons spread as the quantum model says."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tplm_config.simulation import QuantumSettings
from tplm_simulators.film import disc_points
from tplm_simulators.optics import Aperture
from tplm_simulators.samples.gridded import LightHistogram
from tplm_simulators.samples.quantum import QuantumModel, simulate_quantum

F64 = NDArray[np.float64]

HBAR_MEV_PS = 0.6582119569
T_MAX = 50.0
"""Time to which the MSD is simulated, ħ/J (1.1 ps at 30 meV), or ħ/Γ when that is shorter."""
_LIFETIMES, _STEPS_PER_LIFETIME = 20, 20


def chain_light(settings: QuantumSettings, progress: Callable[[int, int], None]) -> LightHistogram:
    """Simulate how the excitons of the chains spread.

    The MSD is the model's for the first `T_MAX` (S3, equations 3 to 7). A nanosecond is some
    5·10⁴ ħ/J, where only the D of long times matters: later the MSD grows by 2Dt with that D, and
    without dephasing, where the disorder localises, no more.

    Parameters
    ----------
    settings
        Of the sample.
    progress
        Called after each realisation with those done and all of them; it may raise to end it.

    Returns
    -------
    LightHistogram
        With a single bin, which holds all the light: the MSD, along x, says where it is.
    """
    dephasing = settings.dephasing
    t_max = T_MAX / max(1.0, dephasing)
    model = QuantumModel(
        sites=settings.sites,
        disorder=settings.disorder,
        dephasing=dephasing,
        step=t_max / 500,
    )
    found = simulate_quantum(
        model,
        realisations=settings.realisations,
        t_max=t_max,
        seed=settings.seed,
        progress=progress,
    )
    localised = dephasing == 0
    d, d_stderr = (0.0, 0.0) if localised else (found.d_long_time, found.d_long_time_stderr)
    spacing_um2 = (settings.spacing_nm * 1e-3) ** 2
    unit_ns = HBAR_MEV_PS / settings.coupling_mev * 1e-3
    early_ns = found.time * unit_ns
    steps = np.arange(1, _LIFETIMES * _STEPS_PER_LIFETIME + 1)
    late_ns = early_ns[-1] + steps * (settings.lifetime_ns / _STEPS_PER_LIFETIME)
    late = found.msd[-1] + 2 * d * (late_ns - early_ns[-1]) / unit_ns
    msd_um2 = np.concatenate([found.msd, late]) * spacing_um2
    time_edges_ns = np.concatenate([early_ns, late_ns])
    photons = -np.diff(np.exp(-time_edges_ns / settings.lifetime_ns))
    reach_um = 10 * math.sqrt(max(spacing_um2, float(msd_um2.max())))
    to_cm2_per_s = 10 * spacing_um2 / unit_ns  # 1 µm²/ns is 10 cm²/s
    return LightHistogram(
        photons.astype(np.float32).reshape(-1, 1, 1),
        np.array([-reach_um, reach_um]),
        time_edges_ns,
        msd_um2,
        0.0,
        d * to_cm2_per_s,
        d_stderr * to_cm2_per_s,
    )


@dataclass(frozen=True, slots=True, eq=False)
class ChainMap:
    """A Gaussian whose variances along x and y differ.

    Parameters
    ----------
    variance_x_um2 : (interval,)
        Variance along x in each time interval, µm².
    variance_y_um2
        Variance along y at all times, µm².
    photons : (interval,)
        Photons per pulse in each time interval over the whole plane.
    """

    variance_x_um2: F64
    variance_y_um2: float
    photons: F64

    @classmethod
    def of(
        cls,
        light: LightHistogram,
        lifetime_ns: float,
        time_edges_ns: F64,
        excitons: float,
        spot_sigma_um: float,
    ) -> "ChainMap":
        """The light in the time intervals between the edges (time since the pulse, ns).

        The width is that in the middle of an interval, as for the film.
        """
        middle_ns = 0.5 * (time_edges_ns[1:] + time_edges_ns[:-1])
        growth_um2 = np.interp(middle_ns, light.time_edges_ns, light.msd_um2)
        return cls(
            variance_x_um2=spot_sigma_um**2 + growth_um2,
            variance_y_um2=spot_sigma_um**2,
            photons=-excitons * np.diff(np.exp(-time_edges_ns / lifetime_ns)),
        )

    def through_aperture(self, x_um: float, y_um: float, aperture: Aperture) -> F64:
        """Photons expected per pulse in each time interval, with the aperture at (x, y)."""
        half = aperture.half_width_um
        sigma_x, sigma_y = np.sqrt(self.variance_x_um2), math.sqrt(self.variance_y_um2)
        if aperture.shape == "square":
            share = _between(x_um, half, sigma_x) * _between(y_um, half, sigma_y)
        else:
            x, y = disc_points(half) + np.array([[x_um], [y_um]])
            along_x = np.exp(-0.5 * (x / sigma_x[:, None]) ** 2)
            along_y = np.exp(-0.5 * (y / sigma_y) ** 2)
            share = half**2 * (along_x @ along_y) / (x.size * 2 * sigma_x * sigma_y)
        return np.asarray(self.photons * share)

    def prompt_through_aperture(self, _x_um: float, _y_um: float, _aperture: Aperture) -> float:
        """Nothing: there is no bare glass that scatters."""
        return 0.0


def _between(place: float, half: float, sigma: F64 | float) -> F64:
    """Share of a Gaussian about 0 within `half` of a place."""
    # on the side of small values, where a difference keeps its relative accuracy
    away = abs(place)
    return np.asarray(ndtr((half - away) / sigma) - ndtr((-half - away) / sigma))
