"""Memory model: excitons on a lattice whose sites remember where excitons have been.

Kinetic Monte Carlo after S1, supplementary note 2, exact in distribution to the rules as printed.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tplm_analysis.results import Result
from tplm_simulators.samples import _walk

K_B_MEV_PER_K = 0.0861733326
NM2_PER_PS_IN_CM2_PER_S = 1e-2
CHUNK_TRIES = 10_000_000
"""Tries to hop between two looks at progress and cancellation: some 30 ms."""
FEWEST, MOST = 20, 10_000
"""Pulses between two looks when they are dim: a hundredth of all, but within these."""
LARGEST = 2**29
"""Sites of all replicas; four times an index must fit into 32 bits."""

LatticeName = Literal["square", "square-second", "hexagonal", "cubic"]

Step = tuple[int, int, int]
"""Of layers, rows and columns to a neighbour."""

NEAREST: tuple[Step, ...] = ((0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0))
DIAGONAL: tuple[Step, ...] = ((0, 1, 1), (0, 1, -1), (0, -1, 1), (0, -1, -1))


class _Geometry(NamedTuple):
    steps: tuple[Step, ...]
    weights: tuple[float, ...]
    skew: float = 0.0
    height: float = 1.0


LATTICES: dict[LatticeName, _Geometry] = {
    "square": _Geometry(NEAREST, (1.0,) * 4),
    # Förster transfer falls as r⁻⁶: 1/8 at √2
    "square-second": _Geometry(NEAREST + DIAGONAL, (1.0,) * 4 + (0.125,) * 4),
    # rows follow each other half a site to the right, √3/2 of a site higher
    "hexagonal": _Geometry((*NEAREST, (0, 1, -1), (0, -1, 1)), (1.0,) * 6, 0.5, math.sqrt(0.75)),
    "cubic": _Geometry((*NEAREST, (1, 0, 0), (-1, 0, 0)), (1.0,) * 6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModel:
    """Parameters of the memory model; the defaults are those of S1.

    In each step of 1 ps every exciton tries one neighbour at random and hops with the probability
    of that neighbour's state, or not at all if an exciton is there; then it decays with the
    probability 1 ps / lifetime. A site where an exciton has been is fast until it relaxes.

    Parameters
    ----------
    alpha
        Probability that the pulse excites the site in the middle of the spot, 0 to 1.
    pulse_interval_us
        From one pulse to the next, µs.
    hop_fast, hop_slow
        Probability to hop to a fast (modified) and to a slow (ground-state) neighbour that was
        tried; the former is not below the latter.
    lifetime_ps
        Mean lifetime of an exciton, ps.
    relaxation_us
        Mean time until a fast site is slow again, µs; infinite for never.
    start_fast
        All sites are fast before the first pulse.
    spot_sigma_sites
        Standard deviation of the spot along one axis, in sites; infinite for even light.
    spacing_nm
        From site to site, nm.
    lattice
        ``"square"`` as published; ``"square-second"`` with the four second neighbours, which are
        tried 1/8 as often as the nearest (Förster, r⁻⁶); ``"hexagonal"`` (six neighbours) on a
        rhombus; ``"cubic"``. Whatever the lattice, each exciton tries one neighbour in a step.
    rows, columns
        Of the lattice, beyond which there is nothing; the spot is on its middle.
    layers
        Of a cubic lattice, all lit alike.
    disorder_mev
        Standard deviation of the sites' energies (Gaussian, another draw in each replica), meV.
        A hop upwards by ΔE is made exp(−ΔE/k_B T) times as often (Miller and Abrahams).
    temperature_k
        Temperature, K; only disorder feels it.
    annihilation
        Probability that an exciton which would hop to a fast site, but for another exciton
        there, is gone without light.

    Raises
    ------
    ValueError
        For a value out of its range, in a sentence.
    """

    alpha: float = 0.08
    pulse_interval_us: float = 0.4
    hop_fast: float = 0.7
    hop_slow: float = 0.006
    lifetime_ps: float = 2500.0
    relaxation_us: float = 8.1
    start_fast: bool = False
    spot_sigma_sites: float = 10.62
    spacing_nm: float = 10.0
    lattice: LatticeName = "square"
    rows: int = 1000
    columns: int = 1000
    layers: int = 1
    disorder_mev: float = 0.0
    temperature_k: float = 295.0
    annihilation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "hop_fast", "hop_slow", "annihilation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, 0 to 1, not {getattr(self, name)}")
        for name in ("relaxation_us", "spot_sigma_sites"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("spacing_nm", "temperature_k"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("pulse_interval_us", "disorder_mev"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.alpha == 0:
            raise ValueError("alpha must be positive: without light there are no excitons")
        if self.hop_slow > self.hop_fast:
            raise ValueError(
                f"hop_slow ({self.hop_slow}) must not be above hop_fast ({self.hop_fast})"
            )
        if not 1 < self.lifetime_ps <= 1e7:
            raise ValueError(f"lifetime_ps must be above 1 and at most 1e7, not {self.lifetime_ps}")
        if self.lattice not in LATTICES:
            raise ValueError(f"lattice is one of {', '.join(LATTICES)}, not {self.lattice!r}")
        if min(self.rows, self.columns, self.layers) < 1:
            raise ValueError("rows, columns and layers must be at least 1")
        if self.layers > 1 and self.lattice != "cubic":
            raise ValueError(f"a {self.lattice} lattice has one layer, not {self.layers}")
        if self.disorder_mev > 10 * K_B_MEV_PER_K * self.temperature_k:
            raise ValueError("disorder_mev must be at most 10 k_B T")


@dataclass(frozen=True, slots=True)
class MemoryResult(Result):
    """What the memory model gives. Standard errors are from the scatter between replicas.

    One-axis values are means over x and y. They are of the excitons alive at the time, each
    paired with its own start.

    Attributes
    ----------
    d_cm2_per_s, d_stderr_cm2_per_s : float
        Diffusivity along one axis at `d_time_ps`: growth of the variance of the profile / 2t.
        This is what the microscope measures. NaN if no exciton was alive then; the error is NaN
        with one replica.
    d_radial_cm2_per_s, d_radial_stderr_cm2_per_s : float
        The same with the two-dimensional ⟨r²⟩ / 2t, as S1 prints it: twice the above.
    d_displacement_cm2_per_s, d_displacement_stderr_cm2_per_s : float
        One axis, from the excitons' own mean square displacement / 2t: larger, since they drift
        inwards to where the lattice is fast.
    d_time_ps : float
        1 ns.
    pulses, burn_in, replicas : int
        Done, all replicas alike; fewer pulses than asked for if it was stopped.
    exciton_steps : int
        Tries to hop in the pulses that count, and `cpu_seconds` the processor time of these.
    cpu_seconds : float
        Time of the processor for the pulses that count.
    time_ps : (time,) float64
        Since the pulse.
    msd_nm2, msd_stderr_nm2 : (time,) float64
        Growth of the variance of the profile along one axis.
    msd_radial_nm2, msd_radial_stderr_nm2 : (time,) float64
        Growth of ⟨r²⟩.
    displacement_nm2, displacement_stderr_nm2 : (time,) float64
        Mean square displacement of the excitons along one axis.
    d_of_time_cm2_per_s : (time,) float64
        `msd_nm2` / 2t.
    decay : (time,) float64
        Excitons alive, as a share of those made.
    energy_mev, energy_stderr_mev : (time,) float64 or None
        Mean energy of the excitons' sites; None without disorder.
    edges_um : (bin + 1,) float64 or None
        Edges of the bins of the maps along x and y, µm from the middle of the spot; None without
        maps.
    density_per_um2 : (time, y, x) float64 or None
        ρ(x, y, t): excitons alive at `time_ps`, per pulse and µm² (of all layers).
    photons_per_exciton : (time, y, x) float64 or None
        Share of the excitons made that decay with light in a bin, from `time_ps` to the next.
    fast_probability : (row, column) float64 or None
        Probability that a site is fast right before a pulse; the middle is the middle of the
        spot, mean over layers; cut where the lattice ends. Rows of a hexagonal lattice are
        shifted by half a site each.
    """

    d_cm2_per_s: float
    d_stderr_cm2_per_s: float
    d_radial_cm2_per_s: float
    d_radial_stderr_cm2_per_s: float
    d_displacement_cm2_per_s: float
    d_displacement_stderr_cm2_per_s: float
    d_time_ps: float
    pulses: int
    burn_in: int
    replicas: int
    exciton_steps: int
    cpu_seconds: float
    time_ps: NDArray[np.float64]
    msd_nm2: NDArray[np.float64]
    msd_stderr_nm2: NDArray[np.float64]
    msd_radial_nm2: NDArray[np.float64]
    msd_radial_stderr_nm2: NDArray[np.float64]
    displacement_nm2: NDArray[np.float64]
    displacement_stderr_nm2: NDArray[np.float64]
    d_of_time_cm2_per_s: NDArray[np.float64]
    decay: NDArray[np.float64]
    energy_mev: NDArray[np.float64] | None
    energy_stderr_mev: NDArray[np.float64] | None
    edges_um: NDArray[np.float64] | None
    density_per_um2: NDArray[np.float64] | None
    photons_per_exciton: NDArray[np.float64] | None
    fast_probability: NDArray[np.float64] | None

    SOURCE: ClassVar[str] = "S1, supplementary note 2"
    CURVES: ClassVar[tuple[str, ...]] = (
        "edges_um", "density_per_um2", "photons_per_exciton", "fast_probability",
    )  # fmt: skip


def simulate_memory(
    model: MemoryModel,
    *,
    pulses: int = 1000,
    burn_in: int = 1000,
    replicas: int = 16,
    seed: int = 0,
    record_every_ps: int = 50,
    times: int = 201,
    maps: bool = False,
    map_bin_sites: int = 5,
    map_bins: int = 81,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> MemoryResult:
    """Simulate pulse after pulse on replicas of a lattice.

    It uses one core; several calls may run in threads side by side.

    Parameters
    ----------
    model
        Its parameters.
    pulses, burn_in
        Pulses in each replica: those that count, and those before them, in which the lattice
        comes to its steady state (some `relaxation_us` are needed).
    replicas
        Lattices that are independent of each other; standard errors need two.
    seed
        The same seed gives the same result.
    record_every_ps, times
        Excitons are looked at so often after each pulse, so many times (the first at 0).
        1000 ps must be a multiple.
    maps
        Also make the maps, of `map_bins` × `map_bins` bins of `map_bin_sites` sites each way.
        Both are odd, so that the middle bin is on the spot and all bins hold whole sites.
    progress
        Called after each chunk of pulses with those done and all, burn-in included.
    cancelled
        Asked before each chunk; if true, what was found until then is the result.

    Raises
    ------
    ValueError
        For a value out of its range, in a sentence.
    """
    _check(model, pulses, burn_in, replicas, record_every_ps, times, map_bin_sites, map_bins)
    run = _Run(model, replicas, seed, record_every_ps, map_bin_sites)
    sums = np.zeros((replicas, times, _walk.COLUMNS))
    shape = (times, map_bins, map_bins)
    density = np.zeros(shape, np.uint32) if maps else None
    photons = np.zeros(shape, np.uint32) if maps else None
    fast: NDArray[np.float64] | None = None
    chunks = done = steps = 0
    cpu_s = 0.0
    chunk = min(run.bright_chunk, max(FEWEST, min((burn_in + pulses) // 100, MOST)))
    run.pulses(0, sums, density, photons)  # compiles
    while done < burn_in + pulses and not (cancelled is not None and cancelled()):
        counts = done >= burn_in
        size = min(chunk, (burn_in + pulses if counts else burn_in) - done)
        if counts:
            if maps:
                share = run.fast_share(map_bin_sites * map_bins)
                fast = share if fast is None else fast + share
                chunks += 1
            begin_s = time.thread_time()
            steps += run.pulses(size, sums, density, photons)
            cpu_s += time.thread_time() - begin_s
        else:
            run.pulses(size, None, None, None)
        done += size
        if progress is not None:
            progress(done, burn_in + pulses)
    return _result(
        model, sums, density, photons, None if fast is None else fast / chunks,
        record_every_ps, map_bin_sites, pulses=max(0, done - burn_in),
        burn_in=min(done, burn_in), replicas=replicas, exciton_steps=steps, cpu_seconds=cpu_s,
    )  # fmt: skip


D_TIME_PS = 1000


def _check(
    model: MemoryModel,
    pulses: int,
    burn_in: int,
    replicas: int,
    every: int,
    times: int,
    bin_sites: int,
    bins: int,
) -> None:
    if pulses < 1 or replicas < 1 or burn_in < 0:
        raise ValueError("at least one pulse and one replica are needed, and burn_in of 0 or more")
    if every < 1 or D_TIME_PS % every:
        raise ValueError(f"{D_TIME_PS} ps must be a multiple of record_every_ps, {every}")
    if (times - 1) * every < D_TIME_PS:
        raise ValueError(f"{times} times, {every} ps apart, end before {D_TIME_PS} ps")
    if min(bin_sites, bins) < 1 or bin_sites % 2 == 0 or bins % 2 == 0:
        raise ValueError("map_bin_sites and map_bins must be odd and positive")
    if replicas * _size(model) > LARGEST:
        raise ValueError(
            f"{replicas} replicas of {_size(model)} sites are too many: {LARGEST} sites at most"
        )


def _stride(model: MemoryModel) -> int:
    """Sites from row to row: walls, and never a power of two, which a cache dislikes."""
    return model.columns + 8 if model.columns % 16 == 8 else model.columns + 2


def _size(model: MemoryModel) -> int:
    """Sites of one replica, with its frame of walls."""
    layers = model.layers + 2 if model.lattice == "cubic" else 1
    return layers * (model.rows + 2) * _stride(model)


class _Run:
    """The lattices and the list of excitons, from pulse to pulse."""

    def __init__(
        self, model: MemoryModel, replicas: int, seed: int, every: int, bin_sites: int
    ) -> None:
        geometry = LATTICES[model.lattice]
        self._model, self._replicas = model, replicas
        stride = _stride(model)
        frame = 1 if model.lattice == "cubic" else 0
        walls = (replicas, model.layers + 2 * frame, model.rows + 2, stride)
        self._sites = np.full(walls, _walk.WALL, np.uint8)
        inside = self._sites[
            :, frame : frame + model.layers, 1 : model.rows + 1, 1 : model.columns + 1
        ]
        inside[:] = _walk.MOD if model.start_fast else _walk.GND
        self._inside = inside
        self._grid = _walk.Grid(
            _size(model), (model.rows + 2) * stride, stride, 1 + model.columns // 2,
            1 + model.rows // 2, geometry.skew, geometry.height,
        )  # fmt: skip
        numbers, lanes, energies = np.random.SeedSequence(seed).spawn(3)
        self._rng = np.random.default_rng(numbers)
        state = lanes.generate_state(4 * _walk.LANES, np.uint64)
        self._state = state.astype(np.uint64).reshape(4, _walk.LANES)
        self._weight: NDArray[np.float32] | None = None
        if model.disorder_mev > 0:
            scale = model.disorder_mev / (K_B_MEV_PER_K * model.temperature_k)
            energy = np.random.default_rng(energies).standard_normal(
                self._sites.size, dtype=np.float32
            )
            self._weight = np.exp(-scale * energy)
        self._annihilation = model.annihilation if model.annihilation > 0 else None
        self._marked = np.empty(inside.size + 1, np.int32)
        self._n_marked = 0
        if model.start_fast:
            at = np.arange(self._sites.size, dtype=np.int32).reshape(walls)
            fast = at[:, frame : frame + model.layers, 1 : model.rows + 1, 1 : model.columns + 1]
            self._marked[:-1] = fast.ravel()
            self._n_marked = inside.size
        # the spot out to where 10⁻⁸ of its peak is left
        widest = max(model.rows, model.columns)
        reach = math.ceil(min(6.1 * model.spot_sigma_sites / geometry.height, 2.0 * widest))
        self._reach = reach
        self._first_layer = frame
        # no sum of the Gaussian over a row of sites is above this
        row = 1 + math.sqrt(2 * math.pi) * min(model.spot_sigma_sites, 1e6)
        per_layer = model.alpha * min(
            row * (1 + (row - 1) / geometry.height), float(model.rows * model.columns)
        )
        mean = replicas * model.layers * per_layer
        tries = 1 + min(mean, inside.size) * model.lifetime_ps
        self.bright_chunk = max(1, int(CHUNK_TRIES / tries))
        room = min(inside.size, int(mean + 12 * math.sqrt(mean) + 100))
        self._place, self._start, self._death = (np.empty(room, np.int32) for _ in range(3))
        self._words = np.empty(max(1 << 12, (room + 1) // 2 + _walk.LANES), np.uint64)
        self._words = self._words[: self._words.size // _walk.LANES * _walk.LANES]
        self._tries = np.empty(2 * self._words.size, np.int32)
        variants = self._weight is not None or self._annihilation is not None
        self._chances = np.empty(2 * self._words.size if variants else 0, np.float32)
        self._edges, self._jumps = _intervals(model, self._grid)
        self._every, self._bin_sites = every, bin_sites
        relaxed = -math.expm1(-model.pulse_interval_us / model.relaxation_us)
        self._share = relaxed

    def pulses(self, number: int, sums: Any, density: Any, photons: Any) -> int:
        """Run so many pulses; gives the tries to hop."""
        model = self._model
        self._n_marked, tried = _walk.run_pulses(
            self._sites.reshape(-1), self._replicas, self._first_layer, model.layers, self._reach,
            float(model.spot_sigma_sites), float(model.alpha), self._grid, self._edges,
            self._jumps, 1 / model.lifetime_ps, self._share, number, self._every, self._weight,
            self._annihilation, self._chances, self._marked, self._n_marked, self._place,
            self._start, self._death, self._words, self._tries, self._state, sums,
            self._bin_sites, density, photons, self._rng,
        )  # fmt: skip
        return tried

    def fast_share(self, width: int) -> NDArray[np.float64]:
        """Share of the replicas and layers in which a site is fast, in a window on the spot."""
        half = width // 2
        rows, columns = self._inside.shape[2:]
        window = self._inside[
            :, :, max(0, rows // 2 - half) : rows // 2 + half + 1,
            max(0, columns // 2 - half) : columns // 2 + half + 1,
        ]  # fmt: skip
        return np.asarray((window == _walk.MOD).mean(axis=(0, 1)))


def _intervals(
    model: MemoryModel, grid: _walk.Grid
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Where the tries of `_walk.encode` begin: class 2 to each neighbour, class 1, no hop."""
    geometry = LATTICES[model.lattice]
    share = np.array(geometry.weights) / sum(geometry.weights)
    offsets = np.array([z * grid.plane + y * grid.stride + x for z, y, x in geometry.steps])
    ends = np.cumsum([*(share * model.hop_slow), *(share * (model.hop_fast - model.hop_slow))])
    edges = np.minimum(np.round(np.array([0.0, *ends]) * 2**32), 2**32 - 1)
    tries = np.array([*(4 * offsets + 2), *(4 * offsets + 1), 0])
    rest = (0, -len(ends) % 4)
    return (
        np.pad(edges, rest, mode="edge").astype(np.uint32),
        np.pad(np.diff(tries, prepend=0), rest).astype(np.int32),
    )


def _ratio(
    sums: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum over replicas / count over replicas, and its standard error between them."""
    replicas = len(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = sums.sum(axis=0) / counts.sum(axis=0)
        rest = ((sums - value * counts) ** 2).sum(axis=0)
        stderr = np.sqrt(rest * replicas / np.float64(replicas - 1)) / counts.sum(axis=0)
    return value, stderr


def _result(
    model: MemoryModel, sums: NDArray[np.float64], density: NDArray[np.uint32] | None,
    photons: NDArray[np.uint32] | None, fast: NDArray[np.float64] | None, every: int,
    bin_sites: int, **done: Any,
) -> MemoryResult:  # fmt: skip
    alive = sums[..., 0]
    made = alive[:, 0].sum()
    time_ps = every * np.arange(sums.shape[1], dtype=float)
    site_nm2 = model.spacing_nm**2
    radial, radial_stderr = _ratio(site_nm2 * (sums[..., 1] + sums[..., 2]), alive)
    own, own_stderr = _ratio(0.5 * site_nm2 * (sums[..., 3] + sums[..., 4]), alive)
    energy = energy_stderr = None
    if model.disorder_mev > 0:
        energy, energy_stderr = _ratio(K_B_MEV_PER_K * model.temperature_k * sums[..., 5], alive)
    edges_um = per_um2 = per_exciton = None
    n_pulses = done["pulses"] * done["replicas"]
    if density is not None and photons is not None:
        bin_um = 1e-3 * bin_sites * model.spacing_nm
        edges_um = bin_um * (np.arange(density.shape[1] + 1) - 0.5 * density.shape[1])
        with np.errstate(invalid="ignore"):
            per_um2 = density / np.float64(n_pulses) / bin_um**2
            per_exciton = photons / made
    k = D_TIME_PS // every
    to_d = NM2_PER_PS_IN_CM2_PER_S / (2 * D_TIME_PS)
    with np.errstate(invalid="ignore", divide="ignore"):
        d_of_time = NM2_PER_PS_IN_CM2_PER_S * 0.5 * radial / (2 * time_ps)
        decay = alive.sum(axis=0) / made
    return MemoryResult(
        d_cm2_per_s=float(0.5 * radial[k] * to_d),
        d_stderr_cm2_per_s=float(0.5 * radial_stderr[k] * to_d),
        d_radial_cm2_per_s=float(radial[k] * to_d),
        d_radial_stderr_cm2_per_s=float(radial_stderr[k] * to_d),
        d_displacement_cm2_per_s=float(own[k] * to_d),
        d_displacement_stderr_cm2_per_s=float(own_stderr[k] * to_d),
        d_time_ps=float(D_TIME_PS),
        time_ps=time_ps,
        msd_nm2=0.5 * radial,
        msd_stderr_nm2=0.5 * radial_stderr,
        msd_radial_nm2=radial,
        msd_radial_stderr_nm2=radial_stderr,
        displacement_nm2=own,
        displacement_stderr_nm2=own_stderr,
        d_of_time_cm2_per_s=d_of_time,
        decay=decay,
        energy_mev=energy,
        energy_stderr_mev=energy_stderr,
        edges_um=edges_um,
        density_per_um2=per_um2,
        photons_per_exciton=per_exciton,
        fast_probability=fast,
        **done,
    )
