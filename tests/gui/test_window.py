"""The window: keys, docks, what is kept, what is dropped on it, and how it closes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QByteArray, QMimeData, QPointF, QSettings, Qt, QUrl
from PyQt6.QtGui import QColor, QDropEvent
from PyQt6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)
from pytestqt.qtbot import QtBot

from tplm_gui import app, theme
from tplm_gui import window as module
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Found, Wanted
from tplm_gui.hub import Hub, Reply
from tplm_gui.views.controls import profile_words, progress, state_words
from tplm_gui.window import VIEWS, Window

from .conftest import Recorder

STATION = {
    "profile": "simulated", "simulated": True, "wired": False, "speed": 10.0, "connected": True,
    "aligning": False, "job": None, "last": None,
}  # fmt: skip
IDLE = {"doing": "station", "state": "idle", "ending": None, "station": STATION}
SCAN = {
    "doing": "scan", "path": "/data/film.h5", "state": "counting", "why": "", "requested": None,
    "visits_done": 5, "visits_planned": 20, "points_planned": None, "points_done": None,
    "d_cm2_per_s": 0.05123, "d_stderr_cm2_per_s": 0.0031, "left_s": 650.0, "ending": None,
    "ended_because": "", "station": STATION,
}  # fmt: skip
LAST = {"kind": "scan", "path": "/a/b.h5", "ending": "stopped"}
Key = Qt.Key
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def bare(qtbot: QtBot, hub: Hub, settings: QSettings) -> Iterator[Window]:
    """A window without its views and without a host."""
    window = Window(hub, settings)
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    window.let_go()
    window.close()


# -- the whole, with a station ---------------------------------------------------------------


def test_every_view_is_there_and_the_strip_says_what_goes_on(window: Window, qtbot: QtBot) -> None:
    broken = [w.objectName() for w in window.findChildren(QLabel) if "-broken" in w.objectName()]
    assert not broken
    assert window.controls.profile.text() == "simulated"
    assert window.controls.state.text() == "not connected"
    assert "station, process" in window.controls.host.text()
    # the link answers Stop, also when there is nothing to stop
    qtbot.keyClick(window, Key.Key_Escape)
    qtbot.waitUntil(
        lambda: any(b.news.code == "asked-stop" for b in window.banners.bars), timeout=3000
    )


def test_it_fits_a_small_screen_with_banners_too(window: Window, qtbot: QtBot) -> None:
    window.resize(1366, 768)
    for i in range(5):
        window.hub.tell("error", f"{i}: " + "a sentence that is long enough to be wrapped " * 6)
    qtbot.waitUntil(lambda: window.menuWidget().height() > 150)  # type: ignore[union-attr]
    assert window.minimumSizeHint().height() < 768
    assert (window.width(), window.height()) == (1366, 768)


@pytest.mark.parametrize("wide", [1366, 1000, 800, 640, 480, 200])
def test_stop_and_emergency_are_seen_however_narrow_it_is(
    bare: Window, qtbot: QtBot, wide: int
) -> None:
    bare.hub.take_status({**SCAN, "path": "/data/" + "a-film-with-a-long-name" * 5 + ".h5"})
    bare.resize(wide, 768)
    strip = bare.controls
    qtbot.waitUntil(lambda: strip.width() <= bare.width())
    assert bare.width() == max(wide, module.LEAST_WIDTH)
    last = 0
    for button in (strip.pause, strip.stop, strip.emergency):
        left = button.mapTo(bare, button.rect().topLeft()).x()
        assert last <= left and left + button.width() <= bare.width(), button.objectName()
        last = left + button.width()
        assert button.isVisible() and not button.visibleRegion().isEmpty()
    assert strip.state.isVisible() and strip.state.width() > 80
    assert strip.d.isVisible() is (wide >= 1000)


@pytest.mark.parametrize("dark", [False, True])
def test_edges_are_seen(qapp: QApplication, qtbot: QtBot, dark: bool) -> None:
    """Of what one types into, ticks or presses, without the focus: 1.5 times as light, or dark."""
    was_dark = theme.current_is_dark()
    theme.apply(qapp, dark)
    try:
        box = QWidget()
        qtbot.addWidget(box)
        ticked = QCheckBox(box)
        ticked.setChecked(True)
        parts = [QSpinBox(box), QDoubleSpinBox(box), QComboBox(box), QPushButton("x", box), ticked]
        for i, part in enumerate(parts):
            part.setGeometry(10, 10 + 40 * i, 80, 24)
        box.show()
        picture = box.grab().toImage()
        for part in parts:
            y = part.geometry().center().y()
            across = [picture.pixelColor(x, y) for x in (4, *range(9, 13))]
            contrast = max(_contrast(across[0], colour) for colour in across)
            assert contrast > 1.5, type(part).__name__
    finally:
        theme.apply(qapp, was_dark)


def _contrast(one: QColor, other: QColor) -> float:
    """Ratio of what two colours give to the eye, as WCAG 2 has it."""

    def light(colour: QColor) -> float:
        parts = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4
                 for p in (colour.redF(), colour.greenF(), colour.blueF()))  # fmt: skip
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True)) + 0.05

    a, b = light(one), light(other)
    return max(a, b) / min(a, b)


def test_the_log_keeps_its_height(window: Window, qtbot: QtBot) -> None:
    window.resize(1366, 768)
    window.reset_layout()
    log = window.docks["log"]
    qtbot.waitUntil(lambda: abs(log.height() - 110) <= 2)
    window.hub.tell("error", "something is so", "so")
    qtbot.waitUntil(lambda: window.menuWidget().height() > 90)  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: abs(log.height() - 110) <= 2)
    window.hub.tell("info", "", "so")
    qtbot.waitUntil(lambda: window.menuWidget().height() < 90)  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: abs(log.height() - 110) <= 2)
    window.resize(3840, 2160)
    qtbot.waitUntil(lambda: abs(log.height() - 110) <= 2)
    window.reset_layout()
    qtbot.waitUntil(lambda: abs(log.height() - 240) <= 2)


# -- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "modifier", "asked"),
    [
        (Key.Key_Escape, NONE, "stop"),
        (Key.Key_Escape, CTRL, "emergency"),
        (Key.Key_Escape, SHIFT, "emergency"),
    ],
)
@pytest.mark.parametrize("where", ["window", "field", "floating"])
def test_stop_and_emergency_from_anywhere(
    bare: Window, qtbot: QtBot, recorder: Recorder, key: Key, modifier: Qt.KeyboardModifier,
    asked: str, where: str,
) -> None:  # fmt: skip
    target: Any = bare
    if where != "window":
        target = QLineEdit()
        dock = bare.docks["scan"]
        dock.setWidget(target)
        bare.show_view("scan")
        if where == "floating":
            dock.setFloating(True)
            dock.activateWindow()
            qtbot.waitUntil(dock.isActiveWindow)
        target.setFocus()
    qtbot.keyClick(target, key, modifier)
    assert recorder.commands == [asked]


@pytest.mark.parametrize(("number", "key"), list(enumerate((v.key for v in VIEWS[:7]), 1)))
def test_a_key_for_each_view(bare: Window, qtbot: QtBot, number: int, key: str) -> None:
    bare.show_view("training" if key != "training" else "align")
    qtbot.keyClick(bare, Key(Key.Key_0 + number), CTRL)
    qtbot.waitUntil(lambda: not bare.docks[key].visibleRegion().isEmpty(), timeout=1000)


def test_log_help_and_full_screen(bare: Window, qtbot: QtBot) -> None:
    bare.docks["log"].hide()
    qtbot.keyClick(bare, Key.Key_L, CTRL)
    assert bare.docks["log"].isVisible()
    qtbot.keyClick(bare, Key.Key_F1)
    assert bare.help_dock.isVisible()
    assert "Emergency" in bare.help.toPlainText()
    qtbot.keyClick(bare, Key.Key_F11)
    assert bare.isFullScreen()
    qtbot.keyClick(bare, Key.Key_F11)
    assert not bare.isFullScreen()


def test_space_does_not_stop_a_run(bare: Window, qtbot: QtBot, recorder: Recorder) -> None:
    assert bare.focusWidget() is not bare.controls.stop
    qtbot.mouseClick(bare.controls.emergency, Qt.MouseButton.LeftButton)
    qtbot.keyClick(bare, Key.Key_Space)
    assert recorder.commands == ["emergency"]


# -- the strip -------------------------------------------------------------------------------


def test_the_strip_of_a_scan(bare: Window, hub: Hub, qtbot: QtBot, recorder: Recorder) -> None:
    hub.take_status(SCAN)
    strip = bare.controls
    assert strip.state.text() == "scan film.h5: counting"
    assert strip.progress.value() == 250
    assert strip.progress.format() == "5 of 20 visits"
    assert strip.d.value.text() == "0.0512 ± 0.0031"
    assert strip.left.value.text() == "1 min 05 s"
    assert bare.windowTitle().startswith("25% · film.h5")
    qtbot.mouseClick(strip.pause, Qt.MouseButton.LeftButton)
    hub.take_status(SCAN | {"state": "paused", "why": "asked for"})
    qtbot.mouseClick(strip.pause, Qt.MouseButton.LeftButton)
    assert recorder.commands == ["pause", "continue"]
    hub.take_status(IDLE)
    assert not strip.pause.isEnabled()
    assert strip.stop.isEnabled()
    assert strip.emergency.isEnabled()


def test_stop_without_a_host_says_so(qtbot: QtBot, settings: QSettings) -> None:
    hub = Hub()
    window = Window(hub, settings, Link(hub, Wanted()))
    qtbot.addWidget(window)
    window.controls.stop.click()
    (bar,) = window.banners.bars
    assert bar.news.level == "error"
    assert "no host answers" in bar.news.text
    assert "by hand" in bar.news.text
    window.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "nothing is known yet"),
        (IDLE, "ready"),
        (IDLE | {"station": STATION | {"connected": False}}, "not connected"),
        (
            IDLE | {"station": STATION | {"aligning": True}},
            "aligning: the laser is on, the card counts",
        ),
        (IDLE | {"station": STATION | {"job": {"kind": "cross", "words": "a cross"}}}, "a cross"),
        (
            IDLE | {"station": STATION | {"last": LAST}},
            "ready; scan b.h5 stopped",
        ),
        (SCAN | {"requested": "stop"}, "scan film.h5: counting, stop is asked for"),
        (
            SCAN | {"state": "paused", "why": "hot", "requested": "pause"},
            "scan film.h5: paused (hot)",
        ),
        (
            SCAN | {"ending": "failed", "ended_because": "no light"},
            "scan film.h5: failed (no light)",
        ),
    ],
)
def test_state_in_words(status: dict[str, Any], words: str) -> None:
    assert state_words(status) == words


@pytest.mark.parametrize(
    ("station", "words"),
    [
        (STATION, "simulated, 10 × real time"),
        (STATION | {"profile": "mine"}, "mine, simulated, 10 × real time"),
        (
            STATION | {"profile": "mit", "wired": True, "speed": None},
            "mit, its drivers on simulators",
        ),
        (STATION | {"profile": "mit", "simulated": False, "speed": None}, "mit"),
        (None, "from the file"),
    ],
)
def test_profile_in_words(station: dict[str, Any] | None, words: str) -> None:
    assert profile_words({"station": station}, "from the file") == words


@pytest.mark.parametrize(
    ("status", "share", "words"),
    [
        (IDLE, 0.0, ""),
        (SCAN, 0.25, "5 of 20 visits"),
        (SCAN | {"visits_planned": None}, 0.0, ""),
        (
            SCAN | {"doing": "series", "points_planned": 10, "points_done": 3},
            0.325,
            "3 of 10 points · 5 of 20 visits",
        ),
        (
            SCAN
            | {"doing": "series", "points_planned": 4, "points_done": 4, "ending": "completed"},
            1.0,
            "4 of 4 points · 5 of 20 visits",
        ),
    ],
)
def test_progress(status: dict[str, Any], share: float, words: str) -> None:
    assert progress(status) == (pytest.approx(share), words)


# -- docks and what is kept ------------------------------------------------------------------


def test_a_broken_view_is_told_in_its_place(
    bare: Window, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> Any:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(module, "import_module", broken)
    with qtbot.waitSignal(bare.loaded, timeout=10_000):
        bare.load_views()
    label = bare.findChild(QLabel, "live-broken")
    assert label is not None
    assert "no tplm_gui.views.live" in label.text()
    assert "The run and the other views are not touched" in label.text()


def places(window: Window) -> dict[str, Any]:
    return {key: (window.dockWidgetArea(d), d.isFloating()) for key, d in window.docks.items()}


def test_the_arrangement_is_kept(qtbot: QtBot, hub: Hub, settings: QSettings) -> None:
    first = Window(hub, settings)
    qtbot.addWidget(first)
    first.show()
    before = places(first)
    first.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, first.docks["live"])
    first.docks["series"].setFloating(True)
    moved = places(first)
    first.close()
    second = Window(hub, settings)
    qtbot.addWidget(second)
    assert places(second) == moved != before
    second.reset_layout()
    assert places(second) == before


@pytest.mark.parametrize("state", [QByteArray(b"rubbish"), "rubbish", 3.5, QByteArray()])
def test_rubbish_among_the_settings(
    qtbot: QtBot, hub: Hub, settings: QSettings, state: Any
) -> None:
    usual = Window(hub, settings)
    qtbot.addWidget(usual)
    for key in ("state", "geometry", "colours"):
        settings.setValue(key, state)
    window = Window(hub, settings)
    qtbot.addWidget(window)
    assert places(window) == places(usual)
    assert window.width() > 600


def test_a_settings_file_that_is_not_one(qtbot: QtBot, hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "w.ini"
    path.write_bytes(b"\x00\xff[[[=\n\x89HDF\r\n" * 50)
    window = Window(hub, QSettings(str(path), QSettings.Format.IniFormat))
    qtbot.addWidget(window)
    assert not window.docks["log"].isFloating()


def test_light_and_dark(qtbot: QtBot, bare: Window, settings: QSettings) -> None:
    bare.findChild(type(bare.stop_action), "action-colours-dark").trigger()  # type: ignore[union-attr]
    assert theme.current_is_dark()
    assert settings.value("colours") == "dark"
    with qtbot.waitSignal(theme.notifier.changed):
        bare.findChild(type(bare.stop_action), "action-colours-light").trigger()  # type: ignore[union-attr]
    assert not theme.current_is_dark()


@pytest.mark.parametrize(
    ("names", "opened"),
    [(["film.h5"], ["film.h5"]), (["series"], ["series"]), (["a.txt"], []),
     (["film.h5", "a.txt", "series"], ["film.h5", "series"])],
)  # fmt: skip
def test_dropping_files(
    bare: Window, hub: Hub, tmp_path: Path, names: list[str], opened: list[str]
) -> None:
    (tmp_path / "series").mkdir()
    asked: list[str] = []
    hub.open_requested.connect(asked.append)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / name)) for name in names])
    event = QDropEvent(
        QPointF(9, 9), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, NONE
    )
    bare.dropEvent(event)
    assert asked == [str(tmp_path / name) for name in opened]


# -- closing ---------------------------------------------------------------------------------


def asked_before_closing(window: Window, hub: Hub) -> dict[str, Any]:
    hub.take_status(SCAN)
    assert not window.close()
    (bar,) = [bar for bar in window.banners.bars if bar.news.code == "closing"]
    return {button.text().replace("&", ""): button for button in bar.buttons}


def test_a_run_may_be_left_running(
    bare: Window, hub: Hub, qtbot: QtBot, recorder: Recorder
) -> None:
    choices = asked_before_closing(bare, hub)
    with qtbot.waitSignal(bare.closed):
        choices["Leave it running"].click()
    assert recorder.commands == []


def test_closing_twice_leaves_it_running(bare: Window, hub: Hub, recorder: Recorder) -> None:
    asked_before_closing(bare, hub)
    assert bare.close()
    assert recorder.commands == []


def test_a_run_may_be_stopped_first(
    bare: Window, hub: Hub, qtbot: QtBot, recorder: Recorder
) -> None:
    choices = asked_before_closing(bare, hub)
    choices["Stop it first"].click()
    assert recorder.commands == ["stop"]
    assert bare.isVisible()
    with qtbot.waitSignal(bare.closed):
        hub.take_status(IDLE)


def test_one_may_stay(bare: Window, hub: Hub) -> None:
    asked_before_closing(bare, hub)["Stay here"].click()
    assert bare.isVisible()
    assert not bare.close()  # it asks again


@pytest.mark.parametrize(
    ("own", "status", "asked"),
    [
        (True, IDLE, ["quit"]),
        (False, IDLE, []),
        (True, IDLE | {"station": STATION | {"job": {"kind": "irf", "words": "IRF"}}}, []),
        (False, IDLE | {"station": STATION | {"aligning": True}}, ["dark"]),
        (False, SCAN | {"ending": "completed", "station": None}, []),
    ],
)
def test_an_idle_station_ends_with_the_window_that_started_it(
    qtbot: QtBot, hub: Hub, recorder: Recorder, settings: QSettings, own: bool,
    status: dict[str, Any], asked: list[str],
) -> None:  # fmt: skip
    link = Link(Hub(), Wanted())
    link.found = Found(None, is_own=own, words="")  # type: ignore[arg-type]
    window = Window(hub, settings, link)
    qtbot.addWidget(window)
    window.show()
    hub.take_status(status)
    with qtbot.waitSignal(window.closed, timeout=3000):
        window.close()
    assert recorder.commands == asked


def test_a_host_that_does_not_answer_keeps_nobody_from_closing(
    qtbot: QtBot, hub: Hub, recorder: Recorder, settings: QSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GOODBYE_S", 0.05)
    monkeypatch.setattr(recorder, "ask", lambda *_: None)
    window = Window(hub, settings)
    qtbot.addWidget(window)
    window.show()
    hub.take_status(IDLE | {"station": STATION | {"aligning": True}})
    with qtbot.waitSignal(window.closed, timeout=3000):
        window.close()


# -- the program -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "nowhere"], "nowhere"),
        (["--set-profile", "optics.magnification=-1"], "magnification"),
        (["--speed", "0"], "speed"),
        (["--open", "/no/such/file.h5"], "file.h5"),
        (["--wrong"], "wrong"),
    ],
)
def test_wrong_input_is_one_sentence_before_any_window(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(app, "_show", lambda *_: pytest.fail("a window"))
    assert app.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert "tplm-gui" in capsys.readouterr().out


def test_nothing_heavy_is_loaded_before_the_window_is_up() -> None:
    script = "import sys, json, tplm_gui.app; print(json.dumps(list(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    loaded = {name.split(".")[0] for name in json.loads(out)}
    assert not loaded & {"numba", "scipy", "h5py", "pyqtgraph", "matplotlib", "tplm_analysis"}


def test_a_defect_of_a_view_becomes_a_banner(
    hub: Hub, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, hosts_of_its_own: Path
) -> None:
    import threading

    from tplm_gui.mailbox import Mailbox

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    app._tell_defects(hub, Mailbox(hub))
    error = ValueError("a wrong turn")
    with qtbot.waitSignal(hub.news) as told:
        sys.excepthook(ValueError, error, None)
    assert told.args is not None
    assert "a wrong turn" in told.args[0].text
    assert "a wrong turn" in (hosts_of_its_own / "windows" / "defects.log").read_text()


def test_the_recorder_can_refuse(hub: Hub, recorder: Recorder) -> None:
    recorder.replies["connect"] = Reply(ok=False, words="the stage is off")
    said: list[Any] = []
    hub.news.connect(said.append)
    hub.ask("connect")
    assert [(news.level, news.text, news.code) for news in said] == [
        ("error", "the stage is off", "ask-connect")
    ]
