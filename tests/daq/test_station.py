"""The station: owns the instrument between runs, obeys clients, and never leaves light behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daq.lamp import lamp
from tests.daq.rig import small_plan, small_profile, virtual
from tests.daq.series_rig import small_series
from tests.daq.test_host import command, raw, replies
from tplm_config import InputError, InstrumentProfile, parse_plan, parse_profile, to_toml
from tplm_daq.cli import main
from tplm_daq.events import RunState, StateChanged, VisitStarted
from tplm_daq.host import HostClient, HostEntry, find_hosts, pick_host
from tplm_daq.host.status import describe
from tplm_daq.series import read_manifest
from tplm_daq.station import Station
from tplm_daq.station import owner as owner_module
from tplm_daq.station.asked import ARGUMENTS, read_arguments
from tplm_daq.station.readings import Heard
from tplm_daq.station.record import Record
from tplm_daq.store import read_scan
from tplm_daq.training import draw_lesson
from tplm_drivers import Instrument, connect
from tplm_simulators import VirtualMicroscope

LONGEST_WAIT_S = 60.0
QUICK = {"dwell_s": 0.5, "range_ns": 25.6, "time_bin_ps": 100}
"""Of aligning: fewer time bins to simulate."""
PLAN = to_toml(small_plan())


class Witnessed:
    """A device that writes down which thread calls it."""

    def __init__(self, device: Any, role: str, calls: list[tuple[str, str, str]]) -> None:
        self._device, self._role, self._calls = device, role, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._device, name)
        if not callable(found) or isinstance(found, VirtualMicroscope):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self._calls.append((self._role, name, threading.current_thread().name))
            return found(*arguments, **more)

        return call


@dataclass
class At:
    """A station in this process, two connections to it, and the truth about its light."""

    station: Station
    client: HostClient
    watcher: HostClient
    events: Iterator[dict[str, Any]]
    microscopes: list[VirtualMicroscope]
    calls: list[tuple[str, str, str]]
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def dark(self) -> bool:
        """Whether, in truth, no light reaches a sample, of whatever was ever opened."""
        return all(
            it.laser.output_nw() == 0 or not it.shutter.passes_at(it.clock.now_s())
            for it in self.microscopes
        )

    @property
    def off(self) -> bool:
        return all(it.laser.output_nw() == 0 for it in self.microscopes)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.ask("status")["status"]
        return found

    def until(self, name: str, **values: Any) -> dict[str, Any]:
        """Read on until an event of a name with these values."""
        for event in self.events:
            self.seen.append(event)
            if event["event"] == name and all(event[key] == values[key] for key in values):
                return event
        raise AssertionError(f"there was no {name} {values}")

    def ask(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        return self.client.ask(name, arguments)

    def begin(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Ask for a job and wait until it has begun."""
        job: dict[str, Any] = self.ask(name, **arguments)["result"]["job"]
        assert job["kind"] == name
        self.until("job-started", job=job)
        return job

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        return self.until("job-ended", job=job)

    def do(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Ask for a job and wait until it has ended well."""
        ended = self.ended(self.ask(name, **arguments)["result"]["job"])
        assert ended["ok"], ended["message"]
        return ended

    def refused(self, name: str, /, **arguments: Any) -> str:
        with pytest.raises(InputError) as refusal:
            self.ask(name, **arguments)
        return str(refusal.value)

    def scan(self, path: Path) -> dict[str, Any]:
        """Begin a scan and have it pause after its first visits."""
        job = self.begin("scan", plan=PLAN, out=str(path))
        self.ask("pause")
        self.until("state-changed", state="paused")
        return job


@contextmanager
def at(*overrides: str, profile: InstrumentProfile | None = None, **options: Any) -> Iterator[At]:
    """A station, and somebody who looks on; afterwards it must be dark."""
    microscopes: list[VirtualMicroscope] = []
    calls: list[tuple[str, str, str]] = []

    def opener(found: InstrumentProfile) -> Instrument:
        instrument = connect(found)
        microscopes.append(virtual(instrument))
        devices = {
            role: Witnessed(device, role, calls) for role, device in instrument.devices().items()
        }
        return Instrument(profile=found, clock=instrument.clock, bench=instrument.bench, **devices)

    found = profile or small_profile(*overrides)
    with ExitStack() as stack:
        station = stack.enter_context(Station(found, opener=opener, **options))
        assert station.entry is not None
        client = stack.enter_context(HostClient(station.entry))
        watcher = stack.enter_context(HostClient(station.entry))
        events = watcher.events()
        assert next(events)["event"] == "subscribed"
        it = At(station, client, watcher, events, microscopes, calls)
        yield it
    assert it.off


def wait_until(station: Station, is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s
        station.wait(0.01)


# -- connecting -----------------------------------------------------------------------------


def test_connecting_reading_back_and_letting_go() -> None:
    with at("simulation.speed=100") as it:
        first = it.status
        assert first["doing"] == "station"
        assert first["state"] == "idle"
        assert first["path"] == ""
        part = first["station"]
        assert part["profile"] == "simulated"
        assert part["simulated"] is True
        assert part["wired"] is False
        assert part["speed"] == 100
        assert part["connected"] is part["aligning"] is False
        assert part["job"] is part["last"] is part["lesson"] is None
        assert part["folder"] == str(Path.cwd())
        assert parse_profile(part["profile_toml"], "told").optics == small_profile().optics
        assert "simulation" not in part["profile_toml"]
        assert it.until("readings")["devices"]["laser"]["state"] == "closed"
        assert "9 devices" in it.do("connect")["message"]
        assert it.until("status")["status"]["station"]["connected"] is True
        told = it.until("readings")
        assert {entry["state"] for entry in told["devices"].values()} == {"ready"}
        assert told["devices"]["laser"]["model"]
        assert told["values"]["emission"] is told["values"]["shutter_open"] is False
        # idle, a simulated clock goes on at the speed of the profile
        later = it.until("readings")
        assert later["device_s"] - told["device_s"] > 20
        assert "laser off: yes" in it.do("disconnect")["message"]
        assert it.status["station"]["connected"] is False
        assert it.do("connect")["ok"]
    assert len(it.microscopes) == 2
    assert it.microscopes[0].settings.seed != it.microscopes[1].settings.seed


def test_the_doctor_names_a_device_that_fails() -> None:
    profile = small_profile('shutter.driver={name="sc10", port="/dev/not-there"}')
    with at(profile=profile) as it:
        rows = it.do("doctor")["result"]["rows"]
        assert [row["role"] for row in rows if row["error"] is not None] == ["shutter"]
        assert {row["role"] for row in rows} >= {"laser", "card", "temperature"}
        ended = it.ended(it.begin("connect"))
        assert ended["ok"] is False
        assert ended["message"].startswith("shutter: ")
        notice = it.until("notice", code="job-connect")
        assert notice["level"] == "error"
        assert it.status["station"]["connected"] is False


def test_the_doctor_looks_at_open_devices_too() -> None:
    with at() as it:
        closed = it.do("doctor")["result"]["rows"]
        it.do("connect")
        assert it.do("doctor")["message"] == "all 9 devices answer"
        assert all(row["error"] is None and row["state"] for row in closed)
        assert len(it.microscopes) == 1


# -- by hand, and aligning ------------------------------------------------------------------


def test_an_emergency_that_cannot_be_read_back_is_no_success() -> None:
    with at() as it:
        it.do("connect")
        it.do("set", what="emission", value=True)
        plugs = it.microscopes[-1].laser, it.microscopes[-1].shutter
        for device in plugs:
            device.unplug()
        assert "block the beam by hand" in it.refused("emergency")
        assert it.until("notice", code="emergency")["level"] == "error"
        for device in plugs:
            device.plug_in()


def test_setting_moving_and_halting() -> None:
    with at("simulation.speed=2") as it:
        it.do("connect")
        assert "detector looks at (0.500" in it.do("move", stage="detector", to=[0.5, 0])["message"]
        # a second one waits for the first
        one = it.ask("move", stage="detector", to=[0.1, 0], relative=True)["result"]["job"]
        two = it.ask("move", stage="detector", to=[0.1, 0], relative=True)["result"]["job"]
        assert it.ended(one)["ok"]
        assert "(0.700" in it.ended(two)["message"]
        far = it.begin("move", stage="detector", to=[10_000, 0], plane="image")
        assert "moving the detector" in it.refused("scan", plan=PLAN, out="a.h5")
        it.do("halt")
        ends = [e for e in it.seen if e["event"] == "job-ended" and e["job"] == far]
        assert [end["ok"] for end in ends] == [False]
        told = it.until("readings")
        assert told["values"]["detector_image_x_um"] < 9_000
        message = it.ended(it.begin("set", what="power_nw", value=1e6))["message"]
        assert "the profile allows 200 nW at most" in message
        it.do("set", what="emission", value=True)
        assert it.until("readings")["values"]["emission"] is True
        it.do("dark")
        assert it.status["laser_off"] is True


def test_aligning_and_making_a_place_the_zero(tmp_path: Path) -> None:
    with at() as it:
        assert "connect" in it.refused("align")
        it.do("connect")
        assert "align first" in it.refused("cross")
        it.do("align", **QUICK)
        light = it.until("light")
        assert light["count_rate_hz"] > 1e3
        assert sum(light["counts"]) > 1e3
        assert it.status["station"]["aligning"] is True
        found = it.do("find", half_range_um=1, positions=15)["result"]
        assert abs(found["x_um"]) < 0.1
        told = [e for e in it.seen if e["event"] == "job-progress"]
        shares = [event["share"] for event in told]
        assert shares == sorted(shares)
        assert shares[0] == pytest.approx(1 / 60)
        assert shares[-1] == 1
        assert told[-1]["words"] == "line 4 of 4"
        image = it.do("raster", half_range_um=0.5, positions=3)
        assert abs(image["result"]["x_um"]) < 0.6
        it.do("move", stage="detector", to=[0.2, -0.1])
        zero = it.do("centre")["result"]
        assert zero["zero_x_um"] == pytest.approx(0.2 * 495, abs=1)
        told = parse_profile(it.status["station"]["profile_toml"], "told")
        assert told.detector_stage.x.zero_um == zero["zero_x_um"]
        assert it.until("light")["is_dark"] is False  # it goes on
        # a scan needs no "dark" before it, and keeps the new zero
        it.do("scan", plan=PLAN, out=str(tmp_path / "a.h5"))
        assert it.status["station"]["aligning"] is False
        kept = read_scan(tmp_path / "a.h5").header.profile
        assert kept is not None
        assert kept.detector_stage.x.zero_um == zero["zero_x_um"]


@pytest.mark.parametrize("how", ["dark", "stop", "abort"])
def test_aligning_ends_dark(how: str) -> None:
    with at() as it:
        it.do("connect")
        it.do("align", **QUICK)
        it.until("light")
        assert not it.dark
        it.ask(how)
        it.until("job-ended")
        assert it.off
        assert it.status["station"]["aligning"] is False
        assert it.status["laser_off"] is it.status["shutter_closed"] is True


def test_an_emergency_blocks_light_at_once_and_light_can_be_made_again() -> None:
    with at("simulation.speed=1") as it:
        assert "not connected" in it.ask("emergency")["message"]
        it.do("connect")
        it.do("align", **QUICK | {"dwell_s": 60})
        assert it.until("readings")["values"]["emission"] is True  # also in a long dwell
        assert not it.dark
        it.ask("emergency")
        wait_until(it.station, lambda: it.off)
        ended = it.until("job-ended")
        while ended["job"]["kind"] != "emergency":
            ended = it.until("job-ended")
        assert ended["result"] == {"laser_off": True, "shutter_closed": True}
        assert it.status["station"]["aligning"] is False
        elsewhere = {call[:2] for call in it.calls if call[2] != "instrument"}
        assert {role for role, _ in elsewhere} == {"laser", "shutter"}
        it.do("align", **QUICK | {"dwell_s": 60})
        assert not it.dark
        it.do("disconnect")  # which does not wait for the end of a dwell


def test_light_that_nobody_looks_after_is_switched_off() -> None:
    with at(unattended_s=0.2) as it:
        it.do("connect")
        it.do("set", what="emission", value=True)
        assert not it.off
        it.client.__exit__(None, None, None)
        it.watcher.__exit__(None, None, None)
        wait_until(it.station, lambda: it.off)
        assert not it.station.is_ending
        log = it.station.record.path
        wait_until(it.station, lambda: "nobody has been there" in log.read_text())


# -- scans ----------------------------------------------------------------------------------


def test_a_scan_to_the_end_and_another_one(tmp_path: Path) -> None:
    with at() as it:
        path = tmp_path / "a.h5"
        it.do("scan", plan=PLAN, out=str(path))  # connects by itself
        status = it.status
        assert status["doing"] == "station"
        assert status["station"]["last"] == {
            "kind": "scan", "path": str(path), "ending": "completed",
        }  # fmt: skip
        assert status["station"]["connected"] is True
        assert it.off
        scan = read_scan(path)
        assert scan.complete
        assert sum(e["event"] == "visit-stored" for e in it.seen) == 14
        told = [e["status"] for e in it.seen if e["event"] == "status"]
        running = [status for status in told if status["doing"] == "scan"]
        assert running[0]["path"] == str(path)
        assert running[-1]["visits_done"] == 14
        assert "already" in it.refused("scan", plan=PLAN, out=str(path))
        it.do("scan", plan=PLAN, out=str(tmp_path / "b.h5"))
        # the light went on, it did not begin anew
        other = read_scan(tmp_path / "b.h5")
        assert not np.array_equal(scan.position_counts, other.position_counts)
        assert len(it.microscopes) == 1
        it.do("resume", path=str(path))
        log = [json.loads(line) for line in it.station.record.path.read_text().splitlines()]
        assert sum(entry["event"] == "visit-stored" for entry in log) == 28


def test_what_is_refused_while_a_scan_runs(tmp_path: Path) -> None:
    with at() as it:
        job = it.scan(tmp_path / "a.h5")
        for name, arguments in (
            ("set", {"what": "emission", "value": False}),
            ("move", {"stage": "detector", "to": [0, 0]}),
            ("align", {}),
            ("halt", {}),
            ("dark", {}),
            ("doctor", {}),
            ("disconnect", {}),
            ("scan", {"plan": PLAN, "out": "b.h5"}),
            ("resume", {"path": str(tmp_path)}),
        ):
            assert "scanning into" in it.refused(name, **arguments), name
        assert "a run goes on" in it.refused("quit")
        assert "no series" in it.refused("reorder", order=[0])
        assert find_hosts()[0].doing == "scan"
        assert pick_host("test", tmp_path / "a.h5").pid == os.getpid()
        assert "run     scan line" in describe(it.status)
        it.ask("abort")
        assert "aborted" in it.ended(job)["message"]
        assert find_hosts()[0].doing == "station"


@pytest.mark.parametrize("name", ["stop", "abort", "emergency"])
def test_ending_a_scan_and_going_on(tmp_path: Path, name: str) -> None:
    with at() as it:
        job = it.scan(tmp_path / "a.h5")
        assert it.dark
        it.ask(name)
        ending = "stopped" if name == "stop" else "aborted"
        assert it.ended(job)["result"]["ending"] == ending
        assert it.off
        assert not read_scan(tmp_path / "a.h5").complete
        assert it.status["station"]["last"]["ending"] == ending
        if name == "emergency":
            it.until("job-ended")
        it.do("resume", path=str(tmp_path / "a.h5"))
        assert read_scan(tmp_path / "a.h5").complete
        assert it.status["station"]["last"]["ending"] == "completed"


def test_pausing_a_scan(tmp_path: Path) -> None:
    with at() as it:
        job = it.scan(tmp_path / "a.h5")
        assert it.dark
        assert it.status["requested"] == "pause"
        assert it.ask("continue")["message"] == "the run goes on"
        assert it.ended(job)["message"] == "completed: all visits measured"


def test_what_a_run_knows_of_its_devices_is_told_while_it_has_them(tmp_path: Path) -> None:
    with at() as it:
        job = it.scan(tmp_path / "a.h5")
        told = [event for event in it.seen if event["event"] == "readings"][-1]
        assert told["values"]["shutter_open"] is False
        assert {entry["state"] for entry in told["devices"].values()} == {"busy"}
        values = told["values"]
        assert values["emission"] is True  # behind a shutter the laser stays on
        true = it.microscopes[0]
        assert values["repetition_rate_hz"] == pytest.approx(true.laser.repetition_rate_hz)
        assert 0 < values["transmission"] <= 1
        assert values["detection_transmission"] == 1.0
        assert values["sample_x_um"] == values["sample_z_um"] == 0.0
        assert values["set_point_k"] == pytest.approx(values["temperature_k"], abs=1.0)
        it.ask("continue")
        it.ended(job)
        lit = [e["values"].get("shutter_open") for e in it.seen if e["event"] == "readings"]
        assert True in lit  # while it counted
        last = [e["values"] for e in it.seen if e["event"] == "readings"][-1]
        assert last["emission"] is last["shutter_open"] is False


COUNTING, PAUSED = StateChanged(RunState.COUNTING), StateChanged(RunState.PAUSED, "asked for")


@pytest.mark.parametrize(
    ("shutter", "events", "emission", "open_"),
    [
        (True, [], None, None),
        (True, [0, COUNTING], True, True),
        (True, [1, COUNTING], True, False),  # a background
        (True, [0, COUNTING, StateChanged(RunState.MOVING)], True, True),
        (True, [0, COUNTING, PAUSED], True, False),
        (True, [0, COUNTING, PAUSED, StateChanged(RunState.PREPARING)], None, None),
        (True, [0, COUNTING, StateChanged(RunState.FINISHING)], None, None),
        (False, [0, COUNTING], True, None),
        (False, [0, COUNTING, PAUSED], False, None),
    ],
)
def test_what_the_states_of_a_run_mean_for_the_light(
    shutter: bool, events: list[Any], emission: bool | None, open_: bool | None
) -> None:
    profile = small_profile()
    if not shutter:
        profile = profile.model_copy(update={"shutter": None})
    visit = next(parse_plan(PLAN, "test").visits())
    lit = [replace(visit, shutter_open=is_lit) for is_lit in (True, False)]
    heard = Heard(profile)
    for event in events:
        heard.take(VisitStarted(lit[event]) if isinstance(event, int) else event)
    assert heard.values.get("emission") is emission
    assert heard.values.get("shutter_open") is open_


def test_a_client_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    with at() as it:
        it.scan(tmp_path / "a.h5")
        it.ask("continue")
        it.client.__exit__(None, None, None)
        it.watcher.__exit__(None, None, None)
        assert it.station.entry is not None
        with HostClient(it.station.entry) as late:
            events = late.events()
            last = next(events)["status"]["station"]["last"]
            while last is None:
                last = next(events).get("status", {}).get("station", {}).get("last")
        assert last["ending"] == "completed"
        assert read_scan(tmp_path / "a.h5").complete


def test_answers_are_quick_while_a_scan_runs(tmp_path: Path) -> None:
    plan = small_plan(positions=21, passes=5)
    with at() as it:
        it.do("connect")
        it.begin("scan", plan=to_toml(plan), out=str(tmp_path / "a.h5"))
        times_s = []
        while it.status["station"]["last"] is None:
            before_s = time.perf_counter()
            it.client.ask("status")
            times_s.append(time.perf_counter() - before_s)
    late_s = float(np.quantile(times_s, 0.99))
    print(f"{len(times_s)} answers, p99 {late_s * 1e3:.1f} ms, longest {max(times_s) * 1e3:.1f} ms")
    assert len(times_s) > 100
    assert late_s < 0.1


def test_a_device_that_fails_in_a_scan(tmp_path: Path) -> None:
    with at() as it:
        job = it.scan(tmp_path / "a.h5")
        it.microscopes[0].card.unplug()
        it.ask("continue")
        ended = it.ended(job)
        assert ended["ok"] is False
        assert "card" in ended["message"]
        assert it.status["station"]["last"]["ending"] == "failed"
        assert it.off
        it.do("resume", path=str(tmp_path / "a.h5"))  # which opens a simulation anew
        assert read_scan(tmp_path / "a.h5").complete


# -- series ---------------------------------------------------------------------------------


def test_a_series_in_another_order_which_a_resume_keeps(tmp_path: Path) -> None:
    plan, folder = small_series((20, 10, 5)), tmp_path / "series"
    with at() as it:
        it.do("connect")
        job = it.begin("series", plan=to_toml(plan), out=str(folder))
        it.ask("pause")
        it.until("state-changed", state="paused")
        assert it.ask("reorder", order=[2])["result"] == {"order": [2, 1]}
        assert it.until("points-reordered")["order"] == [2, 1]
        assert "has begun" in it.refused("reorder", order=[0, 1])
        assert "no point 7" in it.refused("reorder", order=[7])
        assert "twice" in it.refused("reorder", order=[1, 1])
        assert read_manifest(folder).order == (2, 1)
        it.ask("stop")
        assert it.ended(job)["result"]["ending"] == "stopped"
        assert it.status["station"]["last"]["kind"] == "series"
        # the first was measured with what was open, and afterwards it is open again
        assert len(it.microscopes) == 2
        assert it.status["station"]["connected"] is True
        it.seen.clear()
        it.do("resume", path=str(folder))
        assert [e["index"] for e in it.seen if e["event"] == "point-started"] == [0, 2, 1]
        assert {entry.state for entry in read_manifest(folder).points} == {"done"}
        assert it.status["station"]["last"]["ending"] == "completed"
        # one that cannot begin leaves the instrument as it is
        opened = len(it.microscopes)
        ended = it.ended(it.begin("series", plan=to_toml(plan), out=str(folder)))
        assert "there is a series in this folder already" in ended["message"]
        assert len(it.microscopes) == opened
        assert it.status["station"]["connected"] is True


# -- ways out -------------------------------------------------------------------------------


def lit(it: At, how: str, tmp_path: Path) -> None:
    """Have light, by hand, while aligning or in a scan."""
    it.do("connect")
    if how == "by hand":
        it.do("set", what="emission", value=True)
        it.do("set", what="shutter", value=True)
    elif how == "aligning":
        it.do("align", **QUICK)
    else:
        it.scan(tmp_path / "a.h5")
        assert it.dark
    assert not it.off


@pytest.mark.parametrize("light", ["by hand", "aligning", "in a scan"])
@pytest.mark.parametrize("way", ["quit", "ended", "failed", "left"])
def test_every_ending_is_dark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: str, way: str
) -> None:
    if way == "quit" and light == "in a scan":
        return  # refused, see above
    with at(unattended_s=3600, **({"linger_s": 0.1} if way == "left" else {})) as it:
        lit(it, light, tmp_path)
        match way:
            case "quit":
                assert "ends" in it.ask("quit")["message"]
            case "ended":
                it.station.end("for the test")
            case "failed":
                monkeypatch.setattr(owner_module.Owner, "_next_job", _fail)
                if light == "in a scan":
                    it.ask("abort")
            case "left":
                it.client.__exit__(None, None, None)
                it.watcher.__exit__(None, None, None)
                if light == "in a scan":
                    it.station.end("for the test")
        assert it.station.wait(LONGEST_WAIT_S)
        assert it.off
        state = it.station.board.status.safe_state
        assert state is not None
        assert state.laser_off is True


def _fail(*_: object) -> None:
    raise ZeroDivisionError("a defect")


def test_a_defect_between_two_jobs_lets_go_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    with at() as it:
        lit(it, "aligning", Path())
        with monkeypatch.context() as patch:
            patch.setattr(owner_module, "read_back", _fail)
            assert "a defect" in it.until("notice", code="station")["message"]
        assert it.off
        assert it.status["station"]["connected"] is False
        it.do("connect")


def test_a_station_that_was_told_to_quit_says_goodbye() -> None:
    with at() as it:
        it.ask("quit")
        assert it.station.wait(LONGEST_WAIT_S)
        it.station.__exit__(None, None, None)
        assert it.until("host-closed")["status"]["doing"] == "station"
        assert find_hosts() == []


PROGRAM = [sys.executable, "-m", "tplm_daq", "host", "--json"]


@contextmanager
def spawned(*options: str) -> Iterator[tuple["subprocess.Popen[str]", HostEntry]]:
    """A station as a process of its own."""
    with subprocess.Popen(
        [*PROGRAM, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            assert told["pid"] == process.pid
            yield process, next(entry for entry in find_hosts() if entry.port == told["port"])
        finally:
            process.kill()


posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@posix
def test_a_scan_of_a_station_that_was_killed_is_resumed_by_another(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with spawned() as (process, entry), HostClient(entry) as client, HostClient(entry) as watcher:
        events = watcher.events()
        client.ask("scan", {"plan": PLAN, "out": str(path)})
        next(e for e in events if e["event"] == "visit-stored" and e["index"] == 2)
        client.ask("pause")
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = read_scan(path)
    rows = np.flatnonzero(before.stored)
    assert 3 <= rows.size < 14
    with at() as it:
        it.do("resume", path=str(path))
    after = read_scan(path)
    assert after.complete
    np.testing.assert_array_equal(after.histograms(rows), before.histograms(rows))


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_station_in_the_dark(
    capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    last: list[dict[str, Any]] = []

    def client() -> None:
        deadline_s = time.monotonic() + LONGEST_WAIT_S
        while not find_hosts():
            assert time.monotonic() < deadline_s
        with HostClient(pick_host("test")) as it, HostClient(pick_host("test")) as watcher:
            events = watcher.events()
            next(events)
            it.ask("connect")
            next(e for e in events if e["event"] == "job-ended")
            it.ask("align", QUICK)
            next(e for e in events if e["event"] == "light")
            os.kill(os.getpid(), number)
            last.extend(events)

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["host", "--json"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    thread.join(LONGEST_WAIT_S)
    assert last[-1]["event"] == "host-closed"
    out, err = capfd.readouterr()
    assert json.loads(out)["pid"] == os.getpid()
    words = "Ctrl-C" if number is signal.SIGINT else number.name
    assert f"by {words}; laser off: yes, shutter closed: yes" in err


@posix
@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_watchdog_darkens_what_a_station_left_lit(how: signal.Signals) -> None:
    with lamp() as light:
        options = [word for each in light.overrides for word in ("--set-profile", each)]
        options += ["--set-profile", "watchdog.grace_s=1", "--speed", "1"]
        with (
            spawned(*options) as (process, entry),
            HostClient(entry) as client,
            HostClient(entry) as watcher,
        ):
            events = watcher.events()
            for name, arguments in (("connect", {}), ("align", QUICK)):
                client.ask(name, arguments)
                ended = next(e for e in events if e["event"] == "job-ended")
                assert ended["ok"], ended["message"]
            assert light.lit
            failed_s = time.monotonic()
            process.send_signal(how)
            late_s = light.went_dark_s(LONGEST_WAIT_S) - failed_s
            print(f"{how.name}: dark after {late_s:.3f} s")
            assert late_s < 5


# -- the channel ----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=12), below, max_size=4)
    ),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["what", "value", "stage", "to", "plane", "dwell_s", "positions", "plan", "out", "order", "x"]
)


@settings(deadline=None)
@given(st.sampled_from(sorted(ARGUMENTS)), st.dictionaries(KEYS, JSON, max_size=5))
def test_arguments_are_understood_or_refused_in_a_sentence(
    name: str, arguments: dict[str, Any]
) -> None:
    try:
        found = read_arguments(name, arguments)
    except InputError as error:
        assert str(error).startswith(f"{name}: ")
        assert "\n" not in str(error)
    else:
        assert isinstance(found, ARGUMENTS[name])


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("set", {}, "what"),
        ("set", {"what": "power_nw", "value": "1"}, "value"),
        ("set", {"what": "colour", "value": 1}, "what"),
        ("move", {"stage": "detector", "to": [1]}, "to"),
        ("move", {"stage": "detector", "to": [1, float("inf")]}, "to"),
        ("align", {"dwell_s": -1}, "dwell_s"),
        ("align", {"dwell": 1}, "did you mean 'dwell_s'"),
        ("cross", {"positions": 3}, "positions"),
        ("scan", {"plan": "kind = 3", "out": "a.h5"}, "kind"),
        ("scan", {"plan": "no toml", "out": "a.h5"}, "plan"),
        ("scan", {"plan": 'kind = "line"', "out": ""}, "out"),
        ("series", {"plan": 'kind = "line"', "out": "a"}, "plan"),
        ("resume", {"path": "/not/there"}, "no such file"),
        ("quit", {"now": True}, "now"),
        ("judge", {"found": []}, "no lesson"),
    ],
)
def test_malformed_commands_change_nothing(
    name: str, arguments: dict[str, Any], words: str
) -> None:
    with at() as it:
        assert words in it.refused(name, **arguments)
        assert it.status["station"]["job"] is None
        assert it.status["refused_commands"] == 0
        assert not it.calls


def test_lines_that_are_not_in_order_are_refused() -> None:
    with at() as it:
        entry = it.station.entry
        assert entry is not None
        with raw(entry) as connection:
            long = json.dumps(
                {"token": entry.token, "command": "series",
                 "arguments": {"plan": "#" * 400_000, "out": "a"}}
            ).encode() + b"\n"  # fmt: skip
            found = replies(connection, long + command(entry, "dance") + command(entry, "status"))
        assert found[0]["error"].startswith("plan: scan: the key is missing")
        assert found[1]["error"].startswith("there are: status, subscribe, pause")
        assert found[2]["ok"]
        with raw(entry) as connection:
            found = replies(connection, command(entry, "set", arguments=[1]) + b"x" * (1 << 21))
        assert "are one JSON object" in found[0]["error"]


def test_a_station_that_waits_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with at() as it:
        assert main(["status"]) == 0
        assert capsys.readouterr().out.startswith("station 'simulated', not connected")
        assert main(["pause"]) == 2
        assert "no run goes on" in capsys.readouterr().err
        assert find_hosts()[0].doing == "station"
        with at() as other:
            other.scan(tmp_path / "a.h5")
            # beside a run, the one that waits is not meant
            assert pick_host("status").port == other.station.entry.port  # type: ignore[union-attr]
            assert main(["status"]) == 0
            assert "scan line" in capsys.readouterr().out
            other.ask("abort")
        it.do("connect")
        assert main(["status"]) == 0
        assert "connected" in capsys.readouterr().out


def test_a_follower_leaves_when_the_run_of_a_station_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with at() as it:
        it.scan(tmp_path / "a.h5")

        def go_on_when_it_follows() -> None:
            channel = it.station._channel
            assert channel is not None
            wait_until(it.station, lambda: sum(c.subscribed for c in channel._clients) == 2)
            it.ask("continue")

        thread = threading.Thread(target=go_on_when_it_follows, daemon=True)
        thread.start()
        assert main(["status", "--follow"]) == 0
        thread.join(LONGEST_WAIT_S)
        out = capsys.readouterr().out
        assert "visit 13: " in out
        assert f"last    scan completed, {tmp_path / 'a.h5'}" in out


def test_a_lesson_hides_what_it_is_about_until_it_is_judged() -> None:
    lesson = draw_lesson("something-is-wrong", 3)
    with at(profile=lesson.apply(small_profile()), lesson=lesson) as it:
        part = it.status["station"]
        assert part["lesson"]["id"] == "something-is-wrong:3"
        assert part["lesson"]["title"]
        assert part["profile_toml"] == _told_of_no_lesson()
        assert "no fault" in it.refused("judge", found=["bad luck"])
        verdict = it.ask("judge", found=[hidden.key for hidden in lesson.hidden])["result"]
        assert verdict["missed"] == verdict["false_alarms"] == []
        assert len(verdict["right"]) == len(lesson.hidden) > 0
        assert it.status["station"]["lesson"] is None
        assert "no lesson" in it.refused("judge", found=[])


def test_a_real_instrument_has_no_lessons(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "--profile", "mit", "--lesson", "something-is-wrong"]) == 2
    assert "real microscope" in capsys.readouterr().err


def _told_of_no_lesson() -> str:
    with at() as it:
        text: str = it.status["station"]["profile_toml"]
        return text


# -- threads, and the log -------------------------------------------------------------------


def test_one_thread_speaks_to_the_devices(tmp_path: Path) -> None:
    with at() as it:
        it.do("connect")
        it.do("align", **QUICK)
        it.do("cross", positions=7)
        it.do("scan", plan=PLAN, out=str(tmp_path / "a.h5"))
        job = it.begin("series", plan=to_toml(small_series((20, 10))), out=str(tmp_path / "s"))
        it.until("point-started", index=1)
        it.ask("pause")
        it.ask("stop")
        it.ended(job)
        it.do("doctor")
        it.do("disconnect")
    assert {call[2] for call in it.calls} == {"instrument"}
    assert len({call[0] for call in it.calls}) == 9


def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    record = Record(tmp_path / "logs", "station-1", largest_bytes=1000)
    for number in range(100):
        record.write({"event": "test", "number": number})
    files = sorted(record.path.parent.iterdir())
    assert [path.name for path in files] == ["station-1.1.jsonl", "station-1.jsonl"]
    assert all(path.stat().st_size < 1100 for path in files)
    last = json.loads(record.path.read_text(encoding="utf-8").splitlines()[-1])
    assert last["number"] == 99
    assert record.problem is None


def test_a_log_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file", encoding="utf-8")
    record = Record(tmp_path / "logs", "station-1")
    record.write({"event": "test"})
    assert record.problem is not None
    assert "cannot be written" in record.problem
