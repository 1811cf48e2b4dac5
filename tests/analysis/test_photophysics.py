"""Coupling and shares of states against S3, S2 and limits."""

import math

import pytest

import tplm_analysis as ta

# S3, methods: ε (cm⁻¹ µM⁻¹), Δν (meV), a (nm), μ (D) and |J| (meV) of OA-1, OA-2, DAB-1 to DAB-3
S3 = [
    (12.13, 87.84, 11.2, 85.2, 23),
    (16.04, 86.2, 12.0, 97.09, 24),
    (13.04, 98.38, 9.9, 93.5, 40),
    (18.27, 86.88, 10.9, 103.0, 37),
    (13.04, 85.01, 9.9, 86.94, 35),
]


@pytest.mark.parametrize(("extinction", "width", "distance", "dipole", "coupling"), S3)
def test_couplings_of_s3_follow_from_the_formula_as_printed(
    extinction, width, distance, dipole, coupling
):
    # 18.27 gives 104.0 D where S3 prints 103
    found = ta.transition_dipole_debye(extinction, width, 2526.0)
    assert found == pytest.approx(dipole, rel=0.011)
    printed = ta.dipolar_coupling_mev(dipole, distance, formula="as-printed")
    assert printed == pytest.approx(coupling, rel=0.02)
    assert 20 < printed < 41
    si = ta.dipolar_coupling_mev(dipole, distance)
    assert si == pytest.approx(printed / (4 * math.pi))
    assert 1.8 < si < 3.3


def test_coulomb_s_law():
    # two dipoles of 1 D, 1 nm apart in vacuum, side by side: 0.6242 meV, head to tail twice that
    one = ta.dipolar_coupling_mev(1, 1, refractive_index=1, orientation=1)
    assert one == pytest.approx(0.6242, rel=1e-3)
    assert ta.dipolar_coupling_mev(1, 1, refractive_index=1) == pytest.approx(2 * one)
    assert ta.dipolar_coupling_mev(1, 2, refractive_index=1) == pytest.approx(one / 4)


@pytest.mark.parametrize(
    ("temperature_k", "splitting_mev", "share"),
    [
        (9, 15, 1.2e-8),
        (9, 6, 0.00131),
        (9, 3, 0.0590),
        (30, 6, 0.228),
        (300, 15, 0.627),
        (300, 0, 0.75),
        (1e9, 15, 0.75),
        (0.01, 3, 0.0),
        (0.01, -3, 1.0),
    ],
)
def test_bright_share(temperature_k, splitting_mev, share):
    assert ta.bright_share(temperature_k, splitting_mev) == pytest.approx(
        share, rel=5e-3, abs=1e-10
    )


def test_detailed_balance_keeps_the_shares():
    bright = ta.bright_share(40, 6)
    ratio = ta.dark_to_bright_ratio(40, 6)
    assert (1 - bright) * ratio == pytest.approx(bright)
    assert ratio == pytest.approx(3 * math.exp(-6 / (0.0861733 * 40)), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ta.bright_share(0, 3), "temperature_k"),
        (lambda: ta.bright_share(9, math.nan), "splitting_mev"),
        (lambda: ta.dipolar_coupling_mev(90, 0), "distance_nm"),
        (lambda: ta.dipolar_coupling_mev(90, 10, formula="cgs"), "formula"),
        (lambda: ta.dipolar_coupling_mev(90, 10, orientation=math.inf), "orientation"),
        (lambda: ta.transition_dipole_debye(12, -1, 2500), "linewidth_mev"),
    ],
)
def test_malformed(make, name):
    with pytest.raises(ValueError, match=name):
        make()
