"""Lifetimes of a decay: exponentials, convolved with the instrument response."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares, nnls
from scipy.special import kl_div

from .irf import Irf, check_histogram
from .maps import FloatArray

_STARTS: dict[int, tuple[tuple[float, ...], ...]] = {
    1: ((1.0,), (0.2,)),
    2: ((0.25, 1.5), (0.5, 5.0), (0.1, 1.0)),
    3: ((0.1, 0.7, 3.0), (0.3, 1.0, 6.0), (0.03, 0.4, 2.0)),
}
"""Lifetimes to start from, in units of the mean arrival time."""


@dataclass(frozen=True, eq=False)
class DecayFit:
    """Exponentials and a flat background, by Poisson maximum likelihood.

    Attributes
    ----------
    lifetime_ns, lifetime_stderr_ns : (exponential,) float64
        Lifetimes, shortest first; NaN for an error that the counts do not determine.
    photon_share, photon_share_stderr : (exponential,) float64
        Share of all photons of the decay, those beyond the range included: amplitude × lifetime
        over the sum. Without an IRF, of the photons after the first bin used.
    background_per_bin, background_stderr_per_bin : float
        Flat background.
    chi2, degrees : float, int
        Pearson's χ² over all bins used, and the degrees of freedom.
    deviance : float
        -2 ln L against a model that hits every count.
    converged : bool
        Whether a maximum of the likelihood was reached with light in every exponential, and every
        lifetime inside its limits and with an error smaller than itself. If not, try fewer.
    t_ns, observed, predicted : (bin,) float64
        Bins used, their counts, and the model.
    """

    lifetime_ns: FloatArray
    lifetime_stderr_ns: FloatArray
    photon_share: FloatArray
    photon_share_stderr: FloatArray
    background_per_bin: float
    background_stderr_per_bin: float
    chi2: float
    degrees: int
    deviance: float
    converged: bool
    t_ns: FloatArray
    observed: FloatArray
    predicted: FloatArray

    @property
    def mean_lifetime_ns(self) -> float:
        """Mean time of emission: the lifetimes weighted by their photons."""
        return float(self.photon_share @ self.lifetime_ns)

    def to_dict(self) -> dict[str, object]:
        """Return the numbers, ready for `json.dumps`; None where one cannot be given."""
        return {
            name: _plain(getattr(self, name))
            for name in (
                "lifetime_ns", "lifetime_stderr_ns", "photon_share", "photon_share_stderr",
                "mean_lifetime_ns", "background_per_bin", "background_stderr_per_bin", "chi2",
                "degrees", "deviance", "converged",
            )
        }  # fmt: skip

    def __str__(self) -> str:
        rows = zip(
            self.lifetime_ns, self.lifetime_stderr_ns, self.photon_share, self.photon_share_stderr,
            strict=True,
        )  # fmt: skip
        lines = [
            f"τ = {tau:.4g} ± {error:.2g} ns, {share:.1%} ± {share_error:.1%} of the photons"
            for tau, error, share, share_error in rows
        ]
        lines.append(
            f"background {self.background_per_bin:.4g} counts per bin, "
            f"χ² = {self.chi2:.0f} for {self.degrees} degrees of freedom"
        )
        if not self.converged:
            lines.append("! not converged: these exponentials do not describe the decay")
        return "\n".join(lines)


def fit_decay(
    counts: ArrayLike,
    t_ns: ArrayLike,
    irf: Irf | None = None,
    exponentials: Literal[1, 2, 3] = 1,
    period_ns: float | None = None,
) -> DecayFit:
    """Fit a sum of exponentials and a flat background to a decay.

    Parameters
    ----------
    counts : (bin,)
        Histogram; one corrected for pile-up may be given.
    t_ns : (bin,)
        Bin centres, evenly spaced; those of `irf` if there is one.
    irf
        Instrument response. The exponentials are convolved with it and integrated over each bin;
        its own noise is not in the error bars. None: the bins from the maximum on are fitted, as
        if the excitation had been instantaneous; lifetimes must then be long against the response.
    exponentials
        How many.
    period_ns
        Time from pulse to pulse; the light that is left of all earlier pulses is then added.

    Raises
    ------
    ValueError
        When there is nothing to fit, or the input is malformed.
    """
    n, t = check_histogram(counts, t_ns)
    if exponentials not in _STARTS:
        raise ValueError(f"exponentials is 1, 2 or 3; not {exponentials}.")
    step = float(t[-1] - t[0]) / (t.size - 1)
    if irf is not None and (irf.t_ns.shape != t.shape or np.abs(irf.t_ns - t).max() > 0.01 * step):
        raise ValueError("t_ns must be the time bins of the instrument response.")
    if period_ns is not None and not t.size * step <= period_ns * 1.001 < math.inf:
        raise ValueError(f"The range of {t.size * step:.4g} ns is longer than the period.")
    if irf is None:
        first = int(np.argmax(n))
        n, t = n[first:], t[first:]
    if n.size < 2 * exponentials + 8 or n.sum() < 100 * exponentials:
        raise ValueError(
            f"{n.sum():.0f} counts in {n.size} bins are too few for {exponentials} exponential(s)."
        )
    model = _Model(n, t, step, irf, period_ns)
    start_ns = t[0] if irf is None else irf.centroid_ns
    signal = n - np.median(n[-max(n.size // 10, 4) :])
    mean = float(signal @ (t - start_ns)) / max(float(signal.sum()), 1.0)
    mean = min(max(mean, step), float(t[-1] - t[0]))
    fits = [model.fit(mean * np.array(start)) for start in _STARTS[exponentials]]
    deviance, parameters, good = min(fits, key=lambda fit: fit[0])
    return _result(model, parameters, deviance, good)


class _Model:
    """Expected counts of one histogram: K ln(lifetimes), K photon numbers, the background."""

    def __init__(
        self, n: FloatArray, t: FloatArray, step: float, irf: Irf | None, period: float | None
    ) -> None:
        self.n, self.t, self.step, self.irf, self.period = n, t, step, irf, period
        self.limits = (math.log(0.1 * step), math.log(100 * step * n.size))

    def columns(self, log_tau: FloatArray) -> FloatArray:
        """Return the light of one photon of each exponential in every bin; (exponential, bin)."""
        return np.array([self._column(math.exp(value)) for value in log_tau])

    def _column(self, tau: float) -> FloatArray:
        lag = self.step / tau * np.arange(self.n.size)
        fall = -math.expm1(-self.step / tau)
        turn = math.inf if self.period is None else self.period / tau
        left = -math.exp(-turn) / math.expm1(-turn)
        if self.irf is None:  # what falls into a bin of light that began with the first one
            return np.asarray((1 + left) * fall * np.exp(-lag))
        # the same for light that began evenly spread over a bin; in its own bin some is missing
        spread = tau / self.step * fall
        later = spread * fall * np.exp(self.step / tau - lag)
        column = self.irf.convolve(np.where(lag > 0, later, 1 - spread))
        if left > 0:  # earlier pulses: every bin of the response has passed
            since = (self.period or 0.0) - (self.t - self.t[0])
            rest = float(self.irf.share @ np.exp(-since / tau)) * (1 + left)
            column += rest * later
        return column

    def expected(self, p: FloatArray) -> FloatArray:
        """Return the expected counts."""
        k = p.size // 2
        return np.asarray(np.maximum(p[k:-1] @ self.columns(p[:k]) + p[-1], 1e-9))

    def slopes(self, p: FloatArray) -> FloatArray:
        """Return the derivatives of the expected counts; (parameter, bin)."""
        k, e = p.size // 2, 1e-4
        by_tau = (self.columns(p[:k] + e) - self.columns(p[:k] - e)) / (2 * e)
        flat = np.ones((1, self.n.size))
        return np.concatenate([p[k:-1, None] * by_tau, self.columns(p[:k]), flat])

    def fit(self, tau: FloatArray) -> tuple[float, FloatArray, bool]:
        """Return deviance, parameters and whether they are a maximum, from given lifetimes."""
        log_tau = np.clip(np.log(tau), self.limits[0] + 0.1, self.limits[1] - 0.1)
        weight = 1 / np.sqrt(self.n + 1)
        linear = np.vstack([self.columns(log_tau), np.ones(self.n.size)])
        amplitude, _ = nnls((linear * weight).T, self.n * weight)
        start = np.concatenate([log_tau, np.maximum(amplitude, 1e-3)])
        k = tau.size
        lowest = np.concatenate([np.full(k, self.limits[0]), np.zeros(k + 1)])
        highest = np.concatenate([np.full(k, self.limits[1]), np.full(k + 1, np.inf)])

        def residuals(p: FloatArray) -> FloatArray:
            return _residuals(self.n, self.expected(p))

        def jacobian(p: FloatArray) -> FloatArray:
            return np.asarray((_residual_slope(self.n, self.expected(p)) * self.slopes(p)).T)

        # the squares of these residuals are the deviance, so least squares is maximum likelihood
        found = least_squares(
            residuals,
            start,
            jacobian,
            bounds=(lowest, highest),
            x_scale=np.concatenate([np.ones(k), np.maximum(start[k:], 1.0)]),
            max_nfev=200,
        )
        inside = np.all(
            (found.x[:k] > self.limits[0] + 0.01) & (found.x[:k] < self.limits[1] - 0.01)
        )
        return 2 * float(found.cost), found.x, bool(found.success and inside)


def _result(model: _Model, p: FloatArray, deviance: float, converged: bool) -> DecayFit:
    """Return values and errors, shortest lifetime first."""
    k = p.size // 2
    order = np.argsort(p[:k])
    p = np.concatenate([p[:k][order], p[k:-1][order], p[-1:]])
    expected = model.expected(p)
    # An amplitude or a background at its limit is not free, nor is the lifetime of no light.
    lit = p[k:-1] > 1e-4 * float(p[k:-1].sum())
    free = np.concatenate([lit, lit, p[-1:] > 1e-6])
    covariance = np.zeros((p.size, p.size))
    slopes = model.slopes(p)[free]
    scale = np.concatenate([np.ones(k), np.maximum(p[k:], 1.0)])[free]
    information = (slopes / expected) @ slopes.T * np.outer(scale, scale)
    try:
        found = np.linalg.inv(information) * np.outer(scale, scale)
    except np.linalg.LinAlgError:
        found = np.full_like(information, np.nan)
    covariance[np.ix_(free, free)] = found
    variance = np.diag(covariance)
    variance = np.where(free & (variance > 0), variance, np.nan)
    tau, photons = np.exp(p[:k]), p[k:-1]
    share = photons / max(float(photons.sum()), 1e-300)
    pull = (np.eye(k) - share[:, None]) / max(float(photons.sum()), 1e-300)
    spread = np.einsum("ij,jk,ik->i", pull, covariance[k:-1, k:-1], pull)
    known = lit & (variance[:k] < 1)
    return DecayFit(
        lifetime_ns=tau,
        lifetime_stderr_ns=tau * np.sqrt(variance[:k]),
        photon_share=share,
        photon_share_stderr=np.where(lit, np.sqrt(np.maximum(spread, 0.0)), np.nan),
        background_per_bin=float(p[-1]),
        background_stderr_per_bin=float(np.sqrt(variance[-1])),
        chi2=float(np.sum((model.n - expected) ** 2 / expected)),
        degrees=model.n.size - int(free.sum()),
        deviance=deviance,
        converged=converged and bool(known.all()),
        t_ns=model.t,
        observed=model.n,
        predicted=expected,
    )


def _plain(value: object) -> object:
    """Return numbers as JSON has them."""
    if isinstance(value, np.ndarray):
        return [_plain(float(one)) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _residuals(n: FloatArray, expected: FloatArray) -> FloatArray:
    """Return signed roots of each bin's share of the deviance."""
    return np.asarray(np.sign(n - expected) * np.sqrt(2 * np.maximum(kl_div(n, expected), 0.0)))


def _residual_slope(n: FloatArray, expected: FloatArray) -> FloatArray:
    """Return the derivative of the residuals by the expected counts."""
    r = _residuals(n, expected)
    near = np.abs(r) < 1e-3
    exact = (1 - n / expected) / np.where(near, 1.0, r)
    return np.asarray(np.where(near, -1 / np.sqrt(expected), exact))
