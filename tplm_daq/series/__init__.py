"""Series of scans: power, fluence, repetition rate, temperature, spots, repeats."""

from tplm_daq.series.engine import Series, SeriesOutcome, run_series
from tplm_daq.series.forecast import Forecast, forecast
from tplm_daq.series.manifest import Entry, Manifest, Result, read_manifest
from tplm_daq.series.points import check_series, scan_of

__all__ = [
    "Entry",
    "Forecast",
    "Manifest",
    "Result",
    "Series",
    "SeriesOutcome",
    "check_series",
    "forecast",
    "read_manifest",
    "run_series",
    "scan_of",
]
