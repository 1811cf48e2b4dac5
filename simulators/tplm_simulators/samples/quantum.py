"""Excitons between waves and hops: the Haken–Strobl–Reineker model (S3).

Units are those of S3: ħ = 1 and distances in sites. With the coupling J = 1, energies and rates
are in units of J, times in ħ/J, diffusivities in J a²/ħ.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from tplm_analysis.results import Result
from tplm_simulators.samples import _quantum as matrices

F64 = NDArray[np.float64]
Complex = NDArray[np.complex128]
Progress = Callable[[int, int], None]

Geometry = Literal["ring", "chain"]
Start = Literal["site", "gaussian"]
Variant = Literal["per-site", "published"]
Method = Literal["average", "trajectories"]

_KICK = 0.1
"""Largest Γ h in a substep h of a trajectory. The kicks between substeps stand for noise all the
time: the MSD is too large by Γ h²/3t of itself, the D of long times by (Γ h)²/12 = 0.08 %."""
_OUTER = 0.1


@dataclass(frozen=True, kw_only=True)
class QuantumModel:
    """H = J Σ(|n⟩⟨n+1| + h.c.) + Σ |n⟩⟨n| (ε_n + ξ_n(t)) (S3, equations 3 to 6).

    Attributes
    ----------
    sites : int
        N, 4 or more.
    disorder : float
        Δ, standard deviation of ε_n.
    dephasing : float
        Γ of ⟨ξ_n(t) ξ_m(t′)⟩ = Γ δ(t − t′) δ_nm: the rate at which coherences decay.
    coupling : float
        J.
    geometry : {"ring", "chain"}
        Whether the last site is the first one's neighbour.
    start : {"site", "gaussian"}
        One site, or a coherent Gaussian about the middle one. On a ring the former is averaged
        over all sites.
    sigma_sites : float
        Standard deviation of the population of the Gaussian start. S3 says 10; its authors'
        amplitude exp(−n²/w²) with w = 10 makes it 5.
    variant : {"per-site", "published"}
        ``"per-site"`` is what the equations say. ``"published"`` is what the authors' public code
        does: a random phase of variance Γ·step² for each *matrix element* of exp(−i H step), so
        that its Γ is 1/step times the rate of dephasing, and only the mean norm is kept.
    step : float
        Between two times of a result; with ``"published"`` also between two draws.

    Raises
    ------
    ValueError
        When a value is out of range or a name unknown.
    """

    sites: int = 100
    disorder: float = 1.0
    dephasing: float = 0.3
    coupling: float = 1.0
    geometry: Geometry = "ring"
    start: Start = "site"
    sigma_sites: float = 10.0
    variant: Variant = "per-site"
    step: float = 0.1

    def __post_init__(self) -> None:
        if self.sites < 4:
            raise ValueError(f"sites must be 4 or more; it is {self.sites}.")
        for name in ("disorder", "dephasing"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or more; it is {getattr(self, name)}.")
        for name in ("coupling", "sigma_sites", "step"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a positive number; it is {getattr(self, name)}.")
        for name, allowed in (
            ("geometry", ("ring", "chain")),
            ("start", ("site", "gaussian")),
            ("variant", ("per-site", "published")),
        ):
            _one_of(name, getattr(self, name), allowed)

    @property
    def has_limit(self) -> bool:
        """Whether `long_time_diffusivity` can be calculated."""
        return self.geometry == "ring" and self.variant == "per-site" and self.dephasing > 0

    @property
    def everywhere(self) -> bool:
        """Whether the result is averaged over starts on every site."""
        return self.geometry == "ring" and self.start == "site"

    @property
    def bonds(self) -> F64:
        """Coupling of each site to the next; the last one's closes the ring or is zero."""
        return matrices.bonds(self.sites, self.coupling, self.geometry == "ring")

    def displacements(self) -> F64:
        """Return how far it is from each site to each other one, the short way round a ring."""
        sites = np.arange(self.sites)
        away = sites - sites[:, None]
        if self.geometry == "ring":
            away = (away + self.sites // 2) % self.sites - self.sites // 2
        return np.asarray(away, dtype=np.float64)

    def amplitudes(self) -> F64:
        """Return the wave function at the start, about the middle site."""
        away = self.displacements()[self.sites // 2]
        if self.start == "site":
            return np.asarray(away == 0, dtype=np.float64)
        wave = np.exp(-(away**2) / (4 * self.sigma_sites**2))
        return np.asarray(wave / np.linalg.norm(wave))


@dataclass(frozen=True, eq=False)
class QuantumResult(Result):
    """How an exciton spreads, averaged over disorder and noise.

    Standard errors are those of the mean over the realisations; NaN of a single one.

    Attributes
    ----------
    time : (time,) float64
        From zero, in steps of the model.
    msd, msd_stderr : (time,) float64
        Σ n² ρ_nn less that at the start (S3, equation 7).
    diffusivity, diffusivity_stderr : (time,) float64
        D = ½ dMSD/dt (S3, equation 8).
    d_long_time, d_long_time_stderr : float
        D for t → ∞, where it can be calculated (a ring, Γ > 0, noise per site); otherwise the
        mean over `window`.
    long_time_from : {"limit", "window"}
        Which of the two.
    window : tuple of float
        Last third of the times.
    d_window, d_window_stderr : float
        Mean of D over it. It nears the limit slowly, since an exciton meets barriers again.
    d_max, d_max_stderr, t_d_max : float
        Largest D and its time (t_max of S3); NaN when D grows until the end.
    edge_share : float
        Population of the outermost tenth of the sites at the end. When it is not small the
        exciton has met an end of the chain or itself on the ring. NaN where that does no harm:
        a density matrix that starts everywhere counts every turn.
    """

    SOURCE: ClassVar[str] = "S3, equations 3 to 8; the limit is the project's"

    time: F64
    msd: F64
    msd_stderr: F64
    diffusivity: F64
    diffusivity_stderr: F64
    d_long_time: float
    d_long_time_stderr: float
    long_time_from: Literal["limit", "window"]
    window: tuple[float, float]
    d_window: float
    d_window_stderr: float
    d_max: float
    d_max_stderr: float
    t_d_max: float
    edge_share: float


@dataclass(frozen=True, eq=False)
class LongTimeDiffusivity(Result):
    """D for t → ∞ against the dephasing.

    Attributes
    ----------
    dephasing : (dephasing,) float64
        Γ.
    d_long_time, d_long_time_stderr : (dephasing,) float64
        Mean over the realisations and its standard error; NaN of a single one.
    best_dephasing, best_dephasing_stderr : float
        Where D is largest, from a parabola in ln Γ through the highest point and its neighbours,
        and its jackknife error; NaN when the highest is the first or the last.
    """

    SOURCE: ClassVar[str] = "the project's own; the model is that of S3, equations 3 to 6"

    dephasing: F64
    d_long_time: F64
    d_long_time_stderr: F64
    best_dephasing: float
    best_dephasing_stderr: float


def simulate_quantum(
    model: QuantumModel,
    *,
    realisations: int = 40,
    t_max: float = 20.0,
    seed: int = 0,
    method: Method = "average",
    progress: Progress | None = None,
) -> QuantumResult:
    """Let an exciton spread from its start.

    Parameters
    ----------
    model
        The model.
    realisations
        Of the disorder; the same ones for the same seed, whatever the method and the dephasing.
    t_max
        Last time; rounded up to whole steps.
    seed
        Of disorder and noise.
    method
        ``"average"`` propagates the density matrix, averaged over the noise exactly;
        ``"trajectories"`` a wave function under one noise for each realisation.
    progress
        Called after each realisation with those done and all of them.

    Raises
    ------
    ValueError
        When a number is not positive or the method unknown.
    """
    _one_of("method", method, ("average", "trajectories"))
    if not 0 < t_max < math.inf:
        raise ValueError(f"t_max must be a positive number; it is {t_max}.")
    steps = max(3, math.ceil(t_max / model.step * (1 - 1e-12)))
    time = np.arange(steps + 1, dtype=np.float64) * model.step
    noise = np.random.default_rng([seed, 1])
    msd, diffusivity = np.empty((2, realisations, steps + 1))
    limits, edges = np.full((2, realisations), math.nan)
    for i, energies in enumerate(_energies(model, realisations, seed)):
        msd[i], diffusivity[i], edges[i] = _spread(model, energies, steps, method, noise)
        if model.has_limit:
            limits[i] = _limit(model, energies)
        if progress is not None:
            progress(i + 1, realisations)
    first = 2 * steps // 3
    in_window = (msd[:, -1] - msd[:, first]) / (2 * (time[-1] - time[first]))
    d, d_stderr = _mean(diffusivity)
    top = int(np.argmax(d))
    ended = top == steps
    long_time = _mean(limits if model.has_limit else in_window)
    mean_msd, msd_stderr = _mean(msd)
    d_window, d_window_stderr = _mean(in_window)
    return QuantumResult(
        time=time,
        msd=mean_msd,
        msd_stderr=msd_stderr,
        diffusivity=d,
        diffusivity_stderr=d_stderr,
        d_long_time=float(long_time[0]),
        d_long_time_stderr=float(long_time[1]),
        long_time_from="limit" if model.has_limit else "window",
        window=(float(time[first]), float(time[-1])),
        d_window=float(d_window),
        d_window_stderr=float(d_window_stderr),
        d_max=math.nan if ended else float(d[top]),
        d_max_stderr=math.nan if ended else float(d_stderr[top]),
        t_d_max=math.nan if ended else float(time[top]),
        edge_share=float(edges.mean()),
    )


def long_time_diffusivity(
    model: QuantumModel,
    dephasing: Sequence[float] | None = None,
    *,
    realisations: int = 40,
    seed: int = 0,
    progress: Progress | None = None,
) -> LongTimeDiffusivity:
    """Return D for t → ∞, exactly for each realisation of the disorder.

    Averaged over all starts on the ring, D(t) is ∫Tr[v v(τ)] dτ / N, and for t → ∞ one sparse
    linear system: D = −Tr[v 𝓛⁻¹ v] / N with ρ̇ = 𝓛 ρ.

    Parameters
    ----------
    model
        A ring with noise per site.
    dephasing
        Values of Γ, above zero and rising, in place of the model's; the disorder is the same for
        all.
    realisations, seed, progress
        As in `simulate_quantum`.

    Raises
    ------
    ValueError
        When the model has no such limit, or a number is out of range.
    """
    values = np.array([model.dephasing] if dephasing is None else dephasing, dtype=np.float64)
    if values.size == 0 or np.any(np.diff(values) <= 0):
        raise ValueError("The values of the dephasing must rise from one to the next.")
    models = [replace(model, dephasing=float(value)) for value in values]
    if not all(one.has_limit for one in models):
        raise ValueError(
            "D has a limit for long times on a ring with noise per site and dephasing above zero."
        )
    found = np.empty((realisations, values.size))
    for i, energies in enumerate(_energies(model, realisations, seed)):
        found[i] = [_limit(one, energies) for one in models]
        if progress is not None:
            progress(i + 1, realisations)
    mean, stderr = _mean(found)
    best = _summit(values, mean)
    spread = math.nan
    if realisations > 1 and math.isfinite(best):
        without = (mean * realisations - found) / (realisations - 1)
        left_out = np.array([_summit(values, one) for one in without])
        spread = math.sqrt((realisations - 1) * float(np.var(left_out)))
    return LongTimeDiffusivity(values, mean, stderr, best, spread)


def _energies(model: QuantumModel, realisations: int, seed: int) -> F64:
    """Return the energies of the sites; (realisation, site)."""
    if realisations < 1:
        raise ValueError(f"realisations must be 1 or more; it is {realisations}.")
    rng = np.random.default_rng(seed)
    return np.asarray(model.disorder * rng.standard_normal((realisations, model.sites)))


def _limit(model: QuantumModel, energies: F64) -> float:
    """Return D for t → ∞ on a ring."""
    bonds = model.bonds
    generator = matrices.liouvillian(energies, bonds, model.dephasing)
    v = matrices.velocity(bonds).ravel()
    # the even distribution is all that 𝓛 leaves alone, and v does not see it: one of its
    # elements may be held at zero
    return float(v[1:] @ splu(-generator[1:, 1:]).solve(v[1:])) / model.sites


def _spread(
    model: QuantumModel, energies: F64, steps: int, method: Method, noise: np.random.Generator
) -> tuple[F64, F64, float]:
    """Return MSD, D and the share that ends at the edges, for one disorder."""
    if method == "average" and model.everywhere:
        if model.variant == "per-site":
            return *_velocities(model, energies, steps), math.nan
        msd = _published_msd(model, energies, steps)
        return msd, np.gradient(msd, model.step) / 2, math.nan
    if method == "trajectories":
        population = _trajectory(model, energies, steps, noise)
    elif model.variant == "per-site":
        population = _density(model, energies, steps)
    else:
        population = _published_density(model, energies, steps)
    away = model.displacements()[model.sites // 2]
    msd = (population - population[0]) @ away**2
    outer = np.abs(away) > (1 - _OUTER) * model.sites / 2
    return msd, np.gradient(msd, model.step) / 2, float(population[-1, outer].sum())


def _advance(model: QuantumModel, energies: F64, real: F64, imag: F64, spread: F64) -> None:
    norm = 4 * model.coupling + np.ptp(energies) + model.dephasing
    substeps = math.ceil(norm * model.step)
    matrices.advance(
        real, imag, model.bonds, energies, model.dephasing, model.step, substeps, spread
    )


def _velocities(model: QuantumModel, energies: F64, steps: int) -> tuple[F64, F64]:
    """Return MSD and D, averaged over starts on all sites of a ring.

    The even distribution stays as it is, so D(t) = ∫Tr[v v(τ)] dτ / N: one matrix stands for N.
    """
    imag = matrices.velocity(model.bonds)
    real = np.zeros_like(imag)
    spread = np.zeros((steps + 1, 2))
    for k in range(steps):
        spread[k + 1] = spread[k]
        _advance(model, energies, real, imag, spread[k + 1])
    return 2 * spread[:, 0], spread[:, 1]


def _density(model: QuantumModel, energies: F64, steps: int) -> F64:
    """Return the populations of a density matrix; (time, site)."""
    wave = model.amplitudes()
    real = np.outer(wave, wave)
    imag, ignored = np.zeros_like(real), np.zeros(2)
    population = np.empty((steps + 1, model.sites))
    population[0] = np.diag(real)
    for k in range(steps):
        _advance(model, energies, real, imag, ignored)
        population[k + 1] = np.diag(real)
    return population


def _trajectory(model: QuantumModel, energies: F64, steps: int, noise: np.random.Generator) -> F64:
    """Return the populations under one noise; (time, site).

    Starts on all sites of a ring share the noise, and are brought to one place.
    """
    n = model.sites
    wave = np.eye(n) if model.everywhere else model.amplitudes()[:, None]
    psi = wave.astype(np.complex128)
    # row and column of each population, by its distance from the start
    columns = np.arange(wave.shape[1])
    rows = (np.arange(n)[:, None] + (columns - n // 2 if model.everywhere else 0)) % n
    published = model.variant == "published"
    substeps = 1 if published else max(1, math.ceil(model.dephasing * model.step / _KICK))
    h = model.step / substeps
    u = matrices.propagator(energies, model.bonds, h)
    population = np.empty((steps + 1, n))
    population[0] = (np.abs(psi[rows, columns]) ** 2).mean(axis=1)

    def kicks(shape: tuple[int, int], variance: float) -> Complex:
        return np.asarray(np.exp(-1j * math.sqrt(variance) * noise.standard_normal(shape)))

    if not published:
        psi = kicks((n, 1), model.dephasing * h / 2) * psi
    for k in range(steps):
        for _ in range(substeps):
            if published:
                psi = (u * kicks((n, n), model.dephasing * h**2)) @ psi
            else:
                psi = kicks((n, 1), model.dephasing * h) * (u @ psi)
        population[k + 1] = (np.abs(psi[rows, columns]) ** 2).mean(axis=1)
    return population


@dataclass(frozen=True)
class _PublishedStep:
    """What the authors' random phases make of a matrix in one step, on average.

    With q = exp(−Γ step²) it is ρ → q UρU† + (1 − q) diag(|U|² ρ_nn).
    """

    u: Complex
    hops: F64
    kept: float

    @classmethod
    def of(cls, model: QuantumModel, energies: F64) -> "_PublishedStep":
        u = matrices.propagator(energies, model.bonds, model.step)
        return cls(u, np.abs(u) ** 2, math.exp(-model.dephasing * model.step**2))

    def __call__(self, rho: Complex) -> Complex:
        after = self.kept * (self.u @ rho @ self.u.conj().T)
        after[np.diag_indices_from(after)] += (1 - self.kept) * (self.hops @ np.diag(rho))
        return np.asarray(after)


def _published_density(model: QuantumModel, energies: F64, steps: int) -> F64:
    """Return the mean populations of the published variant; (time, site)."""
    step = _PublishedStep.of(model, energies)
    wave = model.amplitudes()
    rho = np.outer(wave, wave).astype(np.complex128)
    population = np.empty((steps + 1, model.sites))
    population[0] = np.diag(rho).real
    for k in range(steps):
        rho = step(rho)
        population[k + 1] = np.diag(rho).real
    return population


def _published_msd(model: QuantumModel, energies: F64, steps: int) -> F64:
    """Return the MSD of the published variant, averaged over starts on all sites of a ring.

    One matrix is followed, the sum of n ρ⁽ⁿ⁾ over the starts n, less what it is at the beginning.
    """
    step = _PublishedStep.of(model, energies)
    away, u, kept = model.displacements(), step.u, step.kept
    by_hops = (1 - kept) * step.hops * away
    gain = kept * (u * away) @ u.conj().T + np.diag(by_hops.sum(axis=1))
    pull = -kept * (u * away).conj().T @ u - np.diag(by_hops.sum(axis=0))
    first = float((step.hops * away**2).sum())
    followed = np.zeros_like(gain)
    growth = np.zeros(steps + 1)
    for k in range(steps):
        growth[k + 1] = first - 2 * float(np.vdot(pull, followed).real)
        followed += gain
        gain = step(gain)
    return np.cumsum(growth) / model.sites


def _summit(dephasing: F64, d: F64) -> float:
    """Return where D is largest; NaN if that is at an end."""
    top = int(np.argmax(d))
    if not 0 < top < d.size - 1:
        return math.nan
    near = slice(top - 1, top + 2)
    a, b, _ = np.polyfit(np.log(dephasing[near]), d[near], 2)
    return math.exp(-b / (2 * a))


def _mean(values: F64) -> tuple[F64, F64]:
    """Return the mean over the realisations and its standard error; NaN of a single one."""
    number = values.shape[0]
    if number == 1:
        return values[0], np.full_like(values[0], math.nan)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(number)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        names = ", ".join(f'"{one}"' for one in allowed)
        raise ValueError(f'{name} is one of {names}; it is "{value}".')
