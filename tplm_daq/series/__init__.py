"""Series of scans: power, fluence, repetition rate, temperature, spots, repeats."""

from tplm_daq.series.engine import Series, SeriesOutcome, run_series
from tplm_daq.series.forecast import Forecast, forecast, foresee
from tplm_daq.series.manifest import Entry, Manifest, Result, read_manifest
from tplm_daq.series.points import check_series, scan_of
from tplm_daq.series.sharing import Proposal, SharedTime, Shares, propose

__all__ = [
    "Entry",
    "Forecast",
    "Manifest",
    "Proposal",
    "Result",
    "Series",
    "SeriesOutcome",
    "SharedTime",
    "Shares",
    "check_series",
    "forecast",
    "foresee",
    "propose",
    "read_manifest",
    "run_series",
    "scan_of",
]
