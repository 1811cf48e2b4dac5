"""Intermittency of single particles: on-fractions, durations and their distribution (S4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import gammaln, pdtr, pdtrc, zeta

from .maps import FloatArray
from .results import Result

DurationLaw = Literal["power-law", "truncated-power-law"]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

FRAME_S = 0.02
THRESHOLD_HZ = 5000.0
"""S4: a particle is on in a frame of 20 ms with more than 100 counts."""
DARK_BELOW = 0.1
"""S4: a particle that is on for less than 10 % of the time is dark."""
TRUNCATED_LR = 2.71
"""2 Δ ln L above which a truncation is taken for real. A power law is the edge of the truncated
ones, so that it exceeds this value by chance in 5 % of the cases (half a χ² of one degree)."""
FEWEST_DURATIONS = 10
_FEWEST_CYCLES = 5
_CHANGE_BINS = 20
_ALPHA_LIMITS = (-1.0, 8.0)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_TERMS = np.arange(32.0)


def bin_photons(
    arrival_s: ArrayLike, frame_s: float = FRAME_S, duration_s: float | None = None
) -> IntArray:
    """Count the photons of a stream in frames; those of a last, incomplete frame are left out.

    Parameters
    ----------
    arrival_s : (photon,)
        Arrival times since the start, in any order.
    frame_s
        Length of a frame.
    duration_s
        How long was measured; up to the last photon if not given.

    Returns
    -------
    (frame,) int64
        Counts.

    Raises
    ------
    ValueError
        When there is no complete frame, or an arrival is negative or not a number.
    """
    arrival = np.asarray(arrival_s, dtype=np.float64)
    if arrival.ndim != 1 or not np.isfinite(arrival).all() or (arrival < 0).any():
        raise ValueError("arrival_s must be a list of times, none of them negative.")
    if not (math.isfinite(frame_s) and frame_s > 0):
        raise ValueError(f"frame_s must be a positive number; it is {frame_s}.")
    end = float(arrival.max(initial=0.0)) if duration_s is None else duration_s
    # 0.06 / 0.02 is 2.9999999999999996
    frames = math.floor(end / frame_s * (1 + 1e-12)) if math.isfinite(end) else 0
    if frames < 1:
        raise ValueError(f"{end} s hold no complete frame of {frame_s} s.")
    index = np.floor(arrival / frame_s * (1 + 1e-12)).astype(np.int64)
    return np.bincount(index[index < frames], minlength=frames).astype(np.int64)


@dataclass(frozen=True)
class Threshold(Result):
    """Two levels of brightness in a trace, by maximum likelihood.

    Attributes
    ----------
    threshold : float
        Counts above which a frame is more likely bright than dark; NaN without two levels.
    dark_level, bright_level : float
        Mean counts of a frame.
    bright_share : float
        Share of bright frames.
    misassigned_share : float
        Of the frames, expected on the wrong side of the threshold.
    likelihood_ratio : float
        2 Δ ln L against one level.
    two_levels : bool
        Whether the ratio exceeds 2 ln(frames), the rule of BIC for two more parameters.
    """

    SOURCE: ClassVar[str] = "the project's own"

    threshold: float
    dark_level: float
    bright_level: float
    bright_share: float
    misassigned_share: float
    likelihood_ratio: float
    two_levels: bool


def find_threshold(counts: ArrayLike) -> Threshold:
    """Find the threshold of a trace from two levels with Poisson counts.

    For photon counts; the counts of an EMCCD scatter more, and it then sees two levels where
    there is one.

    Parameters
    ----------
    counts : (frame,) or (particle, frame)
        Photons in each frame; of several particles if they are equally bright.

    Raises
    ------
    ValueError
        With fewer than 20 frames or a negative count.
    """
    n = _traces(counts).ravel()
    if n.size < 20:
        raise ValueError(f"{n.size} frames are too few for a threshold.")
    value, times = np.unique(n, return_counts=True)
    low, high = (float(x) for x in np.quantile(n, (0.1, 0.9)))
    share = 0.5
    levels = np.array([low, max(high, low + 1)]) + 1e-3

    def weights(levels: FloatArray, share: float) -> FloatArray:
        """Log of share × probability; (level, value)."""
        logs = value * np.log(levels[:, None]) - levels[:, None] - gammaln(value + 1)
        return np.asarray(logs + np.log([[1 - share], [share]]))

    before = -math.inf
    for _ in range(1000):
        joint = weights(levels, share)
        total = np.logaddexp(joint[0], joint[1])
        ln_likelihood = float(times @ total)
        if ln_likelihood - before < 1e-7 * n.size:
            break
        before = ln_likelihood
        belongs = np.exp(joint - total) * times
        share = float(np.clip(belongs[1].sum() / n.size, 1e-9, 1 - 1e-9))
        levels = np.maximum(belongs @ value / np.maximum(belongs.sum(axis=1), 1e-300), 1e-9)
    mean = max(float(n.mean()), 1e-9)
    one = float(times @ (value * math.log(mean) - mean - gammaln(value + 1)))
    ratio = 2 * (ln_likelihood - one)
    dark, bright = (float(level) for level in levels)
    two = bool(ratio > 2 * math.log(n.size) and bright > dark)
    threshold = wrong = math.nan
    if two:
        threshold = (bright - dark + math.log((1 - share) / share)) / math.log(bright / dark)
        below = math.floor(threshold)
        missed, false = (pdtr(below, bright), pdtrc(below, dark)) if below >= 0 else (0.0, 1.0)
        wrong = float(share * missed + (1 - share) * false)
    return Threshold(threshold, dark, bright, share, wrong, ratio, two)


@dataclass(frozen=True)
class Share(Result):
    """Some of the particles.

    Attributes
    ----------
    number, of : int
        How many of how many.
    share, stderr : float
        Their ratio, and half of its 68 % Wilson interval, which is not zero for none or all.
    """

    number: int
    of: int
    share: float
    stderr: float

    @classmethod
    def among(cls, chosen: BoolArray) -> "Share":
        """Count the chosen ones."""
        k, n = int(chosen.sum()), chosen.size
        return cls(k, n, k / n, math.sqrt(k * (n - k) / n + 0.25) / (n + 1))

    def __str__(self) -> str:
        return f"{self.number} of {self.of} ({self.share:.1%} ± {self.stderr:.1%})"


@dataclass(frozen=True, eq=False)
class Intermittency(Result):
    """How much of the time particles are on.

    Attributes
    ----------
    frame_s, threshold : float
        Length of a frame, and the counts above which it is on.
    particles, frames : int
        Their numbers.
    dark_particles : Share
        Particles that are on for less than `dark_below`.
    mean_on_fraction, mean_on_fraction_stderr : float
        Over particles; the error comes from their scatter, and is NaN without any.
    on_fraction, on_fraction_stderr : (particle,) float64
        Share of frames that are on. Neighbouring frames are alike, so the error comes from whole
        on–off cycles; NaN with fewer than five.
    dark : (particle,) bool
        On for less than `dark_below`.
    on : (particle, frame) bool
        Which frames are on.
    """

    SOURCE: ClassVar[str] = "S4; the errors are the project's own"
    CURVES: ClassVar[tuple[str, ...]] = ("on_fraction", "on_fraction_stderr", "dark", "on")

    frame_s: float
    threshold: float
    particles: int
    frames: int
    dark_particles: Share
    mean_on_fraction: float
    mean_on_fraction_stderr: float
    on_fraction: FloatArray
    on_fraction_stderr: FloatArray
    dark: BoolArray
    on: BoolArray

    def __str__(self) -> str:
        return (
            f"{self.particles} particles, on for {self.mean_on_fraction:.1%} ± "
            f"{self.mean_on_fraction_stderr:.1%} of the time; dark: {self.dark_particles}"
        )


def intermittency(
    counts: ArrayLike,
    frame_s: float = FRAME_S,
    *,
    threshold: float | None = None,
    dark_below: float = DARK_BELOW,
) -> Intermittency:
    """Find when particles are on.

    Parameters
    ----------
    counts : (particle, frame) or (frame,)
        Counts of each particle in each frame.
    frame_s
        Length of a frame.
    threshold
        Counts of a frame above which it is on; that of S4, 100 in 20 ms, if not given.
    dark_below
        On-fraction below which a particle is dark.

    Raises
    ------
    ValueError
        When the counts are empty, negative or not numbers.
    """
    traces = _traces(counts)
    if not (math.isfinite(frame_s) and frame_s > 0):
        raise ValueError(f"frame_s must be a positive number; it is {frame_s}.")
    limit = THRESHOLD_HZ * frame_s if threshold is None else float(threshold)
    if not math.isfinite(limit):
        raise ValueError(f"threshold must be a number; it is {limit}.")
    on = traces > limit
    fraction = on.mean(axis=1)
    dark = fraction < dark_below
    return Intermittency(
        frame_s=frame_s,
        threshold=limit,
        particles=on.shape[0],
        frames=on.shape[1],
        dark_particles=Share.among(dark),
        mean_on_fraction=float(fraction.mean()),
        mean_on_fraction_stderr=_mean_stderr(fraction),
        on_fraction=fraction,
        on_fraction_stderr=np.array([_fraction_stderr(row) for row in on]),
        dark=dark,
        on=on,
    )


def _mean_stderr(values: FloatArray) -> float:
    """Return the error of a mean from the scatter; particles that are all alike tell none."""
    scatter = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return scatter / math.sqrt(values.size) if scatter > 0 else math.nan


def _traces(counts: ArrayLike) -> FloatArray:
    traces = np.atleast_2d(np.asarray(counts, dtype=np.float64))
    if traces.ndim != 2 or traces.size == 0:
        raise ValueError("counts must be (particle, frame) or (frame,), and not empty.")
    if not np.isfinite(traces).all() or (traces < 0).any():
        raise ValueError("counts must be numbers, none of them negative.")
    return traces


def _fraction_stderr(on: BoolArray) -> float:
    """Return the error of an on-fraction from the scatter of the cycles it is made of."""
    starts = np.append(0, np.flatnonzero(on[1:] & ~on[:-1]) + 1)
    if starts.size - 1 < _FEWEST_CYCLES:
        return math.nan
    bright = np.add.reduceat(on.astype(np.float64), starts)
    length = np.diff(np.append(starts, on.size))
    excess = bright - on.mean() * length
    return math.sqrt(starts.size / (starts.size - 1) * float(excess @ excess)) / on.size


@dataclass(frozen=True, eq=False)
class Durations(Result):
    """How long particles stay on and off, in frames.

    The first stay of a trace has no known beginning and is left out; the last has no known end
    and is kept as censored: it lasts at least so long.

    Attributes
    ----------
    on, off : (stay,) int64
        Stays that were seen from beginning to end.
    on_censored, off_censored : (stay,) int64
        Stays that the end of the movie cut off.
    """

    SOURCE: ClassVar[str] = "S4; censoring is the project's own"

    on: IntArray
    off: IntArray
    on_censored: IntArray
    off_censored: IntArray


def durations(on: ArrayLike) -> Durations:
    """Return how long particles stay on and off.

    Parameters
    ----------
    on : (particle, frame) or (frame,) bool
        Which frames are on; `Intermittency.on`, or some of its rows.
    """
    traces = np.atleast_2d(np.asarray(on, dtype=np.bool_))
    stays: dict[tuple[bool, bool], list[IntArray]] = {
        (state, whole): [np.empty(0, np.int64)]
        for state, whole in product((True, False), (True, False))
    }
    for trace in traces:
        change = np.flatnonzero(trace[1:] != trace[:-1]) + 1
        if change.size == 0:
            continue
        length, state = np.diff(change), trace[change[:-1]]
        stays[True, True].append(length[state])
        stays[False, True].append(length[~state])
        stays[bool(trace[-1]), False].append(np.array([trace.size - change[-1]]))
    joined = {key: np.concatenate(parts) for key, parts in stays.items()}
    return Durations(
        on=joined[True, True],
        off=joined[False, True],
        on_censored=joined[True, False],
        off_censored=joined[False, False],
    )


@dataclass(frozen=True)
class LawFit(Result):
    """P(t) ∝ t^-α, or t^-α exp(-t / t_c).

    Attributes
    ----------
    alpha, alpha_stderr : float
        Exponent; the error is NaN where the likelihood does not determine it.
    truncation_s, truncation_stderr_s : float
        t_c; infinite for the power law.
    ln_likelihood : float
        At its maximum.
    """

    alpha: float
    alpha_stderr: float
    truncation_s: float
    truncation_stderr_s: float
    ln_likelihood: float


@dataclass(frozen=True)
class DurationFit(Result):
    """Distribution of durations by maximum likelihood.

    Attributes
    ----------
    model : str or None
        ``"power-law"`` (type B of S4) or ``"truncated-power-law"`` (type A), whichever the rule
        of the likelihood ratio prefers; None with fewer than 10 complete durations.
    likelihood_ratio : float
        2 Δ ln L of the truncated over the plain law; above 2.71 the truncated one is preferred.
    power_law, truncated : LawFit
        Both fits.
    complete, censored : int
        Durations that took part.
    shortest_frames : int
        Shortest duration that took part.
    frame_s : float
        Length of a frame.
    """

    SOURCE: ClassVar[str] = "S4, equations 1 and 2; the estimator is the project's own"

    model: DurationLaw | None
    likelihood_ratio: float
    power_law: LawFit
    truncated: LawFit
    complete: int
    censored: int
    shortest_frames: int
    frame_s: float

    @property
    def best(self) -> LawFit:
        """The preferred law."""
        return self.truncated if self.model == "truncated-power-law" else self.power_law

    def __str__(self) -> str:
        if self.model is None:
            return f"{self.complete} complete durations are too few for a distribution"
        best = self.best
        cut = ""
        if self.model == "truncated-power-law":
            cut = f", t_c = {best.truncation_s:.3g} ± {best.truncation_stderr_s:.2g} s"
        return (
            f"{self.model.replace('-', ' ')}, α = {best.alpha:.3g} ± {best.alpha_stderr:.2g}{cut} "
            f"(likelihood ratio {self.likelihood_ratio:.1f}, {self.complete} durations and "
            f"{self.censored} cut off)"
        )


def fit_durations(
    complete: ArrayLike,
    censored: ArrayLike = (),
    frame_s: float = FRAME_S,
    *,
    shortest_frames: int = 1,
) -> DurationFit:
    """Fit a power law and a truncated power law to durations.

    Durations are whole numbers of frames, and so is the law: P(k) = k^-α exp(-k/k_c) / Z, k from
    `shortest_frames` on without end, Z the sum over all of them. A censored duration counts with
    the probability of lasting at least as long.

    Parameters
    ----------
    complete, censored : (stay,)
        Frames, as in `Durations`.
    frame_s
        Length of a frame.
    shortest_frames
        Shorter durations take no part. Particles switch within frames, which spoils the shortest
        ones: 5 is on the safe side with a movie.

    Raises
    ------
    ValueError
        When a duration is not a whole number from 1 on.
    """
    whole, cut = (_frames(values) for values in (complete, censored))
    if not (math.isfinite(frame_s) and frame_s > 0):
        raise ValueError(f"frame_s must be a positive number; it is {frame_s}.")
    if shortest_frames < 1:
        raise ValueError(f"shortest_frames is at least 1, not {shortest_frames}.")
    whole, cut = whole[whole >= shortest_frames], cut[cut >= shortest_frames]
    model: DurationLaw | None = None
    nothing = LawFit(*[math.nan] * 5)
    plain, truncated, ratio = nothing, nothing, math.nan
    if whole.size >= FEWEST_DURATIONS and np.unique(whole).size > 1:
        ln_likelihood = _likelihood(whole, cut, shortest_frames)
        plain = _fit_plain(ln_likelihood)
        longest = float(max(whole.max(), cut.max(initial=0)))
        mean = float(whole.mean())
        truncated = _fit_truncated(ln_likelihood, plain.alpha, mean, longest, frame_s)
        ratio = 2 * (truncated.ln_likelihood - plain.ln_likelihood)
        model = "truncated-power-law" if ratio > TRUNCATED_LR else "power-law"
    return DurationFit(
        model=model,
        likelihood_ratio=ratio,
        power_law=plain,
        truncated=truncated,
        complete=whole.size,
        censored=cut.size,
        shortest_frames=shortest_frames,
        frame_s=frame_s,
    )


def _frames(values: ArrayLike) -> IntArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all() or (array < 1).any() or (array % 1).any():
        raise ValueError("Durations are whole numbers of frames, at least 1.")
    return array.astype(np.int64)


def _likelihood(whole: IntArray, cut: IntArray, shortest: int) -> Callable[[float, float], float]:
    """Return ln L as a function of α and 1/k_c."""
    logs, total = float(np.log(whole).sum()), float(whole.sum())
    value, times = np.unique(cut, return_counts=True)
    at = np.append(float(shortest), value)
    # every duration is one of those that last at least `shortest`
    sign = np.append(-float(whole.size + cut.size), times)

    def ln_likelihood(alpha: float, rate: float) -> float:
        return float(-alpha * logs - rate * total + sign @ log_tail(alpha, rate, at))

    return ln_likelihood


def log_tail(alpha: float, rate: float, start: FloatArray) -> FloatArray:
    """Return ln Σ_{k ≥ start} k^-α exp(-rate·k); without a rate α must be above 1."""
    if rate == 0:
        return np.asarray(np.log(zeta(alpha, start)))
    # the first terms one by one, the others by Euler and Maclaurin
    k = start[:, None] + _TERMS
    head = -alpha * np.log(k) - rate * k
    x = start + _TERMS.size
    last = -alpha * np.log(x) - rate * x
    end = np.log1p(60 / (rate * x))[:, None]
    u = end * (_NODES + 1) / 2
    integrand = np.exp((1 - alpha) * u - rate * x[:, None] * np.expm1(u))
    integral = x * end[:, 0] / 2 * (integrand @ _WEIGHTS)
    slope = alpha / x + rate
    third = slope**3 + 3 * slope * alpha / x**2 + 2 * alpha / x**3
    rest = last + np.log(integral + 0.5 + slope / 12 - third / 720)
    highest = np.maximum(head.max(axis=1), rest)
    summed = np.exp(head - highest[:, None]).sum(axis=1) + np.exp(rest - highest)
    return np.asarray(highest + np.log(summed))


def _fit_plain(ln_likelihood: Callable[[float, float], float]) -> LawFit:
    limits = (1.0 + 1e-4, _ALPHA_LIMITS[1])
    found = minimize_scalar(
        lambda alpha: -ln_likelihood(alpha, 0.0),
        bounds=limits,
        method="bounded",
        options={"xatol": 1e-6},
    )
    alpha, step = float(found.x), 1e-3
    stderr = math.nan
    if limits[0] + 2 * step < alpha < limits[1] - 2 * step:
        at = [ln_likelihood(alpha + i * step, 0.0) for i in (-1, 0, 1)]
        curvature = -(at[0] - 2 * at[1] + at[2]) / step**2
        stderr = 1 / math.sqrt(curvature) if curvature > 0 else math.nan
    return LawFit(alpha, stderr, math.inf, math.nan, -float(found.fun))


def _fit_truncated(
    ln_likelihood: Callable[[float, float], float],
    alpha: float,
    mean: float,
    longest: float,
    frame_s: float,
) -> LawFit:
    """Fit α and ln(1/k_c); a k_c a hundred times the longest duration is as good as none."""
    limits = (_ALPHA_LIMITS, (-math.log(100 * longest), math.log(5.0)))

    def cost(p: FloatArray) -> float:
        return -ln_likelihood(float(p[0]), math.exp(float(p[1])))

    starts = [(alpha, -math.log(longest)), (min(alpha, 1.0) / 2, -math.log(mean + 1))]
    fits = [
        minimize(
            cost,
            np.array(start),
            method="Nelder-Mead",
            bounds=limits,
            options={"xatol": 1e-6, "fatol": 1e-9},
        )
        for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    p = np.asarray(best.x, dtype=np.float64)
    stderr = np.full(2, math.nan)
    step = 1e-3
    lowest, highest = np.array(limits).T
    if (p > lowest + 2 * step).all() and (p < highest - 2 * step).all():
        information = _curvature(cost, p, step)
        if (np.linalg.eigvalsh(information) > 0).all():
            stderr = np.sqrt(np.diag(np.linalg.inv(information)))
    truncation_s = math.exp(-float(p[1])) * frame_s
    return LawFit(
        alpha=float(p[0]),
        alpha_stderr=float(stderr[0]),
        truncation_s=truncation_s,
        truncation_stderr_s=truncation_s * float(stderr[1]),
        ln_likelihood=-float(best.fun),
    )


def _curvature(cost: Callable[[FloatArray], float], p: FloatArray, step: float) -> FloatArray:
    """Return the second derivatives by central differences."""
    a, b = np.eye(2) * step
    middle = cost(p)
    diagonal = [(cost(p + d) - 2 * middle + cost(p - d)) / step**2 for d in (a, b)]
    mixed = (cost(p + a + b) - cost(p + a - b) - cost(p - a + b) + cost(p - a - b)) / (4 * step**2)
    return np.array([[diagonal[0], mixed], [mixed, diagonal[1]]])


@dataclass(frozen=True, eq=False)
class MovieChange(Result):
    """What became of the same particles from one movie to the next.

    Attributes
    ----------
    particles : int
        How many.
    mean_change, mean_change_stderr : float
        Of the on-fraction, after minus before; the error comes from the scatter, and is NaN
        without any.
    became_dark, became_bright, stayed_dark, stayed_bright : Share
        Particles in each class, as a share of all (so S4 counts them).
    edges, histogram : (bin + 1,), (bin,)
        Histogram of the change.
    change : (particle,) float64
        On-fraction after minus before.
    """

    SOURCE: ClassVar[str] = "S4, figure 6"
    CURVES: ClassVar[tuple[str, ...]] = ("edges", "histogram", "change")

    particles: int
    mean_change: float
    mean_change_stderr: float
    became_dark: Share
    became_bright: Share
    stayed_dark: Share
    stayed_bright: Share
    edges: FloatArray
    histogram: IntArray
    change: FloatArray

    def __str__(self) -> str:
        return (
            f"{self.particles} particles, on-fraction {self.mean_change:+.1%} ± "
            f"{self.mean_change_stderr:.1%}; became dark: {self.became_dark}; "
            f"became bright: {self.became_bright}"
        )


def compare_movies(before: Intermittency, after: Intermittency) -> MovieChange:
    """Compare the same particles in two movies.

    Parameters
    ----------
    before, after
        Two movies with the particles in the same order.

    Raises
    ------
    ValueError
        When the numbers of particles differ.
    """
    if before.particles != after.particles:
        raise ValueError(
            f"The movies have {before.particles} and {after.particles} particles; they must be "
            f"the same ones in the same order."
        )
    change = after.on_fraction - before.on_fraction
    n = change.size
    histogram, edges = np.histogram(change, bins=_CHANGE_BINS, range=(-1.0, 1.0))
    return MovieChange(
        particles=n,
        mean_change=float(change.mean()),
        mean_change_stderr=_mean_stderr(change),
        became_dark=Share.among(~before.dark & after.dark),
        became_bright=Share.among(before.dark & ~after.dark),
        stayed_dark=Share.among(before.dark & after.dark),
        stayed_bright=Share.among(~before.dark & ~after.dark),
        edges=edges,
        histogram=histogram.astype(np.int64),
        change=change,
    )


def synthetic_blinking(
    seed: int | np.random.Generator,
    *,
    particles: int = 100,
    frames: int = 5000,
    alpha_on: float = 1.5,
    alpha_off: float = 1.5,
    truncation_on_frames: float = math.inf,
    truncation_off_frames: float = math.inf,
    on_counts: float = 300.0,
    off_counts: float = 20.0,
) -> IntArray:
    """Draw traces of particles whose on- and off-times follow (truncated) power laws.

    Parameters
    ----------
    seed
        A seed or a generator to draw from.
    particles, frames
        How many traces, and how long.
    alpha_on, alpha_off, truncation_on_frames, truncation_off_frames
        The laws, in whole frames.
    on_counts, off_counts
        Mean counts of a frame; Poisson.

    Returns
    -------
    (particle, frame) int64
        Counts.

    Raises
    ------
    ValueError
        For a power law without truncation and an exponent of 1 or less.
    """
    rng = np.random.default_rng(seed)
    laws = {
        True: _survival(alpha_on, truncation_on_frames, frames),
        False: _survival(alpha_off, truncation_off_frames, frames),
    }
    on = np.empty((particles, frames), dtype=np.bool_)
    for trace in on:
        state, at = bool(rng.random() < 0.5), 0
        while at < frames:
            # as many frames as are at least survived
            stay = int(np.searchsorted(-laws[state], -rng.random(), side="left"))
            trace[at : at + stay] = state
            state, at = not state, at + stay
    return rng.poisson(np.where(on, on_counts, off_counts)).astype(np.int64)


def _survival(alpha: float, truncation: float, frames: int) -> FloatArray:
    """Return the probability to last at least 1, 2, … frames; the movie need not be outlasted."""
    rate = 1 / truncation
    if rate == 0 and alpha <= 1:
        raise ValueError(f"A power law needs an exponent above 1; it is {alpha}.")
    k = np.arange(1.0, frames + 1)
    logs = log_tail(alpha, rate, k)
    return np.asarray(np.exp(logs - logs[0]))
