"""Where the runs of this user on this machine are written down, so that others find them."""

import json
import os
import platform
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tplm_config import InputError

ON_WINDOWS = os.name == "nt"
CONNECT_S = 3.0
"""Longest wait for a connection; Windows takes two seconds to say that nobody listens."""


@dataclass(frozen=True, slots=True)
class HostEntry:
    """How to reach a host.

    Attributes
    ----------
    pid, port : int
        Its process, and where it listens on 127.0.0.1.
    token : str
        What proves that a command comes from the same user.
    started : str
        The wall's time, ISO 8601.
    doing : str
        ``scan`` or ``series``; ``station`` for one that waits to be told.
    path : str
        The file or folder it writes, absolute; of a station that waits, its name.
    """

    pid: int
    port: int
    token: str = field(repr=False)
    started: str
    doing: str
    path: str

    def connect(self, timeout_s: float = CONNECT_S) -> socket.socket:
        """Open a connection.

        Raises
        ------
        OSError
            If nobody listens (ConnectionRefusedError) or nothing happens in time.
        """
        return socket.create_connection(("127.0.0.1", self.port), timeout_s)


def runtime_folder() -> Path:
    """Folder of this user for what concerns running programs only.

    It is not ``XDG_RUNTIME_DIR``, which goes when the user logs out and leaves a night run alone.
    """
    if "TPLM_RUNTIME_DIR" in os.environ:
        return Path(os.environ["TPLM_RUNTIME_DIR"])
    if ON_WINDOWS:
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tplm"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tplm"


def hosts_folder() -> Path:
    """Folder of the entries; a home may be shared between machines, a port is not."""
    return runtime_folder() / "hosts" / (platform.node() or "this-machine")


def write_entry(entry: HostEntry) -> Path:
    """Write an entry that nobody but this user can read.

    On Windows the folder of the user is closed to others.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder = hosts_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    path = folder / f"{entry.pid}-{entry.port}.json"
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)  # of a dead process that had the same number
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(entry), file)
    temporary.replace(path)
    return path


def find_hosts() -> list[HostEntry]:
    """Hosts of this user on this machine, oldest first; the entries of dead ones are removed."""
    found = [entry for path in hosts_folder().glob("*.json") if (entry := _living(path))]
    return sorted(found, key=lambda entry: (entry.started, entry.pid, entry.port))


def _living(path: Path) -> HostEntry | None:
    """Read an entry, and remove it if nobody listens any more."""
    try:
        entry = HostEntry(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # gone meanwhile, or of another version of this program
    if not _is_there(entry.pid):  # another program may have got its port
        with suppress(OSError):
            path.unlink()
        return None
    try:
        entry.connect().close()
    except ConnectionRefusedError:
        # a host listens before it writes its entry and removes the entry before it closes
        with suppress(OSError):
            path.unlink()
        return None
    except OSError:
        return entry  # stopped or stuck, but not dead
    return entry


def _is_there(pid: int) -> bool:
    """Whether a process may exist; Windows has no such call that does no harm."""
    if ON_WINDOWS:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


def pick_host(command: str, run: str | Path | None = None, pid: int | None = None) -> HostEntry:
    """The host that a person means.

    Parameters
    ----------
    command : str
        What is to be done, for the sentence if there is none.
    run : str or Path, optional
        The file or folder it writes, or a file in that folder.
    pid : int, optional
        Its process.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    running = find_hosts()
    if not running:
        raise InputError(
            command, "no run of yours is going on on this machine", "start one with tplm scan"
        )
    # beside a run, a station that waits is not what is meant
    meant = [entry for entry in running if entry.doing != "station"] or running
    if run is not None:
        path = Path(run).resolve()
        meant = [entry for entry in running if {path, *path.parents} & {Path(entry.path)}]
    if pid is not None:
        meant = [entry for entry in (running if run is None else meant) if entry.pid == pid]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        listed = ", ".join(f"{entry.path} (--pid {entry.pid})" for entry in running)
        raise InputError(command, "that run is not going on", f"going on: {listed}")
    listed = ", ".join(f"{entry.path} (--pid {entry.pid})" for entry in meant)
    raise InputError(command, f"{len(meant)} runs are going on", f"say which by --run: {listed}")
