"""Poisson maximum likelihood of single time slices, many at once and fast.

The model of position i and slice k is that of the global fit, ``λ_ik = e_i [a_k G(x_i - x0; v_k)
+ b w_k]``, with everything shared (x0, b and the wings) given. Amplitude a and variance v of every
slice are found together by Newton's method. The loops over positions are written so that the
compiler turns them into vector instructions: no branches, no library calls, sums in any order.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .maps import FloatArray

FEWEST = 10
"""Photons in a slice that can have a width at all."""

_LANES = 16  # positions are padded to a multiple of what two to four vector registers hold
_LEAST_EXPONENT = -40.0  # a profile of 4e-18 of its height is none
_SQUARINGS = 6  # exp(-40 / 2^6) is left to the series
_STRIDE = 3.0  # by no more than this factor a variance changes in one step
_SURE = 1e-12  # squared last step over the squared error


@jit
def _normal(
    u2: FloatArray,
    exposure: FloatArray,
    v: float,
    profile: FloatArray,
    slope: FloatArray,
    bend: FloatArray,
) -> None:
    """Fill in the normal density g at squared distances u2 and its derivatives by v.

    `slope` is 2v g'/g and `bend` 4v² g''/g. The exponential is its Taylor series to the ninth
    power at x/64, squared six times: right to 2e-10 down to e⁻²⁰, to 2e-7 at e⁻⁴⁰, and, other
    than that of the library, vectorised.
    """
    norm = 1.0 / math.sqrt(2.0 * math.pi * v)
    inverse = 1.0 / v
    for i in range(u2.size):
        q = u2[i] * inverse
        z = max(-0.5 * q, _LEAST_EXPONENT) * (1.0 / 2**_SQUARINGS)
        g = 1.0 + z * (1.0 / 9.0)
        g = 1.0 + z * (1.0 / 8.0) * g
        g = 1.0 + z * (1.0 / 7.0) * g
        g = 1.0 + z * (1.0 / 6.0) * g
        g = 1.0 + z * (1.0 / 5.0) * g
        g = 1.0 + z * (1.0 / 4.0) * g
        g = 1.0 + z * (1.0 / 3.0) * g
        g = 1.0 + z * (1.0 / 2.0) * g
        g = 1.0 + z * g
        g *= g
        g *= g
        g *= g
        g *= g
        g *= g
        g *= g
        profile[i] = g * norm * exposure[i]
        slope[i] = q - 1.0
        bend[i] = q * q - 6.0 * q + 3.0


@jit
def _add_wings(
    u2: FloatArray,
    exposure: FloatArray,
    v: float,
    f: float,
    delta: float,
    profile: FloatArray,
    slope: FloatArray,
    bend: FloatArray,
    wide: FloatArray,
    wide_slope: FloatArray,
    wide_bend: FloatArray,
) -> None:
    """Turn the normal density into the sum of two, the second wider by δ."""
    _normal(u2, exposure, v + delta, wide, wide_slope, wide_bend)
    ratio = v / (v + delta)
    for i in range(u2.size):
        narrow = (1.0 - f) * profile[i]
        broad = f * wide[i]
        profile[i] = narrow + broad
        share = narrow / max(profile[i], 1e-300)
        slope[i] = share * slope[i] + (1.0 - share) * ratio * wide_slope[i]
        bend[i] = share * bend[i] + (1.0 - share) * ratio * ratio * wide_bend[i]


@jit
def fit_each(
    counts: FloatArray,
    x_um: FloatArray,
    exposure: FloatArray,
    width: FloatArray,
    theta: FloatArray,
    limits: FloatArray,
    steps: int,
    variance: FloatArray,
    amplitude: FloatArray,
    variance_stderr: FloatArray,
    amplitude_stderr: FloatArray,
    converged: NDArray[np.bool_],
) -> None:
    """Fit amplitude and variance of every slice.

    While the amplitude is more than a standard error from its best, it moves alone. Then both
    move: by Fisher's scoring from afar, which is exact without background, by Newton's method
    near the top. The sign of the score of the profile likelihood brackets the variance, and a
    step that leaves the bracket is replaced by the geometric middle of the way to its end. The
    errors are those of the expected information.

    Parameters
    ----------
    counts : (slice, position)
        Counts.
    x_um, exposure : (position,)
        Positions, in any order, and relative exposures; 0: not measured.
    width : (slice,)
        Bins in each slice.
    theta : (4 or more,)
        x0 (µm), b (counts per bin and row), f and δ (µm²) as in the global fit.
    limits : (2,)
        Smallest and largest variance, µm².
    steps
        Most steps of the variance; 0 works out amplitude and errors at the given variances.
    variance, amplitude : (slice,)
        In: where to start, amplitude 0 if unknown; out: the result, µm² and counts·µm.
    variance_stderr, amplitude_stderr : (slice,)
        Out: standard errors, NaN where there is no maximum.
    converged : (slice,)
        Out: where a maximum was found inside the limits.
    """
    slices, positions = counts.shape
    x0, b, f, delta = theta[0], theta[1], theta[2], theta[3]
    wings = f > 0.0
    padded = (positions + _LANES - 1) // _LANES * _LANES
    u2 = np.zeros(padded)
    e = np.zeros(padded)
    n = np.zeros(padded)
    floor = np.ones(padded)  # with no exposure: weight nothing, but do not divide by zero
    profile = np.empty(padded)
    slope = np.empty(padded)
    bend = np.empty(padded)
    wide = np.empty(padded)
    wide_slope = np.empty(padded)
    wide_bend = np.empty(padded)
    exposed = 0.0
    for i in range(positions):
        u2[i] = (x_um[i] - x0) ** 2
        e[i] = exposure[i]
        exposed += exposure[i]
    for k in range(slices):
        low, high = limits[0], limits[1]
        v = min(max(variance[k], low), high)
        counted = 0.0
        for i in range(positions):
            n[i] = counts[k, i] if e[i] > 0.0 else 0.0
            floor[i] = b * width[k] * e[i] if e[i] > 0.0 else 1.0
            counted += n[i]
        dark = b * width[k] * exposed
        a = amplitude[k]
        ok = False
        i_aa, i_vv, left = 1.0, 0.0, 0.0
        moved = 0
        # The amplitude takes steps of its own besides.
        for _ in range(2 * steps + 40 if counted >= FEWEST else 0):
            _normal(u2, e, v, profile, slope, bend)
            if wings:
                _add_wings(u2, e, v, f, delta, profile, slope, bend, wide, wide_slope, wide_bend)
            if not a > 0.0:
                bright = 0.0
                for i in range(padded):
                    bright += profile[i]
                if bright <= 0.0:
                    break
                a = max(counted - dark, 0.05 * counted) / bright
            s_a, s_v, s_vv = 0.0, 0.0, 0.0
            i_aa, i_av, i_vv = 0.0, 0.0, 0.0
            h_aa, h_av, h_vv = 0.0, 0.0, 0.0
            for i in range(padded):
                g, d = profile[i], slope[i]
                w = 1.0 / (a * g + floor[i])
                z = n[i] * w
                gr = g * (z - 1.0)
                s_a += gr
                s_v += gr * d
                s_vv += gr * bend[i]
                fisher = g * g * w
                i_aa += fisher
                i_av += fisher * d
                i_vv += fisher * d * d
                seen = fisher * z
                h_aa += seen
                h_av += seen * d
                h_vv += seen * d * d
            # The factors left out of the sums: a in every derivative by v, and those of `_normal`.
            half = 0.5 / v
            s_v *= half
            h_av = a * half * h_av - s_v
            h_vv = a * half * half * (a * h_vv - s_vv)
            i_av *= a * half
            i_vv *= a * a * half * half
            score_v = a * s_v
            left = i_vv - i_av * i_av / i_aa
            if not left > 1e-12 * i_vv or not h_aa > 0.0:
                break
            dv = 0.0
            if steps > 0 and s_a * s_a < i_aa:
                if moved == steps:
                    break
                moved += 1
                score = score_v - h_av / h_aa * s_a
                # The sign counts only where it stands above what the amplitude leaves open.
                if score * score * i_aa > s_a * s_a * left:
                    if score > 0.0:
                        low = v
                    else:
                        high = v
                dv = score / left
                left_seen = h_vv - h_av * h_av / h_aa
                if dv * dv * left < 0.25 and left_seen > 0.05 * left:
                    dv = score / left_seen
                ok = dv * dv * left < _SURE
                new = min(max(v + dv, v / _STRIDE), v * _STRIDE)
                if new <= low:
                    new = math.sqrt(low * v)
                elif new >= high:
                    new = math.sqrt(high * v)
                dv = new - v
            da = (s_a - h_av * dv) / h_aa
            if steps == 0 and da * da * i_aa < _SURE:
                ok = True
            if a + da <= 0.0:
                da = -0.9 * a
                ok = False
            a += da
            v += dv
            if ok or a * a * i_aa < 1e-12:
                break
        ok = ok and a > 0.0
        variance[k] = v
        amplitude[k] = a
        inside = v > 1.001 * limits[0] and v < 0.999 * limits[1]
        converged[k] = ok and (inside or steps == 0)
        variance_stderr[k] = math.sqrt(1.0 / left) if ok else math.nan
        amplitude_stderr[k] = math.sqrt(i_vv / (i_aa * left)) if ok else math.nan
