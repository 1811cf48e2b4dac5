"""The time of a series, shared between its points so that what they tell together is best known.

D at the points is a curve with few parameters, and the information of a second at each point
follows from the curve's gradient and from how well that second knows D. The shares that make the
variance of one parameter least are those of a c-optimal design (Elfving 1952), as for the dwell
within one map; only that a point, once over, cannot be gone back to.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from tplm_analysis import Result as Plain
from tplm_analysis import fit_trend
from tplm_analysis.design import CurveInformation, best_exposure
from tplm_config import InputError, InstrumentProfile, ScanPlan, SeriesPlan, Settings, Share
from tplm_config import Point as PointPlan
from tplm_config.check import OVERHEAD_S, check, estimate
from tplm_daq.events import TimeShared
from tplm_daq.prediction import COUNT_RATE_HZ, predict
from tplm_daq.series.manifest import Entry
from tplm_daq.series.points import check_series, excitation_at, light_of, scan_of, set_up_s

F64 = NDArray[np.float64]
FEWEST = {"tau": 4, "slope": 3}
"""Different points that something is proposed by."""
LN_TAU = 0.7
"""Standard deviation of the logarithm of the relaxation time, where it is only guessed."""
SLOWEST_CM2_PER_S = 1e-4
"""Below this D its error hardly depends on it."""
REACH = 2.0
"""A point is proposed within this factor of the range that was measured."""
PILE_UP = 0.01
"""Counts per pulse above which no point is proposed, nor above what was measured already."""
TRIED = 33
"""Values of the swept quantity that are tried for a proposal."""
UNITS = {
    "power_nw": "nW",
    "fluence_uj_per_cm2": "µJ/cm²",
    "repetition_rate_hz": "Hz",
    "temperature_k": "K",
}


# -- on numbers --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Standing:
    """How far a series has come.

    Attributes
    ----------
    d_cm2_per_s, stderr_cm2_per_s : (point,)
        Of the points that are done; NaN of all others.
    passes_s : (point,)
        Time of the passes so far.
    is_open : (point,) bool
        Points that can still be given time.
    """

    d_cm2_per_s: F64
    stderr_cm2_per_s: F64
    passes_s: F64
    is_open: NDArray[np.bool_]

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Points that say something."""
        return np.isfinite(self.d_cm2_per_s) & (self.passes_s > 0)

    @classmethod
    def fresh(cls, points: int) -> "Standing":
        """Before anything is measured."""
        unknown = np.full(points, np.nan)
        return cls(unknown, unknown.copy(), np.zeros(points), np.full(points, True))


@dataclass(frozen=True, eq=False)
class Shares:
    """How the time is shared.

    Attributes
    ----------
    passes_s, times_s : (point,)
        Further time of the passes of each point, and the same with its set-up; 0 where nothing
        more can be measured.
    stderr, even_stderr : float
        Error of what is wanted that is expected in the end, and with even shares; µs, or cm²/s
        for each unit of the swept quantity; infinite where it will not be known.
    d_cm2_per_s : (point,)
        D that is expected.
    fitted : int
        Number of points in the curve that this was decided by; 0 for guesses alone.
    """

    passes_s: F64
    times_s: F64
    stderr: float
    even_stderr: float
    d_cm2_per_s: F64
    fitted: int


@dataclass(frozen=True, eq=False)
class Curve:
    """D along a series: a relaxation, or a straight line.

    Attributes
    ----------
    fitted : int
        Number of points it was fitted to; 0 for guesses alone.
    d_cm2_per_s : callable
        D at some values of the quantity.
    gradient : callable
        Its derivatives with respect to the parameters, shape (point, parameter).
    wanted : int
        The parameter that is to be known best.
    """

    fitted: int
    d_cm2_per_s: Callable[[F64], F64]
    gradient: Callable[[F64], F64]
    wanted: int


def curve_of(share: Share, x: F64, standing: Standing, guess_cm2_per_s: F64) -> Curve:
    """The curve as far as it is known.

    Parameters
    ----------
    share : Share
        What is wanted, and the guesses.
    x : (point,)
        Time between excitations in µs, or the swept quantity.
    standing : Standing
        What is measured.
    guess_cm2_per_s : (point,)
        D at each point, where a straight line is wanted and nothing is measured.
    """
    known = standing.is_known
    at, d, error = (a[known] for a in (x, standing.d_cm2_per_s, standing.stderr_cm2_per_s))
    if share.so_that == "tau":
        return _relaxation(share, at, d, error)
    if np.unique(at).size >= 3:
        return Curve(at.size, fit_trend(at, d, error).at, _line(x), 1)
    if at.size:
        mean = float(np.average(d, weights=error**-2))
        return Curve(at.size, lambda z: np.full(z.size, mean), _line(x), 1)
    return Curve(0, lambda _: guess_cm2_per_s, _line(x), 1)


def _relaxation(share: Share, at: F64, d: F64, error: F64) -> Curve:
    """The curve nearest to both the points and the guesses, which give way as points come in."""
    memory = share.d_memory_cm2_per_s
    guess = np.array([share.d_slow_cm2_per_s, memory, math.log(share.tau_us)])
    width = np.array([0.2 * memory + share.d_slow_cm2_per_s, memory, LN_TAU])

    def tau_us_of(p: F64) -> float:
        return math.exp(np.clip(p[2], guess[2] - 5 * LN_TAU, guess[2] + 5 * LN_TAU))

    def residuals(p: F64) -> F64:
        left = (p[0] + p[1] * np.exp(-at / tau_us_of(p)) - d) / error
        return np.concatenate([left, (p - guess) / width])

    found = least_squares(residuals, guess, method="lm", x_scale=width).x if at.size else guess
    slow, memory, tau_us = float(found[0]), float(found[1]), tau_us_of(found)

    def gradient(z: F64) -> F64:
        left = np.exp(-z / tau_us)
        return np.column_stack([np.ones_like(z), left, memory * z / tau_us**2 * left])

    return Curve(at.size, lambda z: slow + memory * np.exp(-z / tau_us), gradient, 2)


def _line(x: F64) -> Callable[[F64], F64]:
    middle = float(x.mean())
    return lambda z: np.column_stack([np.ones_like(z), z - middle])


def share_out(
    share: Share,
    x: ArrayLike,
    unit_errors: Callable[[F64], F64],
    set_up_s: ArrayLike,
    standing: Standing,
    left_s: float,
    guess_cm2_per_s: ArrayLike | None = None,
) -> Shares:
    """Share what is left of the time between the points that are not over.

    Parameters
    ----------
    share : Share
        What is wanted.
    x : (point,)
        Time between excitations in µs, or the swept quantity.
    unit_errors : callable
        Predicted error of D after one second of passes at each point, given D at each; only
        their ratios count once a point is done.
    set_up_s : (point,)
        What an open point costs beside its passes.
    standing : Standing
        What is measured.
    left_s : float
        Time that is left, set-up included.
    guess_cm2_per_s : (point,), optional
        D before anything is measured, for a straight line.
    """
    at, costs_s = np.asarray(x, dtype=np.float64), np.asarray(set_up_s, dtype=np.float64)
    guess = np.full(at.size, share.d_slow_cm2_per_s)
    if guess_cm2_per_s is not None:
        guess = np.asarray(guess_cm2_per_s, dtype=np.float64)
    curve = curve_of(share, at, standing, guess)
    d = curve.d_cm2_per_s(at)
    units = _calibrated(unit_errors(d), standing)
    is_open, counted_s = standing.is_open, standing.passes_s
    # what is over and has no D tells nothing
    counted_s = np.where(is_open | standing.is_known, counted_s, 0.0)
    known = CurveInformation(curve.gradient(at), units, curve.wanted)
    budget_s = max(left_s - float(costs_s[is_open].sum()), 0.0)
    passes_s = best_exposure(known, counted_s, budget_s, share.floor, is_open)
    even_s = np.where(is_open, budget_s / max(int(is_open.sum()), 1), 0.0)
    return Shares(
        passes_s=passes_s,
        times_s=np.where(is_open, passes_s + costs_s, 0.0),
        stderr=math.sqrt(known.variances(counted_s + passes_s)[0]),
        even_stderr=math.sqrt(known.variances(counted_s + even_s)[0]),
        d_cm2_per_s=d,
        fitted=curve.fitted,
    )


def _calibrated(units: F64, standing: Standing) -> F64:
    """Errors after one second: measured where they are, else predicted, on the same scale."""
    known = standing.is_known
    measured = standing.stderr_cm2_per_s[known] * np.sqrt(standing.passes_s[known])
    ratio = float(np.median(measured / units[known])) if known.any() else 1.0
    found = ratio * units
    found[known] = measured
    return found


# -- on a plan ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a point will take, before anything is opened.

    Attributes
    ----------
    scan : ScanPlan
        Its scan.
    x : float
        Time between excitations in µs, or the swept quantity.
    prepare_s : float
        Until its first visit: settings, the cryostat's way, the search for the peak.
    before_s, after_s : float
        Visits before and after the passes.
    pass_s : float
        One pass, travel included.
    count_rate_hz : float
        At its centre, in proportion to the brightest point.
    guess_cm2_per_s : float
        D by the guesses of the plan.
    """

    scan: ScanPlan
    x: float
    prepare_s: float
    before_s: float
    after_s: float
    pass_s: float
    count_rate_hz: float
    guess_cm2_per_s: float

    @property
    def beside_s(self) -> float:
        """All that is not a pass, and the end of a visit that runs when the time is over."""
        return self.prepare_s + self.before_s + self.after_s + self.visit_s

    @property
    def visit_s(self) -> float:
        """The last visit, which is not cut short."""
        return self.pass_s / self.scan.place_count

    @property
    def counting(self) -> float:
        """Share of the time of a pass that counts."""
        return self.scan.dwell_s * self.scan.place_count / self.pass_s

    def unit_error(self, profile: InstrumentProfile, d_cm2_per_s: float) -> float:
        """Predicted error of D after one second of passes, cm²/s·√s."""
        d = max(d_cm2_per_s, SLOWEST_CM2_PER_S)
        error = predict(self.scan, profile, self.count_rate_hz, d)
        return math.inf if error is None else error * math.sqrt(self.scan.passes * self.pass_s)


def prospects_of(
    plan: SeriesPlan,
    profile: InstrumentProfile,
    count_rate_hz: float = COUNT_RATE_HZ,
    source: str | Path = "series",
) -> list[Prospect]:
    """What each point of a series with [share] will take.

    Raises
    ------
    InputError
        If the instrument cannot carry it out, the time between excitations is not known but
        wanted, or there is not time for one pass at each point.
    """
    share = _share_of(plan)
    checked = [(point, scan) for point, scan, _ in check_series(plan, profile, source)]
    brightest = max(light_of(scan) for _, scan in checked)
    before_k: float | None = None
    found = []
    for point, scan in checked:
        rate_hz = count_rate_hz * light_of(scan) / brightest
        found.append(_prospect(plan, point, scan, profile, rate_hz, before_k, source))
        before_k = None if scan.temperature is None else scan.temperature.set_point_k
    beside_s = sum(each.beside_s for each in found)
    longest_s = max(each.pass_s for each in found)
    least_s = beside_s + len(found) * longest_s / share.floor
    if share.time_s < least_s:
        raise InputError(
            source,
            f"found {share.time_s:g} s",
            f"{len(found)} points take {beside_s:.4g} s beside their passes, and each must have "
            f"time for one of {longest_s:.3g} s: at least {math.ceil(least_s)} s are needed, or "
            "fewer positions, a shorter dwell, a higher floor",
            "share.time_s",
        )
    return found


def _share_of(plan: SeriesPlan) -> Share:
    if plan.share is None:
        raise ValueError("the series shares no time")
    return plan.share


def _prospect(
    plan: SeriesPlan,
    point: PointPlan,
    scan: ScanPlan,
    profile: InstrumentProfile,
    rate_hz: float,
    before_k: float | None,
    source: str | Path = "series",
) -> Prospect:
    share = _share_of(plan)
    one_s, two_s = (
        estimate(scan.model_copy(update={"passes": passes}), profile).duration_s
        for passes in (1, 2)
    )
    pass_s = two_s - one_s
    dark = scan.background
    after_s = dark.dwell_s + OVERHEAD_S if dark and dark.when in ("after", "both") else 0.0
    before_s = dark.dwell_s + OVERHEAD_S if dark and dark.when in ("before", "both") else 0.0
    before_s += scan.irf.dwell_s + OVERHEAD_S if scan.irf else 0.0
    search_s = max(one_s - pass_s - before_s - after_s, 0.0)
    interval_us = _interval_us(plan, scan, profile)
    if share.so_that == "tau":
        if interval_us is None:
            raise InputError(
                f"{source}: point {point.index} ({point.label})",
                "the time between excitations is not known",
                "[share] for tau needs power_nw or fluence_uj_per_cm2, and repetition_rate_hz",
                "share.so_that",
            )
        x = interval_us
    else:
        (name,) = plan.varied
        x = float(getattr(point.settings, name))
    relaxed = 0.0 if interval_us is None else math.exp(-interval_us / share.tau_us)
    return Prospect(
        scan=scan,
        x=x,
        prepare_s=set_up_s(scan, before_k) + search_s,
        before_s=before_s,
        after_s=after_s,
        pass_s=pass_s,
        count_rate_hz=scan.detection.count_rate_hz or rate_hz,
        guess_cm2_per_s=share.d_slow_cm2_per_s + share.d_memory_cm2_per_s * relaxed,
    )


def _interval_us(plan: SeriesPlan, scan: ScanPlan, profile: InstrumentProfile) -> float | None:
    power_nw, rate_hz = scan.excitation.power_nw, scan.excitation.repetition_rate_hz
    if not (power_nw and rate_hz):
        return None
    return excitation_at(plan, profile, power_nw, rate_hz).mean_time_between_excitations_us


class SharedTime:
    """Decides before each point of a series how long it counts.

    Parameters
    ----------
    plan : SeriesPlan
        With [share].
    profile : InstrumentProfile
        The instrument.
    count_rate_hz : float
        Count rate at the centre of the brightest point, until one is measured.
    source : str or Path
        Where the plan came from, for messages.

    Raises
    ------
    InputError
        If the time cannot be shared.
    """

    def __init__(
        self,
        plan: SeriesPlan,
        profile: InstrumentProfile,
        count_rate_hz: float = COUNT_RATE_HZ,
        source: str | Path = "series",
    ) -> None:
        self.plan, self.profile = plan, profile
        self.share = _share_of(plan)
        self.prospects = prospects_of(plan, profile, count_rate_hz, source)

    def foresee(self) -> Shares:
        """How the time would be shared if the guesses of the plan held."""
        fresh, slower = Standing.fresh(len(self.prospects)), np.ones(len(self.prospects))
        return self._share_out(self.x(()), fresh, self.share.time_s, slower)

    def shares(
        self, entries: Sequence[Entry], is_open: Collection[int], left_s: float | None = None
    ) -> Shares:
        """How the time is shared between the points that are not over.

        Parameters
        ----------
        entries : sequence of Entry
            All points.
        is_open : collection of int
            Numbers of those that are not over.
        left_s : float, optional
            Time to share; what is left of the series if not given.
        """
        if left_s is None:
            left_s = self.left_s(entries)
        standing = self.standing(entries, is_open)
        return self._share_out(self.x(entries), standing, left_s, self._slower(entries))

    def left_s(self, entries: Sequence[Entry]) -> float:
        """Time of the instrument that no point has taken yet."""
        return self.share.time_s - sum(entry.spent_s for entry in entries)

    def x(self, entries: Sequence[Entry]) -> F64:
        """Time between excitations in µs, as read back where it was, or the swept quantity."""
        found = np.array([each.x for each in self.prospects])
        for entry in entries if self.share.so_that == "tau" else ():
            result = entry.result
            if result is not None and result.time_between_excitations_us is not None:
                found[entry.index] = result.time_between_excitations_us
        return found

    def unit_errors(self, d_cm2_per_s: F64) -> F64:
        """Predicted error of D after one second of passes at each point, given D at each."""
        pairs = zip(self.prospects, d_cm2_per_s, strict=True)
        return np.array([each.unit_error(self.profile, float(d)) for each, d in pairs])

    def standing(self, entries: Sequence[Entry], is_open: Collection[int]) -> Standing:
        """How far the series has come, from its manifest."""
        found = Standing.fresh(len(entries))
        for entry, each in zip(entries, self.prospects, strict=True):
            found.passes_s[entry.index] = entry.counted_s / each.counting
            found.is_open[entry.index] = entry.index in is_open
            result = entry.result
            if entry.index in is_open or result is None:
                continue
            if result.d_cm2_per_s is not None and result.d_stderr_cm2_per_s:
                found.d_cm2_per_s[entry.index] = result.d_cm2_per_s
                found.stderr_cm2_per_s[entry.index] = result.d_stderr_cm2_per_s
        return found

    def decide(
        self, entries: Sequence[Entry], is_open: Collection[int], index: int
    ) -> tuple[TimeShared, float]:
        """Decide on the next point.

        Parameters
        ----------
        entries : sequence of Entry
            All points.
        is_open : collection of int
            Numbers of those that are not over, this one included.
        index : int
            The next one.

        Returns
        -------
        TimeShared
            What was decided.
        float
            How long it may measure from its first visit on, s; below zero if there is no time.
        """
        share, each = self.share, self.prospects[index]
        left_s = self.left_s(entries)
        found = self.shares(entries, is_open)
        time_s = float(found.times_s[index])
        name, unit = ("τ", "µs") if share.so_that == "tau" else ("the slope", "cm²/s per unit")
        stderr = found.stderr if math.isfinite(found.stderr) else None
        end = "" if stderr is None else f" (± {stderr:.2g} {unit} in the end)"
        by = "the guesses of the plan"
        if found.fitted:
            by = f"the curve so far, of {found.fitted} point{'s' if found.fitted > 1 else ''}"
        why = (
            f"point {index} ({entries[index].label}) gets {time_s:.4g} of the {left_s:.4g} s left, "
            f"so that {name} is known best{end}, by {by}"
        )
        shares_s = tuple(round(float(s), 3) for s in found.times_s)
        told = TimeShared(index, time_s, left_s, why, shares_s, share.so_that, stderr)
        slower = float(self._slower(entries)[index])
        limit_s = time_s - slower * each.prepare_s - each.after_s - each.visit_s
        return told, limit_s

    def _slower(self, entries: Sequence[Entry]) -> F64:
        """How much longer than foreseen the settings take, by the points that had them."""
        ratios = [
            entry.prepare_s / each.prepare_s
            for entry, each in zip(entries, self.prospects, strict=True)
            if entry.prepare_s is not None
        ]
        return np.full(len(entries), float(np.median(ratios)) if ratios else 1.0)

    def _share_out(self, x: F64, standing: Standing, left_s: float, slower: F64) -> Shares:
        each = self.prospects
        return share_out(
            self.share,
            x,
            self.unit_errors,
            [p.beside_s + (k - 1) * p.prepare_s for p, k in zip(each, slower, strict=True)],
            standing,
            left_s,
            [p.guess_cm2_per_s for p in each],
        )


# -- the next point ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal(Plain):
    """The point that would tell most next.

    Attributes
    ----------
    quantity : str
        The quantity to set: a key of [[points]].
    value : float
        Its value; everything else as at the point `like`.
    like : int
        Number of that point.
    time_s : float
        Time it would take, set-up included.
    wanted : str
        ``tau`` or ``slope``.
    stderr_now, stderr_then : float
        Error of that now, and with the further point.
    time_between_excitations_us : float or None
        That it would have.
    """

    SOURCE: ClassVar[str] = "The project's own; c-optimal design (Elfving 1952)"

    quantity: str
    value: float
    like: int
    time_s: float
    wanted: str
    stderr_now: float
    stderr_then: float
    time_between_excitations_us: float | None

    def __str__(self) -> str:
        unit = "µs" if self.wanted == "tau" else f"cm²/s per {UNITS[self.quantity]}"
        name = "τ" if self.wanted == "tau" else "the slope"
        apart = self.time_between_excitations_us
        between = "" if apart is None else f", {apart:.3g} µs between excitations"
        return (
            f"{self.quantity} = {self.value:.4g} {UNITS[self.quantity]}{between}: "
            f"{self.time_s:.4g} s there would take the error of {name} from "
            f"{self.stderr_now:.2g} to {self.stderr_then:.2g} {unit}"
        )


def propose(
    entries: Sequence[Entry],
    plan: SeriesPlan,
    profile: InstrumentProfile,
    time_s: float | None = None,
) -> Proposal | None:
    """Find the point that would tell most next, within a factor 2 of the range that was measured.

    Parameters
    ----------
    entries : sequence of Entry
        Of a series with [share].
    plan, profile
        Of the series.
    time_s : float, optional
        Time for it, set-up included; what the points so far took in the mean if not given.

    Returns
    -------
    Proposal or None
        None where there is no curve yet, or no time for a pass.
    """
    shared = SharedTime(plan, profile)
    share = shared.share
    standing = shared.standing(entries, ())
    known = np.flatnonzero(standing.is_known)
    x = shared.x(entries)
    curve = curve_of(share, x, standing, np.zeros(x.size))
    if np.unique(x[known]).size < FEWEST[share.so_that]:
        return None
    if time_s is None:
        time_s = float(np.mean([entries[int(i)].spent_s for i in known]))
    units = _calibrated(shared.unit_errors(curve.d_cm2_per_s(x)), standing)
    counted_s = np.where(standing.is_known, standing.passes_s, 0.0)
    now, _ = CurveInformation(curve.gradient(x), units, curve.wanted).variances(counted_s)
    if not math.isfinite(now):
        return None
    predicted = shared.unit_errors(curve.d_cm2_per_s(x))[known]
    ratio = float(np.median(units[known] / predicted))
    low, high = float(x[known].min()), float(x[known].max())
    tried = np.unique(np.append(np.geomspace(low / REACH, high * REACH, TRIED), x[known]))
    best: Proposal | None = None
    for value in tried:
        like = int(known[np.argmin(np.abs(np.log(x[known] / value)))])
        found = _at(shared, entries, like, float(x[like]), float(value))
        if found is None:
            continue
        settings, there = found
        passes_s = time_s - there.beside_s
        if passes_s < there.pass_s:
            continue
        at = np.append(x, value)
        d = float(curve.d_cm2_per_s(np.array([value]))[0])
        unit = ratio * there.unit_error(profile, d)
        more = CurveInformation(curve.gradient(at), np.append(units, unit), curve.wanted)
        then, _ = more.variances(np.append(counted_s, passes_s))
        if best is None or then < best.stderr_then**2:
            quantity = _turned(entries[like].settings, plan)
            interval_us = _interval_us(plan, there.scan, profile)
            best = Proposal(
                quantity, float(getattr(settings, quantity)), like, time_s, share.so_that,
                math.sqrt(now), math.sqrt(then), interval_us,
            )  # fmt: skip
    return best


def _turned(settings: Settings, plan: SeriesPlan) -> str:
    """The quantity that is to be changed from a point that was measured."""
    if plan.share is not None and plan.share.so_that == "slope":
        return plan.varied[0]
    if settings.fluence_uj_per_cm2 is None:
        return "power_nw"
    # at one fluence the rate alone changes the time between excitations
    return "repetition_rate_hz" if "repetition_rate_hz" in plan.varied else "fluence_uj_per_cm2"


def _at(
    shared: SharedTime, entries: Sequence[Entry], like: int, x: float, value: float
) -> tuple[Settings, Prospect] | None:
    """Another point, at a value of the quantity; None where the instrument cannot go."""
    plan, profile, known = shared.plan, shared.profile, shared.prospects[like]
    settings, light = entries[like].settings, known.scan.excitation
    quantity = _turned(settings, plan)
    if shared.share.so_that == "slope":
        setting = value
    else:
        # the time between excitations goes with one over each of them
        was = getattr(settings, quantity)
        was = getattr(light, quantity) if was is None else was
        setting = was * x / value
    changed = settings.model_copy(update={quantity: setting})
    point = PointPlan(like, str(changed), changed)
    scan = scan_of(plan, point, profile)
    rate_hz = scan.excitation.repetition_rate_hz
    try:
        check(scan.model_copy(update={"passes": 1}), profile)
    except InputError:
        return None
    rate = known.count_rate_hz
    if scan.detection.count_rate_hz is None:
        brighter = light_of(scan) / light_of(known.scan)
        rate *= brighter
        if brighter > 1 and _too_bright(entries[like], brighter, rate_hz, profile):
            return None
    warmth = known.scan.temperature
    before_k = None if warmth is None else warmth.set_point_k
    return changed, _prospect(plan, point, scan, profile, rate, before_k)


def _too_bright(
    like: Entry, brighter: float, rate_hz: float | None, profile: InstrumentProfile
) -> bool:
    """Whether so many times the light of a point would be too much for the detector."""
    result = like.result
    if result is None or result.counts_per_pulse is None or result.repetition_rate_hz is None:
        return False
    count_rate_hz = brighter * result.counts_per_pulse * result.repetition_rate_hz
    pulses_hz = rate_hz or result.repetition_rate_hz
    return count_rate_hz > min(profile.limits.detector_count_rate_hz, PILE_UP * pulses_hz)


__all__ = [
    "Proposal",
    "Prospect",
    "SharedTime",
    "Shares",
    "Standing",
    "propose",
    "prospects_of",
    "share_out",
]
