"""The roles of a microscope: what the engine asks of a device, whoever made it.

Every call may raise `DeviceError`. No call blocks for longer than the device's own timeout:
anything slow is started by one call and watched by another, so that the engine can stop it.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

RoleName = Literal[
    "laser",
    "attenuator",
    "detection_attenuator",
    "shutter",
    "power_meter",
    "card",
    "detector_stage",
    "sample_stage",
    "temperature",
]
ROLE_NAMES: tuple[RoleName, ...] = (
    "shutter",
    "laser",
    "attenuator",
    "detection_attenuator",
    "power_meter",
    "card",
    "detector_stage",
    "sample_stage",
    "temperature",
)
"""In the order of opening: the shutter first, so that it can be closed if the laser fails."""


class DeviceError(RuntimeError):
    """A device failed; the text says which, what happened and what to do.

    Parameters
    ----------
    device : str
        Role or name of the device.
    happened : str
        What happened.
    advice : str
        What the person at the table can do.
    """

    def __init__(self, device: str, happened: str, advice: str = "") -> None:
        self.device = device
        self.happened = happened
        self.advice = advice
        super().__init__(f"{device}: {happened}" + (f"; {advice}" if advice else ""))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device says it is."""

    model: str
    serial_number: str = ""
    firmware: str = ""
    checked_against: str = "simulator only"
    """What the driver was ever tried on: ``simulator only`` or ``hardware``."""


class Device(Protocol):
    """What every device can do."""

    def identify(self) -> Identity:
        """Ask the device who it is."""

    def close(self) -> None:
        """Let go of the device; never raises because it is already gone."""


class PulsedLaser(Device, Protocol):
    """The pulsed excitation laser."""

    def emission(self) -> bool:
        """Whether the laser emits, read back from the device."""

    def set_emission(self, on: bool) -> None:
        """Switch the emission."""

    def repetition_rate_hz(self) -> float:
        """Pulses per second, read back."""

    def set_repetition_rate_hz(self, rate_hz: float) -> None:
        """Set the pulses per second."""


class Attenuator(Device, Protocol):
    """A continuously variable attenuator."""

    def transmission(self) -> float:
        """Transmission from 0 to 1, read back."""

    def set_transmission(self, transmission: float) -> None:
        """Start moving to a transmission; `is_moving` tells when it is there."""

    def is_moving(self) -> bool:
        """Whether the wheel still turns."""


class Shutter(Device, Protocol):
    """A shutter in the excitation path."""

    def is_open(self) -> bool:
        """Whether light can pass, read back."""

    def set_open(self, open_: bool) -> None:
        """Open or close; returns when the blade has had its time."""


class PowerMeter(Device, Protocol):
    """A power meter on the nominal power."""

    def power_nw(self) -> float:
        """Average power in nanowatts."""


@dataclass(frozen=True, slots=True)
class CardConfiguration:
    """What the card made of the settings asked for."""

    time_bin_ps: float
    bins: int
    offset_ns: float
    sync_divider: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """The counts of one dwell.

    Attributes
    ----------
    counts : ndarray of uint32, shape (bins,)
        Photons per time bin.
    live_s : float
        How long the card really counted.
    flags : frozenset of str
        What went wrong on the way: ``overflow``, ``sync-lost``, ``fifo-full``, …
    """

    counts: NDArray[np.uint32]
    live_s: float
    flags: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class StreamConfiguration:
    """What the card made of the settings asked for, before it streams single photons.

    Attributes
    ----------
    time_bin_ps, offset_ns, sync_divider
        As in `CardConfiguration`.
    record_type : int
        Layout of the T3 records, as in the header tag ``TTResultFormat_TTTRRecType``.
    channel : int
        Input of the detector as the records number it, from 0.
    fifo_records : int
        How many records the card holds until they are read.
    read_records : int
        Most records that one read gives; buffers must have this size.
    """

    time_bin_ps: float
    offset_ns: float
    sync_divider: int
    record_type: int
    channel: int
    fifo_records: int
    read_records: int


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """What the card tells at the end of a stream."""

    live_s: float
    flags: frozenset[str] = field(default_factory=frozenset)


class TcspcCard(Device, Protocol):
    """The card that sorts photons by arrival time, or streams them one by one (T3).

    Histograms: `configure`, then `start`, `is_counting`, `read` for each dwell.
    Streams: `configure_stream`, then `start`, `read_records` from any thread until the dwell is
    over and nothing comes any more, then `end_stream`.
    """

    def allowed_time_bins_ps(self) -> tuple[float, ...]:
        """Time bins the card can make, shortest first."""

    def max_bins(self) -> int:
        """Longest histogram."""

    def counter_max(self) -> int:
        """Most counts that one bin can hold; the dwell ends early when one is full."""

    def configure(
        self, time_bin_ps: float, bins: int, offset_ns: float, sync_divider: int
    ) -> CardConfiguration:
        """Set the card up for histograms; returns what it really does."""

    def configure_stream(
        self, time_bin_ps: float, offset_ns: float, sync_divider: int, *, markers: bool = False
    ) -> StreamConfiguration:
        """Set the card up for T3 records, with the marker inputs listened to or not."""

    def sync_rate_hz(self) -> float:
        """Rate at the sync input, divider undone."""

    def count_rate_hz(self) -> float:
        """Rate at the detector input."""

    def start(self, dwell_s: float) -> None:
        """Clear the histogram or the FIFO and start counting for a dwell."""

    def is_counting(self) -> bool:
        """Whether the dwell is still running."""

    def stop(self) -> None:
        """End the dwell now, if one runs; records not read by then are lost."""

    def read(self) -> Histogram:
        """The counts of the dwell that just ended."""

    def read_records(self, into: NDArray[np.uint32]) -> int:
        """Move records from the FIFO to the front of a buffer; returns how many, 0 if none wait.

        Parameters
        ----------
        into : ndarray of uint32, shape (read_records,)
            Contiguous.
        """

    def end_stream(self) -> StreamEnd:
        """End the stream, whose records have been read, and tell how it went."""


class Stage(Device, Protocol):
    """A stage with two or three axes; lengths are the stage's own micrometres."""

    def position_um(self) -> tuple[float, ...]:
        """Where the stage is, read back."""

    def move_to(self, target_um: tuple[float, ...]) -> None:
        """Start moving; `is_moving` tells when it is there."""

    def is_moving(self) -> bool:
        """Whether any axis still moves."""

    def stop(self) -> None:
        """Stop moving at once."""


class DetectorStage(Stage, Protocol):
    """The stage that carries the detector: x and y, image plane."""

    def set_speed_um_per_s(self, speed_um_per_s: float | None) -> None:
        """Speed of the moves that follow; None is the one the stage had when it was opened."""


class SampleStage(Stage, Protocol):
    """The stage under the sample: x, y and focus z, sample plane."""


class TemperatureController(Device, Protocol):
    """The temperature controller of the cryostat."""

    def temperature_k(self) -> float:
        """Temperature of the sample, read back."""

    def set_point_k(self) -> float:
        """The set point, read back."""

    def set_set_point_k(self, set_point_k: float) -> None:
        """Give a new set point; the temperature follows in its own time."""
