"""What several views share: a light with a shape, a field for a quantity, names of the devices."""

import math
from typing import Any, Literal

from PyQt6.QtCore import QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from PyQt6.QtWidgets import QLabel, QLineEdit, QSizePolicy, QWidget

from tplm_config import InstrumentProfile
from tplm_gui import theme

ROLES: dict[str, str] = {
    "laser": "Laser",
    "shutter": "Shutter",
    "attenuator": "ND wheel",
    "power_meter": "Power meter",
    "detection_attenuator": "Detection ND",
    "card": "Timing card",
    "detector_stage": "Detector",
    "sample_stage": "Sample",
    "temperature": "Temperature",
}
"""What the roles are called at the table, in the order of the light."""
Lamp = Literal["ready", "busy", "failed", "absent", "closed", "careful"]
"""Filled disc, ring with a dot, square with a cross, dash, empty ring, triangle with a bar."""
LAMP_PX = 14


def finite(value: object) -> float | None:
    """A read-back as a number that can be shown; None for None, true, false and NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def zero_shift_um(before: InstrumentProfile, after: InstrumentProfile) -> tuple[float, float]:
    """How far every place of the map moves when another profile has another zero, sample plane."""
    there = before.stage_position_um(0.0, 0.0)
    zero, one = after.stage_position_um(0.0, 0.0), after.stage_position_um(1.0, 1.0)
    return (there[0] - zero[0]) / (one[0] - zero[0]), (there[1] - zero[1]) / (one[1] - zero[1])


def moved_image(image: dict[str, Any], dx_um: float, dy_um: float) -> dict[str, Any]:
    """An "image" event of which every place has moved."""
    return {
        **image,
        "x_um": [x + dx_um for x in image["x_um"]],
        "y_um": [y + dy_um for y in image["y_um"]],
    }


class StateLight(QWidget):
    """A light that says its state by shape and by colour."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setFixedSize(LAMP_PX, LAMP_PX)
        self.lamp: Lamp = "absent"
        theme.notifier.changed.connect(self.update)

    def show_lamp(self, lamp: Lamp, words: str) -> None:
        """Show a state; the words are its tooltip, and what a screen reader says."""
        self.lamp = lamp
        self.setToolTip(words)
        self.setAccessibleName(words)
        self.update()

    def paintEvent(self, a0: QPaintEvent | None) -> None:  # noqa: D102, N802
        colours = theme.colours()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(1.5, 1.5, LAMP_PX - 3, LAMP_PX - 3)
        ink = QColor(theme.colours().background)
        match self.lamp:
            case "ready":
                _fill(painter, colours.good)
                painter.drawEllipse(box)
            case "busy":
                painter.setPen(QPen(QColor(colours.accent), 2))
                painter.drawEllipse(box.adjusted(0.5, 0.5, -0.5, -0.5))
                _fill(painter, colours.accent)
                painter.drawEllipse(box.center(), 2.2, 2.2)
            case "failed":
                _fill(painter, colours.bad)
                painter.drawRoundedRect(box, 2, 2)
                painter.setPen(QPen(ink, 1.8))
                inner = box.adjusted(3, 3, -3, -3)
                painter.drawLine(inner.topLeft(), inner.bottomRight())
                painter.drawLine(inner.topRight(), inner.bottomLeft())
            case "careful":
                _fill(painter, colours.warn)
                top = QPointF(box.center().x(), box.top())
                painter.drawPolygon(QPolygonF([top, box.bottomRight(), box.bottomLeft()]))
                painter.setPen(QPen(ink, 1.6))
                middle = box.center().x()
                painter.drawLine(QPointF(middle, 5.5), QPointF(middle, 9.0))
                painter.drawPoint(QPointF(middle, 11.0))
            case "closed":
                painter.setPen(QPen(QColor(colours.dim), 1.5))
                painter.drawEllipse(box.adjusted(0.5, 0.5, -0.5, -0.5))
            case "absent":
                painter.setPen(QPen(QColor(colours.dim), 2))
                level = box.center().y()
                painter.drawLine(QPointF(3, level), QPointF(LAMP_PX - 3, level))
        painter.end()


def _fill(painter: QPainter, colour: str) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))


class ElidedLabel(QLabel):
    """One line that gives way: what does not fit ends in an ellipsis and is in the tooltip."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setMinimumWidth(0)

    def minimumSizeHint(self) -> QSize:  # noqa: D102, N802
        return QSize(0, super().minimumSizeHint().height())

    def paintEvent(self, a0: QPaintEvent | None) -> None:  # noqa: D102, N802
        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        line = QFontMetrics(self.font()).elidedText(
            self.text(), Qt.TextElideMode.ElideRight, self.width()
        )
        painter.drawText(self.rect(), int(self.alignment()), line)
        painter.end()


class NumberField(QLineEdit):
    """A quantity within limits; it leaves the field on Enter only, never while one types.

    The limits stand in the empty field. A decimal comma is taken for a point.

    Parameters
    ----------
    name : str
        Object name.
    what : str
        The quantity in words, for its sentences.
    unit : str
        As typed and shown.
    """

    entered = pyqtSignal(float)
    """A number within the limits was given by Enter or `enter`."""
    refused = pyqtSignal(str)
    """Something else was given; the sentence says what is wrong."""

    def __init__(self, name: str, what: str, unit: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(f"{what}{f' in {unit}' if unit else ''}")
        self.setMinimumWidth(40)
        self._what, self._unit = what, unit
        self._low, self._high = -math.inf, math.inf
        self._whose = self._why = ""
        self.returnPressed.connect(self.enter)
        self.textChanged.connect(self._judge)
        theme.notifier.changed.connect(self._judge)
        self._judge()

    def set_limits(self, low: float, high: float, whose: str = "", why: str = "") -> None:
        """Allow low to high; ``whose`` limits they are, and more words for the tooltip."""
        self._low, self._high, self._whose, self._why = low, high, whose, why
        self.setPlaceholderText(_span(low, high))
        self._judge()

    def number(self) -> float | None:
        """What is typed, if it is a number within the limits."""
        return None if self.problem() else float(self._plain())

    def _plain(self) -> str:
        return self.text().strip().replace(",", ".").replace("−", "-")

    def problem(self) -> str:
        """What is wrong with what is typed, in a sentence; empty: nothing."""
        text = self._plain()
        if not text:
            return f"{self._what}: no number is given"
        try:
            value = float(text)
        except ValueError:
            return f"{self._what}: '{text}' is not a number"
        if not math.isfinite(value):
            return f"{self._what}: a finite number is needed"
        unit = f" {self._unit}" if self._unit else ""
        if not self._low <= value <= self._high:
            bound, word = (
                (self._low, "below the lowest")
                if value < self._low
                else (self._high, "above the highest")
            )
            return f"{self._what}: {value:g}{unit} is {word} allowed, {bound:g}{unit}{self._whose}"
        return ""

    def enter(self) -> None:
        """Give what is typed, as Enter does."""
        if problem := self.problem():
            self.refused.emit(problem)
        else:
            self.entered.emit(float(self._plain()))

    def _judge(self) -> None:
        """Colour what cannot be taken, and say why in the tooltip."""
        problem = self.problem() if self.text().strip() else ""
        palette = QPalette()
        if problem:
            palette.setColor(QPalette.ColorRole.Text, QColor(theme.colours().bad))
        self.setPalette(palette)
        unit = f" {self._unit}" if self._unit else ""
        allowed = f"{self._what}: {_span(self._low, self._high)}{unit}{self._whose}"
        why = f"; {self._why}" if self._why else ""
        self.setToolTip(problem or f"{allowed}{why}. Enter sends it.")


def _span(low: float, high: float) -> str:
    """Limits in words."""
    if math.isinf(low) and math.isinf(high):
        return "any"
    if math.isinf(high):
        return f"from {low:.4g}"
    if math.isinf(low):
        return f"to {high:.4g}"
    return f"±{high:.4g}" if low == -high else f"{low:.4g} … {high:.4g}"
