"""Kernels against independent implementations."""

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import voigt_profile, wofz

import tplm_analysis as ta
from tplm_analysis._least_squares import faddeeva, fit_profiles


def test_faddeeva():
    rng = np.random.default_rng(0)
    for x, y in zip(rng.normal(0, 5, 300), rng.exponential(2, 300), strict=True):
        assert faddeeva(complex(x, y)) == pytest.approx(wofz(complex(x, y)), abs=1e-11)


@pytest.mark.parametrize("voigt", [False, True])
def test_least_squares_agrees_with_curve_fit(voigt):
    x = np.linspace(-2, 2, 41)
    rng = np.random.default_rng(3)

    def shape(x, area, center, sigma, offset, lorentz=0.0):
        return area * voigt_profile(x - center, sigma, lorentz) + offset

    truth = [1000.0, 0.05, 0.25, 30.0] + ([0.1] if voigt else [])
    data = np.array([rng.poisson(shape(x, *truth)) for _ in range(4)], dtype=float)
    found = np.tile([900.0, 0.0, 0.3, 20.0, 0.05 * voigt], (4, 1))
    stderr, good = np.empty(4), np.zeros(4, dtype=np.bool_)
    fit_profiles(data, x, np.array([0.005, 12.0]), voigt, voigt, found, stderr, good)
    assert good.all()
    for row, result, error in zip(data, found, stderr, strict=True):
        best, covariance = curve_fit(shape, x, row, truth)
        assert result[: len(truth)] == pytest.approx(best, rel=1e-3, abs=1e-4)
        assert error == pytest.approx(np.sqrt(covariance[2, 2]), rel=1e-2)


def test_warm_up_runs_every_kernel():
    ta.warm_up()
