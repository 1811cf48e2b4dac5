"""The time of a series shared between its points: numbers, decisions, whole nights, proposals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daq.rig import small_profile
from tests.daq.series_rig import Bench, run
from tplm_analysis import fit_relaxation
from tplm_config import InputError, SeriesPlan, Share, load_series, to_toml
from tplm_daq.cli import main
from tplm_daq.events import Ending, PointEnded, TimeShared, VisitStored
from tplm_daq.series import SharedTime, Shares, engine, foresee, propose, read_manifest
from tplm_daq.series.manifest import Entry, Result
from tplm_daq.series.sharing import Standing, share_out
from tplm_daq.store import read_scan

SLOW, MEMORY, TAU_US = 0.01, 0.14, 6.0
X = 48.7 / np.array([20, 14, 10, 5, 3, 2, 1.5, 1])
"""Times between excitations in µs, of a power series of S1 at 2.5 MHz."""
D = SLOW + MEMORY * np.exp(-X / TAU_US)
SET_UP_S = np.full(X.size, 30.0)
TAU = Share(time_s=3600.0, so_that="tau")
SLOPE = Share(time_s=3600.0, so_that="slope")


def unit_errors(d: np.ndarray) -> np.ndarray:
    """More light, smaller errors; a larger D is known less well."""
    return 0.05 * (X / X[0]) ** 0.25 * (1 + 5 * np.maximum(d, 0))


def shared(share: Share = TAU, standing: Standing | None = None, left_s: float = 3600.0) -> Shares:
    fresh = Standing.fresh(X.size) if standing is None else standing
    return share_out(share, X, unit_errors, SET_UP_S, fresh, left_s)


# -- on numbers --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["tau", "slope"]),
    st.floats(0.1, 1),
    st.lists(st.booleans(), min_size=X.size, max_size=X.size).filter(any),
    st.floats(300, 1e5),
    st.integers(0, 2**32 - 1),
)
def test_all_that_is_left_is_shared_and_never_worse_than_evenly(
    so_that: Any, floor: float, is_open: list[bool], left_s: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    opened = np.array(is_open)
    standing = Standing.fresh(X.size)
    standing.is_open[:] = opened
    standing.passes_s[~opened] = rng.uniform(10, 1000, (~opened).sum())
    standing.stderr_cm2_per_s[~opened] = rng.uniform(5e-4, 5e-3, (~opened).sum())
    standing.d_cm2_per_s[~opened] = rng.normal(D, 1e-3)[~opened]
    share = Share(time_s=1e5, so_that=so_that, floor=floor)
    found = shared(share, standing, left_s)
    assert found.times_s.sum() == pytest.approx(left_s)
    assert (found.times_s[~opened] == 0).all()
    passes_s = left_s - SET_UP_S[opened].sum()
    assert (found.passes_s[opened] >= floor * passes_s / opened.sum() - 1e-6).all()
    assert found.stderr <= 1.001 * found.even_stderr


def test_a_point_that_is_over_is_not_waited_for() -> None:
    """Too little time for the settings alone: nothing is left for passes, and nothing negative."""
    assert shared(left_s=100.0).passes_s.sum() == 0


def test_of_a_line_the_ends_are_measured_most() -> None:
    passes_s = shared(SLOPE).passes_s
    assert {int(i) for i in np.argsort(passes_s)[-2:]} == {0, X.size - 1}


def test_points_that_gave_no_d_tell_nothing() -> None:
    standing = Standing.fresh(X.size)
    standing.is_open[:3] = False
    standing.passes_s[:3] = 100.0
    found = shared(TAU, standing)
    assert found.fitted == 0
    assert (found.passes_s[:3] == 0).all()
    assert found.stderr > shared().stderr


def test_worse_errors_than_predicted_are_learnt() -> None:
    standing = Standing.fresh(X.size)
    standing.is_open[0] = False
    standing.passes_s[0] = 400.0
    standing.d_cm2_per_s[0] = D[0]
    standing.stderr_cm2_per_s[0] = unit_errors(D)[0] / 20
    by_prediction = shared(TAU, standing)
    standing.stderr_cm2_per_s[0] *= 3
    assert shared(TAU, standing).stderr == pytest.approx(3 * by_prediction.stderr, rel=0.01)


def night(rng: np.random.Generator, share: Share) -> tuple[np.ndarray, np.ndarray]:
    """Walk through the points as a series does; D is drawn with the errors it would have."""
    standing, left_s = Standing.fresh(X.size), share.time_s
    errors = 1.2 * unit_errors(D)
    for i in range(X.size):
        found = shared(share, standing, left_s)
        left_s -= found.times_s[i]
        standing.passes_s[i], standing.is_open[i] = found.passes_s[i], False
        standing.stderr_cm2_per_s[i] = errors[i] / np.sqrt(found.passes_s[i])
        standing.d_cm2_per_s[i] = D[i] + standing.stderr_cm2_per_s[i] * rng.standard_normal()
    assert left_s == pytest.approx(0, abs=1e-6)
    return standing.d_cm2_per_s, standing.stderr_cm2_per_s


def evenly(rng: np.random.Generator, share: Share) -> tuple[np.ndarray, np.ndarray]:
    """The same with as much time at each point."""
    passes_s = (share.time_s - SET_UP_S.sum()) / X.size
    error = 1.2 * unit_errors(D) / np.sqrt(passes_s)
    return D + error * rng.standard_normal(X.size), error


def taus(walk: Any, share: Share, draws: int) -> np.ndarray:
    """Deviation of τ and its error bar, draw by draw."""
    found = []
    for k in range(draws):
        curve = fit_relaxation(X, *walk(np.random.default_rng(700 + k), share))
        found.append((curve.tau_us - TAU_US, curve.tau_stderr_us))
    return np.array(found).T


@pytest.mark.parametrize(
    ("draws", "least"), [(60, 1.0), pytest.param(300, 1.15, marks=pytest.mark.full)]
)
def test_tau_is_known_better_than_by_even_time(draws: int, least: float) -> None:
    """With a wrong guess of it; benchmarks/sharing.py has more of this."""
    even_off, _ = taus(evenly, TAU, draws)
    off, error = taus(night, TAU.model_copy(update={"tau_us": 4.5, "floor": 0.2}), draws)
    ratio = np.mean(even_off**2) / np.mean(off**2)
    assert ratio > least, ratio
    assert np.mean(np.abs(off) < error) == pytest.approx(0.683, abs=3 * 0.466 / draws**0.5)
    assert abs(off.mean()) < 3 * off.std() / draws**0.5 + 0.15 * off.std()


# -- on plans ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes as long as everything else."""
    monkeypatch.setattr(engine, "draw_series", lambda *_: None)


def plan_of(time_s: float = 170.0, **changes: Any) -> SeriesPlan:
    values: dict[str, Any] = {
        "scan": {
            "kind": "line", "positions": 7, "half_range_um": 1.2, "dwell_s": 1.0,
            "passes": 45, "card": {"time_bin_ps": 200, "range_ns": 25.6},
            "excitation": {"repetition_rate_hz": 2.5e6}, "detection": {"transmission": 0.1},
        },
        "axes": [{"power_nw": [20, 8, 4, 1.5]}],
        "share": {"time_s": time_s, "so_that": "tau"},
        "on_failure": {"retries": 0, "wait_s": 0},
    }  # fmt: skip
    return SeriesPlan.model_validate(values | changes)


REFUSED = [
    (plan_of(40.0), "share.time_s: found 40 s; 4 points take 2"),
    (
        plan_of(scan=plan_of().scan.model_dump() | {"excitation": {}}),
        "point 0 (20 nW): share.so_that: the time between excitations is not known",
    ),
]


@pytest.mark.parametrize(("plan", "words"), REFUSED)
def test_nights_that_cannot_be_shared_are_refused_before_anything(
    tmp_path: Path, plan: SeriesPlan, words: str
) -> None:
    bench = Bench()
    with pytest.raises(InputError) as caught:
        run(tmp_path / "s", plan, bench)
    assert words in str(caught.value)
    assert not bench.opened


def test_a_dry_run_tells_the_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "shared-relaxation", "--dry-run", "--json"]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert dry["duration_s"] == pytest.approx(600)
    assert dry["shared"]["wanted"] == "tau"
    assert dry["shared"]["stderr"] < 0.95 * dry["shared"]["even_stderr"]
    # each error of D is that of its share
    found = foresee(load_series("shared-relaxation"), small_profile(), 10_000.0)
    assert found is not None
    times_s = [point["duration_s"] for point in dry["points"]]
    assert times_s == pytest.approx(found.times_s.tolist())
    x = [point["time_between_excitations_us"] for point in dry["points"]]
    errors = [point["d_stderr_cm2_per_s"] for point in dry["points"]]
    curve = fit_relaxation(x, found.d_cm2_per_s, errors)
    assert curve.tau_stderr_us == pytest.approx(dry["shared"]["stderr"], rel=0.01)
    assert main(["check", "shared-relaxation"]) == 0
    assert "with even shares to ±" in capsys.readouterr().out


# -- whole nights ------------------------------------------------------------------------------


def decisions(events: list[Any]) -> list[TimeShared]:
    return [event for event in events if isinstance(event, TimeShared)]


def test_a_night_keeps_to_its_time(tmp_path: Path) -> None:
    outcome, events = run(tmp_path / "s", plan_of())
    assert outcome.ending is Ending.COMPLETED
    entries = outcome.manifest.points
    assert [entry.state for entry in entries] == ["done"] * 4
    spent_s = sum(entry.spent_s for entry in entries)
    assert 155 < spent_s <= 170
    told = decisions(events)
    assert [each.index for each in told] == [0, 1, 2, 3]
    assert [entry.time_share_s for entry in entries] == [each.time_s for each in told]
    for each in told:
        assert sum(each.shares_s) == pytest.approx(each.left_s, abs=0.01)
    # the last one gets all that is left
    assert told[-1].time_s == pytest.approx(told[-1].left_s)
    assert told[-1].stderr is not None
    assert outcome.manifest.summary["relaxation"]["tau_us"] == pytest.approx(6.0, abs=2.5)
    # what was decided is in the log, and in every file: when and why it ended
    lines = (tmp_path / "s" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line) for line in lines]
    why = [line["why"] for line in logged if line["event"] == "time-shared"]
    assert why[0] == told[0].why
    assert "so that τ is known best" in why[0]
    for entry in entries:
        scan = read_scan(tmp_path / "s" / entry.file)
        assert scan.complete
        assert "share of the time of the series is over" in scan.decisions[-1]["why"]
        assert scan.exposure_s.sum() == pytest.approx(entry.counted_s)


@pytest.mark.parametrize("visits", [pytest.param(10, marks=pytest.mark.full), 60])
def test_a_night_that_was_broken_off_shares_what_is_left(tmp_path: Path, visits: int) -> None:
    seen: list[int] = []

    def break_off(series: Any, event: Any) -> None:
        if isinstance(event, VisitStored):
            seen.append(event.index)
            if len(seen) == visits:
                series.abort()

    outcome, before = run(tmp_path / "s", plan_of(), observe=break_off)
    assert outcome.ending is Ending.ABORTED
    kept = [entry.counted_s for entry in outcome.manifest.points]
    spent_s = sum(entry.spent_s for entry in outcome.manifest.points)
    outcome, events = run(tmp_path / "s")
    assert outcome.ending is Ending.COMPLETED
    entries = outcome.manifest.points
    assert sum(entry.spent_s for entry in entries) <= 170
    assert all(e.counted_s >= k for e, k in zip(entries, kept, strict=True))
    first = decisions(events)[0]
    assert first.index == decisions(before)[-1].index  # the same point goes on, in its file
    assert first.left_s == pytest.approx(170 - spent_s)
    assert len({entry.file for entry in entries}) == 4


def test_the_time_of_a_point_that_failed_goes_to_the_others(tmp_path: Path) -> None:
    calls: list[int] = []

    def break_it(series: Any, event: Any) -> None:
        if isinstance(event, TimeShared) and event.index == 1:
            calls.append(1)
            bench.opened[-1].card.lose_sync()

    bench = Bench()
    outcome, events = run(tmp_path / "s", plan_of(), bench, observe=break_it)
    assert calls == [1]
    assert [entry.state for entry in outcome.manifest.points] == ["done", "failed", "done", "done"]
    before, _, after, _ = decisions(events)
    assert after.shares_s[1] == 0
    assert after.shares_s[2] > before.shares_s[2] + 5
    spent_s = sum(entry.spent_s for entry in outcome.manifest.points)
    assert 150 < spent_s <= 170


def test_a_night_can_be_made_longer(tmp_path: Path) -> None:
    """Time is lost where nobody foresaw it; with more time the rest is measured, in its files."""

    def lose_time(series: Any, event: Any) -> None:
        if isinstance(event, PointEnded) and event.index == 1:
            series._update(1, spent_s=150.0)

    outcome, _ = run(tmp_path / "s", plan_of(), observe=lose_time)
    assert outcome.ending is Ending.STOPPED
    assert "longer share.time_s" in outcome.message
    assert [entry.state for entry in outcome.manifest.points] == ["done"] * 2 + ["waiting"] * 2
    outcome, events = run(tmp_path / "s", plan_of(260.0))
    assert outcome.ending is Ending.COMPLETED
    assert [each.index for each in decisions(events)] == [2, 3]
    assert not outcome.manifest.set_aside


# -- the next point ----------------------------------------------------------------------------


def measured(plan: SeriesPlan, d: Any, error: float = 0.002) -> list[Entry]:
    """Entries of a series that is over, with D as a function of what was swept."""
    prospects = SharedTime(plan, small_profile()).prospects
    return [
        Entry(
            index=point.index, label=point.label, settings=point.settings, file="", state="done",
            spent_s=60.0, counted_s=30.0,
            result=Result(
                d_cm2_per_s=float(d(each.x)), d_stderr_cm2_per_s=error, counts_per_pulse=0.001,
                repetition_rate_hz=2.5e6,
            ),
        )
        for point, each in zip(plan.walk(), prospects, strict=True)
    ]  # fmt: skip


def relaxing(x: float) -> float:
    return SLOW + MEMORY * float(np.exp(-x / TAU_US))


def test_the_next_point_of_a_relaxation() -> None:
    plan = plan_of(axes=[{"power_nw": [20, 8, 4, 3]}])
    entries = measured(plan, relaxing)
    found = propose(entries, plan, small_profile())
    assert found is not None
    assert (found.quantity, found.wanted) == ("power_nw", "tau")
    # the slow end is what is known least: 3 nW are 16 µs apart
    assert found.time_between_excitations_us == pytest.approx(32.5, rel=0.05)
    assert found.value == pytest.approx(1.5, rel=0.05)
    assert found.time_s == 60
    # and it keeps what it promises, as far as its own D has the error that was predicted
    longer = propose(entries, plan, small_profile(), 600.0)
    assert longer is not None
    assert longer.stderr_then < found.stderr_then < found.stderr_now
    x = [each.x for each in SharedTime(plan, small_profile()).prospects]
    curve = fit_relaxation(x, [relaxing(one) for one in x], [0.002] * 4)
    assert found.stderr_now == pytest.approx(curve.tau_stderr_us, rel=0.05)
    assert "would take the error of τ from" in str(found)
    assert json.dumps(found.to_dict())


def test_the_next_point_of_a_line_is_at_its_end() -> None:
    scan = plan_of().scan.model_dump() | {
        "temperature": {"set_point_k": 295, "time_s": 1}, "excitation": {},
    }  # fmt: skip
    share = {"time_s": 2000.0, "so_that": "slope"}
    scan["passes"] = 400
    plan = plan_of(axes=[{"temperature_k": [100, 150, 200]}], share=share, scan=scan)
    entries = measured(plan, lambda kelvin: 0.01 + 1e-4 * kelvin)
    found = propose(entries, plan, small_profile(), 3000.0)
    assert found is not None
    assert found.quantity == "temperature_k"
    # within a factor 2 of the range, and what the instrument allows, 325 K
    assert 50 <= found.value < 70 or 280 < found.value <= 325
    # where there is no time for the cryostat's way, it stays near
    near = propose(entries, plan, small_profile(), 120.0)
    assert near is not None
    assert 90 < near.value < 210
    assert found.stderr_then < 0.8 * found.stderr_now
    assert "cm²/s per K" in str(found)


def test_nothing_is_proposed_beyond_the_instrument() -> None:
    plan = plan_of(200.0, axes=[{"power_nw": [20, 15, 10, 5, 1]}])
    entries = measured(plan, relaxing)
    limit = "limits.laser_power_nw=21"
    free = propose(entries, plan, small_profile(), 60.0)
    bound = propose(entries, plan, small_profile(limit), 60.0)
    assert free is not None
    assert bound is not None
    assert bound.value <= 21
    assert bound.stderr_then >= free.stderr_then
    # nor where the detector would see more than a count in a hundred pulses
    bright = [
        e.model_copy(update={"result": e.result.model_copy(update={"counts_per_pulse": 0.009})})
        for e in entries
        if e.result
    ]
    dimmed = propose(bright, plan, small_profile(), 60.0)
    assert dimmed is not None
    assert dimmed.value <= 20 * 1.12


def test_without_a_curve_nothing_is_proposed() -> None:
    plan = plan_of()
    nothing = [e.model_copy(update={"result": None}) for e in measured(plan, relaxing)]
    assert propose(nothing, plan, small_profile()) is None
    assert propose(measured(plan, relaxing), plan, small_profile(), 1.0) is None


def test_a_rate_series_is_continued_by_the_rate() -> None:
    scan = plan_of().scan.model_dump() | {"excitation": {}}
    rates = {"repetition_rate_hz": [10e6, 5e6, 2.5e6, 1e6]}
    plan = plan_of(axes=[rates, {"fluence_uj_per_cm2": [0.38]}], scan=scan)
    found = propose(measured(plan, relaxing), plan, small_profile(), 60.0)
    assert found is not None
    assert found.quantity == "repetition_rate_hz"
    assert 0.5e6 <= found.value <= 20e6


def test_sweep_prints_the_next_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(to_toml(plan_of()), encoding="utf-8")
    assert main(["sweep", str(plan), "--out", str(tmp_path / "s")]) == 0
    assert "next: power_nw = " in capsys.readouterr().out
    assert read_manifest(tmp_path / "s").summary["next_point"]["wanted"] == "tau"
