"""The table that tells where each imported file was measured, and for how long."""

import math
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import TextIO

from tplm_config import InputError, Place
from tplm_daq.tables import csv_rows

COLUMNS = ("file", "x_um", "y_um", "exposure_s")
MAX_EXPOSURE_S = 86_400.0
MAX_POSITION_UM = 10_000.0


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    line: int
    file: str
    place: Place
    exposure_s: float | None


def read_rows(table: Path) -> list[Row]:
    """Read the table.

    Raises
    ------
    InputError
        If it is none, or has no row.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = _parse_rows(table, file)
    except UnicodeDecodeError:
        raise InputError(
            table, "not UTF-8 text", "save the table as CSV with commas in UTF-8"
        ) from None
    except OSError as error:
        raise InputError(table, f"the file cannot be read ({error.strerror})") from None
    if not rows:
        raise InputError(table, "there is no row", "one row for each file is needed")
    return rows


def _parse_rows(table: Path, file: TextIO) -> list[Row]:
    names: list[str] | None = None
    rows: list[Row] = []
    for line, raw in csv_rows(table, file):
        cells = [cell.strip() for cell in raw]
        if names is None:
            names = cells
            good = set(names) <= set(COLUMNS) and len(set(names)) == len(names)
            if not (good and {"file", "x_um"} <= set(names)):
                raise InputError(
                    table,
                    f"the first row is {','.join(names)[:80]!r}",
                    "it must be file,x_um and optionally y_um,exposure_s, with commas",
                    f"line {line}",
                )
            continue
        if len(cells) != len(names):
            raise InputError(
                table, f"found {len(cells)} values", f"{len(names)} are needed", f"line {line}"
            )
        rows.append(_row(table, line, dict(zip(names, cells, strict=True))))
    return rows


def _row(table: Path, line: int, cells: dict[str, str]) -> Row:
    def number(name: str, low: float, high: float, allowed: str) -> float:
        try:
            value = float(cells[name])
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            found = f"found {cells[name][:40]!r}"
            raise InputError(table, found, allowed, f"line {line}, {name}")
        return value

    def place(name: str) -> float:
        far = MAX_POSITION_UM
        return number(name, -far, far, f"a place is a number from {-far:g} to {far:g} µm")

    if not cells["file"]:
        raise InputError(table, "the file name is missing", key=f"line {line}, file")
    exposure_s = None
    if cells.get("exposure_s"):
        allowed = f"an exposure is more than 0 and at most {MAX_EXPOSURE_S:g} s; leave it empty "
        exposure_s = number(
            "exposure_s", 1e-9, MAX_EXPOSURE_S, f"{allowed}to take it from the measured file"
        )
    y_um = place("y_um") if cells.get("y_um") else 0.0
    return Row(line, cells["file"], Place(place("x_um"), y_um), exposure_s)


def match(files: list[Path], table: Path, rows: list[Row]) -> list[tuple[Path, Row]]:
    """Bring files and rows together, one to one, in the order of the rows.

    Raises
    ------
    InputError
        If a file or a row is left over, or a name may mean two files.
    """
    free = list(files)
    by_name: dict[Path, list[Path]] = {}
    for path in files:
        by_name.setdefault(path.resolve(), []).append(path)
    found: list[tuple[Path, Row]] = []
    for row in rows:
        # a table written on Windows has backslashes
        name = PurePath(*PureWindowsPath(row.file).parts)
        here = by_name.get((table.parent / name).resolve(), [])
        hits = here or [path for path in free if path.parts[-len(name.parts) :] == name.parts]
        key = f"line {row.line}, file"
        if not hits:
            raise InputError(
                table,
                f"'{row.file}' is not among the {len(files)} files given, or has a row already",
                "give every file of the table exactly once",
                key,
            )
        if len(hits) > 1:
            raise InputError(
                table,
                f"'{row.file}' may be {hits[0]} or {hits[1]}",
                "write the folder too, and give each file once",
                key,
            )
        (path,) = hits
        free.remove(path)
        by_name[path.resolve()].remove(path)
        found.append((path, row))
    if free:
        more = f" and {len(free) - 1} more have" if len(free) > 1 else " has"
        raise InputError(
            table, f"{free[0]}{more} no row", "one row for each file is needed: file,x_um"
        )
    return found
