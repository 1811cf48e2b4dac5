"""The instrument: the devices of one profile, opened all or none, and always made safe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from tplm_config import InputError, InstrumentProfile
from tplm_drivers.clock import Clock
from tplm_drivers.roles import (
    ROLE_NAMES,
    Attenuator,
    DetectorStage,
    Device,
    DeviceError,
    PowerMeter,
    PulsedLaser,
    RoleName,
    SampleStage,
    Shutter,
    TcspcCard,
    TemperatureController,
)


@dataclass(frozen=True, slots=True)
class SafeState:
    """What was read back after everything was told to be safe.

    Attributes
    ----------
    laser_off : bool or None
        Whether the laser reads back as off; None if it could not be asked.
    shutter_closed : bool or None
        Whether the shutter reads back as closed; None if there is none or it does not answer.
    problems : tuple of str
        What went wrong on the way.
    """

    laser_off: bool | None
    shutter_closed: bool | None
    problems: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether a read-back proves that no light reaches the sample."""
        return self.laser_off is True or self.shutter_closed is True

    def __str__(self) -> str:
        """One sentence for the person at the table."""
        words = {True: "yes", False: "NO", None: "unknown"}
        text = f"laser off: {words[self.laser_off]}, shutter closed: {words[self.shutter_closed]}"
        if not self.verified:
            text = f"THE LASER MAY STILL BE ON ({text}): block the beam by hand"
        return text + "".join(f"; {problem}" for problem in self.problems)


class Bench(Protocol):
    """What stands behind simulated devices."""

    def pending(self) -> float | None:
        """Share of the sample's light under present conditions that is computed; None when all is.

        Until then the card's answers may take long, in which nothing can be stopped.
        """

    def truth(self) -> str | None:
        """What is true of the sample at present, beyond its settings."""

    def close(self) -> None:
        """End the simulation."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """The open devices of a microscope.

    A context manager: on the way out, whatever the reason, the shutter is closed, the laser
    switched off, both are read back, and every device is let go.
    """

    profile: InstrumentProfile
    clock: Clock
    laser: PulsedLaser
    card: TcspcCard
    detector_stage: DetectorStage
    attenuator: Attenuator | None = None
    detection_attenuator: Attenuator | None = None
    shutter: Shutter | None = None
    power_meter: PowerMeter | None = None
    sample_stage: SampleStage | None = None
    temperature: TemperatureController | None = None
    bench: Bench | None = None
    """What stands behind simulated devices; None on a real microscope."""

    def devices(self) -> dict[RoleName, Device]:
        """The devices present, by role."""
        found = {role: getattr(self, role) for role in ROLE_NAMES}
        return {role: device for role, device in found.items() if device is not None}

    def make_safe(self) -> SafeState:
        """Close the shutter, switch the laser off, stop the stages, and read back the light.

        Never raises: each device is tried even if another one fails, and what failed is told.
        """
        return make_safe(self.devices())

    def close(self) -> SafeState:
        """Make safe, then let go of every device."""
        state = let_go(self.devices())
        if self.bench is not None:
            self.bench.close()
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        state = self.close()
        if not state.verified:
            raise unsafe(state, error) from error


def make_safe(devices: Mapping[RoleName, Any]) -> SafeState:
    """`Instrument.make_safe` for whatever devices are open."""
    problems: list[str] = []
    attempt = partial(_attempt, devices, problems)
    attempt("shutter", lambda shutter: shutter.set_open(False))
    attempt("laser", lambda laser: laser.set_emission(False))
    attempt("card", lambda card: card.stop())
    attempt("detector_stage", lambda stage: stage.stop())
    attempt("sample_stage", lambda stage: stage.stop())
    emits = attempt("laser", lambda laser: laser.emission())
    is_open = attempt("shutter", lambda shutter: shutter.is_open())
    return SafeState(
        laser_off=None if emits is None else not emits,
        shutter_closed=None if is_open is None else not is_open,
        problems=tuple(dict.fromkeys(problems)),
    )


def let_go(devices: Mapping[RoleName, Any]) -> SafeState:
    """Make safe, then close every device, also when one of them fails."""
    state = make_safe(devices)
    problems = list(state.problems)
    for role in devices:
        _attempt(devices, problems, role, lambda device: device.close(), " could not be closed")
    return replace(state, problems=tuple(problems))


def unsafe(state: SafeState, error: BaseException | None) -> DeviceError:
    """The error for a way out on which the light could not be proven off.

    It takes the place of the error that led there, if any, and names it.
    """
    before = "" if error is None else f"before that, {_words(error)}"
    return DeviceError("laser", str(state), before)


def _attempt(
    devices: Mapping[RoleName, Any],
    problems: list[str],
    role: RoleName,
    step: Callable[[Any], object],
    failing: str = "",
) -> object:
    """Try one step of the way out; what it raises is noted, and the next step is taken."""
    if role not in devices:
        return None
    try:
        return step(devices[role])
    except BaseException as error:  # noqa: BLE001 - not even Ctrl-C comes before the laser
        named = isinstance(error, DeviceError) and not failing
        problems.append(_words(error) if named else f"{role}{failing}: {_words(error)}")
        return None


def _words(error: BaseException) -> str:
    """An error in words; one of the program's own needs no type before it."""
    if isinstance(error, DeviceError | InputError):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")
