"""The view of a series, driven as a person does."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import QModelIndex, QPoint, Qt
from PyQt6.QtWidgets import QLabel, QTableView, QWidget
from pytestqt.qtbot import QtBot

from tplm_config import (
    InputError,
    SeriesPlan,
    load_plan,
    load_profile,
    load_series,
    parse_series,
    to_toml,
)
from tplm_daq.series import Entry, Manifest, Result, check_series, forecast
from tplm_daq.series.manifest import State, write_manifest
from tplm_daq.series.points import excitation_at
from tplm_daq.station import Station
from tplm_gui import words
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Found, Wanted
from tplm_gui.hub import Hub, Reply
from tplm_gui.views import series as series_module
from tplm_gui.views.series import SeriesView
from tplm_gui.widgets.launch import whole_path
from tplm_gui.widgets.points import WIDEST_PX
from tplm_gui.widgets.series import curves_of, look_into

PROFILE = load_profile("simulated")
PLAN = load_series("power-series")
LEFT = "the shutter did not close within 2 s"


def status_of(folder: Path, **changes: Any) -> dict[str, Any]:
    """The status of a station that does nothing, unless it is said to."""
    station = {
        "simulated": False, "speed": None, "connected": True, "aligning": False, "job": None,
        "last": None, "folder": str(folder), **changes.pop("station", {}),
    }  # fmt: skip
    return {"doing": "station", "state": "idle", "ending": None, "station": station, **changes}


def running_in(folder: Path, **changes: Any) -> dict[str, Any]:
    """The status while the series in a folder is measured."""
    return status_of(
        folder, doing="series", state="counting", path=str(folder), visits_done=103,
        visits_planned=412, left_s=1234.0, d_cm2_per_s=0.0123, d_stderr_cm2_per_s=0.0011, **changes,
    )  # fmt: skip


def entries_of(states: Sequence[State], plan: SeriesPlan = PLAN) -> list[Entry]:
    """Points of a plan, those done with a D that relaxes within 6 µs."""
    found = []
    for (point, _, _), state in zip(check_series(plan, PROFILE), states, strict=True):
        result = None
        if state == "done":
            power_nw = point.settings.power_nw or 1.0
            light = excitation_at(plan, PROFILE, power_nw, 2.5e6)
            wait_us = light.mean_time_between_excitations_us
            result = Result(
                power_nw=power_nw, repetition_rate_hz=2.5e6, counts=100_000,
                time_between_excitations_us=wait_us, d_stderr_cm2_per_s=0.001,
                d_cm2_per_s=0.002 + 0.05 * float(np.exp(-wait_us / 6)),
            )  # fmt: skip
        found.append(Entry(
            index=point.index, label=point.label, settings=point.settings,
            file=f"p{point.index:03d}.h5", state=state, attempts=0 if state == "waiting" else 1,
            message=LEFT if state == "failed" else "", result=result,
        ))  # fmt: skip
    return found


def write(folder: Path, states: Sequence[State], **changes: Any) -> list[Entry]:
    """A folder with the manifest of a series."""
    folder.mkdir(exist_ok=True)
    entries = entries_of(states)
    write_manifest(folder, Manifest(
        created="2026-11-21T13:30:00Z", plan=to_toml(PLAN), profile=to_toml(PROFILE),
        simulated=False, points=tuple(entries), **changes,
    ))  # fmt: skip
    for entry in entries:
        if entry.state == "done":
            (folder / entry.file).touch()
    return entries


HALF: tuple[State, ...] = (
    "done", "done", "failed", "done", "done", "running", "waiting", "waiting",
)  # fmt: skip
ALL: tuple[State, ...] = ("done",) * 8


class Desk:
    """A series view, and the hands of the person before it."""

    def __init__(self, qtbot: QtBot, hub: Hub) -> None:
        self.qtbot, self.hub = qtbot, hub
        self.view = SeriesView(hub)
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
        works = (self.view._foreteller, self.view._looker, self.view._reader)
        self.qtbot.waitUntil(lambda: all(work.is_idle for work in works))

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

    def column(self, table: str, number: int) -> list[str]:
        model = self.find(table).model()
        return [model.index(row, number).data() for row in range(model.rowCount())]

    def open(self, folder: Path) -> None:
        self.view.open_folder(folder)
        self.settle()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "DEBOUNCE_MS", 0)


@pytest.fixture
def desk(qtbot: QtBot, hub: Hub, tmp_path: Path) -> Desk:
    hub.profile = PROFILE
    hub.status = status_of(tmp_path)
    return Desk(qtbot, hub)


def test_the_forecast_of_every_point(desk: Desk) -> None:
    points = forecast(PLAN, PROFILE, 10_000.0, 0.01)
    assert desk.column("series-forecast", 1) == [point.label for point in points]
    assert desk.column("series-forecast", 8) == [f"{p.d_stderr_cm2_per_s:.3g}" for p in points]
    assert desk.column("series-forecast", 9)[0] == words.duration(points[0].duration_s)
    assert desk.text("series-duration") == words.duration(points[-1].ends_s)
    desk.type_in("axes[0].power_nw", "1 2 3")
    assert desk.column("series-forecast", 1) == ["1 nW", "2 nW", "3 nW"]
    assert desk.text("series-points") == "3"


def test_what_cannot_be_done_is_said_beside_the_field(desk: Desk) -> None:
    qtbot = desk.qtbot
    qtbot.mouseClick(desk.find("scan.fold"), Qt.MouseButton.LeftButton)
    desk.type_in("scan.half_range_um", "100")
    assert "axis travels from" in desk.view.form.problems()[0]
    assert desk.find("series-forecast").model().rowCount() == 0
    assert not desk.find("series-start").isEnabled()
    desk.type_in("scan.half_range_um", "2")
    desk.type_in("axes[0].power_nw", "1 500")
    assert "point 1 (500 nW)" in desk.text("series-reason")
    assert "point 1 (500 nW)" in desk.text("scan.excitation.power_nw-problem")
    desk.type_in("axes[0].power_nw", "")
    assert "the axis has no values" in desk.text("series-reason")


def test_start_sends_plan_and_folder(desk: Desk, recorder: Any, tmp_path: Path) -> None:
    desk.type_in("operator", "Ann")
    desk.type_in("sample", "film")
    desk.click("series-start")
    ((command, asked),) = recorder.asked
    assert command == "series"
    sent = parse_series(asked["plan"], "sent")
    scan = PLAN.scan.model_copy(update={"operator": "Ann", "sample": "film"})
    assert sent == PLAN.model_copy(update={"scan": scan})
    assert Path(asked["out"]).parent == tmp_path
    assert Path(asked["out"]).name.endswith("_film_001")
    recorder.replies["series"] = Reply(ok=False, words="the disk is full")
    desk.qtbot.keyClick(
        desk.find("series-name"), Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier
    )
    assert desk.text("series-reason") == "the disk is full"


def test_warnings_of_a_point_are_words(desk: Desk, tmp_path: Path) -> None:
    entries = write(tmp_path / "s9", ("done",) * 8)
    result = entries[0].result
    assert result is not None
    warned = result.model_copy(update={"warnings": ("not-gaussian", "pile-up")})
    seen = entries[0].model_copy(update={"result": warned})
    desk.view.points.show_entries([seen], {}, {})
    text = desk.column("series-table", 7)[0]
    assert text.endswith("; the profile is no Gaussian, pile-up")


def test_every_code_of_a_warning_has_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## Warnings\n(.*?)\n## ", page, re.DOTALL)
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    codes = {code for row in rows for code in re.findall(r"`([a-z0-9-]+)`", row)}
    assert codes - {"fit_msd"} == set(words._WARNINGS)


@pytest.mark.parametrize("wide", [1000, 3400])
def test_the_forecast_keeps_its_columns_together(desk: Desk, wide: int) -> None:
    desk.view.tabs.setCurrentIndex(0)
    desk.view.resize(wide, 700)
    table = desk.find("series-forecast")
    across = table.horizontalHeader()
    desk.qtbot.waitUntil(lambda: across.sectionSize(1) <= WIDEST_PX)
    assert across.length() <= table.width() <= 1200
    assert desk.find("series-start").mapTo(desk.view, QPoint()).x() < 1700


def test_a_series_that_runs_is_shown_as_it_grows(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "s1"
    write(folder, ("running", *("waiting",) * 7))
    desk.hub.take_status(running_in(folder))
    desk.hub.happened.emit({"event": "series-started", "folder": str(folder)})
    desk.settle()
    assert desk.view.tabs.currentIndex() == 1
    assert desk.text("series-run-done") == "0 of 8"
    entries = write(folder, HALF)
    desk.hub.happened.emit({"event": "point-ended", "index": 4})
    desk.settle()
    assert desk.text("series-run-done") == "4 of 8"
    assert desk.text("series-run-left") == words.duration(1234)
    state = [text.split()[-1] for text in desk.column("series-table", 2)]
    assert state == list(HALF)
    first = entries[0].result
    assert first is not None
    shown = words.plus_minus(first.d_cm2_per_s, first.d_stderr_cm2_per_s)
    assert desk.column("series-table", 4)[0] == shown
    assert "visit 103 of 412" in desk.column("series-table", 7)[5]
    assert "0.0123 ± 0.0011" in desk.column("series-table", 7)[5]
    times = desk.column("series-table", 5)
    desk.hub.take_status({**running_in(folder), "visits_planned": None})
    assert desk.column("series-table", 7)[5] == ""
    assert [t[:1] for t in times[5:]] == ["≈"] * 3
    assert all(":" in t for t in times[:2])
    assert "1 point failed" in desk.text("series-said")
    assert LEFT in desk.text("series-said")
    assert not desk.find("series-resume").isVisibleTo(desk.view)
    x, d, error = desk.view.plot.data("points")
    assert list(x) == [1, 2, 5, 7]
    assert error is not None
    assert np.allclose(d, [e.result.d_cm2_per_s for e in entries if e.result])  # type: ignore[misc]


def test_a_status_of_another_window_shows_the_series(desk: Desk, tmp_path: Path) -> None:
    write(tmp_path / "s2", HALF)
    desk.hub.take_status(running_in(tmp_path / "s2"))
    desk.settle()
    assert desk.text("series-title") == str(tmp_path / "s2")


@pytest.mark.parametrize("key", [Qt.Key.Key_Up, Qt.Key.Key_Down])
def test_another_order_by_keys(desk: Desk, recorder: Any, tmp_path: Path, key: Qt.Key) -> None:
    write(tmp_path, HALF)
    desk.hub.take_status(running_in(tmp_path))
    desk.settle()
    table: QTableView = desk.find("series-table")
    row, other = (7, 6) if key == Qt.Key.Key_Up else (6, 7)
    at = table.visualRect(desk.view.points.index(row, 1)).center()
    desk.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    desk.qtbot.keyClick(table, key, Qt.KeyboardModifier.AltModifier)
    assert recorder.asked == [("reorder", {"order": [7, 6]})]
    assert desk.column("series-table", 0)[6:] == ["7", "6"]
    selection = table.selectionModel()
    assert selection is not None
    assert [index.row() for index in selection.selectedRows()] == [other]


def drop(desk: Desk, row: int, before: int) -> None:
    """What dragging a row to before another one does."""
    model = desk.view.points
    carried = model.mimeData([model.index(row, 0), model.index(row, 1)])
    model.dropMimeData(carried, Qt.DropAction.MoveAction, before, 0, QModelIndex())


def test_another_order_by_dragging(desk: Desk, recorder: Any, tmp_path: Path) -> None:
    states: tuple[State, ...] = ("done", "running", *("waiting",) * 6)
    write(tmp_path, states)
    desk.hub.take_status(running_in(tmp_path))
    desk.settle()
    flags = desk.view.points.flags
    can_be_dragged = [
        bool(flags(desk.view.points.index(row, 0)) & Qt.ItemFlag.ItemIsDragEnabled)
        for row in range(8)
    ]
    assert can_be_dragged == [False, False] + [True] * 6
    drop(desk, 6, 3)
    assert recorder.asked[-1] == ("reorder", {"order": [2, 6, 3, 4, 5, 7]})
    drop(desk, 2, -1)
    assert recorder.asked[-1] == ("reorder", {"order": [6, 3, 4, 5, 7, 2]})
    assert desk.column("series-table", 0) == ["0", "1", "6", "3", "4", "5", "7", "2"]
    # the manifest says the same when it is read again
    write(tmp_path, states, order=(6, 3, 4, 5, 7, 2))
    desk.hub.happened.emit({"event": "points-reordered", "order": [6, 3, 4, 5, 7, 2]})
    desk.settle()
    assert desk.column("series-table", 0) == ["0", "1", "6", "3", "4", "5", "7", "2"]


def test_a_move_that_is_refused_snaps_back(desk: Desk, recorder: Any, tmp_path: Path) -> None:
    write(tmp_path, HALF)
    desk.hub.take_status(running_in(tmp_path))
    desk.settle()
    recorder.replies["reorder"] = Reply(ok=False, words="point 7 (20 nW) has begun or is over")
    drop(desk, 7, 6)
    assert desk.column("series-table", 0) == [str(n) for n in range(8)]
    assert "point 7 (20 nW) has begun" in desk.text("series-said")
    drop(desk, 0, 7)
    assert "not begun" in desk.text("series-said")
    assert recorder.commands == ["reorder"]
    desk.hub.take_status(status_of(tmp_path))
    drop(desk, 7, 6)
    assert "while the series runs" in desk.text("series-said")
    assert recorder.commands == ["reorder"]


@pytest.mark.parametrize(
    ("states", "words_of_it"),
    [
        (("done", "failed", *("done",) * 6), "Measure 1 failed again"),
        (("done", "failed", *("waiting",) * 6), "Resume (6 left)"),
    ],
)  # fmt: skip
def test_an_interrupted_series_goes_on(
    desk: Desk, recorder: Any, tmp_path: Path, states: tuple[State, ...], words_of_it: str
) -> None:
    folder = tmp_path / "s3"
    write(folder, states, ending="failed", message="1 of 8 failed")
    desk.open(folder)
    assert LEFT in desk.text("series-said")
    button = desk.find("series-resume")
    assert button.text().replace("&", "") == words_of_it
    desk.hub.take_status(status_of(tmp_path, station={"connected": False}))
    assert not button.isEnabled()
    assert "not connected" in button.toolTip()
    desk.hub.take_status(status_of(tmp_path))
    recorder.replies["resume"] = Reply(ok=False, words="another run works in this folder")
    desk.click("series-resume")
    assert recorder.asked == [("resume", {"path": str(folder), "watchdog": True})]
    assert desk.text("series-said") == "another run works in this folder"


def test_a_finished_series(desk: Desk, tmp_path: Path) -> None:
    write(tmp_path / "s4", ALL, ending="completed", message="all points measured")
    desk.open(tmp_path / "s4")
    assert desk.text("series-run-now") == "completed"
    assert not desk.find("series-resume").isVisibleTo(desk.view)
    assert "slope" in desk.text("series-law") or "D =" in desk.text("series-law")
    box = desk.find("series-against")
    assert [box.itemText(i) for i in range(box.count())] == [
        "against power", "against time between excitations", "in the order of measurement"
    ]  # fmt: skip
    box.setFocus()
    desk.qtbot.keyClick(box, Qt.Key.Key_Down)
    assert "τ = 6" in desk.text("series-law")
    fit_x, fit_d, _ = desk.view.plot.data("fit")
    assert np.allclose(fit_d, 0.002 + 0.05 * np.exp(-fit_x / 6), atol=1e-4)
    assert desk.view.plot.x_axis.unit == "µs"
    desk.qtbot.keyClick(box, Qt.Key.Key_Down)
    assert desk.view.plot.data("fit")[0].size == 0
    assert list(desk.view.plot.data("points")[0]) == list(range(8))


def test_the_series_that_the_station_ran_last_is_shown(
    qtbot: QtBot, hub: Hub, tmp_path: Path
) -> None:
    write(tmp_path / "s5", ALL, ending="completed")
    hub.profile = PROFILE
    last = {"kind": "series", "path": str(tmp_path / "s5"), "ending": "completed"}
    hub.status = status_of(tmp_path, station={"last": last})
    desk = Desk(qtbot, hub)
    assert desk.text("series-run-done") == "8 of 8"


def test_a_folder_without_a_series(desk: Desk, tmp_path: Path) -> None:
    desk.open(tmp_path)
    assert "there is no series.json" in desk.text("series-said")
    with pytest.raises(InputError):
        look_into(tmp_path / "nowhere")


def test_curves_without_any_d() -> None:
    curves = list(curves_of(entries_of(("waiting",) * 8)))
    assert [curve.x.size for curve in curves] == [0] * len(curves)


def test_a_plan_that_is_offered(desk: Desk, tmp_path: Path) -> None:
    write(tmp_path / "s6", ALL)
    desk.open(tmp_path / "s6")
    plan = load_series("temperature-series")
    desk.hub.plan_offered.emit(plan)
    desk.settle()
    assert desk.view.plan() == plan
    assert desk.view.tabs.currentIndex() == 0
    assert desk.text("series-points") == "14"
    desk.view.save_plan(str(tmp_path / "own.toml"))
    assert load_series(tmp_path / "own.toml") == plan


def test_a_series_on_a_station(qtbot: QtBot, station: Station, tmp_path: Path) -> None:
    hub = Hub()
    link = Link(hub, Wanted())
    assert station.entry is not None
    link.attach(Found(station.entry, is_own=False, words="a station of this test"))
    try:
        qtbot.waitUntil(lambda: hub.is_linked and hub.profile is not None, timeout=10_000)
        desk = Desk(qtbot, hub)
        hub.ask("connect")
        scan = load_plan("line", ["positions=7", "passes=2", "background=none"])
        plan = PLAN.model_copy(update={"scan": scan})
        desk.view.take_plan(plan)
        desk.type_in("axes[0].power_nw", "20 10")
        desk.click("series-watchdog")
        qtbot.waitUntil(desk.find("series-start").isEnabled, timeout=10_000)
        desk.click("series-start")
        qtbot.waitUntil(lambda: desk.text("series-run-now") == "completed", timeout=20_000)
        desk.settle()
        assert desk.column("series-table", 2) == ["✓ done"] * 2
        assert desk.text("series-run-done") == "2 of 2"
        seen = look_into(whole_path(desk.text("series-title")))
        assert [e.state for e in seen.manifest.points] == ["done"] * 2
        assert parse_series(seen.manifest.plan, "kept").axes[0].power_nw == (20.0, 10.0)
    finally:
        link.close()
