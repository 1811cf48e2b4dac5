"""Time as the engine and the drivers see it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic device time; a simulated clock may run faster than the wall's."""

    def now_s(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` of device time pass."""


class WallClock:
    """The computer's own monotonic clock."""

    def now_s(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
