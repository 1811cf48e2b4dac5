"""Stretched, delayed and shifted decays, S1's windows, the time to 1/e, and which model to use."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

import tplm_analysis as ta
from tplm_analysis.decay_models import EXPONENTIAL, POWER_LAW, STRETCHED, DecayModel

BIN_NS = 0.025
DELAY_NS = 2.003
SIGMA_NS = 0.08 / (2 * math.sqrt(2 * math.log(2)))
FINE_NS = 1e-3


def axis(bins=1000, bin_ns=BIN_NS):
    edges = np.arange(bins + 1) * bin_ns
    return edges, 0.5 * (edges[1:] + edges[:-1])


def binned(light, edges, delay_ns=DELAY_NS):
    """Light convolved with a Gaussian of 80 ps and integrated over bins, from a fine grid."""
    fine = np.arange(0, edges[-1], FINE_NS)
    middle = light(fine + FINE_NS / 2) * FINE_NS
    arrived = np.concatenate([[0.0], np.cumsum(middle)])[: fine.size]
    total = np.zeros(edges.size)
    for late, weight in zip(*np.polynomial.hermite_e.hermegauss(30), strict=True):
        since = np.maximum(edges - delay_ns - SIGMA_NS * late, 0)
        total += weight / math.sqrt(2 * math.pi) * np.interp(since, fine, arrived)
    return np.maximum(np.diff(total), 0)


def response(edges, t_ns, photons=1e9):
    return ta.find_irf(photons * np.diff(ndtr((edges - DELAY_NS) / SIGMA_NS)), t_ns)


def exponentials(lifetimes, shares):
    def light(t):
        return sum(a / tau * np.exp(-t / tau) for a, tau in zip(shares, lifetimes, strict=True))

    return light


def s1(t):
    return 0.9 * np.exp(-t / 2.3) + 0.1 * (1 + t) ** -1.5


def drawn(light, photons, background=1.0, bins=1000, bin_ns=BIN_NS, delay_ns=DELAY_NS):
    """Expected counts with so many photons in range, their bins, and the response."""
    edges, t_ns = axis(bins, bin_ns)
    share = binned(light, edges, delay_ns)
    return photons * share / share.sum() + background, t_ns, response(edges, t_ns)


# -- the shapes -----------------------------------------------------------------------------------

SHAPES = [
    (EXPONENTIAL, [0.7], lambda t: math.exp(-t / 0.7) / 0.7),
    (STRETCHED, [1.5, 0.6], lambda t: math.exp(-((t / 1.5) ** 0.6)) / 2.2568),
    (STRETCHED, [1.5, 1.4], lambda t: math.exp(-((t / 1.5) ** 1.4)) / 1.3671),
    (POWER_LAW, [1.0, 0.5], lambda t: 0.5 * (1 + t) ** -1.5),
    (POWER_LAW, [0.8, 1.0], lambda t: (1 + t / 0.8) ** -2 / 0.8),
    (POWER_LAW, [0.8, 2.0], lambda t: 2 * (1 + t / 0.8) ** -3 / 0.8),
]


@pytest.mark.parametrize(("shape", "values", "density"), SHAPES)
def test_what_has_arrived_is_the_integral(shape, values, density):
    q = np.log(values)
    t = np.array([0.0, 0.01, 0.3, 1.0, 7.0])
    expected = [quad(density, 0, one, epsabs=1e-12)[0] for one in t]
    assert shape.arrived(q, t) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    summed = [quad(lambda s: float(shape.arrived(q, np.array(s))), 0, one)[0] for one in t]
    assert shape.arrived_sum(q, t) == pytest.approx(summed, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("with_response", [False, True])
@pytest.mark.parametrize(("shape", "values", "density"), SHAPES)
def test_earlier_pulses_are_all_there(shape, values, density, with_response):
    """The sum over 3000 pulses one by one, against four and an integral."""
    edges, t_ns = axis(400)
    irf = response(edges, t_ns) if with_response else None
    period = 12.5
    counts = np.ones(400)
    p = np.array([*np.log(values), 0.0, 1.0, 0.0])
    once = DecayModel(counts, t_ns, BIN_NS, irf, None, (shape,)).columns(p)[0]
    found = DecayModel(counts, t_ns, BIN_NS, irf, period, (shape,)).columns(p)[0]
    start = edges[:-1] if irf is None else t_ns - irf.centroid_ns - BIN_NS / 2
    before = start[:, None] + period * np.arange(1, 3001)
    q = np.log(values)
    left = (shape.arrived(q, before + BIN_NS) - shape.arrived(q, before)).sum(axis=1)
    tail = 1 - shape.arrived(q, start + BIN_NS / 2 + 3000.5 * period)
    assert found - once == pytest.approx(left + tail * BIN_NS / period, rel=4e-3, abs=1e-9)


@pytest.mark.parametrize("shift_ns", [-0.04, -0.01, 0.0, 0.013, 0.1])
def test_the_shift_comes_back(shift_ns):
    counts, t_ns, irf = drawn(exponentials([2.3], [1]), 1e6, delay_ns=DELAY_NS + shift_ns)
    free = ta.fit_decay(counts, t_ns, irf, shift_ns=None)
    assert free.shift_ns == pytest.approx(shift_ns, abs=2e-4)
    assert 0 < free.shift_stderr_ns < 1e-3
    assert "after the response" in str(free)
    given = ta.fit_decay(counts, t_ns, irf, shift_ns=shift_ns)
    assert given.shift_ns == pytest.approx(shift_ns)
    assert math.isnan(given.shift_stderr_ns)
    for fit in (free, given):
        assert fit.converged
        assert fit.lifetime_ns == pytest.approx([2.3], rel=1e-3)
    if abs(shift_ns) > 0.02:
        wrong = ta.fit_decay(counts, t_ns, irf)
        assert wrong.chi2 > 2 * wrong.degrees
        assert {w.code for w in wrong.warnings} == {"misfit"}


# -- decays of the papers, without noise ----------------------------------------------------------


@pytest.mark.parametrize("background", [None, 1.0])
def test_prompt_and_delayed(background):
    counts, t_ns, irf = drawn(s1, 1e6)
    fit = ta.fit_prompt_delayed_decay(counts, t_ns, irf, background_per_bin=background)
    assert fit.converged
    assert not fit.warnings
    assert fit.lifetime_ns == pytest.approx(2.3, rel=2e-3)
    assert fit.exponent == pytest.approx(1.5, abs=0.02)
    assert fit.delayed_time_ns == pytest.approx(1.0, rel=0.05)
    span = 25 - DELAY_NS
    prompt, delayed = 2.07 * -math.expm1(-span / 2.3), 0.2 * (1 - (1 + span) ** -0.5)
    assert fit.prompt_fraction == pytest.approx(prompt / (prompt + delayed), abs=2e-3)
    assert 0 < fit.prompt_fraction_stderr < 0.02
    assert "prompt τ = 2.3 ± " in str(fit)


@pytest.mark.parametrize("beta", [0.4, 0.6, 1.0, 1.3])
def test_stretched(beta):
    counts, t_ns, irf = drawn(lambda t: np.exp(-((t / 1.5) ** beta)), 1e6, bins=2000)
    fit = ta.fit_stretched_decay(counts, t_ns, irf)
    assert fit.converged
    assert fit.lifetime_ns == pytest.approx(1.5, rel=0.01)
    assert fit.beta == pytest.approx(beta, rel=3e-3)
    assert fit.mean_lifetime_ns == pytest.approx(1.5 / beta * math.gamma(1 / beta), rel=0.01)
    assert f"β = {fit.beta:.4g} ± " in str(fit)


@pytest.mark.parametrize(
    ("lifetimes", "shares"),
    [
        ([0.48, 52.0], [0.42, 0.58]),  # S2
        ([0.75, 4.3, 23.4], [0.3, 0.4, 0.3]),  # S4, both ends of the ranges
        ([1.3, 5.7, 38.8], [0.3, 0.3, 0.4]),
    ],
)
def test_exponentials_of_the_papers(lifetimes, shares):
    counts, t_ns, irf = drawn(exponentials(lifetimes, shares), 1e7, bins=4000, bin_ns=0.05)
    fit = ta.fit_decay(counts, t_ns, irf, len(lifetimes))
    assert fit.converged
    assert fit.lifetime_ns == pytest.approx(lifetimes, rel=3e-3)
    assert fit.photon_share == pytest.approx(shares, abs=2e-3)
    assert fit.mean_lifetime_ns == pytest.approx(np.dot(lifetimes, shares), rel=3e-3)


def windows_decay(t):
    return np.where(t < 3, np.exp(-t / 2.3), math.exp(-3 / 2.3) * (np.maximum(t, 3) / 3) ** -1.5)


def test_windows_of_s1():
    counts, t_ns, _ = drawn(windows_decay, 1e6)
    found = ta.prompt_delayed_windows(
        counts, t_ns, background_per_bin=1.0, time_zero_ns=DELAY_NS, prompt_ns=(0.1, 3.0)
    )
    assert found.lifetime_ns == pytest.approx(2.3, rel=2e-3)
    assert found.exponent == pytest.approx(1.5, rel=2e-3)
    prompt = 2.3 * (math.exp(-0.1 / 2.3) - math.exp(-3 / 2.3))
    delayed = 6 * math.exp(-3 / 2.3) * (1 - (20 / 3) ** -0.5)
    assert found.prompt_fraction == pytest.approx(prompt / (prompt + delayed), abs=1e-3)
    assert found.prompt_chi2 + found.delayed_chi2 < 30
    own = ta.prompt_delayed_windows(counts, t_ns, background_per_bin=1.0)
    assert own.time_zero_ns == pytest.approx(DELAY_NS, abs=0.02)
    assert own.lifetime_ns == pytest.approx(2.3, rel=0.01)
    assert "p = 1.5" in str(own)


# -- noise ----------------------------------------------------------------------------------------


def pulls(fit, names, truths):
    errors = [name.replace("_ns", "_stderr_ns") for name in names]
    errors = [e if e != n else f"{n}_stderr" for e, n in zip(errors, names, strict=True)]
    return [
        (getattr(fit, name) - truth) / getattr(fit, error)
        for name, truth, error in zip(names, truths, errors, strict=True)
    ]


STATISTICS = [
    (
        s1, 1e6, ta.fit_prompt_delayed_decay,
        {"lifetime_ns": 2.3, "exponent": 1.5, "prompt_fraction": 0.92856},
    ),
    (
        lambda t: np.exp(-((t / 1.5) ** 0.6)), 1e5, ta.fit_stretched_decay,
        {"lifetime_ns": 1.5, "beta": 0.6, "mean_lifetime_ns": 2.2568},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("light", "photons", "fit", "truths"), STATISTICS)
def test_errors_cover(light, photons, fit, truths):
    """25 decays: mean pull within 3.2 of its error, spread near one, 95 % intervals cover."""
    expected, t_ns, irf = drawn(light, photons)
    rng = np.random.default_rng(21)
    found = [fit(rng.poisson(expected), t_ns, irf, background_per_bin=1.0) for _ in range(25)]
    assert all(one.converged for one in found)
    z = np.array([pulls(one, list(truths), truths.values()) for one in found])
    assert np.all(np.abs(z.mean(axis=0)) < 3.2 / math.sqrt(25))
    assert np.all((z.std(axis=0) > 0.65) & (z.std(axis=0) < 1.4))
    assert np.all(np.mean(np.abs(z) < 1.96, axis=0) > 0.79)
    assert np.mean([one.chi2 / one.degrees for one in found]) == pytest.approx(1, abs=0.03)


def test_bright_and_dark_shares_cover():
    """S2 at 10 K: 0.48 ns with 42 % of the photons and 52 ns with 58 %."""
    expected, t_ns, irf = drawn(
        exponentials([0.48, 52.0], [0.42, 0.58]), 1e5, bins=2000, bin_ns=0.05
    )
    rng = np.random.default_rng(22)
    z = []
    for _ in range(25):
        fit = ta.fit_decay(rng.poisson(expected), t_ns, irf, 2)
        assert fit.converged
        z.append([*((fit.lifetime_ns - [0.48, 52]) / fit.lifetime_stderr_ns),
                  (fit.photon_share[0] - 0.42) / fit.photon_share_stderr[0]])  # fmt: skip
    assert np.all(np.abs(np.mean(z, axis=0)) < 3.2 / math.sqrt(25))
    assert np.all((np.std(z, axis=0) > 0.65) & (np.std(z, axis=0) < 1.4))


def test_a_power_law_that_is_not_there_is_told():
    expected, t_ns, irf = drawn(exponentials([2.3], [1]), 1e5)
    rng = np.random.default_rng(23)
    for _ in range(5):
        fit = ta.fit_prompt_delayed_decay(rng.poisson(expected), t_ns, irf)
        assert not fit.converged
        assert "not-converged" in {w.code for w in fit.warnings}
        assert "! not-converged: " in str(fit)


def test_two_bright_bins_have_windows_without_a_warning():
    counts = np.where(np.isin(np.arange(1000), [40, 400]), 1e4, 0)
    found = ta.prompt_delayed_windows(counts, axis()[1], time_zero_ns=0.0)
    assert math.isfinite(found.prompt_chi2)
    assert found.prompt_fraction == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("photons", "lifetime_ns"),
    [(2e3, 2.3), (2e4, 0.6), pytest.param(1e6, 2.3, marks=pytest.mark.full)],
)
def test_error_of_the_time_to_1e(photons, lifetime_ns):
    expected, t_ns, _ = drawn(exponentials([lifetime_ns], [1]), photons)
    truth = ta.lifetime_1e(t_ns, (expected - 1) * 1e6)
    assert truth == pytest.approx(lifetime_ns, rel=0.06)
    rng = np.random.default_rng(24)
    found = [ta.find_lifetime_1e(t_ns, rng.poisson(expected), 1.0) for _ in range(80)]
    z = np.array([(f.lifetime_1e_ns - truth) / f.lifetime_1e_stderr_ns for f in found])
    assert abs(z.mean()) < 0.6
    assert 0.53 < np.mean(np.abs(z) < 1) < 0.83
    assert np.mean(np.abs(z) < 1.96) > 0.84
    assert "1/e after " in str(found[0])


def test_the_background_widens_the_error_of_the_time_to_1e():
    expected, t_ns, _ = drawn(exponentials([2.3], [1]), 1e5, background=50.0)
    known = ta.find_lifetime_1e(t_ns, expected, 50.0)
    unsure = ta.find_lifetime_1e(t_ns, expected, 50.0, 15.0)
    assert unsure.lifetime_1e_ns == known.lifetime_1e_ns
    assert unsure.lifetime_1e_stderr_ns > 1.5 * known.lifetime_1e_stderr_ns


# -- which model ----------------------------------------------------------------------------------

MODELS = [
    (exponentials([2.3], [1]), 1e5, "exponential"),
    (exponentials([0.5, 4.0], [0.4, 0.6]), 1e5, "two-exponential"),
    (lambda t: np.exp(-((t / 1.5) ** 0.6)), 1e5, "stretched"),
    (s1, 1e6, "prompt-delayed"),
]


@pytest.mark.parametrize(("light", "photons", "name"), MODELS)
def test_the_model_that_is_warranted(light, photons, name):
    expected, t_ns, irf = drawn(light, photons)
    rng = np.random.default_rng(25)
    found = ta.compare_decays(rng.poisson(expected), t_ns, irf)
    assert found.warranted == name
    assert found.models == (
        "exponential", "stretched", "two-exponential", "prompt-delayed", "three-exponential"
    )  # fmt: skip
    assert found.parameters.tolist() == [3, 4, 5, 6, 7]
    assert found.best.model == name
    assert found.sentence.startswith(f"The counts warrant the model {name}")
    assert "within counting noise" not in found.sentence
    assert found.sentence in str(found)
    assert found.aic == pytest.approx(found.deviance + 2 * found.parameters)
    # one exponential is the limit of every other
    assert found.deviance[0] >= found.deviance[1:].min() - 1e-3
    values = json.loads(found.to_json())
    assert values["warranted"] == name
    assert [fit["model"] for fit in values["fits"]] == list(found.models)


def test_none_of_the_models():
    expected, t_ns, irf = drawn(exponentials([0.5, 4.0], [0.4, 0.6]), 1e6)
    rng = np.random.default_rng(26)
    counts = rng.poisson(expected)
    found = ta.compare_decays(counts, t_ns, irf, ["exponential"], background_per_bin=1.0)
    assert found.parameters.tolist() == [2]
    assert found.sentence.endswith(
        "none of those compared describes the decay within counting noise."
    )
    flat = ta.compare_decays(rng.poisson(np.full(1000, 50.0)), t_ns, irf, ["exponential"])
    assert (flat.warranted, flat.best) == (None, None)
    assert flat.sentence == "The counts determine none of these models."


@pytest.mark.full
def test_false_alarms_are_rare():
    """On one exponential another model is warranted in at most 2 % of 300 decays."""
    expected, t_ns, irf = drawn(exponentials([2.3], [1]), 3e4)
    rng = np.random.default_rng(27)
    verdicts = [ta.compare_decays(rng.poisson(expected), t_ns, irf).warranted for _ in range(300)]
    assert np.mean([name != "exponential" for name in verdicts]) < 0.02


# -- results and refusals -------------------------------------------------------------------------


def test_results_speak_json():
    counts, t_ns, irf = drawn(s1, 1e6)
    fits = [
        ta.fit_decay_model(name, counts, t_ns, irf)
        for name in ("exponential", "two-exponential", "stretched", "prompt-delayed")
    ]
    for fit in (*fits, ta.prompt_delayed_windows(counts, t_ns), ta.find_lifetime_1e(t_ns, counts)):
        values = json.loads(fit.to_json())
        assert fit.SOURCE
        assert "observed" not in values
        assert len(fit.to_row())
    keys = {
        "lifetime_ns", "lifetime_stderr_ns", "photon_share", "photon_share_stderr",
        "mean_lifetime_ns", "background_per_bin", "background_stderr_per_bin", "chi2",
        "degrees", "deviance", "converged",
    }  # fmt: skip
    assert keys <= fits[1].to_dict().keys()
    assert len(fits[1].to_dict(curves=True)["predicted"]) == 1000


COUNTS = 1e4 * np.exp(-np.arange(1000) / 100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: ta.fit_decay(COUNTS, t, shift_ns=0.1), "needs an instrument response"),
        (lambda t: ta.fit_decay(COUNTS, t, shift_ns=None), "needs an instrument response"),
        (lambda t: ta.fit_decay(COUNTS, t, background_per_bin=-1.0), "not negative"),
        (lambda t: ta.fit_stretched_decay(np.zeros(1000), t), "too few for 1 part"),
        (lambda t: ta.fit_prompt_delayed_decay(COUNTS, t, period_ns=3.0), "than the period"),
        (lambda t: ta.fit_decay_model("four", COUNTS, t), "exponential, two-exponential"),
        (lambda t: ta.compare_decays(COUNTS, t, models=()), "At least one model"),
        (lambda t: ta.prompt_delayed_windows(np.zeros(1000), t), "prompt window of 0–3 ns holds 0"),
        (lambda t: ta.prompt_delayed_windows(COUNTS, t, background_per_bin=600), "delayed window"),
        (lambda t: ta.prompt_delayed_windows(COUNTS, t, background_per_bin=-1), "not negative"),
        (lambda t: ta.find_lifetime_1e(t**2, COUNTS), "even steps"),
        (lambda t: ta.find_lifetime_1e(t, -COUNTS), "not negative"),
        (lambda t: ta.find_lifetime_1e([1.0], [1.0]), "two or more"),
        (lambda t: ta.find_time_zero(t, COUNTS[1:]), "same length"),
        (
            lambda t: ta.prompt_delayed_windows(COUNTS[::-1], t, time_zero_ns=0.0),
            "does not fall in the prompt window",
        ),
    ],
)  # fmt: skip
def test_refused(call, message):
    with pytest.raises(ValueError) as error:
        call(axis()[1])
    assert message in str(error.value)
