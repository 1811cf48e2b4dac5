"""Lessons at the virtual microscope: a film whose D nobody tells, and what is wrong today.

A lesson is drawn from its name and a seed, the same each time. What is hidden in it is a change
of the simulation, so that every tool of the application shows it as the instrument would.
"""

import math
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from tplm_config import (
    Background,
    InputError,
    InstrumentProfile,
    LineScan,
    ScanPlan,
)
from tplm_config.simulation import FilmSettings, SimulationSettings
from tplm_config.toml import validate

FaultKey = Literal[
    "misaligned",
    "out-of-focus",
    "drifting",
    "too-much-power",
    "sync-divider",
    "repetition-rate",
    "room-light",
    "time-window",
]

POWER_NW = 1.0
RATE_HZ = 2.5e6
"""What the task asks for: D at this power and this repetition rate, at room temperature."""
AGREES_SIGMA = 2.0
AGREES_SHARE = 0.05
"""A D that is found is right within so many standard errors, or so close in proportion."""
VAGUE = 0.3
"""Relative error above which a D says too little to be right."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that can be wrong with an instrument.

    Attributes
    ----------
    key : str
        Name for programs.
    title : str
        As it stands in the list of suspicions.
    sees, finds : str
        What one sees if one looks, and which tool tells how much it is.
    effect : str
        What it does to D, with a number; measured as `tests/daq/test_training.py` does it.
    cure : str
        What to do.
    """

    key: FaultKey
    title: str
    sees: str
    finds: str
    effect: str
    cure: str


_TABLE = (
    Fault(
        "misaligned",
        "The detector does not look at the middle of the spot",
        "Fewer counts than the film can give at the zero of the map. The profile of a scan sits "
        "beside the middle of the line, and the fit says off-centre.",
        "Align: a cross. Both lines peak at the same place away from zero, whatever the time.",
        "D itself stays right; with the spot 0.35 µm away along x and along y its error bar is "
        "1.4 times as long, because the line passes beside the light.",
        "Align: find the peak, then centre here. Or a plan with [centring].",
    ),
    Fault(
        "out-of-focus",
        "The sample is out of focus",
        "Few counts in the middle and a wide profile: σ0 well above the 255 nm of this "
        "microscope. The centre is where it should be.",
        "Align: the focus helper. The peak grows on one side of where z stands.",
        "At 1.5 µm from the focus the error bar of D is 5 times as long: the widening has to "
        "be seen on a much wider profile. A film with memory is also excited less.",
        "Align: focus, by peak or by width. Or a plan with [centring.focus].",
    ),
    Fault(
        "drifting",
        "The spot drifts over the sample",
        "Nothing, in a single look: the fit is good and does not complain. The centre of the "
        "profile is off by the way that the spot went meanwhile.",
        "Align: a cross, and the same again some minutes later. The peak has moved, and moves on.",
        "A line walked once in one direction is stretched or squeezed: 3 µm per hour along the "
        "walk make D 20 % too high, against it 14 % too low; the error bar says nothing of it.",
        "Many short passes forth and back, [centring] with every_visits, the drift correction "
        "of the analysis; and wait until the instrument is warm.",
    ),
    Fault(
        "too-much-power",
        "There is too much light on the sample",
        "The power reads tens of nanowatts, not 1 nW. More than 1 % of the pulses give a count: "
        "the rate is coloured, and scan and fit warn of pile-up.",
        "Instrument: the power read back; Align: counts per pulse. Half the power, and D changes.",
        "Excitons that follow each other closely run on nanocrystals still warm from the last one: "
        "a film of 0.03 cm²/s shows 4.6 times that at 25 nW. Pile-up cuts the late light on "
        "top of it.",
        "Turn the wheel to 1 nW, or give excitation.power_nw in the plan.",
    ),
    Fault(
        "sync-divider",
        "The card cannot follow the sync pulses",
        "The sync rate is 0 although the laser emits, no decay builds up, and a scan refuses to "
        "begin: there are no sync pulses.",
        "Align: another sync divider. From one of them on the sync rate is that of the laser.",
        "No D at all: without sync no count has a time.",
        "Card: sync_divider = 2, 4 or more, until pulses divided by it are slow enough for the "
        "card. The counts stay the same.",
    ),
    Fault(
        "repetition-rate",
        "The laser fires at the wrong repetition rate",
        "The sync rate is not 2.5 MHz. The light before the rising edge is not dark: it is what "
        "earlier pulses left.",
        "Instrument: the repetition rate read back; Align: the sync rate, and the decay on a "
        "logarithmic scale before time zero.",
        "At 34 MHz D is about 2 % too high: under the fresh light lies the wider profile of older "
        "pulses, and the fit says previous-pulse. A film that remembers shows little more, since "
        "at the same average power it is excited as often; the decay is cut off by the next pulse.",
        "Set 2.5 MHz, or give excitation.repetition_rate_hz in the plan.",
    ),
    Fault(
        "room-light",
        "Room light reaches the detector",
        "Thousands of counts per second with the shutter closed. The decay stands on a high "
        "floor, and the map has it at every place.",
        "Align: the background, with the light blocked. It should be about 100 counts per second.",
        "15,000 counts per second of it make the error bar of D 1.4 times as long, as long as the "
        "fit leaves the background free; the method 'moment' comes out 12 % higher.",
        "Find the lamp. Here: it cannot be put out; measure longer, with [background], or with "
        "more light in the pulse as long as pile-up allows. Say that you found it.",
    ),
    Fault(
        "time-window",
        "The decay does not lie in the time window",
        "The decay begins near the right edge of the window and is cut off before it has fallen. "
        "The lifetime comes out wrong or not at all.",
        "Align: the live decay; its maximum is late. Change the offset and it moves.",
        "With 3 ns of the decay in the window the error bar of D is 2.4 times as long, and a "
        "lifetime cannot be trusted.",
        "Card: offset_ns so that the rising edge comes soon after the first bin, or a longer "
        "range_ns.",
    ),
)
FAULTS: Mapping[FaultKey, Fault] = MappingProxyType({fault.key: fault for fault in _TABLE})
"""What can be wrong, in the order of the list of suspicions."""


@dataclass(frozen=True, slots=True)
class Course:
    """A kind of lesson.

    Attributes
    ----------
    name : str
        For ``tplm host --lesson``.
    title, words : str
        What it is about.
    fewest, most : int
        How many faults are hidden.
    fault : str or None
        The one that it is about, which is then no secret.
    """

    name: str
    title: str
    words: str
    fewest: int = 1
    most: int = 1
    fault: FaultKey | None = None


LESSONS: Mapping[str, Course] = MappingProxyType(
    {
        course.name: course
        for course in (
            Course(
                "first-light",
                "First light",
                "Everything is in order. Find the spot, measure, and give D.",
                0,
                0,
            ),
            Course(
                "something-is-wrong",
                "Something is wrong",
                "One thing is not as it should be. Find it, put it right, and give D.",
            ),
            Course("a-bad-day", "A bad day", "Two or three things are wrong at once.", 2, 3),
            *(
                Course(
                    fault.key,
                    f"Practice: {fault.key.replace('-', ' ')}",
                    f"{fault.title}. Find out by how much, put it right, and give D.",
                    fault=fault.key,
                )
                for fault in _TABLE
            ),
        )
    }
)
"""Every lesson by its name."""

_APART: tuple[frozenset[FaultKey], ...] = (
    frozenset({"sync-divider", "repetition-rate"}),
    frozenset({"time-window", "repetition-rate"}),
    frozenset({"misaligned", "drifting"}),
)
"""Faults that would hide each other."""


@dataclass(frozen=True, slots=True)
class Told:
    """A fault that was hidden, with its size, as `Fault` and `Hidden` have it."""

    key: FaultKey
    title: str
    amount: str
    sees: str
    finds: str
    effect: str
    cure: str


@dataclass(frozen=True, slots=True)
class Hidden:
    """A fault of a lesson, with its size.

    Attributes
    ----------
    key : str
        Which.
    amount : str
        How much, in words.
    changes : mapping
        Of the simulation's settings, by the name of the group and of the setting; a setting
        without a group stands under "".
    """

    key: FaultKey
    amount: str
    changes: Mapping[tuple[str, str], Any]

    @property
    def told(self) -> Told:
        """It, with what is known of such a fault."""
        return Told(amount=self.amount, **asdict(FAULTS[self.key]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a lesson.

    Attributes
    ----------
    passed : bool
        Whether everything was found, nothing else, and D is right.
    words : str
        All of it, a sentence each.
    right, missed, false_alarms : tuple of str
        Keys of faults: found and there, there and not found, found and not there.
    d_true_cm2_per_s : float
        Of the film, at 1 nW and 2.5 MHz.
    d_found_cm2_per_s, d_stderr_cm2_per_s : float or None
        What was measured.
    d_agrees : bool or None
        Whether that is right; None if no D was given.
    d_words : str
        The two side by side, in a sentence.
    faults : tuple of Told
        What was wrong.
    """

    passed: bool
    words: str
    right: tuple[FaultKey, ...]
    missed: tuple[FaultKey, ...]
    false_alarms: tuple[FaultKey, ...]
    d_true_cm2_per_s: float
    d_found_cm2_per_s: float | None
    d_stderr_cm2_per_s: float | None
    d_agrees: bool | None
    d_words: str
    faults: tuple[Told, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A film to measure and what is wrong today; made by `draw_lesson`.

    Attributes
    ----------
    course : Course
        Which kind.
    seed : int
        With which it was drawn.
    sample : FilmSettings
        The film; its D is a secret.
    hidden : tuple of Hidden
        What is wrong, likewise.
    """

    course: Course
    seed: int
    sample: FilmSettings
    hidden: tuple[Hidden, ...]

    @property
    def id(self) -> str:
        """Name and seed, from which `lesson_of` draws it again."""
        return f"{self.course.name}:{self.seed}"

    @property
    def title(self) -> str:
        """What it is about."""
        return self.course.title

    @property
    def task(self) -> str:
        """What the trainee is told."""
        return (
            f"{self.course.words} The film: {self.sample_words}. Wanted: its D at {POWER_NW:g} nW "
            f"and {RATE_HZ / 1e6:g} MHz, at room temperature. The plan that a colleague left "
            "takes light, repetition rate and zero of the map as they are."
        )

    @property
    def sample_words(self) -> str:
        """The film without its secret."""
        lifetime = "long-lived" if self.sample.prompt_lifetime_ns > _LONG_NS else "short-lived"
        memory = "with" if self.sample.d_memory_cm2_per_s > 0 else "without"
        return f"nanocrystals of {self.sample.edge_nm:.1f} nm, {lifetime}, {memory} memory"

    @property
    def plan(self) -> ScanPlan:
        """What a colleague left: a slow line in one pass, with light and rate as they are."""
        return LineScan(
            dwell_s=10.0,
            passes=1,
            order="one-way",
            background=Background(dwell_s=20.0),
            sample=f"{self.course.title}, number {self.seed}",
            operator="trainee",
        )

    @property
    def d_true_cm2_per_s(self) -> float:
        """Diffusivity of the film at 1 nW and 2.5 MHz, along one axis."""
        # loaded only here: the list of lessons must not wait for what compiles
        import numpy as np

        from tplm_analysis import excitation
        from tplm_simulators import Conditions, Film

        light = excitation(POWER_NW, RATE_HZ, edge_nm=self.sample.edge_nm)
        conditions = Conditions(
            photons_per_pulse=0.0,
            fluence_uj_per_cm2=light.fluence_uj_per_cm2,
            mean_excitons_per_nc=light.mean_excitons_per_nc,
            repetition_rate_hz=RATE_HZ,
            temperature_k=295.0,
            spot_sigma_um=0.0,
        )
        return Film(self.sample, np.random.default_rng(0)).diffusivity_cm2_per_s(conditions)

    def apply(self, profile: InstrumentProfile) -> InstrumentProfile:
        """Return a profile whose virtual microscope has the film and the faults.

        Raises
        ------
        InputError
            If a setting does not fit those of the profile.
        """
        settings = profile.simulation.model_dump()
        settings["sample"] = self.sample.model_dump()
        settings["seed"] = _number(self.course.name, self.seed)
        for fault in self.hidden:
            for (group, name), value in fault.changes.items():
                where = settings[group] if group else settings
                # what depends on the profile is drawn in micrometres of its sample plane
                where[name] = (
                    profile.stage_position_um(*value) if name == "spot_image_um" else value
                )
        source = f"lesson {self.course.name} on {profile.name}"
        simulation = validate(TypeAdapter(SimulationSettings), settings, source)
        return profile.model_copy(update={"simulation": simulation})

    def judge(
        self,
        found: Collection[str],
        d_found: float | None = None,
        d_stderr: float | None = None,
    ) -> Verdict:
        """Compare what was found with what is so.

        Parameters
        ----------
        found : collection of str
            Keys of `FAULTS`.
        d_found, d_stderr : float, optional
            D with its standard error, cm²/s.

        Raises
        ------
        InputError
            If a key is no fault's, or D is no number that can be compared.
        """
        unknown = sorted(set(found) - set(FAULTS))
        if unknown:
            raise InputError(
                "judge", f"'{unknown[0]}' is no fault", f"known are: {', '.join(FAULTS)}"
            )
        for name, value in (("d_found", d_found), ("d_stderr", d_stderr)):
            if value is not None and not (math.isfinite(value) and (value >= 0)):
                raise InputError("judge", f"{name} is {value:g}", "a number from 0 is needed")
        there = {one.key for one in self.hidden}
        right = tuple(key for key in FAULTS if key in there and key in found)
        missed = tuple(key for key in FAULTS if key in there and key not in found)
        false = tuple(key for key in FAULTS if key not in there and key in found)
        agrees, words = self._compare(d_found, d_stderr)
        return Verdict(
            passed=not missed and not false and agrees is True,
            words=" ".join([_score(right, missed, false), words]),
            right=right,
            missed=missed,
            false_alarms=false,
            d_true_cm2_per_s=self.d_true_cm2_per_s,
            d_found_cm2_per_s=d_found,
            d_stderr_cm2_per_s=d_stderr,
            d_agrees=agrees,
            d_words=words,
            faults=tuple(one.told for one in self.hidden),
        )

    def _compare(self, d: float | None, error: float | None) -> tuple[bool | None, str]:
        true = self.d_true_cm2_per_s
        if d is None:
            return None, f"You gave no D; it is {true:.4g} cm²/s."
        bar = "" if error is None else f" ± {error:.2g}"
        both = f"You found D = {d:.4g}{bar} cm²/s; it is {true:.4g} cm²/s"
        off = d / true - 1
        sigmas = math.inf if not error else abs(d - true) / error
        if error is not None and error > VAGUE * true:
            return False, f"{both}: your error bar is {error / true:.0%} of it, which says little."
        if abs(off) <= AGREES_SHARE or sigmas <= AGREES_SIGMA:
            return True, f"{both}: {off:+.1%}, which is right."
        by = "" if math.isinf(sigmas) else f", {sigmas:.0f} standard errors"
        return False, f"{both}: {off:+.0%}{by}. Something you did not put right has spoilt it."


def _score(
    right: tuple[FaultKey, ...], missed: tuple[FaultKey, ...], false_alarms: tuple[FaultKey, ...]
) -> str:
    there = len(right) + len(missed)
    if there == 0:
        first = "Nothing was wrong."
    elif not missed:
        first = "You found what was wrong." if there == 1 else f"You found all {there} faults."
    else:
        first = f"You found {len(right)} of {there}."
    lines = [first]
    lines += [f"Missed: {FAULTS[key].title}." for key in missed]
    lines += [f"Not so: {FAULTS[key].title}." for key in false_alarms]
    return " ".join(lines)


_LONG_NS = 3.0
_Draw = Callable[[random.Random], tuple[str, dict[tuple[str, str], Any]]]


def _signed(rng: random.Random, low: float, high: float) -> float:
    return rng.choice((-1, 1)) * rng.uniform(low, high)


def _misaligned(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    x_um, y_um = _signed(rng, 0.25, 0.5), _signed(rng, 0.25, 0.45)
    return f"the spot is at x = {x_um:+.2f} µm, y = {y_um:+.2f} µm", {
        ("", "spot_image_um"): (x_um, y_um)
    }


def _out_of_focus(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    z_um = _signed(rng, 1.2, 1.8)
    return f"the focus is at z = {z_um:+.2f} µm of the sample stage", {("", "focus_z_um"): z_um}


def _drifting(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    x, y = _signed(rng, 2500, 4000), _signed(rng, 0, 1000)
    return f"the spot goes {x:+.0f} nm per hour along x and {y:+.0f} along y", {
        ("laser", "drift_nm_per_h"): (x, y)
    }


def _too_much_power(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    share = rng.uniform(0.15, 0.4)
    return f"the wheel lets {share:.0%} pass, where 1 % makes 1 nW", {
        ("attenuator", "start_transmission"): share
    }


def _sync_divider(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    limit_hz = rng.uniform(0.8e6, 2.0e6)
    return f"the card follows {limit_hz / 1e6:.2f} MHz at most, the laser makes 2.5 MHz", {
        ("detection", "max_sync_rate_hz"): limit_hz
    }


def _repetition_rate(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    rate_hz = rng.uniform(30e6, 38e6)
    return f"the laser fires at {rate_hz / 1e6:.1f} MHz", {("laser", "start_rate_hz"): rate_hz}


def _room_light(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    rate_hz = rng.uniform(8e3, 20e3)
    return f"{rate_hz:,.0f} counts per second of room light", {
        ("detection", "ambient_rate_hz"): rate_hz
    }


def _time_window(rng: random.Random) -> tuple[str, dict[tuple[str, str], Any]]:
    zero_ps = rng.uniform(21.5e3, 23.5e3)
    return f"the light comes {zero_ps / 1e3:.1f} ns after the sync", {
        ("detection", "time_zero_ps"): zero_ps
    }


_DRAWS: Mapping[FaultKey, _Draw] = {
    "misaligned": _misaligned,
    "out-of-focus": _out_of_focus,
    "drifting": _drifting,
    "too-much-power": _too_much_power,
    "sync-divider": _sync_divider,
    "repetition-rate": _repetition_rate,
    "room-light": _room_light,
    "time-window": _time_window,
}


def draw_lesson(name: str, seed: int = 0) -> Lesson:
    """Draw a lesson; the same name and seed give the same one.

    Parameters
    ----------
    name : str
        One of `LESSONS`.
    seed : int
        Any whole number.

    Raises
    ------
    InputError
        If there is no such lesson.
    """
    course = LESSONS.get(name)
    if course is None:
        raise InputError("lesson", f"there is no '{name}'", f"known are: {', '.join(LESSONS)}")
    rng = random.Random(f"{name}:{seed}")
    keys: tuple[FaultKey, ...] = (course.fault,) if course.fault else ()
    if course.fault is None and course.most > 0:
        keys = _choose(rng, rng.randint(course.fewest, course.most))
    hidden = tuple(Hidden(key, *_DRAWS[key](rng)) for key in keys)
    # without memory more light would leave D as it is
    memory = rng.random() < 0.7 or "too-much-power" in keys
    sample = FilmSettings(
        d_slow_cm2_per_s=round(math.exp(rng.uniform(math.log(0.015), math.log(0.06))), 4),
        d_memory_cm2_per_s=round(rng.uniform(0.1, 0.16), 3) if memory else 0.0,
        prompt_lifetime_ns=round(rng.choice((rng.uniform(1.8, 2.6), rng.uniform(3.5, 5.0))), 2),
        amplitude_contrast=round(rng.uniform(0.05, 0.2), 3),
        detected_per_incident_photon=round(rng.uniform(7e-4, 9e-4), 6),
    )
    return Lesson(course, seed, sample, hidden)


def lesson_of(id_: str) -> Lesson:
    """Draw the lesson that a station names.

    Raises
    ------
    InputError
        If it names none.
    """
    name, _, seed = id_.partition(":")
    if not seed.removeprefix("-").isdecimal():
        raise InputError("lesson", f"'{id_}' names none", "it is NAME:SEED")
    return draw_lesson(name, int(seed))


def _choose(rng: random.Random, number: int) -> tuple[FaultKey, ...]:
    while True:
        keys = rng.sample(get_args(FaultKey), number)
        if not any(pair <= set(keys) for pair in _APART):
            return tuple(key for key in FAULTS if key in keys)


def _number(name: str, seed: int) -> int:
    """A seed of the counts that is not that of another lesson."""
    return random.Random(f"counts:{name}:{seed}").getrandbits(31)
