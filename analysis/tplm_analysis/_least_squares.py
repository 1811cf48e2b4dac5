"""Unweighted least squares of Gaussian or Voigt profiles, a batch of slices at a time."""

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .maps import FloatArray

AREA, CENTER, SIGMA, OFFSET, LORENTZ = range(5)


def _weideman(n: int) -> tuple[float, NDArray[np.float64]]:
    """Return the coefficients of Weideman's rational series of the Faddeeva function."""
    m = 2 * n
    k = np.arange(-m + 1, m)
    scale = math.sqrt(n / math.sqrt(2))
    t = scale * np.tan(k * np.pi / (2 * m))
    f = np.concatenate(([0.0], np.exp(-(t**2)) * (scale**2 + t**2)))
    a = np.real(np.fft.fft(np.fft.fftshift(f))) / (2 * m)
    return scale, np.ascontiguousarray(a[1 : n + 1][::-1])


_SCALE, _SERIES = _weideman(32)
_PER_ROOT_PI = 1 / math.sqrt(math.pi)


@jit
def faddeeva(z: complex) -> complex:
    """Return w(z) in the upper half plane, to about 1e-12 (J. A. C. Weideman, 1994)."""
    down = _SCALE - 1j * z
    ratio = (_SCALE + 1j * z) / down
    total = 0.0 + 0.0j
    for c in _SERIES:
        total = total * ratio + c
    return 2.0 * total / (down * down) + _PER_ROOT_PI / down


@jit
def _model(
    p: FloatArray, x_um: FloatArray, voigt: bool, value: FloatArray, jac: FloatArray
) -> None:
    """Fill the profile and its derivatives by area, centre, σ, offset and Lorentz half width."""
    area, center, sigma, offset, lorentz = p[0], p[1], p[2], p[3], p[4]
    norm = 1.0 / (sigma * math.sqrt(2.0 * math.pi))
    for i in range(x_um.size):
        u = x_um[i] - center
        if voigt:
            scale = 1.0 / (sigma * math.sqrt(2.0))
            z = complex(u * scale, lorentz * scale)
            w = faddeeva(z)
            dw = -2.0 * z * w + 2j * _PER_ROOT_PI
            g = norm * w.real
            by_center = -norm * dw.real * scale
            by_sigma = -(g + norm * (dw * z).real) / sigma
            by_lorentz = -norm * dw.imag * scale
        else:
            g = norm * math.exp(-0.5 * (u / sigma) ** 2)
            by_center = g * u / (sigma * sigma)
            by_sigma = g * ((u / sigma) ** 2 - 1.0) / sigma
            by_lorentz = 0.0
        value[i] = area * g + offset
        jac[i, 0] = g
        jac[i, 1] = area * by_center
        jac[i, 2] = area * by_sigma
        jac[i, 3] = 1.0
        jac[i, 4] = area * by_lorentz


@jit
def _solve(matrix: FloatArray, right: FloatArray) -> bool:
    """Solve a small positive definite system in place by Cholesky; False if it is not one."""
    n = right.size
    for c in range(n):
        for r in range(c, n):
            total = matrix[r, c]
            for m in range(c):
                total -= matrix[r, m] * matrix[c, m]
            if r == c:
                if not total > 1e-14:
                    return False
                matrix[c, c] = math.sqrt(total)
            else:
                matrix[r, c] = total / matrix[c, c]
    for r in range(n):
        for m in range(r):
            right[r] -= matrix[r, m] * right[m]
        right[r] /= matrix[r, r]
    for r in range(n - 1, -1, -1):
        for m in range(r + 1, n):
            right[r] -= matrix[m, r] * right[m]
        right[r] /= matrix[r, r]
    return True


@jit
def fit_profiles(
    rates: FloatArray,
    x_um: FloatArray,
    limits: FloatArray,
    voigt: bool,
    free_lorentz: bool,
    parameters: FloatArray,
    sigma_stderr: FloatArray,
    converged: NDArray[np.bool_],
) -> None:
    """Fit every slice by Levenberg–Marquardt.

    Parameters
    ----------
    rates : (slice, position)
        Counts over relative exposure.
    x_um : (position,)
        Positions.
    limits : (2,)
        Smallest and largest σ (and Lorentz half width), µm.
    voigt, free_lorentz
        Kind of profile, and whether its Lorentz half width is free.
    parameters : (slice, 5)
        In: starts; out: area, centre, σ, offset, Lorentz half width.
    sigma_stderr : (slice,)
        Out: error of σ from the scatter of the residuals.
    converged : (slice,)
        Out: where a minimum was found inside the limits.
    """
    slices, positions = rates.shape
    n = 5 if free_lorentz else 4
    value = np.empty(positions)
    jac = np.empty((positions, 5))
    trial_value = np.empty(positions)
    trial_jac = np.empty((positions, 5))
    trial = np.empty(5)
    normal = np.empty((n, n))
    damped = np.empty((n, n))
    gradient = np.empty(n)
    scale = np.empty(n)
    step = np.empty(n)
    for k in range(slices):
        p = parameters[k]
        _model(p, x_um, voigt, value, jac)
        chi2 = _squares(rates[k], value)
        damping = 1e-3
        fresh = True
        finished = False
        for _ in range(100):
            if fresh:
                for r in range(n):
                    gradient[r] = 0.0
                    for i in range(positions):
                        gradient[r] += jac[i, r] * (rates[k, i] - value[i])
                    for c in range(r + 1):
                        total = 0.0
                        for i in range(positions):
                            total += jac[i, r] * jac[i, c]
                        normal[r, c] = total
                        normal[c, r] = total
                    scale[r] = math.sqrt(normal[r, r]) if normal[r, r] > 0.0 else 1.0
            for r in range(n):
                for c in range(n):
                    damped[r, c] = normal[r, c] / (scale[r] * scale[c])
                damped[r, r] += damping
                step[r] = gradient[r] / scale[r]
            # A Lorentzian that wants to be narrower than nothing stays out of the step.
            m = 4 if n == 5 and p[4] <= 0.0 and gradient[4] <= 0.0 else n
            fresh = False
            if _solve(damped[:m, :m], step[:m]):
                trial[:] = p
                for r in range(m):
                    trial[r] += step[r] / scale[r]
                trial[1] = min(max(trial[1], x_um[0]), x_um[-1])
                trial[2] = min(max(abs(trial[2]), limits[0]), limits[1])
                trial[4] = min(max(trial[4], 0.0), limits[1])
                _model(trial, x_um, voigt, trial_value, trial_jac)
                trial_chi2 = _squares(rates[k], trial_value)
                fresh = trial_chi2 <= chi2
            if fresh:
                finished = chi2 - trial_chi2 <= 1e-10 * chi2
                p[:] = trial
                value[:] = trial_value
                jac[:] = trial_jac
                chi2 = trial_chi2
                damping = max(damping * 0.1, 1e-9)
            else:
                damping *= 10.0
                finished = damping > 1e9
            if finished:
                break
        inside = p[2] > 1.001 * limits[0] and p[2] < 0.999 * limits[1]
        converged[k] = finished and inside and p[0] > 0.0
        sigma_stderr[k] = math.nan
        if converged[k] and positions > n:
            for r in range(n):
                for c in range(n):
                    total = 0.0
                    for i in range(positions):
                        total += jac[i, r] * jac[i, c]
                    damped[r, c] = total / (scale[r] * scale[c])
                step[r] = 0.0
            step[2] = 1.0
            if _solve(damped, step) and step[2] > 0.0:
                sigma_stderr[k] = math.sqrt(step[2] * chi2 / (positions - n)) / scale[2]


@jit
def _squares(rates: FloatArray, value: FloatArray) -> float:
    total = 0.0
    for i in range(rates.size):
        total += (rates[i] - value[i]) ** 2
    return total
