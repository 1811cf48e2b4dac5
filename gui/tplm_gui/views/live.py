"""The live map: what a scan says so far, in pictures and in words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtGui import QShowEvent
from PyQt6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from tplm_analysis import (
    DecayFit,
    DecayModelFit,
    FitWarning,
    MapFit,
    PromptDelayedFit,
    StretchedFit,
)
from tplm_gui import theme
from tplm_gui.data.maps import MapView
from tplm_gui.hub import Hub
from tplm_gui.widgets.plots import CurvePlot, MapPlot, Plot, Quantity
from tplm_gui.words import NONE, duration, plus_minus, rate, si

F64 = NDArray[np.float64]
SLICES = 3
START_AT = (0.1, 0.4, 0.8)
"""Where the slices are at first, in the order of the counts."""
LEAST_COUNTS = 3000
"""A slice takes in neighbouring times until it holds this many counts and …"""
PART_OF_ALL, MOST_OF_ALL = 1 / 30, 1 / 8
"""… this part of all, but no more than this."""
POINTS = 60
"""Points of the MSD that are drawn; more would hide each other."""
COLUMNS = 512
"""Time bins of decay and normalised map that are drawn."""
SHARE_WARN, SHARE_BAD = 0.01, 0.05
"""Counts per pulse from which pile-up distorts the decay, and from which it spoils it."""
MODES = (
    ("log", "counts, log colour"),
    ("raw", "counts"),
    ("normalised", "each time to its maximum"),
)
ON_MAP = "#ff5c8a"
"""A colour that is in no colour map."""
BEFORE_NS = -0.1
"""Before the pulse there is nothing to normalise."""
ROW_PX = (236, 150)
"""Least heights of the two rows of plots, px: with less the view scrolls."""
QUIET = 5
"""Analyses without a warning after which the room for warnings is that of the plots again."""
TURN_MS = 35
"""Between drawing one plot and the next."""
EMPTY = "No scan yet: the map appears here as soon as one is measured."


@dataclass(frozen=True, slots=True)
class _Span:
    """Neighbouring slices of a full analysis, shown as one."""

    first: int
    last: int
    middle_ns: float
    from_ns: float
    to_ns: float


class _Figure(QWidget):
    """A figure with its name above and a remark below."""

    def __init__(self, key: str, name: str, tip: str, points: float) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.name, self.value, self.remark = QLabel(name), QLabel(NONE), QLabel()
        self.value.setObjectName(f"live-{key}")
        self.remark.setObjectName(f"live-{key}-remark")
        self._points = points
        self._colour = "text"
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(0)
        for label in (self.name, self.value, self.remark):
            box.addWidget(label)
        self.recolour()

    def put(self, value: str, remark: str = "", colour: str = "text") -> None:
        self.value.setText(value)
        self.remark.setText(remark)
        if colour != self._colour:  # a style is dear, and figures come often
            self._colour = colour
            self.recolour()

    def recolour(self) -> None:
        c = theme.colours()
        self.value.setFont(theme.figure_font(self._points))
        self.value.setStyleSheet(f"color: {getattr(c, self._colour)};")
        for label in (self.name, self.remark):
            label.setStyleSheet(f"color: {c.dim};")


class LiveView(QWidget):
    """Map, slices, MSD, D against time and decay of the scan that is measured, or was last.

    Parameters
    ----------
    hub : Hub
        ``map_changed`` brings what is drawn.
    """

    TITLE = "Live"
    KEY = "live"

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(self.KEY)
        self._hub = hub
        self._shown: MapView | None = None
        self._is_stale = False
        self._quiet = QUIET
        self._zero_ns = 0.0
        self._analysed: tuple[Any, ...] = ()
        self._spans: list[_Span] = []
        self._wanted_ns: list[float | None] = [None] * SLICES
        self._to_draw: list[Callable[[], None]] = []
        self._turn = QTimer(self)
        self._turn.setInterval(TURN_MS)
        self._turn.timeout.connect(self._draw_next)
        self._make_figures()
        self._make_plots()
        self._make_controls()
        self._lay_out()
        for plot in self.plots:
            plot.said.connect(lambda level, text: hub.tell(level, text, code="export"))
        hub.map_changed.connect(self.take)
        hub.status_changed.connect(self._take_status)
        hub.happened.connect(self._take_event)
        theme.notifier.changed.connect(self._recolour)
        self._recolour()

    # -- what it is made of ----------------------------------------------------------------

    def _make_figures(self) -> None:
        self.d = _Figure("d", "Diffusivity D", "Along the line, global fit, with 1 σ", 17)
        self.end = _Figure("end", "at the end", "σ falls with the root of the time measured", 12)
        self.rate = _Figure("rate", "count rate", "Of the detector, the highest of this visit", 12)
        self.sync = _Figure("sync", "sync", "Laser pulses per second", 12)
        self.share = _Figure("share", "pile-up", "Counts per pulse; above 1 % decays distort", 12)
        self.lifetime = _Figure("lifetime", "1/e lifetime", "From the decay's maximum", 12)
        self.figures = (self.d, self.end, self.lifetime, self.rate, self.sync, self.share)

    def _make_plots(self) -> None:
        time, place = Quantity("time", "ns"), Quantity("x", "µm")
        self.map = MapPlot("live-map", "Map", time, place, Quantity("counts/bin", "1/s"))
        self.slices = CurvePlot("live-slices", "Slices", place, Quantity("of peak"))
        self.residuals = CurvePlot("live-residuals", "Residuals", place, Quantity("off", "σ"))
        self.msd = CurvePlot("live-msd", "MSD", time, Quantity("MSD", "µm²"))
        self.course = CurvePlot(
            "live-course", "D", Quantity("measured", "s"), Quantity("D", "cm²/s")
        )
        self.decay = CurvePlot("live-decay", "Decay", time, Quantity("counts"), log_y=True)
        self.plots: tuple[Plot, ...] = (
            self.map, self.slices, self.residuals, self.msd, self.course, self.decay,
        )  # fmt: skip
        for i in range(SLICES):
            self.slices.add(
                f"data {i + 1}", f"slice {i + 1}", colour=i, style="points", error="bars"
            )
            self.slices.add(f"fit {i + 1}", f"fit {i + 1}", colour=i, width=2)
            self.residuals.add(f"slice {i + 1}", f"slice {i + 1}", colour=i, width=1)
            self.map.add_line(
                f"slice {i + 1}", 0, colour=ON_MAP, movable=True, label=f"{i + 1}",
                tip="Drag to choose the time of this slice",
            )  # fmt: skip
            self.map.show_line(f"slice {i + 1}", False)
        for at in (-2.0, 0.0, 2.0):
            self.residuals.add_line(f"{at:g}", at, colour="dim" if at == 0 else "grid",
                                    horizontal=True)  # fmt: skip
        self.msd.add("msd", "MSD", colour=0, style="points", error="band")
        self.msd.add("line", "line of D", colour=1, width=2, error="band")
        self.course.add("to come", "expected", colour="dim", style="dashes", error="band")
        self.course.add("d", "D", colour=0, width=2, error="band")
        self.decay.add("decay", "decay", colour=0, style="steps", width=1)
        self.decay.add("fit", "fit", colour=1, width=2)
        below = self.slices.plot.getAxis("bottom")  # that of the residuals is below
        below.showLabel(False)
        below.setStyle(showValues=False)
        self.map.moved.connect(self._dragged)

    def _make_controls(self) -> None:
        self.mode = QComboBox()
        self.mode.setObjectName("live-mode")
        self.mode.setAccessibleName("what the map shows")
        self.mode.setToolTip("What the colours of the map mean")
        for key, words in MODES:
            self.mode.addItem(words, key)
        self.mode.currentIndexChanged.connect(lambda _: self._draw_map())
        self.map.header.insertWidget(1, self.mode)
        self.sliders: list[QSlider] = []
        self.times: list[QLabel] = []
        for i in range(SLICES):
            slider = QSlider(Qt.Orientation.Horizontal)
            slider.setObjectName(f"live-slice-{i + 1}")
            slider.setAccessibleName(f"time of slice {i + 1}")
            slider.setToolTip(f"Time of slice {i + 1}; also its line on the map can be dragged")
            slider.setRange(0, 0)
            slider.setEnabled(False)
            slider.valueChanged.connect(self._slid(i))
            time = QLabel(NONE)
            time.setObjectName(f"live-slice-{i + 1}-time")
            time.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
            time.setMinimumWidth(96)
            self.sliders.append(slider)
            self.times.append(time)
        self.words = QLabel(EMPTY)
        self.words.setObjectName("live-words")
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.warnings = QLabel()
        self.warnings.setObjectName("live-warnings")
        self.warnings.setWordWrap(True)
        self.warnings.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.warnings.setAlignment(Qt.AlignmentFlag.AlignTop)
        # of fixed height, and there for some more analyses when a warning has gone: plots that
        # move whenever one comes or goes cannot be read
        self.warnings_area = QScrollArea()
        self.warnings_area.setObjectName("live-warnings-area")
        self.warnings_area.setAccessibleName("warnings of the analysis")
        self.warnings_area.setToolTip("What to know before using the numbers")
        self.warnings_area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.warnings_area.setWidgetResizable(True)
        self.warnings_area.setWidget(self.warnings)
        self.warnings_area.setFixedHeight(2 * self.fontMetrics().lineSpacing() + 4)

    def _lay_out(self) -> None:
        strip = QHBoxLayout()
        strip.setContentsMargins(4, 0, 4, 0)
        strip.setSpacing(22)
        for figure in self.figures:
            strip.addWidget(figure)
        strip.addStretch(1)
        chosen = QGridLayout()
        chosen.setContentsMargins(4, 0, 8, 0)
        chosen.setHorizontalSpacing(6)
        chosen.setVerticalSpacing(1)
        for i in range(SLICES):
            chosen.addWidget(self.times[i], i, 0)
            chosen.addWidget(self.sliders[i], i, 1)
        chosen.setColumnStretch(1, 1)
        profile = QWidget()
        column = QVBoxLayout(profile)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.slices, 4)
        column.addWidget(self.residuals, 5)  # it has the axis of both
        column.addLayout(chosen)
        above, below = QSplitter(Qt.Orientation.Horizontal), QSplitter(Qt.Orientation.Horizontal)
        for splitter, name, parts in (
            (above, "live-above", ((self.map, 3), (profile, 2))),
            (below, "live-below", ((self.msd, 1), (self.course, 1), (self.decay, 1))),
        ):
            splitter.setObjectName(name)
            splitter.setChildrenCollapsible(False)
            for i, (part, stretch) in enumerate(parts):
                splitter.addWidget(part)
                splitter.setStretchFactor(i, stretch)
        rows = QSplitter(Qt.Orientation.Vertical)
        rows.setObjectName("live-rows")
        rows.setChildrenCollapsible(False)
        rows.addWidget(above)
        rows.addWidget(below)
        rows.setStretchFactor(0, 3)
        rows.setStretchFactor(1, 2)
        above.setSizes([600, 400])
        below.setSizes([330, 330, 330])
        rows.setSizes([340, 240])
        above.setMinimumHeight(ROW_PX[0])
        below.setMinimumHeight(ROW_PX[1])
        box = QVBoxLayout(self)
        box.setContentsMargins(6, 4, 6, 4)
        box.setSpacing(4)
        box.addWidget(self.words)
        box.addLayout(strip)
        box.addWidget(rows, 1)
        box.addWidget(self.warnings_area)

    # -- what comes in ---------------------------------------------------------------------

    def take(self, view: MapView) -> None:
        """Show a map; while the view is hidden it is kept for later."""
        if self._shown is None or (view.path, view.created) != (
            self._shown.path, self._shown.created
        ):  # fmt: skip
            self._begin(view)
        self._shown = view
        self._is_stale = True
        if self.isVisible():
            self._draw()

    def showEvent(self, a0: QShowEvent | None) -> None:  # noqa: N802
        """Draw what came in the meantime."""
        super().showEvent(a0)
        if self._is_stale:
            self._draw()

    def _begin(self, view: MapView) -> None:
        self._analysed = ()
        self._spans = []
        self._wanted_ns = [None] * SLICES
        self._zero_ns = view.time_zero_ns
        self._quiet = QUIET
        self.warnings.clear()
        self.warnings_area.hide()
        for plot in (self.slices, self.residuals, self.msd, self.course, self.decay):
            plot.clear()
        self.map.clear()
        place = Quantity(view.map.axis, "µm")
        for plot in (self.slices, self.residuals):
            plot.set_quantities(x=place)
        self.map.set_quantities(y=place)

    def _take_status(self, status: dict[str, Any]) -> None:
        if status.get("doing") in ("scan", "series"):
            self._show_rates(status.get("count_rate_hz"), status.get("sync_rate_hz"))

    def _take_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "rates":
            self._show_rates(event.get("count_rate_hz"), event.get("sync_rate_hz"))

    def _show_rates(self, count_rate_hz: float | None, sync_rate_hz: float | None) -> None:
        if count_rate_hz is None or sync_rate_hz is None:
            return
        self.rate.put(rate(count_rate_hz))
        lost = sync_rate_hz <= 0
        self.sync.put("lost" if lost else si(sync_rate_hz, "Hz"), colour="bad" if lost else "text")
        if lost:
            self.share.put(NONE)
            return
        share = worst = count_rate_hz / sync_rate_hz
        remark = ""
        if self._shown is not None:
            brightest = self._shown.map.brightest_hz / sync_rate_hz
            worst = max(share, brightest)
            remark = f"brightest place {percent(brightest, 2)}"
        level = "bad" if worst >= SHARE_BAD else "warn" if worst >= SHARE_WARN else "good"
        self.share.put(percent(share, 2), remark, level)

    # -- drawing ---------------------------------------------------------------------------

    def _draw(self) -> None:
        view = self._shown
        if view is None:
            return
        self._is_stale = False
        analysed = (view.path, view.created, view.analysed, view.is_final)
        is_new = view.analysis is not None and analysed != self._analysed
        if is_new:
            self._analysed = analysed
            self._zero_ns = view.time_zero_ns
        self._draw_figures(view)
        self._later([self._draw_map, self._draw_course])
        if is_new:
            self._later([self._draw_msd, self._draw_decay, self._set_spans, self._draw_slices])
            self._later([self._say_warnings])
        elif view.analysis is None:
            self._later([self._draw_decay])

    def _later(self, deeds: list[Callable[[], None]]) -> None:
        """Draw one thing at a turn of the event loop, so that none has to wait for all."""
        self._to_draw += [deed for deed in deeds if deed not in self._to_draw]
        if self._to_draw and not self._turn.isActive():
            self._turn.start()

    def _draw_next(self) -> None:
        if self._to_draw:
            self._to_draw.pop(0)()
        if not self._to_draw:
            self._turn.stop()

    def draw_all(self) -> None:
        """Draw at once all that waits for its turn."""
        while self._to_draw:
            self._draw_next()

    def _draw_figures(self, view: MapView) -> None:
        d, error = view.d_cm2_per_s
        reason = view.fit.reason.message if view.fit is not None and view.fit.reason else ""
        counts = f"{int(view.map.counts.sum()):,} counts"
        self.d.put(plus_minus(d, error, "cm²/s") if d is not None else NONE, counts)
        self.d.setToolTip(reason or "Along the line, global fit, with 1 σ")
        left_s = view.planned_s - view.measured_s
        if d is None or error is None or view.ending is not None or left_s <= 0:
            self.end.put(NONE if d is None or error is None else f"± {percent(error / abs(d), 1)}")
            self.end.name.setText("relative error")
        else:
            at_end = error * (view.measured_s / view.planned_s) ** 0.5
            self.end.put(f"± {at_end:.2g}", "cm²/s")
            self.end.name.setText("at the end")
        lifetime = view.lifetime
        if lifetime is not None:
            self.lifetime.put(
                plus_minus(lifetime.lifetime_1e_ns, lifetime.lifetime_1e_stderr_ns, "ns")
            )
        else:
            self.lifetime.put(NONE)
        if self._hub.status.get("doing") not in ("scan", "series"):
            self._show_rates(view.count_rate_hz, view.sync_rate_hz)
        state = view.ending or "measuring"
        what = view.sample or view.plan.kind
        words = (
            f"<b>{view.path.name}</b> – {what}, begun {view.created[:16].replace('T', ' ')} – "
            f"{state}, {view.done:,} of {view.planned:,} visits, map "
            f"{duration(view.measured_s)} of {duration(view.planned_s)}"
        )
        if view.analysis is not None and not serious(view.analysis):
            words += " – no warnings"
        self.words.setText(words)
        self.words.setToolTip(str(view.path))

    def _draw_map(self) -> None:
        view = self._shown
        if view is None:
            return
        found, zero_ns = view.map, self._zero_ns
        exposure_s = np.where(found.exposure_s > 0, found.exposure_s, np.nan)
        values, t_ns = found.counts / exposure_s[:, None], found.t_ns - zero_ns
        archive: dict[str, NDArray[Any]] = {
            "counts": found.counts, "x_um": found.x_um, "t_ns": found.t_ns,
            "exposure_s": found.exposure_s, "time_zero_ns": np.array(zero_ns),
        }  # fmt: skip
        mode = self.mode.currentData()
        quantity = Quantity("counts per bin", "1/s")
        levels = None
        if mode == "normalised":
            values, t_ns = normalised(values, t_ns)
            values[:, t_ns < BEFORE_NS] = np.nan
            quantity, levels = Quantity("share of the maximum"), (0.0, 1.0)
        self.map.put(
            values, t_ns, found.x_um, log=mode == "log", levels=levels, archive=archive,
            value=quantity,
        )  # fmt: skip

    def _draw_course(self) -> None:
        view = self._shown
        if view is None:
            return
        factor, unit = (1.0, "s") if view.planned_s < 300 else (60.0, "min")
        if view.planned_s >= 3 * 3600:
            factor, unit = 3600.0, "h"
        self.course.set_quantities(x=Quantity("time measured", unit))
        at, d = view.history.measured_s / factor, view.history.d_cm2_per_s
        error = view.history.d_stderr_cm2_per_s
        self.course.put("d", at, d, error)
        end = max(view.planned_s / factor, float(at[-1]) if at.size else 0.0)
        if at.size == 0:
            self.course.put("to come")
            self.course.fix(x=(0.0, end or 1.0))
            return
        if end > at[-1] * 1.0001:
            ahead = np.linspace(at[-1], end, 40)
            self.course.put(
                "to come", ahead, np.full(40, d[-1]), error[-1] * np.sqrt(at[-1] / ahead)
            )
        else:
            self.course.put("to come")
        self.course.fix(x=(0.0, end))
        # what the first visits said is far off and would make the axis useless
        known = error < 4 * error[-1]
        low, high = (d - 1.2 * error)[known].min(), (d + 1.2 * error)[known].max()
        self.course.frame(y=(min(0.0, float(low)) if low < d[-1] / 4 else float(low), float(high)))

    def _draw_msd(self) -> None:
        fit = self._analysis()
        if fit is None:
            return
        curve = fit.msd
        good = np.zeros(0, np.bool_)
        if curve is not None:
            good = np.isfinite(curve.msd_um2 + curve.stderr_um2)
        if curve is None or not good.any():
            self.msd.put("msd")
            self.msd.put("line")
            self.msd.note.setText("none yet")
            return
        t_ns, msd, error = pooled(
            curve.t_ns[good] - self._zero_ns, curve.msd_um2[good], curve.stderr_um2[good], POINTS
        )
        self.msd.put("msd", t_ns, msd, error)
        has_line = np.isfinite(curve.line_um2)
        line_t, line = curve.t_ns[has_line] - self._zero_ns, curve.line_um2[has_line]
        band = None
        if fit.d_stderr_cm2_per_s is not None:
            band = 0.2 * fit.d_stderr_cm2_per_s * np.maximum(line_t, 0)  # 2 σ_D t, 0.1 µm²/ns each
        self.msd.put("line", line_t, line, band)
        known = error < 3 * np.median(error)
        top = max(float(line.max(initial=0.0)), float((msd + error)[known].max(initial=0.0)))
        low = min(0.0, float((msd - error)[known].min(initial=0.0)))
        self.msd.frame(x=(min(0.0, float(t_ns[0])), float(t_ns[-1])), y=(max(low, -top), top))
        alpha = fit.alpha
        self.msd.note.setText(
            "" if alpha is None else f"∝ tᵅ, α = {plus_minus(alpha, fit.alpha_stderr)}"
        )

    def _draw_decay(self) -> None:
        view = self._shown
        if view is None:
            return
        total = view.map.counts.sum(axis=0)
        t_ns, counts = binned(view.t_ns - self._zero_ns, total.astype(np.float64), COLUMNS)
        self.decay.put("decay", t_ns, counts)
        lowest = counts[counts > 0]
        if lowest.size:
            low = max(float(np.quantile(lowest, 0.02)), float(counts.max()) * 1e-6)
            self.decay.fix(x=(float(t_ns[0]), float(t_ns[-1])))
            self.decay.frame(y=(low, float(counts.max())))
        fit = view.decay
        if fit is None:
            self.decay.put("fit")
            self.decay.note.clear()
            return
        # the fit is of all positions; the map of a cross shows one of its lines
        part = float(total.sum()) / max(float(fit.observed.sum()), 1.0)
        scale = part if part < 0.9 else 1.0
        self.decay.put("fit", *binned(fit.t_ns - self._zero_ns, scale * fit.predicted, COLUMNS))
        self.decay.note.setText(lifetimes(fit))
        self.decay.note.setToolTip(str(fit))

    # -- slices ----------------------------------------------------------------------------

    def _analysis(self) -> MapFit | None:
        return None if self._shown is None else self._shown.analysis

    def _set_spans(self) -> None:
        """Make the sliders' stops: neighbouring slices with enough counts together."""
        fit = self._analysis()
        self._spans = [] if fit is None else spans(fit, self._zero_ns)
        for i, slider in enumerate(self.sliders):
            slider.blockSignals(True)
            slider.setRange(0, max(len(self._spans) - 1, 0))
            slider.setEnabled(len(self._spans) > 1)
            slider.blockSignals(False)
            self._put_slider(i)

    def _put_slider(self, i: int) -> None:
        """Put a slider to the time that was chosen for it."""
        if not self._spans:
            return
        wanted = self._wanted_ns[i]
        if wanted is None:
            at = round(START_AT[i] * (len(self._spans) - 1))
        else:
            at = int(np.argmin([abs(span.middle_ns - wanted) for span in self._spans]))
        self.sliders[i].blockSignals(True)
        self.sliders[i].setValue(at)
        self.sliders[i].blockSignals(False)

    def _slid(self, i: int) -> Callable[[int], None]:
        def slid(at: int) -> None:
            if at < len(self._spans):
                self._wanted_ns[i] = self._spans[at].middle_ns
                self._draw_slices()

        return slid

    def _dragged(self, name: str, at_ns: float) -> None:
        i = int(name.rsplit(" ", 1)[1]) - 1
        self._wanted_ns[i] = at_ns
        self._put_slider(i)
        self._draw_slices(keep=name)

    def _draw_slices(self, keep: str = "") -> None:
        fit = self._analysis()
        for i in range(SLICES):
            name = f"slice {i + 1}"
            if fit is None or not self._spans:
                for curve in (f"data {i + 1}", f"fit {i + 1}"):
                    self.slices.put(curve)
                self.residuals.put(name)
                self.map.show_line(name, False)
                self.times[i].setText(NONE)
                continue
            span = self._spans[min(self.sliders[i].value(), len(self._spans) - 1)]
            seen = fit.observed[:, span.first : span.last].sum(axis=1)
            expected = fit.predicted[:, span.first : span.last].sum(axis=1)
            top = max(float(expected.max()), 1e-9)
            sigma = np.sqrt(np.maximum(expected, 1.0))
            self.slices.put(f"data {i + 1}", fit.x_um, seen / top, sigma / top)
            self.slices.put(f"fit {i + 1}", fit.x_um, expected / top)
            self.residuals.put(name, fit.x_um, (seen - expected) / sigma)
            self.times[i].setText(f"{i + 1}: {span.from_ns:.2f}–{span.to_ns:.2f} ns")
            if name != keep:
                self.map.move_line(name, span.middle_ns)
            self.map.show_line(name, True)
        if fit is not None and self._shown is not None and self._spans:
            x_um = self._shown.map.x_um
            ends = (float(x_um.min()), float(x_um.max()))
            self.slices.frame(x=ends, y=(0.0, 1.15))
            self.residuals.frame(x=ends)
            self.residuals.fix(y=(-4.5, 4.5))

    # -- words -----------------------------------------------------------------------------

    def _say_warnings(self) -> None:
        fit = self._analysis()
        found = [] if fit is None else serious(fit)
        c = theme.colours()
        lines = [
            f'<span style="color:{c.warn}">▲ <b>{w.code}</b></span> {_html(w.message)}'
            for w in found
        ]
        if fit is not None and not lines:
            lines = [f'<span style="color:{c.dim}">no warnings</span>']
        text = "<br>".join(lines)
        if text != self.warnings.text():
            self.warnings.setText(text)
        self._quiet = 0 if found else self._quiet + 1
        is_over = self._shown is not None and self._shown.is_final
        self.warnings_area.setVisible(bool(found) or (self._quiet <= QUIET and not is_over))

    def _recolour(self) -> None:
        c = theme.colours()
        for figure in self.figures:
            figure.recolour()
        for i, label in enumerate(self.times):
            label.setStyleSheet(f"color: {c.series[i]}; font-weight: 600;")
        self._say_warnings()


def percent(share: float, digits: int) -> str:
    """Write a share in per cent, with a space that does not break."""
    return f"{100 * share:.{digits}f}\u00a0%"


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def serious(fit: MapFit) -> list[FitWarning]:
    """The warnings of an analysis without its remarks."""
    return [warning for warning in fit.warnings if not warning.is_remark]


def spans(fit: MapFit, zero_ns: float) -> list[_Span]:
    """Give the windows in time that a slider steps through, each with enough counts."""
    if fit.observed.size == 0:
        return []
    counts = fit.observed.sum(axis=0)
    t_ns = fit.slice_t_ns - zero_ns
    total = counts.cumsum()
    wanted = min(max(LEAST_COUNTS, PART_OF_ALL * total[-1]), MOST_OF_ALL * total[-1])
    edges = np.concatenate([t_ns[:1], (t_ns[1:] + t_ns[:-1]) / 2, t_ns[-1:]])
    found: list[_Span] = []
    for first in range(counts.size):
        before = total[first] - counts[first]
        last = int(np.searchsorted(total, before + wanted * (1 - 1e-9))) + 1
        if last > counts.size:
            break
        weight = counts[first:last]
        middle = float(np.average(t_ns[first:last], weights=weight if weight.sum() > 0 else None))
        found.append(_Span(first, last, middle, float(edges[first]), float(edges[last])))
    return found


def pooled(t_ns: F64, values: F64, errors: F64, points: int) -> tuple[F64, F64, F64]:
    """Weighted means of neighbouring points, at most so many."""
    if t_ns.size <= points:
        return t_ns, values, errors
    weight = 1 / np.maximum(errors, 1e-12) ** 2
    starts = np.unique(np.linspace(0, t_ns.size, points, endpoint=False).astype(int))
    total = np.add.reduceat(weight, starts)
    mean_t = np.add.reduceat(weight * t_ns, starts) / total
    return mean_t, np.add.reduceat(weight * values, starts) / total, 1 / np.sqrt(total)


def binned(t_ns: F64, values: F64, columns: int) -> tuple[F64, F64]:
    """Means of neighbouring values, at most so many; of a table along its last axis."""
    step = -(-t_ns.size // columns)
    if step <= 1:
        return t_ns, values
    starts = np.arange(0, t_ns.size, step)
    sizes = np.diff(np.append(starts, t_ns.size))
    return (
        np.asarray(np.add.reduceat(t_ns, starts) / sizes),
        np.asarray(np.add.reduceat(values, starts, axis=-1) / sizes),
    )


def normalised(values: F64, t_ns: F64) -> tuple[F64, F64]:
    """Divide each time by its own maximum, neighbouring times averaged against noise."""
    t_ns, values = binned(t_ns, values, COLUMNS)
    half = max(1, t_ns.size // 128)
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    at = np.arange(t_ns.size)
    left, right = np.maximum(at - half, 0), np.minimum(at + half + 1, t_ns.size)
    smooth = (sums[:, right] - sums[:, left]) / (right - left)
    measured = np.isfinite(smooth).any(axis=1)
    top = smooth[measured].max(axis=0) if measured.any() else np.zeros(t_ns.size)
    return np.divide(smooth, top, out=np.zeros_like(smooth), where=top > 0) + 0 * smooth, t_ns


def lifetimes(fit: DecayModelFit) -> str:
    """The lifetimes of a decay in a line."""
    match fit:
        case StretchedFit():
            return (
                f"τ = {plus_minus(fit.lifetime_ns, fit.lifetime_stderr_ns, 'ns')}, "
                f"β = {plus_minus(fit.beta, fit.beta_stderr)}"
            )
        case PromptDelayedFit():
            return (
                f"prompt τ = {plus_minus(fit.lifetime_ns, fit.lifetime_stderr_ns, 'ns')}, "
                f"delayed {percent(1 - fit.prompt_fraction, 1)}"
            )
        case DecayFit() if len(fit.lifetime_ns) > 1:
            parts = zip(fit.lifetime_ns, fit.lifetime_stderr_ns, fit.photon_share, strict=True)
            return "τ = " + ", ".join(
                f"{plus_minus(t, e, 'ns')} ({percent(share, 0)})" for t, e, share in parts
            )
        case DecayFit():
            return f"τ = {plus_minus(fit.lifetime_ns[0], fit.lifetime_stderr_ns[0], 'ns')}"
    return fit.model
