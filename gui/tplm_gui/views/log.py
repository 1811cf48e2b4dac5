"""The log: every sentence of the host, from its log file where it has one, so nothing is missing.

A run from a terminal has its log where its person put it; of such a one the last messages and
what happens from now on are shown.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QAbstractListModel, QModelIndex, QSortFilterProxyModel, Qt
from PyQt6.QtGui import QColor, QKeySequence, QShortcut
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListView,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from tplm_daq.wall import utc_now
from tplm_gui import theme
from tplm_gui.hub import Hub
from tplm_gui.mailbox import Mailbox

MOST = 5000
TAIL = 1 << 23
"""Bytes at the end of a log file that are read; 5000 lines with room."""
LOOK_S = 0.5
LEVELS = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log: when (ISO 8601), how bad, what."""

    at: str
    level: str
    text: str

    @property
    def shown(self) -> str:
        """As it stands in the list, in the time of this place."""
        try:
            clock = datetime.fromisoformat(self.at).astimezone().strftime("%H:%M:%S")
        except ValueError:
            clock = "--:--:--"
        mark = {"warning": "warning: ", "error": "ERROR: "}.get(self.level, "")
        text = self.text.replace(f"{Path.home()}{os.sep}", f"~{os.sep}")
        return f"{clock}  {mark}{text}"


def line_of(event: Mapping[str, Any], at: str = "") -> Line | None:
    """The line for an event; None for what is not worth one."""
    at = str(event.get("at") or at)
    job = event.get("job") or {}
    match event.get("event"):
        case "notice":
            return Line(at, str(event.get("level")), str(event.get("message")))
        case "state-changed" if event.get("why"):
            return Line(at, "info", f"{event.get('state')}: {event.get('why')}")
        case "run-started":
            planned, to_do = event.get("visits_planned"), event.get("visits_to_do")
            return Line(at, "info", f"the scan begins: {to_do} of {planned} visits to do")
        case "centred":
            where = f"x {event.get('x_um'):+.3f} y {event.get('y_um'):+.3f} µm"
            return Line(at, "info", f"the emission peak was found at {where}")
        case "decided":
            return Line(at, "info", f"pass {event.get('pass_index')}: {event.get('why')}")
        case "time-shared":
            return Line(at, "info", str(event.get("why")))
        case "run-ended":
            return _ended(at, "the scan", event)
        case "series-started":
            planned, to_do = event.get("points_planned"), event.get("points_to_do")
            return Line(at, "info", f"the series begins: {to_do} of {planned} points to do")
        case "point-started":
            return Line(at, "info", f"point {event.get('index')}: {event.get('label')}")
        case "point-ended":
            return _ended(at, f"point {event.get('index')}", event)
        case "series-ended":
            return _ended(at, "the series", event)
        case "job-started":
            return Line(at, "info", str(job.get("words")))
        case "job-ended" if not (event.get("ok") and job.get("kind") in ("scan", "series")):
            level = "info" if event.get("ok") else "error"
            return Line(at, level, str(event.get("message")))
        case "host-closed":
            return Line(at, "info", "the host has ended")
    return None


def _ended(at: str, what: str, event: Mapping[str, Any]) -> Line:
    level = "error" if event.get("ending") == "failed" else "info"
    return Line(at, level, f"{what} {event.get('ending')}: {event.get('message')}")


class LogView(QWidget):
    """The log, with filters.

    Parameters
    ----------
    hub : Hub
        Whose log it is.
    """

    TITLE = "Log"
    KEY = "log"

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hub = hub
        self._tail: _Tail | None = None
        self._has_messages = False
        self._mail = Mailbox(self)
        self.lines = _Lines(self)
        self._shown = _Filter(self)
        self._shown.setSourceModel(self.lines)
        self.list = QListView()
        self.list.setObjectName("log-list")
        self.list.setAccessibleName("Log")
        self.list.setToolTip("What the host told; Ctrl+C copies the lines that are marked")
        self.list.setModel(self._shown)
        self.list.setUniformItemSizes(True)
        self.list.setMinimumHeight(40)
        self.list.setFont(theme.fixed_font())
        bar = self.list.verticalScrollBar()
        assert bar is not None
        self._end_at = 0
        bar.rangeChanged.connect(self._stay_at_end)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.level = QComboBox()
        self.level.setObjectName("log-level")
        self.level.setAccessibleName("Least level")
        self.level.setToolTip("How bad a line must be to be shown")
        self.level.addItems(["everything", "warnings, errors", "errors"])
        self.level.currentIndexChanged.connect(self._filter)
        self.search = QLineEdit()
        self.search.setObjectName("log-search")
        self.search.setPlaceholderText("only lines with …")
        self.search.setToolTip("Show only lines that have this in them, in any case")
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(280)
        self.search.textChanged.connect(self._filter)
        self.count = QLabel()
        self.count.setObjectName("log-count")
        self.copy = self._button("Cop&y", "log-copy", "Copy the marked lines, or all shown")
        self.copy.clicked.connect(self._copy)
        self.save = self._button("Sa&ve …", "log-save", "Write the lines that are shown to a file")
        self.save.clicked.connect(self._ask_where)
        keys = QShortcut(QKeySequence.StandardKey.Copy, self.list)
        keys.setContext(Qt.ShortcutContext.WidgetShortcut)
        keys.activated.connect(self._copy)
        self._lay_out()
        theme.notifier.changed.connect(self.lines.recolour)
        hub.linked.connect(self._linked)
        hub.status_changed.connect(self._status)
        hub.happened.connect(self._happened)
        self.destroyed.connect(partial(_end, self.__dict__))
        if hub.status:
            self._status(hub.status)

    def save_to(self, path: Path) -> None:
        """Write the lines that are shown to a file; what hinders it becomes a banner."""
        try:
            path.write_text("".join(f"{line}\n" for line in self.shown()), encoding="utf-8")
        except OSError as error:
            words = f"the log was not saved to {path} ({error.strerror}); choose another place"
            self._hub.tell("error", words, "log-save")
        else:
            self._hub.tell("info", f"the log was saved to {path}", "log-save")

    def shown(self) -> list[str]:
        """The lines that pass the filter, with their whole time."""
        lines = []
        for row in range(self._shown.rowCount()):
            source = self._shown.mapToSource(self._shown.index(row, 0))
            line = self.lines.at(source.row())
            lines.append(f"{line.at}  {line.level:7}  {line.text}")
        return lines

    # -- where the lines come from ---------------------------------------------------------

    def _linked(self, is_linked: bool, _words: str) -> None:
        if not is_linked:
            self._has_messages = False  # of the next host

    def _status(self, status: Mapping[str, Any]) -> None:
        station = status.get("station")
        if station is not None and station.get("log"):
            self._follow(Path(station["log"]))
        elif not self._has_messages and self._hub.is_linked:
            self._unfollow()
            self._has_messages = True
            self.lines.clear()
            self._add([Line(m["at"], m["level"], m["text"]) for m in status.get("messages") or []])

    def _happened(self, event: Mapping[str, Any]) -> None:
        if self._tail is not None:
            self._tail.look()
            return
        line = line_of(event, utc_now())
        if line is not None:
            self._add([line])

    def _follow(self, path: Path) -> None:
        if self._tail is not None and self._tail.path == path:
            return
        self._unfollow()
        self.lines.clear()
        self._tell_count()

        def came(lines: list[Line]) -> None:
            self._mail.post(lambda: self._add(lines) if self._tail is tail else None)

        tail = self._tail = _Tail(path, came)
        tail.start()

    def _unfollow(self) -> None:
        if self._tail is not None:
            self._tail.end()
            self._tail = None

    def _add(self, lines: Sequence[Line]) -> None:
        bar = self.list.verticalScrollBar()
        at_end = bar is None or bar.value() >= bar.maximum() - 1
        self.lines.add(lines)
        self._tell_count()
        if at_end:
            self.list.scrollToBottom()

    def _stay_at_end(self, _low: int, high: int) -> None:
        """Show the newest lines still when the list gets another height."""
        bar = self.list.verticalScrollBar()
        if bar is not None and bar.value() >= self._end_at - 1:
            self.list.scrollToBottom()
        self._end_at = high

    # -- what the person does --------------------------------------------------------------

    def _filter(self) -> None:
        self._shown.ask(self.level.currentIndex(), self.search.text())
        self._tell_count()
        self.list.scrollToBottom()

    def _tell_count(self) -> None:
        shown, all_ = self._shown.rowCount(), self.lines.rowCount()
        self.count.setText(f"{shown:,} lines" if shown == all_ else f"{shown:,} of {all_:,} lines")

    def _copy(self) -> None:
        model = self.list.selectionModel()
        rows = sorted(index.row() for index in model.selectedRows()) if model is not None else []
        lines = self.shown()
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText("\n".join([lines[row] for row in rows] or lines))

    def _ask_where(self) -> None:
        dialog = QFileDialog(self, "Save the log", "tplm.log", "Text (*.log *.txt);;All files (*)")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setModal(False)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda name: self.save_to(Path(name)))
        dialog.show()

    def _button(self, words: str, name: str, tip: str) -> QPushButton:
        button = QPushButton(words)
        button.setObjectName(name)
        button.setToolTip(tip)
        return button

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.level)
        row.addWidget(self.search, 1)
        row.addWidget(self.count)
        row.addStretch(1)
        row.addWidget(self.copy)
        row.addWidget(self.save)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.list, 1)


def _end(view: dict[str, Any]) -> None:
    """End the reading thread of a view that is no more."""
    if view.get("_tail") is not None:
        view["_tail"].end()


class _Lines(QAbstractListModel):
    """The last lines."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._lines: list[Line] = []

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """How many there are."""
        return 0 if parent is not None and parent.isValid() else len(self._lines)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What Qt shows of a line."""
        line = self._lines[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return line.shown
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{line.at} ({line.level})\n{line.text}"
        if role == Qt.ItemDataRole.ForegroundRole:
            c = theme.colours()
            return QColor({"error": c.bad, "warning": c.warn}.get(line.level, c.text))
        return None

    def at(self, row: int) -> Line:
        """One line."""
        return self._lines[row]

    def add(self, lines: Sequence[Line]) -> None:
        """Add lines at the end; the oldest go."""
        lines = lines[-MOST:]
        if not lines:
            return
        too_many = len(self._lines) + len(lines) - MOST
        if too_many > 0:
            self.beginRemoveRows(QModelIndex(), 0, too_many - 1)
            del self._lines[:too_many]
            self.endRemoveRows()
        first = len(self._lines)
        self.beginInsertRows(QModelIndex(), first, first + len(lines) - 1)
        self._lines += lines
        self.endInsertRows()

    def clear(self) -> None:
        """Forget all."""
        self.beginResetModel()
        self._lines = []
        self.endResetModel()

    def recolour(self) -> None:
        """Have everything painted anew."""
        if self._lines:
            self.dataChanged.emit(self.index(0), self.index(len(self._lines) - 1))


class _Filter(QSortFilterProxyModel):
    """Lines of a least level with a text in them."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._least = 0
        self._text = ""

    def ask(self, least: int, text: str) -> None:
        """Filter anew."""
        self._least, self._text = least, text.casefold()
        self.invalidate()

    def filterAcceptsRow(self, row: int, _parent: QModelIndex) -> bool:  # noqa: N802 - Qt's name
        """Whether a line is shown."""
        source = self.sourceModel()
        assert isinstance(source, _Lines)
        line = source.at(row)
        level = LEVELS.index(line.level) if line.level in LEVELS else 0
        return level >= self._least and self._text in line.text.casefold()


class _Tail(threading.Thread):
    """Reads what is added to a log file; a file that is not there yet is waited for."""

    def __init__(self, path: Path, came: Callable[[list[Line]], None]) -> None:
        super().__init__(name="window: log", daemon=True)
        self.path = path
        self._came = came
        self._look = threading.Event()
        self._is_over = False
        self._place = -1

    def look(self) -> None:
        """Something was added."""
        self._look.set()

    def end(self) -> None:
        """Let it end; does not wait for it."""
        self._is_over = True
        self._look.set()

    def run(self) -> None:
        """Read until it is over."""
        while not self._is_over:
            lines = self._read()
            if lines:
                self._came(lines)
            self._look.wait(LOOK_S)
            self._look.clear()

    def _read(self) -> list[Line]:
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if self._place < 0:
                    self._place = max(size - TAIL, 0)
                    if self._place:
                        file.seek(self._place)
                        self._place += len(file.readline())  # the rest of a line
                if size < self._place:  # another file of that name
                    self._place = 0
                file.seek(self._place)
                block = file.read()
        except OSError:
            return []
        whole = block[: block.rfind(b"\n") + 1]
        self._place += len(whole)
        lines = []
        for raw in whole.splitlines():
            try:
                event = json.loads(raw)
            except ValueError:
                continue  # a line that a dying host left half written
            line = line_of(event) if isinstance(event, dict) else None
            if line is not None:
                lines.append(line)
        return lines[-MOST:]
