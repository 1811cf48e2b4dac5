"""Samples whose light is simulated, when their conditions are first met."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tplm_config import InputError
from tplm_config.simulation import BrightDarkSettings, MemorySettings, QuantumSettings
from tplm_simulators.sample import Conditions, EmissionMap
from tplm_simulators.samples import bright_dark, memory
from tplm_simulators.samples.cache import Recipe, kept_or_computed
from tplm_simulators.samples.chains import ChainMap, chain_light
from tplm_simulators.samples.gridded import GriddedMap, LightHistogram, symmetrised

VERSION = 1
"""To be raised whenever the same parameters give other light than before."""
DIGITS = 3
"""Significant digits to which α, γ_DB, temperature and pulse interval are rounded."""
FIT_FROM_NS = 0.1
"""From here after the pulse the D of the straight line is meant, as in a fit of a map."""
_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
_MEMORY_BIN_SITES, _BRIGHT_DARK_BIN_SITES = 5, 3
_STEPS_PER_LIFETIME, _LIFETIMES, _BURN_IN_RELAXATIONS = 50, 8, 10
_MOST_BURN_IN = 5000
_AT_REST = 1e-3
"""Excitations of a site while it remembers, below which a film is as good as at rest."""
_POLL_S = 0.02

Progress = Callable[[int, int], None]
ModelledSettings = MemorySettings | BrightDarkSettings | QuantumSettings


class _Abandoned(Exception):  # noqa: N818 - a request that was obeyed, not an error
    """Nobody waits for this light any more."""


def rounded(value: float) -> float:
    """Round a value of the conditions to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS - 1}e}")


def recipe_for(settings: ModelledSettings, conditions: Conditions) -> Recipe | None:
    """Everything the light of a pulse follows from; None where there are no excitons."""
    alpha = rounded(-math.expm1(-conditions.mean_excitons_per_nc))
    if alpha == 0:
        return None
    image = {"emission_fwhm_nm", "edge_nm", "detected_per_incident_photon"}
    recipe: dict[str, str | int | float | bool | None] = {
        **settings.model_dump(exclude=image), "version": VERSION
    }  # fmt: skip
    if isinstance(settings, MemorySettings):
        interval_us = rounded(1e6 / conditions.repetition_rate_hz)
        # a dimmer pulse would give the same light, after ever more pulses
        at_rest = _AT_REST * min(1.0, interval_us / settings.relaxation_us)
        recipe["alpha"] = max(alpha, rounded(at_rest))
        recipe["pulse_interval_us"] = interval_us
        if settings.disorder_mev > 0:
            recipe["temperature_k"] = rounded(conditions.temperature_k)
    elif isinstance(settings, BrightDarkSettings):
        del recipe["splitting_mev"]
        recipe["gamma_db"] = rounded(_gamma_db(settings, conditions.temperature_k))
    return recipe


def _gamma_db(settings: BrightDarkSettings, temperature_k: float) -> float:
    if settings.gamma_db is not None:
        return settings.gamma_db
    model = bright_dark.BrightDarkModel.at_temperature(
        temperature_k, settings.splitting_mev, gamma_bd=settings.gamma_bd, gamma_fret=0.0
    )
    return model.gamma_db


def compute(settings: ModelledSettings, recipe: Recipe, progress: Progress) -> LightHistogram:
    """Simulate the light of a recipe.

    Parameters
    ----------
    settings, recipe
        That belong together.
    progress
        Called now and then with what is done and all there is; it may raise to end it.

    Raises
    ------
    InputError
        When the model is impossible in these conditions, or too large.
    """
    try:
        if isinstance(settings, MemorySettings):
            return _memory(settings, recipe, progress)
        if isinstance(settings, BrightDarkSettings):
            return _bright_dark(settings, recipe, progress)
        return chain_light(settings, progress)
    except ValueError as error:  # what only the conditions make impossible, such as disorder at 4 K
        raise InputError(f"the {settings.kind} sample", str(error)) from error
    except MemoryError as error:
        raise InputError(
            f"the {settings.kind} sample", "there is not enough memory for it"
        ) from error


def _memory(settings: MemorySettings, recipe: Recipe, progress: Progress) -> LightHistogram:
    spacing_um = settings.spacing_nm * 1e-3
    sigma_sites = settings.spot_fwhm_nm / _FWHM_PER_SIGMA / settings.spacing_nm
    model = memory.MemoryModel(
        alpha=_number(recipe, "alpha"),
        pulse_interval_us=_number(recipe, "pulse_interval_us"),
        hop_fast=settings.hop_fast,
        hop_slow=settings.hop_slow,
        lifetime_ps=settings.lifetime_ps,
        relaxation_us=settings.relaxation_us,
        spot_sigma_sites=sigma_sites,
        spacing_nm=settings.spacing_nm,
        lattice=settings.lattice,
        rows=settings.sites,
        columns=settings.sites,
        disorder_mev=settings.disorder_mev,
        temperature_k=_number(recipe, "temperature_k") if settings.disorder_mev > 0 else 295.0,
        annihilation=settings.annihilation,
    )
    per_pulse = settings.replicas * 2 * math.pi * sigma_sites**2 * model.alpha
    burn_in = _BURN_IN_RELAXATIONS * settings.relaxation_us / model.pulse_interval_us
    wanted_ps = settings.lifetime_ps / _STEPS_PER_LIFETIME
    every_ps = min(n for n in range(1, 1001) if 1000 % n == 0 and n >= wanted_ps)
    last_ps = max(_LIFETIMES * settings.lifetime_ps, 1000.0)
    bins = settings.sites // _MEMORY_BIN_SITES
    found = memory.simulate_memory(
        model,
        pulses=max(1, math.ceil(settings.excitons / per_pulse)),
        burn_in=math.ceil(min(burn_in, _MOST_BURN_IN)),
        replicas=settings.replicas,
        seed=settings.seed,
        record_every_ps=every_ps,
        times=math.ceil(last_ps / every_ps) + 1,
        maps=True,
        map_bin_sites=_MEMORY_BIN_SITES,
        map_bins=bins - 1 + bins % 2,
        progress=progress,
    )
    assert found.photons_per_exciton is not None, "maps were asked for"
    assert found.edges_um is not None, "maps were asked for"
    photons = symmetrised(found.photons_per_exciton, exchange=settings.lattice != "hexagonal")
    return LightHistogram(
        photons.astype(np.float32),
        found.edges_um,
        np.append(found.time_ps, found.time_ps[-1] + every_ps) * 1e-3,
        _to_the_end(found.msd_nm2 * 1e-6),
        (sigma_sites**2 + (_MEMORY_BIN_SITES**2 - 1) / 12) * spacing_um**2,
        found.d_cm2_per_s,
        found.d_stderr_cm2_per_s,
    )


def _bright_dark(
    settings: BrightDarkSettings, recipe: Recipe, progress: Progress
) -> LightHistogram:
    spacing_um = settings.spacing_nm * 1e-3
    model = bright_dark.BrightDarkModel(
        gamma_fret=settings.gamma_fret,
        gamma_bright=settings.gamma_bright,
        gamma_dark=settings.gamma_dark,
        gamma_bd=settings.gamma_bd,
        gamma_db=_number(recipe, "gamma_db"),
        trap_rate=settings.trap_rate,
        dissociation=settings.dissociation,
        bright_fraction=settings.bright_fraction,
        sigma_sites=settings.sigma_sites,
    )
    found = bright_dark.simulate_bright_dark(
        model,
        repeats=settings.excitons,
        excitons_per_repeat=1,
        steps=settings.steps,
        seed=settings.seed,
        progress=progress,
    )
    exact = bright_dark.bright_dark_moments(model, steps=settings.steps)
    size, middle = found.emission.shape[0], found.emission.shape[0] // 2
    wide = _BRIGHT_DARK_BIN_SITES
    reach = ((size - 1) // 2 - wide // 2) // wide  # whole bins on either side of the middle one
    first = middle - wide // 2 - reach * wide
    bins = 2 * reach + 1
    square = found.emission[first : first + bins * wide, first : first + bins * wide]
    binned = square.reshape(bins, wide, bins, wide, -1).sum(axis=(1, 3), dtype=np.int64)
    photons = symmetrised(binned.transpose(2, 0, 1), exchange=True) / found.excitons
    return LightHistogram(
        np.ascontiguousarray(photons, dtype=np.float32),
        wide * spacing_um * (np.arange(bins + 1, dtype=np.float64) - 0.5 * bins),
        np.arange(settings.steps + 1, dtype=np.float64) * (bright_dark.STEP_PS * 1e-3),
        _to_the_end(0.5 * exact.msd_sites2 * spacing_um**2),
        # first places are rounded to whole sites, then to bins
        (settings.sigma_sites**2 + wide**2 / 12) * spacing_um**2,
    )


def _to_the_end(msd_um2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Go on as at last where there is no light to tell, and at the end of the last time."""
    lit = msd_um2[np.isfinite(msd_um2)]
    last = lit[-1] if lit.size else 0.0
    return np.concatenate([lit, np.full(msd_um2.size + 1 - lit.size, last)])


def _number(recipe: Recipe, name: str) -> float:
    value = recipe[name]
    assert isinstance(value, float), "the recipe rounds it"
    return value


class _Computation:
    """Light on its way, in a thread of its own, so that whoever waits can go at any moment."""

    def __init__(self, settings: ModelledSettings, recipe: Recipe) -> None:
        self._settings = settings
        self._recipe = recipe
        self._left = threading.Event()
        self._found: LightHistogram | None = None
        self._error: Exception | None = None
        self.share = 0.0
        self._thread = threading.Thread(target=self._run, name="sample model", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> LightHistogram | None:
        """The light, if it is there by then.

        Raises
        ------
        Exception
            What went wrong with it.
        """
        self._thread.join(seconds)
        if self._error is not None:
            raise self._error
        return self._found

    def leave(self) -> None:
        """End it, before long."""
        self._left.set()

    def _run(self) -> None:
        try:
            self._found = kept_or_computed(
                self._recipe,
                lambda: compute(self._settings, self._recipe, self._tell),
                self._check,
            )
        except Exception as error:  # noqa: BLE001 - it is raised where the light is asked for
            self._error = error

    def _tell(self, done: int, total: int) -> None:
        self.share = done / total
        self._check()

    def _check(self) -> None:
        if self._left.is_set():
            raise _Abandoned


@dataclass(frozen=True, slots=True)
class _Dark:
    """No light at all."""

    intervals: int

    def through_aperture(
        self, _x_um: float, _y_um: float, _aperture: object
    ) -> NDArray[np.float64]:
        return np.zeros(self.intervals)

    def prompt_through_aperture(self, _x_um: float, _y_um: float, _aperture: object) -> float:
        return 0.0


class ModelledSample:
    """A film, the same at every place, whose light comes from a model of its excitons.

    Parameters
    ----------
    settings
        Which model, and its parameters.
    """

    def __init__(self, settings: ModelledSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._recipe: Recipe | None = None
        self._computation: _Computation | None = None

    @property
    def edge_nm(self) -> float:
        """Edge length of a nanocrystal, nm."""
        return self._settings.edge_nm

    def pending(self, conditions: Conditions) -> float | None:
        """Share of the light for these conditions that is computed; None when all of it is.

        The first call begins with it; none waits long.
        """
        computation = self._computation_for(conditions)
        if computation is None or computation.wait(_POLL_S) is not None:
            return None
        return computation.share

    def light(self, conditions: Conditions) -> LightHistogram | None:
        """Wait for the light of these conditions; None where there is none."""
        computation = self._computation_for(conditions)
        if computation is None:
            return None
        # in short waits, so that a second Ctrl-C gets through on every system
        while (found := computation.wait(_POLL_S)) is None:
            pass
        return found

    def emission(self, time_edges_ns: NDArray[np.float64], conditions: Conditions) -> EmissionMap:
        """Light in the time intervals between the edges (time since the pulse, ns)."""
        light = self.light(conditions)
        if light is None:
            return _Dark(time_edges_ns.size - 1)
        settings = self._settings
        excitons = settings.detected_per_incident_photon * conditions.photons_per_pulse
        if isinstance(settings, QuantumSettings):
            return ChainMap.of(
                light, settings.lifetime_ns, time_edges_ns, excitons, conditions.spot_sigma_um
            )
        return GriddedMap(light, time_edges_ns, excitons, conditions.spot_sigma_um)

    def describe(self, conditions: Conditions) -> str | None:
        """What the model does in these conditions, for the file; None without light."""
        recipe = recipe_for(self._settings, conditions)
        light = self.light(conditions)
        if recipe is None or light is None:
            return None
        known = (
            "alpha", "pulse_interval_us", "gamma_db", "temperature_k",
            "disorder", "dephasing", "coupling_mev",
        )  # fmt: skip
        values = ", ".join(f"{name} = {recipe[name]:g}" for name in known if name in recipe)
        words = f"the sample is the {self._settings.kind} model ({values})"
        if math.isfinite(light.d_cm2_per_s):
            quantum = isinstance(self._settings, QuantumSettings)
            meant = "along x, at long times" if quantum else "along one axis, 1 ns after the pulse"
            words += (
                f"; its own D is {light.d_cm2_per_s:.4g} ± {light.d_stderr_cm2_per_s:.2g} cm²/s "
                f"{meant}"
            )
        line = light.line_d_cm2_per_s(conditions.spot_sigma_um, FIT_FROM_NS, math.inf)
        if math.isfinite(line):
            words += (
                "; a straight line through its MSD, weighted by its light, has "
                f"D = {line:.4g} cm²/s"
            )
        return words

    def close(self) -> None:
        """End a simulation that goes on."""
        if self._computation is not None:
            self._computation.leave()

    def _computation_for(self, conditions: Conditions) -> _Computation | None:
        recipe = recipe_for(self._settings, conditions)
        if recipe is None:
            return None
        with self._lock:
            if recipe != self._recipe or self._computation is None:
                self.close()
                self._recipe, self._computation = recipe, _Computation(self._settings, recipe)
            return self._computation
