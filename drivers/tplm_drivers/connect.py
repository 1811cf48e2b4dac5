"""Building an instrument from its profile."""

from typing import Any

from tplm_config import InstrumentProfile
from tplm_drivers.instrument import Instrument, let_go, unsafe
from tplm_drivers.roles import ROLE_NAMES, RoleName


def connect(profile: InstrumentProfile) -> Instrument:
    """Open every device of a profile; if one fails, those already open are made safe and let go.

    Parameters
    ----------
    profile : InstrumentProfile
        Which driver plays each role.

    Returns
    -------
    Instrument
        A context manager that leaves the laser off.

    Raises
    ------
    DeviceError
        If a device does not answer.
    """
    # Loaded only here, when a profile asks for it: nothing else reaches the simulators.
    from tplm_drivers.simulated import SimulatedBench

    bench = SimulatedBench(profile)
    opened: dict[RoleName, Any] = {}
    try:
        for role in ROLE_NAMES:
            if getattr(profile, role) is not None:
                opened[role] = bench.open(role)
    except BaseException as error:
        state = let_go(opened)
        if "laser" in opened and not state.verified:
            raise unsafe(state, error) from error
        raise
    return Instrument(profile=profile, clock=bench.clock, **opened)
