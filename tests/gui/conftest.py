"""Offscreen, with Qt's own complaints as failures, and with a watch over who calls what where."""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6 import QtWidgets
from PyQt6.QtCore import QSettings, QThread
from PyQt6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tplm_gui.hub import Hub, Reply

if TYPE_CHECKING:
    from tplm_daq.station import Station
    from tplm_gui.window import Window
    from tplm_simulators import VirtualMicroscope

HERE = Path(__file__).parent
NOT_OURS = ("This plugin does not support",)
"""What the offscreen platform says of itself."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Anything Qt warns of fails the test, threads that touch what is not theirs above all."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.qt_log_level_fail("WARNING"))
            item.add_marker(pytest.mark.qt_log_ignore(*NOT_OURS, extend=True))


class Threads:
    """Watches which thread does what; `faults` are told at the end of the test.

    Socket calls, and calls of simulated devices, must not come from the thread of the window;
    calls of widgets must come from no other.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.device_threads: set[str] = set()
        self._lent = 0

    @contextmanager
    def lent(self) -> Iterator[None]:
        """For a test that itself speaks to a host or a device from the main thread."""
        self._lent += 1
        try:
            yield
        finally:
            self._lent -= 1

    @property
    def is_lent(self) -> bool:
        """Whether the main thread is a test's own now."""
        return self._lent > 0

    def _in_window(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    def outside(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that must not be called in the thread of the window."""

        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._in_window() and not self._lent and QApplication.instance() is not None:
                self.faults.append(f"{what} in the thread of the window")
                raise AssertionError(self.faults[-1])
            if what.startswith("device"):
                self.device_threads.add(threading.current_thread().name)
            return function(*args, **kwargs)

        return watched

    def inside(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that must be called in the thread of the window."""

        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            app = QApplication.instance()
            if app is not None and QThread.currentThread() is not app.thread():
                self.faults.append(f"{what} in thread {threading.current_thread().name}")
                raise AssertionError(self.faults[-1])
            return function(*args, **kwargs)

        return watched


WIDGETS = {
    "QWidget": ("setVisible", "show", "hide", "update", "setEnabled", "setToolTip", "repaint"),
    "QLabel": ("setText", "setPixmap"),
    "QAbstractButton": ("setText", "setChecked"),
    "QLineEdit": ("setText",),
    "QProgressBar": ("setValue", "setRange"),
    "QPlainTextEdit": ("appendPlainText", "setPlainText", "clear"),
    "QTextEdit": ("append", "setPlainText", "clear"),
    "QTableWidget": ("setItem", "setRowCount"),
    "QDoubleSpinBox": ("setValue",),
    "QSpinBox": ("setValue",),
    "QComboBox": ("addItem", "setCurrentIndex"),
}
HUB = ("ask", "tell", "take_status", "take_readings", "take_profile", "take_link")
SOCKET = ("connect", "connect_ex", "accept", "send", "sendall", "recv", "recv_into")


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Threads]:
    """No socket and no device in the thread of the window, no widget outside it."""
    watch = Threads()
    for name in SOCKET:
        function = getattr(socket.socket, name)
        monkeypatch.setattr(socket.socket, name, watch.outside(f"socket.{name}", function))
    for kind, names in WIDGETS.items():
        for name in names:
            of = getattr(QtWidgets, kind)
            monkeypatch.setattr(of, name, watch.inside(f"{kind}.{name}", getattr(of, name)))
    for name in HUB:
        monkeypatch.setattr(Hub, name, watch.inside(f"Hub.{name}", getattr(Hub, name)))
    yield watch
    assert not watch.faults


class Recorder:
    """An asker that keeps what was asked, and answers at once as it was told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.replies: dict[str, Reply] = {}

    @property
    def commands(self) -> list[str]:
        return [command for command, _ in self.asked]

    def ask(
        self, command: str, arguments: Mapping[str, Any], then: Callable[[Reply], None]
    ) -> None:
        self.asked.append((command, dict(arguments)))
        then(self.replies.get(command, Reply(ok=True, words="it does so")))


@pytest.fixture
def recorder() -> Recorder:
    """What a view asked of the host."""
    return Recorder()


@pytest.fixture
def hub(qapp: QApplication, recorder: Recorder) -> Hub:
    """A hub with nobody behind it but the recorder, for tests of one view."""
    hub = Hub(recorder)
    hub.is_linked = True
    return hub


@pytest.fixture
def microscopes() -> list["VirtualMicroscope"]:
    """Whatever the station opened: the truth about its light."""
    return []


@pytest.fixture
def station(
    threads: Threads,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    microscopes: list["VirtualMicroscope"],
) -> Iterator["Station"]:
    """A station in this process: the virtual microscope as fast as it goes, not yet connected.

    Its devices note which thread calls them.
    """
    from tplm_config import InstrumentProfile, load_profile
    from tplm_daq.station import Station
    from tplm_drivers import Instrument, connect, simulated

    def opener(profile: InstrumentProfile) -> Instrument:
        instrument = connect(profile)
        microscopes.append(instrument.laser.microscope)  # type: ignore[attr-defined]
        return instrument

    for kind in [one for one in vars(simulated).values() if isinstance(one, type)]:
        if not issubclass(kind, simulated._Simulated):
            continue
        for name, of in list(vars(kind).items()):
            if callable(of) and not name.startswith("_"):
                monkeypatch.setattr(kind, name, threads.outside(f"device {name}", of))
    monkeypatch.chdir(tmp_path)
    station = Station(load_profile("simulated"), opener=opener)
    with threads.lent():
        station.__enter__()
    try:
        yield station
    finally:
        with threads.lent():
            station.__exit__(None, None, None)


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    """Where a window keeps its arrangement."""
    return QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def window(qtbot: QtBot, station: "Station", settings: QSettings) -> Iterator["Window"]:
    """A window linked to the station, every view loaded."""
    from tplm_gui.host.link import Link
    from tplm_gui.host.spawn import Found, Wanted
    from tplm_gui.window import Window

    hub = Hub()
    link = Link(hub, Wanted())
    window = Window(hub, settings, link)
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    assert station.entry is not None
    link.attach(Found(station.entry, is_own=False, words=f"station, process {os.getpid()}"))
    with qtbot.waitSignal(window.loaded, timeout=20_000):
        window.load_views()
    qtbot.waitUntil(lambda: hub.is_linked and hub.profile is not None, timeout=10_000)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    window.let_go()
    window.close()
