"""Time as the engine and the drivers see it."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Clock(Protocol):
    """Monotonic device time; a simulated clock may run faster than the wall's."""

    def now_s(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` of device time pass."""

    def joined(self) -> AbstractContextManager[None]:
        """Have simulated time wait for this thread, which works beside the one that measures.

        While a thread is joined, simulated time passes only when it waits too, as little as it
        asks for; it must do all its waiting for devices by `wait`. Real time waits for nobody.
        """


class WallClock:
    """The computer's own monotonic clock."""

    def now_s(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def joined(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()
