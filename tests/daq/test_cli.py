"""The command line as its users know it: output, exit codes, one JSON object."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tplm_config import load_plan, parse_plan
from tplm_daq import read_scan
from tplm_daq.cli import main
from tplm_drivers import connect as real_connect

QUICK = ["--set", "positions=5", "--set", "passes=2", "--set", "card.time_bin_ps=200"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, *arguments, "--json")
    assert out.count("\n") == 1
    return code, json.loads(out)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    code, answer = run_json(capsys, "demo", "--out", out)
    assert code == 0
    fit = answer["fit"]
    assert abs(fit["d_cm2_per_s"] - 0.05) < 2 * fit["d_stderr_cm2_per_s"]
    assert answer["visits_stored"] == answer["visits_planned"] == 412
    assert sorted(path.name for path in out.iterdir()) == ["film.h5", "film.json", "film.png"]
    assert json.loads((out / "film.json").read_text(encoding="utf-8")) == answer


def test_demo_again_replaces_what_it_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few visits; `test_demo` has them all."""
    few = lambda name, changes: load_plan(name, [*changes, "passes=1"])  # noqa: E731
    monkeypatch.setattr("tplm_daq.cli.acquire.load_plan", few)
    film = tmp_path / "film.h5"
    assert run(capsys, "demo", "--out", tmp_path)[0] == 0
    first = film.stat()
    assert run(capsys, "demo", "--out", tmp_path)[0] == 0
    assert film.stat().st_mtime_ns > first.st_mtime_ns
    assert read_scan(film).complete


def test_scan_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.h5"
    code, answer = run_json(
        capsys, "scan", "line", "--out", out, *QUICK, "--operator", 'Ann "the" Bee',
        "--report", tmp_path / "a.png",
    )  # fmt: skip
    assert code == 0
    assert answer["laser_off"] is True
    assert (tmp_path / "a.png").exists()
    scan = read_scan(out)
    assert scan.plan.operator == 'Ann "the" Bee'
    assert scan.plan.place_count == 5
    code, answer = run_json(capsys, "resume", out)
    assert code == 0
    assert answer["ending"] == "completed"
    code, _, err = run(capsys, "scan", "line", "--out", out, *QUICK)
    assert code == 2
    assert "exists already" in err


def interrupted(monkeypatch: pytest.MonkeyPatch, at_s: float, fault: str) -> None:
    """Have the next instrument receive a signal, or lose its stage, in mid-scan."""

    def connect(profile: Any, *, simulated: bool) -> Any:
        instrument = real_connect(profile, simulated=simulated)
        microscope = instrument.laser.microscope  # type: ignore[attr-defined]
        actions = {
            "SIGINT": lambda: signal.raise_signal(signal.SIGINT),
            "SIGTERM": lambda: signal.raise_signal(signal.SIGTERM),
            "stage": microscope.detector_stage.unplug,
        }
        microscope.schedule(at_s, actions[fault])
        return instrument

    monkeypatch.setattr("tplm_daq.cli.acquire.connect", connect)


@pytest.mark.parametrize(("fault", "code"), [("SIGINT", 3), ("SIGTERM", 3), ("stage", 4)])
def test_interrupted_scans_keep_their_data_and_go_on(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    code: int,
) -> None:
    out = tmp_path / "a.h5"
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupted(patch, 30.0, fault)
        found, answer = run_json(capsys, "scan", "line", "--out", out, *QUICK)
    assert found == code
    assert answer["ending"] == ("aborted" if code == 3 else "failed")
    assert answer["laser_off"] is True
    assert answer["shutter_closed"] is True
    assert 0 < answer["visits_stored"] < answer["visits_planned"]
    assert signal.getsignal(signal.SIGINT) is before
    scan = read_scan(out)
    assert scan.stored.sum() == answer["visits_stored"]
    kept = scan.columns["started_s"][scan.stored]
    found, answer = run_json(capsys, "resume", out)
    assert found == 0
    assert answer["visits_stored"] == answer["visits_planned"]
    scan = read_scan(out)
    assert scan.complete
    assert (scan.columns["started_s"][: kept.size] == kept).all()
    # the second session goes on in time after the first
    assert (scan.columns["started_s"][kept.size :] > kept.max()).all()


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run_json(capsys, "check", "line")
    assert code == 0
    assert answer["visits"] == 412
    assert len(answer["x_um"]) == 41
    assert 450 < answer["duration_s"] < 600
    assert 1e-4 < answer["predicted_d_stderr_cm2_per_s"] < 1e-3
    code, out, _ = run(capsys, "check", "cross")
    assert code == 0
    assert "counting" in out
    assert run(capsys, "check")[0] == 2
    for kind in ("plan", "profile"):
        code, out, _ = run(capsys, "check", "--schema", kind)
        assert code == 0
        assert json.loads(out)["$schema"].startswith("https://json-schema.org/")


def test_the_estimated_duration_is_what_a_scan_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, expected = run_json(capsys, "check", "line", "--set", "passes=2")
    run_json(capsys, "scan", "line", "--set", "passes=2", "--out", tmp_path / "a.h5")
    scan = read_scan(tmp_path / "a.h5")
    took_s = scan.columns["started_s"][-1] + scan.columns["live_s"][-1]
    assert took_s == pytest.approx(expected["duration_s"], rel=0.1)
    assert expected["disk_bytes"] > (tmp_path / "a.h5").stat().st_size


def test_devices(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run_json(capsys, "devices")
    assert code == 0
    assert [row["role"] for row in answer["devices"]] == [
        "shutter", "laser", "attenuator", "detection_attenuator", "power_meter", "card",
        "detector_stage", "sample_stage", "temperature",
    ]  # fmt: skip
    assert all(row["checked_against"] == "simulator only" for row in answer["devices"])
    code, out, _ = run(capsys, "devices")
    assert code == 0
    assert "off, 2.5 MHz" in out


def test_profiles_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run_json(capsys, "profiles")
    assert code == 0
    assert set(answer["plans"]) >= {"line", "cross", "raster"}
    assert "simulated" in answer["profiles"]
    assert run(capsys, "--version")[1].startswith("tplm, version ")
    assert run(capsys)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [["scan"], ["scan", "line"], ["nonsense"], ["check", "line", "--count-rate-hz", "-1"]],
)
def test_wrong_usage_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("tplm: ")
    assert err.count("\n") == 1


def test_an_error_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, answer = run_json(
        capsys, "scan", "line", "--out", tmp_path / "a.h5", "--set", "dwell_s=-1"
    )
    assert code == 2
    assert answer["exit_code"] == 2
    assert "dwell_s" in answer["error"]


def test_the_plan_in_the_file_measures_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import h5py

    run_json(capsys, "scan", "line", "--out", tmp_path / "a.h5", *QUICK)
    with h5py.File(tmp_path / "a.h5") as file:
        text = file["entry/configuration/plan"].asstr()[()]
    (tmp_path / "again.toml").write_text(text, encoding="utf-8")
    run_json(capsys, "scan", tmp_path / "again.toml", "--out", tmp_path / "b.h5")
    assert read_scan(tmp_path / "b.h5").plan == parse_plan(text, "x")
    first, second = (read_scan(tmp_path / f"{n}.h5").position_counts for n in "ab")
    assert (first == second).all()


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("same.png", ".", ""):
        code, _, err = run(capsys, "scan", "line", "--out", out, *QUICK)
        assert code == 2
        assert "end in .h5" in err
    out = tmp_path / "a.h5"
    code, _, err = run(capsys, "scan", "line", "--out", out, "--log", out, *QUICK)
    assert code == 2
    assert "cannot be one file" in err
    run(capsys, "scan", "line", "--out", tmp_path / "film.h5", *QUICK)
    before = (tmp_path / "film.h5").read_bytes()
    code, _, err = run(capsys, "demo", "--out", tmp_path)
    assert code == 2
    assert "not the demo's own" in err
    assert (tmp_path / "film.h5").read_bytes() == before
    code, _, err = run(capsys, "demo", "--out", out.with_name("film.h5"))
    assert code == 2
    assert "film.h5" in err


def test_resume_of_a_complete_scan_answers_like_a_scan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "a.h5", tmp_path / "a.png"
    _, first = run_json(capsys, "scan", "line", "--out", out, *QUICK)
    code, again = run_json(capsys, "resume", out, "--report", picture)
    assert code == 0
    assert again.keys() == first.keys()
    assert again["fit"] == first["fit"]
    assert again["laser_off"] is None
    assert picture.exists()
    assert first["simulated"] is True


def test_a_report_that_fails_does_not_take_the_result_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").mkdir()
    code, answer = run_json(
        capsys, "scan", "line", "--out", tmp_path / "a.h5", *QUICK, "--report", tmp_path / "a.png"
    )
    assert code == 2
    assert "a.png" in answer["error"]
    assert not (tmp_path / "a.h5").exists()


def test_a_missing_library_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "serial", None)
    monkeypatch.delitem(sys.modules, "tplm_drivers.sc10", raising=False)
    code, answer = run_json(capsys, "devices", "--profile", "purdue", "--simulated")
    assert code == 4
    (row,) = [row for row in answer["devices"] if row["role"] == "shutter"]
    assert "needs the library 'serial', which is not installed" in row["error"]
    assert "pip install" in row["error"]
    assert "attenuator" in answer["none"]


def test_check_foretells_by_the_light_of_a_scan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "short.h5"
    quick = ["--set", "positions=21", "--set", "passes=2", "--set", "dwell_s=0.5"]
    assert run(capsys, "scan", "line", "--out", film, *quick, "--json")[0] == 0
    goal = ["--set", 'stop_when="5 % on D"', "--like", film]
    _, even = run_json(capsys, "check", "line", *goal)
    _, placed = run_json(capsys, "check", "line", *goal, "--set", "adaptive={}")
    assert even["assumed_from"] == str(film)
    assert even["assumed_count_rate_hz"] == pytest.approx(1.2e4, rel=0.2)
    assert even["goal_s"] > 1.8 * placed["goal_s"] > 0
    assert "dwell" in [limit["name"] for limit in even["limits"]]
    assert "dwell" not in [limit["name"] for limit in placed["limits"]]
    two = ["--d-cm2-per-s", "0.01", "--d-cm2-per-s", "0.1"]
    _, ranged = run_json(capsys, "check", "line", *goal, *two)
    low, high = ranged["range"]
    assert low["goal_s"] > 10 * high["goal_s"]
    code, out, _ = run(capsys, "check", "line", *goal, *two)
    assert code == 0
    assert out.count("5 % on D would take about") == 2
    assert run(capsys, "check", "line", "--like", tmp_path / "none.h5")[0] == 2
