"""What a series will be, and what its folder holds; read away from the thread of the window."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import InputError, InstrumentProfile, SeriesPlan
from tplm_gui.data.sharing import Sharing, sharing_of
from tplm_gui.widgets.form import label_of
from tplm_gui.widgets.plots import Quantity

if TYPE_CHECKING:
    from tplm_daq.series import Entry, Forecast, Manifest, Shares

AGAINST_INTERVAL = "against time between excitations"
"""Title of the curve that is a relaxation."""
SMOOTH = 200
"""Points of a drawn fit."""


# -- the forecast ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DryRun:
    """What the points of a series will be, or what the instrument has against them.

    With [share] also how the time would be shared by the guesses of the plan.
    """

    plan: SeriesPlan
    points: "tuple[Forecast, ...]" = ()
    shares: "Shares | None" = None
    key: str = ""
    problem: str = ""


def dry_run(
    plan: SeriesPlan, profile: InstrumentProfile | None, assumed: tuple[float, float] | None
) -> DryRun:
    """Foretell every point; it takes a while, so not in the thread of the window."""
    from tplm_daq.prediction import COUNT_RATE_HZ, D_CM2_PER_S
    from tplm_daq.series import forecast, foresee

    if profile is None:
        return DryRun(plan)
    rate_hz, d_cm2_per_s = assumed or (COUNT_RATE_HZ, D_CM2_PER_S)
    try:
        found = forecast(plan, profile, rate_hz, d_cm2_per_s)
        shares = foresee(plan, profile, rate_hz)
    except InputError as error:
        where = error.source.removeprefix("series: ")
        problem = f"{where}: {error.problem}; {error.allowed}".rstrip("; ")
        key = f"scan.{error.key}" if error.key and not error.key.startswith("share.") else error.key
        return DryRun(plan, key=key, problem=problem)
    return DryRun(plan, tuple(found), shares)


# -- the points as they are measured -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Curve:
    """D against one quantity, and a fit where there is one.

    Attributes
    ----------
    title : str
        For the choice of what D is drawn against.
    x_axis : Quantity
        Name and unit.
    x, d, error : ndarray, shape (points,)
        D and its standard error, cm²/s.
    fit : tuple of ndarray, shape (n,), or None
        The fit: x and D.
    words : str
        What the fit says.
    """

    title: str
    x_axis: Quantity
    x: NDArray[np.float64]
    d: NDArray[np.float64]
    error: NDArray[np.float64]
    fit: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a folder of a series holds.

    Attributes
    ----------
    folder : Path
        The folder.
    manifest : Manifest
        Its points.
    ended : dict of int to float
        When the file of a point was last written, s since 1970.
    predicted_s : dict of int to float
        How long each point should take by the instrument's clock; empty if unknown.
    curves : tuple of Curve
        D against what was swept, the time between excitations, and the order.
    plan : SeriesPlan or None
        None where it is of another version.
    sharing : Sharing or None
        How its time is shared; None without [share].
    """

    folder: Path
    manifest: "Manifest"
    ended: dict[int, float]
    predicted_s: dict[int, float]
    curves: tuple[Curve, ...]
    plan: SeriesPlan | None = None
    sharing: Sharing | None = None


def look_into(folder: Path) -> Seen:
    """Read the folder of a series; not in the thread of the window.

    Raises
    ------
    InputError
        If there is no series in it.
    """
    from tplm_config import parse_profile, parse_series
    from tplm_daq.series import forecast, read_manifest

    manifest = read_manifest(folder)
    ended = {}
    for entry in manifest.points:
        if entry.state in ("done", "failed") and (folder / entry.file).is_file():
            ended[entry.index] = (folder / entry.file).stat().st_mtime
    predicted_s = {}
    plan, sharing = None, None
    try:
        plan = parse_series(manifest.plan, str(folder))
        profile = parse_profile(manifest.profile, str(folder))
        predicted_s = {p.index: p.duration_s for p in forecast(plan, profile, 1.0, None)}
        sharing = sharing_of(folder, manifest.points, plan, profile)
    except InputError:
        predicted_s = {}  # of another version: only the time left is not known
    curves = tuple(curves_of(manifest.points))
    return Seen(folder, manifest, ended, predicted_s, curves, plan, sharing)


def curves_of(entries: "Sequence[Entry]") -> Iterable[Curve]:
    """Everything D can be drawn against."""
    from tplm_daq.series.picture import swept_quantity
    from tplm_daq.series.results import arrhenius_of, known, relaxation_of, swept_alone, trend_of

    points = known(entries)
    d = np.array([each[2] for each in points], np.float64)
    error = np.array([each[3] for each in points], np.float64)
    quantity = swept_quantity(entries)
    if quantity is not None:
        name, _, unit = label_of(quantity).rpartition(", ")
        x = np.array([getattr(each[0].settings, quantity) for each in points], np.float64)
        curve = Curve(f"against {name or unit}", Quantity(name or unit, unit if name else ""),
                      x, d, error)  # fmt: skip
        if swept_alone(entries) == quantity:
            along = np.linspace(x.min(), x.max(), SMOOTH)
            law: Any = trend_of(entries, quantity)
            said = law.words(unit)
            if quantity == "temperature_k" and (arrhenius := arrhenius_of(entries)[0]) is not None:
                law, said = arrhenius, str(arrhenius)
            curve = replace(curve, fit=(along, law.at(along)), words=said)
        yield curve
    waits = [each[1].time_between_excitations_us for each in points]
    if points and None not in waits and len(set(waits)) > 1:
        x = np.array(waits, np.float64)
        axis = Quantity("mean time between excitations", "µs")
        curve = Curve(AGAINST_INTERVAL, axis, x, d, error)
        relaxation, why = relaxation_of(entries)
        if relaxation is not None:
            along = np.linspace(0.5 * x.min(), 1.05 * x.max(), SMOOTH)
            curve = replace(curve, fit=(along, relaxation.at(along)), words=str(relaxation))
        elif why:
            curve = replace(curve, words=f"no relaxation curve: {why}")
        yield curve
    order = np.array([each[0].index for each in points], np.float64)
    yield Curve("in the order of measurement", Quantity("point"), order, d, error)
