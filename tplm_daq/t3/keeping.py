"""Keeping the records of a scan as .ptu files beside its scan file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tplm_config import Visit, VisitKind
from tplm_daq.t3.writing import PtuHeader, PtuWriter


class KeptRecords:
    """Writes the records of each visit: into one file, or into one for each position.

    Every session of a scan has files of its own, ``film.ptu``, ``film.2.ptu``, …, or folders
    ``film.ptu.d``, ``film.2.ptu.d``, …: a file is never gone on with after a crash.

    Parameters
    ----------
    scan_path : Path
        The scan file.
    how : {"scan", "position"}
        One file for all, or one for each position.
    header : PtuHeader
        Of every file.
    """

    def __init__(
        self, scan_path: Path, how: Literal["scan", "position"], header: PtuHeader
    ) -> None:
        self._one_file = how == "scan"
        self.path = _unused(scan_path, ".ptu" if self._one_file else ".ptu.d")
        self._header = header
        self._writers: dict[Path, PtuWriter] = {}
        self._first: dict[Path, Visit] = {}
        self._current: PtuWriter | None = None
        if not self._one_file:
            self.path.mkdir()

    def begin(self, visit: Visit) -> None:
        """A measurement begins; of a flown line it is the first visit."""
        path = self.path if self._one_file else self.path / _file_name(visit)
        if path not in self._writers:
            self._writers[path] = PtuWriter(path, self._header)
            self._first[path] = visit
        self._current = self._writers[path]

    def write(self, records: NDArray[np.uint32]) -> None:
        """Append records of the running measurement.

        Raises
        ------
        OSError
            If the disk does not take them.
        """
        if self._current is not None:
            with self._telling(self._current):
                self._current.write(records)

    def keep(self, sync_count: int, live_s: float) -> None:
        """The measurement was whole; when this returns, its records are safe."""
        if self._current is not None:
            with self._telling(self._current):
                self._current.end_measurement(sync_count, live_s)
            self._current = None

    def discard(self) -> None:
        """Forget the running measurement, if there is one."""
        if self._current is not None:
            self._current.discard_measurement()
            self._current = None

    def close(self) -> None:
        """Let go of every file; those without a whole measurement are removed."""
        for path, writer in self._writers.items():
            writer.close()
            if not writer.measurements:
                path.unlink()
        if not self._one_file:
            self._write_table()

    def _write_table(self) -> None:
        """Write the table of positions that `tplm import` wants beside the files."""
        rows = [
            f"{path.name},{visit.x_um},{visit.y_um}"
            for path, visit in self._first.items()
            if path.exists() and visit.kind is VisitKind.MAP
        ]
        if rows:
            text = "\n".join(["file,x_um,y_um", *rows, ""])
            (self.path / "positions.csv").write_text(text, encoding="utf-8")
        elif not any(self.path.iterdir()):
            self.path.rmdir()

    @contextmanager
    def _telling(self, writer: PtuWriter) -> Iterator[None]:
        """Have a full disk told with the file and what to do."""
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"the records of the photons could not be written to {writer.path} "
                f"({error.strerror}); earlier visits are safe; make room on the disk, then resume "
                "the scan",
            ) from error


def _unused(scan_path: Path, ending: str) -> Path:
    session = 1
    while True:
        part = "" if session == 1 else f".{session}"
        path = scan_path.with_name(f"{scan_path.stem}{part}{ending}")
        if not path.exists():
            return path
        session += 1


def _file_name(visit: Visit) -> str:
    if visit.kind is VisitKind.MAP:
        return f"p{visit.position_index:05d}.ptu"
    return f"{visit.kind}.ptu"
