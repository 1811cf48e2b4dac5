"""Measuring a line while the detector flies over it: the stream is cut at the borders."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tplm_config import Flight, Leg
from tplm_daq.counting import check_flags, light_first, to_histogram, which
from tplm_daq.t3.decoder import T3_FORMATS, T3Decoder
from tplm_daq.t3.stream import RecordStream
from tplm_drivers import (
    Clock,
    DetectorStage,
    DeviceError,
    Histogram,
    StreamConfiguration,
    TcspcCard,
)

LOOK_S = 0.02
"""Device time between two looks at the stage."""
FEWEST_LOOKS = 3
"""Readings at constant speed before the borders can be foretold."""
TOLERANCE = 0.25
"""How far, in steps, the detector may be from a border when the stream is cut there."""
OVERTIME_S = 5.0
MOST_HELD = 1 << 24
"""Records that may wait for the borders to be known: 64 MB."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A border in the stream."""

    sync: int
    """Pulses since the stream began."""
    counts: NDArray[np.int64]
    """Histogram since the cut before."""


@dataclass(frozen=True, slots=True)
class Flown:
    """What a flight measured.

    Attributes
    ----------
    started_s : tuple of float
        Device time at which each visit began.
    histograms : tuple of Histogram
        Counts of each visit.
    sync_count : int
        Pulses in the whole stream, run-up included.
    live_s : float
        How long the card counted, run-up included.
    """

    started_s: tuple[float, ...]
    histograms: tuple[Histogram, ...]
    sync_count: int
    live_s: float


class Cutter:
    """Cuts a stream at pulse numbers that may still be corrected, or at every marker.

    Parameters
    ----------
    decoder : T3Decoder
        Makes the histograms.
    channel : int
        Of the detector.
    by : {"time", "markers"}
        What tells where to cut.
    most : int
        Cuts after which something is wrong.
    """

    def __init__(
        self, decoder: T3Decoder, channel: int, by: Literal["time", "markers"], most: int
    ) -> None:
        self.borders: tuple[int, ...] = ()
        """Pulse numbers to cut at, as foretold so far; those already cut at stay."""
        self.cuts: list[Cut] = []
        self._decoder = decoder
        self._channel = channel
        self._by = by
        self._most = most
        self._held: list[NDArray[np.uint32]] = []
        """What came before the borders were foretold, by a stage that answers slowly."""

    @property
    def last_sync(self) -> int:
        """How far the stream has come."""
        return self._decoder.sync_count

    def take(self, records: NDArray[np.uint32]) -> None:
        """Count a block, and cut where it must be.

        Raises
        ------
        DeviceError
            If there are far more markers than borders, or the borders stay unknown for too long.
        """
        if self._by == "time" and not self.borders:
            self._held.append(records.copy())
            if sum(block.size for block in self._held) > MOST_HELD:
                raise DeviceError(
                    "detector_stage",
                    "answers too slowly for the stream to be cut where it was",
                    "use a longer dwell or less light, or measure without [fly]",
                )
            return
        self.catch_up()
        self._cut(records)

    def catch_up(self) -> None:
        """Work up what was held until the borders were known."""
        held, self._held = self._held, []
        for block in held:
            self._cut(block)

    def _cut(self, records: NDArray[np.uint32]) -> None:
        while True:
            index, sync, skip = self._next(records)
            self._decoder.feed(records[: index + skip])
            if index == records.size:
                return
            if len(self.cuts) == self._most:
                raise DeviceError(
                    "card",
                    f"more than {self._most} pulses came at the marker inputs in one pass",
                    "check the wiring, and the distance of the stage's trigger pulses",
                )
            self.cuts.append(Cut(sync, self._decoder.take(self._channel)))
            records = records[index + skip :]

    def _next(self, records: NDArray[np.uint32]) -> tuple[int, int, int]:
        """Where to cut, at which pulse, and how many records belong to the cut itself."""
        if self._by == "markers":
            index, sync = self._decoder.next_marker(records)
            return index, sync, int(index < records.size)
        if len(self.cuts) >= len(self.borders):
            return records.size, 0, 0
        # a border that was corrected to lie in the past is cut at now, and judged for it
        border = max(self.borders[len(self.cuts)], self._decoder.sync_count)
        return self._decoder.index_at(records, border), border, 0


class Track:
    """Readings of the stage at constant speed, and the straight line through them."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._times_s: list[float] = []
        self._readings_um: list[float] = []

    def add(self, time_s: float, reading_um: float) -> None:
        """Take in a reading, if the speed is constant there."""
        flown = self._flight
        since = (reading_um - flown.constant_from_um) * flown.direction
        left = (flown.borders_um[-1] - reading_um) * flown.direction
        if since > 0 and left > 0:
            self._times_s.append(time_s)
            self._readings_um.append(reading_um)

    def borders_s(self) -> NDArray[np.float64] | None:
        """When the borders are crossed, as far as it is known; None with too few readings."""
        if len(self._times_s) < FEWEST_LOOKS:
            return None
        times, readings = np.array(self._times_s), np.array(self._readings_um)
        pace = self._flight.direction / self._flight.speed_um_per_s
        spread = readings - readings.mean()
        if np.ptp(readings) > 2 * self._flight.step_um:
            # by now the readings tell the speed better than the setting does
            pace = float(spread @ times) / float(spread @ spread)
        borders = np.array(self._flight.borders_um)
        return np.asarray(times.mean() + pace * (borders - readings.mean()))


def fly(
    leg: Leg,
    flight: Flight,
    by: Literal["time", "markers"],
    stage: DetectorStage,
    card: TcspcCard,
    settings: StreamConfiguration,
    bins: int,
    clock: Clock,
    pause: Callable[[float], None],
    darken: Callable[[], None],
    write: Callable[[NDArray[np.uint32]], None],
) -> Flown:
    """Measure a leg in one flight; the stage stands at its start.

    Parameters
    ----------
    leg : tuple of Visit
        Places of the line.
    flight : Flight
        How to move.
    by : {"time", "markers"}
        What tells where a place begins.
    stage, card, settings, clock
        Devices, the card set up for streaming.
    bins : int
        Time bins to keep.
    pause : callable
        Lets device time pass, and raises if the run must not go on.
    darken : callable
        Blocks the light; called first of all when something fails.
    write : callable
        Given every record.

    Raises
    ------
    DeviceError
        If records were lost, or the stage did not fly as it should.
    """
    decoder = T3Decoder(T3_FORMATS[settings.record_type], bins)
    cutter = Cutter(decoder, settings.channel, by, 4 * len(flight.borders_um) + 100)
    rate_hz = card.sync_rate_hz()
    track = Track(flight)
    duration_s = abs(flight.end_um[flight.axis] - flight.start_um[flight.axis])
    duration_s = duration_s / flight.speed_um_per_s + OVERTIME_S

    def take(records: NDArray[np.uint32]) -> None:
        write(records)
        cutter.take(records)

    stage.set_speed_um_per_s(flight.speed_um_per_s)
    try:
        card.start(duration_s)
        started_s = clock.now_s()
        deadline_s = started_s + duration_s + OVERTIME_S
        with (
            RecordStream(card, settings, clock, started_s + duration_s, take) as stream,
            light_first(darken),
        ):
            stage.move_to(flight.end_um)
            while stream.is_running() and not _is_over(stage, cutter, track, started_s, rate_hz):
                if clock.now_s() > deadline_s and stream.is_reading():
                    raise DeviceError(
                        "card",
                        f"a stream of {duration_s:.1f} s has not ended after "
                        f"{deadline_s - started_s:.1f} s",
                        "check the card's connection, then resume the scan",
                    )
                pause(LOOK_S)
                before_s = clock.now_s()
                reading_um = stage.position_um()[flight.axis]
                track.add((before_s + clock.now_s()) / 2, reading_um)
                borders_s = track.borders_s()
                if borders_s is not None:
                    pulses = np.rint((borders_s - started_s) * rate_hz).astype(np.int64)
                    cutter.borders = tuple(pulses.tolist())
            stream.is_running()  # raises what ended it
        end = card.end_stream()
        check_flags(end.flags, which(leg))
        cutter.catch_up()
        chosen = _choose(cutter, track, flight, started_s, rate_hz, by)
    except BaseException:
        stage.stop()  # before it is told to be fast again
        raise
    finally:
        card.stop()
        stage.set_speed_um_per_s(None)
    return Flown(
        tuple(started_s + cut.sync / rate_hz for cut in chosen[:-1]),
        tuple(
            to_histogram(after.counts, (after.sync - before.sync) / rate_hz, end.flags)
            for before, after in pairwise(chosen)
        ),
        decoder.sync_count,
        end.live_s,
    )


def _is_over(
    stage: DetectorStage, cutter: Cutter, track: Track, started_s: float, rate_hz: float
) -> bool:
    """Whether the stage has arrived and the stream has passed the last border."""
    if stage.is_moving():
        return False
    borders_s = track.borders_s()
    return borders_s is None or cutter.last_sync > (borders_s[-1] - started_s) * rate_hz


def _choose(
    cutter: Cutter,
    track: Track,
    flight: Flight,
    started_s: float,
    rate_hz: float,
    by: Literal["time", "markers"],
) -> list[Cut]:
    """The cuts that are the borders, each checked against where the stage was."""
    borders_s = track.borders_s()
    if borders_s is None:
        raise DeviceError(
            "detector_stage",
            "did not answer often enough during a flight to tell where it was",
            "use a longer dwell, or measure without [fly]",
        )
    cuts_s = np.array([cut.sync / rate_hz + started_s for cut in cutter.cuts])
    if cuts_s.size < borders_s.size:
        raise DeviceError(
            "card" if by == "markers" else "detector_stage",
            f"{borders_s.size} borders were flown over, but "
            + (
                f"{cuts_s.size} pulses came at the marker inputs"
                if by == "markers"
                else f"the stream ended after {cuts_s.size} of them"
            ),
            "check the wiring, and that the stage gives one pulse every "
            f"{flight.step_um:.4g} µm of its own travel",
        )
    first = int(np.argmin(np.abs(cuts_s - borders_s[0])))
    chosen = cuts_s[first : first + borders_s.size]
    step_s = flight.step_um / flight.speed_um_per_s
    late = np.abs(chosen - borders_s[: chosen.size]) / step_s
    if chosen.size < borders_s.size or late.max() > TOLERANCE:
        raise DeviceError(
            "detector_stage",
            f"during a flight the stage was up to {late.max():.2g} steps from where "
            + ("the markers told it was" if by == "markers" else "it was expected"),
            "it must give one pulse at each border between two positions"
            if by == "markers"
            else "look for friction, or use a longer dwell",
        )
    return cutter.cuts[first : first + borders_s.size]
