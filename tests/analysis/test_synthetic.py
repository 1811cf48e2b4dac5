"""Synthetic maps and the bound they set."""

import numpy as np
import pytest

import tplm_analysis as ta


def test_map_follows_the_paper():
    truth = ta.expected_map(background_fraction=0)
    sigma = 600 / (2 * np.sqrt(2 * np.log(2)))
    peak = 2e5 / (np.sqrt(2 * np.pi) * sigma)
    # One-axis: 2 · 0.01 cm²/s · 12.5 ps = 25 nm²
    first = peak * ta.two_part_decay(truth.t_ns)[0] * sigma / np.sqrt(sigma**2 + 25)
    assert truth.expected[20, 0] == pytest.approx(first, rel=1e-9)
    assert truth.expected.shape == (41, 800)


def test_background_is_a_share_of_the_signal():
    dark = ta.expected_map(background_fraction=0)
    truth = ta.expected_map(background_fraction=0.1)
    assert truth.expected.sum() == pytest.approx(1.1 * dark.expected.sum())
    assert (truth.expected - dark.expected) == pytest.approx(truth.background_per_bin)


def test_same_seed_same_map():
    first, second = ta.synthetic_map(5), ta.synthetic_map(np.random.default_rng(5))
    assert np.array_equal(first.counts, second.counts)
    assert not np.array_equal(first.counts, ta.synthetic_map(6).counts)
    assert first.counts.dtype == np.int64


def test_response_keeps_the_light():
    sharp = ta.expected_map(time_zero_ns=2, background_fraction=0)
    blurred = ta.expected_map(time_zero_ns=2, background_fraction=0, response_fwhm_ns=0.1)
    assert blurred.expected.sum() == pytest.approx(sharp.expected.sum(), rel=1e-3)
    assert sharp.expected[:, t_before(sharp, 2)].sum() == 0


def t_before(truth, time):
    return truth.t_ns < time


@pytest.mark.parametrize(
    "change",
    [
        {"amplitude": -1},
        {"fwhm0_nm": 0},
        {"positions": 0},
        {"d_cm2_per_s": -1},
        {"background_fraction": -0.1},
    ],
)
def test_malformed(change):
    with pytest.raises(ValueError, match=r"\."):
        ta.expected_map(**change)


@pytest.mark.parametrize(
    "options",
    [{}, {"d_cm2_per_s": 0.1, "center_um": 0.2}, {"exposure_s": np.linspace(0.1, 3, 11)}],
    ids=str,
)
def test_bound_agrees_with_the_full_information_matrix(options):
    """x0, σ0², D, b and every amplitude free, by numerical derivatives and plain inversion."""
    truth = ta.expected_map(positions=11, bins=30, bin_ns=0.3, **options)
    exposure = truth.exposure_s / truth.exposure_s.mean()
    light = 200 * ta.two_part_decay(truth.t_ns)
    scale = truth.exposure_s.mean()
    theta = np.concatenate(
        (
            [
                truth.center_um,
                truth.sigma0_nm**2 * 1e-6,
                truth.d_cm2_per_s,
                truth.background_per_bin,
            ],
            light * scale,
        )
    )

    def expected(p):
        variance = p[1] + 0.2 * p[2] * truth.t_ns
        u2 = (truth.x_um[:, None] - p[0]) ** 2
        shape = np.exp(-0.5 * u2 / variance) / np.sqrt(2 * np.pi * variance)
        return exposure[:, None] * (p[4:] * shape + p[3])

    assert expected(theta) == pytest.approx(truth.expected, rel=1e-9)
    columns = []
    for i, value in enumerate(theta):
        step = np.zeros(theta.size)
        step[i] = 1e-5 * max(abs(value), 1e-2)
        columns.append((expected(theta + step) - expected(theta - step)).ravel() / (2 * step[i]))
    jacobian = np.array(columns)
    information = (jacobian / expected(theta).ravel()) @ jacobian.T
    bound = np.sqrt(np.linalg.inv(information)[2, 2])
    assert ta.cramer_rao(truth) == pytest.approx(bound, rel=1e-5)


def test_bound_of_the_reference_conditions():
    """numerics.md measured 0.067 and 0.0043 with its own normalisation of the background."""
    assert ta.cramer_rao(ta.expected_map()) == pytest.approx(0.067e-2, rel=0.1)
    bright = ta.expected_map(amplitude=2e6, d_cm2_per_s=0.1)
    assert ta.cramer_rao(bright) == pytest.approx(0.0043e-1, rel=0.1)


def test_bound_scales_with_counts():
    one = ta.cramer_rao(ta.expected_map(amplitude=1e4))
    assert ta.cramer_rao(ta.expected_map(amplitude=4e4)) == pytest.approx(one / 2, rel=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amplitude": np.nan},
        {"d_cm2_per_s": np.inf},
        {"x_um": [0.0, np.nan]},
        {"exposure_s": np.zeros(41)},
        {"exposure_s": np.ones(3)},
    ],
)
def test_no_map_of_impossible_things(wrong):
    with pytest.raises(ValueError, match="finite|zero"):
        ta.expected_map(**wrong)


def test_no_information_no_bound():
    with pytest.raises(ValueError, match="no information"):
        ta.cramer_rao(ta.expected_map(positions=2))
