"""Fits of a map while it grows."""

import numpy as np
import pytest

import tplm_analysis as ta


def growing(seed, passes=2, **options):
    """Yield counts, exposure and axes after every visit of a scan in passes."""
    truth = ta.expected_map(amplitude=4e5, bins=1024, bin_ns=0.02, **options)
    rng = np.random.default_rng(seed)
    counts = np.zeros(truth.expected.shape, dtype=np.int64)
    exposure = np.zeros(truth.x_um.size)
    for _ in range(passes):
        for i in range(truth.x_um.size):
            counts[i] += rng.poisson(truth.expected[i] / passes)
            exposure[i] += 1 / passes
            yield counts, exposure, truth


@pytest.mark.parametrize(
    "options", [{}, {"time_zero_ns": 2.0}, {"wing_fraction": 0.3, "d_cm2_per_s": 0.05}]
)
def test_every_update_is_the_fit_of_the_map_so_far(options):
    live = None
    given = 0
    for visit, (counts, exposure, truth) in enumerate(growing(2, **options), 1):
        live = live or ta.LiveMap(truth.x_um, truth.t_ns)
        found = live.update(counts, exposure)
        given += found.d_cm2_per_s is not None
        if visit in (30, 60, 82):
            alone = ta.fit_map(counts, truth.x_um, truth.t_ns, exposure)
            error = alone.d_stderr_cm2_per_s
            # Time zero and range may be those of a few visits before.
            assert found.d_cm2_per_s == pytest.approx(alone.d_cm2_per_s, abs=0.3 * error)
            assert found.d_stderr_cm2_per_s == pytest.approx(error, rel=0.1)
    assert given >= 55
    slices = ta.fit_slices(counts, truth.x_um, truth.t_ns, exposure)
    both = found.slices.converged & slices.converged
    bright = slices.counts > 100
    assert both[bright].mean() > 0.98
    off = np.abs(found.slices.sigma2_um2 - slices.sigma2_um2)[both & bright]
    # Centre and background differ by a hundredth of their errors at most; the maxima are the same.
    assert np.quantile(off / slices.sigma2_stderr_um2[both & bright], 0.99) < 0.02
    assert found.slices.msd_um2.shape == truth.t_ns.shape


def test_the_kind_of_profile_is_decided_again_as_counts_come_in():
    """Early on nothing tells one Gaussian from two; in the end wings of 30 % must be seen."""
    live = None
    for counts, exposure, truth in growing(5, wing_fraction=0.3, wing_fwhm0_nm=1500):
        live = live or ta.LiveMap(truth.x_um, truth.t_ns)
        found = live.update(counts, exposure)
    assert found.slices.sigma0_nm == pytest.approx(truth.sigma0_nm, rel=0.02)
    pull = (found.d_cm2_per_s - truth.d_cm2_per_s) / found.d_stderr_cm2_per_s
    assert abs(pull) < 3


def test_nothing_yet_is_told_and_forgotten():
    truth = ta.expected_map(amplitude=2e6, bins=200, bin_ns=0.1)
    live = ta.LiveMap(truth.x_um, truth.t_ns)
    full = truth.sample(1).counts
    none = live.update(np.zeros_like(full), np.zeros(41))
    assert none.d_cm2_per_s is None
    assert none.reason is not None
    assert none.reason.code == "few-positions"
    assert not none.slices.converged.any()
    # Another map may follow: counts that shrink or vanish lead back to the beginning.
    assert live.update(full).d_cm2_per_s == pytest.approx(0.01, abs=0.002)
    assert live.update(np.zeros_like(full)).reason.code == "no-signal"
    assert live.update(full).reason is None


def test_malformed():
    live = ta.LiveMap(np.arange(5), np.arange(10) * 0.1)
    with pytest.raises(ValueError, match="negative"):
        live.update(-np.ones((5, 10)))
    with pytest.raises(ValueError, match="exposure_s"):
        live.update(np.ones((5, 10)), np.ones(4))
