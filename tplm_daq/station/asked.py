"""The commands of a station that are no requests to a run, and their arguments."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from tplm_config._model import Model
from tplm_config.toml import validate
from tplm_daq.station.settings import (
    AlignSettings,
    BackgroundSettings,
    FocusSettings,
    IrfSettings,
    LineSettings,
    Move,
    Place,
    RasterSettings,
)

LONGEST_PLAN = 500_000
MOST_POINTS = 10_000
Path = Annotated[str, Field(min_length=1, max_length=4096)]


class Nothing(Model):
    """A command that takes nothing."""


class Set(Model):
    """Set one quantity by hand."""

    what: Literal[
        "emission",
        "shutter",
        "repetition_rate_hz",
        "power_nw",
        "transmission",
        "detection_transmission",
        "set_point_k",
    ]
    value: float | bool

    @property
    def words(self) -> str:
        """What is done, in words: "setting the power to 2 nW"."""
        match self.what:
            case "emission":
                return f"switching the laser {'on' if self.value else 'off'}"
            case "shutter":
                return f"{'opening' if self.value else 'closing'} the shutter"
            case what:
                name, unit, scale = _NAMES[what]
                return f"setting {name} to {self.value * scale:g} {unit}".rstrip()


_NAMES = {
    "repetition_rate_hz": ("the repetition rate", "MHz", 1e-6),
    "power_nw": ("the power", "nW", 1.0),
    "transmission": ("the transmission", "", 1.0),
    "detection_transmission": ("the transmission to the detector", "", 1.0),
    "set_point_k": ("the temperature", "K", 1.0),
}
"""Name, unit as shown, and what the value is multiplied with."""


class Centre(Model):
    """A place of the sample plane for the zero of the map; none: where the detector looks."""

    x_um: Place | None = None
    y_um: Place | None = None


class Run(Model):
    """Carry out a scan or a series."""

    plan: Annotated[str, Field(max_length=LONGEST_PLAN)]
    """TOML."""
    out: Path
    """File or folder, from the station's working folder on."""
    watchdog: bool = True


class Resume(Model):
    """Go on with a scan or a series."""

    path: Path
    plan: Annotated[str, Field(max_length=LONGEST_PLAN)] | None = None
    """TOML, edited, of a series; what is done and still asked for stays."""
    watchdog: bool = True


class Reorder(Model):
    """Another order for points of the running series."""

    order: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MOST_POINTS)]


class Judge(Model):
    """What a trainee found."""

    found: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=100)]
    d_found: float | None = None
    """D with its standard error, cm²/s."""
    d_stderr: float | None = None


ARGUMENTS: dict[str, type[Model]] = {
    "connect": Nothing,
    "disconnect": Nothing,
    "doctor": Nothing,
    "set": Set,
    "move": Move,
    "halt": Nothing,
    "align": AlignSettings,
    "dark": Nothing,
    "cross": LineSettings,
    "raster": RasterSettings,
    "find": LineSettings,
    "centre": Centre,
    "focus": FocusSettings,
    "irf": IrfSettings,
    "background": BackgroundSettings,
    "scan": Run,
    "series": Run,
    "resume": Resume,
    "reorder": Reorder,
    "judge": Judge,
    "quit": Nothing,
}
"""What each command takes."""
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(model) for name, model in ARGUMENTS.items()
}


def read_arguments(command: str, arguments: Mapping[str, Any] | None) -> Any:
    """The arguments of a command, checked.

    Raises
    ------
    InputError
        Naming the first that is missing, unknown, of the wrong type or out of its range.
    """
    return validate(_ADAPTERS[command], arguments or {}, command)
