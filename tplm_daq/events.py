"""What a run tells its observers: small frozen events, each expressible as JSON."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tplm_config import Visit
from tplm_drivers import SafeState


class RunState(StrEnum):
    """What a run is doing; see the drawing in `tplm_daq.runner`."""

    IDLE = "idle"
    PREPARING = "preparing"
    MOVING = "moving"
    COUNTING = "counting"
    PAUSED = "paused"
    FINISHING = "finishing"


class Ending(StrEnum):
    """Why a run ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class VisitRecord:
    """What one visit measured.

    Attributes
    ----------
    visit : Visit
        What was planned.
    started_s : float
        Device time since the scan began.
    live_s : float
        How long the card counted.
    stage_x_um, stage_y_um : float
        Where the detector stage read back, image plane.
    sync_rate_hz, count_rate_hz : float
        Rates during the dwell.
    temperature_k, power_nw : float
        Read back after the dwell; NaN where there is no such device.
    flags : frozenset of str
        What the card complained of.
    counts : ndarray of uint32, shape (bins,)
        The histogram.
    """

    visit: Visit
    started_s: float
    live_s: float
    stage_x_um: float
    stage_y_um: float
    sync_rate_hz: float
    count_rate_hz: float
    temperature_k: float
    power_nw: float
    flags: frozenset[str]
    counts: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class InstrumentSettings:
    """What the devices read back when everything was set; None where there is no device."""

    repetition_rate_hz: float
    time_bin_ps: float
    bins: int
    offset_ns: float
    sync_divider: int
    sync_rate_hz: float
    power_nw: float | None
    transmission: float | None
    temperature_k: float | None
    temperature_set_point_k: float | None
    sample_position_um: tuple[float, ...] | None
    detection_transmission: float | None = None


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The instrument is ready and the first visit follows."""

    visits_planned: int
    visits_to_do: int
    settings: InstrumentSettings


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The run does something else now."""

    state: RunState
    why: str = ""


@dataclass(frozen=True, slots=True)
class VisitStarted:
    """The stage sets off for a visit."""

    visit: Visit


@dataclass(frozen=True, slots=True)
class Rates:
    """What the card's meters show while it counts.

    Attributes
    ----------
    sync_rate_hz : float
        Pulses per second.
    count_rate_hz : float
        Highest detector rate of this visit so far.
    brightest_bin : int or None
        Counts in the brightest bin so far; None where the card tells only at the end.
    """

    sync_rate_hz: float
    count_rate_hz: float
    brightest_bin: int | None = None

    @property
    def share(self) -> float:
        """Counts per pulse: above about 0.01 pile-up distorts the decay."""
        return self.count_rate_hz / self.sync_rate_hz if self.sync_rate_hz > 0 else float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class VisitMeasured:
    """The counts of a visit are here; the store writes them, and may end the run."""

    record: VisitRecord


@dataclass(frozen=True, slots=True)
class VisitStored:
    """The counts of a visit are safe on the disk: it will never be measured again."""

    index: int
    total_counts: int
    done: int
    to_do: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What the next pass will be, or that the scan has told enough, and why.

    Attributes
    ----------
    pass_index : int
        The pass decided on.
    why : str
        In a sentence.
    ends : bool
        Whether the scan ends here: its goal or its time limit is reached.
    dwell_s : tuple of float
        Counting time at each place of the plan in that pass; 0: left out. Empty: the plan's.
    d_cm2_per_s, d_stderr_cm2_per_s : float or None
        What was known by then.
    needed_s : float or None
        Further time that the goal is predicted to need, travel included.
    """

    pass_index: int
    why: str
    ends: bool = False
    dwell_s: tuple[float, ...] = ()
    d_cm2_per_s: float | None = None
    d_stderr_cm2_per_s: float | None = None
    needed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Centred:
    """The emission peak was found; the places of the plan are relative to it from now on.

    Attributes
    ----------
    time_s : float
        Device time since the scan began.
    x_um, y_um : float
        Where the peak is, sample plane, relative to the centre of the profile.
    x_stderr_um, y_stderr_um : float
        How exactly that is known.
    sigma_um, peak_hz : float
        Width of the peak, and counts per second above the background.
    z_um, z_stderr_um : float or None
        Focus of the sample stage, if it was searched for, and how exactly that is known.
    """

    time_s: float
    x_um: float
    y_um: float
    x_stderr_um: float
    y_stderr_um: float
    sigma_um: float
    peak_hz: float
    z_um: float | None = None
    z_stderr_um: float | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth a sentence."""

    level: Literal["info", "warning", "error"]
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over and the instrument is safe, or says why not."""

    ending: Ending
    message: str
    visits_done: int
    safe_state: SafeState


@dataclass(frozen=True, slots=True)
class SeriesStarted:
    """A series of scans begins or goes on."""

    folder: str
    points_planned: int
    points_to_do: int


@dataclass(frozen=True, slots=True)
class PointStarted:
    """The next point of a series is being set.

    Attributes
    ----------
    index : int
        Number of the point, from 0.
    label : str
        What is set, in words: "power 2.5 nW, 150 K, repeat 1".
    attempt : int
        1, and more after a failure.
    """

    index: int
    label: str
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class PointsReordered:
    """The points of a series that have not begun are measured in another order.

    Attributes
    ----------
    order : tuple of int
        Their numbers, the next one first.
    """

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimeShared:
    """How long the next point of a series may take, and why.

    Attributes
    ----------
    index : int
        The point.
    time_s : float
        Its share, set-up included.
    left_s : float
        What was left for it and the points after it.
    why : str
        In a sentence.
    shares_s : tuple of float
        What every point would get of it; 0 for those that are over.
    wanted, stderr : str, float or None
        What is to be known best, and the error of it that is expected in the end, in µs or cm²/s
        for each unit of the swept quantity.
    """

    index: int
    time_s: float
    left_s: float
    why: str
    shares_s: tuple[float, ...] = ()
    wanted: str = ""
    stderr: float | None = None


@dataclass(frozen=True, slots=True)
class PointEnded:
    """A point of a series is over; D is None where there is none."""

    index: int
    ending: Ending
    message: str
    file: str
    d_cm2_per_s: float | None = None
    d_stderr_cm2_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class SeriesEnded:
    """A series is over."""

    ending: Ending
    message: str
    points_done: int


Event = (
    RunStarted
    | StateChanged
    | VisitStarted
    | Rates
    | VisitMeasured
    | VisitStored
    | Centred
    | Decided
    | Notice
    | RunEnded
    | SeriesStarted
    | PointStarted
    | PointsReordered
    | TimeShared
    | PointEnded
    | SeriesEnded
)
Observer = Callable[[Event], None]


def to_json(event: Event) -> dict[str, Any]:
    """An event as plain values for JSON; histograms shrink to their total.

    Returns
    -------
    dict
        ``{"event": "visit-stored", …}``.
    """
    name = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(event).__name__).lstrip("-")
    return {"event": name, **_plain(event)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, np.ndarray):
        return {"bins": int(value.size), "total": int(value.sum())}
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
