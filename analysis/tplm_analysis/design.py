"""Where to count so that D is known best: the information of a map, and the exposures it asks for.

The light at place x and delay t is ``A_t·G(x - x0, σ0² + 2Dt) + b`` counts per second, and what is
not known is x0, σ0², D, b and every A_t. Exposures e_x make the Fisher information Σ e_x M_x, so
that Var(D) is convex in them, and at the best exposures every place that is used lowers it by the
same amount a second (Elfving 1952, the equivalence theorem of c-optimal designs).
House estimator; the numbers it starts from are measured in a first, uniform pass.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .maps import FloatArray

UM2_PER_NS = 0.1
"""Of 1 cm²/s."""
_D, _ALPHA, _WING = 2, 4, 5
"""Of the parameters x0, σ0², D, b, and with `robust` α and the share of a wider Gaussian."""
SLICES = 40
ROUNDS = 400
START_EVEN = 0.02
"""Share of a former answer that is spread evenly, so that what it left out can come back."""
ENOUGH = 1e-3
"""Relative distance to the optimum of Var(D) that ends the search."""


@dataclass(frozen=True, eq=False)
class Light:
    """The light of a map, as far as it is known.

    Attributes
    ----------
    since_ns : (slice,)
        Delay after time zero of each slice.
    amplitude_hz_um : (slice,)
        Area under the profile, counts per second times µm.
    background_hz : (slice,)
        Counts per second at every place.
    center_um, sigma0_um, d_cm2_per_s : float
        Place, width at time zero, and diffusivity.
    wing_share, wing_sigma0_um : float
        Share of the light in a second Gaussian, and its width; 0 for none.
    d_stderr_cm2_per_s : float
        How well D is known; 0 where it is assumed.
    """

    since_ns: FloatArray
    amplitude_hz_um: FloatArray
    background_hz: FloatArray
    center_um: float
    sigma0_um: float
    d_cm2_per_s: float
    wing_share: float = 0.0
    wing_sigma0_um: float = 0.0
    d_stderr_cm2_per_s: float = 0.0

    def until(self, since_ns: float) -> "Light":
        """What comes before a delay."""
        seen = self.since_ns <= since_ns
        return replace(
            self,
            since_ns=self.since_ns[seen],
            amplitude_hz_um=self.amplitude_hz_um[seen],
            background_hz=self.background_hz[seen],
        )

    def pooled(self, slices: int = SLICES) -> "Light":
        """The same light in few slices of about equal light, for quick decisions."""
        if self.since_ns.size <= slices:
            return self
        lit = np.cumsum(np.sqrt(np.maximum(_smooth(self.amplitude_hz_um), 0.0)))
        edges = np.searchsorted(lit, np.linspace(0, lit[-1], slices + 1)[1:-1])
        starts = np.unique(np.concatenate([[0], edges]))
        amplitude = np.add.reduceat(self.amplitude_hz_um, starts)
        weighted = np.add.reduceat(self.amplitude_hz_um * self.since_ns, starts)
        counts = np.diff(np.append(starts, self.since_ns.size))
        plain = np.add.reduceat(self.since_ns, starts) / counts
        since = np.where(amplitude > 0, weighted / np.where(amplitude > 0, amplitude, 1.0), plain)
        background = np.add.reduceat(self.background_hz, starts)
        return replace(self, since_ns=since, amplitude_hz_um=amplitude, background_hz=background)


class Information:
    """The Fisher information that a second at each place gives.

    Parameters
    ----------
    light : Light
        What is known of the map.
    x_um : (place,)
        Places that can be counted at.
    robust : bool
        Whether α, and the share of a wider Gaussian, are to be known as well as D: a second then
        gains what it lowers Var(D)·Var(α)·Var(share) by. Var(D) is that of one Gaussian with
        α = 1, Var(α) that of one Gaussian, Var(share) that with all free; the product of these is
        the D_s criterion of the three together, whatever their units (Atkinson and Donev 1992).
    """

    def __init__(self, light: Light, x_um: ArrayLike, *, robust: bool = False) -> None:
        x = np.asarray(x_um, dtype=np.float64)[:, None] - light.center_um
        t = np.maximum(light.since_ns, 0.0)
        growth = 2 * UM2_PER_NS * light.d_cm2_per_s * t
        v = light.sigma0_um**2 + growth
        narrow = _gaussian(x, v)
        share = light.wing_share
        wide_um = light.wing_sigma0_um if share > 0 else 2 * light.sigma0_um
        wide = _gaussian(x, wide_um**2 + growth)
        profile = (1 - share) * narrow + share * wide
        slope = (1 - share) * _by_variance(x, v) + share * _by_variance(x, wide_um**2 + growth)
        shift = (1 - share) * narrow * x / v + share * wide * x / (wide_um**2 + growth)
        a = np.maximum(light.amplitude_hz_um, 0.0)
        rate = a * profile + np.maximum(light.background_hz, 0.0)
        lit = (a > 0) & (rate > 0).all(axis=0)
        b_share = light.background_hz / max(float(light.background_hz.mean()), 1e-300)
        parts = [
            a * shift,
            a * (1 - share) * _by_variance(x, v),
            a * 2 * UM2_PER_NS * t * slope,
            np.broadcast_to(b_share, rate.shape),
        ]
        if robust:
            log_t = np.log(np.maximum(t, 1e-6))
            parts += [a * growth * log_t * slope, a * (wide - narrow)]
        # how many parameters a model has, and which of them is asked of it
        self._models = [(4, _D), (5, _ALPHA), (6, _WING)] if robust else [(4, _D)]
        gradient = np.stack([part[:, lit] for part in parts])  # (parameter, place, slice)
        weighted = gradient / rate[:, lit]
        self._common = np.einsum("ixt,jxt->xij", weighted, gradient)
        self._cross = np.ascontiguousarray((weighted * profile[:, lit]).transpose(1, 2, 0))
        self._own = profile[:, lit] ** 2 / rate[:, lit]

    def variances(self, exposure_s: ArrayLike) -> tuple[float, FloatArray]:
        """Var(D) in (cm²/s)², and by how much a further second at each place lowers it.

        With `robust`: Var(D) times what a second lowers the three variances by relatively, on
        average.
        """
        e = np.asarray(exposure_s, dtype=np.float64)
        common = np.tensordot(e, self._common, 1)
        cross = np.tensordot(e, self._cross, 1)
        own = np.maximum(e @ self._own, 1e-300)
        schur = common - (cross.T / own) @ cross
        known, gain = [], np.zeros(e.size)
        for size, wanted in self._models:
            variance, column = _variance_of(schur[:size, :size], wanted)
            if not math.isfinite(variance):
                return variance, np.ones(e.size)
            w = np.zeros(len(schur))
            w[:size] = column
            z = -(cross @ w) / own
            lowered = (self._common @ w) @ w + 2 * (self._cross @ w) @ z + self._own @ z**2
            gain += lowered / variance
            known.append(variance)
        return known[0], np.maximum(gain, 0.0) * (known[0] / len(known))

    def stderr(self, exposure_s: ArrayLike) -> float:
        """Predicted standard error of D, cm²/s; infinite where nothing can be known."""
        return math.sqrt(self.variances(exposure_s)[0])


class CurveInformation:
    """The information of a second at each point of a curve D(z), such as a relaxation.

    Parameters
    ----------
    gradient : (point, parameter)
        Derivative of D at each point with respect to each parameter.
    stderr_1s : (point,)
        Standard error of D after one second at each point; it falls with the root of the time.
    wanted : int
        Which parameter is to be known best.
    """

    def __init__(self, gradient: ArrayLike, stderr_1s: ArrayLike, wanted: int) -> None:
        weighted = np.asarray(gradient, dtype=np.float64)
        weighted = weighted / np.asarray(stderr_1s, dtype=np.float64)[:, None]
        self._each = weighted[:, :, None] * weighted[:, None, :]
        self._wanted = wanted

    def variances(self, exposure_s: ArrayLike) -> tuple[float, FloatArray]:
        """Variance of the parameter, and by how much a further second at each point lowers it."""
        total = np.tensordot(np.asarray(exposure_s, dtype=np.float64), self._each, 1)
        variance, w = _variance_of(total, self._wanted)
        return variance, np.maximum((self._each @ w) @ w, 0.0)


class Informative(Protocol):
    """Anything whose places give information by the second."""

    def variances(self, exposure_s: ArrayLike) -> tuple[float, FloatArray]:
        """Variance of what is wanted, and by how much a second at each place lowers it."""


def best_exposure(
    information: Informative,
    counted_s: ArrayLike,
    budget_s: float,
    floor: float = 0.0,
    open_to: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> FloatArray:
    """Share out time so that Var(D) is least in the end.

    Parameters
    ----------
    information : Information
        Of a second at each place.
    counted_s : (place,)
        Time that has been counted already, which cannot be taken back.
    budget_s : float
        Time to share out.
    floor : float
        Share of it that is given to all places alike.
    open_to : (place,) bool, optional
        Places that can still be counted at; all of them if not given.
    start : (place,), optional
        A former answer, to start near it; its sum does not matter.

    Returns
    -------
    (place,) float64
        Further time at each place, s; its sum is the budget.
    """
    counted = np.asarray(counted_s, dtype=np.float64)
    is_open = np.full(counted.size, True) if open_to is None else np.asarray(open_to, dtype=bool)
    even = np.where(is_open, budget_s / max(int(is_open.sum()), 1), 0.0)
    share = even * (1 - floor)  # where nothing is given at first, nothing ever is
    if start is not None:
        near = np.asarray(start, dtype=np.float64)
        near = np.where(is_open, near + START_EVEN * max(near.sum(), 1e-9) / near.size, 0.0)
        share = near * (share.sum() / near.sum())
    for _ in range(ROUNDS):
        variance, gain = information.variances(counted + floor * even + share)
        if not math.isfinite(variance):
            break
        reached = float(share @ gain)
        best = budget_s * (1 - floor) * float(gain[is_open].max(initial=0.0))
        if reached <= 0 or best - reached < ENOUGH * variance:
            break
        share = share * np.sqrt(gain)
        share *= budget_s * (1 - floor) / share.sum()
    return floor * even + share


def _variance_of(information: FloatArray, wanted: int) -> tuple[float, FloatArray]:
    """Variance of a parameter, and its column of the inverse; infinite where that is singular."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    unit = np.zeros(scale.size)
    unit[wanted] = 1 / scale[wanted]
    try:
        column = np.linalg.solve(information / np.outer(scale, scale), unit) / scale
    except np.linalg.LinAlgError:
        return math.inf, np.ones(scale.size)
    variance = float(column[wanted])
    if not (math.isfinite(variance) and variance > 0):
        return math.inf, np.ones(scale.size)
    return variance, column


def _smooth(amplitude: FloatArray) -> FloatArray:
    """Noise apart, so that noisy dark slices do not look lit."""
    width = 1 + amplitude.size // 64
    return np.convolve(amplitude, np.full(width, 1 / width), mode="same")


def _gaussian(x: FloatArray, v: FloatArray) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * x**2 / v) / np.sqrt(2 * np.pi * v))


def _by_variance(x: FloatArray, v: FloatArray) -> NDArray[np.float64]:
    """Derivative of a Gaussian with respect to its variance."""
    return np.asarray(_gaussian(x, v) * 0.5 * (x**2 / v**2 - 1 / v))
