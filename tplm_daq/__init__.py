"""Acquisition for transient photoluminescence microscopy: run scans, keep them, read them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from tplm_drivers import DeviceError

if TYPE_CHECKING:
    from tplm_daq.api import Microscope, open_instrument
    from tplm_daq.runner import Runner
    from tplm_daq.store import Analysis, Scan, ScanMap, read_analyses, read_scan, save_analysis

__all__ = [
    "Analysis",
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
    "read_analyses",
    "read_scan",
    "save_analysis",
]

_ON_DEMAND = {
    "Analysis": "store",
    "Microscope": "api",
    "Runner": "runner",
    "Scan": "store",
    "ScanMap": "store",
    "open_instrument": "api",
    "read_analyses": "store",
    "read_scan": "store",
    "save_analysis": "store",
}
"""Loaded when asked for: `tplm emergency` must not wait for what it has no use for."""


def __getattr__(name: str) -> Any:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ON_DEMAND[name]}"), name)
