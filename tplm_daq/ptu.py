"""Reading PicoQuant .ptu files of T3 records as delay-time histograms.

The header goes through ptufile, the records through `tplm_daq.t3` in blocks, so that a file
of any length needs a few megabytes of memory.
"""

from __future__ import annotations

import io
import logging
import math
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from ptufile import PqFileError, PtuFile

from tplm_config import InputError
from tplm_daq.t3 import T2_FORMATS, T3_FORMATS, T3Decoder, T3Format

__all__ = ["PtuHistogram", "read_ptu"]

# ptufile logs oddities of sound files (SymPhoTime numbers its laser heads from 1); without a
# handler they would land on the terminal of whoever has not set up logging.
logging.getLogger("ptufile").addHandler(logging.NullHandler())

_MAGIC = b"PQTTTR\0\0"
_TAG_BYTES = 48
_HEADER_LIMIT_BYTES = 16 << 20  # headers are a few kilobytes; a damaged length says anything
_BLOCK_RECORDS = 1 << 18  # one megabyte stays in the processor's cache
_RECORD_BYTES = 4

# What any instrument could mean; outside, the header is damaged.
_TIME_BIN_LIMITS_S = (1e-13, 1e-3)
_SYNC_PERIOD_LIMITS_S = (1e-10, 1e3)


@dataclass(frozen=True, slots=True, eq=False)
class PtuHistogram:
    """Delay-time histograms of one .ptu file.

    Attributes
    ----------
    counts
        Photons, (channel, time bin).
    channels
        Input channel of each row of `counts`, from 0 (the device's input 1).
    t_ns
        Centres of the time bins after the sync.
    time_bin_ps
        Width of a time bin.
    sync_rate_hz
        Pulse rate the device measured at the start (a sync divider is already undone).
    acquisition_time_s
        Live time: the sync pulses up to the last record, times the sync period. It is right
        for files that end early too; the header's time, which is the requested one, stands in
        where the records tell no time. 0 if neither does, with a warning.
    sync_count
        Number of sync pulses up to the last record.
    photons, photons_out_of_range
        Photons of all channels, and those of them after the last time bin, not in `counts`.
    markers
        Number of marker records.
    record_type
        Name of the record format, as ptufile spells it.
    device_model, device_serial, comment
        As in the header, empty where it has none.
    created
        When the measurement was made, in the local time of the instrument's computer.
    tags
        Header values that JSON can hold.
    warnings
        What a person should know before trusting the counts, one sentence each.
    """

    counts: NDArray[np.int64]
    channels: tuple[int, ...]
    t_ns: NDArray[np.float64]
    time_bin_ps: float
    sync_rate_hz: float
    acquisition_time_s: float
    sync_count: int
    photons: int
    photons_out_of_range: int
    markers: int
    record_type: str
    device_model: str
    device_serial: str
    comment: str
    created: datetime | None
    tags: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def total(self) -> NDArray[np.int64]:
        """Photons per time bin, all rows of `counts` together."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total


def read_ptu(path: str | os.PathLike[str], channel: int | None = None) -> PtuHistogram:
    """Read the delay-time histograms of a .ptu file.

    The time bins cover one sync period, as in PicoQuant's own software, or all that the
    record format can express if that is less. A file that ends early or was never finished
    is read as far as it goes, and `PtuHistogram.warnings` says so.

    Parameters
    ----------
    path
        The file.
    channel
        Input channel to read, from 0; by default every channel that has photons.

    Returns
    -------
    PtuHistogram
        Histograms and header.

    Raises
    ------
    InputError
        If the file cannot be read as a T3 measurement.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(path, "this is a folder", "give one .ptu file")
    if not path.is_file():  # opening a pipe or a device could wait for ever
        found = "this is not an ordinary file" if path.exists() else "there is no such file"
        raise InputError(path, found, "give the path of a .ptu file")
    try:
        with path.open("rb") as file:
            return _read(path, file, channel)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise InputError(
            path, f"reading failed ({reason})", "check that the file and its drive can be read"
        ) from exc


def _read(path: Path, file: io.BufferedReader, channel: int | None) -> PtuHistogram:
    """Read the open `file`."""
    warnings: list[str] = []
    tags, created, data_offset = _read_header(path, file)
    record_format = _record_format(path, tags)
    if channel is not None and not 0 <= channel < record_format.channels:
        raise InputError(
            path,
            f"channel {channel} was asked for",
            f"{record_format.name} records have channels 0 to {record_format.channels - 1}",
        )

    time_bin_s = _time_bin_s(path, tags)
    sync_period_s, sync_rate_hz = _sync(path, tags, warnings)
    # The margin keeps the last bin when rounding leaves 3124.9999999 of 3125.
    period_bins = math.floor(sync_period_s / time_bin_s * (1 + 1e-9))
    if period_bins < 1:
        raise InputError(
            path,
            f"the time bin ({time_bin_s:g} s) is longer than the sync period ({sync_period_s:g} s)",
            "the header is damaged, copy the file again from the instrument's computer",
        )
    decoder = T3Decoder(record_format, min(period_bins, record_format.bins))

    records = _record_count(path, file, tags, data_offset, warnings)
    file.seek(data_offset)
    _decode(file, decoder, records)
    if decoder.records < records:
        warnings.append(
            f"The file became shorter while it was read; {decoder.records} of {records} "
            "records were read."
        )
    # The sync period is rarely a whole number of bins: a little lies in the part of a bin at
    # its end, on average less than one bin's share.
    if decoder.out_of_range * decoder.bins > decoder.photons:
        warnings.append(
            f"{decoder.out_of_range} of {decoder.photons} photons arrive after the last time "
            f"bin ({decoder.bins}) and are left out; the sync rate in the header may be wrong."
        )
    if decoder.invalid:
        warnings.append(
            f"{decoder.invalid} of {decoder.records} records are neither photons, markers nor "
            "overflows and are left out; the file may be damaged."
        )

    active = tuple(int(c) for c in np.flatnonzero(decoder.histogram.any(axis=1)))
    channels = active if channel is None else (channel,)
    if channel is not None and channel not in active:
        others = ", ".join(str(c) for c in active) or "none"
        warnings.append(f"Channel {channel} has no photons; channels with photons: {others}.")
    elif not active:
        warnings.append("The file has no photons.")

    acquisition_time_s = decoder.sync_count * sync_period_s or _header_time_s(tags)
    if acquisition_time_s == 0:
        warnings.append("Neither the records nor the header tell the acquisition time.")

    return PtuHistogram(
        counts=decoder.histogram[list(channels)],
        channels=channels,
        t_ns=(np.arange(decoder.bins, dtype=np.float64) + 0.5) * (time_bin_s * 1e9),
        time_bin_ps=time_bin_s * 1e12,
        sync_rate_hz=sync_rate_hz,
        acquisition_time_s=acquisition_time_s,
        sync_count=decoder.sync_count,
        photons=decoder.photons,
        photons_out_of_range=decoder.out_of_range,
        markers=decoder.markers,
        record_type=record_format.name,
        device_model=_text(tags, "HW_Type"),
        device_serial=_text(tags, "HW_SerialNo"),
        comment=_text(tags, "File_Comment"),
        created=created,
        tags={key: _plain(value) for key, value in tags.items() if _is_plain(value)},
        warnings=tuple(warnings),
    )


def _decode(file: io.BufferedReader, decoder: T3Decoder, records: int) -> None:
    """Feed up to `records` records from the position of `file` to `decoder`."""
    block = np.empty(min(records, _BLOCK_RECORDS), dtype="<u4")
    while (left := records - decoder.records) > 0:
        # BufferedReader fills the whole block unless the file ends.
        size = file.readinto(block[:left].data)
        if size < _RECORD_BYTES:
            return
        decoder.feed(block[: size // _RECORD_BYTES])


def _read_header(
    path: Path, file: io.BufferedReader
) -> tuple[dict[str, Any], datetime | None, int]:
    """Return the header's tags, the date in it and where the records start."""
    # From memory, so that a damaged length cannot ask for more than there is.
    header = file.read(_HEADER_LIMIT_BYTES)
    if not header:
        raise InputError(path, "the file is empty", "copy it again from the instrument's computer")
    if not header.startswith(_MAGIC):
        raise InputError(
            path,
            "this is not a .ptu file (it does not start with PQTTTR)",
            "export or measure again as .ptu in T3 mode",
        )
    broken = InputError(
        path,
        "the header is damaged or incomplete",
        "it must end before the records with the tag Header_End, so copy the file again from "
        "the instrument's computer",
    )
    if len(header) < len(_MAGIC) + 8 + _TAG_BYTES:
        raise broken
    try:
        ptu = PtuFile(io.BytesIO(header))
    except (PqFileError, UnicodeDecodeError) as exc:
        raise broken from exc
    # ptufile stops without an error at a tag of unknown type.
    data_offset = ptu.record_offset
    last_tag = header[data_offset - _TAG_BYTES : data_offset]
    if last_tag[:32].rstrip(b"\0") != b"Header_End":
        raise broken
    created = ptu.tags.get("File_CreatingTime")
    return ptu.tags, created if isinstance(created, datetime) else None, data_offset


def _record_format(path: Path, tags: dict[str, Any]) -> T3Format:
    """Return the layout of the records."""
    code = tags.get("TTResultFormat_TTTRRecType")
    known = ", ".join(f.name for f in T3_FORMATS.values())
    if type(code) is not int:  # nor True, which isinstance would take
        raise InputError(
            path, "the header does not give the record type", f"TPLM reads the types {known}"
        )
    if code in T2_FORMATS or tags.get("Measurement_Mode") == 2:
        name = T2_FORMATS.get(code, f"record type {code:#010x}")
        raise InputError(
            path,
            f"this is a T2 file ({name}), without delay times after the laser pulse",
            "TPLM needs T3, so measure again in T3 mode",
        )
    if code not in T3_FORMATS:
        raise InputError(path, f"unknown record type {code:#010x}", f"TPLM reads the types {known}")
    bits = tags.get("TTResultFormat_BitsPerRecord", 32)
    if bits not in (0, 32):  # some programs leave 0
        raise InputError(path, f"the records have {bits} bits", "T3 records have 32")
    return T3_FORMATS[code]


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether a header value is a finite number; True and False are not."""
    return type(value) in (int, float) and math.isfinite(value)


def _number(path: Path, tags: dict[str, Any], key: str) -> float:
    """Return a header value that must be a finite number, 0 if it is absent."""
    value = tags.get(key, 0)
    if not _is_number(value):
        raise InputError(path, f"{key} in the header is {str(value)[:40]}", "it must be a number")
    return float(value)


def _time_bin_s(path: Path, tags: dict[str, Any]) -> float:
    """Return the width of a time bin."""
    value_s = _number(path, tags, "MeasDesc_Resolution")
    low_s, high_s = _TIME_BIN_LIMITS_S
    if not low_s <= value_s <= high_s:
        raise InputError(
            path,
            f"the time bin MeasDesc_Resolution in the header is {value_s:g} s",
            f"it must lie between {low_s:g} and {high_s:g} s",
        )
    return value_s


def _sync(path: Path, tags: dict[str, Any], warnings: list[str]) -> tuple[float, float]:
    """Return the sync period in seconds and the sync rate in hertz."""
    period_s = _number(path, tags, "MeasDesc_GlobalResolution")
    rate_hz = _number(path, tags, "TTResult_SyncRate")
    # Either may be missing or 0 in files of other programs; the other then stands for it.
    if not period_s and rate_hz:
        period_s = 1 / rate_hz
    if not rate_hz and period_s:
        rate_hz = 1 / period_s
    low_s, high_s = _SYNC_PERIOD_LIMITS_S
    if not (low_s <= period_s <= high_s and 1 / high_s <= rate_hz <= 1 / low_s):
        raise InputError(
            path,
            f"the header gives a sync period of {period_s:g} s and a sync rate of {rate_hz:g} Hz",
            f"the period must lie between {low_s:g} and {high_s:g} s, so check that the laser's "
            "sync was connected",
        )
    if abs(period_s * rate_hz - 1) > 0.01:
        warnings.append(
            f"The header's sync period ({period_s:g} s) and sync rate ({rate_hz:g} Hz) disagree; "
            "time bins and live time follow the period."
        )
    return period_s, rate_hz


def _record_count(
    path: Path, file: io.BufferedReader, tags: dict[str, Any], data_offset: int, warnings: list[str]
) -> int:
    """Return how many records to read."""
    promised = tags.get("TTResult_NumberOfRecords", 0)
    if type(promised) is not int:
        raise InputError(
            path,
            f"TTResult_NumberOfRecords in the header is {str(promised)[:40]}",
            "it must be a whole number",
        )
    present, rest_bytes = divmod(file.seek(0, os.SEEK_END) - data_offset, _RECORD_BYTES)
    if present == 0:
        raise InputError(
            path,
            "there are no records after the header",
            "copy the file again from the instrument's computer, or leave this measurement out",
        )
    if promised <= 0:  # the device's program fills it in at the end
        warnings.append(
            f"The measurement was not finished properly; the {present} records that are there "
            "were read."
        )
        return present
    if promised > present:
        warnings.append(
            f"The file ends early; {present} of {promised} records are there and were read."
        )
        return present
    if promised < present or rest_bytes:
        warnings.append(
            f"The file goes on after the {promised} records the header tells of; "
            "what follows was left out."
        )
    return promised


def _header_time_s(tags: dict[str, Any]) -> float:
    """Return the acquisition time in the header, 0 if there is none."""
    for key in ("TTResult_StopAfter", "MeasDesc_AcquisitionTime"):
        value_ms = tags.get(key)
        if _is_number(value_ms) and value_ms > 0:
            return value_ms / 1e3
    return 0.0


def _text(tags: dict[str, Any], key: str) -> str:
    """Return a text from the header, empty if there is none."""
    value = tags.get(key)
    return value if isinstance(value, str) else ""


def _is_plain(value: Any) -> bool:
    """Whether a header value is more than a block of bytes."""
    return not isinstance(value, bytes | np.ndarray)


def _plain(value: Any) -> Any:
    """Return a header value as JSON can hold it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value if _is_plain(item)]
    return value
