"""Commands for a run in another terminal: status, pause, continue, stop, abort, emergency."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tplm_daq.cli.options import json_option
from tplm_daq.cli.output import answer, say
from tplm_daq.host import HostClient, pick_host
from tplm_daq.host.status import describe

F = TypeVar("F", bound=Callable[..., Any])


def which_options(function: F) -> F:
    """Add the options that say which run, needed only if there are several."""
    function = click.option("--pid", type=int, help="The run of this process.")(function)
    return click.option(
        "--run", type=click.Path(path_type=Path), help="The run that writes this file or folder."
    )(function)


@click.command()
@which_options
@click.option("--follow", is_flag=True, help="Go on telling until the run ends.")
@json_option
def status(run: Path | None, pid: int | None, follow: bool, as_json: bool) -> None:
    """Show what a run in another terminal is doing."""
    was_running = False
    with HostClient(pick_host("status", run, pid)) as client:
        if not follow:
            found = client.ask("status")["status"]
            answer(found, describe(found), as_json)
            return
        for event in client.events():
            match event["event"]:
                case "subscribed":
                    say(describe(event["status"]), err=as_json)
                    was_running = event["status"]["doing"] != "station"
                case "status":
                    is_running = event["status"]["doing"] != "station"
                    if was_running and not is_running:  # it goes on, its run is over
                        answer(event["status"], describe(event["status"]), as_json)
                        return
                    was_running = is_running
                case "host-closed":
                    answer(event["status"], describe(event["status"]), as_json)
                case _ if as_json:
                    say(json.dumps(event, ensure_ascii=False), err=True)
                case _:
                    text = _line(event)
                    if text is not None:
                        say(text)


def _line(event: dict[str, Any]) -> str | None:
    """An event in words; None for what is too small to tell."""
    match event["event"]:
        case "visit-stored":
            return (
                f"visit {event['index']}: {event['total_counts']:,} counts, {event['to_do']} to do"
            )
        case "state-changed" if event["why"]:
            return f"{event['state']}: {event['why']}"
        case "notice":
            return f"{event['level']}: {event['message']}"
        case "point-started":
            return f"point {event['index']}: {event['label']}"
        case "point-ended":
            return f"point {event['index']} {event['ending']}: {event['message']}"
        case "run-ended" | "series-ended":
            return f"{event['ending']}: {event['message']}"
    return None


def _command(name: str, words: str) -> click.Command:
    """A command that asks a run for one thing."""

    @click.command(name, help=words)
    @which_options
    @json_option
    def ask(run: Path | None, pid: int | None, as_json: bool) -> None:
        with HostClient(pick_host(name, run, pid)) as client:
            reply = client.ask(name)
        result = {"message": reply["message"], "status": reply["status"]}
        text = f"{client.entry.path}: {reply['message']} (now {reply['status']['state']})"
        answer(result, text, as_json)

    return ask


pause = _command("pause", "Have a run finish its visit, block the light and wait.")
continue_ = _command("continue", "Let a paused run go on.")
stop = _command("stop", "Have a run finish its visit, keep everything and end.")
abort = _command("abort", "End a run now; finished visits are kept.")
emergency = _command("emergency", "Have a run block the laser before anything else, then end.")
