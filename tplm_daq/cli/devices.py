"""The command that looks at every device: devices."""

import shutil
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tplm_config import load_profile
from tplm_daq.cli.options import json_option, profile_options
from tplm_daq.cli.output import answer, say, stderr
from tplm_daq.doctor import examine
from tplm_drivers import DeviceError, Opener, RoleName, let_go
from tplm_drivers.roles import ROLE_NAMES

EXIT_DEVICE = 4


@click.command()
@profile_options
@click.option("--discover", is_flag=True, help="Only list what answers, where a driver can look.")
@json_option
@click.pass_context
def devices(
    ctx: click.Context,
    profile: str,
    set_profile: tuple[str, ...],
    simulated: bool,
    discover: bool,
    as_json: bool,
) -> None:
    """Connect every device, identify it, read it back, disconnect."""
    found = load_profile(profile, set_profile)
    opener = Opener(found, simulated=simulated)
    if discover:
        ctx.exit(_discover(opener, as_json))
    opened: dict[RoleName, Any] = {}
    try:
        rows = [examine(opener.profile, role, opener.open, opened) for role in opener.roles]
    finally:
        state = let_go(opened)
        opener.close()
    failed = [row for row in rows if row["error"] is not None]
    absent = [role for role in ROLE_NAMES if role not in opener.roles]
    safe = None if "laser" not in opened else state.verified
    if as_json:
        result = {"profile": found.name, "devices": rows, "none": absent, "laser_safe": safe}
        answer(result, "", as_json)
    else:
        # one line a device, however narrow the window
        wide = Console(width=max(180, shutil.get_terminal_size().columns))
        with wide.capture() as capture:
            wide.print(_table(found.name, rows))
        say(capture.get())
        if absent:
            say(f"none on this instrument: {', '.join(absent)}")
    console = stderr()
    for row in failed:
        console.print(f"[red]{row['role']}[/]: {row['error']}", markup=True)
    if safe is False:
        console.print(str(state))
    ctx.exit(EXIT_DEVICE if failed or safe is False else 0)


def _discover(opener: Opener, as_json: bool) -> int:
    """List what answers, for every role whose driver can look around; the exit code."""
    try:
        rows = [row for role in opener.roles if (row := _answers(opener, role)) is not None]
    finally:
        opener.close()
    lines = [
        f"{row['role']}: device {one['device']}: {one['error'] or one['serial_number']}"
        for row in rows
        for one in row["found"]
    ]
    if not rows:
        lines = [f"no driver of the profile '{opener.profile.name}' can look for its device"]
    answer({"profile": opener.profile.name, "discovered": rows}, "\n".join(lines), as_json)
    failed = [row["error"] for row in rows if row["error"] is not None]
    for error in failed:
        say(error, err=True)
    return EXIT_DEVICE if failed else 0


def _answers(opener: Opener, role: RoleName) -> dict[str, Any] | None:
    """What answers to the driver of a role; None if it cannot look around."""
    driver = getattr(opener.profile, role).driver.name
    row: dict[str, Any] = {"role": role, "driver": driver, "found": [], "error": None}
    try:
        found = opener.discover(role)
    except DeviceError as error:
        return row | {"error": str(error)}
    if found is None:
        return None
    if not found:
        row["error"] = f"{role}: nothing answers; check its cable, its power and its device driver"
    row["found"] = [
        {
            "device": one.index,
            "serial_number": one.serial_number or None,
            "error": None if one.error is None else one.error.happened,
        }
        for one in found
    ]
    return row


def _table(name: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE, title=f"profile '{name}'", title_justify="left")
    columns = [column for column in rows[0] if column != "error"]
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=True)
    for row in rows:
        failed = row["error"] is not None
        words = ["failed" if failed and c == "state" else row[c] for c in columns]
        table.add_row(*("" if word is None else str(word) for word in words))
    return table
