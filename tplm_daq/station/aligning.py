"""Aligning: live counting, and the short searches that bring light and detector together."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_analysis import Irf, find_irf
from tplm_config import Centring, InputError
from tplm_daq.centring import (
    Blur,
    ExposeAt,
    Line,
    Scanned,
    SearchError,
    dimness,
    find_focus,
    find_peak,
    measure_line,
    sample_limits_um,
    width,
)
from tplm_daq.events import Notice
from tplm_daq.exposing import Exposing
from tplm_daq.handling import POLL_S, DetectorTooBrightError, Director, Handling
from tplm_daq.power import RATE_GATE_S
from tplm_daq.sample_place import SamplePlace
from tplm_daq.session import check_card
from tplm_daq.station.manual import check_power
from tplm_daq.station.readings import sample_plane_um
from tplm_daq.station.settings import (
    AlignSettings,
    BackgroundSettings,
    FocusSettings,
    IrfSettings,
    LineSettings,
    RasterSettings,
)
from tplm_drivers import DeviceError, Histogram, Instrument, SafeState

SHOWN_BINS = 512
"""At most so many are published of a histogram."""
IMAGE_EVERY_S = 2.0
"""Device time between two pictures of an image that grows."""
AFTERWARDS = "try again"
OPEN_AGAIN = "open the shutter, or align, again with less of it"

Publish = Callable[[dict[str, Any]], None]
"""Takes an event as plain values for JSON."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was done: a sentence, and the numbers."""

    words: str
    values: dict[str, float | bool | None] = field(default_factory=dict)


def shown(counts: NDArray[np.uint32]) -> tuple[list[int], int]:
    """Counts with neighbouring bins added up until they are few enough to be drawn.

    Returns
    -------
    counts : list of int
        `SHOWN_BINS` at most; the last may be of fewer bins than the others.
    merged : int
        How many bins each is of.
    """
    merged = math.ceil(counts.size / SHOWN_BINS)
    sums = np.add.reduceat(counts, np.arange(0, counts.size, merged), dtype=np.int64)
    return sums.tolist(), merged


class Aligner:
    """The light and the card while somebody aligns.

    Whatever is raised by a step, other than a refusal, a search in vain or too much light, leaves
    by `end`: dark, and no longer aligning. Too much light leaves the shutter closed (or the laser
    off) until light is asked for again.

    Parameters
    ----------
    instrument : Instrument
        Open devices.
    director : Director
        Asked at least every `POLL_S` of device time whether to go on.
    publish : callable
        Given "light", "line", "image", "focus", "irf" and "background" events.

    Attributes
    ----------
    handling : Handling
        Watches the detector while aligning; what is done by hand waits by it.
    is_aligning : bool
        Whether it was begun and has not ended.
    """

    def __init__(self, instrument: Instrument, director: Director, publish: Publish) -> None:
        self._instrument = instrument
        self._profile = instrument.profile
        self._director = director
        self._publish = publish
        self.handling = self._handle()
        self._settings = AlignSettings()
        self._exposing = Exposing(director, instrument, self.handling, self._settings)
        self._sample: SamplePlace | None = None
        """While the sample is away from its place."""
        self._told: set[str] = set()
        self.is_aligning = False

    def recentre(self, instrument: Instrument) -> None:
        """Go on with the same devices under another profile, as after `manual.recentred`."""
        before = self.handling
        self._instrument, self._profile = instrument, instrument.profile
        self.handling = self._handle()
        self.handling.watching, self.handling.sync_hz = before.watching, before.sync_hz
        self._exposing = Exposing(self._director, instrument, self.handling, self._settings)

    # -- beginning and end ----------------------------------------------------------------

    def begin(self, settings: AlignSettings) -> Result:
        """Set the card up, switch the laser on, open the shutter, and see that each obeyed.

        Also while aligning, with other settings, and to have light again.

        Raises
        ------
        InputError
            If the card cannot do it; nothing has changed then.
        DeviceError
            If a device fails, there are no pulses, or there is more power than allowed.
        DetectorTooBrightError
            If the light had to be blocked again.
        """
        check_card(self._instrument, settings, "align")
        with self._safely():
            handling, card = self.handling, self._instrument.card
            self._director.check_abort()
            handling.block_light()
            handling.watching = False
            self._told.clear()
            self._settings = settings
            self._exposing = Exposing(self._director, self._instrument, handling, settings)
            self._exposing.configure()
            handling.wait(self._profile.card.sync_warm_up_s)
            # from here on the rate meter is true: without a shutter the laser is light
            handling.watching = self.is_aligning = True
            handling.look(now=True)
            handling.switch_on()
            handling.wait(self._profile.card.sync_warm_up_s)
            check_power(self._instrument)
            self._sync_hz()
            self._check_range()
            handling.set_shutter(True)
            handling.wait(RATE_GATE_S)
            handling.look(now=True)
            rate_hz = card.count_rate_hz()
        words = f"aligning: {rate_hz:.4g} counts/s at {handling.sync_hz / 1e6:.4g} MHz"
        return Result(words, {"count_rate_hz": rate_hz, "sync_rate_hz": handling.sync_hz})

    def end(self) -> SafeState:
        """Block the light, switch the laser off, stop the card and the stages, read back.

        Never raises; the sample is brought back to where it was, in the dark.
        """
        state = self._instrument.make_safe()
        self.is_aligning = self.handling.watching = False
        self._bring_sample_back()
        return state

    # -- live -----------------------------------------------------------------------------

    def count_once(self) -> None:
        """Count for one dwell, in the light there is, and publish a "light" event."""
        self._check_begun()
        handling, card, dwell_s = self.handling, self._instrument.card, self._settings.dwell_s
        try:
            with self._safely():
                is_dark = self._is_dark()
                histogram = self._exposing.count(dwell_s)
                handling.rate_hz = 0.0
                handling.look(now=True)
                rate_hz, sync_hz = handling.rate_hz, card.sync_rate_hz()
        except DetectorTooBrightError as danger:
            self._tell("warning", "too-bright", str(danger))
            self._show(None, danger.rate_hz, handling.sync_hz, is_dark=True)
            with self._safely(), self._unwatched():
                handling.wait(dwell_s)
            return
        if sync_hz > 0:
            handling.sync_hz = sync_hz
            self._told.discard("sync")
        elif not is_dark:
            words = "no sync pulses come; look at the laser's trigger output and its cable"
            self._tell("warning", "sync", words)
        if not is_dark:
            self._told -= {"too-bright", "emission"}
        self._show(histogram, rate_hz, sync_hz, is_dark)

    # -- searches -------------------------------------------------------------------------

    def cross(self, asked: LineSettings) -> Result:
        """Measure a line along x, and one along y through its peak; the detector comes back."""
        self._check_light()
        with self._safely(), self._coming_back() as here_um:
            expose_at, limits_um = self._expose_at(asked.dwell_s), sample_limits_um(self._profile)
            found: list[Line | None] = []
            through_um = list(here_um)
            for axis in (0, 1):
                scanned = measure_line(
                    expose_at, (through_um[0], through_um[1]), axis, asked.half_range_um,
                    asked.positions, limits_um, self._show_line,
                )  # fmt: skip
                if scanned.line is not None:
                    through_um[axis] = scanned.line.center_um
                found.append(scanned.line)
        values: dict[str, float | bool | None] = {}
        words = []
        for name, line in zip("xy", found, strict=True):
            values[f"{name}_um"] = None if line is None else line.center_um
            values[f"{name}_stderr_um"] = None if line is None else line.stderr_um
            words.append(
                f"no peak along {name}"
                if line is None
                else f"{name} = {line.center_um:.3f} ± {line.stderr_um:.3f} µm"
            )
        return Result(f"the cross: {', '.join(words)}", values)

    def raster(self, asked: RasterSettings) -> Result:
        """Measure a square, one line there, the next one back; the detector comes back."""
        self._check_light()
        (x_um, y_um), limits_um = self._here_um(), sample_limits_um(self._profile)
        offsets = asked.half_range_um * np.linspace(-1, 1, asked.positions)
        places = x_um + offsets, y_um + offsets
        for name, along, (low, high) in zip("xy", places, limits_um, strict=True):
            if along[0] < low or along[-1] > high:
                raise InputError(
                    "raster",
                    f"{name} from {along[0]:.2f} to {along[-1]:.2f} µm goes beyond the detector "
                    "stage's travel",
                    f"it reaches {low:.2f} to {high:.2f} µm",
                    "half_range_um",
                )
        rates = np.full((asked.positions, asked.positions), np.nan)
        with self._safely(), self._coming_back():
            expose_at, clock = self._expose_at(asked.dwell_s), self.handling.clock
            shown_s = clock.now_s()
            for row in range(asked.positions):
                # every other line the other way: no long way back
                columns = range(asked.positions)
                for column in columns if row % 2 == 0 else reversed(columns):
                    counts, live_s = expose_at(float(places[0][column]), float(places[1][row]))
                    rates[row, column] = counts / live_s
                    if clock.now_s() - shown_s >= IMAGE_EVERY_S:
                        shown_s = clock.now_s()
                        self._show_image(places, rates, done=False)
            self._show_image(places, rates, done=True)
        row, column = divmod(int(rates.argmax()), asked.positions)
        best = float(places[0][column]), float(places[1][row]), float(rates[row, column])
        return Result(
            f"the brightest place is ({best[0]:.3f}, {best[1]:.3f}) µm with {best[2]:.4g} counts/s",
            {"x_um": best[0], "y_um": best[1], "count_rate_hz": best[2]},
        )

    def find(self, asked: LineSettings) -> Result:
        """Find the emission peak and go there.

        Raises
        ------
        SearchError
            If there is none; the detector has come back, and aligning goes on.
        """
        self._check_light()
        how = Centring(
            half_range_um=asked.half_range_um, positions=asked.positions, dwell_s=asked.dwell_s
        )
        with self._safely(), self._coming_back(only_in_vain=True) as here_um:
            expose_at, limits_um = self._expose_at(asked.dwell_s), sample_limits_um(self._profile)
            peak = find_peak(expose_at, here_um, how, limits_um, self._show_line)
            self._go_to(peak.x_um, peak.y_um)
        return Result(
            f"the detector looks at the peak: x = {peak.x_um:.3f} ± {peak.x_stderr_um:.3f} µm, "
            f"y = {peak.y_um:.3f} ± {peak.y_stderr_um:.3f} µm, {peak.peak_hz:.4g} counts/s",
            {
                "x_um": peak.x_um,
                "x_stderr_um": peak.x_stderr_um,
                "y_um": peak.y_um,
                "y_stderr_um": peak.y_stderr_um,
                "sigma_um": peak.sigma_um,
                "peak_hz": peak.peak_hz,
            },
        )

    def focus(self, asked: FocusSettings) -> Result:
        """Find the focus with the sample stage, which stays there.

        What is judged is the light where the detector looks, so find the peak first.

        Raises
        ------
        SearchError
            If there is no focus; the sample has come back, and aligning goes on.
        """
        self._check_light()
        points: dict[float, float | None] = {}

        def show(best_um: float | None) -> None:
            z_um = sorted(points)
            values = [points[z] for z in z_um]
            event = {"event": "focus", "z_um": z_um, "value": values, "by": asked.by}
            self._publish({**event, "best_z_um": best_um})

        with self._safely(), self._coming_back() as here_um, self._sample_moving() as sample:
            expose_at, limits_um = self._expose_at(asked.dwell_s), sample_limits_um(self._profile)
            lines = Centring()

            def blur_at(z_um: float) -> Blur:
                at_um = sample.go_to_z(z_um)
                if asked.by == "width":
                    blur = Blur(at_um, *width(expose_at, here_um, lines, limits_um))
                    value = math.sqrt(blur.value / 2)  # σ along one axis
                else:
                    counts, live_s = expose_at(*here_um)
                    blur, value = Blur(at_um, *dimness(counts)), counts / live_s
                points[at_um] = value if math.isfinite(value) else None
                show(None)
                return blur

            z_um, travel_um = sample.focus_um()
            vertex = find_focus(blur_at, z_um, asked.half_range_um, asked.steps, travel_um)
            sample.keep_z(vertex.z_um)
        show(vertex.z_um)
        return Result(
            f"in focus at z = {vertex.z_um:.2f} ± {vertex.stderr_um:.2f} µm",
            {"z_um": vertex.z_um, "z_stderr_um": vertex.stderr_um},
        )

    # -- response and background ----------------------------------------------------------

    def irf(self, asked: IrfSettings) -> Result:
        """Measure the instrument response, on a scatterer if it is said where one is.

        Raises
        ------
        SearchError
            If there is no usable peak; the sample has come back, and aligning goes on.
        """
        self._check_light()
        moves = asked.sample_x_um is not None or asked.sample_y_um is not None
        with self._safely():
            if moves:
                with self._sample_moving() as sample:
                    # what the sample passes on its way may be bright
                    self.handling.set_shutter(False)
                    sample.go_to(asked.sample_x_um, asked.sample_y_um)
                    self.handling.set_shutter(True)
                    counts, t_ns, response = self._respond(asked.dwell_s)
                    self.handling.set_shutter(False)
                    sample.bring_home()
                    self.handling.set_shutter(True)
            else:
                counts, t_ns, response = self._respond(asked.dwell_s)
        # around the peak, so that every bin is shown
        first = int(np.clip(counts.argmax() - SHOWN_BINS // 4, 0, max(counts.size - SHOWN_BINS, 0)))
        values: dict[str, float | bool | None] = {
            "time_zero_ns": response.half_maximum_ns,
            "time_zero_stderr_ns": response.half_maximum_stderr_ns,
            "fwhm_ps": 1e3 * response.fwhm_ns,
            "stderr_ps": 1e3 * response.fwhm_stderr_ns,
        }
        bin_ns = self._settings.time_bin_ps * 1e-3
        self._publish(
            {
                "event": "irf",
                "bin_ns": bin_ns,
                "offset_ns": float(t_ns[first]) - bin_ns / 2,
                "counts": counts[first : first + SHOWN_BINS].tolist(),
                **values,
            }
        )
        return Result(
            f"time zero at {response.half_maximum_ns:.4f} ± "
            f"{response.half_maximum_stderr_ns:.4f} ns (half maximum), "
            f"FWHM {1e3 * response.fwhm_ns:.1f} ± {1e3 * response.fwhm_stderr_ns:.1f} ps",
            values,
        )

    def background(self, asked: BackgroundSettings) -> Result:
        """Read the count rate with the shutter closed, or with the laser off.

        The rate meter is read, since a histogram holds only what falls into its range, and
        without pulses there is none.
        """
        self._check_begun()
        handling, laser = self.handling, self._instrument.laser
        if self._instrument.shutter is None and not asked.dark:
            raise InputError(
                "background", "the profile has no shutter", "measure with the laser off", "dark"
            )
        with self._safely():
            was_dark, emits = self._is_dark(), laser.emission()
            handling.set_shutter(False)
            if asked.dark and emits:
                laser.set_emission(False)
                if laser.emission():
                    raise DeviceError("laser", "was switched off but reads back as on")
            rate_hz, stderr_hz = self._mean_rate(asked.dwell_s)
            if asked.dark and emits:
                handling.switch_on()
                handling.wait(self._profile.card.sync_warm_up_s)
            if not was_dark:
                handling.set_shutter(True)
        event = {"event": "background", "count_rate_hz": rate_hz, "stderr_hz": stderr_hz}
        self._publish({**event, "dark": asked.dark})
        what = "with the laser off" if asked.dark else "with the shutter closed"
        return Result(
            f"{rate_hz:.4g} ± {stderr_hz:.2g} counts/s {what}",
            {"count_rate_hz": rate_hz, "stderr_hz": stderr_hz, "dark": asked.dark},
        )

    # -- ways out -------------------------------------------------------------------------

    @contextmanager
    def _safely(self) -> Iterator[None]:
        """Leave in the dark, whatever is raised, unless the light is as it should be."""
        try:
            yield
        except (SearchError, InputError):
            raise
        except DetectorTooBrightError:
            # whoever saw it has blocked the light; in the dark the sample may go home
            self._bring_sample_back()
            raise
        except BaseException:
            state = self.end()
            if not state.verified or state.problems:
                self._director.emit(Notice("error", "safe-state", str(state)))
            raise

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        """Do not judge the count rate: the light is blocked, and what is left is the room's."""
        self.handling.watching = False
        try:
            yield
        finally:
            self.handling.watching = self.is_aligning

    @contextmanager
    def _coming_back(self, *, only_in_vain: bool = False) -> Iterator[tuple[float, float]]:
        """Have the detector look where it looked before, also after a search in vain."""
        here_um = self._here_um()
        stage_um = self._instrument.detector_stage.position_um()
        try:
            yield here_um
        except SearchError:
            self.handling.go_to_reading((stage_um[0], stage_um[1]))
            raise
        if not only_in_vain:
            self.handling.go_to_reading((stage_um[0], stage_um[1]))

    @contextmanager
    def _sample_moving(self) -> Iterator[SamplePlace]:
        """Move the sample, which comes back if it was in vain or anything fails."""
        stage = self._instrument.sample_stage
        if stage is None:
            raise InputError("align", "the profile has no sample stage", "move the sample by hand")
        sample = SamplePlace(self.handling, self._instrument, stage.position_um())
        self._sample = sample
        try:
            yield sample
        except SearchError:
            sample.bring_home()
            self._sample = None
            raise
        self._sample = None

    def _bring_sample_back(self) -> None:
        sample, self._sample = self._sample, None
        left = None if sample is None else sample.bring_back()
        if left is not None:
            self._director.emit(Notice("warning", "sample-stage", left))

    # -- parts ----------------------------------------------------------------------------

    def _handle(self) -> Handling:
        return Handling(self._director, self._instrument, lambda: None, AFTERWARDS, OPEN_AGAIN)

    def _check_begun(self) -> None:
        if not self.is_aligning:
            raise InputError("align", "the card is not set up and the light is off", "align first")

    def _check_light(self) -> None:
        self._check_begun()
        with self._safely():
            is_dark = self._is_dark()
        if is_dark:
            raise InputError("align", "no light reaches the sample", OPEN_AGAIN)

    def _is_dark(self) -> bool:
        """Whether laser or shutter keep the light off; a laser that went off stays off."""
        shutter = self._instrument.shutter
        if self._instrument.laser.emission():
            return shutter is not None and not shutter.is_open()
        if shutter is not None and shutter.is_open():
            self.handling.set_shutter(False)
            words = (
                "the emission is off, so the shutter was closed; if nobody switched it off, look "
                "at the interlock, then align again"
            )
            self._tell("warning", "emission", words)
        return True

    def _sync_hz(self) -> None:
        """Read the pulses' rate, of which there must be one."""
        sync_hz = self.handling.sync_hz = self._instrument.card.sync_rate_hz()
        if sync_hz <= 0:
            raise DeviceError(
                "card",
                "there are no sync pulses",
                "check the trigger cable, its discriminator level, and that the laser runs",
            )

    def _check_range(self) -> None:
        """Tell, since a scan would refuse it, if the histogram is longer than a period."""
        end_ns = self._settings.offset_ns + self._settings.range_ns
        period_ns = 1e9 / self.handling.sync_hz
        if end_ns > 1.001 * period_ns:
            words = (
                f"the time range ends {end_ns:g} ns after a pulse, but the next one comes after "
                f"{period_ns:.4g} ns; a scan would need a shorter range or fewer pulses"
            )
            self._tell("warning", "range", words)

    def _here_um(self) -> tuple[float, float]:
        return sample_plane_um(self._profile, self._instrument.detector_stage.position_um())

    def _go_to(self, x_um: float, y_um: float) -> None:
        self.handling.go_to_reading(self._profile.stage_position_um(x_um, y_um))

    def _expose_at(self, dwell_s: float) -> ExposeAt:
        def expose_at(x_um: float, y_um: float) -> tuple[float, float]:
            self._go_to(x_um, y_um)
            histogram = self._count(dwell_s)
            return float(histogram.counts.sum(dtype=np.int64)), histogram.live_s

        return expose_at

    def _count(self, dwell_s: float) -> Histogram:
        """Count in the light, which must have been there until the end."""
        histogram = self._exposing.count(dwell_s)
        if not self._instrument.laser.emission():
            raise DeviceError(
                "laser", "the emission went off", "check the interlock, then align again"
            )
        if "sync-lost" in histogram.flags:
            raise DeviceError(
                "card",
                "the sync signal was lost",
                "check the laser's trigger output and its cable, then align again",
            )
        return histogram

    def _respond(self, dwell_s: float) -> tuple[NDArray[np.uint32], NDArray[np.float64], Irf]:
        counts = self._count(dwell_s).counts
        bin_ns = self._settings.time_bin_ps * 1e-3
        t_ns = self._settings.offset_ns + bin_ns * (np.arange(counts.size, dtype=np.float64) + 0.5)
        try:
            return counts, t_ns, find_irf(counts, t_ns)
        except ValueError as error:
            raise SearchError("card", str(error).rstrip("."), "look for a scatterer") from None

    def _mean_rate(self, dwell_s: float) -> tuple[float, float]:
        """Mean of the rate meter, every gate once, and its standard error."""
        self.handling.wait(RATE_GATE_S)  # one gate may still hold the light
        gates = max(2, round(dwell_s / POLL_S))
        rates = []
        for _ in range(gates):
            self.handling.wait(POLL_S)
            rates.append(self._instrument.card.count_rate_hz())
        mean_hz = float(np.mean(rates))
        # Poisson's law where so few readings say nothing of their scatter
        counted_s = gates * POLL_S
        by_chance = math.sqrt(max(mean_hz * counted_s, 1.0)) / counted_s
        return mean_hz, max(float(np.std(rates, ddof=1)) / math.sqrt(gates), by_chance)

    # -- events ---------------------------------------------------------------------------

    def _tell(self, level: Any, code: str, words: str) -> None:
        """Tell once, until it was otherwise."""
        if code not in self._told:
            self._told.add(code)
            self._director.emit(Notice(level, code, words))

    def _show(
        self, histogram: Histogram | None, rate_hz: float, sync_hz: float, is_dark: bool
    ) -> None:
        counts, merged = ([], 1) if histogram is None else shown(histogram.counts)
        brightest = 0 if histogram is None else int(histogram.counts.max())
        self._publish(
            {
                "event": "light",
                "device_s": self.handling.clock.now_s(),
                "count_rate_hz": rate_hz,
                "sync_rate_hz": sync_hz,
                "share": rate_hz / sync_hz if sync_hz > 0 else None,
                "brightest_bin": brightest,
                "live_s": 0.0 if histogram is None else histogram.live_s,
                "bin_ns": merged * self._settings.time_bin_ps * 1e-3,
                "offset_ns": self._settings.offset_ns,
                "counts": counts,
                "limit_hz": self._profile.limits.detector_count_rate_hz,
                "is_dark": is_dark,
            }
        )

    def _show_line(self, scanned: Scanned) -> None:
        line = scanned.line
        self._publish(
            {
                "event": "line",
                "axis": "xy"[scanned.axis],
                "x_um": list(scanned.places_um),
                "rate_hz": list(scanned.rates_hz),
                "done": scanned.is_done,
                "fit": None
                if line is None
                else {
                    "center_um": line.center_um,
                    "center_stderr_um": line.stderr_um,
                    "sigma_um": line.sigma_um,
                    "peak_hz": line.peak_hz,
                    "background_hz": line.background_hz,
                },
            }
        )

    def _show_image(
        self, places: tuple[NDArray[np.float64], NDArray[np.float64]], rates: Any, *, done: bool
    ) -> None:
        self._publish(
            {
                "event": "image",
                "x_um": places[0].tolist(),
                "y_um": places[1].tolist(),
                "rate_hz": [
                    [None if math.isnan(rate) else rate for rate in row] for row in rates.tolist()
                ],
                "done": done,
            }
        )
