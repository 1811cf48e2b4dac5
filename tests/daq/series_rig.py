"""Short series on a microscope whose faults a test can reach."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.daq.rig import small_plan, small_profile, virtual
from tplm_config import InstrumentProfile, SeriesPlan
from tplm_daq.events import Event
from tplm_daq.series import Series, SeriesOutcome
from tplm_drivers import Instrument, connect
from tplm_simulators import VirtualMicroscope

Break = Callable[[VirtualMicroscope], object]


def small_series(powers_nw: tuple[float, ...] = (20, 10, 20), **changes: Any) -> SeriesPlan:
    """A few points of 14 visits each, without any waiting after a fault."""
    values: dict[str, Any] = {
        "kind": "series",
        "scan": small_plan().model_dump(),
        "axes": [{"power_nw": powers_nw}],
        "on_failure": {"retries": 1, "wait_s": 0},
    }
    return SeriesPlan.model_validate(values | changes)


class Bench:
    """Opens the virtual microscope anew each time, and breaks it as told."""

    def __init__(self, *breaks: Break | None) -> None:
        self.breaks = list(breaks)
        """What becomes of the microscope of the first opening, of the second, …"""
        self.opened: list[VirtualMicroscope] = []

    def __call__(self, profile: InstrumentProfile) -> Instrument:
        instrument = connect(profile)
        microscope = virtual(instrument)
        self.opened.append(microscope)
        if self.breaks and (break_it := self.breaks.pop(0)) is not None:
            break_it(microscope)
        return instrument

    @property
    def seeds(self) -> set[int]:
        return {microscope.settings.seed for microscope in self.opened}


def run(
    folder: Path,
    plan: SeriesPlan | None = None,
    bench: Bench | None = None,
    observe: Callable[[Series, Event], None] | None = None,
) -> tuple[SeriesOutcome, list[Event]]:
    """Begin a series, or go on with it if there is one in the folder."""
    opener = bench or Bench()
    if (folder / "series.json").exists():
        series = Series.reopen(folder, plan=plan, opener=opener)
    else:
        series = Series(plan or small_series(), small_profile(), folder, opener=opener)
    events: list[Event] = []
    series.subscribe(events.append)
    if observe is not None:
        series.subscribe(lambda event: observe(series, event))
    return series.run(), events
