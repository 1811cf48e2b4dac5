"""The host: others of this user see and steer a run, and nothing they send can harm it."""

import gc
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.rig import Rig, rig, small_plan
from tplm_config import InputError, ScanPlan, Visit, VisitKind
from tplm_daq.cli import main
from tplm_daq.events import (
    Decided,
    Ending,
    Event,
    InstrumentSettings,
    Notice,
    PointEnded,
    PointStarted,
    Rates,
    RunEnded,
    RunStarted,
    RunState,
    SeriesEnded,
    SeriesStarted,
    StateChanged,
    TimeShared,
    VisitMeasured,
    VisitStored,
)
from tplm_daq.host import Host, HostClient, HostEntry, find_hosts, pick_host
from tplm_daq.host.channel import LONGEST_COMMAND, MOST_CLIENTS, MOST_OFFENCES, MOST_WAITING
from tplm_daq.host.entries import hosts_folder, runtime_folder, write_entry
from tplm_daq.host.status import MESSAGES, Status, StatusBoard, describe
from tplm_daq.live import LiveFit
from tplm_daq.runner import RunOutcome
from tplm_daq.session import begin, measure
from tplm_daq.store import Scan, read_scan
from tplm_drivers import SafeState

LONGEST_WAIT_S = 60.0
DARK = SafeState(laser_off=True, shutter_closed=True)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    monkeypatch.setenv("TPLM_RUNTIME_DIR", str(folder))
    return folder


@dataclass
class Recorder:
    """Controls that only write down what was asked."""

    asked: list[tuple[str, str]] = field(default_factory=list)

    def pause(self) -> None:
        self.asked.append(("pause", ""))

    def resume(self) -> None:
        self.asked.append(("continue", ""))

    def stop(self, why: str = "") -> None:
        self.asked.append(("stop", why))

    def abort(self, why: str = "") -> None:
        self.asked.append(("abort", why))

    def emergency(self, why: str = "") -> None:
        self.asked.append(("emergency", why))


@dataclass
class Running:
    """A scan in a thread, and its host."""

    rig: Rig
    host: Host
    told: list[Event]
    path: Path
    go: threading.Event
    thread: threading.Thread
    results: list[tuple[RunOutcome, Scan]]

    def client(self) -> HostClient:
        return HostClient(pick_host("test", self.path))

    def result(self) -> tuple[RunOutcome, Scan]:
        self.go.set()
        self.thread.join(LONGEST_WAIT_S)
        assert not self.thread.is_alive()
        return self.results[0]


@contextmanager
def running(
    path: Path, plan: ScanPlan, *overrides: str, hold_at: int | None = None
) -> Iterator[Running]:
    """Scan with a host; at the visit `hold_at` real time passes until `go` is set."""
    go, told, results, open_ = threading.Event(), [], [], threading.Event()
    with rig(*overrides) as it:
        parts: dict[str, Host] = {}

        def hold(event: Event) -> None:
            if isinstance(event, VisitStored) and event.index == hold_at:
                assert go.wait(LONGEST_WAIT_S)

        def work() -> None:
            with begin(it.instrument, plan, path) as writer:
                live = LiveFit(read_scan(writer.path))
                host = Host(
                    it.runner, path, plan=plan.kind, fit=lambda: live.latest,
                    clock=it.instrument.clock.now_s, tell=told.append,
                )  # fmt: skip
                with live, host:
                    parts["host"] = host
                    open_.set()
                    observers = [it.events.append, live, host, hold]
                    outcome = measure(it.runner, it.instrument, writer, observers)
            results.append((outcome, read_scan(path)))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert open_.wait(LONGEST_WAIT_S)
        found = Running(it, parts["host"], told, path, go, thread, results)
        try:
            yield found
        finally:
            go.set()
            it.runner.resume()
            it.runner.abort()
            thread.join(LONGEST_WAIT_S)


def until(events: Iterator[dict[str, Any]], name: str, **values: Any) -> dict[str, Any]:
    """Read on until an event of a name with these values."""
    for event in events:
        if event["event"] == name and all(event[key] == values[key] for key in values):
            return event
    pytest.fail(f"there was no {name} {values}")


def raw(entry: HostEntry) -> socket.socket:
    connection = entry.connect()
    connection.settimeout(LONGEST_WAIT_S)
    return connection


def replies(connection: socket.socket, lines: bytes) -> list[dict[str, Any]]:
    """Everything that comes back until the other side closes or as many as were sent."""
    connection.sendall(lines)
    found: list[dict[str, Any]] = []
    with connection.makefile("rb") as file:
        while len(found) < lines.count(b"\n") and (line := file.readline()):
            found.append(json.loads(line))
    return found


def command(entry: HostEntry, name: object, **more: object) -> bytes:
    return json.dumps({"token": entry.token, "command": name, **more}).encode() + b"\n"


# -- a real scan ------------------------------------------------------------------------------


def test_two_clients_see_the_same_run(tmp_path: Path) -> None:
    plan = small_plan()
    with running(tmp_path / "a.h5", plan, "simulation.speed=100", hold_at=9) as run:
        with run.client() as first, run.client() as second:
            until(first.events(), "visit-stored", index=9)
            # the run thread is held up in an observer, the channel is not
            one = run.host.board.snapshot()
            two = second.ask("status")["status"]
        assert two["visits_done"] == 10
        assert two["visits_planned"] == 14
        assert two["state"] == "counting"
        assert two["plan"] == "line"
        assert two["path"] == str(tmp_path / "a.h5")
        assert two["visit"]["index"] == 9
        assert two["sync_rate_hz"] == pytest.approx(2.5e6, rel=0.01)
        assert two["count_rate_hz"] > 1e3
        assert two["share"] == pytest.approx(two["count_rate_hz"] / two["sync_rate_hz"])
        # four visits of 1 s and their ways are left
        assert 4 <= two["left_s"] < 8
        changing = ("elapsed_s", "d_cm2_per_s", "d_stderr_cm2_per_s")
        assert {k: v for k, v in one.items() if k not in changing} == {
            k: v for k, v in two.items() if k not in changing
        }
        text = describe(two)
        assert "10 of 14" in text
        assert "left" in text


def test_d_is_shown_with_its_error(tmp_path: Path) -> None:
    plan = small_plan(passes=8)
    with running(tmp_path / "a.h5", plan, "simulation.speed=100", hold_at=50) as run:
        with run.client() as client:
            deadline_s = time.monotonic() + LONGEST_WAIT_S
            while time.monotonic() < deadline_s:
                status = client.ask("status")["status"]
                if status["d_stderr_cm2_per_s"] is not None:
                    break
        assert status["d_stderr_cm2_per_s"] > 0
        assert f"{status['d_cm2_per_s']:.4f} ± " in describe(status)


def test_pause_and_continue(tmp_path: Path) -> None:
    with running(tmp_path / "a.h5", small_plan(), "simulation.speed=20") as run:
        with run.client() as watcher, run.client() as client:
            events = watcher.events()
            until(events, "state-changed", state="counting")
            reply = client.ask("pause")
            assert "whose dwell is 1 s" in reply["message"]
            assert reply["status"]["requested"] == "pause"
            until(events, "state-changed", state="paused")
            assert run.rig.dark
            status = client.ask("status")["status"]
            assert status["state"] == "paused"
            assert "no light" in status["why"]
            assert client.ask("pause")["message"].startswith("it is paused, and stays so")
            assert client.ask("continue")["message"] == "the run goes on"
            until(events, "state-changed", state="counting")
            assert client.ask("status")["status"]["requested"] is None
            last = until(events, "host-closed")["status"]
        assert last["ending"] == "completed"
        assert last["laser_off"] is True
        assert last["shutter_closed"] is True
        outcome, scan = run.result()
        assert outcome.ending is Ending.COMPLETED
        assert scan.complete


@pytest.mark.parametrize(
    ("name", "ending", "finishes_the_visit"),
    [
        ("stop", Ending.STOPPED, True),
        ("abort", Ending.ABORTED, False),
        ("emergency", Ending.ABORTED, False),
    ],
)
def test_ending_a_run(tmp_path: Path, name: str, ending: Ending, finishes_the_visit: bool) -> None:
    plan = small_plan(dwell_s=10.0)
    with running(tmp_path / "a.h5", plan, "simulation.speed=20") as run:
        with run.client() as watcher, run.client() as client:
            events = watcher.events()
            until(events, "state-changed", state="counting")
            reply = client.ask(name)
            assert reply["status"]["requested"] == name
            assert ("10 s" in reply["message"]) is finishes_the_visit
            last = until(events, "host-closed")["status"]
        outcome, scan = run.result()
        assert outcome.ending is ending
        assert "over the channel" in outcome.message
        assert int(scan.stored.sum()) == int(finishes_the_visit)
        assert last["ending"] == ending
        assert run.rig.dark
        assert find_hosts() == []


def test_answers_stay_quick_and_fuzzed_commands_change_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    plan = small_plan(positions=41, passes=5)
    with rig() as undisturbed:
        _, expected = undisturbed.scan(plan, tmp_path / "undisturbed.h5")
    times_s: list[float] = []
    hold_at = plan.visit_count - 2
    with running(tmp_path / "a.h5", plan, "simulation.speed=60", hold_at=hold_at) as run:
        entry = pick_host("test")
        fuzzed = threading.Event()

        def ask_again_and_again() -> None:
            with run.client() as client:
                while not fuzzed.is_set():
                    before_s = time.perf_counter()
                    client.ask("status")
                    times_s.append(time.perf_counter() - before_s)

        asker = threading.Thread(target=ask_again_and_again, daemon=True)
        with run.client() as client:
            until(client.events(), "visit-stored", index=0)
            asker.start()
            before = run.host.board.status.visits_done
            answered = fuzz(entry, 10_000)
            after = run.host.board.status
            fuzzed.set()
            asker.join(LONGEST_WAIT_S)
        outcome, scan = run.result()
    assert answered == 10_000
    assert after.refused == 10_000
    assert after.ending is None
    assert after.visits_done > before
    assert outcome.ending is Ending.COMPLETED
    np.testing.assert_array_equal(scan.position_counts, expected.position_counts)
    # 10,000 refusals are a handful of sentences
    refusals = [e for e in run.told if isinstance(e, Notice) and "refused" in e.message]
    assert 1 <= len(refusals) < 30
    median_s, late_s = np.percentile(times_s, [50, 99])
    record_property("answers", len(times_s))
    figures = f"{median_s * 1e3:.2f}/{late_s * 1e3:.2f}/{max(times_s) * 1e3:.2f} ms"
    record_property("p50/p99/max", figures)
    print(f"\n{len(times_s)} answers, p50/p99/max {figures}, visits {before}-{after.visits_done}")
    assert late_s < 0.1


def fuzz(entry: HostEntry, wanted: int) -> int:
    """Send so many commands that are not in order; how many of them were answered with no."""
    random_ = random.Random(20261121)
    answered = sent = 0
    while sent < wanted:
        batch = [_nonsense(random_, entry.token) for _ in range(min(MOST_OFFENCES, wanted - sent))]
        sent += len(batch)
        with raw(entry) as connection:
            found = replies(connection, b"".join(line + b"\n" for line in batch))
            assert not any(reply["ok"] for reply in found)
            assert all(set(reply) == {"ok", "error"} for reply in found)
            answered += len(found)
    return answered


NAMES = ("status", "subscribe", "pause", "continue", "stop", "abort", "emergency")


def _nonsense(random_: random.Random, token: str) -> bytes:
    """A command that must change nothing, without its line end."""
    name = random_.choice(NAMES)
    place = random_.randrange(len(token))
    wrong = token[:place] + ("0" if token[place] != "0" else "1") + token[place + 1 :]
    good = json.dumps({"token": token, "command": name})
    odd: list[object] = [None, True, 7, 1.5, [], {}, "", "\ud800", "x" * 50, [name], {name: name}]
    value = random_.choice(odd)
    commands: list[Callable[[], object]] = [
        lambda: random_.randbytes(random_.randrange(1, 200)).replace(b"\n", b"."),
        lambda: good[: random_.randrange(len(good))],
        lambda: good + random_.choice(["}", "{}", ",", " 1", good]),
        lambda: {"token": wrong, "command": name},
        lambda: {"token": token[:place], "command": name},
        lambda: {"token": token + " ", "command": name},
        lambda: {"token": token.upper() + "A", "command": name},
        lambda: {"token": value, "command": name},
        lambda: {"command": name},
        lambda: {"token": token},
        lambda: {"token": token, "command": value},
        lambda: {"token": token, "command": random_.choice([name.upper(), name + " ", "halt"])},
        lambda: {"token": token, "command": name, "why": value},
        lambda: {"token": token, "command": name, "": name},
        lambda: [{"token": token, "command": name}],
        lambda: value,
        lambda: "[" * random_.randrange(1, LONGEST_COMMAND),
        lambda: '{"a":' * random_.randrange(1, LONGEST_COMMAND // 5),
        lambda: good.encode("utf-16"),
        lambda: "\x00" + good,
        lambda: good.replace('"', "'"),
        lambda: "9" * LONGEST_COMMAND,
    ]
    made = random_.choice(commands)()
    if isinstance(made, bytes):
        return made.replace(b"\n", b".")
    return (
        made.encode() if isinstance(made, str) and made is not value else json.dumps(made).encode()
    )


# -- the channel ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pause", "continue", "stop", "abort", "emergency"])
def test_a_command_asks_for_its_promise(tmp_path: Path, name: str) -> None:
    controls, told = Recorder(), []
    with Host(controls, tmp_path / "a.h5", tell=told.append) as host:
        assert host.entry is not None
        with HostClient(host.entry) as client:
            reply = client.ask(name)
    assert [asked for asked, _ in controls.asked] == [name]
    assert reply["message"]
    assert [event.level for event in told] == ["info"]
    assert reply["status"]["messages"][-1]["text"] == told[0].message


def test_a_run_that_paused_by_itself_says_why(tmp_path: Path) -> None:
    with Host(Recorder(), tmp_path / "a.h5") as host:
        host(StateChanged(RunState.PAUSED, "too much light"))
        assert host.entry is not None
        with HostClient(host.entry) as client:
            assert client.ask("continue")["message"].endswith("too much light")
            assert client.ask("stop")["message"].startswith("the run ends now")


def test_a_device_that_hangs_does_not_hold_up_the_channel(tmp_path: Path) -> None:
    free = threading.Event()

    class Stuck(Recorder):
        def emergency(self, why: str = "") -> None:
            assert free.wait(LONGEST_WAIT_S)

    with Host(Stuck(), tmp_path / "a.h5") as host:
        assert host.entry is not None
        with HostClient(host.entry) as client:
            assert client.ask("emergency")["status"]["requested"] == "emergency"
            assert client.ask("status")["ok"]
        free.set()


def test_a_request_that_fails_is_told(tmp_path: Path) -> None:
    class Broken(Recorder):
        def stop(self, why: str = "") -> None:
            raise RuntimeError("no such thing")

    with Host(Broken(), tmp_path / "a.h5") as host:
        assert host.entry is not None
        with HostClient(host.entry) as client:
            with pytest.raises(InputError, match="stop failed: no such thing"):
                client.ask("stop")
            assert client.ask("status")["ok"]


def test_a_plain_run_takes_no_arguments(tmp_path: Path) -> None:
    controls = Recorder()
    with Host(controls, tmp_path / "a.h5") as host:
        assert host.entry is not None
        with HostClient(host.entry) as client:
            with pytest.raises(InputError, match="takes no arguments"):
                client.ask("stop", {"now": True})
            assert client.ask("pause", {})["ok"]
            assert client.ask("status")["status"]["station"] is None
    assert [name for name, _ in controls.asked] == ["pause"]


def test_a_run_that_is_over_takes_no_commands(tmp_path: Path) -> None:
    controls = Recorder()
    with Host(controls, tmp_path / "a.h5") as host:
        host(RunEnded(Ending.COMPLETED, "all visits measured", 3, DARK))
        assert host.entry is not None
        with HostClient(host.entry) as client:
            with pytest.raises(InputError, match="the run is over: all visits measured"):
                client.ask("stop")
            assert client.ask("status")["status"]["laser_off"] is True
    assert controls.asked == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "one JSON object"),
        (b"stop", "one JSON object"),
        (b'["stop"]', "one JSON object"),
        (b'{"command": "stop"}', "token"),
        (b'{"token": null, "command": "stop"}', "token"),
        (b'{"token": "%s", "command": "stop"}' % (b"0" * 64), "token"),
        (b'{"token": "TOKEN"}', "keys"),
        (b'{"token": "TOKEN", "command": ["stop"]}', "keys"),
        (b'{"token": "TOKEN", "command": "stop", "why": "x"}', "keys"),
        (b'{"token": "TOKEN", "command": "halt"}', "there are: status, subscribe, pause"),
        (b'{"token": "TOKEN", "command": "stop"}' + b" " * LONGEST_COMMAND, "4096 bytes"),
    ],
)
def test_what_is_not_in_order_changes_nothing_and_is_logged(
    tmp_path: Path, line: bytes, why: str
) -> None:
    controls, told = Recorder(), []
    with Host(controls, tmp_path / "a.h5", tell=told.append) as host:
        assert host.entry is not None
        line = line.replace(b"TOKEN", host.entry.token.encode())
        with raw(host.entry) as connection:
            (reply,) = replies(connection, line + b"\n")
        assert reply["ok"] is False
        assert why in reply["error"]
        assert host.board.status.refused == 1
        assert host.board.status.requested is None
    assert controls.asked == []
    (notice,) = told
    assert notice.level == "warning"
    assert why in notice.message
    assert host.entry.token not in str(told) + str(reply) + repr(host.entry)


def test_a_connection_is_closed_after_repeated_offences(tmp_path: Path) -> None:
    with Host(Recorder(), tmp_path / "a.h5") as host:
        assert host.entry is not None
        with raw(host.entry) as connection:
            found = replies(connection, b"x\n" * (MOST_OFFENCES + 5))
        assert len(found) == MOST_OFFENCES
        with raw(host.entry) as connection:
            # no line end ever comes
            connection.sendall(b"x" * (LONGEST_COMMAND + 1))
            with connection.makefile("rb") as file:
                assert "4096" in json.loads(file.readline())["error"]
                assert file.readline() == b""


def test_a_silent_connection_is_closed(tmp_path: Path) -> None:
    with Host(Recorder(), tmp_path / "a.h5", idle_s=0.05) as host:
        assert host.entry is not None
        with raw(host.entry) as connection:
            assert connection.recv(1) == b""
        with HostClient(host.entry) as client:
            events = client.events()
            assert next(events)["event"] == "subscribed"
            with raw(host.entry) as connection:
                assert connection.recv(1) == b""
            host(StateChanged(RunState.PAUSED, "a reason"))
            assert until(events, "state-changed")["why"] == "a reason"


def test_strangers_make_room(tmp_path: Path) -> None:
    with Host(Recorder(), tmp_path / "a.h5") as host:
        assert host.entry is not None
        with HostClient(host.entry) as early:
            early.ask("status")
            strangers = [raw(host.entry) for _ in range(2 * MOST_CLIENTS)]
            with HostClient(host.entry) as late:
                assert late.ask("status")["ok"]
            assert early.ask("status")["ok"]
            for stranger in strangers:
                stranger.close()
        friends = [HostClient(host.entry) for _ in range(MOST_CLIENTS)]
        for friend in friends:
            friend.ask("status")
        with raw(host.entry) as connection:
            assert b"too many clients" in connection.recv(100)
        for friend in friends:
            friend.__exit__(None, None, None)


def test_a_client_that_does_not_read_is_dropped(tmp_path: Path) -> None:
    told: list[Event] = []
    with Host(Recorder(), tmp_path / "a.h5", tell=told.append) as host:
        assert host.entry is not None
        with raw(host.entry) as lazy, HostClient(host.entry) as reader:
            lazy.sendall(command(host.entry, "subscribe"))
            events = reader.events()
            next(events)
            lazy.recv(1)
            longest_s = 0.0
            sent = 0
            while not told and sent < 100 * MOST_WAITING:
                before_s = time.perf_counter()
                host(Notice("info", "test", "x" * 10_000))
                longest_s = max(longest_s, time.perf_counter() - before_s)
                sent += 10_000
                until(events, "notice")
            assert "did not read" in told[0].message
            assert longest_s < 0.5
            host(StateChanged(RunState.PAUSED, "still here"))
            assert until(events, "state-changed")["why"] == "still here"


def test_rates_are_thinned_out(tmp_path: Path) -> None:
    with Host(Recorder(), tmp_path / "a.h5") as host:
        assert host.entry is not None
        with HostClient(host.entry) as client:
            events = client.events()
            next(events)
            for count_rate_hz in range(1000):
                host(Rates(1e6, float(count_rate_hz)))
            host(StateChanged(RunState.FINISHING))
            seen = []
            for event in events:
                if event["event"] == "state-changed":
                    break
                seen.append(event["event"])
            assert 1 <= len(seen) < 200
            assert client.ask("status")["status"]["count_rate_hz"] == 999


def test_the_search_for_garbage_holds_up_no_answer(tmp_path: Path) -> None:
    """Over all that is loaded it takes 0.1 s, in which no other thread of the process runs."""
    before = len(gc.get_objects())
    with Host(Recorder(), tmp_path / "a.h5"):
        assert len(gc.get_objects()) < before / 10
    assert len(gc.get_objects()) > before / 2


def test_a_log_that_fails_leaves_the_channel_open(tmp_path: Path) -> None:
    def tell(_event: Event) -> None:
        raise OSError("no space left")

    with Host(Recorder(), tmp_path / "a.h5", tell=tell) as host:
        assert host.entry is not None
        with HostClient(host.entry) as client:
            assert client.ask("pause")["ok"]
            texts = [message["text"] for message in client.ask("status")["status"]["messages"]]
            assert texts[-1] == "the channel's log failed: no space left"


# -- the status -------------------------------------------------------------------------------


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_series_is_counted_in_points() -> None:
    clock = Hand()
    board = StatusBoard(Status("series", "power-series", "/somewhere"), clock=clock)
    board(SeriesStarted("/somewhere", 5, 4))
    board(PointStarted(1, "power 2.5 nW"))
    assert board.snapshot()["left_s"] is None
    clock.now_s = 10.0
    board(RunEnded(Ending.COMPLETED, "all visits measured", 3, DARK))
    board(PointEnded(1, Ending.COMPLETED, "done", "p1.h5", 0.05, 0.001))
    status = board.snapshot()
    assert status["ending"] is None
    assert (status["points_done"], status["points_planned"]) == (2, 5)
    assert "0.0500 ± 0.0010" in status["messages"][-1]["text"]
    board(PointStarted(2, "power 5 nW", attempt=2))
    clock.now_s = 14.0
    # 6 s of this point and two more of 10 s
    assert board.snapshot()["left_s"] == pytest.approx(26.0)
    assert "2: power 5 nW, attempt 2" in describe(board.snapshot())
    board(PointEnded(2, Ending.FAILED, "the card fell off", ""))
    assert board.snapshot()["points_done"] == 2
    board(SeriesEnded(Ending.FAILED, "the card fell off", 2))
    status = board.snapshot()
    assert status["ending"] == "failed"
    assert status["left_s"] == 0
    assert "failed: the card fell off" in describe(status)


def test_a_pause_does_not_count_as_work(tmp_path: Path) -> None:
    clock = Hand()
    board = StatusBoard(Status("scan", "line", "/a.h5"), clock=clock)
    visit = Visit(0, VisitKind.MAP, 0, 0, 0.0, 0.0, 1.0)
    with rig() as it:
        it.scan(small_plan(positions=2, passes=1), tmp_path / "a.h5")
        started = next(event for event in it.events if type(event).__name__ == "RunStarted")
    board(replace(started, visits_planned=10, visits_to_do=10))
    clock.now_s = 2.0
    board(VisitStored(visit.index, 100, 1, 9))
    board(StateChanged(RunState.PAUSED, "paused by the user"))
    clock.now_s = 1002.0
    assert board.snapshot()["left_s"] == pytest.approx(18.0)
    board(StateChanged(RunState.PREPARING, "resumed"))
    clock.now_s = 1003.0
    status = board.snapshot()
    assert status["left_s"] == pytest.approx(17.0)
    assert status["elapsed_s"] == pytest.approx(1003.0)


def test_messages_are_few_and_short() -> None:
    board = StatusBoard(Status("scan", "line", "/a.h5"))
    for number in range(100):
        board(Notice("warning", "test", f"{number} {'x' * 10_000}"))
    messages = board.snapshot()["messages"]
    assert len(messages) == MESSAGES
    assert messages[-1]["text"].startswith("99 ")
    assert len(json.dumps(board.snapshot())) < 20_000


def test_every_event_leaves_a_status_that_is_json(tmp_path: Path) -> None:
    board = StatusBoard(Status("scan", "line", "/a.h5"))
    with rig() as it:
        it.runner.subscribe(board)
        it.scan(small_plan(positions=2, passes=1), tmp_path / "a.h5")
    assert any(isinstance(event, VisitMeasured) for event in it.events)
    board(Rates(0.0, float("nan")))
    status = json.loads(json.dumps(board.snapshot(), allow_nan=False))
    assert status["share"] is None
    assert status["ending"] == "completed"
    assert describe(status)


# -- finding the host -------------------------------------------------------------------------


def test_only_this_user_can_read_the_token(tmp_path: Path, runtime: Path) -> None:
    with Host(Recorder(), tmp_path / "a.h5") as host:
        (path,) = hosts_folder().iterdir()
        assert path.is_relative_to(runtime)
        assert host.entry is not None
        assert json.loads(path.read_text(encoding="utf-8")) == asdict(host.entry)
        assert host.entry.pid == os.getpid()
        assert len(bytes.fromhex(host.entry.token)) == 32
        if os.name != "nt":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not list(hosts_folder().iterdir())


def test_tokens_differ(tmp_path: Path) -> None:
    with Host(Recorder(), tmp_path / "a.h5") as one, Host(Recorder(), tmp_path / "b.h5") as two:
        assert one.entry is not None
        assert two.entry is not None
        assert one.entry.token != two.entry.token
        with (
            HostClient(replace(one.entry, token=two.entry.token)) as client,
            pytest.raises(InputError, match="the token is wrong or missing"),
        ):
            client.ask("stop")


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("posix", {"TPLM_RUNTIME_DIR": "R", "XDG_STATE_HOME": "S"}, Path("R")),
        ("posix", {"XDG_STATE_HOME": "S"}, Path("S/tplm")),
        ("posix", {}, Path.home() / ".local" / "state" / "tplm"),
        ("nt", {"LOCALAPPDATA": "L"}, Path("L/tplm")),
        ("nt", {}, Path.home() / "AppData" / "Local" / "tplm"),
    ],
)
def test_the_runtime_folder(
    monkeypatch: pytest.MonkeyPatch, system: str, variables: dict[str, str], expected: Path
) -> None:
    for name in ("TPLM_RUNTIME_DIR", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tplm_daq.host.entries.ON_WINDOWS", system == "nt")
    assert runtime_folder() == expected


def test_stale_entries_are_removed(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody else gets this port, and nobody listens
        dead = HostEntry(99999999, taken.getsockname()[1], "0" * 64, "2026", "scan", "/gone.h5")
        write_entry(dead)
        for name, text in (("1-1.json", "{"), ("2-2.json", '{"pid": 2}'), ("3-3.json", "[]")):
            (hosts_folder() / name).write_text(text, encoding="utf-8")
        with Host(Recorder(), tmp_path / "a.h5") as host:
            assert find_hosts() == [host.entry]
            # what another version may have written stays, the dead one does not
            assert len(list(hosts_folder().iterdir())) == 1 + 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot ask without harm")
def test_the_port_of_a_dead_host_may_belong_to_another_program(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        dead = HostEntry(99999999, other.getsockname()[1], "0" * 64, "2026", "scan", "/gone.h5")
        write_entry(dead)
        with Host(Recorder(), tmp_path / "a.h5") as host:
            assert find_hosts() == [host.entry]


def test_a_log_that_is_told_to_the_host_too_says_it_once(tmp_path: Path) -> None:
    """As in a series, whose events all reach the host."""
    hosts: list[Host] = []
    with Host(Recorder(), tmp_path / "a", tell=lambda event: hosts[0](event)) as host:
        hosts.append(host)
        assert host.entry is not None
        with HostClient(host.entry) as client:
            client.ask("pause")
            texts = [message["text"] for message in client.ask("status")["status"]["messages"]]
    assert texts == ["asked over the channel to pause after this visit"]


def test_without_a_channel_the_run_goes_on(tmp_path: Path, runtime: Path) -> None:
    runtime.write_text("not a folder", encoding="utf-8")
    told: list[Event] = []
    with Host(Recorder(), tmp_path / "a.h5", tell=told.append) as host:
        host(Rates(1e6, 1e3))
        host(StateChanged(RunState.PAUSED, "a reason"))
        assert host.problem is not None
        assert "no other terminal can watch or stop this run" in host.problem
        assert host.board.status.why == "a reason"
    assert len(told) == 1
    assert not any(thread.name == "channel" for thread in threading.enumerate())


def test_which_run_is_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stop: no run of yours is going on on this machine"):
        pick_host("stop")
    series = tmp_path / "series"
    with (
        Host(Recorder(), tmp_path / "a.h5") as one,
        Host(Recorder(), series, doing="series") as two,
    ):
        with pytest.raises(InputError, match="2 runs are going on; say which by --run: .*a.h5"):
            pick_host("stop")
        assert pick_host("stop", tmp_path / "a.h5") == one.entry
        assert pick_host("stop", series) == two.entry
        assert pick_host("stop", series / "point-3.h5") == two.entry
        with pytest.raises(InputError, match="that run is not going on; going on: .*a.h5"):
            pick_host("stop", tmp_path / "b.h5")
        with pytest.raises(InputError, match="not going on"):
            pick_host("stop", pid=1)
    with suppress(InputError):
        pick_host("stop")
        pytest.fail("the hosts have closed")


# -- the command line, and another process ----------------------------------------------------

HOST = """
import sys
from tplm_daq.host import Host
class Controls:
    def pause(self): pass
    def resume(self): pass
    def stop(self, why=""): pass
    def abort(self, why=""): pass
    def emergency(self, why=""): pass
with Host(Controls(), sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_host_that_is_killed(tmp_path: Path) -> None:
    with another_process(tmp_path / "a.h5") as process:
        entry = pick_host("status")
        assert entry.pid == process.pid
        with HostClient(entry) as client, HostClient(entry) as other:
            events = client.events()
            next(events)
            other.ask("status")
            process.kill()
            process.wait()
            with pytest.raises(InputError, match="was killed, .* then tplm resume"):
                next(events)
            with pytest.raises(InputError, match="was killed"):
                other.ask("status")
        with pytest.raises(InputError, match="was killed"):
            HostClient(entry)
        with pytest.raises(InputError, match="no run of yours"):
            pick_host("status")


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")
def test_a_host_that_is_stopped(tmp_path: Path) -> None:
    with another_process(tmp_path / "a.h5") as process:
        process.send_signal(signal.SIGSTOP)
        entry = pick_host("status")
        with (
            HostClient(entry, timeout_s=0.1) as client,
            pytest.raises(InputError, match="has not answered for 0.1 s; it is stopped or stuck"),
        ):
            client.ask("stop")
        process.send_signal(signal.SIGCONT)


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", ["status", "pause", "continue", "stop", "abort", "emergency"])
def test_no_run_is_a_sentence(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = run_cli(capsys, name)
    assert code == 2
    assert out == ""
    assert err == (
        f"tplm: {name}: no run of yours is going on on this machine; start one with tplm scan\n"
    )
    code, out, _ = run_cli(capsys, name, "--json")
    assert json.loads(out)["exit_code"] == code == 2


def test_commands_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    controls = Recorder()
    with Host(controls, tmp_path / "a.h5", plan="line") as host:
        host(Notice("warning", "test", "mind the gap"))
        for name in ("pause", "continue", "stop", "abort", "emergency"):
            code, out, err = run_cli(capsys, name)
            assert (code, err) == (0, "")
            assert out.startswith(f"{tmp_path / 'a.h5'}: ")
            code, out, _ = run_cli(capsys, name, "--json", "--pid", os.getpid())
            assert code == 0
            assert set(json.loads(out)) == {"message", "status"}
        code, out, _ = run_cli(capsys, "status", "--run", tmp_path / "a.h5")
        assert code == 0
        assert f"run     scan line, {tmp_path / 'a.h5'}" in out
        assert "warning: mind the gap" in out
        code, out, _ = run_cli(capsys, "status", "--json")
        assert json.loads(out)["messages"][0]["text"] == "mind the gap"
        with Host(Recorder(), tmp_path / "b.h5"):
            code, _, err = run_cli(capsys, "status")
            assert code == 2
            assert "2 runs are going on" in err
    assert [asked for asked, _ in controls.asked] == [
        name for name in ("pause", "continue", "stop", "abort", "emergency") for _ in range(2)
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_following_a_scan_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    plan = small_plan(positions=3, passes=2)
    with running(tmp_path / "a.h5", plan, "simulation.speed=20", hold_at=2) as run:
        follower_is_there = threading.Event()

        def let_go() -> None:
            while not run.host._channel.has_listeners:  # type: ignore[union-attr]
                if follower_is_there.wait(0.005):
                    return
            run.go.set()

        threading.Thread(target=let_go, daemon=True).start()
        code, out, err = run_cli(capsys, "status", "--follow", *(["--json"] if as_json else []))
        follower_is_there.set()
        assert code == 0
        if as_json:
            assert json.loads(out)["ending"] == "completed"
            assert '"event": "visit-stored", "index": 5' in err
        else:
            assert "visit 5: " in out
            assert "completed: all visits measured" in out
            assert "laser off: yes, shutter closed: yes" in out


def test_time_left_goes_by_what_was_foretold_of_the_goal() -> None:
    clock = Hand()
    board = StatusBoard(Status("scan", "line", "/a.h5"), clock=clock)
    settings = InstrumentSettings(2.5e6, 25.0, 8, 0.0, 1, 2.5e6, None, None, None, None, None)
    board(RunStarted(400, 400, settings))
    clock.now_s = 10.0
    board(VisitStored(0, 100, 10, 390))
    assert board.snapshot()["left_s"] == pytest.approx(390.0)
    board(Decided(1, "so far", needed_s=25.0))
    clock.now_s = 13.0
    assert board.snapshot()["left_s"] == pytest.approx(22.0)
    board(Decided(2, "not known", needed_s=None))
    assert board.snapshot()["left_s"] == pytest.approx(387.0)


def test_time_left_of_a_series_that_shares_its_time() -> None:
    clock = Hand()
    whole = Status("series", "line", "/a", points_done=0, points_planned=3)
    board = StatusBoard(whole, clock=clock)
    board(TimeShared(0, 100.0, 400.0, "so far"))
    clock.now_s = 10.0
    assert board.snapshot()["left_s"] == pytest.approx(390.0)
    # the virtual instrument runs ten times as fast as the clock
    board(TimeShared(1, 150.0, 300.0, "so far"))
    assert board.snapshot()["left_s"] == pytest.approx(30.0)
    clock.now_s = 25.0
    assert board.snapshot()["left_s"] == pytest.approx(15.0)
