"""Excitation density against tables S1 and S2 of S1."""

import math

import pytest

import tplm_analysis as ta


@pytest.mark.parametrize(
    ("nominal_nw", "rep_rate_mhz", "power_nw", "intensity", "fluence", "excitons"),
    [
        (0.5, 2.5, 0.185, 0.095, 0.038, 0.0041),
        (1, 2.5, 0.37, 0.19, 0.076, 0.0082),
        (2.5, 2.5, 0.925, 0.475, 0.19, 0.0205),
        (4, 2.5, 1.48, 0.76, 0.30, 0.0326),
        (5, 2.5, 1.85, 0.95, 0.38, 0.041),
        (10, 2.5, 3.7, 1.9, 0.76, 0.082),
        (20, 2.5, 7.4, 3.8, 1.52, 0.163),
        (0.5, 5, 0.185, 0.095, 0.019, 0.00205),
        (1, 5, 0.37, 0.19, 0.038, 0.0041),
        (2.5, 5, 0.925, 0.475, 0.095, 0.01025),
        (5, 5, 1.85, 0.95, 0.19, 0.0205),
        (10, 5, 3.7, 1.9, 0.38, 0.041),
        (25, 5, 9.25, 4.75, 0.95, 0.1025),
    ],
)
def test_published_tables(nominal_nw, rep_rate_mhz, power_nw, intensity, fluence, excitons):
    found = ta.excitation(nominal_nw, rep_rate_mhz * 1e6)
    assert found.power_at_sample_nw == pytest.approx(power_nw, rel=0.02)
    assert found.intensity_w_per_cm2 == pytest.approx(intensity, rel=0.02)
    assert found.fluence_uj_per_cm2 == pytest.approx(fluence, rel=0.02)
    assert found.mean_excitons_per_nc == pytest.approx(excitons, rel=0.02)


def test_constants():
    found = ta.excitation(1, 2.5e6)
    assert found.cross_section_cm2 == pytest.approx(5.29e-14, rel=2e-3)
    assert found.photon_energy_ev == pytest.approx(3.062, rel=1e-3)
    per_us = found.mean_excitons_per_nc * 2.5
    assert found.mean_time_between_excitations_us == pytest.approx(1 / per_us)
    assert "top-hat-fwhm" in str(found)


def test_gaussian_peak_is_ln2_of_the_top_hat():
    flat = ta.excitation(10, 1e6)
    peak = ta.excitation(10, 1e6, convention="gaussian-peak")
    assert peak.intensity_w_per_cm2 == pytest.approx(math.log(2) * flat.intensity_w_per_cm2)
    area = math.pi * (500e-7) ** 2
    assert peak.intensity_w_per_cm2 == pytest.approx(3.74e-9 * 4 * math.log(2) / area)


def test_dark():
    assert ta.excitation(0, 1e6).mean_time_between_excitations_us == math.inf


@pytest.mark.parametrize(
    "change",
    [
        {"nominal_power_nw": -1},
        {"rep_rate_hz": 0},
        {"fwhm_nm": -5},
        {"edge_nm": math.nan},
        {"throughput": 37.4},
        {"convention": "flat"},
    ],
)
def test_malformed(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        ta.excitation(**{"nominal_power_nw": 1, "rep_rate_hz": 1e6, **change})
