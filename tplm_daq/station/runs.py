"""Scans and series in the thread that owns the instrument."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tplm_config import InputError, InstrumentProfile, ScanPlan, SeriesPlan
from tplm_daq.control import Controls
from tplm_daq.events import Observer
from tplm_daq.live import LiveFit
from tplm_daq.runner import Runner, RunOutcome
from tplm_daq.series import Series, SeriesOutcome
from tplm_daq.session import begin, finish_complete, go_on, measure, profile_for
from tplm_daq.station.owner import Owner
from tplm_daq.store import ScanWriter, read_scan
from tplm_daq.watchdog import Watchdog
from tplm_drivers import Instrument

if TYPE_CHECKING:
    from tplm_analysis import MapSoFar

OpenFile = Callable[[Instrument], ScanWriter]


class Shown(Protocol):
    """How a run becomes visible, for as long as it goes on."""

    def __call__(
        self,
        kind: str,
        path: Path,
        plan: str,
        controls: Controls,
        fit: "Callable[[], MapSoFar | None]",
        clock: Callable[[], float],
    ) -> AbstractContextManager[Observer]:
        """Show a run; gives what its events are told to."""


class Runs:
    """Carries out scans and series with the instrument of an owner.

    Parameters
    ----------
    owner : Owner
        Of the instrument; every method here belongs to its thread.
    shown : callable
        Makes a run visible.
    """

    def __init__(self, owner: Owner, shown: Shown) -> None:
        self._owner = owner
        self._shown = shown

    def scan(self, plan: ScanPlan, out: Path, watchdog: bool) -> RunOutcome:
        """Measure a plan into a new file; the instrument stays open, in the dark."""
        runner = Runner()
        with self._owner.obeying(runner), self._owner.lent() as instrument:
            return self._measure(
                runner, instrument, out, lambda open_: begin(open_, plan, out), watchdog
            )

    def resume_scan(self, path: Path, watchdog: bool) -> RunOutcome | str:
        """Measure what a file still lacks; a sentence if that is nothing.

        A real instrument takes over the calibration kept in the file. A simulation is opened
        anew as the file says, and draws other photons.
        """
        runner = Runner()
        with self._owner.obeying(runner):
            return self._resume(runner, path, watchdog)

    def _resume(self, runner: Runner, path: Path, watchdog: bool) -> RunOutcome | str:
        scan = read_scan(path)
        if scan.complete:
            return finish_complete(scan) or "nothing was left to measure"
        kept, owner = profile_for(scan), self._owner

        def measure_rest(instrument: Instrument) -> RunOutcome:
            return self._measure(
                runner, instrument, path, lambda open_: go_on(open_, path), watchdog
            )

        if scan.header.simulated:
            simulation = kept.simulation.model_copy(
                update={"speed": owner.profile.simulation.speed}
            )
            again = kept.model_copy(update={"simulation": simulation})
            with self._reconnected(), owner.open(again) as instrument:
                return measure_rest(instrument)
        _check_name(path, kept, owner.profile)
        with owner.lent() as instrument:
            return measure_rest(replace(instrument, profile=_calibrated(instrument.profile, kept)))

    @contextmanager
    def _reconnected(self) -> Iterator[None]:
        """Nothing is open meanwhile; what was open is opened again."""
        was_open = self._owner.instrument is not None
        self._owner.let_go()
        try:
            yield
        finally:
            if was_open:
                self._owner.connect()

    def _measure(
        self, runner: Runner, instrument: Instrument, path: Path, open_file: OpenFile,
        watchdog: bool,
    ) -> RunOutcome:  # fmt: skip
        owner = self._owner
        with ExitStack() as stack:
            dog = None
            if watchdog:
                dog = stack.enter_context(
                    Watchdog(instrument.profile, path, runner.emit, simulated=owner.simulated)
                )
            writer = stack.enter_context(open_file(instrument))
            live = stack.enter_context(LiveFit(read_scan(writer.path)))
            show = stack.enter_context(self._shown(
                "scan", path, writer.plan.kind, runner, lambda: live.latest, instrument.clock.now_s
            ))  # fmt: skip
            if dog is not None:
                dog.watch(runner, writer.plan)
            return measure(runner, instrument, writer, [show, live])

    # -- series ----------------------------------------------------------------------------

    def series(self, plan: SeriesPlan, folder: Path, watchdog: bool) -> SeriesOutcome:
        """Measure a series into a new folder, beginning with the instrument as it is open."""
        owner = self._owner
        open_one = owner.hand_over()
        given = [] if open_one is None else [open_one]

        def opener(profile: InstrumentProfile) -> Instrument:
            return given.pop() if given else owner.open(profile)

        series = Series(
            plan, owner.profile, folder, simulated=owner.simulated, opener=opener, live=True
        )
        try:
            return self._run(series, watchdog)
        finally:
            if given:  # it was not begun
                owner.take_back(given.pop())
            owner.connect()

    def resume_series(
        self, folder: Path, watchdog: bool, plan: SeriesPlan | None = None
    ) -> SeriesOutcome:
        """Measure what a series still lacks, as it began or by an edited plan."""
        owner = self._owner
        series = Series.reopen(folder, plan=plan, opener=owner.open, live=True)
        _check_name(folder, series.profile, owner.profile)
        if series.simulated is not owner.simulated:
            behind = "with simulators behind it" if series.simulated else "with real instruments"
            raise InputError(folder, f"the series began {behind}", "start the host likewise")
        with self._reconnected():
            return self._run(series, watchdog)

    def _run(self, series: Series, watchdog: bool) -> SeriesOutcome:
        owner = self._owner
        with ExitStack() as stack:
            stack.enter_context(owner.obeying(series))
            if watchdog:
                dog = Watchdog(
                    series.profile, series.folder, series.emit, simulated=owner.simulated
                )
                series.watch = stack.enter_context(dog).watch
            words = f"series of {series.plan.count} points"
            show = stack.enter_context(self._shown(
                "series", series.folder, words, series, series.latest_fit, time.monotonic
            ))  # fmt: skip
            series.subscribe(show)
            return series.run()


def _check_name(path: Path, kept: InstrumentProfile, now: InstrumentProfile) -> None:
    if kept.name != now.name:
        words = f"it began on '{kept.name}', and this is '{now.name}'"
        raise InputError(path, words, "start the host with that profile")


def _calibrated(now: InstrumentProfile, kept: InstrumentProfile) -> InstrumentProfile:
    """A profile with the calibration kept in a file."""
    axes = {"x": kept.detector_stage.x, "y": kept.detector_stage.y}
    wavelength = {"wavelength_nm": kept.laser.wavelength_nm}
    return now.model_copy(
        update={
            "optics": kept.optics,
            "detector_stage": now.detector_stage.model_copy(update=axes),
            "laser": now.laser.model_copy(update=wavelength),
        }
    )


__all__ = ["Runs"]
