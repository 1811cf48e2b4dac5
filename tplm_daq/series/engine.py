"""The engine of a series: one scan file for each point, and a manifest that survives anything."""

import itertools
import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import filelock

from tplm_analysis import MapSoFar
from tplm_config import (
    InputError,
    InstrumentProfile,
    ScanPlan,
    SeriesPlan,
    load_profile,
    load_series,
    parse_profile,
    parse_series,
    to_toml,
)
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    Observer,
    PointEnded,
    PointsReordered,
    PointStarted,
    SeriesEnded,
    SeriesStarted,
    VisitStored,
    to_json,
)
from tplm_daq.live import LiveFit
from tplm_daq.log import EventLog
from tplm_daq.runner import Runner, sentence
from tplm_daq.series.manifest import (
    MANIFEST,
    Entry,
    Manifest,
    Result,
    read_manifest,
    write_manifest,
)
from tplm_daq.series.notify import call
from tplm_daq.series.picture import draw_series
from tplm_daq.series.points import check_series
from tplm_daq.series.results import SUMMARY, result_of, summarise, write_table
from tplm_daq.series.sharing import SharedTime, propose
from tplm_daq.session import begin, finish_complete, go_on, measure, stopping_on_signals
from tplm_daq.store import Scan, read_scan
from tplm_daq.store.files import sync_folder
from tplm_daq.wall import utc_now
from tplm_drivers import Clock, DeviceError, Instrument, SafeState, connect

LOG = "log.jsonl"
TIME_IS_OVER = (
    "the time to share is over; with a longer share.time_s, tplm resume FOLDER --plan PLAN goes on"
)
Opener = Callable[[InstrumentProfile], Instrument]


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """How a series ended."""

    ending: Ending
    message: str
    manifest: Manifest
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one try at a point ended."""

    ending: Ending
    message: str
    visits: int = 0
    error: Exception | None = None


class Series:
    """A series in a folder; ``run()`` measures whatever is not measured yet.

    ::

        points:  waiting ──► running ──► done
                    ▲           │ a device failed: everything is closed and opened again, and
                    │           │ the point goes on in its file, a few times ──► failed
                    └───────────┘ stop, abort, a crash

    The scan files are the truth: a point is done when its file holds every visit of its plan.
    The manifest says which file belongs to which point, and keeps the results.

    Pause, resume, stop, abort and emergency may be asked from any thread or a signal handler at
    any time; they reach the scan that runs, and every later one.

    Parameters
    ----------
    plan : SeriesPlan
        What to measure.
    profile : InstrumentProfile
        On which instrument.
    folder : Path
        Where everything goes.
    simulated : bool
        Connect the profile's own drivers to simulators of their instruments.
    opener : callable, optional
        How to open the instrument; `tplm_drivers.connect` if not given.
    live : bool
        Keep the newest fit of the running scan in `live`.
    watch : callable, optional
        Called with each runner and its scan before it runs, such as to have it watched.
    source : str
        Where the plan came from, for messages.
    """

    def __init__(
        self,
        plan: SeriesPlan,
        profile: InstrumentProfile,
        folder: str | Path,
        *,
        simulated: bool = False,
        opener: Opener | None = None,
        live: bool = False,
        watch: Callable[[Runner, ScanPlan], None] | None = None,
        source: str | Path = "series",
    ) -> None:
        self.plan = plan
        self.profile = profile
        self.folder = Path(folder)
        self.live: LiveFit | None = None
        self.simulated = simulated
        self._opener = opener or (lambda found: connect(found, simulated=simulated))
        self._with_live = live
        self.watch = watch
        self.source = source
        self._before: Manifest | None = None
        self._lost = ""
        self._manifest: Manifest | None = None
        self._scans: list[ScanPlan] = []
        self._observers: list[Observer] = []
        self._runner: Runner | None = None
        self._instrument: Instrument | None = None
        self._state = SafeState(laser_off=None, shutter_closed=None)
        self._opened = 0
        self._stored = 0
        self._failed_before = False
        self._closing = False
        self._paused = threading.Event()
        self._ended = threading.Event()
        self._changing = threading.RLock()
        self._begun: set[int] = set()
        self._shared: SharedTime | None = None
        self._request: Callable[[Runner], None] | None = None
        self._asked = Ending.STOPPED
        self._why = ""

    @classmethod
    def reopen(
        cls,
        folder: str | Path,
        *,
        plan: SeriesPlan | None = None,
        profile: InstrumentProfile | None = None,
        simulated: bool | None = None,
        opener: Opener | None = None,
        live: bool = False,
        watch: Callable[[Runner, ScanPlan], None] | None = None,
    ) -> Self:
        """A series that was begun before, to be continued by ``run()``.

        Parameters
        ----------
        folder : str or Path
            Of the series.
        plan : SeriesPlan, optional
            An edited plan; points done whose settings are still asked for are kept.
        profile : InstrumentProfile, optional
            Instead of the one it began with.
        simulated : bool, optional
            As it began, if not given.

        Raises
        ------
        InputError
            If there is no series in the folder. Where only its manifest is missing or damaged,
            the scan files are enough, if plan and profile are given.
        """
        lost = ""
        try:
            manifest = read_manifest(folder)
        except InputError as error:
            files = sorted(path.name for path in Path(folder).glob("p[0-9]*.h5"))
            if not files:
                raise
            if plan is None or profile is None:
                way = f"tplm resume {folder} --plan PLAN --profile PROFILE goes by the scan files"
                raise InputError(error.source, error.problem, way, error.key) from None
            lost = f"{error.problem}; the series goes on by its scan files"
            manifest = Manifest(
                created=utc_now(), plan=to_toml(plan), profile=to_toml(profile),
                simulated=bool(simulated), points=(), set_aside=tuple(files),
            )  # fmt: skip
        path = Path(folder) / MANIFEST
        series = cls(
            plan or parse_series(manifest.plan, f"{path} (its plan)"),
            profile or parse_profile(manifest.profile, f"{path} (its profile)"),
            folder,
            simulated=manifest.simulated if simulated is None else simulated,
            opener=opener,
            live=live,
            watch=watch,
            source=folder,
        )
        series._before, series._lost = manifest, lost
        return series

    # -- what may be asked -----------------------------------------------------------------

    def subscribe(self, observer: Observer) -> None:
        """Have an observer called for each event of the series and of its scans."""
        self._observers.append(observer)

    def pause(self) -> None:
        """Pause after this visit."""
        self._paused.set()
        if self._runner is not None:
            self._runner.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused.clear()
        if self._runner is not None:
            self._runner.resume()

    def stop(self, why: str = "stopped by the user after this visit") -> None:
        """End the series after this visit; `reopen` continues it."""
        self._end(Ending.STOPPED, why, lambda runner: runner.stop(why))

    def abort(self, why: str = "stopped by the user at once") -> None:
        """End the series now; only the running dwell is lost."""
        self._end(Ending.ABORTED, why, lambda runner: runner.abort(why))

    def emergency(self, why: str = "asked for by the user") -> None:
        """Block the laser before anything else, then end the series."""
        self._end(Ending.ABORTED, why, lambda runner: runner.emergency(why))

    def _end(self, ending: Ending, why: str, request: Callable[[Runner], None]) -> None:
        # no lock, for this may run in a signal handler: what is asked is kept first, so that
        # either the runner is told here, or the next one is told when it takes its place
        self._why, self._asked, self._request = self._why or why, ending, request
        self._ended.set()
        if self._runner is not None:
            request(self._runner)

    def reorder(self, order: Iterable[int]) -> tuple[int, ...]:
        """Measure points that have not begun in another order, also after a crash and a resume.

        Parameters
        ----------
        order : iterable of int
            Numbers of points; those that are left out come after them, in the order they had.

        Returns
        -------
        tuple of int
            Every point that has not begun, the next one first.

        Raises
        ------
        InputError
            If a point has begun, is named twice, or does not exist; nothing is changed.
        """
        first = tuple(order)
        with self._changing:
            if self._manifest is None:
                raise InputError("reorder", "the series has not begun", "ask again")
            waiting = self._waiting()
            for index in first:
                if not 0 <= index < len(self.manifest.points):
                    last = len(self.manifest.points) - 1
                    raise InputError("reorder", f"there is no point {index}", f"0 to {last} are")
                if index not in waiting:
                    label = self.manifest.points[index].label
                    words = f"point {index} ({label}) has begun or is over"
                    raise InputError("reorder", words, "only what has not begun can be moved")
                if first.count(index) > 1:
                    raise InputError("reorder", f"point {index} is named twice")
            new = first + tuple(index for index in waiting if index not in first)
            self._write(order=new)
        self.emit(PointsReordered(new))
        return new

    def _waiting(self) -> list[int]:
        """Points not done and not begun in this run, in the order of measurement."""
        points = self.manifest.points
        moved = [i for i in self.manifest.order if i < len(points)]
        listed = [i for i in range(len(points)) if i not in set(moved)] + moved
        return [i for i in listed if points[i].state != "done" and i not in self._begun]

    @property
    def finishing(self) -> bool:
        """Whether the instrument is being made safe, which nothing may interrupt."""
        return self._closing or (self._runner is not None and self._runner.finishing)

    @property
    def safe_state(self) -> SafeState:
        """What was read back when the instrument was last made safe."""
        return self._state

    def latest_fit(self) -> MapSoFar | None:
        """The newest fit of the scan that runs, from any thread; None where there is none."""
        live = self.live
        return None if live is None else live.latest

    @property
    def manifest(self) -> Manifest:
        """What is known about every point."""
        if self._manifest is None:
            raise RuntimeError("the series has not been run yet")
        return self._manifest

    # -- the whole series ------------------------------------------------------------------

    def run(self) -> SeriesOutcome:
        """Measure every point that is not measured yet.

        Returns
        -------
        SeriesOutcome
            Also when devices failed; completed only if every point is done.

        Raises
        ------
        InputError
            If the plan does not fit the instrument, or the folder cannot be used.
        """
        wanted = check_series(self.plan, self.profile, self.source)
        self._scans = [scan for _, scan, _ in wanted]
        if self.plan.share is not None:
            self._shared = SharedTime(self.plan, self.profile, source=self.source)
        with self._owned_folder(), ExitStack() as stack:
            self._observers.append(stack.enter_context(EventLog(self.folder / LOG)))
            error: Exception | None = None
            try:
                self._take_stock([Entry(
                    index=point.index, label=point.label, settings=point.settings,
                    repeat=point.repeat, file="",
                ) for point, _, _ in wanted])  # fmt: skip
                ending, message = self._walk()
            except (DeviceError, OSError) as failure:
                ending, message, error = Ending.FAILED, sentence(failure), failure
            finally:
                # also for a defect of the program or a second Ctrl-C
                self._close()
            if self._opened and not self._state.verified:
                ending, message = Ending.FAILED, f"{self._state} ({message})"
            return self._conclude(ending, message, error)

    @contextmanager
    def _owned_folder(self) -> Iterator[None]:
        """The right to work in the folder; the system gives it back when its owner dies."""
        try:
            if self._before is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
            lock = filelock.FileLock(self.folder / ".series.lock", timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise InputError(
                self.folder, "another run works in this folder", "wait for its end, or stop it"
            ) from None
        except OSError as error:
            raise InputError(self.folder, f"the folder cannot be used ({error.strerror})") from None
        try:
            if self._before is None and (self.folder / MANIFEST).exists():
                raise InputError(
                    self.folder,
                    "there is a series in this folder already",
                    f"choose another one, or go on with it: tplm resume {self.folder}",
                )
            yield
        finally:
            lock.release()

    def _take_stock(self, entries: list[Entry]) -> None:
        """See what the folder holds of what is wanted, and write the first manifest."""
        before = self._before
        found: defaultdict[str, deque[tuple[Entry | None, Scan]]] = defaultdict(deque)
        spoilt = []
        kept: list[tuple[str, Entry | None]] = []
        if before is not None:
            kept = [(old.file, old) for old in before.points]
            kept += [(name, None) for name in before.set_aside]
        for name, old in kept:
            if not (self.folder / name).exists():
                continue
            try:
                scan = read_scan(self.folder / name)
            except InputError as error:
                spoilt.append(str(error))
                continue
            found[self._asked_of(scan.plan)].append((old, scan))
        taken = {path.stem for path in self.folder.glob("p*.h5")}
        filled = []
        for entry, plan in zip(entries, self._scans, strict=True):
            same = found[self._asked_of(plan)]
            if same:
                old, scan = same.popleft()
                filled.append(self._kept(entry, old, scan))
                continue
            names = (f"p{n:03d}" for n in itertools.count(entry.index))
            name = next(name for name in names if name not in taken)
            taken.add(name)
            filled.append(entry.model_copy(update={"file": f"{name}.h5"}))
        left = [scan.path.name for same in found.values() for _, scan in same]
        self._manifest = Manifest(
            created=before.created if before else utc_now(),
            plan=to_toml(self.plan),
            profile=to_toml(self.profile),
            simulated=self.simulated,
            points=tuple(filled),
            order=before.order if before and before.plan == to_toml(self.plan) else (),
            set_aside=tuple(left),
        )
        write_manifest(self.folder, self._manifest)
        done = sum(entry.state == "done" for entry in filled)
        self.emit(SeriesStarted(str(self.folder), len(filled), len(filled) - done))
        if self._lost:
            self.emit(Notice("warning", "manifest", self._lost))
        for name in left:
            words = f"{name} was measured with settings that the plan no longer asks for; it stays"
            self.emit(Notice("warning", "set-aside", words))
        for words in spoilt:
            text = f"{words}; it stays as it is, and its point is measured again"
            self.emit(Notice("error", "spoilt", text))

    def _asked_of(self, plan: ScanPlan) -> str:
        """What has to be the same for a file to be that of a point."""
        if self._shared is not None and plan.time_limit_s is not None:
            plan = plan.model_copy(update={"time_limit_s": 1.0})  # a night may be made longer
        return to_toml(plan)

    def _kept(self, entry: Entry, old: Entry | None, scan: Scan) -> Entry:
        """A point whose file is there, whole or in part."""
        self._stored += int(scan.stored.sum())
        changes: dict[str, Any] = {"file": scan.path.name, "attempts": old.attempts if old else 0}
        ends_s = (scan.columns["started_s"] + scan.columns["live_s"])[scan.stored]
        changes |= {
            "time_share_s": old.time_share_s if old else None,
            # a crash leaves no word of it but the file's
            "spent_s": max(old.spent_s if old else 0.0, float(ends_s.max(initial=0.0))),
            **_times_of(scan),
        }
        if scan.complete:
            left = finish_complete(scan)
            if left is not None:
                self.emit(Notice("warning", "not-packed", left))
            result = old.result if old is not None and old.state == "done" else None
            result = result or self._result(read_scan(scan.path))
            changes |= {"state": "done", "message": "all visits measured", "result": result}
        return entry.model_copy(update=changes)

    def _walk(self) -> tuple[Ending, str]:
        """Measure point after point; gives how the series ended."""
        while (index := self._next_point()) is not None:
            ended = self._measure_point(index)
            if ended is not None:
                return ended
        failed = [entry for entry in self.manifest.points if entry.state == "failed"]
        if failed:
            named = "; ".join(f"point {entry.index} ({entry.label})" for entry in failed)
            return Ending.FAILED, f"{len(failed)} of {len(self.manifest.points)} failed: {named}"
        return Ending.COMPLETED, "all points measured"

    def _next_point(self) -> int | None:
        """Take the next point that has not begun; None if there is none."""
        with self._changing:
            waiting = self._waiting()
            if waiting:
                self._begun.add(waiting[0])
            return waiting[0] if waiting else None

    def _measure_point(self, index: int) -> tuple[Ending, str] | None:
        """Measure one point, as often as the plan allows; gives how the series ended, if so."""
        label, policy = self.manifest.points[index].label, self.plan.on_failure
        in_a_row = 0
        while True:
            if self._ended.is_set():
                self._update(index, state="waiting")
                return self._asked, self._why
            attempt = self.manifest.points[index].attempts + 1
            self._update(index, state="running", attempts=attempt)
            self.emit(PointStarted(index, label, attempt))
            limit_s = self._share_time(index)
            if limit_s is not None and limit_s < self._least_s(index):
                self._update(index, state="waiting", message=TIME_IS_OVER)
                self._tell_point(index, Ending.STOPPED, TIME_IS_OVER)
                return Ending.STOPPED, TIME_IS_OVER
            tried = self._try(index, limit_s)
            if tried.ending is Ending.COMPLETED:
                self._point_done(index, tried.message)
                return None
            if tried.ending in (Ending.STOPPED, Ending.ABORTED):
                self._update(index, state="waiting", message=tried.message)
                self._tell_point(index, tried.ending, tried.message)
                return tried.ending, tried.message
            reached = self._instrument is not None
            self._close()
            self._failed_before = True
            # what was opened in vain was made dark by the opener, which tells if it could not
            dark = f"; {self._state}" if self._opened else ""
            words = f"point {index} ({label}), attempt {attempt}: {tried.message}{dark}"
            self.emit(Notice("error", "fault", words))
            in_a_row = 1 if tried.visits else in_a_row + 1
            if in_a_row <= policy.retries and isinstance(tried.error, DeviceError):
                continue
            self._update(index, state="failed", message=tried.message)
            self._tell_point(index, Ending.FAILED, tried.message)
            self._notify({"event": "point-failed", "point": index, "message": tried.message})
            if isinstance(tried.error, OSError) or isinstance(
                getattr(tried.error, "__cause__", None), OSError
            ):
                return Ending.FAILED, tried.message  # a full disk is full for every point
            if not reached:
                return Ending.FAILED, f"the instrument cannot be opened: {tried.message}"
            if self._opened and not self._state.verified:
                return Ending.FAILED, f"the laser is not known to be off: {tried.message}"
            return None if policy.then == "skip" else (Ending.FAILED, tried.message)

    def _share_time(self, index: int) -> float | None:
        """Decide how long a point may measure from its first visit on; None: as its scan says."""
        if self._shared is None:
            return None
        entries = self.manifest.points
        told, limit_s = self._shared.decide(entries, {index, *self._waiting()}, index)
        self._update(index, time_share_s=told.time_s)
        self.emit(told)
        return limit_s

    def _least_s(self, index: int) -> float:
        """Least time that makes a point worth beginning: a pass, unless it has one already."""
        each = self._shared.prospects[index] if self._shared is not None else None
        entry = self.manifest.points[index]
        if each is None or entry.counted_s >= each.counting * each.pass_s:
            return -math.inf
        return each.before_s + each.pass_s

    def _try(self, index: int, limit_s: float | None) -> _Attempt:
        """One run of a point's scan, in the file that it has already, if any."""
        entry = self.manifest.points[index]
        path = self.folder / entry.file
        began: tuple[Clock, float] | None = None
        try:
            instrument = self._open()
            began = instrument.clock, instrument.clock.now_s()
            if self._ended.is_set():
                return _Attempt(self._asked, self._why)
            runner = self._next_runner()
            label = f"{self.source}: point {index}"
            with ExitStack() as stack:
                writer = stack.enter_context(
                    go_on(instrument, path)
                    if path.exists()
                    else begin(instrument, self._scans[index], path, label)
                )
                observers: list[Observer] = [self.emit]
                if self._with_live:
                    self.live = stack.enter_context(LiveFit(read_scan(path)))
                    observers.insert(0, self.live)
                if self.watch is not None:
                    self.watch(runner, self._scans[index])
                outcome = measure(runner, instrument, writer, observers, limit_s)
        except (DeviceError, InputError) as error:
            return _Attempt(Ending.FAILED, sentence(error), 0, error)
        finally:
            if began is not None:
                clock, began_s = began
                spent_s = entry.spent_s + clock.now_s() - began_s
                with suppress(InputError):  # what is wrong with the file is told elsewhere
                    self._update(index, **_times_of(read_scan(path)))
                self._update(index, spent_s=spent_s)
        self._state = outcome.safe_state
        return _Attempt(outcome.ending, outcome.message, outcome.visits_done, outcome.error)

    def _next_runner(self) -> Runner:
        self._runner = runner = Runner()
        # what was asked while there was none
        if self._paused.is_set():
            runner.pause()
        if self._request is not None:
            self._request(runner)
        return runner

    def _point_done(self, index: int, message: str) -> None:
        """Fit a finished point and write down what came out."""
        scan = read_scan(self.folder / self.manifest.points[index].file)
        self._update(index, state="done", message=message, result=self._result(scan))
        self._write_table()
        self._tell_point(index, Ending.COMPLETED, message)

    def _result(self, scan: Scan) -> Result | None:
        """What a finished point says; None if that fails, to be tried again by `tplm resume`."""
        try:
            return result_of(self.plan, scan, self.profile)
        except Exception as failure:  # noqa: BLE001 - what comes after it can still be measured
            words = f"{scan.path.name} is measured, but could not be analysed: {sentence(failure)}"
            self.emit(Notice("error", "result", words))
            return None

    def _write_table(self) -> None:
        """Write the table; one that is open in a spreadsheet is no reason to end a night."""
        try:
            write_table(self.folder, self.manifest.points)
        except OSError as failure:
            words = f"{SUMMARY} could not be written ({sentence(failure)}); it is tried again later"
            self.emit(Notice("warning", "summary", words))

    def _conclude(self, ending: Ending, message: str, error: Exception | None) -> SeriesOutcome:
        """The summary, the picture, and the last words."""
        points = self.manifest.points
        done = sum(entry.state == "done" for entry in points)
        summary, curve = summarise(points)
        if self._shared is not None:
            try:
                proposal = propose(points, self.plan, self.profile)
                summary |= {} if proposal is None else {"next_point": proposal.to_dict()}
            except Exception as failure:  # noqa: BLE001 - what is measured matters more
                why = f"{sentence(failure)}; what is measured is kept"
                words = f"no further point can be proposed: {why}"
                self.emit(Notice("error", "summary", words))
        self._write_table()
        try:
            self._write(ending=ending.value, message=message, summary=summary)
        except OSError as failure:
            self.emit(Notice("error", "summary", f"the summary is not whole: {sentence(failure)}"))
            if ending is Ending.COMPLETED:
                ending, message, error = Ending.FAILED, sentence(failure), failure
        try:
            if done:
                title = f"{self.folder.name}, {self.manifest.created[:10]}"
                draw_series(points, curve, self.folder, title)
        except Exception as failure:  # noqa: BLE001 - the last words matter more than a picture
            self.emit(Notice("error", "summary", f"there is no new picture: {sentence(failure)}"))
        last = SeriesEnded(ending, message, done)
        self.emit(last)
        self._notify({**to_json(last), "points_planned": len(points), "summary": summary})
        return SeriesOutcome(ending, message, self.manifest, error)

    # -- the instrument --------------------------------------------------------------------

    def _open(self) -> Instrument:
        """The open instrument; after a fault it is opened again, and must read back as dark."""
        if self._instrument is not None:
            return self._instrument
        again = self._failed_before
        if again:
            self._ended.wait(self.plan.on_failure.wait_s)
        # a simulation must not draw the same photons again
        kept = self.profile.simulation
        seed = kept.seed + self._stored + self._opened
        simulation = kept.model_copy(update={"seed": seed})
        self._instrument = self._opener(self.profile.model_copy(update={"simulation": simulation}))
        self._opened += 1
        if again:
            self._state = self._instrument.make_safe()
            if not self._state.verified:
                raise DeviceError("laser", str(self._state))
            self.emit(Notice("info", "reopened", f"every device was opened again; {self._state}"))
        return self._instrument

    def _close(self) -> None:
        """Let go of every device, in the dark."""
        instrument, self._instrument = self._instrument, None
        if instrument is None:
            return
        self._closing = True
        try:
            self._state = instrument.close()
        finally:
            self._closing = False

    # -- telling and writing ---------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Tell every observer; one that raises is dropped, and that is told."""
        if isinstance(event, VisitStored):
            self._stored += 1
        for observer in list(self._observers):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - nothing they do may end the series
                with suppress(ValueError):  # the channel's thread may have been quicker
                    self._observers.remove(observer)
                name = getattr(observer, "__qualname__", type(observer).__name__)
                words = f"{name} failed and is no longer told of events: {error}"
                self.emit(Notice("error", "observer", words))

    def _tell_point(self, index: int, ending: Ending, message: str) -> None:
        entry = self.manifest.points[index]
        d, error = None, None
        if entry.result is not None:
            d, error = entry.result.d_cm2_per_s, entry.result.d_stderr_cm2_per_s
        self.emit(PointEnded(index, ending, message, entry.file, d, error))

    def _notify(self, news: dict[str, Any]) -> None:
        if self.plan.notify:
            problem = call(self.plan.notify, {"folder": str(self.folder), **news})
            if problem is not None:
                self.emit(Notice("warning", "notify", problem))

    def _update(self, index: int, **changes: Any) -> None:
        """Change one point, in the manifest on the disk too."""
        with self._changing:
            points = list(self.manifest.points)
            points[index] = points[index].model_copy(update=changes)
            self._write(points=tuple(points))

    def _write(self, **changes: Any) -> None:
        with self._changing:
            self._manifest = self.manifest.model_copy(update=changes)
            write_manifest(self.folder, self._manifest)


def _times_of(scan: Scan) -> dict[str, Any]:
    """What a file says of the time that its point took."""
    begun_s = scan.columns["started_s"][scan.stored]
    return {
        "prepare_s": float(begun_s.min()) if begun_s.size else None,
        "counted_s": float(scan.exposure_s.sum()),
    }


def run_series(
    plan: SeriesPlan | str | Path,
    profile: InstrumentProfile | str | Path,
    out: str | Path,
    observers: Iterable[Observer] = (),
    *,
    simulated: bool = False,
) -> SeriesOutcome:
    """Measure a series from beginning to end, or go on with one that was begun in ``out``.

    Parameters
    ----------
    plan : SeriesPlan, str or Path
        The plan, a TOML file, or a bundled name.
    profile : InstrumentProfile, str or Path
        Likewise.
    out : str or Path
        The folder.
    observers : iterable of callable
        Told of every event of `tplm_daq.events`.
    simulated : bool
        Connect the profile's own drivers to simulators of their instruments.

    Raises
    ------
    InputError
        If plan, profile or folder cannot be used.
    """
    source = "series" if isinstance(plan, SeriesPlan) else plan
    found = plan if isinstance(plan, SeriesPlan) else load_series(plan)
    on = profile if isinstance(profile, InstrumentProfile) else load_profile(profile)
    if (Path(out) / MANIFEST).exists():
        series = Series.reopen(out, plan=found, profile=on, simulated=simulated)
    else:
        series = Series(found, on, out, simulated=simulated, source=source)
    for observer in observers:
        series.subscribe(observer)
    with stopping_on_signals(series):
        return series.run()


__all__ = ["LOG", "Series", "SeriesOutcome", "run_series"]
