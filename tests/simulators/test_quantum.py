from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

from tplm_simulators.samples import _quantum as matrices
from tplm_simulators.samples import quantum
from tplm_simulators.samples.quantum import (
    QuantumModel,
    long_time_diffusivity,
    simulate_quantum,
)

EVEN = QuantumModel(sites=60, disorder=0.0, dephasing=0.0)
GEOMETRIES = pytest.mark.parametrize("geometry", ["ring", "chain"])


@GEOMETRIES
@pytest.mark.parametrize("variant", ["per-site", "published"])
@pytest.mark.parametrize("method", ["average", "trajectories"])
def test_ballistic_without_disorder_and_dephasing(geometry, variant, method):
    model = replace(EVEN, geometry=geometry, variant=variant, coupling=1.5)
    found = simulate_quantum(model, realisations=1, t_max=3.0, method=method)
    np.testing.assert_allclose(found.msd, 2 * 1.5**2 * found.time**2, atol=1e-10)
    assert np.isnan(found.d_max)  # it grows until the end


@GEOMETRIES
@pytest.mark.parametrize("gamma", [0.3, 1.0, 5.0])
def test_dephasing_without_disorder(geometry, gamma):
    model = replace(EVEN, geometry=geometry, dephasing=gamma)
    found = simulate_quantum(model, realisations=2, t_max=4.0)
    decayed = -np.expm1(-gamma * found.time)
    np.testing.assert_allclose(
        found.msd, 4 / gamma * (found.time - decayed / gamma), rtol=1e-9, atol=1e-12
    )
    exact = 2 / gamma * decayed
    if geometry == "ring":
        np.testing.assert_allclose(found.diffusivity, exact, rtol=1e-9, atol=1e-12)
        assert found.d_long_time == pytest.approx(2 / gamma, rel=1e-9)
        assert found.long_time_from == "limit"
    else:
        np.testing.assert_allclose(found.diffusivity, np.gradient(found.msd, 0.1) / 2)
        assert found.long_time_from == "window"


@GEOMETRIES
@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_gaussian_start(geometry, sigma):
    model = replace(EVEN, geometry=geometry, start="gaussian", sigma_sites=sigma)
    population = model.amplitudes() ** 2
    away = model.displacements()[30]
    assert away**2 @ population == pytest.approx(sigma**2, rel=1e-6)
    found = simulate_quantum(model, realisations=1, t_max=3.0)
    # a wide packet holds only small wave vectors, which are slow: ⟨sin²k⟩ in place of ½
    speed2 = 2 * -np.expm1(-1 / (2 * sigma**2))
    np.testing.assert_allclose(found.msd, speed2 * found.time**2, atol=1e-8)


def test_localisation_without_dephasing():
    model = QuantumModel(sites=32, disorder=2.0, dephasing=0.0)
    found = simulate_quantum(model, realisations=16, t_max=30.0, seed=3)
    assert found.long_time_from == "window"
    assert abs(found.d_long_time) < max(3 * found.d_long_time_stderr, 0.02)
    assert found.d_max > 10 * abs(found.d_long_time)
    assert found.t_d_max < 3
    limit = long_time_diffusivity(replace(model, dephasing=1e-3), realisations=20, seed=3)
    assert 0 < limit.d_long_time[0] < 0.01


# D for t → ∞ at Δ = J, from 40 to 120 realisations: known to 2 to 3 %
PUBLISHED_LIMITS = [(0.05, 0.61), (0.3, 1.16), (1.0, 1.00), (3.0, 0.57), (10.0, 0.196)]


def test_long_time_limits_with_disorder():
    gammas, expected = np.array(PUBLISHED_LIMITS).T
    found = long_time_diffusivity(QuantumModel(sites=60), gammas, realisations=20, seed=1)
    sigma = np.hypot(found.d_long_time_stderr, 0.03 * expected)
    assert np.all(np.abs(found.d_long_time - expected) < 3 * sigma)
    assert 0.1 < found.best_dephasing < 1.0  # disorder and dephasing in balance
    assert 0 < found.best_dephasing_stderr < 0.3


@pytest.mark.full
def test_long_time_limits_of_many_realisations():
    gammas, expected = np.array(PUBLISHED_LIMITS).T
    found = long_time_diffusivity(QuantumModel(sites=100), gammas, realisations=60, seed=2)
    sigma = np.hypot(found.d_long_time_stderr, 0.03 * expected)
    assert np.all(np.abs(found.d_long_time - expected) < 3 * sigma)


def test_the_limit_is_where_the_propagation_goes():
    model = QuantumModel(sites=24, disorder=0.5, dephasing=2.0)
    found = simulate_quantum(model, realisations=3, t_max=60.0, seed=4)
    assert found.d_window == pytest.approx(found.d_long_time, rel=2e-4)


@GEOMETRIES
def test_propagator_against_the_matrix_exponential(geometry):
    rng = np.random.default_rng(0)
    n, gamma, step = 6, 0.4, 0.7
    energies, bonds = rng.standard_normal(n), matrices.bonds(n, 1.3, geometry == "ring")
    rho = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    rho = rho + rho.conj().T
    h = matrices.hamiltonian(energies, bonds)
    one = np.eye(n)
    generator = -1j * (np.kron(h, one) - np.kron(one, h)) - gamma * np.diag((1 - one).ravel())
    expected = (expm(generator * step) @ rho.ravel()).reshape(n, n)
    real, imag = rho.real.copy(), rho.imag.copy()
    matrices.advance(real, imag, bonds, energies, gamma, step, 8, np.zeros(2))
    np.testing.assert_allclose(real + 1j * imag, expected, atol=1e-11)
    kept = (rho.real + rho.imag).ravel()
    carried = expm(matrices.liouvillian(energies, bonds, gamma).toarray() * step) @ kept
    np.testing.assert_allclose(carried, (expected.real + expected.imag).ravel(), atol=1e-11)
    np.testing.assert_allclose(
        matrices.propagator(energies, bonds, step), expm(-1j * h * step), atol=1e-12
    )
    place = np.diag(np.arange(n, dtype=np.float64))
    if geometry == "chain":
        v = 1j * (h @ place - place @ h)
        np.testing.assert_allclose(1j * matrices.velocity(bonds), v, atol=1e-12)


@pytest.mark.parametrize(
    ("everywhere", "one_by_one"),
    [
        (lambda *run: quantum._velocities(*run)[0], quantum._density),
        (quantum._published_msd, quantum._published_density),
    ],
)
def test_one_matrix_stands_for_all_starts(everywhere, one_by_one):
    model = QuantumModel(sites=16, dephasing=0.8)
    energies = np.random.default_rng(8).standard_normal(16)
    # short enough that nothing goes round the ring
    populations = [one_by_one(model, np.roll(energies, 8 - start), 10) for start in range(16)]
    expected = np.mean(populations, axis=0) @ model.displacements()[8] ** 2
    np.testing.assert_allclose(everywhere(model, energies, 10), expected, atol=1e-9)


@pytest.mark.parametrize("variant", ["per-site", "published"])
@pytest.mark.parametrize("start", ["site", "gaussian"])
def test_trajectories_give_the_average(variant, start):
    gamma = 0.8 if variant == "per-site" else 8.0
    model = QuantumModel(
        sites=24, dephasing=gamma, variant=variant, start=start, sigma_sites=2.0,
        step=0.02 if variant == "per-site" else 0.1,
    )  # fmt: skip
    steps = round(2 / model.step)
    # with one disorder for all, only the noise is averaged
    energies = np.random.default_rng(5).standard_normal(24)
    noise = np.random.default_rng(6)
    away = model.displacements()[12]
    runs = np.array([quantum._trajectory(model, energies, steps, noise) for _ in range(300)])
    msd = (runs - runs[:, :1]) @ away**2
    exact, _, _ = quantum._spread(model, energies, steps, "average", noise)
    off = (msd.mean(axis=0) - exact)[1:] / (msd.std(axis=0, ddof=1)[1:] / np.sqrt(300))
    assert np.all(np.abs(off[[steps // 4, steps // 2, -1]]) < 3)
    norm = runs.sum(axis=2)
    if variant == "per-site":
        np.testing.assert_allclose(norm, 1.0, atol=1e-10)
    else:  # only on average
        assert abs(norm[:, -1].mean() - 1) < 4 * norm[:, -1].std() / np.sqrt(300)
        assert norm[:, -1].std() > 1e-3


@GEOMETRIES
def test_the_published_variant_without_disorder(geometry):
    """Steps go on coherently with q = exp(−Γ step²): Γ = 10 at 0.1 dephases at about 1."""
    model = replace(EVEN, sites=40, geometry=geometry, dephasing=10.0, variant="published")
    found = simulate_quantum(model, realisations=1, t_max=4.0)
    q, h = np.exp(-10.0 * 0.1**2), 0.1
    # velocities of two steps agree as long as all steps from one to the other are coherent
    steps = np.arange(41)
    together = [sum((k - m) * q ** (m + 1) for m in range(1, k)) for k in steps]
    np.testing.assert_allclose(found.msd, 2 * h**2 * (steps + 2 * np.array(together)), atol=1e-9)
    long_time = simulate_quantum(
        replace(model, sites=20, geometry="ring"), realisations=1, t_max=60.0
    )
    assert long_time.d_long_time == pytest.approx(h * (1 + 2 * q**2 / (1 - q)), rel=1e-9)


def test_methods_share_the_disorder_of_a_seed():
    model = QuantumModel(sites=24, dephasing=0.0, disorder=1.5)
    exact, played = (
        simulate_quantum(model, realisations=3, t_max=2.0, seed=9, method=method)
        for method in ("average", "trajectories")
    )
    np.testing.assert_allclose(played.msd, exact.msd, atol=1e-8)
    other = simulate_quantum(model, realisations=3, t_max=2.0, seed=10)
    assert not np.allclose(other.msd, exact.msd)


def test_a_single_realisation_has_no_standard_error():
    found = simulate_quantum(QuantumModel(sites=12), realisations=1, t_max=1.0)
    assert np.isnan(found.d_long_time_stderr)
    assert found.to_dict()["d_long_time_stderr"] is None


def test_meeting_the_end_shows():
    for variant in ("per-site", "published"):
        model = QuantumModel(
            sites=12, disorder=0.0, dephasing=0.0, geometry="chain", variant=variant
        )
        assert simulate_quantum(model, realisations=1, t_max=1.0).edge_share < 1e-3
        assert simulate_quantum(model, realisations=1, t_max=5.0).edge_share > 0.01


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sites": 3}, "sites must be 4"),
        ({"disorder": -1.0}, "disorder must be zero or more"),
        ({"dephasing": float("inf")}, "dephasing must be zero or more"),
        ({"step": 0.0}, "step must be a positive"),
        ({"geometry": "torus"}, '"ring", "chain"; it is "torus"'),
        ({"variant": "other"}, "variant is one of"),
    ],
)
def test_impossible_models(changes, words):
    with pytest.raises(ValueError, match=words):
        QuantumModel(**changes)


def test_impossible_runs():
    model = QuantumModel(sites=12)
    with pytest.raises(ValueError, match="t_max"):
        simulate_quantum(model, t_max=-1.0)
    with pytest.raises(ValueError, match="realisations"):
        simulate_quantum(model, realisations=0)
    with pytest.raises(ValueError, match="method is one of"):
        simulate_quantum(model, method="guess")
    with pytest.raises(ValueError, match="limit for long times"):
        long_time_diffusivity(replace(model, geometry="chain"))
    with pytest.raises(ValueError, match="must rise"):
        long_time_diffusivity(model, [1.0, 0.5])
