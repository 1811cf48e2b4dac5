"""The whole program, in this process, on simulators of real instruments that a test can reach."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tplm_daq.cli import main
from tplm_daq.events import Event, Observer, RunState, StateChanged, VisitMeasured, VisitStarted
from tplm_daq.runner import Runner, RunOutcome
from tplm_daq.session import measure
from tplm_daq.store import ScanWriter
from tplm_drivers import Instrument
from tplm_drivers.simulated import SimulatedBench
from tplm_simulators import VirtualMicroscope
from tplm_simulators.wire import Served

Act = Callable[["Program"], object]


@dataclass
class Program:
    """Runs commands of the program; knows the bench behind the last run and what it measured."""

    capsys: pytest.CaptureFixture[str]
    code: int = -1
    answer: dict[str, Any] = field(default_factory=dict)
    err: str = ""
    instrument: Instrument | None = None
    records: list[VisitMeasured] = field(default_factory=list)
    fault: "Fault | None" = None

    def __call__(self, *arguments: object) -> dict[str, Any]:
        """Run a command; gives its one JSON object."""
        self.records.clear()
        self.code = main([*map(str, arguments), "--json"])
        out, self.err = self.capsys.readouterr()
        assert out.count("\n") == 1
        self.answer = json.loads(out)
        return self.answer

    @property
    def bench(self) -> SimulatedBench:
        assert self.instrument is not None
        assert isinstance(self.instrument.bench, SimulatedBench)
        return self.instrument.bench

    @property
    def microscope(self) -> VirtualMicroscope:
        return self.bench.microscope

    @property
    def dark(self) -> bool:
        """Whether, in truth, no light reaches the sample."""
        at = self.microscope
        return at.laser.output_nw() == 0 or not at.shutter.passes_at(at.clock.now_s())

    def served(self, role: str) -> Served:
        return self.bench.served[role]  # type: ignore[index]

    def measure(
        self,
        runner: Runner,
        instrument: Instrument,
        writer: ScanWriter,
        observers: Iterable[Observer] = (),
    ) -> RunOutcome:
        """Takes the place of `tplm_daq.session.measure`: the same, watched."""
        self.instrument = instrument
        watching: list[Observer] = [*observers, self.watch]
        if self.fault is not None:
            watching.append(self.fault.bound_to(self))
        return measure(runner, instrument, writer, watching)

    def watch(self, event: Event) -> None:
        if isinstance(event, VisitMeasured):
            self.records.append(event)

    def counts(self) -> list[np.ndarray[Any, Any]]:
        return [record.record.counts for record in self.records]


def _no_sleep(seconds: float) -> None:
    """Simulators are quick."""


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program(capsys)
    # PySerial sleeps for 0.3 s after it has closed a socket, for the sake of slow servers
    monkeypatch.setattr("serial.urlhandler.protocol_socket.time", SimpleNamespace(sleep=_no_sleep))
    monkeypatch.setattr("tplm_daq.cli.acquire.measure", made.measure)
    return made


@dataclass
class Fault:
    """Something that goes wrong in mid-scan.

    Parameters
    ----------
    act
        What goes wrong.
    when
        ``preparing``: before the first visit; of the visit `visit`, ``visit``: at its beginning,
        ``moving``: as soon as the stage has taken its command, ``counting``: in its dwell.
    visit
        Which visit.
    """

    act: Act
    when: str = "visit"
    visit: int = 3
    happened: list[str] = field(default_factory=list)

    def bound_to(self, program: Program) -> Observer:
        at: list[int] = []

        def happen() -> None:
            if not self.happened:
                self.happened.append(self.when)
                self.act(program)

        def told(event: Event) -> None:
            if self.when == "preparing" and event == StateChanged(RunState.PREPARING):
                happen()
            if isinstance(event, VisitStarted):
                at.append(event.visit.index)
            if not at or at[-1] != self.visit:
                return
            if self.when == "visit":
                happen()
            elif self.when == "moving":
                _after_next_move(program, happen)
            elif event == StateChanged(RunState.COUNTING):
                clock = program.microscope.clock
                program.microscope.schedule(clock.now_s() + 0.2, happen)

        return told


def _after_next_move(program: Program, act: Callable[[], None]) -> None:
    assert program.instrument is not None
    stage = program.instrument.detector_stage
    move_to = type(stage).move_to

    def moving(target_um: tuple[float, ...]) -> None:
        move_to(stage, target_um)
        act()

    stage.move_to = moving  # type: ignore[method-assign]


def vendor(device: Any, path: str) -> str:
    """Class of an object inside a driver, or of the driver itself, with its module."""
    for name in filter(None, path.split(".")):
        device = device[int(name)] if name.isdigit() else getattr(device, name)
    return f"{type(device).__module__}.{type(device).__qualname__}"


def scan_arguments(profile: str, out: Path, *more: str) -> list[str]:
    """A scan on the profile of a paper, with changes ``key=value`` or ``profile:key=value``."""
    arguments = ["scan", "line", "--profile", profile, "--simulated", "--out", str(out)]
    for change in more:
        is_profile = change.startswith("profile:")
        arguments += ["--set-profile" if is_profile else "--set", change.removeprefix("profile:")]
    return arguments
