"""Light from a histogram, against the film's formulas."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

from tplm_simulators.film import GaussianMap
from tplm_simulators.optics import Aperture
from tplm_simulators.samples.gridded import GriddedMap, LightHistogram, symmetrised

BIN_UM, BINS, SPOT_UM, START_UM = 0.05, 101, 0.25, 0.1
EDGES_UM = BIN_UM * (np.arange(BINS + 1) - 0.5 * BINS)
TIME_NS = np.linspace(0.0, 5.0, 51)
D_UM2_PER_NS = 0.01
PHOTONS = -np.diff(np.exp(-TIME_NS / 2.3))
SPREAD_UM2 = 2 * D_UM2_PER_NS * 0.5 * (TIME_NS[1:] + TIME_NS[:-1])


def histogram(**changes: object) -> LightHistogram:
    """What a film that widens by diffusion leaves in the bins, before the optics blur it."""
    sigma = np.sqrt(START_UM**2 + SPREAD_UM2)[:, None]
    along = np.diff(ndtr(EDGES_UM / sigma), axis=1)
    values = {
        "photons": (PHOTONS[:, None, None] * along[:, :, None] * along[:, None, :]).astype(
            np.float32
        ),
        "edges_um": EDGES_UM,
        "time_edges_ns": TIME_NS,
        "msd_um2": 2 * D_UM2_PER_NS * TIME_NS,
        # a bin's light counts as coming from its middle
        "start_variance_um2": START_UM**2 + BIN_UM**2 / 12,
    }
    return LightHistogram(**{**values, **changes})  # type: ignore[arg-type]


FILM = GaussianMap(SPOT_UM**2 + SPREAD_UM2, PHOTONS, SPOT_UM**2, 0.0)
PLACES = [(0.0, 0.0), (0.3, 0.0), (0.0, -0.3), (-0.41, 0.27), (1.0, 0.0)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", ["square", "disc"])
@pytest.mark.parametrize("half_um", [0.01, 0.05, 0.1])
def test_a_histogram_of_the_films_light_looks_as_the_film(place, shape, half_um):
    aperture = Aperture(shape, half_um)
    seen = GriddedMap(histogram(), TIME_NS, 1.0, SPOT_UM).through_aperture(*place, aperture)
    expected = FILM.through_aperture(*place, aperture)
    np.testing.assert_allclose(seen, expected, rtol=5e-4)


def test_all_light_passes_an_aperture_larger_than_the_image():
    image = GriddedMap(histogram(), TIME_NS, 7.0, SPOT_UM)
    seen = image.through_aperture(0.0, 0.0, Aperture("square", 100.0))
    np.testing.assert_allclose(seen, 7.0 * PHOTONS, rtol=1e-4)
    assert image.prompt_through_aperture(0.0, 0.0, Aperture("square", 1.0)) == 0.0


def test_intervals_asked_for_share_the_light_of_known_ones():
    aperture = Aperture("square", 100.0)
    asked = np.array([0.0, 0.025, 0.1, 0.15, 0.35, 4.95, 5.0, 6.0, 90.0])
    seen = GriddedMap(histogram(), asked, 1.0, SPOT_UM).through_aperture(0.0, 0.0, aperture)
    p = PHOTONS
    expected = [
        p[0] / 4, 3 * p[0] / 4, p[1] / 2, p[1] / 2 + p[2] + p[3] / 2, p[3] / 2 + p[4:49].sum()
        + p[49] / 2, p[49] / 2, 0.0, 0.0,
    ]  # fmt: skip
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("spot_um", [0.05, 0.104])
def test_a_spot_narrower_than_its_excitons_is_refused(spot_um):
    with pytest.raises(ValueError, match="too narrow for excitons that begin within 101 nm"):
        GriddedMap(histogram(), TIME_NS, 1.0, spot_um)


def test_symmetrising_keeps_the_light_and_makes_it_even():
    noisy = np.random.default_rng(3).poisson(3.0, (4, 7, 7))
    even = symmetrised(noisy, exchange=True)
    for other in (even[:, ::-1], even[:, :, ::-1], even.transpose(0, 2, 1)):
        np.testing.assert_allclose(even, other)
    np.testing.assert_allclose(even.sum(axis=(1, 2)), noisy.sum(axis=(1, 2)))
    assert even.var() < 0.25 * noisy.var()
    mirrored = symmetrised(noisy, exchange=False)
    np.testing.assert_allclose(mirrored, mirrored[:, ::-1, ::-1])
    assert not np.allclose(mirrored, mirrored.transpose(0, 2, 1))


@pytest.mark.parametrize(("from_ns", "to_ns"), [(0.1, 3.0), (0.0, math.inf)])
def test_the_line_through_linear_growth_has_its_slope(from_ns, to_ns):
    d = histogram().line_d_cm2_per_s(SPOT_UM, from_ns, to_ns)
    assert d == pytest.approx(10 * D_UM2_PER_NS, rel=1e-6)  # 1 µm²/ns is 10 cm²/s


def test_the_line_weighs_each_time_as_its_light_tells_of_the_variance():
    msd = 0.02 * np.sqrt(TIME_NS)
    d = histogram(msd_um2=msd).line_d_cm2_per_s(SPOT_UM, 0.1, 3.0)
    t = 0.5 * (TIME_NS[1:] + TIME_NS[:-1])
    y = 0.5 * (msd[1:] + msd[:-1])
    use = (t >= 0.1) & (t <= 3.0)
    root = np.sqrt(PHOTONS[use]) / (SPOT_UM**2 + y[use])
    slope, _ = np.polyfit(t[use], y[use], 1, w=root)
    assert d == pytest.approx(5 * slope, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photons": np.zeros((50, 3, 3), np.float32)}, "shape"),
        ({"photons": np.full((50, BINS, BINS), np.nan, np.float32)}, "finite"),
        ({"photons": np.full((50, BINS, BINS), -1, np.float32)}, "not negative"),
        ({"edges_um": EDGES_UM[::-1]}, "rise"),
        ({"msd_um2": TIME_NS[1:]}, "MSD"),
        ({"start_variance_um2": math.nan}, "variance"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        histogram(**changes)
