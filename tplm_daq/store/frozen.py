"""The frozen file: HDF5 whose metadata never change while rows are written by plain file calls.

All metadata are written once; afterwards HDF5 is never open for writing, so a kill at any
moment leaves a file that every reader opens. See ``docs/decisions/0003-frozen-file.md``.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from tplm_config import ScanPlan
from tplm_daq.store.files import check_room, read_at, replacing, reserve, sync_data, write_at
from tplm_daq.store.layout import (
    COLUMNS,
    COUNTS,
    CRC,
    JOURNAL,
    MEASURED,
    VISITS,
    measured_bytes,
    planned_columns,
    row_crc,
)
from tplm_daq.store.nexus import ScanHeader, group, write_data, write_header

JOURNAL_BYTES = 1 << 18
DECISION_BYTES = 400
"""Of a decision in the journal, beside its dwells."""
DWELL_BYTES = 10
METADATA_BYTES = 1 << 17
"""More than all text and tables of HDF5 itself take."""


def create(path: Path, header: ScanHeader) -> None:
    """Make a frozen file with no row in it, its room on the disk set aside.

    Raises
    ------
    OSError
        If the disk has no room; nothing is left behind.
    """
    with replacing(path) as temporary:
        build(temporary, header)


def journal_bytes(plan: ScanPlan) -> int:
    """Room for the journal: a plan that is decided on the way says so once in each pass."""
    if not plan.decides:
        return JOURNAL_BYTES
    return JOURNAL_BYTES + plan.passes * (DECISION_BYTES + DWELL_BYTES * plan.place_count)


def build(path: Path, header: ScanHeader) -> None:
    """Write a frozen file under its temporary name."""
    visits = header.plan.visit_count
    row_bytes = header.bins * 4 + sum(np.dtype(column.dtype).itemsize for column in COLUMNS) + 8
    check_room(
        path, visits * row_bytes + header.bins * 8 + journal_bytes(header.plan) + METADATA_BYTES
    )
    with h5py.File(path, "w") as file:
        entry = write_header(file, header)
        table = group(entry, "visits", "NXcollection")
        planned = planned_columns(header.plan)
        for column in COLUMNS:
            if column.planned:
                table[column.name] = planned[column.name]
            else:
                _contiguous(table, column.name, (visits,), column.dtype)
            table[column.name].attrs["units"] = column.units
            table[column.name].attrs["meaning"] = column.meaning
        _contiguous(table, "counts", (visits, header.bins), "<u4")
        _contiguous(table, "crc", (visits,), "<u4")
        _contiguous(entry, "journal", (journal_bytes(header.plan),), "<u1")
        table["visit"] = np.arange(visits, dtype="<i4")
        table["crc"].attrs["meaning"] = "CRC-32 of counts and measured columns; 0 = no row yet"
        write_data(
            file,
            table["counts"],
            {"visit": table["visit"], "t_ns": entry["t_ns"]},
            {},
            "counts of each visit (the scan is not finished)",
        )
    reserve(path, path.stat().st_size)


def _contiguous(parent: h5py.Group, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """A dataset with one fixed place in the file; new files read as zeros there."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(parent.id, name.encode(), kind, space, plist)


@dataclass(frozen=True)
class _Extent:
    """Where a dataset lies in the file."""

    offset: int
    row_bytes: int

    def at(self, row: int) -> int:
        return self.offset + row * self.row_bytes


class FrozenFile:
    """Rows of an open frozen file, by plain reads and writes.

    Parameters
    ----------
    path : Path
        A file made by `create`.
    writable : bool
        Whether rows will be written.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        with h5py.File(path, "r") as file:
            self.visits, self.bins = file[COUNTS].shape
            self._columns = [_extent(file[f"{VISITS}/{column.name}"]) for column in MEASURED]
            self._counts = _extent(file[COUNTS])
            self._crc = _extent(file[CRC])
            self._journal = _extent(file[JOURNAL])
            self._journal_size = file[JOURNAL].size
        flags = (os.O_RDWR if writable else os.O_RDONLY) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags)
        self._journal_end = len(self._journal_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the file was let go."""
        return self._fd < 0

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def write_row(self, row: int, values: dict[str, Any], counts: NDArray[np.uint32]) -> None:
        """Write one row and have the disk confirm it; when this returns, it is safe.

        Raises
        ------
        OSError
            If not every byte could be written.
        """
        measured = measured_bytes(values)
        histogram = np.ascontiguousarray(counts, dtype="<u4").tobytes()
        if len(histogram) != self._counts.row_bytes:
            raise ValueError(f"a histogram of {counts.size} bins does not fit {self.bins} bins")
        for extent, data in zip(self._columns, measured, strict=True):
            write_at(self._fd, extent.at(row), data)
        write_at(self._fd, self._counts.at(row), histogram)
        # the checksum goes last: until it matches, the row does not exist
        crc = np.asarray(row_crc(b"".join(measured), histogram), dtype="<u4").tobytes()
        write_at(self._fd, self._crc.at(row), crc)
        sync_data(self._fd)

    def read_counts(self, row: int) -> NDArray[np.uint32] | None:
        """The histogram of a row, or None if the row does not exist (yet)."""
        stored = np.frombuffer(read_at(self._fd, self._crc.at(row), 4), dtype="<u4")
        if stored.size == 0 or stored[0] == 0:
            return None
        measured = b"".join(
            read_at(self._fd, extent.at(row), extent.row_bytes) for extent in self._columns
        )
        histogram = read_at(self._fd, self._counts.at(row), self._counts.row_bytes)
        if row_crc(measured, histogram) != int(stored[0]):
            return None
        return np.frombuffer(histogram, dtype="<u4")

    def write_journal(self, line: str) -> bool:
        """Append a line to the journal; returns False when the journal is full."""
        data = line.encode() + b"\n"
        if self._journal_end + len(data) >= self._journal_size:
            return False
        write_at(self._fd, self._journal.offset + self._journal_end, data)
        self._journal_end += len(data)
        return True

    def _journal_bytes(self) -> bytes:
        """Whole lines of the journal; a line cut by a crash does not count."""
        raw = read_at(self._fd, self._journal.offset, self._journal_size).split(b"\0", 1)[0]
        return raw[: raw.rfind(b"\n") + 1]


def _extent(dataset: h5py.Dataset) -> _Extent:
    offset = dataset.id.get_offset()
    if offset is None:
        raise ValueError(f"{dataset.name} has no fixed place in the file")
    row_items = int(np.prod(dataset.shape[1:], dtype=int))
    return _Extent(int(offset), row_items * dataset.dtype.itemsize)


def is_frozen(path: Path) -> bool:
    """Whether a scan file is still in the form it is measured in."""
    with h5py.File(path, "r") as file:
        return file[COUNTS].chunks is None


__all__ = ["FrozenFile", "build", "create", "is_frozen"]
