"""The live fit beside a running scan: how long an update takes, and whether the scan feels it.

A simulated scan is measured in the main thread, at 20 times the speed of a real one, while
`LiveFit` follows it in its own (`--speed 0`: as fast as the program runs, which asks far more of
the processor than any instrument does):
4096 bins, 41 positions, missing ones during the first pass. An update is timed from taking the
newest counts to the new D and 4096 slices, by the clock on the wall: other programs on the same
machine make it longer, so its processor time is given as well. Twice: without and with the live
fit.

    python benchmarks/live_fit.py [--passes 10] [--every-s 0.05] [--speed 20]
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import tplm_analysis as ta
from tplm_config import load_plan, load_profile
from tplm_daq import live
from tplm_daq.events import Event, VisitMeasured
from tplm_daq.live import LiveFit
from tplm_daq.runner import Runner
from tplm_daq.session import begin, measure
from tplm_daq.store import read_scan
from tplm_drivers import connect

PLAN = (
    "card.time_bin_ps=5", "card.range_ns=20.48", "background=none", "irf=none", "reference=none",
)  # fmt: skip

PROFILE = ["simulation.detection.base_resolution_ps=5"]


class Timed(ta.LiveMap):
    """A live map that notes when each update ended and how long it kept the processor."""

    ended_s: list[float]
    busy_s: list[float]
    found: list[ta.MapSoFar]

    def update(self, *given: object) -> ta.MapSoFar:
        """Fit, and note when that was done."""
        start = time.thread_time()
        found = super().update(*given)
        self.busy_s.append(time.thread_time() - start)
        self.ended_s.append(time.perf_counter())
        self.found.append(found)
        return found


def run(passes: int, speed: float, folder: Path, *, follow: bool) -> None:
    """Measure one scan and print the times."""
    begun_s: list[float] = []
    visits_s: list[float] = []
    Timed.ended_s, Timed.busy_s, Timed.found = [], [], []
    project = live.project

    def timed_project(*given: object) -> object:
        begun_s.append(time.perf_counter())
        return project(*given)

    def note(event: Event) -> None:
        if isinstance(event, VisitMeasured):
            visits_s.append(time.perf_counter())

    live.LiveMap, live.project = Timed, timed_project
    pace = [f"simulation.speed={speed}"] if speed else []
    plan = load_plan("line", [f"passes={passes}", *PLAN])
    with (
        connect(load_profile("simulated", PROFILE + pace)) as instrument,
        begin(instrument, plan, folder / f"{follow}.h5") as writer,
        ExitStack() as stack,
    ):
        observers = [note]
        if follow:
            fit = stack.enter_context(LiveFit(read_scan(writer.path)))
            observers.append(fit)
        outcome = measure(Runner(), instrument, writer, observers)
        if follow and fit.failure:
            raise SystemExit(fit.failure)
    live.LiveMap, live.project = ta.LiveMap, project
    gaps = 1e3 * np.diff(visits_s)
    print(f"\n{'with' if follow else 'without'} the live fit: {len(visits_s)} visits "
          f"({outcome.message or 'complete'}) in {visits_s[-1] - visits_s[0]:.1f} s; from visit to "
          f"visit p50 {np.median(gaps):.1f} ms, p99 {np.quantile(gaps, 0.99):.1f} ms, "
          f"longest {gaps.max():.1f} ms")  # fmt: skip
    if follow:
        # what is not followed by an update had too few positions
        ended = np.array(Timed.ended_s)
        begun = np.array(begun_s)[np.searchsorted(begun_s, ended) - 1]
        took, busy = 1e3 * (ended - begun), 1e3 * np.array(Timed.busy_s)
        last = Timed.found[-1]
        print(f"{took.size} updates of {last.slices.t_ns.size} slices: "
              f"p50 {np.median(took):.1f} ms, p90 {np.quantile(took, 0.9):.1f} ms, "
              f"p99 {np.quantile(took, 0.99):.1f} ms, longest {took.max():.1f} ms "
              f"(processor time p50 {np.median(busy):.1f} ms, "
              f"p99 {np.quantile(busy, 0.99):.1f} ms)")  # fmt: skip
        print(f"the last: D = {last.d_cm2_per_s:.5f} ± {last.d_stderr_cm2_per_s:.5f} cm²/s, "
              f"{np.count_nonzero(last.slices.converged)} slices with a width")  # fmt: skip


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--speed", type=float, default=20.0, help="of the scan; 0: unlimited")
    parser.add_argument("--every-s", type=float, default=0.05,
                        help="pause between updates; the product's is 0.2 s")  # fmt: skip
    arguments = parser.parse_args()
    live.EVERY_S = arguments.every_s
    ta.warm_up()
    with tempfile.TemporaryDirectory() as folder:
        for follow in (False, True):
            run(arguments.passes, arguments.speed, Path(folder), follow=follow)


if __name__ == "__main__":
    main()
