"""What pyserial leaves to be done."""

from contextlib import suppress
from typing import Any


def close_port(port: Any) -> None:
    """Close a port of pyserial, which may be gone already.

    Of a ``socket://`` port whose other side has closed first, pyserial forgets the socket
    without closing it.
    """
    connection = getattr(port, "_socket", None)
    with suppress(OSError):
        port.close()
    if connection is not None:
        connection.close()
