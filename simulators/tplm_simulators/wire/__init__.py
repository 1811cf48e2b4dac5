"""Simulators of real instruments, each speaking its own protocol over one virtual microscope.

`serve` starts the simulator for a driver's settings and returns the settings with the address
changed to the simulator's: the real driver then talks to it as to the instrument.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire.server import Lines, WireFault, WireServer

MODULES = {
    "anc300": "anc300",
    "anc350": "anc350",
    "attodry800": "attodry800",
    "kinesis": "kinesis",
    "kinesis-wheel": "kinesis",
    "lakeshore335": "lakeshore335",
    "montana": "montana",
    "pdl800d": "generator",
    "pi": "pi",
    "picoquant": "picoquant",
    "pm100": "pm100",
    "sc10": "sc10",
    "sepia2": "sepia2",
    "superk": "superk",
    "zaber": "zaber",
}
"""Which module simulates the instrument behind each driver."""


@dataclass(frozen=True)
class Served:
    """A running simulator.

    Attributes
    ----------
    settings
        The driver's settings, with the simulator's address in the place of the instrument's.
    stop
        Ends the simulator.
    servers
        Its wires, for looking at the bytes and for faults; empty for those without a wire.
    library
        What takes the place of a vendor's library, for drivers that load one.
    """

    settings: Any
    stop: Callable[[], None]
    servers: tuple[WireServer, ...] = ()
    library: Any = field(default=None)


def serve(settings: Any, microscope: VirtualMicroscope, role: str) -> Served:
    """Start the simulator of the instrument behind a driver.

    Parameters
    ----------
    settings
        A model of `tplm_config.devices`.
    microscope
        What the instrument is part of.
    role
        Which role it plays, such as ``detector_attenuator``.
    """
    module = import_module(f"tplm_simulators.wire.{MODULES[settings.name]}")
    served = module.serve(settings, microscope, role)
    assert isinstance(served, Served)
    return served


__all__ = ["Lines", "Served", "WireFault", "WireServer", "serve"]
