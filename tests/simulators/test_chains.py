"""Chains of nanocrystals as a sample: their widening and what an aperture sees of it."""

import math

import numpy as np
import pytest
from scipy.integrate import dblquad

from tplm_config.simulation import QuantumSettings
from tplm_simulators.film import GaussianMap
from tplm_simulators.optics import Aperture
from tplm_simulators.samples.chains import ChainMap, chain_light
from tplm_simulators.samples.gridded import LightHistogram

J_A2_PER_HBAR_CM2_PER_S = 45.578  # 30 meV, 10 nm


def light_of(**changes: float) -> LightHistogram:
    settings = {"sites": 20, "realisations": 4, "disorder": 3.0, "dephasing": 0.03, **changes}
    return chain_light(QuantumSettings(**settings), lambda _done, _all: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "factor"),
    [({}, 1.0), ({"coupling_mev": 15.0}, 0.5), ({"spacing_nm": 12.0}, 1.44)],
)
def test_chains_without_disorder_hop(changes: dict[str, float], factor: float) -> None:
    """D = 2J²/Γ, in units of J a²/ħ."""
    light = light_of(disorder=0.0, dephasing=100.0, **changes)
    assert light.d_cm2_per_s == pytest.approx(0.02 * factor * J_A2_PER_HBAR_CM2_PER_S, rel=1e-4)
    assert light.line_d_cm2_per_s(0.25, 0.1, math.inf) == pytest.approx(light.d_cm2_per_s)


def test_chains_start_as_waves_and_go_on_with_the_diffusivity_of_long_times() -> None:
    light = light_of(disorder=1.0, dephasing=0.0)
    unit_ns = 0.65821e-3 / 30
    first = light.msd_um2[1] / (2 * (light.time_edges_ns[1] / unit_ns) ** 2 * 1e-4)
    assert first == pytest.approx(1.0, rel=0.01)  # 2J²t², S3
    light = light_of()
    late = light.time_edges_ns > 60 * unit_ns
    slope = np.diff(light.msd_um2[late]) / np.diff(light.time_edges_ns[late])
    assert slope == pytest.approx(2 * light.d_cm2_per_s * 0.1)
    assert 0 < light.d_stderr_cm2_per_s < light.d_cm2_per_s


def test_chains_without_dephasing_are_localised() -> None:
    light = light_of(dephasing=0.0)
    assert (light.d_cm2_per_s, light.d_stderr_cm2_per_s) == (0.0, 0.0)
    assert np.ptp(light.msd_um2[light.time_edges_ns > 0.01]) == 0
    assert light.msd_um2[-1] > 0


def test_all_photons_of_a_lifetime_are_there() -> None:
    light = light_of()
    seen = ChainMap.of(light, 2.5, np.array([0.0, 2.5, 5.0, 200.0]), 3.0, 0.25)
    shares = np.array([1 - math.exp(-1), math.exp(-1) - math.exp(-2), math.exp(-2)])
    assert seen.photons == pytest.approx(3 * shares)
    everything = seen.through_aperture(0.0, 0.0, Aperture("square", 20.0))
    assert everything == pytest.approx(seen.photons)
    assert seen.prompt_through_aperture(0.0, 0.0, Aperture("square", 20.0)) == 0


@pytest.mark.parametrize("shape", ["square", "disc"])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, -0.2), (0.0, 0.6), (-1.5, 0.1)])
def test_an_aperture_sees_an_elliptic_gaussian(shape: str, place: tuple[float, float]) -> None:
    aperture, half = Aperture(shape, 0.1), 0.1  # type: ignore[arg-type]
    variance_x, variance_y = np.array([0.065, 0.2]), 0.065
    chain = ChainMap(variance_x, variance_y, np.array([2.0, 1.0]))
    seen = chain.through_aperture(*place, aperture)
    film = GaussianMap(variance_x, np.array([2.0, 1.0]), 0.065, 0.0)
    assert seen[0] == pytest.approx(film.through_aperture(*place, aperture)[0], rel=1e-9)

    def density(y: float, x: float) -> float:
        return math.exp(-0.5 * (x**2 / 0.2 + y**2 / 0.065)) / (2 * math.pi * math.sqrt(0.2 * 0.065))

    def reach(x: float) -> float:
        return half if shape == "square" else math.sqrt(max(half**2 - (x - place[0]) ** 2, 0.0))

    exact, _ = dblquad(
        density, place[0] - half, place[0] + half,
        lambda x: place[1] - reach(x), lambda x: place[1] + reach(x),
    )  # fmt: skip
    assert seen[1] == pytest.approx(exact, rel=1e-5)
