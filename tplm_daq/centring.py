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
Expose = Callable[[], tuple[float, float]]
"""Counts for one short dwell; gives the counts and how long was counted, s."""

SIGNIFICANCE = 5.0
"""Standard errors by which a peak must stand out."""
FINE = 2.0
"""The second pair of lines reaches this many σ of the first."""
FEWEST = 7
"""Places on a line, of those within the travel, that a fit of four numbers needs."""
FEWEST_STEPS = 5
ROUNDS = 3
"""How often the window of the focus may follow a peak at its edge."""


@dataclass(frozen=True, slots=True)
class Line:
    """A Gaussian on a constant, fitted to a line of counts.

    Attributes
    ----------
    center_um, stderr_um : float
        Place of the peak.
    sigma_um : float
        Its width.
    peak_hz, peak_stderr_hz : float
        Its height above the constant.
    """

    center_um: float
    stderr_um: float
    sigma_um: float
    peak_hz: float
    peak_stderr_hz: float


@dataclass(frozen=True, slots=True)
class Peak:
    """Where the emission peak is, sample plane, relative to the centre of the profile."""

    x_um: float
    y_um: float
    x_stderr_um: float
    y_stderr_um: float
    sigma_um: float
    peak_hz: float


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
    found = minimize(minus_log_likelihood, start, jac=True, method="L-BFGS-B", bounds=bounds)
    best = np.asarray(found.x, dtype=np.float64)
    mean, slopes = model(best)
    information = (slopes / mean) @ slopes.T
    if np.linalg.cond(information) > 1e14:
        return None
    covariance = np.linalg.inv(information)
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
        peak_hz=float(peak) / live_s,
        peak_stderr_hz=peak_error / live_s,
    )


def sample_limits_um(
    profile: InstrumentProfile,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lowest and highest x, lowest and highest y of the sample plane that the stage reaches."""
    m, stage = profile.optics.magnification, profile.detector_stage
    x, y = (
        sorted(axis.sign * (end - axis.zero_um) / m for end in axis.travel_um)
        for axis in (stage.x, stage.y)
    )
    return (x[0], x[1]), (y[0], y[1])


def find_peak(
    expose_at: Callable[[float, float], tuple[float, float]],
    start_um: tuple[float, float],
    how: Centring,
    limits_um: tuple[tuple[float, float], tuple[float, float]],
) -> Peak:
    """Find the emission peak: a coarse cross, then a finer one through what it found.

    Parameters
    ----------
    expose_at : callable
        Counts at a place of the sample plane; gives the counts and the counting time.
    start_um : tuple of float
        Where the peak is looked for, x and y.
    how : Centring
        Of the plan.
    limits_um : tuple of tuple of float
        Lowest and highest x, lowest and highest y that the stage reaches; places beyond are left
        out.

    Raises
    ------
    DeviceError
        If no peak stands out.
    """
    here = list(start_um)
    brightest_hz = 0.0

    def line(axis: int, half_um: float) -> Line | None:
        nonlocal brightest_hz
        low, high = limits_um[axis]
        places = [
            place
            for place in (here[axis] + half_um * np.linspace(-1, 1, how.positions)).tolist()
            if low <= place <= high
        ]
        if len(places) < FEWEST:
            raise DeviceError(
                "detector_stage",
                f"only {len(places)} of {how.positions} places for finding the peak along "
                f"{'xy'[axis]} are within its travel",
                "bring the image nearer to the middle of the travel",
            )
        counts, lives = [], []
        for place in places:
            count, live_s = expose_at(*((place, here[1]) if axis == 0 else (here[0], place)))
            counts.append(count)
            lives.append(live_s)
        live_s = sum(lives) / len(lives)
        brightest_hz = max(brightest_hz, max(counts) / live_s)
        found = fit_line(places, counts, live_s)
        if found is not None:
            here[axis] = found.center_um
        return found

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
        raise DeviceError(
            "detector",
            f"no emission peak was found within {reach:g} µm of ({start_um[0]:.2f}, "
            f"{start_um[1]:.2f}) µm; the brightest place gave {brightest_hz:.3g} counts/s",
            "look at laser, focus and alignment, or use a longer centring.dwell_s or a larger "
            "centring.half_range_um",
        )
    x, y = fine
    return Peak(
        x.center_um, y.center_um, x.stderr_um, y.stderr_um,
        (x.sigma_um + y.sigma_um) / 2, (x.peak_hz + y.peak_hz) / 2,
    )  # fmt: skip


def find_focus(
    expose_at: Callable[[float], tuple[float, float]],
    z_um: float,
    half_range_um: float,
    steps: int,
    limits_um: tuple[float, float],
) -> float:
    """Find the z of the highest peak: a coarse scan, then a finer one, with a parabola each.

    The parabola goes through 1/counts, since the spot's area grows with the square of the
    defocus.

    Parameters
    ----------
    expose_at : callable
        Counts at a z of the sample stage, with the detector on the peak.
    z_um : float
        Where to look.
    half_range_um, steps
        How far to both sides, and at how many places.
    limits_um : tuple of float
        Lowest and highest z.

    Raises
    ------
    DeviceError
        If there is no focus in reach.
    """
    low, high = limits_um
    middle = z_um
    for _ in range(ROUNDS):
        z, counts = _scan(expose_at, middle, half_range_um, steps, limits_um)
        brightest = int(counts.argmax())
        middle = float(z[brightest])
        if 0 < brightest < z.size - 1:
            break
    else:
        raise DeviceError(
            "sample_stage",
            f"no focus was found: the light is brightest at z = {middle:.2f} µm, the end of what "
            "was searched",
            f"focus by hand; the stage travels from {low:g} to {high:g} µm",
        )
    vertex = _vertex(z, counts)
    if vertex is not None:
        middle = vertex
    z, counts = _scan(expose_at, middle, half_range_um / 2, steps, limits_um)
    vertex = _vertex(z, counts)
    if vertex is None:
        raise DeviceError(
            "sample_stage",
            f"no focus was found near z = {middle:.2f} µm: the light does not get dimmer to both "
            "sides",
            "use a larger centring.focus.half_range_um or a longer centring.dwell_s",
        )
    return vertex


def _scan(
    expose_at: Callable[[float], tuple[float, float]],
    middle_um: float,
    half_um: float,
    steps: int,
    limits_um: tuple[float, float],
) -> tuple[F64, F64]:
    """Counts at some z, those beyond the travel left out."""
    z = middle_um + half_um * np.linspace(-1, 1, steps)
    z = z[(z >= limits_um[0]) & (z <= limits_um[1])]
    if z.size < FEWEST_STEPS:
        raise DeviceError(
            "sample_stage",
            f"only {z.size} of {steps} places for focusing near z = {middle_um:.2f} µm are within "
            "its travel",
            f"it goes from {limits_um[0]:g} to {limits_um[1]:g} µm; move the sample",
        )
    return z, np.array([expose_at(float(place))[0] for place in z])


def _vertex(z: F64, counts: F64) -> float | None:
    """Where a parabola through 1/counts is lowest; None if it is not, between the ends."""
    n = np.maximum(counts, 1.0)
    # 1/n has the standard error n^-1.5
    curve, slope, _ = np.polynomial.Polynomial.fit(z, 1 / n, 2, w=n**1.5).convert().coef[::-1]
    if curve <= 0:
        return None
    vertex = float(-slope / (2 * curve))
    return vertex if z[0] < vertex < z[-1] else None
