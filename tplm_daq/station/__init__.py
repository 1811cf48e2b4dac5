"""What owns the instrument between runs: the process behind the window; see ``docs/host.md``."""

from tplm_daq.station.station import Station

__all__ = ["Station"]
