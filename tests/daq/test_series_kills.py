"""A series killed at any moment, its recovery too: nothing is lost, and it completes."""

import json
import random
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.daq.series_rig import small_series
from tests.daq.test_kills import end, start
from tplm_config import to_toml
from tplm_daq.events import Ending
from tplm_daq.series import Series, read_manifest
from tplm_daq.store import read_scan

VISITS = 14
POINTS = 3


def acknowledged(folder: Path) -> dict[str, set[int]]:
    """Visits that the log calls stored, by file; a last line without its end was cut."""
    log = folder / "log.jsonl"
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    found: dict[str, set[int]] = {}
    here = ""
    for event in map(json.loads, lines):
        if event["event"] == "point-started":
            here = f"p{event['index']:03d}.h5"
        elif event["event"] == "visit-stored":
            found.setdefault(here, set()).add(event["index"])
    return found


def examine(folder: Path) -> dict[str, np.ndarray]:
    """Check what a killed series left behind; gives the histograms that must stay."""
    stored = {}
    said = acknowledged(folder)
    for path in folder.glob("p*.h5"):
        with h5py.File(path, "r") as file:
            assert file["entry/visits/counts"].shape[0] == VISITS
        scan = read_scan(path)
        rows = np.flatnonzero(scan.stored)
        assert said.pop(path.name, set()) <= set(rows.tolist())
        stored[path.name] = scan.histograms(rows)
    assert not said
    if (folder / "series.json").exists():
        for entry in read_manifest(folder).points:
            assert entry.state != "done" or read_scan(folder / entry.file).complete
    return stored


def command(folder: Path, plan: Path) -> "subprocess.Popen[str]":
    if (folder / "series.json").exists():
        return start(["resume", str(folder)])
    return start(["sweep", str(plan), "--out", str(folder)])


def until_it_works(process: "subprocess.Popen[str]", folder: Path) -> None:
    """Wait for the first line it adds to the log; what comes before that is mostly Python's."""
    log = folder / "log.jsonl"
    before = log.stat().st_size if log.exists() else 0
    while process.poll() is None and (not log.exists() or log.stat().st_size == before):
        pass


def stage_of(folder: Path) -> str:
    if not (folder / "series.json").exists():
        return "before the manifest"
    manifest = read_manifest(folder)
    if manifest.ending is not None:
        return "at the end"
    running = [entry for entry in manifest.points if entry.state == "running"]
    if not running:
        return "between points"
    path = folder / running[0].file
    if not path.exists():
        return "before the file"
    return "after the last visit" if read_scan(path).complete else "in a scan"


def test_a_series_killed_at_random_moments(
    tmp_path: Path, kill_count: int, request: pytest.FixtureRequest
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(to_toml(small_series()), encoding="utf-8")
    whole = command(tmp_path / "whole", plan)
    until_it_works(whole, tmp_path / "whole")
    began_s = time.monotonic()
    end(whole, 120)
    longest_s = time.monotonic() - began_s
    choose = random.Random(request.config.getoption("--kill-seed"))
    stages: dict[str, int] = {}
    kept = 0
    for i in range(kill_count // 2):
        folder = tmp_path / f"{i}"
        # the first in the series, the second in its recovery
        for share in (1.05, 0.8):
            process = command(folder, plan)
            if choose.random() < 0.9:
                until_it_works(process, folder)
            # the very first one late, so that there is something to lose
            early = 0.5 if i == 0 and share > 1 else 0.0
            end(process, choose.uniform(early, share) * longest_s)
            stage = stage_of(folder)
            stages[stage] = stages.get(stage, 0) + 1
            before = examine(folder)
        if not (folder / "series.json").exists():
            assert not before
            continue
        outcome = Series.reopen(folder).run()
        assert outcome.ending is Ending.COMPLETED
        assert {entry.state for entry in outcome.manifest.points} == {"done"}
        assert len(outcome.manifest.points) == POINTS
        assert all(entry.result is not None for entry in outcome.manifest.points)
        assert not outcome.manifest.set_aside
        for entry in outcome.manifest.points:
            scan = read_scan(folder / entry.file)
            assert scan.complete
            if entry.file in before:
                rows = before[entry.file]
                after = scan.histograms(np.arange(VISITS))
                # visits come in the order of the plan, so the rows kept are the first ones
                assert np.array_equal(after[: len(rows)], rows)
                kept += len(rows)
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert names == {
            "series.json", "series.png", "summary.csv", "log.jsonl",
            *(f"p{n:03d}.h5" for n in range(POINTS)),
        }  # fmt: skip
    print(f"\n{kill_count} kills, {kept} visits kept, none lost; {stages}")
    assert kept > 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kill_count" in metafunc.fixturenames:
        many = metafunc.config.getoption("--kills")
        marks = [pytest.mark.full, pytest.mark.timeout(60 + 10 * many)]
        metafunc.parametrize("kill_count", [2, pytest.param(many, marks=marks)])
