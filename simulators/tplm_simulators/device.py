"""What all virtual devices share: one bench, and a plug that can be pulled."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tplm_simulators.clock import SimulatedClock
from tplm_simulators.faults import VirtualFault


class Bench:
    """The table all devices stand on: one clock, one lock, one recording of the past.

    Parameters
    ----------
    clock
        Device time.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self._recorder: Callable[[], None] | None = None

    def record_with(self, recorder: Callable[[], None]) -> None:
        """Call `recorder` before anything on the bench changes, with the past still in place."""
        self._recorder = recorder

    def settle(self) -> None:
        """Record everything up to now in the state that held until now."""
        if self._recorder is not None:
            self._recorder()


class Device:
    """A device with a name and a plug.

    Between two commands the state of a device is a function of time alone, which the methods
    ending in ``_at`` give; they are the truth, need no plug, and no driver may call them.

    Parameters
    ----------
    name
        What the operator calls it.
    bench
        Where it stands.
    """

    def __init__(self, name: str, bench: Bench) -> None:
        self.name = name
        self._bench = bench
        self._plugged = True

    def unplug(self) -> None:
        """From now on every call raises `VirtualFault`; what the device does goes on."""
        with self._bench.lock:
            self._plugged = False

    def plug_in(self) -> None:
        """Undo `unplug`."""
        with self._bench.lock:
            self._plugged = True

    def steady_until_s(self, time_s: float) -> float:
        """Until when the state at `time_s` may be taken as constant; later than `time_s`."""
        return math.inf

    def _fault(self, message: str) -> VirtualFault:
        return VirtualFault(self.name, message)

    def _now_s(self) -> float:
        return self._bench.clock.now_s()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        with self._bench.lock:
            if not self._plugged:
                raise self._fault("does not answer")
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._answering():
            self._bench.settle()
            yield
