"""Reading PicoQuant .ptu files of T3 records as delay-time histograms.

The records go through `tplm_daq.t3.decoder` in blocks, so that a file of any length needs a few
megabytes of memory.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tplm_config import InputError
from tplm_daq.curves import Curves, choose_rows, opened
from tplm_daq.t3.decoder import T2_FORMATS, T3_FORMATS, T3Decoder, T3Format
from tplm_daq.t3.tags import (
    BINS,
    LIVE,
    OFFSET,
    check_period,
    is_number,
    number,
    offset_ns,
    period_bins,
    read_tags,
    text,
    time_bin_s,
)

__all__ = ["PtuHistogram", "read_ptu"]

_BLOCK_RECORDS = 1 << 18  # one megabyte stays in the processor's cache
_RECORD_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class PtuHistogram(Curves):
    """Delay-time histograms of one .ptu file.

    The live time is the number of sync pulses up to the last record, times the sync period. It
    is right for files that end early too; the header's time, which is the requested one, stands
    in where the records tell no time. Whole files of ours tell their live time themselves.

    Attributes
    ----------
    sync_count
        Number of sync pulses up to the last record.
    photons, photons_out_of_range
        Photons of all channels, and those of them after the last time bin, not in `counts`.
    markers
        Number of marker records.
    tags
        Header values that JSON can hold.
    """

    sync_count: int
    photons: int
    photons_out_of_range: int
    markers: int
    tags: dict[str, Any]


def read_ptu(path: str | os.PathLike[str], channel: int | None = None) -> PtuHistogram:
    """Read the delay-time histograms of a .ptu file.

    The time bins cover one sync period, as in PicoQuant's own software, or all that the
    record format can express if that is less; files of ours tell how many they keep. A file
    that ends early or was never finished is read as far as it goes, and
    `PtuHistogram.warnings` says so.

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
    with opened(path, ".ptu") as file:
        return _read(path, file, channel)


def _read(path: Path, file: io.BufferedReader, channel: int | None) -> PtuHistogram:
    """Read the open `file`."""
    warnings: list[str] = []
    tags, created, data_offset = read_tags(path, file, ".ptu")
    record_format = _record_format(path, tags)
    if channel is not None and not 0 <= channel < record_format.channels:
        raise InputError(
            path,
            f"channel {channel} was asked for",
            f"{record_format.name} records have channels 0 to {record_format.channels - 1}",
        )

    bin_s = time_bin_s(path, tags, "MeasDesc_Resolution")
    period_s, sync_rate_hz = _sync(path, tags, warnings)
    bins = _own_bins(path, tags, record_format) or period_bins(path, bin_s, period_s)
    decoder = T3Decoder(record_format, min(bins, record_format.bins))

    records = _record_count(path, file, tags, data_offset, warnings)
    file.seek(data_offset)
    _decode(file, decoder, records)
    if decoder.records < records:
        warnings.append(
            f"The file became shorter while it was read; {decoder.records} of {records} "
            "records were read."
        )
    # The sync period is rarely a whole number of bins: a little lies in the part of a bin at
    # its end, on average less than one bin's share. What we left out ourselves needs no warning.
    if BINS not in tags and decoder.out_of_range * decoder.bins > decoder.photons:
        warnings.append(
            f"{decoder.out_of_range} of {decoder.photons} photons arrive after the last time "
            f"bin ({decoder.bins}) and are left out; the sync rate in the header may be wrong."
        )
    if decoder.invalid:
        warnings.append(
            f"{decoder.invalid} of {decoder.records} records are neither photons, markers nor "
            "overflows and are left out; the file may be damaged."
        )

    channels = choose_rows(decoder.histogram, channel, "Channel", warnings)
    acquisition_time_s = (
        _own_live_s(tags, decoder.records) or decoder.sync_count * period_s or _header_time_s(tags)
    )
    if acquisition_time_s == 0:
        warnings.append("Neither the records nor the header tell the acquisition time.")

    return PtuHistogram(
        counts=decoder.histogram[list(channels)],
        channels=channels,
        # 25e-12 × 1e12 is not quite 25
        time_bin_ps=round(bin_s * 1e12, 9),
        offset_ns=offset_ns(path, tags, OFFSET if OFFSET in tags else "MeasDesc_Offset"),
        sync_rate_hz=sync_rate_hz,
        acquisition_time_s=acquisition_time_s,
        sync_count=decoder.sync_count,
        photons=decoder.photons,
        photons_out_of_range=decoder.out_of_range,
        markers=decoder.markers,
        record_type=record_format.name,
        device_model=text(tags, "HW_Type"),
        device_serial=text(tags, "HW_SerialNo"),
        comment=text(tags, "File_Comment"),
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


def _own_bins(path: Path, tags: dict[str, Any], record_format: T3Format) -> int:
    """Return how many bins a file of ours is to have, 0 if it does not say."""
    bins = number(path, tags, BINS)
    if not (bins == int(bins) and 0 <= bins <= record_format.bins):
        raise InputError(
            path,
            f"{BINS} in the header is {bins:g}",
            f"it must be a whole number up to {record_format.bins}",
        )
    return int(bins)


def _own_live_s(tags: dict[str, Any], records: int) -> float:
    """Return the live time that a file of ours tells, 0 if there is none or records are missing.

    Between two measurements in one file the sync pulses run on, so that they tell less well.
    """
    live_s = tags.get(LIVE)
    if records == tags.get("TTResult_NumberOfRecords") and is_number(live_s) and live_s > 0:
        return live_s
    return 0.0


def _sync(path: Path, tags: dict[str, Any], warnings: list[str]) -> tuple[float, float]:
    """Return the sync period in seconds and the sync rate in hertz."""
    period_s = number(path, tags, "MeasDesc_GlobalResolution")
    rate_hz = number(path, tags, "TTResult_SyncRate")
    # Either may be missing or 0 in files of other programs; the other then stands for it.
    if not period_s and rate_hz:
        period_s = 1 / rate_hz
    if not rate_hz and period_s:
        rate_hz = 1 / period_s
    check_period(path, period_s, rate_hz)
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
        if is_number(value_ms) and value_ms > 0:
            return value_ms / 1e3
    return 0.0


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
