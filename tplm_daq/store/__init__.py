"""The scan file: written so that nothing acknowledged is ever lost, readable at any moment."""

from tplm_daq.store.analyses import Analysis, read_analyses
from tplm_daq.store.drift import Drift
from tplm_daq.store.following import ScanFollower
from tplm_daq.store.frozen import FrozenFile
from tplm_daq.store.nexus import ScanHeader
from tplm_daq.store.scan import Scan, ScanMap, project, read_scan, save_analysis
from tplm_daq.store.writer import ScanWriter, write_scan

__all__ = [
    "Analysis",
    "Drift",
    "FrozenFile",
    "Scan",
    "ScanFollower",
    "ScanHeader",
    "ScanMap",
    "ScanWriter",
    "project",
    "read_analyses",
    "read_scan",
    "save_analysis",
    "write_scan",
]
