"""Commands that calculate: simulate, excitation."""

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

import tplm_analysis as ta
from tplm_analysis.excitation import Convention
from tplm_config import InputError
from tplm_daq.cli.options import Number, json_option
from tplm_daq.cli.output import answer
from tplm_daq.exporting import Format, write_map
from tplm_daq.store import ScanMap

MAX_CELLS = 20_000_000


@click.group()
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


@click.command()
@click.option(
    "--power-nw", type=Number(1e-9, 1e12), required=True, help="Nominal, outside the microscope."
)
@click.option("--rep-rate-mhz", type=Number(1e-9, 1e6), required=True)
@click.option(
    "--fwhm-nm", type=Number(1, 1e9), default=500.0, show_default=True, help="Width of the spot."
)
@click.option(
    "--edge-nm", type=Number(0.1, 1e4), default=8.3, show_default=True,
    help="Edge length of the nanocrystals.",
)  # fmt: skip
@click.option("--wavelength-nm", type=Number(10, 1e5), default=405.0, show_default=True)
@click.option(
    "--throughput", type=Number(1e-9, 1), default=0.374, show_default=True,
    help="Share of the power that reaches the sample.",
)  # fmt: skip
@click.option(
    "--profile-shape", type=click.Choice(["top-hat-fwhm", "gaussian-peak"]),
    default="top-hat-fwhm", show_default=True,
    help="Power over a disc as wide as the FWHM, as published, or the peak of a Gaussian.",
)  # fmt: skip
@json_option
def excitation(
    power_nw: float,
    rep_rate_mhz: float,
    fwhm_nm: float,
    edge_nm: float,
    wavelength_nm: float,
    throughput: float,
    profile_shape: Convention,
    as_json: bool,
) -> None:
    """Excitation density: how many excitons one pulse makes in a nanocrystal."""
    try:
        found = ta.excitation(
            power_nw,
            rep_rate_mhz * 1e6,
            fwhm_nm=fwhm_nm,
            edge_nm=edge_nm,
            wavelength_nm=wavelength_nm,
            throughput=throughput,
            convention=profile_shape,
        )
    except ValueError as error:
        raise InputError("tplm excitation", str(error)) from None
    answer(asdict(found), str(found), as_json)
