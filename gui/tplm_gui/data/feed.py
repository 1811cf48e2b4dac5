"""The feed of the live map: a child process reads and fits, the window is handed the newest result.

See `tplm_gui.data.maps` for what the child does. Its answers are read in a thread that spends its
time waiting; of answers that come faster than the window draws, only the newest is shown.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from tplm_gui.data.maps import History, MapView, read_message
from tplm_gui.hub import Hub

__all__ = ["History", "MapView", "ScanFeed"]

ENDS_S = 2.0
"""How long the child may take to end by itself."""
AGAIN_MS = 1000
PATIENCE_MS = 5000
"""A file that cannot be read is told after this: a run says its path before it makes the file."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class ScanFeed(QObject):
    """Follows the scan file of the newest status and hands its map to the hub.

    Parameters
    ----------
    hub : Hub
        Whose ``status_changed`` says which file; ``map_changed`` gives the `MapView`.
    """

    _came = pyqtSignal(int)
    _ended = pyqtSignal(int)

    def __init__(self, hub: Hub, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._hub = hub
        self._path: str = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._generation = 0
        self._lock = threading.Lock()
        self._newest: dict[str, Any] | None = None
        self._problem = ""
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self._tell_problem)
        self._came.connect(self._take)
        self._ended.connect(self._child_ended)
        hub.status_changed.connect(self._follow_status)
        if hub.status:
            self._follow_status(hub.status)

    @property
    def path(self) -> str:
        """What is followed: a scan file, the folder of a series, or nothing."""
        return self._path

    @property
    def process_id(self) -> int | None:
        """The child that reads and fits."""
        return None if self._child is None else self._child.pid

    def follow(self, path: str | Path) -> None:
        """Show the map of a file, or of the newest file of a series; "": of none."""
        path = str(path)
        if path == self._path:
            return
        self._path = path
        self._problem = ""
        self._patience.stop()
        with self._lock:
            self._newest = None
            # what the child still has to say is about another file
            self._generation += 1
        self._send()

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        with suppress(OSError):
            child.stdin.close()
        try:
            child.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _follow_status(self, status: dict[str, Any]) -> None:
        station = status.get("station") or {}
        path = status.get("path")
        if status.get("doing") not in ("scan", "series"):
            last = station.get("last") or {}
            path = last.get("path") or self._path
        if not path:
            return
        self.follow(Path(station.get("folder") or "") / path)

    def start(self) -> None:
        """Start the child before there is anything to follow: loading its numerics takes time."""
        if self._child is None:
            self._start()

    def _send(self) -> None:
        if self._child is None and not self._path:
            return
        self.start()
        assert self._child is not None and self._child.stdin is not None
        line = json.dumps({"follow": self._path, "ticket": self._generation}) + "\n"
        with suppress(OSError):  # it has ended; `_child_ended` starts another
            self._child.stdin.write(line.encode())
            self._child.stdin.flush()

    def _start(self) -> None:
        # -P: the folder the window was started in may hold a person's own numpy.py
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "tplm_gui.data.maps"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | ONE_THREAD,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        threading.Thread(
            target=self._receive, args=(self._child,), name="map feed", daemon=True
        ).start()

    def _receive(self, child: "subprocess.Popen[bytes]") -> None:
        """Take what the child writes; in a thread of its own, touches no Qt object but signals."""
        assert child.stdout is not None
        with suppress(EOFError, OSError, RuntimeError), child.stdout as source:
            while True:
                message = read_message(source)  # type: ignore[arg-type]
                with self._lock:
                    if message["ticket"] != self._generation:
                        continue
                    is_first = self._newest is None
                    self._newest = message
                if is_first:
                    self._came.emit(child.pid)
        with suppress(RuntimeError):  # the window is gone
            self._ended.emit(child.pid)

    def _take(self, _: int) -> None:
        with self._lock:
            message, self._newest = self._newest, None
        if message is None:
            return
        if "view" in message:
            self._problem = ""
            self._patience.stop()
            self._hub.map_changed.emit(message["view"])
        else:
            self._problem = message["problem"]
            self._patience.start()

    def _tell_problem(self) -> None:
        words = f"The live map cannot be shown: {self._problem}. What is measured is not affected."
        self._hub.tell("warning", words, code="live-map")

    def _child_ended(self, pid: int) -> None:
        child = self._child
        if child is None or child.pid != pid:
            return
        self._child = None
        if child.stdin is not None:
            with suppress(OSError):
                child.stdin.close()
        code = child.wait()
        words = (
            f"What reads the live map ended by itself (code {code}) and is started again. "
            "What is measured is not affected."
        )
        self._hub.tell("warning", words, code="live-map")
        QTimer.singleShot(AGAIN_MS, self._send)
