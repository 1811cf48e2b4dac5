"""One scan: its plan as a form, what it will be, and the buttons that begin and end it."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from tplm_config import (
    InputError,
    InstrumentProfile,
    LineScan,
    ScanPlan,
    bundled,
    load_plan,
    to_toml,
)
from tplm_config.plan import AnyScanPlan, path_order
from tplm_gui import theme, words
from tplm_gui.data.latest import Latest
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
    rule,
    size,
    together,
    wall_s,
    write_plan,
)
from tplm_gui.widgets.parts import moved_image, zero_shift_um
from tplm_gui.widgets.plots import MapPlot, Quantity

if TYPE_CHECKING:
    from tplm_analysis.design import Light
    from tplm_daq.prediction import Outlook

FIRST = (
    "axis", "half_range_um", "x_half_range_um", "y_half_range_um", "positions", "x_positions",
    "y_positions", "x_um", "y_um", "x_center_um", "y_center_um", "dwell_s", "passes", "order",
)  # fmt: skip
DEBOUNCE_MS = 200
MOST_DRAWN = 20_000
"""Places that are drawn; of more, every so many-th."""
MOST_LOOKED_AT = 12
"""Newest files of a folder that are asked whether they are finished."""


@dataclass(frozen=True, slots=True)
class Foresight:
    """What was found out about a plan beside the window.

    Attributes
    ----------
    plan : ScanPlan
        The plan.
    path_um : ndarray, shape (positions, 2)
        Places in the order of the first pass.
    outlook : Outlook or None
        None if the instrument cannot carry it out, or is not known.
    key, problem : str
        What the instrument has against it, and where.
    """

    plan: ScanPlan
    path_um: NDArray[np.float64]
    outlook: "Outlook | None"
    key: str = ""
    problem: str = ""
    knows_light: bool = False
    """Whether it goes by the light of a scan."""


def foresee(
    plan: ScanPlan,
    profile: InstrumentProfile | None,
    assumed: tuple[float, float] | None,
    like: Path | None = None,
) -> Foresight:
    """Check and foretell a plan; it takes a while, so not in the thread of the window.

    Parameters
    ----------
    plan, profile
        What is to be measured, and by what.
    assumed : tuple of float
        Count rate at the centre, and D.
    like : Path, optional
        A scan whose width, decay and background are to be expected again.
    """
    from tplm_daq.prediction import COUNT_RATE_HZ, D_CM2_PER_S, outlook

    places = plan.places()
    order = path_order(len(places), 0, plan.order, plan.seed)
    path = np.array([(places[i].x_um, places[i].y_um) for i in order])
    if profile is None:
        return Foresight(plan, path, None)
    try:
        light = None if like is None else light_like(like)
        rate_hz, d_cm2_per_s = assumed or (COUNT_RATE_HZ, D_CM2_PER_S)
        found = outlook(plan, profile, rate_hz, d_cm2_per_s, light=light)
    except InputError as error:
        problem = f"{error.problem}; {error.allowed}".rstrip("; ")
        return Foresight(plan, path, None, key_of(error, plan), problem)
    return Foresight(plan, path, found, knows_light=light is not None)


def light_like(path: Path) -> "Light | None":
    """The light of a scan, kept as long as the file stays the same; None if it does not know D."""
    try:
        return _light_of(path, path.stat().st_mtime_ns)
    except (InputError, OSError):
        return None


@lru_cache(maxsize=4)
def _light_of(path: Path, _changed_ns: int) -> "Light":
    from tplm_daq.prediction import light_of_scan
    from tplm_daq.store import read_scan

    return light_of_scan(read_scan(path))


def key_of(error: InputError, plan: ScanPlan) -> str:
    """The field that an instrument's complaint is about."""
    place = re.search(r"place ([xy]) =", error.problem)
    if error.key or place is None:
        return error.key
    axis = place[1]
    wanted = [f"{axis}_half_range_um", f"{axis}_um", f"{axis}_center_um"]
    if getattr(plan, "axis", axis) == axis:
        wanted.insert(0, "half_range_um")
    return next((key for key in wanted if key in type(plan).model_fields), "")


@dataclass(frozen=True, slots=True)
class Left:
    """A scan file with visits left to measure."""

    path: Path
    done: int
    planned: int


def look_at(folder: Path, sample: str) -> tuple[Disk, Left | None]:
    """The first free name in a folder, its room, and the newest file that is not finished."""
    disk = room_in(folder, sample, ".h5")
    return disk, None if disk.problem else unfinished(folder)


def unfinished(folder: Path) -> Left | None:
    """The newest scan file of a folder that a run left before its end."""
    from tplm_daq.store import read_scan

    try:
        files = sorted(folder.glob("*.h5"), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for path in files[:MOST_LOOKED_AT]:
        try:
            scan = read_scan(path)
        except InputError:
            continue  # of another program
        if not scan.complete and scan.header.profile is not None:
            return Left(path, int(scan.stored.sum()), scan.stored.size)
    return None


class PathPlot(MapPlot):
    """Positions of a plan in path order, over the last image or the spot as one expects it."""

    def __init__(self) -> None:
        super().__init__(
            "scan-path", "Positions", Quantity("x", "µm"), Quantity("y", "µm"),
            Quantity("count rate", "/s"), square=True,
        )  # fmt: skip
        self._path: NDArray[np.float64] = np.zeros((0, 2))
        self._spot_um = 0.0
        self._limits: tuple[float, float, float, float] | None = None
        self._image_of = ""
        self._image: dict[str, Any] = {}
        self._profile: InstrumentProfile | None = None
        self.way = pg.PlotDataItem()
        self.dots = pg.ScatterPlotItem(size=6, pen=None)
        self.ends = pg.ScatterPlotItem(size=11, brush=None)
        self.spot = pg.PlotDataItem()
        self.edge = pg.PlotDataItem()
        for item in (self.spot, self.edge, self.way, self.dots, self.ends):
            self.plot.addItem(item, ignoreBounds=True)
        self.bar.hide()
        self.recolour()

    def show_path(self, path_um: NDArray[np.float64]) -> None:
        """Draw positions, shape (n, 2), in the order they are visited."""
        self._path = path_um
        step = -(-len(path_um) // MOST_DRAWN)
        self._drawn = path_um[:: max(step, 1)]
        self._redraw()

    def show_instrument(self, profile: InstrumentProfile | None) -> None:
        """Draw the width of the spot, and how far the detector stage reaches."""
        if profile is not None and self._profile is not None and self._image:
            if profile.name == self._profile.name:  # "centre here": the light stays where it is
                dx_um, dy_um = zero_shift_um(self._profile, profile)
                self.show_image(moved_image(self._image, dx_um, dy_um), self._image_of)
            else:
                self._image, self._image_of = {}, ""
                self.clear()
                self.bar.hide()
        self._profile = profile or self._profile
        self._limits = None if profile is None else reach_um(profile)
        self._spot_um = 0.0 if profile is None else profile.optics.spot_fwhm_nm * 1e-3
        self._redraw()

    def show_image(self, image: dict[str, Any], of: str) -> None:
        """Put an image of the light below the positions."""
        rate = np.array(
            [[np.nan if v is None else v for v in row] for row in image["rate_hz"]], np.float64
        )
        if rate.ndim != 2 or min(rate.shape) < 2:
            return
        x, y = np.array(image["x_um"], np.float64), np.array(image["y_um"], np.float64)
        rows, columns = np.argsort(y), np.argsort(x)
        self._image_of, self._image = of, image
        self.put(rate[np.ix_(rows, columns)], x[columns], y[rows])
        self.bar.show()
        self._redraw()

    _drawn: NDArray[np.float64] = np.zeros((0, 2))

    def _redraw(self) -> None:
        c = theme.colours()
        over = "#ffffff" if self._image_of else c.text
        dim = QColor(over)
        dim.setAlpha(110)
        self.way.setData(self._drawn)
        self.way.setPen(pg.mkPen(dim, width=1))
        count = len(self._drawn)
        first, last = QColor(c.series[0]), QColor(c.series[1])
        share = np.linspace(0, 1, count)
        # few colours: a brush for each of 20,000 dots would take a second
        shades = [pg.mkBrush(_between(first, last, s)) for s in np.linspace(0, 1, 16)]
        self.dots.setData(
            pos=self._drawn, brush=[shades[int(s * 15.999)] for s in share],
            size=6 if count < 500 else 3,
        )  # fmt: skip
        both = self._drawn[[0, -1]] if count > 1 else self._drawn
        self.ends.setData(
            pos=both, symbol=["o", "s"][: len(both)],
            pen=[pg.mkPen(first, width=2), pg.mkPen(last, width=2)][: len(both)],
        )  # fmt: skip
        turn = np.linspace(0, 2 * np.pi, 73)
        radius = 0.0 if self._image_of else self._spot_um / 2
        self.spot.setData(radius * np.cos(turn), radius * np.sin(turn))
        fill = QColor(c.warn)
        fill.setAlpha(70)
        self.spot.setPen(pg.mkPen(c.warn, width=1))
        self.spot.setFillLevel(0.0)
        self.spot.setBrush(pg.mkBrush(fill))
        if self._limits is None:
            self.edge.setData([], [])
        else:
            left, right, low, high = self._limits
            self.edge.setData([left, right, right, left, left], [low, low, high, high, low])
        self.edge.setPen(pg.mkPen(c.bad, width=2, style=Qt.PenStyle.DashLine))
        self._say_what()
        self._frame_positions()

    def _apply_ranges(self) -> None:
        # both at once: with one scale for both axes the second call would undo the first
        if self._x_range is not None and self._y_range is not None:
            self.view.setRange(xRange=self._x_range, yRange=self._y_range, padding=0)

    def _say_what(self) -> None:
        over = f"over {self._image_of}" if self._image_of else "over the expected spot"
        reach = ""
        if self._limits is not None:
            left, right, low, high = self._limits
            reach = f"the stage reaches x {left:.4g} … {right:.4g}, y {low:.4g} … {high:.4g} µm"
        self.title.setText(f"Positions {over}")
        self.note.setText(reach.replace("-", "−"))

    def _frame_positions(self) -> None:
        half = max(self._spot_um / 2, 0.05)
        corners = [(-half, -half), (half, half), *self._path.tolist()]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        margin = 0.08 * float(np.max(high - low))
        self.fix(
            (float(low[0]) - margin, float(high[0]) + margin),
            (float(low[1]) - margin, float(high[1]) + margin),
        )

    def read_at(self, x: float, y: float) -> str:
        """Name the nearest position."""
        if not len(self._path):
            return super().read_at(x, y)
        nearest = int(np.argmin(np.hypot(*(self._path - (x, y)).T)))
        at = self._path[nearest]
        place = f"x {self.x_axis.of(at[0])}   y {self.y_axis.of(at[1])}"
        return f"position {nearest + 1} of {len(self._path)}   {place}"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Positions in path order."""
        return {**super().arrays(), "path_um": self._path}

    def csv_lines(self) -> list[str]:
        """Positions in path order."""
        return ["x (µm),y (µm)", *(f"{x:.9g},{y:.9g}" for x, y in self._path)]

    def recolour(self) -> None:
        """Take the colours of the theme."""
        super().recolour()
        if hasattr(self, "edge"):
            self._redraw()


def _between(one: QColor, other: QColor, share: float) -> QColor:
    parts = zip(one.getRgb()[:3], other.getRgb()[:3], strict=True)
    return QColor(*(round((a or 0) + share * ((b or 0) - (a or 0))) for a, b in parts))


def reach_um(profile: InstrumentProfile) -> tuple[float, float, float, float]:
    """How far the detector stage looks, sample plane: lowest and highest x, then y."""
    zero = profile.stage_position_um(0.0, 0.0)
    one = profile.stage_position_um(1.0, 1.0)
    found = []
    for stage, at_0, at_1 in zip(
        (profile.detector_stage.x, profile.detector_stage.y), zero, one, strict=True
    ):
        found += sorted((end - at_0) / (at_1 - at_0) for end in stage.travel_um)
    return found[0], found[1], found[2], found[3]


class ScanView(QWidget):
    """Plan a scan, see what it will be, and measure it."""

    TITLE = "Scan"
    KEY = "scan"

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.hub = hub
        self._left: Left | None = None
        self._foresight: Foresight | None = None
        self._disk = Disk("", None)
        self.setObjectName(self.KEY)
        self.chooser = Chooser("scan", bundled("plan"), "scan plan")
        self.form = ModelForm(AnyScanPlan, load_plan("line"), hidden=RECORD, order=FIRST)
        self.record = record_form()
        self.picture = PathPlot()
        self.figures = Figures(
            [
                ("duration", "takes"), ("ends", "ends"), ("visits", "visits"),
                ("disk", "disk"), ("counts", "counts expected"), ("error", "D known to"),
            ],
            "scan",
        )  # fmt: skip
        self.assumed = Assumed(hub, "scan", "at the centre")
        self.like = QCheckBox("light as in the last scan")
        self.like.setObjectName("scan-like")
        self.like.setToolTip("Foretell by the width, decay and background that it found")
        self.like.setChecked(True)
        self.like.setEnabled(False)
        self.goal = QLabel(words.NONE)
        self.goal.setObjectName("scan-goal")
        self.goal.setToolTip("When the scan would end by itself, stop_when of the plan")
        self.limits = QLabel()
        self.limits.setObjectName("scan-limits")
        self.limits.setWordWrap(True)
        self._last: Path | None = None
        self.target = Target("scan", "file")
        self.bar = RunBar(hub, "scan", self._start, self)
        self.resume = QPushButton("&Resume")
        self.resume.setObjectName("scan-resume")
        self.resume.setAutoDefault(False)
        self.resume.hide()
        self.bar.extra.addWidget(self.resume)
        self._foreseer = Latest(DEBOUNCE_MS, self)
        self._looker = Latest(DEBOUNCE_MS, self)
        self._lay_out()
        self._connect()
        self.chooser.name_it("line")
        self.picture.show_instrument(hub.profile)
        self.target.set_folder(folder_of(hub))
        self._plan_changed()

    def _lay_out(self) -> None:
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(6, 6, 2, 6)
        column.addWidget(self.chooser)
        column.addWidget(in_scroll(self.form), 1)
        left.setMinimumWidth(350)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(2, 6, 6, 6)
        column.addWidget(self.picture, 1)
        column.addLayout(together(self.figures))
        column.addWidget(self.assumed)
        foretold = QHBoxLayout()
        foretold.addWidget(self.like, 1)
        foretold.addWidget(QLabel("goal reached after"))
        foretold.addWidget(self.goal)
        column.addLayout(foretold)
        column.addWidget(self.limits)
        column.addWidget(rule())
        below = QHBoxLayout()
        below.setSpacing(GAP_PX)
        below.addWidget(self.record, 1)
        below.addWidget(self.target, 1, Qt.AlignmentFlag.AlignTop)
        for half in (self.record, self.target):
            half.setMaximumWidth(HALF_PX)
        below.addStretch()
        column.addLayout(below)
        column.addLayout(together(self.bar))
        split = QSplitter()
        split.setObjectName("scan-split")
        split.setChildrenCollapsible(False)
        split.addWidget(left)
        split.addWidget(right)
        split.setStretchFactor(1, 1)
        split.setSizes([380, 700])
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(split)

    def _connect(self) -> None:
        hub = self.hub
        self.chooser.box.textActivated.connect(self._choose)
        self.chooser.load.clicked.connect(
            lambda: choose_file(self, "Open a scan plan", self.open_plan)
        )
        self.chooser.save.clicked.connect(
            lambda: choose_file(self, "Save the scan plan", self.save_plan, save=True)
        )
        self.form.changed.connect(self._plan_changed)
        self.record.changed.connect(self._record_changed)
        self.assumed.changed.connect(self._ask_foresight)
        self.like.toggled.connect(self._ask_foresight)
        hub.map_changed.connect(self._take_map)
        self.target.changed.connect(self._target_changed)
        self.target.folder.textChanged.connect(self._look)
        self.resume.clicked.connect(self._resume)
        self._foreseer.found.connect(self._foreseen)
        self._foreseer.failed.connect(self._not_foreseen)
        self._looker.found.connect(self._looked)
        hub.profile_changed.connect(self._profile_changed)
        hub.status_changed.connect(self._status_changed)
        hub.linked.connect(self._linked)
        hub.happened.connect(self._happened)
        hub.plan_offered.connect(self.take_plan)
        theme.notifier.changed.connect(self._show_foresight)
        self._minute = QTimer(self)
        self._minute.setInterval(10_000)
        self._minute.timeout.connect(self._show_foresight)
        self._minute.start()

    # -- the plan --------------------------------------------------------------------------

    def plan(self) -> ScanPlan | None:
        """The plan as the form has it; None if something is wrong with it."""
        plan, record = self.form.value(), self.record.value()
        if plan is None or record is None:
            return None
        changed: ScanPlan = plan.model_copy(update={key: getattr(record, key) for key in RECORD})
        return changed

    def take_plan(self, plan: object, name: str = "offered") -> None:
        """Show a plan, such as that of a file to be measured again."""
        if not isinstance(plan, ScanPlan):
            return
        self.chooser.name_it(name)
        given = {key: getattr(plan, key) for key in RECORD}
        now = self.record.value() or LineScan()
        # who measures what is not asked for twice
        kept = {key: given[key] or getattr(now, key) for key in RECORD}
        self.record.set_value(LineScan(**kept))
        self.form.set_value(plan)
        self.hub.view_requested.emit(self.KEY)

    def _choose(self, name: str) -> None:
        if name in bundled("plan"):
            self.form.set_value(load_plan(name))

    def open_plan(self, path: str) -> None:
        """Show a plan from a file."""
        plan = read_plan(self.hub, path, load_plan)
        if plan is not None:
            self.take_plan(plan, Path(path).name)

    def save_plan(self, path: str) -> None:
        """Write the plan to a file."""
        if write_plan(self.hub, path, self.plan()):
            self.chooser.name_it(Path(path).name)

    def _plan_changed(self) -> None:
        self.bar.forgive()
        self._foresight = None
        self._ask_foresight()
        self._show_foresight()

    def _record_changed(self) -> None:
        self._look()
        self._hinder()

    # -- what it will be -------------------------------------------------------------------

    def _ask_foresight(self) -> None:
        plan, profile, assumed = self.form.value(), self.hub.profile, self.assumed.values()
        like = self._last if self.like.isChecked() else None
        if plan is not None:
            self._foreseer.ask(lambda: foresee(plan, profile, assumed, like))

    def _take_map(self, view: Any) -> None:
        """A finished scan tells what light the next one will see."""
        if view is None or not view.complete or view.path == self._last:
            return
        self._last = view.path
        self.like.setEnabled(True)
        self.like.setText(f"light as in {view.path.name}")
        self._ask_foresight()

    def _foreseen(self, found: Foresight) -> None:
        if found.plan != self.form.value():
            return
        self._foresight = found
        self.picture.show_path(found.path_um)
        self.form.forgive()
        if found.problem:
            self.form.complain(found.key, found.problem)
        self._show_foresight()

    def _not_foreseen(self, error: Exception) -> None:
        self._foresight = None
        self.form.complain("", f"the plan cannot be foretold: {error}")
        self._show_foresight()

    def _show_foresight(self) -> None:
        found = None if self._foresight is None else self._foresight.outlook
        say = self.figures.say
        if found is None:
            for name in ("duration", "ends", "visits", "disk", "counts", "error"):
                say(name, words.NONE)
            self.goal.setText(words.NONE)
            self.limits.clear()
        else:
            cost = found.cost
            status = self.hub.status
            tip = by_the_clock(status, cost.duration_s)
            say("duration", words.duration(cost.duration_s), tip)
            say("ends", clock(wall_s(status, cost.duration_s)), "If it begins now")
            say("visits", f"{cost.visits:,}", f"{cost.positions:,} positions")
            free = self._disk.free_bytes
            room = "" if free is None else f"; {size(free)} are free"
            say("disk", size(cost.disk_bytes), f"While measuring, smaller afterwards{room}")
            say(
                "counts",
                words.si(found.expected_counts, "", 3),
                "In the whole map, without background",
            )
            error = found.d_stderr_cm2_per_s
            at = f"D = {found.d_cm2_per_s:.3g} cm²/s and {found.count_rate_hz:.3g} counts/s at the "
            knows = self._foresight is not None and self._foresight.knows_light
            light = "the light of the last scan" if knows else "a tenth background"
            tip = f"Best that any estimator can do, with {at}centre and {light}"
            text = "no D from this" if error is None else f"± {error:.2g} cm²/s"
            if error is not None:
                text += f" ({error / found.d_cm2_per_s:.0%})"
            say("error", text, tip)
            goal_s = found.goal_s
            is_far = goal_s is not None and not math.isfinite(goal_s)
            after = words.NONE if goal_s is None or is_far else words.duration(goal_s)
            self.goal.setText("never" if is_far else after)
            advice = [limit.advice for limit in found.limits[:2]]
            if found.between_cm2_per_s is not None:
                low, high = found.between_cm2_per_s
                advice.insert(
                    0,
                    f"the last scan hardly knows D: the error may be between {low:.2g} and "
                    f"{high:.2g} cm²/s",
                )
            self.limits.setText("\n".join(advice[:2]))
        self._hinder()

    def _hinder(self) -> None:
        """Say what is wrong with plan, record or file."""
        problems = [*self.form.problems(), *self.record.problems()]
        found = self._foresight
        if problems:
            more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
            why = f"The plan: {problems[0]}{more}."
        elif self.hub.profile is not None and found is None:
            why = "The plan is being checked …"
        elif self._disk.problem:
            why = self._disk.problem
        elif not self.target.name.text().strip():
            why = "The file needs a name."
        elif found is not None and found.outlook is not None and self._is_full(found.outlook):
            why = f"The disk has {size(self._disk.free_bytes or 0)} left, which is too little."
        else:
            why = ""
        self.bar.hinder(why)

    def _is_full(self, found: "Outlook") -> bool:
        free = self._disk.free_bytes
        return free is not None and found.cost.disk_bytes > free

    # -- files -----------------------------------------------------------------------------

    def _look(self) -> None:
        folder = self.target.where()
        record = self.record.value()
        sample = record.sample if record is not None else ""
        self._looker.ask(lambda: look_at(folder, sample))

    def _looked(self, seen: tuple[Disk, Left | None]) -> None:
        self._disk, self._left = seen
        if self._disk.name:
            self.target.propose(self._disk.name)
        self._offer()
        self._show_foresight()

    def _target_changed(self) -> None:
        self.bar.forgive()
        self._hinder()

    def _offer(self) -> None:
        left = self._left
        offered = left is not None and not is_running(self.hub.status)
        self.resume.setVisible(offered)
        if left is not None:
            tip = f"Go on with {left.path}: {left.done} of {left.planned} visits are there"
            self.resume.setToolTip(tip)
            self.resume.setText(f"&Resume {left.path.name}"[:34])
            self.resume.setEnabled(not self.bar.why_not() or bool(self.form.problems()))

    # -- what the host says ----------------------------------------------------------------

    def _profile_changed(self, profile: InstrumentProfile | None) -> None:
        self.picture.show_instrument(profile)
        self._plan_changed()

    def _status_changed(self) -> None:
        if self.target.is_unset:
            self.target.set_folder(folder_of(self.hub))
        self._offer()

    def _linked(self) -> None:
        self._status_changed()
        self._look()  # a host that was killed left a file to be resumed

    def _happened(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "image":
                self.picture.show_image(event, "the last image")
            case "run-started" | "run-ended":
                self.target.forget()
                self._look()

    # -- doing it --------------------------------------------------------------------------

    def _start(self) -> None:
        plan = self.plan()
        if plan is None:
            self.bar.replied(Reply(ok=False, words="The plan has errors."))
            return
        path = self.target.path()
        if path.suffix != ".h5":
            path = path.with_name(f"{path.name}.h5")
        arguments = {
            "plan": to_toml(plan), "out": str(path), "watchdog": self.bar.watchdog.isChecked()
        }  # fmt: skip
        self.hub.ask("scan", arguments, self._started)

    def _started(self, reply: Reply) -> None:
        self.bar.replied(reply)
        if reply.ok:
            self.target.forget()
            self._look()

    def _resume(self) -> None:
        if self._left is not None:
            arguments = {
                "path": str(self._left.path), "watchdog": self.bar.watchdog.isChecked()
            }  # fmt: skip
            self.hub.ask("resume", arguments, self._started)
