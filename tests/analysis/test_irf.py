"""The instrument response: found exactly, with honest error bars, or refused in a sentence."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.special import ndtr

import tplm_analysis as ta
from tplm_simulators.response import Response

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def curve(bin_ns, fwhm_ns, delay_ns=2.003, *, tail_share=0.0, tail_ns=0.2, bins=1000):
    """Bin centres and the share of the light in each bin."""
    edges = np.arange(bins + 1) * bin_ns
    response = Response(1e3 * fwhm_ns, tail_share, 1e3 * tail_ns, 1e3 * delay_ns)
    return 0.5 * (edges[1:] + edges[:-1]), np.maximum(np.diff(response.cumulative(1e3 * edges)), 0)


@pytest.mark.parametrize("bin_ns", [0.004, 0.0125, 0.025])
@pytest.mark.parametrize("fwhm_ns", [0.08, 0.2])
@pytest.mark.parametrize("delay_ns", [1.0, 1.507, 2.0133])
def test_gaussian(bin_ns, fwhm_ns, delay_ns):
    t_ns, share = curve(bin_ns, fwhm_ns, delay_ns)
    irf = ta.find_irf(1e8 * share + 7, t_ns)
    assert irf.centroid_ns == pytest.approx(delay_ns, abs=1e-6)
    assert irf.half_maximum_ns == pytest.approx(delay_ns - fwhm_ns / 2, abs=5e-4)
    assert irf.fwhm_ns == pytest.approx(fwhm_ns, abs=1e-3)
    # 99 % of a Gaussian have arrived 2.326 σ after its centre; the bin adds a little
    late = fwhm_ns * (0.5 + 2.3263 / FWHM_PER_SIGMA)
    assert late - 1e-3 < irf.tail_ns < late + 0.3 * bin_ns
    assert irf.background_per_bin == pytest.approx(7, rel=1e-9)
    assert irf.photons == pytest.approx(1e8, rel=1e-6)
    assert irf.share.sum() == pytest.approx(1)
    assert irf.time_zero_ns("half-maximum") == irf.half_maximum_ns
    assert irf.time_zero_ns("centroid") == irf.centroid_ns


@pytest.mark.parametrize("tail_share", [0.1, 0.3])
@pytest.mark.parametrize("tail_ns", [0.2, 0.5])
def test_exponential_tail(tail_share, tail_ns):
    t_ns, share = curve(0.025, 0.08, tail_share=tail_share, tail_ns=tail_ns)
    irf = ta.find_irf(1e8 * share + 7, t_ns)
    # the tail moves the mean by its share, and far less the rising edge
    assert irf.centroid_ns == pytest.approx(2.003 + tail_share * tail_ns, abs=1e-5)
    assert irf.half_maximum_ns == pytest.approx(1.963, abs=2e-3)
    assert irf.tail_ns == pytest.approx(0.04 + tail_ns * math.log(100 * tail_share), abs=0.02)
    assert irf.share == pytest.approx(share, abs=1e-7)


def test_a_response_within_a_bin_is_known_to_the_bin():
    counts = np.where(np.arange(100) == 30, 1e6, 0.0)
    irf = ta.find_irf(counts, 0.5 * np.arange(100))
    for error in (irf.half_maximum_stderr_ns, irf.centroid_stderr_ns, irf.fwhm_stderr_ns):
        assert error == pytest.approx(0.5 / math.sqrt(12), rel=0.01)


@pytest.mark.parametrize(
    ("background", "photons", "tail_share"),
    [
        (1.0, 3000, 0.3),
        (1.0, 1e5, 0.0),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in [
                (1.0, 3000, 0.0), (1.0, 1e5, 0.3), *product([0.0], [3000, 1e5], [0.0, 0.3])
            ]
        ),
    ],
)  # fmt: skip
def test_error_bars_cover(tail_share, photons, background):
    t_ns, share = curve(0.025, 0.08, tail_share=tail_share)
    truth = ta.find_irf(1e9 * share, t_ns)
    rng = np.random.default_rng(5)
    z = []
    for _ in range(60):
        irf = ta.find_irf(rng.poisson(photons * share + background), t_ns)
        z.append(
            [
                (irf.half_maximum_ns - truth.half_maximum_ns) / irf.half_maximum_stderr_ns,
                (irf.centroid_ns - truth.centroid_ns) / irf.centroid_stderr_ns,
                (irf.fwhm_ns - truth.fwhm_ns) / irf.fwhm_stderr_ns,
            ]
        )
        assert irf.background_per_bin == pytest.approx(background, abs=0.2)
    assert np.all(np.abs(np.mean(z, axis=0)) < 0.5)
    assert np.all((np.std(z, axis=0) > 0.75) & (np.std(z, axis=0) < 1.35))
    covered = np.mean(np.abs(z) < 1, axis=0)
    assert np.all((covered > 0.5) & (covered < 0.86))


def test_reflection_is_no_background():
    """A second pulse 5 ns later spoils neither the background nor the first one."""
    t_ns, share = curve(0.025, 0.08)
    echo = curve(0.025, 0.08, 7.0)[1]
    irf = ta.find_irf(1e6 * (share + 0.001 * echo) + 20, t_ns)
    assert irf.half_maximum_ns == pytest.approx(1.963, abs=1e-3)
    # the mean of the bins away from the peak; the echo adds its counts over all of them
    assert irf.background_per_bin == pytest.approx(21, abs=0.3)


def test_convolve():
    t_ns, share = curve(0.025, 0.08)
    irf = ta.find_irf(1e8 * share, t_ns)
    np.testing.assert_allclose(irf.convolve([1.0]), irf.share)
    model = np.exp(-np.arange(1000) * 0.0125)
    expected = np.convolve(share, model)[:1000]
    np.testing.assert_allclose(irf.convolve(model), expected, atol=1e-6)


def noise(level):
    return np.random.default_rng(3).poisson(level, 1000)


def peak(center_bin, width_bins, counts=1e5):
    return counts * np.diff(ndtr((np.arange(1001) - center_bin) / width_bins))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros(1000), "No peak stands out"),
        (noise(100), "No peak stands out"),
        (noise(0.01), "No peak stands out"),
        (peak(100, 3, 300), "300 photons in the peak are too few"),
        (peak(0, 3), "cut off at the end of the range"),
        (peak(3, 3), "cut off at the end of the range"),
        (peak(999, 3), "cut off at the end of the range"),
        (peak(500, 300), "No peak stands out"),
        (1e4 * np.exp(-np.arange(1000) / 300), "cut off at the end of the range"),
        (-peak(100, 3), "counts not negative"),
        (np.full(1000, np.nan), "must be finite"),
        (np.ones(10), "two lists of the same length"),
        (np.ones((2, 500)), "two lists of the same length"),
    ],
)
def test_no_response(counts, message):
    with pytest.raises(ValueError) as error:
        ta.find_irf(counts, np.arange(1000) * 0.025)
    assert message in str(error.value)


def test_uneven_bins():
    with pytest.raises(ValueError, match="even steps"):
        ta.find_irf(peak(100, 3), np.arange(1000) ** 1.1)


# What fit_map makes of it.

FILM = {"time_zero_ns": 2.003, "response_fwhm_ns": 0.08, "amplitude": 8e5}


@pytest.fixture(scope="module")
def irf():
    t_ns, share = curve(0.025, 0.08)
    return ta.find_irf(np.random.default_rng(1).poisson(1e6 * share + 3), t_ns)


@pytest.mark.parametrize(
    ("options", "expected", "source"),
    [
        ({}, 1.963, "irf half-maximum"),
        ({"time_zero": "half-maximum"}, 1.963, "irf half-maximum"),
        ({"time_zero": "centroid"}, 2.003, "irf centroid"),
        ({"time_zero": "decay"}, 2.003, "decay half-maximum"),
        ({"time_zero_ns": 1.99}, 1.99, "given"),
        ({"time_zero_ns": 1.99, "time_zero": "centroid"}, 1.99, "given"),
    ],
)
def test_time_zero_by_name(irf, options, expected, source):
    film = ta.synthetic_map(4, **FILM)
    fit = ta.fit_map(film.counts, film.x_um, film.t_ns, irf=irf, **options)
    assert fit.time_zero_ns == pytest.approx(expected, abs=0.012)
    assert fit.time_zero_from == source
    assert fit.to_dict()["time_zero_from"] == source
    assert source in str(fit)
    assert abs(fit.d_cm2_per_s - 0.01) < 3 * fit.d_stderr_cm2_per_s
    assert {w.code for w in fit.warnings} == {"t-max"}


def test_first_bin_follows_the_tail():
    t_ns, share = curve(0.025, 0.08, tail_share=0.3, tail_ns=0.5)
    irf = ta.find_irf(1e6 * share, t_ns)
    film = ta.synthetic_map(4, **FILM)
    fit = ta.fit_map(film.counts, film.x_um, film.t_ns, irf=irf)
    without = ta.fit_map(film.counts, film.x_um, film.t_ns)
    used = film.t_ns >= irf.half_maximum_ns + irf.tail_ns
    assert fit.observed.sum() == film.counts[:, used].sum()
    assert without.observed.sum() == film.counts[:, film.t_ns >= without.time_zero_ns + 0.1].sum()
    given = ta.fit_map(film.counts, film.x_um, film.t_ns, irf=irf, t_range_ns=(2.5, 9.0))
    kept = (film.t_ns >= 2.5) & (film.t_ns <= 9.0)
    assert given.observed.sum() == film.counts[:, kept].sum()


@pytest.mark.parametrize(("delay_ns", "word"), [(0.9, "before"), (3.5, "after")])
def test_response_of_another_delay_is_not_used(delay_ns, word):
    t_ns, share = curve(0.025, 0.08, delay_ns)
    film = ta.synthetic_map(4, **FILM)
    fit = ta.fit_map(film.counts, film.x_um, film.t_ns, irf=ta.find_irf(1e6 * share, t_ns))
    assert fit.time_zero_from == "decay half-maximum"
    (message,) = [w.message for w in fit.warnings if w.code == "irf"]
    assert f"ns {word} the decay" in message


def test_no_edge_no_response():
    film = ta.synthetic_map(4)
    fit = ta.fit_map(film.counts, film.x_um, film.t_ns)
    assert (fit.time_zero_ns, fit.time_zero_from) == (film.t_ns[0], "decay first bin")
    with pytest.raises(ValueError, match="there is none"):
        ta.fit_map(film.counts, film.x_um, film.t_ns, time_zero="centroid")
    with pytest.raises(ValueError, match="one of decay, half-maximum, centroid"):
        ta.fit_map(film.counts, film.x_um, film.t_ns, time_zero="middle")
