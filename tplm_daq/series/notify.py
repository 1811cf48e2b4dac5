"""The user's own command that is told how a series goes."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

TIMEOUT_S = 30.0


def call(command: Sequence[str], news: Mapping[str, Any]) -> str | None:
    """Call a command with one JSON object on its standard input.

    Returns
    -------
    str or None
        What went wrong, in words; it is no reason to end anything.
    """
    text = json.dumps(news, ensure_ascii=False, default=str)
    try:
        done = subprocess.run(
            list(command), input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the command {command[0]} was ended after {TIMEOUT_S:g} s"
    except (OSError, ValueError) as error:
        return f"the command {command[0]} cannot be called ({error})"
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
        return f"the command {command[0]} ended with {done.returncode} {said[0]}".rstrip()
    return None
