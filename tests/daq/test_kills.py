"""A scan killed at any moment: the file opens, nothing acknowledged is lost, resume completes."""

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.daq.rig import rig
from tplm_daq.store import read_scan

SEED = 20261120
PLAN = """
kind = "line"
positions = 11
dwell_s = 1.0
passes = 8
[card]
time_bin_ps = 25
range_ns = 12.8
[excitation]
power_nw = 1.0
[background]
dwell_s = 5.0
"""
# The child says when it is ready, then scans through the command line as a user does.
CHILD = """
import sys
from tplm_daq.cli import main
print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Killed:
    """What a killed scan had acknowledged, and where."""

    file: Path
    acknowledged: frozenset[int]


def start(arguments: list[str]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: "subprocess.Popen[str]", after_s: float) -> None:
    """Kill after a while, unless it ends before."""
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def kill_a_scan(folder: Path, after_s: float) -> Killed:
    plan, out, log = folder / "plan.toml", folder / "a.h5", folder / "log.jsonl"
    plan.write_text(PLAN, encoding="utf-8")
    end(start(["scan", str(plan), "--out", str(out), "--log", str(log)]), after_s)
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    stored = frozenset(e["index"] for e in events if e["event"] == "visit-stored")
    return Killed(out, stored)


def duration_s(folder: Path) -> float:
    """How long such a scan takes on this machine when nobody kills it."""
    import time

    process = start(["scan", str(_plan(folder)), "--out", str(folder / "whole.h5")])
    began_s = time.monotonic()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    return time.monotonic() - began_s


def _plan(folder: Path) -> Path:
    plan = folder / "plan.toml"
    plan.write_text(PLAN, encoding="utf-8")
    return plan


def examine(killed: Killed) -> str:
    """Check one killed scan, resume it, and say in which stage it was."""
    if not killed.file.exists():
        assert not killed.acknowledged
        return "before the file was there"
    with h5py.File(killed.file, "r") as file:
        assert file["entry/visits/counts"].shape == (90, 512)
    before = read_scan(killed.file)
    rows = np.flatnonzero(before.stored)
    assert killed.acknowledged <= set(rows.tolist())
    kept = before.histograms(rows)
    stage = "complete" if before.complete else "in the middle"
    with rig() as it:
        outcome, after = it.resume(killed.file)
    assert outcome.ending == "completed"
    assert outcome.visits_done == 90 - rows.size
    assert after.complete
    assert np.array_equal(after.histograms(rows), kept)
    assert after.position_counts.sum() > 10_000
    leftovers = {path.name for path in killed.file.parent.iterdir()}
    assert leftovers <= {"plan.toml", "log.jsonl", "a.h5", "whole.h5"}
    return stage


@pytest.mark.parametrize(
    "kills", [2, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(3000)])]
)
def test_kills_at_random_moments(tmp_path: Path, kills: int) -> None:
    longest_s = duration_s(tmp_path)
    choose = random.Random(SEED)
    stages: dict[str, int] = {}
    acknowledged = 0
    done = 0
    # on a computer that others keep busy a few kills may all come too early
    while done < kills or (not acknowledged and done < kills + 8):
        folder = tmp_path / f"{done}"
        folder.mkdir()
        latest_s = 1.05 * longest_s * max(1, done - kills + 2)
        killed = kill_a_scan(folder, choose.uniform(0.0, latest_s))
        acknowledged += len(killed.acknowledged)
        stage = examine(killed)
        stages[stage] = stages.get(stage, 0) + 1
        done += 1
    print(f"\n{done} kills, {acknowledged} visits acknowledged, none lost; {stages}")
    assert acknowledged > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal to one process")
@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.full)])
def test_a_signal_to_the_program_ends_with_exit_code_3(tmp_path: Path, name: str) -> None:
    """As at the table: a real process, in real time, in the middle of a long dwell."""
    import signal

    out, log = tmp_path / "a.h5", tmp_path / "log.jsonl"
    process = start(
        ["scan", str(_plan(tmp_path)), "--out", str(out), "--log", str(log), "--json",
         "--set", "passes=1", "--set", "dwell_s=60", "--set", "background.dwell_s=0.1",
         "--set-profile", "simulation.speed=4"]
    )  # fmt: skip
    try:
        for _ in range(600):
            if log.exists() and '"index": 1,' in log.read_text(encoding="utf-8"):
                break
            if log.exists() and log.read_text(encoding="utf-8").count("counting") >= 2:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
        process.send_signal(getattr(signal, name))
        assert process.wait(timeout=10) == 3
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert answer["ending"] == "aborted"
    assert answer["laser_off"] is True
    assert answer["shutter_closed"] is True
    scan = read_scan(out)
    assert scan.stored.sum() == answer["visits_stored"] == 1
    assert scan.ending == "aborted"
