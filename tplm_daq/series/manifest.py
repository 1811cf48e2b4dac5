"""The manifest of a series: what is planned, what is done, and what came out, in one JSON file."""

import errno
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tplm_config import InputError, Settings
from tplm_config._model import Model
from tplm_daq.store.files import replacing

MANIFEST = "series.json"
State = Literal["waiting", "running", "done", "failed"]


class Result(Model):
    """What the file of a point says; None where there is no such value.

    Power and repetition rate are those that were read back.
    """

    power_nw: float | None = None
    repetition_rate_hz: float | None = None
    fluence_uj_per_cm2: float | None = None
    mean_excitons: float | None = None
    time_between_excitations_us: float | None = None
    temperature_k: float | None = None
    counts: int = 0
    counts_per_pulse: float | None = None
    """At the brightest position; above 0.01 pile-up distorts the decay."""
    d_cm2_per_s: float | None = None
    d_stderr_cm2_per_s: float | None = None
    lifetime_1e_ns: float | None = None
    warnings: tuple[str, ...] = ()
    """Codes of the fit's warnings, or why there is no fit."""


class Entry(Model):
    """One point of the series."""

    index: int
    label: str
    settings: Settings
    repeat: int = 0
    file: str
    """Name of its scan file, beside the manifest."""
    state: State = "waiting"
    attempts: int = 0
    time_share_s: float | None = None
    """What was decided last that it may take, set-up included, where the time is shared."""
    spent_s: float = 0.0
    """What it took so far, set-up included, by the clock of the instrument."""
    prepare_s: float | None = None
    """Until its first visit: settings, the cryostat's way, the search for the peak."""
    counted_s: float = 0.0
    """Counting time at its places so far."""
    message: str = ""
    result: Result | None = None


class Manifest(Model):
    """Everything about a series but the counts."""

    format: Literal["tplm series 1"] = "tplm series 1"
    created: str
    plan: str
    """The series plan as TOML."""
    profile: str
    """The instrument's profile as TOML."""
    simulated: bool
    """Whether the profile's own drivers were connected to simulators."""
    points: tuple[Entry, ...]
    order: tuple[int, ...] = ()
    """Numbers of the points that were moved before they had begun, as they are to be measured;
    every other one comes first, as listed."""
    set_aside: tuple[str, ...] = ()
    """Files that an edited plan has no place for; they stay as they are."""
    ending: str | None = None
    message: str = ""
    summary: dict[str, Any] = Field(default_factory=dict)


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest of a series.

    Raises
    ------
    InputError
        If there is none, or it is not readable.
    """
    path = Path(folder) / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            folder, f"there is no {MANIFEST} in this folder", "begin a series with tplm sweep"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(path, f"not a readable manifest ({first['msg']})", key=where) from None
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(path, f"not a readable manifest ({words})") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest in one piece: after a crash it is the old one or the new one.

    Raises
    ------
    OSError
        If the disk does not take it; the old one is then intact.
    """
    text = manifest.model_dump_json(indent=2, exclude_none=True)
    path = folder / MANIFEST
    try:
        with replacing(path) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise OSError(
            error.errno or errno.EIO,
            f"{path} could not be written ({error.strerror}); every scan is safe; make room on "
            f"the disk, then run: tplm resume {folder}",
        ) from error
