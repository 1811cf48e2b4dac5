import math

import numpy as np
import pytest
from scipy import integrate

from tplm_config.simulation import FilmSettings
from tplm_simulators import Aperture, Conditions, Film

SIGMA_UM = 0.255


def film(**settings: object) -> Film:
    return Film(FilmSettings(**settings), np.random.default_rng(1))


def conditions(**changes: float) -> Conditions:
    values = {
        "photons_per_pulse": 300.0,
        "fluence_uj_per_cm2": 0.076,
        "mean_excitons_per_nc": 0.0082,
        "repetition_rate_hz": 2.5e6,
        "temperature_k": 295.0,
        "spot_sigma_um": SIGMA_UM,
    }
    return Conditions(**{**values, **changes})


EDGES_NS = np.linspace(0, 10, 401)


@pytest.mark.parametrize(
    ("shape", "half_um", "added_nm2"), [("square", 0.05, 834), ("disc", 0.041, 420)]
)
def test_profile_variance_is_spot_and_diffusion_and_aperture(shape, half_um, added_nm2):
    emission = film(d_cm2_per_s=0.1).emission(EDGES_NS, conditions())
    x_um = np.linspace(-4, 4, 801)
    profile = np.array([emission.through_aperture(x, 0, Aperture(shape, half_um)) for x in x_um])
    variance_nm2 = 1e6 * (x_um**2 @ profile) / profile.sum(axis=0)
    middle_ns = 0.5 * (EDGES_NS[1:] + EDGES_NS[:-1])
    expected = 1e6 * SIGMA_UM**2 + 2 * 0.1 * 1e5 * middle_ns + added_nm2
    np.testing.assert_allclose(variance_nm2, expected, atol=1.0)


def test_a_wide_aperture_sees_every_photon():
    edges_ns = np.concatenate([np.linspace(0, 30, 301), np.geomspace(31, 1e6, 200)])
    emission = film(d_cm2_per_s=0.0).emission(edges_ns, conditions())
    photons = emission.through_aperture(0, 0, Aperture("square", 50)).sum()
    expected = 300 * FilmSettings().detected_per_incident_photon
    # (1 + t)^-1.5 leaves 0.009 % of the photons for later than a millisecond.
    assert photons == pytest.approx(expected, rel=1e-3)


def test_the_disc_is_an_integral_over_a_disc():
    radius_um, x_um = 0.2, 0.3
    emission = film(d_cm2_per_s=0.0).emission(np.array([0, 1e9]), conditions())

    def density(y: float, x: float) -> float:
        return math.exp(-(x**2 + y**2) / (2 * SIGMA_UM**2)) / (2 * math.pi * SIGMA_UM**2)

    share, _ = integrate.dblquad(
        density,
        x_um - radius_um,
        x_um + radius_um,
        lambda x: -math.sqrt(max(radius_um**2 - (x - x_um) ** 2, 0)),
        lambda x: math.sqrt(max(radius_um**2 - (x - x_um) ** 2, 0)),
    )
    seen = emission.through_aperture(x_um, 0, Aperture("disc", radius_um))[0]
    assert seen / emission.photons[0] == pytest.approx(share, rel=1e-4)


def test_the_decay_is_the_documented_one():
    time_ns = np.linspace(0, 20, 20001)
    law = 0.9 * np.exp(-time_ns / 2.3) + 0.1 * (1 + time_ns) ** -1.5
    total = 0.9 * 2.3 + 0.1 * 2
    integral = integrate.cumulative_simpson(law, x=time_ns, initial=0) / total
    np.testing.assert_allclose(film().decay_integral(time_ns), integral, atol=1e-9)


@pytest.mark.parametrize(
    ("interval_us", "expected"),
    [(1e-3, 0.01 + 0.14 * math.exp(-1e-3 / 6)), (6, 0.01 + 0.14 / math.e), (600, 0.01)],
)
def test_diffusivity_falls_with_the_time_between_excitations(interval_us, expected):
    excited = conditions(mean_excitons_per_nc=1e6 / (2.5e6 * interval_us))
    assert film().diffusivity_cm2_per_s(excited) == pytest.approx(expected, rel=1e-9)


def test_diffusivity_over_temperature_has_one_maximum():
    kelvin = np.arange(10, 321, 5)
    d = [film().diffusivity_cm2_per_s(conditions(temperature_k=k)) for k in kelvin]
    assert kelvin[np.argmax(d)] == 150
    turns = np.diff(np.sign(np.diff(d)))
    assert np.count_nonzero(turns) == 1
    assert d[list(kelvin).index(295)] == pytest.approx(film().diffusivity_cm2_per_s(conditions()))


def test_a_fixed_diffusivity_knows_no_conditions():
    fixed = film(d_cm2_per_s=0.05)
    for changed in ({}, {"temperature_k": 10.0}, {"mean_excitons_per_nc": 1.0}):
        assert fixed.diffusivity_cm2_per_s(conditions(**changed)) == 0.05


def test_no_light_is_no_memory():
    assert film().diffusivity_cm2_per_s(conditions(mean_excitons_per_nc=0.0)) == 0.01


def test_brightness_varies_slowly_around_one():
    field = film()
    assert field.brightness(0, 0) == 1
    places = np.random.default_rng(3).uniform(-400, 400, (2000, 2))
    values = np.log([field.brightness(x, y) for x, y in places])
    assert np.std(values) == pytest.approx(0.1, rel=0.15)
    assert field.brightness(0.1, 0) == pytest.approx(1, abs=0.02)


def test_beyond_the_edge_there_is_only_prompt_light():
    emission = film().emission(EDGES_NS, conditions(x_um=60.0))
    aperture = Aperture("square", 0.05)
    assert emission.through_aperture(0, 0, aperture).sum() == 0
    assert emission.prompt_through_aperture(0, 0, aperture) > 0
    on_film = film().emission(EDGES_NS, conditions())
    assert on_film.prompt_through_aperture(0, 0, aperture) == 0
