"""The Instrument view, used as a person would: what it shows, what it asks, what it refuses."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PyQt6.QtCore import QEvent, Qt
from PyQt6.QtGui import QKeyEvent
from PyQt6.QtWidgets import (
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QToolButton,
    QWidget,
)
from pytestqt.qtbot import QtBot

from tests.gui.attached import attached
from tplm_config import InstrumentProfile, load_profile
from tplm_gui import theme
from tplm_gui.hub import Hub, News, Reply
from tplm_gui.views.instrument import (
    InstrumentView,
    rate_limits_mhz,
    temperature_limits_k,
    why_not,
)
from tplm_gui.widgets.parts import ROLES, NumberField, StateLight
from tplm_gui.widgets.stages import JogPad, travel_um

STATION: dict[str, Any] = {
    "profile": "simulated", "simulated": True, "wired": False, "connected": True,
    "aligning": False, "job": None,
}  # fmt: skip
IDLE = {"doing": "station", "station": STATION}
VALUES: dict[str, Any] = {
    "emission": False, "repetition_rate_hz": 2.5e6, "shutter_open": False, "power_nw": 12.34,
    "transmission": 0.0123, "detection_transmission": 1.0, "detector_x_um": 0.5,
    "detector_y_um": -0.02, "detector_image_x_um": 247.5, "detector_image_y_um": -9.9,
    "sample_x_um": 1.2, "sample_y_um": 0.0, "sample_z_um": -3.0, "temperature_k": 12.3,
    "set_point_k": 5.0, "sync_rate_hz": 2.5e6, "count_rate_hz": 100.0,
}  # fmt: skip


def ready(role: str, **other: Any) -> dict[str, Any]:
    words = {"card": "not set up"}.get(role, "here")
    return {"state": "ready", "words": words, "model": f"model of {role}", "error": None, **other}


def readings(devices: dict[str, dict[str, Any]] | None = None, **values: Any) -> dict[str, Any]:
    return {
        "event": "readings",
        "devices": {role: ready(role) for role in ROLES} | (devices or {}),
        "values": VALUES | values,
    }


class Bench:
    """A view with its hub, what it asked and what it told."""

    def __init__(self, qtbot: QtBot, hub: Hub, recorder: Any, profile: str = "simulated") -> None:
        self.qtbot, self.hub, self.recorder = qtbot, hub, recorder
        self.told: list[News] = []
        hub.news.connect(self.told.append)
        hub.take_profile(load_profile(profile))
        self.view = InstrumentView(hub)
        qtbot.addWidget(self.view)
        self.view.resize(300, 640)
        self.view.show()
        qtbot.waitExposed(self.view)
        self.view.activateWindow()
        hub.take_status(IDLE)
        hub.take_readings(readings())

    @property
    def asked(self) -> list[tuple[str, dict[str, Any]]]:
        return list(self.recorder.asked)

    def find(self, kind: type[Any], name: str) -> Any:
        found = self.view.findChild(kind, name)
        assert found is not None, name
        return found

    def has(self, name: str) -> bool:
        return self.view.findChild(QWidget, name) is not None

    def field(self, what: str) -> NumberField:
        found: NumberField = self.find(NumberField, what)
        return found

    def reading(self, role: str) -> str:
        text: str = self.find(QLabel, f"reading-{role}").text()
        for tag in (f"<b style='color:{theme.colours().warn}'>", "</b>"):
            text = text.replace(tag, "")
        return text.replace("&nbsp;", " ")

    def type(self, what: str, text: str, key: Qt.Key | None = None) -> None:
        field = self.field(what)
        field.setFocus()
        field.clear()
        self.qtbot.keyClicks(field, text)
        if key is not None:
            self.qtbot.keyClick(field, key)

    def click(self, name: str) -> None:
        self.qtbot.mouseClick(self.find(QPushButton, name), Qt.MouseButton.LeftButton)


@pytest.fixture(autouse=True)
def _views_before_are_gone(qapp: QApplication) -> None:
    # without an event loop they would stay for good, and follow every change of colours
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def bench(qtbot: QtBot, hub: Hub, recorder: Any) -> Bench:
    return Bench(qtbot, hub, recorder)


# -- what is shown ---------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["simulated", "mit", "lmu", "purdue"])
def test_a_row_and_controls_for_each_device_of_the_profile_and_no_other(
    qtbot: QtBot, hub: Hub, recorder: Any, profile: str
) -> None:
    bench = Bench(qtbot, hub, recorder, profile)
    found = load_profile(profile)
    control = {
        "shutter": "set-shutter", "attenuator": "value-transmission",
        "power_meter": "value-power_nw", "detection_attenuator": "value-detection_transmission",
        "sample_stage": "jog-sample", "temperature": "value-set_point_k",
    }  # fmt: skip
    for role in ROLES:
        has = getattr(found, role) is not None
        assert bench.has(f"device-{role}") == has
        if role in control:
            assert bench.has(control[role]) == has


def test_a_device_that_the_host_does_not_have_is_hidden(bench: Bench) -> None:
    bench.hub.take_readings(readings({"shutter": ready("shutter", state="absent")}))
    assert not bench.find(QWidget, "device-shutter").isVisible()
    bench.hub.take_readings(readings())
    assert bench.find(QWidget, "device-shutter").isVisible()


@pytest.mark.parametrize(
    ("state", "lamp"),
    [("ready", "ready"), ("busy", "busy"), ("closed", "closed"), ("something", "absent")],
)
def test_state_lights(bench: Bench, state: str, lamp: str) -> None:
    bench.hub.take_readings(readings({"laser": ready("laser", state=state)}))
    light: StateLight = bench.find(StateLight, "light-laser")
    assert light.lamp == lamp
    assert state in light.toolTip()


def test_a_failed_device_says_why_and_shows_no_stale_value(bench: Bench) -> None:
    sentence = "laser: no answer within 2 s; check the cable <COM3>"
    device = ready("laser", state="failed", error=sentence)
    bench.hub.take_readings(readings({"laser": device}))
    assert bench.find(StateLight, "light-laser").lamp == "failed"
    error = bench.find(QLabel, "error-laser")
    assert error.isVisible()
    assert error.text() == sentence
    assert bench.reading("laser") == "failed"
    bench.hub.take_readings(readings())
    assert not error.isVisible()
    assert bench.reading("laser") == "off, 2.5 MHz"


@pytest.mark.parametrize(
    ("role", "values", "words"),
    [
        ("laser", {"emission": True, "repetition_rate_hz": 4e7}, "on, 40 MHz"),
        ("laser", {"emission": True, "repetition_rate_hz": None}, "on, –"),
        ("laser", {"emission": None}, "here"),
        ("shutter", {"shutter_open": True}, "open"),
        ("shutter", {"shutter_open": None}, "here"),
        ("attenuator", {"transmission": 0.5}, "T 0.5"),
        ("attenuator", {"transmission": math.nan}, "here"),
        ("power_meter", {}, "12.34 nW"),
        ("power_meter", {"power_nw": math.inf}, "here"),
        ("detection_attenuator", {}, "T 1"),
        ("card", {}, "sync 2.5 MHz"),
        ("card", {"sync_rate_hz": None}, "not set up"),
        ("detector_stage", {}, "+0.500, −0.020 µm"),
        ("detector_stage", {"detector_x_um": None}, "here"),
        ("sample_stage", {}, "+1.200, +0.000, −3.000 µm"),
        ("sample_stage", {"sample_z_um": None}, "+1.200, +0.000 µm"),
        ("temperature", {}, "12.30 K, 5 K under way"),
        ("temperature", {"temperature_k": 5.05}, "5.05 K, 5 K reached"),
        ("temperature", {"set_point_k": None}, "12.30 K"),
        ("temperature", {"temperature_k": math.nan}, "here"),
    ],
)
def test_read_backs_in_words(bench: Bench, role: str, values: dict[str, Any], words: str) -> None:
    bench.hub.take_readings(readings(**values))
    assert bench.reading(role) == words


def test_the_image_plane_is_shown_too(bench: Bench) -> None:
    assert bench.find(QLabel, "image-detector").text() == "image +247.5, −9.9 µm"
    bench.hub.take_readings(readings(detector_image_x_um=None))
    assert bench.find(QLabel, "image-detector").text() == "image – µm"


@pytest.mark.parametrize("empty", [{}, {"devices": {}, "values": {}}, {"devices": None}])
def test_nothing_known_breaks_nothing(bench: Bench, empty: dict[str, Any]) -> None:
    bench.hub.take_readings(empty)
    assert all(bench.reading(role) == "–" for role in ROLES)


def test_a_lost_host_leaves_nothing_that_looks_alive(bench: Bench) -> None:
    bench.hub.take_link(False, "the host is gone")
    assert all(bench.find(StateLight, f"light-{role}").lamp == "absent" for role in ROLES)
    assert all(bench.reading(role) == "–" for role in ROLES)
    assert not bench.field("value-power_nw").isEnabled()
    assert "No host answers" in bench.find(QLabel, "instrument-words").text()


# -- when one may ----------------------------------------------------------------------------

SCANNING = {"doing": "scan", "station": STATION}


@pytest.mark.parametrize(
    ("linked", "status", "words"),
    [
        (True, IDLE, ""),
        (False, IDLE, "No host answers"),
        (True, {}, "No host answers"),
        (True, SCANNING, "A scan is running"),
        (True, {"doing": "series", "station": STATION}, "A series is running"),
        (True, {"doing": "scan", "station": None}, "started in a terminal"),
        (True, {"doing": "other", "station": None}, "runs scans only"),
        (True, {"doing": "station", "station": STATION | {"connected": False}}, "Not connected"),
        (True, {"doing": "station", "station": STATION | {"job": {"kind": "doctor", "words":
            "looking at every device"}}}, "Busy: looking at every device."),
        (True, {"doing": "station", "station": STATION | {"job": {"kind": "move", "words": "m"}}},
         ""),
        (True, {"doing": "station", "station": STATION | {"aligning": True, "job": {"kind":
            "cross", "words": "c"}}}, ""),
    ],
)  # fmt: skip
def test_why_nothing_can_be_set(
    bench: Bench, linked: bool, status: dict[str, Any], words: str
) -> None:
    reason = why_not(linked, status)
    assert words in reason
    assert bool(reason) == bool(words)
    bench.hub.take_link(linked, "")
    bench.hub.take_status(status)
    for name in ("value-power_nw", "set-emission", "set-shutter", "jog-detector", "go-sample"):
        assert bench.find(QWidget, name).isEnabled() == (not words)
    if words:
        assert bench.find(QLabel, "instrument-words").text() == reason


def test_controls_do_not_lose_the_focus_while_a_move_is_carried_out(bench: Bench) -> None:
    pad: JogPad = bench.find(JogPad, "jog-detector")
    pad.setFocus()
    bench.hub.take_status(
        {"doing": "station", "station": STATION | {"job": {"kind": "move", "words": "m"}}}
    )
    assert pad.hasFocus()


@pytest.mark.parametrize(
    ("station", "doing", "can"),
    [
        (STATION, "station", {"disconnect", "doctor"}),
        (STATION | {"connected": False}, "station", {"connect", "doctor"}),
        (STATION | {"aligning": True}, "station", set()),
        (STATION | {"job": {"kind": "connect"}}, "station", set()),
        (STATION, "scan", set()),
        (None, "scan", set()),
    ],
)
def test_connect_disconnect_doctor(
    bench: Bench, station: dict[str, Any] | None, doing: str, can: set[str]
) -> None:
    bench.hub.take_status({"doing": doing, "station": station})
    for command in ("connect", "disconnect", "doctor"):
        assert bench.find(QPushButton, f"instrument-{command}").isEnabled() == (command in can)
        bench.click(f"instrument-{command}")
    assert {command for command, _ in bench.asked} == can


@pytest.mark.parametrize(
    ("station", "words"),
    [
        (STATION, "Connected to 'simulated': simulated, nothing real behind it."),
        (STATION | {"simulated": False, "wired": True}, "real drivers on simulated devices"),
        (STATION | {"simulated": False}, "Connected to 'simulated'."),
    ],
)
def test_what_is_behind_it(bench: Bench, station: dict[str, Any], words: str) -> None:
    bench.hub.take_status({"doing": "station", "station": station})
    assert words in bench.find(QLabel, "instrument-words").text()


# -- quantities ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["enter", "button"])
@pytest.mark.parametrize(
    ("what", "text", "value"),
    [
        ("repetition_rate_hz", "5", 5e6),
        ("repetition_rate_hz", "0,5", 0.5e6),
        ("power_nw", "1e1", 10.0),
        ("transmission", "0.02", 0.02),
        ("detection_transmission", "1", 1.0),
        ("set_point_k", "300", 300.0),
    ],
)
def test_a_value_is_sent_once_by_enter_or_button_and_never_while_typing(
    bench: Bench, what: str, text: str, value: float, by: str
) -> None:
    bench.type(f"value-{what}", text)
    assert bench.asked == []
    if by == "enter":
        bench.qtbot.keyClick(bench.field(f"value-{what}"), Qt.Key.Key_Return)
    else:
        bench.click(f"set-{what}")
    assert bench.asked == [("set", {"what": what, "value": pytest.approx(value)})]


@pytest.mark.parametrize(
    ("what", "text", "words"),
    [
        ("power_nw", "300", "300 nW is above the highest allowed, 200 nW"),
        ("power_nw", "-1", "-1 nW is below the lowest allowed, 0 nW"),
        ("repetition_rate_hz", "50", "50 MHz is above the highest allowed, 40 MHz"),
        ("repetition_rate_hz", "0.01", "below the lowest allowed, 0.1 MHz"),
        ("transmission", "1.2", "above the highest allowed, 1"),
        ("set_point_k", "3.9", "below the lowest allowed, 4 K"),
        ("set_point_k", "cold", "'cold' is not a number"),
        ("set_point_k", "nan", "finite"),
        ("power_nw", "inf", "finite"),
        ("power_nw", "", "no number is given"),
    ],
)
def test_what_the_profile_does_not_allow_is_not_sent_and_said(
    bench: Bench, what: str, text: str, words: str
) -> None:
    bench.type(f"value-{what}", text, Qt.Key.Key_Return)
    assert bench.asked == []
    assert words in bench.told[-1].text
    assert bench.told[-1].level == "warning"
    if text:
        assert words in bench.field(f"value-{what}").toolTip()


def test_the_limits_stand_in_the_fields_and_their_tooltips(bench: Bench) -> None:
    for what, empty in (
        ("value-repetition_rate_hz", "0.1 … 40"), ("value-power_nw", "0 … 200"),
        ("value-transmission", "0 … 1"), ("value-set_point_k", "4 … 325"),
        ("goto-detector-x", "±25.25"), ("goto-sample-z", "±2500"),
    ):  # fmt: skip
        field = bench.field(what)
        assert field.placeholderText() == empty
        assert empty in field.toolTip()


def test_asked_and_read_stand_together_until_they_agree(bench: Bench) -> None:
    bench.type("value-power_nw", "20", Qt.Key.Key_Return)
    assert bench.reading("power_meter") == "12.34 nW → 20 nW"
    bench.hub.take_readings(readings(power_nw=15.0))
    assert bench.reading("power_meter") == "15 nW → 20 nW"
    assert bench.field("value-power_nw").text() == "20"
    bench.hub.take_readings(readings(power_nw=19.7))
    assert bench.reading("power_meter") == "19.7 nW"
    assert bench.field("value-power_nw").text() == ""


def test_what_is_typed_meanwhile_is_not_taken_away(bench: Bench) -> None:
    bench.type("value-power_nw", "20", Qt.Key.Key_Return)
    bench.type("value-power_nw", "7")
    bench.hub.take_readings(readings(power_nw=20.0))
    assert bench.field("value-power_nw").text() == "7"


def test_a_refusal_is_told_and_nothing_is_waited_for(bench: Bench) -> None:
    words = "set: the laser is off; switch the emission on first"
    bench.recorder.replies["set"] = Reply(ok=False, words=words)
    bench.type("value-power_nw", "20", Qt.Key.Key_Return)
    assert bench.told[-1].text == words
    assert bench.reading("power_meter") == "12.34 nW"


@pytest.mark.parametrize("how", ["failed", "disconnected", "lost"])
def test_a_failure_or_a_lost_instrument_ends_the_waiting(bench: Bench, how: str) -> None:
    bench.type("value-power_nw", "20", Qt.Key.Key_Return)
    bench.qtbot.keyClick(bench.find(JogPad, "jog-sample"), Qt.Key.Key_Left)
    assert bench.find(QLabel, "asked-sample").text()
    if how == "failed":
        bench.hub.happened.emit({"event": "job-ended", "job": {"kind": "set"}, "ok": False})
    elif how == "disconnected":
        bench.hub.take_status({"doing": "station", "station": STATION | {"connected": False}})
    else:
        bench.hub.take_link(False, "gone")
    assert "→" not in bench.reading("power_meter")
    assert not bench.find(QLabel, "asked-sample").text()


@pytest.mark.parametrize(
    ("name", "what", "role", "read", "on", "off"),
    [
        ("set-emission", "emission", "laser", "emission", "&Laser on", "&Laser off"),
        ("set-shutter", "shutter", "shutter", "shutter_open", "Op&en", "Clos&e"),
    ],
)
def test_switches_say_what_they_would_do(
    bench: Bench, name: str, what: str, role: str, read: str, on: str, off: str
) -> None:
    button = bench.find(QPushButton, name)
    assert button.text() == on
    bench.click(name)
    assert bench.asked[-1] == ("set", {"what": what, "value": True})
    assert "→" in bench.reading(role)
    assert button.text() == off
    bench.hub.take_readings(readings(**{read: True}))
    assert "→" not in bench.reading(role)
    bench.click(name)
    assert bench.asked[-1] == ("set", {"what": what, "value": False})


# -- stages ----------------------------------------------------------------------------------

DETECTOR_KEYS = {
    Qt.Key.Key_Left: [-0.1, 0.0], Qt.Key.Key_Right: [0.1, 0.0],
    Qt.Key.Key_Up: [0.0, 0.1], Qt.Key.Key_Down: [0.0, -0.1],
}  # fmt: skip
SAMPLE_KEYS = {
    **{key: [*step, 0.0] for key, step in DETECTOR_KEYS.items()},
    Qt.Key.Key_PageUp: [0.0, 0.0, 0.1],
    Qt.Key.Key_PageDown: [0.0, 0.0, -0.1],
}


@pytest.mark.parametrize(
    ("stage", "key", "to"),
    [("detector", key, to) for key, to in DETECTOR_KEYS.items()]
    + [("sample", key, to) for key, to in SAMPLE_KEYS.items()],
)
def test_arrow_keys_move_by_a_step_while_the_pad_has_the_focus(
    bench: Bench, stage: str, key: Qt.Key, to: list[float]
) -> None:
    pad = bench.find(JogPad, f"jog-{stage}")
    pad.setFocus()
    bench.qtbot.keyClick(QApplication.focusWidget(), key)
    arguments = {"stage": stage, "to": to, "plane": "sample", "relative": True}
    assert bench.asked == [("move", arguments)]


def test_arrow_keys_do_nothing_elsewhere_and_z_keys_nothing_for_the_detector(
    bench: Bench,
) -> None:
    keys = tuple(SAMPLE_KEYS)
    for name in ("value-power_nw", "goto-detector-x"):
        bench.field(name).setFocus()
        for key in keys:
            bench.qtbot.keyClick(QApplication.focusWidget(), key)
    pad = bench.find(JogPad, "jog-detector")
    bench.qtbot.keyClick(pad, Qt.Key.Key_PageUp)
    bench.qtbot.keyClick(pad, Qt.Key.Key_A)
    assert bench.asked == []


@pytest.mark.parametrize(
    ("button", "to"),
    [("x-", [-0.1, 0.0]), ("x+", [0.1, 0.0]), ("y-", [0.0, -0.1]), ("y+", [0.0, 0.1])],
)
def test_arrow_buttons(bench: Bench, button: str, to: list[float]) -> None:
    tool = bench.find(QToolButton, f"jog-detector-{button}")
    bench.qtbot.mouseClick(tool, Qt.MouseButton.LeftButton)
    assert bench.asked[-1][1]["to"] == to
    assert bench.find(JogPad, "jog-detector").hasFocus()


@pytest.mark.parametrize("by", ["button", "space"])
def test_halt(bench: Bench, by: str) -> None:
    pad = bench.find(JogPad, "jog-sample")
    bench.qtbot.keyClick(pad, Qt.Key.Key_Right)
    if by == "button":
        halt = bench.find(QToolButton, "jog-sample-halt")
        bench.qtbot.mouseClick(halt, Qt.MouseButton.LeftButton)
    else:
        bench.qtbot.keyClick(pad, Qt.Key.Key_Space)
    assert bench.asked[-1] == ("halt", {})
    assert not bench.find(QLabel, "asked-sample").text()


def test_steps_and_planes(bench: Bench) -> None:
    step, plane = bench.find(QComboBox, "step-detector"), bench.find(QComboBox, "plane-detector")
    step.setCurrentIndex(step.findData(0.5))
    pad = bench.find(JogPad, "jog-detector")
    bench.qtbot.keyClick(pad, Qt.Key.Key_Up)
    assert bench.asked[-1][1]["to"] == [0.0, 0.5]
    plane.setCurrentIndex(plane.findData("image"))
    bench.hub.happened.emit({"event": "job-ended", "job": {"kind": "move"}, "ok": False})
    step.setCurrentIndex(step.findData(100.0))
    bench.qtbot.keyClick(pad, Qt.Key.Key_Left)
    assert bench.asked[-1][1] == {
        "stage": "detector", "to": [-100.0, 0.0], "plane": "image", "relative": True
    }  # fmt: skip
    assert "+147.5, −9.9" in bench.find(QLabel, "asked-detector").text()
    assert bench.field("goto-detector-x").placeholderText() == "±1.25e+04"
    assert not bench.find(QComboBox, "plane-sample").isVisible()


def test_presses_add_up_and_a_held_key_waits(bench: Bench) -> None:
    pad = bench.find(JogPad, "jog-detector")
    for _ in range(3):
        bench.qtbot.keyClick(pad, Qt.Key.Key_Right)
    assert [arguments["to"] for _, arguments in bench.asked] == [[0.1, 0.0]] * 3
    assert "+0.800, −0.020" in bench.find(QLabel, "asked-detector").text()
    held = QKeyEvent(
        QEvent.Type.KeyPress, Qt.Key.Key_Right, Qt.KeyboardModifier.NoModifier, "", True
    )
    pad.keyPressEvent(held)
    assert len(bench.asked) == 3
    bench.hub.take_readings(readings(detector_x_um=0.8))
    assert not bench.find(QLabel, "asked-detector").text()
    pad.keyPressEvent(held)
    assert len(bench.asked) == 4


def test_a_move_that_ends_elsewhere_is_not_waited_for_for_ever(bench: Bench) -> None:
    bench.qtbot.keyClick(bench.find(JogPad, "jog-detector"), Qt.Key.Key_Right)
    moving = STATION | {"job": {"kind": "move", "words": "moving"}}
    bench.hub.take_status({"doing": "station", "station": moving})
    for _ in range(5):
        bench.hub.take_readings(readings(detector_x_um=0.55))
    assert bench.find(QLabel, "asked-detector").text()
    bench.hub.take_status(IDLE)
    assert not bench.find(QLabel, "asked-detector").text()


@pytest.mark.parametrize(("x", "words"), [(25.2, "detector x: 25.3 µm is outside"), (None, "")])
def test_a_step_out_of_the_travel_is_not_asked_for(
    bench: Bench, x: float | None, words: str
) -> None:
    bench.hub.take_readings(readings(detector_x_um=x))
    bench.qtbot.keyClick(bench.find(JogPad, "jog-detector"), Qt.Key.Key_Right)
    if words:
        assert bench.asked == []
        assert words in bench.told[-1].text
        assert "-25.25 to 25.25" in bench.told[-1].text
    else:  # where it is is not known: the host decides
        assert len(bench.asked) == 1


def test_a_stage_without_z_is_not_asked_for_z(bench: Bench) -> None:
    bench.hub.take_readings(readings(sample_z_um=None))
    bench.qtbot.keyClick(bench.find(JogPad, "jog-sample"), Qt.Key.Key_Right)
    assert bench.asked[-1][1]["to"] == [0.1, 0.0]
    bench.type("goto-sample-x", "3", Qt.Key.Key_Return)
    assert bench.asked[-1][1]["to"] == [3.0, 0.0]


@pytest.mark.parametrize("by", ["enter", "button"])
def test_go_to_a_place_with_an_axis_left_where_it_is(bench: Bench, by: str) -> None:
    bench.type("goto-sample-z", "-4,5")
    assert bench.asked == []
    if by == "enter":
        bench.qtbot.keyClick(bench.field("goto-sample-z"), Qt.Key.Key_Return)
    else:
        bench.click("go-sample")
    arguments = {"stage": "sample", "to": [1.2, 0.0, -4.5], "plane": "sample", "relative": False}
    assert bench.asked == [("move", arguments)]
    assert "+1.200, +0.000, −4.500" in bench.find(QLabel, "asked-sample").text()
    # there, within the tolerance of the profile
    bench.hub.take_readings(readings(sample_z_um=-4.2))
    assert not bench.find(QLabel, "asked-sample").text()


def test_go_nowhere(bench: Bench) -> None:
    bench.click("go-detector")
    assert bench.asked == []
    bench.type("goto-detector-x", "26", Qt.Key.Key_Return)
    assert bench.asked == []
    assert "above the highest allowed, 25.25" in bench.told[-1].text


def test_a_refused_move_is_told_once(bench: Bench) -> None:
    bench.recorder.replies["move"] = Reply(ok=False, words="move: it goes on: scanning")
    bench.type("goto-detector-x", "1", Qt.Key.Key_Return)
    assert [news.text for news in bench.told] == ["move: it goes on: scanning"]
    assert not bench.find(QLabel, "asked-detector").text()


# -- doctor ----------------------------------------------------------------------------------


def test_the_doctor_shows_a_sentence_for_each_device(bench: Bench) -> None:
    row = {
        "role": "laser", "driver": "simulated", "model": "virtual laser", "serial_number": "SIM-0",
        "firmware": None, "state": "off, 2.5 MHz", "round_trip_ms": 0.123,
        "checked_against": "simulator only", "error": None,
    }  # fmt: skip
    bad = row | {"role": "card", "model": None, "round_trip_ms": None, "error": "card: gone"}
    job = {"id": 1, "kind": "doctor", "words": "looking"}
    result = {"rows": [row, bad], "none": ["sample_stage"]}
    bench.hub.happened.emit({"event": "job-ended", "job": job, "ok": True, "result": result})
    dialog = bench.find(QWidget, "doctor")
    assert dialog.isVisible()
    assert not dialog.isModal()
    table = bench.find(QTableWidget, "doctor-table")
    cells = [
        [table.item(line, column).text() for column in range(table.columnCount())]
        for line in range(table.rowCount())
    ]
    assert cells == [
        ["Laser", "virtual laser", "SIM-0", "–", "0.123 ms", "simulator only",
         "✓ answers: off, 2.5 MHz"],
        ["Timing card", "–", "SIM-0", "–", "–", "simulator only", "✕ card: gone"],
    ]  # fmt: skip
    words = bench.find(QLabel, "doctor-summary").text()
    assert words == "1 of 2 devices answer. None on this instrument: sample stage."
    bench.qtbot.mouseClick(bench.find(QPushButton, "doctor-close"), Qt.MouseButton.LeftButton)
    assert not dialog.isVisible()


# -- the profile -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "rate", "temperature"),
    [
        ("simulated", (0.1, 40.0), (4.0, 325.0)),
        ("mit", (0.0, 40.0), (4.0, 325.0)),
        ("lmu", (0.0, 78.0), (9.0, 300.0)),
        ("purdue", (0.0, math.inf), (7.0, 298.0)),
    ],
)
def test_limits_of_the_profiles(
    profile: str, rate: tuple[float, float], temperature: tuple[float, float]
) -> None:
    found = load_profile(profile)
    assert rate_limits_mhz(found) == rate
    assert temperature_limits_k(found) == temperature


def test_the_narrower_limit_of_profile_and_driver_counts() -> None:
    found = load_profile("lmu", ["temperature.driver.limits_k=[20, 310]"])
    assert temperature_limits_k(found) == (20.0, 300.0)


@given(
    sign=st.sampled_from([-1, 1]),
    zero_um=st.floats(-1e4, 1e4),
    magnification=st.floats(1.0, 1000.0),
)
def test_travel_of_the_sample_plane_is_that_of_the_stage(
    sign: int, zero_um: float, magnification: float
) -> None:
    found = load_profile("simulated").model_dump()
    found["optics"]["magnification"] = magnification
    found["detector_stage"]["x"] |= {"sign": sign, "zero_um": zero_um}
    profile = InstrumentProfile.model_validate(found)
    low, high = travel_um(profile, "detector", "sample")[0]
    ends = sorted(profile.stage_position_um(x, 0.0)[0] for x in (low, high))
    assert low < high
    assert ends == pytest.approx(list(profile.detector_stage.x.travel_um), abs=1e-6)
    assert travel_um(profile, "detector", "image")[0] == profile.detector_stage.x.travel_um


def test_another_profile_makes_other_rows(bench: Bench) -> None:
    bench.hub.take_profile(load_profile("purdue"))
    assert not bench.has("device-attenuator")
    assert bench.has("device-laser")
    bench.hub.take_profile(None)
    assert not bench.has("device-laser")


# -- keyboard, names, colours, size ----------------------------------------------------------


def test_everything_has_a_name_a_tooltip_and_is_reached_by_tab(bench: Bench) -> None:
    kinds = (QPushButton, QLineEdit, QComboBox, JogPad)
    widgets = [w for kind in kinds for w in bench.view.findChildren(kind) if w.isVisible()]
    assert len(widgets) > 15
    for widget in widgets:
        assert widget.objectName(), widget
        assert widget.toolTip(), widget.objectName()
        assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus, widget.objectName()
        named = getattr(widget, "text", lambda: "")() or widget.accessibleName()
        assert named, widget.objectName()


def test_no_two_mnemonics_are_the_same(bench: Bench) -> None:
    # what sends a field, as Enter does, may go without: there are not letters enough
    texts = [button.text() for button in bench.view.findChildren(QPushButton)]
    letters = [text[text.index("&") + 1].lower() for text in texts if "&" in text]
    assert len(letters) == len(set(letters)) == 9
    of_align, of_menus = set("nkxsituzbw"), set("frvh")
    assert not set(letters) & (of_align | of_menus)


def test_it_fits_a_narrow_dock(bench: Bench) -> None:
    for row in bench.view.findChildren(QWidget):
        if row.objectName().startswith("device-"):
            assert row.minimumSizeHint().width() <= 286, row.objectName()


def test_other_colours(bench: Bench) -> None:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    bench.type("value-power_nw", "20", Qt.Key.Key_Return)
    try:
        theme.apply(app, dark=True)
        assert theme.DARK.warn in bench.find(QLabel, "reading-power_meter").text()
    finally:
        theme.apply(app, dark=False)
    assert theme.LIGHT.warn in bench.find(QLabel, "reading-power_meter").text()


# -- with a real station ---------------------------------------------------------------------


def test_by_hand_with_a_real_station(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Any
) -> None:
    with threads.lent(), attached(tmp_path, monkeypatch) as station:
        view = InstrumentView(station.hub)
        qtbot.addWidget(view)
        view.show()

        def until(condition: Any) -> None:
            qtbot.waitUntil(condition, timeout=20_000)

        def text(name: str) -> str:
            found = view.findChild(QLabel, name)
            return "" if found is None else found.text()

        def click(name: str) -> None:
            button = view.findChild(QPushButton, name)
            assert button is not None
            until(button.isEnabled)
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

        def give(name: str, value: str) -> None:
            field = view.findChild(NumberField, name)
            assert field is not None
            until(field.isEnabled)
            qtbot.keyClicks(field, value)
            qtbot.keyClick(field, Qt.Key.Key_Return)

        until(lambda: "Not connected" in text("instrument-words"))
        click("instrument-connect")
        until(lambda: text("reading-laser") == "off, 2.5 MHz")
        give("value-repetition_rate_hz", "5")
        until(lambda: text("reading-laser") == "off, 5 MHz")
        assert station.microscope.laser.repetition_rate_hz == 5e6

        # the shutter stays closed; a set power needs the laser on, and the station says so
        told: list[News] = []
        station.hub.news.connect(told.append)
        give("value-power_nw", "5")
        until(lambda: any("the laser is off" in news.text for news in told))
        until(lambda: "→" not in text("reading-power_meter"))
        click("set-emission")
        until(lambda: text("reading-laser") == "on, 5 MHz")
        view.findChild(NumberField, "value-power_nw").clear()  # type: ignore[union-attr]
        give("value-power_nw", "5")
        until(lambda: text("reading-power_meter").startswith(("4.9", "5 ", "5.0")))

        pad = view.findChild(JogPad, "jog-detector")
        for _ in range(3):
            qtbot.keyClick(pad, Qt.Key.Key_Right)
        until(lambda: text("reading-detector_stage").startswith("+0.30"))
        until(lambda: text("asked-detector") == "")
        give("goto-sample-z", "3")
        until(lambda: text("reading-sample_stage").endswith("+3.000 µm"))
        give("value-set_point_k", "200")
        until(lambda: "200 K" in text("reading-temperature"))

        click("set-emission")
        until(lambda: text("reading-laser") == "off, 5 MHz")
        click("instrument-doctor")
        until(lambda: "9 of 9 devices answer." in text("doctor-summary"))
        click("instrument-disconnect")
        until(lambda: "Not connected" in text("instrument-words"))
        until(lambda: view.findChild(StateLight, "light-laser").lamp == "closed")  # type: ignore[union-attr]
        assert station.microscope.laser.output_nw() == 0
