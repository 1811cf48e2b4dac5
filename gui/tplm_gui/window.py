"""The window: the strip above, the views in docks that can be moved, tabbed and floated."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QByteArray, QEvent, QObject, QSettings, QSize, Qt, QTimer, QUrl, pyqtSignal
from PyQt6.QtGui import (
    QAction,
    QActionGroup,
    QCloseEvent,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QKeySequence,
    QPaintEvent,
    QResizeEvent,
)
from PyQt6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QFrame,
    QLabel,
    QMainWindow,
    QMenu,
    QMenuBar,
    QScrollArea,
    QTabWidget,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from tplm_gui import theme
from tplm_gui.host.link import Link
from tplm_gui.hub import Hub, is_running
from tplm_gui.views.controls import Controls, progress
from tplm_gui.widgets.banners import Banners

if TYPE_CHECKING:  # it loads numerics, and the window is to be up at once
    from tplm_gui.data.feed import ScanFeed

STATE_VERSION = 1
"""Of the kept arrangement; another one is not taken over."""
GOODBYE_S = 1.0
"""Longest wait for the host when the window closes; the host then goes on until it lingers out."""
LEAST_WIDTH = 480
"""Of the window, px: Pause, Stop and Emergency, and beside them what goes on."""
TOP_WIDTH = 1000
"""Width from which sentences in banners are not broken more often than they must, px."""
LEAST_LOG = 110
"""Height of the log on a small screen, px: its tools and three lines."""
SETTLE_MS = 40
"""Until the docks have given room to a banner, or taken it back."""
BANNERS_CHANGE = (QEvent.Type.Show, QEvent.Type.Hide, QEvent.Type.LayoutRequest)
SEPARATOR = 5
"""Height of what separates docks, px."""
SCAN_FILES = (".h5", ".hdf5", ".nxs")
DOCS = Path(__file__).parents[2] / "docs"
"""In a checkout; an installed window has the keys only."""


@dataclass(frozen=True, slots=True)
class ViewPlace:
    """Where a view comes from: loaded by name, so that a broken one takes nothing with it."""

    key: str
    title: str
    name: str
    page: str


VIEWS = (
    ViewPlace("instrument", "Instrument", "InstrumentView", "devices.md"),
    ViewPlace("align", "Align", "AlignView", "first-session.md"),
    ViewPlace("scan", "Scan", "ScanView", "plans-and-profiles.md"),
    ViewPlace("live", "Live", "LiveView", "analysis.md"),
    ViewPlace("series", "Series", "SeriesView", "series.md"),
    ViewPlace("browse", "Browse", "BrowseView", "scan-file.md"),
    ViewPlace("training", "Training", "TrainingView", "training.md"),
    ViewPlace("log", "Log", "LogView", "window.md"),
)
CENTRE = ("align", "scan", "live", "series", "browse", "training")
KEYS = """\
| keys | |
|---|---|
| Esc | **Stop**: finish this visit, keep everything, block the light, end |
| Ctrl+Esc, Shift+Esc | **Emergency**: block the laser before anything else |
| Ctrl+P | pause, or continue |
| Ctrl+1 … Ctrl+7 | Instrument, Align, Scan, Live, Series, Browse, Training |
| Ctrl+L | Log |
| Ctrl+O | open a scan file; dropping it on the window does the same |
| F1 | this page, for the view that has the focus |
| F11 | full screen |
| Ctrl+Q | close; a run goes on |
"""


class Window(QMainWindow):
    """The main window.

    Parameters
    ----------
    hub : Hub
        What the views share.
    settings : QSettings
        Where the arrangement is kept.
    link : Link, optional
        Closed with the window; tells whether the host was started by it.
    dark : bool, optional
        Colours of this time only; without it as kept, at first those of the system.
    """

    closed = pyqtSignal()
    """It is closed for good."""
    painted = pyqtSignal()
    """It has been painted for the first time."""
    loaded = pyqtSignal()
    """Every view is there."""

    def __init__(
        self,
        hub: Hub,
        settings: QSettings,
        link: Link | None = None,
        dark: bool | None = None,
    ) -> None:
        super().__init__()
        self.hub = hub
        self.settings = settings
        self._link = link
        self._dark = dark
        self._is_painted = self._is_closed = False
        self._log_px: int | None = None
        self._is_default = True
        self._may_close = self._has_asked = self._closes_when_stopped = False
        self.setObjectName("window")
        self.setWindowTitle("TPLM")
        self.setAcceptDrops(True)
        self.setDockNestingEnabled(True)
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        # the instrument is the longest list: it has the whole height
        self.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self.recolour()
        self.controls = Controls(hub)
        self.banners = Banners(hub)
        self.docks = {view.key: self._dock(view) for view in VIEWS}
        for watched in (self.banners, self.docks["log"]):
            watched.installEventFilter(self)
        self.help = QTextBrowser()
        self.help.setObjectName("help-text")
        self.help.setOpenExternalLinks(True)
        self.help_dock = self._dock(ViewPlace("help", "Help", "", ""), self.help)
        self._to_load = list(VIEWS)
        self._feed: ScanFeed | None = None
        self._actions()
        self._top()
        self.reset_layout()
        self._restore()
        self.setFocus()  # and not the first button, which is Stop
        hub.status_changed.connect(self._status)
        hub.linked.connect(lambda _linked, _words: self._status(hub.status))
        if link is not None:
            link.reached.connect(lambda _found: self._reached())
        hints = QGuiApplication.styleHints()
        assert hints is not None
        hints.colorSchemeChanged.connect(lambda _scheme: self.recolour())

    # -- views -----------------------------------------------------------------------------

    def load_views(self) -> None:
        """Load one view after the other, those that are seen first; the window paints between."""
        if not self._to_load:
            from tplm_gui.data.feed import ScanFeed

            if self._is_default:
                self._share_room()  # the views have their own wishes
            else:
                self._log_px = self.docks["log"].height()
            self._feed = ScanFeed(self.hub, self)
            if self.hub.is_linked:
                self.hub.take_status(self.hub.status)  # it may have come before the feed
            # from now on, since views that take up what was there before ask for the front too
            self.hub.view_requested.connect(self.show_view)
            gc.collect()
            gc.freeze()  # a search over all that is loaded would hold up the drawing
            self.loaded.emit()
            return
        seen = [v for v in self._to_load if not self.docks[v.key].visibleRegion().isEmpty()]
        view = (seen or self._to_load)[0]
        self._to_load.remove(view)
        _fill(self.docks[view.key], self._load(view))
        QTimer.singleShot(0, self.load_views)

    def show_view(self, key: str) -> None:
        """Bring a view to the front."""
        dock = self.help_dock if key == "help" else self.docks.get(key)
        if dock is not None:
            dock.show()
            dock.raise_()
            # the first field of the view; never beyond it, where Stop is
            (_first_field(dock) or dock).setFocus(Qt.FocusReason.ShortcutFocusReason)

    def reset_layout(self) -> None:
        """Everything back to its place."""
        area = Qt.DockWidgetArea
        for dock in (*self.docks.values(), self.help_dock):
            self.removeDockWidget(dock)
        self.addDockWidget(area.LeftDockWidgetArea, self.docks["instrument"])
        first = self.docks[CENTRE[0]]
        self.addDockWidget(area.RightDockWidgetArea, first)
        for key in CENTRE[1:]:
            self.tabifyDockWidget(first, self.docks[key])
        self.addDockWidget(area.BottomDockWidgetArea, self.docks["log"])
        self.addDockWidget(area.RightDockWidgetArea, self.help_dock)
        for dock in self.docks.values():
            dock.setFloating(False)
            dock.show()
        self.help_dock.setFloating(False)
        self.help_dock.hide()
        first.raise_()
        self._share_room()

    def _share_room(self) -> None:
        """Most of the room for the centre."""
        left = min(max(round(self.width() * 0.24), 330), 460)
        sides = [self.docks["instrument"], self.docks[CENTRE[0]]]
        self.resizeDocks(sides, [left, max(self.width() - left, left)], Qt.Orientation.Horizontal)
        self._log_px = min(max(round(self.height() * 0.13), LEAST_LOG), 240)
        self._set_log(self._log_px)

    def _load(self, view: ViewPlace) -> QWidget:
        try:
            module = import_module(f"tplm_gui.views.{view.key}")
            widget: QWidget = getattr(module, view.name)(self.hub)
        except Exception as error:  # noqa: BLE001 - shown in its place; the other views work
            label = QLabel(
                f"This view could not be loaded ({type(error).__name__}: {error}). "
                "The run and the other views are not touched by it."
            )
            label.setObjectName(f"{view.key}-broken")
            label.setWordWrap(True)
            label.setMargin(16)
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setTextFormat(Qt.TextFormat.PlainText)
            return label
        wanted = getattr(widget, "lesson_requested", None)
        if wanted is not None and self._link is not None:
            wanted.connect(self._link.begin_lesson)
        return widget

    def _dock(self, view: ViewPlace, widget: QWidget | None = None) -> QDockWidget:
        dock = QDockWidget(view.title, self)
        dock.setObjectName(f"dock-{view.key}")
        dock.setAllowedAreas(Qt.DockWidgetArea.AllDockWidgetAreas)
        dock.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        _fill(dock, widget or QLabel())
        return dock

    # -- what the host tells ---------------------------------------------------------------

    def _reached(self) -> None:
        if is_running(self.hub.status):
            self.show_view("series" if self.hub.status.get("doing") == "series" else "live")

    def _status(self, status: dict[str, Any]) -> None:
        name = self.hub.profile.name if self.hub.profile is not None else ""
        parts = ["TPLM", name]
        running = self.hub.is_linked and is_running(status)
        if running:
            share, _ = progress(status)
            parts = [f"{share:.0%}", Path(str(status.get("path"))).name, *parts]
        self.setWindowTitle(" · ".join(part for part in parts if part))
        self.pause_action.setEnabled(running)
        if self._closes_when_stopped and not running:
            self._may_close = True
            self.close()

    # -- what the person does --------------------------------------------------------------

    def open_path(self, path: Path) -> None:
        """Show a scan file or a series in Browse."""
        self.show_view("browse")
        self.hub.open_requested.emit(str(path))

    def show_help(self) -> None:
        """Show the keys, and the page for the view that has the focus."""
        focus = QApplication.focusWidget()
        page = next(
            (v.page for v in VIEWS if focus is not None and self.docks[v.key].isAncestorOf(focus)),
            "first-session.md",
        )
        try:
            text = (DOCS / page).read_text(encoding="utf-8")
        except OSError:
            text = ""
        self.help.setSearchPaths([str(DOCS)])
        self.help.setMarkdown(f"{KEYS}\n\n{text}")
        self.show_view("help")

    def recolour(self) -> None:
        """Light or dark, as chosen."""
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        choice = str(self.settings.value("colours", "system"))
        hints = QGuiApplication.styleHints()
        assert hints is not None
        dark = hints.colorScheme() is Qt.ColorScheme.Dark
        if choice in ("light", "dark"):
            dark = choice == "dark"
        if self._dark is not None:
            dark = self._dark
        theme.apply(app, dark)

    def _choose_colours(self, choice: str) -> None:
        self._dark = None
        self.settings.setValue("colours", choice)
        self.recolour()

    def _ask_file(self) -> None:
        dialog = QFileDialog(
            self, "Open a scan file", "", "Scan files (*.h5 *.hdf5 *.nxs);;All files (*)"
        )
        dialog.setModal(False)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda name: self.open_path(Path(name)))
        dialog.show()

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:  # noqa: N802
        """Let banners take their room from the views, not from the log, and give it back there."""
        kind = a1.type() if a1 is not None else None
        if a0 is self.banners and kind in BANNERS_CHANGE:
            QTimer.singleShot(SETTLE_MS, self._keep_log)
        is_dragged = QApplication.mouseButtons() != Qt.MouseButton.NoButton
        if a0 is self.docks["log"] and kind is QEvent.Type.Resize and is_dragged:
            self._log_px = self.docks["log"].height()
        return super().eventFilter(a0, a1)

    def resizeEvent(self, a0: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Leave the log its height; what is gained or lost is that of the views."""
        super().resizeEvent(a0)
        self._fit_top()
        if not self._to_load:
            QTimer.singleShot(SETTLE_MS, self._keep_log)

    def _keep_log(self) -> None:
        log = self.docks["log"]
        if self._log_px is None:
            self._log_px = log.height()
        if not self._is_closed and log.height() != self._log_px:
            self._set_log(self._log_px)

    def _set_log(self, high: int) -> None:
        """Give the log this height, the views above it the rest."""
        log = self.docks["log"]
        menu = self.menuWidget()
        is_below = self.dockWidgetArea(log) is Qt.DockWidgetArea.BottomDockWidgetArea
        if not is_below or log.isFloating() or menu is None:
            return
        docks = [self.docks[key] for key in CENTRE]
        above = next((dock for dock in docks if not dock.visibleRegion().isEmpty()), docks[0])
        # with other than the sum, tabs included, Qt shares it out in its own way
        rest = max(self.height() - menu.height() - SEPARATOR - high, high)
        self.resizeDocks([above, log], [rest, high], Qt.Orientation.Vertical)

    def _full_screen(self) -> None:
        if self.isFullScreen():
            self.showNormal()
        else:
            self.showFullScreen()

    def paintEvent(self, a0: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        """Tell when it is seen."""
        super().paintEvent(a0)
        if not self._is_painted:
            self._is_painted = True
            self.painted.emit()

    def dragEnterEvent(self, a0: QDragEnterEvent | None) -> None:  # noqa: N802 - Qt's name
        """Take scan files and folders."""
        if a0 is not None and _dropped(a0):
            a0.acceptProposedAction()

    def dropEvent(self, a0: QDropEvent | None) -> None:  # noqa: N802 - Qt's name
        """Show what was dropped."""
        if a0 is None:
            return
        for path in _dropped(a0):
            self.open_path(path)
        a0.acceptProposedAction()

    # -- closing ---------------------------------------------------------------------------

    def closeEvent(self, a0: QCloseEvent | None) -> None:  # noqa: N802 - Qt's name
        """A run goes on without the window; an idle host that it had started ends with it."""
        if a0 is None:
            return
        status = self.hub.status
        running = self.hub.is_linked and is_running(status)
        if running and not self._may_close and not self._has_asked:
            a0.ignore()
            self._has_asked = True
            self.banners.question(
                "A run goes on. It does not need this window; a new one finds it again.",
                (
                    ("&Leave it running", self._close_now),
                    ("&Stop it first", self._stop_and_close),
                    ("Stay &here", self._stay),
                ),
                code="closing",
            )
            return
        goodbye = self._goodbye(status) if self.hub.is_linked and not running else None
        if goodbye is not None and self.isVisible():
            a0.ignore()
            self._keep()
            self.hide()
            self.hub.ask(goodbye, then=lambda _reply: QTimer.singleShot(0, self._close_now))
            QTimer.singleShot(round(GOODBYE_S * 1000), self._close_now)
            return
        if self.isVisible():
            self._keep()
        if self._link is not None:
            self._link.close()
        if self._feed is not None:
            self._feed.close()
        a0.accept()
        self._is_closed = True
        self.closed.emit()

    def _goodbye(self, status: dict[str, Any]) -> str | None:
        """What the host is asked for when the window closes and no run goes on."""
        station = status.get("station")
        if station is None:
            return None
        own = self._link is not None and self._link.found is not None and self._link.found.is_own
        if own and station.get("job") is None:
            return "quit"
        return "dark" if station.get("aligning") else None

    def let_go(self) -> None:
        """Close without a question: the session of the person ends, a run goes on."""
        self._has_asked = True

    def _close(self) -> None:
        self.close()

    def _close_now(self) -> None:
        self._may_close = True
        if not self._is_closed:
            self.close()

    def _stop_and_close(self) -> None:
        self._closes_when_stopped = True
        self.controls.ask_stop()

    def _stay(self) -> None:
        self._has_asked = False

    def _keep(self) -> None:
        self.settings.setValue("geometry", self.saveGeometry())
        self.settings.setValue("state", self.saveState(STATE_VERSION))
        self.settings.sync()

    def _restore(self) -> None:
        """The arrangement of last time; one that cannot be read is left out."""
        geometry = self.settings.value("geometry")
        if not (isinstance(geometry, QByteArray) and self.restoreGeometry(geometry)):
            screen = QGuiApplication.primaryScreen()
            room = screen.availableSize() if screen is not None else QSize(1366, 768)
            # nearly all of a small screen, so that the frame fits; a part of a large one
            share = 0.98 if room.width() < 1700 else 0.8
            self.resize(round(room.width() * share), round(room.height() * share * 0.97))
            self.reset_layout()
        state = self.settings.value("state")
        if isinstance(state, QByteArray):
            self._is_default = not self.restoreState(state, STATE_VERSION)
            if self._is_default:
                self.reset_layout()

    # -- menus and keys --------------------------------------------------------------------

    def _action(
        self, name: str, words: str, act: Callable[[], None], *keys: str, everywhere: bool = False
    ) -> QAction:
        action = QAction(words, self)
        action.setObjectName(f"action-{name}")
        action.setShortcuts([QKeySequence(key) for key in keys])
        if everywhere:
            action.setShortcutContext(Qt.ShortcutContext.ApplicationShortcut)
        action.triggered.connect(lambda _checked=False: act())
        self.addAction(action)
        return action

    def _actions(self) -> None:
        controls = self.controls
        self.stop_action = self._action(
            "stop", "&Stop after this visit", controls.ask_stop, "Esc", everywhere=True
        )
        self.emergency_action = self._action(
            "emergency", "&Emergency", controls.ask_emergency, "Ctrl+Esc", "Shift+Esc",
            everywhere=True,
        )  # fmt: skip
        self.pause_action = self._action(
            "pause", "&Pause, or continue", controls.pause.click, "Ctrl+P"
        )
        self.pause_action.setEnabled(False)
        self.view_actions = [
            self._action(
                f"view-{view.key}", f"&{view.title}", lambda key=view.key: self.show_view(key),  # type: ignore[misc]
                "Ctrl+L" if view.key == "log" else f"Ctrl+{i}", everywhere=True,
            )
            for i, view in enumerate(VIEWS, 1)
        ]  # fmt: skip

    def _top(self) -> None:
        """Menus, strip and banners, above all docks and never hidden."""
        bar = QMenuBar()
        file = _menu(bar, "&File")
        file.addAction(self._action("open", "&Open …", self._ask_file, "Ctrl+O"))
        file.addSeparator()
        file.addAction(self._action("quit", "&Close", self._close, "Ctrl+Q"))
        run = _menu(bar, "&Run")
        run.addActions([self.pause_action, self.stop_action, self.emergency_action])
        run.addSeparator()
        run.addAction(self._action("seek", "&Look for a run, or start a station", self._seek))
        view = _menu(bar, "&View")
        view.addActions(self.view_actions)
        view.addSeparator()
        colours = view.addMenu("&Colours")
        assert colours is not None
        group = QActionGroup(self)
        chosen = str(self.settings.value("colours", "system"))
        for key, words in (
            ("system", "&Follow the system"), ("light", "&Light"), ("dark", "&Dark"),
        ):  # fmt: skip
            action = self._action(
                f"colours-{key}", words, lambda key=key: self._choose_colours(key)  # type: ignore[misc]
            )  # fmt: skip
            action.setCheckable(True)
            action.setChecked(key == chosen)
            group.addAction(action)
            colours.addAction(action)
        view.addAction(self._action("full-screen", "F&ull screen", self._full_screen, "F11"))
        view.addAction(self._action("reset", "&Reset layout", self.reset_layout))
        help_ = _menu(bar, "&Help")
        help_.addAction(self._action("help", "&Keys, and this view", self.show_help, "F1"))
        top = QWidget()
        self.setMinimumWidth(LEAST_WIDTH)
        column = QVBoxLayout(top)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(bar)
        column.addWidget(self.controls)
        column.addWidget(self.banners)
        self.setMenuWidget(top)
        self._fit_top()

    def _fit_top(self) -> None:
        """Make the top no wider than the window: Stop is in it.

        Qt takes its height at its least width for what the window needs at least, which at the
        width of a word would be all of the screen.
        """
        top = self.menuWidget()
        if top is not None:
            top.setMinimumWidth(min(TOP_WIDTH, self.width()))

    def _seek(self) -> None:
        if self._link is not None:
            self._link.begin()


def _fill(dock: QDockWidget, widget: QWidget) -> None:
    """Put a view in its dock; one that has too little room scrolls, the window never grows."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setWidget(widget)
    dock.setWidget(area)


def _first_field(dock: QDockWidget) -> QWidget | None:
    """What Tab would reach first in a view."""
    content = dock.widget()
    widget = content.nextInFocusChain() if content is not None else None
    while widget is not None and widget is not content:
        if (
            dock.isAncestorOf(widget)
            and widget.focusPolicy() & Qt.FocusPolicy.TabFocus == Qt.FocusPolicy.TabFocus
            and widget.isVisibleTo(dock)
            and widget.isEnabled()
        ):
            return widget
        widget = widget.nextInFocusChain()
    return None


def _menu(bar: QMenuBar, words: str) -> QMenu:
    menu = bar.addMenu(words)
    assert menu is not None
    return menu


def _dropped(event: QDropEvent) -> list[Path]:
    """Scan files and folders among what is dragged."""
    data = event.mimeData()
    urls: list[QUrl] = data.urls() if data is not None else []
    paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
    return [path for path in paths if path.suffix.lower() in SCAN_FILES or path.is_dir()]
