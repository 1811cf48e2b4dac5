"""File calls that do what they say: whole writes, durable replaces, reserved space."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ON_WINDOWS = os.name == "nt"
LOOKS, LOOK_S = 40, 0.05
"""How often, and how long, a reader that holds a file is waited for."""
BLOCK = 1 << 20


def write_at(fd: int, offset: int, data: bytes) -> None:
    """Write all of ``data`` at an offset; a short write at a full disk becomes an error.

    Raises
    ------
    OSError
        With ``ENOSPC`` if the disk takes no more.
    """
    view = memoryview(data)
    while view:
        if hasattr(os, "pwrite"):
            written = os.pwrite(fd, view, offset)
        else:  # Windows
            os.lseek(fd, offset, os.SEEK_SET)
            written = os.write(fd, view)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]
        offset += written


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Read up to ``size`` bytes at an offset."""
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows
    return os.read(fd, size)


def sync_data(fd: int) -> None:
    """Have the disk confirm what was written."""
    getattr(os, "fdatasync", os.fsync)(fd)


def reserve(path: Path, size: int) -> None:
    """Make the disk set aside every byte of a file, so that later writes cannot find it full.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    size : int
        Bytes; a smaller file grows to this.

    Raises
    ------
    OSError
        If there is not enough room.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            # Windows and macOS: what reads back as nothing is written as zeros, block by block
            for offset in range(0, size, BLOCK):
                wanted = min(BLOCK, size - offset)
                write_at(fd, offset, read_at(fd, offset, wanted).ljust(wanted, b"\0"))
        os.fsync(fd)
    finally:
        os.close(fd)


def check_room(path: Path, size: int) -> None:
    """Find out whether a file of this size can be written, before a library tries.

    HDF5 cannot be relied on to survive a write that fails while it closes a file.

    Raises
    ------
    OSError
        If there is not enough room.
    """
    try:
        reserve(path, size)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a temporary file beside ``path``; on success it takes its place, durably.

    On any failure the temporary file is removed and ``path`` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        fd = os.open(temporary, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        _take_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _take_place(temporary: Path, path: Path) -> None:
    """Rename over ``path``; on Windows a reader that just looks at it is waited for."""
    for _ in range(LOOKS if ON_WINDOWS else 0):
        try:
            temporary.replace(path)
        except PermissionError:
            time.sleep(LOOK_S)
        else:
            return
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Have the disk confirm the names in a folder; Windows has no such call."""
    if ON_WINDOWS:
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
