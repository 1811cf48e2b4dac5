"""Drift of brightness and place during a scan, taken out by revisits of a reference."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ._likelihood import FIRST_VARIANCE
from .fits import FitWarning, Revisits
from .global_fit import GlobalFit, shift_of
from .maps import FloatArray

_ROUGH = 0.1


@dataclass(frozen=True, eq=False)
class Drift:
    """What a reference says about every row of a map.

    Between revisits brightness and place are interpolated linearly; before the first and after
    the last they keep its value. What happens in between unseen stays in the map: `scatter`,
    the revisits' own deviation from their neighbours, is the measure of it.

    Attributes
    ----------
    weight : (row, revisit) float64
        Share of each revisit in the interpolation.
    factor : (row,) float64
        Brightness over its mean.
    shift_um : (row,) float64
        Place of the centre relative to its mean.
    factor_scatter, shift_scatter_um : float
        Standard error of one revisit: from Poisson's law (brightness) or the deviation from the
        line through its two neighbours, whichever is larger.
    """

    weight: FloatArray
    factor: FloatArray
    shift_um: FloatArray
    factor_scatter: float
    shift_scatter_um: float

    def corrected(self, x_um: ArrayLike, exposure_s: ArrayLike | None) -> tuple[FloatArray, ...]:
        """Return the positions relative to the sample, and the exposures, with drift taken out.

        The exposure factor scales the background along with the signal: right when the light
        or its detection fades, an error of the second order when the excitation does.
        """
        x = np.asarray(x_um, dtype=np.float64)
        if x.shape != self.factor.shape:
            raise ValueError(
                f"measured_s must hold one time per position ({x.size}); it holds "
                f"{self.factor.size}."
            )
        exposure = np.ones(x.size) if exposure_s is None else np.asarray(exposure_s, np.float64)
        if exposure.shape != x.shape:
            raise ValueError(
                f"exposure_s must have one value per position ({x.size}); it has {exposure.size}."
            )
        return x - self.shift_um, exposure * self.factor

    def stderr_um2_per_ns(self, fit: GlobalFit, x_um: FloatArray) -> float:
        """Return the error of 2D that comes from the noise of the revisits.

        One step of the likelihood's maximum for every revisit, moved by its standard error.

        Parameters
        ----------
        fit
            The fit of the corrected map.
        x_um : (row,)
            Corrected position of every row, NaN where it was not measured.
        """
        measured = np.isfinite(x_um)
        place = np.searchsorted(fit.data.x_um, x_um[measured]).clip(0, fit.data.x_um.size - 1)
        rows = np.bincount(place, minlength=fit.data.x_um.size)
        total = 0.0
        for share in self.weight[measured].T:
            part = np.bincount(place, share, fit.data.x_um.size) / np.maximum(rows, 1)
            if self.factor_scatter > 0:
                fainter = fit.data.exposure * (1 + self.factor_scatter * part)
                total += shift_of(fit, replace(fit.data, exposure=fainter))[FIRST_VARIANCE + 1] ** 2
            if self.shift_scatter_um > 0:
                moved = fit.data.x_um - self.shift_scatter_um * part
                total += shift_of(fit, replace(fit.data, x_um=moved))[FIRST_VARIANCE + 1] ** 2
        return math.sqrt(total)

    def judge(self, sigma0_um: float | None) -> list[FitWarning]:
        """Say what was taken out, and when the revisits are too few for it."""
        swing, moved = float(np.ptp(self.factor)), 1e3 * float(np.ptp(self.shift_um))
        found = [
            FitWarning(
                "drift-corrected",
                f"Drift was taken out between revisits of the reference: {swing:.1%} of the "
                f"brightness and {moved:.0f} nm of the place. The error of D holds the noise of "
                f"the revisits.",
            )
        ]
        rough = self.factor_scatter > _ROUGH
        if sigma0_um is not None:
            rough = rough or self.shift_scatter_um > _ROUGH * sigma0_um
        if rough:
            found.append(
                FitWarning(
                    "drift",
                    f"Single revisits lie {self.factor_scatter:.1%} of the brightness and "
                    f"{1e3 * self.shift_scatter_um:.0f} nm off the line through their "
                    f"neighbours: the drift between them is not known. Revisit more often, or "
                    f"scan in many passes.",
                )
            )
        return found


def find_drift(revisits: Revisits, measured_s: ArrayLike) -> Drift:
    """Return the drift at the times at which the rows of a map were measured.

    Parameters
    ----------
    revisits
        Two or more, in order of time.
    measured_s : (row,)
        Middle of each visit, on the clock of the revisits.

    Raises
    ------
    ValueError
        When either is malformed.
    """
    t = _finite("measured_s", measured_s)
    when = _finite("revisits.time_s", revisits.time_s)
    if when.size < 2 or np.any(np.diff(when) <= 0):
        raise ValueError("Taking drift out needs two or more revisits at increasing time_s.")
    weight = np.array([np.interp(t, when, one) for one in np.eye(when.size)]).T
    factor, factor_scatter = np.ones(t.size), 0.0
    if revisits.counts is not None:
        counts = _finite("revisits.counts", revisits.counts, when.size)
        if counts.min() <= 0:
            raise ValueError("revisits.counts must be positive to take drift out.")
        brightness = counts / counts.mean()
        factor = weight @ brightness
        noise = math.sqrt(float(np.mean(brightness**2 / counts)))
        factor_scatter = max(noise, _scatter(when, brightness))
    shift, shift_scatter = np.zeros(t.size), 0.0
    if revisits.x_um is not None:
        place = _finite("revisits.x_um", revisits.x_um, when.size)
        shift = weight @ (place - place.mean())
        shift_scatter = _scatter(when, place)
    return Drift(weight, factor, shift, factor_scatter, shift_scatter)


def _scatter(when: FloatArray, values: FloatArray) -> float:
    """Return the standard deviation of single values about the lines between their neighbours."""
    if values.size < 3:
        return 0.0
    share = (when[1:-1] - when[:-2]) / (when[2:] - when[:-2])
    off = values[1:-1] - (1 - share) * values[:-2] - share * values[2:]
    return math.sqrt(float(np.mean(off**2 / (1 + share**2 + (1 - share) ** 2))))


def _finite(name: str, values: ArrayLike, size: int | None = None) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.all(np.isfinite(array)) or size not in (None, array.size):
        raise ValueError(f"{name} must be a list of finite numbers, one per visit.")
    return array
