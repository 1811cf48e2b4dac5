"""What comes with the program loads, can be carried out, and obeys its own JSON Schema."""

import json
import tomllib
from importlib import resources
from typing import Any

import pytest

from tplm_config import InputError, LineScan, bundled, check, load_plan, load_profile, schema
from tplm_config.toml import MAX_FILE_BYTES, Kind

KINDS: tuple[Kind, ...] = ("plan", "profile")
FILES = [(kind, name) for kind in KINDS for name in bundled(kind)]


def toml_of(kind: str, name: str) -> dict[str, Any]:
    entry = resources.files("tplm_config") / f"{kind}s" / f"{name}.toml"
    return tomllib.loads(entry.read_text(encoding="utf-8"))


def test_the_promised_ones_are_there() -> None:
    assert {"line", "cross", "raster"} <= set(bundled("plan"))
    assert "simulated" in bundled("profile")


@pytest.mark.parametrize("name", bundled("plan"))
def test_plans_can_be_carried_out_by_the_simulated_microscope(name: str) -> None:
    cost = check(load_plan(name), load_profile("simulated"), name)
    assert 0 < cost.counting_s < cost.duration_s < 24 * 3600


@pytest.mark.parametrize("name", bundled("profile"))
def test_every_profile_can_carry_out_a_plain_line(name: str) -> None:
    check(LineScan(), load_profile(name), name)


def test_the_everyday_scan() -> None:
    plan = load_plan("line")
    assert isinstance(plan, LineScan)
    assert (plan.positions, plan.half_range_um, plan.passes) == (41, 2.0, 10)
    assert plan.order == "bidirectional"
    assert plan.visit_count == 41 * 10 + 2


# A light reading of JSON Schema: enough to hold the schema and the models together.


def faults(value: Any, node: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """What a schema finds wrong with a value."""
    if "$ref" in node:
        *_, name = node["$ref"].split("/")
        return faults(value, root["$defs"][name], root, at)
    for choices in (node.get("oneOf"), node.get("anyOf")):
        if choices:
            found = [faults(value, choice, root, at) for choice in choices]
            return [] if [] in found else min(found, key=len)
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
        "null": type(None),
    }
    kind = node.get("type")
    if kind is not None and (
        not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        return [f"{at}: {value!r} is no {kind}"]
    wrong = []
    if value not in node.get("enum", [value]) or value != node.get("const", value):
        wrong.append(f"{at}: {value!r} is not allowed")
    if isinstance(value, int | float):
        if not node.get("minimum", value) <= value <= node.get("maximum", value):
            wrong.append(f"{at}: {value} is out of range")
        if "exclusiveMinimum" in node and not value > node["exclusiveMinimum"]:
            wrong.append(f"{at}: {value} is too small")
    if isinstance(value, dict):
        known = node["properties"]
        wrong += [f"{at}.{key} is missing" for key in node.get("required", []) if key not in value]
        assert node["additionalProperties"] is False
        for key, item in value.items():
            wrong += (
                faults(item, known[key], root, f"{at}.{key}")
                if key in known
                else [f"{at}.{key} is unknown"]
            )
    if isinstance(value, list):
        if not node.get("minItems", 0) <= len(value) <= node.get("maxItems", len(value)):
            wrong.append(f"{at}: {len(value)} items")
        items = node.get("prefixItems") or [node["items"]] * len(value)
        for index, (item, inner) in enumerate(zip(value, items, strict=False)):
            wrong += faults(item, inner, root, f"{at}[{index}]")
    return wrong


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_files_obey_their_schema(kind: Kind, name: str) -> None:
    root = schema(kind)
    assert faults(toml_of(kind, name), root, root) == []


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("plan", "line", "passes", 0),
        ("plan", "line", "passes", True),
        ("plan", "line", "kind", "spiral"),
        ("plan", "line", "card", {"time_bin_ps": 0}),
        ("plan", "line", "postions", 3),
        ("profile", "simulated", "limits", {"temperature_k": [1]}),
        ("profile", "simulated", "laser", {"driver": {"name": "laser pointer"}}),
        ("profile", "simulated", "optics", {}),
    ],
)
def test_the_schema_finds_faults(kind: Kind, name: str, path: str, value: object) -> None:
    root = schema(kind)
    assert faults({**toml_of(kind, name), path: value}, root, root)


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_plain_json_and_explain_the_keys(kind: Kind) -> None:
    root = schema(kind)
    assert json.loads(json.dumps(root)) == root
    assert root["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    if kind == "plan":
        assert "drift" in root["$defs"]["LineScan"]["properties"]["passes"]["description"]
        assert set(root["discriminator"]["mapping"]) == {"line", "cross", "raster", "positions"}


# Finding the file


def test_a_file_of_ones_own(tmp_path) -> None:
    path = tmp_path / "my plan.toml"
    path.write_bytes(b'\xef\xbb\xbfkind = "line"\r\npasses = 3\r\n')
    assert load_plan(path) == load_plan(str(path)) == LineScan(passes=3)


UNREADABLE = [
    (None, "no such plan file"),
    (b"kind = '\xff'", "byte 8 is not UTF-8 text"),
    ("kind = 'line'".encode("utf-16"), "is not UTF-8 text"),
    (b"#" * (MAX_FILE_BYTES + 1), f"more than {MAX_FILE_BYTES} bytes; a plan is a short TOML"),
]


@pytest.mark.parametrize(("content", "words"), UNREADABLE)
def test_files_that_cannot_be_read(tmp_path, content, words) -> None:
    path = tmp_path / "p.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_plan(path)
    assert caught.value.source == str(path)
    assert str(caught.value).count(str(path)) == 1
    assert words in str(caught.value)


def test_a_folder_is_no_plan(tmp_path) -> None:
    with pytest.raises(InputError, match="the plan cannot be read"):
        load_plan(tmp_path)


def test_a_name_no_file_can_have() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_plan("a\0b")


def test_a_misspelt_name_is_recognised() -> None:
    with pytest.raises(InputError, match="did you mean 'line'.*bundled are: .*cross"):
        load_plan("lien")
    with pytest.raises(InputError, match="did you mean 'simulated'"):
        load_profile("simulatd")
