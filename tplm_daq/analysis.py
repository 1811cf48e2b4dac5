"""The analysis of a map: what the estimators need, and what a scan file knows besides."""

from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from tplm_analysis import (
    ApertureShape,
    FitWarning,
    Irf,
    MapFit,
    Method,
    ModelChoice,
    ModelComparison,
    PileUp,
    Revisits,
    TimeZero,
    compare_models,
    find_irf,
    fit_map,
)
from tplm_config import CrossScan, InputError, RasterScan
from tplm_daq.store import Scan, ScanMap, read_scan
from tplm_daq.store.drift import seen
from tplm_daq.store.scan import F64, Axis
from tplm_daq.tables import csv_rows, ordinary_file

POWER_RMS = 0.05
"""Relative scatter of the power over a map above which its D is in doubt."""


class TimeOptions(TypedDict, total=False):
    """What a person may decide about time and background; see `tplm_analysis.fit_map`."""

    time_zero_ns: float | None
    t_range_ns: tuple[float, float] | None
    background_per_bin: float | None
    irf: Irf | None
    time_zero: TimeZero | None
    mix_ages: bool


class FitOptions(TimeOptions, total=False):
    """What a person may decide; see `tplm_analysis.fit_map`."""

    pile_up: PileUp
    dead_time_ns: float | None
    model: ModelChoice
    aperture_um: float | None
    aperture: ApertureShape


def fit_table(
    found: ScanMap,
    source: str | Path,
    method: Method = "global",
    *,
    sync_rate_hz: float | None = None,
    excitation_pulses: ArrayLike | None = None,
    revisits: Revisits | None = None,
    **options: Unpack[FitOptions],
) -> MapFit:
    """Fit the diffusivity of a map.

    Parameters
    ----------
    sync_rate_hz : float, optional
        Laser pulses per second, to judge pile-up.
    excitation_pulses : array of float, shape (positions,), optional
        Laser pulses at each position, where the map has one row for each place.

    Raises
    ------
    InputError
        If the map or an option is not usable; it names ``source``.
    """
    if excitation_pulses is None and sync_rate_hz is not None and found.brightest_hz > 0:
        # pile-up is judged at the brightest single place; of a raster the map holds only sums
        excitation_pulses = found.counts.sum(axis=1) * (sync_rate_hz / found.brightest_hz)
    try:
        return fit_map(
            found.counts,
            found.x_um,
            found.t_ns,
            found.exposure_s,
            method,
            sync_rate_hz=None if excitation_pulses is None else sync_rate_hz,
            excitation_pulses=excitation_pulses,
            revisits=revisits,
            **options,
        )
    except ValueError as error:
        raise InputError(source, str(error)) from None


def fit_scan(
    scan: Scan,
    method: Method = "global",
    axis: Axis | None = None,
    *,
    drift: bool = False,
    **options: Unpack[FitOptions],
) -> MapFit:
    """Fit the diffusivity of a scan.

    Exposure, pulses, instrument response and reference revisits are taken from the file, so that
    missing positions, pile-up, time zero and drift are seen.

    Parameters
    ----------
    drift : bool
        Correct for the drift that the scan measured, see `correct_drift`.

    Raises
    ------
    InputError
        If the scan has no such map, or an option is not usable.
    """
    unusable = _add_irf(scan, options)
    found, pulses = scan.map(axis), None
    words = []
    corrects = options.get("pile_up", "none") != "none"
    if drift:
        found, pulses, remark = correct_drift(scan, found)
        words.append(remark)
    elif corrects or not isinstance(scan.plan, RasterScan):
        found, pulses = _places(scan, found)
    known = pulses is not None and bool(np.isfinite(pulses).all())
    if corrects and pulses is not None and not known:
        raise InputError(
            scan.path, "the number of laser pulses is not known", "leave out the pile-up correction"
        )
    if not corrects and (drift or not known):
        pulses = None  # judged at the brightest place
    words += _power_in_words(scan)
    if unusable is not None:
        words.append(FitWarning("irf", unusable))
    fit = fit_table(
        found,
        scan.path,
        method,
        sync_rate_hz=scan.sync_rate_hz,
        excitation_pulses=pulses,
        revisits=None if drift else reference_revisits(scan),
        **options,
    )
    return replace(fit, warnings=(*fit.warnings, *words))


def compare_table(
    found: ScanMap, source: str | Path, **options: Unpack[TimeOptions]
) -> ModelComparison:
    """Say which model of profile and growth a map warrants; see `tplm_analysis.compare_models`.

    Raises
    ------
    InputError
        If the map or an option is not usable; it names ``source``.
    """
    try:
        return compare_models(found.counts, found.x_um, found.t_ns, found.exposure_s, **options)
    except ValueError as error:
        raise InputError(source, str(error)) from None


def compare_scan(
    scan: Scan,
    axis: Axis | None = None,
    *,
    drift: bool = False,
    **options: Unpack[TimeOptions],
) -> ModelComparison:
    """Say which model a scan warrants, with the file's instrument response if it has one.

    Parameters
    ----------
    drift : bool
        Compare on the visits as `correct_drift` gives them.

    Raises
    ------
    InputError
        As in `fit_scan`.
    """
    _add_irf(scan, options)
    found = scan.map(axis)
    if drift:
        found, _, _ = correct_drift(scan, found)
    return compare_table(found, scan.path, **options)


def correct_drift(scan: Scan, found: ScanMap) -> tuple[ScanMap, F64, FitWarning]:
    """Make the map of a line with one row for each visit, freed from drift.

    The place of a visit is counted from where the emission peak was at that time, and its exposure
    is weighted with the brightness then, also with what a drift across the line takes away.

    Parameters
    ----------
    scan : Scan
        With centrings or reference revisits.
    found : ScanMap
        Its map, which says along which axis.

    Returns
    -------
    tuple of ScanMap, ndarray and FitWarning
        The map (a place without any visit has one row of exposure 0), the laser pulses of each
        row, and what was done.

    Raises
    ------
    InputError
        If the scan measured no drift, or is a raster: sums over its rows cannot be shifted.
    """
    if isinstance(scan.plan, RasterScan):
        words = "a raster is summed over one axis, which leaves nothing to correct for drift"
        raise InputError(scan.path, words, "leave the drift correction out")
    drift = scan.drift()
    if drift is None:
        raise InputError(
            scan.path,
            "the scan did not measure its drift",
            "that takes [centring] with every_visits, or [reference]",
        )
    revisits = scan.totals("reference")[2]
    if revisits.size >= 2 and not revisits.all():
        raise InputError(
            scan.path,
            "the reference counted nothing in some of its revisits, so the brightness is unknown",
            "leave the drift correction out",
        )
    position = scan.columns["position_index"]
    wanted = position >= 0
    if isinstance(scan.plan, CrossScan):
        wanted &= (position < scan.plan.positions) == (found.axis == "x")
    rows = np.flatnonzero(wanted & scan.stored)
    along, across = ("x_um", "y_um") if found.axis == "x" else ("y_um", "x_um")
    off = {"x_um": drift.off_x_um[rows], "y_um": drift.off_y_um[rows]}
    weight = drift.intensity[rows]
    if scan.centrings.sigma_um.size:
        beside = scan.columns[across][rows]
        sigma_um = float(scan.centrings.sigma_um.mean())
        weight = weight * (
            seen((beside - off[across])[:, None], sigma_um) / seen(beside[:, None], sigma_um)
        )
    live_s = scan.columns["live_s"][rows]
    empty = found.exposure_s == 0
    by_visit = replace(
        found,
        counts=np.concatenate([scan.histograms(rows).astype(np.int64), found.counts[empty]]),
        x_um=np.concatenate([scan.columns[along][rows] - off[along], found.x_um[empty]]),
        exposure_s=np.concatenate([live_s * weight, np.zeros(empty.sum())]),
    )
    pulses = np.concatenate([live_s * scan.columns["sync_rate_hz"][rows], np.zeros(empty.sum())])
    return by_visit, pulses, _drift_in_words(scan, off[along], weight, found.axis)


def _drift_in_words(scan: Scan, off_um: F64, weight: F64, axis: Axis) -> FitWarning:
    at = scan.centrings
    revisits = scan.totals("reference")[2]
    parts = []
    if at.time_s.size:
        error_nm = 1e3 * float((at.x_stderr_um if axis == "x" else at.y_stderr_um).max())
        after = scan.columns["started_s"] > at.time_s[-1]
        left = int((scan.stored & after & (scan.columns["position_index"] >= 0)).sum())
        parts.append(
            f"places by up to {1e3 * np.abs(off_um).max(initial=0):.0f} nm along {axis} "
            f"({at.time_s.size} centrings, each ± {error_nm:.0f} nm at worst; {left} visits came "
            "after the last)"
        )
    if revisits.size >= 2:
        parts.append(
            f"brightness by up to {np.abs(weight - 1).max(initial=0):.1%} ({revisits.size} "
            f"revisits of the reference, each ± {revisits.mean().clip(1) ** -0.5:.1%})"
        )
    return FitWarning("drift-corrected", f"Corrected visit by visit: {'; '.join(parts)}.")


def _add_irf(scan: Scan, options: TimeOptions) -> str | None:
    """Let the fit use the scan's own instrument response; return why it is of no use."""
    if options.get("irf") is not None or options.get("time_zero") == "decay":
        return None
    options["irf"], unusable = _own_irf(scan)
    if unusable is not None:
        options["time_zero"] = "decay"
    return unusable


def _power_in_words(scan: Scan) -> list[FitWarning]:
    """What to know if places of the map were measured with different light."""
    power_nw = scan.columns["power_nw"][scan.stored & (scan.columns["position_index"] >= 0)]
    power_nw = power_nw[power_nw > 0]
    if power_nw.size < 2 or power_nw.std() <= POWER_RMS * power_nw.mean():
        return []
    return [
        FitWarning(
            "power",
            f"The power meter read between {power_nw.min():.3g} and {power_nw.max():.3g} nW while "
            f"the map was measured ({power_nw.std() / power_nw.mean():.0%} rms). Places measured "
            f"with different light spoil D: measure again, with [conditions.power] in the plan.",
        )
    ]


def _own_irf(scan: Scan) -> tuple[Irf | None, str | None]:
    """The instrument response that a scan measured, or why it is of no use."""
    counts = scan.irf_counts()
    if counts is None:
        return None, None
    try:
        return find_irf(counts, scan.header.t_ns), None
    except ValueError as error:
        return None, (
            f"The instrument response in the file is of no use; the half maximum of the decay is "
            f"time zero instead. {error}"
        )


def profile_aperture(scan: Scan) -> tuple[float, ApertureShape]:
    """Return side or diameter (µm, sample plane) and shape of the area that a scan's detector saw.

    Raises
    ------
    InputError
        If the file holds no usable profile.
    """
    profile = scan.header.profile
    if profile is None:
        why = scan.header.profile_problem or "it holds no profile, which would know its aperture"
        raise InputError(scan.path, why, "give --aperture-um and --aperture square or disc")
    optics = profile.optics
    return optics.detector_size_um / optics.magnification, optics.detector_shape


def _places(scan: Scan, found: ScanMap) -> tuple[ScanMap, F64]:
    """The map with one row for each place, since pile-up happens at one, and their pulses."""
    places, pulses = scan.plan.places(), scan.pulses
    rows = np.arange(len(places))
    if isinstance(scan.plan, CrossScan):
        line = scan.plan.positions
        rows = rows[:line] if found.axis == "x" else rows[line:]
    along = np.array([place.x_um if found.axis == "x" else place.y_um for place in places])
    by_place = replace(
        found,
        counts=scan.position_counts[rows],
        x_um=along[rows],
        exposure_s=scan.exposure_s[rows],
    )
    return by_place, pulses[rows]


def read_irf(path: str | Path) -> Irf:
    """Read an instrument response.

    Parameters
    ----------
    path : str or Path
        ``.h5``: a scan file with ``irf`` visits. ``.npz``: ``t_ns`` and ``counts``, one value
        for each time bin. ``.csv``: two columns, ``t_ns`` and counts; a first row of names is
        skipped.

    Raises
    ------
    InputError
        If there is no usable instrument response in it.
    """
    path = ordinary_file(path)
    counts: ArrayLike | None
    match path.suffix.lower():
        case ".h5":
            scan = read_scan(path)
            counts, t_ns = scan.irf_counts(), scan.header.t_ns
        case ".npz":
            counts, t_ns = _npz_curve(path)
        case ".csv":
            counts, t_ns = _csv_curve(path)
        case suffix:
            raise InputError(
                path, f"the file name ends in '{suffix}'", "a response is one of .h5, .npz, .csv"
            )
    if counts is None:
        raise InputError(path, "the scan has no visit for the instrument response", "see [irf]")
    try:
        return find_irf(counts, t_ns)
    except ValueError as error:
        raise InputError(path, str(error)) from None


def _npz_curve(path: Path) -> tuple[F64, F64]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            counts, t_ns = archive["counts"], archive["t_ns"]
            return counts.astype(np.float64), t_ns.astype(np.float64)
    except Exception as error:  # noqa: BLE001 - damaged bytes raise anything
        detail = str(error).split("\n", 1)[0][:120] or type(error).__name__
        raise InputError(
            path, f"not a readable response ({detail})", "it needs the arrays t_ns and counts"
        ) from None


def _csv_curve(path: Path) -> tuple[F64, F64]:
    rows: list[list[float]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, cells in csv_rows(path, file):
                try:
                    rows.append([float(cell) for cell in cells])
                except ValueError:
                    if rows or line > 1:
                        raise InputError(
                            path, "not a row of numbers", "two are needed", f"line {line}"
                        ) from None
                    continue
                if len(cells) != 2:
                    raise InputError(
                        path,
                        f"found {len(cells)} values",
                        "two are needed, t_ns and counts",
                        f"line {line}",
                    )
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"not a readable CSV file ({error})") from None
    t_ns, counts = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return counts, t_ns


def reference_revisits(scan: Scan) -> Revisits | None:
    """The reference revisits of a scan at equal exposure; None with fewer than three."""
    started_s, live_s, totals = scan.totals("reference")
    if started_s.size < 3:
        return None
    counts = np.asarray(totals / live_s * live_s.mean(), dtype=np.float64)
    return Revisits(time_s=started_s, counts=counts)
