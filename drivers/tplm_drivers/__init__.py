"""Roles of the instrument's devices, and the drivers that play them."""

from tplm_drivers.clock import Clock, WallClock
from tplm_drivers.connect import connect
from tplm_drivers.instrument import Instrument, SafeState
from tplm_drivers.roles import DeviceError, Histogram, Identity, RoleName

__all__ = [
    "Clock",
    "DeviceError",
    "Histogram",
    "Identity",
    "Instrument",
    "RoleName",
    "SafeState",
    "WallClock",
    "connect",
]
