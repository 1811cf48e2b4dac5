"""Watches every call of a whole session: no list of names, so that nothing can be forgotten.

The interpreter itself tells of each call (`sys.setprofile`). It is slow, so one session is enough;
the patches of ``conftest.py`` watch every other test.
"""

import socket
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from PyQt6 import sip

from tplm_gui.data import latest

if TYPE_CHECKING:
    from .conftest import Threads

ROOT = Path(__file__).parents[2]
DEVICES = tuple(str(ROOT / name) + "/" for name in ("drivers", "simulators"))
FILES = ("/h5py/_hl/files.py",)
PATCHES = str(Path(__file__).with_name("conftest.py"))
WAITS = frozenset({"sleep", "select", "poll"})


class Witness:
    """What was called where it must not be.

    Parameters
    ----------
    threads : Threads
        Whether the main thread is lent to what a test itself does.

    Attributes
    ----------
    faults : set of str
        Each said once.
    qt_calls, device_calls, socket_calls : int
        Calls of Qt objects in the thread of the window, of devices and sockets in others: without
        any it has not looked.
    """

    def __init__(self, threads: "Threads") -> None:
        self._threads = threads
        self.faults: set[str] = set()
        self.qt_calls = self.device_calls = self.socket_calls = 0

    def __enter__(self) -> Self:
        latest.work_pool.cache_clear()  # threads of before are not watched
        threading.setprofile(self._outside)
        sys.setprofile(self._inside)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        latest.work_pool.cache_clear()

    def _inside(self, frame: FrameType, event: str, arg: Any) -> None:
        """In the thread of the window: nothing that waits, no socket, no device, no file."""
        if event == "c_call":
            owner = getattr(arg, "__self__", None)
            if isinstance(owner, socket.socket) and not self._threads.is_lent:
                self._tell(f"socket.{arg.__name__} in the thread of the window", frame)
            elif isinstance(owner, sip.simplewrapper):
                self.qt_calls += 1
            elif is_wait(arg) and not self._threads.is_lent:
                self._tell(f"{arg.__name__} in the thread of the window", frame)
        elif event == "call" and not self._threads.is_lent:
            code = frame.f_code
            name = code.co_filename
            if is_device(frame):
                self._tell(f"device {code.co_qualname} in the thread of the window", frame)
            elif name.endswith(FILES) and code.co_name == "__init__":
                self._tell("a scan file opened in the thread of the window", frame)

    def _outside(self, frame: FrameType, event: str, arg: Any) -> None:
        """In any other thread: no Qt object."""
        if event == "c_call":
            owner = getattr(arg, "__self__", None)
            if isinstance(owner, socket.socket):
                self.socket_calls += 1
            elif isinstance(owner, sip.simplewrapper) and frame.f_code.co_filename != PATCHES:
                # of a signal the owner is no Qt object: who emits it may be anybody
                what = f"{type(owner).__name__}.{arg.__name__}"
                self._tell(f"{what} in thread '{threading.current_thread().name}'", frame)
        elif event == "call" and is_device(frame):
            self.device_calls += 1

    def _tell(self, what: str, frame: FrameType) -> None:
        self.faults.add(f"{what} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})")


def is_device(frame: FrameType) -> bool:
    """Whether a call is one of a method of a device."""
    name = frame.f_code.co_filename
    return name.startswith(DEVICES) and hasattr(frame.f_locals.get("self"), "role")


def is_wait(function: Any) -> bool:
    """Whether a function of the interpreter only waits."""
    return function.__name__ in WAITS and function.__module__ in ("time", "select")
