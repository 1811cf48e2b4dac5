"""Time zero and lifetime."""

import numpy as np
import pytest

import tplm_analysis as ta

T = (np.arange(1000) + 0.5) * 0.025


@pytest.mark.parametrize("lifetime", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("background", [0.0, 50.0])
def test_exponential(lifetime, background):
    decay = 1e5 * np.exp(-T / lifetime) + background
    assert ta.lifetime_1e(T, decay, background) == pytest.approx(lifetime, rel=1e-6)


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
