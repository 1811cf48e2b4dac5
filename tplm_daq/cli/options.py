"""Options that several commands share."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from tplm_config import InputError, InstrumentProfile, with_sample

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add ``--json``: exactly one JSON object on stdout."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print exactly one JSON object on stdout."
    )(function)


def set_option(name: str, what: str) -> Callable[[F], F]:
    """Add an option for ``key=value`` changes to a TOML input."""
    return click.option(
        name,
        multiple=True,
        metavar="KEY=VALUE",
        help=f"Change a value of the {what} (dwell_s=0.5) or leave it out (background=none).",
    )


def simulated_option(function: F) -> F:
    """Add ``--simulated``: the real drivers, connected to simulators of their instruments."""
    return click.option(
        "--simulated",
        is_flag=True,
        help="Connect the profile's own drivers to simulators of their instruments.",
    )(function)


def profile_options(function: F) -> F:
    """Add the options that say on which instrument."""
    function = simulated_option(set_option("--set-profile", "profile")(function))
    return click.option(
        "--profile", default="simulated", show_default=True, help="TOML file or bundled name."
    )(function)


def sample_options(function: F) -> F:
    """Add the options that put another sample under the virtual microscope."""
    function = click.option(
        "--sample-set", multiple=True, metavar="KEY=VALUE",
        help="Change a value of the simulated sample (excitons=100000).",
    )(function)  # fmt: skip
    return click.option(
        "--sample", metavar="NAME",
        help="Put another sample under the virtual microscope: film, memory, bright-dark, quantum.",
    )(function)  # fmt: skip


def sampled(
    profile: InstrumentProfile, sample: str | None, sample_set: Sequence[str], *, simulated: bool
) -> InstrumentProfile:
    """The profile with the sample of `sample_options`.

    Raises
    ------
    InputError
        If the microscope is a real one, or there is no such sample.
    """
    if sample is None and not sample_set:
        return profile
    check_virtual("--sample", profile, simulated=simulated)
    return with_sample(profile, sample, sample_set)


def check_virtual(option: str, profile: InstrumentProfile, *, simulated: bool) -> None:
    """Refuse an option that is for the virtual microscope only.

    Raises
    ------
    InputError
        If the microscope is a real one.
    """
    roles = (getattr(profile, name) for name in type(profile).model_fields)
    drivers = {role.driver.name for role in roles if hasattr(role, "driver")}
    if not simulated and "simulated" not in drivers:
        raise InputError(
            option,
            f"the profile '{profile.name}' is a real microscope, which takes the sample on its "
            "stage",
            "choose a simulated profile, or add --simulated where there is that option",
        )


def watchdog_option(function: F) -> F:
    """Add the option that leaves the watchdog out."""
    return click.option(
        "--watchdog/--no-watchdog", default=True, show_default=True,
        help="A second process blocks the laser if this one dies or hangs.",
    )(function)  # fmt: skip


def picture_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | None:
    """Check the path of a picture before anything else is done."""
    from tplm_daq.report import picture_path  # it draws, which most commands do not

    return None if value is None else picture_path(value)


class Number(click.FloatRange):
    """A finite number of a range; click's own lets NaN pass."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or refuse it in one sentence."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number
