"""Every result of the package can print itself and go to a dict, to JSON and to a row."""

import dataclasses
import json
import math
import types
import typing
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tplm_analysis as ta
from tplm_analysis.results import unit_of

INPUTS = {"ExpectedMap", "Material", "Revisits", "SyntheticMap"}
"""Given to the estimators, not returned by them."""

BASES = {"DecayModelFit"}
"""What several results have in common."""
CLASSES = {
    name: getattr(ta, name)
    for name in ta.__all__
    if dataclasses.is_dataclass(getattr(ta, name)) and name not in INPUTS | BASES
}
EVERY_CLASS = pytest.mark.parametrize("name", list(CLASSES))


def made(kind: Any, missing: bool) -> Any:
    """A value of a type: of a result, one with all its attributes, or with none that may miss."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        there = [one for one in arguments if one is not types.NoneType]
        absent = missing and types.NoneType in arguments
        return None if absent else made(there[0], missing)
    if origin is typing.Literal:
        return arguments[0]
    if origin is np.ndarray:
        dtype = typing.get_args(arguments[1])
        if dtype == (np.bool_,):
            return np.array([True, False])
        return np.array([1, 2]) if dtype == (np.int64,) else np.array([0.5, math.nan])
    if origin is tuple:
        filled = [one for one in arguments if one is not Ellipsis]
        several = 2 if Ellipsis in arguments else 1
        return tuple(made(one, missing) for one in filled) * several
    if origin in (dict, typing.Mapping):
        return {"a": made(arguments[1], missing)}
    if dataclasses.is_dataclass(kind):
        if kind.__name__ in BASES:
            kind = kind.__subclasses__()[0]  # type: ignore[union-attr]
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(
            **{field.name: made(hints[field.name], missing) for field in dataclasses.fields(kind)}
        )
    plain: dict[Any, Any] = {float: 1.25, int: 3, str: "words", bool: True}
    return plain[kind]


def test_the_known_results_are_among_them() -> None:
    assert {
        "MapFit",
        "SliceFits",
        "MsdCurve",
        "DecayFit",
        "Irf",
        "Relaxation",
        "Excitation",
    } <= set(CLASSES)


@pytest.mark.parametrize("missing", [False, True])
@EVERY_CLASS
def test_every_result(name: str, missing: bool) -> None:
    cls = CLASSES[name]
    assert issubclass(cls, ta.Result), f"{name} is returned to users: derive it from Result"
    assert cls.SOURCE or name == "FitWarning", f"where does {name} come from?"
    assert set(cls.CURVES) <= {field.name for field in dataclasses.fields(cls)}
    result = made(cls, missing)
    text = str(result)
    assert text.strip()
    assert "object at 0x" not in text
    for curves in (False, True):
        values = result.to_dict(curves=curves)
        assert values == json.loads(result.to_json(curves=curves))
        assert all(isinstance(key, str) for key in values)
    assert set(result.to_dict()) <= set(values)
    row = result.to_row()
    assert isinstance(row, pd.Series)
    assert not any(isinstance(value, list | dict | np.ndarray) for value in row)
    table = pd.DataFrame([row, row])
    assert len(table) == 2


@EVERY_CLASS
def test_a_standard_error_has_its_value(name: str) -> None:
    names = {field.name for field in dataclasses.fields(CLASSES[name])}
    for one in names:
        if "_stderr" in one:
            assert one.replace("_stderr", "") in names, f"{name}.{one} is the error of what?"
            assert unit_of(one) == unit_of(one.replace("_stderr", "")), one


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("d_cm2_per_s", "cm^2/s"),
        ("d_stderr_cm2_per_s", "cm^2/s"),
        ("msd_um2", "um^2"),
        ("sigma0_nm", "nm"),
        ("lifetime_1e_ns", "ns"),
        ("background_per_bin", "1/bin"),
        ("sync_rate_hz", "Hz"),
        ("intensity_w_per_cm2", "W/cm^2"),
        ("temperature_k", "K"),
        ("energy_mev", "meV"),
        ("mean_excitons_per_nc", ""),
        ("counts_per_s", ""),
        ("alpha_stderr", ""),
        ("s", ""),
        ("method", ""),
        ("cm2_per_s", "cm^2/s"),
    ],
)
def test_unit(name: str, unit: str) -> None:
    assert unit_of(name) == unit


@dataclasses.dataclass(frozen=True)
class Inner(ta.Result):
    d_cm2_per_s: float
    t_ns: np.ndarray[Any, Any]

    CURVES = ("t_ns",)


@dataclasses.dataclass(frozen=True)
class Outer(ta.Result):
    tau_ns: float
    tau_stderr_ns: float | None
    noise: Inner
    share: tuple[float, ...]
    parts: tuple[Inner, ...]
    long: tuple[float, ...]
    warnings: tuple[ta.FitWarning, ...]


INNER = Inner(0.5, np.array([1.0, np.inf]))
OUTER = Outer(
    2.0, 0.125, INNER, (0.25, math.nan), (INNER,), (1.0,) * 20,
    (ta.FitWarning("drift", "It moved."), ta.FitWarning("irf", "None.")),
)  # fmt: skip


def test_row() -> None:
    assert OUTER.to_row().to_dict() == {
        "tau_ns": 2.0,
        "tau_stderr_ns": 0.125,
        "noise_d_cm2_per_s": 0.5,
        "share_0": 0.25,
        "share_1": None,
        "parts_0_d_cm2_per_s": 0.5,
        "warnings": "drift irf",
    }


def test_dict() -> None:
    assert OUTER.to_dict()["noise"] == {"d_cm2_per_s": 0.5}
    assert OUTER.to_dict(curves=True)["parts"] == [{"d_cm2_per_s": 0.5, "t_ns": [1.0, None]}]
    assert OUTER.to_dict()["warnings"] == [
        {"code": "drift", "message": "It moved."},
        {"code": "irf", "message": "None."},
    ]


def test_words() -> None:
    assert str(OUTER).splitlines()[:4] == [
        "Outer",
        "  tau_ns = 2 ± 0.125 ns",
        "  noise = d_cm2_per_s 0.5",
        "  share = [0.25, –]",
    ]
    assert "  long = (20 values)" in str(OUTER)


def test_of_a_real_map() -> None:
    """What is not a number in one method's result is not a key, and the rows make one table."""
    film = ta.synthetic_map(2, bins=100, bin_ns=0.1)
    fits = [ta.fit_map(*film_of(film), method=method) for method in ("global", "moment")]
    table = pd.DataFrame([fit.to_row() for fit in fits]).set_index("method")
    assert table.loc["global", "d_cm2_per_s"] == fits[0].d_cm2_per_s
    assert math.isnan(table.loc["global", "d_max_cm2_per_s"])
    assert table.loc["moment", "d_max_cm2_per_s"] == fits[1].d_max_cm2_per_s
    everything = fits[1].to_dict(curves=True)
    assert everything["msd"]["t_ns"] == fits[1].msd.t_ns.tolist()  # type: ignore[index,union-attr]
    assert np.array(everything["observed"]).shape == fits[1].observed.shape
    assert "D_max = " in str(fits[1])
    assert "D_max" not in str(fits[0])


def film_of(film: ta.SyntheticMap) -> tuple[Any, Any, Any]:
    return film.counts, film.x_um, film.t_ns
