"""Single-pass decoding of PicoQuant T3 records into delay-time histograms.

Every T3 record is 32 bits: a photon (channel, delay since the last sync, sync number), a
marker, or an overflow of the sync counter. `T3Decoder` takes them in blocks of any size,
from a file or from a running device, and keeps one histogram per channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["T2_FORMATS", "T3_FORMATS", "T3Decoder", "T3Format"]

F = TypeVar("F", bound=Callable[..., Any])


def jit(fn: F) -> F:
    """Compile `fn` to machine code that runs without the interpreter lock."""
    return cast(F, numba.njit(nogil=True, cache=True, error_model="numpy")(fn))


@dataclass(frozen=True, slots=True)
class T3Format:
    """Bit layout of one kind of T3 record.

    Attributes
    ----------
    code
        Value of the header tag ``TTResultFormat_TTTRRecType``.
    name
        Name as ptufile spells it.
    device
        Device that writes these records.
    channels
        Number of input channels a record can name; ours are numbered from 0.
    dtime_bits, nsync_bits
        Widths of the delay time and of the sync number.
    overflow_shift, overflow_code
        A record is an overflow if ``record >> overflow_shift == overflow_code``.
    overflow_counted
        Whether one overflow record may stand for several, their number being in nsync.
    """

    code: int
    name: str
    device: str
    channels: int = 64
    dtime_bits: int = 15
    nsync_bits: int = 10
    overflow_shift: int = 25
    overflow_code: int = 0x7F
    overflow_counted: bool = True

    @property
    def bins(self) -> int:
        """Number of delay times a record can hold."""
        return 1 << self.dtime_bits

    def is_overflow(self, record: int) -> bool:
        """Whether `record` is an overflow of the sync counter."""
        return record >> self.overflow_shift == self.overflow_code


_HYDRAHARP = T3Format(0x01010304, "HydraHarp2T3", "HydraHarp 400 (V2)")

T3_FORMATS: dict[int, T3Format] = {
    record_format.code: record_format
    for record_format in (
        _HYDRAHARP,
        T3Format(0x00010304, "HydraHarpT3", "HydraHarp 400 (V1)", overflow_counted=False),
        replace(_HYDRAHARP, code=0x00010305, name="TimeHarp260NT3", device="TimeHarp 260 NANO"),
        replace(_HYDRAHARP, code=0x00010306, name="TimeHarp260PT3", device="TimeHarp 260 PICO"),
        replace(_HYDRAHARP, code=0x00010307, name="GenericT3", device="MultiHarp, PicoHarp 330"),
        T3Format(
            0x00010303,
            "PicoHarpT3",
            "PicoHarp 300",
            channels=4,
            dtime_bits=12,
            nsync_bits=16,
            overflow_shift=16,
            overflow_code=0xF000,
            overflow_counted=False,
        ),
    )
}
"""Formats that can be decoded, by record type code."""

T2_FORMATS: dict[int, str] = {
    0x00010203: "PicoHarpT2",
    0x00010204: "HydraHarpT2",
    0x01010204: "HydraHarp2T2",
    0x00010205: "TimeHarp260NT2",
    0x00010206: "TimeHarp260PT2",
    0x00010207: "GenericT2",
}
"""Names of the formats without a delay time, known only so that they can be refused."""

_PICOHARP = T3_FORMATS[0x00010303]

# Every record increments exactly one counter, so that none is lost. The counters are, in this
# order: for each channel one per bin and one for all later delay times; then this tail of
# special records.
_TAIL = 64
_MARKERS = slice(1, 16)
_OVERFLOWS = 63


MANY_SPECIALS = 0.12
"""Share of special records above which a loop without branches is faster (measured)."""


@jit
def _count_mostly_photons(
    records: NDArray[np.uint32], cells: NDArray[np.int64], bins: int, nsync_mask: int
) -> int:
    """Count `records` into `cells`; return the number of sync counter overflows."""
    # Unsigned throughout: signed indices cost a test for negative ones.
    last = np.uint32(bins)
    stride = np.uint32(bins + 1)
    tail = np.uint32(64) * stride
    mask = np.uint32(nsync_mask)
    overflows = 0
    for record in records:
        row = record >> np.uint32(25)  # the special bit, then the channel
        if row < np.uint32(64):
            dtime = min((record >> np.uint32(10)) & np.uint32(0x7FFF), last)
            cells[row * stride + dtime] += 1
        else:
            cells[tail + (row & np.uint32(63))] += 1
            if row == np.uint32(127):
                # a number of 0 comes from old firmware and means 1
                overflows += int(max(record & mask, np.uint32(1)))
    return overflows


@jit
def _count_many_specials(
    records: NDArray[np.uint32], cells: NDArray[np.int64], bins: int, nsync_mask: int
) -> int:
    """Do the same without a branch, which random overflows would mispredict."""
    last = np.uint32(bins)
    stride = np.uint32(bins + 1)
    tail = np.uint32(64) * stride
    mask = np.uint32(nsync_mask)
    overflows = 0
    for record in records:
        row = record >> np.uint32(25)  # the special bit, then the channel
        channel = row & np.uint32(63)
        dtime = min((record >> np.uint32(10)) & np.uint32(0x7FFF), last)
        cells[tail + channel if row >= np.uint32(64) else channel * stride + dtime] += 1
        overflows += int(row == np.uint32(127)) * int(max(record & mask, np.uint32(1)))
    return overflows


@jit
def _count_picoharp(records: NDArray[np.uint32], cells: NDArray[np.int64], bins: int) -> int:
    """Count `records` into `cells`; return the number of sync counter overflows."""
    last = np.uint32(bins)
    stride = np.uint32(bins + 1)
    tail = np.uint32(4) * stride
    overflows = 0
    for record in records:
        channel = record >> np.uint32(28)
        dtime = (record >> np.uint32(16)) & np.uint32(0xFFF)
        if channel - np.uint32(1) < np.uint32(4):  # channel 0 wraps around to a large number
            cell = (channel - np.uint32(1)) * stride + min(dtime, last)
        elif channel != np.uint32(15):
            cell = tail + np.uint32(16) + channel  # no such channel: among the invalid records
        elif dtime != np.uint32(0):
            cell = tail + min(dtime, np.uint32(15))
        else:
            cell = tail + np.uint32(63)
            overflows += 1
        cells[cell] += 1
    return overflows


@jit
def _first_at(
    records: NDArray[np.uint32],
    base: int,
    sync: int,
    marker_bits: int,
    picoharp: bool,
    counted: bool,
) -> tuple[int, int]:
    """Find the first record at or after a sync pulse, or the first marker with one of the bits.

    Returns its index and sync number; the number of records if there is none. `base` is the sync
    number at the last overflow. A search for a marker has `sync` = the largest integer.
    """
    for i in range(records.size):
        record = np.int64(records[i])
        if picoharp:
            special = record >> 28 == 15
            bits = (record >> 16) & 0xF
            overflow = special and bits == 0
            nsync, turn = record & 0xFFFF, 65536
        else:
            special = record >> 31 == 1
            bits = (record >> 25) & 63
            overflow = special and bits == 63
            nsync, turn = record & 1023, 1024
        if overflow:
            turns = int(nsync) if counted and nsync > 0 else 1
            base += turn * turns
            now = base
        else:
            now = base + int(nsync)
            if special and 0 < bits < 16 and bits & marker_bits:
                return i, now
        if now >= sync:
            return i, now
    return records.size, 0


_NEVER = np.iinfo(np.int64).max


class T3Decoder:
    """Histograms of the delay times in a stream of T3 records, one per channel.

    The result does not depend on how the stream is cut into blocks. `feed` releases the
    interpreter lock while it counts; the histogram may be read by another thread meanwhile
    and is then at most one block ahead of the other figures.

    Parameters
    ----------
    record_format
        Layout of the records, from `T3_FORMATS`.
    bins
        Number of delay times to keep, by default all that the format can express.
        Photons with later ones are counted in `out_of_range`.
    """

    def __init__(self, record_format: T3Format, bins: int | None = None) -> None:
        bins = record_format.bins if bins is None else bins
        if not 1 <= bins <= record_format.bins:
            raise ValueError(
                f"{bins} bins requested; a {record_format.name} record has between 1 and "
                f"{record_format.bins}"
            )
        self.format = record_format
        self.bins = bins
        self.records = 0
        """Number of records decoded so far."""
        self.sync_count = 0
        """Number of the last sync pulse the records tell of, counted from the start."""
        self._overflows = 0
        self._many_specials = False
        photon_cells = record_format.channels * (bins + 1)
        self._cells = np.zeros(photon_cells + _TAIL, dtype=np.int64)
        self._photons = self._cells[:photon_cells].reshape(record_format.channels, bins + 1)
        self._specials = self._cells[photon_cells:]

    def feed(self, records: NDArray[np.uint32]) -> None:
        """Count the next block of the stream."""
        if records.dtype != np.uint32 or records.ndim != 1:
            raise TypeError(
                f"T3 records are a one-dimensional uint32 array, not {records.dtype} "
                f"with {records.ndim} dimensions"
            )
        if records.size == 0:
            return
        block = np.ascontiguousarray(records).view()
        block.flags.writeable = False  # one compiled version serves devices and mapped files
        if self.format is _PICOHARP:
            self._overflows += _count_picoharp(block, self._cells, self.bins)
        else:
            nsync_mask = 0x3FF if self.format.overflow_counted else 0
            count = _count_many_specials if self._many_specials else _count_mostly_photons
            before = int(self._specials.sum())
            self._overflows += count(block, self._cells, self.bins, nsync_mask)
            # neighbouring blocks are alike
            specials = int(self._specials.sum()) - before
            self._many_specials = specials > MANY_SPECIALS * block.size
        self.records += block.size

        # An overflow record's own nsync is a number of overflows, or nothing.
        last = int(block[-1])
        nsync_bits = self.format.nsync_bits
        nsync = 0 if self.format.is_overflow(last) else last & ((1 << nsync_bits) - 1)
        self.sync_count = (self._overflows << nsync_bits) + nsync

    def index_at(self, records: NDArray[np.uint32], sync: int) -> int:
        """Where the next block of the stream reaches a sync pulse; its size if it does not.

        The records from there on, an overflow that passes the pulse included, come at or after it.
        """
        return self._first_at(records, sync, 0)[0]

    def next_marker(self, records: NDArray[np.uint32], bits: int = 15) -> tuple[int, int]:
        """Where the next block has its first marker with one of the bits, and its sync number.

        The index is the size of the block if there is none.
        """
        return self._first_at(records, int(_NEVER), bits)

    def _first_at(self, records: NDArray[np.uint32], sync: int, bits: int) -> tuple[int, int]:
        block = np.ascontiguousarray(records).view()
        block.flags.writeable = False
        base = self._overflows << self.format.nsync_bits
        picoharp = self.format is _PICOHARP
        index, now = _first_at(block, base, sync, bits, picoharp, self.format.overflow_counted)
        return int(index), int(now)

    def take(self, channel: int) -> NDArray[np.int64]:
        """Return a channel's histogram and begin the histograms of all channels anew."""
        counts: NDArray[np.int64] = self.histogram[channel].copy()
        self.histogram[:] = 0
        return counts

    @property
    def histogram(self) -> NDArray[np.int64]:
        """Photons by channel and delay time; a live view, not a copy."""
        return self._photons[:, : self.bins]

    @property
    def photons(self) -> int:
        """Number of photon records, those out of range included."""
        return self.records - int(self._specials.sum())

    @property
    def out_of_range(self) -> int:
        """Number of photons whose delay time lies after the last bin."""
        return int(self._photons[:, self.bins].sum())

    @property
    def markers(self) -> int:
        """Number of marker records."""
        return int(self._specials[_MARKERS].sum())

    @property
    def overflow_records(self) -> int:
        """Number of overflow records; each may stand for several overflows."""
        return int(self._specials[_OVERFLOWS])

    @property
    def invalid(self) -> int:
        """Number of records that are none of these; in a sound stream there are none."""
        return int(self._specials.sum()) - self.markers - self.overflow_records
