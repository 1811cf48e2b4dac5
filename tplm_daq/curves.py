"""Decay curves measured elsewhere: what every reader of such files gives, whoever wrote them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tplm_config import InputError

MAX_OFFSET_NS = 100_000.0


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Delay-time histograms of one file.

    Attributes
    ----------
    counts
        Photons, (channel, time bin).
    channels
        Number of each row of `counts`, from 0: the input channel of a .ptu file (the device's
        input 1 is 0), the curve of other files.
    time_bin_ps, offset_ns
        Width of a time bin, and time between the sync and the first one.
    sync_rate_hz
        Pulse rate, NaN if the file does not tell.
    acquisition_time_s
        Live time, 0 if the file does not tell.
    record_type
        Kind of records or curves.
    device_model, device_serial, comment
        As in the header, empty where it has none.
    created
        When the measurement was made, in the local time of the instrument's computer.
    warnings
        What a person should know before trusting the counts, one sentence each.
    """

    counts: NDArray[np.int64]
    channels: tuple[int, ...]
    time_bin_ps: float
    offset_ns: float
    sync_rate_hz: float
    acquisition_time_s: float
    record_type: str
    device_model: str
    device_serial: str
    comment: str
    created: datetime | None
    warnings: tuple[str, ...]

    @property
    def t_ns(self) -> NDArray[np.float64]:
        """Centres of the time bins after the sync."""
        bins = np.arange(self.counts.shape[1], dtype=np.float64)
        return np.asarray(self.offset_ns + (bins + 0.5) * (self.time_bin_ps * 1e-3))

    @property
    def total(self) -> NDArray[np.int64]:
        """Photons per time bin, all rows of `counts` together."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total


@contextmanager
def opened(path: Path, ending: str) -> Iterator[io.BufferedReader]:
    """Open a measured file for reading; what goes wrong meanwhile becomes an `InputError`."""
    if path.is_dir():
        raise InputError(path, "this is a folder", f"give one {ending} file")
    if not path.is_file():  # opening a pipe or a device could wait for ever
        found = "this is not an ordinary file" if path.exists() else "there is no such file"
        raise InputError(path, found, f"give the path of a {ending} file")
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise InputError(
            path, f"reading failed ({reason})", "check that the file and its drive can be read"
        ) from exc


def choose_rows(
    counts: NDArray[np.int64], channel: int | None, what: str, warnings: list[str]
) -> tuple[int, ...]:
    """Return the row asked for or all with photons, and warn if there are none."""
    active = tuple(int(row) for row in np.flatnonzero(counts.any(axis=1)))
    if channel is not None and channel not in active:
        others = ", ".join(map(str, active)) or "none"
        warnings.append(f"{what} {channel} has no photons; {what.lower()}s with photons: {others}.")
    elif not active:
        warnings.append("The file has no photons.")
    return active if channel is None else (channel,)


def choose_curves(
    path: Path, counts: NDArray[np.int64], number: int | None, warnings: list[str]
) -> tuple[int, ...]:
    """Choose among the curves of a file as `choose_rows` does, if there is such a curve."""
    if number is not None and not 0 <= number < len(counts):
        raise InputError(
            path, f"curve {number} was asked for", f"the file has curves 0 to {len(counts) - 1}"
        )
    return choose_rows(counts, number, "Curve", warnings)
