"""Exporting a map as photons: .ptu files for programs that read nothing else.

A scan file holds histograms. Delay times and totals of the photons are those measured; when
in the dwell each arrived is not known, and drawn.
"""

import csv
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tplm_config import CrossScan, InputError
from tplm_daq.store import Scan
from tplm_daq.store.files import replacing, sync_folder
from tplm_daq.store.scan import Axis
from tplm_daq.t3.decoder import T3_FORMATS
from tplm_daq.t3.writing import PtuHeader, PtuWriter, overflows
from tplm_drivers import Identity

COMMENT = (
    "Made from histograms: delay times and totals of the photons are as measured, their order of "
    "arrival is not known and was drawn at random, evenly over each dwell."
)
_GENERIC = T3_FORMATS[0x00010307]
_BLOCK_PHOTONS = 1 << 21


def export_photons(scan: Scan, path: Path, axis: Axis | None) -> list[str]:
    """Write the map's visits as T3 records; `tplm_daq.exporting.export_map` says how.

    Returns
    -------
    list of str
        What the files do not tell truly, or not to every program.
    """
    rows = _rows(scan, axis)
    bins = scan.header.bins
    if bins > _GENERIC.bins:
        raise InputError(
            scan.path,
            f"its histograms have {bins} bins",
            f"T3 records have delay times for {_GENERIC.bins}, so use another format",
        )
    if scan.sync_rate_hz is None:
        raise InputError(
            scan.path,
            "its pulse rate is not known",
            "T3 records count the pulses, so use another format",
        )
    try:
        if path.suffix.lower() == ".ptu":
            _write_one(scan, rows, path)
        else:
            _write_each(scan, rows, path)
    except OSError as error:
        raise InputError(path, f"it cannot be made ({error.strerror or error})") from None
    remarks = [f"{path}: {COMMENT}"]
    period_bins = math.floor(1e12 / (scan.sync_rate_hz * scan.header.time_bin_ps))
    late = int(scan.position_counts[:, period_bins:].sum())
    if late:
        remarks.append(
            f"{path}: {late} photons lie after one pulse period; other programs may leave them out"
        )
    return remarks


def draw_records(
    counts: NDArray[np.uint32], pulses: int, rng: np.random.Generator
) -> Iterator[NDArray[np.uint32]]:
    """GenericT3 records of a dwell whose photons came evenly over its pulses.

    Parameters
    ----------
    counts : ndarray of uint32, shape (bins,)
        Photons per time bin.
    pulses : int
        How many pulses the dwell had, at least 1.
    rng : Generator
        What draws.

    Yields
    ------
    ndarray of uint32
        Blocks of the stream.
    """
    left = counts.astype(np.int64)
    steps = min(pulses, -(-int(left.sum()) // _BLOCK_PHOTONS))
    begin = turn = 0
    for step in range(1, steps + 1):
        end = pulses * step // steps
        # of the photons still to come, each falls into this part of the dwell by itself
        part = rng.binomial(left, (end - begin) / (pulses - begin))
        left -= part
        delays = np.repeat(np.arange(counts.size, dtype=np.uint32), part)
        rng.shuffle(delays)
        arrivals = np.sort(rng.integers(begin, end, delays.size))
        nsync = (arrivals & 1023).astype(np.uint32)
        turns = arrivals >> _GENERIC.nsync_bits
        yield _with_overflows(delays << np.uint32(10) | nsync, np.diff(turns, prepend=turn))
        turn = int(turns[-1]) if turns.size else turn
        begin = end
    yield overflows(_GENERIC, (pulses >> _GENERIC.nsync_bits) - turn)


def _with_overflows(photons: NDArray[np.uint32], gaps: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Put as many overflows of the sync count before each photon as `gaps` tells."""
    most = (1 << _GENERIC.nsync_bits) - 1
    one = _GENERIC.overflow_code << _GENERIC.overflow_shift
    extra = -(-gaps // most)
    at = np.cumsum(extra + 1) - 1
    records = np.full(at[-1] + 1 if at.size else 0, one | most, dtype=np.uint32)
    records[at] = photons
    some = extra > 0
    rest = gaps[some] - most * (extra[some] - 1)
    records[at[some] - 1] = (one | rest).astype(np.uint32)
    return records


def _rows(scan: Scan, axis: Axis | None) -> list[int]:
    """Visits of the map, of a cross those along one axis, in the order measured."""
    scan.map(axis)  # refuses an axis that the plan has not
    places = range(scan.plan.place_count)
    if isinstance(scan.plan, CrossScan):
        line = slice(scan.plan.positions, None) if axis == "y" else slice(scan.plan.positions)
        places = places[line]
    position = scan.columns["position_index"]
    wanted = scan.stored & (position >= places.start) & (position < places.stop)
    rows: list[int] = np.flatnonzero(wanted).tolist()
    if not rows:
        raise InputError(scan.path, "no position was measured", "there is nothing to write")
    return rows


def _header(scan: Scan, row: int) -> PtuHeader:
    """Header of a file that begins with a visit."""
    card = scan.header.identities.get("card", Identity("unknown"))
    rate_hz = float(scan.columns["sync_rate_hz"][row])
    known = math.isfinite(rate_hz) and rate_hz > 0
    return PtuHeader(
        record_type=_GENERIC.code,
        time_bin_ps=scan.header.time_bin_ps,
        sync_rate_hz=rate_hz if known else scan.sync_rate_hz or math.nan,
        bins=scan.header.bins,
        offset_ns=scan.header.offset_ns,
        sync_divider=scan.plan.card.sync_divider,
        device_model=card.model,
        device_serial=card.serial_number,
        comment=COMMENT,
        created=_created(scan, row),
    )


def _created(scan: Scan, row: int) -> datetime | None:
    """When a visit began, in local time as in all files of this kind."""
    try:
        begun = datetime.fromisoformat(scan.header.created)
        if begun.tzinfo is not None:
            begun = begun.astimezone().replace(tzinfo=None)
        return begun + timedelta(seconds=float(scan.columns["started_s"][row]))
    except (ValueError, OverflowError, OSError):  # no date, or NaN seconds after it
        return None


def _measure(scan: Scan, row: int, writer: PtuWriter, rate_hz: float) -> None:
    """Write one visit."""
    live_s = float(scan.columns["live_s"][row])
    pulses = max(1, round(live_s * rate_hz))
    (counts,) = scan.histograms(np.array([row]))
    for records in draw_records(counts, pulses, np.random.default_rng(row)):
        writer.write(records)
    writer.end_measurement(pulses, live_s)


def _write_one(scan: Scan, rows: list[int], path: Path) -> None:
    """One file, in which a marker begins every visit but the first."""
    header = replace(_header(scan, rows[0]), sync_rate_hz=scan.sync_rate_hz or math.nan)
    with replacing(path) as temporary, PtuWriter(temporary, header) as writer:
        for row in rows:
            _measure(scan, row, writer, header.sync_rate_hz)


def _write_each(scan: Scan, rows: list[int], path: Path) -> None:
    """A folder with a file for each visit, and the table that `tplm import` reads."""
    table: list[list[object]] = [["file", "x_um", "y_um", "exposure_s"]]
    with _new_folder(path) as folder:
        for row in rows:
            place, turn, *numbers = (
                scan.columns[name][row].item()
                for name in ("position_index", "pass_index", "x_um", "y_um", "live_s")
            )
            name = f"p{place:04d}_{turn:03d}.ptu"
            header = _header(scan, row)
            with PtuWriter(folder / name, header) as writer:
                _measure(scan, row, writer, header.sync_rate_hz)
            table.append([name, *numbers])
        with (folder / "positions.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder beside `path`; on success it takes that name."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.mkdir()  # one that is there belongs to another export, or to one that was killed
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)
