import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from tplm_simulators import VirtualFault


def test_counts_are_poisson(lit):
    microscope = lit()
    microscope.card.configure(400, 32)
    expected = microscope.card.expected_rates().per_bin_hz * 0.5
    seen = []
    for _ in range(200):
        microscope.card.start(0.5)
        microscope.clock.wait(0.5)
        seen.append(microscope.card.histogram())
    bright = expected > 20
    chi2 = np.sum((np.array(seen)[:, bright] - expected[bright]) ** 2 / expected[bright])
    low, high = stats.chi2.ppf([1e-3, 1 - 1e-3], 200 * np.count_nonzero(bright))
    assert low < chi2 < high


def test_same_seed_and_calls_same_histogram(lit):
    def run(seed: int, poll: bool) -> np.ndarray:
        microscope = lit(seed=seed, laser={"noise_rms": 0.02})
        microscope.card.start(3)
        for _ in range(30):
            microscope.clock.wait(0.1)
            if poll:
                microscope.card.is_running()
                microscope.card.count_rate_hz()
                microscope.card.elapsed_s()
                microscope.card.flags()
                microscope.power_meter.power_nw()
                microscope.thermostat.temperature_k()
        return microscope.card.histogram()

    reference = run(1, poll=False)
    assert reference.dtype == np.uint32
    np.testing.assert_array_equal(run(1, poll=False), reference)
    np.testing.assert_array_equal(run(1, poll=True), reference)
    assert np.any(run(2, poll=False) != reference)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    waits=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=6),
    touch=st.sampled_from(["laser", "shutter", "attenuator", "stage", "histogram"]),
)
def test_splitting_a_dwell_changes_no_expectation(lit, waits, touch):
    microscope = lit(laser={"noise_rms": 0.01})
    acts = {
        "laser": lambda: microscope.laser.set_emission(True),
        "shutter": lambda: microscope.shutter.set_open(True),
        "attenuator": lambda: microscope.attenuator.set_transmission(0.01),
        "stage": lambda: microscope.detector_stage.move_to(0, 0),
        "histogram": microscope.card.histogram,
    }
    twin = lit(laser={"noise_rms": 0.01})
    for each in (microscope, twin):
        each.card.start(10)
    for seconds in waits:
        microscope.clock.wait(seconds)
        acts[touch]()
    twin.clock.wait(sum(waits))
    # The noise of the laser and pile-up multiply, which a mean over the dwell does not see.
    np.testing.assert_allclose(
        microscope.card.expected_counts(), twin.card.expected_counts(), rtol=1e-5
    )


def test_a_shutter_that_closes_in_mid_dwell(lit):
    microscope = lit()
    bright = microscope.card.expected_rates().per_bin_hz
    microscope.card.start(2)
    microscope.clock.wait(0.5)
    microscope.shutter.set_open(False)
    microscope.clock.wait(1.5)
    assert not microscope.card.is_running()
    dark = microscope.card.expected_rates().per_bin_hz
    expected = 0.504 * bright + 1.496 * dark
    np.testing.assert_allclose(microscope.card.expected_counts(), expected, rtol=1e-9)


def test_a_stage_that_moves_in_mid_dwell(lit):
    """Light gathered on the way is the integral over the way."""
    microscope = lit()
    way_um = np.linspace(0, 495, 100)
    rates = []
    for x_um in way_um:
        microscope.detector_stage.move_to(x_um, 0)
        microscope.clock.wait(1)
        rates.append(microscope.card.expected_rates().per_bin_hz.sum())
    microscope.detector_stage.move_to(0, 0)
    microscope.clock.wait(1)
    microscope.card.start(5)
    microscope.detector_stage.move_to(495, 0)
    times_s, places_um = [], []
    while microscope.detector_stage.is_moving():
        times_s.append(microscope.clock.now_s())
        places_um.append(microscope.detector_stage.position_um()[0])
        microscope.clock.wait(0.001)
    now_s = microscope.clock.now_s()
    along = np.interp(places_um, way_um, rates)
    expected = np.trapezoid([*along, along[-1]], [*times_s, now_s])
    assert microscope.card.expected_counts().sum() == pytest.approx(expected, rel=0.01)


def test_the_dwell_ends_by_itself(lit):
    card, clock = (microscope := lit()).card, microscope.clock
    assert not card.is_running()
    assert card.elapsed_s() == 0
    card.start(1)
    clock.wait(0.75)
    assert card.is_running()
    assert card.elapsed_s() == pytest.approx(0.75)
    clock.wait(10)
    assert not card.is_running()
    assert card.elapsed_s() == pytest.approx(1)
    total = card.histogram().sum()
    clock.wait(10)
    assert card.histogram().sum() == total
    card.start(1)
    assert card.histogram().sum() == 0


def test_stop_keeps_the_counts(lit):
    microscope = lit()
    microscope.card.start(10)
    microscope.clock.wait(1)
    microscope.card.stop()
    microscope.clock.wait(1)
    assert microscope.card.elapsed_s() == pytest.approx(1)
    assert microscope.card.histogram().sum() == pytest.approx(13e3, rel=0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_bin_ps": 30},
        {"time_bin_ps": 75},
        {"time_bin_ps": 0},
        {"time_bin_ps": float("nan")},
        {"bins": 0},
        {"bins": 40000},
        {"offset_ps": -25},
        {"offset_ps": 10},
        {"sync_divider": 3},
    ],
)
def test_impossible_settings_are_refused(lit, wrong):
    with pytest.raises(VirtualFault, match="timing card refuses"):
        lit().card.configure(**{"time_bin_ps": 25, "bins": 100, **wrong})


def test_a_running_card_takes_no_orders(lit):
    card = lit().card
    card.start(1)
    for order in (lambda: card.start(1), lambda: card.configure(25, 100)):
        with pytest.raises(VirtualFault, match="measur"):
            order()
    card.stop()
    with pytest.raises(VirtualFault, match="refuses to measure"):
        card.start(0)


def test_overflow_ends_the_measurement_when_a_bin_is_full(lit):
    microscope = lit(detection={"counter_max": 1000})
    peak_hz = microscope.card.expected_rates().per_bin_hz.max()
    microscope.card.start(100)
    while microscope.card.is_running():
        microscope.clock.wait(0.1)
    assert microscope.card.flags() == {"overflow"}
    assert microscope.card.elapsed_s() == pytest.approx(1000 / peak_hz, rel=0.1)
    counts = microscope.card.histogram()
    assert counts.max() == 1000
    expected = microscope.card.expected_counts()
    assert counts.sum() == pytest.approx(expected.sum(), rel=0.05)


def test_without_stop_on_overflow_a_full_bin_stays_full(lit):
    microscope = lit(detection={"counter_max": 1000, "stop_on_overflow": False})
    microscope.card.start(100)
    microscope.clock.wait(50)
    assert microscope.card.is_running()
    assert microscope.card.histogram().max() == 1000
    assert microscope.card.flags() == {"overflow"}


def test_lost_sync_stops_the_counts(lit):
    microscope = lit()
    card = microscope.card
    card.start(10)
    microscope.clock.wait(1)
    card.lose_sync()
    total = card.histogram().sum()
    microscope.clock.wait(1)
    assert card.histogram().sum() == total
    assert card.sync_rate_hz() == 0
    assert "sync-lost" in card.flags()
    card.find_sync()
    microscope.clock.wait(1)
    assert card.histogram().sum() > total
    assert card.sync_rate_hz() == 2.5e6
    assert "sync-lost" in card.flags()  # it happened in this measurement
    card.stop()
    card.start(1)
    assert card.flags() == frozenset()


def test_the_sync_divider_keeps_the_sync_within_its_limit(lit):
    microscope = lit(detection={"max_sync_rate_hz": 10e6}, laser={"start_rate_hz": 40e6})
    assert "sync-lost" in microscope.card.flags()
    microscope.card.configure(25, 1024, sync_divider=4)
    assert microscope.card.flags() == frozenset()
    assert microscope.card.sync_rate_hz() == 40e6


def test_high_count_rates_are_flagged(lit):
    microscope = lit(detection={"max_count_rate_hz": 1e4})
    assert microscope.card.flags() == {"count-rate-limit"}
    assert microscope.card.count_rate_hz() == pytest.approx(14e3, rel=0.15)
