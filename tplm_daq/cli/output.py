"""How commands speak: results to stdout, everything else to stderr."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from rich.console import Console

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
        help=f"Change a value of the {what}, such as dwell_s=0.5; may be repeated.",
    )


def stderr() -> Console:
    """A console for people."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def answer(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Give a command's result to a program or to a person."""
    click.echo(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else text)
