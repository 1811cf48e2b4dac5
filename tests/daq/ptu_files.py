"""Small synthetic .ptu files of every record type, and a slow, plain reference decoder."""

import struct
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_daq.t3 import T3_FORMATS, T3Format

PICOHARP = T3_FORMATS[0x00010303]
GENERIC = T3_FORMATS[0x00010307]
FORMATS = tuple(T3_FORMATS.values())

Stream = NDArray[np.uint32]


# -- records, written down field by field ------------------------------------------------


def photon(record_format: T3Format, channel: Any, dtime: Any, nsync: Any) -> Any:
    """One photon; `channel` counts from 0."""
    if record_format is PICOHARP:
        return (channel + 1) << 28 | dtime << 16 | nsync
    return channel << 25 | dtime << 10 | nsync


def marker(record_format: T3Format, bits: Any, nsync: Any) -> Any:
    if record_format is PICOHARP:
        return 15 << 28 | bits << 16 | nsync
    return 1 << 31 | bits << 25 | nsync


def overflow(record_format: T3Format, count: Any = 1) -> Any:
    if record_format is PICOHARP:
        return 15 << 28
    return 1 << 31 | 63 << 25 | count


def stream(records: Iterable[int]) -> Stream:
    return np.array(list(records), dtype=np.uint32)


def random_stream(
    record_format: T3Format,
    n: int,
    rng: np.random.Generator,
    *,
    overflow_fraction: float = 0.2,
    marker_fraction: float = 0.01,
    channels: int = 3,
    dtimes: int | None = None,
) -> Stream:
    """`n` legal records, quickly."""
    kind = rng.random(n)
    nsync = rng.integers(0, 1 << record_format.nsync_bits, n)
    dtime = rng.integers(0, dtimes or record_format.bins, n)
    channel = rng.integers(0, channels, n)
    # The field-by-field functions take arrays as well as numbers.
    photons = photon(record_format, channel, dtime, nsync)
    markers = marker(record_format, rng.integers(1, 16, n), nsync)
    overflows = overflow(record_format, rng.integers(0, 4, n))
    is_overflow = kind < overflow_fraction
    is_marker = ~is_overflow & (kind < overflow_fraction + marker_fraction)
    records: Stream = np.select([is_overflow, is_marker], [overflows, markers], photons)
    return records.astype(np.uint32)


def reference(records: Stream, record_format: T3Format, bins: int) -> dict[str, Any]:
    """Decode one record at a time, straight from the vendor's description."""
    counts = np.zeros((record_format.channels, bins), dtype=np.int64)
    photons = out_of_range = markers = overflow_records = invalid = 0
    base = sync = 0
    for record in records.tolist():
        if record_format is PICOHARP:
            nsync, dtime, channel = record & 0xFFFF, record >> 16 & 0xFFF, record >> 28
            special = channel == 15
            is_overflow = special and dtime == 0
            is_marker = special and dtime != 0
            is_photon = 1 <= channel <= 4
            channel -= 1
            step = 65536
        else:
            nsync, dtime = record & 0x3FF, record >> 10 & 0x7FFF
            channel, special = record >> 25 & 0x3F, record >> 31 == 1
            is_overflow = special and channel == 63
            is_marker = special and 1 <= channel <= 15
            is_photon = not special
            step = 1024 if record_format.name == "HydraHarpT3" else 1024 * max(nsync, 1)
        if is_overflow:
            overflow_records += 1
            base += step
            sync = base
            continue
        sync = base + nsync
        if is_marker:
            markers += 1
        elif not is_photon:
            invalid += 1
        else:
            photons += 1
            if dtime < bins:
                counts[channel, dtime] += 1
            else:
                out_of_range += 1
    return {
        "counts": counts,
        "records": len(records),
        "photons": photons,
        "out_of_range": out_of_range,
        "markers": markers,
        "overflow_records": overflow_records,
        "invalid": invalid,
        "sync_count": sync,
    }


# -- files ----------------------------------------------------------------------------------

_CODES = {bool: 0x00000008, int: 0x10000008, float: 0x20000008}
MAGIC = b"PQTTTR\0\0" + b"1.0.00\0\0"


def tag(name: str, value: Any, index: int = -1) -> bytes:
    """One header tag."""

    def pack(code: int, payload: bytes) -> bytes:
        return struct.pack("<32siI", name.encode(), index, code) + payload

    def text(code: int, data: bytes) -> bytes:
        data += b"\0" * (8 - len(data) % 8)
        return pack(code, struct.pack("<q", len(data)) + data)

    if isinstance(value, list):
        return b"".join(tag(name, item, i) for i, item in enumerate(value))
    if value is None:
        return pack(0xFFFF0008, bytes(8))
    if isinstance(value, datetime):
        days = (value - datetime.fromisoformat("1899-12-30")).total_seconds() / 86400
        return pack(0x21000008, struct.pack("<d", days))
    if isinstance(value, bytes):
        return text(0xFFFFFFFF, value)
    if isinstance(value, str):
        return text(0x4001FFFF, value.encode("windows-1252"))
    return pack(_CODES[type(value)], struct.pack("<d" if type(value) is float else "<q", value))


def header_tags(record_format: T3Format, records: int, **changes: Any) -> dict[str, Any]:
    """Header values of a measurement at 5 MHz with 64 ps bins; a change to `...` removes one."""
    tags: dict[str, Any] = {
        "File_GUID": "{AB5C6F88-9CF1-49E8-8198-0ADBEC1A47F2}",
        "File_CreatingTime": datetime.fromisoformat("2024-02-29T12:30"),
        "File_Comment": "a film",
        "Measurement_Mode": 3,
        "Measurement_SubMode": 0,
        "HW_Type": "TimeHarp 260",
        "HW_SerialNo": "1001234",
        "HW_ExternalRefClock": False,
        "HWInpChan_CFDLevel": [180, 170],
        "MeasDesc_AcquisitionTime": 1000,
        "MeasDesc_Resolution": 64e-12,
        "MeasDesc_GlobalResolution": 200e-9,
        "TTResult_SyncRate": 5_000_000,
        "TTResult_StopAfter": 1000,
        "TTResult_NumberOfRecords": records,
        "TTResultFormat_TTTRRecType": record_format.code,
        "TTResultFormat_BitsPerRecord": 32,
    }
    return {key: value for key, value in {**tags, **changes}.items() if value is not ...}


def ptu_bytes(record_format: T3Format, records: Stream, **changes: Any) -> bytes:
    """A whole file; `changes` are header tags to set or, with `...`, to remove."""
    tags = header_tags(record_format, len(records), **changes)
    header = b"".join(tag(name, value) for name, value in tags.items())
    return MAGIC + header + tag("Header_End", None) + records.astype("<u4").tobytes()


def write_ptu(path: Path, record_format: T3Format, records: Stream, **changes: Any) -> Path:
    path.write_bytes(ptu_bytes(record_format, records, **changes))
    return path
