"""Figures across the points of a series: repeats, trend, activation energy."""

import json

import numpy as np
import pytest

from tplm_config import Settings
from tplm_daq.series.manifest import Entry, Result
from tplm_daq.series.results import arrhenius_of, summarise, swept_alone, trend_of

BOLTZMANN_MEV = 0.08617333262


def entry(index, d, error=0.001, read_k=None, **settings):
    result = Result(d_cm2_per_s=d, d_stderr_cm2_per_s=error, temperature_k=read_k)
    return Entry(
        index=index, label=str(index), settings=Settings(**settings),
        file=f"p{index:03d}.h5", state="done", result=result,
    )  # fmt: skip


def test_repeats_keep_their_keys_and_say_whether_they_scatter():
    points = [entry(i, d, power_nw=p) for i, (p, d) in enumerate(
        [(20, 0.02), (10, 0.010), (20, 0.04), (10, 0.011), (5, 0.01)]
    )]  # fmt: skip
    twenty, ten = summarise(points)[0]["repeated"]
    assert twenty["settings"] == {"power_nw": 20.0}
    assert (twenty["points"], ten["points"]) == (2, 2)
    assert twenty["d_mean_cm2_per_s"] == pytest.approx(0.03)
    assert twenty["d_std_cm2_per_s"] == pytest.approx(0.02 / np.sqrt(2))
    assert (twenty["scatters"], ten["scatters"]) == (True, False)
    assert "x" not in twenty


def test_a_temperature_series_gives_an_activation_energy():
    kelvin = [100.0, 150, 200, 250, 300]
    ds = [0.2 * np.exp(-40 / (BOLTZMANN_MEV * (t + 1))) for t in kelvin]
    points = [
        entry(i, d, 1e-5, read_k=t + 1, power_nw=5.0, temperature_k=t)
        for i, (t, d) in enumerate(zip(kelvin, ds, strict=True))
    ]
    summary, curve = summarise(points)
    assert curve is None
    # at the temperatures that were read back, 1 K above the set points
    assert summary["arrhenius"]["activation_mev"] == pytest.approx(40, rel=1e-3)
    assert "offset_cm2_per_s" not in summary["arrhenius"]
    assert summary["trend"]["quantity"] == "temperature_k"
    assert summary["trend"]["varies"]
    json.dumps(summary, allow_nan=False)
    flat = [p.model_copy(update={"result": Result(d_cm2_per_s=0.0, d_stderr_cm2_per_s=1.0)})
            for p in points]  # fmt: skip
    assert "do not determine" in summarise(flat)[0]["no_arrhenius"]
    assert arrhenius_of(flat)[0] is None


def test_a_power_series_has_a_trend():
    points = [entry(i, 0.01 + 0.001 * p, power_nw=p) for i, p in enumerate([1, 5, 10, 20])]
    trend = trend_of(points, "power_nw")
    assert trend.slope == pytest.approx(0.001)
    assert summarise(points)[0]["trend"]["slope"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    "settings",
    [
        [{"power_nw": 1}, {"power_nw": 2}],  # two values do not show a law
        [{"power_nw": p, "temperature_k": 10 * p} for p in (1, 2, 3)],
        [{"power_nw": 1}, {"power_nw": 2}, {}],
        [{"sample_xy_um": (x, 0)} for x in (1, 2, 3)],
        [{}, {}, {}],
    ],
)
def test_nothing_swept_alone(settings):
    points = [entry(i, 0.01, **one) for i, one in enumerate(settings)]
    assert swept_alone(points) is None
    assert "trend" not in summarise(points)[0]


def test_no_points():
    assert summarise([]) == ({}, None)
