"""Small scans, and a microscope whose faults a test can reach."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tplm_config import InstrumentProfile, ScanPlan, load_profile
from tplm_config.toml import ANY_SCAN_PLAN
from tplm_daq.events import Event
from tplm_daq.runner import Runner, RunOutcome
from tplm_daq.session import begin, measure, stopping_on_signals
from tplm_daq.store import Scan, ScanWriter, read_scan
from tplm_drivers import Instrument, connect
from tplm_simulators import VirtualMicroscope


def small_plan(**changes: Any) -> ScanPlan:
    """Seven positions, two passes, 128 bins: 14 visits."""
    values: dict[str, Any] = {
        "kind": "line",
        "positions": 7,
        "half_range_um": 1.5,
        "dwell_s": 1.0,
        "passes": 2,
        "card": {"time_bin_ps": 200, "range_ns": 25.6},
        "excitation": {"power_nw": 1.0, "repetition_rate_hz": 2.5e6},
    }
    return ANY_SCAN_PLAN.validate_python(values | changes)


def small_profile(*overrides: str) -> InstrumentProfile:
    return load_profile("simulated", overrides)


def virtual(instrument: Instrument) -> VirtualMicroscope:
    """The virtual microscope behind an instrument."""
    microscope = instrument.laser.microscope  # type: ignore[attr-defined]
    assert isinstance(microscope, VirtualMicroscope)
    return microscope


@dataclass
class Rig:
    """An open instrument, a runner, and what they told."""

    instrument: Instrument
    runner: Runner = field(default_factory=Runner)
    events: list[Event] = field(default_factory=list)

    @property
    def microscope(self) -> VirtualMicroscope:
        return virtual(self.instrument)

    @property
    def dark(self) -> bool:
        """Whether, in truth, no light reaches the sample."""
        now_s = self.microscope.clock.now_s()
        return self.microscope.laser.output_nw() == 0 or not self.microscope.shutter.passes_at(
            now_s
        )

    def scan(self, plan: ScanPlan, out: Path) -> tuple[RunOutcome, Scan]:
        with begin(self.instrument, plan, out) as writer:
            return self._measure(writer)

    def resume(self, path: Path) -> tuple[RunOutcome, Scan]:
        with ScanWriter.resume(path) as writer:
            return self._measure(writer)

    def _measure(self, writer: ScanWriter) -> tuple[RunOutcome, Scan]:
        with stopping_on_signals(self.runner):
            outcome = measure(self.runner, self.instrument, writer, [self.events.append])
        return outcome, read_scan(writer.path)

    def of(self, kind: type) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def rig(*overrides: str) -> Iterator[Rig]:
    with connect(small_profile(*overrides)) as instrument:
        yield Rig(instrument)
