"""The plots that all views share: curves and maps that one can read off, zoom and export.

Over every plot stand its title, what lies under the pointer in numbers with units, and a menu
(also on the right button) that writes the data as CSV or NPZ and the picture as PNG or SVG. Axes
are steady: they change only when the data leave them or fill too little of them, and stay as the
person zoomed them until *Show all* (also a double click).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from PyQt6.QtCore import QEvent, QObject, QPoint, QRect, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QAction, QColor, QImage, QPainter, QPaintEvent
from PyQt6.QtSvg import QSvgGenerator
from PyQt6.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tplm_gui import theme
from tplm_gui.words import plus_minus

pg.setConfigOptions(antialias=False, imageAxisOrder="row-major")

F64 = NDArray[np.float64]
Range = tuple[float, float]
Style = Literal["line", "dashes", "points", "steps"]
PICTURE_SCALE = 2.0
"""Pixels of an exported picture for each of the screen."""
FILLED = 0.45
"""Share of a steady axis below which it is fitted to the data anew."""
NAMED = (1, 2, 5)
"""Ticks of each power of ten that have a number."""
FEWEST_PIXELS = 64
SMOOTH_FROM = 2.0
"""Width from which lines are drawn smoothly."""
NOT_MEASURED = 0
"""Index of the colour of what was not measured; 1 to 255 are the colour map."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What an axis shows.

    Attributes
    ----------
    name, unit : str
        As on the axis: "time (ns)".
    """

    name: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def of(self, value: float) -> str:
        """Write a value with its unit."""
        return f"{number(value)} {self.unit}".rstrip()


def number(value: float) -> str:
    """Write a value with four digits and a proper minus."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.4g}"
    return text.replace("-", "−") if "e" not in text else text.replace("e-0", "e-").replace("+", "")


def steady(old: Range | None, low: float, high: float) -> Range:
    """Give a range that holds the data and changes seldom.

    Parameters
    ----------
    old : (float, float) or None
        The range so far; kept while the data are in it and fill enough of it.
    low, high : float
        The data; not finite: none.

    Returns
    -------
    (float, float)
        Its ends are round numbers: multiples of 1, 2, 2.5 or 5 times a power of
        ten.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return old or (0.0, 1.0)
    span = high - low
    if old is not None and old[0] <= low and high <= old[1] and span >= FILLED * (old[1] - old[0]):
        return old
    if span <= 0:
        span = abs(high) or 1.0
        low, high = low - span / 2, high + span / 2
    rough = span / 10
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(s * ten for s in (1, 2, 2.5, 5, 10) if s * ten >= rough * (1 - 1e-9))
    return (math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


class Axis(pg.AxisItem):  # type: ignore[misc]  # it has no types
    """An axis that, if logarithmic, names 1, 2 and 5 of each power of ten and no others."""

    def logTickStrings(  # noqa: N802 - pyqtgraph's name
        self, values: list[float], scale: float, spacing: float | None
    ) -> list[str]:
        """Write the ticks."""
        written: list[str] = super().logTickStrings(values, scale, spacing)
        first = [round(10 ** (value - math.floor(value + 1e-9))) for value in values]
        return [text if d in NAMED else "" for d, text in zip(first, written, strict=True)]


class Elided(QLabel):
    """A label that ends in … where there is no room, rather than ask for it."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def paintEvent(self, a0: QPaintEvent | None) -> None:  # noqa: N802
        """Draw as much of the text as fits."""
        del a0
        painter = QPainter(self)
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.rect(), int(self.alignment()), text)


class Plot(QWidget):
    """What curves and maps have in common; not made itself.

    Parameters
    ----------
    key : str
        Name of the object, and of files it is exported to.
    title : str
        Over the plot.
    x, y : Quantity
        Axes.
    """

    moved = pyqtSignal(str, float)
    """A line was dragged: its name, and where it is now."""
    said = pyqtSignal(str, str)
    """Level and sentence about an export, for `Hub.tell`."""

    def __init__(
        self, key: str, title: str, x: Quantity, y: Quantity, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName(key)
        self.setAccessibleName(title)
        self.x_axis, self.y_axis = x, y
        self._lines: dict[str, tuple[Any, int | str]] = {}
        self._is_held = False
        self._x_range: Range | None = None
        self._y_range: Range | None = None
        self.title = QLabel(title)
        self.title.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.note = Elided()
        """What the view has to say about the plot, beside its title."""
        self.note.setObjectName(f"{key}-note")
        self.readout = Elided()
        self.readout.setObjectName(f"{key}-readout")
        self.readout.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.readout.hide()
        self.menu = self._menu(key)
        button = QToolButton()
        button.setObjectName(f"{key}-menu")
        button.setText("⋯")
        button.setAutoRaise(True)
        button.setToolTip("Show all, export data or picture (also on the right button)")
        button.setAccessibleName(f"menu of {title}")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        button.setMenu(self.menu)
        self.header = QHBoxLayout()
        self.header.setContentsMargins(4, 0, 0, 0)
        self.header.setSpacing(6)
        self.header.addWidget(self.title)
        self.header.addWidget(self.note, 1)
        self.header.addWidget(self.readout, 1)
        self.header.addWidget(button)
        self.canvas = pg.GraphicsLayoutWidget()
        self.canvas.ci.layout.setContentsMargins(2, 8, 6, 2)
        self.canvas.ci.layout.setSpacing(4)
        self.canvas.setFrameShape(self.canvas.Shape.NoFrame)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(1)
        box.addLayout(self.header)
        box.addWidget(self.canvas, 1)
        self.plot = self.canvas.addPlot(axisItems={side: Axis(side) for side in ("left", "bottom")})
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.disableAutoRange()
        self.plot.setLabel("bottom", str(x))
        self.plot.setLabel("left", str(y))
        for side in ("bottom", "left"):
            self.plot.getAxis(side).enableAutoSIPrefix(False)
        self.view = self.plot.getViewBox()
        self.view.sigRangeChangedManually.connect(self._hold)
        self.canvas.scene().sigMouseMoved.connect(self._hovered)
        viewport = self.canvas.viewport()
        viewport.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        viewport.customContextMenuRequested.connect(self._open_menu)
        viewport.installEventFilter(self)
        theme.notifier.changed.connect(self.recolour)

    def _menu(self, key: str) -> QMenu:
        menu = QMenu(self)
        menu.setObjectName(f"{key}-actions")

        def add(name: str, words: str, do: Callable[[], None]) -> None:
            action = QAction(words, self)
            action.setObjectName(f"{key}-{name}")
            action.triggered.connect(lambda _=False: do())
            menu.addAction(action)

        add("show-all", "Show &all", self.show_all)
        menu.addSeparator()
        add("csv", "Data as &CSV …", lambda: self._choose("csv"))
        add("npz", "Data as &NPZ …", lambda: self._choose("npz"))
        menu.addSeparator()
        add("png", "Picture as &PNG …", lambda: self._choose("png"))
        add("svg", "Picture as &SVG …", lambda: self._choose("svg"))
        add("copy", "Copy pic&ture", self.copy_picture)
        return menu

    def _open_menu(self, at: QPoint) -> None:
        self.menu.popup(self.canvas.viewport().mapToGlobal(at))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Clear the read-out when the pointer leaves; show all at a double click."""
        if event is not None and watched is self.canvas.viewport():
            if event.type() is QEvent.Type.Leave:
                self._say("")
            elif event.type() is QEvent.Type.MouseButtonDblClick:
                self.show_all()
        return super().eventFilter(watched, event)

    def set_quantities(self, x: Quantity | None = None, y: Quantity | None = None) -> None:
        """Change what the axes mean."""
        for side, name, wanted in (("bottom", "x_axis", x), ("left", "y_axis", y)):
            if wanted is not None and wanted != getattr(self, name):
                setattr(self, name, wanted)
                self.plot.setLabel(side, str(wanted))

    # -- ranges ----------------------------------------------------------------------------

    def _hold(self, _: object) -> None:
        self._is_held = True

    def frame(self, x: Range | None = None, y: Range | None = None) -> None:
        """Say what the axes have to hold; they are made round and steady.

        On a logarithmic axis these are values, not exponents.
        """
        if x is not None:
            self._x_range = steady(self._x_range, *self._round(x, self._log_x))
        if y is not None:
            self._y_range = steady(self._y_range, *self._round(y, self._log_y))
        if not self._is_held:
            self._apply_ranges()

    def fix(self, x: Range | None = None, y: Range | None = None) -> None:
        """Set the axes to just these values."""
        if x is not None:
            self._x_range = self._on_axis(x, self._log_x)
        if y is not None:
            self._y_range = self._on_axis(y, self._log_y)
        if not self._is_held:
            self._apply_ranges()

    def show_all(self) -> None:
        """Undo what the person zoomed."""
        self._is_held = False
        self._apply_ranges()

    def forget_ranges(self) -> None:
        """Let the next data decide the axes afresh."""
        self._x_range = self._y_range = None
        self._is_held = False

    def _apply_ranges(self) -> None:
        for set_range, wanted, now in (
            (self.view.setXRange, self._x_range, self.view.viewRange()[0]),
            (self.view.setYRange, self._y_range, self.view.viewRange()[1]),
        ):
            if wanted is not None and tuple(now) != wanted and wanted[1] > wanted[0]:
                set_range(*wanted, padding=0)

    _log_x = False
    _log_y = False

    def _round(self, values: Range, is_log: bool) -> Range:
        """Values on the axis; of a logarithmic one the powers of ten around them."""
        low, high = self._on_axis(values, is_log)
        if not (is_log and math.isfinite(low) and math.isfinite(high)):
            return low, high
        low = math.floor(low + 1e-9)
        return low, max(math.ceil(high - 1e-9), low + 1)

    @staticmethod
    def _on_axis(values: Range, is_log: bool) -> Range:
        if not is_log:
            return values
        low, high = (math.log10(v) if v > 0 else math.nan for v in values)
        return low, high

    # -- lines that can be dragged ---------------------------------------------------------

    def add_line(
        self,
        name: str,
        at: float,
        *,
        colour: int | str = "dim",
        label: str = "",
        tip: str = "",
        movable: bool = False,
        horizontal: bool = False,
    ) -> None:
        """Draw a straight line across the plot; `moved` tells when it is dragged."""
        line = pg.InfiniteLine(
            at,
            angle=0 if horizontal else 90,
            movable=movable,
            label=label or None,
            labelOpts={"position": 0.94, "movable": False, "fill": None},
        )
        if tip:
            line.setToolTip(tip)
        line.setZValue(20)
        line.sigDragged.connect(lambda moved: self.moved.emit(name, float(moved.value())))
        self.plot.addItem(line, ignoreBounds=True)
        self._lines[name] = (line, colour)
        self._colour_line(line, colour)

    def move_line(self, name: str, at: float) -> None:
        """Put a line elsewhere; `moved` says nothing."""
        self._lines[name][0].setValue(at)

    def show_line(self, name: str, shown: bool) -> None:
        """Show or hide a line."""
        self._lines[name][0].setVisible(shown)

    def line_at(self, name: str) -> float:
        """Where a line is."""
        return float(self._lines[name][0].value())

    def _colour_line(self, line: Any, colour: int | str) -> None:
        line.setPen(pg.mkPen(paint(colour), width=2 if line.movable else 1))
        line.setHoverPen(pg.mkPen(paint(colour), width=4))
        if (label := getattr(line, "label", None)) is not None:
            label.setColor(paint(colour))

    # -- colours ---------------------------------------------------------------------------

    def recolour(self) -> None:
        """Take the colours of the theme."""
        c = theme.colours()
        self.canvas.setBackground(c.background)
        self.title.setStyleSheet(f"font-weight: 600; color: {c.text};")
        for label in (self.note, self.readout):
            label.setStyleSheet(f"color: {c.dim};")
        for side in ("bottom", "left"):
            axis = self.plot.getAxis(side)
            axis.setPen(pg.mkPen(c.grid))
            axis.setTextPen(pg.mkPen(c.text))
        for line, colour in self._lines.values():
            self._colour_line(line, colour)

    # -- reading off -----------------------------------------------------------------------

    def _hovered(self, at: Any) -> None:
        if not self.plot.vb.sceneBoundingRect().contains(at):
            self._say("")
            return
        point = self.view.mapSceneToView(at)
        x = 10.0 ** point.x() if self._log_x else point.x()
        y = 10.0 ** point.y() if self._log_y else point.y()
        self._say(self.read_at(x, y))

    def _say(self, text: str) -> None:
        """Show a read-out in the place of the note."""
        self.readout.setText(text)
        self.readout.setVisible(bool(text))
        self.note.setVisible(not text)

    def read_at(self, x: float, y: float) -> str:
        """Say in words what is drawn at a place."""
        raise NotImplementedError

    # -- export ----------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is drawn, by names for an NPZ file."""
        raise NotImplementedError

    def csv_lines(self) -> list[str]:
        """All that is drawn, as lines of a CSV file."""
        raise NotImplementedError

    def export(self, path: str | Path) -> None:
        """Write data (.csv, .npz) or picture (.png, .svg).

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the name ends in something else.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".csv":
                path.write_text("\n".join(self.csv_lines()) + "\n", encoding="utf-8")
            case ".npz":
                with path.open("wb") as file:
                    np.savez_compressed(file, **self.arrays())  # type: ignore[arg-type]
            case ".png":
                if not self.picture().save(str(path)):
                    raise OSError(0, "the picture cannot be written there", str(path))
            case ".svg":
                self._write_svg(path)
            case other:
                raise ValueError(f"'{other}' is not one of .csv, .npz, .png, .svg")

    def picture(self) -> QImage:
        """The plot as it stands on the screen, in twice its pixels."""
        image = QImage(self.size() * PICTURE_SCALE, QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(PICTURE_SCALE)
        image.fill(QColor(theme.colours().panel))
        painter = QPainter(image)
        self.render(painter, QPoint())
        painter.end()
        return image

    def copy_picture(self) -> None:
        """Put the picture on the clipboard."""
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setImage(self.picture())

    def _write_svg(self, path: Path) -> None:
        path.touch()  # the generator does not tell what it could not open
        drawing = QSvgGenerator()
        drawing.setFileName(str(path))
        drawing.setTitle(self.title.text())
        drawing.setSize(self.size())
        drawing.setViewBox(QRect(QPoint(), self.size()))
        painter = QPainter(drawing)
        font = QApplication.font()
        painter.setFont(font)
        painter.setPen(QColor(theme.colours().text))
        top = self.canvas.y()
        painter.drawText(QRect(4, 0, self.width() - 8, top), 0, self.title.text())
        self.canvas.render(painter, self.canvas.geometry().toRectF(), self.canvas.rect())
        painter.end()

    def _choose(self, suffix: str) -> None:
        dialog = QFileDialog(self, f"Write {suffix.upper()}", f"{self.objectName()}.{suffix}")
        dialog.setObjectName(f"{self.objectName()}-dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilter(f"{suffix.upper()} (*.{suffix})")
        dialog.setDefaultSuffix(suffix)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.export_and_tell)
        dialog.show()  # not open(): Stop must be in reach

    def export_and_tell(self, path: str) -> None:
        """Write a file and say so, or why not."""
        try:
            self.export(path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self.said.emit("error", f"{path} was not written: {why}.")
        else:
            self.said.emit("info", f"{path} written.")

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for a plot that can be read."""
        return QSize(360, 220)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Smallest plot of any use."""
        return QSize(160, 110)


@dataclass(slots=True)
class _Curve:
    """A curve and the items that draw it."""

    label: str
    colour: int | str
    style: Style
    width: float
    item: Any
    bounds: tuple[Any, ...] = ()
    x: F64 = field(default_factory=lambda: np.zeros(0))
    y: F64 = field(default_factory=lambda: np.zeros(0))
    error: F64 | None = None


class CurvePlot(Plot):
    """Curves over one axis.

    Parameters
    ----------
    key, title, x, y
        As of `Plot`.
    log_x, log_y : bool
        Logarithmic axes; what is not positive is not drawn.
    legend : bool
        Name the curves that have a label in a corner.
    """

    def __init__(
        self,
        key: str,
        title: str,
        x: Quantity,
        y: Quantity,
        *,
        log_x: bool = False,
        log_y: bool = False,
        legend: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(key, title, x, y, parent)
        self._log_x, self._log_y = log_x, log_y
        self.plot.setLogMode(x=log_x, y=log_y)
        for side, is_log in (("bottom", log_x), ("left", log_y)):
            if is_log:  # name the powers of ten only
                self.plot.getAxis(side).setStyle(maxTextLevel=0)
        self.plot.showGrid(x=True, y=True, alpha=0.25)
        self._curves: dict[str, _Curve] = {}
        self._is_framed = False
        self.legend = self.plot.addLegend(offset=(-8, 6), verSpacing=-6) if legend else None
        self.recolour()

    def add(
        self,
        name: str,
        label: str = "",
        *,
        colour: int | str = 0,
        style: Style = "line",
        width: float = 1.5,
        size: float = 4.0,
        error: Literal["none", "band", "bars"] = "none",
    ) -> None:
        """Announce a curve.

        Parameters
        ----------
        name : str
            For `put`, and in exported files.
        label : str
            In the legend and when read off; empty: not in the legend.
        colour : int or str
            Number of a line colour, or a colour of `theme.Colours` by name.
        width, size : float
            Of lines and of points, in pixels.
        error : str
            How standard errors are shown.
        """
        symbols: dict[str, Any] = {}
        if style == "points":
            symbols = {"pen": None, "symbol": "o", "symbolSize": size, "symbolPen": None}
        # smooth lines are slow ones: for the few that are wide, never for dense data
        item = pg.PlotDataItem(connect="finite", antialias=width >= SMOOTH_FROM, **symbols)
        if style != "points":
            item.setDownsampling(auto=True, method="peak")
            item.setClipToView(True)
        bounds: tuple[Any, ...] = ()
        if error == "band":
            low, high = pg.PlotCurveItem(pen=None), pg.PlotCurveItem(pen=None)
            bounds = (low, high, pg.FillBetweenItem(low, high))
        elif error == "bars":
            bounds = (pg.PlotDataItem(connect="pairs"),)
        for bound in bounds:
            bound.setZValue(-5)
            self.plot.addItem(bound, ignoreBounds=True)
        self.plot.addItem(item)
        self._curves[name] = _Curve(label, colour, style, width, item, bounds)
        if self.legend is not None and label:
            self.legend.addItem(item, label)
        self._colour(self._curves[name])

    def put(
        self, name: str, x: ArrayLike = (), y: ArrayLike = (), error: ArrayLike | None = None
    ) -> None:
        """Give a curve its points; none: it is not drawn.

        Parameters
        ----------
        x, y : (n,)
            Points; NaN leaves a gap.
        error : (n,), optional
            Standard errors of y.
        """
        curve = self._curves[name]
        curve.x, curve.y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        curve.error = None if error is None else np.asarray(error, np.float64)
        drawn = self._drawable(curve.y, self._log_y)
        at = self._drawable(curve.x, self._log_x)
        if curve.style == "steps" and at.size > 1:
            at, drawn = _stairs(at, drawn)
        curve.item.setData(at, drawn)
        if curve.bounds:
            self._draw_error(curve)
        if not self._is_framed:
            self._frame_all()

    def _draw_error(self, curve: _Curve) -> None:
        if curve.error is None or curve.x.size == 0:
            for bound in curve.bounds[:2]:
                bound.setData(np.zeros(0), np.zeros(0))
            return
        good = np.isfinite(curve.x) & np.isfinite(curve.y) & np.isfinite(curve.error)
        if self._log_x:
            good &= curve.x > 0
        if self._log_y:
            good &= curve.y > 0
        x, y, error = curve.x[good], curve.y[good], curve.error[good]
        low, high = y - error, y + error
        if self._log_y:  # a bar that reaches below zero ends far below the value
            low = np.maximum(low, y * 1e-3)
        if len(curve.bounds) == 3:
            x = np.log10(x) if self._log_x else x
            for bound, edge in zip(curve.bounds, (low, high), strict=False):
                bound.setData(x, np.log10(edge) if self._log_y else edge)
        else:
            curve.bounds[0].setData(np.repeat(x, 2), np.column_stack([low, high]).ravel())

    @staticmethod
    def _drawable(values: F64, is_log: bool) -> F64:
        return np.where(values > 0, values, np.nan) if is_log else values

    def _frame_all(self) -> None:
        """Fit the axes to all curves."""
        filled = [c for c in self._curves.values() if c.x.size]
        if not filled:
            return
        both = []
        for values, is_log in (
            (np.concatenate([c.x for c in filled]), self._log_x),
            (np.concatenate([c.y for c in filled]), self._log_y),
        ):
            values = values[np.isfinite(values) & ((values > 0) if is_log else True)]
            both.append((float(values.min()), float(values.max())) if values.size else None)
        super().frame(*both)

    def frame(self, x: Range | None = None, y: Range | None = None) -> None:
        """Say what the axes have to hold, instead of all curves; see `Plot.frame`."""
        self._is_framed = True
        super().frame(x, y)

    def fix(self, x: Range | None = None, y: Range | None = None) -> None:
        """Set the axes to just these values, whatever the curves; see `Plot.fix`."""
        self._is_framed = True
        super().fix(x, y)

    def clear(self) -> None:
        """Draw no curve any more, and let the next ones decide the axes."""
        for name in self._curves:
            self.put(name)
        self.forget_ranges()

    def recolour(self) -> None:
        """Take the colours of the theme."""
        super().recolour()
        if self.legend is not None:
            text = theme.colours().text
            self.legend.setLabelTextColor(text)
            for _, label in self.legend.items:
                label.setText(label.text, color=text)
            self.legend.setBrush(pg.mkBrush(_faint(theme.colours().background, 190)))
        for curve in self._curves.values():
            self._colour(curve)

    def _colour(self, curve: _Curve) -> None:
        colour = paint(curve.colour)
        if curve.style == "points":
            curve.item.setSymbolBrush(pg.mkBrush(colour))
        else:
            dash = Qt.PenStyle.DashLine if curve.style == "dashes" else Qt.PenStyle.SolidLine
            curve.item.setPen(pg.mkPen(colour, width=curve.width, style=dash))
        if len(curve.bounds) == 3:
            curve.bounds[2].setBrush(pg.mkBrush(_faint(colour, 60)))
        elif curve.bounds:
            curve.bounds[0].setPen(pg.mkPen(_faint(colour, 150)))

    def data(self, name: str) -> tuple[F64, F64, F64 | None]:
        """Points of a curve, and their errors if it has any."""
        curve = self._curves[name]
        return curve.x, curve.y, curve.error

    def read_at(self, x: float, y: float) -> str:
        """Name the place, and every curve's value nearest to it."""
        del y
        said: list[str] = []
        at = x
        for name, curve in self._curves.items():
            if not np.isfinite(curve.x).any():
                continue
            nearest = int(np.nanargmin(np.abs(curve.x - x)))
            low, high = np.nanmin(curve.x), np.nanmax(curve.x)
            if not low <= curve.x[nearest] <= high or x < low or x > high:
                continue
            if not said:
                at = float(curve.x[nearest])
            value = self.y_axis.of(float(curve.y[nearest]))
            if curve.error is not None:
                error = float(curve.error[nearest])
                value = plus_minus(float(curve.y[nearest]), error, self.y_axis.unit)
            said.append(f"{curve.label or name} {value}")
        return "   ".join([f"{self.x_axis.name} {self.x_axis.of(at)}", *said])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``NAME_x``, ``NAME_y`` and ``NAME_error`` of every curve, and the axes in words."""
        found: dict[str, NDArray[Any]] = {
            "x_axis": np.array(str(self.x_axis)), "y_axis": np.array(str(self.y_axis))
        }  # fmt: skip
        for name, curve in self._curves.items():
            if curve.x.size == 0:
                continue
            found[f"{name}_x"], found[f"{name}_y"] = curve.x, curve.y
            if curve.error is not None:
                found[f"{name}_error"] = curve.error
        return found

    def csv_lines(self) -> list[str]:
        """Two or three columns for each curve, with their names and units above."""
        heads: list[str] = []
        columns: list[list[str]] = []
        for name, curve in self._curves.items():
            if curve.x.size == 0:
                continue
            title = curve.label or name
            for what, values in (
                (str(self.x_axis), curve.x),
                (str(self.y_axis), curve.y),
                (f"error of {self.y_axis}", curve.error),
            ):
                if values is not None:
                    heads.append(_cell(f"{title}: {what}"))
                    columns.append([f"{v:.9g}" if math.isfinite(v) else "" for v in values])
        rows = max((len(c) for c in columns), default=0)
        lines = [",".join(heads)]
        lines += [",".join(c[i] if i < len(c) else "" for c in columns) for i in range(rows)]
        return lines


class MapPlot(Plot):
    """A table of values as an image with a colour bar.

    Parameters
    ----------
    key, title, x, y
        As of `Plot`; columns of the table lie along x, rows along y.
    value : Quantity
        What the colours mean.
    square : bool
        The same scale along both axes, as of an image of the sample.
    """

    def __init__(
        self,
        key: str,
        title: str,
        x: Quantity,
        y: Quantity,
        value: Quantity,
        *,
        square: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(key, title, x, y, parent)
        self.value = value
        self._values: F64 = np.zeros((0, 0))
        self._x_at: F64 = np.zeros(0)
        self._y_at: F64 = np.zeros(0)
        self._archive: dict[str, NDArray[Any]] | None = None
        self._levels: Range = (0.0, 1.0)
        self._is_log = False
        self._waits = False
        self._bar_shows: tuple[object, ...] = ()
        self.image = pg.ImageItem(autoDownsample=False)
        self.plot.addItem(self.image)
        self.view.setAspectLocked(square)
        for side in ("bottom", "left"):
            self.plot.getAxis(side).setZValue(5)
        self.bar = self.canvas.addPlot(0, 1, axisItems={"right": Axis("right")})
        self.bar.setMenuEnabled(False)
        self.bar.setMouseEnabled(x=False, y=False)
        self.bar.hideButtons()
        self.bar.disableAutoRange()
        self.bar.hideAxis("left")
        # an empty axis below it keeps the bar as high as the map
        self.bar.setLabel("bottom", " ")
        self.bar.getAxis("bottom").setStyle(showValues=False, tickLength=0)
        self.bar.getAxis("bottom").setPen(pg.mkPen(None))
        self.bar.showAxis("right")
        self.bar.getAxis("right").enableAutoSIPrefix(False)
        self.bar.setFixedWidth(74)
        self.bar_image = pg.ImageItem(np.arange(1, 256, dtype=np.uint8)[:, None], levels=None)
        self.bar.addItem(self.bar_image)
        self.view.sigRangeChanged.connect(self._draw_soon)
        self.view.sigResized.connect(self._draw_soon)
        self.recolour()

    def put(
        self,
        values: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        *,
        log: bool = False,
        levels: Range | None = None,
        archive: Mapping[str, NDArray[Any]] | None = None,
        value: Quantity | None = None,
    ) -> None:
        """Show a table.

        Parameters
        ----------
        values : (rows, columns)
            NaN: not measured.
        x : (columns,)
            Middle of each column, increasing.
        y : (rows,)
            Middle of each row, increasing.
        log : bool
            Colours over the logarithm.
        levels : (float, float), optional
            Values at the ends of the colour map; otherwise steady ones that hold all values.
        archive : mapping, optional
            What an NPZ file gets instead of ``values``, ``x`` and ``y``.
        value : Quantity, optional
            What the colours mean from now on.
        """
        self._values = np.asarray(values, np.float64)
        self._x_at, self._y_at = np.asarray(x, np.float64), np.asarray(y, np.float64)
        self._archive = None if archive is None else dict(archive)
        if (value is not None and value != self.value) or log != self._is_log:
            self._levels = (0.0, 0.0)
        self.value = value or self.value
        self._is_log = log
        self._levels = levels or self._find_levels()
        self.fix(_edges(self._x_at), _edges(self._y_at))
        self._draw_bar()
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._values, self._archive = np.zeros((0, 0)), None
        self._x_at = self._y_at = np.zeros(0)
        self.image.clear()
        self.forget_ranges()

    def _find_levels(self) -> Range:
        finite = self._values[np.isfinite(self._values)]
        top = float(finite.max(initial=0.0))
        if self._is_log:
            positive = finite[finite > 0]
            if positive.size == 0:
                return (0.1, 1.0)
            # at least a decade, so that a map of single counts shows them
            low = min(max(float(positive.min()), top * 1e-4), top / 10)
            old = self._on_axis(self._levels, True) if self._levels[0] > 0 else None
            a, b = steady(old, *self._round((low, top), True))
            return 10.0**a, 10.0**b
        low = float(finite.min(initial=0.0))
        return steady(self._levels if self._levels[1] > self._levels[0] else None, low, top)

    def _draw_soon(self, *_: object) -> None:
        if not self._waits:
            self._waits = True
            QTimer.singleShot(0, self._draw)

    def _draw(self) -> None:
        """Bring what is visible of the table to the screen's columns, as indices of colours."""
        self._waits = False
        rows, columns = self._values.shape
        if rows == 0 or columns == 0:
            self.image.clear()
            return
        left, right = self.view.viewRange()[0]
        edges = _borders(self._x_at)
        first = max(int(np.searchsorted(edges, left, "right")) - 1, 0)
        last = min(max(int(np.searchsorted(edges, right, "left")), first + 1), columns)
        first = min(first, last - 1)
        pixels = max(int(self.view.width()), FEWEST_PIXELS)
        step = max((last - first) // pixels, 1)
        starts = np.arange(first, last, step)
        shown = self._values[:, first:last]
        if step > 1:
            sizes = np.diff(np.append(starts, last))
            shown = np.add.reduceat(shown, starts - first, axis=1) / sizes
        ends = (float(edges[first]), float(edges[last]))
        if _is_uneven(self._x_at):
            shown = shown[:, _nearest(self._x_at[starts], *ends, min(pixels, 1024))]
        bottom, top = _edges(self._y_at)
        if _is_uneven(self._y_at):
            shown = shown[_nearest(self._y_at, bottom, top, 512)]
        indices = self._indices(shown)
        self.image.setImage(indices, autoLevels=False, levels=None)
        self.image.setRect(ends[0], bottom, ends[1] - ends[0], top - bottom)

    def _indices(self, values: F64) -> NDArray[np.uint8]:
        low, high = self._levels
        measured = np.isfinite(values)
        values = np.where(measured, values, low)
        if self._is_log:
            low, high = math.log10(low), math.log10(high)
            values = np.log10(np.maximum(values, self._levels[0]))
        scaled = (values - low) * (254 / ((high - low) or 1.0)) + 1.5
        return np.asarray(np.where(measured, np.clip(scaled, 1, 255), NOT_MEASURED), np.uint8)

    def _draw_bar(self) -> None:
        shows = (self._levels, self._is_log, self.value)
        if shows == self._bar_shows:
            return
        self._bar_shows = shows
        low, high = self._on_axis(self._levels, self._is_log)
        high = high if high > low else low + 1.0
        self.bar.getAxis("right").setLogMode(False, self._is_log)
        self.bar.setLabel("right", str(self.value))
        self.bar_image.setRect(0.0, low, 1.0, high - low)
        self.bar.setXRange(0, 1, padding=0)
        self.bar.setYRange(low, high, padding=0)

    def recolour(self) -> None:
        """Take the colours of the theme."""
        super().recolour()
        c = theme.colours()
        table = pg.colormap.get(c.map).getLookupTable(nPts=255)
        lut = np.vstack([np.array(QColor(c.grid).getRgb()[:3], np.uint8), table[:, :3]])
        self.image.setLookupTable(lut.astype(np.uint8))
        self.bar_image.setLookupTable(lut.astype(np.uint8))
        axis = self.bar.getAxis("right")
        axis.setPen(pg.mkPen(c.grid))
        axis.setTextPen(pg.mkPen(c.text))

    def read_at(self, x: float, y: float) -> str:
        """Name the place and the value there."""
        if self._values.size == 0:
            return self._place(x, y)
        (left, right), (bottom, top) = _edges(self._x_at), _edges(self._y_at)
        if not (left <= x <= right and bottom <= y <= top):
            return self._place(x, y)
        row = int(np.abs(self._y_at - y).argmin())
        column = int(np.abs(self._x_at - x).argmin())
        value = float(self._values[row, column])
        said = self.value.of(value) if math.isfinite(value) else "not measured"
        return f"{self._place(float(self._x_at[column]), float(self._y_at[row]))}   {said}"

    def _place(self, x: float, y: float) -> str:
        return f"{self.x_axis.name} {self.x_axis.of(x)}   {self.y_axis.name} {self.y_axis.of(y)}"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The table with its axes, or what `put` was given instead."""
        if self._archive is not None:
            return self._archive
        return {"values": self._values, "x": self._x_at, "y": self._y_at}

    def csv_lines(self) -> list[str]:
        """The table; its columns' places in the first row, its rows' in the first column."""
        corner = _cell(f"{self.y_axis} \\ {self.x_axis}: {self.value}")
        lines = [",".join([corner, *(f"{v:.9g}" for v in self._x_at)])]
        for at, row in zip(self._y_at, self._values, strict=True):
            cells = (f"{v:.9g}" if math.isfinite(v) else "" for v in row)
            lines.append(",".join([f"{at:.9g}", *cells]))
        return lines


def paint(colour: int | str) -> str:
    """A colour of the theme: of a line by number, or by name; ``#rrggbb`` is itself."""
    c = theme.colours()
    if isinstance(colour, str) and colour.startswith("#"):
        return colour
    return c.series[colour % len(c.series)] if isinstance(colour, int) else str(getattr(c, colour))


def _faint(colour: str, alpha: int) -> QColor:
    made = QColor(colour)
    made.setAlpha(alpha)
    return made


def _cell(text: str) -> str:
    return f'"{text}"' if "," in text else text


def _stairs(x: F64, y: F64) -> tuple[F64, F64]:
    edges = _borders(x)
    return np.repeat(edges, 2)[1:-1], np.repeat(y, 2)


def _borders(at: F64) -> F64:
    """Borders between cells with these middles, shape ``(n + 1,)``."""
    if at.size < 2:
        return np.array([at[0] - 0.5, at[0] + 0.5]) if at.size else np.array([0.0, 1.0])
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])


def _edges(at: F64) -> Range:
    borders = _borders(at)
    return float(borders[0]), float(borders[-1])


def _is_uneven(at: F64) -> bool:
    steps = np.diff(at)
    return at.size > 2 and bool(np.ptp(steps) > 1e-3 * abs(steps.mean()))


def _nearest(at: F64, low: float, high: float, pixels: int) -> NDArray[np.intp]:
    """Which of some places each pixel between two ends shows."""
    centres = low + (np.arange(pixels) + 0.5) * ((high - low) / pixels)
    return np.searchsorted((at[1:] + at[:-1]) / 2, centres)
