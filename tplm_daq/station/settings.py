"""What the operator may ask of an instrument outside a run, and within which limits."""

from typing import Annotated, Literal

from pydantic import Field

from tplm_config import CardSettings, Focus
from tplm_config._model import Model

Dwell = Annotated[float, Field(ge=0.001, le=60)]
HalfRange = Annotated[float, Field(gt=0, le=1000)]
Place = Annotated[float, Field(ge=-1e6, le=1e6)]


class AlignSettings(CardSettings):
    """Live counting: how the card counts, again and again."""

    mode: Literal["histogram"] = "histogram"
    raw: Literal["none"] = "none"
    dwell_s: Dwell = 0.5
    """One look."""


class LineSettings(Model):
    """Lines along x and y through where the detector looks."""

    half_range_um: HalfRange = 1.5
    """To both sides, sample plane."""
    positions: Annotated[int, Field(ge=7, le=401)] = 31
    """Places on each line."""
    dwell_s: Dwell = 0.1
    """At each of them."""


class RasterSettings(Model):
    """A square around where the detector looks."""

    half_range_um: HalfRange = 1.5
    """To all sides, sample plane."""
    positions: Annotated[int, Field(ge=3, le=101)] = 15
    """Places along each axis."""
    dwell_s: Dwell = 0.05
    """At each of them."""


class FocusSettings(Focus):
    """Search for the focus, at the place where the detector looks."""

    dwell_s: Dwell = 0.1
    """At each place of the detector."""


class IrfSettings(Model):
    """A dwell on something that scatters the laser."""

    dwell_s: Dwell = 2.0
    sample_x_um: Place | None = None
    """Where the sample stage finds the scatterer; None leaves the sample where it is."""
    sample_y_um: Place | None = None


class BackgroundSettings(Model):
    """The count rate without light on the sample."""

    dwell_s: Dwell = 2.0
    dark: bool = False
    """With the laser off too: the dark rate of the detector, with the room's light."""


class Move(Model):
    """Where a stage is to go."""

    stage: Literal["detector", "sample"]
    to: Annotated[tuple[Place, ...], Field(min_length=2, max_length=3)]
    """x, y and, of the sample stage, z if it is to move."""
    plane: Literal["sample", "image"] = "sample"
    """In µm of the sample, relative to the zero of the map, or of the detector stage itself."""
    relative: bool = False
    """From where the stage is."""
