"""Roles of the instrument's devices, and the drivers that play them."""

from tplm_drivers.clock import Clock, WallClock
from tplm_drivers.connect import Opener, connect
from tplm_drivers.instrument import Instrument, SafeState, let_go
from tplm_drivers.roles import DeviceError, Histogram, Identity, RoleName

__all__ = [
    "Clock",
    "DeviceError",
    "Histogram",
    "Identity",
    "Instrument",
    "Opener",
    "RoleName",
    "SafeState",
    "WallClock",
    "connect",
    "let_go",
]
