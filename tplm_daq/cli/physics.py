"""Commands that calculate: simulate, excitation."""

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np

import tplm_analysis as ta
from tplm_analysis.excitation import Convention, Table
from tplm_analysis.heat import CSPBBR3, QUARTZ_CRYSTAL, QUARTZ_GLASS, Material
from tplm_config import InputError
from tplm_daq.cli.options import F, Number, json_option, picture_option
from tplm_daq.cli.output import answer
from tplm_daq.exporting import Format, write_map
from tplm_daq.store import ScanMap

MAX_CELLS = 20_000_000


SIMULATIONS = {
    "memory": "samples.memory",
    "bright-dark": "transport.bright_dark",
    "quantum": "transport.quantum",
    "sweep": "reproduce.sweep",
}
"""Models of the sample, in modules that are loaded when they are called."""


class Simulations(click.Group):
    """A group some of whose commands are in other modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names; those of this module first."""
        return [*self.commands, *SIMULATIONS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in SIMULATIONS:
            return super().get_command(ctx, cmd_name)
        module, name = SIMULATIONS[cmd_name].split(".")
        command: click.Command = getattr(import_module(f"tplm_daq.cli.{module}"), name)
        return command


@click.group(cls=Simulations)
def simulate() -> None:
    """Calculate what a measurement would show."""


@simulate.command("map")
@click.option("--d-cm2-per-s", type=Number(0, 1e3), default=0.01, show_default=True)
@click.option(
    "--fwhm-nm", type=Number(1, 1e6), default=600.0, show_default=True,
    help="Width of the profile at time zero.",
)  # fmt: skip
@click.option(
    "--amplitude", type=Number(1e-6, 1e15), default=2e5, show_default=True,
    help="Area under the profile at time zero, counts nm per bin.",
)  # fmt: skip
@click.option(
    "--background", type=Number(0, 1e3), default=0.1, show_default=True,
    help="Background over signal, both summed over the whole map.",
)  # fmt: skip
@click.option("--positions", type=click.IntRange(1, 100_000), default=41, show_default=True)
@click.option("--half-range-um", type=Number(1e-3, 1e4), default=2.0, show_default=True)
@click.option("--bins", type=click.IntRange(2, 65_536), default=800, show_default=True)
@click.option("--time-bin-ps", type=Number(1e-3, 1e6), default=25.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File to make: .npz or .csv."
)
@json_option
def simulate_map(
    d_cm2_per_s: float,
    fwhm_nm: float,
    amplitude: float,
    background: float,
    positions: int,
    half_range_um: float,
    bins: int,
    time_bin_ps: float,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Make a map with known D and Poisson counts, to try an analysis on."""
    formats: dict[str, Format] = {".npz": "npz", ".csv": "csv"}
    if out.suffix.lower() not in formats:
        raise InputError(out, f"the file name ends in '{out.suffix}'", "allowed: .npz, .csv")
    if positions * bins > MAX_CELLS:
        raise InputError(
            "tplm simulate map",
            f"{positions} positions in {bins} bins are {positions * bins} values",
            f"at most {MAX_CELLS} are allowed",
        )
    try:
        film = ta.synthetic_map(
            seed,
            amplitude=amplitude,
            d_cm2_per_s=d_cm2_per_s,
            fwhm0_nm=fwhm_nm,
            positions=positions,
            half_range_um=half_range_um,
            bins=bins,
            bin_ns=time_bin_ps * 1e-3,
            background_fraction=background,
        )
    except ValueError as error:
        raise InputError("tplm simulate map", str(error)) from None
    exposure_s = np.ones(positions)
    write_map(
        ScanMap(film.counts, film.x_um, film.t_ns, exposure_s), out, formats[out.suffix.lower()]
    )
    total = int(film.counts.sum())
    result = {
        "file": str(out),
        "d_cm2_per_s": d_cm2_per_s,
        "sigma0_nm": film.truth.sigma0_nm,
        "background_per_bin": film.truth.background_per_bin,
        "positions": positions,
        "bins": bins,
        "counts": total,
        "seed": seed,
    }
    text = f"{out}: {positions} positions, {bins} bins, {total} counts, D = {d_cm2_per_s:g} cm²/s"
    answer(result, text, as_json)


def excitation_options(function: F) -> F:
    """Add the options that say how strongly a nanocrystal is excited."""
    options = [
        click.option(
            "--power-nw", type=Number(1e-9, 1e12), help="Nominal, outside the microscope.",
        ),
        click.option(
            "--excitons-per-nc", type=Number(1e-12, 1e6),
            help="⟨N⟩ that is wanted, in place of the power.",
        ),
        click.option(
            "--fluence-uj-per-cm2", type=Number(1e-12, 1e12),
            help="Fluence at the sample that is wanted, in place of the power.",
        ),
        click.option("--rep-rate-mhz", type=Number(1e-9, 1e6)),
        click.option(
            "--fwhm-nm", type=Number(1, 1e9), default=500.0, show_default=True,
            help="Width of the spot.",
        ),
        click.option(
            "--edge-nm", type=Number(0.1, 1e4), default=8.3, show_default=True,
            help="Edge length of the nanocrystals.",
        ),
        click.option("--wavelength-nm", type=Number(10, 1e5), default=405.0, show_default=True),
        click.option(
            "--throughput", type=Number(1e-9, 1), default=0.374, show_default=True,
            help="Share of the power that reaches the sample.",
        ),
        click.option(
            "--profile-shape", type=click.Choice(["top-hat-fwhm", "gaussian-peak"]),
            default="top-hat-fwhm", show_default=True,
            help="Power over a disc as wide as the FWHM, as published, or the peak of a Gaussian.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _excitation(
    where: str,
    *,
    power_nw: float | None,
    excitons_per_nc: float | None,
    fluence_uj_per_cm2: float | None,
    rep_rate_mhz: float | None,
    fwhm_nm: float,
    edge_nm: float,
    wavelength_nm: float,
    throughput: float,
    profile_shape: Convention,
) -> ta.Excitation:
    """Return what the options of `excitation_options` ask for."""
    if rep_rate_mhz is None:
        raise click.UsageError("Missing option '--rep-rate-mhz'.")
    given = sum(one is not None for one in (power_nw, excitons_per_nc, fluence_uj_per_cm2))
    if given == 0:
        raise click.UsageError(
            "Missing option '--power-nw', or one of '--excitons-per-nc' and "
            "'--fluence-uj-per-cm2' in its place."
        )
    if given > 1:
        raise click.UsageError(
            "Give only one of '--power-nw', '--excitons-per-nc' and '--fluence-uj-per-cm2'."
        )
    beam = partial(
        ta.excitation if power_nw is not None else ta.excitation_for,
        fwhm_nm=fwhm_nm,
        edge_nm=edge_nm,
        wavelength_nm=wavelength_nm,
        throughput=throughput,
        convention=profile_shape,
    )
    try:
        if power_nw is not None:
            return beam(power_nw, rep_rate_mhz * 1e6)
        return beam(
            rep_rate_mhz * 1e6,
            mean_excitons_per_nc=excitons_per_nc,
            fluence_uj_per_cm2=fluence_uj_per_cm2,
        )
    except ValueError as error:
        raise InputError(where, str(error)) from None


@click.command()
@excitation_options
@click.option(
    "--table", type=click.Choice(["S1", "S2"]),
    help="Print a table of S1 beside what is calculated here, and leave.",
)  # fmt: skip
@json_option
def excitation(table: Table | None, as_json: bool, **conditions: Any) -> None:
    """Excitation density: how many excitons one pulse makes in a nanocrystal."""
    found = (
        _excitation("tplm excitation", **conditions)
        if table is None
        else ta.compare_published(table)
    )
    answer(found.to_dict(), str(found), as_json)


SUBSTRATES = {"quartz-glass": QUARTZ_GLASS, "quartz": QUARTZ_CRYSTAL, "none": None}


@simulate.command("heat")
@excitation_options
@click.option(
    "--film-nm", type=Number(1, 1e6), default=35.0, show_default=True,
    help="Thickness of the film.",
)  # fmt: skip
@click.option(
    "--conductivity-w-per-m-k", type=Number(1e-4, 1e4), default=CSPBBR3.conductivity_w_per_m_k,
    show_default=True, help="Thermal conductivity of the film.",
)  # fmt: skip
@click.option(
    "--heat-j-per-g-k", type=Number(1e-4, 1e2), default=CSPBBR3.heat_j_per_g_k,
    show_default=True, help="Specific heat of the nanocrystals.",
)  # fmt: skip
@click.option(
    "--density-g-per-cm3", type=Number(1e-2, 1e2), default=CSPBBR3.density_g_per_cm3,
    show_default=True, help="Density of the nanocrystals.",
)  # fmt: skip
@click.option(
    "--substrate", type=click.Choice(list(SUBSTRATES)), default="quartz-glass", show_default=True,
    help="What the film lies on; without one, heat spreads in the film alone.",
)  # fmt: skip
@click.option(
    "--radius-um", type=Number(20, 1e5), default=500.0, show_default=True,
    help="From the spot to where the temperature is held.",
)  # fmt: skip
@click.option("--out", callback=picture_option, help="Picture to draw: .png, .pdf or .svg.")
@json_option
def simulate_heat(
    film_nm: float,
    conductivity_w_per_m_k: float,
    heat_j_per_g_k: float,
    density_g_per_cm3: float,
    substrate: str,
    radius_um: float,
    out: Path | None,
    as_json: bool,
    **conditions: Any,
) -> None:
    """How warm the laser makes the film, if all absorbed light turns to heat at once."""
    found = _excitation("tplm simulate heat", **conditions)
    try:
        heating = ta.laser_heating(
            found,
            film_nm=film_nm,
            film=Material(density_g_per_cm3, heat_j_per_g_k, conductivity_w_per_m_k),
            substrate=SUBSTRATES[substrate],
            radius_um=radius_um,
        )
    except ValueError as error:
        raise InputError("tplm simulate heat", str(error)) from None
    if out is not None:
        _draw_heating(heating, found, out)
    result = {"excitation": found.to_dict(), "substrate": substrate, **heating.to_dict()}
    answer(result | {"file": None if out is None else str(out)}, f"{found}\n{heating}", as_json)


def _draw_heating(heating: ta.Heating, found: ta.Excitation, path: Path) -> None:
    """Draw the rise after one pulse, and what endless pulses make of it."""
    from matplotlib.figure import Figure  # slow to load

    from tplm_daq.store.files import replacing

    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.loglog(heating.t_ns[1:], heating.rise_k[1:], color="#1f4e79", label="after one pulse")
    levels = {
        "mean, endless pulses": (heating.steady_rise_k, "#c8553d", "--"),
        "before a pulse, endless pulses": (heating.before_pulse_k, "#e9a03b", ":"),
    }
    for name, (rise_k, colour, style) in levels.items():
        axes.axhline(rise_k, color=colour, linestyle=style, label=name)
    period_ns = 1e9 / found.rep_rate_hz
    axes.axvline(period_ns, color="0.6", linewidth=0.8, label=f"period, {period_ns:.4g} ns")
    top = float(heating.rise_k[0])
    axes.set(
        xlabel="time after the pulse (ns)",
        ylabel="rise in the middle of the spot (K)",
        xlim=(heating.t_ns[1], 20 * period_ns),
        ylim=(min(0.3 * heating.before_pulse_k, 1e-4 * top), 2 * top),
        title=f"{found.nominal_power_nw:.3g} nW nominal, ⟨N⟩ = {found.mean_excitons_per_nc:.3g}",
    )
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower())
