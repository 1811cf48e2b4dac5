"""Reading a card's FIFO while it measures: one thread reads, another works the records up."""

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tplm_drivers import Clock, DeviceError, StreamConfiguration, TcspcCard

BUFFER_BYTES = 64 << 20
"""Memory between the card and the disk: what a disk that stops for a moment may delay."""
LONGEST_WAIT_S = 0.05
PATIENCE_S = 0.1
STUCK_S = 3.0
"""A read that takes longer than this, in real time, will not come back."""
SHORTEST_WAIT_S = 2e-4

Sink = Callable[[NDArray[np.uint32]], None]


class RecordStream:
    """Reads records from a card that has been started, until its dwell is over.

    The reading thread does nothing but move records from the card's FIFO into buffers; a second
    thread hands them to the sink, in order. There are so many buffers and no more: when the sink
    is slower than the card for long, the FIFO runs over and the card tells.

    Parameters
    ----------
    card : TcspcCard
        Counting.
    settings : StreamConfiguration
        What it was set up with.
    clock : Clock
        Device time.
    end_s : float
        Device time at which the dwell will be over.
    sink : callable
        Given each block; may not keep it.
    """

    def __init__(
        self,
        card: TcspcCard,
        settings: StreamConfiguration,
        clock: Clock,
        end_s: float,
        sink: Sink,
    ) -> None:
        self._card = card
        self._settings = settings
        self._clock = clock
        self._end_s = end_s
        self._sink = sink
        self._stop = threading.Event()
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._free: queue.LifoQueue[NDArray[np.uint32]] = queue.LifoQueue()
        self._full: queue.SimpleQueue[tuple[NDArray[np.uint32], int] | None] = queue.SimpleQueue()
        self._spare = max(4, BUFFER_BYTES // (4 * settings.read_records))
        """Buffers that may still be made: a slow stream needs one or two."""
        self._reader = threading.Thread(target=self._read, name="card records", daemon=True)
        self._worker = threading.Thread(target=self._work, name="photon counting", daemon=True)
        self._joined = threading.Event()

    def __enter__(self) -> Self:
        self._reader.start()
        self._worker.start()
        while not self._joined.wait(PATIENCE_S):
            pass  # in turns, because Windows lets no Ctrl-C through to a wait without end
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        give_up_s = time.monotonic() + STUCK_S
        while self._reader.is_alive():
            if time.monotonic() > give_up_s:
                raise DeviceError(
                    "card",
                    f"its library has not come back from reading for {STUCK_S:g} s",
                    "end the program, switch the card off and on, then resume the scan",
                )
            self._clock.wait(SHORTEST_WAIT_S)  # it may wait for simulated time
            self._reader.join(0.001)
        while self._worker.is_alive():
            self._worker.join(PATIENCE_S)

    def is_reading(self) -> bool:
        """Whether records may still come from the card."""
        return self._reader.is_alive()

    def is_running(self) -> bool:
        """Whether records are still to come or to be worked up.

        Raises
        ------
        DeviceError, OSError
            What ended the stream early.
        """
        if not self._reader.is_alive():
            # what is left is the computer's own work, which no device time has to wait for
            self._done.wait(PATIENCE_S)
        if self._failure is not None:
            raise self._failure
        return not self._done.is_set()

    def _read(self) -> None:
        try:
            with self._clock.joined():
                self._joined.set()
                self._read_all()
        except BaseException as error:  # noqa: BLE001 - raised by `is_running`
            self._failure = self._failure or error
        finally:
            self._joined.set()
            self._full.put(None)

    def _read_all(self) -> None:
        size = self._settings.read_records
        over = False
        read_s = self._clock.now_s()
        buffer = self._next_buffer()
        while buffer is not None:
            # asked before reading: what comes after the end was in the FIFO at the end
            over = over or not self._card.is_counting()
            count = self._card.read_records(buffer)
            now_s = self._clock.now_s()
            if count:
                self._full.put((buffer, count))
                buffer = self._next_buffer()
            elif over:
                return
            if count < size and not over:
                self._clock.wait(self._pause_s(count, now_s - read_s, now_s))
            read_s = now_s

    def _pause_s(self, count: int, since_s: float, now_s: float) -> float:
        """How long to let the FIFO fill: an eighth of it, not beyond the end of the dwell."""
        pause_s = LONGEST_WAIT_S
        if count:
            pause_s = min(pause_s, self._settings.fifo_records / 8 * since_s / count)
        left_s = self._end_s - now_s
        if left_s > 0:
            pause_s = min(pause_s, left_s)
        return max(pause_s, SHORTEST_WAIT_S)

    def _next_buffer(self) -> NDArray[np.uint32] | None:
        """A free buffer, or None if the stream is to stop."""
        while not self._stop.is_set() and self._failure is None:
            try:
                return self._free.get(timeout=0.0 if self._spare else PATIENCE_S)
            except queue.Empty:
                if self._spare:
                    self._spare -= 1
                    return np.empty(self._settings.read_records, dtype=np.uint32)
        return None

    def _work(self) -> None:
        try:
            while (block := self._full.get()) is not None:
                buffer, count = block
                if not self._stop.is_set():
                    self._sink(buffer[:count])
                self._free.put(buffer)
        except BaseException as error:  # noqa: BLE001 - raised by `is_running`
            self._failure = self._failure or error
            self._stop.set()
        finally:
            self._done.set()
