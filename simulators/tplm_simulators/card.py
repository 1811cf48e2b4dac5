"""The timing card."""

import math

import numpy as np
from numpy.typing import NDArray

from tplm_config.simulation import DetectionSettings
from tplm_simulators.device import Bench, Device
from tplm_simulators.scene import Layout, Rates, Scene
from tplm_simulators.stream import FORMATS, Stream

_RATE_GATE_S = 0.1


class Card(Device):
    """A card that sorts counts by their time after the sync pulse, or streams them one by one.

    Counts and records are drawn only when somebody reads them or the scene is about to change,
    for all the time since the last drawing, piece by piece of steady light.

    Parameters
    ----------
    name, bench
        As for every device.
    settings
        Its limits, and those of the detector.
    scene
        Gives the rates of the counts.
    rng
        Gives the counts.
    meter_rng
        Gives the noise of the rate meter; apart, so that watching it changes no histogram.
    """

    def __init__(
        self,
        name: str,
        bench: Bench,
        settings: DetectionSettings,
        scene: Scene,
        rng: np.random.Generator,
        meter_rng: np.random.Generator,
    ) -> None:
        super().__init__(name, bench)
        self._settings = settings
        self._scene = scene
        self._rng = rng
        self._meter_rng = meter_rng
        base_ps = settings.base_resolution_ps
        self._layout = Layout(base_ps, base_ps, min(4096, settings.max_bins), 0.0)
        self._divider = 1
        self._sync_cut = False
        self._stream: Stream | None = None
        self._listens = False
        self._start_s = self._end_s = self._recorded_s = -math.inf
        self._clear(start_s=-math.inf, end_s=-math.inf)

    @property
    def base_resolution_ps(self) -> float:
        """Narrowest time bin, ps."""
        return self._settings.base_resolution_ps

    @property
    def max_bins(self) -> int:
        """Largest number of bins."""
        return self._settings.max_bins

    @property
    def fifo_records(self) -> int:
        """How many records of a stream can wait to be read."""
        return self._settings.fifo_records if self._stream is None else self._stream.fifo_records

    def configure(
        self, time_bin_ps: float, bins: int, offset_ps: float = 0.0, sync_divider: int = 1
    ) -> None:
        """Make histograms, with these time bins; refused while measuring.

        Parameters
        ----------
        time_bin_ps
            The base resolution times a power of two, ps.
        bins
            Number of bins.
        offset_ps
            Start of the first bin after the sync pulse, in whole base resolutions, ps.
        sync_divider
            1, 2, 4, 8 or 16; keeps the sync rate within the limit and changes nothing else.
        """
        with self._changing():
            if not 1 <= bins <= self.max_bins:
                raise self._fault(f"refuses {bins} bins: allowed are 1 to {self.max_bins}")
            self._lay_out(time_bin_ps, bins, offset_ps, sync_divider)
            self._stream = None
            self._clear(start_s=-math.inf, end_s=-math.inf)

    def configure_stream(
        self,
        time_bin_ps: float,
        offset_ps: float = 0.0,
        sync_divider: int = 1,
        *,
        record_type: int = 0x00010307,
        channel: int = 0,
        markers: bool = False,
        fifo_records: int | None = None,
    ) -> None:
        """Stream T3 records, with as many time bins as they can tell; refused while measuring.

        Parameters
        ----------
        time_bin_ps, offset_ps, sync_divider
            As for `configure`; the records number all sync pulses, whatever the divider.
        record_type
            Which kind of records, by the number that vendors' headers call the record type.
        channel
            Input that the records name, from 0.
        markers
            Whether the detector stage's pulses, at marker input 1, are recorded.
        fifo_records
            How many records can wait; None = as many as the settings say.
        """
        with self._changing():
            if record_type not in FORMATS:
                raise self._fault(f"refuses records of type 0x{record_type:08X}")
            record_format = FORMATS[record_type]
            if not 0 <= channel < record_format.channels:
                raise self._fault(
                    f"refuses input {channel}: its records know 0 to {record_format.channels - 1}"
                )
            self._lay_out(time_bin_ps, 1 << record_format.dtime_bits, offset_ps, sync_divider)
            self._stream = Stream(
                record_format, channel, fifo_records or self._settings.fifo_records
            )
            self._listens = markers
            self._clear(start_s=-math.inf, end_s=-math.inf)

    def sync_rate_hz(self) -> float:
        """Sync pulses per second, before the divider; 0 when none can be followed."""
        with self._answering():
            return self._scene.sync_rate_hz() if self._has_sync() else 0.0

    def count_rate_hz(self) -> float:
        """Read the rate meter: counts per second at the detector."""
        with self._answering():
            expected = self._rates_now().total_hz * _RATE_GATE_S
            return float(self._meter_rng.poisson(expected)) / _RATE_GATE_S

    def start(self, dwell_s: float) -> None:
        """Clear the counts or the FIFO and measure for `dwell_s`; returns at once."""
        with self._answering():
            now_s = self._now_s()
            if self._runs_at(now_s):
                raise self._fault("refuses to start: it is measuring")
            if not (math.isfinite(dwell_s) and dwell_s > 0):
                raise self._fault(f"refuses to measure for {dwell_s:g} s")
            self._clear(start_s=now_s, end_s=now_s + dwell_s)

    def is_running(self) -> bool:
        """Whether it measures."""
        with self._answering():
            self._look_for_overflow()
            return self._runs_at(self._now_s())

    def elapsed_s(self) -> float:
        """Time measured since the start, s."""
        with self._answering():
            self._look_for_overflow()
            if math.isinf(self._start_s):
                return 0.0
            return min(self._now_s(), self._end_s) - self._start_s

    def stop(self) -> None:
        """End the measurement; counts stay, records that wait are lost."""
        with self._answering():
            self.record()
            self._end_s = min(self._end_s, self._now_s())
            if self._stream is not None:
                self._stream.clear()

    def histogram(self) -> NDArray[np.uint32]:
        """Read the counts in each bin since the start."""
        with self._answering():
            if self._stream is not None:
                raise self._fault("refuses to give a histogram: it streams records")
            self.record()
            return self._counts.astype(np.uint32)

    def read_records(self, most: int) -> NDArray[np.uint32]:
        """Give and remove the records that wait longest in the FIFO, `most` at most."""
        with self._answering():
            if self._stream is None:
                raise self._fault("refuses to give records: it makes histograms")
            self.record()
            return self._stream.read(most)

    def flags(self) -> frozenset[str]:
        """Tell what went wrong since the start.

        They are "overflow", "fifo-full", "sync-lost" and "count-rate-limit".
        """
        with self._answering():
            if self._stream is None:
                self._look_for_overflow()
            else:
                self.record()
            present: set[str] = set()
            if self._stream is not None and self._stream.full:
                present.add("fifo-full")
            if not self._has_sync():
                present.add("sync-lost")
            if self._rates_now().total_hz > self._settings.max_count_rate_hz:
                present.add("count-rate-limit")
            return frozenset(self._flags | present)

    def lose_sync(self) -> None:
        """Break it: no sync pulse arrives, and no count finds its time."""
        self._cut_sync(cut=True)

    def find_sync(self) -> None:
        """Undo `lose_sync`."""
        self._cut_sync(cut=False)

    def overrun(self) -> None:
        """Break it: lose records, as if the computer had not read them in time."""
        with self._bench.lock:
            self._bench.settle()
            if self._stream is not None:
                self._stream.full = True

    def expected_counts(self) -> NDArray[np.float64]:
        """Give the expectation of the counts in each bin since the start (truth)."""
        with self._bench.lock:
            self.record()
            return self._expected.copy()

    def expected_rates(self) -> Rates:
        """Give the expected rates in the state of now (truth)."""
        with self._bench.lock:
            return self._rates_now()

    def record(self) -> None:
        """Draw the counts of all time up to now."""
        now_s = self._now_s()
        # Read afresh each time: an overflow may bring the end forward.
        while self._recorded_s < min(now_s, self._end_s):
            from_s = self._recorded_s
            to_s = min(now_s, self._end_s, self._scene.steady_until_s(from_s))
            self._recorded_s = self._record_piece(from_s, to_s)

    def _record_piece(self, from_s: float, to_s: float) -> float:
        if not self._has_sync():
            self._flags.add("sync-lost")
            if self._stream is not None:
                self._stream.pause(to_s - from_s)
            return to_s
        rates = self._scene.rates(from_s, to_s, self._layout)
        if rates.total_hz > self._settings.max_count_rate_hz:
            self._flags.add("count-rate-limit")
        if self._stream is not None:
            markers_s = self._scene.marker_times_s(from_s, to_s) if self._listens else ()
            rate_hz = self._scene.sync_rate_hz()
            self._stream.add(rates.per_bin_hz, rate_hz, from_s, to_s, markers_s)
            self._expected += rates.per_bin_hz * (to_s - from_s)
            return to_s
        drawn = self._rng.poisson(rates.per_bin_hz * (to_s - from_s))
        room = self._settings.counter_max - self._counts
        full = drawn > room
        if full.any():
            self._flags.add("overflow")
            if self._settings.stop_on_overflow:
                # Counts are spread evenly over the piece, so its first part is a thinning.
                share = float(np.min(room[full] / drawn[full]))
                to_s = self._end_s = from_s + share * (to_s - from_s)
                first = np.flatnonzero(full)[np.argmin(room[full] / drawn[full])]
                drawn = self._rng.binomial(drawn, share)
                drawn[first] = room[first]
            drawn = np.minimum(drawn, room)
        self._counts += drawn
        self._expected += rates.per_bin_hz * (to_s - from_s)
        return to_s

    def _look_for_overflow(self) -> None:
        if self._stream is not None:
            return
        # No bin can fill faster than the dead time allows, so most polls need not draw.
        pending_s = min(self._now_s(), self._end_s) - self._recorded_s
        if not pending_s > 0:
            return
        dead_s = self._settings.dead_time_ns * 1e-9
        most = pending_s / dead_s if dead_s > 0 else math.inf
        if int(self._counts.max()) + most + 10 * math.sqrt(most) > self._settings.counter_max:
            self.record()

    def _lay_out(self, time_bin_ps: float, bins: int, offset_ps: float, sync_divider: int) -> None:
        if self._runs_at(self._now_s()):
            raise self._fault("refuses new settings while it measures")
        factor = time_bin_ps / self.base_resolution_ps
        if factor < 1 or math.frexp(factor)[0] != 0.5:
            raise self._fault(
                f"refuses bins of {time_bin_ps:g} ps: allowed are "
                f"{self.base_resolution_ps:g} ps times a power of two"
            )
        if offset_ps < 0 or not (offset_ps / self.base_resolution_ps).is_integer():
            raise self._fault(
                f"refuses an offset of {offset_ps:g} ps: allowed are "
                f"multiples of {self.base_resolution_ps:g} ps"
            )
        if sync_divider not in (1, 2, 4, 8, 16):
            raise self._fault(f"refuses sync divider {sync_divider}: 1, 2, 4, 8 or 16")
        self._layout = Layout(self.base_resolution_ps, time_bin_ps, bins, offset_ps)
        self._divider = sync_divider

    def _clear(self, start_s: float, end_s: float) -> None:
        self._start_s = start_s
        self._end_s = end_s
        self._recorded_s = start_s
        self._counts = np.zeros(self._layout.bins, dtype=np.int64)
        self._expected = np.zeros(self._layout.bins)
        self._flags: set[str] = set()
        if self._stream is not None:
            self._stream.begin(start_s, int(self._rng.integers(2**64, dtype=np.uint64)))

    def _runs_at(self, time_s: float) -> bool:
        return time_s < self._end_s

    def _has_sync(self) -> bool:
        behind_hz = self._scene.sync_rate_hz() / self._divider
        return not self._sync_cut and behind_hz <= self._settings.max_sync_rate_hz

    def _rates_now(self) -> Rates:
        now_s = self._now_s()
        return self._scene.rates(now_s, now_s, self._layout)

    def _cut_sync(self, *, cut: bool) -> None:
        with self._bench.lock:
            self._bench.settle()
            self._sync_cut = cut
