"""Coupling between nanocrystals, and shares of bright and dark excitons."""

import math
from typing import Literal

CouplingFormula = Literal["si", "as-printed"]

VACUUM_PERMITTIVITY_F_PER_M = 8.8541878128e-12
COULOMB_METRE_PER_DEBYE = 3.33564095e-30
J_PER_MEV = 1.602176634e-22
BOLTZMANN_MEV_PER_K = 0.08617333262
BRIGHT_STATES = 3
DARK_STATES = 1
"""The band-edge exciton of a halide perovskite: a bright triplet and a dark singlet (S2)."""


def transition_dipole_debye(
    extinction_per_cm_um: float,
    linewidth_mev: float,
    transition_mev: float,
    refractive_index: float = 1.875,
) -> float:
    """Return the transition dipole moment that belongs to an absorption line.

    μ² = 9.186·10⁻³ · n · ε · Δν/ν, in D² with ε in cm⁻¹ M⁻¹ (S3, equation 1).

    Parameters
    ----------
    extinction_per_cm_um
        ε, cm⁻¹ µM⁻¹.
    linewidth_mev
        Δν, full width at half maximum.
    transition_mev
        ν, the absorption maximum.
    refractive_index
        n.

    Raises
    ------
    ValueError
        When a value is not positive.
    """
    _positive(
        extinction_per_cm_um=extinction_per_cm_um,
        linewidth_mev=linewidth_mev,
        transition_mev=transition_mev,
        refractive_index=refractive_index,
    )
    per_cm_m = extinction_per_cm_um * 1e6
    return math.sqrt(9.186e-3 * refractive_index * per_cm_m * linewidth_mev / transition_mev)


def dipolar_coupling_mev(
    dipole_debye: float,
    distance_nm: float,
    *,
    refractive_index: float = 1.875,
    orientation: float = 2.0,
    formula: CouplingFormula = "si",
) -> float:
    """Return the size of the dipolar coupling of two nanocrystals.

    J = κ μ² / (4π ε0 n² a³). S3 (equation 2) prints it without the 4π, and its 23 to 40 meV are
    calculated so; Coulomb's law in SI units has the 4π, and then they are 1.8 to 3.2 meV.
    Dipoles head to tail attract, so the energy is -J; S3 gives it with that sign.

    Parameters
    ----------
    dipole_debye
        μ, transition dipole moment.
    distance_nm
        a, from centre to centre.
    refractive_index
        n.
    orientation
        κ; 2 for dipoles head to tail.
    formula
        ``"si"`` with 4π, ``"as-printed"`` without, to compare with S3.

    Raises
    ------
    ValueError
        When a length, the moment or the index is not positive, or the formula unknown.
    """
    _positive(dipole_debye=dipole_debye, distance_nm=distance_nm, refractive_index=refractive_index)
    if formula not in ("si", "as-printed"):
        raise ValueError(f'formula is "si" or "as-printed", not "{formula}".')
    if not math.isfinite(orientation):
        raise ValueError(f"orientation must be a number; it is {orientation}.")
    turn = 4 * math.pi if formula == "si" else 1.0
    moment2 = (dipole_debye * COULOMB_METRE_PER_DEBYE) ** 2
    volume = (distance_nm * 1e-9) ** 3
    screened = turn * VACUUM_PERMITTIVITY_F_PER_M * refractive_index**2
    return orientation * moment2 / (screened * volume) / J_PER_MEV


def dark_to_bright_ratio(temperature_k: float, splitting_mev: float) -> float:
    """Return γ_DB / γ_BD, the rates between the dark and the bright states, by detailed balance.

    3 exp(-ΔE / k_B T): three bright states take up what one dark state gives.

    Parameters
    ----------
    temperature_k
        Of the lattice.
    splitting_mev
        ΔE, bright above dark: positive where the dark state is the lowest, as S2 says (15, 6 and
        3 meV for 5, 8 and 14 nm); negative where a bright one is, as S3 takes it for 8 to 9 nm.

    Raises
    ------
    ValueError
        When the temperature is not positive or the splitting not a number.
    """
    _positive(temperature_k=temperature_k)
    if not math.isfinite(splitting_mev):
        raise ValueError(f"splitting_mev must be a number; it is {splitting_mev}.")
    exponent = -splitting_mev / (BOLTZMANN_MEV_PER_K * temperature_k)
    # the ratio of a few kelvin and tens of meV would overflow; it is then infinite to any end
    return BRIGHT_STATES / DARK_STATES * math.exp(min(exponent, 700.0))


def bright_share(temperature_k: float, splitting_mev: float) -> float:
    """Return the share of excitons in the three bright states in thermal equilibrium (S2).

    Parameters
    ----------
    temperature_k, splitting_mev
        As in `dark_to_bright_ratio`.

    Raises
    ------
    ValueError
        As `dark_to_bright_ratio`.
    """
    ratio = dark_to_bright_ratio(temperature_k, splitting_mev)
    return ratio / (1 + ratio)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number; it is {value}.")
