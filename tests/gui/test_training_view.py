"""A lesson as a trainee meets it: chosen, worked on, judged, and nothing told before."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtWidgets import QLabel, QLineEdit, QStackedWidget, QTextBrowser
from pytestqt.qtbot import QtBot

from tests.daq.scan_files import write_counts
from tplm_analysis import synthetic_map
from tplm_config import CardSettings, LineScan
from tplm_daq.station.asked import read_arguments
from tplm_daq.training import FAULTS, LESSONS, Lesson, draw_lesson
from tplm_gui.hub import Hub, News, Reply
from tplm_gui.views.training import TrainingView


@dataclass
class Station:
    """Judges a lesson as the host does."""

    lesson: Lesson
    asked: list[dict[str, Any]] = field(default_factory=list)
    refuses: str = ""

    def ask(self, command: str, arguments: Any, then: Any) -> None:
        assert command == "judge"
        self.asked.append(dict(arguments))
        if self.refuses:
            then(Reply(ok=False, words=self.refuses))
            return
        asked = read_arguments("judge", arguments)  # what a station takes
        verdict = self.lesson.judge(asked.found, asked.d_found, asked.d_stderr)
        then(Reply(ok=True, words=verdict.words, content={"result": verdict.to_dict()}))


@pytest.fixture
def station() -> Station:
    return Station(draw_lesson("a-bad-day", 5))


@pytest.fixture
def told(hub: Hub) -> list[News]:
    news: list[News] = []
    hub.news.connect(news.append)
    return news


@pytest.fixture
def view(qtbot: QtBot, hub: Hub, station: Station) -> TrainingView:
    hub.asker = station
    view = TrainingView(hub)
    qtbot.addWidget(view)
    view.resize(1000, 620)
    view.show()
    return view


def begin(view: TrainingView, lesson: Lesson, **more: Any) -> None:
    told = {"id": lesson.id, "title": lesson.title, "started": "2026-11-21T10:00:00Z"}
    view.hub.take_status({"doing": "station", "station": {"lesson": told, **more}})


def page(view: TrainingView) -> int:
    pages = view.findChild(QStackedWidget, "training-pages")
    assert pages is not None
    return pages.currentIndex()


def all_text(view: TrainingView) -> str:
    """Every word that the page shows, tooltips too."""
    pages = view.findChild(QStackedWidget, "training-pages")
    assert pages is not None
    shown = pages.currentWidget()
    assert shown is not None
    parts = [label.text() + label.toolTip() for label in shown.findChildren(QLabel)]
    parts += [line.text() + line.toolTip() for line in shown.findChildren(QLineEdit)]
    parts += [text.toPlainText() for text in shown.findChildren(QTextBrowser)]
    return "\n".join(parts)


def test_a_lesson_is_chosen_and_asked_for(qtbot: QtBot, view: TrainingView) -> None:
    assert view._lessons.count() == len(LESSONS)
    view.choose("something-is-wrong", 17)
    with qtbot.waitSignal(view.lesson_requested) as asked:
        view.start_button.click()
    assert asked.args == ["something-is-wrong", 17]
    assert "being started" in all_text(view)
    assert page(view) == 0  # until the station says so
    begin(view, draw_lesson("something-is-wrong", 17))
    assert page(view) == 1


def test_notes_outlive_the_window_but_not_the_lesson(
    qtbot: QtBot, view: TrainingView, station: Station
) -> None:
    key = next(iter(FAULTS))
    begin(view, station.lesson)
    view.evidence[key].setText("moved by 0.3 µm")
    view.ticks[key].setChecked(True)
    view.d.setText("0.031")
    view.hide()  # as the window closes, before the pause after the last key is over
    for lesson, wanted in ((station.lesson, True), (draw_lesson("a-bad-day", 6), False)):
        other = TrainingView(view.hub)
        qtbot.addWidget(other)
        other.show()
        begin(other, lesson)
        assert (other.evidence[key].text() == "moved by 0.3 µm") is wanted
        assert (other.found == [key]) is wanted
        assert (other.d.text() == "0.031") is wanted
    begin(view, station.lesson)
    view.show()
    view.judge_button.click()
    last = TrainingView(view.hub)
    qtbot.addWidget(last)
    begin(last, station.lesson)
    assert last.found == []  # it was judged


def test_a_window_without_stations_says_how(view: TrainingView, told: list[News]) -> None:
    view.choose("first-light", 3)
    view.start_button.click()
    assert "tplm host --lesson first-light --seed 3" in told[0].text


def test_nothing_is_told_before(view: TrainingView, station: Station) -> None:
    begin(view, station.lesson)
    text = all_text(view)
    for hidden in station.lesson.hidden:
        assert hidden.amount not in text
        assert FAULTS[hidden.key].effect not in text
    assert f"{station.lesson.d_true_cm2_per_s:.3g}" not in text
    assert station.lesson.task in text
    assert station.asked == []


def test_the_plan_of_a_colleague(view: TrainingView, station: Station, hub: Hub) -> None:
    begin(view, station.lesson)
    offered: list[object] = []
    views: list[str] = []
    hub.plan_offered.connect(offered.append)
    hub.view_requested.connect(views.append)
    view.plan_button.click()
    assert offered == [station.lesson.plan]
    assert views == ["scan"]


@pytest.mark.parametrize(("right", "d", "head"), [
    (True, True, "Passed"), (False, True, "Not yet"), (True, False, "Not yet"),
])  # fmt: skip
def test_judged(view: TrainingView, station: Station, right: bool, d: bool, head: str) -> None:
    lesson = station.lesson
    begin(view, lesson)
    keys = [hidden.key for hidden in lesson.hidden]
    ticked = keys if right else [next(key for key in FAULTS if key not in keys)]
    for key in ticked:
        view.ticks[key].setChecked(True)
        view.evidence[key].setText(f"seen <b>{key}</b>")
    true = lesson.d_true_cm2_per_s
    view.d.setText(f"{true if d else 3 * true:.5f}")
    view.d_stderr.setText(f"{true / 50:.5f}")
    view.judge_button.click()
    assert page(view) == 2
    assert station.asked[0]["found"] == [key for key in FAULTS if key in ticked]
    text = all_text(view)
    assert text.startswith(head)
    for hidden in lesson.hidden:
        fault = FAULTS[hidden.key]
        for words in (hidden.amount, fault.title, fault.sees, fault.finds, fault.effect):
            assert words in text
    for key in ticked:
        assert f"seen <b>{key}</b>" in text  # as it was written
    assert ("was not so" in text) is not right
    # the station says that the lesson is over; the verdict stays
    view.hub.take_status({"station": {"lesson": None}})
    assert page(view) == 2


def test_giving_up_takes_two_clicks(view: TrainingView, station: Station) -> None:
    begin(view, station.lesson)
    view.give_up_button.click()
    assert page(view) == 1
    assert station.asked == []
    view.ticks["room-light"].setChecked(True)  # second thoughts
    view.give_up_button.click()
    assert page(view) == 1
    view.give_up_button.click()
    assert page(view) == 2
    assert all_text(view).startswith("Given up")


def test_a_refusal_is_told_and_the_lesson_goes_on(
    view: TrainingView, station: Station, told: list[News]
) -> None:
    station.refuses = "no lesson goes on"
    begin(view, station.lesson)
    view.judge_button.click()
    assert page(view) == 1
    assert told[-1].text == "no lesson goes on"
    assert view.judge_button.isEnabled()


@pytest.mark.parametrize("text", ["x", "-1", "nan", "1e9"])
def test_a_d_that_is_none_cannot_be_judged(view: TrainingView, station: Station, text: str) -> None:
    begin(view, station.lesson)
    view.d.setText(text)
    assert not view.judge_button.isEnabled()
    view.d.setText("0,031")
    assert view.judge_button.isEnabled()
    view.judge_button.click()
    assert station.asked[0]["d_found"] == 0.031


def test_d_of_the_last_scan(
    qtbot: QtBot, view: TrainingView, station: Station, told: list[News], tmp_path: Path
) -> None:
    begin(view, station.lesson, last=None)
    view._take_fit()
    assert told[-1].level == "info"
    made = synthetic_map(
        3, d_cm2_per_s=0.05, positions=15, bins=128, bin_ns=0.1, time_zero_ns=1.0, amplitude=3e5
    )
    plan = LineScan(
        half_range_um=2, positions=15, passes=1, card=CardSettings(time_bin_ps=100, range_ns=12.8)
    )
    write_counts(tmp_path / "a.h5", plan, table=made.counts)
    last = {"kind": "scan", "path": "a.h5", "ending": "completed"}
    begin(view, station.lesson, last=last, folder=str(tmp_path))
    view._take_fit()
    qtbot.waitUntil(lambda: view.background.busy == 0, timeout=20_000)
    d, error = view.d.number(), view.d_stderr.number()
    assert d is not None
    assert error is not None
    assert abs(d - 0.05) < 4 * error
    # of a run that goes on the status tells it
    status = {**view.hub.status, "d_cm2_per_s": 0.0123, "d_stderr_cm2_per_s": 0.0004}
    view.hub.take_status(status)
    view._take_fit()
    assert (view.d.text(), view.d_stderr.text()) == ("0.0123", "0.0004")


def test_a_new_lesson_begins_with_an_empty_list(view: TrainingView, station: Station) -> None:
    begin(view, station.lesson)
    view.ticks["drifting"].setChecked(True)
    view.evidence["drifting"].setText("x")
    view.d.setText("0.1")
    view.judge_button.click()
    begin(view, draw_lesson("first-light", 1))
    assert page(view) == 1
    assert view.found == []
    assert view.evidence["drifting"].text() == ""
    assert view.d.text() == ""
    view.hub.take_status({"station": {"lesson": None}})
    assert page(view) == 0


def test_a_lesson_that_is_unknown_here(view: TrainingView, told: list[News]) -> None:
    view.hub.take_status({"station": {"lesson": {"id": "nonsense:1", "title": "?"}}})
    assert page(view) == 0
    assert told[-1].level == "error"
