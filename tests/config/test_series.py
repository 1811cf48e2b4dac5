"""Series plans: which points they have, what they refuse, and that they live in TOML."""

import pytest

from tests.config.test_bundled import faults
from tplm_config import (
    Axis,
    InputError,
    LineScan,
    SeriesPlan,
    Settings,
    bundled,
    load_any,
    load_plan,
    load_series,
    parse_series,
    schema,
    to_toml,
)

LINE = {"kind": "line", "positions": 5}


def series(**values) -> SeriesPlan:
    return SeriesPlan.model_validate({"kind": "series", "scan": LINE} | values)


POINTS = [
    # values of one axis, as written: not sorted, not made unique
    ({"axes": [{"power_nw": [6, 1.5, 6]}]}, ["6 nW", "1.5 nW", "6 nW"]),
    # the first axis changes slowest
    (
        {"axes": [{"temperature_k": [10, 295]}, {"power_nw": [1, 2]}]},
        ["1 nW, 10 K", "2 nW, 10 K", "1 nW, 295 K", "2 nW, 295 K"],
    ),
    # one axis, two quantities: together
    (
        {"axes": [{"fluence_uj_per_cm2": [1, 2], "repetition_rate_hz": [2e6, 1e6]}]},
        ["1 µJ/cm², 2 MHz", "2 µJ/cm², 1 MHz"],
    ),
    ({"axes": [{"sample_xy_um": [[0, 1], [2, 3]]}]}, ["spot (0, 1) µm", "spot (2, 3) µm"]),
    (
        {"points": [{"power_nw": 1}, {"count_rate_hz": 1e4}, {"transmission": 0.1}, {}]},
        ["1 nW", "10000 counts/s", "detection × 0.1", "as the scan"],
    ),
    (
        {"axes": [{"power_nw": [1, 2]}], "repeats": 2},
        ["1 nW, repeat 1", "2 nW, repeat 1", "1 nW, repeat 2", "2 nW, repeat 2"],
    ),
]


@pytest.mark.parametrize(("values", "labels"), POINTS)
def test_points(values, labels) -> None:
    plan = series(**values)
    points = list(plan.walk())
    assert [point.label for point in points] == labels
    assert [point.index for point in points] == list(range(len(labels))) == list(range(plan.count))
    assert parse_series(to_toml(plan), "its TOML") == plan


REFUSED = [
    ("", "give [[axes]], or [[points]]"),
    ("[[axes]]\npower_nw=[1]\n[[points]]\npower_nw=1", "give [[axes]], or [[points]]"),
    ("[[axes]]", "the axis has no values; give one of power_nw"),
    ("[[axes]]\npower_nw=[]", "axes[0].power_nw"),
    ("[[axes]]\npower_nw=[1,2]\ntemperature_k=[10]", "lengths are power_nw 2, temperature_k 1"),
    ("[[axes]]\npower_nw=[1]\n[[axes]]\npower_nw=[2]", "power_nw stands in two axes"),
    ("[[axes]]\npower_nw=[1]\n[[axes]]\nfluence_uj_per_cm2=[2]", "cannot both be given"),
    ("[[points]]\ncount_rate_hz=1\ntransmission=0.5", "cannot both be given"),
    ("[[axes]]\npower_nw=[1, -2]", "axes[0].power_nw[1]: found -2"),
    ("[[axes]]\npower_nw=[1, nan]", "a finite number is needed"),
    ("[[axes]]\npowr_nw=[1]", "axes[0].powr_nw: unknown key; did you mean 'power_nw'?"),
    ("[[axes]]\nsample_xy_um=[[1]]", "axes[0].sample_xy_um[0]"),
    ("repeats=10000\n[[axes]]\npower_nw=[1,2]", "20000 points; at most 10000"),
    ("[[axes]]\npower_nw=[1]\n[on_failure]\nthen='give up'", 'allowed: "skip", "stop"'),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_is_refused(text, words) -> None:
    with pytest.raises(InputError) as caught:
        parse_series(f"kind='series'\nscan={{kind='line'}}\n{text}", "p.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("p.toml: ")


def test_a_scan_by_name_with_changes(tmp_path) -> None:
    (tmp_path / "mine.toml").write_text('kind = "line"\npositions = 9\n[card]\nrange_ns = 12.8\n')
    path = tmp_path / "s.toml"
    axes = "[[axes]]\npower_nw = [1]\n"
    for scan, positions in (
        ('scan = "line"\n' + axes, 41),
        (axes + '[scan]\nplan = "mine.toml"\n', 9),
        (axes + '[scan]\nplan = "mine.toml"\npositions = 7\n[scan.card]\ntime_bin_ps = 50\n', 7),
    ):
        path.write_text(f'kind = "series"\n{scan}')
        plan = load_series(path)
        assert isinstance(plan.scan, LineScan)
        assert plan.scan.positions == positions
    assert plan.scan.card.range_ns == 12.8
    assert plan.scan.card.time_bin_ps == 50
    assert load_series(path, ["scan.passes=3"]).scan.passes == 3


def test_scans_and_series_are_told_apart() -> None:
    assert isinstance(load_any("line"), LineScan)
    assert isinstance(load_any("power-series"), SeriesPlan)
    with pytest.raises(InputError, match="found a series; .*tplm sweep"):
        load_plan("power-series")
    with pytest.raises(InputError, match="found one scan, a line; a series is needed"):
        load_series("line")


def test_the_promised_ones_are_there() -> None:
    assert set(bundled("series")) == {
        "power-series", "fluence-series", "rep-rate-series", "constant-power", "reversibility",
        "constant-count-rate", "temperature-series", "shared-relaxation",
    }  # fmt: skip


POWERS = [{"power_nw": [1, 2, 4, 8]}]
SHARE = {"time_s": 100, "so_that": "tau"}


def shared(**changes) -> SeriesPlan:
    values = {
        "scan": LINE | {"dwell_s": 1.0, "passes": 50},
        "axes": POWERS,
        "share": SHARE | changes.pop("share", {}),
    }
    return series(**(values | changes))


def test_a_night_that_is_shared_survives_toml() -> None:
    plan = shared(share={"floor": 0.5, "tau_us": 3.0})
    assert parse_series(to_toml(plan), "its TOML") == plan
    assert plan.varied == ("power_nw",)
    assert series(axes=POWERS).share is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": {"floor": 0.0}}, "share.floor"),
        ({"share": {"so_that": "d"}}, "so_that"),
        ({"share": {"time_s": 0}}, "time_s"),
        # (1 - 0.3 + 0.3 / 4) of 100 s, by passes of 5 s
        ({"scan": LINE | {"passes": 15}}, r"up to 77.5 s .* at least passes = 16 is needed"),
        ({"scan": LINE | {"passes": 50, "time_limit_s": 9.0}}, "leave .*scan.time_limit_s out"),
        ({"scan": LINE | {"passes": 50, "card": {"mode": "t3"}, "fly": {}}}, r"leave \[scan.fly\]"),
        ({"axes": [{"power_nw": [2, 2]}]}, "they differ in nothing"),
        (
            {"axes": [*POWERS, {"temperature_k": [10, 20]}]},
            "they differ in power_nw, temperature_k",
        ),
        ({"axes": [{"temperature_k": [10, 20]}]}, "and in nothing else; they differ in temp"),
        ({"share": {"so_that": "slope"}, "axes": [{"power_nw": [1, 2]}]}, "three values or more"),
        (
            {"share": {"so_that": "slope"}, "axes": [*POWERS, {"temperature_k": [10, 20]}]},
            "one swept quantity",
        ),
        (
            {"share": {"so_that": "slope"}, "axes": [{"transmission": [0.1, 0.2, 0.3]}]},
            "one swept quantity",
        ),
    ],
)
def test_nights_that_cannot_be_shared(changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        shared(**changes)


def test_the_schema_knows_what_the_model_knows() -> None:
    root = schema("series")
    whole = {"kind": "series", "scan": LINE, "axes": [{"power_nw": [1.0]}]}
    assert faults(whole, root, root) == []
    assert faults(whole | {"axes": [{"power_nw": [0]}]}, root, root)
    assert faults(whole | {"axis": []}, root, root)


def test_values_are_values() -> None:
    assert Axis(power_nw=(1.0, 2.0)) == Axis(power_nw=[1, 2])  # type: ignore[arg-type]
    assert hash(Settings(power_nw=1)) == hash(Settings(power_nw=1.0))
    assert series(points=[{"power_nw": 1}]) != series(points=[{"power_nw": 2}])
