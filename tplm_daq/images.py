"""Two-dimensional maps from files: scans over an area, and stacks of images."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from tplm_analysis.images import ImageFit, ImageSlices, Noise, fit_image_slices, fit_images
from tplm_config import InputError
from tplm_daq.analysis import read_irf
from tplm_daq.report import COLOURS, picture_path
from tplm_daq.store import read_scan
from tplm_daq.store.files import replacing
from tplm_daq.tables import MAX_CELLS, ordinary_file

F64 = NDArray[np.float64]
_KEYS = ("counts", "signal", "x_um", "y_um", "t_ns", "exposure_s", "noise_sd")


@dataclass(frozen=True, eq=False)
class ImageStack:
    """What `tplm_analysis.fit_images` needs.

    Attributes
    ----------
    values : ndarray, shape (places, times) or (y, x, times)
        Counts or a signal.
    x_um, y_um, t_ns : ndarray
        One for each place, or axis.
    exposure_s : ndarray or None
        Time counted at each place; 0 where nothing was measured.
    noise : {"poisson", "gaussian"}
        Counts or a signal.
    noise_sd : ndarray or None
        Of a signal.
    time_zero_ns, t_range_ns : float or None, (float, float) or None
        From an instrument response in the file.
    """

    values: NDArray[Any]
    x_um: F64
    y_um: F64
    t_ns: F64
    exposure_s: F64 | None
    noise: Noise
    noise_sd: F64 | None = None
    time_zero_ns: float | None = None
    t_range_ns: tuple[float, float] | None = None


def read_images(path: str | Path) -> ImageStack:
    """Read a two-dimensional map.

    Parameters
    ----------
    path : str or Path
        ``.h5``: a scan over an area, its places as they were measured. ``.npz``: ``counts`` (whole
        numbers) or ``signal`` by (y, x, time) or (place, time), ``x_um``, ``y_um``, ``t_ns``, and
        optionally ``exposure_s`` and, of a signal, ``noise_sd``.

    Raises
    ------
    InputError
        If there is no such map in it.
    """
    path = ordinary_file(path)
    match path.suffix.lower():
        case ".h5":
            return _of_scan(path)
        case ".npz":
            return _of_npz(path)
        case suffix:
            raise InputError(
                path, f"the file name ends in '{suffix}'", "images are one of .h5, .npz"
            )


def _of_scan(path: Path) -> ImageStack:
    scan = read_scan(path)
    places = scan.plan.places()
    x_um, y_um = np.array([p.x_um for p in places]), np.array([p.y_um for p in places])
    if min(np.unique(x_um).size, np.unique(y_um).size) < 3:
        raise InputError(path, f"a {scan.plan.kind} does not cover an area", "leave out --two-d")
    zero, window = None, None
    if scan.irf_counts() is not None:
        irf = read_irf(path)
        zero, window = irf.half_maximum_ns, (irf.half_maximum_ns + irf.tail_ns, math.inf)
    return ImageStack(
        scan.position_counts, x_um, y_um, scan.header.t_ns, scan.exposure_s, "poisson", None,
        zero, window,
    )  # fmt: skip


def _of_npz(path: Path) -> ImageStack:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {key: np.asarray(archive[key]) for key in _KEYS if key in archive.files}
    except Exception as error:  # noqa: BLE001 - damaged bytes raise anything
        detail = str(error).split("\n", 1)[0][:120] or type(error).__name__
        raise InputError(path, f"not a readable .npz file ({detail})") from None
    if ("counts" in found) == ("signal" in found):
        raise InputError(path, "one of the keys counts and signal is needed, not both")
    for key in ("x_um", "y_um", "t_ns"):
        if key not in found:
            raise InputError(
                path, "the key is missing", "needed are counts or signal, x_um, y_um, t_ns", key
            )
    counted = "counts" in found
    values = found["counts" if counted else "signal"]
    if values.size > MAX_CELLS:
        raise InputError(path, f"{values.size} values", f"at most {MAX_CELLS} are allowed")
    return ImageStack(
        values, found["x_um"], found["y_um"], found["t_ns"], found.get("exposure_s"),
        "poisson" if counted else "gaussian", found.get("noise_sd"),
    )  # fmt: skip


def fit_image_file(
    path: str | Path,
    *,
    time_zero_ns: float | None = None,
    t_range_ns: tuple[float, float] | None = None,
) -> tuple[ImageFit, ImageSlices]:
    """Fit elliptic Gaussians to a two-dimensional map: all images together, and each by itself.

    Raises
    ------
    InputError
        If the file or an option is not usable.
    """
    stack = read_images(path)
    zero = stack.time_zero_ns if time_zero_ns is None else time_zero_ns
    window = stack.t_range_ns if t_range_ns is None else t_range_ns
    given: dict[str, Any] = {
        "shape": "elliptic", "noise": stack.noise, "noise_sd": stack.noise_sd,
        "time_zero_ns": zero, "t_range_ns": window,
    }  # fmt: skip
    map_ = (stack.values, stack.x_um, stack.y_um, stack.t_ns, stack.exposure_s)
    try:
        return fit_images(*map_, **given), fit_image_slices(*map_, **given)
    except (ValueError, TypeError) as error:
        raise InputError(path, str(error)) from None


def draw_images(fit: ImageFit, slices: ImageSlices, path: str | Path, title: str = "") -> None:
    """Draw all light with the spot's ellipse, the residuals, and the widths along x and y.

    Raises
    ------
    InputError
        If the picture cannot be written there.
    """
    path = picture_path(path)
    figure = Figure(figsize=(13.5, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots(1, 3)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    if fit.observed.size:
        _places(axes[0], fit, fit.observed.sum(axis=1), "all images together", "magma")
        _ellipses(axes[0], fit)
        rest = (fit.observed - fit.predicted).sum(axis=1)
        if fit.noise == "poisson":
            rest = rest / np.sqrt(fit.predicted.sum(axis=1))
            top = 4.0
        else:
            top = 4 * float(fit.noise_sd or 1.0) * math.sqrt(fit.observed.shape[1])
        name = "residuals in σ" if fit.noise == "poisson" else "residuals"
        _places(axes[1], fit, rest, name, "RdBu_r", top)
    _growth(axes[2], fit, slices)
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        raise InputError(path, f"the picture cannot be written ({error.strerror})") from None


def _places(
    axis: Axes, fit: ImageFit, values: F64, title: str, colours: str, top: float | None = None
) -> None:
    axis.set_title(title)
    axis.set_xlabel("x (µm)")
    axis.set_ylabel("y (µm)")
    axis.set_aspect("equal")
    columns, rows = np.unique(fit.x_um), np.unique(fit.y_um)
    limits: dict[str, Any] = {} if top is None else {"vmin": -top, "vmax": top}
    if columns.size * rows.size <= 4 * values.size:  # a grid, perhaps with gaps
        grid = np.full((rows.size, columns.size), np.nan)
        grid[np.searchsorted(rows, fit.y_um), np.searchsorted(columns, fit.x_um)] = values
        drawn: Any = axis.pcolormesh(
            columns, rows, grid, cmap=colours, shading="nearest", rasterized=True, **limits
        )
    else:
        drawn = axis.scatter(fit.x_um, fit.y_um, c=values, cmap=colours, s=14, **limits)
    axis.figure.colorbar(drawn, ax=axis, pad=0.01)


def _ellipses(axis: Axes, fit: ImageFit) -> None:
    """Draw one σ of the spot, early and late."""
    for i, colour in ((0, "white"), (-1, COLOURS[1])):
        covariance = np.array(
            [
                [fit.sigma2_x_um2[i], fit.sigma2_xy_um2[i]],
                [fit.sigma2_xy_um2[i], fit.sigma2_y_um2[i]],
            ]
        )
        values, vectors = np.linalg.eigh(covariance)
        angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
        axis.add_patch(
            Ellipse(
                (fit.center_x_um or 0.0, fit.center_y_um or 0.0), 2 * math.sqrt(values[1]),
                2 * math.sqrt(values[0]), angle=angle, fill=False, color=colour, lw=1.4,
                label=f"1 σ at {fit.slice_t_ns[i]:.3g} ns",
            )
        )  # fmt: skip
    axis.legend(fontsize=8, loc="upper right")


def _growth(axis: Axes, fit: ImageFit, slices: ImageSlices) -> None:
    axis.set_title("single images, and the fit to all")
    axis.set_xlabel("time (ns)")
    axis.set_ylabel("σ² along one axis (10³ nm²)")
    rows = (
        ("x", slices.sigma2_x_um2, slices.sigma2_x_stderr_um2, fit.sigma2_x_um2, COLOURS[0]),
        ("y", slices.sigma2_y_um2, slices.sigma2_y_stderr_um2, fit.sigma2_y_um2, COLOURS[4]),
    )
    for name, value, error, model, colour in rows:
        axis.errorbar(
            slices.t_ns, 1e3 * value, 1e3 * error, fmt="o", ms=3, lw=0.8, color=colour, alpha=0.6
        )
        d = fit.d_x_cm2_per_s if name == "x" else fit.d_y_cm2_per_s
        s = fit.d_x_stderr_cm2_per_s if name == "x" else fit.d_y_stderr_cm2_per_s
        label = f"D{name} = {d:.3g} ± {s:.1g} cm²/s" if d is not None and s is not None else name
        axis.plot(fit.slice_t_ns, 1e3 * model, color=colour, lw=1.8, label=label)
    axis.legend(fontsize=8, loc="upper left")
