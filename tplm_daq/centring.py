"""Finding the emission peak, and the focus, with a few short dwells."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from tplm_config import Centring, InstrumentProfile
from tplm_drivers import DeviceError

F64 = NDArray[np.float64]
ExposeAt = Callable[[float, float], tuple[float, float]]
"""Counts for a short dwell at a place (x, y) of the sample plane; gives the counts and how long
was counted, s."""
Limits = tuple[tuple[float, float], tuple[float, float]]
"""Lowest and highest x, lowest and highest y of the sample plane."""

SIGNIFICANCE = 5.0
"""Standard errors by which a peak must stand out."""
CURVED = 3.0
"""Standard errors by which a blur must grow to both sides of the focus."""
FINE = 2.0
"""The second pair of lines reaches this many σ of the first."""
FEWEST = 7
"""Places on a line, of those within the travel, that a fit of four numbers needs."""
FEWEST_STEPS = 5
ROUNDS = 3
"""How often the window of the focus may follow a peak at its edge."""


class SearchError(DeviceError):
    """What was searched for was not found, or cannot be in reach; no device failed."""


@dataclass(frozen=True, slots=True)
class Line:
    """A Gaussian on a constant, fitted to a line of counts.

    Attributes
    ----------
    center_um, stderr_um : float
        Place of the peak.
    sigma_um, sigma_stderr_um : float
        Its width.
    peak_hz, peak_stderr_hz : float
        Its height above the constant.
    background_hz : float
        The constant.
    """

    center_um: float
    stderr_um: float
    sigma_um: float
    sigma_stderr_um: float
    peak_hz: float
    peak_stderr_hz: float
    background_hz: float


@dataclass(frozen=True, slots=True)
class Scanned:
    """A line as far as it has been measured.

    Attributes
    ----------
    axis : int
        0: along x, 1: along y.
    places_um, rates_hz : tuple of float
        Sample plane, ascending; counts per second there.
    is_done : bool
        Whether all of it is.
    line : Line or None
        The fit, when all of it is, if a peak stands out.
    """

    axis: int
    places_um: tuple[float, ...]
    rates_hz: tuple[float, ...]
    is_done: bool = False
    line: Line | None = None


@dataclass(frozen=True, slots=True)
class Peak:
    """Where the emission peak is, sample plane, relative to the centre of the profile."""

    x_um: float
    y_um: float
    x_stderr_um: float
    y_stderr_um: float
    sigma_um: float
    peak_hz: float


@dataclass(frozen=True, slots=True)
class Blur:
    """How blurred the light is at a z of the sample stage, by any measure that has a parabola."""

    z_um: float
    value: float
    stderr: float


@dataclass(frozen=True, slots=True)
class Vertex:
    """The z of the least blur."""

    z_um: float
    stderr_um: float


Watch = Callable[[Scanned], None]
"""Told of a line as it is measured."""


def fit_line(places_um: Sequence[float], counts: Sequence[float], live_s: float) -> Line | None:
    """Fit a Gaussian on a constant to counts, by Poisson maximum likelihood.

    Parameters
    ----------
    places_um : sequence of float
        Evenly spaced, ascending.
    counts : sequence of float
        At each place.
    live_s : float
        Counting time at each place.

    Returns
    -------
    Line or None
        None if no peak stands out between the ends.
    """
    x, n = np.array(places_um), np.array(counts, dtype=np.float64)
    span, step = x[-1] - x[0], x[1] - x[0]
    smooth = np.convolve(np.pad(n, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    floor = max(float(np.quantile(n, 0.2)), 0.5)
    height = max(float(smooth.max()) - floor, 1.0)
    width = max(step * float((smooth - floor > height / 2).sum()) / 2.355, step / 2)
    x0 = float(x[int(smooth.argmax())])
    # height and floor as roots of what they are, σ by its logarithm: all of it stays positive
    start = np.array([math.sqrt(height), x0, math.log(width), math.sqrt(floor)])

    def model(p: F64) -> tuple[F64, F64]:
        sigma = math.exp(p[2])
        u = (x - p[1]) / sigma
        shape = np.exp(-0.5 * u * u)
        mean = p[0] ** 2 * shape + p[3] ** 2 + 1e-9
        slopes = np.stack(
            [
                2 * p[0] * shape,
                p[0] ** 2 * shape * u / sigma,
                p[0] ** 2 * shape * u * u,
                np.full_like(x, 2 * p[3]),
            ]
        )
        return mean, slopes

    def minus_log_likelihood(p: F64) -> tuple[float, F64]:
        mean, slopes = model(p)
        return float(np.sum(mean - n * np.log(mean))), slopes @ (1 - n / mean)

    bounds = [(0.0, None), (x[0], x[-1]), (math.log(step / 3), math.log(span)), (1e-3, None)]
    # in numbers of about one, else the search ends early where there are many counts
    unit, total = np.array([start[0], width, 1.0, start[0]]), max(float(n.sum()), 1.0)

    def scaled_loss(q: F64) -> tuple[float, F64]:
        value, slope = minus_log_likelihood(q * unit)
        return value / total, slope * unit / total

    found = minimize(
        scaled_loss, start / unit, jac=True, method="L-BFGS-B",
        bounds=[(low / u, None if high is None else high / u)
                for (low, high), u in zip(bounds, unit, strict=True)],
        options={"ftol": 1e-14, "gtol": 1e-10},
    )  # fmt: skip
    best = np.asarray(found.x * unit, dtype=np.float64)
    mean, slopes = model(best)
    information = (slopes / mean) @ slopes.T
    # each number in its own unit: a constant near zero is hardly felt, and is no reason to give up
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = information / np.outer(scale, scale)
    if np.linalg.cond(scaled) > 1e10:
        return None
    covariance = np.linalg.inv(scaled) / np.outer(scale, scale)
    # a profile that is no Gaussian, or light that flickers, makes the fit less exact than photons
    excess = max(1.0, float(np.sum((n - mean) ** 2 / mean)) / (n.size - 4))
    peak, center = best[0] ** 2, best[1]
    peak_error = 2 * best[0] * math.sqrt(covariance[0, 0] * excess)
    inside = x[0] + step / 2 < center < x[-1] - step / 2
    if not inside or not peak > SIGNIFICANCE * peak_error:
        return None
    return Line(
        center_um=float(center),
        stderr_um=math.sqrt(covariance[1, 1] * excess),
        sigma_um=math.exp(best[2]),
        sigma_stderr_um=math.exp(best[2]) * math.sqrt(covariance[2, 2] * excess),
        peak_hz=float(peak) / live_s,
        peak_stderr_hz=peak_error / live_s,
        background_hz=float(best[3]) ** 2 / live_s,
    )


def sample_limits_um(profile: InstrumentProfile) -> Limits:
    """Lowest and highest x, lowest and highest y of the sample plane that the stage reaches."""
    m, stage = profile.optics.magnification, profile.detector_stage
    x, y = (
        sorted(axis.sign * (end - axis.zero_um) / m for end in axis.travel_um)
        for axis in (stage.x, stage.y)
    )
    return (x[0], x[1]), (y[0], y[1])


def measure_line(
    expose_at: ExposeAt,
    through_um: tuple[float, float],
    axis: int,
    half_um: float,
    positions: int,
    limits_um: Limits,
    watch: Watch = lambda _: None,
) -> Scanned:
    """Measure a line through a place and fit it.

    Parameters
    ----------
    expose_at : callable
        Counts at a place of the sample plane.
    through_um : tuple of float
        Its middle, x and y.
    axis : int
        0: along x, 1: along y.
    half_um, positions
        How far to both sides, and at how many places.
    limits_um : tuple of tuple of float
        What the stage reaches; places beyond are left out.
    watch : callable
        Told after every place, and of the fit.

    Raises
    ------
    SearchError
        If too few places are within the travel.
    """
    (x_um, y_um), (low, high) = through_um, limits_um[axis]
    places = [
        place
        for place in (through_um[axis] + half_um * np.linspace(-1, 1, positions)).tolist()
        if low <= place <= high
    ]
    if len(places) < FEWEST:
        raise SearchError(
            "detector_stage",
            f"only {len(places)} of {positions} places for finding the peak along "
            f"{'xy'[axis]} are within its travel",
            "bring the image nearer to the middle of the travel",
        )
    counts: list[float] = []
    lives_s: list[float] = []
    rates: list[float] = []
    for place in places:
        count, live_s = expose_at(place, y_um) if axis == 0 else expose_at(x_um, place)
        counts.append(count)
        lives_s.append(live_s)
        rates.append(count / live_s)
        watch(Scanned(axis, tuple(places[: len(rates)]), tuple(rates)))
    line = fit_line(places, counts, sum(lives_s) / len(lives_s))
    scanned = Scanned(axis, tuple(places), tuple(rates), True, line)
    watch(scanned)
    return scanned


def find_peak(
    expose_at: ExposeAt,
    start_um: tuple[float, float],
    how: Centring,
    limits_um: Limits,
    watch: Watch = lambda _: None,
) -> Peak:
    """Find the emission peak: a coarse cross, then a finer one through what it found.

    Parameters
    ----------
    expose_at : callable
        Counts at a place of the sample plane.
    start_um : tuple of float
        Where the peak is looked for, x and y.
    how : Centring
        Of the plan.
    limits_um : tuple of tuple of float
        What the stage reaches; places beyond are left out.
    watch : callable
        Told of the lines as they are measured.

    Raises
    ------
    SearchError
        If no peak stands out.
    """
    here = list(start_um)
    brightest_hz = 0.0

    def line(axis: int, half_um: float) -> Line | None:
        nonlocal brightest_hz
        through_um = here[0], here[1]
        scanned = measure_line(
            expose_at, through_um, axis, half_um, how.positions, limits_um, watch
        )
        brightest_hz = max(brightest_hz, *scanned.rates_hz)
        if scanned.line is not None:
            here[axis] = scanned.line.center_um
        return scanned.line

    reach = how.half_range_um
    along_x, along_y = line(0, reach), line(1, reach)
    if along_x is None and along_y is not None:
        along_x = line(0, reach)  # the first one passed beside the peak
    fine: list[Line] = []
    if along_x is not None and along_y is not None:
        half_um = min(FINE * max(along_x.sigma_um, along_y.sigma_um), reach)
        found = [line(axis, half_um) for axis in (0, 1)]
        fine = [each for each in found if each is not None]
    if len(fine) < 2:
        raise SearchError(
            "detector",
            f"no emission peak was found within {reach:g} µm of ({start_um[0]:.2f}, "
            f"{start_um[1]:.2f}) µm; the brightest place gave {brightest_hz:.3g} counts/s",
            "look at laser, focus and alignment, or search with a longer dwell_s or a larger "
            "half_range_um",
        )
    x, y = fine
    return Peak(
        x.center_um, y.center_um, x.stderr_um, y.stderr_um,
        (x.sigma_um + y.sigma_um) / 2, (x.peak_hz + y.peak_hz) / 2,
    )  # fmt: skip


def dimness(counts: float) -> tuple[float, float]:
    """One over the counts at the peak, with its standard error.

    It goes as the spot's area, which grows with the square of the defocus.
    """
    n = max(counts, 1.0)
    return 1 / n, n**-1.5


def width(
    expose_at: ExposeAt, peak_um: tuple[float, float], how: Centring, limits_um: Limits
) -> tuple[float, float]:
    """Sum of the variances σ² along x and y, µm², with its standard error.

    Each is that of a Gaussian fitted to a line through the peak; infinite if none stands out.
    """
    lines = [
        measure_line(expose_at, peak_um, axis, how.half_range_um, how.positions, limits_um).line
        for axis in (0, 1)
    ]
    found = [line for line in lines if line is not None]
    if len(found) < len(lines):
        return math.inf, math.inf
    return (
        sum(line.sigma_um**2 for line in found),
        math.hypot(*(2 * line.sigma_um * line.sigma_stderr_um for line in found)),
    )


def find_focus(
    blur_at: Callable[[float], Blur],
    z_um: float,
    half_range_um: float,
    steps: int,
    limits_um: tuple[float, float],
) -> Vertex:
    """Find the z of the least blur: a coarse scan, then a finer one, with a parabola each.

    Parameters
    ----------
    blur_at : callable
        Measures the blur at a z of the sample stage, which should be a parabola.
    z_um : float
        Where to look.
    half_range_um, steps
        How far to both sides, and at how many places.
    limits_um : tuple of float
        Lowest and highest z.

    Raises
    ------
    SearchError
        If there is no focus in reach.
    """
    low, high = limits_um
    middle = z_um
    for _ in range(ROUNDS):
        scan = _scan(blur_at, middle, half_range_um, steps, limits_um)
        sharpest = min(range(len(scan)), key=lambda i: scan[i].value)
        middle = scan[sharpest].z_um
        if 0 < sharpest < len(scan) - 1:
            break
    else:
        raise SearchError(
            "sample_stage",
            f"no focus was found: the light is sharpest at z = {middle:.2f} µm, the end of what "
            "was searched",
            f"focus by hand; the stage travels from {low:g} to {high:g} µm",
        )
    vertex = _vertex(scan)
    if vertex is not None:
        middle = vertex.z_um
    vertex = _vertex(_scan(blur_at, middle, half_range_um / 2, steps, limits_um))
    if vertex is None:
        raise SearchError(
            "sample_stage",
            f"no focus was found near z = {middle:.2f} µm: the light does not blur to both sides",
            "use a larger half_range_um or a longer dwell_s",
        )
    return vertex


def _scan(
    blur_at: Callable[[float], Blur],
    middle_um: float,
    half_um: float,
    steps: int,
    limits_um: tuple[float, float],
) -> list[Blur]:
    """Blur at some z, ascending, those beyond the travel left out."""
    z = middle_um + half_um * np.linspace(-1, 1, steps)
    z = z[(z >= limits_um[0]) & (z <= limits_um[1])]
    if z.size < FEWEST_STEPS:
        raise SearchError(
            "sample_stage",
            f"only {z.size} of {steps} places for focusing near z = {middle_um:.2f} µm are within "
            "its travel",
            f"it goes from {limits_um[0]:g} to {limits_um[1]:g} µm; move the sample",
        )
    return [blur_at(float(place)) for place in z]


def _vertex(scan: Sequence[Blur]) -> Vertex | None:
    """Where a weighted parabola is lowest; None if it is not, between the ends, or not curved."""
    usable = np.array([(blur.z_um, blur.value, blur.stderr) for blur in scan])
    usable = usable[np.isfinite(usable).all(axis=1)]
    if len(usable) < FEWEST_STEPS - 1 or np.unique(usable[:, 0]).size < 3:
        return None
    z, value, stderr = usable.T
    middle, half = (z.max() + z.min()) / 2, (z.max() - z.min()) / 2
    u, scale = (z - middle) / half, np.abs(value).max()
    weights = scale / stderr
    fit, covariance = np.polyfit(u, value / scale, 2, w=weights, cov="unscaled")
    curve, slope, _ = fit
    if curve <= 0 or not abs(slope) < 2 * curve:
        return None
    chi2 = float(np.sum((weights * (value / scale - np.polyval(fit, u))) ** 2))
    excess = max(1.0, chi2 / (z.size - 3))
    if not curve > CURVED * math.sqrt(covariance[0, 0] * excess):
        return None  # among noise there is always a lowest place
    by = np.array([slope / (2 * curve**2), -1 / (2 * curve), 0.0])
    return Vertex(
        z_um=float(middle - half * slope / (2 * curve)),
        stderr_um=float(half * math.sqrt(by @ covariance @ by * excess)),
    )
