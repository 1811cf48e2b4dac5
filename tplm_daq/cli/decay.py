"""The command on the decay of all positions together."""

from pathlib import Path
from typing import cast, get_args

import click
import numpy as np

from tplm_analysis import (
    DecayModelName,
    DecayOptions,
    Irf,
    compare_decays,
    find_irf,
    find_lifetime_1e,
    fit_decay_model,
    prompt_delayed_windows,
)
from tplm_analysis.results import Result
from tplm_config import InputError
from tplm_daq.analysis import read_irf
from tplm_daq.cli.options import Number, json_option
from tplm_daq.cli.output import answer
from tplm_daq.store import read_scan
from tplm_daq.store.scan import F64
from tplm_daq.tables import ordinary_file, read_map

COMPARE, WINDOWS = "compare", "windows"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--model", type=click.Choice([COMPARE, *get_args(DecayModelName), WINDOWS]),
    default=COMPARE, show_default=True, help="What to fit; windows: the reading of S1.",
)  # fmt: skip
@click.option(
    "--irf", type=click.Path(path_type=Path), metavar="FILE",
    help="Instrument response: a scan file that measured it, or t_ns and counts in .npz or .csv.",
)  # fmt: skip
@click.option("--shift-ns", type=Number(), help="By how much the decay comes after the response.")
@click.option("--fit-shift", is_flag=True, help="Find that shift.")
@click.option(
    "--background-per-bin", type=Number(min=0), help="Counts of all positions per bin, if known."
)
@click.option(
    "--period-ns", type=Number(min=0),
    help="Time from pulse to pulse, for the light that earlier ones left; 0 forgets it.  "
    "[default: that of the scan file]",
)  # fmt: skip
@json_option
def decay(
    file: Path,
    model: str,
    irf: Path | None,
    shift_ns: float | None,
    fit_shift: bool,
    background_per_bin: float | None,
    period_ns: float | None,
    as_json: bool,
) -> None:
    """Find the lifetimes of a map's light: FILE is a scan file (.h5), .npz or .csv."""
    if fit_shift and shift_ns is not None:
        raise InputError("--fit-shift", "--shift-ns already says what it is", "leave one out")
    counts, t_ns, own_period, own_irf = _read(file)
    response = own_irf if irf is None else read_irf(irf)
    period = own_period if period_ns is None else period_ns or None
    found: Result
    try:
        background = background_per_bin or 0.0
        to_1e = find_lifetime_1e(t_ns, counts, background)
        if model == WINDOWS:
            found = prompt_delayed_windows(counts, t_ns, background_per_bin=background)
        else:
            options = DecayOptions(
                period_ns=period,
                shift_ns=None if fit_shift else shift_ns or 0.0,
                background_per_bin=background_per_bin,
            )
            if model == COMPARE:
                found = compare_decays(counts, t_ns, response, **options)
            else:
                name = cast(DecayModelName, model)
                found = fit_decay_model(name, counts, t_ns, response, **options)
    except ValueError as error:
        raise InputError(file, str(error)) from None
    first = "no time to 1/e" if to_1e is None else str(to_1e)
    values = {"lifetime_1e_ns": None, "lifetime_1e_stderr_ns": None} | (
        {} if to_1e is None else to_1e.to_dict()
    )
    answer({**values, **found.to_dict()}, f"{file}\n{first}\n{found}", as_json)


def _read(file: Path) -> tuple[F64, F64, float | None, Irf | None]:
    """Return counts and time bins, the period, and the file's own response if it is usable."""
    if file.suffix.lower() != ".h5":
        table = read_map(file)
        return table.counts.sum(axis=0).astype(np.float64), table.t_ns, None, None
    scan = read_scan(ordinary_file(file))
    counts = scan.position_counts.sum(axis=0).astype(np.float64)
    rate_hz, flash = scan.sync_rate_hz, scan.irf_counts()
    irf = None
    if flash is not None:
        try:
            irf = find_irf(flash, scan.header.t_ns)
        except ValueError as error:
            click.echo(f"warning: the response in the file is of no use. {error}", err=True)
    return counts, scan.header.t_ns, 1e9 / rate_hz if rate_hz else None, irf
