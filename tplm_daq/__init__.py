"""Acquisition for transient photoluminescence microscopy: run scans, keep them, read them."""

from tplm_config import (
    CrossScan,
    InputError,
    LineScan,
    PositionScan,
    RasterScan,
    ScanPlan,
    load_plan,
    load_profile,
)
from tplm_daq.api import Microscope, open_instrument
from tplm_daq.runner import Runner
from tplm_daq.store import Scan, ScanMap, read_scan
from tplm_drivers import DeviceError

__all__ = [
    "CrossScan",
    "DeviceError",
    "InputError",
    "LineScan",
    "Microscope",
    "PositionScan",
    "RasterScan",
    "Runner",
    "Scan",
    "ScanMap",
    "ScanPlan",
    "load_plan",
    "load_profile",
    "open_instrument",
    "read_scan",
]
