"""What a fit returns: values a person reads, arrays a report draws."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from .maps import FloatArray
from .results import Result

Method = Literal["global", "slices", "gaussian-msd", "voigt-davg", "moment"]
Model = Literal["gaussian", "two-gaussian", "voigt", "moment"]
ModelChoice = Literal["auto", "gaussian", "two-gaussian", "voigt"]
ApertureShape = Literal["square", "disc"]
PileUp = Literal["none", "coates"]
TimeZero = Literal["decay", "half-maximum", "centroid"]


@dataclass(frozen=True)
class FitWarning(Result):
    """Something the person at the table has to know about a number.

    Attributes
    ----------
    code : str
        Short and stable, for programs.
    message : str
        Sentences for a physicist: what, how large, what to do.
    """

    code: str
    message: str

    @property
    def is_remark(self) -> bool:
        """Whether it only says why a value is missing that most maps do not have."""
        return self.code in ("t-max", "alpha")

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, eq=False)
class MsdCurve(Result):
    """Mean square displacement over time, as the chosen method sees it.

    Attributes
    ----------
    t_ns : (n,) float64
        On the map's time axis.
    msd_um2, stderr_um2 : (n,) float64
        MSD along the line and its error bar; NaN where a slice could not be fitted.
    line_um2 : (n,) float64
        The curve that D was read from; NaN where there is none.
    """

    SOURCE: ClassVar[str] = "MSD(t) = σ²(t) − σ²(0): S1, S2 eq. 1; of the profile itself: S3"

    t_ns: FloatArray
    msd_um2: FloatArray
    stderr_um2: FloatArray
    line_um2: FloatArray


@dataclass(frozen=True, eq=False)
class DiffusivityCurve(Result):
    """D(t) = ½ dMSD/dt: half the slope of a line through all points of half a nanosecond (S3).

    Attributes
    ----------
    since_zero_ns : (n,) float64
        Middle of each half nanosecond after time zero, every 50 ps from 0.25 ns on. Neighbours
        share nine tenths of their points, so their errors are not independent.
    d_cm2_per_s, d_stderr_cm2_per_s : (n,) float64
        D and its standard error; NaN where fewer than two slices lie.
    """

    SOURCE: ClassVar[str] = "S3, D(t) = dR²(t)/2dt"

    since_zero_ns: FloatArray
    d_cm2_per_s: FloatArray
    d_stderr_cm2_per_s: FloatArray


@dataclass(frozen=True, eq=False)
class MapFit(Result):
    """Diffusivity and all that belongs to it. A value that cannot be given is None.

    Attributes
    ----------
    method : str
        Estimator that was asked for.
    model : str
        Profile that was fitted.
    d_cm2_per_s, d_stderr_cm2_per_s : float or None
        Diffusivity along the line and its standard error.
    sigma0_nm : float or None
        Standard deviation of the profile at time zero (of the narrower Gaussian if two).
    center_um : float or None
        Centre of the profile.
    background_per_bin : float or None
        Mean counts per position and time bin at the mean exposure.
    alpha, alpha_stderr : float or None
        Exponent of σ² = σ0² + K t^α.
    lifetime_1e_ns : float or None
        From the decay's maximum to 1/e of it.
    diffusion_length_nm : float or None
        √(lifetime · D), as in S2.
    t_max_ns : float or None
        Time of the MSD's maximum after time zero; for `moment` that of D(t), as in S3.
    time_zero_ns : float or None
        Time zero that was used, on the map's axis.
    time_zero_from : str or None
        Where time zero comes from: "decay half-maximum", "decay first bin" (no rising edge),
        "irf half-maximum", "irf centroid", "given", or "first light" when the profile would have
        had no width at the one that was found.
    warnings : tuple of FitWarning
        What to know before using the numbers, and why a number is missing.
    d_max_cm2_per_s, d_max_stderr_cm2_per_s : float or None
        Early maximum of D(t), S3; method `moment` only. The largest of several noisy values is
        too large: compare it with its standard error.
    wing_fraction, wing_sigma0_nm : float or None
        Share of the light in the wider of two Gaussians, and its width at time zero.
    lorentz_hwhm_nm : float or None
        Half width of a Voigt's Lorentzian in the global fit, the same at all times.
    ln_likelihood : float or None
        ln L of the global model minus that of a model that hits every count.
    x_um : (position,) float64
        Measured positions, increasing, each once.
    slice_t_ns : (slice,) float64
        Mean photon times of the pooled slices, on the map's axis.
    sigma2_um2 : (slice,) float64
        σ²(t) of the global model.
    observed, predicted : (position, slice) float64
        Pooled counts, and what the global model expects; empty if there was nothing to fit.
    msd : MsdCurve or None
        The method's own MSD.
    diffusivity : DiffusivityCurve or None
        D(t); method `moment` only. Its long-time value, D_s of S3, is `d_cm2_per_s`, its early
        maximum at `t_max_ns` is `d_max_cm2_per_s`.
    """

    SOURCE: ClassVar[str] = (
        "the project's own (global, slices); S1, σ²(t) of slices (gaussian-msd); S2, equation "
        "2 (voigt-davg); S3, second moment (moment)"
    )

    CURVES: ClassVar[tuple[str, ...]] = (
        "ln_likelihood", "x_um", "slice_t_ns", "sigma2_um2", "observed", "predicted", "msd",
        "diffusivity",
    )  # fmt: skip

    method: Method
    model: Model
    d_cm2_per_s: float | None
    d_stderr_cm2_per_s: float | None
    sigma0_nm: float | None
    center_um: float | None
    background_per_bin: float | None
    alpha: float | None
    alpha_stderr: float | None
    lifetime_1e_ns: float | None
    diffusion_length_nm: float | None
    t_max_ns: float | None
    time_zero_ns: float | None
    time_zero_from: str | None
    warnings: tuple[FitWarning, ...]
    d_max_cm2_per_s: float | None
    wing_fraction: float | None
    wing_sigma0_nm: float | None
    ln_likelihood: float | None
    x_um: FloatArray
    slice_t_ns: FloatArray
    sigma2_um2: FloatArray
    observed: FloatArray
    predicted: FloatArray
    msd: MsdCurve | None
    diffusivity: DiffusivityCurve | None = None
    d_max_stderr_cm2_per_s: float | None = None
    lorentz_hwhm_nm: float | None = None

    def to_dict(self, *, curves: bool = False) -> dict[str, object]:
        """Return the keys of ``tplm analyze --json``.

        What only some maps or methods have (the wings, D_max) is a key only where it was found.
        """
        values = super().to_dict(curves=curves)
        return {
            name: value
            for name, value in values.items()
            if curves or value is not None or name not in _SOMETIMES
        }

    def __str__(self) -> str:
        lines = [
            (
                f"D = {pm(self.d_cm2_per_s, self.d_stderr_cm2_per_s)} cm²/s"
                f"   ({self.method}, {self.model})"
            ),
            (
                f"σ0 = {number(self.sigma0_nm)} nm, centre {number(self.center_um)} µm, "
                f"background {number(self.background_per_bin)} counts per bin"
            ),
            (
                f"α = {pm(self.alpha, self.alpha_stderr)}, 1/e lifetime "
                f"{number(self.lifetime_1e_ns)} ns, diffusion length "
                f"{number(self.diffusion_length_nm)} nm"
            ),
            f"time zero {number(self.time_zero_ns)} ns ({self.time_zero_from or '–'})",
        ]
        if self.d_max_cm2_per_s is not None:
            lines.append(
                f"D_max = {pm(self.d_max_cm2_per_s, self.d_max_stderr_cm2_per_s)} cm²/s "
                f"at {number(self.t_max_ns)} ns"
            )
        lines += [f"! {w}" for w in self.warnings if not w.is_remark]
        return "\n".join(lines)


_SOMETIMES = (
    "d_max_cm2_per_s", "d_max_stderr_cm2_per_s", "wing_fraction", "wing_sigma0_nm",
    "lorentz_hwhm_nm",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SliceFits(Result):
    """One Poisson maximum-likelihood fit per time slice.

    The centre and the background (and wings, if the map has them) are shared: they come from the
    global fit. Arrays are NaN where `converged` is False.

    Attributes
    ----------
    t_ns : (slice,) float64
        Bin centres, or mean photon times when pooled.
    amplitude, amplitude_stderr : (slice,) float64
        Area under the profile, counts·µm per mean-width bin at the mean exposure.
    sigma2_um2, sigma2_stderr_um2 : (slice,) float64
        Variance of the profile.
    msd_um2, msd_stderr_um2 : (slice,) float64
        Variance minus the global σ0²; the error of σ0², common to all, is not in the bars.
    counts : (slice,) float64
        Counts of the slice, all positions together.
    converged : (slice,) bool
        Where the fit found a maximum inside its limits.
    center_um, background_per_bin, sigma0_nm : float or None
        Shared values; None when the global fit had nothing to go by.
    time_zero_ns : float or None
        Time zero that was used.
    """

    SOURCE: ClassVar[str] = "the project's own: Poisson likelihood of each slice"
    CURVES: ClassVar[tuple[str, ...]] = (
        "t_ns", "amplitude", "amplitude_stderr", "sigma2_um2", "sigma2_stderr_um2", "msd_um2",
        "msd_stderr_um2", "counts", "converged",
    )  # fmt: skip

    t_ns: FloatArray
    amplitude: FloatArray
    amplitude_stderr: FloatArray
    sigma2_um2: FloatArray
    sigma2_stderr_um2: FloatArray
    msd_um2: FloatArray
    msd_stderr_um2: FloatArray
    counts: FloatArray
    converged: NDArray[np.bool_]
    center_um: float | None
    background_per_bin: float | None
    sigma0_nm: float | None
    time_zero_ns: float | None


@dataclass(frozen=True, eq=False)
class Revisits:
    """Measurements of one and the same thing repeated during a scan.

    Attributes
    ----------
    time_s : (n,) array
        When.
    counts : (n,) array, optional
        Total counts each time, at equal exposure.
    x_um : (n,) array, optional
        Where the centre was found each time.
    """

    time_s: FloatArray
    counts: FloatArray | None = None
    x_um: FloatArray | None = None


def number(value: float | None) -> str:
    """Write a number, or a dash where there is none."""
    return "–" if value is None else f"{value:.4g}"


def pm(value: float | None, error: float | None) -> str:
    """Write a number with its standard error, if it has one."""
    return number(value) if error is None else f"{number(value)} ± {error:.2g}"
