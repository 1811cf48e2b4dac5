"""Every place in the program that can make a banner, found in its text."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OTHERS = ("tplm_daq/watchdog/child.py",)
"""Another process, which tells by lines of its own."""
PLACES = ("tplm_daq", "gui/tplm_gui", "analysis/tplm_analysis", "drivers/tplm_drivers")
PLACE_OF = {
    "Notice": (0, 1, 2), "News": (0, 2, 1), "tell": (0, 2, 1), "_tell": (0, 1, 2),
    "question": (None, 2, 0),
}  # fmt: skip
"""By the name that is called: which argument is level, code and text."""
ANY, MORE = ".+", "(.*)"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A call that tells something.

    Attributes
    ----------
    code, text : str
        Regular expressions; what is put in at run time is ``.+``.
    level : str
        Empty if it is chosen at run time.
    where : str
        File and line.
    """

    code: str
    level: str
    text: str
    where: str


def all_spoken() -> list[Spoken]:
    """Whatever may become a banner: all but what is only for information of the engine."""
    return [
        one
        for place in PLACES
        for path in sorted((ROOT / place).rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in OTHERS
        for one in spoken_in(path)
    ]


def spoken_in(path: Path) -> Iterator[Spoken]:
    """The calls of one file."""
    source = path.read_text(encoding="utf-8")
    if not any(name in source for name in PLACE_OF):
        return  # most files, which need not be understood
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = called(call)
        if name == "partial" and isinstance(call.args[0], ast.Attribute):
            name = call.args[0].attr  # which is called later
            call = ast.Call(call.func, call.args[1:], call.keywords, lineno=call.lineno)
        if name not in PLACE_OF:
            continue
        level_at, code_at, text_at = PLACE_OF[name]
        level = pattern(argument(call, level_at, "level")) if level_at is not None else "warning"
        code = argument(call, code_at, "code")
        text = argument(call, text_at, "text")
        if code is None and text is None:
            continue  # not of this kind, such as a place in a file
        if name == "_tell" and not isinstance(argument(call, 0, "level"), ast.Constant):
            continue  # what carries it on
        code, text = (
            last_assigned(functions, call, one) if isinstance(one, ast.Name) else one
            for one in (code, text)
        )  # fmt: skip
        if level == "info" and path.is_relative_to(ROOT / "tplm_daq"):
            continue  # in the log only
        where = f"{path.relative_to(ROOT)}:{call.lineno}"
        yield Spoken(pattern(code), level.replace(ANY, ""), pattern(text), where)


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def argument(call: ast.Call, at: int | None, name: str) -> ast.expr | None:
    """An argument by its place or its name."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if at is None or at >= len(call.args):
        return None
    return call.args[at]


def last_assigned(functions: list[ast.FunctionDef], call: ast.Call, name: ast.Name) -> ast.expr:
    """What a local name was given before the call, if that is in its function."""
    around = [f for f in functions if f.lineno <= call.lineno <= (f.end_lineno or 0)]
    if not around:
        return name
    inner = max(around, key=lambda f: f.lineno)
    given = [
        (node.lineno, node.value)
        for node in ast.walk(inner)
        if isinstance(node, ast.Assign) and node.lineno < call.lineno
        and any(isinstance(t, ast.Name) and t.id == name.id for t in node.targets)
    ]  # fmt: skip
    if not given:
        return name
    value = max(given, key=lambda one: one[0])[1]
    longer = any(
        isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
        and node.target.id == name.id and node.lineno < call.lineno
        for node in ast.walk(inner)
    )  # fmt: skip
    return ast.BinOp(value, ast.Add(), ast.Constant(MORE)) if longer else value


def pattern(node: ast.expr | None) -> str:
    """A regular expression for what an expression can become."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(value)):
            return value if value == MORE else re.escape(value)
        case ast.JoinedStr(values=values):
            return "".join(pattern(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return pattern(left) + pattern(right)
        case _:
            return ANY
