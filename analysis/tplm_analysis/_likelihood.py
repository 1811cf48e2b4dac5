"""Poisson likelihood of a whole map with every slice's amplitude profiled out.

The model of position i and slice k is::

    λ_ik = e_i [ a_k G(x_i - x0; v_k) + b w_k ]
    G(u; v) = (1 - f) N(u; v) + f N(u; v + δ)      one or two Gaussians
    G(u; v) = Re w(z) / √(2π v), z = (u + iγ) / √(2v)      Voigt (S2)

with N the normal density, w(z) the Faddeeva function, e the exposure, w the bins in the slice and
b the background. Diffusion widens the Gaussian part only, so δ and γ do not depend on time. The
amplitudes a_k enter one slice each, so they are solved for slice by slice (the likelihood is
concave in each) and removed from score and information by a Schur complement.
"""

import math

import numpy as np

from ._jit import jit
from ._least_squares import faddeeva
from .maps import FloatArray

X0, B, WING, WING_UM2, FIRST_VARIANCE = 0, 1, 2, 3, 4
"""Places in the parameter vector; the parameters of v_k follow from `FIRST_VARIANCE` on."""
LORENTZ = WING
"""Place of γ (µm) when the profile is a Voigt; that of δ is then idle."""

_SHAPE = 5  # x0, b, f, δ and v_k: what one slice sees
_LOWEST = 0.9  # an amplitude may be negative down to this share of the background


@jit
def best_amplitude(
    counts: FloatArray, profile: FloatArray, floor: FloatArray, lowest: float, start: float
) -> float:
    """Return the amplitude that maximises the likelihood of one slice.

    The derivative of ln L falls and is convex, so Newton's steps from its left never overshoot;
    a step from the right that leaves the domain is halved.
    """
    total = 0.0
    for i in range(profile.size):
        total += profile[i]
    a = max(start, lowest)
    scale = abs(lowest) + 1e-12
    for i in range(counts.size):
        scale += counts[i] / total
    for _ in range(60):
        slope = -total
        curve = 0.0
        for i in range(counts.size):
            q = profile[i] / (a * profile[i] + floor[i])
            slope += counts[i] * q
            curve += counts[i] * q * q
        if curve <= 0.0 or (a - lowest < 1e-9 * scale and slope <= 0.0):
            return lowest
        step = slope / curve
        if a + step <= lowest:
            step = 0.5 * (lowest - a)
        a += step
        if abs(step) <= 1e-6 * scale:
            break
    return a


@jit
def _voigt_rows(u_um: FloatArray, e: FloatArray, v: float, gamma: float, jac: FloatArray) -> None:
    """Fill in the Voigt profile and its derivatives by x0, γ and v.

    With F(ζ) = w(ζ / √(2v)) / √(2πv) analytic in ζ = u + iγ, the profile is Re F, its derivative
    by u Re F', by γ -Im F', and by v ½ Re F'' (the heat equation).
    """
    scale = 1.0 / math.sqrt(2.0 * v)
    norm = scale / math.sqrt(math.pi)
    for i in range(u_um.size):
        z = complex(u_um[i] * scale, gamma * scale)
        w = faddeeva(z)
        first = -2.0 * z * w + 2j / math.sqrt(math.pi)
        second = -2.0 * (w + z * first)
        jac[5, i] = e[i] * norm * w.real
        jac[0, i] = -e[i] * norm * scale * first.real
        jac[2, i] = -e[i] * norm * scale * first.imag
        jac[4, i] = 0.5 * e[i] * norm * scale * scale * second.real


@jit
def profile_likelihood(
    counts: FloatArray,
    x_um: FloatArray,
    exposure: FloatArray,
    width: FloatArray,
    theta: FloatArray,
    variance: FloatArray,
    slopes: FloatArray,
    amplitude: FloatArray,
    score: FloatArray,
    information: FloatArray,
    voigt: bool,
) -> float:
    """Evaluate ln L, its score and the expected information at the best amplitudes.

    Parameters
    ----------
    counts : (slice, position)
        Counts, or expected counts for a bound.
    x_um, exposure : (position,)
        Positions and relative exposures.
    width : (slice,)
        Bins in each slice.
    theta : (4 + n,)
        x0, b, f, δ, then the n parameters of the variance; for a Voigt x0, b, γ, idle, ….
    variance : (slice,)
        v_k in µm².
    slopes : (slice, n)
        Derivative of v_k by its parameters.
    amplitude : (slice,)
        In: where to start, or 0; out: the best amplitudes, counts·µm.
    score : (4 + n,)
        Out: derivative of the profile likelihood.
    information : (4 + n, 4 + n)
        Out: expected information with every amplitude free.
    voigt
        Whether the profile is a Voigt.

    Returns
    -------
    float
        ln L minus that of the saturated model (half the deviance, negative).
    """
    slices, positions = counts.shape
    x0, b, f, delta = theta[0], theta[1], theta[2], theta[3]
    wings = f > 0.0 and not voigt
    n_theta = theta.size
    score[:] = 0.0
    information[:] = 0.0
    jac = np.zeros((_SHAPE + 1, positions))  # the last row is the amplitude's
    floor = np.empty(positions)
    weight = np.empty(positions)
    s = np.empty(_SHAPE + 1)
    m = np.empty((_SHAPE + 1, _SHAPE + 1))
    used = (0, 1, 4, 5, 2, 3)
    n_used = 6 if wings else (5 if voigt else 4)
    u_um = x_um - x0
    ln_l = 0.0
    for k in range(slices):
        v = variance[k]
        norm = 1.0 / math.sqrt(2.0 * math.pi * v)
        wide = v + delta
        wide_norm = 1.0 / math.sqrt(2.0 * math.pi * wide)
        if voigt:
            _voigt_rows(u_um, exposure, v, f, jac)
            top = norm * faddeeva(complex(0.0, f / math.sqrt(2.0 * v))).real
        else:
            top = norm * (1.0 - f) + wide_norm * f
        lowest = -_LOWEST * b * width[k] / top
        counted = 0.0
        dark = 0.0
        bright = 0.0
        for i in range(positions):
            u = u_um[i]
            e = exposure[i]
            if not voigt:
                g = e * norm * math.exp(-0.5 * u * u / v)
                jac[0, i] = g * u / v
                jac[4, i] = 0.5 * g * (u * u / v - 1.0) / v
                jac[5, i] = g
            if wings:
                h = e * wide_norm * math.exp(-0.5 * u * u / wide)
                d_wide = 0.5 * h * (u * u / wide - 1.0) / wide
                jac[0, i] = (1.0 - f) * jac[0, i] + f * h * u / wide
                jac[4, i] = (1.0 - f) * jac[4, i] + f * d_wide
                jac[5, i] = (1.0 - f) * g + f * h
                jac[2, i] = h - g
                jac[3, i] = f * d_wide
            jac[1, i] = e * width[k]
            floor[i] = b * jac[1, i]
            counted += counts[k, i]
            dark += floor[i]
            bright += jac[5, i]
        start = amplitude[k]
        if start <= 0.0:
            start = max(counted - dark, 0.05 * counted) / bright
        a = best_amplitude(counts[k], jac[5], floor, lowest, start)
        amplitude[k] = a
        for i in range(positions):
            n = counts[k, i]
            rate = a * jac[5, i] + floor[i]
            ln_l -= rate
            if n > 0.0:
                ln_l += n + n * math.log(rate / n)
            weight[i] = 1.0 / rate
            floor[i] = n / rate - 1.0
            jac[0, i] *= a
            jac[2, i] *= a
            jac[3, i] *= a
            jac[4, i] *= a
        for p in range(n_used):
            row = jac[used[p]]
            total = 0.0
            for i in range(positions):
                total += row[i] * floor[i]
            s[used[p]] = total
            for q in range(p + 1):
                other = jac[used[q]]
                total = 0.0
                for i in range(positions):
                    total += row[i] * other[i] * weight[i]
                m[used[p], used[q]] = total
                m[used[q], used[p]] = total
        # An amplitude held at its lowest value is not free and takes no information away.
        keep = 0.0 if a <= lowest else 1.0 / m[5, 5]
        for p in range(n_theta):
            sp = min(p, 4)
            if (sp == 2 and n_used < 5) or (sp == 3 and n_used < 6):
                continue
            cp = slopes[k, p - 4] if p >= 4 else 1.0
            score[p] += cp * (s[sp] - m[sp, 5] * s[5] * keep)
            for q in range(n_theta):
                sq = min(q, 4)
                if (sq == 2 and n_used < 5) or (sq == 3 and n_used < 6):
                    continue
                cq = slopes[k, q - 4] if q >= 4 else 1.0
                information[p, q] += cp * cq * (m[sp, sq] - m[sp, 5] * m[sq, 5] * keep)
    return ln_l
