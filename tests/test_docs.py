"""The pages and the package say what the code does."""

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import tplm_analysis as ta

ROOT = Path(__file__).parents[1]


def codes(module: Path) -> Iterator[str]:
    """Codes of the warnings that a module gives: written at the call, or in a name given to it."""
    nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    given = [call.args[0] for call in calls if getattr(call.func, "id", "") == "FitWarning"]
    names = {one.id for one in given if isinstance(one, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                left = getattr(target, "elts", [target])
                right = getattr(node.value, "elts", [node.value])
                pairs = zip(left, right, strict=False)
                given += [value for name, value in pairs if getattr(name, "id", "") in names]
    for one in given:
        if isinstance(one, ast.Constant):
            yield str(one.value)
        else:
            assert isinstance(one, ast.Name), f"{module.name}: {ast.unparse(one)}"


def test_every_warning_is_explained() -> None:
    modules = [*(ROOT / "analysis/tplm_analysis").glob("*.py"), ROOT / "tplm_daq/analysis.py"]
    found = {code for module in modules for code in codes(module)}
    assert {"alpha", "anomalous", "aperture", "irf", "t-max"} < found
    page = (ROOT / "docs/analysis.md").read_text(encoding="utf-8")
    (section,) = [part for part in page.split("\n## ") if part.startswith("Warnings\n")]
    explained = {
        code.strip("` ")
        for line in section.splitlines()
        if line.startswith("| `")
        for code in line.split("|")[1].split(",")
    }
    assert explained == found


def test_every_page_is_reached_from_the_readme() -> None:
    reached, new = set(), {ROOT / "README.md"}
    while new:
        page = new.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        pages = {(page.parent / link).resolve() for link in links if link.endswith(".md")}
        new |= pages - reached
    expected = {*(ROOT / "docs").glob("*.md"), ROOT / "docs/decisions/0010-analysis.md"}
    assert expected - reached == set()


def test_every_anchor_is_a_heading() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target, anchor in re.findall(
            r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")
        ):
            other = (page.parent / target) if target else page
            headings = re.findall(r"^#+ (.*)", other.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
            assert anchor in anchors, f"{page.name}: {target}#{anchor}"


def test_what_the_package_offers() -> None:
    public = {
        name
        for name, value in vars(ta).items()
        if not (name.startswith("_") or isinstance(value, ModuleType))
    }
    assert ta.__all__ == sorted(public)


def test_the_example_of_the_package() -> None:
    tried = doctest.testmod(ta)
    assert tried.attempted >= 4
    assert tried.failed == 0
