"""The headers of PicoQuant's unified files: tags with a name, a type and a value.

They are read by ptufile; what writes them here follows the vendor's tag dictionary.
"""

import io
import logging
import math
import struct
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

from ptufile import PqFile, PqFileError

from tplm_config import InputError
from tplm_daq.curves import MAX_OFFSET_NS

# ptufile logs oddities of sound files (SymPhoTime numbers its laser heads from 1); without a
# handler they would land on the terminal of whoever has not set up logging.
logging.getLogger("ptufile").addHandler(logging.NullHandler())

MAGIC = {".ptu": b"PQTTTR\0\0", ".phu": b"PQHISTO\0"}
_TAG_BYTES = 48
_HEADER_LIMIT_BYTES = 16 << 20  # headers are a few kilobytes; a damaged length says anything

BINS = "TPLM_Bins"
OFFSET = "TPLM_Offset_ns"
LIVE = "TPLM_Live_s"
"""Tags of our own, which other programs skip: bins to keep; offset and live time, unrounded."""

# What any instrument could mean; outside, the header is damaged.
_TIME_BIN_LIMITS_S = (1e-13, 1e-3)
_SYNC_PERIOD_LIMITS_S = (1e-10, 1e3)

_EMPTY, _BOOL, _INT, _FLOAT = 0xFFFF0008, 0x00000008, 0x10000008, 0x20000008
_DATE, _ANSI, _WIDE = 0x21000008, 0x4001FFFF, 0x4002FFFF
_DAY_0 = datetime.fromisoformat("1899-12-30")


def encode_tag(name: str, value: object, index: int = -1) -> bytes:
    """Return one tag as it stands in a header; its value begins at byte 40."""
    text = b""
    match value:
        case None:
            kind, payload = _EMPTY, bytes(8)
        case bool():
            kind, payload = _BOOL, struct.pack("<q", value)
        case int():
            kind, payload = _INT, struct.pack("<q", value)
        case float():
            kind, payload = _FLOAT, struct.pack("<d", value)
        case datetime():
            days = (value - _DAY_0).total_seconds() / 86400
            kind, payload = _DATE, struct.pack("<d", days)
        case str():
            kind, text = _encode_text(value)
            payload = struct.pack("<q", len(text))
        case _:
            raise TypeError(f"a tag cannot hold {value!r}")
    return struct.pack("<32siI", name.encode(), index, kind) + payload + text


def _encode_text(value: str) -> tuple[int, bytes]:
    """Return tag type and bytes of a text, closed by zeros up to a multiple of 8."""
    try:
        kind, text = _ANSI, value.encode("windows-1252")
    except UnicodeEncodeError:
        kind, text = _WIDE, value.encode("utf-16-le")
    return kind, text.ljust((len(text) + 2 + 7) // 8 * 8, b"\0")


def read_tags(
    path: Path, file: io.BufferedReader, ending: str
) -> tuple[dict[str, Any], datetime | None, int]:
    """Return a header's tags, the date in it and where it ends."""
    # From memory, so that a damaged length cannot ask for more than there is.
    header = file.read(_HEADER_LIMIT_BYTES)
    magic = MAGIC[ending]
    if not header:
        raise InputError(path, "the file is empty", "copy it again from the instrument's computer")
    if not header.startswith(magic):
        again = " or measure again as .ptu in T3 mode" if ending == ".ptu" else " it again as .phu"
        raise InputError(
            path,
            f"this is not a {ending} file (it does not start with {magic.decode().rstrip(chr(0))})",
            f"export{again}",
        )
    broken = InputError(
        path,
        "the header is damaged or incomplete",
        "it must end before the data with the tag Header_End, so copy the file again from "
        "the instrument's computer",
    )
    if len(header) < len(magic) + 8 + _TAG_BYTES:
        raise broken
    stream = io.BytesIO(header)
    try:
        tags = PqFile(stream).tags
    except (PqFileError, UnicodeDecodeError) as exc:
        raise broken from exc
    # ptufile stops without an error at a tag of unknown type.
    end = stream.tell()
    if header[end - _TAG_BYTES : end - 16].rstrip(b"\0") != b"Header_End":
        raise broken
    created = tags.get("File_CreatingTime")
    return tags, created if isinstance(created, datetime) else None, end


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a header value is a finite number; True and False are not."""
    return type(value) in (int, float) and math.isfinite(value)


def number(path: Path, tags: dict[str, Any], key: str) -> float:
    """Return a header value that must be a finite number, 0 if it is absent."""
    value = tags.get(key, 0)
    if not is_number(value):
        raise InputError(path, f"{key} in the header is {str(value)[:40]}", "it must be a number")
    return float(value)


def time_bin_s(path: Path, tags: dict[str, Any], key: str) -> float:
    """Return the width of a time bin."""
    value_s = number(path, tags, key)
    low_s, high_s = _TIME_BIN_LIMITS_S
    if not low_s <= value_s <= high_s:
        raise InputError(
            path,
            f"the time bin {key} in the header is {value_s:g} s",
            f"it must lie between {low_s:g} and {high_s:g} s",
        )
    return value_s


def check_period(path: Path, period_s: float, rate_hz: float) -> None:
    """Refuse a sync period or a sync rate that no instrument could have."""
    low_s, high_s = _SYNC_PERIOD_LIMITS_S
    if not (low_s <= period_s <= high_s and 1 / high_s <= rate_hz <= 1 / low_s):
        raise InputError(
            path,
            f"the header gives a sync period of {period_s:g} s and a sync rate of {rate_hz:g} Hz",
            f"the period must lie between {low_s:g} and {high_s:g} s, so check that the laser's "
            "sync was connected",
        )


def period_bins(path: Path, bin_s: float, period_s: float) -> int:
    """Return how many whole time bins a sync period has."""
    # The margin keeps the last bin when rounding leaves 3124.9999999 of 3125.
    bins = math.floor(period_s / bin_s * (1 + 1e-9))
    if bins < 1:
        raise InputError(
            path,
            f"the time bin ({bin_s:g} s) is longer than the sync period ({period_s:g} s)",
            "the header is damaged, copy the file again from the instrument's computer",
        )
    return bins


def offset_ns(path: Path, tags: dict[str, Any], key: str) -> float:
    """Return the time between the sync and the first bin."""
    value_ns = number(path, tags, key)
    if not 0 <= value_ns <= MAX_OFFSET_NS:
        raise InputError(
            path,
            f"{key} in the header is {value_ns:g} ns",
            f"it must lie between 0 and {MAX_OFFSET_NS:g} ns",
        )
    return value_ns


def text(tags: dict[str, Any], key: str) -> str:
    """Return a text from the header, empty if there is none."""
    value = tags.get(key)
    return value if isinstance(value, str) else ""
