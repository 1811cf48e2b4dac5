"""Moving a stage by hand: a pad with arrows, a step, a place to go to, and what is to come."""

from typing import ClassVar, Literal

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QFocusEvent, QKeyEvent, QPainter, QPaintEvent, QPen
from PyQt6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tplm_config import InstrumentProfile
from tplm_gui import theme
from tplm_gui.hub import Hub, Reply
from tplm_gui.widgets.parts import ElidedLabel, NumberField, finite
from tplm_gui.words import NONE

SAMPLE_STEPS_UM = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
IMAGE_STEPS_UM = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
ZERO_UM = 0.001
"""Positions agree when they are this close, where the profile has no larger tolerance."""
STALE = 2
"""A move that nobody tells the end of is over after so many read-backs."""

Plane = Literal["sample", "image"]


def travel_um(
    profile: InstrumentProfile, stage: str, plane: Plane
) -> tuple[tuple[float, float], ...]:
    """Lowest and highest place of each axis of a stage, in a plane, in micrometres."""
    if stage == "sample":
        role = profile.sample_stage
        return () if role is None else (role.travel_um,) * 3
    axes = (profile.detector_stage.x, profile.detector_stage.y)
    if plane == "image":
        return tuple(axis.travel_um for axis in axes)
    m = profile.optics.magnification
    ends = (
        sorted((reading - axis.zero_um) / (axis.sign * m) for reading in axis.travel_um)
        for axis in axes
    )
    return tuple((low, high) for low, high in ends)


class JogPad(QFrame):
    """Arrow buttons that move a stage by a step; arrow keys too while it has the focus."""

    jogged = pyqtSignal(int, int, bool)
    """Axis (0, 1, 2), direction (±1), whether a key that is held down repeats it."""
    halted = pyqtSignal()

    KEYS: ClassVar = {
        Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1),
        Qt.Key.Key_Down: (1, -1), Qt.Key.Key_Up: (1, 1),
        Qt.Key.Key_PageDown: (2, -1), Qt.Key.Key_PageUp: (2, 1),
    }  # fmt: skip

    def __init__(self, name: str, axes: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(f"Jog pad of the {name.removeprefix('jog-')} stage")
        keys = "arrow keys" + (" and Page Up, Page Down for z" if axes == 3 else "")
        self.setToolTip(f"Click it or press Tab, then {keys} move by a step; Space halts")
        self._axes = axes
        grid = QGridLayout(self)
        grid.setContentsMargins(3, 3, 3, 3)
        grid.setSpacing(1)
        arrow = Qt.ArrowType
        places = [
            (0, 1, arrow.UpArrow, 1, 1), (1, 0, arrow.LeftArrow, 0, -1),
            (1, 2, arrow.RightArrow, 0, 1), (2, 1, arrow.DownArrow, 1, -1),
        ]  # fmt: skip
        if axes == 3:
            places += [(0, 3, arrow.UpArrow, 2, 1), (2, 3, arrow.DownArrow, 2, -1)]
            grid.addWidget(QLabel("z"), 1, 3, Qt.AlignmentFlag.AlignCenter)
        for row, column, shape, axis, sign in places:
            button = self._button(f"{name}-{'xyz'[axis]}{'-' if sign < 0 else '+'}")
            button.setArrowType(shape)
            button.setToolTip(f"{'−' if sign < 0 else '+'}{'xyz'[axis]} by a step")
            button.setAccessibleName(button.toolTip())
            button.clicked.connect(
                lambda _=False, axis=axis, sign=sign: self.jogged.emit(axis, sign, False)
            )
            grid.addWidget(button, row, column)
        halt = self._button(f"{name}-halt")
        halt.setText("■")
        halt.setToolTip("Halt all motion (Space)")
        halt.setAccessibleName("Halt all motion")
        halt.clicked.connect(self.halted)
        grid.addWidget(halt, 1, 1)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        theme.notifier.changed.connect(self.update)

    def _button(self, name: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName(name)
        button.setFixedSize(QSize(26, 24))
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.clicked.connect(lambda: self.setFocus(Qt.FocusReason.MouseFocusReason))
        return button

    def keyPressEvent(self, a0: QKeyEvent | None) -> None:  # noqa: D102, N802
        if a0 is None:
            return
        moved = self.KEYS.get(Qt.Key(a0.key()))
        if moved is not None and moved[0] < self._axes:
            self.jogged.emit(*moved, a0.isAutoRepeat())
        elif a0.key() == Qt.Key.Key_Space:
            self.halted.emit()
        else:
            super().keyPressEvent(a0)

    def focusInEvent(self, a0: QFocusEvent | None) -> None:  # noqa: D102, N802
        super().focusInEvent(a0)
        self.update()

    def focusOutEvent(self, a0: QFocusEvent | None) -> None:  # noqa: D102, N802
        super().focusOutEvent(a0)
        self.update()

    def paintEvent(self, a0: QPaintEvent | None) -> None:  # noqa: D102, N802
        colours = theme.colours()
        painter = QPainter(self)
        colour, width = (colours.accent, 2) if self.hasFocus() else (colours.grid, 1)
        painter.setPen(QPen(QColor(colour), width))
        painter.drawRoundedRect(self.rect().adjusted(1, 1, -1, -1), 3, 3)
        painter.end()


class StageControl(QWidget):
    """Jog and go-to of one stage, and where it was sent until it is there."""

    refused = pyqtSignal(str)

    def __init__(self, hub: Hub, stage: str, profile: InstrumentProfile) -> None:
        super().__init__()
        self.setObjectName(f"control-{stage}")
        self._hub, self._stage, self._profile = hub, stage, profile
        self._axes = "xyz" if stage == "sample" else "xy"
        self._target: tuple[float, ...] | None = None
        self._plane_asked: Plane = "sample"
        self._readings = 0
        self.reading = NONE
        self.image = ElidedLabel()
        self.image.setObjectName(f"image-{stage}")
        self.asked = QLabel()
        self.asked.setObjectName(f"asked-{stage}")
        self.asked.setTextFormat(Qt.TextFormat.RichText)
        self.pad = JogPad(f"jog-{stage}", len(self._axes))
        self.pad.jogged.connect(self._jog)
        self.pad.halted.connect(self._halt)
        self.step = QComboBox()
        self.step.setObjectName(f"step-{stage}")
        self.step.setAccessibleName(f"Jog step of the {stage} stage")
        self.plane = QComboBox()
        self.plane.setObjectName(f"plane-{stage}")
        self.plane.setAccessibleName("Plane of steps and places")
        self.plane.addItem("sample", "sample")
        if stage == "detector":
            m = profile.optics.magnification
            self.plane.addItem("image", "image")
            self.plane.setToolTip(
                f"Steps and places in micrometres of the sample, or of the image, {m:g} times "
                f"larger, where the detector moves"
            )
        if stage != "detector":  # shown before it has its place it would be a window
            self.plane.hide()
        self.plane.currentIndexChanged.connect(self._take_plane)
        self.fields = [
            NumberField(f"goto-{stage}-{axis}", f"{stage} {axis}", "µm") for axis in self._axes
        ]
        for field in self.fields:
            field.entered.connect(lambda _: self._go())
            field.refused.connect(lambda _: self._go())
        self.go = QPushButton("&Go" if stage == "detector" else "Go")
        self.go.setObjectName(f"go-{stage}")
        self.go.setToolTip("Move to the place typed; an axis left empty stays where it is")
        self.go.clicked.connect(self._go)
        self._lay_out()
        self._take_plane()

    def _lay_out(self) -> None:
        choice = QHBoxLayout()
        choice.setSpacing(3)
        choice.addWidget(self.step, 1)
        choice.addWidget(self.plane, 1)
        places = QHBoxLayout()
        places.setSpacing(3)
        for axis, field in zip(self._axes, self.fields, strict=True):
            places.addWidget(QLabel(axis))
            places.addWidget(field, 1)
        self.go.setMaximumWidth(46)
        places.addWidget(self.go)
        if self._stage != "detector":
            self.image.hide()
        right = QVBoxLayout()
        right.setSpacing(2)
        right.addWidget(self.image)
        right.addWidget(self.asked)
        right.addStretch(1)
        right.addLayout(choice)
        above = QHBoxLayout()
        above.setSpacing(6)
        above.addWidget(self.pad)
        above.addLayout(right, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(above)
        column.addLayout(places)

    # -- what is read back -----------------------------------------------------------------

    def _keys(self, plane: Plane) -> list[str]:
        middle = "_image" if plane == "image" else ""
        return [f"{self._stage}{middle}_{axis}_um" for axis in self._axes]

    def place_um(self, plane: Plane) -> tuple[float, ...] | None:
        """Where the stage reads back to be; None: not known."""
        values = self._hub.readings.get("values") or {}
        found = [finite(values.get(key)) for key in self._keys(plane)]
        if len(found) == 3 and found[2] is None:
            found.pop()  # a sample stage may have no z
        known = tuple(value for value in found if value is not None)
        return known if len(known) == len(found) else None

    def take_readings(self) -> None:
        """Show where the stage is, and whether it is where it was sent."""
        here = self.place_um("sample")
        image = self.place_um("image")
        shown = NONE if image is None else place_words(image, 1)
        self.image.setText(f"image {shown} µm")
        self.image.setToolTip(f"Reading of the stage, image plane: {shown} µm")
        if self._target is not None:
            self._readings += 1
            at = self.place_um(self._plane_asked) or ()
            tolerance_um = self._tolerance_um()
            is_there = bool(at) and all(
                abs(a - b) <= tolerance_um for a, b in zip(at, self._target, strict=False)
            )
            job = (self._hub.status.get("station") or {}).get("job") or {}
            if is_there or (self._readings > STALE and job.get("kind") != "move"):
                self._target = None
        self._say()
        self.reading = NONE if here is None else f"{place_words(here, 3)} µm"

    def _tolerance_um(self) -> float:
        if self._stage == "sample":
            role = self._profile.sample_stage
            return max(ZERO_UM, 0.0 if role is None else role.tolerance_um)
        own = self._profile.detector_stage.tolerance_um
        if self._plane_asked == "image":
            return own
        return max(ZERO_UM, own / self._profile.optics.magnification)

    def _say(self) -> None:
        if self._target is None:
            self.asked.setText("")
            self.asked.setToolTip("")
            return
        digits = 1 if self._plane_asked == "image" else 3
        words = place_words(self._target, digits)
        colour = theme.colours().warn
        self.asked.setText(f"<b style='color:{colour}'>→&nbsp;{words}</b>")
        self.asked.setToolTip(f"Asked for {words} µm, {self._plane_asked} plane; not there yet")

    # -- asking ----------------------------------------------------------------------------

    def _plane(self) -> Plane:
        return "image" if self.plane.currentData() == "image" else "sample"

    def _take_plane(self) -> None:
        plane = self._plane()
        steps, chosen = (IMAGE_STEPS_UM, 2) if plane == "image" else (SAMPLE_STEPS_UM, 3)
        self.step.clear()
        for step in steps:
            self.step.addItem(f"{step:g} µm", step)
        self.step.setCurrentIndex(chosen)
        where = "image plane" if plane == "image" else "sample plane"
        self.step.setToolTip(f"How far an arrow moves, micrometres in the {where}")
        whose = f" (travel of the profile '{self._profile.name}')"
        limits = travel_um(self._profile, self._stage, plane)
        for field, (low, high) in zip(self.fields, limits, strict=True):
            field.clear()
            field.set_limits(low, high, whose, where)

    def _jog(self, axis: int, sign: int, is_repeated: bool) -> None:
        step_um = [0.0] * len(self._axes)
        step_um[axis] = sign * float(self.step.currentData())
        if is_repeated and self._target is not None:
            return  # a press counts, a held key does not: the stage would go on after it is let go
        plane = self._plane()
        is_on = self._target is not None and self._plane_asked == plane
        here = self._target if is_on else self.place_um(plane)
        if here is not None and axis < len(here):
            step_um = step_um[: len(here)]
        target = tuple(a + b for a, b in zip(here or (), step_um, strict=False))
        self._move(step_um, target or None, plane, is_relative=True)

    def _go(self) -> None:
        plane = self._plane()
        here = self.place_um(plane)
        target: list[float] = []
        for index, field in enumerate(self.fields):
            if not field.text().strip() and here is not None:
                target += here[index : index + 1]
            elif problem := field.problem():
                self.refused.emit(problem)
                return
            else:
                target.append(float(field.number() or 0.0))
        if any(field.text().strip() for field in self.fields):
            self._move(target, tuple(target), plane, is_relative=False)

    def _move(
        self, to: list[float], target: tuple[float, ...] | None, plane: Plane, *, is_relative: bool
    ) -> None:
        limits = travel_um(self._profile, self._stage, plane)
        for axis, value, (low, high) in zip(self._axes, target or (), limits, strict=False):
            if not low <= value <= high:
                self.refused.emit(
                    f"{self._stage} {axis}: {value:.4g} µm is outside the travel of the profile "
                    f"'{self._profile.name}', {low:.4g} to {high:.4g} µm; nothing moves"
                )
                return
        self._target, self._plane_asked, self._readings = target, plane, 0
        self._say()
        self._hub.ask(
            "move",
            {"stage": self._stage, "to": to, "plane": plane, "relative": is_relative},
            self._replied,
        )

    def _replied(self, reply: Reply) -> None:
        if not reply.ok:
            self.forget()
            self.refused.emit(reply.words)

    def forget(self) -> None:
        """Nothing is under way any more."""
        self._target = None
        self._say()

    def _halt(self) -> None:
        self.forget()
        self._hub.ask("halt")


def place_words(place_um: tuple[float, ...], digits: int) -> str:
    """A place as ``+1.000, −0.020``; always signed, so that nothing jumps."""
    return ", ".join(f"{value:+.{digits}f}" for value in place_um).replace("-", "−")


__all__ = ["JogPad", "StageControl", "travel_um"]
