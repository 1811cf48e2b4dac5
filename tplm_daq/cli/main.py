"""Entry point: the commands, and what becomes of errors."""

import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from tplm_config import InputError
from tplm_daq.cli.acquire import demo, resume, scan
from tplm_daq.cli.calibrate import calibrate_
from tplm_daq.cli.data import analyze, export, import_
from tplm_daq.cli.devices import devices
from tplm_daq.cli.inspect import check, profiles
from tplm_daq.cli.output import say
from tplm_daq.cli.physics import excitation, simulate
from tplm_daq.cli.remote import REMOTE_COMMANDS
from tplm_daq.cli.series import sweep
from tplm_daq.runner import sentence
from tplm_drivers import DeviceError

EXIT_INPUT, EXIT_STOPPED, EXIT_DEVICE = 2, 3, 4


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tplm-daq", prog_name="tplm")
def cli() -> None:
    """Transient photoluminescence microscopy: scans, files, diffusivities.

    Exit codes: 0 done, 2 input that cannot be used, 3 stopped (data kept), 4 a device or the
    disk failed (data kept).
    """


for command in (
    demo, scan, sweep, resume, check, devices, profiles, calibrate_, analyze, import_, export,
    simulate, excitation, *REMOTE_COMMANDS,
):  # fmt: skip
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.suppress(ValueError):  # not the main thread: nobody sends us signals there
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = cli.main(arguments, prog_name="tplm", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_INPUT
    except click.UsageError as error:
        command = (error.ctx.command_path if error.ctx else "").removeprefix("tplm").strip()
        where = f"{command}: " if command else ""
        return _fail(arguments, where + _one_line(error.format_message()), EXIT_INPUT)
    except (InputError, click.ClickException) as error:
        return _fail(arguments, _one_line(str(error)), EXIT_INPUT)
    except (KeyboardInterrupt, click.Abort):
        return _fail(arguments, "stopped by the user", EXIT_STOPPED)
    except (DeviceError, OSError) as error:
        return _fail(arguments, _one_line(sentence(error)), EXIT_DEVICE)
    return int(code or 0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fail(arguments: Sequence[str], sentence: str, code: int) -> int:
    say(f"tplm: {sentence}", err=True)
    if "--json" in arguments:
        say(json.dumps({"error": sentence, "exit_code": code}))
    return code
