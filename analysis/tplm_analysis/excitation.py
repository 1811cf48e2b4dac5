"""How many excitons one pulse makes in a nanocrystal (S1, supplementary note 6)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from .results import Result

Convention = Literal["top-hat-fwhm", "gaussian-peak"]
Table = Literal["S1", "S2"]

THROUGHPUT = 0.374
"""Share of the nominal power that reaches the sample in S1."""
ABSORPTION_PER_CM_UM_NM3 = 0.0242
"""Molar absorption coefficient of CsPbBr3 at 400 nm over volume, cm⁻¹ µM⁻¹ nm⁻³ (S1, ref. 6)."""
EV_NM = 1240.0
J_PER_EV = 1.602e-19
AVOGADRO = 6.02e23

COLUMNS = (
    "power_at_sample_nw", "intensity_w_per_cm2", "fluence_uj_per_cm2", "mean_excitons_per_nc",
)  # fmt: skip
"""What tables S1 and S2 give for each nominal power."""
PUBLISHED: dict[Table, tuple[float, tuple[tuple[float, ...], ...]]] = {
    "S1": (
        2.5e6,
        (
            (0.5, 0.185, 0.095, 0.038, 0.0041),
            (1, 0.37, 0.19, 0.076, 0.0082),
            (2.5, 0.925, 0.475, 0.19, 0.0205),
            (4, 1.48, 0.76, 0.30, 0.0326),
            (5, 1.85, 0.95, 0.38, 0.041),
            (10, 3.7, 1.9, 0.76, 0.082),
            (20, 7.4, 3.8, 1.52, 0.163),
        ),
    ),
    "S2": (
        5e6,
        (
            (0.5, 0.185, 0.095, 0.019, 0.00205),
            (1, 0.37, 0.19, 0.038, 0.0041),
            (2.5, 0.925, 0.475, 0.095, 0.01025),
            (5, 1.85, 0.95, 0.19, 0.0205),
            (10, 3.7, 1.9, 0.38, 0.041),
            (25, 9.25, 4.75, 0.95, 0.1025),
        ),
    ),
}
"""Repetition rate, and rows of nominal power and `COLUMNS`, as printed (405 nm, FWHM 500 nm)."""


@dataclass(frozen=True)
class Excitation(Result):
    """Excitation at the sample.

    Attributes
    ----------
    nominal_power_nw, rep_rate_hz, fwhm_nm, edge_nm : float
        Power outside the microscope, repetition rate of the laser, width of the spot, and edge
        length of the nanocrystals it holds for.
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

    SOURCE: ClassVar[str] = "S1, supplementary note 6"

    nominal_power_nw: float
    rep_rate_hz: float
    fwhm_nm: float
    edge_nm: float
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
            f"{self.nominal_power_nw:.3g} nW nominal, "
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
        nominal_power_nw=nominal_power_nw,
        rep_rate_hz=rep_rate_hz,
        fwhm_nm=fwhm_nm,
        edge_nm=edge_nm,
        power_at_sample_nw=power_nw,
        intensity_w_per_cm2=intensity,
        fluence_uj_per_cm2=fluence,
        cross_section_cm2=cross_section,
        photon_energy_ev=photon_ev,
        mean_excitons_per_nc=excitons,
        mean_time_between_excitations_us=1e6 / (excitons * rep_rate_hz) if excitons else math.inf,
        convention=convention,
    )


def excitation_for(
    rep_rate_hz: float,
    *,
    mean_excitons_per_nc: float | None = None,
    fluence_uj_per_cm2: float | None = None,
    fwhm_nm: float = 500.0,
    edge_nm: float = 8.3,
    wavelength_nm: float = 405.0,
    throughput: float = THROUGHPUT,
    convention: Convention = "top-hat-fwhm",
) -> Excitation:
    """Return the excitation, and with it the nominal power, that a wanted ⟨N⟩ or fluence needs.

    Parameters
    ----------
    rep_rate_hz
        Repetition rate of the laser.
    mean_excitons_per_nc, fluence_uj_per_cm2
        What is wanted; exactly one of them.
    fwhm_nm, edge_nm, wavelength_nm, throughput, convention
        As in `excitation`.

    Raises
    ------
    ValueError
        As `excitation`; when both or neither is given, or it is not positive.
    """
    wanted = {
        "mean_excitons_per_nc": mean_excitons_per_nc,
        "fluence_uj_per_cm2": fluence_uj_per_cm2,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    if len(given) != 1:
        raise ValueError("Give either mean_excitons_per_nc or fluence_uj_per_cm2.")
    ((name, value),) = given.items()
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number; it is {value}.")

    def at(power_nw: float) -> Excitation:
        return excitation(
            power_nw,
            rep_rate_hz,
            fwhm_nm=fwhm_nm,
            edge_nm=edge_nm,
            wavelength_nm=wavelength_nm,
            throughput=throughput,
            convention=convention,
        )

    # everything is proportional to the power
    return at(value / float(getattr(at(1.0), name)))


@dataclass(frozen=True)
class PublishedComparison(Result):
    """A table of S1 beside what `excitation` gives.

    Attributes
    ----------
    table : str
        ``"S1"`` or ``"S2"``.
    rep_rate_hz : float
        Of that table.
    columns : tuple of str
        Names of the columns, with units.
    nominal_power_nw : (row,) float
        Nominal powers.
    paper, ours : (row, column) float
        Values as printed, and calculated.
    largest_deviation : float
        Of any value, relative to the printed one.
    """

    SOURCE: ClassVar[str] = "S1, tables S1 and S2"

    table: Table
    rep_rate_hz: float
    columns: tuple[str, ...]
    nominal_power_nw: tuple[float, ...]
    paper: tuple[tuple[float, ...], ...]
    ours: tuple[tuple[float, ...], ...]
    largest_deviation: float

    def __str__(self) -> str:
        names = ("sample nW", "W/cm²", "µJ/cm²", "⟨N⟩")
        lines = [
            f"table {self.table}, {self.rep_rate_hz * 1e-6:g} MHz",
            "nominal nW"
            + "".join(f" | {name + ', paper':>16} {'ours':>8} {'':6}" for name in names),
        ]
        for power, theirs, found in zip(self.nominal_power_nw, self.paper, self.ours, strict=True):
            cells = (
                f" | {a:16g} {b:8.4g} {b / a - 1:+6.1%}" for a, b in zip(theirs, found, strict=True)
            )
            lines.append(f"{power:10g}" + "".join(cells))
        lines.append(f"largest deviation {self.largest_deviation:.2%}")
        return "\n".join(lines)


def compare_published(table: Table) -> PublishedComparison:
    """Calculate one of the published tables anew.

    Parameters
    ----------
    table
        ``"S1"`` (2.5 MHz) or ``"S2"`` (5 MHz).

    Raises
    ------
    ValueError
        For another name.
    """
    if table not in PUBLISHED:
        raise ValueError(f'table is "S1" or "S2", not "{table}".')
    rate, rows = PUBLISHED[table]
    found = [excitation(row[0], rate) for row in rows]
    ours = tuple(tuple(float(getattr(one, name)) for name in COLUMNS) for one in found)
    paper = tuple(row[1:] for row in rows)
    deviations = (
        abs(b / a - 1)
        for theirs, mine in zip(paper, ours, strict=True)
        for a, b in zip(theirs, mine, strict=True)
    )
    return PublishedComparison(
        table=table,
        rep_rate_hz=rate,
        columns=COLUMNS,
        nominal_power_nw=tuple(row[0] for row in rows),
        paper=paper,
        ours=ours,
        largest_deviation=max(deviations),
    )
