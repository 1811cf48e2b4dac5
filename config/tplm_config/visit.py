"""A visit: the smallest thing a scan does, one dwell of the detector at one place."""

from dataclasses import dataclass
from enum import StrEnum


class VisitKind(StrEnum):
    """What the counts of a visit are for."""

    MAP = "map"
    REFERENCE = "reference"
    BACKGROUND = "background"
    IRF = "irf"


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the sample plane, in micrometres."""

    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True)
class Visit:
    """One dwell.

    Attributes
    ----------
    index : int
        Number of the visit in its plan, from 0; also its row in the file.
    kind : VisitKind
        What the counts are for.
    pass_index : int
        Which pass it belongs to; −1 for a visit outside the passes.
    position_index : int
        Which of the plan's places it measures; −1 for a visit that is not part of the map.
    x_um, y_um : float
        Where the detector looks, sample plane.
    dwell_s : float
        How long it counts.
    shutter_open : bool
        Whether the laser reaches the sample.
    sample_xy_um : tuple of float or None
        Where the sample stage stands; None leaves it where the scan found it.
    """

    index: int
    kind: VisitKind
    pass_index: int
    position_index: int
    x_um: float
    y_um: float
    dwell_s: float
    shutter_open: bool = True
    sample_xy_um: tuple[float, float] | None = None
