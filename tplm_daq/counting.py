"""Counting for a dwell: with the card's own histogram, or from its stream of photons."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tplm_config import Leg, Visit
from tplm_daq.t3.decoder import T3_FORMATS, T3Decoder
from tplm_daq.t3.stream import RecordStream
from tplm_drivers import Clock, DeviceError, Histogram, StreamConfiguration, TcspcCard

FILLING = 0.5
"""How full the brightest bin may get before a dwell is split, at the rate seen so far."""
FEW_COUNTS = 1000
"""Fewer do not tell how the light is spread over the bins."""
ENDING_FLAGS = frozenset({"overflow", "sync-lost", "system-error"})
"""What does not mend by going on with the dwell."""
SHORTEST_S = 1e-3
"""Dwells of the cards are whole milliseconds."""


class Dwell(Protocol):
    """A running dwell; left early, it is given up."""

    def __enter__(self) -> Self:
        """Start counting."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop counting."""

    def is_running(self, rate_hz: float) -> bool:
        """Whether it goes on; `rate_hz` is the highest count rate seen so far."""

    def due_s(self) -> float:
        """Device time when the card will need attention."""

    def is_counting(self) -> bool:
        """Whether the card counts; otherwise what is left is the computer's own work."""

    def brightest_bin(self) -> int | None:
        """Counts in the brightest bin so far; None while the card keeps them to itself."""

    def finish(self) -> Histogram:
        """The counts, when it is over."""


class HistogramDwell:
    """A dwell of a card that makes histograms, in parts that no counter overflows in.

    The length of a part follows from the count rate, at first as if all light fell into one bin,
    then with the share that the brightest bin was seen to have.

    Parameters
    ----------
    card : TcspcCard
        Set up for histograms.
    dwell_s : float
        How long to count.
    rate_hz : float
        Count rate just before.
    clock : Clock
        Device time.
    """

    def __init__(self, card: TcspcCard, dwell_s: float, rate_hz: float, clock: Clock) -> None:
        self._card = card
        self._clock = clock
        self._left_s = dwell_s
        self._rate_hz = rate_hz
        self._share = 1.0
        self._counts: NDArray[np.int64] | None = None
        self._live_s = 0.0
        self._flags: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._card.stop()

    def is_running(self, rate_hz: float) -> bool:
        """Whether it goes on; starts the next part when one is over."""
        if self._card.is_counting():
            return True
        part = self._card.read()
        counts = part.counts.astype(np.int64)
        self._counts = counts if self._counts is None else self._counts + counts
        self._live_s += part.live_s
        self._flags |= part.flags
        self._left_s -= self._part_s
        if self._left_s < SHORTEST_S or part.flags & ENDING_FLAGS:
            return False
        total = int(self._counts.sum())
        if total >= FEW_COUNTS:
            self._share = min(1.0, 2 * int(self._counts.max()) / total)
        self._rate_hz = max(self._rate_hz, rate_hz)
        self._start()
        return True

    def due_s(self) -> float:
        """When the running part is over."""
        return self._due_s

    def is_counting(self) -> bool:
        """Always: what it counted is read at once."""
        return True

    def brightest_bin(self) -> int | None:
        """None: the card tells at the end of the dwell."""
        return None

    def finish(self) -> Histogram:
        """Counts, time and flags of all parts together."""
        assert self._counts is not None, "asked only when it is over"
        return to_histogram(self._counts, self._live_s, self._flags)

    def _start(self) -> None:
        fills_hz = self._rate_hz * self._share
        longest_s = FILLING * self._card.counter_max() / fills_hz if fills_hz > 0 else self._left_s
        # parts of equal length, in whole milliseconds, so that no crumb is left at the end
        parts = max(1.0, np.ceil(self._left_s / max(longest_s, SHORTEST_S)))
        self._part_s = self._left_s if parts == 1 else round(self._left_s / parts, 3) or SHORTEST_S
        self._card.start(self._part_s)
        self._due_s = self._clock.now_s() + self._part_s


class StreamDwell:
    """A dwell of a card that streams photons; the histogram is made as they come.

    Parameters
    ----------
    card : TcspcCard
        Set up for streaming, with `settings`.
    bins : int
        Time bins to keep.
    visit : Visit
        How long to count.
    clock : Clock
        Device time.
    write : callable
        Given every record.
    """

    def __init__(
        self,
        card: TcspcCard,
        settings: StreamConfiguration,
        bins: int,
        visit: Visit,
        clock: Clock,
        write: Callable[[NDArray[np.uint32]], None],
    ) -> None:
        self._card = card
        self._settings = settings
        self._visit = visit
        self._clock = clock
        self._write = write
        self._decoder = T3Decoder(T3_FORMATS[settings.record_type], bins)

    def __enter__(self) -> Self:
        self._card.start(self._visit.dwell_s)
        self._end_s = self._clock.now_s() + self._visit.dwell_s
        self._stream = RecordStream(
            self._card, self._settings, self._clock, self._end_s, self._take
        )
        self._stream.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.__exit__(kind, error, trace)
        self._card.stop()

    def is_running(self, rate_hz: float) -> bool:
        """Whether records are still to come or to be worked up."""
        return self._stream.is_running()

    def due_s(self) -> float:
        """When the dwell is over."""
        return self._end_s

    def is_counting(self) -> bool:
        """Whether records may still come from the card."""
        return self._stream.is_reading()

    @property
    def sync_count(self) -> int:
        """Pulses that the records tell of."""
        return self._decoder.sync_count

    def brightest_bin(self) -> int | None:
        """Counts in the brightest bin so far."""
        return int(self._counts.max())

    def finish(self) -> Histogram:
        """The histogram of the stream."""
        end = self._card.end_stream()
        return to_histogram(self._counts, end.live_s, end.flags)

    @property
    def _counts(self) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = self._decoder.histogram[self._settings.channel]
        return counts

    def _take(self, records: NDArray[np.uint32]) -> None:
        self._write(records)
        self._decoder.feed(records)


@contextmanager
def light_first(darken: Callable[[], None]) -> Iterator[None]:
    """Have the light blocked before anything else is done about a failure."""
    try:
        yield
    except BaseException:
        darken()
        raise


def to_histogram(counts: NDArray[np.int64], live_s: float, flags: frozenset[str]) -> Histogram:
    """Counts in the width in which they are stored; what does not fit it is an overflow."""
    most = np.iinfo(np.uint32).max
    if counts.max(initial=0) > most:
        counts, flags = np.minimum(counts, most), flags | {"overflow"}
    return Histogram(counts.astype(np.uint32), live_s, flags)


def which(leg: Leg) -> str:
    """Name the visits of a leg, with the verb of what becomes of them: "visit 3, which is"."""
    if len(leg) == 1:
        return f"visit {leg[0].index}, which is"
    return f"visits {leg[0].index} to {leg[-1].index}, which are"


class SyncLostError(DeviceError):
    """There were no pulses to count by."""


def check_flags(flags: frozenset[str], what: str) -> None:
    """Raise if counts were lost that nothing can make good.

    Parameters
    ----------
    flags : frozenset of str
        What the card complained of.
    what : str
        What is lost, as `which` says it.

    Raises
    ------
    SyncLostError
        If the sync signal was lost.
    DeviceError
        If the FIFO ran over.
    """
    if "fifo-full" in flags:
        raise DeviceError(
            "card",
            f"its FIFO ran over during {what} not kept: more photons came than the computer "
            "could read",
            "lower the count rate, end other programs or write to a faster disk, then resume the "
            "scan",
        )
    if "sync-lost" in flags:
        raise SyncLostError(
            "card",
            f"the sync signal was lost during {what} not kept",
            "check the laser's trigger output and its cable, then resume the scan",
        )
