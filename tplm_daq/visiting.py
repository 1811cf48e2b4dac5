"""Carrying visits out: everything a run asks of the devices."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tplm_config import Detection, Fly, Leg, ScanPlan, Temperature, Visit, VisitKind, flight
from tplm_daq.counting import Dwell, HistogramDwell, StreamDwell, check_flags, light_first, which
from tplm_daq.events import (
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
PILE_UP_SHARE = 0.01
"""Counts per pulse above which the first photons hide the later ones noticeably."""


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

    def enter(self, state: RunState) -> None:
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
        self._told_pile_up = self._told_slow = False

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
        """Set laser, power and card, with the sample still in the dark, and read all back."""
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
            power_nw = set_power(instrument, plan.excitation.power_nw, self._wait, self._wait_until)
            self._set_power_nw = power_nw
        elif instrument.power_meter is not None:
            power_nw = instrument.power_meter.power_nw()
        self._wait(instrument.profile.card.sync_warm_up_s)
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
            self._sample_home = self._sample_home or here
            # a scan that was cut short beside the film must not go on there
            away_um = math.dist(here, self._sample_home)
            self._sample_away = plan.irf is not None and away_um > SAMPLE_TOLERANCE_UM
        if plan.detection.is_set:
            self._set_detection(plan.detection)
        attenuator, thermostat = instrument.attenuator, instrument.temperature
        self._start_k = None if thermostat is None else thermostat.temperature_k()
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
        DetectorTooBrightError
            If the detector had to be protected; the leg is to be measured again.
        """
        if len(leg) > 1 and self._plan.fly is not None:
            return self._fly_over(leg, self._plan.fly)
        return [self._stop_at(visit) for visit in leg]

    def _stop_at(self, visit: Visit) -> VisitRecord:
        runner, instrument = self._runner, self._instrument
        runner.enter(RunState.MOVING)
        runner.emit(VisitStarted(visit))
        self._place_sample(visit)
        stage_um = self._go_to(visit.x_um, visit.y_um)
        if instrument.shutter is not None:
            self._set_shutter(visit.shutter_open)
        runner.enter(RunState.COUNTING)
        started_s = instrument.clock.now_s() - self._zero_s
        histogram, read = self._count(visit)
        return self._record(visit, started_s, stage_um, histogram, read)

    def _fly_over(self, leg: Leg, how: Fly) -> list[VisitRecord]:
        """Measure a line in one go; it is given only when all of it is known to be good."""
        runner, instrument = self._runner, self._instrument
        assert self._stream is not None, "the plan sees to it"
        flown = flight(leg, instrument.profile)
        runner.enter(RunState.MOVING)
        runner.emit(VisitStarted(leg[0]))
        self._place_sample(leg[0])
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

        with self._keeping(leg):
            done = fly(
                leg, flown, how.cut, instrument.detector_stage, instrument.card, self._stream,
                self._plan.card.bins, instrument.clock, pause, self._darken, self._write,
            )  # fmt: skip
            read = self._read_back()
            self._judge(leg, done.histograms[0].flags, read)
            self._keep(done.sync_count, done.live_s)
        records = []
        for visit, started_s, histogram in zip(leg, done.started_s, done.histograms, strict=True):
            place = instrument.profile.stage_position_um(visit.x_um, visit.y_um)
            started_s -= self._zero_s
            records.append(self._record(visit, started_s, place, histogram, read))
        return records

    def _judge(self, leg: Leg, flags: frozenset[str], read: _ReadBacks) -> None:
        """Refuse visits during which counts or light were lost; tell what else is wrong."""
        what = which(leg)
        check_flags(flags, what)
        if flags and leg[0].kind is not VisitKind.BACKGROUND:
            words = f"the card reports {', '.join(sorted(flags))} in {what.split(',')[0]}"
            self._runner.emit(Notice("warning", "card-flags", words))
        if leg[0].shutter_open and not self._instrument.laser.emission():
            raise DeviceError(
                "laser",
                f"the emission went off during {what} not kept",
                "check the interlock and the laser, then resume the scan",
            )
        self._check_power(what, read.power_nw)
        self._check_pile_up(what)

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
            self._wait, tell,
        )  # fmt: skip

    def _set_detection(self, detection: Detection) -> None:
        """Turn the wheel before the detector, with light on the sample if it needs to count."""
        if detection.count_rate_hz is not None:
            self._go_to(detection.x_um, detection.y_um)
            if self._instrument.shutter is not None:
                self._set_shutter(True)
        set_detection(self._instrument, detection, self._wait, self._wait_until)
        if self._instrument.shutter is not None:
            self._set_shutter(False)

    def switch_on(self) -> None:
        """Switch the laser on and see that it is; the shutter is opened visit by visit."""
        laser = self._instrument.laser
        laser.set_emission(True)
        self._wait(self._instrument.profile.laser.warm_up_s)
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
            if self._sample_away and self._sample_home is not None:
                self._move_sample(self._sample_home)
        elif self._sample_home is None:
            raise DeviceError("sample_stage", "the plan moves the sample but there is no stage")
        else:
            self._sample_away = True
            self._move_sample((*visit.sample_xy_um, *self._sample_home[2:]))

    def _move_sample(self, target_um: tuple[float, ...]) -> None:
        stage = self._instrument.sample_stage
        role = self._instrument.profile.sample_stage
        if stage is None or role is None:
            raise DeviceError("sample_stage", "there is no sample stage to move")
        stage.move_to(target_um)
        self._wait_until(lambda: not stage.is_moving(), role.timeout_s, "sample_stage", "moving")
        self._sample_away = target_um != self._sample_home

    def _go_to(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Move the detector to a place of the sample plane; gives the stage's read-back."""
        return self._go_to_reading(self._instrument.profile.stage_position_um(x_um, y_um))

    def _go_to_reading(self, target: tuple[float, float]) -> tuple[float, float]:
        """Move the detector stage; gives its read-back."""
        stage, role = self._instrument.detector_stage, self._instrument.profile.detector_stage
        at_x_um, at_y_um = stage.position_um()[:2]
        if math.dist((at_x_um, at_y_um), target) > role.tolerance_um / 2:
            stage.move_to(target)
            self._wait_until(
                lambda: not stage.is_moving(), role.timeout_s, "detector_stage", "moving"
            )
            self._wait(role.settle_s)
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
        if self._stream is None:
            return HistogramDwell(instrument.card, visit.dwell_s, self._rate_hz, instrument.clock)
        return StreamDwell(
            instrument.card, self._stream, self._plan.card.bins, visit, instrument.clock,
            self._write,
        )  # fmt: skip

    def _count(self, visit: Visit) -> tuple[Histogram, _ReadBacks]:
        """Count for the dwell, reading the other instruments back towards its end."""
        clock = self._instrument.clock
        self._rate_hz = 0.0
        self._look(now=True)
        read: _ReadBacks | None = None
        leg = (visit,)
        with self._keeping(leg), self._dwell(visit) as dwell, light_first(self._darken):
            end_s = clock.now_s() + visit.dwell_s
            deadline_s = end_s + 0.5 * visit.dwell_s + 2.0
            while dwell.is_running(self._rate_hz):
                left_s = end_s - clock.now_s()
                if left_s < POLL_S and read is None:
                    # here, because slow instruments would cost time between the visits
                    read = self._read_back()
                    continue
                if clock.now_s() > deadline_s:
                    self._overdue(dwell, visit, deadline_s - end_s + visit.dwell_s)
                # the last wait ends with the dwell, so that no time is lost between visits;
                # an abort leaves from here, and making safe stops the card
                due_s = dwell.due_s() - clock.now_s()
                self._pause(min(POLL_S, due_s) if due_s > 0 else END_POLL_S)
                self._tell_rates(dwell.brightest_bin())
            histogram = dwell.finish()
            self._tell_rates(int(histogram.counts.max()))
            read = read or self._read_back()
            self._judge(leg, histogram.flags, read)
            if isinstance(dwell, StreamDwell):
                self._keep(dwell.sync_count, histogram.live_s)
        return histogram, read

    def _overdue(self, dwell: Dwell, visit: Visit, waited_s: float) -> None:
        """Give up a card that does not end its dwell; wait, in the dark, for a slow disk."""
        if dwell.is_counting():
            raise DeviceError(
                "card",
                f"a dwell of {visit.dwell_s:g} s has not ended after {waited_s:.1f} s",
                "check the sync signal and the card's connection, then resume the scan",
            )
        if not self._told_slow:
            self._told_slow = True
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

    def _wait(self, seconds: float) -> None:
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
