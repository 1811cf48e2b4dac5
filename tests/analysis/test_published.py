"""The published procedures, written a second time from the words of the papers.

Only scipy and the text of S1, S2 and S3: no part of the package but its results is used here.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.special import voigt_profile

import tplm_analysis as ta

F64 = NDArray[np.float64]
CASES = {
    "S1's own": {"d_cm2_per_s": 0.01, "amplitude": 2e5, "bins": 60, "bin_ns": 0.1},
    "bright, quick": {"d_cm2_per_s": 0.1, "amplitude": 2e6, "bins": 60, "bin_ns": 0.1},
    "fine bins": {"d_cm2_per_s": 0.05, "amplitude": 2e6, "bins": 140, "bin_ns": 0.025},
    "slow, off centre": {
        "d_cm2_per_s": 0.002, "amplitude": 1e7, "bins": 50, "bin_ns": 0.1, "center_um": 0.13,
    },
    "long": {"d_cm2_per_s": 0.03, "amplitude": 1e7, "bins": 130, "bin_ns": 0.1},
}  # fmt: skip
SEED = 20261121
EVERY_CASE = pytest.mark.parametrize("case", list(CASES))


def film(case: str) -> tuple[F64, F64, F64]:
    """A map whose first bin is time zero and which is used from there on."""
    made = ta.synthetic_map(sum(map(ord, case)), **CASES[case])
    return made.counts.astype(np.float64), made.x_um, made.t_ns


def gaussian(x: F64, area: float, center: float, sigma: float, offset: float) -> F64:
    return offset + area / sigma / math.sqrt(2 * math.pi) * np.exp(
        -((x - center) ** 2) / (2 * sigma**2)
    )


def voigt(x: F64, area: float, center: float, sigma: float, lam: float, offset: float) -> F64:
    return offset + area * voigt_profile(x - center, sigma, lam)


def fit(model, x: F64, y: F64, widths: list[float]) -> F64:  # type: ignore[no-untyped-def]
    """Least squares without weights: area, centre, widths (not negative), constant offset."""
    area = (y - y.min()).sum() * (x[1] - x[0])
    start = [area, 0.0, *widths, float(y.min())]
    lowest = [-np.inf, -np.inf, *(0.0 for _ in widths), -np.inf]
    tight = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "max_nfev": 20_000}
    return curve_fit(model, x, y, start, bounds=(lowest, np.inf), **tight)[0]


@EVERY_CASE
def test_s1_as_printed(case: str) -> None:
    """A Gaussian fitted to each time slice; MSD(t) = σ²(t) − σ²(0); error bar of a point: standard
    deviation of its 25 neighbours; straight line through (0,0) over 0–3 ns; D = slope / 2, and
    its error from that fit."""
    counts, x, t = film(case)
    found = ta.fit_map(counts, x, t, method="gaussian-msd")
    sigma2 = np.empty(t.size)
    for k in range(t.size):
        sigma2[k] = fit(gaussian, x, counts[:, k], [0.27])[2] ** 2
    msd = sigma2 - sigma2[0]
    bars = np.array([msd[max(k - 12, 0) : k + 13].std(ddof=1) for k in range(t.size)])
    since = t - t[0]
    line = (since > 0) & (since <= 3.0)
    (slope,), ((variance,),) = curve_fit(
        lambda t, slope: slope * t, since[line], msd[line], [0.0], bars[line], absolute_sigma=True
    )
    assert found.msd is not None
    assert found.d_stderr_cm2_per_s is not None
    np.testing.assert_allclose(found.msd.msd_um2, msd, rtol=2e-5, atol=1e-4 * bars.min())
    np.testing.assert_allclose(found.msd.stderr_um2, bars, rtol=1e-4)
    stderr = math.sqrt(variance) / 2 / 0.1
    assert found.d_stderr_cm2_per_s == pytest.approx(stderr, rel=1e-4)
    assert found.d_cm2_per_s == pytest.approx(slope / 2 / 0.1, abs=1e-3 * stderr)
    assert found.sigma0_nm == pytest.approx(1e3 * math.sqrt(sigma2[0]), rel=1e-5)


@EVERY_CASE
def test_s2_as_printed(case: str) -> None:
    """Voigt profiles; σ and λ free in the first slice, λ kept in all later ones; MSD of the
    Gaussian part; D_avg by equation 2 up to 5 τ_PL; L = √(τ_PL · D_avg)."""
    counts, x, t = film(case)
    found = ta.fit_map(counts, x, t, method="voigt-davg")
    _, _, sigma, lam, _ = fit(voigt, x, counts[:, 0], [0.25, 0.02])
    sigma2 = np.empty(t.size)
    sigma2[0] = sigma**2
    for k in range(1, t.size):
        kept = fit(lambda x, a, c, sigma, b: voigt(x, a, c, sigma, lam, b), x, counts[:, k], [0.27])
        sigma2[k] = kept[2] ** 2
    msd = sigma2 - sigma2[0]
    light = counts.sum(axis=0)
    tau = fallen_to_1e(t, light - light_of_background(found, x))
    assert found.lifetime_1e_ns == pytest.approx(tau, rel=0.03)
    tau = found.lifetime_1e_ns
    last = np.flatnonzero(t <= t[0] + 5 * tau)[-1]
    assert (last < t.size - 1) == (case == "long")
    i = np.arange(last)
    steps = (msd[i + 1] - msd[i]) / (2 * (t[i + 1] - t[i])) * light[i]
    d_avg = steps.sum() / light[i].sum() / 0.1
    assert found.msd is not None
    np.testing.assert_allclose(found.msd.msd_um2, msd, atol=1e-6)
    assert found.d_cm2_per_s == pytest.approx(d_avg, rel=1e-4, abs=1e-6)
    assert found.diffusion_length_nm == pytest.approx(1e3 * math.sqrt(tau * d_avg * 0.1), rel=1e-4)


def light_of_background(found: ta.MapFit, x: F64) -> float:
    assert found.background_per_bin is not None
    return found.background_per_bin * x.size


def fallen_to_1e(t: F64, light: F64) -> float:
    """When a decay has fallen to 1/e of its start."""
    below = int(np.argmax(light < light[0] / math.e))
    return float(
        np.interp(light[0] / math.e, light[[below, below - 1]], t[[below, below - 1]]) - t[0]
    )


def test_s2_finds_when_the_msd_is_largest() -> None:
    """t_max is the time of the MSD maximum, here of profiles that widen and narrow again."""
    x, t = np.linspace(-2, 2, 41), np.arange(60) * 0.1 + 0.05
    sigma2 = 0.065 + 0.03 * np.sin(np.pi * t / 4) ** 2 * (t < 4)
    profile = np.exp(-(x[:, None] ** 2) / 2 / sigma2) / np.sqrt(sigma2)
    counts = np.random.default_rng(SEED).poisson(5e4 * np.exp(-t / 3) * profile + 20)
    found = ta.fit_map(counts, x, t, method="voigt-davg")
    assert found.t_max_ns == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize("case", [name for name in CASES if name != "long"])
def test_s3_as_printed(case: str) -> None:
    """R²(t) = Σ P_n |r_n − r_0|² of the profile itself, no shape assumed; D(t) = dR²/2dt; D_max
    near its early peak at t_max, D_s at long times; L₀ ≤ √(∫ D dt up to t_max), in sites."""
    counts, x, t = film(case)
    found = ta.fit_map(counts, x, t, method="moment")
    assert found.msd is not None
    assert found.diffusivity is not None
    np.testing.assert_array_equal(found.msd.t_ns, t)  # no bins were put together
    light = counts - found.background_per_bin
    p = light / light.sum(axis=0)
    r2 = ((x - found.center_um) ** 2) @ p
    np.testing.assert_allclose(found.msd.msd_um2, r2 - r2[0], atol=1e-9)
    since, bars = t - found.time_zero_ns, found.msd.stderr_um2
    stop = min(since[-1], 5 * found.lifetime_1e_ns)

    def half_slope(rows: NDArray[np.bool_]) -> tuple[float, float]:
        (slope, _), covariance = np.polyfit(
            since[rows], r2[rows], 1, w=1 / bars[rows], cov="unscaled"
        )
        return slope / 2 / 0.1, math.sqrt(covariance[0, 0]) / 2 / 0.1

    d_s, error = half_slope((since >= 1) & (since <= stop))
    assert found.d_cm2_per_s == pytest.approx(d_s, rel=1e-6)
    assert found.d_stderr_cm2_per_s == pytest.approx(error, rel=1e-6)
    middle = found.diffusivity.since_zero_ns
    assert middle[0] == 0.25
    assert stop - 0.31 < middle[-1] <= stop - 0.25 + 1e-9
    curve = np.array([half_slope(np.abs(since - m) <= 0.25) for m in middle])
    np.testing.assert_allclose(found.diffusivity.d_cm2_per_s, curve[:, 0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.diffusivity.d_stderr_cm2_per_s, curve[:, 1], rtol=1e-5)
    early = middle < 1.001
    top = int(np.argmax(curve[early, 0]))
    assert found.d_max_cm2_per_s == pytest.approx(curve[top, 0], rel=1e-5)
    assert found.d_max_stderr_cm2_per_s == pytest.approx(curve[top, 1], rel=1e-5)
    assert found.t_max_ns == middle[top]
    area_nm2 = 1e5 * (
        curve[0, 0] * 0.25 + sum(curve[k : k + 2, 0].mean() * 0.05 for k in range(top))
    )
    bound = ta.coherence_sites(middle, found.diffusivity.d_cm2_per_s, found.t_max_ns, 9.9)
    if area_nm2 < 0:
        assert bound is None
    else:
        assert bound == pytest.approx(math.sqrt(area_nm2) / 9.9, rel=1e-4)


def test_s3_of_a_map_without_noise() -> None:
    """One diffusivity: D(t) is it at all times, and so are D_s and D_max."""
    made = ta.expected_map(
        d_cm2_per_s=0.1, amplitude=1e11, bins=80, bin_ns=0.1, half_range_um=3, positions=61
    )
    found = ta.fit_map(np.rint(made.expected), made.x_um, made.t_ns, method="moment")
    assert found.diffusivity is not None
    np.testing.assert_allclose(found.diffusivity.d_cm2_per_s, 0.1, rtol=2e-3)
    assert found.d_cm2_per_s == pytest.approx(0.1, rel=2e-3)
    assert found.d_max_cm2_per_s == pytest.approx(0.1, rel=2e-3)


@pytest.mark.parametrize(
    ("t", "d", "t_max", "sites"),
    [
        ([0.1, 0.4, 1], [0.1, 0.1, 0.1], 0.4, math.sqrt(4000) / 10),  # 0.1 cm²/s = 10⁴ nm²/ns
        ([0, 0.4], [0, 0.2], 0.4, math.sqrt(4000) / 10),  # a triangle
        ([0, 0.4], [0, 0.2], 0.2, math.sqrt(1000) / 10),
        ([0.1, 0.2, 0.4], [0.1, math.nan, 0.1], 0.4, math.sqrt(4000) / 10),
        ([0.1, 0.4], [-0.1, 0.05], 0.4, None),
        ([0.1, 0.4], [0, 0], 0.4, 0),
    ],
)
def test_coherence_sites(t: list[float], d: list[float], t_max: float, sites: float | None) -> None:
    assert ta.coherence_sites(t, d, t_max, 10) == pytest.approx(sites)


@pytest.mark.parametrize(
    ("t", "d", "t_max", "spacing", "words"),
    [
        ([0.1], [0.1], 0.4, 10, "known up to t_max_ns, 0.4"),
        ([0.1], [0.1], math.nan, 10, "known up to"),
        ([0.1], [math.nan], 0.1, 10, "known up to"),
        ([0.1, 0.4], [0.1], 0.4, 10, "equal length"),
        ([0.4, 0.1], [0.1, 0.1], 0.1, 10, "in order"),
        ([0.1], [0.1], 0.1, 0, "spacing_nm must be a positive number; it is 0"),
    ],
)
def test_coherence_sites_refuses(
    t: list[float], d: list[float], t_max: float, spacing: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ta.coherence_sites(t, d, t_max, spacing)
