"""The link: what the host tells arrives in the window, and nothing stands before Stop."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QThread
from PyQt6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from tplm_config import load_profile
from tplm_daq.host import Host, HostEntry
from tplm_daq.station import Station
from tplm_gui.host import wire
from tplm_gui.host.link import Link, profile_of
from tplm_gui.host.spawn import Found, Wanted
from tplm_gui.hub import Hub, News, Reply
from tplm_gui.mailbox import Mailbox

from .conftest import Threads

IDLE = {"doing": "station", "station": {"profile": "simulated", "connected": True}}


class FakeHost:
    """Answers what it is told to, so that silence and death come when a test wants them."""

    def __init__(self) -> None:
        self.mute: set[str] = set()
        self.heard: list[str] = []
        self._listeners: list[socket.socket] = []
        self._open: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        port = self._door.getsockname()[1]
        self.entry = HostEntry(os.getpid(), port, "t", "", "station", "")
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._door.accept()
            except OSError:
                return
            self._open.append(one)
            threading.Thread(target=self._serve, args=[one], daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one.makefile("rb") as lines:
            for line in lines:
                command = json.loads(line)["command"]
                self.heard.append(command)
                if command in self.mute:
                    continue
                answer = {"ok": True, "message": f"{command}: done", "status": IDLE}
                if command == "subscribe":
                    self._listeners.append(one)
                self._say(one, answer)

    def _say(self, one: socket.socket, value: dict[str, Any]) -> None:
        one.sendall(json.dumps(value).encode() + b"\n")

    def tell(self, *events: dict[str, Any]) -> None:
        def say() -> None:
            for one in self._listeners:
                for event in events:
                    self._say(one, event)

        threading.Thread(target=say, daemon=True).start()

    def close(self) -> None:
        for one in [self._door, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Plain:
    """A run from a terminal that does nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("continue")

    def stop(self, why: str) -> None:
        self.asked.append("stop")

    abort = emergency = stop


@pytest.fixture
def fake(threads: Threads) -> Iterator[FakeHost]:
    host = FakeHost()
    yield host
    host.close()


@pytest.fixture
def told() -> list[News]:
    return []


@pytest.fixture
def link(qtbot: QtBot, told: list[News]) -> Iterator[Link]:
    hub = Hub()
    hub.news.connect(told.append)
    link = Link(hub, Wanted())
    yield link
    link.close()


def attach(qtbot: QtBot, link: Link, entry: HostEntry | None) -> None:
    assert entry is not None
    link.attach(Found(entry, is_own=False, words="station"))
    qtbot.waitUntil(lambda: link.hub.is_linked, timeout=5000)


# -- a real station --------------------------------------------------------------------------


def test_status_and_profile_of_a_station(qtbot: QtBot, link: Link, station: Station) -> None:
    attach(qtbot, link, station.entry)
    assert link.hub.status["station"]["profile"] == "simulated"
    assert link.hub.profile is not None
    assert link.hub.profile.optics == load_profile("simulated").optics


def test_devices_are_called_by_one_thread(
    qtbot: QtBot, link: Link, station: Station, threads: Threads
) -> None:
    attach(qtbot, link, station.entry)
    link.hub.ask("connect")
    qtbot.waitUntil(lambda: bool(link.hub.readings.get("devices")), timeout=20_000)
    qtbot.waitUntil(lambda: link.hub.status["station"]["connected"], timeout=20_000)
    assert threads.device_threads
    assert "MainThread" not in threads.device_threads


def test_a_refusal_becomes_a_banner(
    qtbot: QtBot, link: Link, station: Station, told: list[News]
) -> None:
    attach(qtbot, link, station.entry)
    told.clear()
    link.hub.ask("set", {"what": "emission", "value": True})
    qtbot.waitUntil(lambda: any(news.level == "error" for news in told), timeout=5000)
    assert told[-1].code == "ask-set"


# -- a run from a terminal -------------------------------------------------------------------


def test_a_plain_run_is_watched_and_steered_and_its_end_told(
    qtbot: QtBot, link: Link, told: list[News], threads: Threads, tmp_path: Path
) -> None:
    run = Plain()
    with threads.lent():
        host = Host(run, tmp_path / "film.h5", plan="line").__enter__()  # type: ignore[arg-type]
    attach(qtbot, link, host.entry)
    assert link.hub.status["station"] is None
    link.hub.ask("pause")
    # its status is asked for: nothing else tells it
    qtbot.waitUntil(lambda: link.hub.status["requested"] == "pause", timeout=5000)
    assert run.asked == ["pause"]
    with threads.lent():
        host.__exit__(None, None, None)
    qtbot.waitUntil(lambda: not link.hub.is_linked, timeout=5000)
    assert told[-1].action == "Look for a run"
    assert "film.h5" in told[-1].text


def test_no_profile_before_the_file_is_there(tmp_path: Path) -> None:
    assert profile_of({"doing": "scan", "path": str(tmp_path / "none.h5")}) is None
    assert profile_of({"doing": "series", "path": str(tmp_path)}) is None


# -- silence and death -----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "emergency"])
def test_stop_passes_everything_that_waits(
    qtbot: QtBot, link: Link, fake: FakeHost, command: str
) -> None:
    attach(qtbot, link, fake.entry)
    fake.mute = {"set", "status"}
    replies: dict[str, Reply] = {}
    for name in ("set", "move", command):
        link.hub.ask(name, {"value": 1}, partial(replies.__setitem__, name))
    qtbot.waitUntil(lambda: command in replies, timeout=1000)
    assert replies[command].ok
    assert replies[command].words == f"{command}: done"
    assert "move" not in replies  # it stands behind the one that hangs


def test_a_request_that_is_not_answered_is_told_in_a_sentence(
    qtbot: QtBot, link: Link, fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ANSWER_S", 0.2)
    attach(qtbot, link, fake.entry)
    fake.mute = {"connect", "stop"}
    replies: dict[str, Reply] = {}
    for name in ("connect", "stop"):
        link.hub.ask(name, then=partial(replies.__setitem__, name))
    qtbot.waitUntil(lambda: len(replies) == 2, timeout=5000)
    assert not replies["connect"].ok
    assert "not answered" in replies["connect"].words
    assert "block the laser beam by hand" in replies["stop"].words


def test_a_host_that_hangs_is_told_and_answers_again(
    qtbot: QtBot, link: Link, fake: FakeHost, told: list[News], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ANSWER_S", 0.1)
    attach(qtbot, link, fake.entry)
    fake.mute = {"status"}
    qtbot.waitUntil(lambda: not link.hub.is_linked, timeout=5000)
    assert told[-1].level == "error"
    assert "stopped or stuck" in told[-1].text
    fake.mute = set()
    qtbot.waitUntil(lambda: link.hub.is_linked, timeout=5000)
    assert (told[-1].level, told[-1].code) == ("info", "host")


def test_a_host_that_dies_is_told_with_what_to_do(
    qtbot: QtBot, link: Link, fake: FakeHost, told: list[News]
) -> None:
    attach(qtbot, link, fake.entry)
    fake.close()
    qtbot.waitUntil(lambda: not link.hub.is_linked, timeout=8000)
    news = told[-1]
    assert (news.level, news.action) == ("error", "Start again")
    assert "kept" in news.text
    replies: list[Reply] = []
    link.hub.ask("stop", then=replies.append)
    assert "no host answers" in replies[0].words


def test_a_connection_that_breaks_is_made_again(
    qtbot: QtBot, link: Link, fake: FakeHost, told: list[News]
) -> None:
    attach(qtbot, link, fake.entry)
    with qtbot.waitSignal(link.reached, timeout=5000):
        fake._listeners[0].shutdown(socket.SHUT_RDWR)
    assert link.hub.is_linked
    assert "answers again" in told[-1].text


def test_a_station_that_says_goodbye(
    qtbot: QtBot, link: Link, fake: FakeHost, told: list[News]
) -> None:
    attach(qtbot, link, fake.entry)
    fake.tell({"event": "host-closed", "status": IDLE})
    qtbot.waitUntil(lambda: not link.hub.is_linked, timeout=5000)
    assert (told[-1].level, told[-1].action) == ("info", "Start again")


def test_what_is_not_a_host_is_not_taken_for_one(
    qtbot: QtBot, link: Link, told: list[News], threads: Threads
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    link.attach(Found(HostEntry(1, port, "t", "", "station", ""), is_own=False, words=""))
    qtbot.waitUntil(lambda: bool(told), timeout=8000)
    assert told[-1].level == "error"
    assert not link.hub.is_linked


# -- events ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "signal"),
    [
        ({"event": "readings", "devices": {}}, "readings_changed"),
        ({"event": "light", "counts": [1]}, "light"),
        ({"event": "status", "status": {"doing": "station", "station": {}}}, "status_changed"),
        ({"event": "notice", "level": "warning", "message": "hot", "code": "t"}, "news"),
        (
            {"event": "job-ended", "ok": False, "message": "no peak", "job": {"kind": "x"}},
            "happened",
        ),
        ({"event": "visit-stored", "index": 3}, "happened"),
    ],
)
def test_events_have_their_signals(
    qtbot: QtBot, link: Link, fake: FakeHost, event: dict[str, Any], signal: str
) -> None:
    attach(qtbot, link, fake.entry)
    mine: list[bool] = []
    app_thread = link.thread()
    link.hub.happened.connect(lambda _: mine.append(QThread.currentThread() is app_thread))
    with qtbot.waitSignal(getattr(link.hub, signal), timeout=5000):
        fake.tell(event)
    qtbot.waitUntil(lambda: mine == [True], timeout=1000)


FAILED = {"event": "run-ended", "ending": "failed", "message": "no light"}
NOTICE = {"event": "notice", "level": "error", "message": "no light: resume it", "code": "job-scan"}
GIVEN_UP = {"event": "job-ended", "ok": False, "message": "given up for: blocking the light"}


@pytest.mark.parametrize(
    ("station", "events", "expected"),
    [
        (None, [FAILED], ["the scan failed: no light"]),
        ({}, [FAILED, NOTICE, {"event": "job-ended", "ok": False, "message": "no light"}],
         ["no light: resume it"]),
        ({}, [GIVEN_UP], []),  # somebody wanted that
    ],
)  # fmt: skip
def test_one_thing_is_one_banner(
    qtbot: QtBot, link: Link, fake: FakeHost, told: list[News], station: Any,
    events: list[dict[str, Any]], expected: list[str],
) -> None:  # fmt: skip
    attach(qtbot, link, fake.entry)
    told.clear()
    status = {"event": "status", "status": {"doing": "scan", "station": station}}
    last = {"event": "last"}
    came: list[Any] = []
    link.hub.happened.connect(came.append)
    fake.tell(status, *events, last)
    qtbot.waitUntil(lambda: last in came, timeout=5000)
    assert [news.text for news in told] == expected


@pytest.mark.parametrize(
    "event",
    [
        {"event": "run-ended", "ending": "failed"}, {"event": "status"}, {"event": 5}, {},
        {"event": "status", "status": None}, {"event": "notice", "level": "error"},
        {"event": "job-ended", "ok": False, "job": None}, {"event": "readings"},
        {"event": "light"}, {"event": "never-heard-of", "x": 1},
    ],
)  # fmt: skip
def test_a_host_of_another_version(
    qtbot: QtBot, link: Link, fake: FakeHost, event: dict[str, Any]
) -> None:
    attach(qtbot, link, fake.entry)
    came: list[Any] = []
    link.hub.happened.connect(came.append)
    fake.tell(event, {"event": "last"})  # what raises in a slot fails the test
    qtbot.waitUntil(lambda: {"event": "last"} in came, timeout=5000)


def test_the_order_of_a_flood_is_kept_and_the_window_lives(
    qtbot: QtBot, link: Link, fake: FakeHost
) -> None:
    attach(qtbot, link, fake.entry)
    came: list[int] = []
    link.hub.happened.connect(lambda event: came.append(event["index"]))
    fake.tell(*({"event": "visit-stored", "index": i} for i in range(3000)))
    qtbot.waitUntil(lambda: len(came) == 3000, timeout=8000)
    assert came == list(range(3000))


def test_mailbox_keeps_the_order_over_threads_and_defects(qtbot: QtBot) -> None:
    box = Mailbox()
    done: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    def post() -> None:
        for i in range(200):
            box.post(fail if i == 50 else partial(done.append, i))

    with qtbot.captureExceptions() as defects:
        thread = threading.Thread(target=post)
        thread.start()
        qtbot.waitUntil(lambda: len(done) == 199, timeout=5000)
        thread.join()
    assert done == [i for i in range(200) if i != 50]
    assert [kind for kind, _, _ in defects] == [ZeroDivisionError]


def test_a_closed_mailbox_does_nothing(qtbot: QtBot) -> None:
    box = Mailbox()
    done: list[int] = []
    box.post(partial(done.append, 1))
    box.close()
    box.post(partial(done.append, 2))
    other: list[Callable[[], None]] = []
    last = Mailbox()
    last.post(partial(other.append, box.close))
    qtbot.waitUntil(lambda: bool(other))
    assert done == []


# -- the watch itself ------------------------------------------------------------------------


def test_the_watch_sees_a_socket_in_the_window_and_a_widget_outside(
    qtbot: QtBot, threads: Threads
) -> None:
    label = QLabel()
    qtbot.addWidget(label)
    with socket.socket() as one, pytest.raises(AssertionError, match="in the thread of the window"):
        one.connect(("127.0.0.1", 9))

    def touch() -> None:
        with suppress(AssertionError):
            label.setText("x")

    other = threading.Thread(target=touch, name="other")
    other.start()
    other.join()
    found, threads.faults = threads.faults, []
    assert found == ["socket.connect in the thread of the window", "QLabel.setText in thread other"]
    assert label.text() == ""
