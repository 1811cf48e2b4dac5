"""The stream of T3 records that a card makes of photons and sync pulses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tplm_simulators._jit import jit

_NEVER = 2**62
"""Number of a sync pulse that does not come."""


@dataclass(frozen=True, slots=True)
class RecordFormat:
    """How one kind of T3 record is laid out; the time after the pulse follows its number.

    Parameters
    ----------
    dtime_bits, nsync_bits
        Widths of the time after the sync pulse, and of the number of the pulse.
    channel_bit
        Where the number of the input begins.
    first_channel
        What the first input is called.
    channels
        How many inputs can be told apart.
    marker, overflow
        Records of marker 1 and of an overflow, without number.
    counted
        Most overflows that one record can stand for; 0 = it stands for one and has no number.
    """

    dtime_bits: int
    nsync_bits: int
    channel_bit: int
    first_channel: int
    channels: int
    marker: int
    overflow: int
    counted: int


_HYDRAHARP_1 = RecordFormat(15, 10, 25, 0, 63, 1 << 31 | 1 << 25, 1 << 31 | 63 << 25, 0)
_HYDRAHARP_2 = RecordFormat(15, 10, 25, 0, 63, 1 << 31 | 1 << 25, 1 << 31 | 63 << 25, 1023)
FORMATS = {
    0x00010303: RecordFormat(12, 16, 28, 1, 4, 15 << 28 | 1 << 16, 15 << 28, 0),  # PicoHarp 300
    0x00010304: _HYDRAHARP_1,
    0x01010304: _HYDRAHARP_2,
    0x00010305: _HYDRAHARP_2,  # TimeHarp 260 NANO
    0x00010306: _HYDRAHARP_2,  # TimeHarp 260 PICO
    0x00010307: _HYDRAHARP_2,  # generic: MultiHarp, PicoHarp 330
}
"""By the number that vendors' headers call the record type."""


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@jit
def _hash(count: np.uint64) -> np.uint64:
    """64 random bits for each count, which goes up by `_GOLDEN`: SplitMix64."""
    z = (count ^ (count >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def _lottery(weights: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Walker's alias table: each bin holds a threshold (upper half) and the bin beyond it.

    A bin drawn at random, and left for the other one if a second number is above its threshold,
    comes up in proportion to its weight.
    """
    bins = weights.size
    shares = weights * (bins / weights.sum())
    table = np.empty(bins, dtype=np.uint64)
    poor = np.empty(bins, dtype=np.int64)
    rich = np.empty(bins, dtype=np.int64)
    n_poor = n_rich = 0
    for k in range(bins):
        if shares[k] < 1.0:
            poor[n_poor] = k
            n_poor += 1
        else:
            rich[n_rich] = k
            n_rich += 1
    while n_poor > 0 and n_rich > 0:
        n_poor -= 1
        k, giver = poor[n_poor], rich[n_rich - 1]
        threshold = np.uint64(shares[k] * 4294967295.0)
        table[k] = threshold << np.uint64(32) | np.uint64(giver)
        shares[giver] -= 1.0 - shares[k]
        if shares[giver] < 1.0:
            n_rich -= 1
            poor[n_poor] = giver
            n_poor += 1
    for k in rich[:n_rich]:
        table[k] = np.uint64(0xFFFFFFFF) << np.uint64(32) | np.uint64(k)
    for k in poor[:n_poor]:
        table[k] = np.uint64(0xFFFFFFFF) << np.uint64(32) | np.uint64(k)
    return table


@jit
def _write(
    fifo: NDArray[np.uint32],
    table: NDArray[np.uint64],
    photons: float,
    pulses: float,
    first: int,
    phase: float,
    last: int,
    marks: NDArray[np.int64],
    wait: float,
    count: np.uint64,
    overflows: int,
    nsync_bits: int,
    words: tuple[int, int, int],
    counted: int,
) -> tuple[int, float, np.uint64, int, bool]:
    """Write the records of a piece of steady light, until it ends or the FIFO is full."""
    photon_word, marker_word, overflow_word = words
    mask = (1 << nsync_bits) - 1
    bins = np.uint64(table.size)
    room = fifo.size
    pulses_per_photon = pulses / photons if photons > 0.0 else 0.0
    n = mark = 0
    next_mark = marks[0] if marks.size > 0 else _NEVER
    event = min(next_mark, (overflows + 1) << nsync_bits)
    while True:
        ended = wait >= photons
        pulse = last if ended else min(first + int(phase + wait * pulses_per_photon), last)
        if ended or pulse >= event:
            while True:
                due = min(pulse, next_mark)
                while due >> nsync_bits > overflows:
                    if n == room:
                        return n, wait, count, overflows, True
                    number = min((due >> nsync_bits) - overflows, max(counted, 1))
                    fifo[n] = overflow_word | (number if counted > 0 else 0)
                    overflows += number
                    n += 1
                if next_mark > pulse:
                    break
                if n == room:
                    return n, wait, count, overflows, True
                fifo[n] = marker_word | (due & mask)
                n += 1
                mark += 1
                next_mark = marks[mark] if mark < marks.size else _NEVER
            event = min(next_mark, (overflows + 1) << nsync_bits)
            if ended:
                return n, wait - photons, count, overflows, False
        if n == room:
            return n, wait, count, overflows, True
        count += _GOLDEN
        bits = _hash(count)
        # The upper half of the bits names a bin, the lower one tells whether it is left again.
        drawn = ((bits >> np.uint64(32)) * bins) >> np.uint64(32)
        entry = table[drawn]
        stays = (bits & np.uint64(0xFFFFFFFF)) < (entry >> np.uint64(32))
        dtime = np.int64(drawn if stays else entry & np.uint64(0xFFFFFFFF))
        fifo[n] = photon_word | (dtime << nsync_bits) | (pulse & mask)
        n += 1
        count += _GOLDEN
        uniform = float((_hash(count) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53
        wait -= math.log(uniform)


class Stream:
    """The records of one measurement at a time, waiting to be read.

    Photons are a Poisson process along the sync pulses, each with a bin drawn in proportion to
    the light, so a stream does not depend on when it is read, but for where overflows are told.

    Parameters
    ----------
    record_format
        Of the records.
    channel
        Input of the detector, from 0.
    fifo_records
        How many can wait.
    """

    def __init__(self, record_format: RecordFormat, channel: int, fifo_records: int) -> None:
        self.record_format = record_format
        self.fifo_records = fifo_records
        number = channel + record_format.first_channel
        self._words = (
            number << record_format.channel_bit,
            record_format.marker,
            record_format.overflow,
        )
        # Twice as long, so that what waits need not be moved to the front at every read.
        self._fifo = np.empty(2 * fifo_records, dtype=np.uint32)
        self._head = self._tail = 0
        self._weights: NDArray[np.float64] | None = None
        self.begin(-math.inf, 0)

    def begin(self, start_s: float, seed: int) -> None:
        """Begin anew with sync pulse 0, which comes at `start_s`."""
        self._zero_s = start_s
        self._rate_hz = 1.0
        self._last = 0
        self._overflows = 0
        self._count = np.uint64(seed)
        self._wait = -math.log1p(-((seed >> 11) * 2.0**-53))
        self.full = False
        self.clear()

    def add(
        self,
        per_bin_hz: NDArray[np.float64],
        rate_hz: float,
        from_s: float,
        to_s: float,
        marker_times_s: Sequence[float],
    ) -> None:
        """Add what comes from `from_s` to `to_s`; if there is no room, the rest is lost.

        Parameters
        ----------
        per_bin_hz
            Photons per second in each bin.
        rate_hz
            Sync pulses per second.
        from_s, to_s
            Device time, s; `from_s` is where the last piece ended.
        marker_times_s
            When marker input 1 has a pulse.
        """
        if self.full:
            return
        if rate_hz != self._rate_hz:
            self._zero_s = from_s - (from_s - self._zero_s) * self._rate_hz / rate_hz
            self._rate_hz = rate_hz
        begin, end = self._pulses_at(from_s), self._pulses_at(to_s)
        # No pulse comes twice, whatever the rounding of the times.
        begin = max(begin, float(self._last))
        first, self._last = math.floor(begin), max(math.floor(end), self._last)
        marks = [
            min(max(math.floor(self._pulses_at(t)), first), self._last) for t in marker_times_s
        ]
        record_format = self.record_format
        self._make_room()
        n, self._wait, count, self._overflows, self.full = _write(
            self._fifo[self._tail : self._head + self.fifo_records],
            self._lottery(per_bin_hz),
            float(per_bin_hz.sum()) * (to_s - from_s),
            max(end - begin, 0.0),
            first,
            begin - first,
            self._last,
            np.array(marks, dtype=np.int64),
            self._wait,
            self._count,
            self._overflows,
            record_format.nsync_bits,
            self._words,
            record_format.counted,
        )
        self._count = np.uint64(count)
        self._tail += n

    def pause(self, seconds: float) -> None:
        """Let time pass without sync pulses."""
        self._zero_s += seconds

    def read(self, most: int) -> NDArray[np.uint32]:
        """Give and remove the records that wait longest."""
        end = min(self._head + most, self._tail)
        records = self._fifo[self._head : end].copy()
        self._head = end
        if self._head == self._tail:
            self.clear()  # the front of the FIFO is still in the processor's cache
        return records

    def clear(self) -> None:
        """Remove all records that wait."""
        self._head = self._tail = 0

    def _pulses_at(self, time_s: float) -> float:
        return (time_s - self._zero_s) * self._rate_hz

    def _make_room(self) -> None:
        if self._head >= self.fifo_records:
            waiting = self._fifo[self._head : self._tail]
            self._fifo[: waiting.size] = waiting
            self._head, self._tail = 0, waiting.size

    def _lottery(self, weights: NDArray[np.float64]) -> NDArray[np.uint64]:
        if weights is not self._weights:
            self._weights = weights
            self._table = _lottery(weights) if weights.any() else np.zeros(1, dtype=np.uint64)
        return self._table
