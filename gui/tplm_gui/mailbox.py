"""From any thread into that of the window."""

import threading
import time
from collections import deque
from collections.abc import Callable

from PyQt6.QtCore import QObject, Qt, pyqtSignal

DELIVER_S = 0.008
"""How long the window takes in what came, before it paints again."""

Deed = Callable[[], None]


class Mailbox(QObject):
    """Has things done in the thread of the window, in their order, whoever asks for it."""

    _came = pyqtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._deeds: deque[Deed] = deque()
        self._lock = threading.Lock()
        self._is_awake = self._is_closed = False
        self._came.connect(self._deliver, Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]

    def post(self, deed: Deed) -> None:
        """Have it done soon; from any thread."""
        with self._lock:
            if self._is_closed:
                return
            self._deeds.append(deed)
            if not self._is_awake:
                self._is_awake = True
                self._came.emit()

    def close(self) -> None:
        """Nothing is done any more."""
        with self._lock:
            self._is_closed = True
            self._deeds.clear()

    def _deliver(self) -> None:
        until_s = time.perf_counter() + DELIVER_S
        while True:
            with self._lock:
                self._is_awake = bool(self._deeds)
                if not self._deeds:
                    return
                if time.perf_counter() > until_s:
                    self._came.emit()
                    return
                deed = self._deeds.popleft()
            is_done = False
            try:
                deed()
                is_done = True
            finally:
                if not is_done:  # a defect in a view must not keep the rest from being told
                    self._came.emit()
