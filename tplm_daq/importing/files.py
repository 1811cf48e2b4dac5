"""Making a scan file from measured files, one file for each dwell."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import CardSettings, Excitation, InputError, Place, PositionScan
from tplm_config.errors import printable
from tplm_daq.curves import Curves
from tplm_daq.events import VisitRecord
from tplm_daq.exporting import new_file
from tplm_daq.importing.phu import read_phu
from tplm_daq.importing.sdt import read_sdt
from tplm_daq.importing.table import MAX_EXPOSURE_S, Row, match, read_rows
from tplm_daq.store import Scan, ScanHeader, read_scan, write_scan
from tplm_daq.store.frozen import JOURNAL_BYTES
from tplm_daq.t3.reading import PtuHistogram, read_ptu
from tplm_daq.tables import ordinary_file
from tplm_drivers import Identity

READERS: dict[str, Callable[[Path, int | None], Curves]] = {
    ".ptu": read_ptu,
    ".phu": read_phu,
    ".sdt": read_sdt,
}
"""By the ending of the file's name."""
_MAX_BINS_CROPPED = 0.01
"""Share of the bins; the period that a card measures wanders far less than this."""
_MAX_WARNINGS = 50
_MAX_COMMENT = 500


@dataclass(frozen=True, eq=False)
class _Source:
    """A file that was read, without what is not kept of it."""

    path: Path
    row: Row
    counts: NDArray[np.uint32]
    header: Curves
    live_s: float


def import_files(
    files: Sequence[str | Path],
    positions_csv: str | Path,
    out: str | Path,
    channel: int | None = None,
) -> Scan:
    """Make a scan file from measured files, each of them one visit to a place.

    Files for the same place are passes, in the order of their dates, or of the table if a date is
    missing. All histograms are cut to the shortest: the sync period that a card measures is not
    the same number of bins each time.

    Parameters
    ----------
    files : sequence of path
        PicoQuant .ptu (T3) and .phu files, Becker & Hickl .sdt files.
    positions_csv : path
        Table with header ``file,x_um`` and optionally ``y_um`` and ``exposure_s``, one row for
        each file. File names are relative to the table's folder, or the end of a path in `files`.
    out : path
        The scan file to make.
    channel : int, optional
        Input channel of the card or curve of the file, from 0; needed if several have photons.

    Returns
    -------
    Scan
        The scan file. Its journal tells where the counts came from.

    Raises
    ------
    InputError
        If anything does not fit together.
    """
    out = new_file(out)
    if out.suffix.lower() != ".h5":
        raise InputError(out, f"the file name ends in '{out.suffix}'", "a scan file ends in .h5")
    table = ordinary_file(positions_csv)
    rows = match([Path(file) for file in files], table, read_rows(table))
    sources = [_read(path, row, channel, table) for path, row in rows]
    started = [source.header.created for source in sources if source.header.created is not None]
    first = min(started, default=None)
    if len(started) == len(sources):
        sources.sort(key=lambda source: _seconds_since(first, source.header.created))
    bins = _common_bins(sources)
    _check_channels(sources)
    plan, passes = _plan(sources, bins)
    visits = {(visit.pass_index, visit.position_index): visit for visit in plan.visits()}
    records = [
        VisitRecord(
            visit=visits[place],
            started_s=_seconds_since(first, source.header.created),
            live_s=source.live_s,
            stage_x_um=math.nan,
            stage_y_um=math.nan,
            sync_rate_hz=source.header.sync_rate_hz,
            count_rate_hz=math.nan,
            temperature_k=math.nan,
            power_nw=math.nan,
            flags=frozenset(),
            counts=source.counts[:bins],
        )
        for source, place in zip(sources, passes, strict=True)
    ]
    note = _note(sources, records, table, bins)
    if len(json.dumps(note, ensure_ascii=False).encode()) > JOURNAL_BYTES - 1000:
        raise InputError(
            table,
            f"the names of {len(sources)} files do not fit into one scan file",
            "shorten the names or import fewer files at a time",
        )
    header = sources[0].header
    model = printable(header.device_model) or "unknown"
    card = Identity(model, printable(header.device_serial), checked_against="imported")
    made = ScanHeader(plan, header.time_bin_ps, bins, header.offset_ns, identities={"card": card})
    if first is not None:
        made = replace(made, created=first.isoformat(timespec="milliseconds"))
    write_scan(out, made, records, note)
    return read_scan(out)


def _read(path: Path, row: Row, channel: int | None, table: Path) -> _Source:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            path, f"the file name ends in '{path.suffix}'", f"allowed: {', '.join(READERS)}"
        )
    found = reader(path, channel)
    if len(found.channels) > 1:
        listed = ", ".join(map(str, found.channels))
        what = "channels" if reader is read_ptu else "curves"
        raise InputError(
            path, f"there are photons in the {what} {listed}", "choose one with --channel"
        )
    live_s = row.exposure_s or found.acquisition_time_s
    if not 0 < live_s <= MAX_EXPOSURE_S:
        raise InputError(
            path,
            f"the file gives {live_s:g} s as its acquisition time",
            f"add a column exposure_s to {table}",
        )
    return _Source(path, row, found.total.astype(np.uint32), found, live_s)


def _check_channels(sources: list[_Source]) -> None:
    """One channel throughout; a file without photons has none."""
    lit = [source for source in sources if source.header.channels]
    for source in lit[1:]:
        if source.header.channels != lit[0].header.channels:
            raise InputError(
                source.path,
                f"the photons are in channel {source.header.channels[0]}, those of {lit[0].path} "
                f"in channel {lit[0].header.channels[0]}",
                "choose one with --channel",
            )


def _common_bins(sources: list[_Source]) -> int:
    """Bins that all histograms have."""
    first = sources[0]
    for source in sources:
        if not math.isclose(source.header.time_bin_ps, first.header.time_bin_ps, rel_tol=1e-6):
            raise InputError(
                source.path,
                f"the time bin is {source.header.time_bin_ps:g} ps",
                f"{first.path} has {first.header.time_bin_ps:g} ps, and all must be equal",
            )
        if source.header.offset_ns != first.header.offset_ns:
            raise InputError(
                source.path,
                f"the first bin lies {source.header.offset_ns:g} ns after the sync",
                f"that of {first.path} {first.header.offset_ns:g} ns, and all must be equal",
            )
    longest = max(sources, key=lambda source: source.counts.size)
    shortest = min(sources, key=lambda source: source.counts.size)
    bins = shortest.counts.size
    if longest.counts.size - bins > max(3, _MAX_BINS_CROPPED * longest.counts.size):
        raise InputError(
            shortest.path,
            f"the histogram has {bins} bins ({_rate(shortest)})",
            f"{longest.path} has {longest.counts.size} ({_rate(longest)}), and all must have the "
            "same repetition rate",
        )
    if bins < 2:
        raise InputError(shortest.path, "the histogram has one bin", "at least 2 are needed")
    return bins


def _rate(source: _Source) -> str:
    rate_hz = source.header.sync_rate_hz
    return f"{rate_hz:g} pulses/s" if math.isfinite(rate_hz) else "unknown pulse rate"


def _plan(sources: list[_Source], bins: int) -> tuple[PositionScan, list[tuple[int, int]]]:
    """Return the plan that these files carry out, and pass and place of each file."""
    repeats: dict[Place, int] = {}
    done: list[tuple[int, Place]] = []
    for source in sources:
        place = source.row.place
        done.append((repeats.get(place, 0), place))
        repeats[place] = repeats.get(place, 0) + 1
    places = list(repeats)
    number = {place: i for i, place in enumerate(places)}
    header = sources[0].header
    rates_hz = [s.header.sync_rate_hz for s in sources if math.isfinite(s.header.sync_rate_hz)]
    kinds = " and ".join(sorted({source.path.suffix.lower() for source in sources}))
    ys = tuple(place.y_um for place in places)
    plan = PositionScan(
        x_um=tuple(place.x_um for place in places),
        y_um=ys if any(ys) else (),
        passes=max(repeats.values()),
        order="one-way",
        dwell_s=statistics.median(source.live_s for source in sources),
        card=CardSettings(
            mode="t3" if isinstance(header, PtuHistogram) else "histogram",
            time_bin_ps=header.time_bin_ps,
            range_ns=bins * header.time_bin_ps * 1e-3,
            offset_ns=header.offset_ns,
        ),
        excitation=Excitation(repetition_rate_hz=statistics.median(rates_hz) if rates_hz else None),
        notes=f"imported from {len(sources)} {kinds} file{'s' if len(sources) > 1 else ''}",
    )
    return plan, [(pass_index, number[place]) for pass_index, place in done]


def _seconds_since(first: datetime | None, created: datetime | None) -> float:
    return math.nan if first is None or created is None else (created - first).total_seconds()


def _note(
    sources: list[_Source], records: list[VisitRecord], table: Path, bins: int
) -> dict[str, Any]:
    """Say where the counts came from, for the journal; folders may be private, so names only."""

    def distinct(name: str) -> list[str]:
        texts = (printable(str(getattr(source.header, name)))[:_MAX_COMMENT] for source in sources)
        return [text for text in dict.fromkeys(texts) if text]

    complaints = [
        f"{source.path.name}: {printable(text)}"
        for source in sources
        for text in source.header.warnings
    ]
    cropped = sum(int(source.counts[bins:].sum()) for source in sources)
    if any(source.counts.size > bins for source in sources):
        complaints.insert(
            0, f"Histograms were cut to {bins} bins, which left out {cropped} photons in all."
        )
    if len(complaints) > _MAX_WARNINGS:
        more = len(complaints) - _MAX_WARNINGS
        complaints = [*complaints[:_MAX_WARNINGS], f"and {more} more warnings"]
    return {
        "event": "imported",
        "positions": table.name,
        "files": {
            record.visit.index: source.path.name
            for source, record in zip(sources, records, strict=True)
        },
        "record_type": distinct("record_type"),
        "device_model": distinct("device_model"),
        "device_serial": distinct("device_serial"),
        "comment": distinct("comment")[:_MAX_WARNINGS],
        "warnings": complaints,
    }
