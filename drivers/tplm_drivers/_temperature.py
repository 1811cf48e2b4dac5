"""What the temperature controllers share."""

from tplm_drivers.roles import DeviceError


def check_set_point(role: str, set_point_k: float, limits_k: tuple[float, float]) -> None:
    """Refuse a set point outside the limits of the profile, NaN included."""
    lowest, highest = limits_k
    if not lowest <= set_point_k <= highest:
        raise DeviceError(
            role,
            f"{set_point_k:g} K is outside the limits of the profile ({lowest:g} to {highest:g} K)",
            "choose another set point, or change limits_k of the driver",
        )
