"""Averages, trends and activation energies: exact, unbiased, covered, and refused where unknown."""

import json
import math

import numpy as np
import pytest

import tplm_analysis as ta

BOLTZMANN_MEV = 0.08617333262
KELVIN = np.array([80.0, 110, 140, 180, 220, 260, 300])
POWER = np.array([1.0, 2, 5, 10, 20, 50])


def activated(d0=0.2, mev=40.0, offset=0.0):
    return d0 * np.exp(-mev / (BOLTZMANN_MEV * KELVIN)) + offset


# -- repeats --------------------------------------------------------------------------------------


def test_groups_have_mean_deviation_and_errors():
    x = [2.0, 1.0, 2.0, 1.0, 2.0, 5.0]
    d = [0.3, 0.10, 0.1, 0.12, 0.2, 0.7]
    stderr = [0.1, 0.01, 0.1, 0.02, 0.05, 0.1]
    one, two, single = ta.average_repeats(x, d, stderr)
    assert (one.x, one.points, one.degrees) == (1.0, 2, 1)
    assert one.d_mean_cm2_per_s == pytest.approx(0.11)
    assert one.d_std_cm2_per_s == pytest.approx(0.02 / math.sqrt(2))
    assert one.d_mean_stderr_cm2_per_s == pytest.approx(0.01)
    assert one.d_weighted_cm2_per_s == pytest.approx((1 * 0.10 + 0.25 * 0.12) / 1.25)
    assert one.d_weighted_stderr_cm2_per_s == pytest.approx(0.01 / math.sqrt(1.25))
    assert one.chi2 == pytest.approx(0.02**2 / (0.01**2 + 0.02**2))
    assert (two.points, two.d_mean_cm2_per_s) == (3, pytest.approx(0.2))
    assert single.points == 1
    assert math.isnan(single.d_std_cm2_per_s)
    assert (single.chi2, single.degrees, single.p_value, single.scatters) == (0.0, 0, 1.0, False)
    assert json.loads(single.to_json())["d_std_cm2_per_s"] is None
    assert "(mean and standard deviation of 2)" in str(one)


@pytest.mark.parametrize(
    ("same", "points"), [(0.0, [1, 1, 1, 1]), (0.011, [2, 1, 1]), (0.05, [3, 1])]
)
def test_what_counts_as_the_same(same, points):
    groups = ta.average_repeats([1.03, 1.0, 1.01, 2.0], np.ones(4), np.ones(4), same)
    assert [group.points for group in groups] == points


def test_order_does_not_matter():
    rng = np.random.default_rng(1)
    x, d, stderr = rng.integers(0, 3, 20), rng.normal(size=20), rng.uniform(0.5, 2, 20)
    order = rng.permutation(20)
    for one, other in zip(
        ta.average_repeats(x, d, stderr),
        ta.average_repeats(x[order], d[order], stderr[order]),
        strict=True,
    ):
        assert one.to_dict() == pytest.approx(other.to_dict())


def test_scatter_beyond_the_error_bars_is_told_and_seldom_falsely():
    rng = np.random.default_rng(2)

    def alarms(scatter, repeats=1000):
        found = [
            ta.average_repeats(np.ones(5), rng.normal(0.02, scatter, 5), np.full(5, 0.001))[0]
            for _ in range(repeats)
        ]
        return np.mean([one.scatters for one in found]), found

    false, _ = alarms(0.001)
    assert false == pytest.approx(0.003, abs=3 * math.sqrt(0.003 / 1000))
    true, found = alarms(0.01, 200)
    assert true > 0.98
    (loud, *_) = [one for one in found if one.scatters]
    assert "scatter more than their error bars explain" in str(loud)


# -- trends ---------------------------------------------------------------------------------------

LAWS = [
    ("constant", np.full(6, 0.02), {}),
    ("line", 0.01 + 0.002 * POWER, {"slope": 0.002}),
    ("line", 0.01 - 0.002 * POWER, {"slope": -0.002}),
    ("power-law", 0.02 * (POWER / 7) ** 0.5, {"exponent": 0.5}),
    ("power-law", -0.02 * (POWER / 7) ** -1.2, {"exponent": -1.2}),
]


@pytest.mark.parametrize(("law", "d", "values"), LAWS)
def test_laws_come_back(law, d, values):
    fit = ta.fit_trend(POWER, d, 0.01 * np.abs(d) + 1e-5, law)
    assert fit.law == law
    assert fit.chi2 < 1e-6
    assert fit.at(POWER) == pytest.approx(d, rel=1e-5)
    assert fit.varies == (law != "constant")
    assert ("per nW" in fit.words("nW")) == (law == "line")
    assert (" nW" in fit.words("nW")) == (law != "constant")
    for name in ("slope", "exponent"):
        if name in values:
            assert getattr(fit, name) == pytest.approx(values[name], rel=1e-5)
            assert 0 < getattr(fit, f"{name}_stderr") < 0.1 * abs(values[name])
        else:
            assert getattr(fit, name) is getattr(fit, f"{name}_stderr") is None
    assert ("varies" in str(fit)) == fit.varies
    assert json.loads(fit.to_json())["law"] == law


@pytest.mark.parametrize(
    ("law", "name", "truth"), [("line", "slope", 0.002), ("power-law", "exponent", 0.5)]
)
def test_trends_are_unbiased_and_covered(law, name, truth):
    d = 0.01 + 0.002 * POWER if law == "line" else 0.02 * (POWER / 7) ** 0.5
    error = 0.08 * d + 0.001
    rng = np.random.default_rng(3)
    fits = [ta.fit_trend(POWER, rng.normal(d, error), error, law) for _ in range(150)]
    z = np.array([(getattr(f, name) - truth) / getattr(f, f"{name}_stderr") for f in fits])
    assert abs(z.mean()) < 0.28
    assert np.mean(np.abs(z) < 1) == pytest.approx(0.683, abs=0.12)
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.055)
    assert np.mean([f.chi2 for f in fits]) == pytest.approx(4, abs=0.8)
    assert np.mean([f.varies for f in fits]) > 0.99


@pytest.mark.parametrize("law", ["constant", "line", "power-law"])
def test_a_constant_is_seldom_called_a_trend(law):
    rng = np.random.default_rng(4)
    error = np.full(6, 0.002)
    varies = [ta.fit_trend(POWER, rng.normal(0.02, error), error, law).varies for _ in range(200)]
    assert np.mean(varies) < 0.003 + 4 * math.sqrt(0.003 / 200)


# -- activation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mev", [-20.0, 3.0, 15.0, 40.0, 90.0])
@pytest.mark.parametrize("offset", [None, 0.004, -0.002])
def test_activation_comes_back(mev, offset):
    d = activated(0.2 if mev > 0 else 0.002, mev, offset or 0.0)
    fit = ta.fit_arrhenius(KELVIN, d, 1e-4 * np.abs(d) + 1e-9, offset=offset is not None)
    assert fit.activation_mev == pytest.approx(mev, rel=1e-3)
    assert fit.d0_cm2_per_s == pytest.approx(0.2 if mev > 0 else 0.002, rel=1e-2)
    assert fit.offset_cm2_per_s == (None if offset is None else pytest.approx(offset, rel=1e-2))
    assert fit.degrees == (5 if offset is None else 4)
    assert fit.at(KELVIN) == pytest.approx(d, rel=1e-3)
    assert "E_a = " in str(fit)
    assert json.loads(fit.to_json())["activation_mev"] == fit.activation_mev


@pytest.mark.parametrize("offset", [0.0, 0.004])
def test_activation_is_unbiased_and_covered_with_d_below_zero(offset):
    d, error = activated(offset=offset), np.full(7, 0.002)
    rng = np.random.default_rng(5)
    fits, below = [], 0
    for _ in range(120):
        noisy = rng.normal(d, error)
        below += bool((noisy < 0).any())
        fits.append(ta.fit_arrhenius(KELVIN, noisy, error, offset=offset > 0))
    assert offset or below > 20
    z = np.array([(f.activation_mev - 40) / f.activation_stderr_mev for f in fits])
    ln = np.array(
        [math.log(f.d0_cm2_per_s / 0.2) * f.d0_cm2_per_s / f.d0_stderr_cm2_per_s for f in fits]
    )
    for pull in (z, ln):
        assert abs(pull.mean()) < 0.33
        assert np.mean(np.abs(pull) < 1) == pytest.approx(0.683, abs=0.13)
        assert np.mean(np.abs(pull) < 1.96) == pytest.approx(0.95, abs=0.06)
    assert np.mean([f.chi2 for f in fits]) == pytest.approx(4 if offset else 5, abs=0.95)


def test_a_law_that_does_not_hold_is_told():
    mobility = 0.05 * (KELVIN / 150 * np.exp(1 - KELVIN / 150)) ** 2
    fit = ta.fit_arrhenius(KELVIN, mobility, 0.01 * mobility)
    assert fit.p_value < 1e-6
    assert "do not follow this law" in str(fit)
    assert "do not follow" not in str(ta.fit_arrhenius(KELVIN, activated(), 0.1 * activated()))


ONES = np.ones(7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ta.average_repeats([1, 2], [1], [1]), "equally long"),
        (lambda: ta.average_repeats([], [], []), "equally long"),
        (lambda: ta.average_repeats([1, 2], [1, 2], [1, 0]), "errors positive"),
        (lambda: ta.average_repeats([1, math.nan], [1, 2], [1, 1]), "finite"),
        (lambda: ta.average_repeats([1, 2], [1, 2], [1, 1], math.nan), "same must be"),
        (lambda: ta.fit_trend(POWER, POWER, POWER, "cubic"), "constant, line, power-law"),
        (lambda: ta.fit_trend([2, 2], [1, 1], [1, 1]), "1 different value(s)"),
        (lambda: ta.fit_trend([0, 1, 2], [1, 1, 1], [1, 1, 1], "power-law"), "above zero"),
        (lambda: ta.fit_trend(POWER, 0 * POWER, POWER, "power-law"), "do not determine"),
        (lambda: ta.fit_arrhenius(KELVIN, 0 * KELVIN, ONES), "do not determine"),
        (lambda: ta.fit_arrhenius([10, 0], [1, 1], [1, 1]), "above zero kelvin"),
        (lambda: ta.fit_arrhenius([10, 20], [1, 2], [1, 1], offset=True), "this law needs 3"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
