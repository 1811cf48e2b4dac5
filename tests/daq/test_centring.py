"""Finding the emission peak and the focus."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from tests.daq.rig import Rig, rig, small_plan, small_profile
from tplm_config import (
    Centring,
    InputError,
    LineScan,
    RasterScan,
    ScanPlan,
    check,
)
from tplm_config.plan import Reference
from tplm_daq.analysis import fit_scan
from tplm_daq.centring import Blur, dimness, find_focus, fit_line, sample_limits_um, width
from tplm_daq.cli import main
from tplm_daq.events import Centred, Ending, Event, RunState, StateChanged, VisitStarted
from tplm_daq.store import Scan
from tplm_daq.store.drift import find_drift, track
from tplm_drivers import Instrument, connect

QUICK = {"positions": 9, "dwell_s": 0.05, "half_range_um": 1.2}


def beside(instrument: Instrument, x_um: float, y_um: float) -> Instrument:
    """The same microscope with a profile whose centre is not where the light is."""
    profile = instrument.profile
    stage, m = profile.detector_stage, profile.optics.magnification
    moved = stage.model_copy(
        update={
            "x": stage.x.model_copy(update={"zero_um": stage.x.zero_um - x_um * m}),
            "y": stage.y.model_copy(update={"zero_um": stage.y.zero_um - y_um * m}),
        }
    )
    changed = profile.model_copy(update={"detector_stage": moved})
    return replace(instrument, profile=changed)


def short(**changes: Any) -> ScanPlan:
    """One visit, a short period to simulate."""
    excitation = {"power_nw": 1.0, "repetition_rate_hz": 20e6}
    values = {"positions": 1, "passes": 1, "dwell_s": 0.1, "excitation": excitation}
    return small_plan(**values | changes)


@pytest.mark.full
def test_a_start_off_centre_is_found_within_its_error_bars(tmp_path: Path) -> None:
    pulls = []
    for seed in range(32):
        angle = 2 * math.pi * seed / 32
        x_um, y_um = 0.8 * math.cos(angle), 0.8 * math.sin(angle)
        with rig(f"simulation.seed={seed}") as it:
            it = Rig(beside(it.instrument, x_um, y_um))
            outcome, scan = it.scan(short(centring={}), tmp_path / f"{seed}.h5")
            assert outcome.ending is Ending.COMPLETED, outcome.message
            found = scan.centrings
            assert found.x_um == pytest.approx(x_um, abs=0.05)
            pulls.append((found.x_um[0] - x_um) / found.x_stderr_um[0])
            pulls.append((found.y_um[0] - y_um) / found.y_stderr_um[0])
            # the map's places are relative to it
            m = it.instrument.profile.optics.magnification
            assert scan.columns["stage_x_um"][0] == pytest.approx(
                m * (found.x_um[0] - x_um), abs=1.0
            )
    n = len(pulls)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(n)
    assert 1 - 4 / math.sqrt(2 * n) < np.std(pulls) < 1 + 4 / math.sqrt(2 * n)


LINES = {
    "bright": (200.0, 10.0, 0.13, 0.27),
    "dim": (30.0, 3.0, -0.2, 0.3),
    "wide": (300.0, 0.0, 0.1, 0.5),
    "narrow": (100.0, 5.0, 0.33, 0.2),
}


@pytest.mark.parametrize("name", LINES)
def test_the_error_bar_of_a_line_is_that_of_its_photons(name: str) -> None:
    height, floor, center, sigma = LINES[name]
    x = np.linspace(-1.5, 1.5, 15)
    mean = height * np.exp(-((x - center) ** 2) / (2 * sigma**2)) + floor
    rng = np.random.default_rng(5)
    fits = [fit_line(x.tolist(), rng.poisson(mean).tolist(), 0.1) for _ in range(300)]
    found = [fit for fit in fits if fit is not None]
    assert len(found) > 285
    pulls = np.array([(fit.center_um - center) / fit.stderr_um for fit in found])
    assert abs(pulls.mean()) < 4 / math.sqrt(len(found))
    # the errors are never smaller than the scatter of the residuals, so a little on the safe side
    assert 0.75 < pulls.std() < 1.15
    assert np.mean([fit.peak_hz for fit in found]) == pytest.approx(10 * height, rel=0.05)


@pytest.mark.parametrize(
    "floor",
    [
        0.0,
        pytest.param(0.3, marks=pytest.mark.full),
        10.0,
        pytest.param(1000.0, marks=pytest.mark.full),
    ],
)
def test_noise_is_no_peak(floor: float) -> None:
    x = np.linspace(-1.5, 1.5, 15).tolist()
    rng = np.random.default_rng(7)
    fits = [fit_line(x, rng.poisson(floor, 15).tolist(), 0.1) for _ in range(300)]
    assert sum(fit is not None for fit in fits) <= 3


@pytest.mark.parametrize("every", [1, 7])
def test_the_map_follows_a_drift(tmp_path: Path, every: int) -> None:
    nm_per_s = 1.0
    with rig(f"simulation.laser.drift_nm_per_h=[{3600 * nm_per_s}, {-1800 * nm_per_s}]") as it:
        plan = short(
            positions=7, passes=2 if every == 1 else 4, dwell_s=10.0,
            centring={**QUICK, "every_visits": every},
        )  # fmt: skip
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        found = scan.centrings
        assert found.time_s.size == plan.visit_count // every
        # the light has moved since the clock began; the last line lies half a centring back
        truth_um = nm_per_s * 1e-3 * found.time_s
        assert found.x_um == pytest.approx(truth_um, abs=0.03)
        assert found.y_um == pytest.approx(-truth_um / 2, abs=0.03)
        assert found.x_um[-1] > 0.1
        m = it.instrument.profile.optics.magnification
        offset_um = scan.columns["stage_x_um"] / m - scan.columns["x_um"]
        at = np.searchsorted(found.time_s, scan.columns["started_s"], side="right") - 1
        assert offset_um == pytest.approx(found.x_um[at], abs=2e-3)
        drift = scan.drift()
        assert drift is not None
        known = drift.time_s < found.time_s[-1]
        moved_um = nm_per_s * 1e-3 * (drift.time_s - found.time_s[0])
        assert drift.x_um[known] == pytest.approx(moved_um[known], abs=0.03)
        assert drift.y_um[known] == pytest.approx(-moved_um[known] / 2, abs=0.03)
        off_um = drift.x_um + found.x_um[0] - found.x_um[at]
        assert drift.off_x_um == pytest.approx(off_um)
        assert (drift.off_x_um[~known] == 0).all()


@pytest.mark.parametrize(("nm_per_s", "more"), [(0.0, False), (1.0, True)])
def test_the_reference_tells_when_to_look_again(
    tmp_path: Path, nm_per_s: float, more: bool
) -> None:
    with rig(
        f"simulation.laser.drift_nm_per_h=[{3600 * nm_per_s}, 0]", "simulation.laser.noise_rms=0"
    ) as it:
        plan = short(
            positions=6, passes=5, dwell_s=5.0, reference={"every_visits": 3, "dwell_s": 5.0},
            centring={**QUICK, "drift_nm": 60.0},
        )  # fmt: skip
        _, scan = it.scan(plan, tmp_path / "a.h5")
        found = scan.centrings
        assert (found.time_s.size > 1) is more
        if more:
            steps_um = np.diff(found.x_um)
            assert steps_um.min() > 0.04
            assert np.hypot(found.x_um[-1], 0) > 0.1


@pytest.mark.parametrize(("by", "z_um"), [("peak", -1.2), ("peak", 2.0), ("width", 0.9)])
def test_the_focus_is_found(tmp_path: Path, by: str, z_um: float) -> None:
    with rig() as it:
        it.microscope.sample_stage.move_to(0.0, 0.0, z_um)
        it.microscope.clock.wait(5.0)
        outcome, scan = it.scan(short(centring={"focus": {"by": by}}), tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        found = scan.centrings
        # the light flickers, and the stage arrives beside its target
        error_um = math.hypot(found.z_stderr_um[0], 0.02)
        assert error_um < 0.1
        assert found.z_um == pytest.approx(0.0, abs=4 * error_um)
        assert it.microscope.sample_stage.position_um()[2] == pytest.approx(0.0, abs=0.15)


Z_UM, DEPTH_UM, SIGMA_UM = 0.35, 0.8, 0.25
SEARCH = Centring(positions=11, half_range_um=1.5)


class Bench:
    """Counts of a Gaussian spot that widens out of focus; its light may fade as it is counted."""

    def __init__(self, by: str, seed: int, fading: float = 0.0, step_um: float = 0.0) -> None:
        self.by, self.fading, self.step_um = by, fading, step_um
        self.rng = np.random.default_rng(seed)
        self.brightness = 3000.0
        self.z_um = 0.0

    def expose_at(self, x_um: float, y_um: float) -> tuple[float, float]:
        variance = SIGMA_UM**2 * (1 + ((self.z_um - Z_UM) / DEPTH_UM) ** 2)
        here = math.exp(-(x_um**2 + y_um**2) / (2 * variance)) * SIGMA_UM**2 / variance
        self.brightness *= 1 - self.fading
        return float(self.rng.poisson(self.brightness * here)), 0.1

    def blur_at(self, z_um: float) -> Blur:
        self.z_um = z_um if self.step_um == 0 else round(z_um / self.step_um) * self.step_um
        if self.by == "width":
            found = width(self.expose_at, (0.0, 0.0), SEARCH, ((-9.0, 9.0), (-9.0, 9.0)))
        else:
            found = dimness(self.expose_at(0.0, 0.0)[0])
        return Blur(self.z_um, *found)

    def pull(self) -> float:
        vertex = find_focus(self.blur_at, 0.0, 1.5, 7, (-9.0, 9.0))
        return (vertex.z_um - Z_UM) / vertex.stderr_um


@pytest.mark.parametrize(
    ("by", "step_um", "repeats"),
    [
        ("peak", 0.0, 200),
        ("peak", 0.2, 200),
        ("width", 0.0, 4),
        pytest.param("width", 0.2, 40, marks=pytest.mark.full),
    ],
)
def test_the_error_bar_of_the_focus_is_that_of_its_photons(
    by: str, step_um: float, repeats: int
) -> None:
    pulls = [Bench(by, seed, step_um=step_um).pull() for seed in range(repeats)]
    assert abs(np.mean(pulls)) < 4 / math.sqrt(repeats)
    # never smaller than the scatter about the parabola, so a little on the safe side
    assert 0.8 - 4 / math.sqrt(2 * repeats) < np.std(pulls) < 1 + 4 / math.sqrt(2 * repeats)


def test_the_width_knows_fading_light_from_blur() -> None:
    # as many exposures for the one as for the other: a third of the light is lost in each scan
    assert Bench("peak", 1, fading=0.06).pull() < -5
    assert abs(Bench("width", 1, fading=0.06 / 22).pull()) < 4


def test_the_sample_comes_back_into_focus_after_the_irf(tmp_path: Path) -> None:
    with rig() as it:
        it.microscope.sample_stage.move_to(0.0, 0.0, 1.0)
        it.microscope.clock.wait(5.0)
        irf = {"dwell_s": 1.0, "sample_x_um": 80.0}
        it.scan(short(centring={"focus": {}}, irf=irf), tmp_path / "a.h5")
        place = it.microscope.sample_stage.position_um()
        assert place == pytest.approx((0.0, 0.0, 0.0), abs=0.15)


REFUSED = {
    "dark": ("it.microscope.laser.set_power_fraction(0)", {}, "no emission peak"),
    "too far": ("", {"half_range_um": 0.4}, "no emission peak was found within 0.4 µm"),
    "no focus": (
        "it.microscope.sample_stage.move_to(0, 0, 9); it.microscope.clock.wait(9)",
        {"focus": {"half_range_um": 0.5}, "half_range_um": 3.0, "positions": 9},
        "no ",
    ),
    "interlock": (
        "it.microscope.schedule(3.0, it.microscope.laser.open_interlock)",
        {},
        "emission went off while",
    ),
    "sync": ("it.microscope.schedule(3.0, it.microscope.card.lose_sync)", {}, "sync signal"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_found_is_told(tmp_path: Path, name: str) -> None:
    prepare, how, words = REFUSED[name]
    with rig() as it:
        it = Rig(beside(it.instrument, 0.8, 0.0))
        exec(prepare, {"it": it})
        plan = short(centring=how, excitation={})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert words in outcome.message
        assert "\n" not in outcome.message
        assert scan.stored.sum() == 0
        assert it.dark


@pytest.mark.parametrize("at_s", [1.0, 5.0, 12.0, 19.0])
def test_abort_during_centring(tmp_path: Path, at_s: float) -> None:
    with rig() as it:
        it.microscope.schedule(at_s, it.runner.abort)
        plan = short(centring={"focus": {}, "dwell_s": 0.5})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.ABORTED
        assert it.microscope.clock.now_s() < at_s + 1.0
        assert scan.stored.sum() == 0
        assert it.dark
        assert it.microscope.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.05)


def test_too_much_light_during_centring_is_blocked_and_tried_again(tmp_path: Path) -> None:
    with rig("limits.detector_count_rate_hz=6000") as it:
        laser = it.microscope.laser
        laser.set_power_fraction(0.2)
        it.microscope.schedule(5.0, lambda: laser.set_power_fraction(1.0))
        dark: list[bool] = []

        def look(event: Event) -> None:
            if isinstance(event, StateChanged) and event.state is RunState.PAUSED:
                dark.append(it.dark)
                laser.set_power_fraction(0.2)
                it.runner.resume()

        it.runner.subscribe(look, essential=True)
        plan = short(centring={}, excitation={"repetition_rate_hz": 20e6})
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert dark == [True]
        assert outcome.ending is Ending.COMPLETED
        assert scan.centrings.x_um == pytest.approx(0.0, abs=0.05)


def test_places_beyond_the_travel_are_left_out_or_refused(tmp_path: Path) -> None:
    with rig("detector_stage.x.travel_um=[-450, 12500]") as it:
        assert sample_limits_um(it.instrument.profile)[0][0] == pytest.approx(-450 / 495)
        with pytest.raises(InputError, match="half_range_um"):
            check(short(centring={}), it.instrument.profile)
        it = Rig(beside(it.instrument, -0.2, 0.0))
        seen: list[float] = []
        it.runner.subscribe(lambda _: seen.append(it.microscope.detector_stage.position_um()[0]))
        # the second search begins at -0.2 µm and would reach the reading -495 µm
        plan = short(centring={"half_range_um": 1.0, "every_visits": 1}, passes=2)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        assert scan.centrings.x_um == pytest.approx([-0.2, -0.2], abs=0.02)
        assert -450 <= min(seen) < -380


def test_a_centre_from_where_the_plan_cannot_be_reached(tmp_path: Path) -> None:
    with rig() as it:
        instrument = beside(it.instrument, 0.8, 0.0)
        stage = instrument.profile.detector_stage
        narrow = stage.model_copy(
            update={"x": stage.x.model_copy(update={"travel_um": (-1400.0, 800.0)})}
        )
        profile = instrument.profile.model_copy(update={"detector_stage": narrow})
        it = Rig(replace(instrument, profile=profile))
        plan = short(positions=7, half_range_um=2.0, centring={})
        outcome, _ = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.FAILED
        assert "beyond its travel" in outcome.message


@pytest.mark.parametrize("fly", [None, {}])
def test_a_stream_is_centred_too(tmp_path: Path, fly: dict[str, Any] | None) -> None:
    with rig() as it:
        it = Rig(beside(it.instrument, 0.5, -0.3))
        plan = small_plan(
            passes=2, fly=fly, centring={**QUICK, "every_visits": 7},
            card={"mode": "t3", "time_bin_ps": 200, "range_ns": 25.6, "raw": "scan"},
            excitation={"power_nw": 1.0, "repetition_rate_hz": 20e6},
        )  # fmt: skip
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        found = scan.centrings
        assert found.x_um == pytest.approx([0.5, 0.5], abs=0.03)
        totals = scan.position_counts.sum(axis=1)
        assert totals.argmax() == 3
        assert scan.columns["stage_x_um"][3] == pytest.approx(0.0, abs=15)


def test_the_light_is_blocked_after_centring_and_each_state_is_told(tmp_path: Path) -> None:
    with rig() as it:
        shut: list[bool] = []
        it.runner.subscribe(lambda e: shut.append(it.dark) if isinstance(e, VisitStarted) else None)
        plan = short(passes=2, centring={**QUICK, "every_visits": 1}, background={"dwell_s": 0.1})
        it.scan(plan, tmp_path / "a.h5")
        assert shut[0]
        states = [str(e.state) for e in it.of(StateChanged)]
        assert states == [
            "preparing", "moving", "counting",
            "moving", "preparing", "moving", "counting",
            "moving", "preparing", "moving", "counting",
            "moving", "counting", "finishing", "idle",
        ]  # fmt: skip
        assert len(it.of(Centred)) == 3


def test_plans_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"add \[reference\]"):
        small_plan(centring={"drift_nm": 50.0})
    no_stage = small_profile().model_copy(update={"sample_stage": None})
    with pytest.raises(InputError, match="refocusing"):
        check(short(centring={"focus": {}}), no_stage)
    assert check(short(centring={}), no_stage).duration_s > 5
    assert Centring().focus is None


def test_the_estimate_is_near_the_truth(tmp_path: Path) -> None:
    plan = short(centring={"every_visits": 2, "focus": {}}, passes=5)
    with connect(small_profile()) as instrument:
        it = Rig(instrument)
        it.scan(plan, tmp_path / "a.h5")
        took_s = it.microscope.clock.now_s()
        assert check(plan, instrument.profile).duration_s == pytest.approx(took_s, rel=0.35)


def centred(time_s: float, x_um: float) -> dict[str, Any]:
    return {"event": "centred", "time_s": time_s, "x_um": x_um, "y_um": -x_um}


STARTED: dict[str, Any] = {"event": "run-started"}


def test_the_peak_moves_evenly_between_centrings_and_never_between_runs() -> None:
    # another day the film lies elsewhere
    journal = (
        centred(0, 1.0), STARTED, centred(10, 1.2), {"event": "notice"}, centred(20, 1.1),
        centred(25, 5.0), STARTED, centred(35, 5.1),
    )  # fmt: skip
    started = np.array([1, 5, 9.5, 11, 16, 21, 24, 26, 34, 36, np.nan])
    drift = find_drift(
        track(journal), 0.25, started, np.full(11, 1.0), np.array([], int), np.array([], int),
        (0.0, 0.0),
    )  # fmt: skip
    assert drift is not None
    off_um = np.array([0.03, 0.11, 0.2, -0.015, -0.065, 0, 0, 0.015, 0.095, 0])
    assert drift.off_x_um[:-1] == pytest.approx(off_um)
    assert drift.off_y_um[:-1] == pytest.approx(-off_um)
    aim_um = np.array([0, 0, 0, 0.2, 0.2, 0.1, 0.1, 4, 4, 4.1])
    assert drift.x_um[:-1] == pytest.approx(aim_um + off_um)
    assert (drift.intensity[:-1] == 1).all()
    assert np.isnan([drift.x_um[-1], drift.off_y_um[-1], drift.intensity[-1]]).all()


def test_a_first_reference_without_counts_tells_no_brightness() -> None:
    started = np.arange(6.0)
    drift = find_drift(
        track(()), None, started, np.ones(6), np.array([0, 5]), np.array([0, 5]), (0.0, 0.0)
    )
    assert drift is not None
    assert np.isnan(drift.intensity).all()


def test_what_drift_takes_from_the_reference_is_no_loss_of_brightness() -> None:
    sigma_um, started = 0.25, np.arange(0, 100, 5.0)
    peak = track((centred(0, 0.0), STARTED, centred(100, 0.1)))
    references = np.array([0, 10, 19])
    time_s = started + 1.0
    x_um = 0.1 * time_s / 100
    faded = 1 - 0.002 * time_s
    beside = (0.1 - x_um) ** 2 + (0.0 + x_um) ** 2
    counts = np.rint(1e8 * faded * np.exp(-beside / (2 * sigma_um**2))).astype(int)[references]
    drift = find_drift(peak, sigma_um, started, np.full(20, 2.0), references, counts, (0.1, 0.0))
    assert drift is not None
    assert drift.intensity == pytest.approx(faded / faded[0], rel=1e-6)


def drifting(tmp_path: Path) -> Scan:
    """One pass in which the light drifts by about 100 nm and fades to about 70 %."""
    with rig(
        "simulation.laser.drift_nm_per_h=[3600, -1200]", "simulation.laser.noise_rms=0",
        "simulation.sample.d_cm2_per_s=0.05",
    ) as it:  # fmt: skip
        laser = it.microscope.laser

        def fade(step: int) -> None:
            laser.set_power_fraction(0.3 * (1 - 0.01 * step))

        for step in range(40):
            it.microscope.schedule(30.0 + 3 * step, lambda step=step: fade(step))
        laser.set_power_fraction(0.3)
        plan = small_plan(
            positions=31, passes=1, dwell_s=2.0, order="one-way", half_range_um=2.0,
            excitation={"power_nw": 5.0, "repetition_rate_hz": 20e6},
            centring={"every_visits": 36, "positions": 11, "half_range_um": 1.2},
            reference={"every_visits": 6, "dwell_s": 2.0},
        )  # fmt: skip
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        return scan


def test_a_map_is_freed_from_the_drift_that_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = drifting(tmp_path)
    drift = scan.drift()
    assert drift is not None
    assert scan.centrings.time_s.size == 2
    assert drift.intensity.min() == pytest.approx(0.7, abs=0.1)
    plain, freed = fit_scan(scan), fit_scan(scan, drift=True)
    assert "drift" in {warning.code for warning in plain.warnings}
    told = {warning.code: warning.message for warning in freed.warnings}
    assert "drift" not in told
    assert "2 centrings" in told["drift-corrected"]
    assert "7 revisits" in told["drift-corrected"]
    assert plain.d_cm2_per_s is not None
    assert freed.d_cm2_per_s is not None
    assert freed.d_stderr_cm2_per_s is not None
    error = freed.d_stderr_cm2_per_s
    assert error < 0.001
    assert abs(freed.d_cm2_per_s - 0.05) < 4 * error
    assert abs(plain.d_cm2_per_s - freed.d_cm2_per_s) > 0.0015
    capsys.readouterr()
    assert main(["analyze", str(scan.path), "--drift-correction", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["d_cm2_per_s"] == freed.d_cm2_per_s
    # every visit is corrected for pile-up by its own pulses
    coates = fit_scan(scan, drift=True, pile_up="coates")
    assert coates.d_cm2_per_s == pytest.approx(freed.d_cm2_per_s, rel=0.05)
    assert coates.d_cm2_per_s != freed.d_cm2_per_s


REFERENCE = Reference(every_visits=3, dwell_s=0.1)
UNCORRECTED: dict[str, tuple[ScanPlan, str]] = {
    "never looked": (LineScan(positions=3, passes=1, dwell_s=0.1), "did not measure its drift"),
    "raster": (
        RasterScan(x_positions=3, y_positions=2, passes=1, dwell_s=0.1, reference=REFERENCE),
        "a raster is summed",
    ),
}


@pytest.mark.parametrize("name", UNCORRECTED)
def test_drift_that_cannot_be_corrected_is_told(tmp_path: Path, name: str) -> None:
    plan, words = UNCORRECTED[name]
    with rig() as it:
        _, scan = it.scan(plan, tmp_path / "a.h5")
    with pytest.raises(InputError, match=words):
        fit_scan(scan, drift=True)


def test_a_reference_in_the_dark_cannot_correct(tmp_path: Path) -> None:
    with rig() as it:
        _, scan = it.scan(small_plan(reference={"every_visits": 7}), tmp_path / "a.h5")
    started_s, live_s, counts = scan.totals("reference")
    counts[-1] = 0
    seen_dark = (started_s, live_s, counts)
    with (
        patch.object(type(scan), "totals", return_value=seen_dark),
        pytest.raises(InputError, match="counted nothing in some of its revisits"),
    ):
        fit_scan(scan, drift=True)


@pytest.mark.parametrize(
    "peak",
    [
        300.0,
        pytest.param(3e3, marks=pytest.mark.full),
        pytest.param(3e4, marks=pytest.mark.full),
        3e5,
    ],
)
def test_a_bright_spot_on_hardly_any_background_is_found(peak: float) -> None:
    """The fine lines reach 2 σ to both sides, where nothing tells how high the constant is."""
    x = np.linspace(-0.52, 0.52, 31)
    mean = peak * np.exp(-0.5 * (x / 0.26) ** 2) + 0.5
    rng = np.random.default_rng(4)
    fits = [fit_line(x.tolist(), rng.poisson(mean).tolist(), 0.1) for _ in range(200)]
    pulls = [fit.center_um / fit.stderr_um for fit in fits if fit is not None]
    assert len(pulls) == len(fits)
    assert 0.85 < np.std(pulls) < 1.15
