"""Numerics of transient photoluminescence microscopy, on plain arrays.

>>> import tplm_analysis as ta
>>> film = ta.synthetic_map(seed=1)
>>> fit = ta.fit_map(film.counts, film.x_um, film.t_ns)
>>> fit.model
'gaussian'
"""

from .bounds import cramer_rao
from .decay import find_time_zero, lifetime_1e
from .excitation import Excitation, excitation
from .fits import FitWarning, MapFit, Method, Model, MsdCurve, Revisits, SliceFits
from .map_fit import fit_map
from .slice_fit import fit_slices
from .synthetic import ExpectedMap, SyntheticMap, expected_map, synthetic_map, two_part_decay
from .warm import warm_up

__all__ = [
    "Excitation",
    "ExpectedMap",
    "FitWarning",
    "MapFit",
    "Method",
    "Model",
    "MsdCurve",
    "Revisits",
    "SliceFits",
    "SyntheticMap",
    "cramer_rao",
    "excitation",
    "expected_map",
    "find_time_zero",
    "fit_map",
    "fit_slices",
    "lifetime_1e",
    "synthetic_map",
    "two_part_decay",
    "warm_up",
]
