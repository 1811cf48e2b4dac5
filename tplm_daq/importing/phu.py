"""Reading PicoQuant .phu files: histograms made by the card."""

import io
import math
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import InputError
from tplm_daq.curves import Curves, choose_curves, opened
from tplm_daq.t3.tags import (
    check_period,
    is_number,
    offset_ns,
    period_bins,
    read_tags,
    text,
    time_bin_s,
)

_CURVE = "HistResDscr_"
_MAX_CURVES = 4096
_MAX_BINS = 65_536


def read_phu(path: str | os.PathLike[str], channel: int | None = None) -> Curves:
    """Read the histograms of a .phu file.

    As in .ptu files the time bins cover one sync period, if the sync rate is known.

    Parameters
    ----------
    path
        The file.
    channel
        Curve to read, from 0; by default every curve that has photons.

    Returns
    -------
    Curves
        Histograms and header.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path = Path(path)
    with opened(path, ".phu") as file:
        return _read(path, file, channel)


def _read(path: Path, file: io.BufferedReader, channel: int | None) -> Curves:
    tags, created, _ = read_tags(path, file, ".phu")
    curves = [
        _counts(path, file, at, bins, number)
        for number, (at, bins) in enumerate(_places(path, tags))
    ]
    if any(curve.size != curves[0].size for curve in curves):
        raise InputError(path, "its curves have unequal numbers of bins", "import one at a time")
    counts = np.stack(curves)
    warnings: list[str] = []
    chosen = choose_curves(path, counts, channel, warnings)
    first = chosen[0] if chosen else 0
    own = {key: _of_curve(value, first) for key, value in tags.items()}
    bin_s = time_bin_s(path, own, f"{_CURVE}MDescResolution")
    for number in chosen:
        if _of_curve(tags[f"{_CURVE}MDescResolution"], number) != bin_s:
            raise InputError(
                path, f"curve {number} has another time bin", "choose one curve with --channel"
            )
    rate_hz = _first(own, "SyncRate", "TTResult_SyncRate")
    if rate_hz > 0:
        check_period(path, 1 / rate_hz, rate_hz)
        bins = min(counts.shape[1], period_bins(path, bin_s, 1 / rate_hz))
        late = int(counts[list(chosen), bins:].sum())
        if late * bins > counts[list(chosen)].sum():
            warnings.append(
                f"{late} photons arrive after one pulse period ({bins} bins) and are left out; "
                "the sync rate in the header may be wrong."
            )
        counts = counts[:, :bins]
    else:
        rate_hz = math.nan
        warnings.append("The file does not tell the pulse rate.")
    begun = own.get(f"{_CURVE}TimeOfRecording", created)
    return Curves(
        counts=counts[list(chosen)],
        channels=chosen,
        time_bin_ps=round(bin_s * 1e12, 9),
        offset_ns=offset_ns(path, own, f"{_CURVE}MDescOffset"),
        sync_rate_hz=rate_hz,
        acquisition_time_s=_first(
            own, "MDescStopAfter", "MDescAcquisTime", "MeasDesc_AcquisitionTime"
        )
        / 1e3,
        record_type="PHU histogram",
        device_model=text(own, f"{_CURVE}HWType") or text(tags, "HW_Type"),
        device_serial=text(own, f"{_CURVE}HWSerialNo") or text(tags, "HW_SerialNo"),
        comment=text(tags, "File_Comment"),
        created=begun if isinstance(begun, datetime) else None,
        warnings=tuple(warnings),
    )


def _places(path: Path, tags: dict[str, Any]) -> list[tuple[int, int]]:
    """Return where each curve begins in the file, and its number of bins."""
    count = tags.get("HistoResult_NumberOfCurves", 0)
    if type(count) is not int or not 1 <= count <= _MAX_CURVES:
        raise InputError(
            path,
            f"HistoResult_NumberOfCurves in the header is {str(count)[:40]}",
            f"it must be a whole number from 1 to {_MAX_CURVES}",
        )
    bits = tags.get("HistoResult_BitsPerBin", 32)
    if bits != 32:
        raise InputError(path, f"its bins have {str(bits)[:40]} bits", "32 are needed")
    places: list[Sequence[int]] = []
    for key in ("DataOffset", "HistogramBins"):
        values = tags.get(f"{_CURVE}{key}")
        if (
            not isinstance(values, list)
            or len(values) != count
            or any(type(value) is not int or value < 1 for value in values)
        ):
            raise InputError(
                path,
                f"{_CURVE}{key} in the header does not hold a whole number for each of its "
                f"{count} curves",
                "copy the file again from the instrument's computer",
            )
        places.append(values)
    if max(places[1]) > _MAX_BINS:
        raise InputError(path, f"a curve has {max(places[1])} bins", f"at most {_MAX_BINS} can be")
    return list(zip(*places, strict=True))


def _counts(
    path: Path, file: io.BufferedReader, at: int, bins: int, number: int
) -> NDArray[np.int64]:
    """Read one curve."""
    data = b""
    if at + 4 * bins <= file.seek(0, os.SEEK_END):
        file.seek(at)
        data = file.read(4 * bins)
    if len(data) < 4 * bins:
        raise InputError(
            path,
            f"the file ends before its curve {number}",
            "copy the file again from the instrument's computer",
        )
    return np.frombuffer(data, dtype="<u4").astype(np.int64)


def _of_curve(value: Any, number: int) -> Any:
    """Return what a header value says of one curve."""
    if not isinstance(value, list):
        return value
    return value[number] if number < len(value) else None


def _first(own: dict[str, Any], *keys: str) -> float:
    """Return the first of some header values that is a positive number, 0 if none is."""
    for key in keys:
        value = own.get(f"{_CURVE}{key}", own.get(key))
        if is_number(value) and value > 0:
            return float(value)
    return 0.0
