"""The log of a station: one JSON object a line, in a file that does not grow for ever."""

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tplm_daq.wall import utc_now

LARGEST_BYTES = 4_000_000
"""A file that is larger is put aside as ``….1.jsonl``, in place of the one before it."""
OLDEST = 20
"""How many logs of stations that have ended are kept."""


class Record:
    """Writes what happens; a disk that takes nothing is no reason to stop.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    name : str
        Of the file, without its end.
    largest_bytes : int
        As `LARGEST_BYTES`.

    Attributes
    ----------
    path : Path
        The file.
    problem : str or None
        Why something could not be written, if so.
    """

    def __init__(self, folder: Path, name: str, largest_bytes: int = LARGEST_BYTES) -> None:
        self.path = folder / f"{name}.jsonl"
        self.problem: str | None = None
        self._largest_bytes = largest_bytes
        self._lock = threading.Lock()
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._thin_out(folder)

    def write(self, entry: dict[str, Any]) -> None:
        """Write one object, with the wall's time."""
        line = json.dumps({"at": utc_now(), **entry}, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            try:
                with self.path.open("ab", buffering=0) as file:
                    file.write(line)
                    large = file.tell() > self._largest_bytes
                if large:
                    self.path.replace(self.path.with_suffix(".1.jsonl"))
            except OSError as error:
                self.problem = f"{self.path} cannot be written ({error.strerror or error})"

    @staticmethod
    def _thin_out(folder: Path) -> None:
        found = sorted(folder.glob("station-*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in found[:-OLDEST]:
            path.unlink()
