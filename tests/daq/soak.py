"""Hours of series on one virtual microscope, with faults put in at seeded times, and the truth."""

import errno
import json
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.daq.rig import small_plan, small_profile
from tplm_config import InstrumentProfile, SeriesPlan, VisitKind
from tplm_config.simulation import SimulationSettings
from tplm_daq import visiting
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    PointEnded,
    RunEnded,
    RunStarted,
    RunState,
    StateChanged,
    VisitStored,
)
from tplm_daq.series import Series, forecast
from tplm_daq.store import files, frozen, read_scan
from tplm_drivers import DeviceError, Instrument
from tplm_drivers.instrument import unsafe
from tplm_drivers.roles import ROLE_NAMES
from tplm_drivers.simulated import SimulatedBench
from tplm_simulators import VirtualMicroscope

D_CM2_PER_S = 0.1
FRACTION = 0.05
"""Of the laser's full power, so that it can jump by a factor 20."""
LIMIT_HZ = 3e4
REOPEN_S = 20.0
"""Device time that opening takes; a real instrument waits `on_failure.wait_s` besides."""
COUNTING = "card.start"
"""A call without which nothing was measured."""


def soak_profile() -> InstrumentProfile:
    return small_profile(
        f"limits.detector_count_rate_hz={LIMIT_HZ}",
        "simulation.laser.full_scale_nw=2000",
        f"simulation.sample.d_cm2_per_s={D_CM2_PER_S}",
        "simulation.detection.base_resolution_ps=250",
        "detector_stage.timeout_s=15",
        "sample_stage.timeout_s=15",
    )


OPTICS = soak_profile().optics
DETECTION = soak_profile().simulation.detection


# -- the plans -----------------------------------------------------------------------------------

WAITING = {"good_for_s": 5.0, "give_up_s": 300.0}
T3 = {"mode": "t3", "time_bin_ps": 500, "range_ns": 48}
HISTOGRAM = {"time_bin_ps": 500, "range_ns": 48}
POWERS = {"power_nw": [6, 3]}
SCANS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "watched": (
        {
            "card": HISTOGRAM,
            "reference": {"every_visits": 7, "dwell_s": 2},
            "background": {"dwell_s": 5},
            "temperature": {"set_point_k": 295, "time_s": 20, "slope_k_per_min": 0.2},
            "conditions": {
                "temperature": WAITING, "sync": WAITING, "power": WAITING, "disk": WAITING,
            },
        },
        [{"temperature_k": [295, 290]}, POWERS],
    ),
    "centred": (
        {
            "card": T3,
            "reference": {"every_visits": 7, "dwell_s": 4},
            "centring": {
                "every_visits": 7, "half_range_um": 1.0, "positions": 9, "dwell_s": 0.5,
                "focus": {},
            },
            "conditions": {"sync": WAITING, "power": WAITING},
        },
        [{"sample_xy_um": [[0, 0], [10, -5]]}, POWERS],
    ),
    "flown": (
        {"card": T3, "fly": {}, "dwell_s": 1.0, "passes": 18, "background": {"dwell_s": 5}},
        [POWERS],
    ),
    "plain": (
        {"card": HISTOGRAM, "background": {"dwell_s": 5}, "order": "random"},
        [POWERS, {"transmission": [0.05, 0.04]}],
    ),
}  # fmt: skip


def plan_of(name: str, hours: float, dwell_s: float) -> SeriesPlan:
    """A series of so many hours, without faults."""
    scan, axes = SCANS[name]
    common = {
        "half_range_um": 0.9,
        "dwell_s": dwell_s,
        "passes": 3,
        "excitation": {"power_nw": 6, "repetition_rate_hz": 20e6},
        "detection": {"transmission": 0.05},
    }
    values: dict[str, Any] = {
        "kind": "series",
        "scan": small_plan(**common | scan).model_dump(),
        "axes": axes,
        "on_failure": {"retries": 1000, "wait_s": 0},
    }
    once = SeriesPlan.model_validate(values)
    one_s = forecast(once, soak_profile(), 10_000, 0.01)[-1].ends_s
    return once.model_copy(update={"repeats": max(1, round(hours * 3600 / one_s))})


# -- the faults ----------------------------------------------------------------------------------

Undo = Callable[[], object]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    put_in : callable
        Breaks something; gives how it is undone.
    lasts_s : tuple of float
        Shortest and longest.
    words : str
        Pattern of what the log says of its consequence.
    calls : tuple of str
        Without any of these calls while it lasted nothing could notice it.
    latches : bool
        A dwell under way when it was put in tells of it in any case.
    """

    put_in: Callable[["Soak"], Undo]
    lasts_s: tuple[float, float]
    words: str
    calls: tuple[str, ...]
    latches: bool = False


def unplugged(role: str, name: str) -> Kind:
    def put_in(soak: "Soak") -> Undo:
        device = getattr(soak.microscope, name)
        device.unplug()
        return device.plug_in

    return Kind(put_in, (10, 150), f"{role}.{{0,30}}does not answer", (f"{role}.",))


def stalled(role: str) -> Kind:
    def put_in(soak: "Soak") -> Undo:
        stage = getattr(soak.microscope, role)
        stage.stall()
        return stage.release

    words = f"{role}.{{0,30}}(is still moving|stopped at|did not|has not|does not)"
    return Kind(put_in, (20, 120), words, (f"{role}.move_to",))


def laser_refuses(soak: "Soak") -> Undo:
    soak.microscope.laser.refuse_to_stop()
    return soak.microscope.laser.obey


def interlock(soak: "Soak") -> Undo:
    soak.microscope.laser.open_interlock()
    return soak.microscope.laser.close_interlock


def shutter_jams(soak: "Soak") -> Undo:
    soak.microscope.shutter.jam()
    return soak.microscope.shutter.free


def heater_fails(soak: "Soak") -> Undo:
    soak.microscope.thermostat.fail_heater()
    return soak.microscope.thermostat.repair_heater


def excursion(soak: "Soak") -> Undo:
    thermostat = soak.microscope.thermostat
    before_k = thermostat.set_point_k
    thermostat.set_set_point_k(before_k + 8)

    def undo() -> None:
        if thermostat.set_point_k == before_k + 8:  # not if a run has set it meanwhile
            thermostat.set_set_point_k(before_k)

    return undo


def sync_lost(soak: "Soak") -> Undo:
    soak.microscope.card.lose_sync()
    return soak.microscope.card.find_sync


def overrun(soak: "Soak") -> Undo:
    soak.microscope.card.overrun()
    return lambda: None


def light_jumps(soak: "Soak") -> Undo:
    laser = soak.microscope.laser
    laser.set_power_fraction(20 * FRACTION)
    return lambda: laser.set_power_fraction(FRACTION)


def power_drops(soak: "Soak") -> Undo:
    """By 2 % every 4 s, until somebody comes."""
    laser, here = soak.microscope.laser, True

    def drop() -> None:
        if here:
            laser.set_power_fraction(0.98 * laser.power_fraction)
            soak.after(4.0, drop)

    def undo() -> None:
        nonlocal here
        here = False
        laser.set_power_fraction(FRACTION)

    drop()
    return undo


def room_light(soak: "Soak") -> Undo:
    """Somebody switches the ceiling light on."""
    scene = soak.microscope._scene
    dark = scene._settings

    def shine(settings: SimulationSettings) -> None:
        soak.microscope._bench.settle()
        scene._settings = settings

    lit = dark.detection.model_copy(update={"ambient_rate_hz": 4e6})
    shine(dark.model_copy(update={"detection": lit}))
    return lambda: shine(dark)


def nearly_full(soak: "Soak") -> Undo:
    soak.free_bytes = 5e8
    return soak.make_room


def full(soak: "Soak") -> Undo:
    soak.free_bytes = 0.0
    return soak.make_room


KINDS = {
    "detector stage stalls": stalled("detector_stage"),
    "sample stage stalls": stalled("sample_stage"),
    "detector stage unplugged": unplugged("detector_stage", "detector_stage"),
    "sample stage unplugged": unplugged("sample_stage", "sample_stage"),
    "shutter unplugged": unplugged("shutter", "shutter"),
    "laser unplugged": unplugged("laser", "laser"),
    "power meter unplugged": unplugged("power_meter", "power_meter"),
    "card unplugged": unplugged("card", "card"),
    "thermostat unplugged": unplugged("temperature", "thermostat"),
    "wheel unplugged": unplugged("attenuator", "attenuator"),
    "detection wheel unplugged": unplugged("detection_attenuator", "detection_attenuator"),
    "laser refuses to stop": Kind(
        laser_refuses, (150, 300), "laser off: NO", ("laser.set_emission(False)",)
    ),
    "interlock opened": Kind(
        interlock, (10, 120), "emission went off|interlock", ("laser.",), latches=True
    ),
    "shutter jams": Kind(
        shutter_jams, (30, 150), "shutter.{0,30}(was told to|was found)", ("shutter.set_open",)
    ),
    "heater fails": Kind(
        heater_fails, (20, 60), "the temperature (is|was)|on the way to|did not settle",
        ("temperature.temperature_k",), latches=True,
    ),
    "temperature excursion": Kind(
        excursion, (60, 120), "the temperature (is|was)|on the way to|did not settle",
        ("temperature.temperature_k",), latches=True,
    ),
    "sync lost": Kind(sync_lost, (5, 120), "sync (signal|pulses)|sync-lost",
                      (COUNTING, "card.sync_rate_hz"), latches=True),
    "FIFO overrun": Kind(overrun, (1, 1), "FIFO ran over", (), latches=True),
    "light jumps": Kind(
        light_jumps, (22, 30), "power meter reads|profile's limit|no emission peak", (COUNTING,),
        latches=True,
    ),
    "power drops": Kind(
        power_drops, (180, 280), "power meter reads", (COUNTING,), latches=True
    ),
    "room light": Kind(
        room_light, (3, 8), "profile's limit|counts/s", ("card.count_rate_hz",)
    ),
    "disk nearly full": Kind(
        nearly_full, (20, 200), "MB left", ("disk.free",)
    ),
    "disk full": Kind(full, (20, 60), "no room|No space", ("disk.write",)),
}  # fmt: skip


@dataclass
class Fault:
    """One fault of the list, and what became of it."""

    number: int
    name: str
    at_s: float
    lasts_s: float
    heard: Counter[str] = field(default_factory=Counter)
    was_counting: bool = False
    streamed: bool = False
    told_before: bool = False
    runs_began: int = 0
    undo: Undo | None = None

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def why_none(self) -> str | None:
        """Why it may have had no consequence; None if there should have been one."""
        if self.name == "FIFO overrun":
            return None if self.streamed and self.was_counting else "no stream was being read"
        if self.kind.latches and self.was_counting and not self.runs_began:
            return "this run had told of the temperature before" if self.told_before else None
        if self.name == "power drops" and self.runs_began:
            return "a run began meanwhile and set the power anew"
        asked = [call for call in self.heard if call.startswith(self.kind.calls)]
        if not asked:
            return f"no call of {' or '.join(self.kind.calls)} while it lasted"
        if self.name == "laser refuses to stop":
            asked = [call for call in asked if "dark already" not in call]
            if not asked:
                return "it was only told while dark"
        if self.name == "shutter jams" and asked == ["shutter.set_open(False)"]:
            return "it jammed closed, and was only told to close"
        return None


ONLY_IN = {
    "FIFO overrun": ("centred", "flown"),
    "sample stage stalls": ("centred",),
    "sample stage unplugged": ("centred",),
    "disk nearly full": ("watched",),
}
"""Faults of what the other scans do not use."""


class Deck:
    """Every kind as often as the others, in an order that a seed gives.

    A kind that the running series would not notice waits, and comes first in one that does.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._waiting: list[str] = []

    def draw(self, scan: str) -> tuple[str, float]:
        """A kind, and how long it lasts."""
        while True:
            for name in self._waiting:
                if scan in ONLY_IN.get(name, SCANS):
                    self._waiting.remove(name)
                    return name, self.rng.uniform(*KINDS[name].lasts_s)
            self._waiting += self.rng.sample(list(KINDS), len(KINDS))

    def gap_s(self, mean_s: float) -> float:
        return self.rng.uniform(0.4, 1.6) * mean_s


# -- the soak ------------------------------------------------------------------------------------


class Heard:
    """A device whose calls are counted."""

    def __init__(self, device: Any, role: str, soak: "Soak") -> None:
        self._device, self._role, self._soak = device, role, soak

    def __getattr__(self, name: str) -> Any:
        call, soak = getattr(self._device, name), self._soak
        if name in ("identify", "close"):
            return call  # the virtual devices need not be asked for these
        key = f"{self._role}.{name}"

        def told(*args: Any, **options: Any) -> Any:
            full = f"{key}({args[0]})" if args and isinstance(args[0], bool) else key
            if full == "laser.set_emission(False)" and not soak.microscope.laser._emission:
                full = "laser.set_emission(False), dark already"
            soak.heard[full] += 1
            return call(*args, **options)

        setattr(self, name, told)
        return told


@dataclass(frozen=True)
class Footprint:
    """What the process holds."""

    at_s: float
    rss_mb: float
    threads: int
    files: int


def footprint(at_s: float) -> Footprint:
    process = psutil.Process()
    files = process.num_fds() if os.name == "posix" else process.num_handles()
    return Footprint(at_s, process.memory_info().rss / 1e6, process.num_threads(), files)


class Soak:
    """One microscope and one clock for any number of series, and somebody who looks after it.

    Parameters
    ----------
    seed : int
        Of the faults.
    every_s : float
        Mean time from the end of a fault to the next one.
    until_s : float
        No fault is put in after this device time.
    monkeypatch : pytest.MonkeyPatch
        Puts a disk before the store that can be full.
    """

    def __init__(
        self, seed: int, every_s: float, until_s: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._deck, self._every_s, self._until_s = Deck(seed), every_s, until_s
        self.profile = soak_profile()
        self.bench = SimulatedBench(self.profile)
        self.microscope: VirtualMicroscope = self.bench.microscope
        self.microscope.laser.set_power_fraction(FRACTION)
        self.heard: Counter[str] = Counter()
        self.put_in: list[Fault] = []
        self.free_bytes = 5e10
        self.footprints: list[Footprint] = []
        self.unsafe: list[str] = []
        self.endings: Counter[str] = Counter()
        self.series: Series | None = None
        self.disk_full_endings = 0
        self.openings = 0
        self._told_temperature = False
        self._rng = random.Random(17)
        self.scan = ""
        self._next_fault()

        def free_bytes(_path: Path) -> float:
            self.heard["disk.free"] += 1
            return self.free_bytes

        real = files.write_at

        def write_at(fd: int, offset: int, data: bytes) -> None:
            self.heard["disk.write"] += 1
            if self.free_bytes == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(fd, offset, data)

        monkeypatch.setattr(visiting, "free_bytes", free_bytes)
        monkeypatch.setattr(frozen, "write_at", write_at)

    @property
    def now_s(self) -> float:
        return self.microscope.clock.now_s()

    @property
    def dark(self) -> bool:
        """Whether, in truth, no light reaches the sample."""
        at = self.microscope
        return at.laser.output_nw() == 0 or not at.shutter.passes_at(self.now_s)

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self.microscope.schedule(self.now_s + seconds, action)

    def make_room(self) -> None:
        self.free_bytes = 5e10

    # -- faults

    def _next_fault(self) -> None:
        gap_s = self._deck.gap_s(self._every_s)
        if self.now_s + gap_s < self._until_s:
            self.after(gap_s, self._break)

    def _break(self) -> None:
        assert self.series is not None
        name, lasts_s = self._deck.draw(self.scan)
        fault = Fault(len(self.put_in), name, self.now_s, lasts_s)
        card = self.microscope.card
        fault.was_counting = card._runs_at(self.now_s)
        fault.streamed = card._stream is not None
        fault.told_before = self._told_temperature
        fault.heard = self.heard = Counter()
        self.put_in.append(fault)
        self.series.emit(Notice("info", "soak", f"{fault.number} {fault.name}"))
        fault.undo = fault.kind.put_in(self)
        self.after(fault.lasts_s, lambda: self._mend(fault))

    def _mend(self, fault: Fault) -> None:
        assert fault.undo is not None
        fault.undo()
        fault.undo = None
        self.heard = Counter()
        self._next_fault()

    # -- series

    def open(self, profile: InstrumentProfile) -> Instrument:
        """What `connect` does, on the bench that is there: every device must answer."""
        self.bench.clock.wait(REOPEN_S)
        self.openings += 1
        devices: Any = {role: Heard(self.bench.open(role), role, self) for role in ROLE_NAMES}
        instrument = Instrument(
            profile=profile, clock=self.bench.clock, bench=self.bench, **devices
        )
        try:
            devices["laser"].emission()
            devices["shutter"].is_open()
            devices["attenuator"].transmission()
            devices["detection_attenuator"].transmission()
            devices["power_meter"].power_nw()
            devices["card"].sync_rate_hz()
            devices["detector_stage"].position_um()
            devices["sample_stage"].position_um()
            devices["temperature"].temperature_k()
        except DeviceError as error:
            state = instrument.close()
            if not state.verified:
                raise unsafe(state, error) from error
            raise
        return instrument

    def run(self, scan: str, plan: SeriesPlan, folder: Path) -> Series:
        """A series to its end; when the disk was full somebody makes room and resumes it."""
        self.scan = scan
        self.series = Series(plan, self.profile, folder, opener=self.open)
        while True:
            self.series.subscribe(self._see)
            outcome = self.series.run()
            self.endings[f"series {outcome.ending}"] += 1
            disk = isinstance(outcome.error, OSError) or "no room" in outcome.message
            if outcome.ending is not Ending.FAILED or not (disk or "No space" in outcome.message):
                return self.series
            self.disk_full_endings += 1
            while self.free_bytes == 0:
                self.bench.clock.wait(1.0)
            self.series = Series.reopen(folder, opener=self.open)

    def _see(self, event: Event) -> None:
        """Look at the truth behind an event, and do what a person would do."""
        if isinstance(event, RunStarted):
            self._told_temperature = False
            if self.put_in:
                self.put_in[-1].runs_began += 1
        elif isinstance(event, RunEnded):
            self.endings[f"run {event.ending}"] += 1
            self._must_be_dark(event, event.safe_state.verified)
        elif isinstance(event, Notice) and event.code == "fault":
            self._must_be_dark(event, "THE LASER MAY STILL BE ON" not in event.message)
        elif isinstance(event, Notice) and event.code == "temperature":
            self._told_temperature = True
        elif isinstance(event, StateChanged) and event.state is RunState.PAUSED:
            self._must_be_dark(event, True)
            if "profile's limit" in event.why and self.series is not None:
                self.after(self._rng.uniform(1, 4), self.series.resume)
        elif isinstance(event, VisitStored):
            self.endings["visits stored"] += 1
        elif isinstance(event, PointEnded):
            self.footprints.append(footprint(self.now_s))

    def _must_be_dark(self, event: Event, verified: bool) -> None:
        if not (verified and self.dark):
            self.unsafe.append(f"{self.now_s:.1f} s: {event}")


# -- what came of it -----------------------------------------------------------------------------


def lines_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def consequences(lines: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """The lines of the log from each fault to the next."""
    found: dict[int, list[dict[str, Any]]] = {}
    current: list[dict[str, Any]] = []
    for line in lines:
        if line.get("code") == "soak":
            current = found[int(line["message"].split()[0])] = []
        else:
            current.append(line)
    return found


def consequence_of(fault: Fault, lines: list[dict[str, Any]]) -> str | None:
    """What the log says of a fault: how it was met, in a word; None if it says nothing."""
    met = None
    if fault.name == "disk full" and any(line["event"] == "series-ended" for line in lines):
        return "series ended, resumed"
    for line in lines:
        if not re.search(fault.kind.words, str(line.get("why", "")) + str(line.get("message", ""))):
            continue
        if line.get("code") == "fault" or line["event"] == "run-ended":
            return "failed, tried again"
        if line["event"] == "state-changed":
            return "paused"
        met = met or "told"
    return met


def blinked(lines: list[dict[str, Any]]) -> set[tuple[int, int]]:
    """Point and visit in which room light came on: too short before its end to be looked at."""
    found, point, visit = set(), -1, -1
    for line in lines:
        if line["event"] == "point-started":
            point = line["index"]
        elif line["event"] == "visit-started":
            visit = line["visit"]["index"]
        elif line["event"] == "visit-stored":
            visit = -1
        elif line.get("code") == "soak" and "room light" in line["message"]:
            found.add((point, visit))
    return found


def odd_visits(path: Path, *, centred: bool) -> dict[int, str]:
    """Visits whose counts are not those of their place at the power recorded with them."""
    scan = read_scan(path)
    columns, plan = scan.columns, scan.plan
    counts = scan.histograms(np.arange(plan.visit_count)).sum(axis=1, dtype=np.int64)
    dark_hz = OPTICS.dark_counts_hz + DETECTION.ambient_rate_hz * (plan.detection.transmission or 1)
    places: dict[tuple[VisitKind, int], list[int]] = defaultdict(list)
    for visit in plan.visits():
        # a centre known to some nanometres matters on the slopes
        if not (centred and abs(visit.x_um) > 0.1):
            places[visit.kind, visit.position_index].append(visit.index)
    live_s, power_nw = columns["live_s"], columns["power_nw"]
    # power is read at the end of a visit; it may have changed on the way
    before_nw = np.where(np.arange(plan.visit_count) == 0, power_nw, np.roll(power_nw, 1))
    found: dict[int, str] = {}
    for (kind, _), rows in places.items():
        dark = live_s[rows] * dark_hz
        low, high, slack = dark, dark, 0.0
        if kind is not VisitKind.BACKGROUND:
            per_nw_s = np.median((counts[rows] - dark) / (live_s * power_nw)[rows])
            ends = per_nw_s * live_s[rows] * np.array([before_nw[rows], power_nw[rows]])
            low, high = dark + ends.min(axis=0), dark + ends.max(axis=0)
            slack = 0.3 if centred else 0.12
        found |= {
            row: f"{path.parent.name}/{path.name}, {kind} visit {row}: {counts[row]} counts, "
            f"{least:.0f} to {most:.0f} expected"
            for row, least, most in zip(rows, low, high, strict=True)
            if not least - _allowed(least, slack) <= counts[row] <= most + _allowed(most, slack)
        }
    return found


def _allowed(expected: float, slack: float) -> float:
    return slack * expected + 6 * float(np.sqrt(expected))
