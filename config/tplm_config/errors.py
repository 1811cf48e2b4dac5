"""The one error for input that cannot be used, whatever it was read from."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError


class InputError(ValueError):
    """Something a person gave us cannot be used; the text is one sentence they can act on.

    Parameters
    ----------
    source : str or Path
        The file, bundled name or option the input came from.
    problem : str
        What was found, and where in it.
    allowed : str
        What would have been accepted, or what to do.
    key : str
        Dotted key inside the source, if there is one.
    """

    def __init__(self, source: str | Path, problem: str, allowed: str = "", key: str = "") -> None:
        self.source = str(source)
        self.key = key
        self.problem = problem
        self.allowed = allowed
        where = f"{self.source}: {key}: " if key else f"{self.source}: "
        sentence = f"{where}{problem}" + (f"; {allowed}" if allowed else "")
        # a damaged file can put line ends and worse into what was found
        super().__init__(printable(" ".join(sentence.split())))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str, str]]:
        """Cross from one process to another with every part."""
        return type(self), (self.source, self.problem, self.allowed, self.key)


def printable(text: str) -> str:
    """A text with a question mark for each character that does not print."""
    return "".join(c if c.isprintable() else "?" for c in text)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A question with the known word most like this one, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def refusal(error: ValidationError, schema: dict[str, Any], source: str | Path) -> InputError:
    """The `InputError` for the first fault a model found.

    Parameters
    ----------
    error : ValidationError
        What the model found.
    schema : dict
        JSON Schema of the model, which knows the keys of each table.
    source : str or Path
        Where the input came from.
    """
    first, *rest = faults(error, schema)
    others = len({fault.key for fault in rest} - {first.key})
    allowed = first.allowed
    if others:
        allowed = f"{allowed} ({others} more fault{'s' if others > 1 else ''} besides)".lstrip()
    return InputError(source, first.problem, allowed, first.key)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes
    ----------
    key : str
        Dotted; empty for the whole.
    problem, allowed : str
        As of `InputError`.
    """

    key: str
    problem: str
    allowed: str


def faults(error: ValidationError, schema: dict[str, Any]) -> list[Fault]:
    """Every fault that a model found; parameters as of `refusal`."""
    # an unknown key goes first: misspelt, it also explains why another one is missing
    found = sorted(error.errors(include_url=False), key=lambda f: f["type"] != "extra_forbidden")
    spots = [_locate(schema, fault) for fault in found]
    return [
        Fault(spot.key, *_describe(fault, spot)) for fault, spot in zip(found, spots, strict=True)
    ]


@dataclass(frozen=True)
class _Spot:
    """Where a fault is, and what the schema says of that place."""

    key: str
    name: str
    node: Mapping[str, Any]
    siblings: Sequence[str]
    document: Sequence[str]


def _locate(schema: dict[str, Any], fault: Any) -> _Spot:
    """Follow a fault's location through the schema, leaving out the tags of unions."""
    top = node = _resolve(schema, schema)
    keys: list[str] = []
    siblings: list[str] = []
    loc = fault["loc"]
    if _is_short_list(fault):
        loc = loc[:-1]  # what is at fault is the list, not the value it lacks
    for part in loc:
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            top = node = _resolve({"$ref": mapping[part]}, schema)
            continue
        if isinstance(part, int):
            keys[-1] = f"{keys[-1]}[{part}]"
            node = _resolve(node.get("items", {}), schema)
            continue
        properties = node.get("properties", {})
        siblings = sorted(properties)
        keys.append(part if re.fullmatch(r"[\w-]+", part) else json.dumps(part))
        node = _resolve(properties.get(part, {}), schema)
    if fault["type"].startswith("union_tag"):
        keys.append(node["discriminator"]["propertyName"])
    return _Spot(
        ".".join(keys), str(loc[-1]) if loc else "", node, siblings, [*_leaves(top, schema)]
    )


def _is_short_list(fault: Any) -> bool:
    return fault["type"] == "missing" and isinstance(fault["loc"][-1], int)


def _resolve(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow references and optional tables down to the table itself."""
    while True:
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in node:
            node = next((n for n in node["anyOf"] if n.get("type") != "null"), {})
        else:
            return node


def _leaves(node: dict[str, Any], root: dict[str, Any], within: str = "") -> Iterator[str]:
    """Dotted keys of everything in a table that is not a table itself."""
    for name, child in node.get("properties", {}).items():
        table = _resolve(child, root)
        if "properties" in table:
            yield from _leaves(table, root, f"{within}{name}.")
        else:
            yield within + name


def _describe(fault: Any, spot: _Spot) -> tuple[str, str]:
    """Say in words what was found and what is allowed."""
    value = fault["input"]
    found = f"found {_short(value)}"
    context = fault.get("ctx", {})
    match fault["type"]:
        case "missing" if _is_short_list(fault):
            return found, _how_many(spot.node)
        case "missing" if "properties" in spot.node:
            return f"the table [{spot.key}] is missing", "it must be given"
        case "missing":
            return "the key is missing", "it has no default and must be given"
        case "extra_forbidden":
            hint = did_you_mean(spot.name, spot.siblings) or _elsewhere(spot)
            return "unknown key", f"{hint} allowed here: {', '.join(spot.siblings)}".lstrip()
        case "union_tag_not_found":
            return (
                "the key is missing",
                f"allowed: {_choice(spot.node['discriminator']['mapping'])}",
            )
        case "union_tag_invalid":
            tag = value[spot.key.rsplit(".", 1)[-1]]
            return f"found {_short(tag)}", _one_of(tag, [*spot.node["discriminator"]["mapping"]])
        case "literal_error":
            choices = spot.node.get("enum") or [spot.node["const"]]
            return found, _one_of(value, choices)
        case "value_error":
            return str(context["error"]), ""
        case "finite_number":
            return found, "a finite number is needed"
        case "int_type" | "int_from_float":
            return found, f"a whole number is needed{_correction(value)}"
        case "float_type":
            return found, f"a number is needed{_correction(value)}"
        case "bool_type":
            return found, "true or false is needed, without quotes"
        case "string_type":
            return found, "text in quotes is needed"
        case "string_too_short":
            return found, "it must not be empty"
        case "string_too_long":
            length = f"{found} of {len(value)} characters"
            return length, f"at most {context['max_length']} are allowed"
        case "tuple_type":
            return found, f"a list in [brackets]: {_how_many(spot.node)}"
        case "too_short" | "too_long":
            return found, _how_many(spot.node)
        case "model_attributes_type" if "discriminator" in spot.node:
            tag = spot.node["discriminator"]["propertyName"]
            names = [*spot.node["discriminator"]["mapping"]]
            chosen = value if value in names else "simulated"
            return found, f"a table is needed: {{ {tag} = {_short(chosen)} }}"
        case "model_type" | "dict_type":
            return found, f"a table is needed: a line [{spot.key}] with its keys below"
        case comparison if comparison in _COMPARISONS:
            name, words = _COMPARISONS[comparison]
            limit = context[name]
            bound = f"{limit:g}" if isinstance(limit, float) else str(limit)
            return found, f"must be {words} {bound}"
    text = fault["msg"]
    return found, text[0].lower() + text[1:]


_COMPARISONS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _elsewhere(spot: _Spot) -> str:
    """A question with a key of the same name in another table, or nothing."""
    for key in spot.document:
        table, _, name = key.rpartition(".")
        if name == spot.name:
            place = f"below [{table}]" if table else "at the top, above every [table]"
            return f"did you mean '{name}' {place}?"
    return ""


def _how_many(node: Mapping[str, Any]) -> str:
    low, high = node.get("minItems", 0), node.get("maxItems")
    count = f"{low}" if low == high else f"{low} to {high}" if high else f"at least {low}"
    return f"{count} values are needed" if count != "at least 1" else "a value is needed"


def _one_of(value: object, choices: Sequence[object]) -> str:
    words = [choice for choice in choices if isinstance(choice, str)]
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    return f"{hint} allowed: {_choice(choices)}".lstrip()


def _choice(choices: Sequence[object]) -> str:
    return ", ".join(_short(choice) for choice in choices)


def _correction(value: object) -> str:
    """What is wrong with text that was meant as a number."""
    if isinstance(value, str):
        for text, words in ((value, "without quotes"), (value.replace(",", "."), "as in 0.5")):
            with suppress(ValueError):
                float(text)
                return f", {words}"
    return ""


def _short(value: object) -> str:
    """A value as TOML would have it, or nearly so, and not too long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    text = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."
