"""Commands that measure: demo, scan, resume."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tplm_analysis import MapFit
from tplm_config import (
    InputError,
    InstrumentProfile,
    load_plan,
    load_profile,
)
from tplm_daq.analysis import fit_scan
from tplm_daq.cli.options import (
    json_option,
    picture_option,
    profile_options,
    sample_options,
    sampled,
    set_option,
    simulated_option,
    watchdog_option,
)
from tplm_daq.cli.output import answer, stderr
from tplm_daq.cli.progress import GoOnKey, ScanProgress
from tplm_daq.cli.series import resume_series
from tplm_daq.events import Ending, Observer
from tplm_daq.host import Host
from tplm_daq.live import LiveFit
from tplm_daq.log import EventLog
from tplm_daq.report import draw_report
from tplm_daq.runner import Runner, RunOutcome
from tplm_daq.session import (
    begin,
    finish_complete,
    go_on,
    measure,
    profile_for,
    stopping_on_signals,
)
from tplm_daq.store import Scan, ScanWriter, read_scan
from tplm_daq.store.files import replacing
from tplm_daq.watchdog import Watchdog
from tplm_drivers import Instrument, SafeState, connect

EXIT_CODES = {
    Ending.COMPLETED: 0,
    Ending.STOPPED: 3,
    Ending.ABORTED: 3,
    Ending.FAILED: 4,
}

DEMO_D_CM2_PER_S = 0.05


@dataclass(frozen=True)
class Measured:
    """A scan and how its run ended."""

    outcome: RunOutcome
    scan: Scan
    fit: MapFit | None

    @property
    def exit_code(self) -> int:
        """What the command returns."""
        return EXIT_CODES[self.outcome.ending]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        safe = self.outcome.safe_state
        return {
            "file": str(self.scan.path),
            "profile": self.profile_name,
            "simulated": self.is_simulated,
            "ending": self.outcome.ending,
            "message": self.outcome.message,
            "visits_stored": int(self.scan.stored.sum()),
            "visits_planned": self.scan.plan.visit_count,
            "laser_off": safe.laser_off,
            "shutter_closed": safe.shutter_closed,
            "fit": None if self.fit is None else self.fit.to_dict(),
        }

    @property
    def profile_name(self) -> str | None:
        """Which instrument measured."""
        profile = self.scan.header.profile
        return None if profile is None else profile.name

    @property
    def is_simulated(self) -> bool:
        """Whether the counts come from the virtual microscope."""
        return self.scan.header.simulated

    def __str__(self) -> str:
        where = f"profile '{self.profile_name}'"
        if self.is_simulated:
            where = f"the virtual microscope, {where}"
        run = (
            f"{self.scan.path}: {self.outcome.ending}, {int(self.scan.stored.sum())} of "
            f"{self.scan.plan.visit_count} visits on {where} ({self.outcome.message})"
        )
        return run if self.fit is None else f"{run}\n{self.fit}"


def run(
    profile: InstrumentProfile,
    path: Path,
    open_file: Callable[[Instrument], ScanWriter],
    log: str | None = None,
    simulated: bool = False,
    watchdog: bool = True,
) -> Measured:
    """Measure with the instrument of a profile what a file still lacks, and fit it."""
    runner = Runner()
    with ExitStack() as stack:
        stack.enter_context(stopping_on_signals(runner))
        record = None if log is None else stack.enter_context(EventLog(log))
        dog = None
        if watchdog:
            # outside the instrument: it lets go only after that has
            dog = stack.enter_context(Watchdog(profile, path, runner.emit, simulated=simulated))
        instrument = stack.enter_context(connect(profile, simulated=simulated))
        writer = stack.enter_context(open_file(instrument))
        live = stack.enter_context(LiveFit(read_scan(writer.path)))
        progress = stack.enter_context(ScanProgress(stderr(), live))
        keys = GoOnKey(stderr(), runner.resume)
        host = stack.enter_context(
            Host(
                runner, path, plan=writer.plan.kind, fit=lambda: live.latest,
                clock=instrument.clock.now_s, tell=record,
            )
        )  # fmt: skip
        if host.problem is not None:
            stderr().print(f"warning: {host.problem}", markup=False)
        if dog is not None:
            dog.watch(runner, writer.plan)
        observers: list[Observer] = [host, live, progress, keys]
        observers += [] if record is None else [record]
        outcome = measure(runner, instrument, writer, observers)
    scan_ = read_scan(writer.path)
    return Measured(outcome, scan_, fit_scan(scan_) if scan_.exposure_s.any() else None)


def _finish(ctx: click.Context, measured: Measured, report: Path | None, as_json: bool) -> None:
    """Print the result, draw the report, and leave with the exit code of the run."""
    text = str(measured)
    if report is not None and measured.fit is not None:
        try:
            draw_report(measured.scan.map(), measured.fit, report, title=title_of(measured.scan))
            text += f"\nreport: {report}"
        except InputError as error:  # the scan is done and kept, whatever became of its picture
            stderr().print(f"warning: {error}", markup=False)
    answer(measured.to_dict(), text, as_json)
    ctx.exit(measured.exit_code)


def title_of(scan: Scan) -> str:
    """What stands over the picture of a scan."""
    parts = (scan.path.name, scan.plan.sample, scan.plan.operator, scan.header.created[:10])
    return ", ".join(part for part in parts if part)


@click.command()
@click.argument("plan")
@profile_options
@sample_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="HDF5 file to make.")
@set_option("--set", "plan")
@click.option("--operator", help="Who measures; kept in the file.")
@click.option("--notes", help="Free text; kept in the file.")
@click.option("--report", callback=picture_option, help="Also draw a picture (PNG, PDF, SVG).")
@click.option("--log", help="Also write every event to this file, one JSON object a line.")
@watchdog_option
@json_option
@click.pass_context
def scan(
    ctx: click.Context,
    plan: str,
    profile: str,
    set_profile: tuple[str, ...],
    simulated: bool,
    sample: str | None,
    sample_set: tuple[str, ...],
    out: Path,
    set: tuple[str, ...],
    operator: str | None,
    notes: str | None,
    report: Path | None,
    log: str | None,
    watchdog: bool,
    as_json: bool,
) -> None:
    """Carry out one scan: PLAN is a TOML file or a bundled name such as 'line'."""
    words = {"operator": operator, "notes": notes}
    overrides = [*set, *(f"{k}={json.dumps(v)}" for k, v in words.items() if v is not None)]
    found = load_plan(plan, overrides)
    instrument_profile = sampled(
        load_profile(profile, set_profile), sample, sample_set, simulated=simulated
    )
    if log is not None and Path(log).resolve() == out.resolve():
        raise InputError(log, "the log and the scan cannot be one file", "give it another name")
    measured = run(
        instrument_profile,
        out,
        lambda open_: begin(open_, found, out, plan),
        log,
        simulated,
        watchdog,
    )
    _finish(ctx, measured, report, as_json)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--plan", help="Of a series: an edited plan; what is done already is kept.")
@click.option("--profile", help="Use this profile instead of the one kept in the file.")
@set_option("--set-profile", "profile")
@simulated_option
@click.option("--report", callback=picture_option, help="Also draw a picture (PNG, PDF, SVG).")
@click.option("--log", help="Also write every event to this file, one JSON object a line.")
@watchdog_option
@json_option
@click.pass_context
def resume(
    ctx: click.Context,
    file: Path,
    plan: str | None,
    profile: str | None,
    set_profile: tuple[str, ...],
    simulated: bool,
    report: Path | None,
    log: str | None,
    watchdog: bool,
    as_json: bool,
) -> None:
    """Go on with a scan that was stopped or killed, in the same file, or a series in its folder."""
    if file.is_dir():
        resume_series(ctx, file, plan, profile, set_profile, simulated, watchdog, as_json)
    if plan is not None:
        raise InputError(file, "another plan is for the folder of a series", "leave --plan out")
    found = read_scan(file)
    if found.complete:
        left = finish_complete(found)
        if left is not None:
            stderr().print(f"warning: {left}", markup=False)
        untouched = SafeState(laser_off=None, shutter_closed=None)
        nothing = RunOutcome(Ending.COMPLETED, "nothing was left to measure", 0, untouched)
        _finish(ctx, Measured(nothing, found, fit_scan(found)), report, as_json)
    instrument_profile = profile_for(found, profile, set_profile)
    measured = run(
        instrument_profile, file, lambda open_: go_on(open_, file), log, simulated, watchdog
    )
    _finish(ctx, measured, report, as_json)


@click.command()
@click.option(
    "--out", default="tplm-demo", show_default=True, type=click.Path(path_type=Path),
    help="Folder for the scan file, the result and the picture.",
)  # fmt: skip
@json_option
@click.pass_context
def demo(ctx: click.Context, out: Path, as_json: bool) -> None:
    """Measure a simulated film, from the instrument to the report picture."""
    film, result, picture = (out / f"film.{kind}" for kind in ("h5", "json", "png"))
    plan = load_plan("line", ['sample="simulated film"', 'operator="tplm demo"'])
    try:
        out.mkdir(parents=True, exist_ok=True)
        if film.exists():
            if read_scan(film).plan != plan:
                raise InputError(film, "this is not the demo's own file", "choose another --out")
            film.unlink()  # of last time
    except OSError as error:
        raise InputError(out, f"the folder cannot be used ({error.strerror})") from None
    profile = load_profile("simulated", [f"simulation.sample.d_cm2_per_s={DEMO_D_CM2_PER_S}"])
    measured = run(profile, film, lambda open_: begin(open_, plan, film, "line"))
    report = {**measured.to_dict(), "true_d_cm2_per_s": DEMO_D_CM2_PER_S}
    with replacing(result) as temporary:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        temporary.write_text(text, encoding="utf-8")
    if measured.fit is not None:
        draw_report(measured.scan.map(), measured.fit, picture, title=title_of(measured.scan))
    words = f"{measured}\nbuilt into the film: D = {DEMO_D_CM2_PER_S} cm²/s"
    answer(report, f"{words}\nleft in {out}: {film.name}, {result.name}, {picture.name}", as_json)
    ctx.exit(measured.exit_code)
