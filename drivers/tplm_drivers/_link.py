"""One question, one answer, over a connection that starts afresh after a failure.

A reply that comes late must never be taken for the answer to the next question: whatever goes
wrong, the connection is closed, and the next question opens a new one.
"""

import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
RECONNECT_AFTER_S = (0.1, 0.3)
"""Pauses before a lost connection is made again."""


def reconnecting(ask: Callable[[], T], wait: Callable[[float], None]) -> T:
    """Ask again when the connection is found closed; not when the device is merely slow.

    Only for questions and commands that do no harm when they arrive twice, and never for a laser.

    Parameters
    ----------
    ask
        Opens a new connection if there is none.
    wait
        Lets seconds pass.
    """
    for pause_s in RECONNECT_AFTER_S:
        try:
            return ask()
        except ConnectionError:
            wait(pause_s)
    return ask()


class TcpLink:
    """A TCP connection to an instrument that answers one question at a time.

    Parameters
    ----------
    host, port
        Its address.
    timeout_s
        Longest time for a whole reply.
    wait
        Lets seconds pass, between attempts to reconnect.
    """

    def __init__(
        self, host: str, port: int, timeout_s: float, wait: Callable[[float], None]
    ) -> None:
        self.address = f"{host}:{port}"
        self._place = (host, port)
        self._timeout_s = timeout_s
        self._wait = wait
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def ask(self, question: bytes, length: Callable[[bytes], int | None]) -> bytes:
        """Send a question and give the whole reply.

        Parameters
        ----------
        question
            All bytes to send.
        length
            Gets the bytes so far; gives the length of the whole reply, or None if that cannot be
            told yet.

        Raises
        ------
        TimeoutError, ConnectionError
            If the device is slow, or gone.
        ValueError
            If the reply breaks off or goes on for too long.
        """
        with self._lock:
            return reconnecting(lambda: self._exchange(question, length), self._wait)

    def close(self) -> None:
        """Close the connection; the next question opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, question: bytes, length: Callable[[bytes], int | None]) -> bytes:
        try:
            connection = self._connected()
            connection.sendall(question)
            reply = self._receive(connection, length)
        except BaseException:
            self.close()
            raise
        return reply

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._place, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _receive(self, connection: socket.socket, length: Callable[[bytes], int | None]) -> bytes:
        deadline_s = time.monotonic() + self._timeout_s
        reply = _part(connection)
        if reply is None:
            raise TimeoutError("no reply")
        whole = length(reply)
        if whole is None or len(reply) < whole:
            while whole is None or len(reply) < whole:
                connection.settimeout(max(deadline_s - time.monotonic(), 1e-3))
                part = _part(connection)
                if part is None:
                    raise ValueError(f"the reply broke off after {reply[:60]!r}")
                reply += part
                whole = length(reply)
            connection.settimeout(self._timeout_s)
        if len(reply) > whole:
            raise ValueError(f"more than one reply: {reply[:120]!r}")
        return reply


def line_length(reply: bytes) -> int | None:
    """Length of a reply that ends with carriage return and line feed."""
    end = reply.find(b"\r\n")
    return None if end < 0 else end + 2


def _part(connection: socket.socket) -> bytes | None:
    """What has arrived, or None if nothing does in time."""
    try:
        part = connection.recv(65536)
    except TimeoutError:
        return None
    if not part:
        raise ConnectionResetError("the other side closed the connection")
    return part
