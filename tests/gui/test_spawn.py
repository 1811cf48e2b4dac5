"""Which host a window belongs to, and a station that outlives it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tplm_config import InputError
from tplm_daq.host import Host, HostClient, find_hosts
from tplm_daq.host.entries import runtime_folder
from tplm_daq.station import Station
from tplm_gui.host import spawn
from tplm_gui.host.spawn import Wanted, command, find, start

from .conftest import Threads
from .test_link import Plain


@pytest.fixture(autouse=True)
def from_here(threads: Threads) -> Iterator[None]:
    """These functions are not for the thread of the window; here is no window."""
    with threads.lent():
        yield


@contextmanager
def plain(path: Path) -> Iterator[Host]:
    with Host(Plain(), path, plan="line") as host:  # type: ignore[arg-type]
        yield host


@pytest.mark.parametrize(
    ("wanted", "has", "has_not"),
    [
        (
            Wanted(),
            ["--profile simulated", "--speed 10", "--linger-s 600", "--json"],
            "--simulated",
        ),
        (Wanted(speed=2.5), ["--speed 2.5"], "--speed 10"),
        (Wanted("mit", simulated=True), ["--profile mit", "--simulated"], "--speed"),
        (Wanted("mit"), ["--profile mit"], "--speed"),
        (Wanted(overrides=("a.b=1", "c=2")), ["--set-profile a.b=1", "--set-profile c=2"], "mit"),
        (Wanted(lesson="first-light", seed=7), ["--lesson first-light", "--seed 7"], "--simulated"),
    ],
)
def test_the_command_line(
    monkeypatch: pytest.MonkeyPatch, wanted: Wanted, has: list[str], has_not: str
) -> None:
    if wanted.overrides:
        monkeypatch.setattr(spawn, "is_virtual", lambda _: False)
        monkeypatch.setattr(Wanted, "load", lambda _: None)
    words = " ".join(command(wanted))
    assert words.startswith(f"{sys.executable} -m tplm_daq host ")
    assert all(part in words for part in has)
    assert has_not not in words


def test_nobody_is_there() -> None:
    assert find(Wanted()) is None


def test_a_process_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with plain(tmp_path / "film.h5"), pytest.raises(InputError, match=r"attach.*1.*scan"):
        find(Wanted(attach=1))


def test_a_certain_process(tmp_path: Path) -> None:
    with plain(tmp_path / "film.h5"):
        found = find(Wanted(attach=os.getpid()))
    assert found is not None
    assert not found.is_own
    assert "film.h5 from a terminal" in found.words


def test_a_station_of_the_profile_comes_before_a_run(station: Station, tmp_path: Path) -> None:
    with plain(tmp_path / "film.h5") as run:
        mine, other = find(Wanted()), find(Wanted("mit"))
    assert mine is not None
    assert other is not None
    assert mine.entry == station.entry
    assert mine.words == f"station, process {os.getpid()}"
    assert other.entry == run.entry


def test_a_station_of_another_profile_is_left_alone(station: Station) -> None:
    assert find(Wanted("mit")) is None
    assert find(Wanted("mit", simulated=True)) is None


def test_one_that_dies_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys; print('tplm: the card is used by another program'); sys.exit(4)"
    monkeypatch.setattr(spawn, "command", lambda _: [sys.executable, "-c", script])
    with pytest.raises(InputError, match=r"exit code 4.*the card is used by another program"):
        start(Wanted())


def test_one_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "START_S", 0.2)
    script = "import time; time.sleep(3)"
    monkeypatch.setattr(spawn, "command", lambda _: [sys.executable, "-c", script])
    with pytest.raises(InputError, match="not ready within"):
        start(Wanted())


def test_old_words_are_cleared_away() -> None:
    for _ in range(20):
        spawn._log_file().touch()
    assert len(list((runtime_folder() / "windows").iterdir())) == 10


def test_a_real_station_that_has_no_part_in_this_process() -> None:
    found = start(Wanted(speed=100))
    with HostClient(found.entry) as client:
        status = client.ask("status")["status"]
        assert status["station"]["speed"] == 100
        assert found.is_own
        if os.name == "posix":
            assert os.getsid(found.entry.pid) != os.getsid(0)
        again = find(Wanted())
        assert again is not None
        assert again.entry == found.entry
        assert not again.is_own
        list(_until_closed(client))
    assert found.entry not in find_hosts()


def _until_closed(client: HostClient) -> Iterator[str]:
    events = client.events()
    yield str(next(events)["event"])
    with HostClient(client.entry) as other:
        other.ask("quit")
    for event in events:
        yield str(event["event"])
