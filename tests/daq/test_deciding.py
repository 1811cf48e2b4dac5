"""Scans that decide on the way: goals, limits, where the dwell goes, and going on with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.rig import rig, small_profile
from tplm_config import InputError, LineScan, ScanPlan, parse_plan, to_toml
from tplm_daq.analysis import fit_scan
from tplm_daq.events import Decided, Ending, Event, Notice, VisitStored
from tplm_daq.prediction import light_of_scan, outlook, stderr_of
from tplm_daq.session import finish_complete
from tplm_daq.store import read_scan
from tplm_daq.store.frozen import is_frozen

D = 0.05
ALWAYS: list[tuple[int, Any]] = [(10, {}), (21, None), (50, {})]
"""Where scans are broken off; elsewhere only with --full."""


def plan_of(**changes: Any) -> ScanPlan:
    values: dict[str, Any] = {
        "positions": 21, "dwell_s": 0.2, "passes": 60, "stop_when": "5 % on D",
        "card": {"time_bin_ps": 100, "range_ns": 25.6},
    }  # fmt: skip
    return LineScan.model_validate(values | changes)


def film(*more: str) -> tuple[str, ...]:
    dim = "simulation.attenuator.start_transmission=0.002"
    return f"simulation.sample.d_cm2_per_s={D}", dim, "simulation.seed=5", *more


def scanned(tmp_path: Path, plan: ScanPlan, *more: str) -> Any:
    with rig(*film(*more)) as found:
        outcome, scan = found.scan(plan, tmp_path / "scan.h5")
    return found, outcome, scan


@pytest.mark.parametrize("adaptive", [None, {}, {"mode": "robust"}, {"floor": 1.0}])
def test_it_ends_when_d_is_known_well_enough(tmp_path: Path, adaptive: Any) -> None:
    found, outcome, scan = scanned(tmp_path, plan_of(adaptive=adaptive))
    assert outcome.ending is Ending.COMPLETED
    assert "5 % on D is reached" in outcome.message
    fit = fit_scan(scan)
    assert fit.d_stderr_cm2_per_s is not None
    assert fit.d_cm2_per_s is not None
    assert fit.d_stderr_cm2_per_s < 0.055 * fit.d_cm2_per_s
    assert abs(fit.d_cm2_per_s - D) < 4 * fit.d_stderr_cm2_per_s
    # it is complete, compact, and a reader needs no special case
    assert scan.complete
    assert not is_frozen(scan.path)
    assert scan.stored.sum() < 0.5 * scan.stored.size
    assert (scan.exposure_s > 0).all()
    # every decision is in the file, with its time and reason
    decided = found.of(Decided)
    assert [each["why"] for each in scan.decisions] == [each.why for each in decided]
    assert scan.decisions[-1]["ends"]
    assert all(each["at"] for each in scan.decisions)
    assert found.dark


def test_the_dwell_goes_where_it_tells_most(tmp_path: Path) -> None:
    changes = {"adaptive": {}, "stop_when": "3 % on D"}
    found, _, scan = scanned(tmp_path, plan_of(**changes))
    places_um = np.array([place.x_um for place in scan.plan.places()])
    by_place = scan.exposure_s / scan.exposure_s.sum()
    inner = np.abs(places_um) < 0.9
    assert by_place[inner].sum() > 0.7
    assert np.argmax(by_place) != np.abs(places_um).argmin()  # the flanks get more than the centre
    # what is left out of one pass comes in a later one: nowhere stays unchecked
    assert (scan.exposure_s >= 2 * 0.2).all()
    # forth and back alike, and as long as even ones do in the mean, but for the last
    passes = [sum(each.dwell_s) for each in found.of(Decided) if each.dwell_s]
    assert passes[0::2] == passes[1::2]
    assert np.mean([each for each in passes if each > 1]) == pytest.approx(21 * 0.2, rel=0.1)
    # passes still alternate in direction
    rows = scan.stored & (scan.columns["pass_index"] >= 2)
    for index in np.unique(scan.columns["pass_index"][rows]):
        walked = scan.columns["position_index"][rows & (scan.columns["pass_index"] == index)]
        assert (np.sign(np.diff(walked.astype(int))) == (1 if index % 2 == 0 else -1)).all()


def test_adaptive_scans_are_quicker(tmp_path: Path) -> None:
    """By little light and few seeds; benchmarks/adaptive.py measures how much."""
    times = []
    for name, adaptive in (("even", None), ("best", {})):
        with rig(*film()) as found:
            begun_s = found.instrument.clock.now_s()
            plan = plan_of(adaptive=adaptive, stop_when="4 % on D")
            outcome, _ = found.scan(plan, tmp_path / f"{name}.h5")
            assert outcome.ending is Ending.COMPLETED
            times.append(found.instrument.clock.now_s() - begun_s)
    assert times[1] < 0.7 * times[0]


def test_a_time_limit_ends_it_too(tmp_path: Path) -> None:
    changes = {"stop_when": "0.1 % on D", "time_limit_s": 40.0, "background": {"dwell_s": 2.0}}
    found, outcome, scan = scanned(tmp_path, plan_of(**changes))
    assert outcome.ending is Ending.COMPLETED
    assert "time limit of 40 s" in outcome.message
    ends_s = (scan.columns["started_s"] + scan.columns["live_s"])[scan.stored]
    assert 40 < ends_s.max() < 40 + 5  # the dark dwell after it is still measured
    assert scan.totals("background")[0].size == 2
    # and it was said early that the goal is out of reach
    warned = [event for event in found.of(Notice) if event.code == "goal"]
    assert len(warned) == 1
    assert "0.1 % on D needs about" in warned[0].message
    assert "time limit" in warned[0].message


def test_when_the_passes_are_used_up_it_is_complete(tmp_path: Path) -> None:
    changes = {"stop_when": "0.1 % on D", "passes": 5, "adaptive": {}}
    _, outcome, scan = scanned(tmp_path, plan_of(**changes))
    assert outcome.ending is Ending.COMPLETED
    assert "all 5 passes" in outcome.message
    assert scan.complete


@pytest.mark.parametrize(
    ("visits", "adaptive"),
    [
        pytest.param(
            visits, adaptive, marks=() if (visits, adaptive) in ALWAYS else pytest.mark.full
        )
        for visits in (10, 21, 50, 75)
        for adaptive in (None, {})
    ],
)
def test_a_scan_that_was_broken_off_goes_on(tmp_path: Path, visits: int, adaptive: Any) -> None:
    path = tmp_path / "scan.h5"
    with rig(*film()) as found:

        def break_off(event: Event) -> None:
            if isinstance(event, VisitStored) and event.done == visits:
                found.runner.abort()

        found.runner.subscribe(break_off)
        outcome, scan = found.scan(plan_of(adaptive=adaptive), path)
        assert outcome.ending is Ending.ABORTED
        assert not scan.complete
        kept = scan.position_counts.copy()
    with rig(*film("simulation.seed=6")) as found:
        outcome, scan = found.resume(path)
    assert outcome.ending is Ending.COMPLETED
    assert "5 % on D is reached" in outcome.message
    assert (scan.position_counts >= kept).all()
    assert (scan.exposure_s > 0).all()
    assert finish_complete(scan) is None
    with rig(*film()) as found:  # nothing is left to do
        outcome, again = found.resume(path)
    assert outcome.visits_done == 0
    assert again.stored.sum() == scan.stored.sum()


def test_while_d_is_not_known_it_counts_everywhere_alike(tmp_path: Path) -> None:
    dark = "simulation.attenuator.start_transmission=0.0001"
    changes = {"adaptive": {}, "passes": 4, "dwell_s": 0.05}
    found, outcome, scan = scanned(tmp_path, plan_of(**changes), dark)
    assert outcome.ending is Ending.COMPLETED
    assert np.ptp(scan.exposure_s) < 0.4
    assert any("not known yet" in each.why for each in found.of(Decided))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stop_when": "five percent"}, 'write such as "5 % on D"'),
        ({"stop_when": "0 % on D"}, "must be above 0"),
        ({"stop_when": "100 % on D"}, "below 100 %"),
        ({"adaptive": {}, "order": "random"}, 'order = "bidirectional"'),
        ({"adaptive": {}, "fly": {}, "card": {"mode": "t3"}}, "walks whole lines at one speed"),
        ({"adaptive": {"floor": 0}}, "floor"),
        ({"time_limit_s": 0}, "time_limit_s"),
    ],
)
def test_plans_that_cannot_be_decided_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        plan_of(**changes)


def test_a_plan_with_a_goal_survives_toml() -> None:
    plan = plan_of(adaptive={"mode": "robust", "floor": 0.4}, time_limit_s=3600.0)
    again = parse_plan(to_toml(plan), "plan")
    assert again == plan
    assert str(again.goal) == "5 % on D"
    assert again.goal is not None
    assert again.goal.stderr_cm2_per_s(-0.02) == pytest.approx(0.001)


def test_an_absolute_goal() -> None:
    goal = plan_of(stop_when="2e-3 cm²/s on D").goal
    assert goal is not None
    assert goal.stderr_cm2_per_s(0.7) == 0.002
    assert str(goal) == "0.002 cm²/s on D"


# -- what a plan will tell ---------------------------------------------------------------


def test_a_short_scan_foretells_a_long_one(tmp_path: Path) -> None:
    with rig(*film()) as found:
        _, short = found.scan(plan_of(stop_when=None, passes=4), tmp_path / "short.h5")
    light = light_of_scan(short)
    long = plan_of(stop_when=None, passes=20, positions=31, half_range_um=1.5)
    predicted = stderr_of(light, long)
    with rig(*film("simulation.seed=9")) as found:
        _, scan = found.scan(long, tmp_path / "long.h5")
    measured = fit_scan(scan).d_stderr_cm2_per_s
    assert predicted == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize(("passes", "dwell_s", "sure"), [(1, 0.1, False), (8, 0.5, True)])
def test_a_scan_that_hardly_knows_d_says_what_its_forecast_is_worth(
    tmp_path: Path, passes: int, dwell_s: float, sure: bool
) -> None:
    with rig(*film("simulation.seed=1")) as found:
        first = plan_of(stop_when=None, passes=passes, dwell_s=dwell_s)
        _, short = found.scan(first, tmp_path / "short.h5")
    light = light_of_scan(short)
    found = outlook(plan_of(), small_profile(*film()), 1e4, light.d_cm2_per_s, light=light)
    assert (found.between_cm2_per_s is None) == sure
    if found.between_cm2_per_s is not None:
        low, high = found.between_cm2_per_s
        assert low <= found.d_stderr_cm2_per_s <= high
    assumed = outlook(plan_of(), small_profile(*film()), 1e4, 0.02, light=light)
    assert assumed.between_cm2_per_s is None


def test_a_scan_without_light_foretells_nothing(tmp_path: Path) -> None:
    with rig(*film("simulation.attenuator.start_transmission=0.0001")) as found:
        _, dark = found.scan(plan_of(stop_when=None, passes=1, dwell_s=0.01), tmp_path / "dark.h5")
    with pytest.raises(InputError, match="does not know D"):
        light_of_scan(read_scan(dark.path))


@pytest.mark.parametrize(
    ("changes", "worst"),
    [
        ({}, "dwell"),
        ({"half_range_um": 8.0, "adaptive": {}}, "range"),
        ({"half_range_um": 0.9, "adaptive": {}}, "background"),
        (
            {"half_range_um": 1.2, "adaptive": {}, "card": {"time_bin_ps": 25, "range_ns": 0.6}},
            "time window",
        ),
    ],
)
def test_it_says_what_limits(changes: dict[str, Any], worst: str) -> None:
    foreseen = outlook(plan_of(**changes), small_profile(*film()), 1e4, 0.05)
    assert foreseen.limits[0].name == worst
    assert foreseen.limits[0].gain > 1.15
    assert foreseen.goal_s is not None


def test_the_goal_is_nearer_with_more_light_and_with_placed_dwell() -> None:
    dim, bright = (outlook(plan_of(), small_profile(*film()), hz, 0.05).goal_s for hz in (1e3, 4e3))
    placed = outlook(plan_of(adaptive={}), small_profile(*film()), 1e3, 0.05).goal_s
    assert dim is not None
    assert bright is not None
    assert placed is not None
    assert dim == pytest.approx(4 * bright, rel=0.02)
    assert dim > 2 * placed


def test_both_flanks_are_measured_at_the_same_mean_time(tmp_path: Path) -> None:
    """Else a drift would shift them against each other, and D with them."""
    plan = plan_of(adaptive={}, stop_when="3 % on D")
    _, _, scan = scanned(tmp_path, plan, "simulation.seed=7")
    rows = np.flatnonzero(scan.stored)
    place, live_s = scan.columns["position_index"][rows], scan.columns["live_s"][rows]
    middle_s = scan.columns["started_s"][rows] + live_s / 2
    off_um = np.array([scan.plan.places()[i].x_um for i in place]) - fit_scan(scan).center_um
    left, right = (
        np.average(middle_s[side], weights=live_s[side]) for side in (off_um < -0.3, off_um > 0.3)
    )
    assert abs(left - right) < 0.03 * middle_s.max()


def test_pile_up_does_not_decide(tmp_path: Path) -> None:
    """With 2 % of the pulses counted, D = 0.005 cm²/s would look a tenth too large."""
    more = ("simulation.sample.d_cm2_per_s=0.005", "simulation.attenuator.start_transmission=0.04")
    found, _, scan = scanned(tmp_path, plan_of(stop_when="6 % on D"), *more)
    plain, fixed = fit_scan(scan), fit_scan(scan, pile_up="coates")
    assert plain.d_cm2_per_s is not None
    assert fixed.d_cm2_per_s is not None
    assert plain.d_cm2_per_s > 1.05 * fixed.d_cm2_per_s
    last = found.of(Decided)[-1]
    assert last.ends
    assert last.d_cm2_per_s == pytest.approx(fixed.d_cm2_per_s, rel=0.01)


def test_a_map_that_cannot_be_fitted_is_counted_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("t_ns must increase")

    monkeypatch.setattr("tplm_analysis.LiveMap.update", refuse)
    found, outcome, scan = scanned(tmp_path, plan_of(passes=4, adaptive={}))
    assert outcome.ending is Ending.COMPLETED
    assert scan.stored.all()
    assert "cannot be fitted (t_ns must increase)" in found.of(Decided)[0].why
    assert found.dark
