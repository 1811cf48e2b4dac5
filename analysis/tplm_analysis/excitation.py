"""How many excitons one pulse makes in a nanocrystal (S1, supplementary note 6)."""

import math
from dataclasses import dataclass
from typing import Literal

Convention = Literal["top-hat-fwhm", "gaussian-peak"]

THROUGHPUT = 0.374
"""Share of the nominal power that reaches the sample in S1."""
ABSORPTION_PER_CM_UM_NM3 = 0.0242
"""Molar absorption coefficient of CsPbBr3 at 400 nm over volume, cm⁻¹ µM⁻¹ nm⁻³ (S1, ref. 6)."""
EV_NM = 1240.0
J_PER_EV = 1.602e-19
AVOGADRO = 6.02e23


@dataclass(frozen=True)
class Excitation:
    """Excitation at the sample.

    Attributes
    ----------
    power_at_sample_nw : float
        Mean power at the sample.
    intensity_w_per_cm2 : float
        Time-averaged intensity in the chosen convention.
    fluence_uj_per_cm2 : float
        Energy per pulse and area.
    cross_section_cm2 : float
        Absorption cross-section of one nanocrystal.
    photon_energy_ev : float
        Energy of one photon.
    mean_excitons_per_nc : float
        ⟨N⟩, photons absorbed per nanocrystal and pulse.
    mean_time_between_excitations_us : float
        1 / (⟨N⟩ · repetition rate); infinite without light.
    convention : str
        ``"top-hat-fwhm"`` or ``"gaussian-peak"``.
    """

    power_at_sample_nw: float
    intensity_w_per_cm2: float
    fluence_uj_per_cm2: float
    cross_section_cm2: float
    photon_energy_ev: float
    mean_excitons_per_nc: float
    mean_time_between_excitations_us: float
    convention: Convention

    def __str__(self) -> str:
        return (
            f"{self.power_at_sample_nw:.3g} nW at the sample, "
            f"{self.intensity_w_per_cm2:.3g} W/cm², "
            f"{self.fluence_uj_per_cm2:.3g} µJ/cm² per pulse, "
            f"⟨N⟩ = {self.mean_excitons_per_nc:.3g}, "
            f"{self.mean_time_between_excitations_us:.3g} µs between excitations"
            f" ({self.convention})"
        )


def excitation(
    nominal_power_nw: float,
    rep_rate_hz: float,
    *,
    fwhm_nm: float = 500.0,
    edge_nm: float = 8.3,
    wavelength_nm: float = 405.0,
    throughput: float = THROUGHPUT,
    convention: Convention = "top-hat-fwhm",
) -> Excitation:
    """Return the excitation density for a nominal power.

    Parameters
    ----------
    nominal_power_nw
        Power measured outside the microscope.
    rep_rate_hz
        Repetition rate of the laser.
    fwhm_nm
        Full width at half maximum of the spot.
    edge_nm
        Edge length of the nanocrystals.
    wavelength_nm
        Of the laser.
    throughput
        Share of the nominal power that reaches the sample.
    convention
        ``"top-hat-fwhm"`` spreads the power evenly over a disc whose diameter is the FWHM, as the
        published numbers do; ``"gaussian-peak"`` gives the peak of the Gaussian, ln 2 of that.

    Raises
    ------
    ValueError
        When a length, the rate or the throughput is not positive, or the power negative.
    """
    positive = {
        "rep_rate_hz": rep_rate_hz,
        "fwhm_nm": fwhm_nm,
        "edge_nm": edge_nm,
        "wavelength_nm": wavelength_nm,
        "throughput": throughput,
    }
    for name, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number; it is {value}.")
    if not (math.isfinite(nominal_power_nw) and nominal_power_nw >= 0):
        raise ValueError(f"nominal_power_nw must be zero or more; it is {nominal_power_nw}.")
    if throughput > 1:
        raise ValueError(f"throughput is a share of the power, at most 1; it is {throughput}.")
    area_cm2 = math.pi * (fwhm_nm * 1e-7 / 2) ** 2
    if convention == "gaussian-peak":
        area_cm2 /= math.log(2)
    elif convention != "top-hat-fwhm":
        raise ValueError(f'convention is "top-hat-fwhm" or "gaussian-peak", not "{convention}".')
    power_nw = nominal_power_nw * throughput
    intensity = power_nw * 1e-9 / area_cm2
    fluence = intensity / rep_rate_hz * 1e6
    per_cm_m = ABSORPTION_PER_CM_UM_NM3 * edge_nm**3 * 1e6
    cross_section = per_cm_m * math.log(10) * 1e3 / AVOGADRO
    photon_ev = EV_NM / wavelength_nm
    excitons = cross_section * fluence * 1e-6 / (photon_ev * J_PER_EV)
    return Excitation(
        power_at_sample_nw=power_nw,
        intensity_w_per_cm2=intensity,
        fluence_uj_per_cm2=fluence,
        cross_section_cm2=cross_section,
        photon_energy_ev=photon_ev,
        mean_excitons_per_nc=excitons,
        mean_time_between_excitations_us=1e6 / (excitons * rep_rate_hz) if excitons else math.inf,
        convention=convention,
    )
