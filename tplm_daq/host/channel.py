"""The local channel: commands in, events out, in one thread that nobody can hold up."""

import hmac
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

LONGEST_COMMAND = 4096
"""Bytes of a command, its line end not counted."""
MOST_WAITING = 1 << 18
"""Bytes that may wait for a client that does not read; one more, and it is dropped. Four of the
longest commands may wait in any case."""
MOST_CLIENTS = 16
MOST_OFFENCES = 10
"""Commands of one connection that may be out of order; the connection is closed at the last."""
IDLE_S = 30.0
"""How long a connection that is not told of events may be silent."""
PARTING_S = 1.0
"""How long a client has to read the last words."""
LOOK_S = 0.5
PIECE = 1 << 14
"""Bytes read in one go."""
Answer = Callable[[str, dict[str, Any] | None], Mapping[str, Any]]


class Refused(Exception):  # noqa: N818 - what the client is told
    """A command changed nothing; the text says why."""


@dataclass(eq=False, slots=True)
class _Client:
    """One connection."""

    socket: socket.socket
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)
    heard_s: float = field(default_factory=time.monotonic)
    offences: int = 0
    trusted: bool = False
    subscribed: bool = False
    slow: bool = False
    closing: bool = False


class Channel:
    """Listens on 127.0.0.1 and answers one JSON object a line with one JSON object a line.

    Parameters
    ----------
    token : str
        What a command must bring with it.
    answer : callable
        Takes the name of a command and its arguments, None where it has none, and gives the
        reply; must not block. It raises `Refused` for what it does not know. ``subscribe`` is
        asked of it too, for the first reply.
    refused : callable
        Told why a command changed nothing.
    tell : callable
        Told in a sentence of a client that was dropped.
    idle_s : float
        How long a connection may be silent.
    longest : int
        Bytes of a command.

    Raises
    ------
    OSError
        If there is no port to listen on.
    """

    def __init__(
        self,
        token: str,
        answer: Answer,
        refused: Callable[[str], None],
        tell: Callable[[str], None],
        idle_s: float = IDLE_S,
        longest: int = LONGEST_COMMAND,
    ) -> None:
        self._token = token.encode()
        self._answer = answer
        self._refused = refused
        self._tell = tell
        self._idle_s = idle_s
        self._longest = longest
        self._most_waiting = max(MOST_WAITING, 4 * longest)
        self._lock = threading.Lock()
        self._clients: list[_Client] = []
        self._ended = threading.Event()
        self._last_line = b""
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows lets others share a port
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen(MOST_CLIENTS)
            self._listener.setblocking(False)
            self._waker, self._woken = socket.socketpair()
        except OSError:
            self._listener.close()
            raise
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._work, name="channel", daemon=True)
        self._thread.start()

    @property
    def has_listeners(self) -> bool:
        """Whether anybody wants to be told of events."""
        return any(client.subscribed for client in self._clients)

    @property
    def has_clients(self) -> bool:
        """Whether anybody is there who may ask for something."""
        return any(client.trusted for client in self._clients)

    def publish(self, event: Mapping[str, Any]) -> None:
        """Tell every subscriber; returns at once, whatever they do."""
        line = _line(event)
        with self._lock:
            for client in self._clients:
                if client.subscribed:
                    self._put(client, line)
        self._wake()

    def close(self, last: Mapping[str, Any]) -> None:
        """Tell every subscriber a last word, and close."""
        self._last_line = _line(last)
        self._ended.set()
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        with suppress(OSError):  # it is awake already
            self._waker.send(b".")

    # -- in the channel's own thread -------------------------------------------------------

    def _work(self) -> None:
        while not self._ended.is_set():
            for key, mask in self._selector.select(min(LOOK_S, self._idle_s)):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    with suppress(OSError):
                        self._woken.recv(4096)
                elif mask & selectors.EVENT_READ:
                    self._serve(key.data)
            self._look_after_all()
        self._say_goodbye()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            self._tell(f"a client could not be let in ({error.strerror or error})")
            self._ended.wait(LOOK_S)  # the program has no room for another socket just now
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(connection)
        if len(self._clients) >= MOST_CLIENTS:
            # those who never showed the token make room for somebody who may
            stranger = next((one for one in self._clients if not one.trusted), None)
            if stranger is None:
                with suppress(OSError):
                    connection.send(_line({"ok": False, "error": "too many clients"}))
                connection.close()
                return
            self._drop(stranger)
        with self._lock:
            self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _serve(self, client: _Client) -> None:
        """Read what came and answer every whole line."""
        try:
            data = client.socket.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        if client.closing:
            return
        client.heard_s = time.monotonic()
        client.incoming += data
        *lines, rest = client.incoming.split(b"\n")
        client.incoming = rest
        if len(rest) > self._longest:
            lines.append(rest)  # where the next command would begin is unknown
        for line in lines:
            self._take(client, bytes(line))
            if client.closing:
                return
        client.closing = len(rest) > self._longest

    def _take(self, client: _Client, line: bytes) -> None:
        """Answer one line."""
        subscribes = False
        try:
            command, arguments = self._read(line)
            client.trusted = True
            reply = self._answer(command, arguments)
            subscribes = command == "subscribe"
        except Refused as error:
            client.offences += 1
            client.closing = client.offences >= MOST_OFFENCES
            self._refused(str(error))
            reply = {"ok": False, "error": str(error)}
        except Exception as error:  # noqa: BLE001 - a defect here must not reach the run
            client.closing = True
            self._tell(f"the channel failed at a command: {type(error).__name__}: {error}")
            reply = {"ok": False, "error": "the channel failed at this command"}
        with self._lock:
            self._put(client, _line(reply))
            client.subscribed = client.subscribed or subscribes

    def _read(self, line: bytes) -> tuple[str, dict[str, Any] | None]:
        """The command in a line, if it is in order and proves where it comes from."""
        if len(line) > self._longest:
            raise Refused(f"a command has at most {self._longest} bytes")
        try:
            command = json.loads(line.decode())
        except (ValueError, RecursionError):
            raise Refused("a command is one JSON object on a line") from None
        if not isinstance(command, dict):
            raise Refused("a command is one JSON object on a line")
        token = command.pop("token", None)
        if not isinstance(token, str) or not hmac.compare_digest(
            token.encode(errors="replace"), self._token
        ):
            raise Refused("the token is wrong or missing")
        name = command.pop("command", None)
        arguments = command.pop("arguments", None)
        if not isinstance(name, str) or command:
            raise Refused('a command has the keys "token", "command", "arguments" and no other')
        if not (arguments is None or isinstance(arguments, dict)):
            raise Refused('the "arguments" of a command are one JSON object')
        return name, arguments

    def _look_after_all(self) -> None:
        """Send what waits, and drop who is gone, slow or silent."""
        now_s = time.monotonic()
        for client in list(self._clients):
            gone = not self._send(client)
            silent_s = now_s - client.heard_s
            if client.slow:
                self._tell("a client that did not read fast enough was dropped")
            elif client.closing:
                gone = gone or silent_s > PARTING_S
            elif not client.subscribed:
                gone = gone or silent_s > self._idle_s
            if gone or client.slow:
                self._drop(client)

    def _put(self, client: _Client, line: bytes) -> None:
        """Have a line wait for a client; the caller holds the lock."""
        if len(client.outgoing) + len(line) > self._most_waiting:
            client.slow = True
        else:
            client.outgoing += line

    def _send(self, client: _Client) -> bool:
        """Send as much as goes; whether the connection still stands."""
        with self._lock:
            try:
                while client.outgoing:
                    del client.outgoing[: client.socket.send(client.outgoing)]
                if client.closing:
                    # a plain close would take back the last answer where more came in meanwhile
                    client.socket.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                pass
            except OSError:
                return False
            waiting = bool(client.outgoing)
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
        if self._selector.get_key(client.socket).events != mask:
            self._selector.modify(client.socket, mask, client)
        return True

    def _drop(self, client: _Client) -> None:
        if client not in self._clients:
            return
        with self._lock:
            self._clients.remove(client)
        self._selector.unregister(client.socket)
        client.socket.close()

    def _say_goodbye(self) -> None:
        self._listener.close()
        deadline_s = time.monotonic() + PARTING_S
        with self._lock:
            for client in self._clients:
                if client.subscribed:
                    client.outgoing += self._last_line
        for client in list(self._clients):
            client.socket.settimeout(max(deadline_s - time.monotonic(), 0.01))
            with suppress(OSError):
                client.socket.sendall(client.outgoing)
            self._drop(client)
        self._selector.close()
        self._waker.close()
        self._woken.close()


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"
