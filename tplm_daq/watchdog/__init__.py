"""The watchdog: a small process that blocks the laser when the engine is dead, stopped or stuck."""

from tplm_daq.watchdog.limits import Limits
from tplm_daq.watchdog.observer import Watchdog, log_beside

__all__ = ["Limits", "Watchdog", "log_beside"]
