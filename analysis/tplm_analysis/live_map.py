"""The fit of a map that is still being measured, each time from where the last one ended."""

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from ._likelihood import FIRST_VARIANCE
from .fits import FitWarning, SliceFits
from .global_fit import D_UNIT, GlobalFit, refit
from .maps import MapData, check_map
from .quality import misfit
from .results import Result
from .slice_fit import no_slices, slice_fits
from .study import NoDiffusion, Study, study

_GROWN = 1.25


@dataclass(frozen=True, eq=False)
class MapSoFar(Result):
    """What an unfinished map says. A value that cannot be given yet is None.

    Attributes
    ----------
    d_cm2_per_s, d_stderr_cm2_per_s : float or None
        Diffusivity along the line by the default method of `fit_map`, and its standard error.
    slices : SliceFits
        Amplitude, width and MSD of every time bin with their errors; σ0, centre and background.
    reason : FitWarning or None
        Why there is no D yet.
    """

    SOURCE: ClassVar[str] = "The project's own: `fit_map` on what was measured so far"

    d_cm2_per_s: float | None
    d_stderr_cm2_per_s: float | None
    slices: SliceFits
    reason: FitWarning | None


class LiveMap:
    """Fits a growing map again and again: D as in `fit_map`, the slices as in `fit_slices`.

    Most updates take time zero, the range of bins and the kind of profile (one Gaussian or two)
    from the last one and start where it ended: a few milliseconds for 4096 bins. When the counts
    have grown by a quarter, or that start leads nowhere, everything is decided afresh. Pile-up,
    the instrument response, a Voigt profile, α and the warnings are left to `fit_map`, once the
    scan is done.
    House estimator. Not for several threads at once.

    Parameters
    ----------
    x_um : (position,)
        Positions, any order, repeats allowed.
    t_ns : (time,)
        Bin centres, increasing.
    """

    def __init__(self, x_um: ArrayLike, t_ns: ArrayLike) -> None:
        self._x_um, self._t_ns = x_um, t_ns
        self._study: Study | None = None
        self._decided_at = 0.0
        self._fit: GlobalFit | None = None
        self._slices: SliceFits | None = None

    def update(
        self, counts: ArrayLike, exposure_s: ArrayLike | None = None, *, corrected: bool = False
    ) -> MapSoFar:
        """Fit the map as it is now.

        Parameters
        ----------
        counts : (position, time)
            Whole numbers of photons so far.
        exposure_s : (position,), optional
            Time spent at each position so far; 0: not measured yet. None: all equal.
        corrected : bool
            The counts were corrected for pile-up by `coates` and need not be whole.

        Raises
        ------
        ValueError
            When the input is malformed.
        """
        data = check_map(counts, self._x_um, self._t_ns, exposure_s, corrected=corrected)
        fit = self._continued(data)
        if fit is None:
            found = study(data, None, None, None)
            self._decided_at = float(data.counts.sum())
            if isinstance(found, NoDiffusion):
                self._study = self._fit = self._slices = None
                return MapSoFar(None, None, no_slices(data, found.time_zero_ns), found.reason)
            self._study, fit = found, found.fit
        self._fit, self._slices = fit, slice_fits(data, fit, self._slices)
        error = fit.stderr(FIRST_VARIANCE + 1)
        return MapSoFar(
            d_cm2_per_s=float(fit.theta[FIRST_VARIANCE + 1]) / 2 / D_UNIT,
            d_stderr_cm2_per_s=None if error is None else misfit(fit) * error / 2 / D_UNIT,
            slices=self._slices,
            reason=None,
        )

    def _continued(self, data: MapData) -> GlobalFit | None:
        """Return the last fit brought up to date, None where all has to be decided afresh."""
        if self._study is None or self._fit is None:
            return None
        if data.counts.sum() >= _GROWN * self._decided_at:
            return None
        t_ns = self._study.used.t_ns
        used = data.between(float(t_ns[0]), float(t_ns[-1]))
        fit = refit(self._fit, used.pooled(background=self._fit.background))
        return fit if fit.converged else None
