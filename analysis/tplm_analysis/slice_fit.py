"""Width and amplitude of a map, slice by slice."""

import math

import numpy as np
from numpy.typing import ArrayLike

from ._likelihood import FIRST_VARIANCE, X0
from .fits import SliceFits
from .global_fit import GlobalFit
from .maps import MapData, check_map
from .slices import SliceTable
from .study import NoDiffusion, study


def fit_slices(
    counts: ArrayLike,
    x_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None = None,
    *,
    pool_counts: int = 0,
    time_zero_ns: float | None = None,
    t_range_ns: tuple[float, float] | None = None,
    background_per_bin: float | None = None,
) -> SliceFits:
    """Fit amplitude and width of every time slice by Poisson maximum likelihood.

    Centre, background (and wings) are shared by all slices and come from the global fit of the
    same map; so does σ0² of the MSD. House estimator.

    Parameters
    ----------
    counts : (position, time)
        Whole numbers of photons.
    x_um : (position,)
        Positions, any order, repeats allowed.
    t_ns : (time,)
        Bin centres, increasing.
    exposure_s : (position,), optional
        Time spent at each position; 0 means not measured.
    pool_counts
        Add neighbouring bins until a slice holds this many counts; 0 keeps every bin.
    time_zero_ns, t_range_ns, background_per_bin
        As in `fit_map`; they steer the global fit, every bin is still fitted.

    Returns
    -------
    SliceFits
        NaN in the arrays, and `converged` False, where a slice holds too little.

    Raises
    ------
    ValueError
        When the input is malformed.
    """
    data = check_map(counts, x_um, t_ns, exposure_s)
    found = study(data, time_zero_ns, t_range_ns, background_per_bin)
    slices = data.pooled(pool_counts, data.t_ns.size) if pool_counts > 0 else data
    if isinstance(found, NoDiffusion):
        return no_slices(slices, found.time_zero_ns)
    return slice_fits(slices, found.fit)


def slice_fits(data: MapData, fit: GlobalFit, start: SliceFits | None = None) -> SliceFits:
    """Fit the slices of a map with everything shared taken from a global fit.

    Parameters
    ----------
    data
        The map, pooled or not.
    fit
        Where centre, background, wings and σ0² come from.
    start
        An earlier result for the same slices, to start from.
    """
    table = SliceTable(
        data,
        fit,
        variance_start=None if start is None else start.sigma2_um2,
        amplitude_start=None if start is None else start.amplitude * data.width,
    )
    sigma2 = float(fit.theta[FIRST_VARIANCE])
    return SliceFits(
        t_ns=data.t_ns,
        amplitude=table.amplitude / data.width,
        amplitude_stderr=table.amplitude_stderr / data.width,
        sigma2_um2=table.variance,
        sigma2_stderr_um2=table.variance_stderr,
        msd_um2=table.variance - sigma2,
        msd_stderr_um2=table.variance_stderr,
        counts=data.decay,
        converged=table.converged,
        center_um=float(fit.theta[X0]),
        background_per_bin=fit.background,
        sigma0_nm=1e3 * math.sqrt(sigma2),
        time_zero_ns=fit.time_zero_ns,
    )


def no_slices(data: MapData, zero: float | None) -> SliceFits:
    """Return a result without a single fit, where there is no global one."""
    blank = np.full(data.t_ns.size, np.nan)
    return SliceFits(
        t_ns=data.t_ns,
        amplitude=blank,
        amplitude_stderr=blank,
        sigma2_um2=blank,
        sigma2_stderr_um2=blank,
        msd_um2=blank,
        msd_stderr_um2=blank,
        counts=data.decay,
        converged=np.zeros(data.t_ns.size, dtype=np.bool_),
        center_um=None,
        background_per_bin=None,
        sigma0_nm=None,
        time_zero_ns=zero,
    )
