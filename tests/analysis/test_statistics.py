"""The numbers of benchmarks/estimators.py, in small and with wide limits."""

import numpy as np

import tplm_analysis as ta


def test_global_estimator_is_unbiased_and_efficient():
    truth = ta.expected_map()
    bound = ta.cramer_rao(truth)
    rng = np.random.default_rng(2024)
    fits = []
    for _ in range(80):
        film = truth.sample(rng)
        fits.append(ta.fit_map(film.counts, film.x_um, film.t_ns))
    d = np.array([fit.d_cm2_per_s for fit in fits])
    z = (d - 0.01) / np.array([fit.d_stderr_cm2_per_s for fit in fits])
    assert abs(z.mean()) < 0.45
    assert 0.6 < bound**2 / d.var(ddof=1) < 1.6
    assert 0.5 < np.mean(np.abs(z) < 1) < 0.85
