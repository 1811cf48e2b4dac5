"""Time between the end of one dwell and the start of the next, without the stage's own.

Run as ``python benchmarks/dead_time.py``. A scan of 410 visits to places so close together that
the stage need not move, in real time, stored on this disk; the time is what lies between the
visits' counting times in the scan file. Rivals in the same run: the same card started and read
in a bare loop that stores and checks nothing.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import InstrumentProfile, load_plan, load_profile
from tplm_daq.events import Event, VisitMeasured
from tplm_daq.runner import Runner
from tplm_daq.session import begin, measure
from tplm_daq.store import read_scan
from tplm_drivers import DetectorStage, Instrument, connect
from tplm_drivers.roles import ROLE_NAMES
from tplm_drivers.simulated import SimulatedBench

DWELL_S = 0.02
PLAN = [
    "half_range_um=0.0005", "positions=41", "passes=10", f"dwell_s={DWELL_S}",
    "background=none", "irf=none", "reference=none",
]  # fmt: skip


def in_real_time(profile: InstrumentProfile) -> Instrument:
    """The virtual microscope of a profile, its time the wall's."""
    bench = SimulatedBench(profile, running=True)
    roles = [role for role in ROLE_NAMES if getattr(profile, role) is not None]
    devices: dict[str, Any] = {role: bench.open(role) for role in roles}
    return Instrument(profile=profile, clock=bench.clock, bench=bench, **devices)


class TimedStage:
    """A stage that adds up how long its calls take: that time is the stage's own."""

    def __init__(self, stage: DetectorStage) -> None:
        self._stage = stage
        self.spent_s = 0.0

    def __getattr__(self, name: str) -> Any:
        """Any method of the stage, timed."""
        method = getattr(self._stage, name)

        def timed(*arguments: Any) -> Any:
            start_s = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                self.spent_s += time.perf_counter() - start_s

        return timed


def gaps_ms(instrument: Instrument, mode: str, folder: Path) -> NDArray[np.float64]:
    """Dead times of one scan."""
    plan = load_plan("line", [*PLAN, f'card.mode="{mode}"'])
    path = folder / f"{instrument.profile.name}-{mode}.h5"
    stage: Any = TimedStage(instrument.detector_stage)
    instrument = replace(instrument, detector_stage=stage)
    spent_s: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, VisitMeasured):
            spent_s.append(stage.spent_s)

    with begin(instrument, plan, path) as writer:
        outcome = measure(Runner(), instrument, writer, [watch])
    columns = read_scan(path).columns
    if outcome.visits_done != plan.visit_count:
        raise SystemExit(f"the scan ended early: {outcome.message}")
    started_s, live_s = columns["started_s"], columns["live_s"]
    return np.asarray(1e3 * (np.diff(started_s) - live_s[:-1] - np.diff(spent_s)))


def bare_ms(instrument: Instrument) -> NDArray[np.float64]:
    """Dead times of a loop that starts and reads the card, and nothing else."""
    gaps = []
    ended_s = 0.0
    for _ in range(410):
        instrument.card.start(DWELL_S)
        if ended_s:
            gaps.append(instrument.clock.now_s() - ended_s)
        end_s = instrument.clock.now_s() + DWELL_S
        time.sleep(DWELL_S)
        while instrument.card.is_counting():
            time.sleep(1e-4)
        ended_s = end_s
        instrument.card.read()
    return np.array(gaps) * 1e3


def row(name: str, gaps: NDArray[np.float64], rival: float) -> str:
    """One line of the table."""
    low, middle, high = np.percentile(gaps, [5, 50, 95])
    return f"{name:34s} {low:7.2f} {middle:7.2f} {high:7.2f}   {middle / rival:5.2f}"


def main() -> None:
    """Print the table."""
    profiles = {name: load_profile(name, ["simulation.speed=1"]) for name in ("simulated", "mit")}
    with tempfile.TemporaryDirectory() as folder:
        print("dead time in ms:                      5 %  median    95 %   median / bare loop")
        with in_real_time(profiles["simulated"]) as instrument:
            rival = bare_ms(instrument)
            print(row("bare loop, devices in process", rival, float(np.median(rival))))
            for mode in ("histogram", "t3"):
                gaps = gaps_ms(instrument, mode, Path(folder))
                print(row(f"scan, {mode}, devices in process", gaps, float(np.median(rival))))
        if "--wired" in sys.argv:
            with connect(profiles["mit"], simulated=True) as instrument:
                rival = bare_ms(instrument)
                print(row("bare loop, mit behind wires", rival, float(np.median(rival))))
                for mode in ("histogram", "t3"):
                    gaps = gaps_ms(instrument, mode, Path(folder))
                    print(row(f"scan, {mode}, mit behind wires", gaps, float(np.median(rival))))


if __name__ == "__main__":
    main()
