"""The instrument: the devices of one profile, opened all or none, and always made safe."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from tplm_config import InstrumentProfile
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
    shutter: Shutter | None = None
    power_meter: PowerMeter | None = None
    sample_stage: SampleStage | None = None
    temperature: TemperatureController | None = None

    def devices(self) -> dict[RoleName, Device]:
        """The devices present, by role."""
        found = {role: getattr(self, role) for role in ROLE_NAMES}
        return {role: device for role, device in found.items() if device is not None}

    def make_safe(self) -> SafeState:
        """Close the shutter, switch the laser off, stop the stages, and read back the light.

        Never raises: each device is tried even if another one fails, and what failed is told.
        """
        problems: list[str] = []

        def attempt(step: Callable[[], object]) -> object:
            try:
                return step()
            except Exception as error:  # noqa: BLE001 - whatever a driver raises, go on to the laser
                problems.append(str(error))
                return None

        shutter, laser = self.shutter, self.laser
        if shutter is not None:
            attempt(lambda: shutter.set_open(False))
        attempt(lambda: laser.set_emission(False))
        attempt(self.card.stop)
        attempt(self.detector_stage.stop)
        emits = attempt(laser.emission)
        is_open = attempt(shutter.is_open) if shutter is not None else None
        return SafeState(
            laser_off=None if emits is None else not emits,
            shutter_closed=None if is_open is None else not is_open,
            problems=tuple(dict.fromkeys(problems)),
        )

    def close(self) -> SafeState:
        """Make safe, then let go of every device."""
        state = self.make_safe()
        problems = list(state.problems)
        for role, device in self.devices().items():
            try:
                device.close()
            except Exception as error:  # noqa: BLE001 - the other devices still want closing
                problems.append(f"{role} could not be closed: {error}")
        return replace(state, problems=tuple(problems))

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
            raise DeviceError("laser", str(state))
