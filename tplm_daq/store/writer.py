"""Writing a scan: an essential observer of the run."""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import filelock
import h5py
import numpy as np
from numpy.typing import NDArray

from tplm_config import CrossScan, InputError, LineScan, RasterScan, Visit
from tplm_daq.events import (
    Centred,
    Decided,
    Event,
    Notice,
    RunEnded,
    RunStarted,
    StateChanged,
    VisitMeasured,
    VisitRecord,
    to_json,
)
from tplm_daq.store import frozen
from tplm_daq.store.analyses import bring_analyses, copy_analyses
from tplm_daq.store.files import check_room, replacing
from tplm_daq.store.frozen import FrozenFile
from tplm_daq.store.layout import COLUMNS, COUNTS, CRC, JOURNAL, MEASURED, VISITS, flag_bits
from tplm_daq.store.locks import release_lock, take_lock
from tplm_daq.store.nexus import ScanHeader, group, write_data, write_header
from tplm_daq.store.scan import Scan, default_axis, read_scan
from tplm_daq.wall import utc_now


class ScanWriter:
    """Owns a scan file while it is measured; made by `create` or `resume`.

    Subscribed to a run as an essential observer, it writes each visit as it is measured; when
    the call returns the row is on the disk. `finish` turns the file into its compact form.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock, scan: Scan) -> None:
        self.path = path
        self.plan = scan.plan
        self._lock = lock
        self._wanted = scan.wanted
        self._stored = scan.stored.copy()
        ends = scan.columns["started_s"] + scan.columns["live_s"]
        self.elapsed_s = float(ends[scan.stored].max()) if scan.stored.any() else 0.0
        self.sample_home_um = _sample_home_um(scan)
        self._file = FrozenFile(path, writable=True)

    @classmethod
    def create(cls, path: str | Path, header: ScanHeader) -> Self:
        """Begin a new file.

        Raises
        ------
        InputError
            If the file exists, another run owns it, or the disk has no room for the plan.
        """
        path = Path(path)
        if path.suffix.lower() != ".h5":
            raise InputError(path, "a scan file is HDF5", "let its name end in .h5")
        if not path.parent.is_dir():
            raise InputError(path, f"the folder {path.parent} does not exist", "make it first")
        lock = take_lock(path)
        try:
            if path.exists():
                raise InputError(
                    path, "the file exists already", "choose another name, or use tplm resume"
                )
            frozen.create(path, header)
            return cls(path, lock, read_scan(path))
        except OSError as error:
            release_lock(lock)
            raise InputError(path, _no_room(error, header)) from error
        except BaseException:
            release_lock(lock)
            raise

    @classmethod
    def resume(cls, path: str | Path) -> Self:
        """Go on with a file that was left behind, stopped, or killed.

        Raises
        ------
        InputError
            If it is not a scan file, or another run owns it.
        """
        path = Path(path)
        header = read_scan(path).header
        if header.profile_problem:
            raise InputError(path, f"its profile is not usable ({header.profile_problem})")
        lock = take_lock(path)
        try:
            # read again under the lock: another run may have stored visits in the meantime
            scan = read_scan(path)
            if not frozen.is_frozen(path):
                _thaw(scan)
                scan = read_scan(path)
            return cls(path, lock, scan)
        except OSError as error:
            release_lock(lock)
            raise InputError(path, _no_room(error, header)) from error
        except BaseException:
            release_lock(lock)
            raise

    @property
    def todo(self) -> list[Visit]:
        """Visits still to be measured, in the order of the plan."""
        return [
            visit
            for visit in self.plan.visits()
            if self._wanted[visit.index] and not self._stored[visit.index]
        ]

    def __call__(self, event: Event) -> None:
        """Write what an event says; called by the run."""
        match event:
            case VisitMeasured(record):
                self.write(record)
            case StateChanged(why=""):
                pass  # every visit changes the state; only what has a reason is kept
            case RunStarted() | Centred() | Decided() | Notice() | StateChanged() | RunEnded():
                self.note(to_json(event))

    def write(self, record: VisitRecord) -> None:
        """Write one visit; when this returns it is safe.

        Raises
        ------
        OSError
            If the disk did not take all of it; earlier visits are intact.
        """
        row = record.visit.index
        values = {column.name: getattr(record, column.name) for column in MEASURED[:-1]}
        values["flags"] = flag_bits(record.flags)
        try:
            self._file.write_row(row, values, record.counts)
        except OSError as error:
            raise OSError(
                error.errno,
                f"visit {row} could not be written to {self.path} ({error.strerror}); all "
                "earlier visits are safe; make room on the disk, then run: "
                f"tplm resume {self.path}",
            ) from error
        self._stored[row] = True

    def note(self, entry: Mapping[str, Any]) -> None:
        """Append to the file's journal; once it is full, further notes are left out."""
        if self._file.closed:
            return
        self._file.write_journal(json.dumps({"at": utc_now(), **entry}, ensure_ascii=False))

    def finish(self) -> None:
        """Turn the file into its compact form with a map that opens by itself.

        Raises
        ------
        OSError
            If that fails; the file then stays as it was, complete and readable.
        """
        self._file.close()
        pack(read_scan(self.path))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        release_lock(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sample_home_um(scan: Scan) -> tuple[float, ...] | None:
    """Where the sample stage stood when the scan first began."""
    for line in scan.journal:
        if line.get("event") == "run-started" and line["settings"]["sample_position_um"]:
            return tuple(line["settings"]["sample_position_um"])
    return None


def _no_room(error: OSError, header: ScanHeader) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        megabytes = header.plan.visit_count * header.bins * 4 / 1e6
        return (
            f"the disk has no room for the {megabytes:.3g} MB this plan needs; make room or "
            "choose another disk; nothing was measured"
        )
    return f"the file cannot be made ({error.strerror or error})"


def _thaw(scan: Scan) -> None:
    """Bring a compact file back into the form it is measured in, by an atomic replace."""
    with replacing(scan.path) as temporary:
        frozen.build(temporary, scan.header)
        bring_analyses(scan.path, temporary)
        with FrozenFile(temporary, writable=True) as file:
            for line in scan.journal:
                file.write_journal(json.dumps(line, ensure_ascii=False))
            rows = np.flatnonzero(scan.stored)
            for row, counts in zip(rows, scan.histograms(rows), strict=True):
                values = {column.name: scan.columns[column.name][row] for column in MEASURED}
                file.write_row(int(row), values, counts)


def pack(scan: Scan) -> None:
    """Rewrite a scan in its compact form: compressed rows and a summed map.

    The new file takes the old one's place only when it is whole and on the disk.
    """
    with replacing(scan.path) as temporary:
        check_room(temporary, scan.path.stat().st_size)
        with h5py.File(scan.path, "r") as old, h5py.File(temporary, "w") as new:
            entry = write_header(new, scan.header)
            entry["end_time"] = utc_now()
            table = group(entry, "visits", "NXcollection")
            old_table = old[VISITS]
            for name in (*(column.name for column in COLUMNS), "crc", "visit"):
                old.copy(old_table[name], table, name)
            source = old[COUNTS]
            target = table.create_dataset(
                "counts", source.shape, source.dtype, chunks=(1, source.shape[1]),
                compression="gzip", compression_opts=1, shuffle=True,
            )  # fmt: skip
            for row in np.flatnonzero(scan.stored):
                target[row] = source[row]
            crc = old[CRC][()]
            crc[~scan.stored] = 0
            table["crc"][...] = crc
            old.copy(old[JOURNAL], entry, "journal")
            copy_analyses(old, new)
            _write_map(new, scan)


def write_scan(
    path: str | Path,
    header: ScanHeader,
    records: list[VisitRecord],
    note: Mapping[str, Any],
) -> None:
    """Write a scan in one go, such as an imported one."""
    with ScanWriter.create(path, header) as writer:
        writer.note(note)
        for record in records:
            writer.write(record)
        writer.finish()


def _write_map(file: h5py.File, scan: Scan) -> None:
    """The default plot of a finished scan."""
    plan = scan.plan
    t_ns = scan.header.t_ns
    if isinstance(plan, RasterScan):
        xs, ys = plan.axes_um()
        places = plan.places()
        order = np.lexsort(([p.x_um for p in places], [p.y_um for p in places]))
        cube = scan.position_counts[order].reshape(len(ys), len(xs), -1)
        exposure = scan.exposure_s[order].reshape(len(ys), len(xs))
        axes: dict[str, Any] = {"y_um": ys, "x_um": xs, "t_ns": t_ns}
        write_data(file, _narrow(cube), axes, {"exposure_s": exposure}, "counts")
        return
    found = scan.map()
    name = f"{default_axis(plan)}_um"
    extra: dict[str, Any] = {"exposure_s": found.exposure_s}
    if isinstance(plan, CrossScan):
        other = scan.map("y")
        extra |= {"counts_y": _narrow(other.counts), "exposure_y_s": other.exposure_s}
        extra["y_um"] = other.x_um
    title = "counts at each position" if isinstance(plan, LineScan) else f"counts along {name[0]}"
    write_data(file, _narrow(found.counts), {name: found.x_um, "t_ns": t_ns}, extra, title)


def _narrow(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[Any]:
    """The smallest of the two integer types that other programs read without ado."""
    return counts.astype("<u4") if counts.size == 0 or counts.max() < 2**32 else counts
