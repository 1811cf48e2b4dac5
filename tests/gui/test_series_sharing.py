"""The view of a series whose time is shared, driven as a person does."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PyQt6.QtCore import Qt
from pytestqt.qtbot import QtBot

from tests.gui.test_series_view import Desk, running_in, status_of
from tplm_config import SeriesPlan, Share, load_profile, load_series, parse_series, to_toml
from tplm_daq.events import TimeShared, to_json
from tplm_daq.series import (
    Entry,
    Manifest,
    Proposal,
    Result,
    SharedTime,
    engine,
    foresee,
    propose,
    scan_of,
)
from tplm_daq.series.manifest import State, write_manifest
from tplm_daq.station import Station
from tplm_daq.station.runs import Runs
from tplm_gui import words
from tplm_gui.data.sharing import Sharing, last_decision, sharing_of, wanted_of, with_point
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Found, Wanted
from tplm_gui.hub import Hub, Reply
from tplm_gui.views import series as series_module
from tplm_gui.widgets.points import SHARE

PROFILE = load_profile("simulated")
BUNDLED = load_series("shared-relaxation")
PASS = {"dwell_s": 1.6, "passes": 20}
"""As long as the bundled one in all, with fewer visits to be counted."""
PLAN = BUNDLED.model_copy(update={"scan": BUNDLED.scan.model_copy(update=PASS)})
SLOPE = PLAN.model_copy(update={"share": Share(time_s=600, so_that="slope")})
HALF: tuple[State, ...] = ("done", "done", "done", "running", "waiting")
ALL: tuple[State, ...] = ("done",) * 5


@cache
def shared_time(plan: SeriesPlan) -> SharedTime:
    return SharedTime(plan, PROFILE)


def entries_of(states: Sequence[State], plan: SeriesPlan = PLAN) -> tuple[Entry, ...]:
    """Points of a plan: those done with a D that relaxes within 6 µs, or falls with the power."""
    found = []
    shared = shared_time(plan)
    for point, each, state in zip(plan.walk(), shared.prospects, states, strict=True):
        over: dict[str, Any] = {}
        if state == "done":
            x = each.x
            d = 0.01 + 0.14 * np.exp(-x / 6) if plan is PLAN else 0.02 - 0.0005 * x
            over = {
                "spent_s": 70.0 + point.index, "counted_s": 60.0, "prepare_s": 7.0,
                "result": Result(
                    d_cm2_per_s=float(d), d_stderr_cm2_per_s=0.002, counts_per_pulse=0.001,
                    repetition_rate_hz=2.5e6,
                    time_between_excitations_us=x if plan is PLAN else None,
                ),
            }  # fmt: skip
        found.append(Entry(
            index=point.index, label=point.label, settings=point.settings, state=state,
            file=f"p{point.index:03d}.h5", time_share_s=80.0 if over else None, **over,
        ))  # fmt: skip
    return tuple(found)


def write(folder: Path, states: Sequence[State], **changes: Any) -> tuple[Entry, ...]:
    """A folder with the manifest of a series, decided as the series does."""
    folder.mkdir(exist_ok=True)
    plan = changes.pop("of", PLAN)
    entries = entries_of(states, plan)
    if "running" in states:
        index = states.index("running")
        told, _ = shared_time(plan).decide(entries, open_of(entries), index)
        entries = tuple(
            e.model_copy(update={"time_share_s": told.time_s}) if e.index == index else e
            for e in entries
        )
        log(folder, told)
    write_manifest(folder, Manifest(
        created="2026-11-21T13:30:00Z", plan=to_toml(plan), profile=to_toml(PROFILE),
        simulated=False, points=entries, **changes,
    ))  # fmt: skip
    return entries


def open_of(entries: Sequence[Entry]) -> set[int]:
    return {entry.index for entry in entries if entry.state in ("waiting", "running")}


def log(folder: Path, *told: TimeShared) -> None:
    lines = [json.dumps({"at": "2026-11-21T14:00:00Z", **to_json(each)}) for each in told]
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "DEBOUNCE_MS", 0)


@pytest.fixture
def desk(qtbot: QtBot, hub: Hub, tmp_path: Path) -> Desk:
    hub.profile = PROFILE
    hub.status = status_of(tmp_path)
    return Desk(qtbot, hub)


# -- the plan ----------------------------------------------------------------------------------


def test_shares_are_planned_in_the_form(desk: Desk) -> None:
    line = desk.find("series-shared")
    assert not line.isVisibleTo(desk.view)
    desk.view.chooser.box.textActivated.emit("shared-relaxation")
    desk.settle()
    found = foresee(BUNDLED, PROFILE, 10_000.0)
    assert found is not None
    assert f"τ is known best: ± {found.stderr:.2g} µs" in line.text()
    assert f"even shares ± {found.even_stderr:.2g} µs" in line.text()
    takes = [words.duration(s) for s in found.times_s]
    assert desk.column("series-forecast", 9) == takes
    desk.type_in("share.floor", "1")
    assert len(set(desk.column("series-forecast", 9))) == 1
    desk.type_in("share.time_s", "40")
    assert "at least" in desk.text("share.time_s-problem")
    assert not line.isVisibleTo(desk.view)


def test_shares_are_added_to_another_plan(desk: Desk) -> None:
    form = desk.view.form
    desk.view.take_plan(PLAN.model_copy(update={"share": None}))
    desk.settle()
    desk.click("share.tick")
    assert "time" in form.problems()[0]
    desk.type_in("share.time_s", "600")
    box = desk.find("share.so_that")
    desk.qtbot.keyClicks(box, "slope")
    desk.settle()
    plan = desk.view.plan()
    assert plan is not None
    assert plan.share == Share(time_s=600, so_that="slope")
    assert "the slope is known best" in desk.text("series-shared")
    assert "cm²/s per nW" in desk.text("series-shared")


# -- the points --------------------------------------------------------------------------------


def check_half(desk: Desk, entries: tuple[Entry, ...]) -> None:
    """The view shows what the series decided at its third point."""
    shared = shared_time(PLAN)
    told, _ = shared.decide(entries, {3, 4}, 3)
    assert told.stderr is not None
    shown = desk.column("series-table", SHARE)
    assert shown[:3] == [words.duration(s) for s in (70, 71, 72)]
    assert shown[3] == words.duration(told.time_s)
    assert shown[4] == f"≈ {words.duration(told.shares_s[4])}"
    assert desk.text("series-shared-then") == f"τ ± {told.stderr:.2g} µs"
    even = float(desk.text("series-shared-even").split()[2])
    assert even >= told.stderr
    assert desk.text("series-shared-why") == f"Decided last: {told.why}."
    assert not desk.view.table.isColumnHidden(SHARE)


def test_a_shared_series_that_runs(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "s1"
    entries = write(folder, ("running", *("waiting",) * 4))
    at_first = {"station": {"speed": 10.0, "simulated": True}, "point": {"index": 0}}
    desk.hub.take_status(running_in(folder, **at_first))
    desk.settle()
    assert desk.text("series-shared-now") == words.NONE
    assert "by the guesses of the plan" in desk.text("series-shared-why")
    assert not desk.find("series-shared-take").isVisibleTo(desk.view)
    entries = write(folder, HALF)
    desk.hub.happened.emit({"event": "time-shared", "index": 3})
    desk.settle()
    check_half(desk, entries)
    assert desk.text("series-shared-now").startswith("τ ± ")


def test_time_left_goes_by_the_shares_and_the_visits_done(desk: Desk, tmp_path: Path) -> None:
    """The host foretells 1234 s, as if all passes were measured."""
    folder = tmp_path / "s1"
    write(folder, HALF)
    at = {"station": {"speed": 10.0, "simulated": True}, "point": {"index": 3}}
    desk.hub.take_status({**running_in(folder, **at), "visits_done": 10})
    desk.settle()
    seen = desk.view._seen
    assert seen is not None
    assert seen.sharing is not None
    sharing = seen.sharing
    assert f"visit 10 of about {round(sharing.visits[3])}" in desk.column("series-table", 7)[3]
    part = 1 - 10 / round(sharing.visits[3])
    left_s = (part * sharing.shares_s[3] + sharing.shares_s[4]) / 10
    assert desk.text("series-run-left") == words.duration(left_s)
    assert sum(sharing.shares_s.values()) == pytest.approx(sharing.left_s)


def test_a_window_that_comes_later_shows_the_same(qtbot: QtBot, hub: Hub, tmp_path: Path) -> None:
    entries = write(tmp_path / "s2", HALF)
    hub.profile = PROFILE
    hub.status = running_in(tmp_path / "s2", point={"index": 3})
    check_half(Desk(qtbot, hub), entries)


def test_a_series_that_was_broken_off_shares_what_is_left(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "s3"
    entries = write(folder, ("done", "done", "failed", "waiting", "waiting"), ending="aborted")
    desk.open(folder)
    told, _ = shared_time(PLAN).decide(entries, {3, 4}, 3)
    shown = desk.column("series-table", SHARE)
    assert shown[2:] == ["", *(f"≈ {words.duration(told.shares_s[i])}" for i in (3, 4))]
    assert not desk.find("series-shared-why").isVisibleTo(desk.view)
    button = desk.find("series-shared-take")
    assert not button.isVisibleTo(desk.view)


def test_no_share_is_shown_where_the_time_is_over(desk: Desk, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"share": Share(time_s=144, so_that="tau")})
    entries = entries_of(("done", "done", *("waiting",) * 3))
    sharing = sharing_of(tmp_path, entries, plan, PROFILE)
    assert sharing is not None
    assert (sharing.shares_s, sharing.then, sharing.even, sharing.why) == ({}, None, None, "")


def test_a_series_without_shares_has_no_such_column(desk: Desk, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"share": None})
    entries = entries_of(ALL)
    write_manifest(tmp_path, Manifest(
        created="", plan=to_toml(plan), profile=to_toml(PROFILE), simulated=False, points=entries,
    ))  # fmt: skip
    desk.open(tmp_path)
    assert desk.view.table.isColumnHidden(SHARE)
    for name in ("series-shared-now", "series-shared-why", "series-shared-next"):
        assert not desk.find(name).isVisibleTo(desk.view)
    assert desk.find("series-against").currentIndex() == 0


def test_the_curve_whose_time_is_wanted_is_drawn_first(desk: Desk, tmp_path: Path) -> None:
    write(tmp_path, ALL)
    desk.open(tmp_path)
    box = desk.find("series-against")
    assert box.currentText() == "against time between excitations"
    box.setFocus()
    desk.qtbot.keyClick(box, Qt.Key.Key_Up)
    desk.view._reread()
    desk.settle()
    assert box.currentText() == "against power"


def test_what_cannot_be_told_is_said(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("no light")

    write(tmp_path, HALF)
    monkeypatch.setattr(SharedTime, "standing", fail)
    desk.open(tmp_path)
    text = desk.text("series-shared-why")
    assert text.startswith("Decided last: point 3")
    assert text.endswith("cannot be told: ZeroDivisionError: no light.")
    assert desk.column("series-table", 0) == list("01234")


def test_the_slope_has_its_unit(desk: Desk, tmp_path: Path) -> None:
    write(tmp_path, HALF, of=SLOPE)
    desk.open(tmp_path)
    assert desk.text("series-shared-then").startswith("slope ± ")
    assert "cm²/s per nW" in desk.find("series-shared-then").toolTip()
    assert wanted_of(SLOPE) == ("slope", "cm²/s per nW")


# -- the next point ----------------------------------------------------------------------------


def test_the_proposed_point_is_measured_too(desk: Desk, recorder: Any, tmp_path: Path) -> None:
    folder = tmp_path / "s4"
    entries = write(folder, ALL, ending="completed")
    desk.open(folder)
    proposal = propose(entries, PLAN, PROFILE)
    assert proposal is not None
    assert desk.text("series-shared-next") == f"Would tell most next: {proposal}."
    desk.hub.take_status(running_in(tmp_path / "another"))
    assert not desk.find("series-shared-take").isEnabled()
    desk.hub.take_status(status_of(tmp_path))
    desk.open(folder)
    recorder.replies["resume"] = Reply(ok=False, words="the disk is full")
    desk.click("series-shared-take")
    ((command, asked),) = recorder.asked
    assert (command, asked["path"]) == ("resume", str(folder))
    plan = parse_series(asked["plan"], "sent")
    assert [p.settings for p in plan.walk()][:-1] == [e.settings for e in entries]
    assert plan.points[-1].power_nw == pytest.approx(proposal.value, rel=0.005)
    assert plan.share is not None
    assert plan.share.time_s == 600 + proposal.time_s
    assert desk.text("series-said") == "the disk is full"


def test_what_is_left_is_measured_before_a_further_point(desk: Desk, tmp_path: Path) -> None:
    write(tmp_path, ("done", "done", "done", "done", "waiting"), ending="stopped")
    desk.open(tmp_path)
    button = desk.find("series-shared-take")
    assert button.isVisibleTo(desk.view)
    assert not button.isEnabled()
    assert desk.text("series-shared-next").startswith("If it ended now, would tell most next: ")
    assert "First measure" in button.toolTip()


@settings(max_examples=25, deadline=None)
@given(
    st.floats(10, 5000), st.integers(0, 4), st.floats(0.1, 1), st.integers(1, 2),
    st.floats(1e-3, 400),
)  # fmt: skip
def test_a_longer_plan_is_a_plan_and_keeps_what_is_measured(
    further_s: float, like: int, floor: float, repeats: int, value: float
) -> None:
    """However long the point is, by the passes that the scan has."""
    assert PLAN.share is not None
    share = PLAN.share.model_copy(update={"floor": max(floor, 0.3)})
    plan = PLAN.model_copy(update={"repeats": repeats, "share": share})
    walked = list(plan.walk())
    entries = tuple(
        Entry(index=p.index, label=p.label, settings=p.settings, file="") for p in walked
    )
    proposal = Proposal("power_nw", value, like, further_s, "tau", 1.0, 0.5, None)
    longer = with_point(plan, entries, proposal)
    most_s = 20 * 15 * 1.6 * (len(walked) + 1)
    if longer.share is not None and longer.share.time_s < 0.999 * most_s:
        assert parse_series(to_toml(longer), "longer") == longer
    for before, after in zip(walked, longer.walk(), strict=False):
        scans = [scan_of(*each, PROFILE) for each in ((plan, before), (longer, after))]
        same = [scan.model_copy(update={"time_limit_s": None}) for scan in scans]
        assert same[0] == same[1]
    assert longer.count == plan.count + 1


TOLD = TimeShared(1, 5.0, 9.0, "first", (5.0, 4.0), "tau", None)
LATER = replace(TOLD, why='later, of "time-shared"')


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], ""),
        ([{"event": "notice", "text": 'no "event": "time-shared" yet'}], ""),
        ([to_json(TOLD)], "first"),
        ([to_json(TOLD), {"event": "visit-stored"}], "first"),
        ([to_json(TOLD), to_json(LATER), {"event": "point-ended"}], 'later, of "time-shared"'),
    ],
)
def test_the_last_decision_of_a_log(tmp_path: Path, lines: list[Any], found: str) -> None:
    path = tmp_path / "log.jsonl"
    assert last_decision(path) == ""
    path.write_text("".join(json.dumps({"at": "now", **line}) + "\n" for line in lines))
    assert last_decision(path) == found


@given(st.integers(1, 200))
def test_a_log_that_was_cut_off_is_no_fault(tmp_path_factory: Any, end: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    line = json.dumps({"at": "now", **to_json(TOLD)})
    path.write_text(line[: min(end, len(line) - 1)])
    assert last_decision(path) == ""


def test_what_is_not_known_is_a_dash() -> None:
    """No error of a curve with three parameters from two points."""
    entries = entries_of(("done", "done", "waiting", "waiting", "waiting"))
    sharing = sharing_of(Path("nowhere"), entries, PLAN, PROFILE)
    assert isinstance(sharing, Sharing)
    assert sharing.now is None
    assert sharing.then is not None


# -- on a station ------------------------------------------------------------------------------


def test_a_station_goes_on_with_a_series_by_an_edited_plan(
    qtbot: QtBot, station: Station, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is measured then is the matter of the series; here, that its plan is handed on."""
    asked: list[Any] = []

    def resume(runs: Runs, folder: Path, watchdog: bool, plan: SeriesPlan | None = None) -> str:
        asked.append((folder, watchdog, plan))
        return "nothing was left to measure"

    monkeypatch.setattr(Runs, "resume_series", resume)
    file = tmp_path / "a.h5"
    file.touch()
    for more in ({}, {"plan": to_toml(PLAN), "watchdog": False}):
        assert station._answer("resume", {"path": str(tmp_path), **more})["ok"]
        qtbot.waitUntil(lambda: station.snapshot()["station"]["job"] is None, timeout=10_000)
    for path, plan, why in (
        (file, to_toml(PLAN), "a scan goes on by the plan in its file"),
        (tmp_path, "kind = 'line'", "kind"),
    ):
        answer = station._answer("resume", {"path": str(path), "plan": plan})
        assert not answer["ok"]
        assert why in answer["error"]
    assert asked == [(tmp_path, True, None), (tmp_path, False, PLAN)]


@pytest.mark.full
def test_a_shared_series_on_a_station_and_one_point_more(
    qtbot: QtBot, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "draw_series", lambda *_: None)  # it takes as long as the rest
    values = {
        "scan": {
            "kind": "line", "positions": 7, "half_range_um": 1.2, "dwell_s": 2.0, "passes": 45,
            "card": {"time_bin_ps": 200, "range_ns": 25.6},
            "excitation": {"repetition_rate_hz": 2.5e6}, "detection": {"transmission": 0.1},
        },
        "axes": [{"power_nw": [20, 8, 4, 1.5]}],
        "share": {"time_s": 130, "so_that": "tau", "floor": 1},
    }  # fmt: skip
    hub = Hub()
    link = Link(hub, Wanted())
    assert station.entry is not None
    link.attach(Found(station.entry, is_own=False, words="a station of this test"))
    try:
        qtbot.waitUntil(lambda: hub.is_linked and hub.profile is not None, timeout=10_000)
        desk = Desk(qtbot, hub)
        hub.ask("connect")
        desk.view.take_plan(SeriesPlan.model_validate(values))
        desk.settle()
        desk.click("series-watchdog")
        qtbot.waitUntil(desk.find("series-start").isEnabled, timeout=10_000)
        desk.click("series-start")
        qtbot.waitUntil(lambda: desk.text("series-run-now") == "completed", timeout=30_000)
        desk.settle()
        assert desk.text("series-shared-now").startswith("τ ± ")
        take = desk.find("series-shared-take")
        qtbot.waitUntil(lambda: take.isVisible() and take.isEnabled(), timeout=10_000)
        desk.click("series-shared-take")
        qtbot.waitUntil(lambda: desk.text("series-run-done") == "5 of 5", timeout=30_000)
        qtbot.waitUntil(lambda: desk.text("series-run-now") == "completed", timeout=30_000)
        desk.settle()
        seen = desk.view._seen
        assert seen is not None
        assert [e.attempts for e in seen.manifest.points] == [1] * 5
        assert not seen.manifest.set_aside
    finally:
        link.close()
