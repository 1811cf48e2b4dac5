"""The form made from a model: nothing changed by showing it, and every fault said where it is."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtWidgets import QApplication, QCheckBox, QComboBox, QLabel, QPlainTextEdit, QWidget
from pytestqt.qtbot import QtBot

from tplm_config import (
    InstrumentProfile,
    LineScan,
    PositionScan,
    RasterScan,
    SeriesPlan,
    bundled,
    load_plan,
    load_profile,
    load_series,
)
from tplm_config.plan import AnyScanPlan
from tplm_gui.widgets.form import ModelForm, NumberEdit, label_of, number_text

_SPEC = importlib.util.spec_from_file_location(
    "plan_strategies", Path(__file__).parents[1] / "config" / "strategies.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
strategies = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(strategies)


def plan_form(qtbot: QtBot, plan: str = "line", **options: Any) -> ModelForm:
    form = ModelForm(AnyScanPlan, load_plan(plan), **options)
    qtbot.addWidget(form)
    form.show()
    return form


def find(form: ModelForm, name: str) -> Any:
    found = form.findChild(QWidget, name)
    assert found is not None, name
    return found


def type_in(qtbot: QtBot, form: ModelForm, name: str, text: str) -> None:
    """Replace a field's content as a person does."""
    field = find(form, name)
    field.setFocus()
    qtbot.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(field, Qt.Key.Key_Delete)
    qtbot.keyClicks(field, text)


def problem(form: ModelForm, name: str) -> str:
    """What stands beside a field."""
    note = form.findChild(QLabel, f"{name}-problem")
    assert note is not None, name
    return note.text() if note.isVisibleTo(form) else ""


BUNDLED = [
    *((AnyScanPlan, load_plan(name)) for name in bundled("plan")),
    *((SeriesPlan, load_series(name)) for name in bundled("series")),
    *((InstrumentProfile, load_profile(name)) for name in bundled("profile")),
]


@pytest.mark.parametrize("of", [AnyScanPlan, SeriesPlan, InstrumentProfile])
def test_every_bundled_value_comes_back_as_it_was(qtbot: QtBot, of: Any) -> None:
    form = ModelForm(of)
    qtbot.addWidget(form)
    values = [value for kind, value in BUNDLED if kind is of]
    assert len(values) >= 3
    for value in [*values, *reversed(values)]:
        form.set_value(value)
        assert form.value() == value
        assert form.problems() == []


def test_any_plan_comes_back_as_it_was(qtbot: QtBot) -> None:
    form = ModelForm(AnyScanPlan)
    qtbot.addWidget(form)

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(strategies.plans())
    def check(plan: BaseModel) -> None:
        form.set_value(plan)
        assert form.value() == plan

    check()


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_is_written_so_that_it_is_read_back(value: float | int) -> None:
    text = number_text(value)
    again = type(value)(text)
    assert again == value
    assert math.copysign(1, again) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (2.5e6, "2.5e6"), (25.6, "25.6"), (1e-7, "1e-7"), (41, "41"), (0.1, "0.1")],
)  # fmt: skip
def test_numbers_as_a_person_writes_them(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("half_range_um", "half range, µm"),
        ("repetition_rate_hz", "repetition rate, Hz"),
        ("slope_k_per_min", "slope, K/min"),
        ("fluence_uj_per_cm2", "fluence, µJ/cm²"),
        ("dwell_s", "dwell, s"),
        ("passes", "passes"),
        ("irf", "instrument response"),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert label_of(name) == label


@pytest.mark.parametrize(
    ("plan", "field", "typed", "where", "said"),
    [
        ("line", "dwell_s", "abc", "dwell_s", "a number is needed"),
        ("line", "dwell_s", "0,5", "dwell_s", "as in 0.5"),
        ("line", "dwell_s", "-1", "dwell_s", "greater than 0"),
        ("line", "dwell_s", "", "dwell_s", "nothing is given"),
        ("line", "dwell_s", "nan", "dwell_s", "finite"),
        ("line", "dwell_s", "1e999", "dwell_s", "finite"),
        ("line", "positions", "2.5", "positions", "whole number"),
        ("line", "positions", "0", "positions", "at least 1"),
        ("line", "card.range_ns", "1e9", "card.range_ns", "bins"),
        ("line", "excitation.power_nw", "x", "excitation.power_nw", "a number is needed"),
        ("raster", "x_positions", "100000", "x_positions", "at most"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(
    qtbot: QtBot, plan: str, field: str, typed: str, where: str, said: str
) -> None:
    form = plan_form(qtbot, plan)
    good = form.value()
    type_in(qtbot, form, field, typed)
    if field == "x_positions":
        type_in(qtbot, form, "y_positions", typed)
        # of the whole plan, not of one field
        assert form.value() is None
        assert any(said in each for each in form.problems())
        return
    assert form.value() is None
    assert said in problem(form, where)
    type_in(qtbot, form, field, number_text(_at(good, field)))
    assert form.value() == good
    assert problem(form, where) == ""


def _at(model: Any, key: str) -> Any:
    for part in key.split("."):
        model = getattr(model, part)
    return model


def test_an_instruments_complaint_stands_beside_its_field_until_the_next_edit(
    qtbot: QtBot,
) -> None:
    form = plan_form(qtbot)
    form.complain("excitation.power_nw", "the profile allows at most 200 nW")
    assert "200 nW" in problem(form, "excitation.power_nw")
    assert find(form, "excitation.power_nw").isVisibleTo(form)
    assert form.problems() == ["power: the profile allows at most 200 nW"]
    type_in(qtbot, form, "passes", "3")
    assert problem(form, "excitation.power_nw") == ""


def test_a_table_that_may_be_left_out_is_none_when_unticked(qtbot: QtBot) -> None:
    form = plan_form(qtbot)
    tick: QCheckBox = find(form, "background.tick")
    assert tick.isChecked()
    qtbot.mouseClick(tick, Qt.MouseButton.LeftButton, pos=QPoint(6, tick.height() // 2))
    assert form.value().background is None
    qtbot.mouseClick(tick, Qt.MouseButton.LeftButton, pos=QPoint(6, tick.height() // 2))
    assert form.value() == load_plan("line")
    # one that has a field without a default says so when it is ticked
    qtbot.mouseClick(find(form, "irf.tick"), Qt.MouseButton.LeftButton, pos=QPoint(6, 8))
    assert form.value() is None
    assert "nothing is given" in problem(form, "irf.sample_x_um")
    type_in(qtbot, form, "irf.sample_x_um", "12.5")
    assert form.value().irf.sample_x_um == 12.5


def test_a_nested_table(qtbot: QtBot) -> None:
    form = plan_form(qtbot)
    qtbot.mouseClick(find(form, "centring.tick"), Qt.MouseButton.LeftButton, pos=QPoint(6, 8))
    qtbot.mouseClick(find(form, "centring.focus.tick"), Qt.MouseButton.LeftButton, pos=QPoint(6, 8))
    type_in(qtbot, form, "centring.focus.steps", "9")
    assert form.value().centring.focus.steps == 9
    type_in(qtbot, form, "centring.drift_nm", "20")
    assert "add [reference]" in problem(form, "centring")


def test_another_kind_keeps_what_both_have(qtbot: QtBot) -> None:
    form = plan_form(qtbot)
    type_in(qtbot, form, "dwell_s", "0.25")
    box: QComboBox = find(form, "kind")
    box.setFocus()
    qtbot.keyClicks(box, "raster")
    plan = form.value()
    assert isinstance(plan, RasterScan)
    assert plan.dwell_s == 0.25
    assert plan.background == load_plan("line").background
    assert not find(form, "half_range_um").isVisibleTo(form)
    qtbot.keyClick(box, Qt.Key.Key_Home)
    assert form.value() == load_plan("line").model_copy(update={"dwell_s": 0.25})


def test_a_pasted_list_of_places(qtbot: QtBot) -> None:
    form = ModelForm(AnyScanPlan, PositionScan(x_um=(0.0,)))
    qtbot.addWidget(form)
    form.show()
    field: QPlainTextEdit = find(form, "x_um")
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    clipboard.setText("0.1\t0.2\n-0.3; 4e-1, 5")
    field.setFocus()
    for key in (Qt.Key.Key_A, Qt.Key.Key_V):
        qtbot.keyClick(field, key, Qt.KeyboardModifier.ControlModifier)
    assert form.value().x_um == (0.1, 0.2, -0.3, 0.4, 5.0)
    type_in(qtbot, form, "y_um", "1 2")
    assert "as many are needed" in problem(form, "y_um")


def test_what_is_hidden_stays(qtbot: QtBot) -> None:
    plan = load_plan("line").model_copy(update={"notes": "first", "seed": 7})
    plan = plan.model_copy(update={"card": plan.card.model_copy(update={"offset_ns": 3.0})})
    form = ModelForm(AnyScanPlan, plan, hidden=("notes", "seed", "card.offset_ns"))
    qtbot.addWidget(form)
    form.show()
    assert form.findChild(QWidget, "card.offset_ns") is None
    type_in(qtbot, form, "passes", "3")
    assert form.value() == plan.model_copy(update={"passes": 3})


def test_order_of_the_fields(qtbot: QtBot) -> None:
    form = plan_form(qtbot, order=("passes", "dwell_s"))
    heights = [find(form, n).mapTo(form, QPoint()).y() for n in ("passes", "dwell_s", "axis")]
    assert heights == sorted(heights)


def test_descriptions_and_limits_are_tooltips(qtbot: QtBot) -> None:
    form = plan_form(qtbot)
    tip = find(form, "passes").toolTip()
    assert "proof against drift" in tip
    assert "At least 1, at most 100000" in tip
    for widget in form.findChildren(QWidget):
        is_qts_own = widget.objectName()[:3] in ("", "qt_")
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and not is_qts_own:
            assert widget.toolTip() or widget.parent().toolTip(), widget.objectName()


def test_arrows_step_within_the_limits_and_the_wheel_changes_nothing(qtbot: QtBot) -> None:
    form = plan_form(qtbot)
    box: NumberEdit = find(form, "passes")
    type_in(qtbot, form, "passes", "2")
    for _ in range(3):
        qtbot.keyClick(box, Qt.Key.Key_Down)
    assert form.value().passes == 1
    dwell: NumberEdit = find(form, "dwell_s")
    qtbot.keyClick(dwell, Qt.Key.Key_Up)
    assert form.value().dwell_s == 1.1
    before = form.value()
    for widget in (box, dwell, find(form, "order"), find(form, "kind")):
        at = QPointF(widget.rect().center())
        turned = QWheelEvent(
            at, widget.mapToGlobal(at), QPoint(), QPoint(0, 120), Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(widget, turned)
    assert form.value() == before


def test_axes_of_a_series(qtbot: QtBot) -> None:
    form = ModelForm(SeriesPlan, load_series("power-series"))
    qtbot.addWidget(form)
    form.show()
    type_in(qtbot, form, "axes[0].power_nw", "1 2 x")
    assert "a number is needed" in problem(form, "axes[0].power_nw")
    type_in(qtbot, form, "axes[0].power_nw", "1 2")
    assert form.value().count == 2
    qtbot.mouseClick(find(form, "axes.more"), Qt.MouseButton.LeftButton)
    QApplication.processEvents()
    assert "the axis has no values" in problem(form, "axes[1]")
    box: QComboBox = find(form, "axes[1].add")
    box.setFocus()
    qtbot.keyClicks(box, "temperature")
    box.activated.emit(box.currentIndex())  # as Return in the list does
    type_in(qtbot, form, "axes[1].temperature_k", "10, 20, 30")
    assert form.value().count == 6
    qtbot.mouseClick(find(form, "axes[1].away"), Qt.MouseButton.LeftButton)
    assert form.value().count == 2


def test_a_long_list_of_points_stays_as_it_is(qtbot: QtBot) -> None:
    points = tuple({"power_nw": float(n)} for n in range(1, 200))
    plan = SeriesPlan.model_validate({"scan": load_plan("line").model_dump(), "points": points})
    form = ModelForm(SeriesPlan, plan)
    qtbot.addWidget(form)
    assert form.value() == plan


NAMES = ("dwell_s", "positions", "half_range_um", "card.time_bin_ps", "excitation.power_nw", "seed")


def test_nothing_typed_makes_it_raise(qtbot: QtBot) -> None:
    form = plan_form(qtbot)

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(NAMES), st.text(max_size=30) | st.floats().map(str))
    def check(name: str, text: str) -> None:
        form.set_value(load_plan("line"))
        find(form, name).set_content(text)
        value = form.value()
        assert (value is None) == bool(form.problems())
        assert value is None or LineScan.model_validate(value.model_dump()) == value

    check()
