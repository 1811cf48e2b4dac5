"""Conditions that pause a run until they are good again."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.daq.rig import Rig, rig, small_plan, small_profile
from tplm_config import InputError, check
from tplm_daq.events import Ending, Event, Notice, RunState, StateChanged
from tplm_drivers import connect

QUICK = {"good_for_s": 5.0, "give_up_s": 400.0}
BAD_S, GOOD_S = 8.05, 100.0


@dataclass(frozen=True)
class Case:
    """A condition, what makes it bad, what mends it, and what is said."""

    asked: dict[str, Any]
    spoil: Callable[[Rig], object]
    mend: Callable[[Rig], object]
    words: str
    device: str


def laser_at(fraction: float) -> Callable[[Rig], object]:
    return lambda it: it.microscope.laser.set_power_fraction(fraction)


CASES = {
    "temperature": Case(
        {"temperature": {"band_k": 2.0, **QUICK}},
        lambda it: it.microscope.thermostat.fail_heater(),
        lambda it: it.microscope.thermostat.repair_heater(),
        "more than 2 K from 29",
        "temperature",
    ),
    "sync": Case(
        {"sync": QUICK},
        lambda it: it.microscope.card.lose_sync(),
        lambda it: it.microscope.card.find_sync(),
        "the sync signal is lost: 0 pulses/s",
        "card",
    ),
    "power": Case(
        {"power": {"tolerance": 0.2, **QUICK}},
        laser_at(0.7),
        laser_at(1.0),
        "more than 20% from 1",
        "laser",
    ),
    "count rate low": Case(
        {"count_rate": {"low_hz": 11000.0, "at": "any", **QUICK}},
        laser_at(0.6),
        laser_at(1.0),
        "are fewer than 1.1e+04",
        "detector",
    ),
    "count rate high": Case(
        {"count_rate": {"high_hz": 20000.0, "at": "any", **QUICK}},
        lambda it: (
            it.microscope.laser.set_repetition_rate_hz(2.6e6)
            or it.microscope.attenuator.set_transmission(0.0195)
        ),
        lambda it: it.microscope.attenuator.set_transmission(0.01),
        "are more than 2e+04",
        "detector",
    ),
    "reference": Case(
        {"count_rate": {"low_hz": 11000.0, **QUICK}},
        laser_at(0.6),
        laser_at(1.0),
        "are fewer than 1.1e+04",
        "detector",
    ),
}
HISTOGRAM = {"time_bin_ps": 200, "range_ns": 25.6}
T3 = {**HISTOGRAM, "mode": "t3", "raw": "scan"}
ALWAYS_T3 = ("sync", "count rate low")
"""What the card itself tells, and what its counts tell; the others only with --full."""


def plan_for(case: Case, **changes: Any) -> Any:
    """The same place again and again."""
    values: dict[str, Any] = {"positions": 1, "passes": 14, "conditions": case.asked}
    if case.asked.get("count_rate", {}).get("at") != "any":
        values["reference"] = {"every_visits": 1}
    return small_plan(**values | changes)


def paused(it: Rig) -> list[StateChanged]:
    return [e for e in it.of(StateChanged) if e.state is RunState.PAUSED]


@pytest.mark.parametrize(
    ("name", "card"),
    [
        pytest.param(
            name, card, id=f"{name}-{mode}",
            marks=pytest.mark.full if mode == "t3" and name not in ALWAYS_T3 else (),
        )
        for name in CASES
        for mode, card in (("histogram", HISTOGRAM), ("t3", T3))
    ],
)  # fmt: skip
def test_a_bad_condition_is_waited_for_in_the_dark(
    tmp_path: Path, name: str, card: dict[str, Any]
) -> None:
    case = CASES[name]
    with rig("simulation.thermostat.cooling_s=2000") as it:
        dark: list[bool] = []

        def mend() -> None:
            dark.append(it.dark)
            case.mend(it)

        it.runner.subscribe(
            lambda e: (
                dark.append(it.dark)
                if isinstance(e, StateChanged) and e.state is RunState.PAUSED
                else None
            )
        )
        it.microscope.schedule(BAD_S, lambda: case.spoil(it))
        it.microscope.schedule(GOOD_S, mend)
        plan = plan_for(case, card=card)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        assert scan.complete
        assert case.words in paused(it)[0].why
        assert paused(it)[0].why in {line.get("why") for line in scan.journal}
        assert any("good again" in str(line.get("why")) for line in scan.journal)
        # nothing measured under the bad condition was kept
        started_s = scan.columns["started_s"]
        ended_s = started_s + scan.columns["live_s"]
        if name == "temperature":
            assert scan.columns["temperature_k"] == pytest.approx(295.0, abs=2.1)
        elif "count" not in name and name != "reference":
            assert not np.any((ended_s > BAD_S + 0.1) & (started_s < GOOD_S))
        judged = scan.columns["kind"] == 1 if name == "reference" else slice(None)
        if name == "power":
            assert scan.columns["power_nw"] == pytest.approx(1.0, abs=0.2)
        rates_hz = scan.histograms(np.arange(plan.visit_count)).sum(axis=1) / scan.columns["live_s"]
        assert rates_hz[judged].min() > 8000 + 3000 * ("low_hz" in str(case.asked))
        assert rates_hz[judged].max() < 20000
        assert dark[0] and all(dark[1:] if "count" in name or name == "reference" else dark)
        assert it.dark


@pytest.mark.parametrize(
    "name",
    [
        "temperature",
        "sync",
        "power",
        "count rate low",
        pytest.param("count rate high", marks=pytest.mark.full),
        pytest.param("reference", marks=pytest.mark.full),
    ],
)
def test_it_gives_up_with_everything_kept(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    with rig("simulation.thermostat.cooling_s=100") as it:
        it.microscope.schedule(BAD_S, lambda: case.spoil(it))
        outcome, scan = it.scan(plan_for(case), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert outcome.message.startswith(f"{case.device}: ")
        assert "waiting for 400 s did not help" in outcome.message
        assert "\n" not in outcome.message
        assert 4 <= scan.stored.sum() < scan.plan.visit_count
        assert scan.ending == "failed"
        assert 400 <= it.microscope.clock.now_s() < 450
        assert it.dark


def test_a_full_disk_pauses_and_the_visit_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rig() as it:
        clock = it.microscope.clock

        def usage(_: Path) -> SimpleNamespace:
            return SimpleNamespace(free=9e7 if BAD_S < clock.now_s() < GOOD_S else 9e9)

        monkeypatch.setattr("tplm_daq.conditions.shutil.disk_usage", usage)
        plan = small_plan(conditions={"disk": {"free_mb": 100.0, **QUICK}})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
        (pause,) = paused(it)
        assert "has 90 MB left, fewer than 100" in pause.why
        ends_s = scan.columns["started_s"] + scan.columns["live_s"]
        assert np.any((ends_s > BAD_S) & (ends_s < BAD_S + 1.3))


@pytest.mark.parametrize("request_name", ["stop", "abort"])
def test_a_wait_can_be_ended(tmp_path: Path, request_name: str) -> None:
    case = CASES["temperature"]
    with rig("simulation.thermostat.cooling_s=100") as it:
        it.microscope.schedule(BAD_S, lambda: case.spoil(it))
        it.microscope.schedule(50.0, getattr(it.runner, request_name))
        outcome, _ = it.scan(plan_for(case), tmp_path / "a.h5")
        assert outcome.ending is (Ending.STOPPED if request_name == "stop" else Ending.ABORTED)
        assert it.microscope.clock.now_s() < 50 + (1.5 if request_name == "stop" else 0.3)
        assert it.dark


def test_a_pause_by_the_user_outlasts_the_wait(tmp_path: Path) -> None:
    case = CASES["sync"]
    with rig() as it:
        it.microscope.schedule(BAD_S, lambda: case.spoil(it))
        it.microscope.schedule(50.0, it.runner.pause)
        it.microscope.schedule(GOOD_S, lambda: case.mend(it))

        def look(event: Event) -> None:
            if isinstance(event, StateChanged) and "by the user" in event.why:
                assert it.microscope.clock.now_s() > GOOD_S
                assert it.dark
                it.runner.resume()

        it.runner.subscribe(look, essential=True)
        outcome, _ = it.scan(plan_for(case), tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
        assert "by the user" in paused(it)[1].why


class Counted:
    """A device that counts the questions it is asked, and may answer one differently."""

    def __init__(self, device: Any, name: str, answer: Callable[[float], float]) -> None:
        self._device, self._name, self._answer = device, name, answer
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._device, name)
        if name != self._name:
            return value
        self.asked += 1
        return lambda: self._answer(value())


def test_devices_are_not_hammered_while_it_waits(tmp_path: Path) -> None:
    case = CASES["temperature"]
    with rig("simulation.thermostat.cooling_s=100") as it:
        counted = Counted(it.instrument.temperature, "temperature_k", lambda kelvin: kelvin)
        it.microscope.schedule(BAD_S, lambda: case.spoil(it))
        it = Rig(replace(it.instrument, temperature=counted))  # type: ignore[arg-type]
        plan = plan_for(case, conditions={**case.asked, "poll_s": 20.0})
        it.scan(plan, tmp_path / "a.h5")
        assert it.microscope.clock.now_s() > 400
        assert counted.asked < 40


def test_what_is_good_in_the_dark_and_bad_in_the_light_is_given_up(tmp_path: Path) -> None:
    with rig() as it:
        shutter = it.microscope.shutter

        def sagging(power_nw: float) -> float:
            now_s = it.microscope.clock.now_s()
            return power_nw * (0.5 if now_s > BAD_S and shutter.passes_at(now_s) else 1.0)

        meter = Counted(it.instrument.power_meter, "power_nw", sagging)
        it = Rig(replace(it.instrument, power_meter=meter))  # type: ignore[arg-type]
        outcome, _ = it.scan(plan_for(CASES["power"]), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "did not help" in outcome.message
        assert 20 < len(paused(it)) < 90


def test_an_interlock_that_opens_during_a_wait_needs_somebody(tmp_path: Path) -> None:
    case = CASES["sync"]
    with rig() as it:
        it.microscope.schedule(BAD_S, lambda: case.spoil(it))
        it.microscope.schedule(50.0, it.microscope.laser.open_interlock)
        it.microscope.schedule(60.0, it.microscope.laser.close_interlock)
        it.microscope.schedule(GOOD_S, lambda: case.mend(it))
        outcome, _ = it.scan(plan_for(case), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "the emission went off while the run waited" in outcome.message
        assert it.microscope.laser.output_nw() == 0


@pytest.mark.parametrize("name", ["sync", "power", "count rate low"])
def test_without_a_shutter_the_laser_goes_off_and_comes_back(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    with connect(small_profile().model_copy(update={"shutter": None})) as instrument:
        it = Rig(instrument)
        it.microscope.schedule(BAD_S, lambda: case.spoil(it))
        it.microscope.schedule(GOOD_S, lambda: case.mend(it))
        outcome, scan = it.scan(plan_for(case), tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        assert scan.complete
        assert len(paused(it)) >= 1


def test_a_line_flown_over_is_flown_over_again(tmp_path: Path) -> None:
    case = CASES["power"]
    with rig() as it:
        it.microscope.schedule(12.0, lambda: case.spoil(it))
        it.microscope.schedule(GOOD_S, lambda: case.mend(it))
        plan = small_plan(card=T3, fly={}, passes=3, conditions=case.asked)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        assert scan.columns["power_nw"] == pytest.approx(1.0, rel=0.05)


def test_a_plan_that_says_nothing_keeps_to_the_old_ways(tmp_path: Path) -> None:
    for name, ending in (("sync", Ending.FAILED), ("temperature", Ending.COMPLETED)):
        case = CASES[name]
        with rig("simulation.thermostat.cooling_s=50") as it:
            it.microscope.schedule(BAD_S, lambda: case.spoil(it))  # noqa: B023 - runs in the loop
            outcome, _ = it.scan(plan_for(case, conditions={}), tmp_path / f"{name}.h5")
            assert outcome.ending is ending
            assert not paused(it)
            assert (name == "temperature") is any(n.code == "temperature" for n in it.of(Notice))


MISTAKES = {
    "no reference": ({"count_rate": {"low_hz": 1.0}}, r"add \[reference\]"),
    "no limit": ({"count_rate": {"at": "any"}}, "give low_hz"),
    "crossed": ({"count_rate": {"low_hz": 9.0, "high_hz": 2.0, "at": "any"}}, "is not below"),
    "impatient": ({"sync": {"good_for_s": 20.0, "give_up_s": 10.0}}, "is longer than"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_conditions_that_make_no_sense(name: str) -> None:
    asked, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words):
        small_plan(conditions=asked)


@pytest.mark.parametrize("name", ["temperature", "power"])
def test_conditions_that_nothing_measures(name: str) -> None:
    role = {"temperature": "temperature", "power": "power_meter"}[name]
    profile = small_profile().model_copy(update={role: None})
    with pytest.raises(InputError, match=rf"has no \[{role}\]"):
        check(plan_for(CASES[name], excitation={}), profile)
