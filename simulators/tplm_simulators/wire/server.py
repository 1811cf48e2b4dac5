"""A simulated instrument on a wire: TCP on this machine, a log of every byte, and faults."""

import contextlib
import socket
import socketserver
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, Self

FaultKind = Literal["garbled", "truncated", "late", "silent", "dropped"]


class Protocol_(Protocol):  # noqa: N801 - the word is taken by typing
    """An instrument's end of one connection."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take in bytes as they come, whole messages or not, and give the replies they cause."""


@dataclass(frozen=True, slots=True)
class WireFault:
    """What goes wrong with replies.

    Parameters
    ----------
    kind
        ``garbled``: other bytes of the same number; ``truncated``: its first half; ``late``:
        after `delay_s`; ``silent``: nothing; ``dropped``: the connection closes.
    replies
        How many replies; None = all from now on.
    delay_s
        Real seconds.
    """

    kind: FaultKind
    replies: int | None = 1
    delay_s: float = 0.0


class WireServer:
    """Serves one simulated instrument on 127.0.0.1.

    Parameters
    ----------
    instrument : callable
        Makes the instrument's end of a new connection; what the connections share (the state of
        the instrument) is the maker's business.
    """

    def __init__(self, instrument: Callable[[], Protocol_]) -> None:
        self._instrument = instrument
        self._faults: deque[WireFault] = deque()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.log: list[tuple[Literal["<", ">"], bytes]] = []
        """Bytes received (``<``) and sent (``>``), in order."""
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True,
            name=f"simulated instrument on port {self.port}",
        )  # fmt: skip
        self._thread.start()

    @property
    def address(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.port}"

    def fail(self, fault: WireFault) -> None:
        """Let replies go wrong from the next one on."""
        with self._lock:
            self._faults.append(fault)

    def drop(self) -> None:
        """Close every connection now, as when a cable is pulled."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _close(connection)

    def stop(self) -> None:
        """Close everything."""
        self._server.shutdown()
        self._server.server_close()
        self.drop()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._connections.add(connection)
        instrument = self._instrument()
        try:
            while data := connection.recv(65536):
                self.log.append(("<", data))
                for reply in instrument.receive(data):
                    self._send(connection, reply)
        except OSError:
            return  # the other side, or `drop`, closed the connection
        finally:
            with self._lock:
                self._connections.discard(connection)
            _close(connection)

    def _send(self, connection: socket.socket, reply: bytes) -> None:
        fault = self._next_fault()
        if fault is not None:
            match fault.kind:
                case "garbled":
                    reply = bytes(b ^ 0x2A if b not in b"\r\n" else b for b in reply)
                case "truncated":
                    reply = reply[: len(reply) // 2]
                case "late":
                    time.sleep(fault.delay_s)
                case "silent":
                    return
                case "dropped":
                    _close(connection)
                    return
        self.log.append((">", reply))
        connection.sendall(reply)

    def _next_fault(self) -> WireFault | None:
        with self._lock:
            if not self._faults:
                return None
            fault = self._faults[0]
            if fault.replies is None:
                return fault
            self._faults.popleft()
            if fault.replies > 1:
                self._faults.appendleft(WireFault(fault.kind, fault.replies - 1, fault.delay_s))
            return fault


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was closed already
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Lines:
    """Cuts a stream into lines for instruments that speak in lines.

    Parameters
    ----------
    answer : callable
        Gets one line without its end; returns the reply without its end, or None for none.
    reply_end, line_end : bytes
        Ends of replies and of commands.
    """

    def __init__(
        self,
        answer: Callable[[str], str | None],
        reply_end: bytes = b"\r\n",
        line_end: bytes = b"\n",
    ) -> None:
        self._answer = answer
        self._reply_end = reply_end
        self._line_end = line_end
        self._rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole line."""
        *lines, self._rest = (self._rest + data).split(self._line_end)
        replies = (self._answer(line.strip(b"\r\n").decode("latin-1")) for line in lines)
        return [reply.encode("latin-1") + self._reply_end for reply in replies if reply is not None]
