"""Deciding on the way: where the next pass counts, and whether the scan has told enough."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from tplm_analysis import LiveMap, MapSoFar, coates
from tplm_analysis.design import Information, best_exposure
from tplm_config import InstrumentProfile, Leg, ScanPlan, Visit, VisitKind
from tplm_config.check import OVERHEAD_S
from tplm_daq.events import Decided, Event, Notice, VisitRecord
from tplm_daq.prediction import light_of
from tplm_daq.store import Scan, ScanMap, project

FEWEST_POSITIONS = 5
"""Below this many measured positions there is nothing to fit."""
MARGIN = 1.05
"""A last pass that should just do is made so much longer."""
PAIR = 2
"""Passes that are decided together."""
SHORTEST_PASS = 0.1
"""Share of a whole pass."""
SLICES = 24
"""Of the light that a decision is made from."""
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class _Known:
    """A map with its fit, and D."""

    fit: MapSoFar
    found: ScanMap
    d_cm2_per_s: float
    stderr_cm2_per_s: float


class DecidedRoute:
    """A route that is decided pass by pass.

    The counts of what is measured come by `take`; the map is fitted, and the decision made and
    told, between two passes, with the light blocked no longer than for any step of the stage.

    Parameters
    ----------
    plan : ScanPlan
        With a goal, a time limit or ``adaptive``.
    profile : InstrumentProfile
        For what a move of the stage costs.
    scan : Scan
        The file as it stands.
    todo : sequence of Visit
        Visits that are not in it, in the order of the plan.
    tell : callable
        Told of every decision.
    limit_s : float, optional
        The scan ends after this time since the first leg of this run too.
    """

    def __init__(
        self,
        plan: ScanPlan,
        profile: InstrumentProfile,
        scan: Scan,
        todo: Sequence[Visit],
        tell: Callable[[Event], None],
        limit_s: float | None = None,
    ) -> None:
        self._plan = plan
        self._tell = tell
        self._limit_s = limit_s
        self._first_s: float | None = None
        self._counts = scan.position_counts.copy()
        self._exposure_s = scan.exposure_s.copy()
        self._pulses = scan.pulses.copy()
        self._t_ns = scan.header.t_ns
        self._live: LiveMap | None = None
        self._warned = self._has_ended = False
        passes = scan.columns["pass_index"][scan.stored]
        last = int(passes.max(initial=-1))
        adaptive = plan.adaptive
        if adaptive is not None and last >= adaptive.first_passes:
            # what an earlier pass left out was left out on purpose
            todo = [v for v in todo if v.pass_index < 0 or v.pass_index > last]
        first = next(visit.index for visit in plan.visits() if visit.pass_index >= 0)
        self._after = deque(v for v in todo if v.pass_index < 0 and v.index > first)
        within = [v for v in todo if v.pass_index >= 0]
        self._passes = deque(
            (index, list(visits)) for index, visits in groupby(within, lambda v: v.pass_index)
        )
        self._now = deque(v for v in todo if v.index < first)
        self._owed_s = np.zeros(plan.place_count)
        self._share_s: F64 | None = None
        self.reached = "all visits measured"
        step_um = _step_um(plan) * profile.optics.magnification
        self._visit_cost_s = profile.travel_s(step_um) + OVERHEAD_S

    @property
    def left(self) -> int:
        """How many visits there are still to be, at most."""
        return len(self._now) + sum(len(visits) for _, visits in self._passes) + len(self._after)

    def next_leg(self, elapsed_s: float) -> Leg | None:
        """The next visit; between two passes the decision is made."""
        if self._first_s is None:
            self._first_s = elapsed_s
        over = self._time_over(elapsed_s, elapsed_s - self._first_s)
        if over and not self._has_ended and (self._now or self._passes):
            self._end(Decided(self._pass_index, over, ends=True))
        while not self._now and self._passes:
            self._decide(elapsed_s)
        if not self._now and self._plan.adaptive is not None and not self._has_ended:
            why = f"all {self._plan.passes} passes that the plan allows are done"
            self._end(Decided(self._pass_index, why, ends=True))
        coming = self._now or self._after
        return (coming.popleft(),) if coming else None

    def take(self, record: VisitRecord) -> None:
        """Add the counts of a visit to the map."""
        if record.visit.kind is VisitKind.MAP:
            self._counts[record.visit.position_index] += record.counts
            self._exposure_s[record.visit.position_index] += record.live_s
            self._pulses[record.visit.position_index] += record.live_s * record.sync_rate_hz

    # -- deciding -------------------------------------------------------------------------

    @property
    def _pass_index(self) -> int:
        return self._passes[0][0] if self._passes else self._plan.passes

    def _time_over(self, elapsed_s: float, run_s: float) -> str:
        """Which time is over, in words; empty if none is."""
        limit_s = self._plan.time_limit_s
        if limit_s is not None and elapsed_s >= limit_s:
            return f"the time limit of {limit_s:g} s is reached"
        if self._limit_s is not None and run_s >= self._limit_s:
            return f"its share of the time of the series is over, {self._limit_s:.4g} s of passes"
        return ""

    def _end(self, decision: Decided) -> None:
        self._tell(decision)
        self.reached = decision.why
        self._has_ended = True
        self._passes.clear()
        self._now.clear()

    def _decide(self, elapsed_s: float) -> None:
        """Choose the next pass, or end the scan."""
        index, visits = self._passes[0]
        adaptive, goal = self._plan.adaptive, self._plan.goal
        if index < (1 if adaptive is None else adaptive.first_passes):
            self._take_pass(visits)
            return
        known = self._known()
        if isinstance(known, str):
            self._tell(Decided(index, f"{known}: this pass counts everywhere alike"))
            self._take_pass(visits)
            return
        d, error = known.d_cm2_per_s, known.stderr_cm2_per_s
        wanted = None if goal is None else goal.stderr_cm2_per_s(d)
        so_far = f"D = {d:.4g} ± {error:.2g} cm²/s"
        if wanted is not None and error <= wanted:
            self._end(Decided(index, f"{so_far}: {goal} is reached", True, (), d, error))
            return
        if adaptive is None:
            needed_s = None if wanted is None else elapsed_s * ((error / wanted) ** 2 - 1)
            self._warn(index, elapsed_s, needed_s, d, error)
            self._tell(Decided(index, f"{so_far} so far", False, (), d, error, needed_s))
            self._take_pass(visits)
            return
        # forth and back alike: what drifts meanwhile is then the same at every place
        pair = list(self._passes)[:PAIR]
        dwell_s, needed_s = self._place(adaptive.floor, known, wanted, len(pair))
        self._warn(index, elapsed_s, needed_s, d, error)
        why = f"{so_far} so far; the time goes where it tells most"
        told = tuple(round(float(s), 4) for s in dwell_s)
        for coming, visits_of_it in pair:
            self._tell(Decided(coming, why, False, told, d, error, needed_s))
            self._take_pass(visits_of_it, dwell_s)

    def _place(
        self, floor: float, known: _Known, wanted: float | None, passes: int
    ) -> tuple[F64, float | None]:
        """Place the dwell of the next passes; with the time still needed, if there is a goal."""
        information = self._information(known)
        pass_s = self._plan.dwell_s * self._plan.place_count
        share = best_exposure(information, self._exposure_s, pass_s, floor, start=self._share_s)
        variance, _ = information.variances(self._exposure_s)
        budget_s, times = pass_s, None
        if wanted is not None and math.isfinite(variance):
            # the information is that of the light alone: what is measured says how far it is off
            goal = variance * (wanted / known.stderr_cm2_per_s) ** 2
            times = _times_needed(information, self._exposure_s, share, goal)
            budget_s = pass_s * min(max(MARGIN * times / passes, SHORTEST_PASS), 1.0)
            if times > 1:
                whole_s = times * pass_s
                share = best_exposure(information, self._exposure_s, whole_s, floor, start=share)
                share /= times
        self._share_s = share
        dwell_s = self._dwells(self._balanced(share, known) * budget_s / pass_s)
        if times is None:
            return dwell_s, None
        travel_s = self._visit_cost_s * np.count_nonzero(dwell_s)
        return dwell_s, times * pass_s * (1 + travel_s / max(float(dwell_s.sum()), 1e-9))

    def _balanced(self, share_s: F64, known: _Known) -> F64:
        """Give both flanks the same time, so that they are measured at the same mean time.

        Which side gets more is chance where both tell the same; with a drift it would shift D.
        """
        center_um, sigma_um = known.fit.slices.center_um, known.fit.slices.sigma0_nm
        if center_um is None or sigma_um is None:
            return share_s
        off_um = self._line_um() - center_um
        sides = [off_um < -sigma_um / 1e3, off_um > sigma_um / 1e3]
        times_s = [float(share_s[side].sum()) for side in sides]
        if min(times_s) <= 0:
            return share_s
        balanced_s = share_s.copy()
        for side, time_s in zip(sides, times_s, strict=True):
            balanced_s[side] *= sum(times_s) / 2 / time_s
        return balanced_s

    def _take_pass(self, visits: list[Visit], dwell_s: F64 | None = None) -> None:
        """Make the visits of a pass the next ones."""
        self._passes.popleft()
        for visit in visits:
            if dwell_s is None or visit.kind is not VisitKind.MAP:
                self._now.append(visit)
            elif dwell_s[visit.position_index] > 0:
                self._now.append(replace(visit, dwell_s=float(dwell_s[visit.position_index])))

    def _dwells(self, share_s: F64) -> F64:
        """Dwells of a pass: what is too short to be worth the way waits for a later pass."""
        self._owed_s += share_s
        worth = self._owed_s >= self._visit_cost_s
        if not worth.any():
            worth = self._owed_s >= self._owed_s.max()
        dwell_s = np.where(worth, self._owed_s, 0.0)
        self._owed_s[worth] = 0.0
        return dwell_s

    def _known(self) -> _Known | str:
        """What is known of the map by now, or why D is not."""
        found = project(
            self._plan, _without_pile_up(self._counts, self._pulses), self._exposure_s, self._t_ns
        )
        if np.count_nonzero(found.exposure_s) < FEWEST_POSITIONS:
            return f"fewer than {FEWEST_POSITIONS} places are measured"
        self._live = self._live or LiveMap(found.x_um, found.t_ns)
        try:
            fit = self._live.update(found.counts, found.exposure_s, corrected=True)
        except ValueError as error:
            # whatever is wrong with this map, counting evenly loses nothing
            self._live = None
            return f"this map cannot be fitted ({error})"
        if fit.d_cm2_per_s is None or fit.d_stderr_cm2_per_s is None:
            return "D is not known yet"
        return _Known(fit, found, fit.d_cm2_per_s, fit.d_stderr_cm2_per_s)

    def _information(self, known: _Known) -> Information:
        """Of a second at each place of the plan, by the light seen so far."""
        adaptive = self._plan.adaptive
        light = light_of(known.fit, known.found).pooled(SLICES)
        robust = adaptive is not None and adaptive.mode == "robust"
        return Information(light, self._line_um(), robust=robust)

    def _line_um(self) -> F64:
        """Where the places of an adaptive plan lie along their line."""
        places = self._plan.places()
        x_um = np.array([place.x_um for place in places])
        return x_um if np.ptp(x_um) > 0 else np.array([place.y_um for place in places])

    def _warn(
        self, index: int, elapsed_s: float, needed_s: float | None, d: float, error: float
    ) -> None:
        """Say early that the goal will not be reached."""
        plan = self._plan
        if needed_s is None or self._warned or error > 0.5 * abs(d):
            return
        left_s = (plan.passes - index) * elapsed_s / max(index, 1)
        which = f"its {plan.passes} passes end"
        if plan.time_limit_s is not None and plan.time_limit_s - elapsed_s < left_s:
            left_s, which = plan.time_limit_s - elapsed_s, "its time limit comes"
        if needed_s > left_s:
            self._warned = True
            by_then = error * math.sqrt(elapsed_s / (elapsed_s + left_s))
            words = (
                f"at this light {plan.stop_when} needs about {needed_s / 60:.3g} min more, but "
                f"{which} in about {left_s / 60:.3g} min, with D known to ± {by_then:.2g} cm²/s; "
                "more light, more passes or a longer time limit would help"
            )
            self._tell(Notice("warning", "goal", words))


def _without_pile_up(counts: NDArray[np.int64], pulses: F64) -> NDArray[np.int64] | F64:
    """Give the counts of each place as without pile-up, if the pulses are known."""
    if not np.isfinite(pulses).all():
        return counts
    try:
        return coates(counts, pulses)
    except ValueError:  # more counts than pulses: the sync rate was misread
        return counts


def _times_needed(information: Information, counted_s: F64, share_s: F64, variance: float) -> float:
    """How many times a share of exposures is needed to bring Var(D) down to a value."""
    low, high = 0.0, 1.0
    while information.variances(counted_s + high * share_s)[0] > variance:
        low, high = high, 2 * high
        if high > 1e6:
            return high
    for _ in range(12):
        middle = (low + high) / 2
        if information.variances(counted_s + middle * share_s)[0] > variance:
            low = middle
        else:
            high = middle
    return high


def _step_um(plan: ScanPlan) -> float:
    places = plan.places()
    if len(places) < 2:
        return 0.0
    return math.dist((places[0].x_um, places[0].y_um), (places[1].x_um, places[1].y_um))


__all__ = ["DecidedRoute"]
