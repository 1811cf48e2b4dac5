"""Where the emission peak is: found, followed by the reference, and aimed at."""

import math
from dataclasses import replace

import numpy as np

from tplm_config import Centring, Focus, ScanPlan, Visit, VisitKind
from tplm_daq.centring import (
    Blur,
    ExposeAt,
    Limits,
    Peak,
    Vertex,
    dimness,
    find_focus,
    find_peak,
    sample_limits_um,
    width,
)
from tplm_daq.events import Centred
from tplm_daq.exposing import Exposing
from tplm_daq.handling import Director, Handling
from tplm_daq.sample_place import SamplePlace
from tplm_drivers import DeviceError, Histogram, Instrument

DRIFT_SIGMAS = 3.0
"""Standard errors by which the reference must have changed before the peak is searched for."""


class Aiming:
    """Finds the emission peak, and the focus, and says where the detector has to go.

    Parameters
    ----------
    runner : Director
        Told where the peak was found.
    instrument : Instrument
        Open devices.
    handling, exposing, sample
        Move the detector, count, and move the sample.
    plan : ScanPlan
        Says when and how.
    zero_s : float
        Device time at which the scan began.
    """

    def __init__(
        self,
        runner: Director,
        instrument: Instrument,
        handling: Handling,
        exposing: Exposing,
        sample: SamplePlace,
        plan: ScanPlan,
        zero_s: float,
    ) -> None:
        self._runner = runner
        self._laser = instrument.laser
        self._profile = instrument.profile
        self._handling = handling
        self._exposing = exposing
        self._sample = sample
        self._plan = plan
        self._zero_s = zero_s
        self._aim_um = (0.0, 0.0)
        """Where the peak was found, which the places of the plan are relative to."""
        self._centred: Centred | None = None
        self._since_centring = 0
        self._reference: tuple[float, float] | None = None
        """Counts and counting time of the first reference after the last centring."""
        self._has_drifted = False

    def aimed(self, visit: Visit) -> Visit:
        """The same visit in the coordinates of the profile."""
        x_um, y_um = self._aim_um
        return replace(visit, x_um=visit.x_um + x_um, y_um=visit.y_um + y_um)

    def go_to(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Move the detector to a place of the plan; gives the stage's read-back."""
        aim_x_um, aim_y_um = self._aim_um
        target = self._profile.stage_position_um(x_um + aim_x_um, y_um + aim_y_um)
        return self._handling.go_to_reading(target)

    def is_due(self, visit: Visit) -> bool:
        """Whether the peak is to be found again before a visit."""
        how = self._plan.centring
        if how is None or visit.kind not in (VisitKind.MAP, VisitKind.REFERENCE):
            return False
        by_count = how.every_visits is not None and self._since_centring >= how.every_visits
        return by_count or self._has_drifted

    def measured(self, visits: int) -> None:
        """Count visits."""
        self._since_centring += visits

    def centre(self, how: Centring, next_index: int) -> None:
        """Find the emission peak, and the focus, and aim there."""
        self._handling.set_shutter(True)
        expose_at, limits_um = self._expose_at(how, next_index), sample_limits_um(self._profile)
        focus = None
        try:
            peak = find_peak(expose_at, self._aim_um, how, limits_um)
            if how.focus is not None:
                focus = self._refocus(peak, how, how.focus, expose_at, limits_um)
                peak = find_peak(expose_at, (peak.x_um, peak.y_um), how, limits_um)
        except DeviceError:
            if not self._laser.emission():
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
            self._handling.clock.now_s() - self._zero_s, peak.x_um, peak.y_um, peak.x_stderr_um,
            peak.y_stderr_um, peak.sigma_um, peak.peak_hz,
            None if focus is None else focus.z_um, None if focus is None else focus.stderr_um,
        )  # fmt: skip
        self._runner.emit(self._centred)

    def follow(self, visit: Visit, histogram: Histogram) -> None:
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

    def _expose_at(self, how: Centring, next_index: int) -> ExposeAt:
        """Counting at a place of the sample plane."""

        def expose_at(x_um: float, y_um: float) -> tuple[float, float]:
            self._handling.go_to_reading(self._profile.stage_position_um(x_um, y_um))
            return self._exposing.expose(how.dwell_s, next_index)

        return expose_at

    def _refocus(
        self, peak: Peak, how: Centring, focus: Focus, expose_at: ExposeAt, limits_um: Limits
    ) -> Vertex:
        """Find the focus with the sample stage, which stays there."""
        here = peak.x_um, peak.y_um

        def blur_at(z_um: float) -> Blur:
            read_um = self._sample.go_to_z(z_um)
            if focus.by == "width":
                return Blur(read_um, *width(expose_at, here, how, limits_um))
            return Blur(read_um, *dimness(expose_at(*here)[0]))

        z_um, travel_um = self._sample.focus_um()
        vertex = find_focus(blur_at, z_um, focus.half_range_um, focus.steps, travel_um)
        self._sample.keep_z(vertex.z_um)
        return vertex

    def _check_reach(self, x_um: float, y_um: float) -> None:
        """Refuse a centre around which the stage cannot reach every place of the plan."""
        limits_um = sample_limits_um(self._profile)
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
