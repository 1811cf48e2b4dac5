"""A series of scans: its plan and forecast, and its points while and after they are measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import (
    QAbstractItemModel,
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QMimeData,
    QModelIndex,
    Qt,
    QTimer,
    pyqtSignal,
)
from PyQt6.QtGui import QColor, QKeyEvent, QResizeEvent
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from tplm_config import (
    InputError,
    InstrumentProfile,
    LineScan,
    SeriesPlan,
    bundled,
    load_series,
    to_toml,
)
from tplm_gui import theme, words
from tplm_gui.data.latest import Latest
from tplm_gui.hub import Hub, Reply, is_running
from tplm_gui.widgets.form import ModelForm, label_of
from tplm_gui.widgets.launch import (
    GAP_PX,
    HALF_PX,
    RECORD,
    Assumed,
    Chooser,
    Disk,
    Figures,
    RunBar,
    Target,
    by_the_clock,
    choose_file,
    clock,
    folder_of,
    in_scroll,
    read_plan,
    record_form,
    room_in,
    short_path,
    size,
    together,
    wall_s,
    why_not,
    write_plan,
)
from tplm_gui.widgets.plots import CurvePlot, Quantity

if TYPE_CHECKING:
    from tplm_daq.series import Entry, Forecast, Manifest

DEBOUNCE_MS = 250
ROWS = "application/x-tplm-points"
D_UNIT = "cm²/s"
WIDE_PX = 1400
"""From this width on, plot and table stand side by side."""
WIDEST_PX = 420
"""Of a column, px."""
SMOOTH = 200
"""Points of a drawn fit."""


# -- the forecast ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DryRun:
    """What the points of a series will be, or what the instrument has against them."""

    plan: SeriesPlan
    points: "tuple[Forecast, ...]" = ()
    key: str = ""
    problem: str = ""


def dry_run(
    plan: SeriesPlan, profile: InstrumentProfile | None, assumed: tuple[float, float] | None
) -> DryRun:
    """Foretell every point; it takes a while, so not in the thread of the window."""
    from tplm_daq.prediction import COUNT_RATE_HZ, D_CM2_PER_S
    from tplm_daq.series import forecast

    if profile is None:
        return DryRun(plan)
    try:
        found = forecast(plan, profile, *(assumed or (COUNT_RATE_HZ, D_CM2_PER_S)))
    except InputError as error:
        where = error.source.removeprefix("series: ")
        problem = f"{where}: {error.problem}; {error.allowed}".rstrip("; ")
        return DryRun(plan, (), f"scan.{error.key}" if error.key else "", problem)
    return DryRun(plan, tuple(found))


class ForecastModel(QAbstractTableModel):
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

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: D102, N802
        return len(self.HEAD)

    def headerData(  # noqa: D102, N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        return _head(self.HEAD, section, orientation, role)

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


def _head(
    head: Sequence[tuple[str, str]], section: int, orientation: Qt.Orientation, role: int
) -> Any:
    if orientation is not Qt.Orientation.Horizontal:
        return None
    if role == Qt.ItemDataRole.DisplayRole:
        return head[section][0]
    if role == Qt.ItemDataRole.ToolTipRole:
        return head[section][1]
    return None


# -- the points as they are measured -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Curve:
    """D against one quantity, and a fit where there is one.

    Attributes
    ----------
    title : str
        For the choice of what D is drawn against.
    x_axis : Quantity
        Name and unit.
    x, d, error : ndarray, shape (points,)
        D and its standard error, cm²/s.
    fit : tuple of ndarray, shape (n,), or None
        The fit: x and D.
    words : str
        What the fit says.
    """

    title: str
    x_axis: Quantity
    x: NDArray[np.float64]
    d: NDArray[np.float64]
    error: NDArray[np.float64]
    fit: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a folder of a series holds.

    Attributes
    ----------
    folder : Path
        The folder.
    manifest : Manifest
        Its points.
    ended : dict of int to float
        When the file of a point was last written, s since 1970.
    predicted_s : dict of int to float
        How long each point should take by the instrument's clock; empty if unknown.
    curves : tuple of Curve
        D against what was swept, the time between excitations, and the order.
    """

    folder: Path
    manifest: "Manifest"
    ended: dict[int, float]
    predicted_s: dict[int, float]
    curves: tuple[Curve, ...]


def look_into(folder: Path) -> Seen:
    """Read the folder of a series; not in the thread of the window.

    Raises
    ------
    InputError
        If there is no series in it.
    """
    from tplm_config import parse_profile, parse_series
    from tplm_daq.series import forecast, read_manifest

    manifest = read_manifest(folder)
    ended = {}
    for entry in manifest.points:
        if entry.state in ("done", "failed") and (folder / entry.file).is_file():
            ended[entry.index] = (folder / entry.file).stat().st_mtime
    predicted_s = {}
    try:
        plan = parse_series(manifest.plan, str(folder))
        profile = parse_profile(manifest.profile, str(folder))
        predicted_s = {p.index: p.duration_s for p in forecast(plan, profile, 1.0, None)}
    except InputError:
        predicted_s = {}  # of another version: only the time left is not known
    return Seen(folder, manifest, ended, predicted_s, tuple(curves_of(manifest.points)))


def curves_of(entries: "Sequence[Entry]") -> Iterable[Curve]:
    """Everything D can be drawn against."""
    from tplm_daq.series.picture import swept_quantity
    from tplm_daq.series.results import arrhenius_of, known, relaxation_of, swept_alone, trend_of

    points = known(entries)
    d = np.array([each[2] for each in points], np.float64)
    error = np.array([each[3] for each in points], np.float64)
    quantity = swept_quantity(entries)
    if quantity is not None:
        name, _, unit = label_of(quantity).rpartition(", ")
        x = np.array([getattr(each[0].settings, quantity) for each in points], np.float64)
        curve = Curve(f"against {name or unit}", Quantity(name or unit, unit if name else ""),
                      x, d, error)  # fmt: skip
        if swept_alone(entries) == quantity:
            along = np.linspace(x.min(), x.max(), SMOOTH)
            law: Any = trend_of(entries, quantity)
            said = law.words(unit)
            if quantity == "temperature_k" and (arrhenius := arrhenius_of(entries)[0]) is not None:
                law, said = arrhenius, str(arrhenius)
            curve = replace(curve, fit=(along, law.at(along)), words=said)
        yield curve
    waits = [each[1].time_between_excitations_us for each in points]
    if points and None not in waits and len(set(waits)) > 1:
        x = np.array(waits, np.float64)
        axis = Quantity("mean time between excitations", "µs")
        curve = Curve("against time between excitations", axis, x, d, error)
        relaxation, why = relaxation_of(entries)
        if relaxation is not None:
            along = np.linspace(0.5 * x.min(), 1.05 * x.max(), SMOOTH)
            curve = replace(curve, fit=(along, relaxation.at(along)), words=str(relaxation))
        elif why:
            curve = replace(curve, words=f"no relaxation curve: {why}")
        yield curve
    order = np.array([each[0].index for each in points], np.float64)
    yield Curve("in the order of measurement", Quantity("point"), order, d, error)


class PointsModel(QAbstractTableModel):
    """The points of a series; those not yet begun can be dragged."""

    reordered = pyqtSignal(list)
    """The points not yet begun are wanted in this order, by their numbers."""
    refused = pyqtSignal(str)
    """Something was dragged that cannot be."""

    HEAD = (
        ("", "Number of the point"), ("point", "What is set"), ("state", "How far it is"),
        ("tries", "How often it was begun"), ("D, cm²/s", "With its standard error"),
        ("time", "When it ended, or will about end"), ("", "What there is to say of it"),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self._ended: dict[int, float] = {}
        self._ends_s: dict[int, float] = {}
        self._running = ""

    def show_entries(
        self, entries: "Sequence[Entry]", ended: Mapping[int, float], ends_s: Mapping[int, float]
    ) -> None:
        """Show points, when they ended, and in how many seconds the others will."""
        self.beginResetModel()
        self.entries = list(entries)
        self._ended, self._ends_s = dict(ended), dict(ends_s)
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

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: D102, N802
        return len(self.HEAD)

    def headerData(  # noqa: D102, N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        return _head(self.HEAD, section, orientation, role)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: D102
        entry = self.entries[index.row()]
        column = index.column()
        if role == Qt.ItemDataRole.ForegroundRole:
            colours = theme.colours()
            ink = {"done": colours.good, "running": colours.accent, "failed": colours.bad}
            if column == 2 and entry.state in ink:
                return QColor(ink[entry.state])
            return QColor(colours.dim) if entry.state == "waiting" or column == 6 else None
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (0, 3, 4, 5):
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
            case _:
                return self._message_of(entry)

    def _time_of(self, entry: "Entry") -> str:
        if entry.index in self._ended:
            ended = datetime.fromtimestamp(self._ended[entry.index]).astimezone()
            today = ended.date() == datetime.now().astimezone().date()
            return f"{ended:%H:%M}" if today else f"{ended:%d %b %H:%M}"
        left_s = self._ends_s.get(entry.index)
        return "" if left_s is None else f"≈ {clock(left_s)}"

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


class SeriesView(QWidget):
    """Plan a series, see what it will be, measure it, and see how D goes."""

    TITLE = "Series"
    KEY = "series"

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.hub = hub
        self.setObjectName(self.KEY)
        self._dry: DryRun | None = None
        self._disk = Disk("", None)
        self._folder: Path | None = None
        self._seen: Seen | None = None
        self._order: list[int] | None = None
        self.chooser = Chooser("series", bundled("series"), "series plan")
        hidden = [f"scan.{name}" for name in RECORD]
        self.form = ModelForm(
            SeriesPlan, load_series("power-series"), hidden=hidden, order=("axes", "points", "scan")
        )
        self.record = record_form()
        self.forecast = ForecastModel()
        self.points = PointsModel()
        self._foreteller = Latest(DEBOUNCE_MS, self)
        self._looker = Latest(DEBOUNCE_MS, self)
        self._reader = Latest(0, self)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("series-tabs")
        self.tabs.setDocumentMode(True)
        tab_bar = self.tabs.tabBar()
        if tab_bar is not None:
            tab_bar.setDrawBase(False)
        self.tabs.addTab(self._plan_page(), "P&lan")
        self.tabs.addTab(self._points_page(), "P&oints")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.tabs)
        self._connect()
        self.chooser.name_it("power-series")
        self.target.set_folder(folder_of(hub))
        self._plan_changed()
        self._status_changed()

    # -- what it looks like ----------------------------------------------------------------

    def _plan_page(self) -> QWidget:
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(6, 6, 2, 6)
        column.addWidget(self.chooser)
        column.addWidget(in_scroll(self.form), 1)
        left.setMinimumWidth(350)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(2, 6, 6, 6)
        self.figures = Figures(
            [("points", "points"), ("duration", "takes"), ("ends", "ends"), ("disk", "disk")],
            "series",
        )
        column.addLayout(together(self.figures))
        column.addLayout(together(table_of(self.forecast, "series-forecast", False)), 1)
        self.assumed = Assumed(self.hub, "series", "at the brightest")
        column.addWidget(self.assumed)
        below = QHBoxLayout()
        below.setSpacing(GAP_PX)
        below.addWidget(self.record, 1)
        self.target = Target("series", "folder name")
        below.addWidget(self.target, 1, Qt.AlignmentFlag.AlignTop)
        for half in (self.record, self.target):
            half.setMaximumWidth(HALF_PX)
        below.addStretch()
        column.addLayout(below)
        self.bar = RunBar(self.hub, "series", self._start, self)
        column.addLayout(together(self.bar))
        return _split("series-split", left, right)

    def _points_page(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(6, 6, 6, 6)
        top = QHBoxLayout()
        self.title = QLabel("No series is open.")
        self.title.setObjectName("series-title")
        self.title.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.title.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.open = QPushButton("Open &folder …")
        self.open.setObjectName("series-open-folder")
        self.open.setToolTip("Show a series that was measured or interrupted before")
        self.again = QPushButton("&Resume")
        self.again.setObjectName("series-resume")
        for button in (self.open, self.again):
            button.setAutoDefault(False)
        top.addWidget(self.title, 1)
        top.addWidget(self.again)
        top.addWidget(self.open)
        column.addLayout(top)
        self.progress = Figures(
            [("done", "points done"), ("now", "now"), ("left", "time left"), ("until", "ends")],
            "series-run",
        )
        column.addLayout(together(self.progress))
        self.table = table_of(self.points, "series-table", True)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ContiguousSelection)
        self.table.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.table.setDragDropOverwriteMode(False)
        self.table.setDropIndicatorShown(True)
        self.table.setToolTip(
            "Drag points that were not begun, or Alt+Up and Alt+Down, to measure them earlier or "
            "later"
        )
        self.plot = CurvePlot(
            "series-plot", "Diffusivity", Quantity("point"), Quantity("D", D_UNIT)
        )
        self.plot.add("fit", "fit", colour=1, width=2)
        self.plot.add("points", "D", colour=0, style="points", size=8, error="bars")
        self.against = QComboBox()
        self.against.setObjectName("series-against")
        self.against.setAccessibleName("What D is drawn against")
        self.against.setToolTip("What D is drawn against")
        self.plot.header.insertWidget(1, self.against)
        self.law = QLabel()
        self.law.setObjectName("series-law")
        self.law.setWordWrap(True)
        self.law.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.law.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        lower = QWidget()
        box = QVBoxLayout(lower)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.plot, 1)
        box.addWidget(self.law)
        self.halves = QSplitter(Qt.Orientation.Vertical)
        self.halves.setObjectName("series-points-split")
        self.halves.setChildrenCollapsible(False)
        self.halves.addWidget(self.table)
        self.halves.addWidget(lower)
        self.halves.setSizes([240, 300])
        column.addWidget(self.halves, 1)
        self.said = QLabel()
        self.said.setObjectName("series-said")
        self.said.setWordWrap(True)
        self.said.hide()
        column.addWidget(self.said)
        return page

    def _connect(self) -> None:
        hub = self.hub
        self.chooser.box.textActivated.connect(self._choose)
        self.chooser.load.clicked.connect(
            lambda: choose_file(self, "Open a series plan", self.open_plan)
        )
        self.chooser.save.clicked.connect(
            lambda: choose_file(self, "Save the series plan", self.save_plan, save=True)
        )
        self.form.changed.connect(self._plan_changed)
        self.record.changed.connect(self._record_changed)
        self.assumed.changed.connect(self._ask_forecast)
        self.target.changed.connect(self._target_changed)
        self.target.folder.textChanged.connect(self._look)
        self._foreteller.found.connect(self._foretold)
        self._foreteller.failed.connect(self._not_foretold)
        self._looker.found.connect(self._looked)
        self._reader.found.connect(self._read)
        self._reader.failed.connect(self._not_read)
        self.open.clicked.connect(self._choose_folder)
        self.again.clicked.connect(self._resume)
        self.points.reordered.connect(self._reorder)
        self.points.refused.connect(lambda text: self._say(text, "warn"))
        self.against.currentIndexChanged.connect(self._draw)
        self.table.moved.connect(self._move)
        hub.profile_changed.connect(self._plan_changed)
        hub.status_changed.connect(self._status_changed)
        hub.linked.connect(self._status_changed)
        hub.happened.connect(self._happened)
        hub.plan_offered.connect(self.take_plan)
        theme.notifier.changed.connect(self._recolour)
        self._minute = QTimer(self)
        self._minute.setInterval(10_000)
        self._minute.timeout.connect(self._show_forecast)
        self._minute.start()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Put the plot beside the table where there is room."""
        super().resizeEvent(event)
        is_wide = self.width() >= WIDE_PX
        way = Qt.Orientation.Horizontal if is_wide else Qt.Orientation.Vertical
        if self.halves.orientation() is not way:
            self.halves.setOrientation(way)
            self.halves.setSizes([self.width() // 2] * 2 if is_wide else [240, 300])

    # -- the plan --------------------------------------------------------------------------

    def plan(self) -> SeriesPlan | None:
        """The plan as the form has it; None if something is wrong with it."""
        plan, record = self.form.value(), self.record.value()
        if plan is None or record is None:
            return None
        scan = plan.scan.model_copy(update={key: getattr(record, key) for key in RECORD})
        changed: SeriesPlan = plan.model_copy(update={"scan": scan})
        return changed

    def take_plan(self, plan: object, name: str = "offered") -> None:
        """Show a plan, such as that of a series to be measured again."""
        if not isinstance(plan, SeriesPlan):
            return
        self.chooser.name_it(name)
        now = self.record.value() or LineScan()
        kept = {key: getattr(plan.scan, key) or getattr(now, key) for key in RECORD}
        self.record.set_value(LineScan(**kept))
        self.form.set_value(plan)
        self.tabs.setCurrentIndex(0)
        self.hub.view_requested.emit(self.KEY)

    def _choose(self, name: str) -> None:
        if name in bundled("series"):
            self.form.set_value(load_series(name))

    def open_plan(self, path: str) -> None:
        """Show a plan from a file."""
        plan = read_plan(self.hub, path, load_series)
        if plan is not None:
            self.take_plan(plan, Path(path).name)

    def save_plan(self, path: str) -> None:
        """Write the plan to a file."""
        if write_plan(self.hub, path, self.plan()):
            self.chooser.name_it(Path(path).name)

    def _plan_changed(self) -> None:
        self.bar.forgive()
        self._dry = None
        self._ask_forecast()
        self._show_forecast()

    def _record_changed(self) -> None:
        self._look()
        self._hinder()

    def _ask_forecast(self) -> None:
        plan, profile, assumed = self.form.value(), self.hub.profile, self.assumed.values()
        if plan is not None:
            self._foreteller.ask(lambda: dry_run(plan, profile, assumed))

    def _foretold(self, found: DryRun) -> None:
        if found.plan != self.form.value():
            return
        self._dry = found
        self.form.forgive()
        if found.problem:
            self.form.complain(found.key, found.problem)
        self._show_forecast()

    def _not_foretold(self, error: Exception) -> None:
        self._dry = None
        self.form.complain("", f"the series cannot be foretold: {error}")
        self._show_forecast()

    def _show_forecast(self) -> None:
        points = () if self._dry is None else self._dry.points
        self.forecast.show_points(points, self.hub.status)
        say = self.figures.say
        if points:
            total_s = points[-1].ends_s
            disk = sum(point.disk_bytes for point in points)
            free = self._disk.free_bytes
            room = "" if free is None else f"; {size(free)} are free"
            say("points", f"{len(points):,}")
            say("duration", words.duration(total_s), by_the_clock(self.hub.status, total_s))
            say("ends", clock(wall_s(self.hub.status, total_s)), "If it begins now")
            say("disk", size(disk), f"While measuring, smaller afterwards{room}")
        else:
            for name in ("points", "duration", "ends", "disk"):
                say(name, words.NONE)
        self._hinder()

    def _hinder(self) -> None:
        problems = [*self.form.problems(), *self.record.problems()]
        if problems:
            more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
            why = f"The plan: {problems[0]}{more}."
        elif self.hub.profile is not None and self._dry is None:
            why = "The plan is being checked …"
        elif self._disk.problem:
            why = self._disk.problem
        elif not self.target.name.text().strip():
            why = "The folder needs a name."
        else:
            why = ""
        self.bar.hinder(why)

    def _target_changed(self) -> None:
        self.bar.forgive()
        self._hinder()

    def _look(self) -> None:
        folder = self.target.where()
        record = self.record.value()
        sample = (record.sample if record is not None else "") or "series"
        self._looker.ask(lambda: room_in(folder, sample, ""))

    def _looked(self, disk: Disk) -> None:
        self._disk = disk
        if disk.name:
            self.target.propose(disk.name)
        self._show_forecast()

    # -- the points ------------------------------------------------------------------------

    def open_folder(self, folder: str | Path) -> None:
        """Show the series in a folder, whether it runs, is finished or was interrupted."""
        if Path(folder) != self._folder:
            self._order = None
            self._say("", "dim")
        self._folder = Path(folder)
        self._reread()

    def _choose_folder(self) -> None:
        start = str(self._folder or self.target.where())
        dialog = QFileDialog(self, "Open the folder of a series", start)
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.open_folder)
        dialog.show()

    def _reread(self) -> None:
        folder = self._folder
        if folder is not None:
            self._reader.ask(lambda: look_into(folder))

    def _read(self, seen: Seen) -> None:
        if seen.folder != self._folder:
            return
        if self._seen is None or self._seen.folder != seen.folder:
            self.tabs.setCurrentIndex(1)
        self._seen, self._order = seen, None
        chosen = self._chosen()
        self._show_points()
        self._choose_points(chosen)
        now = self.against.currentText()
        self.against.blockSignals(True)
        self.against.clear()
        self.against.addItems([curve.title for curve in seen.curves])
        self.against.setCurrentIndex(max(self.against.findText(now), 0))
        self.against.blockSignals(False)
        self._draw()
        self._show_progress()

    def _not_read(self, error: Exception) -> None:
        # a series that has just begun has no manifest yet: its first event brings it
        if not is_running(self.hub.status, "series"):
            self._say(f"{error}", "bad")

    def _entries(self) -> "list[Entry]":
        """Points begun, then the others in the order in which they will be measured."""
        if self._seen is None:
            return []
        manifest = self._seen.manifest
        moved = manifest.order if self._order is None else self._order
        place = {index: at for at, index in enumerate(moved)}
        entries = sorted(manifest.points, key=lambda entry: place.get(entry.index, -1))
        return sorted(entries, key=lambda entry: entry.state == "waiting")

    def _show_points(self) -> None:
        if self._seen is None:
            return
        entries = self._entries()
        ends_s: dict[int, float] = {}
        if self._runs_here():
            at_s = 0.0
            for entry in entries:
                if entry.state in ("waiting", "running"):
                    whole_s = self._seen.predicted_s.get(entry.index)
                    if whole_s is None:
                        break
                    at_s += whole_s * (self._share_left() if entry.state == "running" else 1.0)
                    real_s = wall_s(self.hub.status, at_s)
                    if real_s is not None:
                        ends_s[entry.index] = real_s
        self.points.show_entries(entries, self._seen.ended, ends_s)

    def _share_left(self) -> float:
        """How much of the running point is left."""
        planned = self.hub.status.get("visits_planned")
        return 1.0 if not planned else 1.0 - self.hub.status.get("visits_done", 0) / planned

    def _runs_here(self) -> bool:
        """Whether the series shown is the one that is measured."""
        status = self.hub.status
        return is_running(status, "series") and self._path_of(status) == self._folder

    def _path_of(self, status: Mapping[str, Any]) -> Path:
        return folder_of(self.hub) / (status.get("path") or "")

    def _show_progress(self) -> None:
        seen, status = self._seen, self.hub.status
        say = self.progress.say
        if seen is None:
            self.again.hide()
            return
        points = seen.manifest.points
        done = sum(entry.state == "done" for entry in points)
        failed = [entry for entry in points if entry.state == "failed"]
        say("done", f"{done} of {len(points)}")
        runs = self._runs_here()
        left_s = status.get("left_s") if runs else None
        say("left", words.duration(left_s), "From what was measured so far")
        say("until", clock(left_s) if left_s is not None else words.NONE)
        visits = f"visit {status.get('visits_done')} of {status.get('visits_planned')}"
        d = words.plus_minus(status.get("d_cm2_per_s"), status.get("d_stderr_cm2_per_s"), D_UNIT)
        say("now", (status.get("state") or words.NONE) if runs else self._ending())
        self.points.say_running(
            f"{visits}, D = {d}" if runs and status.get("visits_planned") else ""
        )
        self.title.setText(short_path(seen.folder))
        self.title.setToolTip(str(seen.folder))
        self.again.setVisible(not runs and done < len(points))
        more = len(points) - done - len(failed)
        self.again.setText(
            f"&Resume ({more} left)" if more else f"&Measure {len(failed)} failed again"
        )
        why = why_not(self.hub)
        self.again.setEnabled(not why)
        self.again.setToolTip(why or "Measure what is not done yet; what is done stays")
        if failed:
            each = "; ".join(f"{entry.label}: {entry.message}" for entry in failed)
            s = "" if len(failed) == 1 else "s"
            self._say(f"{len(failed)} point{s} failed. {each}", "bad")
        elif not runs and seen.manifest.ending not in (None, "completed"):
            self._say(f"The series was {seen.manifest.ending}: {seen.manifest.message}.", "warn")

    def _ending(self) -> str:
        return (self._seen and self._seen.manifest.ending) or "interrupted"

    def _draw(self) -> None:
        if self._seen is None or not self._seen.curves:
            return
        curve = self._seen.curves[max(self.against.currentIndex(), 0)]
        if self.plot.x_axis != curve.x_axis:
            self.plot.x_axis = curve.x_axis
            self.plot.plot.setLabel("bottom", str(curve.x_axis))
            self.plot.clear()
        self.plot.put("fit", *(curve.fit or ()))
        self.plot.put("points", curve.x, curve.d, curve.error)
        if curve.x.size:
            fit_d = np.zeros(0) if curve.fit is None else curve.fit[1]
            top = float(np.max(np.concatenate([curve.d + curve.error, fit_d])))
            low = min(float(np.min(np.concatenate([curve.d - curve.error, fit_d]))), 0.0)
            margin = 0.05 * (float(np.ptp(curve.x)) or 1.0)
            left, right = float(curve.x.min()) - margin, float(curve.x.max()) + margin
            self.plot.frame((left, right), (low, top))
        self.law.setText(curve.words)
        self.law.setVisible(bool(curve.words))

    def _say(self, text: str, colour: str) -> None:
        self.said.setText(text)
        self.said.setStyleSheet(f"color: {getattr(theme.colours(), colour)};")
        self.said.setVisible(bool(text))

    def _recolour(self) -> None:
        self._show_points()

    # -- another order ---------------------------------------------------------------------

    def _move(self, by: int) -> None:
        numbers = self._chosen()
        if numbers:
            order = [entry.index for entry in self.points.entries]
            rows = [order.index(number) for number in numbers]
            self.points.move(numbers, rows[0] - 1 if by < 0 else rows[-1] + 2)

    def _reorder(self, wanted: list[int]) -> None:
        if not self._runs_here():
            self._say("The order can be changed while the series runs.", "warn")
            return
        chosen = self._chosen()
        self._order = wanted
        self._show_points()
        self._choose_points(chosen)

        def replied(reply: Reply) -> None:
            if not reply.ok:
                self._order = None
                self._show_points()
                self._choose_points(chosen)
                self._say(f"The order stays: {reply.words}", "warn")
            else:
                self._say(reply.words, "dim")

        self.hub.ask("reorder", {"order": wanted}, replied)

    def _chosen(self) -> list[int]:
        """Numbers of the points selected."""
        selection = self.table.selectionModel()
        rows = [] if selection is None else sorted(i.row() for i in selection.selectedRows())
        return [self.points.entries[row].index for row in rows]

    def _choose_points(self, numbers: Sequence[int]) -> None:
        """Keep what was moved selected, so that the next key moves it on."""
        rows = [r for r, entry in enumerate(self.points.entries) if entry.index in numbers]
        if rows:
            model, last = self.points, len(self.points.HEAD) - 1
            both = QItemSelection(model.index(rows[0], 0), model.index(rows[-1], last))
            flag = QItemSelectionModel.SelectionFlag
            selection = self.table.selectionModel()
            if selection is not None:
                selection.setCurrentIndex(model.index(rows[0], 0), flag.NoUpdate)
                selection.select(both, flag.ClearAndSelect)

    # -- what the host says ----------------------------------------------------------------

    def _status_changed(self) -> None:
        status = self.hub.status
        if self.target.is_unset:
            self.target.set_folder(folder_of(self.hub))
        if is_running(status, "series") and status.get("path"):
            path = self._path_of(status)
            if path != self._folder:
                self.open_folder(path)
        elif self._folder is None:
            last = (status.get("station") or {}).get("last") or {}
            if last.get("kind") == "series" and last.get("path"):
                self.open_folder(self._path_of(last))
        self._show_progress()

    def _happened(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "series-started":
                self.target.forget()
                self.open_folder(folder_of(self.hub) / str(event.get("folder") or ""))
            case "point-started" | "point-ended" | "points-reordered" | "series-ended":
                self._reread()

    # -- doing it --------------------------------------------------------------------------

    def _start(self) -> None:
        plan = self.plan()
        if plan is None:
            self.bar.replied(Reply(ok=False, words="The plan has errors."))
            return
        arguments = {
            "plan": to_toml(plan),
            "out": str(self.target.path()),
            "watchdog": self.bar.watchdog.isChecked(),
        }
        self.hub.ask("series", arguments, self._started)

    def _started(self, reply: Reply) -> None:
        self.bar.replied(reply)
        if reply.ok:
            self.target.forget()
            self._look()

    def _resume(self) -> None:
        if self._folder is None:
            return
        arguments = {"path": str(self._folder), "watchdog": self.bar.watchdog.isChecked()}

        def replied(reply: Reply) -> None:
            self._say("" if reply.ok else reply.words, "dim" if reply.ok else "bad")

        self.hub.ask("resume", arguments, replied)


def _split(name: str, left: QWidget, right: QWidget) -> QSplitter:
    split = QSplitter()
    split.setObjectName(name)
    split.setChildrenCollapsible(False)
    split.addWidget(left)
    split.addWidget(right)
    split.setStretchFactor(1, 1)
    split.setSizes([380, 700])
    return split
