"""The relaxation curve: true values back, honest errors, and a refusal where nothing is known."""

import numpy as np
import pytest

from tplm_analysis import fit_relaxation

INTERVAL_US = np.array([2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 25.0, 50.0])
SLOW, AMPLITUDE, TAU_US = 0.01, 0.14, 6.0


def curve(interval_us=INTERVAL_US):
    return SLOW + AMPLITUDE * np.exp(-interval_us / TAU_US)


def test_without_noise_the_curve_comes_back() -> None:
    fit = fit_relaxation(INTERVAL_US, curve(), np.full(8, 1e-4))
    assert fit.tau_us == pytest.approx(TAU_US, rel=1e-6)
    assert fit.d_slow_cm2_per_s == pytest.approx(SLOW, rel=1e-5)
    assert fit.amplitude_cm2_per_s == pytest.approx(AMPLITUDE, rel=1e-6)
    assert fit.chi2 < 1e-6
    assert fit.degrees == 5
    assert np.allclose(fit.at(INTERVAL_US), curve())


def test_no_bias_and_true_coverage() -> None:
    """500 noisy series: means within 3 errors of the mean, 68 % and 95 % of pulls inside."""
    rng = np.random.default_rng(5)
    error = 0.02 * curve() + 5e-4
    pulls = []
    chi2 = []
    for _ in range(500):
        fit = fit_relaxation(INTERVAL_US, rng.normal(curve(), error), error)
        chi2.append(fit.chi2)
        pulls.append(
            [
                (fit.d_slow_cm2_per_s - SLOW) / fit.d_slow_stderr_cm2_per_s,
                (fit.amplitude_cm2_per_s - AMPLITUDE) / fit.amplitude_stderr_cm2_per_s,
                (fit.tau_us - TAU_US) / fit.tau_stderr_us,
            ]
        )
    found = np.array(pulls)
    # the curve bends, so pulls are not quite centred; a tenth of an error bar is allowed
    assert np.all(np.abs(found.mean(axis=0)) < 0.1 + 3 / np.sqrt(500))
    assert np.all(np.abs((np.abs(found) < 1).mean(axis=0) - 0.683) < 0.05)
    assert np.all(np.abs((np.abs(found) < 1.96).mean(axis=0) - 0.95) < 0.025)
    assert np.mean(chi2) == pytest.approx(5, abs=3 * np.sqrt(10 / 500))


REFUSED = [
    ([1, 2, 3], [1, 1, 1], [1, 1, 1], "at least four"),
    ([5, 5, 5, 5, 5], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], "at least four"),
    ([1, 2, 3, 4], [1, 1, 1], [1, 1, 1], "equally long"),
    ([1, 2, 3, 4], [1, 1, 1, 1], [1, 0, 1, 1], "positive"),
    ([1, 2, 3, 4], [1, 1, np.nan, 1], [1, 1, 1, 1], "finite"),
    ([1, 2, 3, 4], [1, 1, 1, 1], [1, 1, 1, 1], "do not determine"),
]


@pytest.mark.parametrize(("interval", "d", "error", "words"), REFUSED)
def test_what_cannot_be_fitted(interval, d, error, words) -> None:
    with pytest.raises(ValueError, match=words):
        fit_relaxation(interval, d, error)
