import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tplm_simulators.samples.bright_dark import (
    GRID_SITES,
    SPLITTING_MEV,
    BrightDarkModel,
    bright_dark_moments,
    simulate_bright_dark,
)

COLD = BrightDarkModel(gamma_fret=0.12)
WARM = BrightDarkModel(gamma_fret=0.12, gamma_db=0.02)
TRAPS = BrightDarkModel.traps(0.01, gamma_fret=0.12)
EVERYTHING = BrightDarkModel(
    gamma_fret=0.13, gamma_db=0.05, trap_rate=0.025, dissociation=0.01, gamma_hop=0.5,
    bright_fraction=0.4, trapped_fraction=0.1, gamma_dark=0.01,
)  # fmt: skip
AT = [20, 40, 80, 160]  # 0.5, 1, 2 and 4 ns


@pytest.mark.parametrize(
    ("model", "msd_sites2", "t_max_ns"),
    [
        (COLD, [8.15, 2.05, 1.52, 1.52], 0.425),
        (WARM, [5.17, 5.85, 7.95, 12.2], None),
        (TRAPS, [12.5, 24.8, 47.8, 47.1], 3.025),
    ],
)
def test_moments_at_the_check_points(model, msd_sites2, t_max_ns):
    found = bright_dark_moments(model)
    np.testing.assert_allclose(found.time_ns[AT], [0.5, 1, 2, 4])
    np.testing.assert_allclose(found.msd_sites2[AT], msd_sites2, rtol=4e-3)
    assert found.to_dict()["t_max_ns"] == t_max_ns


@pytest.mark.parametrize("model", [COLD, WARM, TRAPS, EVERYTHING])
def test_simulation_against_the_moments(model):
    exact = bright_dark_moments(model)
    found = simulate_bright_dark(model, repeats=2000, seed=7)
    off = (found.msd_sites2 - exact.msd_sites2)[1:] / found.msd_stderr_sites2[1:]
    assert np.all(np.abs(off[np.array(AT) - 1]) < 3)
    # a handful of bright ones among many others makes no Gaussian error
    bright = exact.bright_photons[1:]
    enough = (bright > 30 * 0.03 / found.excitons) | (bright < 1e-4 * exact.dark_photons[1:])
    assert enough.sum() > 150
    assert np.mean(off[enough] ** 2) < 3  # neighbouring steps share their excitons
    for kind in ("bright_photons", "dark_photons", "trap_photons"):
        expected = getattr(exact, kind) * found.excitons
        several = expected > 30
        sigma = np.sqrt(expected[several] * found.excitons * 0.03)  # of a binomial at the worst
        assert np.all(np.abs(getattr(found, kind) * found.excitons - expected)[several] < 4 * sigma)
    assert found.t_max_ns == exact.t_max_ns or np.isnan(exact.t_max_ns)


def test_standard_error_is_the_scatter_of_repeated_simulations():
    runs = [simulate_bright_dark(WARM, repeats=30, steps=81, seed=seed) for seed in range(100)]
    scatter = np.std([run.msd_sites2[AT[:3]] for run in runs], axis=0, ddof=1)
    stated = np.sqrt(np.mean([run.msd_stderr_sites2[AT[:3]] ** 2 for run in runs], axis=0))
    np.testing.assert_allclose(stated, scatter, rtol=0.25)  # 7 % by chance


def test_emission_is_the_place_and_time_of_photons():
    found = simulate_bright_dark(WARM, repeats=5000, seed=3)
    exact = bright_dark_moments(WARM)
    assert found.emission.shape == (GRID_SITES, GRID_SITES, 300)
    assert found.emission.sum() + found.outside == found.photons
    expected = exact.bright_photons + exact.dark_photons + exact.trap_photons
    seen = found.emission.sum(axis=(0, 1))
    chi2 = np.sum((seen - found.excitons * expected) ** 2 / (found.excitons * expected))
    assert chi2 < 300 + 4 * np.sqrt(600)
    place = np.arange(GRID_SITES) - GRID_SITES // 2
    for axis in (0, 1):
        counts = found.emission.sum(axis=(1 - axis, 2))
        number = counts.sum()
        sigma2 = place**2 @ counts / number
        # rounding to sites adds 1/12
        grown = (exact.msd_sites2 / 2) @ expected / expected.sum()
        assert abs(place @ counts / number) < 4 * np.sqrt(sigma2 / number)
        assert sigma2 == pytest.approx(100 + 1 / 12 + grown, abs=4 * sigma2 * np.sqrt(2 / number))


def test_photons_beyond_the_grid_are_counted():
    found = simulate_bright_dark(BrightDarkModel(sigma_sites=100.0), repeats=100, steps=50, seed=1)
    assert 0 < found.outside < found.photons
    assert found.emission.sum() == found.photons - found.outside


def test_a_seed_gives_the_same_again():
    first, second, other = (
        simulate_bright_dark(EVERYTHING, repeats=50, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.emission, second.emission)
    np.testing.assert_array_equal(first.msd_sites2, second.msd_sites2)
    assert not np.array_equal(first.emission, other.emission)


def test_what_the_paper_says_of_traps():
    t_max = [bright_dark_moments(BrightDarkModel.traps(rate)).t_max_ns for rate in (0.005, 0.02)]
    assert t_max[0] > t_max[1]
    slow, fast = (
        bright_dark_moments(BrightDarkModel.traps(0.02, gamma_fret=g)) for g in (0.1, 0.2)
    )
    assert slow.t_max_ns == fast.t_max_ns
    np.testing.assert_allclose(2 * slow.msd_sites2, fast.msd_sites2)


def test_bright_excitons_alone_diffuse():
    model = BrightDarkModel(gamma_fret=0.1, gamma_bd=0.0, bright_fraction=1.0, dissociation=0.05)
    found = bright_dark_moments(model, steps=100)
    # an exciton that is still there has not dissociated or shone; it hopped more often for that
    stay = 1 - 0.03 - 0.05
    np.testing.assert_allclose(found.msd_sites2, 0.1 * 5 / stay * np.arange(100))
    np.testing.assert_allclose(found.bright_photons, 0.03 * stay ** np.arange(100))


def test_an_overridden_hop_rate_keeps_its_split():
    model = BrightDarkModel(gamma_fret=0.12, gamma_hop=0.27)
    assert COLD.hop_rate == pytest.approx(0.54)
    np.testing.assert_allclose(
        2 * bright_dark_moments(model).msd_sites2, bright_dark_moments(COLD).msd_sites2
    )


@pytest.mark.parametrize(("edge_nm", "share"), [(5, 0.0), (8, 0.00131), (14, 0.0590)])
def test_detailed_balance_at_9_kelvin(edge_nm, share):
    model = BrightDarkModel.at_temperature(9.0, SPLITTING_MEV[edge_nm])
    assert model.gamma_db / (model.gamma_db + model.gamma_bd) == pytest.approx(
        share, rel=0.01, abs=1e-6
    )


def test_populations_reach_equilibrium_without_loss():
    model = BrightDarkModel.at_temperature(60.0, 6.0, gamma_bright=1e-9, gamma_dark=1e-9)
    found = bright_dark_moments(model)
    ratio = 3 * np.exp(-6.0 / (0.08617333262 * 60))
    assert found.bright_photons[-1] / found.dark_photons[-1] == pytest.approx(ratio, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    rates=st.fixed_dictionaries(
        {
            name: st.floats(0, 0.2)
            for name in ("gamma_bd", "gamma_db", "trap_rate", "dissociation", "gamma_bright")
        }
    ),
    gamma_hop=st.floats(0, 0.2),
)
def test_nothing_is_made_of_nothing(rates, gamma_hop):
    model = BrightDarkModel(gamma_hop=gamma_hop, **rates)
    exact = bright_dark_moments(model, steps=50)
    found = simulate_bright_dark(model, repeats=5, steps=50, seed=0)
    light = exact.bright_photons + exact.dark_photons + exact.trap_photons
    assert light.sum() <= 1 + 1e-12
    assert found.photons <= found.excitons
    assert np.nanmin(exact.msd_sites2) >= 0
    assert np.all(found.msd_stderr_sites2[np.isfinite(found.msd_stderr_sites2)] >= 0)


def test_no_light_gives_no_msd():
    model = BrightDarkModel(gamma_bright=0.0, gamma_dark=0.0)
    assert np.isnan(bright_dark_moments(model).msd_sites2).all()
    found = simulate_bright_dark(model, repeats=1, seed=0)
    assert found.photons == 0
    assert np.isnan(found.msd_sites2).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gamma_fret": 0.5}, "bright exciton add up to 2.43"),
        ({"gamma_db": 0.9, "dissociation": 0.2}, "dark exciton add up"),
        ({"trap_rate": -0.1}, "trap_rate is a probability"),
        ({"gamma_bd": float("nan")}, "gamma_bd is a probability"),
        ({"bright_fraction": 0.8, "trapped_fraction": 0.3}, "at most 1"),
        ({"sigma_sites": -1.0}, "sigma_sites"),
    ],
)
def test_impossible_models(changes, words):
    with pytest.raises(ValueError, match=words):
        BrightDarkModel(**changes)


def test_impossible_runs():
    with pytest.raises(ValueError, match="repeats must be 1"):
        simulate_bright_dark(COLD, repeats=0)
    with pytest.raises(ValueError, match="steps must be 1"):
        bright_dark_moments(COLD, steps=0)
