"""The map of a running scan as the window shows it: read and fitted in a process of its own.

A thread beside the window would compete with it for the interpreter, so `tplm_gui.data.feed` starts
this module as a child process, ``python -m tplm_gui.data.maps``. It is told on its standard input,
one JSON object a line, which file to follow, and writes what it finds to its standard output: a
length, a JSON head, and the arrays as raw bytes (`write_message`, `read_message`). It ends when its
input does. No Qt.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

import tplm_analysis as ta
from tplm_analysis import DecayModelFit, LiveMap, MapFit, MapSoFar, TimeTo1e
from tplm_config import CrossScan, InputError, ScanPlan, parse_plan, to_toml
from tplm_daq.analysis import fit_scan
from tplm_daq.store import Scan, ScanFollower, ScanMap
from tplm_daq.store.scan import project

F64 = NDArray[np.float64]
EVERY_S = 0.2
"""Least time from one look at the file to the next."""
SHARE = 0.25
"""Largest share of the time that the full analysis of an unfinished map takes."""
FEWEST_POSITIONS = 5
"""Below this many measured positions there is nothing to fit."""
HISTORY = 400
"""Most points of the history; then every other one is left out."""
LOOKS_BACK = 24
"""Points of the history worked out afresh from what was measured before the file was opened."""
ROWS_AT_ONCE = 64
NICE = 5
"""The window comes first."""
ALIGNED = 8


@dataclass(frozen=True, eq=False)
class History:
    """How D became known; arrays of shape ``(n,)``.

    Attributes
    ----------
    measured_s : ndarray
        Counting time of the map so far.
    d_cm2_per_s, d_stderr_cm2_per_s : ndarray
        D and its standard error then.
    """

    measured_s: F64
    d_cm2_per_s: F64
    d_stderr_cm2_per_s: F64


@dataclass(frozen=True, eq=False)
class MapView:
    """All that is shown of a scan file at one moment.

    Attributes
    ----------
    path : Path
        The scan file.
    plan : ScanPlan
        What is measured.
    t_ns : ndarray, shape (bins,)
        Centres of the time bins after the sync pulse.
    map : ScanMap
        Counts by position and time so far.
    fit : MapSoFar or None
        D and every time slice so far; None below five positions.
    analysis : MapFit or None
        The full analysis with its warnings. It is some visits older than `fit` while the scan
        runs, and that of the finished scan once `is_final`.
    analysed : int
        How many visits there were when `analysis` was made; 0 before the first.
    is_final : bool
        Whether `analysis` and `decay` are of all that will come.
    decay : DecayModelFit or None
        Lifetimes: two exponentials while the scan runs, in the end the model that is warranted.
    lifetime : TimeTo1e or None
        Time to 1/e.
    history : History
        D against time measured.
    measured_s, planned_s : float
        Counting time of the map so far, and as planned.
    done, planned : int
        Visits, those for background, response and reference included.
    complete : bool
        Whether every visit is there.
    ending : str or None
        How the last run ended; None while it runs or if it was killed.
    count_rate_hz, sync_rate_hz : float or None
        Of the last visit of the map.
    created, sample : str
        When the scan began (ISO 8601), and of what.
    """

    path: Path
    plan: ScanPlan
    t_ns: F64
    map: ScanMap
    fit: MapSoFar | None
    analysis: MapFit | None
    analysed: int
    is_final: bool
    decay: DecayModelFit | None
    lifetime: TimeTo1e | None
    history: History
    measured_s: float
    planned_s: float
    done: int
    planned: int
    complete: bool
    ending: str | None
    count_rate_hz: float | None
    sync_rate_hz: float | None
    created: str
    sample: str

    @property
    def time_zero_ns(self) -> float:
        """Time zero on the map's axis; that of the full analysis if there is one, else 0."""
        if self.analysis is not None and self.analysis.time_zero_ns is not None:
            return self.analysis.time_zero_ns
        live = None if self.fit is None else self.fit.slices.time_zero_ns
        return live or 0.0

    @property
    def d_cm2_per_s(self) -> tuple[float | None, float | None]:
        """The newest D and its standard error."""
        found = self.analysis if self.is_final else self.fit
        return (None, None) if found is None else (found.d_cm2_per_s, found.d_stderr_cm2_per_s)


class MapReader:
    """Follows one scan file and fits what is there.

    Parameters
    ----------
    path : Path
        The file, or the folder of a series, whose newest file is followed.
    clock : callable
        Seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._follower = ScanFollower(self._file())
        self._begin()

    def _begin(self) -> None:
        self._header: object = None
        self._live: LiveMap | None = None
        self._fit: MapSoFar | None = None
        self._analysis: MapFit | None = None
        self._decay: DecayModelFit | None = None
        self._lifetime: TimeTo1e | None = None
        self._is_final = False
        self._has_looked_back = False
        self._points: list[tuple[float, float, float]] = []
        self._analyse_from_s = -np.inf
        self._analysed = 0
        self._shows_map = False

    def _file(self) -> Path:
        if not self._path.is_dir():
            return self._path
        files = sorted(self._path.glob("p[0-9]*.h5"), key=lambda path: path.stat().st_mtime_ns)
        return files[-1] if files else self._path / "p000.h5"

    def step(self) -> MapView | None:
        """Look at the file once; return what is to be shown, None if there is nothing new.

        Raises
        ------
        InputError
            If there is no readable scan file.
        """
        file = self._file()
        if file != self._follower.path:
            self._follower = ScanFollower(file)
            self._begin()
        is_new = self._follower.look()
        scan = self._follower.scan
        if self._header is not None and self._header != (scan.header.created, scan.plan):
            self._begin()
        self._header = (scan.header.created, scan.plan)
        has_ended = scan.ending is not None
        if is_new:
            self._is_final = False
            self._update(scan)
        if not self._shows_map:
            self._shows_map = True  # the map itself first: the analysis takes longer
        elif self._is_due(scan, has_ended):
            self._analyse(scan, is_final=has_ended)
        elif not self._has_looked_back and self._fit is not None:
            self._look_back(scan)
        elif not is_new:
            return None
        return self._view(scan)

    def _update(self, scan: Scan) -> None:
        found = scan.map()
        self._fit = self._fitted(found)
        if self._fit is not None:
            self._note(float(found.exposure_s.sum()), self._fit)

    def _fitted(self, found: ScanMap) -> MapSoFar | None:
        if np.count_nonzero(found.exposure_s) < FEWEST_POSITIONS:
            return None
        self._live = self._live or LiveMap(found.x_um, found.t_ns)
        return self._live.update(found.counts, found.exposure_s)

    def _note(self, measured_s: float, fit: MapSoFar) -> None:
        if fit.d_cm2_per_s is None or fit.d_stderr_cm2_per_s is None:
            return
        point = (measured_s, fit.d_cm2_per_s, fit.d_stderr_cm2_per_s)
        if self._points and measured_s <= self._points[-1][0]:
            self._points[-1] = point
            return
        self._points.append(point)
        if len(self._points) > HISTORY:
            self._points = self._points[::-2][::-1]  # the newest stays

    def _look_back(self, scan: Scan) -> None:
        """Work out what D was before the file was opened."""
        self._has_looked_back = True
        position = scan.columns["position_index"]
        rows = np.flatnonzero(scan.stored & (position >= 0))
        rows = rows[np.argsort(scan.columns["started_s"][rows], kind="stable")]
        if rows.size < 2 * FEWEST_POSITIONS:
            return
        counts = np.zeros_like(scan.position_counts)
        exposure_s = np.zeros(scan.plan.place_count)
        live, found = None, []
        for part in np.array_split(rows, min(LOOKS_BACK, rows.size // FEWEST_POSITIONS))[:-1]:
            for start in range(0, part.size, ROWS_AT_ONCE):
                some = part[start : start + ROWS_AT_ONCE]
                np.add.at(counts, position[some], scan.histograms(some))
                np.add.at(exposure_s, position[some], scan.columns["live_s"][some])
            so_far = project(scan.plan, counts, exposure_s, scan.header.t_ns)
            if np.count_nonzero(so_far.exposure_s) < FEWEST_POSITIONS:
                continue
            live = live or LiveMap(so_far.x_um, so_far.t_ns)
            fit = live.update(so_far.counts, so_far.exposure_s)
            if fit.d_cm2_per_s is not None and fit.d_stderr_cm2_per_s is not None:
                measured_s = float(so_far.exposure_s.sum())
                found.append((measured_s, fit.d_cm2_per_s, fit.d_stderr_cm2_per_s))
        own = self._points[0][0] if self._points else np.inf
        self._points = [point for point in found if point[0] < own] + self._points

    def _is_due(self, scan: Scan, has_ended: bool) -> bool:
        if self._fit is None or self._is_final:
            return False
        stored = int(scan.stored.sum())
        return has_ended or (stored != self._analysed and self._clock() >= self._analyse_from_s)

    def _analyse(self, scan: Scan, *, is_final: bool) -> None:
        """The full analysis, and the lifetimes."""
        start_s = self._clock()
        self._analysed, self._is_final = int(scan.stored.sum()), is_final
        with suppress(InputError, OSError):  # the file was replaced in between: the next time
            self._analysis = fit_scan(scan)
        counts = scan.position_counts.sum(axis=0).astype(np.float64)
        t_ns, rate_hz = scan.header.t_ns, scan.sync_rate_hz
        period_ns = 1e9 / rate_hz if rate_hz else None
        self._lifetime = self._decay = None
        with suppress(ValueError, InputError, OSError):
            flash = scan.irf_counts()
            irf = None if flash is None else ta.find_irf(flash, t_ns)
            self._lifetime = ta.find_lifetime_1e(t_ns, counts, 0.0)
            if is_final:
                self._decay = ta.compare_decays(counts, t_ns, irf, period_ns=period_ns).best
            else:
                self._decay = ta.fit_decay_model(
                    "two-exponential", counts, t_ns, irf, period_ns=period_ns
                )
        spent_s = self._clock() - start_s
        self._analyse_from_s = start_s + max(spent_s / SHARE, 5 * EVERY_S)

    def _view(self, scan: Scan) -> MapView:
        found = scan.map()
        plan = scan.plan
        on_map = np.flatnonzero(scan.stored & (scan.columns["position_index"] >= 0))
        last = on_map[np.argmax(scan.columns["started_s"][on_map])] if on_map.size else None
        history = np.array(self._points, dtype=np.float64).reshape(-1, 3)
        wanted = scan.columns["position_index"] >= 0
        return MapView(
            path=scan.path,
            plan=plan,
            t_ns=scan.header.t_ns,
            map=found,
            fit=self._fit,
            analysis=self._analysis,
            analysed=self._analysed,
            is_final=self._is_final,
            decay=self._decay,
            lifetime=self._lifetime,
            history=History(*np.ascontiguousarray(history.T)),
            measured_s=float(found.exposure_s.sum()),
            planned_s=self._planned_s(scan, wanted, found),
            done=int(scan.stored.sum()),
            planned=plan.visit_count,
            complete=scan.complete,
            ending=scan.ending,
            count_rate_hz=None if last is None else _rate(scan, "count_rate_hz", int(last)),
            sync_rate_hz=None if last is None else _rate(scan, "sync_rate_hz", int(last)),
            created=scan.header.created,
            sample=plan.sample,
        )

    @staticmethod
    def _planned_s(scan: Scan, wanted: NDArray[np.bool_], found: ScanMap) -> float:
        """Counting time of this map in the end: what was counted, and what is still to come."""
        left = scan.columns["dwell_s"][wanted & ~scan.stored].sum()
        share = (
            found.x_um.size / max(scan.plan.place_count, 1)
            if isinstance(scan.plan, CrossScan)
            else 1.0
        )
        return float(found.exposure_s.sum() + left * share)


def _rate(scan: Scan, name: str, row: int) -> float | None:
    value = float(scan.columns[name][row])
    return value if np.isfinite(value) else None


# -- from the child to the window ----------------------------------------------------------------


def write_message(out: BinaryIO, value: object) -> None:
    """Write a value: length of the head, head (JSON), arrays one after the other."""
    arrays: list[NDArray[Any]] = []
    body = _plain(value, arrays)
    shapes = [[array.dtype.str, array.shape] for array in arrays]
    head = json.dumps({"value": body, "arrays": shapes}).encode()
    head += b" " * (-len(head) % ALIGNED)
    out.write(len(head).to_bytes(ALIGNED, "little") + head)
    for array in arrays:
        out.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        out.write(b"\0" * (-array.nbytes % ALIGNED))
    out.flush()


def read_message(source: BinaryIO) -> Any:
    """Read what `write_message` wrote; its arrays share one buffer.

    Raises
    ------
    EOFError
        At the end.
    """
    size = int.from_bytes(_exactly(source, ALIGNED), "little")
    head = json.loads(bytes(_exactly(source, size)))
    sizes = [
        int(np.prod(shape, dtype=int)) * np.dtype(kind).itemsize for kind, shape in head["arrays"]
    ]
    data = _exactly(source, sum(n + -n % ALIGNED for n in sizes))
    arrays, at = [], 0
    for (kind, shape), n in zip(head["arrays"], sizes, strict=True):
        array = np.frombuffer(data, dtype=kind, count=n // np.dtype(kind).itemsize, offset=at)
        array.flags.writeable = False
        arrays.append(array.reshape(shape))
        at += n + -n % ALIGNED
    return _rich(head["value"], arrays)


def _exactly(source: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = source.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        view = view[count:]
    return data


def _plain(value: object, arrays: list[NDArray[Any]]) -> object:
    """Bring a value into what JSON has; arrays go to the list."""
    match value:
        case np.ndarray():
            arrays.append(value)
            return {"array": len(arrays) - 1}
        case np.generic():
            return value.item()
        case Path():
            return {"path": str(value)}
        case tuple():
            return {"tuple": [_plain(one, arrays) for one in value]}
        case list():
            return [_plain(one, arrays) for one in value]
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {"dict": {str(k): _plain(one, arrays) for k, one in value.items()}}
    if is_dataclass(value) and not isinstance(value, type):
        content = {f.name: _plain(getattr(value, f.name), arrays) for f in fields(value)}
        return {"class": type(value).__name__, "fields": content}
    return {"plan": to_toml(value)}  # type: ignore[arg-type]


_OURS: dict[str, type] = {"MapView": MapView, "History": History, "ScanMap": ScanMap}


def _rich(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """Bring back what `_plain` made plain."""
    match value:
        case {"array": number}:
            return arrays[number]
        case {"path": text}:
            return Path(text)
        case {"plan": text}:
            return _plan(text)
        case {"tuple": items}:
            return tuple(_rich(one, arrays) for one in items)
        case {"dict": items}:
            return {key: _rich(one, arrays) for key, one in items.items()}
        case {"class": name, "fields": content}:
            made = _OURS.get(name) or getattr(ta, name)
            return made(**{key: _rich(one, arrays) for key, one in content.items()})
        case list():
            return [_rich(one, arrays) for one in value]
    return value


@lru_cache(maxsize=8)
def _plan(text: str) -> ScanPlan:
    return parse_plan(text, "the scan file")


# -- the child process ---------------------------------------------------------------------------


def main() -> None:
    """Follow what the standard input names until it ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 20)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write in between
    with suppress(AttributeError, OSError):
        os.nice(NICE)
    wanted: queue.Queue[Wish | None] = queue.Queue()
    threading.Thread(target=_listen, args=(wanted,), daemon=True).start()
    with suppress(BrokenPipeError):
        _serve(wanted, out)


@dataclass(frozen=True, slots=True)
class Wish:
    """What to follow, and the number that all answers about it carry."""

    path: str
    ticket: int


def _listen(wanted: "queue.Queue[Wish | None]") -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        wanted.put(Wish(asked["follow"], asked["ticket"]))
    wanted.put(None)


def _serve(wanted: "queue.Queue[Wish | None]", out: BinaryIO) -> None:
    reader: MapReader | None = None
    ticket, told, next_s = 0, "", 0.0
    while True:
        wait_s = None if reader is None else max(next_s - time.monotonic(), 0.0)
        with suppress(queue.Empty):
            wish = wanted.get(timeout=wait_s)
            if wish is None:
                return
            reader = MapReader(Path(wish.path)) if wish.path else None
            ticket, told = wish.ticket, ""
        if reader is None:
            continue
        next_s = time.monotonic() + EVERY_S
        try:
            view = reader.step()
        except InputError as error:
            if str(error) != told:
                told = str(error)
                write_message(out, {"ticket": ticket, "problem": told})
        else:
            told = ""
            if view is not None:
                write_message(out, {"ticket": ticket, "view": view})


if __name__ == "__main__":
    main()
