"""A form made from any model of `tplm_config`: a widget for each field, checked as one types.

Nothing is changed by being shown: a field that nobody touched gives back the very value it was
given, and what is hidden stays as it was.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import cache
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QFontMetrics, QKeyEvent, QValidator, QWheelEvent
from PyQt6.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tplm_config.errors import faults
from tplm_gui import theme

UNITS = {
    "_uj_per_cm2": "µJ/cm²",
    "_k_per_min": "K/min",
    "_um": "µm",
    "_nm": "nm",
    "_ns": "ns",
    "_ps": "ps",
    "_nw": "nW",
    "_mb": "MB",
    "_hz": "Hz",
    "_s": "s",
    "_k": "K",
}
"""Suffix of a name, and the unit it stands for; the first that fits."""
NAMES = {
    "card": "TCSPC card",
    "detection": "light on the detector",
    "fly": "measure in flight",
    "adaptive": "dwell where it tells most",
    "share": "share the night",
    "irf": "instrument response",
    "centring": "find the peak",
    "conditions": "conditions that pause the run",
    "every_visits": "after every … visits",
    "sample_xy_um": "spot on the sample x, y, µm",
    "sync": "sync signal",
    "edge_nm": "edge of the nanocrystals, nm",
    "raw": "T3 records to keep",
    "by": "judged by",
    "on_failure": "when a device fails",
    "then": "then",
    "scan": "scan at each point",
    "axes": "what is swept",
    "points": "points one by one",
    "notify": "command to call, one word a line",
}
"""Fields whose own name says too little."""
LONG_TEXT = 10_000
"""A text that may be this long has room for several lines."""
LIST_ROWS = 3
MANY = 40
"""Longer lists of tables are not laid out: they stay as they are."""
SPARSE = 4
"""A table of at least so many fields that may all be left out shows only those it has."""
INDENT_PX = 14


def label_of(name: str) -> str:
    """A field's name for people: ``half_range_um`` is "half range, µm"."""
    if name in NAMES:
        return NAMES[name]
    for suffix, unit in UNITS.items():
        if name.endswith(suffix) and name != suffix.lstrip("_"):
            return f"{name.removesuffix(suffix).replace('_', ' ')}, {unit}"
    return name.replace("_", " ")


def number_text(value: object) -> str:
    """The shortest text that is read back as this very number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    text = repr(value)
    if isinstance(value, float):
        short = f"{value:g}"
        text = short if float(short) == value else text.removesuffix(".0")
    return re.sub(r"e([+-])0*(\d)", lambda e: f"e{e[1].strip('+')}{e[2]}", text)


# -- what the annotations say ------------------------------------------------------------------


def _unwrapped(annotation: Any) -> tuple[Any, bool]:
    """An annotation without None and `Annotated`, and whether None is allowed."""
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType) and NoneType in get_args(annotation):
            optional = True
            rest = tuple(a for a in get_args(annotation) if a is not NoneType)
            annotation = Union[rest]  # noqa: UP007 - made from a list
        else:
            return annotation, optional


def _models(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The models an annotation allows; none if it allows anything else."""
    plain, _ = _unwrapped(annotation)
    of = get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)
    each = tuple(_unwrapped(a)[0] for a in of)
    fits = all(isinstance(a, type) and issubclass(a, BaseModel) for a in each)
    return each if fits else ()


def _limits(info: FieldInfo) -> dict[str, Any]:
    """Constraints of a field, also those of the type beside None."""
    metadata = [*info.metadata]
    annotation = info.annotation
    while get_origin(annotation) in (Union, UnionType, Annotated):
        args = get_args(annotation)
        if get_origin(annotation) is Annotated:
            metadata += args[1:]
        annotation = next((a for a in args if a is not NoneType), None)
    found: dict[str, Any] = {}
    for each in metadata:
        for inner in (each, *getattr(each, "metadata", ())):
            for name in ("gt", "ge", "lt", "le", "min_length", "max_length"):
                value = getattr(inner, name, None)
                if value is not None:
                    found[name] = value
    return found


def _bounds_in_words(limits: Mapping[str, Any]) -> str:
    words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
    parts = [f"{words[name]} {limits[name]:g}" for name in words if name in limits]
    return ", ".join(parts)


def _tip(name: str, info: FieldInfo) -> str:
    """Description, limits and the name in a TOML file."""
    plain, optional = _unwrapped(info.annotation)
    parts = [" ".join((info.description or "").split()).replace("``", '"')]
    bounds = _bounds_in_words(_limits(info)) if plain in (int, float) else ""
    if bounds:
        parts.append(f"{bounds[0].upper()}{bounds[1:]}.")
    if optional and not _models(info.annotation):
        parts.append("Empty: left as it is.")
    parts.append(f"In a file: {name}")
    return "\n".join(part for part in parts if part)


# -- one value ---------------------------------------------------------------------------------


class _Leaf(QWidget):
    """A widget for one value; untouched, it gives back what it was given."""

    changed = pyqtSignal()

    def __init__(self, name: str, info: FieldInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._given: Any = None
        self._as_given = ""
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.widget = self._make(info)
        self.widget.setToolTip(_tip(name, info))
        self.widget.setAccessibleName(label_of(name))
        layout.addWidget(self.widget)
        if self.widget.sizePolicy().horizontalPolicy() == QSizePolicy.Policy.Fixed:
            layout.addStretch()
        self.setFocusProxy(self.widget)

    def _make(self, info: FieldInfo) -> QWidget:
        raise NotImplementedError

    def _render(self, value: Any) -> None:
        raise NotImplementedError

    def _content(self) -> str:
        raise NotImplementedError

    def _read(self, text: str) -> Any:
        raise NotImplementedError

    def take(self, value: Any) -> None:
        """Show a value."""
        blocked = self.blockSignals(True)
        self._given = value
        self._render(value)
        self._as_given = self._content()
        self.blockSignals(blocked)

    def value(self) -> Any:
        """What it says now; text where no value can be made of it."""
        content = self._content()
        return self._given if content == self._as_given else self._read(content)

    def summary(self) -> str:
        """The value in few characters."""
        return self._content()


class NumberEdit(QAbstractSpinBox):
    """A number as one types it: any notation, no rounding, arrow keys change its last digits.

    Parameters
    ----------
    limits : mapping
        ``gt``, ``ge``, ``lt``, ``le``; arrows do not step over them.
    whole : bool
        Steps of 1.
    """

    changed = pyqtSignal()

    def __init__(
        self, limits: Mapping[str, float] | None = None, whole: bool = False,
        parent: QWidget | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._limits = dict(limits or {})
        self._whole = whole
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFixedWidth(QFontMetrics(self.font()).averageCharWidth() * 18)
        self._line().textChanged.connect(self.changed)

    def _line(self) -> QLineEdit:
        return cast(QLineEdit, self.lineEdit())

    def content(self) -> str:
        """What is typed."""
        return self._line().text()

    def set_content(self, text: str) -> None:
        """Replace what is typed."""
        self._line().setText(text)
        self._line().setCursorPosition(0)

    def validate(self, text: str | None, position: int) -> tuple[QValidator.State, str, int]:
        """Anything may be typed; what is wrong is said beside it."""
        return QValidator.State.Acceptable, text or "", position

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:  # noqa: N802
        """Arrows work wherever there is a number."""
        if self.isReadOnly() or self._number() is None:
            return QAbstractSpinBox.StepEnabledFlag.StepNone
        flags = QAbstractSpinBox.StepEnabledFlag
        return flags.StepUpEnabled | flags.StepDownEnabled

    def stepBy(self, steps: int) -> None:  # noqa: N802
        """A step is a tenth of the leading digit's place, or 1 for a whole number."""
        number = self._number()
        if number is None:
            return
        step = Decimal(1)
        if not self._whole:
            step = Decimal(10) ** (number.adjusted() - 1) if number else Decimal("0.1")
        stepped = number + steps * step
        if self._allows(stepped):
            self._line().setText(number_text(int(stepped) if self._whole else float(stepped)))

    def _number(self) -> Decimal | None:
        try:
            number = Decimal(self.content().strip())
        except InvalidOperation:
            return None
        return number if number.is_finite() and abs(number.adjusted()) < 300 else None

    def _allows(self, number: Decimal) -> bool:
        tests: dict[str, Callable[[float], bool]] = {
            "gt": lambda low: number > Decimal(low),
            "ge": lambda low: number >= Decimal(low),
            "lt": lambda high: number < Decimal(high),
            "le": lambda high: number <= Decimal(high),
        }
        return all(test(self._limits[name]) for name, test in tests.items() if name in self._limits)

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """The wheel scrolls the form; it never changes a number."""
        if event is not None:
            event.ignore()


class _Number(_Leaf):
    def _make(self, info: FieldInfo) -> QWidget:
        plain, self._optional = _unwrapped(info.annotation)
        self._type = int if plain is int else float
        self.box = NumberEdit(_limits(info), whole=self._type is int)
        if self._optional:
            self.box._line().setPlaceholderText("as it is")
        self.box.changed.connect(self.changed)
        return self.box

    def _render(self, value: Any) -> None:
        self.box.set_content("" if value is None else number_text(value))

    def _content(self) -> str:
        return self.box.content().strip()

    def _read(self, text: str) -> Any:
        if not text and self._optional:
            return None
        return _number(text, self._type)


def _number(text: str, of: type[int] | type[float]) -> int | float | str:
    for kind in (of, float):
        with suppress(ValueError):
            return kind(text)
    return text  # the model says what is wrong with it


class _Pair(_Leaf):
    """Two numbers, side by side."""

    def _make(self, info: FieldInfo) -> QWidget:
        _, self._optional = _unwrapped(info.annotation)
        both = QWidget()
        layout = QHBoxLayout(both)
        layout.setContentsMargins(0, 0, 0, 0)
        self.boxes = (NumberEdit(), NumberEdit())
        for box, which in zip(self.boxes, ("first", "second"), strict=True):
            box.setFixedWidth(QFontMetrics(self.font()).averageCharWidth() * 12)
            box.setAccessibleName(which)
            if self._optional:
                box._line().setPlaceholderText("as it is")
            box.changed.connect(self.changed)
            layout.addWidget(box)
        layout.addStretch()
        both.setFocusProxy(self.boxes[0])
        return both

    def _render(self, value: Any) -> None:
        for box, each in zip(self.boxes, value or (None, None), strict=True):
            box.set_content("" if each is None else number_text(each))

    def _content(self) -> str:
        return ", ".join(box.content().strip() for box in self.boxes)

    def _read(self, text: str) -> Any:
        parts = [part.strip() for part in text.split(",", 1)]
        if self._optional and not any(parts):
            return None
        return tuple(_number(part, float) for part in parts)


class _Text(_Leaf):
    def _make(self, info: FieldInfo) -> QWidget:
        self.line = QLineEdit()
        self.line.textChanged.connect(self.changed)
        return self.line

    def _render(self, value: Any) -> None:
        self.line.setText(value or "")
        self.line.setCursorPosition(0)

    def _content(self) -> str:
        return self.line.text()

    def _read(self, text: str) -> Any:
        return text


class _Lines(_Leaf):
    """Text of several lines."""

    def _make(self, info: FieldInfo) -> QWidget:
        self.area = QPlainTextEdit()
        self.area.setTabChangesFocus(True)
        height = QFontMetrics(self.area.font()).lineSpacing() * LIST_ROWS + 12
        self.area.setFixedHeight(height)
        self.area.textChanged.connect(self.changed)
        return self.area

    def _render(self, value: Any) -> None:
        self.area.setPlainText(value or "")

    def _content(self) -> str:
        return self.area.toPlainText()

    def _read(self, text: str) -> Any:
        return text


class _Words(_Lines):
    """A tuple of texts, one a line."""

    def _render(self, value: Any) -> None:
        self.area.setPlainText("\n".join(value or ()))

    def _read(self, text: str) -> Any:
        return tuple(line for line in text.splitlines() if line.strip())


class _Numbers(_Lines):
    """A list of numbers, pasted from anywhere: commas, semicolons, tabs, line ends."""

    def _make(self, info: FieldInfo) -> QWidget:
        _, self._optional = _unwrapped(info.annotation)
        area = super()._make(info)
        self.area.setFixedHeight(QFontMetrics(self.area.font()).lineSpacing() * 2 + 12)
        self.area.setPlaceholderText("numbers, such as 1, 2, 5; or pasted from a table")
        return area

    def _render(self, value: Any) -> None:
        self.area.setPlainText(", ".join(number_text(each) for each in value or ()))

    def _read(self, text: str) -> Any:
        parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
        if self._optional and not parts:
            return None
        return tuple(_number(part, float) for part in parts)


class _Pairs(_Numbers):
    """A list of spots, one a line."""

    def _make(self, info: FieldInfo) -> QWidget:
        area = super()._make(info)
        self.area.setPlaceholderText("a spot a line, such as 12.5, -3")
        return area

    def _render(self, value: Any) -> None:
        rows = (", ".join(number_text(each) for each in spot) for spot in value or ())
        self.area.setPlainText("\n".join(rows))

    def _read(self, text: str) -> Any:
        spots = tuple(
            tuple(_number(part, float) for part in re.split(r"[\s,;]+", line.strip()) if part)
            for line in text.splitlines()
            if line.strip()
        )
        return None if self._optional and not spots else spots

    def summary(self) -> str:
        return "; ".join(self._content().splitlines())


class _Box(QComboBox):
    """A choice that the wheel does not change."""

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """The wheel scrolls the form."""
        if event is not None:
            event.ignore()


class _Choice(_Leaf):
    def _make(self, info: FieldInfo) -> QWidget:
        plain, optional = _unwrapped(info.annotation)
        self._choices = [*([None] if optional else []), *get_args(plain)]
        self.box = _Box()
        self.box.addItems(["" if choice is None else str(choice) for choice in self._choices])
        self.box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.box.currentIndexChanged.connect(self.changed)
        return self.box

    def _render(self, value: Any) -> None:
        self.box.setCurrentIndex(self._choices.index(value) if value in self._choices else -1)

    def _content(self) -> str:
        return self.box.currentText()

    def _read(self, text: str) -> Any:
        return self._choices[self.box.currentIndex()]


class _Tick(_Leaf):
    def _make(self, info: FieldInfo) -> QWidget:
        self.box = QCheckBox()
        self.box.toggled.connect(self.changed)
        return self.box

    def _render(self, value: Any) -> None:
        self.box.setChecked(bool(value))

    def _content(self) -> str:
        return "yes" if self.box.isChecked() else "no"

    def _read(self, text: str) -> Any:
        return text == "yes"


def _leaf(name: str, info: FieldInfo) -> _Leaf | None:
    """A widget for a field that is no table; None for what no form can show."""
    plain, _ = _unwrapped(info.annotation)
    kind: type[_Leaf] | None = {bool: _Tick, int: _Number, float: _Number}.get(plain)
    if plain is str:
        kind = _Lines if _limits(info).get("max_length", 0) >= LONG_TEXT else _Text
    elif get_origin(plain) is Literal:
        kind = _Choice
    elif get_origin(plain) is tuple:
        kind = _of_tuple(get_args(plain))
    return None if kind is None else kind(name, info)


def _of_tuple(args: tuple[Any, ...]) -> type[_Leaf] | None:
    each = [_unwrapped(arg)[0] for arg in args if arg is not Ellipsis]
    endless = Ellipsis in args
    if each == [str] and endless:
        return _Words
    if each == [float] and endless:
        return _Numbers
    if each == [float, float] and not endless:
        return _Pair
    if len(each) == 1 and endless and get_origin(each[0]) is tuple:
        return _Pairs
    return None


# -- tables ------------------------------------------------------------------------------------


class _Note(QLabel):
    """What is wrong, below the field it is wrong with."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()

    def say(self, sentence: str) -> None:
        """Show a sentence, or nothing."""
        self.setText(sentence)
        self.setStyleSheet(f"color: {theme.colours().bad};" if sentence else "")
        self.setVisible(bool(sentence))


class _Row:
    """One field of a table: label, widget, what is wrong; models that agree on it share it."""

    def __init__(
        self, name: str, path: str, info: FieldInfo, of: "_Leaf | _Table | _Tables"
    ) -> None:
        self.name = name
        self.info = info
        self.editor = of
        self.label: QLabel | None = None
        self.note = _Note(f"{path}-problem")
        self.shown = True

    def show(self, shown: bool) -> None:
        """Show or hide the whole row."""
        self.shown = shown
        self.editor.setVisible(shown)
        if self.label is not None:
            self.label.setVisible(shown)
        self.note.setVisible(shown and bool(self.note.text()))

    def complain(self, parts: Sequence[str], sentence: str) -> None:
        """Put a sentence beside the field, or into it where it is a table."""
        if isinstance(self.editor, _Leaf):
            if not self.note.text():
                self.note.say(sentence)
                self.note.setVisible(self.shown)
        else:
            self.editor.complain(parts, sentence)

    def forgive(self) -> None:
        """Take back what was said."""
        self.note.say("")
        if not isinstance(self.editor, _Leaf):
            self.editor.forgive()


class _Table(QFrame):
    """The fields of one model, or of one of several that a tag tells apart."""

    changed = pyqtSignal()

    def __init__(
        self,
        models: Sequence[type[BaseModel]],
        path: str,
        *,
        title: str = "",
        optional: bool = False,
        hidden: Sequence[str] = (),
        order: Sequence[str] = (),
        tip: str = "",
        label_px: int = 0,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._models = models
        self._path = path
        self._tag = _tag_field(models)
        self._optional = optional
        self._hidden = tuple(hidden)
        self._order = tuple(order)
        self._given: dict[str, Any] = {}
        self._extra: set[str] = set()
        self._all: list[_Row] = []
        self.setObjectName(path or "form")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(2)
        self._tick: QCheckBox | None = None
        self._arrow: QToolButton | None = None
        self._summary = QLabel()
        self.note = _Note(f"{path or 'form'}-problem")
        if title:
            outer.addWidget(self._header(title, tip))
        outer.addWidget(self.note)
        self.body = QWidget()
        self._grid = QGridLayout(self.body)
        self._grid.setContentsMargins(INDENT_PX if title else 0, 0, 0, 4 if title else 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        fields = self._fields()
        self._label_px = max(label_px - INDENT_PX, self._widest_label(fields))
        self._grid.setColumnMinimumWidth(0, self._label_px)
        outer.addWidget(self.body)
        self._kind = _Box()
        if self._tag:
            self._add_tag()
        for name, info in fields:
            self._add_row(name, info)
        self._rows_of = {
            model: {
                row.name: row
                for row in self._all
                if row.name in model.model_fields
                and _is_same(row.name, row.info, row.name, model.model_fields[row.name])
            }
            for model in models
        }
        self._more = _Box()
        if self._is_sparse():
            self._more.setObjectName(self._at("add"))
            self._more.setAccessibleName("Add a quantity")
            self._more.setToolTip("Set another quantity at each step")
            self._more.activated.connect(self._add_quantity)
            self._grid.addWidget(self._more, self._grid.rowCount(), 0, 1, 2)
            self._more.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        if title:
            self._fold(True)

    # -- making it -------------------------------------------------------------------------

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _widest_label(self, fields: Sequence[tuple[str, FieldInfo]]) -> int:
        metrics = QFontMetrics(self.font())
        scalars = [name for name, info in fields if not _is_table(info)]
        return max((metrics.horizontalAdvance(label_of(name)) for name in scalars), default=0)

    def _header(self, title: str, tip: str) -> QWidget:
        header = QWidget()
        layout = QHBoxLayout(header)
        layout.setContentsMargins(0, 2, 0, 0)
        layout.setSpacing(4)
        arrow = self._arrow = QToolButton()
        arrow.setObjectName(self._at("fold"))
        arrow.setAutoRaise(True)
        arrow.setCheckable(True)
        arrow.setAccessibleName(f"Show {title}")
        arrow.setToolTip("Show or hide the fields")
        arrow.setFixedSize(18, 18)
        arrow.clicked.connect(lambda unfold: self._fold(not unfold))
        layout.addWidget(arrow)
        words = title[0].upper() + title[1:]
        if self._optional:
            self._tick = QCheckBox(words)
            self._tick.setObjectName(self._at("tick"))
            self._tick.setToolTip(tip)
            self._tick.toggled.connect(self._ticked)
            layout.addWidget(self._tick)
        else:
            name = QLabel(words)
            name.setToolTip(tip)
            layout.addWidget(name)
        self._summary.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._summary.setEnabled(False)
        layout.addWidget(self._summary, 1)
        return header

    def _fields(self) -> list[tuple[str, FieldInfo]]:
        """Fields of all models: first those asked for, then a model's own; tables come last."""
        own: list[tuple[str, FieldInfo]] = []
        inherited: list[tuple[str, FieldInfo]] = []
        for model in self._models:
            for name, info in model.model_fields.items():
                if name in self._hidden or _is_constant(info):
                    continue
                if not any(_is_same(name, info, *each) for each in (*own, *inherited)):
                    (own if name in get_annotations(model) else inherited).append((name, info))

        def place(field: tuple[str, FieldInfo]) -> tuple[int, bool]:
            name, info = field
            first = self._order.index(name) if name in self._order else len(self._order)
            return first, _is_table(info)

        return sorted([*own, *inherited], key=place)

    def _add_tag(self) -> None:
        self._kind.setObjectName(self._at(self._tag))
        self._kind.setAccessibleName("Kind")
        self._kind.setToolTip("What is measured; fields that both kinds have keep their values")
        for model in self._models:
            words = " ".join((model.__doc__ or "").split())
            self._kind.addItem(_tag_of(model, self._tag))
            self._kind.setItemData(self._kind.count() - 1, words, Qt.ItemDataRole.ToolTipRole)
        self._kind.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._kind.currentIndexChanged.connect(self._kind_changed)
        self._grid.addWidget(QLabel(label_of(self._tag)), 0, 0)
        self._grid.addWidget(self._kind, 0, 1)

    def _add_row(self, name: str, info: FieldInfo) -> None:
        path = self._at(name)
        models = _models(info.annotation)
        below = [key.partition(".")[2] for key in self._hidden if key.startswith(f"{name}.")]
        editor: _Leaf | _Table | _Tables | None
        if models:
            editor = _Table(
                models, path, title=label_of(name), hidden=below, tip=_tip(name, info),
                optional=_unwrapped(info.annotation)[1], label_px=self._label_px,
            )  # fmt: skip
        elif _items(info):
            editor = _Tables(_items(info), path, label_of(name), _tip(name, info))
        else:
            editor = _leaf(name, info)
        if editor is None:
            return
        row = _Row(name, path, info, editor)
        self._all.append(row)
        at = self._grid.rowCount()
        editor.changed.connect(self._edited)
        if isinstance(editor, _Leaf):
            editor.widget.setObjectName(path)
            row.label = QLabel(label_of(name))
            row.label.setToolTip(_tip(name, info))
            row.label.setBuddy(editor.widget)
            top = Qt.AlignmentFlag.AlignTop if isinstance(editor, _Lines) else (
                Qt.AlignmentFlag.AlignVCenter
            )  # fmt: skip
            self._grid.addWidget(row.label, at, 0, top)
            self._grid.addWidget(editor, at, 1)
            self._grid.addWidget(row.note, at + 1, 0, 1, 2)
        else:
            self._grid.addWidget(editor, at, 0, 1, 2)

    # -- what it says ----------------------------------------------------------------------

    @property
    def model(self) -> type[BaseModel]:
        """The model it is now."""
        return self._models[max(self._kind.currentIndex(), 0)]

    @property
    def rows(self) -> dict[str, _Row]:
        """The fields of that model, by name."""
        return self._rows_of[self.model]

    @property
    def is_on(self) -> bool:
        """Whether it is a table at all, or None."""
        return self._tick is None or self._tick.isChecked()

    def take(self, value: Mapping[str, Any] | None) -> None:
        """Show plain values; what is not given has its default."""
        blocked = self.blockSignals(True)
        self._extra.clear()
        if self._tick is not None:
            self._tick.setChecked(value is not None)
        given = dict(value or {})
        if self._tag:
            tags = [_tag_of(model, self._tag) for model in self._models]
            tag = given.get(self._tag, tags[0])
            self._kind.setCurrentIndex(tags.index(tag) if tag in tags else 0)
        fields = self.model.model_fields
        self._given = given
        mine = self.rows
        for row in self._all:
            is_mine = mine.get(row.name) is row
            info = fields[row.name] if is_mine else row.info
            is_given = is_mine and row.name in given
            row.editor.take(given[row.name] if is_given else _default(info))
        self._arrange()
        if self._arrow is not None:
            self._fold(True)
        self.blockSignals(blocked)

    def value(self) -> dict[str, Any] | None:
        """Plain values for the model, or None where it is not ticked."""
        if not self.is_on:
            return None
        fields = self.model.model_fields
        shown = {name: row.editor.value() for name, row in self.rows.items()}
        kept = {
            name: value
            for name, value in self._given.items()
            if name in fields and name not in shown
        }
        tag = {self._tag: _tag_of(self.model, self._tag)} if self._tag else {}
        return {**kept, **shown, **tag}

    def summary(self) -> str:
        """What differs from the defaults, in a line."""
        if not self.is_on:
            return ""
        said = []
        fields = self.model.model_fields
        for name, row in self.rows.items():
            value = row.editor.value()
            if value in (None, _default(fields[name])):
                continue
            if isinstance(row.editor, _Leaf):
                what, _, unit = label_of(name).rpartition(", ")
                words = f"{what} {row.editor.summary()} {unit}" if what else (
                    f"{unit} {row.editor.summary()}"
                )  # fmt: skip
            else:
                words = label_of(name)
            said.append(" ".join(words.split()))
        return " · ".join(said) or "as usual"

    # -- what is wrong ---------------------------------------------------------------------

    def complain(self, parts: Sequence[str], sentence: str) -> None:
        """Put a sentence beside the field that is meant, or that the sentence names."""
        self._fold(False)
        row = self.rows.get(parts[0]) if parts else self._named_in(sentence)
        if row is not None and row.shown:
            row.complain(parts[1:], sentence)
        elif not self.note.text():
            about = f"{label_of(parts[0])}: " if parts else ""
            self.note.say(f"{about}{sentence}")

    def _named_in(self, sentence: str) -> _Row | None:
        """The row whose name comes first in a sentence."""
        found = {
            name: match.start()
            for name, row in self.rows.items()
            if row.shown and (match := re.search(rf"(?<![\w.]){name}\b", sentence))
        }
        return self.rows[min(found, key=found.__getitem__)] if found else None

    def forgive(self) -> None:
        """Take back every sentence."""
        self.note.say("")
        for row in self._all:
            row.forgive()

    # -- what happens to it ----------------------------------------------------------------

    def _edited(self) -> None:
        self._summarise()
        self.changed.emit()

    def _kind_changed(self) -> None:
        self._arrange()
        self.changed.emit()

    def _ticked(self, on: bool) -> None:
        self._fold(not on)
        self.changed.emit()

    def _is_sparse(self) -> bool:
        return len(self._all) >= SPARSE and all(
            not row.info.is_required() and row.info.default is None for row in self._all
        )

    def _add_quantity(self, index: int) -> None:
        name = self._more.itemData(index)
        if name:
            self._extra.add(name)
            self._arrange()
            self.rows[name].editor.setFocus()

    def _arrange(self) -> None:
        """Show the rows that this kind of table has."""
        fields, mine = self.model.model_fields, self.rows
        sparse = self._is_sparse()
        for row in self._all:
            wanted = mine.get(row.name) is row
            if wanted and isinstance(row.editor, _Leaf) and row.label is not None:
                tip = _tip(row.name, fields[row.name])
                row.editor.widget.setToolTip(tip)
                row.label.setToolTip(tip)
            if sparse:
                wanted = wanted and (row.name in self._extra or row.editor.value() is not None)
            row.show(wanted)
        if sparse:
            self._more.clear()
            self._more.addItem("add a quantity …", "")
            for row in self._all:
                if not row.shown:
                    self._more.addItem(label_of(row.name), row.name)
        self._summarise()

    def _fold(self, folded: bool) -> None:
        if self._arrow is None:
            return
        shown = not folded and self.is_on
        self.body.setVisible(shown)
        self._arrow.setChecked(shown)
        self._arrow.setEnabled(self.is_on)
        self._arrow.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self._summarise()

    def _summarise(self) -> None:
        if self._arrow is None:
            return
        text = "" if self._arrow.isChecked() else self.summary()
        self._summary.setText(text)
        self._summary.setToolTip(text)


class _Tables(QFrame):
    """A list of tables, such as the axes of a series."""

    changed = pyqtSignal()

    def __init__(
        self, models: Sequence[type[BaseModel]], path: str, title: str, tip: str,
        parent: QWidget | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self.setObjectName(path)
        self._models = models
        self._path = path
        self._given: tuple[Any, ...] = ()
        self._tables: list[_Table] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 2)
        layout.setSpacing(4)
        head = QHBoxLayout()
        self._title = QLabel(title[0].upper() + title[1:])
        self._title.setToolTip(tip)
        head.addWidget(self._title)
        self._words = QLabel()
        self._words.setEnabled(False)
        head.addWidget(self._words, 1)
        add = QPushButton("Add")
        add.setObjectName(f"{path}.more")
        add.setToolTip(f"Add one more to {title}")
        add.setAutoDefault(False)
        add.clicked.connect(self._add)
        self._add_button = add
        head.addWidget(add)
        layout.addLayout(head)
        self.note = _Note(f"{path}-problem")
        layout.addWidget(self.note)
        self._list = QVBoxLayout()
        self._list.setSpacing(4)
        layout.addLayout(self._list)

    def take(self, value: Sequence[Mapping[str, Any]] | None) -> None:
        """Show plain values, one table each, unless they are too many."""
        self._given = tuple(value or ())
        while self._tables:
            self._remove(self._tables[-1])
        if not self._is_too_long:
            for each in self._given:
                self._append(each)
        self._recount()

    @property
    def _is_too_long(self) -> bool:
        return len(self._given) > MANY

    def value(self) -> tuple[Any, ...]:
        """Plain values, one for each table."""
        if self._is_too_long:
            return self._given
        return tuple(table.value() for table in self._tables)

    def complain(self, parts: Sequence[str], sentence: str) -> None:
        """Put a sentence into the table that is meant."""
        if parts and parts[0].isdigit() and int(parts[0]) < len(self._tables):
            self._tables[int(parts[0])].complain(parts[1:], sentence)
        elif not self.note.text():
            self.note.say(sentence)

    def forgive(self) -> None:
        """Take back every sentence."""
        self.note.say("")
        for table in self._tables:
            table.forgive()

    def _append(self, value: Mapping[str, Any]) -> _Table:
        frame = QFrame()
        frame.setFrameShape(QFrame.Shape.StyledPanel)
        layout = QHBoxLayout(frame)
        layout.setContentsMargins(6, 4, 4, 4)
        table = _Table(self._models, f"{self._path}[{len(self._tables)}]")
        table.take(value)
        table.changed.connect(self.changed)
        layout.addWidget(table, 1)
        away = QToolButton()
        away.setText("×")
        away.setObjectName(f"{self._path}[{len(self._tables)}].away")
        away.setAccessibleName("Take this away")
        away.setToolTip("Take this away")
        away.setAutoRaise(True)
        away.clicked.connect(lambda: self._take_away(table))
        layout.addWidget(away, 0, Qt.AlignmentFlag.AlignTop)
        self._list.addWidget(frame)
        self._tables.append(table)
        return table

    def _add(self) -> None:
        self._append({})
        self._recount()
        self.changed.emit()

    def _remove(self, table: _Table) -> None:
        self._tables.remove(table)
        frame = cast(QWidget, table.parentWidget())
        self._list.removeWidget(frame)
        frame.setParent(None)
        frame.deleteLater()

    def _take_away(self, table: _Table) -> None:
        self._remove(table)
        self._recount()
        self.changed.emit()

    def _recount(self) -> None:
        self._add_button.setEnabled(not self._is_too_long)
        text = "" if self._tables else "none"
        if self._is_too_long:
            text = f"{len(self._given)} of them, kept as they are; edit them in the file"
        self._words.setText(text)


def _is_table(info: FieldInfo) -> bool:
    return bool(_models(info.annotation) or _items(info))


def _items(info: FieldInfo) -> tuple[type[BaseModel], ...]:
    """The models of a list of tables."""
    plain, _ = _unwrapped(info.annotation)
    args = get_args(plain)
    if get_origin(plain) is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _models(args[0])
    return ()


def _is_same(name: str, info: FieldInfo, other_name: str, other: FieldInfo) -> bool:
    """Whether two models mean the same by a field."""
    return name == other_name and info.annotation == other.annotation


def _is_constant(info: FieldInfo) -> bool:
    """Whether a field can have but one value, such as the tag of a table."""
    plain, optional = _unwrapped(info.annotation)
    return get_origin(plain) is Literal and len(get_args(plain)) == 1 and not optional


def _tag_field(models: Sequence[type[BaseModel]]) -> str:
    """The field that tells several models apart; none of a single one."""
    if len(models) < 2:
        return ""
    infos = models[0].model_fields
    return next((name for name, info in infos.items() if _is_constant(info)), "")


def _tag_of(model: type[BaseModel], tag: str) -> str:
    """What the tag of a model says."""
    plain, _ = _unwrapped(model.model_fields[tag].annotation)
    return str(get_args(plain)[0])


def _default(info: FieldInfo) -> Any:
    """The default as plain values; None where there is none."""
    if info.is_required():
        return None
    default = info.get_default(call_default_factory=True)
    return _plain(default)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    return value


@cache
def _schema(adapter_of: Any) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    adapter: TypeAdapter[Any] = TypeAdapter(adapter_of)
    return adapter, adapter.json_schema()


class ModelForm(QWidget):
    """A form for any model of `tplm_config`.

    Parameters
    ----------
    model_class : type or union of types
        A model, or several with a ``kind`` that tells them apart, such as `AnyScanPlan`.
    values : BaseModel, optional
        What it shows first; the defaults if not given.
    hidden : sequence of str
        Dotted keys that are not shown; they stay as they are.
    order : sequence of str
        Keys that come first; then a model's own fields, those it shares, and tables.
    """

    changed = pyqtSignal()

    def __init__(
        self,
        model_class: Any,
        values: BaseModel | None = None,
        *,
        hidden: Sequence[str] = (),
        order: Sequence[str] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._adapter, self._schema = _schema(model_class)
        self._table = _Table(_models(model_class), "", hidden=hidden, order=order)
        self._value: BaseModel | None = None
        self._problems: list[str] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        layout.addStretch()
        self._table.changed.connect(self._edited)
        theme.notifier.changed.connect(self._check)
        self.set_value(values)

    def set_value(self, value: BaseModel | None) -> None:
        """Show a value, or the defaults."""
        self._table.take(None if value is None else value.model_dump())
        self._edited()

    def value(self) -> Any:
        """The model as the form has it, or None if something is wrong with it."""
        return self._value

    def problems(self) -> list[str]:
        """What is wrong, one sentence for each fault."""
        return list(self._problems)

    def complain(self, key: str, sentence: str) -> None:
        """Put a sentence beside a field, such as one an instrument has; the next edit removes it.

        Parameters
        ----------
        key : str
            Dotted; empty if only the sentence tells which field is meant.
        sentence : str
            What is wrong.
        """
        name = next((p for p in reversed(_parts(key)) if not p.isdigit()), "")
        what = label_of(name).rpartition(", ")[0] or label_of(name)
        self._problems.append(f"{what}: {sentence}" if name else sentence)
        self._table.complain(_parts(key), sentence)

    def forgive(self) -> None:
        """Take back what an instrument had against it; the form's own faults stay."""
        self._check()

    def _edited(self) -> None:
        self._check()
        self.changed.emit()

    def _check(self) -> None:
        self._table.forgive()
        self._problems = []
        self._value = None
        try:
            self._value = self._adapter.validate_python(self._table.value())
        except ValidationError as error:
            for fault in faults(error, self._schema):
                problem = fault.problem
                if problem in ('found ""', "found null"):
                    problem = "nothing is given"
                self.complain(fault.key, f"{problem}; {fault.allowed}".rstrip("; "))
        except ArithmeticError as error:
            self.complain("", f"the numbers cannot be used: {error}")

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Return stays in the form; nothing begins by accident."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
                event.ignore()
            return
        super().keyPressEvent(event)


def _parts(key: str) -> list[str]:
    return re.findall(r"[^.\[\]]+", key)


def finite(text: str) -> float | None:
    """A number above 0 that was typed, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None
