"""The right to write a scan file."""

import os
from pathlib import Path

import filelock

from tplm_config import InputError


def take_lock(path: Path) -> filelock.BaseFileLock:
    """Take the right to write a scan file; the system gives it back when its owner dies.

    Raises
    ------
    InputError
        If somebody has it, or there can be no lock in that folder.
    """
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            path, "another run is writing this file", "wait for its end, or stop that run"
        ) from None
    except OSError as error:
        raise InputError(path, f"the file cannot be made there ({error.strerror})") from None
    return lock


def release_lock(lock: filelock.BaseFileLock) -> None:
    """Give the right back; the name goes first, so that nobody's new lock is taken away."""
    if os.name == "nt":  # Windows removes no open file
        lock.release()
        return
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
