"""Entry point: the commands, and what becomes of errors."""

import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

import click

from tplm_config import InputError
from tplm_daq.cli.output import say
from tplm_drivers import DeviceError

EXIT_INPUT, EXIT_STOPPED, EXIT_DEVICE = 2, 3, 4


COMMANDS = {
    "demo": "acquire.demo",
    "scan": "acquire.scan",
    "sweep": "series.sweep",
    "resume": "acquire.resume",
    "host": "station.host",
    "status": "remote.status",
    "pause": "remote.pause",
    "continue": "remote.continue_",
    "stop": "remote.stop",
    "abort": "remote.abort",
    "emergency": "remote.emergency",
    "check": "inspect.check",
    "devices": "devices.devices",
    "profiles": "inspect.profiles",
    "calibrate": "calibrate.calibrate_",
    "analyze": "data.analyze",
    "decay": "decay.decay",
    "inspect": "data.inspect",
    "import": "data.import_",
    "export": "data.export",
    "simulate": "physics.simulate",
    "excitation": "physics.excitation",
    "reproduce": "reproduce.reproduce",
}
"""Where each command is; loaded when it is called, so that `tplm emergency` is quick."""


class Commands(click.Group):
    """A group whose commands are loaded one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of a working day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(".")
        command: click.Command = getattr(import_module(f"tplm_daq.cli.{module}"), name)
        return command


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="tplm-daq", prog_name="tplm")
def cli() -> None:
    """Transient photoluminescence microscopy: scans, files, diffusivities.

    Exit codes: 0 done, 2 input that cannot be used, 3 stopped (data kept), 4 a device or the
    disk failed (data kept).
    """


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
        text = str(getattr(error, "strerror", None) or error)
        return _fail(arguments, _one_line(text), EXIT_DEVICE)
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
