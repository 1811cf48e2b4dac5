"""A whole session as a person has it: a real station, a real window, keys and clicks."""

from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import Qt
from pytestqt.qtbot import QtBot

from tplm_gui.window import Window
from tplm_simulators import VirtualMicroscope

from .person import SMALL, Person, dark, stored


@pytest.fixture
def person(qtbot: QtBot, window: Window, microscopes: list[VirtualMicroscope]) -> Person:
    return Person(qtbot, window)


def test_a_session_from_the_first_click_to_the_same_again(
    person: Person, microscopes: list[VirtualMicroscope], tmp_path: Path
) -> None:
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
        found = person.find("align-found")
        person.until(lambda name=name: found.rowCount() > 0 and WORDS[name] in row(found))
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
    person.until(lambda: "film.h5" in person.text("scan-resume"))
    assert f"{done} of {PLANNED} visits" in person.find("scan-resume").toolTip()
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


MIDDLE = {"positions": "11", "dwell_s": "0.5", "passes": "12"}
PLANNED = 11 * 12
WORDS = {"cross": "cross", "find": "spot", "centre": "centre"}


def row(table: Any) -> str:
    return " ".join(table.item(0, i).text() for i in range(table.columnCount())).lower()
