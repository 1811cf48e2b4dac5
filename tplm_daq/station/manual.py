"""Setting and moving single devices by hand, within the limits of the profile, read back."""

import math
from collections.abc import Callable
from dataclasses import replace

from tplm_config import InputError, InstrumentProfile
from tplm_config.errors import did_you_mean
from tplm_daq.handling import Handling
from tplm_daq.power import POWER_TOLERANCE, set_power
from tplm_daq.sample_place import move_sample
from tplm_daq.station.readings import sample_plane_um
from tplm_daq.station.settings import Move
from tplm_drivers import DeviceError, Instrument
from tplm_drivers.roles import Attenuator

SET, MOVE = "set", "move"
"""What refusals begin with: the names of the commands."""
RATE_TOLERANCE = 0.05
"""Lasers divide a fixed rate by whole numbers."""
WHEEL_TOLERANCE = 0.05
SET_POINT_TOLERANCE_K = 0.05


def recentred(
    instrument: Instrument, x_um: float | None = None, y_um: float | None = None
) -> Instrument:
    """The same devices with another zero of the map.

    Parameters
    ----------
    instrument : Instrument
        Open devices.
    x_um, y_um : float, optional
        Place of the sample plane that becomes (0, 0); None: where the detector looks.

    Raises
    ------
    InputError
        If the detector stage cannot go there.
    """
    profile, stage = instrument.profile, instrument.profile.detector_stage
    here_um = sample_plane_um(profile, instrument.detector_stage.position_um())
    x_um, y_um = here_um[0] if x_um is None else x_um, here_um[1] if y_um is None else y_um
    zero_um = profile.stage_position_um(x_um, y_um)
    _check_travel(profile, zero_um, "centre")
    axes = {
        name: getattr(stage, name).model_copy(update={"zero_um": value})
        for name, value in zip("xy", zero_um, strict=True)
    }
    moved = profile.model_copy(update={"detector_stage": stage.model_copy(update=axes)})
    return replace(instrument, profile=moved)


def check_power(instrument: Instrument) -> None:
    """Raise if the power meter reads more than the profile allows.

    Raises
    ------
    DeviceError
        If it does, or does not answer.
    """
    if instrument.power_meter is None:
        return
    power_nw, limit_nw = instrument.power_meter.power_nw(), instrument.profile.limits.laser_power_nw
    if power_nw > limit_nw * (1 + POWER_TOLERANCE):
        raise DeviceError(
            "laser",
            f"the power meter reads {power_nw:.3g} nW, but the profile allows {limit_nw:g} nW at "
            "most",
            "turn the light down behind the closed shutter",
        )


def halt(instrument: Instrument) -> str:
    """Stop all motion at once; every stage is tried.

    Raises
    ------
    DeviceError
        If one does not obey.
    """
    failed: list[str] = []
    for stage in (instrument.detector_stage, instrument.sample_stage):
        try:
            if stage is not None:
                stage.stop()
        except DeviceError as error:
            failed.append(str(error))
    if failed:
        raise DeviceError("stages", "; ".join(failed), "switch off what still moves")
    return "all stages were told to stop"


class Manual:
    """Sets and moves single devices of an open instrument.

    Every method checks before it touches anything, waits open to an abort, reads back, and gives
    one sentence about what is so now.

    Parameters
    ----------
    instrument : Instrument
        Open devices.
    handling : Handling
        Waits; watches the detector if the card is set up.
    """

    def __init__(self, instrument: Instrument, handling: Handling) -> None:
        self._instrument = instrument
        self._profile = instrument.profile
        self._handling = handling
        self._setters: dict[str, Callable[[object], str]] = {
            "emission": self._set_emission,
            "shutter": self._set_shutter,
            "repetition_rate_hz": self._set_repetition_rate,
            "power_nw": self._set_power,
            "transmission": self._set_transmission,
            "detection_transmission": self._set_detection_transmission,
            "set_point_k": self._set_set_point,
        }

    def set(self, what: str, value: object) -> str:
        """Set something, see that it is, and say so.

        Parameters
        ----------
        what : str
            emission, shutter, repetition_rate_hz, power_nw, transmission,
            detection_transmission or set_point_k.
        value : bool or float
            What to set it to.

        Raises
        ------
        InputError
            If there is no such thing, or the profile does not allow the value.
        DeviceError
            If a device fails, or does not read back what it was told.
        DetectorTooBrightError
            If the detector had to be protected.
        """
        setter = self._setters.get(what)
        if setter is None:
            known = tuple(self._setters)
            allowed = did_you_mean(what, known) or f"these can be set: {', '.join(known)}"
            raise InputError(SET, f"there is no '{what}'", allowed)
        return setter(value)

    def move(self, asked: Move) -> str:
        """Move a stage and see that it arrived; it is stopped when the move is given up.

        Raises
        ------
        InputError
            If the place is beyond the travel, or there is no such stage or axis.
        DeviceError
            If the stage fails or does not arrive.
        """
        move = self._move_detector if asked.stage == "detector" else self._move_sample
        return move(asked)

    # -- light ----------------------------------------------------------------------------

    def _set_emission(self, value: object) -> str:
        laser = self._instrument.laser
        if not _switch("emission", value):
            laser.set_emission(False)
            if laser.emission():
                raise DeviceError(
                    "laser",
                    "the emission was switched off but reads back as on",
                    "block the beam by hand and switch the laser off at its key",
                )
            return "the laser is off"
        self._handling.switch_on()
        if self._light_passes():
            self._check_power_or_darken()
        return f"the laser emits, and {self._where_light_goes()}"

    def _set_shutter(self, value: object) -> str:
        if self._instrument.shutter is None:
            raise InputError(SET, "the profile has no shutter", "switch the emission", "shutter")
        if not _switch("shutter", value):
            self._handling.set_shutter(False)
            return "the shutter is closed"
        if self._instrument.laser.emission():
            check_power(self._instrument)
        self._handling.set_shutter(True)
        self._handling.look(now=True)
        watched = (
            "" if self._handling.watching else "; nothing watches the detector until you align"
        )
        return f"the shutter is open{watched}"

    def _set_repetition_rate(self, value: object) -> str:
        wanted_hz = _positive("repetition_rate_hz", value, "Hz")
        laser = self._instrument.laser
        laser.set_repetition_rate_hz(wanted_hz)
        rate_hz = laser.repetition_rate_hz()
        if not math.isclose(rate_hz, wanted_hz, rel_tol=RATE_TOLERANCE):
            raise DeviceError(
                "laser",
                f"pulses at {rate_hz / 1e6:.4g} MHz where {wanted_hz / 1e6:.4g} MHz are asked for",
                "ask for a rate that it can make",
            )
        if self._handling.watching:
            self._handling.wait(self._profile.card.sync_warm_up_s)
            self._handling.sync_hz = self._instrument.card.sync_rate_hz()
        return f"the laser pulses at {rate_hz / 1e6:.4g} MHz"

    def _set_power(self, value: object) -> str:
        wanted_nw, limit_nw = (
            _positive("power_nw", value, "nW"),
            self._profile.limits.laser_power_nw,
        )
        if wanted_nw > limit_nw:
            raise _refused("power_nw", wanted_nw, f"the profile allows {limit_nw:g} nW at most")
        at = self._instrument
        if at.attenuator is None or at.power_meter is None:
            raise InputError(
                SET, "this needs an attenuator and a power meter, and the profile lacks one",
                "set the transmission, or the laser itself", "power_nw",
            )  # fmt: skip
        if not at.laser.emission():
            raise InputError(
                SET, "the laser is off",
                "switch the emission on first; the shutter may stay closed", "power_nw",
            )  # fmt: skip
        handling = self._handling
        power_nw = set_power(at, wanted_nw, handling.wait, handling.wait_until)
        return f"the power meter reads {power_nw:.4g} nW"

    def _set_transmission(self, value: object) -> str:
        wanted = _fraction("transmission", value)
        at, role = self._instrument, self._profile.attenuator
        if at.attenuator is None or role is None:
            raise InputError(SET, "the profile has no attenuator", "", "transmission")
        before = at.attenuator.transmission()
        if wanted > before > 0 and at.power_meter is not None and at.laser.emission():
            # what the wheel would let through is known before it turns
            power_nw, limit_nw = at.power_meter.power_nw(), self._profile.limits.laser_power_nw
            if power_nw * wanted / before > limit_nw * (1 + POWER_TOLERANCE):
                raise _refused(
                    "transmission", wanted,
                    f"that would make {power_nw * wanted / before:.3g} nW of the {power_nw:.3g} nW "
                    f"there are now, and the profile allows {limit_nw:g} nW at most",
                )  # fmt: skip
        reading = self._turn(at.attenuator, wanted, role.timeout_s, "attenuator")
        if at.laser.emission():
            self._check_power_or_darken()
        return f"the attenuator lets {reading:.3g} of the light through"

    def _set_detection_transmission(self, value: object) -> str:
        wanted = _fraction("detection_transmission", value)
        wheel, role = self._instrument.detection_attenuator, self._profile.detection_attenuator
        if wheel is None or role is None:
            key = "detection_transmission"
            raise InputError(SET, "the profile has no wheel before the detector", "", key)
        reading = self._turn(wheel, wanted, role.timeout_s, "detection_attenuator")
        return f"the wheel before the detector lets {reading:.3g} of the light through"

    def _turn(self, wheel: Attenuator, wanted: float, timeout_s: float, name: str) -> float:
        wheel.set_transmission(wanted)
        self._handling.wait_until(lambda: not wheel.is_moving(), timeout_s, name, "turning")
        reading = wheel.transmission()
        # below a thousandth wheels are as dark as they go
        if abs(reading - wanted) > max(WHEEL_TOLERANCE * wanted, 1e-3):
            raise DeviceError(
                name,
                f"reads back a transmission of {reading:.3g} where {wanted:.3g} is asked for",
                "home the wheel and look at its calibration table",
            )
        return reading

    def _light_passes(self) -> bool:
        shutter = self._instrument.shutter
        return shutter is None or shutter.is_open()

    def _where_light_goes(self) -> str:
        if self._instrument.shutter is None:
            return "there is no shutter: the sample is lit"
        return "the shutter is open" if self._light_passes() else "the shutter is closed"

    def _check_power_or_darken(self) -> None:
        try:
            check_power(self._instrument)
        except DeviceError:
            self._handling.block_light()
            raise

    # -- temperature ----------------------------------------------------------------------

    def _set_set_point(self, value: object) -> str:
        wanted_k, (low_k, high_k) = (
            _number("set_point_k", value),
            self._profile.limits.temperature_k,
        )
        if not low_k <= wanted_k <= high_k:
            raise _refused("set_point_k", wanted_k, f"the profile allows {low_k:g} to {high_k:g} K")
        controller = self._instrument.temperature
        if controller is None:
            raise InputError(SET, "the profile has no temperature controller", "", "set_point_k")
        before_k, now_k = controller.set_point_k(), controller.temperature_k()
        controller.set_set_point_k(wanted_k)
        set_k = controller.set_point_k()
        if abs(set_k - wanted_k) <= SET_POINT_TOLERANCE_K:
            return f"the set point is {set_k:g} K; the temperature is {now_k:.2f} K"
        # controllers that ramp read back how far they have come
        known_k = before_k, now_k, wanted_k
        if not min(known_k) - 1 <= set_k <= max(known_k) + 1:
            raise DeviceError(
                "temperature",
                f"the set point reads back as {set_k:g} K where {wanted_k:g} K were given",
                "see whether the controller is in local mode or has limits of its own",
            )
        return (
            f"{wanted_k:g} K were given; the set point reads {set_k:g} K, on its way if the "
            f"controller ramps; the temperature is {now_k:.2f} K"
        )

    # -- stages ---------------------------------------------------------------------------

    def _move_detector(self, asked: Move) -> str:
        if len(asked.to) != 2:
            raise InputError(
                MOVE, f"found {len(asked.to)} numbers", "the detector has x and y", "to"
            )
        x_um, y_um = asked.to
        stage, profile = self._instrument.detector_stage, self._profile
        if asked.relative:
            here_um = stage.position_um()
            if asked.plane == "sample":
                here_um = sample_plane_um(profile, here_um)
            x_um, y_um = here_um[0] + x_um, here_um[1] + y_um
        target_um = (
            profile.stage_position_um(x_um, y_um) if asked.plane == "sample" else (x_um, y_um)
        )
        _check_travel(profile, target_um, MOVE)
        try:
            at_um = self._handling.go_to_reading(target_um)
        except BaseException:
            stage.stop()
            raise
        x_um, y_um = sample_plane_um(profile, at_um)
        return (
            f"the detector looks at ({x_um:.3f}, {y_um:.3f}) µm; its stage is at "
            f"({at_um[0]:.1f}, {at_um[1]:.1f}) µm"
        )

    def _move_sample(self, asked: Move) -> str:
        stage, role = self._instrument.sample_stage, self._profile.sample_stage
        if stage is None or role is None:
            raise InputError(MOVE, "the profile has no sample stage", "", "stage")
        if asked.plane == "image":
            raise InputError(
                MOVE, "the sample stage moves in the sample plane only", 'use "sample"', "plane"
            )
        here_um = stage.position_um()
        if len(asked.to) > len(here_um):
            raise InputError(MOVE, "the sample stage has no z", "give x and y", "to")
        # an axis that was not named stays where it is
        first = tuple(
            here + by if asked.relative else by for here, by in zip(here_um, asked.to, strict=False)
        )
        target_um = (*first, *here_um[len(first) :])
        low_um, high_um = role.travel_um
        for axis, place_um in zip("xyz", target_um, strict=False):
            if not low_um <= place_um <= high_um:
                raise InputError(
                    MOVE, f"{axis} = {place_um:.2f} µm is beyond the sample stage's travel",
                    f"it goes from {low_um:g} to {high_um:g} µm", "to",
                )  # fmt: skip
        try:
            at_um = move_sample(self._handling, self._instrument, target_um)
        except BaseException:
            stage.stop()
            raise
        return f"the sample stage is at ({', '.join(f'{place:.2f}' for place in at_um)}) µm"


def _check_travel(profile: InstrumentProfile, target_um: tuple[float, float], what: str) -> None:
    """Refuse a reading of the detector stage beyond its travel."""
    m, axes = profile.optics.magnification, (profile.detector_stage.x, profile.detector_stage.y)
    for name, axis, place_um in zip("xy", axes, target_um, strict=True):
        low_um, high_um = axis.travel_um
        if not low_um <= place_um <= high_um:
            first, last = sorted(axis.sign * (end - axis.zero_um) / m for end in axis.travel_um)
            raise InputError(
                what,
                f"{name} = {axis.sign * (place_um - axis.zero_um) / m:.3f} µm, stage reading "
                f"{place_um:.1f} µm, is beyond the detector stage's travel",
                f"it goes from {low_um:g} to {high_um:g} µm, {first:.2f} to {last:.2f} µm of the "
                "sample",
                "to" if what == MOVE else f"{name}_um",
            )


def _refused(key: str, found: float, allowed: str) -> InputError:
    return InputError(SET, f"found {found:g}", allowed, key)


def _switch(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(SET, f"found {value!r}", "true or false is needed", key)
    return value


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(SET, f"found {value!r}", "a number is needed", key)
    return float(value)


def _positive(key: str, value: object, unit: str) -> float:
    number = _number(key, value)
    if number <= 0:
        raise _refused(key, number, f"more than 0 {unit} is needed")
    return number


def _fraction(key: str, value: object) -> float:
    number = _number(key, value)
    if not 0 <= number <= 1:
        raise _refused(key, number, "0 to 1 is allowed")
    return number
