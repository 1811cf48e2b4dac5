"""Dwells: split histograms, streams of photons, lines flown over, and the detector's protection."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.rig import Rig, rig, small_plan
from tplm_config import ScanPlan, VisitKind
from tplm_daq.analysis import fit_scan
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    Rates,
    RunState,
    StateChanged,
    VisitMeasured,
    VisitStarted,
)
from tplm_daq.handling import POLL_S
from tplm_daq.importing import import_files
from tplm_daq.store import read_scan
from tplm_daq.store.layout import flag_names
from tplm_daq.t3 import read_ptu
from tplm_daq.t3.keeping import KeptRecords
from tplm_daq.t3.stream import RecordStream

T3 = {"mode": "t3", "time_bin_ps": 200, "range_ns": 25.6}
SHUTTER_S = 0.004


def t3_plan(**changes: Any) -> ScanPlan:
    card = T3 | changes.pop("card", {})
    return small_plan(card=card, **changes)


def when(it: Rig, kind: type, act: Callable[[], object], index: int | None = None) -> None:
    """Act once, at the first event of a kind (of a visit)."""
    done: list[Event] = []

    def watch(event: Event) -> None:
        visit = getattr(event, "visit", None)
        if isinstance(event, kind) and not done and index in (None, getattr(visit, "index", None)):
            done.append(event)
            act()

    it.runner.subscribe(watch)


# -- histograms in parts -------------------------------------------------------------------


def test_a_dwell_is_split_before_a_counter_overflows(tmp_path: Path) -> None:
    plan = small_plan(positions=1, passes=3, dwell_s=2.0)
    with rig() as it:
        _, whole = it.scan(plan, tmp_path / "whole.h5")
    fullest = int(whole.histograms(np.array([0]))[0].max())
    with rig(f"simulation.detection.counter_max={fullest // 3}") as it:
        starts: list[float] = []
        card = it.microscope.card
        start = card.start
        card.start = lambda dwell_s: (starts.append(dwell_s), start(dwell_s))  # type: ignore[method-assign]
        outcome, split = it.scan(plan, tmp_path / "split.h5")
    assert outcome.ending is Ending.COMPLETED
    assert len(starts) > 3 * 3, "each visit needs more than three parts"
    assert split.columns["live_s"] == pytest.approx([2.0] * 3, abs=2e-3)
    assert not split.columns["flags"].any()
    total = split.position_counts.sum()
    assert total == pytest.approx(whole.position_counts.sum(), abs=5 * np.sqrt(2 * total))
    assert not it.of(Notice)


def test_a_counter_that_overflows_all_the_same_is_told(tmp_path: Path) -> None:
    with rig("simulation.detection.counter_max=60") as it:
        brighter = lambda: it.microscope.laser.set_power_fraction(1.0)  # noqa: E731
        it.microscope.laser.set_power_fraction(1e-6)
        when(it, VisitStarted, lambda: it.microscope.schedule(_now(it) + 0.25, brighter))
        plan = small_plan(positions=1, passes=1, excitation={})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
    assert outcome.ending is Ending.COMPLETED
    assert scan.columns["live_s"][0] < 1.0, "the card stopped when the bin was full"
    assert scan.position_counts.max() <= 120
    assert any(notice.code == "card-flags" and "overflow" in notice.message
               for notice in it.of(Notice))  # fmt: skip


def test_a_flag_that_mends_does_not_end_a_split_dwell(tmp_path: Path) -> None:
    with rig(
        "simulation.detection.counter_max=300", "simulation.detection.max_count_rate_hz=1000"
    ) as it:
        _, scan = it.scan(small_plan(positions=1, passes=1), tmp_path / "a.h5")
    assert scan.columns["live_s"][0] == pytest.approx(1.0, abs=2e-3)
    assert "count-rate-limit" in flag_names(int(scan.columns["flags"][0]))


def test_short_parts_follow_each_other_at_once(tmp_path: Path) -> None:
    with rig("simulation.detection.counter_max=300") as it:
        plan = small_plan(positions=1, passes=2, dwell_s=4.0, excitation={"power_nw": 5.0})
        _, scan = it.scan(plan, tmp_path / "a.h5")
    taken_s = np.diff(scan.columns["started_s"])
    assert taken_s == pytest.approx([4.0], abs=0.1), "no polling period is lost after a part"


# -- streams --------------------------------------------------------------------------------


def test_a_stream_measures_what_histograms_measure(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"positions": 21, "passes": 2, "excitation": {"power_nw": 5.0}}
    fits = []
    for name, card in (("histogram", {"mode": "histogram"}), ("t3", {})):
        with rig("simulation.sample.d_cm2_per_s=0.05") as it:
            outcome, scan = it.scan(t3_plan(card=card, **plan), tmp_path / f"{name}.h5")
            assert outcome.ending is Ending.COMPLETED
            fits.append(fit_scan(scan))
            assert scan.columns["live_s"] == pytest.approx([1.0] * 42)
    counts = [read_scan(tmp_path / f"{n}.h5").position_counts.sum(1) for n in ("histogram", "t3")]
    difference = (counts[0] - counts[1]) / np.sqrt(counts[0] + counts[1])
    assert np.abs(difference).max() < 5
    for fit in fits:
        assert fit.d_cm2_per_s == pytest.approx(0.05, abs=4 * fit.d_stderr_cm2_per_s)


def test_the_meters_are_told_while_it_counts(tmp_path: Path) -> None:
    with rig() as it:
        it.scan(t3_plan(positions=1, passes=1), tmp_path / "a.h5")
    told = it.of(Rates)
    assert len(told) >= 8, "ten times a second"
    assert all(rates.sync_rate_hz == 2.5e6 for rates in told)
    assert all(0 < rates.share < 0.02 for rates in told)
    brightest = [rates.brightest_bin for rates in told]
    assert brightest == sorted(brightest)
    counts = it.of(VisitMeasured)[0].record.counts
    assert 0.7 * counts.max() < brightest[-1] <= counts.max()


def test_pile_up_is_told_once(tmp_path: Path) -> None:
    with rig() as it:
        plan = small_plan(positions=3, passes=2, excitation={"power_nw": 30.0})
        it.scan(plan, tmp_path / "a.h5")
    told = [notice.message for notice in it.of(Notice) if notice.code == "pile-up"]
    assert len(told) == 1
    assert "--pile-up coates" in told[0]


@pytest.mark.parametrize("how", ["scan", "position"])
def test_kept_records_hold_the_same_photons(tmp_path: Path, how: str) -> None:
    plan = t3_plan(card={"raw": how}, background={"dwell_s": 0.5})
    with rig() as it:
        _, scan = it.scan(plan, tmp_path / "a.h5")
    map_ = scan.position_counts
    if how == "scan":
        kept = read_ptu(tmp_path / "a.ptu")
        everything = scan.histograms(np.arange(plan.visit_count)).sum(axis=0)
        assert np.array_equal(kept.total, everything)
        assert kept.markers == plan.visit_count - 1
        assert not kept.warnings
        return
    for position in range(7):
        kept = read_ptu(tmp_path / f"a.ptu.d/p{position:05d}.ptu")
        assert np.array_equal(kept.total, map_[position])
        assert kept.acquisition_time_s == pytest.approx(2.0, rel=0.01)
    assert (tmp_path / "a.ptu.d/background.ptu").is_file()


FULL_RATE = (
    "limits.detector_count_rate_hz=1e9",
    "simulation.laser.start_rate_hz=40e6",
    "simulation.attenuator.start_transmission=1.0",
    "simulation.sample.detected_per_incident_photon=0.0362",
    "simulation.detection.dead_time_ns=0",
    "simulation.detection.max_count_rate_hz=1e9",
)
"""About 40 million photons a second, what a TimeHarp 260 delivers at most."""


def test_nothing_is_lost_at_the_full_rate_of_a_card(tmp_path: Path) -> None:
    card = {"raw": "scan", "time_bin_ps": 25, "range_ns": 25}
    plan = t3_plan(card=card, positions=1, passes=1, dwell_s=0.5, excitation={})
    with rig(*FULL_RATE) as it:
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
    assert scan.position_counts.sum() > 19e6
    assert not scan.columns["flags"].any()
    kept = read_ptu(tmp_path / "a.ptu")
    assert np.array_equal(kept.total, scan.position_counts[0])
    assert kept.photons_out_of_range == 0


def test_an_aborted_visit_leaves_no_records(tmp_path: Path) -> None:
    with rig() as it:
        when(it, VisitStarted, lambda: it.microscope.schedule(_now(it) + 0.5, it.runner.abort), 3)
        outcome, scan = it.scan(t3_plan(card={"raw": "scan"}), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        assert it.dark
    assert scan.stored.sum() == 3
    first = read_ptu(tmp_path / "a.ptu")
    assert np.array_equal(first.total, scan.position_counts.sum(axis=0))
    with rig() as it:
        outcome, scan = it.resume(tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
    second = read_ptu(tmp_path / "a.2.ptu")
    assert np.array_equal(first.total + second.total, scan.position_counts.sum(axis=0))


FAULTS: list[tuple[str, Callable[[Rig], object], str]] = [
    ("FIFO overrun", lambda it: it.microscope.card.overrun(), "its FIFO ran over during visit 5"),
    ("sync lost", lambda it: it.microscope.card.lose_sync(), "the sync signal was lost"),
    ("USB gone", lambda it: it.microscope.card.unplug(), "does not answer"),
]


@pytest.mark.parametrize(
    ("fault", "words", "fly"),
    [
        pytest.param(
            fault, words, fly, id=f"{name}-{'step' if fly is None else 'fly'}",
            marks=pytest.mark.full if fly is not None and name != "USB gone" else (),
        )
        for name, fault, words in FAULTS
        for fly in (None, {})
    ],
)  # fmt: skip
def test_a_card_that_fails_in_mid_stream(
    tmp_path: Path, fault: Callable[[Rig], object], words: str, fly: dict[str, Any] | None
) -> None:
    visit = 5 if fly is None else 7
    with rig() as it:
        strike = lambda: it.microscope.schedule(_now(it) + 0.7, lambda: fault(it))  # noqa: E731
        when(it, VisitStarted, strike, visit)
        plan = t3_plan(card={"raw": "scan"}, dwell_s=1.0, fly=fly)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        expected = words if fly is None else words.replace("visit 5", "visits 7 to 13")
        assert expected in outcome.message
        assert it.dark
    assert scan.stored.tolist() == [row < visit for row in range(14)]
    if fly is None:
        kept = read_ptu(tmp_path / "a.ptu")
        assert np.array_equal(kept.total, scan.position_counts.sum(axis=0))
    with rig() as it:
        outcome, scan = it.resume(tmp_path / "a.h5")
    assert scan.complete


def test_a_full_disk_ends_a_stream_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tplm_daq.t3 import writing

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with rig() as it:
        plan = t3_plan(card={"raw": "scan"})
        when(it, VisitStarted, lambda: monkeypatch.setattr(writing, "write_at", full), 4)
        when(it, StateChanged, lambda: None)
        outcome, _ = it.scan(plan, tmp_path / "a.h5")
        monkeypatch.undo()
        assert outcome.ending is Ending.FAILED
        assert "No space left" in outcome.message
        assert it.dark
    assert read_scan(tmp_path / "a.h5").stored.sum() == 4


def test_a_disk_that_stalls_is_waited_for_in_the_dark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rig() as it:
        kept, dark = threading.Event(), list[bool]()
        write = KeptRecords.write

        def slow(self: KeptRecords, records: Any) -> None:
            kept.wait(20)
            write(self, records)

        def watch(event: Event) -> None:
            if isinstance(event, Notice) and event.code == "disk":
                dark.append(it.dark)
                kept.set()

        it.runner.subscribe(watch)
        monkeypatch.setattr(KeptRecords, "write", slow)
        monkeypatch.setattr("tplm_daq.t3.stream.PATIENCE_S", 0.001)
        monkeypatch.setattr("tplm_daq.exposing.END_POLL_S", 0.01)
        plan = t3_plan(card={"raw": "scan"}, positions=1, passes=1)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
    assert dark == [True]
    assert np.array_equal(read_ptu(tmp_path / "a.ptu").total, scan.position_counts[0])


@pytest.mark.parametrize("fly", [None, {}], ids=["step", "fly"])
def test_an_abort_blocks_the_light_before_it_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fly: dict[str, Any] | None
) -> None:
    with rig() as it:
        stalled, dark = threading.Event(), list[bool]()
        exit_ = RecordStream.__exit__

        def leave(self: RecordStream, *error: Any) -> None:
            dark.append(it.dark)
            exit_(self, *error)

        monkeypatch.setattr(RecordStream, "__exit__", leave)
        when(it, VisitStarted, lambda: it.microscope.schedule(_now(it) + 1.0, it.runner.abort))
        outcome, _ = it.scan(t3_plan(fly=fly, dwell_s=2.0), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        stalled.set()
    assert dark == [True]


def test_a_library_that_never_comes_back_leaves_the_laser_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr("tplm_daq.t3.stream.STUCK_S", 0.2)
    with rig() as it:
        card = it.instrument.card
        monkeypatch.setattr(type(card), "read_records", lambda *_: never.wait() or 0)
        # a thread that is stuck holds simulated time; real time goes on, so it is let go
        monkeypatch.setattr(it.microscope.clock, "joined", nullcontext)
        outcome, scan = it.scan(t3_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "has not come back from reading" in outcome.message
        assert it.dark
        never.set()
    assert not scan.stored.any()


def test_records_of_a_visit_that_is_refused_are_not_kept(tmp_path: Path) -> None:
    with rig() as it:
        at = it.microscope
        strike = lambda: at.schedule(_now(it) + 0.6, at.laser.open_interlock)  # noqa: E731
        when(it, VisitStarted, strike, 2)
        outcome, scan = it.scan(t3_plan(card={"raw": "scan"}), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "emission went off during visit 2" in outcome.message
    assert scan.stored.sum() == 2
    kept = read_ptu(tmp_path / "a.ptu")
    assert np.array_equal(kept.total, scan.position_counts.sum(axis=0))


def test_no_empty_file_of_records_is_left(tmp_path: Path) -> None:
    for how in ("scan", "position"):
        with rig() as it:
            when(it, VisitStarted, it.runner.abort)
            it.scan(t3_plan(card={"raw": how}), tmp_path / f"{how}.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["position.h5", "scan.h5"]


def test_records_by_position_can_be_imported(tmp_path: Path) -> None:
    with rig() as it:
        _, scan = it.scan(t3_plan(card={"raw": "position"}), tmp_path / "a.h5")
    folder = tmp_path / "a.ptu.d"
    again = import_files(sorted(folder.glob("p*.ptu")), folder / "positions.csv", tmp_path / "b.h5")
    assert np.array_equal(again.map().counts, scan.map().counts)
    assert np.array_equal(again.map().x_um, scan.map().x_um)


# -- flying ---------------------------------------------------------------------------------

STEP_UM = 495 * 0.2  # of the detector stage, for 21 positions over ±2 µm


@pytest.mark.parametrize("cut", ["time", "markers"])
def test_a_line_flown_over_gives_the_same_map(tmp_path: Path, cut: str) -> None:
    line: dict[str, Any] = {
        "positions": 21, "half_range_um": 2.0, "passes": 2, "excitation": {"power_nw": 5.0},
    }  # fmt: skip
    settings = (
        "simulation.sample.d_cm2_per_s=0.05",
        f"simulation.detector_stage.trigger_um={STEP_UM}",
        f"simulation.detector_stage.trigger_zero_um={STEP_UM / 2}",
    )
    with rig(*settings) as it:
        _, still = it.scan(t3_plan(**line), tmp_path / "still.h5")
    with rig(*settings) as it:
        outcome, flown = it.scan(
            t3_plan(**line, fly={"cut": cut}, card={"raw": "scan"}), tmp_path / "flown.h5"
        )
        assert outcome.ending is Ending.COMPLETED, outcome.message
    assert flown.columns["live_s"] == pytest.approx([1.0] * 42, abs=0.03)
    rates = [scan.position_counts.sum(axis=1) / scan.exposure_s for scan in (still, flown)]
    # averaged over a step the flanks are higher: by about 8 % here, besides the noise
    assert rates[1] == pytest.approx(rates[0], rel=0.15, abs=20)
    fit = fit_scan(flown)
    assert fit.d_cm2_per_s == pytest.approx(0.05, abs=4 * fit.d_stderr_cm2_per_s)
    assert abs(fit.center_um) < 0.02, "forth and back agree"
    starts = flown.columns["started_s"]
    in_a_pass = [b - a for i, (a, b) in enumerate(pairwise(starts), 1) if i % 21]
    assert in_a_pass == pytest.approx([1.0] * 40, abs=0.03), "no dead time within a pass"
    kept = read_ptu(tmp_path / "flown.ptu")
    assert kept.photons > flown.position_counts.sum(), "the run-up is kept too"


@pytest.mark.parametrize(
    "answer_s",
    [
        pytest.param(0.05, marks=pytest.mark.full),
        0.2,
        pytest.param(0.6, marks=pytest.mark.full),
        5.0,
    ],
)
def test_a_stage_that_answers_slowly_costs_no_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer_s: float
) -> None:
    line: dict[str, Any] = {"positions": 11, "half_range_um": 1.0, "passes": 2, "dwell_s": 0.4}
    with rig() as it:
        stage = it.instrument.detector_stage
        position_um = type(stage).position_um

        def slowly(self: Any) -> tuple[float, ...]:
            half_s = (
                answer_s / 2 if self.role == "detector_stage" and self._stage.is_moving() else 0
            )
            it.microscope.clock.wait(half_s)
            here = position_um(self)
            it.microscope.clock.wait(half_s)
            return here

        monkeypatch.setattr(type(stage), "position_um", slowly)
        outcome, scan = it.scan(t3_plan(**line, fly={}), tmp_path / "a.h5")
        assert it.dark
    if answer_s > 1:
        assert outcome.ending is Ending.FAILED
        assert "did not answer often enough" in outcome.message
        return
    assert outcome.ending is Ending.COMPLETED, outcome.message
    assert scan.columns["live_s"] == pytest.approx([0.4] * 22, rel=0.1)
    forth, back = (scan.histograms(rows).sum(axis=1) for rows in np.arange(22).reshape(2, 11))
    assert forth.min() > 0
    assert forth == pytest.approx(back[::-1], abs=5 * np.sqrt(2 * forth.max()))


def test_markers_that_do_not_fit_the_plan_are_refused(tmp_path: Path) -> None:
    cases = [
        ({}, "0 pulses came at the marker inputs"),
        ({"trigger_um": 2 * STEP_UM}, "pulses came|steps from where the markers"),
        ({"trigger_um": STEP_UM / 30}, "pulses came at the marker inputs|steps from where"),
    ]
    for number, (trigger, words) in enumerate(cases):
        settings = [f"simulation.detector_stage.{k}={v}" for k, v in trigger.items()]
        with rig(*settings) as it:
            plan = t3_plan(positions=21, half_range_um=2.0, fly={"cut": "markers"})
            outcome, scan = it.scan(plan, tmp_path / f"{number}.h5")
            assert outcome.ending is Ending.FAILED
            assert any(word in outcome.message for word in words.split("|")), outcome.message
            assert it.dark
            assert not scan.stored.any()


def test_a_stage_that_stalls_in_flight_is_told(tmp_path: Path) -> None:
    with rig("detector_stage.timeout_s=10") as it:
        when(it, VisitStarted, lambda: it.microscope.schedule(
            _now(it) + 3, it.microscope.detector_stage.stall), 7)  # fmt: skip
        outcome, scan = it.scan(t3_plan(fly={}), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "detector_stage" in outcome.message
        assert it.dark
    assert scan.stored.sum() == 7


# -- the detector's protection --------------------------------------------------------------


def _now(it: Rig) -> float:
    return it.microscope.clock.now_s()


PROTECTED = [
    ("histogram", {"card": {"mode": "histogram"}}),
    ("t3", {}),
    ("fly", {"fly": {}}),
]


@pytest.mark.parametrize(
    ("delay_s", "changes"),
    [
        pytest.param(
            delay_s, changes, id=f"{name}-{when}",
            marks=pytest.mark.full if name == "fly" and when != "counting" else (),
        )
        for name, changes in PROTECTED
        for when, delay_s in (("moving", 0.02), ("counting", 0.45), ("later", 0.73))
    ],
)  # fmt: skip
def test_a_jump_of_the_count_rate_closes_the_shutter_in_time(
    tmp_path: Path, changes: dict[str, Any], delay_s: float
) -> None:
    # one place off the centre, so that a jump of 20 stands out everywhere it may happen
    plan = t3_plan(positions=3, half_range_um=0.2, passes=2, excitation={}, **changes)
    struck = 1 if "fly" not in changes else 3
    with rig("limits.detector_count_rate_hz=5000") as it:
        laser, seen = it.microscope.laser, dict[str, Any]()

        def jump() -> None:
            laser.set_power_fraction(1.0)
            at_s = _now(it)
            seen["before"] = it.microscope.card.expected_rates().total_hz
            it.microscope.schedule(at_s + POLL_S + SHUTTER_S + 1e-6, check)

        def check() -> None:
            seen["dark"] = it.dark

        def come() -> None:
            laser.set_power_fraction(0.05)
            it.runner.resume()

        laser.set_power_fraction(0.05)
        when(it, VisitStarted, lambda: it.microscope.schedule(_now(it) + delay_s, jump), struck)

        def watch(event: Event) -> None:
            if isinstance(event, StateChanged) and event.state is RunState.PAUSED:
                seen.setdefault("sentence", event.why)
                it.microscope.schedule(_now(it) + 0.3, come)

        it.runner.subscribe(watch)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
    assert seen["dark"], "the shutter must be shut before the next polling period ends"
    assert "the light was blocked" in seen["sentence"]
    assert outcome.ending is Ending.COMPLETED
    assert scan.complete
    totals = scan.histograms(np.arange(6)).sum(axis=1)
    assert totals.max() < 5000, "the visit with the jump was measured again"
    assert it.dark


def test_a_paused_run_can_be_stopped(tmp_path: Path) -> None:
    with rig("limits.detector_count_rate_hz=9000") as it:

        def watch(event: Event) -> None:
            if isinstance(event, StateChanged) and event.state is RunState.PAUSED:
                it.runner.stop()

        it.runner.subscribe(watch)
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.STOPPED
        assert it.dark
    assert 0 < scan.stored.sum() < 14
    kinds = {record.record.visit.kind for record in it.of(VisitMeasured)}
    assert kinds == {VisitKind.MAP}
