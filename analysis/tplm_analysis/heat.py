"""How warm the laser makes the sample (S1, supplementary note 8).

Heat conduction ∂T/∂t = ∇·(κ∇T) / (ρ c_p) with axial symmetry, in finite volumes: every cell keeps
an account of its heat, so none is lost. The layers are plane, so the radial part of the operator
is the same at every depth: it is diagonalised once, and each of its modes leaves a tridiagonal
problem in depth. Time is then exact: there is no time step, one pulse, endless pulses and the
steady state are sums over the same modes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh_tridiagonal

from .excitation import J_PER_EV, Excitation
from .maps import FloatArray
from .results import Result

J_PER_NM3_K = 1e-21
"""One J/(cm³ K)."""
J_PER_NS_NM_K = 1e-18
"""One W/(m K)."""
COLD = 0.05
"""Share of the first rise below which S1 takes the heat to be gone."""
_CURVE_POINTS = 321


@dataclass(frozen=True)
class Material:
    """What conducts heat.

    Attributes
    ----------
    density_g_per_cm3, heat_j_per_g_k, conductivity_w_per_m_k : float
        Density, specific heat and thermal conductivity.
    """

    density_g_per_cm3: float
    heat_j_per_g_k: float
    conductivity_w_per_m_k: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number; it is {value}.")

    @property
    def heat_j_per_nm3_k(self) -> float:
        """Heat capacity of a volume."""
        return self.density_g_per_cm3 * self.heat_j_per_g_k * J_PER_NM3_K

    @property
    def conductivity_j_per_ns_nm_k(self) -> float:
        """Thermal conductivity in the solver's units."""
        return self.conductivity_w_per_m_k * J_PER_NS_NM_K

    @property
    def diffusivity_cm2_per_s(self) -> float:
        """Thermal diffusivity κ / (ρ c_p)."""
        return self.conductivity_j_per_ns_nm_k / self.heat_j_per_nm3_k * 1e-5


CSPBBR3 = Material(4.8, 0.215, 0.42)
"""Bulk CsPbBr3: X-ray density, Dulong–Petit (15 R / 580 g/mol), κ of single crystals. S1 does not
print its values; ligands make a nanocrystal film worse at conducting."""
QUARTZ_GLASS = Material(2.2, 0.74, 1.38)
QUARTZ_CRYSTAL = Material(2.65, 0.71, 8.0)
"""Between 6.2 across and 10.7 W/(m K) along the axis. S1's text says quartz glass, its supplement
single crystalline quartz."""


@dataclass(frozen=True)
class Layer:
    """A plane layer.

    Attributes
    ----------
    material : Material
        What it is made of.
    thickness_nm : float
        How thick it is.
    """

    material: Material
    thickness_nm: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.thickness_nm) and self.thickness_nm > 0):
            raise ValueError(f"thickness_nm must be a positive number; it is {self.thickness_nm}.")


class HeatFlow:
    """Heat in a round stack of layers; temperatures are arrays (depth, radius), from ambient.

    No edge lets heat out, as in S1, unless it is held at ambient temperature; without a cold edge
    there is no steady state.

    Parameters
    ----------
    layers
        From the lit surface downwards. The first is divided evenly, the others by cells that grow
        with depth.
    radius_nm
        Of the whole stack.
    spot_nm
        Length below which cells are about even in radius; the FWHM of the beam.
    cells
        Along the radius, an eighth of it in the first layer. The error falls with its square.
    cold_rim, cold_bottom
        Whether these edges stay at ambient temperature.

    Attributes
    ----------
    radius_nm, depth_nm : (radius,), (depth,) float64
        Centres of the cells.
    radius_edges_nm, depth_edges_nm : float64
        Their edges.

    Raises
    ------
    ValueError
        When there is no layer, a length is not positive or there are too few cells.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        radius_nm: float,
        *,
        spot_nm: float,
        cells: int = 128,
        cold_rim: bool = False,
        cold_bottom: bool = False,
    ) -> None:
        if not layers or cells < 16:
            raise ValueError("Heat flow needs a layer, and 16 cells along the radius.")
        if not (0 < spot_nm <= radius_nm < math.inf):
            raise ValueError(f"radius_nm must be finite and above {spot_nm}; it is {radius_nm}.")
        self.radius_edges_nm = _growing(spot_nm, radius_nm, cells)
        self.depth_edges_nm, of = _layer_edges(layers, cells // 8)
        r, z = self.radius_edges_nm, self.depth_edges_nm
        self.radius_nm, self.depth_nm = (r[1:] + r[:-1]) / 2, (z[1:] + z[:-1]) / 2
        thick = np.diff(z)
        conductivity = np.array([layers[i].material.conductivity_j_per_ns_nm_k for i in of])
        self._area = math.pi * np.diff(r**2)
        self._heat = thick * np.array([layers[i].material.heat_j_per_nm3_k for i in of])
        # what flows between neighbours, and over the rim and the bottom
        across = 2 * math.pi * r[1:-1] / np.diff(self.radius_nm)
        rim = 2 * math.pi * r[-1] / (r[-1] - self.radius_nm[-1]) if cold_rim else 0.0
        half = thick / (2 * conductivity)
        down = 1 / (half[1:] + half[:-1])
        bottom = 1 / half[-1] if cold_bottom else 0.0
        of_radius, self._radial = _modes(across, rim, self._area, np.zeros_like(self._area))
        self._axial = np.empty((cells, thick.size, thick.size))
        self._rate = np.empty((cells, thick.size))
        for mode, rate in enumerate(of_radius):
            aside = rate * conductivity * thick
            self._rate[mode], self._axial[mode] = _modes(down, bottom, self._heat, aside)
        self._flat = (np.sqrt(self._heat), np.sqrt(self._area))

    def beam(self, fwhm_nm: float) -> FloatArray:
        """Return a Gaussian of height 1, averaged over each cell; (radius,)."""
        w2 = fwhm_nm**2 / (4 * math.log(2))
        return np.asarray(
            -math.pi * w2 * np.diff(np.exp(-(self.radius_edges_nm**2) / w2)) / self._area
        )

    def absorption(self, length_nm: float, film_nm: float = math.inf) -> FloatArray:
        """Return exp(-z / length) down to a depth, averaged over each cell; (depth,)."""
        edges = np.minimum(self.depth_edges_nm, film_nm)
        absorbed = -length_nm * np.diff(np.exp(-edges / length_nm))
        return np.asarray(absorbed / np.diff(self.depth_edges_nm))

    def energy_j(self, rise_k: FloatArray) -> float:
        """Return the heat that belongs to a rise of temperature; (depth, radius)."""
        return float(self._heat @ rise_k @ self._area)

    def after(self, rise_k: FloatArray, t_ns: float) -> FloatArray:
        """Return what has become of a rise after a time; (depth, radius)."""
        return self._summed(self._decomposed(rise_k) * np.exp(-self._rate * t_ns))

    def before_next_pulse(self, rise_k: FloatArray, period_ns: float) -> FloatArray:
        """Return what endless pulses, each of which adds a rise, leave before the next.

        Raises
        ------
        ValueError
            Without a cold edge.
        """
        turn = self._sinking() * period_ns
        return self._summed(self._decomposed(rise_k) * np.exp(-turn) / -np.expm1(-turn))

    def steady(self, rise_k: FloatArray, period_ns: float) -> FloatArray:
        """Return the mean rise under endless pulses, or under their power without pulses.

        Raises
        ------
        ValueError
            Without a cold edge.
        """
        return self._summed(self._decomposed(rise_k) / (self._sinking() * period_ns))

    def at_centre(self, rise_k: FloatArray, t_ns: ArrayLike) -> FloatArray:
        """Return the rise in the middle of the lit surface after some times; (time,)."""
        here = self._radial[0][:, None] * self._axial[:, 0] / (self._flat[0][0] * self._flat[1][0])
        weight = (here * self._decomposed(rise_k)).ravel()
        times = np.atleast_1d(np.asarray(t_ns, dtype=np.float64))
        return np.array([weight @ np.exp(-self._rate.ravel() * t) for t in times])

    def _sinking(self) -> FloatArray:
        if self._rate.min() <= 0:
            raise ValueError("Endless pulses have no steady state without a cold edge.")
        return self._rate

    def _decomposed(self, rise_k: FloatArray) -> FloatArray:
        """Return the amplitude of every mode; (radial mode, axial mode)."""
        flat = self._flat[0][:, None] * rise_k * self._flat[1]
        return np.asarray(
            np.einsum("zr,rk,kzm->km", flat, self._radial, self._axial, optimize=True)
        )

    def _summed(self, amplitude: FloatArray) -> FloatArray:
        flat = np.einsum("km,rk,kzm->zr", amplitude, self._radial, self._axial, optimize=True)
        return np.asarray(flat / self._flat[0][:, None] / self._flat[1])


def _modes(
    between: FloatArray, last: float, capacity: FloatArray, aside: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return rates and orthonormal modes of a chain of cells that exchange heat."""
    loss = aside.copy()
    loss[-1] += last
    diagonal = loss.copy()
    diagonal[:-1] += between
    diagonal[1:] += between
    root = np.sqrt(capacity)
    rate, mode = eigh_tridiagonal(diagonal / capacity, -between / (root[1:] * root[:-1]))
    if not loss.any():  # what nothing can leave does not cool: exactly, not to rounding
        rate[0], mode[:, 0] = 0.0, root / math.sqrt(capacity.sum())
    return np.asarray(np.maximum(rate, 0.0)), np.asarray(mode)


def _growing(scale_nm: float, end_nm: float, cells: int) -> FloatArray:
    """Return edges from 0 to the end, even up to the scale, then growing in proportion."""
    return np.asarray(scale_nm * np.sinh(np.linspace(0, math.asinh(end_nm / scale_nm), cells + 1)))


def _layer_edges(layers: Sequence[Layer], first_cells: int) -> tuple[FloatArray, list[int]]:
    """Return the edges in depth, and of which layer every cell is."""
    film_nm = layers[0].thickness_nm
    edges = [np.linspace(0, film_nm, first_cells + 1)]
    of = [0] * first_cells
    below = 0.0
    for index, layer in enumerate(layers[1:], start=1):
        start, stop = (math.asinh(d / film_nm) for d in (below, below + layer.thickness_nm))
        cells = max(4, math.ceil((stop - start) * first_cells))
        grown = film_nm * np.sinh(np.linspace(start, stop, cells + 1))
        edges.append(film_nm + grown[1:])
        of += [index] * cells
        below += layer.thickness_nm
    return np.concatenate(edges), of


def max_rise_k(found: Excitation, material: Material = CSPBBR3) -> float:
    """Return the rise if a nanocrystal keeps all the energy it absorbs from one pulse.

    ΔT_max = E_photon ⟨N⟩ / (ρ c_p V_NC) (S1, equation 7).

    Parameters
    ----------
    found
        Excitation; ⟨N⟩ in its own convention.
    material
        Of the nanocrystal.
    """
    absorbed_j = found.photon_energy_ev * J_PER_EV * found.mean_excitons_per_nc
    return absorbed_j / (material.heat_j_per_nm3_k * found.edge_nm**3)


@dataclass(frozen=True, eq=False)
class Heating(Result):
    """Rise of temperature of a film under a pulsed laser, in the middle of the lit surface.

    Attributes
    ----------
    delta_t_max_k : float
        ΔT_max of S1, equation 7, with ⟨N⟩ in the convention of the excitation.
    pulse_rise_k : float
        Right after one pulse, at the peak of the Gaussian: that of the same energy.
    absorbed_share : float
        Share of the light that the film absorbs.
    after_period_k : float
        Left of one pulse when the next comes.
    half_ns, cold_ns : float
        Until half, and until 5 % of the rise is left; NaN if longer than 1 ms.
    before_pulse_k : float
        Before a pulse, when countless ones have gone before.
    steady_rise_k : float
        Mean over time then.
    highest_rise_k : float
        Right after a pulse then.
    diffusivity_cm2_per_s : float
        Thermal diffusivity of the film.
    t_ns, rise_k : (time,) float64
        After one pulse.
    """

    SOURCE: ClassVar[str] = "S1, supplementary note 8; layers and steady state are the project's"
    CURVES: ClassVar[tuple[str, ...]] = ("t_ns", "rise_k")

    delta_t_max_k: float
    pulse_rise_k: float
    absorbed_share: float
    after_period_k: float
    half_ns: float
    cold_ns: float
    before_pulse_k: float
    steady_rise_k: float
    highest_rise_k: float
    diffusivity_cm2_per_s: float
    t_ns: FloatArray
    rise_k: FloatArray

    def __str__(self) -> str:
        return (
            f"ΔT_max = {self.delta_t_max_k:.3g} K (S1, equation 7)\n"
            f"one pulse: {self.pulse_rise_k:.3g} K in the middle of the spot, half of it left "
            f"after {self.half_ns:.3g} ns, 5 % after {self.cold_ns:.3g} ns, "
            f"{self.after_period_k:.2g} K when the next comes\n"
            f"endless pulses: {self.before_pulse_k:.3g} K before a pulse, "
            f"{self.steady_rise_k:.3g} K on average, {self.highest_rise_k:.3g} K after a pulse"
        )


def laser_heating(
    found: Excitation,
    *,
    film_nm: float = 35.0,
    film: Material = CSPBBR3,
    substrate: Material | None = QUARTZ_GLASS,
    radius_um: float = 500.0,
    cells: int = 128,
) -> Heating:
    """Return how warm a film becomes if all absorbed light turns to heat at once.

    Gaussian in radius, Beer–Lambert in depth, within the film; its absorption length is that of
    nanocrystals that fill it, V_NC / cross-section. Rim and bottom are `radius_um` away and stay
    at ambient temperature.

    Parameters
    ----------
    found
        Excitation.
    film_nm
        Thickness of the film; 30 to 40 nm in S1.
    film, substrate
        Materials; without substrate heat spreads in the film alone, as S1 seems to take it.
    radius_um
        From the spot to where the temperature is held: radius, and thickness of the substrate.
    cells
        As in `HeatFlow`.

    Raises
    ------
    ValueError
        When a length is not positive.
    """
    layers = [Layer(film, film_nm)]
    if substrate is not None:
        layers.append(Layer(substrate, radius_um * 1e3))
    flow = HeatFlow(
        layers,
        radius_um * 1e3,
        spot_nm=found.fwhm_nm,
        cells=cells,
        cold_rim=True,
        cold_bottom=substrate is not None,
    )
    absorption_nm = found.edge_nm**3 / (found.cross_section_cm2 * 1e14)
    peak = math.log(2) if found.convention == "top-hat-fwhm" else 1.0
    rise_k = peak * max_rise_k(found, film)
    start = np.outer(flow.absorption(absorption_nm, film_nm), flow.beam(found.fwhm_nm))
    period_ns = 1e9 / found.rep_rate_hz
    t_ns = np.concatenate([[0.0], np.geomspace(1e-2, 1e6, _CURVE_POINTS)])
    curve = flow.at_centre(start, np.append(t_ns, period_ns))
    left = curve[:-1] / curve[0]

    def until(share: float) -> float:
        """Return when a share of the rise is left; the rise only falls."""
        found_log = np.interp(-share, -left[1:], np.log(t_ns[1:]), right=math.nan)
        return math.exp(float(found_log))

    before_k = rise_k * float(flow.before_next_pulse(start, period_ns)[0, 0])
    return Heating(
        delta_t_max_k=max_rise_k(found, film),
        pulse_rise_k=rise_k,
        absorbed_share=-math.expm1(-film_nm / absorption_nm),
        after_period_k=rise_k * float(curve[-1]),
        half_ns=until(0.5),
        cold_ns=until(COLD),
        before_pulse_k=before_k,
        steady_rise_k=rise_k * float(flow.steady(start, period_ns)[0, 0]),
        highest_rise_k=before_k + rise_k,
        diffusivity_cm2_per_s=film.diffusivity_cm2_per_s,
        t_ns=t_ns,
        rise_k=rise_k * curve[:-1],
    )
