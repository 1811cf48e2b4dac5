"""Function generators on the trigger input of a PDL 800-D: three families of SCPI."""

from dataclasses import dataclass, field

from tplm_config.devices import Pdl800d
from tplm_simulators.faults import VirtualFault
from tplm_simulators.laser import Laser
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Lines, Served, WireServer

UNDEFINED = '-113,"Undefined header"'
OUT_OF_RANGE = '-222,"Data out of range"'
WRONG_TYPE = '-104,"Data type error"'

AGILENT = {
    "FUNC": "shape", "FREQ": "frequency", "VOLT": "amplitude", "VOLT:OFFS": "offset",
    "VOLT:UNIT": "unit", "OUTP": "output", "OUTP:LOAD": "load",
}  # fmt: skip
TEKTRONIX = {
    "SOURCE1:FUNCTION:SHAPE": "shape", "SOURCE1:FREQUENCY:FIXED": "frequency",
    "SOURCE1:VOLTAGE:AMPLITUDE": "amplitude", "SOURCE1:VOLTAGE:OFFSET": "offset",
    "SOURCE1:VOLTAGE:UNIT": "unit", "OUTP1:STAT": "output", "OUTP1:IMP": "load",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """One family: what it says it is, its words, its fastest square wave, how it says all is well.

    The fastest square wave is the data sheets', from memory.
    """

    identity: str
    words: dict[str, str]
    max_square_hz: float
    no_error: str


MODELS = {
    "Agilent33500": Model(
        "Agilent Technologies,33522A,MY50000123,2.02-1.19-2.00-52-00",
        AGILENT,
        30.0e6,
        '+0,"No error"',
    ),
    "Agilent33220A": Model(
        "Agilent Technologies,33220A,MY44000123,2.07-2.06-22-2", AGILENT, 20.0e6, '+0,"No error"'
    ),
    "AFG3152C": Model(
        "TEKTRONIX,AFG3152C,C012345,SCPI:99.0 FV:3.1.1", TEKTRONIX, 100.0e6, '0,"No error"'
    ),
}
RANGES = {"amplitude": (0.02, 10.0), "offset": (-5.0, 5.0), "load": (1.0, 10_000.0)}


@dataclass
class Generator:
    """The generator, whose output fires the virtual laser.

    Parameters
    ----------
    laser
        Behind the trigger input; its interlock is its own business.
    model
        Which family it speaks like.
    """

    laser: Laser
    model: Model
    shape: str = "SIN"
    amplitude: float = 0.1
    offset: float = 0.0
    unit: str = "VPP"
    load: float = 50.0
    is_on: bool = False
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frequency = self.laser.pulse_rate_hz()

    def answer(self, line: str) -> str | None:
        """Reply to one line."""
        try:
            _ = self.laser.emission
        except VirtualFault:
            return None  # unplugged
        header, _, value = line.strip().upper().partition(" ")
        match header:
            case "":
                return None
            case "*IDN?":
                return self.model.identity
            case "*CLS":
                self.errors.clear()
                return None
            case "SYST:ERR?":
                return self.errors.pop(0) if self.errors else self.model.no_error
        name = self.model.words.get(header.removesuffix("?"))
        if name is None:
            self.errors.append(UNDEFINED)
        elif header.endswith("?"):
            return self._get(name)
        else:
            try:
                self._set(name, value)
            except ValueError:
                self.errors.append(WRONG_TYPE)
        return None

    def _get(self, name: str) -> str:
        if name == "output":
            return "1" if self.is_on else "0"
        value = getattr(self, name)
        return value if isinstance(value, str) else f"{value:+.15E}"

    def _set(self, name: str, value: str) -> None:
        match name:
            case "output":
                self._switch(value in ("1", "ON"))
            case "frequency":
                self._set_frequency(float(value))
            case "shape" | "unit":
                setattr(self, name, value)
            case _:
                number = float(value.removesuffix("VPP"))
                lowest, highest = RANGES[name]
                if lowest <= number <= highest:
                    setattr(self, name, number)
                else:
                    self.errors.append(OUT_OF_RANGE)

    def _switch(self, on: bool) -> None:
        self.is_on = on
        try:
            self.laser.set_emission(on)
        except VirtualFault:
            return  # the interlock keeps the laser dark; the generator knows nothing of it
        if not on and self.laser.emission:
            self.is_on = True  # a relay that sticks

    def _set_frequency(self, frequency_hz: float) -> None:
        clipped_hz = min(frequency_hz, self.model.max_square_hz)
        if clipped_hz < frequency_hz:
            self.errors.append(OUT_OF_RANGE)
        try:
            self.laser.set_repetition_rate_hz(clipped_hz)
        except VirtualFault:
            self.errors.append(OUT_OF_RANGE)
            return
        self.frequency = clipped_hz


def serve(settings: Pdl800d, microscope: VirtualMicroscope, role: str) -> Served:
    """Start the generator that the settings name."""
    generator = Generator(microscope.laser, MODELS[settings.model])
    server = WireServer(lambda: Lines(generator.answer, reply_end=b"\n"))
    resource = f"TCPIP0::127.0.0.1::{server.port}::SOCKET"
    changed = settings.model_copy(update={"generator": resource})
    return Served(changed, server.stop, (server,), library="@py")
