"""A minute of photons at the full rate of a card, through engine, decoder, disk and back.

Run as ``python benchmarks/t3_acquisition.py [SECONDS] [--folder DIR]``. The virtual card streams
about 40 million records a second (of simulated time, which passes only as fast as the records are
made); they are read by the engine's own threads, decoded into the live histogram and kept as
.ptu, which is then read again and compared. About 10 GB of disk for 60 s. Rival in the same run:
the same bytes written by a bare loop and read back by ptufile.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import ptufile

from tplm_config import load_plan, load_profile
from tplm_daq.events import VisitMeasured
from tplm_daq.runner import Runner
from tplm_daq.session import begin, measure
from tplm_daq.t3 import read_ptu
from tplm_drivers import connect

PROFILE = [
    "limits.detector_count_rate_hz=1e9",
    "simulation.laser.start_rate_hz=40e6",
    "simulation.laser.noise_rms=0",
    "simulation.attenuator.start_transmission=1.0",
    "simulation.sample.detected_per_incident_photon=0.0362",
    "simulation.detection.dead_time_ns=0",
    "simulation.detection.max_count_rate_hz=1e9",
]


def main() -> None:
    """Measure, read again, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        run(options.seconds, Path(name))


def run(seconds: float, folder: Path) -> None:
    """One scan of one visit."""
    plan = load_plan(
        "line",
        [
            "positions=1", "passes=1", f"dwell_s={seconds}", 'card.mode="t3"', 'card.raw="scan"',
            "card.range_ns=25", "excitation={}", "background=none", "irf=none", "reference=none",
        ],
    )  # fmt: skip
    records: list[VisitMeasured] = []
    begun_mb = peak_mb()
    profile = load_profile("simulated", PROFILE)
    with connect(profile) as instrument, begin(instrument, plan, folder / "full.h5") as writer:
        start_s = time.perf_counter()
        outcome = measure(
            Runner(), instrument, writer,
            [lambda event: records.append(event) if isinstance(event, VisitMeasured) else None],
        )  # fmt: skip
        took_s = time.perf_counter() - start_s
    if not records:
        raise SystemExit(f"the scan ended early: {outcome.message}")
    record = records[0].record
    path = folder / "full.ptu"
    megabytes = path.stat().st_size / 1e6
    count = megabytes * 1e6 / 4
    print(f"stream time {record.live_s:.2f} s, {count / 1e6:.1f} M records in the file, "
          f"{count / record.live_s / 1e6:.1f} M records per second of stream time")  # fmt: skip
    print(f"flags {sorted(record.flags)}, photons in the histogram {int(record.counts.sum())}")
    print(f"took {took_s:.1f} s, {count / took_s / 1e6:.1f} M records/s with their making; "
          f"memory grew by {peak_mb() - begun_mb:.0f} MB to {peak_mb():.0f} MB")  # fmt: skip
    start_s = time.perf_counter()
    again = read_ptu(path)
    read_s = time.perf_counter() - start_s
    same = np.array_equal(again.total, record.counts) and again.photons_out_of_range == 0
    print(f"read again in {read_s:.1f} s ({count / read_s / 1e6:.0f} M records/s): "
          f"{again.photons} photons, equal to the live histogram: {same}")  # fmt: skip
    if not same or record.flags:
        raise SystemExit("records were lost")
    rival(path, count, read_s)


def rival(path: Path, count: float, read_s: float) -> None:
    """The same bytes by the plainest means."""
    start_s = time.perf_counter()
    with path.open("rb") as source, path.with_suffix(".copy").open("wb") as target:
        while block := source.read(1 << 20):
            target.write(block)
    copied_s = time.perf_counter() - start_s
    print(f"a bare copy of the file takes {copied_s:.1f} s")
    path.with_suffix(".copy").unlink()
    if count > 4e8:
        print("ptufile is not asked: it would hold the whole file in memory")
        return
    with ptufile.PtuFile(path) as file:
        start_s = time.perf_counter()
        file.decode_histogram()
        print(f"ptufile takes {(time.perf_counter() - start_s) / read_s:.2f} of our time to read")


def peak_mb() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
