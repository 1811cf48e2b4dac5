"""Commands on measured data: analyze, import, export."""

from pathlib import Path
from typing import get_args

import click

from tplm_analysis import Method, PileUp, TimeZero
from tplm_config import InputError
from tplm_daq.analysis import FitOptions, fit_scan, fit_table, read_irf
from tplm_daq.cli.options import Number, json_option, picture_option
from tplm_daq.cli.output import answer
from tplm_daq.exporting import FORMATS, ExportFormat, export_map
from tplm_daq.importing import import_files
from tplm_daq.report import draw_report
from tplm_daq.store import Scan, read_scan
from tplm_daq.store.scan import Axis
from tplm_daq.tables import ordinary_file, read_map


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--method", type=click.Choice(get_args(Method)), default="global", show_default=True,
    help="How D is found; the last three are as published.",
)  # fmt: skip
@click.option("--axis", type=click.Choice(["x", "y"]), help="Which axis of a cross or raster.")
@click.option("--report", callback=picture_option, help="Also draw a picture (PNG, PDF, SVG).")
@click.option("--time-zero-ns", type=Number(), help="Time zero, if it is known.")
@click.option("--t-range-ns", type=Number(), nargs=2, metavar="A B", help="Time bins to use.")
@click.option(
    "--background-per-bin", type=Number(min=0), help="Mean counts per position and bin, if known."
)
@click.option(
    "--time-zero", type=click.Choice(get_args(TimeZero)),
    help="Rising edge of the decay, or half maximum (default) or centroid of the instrument "
    "response, if there is one; decay does without the response.",
)  # fmt: skip
@click.option(
    "--irf", type=click.Path(path_type=Path), metavar="FILE",
    help="Instrument response: a scan file that measured it, or t_ns and counts in .npz or .csv.",
)  # fmt: skip
@click.option(
    "--pile-up", type=click.Choice(get_args(PileUp)), default="none", show_default=True,
    help="Correct the counts for pile-up; scan files know the laser pulses.",
)  # fmt: skip
@click.option(
    "--dead-time-ns", type=Number(min=0),
    help="Dead time for that correction.  [default: until the next pulse]",
)  # fmt: skip
@click.option(
    "--drift-correction", is_flag=True,
    help="Correct each visit for the drift that centrings and reference revisits measured.",
)  # fmt: skip
@json_option
def analyze(
    file: Path,
    method: Method,
    axis: Axis | None,
    report: Path | None,
    time_zero_ns: float | None,
    t_range_ns: tuple[float, float] | None,
    background_per_bin: float | None,
    time_zero: TimeZero | None,
    irf: Path | None,
    pile_up: PileUp,
    dead_time_ns: float | None,
    drift_correction: bool,
    as_json: bool,
) -> None:
    """Find the diffusivity of a map: FILE is a scan file (.h5), .npz or .csv."""
    if dead_time_ns is not None and pile_up == "none":
        raise InputError("--dead-time-ns", "without --pile-up coates it does nothing", "add that")
    options = FitOptions(
        time_zero_ns=time_zero_ns,
        t_range_ns=t_range_ns,
        background_per_bin=background_per_bin,
        irf=None if irf is None else read_irf(irf),
        time_zero=time_zero,
        pile_up=pile_up,
        dead_time_ns=dead_time_ns,
    )
    if file.suffix.lower() == ".h5":
        scan = read_scan(ordinary_file(file))
        found = scan.map(axis)
        fit = fit_scan(scan, method, axis, drift=drift_correction, **options)
    else:
        found = read_map(file)
        if axis is not None:
            raise InputError(file, "the map has one axis", "leave --axis out")
        if pile_up != "none":
            raise InputError(file, "only a scan file knows the laser pulses", "leave --pile-up out")
        if drift_correction:
            words = "only a scan file knows its drift"
            raise InputError(file, words, "leave --drift-correction out")
        fit = fit_table(found, file, method, **options)
    text = f"{file}\n{fit}"
    if report is not None:
        draw_report(found, fit, report, title=file.name)
        text += f"\nreport: {report}"
    answer(fit.to_dict(), text, as_json)


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--positions", required=True, type=click.Path(path_type=Path),
    help="CSV table with header file,x_um and optionally y_um,exposure_s.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="HDF5 file to make.")
@click.option("--channel", type=click.IntRange(0), help="Input channel or curve, from 0.")
@json_option
def import_(
    files: tuple[Path, ...], positions: Path, out: Path, channel: int | None, as_json: bool
) -> None:
    """Make a scan file from .ptu, .phu or .sdt files, one for each position and pass."""
    found = [path for name in files for path in _expand(name)]
    scan = import_files(found, positions, out, channel)
    warnings: list[str] = scan.journal[0]["warnings"]
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    result = {
        "file": str(scan.path),
        "files": int(scan.stored.sum()),
        "positions": scan.plan.place_count,
        "passes": scan.plan.passes,
        "bins": scan.header.bins,
        "time_bin_ps": scan.header.time_bin_ps,
        "sync_rate_hz": scan.sync_rate_hz,
        "counts": int(scan.position_counts.sum()),
        "warnings": warnings,
    }
    answer(result, _summary(scan), as_json)


def _expand(name: Path) -> list[Path]:
    """Files of a pattern, which the shells of Windows leave to the program."""
    if "*" in name.name and not name.exists():
        return sorted(name.parent.glob(name.name)) or [name]
    return [name]


def _summary(scan: Scan) -> str:
    return (
        f"{scan.path}: {int(scan.stored.sum())} files, {scan.plan.place_count} positions, "
        f"{scan.header.bins} bins of {scan.header.time_bin_ps:g} ps, "
        f"{int(scan.position_counts.sum())} counts"
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path),
    help="File to make; for ptu also a folder to make, with one file for each position and pass.",
)  # fmt: skip
@click.option("--axis", type=click.Choice(["x", "y"]), help="Which axis of a cross or raster.")
@json_option
def export(file: Path, format_: ExportFormat, out: Path, axis: Axis | None, as_json: bool) -> None:
    """Write the map of a scan file for other programs."""
    warnings = export_map(read_scan(ordinary_file(file)), out, format_, axis)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    answer({"file": str(out), "format": format_, "warnings": warnings}, f"wrote {out}", as_json)
