"""Poisson fits of single slices."""

import numpy as np
import pytest
from scipy.optimize import minimize

import tplm_analysis as ta


@pytest.fixture(scope="module")
def film():
    return ta.synthetic_map(21, amplitude=2e6)


@pytest.fixture(scope="module")
def slices(film):
    return ta.fit_slices(film.counts, film.x_um, film.t_ns)


def test_agrees_with_a_general_minimiser(film, slices):
    for k in (0, 10, 200):
        n = film.counts[:, k]

        def minus_ln_l(p, n=n):
            u2 = (film.x_um - slices.center_um) ** 2
            shape = np.exp(-0.5 * u2 / p[1]) / np.sqrt(2 * np.pi * p[1])
            rate = p[0] * shape + slices.background_per_bin
            return float(np.sum(rate - n * np.log(rate)))

        start = [n.sum() * 0.09, 0.07]
        best = minimize(minus_ln_l, start, method="Nelder-Mead", options={"xatol": 1e-9})
        assert slices.amplitude[k] == pytest.approx(best.x[0], rel=1e-3)
        assert slices.sigma2_um2[k] == pytest.approx(best.x[1], rel=1e-3)


def test_errors_describe_the_scatter(film, slices):
    truth = (film.truth.sigma0_nm / 1e3) ** 2 + 2e-3 * film.t_ns
    early = slices.converged & (film.t_ns < 4)
    z = (slices.sigma2_um2 - truth)[early] / slices.sigma2_stderr_um2[early]
    assert z.std() == pytest.approx(1, abs=0.25)
    light = 2e3 * ta.two_part_decay(film.t_ns)
    z = (slices.amplitude - light)[early] / slices.amplitude_stderr[early]
    assert z.std() == pytest.approx(1, abs=0.25)


def test_msd_counts_from_sigma0(slices):
    shift = slices.sigma2_um2 - slices.msd_um2
    assert shift[slices.converged] == pytest.approx((slices.sigma0_nm / 1e3) ** 2)


def test_pooling_keeps_counts(film):
    pooled = ta.fit_slices(film.counts, film.x_um, film.t_ns, pool_counts=5000)
    assert pooled.counts.sum() == film.counts.sum()
    assert pooled.counts.min() >= 5000
    assert pooled.converged.all()


def test_empty_slices_are_masked():
    film = ta.synthetic_map(3, time_zero_ns=2.0, background_fraction=0.0)
    counts = film.counts.copy()
    counts[:, 300:310] = 0
    slices = ta.fit_slices(counts, film.x_um, film.t_ns)
    dead = np.r_[0:79, 300:310]
    assert not slices.converged[dead].any()
    assert np.isnan(slices.sigma2_um2[dead]).all()
    assert slices.converged[85:150].all()


def test_nothing_to_fit():
    slices = ta.fit_slices(np.zeros((5, 7), int), np.arange(5), np.arange(7))
    assert not slices.converged.any()
    assert slices.center_um is None
    assert slices.t_ns.shape == slices.amplitude.shape == (7,)


def test_malformed():
    with pytest.raises(ValueError, match="negative"):
        ta.fit_slices(-np.ones((3, 4), int), np.arange(3), np.arange(4))
