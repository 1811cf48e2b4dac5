"""A day and a night of series, with faults of every kind that the microscope knows."""

import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.daq.rig import rig, small_plan
from tests.daq.soak import (
    D_CM2_PER_S,
    KINDS,
    Soak,
    blinked,
    consequence_of,
    consequences,
    lines_of,
    odd_visits,
    plan_of,
)
from tplm_daq.events import Ending, RunState, StateChanged

FIRST = [("plain", 0.1), ("flown", 0.05), ("centred", 0.1)]
DAY = [
    ("watched", 5.5), ("centred", 0.5), ("plain", 8.5), ("centred", 0.5), ("flown", 0.1),
    ("watched", 4.0),
]  # fmt: skip
Segments = list[tuple[str, float]]
"""Kinds of scan, and the hours of each."""


def soak_through(folder: Path, soak: Soak, segments: Segments, dwell_s: float) -> None:
    """Series after series; every point must be done, and its D right."""
    done = []
    for number, (name, hours) in enumerate(segments):
        path = folder / f"{number}-{name}"
        series = soak.run(name, plan_of(name, hours, dwell_s), path)
        done.append((name, path, series.manifest))
        print(name, f"{soak.now_s / 3600:.2f} h", soak.footprints[-1], flush=True)
    # only now, so that the footprints are those of the measurement
    lines, errors, odd = [], [], []
    for name, path, manifest in done:
        states = Counter(entry.state for entry in manifest.points)
        assert set(states) == {"done"}, (name, states, manifest.message)
        told = lines_of(path)
        lines += told
        seen_too_late = blinked(told)
        for entry in manifest.points:
            assert entry.result is not None
            d, stderr = entry.result.d_cm2_per_s, entry.result.d_stderr_cm2_per_s
            assert d is not None and stderr is not None, (name, entry.index, entry.result)
            if "power" in entry.result.warnings:
                print(path.name, entry.file, "measured with different light, and told so")
            else:
                errors.append((d - D_CM2_PER_S) / stderr)
            found = odd_visits(path / entry.file, centred=name == "centred")
            odd += [words for i, words in found.items() if (entry.index, i) not in seen_too_late]
    report(soak, lines, np.array(errors), odd)


def test_the_wheel_before_the_detector_is_turned_before_the_peak_is_searched_for(
    tmp_path: Path,
) -> None:
    """Centring looks at the brightest place there is; the soak found it done unprotected."""
    with rig("limits.detector_count_rate_hz=3e4", "limits.pause_timeout_s=1") as it:
        plan = small_plan(
            excitation={"power_nw": 6, "repetition_rate_hz": 20e6},
            detection={"transmission": 0.05},
            centring={},
        )
        it.microscope.detection_attenuator.set_transmission(1.0)
        # nobody resumes: a pause would end the run
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending is Ending.COMPLETED, outcome.message
        assert scan.complete
        assert not [e for e in it.of(StateChanged) if e.state is RunState.PAUSED]


def report(
    soak: Soak, lines: list[dict[str, Any]], errors: NDArray[np.float64], odd: list[str]
) -> None:
    """Print what came of it, and judge it."""
    after = consequences(lines)
    table: dict[str, Counter[str]] = defaultdict(Counter)
    unexplained = []
    for fault in soak.put_in:
        met = consequence_of(fault, after[fault.number])
        if met is None:
            why = fault.why_none()
            met = f"none: {why}"
            if why is None:
                unexplained.append((fault, after[fault.number][:6]))
        table[fault.name][met] += 1
    print(f"\n{soak.now_s / 3600:.2f} h, {len(soak.put_in)} faults, {soak.openings} openings")
    for name in KINDS:
        print(f"{name:26} {table[name].total():3}  {dict(table[name])}")
    print(dict(soak.endings), f"disk full endings {soak.disk_full_endings}")
    print(
        f"D pulls: mean {errors.mean():.2f}, std {errors.std():.2f}, most {abs(errors).max():.2f}"
    )
    begin, end = soak.footprints[0], soak.footprints[-1]
    print(begin, end, sep="\n")
    for each in odd[:20]:
        print("odd:", each)
    for fault, found in unexplained:
        print("unexplained:", fault, *found, sep="\n    ")
    for each in soak.unsafe:
        print("UNSAFE:", each)
    assert not soak.unsafe
    assert not unexplained
    assert not odd
    assert abs(errors).max() < 5
    assert abs(errors.mean()) < 5 / np.sqrt(errors.size)


def test_half_an_hour_with_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soak = Soak(seed=5, every_s=60.0, until_s=1800.0, monkeypatch=monkeypatch)
    soak_through(tmp_path, soak, [("watched", 0.1), ("plain", 0.1)], dwell_s=6.0)
    assert soak.now_s > 1800
    assert len(soak.put_in) >= 10


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_day_with_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun_s = time.monotonic()
    soak = Soak(seed=2026, every_s=260.0, until_s=86_400.0, monkeypatch=monkeypatch)
    # the first hours meet every kind of scan, so that everything is loaded
    soak_through(tmp_path, soak, FIRST + DAY, dwell_s=20.0)
    begin = next(each for each in soak.footprints if each.at_s > 3600)
    end = soak.footprints[-1]
    print(f"{time.monotonic() - begun_s:.0f} s", begin, end, sep="\n")
    assert soak.now_s > 86_400
    assert len(soak.put_in) >= 200
    assert end.rss_mb < 1.1 * begin.rss_mb
    assert end.threads <= begin.threads
    assert end.files <= begin.files
