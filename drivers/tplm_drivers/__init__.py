"""Roles of the instrument's devices, and the drivers that play them."""

from tplm_drivers.clock import Clock, WallClock
from tplm_drivers.connect import Opener, connect
from tplm_drivers.instrument import Instrument, SafeState, let_go
from tplm_drivers.roles import (
    CardConfiguration,
    DetectorStage,
    DeviceError,
    Histogram,
    Identity,
    RoleName,
    StreamConfiguration,
    StreamEnd,
    TcspcCard,
)

__all__ = [
    "CardConfiguration",
    "Clock",
    "DetectorStage",
    "DeviceError",
    "Histogram",
    "Identity",
    "Instrument",
    "Opener",
    "RoleName",
    "SafeState",
    "StreamConfiguration",
    "StreamEnd",
    "TcspcCard",
    "WallClock",
    "connect",
    "let_go",
]
