"""What the tests of the stages share: a served stage, opened by its real driver."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tplm_config import load_profile
from tplm_config.simulation import SimulationSettings, StageSettings
from tplm_drivers import DeviceError
from tplm_drivers.connect import open_device
from tplm_simulators import DetectorStage, OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.stage import SampleStage
from tplm_simulators.wire import Served, WireFault, serve

TIMEOUT_S = 5.0
"""For a stage that answers: long enough for any computer, however busy."""
SHORT_S = 0.4
"""For one that does not, where a test waits until it has run out."""
WIRE_FAULTS = [
    WireFault("garbled"),
    WireFault("truncated"),
    WireFault("late", delay_s=1.5 * SHORT_S),
    WireFault("silent"),
    WireFault("dropped"),
]
PATIENCE_S = 60.0
"""Simulated."""


@dataclass
class Bench:
    """A virtual microscope with one served stage, and the driver of the stage."""

    microscope: VirtualMicroscope
    served: Served
    stage: Any
    role: str

    @property
    def virtual(self) -> DetectorStage | SampleStage:
        at = self.microscope
        return at.detector_stage if self.role == "detector_stage" else at.sample_stage

    @property
    def wire(self) -> Any:
        """Bytes and faults: the server, or the back end of PyUSB."""
        return self.served.servers[0] if self.served.servers else self.served.library

    def arrive(self) -> None:
        clock = self.microscope.clock
        end_s = clock.now_s() + PATIENCE_S
        while self.stage.is_moving():
            assert clock.now_s() < end_s, "never arrives"
            clock.wait(0.02)

    def go(self, *target_um: float) -> None:
        self.stage.move_to(target_um)
        self.arrive()

    def received(self) -> bytes:
        """Everything the instrument was told since the log was cleared."""
        return b"".join(data for way, data in self.wire.log if way == "<")


@contextmanager
def bench(
    settings: Any, role: str, *overrides: str, timeout_s: float = TIMEOUT_S, **stage: float
) -> Iterator[Bench]:
    """Serve and open a stage; ``stage`` are settings of the virtual one."""
    microscope = VirtualMicroscope(
        SimulationSettings(**{role: StageSettings(**stage)}),
        OpticsSettings(),
        RunningClock(50),
    )
    settings = settings.model_copy(update={"timeout_s": timeout_s})
    served = serve(settings, microscope, role)
    try:
        device = reopened(served, microscope, role, *overrides)
        try:
            yield Bench(microscope, served, device, role)
        finally:
            device.close()
    finally:
        served.stop()


def reopened(
    served: Served, microscope: VirtualMicroscope, role: str, *overrides: str, **changes: Any
) -> Any:
    """The driver on a stage that is served already."""
    return open_device(
        role,  # type: ignore[arg-type]
        served.settings.model_copy(update=changes),
        load_profile("simulated", overrides),
        microscope.clock,
        served.library,
    )


@contextmanager
def told(role: str, *words: str) -> Iterator[None]:
    """Expect one sentence that begins with the role and has these words."""
    with pytest.raises(DeviceError) as caught:
        yield
    sentence = str(caught.value)
    assert sentence.startswith(f"{role}: ")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def survives(at: Bench, fault: WireFault, *words: str) -> None:
    """A reply goes wrong: it is told, and the stage can be used again after at most one more."""
    before = at.stage.position_um()
    at.wire.fail(fault)
    with told(at.role, *words):
        at.stage.position_um()
    try:
        assert at.stage.position_um() == before
    except DeviceError:
        assert at.stage.position_um() == before


@contextmanager
def serial_port(instrument: Any) -> Iterator[str]:
    """A pseudo-terminal with an instrument's end of a connection behind it (not on Windows)."""
    tty = pytest.importorskip("tty")
    ours, theirs = os.openpty()
    tty.setraw(theirs)

    def serve_it() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 4096):
                for reply in instrument.receive(data):
                    os.write(ours, reply)

    thread = threading.Thread(target=serve_it)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        os.close(theirs)
        thread.join()
        os.close(ours)
