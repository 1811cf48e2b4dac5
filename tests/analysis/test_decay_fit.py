"""Lifetimes: exact on noise-free decays, unbiased with honest error bars on noisy ones."""

import json
import math
from itertools import product

import numpy as np
import pytest
from scipy.special import log_ndtr, ndtr

import tplm_analysis as ta

DELAY_NS = 2.003
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def axis(bins=1000, bin_ns=0.025):
    edges = np.arange(bins + 1) * bin_ns
    return edges, 0.5 * (edges[1:] + edges[:-1])


def response(edges, fwhm_ns):
    return np.diff(ndtr((edges - DELAY_NS) * FWHM_PER_SIGMA / fwhm_ns))


def decay(edges, lifetime_ns, fwhm_ns, period_ns=None):
    """Light of one photon in each bin: the exact convolution with a Gaussian, all pulses."""
    sigma = fwhm_ns / FWHM_PER_SIGMA
    total = np.zeros(edges.size)
    for pulse in range(1 if period_ns is None else 40):
        z = (edges - DELAY_NS + pulse * (period_ns or 0)) / sigma
        ratio = sigma / lifetime_ns
        total += ndtr(z) - np.exp(0.5 * ratio**2 - ratio * z + log_ndtr(z - ratio))
    return np.maximum(np.diff(total), 0)


def noisy(rng, edges, t_ns, light, fwhm_ns):
    """A decay drawn from a model, and a response measured for it."""
    irf = ta.find_irf(rng.poisson(1e6 * response(edges, fwhm_ns) + 2), t_ns)
    return rng.poisson(light), irf


@pytest.mark.parametrize("lifetime_ns", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("fwhm_ns", [0.08, 0.2])
@pytest.mark.parametrize("period_ns", [None, 25.0, 30.3])
def test_one_exponential(lifetime_ns, fwhm_ns, period_ns):
    edges, t_ns = axis()
    irf = ta.find_irf(1e9 * response(edges, fwhm_ns), t_ns)
    counts = 1e6 * decay(edges, lifetime_ns, fwhm_ns, period_ns) + 3
    fit = ta.fit_decay(counts, t_ns, irf, period_ns=period_ns)
    assert fit.converged
    assert fit.lifetime_ns == pytest.approx([lifetime_ns], rel=1e-3)
    # of N photons the mean arrival time is known to τ/√N
    assert fit.lifetime_stderr_ns / lifetime_ns == pytest.approx([1e-3], rel=0.2)
    assert fit.photon_share == pytest.approx([1])
    assert fit.background_per_bin == pytest.approx(3, abs=0.03)
    assert fit.predicted.sum() == pytest.approx(counts.sum(), rel=1e-6)


def test_earlier_pulses_matter():
    """At 40 MHz a decay of 8 ns comes out wrong when they are forgotten."""
    edges, t_ns = axis()
    irf = ta.find_irf(1e9 * response(edges, 0.08), t_ns)
    counts = 1e6 * decay(edges, 8.0, 0.08, 25.0)
    assert ta.fit_decay(counts, t_ns, irf, period_ns=25.0).lifetime_ns == pytest.approx(8, rel=1e-3)
    without = ta.fit_decay(counts, t_ns, irf)
    assert without.lifetime_ns < 7.2
    assert without.chi2 > 2 * without.degrees


def test_without_response():
    _, t_ns = axis()
    fit = ta.fit_decay(1e5 * np.exp(-t_ns / 2.5) + 4, t_ns)
    assert fit.lifetime_ns == pytest.approx([2.5], rel=1e-6)
    counts = np.where(t_ns < 5, 4.0, 1e5 * np.exp(-(t_ns - 5) / 2.5) + 4)
    fit = ta.fit_decay(counts, t_ns)
    assert fit.t_ns[0] == pytest.approx(5, abs=0.02)
    assert fit.lifetime_ns == pytest.approx([2.5], rel=1e-6)


@pytest.mark.parametrize(
    ("lifetimes", "shares", "photons"),
    [([0.3, 2.0], [0.3, 0.7], 1e6), ([0.2, 1.5, 6.0], [0.3, 0.4, 0.3], 1e7)],
)
def test_several_exponentials(lifetimes, shares, photons):
    edges, t_ns = axis(2000)
    irf = ta.find_irf(1e9 * response(edges, 0.08), t_ns)
    light = sum(a * decay(edges, tau, 0.08) for a, tau in zip(shares, lifetimes, strict=True))
    fit = ta.fit_decay(photons * light + 1, t_ns, irf, len(lifetimes))
    assert fit.converged
    assert fit.lifetime_ns == pytest.approx(lifetimes, rel=5e-3)
    assert fit.photon_share == pytest.approx(shares, abs=3e-3)
    assert fit.mean_lifetime_ns == pytest.approx(np.dot(lifetimes, shares), rel=1e-3)


@pytest.mark.parametrize(
    ("photons", "fwhm_ns", "lifetime_ns"),
    [
        (2e3, 0.08, 0.2),
        (1e5, 0.08, 3.0),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in product([2e3, 1e5], [0.08, 0.2], [0.2, 0.6, 3.0])
            if case not in ((2e3, 0.08, 0.2), (1e5, 0.08, 3.0))
        ),
    ],
)
def test_lifetime_is_unbiased_and_its_error_covers(lifetime_ns, fwhm_ns, photons):
    edges, t_ns = axis()
    light = photons * decay(edges, lifetime_ns, fwhm_ns) + 0.5
    rng = np.random.default_rng(7)
    z, chi2 = [], []
    for _ in range(60):
        counts, irf = noisy(rng, edges, t_ns, light, fwhm_ns)
        fit = ta.fit_decay(counts, t_ns, irf)
        assert fit.converged
        z.append((fit.lifetime_ns[0] - lifetime_ns) / fit.lifetime_stderr_ns[0])
        chi2.append(fit.chi2 / fit.degrees)
    assert abs(np.mean(z)) < 0.45
    assert 0.75 < np.std(z) < 1.3
    assert 0.52 < np.mean(np.abs(z) < 1) < 0.84
    assert np.mean(chi2) == pytest.approx(1, abs=0.05)


@pytest.mark.full
def test_two_exponentials_are_unbiased_and_their_errors_cover():
    edges, t_ns = axis()
    truth = np.array([0.3, 2.0, 0.3, 0.7])
    light = 3e4 * decay(edges, 0.3, 0.08, 25.0) + 7e4 * decay(edges, 2.0, 0.08, 25.0) + 1
    rng = np.random.default_rng(8)
    z = []
    for _ in range(60):
        counts, irf = noisy(rng, edges, t_ns, light, 0.08)
        fit = ta.fit_decay(counts, t_ns, irf, 2, 25.0)
        assert fit.converged
        found = np.concatenate([fit.lifetime_ns, fit.photon_share])
        z.append(
            (found - truth) / np.concatenate([fit.lifetime_stderr_ns, fit.photon_share_stderr])
        )
    assert np.all(np.abs(np.mean(z, axis=0)) < 0.5)
    assert np.all((np.std(z, axis=0) > 0.7) & (np.std(z, axis=0) < 1.35))


def test_an_exponential_too_many_is_told():
    """On one exponential a second is empty, at a limit, or of unknown lifetime or share."""
    edges, t_ns = axis()
    rng = np.random.default_rng(9)
    for _ in range(20):
        counts, irf = noisy(rng, edges, t_ns, 1e5 * decay(edges, 2.0, 0.08) + 1, 0.08)
        one, two = (ta.fit_decay(counts, t_ns, irf, k) for k in (1, 2))
        assert one.converged
        assert -1e-3 < one.deviance - two.deviance < 12
        known = np.all(two.photon_share > 4 * two.photon_share_stderr)
        assert not (two.converged and known)


def test_as_json_and_text():
    edges, t_ns = axis()
    irf = ta.find_irf(1e9 * response(edges, 0.08), t_ns)
    fit = ta.fit_decay(1e6 * decay(edges, 1.0, 0.08), t_ns, irf)
    values = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert values["lifetime_ns"] == pytest.approx([1.0], rel=1e-3)
    assert values["converged"] is True
    assert "τ = 1 ± 0.001 ns, 100.0% ± 0.0% of the photons" in str(fit)


COUNTS = 1e4 * np.exp(-np.arange(1000) / 100)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        (COUNTS, {"exponentials": 4}, "exponentials is 1, 2 or 3; not 4"),
        (COUNTS, {"period_ns": 10.0}, "25 ns is longer than the period"),
        (COUNTS, {"period_ns": math.nan}, "longer than the period"),
        (np.zeros(1000), {}, "0 counts in 1000 bins are too few"),
        (COUNTS[::-1], {}, "in 1 bins are too few"),
        (COUNTS[:-1], {}, "two lists of the same length"),
    ],
)
def test_refused(counts, options, message):
    with pytest.raises(ValueError) as error:
        ta.fit_decay(counts, axis()[1], **options)
    assert message in str(error.value)


def test_response_of_other_bins():
    edges, t_ns = axis()
    irf = ta.find_irf(1e6 * response(edges, 0.08), t_ns)
    for other in (t_ns + 0.01, 2 * t_ns):
        with pytest.raises(ValueError, match="time bins of the instrument response"):
            ta.fit_decay(COUNTS, other, irf)
