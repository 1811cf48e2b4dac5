"""The window beside a running scan: frames, the answer to Stop, memory, the time to appear.

A scan of 4096 bins × 101 positions runs in a process of its own on the virtual microscope, as fast
as the program measures. The real window, offscreen at 1400 × 900 with Live in front, attaches to
it. A timer asks for the picture of the map 30 times a second, the other plots are painted when they
have something new; a frame interval is the time from one painting of the map to the next. Three
times, one after the other:

* as the window does it: a child process reads and fits;
* the same with a thread of the window in place of the child;
* naive: thread, and at each frame the whole map with its levels found anew and all curves.

Other programs on the machine make an interval longer, so the processor time of the window's thread
within it is given too, and what a process got meanwhile that only sleeps as long.

Then the child again until enough visits are done, memory being read, and at last Stop is clicked:
the time to the host's answer, by the clock on the wall.

    python benchmarks/window.py [--passes 101] [--seconds 20] [--visits 10000] [--first]
"""

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import psutil
import pyqtgraph as pg
from PyQt6.QtCore import QEvent, QObject, QSettings, Qt, QTimer, pyqtSignal
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QPushButton, QWidget

from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Wanted
from tplm_gui.hub import Hub
from tplm_gui.window import Window

STARTED_S = psutil.Process().create_time()
FRAME_MS = 33
SETTINGS = (
    "positions=101", "card.time_bin_ps=5", "card.range_ns=20.48", "background=none",
)  # fmt: skip
PROFILE = ("simulation.detection.base_resolution_ps=5",)


CONTROL = f"""
import sys, time
gaps, last = [], time.perf_counter()
end = last + float(sys.argv[1])
while last < end:
    time.sleep({FRAME_MS} / 1e3)
    now = time.perf_counter()
    gaps.append(now - last)
    last = now
gaps.sort()
print(f"p99 {{1e3 * gaps[int(0.99 * len(gaps))]:.1f}} max {{1e3 * gaps[-1]:.1f}}")
"""
"""What the machine lets anybody have who asks for a turn as often."""


class Paints(QObject):
    """Notes when a widget is painted."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__()
        self.at_s: list[float] = []
        self.busy_s: list[float] = []
        widget.installEventFilter(self)

    def eventFilter(self, _: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """See a paint event go by."""
        if event is not None and event.type() is QEvent.Type.Paint:
            self.at_s.append(time.perf_counter())
            self.busy_s.append(time.thread_time())
        return False


class ThreadFeed(QObject):
    """What the child does, in a thread of the window: the rival of `ScanFeed`."""

    came = pyqtSignal(object)

    def __init__(self, hub: Hub, path: Path) -> None:
        super().__init__()
        from tplm_gui.data.maps import EVERY_S, MapReader

        self.came.connect(hub.map_changed.emit)
        self._ended = threading.Event()
        reader = MapReader(path)

        def work() -> None:
            while not self._ended.wait(EVERY_S):
                if (view := reader.step()) is not None:
                    self.came.emit(view)

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()


class Naive(QWidget):
    """Everything drawn anew at each frame, as one writes it at first."""

    def __init__(self) -> None:
        super().__init__()
        self.resize(1400, 900)
        self.canvas = pg.GraphicsLayoutWidget(self)
        self.canvas.resize(1400, 900)
        self.image = pg.ImageItem()
        self.canvas.addPlot(0, 0, colspan=4).addItem(self.image)
        self.curves = [self.canvas.addPlot(1, i).plot() for i in range(4)]
        self.view: Any = None

    def draw(self) -> None:
        """Draw what came last."""
        if self.view is None:
            return
        found = self.view.map
        self.image.setImage(np.log10(found.counts.T + 1.0), autoLevels=True)
        curves = [found.counts.sum(axis=0), found.counts[len(found.x_um) // 2]]
        if self.view.fit is not None:
            curves += [self.view.fit.slices.msd_um2, self.view.fit.slices.amplitude]
        for item, curve in zip(self.curves, curves, strict=False):
            item.setData(found.t_ns, curve)


def frames(name: str, widget: QWidget, each: Callable[[], None], seconds: float) -> None:
    """Ask for frames for a while and print their intervals."""
    paints = Paints(widget)
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(each)
    timer.start(FRAME_MS)
    words = [sys.executable, "-c", CONTROL, str(seconds)]
    control = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    cpu = psutil.Process().cpu_times()
    QTest.qWait(round(1e3 * seconds))
    timer.stop()
    now = psutil.Process().cpu_times()
    busy = (now.user + now.system - cpu.user - cpu.system) / seconds
    bare = control.communicate()[0].strip()
    gaps, own = 1e3 * np.diff(paints.at_s), 1e3 * np.diff(paints.busy_s)
    widget.removeEventFilter(paints)
    print(
        f"{name:28} {gaps.size:5d} frames: p50 {np.median(gaps):5.1f}  "
        f"p99 {np.quantile(gaps, 0.99):5.1f}  max {gaps.max():5.1f} ms; "
        f"own work p50 {np.median(own):4.1f}  p99 {np.quantile(own, 0.99):4.1f}  "
        f"max {own.max():5.1f} ms ({busy:.0%} with its threads); a bare timer meanwhile {bare} "
        f"ms; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


@contextmanager
def scanning(folder: Path, passes: int) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A scan in a process of its own."""
    path = folder / "scan.h5"
    words = [sys.executable, "-m", "tplm_daq", "scan", "line", "--out", str(path)]
    for setting in (*SETTINGS, f"passes={passes}"):
        words += ["--set", setting]
    for setting in PROFILE:
        words += ["--set-profile", setting]
    with (folder / "scan.txt").open("wb") as out:
        child = subprocess.Popen(words, stdout=out, stderr=out, cwd=folder)
        try:
            yield child, path
        finally:
            if child.poll() is None:
                child.terminate()
            child.wait(30)


def until(ready: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Let the window live until something is so."""
    end_s = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end_s:
            raise SystemExit(f"{what} did not happen within {seconds:g} s")
        QTest.qWait(20)


def megabytes(process: psutil.Process) -> float:
    """Memory that a process holds for itself."""
    return float(process.memory_full_info().uss) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=101)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--visits", type=int, default=10_000)
    parser.add_argument(
        "--first", action="store_true", help="the window goes before other programs (Linux, root)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TPLM_RUNTIME_DIR"] = str(folder / "runtime")
        app = QApplication([])
        hub = Hub()
        settings = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
        with scanning(folder, options.passes) as (scan, path):
            if options.first:  # it and its threads; all else is as any other program
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            link = Link(hub, Wanted(attach=scan.pid))
            window = Window(hub, settings, link)
            window.resize(1400, 900)
            painted = Paints(window)
            window.show()
            until(lambda: bool(painted.at_s), "the first picture")
            # on the wall, from the start of the process: interpreter, imports and all
            print(f"first picture {time.time() - STARTED_S:.2f} s after the process began")
            window.loaded.connect(
                lambda: print(f"all views there after {time.time() - STARTED_S:.2f} s")
            )
            window.load_views()
            until(path.exists, "the scan")
            until(lambda: any((folder / "runtime").rglob("*.json")), "the host")
            link.begin()
            measure(window, hub, path, options)
            link.close()
            window.hide()
        del app


def follow(window: Window, path: Path, options: argparse.Namespace) -> Any:
    """Have the window's own feed follow the scan, also after it was closed."""
    from tplm_gui.data.feed import ScanFeed

    feed = window.findChild(ScanFeed)
    assert feed is not None
    feed.follow("")
    feed.follow(path)
    if options.first and feed.process_id is not None:  # not it
        os.sched_setscheduler(feed.process_id, os.SCHED_OTHER, os.sched_param(0))
    return feed


def measure(window: Window, hub: Hub, path: Path, options: argparse.Namespace) -> None:
    """All that is measured once the window is up."""
    from tplm_gui.views.live import LiveView

    until(lambda: window.findChild(LiveView) is not None, "the view")
    live = window.findChild(LiveView)
    assert live is not None
    window.show_view("live")
    views: list[Any] = [None]
    hub.map_changed.connect(lambda view: views.__setitem__(0, view))

    repaint = live.map.canvas.viewport().update
    feed = follow(window, path, options)
    until(lambda: views[0] is not None and views[0].analysis is not None, "the analysis")
    frames("child process", live.map.canvas.viewport(), repaint, options.seconds)
    feed.close()

    rival = ThreadFeed(hub, path)
    QTest.qWait(3000)
    frames("thread of the window", live.map.canvas.viewport(), repaint, options.seconds)
    window.hide()
    naive = Naive()
    naive.show()

    def redraw() -> None:
        naive.view = views[0]
        naive.draw()

    frames("naive, thread", naive.canvas.viewport(), redraw, options.seconds)
    rival.close()
    naive.close()
    naive.deleteLater()
    window.show()

    feed = follow(window, path, options)
    begin = views[0].done
    until(lambda: views[0].done > begin, "the feed")
    gc.collect()
    print("memory at visit: window, child (MB, their own)")
    step = max((options.visits - begin) // 8, 1)
    us, own = psutil.Process(), psutil.Process(feed.process_id)
    wanted = begin
    while views[0].done < options.visits and views[0].ending is None:
        wanted += step
        enough = min(wanted, options.visits)
        until(lambda n=enough: views[0].done >= n, "more visits", 600)  # type: ignore[misc]
        print(f"{views[0].done:7,d} {megabytes(us):7.1f} {megabytes(own):7.1f}", flush=True)

    stop = window.findChild(QPushButton, "controls-stop")
    assert stop is not None
    asker = hub.asker
    assert asker is not None
    answered: list[float] = []
    ask = asker.ask

    def timed(command: str, arguments: Any, then: Callable[[Any], None]) -> None:
        def replied(reply: Any) -> None:
            answered.append(time.perf_counter())
            print(f"  {command}: {reply.words}")
            then(reply)

        ask(command, arguments, replied)

    asker.ask = timed  # type: ignore[method-assign]
    start_s = time.perf_counter()
    QTest.mouseClick(stop, Qt.MouseButton.LeftButton)
    until(lambda: bool(answered), "the answer to Stop")
    print(f"Stop answered after {1e3 * (answered[0] - start_s):.1f} ms")
    with suppress(SystemExit):
        until(lambda: views[0].ending is not None, "the end of the scan", 30)
    print(f"scan {views[0].ending}, {views[0].done:,} visits")
    feed.close()


if __name__ == "__main__":
    main()
