"""Reading a map from a file, ours or anybody's: ``.h5``, ``.npz``, ``.csv``.

Whatever the bytes say, the outcome is a map or one sentence about what is wrong with the file.
"""

import csv
import lzma
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tplm_config import InputError
from tplm_daq.store import ScanMap, read_scan

SUFFIXES = (".h5", ".npz", ".csv")
MAX_CELLS = 500_000_000
MAX_COUNTS = 2**52
"""More than any detector delivers, and still exact in floating point."""
_MAX_LINE = 1 << 24

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
    ArithmeticError, SyntaxError, MemoryError, struct.error, tokenize.TokenError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What zip and numpy raise on damaged bytes."""


def read_map(path: str | Path) -> ScanMap:
    """Read counts by position and time.

    Parameters
    ----------
    path : str or Path
        ``.h5``: a scan file of this program. ``.npz``: ``counts`` (position × time bin, whole
        numbers), ``x_um``, ``t_ns`` and optionally ``exposure_s`` (0 where nothing was measured;
        absent: equal, and then 1 s here). ``.csv``: the first row is ``t_ns``, the first column
        ``x_um``, the corner is ignored; exposures are equal.

    Returns
    -------
    ScanMap
        Positions in ascending order.

    Raises
    ------
    InputError
        If the file cannot be read as a map.
    """
    path = ordinary_file(path)
    match path.suffix.lower():
        case ".h5":
            return read_scan(path).map()
        case ".npz":
            return _read_npz(path)
        case ".csv":
            return _read_csv(path)
    raise InputError(
        path, f"the file name ends in '{path.suffix}'", f"a map is one of {', '.join(SUFFIXES)}"
    )


def ordinary_file(path: str | Path) -> Path:
    """Return the path of a file that can be opened without waiting for ever.

    Raises
    ------
    InputError
        If it is no ordinary file.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(path, "this is a folder", "a file is needed")
        if not path.is_file():
            found = "this is not an ordinary file" if path.exists() else "no such file"
            raise InputError(path, found)
    except OSError as error:
        raise InputError(path, f"the file cannot be read ({error.strerror})") from None
    return path


def _read_npz(path: Path) -> ScanMap:
    try:
        # numpy and Python warn about odd headers, which then fail anyway
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except InputError:
        raise
    except _DAMAGE as error:
        detail = str(error).split("\n", 1)[0][:120] or type(error).__name__
        raise InputError(path, f"not a readable .npz file ({detail})") from None


def _read_archive(path: Path, archive: zipfile.ZipFile) -> ScanMap:
    keys = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    for key in ("counts", "x_um", "t_ns"):
        if key not in keys:
            raise InputError(
                path,
                f"the key is missing; found: {', '.join(sorted(keys))[:100] or 'nothing'}",
                "needed are counts, x_um, t_ns and, if they differ, exposure_s",
                key,
            )
    # every shape is checked before anything is allocated
    shapes = {
        key: _shape(path, archive, key, 2 if key == "counts" else 1)
        for key in ("counts", "x_um", "t_ns", "exposure_s")
        if key in keys
    }
    needed = (*shapes["x_um"], *shapes["t_ns"])
    if shapes["counts"] != needed:
        raise InputError(
            path,
            f"the shape is {shapes['counts']}",
            f"with {needed[0]} values of x_um and {needed[1]} of t_ns it must be {needed}",
            "counts",
        )
    if shapes.get("exposure_s", shapes["x_um"]) != shapes["x_um"]:
        raise InputError(
            path,
            f"found {shapes['exposure_s'][0]} values",
            f"one for each of the {needed[0]} positions is needed",
            "exposure_s",
        )
    arrays = {key: _array(archive, key) for key in shapes}
    x_um, t_ns = (_finite(path, key, arrays[key]) for key in ("x_um", "t_ns"))
    _check_ascending(path, t_ns)
    exposure_s = np.ones(x_um.size)
    if "exposure_s" in arrays:
        exposure_s = _finite(path, "exposure_s", arrays["exposure_s"])
        if exposure_s.min() < 0:
            raise InputError(
                path,
                f"found {exposure_s.min():g}",
                "an exposure is 0 (not measured) or more",
                "exposure_s",
            )
    counts = arrays["counts"]
    bad = first_no_count(counts)
    if bad is not None:
        row, column = bad
        raise InputError(
            path,
            f"position {row}, bin {column} (from 0) holds {counts[row, column]}",
            "counts are whole numbers from 0",
            "counts",
        )
    return _in_order(counts.astype(np.int64), x_um, t_ns, exposure_s)


def _shape(path: Path, archive: zipfile.ZipFile, key: str, dimensions: int) -> tuple[int, ...]:
    """Shape of an array, from its header alone."""
    with archive.open(f"{key}.npy") as member:
        shape, dtype = _npy_header(path, member, key)
    if dtype.kind not in "iuf":
        raise InputError(path, f"holds {dtype}", "plain numbers are needed", key)
    if len(shape) != dimensions or 0 in shape:
        allowed = "position × time bin" if dimensions == 2 else "a list of numbers"
        raise InputError(path, f"the shape is {shape}", f"{allowed} is needed, not empty", key)
    _check_size(path, int(np.prod(shape, dtype=object)), key)
    return shape


def _npy_header(path: Path, member: IO[bytes], key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    match npy.read_magic(member):
        case (1, 0):
            shape, _, dtype = npy.read_array_header_1_0(member)
        case (2, 0):
            shape, _, dtype = npy.read_array_header_2_0(member)
        case version:  # only tables with named columns need a later one
            raise InputError(path, f"an array of version {version}", "numbers are needed", key)
    return shape, dtype


def _array(archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    with archive.open(f"{key}.npy") as member:
        return np.asarray(npy.read_array(member, allow_pickle=False))


def _read_csv(path: Path) -> ScanMap:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_rows(path, file)
    except UnicodeDecodeError:
        raise InputError(
            path, "not UTF-8 text", "save the table as CSV with commas in UTF-8"
        ) from None
    except OSError as error:
        raise InputError(path, f"the file cannot be read ({error.strerror})") from None


def _read_rows(path: Path, file: TextIO) -> ScanMap:
    t_ns: F64 | None = None
    x_um: list[float] = []
    rows: list[I64] = []
    for line, cells in csv_rows(path, file):
        if t_ns is None:
            if len(cells) < 2:
                raise InputError(
                    path,
                    "there is no comma in the first row",
                    "it must hold a corner and then t_ns, with commas between and decimal points",
                    f"line {line}",
                )
            t_ns = _numbers(path, line, cells[1:], first_column=2)
            _check_ascending(path, t_ns)
            continue
        if len(cells) != t_ns.size + 1:
            raise InputError(
                path,
                f"found {len(cells)} values",
                f"the first row has {t_ns.size + 1}, and so must every row",
                f"line {line}",
            )
        values = _numbers(path, line, cells)
        _check_size(path, (len(rows) + 1) * t_ns.size)
        bad = first_no_count(values[None, 1:])
        if bad is not None:
            column = bad[1] + 1
            raise InputError(
                path,
                f"found {cells[column]}",
                "counts are whole numbers from 0",
                f"line {line}, column {column + 1}",
            )
        x_um.append(float(values[0]))
        rows.append(values[1:].astype(np.int64))
    if t_ns is None or not rows:
        raise InputError(
            path,
            "the file is empty" if t_ns is None else "there is no row of counts",
            "the first row is t_ns, each further row a position x_um and its counts",
        )
    return _in_order(np.stack(rows), np.array(x_um), t_ns, np.ones(len(rows)))


def csv_rows(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file that are not blank, with their line numbers from 1."""
    rows = csv.reader(_lines(path, file))
    try:
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield rows.line_num, cells
    except csv.Error as error:
        raise InputError(path, f"not a CSV table ({error})", key=f"line {rows.line_num}") from None


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """Lines of a text file, none of them long enough to fill the memory."""
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise InputError(path, f"a line is longer than {_MAX_LINE} characters", "not a map")
        yield line


def _numbers(path: Path, line: int, cells: list[str], first_column: int = 1) -> F64:
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([_number(cell) for cell in cells])
    good = np.isfinite(values)
    if not good.all():
        bad = int(np.argmin(good))
        raise InputError(
            path,
            f"found {cells[bad].strip()[:40]!r}",
            "a finite number is needed",
            f"line {line}, column {bad + first_column}",
        )
    return values


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _finite(path: Path, key: str, values: NDArray[Any]) -> F64:
    with np.errstate(over="ignore"):  # what overflows is refused below
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values)))
        raise InputError(
            path, f"value {bad} (from 0) is {values[bad]}", "finite numbers are needed", key
        )
    return values


def first_no_count(values: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first value that is no number of photons."""
    good = (values >= 0) & (values <= MAX_COUNTS)
    if values.dtype.kind == "f":
        good &= values == np.rint(values)
    if good.all():
        return None
    row, column = np.unravel_index(int(np.argmin(good)), good.shape)
    return int(row), int(column)


def _check_ascending(path: Path, t_ns: F64) -> None:
    if (np.diff(t_ns) <= 0).any():
        bad = int(np.argmax(np.diff(t_ns) <= 0))
        raise InputError(
            path,
            f"{t_ns[bad + 1]:g} follows {t_ns[bad]:g}",
            "times must increase from bin to bin",
            "t_ns",
        )


def _check_size(path: Path, cells: int, key: str = "counts") -> None:
    if cells > MAX_CELLS:
        raise InputError(path, f"{cells} values", f"at most {MAX_CELLS} are allowed", key)


def _in_order(counts: I64, x_um: F64, t_ns: F64, exposure_s: F64) -> ScanMap:
    order = np.argsort(x_um, kind="stable")
    return ScanMap(counts[order], x_um[order], t_ns, exposure_s[order])
