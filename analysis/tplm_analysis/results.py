"""What every result can do: print itself, and go to a dict, to JSON and to a row of a table."""

import json
import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_SHORT = 8
"""Longest list whose values become columns of their own."""


class Result:
    """Base of the frozen dataclasses that the estimators return.

    Every public attribute is a number, a text, a flag, an array, another `Result`, a tuple of
    these, or None where a value cannot be given. A standard error is named like its value with
    ``_stderr`` before the unit (``d_cm2_per_s``, ``d_stderr_cm2_per_s``).
    """

    SOURCE: ClassVar[str] = ""
    """Paper and equation, or that it is the project's own."""

    CURVES: ClassVar[tuple[str, ...]] = ()
    """Attributes that `to_dict` leaves out unless asked for, such as those with one value for
    each bin, position or photon."""

    def __str__(self) -> str:
        """Name every value with its standard error and its unit, one a line."""
        values = self.to_dict()
        errors = {name.replace("_stderr", ""): name for name in values if "_stderr" in name}
        lines = [type(self).__name__]
        for name, value in values.items():
            if name in errors.values() and name.replace("_stderr", "") in values:
                continue
            error = values[errors[name]] if name in errors else None
            bar = "" if error is None else f" ± {_words(error)}"
            lines.append(f"  {name} = {_words(value)}{bar} {unit_of(name)}".rstrip())
        return "\n".join(lines)

    def to_dict(self, *, curves: bool = False) -> dict[str, object]:
        """Return the values, ready for `json.dumps`; None where one cannot be given.

        Parameters
        ----------
        curves
            Also those in `CURVES`.
        """
        assert is_dataclass(self)
        return {
            field.name: plain(getattr(self, field.name), curves=curves)
            for field in fields(self)
            if curves or field.name not in self.CURVES
        }

    def to_json(self, *, curves: bool = False) -> str:
        """Return `to_dict` as one JSON object."""
        return json.dumps(self.to_dict(curves=curves), allow_nan=False)

    def to_row(self) -> "pd.Series[Any]":
        """Return the single values as a row for a pandas table.

        Short lists and results within this one get columns of their own
        (``lifetime_ns_0``, ``noise_d_cm2_per_s``), longer lists none.

        Raises
        ------
        ImportError
            Without pandas, which the rest of this package does without.
        """
        import pandas as pd

        return pd.Series(_columns("", self.to_dict()), dtype=object)


def plain(value: object, *, curves: bool = False) -> object:
    """Return a value as JSON has it: NaN and infinities become None."""
    if isinstance(value, Result):
        return value.to_dict(curves=curves)
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name), curves=curves) for field in fields(value)
        }
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple):
        return [plain(one, curves=curves) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one, curves=curves) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unit_of(name: str) -> str:
    """Return the unit that a name ends in: ``"cm^2/s"`` of ``d_cm2_per_s``; "" without one."""
    head, per, below = name.rpartition("_per_")
    above = _UNITS.get(head.rpartition("_")[2], "")
    if not per:
        unit = name.rpartition("_")[2]
        return _UNITS.get(unit, "") if unit != name else ""
    if below == "bin":
        return f"{above or 1}/bin"
    return f"{above}/{_UNITS[below]}" if above and below in _UNITS else ""


_LENGTHS = ("nm", "um", "cm", "sites")
_UNITS = {
    **{unit: unit for unit in (*_LENGTHS, "ps", "ns", "us", "s")},
    **{f"{unit}2": f"{unit}^2" for unit in _LENGTHS},
    **{unit.lower(): unit for unit in ("Hz", "MHz", "W", "nW", "uJ", "eV", "meV", "K")},
}


def _words(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        if len(value) > _SHORT:
            return f"({len(value)} values)"
        return "[" + ", ".join(_words(one) for one in value) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    return str(value)


def _columns(prefix: str, values: dict[str, object]) -> dict[str, object]:
    """Bring nested values into one row; warnings as their codes."""
    row: dict[str, object] = {}
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict):
            row.update(_columns(f"{name}_", value))
        elif key == "warnings" and isinstance(value, list):
            row[name] = " ".join(str(one["code"]) for one in value if isinstance(one, dict))
        elif isinstance(value, list):
            if len(value) <= _SHORT:
                row.update(_columns(f"{name}_", {str(i): one for i, one in enumerate(value)}))
        else:
            row[name] = value
    return row
