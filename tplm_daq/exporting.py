"""Writing a map for other programs: ``csv``, ``npz``, ``mat``, ``ptu``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.io import savemat

from tplm_config import InputError, to_toml
from tplm_daq.photons import export_photons
from tplm_daq.store import Scan, ScanMap
from tplm_daq.store.files import replacing
from tplm_daq.store.scan import Axis

Format = Literal["csv", "npz", "mat"]
ExportFormat = Literal[Format, "ptu"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)


def export_map(
    scan: Scan, path: str | Path, format: ExportFormat, axis: Axis | None = None
) -> list[str]:
    """Write a scan's map as `write_map` does; ``mat`` also holds plan and profile as TOML.

    ``ptu`` holds every visit of the map as T3 records: in one file if `path` ends in .ptu, with a
    marker before each visit but the first; else in a new folder, one file for each position and
    pass, ``p0000_000.ptu``, …, with a table ``positions.csv`` for `tplm_daq.importing`.

    Parameters
    ----------
    scan : Scan
        Finished or not.
    path : str or Path
        File or folder to make.
    format : {"csv", "npz", "mat", "ptu"}
        Its format.
    axis : {"x", "y"}, optional
        Which line of a cross, or which axis of a raster.

    Returns
    -------
    list of str
        What the format could not carry, a sentence each.

    Raises
    ------
    InputError
        If it exists or cannot be made, or the format cannot hold this map.
    """
    if format == "ptu":
        return export_photons(scan, new_file(path), axis)
    texts = {
        "plan": to_toml(scan.plan),
        "profile": "" if scan.header.profile is None else to_toml(scan.header.profile),
    }
    return write_map(scan.map(axis), path, format, texts)


def write_map(
    found: ScanMap, path: str | Path, format: Format, texts: dict[str, str] | None = None
) -> list[str]:
    """Write a map; `tplm_daq.tables.read_map` reads ``csv`` and ``npz`` back exactly.

    A CSV table has no place for exposures: positions that were not measured are left out, and if
    the others were counted for different times, the relative scale of its rows is lost.

    Parameters
    ----------
    found : ScanMap
        The map.
    path : str or Path
        File to make.
    format : {"csv", "npz", "mat"}
        Its format.
    texts : dict of str, optional
        Further variables of a ``mat`` file.

    Returns
    -------
    list of str
        What the format could not carry, a sentence each.

    Raises
    ------
    InputError
        If the file exists or cannot be made, or a CSV table would be empty.
    """
    path = new_file(path)
    values: dict[str, Any] = {
        "counts": found.counts,
        "x_um": found.x_um,
        "t_ns": found.t_ns,
        "exposure_s": found.exposure_s,
    }
    measured = found.exposure_s > 0
    if format == "csv" and not measured.any():
        raise InputError(path, "no position was measured", "there is nothing to write as CSV")
    try:
        with replacing(path) as temporary:
            if format == "mat":
                values |= texts or {}
                savemat(str(temporary), values, appendmat=False, do_compression=True)
            else:
                with temporary.open("wb") as file:
                    if format == "npz":
                        np.savez_compressed(file, allow_pickle=False, **values)
                    else:
                        file.writelines(f"{line}\n".encode() for line in _csv_lines(found))
    except OSError as error:
        raise InputError(path, f"the file cannot be made ({error.strerror or error})") from None
    exposure_s = found.exposure_s[measured]
    if format == "csv" and not np.allclose(exposure_s, exposure_s[0], rtol=1e-3):
        span = f"{exposure_s.min():g} to {exposure_s.max():g} s"
        return [f"{path}: CSV cannot carry the unequal exposures ({span}); use npz to analyse it"]
    return []


def new_file(path: str | Path) -> Path:
    """Return the path of a file that can be made and does not exist yet.

    Raises
    ------
    InputError
        If it exists, or its folder does not.
    """
    path = Path(path)
    try:
        if path.exists():
            raise InputError(path, "the file exists already", "choose another name")
        if not path.parent.is_dir():
            raise InputError(path, f"the folder {path.parent} does not exist", "make it first")
    except OSError as error:
        raise InputError(path, f"the file cannot be made there ({error.strerror})") from None
    return path


def _csv_lines(found: ScanMap) -> Iterator[str]:
    # tolist gives Python's numbers, whose shortest text reads back exactly
    yield ",".join(["x_um \\ t_ns", *map(str, found.t_ns.tolist())])
    for x_um, counts, exposure_s in zip(
        found.x_um.tolist(), found.counts, found.exposure_s, strict=True
    ):
        if exposure_s > 0:
            yield ",".join([str(x_um), *map(str, counts.tolist())])
