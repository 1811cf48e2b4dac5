"""Numerics of transient photoluminescence microscopy, on plain arrays.

>>> import tplm_analysis as ta
>>> film = ta.synthetic_map(seed=1)
>>> fit = ta.fit_map(film.counts, film.x_um, film.t_ns)
>>> fit.model
'gaussian'
>>> abs(fit.d_cm2_per_s - film.truth.d_cm2_per_s) < 3 * fit.d_stderr_cm2_per_s
True
>>> ta.compare_models(film.counts, film.x_um, film.t_ns).warranted
'gaussian, linear'

* Maps: `fit_map`, `compare_models`, `fit_slices`, `LiveMap`, `cramer_rao`, `synthetic_map`.
* Images: `fit_images`, `fit_image_slices`, `image_moments`, `fit_msd`.
* Decays: `find_irf`, `coates`, `compare_decays`, `fit_decay`, `find_lifetime_1e`.
* Across scans: `average_repeats`, `fit_trend`, `fit_arrhenius`, `fit_relaxation`.
* Single particles: `intermittency`, `fit_durations`, `compare_movies`.
* Physics: `excitation`, `compare_published`, `laser_heating`, `dipolar_coupling_mev`,
  `bright_share`, `coherence_sites`.

Every result is a `Result`.
"""

from .blinking import (
    DurationFit,
    Durations,
    Intermittency,
    MovieChange,
    Threshold,
    bin_photons,
    compare_movies,
    durations,
    find_threshold,
    fit_durations,
    intermittency,
    synthetic_blinking,
)
from .bounds import cramer_rao
from .decay import TimeTo1e, find_lifetime_1e, find_time_zero, lifetime_1e
from .decay_compare import DecayComparison, DecayModelName, compare_decays, fit_decay_model
from .decay_fit import (
    DecayFit,
    DecayModelFit,
    DecayOptions,
    PromptDelayedFit,
    StretchedFit,
    fit_decay,
    fit_prompt_delayed_decay,
    fit_stretched_decay,
)
from .decay_windows import PromptDelayedWindows, prompt_delayed_windows
from .excitation import (
    Excitation,
    PublishedComparison,
    compare_published,
    excitation,
    excitation_for,
)
from .fits import (
    ApertureShape,
    DiffusivityCurve,
    FitWarning,
    MapFit,
    Method,
    Model,
    ModelChoice,
    MsdCurve,
    PileUp,
    Revisits,
    SliceFits,
    TimeZero,
)
from .heat import Heating, Material, laser_heating, max_rise_k
from .images import (
    ImageFit,
    ImageMoments,
    ImageSlices,
    fit_image_slices,
    fit_images,
    image_moments,
)
from .irf import Irf, find_irf
from .live_map import LiveMap, MapSoFar
from .map_fit import fit_map
from .models import ModelComparison, ModelScore, compare_models
from .msd import MsdFit, MsdRegime, fit_msd
from .photophysics import (
    bright_share,
    dark_to_bright_ratio,
    dipolar_coupling_mev,
    transition_dipole_debye,
)
from .pileup import coates
from .published import coherence_sites
from .relaxation import Relaxation, fit_relaxation
from .results import Result
from .slice_fit import fit_slices
from .synthetic import ExpectedMap, SyntheticMap, expected_map, synthetic_map, two_part_decay
from .trends import (
    Arrhenius,
    Law,
    RepeatedD,
    Trend,
    average_repeats,
    fit_arrhenius,
    fit_trend,
)
from .warm import warm_up

__all__ = [
    "ApertureShape",
    "Arrhenius",
    "DecayComparison",
    "DecayFit",
    "DecayModelFit",
    "DecayModelName",
    "DecayOptions",
    "DiffusivityCurve",
    "DurationFit",
    "Durations",
    "Excitation",
    "ExpectedMap",
    "FitWarning",
    "Heating",
    "ImageFit",
    "ImageMoments",
    "ImageSlices",
    "Intermittency",
    "Irf",
    "Law",
    "LiveMap",
    "MapFit",
    "MapSoFar",
    "Material",
    "Method",
    "Model",
    "ModelChoice",
    "ModelComparison",
    "ModelScore",
    "MovieChange",
    "MsdCurve",
    "MsdFit",
    "MsdRegime",
    "PileUp",
    "PromptDelayedFit",
    "PromptDelayedWindows",
    "PublishedComparison",
    "Relaxation",
    "RepeatedD",
    "Result",
    "Revisits",
    "SliceFits",
    "StretchedFit",
    "SyntheticMap",
    "Threshold",
    "TimeTo1e",
    "TimeZero",
    "Trend",
    "average_repeats",
    "bin_photons",
    "bright_share",
    "coates",
    "coherence_sites",
    "compare_decays",
    "compare_models",
    "compare_movies",
    "compare_published",
    "cramer_rao",
    "dark_to_bright_ratio",
    "dipolar_coupling_mev",
    "durations",
    "excitation",
    "excitation_for",
    "expected_map",
    "find_irf",
    "find_lifetime_1e",
    "find_threshold",
    "find_time_zero",
    "fit_arrhenius",
    "fit_decay",
    "fit_decay_model",
    "fit_durations",
    "fit_image_slices",
    "fit_images",
    "fit_map",
    "fit_msd",
    "fit_prompt_delayed_decay",
    "fit_relaxation",
    "fit_slices",
    "fit_stretched_decay",
    "fit_trend",
    "image_moments",
    "intermittency",
    "laser_heating",
    "lifetime_1e",
    "max_rise_k",
    "prompt_delayed_windows",
    "synthetic_blinking",
    "synthetic_map",
    "transition_dipole_debye",
    "two_part_decay",
    "warm_up",
]
