"""Expected rates, from the settings to the time bins."""

import math

import numpy as np
import pytest

from tplm_simulators import OpticsSettings
from tplm_simulators.response import Response


def test_photon_budget_of_the_paper(lit):
    microscope = lit()
    conditions = microscope.conditions()
    assert conditions.mean_excitons_per_nc == pytest.approx(0.0082, rel=0.02)
    assert conditions.fluence_uj_per_cm2 == pytest.approx(0.076, rel=0.02)
    assert 10e3 < microscope.card.expected_rates().total_hz < 20e3


def test_pile_up_shows_at_twenty_nanowatt(lit):
    dead = lit(attenuator={"start_transmission": 0.2}, sample={"d_cm2_per_s": 0.01})
    free = lit(
        attenuator={"start_transmission": 0.2},
        sample={"d_cm2_per_s": 0.01},
        detection={"dead_time_ns": 0.0},
    )
    seen = dead.card.expected_rates().per_bin_hz / free.card.expected_rates().per_bin_hz
    assert seen[90] > 0.98 > 0.94 > seen[600]


def test_sum_of_the_map_is_the_budget(lit):
    # A magnification so low that the detector sees everything, and little light, so that
    # 1 - exp(-λ) is λ.
    microscope = lit(
        OpticsSettings(magnification=1.0, dark_rate_hz=0.0),
        laser={"start_rate_hz": 0.1e6},
        attenuator={"start_transmission": 1e-4},
        sample={"d_cm2_per_s": 0.01},
        detection={
            "ambient_rate_hz": 0.0,
            "laser_background_hz_per_nw": 0.0,
            "dead_time_ns": 0.0,
        },
    )
    photons = microscope.conditions().photons_per_pulse
    assert photons == pytest.approx(0.00374e-9 / 0.1e6 / (1240 / 405 * 1.602e-19))
    share = microscope.settings.sample.detected_per_incident_photon
    counts = microscope.card.expected_rates().total_hz / 0.1e6
    assert counts == pytest.approx(photons * share, rel=1e-3)


def test_earlier_pulses_still_shine(lit):
    """At 40 MHz the light before time zero comes from the pulses before."""
    detection = {"ambient_rate_hz": 0.0, "laser_background_hz_per_nw": 0.0, "dead_time_ns": 0.0}
    microscope = lit(
        OpticsSettings(dark_rate_hz=0.0),
        laser={"start_rate_hz": 40e6},
        sample={"d_cm2_per_s": 0.0},
        detection=detection,
    )
    rates = microscope.card.expected_rates().per_bin_hz
    film = microscope.sample
    before_ps = 1000.0  # 1 ns before time zero: 24, 49, 74 … ns after earlier pulses
    times_ns = -before_ps / 1000 + 25 * np.arange(1, 1201)[:, None] + np.array([[-0.0125, 0.0125]])
    shares = np.diff(film.decay_integral(times_ns)).sum()
    begin_ns = np.array([[5.0, 5.025]]) + 25 * np.arange(0, 1200)[:, None]
    reference = np.diff(film.decay_integral(begin_ns)).sum()
    assert rates[40] / rates[280] == pytest.approx(shares / reference, rel=0.01)


def test_bins_offset_and_width_only_regroup(lit):
    microscope = lit()
    fine = microscope.card.expected_rates().per_bin_hz
    microscope.card.configure(100, 200, offset_ps=1600)
    coarse = microscope.card.expected_rates().per_bin_hz
    np.testing.assert_allclose(coarse, fine[64:864].reshape(200, 4).sum(axis=1), rtol=1e-12)


def test_bins_beyond_the_period_stay_empty(lit):
    microscope = lit(laser={"start_rate_hz": 20e6})
    microscope.card.configure(25, 4096)
    rates = microscope.card.expected_rates().per_bin_hz
    assert np.all(rates[:2000] > 0)
    assert np.all(rates[2000:] == 0)


@pytest.mark.parametrize("tail", [0.0, 0.3])
def test_response_of_the_card_on_bare_glass(lit, tail):
    microscope = lit(
        OpticsSettings(dark_rate_hz=0.0),
        sample={"film_edge_um": -50.0},
        detection={
            "ambient_rate_hz": 0.0,
            "laser_background_hz_per_nw": 0.0,
            "dead_time_ns": 0.0,
            "response_tail_share": tail,
        },
    )
    rates = microscope.card.expected_rates().per_bin_hz
    response = Response(80.0, tail, 200.0, 2000.0)
    expected = np.diff(response.cumulative(np.arange(1025) * 25.0))
    np.testing.assert_allclose(rates / rates.sum(), expected, atol=5e-5)
    if tail == 0:
        centre_ps = (np.arange(1024) + 0.5) * 25
        share = rates / rates.sum()
        mean_ps = share @ centre_ps
        sigma_ps = math.sqrt(share @ (centre_ps - mean_ps) ** 2 - 25**2 / 12)
        assert mean_ps == pytest.approx(2000, abs=0.1)
        assert sigma_ps * 2.3548 == pytest.approx(80, abs=0.2)


def test_tail_of_the_response_is_exponential():
    response = Response(80.0, 1.0, 200.0, 0.0)
    late = 1 - response.cumulative(np.array([600.0, 800.0]))
    assert late[1] / late[0] == pytest.approx(math.exp(-1), rel=1e-3)


def test_directions_zero_and_magnification(lit):
    optics = OpticsSettings(stage_directions=(-1.0, 1.0), stage_zero_um=(100.0, 200.0))
    assert optics.sample_position_um((100.0, 200.0)) == (0, 0)
    assert optics.sample_position_um((100.0 + 495, 200.0 - 495)) == (-1, -1)
    microscope = lit(optics)
    away = microscope.card.expected_rates().total_hz
    microscope.detector_stage.move_to(100, 200)
    microscope.clock.wait(10)
    assert microscope.card.expected_rates().total_hz > 1.2 * away


def test_shutter_closed_leaves_dark_and_ambient(lit):
    microscope = lit(detection={"dead_time_ns": 0.0})
    microscope.shutter.set_open(False)
    microscope.clock.wait(1)
    rates = microscope.card.expected_rates()
    assert rates.total_hz == pytest.approx(100)
    np.testing.assert_allclose(rates.per_bin_hz, 100 / 16000, rtol=1e-5)


def test_laser_background_follows_the_power(lit):
    def rate(hz_per_nw: float) -> float:
        detection = {"dead_time_ns": 0.0, "laser_background_hz_per_nw": hz_per_nw}
        return float(lit(detection=detection).card.expected_rates().total_hz)

    assert rate(30.0) - rate(0.0) == pytest.approx(30.0, rel=1e-3)


def test_defocus_widens_and_keeps_the_photons(lit):
    microscope = lit()
    sharp = microscope.conditions()
    microscope.sample_stage.move_to(0, 0, 0.8)
    microscope.clock.wait(10)
    blurred = microscope.conditions()
    assert blurred.spot_sigma_um / sharp.spot_sigma_um == pytest.approx(math.sqrt(2), rel=0.05)
    assert blurred.photons_per_pulse == sharp.photons_per_pulse
    assert blurred.mean_excitons_per_nc == pytest.approx(sharp.mean_excitons_per_nc / 2, rel=0.1)


def test_the_spot_drifts(lit):
    microscope = lit(laser={"drift_nm_per_h": (300.0, 0.0)})
    before = microscope.card.expected_rates().total_hz
    microscope.clock.wait(3600)
    after = microscope.card.expected_rates().total_hz
    microscope.detector_stage.move_to(0.3 * 495, 0)
    microscope.clock.wait(1)
    assert after < 0.6 * before
    assert microscope.card.expected_rates().total_hz == pytest.approx(before, rel=1e-3)
