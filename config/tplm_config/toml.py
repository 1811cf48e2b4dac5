"""Reading and writing profiles and plans as TOML, with errors a person can act on."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, TypeAdapter, ValidationError

from tplm_config.errors import InputError
from tplm_config.plan import ANY_SCAN_PLAN, ScanPlan
from tplm_config.profile import InstrumentProfile

MAX_FILE_BYTES = 4_000_000
Kind = Literal["plan", "profile"]
T = TypeVar("T")
PROFILE: TypeAdapter[InstrumentProfile] = TypeAdapter(InstrumentProfile)


def load_plan(source: str | Path, overrides: Sequence[str] = ()) -> ScanPlan:
    """Read a scan plan.

    Parameters
    ----------
    source : str or Path
        A TOML file, or the bare name of a bundled plan.
    overrides : sequence of str
        ``key=value`` with a dotted key and a TOML value, applied before validation.

    Returns
    -------
    ScanPlan
        The validated plan.

    Raises
    ------
    InputError
        With file, key, what was found and what is allowed.
    """
    return validate(ANY_SCAN_PLAN, _overridden(_read(source, "plan"), overrides), source)


def load_profile(source: str | Path, overrides: Sequence[str] = ()) -> InstrumentProfile:
    """Read an instrument profile; as `load_plan`."""
    return validate(PROFILE, _overridden(_read(source, "profile"), overrides), source)


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
    """JSON Schema of a plan or profile, for editors."""
    adapter: TypeAdapter[Any] = ANY_SCAN_PLAN if kind == "plan" else PROFILE
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **adapter.json_schema(),
    }


def bundled(kind: Kind) -> list[str]:
    """Names of the plans or profiles that come with the program."""
    folder = resources.files("tplm_config") / f"{kind}s"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def _read(source: str | Path, kind: Kind) -> dict[str, Any]:
    name = str(source)
    if name in bundled(kind):
        entry = resources.files("tplm_config") / f"{kind}s" / f"{name}.toml"
        return _parse(entry.read_text(encoding="utf-8"), name)
    path = Path(source)
    try:
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(
                path,
                f"the file has {path.stat().st_size} bytes",
                f"a {kind} is TOML text of at most {MAX_FILE_BYTES} bytes",
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        close = difflib.get_close_matches(path.stem, bundled(kind), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise InputError(
            source,
            f"no such {kind} file, and no bundled {kind} of that name",
            f"bundled are: {', '.join(bundled(kind))}{hint}",
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            path, f"byte {error.start} is not UTF-8 text", f"a {kind} is a TOML text file"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(path, f"the {kind} cannot be read ({error})") from None
    return _parse(text, str(source))


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(source, f"not valid TOML: {error}") from None
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
        except tomllib.TOMLDecodeError:
            value = raw.strip()  # bare words are text, so that --set operator=Ann works
        table = data
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise InputError("--set", f"'{part}' in '{key}' is not a table")
        table[parts[-1]] = value
    return data


def validate(adapter: TypeAdapter[T], data: Mapping[str, Any], source: str | Path) -> T:
    """Validate plain data against a model, turning the first fault into an `InputError`."""
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        first = faults[0]
        key, allowed_keys = _locate(adapter, first["loc"])
        problem, allowed = _describe(first, key, allowed_keys)
        raise InputError(source, problem, allowed + more, key) from None


def _locate(adapter: TypeAdapter[Any], loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """Dotted key of a fault, without the union tags, and the keys its table may have."""
    schema_ = adapter.json_schema()
    node: dict[str, Any] = schema_
    parts: list[str] = []
    siblings: list[str] = []
    for part in loc:
        node = _resolve(node, schema_)
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            node = {"$ref": mapping[part]}
            continue
        if isinstance(part, int):
            parts[-1] = f"{parts[-1]}[{part}]"
            node = node.get("items", {})
            continue
        properties = node.get("properties", {})
        siblings = sorted(properties)
        parts.append(part)
        node = properties.get(part, {})
    return ".".join(parts), siblings


def _resolve(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow references and optional tables down to the table itself."""
    while True:
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in node:
            node = next((n for n in node["anyOf"] if n.get("type") != "null"), {})
        elif "allOf" in node:
            node = node["allOf"][0]
        else:
            return node


_COMPARISONS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _describe(fault: Any, key: str, allowed_keys: list[str]) -> tuple[str, str]:
    """Say in words what was found and what is allowed."""
    found = _short(fault["input"])
    context = fault.get("ctx", {})
    match fault["type"]:
        case "missing":
            return "the key is missing", "it has no default and must be given"
        case "extra_forbidden":
            name = key.rsplit(".", 1)[-1]
            close = difflib.get_close_matches(name, allowed_keys, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            return "unknown key", f"{hint}allowed here: {', '.join(allowed_keys)}"
        case "union_tag_not_found":
            return "the key 'kind' is missing", "allowed: line, cross, raster, positions"
        case "union_tag_invalid":
            return f"kind = {context['tag']!r} is unknown", f"allowed: {context['expected_tags']}"
        case "literal_error":
            return f"found {found}", f"allowed: {context['expected']}"
        case "finite_number":
            return f"found {found}", "a finite number is needed"
        case "value_error":
            return str(context["error"]), ""
        case comparison if comparison in _COMPARISONS:
            short, words = _COMPARISONS[comparison]
            return f"found {found}", f"must be {words} {context[short]}"
    text = fault["msg"]
    return f"found {found}", text[0].lower() + text[1:]


def _short(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
