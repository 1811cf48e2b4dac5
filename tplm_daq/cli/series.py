"""Commands of a series: sweep, its dry run, and going on with one."""

import contextlib
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from tplm_config import InstrumentProfile, SeriesPlan, load_profile, load_series
from tplm_daq.cli.options import (
    Number,
    json_option,
    profile_options,
    sample_options,
    sampled,
    set_option,
    watchdog_option,
)
from tplm_daq.cli.output import answer, stderr
from tplm_daq.cli.progress import GoOnKey
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    PointEnded,
    PointStarted,
    RunStarted,
    RunState,
    SeriesEnded,
    SeriesStarted,
    StateChanged,
    TimeShared,
    VisitStored,
)
from tplm_daq.host import Host
from tplm_daq.prediction import COUNT_RATE_HZ, D_CM2_PER_S
from tplm_daq.series import Forecast, Series, SeriesOutcome, forecast, foresee, propose
from tplm_daq.series.engine import LOG
from tplm_daq.series.picture import PICTURE
from tplm_daq.series.results import (
    SUMMARY,
    arrhenius_of,
    relaxation_of,
    swept_alone,
    trend_of,
)
from tplm_daq.session import stopping_on_signals
from tplm_daq.watchdog import Watchdog

EXIT_CODES = {Ending.COMPLETED: 0, Ending.STOPPED: 3, Ending.ABORTED: 3, Ending.FAILED: 4}


class SeriesProgress:
    """An observer that draws the points, the visits of this one, D so far and the time left.

    Parameters
    ----------
    console : Console
        Where to draw; on anything but a terminal each point and each fault is one line.
    series : Series
        Where the newest D comes from.
    predicted_s : list of float
        How long each point should take, for the time left.
    """

    def __init__(self, console: Console, series: Series, predicted_s: list[float]) -> None:
        self._console = console
        self._series = series
        self._predicted_s = predicted_s
        self._began: datetime | None = None
        self._done_s = 0.0
        self._point = 0
        self._share = 0.0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[cyan]{task.fields[words]}"),
            console=console,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._points = self._progress.add_task("points", total=len(predicted_s), words="")
        self._visits = self._progress.add_task("visits", total=None, words="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Draw what happened."""
        match event:
            case SeriesStarted(folder, planned, to_do):
                self._began = datetime.now().astimezone()
                self._progress.update(self._points, completed=planned - to_do)
                self._console.print(f"{folder}: {to_do} of {planned} points to measure")
            case PointStarted(index, label, attempt):
                self._point, self._share = index, 0.0
                again = f", attempt {attempt}" if attempt > 1 else ""
                self._progress.update(self._points, description=f"point {index}: {label}{again}")
                self._progress.update(self._visits, total=None, completed=0, words="")
            case TimeShared(why=why):
                self._console.print(why, markup=False)
            case RunStarted(planned, to_do):
                self._progress.update(self._visits, total=planned, completed=planned - to_do)
            case VisitStored(_, _, done, to_do):
                self._share = done / (done + to_do)
                self._progress.advance(self._visits)
                self._progress.update(self._visits, words=self._diffusivity())
                self._progress.update(self._points, words=self._time_left())
            case PointEnded(index, ending, message, file, d, error):
                if ending is Ending.COMPLETED:
                    self._done_s += self._predicted_s[index]
                    self._share = 0.0
                    self._progress.advance(self._points)
                known = "no D" if d is None else f"D = {d:.4f} ± {error or 0:.4f} cm²/s"
                words = known if ending is Ending.COMPLETED else f"{ending}: {message}"
                self._console.print(f"point {index} ({file}): {words}", markup=False)
            case StateChanged(RunState.PAUSED, why):
                self._console.print(f"paused: {why}", markup=False)
            case Notice("info", "waiting", message):
                self._progress.update(self._visits, words=message)
            case Notice(level, code, message) if level != "info" or code == "reopened":
                self._console.print(f"{level}: {message}", markup=False)
            case SeriesEnded(ending, message):
                self._console.print(f"series {ending}: {message}", markup=False)

    def _diffusivity(self) -> str:
        fit = self._series.latest_fit()
        if fit is None or fit.d_cm2_per_s is None or fit.d_stderr_cm2_per_s is None:
            return "D …"
        return f"D {fit.d_cm2_per_s:.4f} ± {fit.d_stderr_cm2_per_s:.4f} cm²/s"

    def _time_left(self) -> str:
        """What is left by the prediction, at the pace so far."""
        gone_s = self._done_s + self._share * self._predicted_s[self._point]
        if self._began is None or gone_s <= 0:
            return ""
        waiting = (
            e.index for e in self._series.manifest.points if e.state in ("waiting", "running")
        )
        left_s = sum(self._predicted_s[i] for i in waiting)
        left_s -= self._share * self._predicted_s[self._point]
        elapsed_s = (datetime.now().astimezone() - self._began).total_seconds()
        return f"{_duration(left_s * elapsed_s / gone_s)} left"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02.0f} s"


def measure_series(ctx: click.Context, series: Series, watchdog: bool, as_json: bool) -> NoReturn:
    """Run a series with progress, log and channel, print what came out, and leave."""
    predicted_s = [
        each.duration_s
        for each in forecast(series.plan, series.profile, COUNT_RATE_HZ, None, series.source)
    ]
    console = stderr()
    with ExitStack() as stack:
        stack.enter_context(stopping_on_signals(series))
        host = stack.enter_context(
            Host(
                series, series.folder, doing="series", plan=f"series of {series.plan.count} points",
                fit=series.latest_fit, tell=series.emit,
            )
        )  # fmt: skip
        if host.problem is not None:
            console.print(f"warning: {host.problem}", markup=False)
        if watchdog:
            dog = Watchdog(series.profile, series.folder, series.emit, simulated=series.simulated)
            series.watch = stack.enter_context(dog).watch
        series.subscribe(host)
        series.subscribe(stack.enter_context(SeriesProgress(console, series, predicted_s)))
        series.subscribe(GoOnKey(console, series.resume))
        outcome = series.run()
    answer(_as_json(series, outcome), _in_words(series, outcome), as_json)
    ctx.exit(EXIT_CODES[outcome.ending])


def _as_json(series: Series, outcome: SeriesOutcome) -> dict[str, Any]:
    manifest = outcome.manifest
    return {
        "folder": str(series.folder),
        "profile": series.profile.name,
        "ending": outcome.ending,
        "message": outcome.message,
        "laser_off": series.safe_state.laser_off,
        "shutter_closed": series.safe_state.shutter_closed,
        "points_planned": len(manifest.points),
        "points_done": sum(entry.state == "done" for entry in manifest.points),
        "points": [entry.model_dump(mode="json") for entry in manifest.points],
        "set_aside": list(manifest.set_aside),
        "summary": manifest.summary,
    }


def _in_words(series: Series, outcome: SeriesOutcome) -> str:
    points = outcome.manifest.points
    done = sum(entry.state == "done" for entry in points)
    lines = [
        f"{series.folder}: {outcome.ending}, {done} of {len(points)} points ({outcome.message})"
    ]
    for entry in points:
        r = entry.result
        known = "no D" if r is None or r.d_cm2_per_s is None else (
            f"D = {r.d_cm2_per_s:.4f} ± {r.d_stderr_cm2_per_s or 0:.4f} cm²/s"
        )  # fmt: skip
        lines.append(f"  {entry.index:3d}  {entry.label:32}  {entry.state:8}  {known}")
    curve, why = relaxation_of(points)
    if curve is not None or why:
        lines.append(f"relaxation: {curve or why}")
    swept = swept_alone(points)
    if swept is not None:
        lines.append(f"against {swept}: {trend_of(points, swept)}")
    if swept == "temperature_k":
        activation, why = arrhenius_of(points)
        lines.append(f"activation: {activation or why}")
    if series.plan.share is not None:
        proposal = propose(points, series.plan, series.profile)
        lines.append(f"next: {proposal or 'there is no curve yet to propose a point by'}")
    lines.append(f"left in {series.folder}: {SUMMARY}, {PICTURE}, {LOG}, one .h5 for each point")
    return "\n".join(lines)


def foretell(
    plan: SeriesPlan,
    profile: InstrumentProfile,
    source: str,
    as_json: bool,
    count_rate_hz: float = COUNT_RATE_HZ,
    d_cm2_per_s: float = D_CM2_PER_S,
) -> None:
    """Print every point before anything is opened."""
    points = forecast(plan, profile, count_rate_hz, d_cm2_per_s, source)
    shared = foresee(plan, profile, count_rate_hz, source)
    now = datetime.now().astimezone()
    end = points[-1].ends_at(now)
    disk_bytes = sum(p.disk_bytes for p in points)
    result = {
        "plan": source,
        "profile": profile.name,
        "kind": plan.kind,
        "points": [{**asdict(p), "ends": _clock(p.ends_at(now))} for p in points],
        "duration_s": points[-1].ends_s,
        "ends": _clock(end),
        "disk_bytes": disk_bytes,
        "assumed_d_cm2_per_s": d_cm2_per_s,
        "assumed_count_rate_hz": count_rate_hz,
    }
    if shared is not None and plan.share is not None:
        result["shared"] = {
            "wanted": plan.share.so_that,
            "stderr": shared.stderr,
            "even_stderr": shared.even_stderr,
            "passes_s": shared.passes_s.tolist(),
        }
    head = (
        "point  power    rate     fluence   <N>      between   counts    σ_D      duration  ends\n"
        "       nW       MHz      µJ/cm²              µs                  cm²/s"
    )
    lines = [f"{source}: {len(points)} points on '{profile.name}'", head]
    lines += [_row(point, now) for point in points]
    lines.append(
        f"{_duration(points[-1].ends_s)}, until {end:%a %d %b %H:%M}; "
        f"{disk_bytes / 1e6:.0f} MB while measuring\n"
        f"counts and σ_D for {count_rate_hz:g} counts/s at the centre of the brightest point and "
        + (f"D = {d_cm2_per_s:g} cm²/s" if shared is None else "D by the guesses of [share]")
    )
    if shared is not None and plan.share is not None:
        name, unit = ("τ", "µs") if plan.share.so_that == "tau" else ("slope", "cm²/s per unit")
        lines.append(
            f"the time is shared so that {name} is known best: to ± {shared.stderr:.2g} {unit}; "
            f"with even shares to ± {shared.even_stderr:.2g}. It is shared anew before each point"
        )
    answer(result, "\n".join(lines), as_json)


def _row(point: Forecast, now: datetime) -> str:
    rate_mhz = None if point.repetition_rate_hz is None else point.repetition_rate_hz / 1e6
    numbers = (
        point.power_nw, rate_mhz, point.fluence_uj_per_cm2, point.mean_excitons,
        point.time_between_excitations_us, point.expected_counts, point.d_stderr_cm2_per_s,
    )  # fmt: skip
    cells = "  ".join("–      " if n is None else f"{n:<7.3g}" for n in numbers)
    ends = f"{point.ends_at(now):%H:%M:%S}"
    return f"{point.index:5d}  {cells}  {_duration(point.duration_s):12}  {ends}  {point.label}"


def _clock(when: datetime) -> str:
    return when.isoformat(timespec="seconds")


@click.command()
@click.argument("plan")
@profile_options
@sample_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder to make.")
@set_option("--set", "plan")
@click.option("--dry-run", is_flag=True, help="Print every point and when it ends; open nothing.")
@click.option(
    "--count-rate-hz", type=Number(1e-3, 1e12), default=COUNT_RATE_HZ, show_default=True,
    help="Count rate at the centre of the brightest point that a dry run assumes.",
)  # fmt: skip
@click.option(
    "--d-cm2-per-s", type=Number(0, 1e3), default=D_CM2_PER_S, show_default=True,
    help="Diffusivity that a dry run assumes.",
)  # fmt: skip
@watchdog_option
@json_option
@click.pass_context
def sweep(
    ctx: click.Context,
    plan: str,
    profile: str,
    set_profile: tuple[str, ...],
    simulated: bool,
    sample: str | None,
    sample_set: tuple[str, ...],
    out: Path | None,
    set: tuple[str, ...],
    dry_run: bool,
    count_rate_hz: float,
    d_cm2_per_s: float,
    watchdog: bool,
    as_json: bool,
) -> None:
    """Carry out a series: PLAN is a TOML file or a bundled name such as 'power-series'."""
    found = load_series(plan, set)
    instrument = sampled(
        load_profile(profile, set_profile), sample, sample_set, simulated=simulated
    )
    if dry_run:
        foretell(found, instrument, plan, as_json, count_rate_hz, d_cm2_per_s)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.", ctx)
    series = Series(found, instrument, out, simulated=simulated, live=True, source=plan)
    measure_series(ctx, series, watchdog, as_json)


def resume_series(
    ctx: click.Context,
    folder: Path,
    plan: str | None,
    profile: str | None,
    set_profile: tuple[str, ...],
    simulated: bool,
    watchdog: bool,
    as_json: bool,
) -> NoReturn:
    """Go on with the series in a folder, with an edited plan if one is named."""
    series = Series.reopen(
        folder,
        plan=None if plan is None else load_series(plan),
        profile=None if profile is None else load_profile(profile, set_profile),
        simulated=simulated or None,
        live=True,
    )
    measure_series(ctx, series, watchdog, as_json)
