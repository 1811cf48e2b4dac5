"""Reading and writing profiles and plans as TOML, with errors a person can act on."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, TypeAdapter, ValidationError

from tplm_config.devices import KinesisWheel
from tplm_config.errors import InputError, did_you_mean, refusal
from tplm_config.plan import ANY_SCAN_PLAN, ScanPlan
from tplm_config.profile import AttenuatorRole, InstrumentProfile
from tplm_config.series import SERIES, SeriesPlan
from tplm_config.simulation import SampleSettings

MAX_FILE_BYTES = 4_000_000
Kind = Literal["plan", "profile", "series"]
FOLDERS = {"plan": "plans", "profile": "profiles", "series": "plans/series"}
T = TypeVar("T")
PROFILE: TypeAdapter[InstrumentProfile] = TypeAdapter(InstrumentProfile)
SAMPLE: TypeAdapter[SampleSettings] = TypeAdapter(SampleSettings)


def load_plan(source: str | Path, overrides: Sequence[str] = ()) -> ScanPlan:
    """Read a scan plan.

    Parameters
    ----------
    source : str or Path
        A TOML file, or the bare name of a bundled plan.
    overrides : sequence of str
        ``key=value`` with a dotted key and a TOML value, applied before validation;
        ``key=none`` leaves the key out.

    Returns
    -------
    ScanPlan
        The validated plan.

    Raises
    ------
    InputError
        With file, key, what was found and what is allowed.
    """
    found = load_any(source, overrides)
    if isinstance(found, SeriesPlan):
        raise InputError(source, "found a series", "one scan is needed here; use tplm sweep")
    return found


def load_series(source: str | Path, overrides: Sequence[str] = ()) -> SeriesPlan:
    """Read a series plan; as `load_plan`.

    Its scan is a table of its own, the name of a scan plan (bundled, or a file beside it), or
    both: ``[scan]`` with ``plan = "line"`` and the keys that differ.
    """
    found = load_any(source, overrides)
    if not isinstance(found, SeriesPlan):
        raise InputError(source, f"found one scan, a {found.kind}", "a series is needed here")
    return found


def load_any(source: str | Path, overrides: Sequence[str] = ()) -> ScanPlan | SeriesPlan:
    """Read a scan plan or a series plan, whichever it is; as `load_plan`."""
    kind: Kind = "series" if str(source) in bundled("series") else "plan"
    data = _overridden(_read(source, kind), overrides)
    if data.get("kind") != "series":
        return validate(ANY_SCAN_PLAN, data, source)
    return validate(SERIES, _with_scan(data, Path(source).parent), source)


def parse_series(text: str, source: str) -> SeriesPlan:
    """Read a series plan from TOML text, such as the copy kept with a series."""
    return validate(SERIES, _parse(text, source), source)


def _with_scan(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A series with the scan plan that it names put in its place."""
    scan = data.get("scan")
    named = {"plan": scan} if isinstance(scan, str) else scan
    if not isinstance(named, dict) or not isinstance(named.get("plan"), str):
        return data
    changes = {key: value for key, value in named.items() if key != "plan"}
    name = named["plan"]
    base = _read(name if name in bundled("plan") else folder / name, "plan")
    return {**data, "scan": _merged(base, changes)}


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A table with another laid over it, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merged(below, value)
        merged[key] = value
    return merged


def load_profile(source: str | Path, overrides: Sequence[str] = ()) -> InstrumentProfile:
    """Read an instrument profile; as `load_plan`.

    Calibration tables that it names are looked for beside it.
    """
    found = validate(PROFILE, _overridden(_read(source, "profile"), overrides), source)
    return found if str(source) in bundled("profile") else _beside(found, Path(source).parent)


def with_sample(
    profile: InstrumentProfile, kind: str | None, overrides: Sequence[str] = ()
) -> InstrumentProfile:
    """A profile with another sample under its virtual microscope.

    Parameters
    ----------
    profile : InstrumentProfile
        Any; whether its devices are simulated is for the caller to see.
    kind : str or None
        ``"film"``, ``"memory"``, ``"bright-dark"`` or ``"quantum"`` with their defaults; None for
        the profile's own sample.
    overrides : sequence of str
        ``key=value`` of the sample, as for `load_plan`.

    Raises
    ------
    InputError
        With key, what was found and what is allowed.
    """
    kept = profile.simulation.sample.model_dump(mode="json", exclude_none=True)
    data = _overridden(kept if kind is None else {"kind": kind}, overrides)
    sample = validate(SAMPLE, data, "--sample")
    simulation = profile.simulation.model_copy(update={"sample": sample})
    return profile.model_copy(update={"simulation": simulation})


def _beside(profile: InstrumentProfile, folder: Path) -> InstrumentProfile:
    """The profile with its calibration tables found in its own folder."""
    changes: dict[str, AttenuatorRole] = {}
    for role in ("attenuator", "detection_attenuator"):
        section: AttenuatorRole | None = getattr(profile, role)
        if section is None or not isinstance(section.driver, KinesisWheel):
            continue
        if section.driver.calibration is not None:
            table = str(folder / section.driver.calibration)  # an absolute path stays itself
            driver = section.driver.model_copy(update={"calibration": table})
            changes[role] = section.model_copy(update={"driver": driver})
    return profile.model_copy(update=changes)


def parse_plan(text: str, source: str) -> ScanPlan:
    """Read a scan plan from TOML text, such as the copy kept in a scan file."""
    return validate(ANY_SCAN_PLAN, _parse(text, source), source)


def parse_profile(text: str, source: str, overrides: Sequence[str] = ()) -> InstrumentProfile:
    """Read an instrument profile from TOML text."""
    return validate(PROFILE, _overridden(_parse(text, source), overrides), source)


def to_toml(value: BaseModel) -> str:
    """A plan or profile as TOML; reading it back gives an equal value."""
    return tomli_w.dumps(value.model_dump(mode="json", exclude_none=True))


def schema(kind: Kind) -> dict[str, Any]:
    """JSON Schema of a plan, profile or series, for editors."""
    adapters: dict[Kind, TypeAdapter[Any]] = {
        "plan": ANY_SCAN_PLAN, "profile": PROFILE, "series": SERIES,
    }  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **adapters[kind].json_schema(),
    }


def bundled(kind: Kind) -> list[str]:
    """Names of the plans, profiles or series that come with the program."""
    folder = resources.files("tplm_config") / FOLDERS[kind]
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def _read(source: str | Path, kind: Kind) -> dict[str, Any]:
    name = str(source)
    if name in bundled(kind):
        entry = resources.files("tplm_config") / FOLDERS[kind] / f"{name}.toml"
        return _parse(entry.read_text(encoding="utf-8"), name)
    path = Path(source)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        hint = did_you_mean(path.stem, bundled(kind))
        raise InputError(
            source,
            f"no such {kind} file, and no bundled {kind} of that name",
            f"{hint} bundled are: {', '.join(bundled(kind))}".lstrip(),
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            path, f"byte {error.start} is not UTF-8 text", f"a {kind} is a TOML text file"
        ) from None
    except OSError as error:
        raise InputError(path, f"the {kind} cannot be read ({error.strerror})") from None
    except ValueError as error:  # a name no file can have
        raise InputError(path, f"the {kind} cannot be read ({error})") from None
    if len(raw) > MAX_FILE_BYTES:
        raise InputError(
            path,
            f"the file has more than {MAX_FILE_BYTES} bytes",
            f"a {kind} is a short TOML text file",
        )
    return _parse(text, name)


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(source, f"not valid TOML: {error}") from None
    except ValueError:  # from Python's own limit on the length of an integer
        raise InputError(source, "not usable TOML: a number has too many digits") from None
    except RecursionError:
        raise InputError(source, "not usable TOML: the values are nested too deeply") from None


def _overridden(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        key, equals, raw = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise InputError(
                "--set", f"'{override}' is not key=value", "for instance: --set dwell_s=0.5"
            )
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except (ValueError, RecursionError):
            value = raw.strip()  # bare words are text, so that --set operator=Ann works
        table = data
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise InputError("--set", f"'{part}' in '{key}' is not a table")
        if value == "none" and raw.strip() == "none":
            table.pop(parts[-1], None)
        else:
            table[parts[-1]] = value
    return data


def validate(adapter: TypeAdapter[T], data: Mapping[str, Any], source: str | Path) -> T:
    """Validate plain data against a model, turning the first fault into an `InputError`."""
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        raise refusal(error, adapter.json_schema(), source) from None
