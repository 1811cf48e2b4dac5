"""Tasks: frozen values, and the pure functions that turn them into results."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from importlib import resources
from typing import Any

import numpy as np

from tplm_analysis.results import Result, plain
from tplm_daq.studies import validation
from tplm_simulators.samples.bright_dark import BrightDarkModel, simulate_bright_dark
from tplm_simulators.samples.memory import MemoryModel, simulate_memory
from tplm_simulators.samples.quantum import QuantumModel, long_time_diffusivity, simulate_quantum

Value = float | int | str | bool | None | tuple[float, ...]
Values = dict[str, Value]
Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One simulation, complete: equal tasks give equal results, wherever they are calculated.

    Made by `make_task`, which fills in what is not given.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    values : tuple of (str, value)
        Every parameter of the model and of its calculation, by name.
    seed : int
        Of the whole study.
    """

    kind: str
    values: tuple[tuple[str, Value], ...]
    seed: int

    @property
    def text(self) -> str:
        """All of it as JSON, always spelt alike."""
        return json.dumps([self.kind, dict(self.values), self.seed], sort_keys=True)

    @property
    def changed(self) -> Values:
        """Parameters that differ from their defaults."""
        defaults = KINDS[self.kind].defaults
        return {name: value for name, value in self.values if value != defaults[name]}

    @property
    def random_seed(self) -> int:
        """Seed of its random numbers: another one for other values, whatever the order of tasks."""
        words = np.frombuffer(hashlib.sha256(self.text.encode()).digest(), "<u4")
        low, high = np.random.SeedSequence(words.tolist()).generate_state(2)
        return int(low) + (int(high) << 32)

    @property
    def code(self) -> str:
        """Digest of the modules that calculate it."""
        return _digest(KINDS[self.kind].code)

    @property
    def key(self) -> str:
        """Name of its result: of what is calculated, and of the code that does so."""
        return hashlib.sha256(f"{self.text} {self.code}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be calculated.

    Attributes
    ----------
    defaults : mapping
        Parameters and their values unless given; None for a number that may be left out.
    model : callable
        Makes the model of some values; ValueError for a value out of range.
    run : callable
        Gives the result of some values and a random seed.
    code : tuple of (str, str)
        Packages, and the beginning of the names of their modules that do it.
    """

    defaults: Mapping[str, Value]
    model: Callable[[Values], object]
    run: Callable[[Values, int], Result | Outcome]
    code: tuple[tuple[str, str], ...]


def make_task(kind: str, values: Mapping[str, Value] | None = None, *, seed: int = 0) -> Task:
    """Complete and check a task.

    Parameters
    ----------
    kind
        One of `KINDS`.
    values
        Parameters that differ from their defaults.
    seed
        Of the whole study.

    Raises
    ------
    KeyError
        For a parameter that the kind does not have.
    ValueError
        For a value of another type or out of its range, in a sentence.
    """
    found = KINDS[kind]
    complete = dict(found.defaults)
    for name, value in (values or {}).items():
        complete[name] = _like(name, value, found.defaults[name])
    found.model(complete)
    return Task(kind, tuple(sorted(complete.items())), seed)


def run_task(task: Task, code: str) -> Outcome:
    """Calculate a task.

    Parameters
    ----------
    task
        What to calculate.
    code
        Digest of the code that is meant to do it.

    Returns
    -------
    dict
        Numbers, texts, lists and dicts, as JSON has them. Without how long it took: the same
        task gives the same result to the last bit.

    Raises
    ------
    RuntimeError
        If the code here is another one.
    """
    if task.code != code:
        raise RuntimeError("this worker has another version of tplm-daq installed")
    found = KINDS[task.kind].run(dict(task.values), task.random_seed)
    outcome = plain(found)
    assert isinstance(outcome, dict)
    outcome.pop("cpu_seconds", None)
    return outcome


def _like(name: str, value: Value, default: Value) -> Value:
    """Return a value as its default is: 1 and 1.0 are the same."""
    if value is None and default is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool | str):
        right = type(value) is type(default)
    elif isinstance(default, int):
        right = number and isinstance(value, int) and value >= (0 if name == "burn_in" else 1)
    elif isinstance(default, tuple):
        right = isinstance(value, tuple)
    else:
        right = number and value == value
        value = float(value) if right and isinstance(value, int | float) else value
    if not right:
        wanted = {bool: "true or false", str: "a text", int: "a whole number of 1 or more"}
        raise ValueError(f"{name} is {wanted.get(type(default), 'a number')}, not {value!r}")
    return value


def _of(model: type, values: Values) -> Any:
    """Make a model of those values that are its own."""
    return model(**{one.name: values[one.name] for one in fields(model)})


def _others(model: type, values: Values) -> dict[str, Any]:
    """Return the values that are not the model's but the calculation's."""
    own = {one.name for one in fields(model)}
    return {name: value for name, value in values.items() if name not in own}


def _memory(values: Values, seed: int) -> Result:
    return simulate_memory(_of(MemoryModel, values), seed=seed, **_others(MemoryModel, values))


def _bright_dark_model(values: Values) -> BrightDarkModel:
    temperature_k, splitting_mev = values["temperature_k"], values["splitting_mev"]
    if temperature_k is None and splitting_mev is None:
        model: BrightDarkModel = _of(BrightDarkModel, values)
        return model
    if not (isinstance(temperature_k, float) and isinstance(splitting_mev, float)):
        raise ValueError("temperature_k and splitting_mev go together")
    if values["gamma_db"] != BrightDarkModel().gamma_db:
        raise ValueError("gamma_db follows from temperature_k; only one of them can be given")
    rates: Any = {f.name: values[f.name] for f in fields(BrightDarkModel) if f.name != "gamma_db"}
    return BrightDarkModel.at_temperature(temperature_k, splitting_mev, **rates)


def _bright_dark(values: Values, seed: int) -> Result:
    run = _others(BrightDarkModel, values)
    del run["temperature_k"], run["splitting_mev"]
    return simulate_bright_dark(_bright_dark_model(values), seed=seed, **run)


def _quantum(values: Values, seed: int) -> Result:
    return simulate_quantum(_of(QuantumModel, values), seed=seed, **_others(QuantumModel, values))


def _quantum_limit(values: Values, seed: int) -> Result:
    run = _others(QuantumModel, values)
    model = _of(QuantumModel, values)
    del run["block"]  # it only makes the disorder another one
    return long_time_diffusivity(model, run.pop("dephasings"), seed=seed, **run)


def _defaults(model: type, **run: Value) -> dict[str, Value]:
    own: dict[str, Any] = {one.name: one.default for one in fields(model)}
    return own | run


_SAMPLES = "tplm_simulators.samples"

KINDS: dict[str, Kind] = {
    "memory": Kind(
        _defaults(MemoryModel, pulses=1000, burn_in=1000, replicas=16),
        partial(_of, MemoryModel),
        _memory,
        ((_SAMPLES, "memory"), (_SAMPLES, "_walk")),
    ),
    "bright-dark": Kind(
        _defaults(
            BrightDarkModel, repeats=10_000, excitons_per_repeat=100, steps=300,
            temperature_k=None, splitting_mev=None,
        ),
        _bright_dark_model,
        _bright_dark,
        (
            (_SAMPLES, "bright_dark"), (_SAMPLES, "_bright_dark"),
            ("tplm_analysis", "photophysics"),
        ),
    ),
    "quantum": Kind(
        _defaults(QuantumModel, realisations=40, t_max=20.0, method="average"),
        partial(_of, QuantumModel),
        _quantum,
        ((_SAMPLES, "quantum"), (_SAMPLES, "_quantum")),
    ),
    "quantum-limit": Kind(
        _defaults(QuantumModel, realisations=40, dephasings=(0.3,), block=1),
        partial(_of, QuantumModel),
        _quantum_limit,
        ((_SAMPLES, "quantum"), (_SAMPLES, "_quantum")),
    ),
    "validation": Kind(
        validation.DEFAULTS,
        validation.check,
        validation.run,
        (("tplm_analysis", ""), ("tplm_daq.studies", "validation")),
    ),
}  # fmt: skip
"""By name."""


@cache
def _digest(code: tuple[tuple[str, str], ...]) -> str:
    total = hashlib.sha256()
    for package, beginning in code:
        for module in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if module.name.startswith(beginning) and module.name.endswith(".py"):
                total.update(module.read_bytes())
    return total.hexdigest()
