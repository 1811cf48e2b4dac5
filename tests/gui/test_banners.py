"""The bars above the views."""

import pytest
from PyQt6.QtCore import Qt
from pytestqt.qtbot import QtBot

from tplm_gui.hub import Hub
from tplm_gui.widgets import banners
from tplm_gui.widgets.banners import Banners


@pytest.fixture
def bars(qtbot: QtBot, hub: Hub) -> Banners:
    found = Banners(hub)
    qtbot.addWidget(found)
    return found


def texts(bars: Banners) -> list[str]:
    return [bar.news.text for bar in bars.bars]


def test_nothing_is_shown_when_there_is_nothing(bars: Banners) -> None:
    assert bars.isHidden()


def test_worst_first_then_newest(hub: Hub, bars: Banners) -> None:
    for level, text in (("info", "a"), ("error", "b"), ("warning", "c"), ("error", "d")):
        hub.tell(level, text)  # type: ignore[arg-type]
    assert texts(bars) == ["d", "b", "c", "a"]


def test_three_and_the_number_of_the_others(hub: Hub, bars: Banners, qtbot: QtBot) -> None:
    for i in range(5):
        hub.tell("error", f"sentence {i}")
    assert [not bar.isHidden() for bar in bars.bars] == [True] * 3 + [False] * 2
    assert bars.more.text() == "2 more"
    qtbot.mouseClick(bars.more, Qt.MouseButton.LeftButton)
    assert all(not bar.isHidden() for bar in bars.bars)
    for _ in range(2):
        qtbot.mouseClick(bars.bars[0].dismiss, Qt.MouseButton.LeftButton)
    assert bars.more.isHidden()
    assert len(bars.bars) == 3


def test_the_same_code_takes_its_place(hub: Hub, bars: Banners) -> None:
    hub.tell("warning", "the count rate is 1.2 %", "pile-up")
    hub.tell("error", "the shutter hangs", "shutter")
    hub.tell("warning", "the count rate is 1.4 %", "pile-up")
    assert texts(bars) == ["the shutter hangs", "the count rate is 1.4 %"]
    hub.tell("info", "", "pile-up")
    assert texts(bars) == ["the shutter hangs"]


def test_without_a_code_the_same_sentence_is_there_once(hub: Hub, bars: Banners) -> None:
    for _ in range(3):
        hub.tell("error", "the disk is full")
    assert texts(bars) == ["the disk is full"]


def test_information_goes_by_itself_and_errors_stay(
    hub: Hub, bars: Banners, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banners, "INFO_S", 0.02)
    hub.tell("error", "stays")
    hub.tell("warning", "stays, too")
    hub.tell("info", "may be acted on", "x", "Act", lambda: None)
    hub.tell("info", "goes")
    qtbot.waitUntil(lambda: "goes" not in texts(bars), timeout=2000)
    assert texts(bars) == ["stays", "stays, too", "may be acted on"]


def test_the_button_acts_and_takes_the_bar_away(hub: Hub, bars: Banners, qtbot: QtBot) -> None:
    done: list[int] = []
    hub.tell("error", "the host is gone", "host", "Start again", lambda: done.append(1))
    qtbot.mouseClick(bars.bars[0].buttons[0], Qt.MouseButton.LeftButton)
    assert done == [1]
    assert not bars.bars


def test_a_question_has_its_choices_and_is_not_modal(bars: Banners, qtbot: QtBot) -> None:
    chosen: list[str] = []
    bars.question(
        "?", [("&A", lambda: chosen.append("a")), ("&B", lambda: chosen.append("b"))], "q"
    )
    bar = bars.bars[0]
    assert not bar.isModal()
    assert bar.buttons[0].isDefault()
    qtbot.mouseClick(bar.buttons[1], Qt.MouseButton.LeftButton)
    assert chosen == ["b"]


def test_a_sentence_is_not_taken_for_markup(hub: Hub, bars: Banners) -> None:
    hub.tell("error", "rate < 5 & <b>not</b>")
    assert "rate &lt; 5 &amp; &lt;b>not&lt;/b>" in bars.bars[0].text.text()
