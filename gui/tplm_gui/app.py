"""Entry point of the window: ``tplm-gui``."""

import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import click
from PyQt6.QtCore import QSettings, QTimer
from PyQt6.QtWidgets import QApplication

from tplm_config import InputError
from tplm_daq.host.entries import runtime_folder
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Wanted
from tplm_gui.hub import Hub
from tplm_gui.mailbox import Mailbox
from tplm_gui.window import Window

EXIT_INPUT = 2


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--profile", default="simulated", show_default=True, help="TOML file or bundled name."
)
@click.option(
    "--set-profile", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a value of the profile.",
)  # fmt: skip
@click.option(
    "--simulated", is_flag=True,
    help="Connect the profile's own drivers to simulators of their instruments.",
)  # fmt: skip
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), metavar="S",
    help="Times real time, of a simulated instrument; 10 for the virtual microscope.",
)  # fmt: skip
@click.option("--attach", type=int, metavar="PID", help="Belong to the run of this process.")
@click.option(
    "--open", "file", type=click.Path(exists=True, path_type=Path), metavar="FILE",
    help="Show a scan file, or the folder of a series.",
)  # fmt: skip
@click.option("--light/--dark", default=None, help="Colours, this time only.")
@click.option(
    "--settings", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Keep the arrangement in this file (ini).",
)  # fmt: skip
@click.version_option(package_name="tplm-daq", prog_name="tplm-gui")
def command(**options: Any) -> dict[str, Any]:
    """Transient photoluminescence microscopy: the window.

    It belongs to a run of yours that goes on, or starts a station for the profile. What measures
    is another process: closing this window does not end it.
    """
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Show the window until it is closed.

    Returns
    -------
    int
        0, or 2 for input that cannot be used, told in one sentence before there is any window.
    """
    try:
        options = command.main(
            None if argv is None else list(argv), prog_name="tplm-gui", standalone_mode=False
        )
        if isinstance(options, int):  # help and version have been shown
            return options
        wanted = Wanted(
            profile=options["profile"],
            overrides=options["overrides"],
            simulated=options["simulated"],
            speed=options["speed"],
            attach=options["attach"],
        )
        wanted.load()
    except click.ClickException as error:
        click.echo(f"tplm-gui: {error.format_message()}", err=True)
        return EXIT_INPUT
    except InputError as error:
        click.echo(f"tplm-gui: {error}", err=True)
        return EXIT_INPUT
    light = options["light"]
    return _show(wanted, options["settings"], options["file"], None if light is None else not light)


def _show(wanted: Wanted, ini: Path | None, file: Path | None, dark: bool | None) -> int:
    app = QApplication(["tplm-gui"])
    app.setApplicationName("tplm-gui")
    app.setDesktopFileName("tplm-gui")
    app.setQuitOnLastWindowClosed(False)  # the window says when, after its last word to the host
    settings = (
        QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "tplm", "tplm-gui")
        if ini is None
        else QSettings(str(ini), QSettings.Format.IniFormat)
    )
    hub = Hub()
    link = Link(hub, wanted)
    _tell_defects(hub, Mailbox(hub))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # of the terminal: the run is another process
    window = Window(hub, settings, link, dark)
    window.closed.connect(app.quit)
    app.commitDataRequest.connect(lambda _session: window.let_go())
    if file is not None:
        window.loaded.connect(lambda: window.open_path(file))
    # the first picture is on the screen before anything heavy is loaded
    window.painted.connect(lambda: QTimer.singleShot(0, window.load_views))
    window.painted.connect(lambda: QTimer.singleShot(0, link.begin))
    window.show()
    code = app.exec()
    link.close()
    settings.sync()
    return code


def _tell_defects(hub: Hub, mail: Mailbox) -> None:
    """A defect of the window becomes a banner and is kept in a file; the window goes on."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        path = runtime_folder() / "windows" / "defects.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.open("a", encoding="utf-8") as out:
                out.writelines(traceback.format_exception(kind, error, trace))
        except OSError:
            pass  # the banner says enough
        words = (
            f"this window has a defect ({kind.__name__}: {error}); the run is another process and "
            f"is not touched by it. The details are in {path}"
        )
        mail.post(partial(hub.tell, "error", words, "defect"))

    def tell_of_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None:
            tell(failed.exc_type, failed.exc_value, failed.exc_traceback)

    sys.excepthook = tell
    threading.excepthook = tell_of_thread


if __name__ == "__main__":
    sys.exit(main())
