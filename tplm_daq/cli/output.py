"""How commands speak: results to stdout, everything else to stderr."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console


def stderr() -> Console:
    """A console for people."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def answer(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Give a command's result to a program or to a person."""
    say(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else text)


def say(text: str, *, err: bool = False) -> None:
    """Write to stdout or stderr; one that is gone or full is not worth a measurement."""
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err)
        stream.flush()
    except OSError:
        # nobody listens; what Python still wants to flush at its end goes nowhere
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
