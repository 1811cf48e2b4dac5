"""Tables of the points of a series: as they will be, and as they are measured."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import (
    QAbstractItemModel,
    QAbstractTableModel,
    QMimeData,
    QModelIndex,
    Qt,
    pyqtSignal,
)
from PyQt6.QtGui import QColor, QKeyEvent
from PyQt6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from tplm_gui import theme, words
from tplm_gui.widgets.launch import clock, wall_s

if TYPE_CHECKING:
    from tplm_daq.series import Entry, Forecast

ROWS = "application/x-tplm-points"
WIDEST_PX = 420
"""Of a column, px."""
SHARE, MESSAGE = 6, 7
"""Columns of the points as they are measured."""


class _Headed(QAbstractTableModel):
    """A table with a word and a tip over each column."""

    HEAD: tuple[tuple[str, str], ...] = ()

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        return len(self.HEAD)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.HEAD[section][0]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.HEAD[section][1]
        return None


class ForecastModel(_Headed):
    """The points of a plan that was not begun."""

    HEAD = (
        ("", "Number of the point"), ("point", "What is set"), ("power\nnW", "Nominal power"),
        ("rate\nMHz", "Repetition rate"), ("fluence\nµJ/cm²", "Energy per pulse and area"),
        ("⟨N⟩", "Mean number of excitons per nanocrystal and pulse"),
        ("between\nµs", "Mean time between excitations of a nanocrystal"),
        ("counts", "Expected in the map"), ("σ of D\ncm²/s", "Predicted error of D"),
        ("takes", "By the instrument's clock"), ("ends", "If the series begins now"),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._points: tuple[Forecast, ...] = ()
        self._speed: Mapping[str, Any] = {}

    def show_points(self, points: "Sequence[Forecast]", status: Mapping[str, Any]) -> None:
        """Show other points."""
        self.beginResetModel()
        self._points = tuple(points)
        self._speed = status
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: D102, N802
        return 0 if parent is not None and parent.isValid() else len(self._points)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: D102
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() != 1:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        point = self._points[index.row()]
        rate_hz = point.repetition_rate_hz
        match index.column():
            case 0:
                return str(point.index)
            case 1:
                return point.label
            case 7:
                return words.si(point.expected_counts, "", 3)
            case 9:
                return words.duration(point.duration_s)
            case 10:
                return clock(wall_s(self._speed, point.ends_s))
            case column:
                value = {
                    2: point.power_nw,
                    3: None if rate_hz is None else rate_hz / 1e6,
                    4: point.fluence_uj_per_cm2,
                    5: point.mean_excitons,
                    6: point.time_between_excitations_us,
                    8: point.d_stderr_cm2_per_s,
                }[column]
                return words.NONE if value is None else f"{value:.3g}"


class PointsModel(_Headed):
    """The points of a series; those not yet begun can be dragged."""

    reordered = pyqtSignal(list)
    """The points not yet begun are wanted in this order, by their numbers."""
    refused = pyqtSignal(str)
    """Something was dragged that cannot be."""

    HEAD = (
        ("", "Number of the point"), ("point", "What is set"), ("state", "How far it is"),
        ("tries", "How often it was begun"), ("D, cm²/s", "With its standard error"),
        ("time", "When it ended, or will about end"),
        ("share", "Time of the instrument that it got, or is to get of the time that is shared"),
        ("", "What there is to say of it"),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self._ended: dict[int, float] = {}
        self._ends_s: dict[int, float] = {}
        self._shares_s: dict[int, float] = {}
        self._running = ""

    def show_entries(
        self,
        entries: "Sequence[Entry]",
        ended: Mapping[int, float],
        ends_s: Mapping[int, float],
        shares_s: Mapping[int, float] | None = None,
    ) -> None:
        """Show points, when they ended, in how many seconds the others will, and their shares."""
        self.beginResetModel()
        self.entries = list(entries)
        self._ended, self._ends_s = dict(ended), dict(ends_s)
        self._shares_s = dict(shares_s or {})
        self.endResetModel()

    def say_running(self, text: str) -> None:
        """Say how far the point is that runs."""
        self._running = text
        for row, entry in enumerate(self.entries):
            if entry.state == "running":
                self.dataChanged.emit(self.index(row, 0), self.index(row, len(self.HEAD) - 1))

    def waiting(self) -> list[int]:
        """Numbers of the points not yet begun, in the order shown."""
        return [entry.index for entry in self.entries if entry.state == "waiting"]

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: D102, N802
        return 0 if parent is not None and parent.isValid() else len(self.entries)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: D102
        entry = self.entries[index.row()]
        column = index.column()
        if role == Qt.ItemDataRole.ForegroundRole:
            colours = theme.colours()
            ink = {"done": colours.good, "running": colours.accent, "failed": colours.bad}
            if column == 2 and entry.state in ink:
                return QColor(ink[entry.state])
            return QColor(colours.dim) if entry.state == "waiting" or column == MESSAGE else None
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (0, 3, 4, 5, SHARE):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        match column:
            case 0:
                return str(entry.index)
            case 1:
                return entry.label
            case 2:
                return {"done": "✓ done", "running": "▶ running", "failed": "✗ failed"}.get(
                    entry.state, "waiting"
                )
            case 3:
                return str(entry.attempts or "")
            case 4:
                r = entry.result
                return "" if r is None else words.plus_minus(r.d_cm2_per_s, r.d_stderr_cm2_per_s)
            case 5:
                return self._time_of(entry)
            case 6:
                return self._share_of(entry)
            case _:
                return self._message_of(entry)

    def _time_of(self, entry: "Entry") -> str:
        if entry.index in self._ended:
            ended = datetime.fromtimestamp(self._ended[entry.index]).astimezone()
            today = ended.date() == datetime.now().astimezone().date()
            return f"{ended:%H:%M}" if today else f"{ended:%d %b %H:%M}"
        left_s = self._ends_s.get(entry.index)
        return "" if left_s is None else f"≈ {clock(left_s)}"

    def _share_of(self, entry: "Entry") -> str:
        further_s = self._shares_s.get(entry.index)
        if further_s is None:
            return words.duration(entry.spent_s) if entry.spent_s else ""
        about = "≈ " if entry.state == "waiting" else ""
        return f"{about}{words.duration(entry.spent_s + further_s)}"

    def _message_of(self, entry: "Entry") -> str:
        if entry.state == "running":
            return self._running
        if entry.result is not None and entry.result.warnings:
            return f"{entry.message}; {', '.join(map(words.warning, entry.result.warnings))}"
        return entry.message

    # -- dragging --------------------------------------------------------------------------

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:  # noqa: D102
        flag = Qt.ItemFlag
        if not index.isValid():
            return flag.ItemIsDropEnabled
        shown = flag.ItemIsEnabled | flag.ItemIsSelectable
        is_waiting = self.entries[index.row()].state == "waiting"
        return shown | flag.ItemIsDragEnabled if is_waiting else shown

    def supportedDropActions(self) -> Qt.DropAction:  # noqa: D102, N802
        return Qt.DropAction.MoveAction

    def mimeTypes(self) -> list[str]:  # noqa: D102, N802
        return [ROWS]

    def mimeData(self, indexes: Iterable[QModelIndex]) -> QMimeData:  # noqa: D102, N802
        numbers = sorted({index.row() for index in indexes})
        carried = QMimeData()
        carried.setData(ROWS, ",".join(str(self.entries[row].index) for row in numbers).encode())
        return carried

    def dropMimeData(  # noqa: N802
        self, data: QMimeData | None, action: Qt.DropAction, row: int, column: int,
        parent: QModelIndex,
    ) -> bool:  # fmt: skip
        """Ask for another order; the rows stay where they are until the host has said yes."""
        if data is None or not data.hasFormat(ROWS):
            return False
        numbers = [int(n) for n in data.data(ROWS).data().decode().split(",") if n]
        self.move(numbers, len(self.entries) if row < 0 else row)
        return False

    def move(self, numbers: Sequence[int], before: int) -> None:
        """Ask for points to be measured before the one in a row."""
        waiting = self.waiting()
        if not numbers or any(number not in waiting for number in numbers):
            self.refused.emit("Only points that were not begun can be moved.")
            return
        first = next(r for r, entry in enumerate(self.entries) if entry.state == "waiting")
        if before < first:
            self.refused.emit("Points that were begun stay first: it was moved to behind them.")
        rest = [n for n in waiting if n not in numbers]
        ahead = [e.index for e in self.entries[:before] if e.index in rest]
        wanted = [*ahead, *numbers, *(n for n in rest if n not in ahead)]
        if wanted != waiting:
            self.reordered.emit(wanted)


class Table(QTableView):
    """A table that asks for what is selected to be moved, on Alt+Up and Alt+Down."""

    moved = pyqtSignal(int)
    """By so many rows; less than 0: up."""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Take the two keys; all others are the table's own."""
        by = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        if event is not None and event.modifiers() & Qt.KeyboardModifier.AltModifier:
            key = Qt.Key(event.key())
            if key in by:
                self.moved.emit(by[key])
                return
        super().keyPressEvent(event)


def table_of(model: QAbstractItemModel, name: str, stretches: bool) -> Table:
    """A dense table that selects rows; its last column takes the rest of the room, or nothing."""
    table = Table()
    table.setObjectName(name)
    table.setModel(model)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setShowGrid(False)
    table.setAlternatingRowColors(True)
    table.setWordWrap(False)
    table.setTabKeyNavigation(False)
    down, across = table.verticalHeader(), table.horizontalHeader()
    if down is not None and across is not None:
        down.hide()
        down.setDefaultSectionSize(table.fontMetrics().lineSpacing() + 6)
        across.setHighlightSections(False)
        across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        across.setStretchLastSection(stretches)
        across.setResizeContentsPrecision(50)
        if not stretches:
            across.setMaximumSectionSize(WIDEST_PX)
    return table
