"""What each device says of itself."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any

from tplm_config import InstrumentProfile
from tplm_drivers import DeviceError, RoleName


def examine(
    profile: InstrumentProfile,
    role: RoleName,
    device_of: Callable[[RoleName], Any],
    opened: MutableMapping[RoleName, Any],
) -> dict[str, Any]:
    """What one device says of itself, or why it says nothing.

    Parameters
    ----------
    profile : InstrumentProfile
        Which driver plays the role.
    role : str
        Which role.
    device_of : callable
        Gives the open device, or opens it.
    opened : mutable mapping
        Gets the device, also if it then fails: somebody must let go of it.

    Returns
    -------
    dict
        Plain values; ``error`` is None where all is well.
    """
    row: dict[str, Any] = {
        "role": role, "driver": getattr(profile, role).driver.name, "model": None,
        "serial_number": None, "firmware": None, "state": None, "round_trip_ms": None,
        "checked_against": None, "error": None,
    }  # fmt: skip
    try:
        device = opened[role] = device_of(role)
        before_s = time.perf_counter()
        identity = device.identify()
        row["round_trip_ms"] = round((time.perf_counter() - before_s) * 1e3, 3)
        row |= {
            "model": identity.model,
            "serial_number": identity.serial_number,
            "firmware": identity.firmware,
            "checked_against": identity.checked_against,
            "state": state_of(role, device),
        }
    except DeviceError as error:
        row["error"] = str(error)
    return row


def state_of(role: RoleName, device: Any) -> str:
    """What a device reads back, in a few words."""
    match role:
        case "laser":
            on = "emitting" if device.emission() else "off"
            return f"{on}, {device.repetition_rate_hz() / 1e6:g} MHz"
        case "card":
            return f"{device.max_bins()} bins, {device.allowed_time_bins_ps()[0]:g} ps and up"
        case "detector_stage":
            x_um, y_um = device.position_um()[:2]
            return f"at ({x_um:.1f}, {y_um:.1f}) µm, image plane"
        case "attenuator" | "detection_attenuator":
            return f"transmission {device.transmission():.4g}"
        case "shutter":
            return "open" if device.is_open() else "closed"
        case "power_meter":
            return f"{device.power_nw():.3g} nW"
        case "sample_stage":
            return "at (" + ", ".join(f"{value:.2f}" for value in device.position_um()) + ") µm"
        case "temperature":
            return f"{device.temperature_k():.2f} K, set point {device.set_point_k():g} K"
