"""The travel of a stage, which nothing may leave."""

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
