"""How commands speak: results to stdout, everything else to stderr."""

import json
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console


def stderr() -> Console:
    """A console for people."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def answer(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Give a command's result to a program or to a person."""
    click.echo(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else text)
