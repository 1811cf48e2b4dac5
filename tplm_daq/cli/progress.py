"""The progress bar of a scan."""

import contextlib
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from tplm_daq.events import (
    Event,
    Notice,
    RunEnded,
    RunStarted,
    StateChanged,
    VisitMeasured,
    VisitStored,
)
from tplm_daq.live import LiveFit

WIDE = 110
"""Columns from which the place and its counts have room too."""


class ScanProgress:
    """An observer that draws position, counts, D ± σ so far and the time left.

    Parameters
    ----------
    console : Console
        Where to draw; on anything but a terminal only notices and the ending are written.
    live : LiveFit
        Where D comes from.
    """

    def __init__(self, console: Console, live: LiveFit) -> None:
        self._console = console
        self._live = live
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24 if console.width >= WIDE else 8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[where]}"),
            TextColumn("[cyan]{task.fields[diffusivity]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("preparing", total=None, where="", diffusivity="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone; the run is not its affair
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Draw what happened."""
        match event:
            case RunStarted():
                self._progress.update(
                    self._task, description="scanning", total=event.visits_planned,
                    completed=event.visits_planned - event.visits_to_do,
                )  # fmt: skip
            case VisitMeasured(record):
                visit = record.visit
                counts = f"{record.counts.sum(dtype=int):,} counts"
                where = f"{visit.kind} x {visit.x_um:+.2f} y {visit.y_um:+.2f} µm  {counts}"
                if self._console.width < WIDE:
                    where = ""
                self._progress.update(
                    self._task, where=where, diffusivity=diffusivity_text(self._live)
                )
            case VisitStored():
                self._progress.advance(self._task)
            case StateChanged(state, why) if why:
                self._console.print(f"[yellow]{state}[/]: {why}")
            case Notice("info", "waiting", message):
                self._progress.update(self._task, where=message)
            case Notice(level, _, message) if level != "info":
                self._console.print(f"[yellow]{level}[/]: {message}")
            case RunEnded(ending, message, _, safe_state):
                self._console.print(f"{ending}: {message} ({safe_state})")


def diffusivity_text(live: LiveFit) -> str:
    """D ± σ so far, or nothing yet."""
    fit = live.latest
    if live.failure is not None:
        return "D: fit failed"
    if fit is None or fit.d_cm2_per_s is None or fit.d_stderr_cm2_per_s is None:
        return "D …"
    return f"D {fit.d_cm2_per_s:.4f} ± {fit.d_stderr_cm2_per_s:.4f} cm²/s"
