"""Reading Becker & Hickl .sdt files: decay curves of SPC modules."""

import io
import logging
import math
import os
import struct
import warnings
import zipfile
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sdtfile import BlockType, SdtFile

from tplm_config import InputError
from tplm_daq.curves import Curves, choose_curves, opened

logging.getLogger("sdtfile").addHandler(logging.NullHandler())

_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
    ArithmeticError, AssertionError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What sdtfile raises on damaged bytes."""

_HEADER = struct.Struct("<hihiHihIihhHIHH")
_BLOCK_OLD = struct.Struct("<hiiHhII")
_BLOCK = struct.Struct("<BBIIHhII")
_MANY_BLOCKS = 0x7FFF
_COMPRESSED = 0x1000
_MAX_CURVES = 4096
_MAX_BINS = 65_536
_TIME_BIN_LIMITS_S = (1e-13, 1e-3)
_RATE_LIMITS_HZ = (1e-3, 1e10)
_FULL = np.iinfo(np.uint16).max


def read_sdt(path: str | os.PathLike[str], channel: int | None = None) -> Curves:
    """Read the decay curves of an .sdt file.

    Parameters
    ----------
    path
        The file.
    channel
        Curve to read, counted from 0 through all blocks; by default every curve with photons.

    Returns
    -------
    Curves
        Histograms and header.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no decay curves.
    """
    path = Path(path)
    with opened(path, ".sdt") as file:
        _check_blocks(path, file)
        file.seek(0)
        try:
            # what is odd about the numbers of a damaged file shows below
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                return _curves(path, SdtFile(file), channel)
        except InputError:
            raise
        except _DAMAGE as error:
            detail = str(error).split("\n", 1)[0][:100] or type(error).__name__
            raise _damaged(path, detail) from None


def _damaged(path: Path, detail: str) -> InputError:
    return InputError(
        path,
        f"not a readable .sdt file ({detail})",
        "copy it again from the instrument's computer, saved as Setup & Data",
    )


def _check_blocks(path: Path, file: io.BufferedReader) -> None:
    """Refuse a file whose blocks lie beyond its end or lead back, before anything is allocated."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_HEADER.size)
    if not head:
        raise _damaged(path, "it is empty")
    if len(head) < _HEADER.size:
        raise _damaged(path, "it ends within its header")
    revision, _, _, _, _, offset, blocks, *_, valid, more, _, checksum = _HEADER.unpack(head)
    if checksum != 0x55AA and valid != 0x5555:
        raise _damaged(path, "it does not begin like one")
    layout = _BLOCK if revision & 15 >= 15 else _BLOCK_OLD
    behind = 0
    for number in range(more if blocks == _MANY_BLOCKS else blocks):
        if not behind <= offset <= size - layout.size:
            raise _damaged(path, f"block {number} is not where it should be")
        file.seek(offset)
        *_, data, following, kind, _, _, length = layout.unpack(file.read(layout.size))
        if not kind & _COMPRESSED and not offset <= data <= size - length:
            raise _damaged(path, f"block {number} ends after the file")
        behind, offset = offset + layout.size, following


def _curves(path: Path, sdt: SdtFile, channel: int | None) -> Curves:
    """Return the decay curves of a file."""
    counts: list[NDArray[np.int64]] = []
    infos: list[Any] = []
    remarks: list[str] = []
    for block, data in zip(sdt.block_headers, sdt.data, strict=True):
        kind = BlockType(int(block.block_type))
        if kind.contents not in ("DECAY_BLOCK", "PAGE_BLOCK") or data.dtype.kind != "u":
            continue
        rows = data.reshape(-1, data.shape[-1])
        if len(counts) + len(rows) > _MAX_CURVES or rows.shape[1] > _MAX_BINS:
            raise InputError(
                path,
                f"it holds more than {_MAX_CURVES} curves or {_MAX_BINS} bins",
                "an image cannot be imported, only decay curves",
            )
        if data.dtype.itemsize == 2 and (data == _FULL).any():
            remarks.append(f"A bin is full ({_FULL} counts); what came later was not counted.")
        counts += list(rows.astype(np.int64))
        infos += [sdt.measure_info[int(block.meas_desc_block_no)]] * len(rows)
    if not counts:
        raise InputError(path, "there is no decay curve in it", "save it again as Setup & Data")
    if any(curve.size != counts[0].size for curve in counts):
        raise InputError(path, "its curves have unequal numbers of bins", "import one at a time")
    table = np.stack(counts)
    chosen = choose_curves(path, table, channel, remarks)
    info = infos[chosen[0] if chosen else 0]
    bin_s = _time_bin_s(path, info)
    if any(_time_bin_s(path, infos[number]) != bin_s for number in chosen):
        raise InputError(path, "its curves have unequal time bins", "choose one with --channel")
    return Curves(
        counts=table[list(chosen)],
        channels=chosen,
        time_bin_ps=round(bin_s * 1e12, 9),
        offset_ns=0.0,
        sync_rate_hz=_sync_rate_hz(info, remarks),
        acquisition_time_s=_acquisition_time_s(info, remarks),
        record_type="SDT decay curve",
        device_model=_text(info.mod_type),
        device_serial=_text(info.mod_ser_no),
        comment=str(getattr(sdt.info, "contents", "")),
        created=_created(info),
        warnings=tuple(remarks),
    )


def _time_bin_s(path: Path, info: Any) -> float:
    """Return the width of a time bin: range of the TAC over its gain and the ADC's steps."""
    gain, steps = int(info.tac_g), int(info.adc_re) or 65_536
    bin_s = float(info.tac_r) / (gain * steps) if gain > 0 and steps > 0 else 0.0
    low_s, high_s = _TIME_BIN_LIMITS_S
    if not low_s <= bin_s <= high_s:
        raise InputError(
            path,
            f"the TAC range of {float(info.tac_r):g} s, gain {gain} and {steps} ADC steps give a "
            f"time bin of {bin_s:g} s",
            f"it must lie between {low_s:g} and {high_s:g} s",
        )
    # the header has single precision, in which 25 ps is 24.9999998
    return float(f"{bin_s:.7g}")


def _stop_info(info: Any, name: str) -> float:
    """Return what was noted at the end of the measurement, 0 if nothing was."""
    value = float(info.StopInfo[name]) if "StopInfo" in (info.dtype.names or ()) else 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _sync_rate_hz(info: Any, remarks: list[str]) -> float:
    """Return the pulse rate if it was measured, without a divider between, and stood still."""
    lowest, highest = _stop_info(info, "min_sync_rate"), _stop_info(info, "max_sync_rate")
    low_hz, high_hz = _RATE_LIMITS_HZ
    if int(info.syn_fd) <= 1 and low_hz <= lowest <= highest <= min(high_hz, 1.01 * lowest):
        return float(f"{(lowest + highest) / 2:.7g}")
    remarks.append("The file does not tell the pulse rate.")
    return math.nan


def _acquisition_time_s(info: Any, remarks: list[str]) -> float:
    """Return the collection time, or how long it was until an earlier stop; 0 if unknown."""
    names = info.dtype.names or ()
    if "cycles" in names and int(info.accumulate) and int(info.cycles) > 1:
        remarks.append(f"The file sums {int(info.cycles)} cycles and does not tell their time.")
        return 0.0
    collection_s, stop_s = float(info.col_t), _stop_info(info, "stop_time")
    if not (math.isfinite(collection_s) and collection_s > 0):
        return 0.0
    if 0 < stop_s < 0.99 * collection_s:
        remarks.append(f"The measurement was stopped after {stop_s:.4g} of {collection_s:.4g} s.")
        return float(f"{stop_s:.7g}")
    return float(f"{collection_s:.7g}")


def _created(info: Any) -> datetime | None:
    """Return when the curve was measured."""
    written = f"{_text(info.date)} {_text(info.time)}"
    try:
        return datetime.strptime(written, "%m-%d-%Y %H:%M:%S")  # noqa: DTZ007 - local time
    except ValueError:
        return None


def _text(value: Any) -> str:
    return bytes(value).split(b"\0", 1)[0].decode("windows-1250", errors="replace").strip()
