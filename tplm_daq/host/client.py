"""The other end of the channel: ask a host, or be told of its events."""

import json
import socket
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from tplm_config import InputError
from tplm_daq.host.entries import HostEntry

ANSWER_S = 5.0
"""Longest wait for an answer; a host that is alive takes some milliseconds."""


class HostClient:
    """A connection to a host.

    Parameters
    ----------
    entry : HostEntry
        Which one; `find_hosts` and `pick_host` give it.
    timeout_s : float
        Longest wait for an answer.

    Raises
    ------
    InputError
        If the host is gone or does not answer.
    """

    def __init__(self, entry: HostEntry, timeout_s: float = ANSWER_S) -> None:
        self.entry = entry
        self._timeout_s = timeout_s
        try:
            self._socket = entry.connect(timeout_s)
        except OSError as error:
            raise self._gone(error) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a command and give the answer.

        Parameters
        ----------
        command : str
            What is asked for.
        arguments : mapping, optional
            As JSON has them, for commands of a station that take some.

        Returns
        -------
        dict
            ``message`` and ``status``; see ``docs/host.md``.

        Raises
        ------
        InputError
            If the host is gone, does not answer, or says no.
        """
        message: dict[str, Any] = {"token": self.entry.token, "command": command}
        if arguments is not None:
            message["arguments"] = dict(arguments)
        line = json.dumps(message).encode() + b"\n"
        try:
            self._socket.sendall(line)
        except OSError as error:
            raise self._gone(error) from None
        reply = self._next()
        if reply is None:
            raise self._gone(None)
        if not reply.get("ok"):
            raise InputError(self.entry.path, str(reply.get("error")))
        return reply

    def events(self) -> Iterator[dict[str, Any]]:
        """Subscribe; gives ``{"event": "subscribed", "status": …}``, then events as they happen.

        The last is ``{"event": "host-closed", "status": …}``.

        Raises
        ------
        InputError
            If the host goes without this last word.
        """
        status = self.ask("subscribe")["status"]
        yield {"event": "subscribed", "status": status}
        self._socket.settimeout(None)
        while (event := self._next()) is not None:
            yield event
            if event.get("event") == "host-closed":
                return
        raise self._gone(None)

    def _next(self) -> dict[str, Any] | None:
        """The next line, or None at the end."""
        try:
            line = self._lines.readline()
            reply = json.loads(line) if line.endswith(b"\n") else None
        except ConnectionError:
            return None
        except OSError as error:
            raise self._gone(error) from None
        except ValueError:
            raise InputError(self.entry.path, "what answers there is not a run") from None
        return reply if isinstance(reply, dict) else None

    def _gone(self, error: OSError | None) -> InputError:
        if isinstance(error, TimeoutError):
            return InputError(
                self.entry.path,
                f"its process {self.entry.pid} has not answered for {self._timeout_s:g} s",
                "it is stopped or stuck; look whether the laser is blocked",
            )
        return InputError(
            self.entry.path,
            f"its process {self.entry.pid} has ended or was killed, or closed the connection",
            "what it measured is kept; look whether the laser is blocked, then tplm resume",
        )
