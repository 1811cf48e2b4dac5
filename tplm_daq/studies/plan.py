"""Sweeps of a user's own: a TOML file that names a model, its axes and what stays."""

import itertools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tplm_config import InputError
from tplm_config.errors import did_you_mean
from tplm_daq.studies.tasks import KINDS, Outcome, Task, Value, make_task

MODELS = ("memory", "bright-dark", "quantum")
MAX_POINTS = 100_000
MAX_FILE_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A model at every combination of some values.

    Attributes
    ----------
    model : str
        One of `MODELS`.
    axes : tuple of (str, tuple)
        Names of parameters and their values; the last one changes fastest.
    tasks : tuple of Task
        One for each combination.
    """

    model: str
    axes: tuple[tuple[str, tuple[Value, ...]], ...]
    tasks: tuple[Task, ...]

    def rows(self, results: list[Outcome]) -> list[Outcome]:
        """Return a row of a table for each point: its place, then every single number found."""
        names = [name for name, _ in self.axes]
        return [
            {name: dict(task.values)[name] for name in names}
            | {key: one for key, one in result.items() if not isinstance(one, list | dict)}
            for task, result in zip(self.tasks, results, strict=True)
        ]


def load_sweep(source: str | Path) -> SweepPlan:
    """Read a sweep.

    Parameters
    ----------
    source
        TOML with ``model``, optionally ``seed``, a table ``axes`` of lists, and optionally a
        table ``fixed`` of values.

    Raises
    ------
    InputError
        With file, key, what was found and what is allowed.
    """
    path = Path(source)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(path, "the file is too large for a plan")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"it cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(path, f"this is no TOML ({error})") from None
    for key in data:
        if key not in ("model", "seed", "axes", "fixed"):
            hint = did_you_mean(key, ("model", "seed", "axes", "fixed"))
            raise InputError(
                path, "unknown key", f"{hint} allowed: model, seed, axes, fixed".lstrip(), key
            )
    model, seed = data.get("model"), data.get("seed", 0)
    if model not in MODELS:
        raise InputError(path, f"found {model!r}", f"allowed: {', '.join(MODELS)}", "model")
    if not (isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0):
        raise InputError(path, f"found {seed!r}", "a whole number of 0 or more is needed", "seed")
    axes = _table(path, data, "axes", model)
    fixed = _table(path, data, "fixed", model)
    return _plan(path, model, seed, axes, fixed)


def _table(path: Path, data: dict[str, Any], key: str, model: str) -> dict[str, Any]:
    """Return a table whose names are parameters of the model."""
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise InputError(path, f"found {table!r}", f"a table [{key}] is needed", key)
    known = sorted(KINDS[model].defaults)
    for name in table:
        if name not in known:
            hint = did_you_mean(name, known)
            allowed = f"{hint} {model} has {', '.join(known)}".lstrip()
            raise InputError(path, "unknown parameter", allowed, f"{key}.{name}")
    return table


def _plan(
    path: Path, model: str, seed: int, axes: dict[str, Any], fixed: dict[str, Any]
) -> SweepPlan:
    if not axes:
        raise InputError(path, "there is no axis", "a table [axes] of lists is needed", "axes")
    points = 1
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise InputError(
                path, f"found {values!r}", "a list of values is needed", f"axes.{name}"
            )
        if name in fixed:
            raise InputError(path, "it is also an axis", "only one can be", f"fixed.{name}")
        points *= len(values)
    if points > MAX_POINTS:
        raise InputError(path, f"{points} points", f"at most {MAX_POINTS} are allowed", "axes")
    tasks = []
    for values in itertools.product(*axes.values()):
        here = dict(zip(axes, values, strict=True))
        try:
            tasks.append(make_task(model, fixed | here, seed=seed))
        except (TypeError, ValueError) as error:
            where = ", ".join(f"{name} = {value}" for name, value in here.items())
            raise InputError(path, f"at {where}: {error}") from None
    own = [dict(task.values) for task in tasks]
    ordered = tuple((name, tuple(dict.fromkeys(one[name] for one in own))) for name in axes)
    return SweepPlan(model, ordered, tuple(tasks))
