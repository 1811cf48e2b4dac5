"""The log pane."""

import json
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tplm_gui.hub import Hub
from tplm_gui.views import log
from tplm_gui.views.log import LogView, line_of

AT = "2026-11-21T10:00:00+00:00"


def notice(text: str, level: str = "info") -> dict[str, Any]:
    return {"at": AT, "event": "notice", "level": level, "code": "x", "message": text}


def write(path: Path, *events: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


@pytest.fixture
def view(qtbot: QtBot, hub: Hub) -> LogView:
    view = LogView(hub)
    qtbot.addWidget(view)
    view.resize(900, 160)
    view.show()
    return view


def follow(hub: Hub, path: Path) -> None:
    hub.take_status({"doing": "station", "station": {"log": str(path)}})


def test_paths_are_written_from_the_home_folder_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    told = log.Line(AT, "info", f"scanning into {tmp_path / 'films' / 'a.h5'}, not {tmp_path}x")
    assert told.shown.endswith(f"scanning into {Path('~/films/a.h5')}, not {tmp_path}x")


def texts(view: LogView) -> list[str]:
    return [line.split("  ", 2)[2].strip() for line in view.shown()]


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (notice("hot", "warning"), "warning", "hot"),
        (
            {"event": "state-changed", "state": "paused", "why": "too hot"},
            "info",
            "paused: too hot",
        ),
        (
            {"event": "run-started", "visits_planned": 9, "visits_to_do": 4},
            "info",
            "the scan begins: 4 of 9 visits to do",
        ),
        (
            {"event": "run-ended", "ending": "failed", "message": "no light"},
            "error",
            "the scan failed: no light",
        ),
        (
            {"event": "point-ended", "index": 3, "ending": "completed", "message": "ok"},
            "info",
            "point 3 completed: ok",
        ),
        ({"event": "job-ended", "ok": False, "message": "no peak"}, "error", "no peak"),
        (
            {"event": "centred", "x_um": 0.1, "y_um": -0.25},
            "info",
            "the emission peak was found at x +0.100 y -0.250 µm",
        ),
    ],
)
def test_a_line_for_what_is_worth_one(event: dict[str, Any], level: str, text: str) -> None:
    line = line_of(event, AT)
    assert line is not None
    assert (line.level, line.text) == (level, text)


@pytest.mark.parametrize("name", ["visit-stored", "visit-started", "rates", "readings", "light"])
def test_no_line_for_a_visit_or_a_meter(name: str) -> None:
    assert line_of({"event": name}) is None


def test_all_that_was_before_and_all_that_comes(
    hub: Hub, view: LogView, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "station.jsonl"
    write(path, notice("one"), notice("two", "error"))
    follow(hub, path)
    qtbot.waitUntil(lambda: texts(view) == ["one", "two"])
    with path.open("a") as file:
        file.write('{"event": "notice", "level": "info", ')  # half of a line
        file.flush()
        write(tmp_path / "other", notice("not this"))
        file.write('"code": "", "message": "three"}\nnot json\n')
    hub.happened.emit(notice("three"))
    qtbot.waitUntil(lambda: texts(view) == ["one", "two", "three"])


def test_without_a_log_file_the_last_messages_and_what_comes(hub: Hub, view: LogView) -> None:
    messages = [{"at": AT, "level": "warning", "text": "before"}]
    hub.take_status({"doing": "scan", "station": None, "messages": messages})
    hub.happened.emit({"event": "notice", "level": "info", "message": "after"})
    hub.take_status({"doing": "scan", "station": None, "messages": messages})
    assert texts(view) == ["before", "after"]


def test_filters(hub: Hub, view: LogView) -> None:
    hub.take_status({"doing": "scan", "station": None, "messages": []})
    for text, level in (("Stage moved", "info"), ("stage slow", "warning"), ("laser", "error")):
        hub.happened.emit(notice(text, level))
    view.search.setText("STAGE")
    assert texts(view) == ["Stage moved", "stage slow"]
    view.level.setCurrentIndex(1)
    assert texts(view) == ["stage slow"]
    view.search.setText("")
    view.level.setCurrentIndex(2)
    assert texts(view) == ["laser"]
    assert view.count.text() == "1 of 3 lines"


def test_the_oldest_go(hub: Hub, view: LogView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST", 50)
    hub.take_status({"doing": "scan", "station": None, "messages": []})
    for i in range(120):
        hub.happened.emit(notice(f"line {i}"))
    assert texts(view) == [f"line {i}" for i in range(70, 120)]


def test_it_follows_the_end_unless_scrolled_up(hub: Hub, view: LogView) -> None:
    hub.take_status({"doing": "scan", "station": None, "messages": []})
    for i in range(100):
        hub.happened.emit(notice(f"line {i}"))
    bar = view.list.verticalScrollBar()
    assert bar is not None
    assert bar.value() == bar.maximum() > 0
    bar.setValue(3)
    hub.happened.emit(notice("one more"))
    assert bar.value() == 3
    view.list.scrollToBottom()
    hub.happened.emit(notice("and one more"))
    assert bar.value() == bar.maximum()


def test_copy_and_save(hub: Hub, view: LogView, qtbot: QtBot, tmp_path: Path) -> None:
    hub.take_status({"doing": "scan", "station": None, "messages": []})
    for text in ("one", "two µm", "three"):
        hub.happened.emit(notice(text))
    view.list.setCurrentIndex(view.list.model().index(1, 0))  # type: ignore[union-attr]
    view.copy.click()
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    assert clipboard.text() == f"{AT}  info     two µm"
    view.list.clearSelection()
    view.copy.click()
    assert len(clipboard.text().splitlines()) == 3
    with qtbot.waitSignal(hub.news) as told:
        view.save_to(tmp_path / "kept.log")
    assert told.args is not None
    assert told.args[0].level == "info"
    assert (tmp_path / "kept.log").read_text(encoding="utf-8").count("\n") == 3
    with qtbot.waitSignal(hub.news) as told:
        view.save_to(tmp_path / "no" / "such" / "kept.log")
    assert told.args is not None
    assert told.args[0].level == "error"
