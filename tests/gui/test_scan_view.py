"""The view of one scan, driven as a person does."""

import importlib.util
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QCheckBox, QFileDialog, QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from tests.daq.scan_files import write_counts
from tplm_analysis import synthetic_map
from tplm_config import (
    CardSettings,
    InputError,
    LineScan,
    PositionScan,
    ScanPlan,
    SeriesPlan,
    check,
    load_plan,
    load_profile,
    load_series,
    parse_plan,
)
from tplm_daq.prediction import outlook
from tplm_daq.station import Station
from tplm_daq.store import read_scan
from tplm_gui import words
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Found, Wanted
from tplm_gui.hub import Hub, News, Reply, is_running
from tplm_gui.views import scan as scan_module
from tplm_gui.views.scan import ScanView, key_of, reach_um
from tplm_gui.widgets.launch import (
    clock,
    free_name,
    room_in,
    short_path,
    wall_s,
    whole_path,
    why_not,
)

_SPEC = importlib.util.spec_from_file_location(
    "gui_scan_files", Path(__file__).parents[1] / "daq" / "scan_files.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
scan_files = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(scan_files)

PROFILE = load_profile("simulated")
STATION = {
    "profile": "simulated", "simulated": False, "wired": False, "speed": None, "connected": True,
    "aligning": False, "job": None, "lesson": None, "last": None,
}  # fmt: skip


def status_of(folder: Path, **changes: Any) -> dict[str, Any]:
    """The status of a station that does nothing, unless it is said to."""
    station = {**STATION, "folder": str(folder), **changes.pop("station", {})}
    return {"doing": "station", "state": "idle", "ending": None, "station": station, **changes}


class Desk:
    """A scan view, and the hands of the person before it."""

    def __init__(self, qtbot: QtBot, hub: Hub) -> None:
        self.qtbot, self.hub = qtbot, hub
        self.view = ScanView(hub)
        qtbot.addWidget(self.view)
        self.view.resize(1050, 640)
        self.view.show()
        self.settle()

    def find(self, name: str) -> Any:
        found = self.view.findChild(QWidget, name)
        assert found is not None, name
        return found

    def settle(self) -> None:
        """Wait until everything that was begun beside the window is here."""
        view = self.view
        self.qtbot.waitUntil(lambda: view._foreseer.is_idle and view._looker.is_idle)

    def type_in(self, name: str, text: str) -> None:
        field = self.find(name)
        field.setFocus()
        self.qtbot.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        self.qtbot.keyClick(field, Qt.Key.Key_Delete)
        self.qtbot.keyClicks(field, text)
        self.settle()

    def click(self, name: str) -> None:
        button = self.find(name)
        assert button.isEnabled(), button.toolTip()
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def text(self, name: str) -> str:
        found = self.view.findChild(QLabel, name)
        assert found is not None, name
        return found.text()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "DEBOUNCE_MS", 0)


@pytest.fixture
def desk(qtbot: QtBot, hub: Hub, tmp_path: Path) -> Desk:
    hub.profile = PROFILE
    hub.status = status_of(tmp_path)
    return Desk(qtbot, hub)


def test_it_says_what_the_scan_will_be(desk: Desk) -> None:
    expected = outlook(load_plan("line"), PROFILE)
    assert expected.d_stderr_cm2_per_s is not None
    assert desk.text("scan-duration") == words.duration(expected.cost.duration_s)
    assert desk.text("scan-visits") == "412"
    assert desk.text("scan-counts") == words.si(expected.expected_counts, "", 3)
    assert f"± {expected.d_stderr_cm2_per_s:.2g} cm²/s" in desk.text("scan-error")
    desk.type_in("passes", "40")
    longer = outlook(load_plan("line", ["passes=40"]), PROFILE)
    assert desk.text("scan-duration") == words.duration(longer.cost.duration_s)
    desk.type_in("scan-rate", "1e5")
    brighter = outlook(load_plan("line", ["passes=40"]), PROFILE, 1e5)
    assert brighter.d_stderr_cm2_per_s is not None
    assert f"± {brighter.d_stderr_cm2_per_s:.2g}" in desk.text("scan-error")


@pytest.mark.parametrize(
    ("duration_s", "speed", "said"), [(5e5, 10.0, 5e4), (5e5, None, None), (60.0, 1.0, 60.0)]
)
def test_a_simulation_has_a_clock_of_its_own(
    duration_s: float, speed: float | None, said: float | None
) -> None:
    status = {"station": {"simulated": True, "speed": speed}}
    assert wall_s(status, duration_s) == said
    assert wall_s({"station": {"simulated": False, "speed": None}}, duration_s) == duration_s


def test_when_it_ends_is_told_by_the_clock() -> None:
    now = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)
    said = [clock(s, now) for s in (60, 86_400, 864_000, None)]
    assert said == ["13:31", "Sun 13:30", "01 Dec 2026", "soon"]


def test_the_work_is_not_done_in_the_thread_of_the_window(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    for name in ("foresee", "look_at"):
        original: Callable[..., Any] = getattr(scan_module, name)

        def watched(*args: Any, of: Callable[..., Any] = original) -> Any:
            threads.append(threading.current_thread().name)
            return of(*args)

        monkeypatch.setattr(scan_module, name, watched)
    desk.type_in("passes", "3")
    desk.type_in("sample", "film")
    assert len(threads) >= 2
    assert threading.main_thread().name not in threads


@pytest.mark.parametrize(
    ("field", "typed", "where", "said"),
    [
        ("excitation.power_nw", "500", "excitation.power_nw", "at most 200 nW"),
        ("half_range_um", "100", "half_range_um", "axis travels from"),
        ("y_center_um", "100", "y_center_um", "axis travels from"),
        ("excitation.repetition_rate_hz", "80e6", "card.range_ns", "next pulse"),
        ("dwell_s", "x", "dwell_s", "a number is needed"),
    ],
)
def test_what_the_instrument_cannot_do_is_said_beside_the_field(
    desk: Desk, field: str, typed: str, where: str, said: str
) -> None:
    desk.type_in(field, typed)
    note = desk.find(f"{where}-problem")
    assert said in note.text()
    assert note.isVisibleTo(desk.view)
    start: QPushButton = desk.find("scan-start")
    assert not start.isEnabled()
    assert said in desk.text("scan-reason")
    assert desk.text("scan-duration") == words.NONE


def test_the_field_of_a_complaint() -> None:
    for plan, key in (
        (LineScan(half_range_um=100), "half_range_um"),
        (LineScan(axis="y", half_range_um=100), "half_range_um"),
        (LineScan(y_center_um=100), "y_center_um"),
        (load_plan("raster", ["y_half_range_um=100"]), "y_half_range_um"),
        (PositionScan(x_um=(0, 100)), "x_um"),
    ):
        with pytest.raises(InputError) as found:
            check(plan, PROFILE)
        assert key_of(found.value, plan) == key


def test_start_sends_the_plan_and_a_name_that_is_free(
    desk: Desk, recorder: Any, tmp_path: Path
) -> None:
    desk.type_in("operator", "Ann")
    desk.type_in("sample", "film 3")
    desk.type_in("passes", "4")
    name = desk.find("scan-name").text()
    assert name.endswith("_film-3_001.h5")
    desk.click("scan-start")
    (command, asked), *rest = recorder.asked
    assert (command, rest) == ("scan", [])
    plan = parse_plan(asked["plan"], "sent")
    assert plan == load_plan("line", ["passes=4", 'operator="Ann"', 'sample="film 3"'])
    assert asked["out"] == str(tmp_path / name)
    assert asked["watchdog"] is True
    # the run makes the file; the next one has another name
    (tmp_path / name).touch()
    desk.hub.happened.emit({"event": "run-started"})
    desk.settle()
    assert desk.find("scan-name").text().endswith("_film-3_002.h5")
    watchdog: QCheckBox = desk.find("scan-watchdog")
    watchdog.setFocus()
    desk.qtbot.keyClick(watchdog, Qt.Key.Key_Space)
    desk.qtbot.keyClick(watchdog, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert recorder.commands == ["scan", "scan"]
    assert recorder.asked[1][1]["watchdog"] is False
    assert recorder.asked[1][1]["out"].endswith("_002.h5")


def test_a_name_that_a_person_gave_stays(desk: Desk, recorder: Any, tmp_path: Path) -> None:
    desk.type_in("scan-name", "mine")
    desk.type_in("sample", "other")
    assert desk.find("scan-name").text() == "mine"
    desk.click("scan-start")
    assert recorder.asked[0][1]["out"] == str(tmp_path / "mine.h5")


def test_names_count_on(tmp_path: Path) -> None:
    first = free_name(tmp_path, "a/b: c", ".h5")
    assert first.endswith("_a-b-c_001.h5")
    (tmp_path / first).touch()
    (tmp_path / first.replace("001.h5", "007")).mkdir()
    assert free_name(tmp_path, "a/b: c", ".h5").endswith("_008.h5")
    assert free_name(tmp_path / "not there", "", ".h5").endswith("_scan_001.h5")


def test_a_folder_that_cannot_be_used(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    desk.type_in("scan-folder", str(tmp_path / "file"))
    assert not desk.find("scan-start").isEnabled()
    assert "cannot be used" in desk.text("scan-reason")


def test_a_folder_that_is_not_there_is_said_before_the_start(
    desk: Desk, recorder: Any, tmp_path: Path
) -> None:
    desk.type_in("scan-folder", str(tmp_path / "tomorrow"))
    assert not desk.find("scan-start").isEnabled()
    assert "tomorrow does not exist" in desk.text("scan-reason")
    assert room_in(tmp_path / "tomorrow", "film", "").problem == ""  # a series makes its own
    (tmp_path / "tomorrow").mkdir()
    desk.view._look()
    desk.settle()
    assert desk.find("scan-start").isEnabled()


def test_a_path_is_written_from_the_home_folder_on(
    desk: Desk, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "films").mkdir()
    for folder in (tmp_path, tmp_path / "films", Path("/elsewhere")):
        assert whole_path(short_path(folder)) == folder
    desk.view.target.set_folder(tmp_path / "films")
    assert desk.find("scan-folder").text() == "~/films"
    desk.settle()
    desk.click("scan-start")
    out = Path(recorder.asked[-1][1]["out"])
    assert out.parent == tmp_path / "films"


def test_what_the_host_refuses_is_said(desk: Desk, recorder: Any) -> None:
    recorder.replies["scan"] = Reply(ok=False, words="the shutter does not answer")
    desk.click("scan-start")
    desk.settle()  # looking at the folder and the plan anew does not take it away
    desk.view._show_foresight()
    assert desk.text("scan-reason") == "the shutter does not answer"
    assert desk.find("scan-start").isEnabled()
    desk.type_in("passes", "3")
    assert desk.text("scan-reason") == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"station": {"connected": False}}, "not connected"),
        ({"station": {"aligning": True}}, "Dark"),
        ({"station": {"job": {"id": 1, "kind": "doctor", "words": "looking"}}}, "looking"),
        ({"doing": "scan", "path": "/data/film.h5"}, "film.h5"),
        ({"doing": "series", "path": "/data/s1"}, "A series goes on"),
    ],
)  # fmt: skip
def test_why_it_cannot_begin(
    desk: Desk, recorder: Any, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    news: list[News] = []
    desk.hub.news.connect(news.append)
    desk.hub.take_status(status_of(tmp_path, **changes))
    assert not desk.find("scan-start").isEnabled()
    assert said in desk.text("scan-reason")
    desk.qtbot.keyClick(desk.find("passes"), Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert recorder.commands == []
    assert said in news[0].text
    desk.hub.take_status(status_of(tmp_path))
    assert desk.find("scan-start").isEnabled()


def test_nothing_begins_without_a_host(desk: Desk) -> None:
    desk.hub.take_link(False, "lost")
    assert not desk.find("scan-start").isEnabled()
    assert "No instrument host" in desk.text("scan-reason")


def test_a_run_of_a_terminal_can_be_paused_but_nothing_begun(hub: Hub) -> None:
    hub.status = {"doing": "scan", "state": "counting", "path": "a.h5", "station": None}
    assert "from a terminal" in why_not(hub)
    assert is_running(hub.status)
    assert not is_running({**hub.status, "ending": "completed"})


def test_pause_continue_stop(desk: Desk, recorder: Any, tmp_path: Path) -> None:
    running = status_of(tmp_path, doing="scan", path="a.h5", state="counting")
    assert not desk.find("scan-pause").isEnabled()
    desk.hub.take_status(running)
    desk.click("scan-pause")
    desk.hub.take_status({**running, "requested": "pause"})
    assert "pause after this visit" in desk.text("scan-reason")
    desk.hub.take_status({**running, "state": "paused", "why": "too warm"})
    assert "too warm" in desk.text("scan-reason")
    assert desk.find("scan-pause").text().replace("&", "") == "Continue"
    desk.click("scan-pause")
    desk.click("scan-stop")
    assert recorder.commands == ["pause", "continue", "stop"]


def test_an_unfinished_file_is_offered(desk: Desk, recorder: Any, tmp_path: Path) -> None:
    assert not desk.find("scan-resume").isVisibleTo(desk.view)
    folder = tmp_path / "measured"
    folder.mkdir()
    (folder / "other.h5").write_bytes(b"of another program")
    scan_files.write_counts(folder / "whole.h5", profile=PROFILE)
    desk.type_in("scan-folder", str(folder))
    assert not desk.find("scan-resume").isVisibleTo(desk.view)
    scan_files.write_counts(folder / "half.h5", skip=(3,), profile=PROFILE)
    desk.hub.happened.emit({"event": "run-ended"})
    desk.settle()
    assert "half.h5" in desk.find("scan-resume").text()
    assert "8 of 10 visits" in desk.find("scan-resume").toolTip()
    desk.click("scan-resume")
    assert recorder.asked == [("resume", {"path": str(folder / "half.h5"), "watchdog": True})]


def test_count_rate_and_d_are_taken_from_the_instrument(desk: Desk, tmp_path: Path) -> None:
    assert not desk.find("scan-rate-live").isEnabled()
    desk.hub.light.emit({"count_rate_hz": 2500.0, "is_dark": True})
    assert desk.find("scan-rate").content() == "10000"
    desk.hub.light.emit({"count_rate_hz": 25432.0, "is_dark": False})
    desk.hub.take_status(status_of(tmp_path, d_cm2_per_s=0.0512))
    desk.settle()
    assert desk.find("scan-rate").content() == "25400"
    assert desk.find("scan-d").content() == "0.0512"
    expected = outlook(load_plan("line"), PROFILE, 25400, 0.0512)
    assert desk.text("scan-counts") == words.si(expected.expected_counts, "", 3)
    desk.click("scan-rate-live")
    desk.type_in("scan-rate", "777")
    desk.hub.take_readings(
        {"values": {"emission": True, "shutter_open": True, "count_rate_hz": 5e4}}
    )
    assert desk.find("scan-rate").content() == "777"
    desk.click("scan-rate-live")
    assert desk.find("scan-rate").content() == "50000"
    desk.hub.take_status(status_of(tmp_path, doing="scan", state="counting", path="a.h5"))
    desk.hub.take_readings(  # at the end of the line there is hardly any light
        {"values": {"emission": True, "shutter_open": True, "count_rate_hz": 180.0}}
    )
    assert desk.find("scan-rate").content() == "50000"


def test_the_picture(desk: Desk) -> None:
    picture = desk.view.picture
    places = [(p.x_um, p.y_um) for p in load_plan("line").places()]
    assert np.allclose(picture.arrays()["path_um"], places)
    assert "position 41 of 41" in picture.read_at(2.1, 0.1)
    assert "expected spot" in picture.title.text()
    left, right, low, high = reach_um(PROFILE)
    for x, y in ((left, low), (right, high)):
        check(PositionScan(x_um=(x * 0.999,), y_um=(y * 0.999,)), PROFILE)
    with pytest.raises(InputError):
        check(PositionScan(x_um=(right * 1.001,)), PROFILE)
    across = np.linspace(-1, 1, 5)
    rate = [[None if x == y else 1e3 for x in across] for y in across]
    image = {"event": "image", "x_um": across.tolist(), "y_um": across.tolist(), "rate_hz": rate}
    desk.hub.happened.emit(image)
    assert "last image" in picture.title.text()
    assert np.isnan(picture.arrays()["values"]).sum() == 5
    desk.hub.happened.emit({**image, "x_um": [], "y_um": [], "rate_hz": []})
    shown = picture.view.viewRange()[0]
    assert shown[0] < -2
    assert shown[1] > 2


def test_a_plan_that_is_offered(desk: Desk, tmp_path: Path) -> None:
    asked: list[str] = []
    desk.hub.view_requested.connect(asked.append)
    desk.type_in("operator", "Ann")
    plan = load_plan("cross", ['sample="old film"', "seed=3"])
    desk.hub.plan_offered.emit(plan)
    desk.settle()
    assert desk.view.plan() == plan.model_copy(update={"operator": "Ann"})
    assert asked == ["scan"]
    desk.hub.plan_offered.emit(load_series("power-series"))
    assert asked == ["scan"]


def test_bundled_plans_and_files(desk: Desk, tmp_path: Path) -> None:
    box = desk.find("scan-plan")
    box.setFocus()
    desk.qtbot.keyClick(box, Qt.Key.Key_Down)
    box.textActivated.emit(box.currentText())
    assert desk.view.plan() == load_plan(box.currentText()) == load_plan("raster")
    desk.type_in("notes", "mine")
    for name, act in (("scan-save", "plan.toml"), ("scan-open", "plan.toml")):
        desk.click(name)
        dialog = desk.view.findChild(QFileDialog, "choose-toml")
        assert dialog is not None
        assert (
            not dialog.isModal()
            or dialog.windowModality() is not Qt.WindowModality.ApplicationModal
        )
        dialog.fileSelected.emit(str(tmp_path / act))
        dialog.close()
        dialog.setObjectName("")
    saved = load_plan(tmp_path / "plan.toml")
    assert saved == load_plan("raster", ['notes="mine"'])
    assert box.currentText() == "plan.toml"
    news: list[News] = []
    desk.hub.news.connect(news.append)
    (tmp_path / "bad.toml").write_text("kind = 'lime'")
    desk.view.open_plan(str(tmp_path / "bad.toml"))
    assert "did you mean 'line'?" in news[0].text
    assert desk.view.plan() == saved


def test_a_profile_that_comes_later(qtbot: QtBot, hub: Hub, tmp_path: Path) -> None:
    desk = Desk(qtbot, hub)
    assert desk.text("scan-duration") == words.NONE
    hub.take_status(status_of(tmp_path))
    hub.take_profile(PROFILE)
    desk.settle()
    assert desk.text("scan-duration") == "8 min 39 s"
    assert desk.find("scan-folder").text() == str(tmp_path)
    assert isinstance(desk.view.plan(), ScanPlan)
    assert not isinstance(desk.view.plan(), SeriesPlan)


def test_a_scan_on_a_station(qtbot: QtBot, station: Station, tmp_path: Path) -> None:
    hub = Hub()
    link = Link(hub, Wanted())
    assert station.entry is not None
    link.attach(Found(station.entry, is_own=False, words="a station of this test"))
    try:
        qtbot.waitUntil(lambda: hub.is_linked and hub.profile is not None, timeout=10_000)
        desk = Desk(qtbot, hub)
        assert "not connected" in desk.text("scan-reason")
        hub.ask("connect")
        desk.type_in("positions", "7")
        desk.type_in("passes", "2000")
        desk.type_in("sample", "film")
        desk.click("scan-watchdog")
        qtbot.waitUntil(desk.find("scan-start").isEnabled, timeout=10_000)
        out = desk.view.target.path()
        desk.click("scan-start")
        qtbot.waitUntil(lambda: hub.status.get("visits_done", 0) > 5, timeout=20_000)
        assert not desk.find("scan-start").isEnabled()
        assert out.name in desk.text("scan-reason")
        desk.click("scan-pause")
        qtbot.waitUntil(lambda: hub.status.get("state") == "paused", timeout=10_000)
        desk.click("scan-pause")
        qtbot.waitUntil(lambda: hub.status.get("state") != "paused", timeout=10_000)
        desk.click("scan-stop")
        qtbot.waitUntil(lambda: hub.status.get("doing") == "station", timeout=10_000)
        desk.settle()
        found = read_scan(out)
        assert found.plan == desk.view.plan()
        assert found.ending == "stopped"
        # what is left of it is offered, and the next scan has another name
        qtbot.waitUntil(lambda: out.name in desk.find("scan-resume").text(), timeout=10_000)
        assert desk.find("scan-name").text().endswith("_film_002.h5")
    finally:
        link.close()


def test_the_last_image_moves_with_the_zero(desk: Desk) -> None:
    image = {"x_um": [-1.0, 0.0, 1.0], "y_um": [-1.0, 0.0, 1.0], "rate_hz": [[1.0, 2.0, 3.0]] * 3}
    desk.view.picture.show_image(image, "the last image")
    zero = ("detector_stage.x.zero_um=148.5", "detector_stage.y.zero_um=-99")
    desk.view.picture.show_instrument(load_profile("simulated", zero))
    arrays = desk.view.picture.arrays()
    assert sorted(arrays["x"]) == pytest.approx([-1.3, -0.3, 0.7])
    assert sorted(arrays["y"]) == pytest.approx([-0.8, 0.2, 1.2])
    assert desk.view.picture.title.text() == "Positions over the last image"
    # of another instrument it says nothing
    desk.view.picture.show_instrument(load_profile("mit"))
    assert desk.view.picture.title.text() == "Positions over the expected spot"


def test_it_says_when_the_goal_will_be_reached_and_what_limits(desk: Desk) -> None:
    assert desk.text("scan-goal") == words.NONE
    desk.type_in("stop_when", "5 % on D")
    expected = outlook(load_plan("line", ['stop_when="5 % on D"']), PROFILE)
    assert expected.goal_s is not None
    assert desk.text("scan-goal") == words.duration(expected.goal_s)
    assert desk.text("scan-limits").splitlines()[0] == expected.limits[0].advice
    desk.type_in("stop_when", "five percent")
    assert any("no goal" in problem for problem in desk.view.form.problems())


def test_the_light_of_the_last_scan_is_expected_again(desk: Desk, tmp_path: Path) -> None:
    """Half the width of the profile's spot, and hardly any background."""
    made = synthetic_map(3, amplitude=2e5, fwhm0_nm=400, background_fraction=0.001)
    plan = LineScan(
        half_range_um=2, positions=41, passes=1, card=CardSettings(time_bin_ps=25, range_ns=20)
    )
    write_counts(tmp_path / "last.h5", plan, table=made.counts)
    assert not desk.find("scan-like").isEnabled()
    before = desk.text("scan-error")
    view = SimpleNamespace(path=tmp_path / "last.h5", complete=True, fit=None)
    desk.view._take_map(view)
    desk.settle()
    assert desk.find("scan-like").isChecked()
    assert "last.h5" in desk.find("scan-like").text()
    like = desk.text("scan-error")
    assert float(like.split()[1]) < float(before.split()[1])
    desk.find("scan-like").click()
    desk.settle()
    assert desk.text("scan-error") == before


def test_a_last_scan_that_does_not_know_d_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    before = desk.text("scan-error")
    desk.view._take_map(SimpleNamespace(path=tmp_path / "gone.h5", complete=True, fit=None))
    desk.settle()
    assert desk.text("scan-error") == before
    assert "a tenth background" in desk.find("scan-error").toolTip()
