"""Carrying visits out: everything a run asks of the devices."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tplm_config import (
    Centring,
    Detection,
    Fly,
    Focus,
    Leg,
    ScanPlan,
    Temperature,
    Visit,
    VisitKind,
    flight,
)
from tplm_daq.centring import find_focus, find_peak, sample_limits_um
from tplm_daq.conditions import (
    ConditionName,
    ConditionWatch,
    Readings,
    free_bytes,
    sync_lost,
)
from tplm_daq.counting import (
    Dwell,
    HistogramDwell,
    StreamDwell,
    SyncLostError,
    check_flags,
    light_first,
    which,
)
from tplm_daq.events import (
    Centred,
    Event,
    InstrumentSettings,
    Notice,
    Rates,
    RunState,
    VisitRecord,
    VisitStarted,
)
from tplm_daq.flying import fly
from tplm_daq.power import set_detection, set_power
from tplm_daq.stability import Stability, StabilityProgress, wait_until_stable
from tplm_daq.t3.decoder import T3_FORMATS
from tplm_daq.t3.keeping import KeptRecords
from tplm_daq.t3.writing import PtuHeader
from tplm_drivers import (
    CardConfiguration,
    Clock,
    DeviceError,
    Histogram,
    Instrument,
    StreamConfiguration,
)

POWER_JUMP = 2.0
"""Factor by which the power, once set, may change before a visit is not kept."""
TEMPERATURE_BAND_K = 1.0
"""How far the temperature may go from where it was before it is told."""
SAMPLE_TOLERANCE_UM = 1.0
"""A sample stage this close to where it should be counts as there."""
PROGRESS_S = 30.0
"""Device time between two sentences about a temperature on its way."""
POLL_S = 0.1
"""Device time between two looks at the requests and at the detector: neither waits longer."""
END_POLL_S = 2e-4
"""The same once a dwell should be over."""
PROBE_S = 1.0
"""Longest dwell with light that looks whether the count rate is good again."""
DRIFT_SIGMAS = 3.0
"""Standard errors by which the reference must have changed before the peak is searched for."""
PILE_UP_SHARE = 0.01
"""Counts per pulse above which the first photons hide the later ones noticeably."""


_BY_DEVICES: tuple[ConditionName, ...] = ("temperature", "sync", "power")


class DetectorTooBrightError(Exception):
    """The detector saw more light than the profile allows; the light is blocked."""


@dataclass(frozen=True, slots=True)
class _ReadBacks:
    """What is read during a dwell, shortly before its end."""

    sync_rate_hz: float
    temperature_k: float
    power_nw: float


class Director(Protocol):
    """What the devices' side asks of the run it belongs to."""

    def check_abort(self) -> None:
        """Raise if the run is to end now."""

    def enter(self, state: RunState, why: str = "") -> None:
        """Tell what is being done now."""

    def emit(self, event: Event) -> None:
        """Tell every observer."""


class Visiting:
    """Carries visits out on the devices, always open to an abort.

    Parameters
    ----------
    runner : Director
        Asked at least every `POLL_S` of device time whether to go on.
    instrument : Instrument
        Open devices.
    plan : ScanPlan
        For excitation and card settings.
    started_s : float
        Time of the scan that has already gone by, when it is resumed.
    sample_home_um : tuple of float or None
        Where the sample stage belongs; None: where it stands when the run begins.
    scan_path : Path or None
        The scan file, beside which records are kept if the plan says so.
    """

    def __init__(
        self,
        runner: Director,
        instrument: Instrument,
        plan: ScanPlan,
        started_s: float,
        sample_home_um: tuple[float, ...] | None,
        scan_path: Path | None = None,
    ) -> None:
        self._runner = runner
        self._instrument = instrument
        self._plan = plan
        self._zero_s = instrument.clock.now_s() - started_s
        self._sample_home = sample_home_um
        self._sample_away = False
        self._set_power_nw: float | None = None
        self._start_k: float | None = None
        self._scan_path = scan_path
        self._stream: StreamConfiguration | None = None
        self._kept: KeptRecords | None = None
        self._watching = False
        self._looked_s = -math.inf
        self._rate_hz = self._sync_hz = 0.0
        self._told_pile_up = self._waits_in_dark = False
        self._aim_um = (0.0, 0.0)
        """Where the emission peak was found, which the places of the plan are relative to."""
        self._centred: Centred | None = None
        self._since_centring = 0
        self._reference: tuple[float, float] | None = None
        """Counts and counting time of the first reference after the last centring."""
        self._has_drifted = False
        self._watch = ConditionWatch(plan.conditions)
        self._is_counting = False
        self._judged_s = -math.inf
        self._probed: Visit | None = None
        """Where the count rate was bad."""

    def close(self) -> None:
        """Let go of the files of records."""
        if self._kept is None:
            return
        try:
            self._kept.close()
        except OSError as error:
            words = f"{self._kept.path} could not be closed properly ({error.strerror})"
            self._runner.emit(Notice("warning", "records", words))

    @property
    def clock(self) -> Clock:
        """Device time."""
        return self._instrument.clock

    @property
    def pause_timeout_s(self) -> float:
        """How long to wait for somebody after the detector was protected."""
        return self._instrument.profile.limits.pause_timeout_s

    # -- before the first visit ----------------------------------------------------------

    def prepare(self) -> InstrumentSettings:
        """Set laser, power and card, with the sample still in the dark, and read all back.

        Then the emission peak is found and the wheel before the detector is set, if the plan
        says so.
        """
        instrument, plan = self._instrument, self._plan
        self._runner.check_abort()
        if instrument.shutter is not None:
            self._set_shutter(False)
        else:
            words = "there is no shutter: between visits the laser shines on the sample"
            self._runner.emit(Notice("info", "no-shutter", words))
        card = plan.card
        actual = self._configure()
        if plan.temperature is not None:
            self._reach(plan.temperature)
        if plan.excitation.repetition_rate_hz is not None:
            instrument.laser.set_repetition_rate_hz(plan.excitation.repetition_rate_hz)
        self.switch_on()
        power_nw: float | None = None
        if plan.excitation.power_nw is not None:
            power_nw = set_power(instrument, plan.excitation.power_nw, self.wait, self._wait_until)
            self._set_power_nw = power_nw
        elif instrument.power_meter is not None:
            power_nw = instrument.power_meter.power_nw()
        self.wait(instrument.profile.card.sync_warm_up_s)
        sync_rate_hz = self._sync_hz = instrument.card.sync_rate_hz()
        period_ns = 1e9 / sync_rate_hz if sync_rate_hz > 0 else math.inf
        if card.offset_ns + card.range_ns > period_ns * 1.001:
            raise DeviceError(
                "card",
                f"the time range ends {card.offset_ns + card.range_ns:g} ns after a pulse, but "
                f"the next one comes after {period_ns:.4g} ns",
                "shorten card.range_ns or lower the repetition rate",
            )
        if sync_rate_hz <= 0:
            raise DeviceError(
                "card",
                "there are no sync pulses",
                "check the trigger cable, its discriminator level, and that the laser runs",
            )
        self._watching = True
        if self._kept is None and self._stream is not None and card.raw != "none":
            self._keep_records(self._stream)
        if instrument.sample_stage is not None:
            here = instrument.sample_stage.position_um()
            spot_um = here if plan.sample_xy_um is None else (*plan.sample_xy_um, *here[2:])
            self._sample_home = self._sample_home or spot_um
            # a scan that was cut short beside the film must not go on there
            away_um = math.dist(here, self._sample_home)
            belongs = plan.irf is not None or plan.sample_xy_um is not None
            self._sample_away = belongs and away_um > SAMPLE_TOLERANCE_UM
            if plan.sample_xy_um is not None and self._sample_away:
                self._move_sample(self._sample_home)
        attenuator, thermostat = instrument.attenuator, instrument.temperature
        self._start_k = None if thermostat is None else thermostat.temperature_k()
        start_k = math.nan if self._start_k is None else self._start_k
        good_nw = math.nan if power_nw is None else power_nw
        good_k = start_k if plan.temperature is None else plan.temperature.set_point_k
        self._watch.begin(Readings(good_k, sync_rate_hz, good_nw))
        self._check_conditions()
        if plan.detection.transmission is not None:  # before any light reaches the detector
            self._set_detection(plan.detection)
        if plan.centring is not None:
            self._bring_sample_home()
            with self._waiting_for_sync():
                self._centre(plan.centring, next_index=0)
            if instrument.shutter is not None:
                self._set_shutter(False)
        if plan.detection.count_rate_hz is not None:  # at the peak
            self._set_detection(plan.detection)
        return InstrumentSettings(
            repetition_rate_hz=instrument.laser.repetition_rate_hz(),
            time_bin_ps=actual.time_bin_ps,
            bins=card.bins,
            offset_ns=actual.offset_ns,
            sync_divider=actual.sync_divider,
            sync_rate_hz=sync_rate_hz,
            power_nw=power_nw,
            transmission=None if attenuator is None else attenuator.transmission(),
            temperature_k=self._start_k,
            temperature_set_point_k=None if thermostat is None else thermostat.set_point_k(),
            sample_position_um=self._sample_home,
        )

    # -- one visit ------------------------------------------------------------------------

    def measure(self, leg: Leg) -> list[VisitRecord]:
        """Go there, count, and read everything back.

        Raises
        ------
        DetectorTooBrightError, ConditionBadError
            If the detector had to be protected, or a condition of the plan is not met; the leg is
            to be measured again.
        """
        self._check_conditions()
        try:
            with self._waiting_for_sync():
                if len(leg) > 1 and self._plan.fly is not None:
                    records = self._fly_over(leg, self._plan.fly)
                else:
                    records = [self._stop_at(visit) for visit in leg]
        finally:
            self._is_counting = False
        self._watch.measured()
        self._since_centring += len(leg)
        return records

    def _stop_at(self, visit: Visit) -> VisitRecord:
        runner, instrument = self._runner, self._instrument
        runner.enter(RunState.MOVING)
        runner.emit(VisitStarted(visit))
        self._place_sample(visit)
        self._keep_centred(visit)
        stage_um = self._go_to(visit.x_um, visit.y_um)
        if instrument.shutter is not None:
            self._set_shutter(visit.shutter_open)
        runner.enter(RunState.COUNTING)
        started_s = instrument.clock.now_s() - self._zero_s
        histogram, read = self._count(visit)
        self._follow_reference(visit, histogram)
        return self._record(visit, started_s, stage_um, histogram, read)

    def _fly_over(self, leg: Leg, how: Fly) -> list[VisitRecord]:
        """Measure a line in one go; it is given only when all of it is known to be good."""
        runner, instrument = self._runner, self._instrument
        assert self._stream is not None, "the plan sees to it"
        runner.enter(RunState.MOVING)
        runner.emit(VisitStarted(leg[0]))
        self._place_sample(leg[0])
        self._keep_centred(leg[0])
        flown = flight(tuple(self._aimed(visit) for visit in leg), instrument.profile)
        self._go_to_reading(flown.start_um)
        if instrument.shutter is not None:
            self._set_shutter(leg[0].shutter_open)
        runner.enter(RunState.COUNTING)
        self._rate_hz = 0.0
        self._look(now=True)

        def pause(seconds: float) -> None:
            before_s = self._looked_s
            self._pause(seconds)
            if self._looked_s > before_s:
                self._tell_rates(None)

        self._is_counting = True
        with self._keeping(leg):
            done = fly(
                leg, flown, how.cut, instrument.detector_stage, instrument.card, self._stream,
                self._plan.card.bins, instrument.clock, pause, self._darken, self._write,
            )  # fmt: skip
            read = self._read_back()
            self._judge(leg, done.histograms, read)
            self._keep(done.sync_count, done.live_s)
        records = []
        for visit, started_s, histogram in zip(leg, done.started_s, done.histograms, strict=True):
            aimed = self._aimed(visit)
            place = instrument.profile.stage_position_um(aimed.x_um, aimed.y_um)
            started_s -= self._zero_s
            records.append(self._record(visit, started_s, place, histogram, read))
        return records

    def _record(
        self,
        visit: Visit,
        started_s: float,
        stage_um: tuple[float, float],
        histogram: Histogram,
        read: _ReadBacks,
    ) -> VisitRecord:
        return VisitRecord(
            visit=visit,
            started_s=started_s,
            live_s=histogram.live_s,
            stage_x_um=stage_um[0],
            stage_y_um=stage_um[1],
            sync_rate_hz=read.sync_rate_hz,
            count_rate_hz=self._rate_hz,
            temperature_k=read.temperature_k,
            power_nw=read.power_nw,
            flags=histogram.flags,
            counts=histogram.counts,
        )

    def _judge(self, leg: Leg, histograms: Sequence[Histogram], read: _ReadBacks) -> None:
        """Raise if what was measured must not be kept; tell what else is wrong."""
        self._runner.check_abort()  # an emergency puts the light out first
        watch, what = self._watch, which(leg)
        flags = histograms[0].flags
        check_flags(flags, what)
        if flags and leg[0].kind is not VisitKind.BACKGROUND:
            words = f"the card reports {', '.join(sorted(flags))} in {what.split(',')[0]}"
            self._runner.emit(Notice("warning", "card-flags", words))
        self._check_light(leg[0].shutter_open, what)
        watch.judge(Readings(read.temperature_k, read.sync_rate_hz, read.power_nw))
        self._judged_s = self.clock.now_s()
        self._check_power(what, read.power_nw)
        for visit, histogram in zip(leg, histograms, strict=True):
            if watch.judges_rate_of(visit.kind) and histogram.live_s > 0:
                self._probed = visit
                rate_hz = float(histogram.counts.sum(dtype=np.int64)) / histogram.live_s
                watch.judge(Readings(count_rate_hz=rate_hz))
        self._check_pile_up(what)

    def _check_light(self, lit: bool, what: str) -> None:
        """See that the light was what the visits asked for."""
        laser, shutter = self._instrument.laser, self._instrument.shutter
        if self._waits_in_dark:
            return  # blocked when the card had ended, while the disk was waited for
        if lit and not laser.emission():
            raise DeviceError(
                "laser",
                f"the emission went off during {what} not kept",
                "check the interlock and the laser, then resume the scan",
            )
        if shutter is not None and shutter.is_open() != lit:
            raise DeviceError(
                "shutter",
                f"was found {'closed' if lit else 'open'} after {what} not kept",
                "look at its controller and its interlock, then resume the scan",
            )

    # -- conditions -----------------------------------------------------------------------

    @property
    def watch(self) -> ConditionWatch:
        """The conditions of the plan."""
        return self._watch

    def look_at(self, name: ConditionName) -> None:
        """Look at one condition while the run waits; light is made only if it must be.

        Raises
        ------
        ConditionBadError
            If it is bad.
        """
        if name in ("temperature", "disk"):
            self._judge_readings(name)
            return
        try:
            self._tell_rates(None)  # whoever watches over the run must know that light follows
            self.light_again()
            if name == "count_rate":
                self._watch.judge(Readings(count_rate_hz=self._probe_rate_hz()))
            else:
                self._judge_readings(name)
        finally:
            self.block_light()

    def light_again(self) -> None:
        """After waiting in the dark: a laser that was switched off on purpose is on again.

        One that went off by itself stays off: whoever closes an interlock may be in the beam.
        """
        if self._instrument.shutter is None:
            self.switch_on()
        elif not self._instrument.laser.emission():
            raise DeviceError(
                "laser",
                "the emission went off while the run waited",
                "check the interlock and the laser, then resume the scan",
            )

    def _probe_rate_hz(self) -> float:
        """Count for a short while where the rate was bad."""
        visit = self._probed
        assert visit is not None, "a rate is bad somewhere"
        self._place_sample(visit)
        self._go_to(visit.x_um, visit.y_um)
        if self._instrument.shutter is not None:
            self._set_shutter(True)
        counts, live_s = self._expose(min(visit.dwell_s, PROBE_S), visit.index)
        return counts / live_s

    def _check_conditions(self) -> None:
        """Between visits; what was judged a moment ago is not asked again."""
        self._judge_readings("disk")
        self._judge_when_due()

    def _judge_when_due(self) -> None:
        if self.clock.now_s() - self._judged_s < self._watch.poll_s:
            return
        for name in _BY_DEVICES:
            self._judge_readings(name)
        self._judged_s = self.clock.now_s()

    def _judge_readings(self, name: ConditionName) -> None:
        """Read what one condition needs, if the plan asks for it, and judge it."""
        if not self._watch.has(name):
            return
        instrument, now = self._instrument, Readings()
        if name == "temperature":
            now = Readings(temperature_k=self._temperature_k())
        elif name == "sync":
            now = Readings(sync_rate_hz=instrument.card.sync_rate_hz())
        elif name == "power" and instrument.power_meter is not None:
            now = Readings(power_nw=instrument.power_meter.power_nw())
        elif name == "disk" and self._scan_path is not None:
            now = Readings(free_bytes=free_bytes(self._scan_path))
        self._watch.judge(now)

    @contextmanager
    def _waiting_for_sync(self) -> Iterator[None]:
        """Have a lost sync signal waited for, if the plan says so."""
        try:
            yield
        except SyncLostError as lost:
            if not self._watch.has("sync"):
                raise
            raise sync_lost(self._instrument.card.sync_rate_hz(), self._sync_hz) from lost

    # -- centring -------------------------------------------------------------------------

    def _aimed(self, visit: Visit) -> Visit:
        """The same visit in the coordinates of the profile."""
        x_um, y_um = self._aim_um
        return replace(visit, x_um=visit.x_um + x_um, y_um=visit.y_um + y_um)

    def _keep_centred(self, visit: Visit) -> None:
        """Find the peak again before a visit, if it is time to."""
        how = self._plan.centring
        if how is None or visit.kind not in (VisitKind.MAP, VisitKind.REFERENCE):
            return
        is_due = how.every_visits is not None and self._since_centring >= how.every_visits
        if is_due or self._has_drifted:
            self._runner.enter(RunState.PREPARING)
            self._centre(how, visit.index)
            self._runner.enter(RunState.MOVING)

    def _centre(self, how: Centring, next_index: int) -> None:
        """Find the emission peak, and the focus, and aim there."""
        profile = self._instrument.profile
        if self._instrument.shutter is not None:
            self._set_shutter(True)
        limits_um = sample_limits_um(profile)

        def expose_at(x_um: float, y_um: float) -> tuple[float, float]:
            self._go_to_reading(profile.stage_position_um(x_um, y_um))
            return self._expose(how.dwell_s, next_index)

        try:
            peak = find_peak(expose_at, self._aim_um, how, limits_um)
            z_um = None
            if how.focus is not None:
                self._go_to_reading(profile.stage_position_um(peak.x_um, peak.y_um))
                z_um = self._refocus(how, how.focus, next_index)
                peak = find_peak(expose_at, (peak.x_um, peak.y_um), how, limits_um)
        except DeviceError:
            if not self._instrument.laser.emission():
                raise DeviceError(
                    "laser",
                    "the emission went off while the emission peak was searched for",
                    "check the interlock and the laser, then resume the scan",
                ) from None
            raise
        self._check_reach(peak.x_um, peak.y_um)
        self._aim_um = (peak.x_um, peak.y_um)
        self._since_centring, self._has_drifted, self._reference = 0, False, None
        self._centred = Centred(
            self.clock.now_s() - self._zero_s, peak.x_um, peak.y_um, peak.x_stderr_um,
            peak.y_stderr_um, peak.sigma_um, peak.peak_hz, z_um,
        )  # fmt: skip
        self._runner.emit(self._centred)

    def _refocus(self, how: Centring, focus: Focus, next_index: int) -> float:
        """Find the focus with the sample stage, which stays there."""
        role, home_um = self._instrument.profile.sample_stage, self._sample_home
        if role is None or home_um is None or len(home_um) < 3:
            raise DeviceError("sample_stage", "refocusing needs its z and there is none")

        def expose_at(z_um: float) -> tuple[float, float]:
            self._move_sample((*home_um[:2], z_um))
            return self._expose(how.dwell_s, next_index)

        z_um = find_focus(expose_at, home_um[2], focus.half_range_um, focus.steps, role.travel_um)
        self._sample_home = (*home_um[:2], z_um)
        self._move_sample(self._sample_home)
        return z_um

    def _check_reach(self, x_um: float, y_um: float) -> None:
        """Refuse a centre around which the stage cannot reach every place of the plan."""
        limits_um = sample_limits_um(self._instrument.profile)
        for place in self._plan.places():
            for name, value, (low, high) in zip(
                "xy", (place.x_um + x_um, place.y_um + y_um), limits_um, strict=True
            ):
                if not low <= value <= high:
                    raise DeviceError(
                        "detector_stage",
                        f"the emission peak is at ({x_um:.2f}, {y_um:.2f}) µm, from where the "
                        f"plan's place {name} = {getattr(place, f'{name}_um'):g} µm is beyond its "
                        "travel",
                        "bring the image nearer to the middle of the travel",
                    )

    def _follow_reference(self, visit: Visit, histogram: Histogram) -> None:
        """See by the reference's counts whether the peak may have drifted."""
        how, at = self._plan.centring, self._centred
        if visit.kind is not VisitKind.REFERENCE or how is None or how.drift_nm is None:
            return
        counts = float(histogram.counts.sum(dtype=np.int64))
        if self._reference is None or at is None:
            self._reference = (counts, histogram.live_s)
            return
        first, first_s = self._reference
        expected = first * histogram.live_s / first_s
        if not min(counts, expected) > 0:
            self._has_drifted = counts != expected
            return
        away_um, drift_um = math.hypot(visit.x_um, visit.y_um), how.drift_nm * 1e-3
        by_drift = 1 - math.exp(-drift_um * (drift_um + 2 * away_um) / (2 * at.sigma_um**2))
        by_chance = DRIFT_SIGMAS * math.sqrt(1 / counts + 1 / first)
        self._has_drifted = abs(counts / expected - 1) > max(by_drift, by_chance)

    def _expose(self, dwell_s: float, next_index: int) -> tuple[float, float]:
        """Count for a short dwell that is not part of the scan; gives counts and counting time."""
        visit = Visit(next_index, VisitKind.REFERENCE, -1, -1, 0.0, 0.0, dwell_s)
        with self._dwell(visit) as dwell:
            self._run_down(dwell, dwell_s, lambda: None)
            histogram = dwell.finish()
        check_flags(histogram.flags, f"visit {next_index}, which is")
        return float(histogram.counts.sum(dtype=np.int64)), histogram.live_s

    def block_light(self) -> None:
        """Keep light off the sample while nothing is measured."""
        if self._instrument.shutter is not None:
            self._set_shutter(False)
        else:
            self._instrument.laser.set_emission(False)

    def _reach(self, temperature: Temperature) -> None:
        """Give the set point and wait, in the dark, until the temperature is there."""
        controller = self._instrument.temperature
        if controller is None:
            raise DeviceError("temperature", "the plan sets it and there is no controller")
        controller.set_set_point_k(temperature.set_point_k)
        told_s = -PROGRESS_S

        def tell(progress: StabilityProgress) -> None:
            nonlocal told_s
            if progress.elapsed_s - told_s >= PROGRESS_S:
                told_s = progress.elapsed_s
                words = (
                    f"{progress.temperature_k:.2f} K on the way to {temperature.set_point_k:g} K, "
                    f"in the band for {progress.in_band_s:.0f} of {temperature.time_s:.0f} s"
                )
                self._runner.emit(Notice("info", "waiting", words))

        stability = Stability(temperature.band_k, temperature.time_s, temperature.slope_k_per_min)
        wait_until_stable(
            controller, self.clock, temperature.set_point_k, stability, temperature.timeout_s,
            self.wait, tell,
        )  # fmt: skip

    def _set_detection(self, detection: Detection) -> None:
        """Turn the wheel before the detector, with light on the sample if it needs to count."""
        if detection.count_rate_hz is not None:
            self._go_to(detection.x_um, detection.y_um)
            if self._instrument.shutter is not None:
                self._set_shutter(True)
        set_detection(self._instrument, detection, self.wait, self._wait_until)
        if self._instrument.shutter is not None:
            self._set_shutter(False)

    def switch_on(self) -> None:
        """Switch the laser on and see that it is; the shutter is opened visit by visit."""
        laser = self._instrument.laser
        laser.set_emission(True)
        self.wait(self._instrument.profile.laser.warm_up_s)
        if not laser.emission():
            raise DeviceError(
                "laser", "the emission was switched on but reads back as off", "check the interlock"
            )

    def bring_sample_back(self) -> str | None:
        """After the run, in the dark: put the sample where the scan found it.

        Returns
        -------
        str or None
            What to tell if it could not be done.
        """
        stage, role = self._instrument.sample_stage, self._instrument.profile.sample_stage
        if not self._sample_away or stage is None or role is None or self._sample_home is None:
            return None
        try:
            stage.move_to(self._sample_home)
            deadline_s = self.clock.now_s() + role.timeout_s
            while stage.is_moving():
                if self.clock.now_s() > deadline_s:
                    return f"the sample stage is still moving back after {role.timeout_s:g} s"
                self.clock.wait(POLL_S)
        except DeviceError as error:
            return f"the sample was left beside its place, at the scatterer ({error})"
        self._sample_away = False
        return None

    def _place_sample(self, visit: Visit) -> None:
        if visit.sample_xy_um is None:
            self._bring_sample_home()
        elif self._sample_home is None:
            raise DeviceError("sample_stage", "the plan moves the sample but there is no stage")
        else:
            self._sample_away = True
            self._move_sample((*visit.sample_xy_um, *self._sample_home[2:]))

    def _bring_sample_home(self) -> None:
        if self._sample_away and self._sample_home is not None:
            self._move_sample(self._sample_home)

    def _move_sample(self, target_um: tuple[float, ...]) -> None:
        stage = self._instrument.sample_stage
        role = self._instrument.profile.sample_stage
        if stage is None or role is None:
            raise DeviceError("sample_stage", "there is no sample stage to move")
        stage.move_to(target_um)
        self._wait_until(lambda: not stage.is_moving(), role.timeout_s, "sample_stage", "moving")
        self._sample_away = target_um != self._sample_home

    def _go_to(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Move the detector to a place of the plan; gives the stage's read-back."""
        aim_x_um, aim_y_um = self._aim_um
        profile = self._instrument.profile
        return self._go_to_reading(profile.stage_position_um(x_um + aim_x_um, y_um + aim_y_um))

    def _go_to_reading(self, target: tuple[float, float]) -> tuple[float, float]:
        """Move the detector stage; gives its read-back."""
        stage, role = self._instrument.detector_stage, self._instrument.profile.detector_stage
        at_x_um, at_y_um = stage.position_um()[:2]
        if math.dist((at_x_um, at_y_um), target) > role.tolerance_um / 2:
            stage.move_to(target)
            self._wait_until(
                lambda: not stage.is_moving(), role.timeout_s, "detector_stage", "moving"
            )
            self.wait(role.settle_s)
            at_x_um, at_y_um = stage.position_um()[:2]
        if max(abs(at_x_um - target[0]), abs(at_y_um - target[1])) > role.tolerance_um:
            raise DeviceError(
                "detector_stage",
                f"stopped at ({at_x_um:.1f}, {at_y_um:.1f}) µm instead of "
                f"({target[0]:.1f}, {target[1]:.1f}) µm",
                "look for an obstacle or a lost reference, home the stage, then resume the scan",
            )
        return at_x_um, at_y_um

    def _set_shutter(self, open_: bool) -> None:
        shutter = self._instrument.shutter
        if shutter is None or shutter.is_open() == open_:
            return
        shutter.set_open(open_)
        if shutter.is_open() != open_:
            raise DeviceError(
                "shutter",
                f"was told to {'open' if open_ else 'close'} but reads back as "
                f"{'closed' if open_ else 'open'}",
            )

    def _configure(self) -> CardConfiguration | StreamConfiguration:
        """Set the card up as the plan says."""
        wanted, card = self._plan.card, self._instrument.card
        actual: CardConfiguration | StreamConfiguration
        if wanted.mode == "t3":
            actual = self._stream = card.configure_stream(
                wanted.time_bin_ps,
                wanted.offset_ns,
                wanted.sync_divider,
                markers=self._plan.fly is not None and self._plan.fly.cut == "markers",
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
                f"the plan asks for {wanted.bins} bins of {wanted.time_bin_ps:g} ps but the card "
                f"can do {bins} bins of {actual.time_bin_ps:g} ps",
                "change card.time_bin_ps or card.range_ns",
            )
        return actual

    def _keep_records(self, stream: StreamConfiguration) -> None:
        """Open what the plan wants the records kept in."""
        how = self._plan.card.raw
        if self._scan_path is None or how == "none":
            return
        identity = self._instrument.card.identify()
        header = PtuHeader(
            record_type=stream.record_type,
            time_bin_ps=stream.time_bin_ps,
            sync_rate_hz=self._sync_hz,
            bins=self._plan.card.bins,
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

    def _dwell(self, visit: Visit) -> Dwell:
        instrument = self._instrument
        self._rate_hz = 0.0
        self._look(now=True)
        if self._stream is None:
            return HistogramDwell(instrument.card, visit.dwell_s, self._rate_hz, instrument.clock)
        return StreamDwell(
            instrument.card, self._stream, self._plan.card.bins, visit, instrument.clock,
            self._write,
        )  # fmt: skip

    def _count(self, visit: Visit) -> tuple[Histogram, _ReadBacks]:
        """Count for the dwell, reading the other instruments back towards its end."""
        leg, reads = (visit,), list[_ReadBacks]()
        self._is_counting = True
        with self._keeping(leg), self._dwell(visit) as dwell, light_first(self._darken):
            self._run_down(dwell, visit.dwell_s, lambda: reads.append(self._read_back()))
            histogram = dwell.finish()
            self._tell_rates(int(histogram.counts.max()))
            read = reads[0] if reads else self._read_back()
            self._judge(leg, (histogram,), read)
            if isinstance(dwell, StreamDwell):
                self._keep(dwell.sync_count, histogram.live_s)
        if self._waits_in_dark:
            self._waits_in_dark = False
            self.light_again()
        return histogram, read

    def _run_down(self, dwell: Dwell, dwell_s: float, towards_end: Callable[[], None]) -> None:
        """Wait for the end of a dwell, and do something shortly before it."""
        clock = self._instrument.clock
        end_s = clock.now_s() + dwell_s
        deadline_s = end_s + 0.5 * dwell_s + 2.0
        is_late = False
        while dwell.is_running(self._rate_hz):
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
            self._pause(min(POLL_S, due_s) if due_s > 0 else END_POLL_S)
            self._tell_rates(dwell.brightest_bin())

    def _overdue(self, dwell: Dwell, dwell_s: float, waited_s: float) -> None:
        """Give up a card that does not end its dwell; wait, in the dark, for a slow disk."""
        if dwell.is_counting():
            raise DeviceError(
                "card",
                f"a dwell of {dwell_s:g} s has not ended after {waited_s:.1f} s",
                "check the sync signal and the card's connection, then resume the scan",
            )
        if not self._waits_in_dark:
            self._waits_in_dark = True
            self.block_light()
            words = "the disk cannot follow the records; the run waits for it in the dark"
            self._runner.emit(Notice("warning", "disk", words))

    @contextmanager
    def _keeping(self, leg: Leg) -> Iterator[None]:
        """Keep the records of a leg, or forget them if it was not said that they are good."""
        if self._kept is None:
            yield
            return
        self._kept.begin(leg[0])
        try:
            yield
        finally:
            self._kept.discard()

    def _write(self, records: NDArray[np.uint32]) -> None:
        if self._kept is not None:
            self._kept.write(records)

    def _keep(self, sync_count: int, live_s: float) -> None:
        if self._kept is not None:
            self._kept.keep(sync_count, live_s)

    def _darken(self) -> None:
        """Block the light at once; that it worked is seen to when everything is made safe."""
        with suppress(DeviceError):
            self.block_light()

    def _read_back(self) -> _ReadBacks:
        meter = self._instrument.power_meter
        return _ReadBacks(
            sync_rate_hz=self._instrument.card.sync_rate_hz(),
            temperature_k=self._temperature_k(),
            power_nw=math.nan if meter is None else meter.power_nw(),
        )

    def _tell_rates(self, brightest_bin: int | None) -> None:
        self._runner.emit(Rates(self._sync_hz, self._rate_hz, brightest_bin))

    def _check_pile_up(self, what: str) -> None:
        """Tell once that the light is too bright for an undistorted decay."""
        if self._told_pile_up or self._rate_hz <= PILE_UP_SHARE * self._sync_hz:
            return
        self._told_pile_up = True
        words = (
            f"{self._rate_hz:.3g} counts/s in {what.split(',')[0]} are "
            f"{self._rate_hz / self._sync_hz:.1%} of the pulses; above {PILE_UP_SHARE:.0%} the "
            "first photons hide later ones: lower the light, or analyse with --pile-up coates"
        )
        self._runner.emit(Notice("warning", "pile-up", words))

    def _look(self, *, now: bool = False) -> None:
        """Look at the count rate, and block the light if it endangers the detector."""
        clock = self._instrument.clock
        if not self._watching or (not now and clock.now_s() - self._looked_s < POLL_S - 1e-6):
            return
        self._looked_s = clock.now_s()
        rate_hz = self._instrument.card.count_rate_hz()
        self._rate_hz = max(self._rate_hz, rate_hz)
        limit_hz = self._instrument.profile.limits.detector_count_rate_hz
        if rate_hz > limit_hz:
            self.block_light()
            self._instrument.card.stop()
            raise DetectorTooBrightError(
                f"{rate_hz:.3g} counts/s on the detector, more than the profile's limit of "
                f"{limit_hz:.3g}; the light was blocked. Look for room light, or for a filter or a "
                "wheel that moved, then let the run go on with the light it had; to measure with "
                "less, end it and begin a new scan"
            )

    def _check_power(self, what: str, power_nw: float) -> None:
        """See that the light that was set is still there: not every laser tells when it is off."""
        set_nw = self._set_power_nw
        if self._watch.has("power"):
            return  # the plan says what to do
        if set_nw is None or set_nw / POWER_JUMP <= power_nw <= set_nw * POWER_JUMP:
            return
        raise DeviceError(
            "laser",
            f"the power meter reads {power_nw:.3g} nW after {what} not kept, and {set_nw:.3g} nW "
            "were set",
            "check the interlock, the attenuator and the beam path, then resume the scan",
        )

    def _temperature_k(self) -> float:
        """Read the thermometer; a temperature that runs away is told once."""
        thermometer = self._instrument.temperature
        if thermometer is None:
            return math.nan
        now_k = thermometer.temperature_k()
        if self._watch.has("temperature"):
            return now_k
        if self._start_k is not None and abs(now_k - self._start_k) > TEMPERATURE_BAND_K:
            words = (
                f"the temperature was {self._start_k:.2f} K when the run began and is "
                f"{now_k:.2f} K now; look at the heater and the set point"
            )
            self._runner.emit(Notice("warning", "temperature", words))
            self._start_k = None
        return now_k

    # -- waiting --------------------------------------------------------------------------

    def _pause(self, seconds: float) -> None:
        """Let at most `POLL_S` pass, open to an abort and with an eye on the detector."""
        clock = self._instrument.clock
        left_s = seconds
        due_s = self._looked_s + POLL_S - clock.now_s()
        if self._watching and 0 < due_s < left_s:
            clock.wait(due_s)
            self._look()
            left_s -= due_s
        self._runner.check_abort()
        clock.wait(left_s)
        self._runner.check_abort()
        self._look()
        if self._is_counting:
            self._judge_when_due()

    def wait(self, seconds: float) -> None:
        """Let device time pass, open to an abort."""
        edges = [i * POLL_S for i in range(math.ceil(seconds / POLL_S))] + [seconds]
        for start, end in pairwise(edges):
            self._pause(end - start)

    def _wait_until(
        self, reached: Callable[[], bool], timeout_s: float, device: str, doing: str
    ) -> None:
        """Wait until a device is there; a device that never gets there is an error."""
        clock = self._instrument.clock
        deadline_s = clock.now_s() + timeout_s
        step_s = 0.002
        while not reached():
            if clock.now_s() >= deadline_s:
                raise DeviceError(
                    device,
                    f"is still {doing} after {timeout_s:g} s",
                    "look whether it is blocked or has lost its connection",
                )
            self._pause(step_s)
            step_s = min(step_s * 1.5, POLL_S / 2)
