"""What every device reads back while nothing runs, and what a run tells of it."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tplm_config import InstrumentProfile, Visit
from tplm_daq.events import (
    Event,
    InstrumentSettings,
    Rates,
    RunEnded,
    RunStarted,
    RunState,
    StateChanged,
    VisitMeasured,
    VisitStarted,
)
from tplm_drivers import Instrument
from tplm_drivers.roles import ROLE_NAMES, RoleName

Values = dict[str, bool | float | None]


def sample_plane_um(profile: InstrumentProfile, stage_um: tuple[float, ...]) -> tuple[float, float]:
    """Place of the sample plane that a reading of the detector stage looks at.

    Parameters
    ----------
    profile : InstrumentProfile
        With magnification, signs and zero.
    stage_um : tuple of float
        Reading of the stage, image plane; x and y come first.
    """
    m, axes = profile.optics.magnification, (profile.detector_stage.x, profile.detector_stage.y)
    x_um, y_um = (
        axis.sign * (at_um - axis.zero_um) / m for axis, at_um in zip(axes, stage_um, strict=False)
    )
    return x_um, y_um


def identify(instrument: Instrument) -> dict[RoleName, str]:
    """Model and serial number of every device that says who it is; some take long to say it."""
    models: dict[RoleName, str] = {}
    for role, device in instrument.devices().items():
        with suppress(Exception):  # its read-back says what is wrong with it
            identity = device.identify()
            models[role] = f"{identity.model} {identity.serial_number}".rstrip()
    return models


def not_open(profile: InstrumentProfile) -> dict[str, dict[str, str | None]]:
    """The "devices" of the readings event while nothing is connected."""
    return {
        role: _entry("absent" if getattr(profile, role) is None else "closed")
        for role in ROLE_NAMES
    }


def read_back(
    instrument: Instrument, card_ready: bool, models: Mapping[RoleName, str] | None = None
) -> dict[str, Any]:
    """Read everything back.

    Parameters
    ----------
    instrument : Instrument
        Open devices.
    card_ready : bool
        Whether the card is set up; its rate meters say nothing before.
    models : mapping, optional
        Of `identify`.

    Returns
    -------
    dict
        ``devices`` and ``values`` of the readings event. A device that fails has the state
        ``failed`` and its sentence, and no values; nothing is raised.
    """
    models = models or {}
    values: Values = {}
    devices: dict[str, dict[str, str | None]] = {}
    for role in ROLE_NAMES:
        device = getattr(instrument, role)
        if device is None:
            devices[role] = _entry("absent")
            continue
        try:
            if role == "card":
                found, words = _card(device) if card_ready else ({}, "not set up")
                busy = False
            else:
                found, words, busy = _READERS[role](device, instrument.profile)
        except Exception as error:  # noqa: BLE001 - one broken device must not hide the others
            sentence = str(error) or type(error).__name__
            devices[role] = _entry("failed", sentence, models.get(role, ""), sentence)
        else:
            values |= {key: _finite(value) for key, value in found.items()}
            devices[role] = _entry("busy" if busy else "ready", words, models.get(role, ""))
    return {"devices": devices, "values": values}


class Heard:
    """What a run that has the devices told of them.

    Parameters
    ----------
    profile : InstrumentProfile
        Of the instrument; without a shutter, what waits in the dark is a laser that is off.

    Attributes
    ----------
    values : dict
        Of the readings event; what is not known, or not any more, is not in it.
    """

    def __init__(self, profile: InstrumentProfile) -> None:
        self.values: Values = {}
        self._has_shutter = profile.shutter is not None
        self._visit: Visit | None = None

    def take(self, event: Event) -> bool:
        """Take an event; gives whether the light is another now, which is told at once."""
        before = self._light()
        match event:
            case RunStarted(settings=found):
                self._know_settings(found)
            case VisitStarted(visit):
                self._visit = visit
            case Rates():
                self._know(count_rate_hz=event.count_rate_hz, sync_rate_hz=event.sync_rate_hz)
            case VisitMeasured(record):
                self._know(
                    detector_x_um=record.visit.x_um,
                    detector_y_um=record.visit.y_um,
                    detector_image_x_um=record.stage_x_um,
                    detector_image_y_um=record.stage_y_um,
                    temperature_k=record.temperature_k,
                    power_nw=record.power_nw,
                )
                for axis, place in zip("xy", record.visit.sample_xy_um or (), strict=False):
                    self._know(**{f"sample_{axis}_um": place})
            case StateChanged(state):
                self._know_light(state)
            case RunEnded(safe_state=safe):
                self._know(
                    emission=None if safe.laser_off is None else not safe.laser_off,
                    shutter_open=None if safe.shutter_closed is None else not safe.shutter_closed,
                )
        return self._light() != before

    def _light(self) -> tuple[object, object]:
        return self.values.get("emission"), self.values.get("shutter_open")

    def _know(self, **values: bool | float | None) -> None:
        self.values |= {key: _finite(value) for key, value in values.items()}

    def _know_settings(self, found: InstrumentSettings) -> None:
        self._know(
            repetition_rate_hz=found.repetition_rate_hz,
            sync_rate_hz=found.sync_rate_hz,
            power_nw=found.power_nw,
            transmission=found.transmission,
            detection_transmission=found.detection_transmission,
            temperature_k=found.temperature_k,
            set_point_k=found.temperature_set_point_k,
            emission=True,  # it was switched on and read back, behind the shutter
        )
        if self._has_shutter:
            self._know(shutter_open=False)
        for axis, place in zip("xyz", found.sample_position_um or (), strict=False):
            self._know(**{f"sample_{axis}_um": place})

    def _know_light(self, state: RunState) -> None:
        """The run brings about what a state means before it says that it is in it."""
        visit = self._visit
        if state is RunState.COUNTING and visit is not None:
            self._know(emission=True)
            if self._has_shutter:
                self._know(shutter_open=visit.shutter_open)
        elif state is RunState.PAUSED:
            self._know(**{"shutter_open" if self._has_shutter else "emission": False})
        elif state in (RunState.PREPARING, RunState.FINISHING):
            self._know(emission=None, shutter_open=None)


def _entry(
    state: str, words: str = "", model: str = "", error: str | None = None
) -> dict[str, str | None]:
    return {"state": state, "words": words, "model": model, "error": error}


def _finite(value: bool | float | None) -> bool | float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _card(card: Any) -> tuple[Values, str]:
    sync_hz, count_hz = card.sync_rate_hz(), card.count_rate_hz()
    words = f"{sync_hz / 1e6:.4g} MHz sync, {count_hz:.4g} counts/s"
    return {"sync_rate_hz": sync_hz, "count_rate_hz": count_hz}, words


Reader = Callable[[Any, InstrumentProfile], tuple[Values, str, bool]]
"""Values, words and whether it is busy, of a device."""


def _laser(laser: Any, _: InstrumentProfile) -> tuple[Values, str, bool]:
    emits, rate_hz = laser.emission(), laser.repetition_rate_hz()
    words = f"{'emitting' if emits else 'off'}, {rate_hz / 1e6:.4g} MHz"
    return {"emission": emits, "repetition_rate_hz": rate_hz}, words, False


def _shutter(shutter: Any, _: InstrumentProfile) -> tuple[Values, str, bool]:
    is_open = shutter.is_open()
    return {"shutter_open": is_open}, "open" if is_open else "closed", False


def _wheel(key: str) -> Reader:
    def read(wheel: Any, _: InstrumentProfile) -> tuple[Values, str, bool]:
        turns, transmission = wheel.is_moving(), wheel.transmission()
        words = f"turning, {transmission:.3g}" if turns else f"transmission {transmission:.3g}"
        return {key: transmission}, words, turns

    return read


def _power_meter(meter: Any, _: InstrumentProfile) -> tuple[Values, str, bool]:
    power_nw = meter.power_nw()
    return {"power_nw": power_nw}, f"{power_nw:.3g} nW", False


def _detector_stage(stage: Any, profile: InstrumentProfile) -> tuple[Values, str, bool]:
    moves, at_um = stage.is_moving(), stage.position_um()
    x_um, y_um = sample_plane_um(profile, at_um)
    values: Values = {
        "detector_x_um": x_um,
        "detector_y_um": y_um,
        "detector_image_x_um": at_um[0],
        "detector_image_y_um": at_um[1],
    }
    return values, "moving" if moves else f"at ({x_um:.3f}, {y_um:.3f}) µm", moves


def _sample_stage(stage: Any, _: InstrumentProfile) -> tuple[Values, str, bool]:
    moves, at_um = stage.is_moving(), stage.position_um()
    # an instrument's stage may have no z
    values: Values = {f"sample_{axis}_um": place for axis, place in zip("xyz", at_um, strict=False)}
    words = f"at ({', '.join(f'{place:.2f}' for place in at_um)}) µm"
    return values, "moving" if moves else words, moves


def _temperature(controller: Any, _: InstrumentProfile) -> tuple[Values, str, bool]:
    now_k, set_k = controller.temperature_k(), controller.set_point_k()
    words = f"{now_k:.2f} K, set to {set_k:g} K"
    return {"temperature_k": now_k, "set_point_k": set_k}, words, False


_READERS: dict[RoleName, Reader] = {
    "shutter": _shutter,
    "laser": _laser,
    "attenuator": _wheel("transmission"),
    "detection_attenuator": _wheel("detection_transmission"),
    "power_meter": _power_meter,
    "detector_stage": _detector_stage,
    "sample_stage": _sample_stage,
    "temperature": _temperature,
}
