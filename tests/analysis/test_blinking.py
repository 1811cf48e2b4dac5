"""Intermittency: counting by hand, exact sums, and statistics of the estimators."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import zeta
from scipy.stats import binom

import tplm_analysis as ta
from tplm_analysis.blinking import Share, log_tail, synthetic_blinking


def test_photons_in_frames():
    found = ta.bin_photons([0.0, 0.019, 0.02, 0.0599, 0.06, 0.07], 0.02, 0.065)
    assert found.tolist() == [2, 1, 1]
    assert ta.bin_photons([0.01, 0.041], 0.02).tolist() == [1, 0]
    assert ta.bin_photons([], 0.02, 0.1).tolist() == [0] * 5


@given(st.lists(st.floats(0, 10), max_size=50), st.integers(1, 40))
def test_no_photon_counts_twice(arrival, frames):
    found = ta.bin_photons(arrival, 0.25, 0.25 * frames)
    assert found.size == frames
    assert found.sum() == sum(t < 0.25 * frames for t in arrival)


@pytest.mark.parametrize(
    ("trace", "on", "off", "on_censored", "off_censored"),
    [
        ("0110001011", [2, 1], [3, 1], [2], []),
        ("1101", [], [1], [1], []),
        ("1100", [], [], [], [2]),
        ("1111", [], [], [], []),
        ("0", [], [], [], []),
    ],
)
def test_durations(trace, on, off, on_censored, off_censored):
    found = ta.durations([digit == "1" for digit in trace])
    assert found.on.tolist() == on
    assert found.off.tolist() == off
    assert found.on_censored.tolist() == on_censored
    assert found.off_censored.tolist() == off_censored


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_durations_fill_the_trace(trace):
    found = ta.durations(trace)
    both = [found.on, found.off, found.on_censored, found.off_censored]
    changes = sum(a != b for a, b in zip(trace[1:], trace[:-1], strict=True))
    assert sum(part.size for part in both) == changes
    first = trace.index(not trace[0]) if changes else len(trace)
    assert sum(int(part.sum()) for part in both) + first == len(trace)


def test_classes_of_s4():
    # on in 9 % and 11 % of the frames: dark, and not
    counts = np.full((2, 100), 100)
    counts[0, :9] = counts[1, :11] = 101
    found = ta.intermittency(counts, 0.02)
    assert found.on_fraction == pytest.approx([0.09, 0.11])
    assert found.dark.tolist() == [True, False]
    assert ta.intermittency(counts, 0.04).on_fraction.tolist() == [0, 0]
    assert "1 of 2" in str(found)
    assert set(found.to_dict()) & {"on", "dark", "on_fraction"} == set()


@pytest.mark.parametrize(
    ("particles", "dark_first", "dark_then", "printed"),
    # S4: of 314 particles 34 became bright and 75 dark at 70 °C; of 389, 70 and 75 at 100 °C; of
    # 341, 33 and 226 at 120 °C
    [(314, 34, 75, (11, 24)), (389, 70, 75, (18, 19)), (341, 33, 226, (10, 66))],
)
def test_shares_of_s4(particles, dark_first, dark_then, printed):
    before, after = np.full((2, particles, 20), 300)
    before[:dark_first] = 0
    after[dark_first : dark_first + dark_then] = 0
    found = ta.compare_movies(ta.intermittency(before), ta.intermittency(after))
    shares = [found.became_bright, found.became_dark]
    assert [round(100 * one.share) for one in shares] == list(printed)
    assert found.stayed_dark.number == 0
    assert found.stayed_bright.number == particles - dark_first - dark_then
    assert found.mean_change == pytest.approx((dark_first - dark_then) / particles)
    assert found.histogram.sum() == particles
    assert found.histogram[0] == dark_then
    assert found.histogram[-1] == dark_first
    assert found.became_dark.stderr == pytest.approx(
        math.sqrt(dark_then * (particles - dark_then) / particles) / particles, rel=0.01
    )


def test_errors_of_shares_cover():
    n = 40
    for p in (0.05, 0.2, 0.5, 0.9):
        inside = 0.0
        for k in range(n + 1):
            found = Share.among(np.arange(n) < k)
            # the interval that the error is half of
            center = (k + 0.5) / (n + 1)
            if abs(center - p) <= found.stderr:
                inside += binom.pmf(k, n, p)
        assert 0.55 < inside < 0.85
    assert Share.among(np.zeros(n, np.bool_)).stderr > 0


@pytest.mark.parametrize(
    ("alpha", "rate", "start"),
    [(1.5, 0.1, 1), (0.5, 1e-3, 3), (1.5, 1e-4, 1), (-0.9, 0.02, 10), (2, 1, 1), (3, 4.5, 2)],
)
def test_sums_without_end(alpha, rate, start):
    k = np.arange(start, start + 60 / rate + 100)
    exact = math.log(np.sum(k**-alpha * np.exp(-rate * k)))
    assert log_tail(alpha, rate, np.array([float(start)]))[0] == pytest.approx(exact, abs=1e-10)


def test_sums_tend_to_zeta():
    start = np.array([1.0, 7.0, 2000.0])
    assert log_tail(1.5, 0.0, start) == pytest.approx(np.log(zeta(1.5, start)), abs=1e-12)
    assert log_tail(1.5, 1e-13, start) == pytest.approx(np.log(zeta(1.5, start)), abs=1e-4)


def test_maximum_of_the_likelihood():
    """Without censoring, mean ln k is what the law says; ζ'/ζ by differences."""
    whole = np.repeat([1, 2, 3, 5, 9, 40], [60, 20, 9, 5, 3, 1])
    alpha = ta.fit_durations(whole).power_law.alpha
    step = 1e-5
    expected = -(math.log(zeta(alpha + step)) - math.log(zeta(alpha - step))) / (2 * step)
    assert np.log(whole).mean() == pytest.approx(expected, rel=1e-4)


def test_a_geometric_law_is_a_truncated_one():
    rng = np.random.default_rng(5)
    whole = rng.geometric(1 - math.exp(-1 / 12), 4000)
    found = ta.fit_durations(whole, frame_s=0.02)
    assert found.model == "truncated-power-law"
    assert abs(found.best.alpha) < 3 * found.best.alpha_stderr < 0.2
    assert abs(found.best.truncation_s - 0.24) < 3 * found.best.truncation_stderr_s
    assert "t_c" in str(found)


def pooled(rng, cut, particles=20):
    counts = synthetic_blinking(
        rng, particles=particles, frames=2000, alpha_on=1.2 if cut < 1e9 else 1.5,
        truncation_on_frames=cut,
    )  # fmt: skip
    found = ta.durations(ta.intermittency(counts).on)
    return ta.fit_durations(found.on, found.on_censored)


def test_laws_are_told_apart_and_covered():
    rng = np.random.default_rng(11)
    plain = [pooled(rng, math.inf) for _ in range(24)]
    cut = [pooled(rng, 11.0) for _ in range(10)]
    z = [(fit.power_law.alpha - 1.5) / fit.power_law.alpha_stderr for fit in plain]
    assert abs(np.mean(z)) < 0.5
    assert 0.7 < np.std(z) < 1.4
    assert np.mean([fit.model == "power-law" for fit in plain]) > 0.8
    assert all(fit.model == "truncated-power-law" for fit in cut)
    log = [
        (math.log(fit.truncated.truncation_s / 0.22))
        / (fit.truncated.truncation_stderr_s / fit.truncated.truncation_s)
        for fit in cut
    ]
    assert abs(np.mean(log)) < 0.8
    assert 0.5 < np.std(log) < 1.6


@pytest.mark.full
def test_coverage_of_alpha():
    rng = np.random.default_rng(12)
    fits = [pooled(rng, math.inf) for _ in range(400)]
    z = np.array([(fit.power_law.alpha - 1.5) / fit.power_law.alpha_stderr for fit in fits])
    assert abs(z.mean()) < 0.2
    assert abs(np.mean(np.abs(z) < 1) - 0.683) < 0.08
    false = np.mean([fit.model == "truncated-power-law" for fit in fits])
    assert 0.02 < false < 0.09


def test_censored_durations_must_count():
    """Cut-off durations are the long ones; left out they make α too large."""
    rng = np.random.default_rng(3)
    counts = synthetic_blinking(rng, particles=300, frames=100, alpha_on=1.3)
    found = ta.durations(ta.intermittency(counts).on)
    kept = ta.fit_durations(found.on, found.on_censored).power_law
    dropped = ta.fit_durations(found.on).power_law
    assert abs(kept.alpha - 1.3) < 3 * kept.alpha_stderr
    assert dropped.alpha - 1.3 > 5 * dropped.alpha_stderr


def test_error_of_an_on_fraction():
    counts = synthetic_blinking(
        8, particles=300, frames=1000, alpha_on=0.0, alpha_off=0.0,
        truncation_on_frames=10.0, truncation_off_frames=20.0,
    )  # fmt: skip
    found = ta.intermittency(counts)
    on, off = (1 / -math.expm1(-1 / mean) for mean in (10, 20))
    z = (found.on_fraction - on / (on + off)) / found.on_fraction_stderr
    assert abs(z.mean()) < 0.25
    assert 0.85 < z.std() < 1.25
    assert math.isnan(ta.intermittency(np.zeros(100)).on_fraction_stderr[0])


def test_threshold_between_two_levels():
    counts = synthetic_blinking(4, particles=1, on_counts=60.0, off_counts=20.0)[0]
    found = ta.find_threshold(counts)
    assert found.two_levels
    assert found.dark_level == pytest.approx(20, abs=0.5)
    assert found.bright_level == pytest.approx(60, abs=1.5)
    assert 30 < found.threshold < 45
    assert found.misassigned_share < 5e-3
    flat = ta.find_threshold(np.random.default_rng(4).poisson(20, 5000))
    assert not flat.two_levels
    assert math.isnan(flat.threshold)


def test_one_level_is_rarely_taken_for_two():
    rng = np.random.default_rng(9)
    found = [ta.find_threshold(rng.poisson(20, 500)).two_levels for _ in range(100)]
    assert sum(found) <= 2


@pytest.mark.parametrize("values", [[], [3] * 9, [4] * 50])
def test_too_little_for_a_law(values):
    found = ta.fit_durations(values)
    assert found.model is None
    assert math.isnan(found.best.alpha)
    assert "too few" in str(found)


def test_particles_that_are_all_alike_tell_no_error():
    always = ta.intermittency(np.full((5, 50), 200))
    assert always.mean_on_fraction == 1
    assert math.isnan(always.mean_on_fraction_stderr)
    assert math.isnan(ta.compare_movies(always, always).mean_change_stderr)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ta.bin_photons([-1.0], 0.02), "negative"),
        (lambda: ta.bin_photons([0.001], 0.02), "no complete frame"),
        (lambda: ta.bin_photons([1.0], 0.0), "frame_s"),
        (lambda: ta.intermittency([[math.nan]]), "numbers"),
        (lambda: ta.intermittency([]), "empty"),
        (lambda: ta.intermittency([1.0], 0.02, threshold=math.inf), "threshold"),
        (lambda: ta.find_threshold([1, 2, 3]), "too few"),
        (lambda: ta.fit_durations([0.5]), "whole numbers"),
        (lambda: ta.fit_durations([1], shortest_frames=0), "shortest_frames"),
        (lambda: synthetic_blinking(0, alpha_on=1.0), "exponent"),
        (
            lambda: ta.compare_movies(
                ta.intermittency(np.zeros((2, 9))), ta.intermittency(np.zeros((3, 9)))
            ),
            "2 and 3",
        ),
    ],
)
def test_malformed(make, message):
    with pytest.raises(ValueError, match=message):
        make()
