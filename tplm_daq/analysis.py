"""The analysis of a scan file: its map, and what the file knows besides."""

import numpy as np

from tplm_analysis import MapFit, Method, Revisits, fit_map
from tplm_config import InputError
from tplm_daq.store import Scan
from tplm_daq.store.scan import Axis


def fit_scan(
    scan: Scan,
    method: Method = "global",
    axis: Axis | None = None,
    *,
    time_zero_ns: float | None = None,
    t_range_ns: tuple[float, float] | None = None,
    background_per_bin: float | None = None,
) -> MapFit:
    """Fit the diffusivity of a scan; the options are those of `tplm_analysis.fit_map`.

    Exposure, pulse rate and reference revisits are taken from the file, so that missing
    positions, pile-up and drift are seen.

    Raises
    ------
    InputError
        If the scan has no such map, or an option is not usable.
    """
    found = scan.map(axis)
    try:
        return fit_map(
            found.counts,
            found.x_um,
            found.t_ns,
            found.exposure_s,
            method,
            time_zero_ns=time_zero_ns,
            t_range_ns=t_range_ns,
            background_per_bin=background_per_bin,
            sync_rate_hz=scan.sync_rate_hz,
            revisits=revisits(scan),
        )
    except ValueError as error:
        raise InputError(scan.path, str(error)) from None


def revisits(scan: Scan) -> Revisits | None:
    """The reference revisits of a scan at equal exposure; None with fewer than three."""
    started_s, live_s, totals = scan.totals("reference")
    if started_s.size < 3:
        return None
    counts = np.asarray(totals / live_s * live_s.mean(), dtype=np.float64)
    return Revisits(time_s=started_s, counts=counts)
