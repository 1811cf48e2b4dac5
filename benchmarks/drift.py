"""What drift does to D in a single pass, and what correcting each visit for it leaves.

The virtual microscope measures a line in one pass while the spot drifts along and across it. The
peak is searched for at the beginning and at the end. Prints the bias of D with its standard error.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tplm_config import LineScan, load_profile
from tplm_daq.analysis import fit_scan
from tplm_daq.runner import Runner
from tplm_daq.session import begin, measure
from tplm_daq.store import Scan, read_scan
from tplm_drivers import connect

D_CM2_PER_S = 0.05
DWELL_S = 3.0
POSITIONS = 41
DURATION_S = 150.0
"""Of the pass, nearly."""


def scan(drift_nm: float, seed: int, out: Path) -> Scan:
    """Measure one pass during which the spot drifts that far along x and half of it along −y."""
    nm_per_h = drift_nm / DURATION_S * 3600
    profile = load_profile(
        "simulated",
        [
            f"simulation.seed={seed}",
            f"simulation.sample.d_cm2_per_s={D_CM2_PER_S}",
            f"simulation.laser.drift_nm_per_h=[{nm_per_h}, {-nm_per_h / 2}]",
        ],
    )
    plan = LineScan.model_validate(
        {
            "positions": POSITIONS,
            "passes": 1,
            "order": "one-way",
            "dwell_s": DWELL_S,
            "card": {"time_bin_ps": 100, "range_ns": 25.6},
            "excitation": {"power_nw": 5.0, "repetition_rate_hz": 20e6},
            "reference": {"every_visits": 10, "dwell_s": DWELL_S},
            "centring": {"every_visits": POSITIONS + 4, "positions": 11, "half_range_um": 1.2},
        }
    )
    with connect(profile) as instrument, begin(instrument, plan, out) as writer:
        measure(Runner(), instrument, writer)
    return read_scan(out)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    print("drift of the peak (nm) | bias as measured | bias corrected | σ_D | time of the fit (s)")
    with tempfile.TemporaryDirectory() as folder:
        for drift_nm in (0.0, 50.0, 100.0):
            rows, moved_nm = [], []
            for seed in range(repeats):
                found = scan(drift_nm, 100 + seed, Path(folder) / f"{drift_nm}-{seed}.h5")
                moved_nm.append(1e3 * np.diff(found.centrings.x_um)[-1])
                plain = fit_scan(found)
                start_s = time.perf_counter()
                freed = fit_scan(found, drift=True)
                took_s = time.perf_counter() - start_s
                rows.append(
                    (plain.d_cm2_per_s, freed.d_cm2_per_s, freed.d_stderr_cm2_per_s, took_s)
                )
            table = np.array(rows, dtype=np.float64)
            bias = 100 * (table[:, :2] / D_CM2_PER_S - 1)
            mean, error = bias.mean(axis=0), bias.std(axis=0, ddof=1) / np.sqrt(repeats)
            print(
                f"{np.mean(moved_nm):.0f} | {mean[0]:+.2f} ± {error[0]:.2f} % | {mean[1]:+.2f} ± "
                f"{error[1]:.2f} % | {100 * table[:, 2].mean() / D_CM2_PER_S:.2f} % | "
                f"{np.median(table[:, 3]):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
