"""The live fit: what the map says so far, worked out beside the measurement."""

import threading
from typing import Self

import numpy as np

from tplm_analysis import LiveMap, MapSoFar, warm_up
from tplm_config import VisitKind
from tplm_daq.events import Event, RunEnded, VisitMeasured
from tplm_daq.store import Scan, project

EVERY_S = 0.2
"""Least time from one fit to the next."""
FEWEST_POSITIONS = 5
"""Below this many measured positions there is nothing to fit."""


class LiveFit:
    """An observer that keeps the newest fit of a running scan: D, and every time slice.

    The fit runs in a thread of its own and always takes the newest counts, so a slow fit makes
    the answer older, never the measurement slower. It knows nothing of pile-up and of the
    instrument response, which the analysis of the finished scan takes into account.

    Parameters
    ----------
    scan : Scan
        The file as it stands when the run begins; its counts are the start.
    """

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._counts = scan.position_counts.copy()
        self._exposure_s = scan.exposure_s.copy()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ended = threading.Event()
        self._latest: MapSoFar | None = None
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="live fit", daemon=True)

    @property
    def latest(self) -> MapSoFar | None:
        """The newest fit, or None while there is none."""
        return self._latest

    @property
    def failure(self) -> str | None:
        """Why the fit stopped following the scan, if it did."""
        return self._failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._news.set()
        self._thread.join()

    def __call__(self, event: Event) -> None:
        """Take in the counts of a visit."""
        match event:
            case VisitMeasured(record) if record.visit.kind is VisitKind.MAP:
                with self._lock:
                    self._counts[record.visit.position_index] += record.counts
                    self._exposure_s[record.visit.position_index] += record.live_s
                self._news.set()
            case RunEnded():
                self._ended.set()
                self._news.set()

    def _work(self) -> None:
        try:
            warm_up()
            self._follow()
        except Exception as error:  # noqa: BLE001 - told by `failure`; the scan goes on
            self._failure = f"{type(error).__name__}: {error}"

    def _follow(self) -> None:
        plan, t_ns = self._scan.plan, self._scan.header.t_ns
        live: LiveMap | None = None
        while True:
            self._news.wait()
            # nobody reads faster than this, and the measurement wants the processor too
            if self._ended.wait(EVERY_S):
                return
            self._news.clear()
            with self._lock:
                found = project(plan, self._counts, self._exposure_s, t_ns)
            if np.count_nonzero(found.exposure_s) < FEWEST_POSITIONS:
                continue
            live = live or LiveMap(found.x_um, found.t_ns)
            self._latest = live.update(found.counts, found.exposure_s)
