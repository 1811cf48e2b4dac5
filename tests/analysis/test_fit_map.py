"""What fit_map finds in noisy maps, and what it says about them."""

import json

import numpy as np
import pytest
from scipy.special import voigt_profile

import tplm_analysis as ta

JSON_KEYS = [
    "method",
    "model",
    "d_cm2_per_s",
    "d_stderr_cm2_per_s",
    "sigma0_nm",
    "center_um",
    "background_per_bin",
    "alpha",
    "alpha_stderr",
    "lifetime_1e_ns",
    "diffusion_length_nm",
    "t_max_ns",
    "time_zero_ns",
    "time_zero_from",
    "warnings",
]
FADING = ta.Revisits(np.arange(5.0), np.array([9e4, 8e4, 7e4, 6e4, 5e4]))
MOVING = ta.Revisits(np.arange(3.0), x_um=np.array([0, 0.04, 0.08]))
METHODS = ["global", "slices", "gaussian-msd", "voigt-davg", "moment"]


def codes(fit):
    return {w.code for w in fit.warnings}


def run(seed=1, options=None, **arguments):
    film = ta.synthetic_map(seed, **(options or {}))
    return ta.fit_map(film.counts, film.x_um, film.t_ns, **arguments)


def test_published_validation():
    """S1, note 7: FWHM 600 nm, D = 0.01 cm²/s, A = 2e5 comes back."""
    fit = run(7)
    assert abs(fit.d_cm2_per_s - 0.01) < 3 * fit.d_stderr_cm2_per_s
    assert fit.d_stderr_cm2_per_s < 0.001
    assert fit.sigma0_nm == pytest.approx(255, abs=5)
    assert fit.model == "gaussian"
    assert codes(fit) == {"t-max"}
    assert fit.lifetime_1e_ns == pytest.approx(2.1, abs=0.2)
    expected = 1e3 * np.sqrt(0.1 * fit.d_cm2_per_s * fit.lifetime_1e_ns)
    assert fit.diffusion_length_nm == pytest.approx(expected)


def test_error_is_the_bound():
    truth = ta.expected_map()
    fit = run(7)
    assert fit.d_stderr_cm2_per_s == pytest.approx(ta.cramer_rao(truth), rel=0.1)


def test_truncated_range_is_flagged():
    assert "truncated-range" in codes(run(2, {"half_range_um": 0.4, "positions": 17}))


def test_ignored_background_is_wrong_and_flagged():
    film = ta.synthetic_map(2)
    fit = ta.fit_map(film.counts, film.x_um, film.t_ns, background_per_bin=0)
    assert fit.d_cm2_per_s > 0.02
    assert "background" in codes(fit)


def test_right_background_is_not_flagged():
    film = ta.synthetic_map(2)
    given = film.truth.background_per_bin
    fit = ta.fit_map(film.counts, film.x_um, film.t_ns, background_per_bin=given)
    assert fit.background_per_bin == pytest.approx(given)
    assert abs(fit.d_cm2_per_s - 0.01) < 3 * fit.d_stderr_cm2_per_s
    assert "background" not in codes(fit)


def test_wings_are_seen_and_do_not_bias_d():
    fit = run(3, {"amplitude": 2e6, "wing_fraction": 0.2})
    assert fit.model == "two-gaussian"
    assert "not-gaussian" in codes(fit)
    assert abs(fit.d_cm2_per_s - 0.01) < 4 * fit.d_stderr_cm2_per_s
    assert fit.wing_fraction == pytest.approx(0.2, abs=0.03)
    assert fit.wing_sigma0_nm == pytest.approx(637, rel=0.1)


@pytest.mark.parametrize("alpha", [0.5, 1.6])
def test_anomalous_diffusion_gives_alpha(alpha):
    fit = run(4, {"amplitude": 2e6, "d_cm2_per_s": 0.05, "alpha": alpha})
    assert fit.alpha == pytest.approx(alpha, abs=max(4 * fit.alpha_stderr, 0.01))
    assert "anomalous" in codes(fit)


def test_normal_diffusion_has_alpha_one():
    fit = run(4, {"amplitude": 2e6, "d_cm2_per_s": 0.05})
    assert fit.alpha == pytest.approx(1, abs=4 * fit.alpha_stderr)
    assert "anomalous" not in codes(fit)


def test_no_growth_no_alpha():
    fit = run(4, {"d_cm2_per_s": 0.0})
    assert abs(fit.d_cm2_per_s) < 4 * fit.d_stderr_cm2_per_s
    assert fit.alpha is None
    assert {"alpha", "too-few-counts"} <= codes(fit)


def test_narrowing_profile_gives_negative_d():
    fit = run(5, {"d_cm2_per_s": -0.005, "amplitude": 1e6})
    assert fit.d_cm2_per_s == pytest.approx(-0.005, abs=4 * fit.d_stderr_cm2_per_s)
    assert fit.diffusion_length_nm is None
    assert {"negative-d", "diffusion-length"} <= codes(fit)


def test_msd_that_falls_again_has_t_max():
    """S2: dark states make the light contract again."""
    truth = ta.expected_map(amplitude=2e6)
    t = truth.t_ns
    sigma2 = 0.065 + 0.03 * np.exp(-(((t - 3) / 2) ** 2))
    profile = np.exp(-0.5 * truth.x_um[:, None] ** 2 / sigma2) / np.sqrt(sigma2)
    rate = 800 * ta.two_part_decay(t) * profile + 5
    counts = np.random.default_rng(0).poisson(rate)
    fit = ta.fit_map(counts, truth.x_um, t)
    assert fit.t_max_ns == pytest.approx(3, abs=0.7)
    assert "msd-maximum" in codes(fit)


@pytest.mark.parametrize(
    ("options", "arguments", "code"),
    [
        ({"center_um": 0.6}, {}, "off-centre"),
        ({"positions": 6, "half_range_um": 1}, {}, "few-positions"),
        ({"background_fraction": 4.0}, {}, "background"),
        ({"amplitude": 2e3}, {}, "too-few-counts"),
        ({"positions": 7}, {}, "undersampled"),
        ({}, {"excitation_pulses": np.full(41, 1e6)}, "pile-up"),
        ({}, {"exposure_s": np.full(41, 1.0), "sync_rate_hz": 1e6}, "pile-up"),
        ({}, {"sync_rate_hz": 1e6}, "pile-up"),
        ({}, {"revisits": FADING}, "drift"),
        ({}, {"revisits": MOVING}, "drift"),
    ],
)
def test_warning(options, arguments, code):
    fit = run(6, options, **arguments)
    assert code in codes(fit)
    for warning in fit.warnings:
        assert warning.message.endswith(".")


@pytest.mark.parametrize(
    "arguments",
    [
        {"excitation_pulses": np.full(41, 1e9)},
        {"exposure_s": np.full(41, 1.0), "sync_rate_hz": 1e9},
        {"revisits": ta.Revisits(np.arange(4.0), np.array([9010.0, 9050, 8950, 9000]))},
    ],
)
def test_no_warning_without_reason(arguments):
    assert codes(run(6, **arguments)) <= {"t-max"}


@pytest.mark.parametrize("method", METHODS)
def test_json(method):
    fit = run(8, method=method)
    values = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    own = ["d_max_cm2_per_s", "d_max_stderr_cm2_per_s"] if method == "moment" else []
    assert list(values) == [*JSON_KEYS, *own]
    assert values["method"] == method
    assert f"({method}, {fit.model})" in str(fit)
    assert fit.msd.msd_um2.shape == fit.msd.t_ns.shape == fit.msd.line_um2.shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("counts", "x", "t"),
    [
        (np.zeros((5, 40)), np.arange(5.0), np.arange(40.0)),
        (np.full((9, 40), 50), np.arange(9.0), np.arange(40.0)),
        (np.full((1, 40), 50), np.arange(1.0), np.arange(40.0)),
        (np.full((2, 40), 50), np.arange(2.0), np.arange(40.0)),
        (np.full((9, 1), 50), np.arange(9.0), np.arange(1.0)),
        (np.eye(9, 40), np.arange(9.0), np.arange(40.0)),
        (np.outer(np.arange(9) == 4, np.full(40, 1000)), np.arange(9.0), np.arange(40.0)),
        (np.full((4, 40), 50), np.ones(4), np.arange(40.0)),
        (
            np.outer(500 - 400 * np.exp(-((np.arange(9) - 4) ** 2)), np.ones(40)),
            np.arange(9),
            np.arange(40),
        ),
    ],
    ids=[
        "dark",
        "flat",
        "one position",
        "two",
        "one bin",
        "few",
        "one bright",
        "one place",
        "a dip",
    ],
)
def test_no_information_no_number(method, counts, x, t):
    fit = ta.fit_map(counts.astype(int), x, t, method=method)
    assert fit.d_cm2_per_s is None
    assert fit.d_stderr_cm2_per_s is None
    assert fit.warnings
    assert "cannot be given" in fit.warnings[0].message
    assert json.dumps(fit.to_dict(), allow_nan=False)


def test_nothing_measured():
    fit = ta.fit_map(np.ones((4, 9), int), np.arange(4), np.arange(9), np.zeros(4))
    assert fit.d_cm2_per_s is None
    assert "missing-positions" in codes(fit)


GOOD = {"counts": np.ones((3, 4), int), "x_um": np.arange(3), "t_ns": np.arange(4)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": np.ones((4, 3), int)}, "one row per position"),
        ({"counts": np.ones(12, int)}, "table"),
        ({"counts": np.full((3, 4), -1)}, "negative"),
        ({"counts": np.full((3, 4), 0.5)}, "whole numbers"),
        ({"counts": np.full((3, 4), np.nan)}, "whole numbers"),
        ({"counts": np.full((3, 4), 1e300)}, "detector"),
        ({"counts": np.full((3, 4), "a")}, "must hold numbers"),
        ({"counts": [[1, 2], [3]]}, "equal rows"),
        ({"x_um": [0, np.nan, 1]}, "finite"),
        ({"x_um": [0, np.inf, 1]}, "finite"),
        ({"x_um": [0, 1, 1e9]}, "unit"),
        ({"x_um": []}, "list"),
        ({"t_ns": [0, 1, 1, 2]}, "increase"),
        ({"t_ns": [3, 2, 1, 0]}, "increase"),
        ({"t_ns": [[0, 1, 2, 3]]}, "list"),
        ({"exposure_s": [1, 1]}, "one value per position"),
        ({"exposure_s": [1, -1, 1]}, "negative"),
        ({"exposure_s": [1, np.nan, 1]}, "finite"),
        ({"method": "magic"}, "gaussian-msd"),
        ({"background_per_bin": -1}, "background_per_bin"),
        ({"background_per_bin": np.nan}, "background_per_bin"),
        ({"time_zero_ns": np.nan}, "time_zero_ns"),
        ({"t_range_ns": (3, 1)}, "start < stop"),
        ({"sync_rate_hz": 0}, "sync_rate_hz"),
        ({"excitation_pulses": [1, 2]}, "excitation_pulses"),
        ({"revisits": ta.Revisits(np.arange(3.0), np.arange(2.0))}, "revisits"),
    ],
)
def test_malformed_input(change, words):
    with pytest.raises(ValueError, match=words) as caught:
        ta.fit_map(**{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_whole_floats_are_counts():
    film = ta.synthetic_map(9, bins=200)
    as_float = ta.fit_map(film.counts.astype(float), film.x_um, film.t_ns)
    as_small = ta.fit_map(film.counts.astype(np.uint16), film.x_um, film.t_ns)
    assert as_float.to_dict() == as_small.to_dict()


def test_residuals_are_noise():
    fit = run(10)
    assert fit.observed.shape == fit.predicted.shape == (41, fit.slice_t_ns.size)
    pull = (fit.observed - fit.predicted) / np.sqrt(fit.predicted)
    assert abs(pull.mean()) < 0.05
    assert pull.std() == pytest.approx(1, abs=0.05)
    assert fit.sigma2_um2[0] == pytest.approx((fit.sigma0_nm / 1e3) ** 2, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_half_measured_map(seed):
    """A live scan with 20 of 41 positions still missing."""
    film = ta.synthetic_map(seed)
    exposure = np.ones(41)
    exposure[np.random.default_rng(seed).permutation(41)[:20]] = 0
    counts = film.counts * (exposure > 0)[:, None]
    fit = ta.fit_map(counts, film.x_um, film.t_ns, exposure)
    assert abs(fit.d_cm2_per_s - 0.01) < 4 * fit.d_stderr_cm2_per_s
    assert "missing-positions" in codes(fit)


@pytest.mark.parametrize("gamma_um", [0.03, 0.15])
def test_voigt_profile(gamma_um):
    """numerics.md: one Gaussian on a Voigt profile is far off, two are within a few per cent."""
    x, t = np.linspace(-2, 2, 41), (np.arange(400) + 0.5) * 0.05
    profile = voigt_profile(x[:, None], np.sqrt(0.065 + 0.002 * t), gamma_um)
    rate = 4e3 * ta.two_part_decay(t) * profile
    counts = np.random.default_rng(0).poisson(rate + 0.1 * rate.mean())
    fit = ta.fit_map(counts, x, t)
    assert fit.model == "two-gaussian"
    assert abs(fit.d_cm2_per_s - 0.01) < 4 * fit.d_stderr_cm2_per_s
    assert fit.d_cm2_per_s == pytest.approx(0.01, rel=0.2)
    printed = ta.fit_map(counts, x, t, method="voigt-davg")
    assert printed.model == "voigt"
    assert abs(printed.d_cm2_per_s - 0.01) < 4 * printed.d_stderr_cm2_per_s


def test_growth_that_stops():
    """No power of time: a profile that grows at once and then stays."""
    x, t = np.linspace(-2, 2, 41), (np.arange(400) + 0.5) * 0.05
    variance = 0.065 + 0.03 * (t > 0.15)
    profile = np.exp(-0.5 * x[:, None] ** 2 / variance) / np.sqrt(variance)
    rate = 2e3 * ta.two_part_decay(t) * profile + 5
    fit = ta.fit_map(np.random.default_rng(0).poisson(rate), x, t)
    assert "anomalous" in codes(fit)


def test_no_background_at_all():
    truth = ta.expected_map(background_fraction=0)
    for seed in range(20):
        film = truth.sample(seed)
        fit = ta.fit_map(film.counts, film.x_um, film.t_ns)
        assert abs(fit.d_cm2_per_s - 0.01) < 4 * fit.d_stderr_cm2_per_s
        assert 0 <= fit.background_per_bin < 0.01


def test_strong_background_does_not_fake_precision():
    """Hundreds of slices without signal once made the error bar three times too small."""
    truth = ta.expected_map(
        amplitude=8700, d_cm2_per_s=0.038, bin_ns=0.1, background_fraction=5, center_um=0.28
    )
    z = []
    for seed in range(20):
        film = truth.sample(seed)
        fit = ta.fit_map(film.counts, film.x_um, film.t_ns)
        if fit.d_cm2_per_s is not None:
            z.append((fit.d_cm2_per_s - 0.038) / fit.d_stderr_cm2_per_s)
    assert np.std(z) < 2


@pytest.mark.parametrize(
    ("per_um", "per_ns", "warned"),
    [(1, 1, False), (1e3, 1, True), (1e-3, 1, True), (1, 1e-9, True), (1, 1e3, False)],
)
def test_units_that_no_microscope_has(per_um, per_ns, warned):
    film = ta.synthetic_map(2)
    fit = ta.fit_map(film.counts, film.x_um * per_um, film.t_ns * per_ns)
    assert ("units" in codes(fit)) == warned


@pytest.mark.parametrize("method", METHODS)
def test_a_widened_error_is_said_to_be_one(method):
    film = ta.synthetic_map(2)
    twice = ta.fit_map(4 * film.counts, film.x_um, film.t_ns, method=method)
    word = next(w.message for w in twice.warnings if w.code == "misfit")
    assert ("is widened" in word) == (method in ("global", "slices"))
    if method == "slices":
        once = ta.fit_map(film.counts, film.x_um, film.t_ns, method=method)
        assert twice.d_stderr_cm2_per_s == pytest.approx(once.d_stderr_cm2_per_s, rel=0.15)
