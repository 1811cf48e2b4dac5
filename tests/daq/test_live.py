"""The live fit: what it takes in, what it holds, and that it never harms the run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tplm_analysis as ta
from tests.daq.scan_files import write_counts
from tplm_config import CardSettings, CrossScan, LineScan, RasterScan, ScanPlan, VisitKind
from tplm_daq import live as live_module
from tplm_daq.events import Ending, RunEnded, SafeState, VisitMeasured, VisitRecord
from tplm_daq.live import LiveFit

CARD = CardSettings(time_bin_ps=100, range_ns=12.8)
LINE = LineScan(half_range_um=2, positions=21, dwell_s=1, passes=2, card=CARD)
CROSS = CrossScan(half_range_um=2, positions=21, dwell_s=1, passes=2, card=CARD)
DARK = SafeState(laser_off=True, shutter_closed=True)
RASTER = RasterScan(x_positions=11, y_positions=5, dwell_s=1, passes=1, card=CARD)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between fits."""
    monkeypatch.setattr(live_module, "EVERY_S", 0.0)


def table_of(plan: ScanPlan) -> Any:
    """Counts of every place for a film with D = 0.05 cm²/s, the same at each visit."""
    rng = np.random.default_rng(6)
    t_ns = (np.arange(CARD.bins) + 0.5) * 0.1
    rows = []
    for place in plan.places():
        u2 = place.x_um**2 + place.y_um**2
        variance = 0.065 + 2 * 0.005 * t_ns
        light = 300 * np.exp(-t_ns / 3) * np.exp(-u2 / (2 * variance)) / variance
        rows.append(rng.poisson(0.1 * light + 0.5))
    return np.array(rows)


def measured(plan: ScanPlan, table: Any, places: range) -> list[VisitMeasured]:
    """What the run tells for the visits of some places."""
    rest = (0.0, 0.0, 2.5e6, 100.0, math.nan, math.nan, frozenset[str]())
    return [
        VisitMeasured(
            VisitRecord(
                visit, 0.0, visit.dwell_s, *rest, table[visit.position_index].astype(np.uint32)
            )
        )
        for visit in plan.visits()
        if visit.kind is VisitKind.MAP and visit.position_index in places
    ]


def slice_counts(live: LiveFit) -> float:
    """Photons in all slices of the newest fit."""
    return 0.0 if live.latest is None else float(live.latest.slices.counts.sum())


def wait(live: LiveFit, ready: Callable[[], bool]) -> None:
    """Give the thread its turn."""
    for _ in range(4000):
        if ready() or live.failure:
            return
        live._thread.join(0.005)
    raise AssertionError("the live fit did not come")


@pytest.mark.parametrize("plan", [LINE, CROSS, RASTER], ids=["line", "cross", "raster"])
def test_d_and_every_slice_of_all_that_is_measured(tmp_path: Path, plan: ScanPlan) -> None:
    table = table_of(plan)
    places = len(plan.places())
    whole = write_counts(tmp_path / "whole.h5", plan, table=table).map()
    half = write_counts(
        tmp_path / "half.h5", plan, skip=tuple(range(places // 2, places)), table=table
    )
    with LiveFit(half) as live:
        for event in measured(plan, table, range(places // 2, places)):
            live(event)
        wait(live, lambda: slice_counts(live) == whole.counts.sum())
    assert live.failure is None
    assert live.latest is not None
    fit = live.latest
    alone = ta.fit_map(whole.counts, whole.x_um, whole.t_ns, whole.exposure_s)
    assert alone.d_cm2_per_s is not None and alone.d_stderr_cm2_per_s is not None
    assert alone.d_cm2_per_s == pytest.approx(0.05, abs=4 * alone.d_stderr_cm2_per_s)
    assert fit.d_cm2_per_s == pytest.approx(alone.d_cm2_per_s, abs=0.3 * alone.d_stderr_cm2_per_s)
    assert fit.d_stderr_cm2_per_s == pytest.approx(alone.d_stderr_cm2_per_s, rel=0.1)
    slices = ta.fit_slices(whole.counts, whole.x_um, whole.t_ns, whole.exposure_s)
    assert np.array_equal(fit.slices.t_ns, whole.t_ns)
    bright = slices.converged & (slices.counts > 300)
    assert bright.sum() > 20
    off = np.abs(fit.slices.sigma2_um2 - slices.sigma2_um2)[bright]
    assert np.all(off < 0.1 * slices.sigma2_stderr_um2[bright])


def test_too_few_positions_are_waited_for(tmp_path: Path) -> None:
    table = table_of(LINE)
    scan = write_counts(tmp_path / "a.h5", LINE, skip=tuple(range(3, 21)), table=table)
    with LiveFit(scan) as live:
        live(measured(LINE, table, range(3))[0])
        live(RunEnded(Ending.STOPPED, "stopped", 1, DARK))
    assert live.latest is None
    assert live.failure is None


def test_a_fit_that_breaks_is_told_and_ends_the_thread_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(ta.LiveMap, "update", broken)
    table = table_of(LINE)
    with LiveFit(write_counts(tmp_path / "a.h5", LINE, table=table)) as live:
        for event in measured(LINE, table, range(21)):
            live(event)
        wait(live, lambda: False)
    assert live.failure == "ZeroDivisionError: by zero"
    assert live.latest is None
