"""Where to count: the information of a second, and the exposures it asks for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tplm_analysis import cramer_rao, expected_map
from tplm_analysis.design import CurveInformation, Information, Light, best_exposure
from tplm_analysis.synthetic import two_part_decay

NOTHING = np.zeros(41)
EVEN = np.ones(41)


def light_of(d_cm2_per_s: float, amplitude: float = 2e5) -> tuple[Light, np.ndarray]:
    """The light that numerics.md's table is about, and its 41 places."""
    truth = expected_map(amplitude=amplitude, d_cm2_per_s=d_cm2_per_s)
    light = Light(
        since_ns=truth.t_ns,
        amplitude_hz_um=amplitude * 1e-3 * two_part_decay(truth.t_ns),
        background_hz=np.full(truth.t_ns.size, truth.background_per_bin),
        center_um=0.0,
        sigma0_um=truth.sigma0_nm / 1e3,
        d_cm2_per_s=d_cm2_per_s,
    )
    return light, truth.x_um


def gain(d_cm2_per_s: float, floor: float) -> float:
    light, x_um = light_of(d_cm2_per_s)
    known = Information(light, x_um)
    best = best_exposure(Information(light.pooled(), x_um), NOTHING, 41.0, floor)
    return (known.stderr(EVEN) / known.stderr(best)) ** 2


@pytest.mark.parametrize("d_cm2_per_s", [0.001, 0.01, 0.1])
def test_even_scans_have_the_bound_of_the_whole_map(d_cm2_per_s: float) -> None:
    light, x_um = light_of(d_cm2_per_s)
    bound = cramer_rao(expected_map(amplitude=2e5, d_cm2_per_s=d_cm2_per_s))
    assert Information(light, x_um).stderr(EVEN) == pytest.approx(bound, rel=1e-9)
    # few slices are enough to decide by
    assert Information(light.pooled(), x_um).stderr(EVEN) == pytest.approx(bound, rel=2e-3)


@pytest.mark.parametrize(
    ("d_cm2_per_s", "optimum", "with_floor"),
    [(0.001, 3.25, 2.8), (0.01, 3.27, 2.7), (0.1, 2.5, 2.1)],
)
def test_the_gain_is_the_measured_one(
    d_cm2_per_s: float, optimum: float, with_floor: float
) -> None:
    assert gain(d_cm2_per_s, 0.0) == pytest.approx(optimum, rel=0.05)
    assert gain(d_cm2_per_s, 0.3) == pytest.approx(with_floor, rel=0.08)


def test_the_time_goes_to_the_centre_and_to_two_sigma() -> None:
    light, x_um = light_of(0.01)
    best = best_exposure(Information(light, x_um), NOTHING, 1.0)
    sigma0_um = light.sigma0_um
    at_centre = best[np.abs(x_um) < 0.5 * sigma0_um].sum()
    flank = (x_um > 1.3 * sigma0_um) & (x_um < 2.9 * sigma0_um)
    assert at_centre == pytest.approx(0.24, abs=0.04)
    assert best[flank].sum() == pytest.approx(0.33, abs=0.03)
    assert x_um[flank] @ best[flank] / best[flank].sum() == pytest.approx(2.1 * sigma0_um, rel=0.05)


@pytest.mark.parametrize("robust", [False, True])
def test_wherever_time_goes_a_second_is_worth_the_same(robust: bool) -> None:
    """The equivalence theorem: no place gains more than the mean of what is shared out."""
    light, x_um = light_of(0.02)
    known = Information(light.pooled(), x_um, robust=robust)
    best = best_exposure(known, NOTHING, 10.0)
    variance, second = known.variances(best)
    assert second.max() * 10.0 == pytest.approx(variance, rel=0.01)
    assert best.sum() == pytest.approx(10.0)


def test_what_a_second_gains_is_the_derivative() -> None:
    light, x_um = light_of(0.05)
    known = Information(light.pooled(), x_um)
    exposure = np.random.default_rng(3).uniform(0.5, 2.0, 41)
    _, second = known.variances(exposure)
    for place in (0, 14, 20, 33):
        more = exposure.copy()
        more[place] += 1e-4
        found = (known.variances(exposure)[0] - known.variances(more)[0]) / 1e-4
        assert found == pytest.approx(second[place], rel=1e-3)


def test_asking_for_the_shape_too_costs_precision() -> None:
    light, x_um = light_of(0.02)
    plain, robust = (Information(light, x_um, robust=r) for r in (False, True))
    assert robust.stderr(EVEN) == pytest.approx(plain.stderr(EVEN), rel=1e-9)
    best, wary = (best_exposure(known, NOTHING, 41.0) for known in (plain, robust))
    assert 1.05 * plain.stderr(best) < plain.stderr(wary) < plain.stderr(EVEN)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.0005, 0.5),
    st.floats(-0.4, 0.4),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_never_worse_than_even(d_cm2_per_s: float, off_um: float, floor: float, seed: int) -> None:
    light, x_um = light_of(d_cm2_per_s)
    known = Information(light.pooled(24), x_um + off_um)
    counted = np.random.default_rng(seed).uniform(0, 1, 41)
    best = best_exposure(known, counted, 20.0, floor)
    assert best.sum() == pytest.approx(20.0)
    assert (best >= floor * 20.0 / 41 - 1e-9).all()
    even = known.variances(counted + 20.0 / 41)[0]
    assert known.variances(counted + best)[0] <= even * 1.001


def test_no_light_no_information() -> None:
    light = Light(np.array([1.0]), np.array([0.0]), np.array([1.0]), 0.0, 0.25, 0.01)
    known = Information(light, [0.0, 1.0])
    assert math.isinf(known.stderr([1.0, 1.0]))
    assert best_exposure(known, np.zeros(2), 4.0) == pytest.approx([2.0, 2.0])


def test_what_is_over_gets_nothing() -> None:
    z = np.linspace(0, 1, 5)
    line = CurveInformation(np.stack([np.ones(5), z], axis=1), np.ones(5), wanted=1)
    is_open = np.array([False, True, True, True, False])
    counted = np.array([5.0, 0, 0, 0, 0])
    best = best_exposure(line, counted, 10.0, 0.3, is_open)
    assert best == pytest.approx([0, 1, 1, 8, 0], abs=0.05)
    assert best_exposure(line, counted, 10.0, 0.3, np.full(5, False)).sum() == 0


def test_of_a_line_the_ends_tell_the_slope() -> None:
    z = np.linspace(0, 1, 5)
    line = CurveInformation(np.stack([np.ones(5), z], axis=1), np.ones(5), wanted=1)
    best = best_exposure(line, np.zeros(5), 10.0)
    assert best == pytest.approx([5, 0, 0, 0, 5], abs=0.05)
    assert line.variances(best)[0] == pytest.approx(0.4, rel=2e-3)


def test_a_point_that_is_hard_to_measure_gets_more_time() -> None:
    pair = CurveInformation(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 3.0]), wanted=1)
    assert best_exposure(pair, np.zeros(2), 8.0) == pytest.approx([2.0, 6.0], rel=0.01)
