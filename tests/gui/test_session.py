"""A whole session as a person has it: a real station, a real window, keys and clicks."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QSettings, Qt
from pytestqt.qtbot import QtBot

from tplm_config import SeriesPlan, to_toml
from tplm_daq.cli.main import EXIT_STOPPED
from tplm_daq.host import HostClient, find_hosts, pick_host
from tplm_daq.series import read_manifest
from tplm_daq.station import Station
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Wanted
from tplm_gui.hub import Hub
from tplm_gui.window import Window
from tplm_simulators import VirtualMicroscope

from .conftest import Threads
from .person import LONG, VIEWS, Person, dark, stored


@pytest.fixture
def person(qtbot: QtBot, window: Window) -> Iterator[Person]:
    person = Person(qtbot, window)
    yield person
    assert person.others.shown == []


def test_a_session_from_the_first_click_to_the_same_again(
    person: Person, microscopes: list[VirtualMicroscope], tmp_path: Path
) -> None:
    for view in VIEWS:
        person.go_to(view)
    person.connect()
    assert dark(microscopes)
    # align: light, a cross, the spot, its zero, dark
    person.go_to("align")
    for name, text in (("align-dwell", "0.05"), ("align-places", "11")):
        person.type_in(name, text, "align")
    person.click("align-light")
    person.until(lambda: person.text("align-count-rate") not in ("–", "—", ""))
    assert not dark(microscopes)
    for name in ("cross", "find", "centre"):
        person.click(f"align-{name}")
        person.until(lambda name=name: WORDS[name] in newest(person.find("align-found")))
    person.click("align-dark")
    person.until(lambda: not person.hub.status["station"]["aligning"])
    assert dark(microscopes)
    # a scan: pause, continue, stop
    person.start_scan("film", MIDDLE)
    path = tmp_path / "film.h5"
    person.click("controls-pause")
    person.until(lambda: person.state == "paused")
    assert dark(microscopes)
    held = person.visits
    assert person.text("controls-pause") == "&Continue"
    person.click("controls-pause")
    person.until(lambda: person.visits > held)
    person.click("controls-stop")
    person.until_idle()
    assert person.last == {"kind": "scan", "path": str(path), "ending": "stopped"}
    assert dark(microscopes)
    done = stored(path)
    assert held < done < PLANNED
    # what is left is offered, and done
    person.go_to("scan")
    offer = f"{path}: {done} of {PLANNED} visits"
    person.until(lambda: offer in person.find("scan-resume").toolTip())
    assert "film.h5" in person.text("scan-resume")
    person.click("scan-resume")
    person.until(lambda: person.last.get("ending") == "completed")
    person.until_idle()
    assert stored(path) == PLANNED
    assert dark(microscopes)
    # the file is browsed, and its plan put into the form again
    person.go_to("browse")
    person.drop(path)
    listed = person.find("browse-list")
    person.until(lambda: listed.rowCount() == 1 and listed.item(0, 5).text().startswith("0."))
    person.type_in("positions", "5", "scan")
    person.click("browse-again")
    person.until(lambda: not person.window.docks["scan"].visibleRegion().isEmpty())
    assert person.find("positions", "scan").text() == MIDDLE["positions"]
    person.click("scan-start")
    person.until(lambda: person.last.get("path") not in ("", str(path)))
    person.until_idle()
    assert stored(Path(person.last["path"])) == PLANNED
    assert not [bar.news for bar in person.window.banners.bars if bar.news.level == "error"]


MIDDLE = {"positions": "11", "dwell_s": "0.5", "passes": "20"}
PLANNED = 2 + 11 * 20
"""With the background before and after."""


AT_ONCE_MS = 1000
"""A press, its way to the station, the shutter; on a machine that others use too."""
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def test_emergency_is_dark_in_truth_whatever_goes_on_and_wherever_one_types(
    person: Person, microscopes: list[VirtualMicroscope], tmp_path: Path
) -> None:
    person.connect()
    # by hand: the laser on and the shutter open
    person.click("set-emission")
    person.until(lambda: person.hub.readings["values"].get("emission"))
    person.click("set-shutter")
    person.until(lambda: not dark(microscopes))
    person.click("controls-emergency")
    person.until(lambda: dark(microscopes), AT_ONCE_MS)
    person.until(lambda: person.bar("asked-emergency"))
    # aligning, the focus in a number that is half typed
    person.go_to("align")
    person.click("align-light")
    person.until(lambda: person.hub.status["station"]["aligning"])
    person.until(lambda: not dark(microscopes))
    person.type_in("align-dwell", "0.", "align")
    person.key(Qt.Key.Key_Escape, CTRL)
    person.until(lambda: dark(microscopes), AT_ONCE_MS)
    person.until(lambda: not person.hub.status["station"]["aligning"])
    person.until_idle()
    # scanning, the focus in a text
    person.start_scan("film")
    field = person.find("scan-name")
    field.setFocus()
    person.qtbot.keyClicks(field, "-next")
    person.key(Qt.Key.Key_Escape, SHIFT)
    person.until(lambda: dark(microscopes), AT_ONCE_MS)
    person.until(lambda: person.last.get("ending") == "aborted")
    assert microscopes[-1].laser.output_nw() == 0
    # Esc in a text: aligning ends, and so does a scan, at the end of its visit
    person.until_idle()
    person.go_to("align")
    person.click("align-light")
    person.until(lambda: not dark(microscopes))
    person.type_in("align-dwell", "0.", "align")
    person.key(Qt.Key.Key_Escape)
    person.until(lambda: dark(microscopes) and not person.hub.status["station"]["aligning"])
    person.until_idle()
    person.start_scan("second")
    person.find("scan-name").setFocus()
    person.key(Qt.Key.Key_Escape)
    person.until(lambda: person.last == {
        "kind": "scan", "path": str(tmp_path / "second.h5"), "ending": "stopped"
    })  # fmt: skip
    assert dark(microscopes)


def test_a_window_that_is_closed_leaves_the_scan_running(
    person: Person, qtbot: QtBot, station: Station, threads: Threads, tmp_path: Path
) -> None:
    """How a new window finds it again: ``test_kills.py``."""
    person.connect()
    person.start_scan("film", LONG)
    person.leave_running()
    before = stored(tmp_path / "film.h5")
    with threads.lent(), HostClient(pick_host("watch")) as client:
        qtbot.waitUntil(lambda: stored(tmp_path / "film.h5") > before + 3, timeout=10_000)
        status = client.ask("status")["status"]
        assert status["doing"] == "scan"
        assert status["requested"] is None


def test_a_scan_from_a_terminal_is_seen_and_steered(
    qtbot: QtBot, threads: Threads, settings: QSettings, tmp_path: Path
) -> None:
    path = tmp_path / "film.h5"
    with terminal(
        "scan", "line", "--out", str(path), "--set-profile", "simulation.speed=50"
    ) as run:  # fmt: skip
        hub = Hub()
        link = Link(hub, Wanted(attach=run.pid))
        window = Window(hub, settings, link)
        qtbot.addWidget(window)
        window.show()
        person = Person(qtbot, window)
        with qtbot.waitSignal(window.loaded, timeout=20_000):
            window.load_views()
        with threads.lent():
            qtbot.waitUntil(lambda: any(e.pid == run.pid for e in find_hosts()), timeout=20_000)
        link.begin()
        person.until(lambda: person.doing == "scan" and person.visits >= 1)
        assert "from a terminal" in person.text("controls-host")
        maps: list[Any] = []
        hub.map_changed.connect(maps.append)
        person.until(lambda: maps and maps[-1].done >= 1)
        person.click("controls-pause")
        person.until(lambda: person.state == "paused")
        person.key(Qt.Key.Key_Escape)
        assert run.wait(30) == EXIT_STOPPED
        person.until(lambda: person.bar("host"))
        bar = person.bar("host")
        assert bar is not None
        assert "film.h5 from a terminal is over" in bar.news.text
        window.close()
    assert stored(path) >= 1


def test_a_series_is_started_reordered_stopped_and_resumed(person: Person, tmp_path: Path) -> None:
    person.connect()
    plan = SeriesPlan.model_validate({
        "kind": "series", "scan": {"kind": "line", "positions": 7, "dwell_s": 0.5, "passes": 8,
                                   "card": {"time_bin_ps": 200, "range_ns": 25.6}},
        "axes": [{"power_nw": [1.0, 2.0, 3.0, 4.0]}],
    })  # fmt: skip
    file = tmp_path / "four.toml"
    file.write_text(to_toml(plan))
    person.go_to("series")
    view = person.find("series")
    view.open_plan(str(file))
    person.type_in("series-name", "powers", "series")
    person.click("series-start")
    person.until(lambda: person.doing == "series")
    folder = tmp_path / "powers"
    table = person.find("series-table")
    person.until(lambda: table.isVisible() and table.model().rowCount() == 4)
    person.click("controls-pause")
    person.until(lambda: person.state == "paused")
    # the last point before the others that have not begun
    person.until(lambda: view.points.waiting()[-1:] == [3])
    waiting = len(view.points.waiting())
    table.setFocus()
    table.selectRow(3)
    for _ in range(waiting - 1):
        person.key(Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    person.until(lambda: view.points.waiting()[0] == 3)
    person.click("controls-pause")
    person.until(lambda: (person.hub.status.get("point") or {}).get("index") == 3)
    person.key(Qt.Key.Key_Escape)
    person.until_idle()
    assert person.last == {"kind": "series", "path": str(folder), "ending": "stopped"}
    person.click("series-resume")
    person.until(lambda: person.last.get("ending") == "completed")
    points = read_manifest(folder).points
    assert {point.state for point in points} == {"done"}
    began = sorted(points, key=lambda point: (folder / point.file).stat().st_ctime_ns)
    assert [point.index for point in began].index(3) < 3
    person.until(lambda: [table.model().index(i, 0).data() for i in range(4)])
    assert person.text("series-run-done").startswith("4")


@contextmanager
def terminal(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The command line, as a process of its own."""
    words = [sys.executable, "-m", "tplm_daq", *arguments]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


WORDS = {"cross": "cross", "find": "spot", "centre": "centre"}


def newest(table: Any) -> str:
    """What was found last, in a line."""
    cells = [table.item(0, column) for column in range(table.columnCount())]
    return " ".join(cell.text() for cell in cells if cell is not None).lower()
