"""The person at the microscope: finds what is seen, presses keys, clicks, types, waits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QEvent, QMimeData, QObject, QPoint, QPointF, Qt, QUrl
from PyQt6.QtGui import QDragEnterEvent, QDropEvent
from PyQt6.QtWidgets import QAbstractButton, QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from tplm_gui.widgets.banners import Bar
from tplm_gui.window import Window
from tplm_simulators import VirtualMicroscope

PATIENCE_MS = 60_000
VIEWS = ("instrument", "align", "scan", "live", "series", "browse", "training")
LONG = {"positions": "21", "dwell_s": "0.5", "passes": "400"}
"""More than any test waits for, however fast it is simulated."""


class Others(QObject):
    """Notes windows beside the one that is meant: each would take the keys away from it."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self.shown: list[str] = []
        app = QApplication.instance()
        assert app is not None
        app.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        if (
            a1 is not None
            and a1.type() is QEvent.Type.Show
            and isinstance(a0, QWidget)
            and a0.isWindow()
            and not isinstance(a0, Window)
        ):
            self.shown.append(f"{type(a0).__name__} {a0.objectName()}")
        return False


class Person:
    """Sits before a window."""

    def __init__(self, qtbot: QtBot, window: Window) -> None:
        self.qtbot, self.window, self.hub = qtbot, window, window.hub
        window.resize(1366, 768)
        self.others = Others(window)

    # -- eyes ------------------------------------------------------------------------------

    def find(self, name: str, view: str | None = None) -> Any:
        """A widget by its name, within a view if its name is not alone."""
        where: QWidget = self.window if view is None else self.window.docks[view]
        found = where.findChild(QWidget, name)
        assert found is not None, name
        return found

    def text(self, name: str) -> str:
        found = self.find(name)
        assert isinstance(found, QLabel | QAbstractButton)
        return found.text()

    def bar(self, code: str) -> Bar | None:
        """The banner of a code."""
        return next((bar for bar in self.window.banners.bars if bar.news.code == code), None)

    @property
    def log(self) -> list[str]:
        model = self.find("log-list").model()
        return [model.index(row, 0).data() for row in range(model.rowCount())]

    @property
    def hub_pid(self) -> int:
        """Process of the host that the window belongs to."""
        assert self.window._link is not None
        assert self.window._link.found is not None
        return self.window._link.found.entry.pid

    @property
    def doing(self) -> str:
        return str(self.hub.status.get("doing"))

    @property
    def state(self) -> str:
        return str(self.hub.status.get("state"))

    @property
    def visits(self) -> int:
        return int(self.hub.status.get("visits_done") or 0)

    @property
    def last(self) -> dict[str, Any]:
        return (self.hub.status.get("station") or {}).get("last") or {}

    def until(self, is_so: Callable[[], object], ms: int = PATIENCE_MS) -> None:
        self.qtbot.waitUntil(lambda: bool(is_so()), timeout=ms)

    def until_idle(self) -> None:
        """Wait until the station does nothing."""
        self.until(lambda: self.doing == "station" and not self.hub.status["station"]["job"])

    # -- hands -----------------------------------------------------------------------------

    def key(self, key: Qt.Key, *modifiers: Qt.KeyboardModifier) -> None:
        """Press a key where the focus is."""
        all_ = Qt.KeyboardModifier.NoModifier
        for one in modifiers:
            all_ |= one
        self.qtbot.keyClick(QApplication.focusWidget() or self.window, key, all_)

    def go_to(self, view: str) -> None:
        """Ctrl and the number of a view; what one presses then is pressed in it, not on Stop."""
        number = Qt.Key(Qt.Key.Key_1 + VIEWS.index(view))
        self.key(number, Qt.KeyboardModifier.ControlModifier)
        dock = self.window.docks[view]
        self.until(lambda: not dock.visibleRegion().isEmpty(), 5000)
        focus = QApplication.focusWidget()
        assert focus is not None
        assert focus is dock or dock.isAncestorOf(focus), focus.objectName()

    def click(self, name: str, view: str | None = None) -> None:
        """Click a button as soon as it is there and can be clicked."""
        self.until(lambda: self.window.findChild(QWidget, name) is not None)
        button = self.find(name, view)
        self.until(lambda: button.isVisible() and button.isEnabled())
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def type_in(self, name: str, text: str, view: str) -> None:
        """Replace what a field has."""
        field = self.find(name, view)
        field.setFocus()
        self.qtbot.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        self.qtbot.keyClick(field, Qt.Key.Key_Delete)
        self.qtbot.keyClicks(field, text)

    def drop(self, path: Path) -> None:
        """Let a file fall on the window."""
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        keys, buttons = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
        copy = Qt.DropAction.CopyAction
        over = QDragEnterEvent(QPoint(9, 9), copy, data, buttons, keys)
        QApplication.sendEvent(self.window, over)
        if over.isAccepted():
            fall = QDropEvent(QPointF(9, 9), copy, data, buttons, keys)
            QApplication.sendEvent(self.window, fall)

    # -- what one does every day -----------------------------------------------------------

    def connect(self) -> None:
        self.go_to("instrument")
        self.click("instrument-connect")
        self.until(lambda: self.hub.status["station"]["connected"])
        self.until_idle()

    def start_scan(self, name: str, fields: dict[str, str] = LONG, *, first: int = 2) -> None:
        """Fill the form in and start; returns after the first visits."""
        self.go_to("scan")
        for field, text in fields.items():
            self.type_in(field, text, "scan")
        self.type_in("scan-name", name, "scan")
        self.click("scan-start")
        self.until(lambda: self.doing == "scan" and self.visits >= first)

    def leave_running(self) -> None:
        """Close the window in mid-run and say that the run goes on."""
        self.window.close()
        bar = self.bar("closing")
        assert bar is not None
        with self.qtbot.waitSignal(self.window.closed):
            self.qtbot.mouseClick(bar.buttons[0], Qt.MouseButton.LeftButton)


def dark(microscopes: list[VirtualMicroscope]) -> bool:
    """Whether, in truth, no light reaches a sample, of whatever was ever opened."""
    return all(
        it.laser.output_nw() == 0 or not it.shutter.passes_at(it.clock.now_s())
        for it in microscopes
    )


def stored(path: Path) -> int:
    """How many visits a scan file has."""
    from tplm_daq.store import read_scan

    return int(read_scan(path).stored.sum())
