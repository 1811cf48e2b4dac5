"""What Browse shows of files: read and fitted here, away from the thread of the window; no Qt.

Of every opened file only what is drawn is kept. Counts of the few files read last stay on a
`Shelf`, so that another fit need not read them again.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tplm_analysis import MapFit, Method, ModelChoice, PileUp
from tplm_config import (
    InputError,
    InstrumentProfile,
    ScanPlan,
    SeriesPlan,
    parse_profile,
    parse_series,
    to_toml,
)
from tplm_daq.analysis import FitOptions, fit_scan, fit_table, profile_aperture
from tplm_daq.exporting import ExportFormat, export_map, write_map
from tplm_daq.series import Entry, Manifest, read_manifest
from tplm_daq.series.manifest import MANIFEST
from tplm_daq.series.results import known
from tplm_daq.store import Analysis, Scan, ScanMap, read_analyses, read_scan
from tplm_daq.store.scan import Axis
from tplm_daq.tables import ordinary_file, read_map
from tplm_gui.words import plus_minus

F64 = NDArray[np.float64]
Kind = Literal["scan", "map", "series"]
KEPT = 4
"""Files whose counts stay in memory."""
COLUMNS = 512
"""Most columns of a kept map, and points of a kept decay or MSD."""
MSD_POINTS = 60
RUNNING = "being measured, or killed"
"""Ending of a scan file whose last run has not ended."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points with standard errors, and what was fitted to them.

    Attributes
    ----------
    x, y, error, line : (n,) float64
        NaN where there is nothing.
    """

    x: F64
    y: F64
    error: F64
    line: F64


@dataclass(frozen=True, slots=True)
class Settings:
    """How a map is to be fitted, as ``tplm analyze`` takes it."""

    method: Method = "global"
    model: ModelChoice = "auto"
    axis: Axis | None = None
    t_range_ns: tuple[float, float] | None = None
    time_zero_ns: float | None = None
    background_per_bin: float | None = None
    pile_up: PileUp = "none"
    mix_ages: bool = False
    aperture: bool = False
    """Take the aperture of the file's profile off σ0."""
    drift: bool = False
    """Correct for the drift that the scan measured."""

    def __str__(self) -> str:
        """What differs from the default, in words."""
        parts: list[str] = [self.method]
        if self.model != "auto":
            parts.append(self.model)
        if self.axis is not None:
            parts.append(f"along {self.axis}")
        if self.t_range_ns is not None:
            parts.append(f"{self.t_range_ns[0]:g} to {self.t_range_ns[1]:g} ns")
        if self.time_zero_ns is not None:
            parts.append(f"zero at {self.time_zero_ns:g} ns")
        if self.background_per_bin is not None:
            parts.append(f"background {self.background_per_bin:g}")
        parts += [
            words
            for words, on in (
                ("pile-up", self.pile_up != "none"),
                ("mean ages", self.mix_ages),
                ("aperture", self.aperture),
                ("drift", self.drift),
            )
            if on
        ]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A result, of now or kept in the file.

    Attributes
    ----------
    name : str
        How it was made, or under which name it is kept.
    kept : str
        When it was kept; empty: it is not in the file.
    values : mapping
        By the names of ``tplm analyze --json``.
    warnings : tuple of (str, str)
        Code and sentence; remarks are left out.
    text : str
        All of it as printed.
    msd : Curve or None
        Time after time zero in ns, MSD in 10³ nm².
    fit : MapFit or None
        The result itself, if it is of now.
    settings : Settings or None
        With what it was made.
    """

    name: str
    kept: str
    values: Mapping[str, Any]
    warnings: tuple[tuple[str, str], ...]
    text: str
    msd: Curve | None = None
    fit: MapFit | None = None
    settings: Settings | None = None

    def number(self, name: str) -> float | None:
        """A value, if it was found."""
        value = self.values.get(name)
        return float(value) if isinstance(value, int | float) else None

    @property
    def d_words(self) -> str:
        """D ± σ in cm²/s."""
        return plus_minus(self.number("d_cm2_per_s"), self.number("d_stderr_cm2_per_s"))


@dataclass(frozen=True, slots=True)
class Dot:
    """One D of a series, or of a scan, with where it was measured."""

    label: str
    d_cm2_per_s: float
    d_stderr_cm2_per_s: float
    at: Mapping[str, float]
    path: str


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point of a series, whatever its state."""

    label: str
    d_words: str
    state: str
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An opened file or series.

    Attributes
    ----------
    path, kind
        What it is.
    plan_words, sample, date, ending : str
        For the list.
    plan : ScanPlan or SeriesPlan or None
        To measure it again.
    profile : InstrumentProfile or None
        With which it was measured.
    rate : (positions, columns) float64
        Counts per second (per exposure) and bin; NaN where nothing was measured.
    x_um, t_ns : float64
        Of its rows and columns.
    axes : tuple of str
        Along which maps there are.
    decay : Curve
        Counts of all positions.
    kept : tuple of Outcome
        Results kept in the file.
    dots : tuple of Dot
        D against what was set.
    points : tuple of PointRow
        Every point of a series.
    texts : mapping
        Title to text: plan, profile, journal, …
    stored, planned : int
        Visits, or points of a series.
    """

    path: Path
    kind: Kind
    plan_words: str
    sample: str = ""
    date: str = ""
    ending: str = ""
    plan: ScanPlan | SeriesPlan | None = None
    profile: InstrumentProfile | None = None
    rate: F64 = field(default_factory=lambda: np.zeros((0, 0)))
    x_um: F64 = field(default_factory=lambda: np.zeros(0))
    t_ns: F64 = field(default_factory=lambda: np.zeros(0))
    axis: Axis = "x"
    axes: tuple[Axis, ...] = ("x",)
    decay: Curve | None = None
    kept: tuple[Outcome, ...] = ()
    dots: tuple[Dot, ...] = ()
    points: tuple[PointRow, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    stored: int = 0
    planned: int = 0

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return self.path.name


class Shelf:
    """Counts of the files read last; may be asked from several threads."""

    def __init__(self, places: int = KEPT) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._sources: OrderedDict[Path, tuple[tuple[int, int], Scan | ScanMap]] = OrderedDict()

    def read(self, path: Path) -> Scan | ScanMap:
        """The content of a file, read anew if it has changed.

        Raises
        ------
        InputError
            If it is no file that `tplm analyze` reads.
        """
        path = ordinary_file(path)
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        with self._lock:
            found = self._sources.get(path)
            if found is not None and found[0] == stamp:
                self._sources.move_to_end(path)
                return found[1]
        source = read_scan(path) if path.suffix.lower() == ".h5" else read_map(path)
        with self._lock:
            self._sources[path] = (stamp, source)
            self._sources.move_to_end(path)
            while len(self._sources) > self._places:
                self._sources.popitem(last=False)
        return source

    def __len__(self) -> int:
        """How many files it holds."""
        return len(self._sources)

    def drop(self, path: Path) -> None:
        """Forget a file."""
        with self._lock:
            self._sources.pop(path, None)


def open_path(path: str | Path, shelf: Shelf) -> Opened:
    """Read a scan file, a table or the folder of a series.

    Raises
    ------
    InputError
        With what is wrong with it.
    """
    path = Path(path).absolute()
    if path.name == MANIFEST:
        path = path.parent
    if path.is_dir():
        return _series(path, read_manifest(path))
    source = shelf.read(path)
    return _scan(path, source) if isinstance(source, Scan) else _table(path, source)


def fit(path: Path, settings: Settings, shelf: Shelf) -> Outcome:
    """Fit a file.

    Raises
    ------
    InputError
        If the file or a setting is not usable.
    """
    source = shelf.read(path)
    options = FitOptions(
        time_zero_ns=settings.time_zero_ns,
        t_range_ns=settings.t_range_ns,
        background_per_bin=settings.background_per_bin,
        pile_up=settings.pile_up,
        mix_ages=settings.mix_ages,
        model=settings.model if settings.method == "global" else "auto",
    )
    if isinstance(source, Scan):
        if settings.aperture:
            options["aperture_um"], options["aperture"] = profile_aperture(source)
        found = fit_scan(source, settings.method, settings.axis, drift=settings.drift, **options)
    else:
        for name, asked in (
            ("pile-up", settings.pile_up != "none"),
            ("drift", settings.drift),
            ("aperture of the profile", settings.aperture),
        ):
            if asked:
                raise InputError(path, f"{name}: only a scan file (.h5) knows it", "leave it out")
        found = fit_table(source, path, settings.method, **options)
    return Outcome(
        name=str(settings),
        kept="",
        values=found.to_dict(),
        warnings=tuple((w.code, w.message) for w in found.warnings if not w.is_remark),
        text=str(found),
        msd=_msd_of(found),
        fit=found,
        settings=settings,
    )


def keep(path: Path, outcome: Outcome, shelf: Shelf) -> Opened:
    """Save a result in its scan file, and read the file again.

    Raises
    ------
    InputError
        If it cannot be kept there.
    """
    source = shelf.read(path)
    if not isinstance(source, Scan) or outcome.fit is None or outcome.settings is None:
        raise InputError(path, "only a scan file (.h5) keeps results", "export the result instead")
    used = outcome.settings
    settings: dict[str, Any] = {
        "method": used.method,
        "axis": used.axis,
        "time_zero_ns": used.time_zero_ns,
        "t_range_ns": used.t_range_ns,
        "background_per_bin": used.background_per_bin,
        "pile_up": used.pile_up,
        "mix_ages": used.mix_ages,
        "model": used.model,
        "aperture": "profile" if used.aperture else None,
        "drift_correction": used.drift,
    }
    source.save_analysis(outcome.fit, settings)
    return open_path(path, shelf)


def export(path: Path, target: Path, format: ExportFormat, axis: Axis | None) -> list[str]:
    """Write a file's map for other programs; gives what the format could not carry.

    Raises
    ------
    InputError
        If it cannot.
    """
    if path.suffix.lower() == ".h5":
        return export_map(read_scan(ordinary_file(path)), target, format, axis)
    if format == "ptu":
        raise InputError(path, "photon by photon only a scan file (.h5) can be written", "take npz")
    return write_map(read_map(path), target, format)


def difference(
    measured: InstrumentProfile | None, present: InstrumentProfile | None
) -> tuple[str, ...]:
    """What of an instrument is another now than then: ``optics.magnification 495 → 122``.

    The settings of the virtual microscope do not count: they are no part of the instrument.
    """
    if measured is None or present is None:
        return ()
    then, now = (_flat(one.model_dump(exclude={"simulation"})) for one in (measured, present))
    return tuple(
        f"{name} {then.get(name, 'none')} → {now.get(name, 'none')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name != "description"
    )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        elif value is not None:
            found[f"{before}{name}"] = value
    return found


# -- what is read ------------------------------------------------------------------------------


def _scan(path: Path, scan: Scan) -> Opened:
    plan = scan.plan
    axes: tuple[Axis, ...] = ("x", "y") if plan.kind in ("cross", "raster") else (scan.map().axis,)
    found = scan.map()
    rate, t_ns = _shrunk(found)
    kept, words = _kept(path)
    outcomes = tuple(_of_analysis(one) for one in kept)
    places = scan.stored & (scan.columns["position_index"] >= 0)
    at = {
        name: value
        for name, value in (
            ("power_nw", _mean(scan.columns["power_nw"][places])),
            ("temperature_k", _mean(scan.columns["temperature_k"][places])),
            ("repetition_rate_hz", scan.sync_rate_hz),
        )
        if value is not None
    }
    return Opened(
        path=path,
        kind="scan",
        plan_words=f"{plan.kind}, {plan.place_count} × {plan.passes}",
        sample=plan.sample,
        date=_date(scan.header.created),
        ending=_ending(scan),
        plan=plan,
        profile=scan.header.profile,
        rate=rate,
        x_um=found.x_um,
        t_ns=t_ns,
        axis=found.axis,
        axes=axes,
        decay=_decay(found),
        kept=outcomes,
        dots=(Dot(path.stem, np.nan, np.nan, at, str(path)),),
        texts=_texts(scan, words),
        stored=int(scan.stored.sum()),
        planned=plan.visit_count,
    )


def _ending(scan: Scan) -> str:
    ending = scan.ending or RUNNING
    if scan.complete:
        return ending
    return f"{ending}, {scan.stored.sum() / scan.stored.size:.0%}"


def _table(path: Path, found: ScanMap) -> Opened:
    rate, t_ns = _shrunk(found)
    return Opened(
        path=path,
        kind="map",
        plan_words=f"map, {found.x_um.size} × {found.t_ns.size}",
        ending="",
        rate=rate,
        x_um=found.x_um,
        t_ns=t_ns,
        decay=_decay(found),
        texts={
            "Header": f"{path}\n\n{found.x_um.size} positions from {found.x_um[0]:g} to "
            f"{found.x_um[-1]:g} µm\n{found.t_ns.size} bins from {found.t_ns[0]:g} to "
            f"{found.t_ns[-1]:g} ns\n{found.counts.sum()} counts\n\nA table knows nothing else: "
            "no plan, no profile, no journal."
        },
        stored=int((found.exposure_s > 0).sum()),
        planned=found.x_um.size,
    )


def _series(folder: Path, manifest: Manifest) -> Opened:
    plan = parse_series(manifest.plan, f"{folder} (its plan)")
    profile = None
    problem = ""
    try:
        profile = parse_profile(manifest.profile, f"{folder} (its profile)")
    except InputError as error:
        problem = str(error)
    done = sum(entry.state == "done" for entry in manifest.points)
    ending = manifest.ending or RUNNING
    if done < len(manifest.points):
        ending += f", {done / len(manifest.points):.0%}"
    points = tuple(_point(folder, entry) for entry in manifest.points)
    texts = {
        "Points": "\n".join(map(_point_words, manifest.points, points)),
        "Plan": manifest.plan,
        "Profile": problem or ("" if profile is None else _profile_text(profile)),
    }
    if manifest.summary:
        texts["Summary"] = "\n".join(_lines(manifest.summary))
    return Opened(
        path=folder,
        kind="series",
        plan_words=f"series, {len(manifest.points)} points",
        sample=plan.scan.sample,
        date=_date(manifest.created),
        ending=ending,
        plan=plan,
        profile=profile,
        points=points,
        dots=tuple(_dot(folder, entry, r, d, e) for entry, r, d, e in known(manifest.points)),
        texts=texts,
        stored=done,
        planned=len(manifest.points),
    )


def _dot(folder: Path, entry: Entry, result: Any, d: float, error: float) -> Dot:
    at = {"index": float(entry.index)}
    for name in (
        "power_nw",
        "fluence_uj_per_cm2",
        "repetition_rate_hz",
        "temperature_k",
        "time_between_excitations_us",
    ):
        value = getattr(result, name)
        if value is not None:
            at[name] = float(value)
    return Dot(entry.label, d, error, at, str(folder / entry.file))


def _point(folder: Path, entry: Entry) -> PointRow:
    result = entry.result
    d, error = (None, None) if result is None else (result.d_cm2_per_s, result.d_stderr_cm2_per_s)
    return PointRow(entry.label, plus_minus(d, error), entry.state, str(folder / entry.file))


def _point_words(entry: Entry, row: PointRow) -> str:
    more = f"  {entry.message}" if entry.message else ""
    return f"{entry.index:3d}  {row.label:28s} {row.state:8s} {row.d_words}{more}"


def _lines(values: Mapping[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for i, one in enumerate(value):
                lines += [f"{indent}{name} {i + 1}", *_lines(one, indent + "  ")]
        else:
            lines.append(f"{indent}{name} = {_short(value)}")
    return lines


def _kept(path: Path) -> tuple[tuple[Analysis, ...], str]:
    """Results kept in a file, or why they cannot be read."""
    try:
        return read_analyses(path), ""
    except InputError as error:
        return (), error.problem


def _of_analysis(one: Analysis) -> Outcome:
    values = one.numbers()
    given = values.get("warnings") or []
    warnings = tuple(
        (str(w.get("code", "")), str(w.get("message", "")))
        for w in given
        if isinstance(w, Mapping) and w.get("code") not in ("t-max", "alpha")
    )
    return Outcome(
        name=one.name,
        kept=_date(one.date),
        values=values,
        warnings=warnings,
        text=one.text,
        msd=_msd_of_values(one.values),
    )


def _msd_of(found: MapFit) -> Curve | None:
    if found.msd is None:
        return None
    m = found.msd
    return _msd(m.t_ns, m.msd_um2, m.stderr_um2, m.line_um2, found.time_zero_ns)


def _msd_of_values(values: Mapping[str, Any]) -> Curve | None:
    msd = values.get("msd")
    if not isinstance(msd, Mapping):
        return None
    try:
        t, y, error, line = (
            np.asarray(msd[name], np.float64)
            for name in ("t_ns", "msd_um2", "stderr_um2", "line_um2")
        )
    except (KeyError, TypeError, ValueError):
        return None
    return _msd(t, y, error, line, values.get("time_zero_ns"))


def _msd(t_ns: F64, msd: F64, error: F64, line: F64, zero_ns: float | None) -> Curve | None:
    """Weighted means of neighbouring points, few enough to be seen, in 10³ nm²."""
    usable = np.isfinite(t_ns) & np.isfinite(msd) & np.isfinite(error)
    if not usable.any():
        return None
    t, y, e, fitted = t_ns[usable], msd[usable], error[usable], line[usable]
    starts = np.unique(np.linspace(0, t.size, MSD_POINTS, endpoint=False).astype(int))
    weight = 1 / np.maximum(e, 1e-12) ** 2
    total = np.add.reduceat(weight, starts)

    def pooled(values: F64) -> F64:
        return np.asarray(np.add.reduceat(weight * values, starts) / total)

    return Curve(
        pooled(t) - (zero_ns or 0.0), 1e3 * pooled(y), 1e3 / np.sqrt(total), 1e3 * pooled(fitted)
    )


def _shrunk(found: ScanMap) -> tuple[F64, F64]:
    """Counts per exposure, neighbouring bins together until there are few enough."""
    step = -(-found.t_ns.size // COLUMNS)
    starts = np.arange(0, found.t_ns.size, step)
    counts = np.add.reduceat(found.counts, starts, axis=1).astype(np.float64)
    sizes = np.diff(np.append(starts, found.t_ns.size))
    exposure = np.where(found.exposure_s > 0, found.exposure_s, np.nan)
    ends = np.append(starts[1:], found.t_ns.size) - 1
    return counts / sizes / exposure[:, None], (found.t_ns[starts] + found.t_ns[ends]) / 2


def _decay(found: ScanMap) -> Curve:
    step = -(-found.t_ns.size // COLUMNS)
    starts = np.arange(0, found.t_ns.size, step)
    counts = np.add.reduceat(found.counts.sum(axis=0), starts).astype(np.float64)
    ends = np.append(starts[1:], found.t_ns.size) - 1
    t_ns = (found.t_ns[starts] + found.t_ns[ends]) / 2
    return Curve(t_ns, counts, np.sqrt(counts), np.full(t_ns.size, np.nan))


def _mean(values: NDArray[Any]) -> float | None:
    good = values[np.isfinite(values)]
    return float(good.mean()) if good.size else None


def _date(created: str) -> str:
    return created[:16].replace("T", " ")


def _profile_text(profile: InstrumentProfile) -> str:
    """A profile without what the virtual microscope hides."""
    return to_toml(profile.model_copy(update={"simulation": type(profile.simulation)()})).split(
        "[simulation", 1
    )[0]


def _texts(scan: Scan, words: str) -> dict[str, str]:
    header = scan.header
    live_s = scan.columns["live_s"][scan.stored]
    instrument = "–" if header.profile is None else header.profile.name
    lines = [
        str(scan.path),
        "",
        f"{scan.plan.kind}, {scan.plan.place_count} positions",
        f"{int(scan.stored.sum())} of {scan.plan.visit_count} visits",
        f"{header.bins} bins of {header.time_bin_ps:g} ps from {header.offset_ns:g} ns",
        f"{int(scan.position_counts.sum())} counts in {live_s.sum():.6g} s",
        f"sample     {scan.plan.sample or '–'}",
        f"operator   {scan.plan.operator or '–'}",
        f"begun      {header.created}",
        f"ending     {_ending(scan)}",
        f"software   {header.software}",
        f"instrument {instrument}{', simulated' if header.simulated else ''}",
        "",
        *(
            f"{role.replace('_', ' '):21s}{one.model}, {one.serial_number}, {one.firmware}"
            for role, one in header.identities.items()
        ),
    ]
    if scan.plan.notes:
        lines += ["", scan.plan.notes]
    texts = {"Header": "\n".join(lines), "Plan": to_toml(scan.plan)}
    if header.profile is not None:
        texts["Profile"] = _profile_text(header.profile)
    elif header.profile_problem:
        texts["Profile"] = header.profile_problem
    texts["Journal"] = "\n".join(_journal_line(line) for line in scan.journal) or "–"
    texts["Centring and drift"] = _drift_text(scan)
    if words:
        texts["Kept results"] = words
    return texts


def _journal_line(line: Mapping[str, Any]) -> str:
    at = str(line.get("at", line.get("time", "")))[:19].replace("T", " ")
    what = str(line.get("event", ""))
    if "code" in line:
        what = f"{what} {line['code']}"
    skipped = ("at", "time", "event", "code")
    rest = {k: v for k, v in line.items() if k not in skipped and "simulation" not in str(v)}
    said = str(rest.pop("message", "")) or str(rest.pop("text", ""))
    values = ", ".join(f"{k} {_short(v)}" for k, v in rest.items() if v not in (None, "", [], {}))
    return f"{at}  {what:18s} {'; '.join(part for part in (said, values) if part)}".rstrip()


def _short(value: Any) -> str:
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 160 else f"{text[:157]}…"


def _drift_text(scan: Scan) -> str:
    found = scan.centrings
    lines: list[str] = []
    if found.time_s.size:
        lines.append("   time s      x µm        y µm       σ µm   peak /s     z µm")
        lines += [
            f"{t:9.1f} {x:+8.3f}±{ex:.3f} {y:+8.3f}±{ey:.3f} {s:6.3f} {p:9.4g} {z:8.3f}"
            for t, x, ex, y, ey, s, p, z in zip(
                found.time_s,
                found.x_um,
                found.x_stderr_um,
                found.y_um,
                found.y_stderr_um,
                found.sigma_um,
                found.peak_hz,
                found.z_um,
                strict=True,
            )
        ]
    else:
        lines.append("The peak was not searched for ([centring] in the plan).")
    started_s, live_s, totals = scan.totals("reference")
    if started_s.size:
        lines += ["", "reference revisits", "   time s   counts/s"]
        lines += [
            f"{t:9.1f} {n / s:10.5g}" for t, s, n in zip(started_s, live_s, totals, strict=True)
        ]
    drift = scan.drift()
    if drift is not None and np.isfinite(drift.x_um).any():
        for name, values in (("x", drift.x_um), ("y", drift.y_um)):
            good = values[np.isfinite(values)]
            lines.append(f"drift along {name}: {1e3 * np.ptp(good):.0f} nm in the course of it")
    elif not started_s.size:
        lines.append("No reference was revisited ([reference] in the plan): drift is not known.")
    return "\n".join(lines)
