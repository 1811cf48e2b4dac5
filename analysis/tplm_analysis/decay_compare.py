"""Which model of a decay the counts warrant."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Unpack, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from .decay_fit import (
    DecayModelFit,
    DecayOptions,
    fit_decay,
    fit_prompt_delayed_decay,
    fit_stretched_decay,
)
from .irf import Irf
from .maps import FloatArray
from .results import Result

DecayModelName = Literal[
    "exponential", "two-exponential", "three-exponential", "stretched", "prompt-delayed"
]
SIGNIFICANCE = 0.003
"""How probable the fall of the deviance may be by chance, for it to warrant more parameters."""

_FITS: dict[str, Callable[..., DecayModelFit]] = {
    "exponential": partial(fit_decay, exponentials=1),
    "two-exponential": partial(fit_decay, exponentials=2),
    "three-exponential": partial(fit_decay, exponentials=3),
    "stretched": fit_stretched_decay,
    "prompt-delayed": fit_prompt_delayed_decay,
}
_SIZE = {
    "exponential": 2, "stretched": 3, "two-exponential": 4, "prompt-delayed": 5,
    "three-exponential": 6,
}  # fmt: skip
"""Parameters besides background and shift."""


@dataclass(frozen=True, eq=False)
class DecayComparison(Result):
    """Several models of one decay, simplest first.

    Attributes
    ----------
    models : tuple of str
        Names.
    parameters : (model,) int64
        Parameters of each, background and shift included.
    deviance, aic, bic : (model,) float64
        -2 ln L against a model that hits every count; the same plus 2 for each parameter, or plus
        ln (bins) for each.
    converged : (model,) bool
        Whether the counts determine the model.
    warranted : str or None
        The simplest model that none with more parameters beats: a better one must be determined
        and lower the deviance by what chance does in 0.3 % of cases (χ² with as many degrees of
        freedom as it has parameters more). None when no model is determined.
    sentence : str
        The verdict, for a person.
    fits : tuple of DecayModelFit
        The fits.
    """

    SOURCE: ClassVar[str] = "The project's own; likelihood ratio, Akaike, Schwarz"

    models: tuple[str, ...]
    parameters: np.ndarray[tuple[int], np.dtype[np.int64]]
    deviance: FloatArray
    aic: FloatArray
    bic: FloatArray
    converged: np.ndarray[tuple[int], np.dtype[np.bool_]]
    warranted: str | None
    sentence: str
    fits: tuple[DecayModelFit, ...]

    @property
    def best(self) -> DecayModelFit | None:
        """The fit that is warranted."""
        return None if self.warranted is None else self.fits[self.models.index(self.warranted)]

    def __str__(self) -> str:
        lines = [
            f"{name:18} {parameters:2d} parameters  deviance {deviance:10.1f}  "
            f"AIC {aic:10.1f}  BIC {bic:10.1f}{'' if known else '  not determined'}"
            for name, parameters, deviance, aic, bic, known in zip(
                self.models, self.parameters, self.deviance, self.aic, self.bic, self.converged,
                strict=True,
            )
        ]  # fmt: skip
        best = self.best
        return "\n".join([*lines, self.sentence, *([] if best is None else [str(best)])])


def compare_decays(
    counts: ArrayLike,
    t_ns: ArrayLike,
    irf: Irf | None = None,
    models: Sequence[DecayModelName] = get_args(DecayModelName),
    **options: Unpack[DecayOptions],
) -> DecayComparison:
    """Fit several models to a decay and say which one the counts warrant.

    Parameters
    ----------
    counts, t_ns, irf, **options
        As for `fit_decay`.
    models
        Those to compare.

    Raises
    ------
    ValueError
        When a model is not known, there is nothing to fit, or the input is malformed.
    """
    if not models:
        raise ValueError(f"At least one model is needed, of {', '.join(_FITS)}.")
    fits = tuple(fit_decay_model(name, counts, t_ns, irf, **options) for name in set(models))
    fits = tuple(sorted(fits, key=lambda fit: _SIZE[fit.model]))
    names = tuple(fit.model for fit in fits)
    given = (options.get("background_per_bin") is None) + (options.get("shift_ns", 0.0) is None)
    parameters = np.array([_SIZE[name] + given for name in names])
    deviance = np.array([fit.deviance for fit in fits])
    known = np.array([fit.converged for fit in fits])
    warranted = _warranted(parameters, deviance, known)
    return DecayComparison(
        models=names,
        parameters=parameters,
        deviance=deviance,
        aic=deviance + 2 * parameters,
        bic=deviance + math.log(fits[0].t_ns.size) * parameters,
        converged=known,
        warranted=None if warranted is None else names[warranted],
        sentence=_sentence(names, fits, deviance, parameters, warranted),
        fits=fits,
    )


def fit_decay_model(
    model: DecayModelName,
    counts: ArrayLike,
    t_ns: ArrayLike,
    irf: Irf | None = None,
    **options: Unpack[DecayOptions],
) -> DecayModelFit:
    """Fit a model of a decay by its name.

    Parameters
    ----------
    model
        As in `DecayComparison.models`.
    counts, t_ns, irf, **options
        As for `fit_decay`.

    Raises
    ------
    ValueError
        When the model is not known, there is nothing to fit, or the input is malformed.
    """
    if model not in _FITS:
        raise ValueError(f"The models of a decay are {', '.join(_FITS)}; not {model}.")
    return _FITS[model](counts, t_ns, irf, **options)


def _beats(parameters: FloatArray, deviance: FloatArray, better: int, than: int) -> bool:
    more = parameters[better] - parameters[than]
    fall = deviance[than] - deviance[better]
    return bool(more > 0 and fall > float(chdtri(more, SIGNIFICANCE)))


def _warranted(parameters: FloatArray, deviance: FloatArray, known: FloatArray) -> int | None:
    """Return the first determined model that no determined one beats."""
    candidates = np.flatnonzero(known)
    for one in candidates:
        if not any(_beats(parameters, deviance, int(other), int(one)) for other in candidates):
            return int(one)
    return None


def _sentence(
    names: tuple[str, ...],
    fits: tuple[DecayModelFit, ...],
    deviance: FloatArray,
    parameters: FloatArray,
    warranted: int | None,
) -> str:
    if warranted is None:
        return "The counts determine none of these models."
    text = f"The counts warrant the model {names[warranted]}"
    simpler = [k for k in range(warranted) if fits[k].converged]
    if simpler:
        last = simpler[-1]
        fall, more = deviance[last] - deviance[warranted], parameters[warranted] - parameters[last]
        text += (
            f": against {names[last]} it lowers the deviance by {fall:.1f} for {more} more "
            f"parameter{'s' if more > 1 else ''}"
        )
    if any(warning.code == "misfit" for warning in fits[warranted].warnings):
        text += "; but none of those compared describes the decay within counting noise"
    return f"{text}."
