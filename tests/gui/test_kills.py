"""Windows and stations that are killed: a run needs no window, and a file needs no station."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PyQt6.QtCore import QSettings, Qt
from pytestqt.qtbot import QtBot

from tplm_config import LineScan, ScanPlan, SeriesPlan, to_toml
from tplm_daq.host import HostClient, HostEntry, find_hosts
from tplm_daq.series import read_manifest
from tplm_daq.store import read_scan
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Wanted
from tplm_gui.hub import Hub
from tplm_gui.views.log import line_of
from tplm_gui.window import Window

from .conftest import Threads
from .person import Person, stored

SPEED = 60
TIMES = [pytest.param(i, marks=[pytest.mark.full] if i else []) for i in range(6)]
"""Kills, each some visits later than the one before."""


def scan_plan(passes: int = 20) -> ScanPlan:
    """Some seconds at this speed, with few time bins to simulate."""
    return LineScan.model_validate({
        "positions": 11, "dwell_s": 0.5, "passes": passes, "half_range_um": 1.5,
        "card": {"time_bin_ps": 200, "range_ns": 25.6},
        "excitation": {"power_nw": 1.0, "repetition_rate_hz": 2.5e6},
    })  # fmt: skip


def series_plan() -> SeriesPlan:
    return SeriesPlan.model_validate({
        "kind": "series", "scan": scan_plan(8).model_dump(), "axes": [{"power_nw": [1.0, 2.0]}],
    })  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_is_left(threads: Threads, hosts_of_its_own: Path) -> Iterator[None]:
    """Stations outlive those who start them; not this test."""
    yield
    with threads.lent():
        for entry in find_hosts():
            if entry.pid != os.getpid():
                psutil.Process(entry.pid).kill()


@contextmanager
def window_process(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The application as it is started from a terminal."""
    words = [sys.executable, "-m", "tplm_gui.app", "--speed", str(SPEED)]
    words += ["--settings", str(folder / "other.ini")]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        try:
            yield p
        finally:
            p.kill()


def is_linked(pid: int, entry: HostEntry) -> bool:
    """Whether a process has a connection to a host."""
    return any(
        one.raddr and one.raddr.port == entry.port and one.status == psutil.CONN_ESTABLISHED
        for one in psutil.Process(pid).net_connections("tcp")
    )


@contextmanager
def new_window(qtbot: QtBot, settings: QSettings) -> Iterator[Person]:
    """A window that looks for a host by itself, or starts one."""
    hub = Hub()
    link = Link(hub, Wanted(speed=SPEED))
    window = Window(hub, settings, link)
    qtbot.addWidget(window)
    window.show()
    person = Person(qtbot, window)
    with qtbot.waitSignal(window.loaded, timeout=60_000):
        window.load_views()
    link.begin()
    person.until(lambda: hub.is_linked and hub.profile is not None)
    yield person
    window.let_go()
    link.found = None  # a station that this one started is not told to quit
    window.close()


def entries(log: Path) -> list[str]:
    """What a station wrote down, as the log shows it."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [line.text for event in events if (line := line_of(event)) is not None]


def says_all(person: Person, log: Path) -> bool:
    """Whether everything that a station wrote down is in the log of the window, in that order."""
    lines = person.find("log-list").model().sourceModel()
    shown = iter([lines.at(row).text for row in range(lines.rowCount())])
    return all(any(text == other for other in shown) for text in entries(log))


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("kind", [pytest.param("scan", marks=pytest.mark.full), "series"])
def test_a_window_that_is_killed_loses_nothing(
    qtbot: QtBot, threads: Threads, settings: QSettings, tmp_path: Path, kind: str, time: int
) -> None:
    plan = scan_plan() if kind == "scan" else series_plan()
    path = tmp_path / ("film.h5" if kind == "scan" else "powers")
    with threads.lent(), window_process(tmp_path) as victim:
        qtbot.waitUntil(lambda: len(find_hosts()) == 1, timeout=60_000)
        (entry,) = find_hosts()
        qtbot.waitUntil(lambda: is_linked(victim.pid, entry), timeout=60_000)
        with HostClient(entry) as client:
            client.ask(kind, {"plan": to_toml(plan), "out": str(path), "watchdog": False})

            def visits() -> int:
                status = client.ask("status")["status"]
                return (status["visits_done"] or 0) * (status["doing"] == kind)

            qtbot.waitUntil(lambda: visits() > 3 + 10 * time, timeout=60_000)
            os.kill(victim.pid, signal.SIGKILL)
            assert victim.wait(30) == -signal.SIGKILL
            before = visits()
            qtbot.waitUntil(lambda: visits() != before, timeout=60_000)  # nobody is there, it runs
            client.ask("pause")  # until the new window is there, on however slow a machine
    with new_window(qtbot, settings) as person:
        person.until(lambda: person.doing == kind and person.state == "paused")
        maps: list[Any] = []
        person.hub.map_changed.connect(maps.append)
        person.click("controls-pause")
        person.until(lambda: person.last.get("ending") == "completed", 90_000)
        assert person.last["path"] == str(path)
        file = path
        if kind == "series":
            points = read_manifest(path).points
            assert [point.state for point in points] == ["done", "done"]
            file = path / points[-1].file
        scan = read_scan(file)
        assert scan.complete
        # the map with all its visits and its D, and every word of the station
        person.until(lambda: maps and maps[-1].is_final and maps[-1].path == file)
        assert maps[-1].done == maps[-1].planned == scan.stored.size == stored(file)
        assert maps[-1].analysis is not None
        assert maps[-1].fit.d_stderr_cm2_per_s > 0
        log = Path(person.hub.status["station"]["log"])
        person.until(lambda: says_all(person, log))
        assert any("completed" in text for text in entries(log))
        if kind == "series":
            person.until(lambda: person.find("series-table").model().rowCount() == 2)
            assert person.text("series-run-done").startswith("2")


@pytest.mark.parametrize("time", TIMES)
def test_a_station_that_is_killed_is_started_again_and_its_file_completed(
    qtbot: QtBot, settings: QSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "film.h5"
    with new_window(qtbot, settings) as person:
        person.connect()
        arguments = {"plan": to_toml(scan_plan(40)), "out": str(path), "watchdog": False}
        person.hub.ask("scan", arguments)
        person.until(lambda: person.doing == "scan" and person.visits > 3 + 10 * time)
        pid = person.hub_pid
        os.kill(pid, signal.SIGKILL)
        person.until(lambda: (bar := person.bar("host")) and bar.news.action == "Start again")
        bar = person.bar("host")
        assert bar is not None
        for words in (f"process {pid}", "Every finished visit is kept", "laser", "resume the file"):
            assert words in bar.news.text
        assert bar.news.level == "error"
        kept = stored(path)
        assert kept > 3
        qtbot.mouseClick(bar.buttons[0], Qt.MouseButton.LeftButton)
        person.until(lambda: person.hub.is_linked and person.hub_pid != pid, 60_000)
        person.until(lambda: person.bar("host") is None)
        person.connect()
        person.go_to("scan")
        offer = f"{path}: {kept} of"
        person.until(lambda: offer in person.find("scan-resume").toolTip())
        person.click("scan-resume")
        person.until(lambda: person.doing == "scan" and person.visits > kept)
        person.until(lambda: person.last.get("ending") == "completed", 90_000)
    scan = read_scan(path)
    assert scan.complete
    assert scan.stored.all()
