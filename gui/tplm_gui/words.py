"""Numbers as a person reads them: with their error, their unit, and no more digits than they have.

>>> plus_minus(0.05123, 0.0031, "cm²/s")
'0.0512 ± 0.0031 cm²/s'
>>> duration(3725)
'1 h 02 min'
>>> rate(58700.0)
'58.7 k/s'
>>> si(2.5e6, "Hz")
'2.5 MHz'
"""

import math

NONE = "–"
"""Stands where there is no number."""
_PREFIXES = {
    -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T",
}  # fmt: skip
_LARGEST = 1e5
_SMALLEST = 1e-4
"""Beyond these a value is written with a power of ten."""

_WARNINGS = {
    "missing-positions": "positions are missing",
    "few-positions": "few positions",
    "few-bins": "few time bins",
    "truncated-range": "the line is too short for the profile",
    "off-centre": "the spot is off the centre",
    "undersampled": "positions too far apart",
    "background": "the background is doubtful",
    "no-signal": "no signal",
    "too-few-counts": "too few counts",
    "empty-bins": "time bins without counts",
    "previous-pulse": "light of earlier pulses",
    "units": "positions or times in a wrong unit",
    "pile-up": "pile-up",
    "pile-up-corrected": "pile-up was corrected",
    "power": "the power was not steady",
    "irf": "the instrument response was not used",
    "drift": "drift",
    "drift-corrected": "drift was corrected",
    "not-gaussian": "the profile is no Gaussian",
    "misfit": "the model does not fit",
    "anomalous": "the spread is not linear in time",
    "msd-maximum": "the spread falls again",
    "negative-d": "the profile narrows",
    "aperture": "wide aperture",
    "elliptic": "elliptic spot",
    "dim-images": "dim images",
    "sign-change": "the signal changes sign",
    "few-points": "too few points",
    "no-growth": "no growth stands out",
    "no-fit": "no fit",
    "not-converged": "the fit did not converge",
    "no-error-bar": "no error bar",
    "sigma0": "no width of the spot",
    "alpha": "no exponent",
    "t-max": "no time of the maximum",
    "lifetime": "no lifetime",
    "diffusion-length": "no diffusion length",
}
"""What the codes of `tplm_analysis.FitWarning` say, in a few words."""


def plus_minus(value: float | None, error: float | None, unit: str = "") -> str:
    """Write a value and its standard error, both to two digits of the error.

    Parameters
    ----------
    value, error : float or None
        None or not finite: unknown. Without an error the value has four digits.
    unit : str
        Written behind them.
    """
    if value is None or not math.isfinite(value):
        return NONE
    tail = f" {unit}" if unit else ""
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}{tail}".replace("-", "−")
    size = max(abs(value), error)
    if _SMALLEST <= size < _LARGEST:
        return f"{_pair(value, error)}{tail}"
    ten = math.floor(math.log10(size))
    power = str(ten).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"({_pair(value / 10**ten, error / 10**ten)}) × 10{power}{tail}"


def _pair(value: float, error: float) -> str:
    # of 0.0996 two digits are 0.10: the power of ten is that of the rounded error
    ten = math.floor(math.log10(float(f"{error:.1e}")))
    digits = max(1 - ten, 0)
    return f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """Write a time span: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``1 h 02 min``, ``2 d 3 h``."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    sign, left = ("−", -seconds) if seconds < 0 else ("", seconds)
    if left < 9.95:
        return f"{sign}{left:.1f} s"
    minutes, second = divmod(round(left), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{sign}{days} d {hour} h"
    if hours:
        return f"{sign}{hours} h {minute:02} min"
    return f"{sign}{minutes} min {second:02} s" if minutes else f"{sign}{second} s"


def rate(hz: float | None) -> str:
    """Write counts per second: ``0.5 /s``, ``312 /s``, ``58.7 k/s``, ``2.50 M/s``."""
    if hz is None or not math.isfinite(hz):
        return NONE
    for size, prefix in ((1e6, "M"), (1e3, "k"), (1, "")):
        # 999.96 would be written 1.00e+03
        if abs(hz) >= size * 0.9995:
            return f"{_three(hz / size)} {prefix}/s"
    return f"{hz:.2g} /s"


def _three(value: float) -> str:
    digits = 2 - max(math.floor(math.log10(float(f"{abs(value):.2e}"))), 0)
    return f"{value:.{max(digits, 0)}f}".replace("-", "−")


def si(value: float | None, unit: str, digits: int = 4) -> str:
    """Write a quantity with the prefix that leaves one to three digits before the point."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return f"0 {unit}"
    # of 999.99 four digits are 1000: the prefix is that of the rounded value
    rounded = float(f"{value:.{digits}g}")
    ten = 3 * math.floor(math.log10(abs(rounded)) / 3)
    ten = min(max(ten, min(_PREFIXES)), max(_PREFIXES))
    return f"{rounded / 10.0**ten:.{digits}g} {_PREFIXES[ten]}{unit}".replace("-", "−")


def warning(code: str) -> str:
    """Write the code of an analysis' warning in a few words; the fit itself has a sentence."""
    return _WARNINGS.get(code, code.replace("-", " "))
