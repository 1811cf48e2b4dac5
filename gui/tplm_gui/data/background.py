"""Work away from the thread of the window, of which only the newest answer counts."""

from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal

from tplm_config import InputError
from tplm_gui.data.latest import work_pool


class _Relay(QObject):
    told = pyqtSignal(int, object, str)


class Background(QObject):
    """Work away from the thread of the window; of two with the same key only the later one tells.

    Parameters
    ----------
    parent : QObject
        Lives as long as the answers are wanted.
    """

    changed = pyqtSignal()
    """Something began or ended."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        # lives as long as any work that may still speak through it
        self._relay = _Relay()
        self._relay.told.connect(self._told)
        self._count = 0
        self._newest: dict[Hashable, int] = {}
        self._then: dict[int, tuple[Hashable, Callable[[Any], None], Callable[[str], None]]] = {}

    def start(
        self,
        key: Hashable,
        work: Callable[[], object],
        done: Callable[[Any], None],
        failed: Callable[[str], None],
    ) -> None:
        """Do some work; ``done`` or ``failed`` is called in the thread of the window."""
        self._count += 1
        number, newest, relay = self._count, self._newest, self._relay
        self._then.pop(newest.get(key, 0), None)
        newest[key] = number
        self._then[number] = (key, done, failed)

        def run() -> None:
            if newest.get(key) != number:
                return
            value: object = None
            problem = ""
            try:
                value = work()
            except InputError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - whatever a file makes happen, one sentence
                problem = f"it could not be done ({type(error).__name__}: {error})"
            with suppress(RuntimeError):  # the window is gone meanwhile
                relay.told.emit(number, value, problem)

        work_pool().submit(run)
        self.changed.emit()

    def cancel(self, key: Hashable) -> None:
        """Want no answer any more."""
        self._then.pop(self._newest.pop(key, 0), None)
        self.changed.emit()

    def is_busy(self, key: Hashable) -> bool:
        """Whether an answer is still to come."""
        return self._newest.get(key, 0) in self._then

    @property
    def busy(self) -> int:
        """How many answers are still to come."""
        return len(self._then)

    def _told(self, number: int, value: object, problem: str) -> None:
        then = self._then.pop(number, None)
        if then is None:
            return
        _, done, failed = then
        if problem:
            failed(problem)
        else:
            done(value)
        self.changed.emit()
