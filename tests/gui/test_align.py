"""The Align view, used as a person would: figures, verdicts, searches, what was found."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import QEvent, QPointF, Qt
from PyQt6.QtWidgets import (
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QPushButton,
    QTableWidget,
)
from pytestqt.qtbot import QtBot

from tests.gui.attached import attached
from tplm_config import load_profile
from tplm_gui import theme
from tplm_gui.hub import Hub, News
from tplm_gui.views.align import (
    HISTORY_S,
    MOST_FOUND,
    MOST_POINTS,
    SEARCHES,
    AlignView,
    count_words,
    gaussian_hz,
)
from tplm_gui.widgets.parts import StateLight

STATION: dict[str, Any] = {"profile": "simulated", "connected": True, "aligning": True, "job": None}
FIT = {
    "center_um": 0.12, "center_stderr_um": 0.004, "sigma_um": 0.26, "peak_hz": 1e4,
    "background_hz": 200.0,
}  # fmt: skip
X_UM = np.linspace(-1.5, 1.5, 31)


def light(**other: Any) -> dict[str, Any]:
    return {
        "event": "light", "device_s": 10.0, "count_rate_hz": 12345.6, "sync_rate_hz": 2.5e6,
        "share": 0.00494, "brightest_bin": 70, "live_s": 0.5, "bin_ns": 0.8, "offset_ns": 0.0,
        "counts": [0, 50, 70, 30], "limit_hz": 2e6, "is_dark": False, **other,
    }  # fmt: skip


def line(axis: str, fit: dict[str, float] | None, done: bool = True) -> dict[str, Any]:
    rate_hz = gaussian_hz(X_UM, FIT)
    return {"event": "line", "axis": axis, "x_um": X_UM.tolist(), "rate_hz": rate_hz.tolist(),
            "done": done, "fit": fit}  # fmt: skip


def image(**other: Any) -> dict[str, Any]:
    rate_hz: list[list[float | None]] = [[1.0, 2.0, 3.0], [4.0, 90.0, 5.0], [None, None, None]]
    return {"event": "image", "x_um": [-1.0, 0.0, 1.0], "y_um": [-1.0, 0.0, 1.0],
            "rate_hz": rate_hz, "done": True, **other}  # fmt: skip


class Bench:
    """A view with its hub, what it asked and what it told."""

    def __init__(self, qtbot: QtBot, view: AlignView, recorder: Any) -> None:
        self.qtbot, self.view, self.hub, self.recorder = qtbot, view, view._hub, recorder
        self.told: list[News] = []
        self.hub.news.connect(self.told.append)
        self.hub.asker = recorder
        self.hub.take_link(True, "")
        view.show()
        qtbot.waitExposed(view)
        view.activateWindow()
        self.find(QTableWidget, "found").setRowCount(0)
        self.status()

    def status(self, **station: Any) -> None:
        self.hub.take_status({"doing": "station", "station": STATION | station})

    @property
    def asked(self) -> list[tuple[str, dict[str, Any]]]:
        return list(self.recorder.asked)

    def find(self, kind: type[Any], name: str) -> Any:
        found = self.view.findChild(kind, f"align-{name}")
        assert found is not None, name
        return found

    def text(self, name: str) -> str:
        found: str = self.find(QLabel, name).text()
        return found

    def click(self, name: str) -> None:
        self.qtbot.mouseClick(self.find(QPushButton, name), Qt.MouseButton.LeftButton)

    def job(self, kind: str, *events: dict[str, Any], ok: bool = True, result: Any = None) -> None:
        job = {"id": 1, "kind": kind, "words": kind}
        self.hub.happened.emit({"event": "job-started", "job": job})
        for event in events:
            self.hub.happened.emit(event)
        self.hub.happened.emit(
            {"event": "job-ended", "job": job, "ok": ok, "message": "", "result": result}
        )

    def rows(self) -> list[list[str]]:
        table = self.find(QTableWidget, "found")
        return [
            [table.item(row, column).text() for column in range(1, table.columnCount())]
            for row in range(table.rowCount())
        ]


def make_view(profile: str) -> AlignView:
    hub = Hub()
    hub.take_profile(load_profile(profile))
    view = AlignView(hub)
    view.resize(1040, 620)
    return view


@pytest.fixture(scope="module")
def one_view(qapp: QApplication) -> Iterator[AlignView]:
    """Six plots take their time to make; most tests do not mind what was shown before."""
    view = make_view("simulated")
    yield view
    view.close()
    view.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def bench(qtbot: QtBot, one_view: AlignView, recorder: Any) -> Iterator[Bench]:
    bench = Bench(qtbot, one_view, recorder)
    yield bench
    bench.hub.news.disconnect(bench.told.append)


@pytest.fixture
def fresh(qtbot: QtBot, recorder: Any, request: pytest.FixtureRequest) -> Bench:
    """A view of its own, of any profile."""
    view = make_view(getattr(request, "param", "simulated"))
    qtbot.addWidget(view)
    return Bench(qtbot, view, recorder)


# -- figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate_hz", "words"),
    [
        (None, "–"),
        (0.0, "0 /s"),
        (51.7, "52 /s"),
        (12345.6, "12,350 /s"),
        (1234567.0, "1,235,000 /s"),
    ],
)
def test_count_rate_in_figures(rate_hz: float | None, words: str) -> None:
    assert count_words(rate_hz) == words


def test_figures_and_decay_of_a_look(bench: Bench) -> None:
    bench.hub.light.emit(light())
    assert bench.text("count-rate") == "12,350 /s"
    assert bench.text("sync-rate") == "2.500 MHz"
    t_ns, counts, _ = bench.view.decay.data("counts")
    assert t_ns.tolist() == pytest.approx([0.4, 1.2, 2.0, 2.8])
    assert counts.tolist() == [0, 50, 70, 30]
    # a figure is read from three metres: letters of a centimetre are 30 points and more
    assert bench.find(QLabel, "count-rate").font().pointSizeF() >= 40


@pytest.mark.parametrize(
    ("share", "word", "lamp"),
    [
        (0.0, "ok", "ready"), (0.00999, "ok", "ready"), (0.01, "careful", "careful"),
        (0.0499, "careful", "careful"), (0.05, "too much", "failed"), (0.9, "too much", "failed"),
        (None, "–", "absent"), (math.nan, "–", "absent"),
    ],
)  # fmt: skip
def test_pile_up(bench: Bench, share: float | None, word: str, lamp: str) -> None:
    bench.hub.light.emit(light(share=share))
    assert bench.text("pile-up-word") == word
    assert bench.find(StateLight, "pile-up-light").lamp == lamp


@pytest.mark.parametrize(
    ("rate_hz", "limit_hz", "word", "detail"),
    [
        (12345.6, 2e6, "ok", "0.6% of 2.00 M/s"), (1e6, 2e6, "careful", "50.0% of 2.00 M/s"),
        (2e6, 2e6, "too much", "100.0% of 2.00 M/s"), (1e5, None, "–", ""), (None, 2e6, "–", ""),
    ],
)  # fmt: skip
def test_detector_limit(
    bench: Bench, rate_hz: float | None, limit_hz: float | None, word: str, detail: str
) -> None:
    bench.hub.light.emit(light(count_rate_hz=rate_hz, limit_hz=limit_hz))
    assert bench.text("limit-word") == word
    assert bench.text("limit-detail") == detail


@pytest.mark.parametrize(("share", "colour"), [(0.001, "text"), (0.02, "warn"), (0.2, "bad")])
def test_the_figure_takes_the_colour_of_the_worse_verdict(
    bench: Bench, share: float, colour: str
) -> None:
    bench.hub.light.emit(light(share=share))
    shown = bench.find(QLabel, "count-rate").palette().windowText().color().name()
    assert shown == getattr(theme.colours(), colour)


@pytest.mark.parametrize(
    "empty",
    [
        {"event": "light"},
        light(counts=[], count_rate_hz=None, sync_rate_hz=None, share=None, limit_hz=None),
        light(counts=None, device_s=None, bin_ns=None, offset_ns=None),
        light(counts=[0, 0, 0], count_rate_hz=0.0, sync_rate_hz=0.0, share=None),
    ],
)
def test_nothing_known_breaks_nothing(bench: Bench, empty: dict[str, Any]) -> None:
    bench.hub.light.emit(empty)
    assert bench.text("pile-up-word") in ("–", "ok")


def test_the_past_is_two_minutes_and_bounded(bench: Bench) -> None:
    for at in range(400):
        bench.hub.light.emit(light(device_s=at * 0.5, count_rate_hz=float(at)))
    before_s, rate_hz, _ = bench.view.history.data("rate")
    assert before_s[0] == -HISTORY_S
    assert before_s[-1] == 0.0
    assert rate_hz[-1] == 399.0
    assert before_s.size == 2 * HISTORY_S + 1
    # another host, whose clock begins anew
    bench.hub.light.emit(light(device_s=1.0))
    assert bench.view.history.data("rate")[0].tolist() == [0.0]
    assert bench.view._past.maxlen == MOST_POINTS


def test_a_time_without_looks_is_a_gap(fresh: Bench) -> None:
    for device_s in (1.0, 1.5, 2.0, 30.0, 30.5):
        fresh.hub.light.emit(light(device_s=device_s))
    before_s, rate_hz, _ = fresh.view.history.data("rate")
    assert before_s.tolist() == [-29.5, -29.0, -28.5, -0.5, -0.5, 0.0]
    assert np.isnan(rate_hz).tolist() == [False, False, False, True, False, False]


def test_in_the_dark_the_figures_go(bench: Bench) -> None:
    bench.hub.light.emit(light())
    bench.status(aligning=False)
    assert bench.text("count-rate") == "–"
    assert bench.text("pile-up-word") == "–"
    assert "Dark" in bench.text("words")


# -- buttons and keys ------------------------------------------------------------------------

CAN = ("light", "dark", "stop", "centre", *SEARCHES)


@pytest.mark.parametrize(
    ("status", "can", "words"),
    [
        ({"station": STATION}, {"light", "dark", "centre", *SEARCHES}, "Light is on"),
        ({"station": STATION | {"aligning": False}}, {"light", "dark", "centre"}, "Dark."),
        ({"station": STATION | {"connected": False, "aligning": False}}, set(), "Not connected"),
        ({"doing": "scan", "station": STATION | {"aligning": False}}, set(), "A scan is running"),
        ({"station": STATION | {"job": {"kind": "raster", "words": "measuring an image"}}},
         {"dark", "stop"}, "measuring an image"),
        ({"station": STATION | {"job": {"kind": "move", "words": "m"}}},
         {"light", "dark", "centre", *SEARCHES}, "Light is on"),
    ],
)  # fmt: skip
def test_what_can_be_done_when(
    bench: Bench, status: dict[str, Any], can: set[str], words: str
) -> None:
    bench.hub.take_status({"doing": "station", **status})
    assert {name for name in CAN if bench.find(QPushButton, name).isEnabled()} == can
    assert words in bench.text("words")


def test_a_lost_host_allows_nothing(bench: Bench) -> None:
    bench.hub.take_link(False, "gone")
    assert not any(bench.find(QPushButton, name).isEnabled() for name in CAN)


@pytest.mark.parametrize(
    ("name", "command", "arguments"),
    [
        ("light", "align", {"dwell_s": 0.5}),
        ("dark", "dark", {}),
        ("cross", "cross", {"half_range_um": 1.5, "positions": 31, "dwell_s": 0.1}),
        ("raster", "raster", {"half_range_um": 1.5, "positions": 15, "dwell_s": 0.1}),
        ("find", "find", {"half_range_um": 1.5, "positions": 31, "dwell_s": 0.1}),
        ("focus", "focus",
         {"half_range_um": 5.0, "steps": 11, "by": "peak", "dwell_s": 0.1}),
        ("irf", "irf", {"dwell_s": 5.0}),
        ("background", "background", {"dwell_s": 5.0}),
        ("centre", "centre", {}),
    ],
)  # fmt: skip
def test_each_button_asks_for_its_command(
    bench: Bench, name: str, command: str, arguments: dict[str, Any]
) -> None:
    bench.click(name)
    assert bench.asked == [(command, arguments)]
    assert all(type(value) is not float or math.isfinite(value) for value in arguments.values())


def test_settings_go_with_the_command(fresh: Bench) -> None:
    def put(name: str, value: float) -> None:
        fresh.find(QDoubleSpinBox, name).setValue(value)

    for name, value in (
        ("dwell", 0.2), ("time-bin", 50), ("range", 200), ("offset", 3), ("divider", 4),
        ("half-range", 0.8), ("places", 11), ("raster-places", 5), ("place-dwell", 0.05),
        ("focus-range", 2), ("focus-steps", 7), ("long-dwell", 30),
    ):  # fmt: skip
        put(name, value)
    fresh.find(QComboBox, "focus-by").setCurrentText("width")
    for name in ("light", "cross", "raster", "focus", "irf"):
        fresh.click(name)
    assert fresh.asked == [
        ("align", {"dwell_s": 0.2, "time_bin_ps": 50.0, "range_ns": 200.0, "offset_ns": 3.0,
                   "sync_divider": 4}),
        ("cross", {"half_range_um": 0.8, "positions": 11, "dwell_s": 0.05}),
        ("raster", {"half_range_um": 0.8, "positions": 5, "dwell_s": 0.05}),
        ("focus", {"half_range_um": 2.0, "steps": 7, "by": "width", "dwell_s": 0.05}),
        ("irf", {"dwell_s": 30.0}),
    ]  # fmt: skip
    assert [type(fresh.asked[k][1][key]) for k, key in ((0, "sync_divider"), (1, "positions"))] == [
        int, int,
    ]  # fmt: skip


def test_the_half_range_is_within_the_travel_and_the_cost_is_told(bench: Bench) -> None:
    box = bench.find(QDoubleSpinBox, "half-range")
    box.setValue(1e4)
    assert box.value() == pytest.approx(25.2525, abs=1e-4)
    box.setValue(1.5)
    step_um = 3.0 / 30 * 495
    profile = bench.hub.profile
    assert profile is not None
    cross_s = 62 * (0.1 + profile.travel_s(step_um))
    assert bench.text("cost").startswith(f"cross {cross_s:.0f} s")


@pytest.mark.parametrize("fresh", ["lmu"], indirect=True)
def test_without_shutter_the_background_is_with_the_laser_off(fresh: Bench) -> None:
    fresh.click("background")
    assert fresh.asked == [("background", {"dwell_s": 5.0, "dark": True})]


@pytest.mark.parametrize("fresh", ["purdue"], indirect=True)
def test_without_sample_stage_there_is_no_focus(fresh: Bench) -> None:
    assert not fresh.find(QPushButton, "focus").isVisible()
    assert fresh.find(QPushButton, "cross").isVisible()


def test_space_goes_between_light_and_dark(bench: Bench) -> None:
    bench.view.setFocus()
    bench.qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    bench.status(aligning=False)
    bench.qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    bench.status(connected=False, aligning=False)
    bench.qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    assert [command for command, _ in bench.asked] == ["dark", "align"]


def test_light_that_is_just_being_made_can_be_ended(bench: Bench) -> None:
    bench.status(aligning=False, job={"id": 1, "kind": "align", "words": "making light to align"})
    bench.view.setFocus()
    bench.qtbot.keyClick(bench.view, Qt.Key.Key_Space)
    assert bench.asked == [("dark", {})]


def test_space_after_a_click_on_light_makes_it_dark(bench: Bench) -> None:
    bench.click("light")
    bench.qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    assert [command for command, _ in bench.asked] == ["align", "dark"]


def test_other_keys_do_nothing(bench: Bench) -> None:
    bench.view.setFocus()
    for key in (Qt.Key.Key_A, Qt.Key.Key_Return, Qt.Key.Key_Left, Qt.Key.Key_Escape):
        bench.qtbot.keyClick(bench.view, key)
    assert bench.asked == []


@pytest.mark.parametrize("kind", SEARCHES)
def test_each_search_can_be_stopped(bench: Bench, kind: str) -> None:
    job = {"id": 2, "kind": kind, "words": "searching"}
    bench.status(job=job)
    progress = {"event": "job-progress", "job": job, "share": 0.42, "words": "line 3 of 7"}
    bench.hub.happened.emit(progress)
    assert bench.text("words") == "line 3 of 7, 42%"
    bench.click("stop")
    assert bench.asked == [("halt", {})]
    bench.hub.happened.emit({"event": "job-ended", "job": job, "ok": False, "result": None})
    bench.status()
    assert not bench.find(QPushButton, "stop").isEnabled()
    assert bench.rows() == []


# -- results ---------------------------------------------------------------------------------


def test_a_cross_is_two_curves_with_their_fits(bench: Bench) -> None:
    view = bench.view
    bench.job("cross", line("x", FIT), line("y", FIT | {"center_um": -0.3}))
    for axis, centre_um in (("x", 0.12), ("y", -0.3)):
        assert view.cross.data(axis)[0].size == X_UM.size
        at_um, rate_hz, _ = view.cross.data(f"{axis}-fit")
        assert at_um[rate_hz.argmax()] == pytest.approx(centre_um, abs=0.01)
        assert rate_hz.max() == pytest.approx(10_200, rel=1e-3)
    words = bench.text("cross-words")
    assert "0.1200 ± 0.0040 µm" in words
    assert "−0.3000 ± 0.0040 µm" in words
    assert bench.rows() == [
        ["Cross", "x 0.1200 ± 0.0040\ny −0.3000 ± 0.0040", "612 nm", "10.0 k/s"]
    ]


def test_a_growing_line_has_no_fit_and_the_next_cross_forgets_the_last(bench: Bench) -> None:
    bench.job("cross", line("x", FIT), line("y", FIT))
    bench.hub.happened.emit({"event": "job-started", "job": {"id": 2, "kind": "cross"}})
    bench.hub.happened.emit(line("x", None, done=False))
    assert bench.view.cross.data("x")[0].size == X_UM.size
    for name in ("x-fit", "y", "y-fit"):
        assert bench.view.cross.data(name)[0].size == 0
    assert bench.text("cross-words") == ""


def test_a_cross_without_a_peak_says_so(bench: Bench) -> None:
    bench.job("cross", line("x", None), line("y", FIT))
    assert bench.rows()[0][1] == "x –\ny 0.1200 ± 0.0040"
    bench.job("cross", line("x", None), line("y", None))
    assert bench.rows()[0] == ["Cross", "x –\ny –", "–", "–"]


def test_the_peak_that_the_host_found_is_kept(bench: Bench) -> None:
    peak = {"x_um": 0.2, "x_stderr_um": 0.01, "y_um": 0.0, "y_stderr_um": 0.02, "sigma_um": 0.1,
            "peak_hz": 5e3}  # fmt: skip
    bench.job("find", line("x", FIT), line("y", FIT), result=peak)
    assert bench.rows() == [["Spot", "x 0.200 ± 0.010\ny 0.000 ± 0.020", "235 nm", "5.00 k/s"]]


def test_what_did_not_end_well_is_not_kept(bench: Bench) -> None:
    bench.job("find", line("x", FIT), ok=False)
    assert bench.rows() == []


def test_focus(bench: Bench) -> None:
    event = {"event": "focus", "z_um": [-2.0, 0.0, 2.0], "value": [1.0, 5.0, None], "by": "peak"}
    bench.job("focus", event | {"best_z_um": None}, event | {"best_z_um": 0.4})
    assert bench.view.focus.line_at("best") == 0.4
    assert bench.view.focus.data("value")[1][:2].tolist() == [1.0, 5.0]
    assert bench.view.focus.title.text() == "Focus: best at z +0.40 µm"
    assert bench.view.tabs.currentWidget() is bench.view.focus
    assert bench.rows() == [["Focus", "z +0.40", "", ""]]
    bench.hub.happened.emit(event | {"by": "width", "best_z_um": None})
    assert str(bench.view.focus.y_axis) == "width (µm)"


def test_irf_and_time_zero(bench: Bench) -> None:
    event = {"event": "irf", "bin_ns": 0.025, "offset_ns": 2.0, "counts": [1, 50, 900, 40],
             "time_zero_ns": 2.05, "fwhm_ps": 82.31, "stderr_ps": 0.6}  # fmt: skip
    bench.job("irf", event)
    assert bench.view.irf.line_at("zero") == 2.05
    assert bench.view.irf.data("counts")[0].tolist() == pytest.approx(
        [2.0125, 2.0375, 2.0625, 2.0875]
    )
    assert bench.view.irf.title.text() == "t₀ 2.050 ns, FWHM 82.31 ± 0.60 ps"
    assert bench.rows() == [["IRF", "t₀ 2.050 ns", "82.31 ± 0.60 ps", ""]]


@pytest.mark.parametrize(("dark", "words"), [(False, "light blocked"), (True, "laser off")])
def test_background(bench: Bench, dark: bool, words: str) -> None:
    event = {"event": "background", "count_rate_hz": 52.1, "stderr_hz": 3.2, "dark": dark}
    bench.job("background", event)
    assert bench.rows() == [["Background", words, "", "52.1 ± 3.2 /s"]]


def test_centre_is_kept(bench: Bench) -> None:
    bench.job("centre", result={"zero_x_um": 100.0, "zero_y_um": 2.0})
    assert bench.rows() == [["Centre", "now x 0, y 0", "", ""]]


def test_what_was_found_is_bounded_and_newest_first(bench: Bench) -> None:
    for rate_hz in range(MOST_FOUND + 5):
        event = {"event": "background", "count_rate_hz": float(rate_hz), "stderr_hz": None}
        bench.job("background", event)
    rows = bench.rows()
    assert len(rows) == MOST_FOUND
    assert rows[0][3] == f"{MOST_FOUND + 4} /s"


def test_jobs_of_other_views_are_not_kept(bench: Bench) -> None:
    for kind in ("move", "set", "scan", "connect"):
        bench.job(kind)
    assert bench.rows() == []


class Click:
    """What pyqtgraph tells of a click."""

    def __init__(self, at: QPointF, button: Qt.MouseButton, is_double: bool = False) -> None:
        self._at, self._button, self._is_double = at, button, is_double

    def button(self) -> Qt.MouseButton:
        return self._button

    def double(self) -> bool:
        return self._is_double

    def scenePos(self) -> QPointF:
        return self._at


def click_raster(bench: Bench, x_um: float, y_um: float, **other: Any) -> None:
    view = bench.view.raster.view
    at = view.mapViewToScene(QPointF(x_um, y_um))
    click = Click(at, **({"button": Qt.MouseButton.LeftButton} | other))
    bench.view.raster.canvas.scene().sigMouseClicked.emit(click)


def test_a_raster_is_an_image_and_a_click_goes_there(bench: Bench) -> None:
    bench.job("raster", image())
    assert bench.view.raster.read_at(0.1, -0.1) == "x 0 µm   y 0 µm   90 /s"
    assert "not measured" in bench.view.raster.read_at(0.0, 1.0)
    assert bench.rows() == [["Brightest", "x +0.00, y +0.00", "", "90.0 /s"]]
    QApplication.processEvents()
    click_raster(bench, 0.5, -0.25)
    assert len(bench.asked) == 1
    command, arguments = bench.asked[0]
    assert command == "move"
    assert arguments["to"] == pytest.approx([0.5, -0.25], abs=0.02)
    assert (arguments["stage"], arguments["plane"], arguments["relative"]) == (
        "detector", "sample", False,
    )  # fmt: skip


@pytest.mark.parametrize("why", ["right", "double", "outside", "running"])
def test_clicks_that_go_nowhere(bench: Bench, why: str) -> None:
    bench.job("raster", image())
    QApplication.processEvents()
    match why:
        case "right":
            click_raster(bench, 0.0, 0.0, button=Qt.MouseButton.RightButton)
        case "double":
            click_raster(bench, 0.0, 0.0, is_double=True)
        case "outside":
            click_raster(bench, 40.0, 0.0)
        case "running":
            bench.hub.take_status({"doing": "scan", "station": STATION})
            click_raster(bench, 0.0, 0.0)
    assert bench.asked == []


def test_a_click_where_nothing_was_measured_goes_nowhere(fresh: Bench) -> None:
    click_raster(fresh, 0.5, 0.5)
    assert fresh.asked == []


def test_a_raster_without_any_count_is_kept_as_such(bench: Bench) -> None:
    bench.job("raster", image(rate_hz=[[None] * 3] * 3))
    assert bench.rows() == [["Brightest", "–", "", ""]]


def test_the_raster_shows_where_the_detector_is(bench: Bench) -> None:
    for values, points in (
        ({"detector_x_um": 0.3, "detector_y_um": 0.1}, [(0.3, 0.1)]),
        ({"detector_x_um": None, "detector_y_um": 0.1}, []),
        ({}, []),
    ):
        bench.hub.take_readings({"values": values})
        assert [(p.pos().x(), p.pos().y()) for p in bench.view._here.points()] == points


# -- names, keyboard, colours, size ----------------------------------------------------------


def test_every_button_has_a_mnemonic_of_its_own(bench: Bench) -> None:
    texts = [b.text().replace("&&", "") for b in bench.view.findChildren(QPushButton)]
    letters = [text[text.index("&") + 1].lower() for text in texts]
    assert len(letters) == len(set(letters))
    # the menus and the Instrument view beside it have the others
    assert set(letters) == set("nkxsituzbw")


def test_everything_has_a_name_and_a_tooltip_and_is_reached_by_tab(bench: Bench) -> None:
    kinds = (QPushButton, QDoubleSpinBox, QComboBox)
    for kind in kinds:
        for widget in bench.view.findChildren(kind):
            assert widget.objectName().startswith("align-")
            assert widget.toolTip(), widget.objectName()
            assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus
            assert kind is QPushButton or widget.accessibleName(), widget.objectName()


def test_it_fits_beside_the_instrument_on_a_small_screen(fresh: Bench) -> None:
    fresh.view.resize(1900, 1000)
    fresh.hub.light.emit(light(count_rate_hz=1.234e6))
    assert fresh.view.minimumSizeHint().width() <= 1366 - 310
    assert fresh.view.minimumSizeHint().height() <= 600


def test_other_colours(bench: Bench) -> None:
    bench.hub.light.emit(light(share=0.2))
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    word = bench.find(QLabel, "pile-up-word")
    try:
        theme.apply(app, dark=True)
        assert word.palette().windowText().color().name() == theme.DARK.bad
    finally:
        theme.apply(app, dark=False)
    assert word.palette().windowText().color().name() == theme.LIGHT.bad


def test_exports_are_told(bench: Bench, tmp_path: Any) -> None:
    bench.job("raster", image())
    bench.view.raster.export_and_tell(str(tmp_path / "raster.csv"))
    assert (tmp_path / "raster.csv").exists()
    assert bench.told[-1].level == "info"
    bench.view.raster.export_and_tell(str(tmp_path / "none" / "raster.csv"))
    assert bench.told[-1].level == "error"


# -- with a real station ---------------------------------------------------------------------


def test_finding_the_spot_with_a_real_station(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Any
) -> None:
    with threads.lent(), attached(tmp_path, monkeypatch) as station:
        view = AlignView(station.hub)
        qtbot.addWidget(view)
        view.resize(1040, 620)
        view.show()

        def until(condition: Any) -> None:
            qtbot.waitUntil(condition, timeout=30_000)

        def text(name: str) -> str:
            found = view.findChild(QLabel, f"align-{name}")
            return "" if found is None else found.text()

        def click(name: str) -> None:
            button = view.findChild(QPushButton, f"align-{name}")
            assert button is not None
            until(button.isEnabled)
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

        def found(row: int = 0) -> str:
            item = view.found.item(row, 1)
            return "" if item is None else item.text()

        until(lambda: "Not connected" in text("words"))
        station.hub.ask("connect")
        for box, value in ((view.time_bin, 200), (view.range, 100), (view.places, 11),
                           (view.raster_places, 5), (view.place_dwell, 0.05)):  # fmt: skip
            box.setValue(value)
        click("light")
        until(lambda: text("count-rate").endswith("/s"))
        until(lambda: text("sync-rate") == "2.500 MHz")
        until(lambda: view.decay.data("counts")[1].sum() > 0)
        assert station.microscope.laser.output_nw() > 0
        for name, word in (
            ("find", "Spot"), ("cross", "Cross"), ("raster", "Brightest"),
            ("background", "Background"), ("centre", "Centre"),
        ):  # fmt: skip
            click(name)
            until(lambda word=word: found() == word)
        assert [found(row) for row in range(5)] == [
            "Centre", "Background", "Brightest", "Cross", "Spot",
        ]  # fmt: skip
        assert view.cross.data("x-fit")[0].size > 0
        assert view.raster.arrays()["values"].shape == (5, 5)
        click("raster")
        click("stop")
        until(lambda: not view.stop.isEnabled())
        # whatever is interrupted ends in the dark
        until(lambda: "Dark" in text("words"))
        assert station.microscope.laser.output_nw() == 0
        view.setFocus()
        qtbot.keyClick(view, Qt.Key.Key_Space)
        until(lambda: "Light is on" in text("words"))
        assert station.microscope.laser.output_nw() > 0
        qtbot.keyClick(view, Qt.Key.Key_Space)
        until(lambda: "Dark" in text("words"))
        assert station.microscope.laser.output_nw() == 0


MOVED = ("detector_stage.x.zero_um=148.5", "detector_stage.y.zero_um=-99")
"""Another zero: 0.3 and -0.2 um in the sample plane, at 495 times."""


@pytest.mark.parametrize("also", ["", "background"])
def test_light_stays_where_it_is_when_the_zero_moves(fresh: Bench, also: str) -> None:
    fresh.job("cross", line("x", FIT), line("y", FIT))
    fresh.job("raster", image())
    if also:
        fresh.job(also)
    fresh.hub.take_profile(load_profile("simulated", MOVED))
    view = fresh.view
    np.testing.assert_allclose(view.cross.data("x")[0], X_UM - 0.3)
    np.testing.assert_allclose(view.cross.data("y")[0], X_UM + 0.2)
    x, y = view.cross.data("x-fit")[:2]
    assert x[np.argmax(y)] == pytest.approx(0.12 - 0.3, abs=0.02)
    assert "−0.180" in fresh.text("cross-words")
    arrays = view.raster.arrays()
    np.testing.assert_allclose(sorted(arrays["x"]), [-1.3, -0.3, 0.7])
    np.testing.assert_allclose(sorted(arrays["y"]), [-0.8, 0.2, 1.2])


def test_large_figures_stay_large_in_other_colours(fresh: Bench) -> None:
    before = fresh.view.count_rate.value.font().pointSizeF()
    fresh.view.count_rate.resize_font(9)  # what a style sheet of the application does
    theme.notifier.changed.emit()
    assert fresh.view.count_rate.value.font().pointSizeF() == before > 30
