"""Measured files: opened, compared, fitted again with another estimator, measured again.

Everything that reads or fits happens in `tplm_gui.data.opened`, in threads of a pool; what comes
back after something newer was asked for is dropped.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import (
    QAction,
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QIcon,
    QKeySequence,
    QPainter,
    QPixmap,
)
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tplm_analysis import Method, ModelChoice
from tplm_config import SeriesPlan
from tplm_daq.exporting import FORMATS, ExportFormat
from tplm_daq.host.entries import runtime_folder
from tplm_gui import theme
from tplm_gui.data import opened
from tplm_gui.data.background import Background
from tplm_gui.data.opened import Opened, Outcome, Settings, Shelf
from tplm_gui.hub import Hub
from tplm_gui.widgets.parts import ElidedLabel, NumberField
from tplm_gui.widgets.plots import CurvePlot, MapPlot, Quantity
from tplm_gui.words import NONE

F64 = NDArray[np.float64]
MOST = 8
"""Files compared at once: as many as there are line colours."""
MAPS_IN_A_ROW = 3
DOT_PX = 8
HEADROOM = 0.07
"""Of the highest value above it for each name in the legend."""
RECENT = 12
"""Files that the list of recent ones names."""
RESULTS = 12
"""Results of now that are kept for each file."""

METHODS: dict[Method, str] = {
    "global": "Global likelihood",
    "slices": "Likelihood of slices",
    "gaussian-msd": "Gaussian MSD (S1)",
    "voigt-davg": "Voigt, D average (S2)",
    "moment": "Second moment (S3)",
}
MODELS: dict[ModelChoice, str] = {
    "auto": "chosen by the counts",
    "gaussian": "Gaussian",
    "two-gaussian": "two Gaussians",
    "voigt": "Voigt",
}
SWEPT: dict[str, Quantity] = {
    "power_nw": Quantity("power", "nW"),
    "fluence_uj_per_cm2": Quantity("fluence", "µJ/cm²"),
    "repetition_rate_hz": Quantity("repetition rate", "Hz"),
    "time_between_excitations_us": Quantity("time between excitations", "µs"),
    "temperature_k": Quantity("temperature", "K"),
    "index": Quantity("point"),
}
TIME = Quantity("time", "ns")
AFTER = Quantity("time after zero", "ns")
COLUMNS = ("", "Name", "Plan", "Sample", "Date", "D ± σ (cm²/s)", "Ending")
"""Of the list of opened files."""
FOUND = ("Result", "D ± σ (cm²/s)", "σ0 (nm)", "1/e (ns)", "α")
"""Of the list of results."""
POINTS = ("Point", "D ± σ (cm²/s)", "State")
"""Of the same list for a series."""


@dataclass(eq=False)
class _File:
    """An opened file in the list."""

    content: Opened
    is_compared: bool = True
    results: list[Outcome] = field(default_factory=list)
    """Of now, newest last."""
    chosen: str | None = None
    """Name of the result that is shown; None: the newest."""
    problem: str = ""
    """Why there is no D."""

    @property
    def outcomes(self) -> list[Outcome]:
        """Kept ones, then those of now."""
        return [*self.content.kept, *self.results]

    @property
    def shown(self) -> Outcome | None:
        """The result whose D, MSD and warnings are shown."""
        found = self.outcomes
        for one in found:
            if _id(one) == self.chosen:
                return one
        with_d = [one for one in found if one.number("d_cm2_per_s") is not None]
        return next(reversed(with_d or found), None)

    @property
    def d_words(self) -> str:
        """For the list."""
        if self.content.kind == "series":
            return f"{len(self.content.dots)} of {self.content.planned} points"
        shown = self.shown
        return NONE if shown is None else shown.d_words


def _id(one: Outcome) -> str:
    return f"{one.kept}:{one.name}"


class BrowseView(QWidget):
    """Opened files and series, side by side."""

    TITLE: ClassVar[str] = "Browse"
    KEY: ClassVar[str] = "browse"

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(self.KEY)
        self.setAcceptDrops(True)
        self.hub = hub
        self.shelf = Shelf()
        self.background = Background(self)
        self.files: dict[Path, _File] = {}
        self._last_run: tuple[str, str] | None = None
        self._order: dict[Path, int] = {}
        self._is_filling = False

        self._list = self._make_list()
        self._tabs = self._make_tabs()
        self._panel = _AnalysisPanel(self)
        self._panel.fit_asked.connect(self.fit_current)
        self._panel.cancel_asked.connect(self._cancel_fit)
        self._panel.save_asked.connect(self._save)
        self._panel.chosen.connect(self._choose_result)
        self._panel.point_opened.connect(self.open)

        lower = QSplitter(Qt.Orientation.Horizontal)
        lower.setObjectName("browse-lower")
        lower.setChildrenCollapsible(False)
        lower.addWidget(self._tabs)
        lower.addWidget(self._panel)
        lower.setStretchFactor(0, 1)
        lower.setStretchFactor(1, 0)
        lower.setSizes([760, 400])
        split = QSplitter(Qt.Orientation.Vertical)
        split.setObjectName("browse-split")
        split.setChildrenCollapsible(False)
        split.addWidget(self._list)
        split.addWidget(lower)
        split.setStretchFactor(0, 0)
        split.setStretchFactor(1, 1)
        split.setSizes([112, 520])
        box = QVBoxLayout(self)
        box.setContentsMargins(6, 6, 6, 6)
        box.setSpacing(5)
        box.addLayout(self._make_bar())
        box.addWidget(split, 1)

        self.background.changed.connect(self._tell_busy)
        hub.open_requested.connect(self.open)
        hub.status_changed.connect(self._look_at_run)
        theme.notifier.changed.connect(self._fill_list)
        self._refresh()

    # -- making ----------------------------------------------------------------------------

    def _make_bar(self) -> QHBoxLayout:
        bar = QHBoxLayout()
        bar.setSpacing(5)
        self._open_button = _button(
            "browse-open", "&Open …", "Open scan files (.h5) or tables (.npz, .csv)"
        )
        self._open_button.clicked.connect(self._choose_files)
        folder = _button("browse-open-series", "Open &series …", "Open the folder of a series")
        folder.clicked.connect(self._choose_folder)
        self._recent_button = _menu_button("browse-recent", "&Recent", "Files opened before")
        self._recent_menu = QMenu(self)
        self._recent_menu.setObjectName("browse-recent-menu")
        self._recent_menu.aboutToShow.connect(self._fill_recent)
        self._recent_button.setMenu(self._recent_menu)
        self._close_button = _button(
            "browse-close", "&Close", "Take the chosen file off the list (Del); it stays on disk"
        )
        self._close_button.clicked.connect(self._close_current)
        self._reload_button = _button(
            "browse-reload", "Re&load", "Read the chosen file again (F5), such as one that grows"
        )
        self._reload_button.clicked.connect(self._reload_current)
        self._busy = ElidedLabel()
        self._busy.setObjectName("browse-busy")
        self._again_button = _button(
            "browse-again",
            "&Measure this again",
            "Put the plan of the chosen file into the form; nothing starts by itself",
        )
        self._again_button.clicked.connect(self.measure_again)
        self._export_button = _menu_button(
            "browse-export", "&Export", "Write the chosen file's map for other programs"
        )
        exports = QMenu(self)
        exports.setObjectName("browse-export-menu")
        self._export_actions: dict[ExportFormat, QAction] = {}
        for form in FORMATS:
            action = QAction(f"Map as &{form.upper()} …", self)
            action.setObjectName(f"browse-export-{form}")
            action.triggered.connect(partial(self._choose_export, form))
            exports.addAction(action)
            self._export_actions[form] = action
        self._export_button.setMenu(exports)
        for widget in (
            self._open_button,
            folder,
            self._recent_button,
            self._close_button,
            self._reload_button,
        ):
            bar.addWidget(widget)
        bar.addWidget(self._busy, 1)
        bar.addWidget(self._again_button)
        bar.addWidget(self._export_button)
        for key, slot in (
            (QKeySequence(Qt.Key.Key_F5), self._reload_current),
            (QKeySequence(Qt.Key.Key_Delete), self._close_current),
        ):
            action = QAction(self)
            action.setShortcut(key)
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            action.triggered.connect(slot)
            self._list.addAction(action)
        return bar

    def _make_list(self) -> QTableWidget:
        table = _table("browse-list", COLUMNS)
        table.setAccessibleName("opened files")
        table.setToolTip("Ticked files are compared; the chosen one is fitted and read")
        table.verticalHeader().setDefaultSectionSize(22)  # type: ignore[union-attr]
        header = table.horizontalHeader()
        assert header is not None
        for column, width in enumerate((44, 210, 150, 150, 125, 150, 190)):
            table.setColumnWidth(column, width)
        header.setStretchLastSection(True)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        table.setMinimumHeight(96)
        table.itemSelectionChanged.connect(self._chosen_changed)
        table.itemChanged.connect(self._ticked)
        return table

    def _make_tabs(self) -> QTabWidget:
        tabs = QTabWidget()
        tabs.setObjectName("browse-tabs")
        tabs.setDocumentMode(True)
        self._normalised = QCheckBox("&Normalised")
        self._normalised.setObjectName("browse-normalised")
        self._normalised.setToolTip(
            "Maps: every time to its own maximum. MSD: divided by σ0². Decays: to 1 at their "
            "maximum. D: divided by its first value"
        )
        self._log = QCheckBox("Logari&thmic")
        self._log.setObjectName("browse-log")
        self._log.setToolTip("Colours of raw maps over the logarithm of the counts")
        self._log.setChecked(True)
        for box in (self._normalised, self._log):
            box.toggled.connect(self._draw)
        corner = QWidget()
        row = QHBoxLayout(corner)
        row.setContentsMargins(0, 0, 4, 0)
        row.addWidget(self._log)
        row.addWidget(self._normalised)
        tabs.setCornerWidget(corner)
        self._maps = QWidget()
        self._map_grid = QGridLayout(self._maps)
        self._map_grid.setContentsMargins(0, 4, 0, 0)
        self._map_grid.setSpacing(6)
        self._map_plots: dict[Path, MapPlot] = {}
        tabs.addTab(self._maps, "Ma&ps")
        self._curves: dict[str, QVBoxLayout] = {}
        self.plots: dict[str, CurvePlot] = {}
        for key, words in (("msd", "MS&D"), ("decay", "Deca&ys"), ("d", "D a&gainst …")):
            page = QWidget()
            layout = QVBoxLayout(page)
            layout.setContentsMargins(0, 4, 0, 0)
            if key == "d":
                self._against = QComboBox()
                self._against.setObjectName("browse-against")
                self._against.setAccessibleName("D against")
                self._against.setToolTip("What D is drawn against")
                for name, quantity in SWEPT.items():
                    self._against.addItem(str(quantity), name)
                self._against.currentIndexChanged.connect(self._draw)
                line = QHBoxLayout()
                line.addWidget(QLabel("D against"))
                line.addWidget(self._against)
                line.addStretch(1)
                layout.addLayout(line)
            self._curves[key] = layout
            tabs.addTab(page, words)
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 4, 0, 0)
        self._which_text = QComboBox()
        self._which_text.setObjectName("browse-which-text")
        self._which_text.setAccessibleName("which text")
        self._which_text.setToolTip("What of the file is shown")
        self._which_text.currentTextChanged.connect(self._fill_text)
        self._text = QPlainTextEdit()
        self._text.setObjectName("browse-text")
        self._text.setAccessibleName("text of the file")
        self._text.setReadOnly(True)
        self._text.setFont(theme.fixed_font())
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        line = QHBoxLayout()
        line.addWidget(self._which_text)
        line.addStretch(1)
        layout.addLayout(line)
        layout.addWidget(self._text, 1)
        tabs.addTab(page, "Te&xt")
        tabs.currentChanged.connect(self._draw)
        return tabs

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for a list over plots and results."""
        return QSize(1160, 640)

    # -- opening ---------------------------------------------------------------------------

    def open(self, path: str) -> None:
        """Open a scan file, a table or a series' folder; returns at once."""
        where = Path(path).absolute()
        self._order.setdefault(where, len(self._order))

        def failed(problem: str) -> None:
            self.hub.tell("error", f"{_sentence(problem)}", code="browse-open")

        self.background.start(
            ("open", where), partial(opened.open_path, where, self.shelf), self._opened, failed
        )

    def _opened(self, content: Opened) -> None:
        known = self.files.get(content.path)
        if known is None:
            compared = sum(one.is_compared for one in self.files.values()) < MOST
            self.files[content.path] = _File(content, compared)
            # as they were asked for, whichever was read first
            last = len(self._order)
            self.files = dict(sorted(self.files.items(), key=lambda f: self._order.get(f[0], last)))
            _remember(content.path)
        else:
            known.content = content
        self._fill_list()
        if known is None:
            self._choose(content.path)
        has_d = any(one.number("d_cm2_per_s") is not None for one in content.kept)
        if content.kind != "series" and content.stored and (known is not None or not has_d):
            self.fit(content.path, Settings())
        self._refresh()

    def _reload_current(self) -> None:
        if self.current is not None:
            self.open(str(self.current.content.path))

    def _close_current(self) -> None:
        file = self.current
        if file is None:
            return
        path = file.content.path
        del self.files[path]
        self.shelf.drop(path)
        self.background.cancel(("fit", path))
        self._fill_list()
        self._refresh()

    def _look_at_run(self, status: dict[str, Any]) -> None:
        """Read a file again when its run has ended."""
        last = (status.get("station") or {}).get("last") or {}
        now = (str(last.get("path", "")), str(last.get("ending", "")))
        if now == self._last_run or not now[0]:
            return
        self._last_run = now
        path = Path(now[0])
        if not path.is_absolute():
            path = Path((status.get("station") or {}).get("folder", "."), path)
        if path.absolute() in self.files:
            self.open(str(path))

    def dragEnterEvent(self, a0: QDragEnterEvent | None) -> None:  # noqa: D102, N802
        data = None if a0 is None else a0.mimeData()
        if a0 is not None and data is not None and data.hasUrls():
            a0.acceptProposedAction()

    def dropEvent(self, a0: QDropEvent | None) -> None:  # noqa: D102, N802
        data = None if a0 is None else a0.mimeData()
        if a0 is None or data is None:
            return
        for url in data.urls():
            if url.isLocalFile():
                self.open(url.toLocalFile())
        a0.acceptProposedAction()

    # -- choosing --------------------------------------------------------------------------

    @property
    def current(self) -> _File | None:
        """The chosen file."""
        row = self._list.currentRow()
        files = list(self.files.values())
        return files[row] if 0 <= row < len(files) else None

    @property
    def compared(self) -> list[tuple[int, _File]]:
        """The ticked files, each with the number of its colour."""
        found = [one for one in self.files.values() if one.is_compared]
        return list(enumerate(found[:MOST]))

    def _choose(self, path: Path) -> None:
        self._list.selectRow(list(self.files).index(path))

    def _chosen_changed(self) -> None:
        if not self._is_filling:
            self._refresh()

    def _ticked(self, item: QTableWidgetItem) -> None:
        if self._is_filling or item.column() != 0:
            return
        file = list(self.files.values())[item.row()]
        wanted = item.checkState() is Qt.CheckState.Checked
        if wanted and not file.is_compared and len(self.compared) >= MOST:
            self.hub.tell(
                "info", f"{MOST} files are compared at most; untick another.", code="browse-most"
            )
        else:
            file.is_compared = wanted
        self._fill_list()
        self._draw()

    def _fill_list(self) -> None:
        self._is_filling = True
        current = self._list.currentRow()
        colours = {id(file): number for number, file in self.compared}
        self._list.setRowCount(len(self.files))
        for row, file in enumerate(self.files.values()):
            content = file.content
            tick = QTableWidgetItem()
            tick.setFlags(
                Qt.ItemFlag.ItemIsUserCheckable
                | Qt.ItemFlag.ItemIsEnabled
                | Qt.ItemFlag.ItemIsSelectable
            )
            tick.setCheckState(
                Qt.CheckState.Checked if file.is_compared else Qt.CheckState.Unchecked
            )
            if id(file) in colours:
                tick.setIcon(_swatch(theme.colours().series[colours[id(file)]]))
            tick.setToolTip("Ticked: compared with the others, in this colour")
            self._list.setItem(row, 0, tick)
            cells = (
                content.name,
                content.plan_words,
                content.sample or NONE,
                content.date or NONE,
                file.d_words,
                content.ending or NONE,
            )
            for column, text in enumerate(cells, start=1):
                cell = QTableWidgetItem(text)
                cell.setToolTip(str(content.path) if column == 1 else text)
                if column == 5 and file.problem:
                    cell.setToolTip(file.problem)
                self._list.setItem(row, column, cell)
        if self.files:
            self._list.setCurrentCell(min(max(current, 0), len(self.files) - 1), 1)
        self._is_filling = False

    def _refresh(self) -> None:
        """Show what belongs to the chosen file."""
        file = self.current
        self._panel.show_file(file, file is not None and self._is_fitting(file))
        for widget in (self._close_button, self._reload_button):
            widget.setEnabled(file is not None)
        self._again_button.setEnabled(file is not None and file.content.plan is not None)
        is_map = file is not None and file.content.kind != "series"
        self._export_button.setEnabled(is_map)
        is_scan = file is not None and file.content.kind == "scan"
        self._export_actions["ptu"].setEnabled(is_scan)
        self._is_filling = True
        before = self._which_text.currentText()
        self._which_text.clear()
        if file is not None:
            self._which_text.addItems(list(file.content.texts))
            self._which_text.setCurrentIndex(max(self._which_text.findText(before), 0))
        self._is_filling = False
        self._fill_text()
        self._draw()

    def _fill_text(self) -> None:
        if self._is_filling:
            return
        file = self.current
        title = self._which_text.currentText()
        self._text.setPlainText("" if file is None else file.content.texts.get(title, ""))

    def _tell_busy(self) -> None:
        busy = self.background.busy
        self._busy.setText(f"  working on {busy} …" if busy else "")
        file = self.current
        if file is not None:
            self._panel.show_busy(self._is_fitting(file))

    # -- fitting ---------------------------------------------------------------------------

    def _is_fitting(self, file: _File) -> bool:
        return self.background.is_busy(("fit", file.content.path))

    def fit_current(self, settings: Settings) -> None:
        """Fit the chosen file; one that is under way is given up."""
        if self.current is not None:
            self.fit(self.current.content.path, settings, asked=True)

    def fit(self, path: Path, settings: Settings, *, asked: bool = False) -> None:
        """Fit a file; its problem becomes a banner if a person asked for it."""

        def done(outcome: Outcome) -> None:
            file = self.files.get(path)
            if file is None:
                return
            file.results = [one for one in file.results if one.name != outcome.name]
            file.results = [*file.results, outcome][-RESULTS:]
            file.chosen, file.problem = _id(outcome) if asked else file.chosen, ""
            self._fill_list()
            self._refresh()

        def failed(problem: str) -> None:
            if (file := self.files.get(path)) is not None:
                file.problem = problem
            if asked:
                self.hub.tell("error", _sentence(problem), code="browse-fit")
            self._fill_list()

        self.background.start(
            ("fit", path), partial(opened.fit, path, settings, self.shelf), done, failed
        )

    def _cancel_fit(self) -> None:
        if self.current is not None:
            self.background.cancel(("fit", self.current.content.path))

    def _choose_result(self, which: str) -> None:
        file = self.current
        if file is not None:
            file.chosen = which
            self._fill_list()
            self._panel.show_outcome(file.shown)
            self._draw()

    def _save(self) -> None:
        file = self.current
        outcome = None if file is None else file.shown
        if file is None or outcome is None:
            return
        path = file.content.path

        def done(content: Opened) -> None:
            known = self.files.get(path)
            if known is None:
                return
            known.content = content
            known.results = [one for one in known.results if one is not outcome]
            known.chosen = _id(content.kept[-1])
            self.hub.tell(
                "info", f"The result is kept in {path.name} as {content.kept[-1].name}.",
                code="browse-save",
            )  # fmt: skip
            self._fill_list()
            self._refresh()

        def failed(problem: str) -> None:
            self.hub.tell("error", _sentence(problem), code="browse-save")

        self.background.start(
            ("save", path), partial(opened.keep, path, outcome, self.shelf), done, failed
        )

    # -- again, and export -----------------------------------------------------------------

    def measure_again(self) -> None:
        """Offer the plan of the chosen file to the form."""
        file = self.current
        if file is None or file.content.plan is None:
            return
        content = file.content
        plan = content.plan
        changes = opened.difference(content.profile, self.hub.profile)
        if changes:
            more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
            self.hub.tell(
                "warning",
                f"{content.name} was measured on another instrument than this one: "
                f"{'; '.join(changes[:3])}{more}. Its plan is in the form: look it over before "
                "you start.",
                code="browse-again",
            )
        elif content.profile is None:
            self.hub.tell(
                "info",
                f"{content.name} does not say on which instrument it was measured; its plan is in "
                "the form.",
                code="browse-again",
            )
        self.hub.plan_offered.emit(plan)
        self.hub.view_requested.emit("series" if isinstance(plan, SeriesPlan) else "scan")

    def _choose_files(self) -> None:
        dialog = QFileDialog(self, "Open scan files", self._folder())
        dialog.setObjectName("browse-open-dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.setNameFilters(["Maps (*.h5 *.npz *.csv)", "All files (*)"])
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(self._open_all)
        dialog.show()

    def _choose_folder(self) -> None:
        dialog = QFileDialog(self, "Open the folder of a series", self._folder())
        dialog.setObjectName("browse-folder-dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(self._open_all)
        dialog.show()

    def _open_all(self, paths: list[str]) -> None:
        for path in paths:
            self.open(path)

    def _folder(self) -> str:
        if self.current is not None:
            return str(self.current.content.path.parent)
        station = self.hub.status.get("station") or {}
        return str(station.get("folder", ""))

    def _fill_recent(self) -> None:
        self._recent_menu.clear()
        for path in recent():
            action = QAction(path, self._recent_menu)
            action.triggered.connect(partial(self._open_recent, path))
            self._recent_menu.addAction(action)
        if self._recent_menu.isEmpty():
            nothing = QAction("Nothing was opened yet", self._recent_menu)
            nothing.setEnabled(False)
            self._recent_menu.addAction(nothing)

    def _open_recent(self, path: str, _: bool = False) -> None:
        self.open(path)

    def _choose_export(self, form: ExportFormat, _: bool = False) -> None:
        file = self.current
        if file is None:
            return
        path = file.content.path
        target = path.with_suffix(f".{form}" if path.suffix != f".{form}" else f".map.{form}")
        dialog = QFileDialog(self, f"Write the map as {form.upper()}", str(target))
        dialog.setObjectName("browse-export-dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilter(f"{form.upper()} (*.{form})")
        dialog.setDefaultSuffix(form)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(partial(self.export, form))
        dialog.show()

    def export(self, form: ExportFormat, target: str) -> None:
        """Write the chosen file's map; returns at once."""
        file = self.current
        if file is None:
            return
        axis = self._panel.settings_axis() if file.content.kind == "scan" else None

        def done(warnings: list[str]) -> None:
            if warnings:
                self.hub.tell("warning", " ".join(warnings), code="browse-export")
            else:
                self.hub.tell("info", f"{target} written.", code="browse-export")

        def failed(problem: str) -> None:
            self.hub.tell("error", _sentence(problem), code="browse-export")

        work = partial(opened.export, file.content.path, Path(target), form, axis)
        self.background.start(("export", target), work, done, failed)

    # -- drawing ---------------------------------------------------------------------------

    def _draw(self, *_: object) -> None:
        """Draw the page that is seen."""
        if self._is_filling:
            return
        match self._tabs.currentIndex():
            case 0:
                self._draw_maps()
            case 1:
                self._draw_msd()
            case 2:
                self._draw_decays()
            case 3:
                self._draw_against()

    def _draw_maps(self) -> None:
        files = [file for _, file in self.compared if file.content.rate.size]
        wanted = [file.content for file in files]
        while self._map_grid.count():
            item = self._map_grid.takeAt(0)
            widget = None if item is None else item.widget()
            if widget is not None and widget not in self._map_plots.values():
                widget.deleteLater()
        gone = set(self._map_plots) - {content.path for content in wanted}
        for path in gone:
            self._map_plots.pop(path).deleteLater()
        columns = min(len(wanted), MAPS_IN_A_ROW) if len(wanted) != 4 else 2
        for i, content in enumerate(wanted):
            plot = self._map_plots.get(content.path)
            if plot is None:
                plot = MapPlot(
                    f"browse-map-{content.path.stem}",
                    content.path.stem,
                    TIME,
                    Quantity(content.axis, "µm"),
                    Quantity("counts per bin", "1/s"),
                )
                plot.said.connect(self._say)
                self._map_plots[content.path] = plot
            plot.note.setText(f"D {files[i].d_words}")
            self._map_grid.addWidget(plot, i // columns, i % columns)
            if self._normalised.isChecked():
                plot.put(
                    _to_maximum(content.rate), content.t_ns, content.x_um, levels=(0.0, 1.0),
                    value=Quantity("share of the maximum"),
                )  # fmt: skip
            else:
                plot.put(
                    content.rate, content.t_ns, content.x_um, log=self._log.isChecked(),
                    value=Quantity("counts per bin", "1/s"),
                )  # fmt: skip
        if not wanted:
            words = "Open a scan file or a series, or drop one here."
            if self.files:
                words = "No ticked file has a map of its own; see D against what a series sets."
            self._map_grid.addWidget(_nothing(words), 0, 0)

    def _draw_msd(self) -> None:
        normal = self._normalised.isChecked()
        y = Quantity("MSD / σ0²") if normal else Quantity("MSD", "10³ nm²")
        plot = self._fresh(
            "msd",
            CurvePlot("browse-msd", "Mean square displacement", AFTER, y, legend=True),
        )
        ends: list[float] = []
        lows: list[float] = []
        highs: list[float] = []
        for number, file in self.compared:
            outcome = file.shown
            curve = None if outcome is None else outcome.msd
            if outcome is None or curve is None:
                continue
            scale = 1.0
            if normal:
                sigma0_nm = outcome.number("sigma0_nm")
                if not sigma0_nm:
                    continue
                scale = 1e3 / sigma0_nm**2
            name = file.content.path.stem
            label = f"{name}  {outcome.d_words}"
            plot.add(f"{name}-msd", label, colour=number, style="points", error="bars")
            y_at, error = scale * curve.y, scale * curve.error
            plot.put(f"{name}-msd", curve.x, y_at, error)
            # late points with endless error bars are left out of the range
            sure = error <= 4 * np.median(error)
            ends.append(float(curve.x.max()))
            lows.append(float((y_at - error)[sure].min()))
            highs.append(float((y_at + error)[sure].max()))
            good = np.isfinite(curve.line)
            highs.append(float((scale * curve.line[good]).max(initial=0.0)))
            plot.add(f"{name}-line", colour=number, width=2)
            plot.put(f"{name}-line", curve.x[good], scale * curve.line[good])
        if ends:
            plot.frame((0.0, max(ends)), (min(0.0, *lows), self._headroom * max(highs)))

    def _draw_decays(self) -> None:
        normal = self._normalised.isChecked()
        y = Quantity("counts / maximum") if normal else Quantity("counts per bin")
        plot = self._fresh(
            "decay",
            CurvePlot("browse-decay", "Decays, all positions", TIME, y, log_y=True, legend=True),
        )
        for number, file in self.compared:
            curve = file.content.decay
            if curve is None:
                continue
            name = file.content.path.stem
            top = float(curve.y.max(initial=0.0)) if normal else 1.0
            plot.add(name, name, colour=number)
            plot.put(name, curve.x, curve.y / (top or 1.0))

    def _draw_against(self) -> None:
        which = str(self._against.currentData())
        normal = self._normalised.isChecked()
        plot = self._fresh(
            "d",
            CurvePlot(
                "browse-d",
                f"D against {SWEPT[which].name}",
                SWEPT[which],
                Quantity("D / first D") if normal else Quantity("D", "cm²/s"),
                legend=True,
            ),
        )
        places: list[float] = []
        lowest, highest = 0.0, -np.inf
        for number, file in self.compared:
            dots = self._dots(file)
            points = sorted(
                (dot.at[which], dot.d_cm2_per_s, dot.d_stderr_cm2_per_s)
                for dot in dots
                if which in dot.at
            )
            if not points:
                continue
            x, d, error = np.array(points, np.float64).T
            scale = 1 / d[0] if normal and d[0] else 1.0
            name = file.content.path.stem
            plot.add(name, name, colour=number, style="points", error="bars")
            plot.plot.listDataItems()[-1].setSymbolSize(DOT_PX)
            plot.put(name, x, scale * d, scale * error)
            places += x.tolist()
            lowest = min(lowest, float((scale * (d - error)).min()))
            highest = max(highest, float((scale * (d + error)).max()))
            plot.add(f"{name}-line", colour=number, width=1)
            plot.put(f"{name}-line", x, scale * d)
        if places:
            low, high = min(places), max(places)
            aside = 0.05 * ((high - low) or abs(high) or 1.0)
            plot.frame((low - aside, high + aside), (lowest, self._headroom * highest))

    @property
    def _headroom(self) -> float:
        return 1.08 + HEADROOM * len(self.compared)

    @staticmethod
    def _dots(file: _File) -> list[opened.Dot]:
        """Every D of a series, or the one of a scan as it is shown."""
        if file.content.kind == "series":
            return list(file.content.dots)
        shown = file.shown
        d = None if shown is None else shown.number("d_cm2_per_s")
        error = None if shown is None else shown.number("d_stderr_cm2_per_s")
        if d is None or error is None:
            return []
        return [replace(dot, d_cm2_per_s=d, d_stderr_cm2_per_s=error) for dot in file.content.dots]

    def _fresh(self, key: str, plot: CurvePlot) -> CurvePlot:
        """Put a new plot in the place of the old one."""
        old = self.plots.pop(key, None)
        if old is not None:
            self._curves[key].removeWidget(old)
            old.hide()
            old.deleteLater()
        self._curves[key].addWidget(plot, 1)
        plot.said.connect(self._say)
        self.plots[key] = plot
        return plot

    def _say(self, level: str, text: str) -> None:
        self.hub.tell("error" if level == "error" else "info", text, code="browse-plot")


class _AnalysisPanel(QWidget):
    """How the chosen file is fitted, and what came out, side by side."""

    fit_asked = pyqtSignal(object)
    cancel_asked = pyqtSignal()
    save_asked = pyqtSignal()
    chosen = pyqtSignal(str)
    point_opened = pyqtSignal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setMinimumWidth(330)
        self._file: _File | None = None
        self._is_filling = False
        self._title = ElidedLabel()
        self._title.setStyleSheet("font-weight: 600;")
        self.method = _combo("browse-method", "Estimator", METHODS)
        self.model = _combo("browse-model", "Profile of the global method", MODELS)
        self.axis = _combo("browse-axis", "Which axis of a cross or raster", {"x": "x", "y": "y"})
        self.method.currentIndexChanged.connect(self._judge)
        self.from_ns = NumberField("browse-from", "First time to use", "ns")
        self.to_ns = NumberField("browse-to", "Last time to use", "ns")
        self.zero_ns = NumberField("browse-zero", "Time zero", "ns")
        self.background = NumberField("browse-background", "Background per bin", "counts")
        self.background.set_limits(0.0, 1e9)
        for entry, words in (
            (self.from_ns, "all"),
            (self.to_ns, "all"),
            (self.zero_ns, "found"),
            (self.background, "found"),
        ):
            entry.setPlaceholderText(words)
            entry.setMaximumWidth(84)
            entry.entered.connect(self._ask)
        self.options: dict[str, QCheckBox] = {}
        for name, words, tip in (
            ("pile_up", "Pile-up", "Correct the counts for pile-up after Coates (scan files)"),
            ("drift", "Drift", "Correct each visit for the drift that the scan measured"),
            ("mix_ages", "Mean ages", "Count time as the mean age of the light in a bin"),
            ("aperture", "Aperture", "Take the aperture of the file's profile off σ0"),
        ):
            box = QCheckBox(words)
            box.setObjectName(f"browse-{name.replace('_', '-')}")
            box.setToolTip(tip)
            self.options[name] = box
        self.fit_button = _button("browse-fit", "F&it", "Fit the chosen file as set above")
        self.fit_button.clicked.connect(self._ask)
        self.save_button = _button(
            "browse-save", "Sa&ve in the file", "Keep the chosen result in its scan file"
        )
        self.save_button.clicked.connect(self.save_asked)

        form = QGridLayout()
        form.setHorizontalSpacing(6)
        form.setVerticalSpacing(4)
        form.addWidget(QLabel("Estimator"), 0, 0)
        form.addWidget(self.method, 0, 1, 1, 3)
        self._model_label = QLabel("Profile")
        form.addWidget(self._model_label, 1, 0)
        form.addWidget(self.model, 1, 1, 1, 3)
        form.addWidget(QLabel("Times"), 2, 0)
        times = QHBoxLayout()
        times.setSpacing(4)
        for widget in (self.from_ns, QLabel("to"), self.to_ns, QLabel("ns")):
            times.addWidget(widget)
        times.addStretch(1)
        self._axis_label = QLabel("Axis")
        times.addWidget(self._axis_label)
        times.addWidget(self.axis)
        form.addLayout(times, 2, 1, 1, 3)
        form.addWidget(QLabel("Time zero"), 3, 0)
        more = QHBoxLayout()
        more.setSpacing(4)
        for widget in (self.zero_ns, QLabel("ns"), QLabel("   background"), self.background):
            more.addWidget(widget)
        more.addStretch(1)
        form.addLayout(more, 3, 1, 1, 3)
        ticks = QHBoxLayout()
        ticks.setSpacing(8)
        for box in self.options.values():
            ticks.addWidget(box)
        ticks.addStretch(1)
        form.addLayout(ticks, 4, 0, 1, 4)
        form.setColumnStretch(1, 1)
        self._form = QWidget()
        self._form.setLayout(form)
        form.setContentsMargins(0, 0, 0, 0)

        self.table = _table("browse-results", FOUND)
        self.table.setAccessibleName("results")
        self.table.verticalHeader().setDefaultSectionSize(22)  # type: ignore[union-attr]
        self.table.itemSelectionChanged.connect(self._row_chosen)
        self.table.cellDoubleClicked.connect(self._double_clicked)
        self.warnings = QPlainTextEdit()
        self.warnings.setObjectName("browse-warnings")
        self.warnings.setAccessibleName("what to know about the result")
        self.warnings.setReadOnly(True)
        self.warnings.setMinimumHeight(64)
        self._buttons = QHBoxLayout()
        self._buttons.addWidget(self.fit_button)
        self._buttons.addWidget(self.save_button)
        self._buttons.addStretch(1)

        box_ = QVBoxLayout(self)
        box_.setContentsMargins(4, 0, 0, 0)
        box_.setSpacing(5)
        box_.addWidget(self._title)
        box_.addWidget(self._form)
        box_.addLayout(self._buttons)
        box_.addWidget(self.table, 3)
        box_.addWidget(self.warnings, 2)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Beside plots."""
        return QSize(400, 480)

    # -- what is asked ---------------------------------------------------------------------

    def settings_axis(self) -> Any:
        """The chosen axis, where there are two."""
        return self.axis.currentData() if self._two_axes() else None

    def _two_axes(self) -> bool:
        return self._file is not None and len(self._file.content.axes) > 1

    def _ask(self, *_: object) -> None:
        if self._is_busy:
            self.cancel_asked.emit()
            return
        for entry in (self.from_ns, self.to_ns, self.zero_ns, self.background):
            if entry.text().strip() and entry.number() is None:
                entry.setFocus()
                self.warnings.setPlainText(_sentence(entry.problem()))
                return
        low, high = self.from_ns.number(), self.to_ns.number()
        span = None
        if low is not None or high is not None:
            span = (-1e9 if low is None else low, 1e9 if high is None else high)
            if not span[0] < span[1]:
                self.to_ns.setFocus()
                self.warnings.setPlainText("The last time to use must lie after the first one.")
                return
        ticked = {name: box.isChecked() for name, box in self.options.items()}
        self.fit_asked.emit(
            Settings(
                method=self.method.currentData(),
                model=self.model.currentData(),
                axis=self.settings_axis(),
                t_range_ns=span,
                time_zero_ns=self.zero_ns.number(),
                background_per_bin=self.background.number(),
                pile_up="coates" if ticked["pile_up"] else "none",
                mix_ages=ticked["mix_ages"],
                aperture=ticked["aperture"],
                drift=ticked["drift"],
            )
        )

    def _judge(self) -> None:
        """Only the global method has a choice of profiles."""
        is_global = self.method.currentData() == "global"
        self.model.setEnabled(is_global)
        self._model_label.setEnabled(is_global)

    # -- what is shown ---------------------------------------------------------------------

    _is_busy = False

    def show_busy(self, busy: bool) -> None:
        """The button gives a fit up while it is under way."""
        self._is_busy = busy
        self.fit_button.setText("Give &up" if busy else "F&it")

    def show_file(self, file: _File | None, busy: bool) -> None:
        """Show another file, or what is new of it."""
        self._file = file
        is_series = file is not None and file.content.kind == "series"
        self._form.setVisible(not is_series)
        self.fit_button.setVisible(not is_series)
        self.save_button.setVisible(not is_series)
        self._form.setEnabled(file is not None)
        self.fit_button.setEnabled(file is not None)
        self._title.setText(NONE if file is None else file.content.name)
        self._axis_label.setVisible(self._two_axes())
        self.axis.setVisible(self._two_axes())
        is_scan = file is not None and file.content.kind == "scan"
        for name in ("pile_up", "drift", "aperture"):
            self.options[name].setEnabled(is_scan)
            if not is_scan:
                self.options[name].setChecked(False)
        self._judge()
        self.show_busy(busy)
        self._fill(file)
        self.show_outcome(None if file is None or is_series else file.shown)

    def _fill(self, file: _File | None) -> None:
        self._is_filling = True
        heads = POINTS if file is not None and file.content.kind == "series" else FOUND
        self.table.clearContents()
        self.table.setColumnCount(len(heads))
        self.table.setHorizontalHeaderLabels(list(heads))
        if heads is POINTS:
            self._fill_points(file)
        else:
            self._fill_results(file)
        header = self.table.horizontalHeader()
        assert header is not None
        for column in range(len(heads)):
            mode = QHeaderView.ResizeMode.Stretch if column == 0 else (
                QHeaderView.ResizeMode.ResizeToContents
            )  # fmt: skip
            header.setSectionResizeMode(column, mode)
        self._is_filling = False

    def _fill_points(self, file: _File | None) -> None:
        points = () if file is None else file.content.points
        self.table.setToolTip("A double click opens the scan file of a point")
        self.table.setRowCount(len(points))
        for row, point in enumerate(points):
            for column, text in enumerate((point.label, point.d_words, point.state)):
                cell = QTableWidgetItem(text)
                cell.setData(Qt.ItemDataRole.UserRole, point.path)
                self.table.setItem(row, column, cell)

    def _fill_results(self, file: _File | None) -> None:
        outcomes = [] if file is None else file.outcomes
        shown = None if file is None else file.shown
        self.table.setToolTip("The chosen result is the one drawn and told of below")
        self.table.setRowCount(len(outcomes))
        for row, one in enumerate(outcomes):
            name = f"{one.name}  (kept {one.kept})" if one.kept else one.name
            cells = (
                name,
                one.d_words,
                _number(one.number("sigma0_nm"), 0),
                _number(one.number("lifetime_1e_ns"), 2),
                _number(one.number("alpha"), 2),
            )
            for column, text in enumerate(cells):
                cell = QTableWidgetItem(text)
                cell.setData(Qt.ItemDataRole.UserRole, _id(one))
                cell.setToolTip(one.text)
                if column:
                    cell.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, cell)
            if one is shown:
                self.table.selectRow(row)

    def show_outcome(self, outcome: Outcome | None) -> None:
        """Say in words what to know about a result."""
        file = self._file
        self.save_button.setEnabled(
            file is not None
            and file.content.kind == "scan"
            and outcome is not None
            and outcome.fit is not None
        )
        if file is not None and file.content.kind == "series":
            summary = file.content.texts.get("Summary", "")
            self.warnings.setPlainText(summary or "A series; a double click opens a point.")
        elif outcome is None:
            words = "" if file is None else (file.problem or "Not fitted yet.")
            self.warnings.setPlainText(words and _sentence(words))
        elif outcome.warnings:
            self.warnings.setPlainText("\n".join(message for _, message in outcome.warnings))
        elif outcome.number("d_cm2_per_s") is None:
            self.warnings.setPlainText(outcome.text)
        else:
            self.warnings.setPlainText("Nothing to object to.")

    def _row_chosen(self) -> None:
        items = self.table.selectedItems()
        if items and not self._is_filling and self.table.columnCount() == len(FOUND):
            self.chosen.emit(str(items[0].data(Qt.ItemDataRole.UserRole)))

    def _double_clicked(self, row: int, _: int) -> None:
        item = self.table.item(row, 0)
        if item is not None and self.table.columnCount() == len(POINTS):
            self.point_opened.emit(str(item.data(Qt.ItemDataRole.UserRole)))


# -- recent files ------------------------------------------------------------------------------


def recent() -> list[str]:
    """Files and folders opened last, newest first."""
    try:
        found = json.loads(_recent_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(one) for one in found[:RECENT]] if isinstance(found, list) else []


def _remember(path: Path) -> None:
    paths = [str(path), *(one for one in recent() if one != str(path))][:RECENT]
    with suppress(OSError):  # a convenience, nothing that may stop anybody
        _recent_file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _recent_file().write_text(json.dumps(paths), encoding="utf-8")


def _recent_file() -> Path:
    return runtime_folder() / "windows" / "recent.json"


# -- small things ------------------------------------------------------------------------------


def _sentence(words: str) -> str:
    words = words.strip()
    return words if words.endswith((".", "!", "?")) else f"{words}."


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _to_maximum(rate: F64) -> F64:
    """Each time divided by its own maximum; times without light stay dark."""
    top = np.nanmax(np.where(np.isfinite(rate), rate, -1.0), axis=0)
    return np.asarray(rate / np.where(top > 0, top, np.inf))


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(theme.colours().background))  # its edge, where the row has the same colour
    painter = QPainter(pixmap)
    painter.fillRect(1, 1, 10, 10, QColor(colour))
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # as it is in the plots, also when chosen
    return icon


def _nothing(words: str) -> QLabel:
    label = QLabel(words)
    label.setAlignment(Qt.AlignmentFlag.AlignCenter)
    label.setForegroundRole(label.palette().ColorRole.PlaceholderText)
    return label


def _button(name: str, words: str, tip: str) -> QPushButton:
    button = QPushButton(words)
    button.setObjectName(name)
    button.setToolTip(tip)
    button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    return button


def _menu_button(name: str, words: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setObjectName(name)
    button.setText(words)
    button.setToolTip(tip)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return button


def _combo(name: str, what: str, items: dict[Any, str]) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setAccessibleName(what)
    combo.setToolTip(what)
    for data, words in items.items():
        combo.addItem(words, data)
    return combo


def _table(name: str, heads: tuple[str, ...]) -> QTableWidget:
    table = QTableWidget(0, len(heads))
    table.setObjectName(name)
    table.setHorizontalHeaderLabels(list(heads))
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setTabKeyNavigation(False)
    table.setShowGrid(False)
    table.setAlternatingRowColors(True)
    table.setWordWrap(False)
    header = table.verticalHeader()
    if header is not None:
        header.hide()
    return table
