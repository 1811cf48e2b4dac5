"""Analyses kept in a scan file, beside the data and without touching them.

Each is a NeXus NXprocess: program, version, date, settings, and every value of the result under
its own name, with its unit.
"""

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tplm_config import InputError
from tplm_daq.store.files import check_room, replacing, reserve
from tplm_daq.store.frozen import METADATA_BYTES, is_frozen
from tplm_daq.store.layout import ANALYSES
from tplm_daq.store.locks import release_lock, take_lock
from tplm_daq.store.nexus import group
from tplm_daq.wall import utc_now

if TYPE_CHECKING:
    from tplm_analysis import Result

PROGRAM = "tplm-daq"
_COMPRESSED_FROM = 1000


@dataclass(frozen=True, eq=False)
class Analysis:
    """An analysis as it was kept.

    Attributes
    ----------
    name : str
        Unlike that of every other analysis in the file.
    result : str
        Class of the result, such as ``"MapFit"``.
    values : dict
        Its attributes by name: numbers, texts, arrays, dicts and lists of these; None where a
        value could not be given.
    settings : dict
        With what it was made.
    visits : int
        How many visits were in the file then; what was measured later is not in the result.
    program, version, date : str
        With what, and when (UTC).
    text : str
        The result in words, as it was printed.
    """

    name: str
    result: str
    values: dict[str, Any]
    settings: dict[str, Any]
    visits: int
    program: str
    version: str
    date: str
    text: str

    def numbers(self) -> dict[str, Any]:
        """Return `values` without the arrays."""
        return {name: _bare(one) for name, one in self.values.items() if not _is_array(one)}


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items() if not _is_array(one)}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def add_analysis(
    path: Path,
    result: "Result",
    settings: Mapping[str, Any],
    name: str | None,
    visits: int,
) -> str:
    """Write a result into a copy of a scan file, and let the copy take the file's place.

    Parameters
    ----------
    path : Path
        The scan file.
    result : Result
        What was found.
    settings : mapping
        What `json` can write.
    name : str or None
        None: the method, or kind of result, and a number.
    visits : int
        Number of visits that the result was made from.

    Returns
    -------
    str
        The name.

    Raises
    ------
    InputError
        If a run owns the file, it cannot be written, the disk is full, or the name is taken. The
        file is then as it was.
    """
    lock = take_lock(path)
    try:
        # a file that may not be written could still be replaced, which is not what its owner meant
        writable = path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
        if not (writable and os.access(path, os.W_OK)):
            raise InputError(path, "the file is read-only", "allow writing, or analyze a copy")
        with h5py.File(path, "r") as file:
            taken = tuple(file[ANALYSES]) if ANALYSES in file else ()
        name = _name(path, result, name, taken)
        values = result.to_dict(curves=True)
        size = path.stat().st_size
        # of a number JSON makes three characters or more, HDF5 eight bytes
        room = size + METADATA_BYTES + 4 * len(json.dumps(values))
        with replacing(path) as temporary:
            check_room(temporary, room)
            shutil.copy(path, temporary)
            with h5py.File(temporary, "r+") as file:
                process = _process(file, name, len(taken) + 1)
                process["program"] = PROGRAM
                process["version"] = version(PROGRAM)
                process["date"] = utc_now()
                process["settings"] = json.dumps(dict(settings), ensure_ascii=False)
                process["settings"].attrs["comment"] = "JSON"
                process["text"] = str(result)
                process["visits"] = visits
                process["visits"].attrs["meaning"] = "visits that the result was made from"
                _write(process, "result", values)
                process["result"].attrs["class"] = type(result).__name__
            if is_frozen(temporary):
                reserve(temporary, temporary.stat().st_size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(
                path,
                f"the disk has no room for the {room / 1e6:.3g} MB of a copy, which takes the "
                "file's place in the end; the analysis was not kept and the file is as it was",
                "make room",
            ) from error
        raise InputError(
            path, f"the analysis cannot be kept in it ({error.strerror or error})"
        ) from error
    finally:
        release_lock(lock)
    return name


def _name(path: Path, result: "Result", name: str | None, taken: tuple[str, ...]) -> str:
    if name is None:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(result).__name__).lower()
        base = getattr(result, "method", kind)
        return next(f"{base}-{i}" for i in range(1, len(taken) + 2) if f"{base}-{i}" not in taken)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", name):
        raise InputError(
            path, f"'{name}' is no name for an analysis", "take letters, digits, - and _"
        )
    if name in taken:
        raise InputError(path, f"it holds an analysis '{name}' already", "choose another name")
    return name


def _process(file: h5py.File, name: str, number: int) -> h5py.Group:
    parent = (
        file[ANALYSES] if ANALYSES in file else group(file["entry"], "analyses", "NXcollection")
    )
    process = group(parent, name, "NXprocess")
    process["sequence_index"] = number
    return process


def _write(parent: h5py.Group, name: str, value: object) -> None:
    """Write a value of a JSON object: numbers as numbers, and None as nothing with a name."""
    from tplm_analysis.results import unit_of  # the estimators, which a scan has no use for

    array = _array(value)
    if value is None:
        parent.create_dataset(name, data=h5py.Empty("<f8"))
    elif isinstance(value, str):
        parent[name] = value
    elif array is not None:
        packed = {"compression": "gzip", "shuffle": True} if array.size > _COMPRESSED_FROM else {}
        parent.create_dataset(name, data=array, **packed)
    else:
        made = group(parent, name, "NXcollection")
        if isinstance(value, list):
            made.attrs["list"] = True
            value = {str(i): one for i, one in enumerate(value)}
        assert isinstance(value, dict)
        for key, one in value.items():
            _write(made, key, one)
        return
    if unit := unit_of(name):
        parent[name].attrs["units"] = unit


def _array(value: object) -> NDArray[Any] | None:
    """Return a number, or lists of numbers with None among them, as an array; else None."""
    if value is None or isinstance(value, str | dict):
        return None
    try:
        array = np.array(value)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (ValueError, TypeError):  # unequal lists, or something else than numbers
        return None
    return array if array.dtype.kind in "biuf" else None


def read_analyses(path: str | Path) -> tuple[Analysis, ...]:
    """Read the analyses kept in a scan file, oldest first.

    Raises
    ------
    InputError
        If it is not a readable scan file.
    """
    try:
        with h5py.File(path, "r") as file:
            if ANALYSES not in file:
                return ()
            found = sorted(file[ANALYSES].values(), key=lambda p: int(p["sequence_index"][()]))
            return tuple(_analysis(process) for process in found)
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        detail = str(error).split("\n", 1)[0][:200]
        raise InputError(path, f"its analyses cannot be read ({detail})") from None


def _analysis(process: h5py.Group) -> Analysis:
    return Analysis(
        name=process.name.rpartition("/")[2],
        result=str(process["result"].attrs["class"]),
        values=_read(process["result"]),
        settings=json.loads(_read(process["settings"])),
        visits=int(process["visits"][()]),
        **{key: str(_read(process[key])) for key in ("program", "version", "date", "text")},
    )


def _read(node: h5py.Group | h5py.Dataset) -> Any:
    if isinstance(node, h5py.Group):
        if node.attrs.get("list", False):
            return [_read(node[str(i)]) for i in range(len(node))]
        return {name: _read(child) for name, child in node.items()}
    if node.shape is None:
        return None
    if h5py.check_string_dtype(node.dtype) is not None:
        return str(node.asstr()[()])
    return node[()] if node.ndim else node[()].item()


def copy_analyses(old: h5py.File, new: h5py.File) -> None:
    """Take the analyses along when a scan file is written anew."""
    if ANALYSES in old:
        old.copy(old[ANALYSES], new["entry"], "analyses")


def bring_analyses(source: Path, target: Path) -> None:
    """Add the analyses of a scan file to another, which is closed and not in use yet.

    Raises
    ------
    OSError
        If there is not enough room.
    """
    with h5py.File(source, "r") as old:
        if ANALYSES not in old:
            return
        check_room(target.with_name(f"{target.name}.room"), source.stat().st_size)
        with h5py.File(target, "r+") as new:
            copy_analyses(old, new)
