"""The user's own command that is told how a series goes."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

TIMEOUT_S = 30.0
LAST_WORDS_S = 0.5
"""How long to wait for what a command said last; a process that it left behind may hold it open."""
LAST_WORDS = 4096
"""Bytes kept of what a command says, which may be without end."""


def call(command: Sequence[str], news: Mapping[str, Any]) -> str | None:
    """Call a command with one JSON object on its standard input.

    Returns
    -------
    str or None
        What went wrong, in words; it is no reason to end anything.
    """
    text = json.dumps(news, ensure_ascii=False, default=str)
    said = bytearray()
    try:
        with tempfile.TemporaryFile() as asked:  # a pipe that nobody reads would hold up the series
            asked.write(text.encode())
            asked.seek(0)
            process = subprocess.Popen(
                list(command),
                stdin=asked,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        assert process.stderr is not None
        listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
        listener.start()
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"the command {command[0]} was ended after {TIMEOUT_S:g} s"
    except (OSError, ValueError) as error:
        return f"the command {command[0]} cannot be called ({error})"
    if process.returncode:
        listener.join(LAST_WORDS_S)
        last = bytes(said).decode(errors="replace").strip().splitlines()[-1:] or [""]
        return f"the command {command[0]} ended with {process.returncode} {last[0]}".rstrip()
    return None


def _listen(stream: IO[bytes], said: bytearray) -> None:
    """Keep the last that a command says."""
    with suppress(OSError), stream:
        while part := stream.read(LAST_WORDS):
            said += part
            del said[:-LAST_WORDS]
