"""Small scan files, made without an instrument."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import CardSettings, LineScan, ScanPlan
from tplm_daq.events import VisitRecord
from tplm_daq.store import Scan, ScanHeader, read_scan, write_scan

CARD = CardSettings(time_bin_ps=100, range_ns=2)
LINE = LineScan(half_range_um=1, positions=5, dwell_s=0.5, passes=2, card=CARD, sample="a µ-film")


def write_counts(
    path: Path,
    plan: ScanPlan = LINE,
    skip: tuple[int, ...] = (),
    sync_rate_hz: float = 2.5e6,
    per_bin: float = 5,
    table: NDArray[Any] | None = None,
    **header: Any,
) -> Scan:
    """A scan of random counts, or those of a table by place, without the places in `skip`."""
    rng = np.random.default_rng(1)
    records = [
        VisitRecord(
            visit=visit,
            started_s=float(visit.index),
            live_s=visit.dwell_s,
            stage_x_um=0.0,
            stage_y_um=0.0,
            sync_rate_hz=sync_rate_hz,
            count_rate_hz=100.0,
            temperature_k=math.nan,
            power_nw=math.nan,
            flags=frozenset(),
            counts=(
                rng.poisson(per_bin, plan.card.bins)
                if table is None
                else table[visit.position_index]
            ).astype(np.uint32),
        )
        for visit in plan.visits()
        if visit.position_index not in skip
    ]
    card = plan.card
    write_scan(path, ScanHeader(plan, card.time_bin_ps, card.bins, **header), records, {"a": 1})
    return read_scan(path)
