"""Device time that passes only by waiting."""

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable


class SimulatedClock:
    """A monotonic clock that advances by `wait` alone, so that every run is repeatable.

    Safe to use from several threads: each waits until its own moment, and time never goes back.

    Parameters
    ----------
    speed
        Simulated seconds per real second; None = `wait` returns at once.
    """

    def __init__(self, speed: float | None = None) -> None:
        if speed is not None and not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be positive, not {speed}")
        self.speed = speed
        self._now_s = 0.0
        self._lock = threading.Lock()
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._ticket = itertools.count()

    @property
    def real_s_per_s(self) -> float:
        """Real seconds that a simulated second takes; 0 = none."""
        return 0.0 if self.speed is None else 1 / self.speed

    def now_s(self) -> float:
        """Device time, s."""
        with self._lock:
            return self._now_s

    def call_at(self, at_s: float, action: Callable[[], object]) -> None:
        """Run `action` when a wait reaches the device time `at_s`, in the thread that waits.

        Actions of one moment run in the order in which they were asked for; what an action
        raises comes out of that `wait`.
        """
        with self._lock:
            if not at_s >= self._now_s:
                raise ValueError(f"{at_s} s is not ahead of the clock ({self._now_s} s)")
            heapq.heappush(self._agenda, (at_s, next(self._ticket), action))

    def wait(self, seconds: float) -> None:
        """Let `seconds` of device time pass."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"cannot wait {seconds} s")
        target_s = self.now_s() + seconds
        while True:
            stop_s = self._next_stop_s(target_s)
            if self.speed is not None:
                time.sleep(max(stop_s - self.now_s(), 0.0) / self.speed)
            action = self._advance(stop_s)
            if action is not None:
                action()
            elif stop_s >= target_s:
                return

    def _next_stop_s(self, target_s: float) -> float:
        with self._lock:
            return min(target_s, self._agenda[0][0]) if self._agenda else target_s

    def _advance(self, stop_s: float) -> Callable[[], object] | None:
        with self._lock:
            self._now_s = max(self._now_s, stop_s)
            if self._agenda and self._agenda[0][0] <= self._now_s:
                return heapq.heappop(self._agenda)[2]
            return None


class RunningClock(SimulatedClock):
    """A simulated clock that runs by itself, for devices behind a wire.

    The drivers' own libraries wait on the computer's clock, so simulated time must pass for them
    without anybody's `wait`. What is scheduled by `call_at` still happens when a wait reaches it.

    Parameters
    ----------
    speed
        Simulated seconds per real second.
    """

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self._zero_s = time.monotonic()

    def now_s(self) -> float:
        """Device time, s."""
        return (time.monotonic() - self._zero_s) * (self.speed or 1.0)

    def wait(self, seconds: float) -> None:
        """Let `seconds` of device time pass."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"cannot wait {seconds} s")
        target_s = self.now_s() + seconds
        while True:
            left_s = self._next_stop_s(target_s) - self.now_s()
            if left_s > 0:
                time.sleep(left_s * self.real_s_per_s)
            action = self._due()
            if action is not None:
                action()
            elif self.now_s() >= target_s:
                return

    def _due(self) -> Callable[[], object] | None:
        with self._lock:
            if self._agenda and self._agenda[0][0] <= self.now_s():
                return heapq.heappop(self._agenda)[2]
            return None
