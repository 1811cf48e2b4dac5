"""Simulated light kept on disk, so that it is computed once.

One ``.npz`` without pickled objects for each set of parameters, named by their hash. Whatever is
wrong with the folder or a file, the light is only computed again.
"""

import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from tplm_simulators.samples.gridded import LightHistogram

MAX_BYTES = 500_000_000
"""Of all files together; those that were not used for longest go first."""
_LOCK_POLL_S = 0.1
_FIELDS = (
    "photons", "edges_um", "time_edges_ns", "msd_um2", "start_variance_um2", "d_cm2_per_s",
    "d_stderr_cm2_per_s",
)  # fmt: skip

Recipe = Mapping[str, str | int | float | bool | None]
"""Everything the light follows from, the version of the model included."""


def cache_folder() -> Path:
    """Where the files of this user are; ``TPLM_CACHE_DIR`` overrides."""
    if os.environ.get("TPLM_CACHE_DIR"):
        return Path(os.environ["TPLM_CACHE_DIR"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tplm"


def cache_file(recipe: Recipe) -> Path:
    """The file for a recipe."""
    digest = hashlib.sha256(_text(recipe).encode()).hexdigest()[:32]
    return cache_folder() / f"light-{recipe['kind']}-{digest}.npz"


def kept_or_computed(
    recipe: Recipe, compute: Callable[[], LightHistogram], check: Callable[[], None]
) -> LightHistogram:
    """Read the light from disk, or compute it and keep it.

    Parameters
    ----------
    recipe
        What it follows from.
    compute
        Called when no good file is there.
    check
        Called ten times a second while another process computes the same; it may raise.
    """
    path = cache_file(recipe)
    found = _read(path, recipe)
    if found is not None:
        return found
    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                lock.acquire(timeout=_LOCK_POLL_S, poll_interval=_LOCK_POLL_S / 2)
                break
            except filelock.Timeout:
                check()
    except OSError:  # no place on this disk: every process computes for itself
        return compute()
    try:
        found = _read(path, recipe)
        if found is None:
            found = compute()
            with suppress(OSError):
                _write(path, recipe, found)
                _tidy(path.parent)
        return found
    finally:
        lock.release()


def _text(recipe: Recipe) -> str:
    return json.dumps(dict(recipe), sort_keys=True)


def _read(path: Path, recipe: Recipe) -> LightHistogram | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["recipe"]) != _text(recipe):
                return None
            arrays = [kept[name] for name in _FIELDS]
        light = LightHistogram(*arrays[:4], *map(float, arrays[4:]))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error):
        return None
    with suppress(OSError):
        os.utime(path)
    return light


def _write(path: Path, recipe: Recipe, light: LightHistogram) -> None:
    """Put a whole file in place, or none."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    values: dict[str, Any] = {name: getattr(light, name) for name in _FIELDS}
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, recipe=np.array(_text(recipe)), **values)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Remove what was not used for longest, until the files are small enough together."""
    files = [(path.stat(), path) for path in folder.glob("light-*.npz")]
    left = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda entry: entry[0].st_mtime):
        if left <= MAX_BYTES:
            break
        path.unlink(missing_ok=True)
        left -= stat.st_size
