"""Making a scan file from decay curves measured elsewhere, one file for each dwell."""

from tplm_daq.importing.files import import_files
from tplm_daq.importing.phu import read_phu
from tplm_daq.importing.sdt import read_sdt

__all__ = ["import_files", "read_phu", "read_sdt"]
