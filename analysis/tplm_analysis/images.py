"""Two-dimensional maps: a raster of decays, or an image for each pump–probe delay.

All variances, mean square displacements and diffusivities are those **along one axis**: a round
spot has ⟨x²⟩ = ⟨y²⟩ = σ² = σ0² + 2Dt, and ⟨r²⟩ = 2σ². This is also the σ² of the isotropic
two-dimensional Gaussian of S5.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from . import _images as im
from ._images import C0, FLOOR, VXX, VXY, X0, Y0, StackFit
from .decay import blurred_ns, find_time_zero
from .fits import FitWarning, number, pm
from .global_fit import D_UNIT
from .maps import FloatArray, MapData, check_map
from .quality import EDGE_SHARE, OFF_CENTRE, judge_units
from .results import Result
from .study import ALPHA_LR

Shape = Literal["isotropic", "elliptic"]
Noise = Literal["poisson", "gaussian"]

_SIGNAL_LR = 40.0
_RARE = 1e-3
"""Probability below which a deviation is told."""
_COARSE = 16
_MISFIT = 6.0
_BORDER = 0.85


@dataclass(frozen=True, eq=False)
class ImageFit(Result):
    """Diffusivity of a stack of images. A value that cannot be given is None.

    Attributes
    ----------
    shape, noise : str
        What was fitted.
    d_cm2_per_s, d_stderr_cm2_per_s : float or None
        Diffusivity along one axis; of an elliptic fit the mean of x and y.
    d_x_cm2_per_s, d_y_cm2_per_s, d_xy_cm2_per_s, d_x_stderr_cm2_per_s, … : float or None
        Elements of the diffusion tensor; elliptic fits only.
    d_major_cm2_per_s, d_minor_cm2_per_s, … : float or None
        Its principal values, signed, the larger first. Drawn apart by noise where *D* is round.
    angle_deg, angle_stderr_deg : float or None
        Direction of the larger one from the x axis towards y, −90° to 90°; None unless the
        principal values differ beyond doubt (`d_round_p` below 0.001).
    sigma0_nm, sigma0_stderr_nm : float or None
        Width at time zero; of an elliptic spot √ of the mean variance of x and y.
    sigma0_x_nm, sigma0_y_nm : float or None
        Width at time zero along the axes of the stage; elliptic fits only.
    center_x_um, center_y_um, center_x_stderr_um, center_y_stderr_um : float or None
        Centre.
    background_per_bin, background_stderr_per_bin : float or None
        Counts per place and time bin at mean exposure; a signal has an offset for each image.
    alpha, alpha_stderr : float or None
        Exponent of σ² = σ0² + K t^α.
    elliptic_p : float or None
        Chance that a round spot spreading evenly looks this elliptic (likelihood ratio, 4 degrees
        of freedom).
    d_round_p : float or None
        Chance that an isotropic *D* looks this anisotropic, whatever the shape of the spot.
    noise_sd : float or None
        Noise of one value of a signal: given (mean), or from the residuals.
    chi2, degrees : float or None, int or None
        Of all values that were fitted. Meaningless as a test when the noise was not given.
    time_zero_ns, time_zero_from : float or None, str or None
        Where σ² = σ0², and where that comes from.
    warnings : tuple of FitWarning
        What to know before using the numbers.
    x_um, y_um : (place,) float64
        Measured places.
    slice_t_ns, amplitude, offset : (slice,) float64
        Times, areas under the Gaussian (counts·µm² or signal·µm²), backgrounds or offsets.
    sigma2_x_um2, sigma2_y_um2, sigma2_xy_um2 : (slice,) float64
        Fitted covariance.
    observed, predicted : (place, slice) float64
        Pooled counts or signal, and the model's; empty if there was nothing to fit.
    """

    SOURCE: ClassVar[str] = (
        "House estimator: likelihood of the whole stack; σ²(t) = σ0² + 2Dt per axis as in S1 and S5"
    )
    CURVES: ClassVar[tuple[str, ...]] = (
        "x_um", "y_um", "slice_t_ns", "amplitude", "offset", "sigma2_x_um2", "sigma2_y_um2",
        "sigma2_xy_um2", "observed", "predicted",
    )  # fmt: skip

    shape: Shape
    noise: Noise
    d_cm2_per_s: float | None
    d_stderr_cm2_per_s: float | None
    d_x_cm2_per_s: float | None
    d_x_stderr_cm2_per_s: float | None
    d_y_cm2_per_s: float | None
    d_y_stderr_cm2_per_s: float | None
    d_xy_cm2_per_s: float | None
    d_xy_stderr_cm2_per_s: float | None
    d_major_cm2_per_s: float | None
    d_major_stderr_cm2_per_s: float | None
    d_minor_cm2_per_s: float | None
    d_minor_stderr_cm2_per_s: float | None
    angle_deg: float | None
    angle_stderr_deg: float | None
    sigma0_nm: float | None
    sigma0_stderr_nm: float | None
    sigma0_x_nm: float | None
    sigma0_y_nm: float | None
    center_x_um: float | None
    center_x_stderr_um: float | None
    center_y_um: float | None
    center_y_stderr_um: float | None
    background_per_bin: float | None
    background_stderr_per_bin: float | None
    alpha: float | None
    alpha_stderr: float | None
    elliptic_p: float | None
    d_round_p: float | None
    noise_sd: float | None
    chi2: float | None
    degrees: int | None
    time_zero_ns: float | None
    time_zero_from: str | None
    warnings: tuple[FitWarning, ...]
    x_um: FloatArray
    y_um: FloatArray
    slice_t_ns: FloatArray
    amplitude: FloatArray
    offset: FloatArray
    sigma2_x_um2: FloatArray
    sigma2_y_um2: FloatArray
    sigma2_xy_um2: FloatArray
    observed: FloatArray
    predicted: FloatArray

    @property
    def comparison(self) -> str:
        """Whether spot and diffusion are round or elliptic, in words."""
        if self.elliptic_p is None or self.d_round_p is None:
            return "isotropic or elliptic cannot be told"
        if self.elliptic_p >= _RARE:
            return f"no sign of an ellipse (p = {self.elliptic_p:.2g}): the isotropic fit will do"
        if self.d_round_p >= _RARE:
            return (
                f"the spot is elliptic (p = {self.elliptic_p:.2g}), the diffusion is the same "
                f"along every axis within its errors (p = {self.d_round_p:.2g})"
            )
        return f"the diffusion is anisotropic (p = {self.d_round_p:.2g})"

    def __str__(self) -> str:
        lines = [
            (
                f"D = {pm(self.d_cm2_per_s, self.d_stderr_cm2_per_s)} cm²/s along one axis"
                f"   (two-dimensional, {self.shape}, {self.noise})"
            )
        ]
        if self.shape == "elliptic":
            lines += [
                (
                    f"Dx = {pm(self.d_x_cm2_per_s, self.d_x_stderr_cm2_per_s)}, "
                    f"Dy = {pm(self.d_y_cm2_per_s, self.d_y_stderr_cm2_per_s)}, "
                    f"Dxy = {pm(self.d_xy_cm2_per_s, self.d_xy_stderr_cm2_per_s)} cm²/s"
                ),
                (
                    f"principal axes: {pm(self.d_major_cm2_per_s, self.d_major_stderr_cm2_per_s)} "
                    f"and {pm(self.d_minor_cm2_per_s, self.d_minor_stderr_cm2_per_s)} cm²/s, "
                    f"the larger at {pm(self.angle_deg, self.angle_stderr_deg)}°"
                ),
            ]
        lines += [
            (
                f"σ0 = {pm(self.sigma0_nm, self.sigma0_stderr_nm)} nm, centre "
                f"({number(self.center_x_um)}, {number(self.center_y_um)}) µm"
            ),
            f"α = {pm(self.alpha, self.alpha_stderr)}; {self.comparison}",
            f"time zero {number(self.time_zero_ns)} ns ({self.time_zero_from or '–'})",
        ]
        lines += [f"! {w.code}: {w.message}" for w in self.warnings if not w.is_remark]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class ImageSlices(Result):
    """A two-dimensional Gaussian for each image; NaN where `good` is False.

    Centre (and, of counts, background) are common to all images and free.

    Attributes
    ----------
    shape : str
        What was fitted.
    t_ns : (slice,) float64
        Mean photon times of pooled slices, or delays.
    amplitude, amplitude_stderr : (slice,) float64
        Area under the Gaussian, counts·µm² (signal·µm²), at the fitted shape; always given.
    sigma2_um2, sigma2_stderr_um2 : (slice,) float64
        Variance along one axis; of an elliptic fit the mean of x and y.
    sigma2_x_um2, sigma2_y_um2, sigma2_xy_um2, … : (slice,) float64
        Covariance and its errors.
    msd_um2, msd_stderr_um2 : (slice,) float64
        σ²(t) − σ0² along one axis (S5); the error of σ0², common to all, is not in the bars.
    sigma0_um2, sigma0_stderr_um2 : float or None
        The σ0² that was subtracted, a variance: that of the first good image, or as given.
    time_zero_ns : float or None
        Where the MSD is zero: at the first good image, or at time zero when σ0² was given.
    center_x_um, center_y_um, center_x_stderr_um, center_y_stderr_um : float or None
        Centre.
    good : (slice,) bool
        Where the signal is clear and the fit has a maximum.
    noise_sd : float or None
        Noise of one value of a signal.
    warnings : tuple of FitWarning
        What to know before using the numbers.
    """

    SOURCE: ClassVar[str] = "S5: isotropic 2-D Gaussian per image, MSD = σ_t² − σ_0²"
    CURVES: ClassVar[tuple[str, ...]] = (
        "t_ns", "amplitude", "amplitude_stderr", "sigma2_um2", "sigma2_stderr_um2",
        "sigma2_x_um2", "sigma2_x_stderr_um2", "sigma2_y_um2", "sigma2_y_stderr_um2",
        "sigma2_xy_um2", "sigma2_xy_stderr_um2", "msd_um2", "msd_stderr_um2", "good",
    )  # fmt: skip

    shape: Shape
    t_ns: FloatArray
    amplitude: FloatArray
    amplitude_stderr: FloatArray
    sigma2_um2: FloatArray
    sigma2_stderr_um2: FloatArray
    sigma2_x_um2: FloatArray
    sigma2_x_stderr_um2: FloatArray
    sigma2_y_um2: FloatArray
    sigma2_y_stderr_um2: FloatArray
    sigma2_xy_um2: FloatArray
    sigma2_xy_stderr_um2: FloatArray
    msd_um2: FloatArray
    msd_stderr_um2: FloatArray
    sigma0_um2: float | None
    sigma0_stderr_um2: float | None
    time_zero_ns: float | None
    center_x_um: float | None
    center_x_stderr_um: float | None
    center_y_um: float | None
    center_y_stderr_um: float | None
    good: NDArray[np.bool_]
    noise_sd: float | None
    warnings: tuple[FitWarning, ...]


@dataclass(frozen=True, eq=False)
class ImageMoments(Result):
    """Moments of each image along the axes; NaN where the signal does not stand out.

    Attributes
    ----------
    t_ns : (slice,) float64
        Times of the slices.
    total, total_stderr : (slice,) float64
        Sum over the places, background subtracted.
    mean_x_um, mean_y_um, … : (slice,) float64
        First moments and their errors.
    variance_x_um2, variance_y_um2, covariance_um2, … : (slice,) float64
        Second central moments and their errors.
    background : (slice,) float64
        What was subtracted from each value: counts per place at mean exposure, or signal.
    warnings : tuple of FitWarning
        What to know before using the numbers.
    """

    SOURCE: ClassVar[str] = "Second moment as MSD: S3, here along x and y; errors are the project's"
    CURVES: ClassVar[tuple[str, ...]] = (
        "t_ns", "total", "total_stderr", "mean_x_um", "mean_x_stderr_um", "mean_y_um",
        "mean_y_stderr_um", "variance_x_um2", "variance_x_stderr_um2", "variance_y_um2",
        "variance_y_stderr_um2", "covariance_um2", "covariance_stderr_um2", "background",
    )  # fmt: skip

    t_ns: FloatArray
    total: FloatArray
    total_stderr: FloatArray
    mean_x_um: FloatArray
    mean_x_stderr_um: FloatArray
    mean_y_um: FloatArray
    mean_y_stderr_um: FloatArray
    variance_x_um2: FloatArray
    variance_x_stderr_um2: FloatArray
    variance_y_um2: FloatArray
    variance_y_stderr_um2: FloatArray
    covariance_um2: FloatArray
    covariance_stderr_um2: FloatArray
    background: FloatArray
    warnings: tuple[FitWarning, ...]


def fit_images(
    counts: ArrayLike,
    x_um: ArrayLike,
    y_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None = None,
    *,
    shape: Shape = "isotropic",
    noise: Noise = "poisson",
    noise_sd: ArrayLike | None = None,
    time_zero_ns: float | None = None,
    t_range_ns: tuple[float, float] | None = None,
) -> ImageFit:
    """Fit the diffusivity of a whole stack of images at once.

    The covariance of the Gaussian is C(t) = C0 + 2D t. Amplitudes of all images are free, as is
    the background (counts, one for all; a signal has an offset of its own in each image). An
    isotropic fit is always compared with the elliptic one, and a warning says when it is not
    enough.

    Parameters
    ----------
    counts : (y, x, time) or (place, time)
        Photon counts, or a signal such as ΔT/T, of either sign. NaN in a signal: not measured.
    x_um, y_um : (x,) and (y,), or (place,) each
        Sample-plane places; one for each place in any order, if the counts are (place, time).
    t_ns : (time,)
        Bin centres or delays, increasing.
    exposure_s : (y, x) or (place,), optional
        Time spent at each place; 0: not measured; None: all equal.
    shape
        ``"isotropic"``: σ0² and *D* the same along every axis. ``"elliptic"``: two tensors, each
        with principal axes of its own.
    noise
        ``"poisson"``: photon counts, pooled along time as in `fit_map`, errors from the Fisher
        information. ``"gaussian"``: least squares, every image as it is.
    noise_sd : number, (time,) or like `counts`, optional
        Noise of a signal. None: the same everywhere, from the residuals.
    time_zero_ns
        Where σ² = σ0². None: counts as in `fit_map`; a signal at delay 0, or at its first delay
        if that is later.
    t_range_ns : (start, stop), optional
        Bin centres to use. None: counts from after the rising edge as in `fit_map`, a signal from
        time zero.

    Returns
    -------
    ImageFit
        Every value that cannot be given is None, with a warning that says why.

    Raises
    ------
    ValueError
        When the input is malformed; never because of what the values say.
    """
    if shape not in get_args(Shape):
        raise ValueError(f'shape is "isotropic" or "elliptic"; not "{shape}".')
    images = _check(counts, x_um, y_um, t_ns, exposure_s, noise, noise_sd)
    found = _study(images, time_zero_ns, t_range_ns)
    if isinstance(found, _NoFit):
        return _nothing(images, shape, found)
    return _image_fit(images, found, shape)


def fit_image_slices(
    counts: ArrayLike,
    x_um: ArrayLike,
    y_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None = None,
    *,
    shape: Shape = "isotropic",
    noise: Noise = "poisson",
    noise_sd: ArrayLike | None = None,
    time_zero_ns: float | None = None,
    t_range_ns: tuple[float, float] | None = None,
    sigma0_um2: float | None = None,
) -> ImageSlices:
    """Fit a two-dimensional Gaussian to each image (S5).

    Amplitude and covariance of every image are free, and the offset of a signal; centre and, of
    counts, background are free and common to all images. How the width grows is left open.

    Parameters
    ----------
    counts, x_um, y_um, t_ns, exposure_s, shape, noise, noise_sd, time_zero_ns, t_range_ns
        As in `fit_images`.
    sigma0_um2
        Variance to subtract for the MSD, along one axis, when it is known. None: that of the
        first good image.

    Raises
    ------
    ValueError
        When the input is malformed; never because of what the values say.
    """
    if shape not in get_args(Shape):
        raise ValueError(f'shape is "isotropic" or "elliptic"; not "{shape}".')
    if sigma0_um2 is not None and not (math.isfinite(sigma0_um2) and sigma0_um2 >= 0):
        raise ValueError(f"sigma0_um2 must be zero or more; it is {sigma0_um2}.")
    images = _check(counts, x_um, y_um, t_ns, exposure_s, noise, noise_sd)
    found = _study(images, time_zero_ns, t_range_ns, grows=False)
    if isinstance(found, _NoFit):
        return _no_slices(shape, found.stack, (found.reason, *images.warnings))
    return _image_slices(images, found, shape, sigma0_um2)


def image_moments(
    counts: ArrayLike,
    x_um: ArrayLike,
    y_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None = None,
    *,
    noise: Noise = "poisson",
    noise_sd: ArrayLike | None = None,
    background: float | None = None,
) -> ImageMoments:
    """Return mean, variance and covariance of each image; the places must be evenly spaced.

    Parameters
    ----------
    counts, x_um, y_um, t_ns, exposure_s, noise, noise_sd
        As in `fit_images`. Nothing is pooled. A signal without `noise_sd` takes it from the
        scatter along the border of the field.
    background
        What to subtract: counts per place and bin at mean exposure, or signal. None: the mean of
        the border of each image (the outermost 15 % of the half range), its error included.

    Raises
    ------
    ValueError
        When the input is malformed, or there is no border.
    """
    images = _check(counts, x_um, y_um, t_ns, exposure_s, noise, noise_sd)
    if background is not None and not math.isfinite(background):
        raise ValueError(f"background must be a number; it is {background}.")
    return _moments(images, background)


# ---------------------------------------------------------------- input


@dataclass(frozen=True, eq=False)
class _Images:
    """Checked input."""

    data: MapData  # its x_um numbers the places
    x_um: FloatArray
    y_um: FloatArray
    weight: FloatArray  # of a signal, (time, place); empty for counts
    spread: float  # standard deviation of a signal, where weights are relative to it
    noise_given: bool
    poisson: bool

    @property
    def warnings(self) -> tuple[FitWarning, ...]:
        if not self.data.missing:
            return ()
        return (
            FitWarning(
                "missing-positions",
                f"{self.data.missing} of {self.data.rows} places were not measured and are left "
                f"out.",
            ),
        )

    @property
    def everything(self) -> im.Stack:
        """All images, nothing pooled."""
        stack = im.stack_of_counts(self.data, self.x_um, self.y_um)
        return stack if self.poisson else replace(stack, weight=self.weight, poisson=False)


def _check(
    counts: ArrayLike,
    x_um: ArrayLike,
    y_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None,
    noise: Noise,
    noise_sd: ArrayLike | None,
) -> _Images:
    """Bring a stack into the order place × time and check it."""
    if noise not in get_args(Noise):
        raise ValueError(f'noise is "poisson" or "gaussian"; not "{noise}".')
    poisson = noise == "poisson"
    if poisson and noise_sd is not None:
        raise ValueError("noise_sd is for Gaussian noise; that of counts follows from them.")
    table = np.asarray(counts)
    if table.ndim not in (2, 3) or table.dtype.kind not in "iuf" or table.size == 0:
        raise ValueError(
            f"counts must be numbers by (y, x, time) or (place, time); they have shape "
            f"{table.shape} of {table.dtype}."
        )
    x, y = _finite("x_um", x_um), _finite("y_um", y_um)
    if table.ndim == 3:
        if table.shape[:2] != (y.size, x.size):
            raise ValueError(
                f"counts must be (y, x, time), ({y.size}, {x.size}, …) here; they have shape "
                f"{table.shape}."
            )
        x, y = (axis.ravel() for axis in np.meshgrid(x, y))
    if not (x.size == y.size == table.size // table.shape[-1]):
        raise ValueError(
            f"counts hold {table.size // table.shape[-1]} places, x_um {x.size} and y_um {y.size}."
        )
    exposure = None if exposure_s is None else np.asarray(exposure_s, dtype=np.float64).ravel()
    form = table.shape
    table = table.reshape(x.size, -1)
    place = np.arange(x.size)
    if poisson:
        data = check_map(table, place, t_ns, exposure)
        return _Images(data, x, y, np.empty((data.t_ns.size, 0)), 1.0, True, True)
    table = table.astype(np.float64)
    if np.isinf(table).any():
        raise ValueError("counts must be finite, or NaN where nothing was measured.")
    stderr = _noise(noise_sd, form)
    seen = ~np.isnan(table)
    exposure = np.ones(x.size) if exposure is None else exposure
    if exposure.shape == x.shape:
        exposure = exposure * seen.any(axis=1)
    # a signal is no sum over time: its exposures only say what was measured
    data = check_map(np.zeros(table.shape), place, t_ns, np.sign(exposure))
    rows = data.x_um.astype(np.intp)
    data = replace(data, counts=np.ascontiguousarray(np.nan_to_num(table)[rows].T))
    spread = 1.0
    if noise_sd is None and seen[rows].any():
        spread = float(np.nanstd(table[rows])) or 1.0
    weight = np.ascontiguousarray((seen / (spread * stderr) ** 2)[rows].T)
    return _Images(data, x, y, weight, spread, noise_sd is not None, False)


def _finite(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be a list of finite numbers.")
    if np.abs(array).max() > 1e6:
        raise ValueError(f"{name} reaches {np.abs(array).max():g}; is the unit right?")
    return array


def _noise(noise_sd: ArrayLike | None, form: tuple[int, ...]) -> FloatArray:
    """Return the noise of each value; (place, time)."""
    stderr = np.asarray(1.0 if noise_sd is None else noise_sd, dtype=np.float64)
    if not (np.isfinite(stderr).all() and np.all(stderr > 0)):
        raise ValueError("noise_sd must be positive and finite.")
    try:
        return np.broadcast_to(stderr, form).reshape(-1, form[-1])
    except ValueError:
        raise ValueError(
            f"noise_sd must be one number, one for each time, or like counts; it has shape "
            f"{stderr.shape}."
        ) from None


# ---------------------------------------------------------------- the fit


@dataclass(frozen=True, eq=False)
class _Study:
    """Round fit of everything, round and elliptic fit of what is seen."""

    whole: StackFit
    single: StackFit
    elliptic: StackFit | None
    time_zero_from: str
    noise_sd: float | None


@dataclass(frozen=True, eq=False)
class _NoFit:
    """Why there is no fit."""

    reason: FitWarning
    stack: im.Stack | None = None


def _study(
    images: _Images,
    time_zero_ns: float | None,
    t_range_ns: tuple[float, float] | None,
    *,
    grows: bool = True,
) -> _Study | _NoFit:
    """Choose the slices, fit a round Gaussian, then an elliptic one."""
    data = images.data
    x, y = images.x_um[data.x_um.astype(np.intp)], images.y_um[data.x_um.astype(np.intp)]
    if x.size < 9 or min(np.unique(x).size, np.unique(y).size) < 3:
        return _NoFit(
            FitWarning(
                "few-positions",
                f"{x.size} measured place(s) on {np.unique(x).size} x {np.unique(y).size} "
                f"coordinates: a width along two axes needs at least 3 x 3.",
            )
        )
    window = _window(images, time_zero_ns, t_range_ns)
    if isinstance(window, FitWarning):
        return _NoFit(window)
    used, zero, source = window
    if images.poisson:

        def pool(background: float) -> im.Stack:
            return im.stack_of_counts(used.pooled(background=background), images.x_um, images.y_um)

        coarse = im.stack_of_counts(used.pooled(1, _COARSE), images.x_um, images.y_um)
        stack = pool(0.0)
    else:
        stack = images.everything.some(np.isin(data.t_ns, used.t_ns))
        coarse = stack

        def pool(background: float) -> im.Stack:
            return stack

    if stack.t_ns.size < (2 if grows else 1):
        return _NoFit(
            FitWarning("too-few-counts", "There are not two slices with enough light; D cannot be "
            "given. Measure longer."), stack
        )  # fmt: skip
    single = im.fit_round(pool, coarse, zero)
    stderr = None
    if not images.poisson:
        single, stderr = _with_noise(images, single)
    failure = _failure(single, grows=grows)
    if failure is not None:
        return _NoFit(failure, single.stack)
    seen = _visible(single)
    elliptic = im.tilt(seen)
    return _Study(single, seen, elliptic if elliptic.converged else None, source, stderr)


def _window(
    images: _Images, time_zero_ns: float | None, t_range_ns: tuple[float, float] | None
) -> tuple[MapData, float, str] | FitWarning:
    """Return the bins or delays to use, time zero and where that is from."""
    data = images.data
    if time_zero_ns is not None and not math.isfinite(time_zero_ns):
        raise ValueError(f"time_zero_ns must be a number; it is {time_zero_ns}.")
    if t_range_ns is not None and not t_range_ns[0] < t_range_ns[1]:
        raise ValueError(f"t_range_ns must be (start, stop) with start < stop, not {t_range_ns}.")
    first = float(data.t_ns[0])
    if not images.poisson:
        zero, edge, source = max(first, 0.0), False, "first delay" if first > 0 else "delay 0"
    else:
        zero, edge = find_time_zero(data.t_ns, data.density)
        source = "decay half-maximum" if edge else "decay first bin"
    if time_zero_ns is not None:
        zero, edge, source = time_zero_ns, images.poisson and time_zero_ns > first, "given"
    blurred = blurred_ns(data.t_ns, data.density) if edge else 0.0
    start, stop = t_range_ns or (zero + blurred, math.inf)
    used = data.between(start, stop)
    if used.t_ns.size == 0 or not used.counts.any():
        return FitWarning(
            "no-signal",
            f"There is nothing between {start:.4g} and {min(stop, data.t_ns[-1]):.4g} ns.",
        )
    return used, zero, source


def _with_noise(images: _Images, fit: StackFit) -> tuple[StackFit, float]:
    """Return a fit of a signal with true weights, and its noise."""
    if images.noise_given:
        seen = fit.stack.weight > 0
        return fit, float(np.mean(1 / np.sqrt(fit.stack.weight[seen])))
    # what a round spot leaves of an oval one is no noise
    oval = im.tilt(fit)
    best = oval if oval.converged else fit
    # a made signal without any noise is no reason to fail
    excess = math.sqrt(max(-2 * best.ln_likelihood / max(_degrees(best), 1), 1e-12))
    stack = fit.stack.with_noise(excess)
    again = im.maximise(stack, fit.growth, fit.time_zero_ns, fit.theta)
    return again, images.spread * excess


def _visible(fit: StackFit) -> StackFit:
    """Return the fit without images in which hardly any signal is seen; they add noise only."""
    seen = np.abs(fit.slices.area) > im.VISIBLE * fit.slices.area_stderr
    if fit.stack.poisson or seen.all() or not seen.any():
        return fit
    return im.maximise(fit.stack.some(seen), fit.growth, fit.time_zero_ns, fit.theta)


def _degrees(fit: StackFit) -> int:
    linear = 1 if fit.stack.poisson else 2
    free = fit.growth.size - (0 if fit.stack.poisson else 1)
    return fit.stack.measured - linear * fit.stack.t_ns.size - free


def _failure(fit: StackFit, *, grows: bool) -> FitWarning | None:
    """Return why a fit says nothing about a width, or None."""
    gain = 2 * (fit.ln_likelihood - im.ln_likelihood_flat(fit.stack))
    # every slice's amplitude fits some noise
    slices = fit.stack.t_ns.size
    if gain < _SIGNAL_LR + slices + 3 * math.sqrt(2 * slices):
        return FitWarning("no-signal", "No spot stands out of the noise, so it has no width.")
    if fit.stack.poisson and fit.slices.area.sum() <= 0:
        return FitWarning("no-signal", "There is a dark spot and no bright one.")
    if not grows:
        return None
    if not fit.converged or fit.stderr(fit.growth.slope) is None:
        return FitWarning(
            "not-converged",
            "No Gaussian that grows linearly fits inside the field (too narrow for the places, "
            "wider than the field, or its centre outside), so D cannot be given.",
        )
    return None


def _chi2(fit: StackFit) -> tuple[float, float]:
    """Return χ² and its standard deviation if the model holds."""
    expected = im.predicted(fit.stack, fit.local, fit.slices)
    if fit.stack.poisson:
        chi2 = float(np.sum((fit.stack.values - expected) ** 2 / expected))
        return chi2, math.sqrt(float(np.sum(2 + 1 / expected)))
    return -2 * fit.ln_likelihood, math.sqrt(2 * max(_degrees(fit), 1))


def _misfit(images: _Images, fit: StackFit) -> tuple[float, float]:
    """Return by how much errors must be widened, and the excess of the residuals in σ.

    Neighbouring slices are added up first: what the model misses is the same in all of them.
    """
    stack = fit.stack
    expected = im.predicted(stack, fit.local, fit.slices)
    starts = np.arange(0, stack.t_ns.size, max(1, math.ceil(stack.t_ns.size / 12)))
    rest = np.add.reduceat(stack.values - expected, starts, axis=0)
    if stack.poisson:
        variance = np.add.reduceat(expected, starts, axis=0)
        enough = variance >= 5
    else:
        rest = np.add.reduceat((stack.values - expected) * (stack.weight > 0), starts, axis=0)
        weight = np.where(stack.weight > 0, stack.weight, np.inf)
        variance = np.add.reduceat(1 / weight, starts, axis=0)
        enough = variance > 0
    chi2 = float(np.sum(rest[enough] ** 2 / variance[enough]))
    degrees = float(np.count_nonzero(enough)) - starts.size * (1 if stack.poisson else 2) - 5
    if degrees <= 0:
        return 1.0, 0.0
    excess = (chi2 - degrees) / math.sqrt(2 * degrees)
    return (math.sqrt(chi2 / degrees) if excess > _MISFIT else 1.0), excess


def _image_fit(images: _Images, found: _Study, shape: Shape) -> ImageFit:
    """Put together what a study found."""
    fit = found.single
    warnings = list(images.warnings)
    if shape == "elliptic":
        if found.elliptic is None:
            reason = FitWarning("not-converged", "No elliptic Gaussian fits inside the field.")
            return _nothing(images, shape, _NoFit(reason, fit.stack))
        fit = found.elliptic
    widening, excess = _misfit(images, fit)
    if widening > 1:
        warnings.append(
            FitWarning(
                "misfit",
                f"The model does not describe the images: their residuals are {excess:.0f} "
                f"standard deviations above noise. Look at them. Errors are widened {widening:.2g} "
                f"times, but D itself may be off by more.",
            )
        )
    tensor, covariance = _tensor(fit, fit.growth.slope, widening)
    spot, spot_covariance = _tensor(fit, C0, widening)
    mean_d, mean_d_error = _mean(tensor, covariance)
    mean_v, mean_v_error = _mean(spot, spot_covariance)
    elliptic_p, d_round_p = _round_p(found)
    values: dict[str, Any] = {}
    if shape == "elliptic":
        values = _principal_axes(tensor, covariance, d_round_p)
    alpha, alpha_stderr, words = _exponent(fit)
    warnings += words
    warnings += _judge_field(fit)
    warnings += _judge_signal(fit, mean_d / (2 * D_UNIT), mean_d_error / (2 * D_UNIT))
    if shape == "isotropic" and elliptic_p is not None and elliptic_p < _RARE:
        warnings.append(
            FitWarning(
                "elliptic",
                f"The spot or its growth is elliptic (p = {elliptic_p:.1g}): D is a mean over "
                f'directions that may differ. Fit shape "elliptic".',
            )
        )
    sigma0 = math.sqrt(mean_v) if mean_v > 0 else None
    if sigma0 is None:
        warnings.append(FitWarning("sigma0", "The variance at time zero comes out negative."))
    chi2, _ = _chi2(fit)
    local, stack = fit.local, fit.stack
    error = [None if (e := fit.stderr(i)) is None else widening * e for i in range(C0)]
    return ImageFit(
        shape=shape,
        noise="poisson" if images.poisson else "gaussian",
        d_cm2_per_s=mean_d / (2 * D_UNIT),
        d_stderr_cm2_per_s=mean_d_error / (2 * D_UNIT),
        **_axes(values),
        sigma0_nm=None if sigma0 is None else 1e3 * sigma0,
        sigma0_stderr_nm=None if sigma0 is None else 1e3 * mean_v_error / (2 * sigma0),
        sigma0_x_nm=_root_nm(spot[0]) if shape == "elliptic" else None,
        sigma0_y_nm=_root_nm(spot[1]) if shape == "elliptic" else None,
        center_x_um=float(fit.theta[X0]),
        center_x_stderr_um=error[X0],
        center_y_um=float(fit.theta[Y0]),
        center_y_stderr_um=error[Y0],
        background_per_bin=float(fit.theta[FLOOR]) if images.poisson else None,
        background_stderr_per_bin=error[FLOOR] if images.poisson else None,
        alpha=alpha,
        alpha_stderr=alpha_stderr,
        elliptic_p=elliptic_p,
        d_round_p=d_round_p,
        noise_sd=found.noise_sd,
        chi2=chi2,
        degrees=_degrees(fit),
        time_zero_ns=fit.time_zero_ns,
        time_zero_from=found.time_zero_from,
        warnings=tuple(warnings),
        x_um=stack.x_um,
        y_um=stack.y_um,
        slice_t_ns=stack.t_ns,
        amplitude=fit.slices.area,
        offset=fit.slices.floor,
        sigma2_x_um2=local[:, VXX],
        sigma2_y_um2=local[:, VXX + 1],
        sigma2_xy_um2=local[:, VXY],
        observed=stack.values.T,
        predicted=im.predicted(stack, local, fit.slices).T,
    )


def _tensor(fit: StackFit, first: int, widening: float) -> tuple[FloatArray, FloatArray]:
    """Return xx, yy, xy of C0 or 2D and their covariance."""
    shape = fit.growth.shape
    assert fit.covariance is not None
    block = slice(first, first + shape.shape[1])
    covariance = shape @ fit.covariance[block, block] @ shape.T
    return np.asarray(shape @ fit.theta[block]), np.asarray(widening**2 * covariance)


def _mean(tensor: FloatArray, covariance: FloatArray) -> tuple[float, float]:
    """Return the mean of xx and yy and its error."""
    half = np.array([0.5, 0.5, 0.0])
    return float(half @ tensor), math.sqrt(max(float(half @ covariance @ half), 0.0))


def _round_p(found: _Study) -> tuple[float | None, float | None]:
    """Return the chances that round is elliptic by noise: all of it, and of D alone."""
    fit = found.elliptic
    if fit is None:
        return None, None
    lr = 2 * (fit.ln_likelihood - found.single.ln_likelihood)
    tensor, covariance = _tensor(fit, fit.growth.slope, 1.0)
    apart = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    rest = apart @ tensor
    wald = float(rest @ np.linalg.solve(apart @ covariance @ apart.T, rest))
    return float(chdtrc(4, max(lr, 0.0))), float(chdtrc(2, max(wald, 0.0)))


def _principal_axes(
    tensor: FloatArray, covariance: FloatArray, d_round_p: float | None
) -> dict[str, Any]:
    """Return elements and principal values of D in cm²/s, with errors by propagation."""
    d, errors = tensor / (2 * D_UNIT), covariance / (2 * D_UNIT) ** 2
    large, small = (float(one) for one in im.principal(d))
    values: dict[str, Any] = {}
    for i, axis in enumerate(("x", "y", "xy")):
        values[f"d_{axis}"] = float(d[i])
        values[f"d_{axis}_stderr"] = math.sqrt(max(float(errors[i, i]), 0.0))
    angle = 0.5 * math.atan2(2 * d[2], d[0] - d[1])
    cos, sin = math.cos(angle), math.sin(angle)
    along = {"major": (cos**2, sin**2, 2 * cos * sin), "minor": (sin**2, cos**2, -2 * cos * sin)}
    for name, value in (("major", large), ("minor", small)):
        pull = np.array(along[name])
        values[f"d_{name}"] = value
        values[f"d_{name}_stderr"] = math.sqrt(max(float(pull @ errors @ pull), 0.0))
    if d_round_p is not None and d_round_p < _RARE:
        pull = np.array([-cos * sin, cos * sin, cos**2 - sin**2]) / (large - small)
        values["angle"] = math.degrees(angle)
        values["angle_stderr"] = math.degrees(math.sqrt(float(pull @ errors @ pull)))
    return values


def _axes(values: dict[str, Any]) -> dict[str, Any]:
    """Return the elliptic fields of `ImageFit`; None for those that are missing."""
    named: dict[str, Any] = {}
    for axis in ("x", "y", "xy", "major", "minor"):
        named[f"d_{axis}_cm2_per_s"] = values.get(f"d_{axis}")
        named[f"d_{axis}_stderr_cm2_per_s"] = values.get(f"d_{axis}_stderr")
    named["angle_deg"] = values.get("angle")
    named["angle_stderr_deg"] = values.get("angle_stderr")
    return named


def _exponent(fit: StackFit) -> tuple[float | None, float | None, list[FitWarning]]:
    """Return α, its error and what to say about it."""
    power = im.free_exponent(fit)
    error = power.stderr(power.growth.size - 1)
    lr = 2 * (power.ln_likelihood - fit.ln_likelihood)
    if not power.converged or error is None or error > 0.5:
        code, words = "alpha", "The exponent α cannot be determined: the spot grows too little."
        if lr > ALPHA_LR:
            code = "anomalous"
            words = (
                f"The spot does not grow linearly (likelihood ratio {lr:.0f}), nor as any power "
                f"of time: a single D is no honest answer. Look at the MSD (fit_image_slices)."
            )
        return None, None, [FitWarning(code, words)]
    alpha = float(power.theta[-1])
    if lr <= ALPHA_LR:
        return alpha, error, []
    kind = "slower" if alpha < 1 else "faster"
    words = (
        f"The spot does not grow linearly: σ² = σ0² + K t^α with α = {alpha:.2f} ± {error:.2f} "
        f"fits better (likelihood ratio {lr:.0f}), {kind} than diffusion. A single D is no honest "
        f"answer; look at the MSD (fit_image_slices, fit_msd)."
    )
    return alpha, error, [FitWarning("anomalous", words)]


def _judge_field(fit: StackFit) -> list[FitWarning]:
    """Say when units are odd, and when the spot is cut off, off the middle or undersampled."""
    stack = fit.stack
    light, local = np.abs(fit.slices.area), fit.local
    center = fit.theta[[X0, Y0]]
    low = np.array([stack.x_um.min(), stack.y_um.min()])
    high = np.array([stack.x_um.max(), stack.y_um.max()])
    variance = light @ local[:, VXX : VXX + 2] / light.sum()
    found = judge_units(1e3 * math.sqrt(float(variance.mean())), stack.t_ns)
    nearest = np.maximum(np.minimum(center - low, high - center), 0.0)
    share = float(np.exp(-0.5 * nearest**2 / variance).max())
    if share > EDGE_SHARE:
        found.append(
            FitWarning(
                "truncated-range",
                f"At the nearest edge of the field the spot is still {share:.0%} of its peak, so "
                f"width and background are hard to tell apart and D may be far too large. Extend "
                f"the field to at least ±{3 * math.sqrt(float(variance.max())):.2g} µm around it.",
            )
        )
    off = np.abs(center - 0.5 * (low + high)) / (0.5 * (high - low))
    if off.max() > OFF_CENTRE:
        found.append(
            FitWarning(
                "off-centre",
                f"The spot sits at ({center[0]:.2f}, {center[1]:.2f}) µm, {off.max():.0%} of the "
                f"half range from the middle of the field. Recentre before a long scan.",
            )
        )
    narrow = math.sqrt(max(float(im.principal(local[0, VXX:])[1]), 1e-12))
    distance = np.sort(np.hypot(*(np.stack([stack.x_um, stack.y_um]) - center[:, None])))
    if distance[5] > 2.5 * narrow:
        found.append(
            FitWarning(
                "undersampled",
                f"The sixth nearest place to the centre is {distance[5] * 1e3:.0f} nm away, the "
                f"spot has σ = {narrow * 1e3:.0f} nm: too few places on it to trust its width. "
                f"Measure closer together.",
            )
        )
    return found


def _judge_signal(fit: StackFit, d: float, d_error: float) -> list[FitWarning]:
    """Say when D is buried in noise or negative, and when the signal changes sign."""
    found = []
    if abs(d) < 2 * d_error:
        found.append(
            FitWarning(
                "too-few-counts",
                f"D = {d:.2g} ± {d_error:.2g} cm²/s is not distinguishable from zero. Measure "
                f"longer.",
            )
        )
    if d < -3 * d_error:
        found.append(
            FitWarning(
                "negative-d",
                f"The spot narrows with time (D = {d:.2g} ± {d_error:.2g} cm²/s). Look for dark "
                f"or trapped excitons, or for a background that changes.",
            )
        )
    return found + _judge_sign(fit.stack, fit.slices)


def _judge_sign(stack: im.Stack, slices: im.Slices) -> list[FitWarning]:
    pull = slices.area / np.maximum(slices.area_stderr, 1e-300)
    clear = np.flatnonzero(np.abs(pull) > im.CLEAR)
    turns = np.flatnonzero(np.diff(np.sign(pull[clear]))) if clear.size else clear
    if stack.poisson or turns.size == 0:
        return []
    where = " and ".join(
        f"{stack.t_ns[clear[i]]:.4g} to {stack.t_ns[clear[i + 1]]:.4g}" for i in turns[:3]
    )
    words = (
        f"The signal changes its sign between {where} ns. It has no width there, and near it two "
        f"signals that cancel in part need not look like one Gaussian."
    )
    return [FitWarning("sign-change", words)]


def _nothing(images: _Images, shape: Shape, found: _NoFit) -> ImageFit:
    """Return a result that says why there is none."""
    empty, places = np.zeros(0), images.data.x_um.astype(np.intp)
    curves: dict[str, Any] = {
        "x_um": images.x_um[places], "y_um": images.y_um[places], "slice_t_ns": empty,
        "amplitude": empty, "offset": empty, "sigma2_x_um2": empty, "sigma2_y_um2": empty,
        "sigma2_xy_um2": empty, "observed": np.zeros((0, 0)), "predicted": np.zeros((0, 0)),
    }  # fmt: skip
    return ImageFit(
        shape=shape, noise="poisson" if images.poisson else "gaussian",
        d_cm2_per_s=None, d_stderr_cm2_per_s=None, **_axes({}), sigma0_nm=None,
        sigma0_stderr_nm=None, sigma0_x_nm=None, sigma0_y_nm=None, center_x_um=None,
        center_x_stderr_um=None, center_y_um=None, center_y_stderr_um=None,
        background_per_bin=None, background_stderr_per_bin=None, alpha=None, alpha_stderr=None,
        elliptic_p=None, d_round_p=None, noise_sd=None, chi2=None, degrees=None,
        time_zero_ns=None, time_zero_from=None, warnings=(found.reason, *images.warnings),
        **curves,
    )  # fmt: skip


def _root_nm(variance: float) -> float | None:
    return 1e3 * math.sqrt(variance) if variance > 0 else None


# ---------------------------------------------------------------- one image at a time


def _image_slices(
    images: _Images, found: _Study, shape: Shape, sigma0_um2: float | None
) -> ImageSlices:
    """Fit every clear slice."""
    fit = found.whole
    stack, tilted = fit.stack, shape == "elliptic"
    clear = np.abs(fit.slices.area) > im.CLEAR * fit.slices.area_stderr
    if not clear.any():
        reason = FitWarning("no-signal", "In no single image does the spot stand out of the noise.")
        return _no_slices(shape, stack, (reason, *images.warnings))
    each = im.fit_each(replace(fit, stack=stack.some(clear)), tilted)
    scale, noise = 1.0, found.noise_sd
    degrees, sd, chi2 = _slice_chi2(each)
    if noise is not None and not images.noise_given and each.good.any():
        scale = math.sqrt(float(np.median((chi2 / degrees)[each.good])))
        noise *= scale
    bad = (chi2 / scale**2 - degrees) > _MISFIT * sd
    widening = scale * np.where(bad, np.sqrt(chi2 / scale**2 / degrees), 1.0)
    good = each.good & (np.abs(each.slices.area) > im.CLEAR * scale * each.slices.area_stderr)
    turns = _judge_sign(stack, fit.slices)
    if turns:  # two signals that cancel in part have no one width
        good &= ~bad

    def full(values: NDArray[Any]) -> NDArray[Any]:
        """Put the clear slices back among all."""
        empty = False if values.dtype == np.bool_ else np.nan
        whole = np.full(clear.size, empty, dtype=values.dtype)
        whole[clear] = values
        return whole

    n = each.covariance.shape[1]
    to_tensor = np.array([[1.0], [1.0], [0.0]]) if n == 1 else np.eye(3)
    errors = widening[:, None, None] ** 2 * np.einsum(
        "pa,kab,qb->kpq", to_tensor, each.covariance, to_tensor
    )
    tensor = np.where(good[:, None], each.local[:, VXX:], np.nan)
    stderr = np.sqrt(np.where(good[:, None], np.einsum("kpp->kp", errors), np.nan))
    half = np.array([0.5, 0.5, 0.0])
    sigma2 = tensor @ half
    sigma2_stderr = np.sqrt(np.where(good, np.einsum("p,kpq,q->k", half, errors, half), np.nan))
    sigma0, sigma0_stderr, zero = sigma0_um2, 0.0, fit.time_zero_ns
    if sigma0 is None and good.any():
        first = int(np.argmax(good))
        sigma0, sigma0_stderr = float(sigma2[first]), float(sigma2_stderr[first])
        zero = float(each.stack.t_ns[first])
    msd = sigma2 - (math.nan if sigma0 is None else sigma0)
    amplitude, amplitude_stderr = fit.slices.area.copy(), fit.slices.area_stderr.copy()
    amplitude[clear], amplitude_stderr[clear] = each.slices.area, each.slices.area_stderr
    shared = scale * each.shared_stderr
    warnings = [*images.warnings, *_judge_field(fit), *turns]
    warnings += _judge_slices(clear, full(good), full(bad))
    return ImageSlices(
        shape=shape,
        t_ns=stack.t_ns,
        amplitude=amplitude,
        amplitude_stderr=scale * amplitude_stderr,
        sigma2_um2=full(sigma2),
        sigma2_stderr_um2=full(sigma2_stderr),
        sigma2_x_um2=full(tensor[:, 0]),
        sigma2_x_stderr_um2=full(stderr[:, 0]),
        sigma2_y_um2=full(tensor[:, 1]),
        sigma2_y_stderr_um2=full(stderr[:, 1]),
        sigma2_xy_um2=full(tensor[:, 2]),
        sigma2_xy_stderr_um2=full(stderr[:, 2]),
        msd_um2=full(msd),
        msd_stderr_um2=full(sigma2_stderr),
        sigma0_um2=sigma0,
        sigma0_stderr_um2=None if sigma0 is None else sigma0_stderr,
        time_zero_ns=None if sigma0 is None else zero,
        center_x_um=float(each.local[0, X0]),
        center_x_stderr_um=_known(shared[X0]),
        center_y_um=float(each.local[0, Y0]),
        center_y_stderr_um=_known(shared[Y0]),
        good=full(good),
        noise_sd=noise,
        warnings=tuple(warnings),
    )


def _slice_chi2(each: im.EachFit) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return degrees of freedom, standard deviation of χ² if the model holds, and χ²."""
    stack = each.stack
    own = each.covariance.shape[1] + (1 if stack.poisson else 2)
    if not stack.poisson:
        degrees = np.count_nonzero(stack.weight, axis=1) - float(own)
        return degrees, np.sqrt(2 * np.maximum(degrees, 1)), -2 * each.slices.ln_l
    expected = im.predicted(stack, each.local, each.slices)
    chi2 = np.sum((stack.values - expected) ** 2 / expected, axis=1)
    degrees = np.full(chi2.size, float(stack.x_um.size - own))
    return degrees, np.sqrt(np.sum(2 + 1 / expected, axis=1)), chi2


def _judge_slices(
    clear: NDArray[np.bool_], good: NDArray[np.bool_], bad: NDArray[np.bool_]
) -> list[FitWarning]:
    """Say why images have no width."""
    found = []
    if not clear.all():
        found.append(
            FitWarning(
                "dim-images",
                f"In {np.count_nonzero(~clear)} of {clear.size} images the signal is less than "
                f"{im.CLEAR:.0f} times its error: they have no width.",
            )
        )
    if bad.any():
        found.append(
            FitWarning(
                "misfit",
                f"{np.count_nonzero(bad)} of {clear.size} images do not look like one Gaussian "
                f"(χ² is {_MISFIT:.0f} standard deviations too high). Where a signal changes its "
                f"sign they have no width; elsewhere errors are widened to fit.",
            )
        )
    rest = int(np.count_nonzero(clear & ~good & ~bad))
    if rest:
        found.append(
            FitWarning(
                "not-converged",
                f"In {rest} of {clear.size} images no Gaussian fits inside the field.",
            )
        )
    return found


def _no_slices(
    shape: Shape, stack: im.Stack | None, warnings: tuple[FitWarning, ...]
) -> ImageSlices:
    """Return slices without a width."""
    t_ns = np.zeros(0) if stack is None else stack.t_ns
    none = np.full(t_ns.size, np.nan)
    return ImageSlices(
        shape=shape, t_ns=t_ns, amplitude=none, amplitude_stderr=none, sigma2_um2=none,
        sigma2_stderr_um2=none, sigma2_x_um2=none, sigma2_x_stderr_um2=none, sigma2_y_um2=none,
        sigma2_y_stderr_um2=none, sigma2_xy_um2=none, sigma2_xy_stderr_um2=none, msd_um2=none,
        msd_stderr_um2=none, sigma0_um2=None, sigma0_stderr_um2=None, time_zero_ns=None,
        center_x_um=None, center_x_stderr_um=None, center_y_um=None, center_y_stderr_um=None,
        good=np.zeros(t_ns.size, dtype=np.bool_), noise_sd=None, warnings=warnings,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


# ---------------------------------------------------------------- moments


def _moments(images: _Images, background: float | None) -> ImageMoments:
    """Return the moments of every image along the axes."""
    stack = images.everything
    x, y = stack.x_um, stack.y_um
    if x.size == 0:
        raise ValueError("No place was measured: there are no moments.")
    middle = np.array([[x.min() + x.max()], [y.min() + y.max()]]) / 2
    half = np.maximum(np.array([[np.ptp(x)], [np.ptp(y)]]) / 2, 1e-300)
    border = np.max(np.abs(np.stack([x, y]) - middle) / half, axis=0) > _BORDER
    if np.count_nonzero(border) < 4 or border.all():
        raise ValueError("the places have no border to take background and noise from.")
    seen = np.ones_like(stack.values) if stack.poisson else (stack.weight > 0).astype(np.float64)
    rate = stack.values / stack.exposure
    share = seen * border * stack.exposure
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    floor = np.sum(share * rate, axis=1) if background is None else background * stack.width
    if stack.poisson:
        variance = stack.values / stack.exposure**2
    elif images.noise_given:
        variance = np.divide(1.0, stack.weight, out=np.zeros_like(rate), where=seen > 0)
    else:
        rest = (rate - np.sum(share * rate, axis=1)[:, None]) ** 2 * seen * border
        number = np.sum(seen * border, axis=1)
        variance = np.broadcast_to(
            (rest.sum(axis=1) / np.maximum(number - 1, 1))[:, None], rate.shape
        )
    signal = (rate - floor[:, None]) * seen
    total = signal.sum(axis=1)

    def error(pull: FloatArray) -> FloatArray:
        """Propagate the noise of the places, and of the background that all of them share."""
        pull = pull * seen
        if background is None:
            pull = pull - pull.sum(axis=1, keepdims=True) * share
        return np.asarray(np.sqrt(np.sum(pull**2 * variance, axis=1)))

    total_stderr = error(np.ones_like(signal))
    clear = np.abs(total) > im.CLEAR * total_stderr
    safe = np.where(clear, total, np.nan)
    mean_x, mean_y = signal @ x / safe, signal @ y / safe
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]

    def moment(part: FloatArray) -> tuple[FloatArray, FloatArray]:
        value = np.sum(signal * part, axis=1) / safe
        return value, error((part - value[:, None]) / safe[:, None])

    (var_x, var_x_error), (var_y, var_y_error) = moment(dx**2), moment(dy**2)
    cov, cov_error = moment(dx * dy)
    warnings = list(images.warnings)
    if not clear.all():
        warnings.append(
            FitWarning(
                "dim-images",
                f"In {np.count_nonzero(~clear)} of {total.size} images the sum is less than "
                f"{im.CLEAR:.0f} times its error: they have no moments.",
            )
        )
    if clear.any():
        reach = float(np.min(half)) / math.sqrt(max(float(np.nanmedian(var_x + var_y)) / 2, 1e-300))
        if reach < 3:
            warnings.append(
                FitWarning(
                    "truncated-range",
                    f"The field reaches {reach:.1f} σ from its middle; second moments need 3 σ "
                    f"or more and come out wrong otherwise.",
                )
            )
    return ImageMoments(
        t_ns=stack.t_ns,
        total=total,
        total_stderr=total_stderr,
        mean_x_um=mean_x,
        mean_x_stderr_um=error(dx / safe[:, None]),
        mean_y_um=mean_y,
        mean_y_stderr_um=error(dy / safe[:, None]),
        variance_x_um2=var_x,
        variance_x_stderr_um2=var_x_error,
        variance_y_um2=var_y,
        variance_y_stderr_um2=var_y_error,
        covariance_um2=cov,
        covariance_stderr_um2=cov_error,
        background=floor,
        warnings=tuple(warnings),
    )
