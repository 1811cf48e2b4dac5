"""Heat flow against exact limits, and what S1 says about its own sample."""

import math

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import erfcx

import tplm_analysis as ta
from tplm_analysis.heat import CSPBBR3, QUARTZ_CRYSTAL, QUARTZ_GLASS, HeatFlow, Layer, Material

FWHM_NM = 500.0
W2 = FWHM_NM**2 / (4 * math.log(2))
D = CSPBBR3.diffusivity_cm2_per_s * 1e5
STACK = [Layer(CSPBBR3, 35.0), Layer(QUARTZ_GLASS, 2e4)]


def film(cells, radius_nm=2e5):
    return HeatFlow([Layer(CSPBBR3, 35.0)], radius_nm, spot_nm=FWHM_NM, cells=cells)


def block(cells):
    layers = [Layer(CSPBBR3, 35.0), Layer(CSPBBR3, 1e5)]
    return HeatFlow(layers, 1e5, spot_nm=FWHM_NM, cells=cells)


@pytest.mark.parametrize("t_ns", [0.0, 1.0, 30.0, 400.0, 1e5])
def test_nothing_is_lost_between_insulated_edges(t_ns):
    flow = HeatFlow(STACK, 5e3, spot_nm=FWHM_NM, cells=48)
    start = np.outer(flow.absorption(108.0, 35.0), flow.beam(FWHM_NM))
    assert flow.energy_j(flow.after(start, t_ns)) == pytest.approx(flow.energy_j(start), rel=1e-10)


def test_an_insulated_stack_ends_at_one_temperature():
    flow = HeatFlow(STACK, 5e3, spot_nm=FWHM_NM, cells=32)
    start = np.outer(flow.absorption(108.0, 35.0), flow.beam(FWHM_NM))
    end = flow.after(start, 1e7)
    assert end == pytest.approx(np.full_like(end, end.mean()), rel=1e-6)


def test_the_energy_is_that_of_the_pulse():
    found = ta.excitation(1, 2.5e6, convention="gaussian-peak")
    length_nm = found.edge_nm**3 / (found.cross_section_cm2 * 1e14)
    flow = HeatFlow(STACK, 2e4, spot_nm=FWHM_NM)
    start = np.outer(flow.absorption(length_nm, 35.0), flow.beam(FWHM_NM))
    absorbed_j = flow.energy_j(ta.max_rise_k(found) * start)
    pulse_j = found.power_at_sample_nw * 1e-9 / 2.5e6
    assert absorbed_j == pytest.approx(pulse_j * -math.expm1(-35.0 / length_nm), rel=1e-9)


def exact_film(r_nm, t_ns):
    spread = W2 + 4 * D * t_ns
    return W2 / spread * np.exp(-(r_nm**2) / spread)


def exact_block(t_ns, length_nm):
    return exact_film(0.0, t_ns) * erfcx(np.sqrt(D * t_ns) / length_nm)


@pytest.mark.parametrize("t_ns", [10.0, 100.0, 1000.0])
def test_a_gaussian_spreads_in_a_film(t_ns):
    flow = film(192)
    start = np.outer(np.ones(flow.depth_nm.size), flow.beam(FWHM_NM))
    found = flow.after(start, t_ns)
    assert np.ptp(found, axis=0).max() < 1e-9
    assert found[0] == pytest.approx(exact_film(flow.radius_nm, t_ns), abs=2e-3)


def error_of(flow, start, exact, t_ns):
    return float(np.abs(flow.at_centre(start, t_ns) - exact).max())


def test_second_order_in_radius():
    t_ns = np.array([20.0, 100.0, 500.0])
    errors = []
    for cells in (48, 96, 192):
        flow = film(cells)
        start = np.outer(np.ones(flow.depth_nm.size), flow.beam(FWHM_NM))
        exact = exact_film(flow.radius_nm[0], t_ns)
        errors.append(error_of(flow, start, exact, t_ns))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders == pytest.approx([2, 2], abs=0.2)


def test_second_order_in_three_dimensions():
    t_ns = np.array([3.0, 30.0, 300.0])
    errors = []
    for cells in (48, 96):
        flow = block(cells)
        start = np.outer(flow.absorption(108.0), flow.beam(FWHM_NM))
        errors.append(error_of(flow, start, exact_block(t_ns, 108.0), t_ns))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.3)
    assert errors[1] < 5e-3


def test_steady_state_of_a_gaussian_on_a_half_space():
    """P / (2 √π κ w), M. Lax, J. Appl. Phys. 48, 3919 (1977)."""
    glass = QUARTZ_GLASS
    flow = HeatFlow(
        [Layer(glass, 2.0), Layer(glass, 5e5)], 5e5,
        spot_nm=FWHM_NM, cells=128, cold_rim=True, cold_bottom=True,
    )  # fmt: skip
    start = np.outer(flow.absorption(1e9, 2.0), flow.beam(FWHM_NM))
    power = flow.energy_j(start) / 400.0
    exact = power / (2 * math.sqrt(math.pi * W2) * glass.conductivity_j_per_ns_nm_k)
    assert flow.steady(start, 400.0)[0, 0] == pytest.approx(exact, rel=0.01)


def small(cold):
    flow = HeatFlow(
        [Layer(CSPBBR3, 50.0), Layer(QUARTZ_CRYSTAL, 500.0)], 2e3,
        spot_nm=FWHM_NM, cells=16, cold_rim=cold, cold_bottom=cold,
    )  # fmt: skip
    start = np.outer(flow.absorption(108.0, 50.0), flow.beam(FWHM_NM))
    return flow, start


def exchange(flow, cold):
    """The same stack as one matrix of neighbours, put together cell by cell."""
    r, z = flow.radius_edges_nm, flow.depth_edges_nm
    rows, columns = z.size - 1, r.size - 1
    material = [CSPBBR3 if middle < 50 else QUARTZ_CRYSTAL for middle in flow.depth_nm]
    matrix = np.zeros((rows * columns, rows * columns))
    for j in range(rows):
        for i in range(columns):
            here = j * columns + i
            area = math.pi * (r[i + 1] ** 2 - r[i] ** 2)
            heat = area * (z[j + 1] - z[j]) * material[j].heat_j_per_nm3_k
            kappa = material[j].conductivity_j_per_ns_nm_k
            wall = 2 * math.pi * kappa * (z[j + 1] - z[j])
            pairs = []
            if i:
                pairs.append((here - 1, wall * r[i] / (flow.radius_nm[i] - flow.radius_nm[i - 1])))
            if i + 1 < columns:
                gap = flow.radius_nm[i + 1] - flow.radius_nm[i]
                pairs.append((here + 1, wall * r[i + 1] / gap))
            elif cold:
                pairs.append((None, wall * r[-1] / (r[-1] - flow.radius_nm[-1])))
            for k in (j - 1, j + 1):
                if 0 <= k < rows:
                    other = material[k].conductivity_j_per_ns_nm_k
                    halves = (z[j + 1] - z[j]) / 2 / kappa + (z[k + 1] - z[k]) / 2 / other
                    pairs.append((k * columns + i, area / halves))
                elif k == rows and cold:
                    pairs.append((None, area * kappa * 2 / (z[j + 1] - z[j])))
            for neighbour, conductance in pairs:
                matrix[here, here] -= conductance / heat
                if neighbour is not None:
                    matrix[here, neighbour] += conductance / heat
    return matrix


@pytest.mark.parametrize("cold", [False, True])
def test_modes_agree_with_the_whole_matrix(cold):
    flow, start = small(cold)
    step = expm(exchange(flow, cold) * 5.0)
    once = (step @ start.ravel()).reshape(start.shape)
    assert flow.after(start, 5.0) == pytest.approx(once, abs=1e-10)
    assert flow.at_centre(start, [0.0, 5.0]) == pytest.approx([start[0, 0], once[0, 0]], abs=1e-10)


def test_endless_pulses_are_the_sum_of_all():
    flow, start = small(cold=True)
    rest, period_ns = np.zeros_like(start), 5.0
    for _ in range(3000):
        rest = flow.after(rest + start, period_ns) if rest.any() else flow.after(start, period_ns)
    assert flow.before_next_pulse(start, period_ns) == pytest.approx(rest, rel=1e-6, abs=1e-9)


def test_pulses_that_come_quickly_are_a_steady_lamp():
    flow, start = small(cold=True)
    mean, before = flow.steady(start, 1e-3), flow.before_next_pulse(start, 1e-3)
    assert before + start / 2 == pytest.approx(mean, rel=1e-3)


def test_insulated_stacks_have_no_steady_state():
    flow, start = small(cold=False)
    for method in (flow.steady, flow.before_next_pulse):
        with pytest.raises(ValueError, match="cold edge"):
            method(start, 400.0)


def test_what_s1_says():
    # "∼0.1 µJ/cm² ... less than 0.01 K"; "on the order of 0.01 K"
    found = ta.excitation_for(2.5e6, fluence_uj_per_cm2=0.1)
    hot = ta.laser_heating(found, cells=64)
    assert 0.005 < hot.pulse_rise_k < hot.delta_t_max_k < 0.01
    # "the majority dissipating within the first few nanoseconds": needs the substrate
    assert 1 < hot.half_ns < 3
    # "less than 5 % ... the same order of magnitude as the inverse of the repetition rate": without
    alone = ta.laser_heating(found, substrate=None, cells=64)
    assert 200 < alone.cold_ns < 2000
    assert hot.steady_rise_k < 1e-3


def test_heating_is_proportional_and_consistent():
    one, ten = (ta.laser_heating(ta.excitation(p, 5e6), cells=32) for p in (1, 10))
    assert ten.highest_rise_k == pytest.approx(10 * one.highest_rise_k)
    assert one.before_pulse_k < one.steady_rise_k < one.highest_rise_k
    peak = ta.laser_heating(ta.excitation(1, 5e6, convention="gaussian-peak"), cells=32)
    assert peak.pulse_rise_k == pytest.approx(one.pulse_rise_k)
    assert peak.delta_t_max_k == pytest.approx(math.log(2) * one.delta_t_max_k)
    assert set(one.to_dict()) & {"t_ns", "rise_k"} == set()
    assert (np.diff(one.rise_k) < 0).all()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Material(4.8, 0, 1), "heat_j_per_g_k"),
        (lambda: Layer(CSPBBR3, math.nan), "thickness_nm"),
        (lambda: HeatFlow([], 1e4, spot_nm=1), "layer"),
        (lambda: HeatFlow(STACK, 100, spot_nm=500), "radius_nm"),
        (lambda: HeatFlow(STACK, 1e4, spot_nm=500, cells=4), "cells"),
    ],
)
def test_malformed(make, name):
    with pytest.raises(ValueError, match=name):
        make()
