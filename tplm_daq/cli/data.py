"""Commands on measured data: analyze, inspect, import, export."""

import textwrap
from pathlib import Path
from typing import Any, Literal, get_args

import click

from tplm_analysis import ApertureShape, Method, ModelChoice, PileUp, TimeZero
from tplm_config import InputError
from tplm_daq.analysis import (
    FitOptions,
    TimeOptions,
    compare_scan,
    compare_table,
    fit_scan,
    fit_table,
    profile_aperture,
    read_irf,
)
from tplm_daq.cli.options import Number, json_option, picture_option
from tplm_daq.cli.output import answer
from tplm_daq.exporting import FORMATS, ExportFormat, export_map
from tplm_daq.images import draw_images, fit_image_file
from tplm_daq.importing import import_files
from tplm_daq.report import draw_report
from tplm_daq.store import Analysis, Scan, read_analyses, read_scan
from tplm_daq.store.scan import Axis
from tplm_daq.tables import ordinary_file, read_map

ApertureChoice = Literal[ApertureShape, "profile"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--method", type=click.Choice(get_args(Method)), default="global", show_default=True,
    help="How D is found; the last three are as published.",
)  # fmt: skip
@click.option(
    "--model", type=click.Choice(get_args(ModelChoice)), default="auto", show_default=True,
    help="Profile of the default method; auto takes a richer one where the counts ask for it.",
)  # fmt: skip
@click.option(
    "--compare-models", is_flag=True,
    help="Also fit every profile with every growth, and say which is warranted.",
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
    "--mix-ages", is_flag=True,
    help="Count time as the mean age of the light in a bin, by response and width of the bins.",
)  # fmt: skip
@click.option(
    "--aperture-um", type=Number(min=0),
    help="Side or diameter, in the sample plane, of what collects the light; taken off sigma0.",
)  # fmt: skip
@click.option(
    "--aperture", type=click.Choice(["square", "disc", "profile"]),
    help="Its shape, square if not said; profile: size and shape from the profile in the scan "
    "file, in place of --aperture-um.",
)  # fmt: skip
@click.option(
    "--two-d", is_flag=True,
    help="Fit a raster, or images in .npz, in two dimensions: D along x, y and principal axes.",
)  # fmt: skip
@click.option("--save", is_flag=True, help="Keep the result in the scan file, beside the data.")
@click.option(
    "--save-as", metavar="NAME", help="The same under a name.  [default: method and number]"
)
@click.option(
    "--drift-correction", is_flag=True,
    help="Correct each visit for the drift that centrings and reference revisits measured.",
)  # fmt: skip
@json_option
def analyze(
    file: Path,
    method: Method,
    model: ModelChoice,
    compare_models: bool,
    axis: Axis | None,
    report: Path | None,
    time_zero_ns: float | None,
    t_range_ns: tuple[float, float] | None,
    background_per_bin: float | None,
    time_zero: TimeZero | None,
    irf: Path | None,
    pile_up: PileUp,
    dead_time_ns: float | None,
    mix_ages: bool,
    aperture_um: float | None,
    aperture: ApertureChoice | None,
    two_d: bool,
    save: bool,
    save_as: str | None,
    drift_correction: bool,
    as_json: bool,
) -> None:
    """Find the diffusivity of a map: FILE is a scan file (.h5), .npz or .csv."""
    if dead_time_ns is not None and pile_up == "none":
        raise InputError("--dead-time-ns", "without --pile-up coates it does nothing", "add that")
    if compare_models and pile_up != "none":
        raise InputError("--compare-models", "it takes the counts as they are, without --pile-up")
    save = save or save_as is not None
    if save and file.suffix.lower() != ".h5":
        raise InputError(file, "only a scan file (.h5) keeps analyses", "leave out --save")
    if two_d:
        others = (axis, background_per_bin, time_zero, irf, aperture_um, aperture)
        flags = (drift_correction, mix_ages, compare_models, pile_up != "none")
        plain = method == "global" and model == "auto"
        if not plain or any(flags) or any(one is not None for one in others):
            raise InputError(
                "--two-d", "it goes with --report, --time-zero-ns, --t-range-ns and --save only"
            )
        _analyze_images(file, report, time_zero_ns, t_range_ns, save, save_as, as_json)
        return
    scan = read_scan(ordinary_file(file)) if file.suffix.lower() == ".h5" else None
    times = TimeOptions(
        time_zero_ns=time_zero_ns,
        t_range_ns=t_range_ns,
        background_per_bin=background_per_bin,
        irf=None if irf is None else read_irf(irf),
        time_zero=time_zero,
        mix_ages=mix_ages,
    )
    size_um, shape = _aperture(scan, aperture_um, aperture)
    options = FitOptions(
        **times,
        pile_up=pile_up,
        dead_time_ns=dead_time_ns,
        model=model,
        aperture_um=size_um,
        aperture=shape,
    )
    if scan is not None:
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
    text, result = f"{file}\n{fit}", fit.to_dict()
    models = None
    if compare_models:
        if fit.time_zero_from is not None and fit.time_zero_from.startswith("decay"):
            times["time_zero"] = "decay"  # also where the fit found the response of no use
        if scan is not None:
            models = compare_scan(scan, axis, drift=drift_correction, **times)
        else:
            models = compare_table(found, file, **times)
        text += f"\n\n{models}"
        result["models"] = models.to_dict()
    if report is not None:
        draw_report(found, fit, report, title=file.name)
        text += f"\nreport: {report}"
    if save and scan is not None:
        settings: dict[str, Any] = {
            "method": method,
            "axis": axis,
            **options,
            "irf": irf and str(irf),
            "drift_correction": drift_correction,
        }
        result["saved_as"] = scan.save_analysis(fit, settings, save_as)
        text += f"\nkept in the file as: {result['saved_as']}"
        if models is not None:
            result["models_saved_as"] = scan.save_analysis(models, settings)
            text += f", {result['models_saved_as']}"
    answer(result, text, as_json)


def _aperture(
    scan: Scan | None, size_um: float | None, choice: ApertureChoice | None
) -> tuple[float | None, ApertureShape]:
    """Return size and shape of the aperture that the options name."""
    if choice == "profile":
        if size_um is not None:
            raise InputError("--aperture profile", "it knows the size", "leave --aperture-um out")
        if scan is None:
            words = "only a scan file (.h5) holds a profile"
            raise InputError("--aperture profile", words, "give --aperture-um")
        return profile_aperture(scan)
    if choice is not None and size_um is None:
        raise InputError("--aperture", "the size is missing", "add --aperture-um")
    return size_um, choice or "square"


def _analyze_images(
    file: Path,
    report: Path | None,
    time_zero_ns: float | None,
    t_range_ns: tuple[float, float] | None,
    save: bool,
    save_as: str | None,
    as_json: bool,
) -> None:
    """Find the diffusivities of a two-dimensional map."""
    fit, slices = fit_image_file(file, time_zero_ns=time_zero_ns, t_range_ns=t_range_ns)
    text = f"{file}\n{fit}"
    if report is not None:
        draw_images(fit, slices, report, title=file.name)
        text += f"\nreport: {report}"
    result = {**fit.to_dict(), "comparison": fit.comparison}
    if save:
        settings = {"two_d": True, "time_zero_ns": time_zero_ns, "t_range_ns": t_range_ns}
        result["saved_as"] = read_scan(file).save_analysis(fit, settings, save_as)
        text += f"\nkept in the file as: {result['saved_as']}"
    answer(result, text, as_json)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Show what a scan file holds, and the analyses kept in it."""
    scan = read_scan(ordinary_file(file))
    kept = read_analyses(file)
    stored = int(scan.stored.sum())
    result = {
        "file": str(file),
        "kind": scan.plan.kind,
        "sample": scan.plan.sample,
        "operator": scan.plan.operator,
        "created": scan.header.created,
        "software": scan.header.software,
        "simulated": scan.header.simulated,
        "positions": scan.plan.place_count,
        "passes": scan.plan.passes,
        "bins": scan.header.bins,
        "time_bin_ps": scan.header.time_bin_ps,
        "visits_planned": scan.plan.visit_count,
        "visits_stored": stored,
        "ending": scan.ending,
        "counts": int(scan.position_counts.sum()),
        "analyses": [
            {
                "name": one.name,
                "result": one.result,
                "program": one.program,
                "version": one.version,
                "date": one.date,
                "visits": one.visits,
                "settings": one.settings,
                "values": one.numbers(),
            }
            for one in kept
        ],
    }
    text = (
        f"{file}: {scan.plan.kind}, {stored} of {scan.plan.visit_count} visits, "
        f"{scan.plan.place_count} positions, {scan.header.bins} bins of "
        f"{scan.header.time_bin_ps:g} ps, {result['counts']} counts\n"
        f"{scan.plan.sample or 'no sample named'}, {scan.header.created}, {scan.header.software}"
    )
    answer(result, "\n".join([text, *(_in_words(one, stored) for one in kept)]), as_json)


def _in_words(kept: Analysis, stored: int) -> str:
    of = "" if kept.visits == stored else f", of {kept.visits} visits only"
    heading = f"\n{kept.name} ({kept.date}, {kept.program} {kept.version}{of})"
    return f"{heading}\n{textwrap.indent(kept.text, '  ')}"


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
