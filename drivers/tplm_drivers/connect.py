"""Building an instrument from its profile."""

from importlib import import_module
from typing import Any

from tplm_config import InstrumentProfile
from tplm_drivers.clock import Clock, WallClock
from tplm_drivers.instrument import Instrument, let_go, unsafe
from tplm_drivers.roles import ROLE_NAMES, Device, DeviceError, RoleName

MODULES = {
    "anc300": "anc300",
    "anc350": "anc350",
    "attodry800": "attodry800",
    "kinesis": "kinesis",
    "kinesis-wheel": "kinesis_wheel",
    "lakeshore335": "lakeshore335",
    "montana": "montana",
    "pdl800d": "pdl800d",
    "pi": "pi",
    "picoquant": "picoquant",
    "pm100": "pm100",
    "sc10": "sc10",
    "sepia2": "sepia2",
    "superk": "superk",
    "zaber": "zaber",
}
"""Which module of this package holds each driver; its ``open_device`` opens one."""


class Opener:
    """Opens the devices of a profile one by one; the simulation behind them starts when needed.

    Parameters
    ----------
    profile : InstrumentProfile
        Which driver plays each role.
    simulated : bool
        Connect the real drivers to simulators of their instruments.
    """

    def __init__(self, profile: InstrumentProfile, *, simulated: bool = False) -> None:
        self.profile = profile
        self.roles = [role for role in ROLE_NAMES if getattr(profile, role) is not None]
        self.bench: Any = None
        self.clock: Clock = WallClock()
        self._in_process = [role for role in self.roles if self._driver(role) == "simulated"]
        if simulated or self._in_process:
            # Loaded only here, when a profile asks for it: nothing else reaches the simulators.
            from tplm_drivers.simulated import SimulatedBench

            wired = len(self._in_process) < len(self.roles)
            self.bench = SimulatedBench(profile, running=wired)
            self.clock = self.bench.clock
        self._simulated = simulated

    def open(self, role: RoleName) -> Device:
        """Open the device that plays a role.

        Raises
        ------
        DeviceError
            If it does not answer, or the library of its driver is not installed.
        """
        if role in self._in_process:
            device: Device = self.bench.open(role)
            return device
        settings, library = self._address(role)
        return open_device(role, settings, self.profile, self.clock, library)

    def discover(self, role: RoleName) -> tuple[Any, ...] | None:
        """What answers when the driver of a role looks around, nothing of it left open.

        Returns
        -------
        tuple or None
            Each with ``index``, ``serial_number`` and ``error``, as `picoquant.Found`; None if
            the driver cannot look around.

        Raises
        ------
        DeviceError
            If a library is not installed.
        """
        if role in self._in_process:
            return None
        module = _module(role, getattr(self.profile, role).driver.name)
        if not hasattr(module, "discover"):
            return None
        found: tuple[Any, ...] = module.discover(role, *self._address(role))
        return found

    def close(self) -> None:
        """End the simulation, if there is one."""
        if self.bench is not None:
            self.bench.close()

    def _address(self, role: RoleName) -> tuple[Any, Any]:
        """Settings of a driver, and what takes the place of a vendor's library, if anything."""
        if self._simulated:
            address: tuple[Any, Any] = self.bench.serve(role)
            return address
        return getattr(self.profile, role).driver, None

    def _driver(self, role: RoleName) -> str:
        return str(getattr(self.profile, role).driver.name)


def connect(profile: InstrumentProfile, *, simulated: bool = False) -> Instrument:
    """Open every device of a profile; if one fails, those already open are made safe and let go.

    Parameters
    ----------
    profile : InstrumentProfile
        Which driver plays each role.
    simulated : bool
        Connect the real drivers to simulators of their instruments.

    Returns
    -------
    Instrument
        A context manager that leaves the laser off.

    Raises
    ------
    DeviceError
        If a device does not answer.
    """
    opener = Opener(profile, simulated=simulated)
    opened: dict[RoleName, Any] = {}
    try:
        for role in opener.roles:
            opened[role] = opener.open(role)
    except BaseException as error:
        state = let_go(opened)
        opener.close()
        if "laser" in opened and not state.verified:
            raise unsafe(state, error) from error
        raise
    return Instrument(profile=profile, clock=opener.clock, bench=opener.bench, **opened)


def open_device(
    role: RoleName, settings: Any, profile: InstrumentProfile, clock: Clock, library: Any = None
) -> Device:
    """Open one device with the driver its settings name.

    Parameters
    ----------
    role : str
        Which role it plays.
    settings
        A model of `tplm_config.devices`.
    profile : InstrumentProfile
        For limits and calibration.
    clock : Clock
        Device time, for what the driver must wait for.
    library
        Takes the place of a vendor's library, in simulations.

    Raises
    ------
    DeviceError
        If it does not answer, or the library of its driver is not installed.
    """
    device: Device = _module(role, settings.name).open_device(
        role=role, settings=settings, profile=profile, clock=clock, library=library
    )
    return device


def _module(role: RoleName, driver: str) -> Any:
    """The module of a driver."""
    try:
        return import_module(f"tplm_drivers.{MODULES[driver]}")
    except ImportError as error:
        if error.name is not None and error.name.startswith("tplm_"):
            raise
        raise DeviceError(
            role,
            f"the driver '{driver}' needs the library '{error.name}', which is not installed",
            'install it with: pip install "tplm-daq[drivers]"',
        ) from error
