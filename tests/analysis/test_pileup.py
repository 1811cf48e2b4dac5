"""Pile-up: the correction against the recursion of the virtual microscope."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tplm_analysis as ta
from tplm_simulators.pileup import registered

LIGHT = 0.4 * np.exp(-np.arange(60) / 15) / 15 + 1e-4
DARK = np.zeros(40)
PULSES = 3e6


@pytest.mark.parametrize("photons", [0.01, 0.2, 1.0, 4.0])
def test_classical_case_is_exact(photons):
    """Dead until the next pulse, and live again by then."""
    light = photons * LIGHT / LIGHT.sum()
    # 60 bins of light, dead for 70 of the 130 bins: covers the light, ends before the next pulse
    counts = PULSES * registered(np.concatenate([light, np.zeros(70)]), 70)[:60]
    found = ta.coates(counts[None], [PULSES])
    np.testing.assert_allclose(found[0], PULSES * light, rtol=1e-10)


@pytest.mark.parametrize("dead", [0, 1, 7, 59, 60, 70])
def test_dead_time_that_ends_before_the_next_light(dead):
    """Shorter than the range, as long, and longer: no period is needed."""
    counts = PULSES * registered(np.concatenate([LIGHT, np.zeros(70)]), dead)[:60]
    found = ta.coates(counts[None], [PULSES], dead)
    np.testing.assert_allclose(found[0], PULSES * LIGHT, rtol=1e-10)


@pytest.mark.parametrize("dead", [0, 20, 60, 80, 99, 100, 101, 180, 330])
def test_dead_time_that_reaches_further_pulses(dead):
    """Light in 60 of 100 bins; the dead time ends in this period, the next, or later."""
    counts = PULSES * registered(np.concatenate([LIGHT, DARK]), dead)[:60]
    found = ta.coates(counts[None], [PULSES], dead, 100)
    np.testing.assert_allclose(found[0], PULSES * LIGHT, rtol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    light=st.lists(st.floats(0, 2), min_size=2, max_size=40).map(np.array),
    dead=st.integers(0, 100),
)
def test_undoes_the_recursion(light, dead):
    counts = registered(light, dead)
    found = ta.coates(1e6 * counts[None], [1e6], dead, light.size)
    np.testing.assert_allclose(found[0], 1e6 * light, rtol=1e-5, atol=1e-2)


def test_rows_are_independent_and_unmeasured_ones_stay_empty():
    counts = np.array([[5.0, 3, 1], [0, 0, 0], [5, 3, 1]])
    found = ta.coates(counts, [100, 0, 1000])
    assert found[0] == pytest.approx(
        [-100 * np.log(1 - 5 / 100), -100 * np.log(1 - 3 / 95), -100 * np.log(1 - 1 / 92)]
    )
    assert not found[1].any()
    np.testing.assert_allclose(found[2], ta.coates(counts[2:], [1000])[0])
    assert np.all(found[2] < found[0])


@pytest.mark.parametrize(
    ("counts", "pulses", "options", "message"),
    [
        ([[5, 5]], [10], {}, "Row 0, bin 1: 5 counts cannot come from 5 pulses"),
        ([[0, 0], [9, 2]], [10, 10], {}, "Row 1, bin 1: 2 counts cannot come from 1 pulses"),
        ([[20, 0]], [10], {}, "Row 0, bin 0: 20 counts cannot come from 10 pulses"),
        ([[1, 1]], [0], {}, "Row 0, bin 0: 1 counts cannot come from 0 pulses"),
        ([[4, 4]], [10], {"dead_bins": 4, "period_bins": 2}, "cannot come from 0 pulses"),
        ([[1, 1]], [10, 10], {}, "the shapes are (1, 2) and (2,)"),
        ([1, 1], [10, 10], {}, "counts must be (position, time)"),
        ([[1, -1]], [10], {}, "counts must be finite and not negative"),
        ([[1, 1]], [np.inf], {}, "pulses must be finite and not negative"),
        ([[1, 1]], [10], {"dead_bins": -1}, "dead_bins must not be negative; it is -1"),
        ([[1, 1, 0, 1]], [10], {"period_bins": 2}, "beyond the period of 2 bins"),
    ],
)
def test_impossible_input(counts, pulses, options, message):
    with pytest.raises(ValueError) as error:
        ta.coates(counts, pulses, **options)
    assert message in str(error.value)


# What fit_map makes of it.


def piled_up(photons, maps, amplitude=2e6, period_ns=400.0):
    """Maps of D = 0.01 counted by a detector with 80 ns dead time, and pulses per position."""
    truth = ta.expected_map(amplitude=amplitude, time_zero_ns=1.0)
    bins = truth.t_ns.size
    light = np.zeros((truth.x_um.size, round(period_ns / 0.025)))
    light[:, :bins] = truth.expected * photons / truth.expected.sum(axis=1).max()
    share = np.array([registered(row, 3200) for row in light])[:, :bins]
    pulses = round(truth.expected.sum(axis=1).max() / share.sum(axis=1).max())
    rest = 1 - share.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(11)
    for _ in range(maps):
        yield truth, rng.multinomial(pulses, np.hstack([share, rest]))[:, :bins], pulses


def errors(photons, maps, **options):
    """Errors of D in standard errors, as counted and corrected."""
    found = []
    for truth, counts, pulses in piled_up(photons, maps, **options):
        rate_hz = 1e9 / options.get("period_ns", 400.0)
        exposure_s = np.full(truth.x_um.size, pulses / rate_hz)
        plain = ta.fit_map(counts, truth.x_um, truth.t_ns, exposure_s)
        fixed = ta.fit_map(
            counts, truth.x_um, truth.t_ns, exposure_s,
            sync_rate_hz=rate_hz, pile_up="coates", dead_time_ns=80,
        )  # fmt: skip
        found.append([(fit.d_cm2_per_s - 0.01) / fit.d_stderr_cm2_per_s for fit in (plain, fixed)])
    return np.array(found).T


def check_bias(photons, maps, period_ns=400.0):
    plain, fixed = errors(photons, maps, period_ns=period_ns)
    # a bias of what is left cannot be told from none by so many maps
    assert abs(fixed.mean()) < 4 / np.sqrt(maps)
    assert abs(fixed.std() - 1) < 4 / np.sqrt(2 * maps)
    assert plain.mean() > 4


@pytest.mark.parametrize(
    ("photons", "period_ns"), [(0.05, 400.0), (0.2, 400.0), (0.05, 25.0)], ids=str
)
def test_correction_takes_the_bias_away(photons, period_ns):
    check_bias(photons, 30, period_ns)


@pytest.mark.full
@pytest.mark.parametrize(
    ("photons", "period_ns"), [(0.05, 400.0), (0.2, 400.0), (0.05, 25.0)], ids=str
)
def test_correction_takes_the_bias_away_in_many_maps(photons, period_ns):
    check_bias(photons, 300, period_ns)


def test_correction_is_told():
    truth, counts, pulses = next(piled_up(0.05, 1))
    pulse_counts = np.full(truth.x_um.size, float(pulses))
    plain = ta.fit_map(counts, truth.x_um, truth.t_ns, excitation_pulses=pulse_counts)
    (message,) = [w.message for w in plain.warnings if w.code == "pile-up"]
    assert 'pile_up "coates"' in message
    fixed = ta.fit_map(
        counts, truth.x_um, truth.t_ns, excitation_pulses=pulse_counts, pile_up="coates"
    )
    codes = [w.code for w in fixed.warnings]
    assert "pile-up" not in codes
    (message,) = [w.message for w in fixed.warnings if w.code == "pile-up-corrected"]
    assert "after Coates (dead until the next pulse), most at 0.00 µm" in message
    assert "by up to 5." in message
    assert message in str(fixed)


@pytest.mark.parametrize("photons", [0.0005, 0.004, 0.008])
def test_what_it_does_to_d_is_told_below_one_percent_too(photons):
    truth, counts, pulses = next(piled_up(photons, 1))
    given = {"excitation_pulses": np.full(truth.x_um.size, float(pulses))}
    plain = ta.fit_map(counts, truth.x_um, truth.t_ns, **given)
    fixed = ta.fit_map(counts, truth.x_um, truth.t_ns, pile_up="coates", **given)
    shift = plain.d_cm2_per_s - fixed.d_cm2_per_s
    told = [w.message for w in plain.warnings if w.code == "pile-up"]
    assert bool(told) == (shift > 0.5 * plain.d_stderr_cm2_per_s)
    for message in told:
        (found,) = re.findall(r"by about (\S+) cm", message)
        assert float(found) == pytest.approx(shift, rel=0.15)


def test_live_fits_take_corrected_counts():
    truth, counts, pulses = next(piled_up(0.05, 1))
    full = ta.coates(counts, np.full(truth.x_um.size, pulses))
    live = ta.LiveMap(truth.x_um, truth.t_ns)
    found = live.update(full, corrected=True)
    assert abs(found.d_cm2_per_s - 0.01) < 4 * found.d_stderr_cm2_per_s
    assert live.update(counts).d_cm2_per_s > 1.08 * found.d_cm2_per_s
    with pytest.raises(ValueError, match="whole"):
        live.update(full)


def test_rows_are_corrected_before_repeats_are_added():
    """One place counted fast and slowly: the sum of both corrections, not that of the sums."""
    truth, counts, pulses = next(piled_up(0.2, 1))
    x_um = np.concatenate([truth.x_um, truth.x_um])
    both = np.concatenate([counts, counts])
    pulse_counts = np.repeat([pulses, 10.0 * pulses], truth.x_um.size)
    fit = ta.fit_map(both, x_um, truth.t_ns, excitation_pulses=pulse_counts, pile_up="coates")
    expected = ta.coates(both, pulse_counts)[:, truth.t_ns >= fit.time_zero_ns + 0.1].sum()
    assert fit.observed.sum() == pytest.approx(expected)


def test_unmeasured_rows_need_no_pulses():
    truth, counts, pulses = next(piled_up(0.05, 1))
    exposure_s = np.full(truth.x_um.size, pulses / 2.5e6)
    exposure_s[[0, 20]] = 0
    fit = ta.fit_map(
        counts, truth.x_um, truth.t_ns, exposure_s, sync_rate_hz=2.5e6, pile_up="coates"
    )
    assert fit.x_um.size == truth.x_um.size - 2
    assert {"missing-positions", "pile-up-corrected"} <= {w.code for w in fit.warnings}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs the number of laser pulses"),
        ({"sync_rate_hz": 2.5e6}, "needs the number of laser pulses"),
        ({"excitation_pulses": np.full(41, 1e3)}, "cannot come from"),
        ({"excitation_pulses": np.full(41, 1e9), "dead_time_ns": -1}, "zero or more; it is -1"),
        ({"pile_up": "maybe"}, '"none" or "coates"; not "maybe"'),
    ],
)
def test_correction_refused(options, message):
    film = ta.synthetic_map(1)
    with pytest.raises(ValueError) as error:
        ta.fit_map(film.counts, film.x_um, film.t_ns, **({"pile_up": "coates"} | options))
    assert message in str(error.value)
