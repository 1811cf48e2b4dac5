"""Commands that simulate how excitons move: simulate bright-dark, simulate quantum."""

from typing import get_args

import click

from tplm_config import InputError
from tplm_daq.cli.bar import progress_bar
from tplm_daq.cli.options import Number, json_option
from tplm_daq.cli.output import answer
from tplm_simulators.samples.bright_dark import (
    SPLITTING_MEV,
    BrightDarkModel,
    bright_dark_moments,
    simulate_bright_dark,
)
from tplm_simulators.samples.quantum import (
    Geometry,
    Method,
    QuantumModel,
    Start,
    Variant,
    long_time_diffusivity,
    simulate_quantum,
)

MAX_STEPS = 100_000
MAX_EXCITONS = 1_000_000_000
MAX_SITES = 400
MAX_VALUES = 50_000_000
SHOWN_STEPS = (20, 40, 80, 160, 240)


@click.command("bright-dark")
@click.option(
    "--gamma-fret", type=Number(0, 1), default=0.09, show_default=True,
    help="From one nanocrystal to a nearest neighbour; like all rates, per step of 25 ps.",
)  # fmt: skip
@click.option(
    "--gamma-bd", type=Number(0, 1),
    help="From bright to dark.  [default: 0.15; 0 for traps alone, which is --trap-rate without "
    "--gamma-db or --temperature-k]",
)  # fmt: skip
@click.option("--gamma-db", type=Number(0, 1), help="From dark to bright.  [default: 0]")
@click.option(
    "--temperature-k", type=Number(0.1, 1e4),
    help="In place of --gamma-db, which then follows from --gamma-bd and the splitting.",
)  # fmt: skip
@click.option(
    "--edge-nm", type=click.Choice([str(edge) for edge in SPLITTING_MEV]),
    help="Size of the nanocrystals, for their splitting.",
)  # fmt: skip
@click.option("--splitting-mev", type=Number(-1e3, 1e3), help="In place of --edge-nm.")
@click.option(
    "--trap-rate", type=Number(0, 1), default=0.0, show_default=True, help="From bright to trapped."
)
@click.option(
    "--dissociation", type=Number(0, 1), default=0.0, show_default=True,
    help="Of bright and dark excitons, without light.",
)  # fmt: skip
@click.option(
    "--bright-fraction", type=Number(0, 1),
    help="Share that is bright at the start.  [default: 0.5; 1 for traps alone]",
)  # fmt: skip
@click.option(
    "--repeats", type=click.IntRange(1), default=10_000, show_default=True, help="Pulses."
)
@click.option(
    "--excitons", type=click.IntRange(1), default=100, show_default=True, help="Of each pulse."
)
@click.option("--steps", type=click.IntRange(2, MAX_STEPS), default=300, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
def bright_dark(
    gamma_fret: float,
    gamma_bd: float | None,
    gamma_db: float | None,
    temperature_k: float | None,
    edge_nm: str | None,
    splitting_mev: float | None,
    trap_rate: float,
    dissociation: float,
    bright_fraction: float | None,
    repeats: int,
    excitons: int,
    steps: int,
    seed: int,
    as_json: bool,
) -> None:
    """Follow bright, dark and trapped excitons to their light."""
    where = "tplm simulate bright-dark"
    if repeats * excitons > MAX_EXCITONS:
        raise InputError(
            where,
            f"{repeats} repeats of {excitons} are {repeats * excitons} excitons",
            f"at most {MAX_EXCITONS} are allowed",
        )
    rates = {"gamma_fret": gamma_fret, "trap_rate": trap_rate, "dissociation": dissociation}
    if gamma_bd is not None:
        rates["gamma_bd"] = gamma_bd
    if bright_fraction is not None:
        rates["bright_fraction"] = bright_fraction
    splitting = _splitting(temperature_k, edge_nm, splitting_mev)
    if temperature_k is not None and gamma_db is not None:
        raise click.UsageError("Give only one of '--gamma-db' and '--temperature-k'.")
    try:
        if temperature_k is not None and splitting is not None:
            model = BrightDarkModel.at_temperature(temperature_k, splitting, **rates)
        elif trap_rate > 0 and not gamma_db:
            model = BrightDarkModel.traps(**rates)
        else:
            model = BrightDarkModel(gamma_db=gamma_db or 0.0, **rates)
    except ValueError as error:
        raise InputError(where, str(error)) from None
    with progress_bar("excitons") as progress:
        found = simulate_bright_dark(
            model, repeats=repeats, excitons_per_repeat=excitons, steps=steps, seed=seed,
            progress=progress,
        )  # fmt: skip
    exact = bright_dark_moments(model, steps=steps)
    result = {
        **found.to_dict(),
        "exact_msd_sites2": exact.to_dict()["msd_sites2"],
        "gamma_bd": model.gamma_bd,
        "gamma_db": model.gamma_db,
        "seed": seed,
    }
    rows = [
        f"{found.time_ns[k]:.3g} ns: MSD = {found.msd_sites2[k]:.4g} ± "
        f"{found.msd_stderr_sites2[k]:.2g} sites² (exactly {exact.msd_sites2[k]:.4g})"
        for k in SHOWN_STEPS
        if k < steps
    ]
    answer(result, "\n".join([str(model), str(found), *rows]), as_json)


def _splitting(
    temperature_k: float | None, edge_nm: str | None, splitting_mev: float | None
) -> float | None:
    """Return the splitting that goes with a temperature."""
    if edge_nm is not None and splitting_mev is not None:
        raise click.UsageError("Give only one of '--edge-nm' and '--splitting-mev'.")
    splitting = SPLITTING_MEV[int(edge_nm)] if edge_nm is not None else splitting_mev
    if (temperature_k is None) != (splitting is None):
        raise click.UsageError(
            "'--temperature-k' goes with one of '--edge-nm' and '--splitting-mev'."
        )
    return splitting


@click.command("quantum")
@click.option(
    "--disorder", type=Number(0, 1e3), default=1.0, show_default=True,
    help="Δ, in units of the coupling J, like all energies and rates.",
)  # fmt: skip
@click.option(
    "--dephasing", type=Number(0, 1e3), default=(0.3,), show_default="0.3", multiple=True,
    help="Γ; given several times, only the D of long times is calculated for each.",
)  # fmt: skip
@click.option("--sites", type=click.IntRange(4, MAX_SITES), default=100, show_default=True)
@click.option(
    "--realisations", type=click.IntRange(1), default=40, show_default=True, help="Of the disorder."
)
@click.option(
    "--t-max", type=Number(1e-6, 1e6), default=20.0, show_default=True,
    help="Last time, in units of ħ/J.",
)  # fmt: skip
@click.option(
    "--geometry", type=click.Choice(get_args(Geometry)), default="ring", show_default=True
)
@click.option("--start", type=click.Choice(get_args(Start)), default="site", show_default=True)
@click.option(
    "--sigma-sites", type=Number(1e-3, 1e3), default=10.0, show_default=True,
    help="Standard deviation of the Gaussian start.",
)  # fmt: skip
@click.option(
    "--variant", type=click.Choice(get_args(Variant)), default="per-site", show_default=True,
    help="Noise as the equations say, or as in the authors' public code.",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(get_args(Method)), default="average", show_default=True,
    help="Density matrix, averaged over the noise, or wave functions under noise.",
)  # fmt: skip
@click.option(
    "--step", type=Number(1e-4, 1e3), default=0.1, show_default=True, help="From time to time."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
def quantum(
    disorder: float,
    dephasing: tuple[float, ...],
    sites: int,
    realisations: int,
    t_max: float,
    geometry: Geometry,
    start: Start,
    sigma_sites: float,
    variant: Variant,
    method: Method,
    step: float,
    seed: int,
    as_json: bool,
) -> None:
    """Spread an exciton between wave and hops (Haken–Strobl–Reineker)."""
    where = "tplm simulate quantum"
    if t_max / step > MAX_STEPS:
        raise InputError(
            where,
            f"--t-max {t_max:g} in steps of {step:g} are {t_max / step:.0f} times",
            f"at most {MAX_STEPS} are allowed",
        )
    if t_max / step * realisations > MAX_VALUES:
        raise InputError(
            where,
            f"{realisations} realisations at {t_max / step:.0f} times are too many values",
            f"at most {MAX_VALUES} are allowed",
        )
    try:
        model = QuantumModel(
            sites=sites, disorder=disorder, dephasing=dephasing[0], geometry=geometry,
            start=start, sigma_sites=sigma_sites, variant=variant, step=step,
        )  # fmt: skip
        with progress_bar("realisations") as progress:
            if len(dephasing) > 1:
                scan = long_time_diffusivity(
                    model, dephasing, realisations=realisations, seed=seed, progress=progress
                )
                lines = zip(scan.dephasing, scan.d_long_time, scan.d_long_time_stderr, strict=True)
                table = "\n".join(f"Γ = {g:g}: D = {d:.4g} ± {s:.2g}" for g, d, s in lines)
                answer(scan.to_dict() | {"seed": seed}, f"{table}\n{scan}", as_json)
                return
            found = simulate_quantum(
                model, realisations=realisations, t_max=t_max, seed=seed, method=method,
                progress=progress,
            )  # fmt: skip
    except ValueError as error:
        raise InputError(where, str(error)) from None
    answer(found.to_dict() | {"seed": seed}, f"{model}\n{found}", as_json)
