"""The card in a run: set up as the plan says, counting for a dwell, its records kept."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tplm_config import CardSettings, Leg, Visit, VisitKind
from tplm_daq.counting import Dwell, HistogramDwell, StreamDwell, check_flags
from tplm_daq.events import Notice
from tplm_daq.handling import POLL_S, Director, Handling
from tplm_daq.t3.decoder import T3_FORMATS
from tplm_daq.t3.keeping import KeptRecords
from tplm_daq.t3.writing import PtuHeader
from tplm_drivers import (
    CardConfiguration,
    DeviceError,
    Histogram,
    Instrument,
    StreamConfiguration,
)

END_POLL_S = 2e-4
"""Device time between two looks at a dwell that should be over."""


class Exposing:
    """Counts for a dwell.

    Parameters
    ----------
    runner : Director
        Told what goes wrong.
    instrument : Instrument
        Open devices.
    handling : Handling
        Waits for the end of the dwell.
    settings : CardSettings
        How the card counts.
    scan_path : Path, optional
        The scan file, beside which records are kept if the settings say so.
    markers : bool
        Whether the card listens to its marker inputs while it streams.

    Attributes
    ----------
    stream : StreamConfiguration or None
        How the card streams photons; None: it makes histograms.
    waits_in_dark : bool
        Whether the light was blocked, the card having ended, while a slow disk was waited for.
    """

    def __init__(
        self,
        runner: Director,
        instrument: Instrument,
        handling: Handling,
        settings: CardSettings,
        scan_path: Path | None = None,
        *,
        markers: bool = False,
    ) -> None:
        self._runner = runner
        self._instrument = instrument
        self._handling = handling
        self._settings = settings
        self._markers = markers
        self._scan_path = scan_path
        self._kept: KeptRecords | None = None
        self.stream: StreamConfiguration | None = None
        self.waits_in_dark = False

    def close(self) -> None:
        """Let go of the files of records."""
        if self._kept is None:
            return
        try:
            self._kept.close()
        except OSError as error:
            words = f"{self._kept.path} could not be closed properly ({error.strerror})"
            self._runner.emit(Notice("warning", "records", words))

    def configure(self) -> CardConfiguration | StreamConfiguration:
        """Set the card up as the settings say."""
        wanted, card = self._settings, self._instrument.card
        actual: CardConfiguration | StreamConfiguration
        if wanted.mode == "t3":
            actual = self.stream = card.configure_stream(
                wanted.time_bin_ps,
                wanted.offset_ns,
                wanted.sync_divider,
                markers=self._markers,
            )
            bins = min(wanted.bins, T3_FORMATS[actual.record_type].bins)
        else:
            actual = card.configure(
                wanted.time_bin_ps, wanted.bins, wanted.offset_ns, wanted.sync_divider
            )
            bins = actual.bins
        if not math.isclose(actual.time_bin_ps, wanted.time_bin_ps) or bins != wanted.bins:
            raise DeviceError(
                "card",
                f"{wanted.bins} bins of {wanted.time_bin_ps:g} ps are asked for but the card "
                f"can do {bins} bins of {actual.time_bin_ps:g} ps",
                "change card.time_bin_ps or card.range_ns",
            )
        return actual

    # -- records --------------------------------------------------------------------------

    def open_records(self) -> None:
        """Open what the records are to be kept in, if it is not open."""
        stream, how = self.stream, self._settings.raw
        if self._kept is not None or stream is None or self._scan_path is None or how == "none":
            return
        identity = self._instrument.card.identify()
        header = PtuHeader(
            record_type=stream.record_type,
            time_bin_ps=stream.time_bin_ps,
            sync_rate_hz=self._handling.sync_hz,
            bins=self._settings.bins,
            offset_ns=stream.offset_ns,
            sync_divider=stream.sync_divider,
            binning_factor=round(
                stream.time_bin_ps / self._instrument.card.allowed_time_bins_ps()[0]
            ),
            channel=stream.channel,
            device_model=identity.model,
            device_serial=identity.serial_number,
            comment=f"photons of the scan {self._scan_path.name}; marker 1 begins a measurement",
        )
        self._kept = KeptRecords(self._scan_path, how, header)
        words = f"the records of the photons are kept in {self._kept.path.name}"
        self._runner.emit(Notice("info", "records", words))

    @contextmanager
    def keeping(self, leg: Leg) -> Iterator[None]:
        """Keep the records of a leg, or forget them if it was not said that they are good."""
        if self._kept is None:
            yield
            return
        self._kept.begin(leg[0])
        try:
            yield
        finally:
            self._kept.discard()

    def write(self, records: NDArray[np.uint32]) -> None:
        """Write records of the leg."""
        if self._kept is not None:
            self._kept.write(records)

    def keep(self, sync_count: int, live_s: float) -> None:
        """Say that the records of the leg are good."""
        if self._kept is not None:
            self._kept.keep(sync_count, live_s)

    # -- dwells ---------------------------------------------------------------------------

    def dwell(self, visit: Visit) -> Dwell:
        """A dwell to begin, by histogram or stream; the detector is looked at first."""
        instrument, handling = self._instrument, self._handling
        handling.rate_hz = 0.0
        handling.look(now=True)
        if self.stream is None:
            return HistogramDwell(
                instrument.card, visit.dwell_s, handling.rate_hz, instrument.clock
            )
        return StreamDwell(
            instrument.card, self.stream, self._settings.bins, visit, instrument.clock, self.write
        )

    def run_down(self, dwell: Dwell, dwell_s: float, towards_end: Callable[[], None]) -> None:
        """Wait for the end of a dwell, and do something shortly before it."""
        clock, handling = self._instrument.clock, self._handling
        end_s = clock.now_s() + dwell_s
        deadline_s = end_s + 0.5 * dwell_s + 2.0
        is_late = False
        while dwell.is_running(handling.rate_hz):
            left_s = end_s - clock.now_s()
            if left_s < POLL_S and not is_late:
                # here, because slow instruments would cost time between the visits
                is_late = True
                towards_end()
                continue
            if clock.now_s() > deadline_s:
                self._overdue(dwell, dwell_s, deadline_s - end_s + dwell_s)
            # the last wait ends with the dwell, so that no time is lost between visits;
            # an abort leaves from here, and making safe stops the card
            due_s = dwell.due_s() - clock.now_s()
            handling.pause(min(POLL_S, due_s) if due_s > 0 else END_POLL_S)
            handling.tell_rates(dwell.brightest_bin())

    def expose(self, dwell_s: float, next_index: int) -> tuple[float, float]:
        """Count for a short dwell that is not part of the scan; gives counts and counting time."""
        histogram = self.count(dwell_s)
        check_flags(histogram.flags, f"visit {next_index}, which is")
        return float(histogram.counts.sum(dtype=np.int64)), histogram.live_s

    def count(self, dwell_s: float) -> Histogram:
        """Count for a dwell that is not part of any scan."""
        visit = Visit(0, VisitKind.REFERENCE, -1, -1, 0.0, 0.0, dwell_s)
        with self.dwell(visit) as dwell:
            self.run_down(dwell, dwell_s, lambda: None)
            return dwell.finish()

    def _overdue(self, dwell: Dwell, dwell_s: float, waited_s: float) -> None:
        """Give up a card that does not end its dwell; wait, in the dark, for a slow disk."""
        if dwell.is_counting():
            raise DeviceError(
                "card",
                f"a dwell of {dwell_s:g} s has not ended after {waited_s:.1f} s",
                "check the sync signal and the card's connection, then "
                f"{self._handling.afterwards}",
            )
        if not self.waits_in_dark:
            self.waits_in_dark = True
            self._handling.block_light()
            words = "the disk cannot follow the records; the run waits for it in the dark"
            self._runner.emit(Notice("warning", "disk", words))
