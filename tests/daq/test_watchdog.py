"""The watchdog: whatever becomes of the engine, no light stays on the sample."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TextIO

import psutil
import pytest

from tests.daq import guarded
from tests.daq.lamp import Bench, Lamp, lamp
from tests.daq.rig import small_plan, small_profile
from tplm_config import InstrumentProfile, load_profile, to_toml
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    Rates,
    RunEnded,
    RunState,
    StateChanged,
    VisitStarted,
    VisitStored,
)
from tplm_daq.runner import Runner
from tplm_daq.session import begin, measure
from tplm_daq.watchdog import Limits, Watchdog, log_beside
from tplm_daq.watchdog.child import block
from tplm_daq.watchdog.observer import CHILD
from tplm_drivers import DeviceError, SafeState, connect
from tplm_simulators.wire import WireFault

CALL_S = 1.0
"""A counting engine must give a sign within this time; the devices' own timeout is half of it."""
STRICT = [f"watchdog.call_s={CALL_S}", "watchdog.grace_s=1"]
ENGINES = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
if sys.platform != "win32":  # so that the engine's modules are loaded once
    ENGINES.set_forkserver_preload([guarded.__name__])
ALLOWED_S = 2.0
"""From the last sign of life to the dark, whatever happened."""
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
DARK = SafeState(laser_off=True, shutter_closed=True)
UNSURE = SafeState(laser_off=None, shutter_closed=False)


# -- an engine that fails ------------------------------------------------------------------------


@dataclass
class Engine:
    """A scan in a process of its own."""

    process: BaseProcess
    out: Path
    stdout: TextIO
    stderr: TextIO

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read what it tells until something is told."""
        for line in self.stdout:
            told: dict[str, Any] = json.loads(line)
            if is_it(told):
                return told
        raise AssertionError(f"it ended: {self.rest()}")

    def counting(self) -> dict[str, Any]:
        return self.until(lambda told: told.get("state") == "counting")

    def rest(self) -> str:
        """What it and its watchdog wrote for the person at the table, when both have ended."""
        return self.stderr.read()

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self) -> int | None:
        """How it ended; the number of a signal is negative."""
        self.process.join(60)
        return self.process.exitcode

    def log(self) -> list[dict[str, str]]:
        lines = log_beside(self.out).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def engine(folder: Path, light: Lamp, dwell_s: float = 60.0, **more: Any) -> Iterator[Engine]:
    out = folder / "film.h5"
    plan = {
        "kind": "line",
        "positions": 3,
        "half_range_um": 0.2,
        "dwell_s": dwell_s,
        "passes": 1,
        "card": {"time_bin_ps": 200, "range_ns": 25.6},
    }
    told = {
        "overrides": [*light.overrides, "simulation.speed=1", *STRICT],
        "plan": plan, "out": str(out), **more,
    }  # fmt: skip
    (out_read, out_write), (err_read, err_write) = ENGINES.Pipe(False), ENGINES.Pipe(False)
    process = ENGINES.Process(target=guarded.run, args=(told, out_write, err_write))
    process.start()
    out_write.close()
    err_write.close()
    with (
        os.fdopen(out_read.fileno(), closefd=False) as stdout,
        os.fdopen(err_read.fileno(), closefd=False) as stderr,
    ):
        try:
            yield Engine(process, out, stdout, stderr)
        finally:
            process.kill()
            process.join()
    out_read.close()
    err_read.close()


def report(case: str, late_s: float) -> None:
    """Shown by ``pytest -rP``."""
    print(f"{case}: dark after {late_s:.3f} s")


@pytest.fixture(scope="module")
def light() -> Iterator[Lamp]:
    with lamp() as it:
        yield it


@pytest.mark.parametrize("laser", ["pdl800d", pytest.param("superk", marks=pytest.mark.full)])
def test_killed(tmp_path: Path, laser: str) -> None:
    with lamp(laser) as light, engine(tmp_path, light) as run:
        run.counting()
        assert light.lit
        killed_s = time.monotonic()
        run.process.kill()
        late_s = light.went_dark_s(10) - killed_s
        words = run.rest()
        log = run.log()
    report(f"killed, {laser}", late_s)
    assert 0 < late_s < ALLOWED_S
    assert log[0]["event"] == "died"
    assert log[0]["message"] == "the engine's process has died (visit 0, counting)"
    assert {line["event"] for line in log[1:3]} == {"shutter-safe", "laser-safe"}
    assert log[3]["message"] == "laser off: yes, shutter closed: yes"
    assert words == "".join(f"watchdog: {line['message']}\n" for line in log)


@posix
def test_the_command_line_is_watched(light: Lamp, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(to_toml(small_plan(dwell_s=60.0, excitation={})), encoding="utf-8")
    settings = [*light.overrides, "simulation.speed=1"]
    command = [sys.executable, "-m", "tplm_daq", "scan", str(plan), "--out", str(tmp_path / "a.h5")]
    for setting in settings:
        command += ["--set-profile", setting]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline_s = time.monotonic() + 60
            while not light.lit:
                assert process.poll() is None
                assert time.monotonic() < deadline_s
            killed_s = time.monotonic()
        finally:
            process.kill()
        late_s = light.went_dark_s(10) - killed_s
        assert process.stderr is not None
        words = process.stderr.read()
    report("tplm scan killed", late_s)
    assert 0 < late_s < ALLOWED_S
    assert "watchdog: laser off: yes, shutter closed: yes" in words


@pytest.mark.full
def test_killed_with_a_child_that_keeps_its_pipes(light: Lamp, tmp_path: Path) -> None:
    with engine(tmp_path, light, fork=True) as run:
        run.counting()
        killed_s = time.monotonic()
        run.process.kill()
        late_s = light.went_dark_s(10) - killed_s
        run.rest()
        assert run.log()[0]["event"] == "died"
    report("killed, with a child", late_s)
    assert 0 < late_s < ALLOWED_S


@posix
def test_stopped(light: Lamp, tmp_path: Path) -> None:
    on_linux = sys.platform == "linux"  # elsewhere its next sign is waited for
    with engine(tmp_path, light) as run:
        run.counting()
        assert light.lit
        stopped_s = time.monotonic()
        run.send_signal(signal.SIGSTOP)
        late_s = light.went_dark_s(20) - stopped_s
        assert run.wait() == -signal.SIGKILL
        run.rest()
        assert run.log()[0]["event"] == ("stopped" if on_linux else "stuck")
    report("stopped", late_s)
    assert late_s < ALLOWED_S


@posix
@pytest.mark.parametrize("hang", ["call", pytest.param("interpreter", marks=pytest.mark.full)])
def test_stuck_in_a_device_call(light: Lamp, tmp_path: Path, hang: str) -> None:
    with engine(tmp_path, light, hang=hang) as run:
        hangs_s = run.until(lambda told: "hangs" in told)["hangs"]
        assert light.lit
        late_s = light.went_dark_s(20) - hangs_s
        assert run.wait() == -signal.SIGKILL
        run.rest()
        assert run.log()[0]["event"] == "stuck"
    report(f"stuck, {hang}", late_s)
    assert CALL_S - 0.2 < late_s < ALLOWED_S  # its last sign was a little earlier


@posix
@pytest.mark.full
def test_stopped_in_the_dark(light: Lamp, tmp_path: Path) -> None:
    """Nothing is lost by waiting, so it may go on; but its death counts."""
    with engine(tmp_path, light, pause=True) as run:
        paused = run.until(lambda told: told.get("state") == "paused")
        assert not light.lit
        run.send_signal(signal.SIGSTOP)
        watching = psutil.Process(paused["dog"])
        with pytest.raises(psutil.TimeoutExpired):
            watching.wait(1.0)
        run.process.kill()
        assert "the engine's process has died (paused in the dark)" in run.rest()
        assert run.log()[-1]["event"] == "dark"
        assert not light.lit


def test_a_clean_end_dismisses_it(light: Lamp, tmp_path: Path) -> None:
    with engine(tmp_path, light, dwell_s=0.2) as run:
        dog = run.counting()["dog"]
        ended = run.until(lambda told: told["event"] == "run-ended")
        assert ended["ending"] == "completed"
        assert run.rest() == ""
        assert run.wait() == 0
        assert not light.lit
    assert not psutil.pid_exists(dog)
    assert not log_beside(run.out).exists()


@posix
@pytest.mark.full
def test_ctrl_c_does_not_end_it(light: Lamp, tmp_path: Path) -> None:
    with engine(tmp_path, light) as run:
        dog = psutil.Process(run.counting()["dog"])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            dog.send_signal(number)
        assert os.getsid(dog.pid) == dog.pid
        run.send_signal(signal.SIGINT)
        ended = run.until(lambda told: told["event"] == "run-ended")
        assert ended["ending"] == "aborted"
        assert ended["dog"] == dog.pid
        assert run.wait() == 0
        assert run.rest() == ""


@posix
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, r"the watchdog ended by itself \(code -9\)"),
        pytest.param(signal.SIGSTOP, "the watchdog no longer answered", marks=pytest.mark.full),
    ],
)
def test_a_lost_watchdog_is_replaced(light: Lamp, tmp_path: Path, number: int, words: str) -> None:
    with engine(tmp_path, light) as run:
        first = run.counting()["dog"]
        os.kill(first, number)
        notice = run.until(lambda told: told.get("code") == "watchdog")
        assert notice["level"] == "warning"
        assert notice["message"].startswith(words.replace("\\", ""))
        assert notice["dog"] != first
        assert not psutil.pid_exists(first)
        killed_s = time.monotonic()
        run.process.kill()
        assert light.went_dark_s(10) - killed_s < ALLOWED_S
        run.rest()


# -- in this process -----------------------------------------------------------------------------


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def profile_of(bench: Bench, *more: str) -> InstrumentProfile:
    return load_profile("simulated", [*bench.overrides(), "simulation.speed=1", *STRICT, *more])


def test_without_a_watchdog_the_run_ends(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, runner, out = profile_of(bench), Runner(), tmp_path / "film.h5"
    plan = small_plan(dwell_s=30.0, excitation={})
    with Watchdog(profile, out, runner.emit) as dog, connect(profile) as instrument:

        def take_away(event: Event) -> None:
            if event == StateChanged(RunState.COUNTING):
                assert bench.lit
                assert dog.pid is not None
                process = psutil.Process(dog.pid)
                process.kill()
                monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))

        with begin(instrument, plan, out) as writer:
            runner.subscribe(dog, essential=True)
            outcome = measure(runner, instrument, writer, [take_away])
    assert outcome.ending is Ending.FAILED
    assert outcome.message.startswith("watchdog: could not start (No such file")
    assert outcome.safe_state == DARK
    assert not bench.lit


def test_one_that_does_not_start_is_an_error(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "child.py"
    broken.write_text("print('ImportError: no pyvisa')", encoding="utf-8")
    monkeypatch.setattr("tplm_daq.watchdog.observer.CHILD", broken)
    with (
        pytest.raises(DeviceError, match="watchdog: could not start: ImportError: no pyvisa;"),
        Watchdog(profile_of(bench), tmp_path / "a.h5", lambda _: None),
    ):
        raise AssertionError("it was entered")


def test_an_instrument_left_unsure_is_made_dark(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "film.h5"
    with Watchdog(profile_of(bench), out, lambda _: None) as dog:
        dog(StateChanged(RunState.PREPARING))
        dog(RunEnded(Ending.FAILED, "all went wrong", 0, UNSURE))
        bench.light()
    assert not bench.lit
    events = [json.loads(line)["event"] for line in log_beside(out).read_text().splitlines()]
    assert events[0] == "unsure"
    assert events[-1] == "dark"


@pytest.mark.parametrize("simulated", [False, True])
def test_light_that_ends_with_the_process_needs_none(
    bench: Bench, tmp_path: Path, simulated: bool
) -> None:
    profile = profile_of(bench) if simulated else small_profile()
    with Watchdog(profile, tmp_path / "a.h5", lambda _: None, simulated=simulated) as dog:
        dog(StateChanged(RunState.PREPARING))
        assert dog.pid is None
        assert dog.words == "none: the laser is simulated in this process and ends with it"


# -- blocking ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """Something that stands in the way of blocking."""

    name: str
    make: Callable[[Bench], object]
    laser_off: bool | None = True
    shutter_closed: bool | None = True
    words: str = ""


def silence(role: str, replies: int | None) -> Callable[[Bench], object]:
    return lambda at: at.served[role].servers[0].fail(WireFault("silent", replies))


TROUBLES = [
    Trouble("none", lambda at: None),
    Trouble("garbled once", lambda at: at.served["shutter"].servers[0].fail(WireFault("garbled")),
            words="makes no sense"),
    Trouble("silent for a while", silence("shutter", 2), words="does not answer"),
    Trouble("shutter jammed", lambda at: at.microscope.shutter.jam(), True, False,
            "block the beam by hand"),
    Trouble("shutter gone", lambda at: at.served["shutter"].stop(), True, None,
            "could not be made"),
    Trouble("laser does not obey", lambda at: at.microscope.laser.refuse_to_stop(), None, True,
            "refuses to go off"),
    Trouble("laser gone", lambda at: at.served["laser"].stop(), None, True, "laser"),
]  # fmt: skip
ALWAYS = ("none", "silent for a while", "shutter jammed", "laser gone")
"""The others only with --full."""


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(
            trouble, id=trouble.name, marks=() if trouble.name in ALWAYS else pytest.mark.full
        )
        for trouble in TROUBLES
    ],
)
def test_blocking(bench: Bench, trouble: Trouble) -> None:
    bench.light()
    trouble.make(bench)
    told: list[tuple[str, str]] = []
    state = block(profile_of(bench), 3.0, lambda *words: told.append(words))
    assert (state.laser_off, state.shutter_closed) == (trouble.laser_off, trouble.shutter_closed)
    assert not bench.lit
    failed = " ".join(words for event, words in told if event.endswith("-failed"))
    assert trouble.words in failed
    assert bool(failed) is bool(trouble.words)


def test_nothing_answers(bench: Bench) -> None:
    bench.close()
    told: list[tuple[str, str]] = []
    state = block(profile_of(bench), 0.5, lambda *words: told.append(words))
    assert not state.verified
    assert "THE LASER MAY STILL BE ON" in str(state)
    assert sorted(event for event, _ in told) == ["laser-failed", "shutter-failed"]


# -- deadlines -----------------------------------------------------------------------------------

GRACE_S = 10.0
CALLS_S = 2.0
"""The simulated devices have no timeout."""
VISIT_MULTIPLE = 3.0
VISIT = next(iter(small_plan(dwell_s=5.0).visits()))
MOVE_S = 60 + 60 + 0.05
PREPARE_S = 30 + 0.2 + 12 * 60 + MOVE_S
NOTICE = Notice("info", "waiting", "still warm")
COUNTING = [VisitStarted(VISIT), StateChanged(RunState.COUNTING)]


@pytest.mark.parametrize(
    ("events", "span_s", "doing"),
    [
        ([], math.inf, "not measuring yet"),
        ([NOTICE], math.inf, "not measuring yet"),
        ([StateChanged(RunState.PREPARING)], PREPARE_S, "preparing"),
        ([StateChanged(RunState.PREPARING), NOTICE], PREPARE_S, "preparing"),
        ([StateChanged(RunState.MOVING), VisitStarted(VISIT)], MOVE_S, "visit 0, moving"),
        (COUNTING, VISIT_MULTIPLE * 5, "visit 0, counting"),
        ([*COUNTING, Rates(1e6, 1e3)], 0.0, "visit 0, counting"),
        ([*COUNTING, VisitStored(0, 1, 1, 1)], MOVE_S, "between visits"),
        ([*COUNTING, StateChanged(RunState.PAUSED)], math.inf, "paused in the dark"),
        (
            [StateChanged(RunState.PAUSED), Rates(1e6, 1e3)],
            PREPARE_S,
            "paused, looking with light",
        ),
        ([StateChanged(RunState.PREPARING), Rates(1e6, 1e3)], PREPARE_S, "preparing"),
        ([*COUNTING, StateChanged(RunState.MOVING)], MOVE_S, "visit 0, moving"),
        ([StateChanged(RunState.FINISHING)], MOVE_S, "finishing"),
        ([RunEnded(Ending.COMPLETED, "", 1, DARK)], math.inf, "the run has ended"),
        ([RunEnded(Ending.FAILED, "", 1, UNSURE)], 0.0, "the run has ended"),
    ],
)
def test_when_the_next_sign_is_due(events: list[Event], span_s: float, doing: str) -> None:
    limits = Limits(small_profile(), now_s=lambda: 1000.0)
    for event in events:
        limits.take(event)
    assert limits.due_s == pytest.approx(1000.0 + span_s + GRACE_S)
    assert limits.doing == doing


def test_meters_do_not_prolong_a_visit() -> None:
    now_s = [0.0]
    limits = Limits(small_profile(), now_s=lambda: now_s[0])
    for event in COUNTING:
        limits.take(event)
    whole_s = limits.due_s
    for now_s[0] in range(0, 20, 2):
        limits.take(Rates(1e6, 1e3))
        limits.take(NOTICE)
        limits.tick()
        assert limits.due_s <= min(now_s[0] + VISIT_MULTIPLE * 5 + GRACE_S, whole_s)
    assert limits.due_s == whole_s


def test_looks_in_a_pause_may_be_rare() -> None:
    limits = Limits(small_profile(), now_s=lambda: 0.0)
    limits.expect(small_plan(conditions={"poll_s": 600.0}))
    for event in (*COUNTING, StateChanged(RunState.PAUSED), Rates(1e6, 0), Rates(1e6, 0)):
        limits.take(event)
    assert limits.due_s == pytest.approx(600 + PREPARE_S + GRACE_S)


def test_a_visit_that_does_not_begin_to_count() -> None:
    limits = Limits(small_profile(), now_s=lambda: 0.0)
    limits.expect(small_plan())
    for event in COUNTING:
        limits.take(event)
    assert limits.due_s == CALLS_S


@pytest.mark.parametrize(
    ("events", "limit_s"),
    [
        ([StateChanged(RunState.PREPARING)], GRACE_S),
        ([StateChanged(RunState.MOVING)], CALLS_S),
        ([StateChanged(RunState.MOVING), VisitStarted(VISIT)], CALLS_S),
        (COUNTING, CALLS_S),
        ([*COUNTING, VisitStored(0, 1, 1, 1)], GRACE_S),
        ([*COUNTING, StateChanged(RunState.PREPARING)], GRACE_S),
        ([*COUNTING, StateChanged(RunState.FINISHING)], GRACE_S),
        ([*COUNTING, StateChanged(RunState.PAUSED)], math.inf),
    ],
)
def test_during_a_visit_a_look_is_followed_soon_by_another(
    events: list[Event], limit_s: float
) -> None:
    limits = Limits(small_profile(), now_s=lambda: 0.0)
    limits.expect(small_plan())
    for event in events:
        limits.take(event)
    limits.tick()
    assert limits.due_s == limit_s


def test_records_are_written_during_a_visit() -> None:
    card = {"mode": "t3", "time_bin_ps": 200, "range_ns": 25.6, "raw": "scan"}
    limits = Limits(small_profile(), now_s=lambda: 0.0)
    limits.expect(small_plan(card=card))
    for event in COUNTING:
        limits.take(event)
    assert limits.due_s == GRACE_S


@pytest.mark.parametrize(
    ("events", "most_s"),
    [
        ([StateChanged(RunState.MOVING), VisitStarted(VISIT)], MOVE_S + GRACE_S),
        (COUNTING, VISIT_MULTIPLE * 5 + GRACE_S),
    ],
)
def test_no_sign_prolongs_a_step_of_a_visit(events: list[Event], most_s: float) -> None:
    """The light may be on, so that a loop that goes round for ever is not enough."""
    now_s = 0.0
    limits = Limits(small_profile(), now_s=lambda: now_s)
    limits.expect(small_plan())
    for event in events:
        limits.take(event)
    while now_s < limits.due_s:
        now_s += 1.0
        for event in (Rates(1e6, 1e3), NOTICE):
            limits.take(event)
        limits.tick()
    assert limits.due_s == most_s


def test_a_flight_gives_no_sign_before_its_end() -> None:
    plan = small_plan(
        dwell_s=0.5,
        fly={},
        card={"mode": "t3", "time_bin_ps": 200, "range_ns": 25.6},
    )
    limits = Limits(small_profile(), now_s=lambda: 0.0)
    limits.expect(plan)
    limits.take(VisitStarted(next(iter(plan.visits()))))
    limits.take(StateChanged(RunState.COUNTING))
    assert limits.due_s == pytest.approx(VISIT_MULTIPLE * 7 * 0.5 + GRACE_S)


@pytest.mark.parametrize(
    ("overrides", "real_s"),
    [((), 15.0), (("simulation.speed=100",), 0.15), (("simulation.speed=0.5",), 30.0)],
)
def test_limits_are_in_real_seconds(overrides: tuple[str, ...], real_s: float) -> None:
    profile = small_profile("watchdog.grace_s=1", *overrides)
    limits = Limits(profile, now_s=lambda: 0.0)
    for event in COUNTING:
        limits.take(event)
    assert limits.due_s == pytest.approx(real_s + 1.0)


def test_a_slow_device_may_take_its_timeout() -> None:
    limits = Limits(load_profile("mit", ["laser.driver.timeout_s=7", "watchdog.grace_s=1"]))
    assert (limits.grace_s, limits.call_s) == (8.0, 16.0)
    limits = Limits(load_profile("mit", ["watchdog.call_s=1.5", "watchdog.visit_multiple=2"]))
    assert limits.call_s == 1.5
    for event in COUNTING:
        limits.take(event)
    assert limits.due_s - time.monotonic() == pytest.approx(2 * 5 + limits.grace_s, abs=1)


def test_where_the_log_is(tmp_path: Path) -> None:
    assert log_beside(tmp_path / "film.h5") == tmp_path.resolve() / "film.watchdog.jsonl"
    for folder in (tmp_path, tmp_path / "to be made", tmp_path / "night.2026"):
        assert log_beside(folder) == folder.resolve() / "watchdog.jsonl"


def test_it_loads_no_numerics() -> None:
    """Its process must start quickly, and need little."""
    code = (
        "import sys; from runpy import run_path; run_path(sys.argv[1]); "
        "print([name for name in sys.argv[2:] if name in sys.modules])"
    )
    heavy = ["tplm_daq", "tplm_analysis", "tplm_simulators", "scipy", "numba", "matplotlib", "h5py"]
    command = [sys.executable, "-P", "-c", code, str(CHILD), *heavy]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
