"""The memory model against the rules as printed, exact limits and small cases by hand."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from tplm_daq.cli import main
from tplm_simulators.samples.memory import (
    K_B_MEV_PER_K,
    LATTICES,
    MemoryModel,
    simulate_memory,
)

FREE = {"start_fast": True, "relaxation_us": math.inf}
BURN_IN = 20


def by_the_rules(model: MemoryModel, times: list[int], pulses: int, seed: int):
    """S1, supplementary note 2, word by word on a small square lattice; one row per time.

    Of each row: excitons, growth of r², displacement squared, and Σ x²; then per pulse the fast
    sites before the pulse and after it.
    """
    rng = random.Random(seed)
    rows, columns = model.rows, model.columns
    cy, cx = rows // 2, columns // 2
    fast: set[tuple[int, int]] = set()
    sums = np.zeros((len(times), 3))
    sites = np.zeros(2)
    for pulse in range(BURN_IN + pulses):
        counts = pulse >= BURN_IN
        sites[0] += counts * len(fast)
        excitons = []
        for y in range(rows):
            for x in range(columns):
                r2 = (x - cx) ** 2 + (y - cy) ** 2
                if rng.random() < model.alpha * math.exp(-r2 / (2 * model.spot_sigma_sites**2)):
                    excitons.append([y, x, y, x])
        occupied = {(y, x) for y, x, *_ in excitons}
        fast |= occupied
        step = 0
        while excitons:
            if counts and step in times:
                row = sums[times.index(step)]
                for y, x, y0, x0 in excitons:
                    row[0] += 1
                    row[1] += sum(
                        a * ((p - c) ** 2 - (q - c) ** 2)
                        for a, p, q, c in ((1, y, y0, cy), (1, x, x0, cx))
                    )
                    row[2] += (y - y0) ** 2 + (x - x0) ** 2
            alive = []
            for exciton in excitons:
                y, x = exciton[:2]
                dy, dx = rng.choice([(0, 1), (0, -1), (1, 0), (-1, 0)])
                there = (y + dy, x + dx)
                inside = 0 <= there[0] < rows and 0 <= there[1] < columns
                hop = model.hop_fast if there in fast else model.hop_slow
                if inside and there not in occupied and rng.random() < hop:
                    occupied.remove((y, x))
                    occupied.add(there)
                    fast.add(there)
                    exciton[:2] = there
            for exciton in excitons:
                if rng.random() < 1 / model.lifetime_ps:
                    occupied.remove((exciton[0], exciton[1]))
                else:
                    alive.append(exciton)
            excitons = alive
            step += 1
        sites[1] += counts * len(fast)
        fast = {
            site
            for site in fast
            if -model.relaxation_us * math.log(1 - rng.random()) > model.pulse_interval_us
        }
    return sums, sites / pulses


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"alpha": 0.5, "spot_sigma_sites": 2.5}, id="crowded"),
        pytest.param(
            {"alpha": 0.15, "hop_slow": 0.02, "pulse_interval_us": 1.0},
            id="sparse",
            marks=pytest.mark.full,
        ),
        pytest.param({"rows": 5, "columns": 16, "alpha": 0.3}, id="narrow"),
    ],
)
def test_same_statistics_as_the_rules_word_by_word(changes):
    model = MemoryModel(
        **{
            "rows": 19, "columns": 19, "spot_sigma_sites": 3.0, "hop_slow": 0.1,
            "lifetime_ps": 60.0, "pulse_interval_us": 4.0, **changes,
        }
    )  # fmt: skip
    times, pulses, replicas = [0, 20, 60, 120], 40, 16
    # of the standard error; few replicas have wide tails, and there are many comparisons
    limit = stats.t.ppf(1 - 1e-4, replicas - 1)
    rules, rule_sites = zip(
        *(by_the_rules(model, times, pulses, 100 + k) for k in range(replicas)), strict=True
    )
    found = simulate_memory(
        model, pulses=400, burn_in=BURN_IN, replicas=64, seed=5, record_every_ps=20, times=51,
        maps=True, map_bin_sites=1, map_bins=41,
    )  # fmt: skip
    sums = np.array(rules)
    value = sums[..., 1:].sum(axis=0) / sums[:, :, :1].sum(axis=0)
    rest = sums[..., 1:] - value * sums[..., :1]
    stderr = np.sqrt((rest**2).sum(axis=0) * replicas / (replicas - 1)) / sums[..., :1].sum(axis=0)
    at = [t // 20 for t in times]
    for column, ours, ours_stderr in (
        (0, found.msd_radial_nm2, found.msd_radial_stderr_nm2),
        (1, 2 * found.displacement_nm2, 2 * found.displacement_stderr_nm2),
    ):
        scatter = np.hypot(stderr[:, column], ours_stderr[at] / 100)
        difference = ours[at] / 100 - value[:, column]
        assert difference[0] == 0
        assert np.all(np.abs(difference[1:]) < limit * scatter[1:])
    # numbers of excitons and of fast sites, per pulse
    excitons = sums[..., 0] / pulses
    ours = found.density_per_um2.sum(axis=(1, 2))[at] * 1e-4
    error = excitons.std(axis=0, ddof=1) / np.sqrt(replicas)
    assert np.all(np.abs(ours - excitons.mean(axis=0)) < limit * error)
    before = np.array(rule_sites)[:, 0]
    error = before.std(ddof=1) / np.sqrt(replicas)
    assert abs(found.fast_probability.sum() - before.mean()) < limit * error


def neighbours(model: MemoryModel):
    """Sites of a small lattice, their places, and who is near whom with which weight."""
    sites = [
        (z, y, x)
        for z in range(model.layers)
        for y in range(model.rows)
        for x in range(model.columns)
    ]
    skew, height = (0.5, math.sqrt(3) / 2) if model.lattice == "hexagonal" else (0.0, 1.0)
    places = np.array(
        [
            (
                x - model.columns // 2 + skew * (y - model.rows // 2),
                height * (y - model.rows // 2),
                z,
            )
            for z, y, x in sites
        ]
    )
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    reach = 1.5 if model.lattice == "square-second" else 1.1
    with np.errstate(divide="ignore"):
        weight = np.where((distance > 0) & (distance < reach), distance**-6, 0)
    total = {"square": 4, "square-second": 4.5, "hexagonal": 6, "cubic": 6}[model.lattice]
    return places, weight / total


@pytest.mark.parametrize("lattice", list(LATTICES))
def test_one_exciton_on_a_small_lattice_is_a_markov_chain(lattice):
    hop = 0.03
    model = MemoryModel(
        lattice=lattice, rows=5, columns=7, layers=3 if lattice == "cubic" else 1, alpha=0.002,
        hop_fast=hop, hop_slow=hop, spot_sigma_sites=1.0, lifetime_ps=1500.0,
    )  # fmt: skip
    places, tries = neighbours(model)
    chain = hop * tries
    chain += np.diag(1 - chain.sum(axis=1))
    begin = np.exp(-(places[:, :2] ** 2).sum(axis=1) / 2)
    begin /= begin.sum()
    r2 = (places[:, :2] ** 2).sum(axis=1)
    found = simulate_memory(
        model, pulses=2000, burn_in=0, replicas=400, seed=3, record_every_ps=100, times=21
    )
    for k in (1, 3, 10):
        law = begin @ np.linalg.matrix_power(chain, 100 * k)
        expected = 100 * (law - begin) @ r2
        assert found.msd_radial_stderr_nm2[k] < 0.06 * expected
        assert abs(found.msd_radial_nm2[k] - expected) < 3.5 * found.msd_radial_stderr_nm2[k]


@pytest.mark.parametrize(
    ("changes", "d_cm2_per_s"),
    [
        ({**FREE}, 0.175),
        ({"hop_fast": 0.006, "alpha": 0.03, "spot_sigma_sites": 1.5}, 0.0015),
        ({**FREE, "lattice": "hexagonal"}, 0.175),
        ({**FREE, "lattice": "square-second"}, 0.7 * 5 / 18),
        ({**FREE, "lattice": "cubic", "layers": 3}, 0.7 / 6),
        ({**FREE, "spacing_nm": 20.0}, 0.7),
    ],
)
def test_limits_of_one_kind_of_sites(changes, d_cm2_per_s):
    model = MemoryModel(**{"alpha": 0.01, "rows": 500, "columns": 500, **changes})
    pulses = 300 if model.spot_sigma_sites > 2 else 3000  # a small spot has few excitons
    found = simulate_memory(model, pulses=pulses, burn_in=0, replicas=8, seed=11)
    assert found.d_stderr_cm2_per_s < 0.04 * d_cm2_per_s
    assert abs(found.d_cm2_per_s - d_cm2_per_s) < 3 * found.d_stderr_cm2_per_s
    assert found.d_radial_cm2_per_s == pytest.approx(2 * found.d_cm2_per_s)
    times = found.time_ps[1:41]
    assert np.all(
        np.abs(found.displacement_nm2[1:41] - 2e2 * d_cm2_per_s * times)
        < 4.5 * found.displacement_stderr_nm2[1:41]
    )
    np.testing.assert_allclose(found.decay[20], (1 - 1 / 2500) ** 1000, rtol=0.05)


def test_a_published_check_point():
    found = simulate_memory(MemoryModel(), pulses=200, burn_in=200, replicas=4, seed=2)
    error = math.hypot(found.d_stderr_cm2_per_s, 1e-4)
    assert found.d_stderr_cm2_per_s < 15e-4
    assert abs(found.d_cm2_per_s - 0.0596) < 3 * error
    # excitons drift to where the lattice is fast
    assert found.d_displacement_cm2_per_s > 1.3 * found.d_cm2_per_s


@pytest.mark.full
@pytest.mark.parametrize(
    ("alpha", "interval_us", "d_cm2_per_s"),
    [(0.08, 0.4, 0.0596), (0.08, 2.0, 0.0079), (0.16, 0.2, 0.1181)],
)
def test_check_points_with_full_statistics(alpha, interval_us, d_cm2_per_s):
    found = simulate_memory(MemoryModel(alpha=alpha, pulse_interval_us=interval_us), seed=1)
    error = math.hypot(found.d_stderr_cm2_per_s, 1e-4)
    assert abs(found.d_cm2_per_s - d_cm2_per_s) < 3 * error


TWO = {
    **FREE, "rows": 1, "columns": 2, "spot_sigma_sites": math.inf, "lifetime_ps": 1e7,
}  # fmt: skip


@pytest.mark.parametrize("annihilation", [pytest.param(0.02, marks=pytest.mark.full), 0.2])
def test_two_neighbours_annihilate(annihilation):
    # in a step the first finds the other with 0.7/4; if both are left, so does the second
    model = MemoryModel(**TWO, alpha=1.0, annihilation=annihilation)
    one = 1 - 0.7 / 4 * annihilation
    kw = {"burn_in": 0, "seed": 4, "record_every_ps": 10, "times": 101}
    # all but a few excitons outlive the times that are looked at: the run is stopped by decay
    model = MemoryModel(**{**TWO, "lifetime_ps": 500.0}, alpha=1.0, annihilation=annihilation)
    found = simulate_memory(model, pulses=10, replicas=2000, **kw)
    for k in (1, 2, 5, 10):
        t = 10 * k
        alive = 1 - 1 / 500
        # pairs lose one of the two with 1 - one² in a step, then each decays
        pair = (one**2 * alive**2) ** t
        single = sum(
            (one**2 * alive**2) ** s
            * ((1 - one**2) * alive + one**2 * 2 * alive * (1 - alive))
            * alive ** (t - 1 - s)
            for s in range(t)
        )
        expected = pair + 0.5 * single
        error = math.sqrt(expected * (1 - expected) / 20_000)
        assert abs(found.decay[k] - expected) < 4.5 * error


def test_what_annihilates_gives_no_light():
    model = MemoryModel(alpha=0.5, rows=41, columns=41, spot_sigma_sites=4.0, lifetime_ps=100.0)
    kw = {"pulses": 40, "burn_in": 0, "replicas": 4, "seed": 6, "maps": True, "map_bins": 9}
    dark = simulate_memory(MemoryModel(**{**vars_of(model), "annihilation": 1.0}), **kw)
    bright = simulate_memory(model, **kw)
    assert bright.photons_per_exciton.sum() == pytest.approx(1)
    np.testing.assert_allclose(
        bright.photons_per_exciton.sum(axis=(1, 2))[:-1], -np.diff(bright.decay), atol=1e-12
    )
    assert dark.photons_per_exciton.sum() < 0.9
    assert np.all(dark.decay <= bright.decay + 0.02)


def vars_of(model: MemoryModel) -> dict[str, object]:
    return {name: getattr(model, name) for name in MemoryModel.__dataclass_fields__}


def pair_energy(scale: float) -> float:
    """Mean energy over k_B T of an exciton on one of two sites, by quadrature."""

    def weighted(gap: float) -> float:
        return (
            -0.5 * gap * math.tanh(0.5 * gap)
            * math.exp(-(gap**2) / (4 * scale**2)) / (2 * scale * math.sqrt(math.pi))
        )  # fmt: skip

    return integrate.quad(weighted, -12 * scale, 12 * scale)[0]


@pytest.mark.parametrize("scale", [pytest.param(0.3, marks=pytest.mark.full), 1.0, 2.0])
def test_two_sites_share_an_exciton_by_boltzmann(scale):
    alpha = 0.3
    kt = K_B_MEV_PER_K * 200.0
    model = MemoryModel(
        **{**TWO, "lifetime_ps": 3000.0}, alpha=alpha, temperature_k=200.0, disorder_mev=scale * kt
    )
    found = simulate_memory(model, pulses=20, burn_in=0, replicas=3000, seed=7)
    assert abs(found.energy_mev[0]) < 3.5 * found.energy_stderr_mev[0]
    # with two excitons both sites are full and the mean is 0; later both must still be alive
    both = alpha * math.exp(-1000 / 3000)
    expected = (1 - both) * pair_energy(scale) * kt
    assert found.energy_stderr_mev[20] < 0.15 * abs(expected)
    assert abs(found.energy_mev[20] - expected) < 3.5 * found.energy_stderr_mev[20]


@pytest.mark.full
def test_energy_relaxes_by_the_variance_over_kt():
    kt = K_B_MEV_PER_K * 295.0
    model = MemoryModel(
        **FREE, alpha=5e-4, rows=300, columns=300, spot_sigma_sites=math.inf, disorder_mev=kt,
        lifetime_ps=2000.0,
    )  # fmt: skip
    found = simulate_memory(model, pulses=40, burn_in=0, replicas=8, seed=8)
    # lattice without end, few excitons: the Gaussian density of states times Boltzmann's factor
    assert found.energy_stderr_mev[30] < 0.02 * kt
    assert abs(found.energy_mev[30] + kt) < 3 * found.energy_stderr_mev[30]
    free = simulate_memory(
        MemoryModel(**{**vars_of(model), "disorder_mev": 0.0}), pulses=40, burn_in=0, replicas=8
    )
    assert free.energy_mev is None
    assert found.displacement_nm2[20] < 0.9 * free.displacement_nm2[20]


SMALL = MemoryModel(rows=60, columns=70, spot_sigma_sites=5.0, lifetime_ps=400.0)


def test_same_seed_same_numbers():
    kw = {"pulses": 30, "burn_in": 10, "replicas": 3, "maps": True, "map_bins": 21}
    one, same, other = (simulate_memory(SMALL, seed=seed, **kw) for seed in (1, 1, 2))
    for name in ("msd_nm2", "decay", "photons_per_exciton", "fast_probability"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert one.exciton_steps == same.exciton_steps
    assert not np.array_equal(one.msd_nm2, other.msd_nm2)


def test_error_between_replicas_is_that_between_runs():
    runs = [
        simulate_memory(SMALL, pulses=60, burn_in=40, replicas=6, seed=seed) for seed in range(30)
    ]
    d = np.array([run.d_cm2_per_s for run in runs])
    mean_square = np.mean([run.d_stderr_cm2_per_s**2 for run in runs])
    # 30 runs: the variance is known to 26 %
    assert 0.4 < d.var(ddof=1) / mean_square < 1.9
    assert math.isnan(simulate_memory(SMALL, pulses=5, replicas=1).d_stderr_cm2_per_s)


def test_stops_between_chunks_and_keeps_what_it_has():
    seen: list[tuple[int, int]] = []
    found = simulate_memory(
        SMALL, pulses=90, burn_in=30, replicas=2,
        progress=lambda done, planned: seen.append((done, planned)),
        cancelled=lambda: bool(seen) and seen[-1][0] >= 70,
    )  # fmt: skip
    assert seen == [(20, 120), (30, 120), (50, 120), (70, 120)]
    assert (found.burn_in, found.pulses) == (30, 40)
    assert math.isfinite(found.d_cm2_per_s)
    nothing = simulate_memory(SMALL, pulses=9, replicas=2, maps=True, cancelled=lambda: True)
    assert nothing.pulses == 0
    assert nothing.to_dict()["d_cm2_per_s"] is None


@pytest.mark.parametrize("alpha", [1e-300, 1e-19, 1e-12])
def test_hardly_any_light_makes_no_excitons(alpha):
    found = simulate_memory(replace(SMALL, alpha=alpha), pulses=50, burn_in=0, replicas=2)
    assert found.exciton_steps == 0


def test_bright_pulses_are_looked_at_one_by_one_and_dim_ones_in_hundreds():
    def looks(pulses, **changes):
        seen = []
        model = replace(SMALL, **changes)
        simulate_memory(
            model, pulses=pulses, burn_in=0, replicas=1, progress=lambda n, _: seen.append(n)
        )
        return seen

    assert looks(3, alpha=1.0, spot_sigma_sites=math.inf, lifetime_ps=5000.0) == [1, 2, 3]
    assert looks(10_000, alpha=1e-9)[:2] == [100, 200]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha": 0.0}, "without light"),
        ({"alpha": 1.5}, "alpha is a probability"),
        ({"hop_slow": 0.8}, "must not be above hop_fast"),
        ({"lifetime_ps": 1.0}, "lifetime_ps must be above 1"),
        ({"relaxation_us": 0.0}, "relaxation_us must be positive"),
        ({"pulse_interval_us": math.nan}, "pulse_interval_us must not be negative"),
        ({"rows": 0}, "at least 1"),
        ({"layers": 2}, "one layer"),
        ({"lattice": "round"}, "lattice is one of"),
        ({"disorder_mev": 1000.0}, "at most 10 k_B T"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        MemoryModel(**changes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pulses": 0}, "at least one pulse"),
        ({"record_every_ps": 30}, "must be a multiple"),
        ({"times": 20}, "end before"),
        ({"map_bins": 80}, "odd"),
        ({"replicas": 1000}, "too many"),
    ],
)
def test_runs_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        simulate_memory(MemoryModel(), **options)


def test_command_line(capsys):
    arguments = (
        "simulate memory --alpha 0.1 --pulse-interval-us 1 --pulses 4 --burn-in 2 --replicas 2"
        " --seed 1 --rows 100 --columns 100"
    )
    assert main([*arguments.split(), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    names = {
        "d_cm2_per_s", "d_stderr_cm2_per_s", "d_radial_cm2_per_s", "time_ps", "msd_nm2",
        "exciton_steps", "cpu_seconds",
    }  # fmt: skip
    assert names <= set(result)
    assert len(result["time_ps"]) == len(result["msd_nm2"]) == 201
    model = MemoryModel(alpha=0.1, pulse_interval_us=1.0, rows=100, columns=100)
    found = simulate_memory(model, pulses=4, burn_in=2, replicas=2, seed=1)
    assert result["d_cm2_per_s"] == found.d_cm2_per_s
    assert main([*arguments.split(), "--layers", "2"]) == 2
    assert "a square lattice has one layer" in capsys.readouterr().err
