"""Live light for aligning: is there light, how much, where is the spot, is it sharp, when is it.

Large figures and two verdicts to be read from across the room, the count rate of the last two
minutes, the decay as it comes, and the helpers that look for the spot and its focus.
"""

import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QColor, QKeyEvent, QMouseEvent, QPalette, QResizeEvent
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from tplm_config import InstrumentProfile
from tplm_gui import theme
from tplm_gui.hub import RUNS, Hub
from tplm_gui.views.instrument import why_not
from tplm_gui.widgets.parts import (
    ElidedLabel,
    Lamp,
    StateLight,
    finite,
    moved_image,
    zero_shift_um,
)
from tplm_gui.widgets.plots import CurvePlot, MapPlot, Plot, Quantity
from tplm_gui.words import NONE, duration, plus_minus, rate

HISTORY_S = 120.0
MOST_POINTS = 2400
"""Of the history: twenty looks a second for two minutes."""
GAP = 5.0
"""So many dwells without a look are a gap in the history."""
MOST_FOUND = 200
PILE_UP = (0.01, 0.05)
"""Counts per pulse above which one has to be careful, and above which the decay is wrong."""
LIMIT = (0.5, 1.0)
"""Likewise, of the highest rate that the detector is allowed."""
FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""FWHM of a Gaussian over its σ."""
SEARCHES = {"cross": "Cross", "raster": "Raster", "find": "Find the spot", "focus": "Focus",
            "irf": "IRF & time zero", "background": "Background"}  # fmt: skip
HEARD_OF = {"cross": ("line-x", "line-y"), "raster": ("image",), "find": ("line-x", "line-y"),
            "focus": ("focus",), "irf": ("irf",), "background": ("background",)}  # fmt: skip
"""What the last search of a kind has told, which the next one makes old."""
FOUND_BY = {"cross": "Cross", "raster": "Brightest", "find": "Spot", "focus": "Focus",
            "irf": "IRF", "background": "Background", "centre": "Centre"}  # fmt: skip
"""Names of what was found."""
X, Y = Quantity("x", "µm"), Quantity("y", "µm")
RATE = Quantity("count rate", "/s")
COUNTS = Quantity("counts")
TIME = Quantity("time", "ns")


def verdict(share: float | None, bounds: tuple[float, float]) -> tuple[Lamp, str]:
    """Light and word for a share: below the first bound ok, above the second too much."""
    if share is None:
        return "absent", NONE
    if share < bounds[0]:
        return "ready", "ok"
    return ("careful", "careful") if share < bounds[1] else ("failed", "too much")


def gaussian_hz(x_um: NDArray[np.float64], fit: Mapping[str, Any]) -> NDArray[np.float64]:
    """The Gaussian on a background that the host fitted to a line of counts."""
    away = (x_um - fit["center_um"]) / fit["sigma_um"]
    return np.asarray(fit["peak_hz"] * np.exp(-(away**2) / 2) + fit["background_hz"], np.float64)


class Figure(QWidget):
    """A number to be read from across the room, with its name above it."""

    def __init__(self, name: str, title: str, widest: str) -> None:
        super().__init__()
        self._widest = widest
        self.title = QLabel(title)
        self.title.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.value = QLabel(NONE)
        self.value.setObjectName(name)
        self.value.setAccessibleName(title)
        self.value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.title)
        column.addWidget(self.value, 1)

    def resize_font(self, pt: float) -> None:
        """Take another size; digits that come and go do not move the neighbours."""
        self.value.setFont(theme.figure_font(pt))
        self.value.setMinimumWidth(1)
        self.updateGeometry()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for the widest number, whatever it is now."""
        room = self.value.fontMetrics().horizontalAdvance(self._widest)
        return QSize(room, super().sizeHint().height())


class Verdict(QWidget):
    """A share with its light, its word and its limit."""

    def __init__(self, name: str, title: str, tip: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip(tip)
        self.light = StateLight(f"{name}-light")
        self.word = QLabel(NONE)
        self.word.setObjectName(f"{name}-word")
        self.detail = QLabel()
        self.detail.setObjectName(f"{name}-detail")
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.light)
        row.addWidget(self.word, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(QLabel(title))
        column.addLayout(row)
        column.addWidget(self.detail)
        column.addStretch(1)
        self.setMinimumWidth(128)

    def show_share(self, share: float | None, bounds: tuple[float, float], detail: str) -> None:
        """Judge a share."""
        lamp, word = verdict(share, bounds)
        self.light.show_lamp(lamp, word)
        self.light.setVisible(share is not None)  # the word is a dash already
        self.word.setText(word)
        colours = theme.colours()
        colour = {"ready": colours.good, "careful": colours.warn, "failed": colours.bad}
        palette = QPalette()
        palette.setColor(QPalette.ColorRole.WindowText, QColor(colour.get(lamp, colours.dim)))
        self.word.setPalette(palette)
        self.detail.setText(detail)


class Setting(QDoubleSpinBox):
    """A compact setting with its unit; with ``auto`` the lowest value lets the host choose."""

    def __init__(
        self,
        name: str,
        tip: str,
        value: float,
        limits: tuple[float, float],
        unit: str = "",
        *,
        auto: str = "",
        is_whole: bool = False,
    ) -> None:
        super().__init__()
        low, high = limits
        self.setObjectName(f"align-{name}")
        self.setAccessibleName(tip)
        self.setToolTip(f"{tip}: {low:g} to {high:g} {unit}".rstrip())
        self.setDecimals(0 if is_whole else 4)
        self.setRange(low, high)
        self.setValue(value)
        self.setSuffix(f" {unit}" if unit else "")
        self.setSpecialValueText(auto)
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        if not is_whole:
            self.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        self.setFixedWidth(64)

    def textFromValue(self, v: float) -> str:  # noqa: N802
        """Write no more digits than there are."""
        return f"{v:.6g}"

    def chosen(self) -> float | None:
        """The value; None if the host is to choose."""
        is_auto = bool(self.specialValueText()) and self.value() == self.minimum()
        return None if is_auto else self.value()


class AlignView(QWidget):
    """Live light, and what helps to find the spot, its focus and its time."""

    TITLE = "Align"
    KEY = "align"

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(self.KEY)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._hub = hub
        self._past: deque[tuple[float, float]] = deque(maxlen=MOST_POINTS)
        self._light: dict[str, Any] = {}
        self._heard: dict[str, dict[str, Any]] = {}
        self._extent: tuple[float, float, float, float] | None = None
        self._profile: InstrumentProfile | None = None
        self._progress = ""
        self._is_light = False
        self._make_settings()
        self._make_figures()
        self._make_plots()
        self._make_buttons()
        self._lay_out()
        hub.linked.connect(self._take_status)
        hub.status_changed.connect(self._take_status)
        hub.readings_changed.connect(self._take_readings)
        hub.profile_changed.connect(self._take_profile)
        hub.light.connect(self._take_light)
        hub.happened.connect(self._take_event)
        theme.notifier.changed.connect(self._recolour)
        self._take_profile(hub.profile)
        self._take_status()
        self._recolour()

    def sizeHint(self) -> QSize:  # noqa: D102, N802
        return QSize(980, 620)

    def resizeEvent(self, a0: QResizeEvent | None) -> None:  # noqa: D102, N802
        super().resizeEvent(a0)
        self._size_figures()

    def _size_figures(self) -> None:
        pt = min(max(self.width() / 22, 32), 110)
        self.count_rate.resize_font(pt)
        self.sync_rate.resize_font(0.62 * pt)
        for judged in (self.pile_up, self.limit):
            judged.word.setFont(theme.figure_font(max(15, 0.36 * pt)))

    # -- building --------------------------------------------------------------------------

    def _make_settings(self) -> None:
        self.dwell = Setting("dwell", "One look of the live count", 0.5, (0.02, 60), "s")
        self.time_bin = Setting("time-bin", "Time bin", 0, (0, 1e5), "ps", auto="auto")
        self.range = Setting("range", "Time range", 0, (0, 1e5), "ns", auto="auto")
        self.offset = Setting("offset", "Offset of the time range", 0, (0, 1e5), "ns", auto="auto")
        self.divider = Setting("divider", "Sync divider", 0, (0, 16), auto="auto", is_whole=True)
        self.half_range = Setting("half-range", "Half range, sample plane", 1.5, (0.01, 100), "µm")
        self.places = Setting("places", "Places on each line", 31, (7, 401), is_whole=True)
        self.raster_places = Setting(
            "raster-places", "Places along each side of the raster", 15, (3, 101), is_whole=True
        )
        self.place_dwell = Setting("place-dwell", "Dwell at each place", 0.1, (0.001, 60), "s")
        self.focus_range = Setting("focus-range", "Half range of z", 5, (0.01, 100), "µm")
        self.focus_steps = Setting("focus-steps", "Steps of z", 11, (5, 101), is_whole=True)
        self.focus_by = QComboBox()
        self.focus_by.setObjectName("align-focus-by")
        self.focus_by.setAccessibleName("Focus by")
        self.focus_by.setToolTip("In focus the light is brightest (peak) or narrowest (width)")
        self.focus_by.addItem("peak", "peak")
        self.focus_by.addItem("width", "width")
        self.long_dwell = Setting("long-dwell", "Dwell of IRF and background", 5, (0.001, 60), "s")
        self.cost = ElidedLabel()
        self.cost.setObjectName("align-cost")
        for setting in (self.half_range, self.places, self.raster_places, self.place_dwell):
            setting.valueChanged.connect(self._estimate)

    def _make_figures(self) -> None:
        self.count_rate = Figure("align-count-rate", "Count rate", "2,222,000 /s")
        self.sync_rate = Figure("align-sync-rate", "Sync rate", "22.222 MHz")
        self.pile_up = Verdict(
            "align-pile-up",
            "Pile-up",
            f"Counts per laser pulse: from {PILE_UP[0]:.0%} on early photons hide later ones, from "
            f"{PILE_UP[1]:.0%} on the decay is wrong",
        )
        self.limit = Verdict(
            "align-limit",
            "Detector",
            f"Count rate over the highest that the profile allows; careful from {LIMIT[0]:.0%} on",
        )

    def _make_plots(self) -> None:
        self.history = CurvePlot(
            "align-history", "Count rate, last 2 minutes", Quantity("before now", "s"), RATE
        )
        self.history.fix(x=(-HISTORY_S, 0.0))
        self.history.add("rate", "count rate", colour=0)
        self.decay = CurvePlot("align-decay", "Decay, last look", TIME, COUNTS, log_y=True)
        self.decay.add("counts", "counts", colour=2, style="steps")
        Plot.fix(self.decay, (0.0, 400.0), (1.0, 1e3))  # until there are counts
        self.cross = CurvePlot("align-cross", "Cross", Quantity("place", "µm"), RATE)
        for colour, axis in enumerate("xy"):
            self.cross.add(axis, axis, colour=colour, style="points")
            self.cross.add(f"{axis}-fit", f"{axis} fit", colour=colour)
        Plot.fix(self.cross, (-1.5, 1.5), (0.0, 1.0))
        self.cross_words = QLabel()
        self.cross_words.setObjectName("align-cross-words")
        self.cross_words.setTextFormat(Qt.TextFormat.RichText)
        self.raster = MapPlot("align-raster", "Raster", X, Y, RATE, square=True)
        self.raster.fix((-1.5, 1.5), (-1.5, 1.5))
        self.raster.bar.hide()
        self.raster.canvas.setToolTip("Click: the detector goes there")
        self.raster.canvas.scene().sigMouseClicked.connect(self._click_raster)
        self._here = pg.ScatterPlotItem(symbol="+", size=16)
        self._here.setZValue(10)
        self.raster.plot.addItem(self._here, ignoreBounds=True)
        self.focus = CurvePlot("align-focus", "Focus", Quantity("z", "µm"), Quantity("peak", "/s"))
        self.focus.add("value", "value", colour=3, style="points")
        self.focus.add_line("best", 0.0, colour="accent", label="best")
        self.focus.show_line("best", False)
        self.irf = CurvePlot("align-irf", "Instrument response", TIME, COUNTS, log_y=True)
        self.irf.add("counts", "counts", colour=4, style="steps")
        self.irf.add_line("zero", 0.0, colour="accent", label="t₀")
        self.irf.show_line("zero", False)
        for plot in (self.history, self.decay, self.cross, self.raster, self.focus, self.irf):
            plot.said.connect(lambda level, text: self._hub.tell(level, text, code="export"))
        self.found = QTableWidget(0, len(FOUND))
        self.found.setObjectName("align-found")
        self.found.setAccessibleName("What was found so far")
        self.found.setToolTip("What was found so far, newest first")
        self.found.setHorizontalHeaderLabels(list(FOUND))
        self.found.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.found.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.found.setShowGrid(False)
        self.found.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if (head := self.found.verticalHeader()) is not None:
            head.hide()
            head.setDefaultSectionSize(self.fontMetrics().height() + 5)
        if (head := self.found.horizontalHeader()) is not None:
            head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
            head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            head.setStretchLastSection(True)

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(f"align-{name}")
        button.setToolTip(tip)
        return button

    def _make_buttons(self) -> None:
        self.light_on = self._button(
            "light", "Light o&n", "Laser on, shutter open, count live with these settings (Space)"
        )
        self.light_on.clicked.connect(self._go_light)
        self.dark = self._button("dark", "Dar&k", "Block the light, and read that back (Space)")
        self.dark.clicked.connect(self._go_dark)
        texts = {
            "cross": ("Cross &x y", "Lines along x and y through where the detector looks"),
            "raster": ("Ra&ster", "A square around where the detector looks"),
            "find": ("F&ind the spot", "Two crosses, the second finer; the detector goes there"),
            "focus": ("Foc&us", "The sample stage's z at which the spot is sharpest"),
            "irf": ("IRF && time &zero", "Scattered laser light: when it comes, and how wide"),
            "background": ("&Background", "Count rate without light from the sample"),
        }  # fmt: skip
        self.searches = {name: self._button(name, *both) for name, both in texts.items()}
        for name, button in self.searches.items():
            button.clicked.connect(lambda _=False, name=name: self._search(name))
        self.centre = self._button(
            "centre", "Cen&tre here", "Where the detector is becomes x = 0, y = 0 of every plan"
        )
        self.centre.clicked.connect(lambda: self._hub.ask("centre"))
        self.stop = self._button("stop", "Stop no&w", "End the search that goes on, in the dark")
        self.stop.clicked.connect(lambda: self._hub.ask("halt"))
        self.state = StateLight("align-state")
        self.words = ElidedLabel()
        self.words.setObjectName("align-words")

    def _lay_out(self) -> None:
        figures = QHBoxLayout()
        figures.setSpacing(24)
        for figure in (self.count_rate, self.sync_rate):
            figures.addWidget(figure)
        for judged in (self.pile_up, self.limit):
            figures.addWidget(judged)
        figures.addStretch(1)
        search = self.searches
        rows: tuple[tuple[QWidget | str, ...], ...] = (
            (self.light_on, self.dark, "look", self.dwell, "bin", self.time_bin, "range",
             self.range, "offset", self.offset, "sync ÷", self.divider),
            (search["cross"], search["raster"], search["find"], self.centre, "±", self.half_range,
             "line", self.places, "raster side", self.raster_places, "dwell", self.place_dwell,
             self.cost),
            (search["focus"], "±", self.focus_range, "steps", self.focus_steps, "by",
             self.focus_by, search["irf"], search["background"], "dwell", self.long_dwell,
             self.stop),
        )  # fmt: skip
        tools = QVBoxLayout()
        tools.setSpacing(3)
        for widgets in rows:
            line = QHBoxLayout()
            line.setSpacing(4)
            for widget in widgets:
                if isinstance(widget, str):
                    line.addSpacing(4)
                    line.addWidget(QLabel(widget))
                else:
                    line.addWidget(widget, 1 if widget is self.cost else 0)
            if widgets is rows[0]:
                line.addSpacing(8)
                line.addWidget(self.state)
                line.addWidget(self.words, 1)
            elif widgets is not rows[1]:
                line.addStretch(1)
            tools.addLayout(line)
        live = QSplitter(Qt.Orientation.Horizontal)
        live.addWidget(self.history)
        live.addWidget(self.decay)
        crossed = QWidget()
        column = QVBoxLayout(crossed)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.cross, 1)
        column.addWidget(self.cross_words)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("align-tabs")
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(self.found, "Found")
        self.tabs.addTab(self.focus, "Focus")
        self.tabs.addTab(self.irf, "IRF")
        if (bar := self.tabs.tabBar()) is not None:
            bar.setDrawBase(False)
        self.tabs.setToolTip("What was found, and the last curves of focus and response")
        results = QSplitter(Qt.Orientation.Horizontal)
        for part in (crossed, self.raster, self.tabs):
            results.addWidget(part)
        results.setSizes([280, 290, 440])
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(4)
        column.addLayout(figures)
        column.addWidget(live, 4)
        column.addLayout(tools)
        column.addWidget(results, 5)

    # -- asking ----------------------------------------------------------------------------

    def _go_light(self) -> None:
        arguments: dict[str, Any] = {"dwell_s": self.dwell.value()}
        for key, setting in (
            ("time_bin_ps", self.time_bin), ("range_ns", self.range), ("offset_ns", self.offset),
        ):  # fmt: skip
            if setting.chosen() is not None:
                arguments[key] = setting.chosen()
        if self.divider.chosen() is not None:
            arguments["sync_divider"] = int(self.divider.value())
        self._hub.ask("align", arguments)
        self.setFocus()

    def _go_dark(self) -> None:
        self._hub.ask("dark")
        self.setFocus()

    def _search(self, name: str) -> None:
        arguments: dict[str, Any]
        match name:
            case "focus":
                arguments = {
                    "half_range_um": self.focus_range.value(),
                    "steps": int(self.focus_steps.value()),
                    "by": self.focus_by.currentData(),
                    "dwell_s": self.place_dwell.value(),
                }
            case "irf" | "background":
                arguments = {"dwell_s": self.long_dwell.value()}
                profile = self._hub.profile
                if name == "background" and profile is not None and profile.shutter is None:
                    arguments["dark"] = True  # nothing but the laser can be switched
            case _:
                places = self.raster_places if name == "raster" else self.places
                arguments = {
                    "half_range_um": self.half_range.value(),
                    "positions": int(places.value()),
                    "dwell_s": self.place_dwell.value(),
                }
        self._hub.ask(name, arguments)

    def _click_raster(self, event: Any) -> None:
        if event.button() != Qt.MouseButton.LeftButton or event.double():
            return
        if self._reason() or not self.raster.view.sceneBoundingRect().contains(event.scenePos()):
            return
        at = self.raster.view.mapSceneToView(event.scenePos())
        if self._extent is None:
            return
        left, right, bottom, top = self._extent
        if left <= at.x() <= right and bottom <= at.y() <= top:
            to = [round(float(at.x()), 4), round(float(at.y()), 4)]
            arguments = {"stage": "detector", "to": to, "plane": "sample", "relative": False}
            self._hub.ask("move", arguments)

    def keyPressEvent(self, a0: QKeyEvent | None) -> None:  # noqa: N802
        """Switch between light and dark with the space bar."""
        if a0 is None or a0.key() != Qt.Key.Key_Space or a0.isAutoRepeat():
            super().keyPressEvent(a0)
        elif self._is_light and self.dark.isEnabled():
            self._go_dark()
        elif self.light_on.isEnabled():
            self._go_light()

    def mousePressEvent(self, a0: QMouseEvent | None) -> None:  # noqa: N802
        """Take the focus, so that the space bar works."""
        self.setFocus()
        super().mousePressEvent(a0)

    # -- what the host tells ---------------------------------------------------------------

    def _station(self) -> dict[str, Any]:
        return self._hub.status.get("station") or {}

    def _reason(self) -> str:
        return why_not(self._hub.is_linked, self._hub.status)

    def _take_profile(self, profile: InstrumentProfile | None) -> None:
        has_z = profile is None or profile.sample_stage is not None
        for widget in (self.searches["focus"], self.focus_range, self.focus_steps, self.focus_by):
            widget.setVisible(has_z)
        if profile is not None:
            low, high = profile.detector_stage.x.travel_um
            self.half_range.setMaximum((high - low) / 2 / profile.optics.magnification)
            if self._profile is not None and profile.name == self._profile.name:
                self._move_zero(*zero_shift_um(self._profile, profile))
            self._profile = profile
        self._estimate()

    def _move_zero(self, dx_um: float, dy_um: float) -> None:
        """Leave the light that was seen where it is when the zero of the map goes elsewhere."""
        if dx_um == dy_um == 0.0:
            return
        for axis, by_um in (("x", dx_um), ("y", dy_um)):
            line = self._heard.get(f"line-{axis}")
            if line is not None:
                fit = line.get("fit")
                if fit:
                    fit = {**fit, "center_um": fit["center_um"] + by_um}
                there = [place + by_um for place in line["x_um"]]
                self._heard[f"line-{axis}"] = {**line, "x_um": there, "fit": fit}
        self._show_cross()
        if "image" in self._heard:
            self._heard["image"] = moved_image(self._heard["image"], dx_um, dy_um)
            self._show_raster(self._heard["image"])

    def _estimate(self) -> None:
        """Say how long a cross and a raster take."""
        profile = self._hub.profile
        if profile is None:
            self.cost.setText("")
            return
        said = []
        for name, count, total in (
            ("cross", self.places.value(), 2 * self.places.value()),
            ("raster", self.raster_places.value(), self.raster_places.value() ** 2),
        ):
            step_um = 2 * self.half_range.value() / (count - 1) * profile.optics.magnification
            seconds = total * (self.place_dwell.value() + profile.travel_s(step_um))
            said.append(f"{name} {duration(seconds)}")
        self.cost.setText(", ".join(said))
        self.cost.setToolTip(f"With the typical speed of the stage: {self.cost.text()}")

    def _take_status(self, *_: object) -> None:
        reason, station = self._reason(), self._station()
        job = station.get("job") or {}
        is_light = bool(station.get("aligning")) and self._hub.is_linked
        is_searching = job.get("kind") in SEARCHES and self._hub.is_linked
        can_ask = not reason and not is_searching
        is_run = self._hub.status.get("doing") in RUNS
        self._is_light = is_light or job.get("kind") == "align"
        self.light_on.setEnabled(can_ask)
        self.dark.setEnabled(self._hub.is_linked and bool(station.get("connected")) and not is_run)
        for button in self.searches.values():
            button.setEnabled(can_ask and is_light)
        self.centre.setEnabled(can_ask)
        self.stop.setEnabled(is_searching)
        if is_searching:
            words = f"{self._progress or job.get('words') or SEARCHES[job['kind']]}"
            self.state.show_lamp("busy", words)
        elif reason:
            words = reason
            self.state.show_lamp("closed", "dark" if self._hub.is_linked else "not known")
        elif is_light:
            words = "Light is on, counting live. Space: dark."
            self.state.show_lamp("ready", "light is on")
        else:
            words = "Dark. Space: light on."
            self.state.show_lamp("closed", "dark")
        self.words.setText(words)
        self.words.setToolTip(words)
        if not is_light and self._light:
            self._light = {}
            self._show_light()

    def _take_readings(self, readings: Mapping[str, Any]) -> None:
        values = readings.get("values") or {}
        x_um, y_um = finite(values.get("detector_x_um")), finite(values.get("detector_y_um"))
        known = x_um is not None and y_um is not None
        self._here.setData([x_um] if known else [], [y_um] if known else [])

    def _take_light(self, light: dict[str, Any]) -> None:
        self._light = light
        now_s, rate_hz = finite(light.get("device_s")), finite(light.get("count_rate_hz"))
        if now_s is not None and rate_hz is not None:
            if self._past and now_s < self._past[-1][0]:
                self._past.clear()  # another host, another clock
            if self._past and now_s - self._past[-1][0] > GAP * (finite(light.get("live_s")) or 1):
                self._past.append((now_s, math.nan))  # nobody counted: a line there would lie
            self._past.append((now_s, rate_hz))
            while self._past[0][0] < now_s - HISTORY_S:
                self._past.popleft()
            past = np.array(self._past)
            self.history.put("rate", past[:, 0] - now_s, past[:, 1])
            self.history.frame(y=(0.0, float(np.nanmax(past[:, 1]))))
        counts = np.asarray(light.get("counts") or (), np.float64)
        bin_ns = finite(light.get("bin_ns")) or 1.0
        start_ns = finite(light.get("offset_ns")) or 0.0
        self.decay.put("counts", start_ns + (np.arange(counts.size) + 0.5) * bin_ns, counts)
        self._show_light()

    def _show_light(self) -> None:
        light, colours = self._light, theme.colours()
        rate_hz, sync_hz = finite(light.get("count_rate_hz")), finite(light.get("sync_rate_hz"))
        share, limit_hz = finite(light.get("share")), finite(light.get("limit_hz"))
        self.count_rate.value.setText(count_words(rate_hz))
        where = ", in the dark" if light.get("is_dark") else ""
        self.count_rate.title.setText(f"Count rate{where}")
        self.sync_rate.value.setText(NONE if sync_hz is None else f"{sync_hz / 1e6:.3f} MHz")
        of_limit = rate_hz / limit_hz if rate_hz is not None and limit_hz else None
        words = "" if share is None else f"{share:.2%} of pulses"
        self.pile_up.show_share(share, PILE_UP, words)
        words = "" if of_limit is None else f"{of_limit:.1%} of {rate(limit_hz)}"
        self.limit.show_share(of_limit, LIMIT, words)
        worst = {verdict(share, PILE_UP)[0], verdict(of_limit, LIMIT)[0]}
        colour = colours.text
        if "failed" in worst:
            colour = colours.bad
        elif "careful" in worst:
            colour = colours.warn
        palette = QPalette()
        palette.setColor(QPalette.ColorRole.WindowText, QColor(colour))
        self.count_rate.value.setPalette(palette)

    def _take_event(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "line":
                self._heard[f"line-{event['axis']}"] = event
                self._show_cross()
            case "image":
                self._heard["image"] = event
                self._show_raster(event)
            case "focus":
                self._heard["focus"] = event
                self._show_focus(event)
            case "irf":
                self._heard["irf"] = event
                self._show_irf(event)
            case "background":
                self._heard["background"] = event
            case "job-started":
                self._progress = ""
                for name in HEARD_OF.get(str((event.get("job") or {}).get("kind")), ()):
                    self._heard.pop(name, None)
            case "job-progress":
                share = finite(event.get("share"))
                words = str(event.get("words") or "")
                self._progress = words if share is None else f"{words}, {share:.0%}"
                self._take_status()
            case "job-ended":
                self._progress = ""
                if event.get("ok"):
                    self._keep(str((event.get("job") or {}).get("kind")), event.get("result") or {})
            case _:
                pass

    # -- what was found --------------------------------------------------------------------

    def _show_cross(self) -> None:
        said = []
        for colour, axis in enumerate("xy"):
            line = self._heard.get(f"line-{axis}")
            fit = line.get("fit") if line is not None else None
            if line is None:
                self.cross.put(axis)
            else:
                self.cross.put(axis, line["x_um"], line["rate_hz"])
            if line is None or not fit:
                self.cross.put(f"{axis}-fit")
                continue
            x_um = np.linspace(min(line["x_um"]), max(line["x_um"]), 201)
            self.cross.put(f"{axis}-fit", x_um, gaussian_hz(x_um, fit))
            centre = plus_minus(fit["center_um"], fit["center_stderr_um"], "µm")
            shade = theme.colours().series[colour]
            said.append(f"<b style='color:{shade}'>{axis}</b> {centre}")
        self.cross_words.setText("&nbsp;&nbsp; ".join(said))

    def _show_raster(self, event: Mapping[str, Any]) -> None:
        table = np.array(event["rate_hz"], np.float64)
        x_um, y_um = np.asarray(event["x_um"], np.float64), np.asarray(event["y_um"], np.float64)
        if table.size == 0:
            return
        self.raster.put(table, x_um, y_um)
        self.raster.bar.show()
        self._extent = (float(x_um.min()), float(x_um.max()), float(y_um.min()), float(y_um.max()))

    def _show_focus(self, event: Mapping[str, Any]) -> None:
        by_peak = event.get("by") != "width"
        self.focus.y_axis = Quantity("peak", "/s") if by_peak else Quantity("width", "µm")
        self.focus.plot.setLabel("left", str(self.focus.y_axis))
        self.focus.put("value", event["z_um"], event["value"])
        best = finite(event.get("best_z_um"))
        self.focus.show_line("best", best is not None)
        if best is not None:
            self.focus.move_line("best", best)
        words = "" if best is None else f": best at z {_signed(best)} µm"
        self.focus.title.setText(f"Focus{words}")
        self.tabs.setCurrentWidget(self.focus)

    def _show_irf(self, event: Mapping[str, Any]) -> None:
        counts = np.asarray(event["counts"], np.float64)
        start_ns = finite(event.get("offset_ns")) or 0.0
        at_ns = start_ns + (np.arange(counts.size) + 0.5) * event["bin_ns"]
        self.irf.put("counts", at_ns, counts)
        zero = finite(event.get("time_zero_ns"))
        self.irf.show_line("zero", zero is not None)
        if zero is not None:
            self.irf.move_line("zero", zero)
        self.irf.title.setText(f"t₀ {_ns(zero)}, FWHM {_fwhm_ps(event)}")
        self.tabs.setCurrentWidget(self.irf)

    def _keep(self, kind: str, result: Mapping[str, Any]) -> None:
        """Write what a search found on top of the list."""
        found = {**self._heard.get(kind, {}), **result}
        centre = width = bright = ""
        match kind:
            case "cross" | "find":
                centre, width, bright = _spot_words(self._heard, result)
            case "raster":
                centre, bright = _brightest(self._heard.get("image") or {})
            case "focus":
                centre = f"z {_signed(finite(found.get('best_z_um')))}"
            case "irf":
                centre, width = f"t₀ {_ns(finite(found.get('time_zero_ns')))}", _fwhm_ps(found)
            case "background":
                bright = plus_minus(found.get("count_rate_hz"), found.get("stderr_hz"), "/s")
                centre = "laser off" if found.get("dark") else "light blocked"
            case "centre":
                centre = "now x 0, y 0"
            case _:
                return
        now = datetime.now().astimezone()
        self.found.insertRow(0)
        for index, text in enumerate((f"{now:%H:%M}", FOUND_BY[kind], centre, width, bright)):
            item = QTableWidgetItem(text)
            item.setToolTip(f"{now:%Y-%m-%d %H:%M:%S}  {text}")
            self.found.setItem(0, index, item)
        self.found.resizeRowToContents(0)
        self.found.setRowCount(min(self.found.rowCount(), MOST_FOUND))
        if kind not in ("focus", "irf"):
            self.tabs.setCurrentWidget(self.found)

    def _recolour(self) -> None:
        self._size_figures()  # a new style sheet of the application forgets them
        self._here.setPen(pg.mkPen(theme.colours().bad, width=2))
        self._show_light()
        self._show_cross()


FOUND = ("Time", "What", "Centre (µm)", "FWHM", "Rate")


def count_words(rate_hz: float | None) -> str:
    """A count rate without prefix, which could not be told from afar: ``12,350 /s``."""
    if rate_hz is None:
        return NONE
    return f"{float(f'{rate_hz:.4g}'):,.0f} /s"


def _spot_words(
    heard: Mapping[str, Mapping[str, Any]], peak: Mapping[str, Any]
) -> tuple[str, str, str]:
    """Centre, FWHM and peak rate of a cross, or of the peak that the host found in it."""
    fits = {axis: (heard.get(f"line-{axis}") or {}).get("fit") or {} for axis in "xy"}
    centre = []
    for axis, fit in fits.items():
        at, error = peak.get(f"{axis}_um"), peak.get(f"{axis}_stderr_um")
        if finite(at) is None:
            at, error = fit.get("center_um"), fit.get("center_stderr_um")
        centre.append(f"{axis} {plus_minus(at, error)}")
    sources = (peak, *fits.values())
    sigma_um = next((s for f in sources if (s := finite(f.get("sigma_um"))) is not None), None)
    peak_hz = next((p for f in sources if (p := finite(f.get("peak_hz"))) is not None), None)
    width = NONE if sigma_um is None else f"{FWHM * sigma_um * 1e3:.0f} nm"
    return "\n".join(centre), width, rate(peak_hz)


def _brightest(image: Mapping[str, Any]) -> tuple[str, str]:
    """Place and rate of the brightest place of a raster."""
    table = np.array(image.get("rate_hz") or [[]], np.float64)
    if not np.isfinite(table).any():
        return NONE, ""
    row, column = np.unravel_index(int(np.nanargmax(table)), table.shape)
    x, y = _signed(image["x_um"][column]), _signed(image["y_um"][row])
    return f"x {x}, y {y}", rate(float(table[row, column]))


def _signed(value_um: float | None) -> str:
    return NONE if value_um is None else f"{value_um:+.2f}".replace("-", "−")


def _ns(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f} ns".replace("-", "−")


def _fwhm_ps(found: Mapping[str, Any]) -> str:
    return plus_minus(found.get("fwhm_ps"), found.get("stderr_ps"), "ps")


__all__ = ["AlignView"]
