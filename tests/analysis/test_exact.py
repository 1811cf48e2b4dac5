"""Limits and symmetries that hold exactly, whatever the noise."""

import numpy as np
import pytest

import tplm_analysis as ta


def noise_free(**options):
    """A map so bright that rounding to whole counts is its only error."""
    truth = ta.expected_map(amplitude=2e11, **options)
    return np.rint(truth.expected).astype(np.int64), truth


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"d_cm2_per_s": 0.1},
        {"d_cm2_per_s": 0.001},
        {"d_cm2_per_s": -0.005},
        {"background_fraction": 0.0},
        {"background_fraction": 3.0},
        {"center_um": 0.13},
        {"positions": 15},
        {"half_range_um": 1.2, "d_cm2_per_s": 0.02},
        {"bins": 4000, "bin_ns": 0.005, "background_fraction": 0.02},
        {"wing_fraction": 0.3},
        {"x_um": np.linspace(-1, 1, 21) ** 3 * 2.0},
    ],
    ids=str,
)
def test_noise_free_map_gives_its_own_parameters(options):
    counts, truth = noise_free(**options)
    fit = ta.fit_map(counts, truth.x_um, truth.t_ns)
    assert fit.d_cm2_per_s == pytest.approx(truth.d_cm2_per_s, rel=1e-4)
    assert fit.center_um == pytest.approx(truth.center_um, abs=1e-4)
    assert fit.background_per_bin == pytest.approx(truth.background_per_bin, rel=1e-3, abs=1)
    first = truth.sigma0_nm**2 + 2e5 * truth.d_cm2_per_s * truth.t_ns[0]
    assert fit.sigma0_nm == pytest.approx(np.sqrt(first), rel=1e-4)
    if options.get("wing_fraction"):
        assert fit.model == "two-gaussian"
        assert fit.wing_fraction == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize("method", ["slices", "gaussian-msd", "moment", "voigt-davg"])
def test_every_method_finds_d_without_noise(method):
    counts, truth = noise_free(half_range_um=2.5)
    fit = ta.fit_map(counts, truth.x_um, truth.t_ns, method=method)
    # The Lorentzian share of a Gaussian sits at its limit, where D_avg is least exact.
    assert fit.d_cm2_per_s == pytest.approx(0.01, rel=1e-2 if method == "voigt-davg" else 1e-3)


def test_exposure_is_divided_out():
    exposure = np.linspace(0.2, 3, 41)
    counts, truth = noise_free(exposure_s=exposure)
    fit = ta.fit_map(counts, truth.x_um, truth.t_ns, exposure)
    assert fit.d_cm2_per_s == pytest.approx(0.01, rel=1e-4)
    assert fit.background_per_bin == pytest.approx(truth.background_per_bin, rel=1e-3)


@pytest.fixture(scope="module")
def film():
    return ta.synthetic_map(11)


@pytest.fixture(scope="module")
def fit(film):
    return ta.fit_map(film.counts, film.x_um, film.t_ns)


def same(a, b, rel=1e-9):
    """Both fits give the same numbers."""
    left, right = a.to_dict(), b.to_dict()
    for key in ("d_cm2_per_s", "d_stderr_cm2_per_s", "sigma0_nm", "background_per_bin", "alpha"):
        assert left[key] == pytest.approx(right[key], rel=rel, abs=1e-12), key


def test_order_of_positions_does_not_matter(film, fit):
    order = np.random.default_rng(0).permutation(41)
    shuffled = ta.fit_map(film.counts[order], film.x_um[order], film.t_ns)
    assert shuffled.to_dict() == fit.to_dict()


def test_time_axis_may_start_anywhere(film, fit):
    same(ta.fit_map(film.counts, film.x_um, film.t_ns + 12.5), fit, rel=1e-6)


def test_space_axis_may_start_anywhere(film, fit):
    moved = ta.fit_map(film.counts, film.x_um + 100.0, film.t_ns)
    same(moved, fit, rel=1e-6)
    assert moved.center_um == pytest.approx(fit.center_um + 100, abs=1e-6)


@pytest.mark.parametrize("factor", [0.5, 4.0, 1e-3])
def test_unit_of_exposure_does_not_matter(film, fit, factor):
    same(ta.fit_map(film.counts, film.x_um, film.t_ns, np.full(41, factor)), fit)


def test_mirror_image(film, fit):
    mirrored = ta.fit_map(film.counts, -film.x_um, film.t_ns)
    same(mirrored, fit, rel=1e-6)
    assert mirrored.center_um == pytest.approx(-fit.center_um, abs=1e-6)


def test_doubled_lengths_quadruple_d(film, fit):
    doubled = ta.fit_map(film.counts, 2 * film.x_um, film.t_ns)
    assert doubled.d_cm2_per_s == pytest.approx(4 * fit.d_cm2_per_s, rel=1e-6)


def test_stretched_time_divides_d(film, fit):
    slow = ta.fit_map(film.counts, film.x_um, 10 * film.t_ns)
    assert slow.d_cm2_per_s == pytest.approx(fit.d_cm2_per_s / 10, rel=1e-6)


@pytest.mark.parametrize("method", ["global", "slices", "gaussian-msd", "voigt-davg", "moment"])
def test_unmeasured_rows_equal_dropped_rows(film, method):
    exposure = np.ones(41)
    gone = [3, 17, 18, 40]
    exposure[gone] = 0
    counts = film.counts.copy()
    counts[gone] = 999
    blank = ta.fit_map(counts, film.x_um, film.t_ns, exposure, method)
    keep = exposure > 0
    dropped = ta.fit_map(counts[keep], film.x_um[keep], film.t_ns, None, method)
    left, right = blank.to_dict(), dropped.to_dict()
    assert left.pop("warnings")[0]["code"] == "missing-positions"
    right.pop("warnings")
    assert left == right


def test_repeated_positions_equal_their_sum(film, fit):
    first = film.counts // 2
    counts = np.vstack((first, film.counts - first))
    twice = ta.fit_map(counts, np.tile(film.x_um, 2), film.t_ns)
    assert twice.d_cm2_per_s == pytest.approx(fit.d_cm2_per_s, rel=1e-9)
    assert twice.background_per_bin == pytest.approx(fit.background_per_bin / 2, rel=1e-9)


def test_pre_pulse_bins_and_response_do_not_change_d():
    counts, truth = noise_free(time_zero_ns=1.5, response_fwhm_ns=0.08, bins=860)
    fit = ta.fit_map(counts, truth.x_um, truth.t_ns)
    assert fit.time_zero_ns == pytest.approx(1.5, abs=0.03)
    assert fit.d_cm2_per_s == pytest.approx(0.01, rel=2e-3)
    again = ta.fit_map(counts, truth.x_um, truth.t_ns, time_zero_ns=1.5, t_range_ns=(1.8, 15.0))
    assert again.d_cm2_per_s == pytest.approx(0.01, rel=1e-3)
    assert again.slice_t_ns.min() >= 1.8
    assert again.slice_t_ns.max() <= 15.0
