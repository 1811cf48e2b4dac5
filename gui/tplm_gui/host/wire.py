"""One connection to a host, as the link uses it: requests with arguments, and an end at will.

Not for the thread of the window: every call may wait.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from tplm_daq.host import HostEntry

ANSWER_S = 5.0
"""Longest wait for an answer; a host that is alive takes some milliseconds."""


class Lost(Exception):  # noqa: N818 - it tells what became of the connection
    """The host is gone, or closed the connection."""


class Silent(Lost):
    """The host is there and does not answer: stopped, or stuck."""


class Wire:
    """A connection to a host.

    Raises
    ------
    Lost
        If nobody listens there.
    """

    def __init__(self, entry: HostEntry, timeout_s: float | None = None) -> None:
        self.entry = entry
        timeout_s = ANSWER_S if timeout_s is None else timeout_s
        try:
            self._socket = entry.connect(timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise _lost(error) from error
        self._lines = self._socket.makefile("rb")

    def request(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a command and give the answer, also if it is a refusal.

        Raises
        ------
        Lost
            If there is none.
        """
        line: dict[str, Any] = {"token": self.entry.token, "command": command}
        if arguments:
            line["arguments"] = dict(arguments)
        try:
            self._socket.sendall(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise _lost(error) from error
        answer = self._next()
        if answer is None:
            raise Lost("it closed the connection")
        return answer

    def events(self) -> Iterator[dict[str, Any]]:
        """Subscribe; gives the answer with the status, then events until there are no more.

        Raises
        ------
        Lost
            If it breaks off.
        """
        yield self.request("subscribe")
        with suppress(OSError):  # ended meanwhile
            self._socket.settimeout(None)
        while (event := self._next()) is not None:
            yield event

    def end(self) -> None:
        """End it from any thread; who reads from it goes on at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; only in the thread that uses it."""
        with suppress(OSError):
            self._lines.close()
        self._socket.close()

    def _next(self) -> dict[str, Any] | None:
        """The next line, or None at the end."""
        try:
            line = self._lines.readline()
            value = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError) as error:
            raise _lost(error) from error
        return value if isinstance(value, dict) else None


def _lost(error: Exception) -> Lost:
    if isinstance(error, TimeoutError):
        return Silent("it has not answered for some seconds")
    return Lost(str(error))
