"""Time zero and lifetime."""

import numpy as np
import pytest

import tplm_analysis as ta
from tplm_analysis.decay import blurred_ns

T = (np.arange(1000) + 0.5) * 0.025


@pytest.mark.parametrize("lifetime", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("background", [0.0, 50.0])
def test_exponential(lifetime, background):
    decay = 1e5 * np.exp(-T / lifetime) + background
    assert ta.lifetime_1e(T, decay, background) == pytest.approx(lifetime, rel=1e-6)


@pytest.mark.parametrize("fwhm_ns", [0.0, 0.08, 0.3, 0.6])
@pytest.mark.parametrize("bin_ns", [0.025, 0.1])
def test_light_of_a_broad_edge_is_of_mixed_ages(fwhm_ns, bin_ns):
    film = ta.synthetic_map(
        1, bins=int(20 / bin_ns), bin_ns=bin_ns, time_zero_ns=2.0, response_fwhm_ns=fwhm_ns
    )
    found = blurred_ns(film.t_ns, film.counts.sum(axis=0).astype(float))
    assert found == pytest.approx(max(1.02 * fwhm_ns, 0.1) if fwhm_ns > 0.1 else 0.1, rel=0.2)


@pytest.mark.parametrize("empty", [False, True])
def test_lifetime_in_uneven_bins(empty):
    """Bins that widen, or that were dead for a while, do not stretch the time axis."""
    film = ta.synthetic_map(1, amplitude=2e6, time_zero_ns=1.0)
    even = ta.fit_map(film.counts, film.x_um, film.t_ns)
    counts, t_ns = film.counts.copy(), film.t_ns
    if empty:
        counts[:, 60:70] = 0
    else:
        edges = np.concatenate([np.arange(100), 100 + np.arange(35) ** 2 // 2, [800]])
        edges = np.unique(edges)
        counts = np.add.reduceat(counts, edges[:-1], axis=1)
        t_ns = 0.0125 * (edges[1:] + edges[:-1])
    fit = ta.fit_map(counts, film.x_um, t_ns)
    assert fit.lifetime_1e_ns == pytest.approx(even.lifetime_1e_ns, rel=0.03)
    assert fit.time_zero_ns == pytest.approx(even.time_zero_ns, abs=0.003)


def test_dim_decay_is_summed_first():
    rng = np.random.default_rng(0)
    found = [ta.lifetime_1e(T, rng.poisson(40 * np.exp(-T / 2))) for _ in range(50)]
    assert np.mean(found) == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize("decay", [np.full(1000, 7.0), np.zeros(1000)])
def test_no_decay_no_lifetime(decay):
    assert ta.lifetime_1e(T, decay) is None


@pytest.mark.parametrize(("peak", "tolerance"), [(1e6, 0.02), (1000, 0.03), (60, 0.2)])
def test_rising_edge(peak, tolerance):
    rng = np.random.default_rng(1)
    decay = rng.poisson(peak * np.where(T > 3, np.exp(-(T - 3) / 2), 0) + 0.02 * peak)
    zero, edge = ta.find_time_zero(T, decay.astype(float))
    assert edge
    assert zero == pytest.approx(3, abs=tolerance)


@pytest.mark.parametrize("peak", [0, 1, 5, 30, 200, 1e5])
@pytest.mark.parametrize("flat", [False, True])
def test_no_edge_in_noise(peak, flat):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        decay = rng.poisson(peak * (np.ones(1000) if flat else np.exp(-T / 2)))
        assert ta.find_time_zero(T, decay.astype(float)) == (T[0], False)
