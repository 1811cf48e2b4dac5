"""Watches every call of a whole session: no list of names, so that nothing can be forgotten.

The interpreter itself tells of each call (`sys.setprofile`). It is slow, so one session is enough;
the patches of ``conftest.py`` watch every other test.
"""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

from PyQt6 import sip
from PyQt6.QtCore import QObject
from PyQt6.QtWidgets import QApplication

ROOT = Path(__file__).parents[2]
DEVICES = tuple(str(ROOT / name) + "/" for name in ("drivers", "simulators"))
FILES = ("/h5py/_hl/files.py",)
HERE = str(Path(__file__).parent)
FROM_ANY_THREAD = frozenset({"emit", "connect", "disconnect"})
"""Of a signal: Qt hands it over to the thread of who receives it."""
WAITS = frozenset({"sleep", "select", "poll"})


class Witness:
    """What was called where it must not be.

    Attributes
    ----------
    faults : set of str
        Each said once.
    calls : int
        How many calls of Qt objects in the thread of the window, and of sockets and devices
        outside, were seen: with none of both it has not looked.
    """

    def __init__(self) -> None:
        self.faults: set[str] = set()
        self.qt_calls = self.device_calls = self.socket_calls = 0
        self._is_lent = False

    @contextmanager
    def lent(self) -> Iterator[None]:
        """For what a test itself does in the main thread."""
        self._is_lent = True
        try:
            yield
        finally:
            self._is_lent = False

    def __enter__(self) -> Self:
        threading.setprofile(self._outside)
        sys.setprofile(self._inside)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _inside(self, frame: FrameType, event: str, arg: Any) -> None:
        """In the thread of the window: nothing that waits, no socket, no device, no file."""
        if event == "c_call":
            owner = getattr(arg, "__self__", None)
            if isinstance(owner, socket.socket) and not self._is_lent:
                self._tell(f"socket.{arg.__name__} in the thread of the window", frame)
            elif isinstance(owner, sip.simplewrapper):
                self.qt_calls += 1
            elif arg.__name__ in WAITS and arg.__module__ in ("time", "select"):
                if not self._is_lent:
                    self._tell(f"{arg.__name__} in the thread of the window", frame)
        elif event == "call" and not self._is_lent:
            code = frame.f_code
            name = code.co_filename
            if name.startswith(DEVICES) and is_device(frame):
                self._tell(f"device {code.co_qualname} in the thread of the window", frame)
            elif name.endswith(FILES) and code.co_name == "__init__":
                self._tell("a scan file opened in the thread of the window", frame)

    def _outside(self, frame: FrameType, event: str, arg: Any) -> None:
        """In any other thread: no Qt object."""
        if event == "c_call":
            owner = getattr(arg, "__self__", None)
            if isinstance(owner, socket.socket):
                self.socket_calls += 1
            elif isinstance(owner, sip.simplewrapper):
                of_signal = arg.__name__ in FROM_ANY_THREAD and isinstance(owner, QObject)
                if not of_signal and QApplication.instance() is not None:
                    who = threading.current_thread().name
                    what = f"{type(owner).__name__}.{arg.__name__}"
                    self._tell(f"{what} in thread '{who}'", frame)
        elif event == "call" and frame.f_code.co_filename.startswith(DEVICES) and is_device(frame):
            self.device_calls += 1

    def _tell(self, what: str, frame: FrameType) -> None:
        self.faults.add(f"{what} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})")


def is_device(frame: FrameType) -> bool:
    """Whether a call is one of a device: a method of something with a role."""
    return getattr(frame.f_locals.get("self"), "role", None) is not None
