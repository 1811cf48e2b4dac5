"""PicoQuant PDL 800-D, which has no computer interface: a function generator triggers it.

The generator's square wave is the repetition rate, its output the emission. What the PDL 800-D
itself does — key switch, interlock, intensity dial — cannot be read from here.
"""

import math
from typing import Any, Protocol

from pymeasure.instruments.agilent import Agilent33220A, Agilent33500
from pymeasure.instruments.tektronix import AFG3152C

from tplm_config import InstrumentProfile
from tplm_config.devices import Pdl800d as Settings
from tplm_drivers._visa import VisaLine
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity, RoleName

LOAD_OHM = 50
MAX_ERRORS = 20
RATE_TOLERANCE = 1e-4


class Square(Protocol):
    """What the three families of generators have to be told, each in its own words."""

    def set_up(self, amplitude_v: float, offset_v: float) -> None:
        """Square wave into 50 Ω."""

    def rate_hz(self) -> float:
        """Frequency, read back."""

    def set_rate_hz(self, rate_hz: float) -> None:
        """Set the frequency."""

    def output(self) -> bool:
        """Whether the output is on, read back."""

    def set_output(self, on: bool) -> None:
        """Switch the output."""


class AgilentSquare:
    """Agilent and Keysight 33220A and 33500 series."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def set_up(self, amplitude_v: float, offset_v: float) -> None:
        """Square wave into 50 Ω; the load first, because it rescales the amplitude."""
        generator = self._generator
        generator.write(f"OUTP:LOAD {LOAD_OHM}")  # PyMeasure's 33220A has no property for it
        generator.shape = "SQU"
        generator.amplitude_unit = "VPP"
        generator.amplitude = amplitude_v
        generator.offset = offset_v

    def rate_hz(self) -> float:
        """Frequency, read back."""
        return _number(self._generator.frequency)

    def set_rate_hz(self, rate_hz: float) -> None:
        """Set the frequency."""
        self._generator.frequency = rate_hz

    def output(self) -> bool:
        """Whether the output is on, read back."""
        return bool(self._generator.output)

    def set_output(self, on: bool) -> None:
        """Switch the output."""
        self._generator.output = on


class TektronixSquare:
    """Tektronix AFG3000 series, channel 1.

    PyMeasure's own ``impedance`` and ``enable`` of this class send what the generator does not
    know, so load and output are said here.
    """

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def set_up(self, amplitude_v: float, offset_v: float) -> None:
        """Square wave into 50 Ω; the load first, because it rescales the amplitude."""
        self._generator.write(f"OUTP1:IMP {LOAD_OHM}")
        channel = self._generator.ch1
        channel.shape = "square"
        channel.unit = "VPP"
        channel.amp_vpp = amplitude_v
        channel.offset = offset_v

    def rate_hz(self) -> float:
        """Frequency, read back."""
        return _number(self._generator.ch1.frequency)

    def set_rate_hz(self, rate_hz: float) -> None:
        """Set the frequency."""
        self._generator.ch1.frequency = rate_hz

    def output(self) -> bool:
        """Whether the output is on, read back."""
        return bool(_number(self._generator.values("OUTP1:STAT?")[0]))

    def set_output(self, on: bool) -> None:
        """Switch the output."""
        self._generator.write(f"OUTP1:STAT {'ON' if on else 'OFF'}")


MODELS: dict[str, tuple[type[Any], type[AgilentSquare] | type[TektronixSquare]]] = {
    "Agilent33500": (Agilent33500, AgilentSquare),
    "Agilent33220A": (Agilent33220A, AgilentSquare),
    "AFG3152C": (AFG3152C, TektronixSquare),
}


class Pdl800d:
    """The laser, as its trigger.

    Parameters
    ----------
    role
        Which role it plays.
    settings
        Of the profile.
    library
        Which VISA; None takes the computer's own.
    """

    def __init__(self, role: RoleName, settings: Settings, library: str | None) -> None:
        self.role = role
        self._settings = settings
        make, words = MODELS[settings.model]
        self.line: VisaLine[Any] = VisaLine(
            role,
            settings.generator,
            settings.timeout_s,
            make,
            library,
            reopens=False,
            advice="read the display of the generator",
        )
        self._square: Square = words(self.line.instrument)
        try:
            self.set_emission(False)
            with self.line.exchange() as generator:
                generator.clear()
                self._square.set_up(settings.amplitude_v, settings.offset_v)
                self._check()
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Ask the generator; the rest of the composite is what somebody wrote in the profile."""
        with self.line.exchange() as generator:
            maker, model, serial_number, *firmware = (
                part.strip() for part in generator.id.split(",")
            )
        settings = self._settings
        dial = f"dial {settings.dial}" if settings.dial else "dial not noted"
        return Identity(
            model=f"PicoQuant PDL 800-D, {dial}, triggered on the {settings.trigger_edge} edge by "
            f"{maker} {model}",
            serial_number=f"generator {serial_number}",
            firmware=", ".join(firmware),
        )

    def close(self) -> None:
        """Let go of the resource."""
        self.line.close()

    def emission(self) -> bool:
        """Whether the generator's output is on; the interlock of the PDL 800-D is not seen."""
        with self.line.exchange():
            return self._square.output()

    def set_emission(self, on: bool) -> None:
        """Switch the generator's output; off is read back."""
        with self.line.exchange():
            self._square.set_output(on)
            if not on and self._square.output():
                raise DeviceError(
                    self.role,
                    "refuses to go off: the output of the generator still reads back as on",
                    "block the beam by hand and turn the key of the PDL 800-D",
                )
            self._check()

    def repetition_rate_hz(self) -> float:
        """Frequency of the generator, read back."""
        with self.line.exchange():
            return self._square.rate_hz()

    def set_repetition_rate_hz(self, rate_hz: float) -> None:
        """Set the frequency of the generator."""
        highest_hz = self._settings.max_rate_hz
        if not 0 < rate_hz <= highest_hz:
            raise DeviceError(
                self.role,
                f"{rate_hz:g} Hz is beyond the {highest_hz:g} Hz that the profile allows",
                "ask for a lower repetition rate",
            )
        with self.line.exchange():
            self._square.set_rate_hz(rate_hz)
            found_hz = self._square.rate_hz()
            self._check()
        if not math.isclose(found_hz, rate_hz, rel_tol=RATE_TOLERANCE):
            raise DeviceError(
                self.role,
                f"the generator was told {rate_hz:g} Hz but is at {found_hz:g} Hz",
                "ask for a repetition rate that the generator can make with a square wave",
            )

    def _check(self) -> None:
        """Let the generator tell what it did not like, and empty its list."""
        errors = []
        for _ in range(MAX_ERRORS):
            code, *words = self.line.instrument.next_error
            if int(_number(code)) == 0:
                break
            errors.append(str(words[0]).strip('" ') if words else f"error {code:g}")
        if errors:
            raise DeviceError(
                self.role,
                f"the generator refused: {', '.join(errors)}",
                "compare the profile with what the generator can do",
            )


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"unexpected reply {value!r}")
    return float(value)


def open_device(
    *,
    role: RoleName,
    settings: Settings,
    profile: InstrumentProfile,
    clock: Clock,
    library: str | None,
) -> Pdl800d:
    """Open the generator, with its output switched off."""
    return Pdl800d(role, settings, library)
