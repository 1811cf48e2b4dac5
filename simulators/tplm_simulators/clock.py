"""Device time that passes only by waiting."""

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

_PATIENCE_S = 0.1
"""Longest real wait in one go: on Windows, Ctrl-C is noticed only between two of them."""


class SimulatedClock:
    """A monotonic clock that advances by `wait` alone, so that every run is repeatable.

    Safe to use from several threads: each waits until its own moment, and time never goes back.
    Time is driven by the threads that are not `joined`; it stops at every moment for which a
    joined thread waits, and goes on when all of them wait again.

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
        self._quiet = threading.Condition(self._lock)
        self._due = threading.Condition(self._lock)
        self._joined: set[int] = set()
        self._moments_s: dict[int, float] = {}
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

    def joined(self) -> AbstractContextManager[None]:
        """Have time wait for this thread, which works beside the one that measures.

        Its `wait` returns when time, driven by a thread that is not joined, has reached its
        moment; so whoever drives time must not block on a joined thread other than by `wait`.
        """
        return self._join()

    @contextmanager
    def _join(self) -> Iterator[None]:
        thread = threading.get_ident()
        with self._lock:
            if thread in self._joined:
                raise RuntimeError("this thread has joined the clock already")
            self._joined.add(thread)
        try:
            yield
        finally:
            with self._lock:
                self._joined.discard(thread)
                self._moments_s.pop(thread, None)
                self._quiet.notify_all()

    def wait(self, seconds: float) -> None:
        """Let `seconds` of device time pass; joined threads have then done all that was due."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"cannot wait {seconds} s")
        if threading.get_ident() in self._joined:
            self._wait_for_others(seconds)
            return
        target_s = self.now_s() + seconds
        arrived = False
        while not arrived:
            stop_s = target_s
            if self.speed is not None:
                stop_s = self._next_stop_s(target_s)
                time.sleep(max(stop_s - self.now_s(), 0.0) / self.speed)
            action, arrived = self._advance(stop_s, target_s)
            if action is not None:
                action()

    def _wait_for_others(self, seconds: float) -> None:
        if seconds == 0:
            time.sleep(0)
            return
        thread = threading.get_ident()
        with self._lock:
            self._moments_s[thread] = self._now_s + seconds
            self._quiet.notify_all()
            while thread in self._moments_s:
                self._due.wait(_PATIENCE_S)

    def _next_stop_s(self, target_s: float) -> float:
        with self._lock:
            return self._nearest_s(target_s)

    def _nearest_s(self, target_s: float) -> float:
        """How far time may go, once all joined threads wait."""
        while len(self._moments_s) < len(self._joined):
            self._quiet.wait(_PATIENCE_S)
        agenda = (self._agenda[0][0],) if self._agenda else ()
        nearest_s: float = min((target_s, *agenda, *self._moments_s.values()))
        return nearest_s

    def _advance(self, stop_s: float, target_s: float) -> tuple[Callable[[], object] | None, bool]:
        """Go one step towards the target: what to do there, and whether it was the last."""
        with self._lock:
            # Somebody may have joined since `stop_s` was found, so it is looked at again.
            self._now_s = max(self._now_s, self._nearest_s(stop_s))
            if self._agenda and self._agenda[0][0] <= self._now_s:
                return heapq.heappop(self._agenda)[2], False
            due = [thread for thread, at_s in self._moments_s.items() if at_s <= self._now_s]
            for thread in due:
                del self._moments_s[thread]
            if due:
                self._due.notify_all()
            return None, not due and self._now_s >= target_s


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

    def joined(self) -> AbstractContextManager[None]:
        """Do nothing: this time waits for nobody."""
        return nullcontext()

    def wait(self, seconds: float) -> None:
        """Let `seconds` of device time pass."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"cannot wait {seconds} s")
        target_s = self.now_s() + seconds
        while True:
            left_s = self._next_stop_s(target_s) - self.now_s()
            if left_s > 0:
                time.sleep(left_s * self.real_s_per_s)
            action = self._action()
            if action is not None:
                action()
            elif self.now_s() >= target_s:
                return

    def _action(self) -> Callable[[], object] | None:
        with self._lock:
            if self._agenda and self._agenda[0][0] <= self.now_s():
                return heapq.heappop(self._agenda)[2]
            return None
