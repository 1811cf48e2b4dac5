"""Carrying visits out: everything a run asks of the devices."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tplm_config import Detection, Fly, Leg, ScanPlan, Temperature, Visit, VisitKind, flight
from tplm_daq.aiming import Aiming
from tplm_daq.conditions import (
    ConditionName,
    ConditionWatch,
    Readings,
    free_bytes,
    sync_lost,
)
from tplm_daq.counting import StreamDwell, SyncLostError, check_flags, light_first, which
from tplm_daq.events import InstrumentSettings, Notice, RunState, VisitRecord, VisitStarted
from tplm_daq.exposing import Exposing
from tplm_daq.flying import fly
from tplm_daq.handling import Director, Handling
from tplm_daq.power import set_detection, set_power
from tplm_daq.sample_place import SamplePlace
from tplm_daq.stability import Stability, StabilityProgress, wait_until_stable
from tplm_drivers import Clock, DeviceError, Histogram, Instrument

POWER_JUMP = 2.0
"""Factor by which the power, once set, may change before a visit is not kept."""
POWER_BAND = 0.1
"""Share by which the power, once set, may change before it is told."""
TEMPERATURE_BAND_K = 1.0
"""How far the temperature may go from where it was before it is told."""
PROGRESS_S = 30.0
"""Device time between two sentences about a temperature on its way."""
PROBE_S = 1.0
"""Longest dwell with light that looks whether the count rate is good again."""
PILE_UP_SHARE = 0.01
"""Counts per pulse above which the first photons hide the later ones noticeably."""
_BY_DEVICES: tuple[ConditionName, ...] = ("temperature", "sync", "power")


@dataclass(frozen=True, slots=True)
class _ReadBacks:
    """What is read during a dwell, shortly before its end."""

    sync_rate_hz: float
    temperature_k: float
    power_nw: float


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
        self._scan_path = scan_path
        self._handling = Handling(runner, instrument, self._judge_when_due)
        markers = plan.fly is not None and plan.fly.cut == "markers"
        self._exposing = Exposing(
            runner, instrument, self._handling, plan.card, scan_path, markers=markers
        )
        self._sample = SamplePlace(self._handling, instrument, sample_home_um)
        self._aiming = Aiming(
            runner, instrument, self._handling, self._exposing, self._sample, plan, self._zero_s
        )
        self._watch = ConditionWatch(plan.conditions)
        self._set_power_nw: float | None = None
        self._powers_nw: list[float] = []
        self._start_k: float | None = None
        self._told_pile_up = self._told_power = False
        self._judged_s = -math.inf
        self._probed: Visit | None = None
        """Where the count rate was bad."""

    # -- what the run asks for besides visits ---------------------------------------------

    def close(self) -> None:
        """Let go of the files of records."""
        self._exposing.close()

    def block_light(self) -> None:
        """Keep light off the sample while nothing is measured."""
        self._handling.block_light()

    def light_again(self) -> None:
        """After waiting in the dark: a laser that was switched off on purpose is on again."""
        self._handling.light_again()

    def switch_on(self) -> None:
        """Switch the laser on and see that it is; the shutter is opened visit by visit."""
        self._handling.switch_on()

    def wait(self, seconds: float) -> None:
        """Let device time pass, open to an abort."""
        self._handling.wait(seconds)

    def bring_sample_back(self) -> str | None:
        """After the run, in the dark: put the sample where the scan found it; or say why not."""
        return self._sample.bring_back()

    @property
    def clock(self) -> Clock:
        """Device time."""
        return self._instrument.clock

    @property
    def elapsed_s(self) -> float:
        """Device time since the scan began."""
        return self.clock.now_s() - self._zero_s

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
        instrument, plan, wait_until = self._instrument, self._plan, self._handling.wait_until
        self._runner.check_abort()
        self._handling.set_shutter(False)
        if instrument.shutter is None:
            words = "there is no shutter: between visits the laser shines on the sample"
            self._runner.emit(Notice("info", "no-shutter", words))
        card = plan.card
        actual = self._exposing.configure()
        if plan.temperature is not None:
            self._reach(plan.temperature)
        if plan.excitation.repetition_rate_hz is not None:
            instrument.laser.set_repetition_rate_hz(plan.excitation.repetition_rate_hz)
        self.switch_on()
        power_nw: float | None = None
        if plan.excitation.power_nw is not None:
            power_nw = set_power(instrument, plan.excitation.power_nw, self.wait, wait_until)
            self._set_power_nw = power_nw
        elif instrument.power_meter is not None:
            power_nw = instrument.power_meter.power_nw()
        self.wait(instrument.profile.card.sync_warm_up_s)
        sync_rate_hz = self._handling.sync_hz = instrument.card.sync_rate_hz()
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
        self._handling.watching = True
        self._exposing.open_records()
        self._sample.begin(plan)
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
            self._sample.bring_home()
            with self._waiting_for_sync():
                self._aiming.centre(plan.centring, next_index=0)
            self._handling.set_shutter(False)
        if plan.detection.count_rate_hz is not None:  # at the peak
            self._set_detection(plan.detection)
        before = instrument.detection_attenuator
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
            sample_position_um=self._sample.home_um,
            detection_transmission=None if before is None else before.transmission(),
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
            self._handling.is_counting = False
        self._watch.measured()
        self._aiming.measured(len(leg))
        return records

    def _stop_at(self, visit: Visit) -> VisitRecord:
        runner = self._runner
        runner.enter(RunState.MOVING)
        runner.emit(VisitStarted(visit))
        self._sample.go_for(visit)
        self._keep_centred(visit)
        stage_um = self._aiming.go_to(visit.x_um, visit.y_um)
        self._handling.set_shutter(visit.shutter_open)
        runner.enter(RunState.COUNTING)
        started_s = self.clock.now_s() - self._zero_s
        histogram, read = self._count(visit)
        self._aiming.follow(visit, histogram)
        return self._record(visit, started_s, stage_um, histogram, read)

    def _fly_over(self, leg: Leg, how: Fly) -> list[VisitRecord]:
        """Measure a line in one go; it is given only when all of it is known to be good."""
        runner, instrument = self._runner, self._instrument
        handling, exposing, aiming = self._handling, self._exposing, self._aiming
        assert exposing.stream is not None, "the plan sees to it"
        runner.enter(RunState.MOVING)
        runner.emit(VisitStarted(leg[0]))
        self._sample.go_for(leg[0])
        self._keep_centred(leg[0])
        flown = flight(tuple(aiming.aimed(visit) for visit in leg), instrument.profile)
        handling.go_to_reading(flown.start_um)
        handling.set_shutter(leg[0].shutter_open)
        runner.enter(RunState.COUNTING)
        handling.rate_hz = 0.0
        handling.look(now=True)

        def pause(seconds: float) -> None:
            if handling.pause(seconds):
                handling.tell_rates(None)

        handling.is_counting = True
        self._powers_nw.clear()
        with exposing.keeping(leg):
            done = fly(
                leg, flown, how.cut, instrument.detector_stage, instrument.card, exposing.stream,
                self._plan.card.bins, instrument.clock, pause, handling.darken, exposing.write,
            )  # fmt: skip
            read = self._read_back()
            self._judge(leg, done.histograms, read)
            exposing.keep(done.sync_count, done.live_s)
        records = []
        for visit, started_s, histogram in zip(leg, done.started_s, done.histograms, strict=True):
            aimed = aiming.aimed(visit)
            place = instrument.profile.stage_position_um(aimed.x_um, aimed.y_um)
            started_s -= self._zero_s
            records.append(self._record(visit, started_s, place, histogram, read))
        return records

    def _keep_centred(self, visit: Visit) -> None:
        """Find the peak again before a visit, if it is time to."""
        how = self._plan.centring
        if how is None or not self._aiming.is_due(visit):
            return
        self._runner.enter(RunState.PREPARING)
        self._aiming.centre(how, visit.index)
        self._runner.enter(RunState.MOVING)

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
            count_rate_hz=self._handling.rate_hz,
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
        if self._exposing.waits_in_dark:
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
            self._handling.tell_rates(
                None
            )  # whoever watches over the run must know that light follows
            self.light_again()
            if name == "count_rate":
                self._watch.judge(Readings(count_rate_hz=self._probe_rate_hz()))
            else:
                self._judge_readings(name)
        finally:
            self.block_light()

    def _probe_rate_hz(self) -> float:
        """Count for a short while where the rate was bad."""
        visit = self._probed
        assert visit is not None, "a rate is bad somewhere"
        self._sample.go_for(visit)
        self._aiming.go_to(visit.x_um, visit.y_um)
        self._handling.set_shutter(True)
        counts, live_s = self._exposing.expose(min(visit.dwell_s, PROBE_S), visit.index)
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
        meter = self._instrument.power_meter
        if meter is not None and self._handling.is_counting and self._is_power_judged:
            self._powers_nw.append(meter.power_nw())
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
            raise sync_lost(self._instrument.card.sync_rate_hz(), self._handling.sync_hz) from lost

    # -- preparing ------------------------------------------------------------------------

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

        def wait(seconds: float) -> None:
            self._runner.check_stop()
            self.wait(seconds)

        stability = Stability(temperature.band_k, temperature.time_s, temperature.slope_k_per_min)
        wait_until_stable(
            controller, self.clock, temperature.set_point_k, stability, temperature.timeout_s,
            wait, tell,
        )  # fmt: skip

    def _set_detection(self, detection: Detection) -> None:
        """Turn the wheel before the detector, with light on the sample if it needs to count."""
        if detection.count_rate_hz is not None:
            self._aiming.go_to(detection.x_um, detection.y_um)
            self._handling.set_shutter(True)
        set_detection(self._instrument, detection, self.wait, self._handling.wait_until)
        self._handling.set_shutter(False)

    # -- counting -------------------------------------------------------------------------

    def _count(self, visit: Visit) -> tuple[Histogram, _ReadBacks]:
        """Count for the dwell, reading the other instruments back towards its end."""
        leg, reads = (visit,), list[_ReadBacks]()
        handling, exposing = self._handling, self._exposing
        handling.is_counting = True
        self._powers_nw.clear()
        with exposing.keeping(leg), exposing.dwell(visit) as dwell, light_first(handling.darken):
            exposing.run_down(dwell, visit.dwell_s, lambda: reads.append(self._read_back()))
            histogram = dwell.finish()
            handling.tell_rates(int(histogram.counts.max()))
            read = reads[0] if reads else self._read_back()
            self._judge(leg, (histogram,), read)
            if isinstance(dwell, StreamDwell):
                exposing.keep(dwell.sync_count, histogram.live_s)
        if exposing.waits_in_dark:
            exposing.waits_in_dark = False
            self.light_again()
        return histogram, read

    def _read_back(self) -> _ReadBacks:
        meter = self._instrument.power_meter
        return _ReadBacks(
            sync_rate_hz=self._instrument.card.sync_rate_hz(),
            temperature_k=self._temperature_k(),
            power_nw=math.nan if meter is None else meter.power_nw(),
        )

    def _check_pile_up(self, what: str) -> None:
        """Tell once that the light is too bright for an undistorted decay."""
        rate_hz, sync_hz = self._handling.rate_hz, self._handling.sync_hz
        if self._told_pile_up or rate_hz <= PILE_UP_SHARE * sync_hz:
            return
        self._told_pile_up = True
        words = (
            f"{rate_hz:.3g} counts/s in {what.split(',')[0]} are "
            f"{rate_hz / sync_hz:.1%} of the pulses; above {PILE_UP_SHARE:.0%} the "
            "first photons hide later ones: lower the light, or analyse with --pile-up coates"
        )
        self._runner.emit(Notice("warning", "pile-up", words))

    @property
    def _is_power_judged(self) -> bool:
        """Whether a power was set, and the plan does not say what to do when it changes."""
        return self._set_power_nw is not None and not self._watch.has("power")

    def _check_power(self, what: str, power_nw: float) -> None:
        """See that the light that was set is there all the time.

        Not every laser tells when it is off, and light may come and go during a long dwell.
        """
        readings_nw, self._powers_nw = [*self._powers_nw, power_nw], []
        set_nw = self._set_power_nw
        if set_nw is None or not self._is_power_judged:
            return
        worst_nw = max(readings_nw, key=lambda nw: abs(nw / set_nw - 1))
        if not set_nw / POWER_JUMP <= worst_nw <= set_nw * POWER_JUMP:
            raise DeviceError(
                "laser",
                f"the power meter reads {worst_nw:.3g} nW after {what} not kept, and "
                f"{set_nw:.3g} nW were set",
                "check the interlock, the attenuator and the beam path, then resume the scan",
            )
        if abs(worst_nw / set_nw - 1) > POWER_BAND and not self._told_power:
            self._told_power = True
            words = (
                f"the power meter reads {worst_nw:.3g} nW after {what.split(',')[0]} and "
                f"{set_nw:.3g} nW were set; places measured with different light spoil D: look "
                "at the laser, or let the plan pause the run ([conditions.power])"
            )
            self._runner.emit(Notice("warning", "power", words))

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
