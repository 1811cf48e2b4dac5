"""The validation of S1's supplementary note 7: synthetic maps, and the D that comes back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import tplm_analysis as ta

DEFAULTS: dict[str, Any] = {
    "maps": 10,
    "photon_seed": 1,
    "method": "gaussian-msd",
    "fit_half_range_um": 2.0,
    "background": "free",
}


METHODS = ("global", "slices", "gaussian-msd", "voigt-davg", "moment")


def check(values: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing.

    Raises
    ------
    ValueError
        For an unknown method or treatment of the background, or a range beyond the map's.
    """
    for name, allowed in (("method", METHODS), ("background", ("free", "ignored"))):
        if values[name] not in allowed:
            raise ValueError(f"{name} is one of {', '.join(allowed)}, not {values[name]!r}")
    if not 0.2 <= values["fit_half_range_um"] <= 2:
        raise ValueError("fit_half_range_um must be from 0.2 to 2")


def run(values: Mapping[str, Any], _seed: int) -> dict[str, Any]:
    """Fit maps that have S1's D = 0.01 cm²/s, A = 2·10⁵ and 600 nm (FWHM) at time zero.

    Parameters
    ----------
    values
        ``maps``: how many; ``photon_seed``: of their photons, which all treatments share, so that
        their differences are those of the treatments; ``method``: of `tplm_analysis.fit_map`;
        ``fit_half_range_um``: what is fitted of ±2 µm; ``background``: ``"free"``, or
        ``"ignored"``: taken as zero, which only the likelihoods can do.

    Returns
    -------
    dict
        ``d_cm2_per_s``, one for each map; NaN where none was found.
    """
    given = 0.0 if values["background"] == "ignored" else None
    found = []
    for number in range(values["maps"]):
        film = ta.synthetic_map(np.random.default_rng([values["photon_seed"], number]))
        fitted = np.abs(film.x_um) <= values["fit_half_range_um"] + 1e-9
        fit = ta.fit_map(
            film.counts[fitted], film.x_um[fitted], film.t_ns, method=values["method"],
            background_per_bin=given,
        )  # fmt: skip
        found.append(np.nan if fit.d_cm2_per_s is None else fit.d_cm2_per_s)
    return {"d_cm2_per_s": found}
