import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tplm_simulators.pileup import registered


def test_first_photon_closed_form_when_dead_time_covers_the_light():
    light = np.zeros(1000)
    light[100:300] = 0.01 * np.exp(-np.arange(200) / 60)
    counts = registered(light, 400)  # covers the 200 points of light, ends before the next pulse
    before = np.concatenate([[0], np.cumsum(light)[:-1]])
    np.testing.assert_allclose(counts, -np.expm1(-light) * np.exp(-before), rtol=1e-12)


@pytest.mark.parametrize("periods", [1, 2, 7])
def test_dead_time_of_whole_periods_scales_and_keeps_the_shape(periods):
    light = 0.02 * np.exp(-np.arange(500) / 80)
    firing = -np.expm1(-light)
    counts = registered(light, 500 * periods)
    np.testing.assert_allclose(counts, firing / (1 + periods * firing.sum()), rtol=1e-10)


def test_no_dead_time_and_constant_light():
    light = np.full(100, 0.3)
    firing = 1 - np.exp(-0.3)
    np.testing.assert_allclose(registered(light, 0), firing)
    np.testing.assert_allclose(registered(light, 40), firing / (1 + 40 * firing), rtol=1e-9)
    np.testing.assert_allclose(registered(light, 240), firing / (1 + 240 * firing), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    light=st.lists(st.floats(0, 3), min_size=2, max_size=40).map(np.array),
    dead=st.integers(0, 100),
)
def test_the_recursion_holds_everywhere(light, dead):
    counts = registered(light, dead)
    before = np.array([sum(counts[(j - i) % light.size] for i in range(1, dead + 1))
                       for j in range(light.size)])  # fmt: skip
    np.testing.assert_allclose(counts, -np.expm1(-light) * (1 - before), atol=1e-8)


def test_against_photons_one_by_one():
    rng = np.random.default_rng(5)
    points, dead, periods = 50, 30, 200_000
    light = 0.08 * np.exp(-np.arange(points) / 12) + 0.005
    arrivals = np.flatnonzero(rng.random((periods, points)) < -np.expm1(-light))
    kept = []
    last = -dead - 1
    for arrival in arrivals.tolist():
        if arrival - last > dead:
            kept.append(arrival)
            last = arrival
    seen = np.bincount(np.array(kept) % points, minlength=points)
    expected = registered(light, dead) * periods
    # Counts are anticorrelated, so chi square is at most that of independent ones.
    assert np.sum((seen - expected) ** 2 / expected) < points + 4 * np.sqrt(2 * points)
