"""What came out of a series: the result of each point, the table, and figures across points."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_analysis import (
    Arrhenius,
    Relaxation,
    Trend,
    average_repeats,
    fit_arrhenius,
    fit_relaxation,
    fit_trend,
)
from tplm_config import InputError, InstrumentProfile, SeriesPlan, Settings
from tplm_daq.analysis import fit_scan
from tplm_daq.series.manifest import Entry, Result
from tplm_daq.series.points import excitation_at
from tplm_daq.store import Scan
from tplm_daq.store.files import replacing

SUMMARY = "summary.csv"
SPREAD = 2.0
"""Least ratio of the longest to the shortest time between excitations for a relaxation curve."""
SAME = 1.05
"""Times between excitations closer than this ratio count as one."""
FEWEST = 3
"""Different values of the one quantity that varies, for a trend or an activation energy."""
SWEPT = ("power_nw", "fluence_uj_per_cm2", "repetition_rate_hz", "temperature_k")
"""Quantities whose trend is told."""


def result_of(plan: SeriesPlan, scan: Scan, profile: InstrumentProfile) -> Result:
    """What the finished scan of a point says."""
    at_places = scan.stored & (scan.columns["position_index"] >= 0)
    power_nw = _mean(scan.columns["power_nw"][at_places]) or scan.plan.excitation.power_nw
    rate_hz = scan.sync_rate_hz
    found = scan.map()
    values: dict[str, Any] = {
        "power_nw": power_nw,
        "repetition_rate_hz": rate_hz,
        "temperature_k": _mean(scan.columns["temperature_k"][at_places]),
        "counts": int(scan.position_counts.sum()),
        "counts_per_pulse": found.brightest_hz / rate_hz if rate_hz else None,
    }
    if power_nw and rate_hz:
        light = excitation_at(plan, profile, power_nw, rate_hz)
        values["fluence_uj_per_cm2"] = light.fluence_uj_per_cm2
        values["mean_excitons"] = light.mean_excitons_per_nc
        values["time_between_excitations_us"] = light.mean_time_between_excitations_us
    try:
        fit = fit_scan(scan)
    except InputError as error:
        return Result(**values, warnings=(f"no fit: {error.problem}",))
    return Result(
        **values,
        d_cm2_per_s=fit.d_cm2_per_s,
        d_stderr_cm2_per_s=fit.d_stderr_cm2_per_s,
        lifetime_1e_ns=fit.lifetime_1e_ns,
        warnings=tuple(w.code for w in fit.warnings if not w.is_remark),
    )


def _mean(values: NDArray[Any]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def summarise(entries: Sequence[Entry]) -> tuple[dict[str, Any], Relaxation | None]:
    """What all points say together: relaxation, trend, activation, means of repeated settings."""
    summary: dict[str, Any] = {}
    curve, why = relaxation_of(entries)
    if curve is not None:
        summary["relaxation"] = curve.to_dict()
    elif why:
        summary["no_relaxation"] = why
    swept = swept_alone(entries)
    if swept is not None:
        summary["trend"] = {"quantity": swept, **_given(trend_of(entries, swept))}
    if swept == "temperature_k":
        activation, why = arrhenius_of(entries)
        if activation is not None:
            summary["arrhenius"] = _given(activation)
        else:
            summary["no_arrhenius"] = why
    repeated = _repeated(entries)
    if repeated:
        summary["repeated"] = repeated
    return summary, curve


def known(entries: Sequence[Entry]) -> list[tuple[Entry, Result, float, float]]:
    """The points that have a D with an error, with both."""
    return [
        (entry, r, r.d_cm2_per_s, r.d_stderr_cm2_per_s)
        for entry in entries
        if (r := entry.result) is not None
        and r.d_cm2_per_s is not None
        and r.d_stderr_cm2_per_s is not None
        and r.d_stderr_cm2_per_s > 0
    ]


def relaxation_of(entries: Sequence[Entry]) -> tuple[Relaxation | None, str]:
    """The relaxation curve, where only the time between excitations varies, or why there is none.

    Returns
    -------
    Relaxation or None
    str
        Empty where such a curve makes no sense.
    """
    points = [
        (r.time_between_excitations_us, d, error)
        for _, r, d, error in known(entries)
        if r.time_between_excitations_us is not None
    ]
    elsewhere = {(entry.settings.temperature_k, entry.settings.sample_xy_um) for entry in entries}
    if len(elsewhere) > 1 or not points:
        return None, ""
    interval, d, error = np.array(points).T
    ordered = np.sort(interval)
    distinct = 1 + int(np.sum(ordered[1:] / ordered[:-1] > SAME))
    if distinct < 4 or ordered[-1] < SPREAD * ordered[0]:
        return None, ""
    try:
        return fit_relaxation(interval, d, error), ""
    except ValueError as refused:
        return None, str(refused)


def swept_alone(entries: Sequence[Entry]) -> str | None:
    """The one quantity that varies among the points with a D, if it has values enough."""
    settings = [entry.settings for entry, *_ in known(entries)]
    varied = [
        name for name in Settings.model_fields if len({getattr(s, name) for s in settings}) > 1
    ]
    if len(varied) != 1 or varied[0] not in SWEPT:
        return None
    values = {getattr(s, varied[0]) for s in settings}
    return varied[0] if len(values - {None}) >= FEWEST and None not in values else None


def trend_of(entries: Sequence[Entry], quantity: str) -> Trend:
    """The straight line of D against a quantity that was set, and whether D varies at all."""
    points = [
        (getattr(entry.settings, quantity), d, error) for entry, _, d, error in known(entries)
    ]
    return fit_trend(*np.array(points).T)


def arrhenius_of(entries: Sequence[Entry]) -> tuple[Arrhenius | None, str]:
    """The activation energy, at the temperatures that were read back, or why there is none."""
    points = [
        (entry.settings.temperature_k if r.temperature_k is None else r.temperature_k, d, error)
        for entry, r, d, error in known(entries)
    ]
    try:
        return fit_arrhenius(*np.array(points).T), ""
    except ValueError as refused:
        return None, str(refused)


def _given(result: Trend | Arrhenius) -> dict[str, Any]:
    """The values of a result that it has."""
    return {name: value for name, value in result.to_dict().items() if value is not None}


def _repeated(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Mean and standard deviation of D over points with the same settings."""
    points = known(entries)
    if not points:
        return []
    settings = list(dict.fromkeys(entry.settings for entry, *_ in points))
    which = [settings.index(entry.settings) for entry, *_ in points]
    groups = average_repeats(which, [d for *_, d, _ in points], [error for *_, error in points])
    return [
        {
            "settings": setting.model_dump(exclude_none=True),
            **{name: value for name, value in group.to_dict().items() if name != "x"},
        }
        for setting, group in zip(settings, groups, strict=True)
        if group.points > 1
    ]


def write_table(folder: Path, entries: Sequence[Entry]) -> None:
    """Write the summary as CSV, one row for each point."""
    asked = [f"set_{name}" for name in Settings.model_fields]
    fields = ["index", "label", "repeat", "file", "state", *asked, *Result.model_fields]
    with (
        replacing(folder / SUMMARY) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.DictWriter(file, fields)
        table.writeheader()
        for entry in entries:
            settings = entry.settings.model_dump(exclude_none=True)
            row = {name: getattr(entry, name) for name in fields[:5]}
            row |= {f"set_{name}": value for name, value in settings.items()}
            if entry.result is not None:
                row |= entry.result.model_dump(exclude_none=True)
                row["warnings"] = " ".join(entry.result.warnings)
            table.writerow(row)
