"""What a running scan shows in the terminal, and the key that lets a paused one go on."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
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
    Decided,
    Event,
    Notice,
    Rates,
    RunEnded,
    RunStarted,
    RunState,
    StateChanged,
    VisitMeasured,
    VisitStored,
)
from tplm_daq.live import LiveFit
from tplm_daq.visiting import PILE_UP_SHARE

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
            TextColumn("{task.fields[rates]}"),
            TextColumn("[cyan]{task.fields[diffusivity]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(
            "preparing", total=None, where="", rates="", diffusivity=""
        )

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
            case Rates():
                self._progress.update(self._task, rates=rates_text(event, self._console.width))
            case Decided(needed_s=needed_s) if needed_s is not None:
                words = f"scanning, about {needed_s / 60:.1f} min to the goal"
                self._progress.update(self._task, description=words)
            case VisitStored():
                self._progress.advance(self._task)
            case StateChanged(state, why) if why:
                self._console.print(f"[yellow]{state}[/]: {why}")
            case Notice("info", "records", message):
                self._console.print(message)
            case Notice("info", "waiting", message):
                self._progress.update(self._task, where=message)
            case Notice(level, _, message) if level != "info":
                self._console.print(f"[yellow]{level}[/]: {message}")
            case RunEnded(ending, message, _, safe_state):
                self._console.print(f"{ending}: {message} ({safe_state})")


class GoOnKey:
    """An observer that lets a paused run go on when somebody presses Enter.

    Parameters
    ----------
    console : Console
        Where to say so.
    go_on : callable
        Called for it.
    """

    def __init__(self, console: Console, go_on: Callable[[], None]) -> None:
        self._console = console
        self._go_on = go_on
        self._waiting = False

    def __call__(self, event: Event) -> None:
        """Begin to listen when the run pauses."""
        match event:
            case StateChanged(RunState.PAUSED) if not self._waiting and _somebody_types():
                self._console.print("press Enter to go on, Ctrl-C to end")
                self._waiting = True
                threading.Thread(target=self._listen, name="Enter key", daemon=True).start()

    def _listen(self) -> None:
        pressed = sys.stdin.readline()
        self._waiting = False
        if pressed:  # the end of the input is nobody's wish
            self._go_on()


def _somebody_types() -> bool:
    """Whether keys pressed in a terminal reach this process."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    if os.name == "nt":
        return True
    # the system would freeze a process of the background that reads its terminal
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


def rates_text(rates: Rates, width: int = WIDE) -> str:
    """Count rate, its share of the pulses, and the brightest bin; yellow when pile-up begins."""
    text = f"{rates.count_rate_hz:.3g}/s, {rates.share:.2%}"
    if width >= WIDE:
        text += f" of {rates.sync_rate_hz / 1e6:.4g} MHz"
    if width >= WIDE and rates.brightest_bin is not None:
        text += f", brightest bin {rates.brightest_bin:,}"
    return f"[yellow]{text}[/]" if rates.share > PILE_UP_SHARE else text


def diffusivity_text(live: LiveFit) -> str:
    """D ± σ so far, or nothing yet."""
    fit = live.latest
    if live.failure is not None:
        return "D: fit failed"
    if fit is None or fit.d_cm2_per_s is None or fit.d_stderr_cm2_per_s is None:
        return "D …"
    return f"D {fit.d_cm2_per_s:.4f} ± {fit.d_stderr_cm2_per_s:.4f} cm²/s"
