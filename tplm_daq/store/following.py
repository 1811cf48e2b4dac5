"""Following a scan file while a run writes it: at each look, only what came since the last."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tplm_config import InputError
from tplm_daq.store.files import read_at
from tplm_daq.store.layout import COUNTS, CRC, JOURNAL, MEASURED, VISITS, row_crc
from tplm_daq.store.nexus import ScanHeader
from tplm_daq.store.scan import Scan, check_format, read_head, read_scan

ROWS_AT_ONCE = 64
"""Rows in memory at a time, whatever a file holds."""


@dataclass(frozen=True)
class _Places:
    """Where in the file the datasets lie whose rows come one by one."""

    columns: tuple[int, ...]
    counts: int
    crc: int
    journal: int
    journal_bytes: int


class ScanFollower:
    """Reads a scan file again and again, each time only the rows and lines that are new.

    A row exists once its checksum is there and matches, as in `read_scan`. When the run has ended,
    the file's compact form takes its place and is read once; when the scan is resumed, a growing
    file takes that one's place and is read from its beginning. Memory does not grow with visits.
    Not for several threads at once.

    The file is only ever open for reading, and only during a look: Windows replaces no file that
    anybody has open, so it is never held between two looks.

    Parameters
    ----------
    path : Path or str
        The scan file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._identity: tuple[int, ...] | None = None
        self._places: _Places | None = None
        self._finished: Scan | None = None
        self._header: ScanHeader
        self._columns: dict[str, NDArray[Any]]
        self._crc: NDArray[np.uint32]
        self._stored: NDArray[np.bool_]
        self._counts: NDArray[np.int64]
        self._journal: list[dict[str, Any]]
        self._journal_end = 0

    @property
    def is_growing(self) -> bool:
        """Whether the file is in the form it is measured in; false before the first look."""
        return self._places is not None

    def look(self) -> bool:
        """Read what came since the last look.

        Returns
        -------
        bool
            Whether there was anything new: rows, lines of the journal, or another file.

        Raises
        ------
        InputError
            If there is no file, or it is not a scan file of ours; a later look may find one.
        """
        before = self._mark()
        try:
            with self.path.open("rb", buffering=0) as file:
                self._look(file.fileno())
        except FileNotFoundError:
            raise InputError(self.path, "no such file") from None
        except InputError:
            raise
        except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            self._identity = None
            detail = str(error).split("\n", 1)[0][:200]
            raise InputError(self.path, f"not a readable scan file ({detail})") from None
        return self._mark() != before

    def _mark(self) -> tuple[object, ...]:
        """What changes whenever there is something new."""
        if self._identity is None:
            return ()
        if self._finished is not None:
            return self._identity
        return (self._header.created, int(self._stored.sum()), self._journal_end)

    @property
    def scan(self) -> Scan:
        """What the file held at the last look, as `read_scan` would have given it.

        Raises
        ------
        InputError
            If no look has found a scan file yet.
        """
        if self._finished is not None:
            return self._finished
        if self._identity is None:
            raise InputError(self.path, "nothing was read of it yet")
        columns = {name: values.copy() for name, values in self._columns.items()}
        for values in columns.values():
            values.flags.writeable = False
        return Scan(
            path=self.path,
            header=self._header,
            columns=MappingProxyType(columns),
            stored=self._stored.copy(),
            journal=tuple(self._journal),
            position_counts=self._counts.copy(),
        )

    def _look(self, fd: int) -> None:
        identity = _identity(os.fstat(fd))
        if self._finished is not None and identity == self._identity:
            return
        # a file with the number of one that was deleted differs in its rows, if it has any
        known = self._places is not None and identity[:3] == (self._identity or ())[:3]
        if not (known and self._stored.any() and self._is_the_same(fd)):
            self._begin(identity)
        if self._places is not None:
            self._read_rows(fd, self._places)
            self._read_journal(fd, self._places)

    def _begin(self, identity: tuple[int, ...]) -> None:
        self._identity = self._places = self._finished = None
        with h5py.File(self.path, "r") as file:
            check_format(self.path, file)
            if file[COUNTS].chunks is None:
                self._places = _places(file)
                header, columns = read_head(self.path, file)
        if self._places is None:
            self._finished = read_scan(self.path)
        else:
            visits = header.plan.visit_count
            self._header, self._columns = header, columns
            self._crc = np.zeros(visits, dtype="<u4")
            self._stored = np.zeros(visits, dtype=np.bool_)
            self._counts = np.zeros((header.plan.place_count, header.bins), dtype=np.int64)
            self._journal, self._journal_end = [], 0
        if _identity(self.path.stat())[:3] != identity[:3]:
            raise OSError("another file is taking its place; look again")
        self._identity = identity

    def _is_the_same(self, fd: int) -> bool:
        assert self._places is not None
        return np.array_equal(
            self._read_crc(fd, self._places)[self._stored], self._crc[self._stored]
        )

    def _read_crc(self, fd: int, places: _Places) -> NDArray[np.uint32]:
        return np.frombuffer(_read_all(fd, places.crc, self._stored.size * 4), dtype="<u4")

    def _read_rows(self, fd: int, places: _Places) -> None:
        crc = self._read_crc(fd, places)
        new = np.flatnonzero((crc != 0) & ~self._stored)
        position = self._columns["position_index"]
        for start in range(0, new.size, ROWS_AT_ONCE):
            rows = new[start : start + ROWS_AT_ONCE]
            first, last = int(rows[0]), int(rows[-1]) + 1
            values = {}
            for column, offset in zip(MEASURED, places.columns, strict=True):
                size = np.dtype(column.dtype).itemsize
                data = _read_all(fd, offset + first * size, (last - first) * size)
                values[column.name] = np.frombuffer(data, dtype=column.dtype)
            row_bytes = self._counts.shape[1] * 4
            for row in rows:
                histogram = _read_all(fd, places.counts + int(row) * row_bytes, row_bytes)
                measured = b"".join(values[c.name][row - first].tobytes() for c in MEASURED)
                if row_crc(measured, histogram) != crc[row]:
                    continue  # half written, or spoiled: it does not exist
                for name, column_values in values.items():
                    self._columns[name][row] = column_values[row - first]
                self._crc[row], self._stored[row] = crc[row], True
                if position[row] >= 0:
                    self._counts[position[row]] += np.frombuffer(histogram, dtype="<u4")

    def _read_journal(self, fd: int, places: _Places) -> None:
        start = places.journal + self._journal_end
        raw = _read_all(fd, start, places.journal_bytes - self._journal_end).split(b"\0", 1)[0]
        whole = raw[: raw.rfind(b"\n") + 1]  # a last line without its end is not written yet
        self._journal += [json.loads(line) for line in whole.split(b"\n")[:-1]]
        self._journal_end += len(whole)


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    """Tells files of one name apart; the last part also changes with what is written."""
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _places(file: h5py.File) -> _Places:
    def offset(name: str) -> int:
        found = file[name].id.get_offset()
        if found is None:
            raise ValueError(f"{name} has no fixed place in the file")
        return int(found)

    return _Places(
        columns=tuple(offset(f"{VISITS}/{column.name}") for column in MEASURED),
        counts=offset(COUNTS),
        crc=offset(CRC),
        journal=offset(JOURNAL),
        journal_bytes=file[JOURNAL].size,
    )


def _read_all(fd: int, offset: int, size: int) -> bytes:
    data = read_at(fd, offset, size)
    while len(data) < size and (more := read_at(fd, offset + len(data), size - len(data))):
        data += more
    if len(data) < size:
        raise ValueError("it ends too early")
    return data
