"""The travel of a stage, which nothing may leave, and its speed, which nothing may exceed."""

from collections.abc import Sequence

from tplm_drivers.roles import DeviceError

Travel = tuple[float, float]
"""Lowest and highest reading allowed, µm."""


def refuse_beyond(role: str, target_um: Sequence[float], travel_um: Sequence[Travel]) -> None:
    """Refuse a target outside the travel, before anything moves.

    Parameters
    ----------
    role
        Whose stage.
    target_um, travel_um
        One of each for every axis.

    Raises
    ------
    DeviceError
        If any axis would leave its travel, or the number of axes is wrong.
    """
    if len(target_um) != len(travel_um):
        raise DeviceError(role, f"has {len(travel_um)} axes, not {len(target_um)}")
    for axis, place_um, (lower_um, upper_um) in zip("xyz", target_um, travel_um, strict=False):
        if not lower_um <= place_um <= upper_um:
            raise DeviceError(
                role,
                f"refuses {axis} = {place_um:g} µm: its travel is {lower_um:g} to {upper_um:g} µm",
                "choose a place within, or correct travel_um in the profile",
            )


def no_faster(role: str, speed_um_per_s: float, own_um_per_s: float) -> float:
    """Refuse a speed beyond the one the stage had when it was opened, or none at all.

    Parameters
    ----------
    role
        Whose stage.
    speed_um_per_s
        Asked for.
    own_um_per_s
        What the stage was set up for.

    Returns
    -------
    float
        The speed asked for.

    Raises
    ------
    DeviceError
        If it is not between 0 and that.
    """
    # the stage's own is rounded to what its controller counts in
    if not 0 < speed_um_per_s <= own_um_per_s * (1 + 1e-4):
        raise DeviceError(
            role,
            f"refuses a speed of {speed_um_per_s:g} µm/s: it is set up for at most "
            f"{own_um_per_s:.4g} µm/s",
            "use a longer dwell, or set a higher speed with the maker's program",
        )
    return min(speed_um_per_s, own_um_per_s)
