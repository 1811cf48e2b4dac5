"""Numerics of transient photoluminescence microscopy, on plain arrays.

>>> import tplm_analysis as ta
>>> film = ta.synthetic_map(seed=1)
>>> fit = ta.fit_map(film.counts, film.x_um, film.t_ns)
>>> fit.model
'gaussian'
"""

from .bounds import cramer_rao
from .decay import find_time_zero, lifetime_1e
from .decay_fit import DecayFit, fit_decay
from .excitation import Excitation, excitation
from .fits import FitWarning, MapFit, Method, Model, MsdCurve, PileUp, Revisits, SliceFits, TimeZero
from .irf import Irf, find_irf
from .map_fit import fit_map
from .pileup import coates
from .relaxation import Relaxation, fit_relaxation
from .slice_fit import fit_slices
from .synthetic import ExpectedMap, SyntheticMap, expected_map, synthetic_map, two_part_decay
from .warm import warm_up

__all__ = [
    "DecayFit",
    "Excitation",
    "ExpectedMap",
    "FitWarning",
    "Irf",
    "MapFit",
    "Method",
    "Model",
    "MsdCurve",
    "PileUp",
    "Relaxation",
    "Revisits",
    "SliceFits",
    "SyntheticMap",
    "TimeZero",
    "coates",
    "cramer_rao",
    "excitation",
    "expected_map",
    "find_irf",
    "find_time_zero",
    "fit_decay",
    "fit_map",
    "fit_relaxation",
    "fit_slices",
    "lifetime_1e",
    "synthetic_map",
    "two_part_decay",
    "warm_up",
]
