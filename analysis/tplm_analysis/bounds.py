"""What any unbiased estimator can reach: the Cramér–Rao bound on D."""

import numpy as np

from ._likelihood import FIRST_VARIANCE, WING, WING_UM2, X0, B
from .global_fit import D_UNIT, information_at, invert
from .maps import MapData
from .synthetic import ExpectedMap


def cramer_rao(expected: ExpectedMap) -> float:
    """Return the smallest standard error of D that a map allows, cm²/s.

    x0, σ0², D, b and the amplitude of every single time bin are free, nothing is pooled; with
    wings, their share and width are free too.

    Parameters
    ----------
    expected
        A noise-free map of normal diffusion (α = 1), with the exposures that are planned.

    Raises
    ------
    ValueError
        When the map holds no information on D.
    """
    measured = expected.exposure_s > 0
    after = expected.t_ns >= expected.time_zero_ns - 1e-12
    exposure = expected.exposure_s[measured] / expected.exposure_s[measured].mean()
    counts = np.ascontiguousarray(expected.expected[np.ix_(measured, after)].T)
    # A slice without light would leave its amplitude, and the matrix, undefined.
    lit = counts.sum(axis=1) > 0
    if not lit.any():
        raise ValueError("a map without counts holds no information on D.")
    data = MapData(
        counts[lit],
        expected.x_um[measured],
        expected.t_ns[after][lit],
        exposure,
        np.ones(int(lit.sum())),
        int(measured.size),
        int((~measured).sum()),
    )
    free = [X0, B, FIRST_VARIANCE, FIRST_VARIANCE + 1]
    theta = np.zeros(FIRST_VARIANCE + 2)
    sigma2 = (expected.sigma0_nm / 1e3) ** 2
    # Without background its own error is not asked for: it is pinned at its limit.
    theta[B] = max(expected.background_per_bin, 1e-12 * float(counts.mean()))
    if expected.background_per_bin <= 0:
        free.remove(B)
    theta[X0], theta[FIRST_VARIANCE] = expected.center_um, sigma2
    theta[FIRST_VARIANCE + 1] = 2 * D_UNIT * expected.d_cm2_per_s
    if expected.wing_fraction > 0:
        theta[WING] = expected.wing_fraction
        theta[WING_UM2] = (expected.wing_sigma0_nm / 1e3) ** 2 - sigma2
        free += [WING, WING_UM2]
    information, _ = information_at(data, expected.time_zero_ns, theta)
    covariance = invert(information, free)
    if covariance is None:
        raise ValueError("a map like this holds no information on D.")
    variance = covariance[FIRST_VARIANCE + 1, FIRST_VARIANCE + 1]
    return float(np.sqrt(variance)) / (2 * D_UNIT)
