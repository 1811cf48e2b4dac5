"""Work beside the window: always the newest that was asked for, in a thread of its own."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal


@cache
def work_pool() -> ThreadPoolExecutor:
    """Two threads for whatever reads or fits."""
    return ThreadPoolExecutor(2, thread_name_prefix="tplm-work")


class Latest(QObject):
    """Carries out a call when nothing was asked for a while; of those that wait, only the newest.

    Parameters
    ----------
    delay_ms : int
        How long it waits for something newer.
    """

    found = pyqtSignal(object)
    """What the newest call returned."""
    failed = pyqtSignal(object)
    """The exception it raised."""
    _ended = pyqtSignal(object)

    def __init__(self, delay_ms: int = 0, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: Callable[[], Any] | None = None
        self._is_busy = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(delay_ms)
        self._timer.timeout.connect(self._begin)
        self._ended.connect(self._take)

    @property
    def is_idle(self) -> bool:
        """Whether everything asked for is done."""
        return self._waiting is None and not self._is_busy

    def ask(self, call: Callable[[], Any]) -> None:
        """Have a call carried out; one that still waits is forgotten."""
        self._waiting = call
        self._timer.start()

    def _begin(self) -> None:
        if self._is_busy or self._waiting is None:
            return
        call, self._waiting = self._waiting, None
        self._is_busy = True
        work_pool().submit(call).add_done_callback(self._tell)

    def _tell(self, future: "Future[Any]") -> None:
        with suppress(RuntimeError):  # the window is gone meanwhile
            self._ended.emit(future)

    def _take(self, future: "Future[Any]") -> None:
        self._is_busy = False
        if self._waiting is not None:
            # what is found now is out of date
            self._timer.start()
            return
        error = future.exception()
        if error is None:
            self.found.emit(future.result())
        else:
            self.failed.emit(error)
