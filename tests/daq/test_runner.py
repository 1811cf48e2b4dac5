"""The runner: its states, its ways out, and a dark sample after each."""

import json
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.daq.rig import Rig, rig, small_plan, small_profile
from tplm_config import InputError, VisitKind
from tplm_daq.analysis import fit_scan
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    RunEnded,
    RunStarted,
    RunState,
    StateChanged,
    VisitMeasured,
    VisitStarted,
    VisitStored,
    to_json,
)
from tplm_daq.light import Light
from tplm_daq.session import go_on
from tplm_daq.store import read_scan
from tplm_drivers import DeviceError, SafeState, connect


def at_visit(the_rig: Rig, index: int, action: object, state: type = VisitStarted) -> None:
    """Do something when a visit begins (or is measured, or is stored)."""

    def watch(event: Event) -> None:
        number = getattr(event, "index", None)
        for name in ("visit", "record"):
            inner = getattr(event, name, None)
            number = getattr(getattr(inner, "visit", inner), "index", number)
        if isinstance(event, state) and number == index:
            assert callable(action)
            action()

    the_rig.runner.subscribe(watch)


def test_a_scan_runs_to_its_end(tmp_path: Path) -> None:
    with rig() as it:
        plan = small_plan(background={"dwell_s": 2.0}, reference={"every_visits": 7})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
        assert outcome.safe_state.verified
        assert it.dark
        assert scan.complete
        assert scan.ending == "completed"
        assert it.runner.state is RunState.IDLE
        assert [e.index for e in it.of(VisitStored)] == list(range(plan.visit_count))
        (started,) = it.of(RunStarted)
        assert started.settings.power_nw == pytest.approx(1.0, rel=0.02)
        assert started.settings.repetition_rate_hz == 2.5e6


def test_states_follow_the_drawing(tmp_path: Path) -> None:
    with rig() as it:
        it.scan(small_plan(positions=2, passes=1), tmp_path / "a.h5")
        states = [str(e.state) for e in it.of(StateChanged)]
        assert states == [
            "preparing", "moving", "counting", "moving", "counting", "finishing", "idle",
        ]  # fmt: skip


def test_the_light_is_where_it_should_be_at_every_visit(tmp_path: Path) -> None:
    with rig() as it:
        seen: dict[VisitKind, set[bool]] = {}

        def look(event: Event) -> None:
            if isinstance(event, VisitMeasured):
                is_open = it.microscope.shutter.is_open()
                seen.setdefault(event.record.visit.kind, set()).add(is_open)

        it.runner.subscribe(look)
        it.scan(small_plan(background={"dwell_s": 1.0}), tmp_path / "a.h5")
        assert seen == {VisitKind.BACKGROUND: {False}, VisitKind.MAP: {True}}


def test_background_holds_only_dark_and_ambient_counts(tmp_path: Path) -> None:
    with rig() as it:
        _, scan = it.scan(small_plan(background={"dwell_s": 100.0}), tmp_path / "a.h5")
        _, live_s, totals = scan.totals("background")
        # 50 dark + 50 ambient counts/s over 400 ns, of which 25.6 ns are recorded
        expected = 100.0 * 25.6 / 400
        spread = (expected / 200) ** 0.5
        assert totals.sum() / live_s.sum() == pytest.approx(expected, abs=5 * spread)


def test_irf_is_measured_on_the_scatterer_and_the_sample_comes_back(tmp_path: Path) -> None:
    with rig() as it:
        plan = small_plan(irf={"dwell_s": 5.0, "sample_x_um": 80.0}, positions=3)
        _, scan = it.scan(plan, tmp_path / "a.h5")
        irf = scan.histograms(np.array([0]))[0]
        film = scan.histograms(np.array([2]))[0]
        # scattered light is as short as the response, the film decays over nanoseconds
        assert irf[irf.argmax() - 1 : irf.argmax() + 2].sum() > 0.9 * irf.sum()
        assert film[film.argmax() - 1 : film.argmax() + 2].sum() < 0.5 * film.sum()
        assert it.microscope.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.1)


@pytest.mark.parametrize("request_name", ["stop", "abort"])
@pytest.mark.parametrize("moment", [VisitStarted, VisitMeasured, VisitStored])
def test_stop_and_abort_at_any_moment(tmp_path: Path, request_name: str, moment: type) -> None:
    with rig() as it:
        at_visit(it, 5, getattr(it.runner, request_name), moment)
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is (Ending.STOPPED if request_name == "stop" else Ending.ABORTED)
        lost = request_name == "abort" and moment is VisitStarted
        assert scan.stored.sum() == (5 if lost else 6)
        assert outcome.safe_state.laser_off
        assert outcome.safe_state.shutter_closed
        assert it.dark
        again, scan = Rig(it.instrument).resume(tmp_path / "a.h5")
        assert again.ending is Ending.COMPLETED
        assert scan.complete


def test_abort_is_obeyed_within_200_ms_of_device_time(tmp_path: Path) -> None:
    with rig() as it:
        clock = it.microscope.clock
        asked: list[float] = []

        def ask() -> None:
            asked.append(clock.now_s())
            it.runner.abort()

        clock.call_at(20.0, ask)
        outcome, scan = it.scan(small_plan(dwell_s=60.0), tmp_path / "a.h5")
        ended_s = clock.now_s()
        assert outcome.ending is Ending.ABORTED
        assert ended_s - asked[0] <= 0.2
        assert scan.stored.sum() == 0
        assert it.dark


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_in_mid_dwell_end_the_run_safely(tmp_path: Path, name: str) -> None:
    with rig() as it:
        number = getattr(signal, name)
        it.microscope.schedule(6.05, lambda: signal.raise_signal(number))
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        assert "Ctrl-C" in outcome.message or name in outcome.message
        assert 0 < scan.stored.sum() < scan.plan.visit_count
        assert it.dark


def test_pause_blocks_the_light_and_resume_goes_on(tmp_path: Path) -> None:
    with rig() as it:
        at_visit(it, 4, it.runner.pause)
        paused = threading.Event()
        dark: list[bool] = []

        def look(event: Event) -> None:
            if isinstance(event, StateChanged) and event.state is RunState.PAUSED:
                dark.append(it.dark)
                paused.set()

        def go_on() -> None:
            assert paused.wait(20)
            it.runner.resume()

        it.runner.subscribe(look)
        helper = threading.Thread(target=go_on)
        helper.start()
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        helper.join()
        assert outcome.ending is Ending.COMPLETED
        assert dark == [True]
        assert scan.complete


def test_stop_ends_a_pause(tmp_path: Path) -> None:
    with rig() as it:
        at_visit(it, 4, it.runner.pause)

        def look(event: Event) -> None:
            if isinstance(event, StateChanged) and event.state is RunState.PAUSED:
                it.runner.stop()

        it.runner.subscribe(look)
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.STOPPED
        assert scan.stored.sum() == 5


FAULTS = {
    "stage unplugged": (lambda m: m.detector_stage.unplug(), "detector_stage"),
    "stage stalls": (lambda m: m.detector_stage.stall(), "detector_stage"),
    "card unplugged": (lambda m: m.card.unplug(), "card"),
    "sync lost": (lambda m: m.card.lose_sync(), "card"),
    "shutter unplugged": (lambda m: m.shutter.unplug(), "shutter"),
    "thermometer unplugged": (lambda m: m.thermostat.unplug(), "temperature"),
    "power meter unplugged": (lambda m: m.power_meter.unplug(), "power_meter"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_mid_scan_keeps_the_data_and_blocks_the_laser(tmp_path: Path, name: str) -> None:
    break_it, device = FAULTS[name]
    with rig() as it:
        it.microscope.schedule(8.0, lambda: break_it(it.microscope))
        plan = small_plan(background={"dwell_s": 1.0, "when": "after"})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert isinstance(outcome.error, DeviceError)
        assert outcome.error.device == device
        assert "\n" not in outcome.message
        assert scan.stored.sum() >= 4
        stored = {event.index for event in it.of(VisitStored)}
        assert stored == set(np.flatnonzero(scan.stored))
        assert outcome.safe_state.laser_off
        assert it.microscope.laser.output_nw() == 0


def test_interlock_opening_shows_as_darkness_not_as_a_crash(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.schedule(6.0, it.microscope.laser.open_interlock)
        outcome, _ = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "laser" in outcome.message
        assert it.dark


def test_a_laser_that_stays_on_is_told_and_the_shutter_saves_the_sample(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.schedule(6.0, it.microscope.laser.refuse_to_stop)
        outcome, _ = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert outcome.visits_done == 14
        assert outcome.safe_state.laser_off is False
        assert outcome.safe_state.shutter_closed is True
        assert it.dark
        assert any(notice.code == "safe-state" for notice in it.of(Notice))


def test_laser_on_and_shutter_jammed_is_shouted(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="BLOCK|MAY STILL BE ON"), rig() as it:
        microscope = it.microscope
        microscope.schedule(6.0, microscope.laser.refuse_to_stop)
        microscope.schedule(6.0, microscope.shutter.jam)
        outcome, _ = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "MAY STILL BE ON" in outcome.message


def test_count_rate_above_the_limit_ends_the_run_if_nobody_comes(tmp_path: Path) -> None:
    with rig("limits.detector_count_rate_hz=9000", "limits.pause_timeout_s=0.1") as it:
        outcome, _ = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "light was blocked" in outcome.message
        assert "nobody came" in outcome.message
        assert it.dark


def test_power_above_the_limit_is_refused_and_unreachable_power_told(tmp_path: Path) -> None:
    with rig("simulation.laser.full_scale_nw=2.0") as it:
        plan = small_plan(excitation={"power_nw": 50.0})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "power meter reads" in outcome.message
        assert scan.stored.sum() == 0


@pytest.mark.parametrize("power_nw", [0.1, 1.0, 20.0, 90.0])
def test_power_is_set_within_two_percent(tmp_path: Path, power_nw: float) -> None:
    with rig("simulation.laser.noise_rms=0.0") as it:
        plan = small_plan(positions=1, passes=1, excitation={"power_nw": power_nw})
        it.scan(plan, tmp_path / "a.h5")
        transmission = it.microscope.attenuator.transmission()
        # what the meter's zero offset of 0.01 nW makes of a small power is the meter's fault
        assert transmission * 100 == pytest.approx(power_nw, rel=0.025, abs=0.012)


@pytest.mark.parametrize(("factor", "told"), [(0.8, 1), (0.97, 0)])
def test_light_that_changes_is_told_once(tmp_path: Path, factor: float, told: int) -> None:
    with rig("simulation.laser.noise_rms=0.0") as it:
        laser = it.microscope.laser

        def dim(event: Event) -> None:
            if isinstance(event, VisitStored) and event.index == 0:
                laser.set_power_fraction(factor)

        it.runner.subscribe(dim)
        outcome, _ = it.scan(small_plan(excitation={"power_nw": 5.0}), tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        found = [n.message for n in it.of(Notice) if n.code == "power"]
        assert len(found) == told
        assert all("nW after visit" in words and "were set" in words for words in found)


def test_a_map_measured_with_different_light_is_no_confident_one(tmp_path: Path) -> None:
    with rig("simulation.laser.noise_rms=0.0") as it:
        laser = it.microscope.laser

        def sag(event: Event) -> None:
            if isinstance(event, VisitStored):
                laser.set_power_fraction(0.98 * laser.power_fraction)

        plan = small_plan(excitation={"power_nw": 5.0})
        _, steady = it.scan(plan, tmp_path / "a.h5")
    with rig("simulation.laser.noise_rms=0.0") as it:
        laser = it.microscope.laser
        it.runner.subscribe(sag)
        outcome, sagging = it.scan(plan, tmp_path / "b.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
    codes = [[w.code for w in fit_scan(scan).warnings] for scan in (steady, sagging)]
    assert ["power" in found for found in codes] == [False, True]


def test_light_that_comes_and_goes_within_a_dwell_is_not_kept(tmp_path: Path) -> None:
    with rig("simulation.laser.noise_rms=0.0") as it:
        laser, now_s = it.microscope.laser, it.microscope.clock.now_s

        def flicker(event: Event) -> None:
            if isinstance(event, VisitStarted) and event.visit.index == 2:
                it.microscope.schedule(now_s() + 3.0, lambda: laser.set_power_fraction(0.3))
                it.microscope.schedule(now_s() + 6.0, lambda: laser.set_power_fraction(1.0))

        it.runner.subscribe(flicker)
        plan = small_plan(dwell_s=10.0, excitation={"power_nw": 5.0})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "visit 2, which is not kept" in outcome.message
        assert scan.stored.sum() == 2


def test_an_observer_that_fails_is_dropped_and_told(tmp_path: Path) -> None:
    with rig() as it:

        def broken(event: Event) -> None:
            if isinstance(event, VisitStored):
                raise ValueError("nothing to draw on")

        it.runner.subscribe(broken)
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
        assert scan.complete
        assert [n.code for n in it.of(Notice)] == ["observer"]


def test_a_defect_in_an_essential_observer_still_leaves_the_laser_off(tmp_path: Path) -> None:
    with rig() as it:

        def broken(event: Event) -> None:
            if isinstance(event, VisitStored):
                raise ZeroDivisionError

        it.runner.subscribe(broken, essential=True)
        with pytest.raises(ZeroDivisionError):
            it.scan(small_plan(), tmp_path / "a.h5")
        assert it.dark


def test_every_event_is_json(tmp_path: Path) -> None:
    with rig() as it:
        it.scan(small_plan(), tmp_path / "a.h5")
        names = {to_json(event)["event"] for event in it.events}
        assert names == {
            "run-started", "state-changed", "visit-started", "rates", "visit-measured",
            "visit-stored", "run-ended",
        }  # fmt: skip
        for event in it.events:
            text = json.dumps(to_json(event), allow_nan=False)
            assert len(text) < 2000
        (ended,) = it.of(RunEnded)
        assert to_json(ended)["safe_state"]["laser_off"] is True


def test_the_same_seed_gives_the_same_counts(tmp_path: Path) -> None:
    totals = []
    for name in ("a", "b"):
        with rig() as it:
            _, scan = it.scan(small_plan(), tmp_path / f"{name}.h5")
            totals.append(scan.position_counts)
    assert np.array_equal(*totals)


def test_a_second_ctrl_c_interrupts_a_device_that_hangs(tmp_path: Path) -> None:
    with rig() as it:

        def hang() -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second Ctrl-C did not get through")

        it.microscope.schedule(8.0, hang)
        with pytest.raises(KeyboardInterrupt):
            it.scan(small_plan(), tmp_path / "a.h5")
        assert it.dark
        assert read_scan(tmp_path / "a.h5").stored.sum() >= 4


IRF_PLAN = {"irf": {"dwell_s": 5.0, "sample_x_um": 80.0}, "background": {"dwell_s": 1.0}}


def test_the_sample_comes_back_from_the_scatterer_after_an_abort(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.schedule(5.0, it.runner.abort)
        outcome, scan = it.scan(small_plan(**IRF_PLAN), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        assert scan.stored.sum() == 0
        assert it.microscope.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.1)


@pytest.mark.parametrize("at_s", [1.25, 8.0], ids=["there", "back"])
def test_a_sample_that_stops_on_its_way_is_told(tmp_path: Path, at_s: float) -> None:
    with rig("simulation.sample_stage.acceleration_um_per_s2=100") as it:
        stopped_um: list[tuple[float, ...]] = []

        def obstacle() -> None:
            it.microscope.sample_stage.stop()
            stopped_um.append(it.microscope.sample_stage.position_um())

        it.microscope.schedule(at_s, obstacle)
        outcome, scan = it.scan(small_plan(**IRF_PLAN), tmp_path / "a.h5")
        assert 1 < stopped_um[0][0] < 79
        assert outcome.ending is Ending.FAILED
        words = f"sample_stage: stopped at ({stopped_um[0][0]:.1f}, 0.0, 0.0) µm instead of ("
        assert outcome.message.startswith(words)
        assert "then resume the scan" in outcome.message
        assert it.dark
        # nothing was measured at the wrong place, and the sample is brought back
        assert not scan.stored[scan.columns["position_index"] >= 0].any()
        assert it.microscope.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.1)
        assert not [notice for notice in it.of(Notice) if notice.code == "sample-stage"]


def test_a_sample_that_does_not_come_back_is_told(tmp_path: Path) -> None:
    with rig("simulation.sample_stage.acceleration_um_per_s2=100") as it:
        stage = it.microscope.sample_stage
        it.microscope.schedule(5.0, it.runner.abort)
        it.microscope.schedule(6.0, stage.stop)
        outcome, _ = it.scan(small_plan(**IRF_PLAN), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        (notice,) = [notice for notice in it.of(Notice) if notice.code == "sample-stage"]
        place = f"({stage.position_um()[0]:.1f}, 0.0, 0.0) µm instead of (0.0, 0.0, 0.0) µm"
        assert f"left beside its place (sample_stage: stopped at {place}" in notice.message


def test_a_scan_cut_short_on_the_scatterer_goes_on_on_the_film(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.schedule(5.0, it.microscope.sample_stage.unplug)
        it.microscope.schedule(5.0, it.runner.abort)
        it.scan(small_plan(**IRF_PLAN), tmp_path / "a.h5")
        assert any(notice.code == "sample-stage" for notice in it.of(Notice))
        it.microscope.sample_stage.plug_in()
        it.microscope.sample_stage.move_to(80.0, 0.0, 0.0)
        it.microscope.clock.wait(5.0)
        again, scan = Rig(it.instrument).resume(tmp_path / "a.h5")
        assert again.ending is Ending.COMPLETED
        assert it.microscope.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.1)
        assert scan.columns["count_rate_hz"].max() > 10_000


def test_pause_and_resume_without_a_shutter(tmp_path: Path) -> None:
    profile = small_profile().model_copy(update={"shutter": None})
    with connect(profile) as instrument:
        it = Rig(instrument)
        it.microscope.shutter.set_open(True)
        at_visit(it, 4, it.runner.pause)

        def look(event: Event) -> None:
            if isinstance(event, StateChanged) and event.state is RunState.PAUSED:
                assert it.microscope.laser.output_nw() == 0
                it.runner.resume()

        it.runner.subscribe(look, essential=True)
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
        assert scan.complete


def test_another_calibration_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with rig() as it:
        at_visit(it, 5, it.runner.stop)
        it.scan(small_plan(), path)
    with rig("optics.magnification=400") as it, pytest.raises(InputError, match="optics"):
        go_on(it.instrument, path)


def test_a_range_beyond_the_next_pulse_is_refused(tmp_path: Path) -> None:
    card = {"time_bin_ps": 400, "range_ns": 409.6}
    with rig() as it:
        with pytest.raises(InputError, match="next pulse comes after 400 ns"):
            it.scan(small_plan(card=card), tmp_path / "a.h5")
        outcome, _ = it.scan(small_plan(card=card, excitation={}), tmp_path / "b.h5")
        assert outcome.ending is Ending.FAILED
        assert "next one comes after 400 ns" in outcome.message


@pytest.mark.parametrize("wanted_hz", [500.0, 3000.0])
def test_the_wheel_before_the_detector_sets_the_count_rate(
    tmp_path: Path, wanted_hz: float
) -> None:
    with rig() as it:
        plan = small_plan(positions=1, passes=3, detection={"count_rate_hz": wanted_hz})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
        rates_hz = scan.histograms(np.arange(3)).sum(axis=1) / scan.columns["live_s"]
        assert rates_hz.mean() == pytest.approx(wanted_hz, rel=0.15)
        assert it.microscope.detection_attenuator.transmission() < 0.5


def test_a_count_rate_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with rig() as it:
        plan = small_plan(detection={"count_rate_hz": 1e6})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "detection_attenuator" in outcome.message
        assert scan.stored.sum() == 0
        assert it.dark


def test_the_transmission_before_the_detector(tmp_path: Path) -> None:
    with rig() as it:
        it.scan(small_plan(detection={"transmission": 0.2}), tmp_path / "a.h5")
        assert it.microscope.detection_attenuator.transmission() == pytest.approx(0.2)
    without = small_profile().model_copy(update={"detection_attenuator": None})
    with connect(without) as instrument, pytest.raises(InputError, match="detection"):
        Rig(instrument).scan(small_plan(detection={"transmission": 0.2}), tmp_path / "b.h5")


def test_a_temperature_that_runs_away_is_told_once(tmp_path: Path) -> None:
    with rig("simulation.thermostat.cooling_s=50") as it:
        it.microscope.schedule(8.0, it.microscope.thermostat.fail_heater)
        plan = small_plan(dwell_s=5.0)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        told = [notice.message for notice in it.of(Notice) if notice.code == "temperature"]
        assert len(told) == 1
        assert "295.00 K when the run began" in told[0]
        assert np.nanmin(scan.columns["temperature_k"]) < 250
        assert outcome.ending is Ending.COMPLETED


COLD = {"temperature": {"set_point_k": 290.0, "time_s": 20.0}}


def test_the_temperature_is_reached_before_the_first_visit(tmp_path: Path) -> None:
    with rig() as it:
        outcome, scan = it.scan(small_plan(**COLD), tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED
        assert scan.columns["temperature_k"] == pytest.approx(290.0, abs=0.15)
        assert any("on the way to 290 K" in notice.message for notice in it.of(Notice))


def test_waiting_for_a_temperature_can_be_ended(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.schedule(5.0, it.runner.abort)
        outcome, scan = it.scan(small_plan(**COLD), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        assert it.microscope.clock.now_s() < 5.5
        assert scan.stored.sum() == 0


def test_a_temperature_that_is_never_reached_is_told(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.thermostat.fail_heater()
        plan = small_plan(temperature={"set_point_k": 300.0, "timeout_s": 120.0})
        outcome, _ = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert outcome.message.startswith("temperature: ")
    with rig() as it, pytest.raises(InputError, match="allows 4 to 325 K"):
        it.scan(small_plan(temperature={"set_point_k": 400.0}), tmp_path / "b.h5")


def test_a_runner_is_for_one_run(tmp_path: Path) -> None:
    with rig() as it:
        it.scan(small_plan(), tmp_path / "a.h5")
        with pytest.raises(RuntimeError, match="make a new one"):
            it.scan(small_plan(), tmp_path / "b.h5")


class Hanging:
    """A device that hangs in one call, from a moment on, until it is let go."""

    def __init__(self, device: object, name: str, it: Rig, after_s: float) -> None:
        self._device, self._name, self._it, self._after_s = device, name, it, after_s
        self.hangs = threading.Event()
        self.let_go = threading.Event()

    def __getattr__(self, name: str) -> object:
        now_s = self._it.microscope.clock.now_s()
        if name == self._name and now_s > self._after_s and not self.let_go.is_set():
            self.hangs.set()
            assert self.let_go.wait(20)
        return getattr(self._device, name)


@pytest.mark.parametrize("has_shutter", [True, False])
def test_an_emergency_blocks_the_light_from_the_thread_that_calls(
    tmp_path: Path, has_shutter: bool
) -> None:
    profile = small_profile()
    if not has_shutter:
        profile = profile.model_copy(update={"shutter": None})
    with connect(profile) as instrument:
        it = Rig(instrument)
        dark: list[bool] = []

        def from_elsewhere() -> None:
            # the measuring thread is held in this very call all the while
            helper = threading.Thread(target=it.runner.emergency, args=("smoke",))
            dark.append(it.dark)
            helper.start()
            helper.join()
            dark.append(it.dark)

        it.microscope.schedule(20.0, from_elsewhere)
        outcome, scan = it.scan(small_plan(dwell_s=60.0), tmp_path / "a.h5")
        assert dark == [False, True]
        assert it.runner.put_out is not None
        assert it.runner.put_out.verified
        assert not it.runner.put_out.problems
        assert it.microscope.clock.now_s() < 20.3
        assert outcome.ending is Ending.ABORTED
        assert outcome.message == "emergency stop: smoke"
        assert scan.stored.sum() == 0
        assert scan.ending == "aborted"


@pytest.mark.parametrize(
    ("role", "call"), [("card", "is_counting"), ("shutter", "is_open"), ("laser", "emission")]
)
def test_an_emergency_while_a_device_hangs_in_a_call(tmp_path: Path, role: str, call: str) -> None:
    with rig() as it:
        device = Hanging(getattr(it.instrument, role), call, it, 8.0)
        other = Rig(replace(it.instrument, **{role: device}))  # type: ignore[arg-type]
        dark: list[bool] = []

        def help_() -> None:
            assert device.hangs.wait(20)
            other.runner.emergency()
            dark.append(it.dark)
            device.let_go.set()

        helper = threading.Thread(target=help_)
        helper.start()
        outcome, scan = other.scan(small_plan(), tmp_path / "a.h5")
        helper.join()
        assert dark == [True]
        assert outcome.ending is Ending.ABORTED
        assert outcome.message.startswith("emergency stop: ")
        assert 0 < scan.stored.sum() < scan.plan.visit_count
        assert outcome.safe_state.verified
        put_out = other.runner.put_out
        assert put_out is not None
        assert put_out.verified
        assert bool(put_out.problems) is (role != "card")


@pytest.mark.parametrize("moment", [RunStarted, VisitStarted, VisitMeasured, VisitStored])
def test_an_emergency_in_the_measuring_thread_is_obeyed_at_once(
    tmp_path: Path, moment: type
) -> None:
    with rig() as it:

        def watch(event: Event) -> None:
            if isinstance(event, moment):
                it.runner.emergency()

        it.runner.subscribe(watch)
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        assert scan.stored.sum() == (moment in (VisitMeasured, VisitStored))
        assert it.dark


def test_no_visit_cut_short_by_an_emergency_is_kept(tmp_path: Path) -> None:
    plan = small_plan(positions=1, passes=8)
    for step in range(0, 24, 2):
        with rig() as it:

            def call() -> None:
                helper = threading.Thread(target=it.runner.emergency)
                helper.start()
                helper.join()

            at_s = 4.0 + 0.045 * step
            it.microscope.schedule(at_s, call)
            outcome, scan = it.scan(plan, tmp_path / f"{step}.h5")
            assert outcome.ending is Ending.ABORTED
            ended_s = (scan.columns["started_s"] + scan.columns["live_s"])[scan.stored]
            assert (ended_s <= at_s + 0.01).all()
            totals = scan.histograms(np.flatnonzero(scan.stored)).sum(axis=1)
            assert (totals > 10_000).all()


def test_nothing_makes_light_after_an_emergency() -> None:
    with rig() as it:
        light = Light(it.instrument)
        instrument = light.instrument
        assert instrument.shutter is not None
        instrument.laser.set_emission(True)
        instrument.shutter.set_open(True)
        assert not it.dark
        assert light.put_out() == SafeState(laser_off=True, shutter_closed=True)
        for make_light in (instrument.laser.set_emission, instrument.shutter.set_open):
            with pytest.raises(DeviceError, match="makes no light after an emergency"):
                make_light(True)
            make_light(False)
        assert it.dark


def test_an_emergency_before_the_run_leaves_it_dark(tmp_path: Path) -> None:
    with rig() as it:
        it.runner.emergency()
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        assert scan.stored.sum() == 0
        assert not it.microscope.laser.emission


def test_a_shutter_that_closes_in_mid_dwell_is_noticed(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.schedule(8.0, lambda: it.microscope.shutter.set_open(False))
        outcome, scan = it.scan(small_plan(positions=1, passes=14), tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "shutter: was found closed after visit" in outcome.message
        totals = scan.histograms(np.flatnonzero(scan.stored)).sum(axis=1)
        assert totals.min() > 10_000


def test_stop_ends_the_wait_for_a_temperature(tmp_path: Path) -> None:
    """Hours may be left, and no visit is under way that could be finished."""
    with rig() as it:

        def stop(event: Event) -> None:
            if isinstance(event, Notice) and event.code == "waiting":
                it.runner.stop("enough")

        it.runner.subscribe(stop)
        outcome, scan = it.scan(small_plan(temperature={"set_point_k": 100}), tmp_path / "a.h5")
        assert (outcome.ending, outcome.message) == (Ending.STOPPED, "enough")
        assert not it.of(RunStarted)
        assert it.microscope.clock.now_s() < 60  # to 100 K it takes much longer
        assert not scan.stored.any()
        assert outcome.safe_state.verified
