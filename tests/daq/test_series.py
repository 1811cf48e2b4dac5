"""A series: every point in its file, whatever happens, and what comes out of it."""

import csv
import errno
import io
import json
import re
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.daq.rig import small_profile
from tests.daq.series_rig import Bench, run, small_series
from tplm_config import InputError, LineScan, load_profile, load_series, to_toml
from tplm_daq.cli import main
from tplm_daq.cli.series import SeriesProgress
from tplm_daq.events import (
    Ending,
    Notice,
    PointEnded,
    PointsReordered,
    PointStarted,
    RunState,
    SeriesEnded,
    SeriesStarted,
    StateChanged,
    VisitStored,
)
from tplm_daq.series import (
    Series,
    check_series,
    engine,
    forecast,
    notify,
    read_manifest,
    run_series,
    scan_of,
)
from tplm_daq.store import frozen, read_scan
from tplm_drivers import DeviceError


@pytest.fixture(autouse=True)
def _no_picture(request, monkeypatch) -> None:
    """It takes as long as everything else; drawn only for those who ask for `picture`."""
    if "picture" not in request.fixturenames:
        monkeypatch.setattr(engine, "draw_series", lambda *_: None)


@pytest.fixture
def picture() -> str:
    """Name of the picture, which is drawn then."""
    return "series.png"


def scans_of(folder: Path):
    return [read_scan(folder / entry.file) for entry in read_manifest(folder).points]


def notices(events, code: str) -> list[str]:
    return [e.message for e in events if isinstance(e, Notice) and e.code == code]


# -- what a point asks for ---------------------------------------------------------------------


def test_the_scan_of_a_point() -> None:
    plan = small_series(
        axes=[{"repetition_rate_hz": [2.5e6, 5e6]}, {"fluence_uj_per_cm2": [0.1905]},
              {"temperature_k": [150]}, {"count_rate_hz": [5000]}, {"sample_xy_um": [[3, 4]]}]
    )  # fmt: skip
    profile = small_profile()
    scans = [scan_of(plan, point, profile) for point in plan.walk()]
    # table S1: 2.5 nW give 0.19 µJ/cm² at 2.5 MHz
    assert [scan.excitation.power_nw for scan in scans] == pytest.approx([2.5, 5.0], rel=2e-3)
    assert [scan.excitation.repetition_rate_hz for scan in scans] == [2.5e6, 5e6]
    for scan in scans:
        assert scan.temperature is not None
        assert scan.temperature.set_point_k == 150
        assert scan.detection.count_rate_hz == 5000
        assert scan.sample_xy_um == (3, 4)
        assert type(scan).model_validate(scan.model_dump()) == scan


REFUSED = [
    ({"axes": [{"power_nw": [1, 500]}]}, "point 1 (500 nW): excitation.power_nw: found 500"),
    ({"axes": [{"repetition_rate_hz": [1e6, 60e6]}]}, "point 1 (60 MHz): card.range_ns"),
    ({"axes": [{"temperature_k": [400]}]}, "temperature.set_point_k: found 400"),
    ({"axes": [{"sample_xy_um": [[0, 9999]]}]}, "sample_xy_um: found [0, 9999]"),
    (
        {"axes": [{"fluence_uj_per_cm2": [1]}], "scan": {"kind": "line"}},
        "a fluence is asked for and nothing says at which repetition rate",
    ),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_every_point_is_checked_before_anything_is_opened(tmp_path, changes, words) -> None:
    bench = Bench()
    with pytest.raises(InputError) as caught:
        run(tmp_path / "s", small_series(**changes), bench)
    assert words in str(caught.value)
    assert not bench.opened
    assert not (tmp_path / "s").exists()


def test_a_dry_run_tells_every_point() -> None:
    plan = load_series("constant-power")
    points = forecast(plan, load_profile("simulated"), 10_000, 0.01)
    assert len(points) == 6
    assert [p.repetition_rate_hz for p in points] == [0.5e6, 1e6, 2.5e6, 5e6, 10e6, 20e6]
    interval = [p.time_between_excitations_us for p in points]
    assert interval == pytest.approx([interval[0]] * 6)
    assert np.diff([p.fluence_uj_per_cm2 for p in points]).max() < 0
    assert points[-1].ends_s == pytest.approx(sum(p.duration_s for p in points))
    for p in points:
        # 410 s in the map and 40 s in the dark, at least
        assert 450 < p.duration_s < 600
        assert p.d_stderr_cm2_per_s is not None
        # 10 s at each place, at 0.1 µm from place to place, under a spot of 500 nm FWHM
        assert p.expected_counts == pytest.approx(10_000 * 10 * 500 / 100 * 1.0645, rel=1e-3)


# -- a whole series ----------------------------------------------------------------------------


def test_a_series_from_python_gives_back_the_trend(tmp_path, picture) -> None:
    plan = load_series(
        "power-series",
        ["scan.positions=15", "scan.passes=2", "scan.half_range_um=1.4",
         "scan.detection.transmission=0.2", "scan.card.time_bin_ps=100",
         "axes=[{power_nw=[3, 20, 8, 5, 12]}]"],
    )  # fmt: skip
    out = tmp_path / "s"
    outcome = run_series(plan, "simulated", out)
    assert outcome.ending is Ending.COMPLETED
    for entry in outcome.manifest.points:
        result = entry.result
        true = 0.01 + 0.14 * np.exp(-result.time_between_excitations_us / 6)
        assert abs(result.d_cm2_per_s - true) < 4 * result.d_stderr_cm2_per_s
        assert result.power_nw == pytest.approx(entry.settings.power_nw, rel=0.03)
    curve = outcome.manifest.summary["relaxation"]
    assert abs(curve["tau_us"] - 6) < 3 * curve["tau_stderr_us"] < 6
    assert read_manifest(out) == outcome.manifest
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["set_power_nw"] for row in rows] == ["3.0", "20.0", "8.0", "5.0", "12.0"]
    assert float(rows[1]["d_cm2_per_s"]) == outcome.manifest.points[1].result.d_cm2_per_s
    assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in out.iterdir()} - {".series.lock"} == {
        "series.json", picture, "summary.csv", "log.jsonl", *(f"p00{i}.h5" for i in range(5)),
    }  # fmt: skip
    # the same call again finds nothing to do
    again = run_series(plan, "simulated", out)
    assert again.ending is Ending.COMPLETED
    assert [e.result for e in again.manifest.points] == [e.result for e in outcome.manifest.points]


def test_events_and_log_tell_the_same(tmp_path) -> None:
    outcome, events = run(tmp_path / "s", small_series((20, 10)))
    assert outcome.ending is Ending.COMPLETED
    assert events[0] == SeriesStarted(str(tmp_path / "s"), 2, 2)
    assert [(e.index, e.label) for e in events if isinstance(e, PointStarted)] == [
        (0, "20 nW"),
        (1, "10 nW"),
    ]
    ended = [e for e in events if isinstance(e, PointEnded)]
    assert [e.file for e in ended] == ["p000.h5", "p001.h5"]
    assert all(e.d_cm2_per_s is not None for e in ended)
    assert events[-1] == SeriesEnded(Ending.COMPLETED, "all points measured", 2)
    lines = (tmp_path / "s" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line)["event"] for line in lines]
    assert logged.count("visit-stored") == 28
    assert logged.count("point-ended") == 2


def test_repeats_give_mean_and_standard_deviation(tmp_path) -> None:
    outcome, _ = run(tmp_path / "s", small_series((20,), repeats=3))
    ds = [entry.result.d_cm2_per_s for entry in outcome.manifest.points]
    assert len(set(ds)) == 3
    (group,) = outcome.manifest.summary["repeated"]
    assert group["points"] == 3
    assert group["d_mean_cm2_per_s"] == pytest.approx(np.mean(ds))
    assert group["d_std_cm2_per_s"] == pytest.approx(np.std(ds, ddof=1))


def test_the_spot_on_the_sample(tmp_path) -> None:
    bench = Bench()
    spots = [[0, 0], [30, -20]]
    outcome, _ = run(tmp_path / "s", small_series(axes=[{"sample_xy_um": spots}]), bench)
    assert outcome.ending is Ending.COMPLETED
    told = []
    for scan in scans_of(tmp_path / "s"):
        (started,) = [line for line in scan.journal if line["event"] == "run-started"]
        told.append(started["settings"]["sample_position_um"][:2])
    assert told == spots
    (microscope,) = bench.opened
    place_um = microscope.sample_stage.place_um_at(microscope.clock.now_s())
    assert place_um[:2] == pytest.approx((30, -20), abs=0.1)


# -- failures ----------------------------------------------------------------------------------


def test_a_device_that_vanishes_is_opened_again_and_the_point_goes_on(tmp_path) -> None:
    bench = Bench(lambda m: m.schedule(25.0, m.card.unplug), None)
    outcome, events = run(tmp_path / "s", small_series(), bench)
    assert outcome.ending is Ending.COMPLETED
    assert len(bench.opened) == 2
    assert len(bench.seeds) == 2
    (fault,) = notices(events, "fault")
    assert "card" in fault
    assert "laser off: yes" in fault
    (reopened,) = notices(events, "reopened")
    assert "laser off: yes" in reopened
    stored = [e.index for e in events if isinstance(e, VisitStored)]
    assert len(stored) == 3 * 14
    attempts = [entry.attempts for entry in outcome.manifest.points]
    assert sorted(attempts) == [1, 1, 2]
    assert all(scan.complete for scan in scans_of(tmp_path / "s"))
    assert bench.opened[0].laser.output_nw() == 0


def test_a_first_opening_that_fails_does_not_cry_wolf(tmp_path) -> None:
    """Whatever was opened before the device that failed was made dark by the opener."""
    bench, tries = Bench(), iter([DeviceError("sample_stage", "does not answer")])

    def opener(profile):
        for error in tries:
            raise error
        return bench(profile)

    outcome, events = run(tmp_path / "s", small_series(), opener)
    assert outcome.ending is Ending.COMPLETED, outcome.message
    (fault,) = notices(events, "fault")
    assert "sample_stage: does not answer" in fault
    assert "LASER" not in fault


def broken(m) -> None:
    m.card.lose_sync()


@pytest.mark.parametrize(("then", "done"), [("skip", [False, True]), ("stop", [False, False])])
def test_what_fails_again_and_again(tmp_path, then, done) -> None:
    bench = Bench(broken, broken)
    plan = small_series((20, 10), on_failure={"retries": 1, "wait_s": 0, "then": then})
    outcome, events = run(tmp_path / "s", plan, bench)
    assert outcome.ending is Ending.FAILED
    assert [entry.state == "done" for entry in outcome.manifest.points] == done
    assert len(notices(events, "fault")) == 2
    ended = next(e for e in events if isinstance(e, PointEnded))
    assert (ended.index, ended.ending) == (0, Ending.FAILED)
    # once somebody has repaired it
    outcome, _ = run(tmp_path / "s")
    assert outcome.ending is Ending.COMPLETED


def test_progress_earns_new_tries(tmp_path) -> None:
    """Three faults in one point and one retry in a row: each attempt measured something."""
    bench = Bench(*[lambda m: m.schedule(6.0, m.card.unplug)] * 3)
    outcome, events = run(tmp_path / "s", small_series((20,)), bench)
    assert outcome.ending is Ending.COMPLETED
    assert len(notices(events, "fault")) == 3
    assert len(bench.opened) == 4


def test_a_laser_that_may_be_on_ends_the_series(tmp_path) -> None:
    def stuck(m) -> None:
        m.schedule(6.0, m.laser.refuse_to_stop)
        m.schedule(6.0, m.shutter.unplug)

    class Nothing(Bench):
        def __call__(self, profile):
            if self.opened:
                self.opened.append(self.opened[0])
                raise DeviceError("laser", "does not answer")
            return super().__call__(profile)

    outcome, events = run(tmp_path / "s", small_series(), Nothing(stuck))
    assert outcome.ending is Ending.FAILED
    assert "THE LASER MAY STILL BE ON" in outcome.message
    assert [e.index for e in events if isinstance(e, PointStarted)] == [0, 0]
    assert read_manifest(tmp_path / "s").ending == "failed"


def test_a_full_disk_ends_the_series_and_loses_nothing(tmp_path, monkeypatch) -> None:
    real = frozen.create

    def create(path, header) -> None:
        if path.name == "p001.h5":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, header)

    monkeypatch.setattr(frozen, "create", create)
    outcome, events = run(tmp_path / "s")
    assert outcome.ending is Ending.FAILED
    assert "no room" in outcome.message
    assert [entry.state for entry in outcome.manifest.points] == ["done", "failed", "waiting"]
    assert [e.index for e in events if isinstance(e, PointStarted)] == [0, 1]
    monkeypatch.undo()
    outcome, _ = run(tmp_path / "s")
    assert outcome.ending is Ending.COMPLETED


def test_an_observer_that_fails_is_dropped_and_told(tmp_path) -> None:
    def fail(_series, event) -> None:
        if isinstance(event, PointStarted):
            raise RuntimeError("window closed")

    outcome, events = run(tmp_path / "s", small_series((20,)), observe=fail)
    assert outcome.ending is Ending.COMPLETED
    assert "window closed" in notices(events, "observer")[0]


# -- what may be asked -------------------------------------------------------------------------


def after(visits: int, request: str):
    """Ask for something after so many visits."""
    seen = []

    def observe(series: Series, event) -> None:
        if isinstance(event, VisitStored):
            seen.append(event)
            if len(seen) == visits:
                getattr(series, request)()

    return observe


@pytest.mark.parametrize(
    ("request_", "ending"),
    [("stop", Ending.STOPPED), ("abort", Ending.ABORTED), ("emergency", Ending.ABORTED)],
)
def test_ways_to_end_and_to_go_on(tmp_path, request_, ending) -> None:
    bench = Bench()
    outcome, events = run(tmp_path / "s", bench=bench, observe=after(20, request_))
    assert outcome.ending is ending
    assert bench.opened[0].laser.output_nw() == 0
    assert [entry.state for entry in outcome.manifest.points] == ["done", "waiting", "waiting"]
    assert len([e for e in events if isinstance(e, VisitStored)]) == 20
    kept = read_scan(tmp_path / "s" / "p000.h5").position_counts
    outcome, events = run(tmp_path / "s")
    assert outcome.ending is Ending.COMPLETED
    assert events[0] == SeriesStarted(str(tmp_path / "s"), 3, 2)
    assert len([e for e in events if isinstance(e, VisitStored)]) == 42 - 20
    assert np.array_equal(read_scan(tmp_path / "s" / "p000.h5").position_counts, kept)


def test_asked_before_it_begins(tmp_path) -> None:
    series = Series(small_series(), small_profile(), tmp_path / "s", opener=Bench())
    series.stop("changed my mind")
    outcome = series.run()
    assert (outcome.ending, outcome.message) == (Ending.STOPPED, "changed my mind")
    assert {entry.state for entry in outcome.manifest.points} == {"waiting"}


def test_pause_and_resume_reach_the_scan(tmp_path) -> None:
    paused = threading.Event()
    bench = Bench()
    dark = []

    def observe(series: Series, event) -> None:
        match event:
            case PointStarted(1):
                series.pause()  # between two scans: it holds for the next one
            case StateChanged(RunState.PAUSED):
                m = bench.opened[0]
                dark.append(not m.shutter.passes_at(m.clock.now_s()))
                paused.set()
                threading.Thread(target=series.resume).start()

    outcome, _ = run(tmp_path / "s", small_series((20, 10)), bench, observe)
    assert outcome.ending is Ending.COMPLETED
    assert paused.is_set()
    assert dark == [True]


def test_a_folder_belongs_to_one_series_and_one_process(tmp_path) -> None:
    def second(_series, event) -> None:
        if isinstance(event, PointStarted) and event.index == 0:
            with pytest.raises(InputError, match="another run works in this folder"):
                Series.reopen(tmp_path / "s", opener=Bench()).run()

    outcome, events = run(tmp_path / "s", small_series((20,)), observe=second)
    assert outcome.ending is Ending.COMPLETED
    assert not notices(events, "observer")
    with pytest.raises(InputError, match="there is a series in this folder already.*tplm resume"):
        Series(small_series(), small_profile(), tmp_path / "s", opener=Bench()).run()


# -- an edited plan, and damage ----------------------------------------------------------------


def test_an_edited_plan_keeps_what_it_still_asks_for(tmp_path) -> None:
    folder = tmp_path / "s"
    run(folder, small_series((20, 10)))
    before = {scan.path.name: scan.position_counts for scan in scans_of(folder)}
    outcome, events = run(folder, small_series((5, 20, 20)))
    assert outcome.ending is Ending.COMPLETED
    started = [e.label for e in events if isinstance(e, PointStarted)]
    assert started == ["5 nW", "20 nW"]
    assert [entry.label for entry in outcome.manifest.points] == ["5 nW", "20 nW", "20 nW"]
    assert outcome.manifest.points[1].file == "p000.h5"
    assert len({entry.file for entry in outcome.manifest.points}) == 3
    assert outcome.manifest.set_aside == ("p001.h5",)
    assert "p001.h5 was measured with settings" in notices(events, "set-aside")[0]
    for name, counts in before.items():
        assert np.array_equal(read_scan(folder / name).position_counts, counts)
    # and back again: what was set aside is taken up
    outcome, events = run(folder, small_series((10, 20)))
    assert not [e for e in events if isinstance(e, PointStarted)]
    assert [entry.file for entry in outcome.manifest.points] == ["p001.h5", "p000.h5"]


def test_another_order_stays_with_the_plan(tmp_path) -> None:
    def reorder(series, event) -> None:
        if isinstance(event, PointStarted):
            assert series.reorder([3, 2]) == (3, 2, 1)
            series.abort()

    plan = small_series((20, 10, 5, 2))
    _, events = run(tmp_path, plan, observe=reorder)
    assert [event.order for event in events if isinstance(event, PointsReordered)] == [(3, 2, 1)]
    assert read_manifest(tmp_path).order == (3, 2, 1)

    def stop(series, event) -> None:
        if isinstance(event, PointEnded) and event.index == 3:
            series.abort()

    _, events = run(tmp_path, observe=stop)
    assert [event.index for event in events if isinstance(event, PointStarted)] == [0, 3]
    # what is done is no longer moved; an edited plan has an order of its own
    _, events = run(tmp_path, small_series((20, 10, 5, 2, 1)))
    assert [event.index for event in events if isinstance(event, PointStarted)] == [1, 2, 4]
    assert read_manifest(tmp_path).order == ()


def test_what_cannot_be_put_in_another_order(tmp_path) -> None:
    series = Series(small_series(), small_profile(), tmp_path / "a")
    with pytest.raises(InputError, match="has not begun"):
        series.reorder([0])
    refused = []

    def reorder(event) -> None:
        if isinstance(event, PointStarted) and event.index == 1:
            for order in ([0], [1], [3], [-1], [2, 2]):
                with pytest.raises(InputError) as refusal:
                    series.reorder(order)
                refused.append(str(refusal.value))

    series.subscribe(reorder)
    assert series.run().ending is Ending.COMPLETED
    assert [text.split("; ")[0] for text in refused] == [
        "reorder: point 0 (20 nW) has begun or is over",
        "reorder: point 1 (10 nW) has begun or is over",
        "reorder: there is no point 3",
        "reorder: there is no point -1",
        "reorder: point 2 is named twice",
    ]
    assert read_manifest(tmp_path / "a").order == ()


def test_a_damaged_file_stays_and_its_point_is_measured_again(tmp_path) -> None:
    folder = tmp_path / "s"
    run(folder, small_series((20, 10)))
    (folder / "p001.h5").write_bytes(b"rubbish")
    outcome, events = run(folder)
    assert outcome.ending is Ending.COMPLETED
    assert outcome.manifest.points[1].file == "p002.h5"
    assert (folder / "p001.h5").read_bytes() == b"rubbish"
    assert "p001.h5" in notices(events, "spoilt")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no series.json"),
        ("{", "not a readable manifest"),
        ('{"format": "tplm series 9"}', "not a readable manifest"),
        ("\0", "not a readable manifest"),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path, text, words) -> None:
    if text is not None:
        (tmp_path / "series.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        Series.reopen(tmp_path)


def test_a_lost_manifest_is_made_again_from_the_scan_files(tmp_path) -> None:
    folder, plan = tmp_path / "s", small_series((20, 10))
    run(folder, plan)
    before = read_manifest(folder).points
    (folder / "series.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="--plan PLAN --profile PROFILE goes by the scan files"):
        Series.reopen(folder)
    bench, events = Bench(), []
    series = Series.reopen(folder, plan=plan, profile=small_profile(), opener=bench)
    series.subscribe(events.append)
    assert series.run().ending is Ending.COMPLETED
    assert not bench.opened
    after = read_manifest(folder).points
    assert [(e.file, e.state, e.result) for e in after] == [
        (e.file, e.state, e.result) for e in before
    ]
    assert "goes on by its scan files" in notices(events, "manifest")[0]


# -- what is made of the points ----------------------------------------------------------------


def test_a_table_that_cannot_be_written_ends_nothing(tmp_path, picture) -> None:
    """Some spreadsheets let nobody else replace a file that they show."""
    folder = tmp_path / "s"
    (folder / "summary.csv").mkdir(parents=True)
    outcome, events = run(folder, small_series((20, 10)))
    assert outcome.ending is Ending.COMPLETED
    assert len(notices(events, "summary")) == 3  # after each point and at the end
    assert read_manifest(folder).ending == "completed"
    assert (folder / picture).exists()
    (folder / "summary.csv").rmdir()
    run(folder)
    assert (folder / "summary.csv").is_file()


@pytest.mark.parametrize(
    ("part", "words"),
    [("result_of", "p000.h5 is measured, but could not be"), ("draw_series", "no new picture")],
)
def test_a_defect_of_the_analysis_ends_nothing(tmp_path, monkeypatch, part, words) -> None:
    def fail(*_: object) -> None:
        raise ValueError("singular matrix")

    monkeypatch.setattr(engine, part, fail)
    folder = tmp_path / "s"
    outcome, events = run(folder, small_series((20, 10)))
    assert outcome.ending is Ending.COMPLETED
    assert isinstance(events[-1], SeriesEnded)
    errors = [e.message for e in events if isinstance(e, Notice) and e.level == "error"]
    assert words in errors[0]
    assert {entry.state for entry in read_manifest(folder).points} == {"done"}
    monkeypatch.undo()
    run(folder)
    assert all(entry.result for entry in read_manifest(folder).points)
    assert (folder / "series.png").exists()


# -- the user's own command --------------------------------------------------------------------


def test_the_command_is_told_of_failures_and_the_end(tmp_path) -> None:
    told = tmp_path / "told.txt"
    script = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
    command = [sys.executable, "-c", script, str(told)]
    plan = small_series((20, 10), on_failure={"retries": 0, "wait_s": 0}, notify=command)
    run(tmp_path / "s", plan, Bench(broken))
    news = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
    assert [item["event"] for item in news] == ["point-failed", "series-ended"]
    assert news[0]["point"] == 0
    assert (news[1]["ending"], news[1]["points_done"]) == ("failed", 1)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no such command"], "cannot be called"),
        ([sys.executable, "-c", "import sys; sys.exit('no mail today')"], "no mail today"),
        ([sys.executable, "-c", "import sys; sys.exit(9 * '0123456789' * 100_000)"], "6789"),
    ],
)
def test_a_command_that_fails_is_only_told(tmp_path, command, words) -> None:
    outcome, events = run(tmp_path / "s", small_series((20,), notify=command))
    assert outcome.ending is Ending.COMPLETED
    assert words in notices(events, "notify")[0]


ENDLESS = "import sys\nwhile True: sys.stderr.write(100_000 * 'x')"
LEAVES_ONE_BEHIND = (
    "import subprocess, sys\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(9)'])\n"
    "sys.exit(1)"
)


@pytest.mark.parametrize(
    ("script", "words", "longest_s"),
    [
        (ENDLESS, "was ended after 1 s", 5.0),
        ("import time; time.sleep(60)", "was ended after 1 s", 5.0),
        (LEAVES_ONE_BEHIND, "ended with 1", 5.0),
    ],
)
def test_a_command_cannot_hold_up_or_flood_the_series(
    monkeypatch, script, words, longest_s
) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_S", 1.0)
    tracemalloc.start()
    began_s = time.monotonic()
    # more than a pipe takes, and nobody reads it
    problem = notify.call([sys.executable, "-c", script], {"summary": 1_000_000 * "x"})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem is not None
    assert words in problem
    assert time.monotonic() - began_s < longest_s
    assert most < 20e6


# -- the command line --------------------------------------------------------------------------


def test_sweep_dry_run_and_resume(tmp_path, capsys) -> None:
    plan, out = tmp_path / "plan.toml", tmp_path / "s"
    plan.write_text(to_toml(small_series((20, 10))), encoding="utf-8")
    assert main(["sweep", str(plan), "--dry-run", "--json"]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert [p["power_nw"] for p in dry["points"]] == [20, 10]
    assert dry["ends"] == dry["points"][-1]["ends"]
    assert main(["check", str(plan), "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in checked["points"]] == ["20 nW", "10 nW"]
    assert not out.exists()
    assert main(["sweep", str(plan), "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ending"], answer["points_done"], answer["laser_off"]) == ("completed", 2, True)
    plan.write_text(to_toml(small_series((20, 10, 5))), encoding="utf-8")
    assert main(["resume", str(out), "--plan", str(plan), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [p["attempts"] for p in answer["points"]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "power-series"], "Missing option '--out'"),
        (["sweep", "line", "--out", "x"], "a series is needed here"),
        (["scan", "power-series", "--out", "x.h5"], "found a series"),
        (["resume", "."], "there is no series.json in this folder"),
    ],
)
def test_wrong_commands(tmp_path, monkeypatch, capsys, arguments, words) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


# -- the experiments of the papers ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["power-series", "temperature-series"])
def test_bundled_series_fit_the_simulated_microscope(name) -> None:
    plan = load_series(name)
    assert isinstance(plan.scan, LineScan)
    assert len(check_series(plan, load_profile("simulated"), name)) == plan.count


def sweep(name: str, tmp_path: Path, capsys):
    out = tmp_path / name
    assert main(["sweep", name, "--profile", "simulated", "--out", str(out), "--json"]) == 0
    manifest = read_manifest(out)
    results = [entry.result for entry in manifest.points]
    assert max(result.counts_per_pulse for result in results) < 0.005
    ds = np.array([result.d_cm2_per_s for result in results])
    errors = np.array([result.d_stderr_cm2_per_s for result in results])
    capsys.readouterr()
    return manifest, ds, errors


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["power-series", "fluence-series", "rep-rate-series", "constant-count-rate"]
)
def test_the_relaxation_time_comes_back(name, tmp_path, capsys) -> None:
    manifest, _, _ = sweep(name, tmp_path, capsys)
    curve = manifest.summary["relaxation"]
    for key, true in (
        ("tau", 6.0),
        ("d_slow", 0.01),
        ("amplitude", 0.14),
    ):
        unit = "us" if key == "tau" else "cm2_per_s"
        error = curve[f"{key}_stderr_{unit}"]
        assert abs(curve[f"{key}_{unit}"] - true) < 4 * error
        assert error < 0.1 * true


@pytest.mark.full
def test_d_does_not_depend_on_the_fluence_at_constant_power(tmp_path, capsys) -> None:
    manifest, ds, errors = sweep("constant-power", tmp_path, capsys)
    fluences = [entry.result.fluence_uj_per_cm2 for entry in manifest.points]
    assert max(fluences) > 30 * min(fluences)
    assert np.sum(((ds - np.average(ds, weights=errors**-2)) / errors) ** 2) < 20.5  # 0.1 %, 5 dof
    assert (errors < 0.03 * ds).all()
    assert "relaxation" not in manifest.summary


@pytest.mark.full
def test_the_sequence_is_reversible(tmp_path, capsys) -> None:
    manifest, ds, errors = sweep("reversibility", tmp_path, capsys)
    dim = np.array([entry.settings.power_nw == 1.5 for entry in manifest.points])
    for which in (dim, ~dim):
        d, error = ds[which], errors[which]
        assert np.sum(((d - np.average(d, weights=error**-2)) / error) ** 2) < 16.3  # 0.1 %, 3 dof
    assert ds[~dim].min() > 3 * ds[dim].max()


@pytest.mark.full
def test_mobility_peaks_at_150_k_in_both_ramps(tmp_path, capsys) -> None:
    manifest, ds, errors = sweep("temperature-series", tmp_path, capsys)
    kelvin = np.array([entry.settings.temperature_k for entry in manifest.points])
    for entry in manifest.points:
        assert entry.result.temperature_k == pytest.approx(entry.settings.temperature_k, abs=0.1)
    interval = np.array([entry.result.time_between_excitations_us for entry in manifest.points])
    at_room = 0.01 + 0.14 * np.exp(-interval / 6)

    def mobility(t):
        return (t / 150 * np.exp(1 - t / 150)) ** 2

    true = at_room * mobility(kelvin) / mobility(295.0)
    assert (np.abs(ds - true) < 4.5 * errors).all()
    for ramp in (ds[:7], ds[7:]):
        assert kelvin[np.argmax(ramp)] == 150


# -- what is shown -------------------------------------------------------------------------------


def test_the_terminal_shows_points_d_and_the_time_left(tmp_path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=200, highlight=False)
    series = Series(
        small_series((20, 10)), small_profile(), tmp_path / "s", opener=Bench(), live=True
    )
    with SeriesProgress(console, series, [100.0, 100.0]) as progress:
        series.subscribe(progress)
        series.run()
    shown = text.getvalue()
    for words in ("2 of 2 points", "point 1: 10 nW", "2/2", "14/14", " left", "(p000.h5): D = "):
        assert words in shown


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch, capsys) -> None:
    text = (Path(__file__).parents[2] / "docs" / "series.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/series.md", "exec"), {})
    *points, last = capsys.readouterr().out.splitlines()
    assert [line.split(" nW")[0] for line in points] == ["3", "6", "12", "20"]
    assert last.startswith("completed ")
    assert 4 < float(last.split()[1]) < 9


def test_the_plan_of_the_documentation_is_one(tmp_path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "series.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "plan.toml"
    path.write_text(example, encoding="utf-8")
    assert load_series(path).count == 24
