"""The analysis of a map: what the estimators need, and what a scan file knows besides."""

from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from tplm_analysis import MapFit, Method, Revisits, fit_map
from tplm_config import InputError
from tplm_daq.store import Scan, ScanMap
from tplm_daq.store.scan import Axis


class FitOptions(TypedDict, total=False):
    """What a person may decide; see `tplm_analysis.fit_map`."""

    time_zero_ns: float | None
    t_range_ns: tuple[float, float] | None
    background_per_bin: float | None


def fit_table(
    found: ScanMap,
    source: str | Path,
    method: Method = "global",
    *,
    sync_rate_hz: float | None = None,
    revisits: Revisits | None = None,
    **options: Unpack[FitOptions],
) -> MapFit:
    """Fit the diffusivity of a map.

    Raises
    ------
    InputError
        If the map or an option is not usable; it names ``source``.
    """
    pulses = None
    if sync_rate_hz is not None and found.brightest_hz > 0:
        # pile-up is judged at the brightest single place; of a raster the map holds only sums
        pulses = found.counts.sum(axis=1) * (sync_rate_hz / found.brightest_hz)
    try:
        return fit_map(
            found.counts,
            found.x_um,
            found.t_ns,
            found.exposure_s,
            method,
            excitation_pulses=pulses,
            revisits=revisits,
            **options,
        )
    except ValueError as error:
        raise InputError(source, str(error)) from None


def fit_scan(
    scan: Scan,
    method: Method = "global",
    axis: Axis | None = None,
    **options: Unpack[FitOptions],
) -> MapFit:
    """Fit the diffusivity of a scan.

    Exposure, pulse rate and reference revisits are taken from the file, so that missing
    positions, pile-up and drift are seen.

    Raises
    ------
    InputError
        If the scan has no such map, or an option is not usable.
    """
    return fit_table(
        scan.map(axis),
        scan.path,
        method,
        sync_rate_hz=scan.sync_rate_hz,
        revisits=reference_revisits(scan),
        **options,
    )


def reference_revisits(scan: Scan) -> Revisits | None:
    """The reference revisits of a scan at equal exposure; None with fewer than three."""
    started_s, live_s, totals = scan.totals("reference")
    if started_s.size < 3:
        return None
    counts = np.asarray(totals / live_s * live_s.mean(), dtype=np.float64)
    return Revisits(time_s=started_s, counts=counts)
