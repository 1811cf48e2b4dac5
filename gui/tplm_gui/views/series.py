"""A series of scans: its plan and forecast, and its points while and after they are measured."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import QItemSelection, QItemSelectionModel, Qt, QTimer
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from tplm_config import LineScan, SeriesPlan, bundled, load_series, to_toml
from tplm_gui import theme, words
from tplm_gui.data.latest import Latest
from tplm_gui.data.sharing import wanted_of, with_point
from tplm_gui.hub import Hub, Reply, is_running
from tplm_gui.widgets.form import ModelForm
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
from tplm_gui.widgets.parts import ElidedLabel
from tplm_gui.widgets.plots import CurvePlot, Quantity
from tplm_gui.widgets.points import SHARE, ForecastModel, PointsModel, table_of
from tplm_gui.widgets.series import AGAINST_INTERVAL, DryRun, Seen, dry_run, look_into
from tplm_gui.widgets.sharing import SharedFigures, SharingLines, error_of

if TYPE_CHECKING:
    from tplm_daq.series import Entry, Proposal

DEBOUNCE_MS = 250
D_UNIT = "cm²/s"
WIDE_PX = 1400
"""From this width on, plot and table stand side by side."""


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
        self._against = ""
        self.chooser = Chooser("series", bundled("series"), "series plan")
        hidden = [f"scan.{name}" for name in RECORD]
        self.form = ModelForm(
            SeriesPlan,
            load_series("power-series"),
            hidden=hidden,
            order=("axes", "points", "share", "scan"),
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
        self.shared = ElidedLabel()
        self.shared.setObjectName("series-shared")
        self.shared.hide()
        column.addWidget(self.shared)
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
        self.errors = SharedFigures()
        self.errors.hide()
        figures = QHBoxLayout()
        figures.setSpacing(18)
        figures.addLayout(together(self.progress), 4)
        figures.addWidget(self.errors, 3)
        column.addLayout(figures)
        self.sharing = SharingLines()
        column.addWidget(self.sharing)
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
        self.again.clicked.connect(lambda: self._resume())
        self.sharing.taken.connect(self._take_proposed)
        self.points.reordered.connect(self._reorder)
        self.points.refused.connect(lambda text: self._say(text, "warn"))
        self.against.currentIndexChanged.connect(self._draw)
        self.against.textActivated.connect(self._choose_against)
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
        self._show_foreseen()
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

    def _show_foreseen(self) -> None:
        """Say what shared time would bring."""
        shares = None if self._dry is None else self._dry.shares
        self.shared.setVisible(shares is not None)
        if self._dry is not None and shares is not None:
            name, unit = wanted_of(self._dry.plan)
            name = name if name == "τ" else "the slope"
            text = (
                f"Shared so that {name} is known best: {error_of(shares.stderr, unit)} by the "
                f"guesses of the plan, with even shares {error_of(shares.even_stderr, unit)}."
            )
            self.shared.setText(text)
            self.shared.setToolTip(text)

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
            self._order, self._against = None, ""
            self._say("", "dim")
        self._folder = Path(folder)
        self._reread()

    def _choose_against(self, title: str) -> None:
        self._against = title

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
        wanted = self._against
        if not wanted and seen.sharing is not None and seen.sharing.wanted == "τ":
            wanted = AGAINST_INTERVAL
        self.against.blockSignals(True)
        self.against.clear()
        self.against.addItems([curve.title for curve in seen.curves])
        self.against.setCurrentIndex(max(self.against.findText(wanted), 0))
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
        ends_s = {
            index: real_s
            for index, at_s in self._ends_s(entries)
            if (real_s := wall_s(self.hub.status, at_s)) is not None
        }
        sharing = self._seen.sharing
        shares_s = {} if sharing is None else sharing.shares_s
        self.points.show_entries(entries, self._seen.ended, ends_s, shares_s)
        self.table.setColumnHidden(SHARE, sharing is None)

    def _ends_s(self, entries: "Sequence[Entry]") -> Iterator[tuple[int, float]]:
        """Points that are not over, and when they will be, by the clock of the instrument."""
        if self._seen is None or not self._runs_here():
            return
        sharing = self._seen.sharing
        lasts_s = self._seen.predicted_s if sharing is None else sharing.shares_s
        at_s = 0.0
        for entry in entries:
            if entry.state in ("waiting", "running"):
                if entry.index not in lasts_s:
                    return
                part = self._part_left(entry.index) if entry.state == "running" else 1.0
                at_s += lasts_s[entry.index] * part
                yield entry.index, at_s

    def _visits(self, index: int) -> int | None:
        """Visits that a point will about have; with shared time that is less than planned."""
        sharing = None if self._seen is None else self._seen.sharing
        if sharing is not None and index in sharing.visits:
            return round(sharing.visits[index])
        planned: int | None = self.hub.status.get("visits_planned")
        return planned

    def _part_left(self, index: int) -> float:
        """How much of the running point is left."""
        visits = self._visits(index)
        return 1.0 if not visits else max(1.0 - self.hub.status.get("visits_done", 0) / visits, 0.0)

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
        left_s = self._left_s() if runs else None
        say("left", words.duration(left_s), "From what was measured so far")
        say("until", clock(left_s) if left_s is not None else words.NONE)
        visits = f"visit {status.get('visits_done')} of {self._visits_in_words()}"
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
        self._show_sharing(why, more)
        self.again.setEnabled(not why)
        self.again.setToolTip(why or "Measure what is not done yet; what is done stays")
        if failed:
            each = "; ".join(f"{entry.label}: {entry.message}" for entry in failed)
            s = "" if len(failed) == 1 else "s"
            self._say(f"{len(failed)} point{s} failed. {each}", "bad")
        elif not runs and seen.manifest.ending not in (None, "completed"):
            self._say(f"The series was {seen.manifest.ending}: {seen.manifest.message}.", "warn")

    def _left_s(self) -> float | None:
        """Time left of the series that runs, by the clock on the wall."""
        told_s: float | None = self.hub.status.get("left_s")
        if self._seen is None or self._seen.sharing is None:
            return told_s
        ends_s = [at_s for _, at_s in self._ends_s(self._entries())]
        # what the host foretells goes by every pass that is allowed
        return wall_s(self.hub.status, ends_s[-1]) if ends_s else None

    def _visits_in_words(self) -> str:
        sharing = None if self._seen is None else self._seen.sharing
        index = (self.hub.status.get("point") or {}).get("index")
        if sharing is None or index not in sharing.visits:
            return str(self.hub.status.get("visits_planned"))
        return f"about {self._visits(index)}"

    def _show_sharing(self, why_not_now: str, more: int) -> None:
        """Say how the time is shared, if it is."""
        sharing = None if self._seen is None else self._seen.sharing
        self.errors.setVisible(sharing is not None)
        if sharing is not None:
            self.errors.show_sharing(sharing)
        self.sharing.show_sharing(sharing)
        self.sharing.allow(
            why_not_now or ("First measure the points that are left: Resume." if more else "")
        )

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
            case (
                "point-started" | "time-shared" | "point-ended" | "points-reordered"
                | "series-ended"
            ):  # fmt: skip
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

    def _take_proposed(self, proposal: "Proposal") -> None:
        """Measure the proposed point too: in the same folder, by a longer plan."""
        seen = self._seen
        if seen is not None and seen.plan is not None:
            self._resume(with_point(seen.plan, seen.manifest.points, proposal))

    def _resume(self, plan: SeriesPlan | None = None) -> None:
        if self._folder is None:
            return
        arguments = {"path": str(self._folder), "watchdog": self.bar.watchdog.isChecked()}
        if plan is not None:
            arguments["plan"] = to_toml(plan)

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
