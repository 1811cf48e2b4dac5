"""Bright, dark and trapped excitons on a square lattice of nanocrystals (S2)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tplm_analysis.photophysics import dark_to_bright_ratio
from tplm_analysis.results import Result
from tplm_simulators.samples._bright_dark import (
    BRIGHT,
    DARK,
    EVENTS,
    GONE,
    HOP,
    PHOTON,
    STATES,
    TRAPPED,
    follow,
)

F64 = NDArray[np.float64]

STEP_PS = 25
"""What a step takes: the time bin of the measurement."""
GRID_SITES = 150
"""Sites along each axis of the emission histogram; the place (0, 0) has the index 75."""
TRAP_SHARE = 0.01
"""Light of a trapped exciton, of that of a bright one."""
SPLITTING_MEV = {5: 15.0, 8: 6.0, 14: 3.0}
"""Bright above dark, by the edge length of the nanocrystals in nm (S2)."""

_DIAGONAL = 1 / 8  # of the rate to a nearest neighbour: Förster's r⁻⁶ at √2
_CHUNK = 50_000


@dataclass(frozen=True, kw_only=True)
class BrightDarkModel:
    """What can happen to an exciton in one step of 25 ps, each with its probability (S2).

    Of all events that are open to an exciton at most one happens in a step, and each event is
    judged by the state the step begins with. Excitons do not see each other, and the lattice has
    no edge. The printed rate of hops, 4·(1/16 + 1/26)·γ_FRET, is damaged; here it is
    4·(1/1⁶ + 1/√2⁶)·γ_FRET = 4.5 γ_FRET, to the four nearest neighbours with γ_FRET each and to
    the four diagonal ones with γ_FRET/8.

    Attributes
    ----------
    gamma_fret : float
        γ_FRET, from a bright exciton's crystal to one nearest neighbour.
    gamma_bright, gamma_dark : float
        γ_B and γ_D, emission of light.
    gamma_bd, gamma_db : float
        γ_BD and γ_DB, from bright to dark and back. For a temperature see `at_temperature`.
    trap_rate : float
        From bright into a trap, which emits 1/100 of a bright exciton's light and keeps it.
    dissociation : float
        Of bright and dark excitons alike, into carriers that give no light.
    gamma_hop : float or None
        Sum over all neighbours; None for 4.5 γ_FRET. The split between them stays.
    bright_fraction, trapped_fraction : float
        Shares of excitons at the start; the others are dark.
    sigma_sites : float
        Standard deviation of the first places along each axis.

    Raises
    ------
    ValueError
        When a value is no probability, or those of one state add up to more than 1.
    """

    gamma_fret: float = 0.09
    gamma_bright: float = 0.03
    gamma_dark: float = 0.0003
    gamma_bd: float = 0.15
    gamma_db: float = 0.0
    trap_rate: float = 0.0
    dissociation: float = 0.0
    gamma_hop: float | None = None
    bright_fraction: float = 0.5
    trapped_fraction: float = 0.0
    sigma_sites: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "sigma_sites":
                if not (math.isfinite(value) and value >= 0):
                    raise ValueError(f"sigma_sites must be zero or more; it is {value}.")
            elif value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1; it is {value}.")
        if self.bright_fraction + self.trapped_fraction > 1:
            raise ValueError(
                "bright_fraction and trapped_fraction together are "
                f"{self.bright_fraction + self.trapped_fraction:g}; at most 1 is possible."
            )
        for name, sum_ in zip(("bright", "dark"), self._odds().sum(axis=1), strict=False):
            if sum_ > 1 + 1e-12:
                raise ValueError(
                    f"The probabilities of a {name} exciton add up to {sum_:.3g} in one step; "
                    "at most 1 is possible."
                )

    @classmethod
    def at_temperature(cls, temperature_k: float, splitting_mev: float, **rates: Any) -> Self:
        """Return a model whose γ_DB follows from γ_BD by detailed balance.

        γ_DB = 3 γ_BD exp(−ΔE / k_B T): three bright states, one dark.

        Parameters
        ----------
        temperature_k
            Of the lattice.
        splitting_mev
            ΔE, bright above dark; see `SPLITTING_MEV`.
        **rates
            All others.

        Raises
        ------
        ValueError
            As the class and `tplm_analysis.photophysics.dark_to_bright_ratio`.
        """
        model = cls(**rates)
        ratio = dark_to_bright_ratio(temperature_k, splitting_mev)
        return replace(model, gamma_db=model.gamma_bd * ratio)

    @classmethod
    def traps(cls, trap_rate: float, **rates: Any) -> Self:
        """Return S2's model of high temperatures: bright excitons and traps, nothing dark."""
        return cls(**{"gamma_bd": 0.0, "bright_fraction": 1.0, "trap_rate": trap_rate, **rates})

    @property
    def hop_rate(self) -> float:
        """Probability of any hop of a bright exciton in one step."""
        if self.gamma_hop is not None:
            return self.gamma_hop
        return 4 * (1 + _DIAGONAL) * self.gamma_fret

    @property
    def light(self) -> F64:
        """Probability of a photon in one step; (bright, dark, trapped)."""
        return np.array([self.gamma_bright, self.gamma_dark, TRAP_SHARE * self.gamma_bright])

    @property
    def shares(self) -> F64:
        """Share of excitons at the start; (bright, dark, trapped)."""
        dark = 1 - self.bright_fraction - self.trapped_fraction
        return np.array([self.bright_fraction, max(dark, 0.0), self.trapped_fraction])

    def _odds(self) -> F64:
        """Return the probability of each event in one step; (state, event)."""
        odds = np.zeros((STATES, EVENTS))
        odds[BRIGHT, [DARK, TRAPPED, HOP]] = self.gamma_bd, self.trap_rate, self.hop_rate
        odds[DARK, BRIGHT] = self.gamma_db
        odds[: DARK + 1, GONE] = self.dissociation
        odds[:, PHOTON] = self.light
        return odds


@dataclass(frozen=True, eq=False)
class BrightDarkMoments(Result):
    """What the light of a `BrightDarkModel` does on average, exactly.

    Attributes
    ----------
    time_ns : (step,) float64
        Start of each step of 25 ps.
    msd_sites2 : (step,) float64
        Mean square displacement of the light of a step, both axes together: by how much ⟨r²⟩ of
        the emission exceeds that at the start. Twice that of one axis, which an instrument shows.
        NaN where there is no light.
    bright_photons, dark_photons, trap_photons : (step,) float64
        Photons per exciton in each step.
    t_max_ns : float
        Time of the largest MSD; NaN if it still grows at the end.
    """

    SOURCE: ClassVar[str] = "the project's own; the model is that of S2, methods"

    time_ns: F64
    msd_sites2: F64
    bright_photons: F64
    dark_photons: F64
    trap_photons: F64
    t_max_ns: float


@dataclass(frozen=True, eq=False)
class BrightDarkResult(Result):
    """Light of simulated excitons.

    Attributes
    ----------
    excitons, photons, outside : int
        Excitons followed, photons they gave, and those from outside the grid of `emission`.
    time_ns : (step,) float64
        Start of each step of 25 ps.
    msd_sites2, msd_stderr_sites2 : (step,) float64
        As in `BrightDarkMoments`. Every living exciton counts with the light it gives on average
        in its state, from its own start, which scatters less than the photons alone. Where the
        last few bright excitons outshine all trapped ones the standard error is too small.
    bright_photons, dark_photons, trap_photons : (step,) float64
        Photons per exciton in each step, found likewise.
    t_max_ns : float
        Of `BrightDarkMoments`: a simulated curve scatters too much about its maximum to tell.
    emission : (y, x, step) uint32
        Photons by site and step; sites run from −75 to 74 along each axis.
    """

    SOURCE: ClassVar[str] = "S2, methods"
    CURVES: ClassVar[tuple[str, ...]] = ("emission",)

    excitons: int
    photons: int
    outside: int
    time_ns: F64
    msd_sites2: F64
    msd_stderr_sites2: F64
    bright_photons: F64
    dark_photons: F64
    trap_photons: F64
    t_max_ns: float
    emission: NDArray[np.uint32] = field(repr=False)


def bright_dark_moments(model: BrightDarkModel, *, steps: int = 300) -> BrightDarkMoments:
    """Return the exact mean behaviour, from a recursion over the steps.

    Excitons are independent, so their number and their summed r² in each state follow
    n' = n·M and s' = s·M + g·n, with the transitions M and the growth g of r² by hops.

    Parameters
    ----------
    model
        The model.
    steps
        Of 25 ps.

    Raises
    ------
    ValueError
        When there is no step.
    """
    _at_least_one(steps=steps)
    odds = model._odds()
    transitions = odds[:, :STATES] + np.diag(1 - odds.sum(axis=1) + odds[:, HOP])
    near, far = 1 / (1 + _DIAGONAL), _DIAGONAL / (1 + _DIAGONAL)
    growth = odds[:, HOP] * (near + 2 * far)
    number, squares = model.shares, np.zeros(STATES)
    numbers, sums = np.empty((2, steps, STATES))
    for step in range(steps):
        numbers[step], sums[step] = number, squares
        number, squares = number @ transitions, squares @ transitions + growth * number
    light = numbers * model.light
    msd = _ratio(sums @ model.light, light.sum(axis=1))
    time_ns = np.arange(steps) * STEP_PS / 1000
    bright, dark, trapped = light.T
    return BrightDarkMoments(
        time_ns, msd, bright, dark, trapped, t_max_ns=_time_of_maximum(time_ns, msd)
    )


def simulate_bright_dark(
    model: BrightDarkModel,
    *,
    repeats: int = 10_000,
    excitons_per_repeat: int = 100,
    steps: int = 300,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> BrightDarkResult:
    """Follow excitons from the pulse to their light (S2, methods).

    Parameters
    ----------
    model
        The model.
    repeats, excitons_per_repeat
        Pulses, and the excitons of each; S2 repeats about 10⁴ times and does not say of how many.
        Only the product matters.
    steps
        Of 25 ps.
    seed
        Of the random numbers.
    progress
        Called now and then with the excitons done and all of them.

    Raises
    ------
    ValueError
        When a number is not positive.
    """
    _at_least_one(repeats=repeats, excitons_per_repeat=excitons_per_repeat, steps=steps)
    excitons = repeats * excitons_per_repeat
    rng = np.random.default_rng(seed)
    tally = np.zeros((STATES, 3, steps + 1), dtype=np.int64)
    emission = np.zeros((GRID_SITES, GRID_SITES, steps), dtype=np.uint32)
    near_share = 1 / (1 + _DIAGONAL)
    outside = 0
    for done in range(0, excitons, _CHUNK):
        outside += follow(
            min(_CHUNK, excitons - done), np.cumsum(model.shares), model.sigma_sites,
            model._odds(), near_share, tally, emission, rng,
        )  # fmt: skip
        if progress is not None:
            progress(min(done + _CHUNK, excitons), excitons)
    number, squares, fourths = np.cumsum(tally, axis=2)[:, :, :steps].transpose(1, 2, 0)
    light = number * model.light
    msd = _ratio(squares @ model.light, light.sum(axis=1))
    # of a ratio of sums over excitons, each of which has a weight and an r²
    scatter = fourths - 2 * msd[:, None] * squares + msd[:, None] ** 2 * number
    # a single exciton cannot say how much they scatter
    several = np.where(number.sum(axis=1) > 1, 1.0, math.nan)
    stderr = several * _ratio(np.sqrt(scatter @ model.light**2), light.sum(axis=1))
    return BrightDarkResult(
        excitons=excitons,
        photons=int(emission.sum()) + outside,
        outside=outside,
        time_ns=np.arange(steps) * STEP_PS / 1000,
        msd_sites2=msd,
        msd_stderr_sites2=stderr,
        bright_photons=light[:, BRIGHT] / excitons,
        dark_photons=light[:, DARK] / excitons,
        trap_photons=light[:, TRAPPED] / excitons,
        t_max_ns=bright_dark_moments(model, steps=steps).t_max_ns,
        emission=emission,
    )


def _ratio(above: F64, below: F64) -> F64:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full_like(above, math.nan), where=below > 0)


def _time_of_maximum(time_ns: F64, msd: F64) -> float:
    """Return when the MSD is largest; NaN if that is at the end, or if it never moves."""
    known = np.flatnonzero(np.isfinite(msd))
    if known.size == 0 or not msd[known].any():
        return math.nan
    best = known[np.argmax(msd[known])]
    return math.nan if best == known[-1] else float(time_ns[best])


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be 1 or more; it is {count}.")
