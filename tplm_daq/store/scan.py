"""Reading a scan file, finished or not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from tplm_config import (
    CrossScan,
    InputError,
    LineScan,
    PositionScan,
    RasterScan,
    ScanPlan,
    parse_plan,
    parse_profile,
)
from tplm_daq.store.analyses import add_analysis
from tplm_daq.store.drift import Drift, find_drift, track
from tplm_daq.store.layout import (
    COLUMNS,
    COUNTS,
    CRC,
    FORMAT,
    JOURNAL,
    KINDS,
    MEASURED,
    VISITS,
    planned_columns,
    row_crc,
)
from tplm_daq.store.nexus import ScanHeader, read_header

if TYPE_CHECKING:
    from tplm_analysis import Result

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Axis = Literal["x", "y"]


@dataclass(frozen=True)
class ScanMap:
    """Counts by position and time, summed over passes; unpacks as ``counts, x_um, t_ns``.

    Attributes
    ----------
    counts : ndarray of int64, shape (positions, bins)
        Photons; float64 where pile-up was corrected.
    x_um : ndarray, shape (positions,)
        Place along the scanned axis, sample plane.
    t_ns : ndarray, shape (bins,)
        Centres of the time bins after the sync pulse.
    exposure_s : ndarray, shape (positions,)
        Time counted at each position; 0 where nothing was measured.
    axis : {"x", "y"}
        Along which axis.
    """

    counts: I64 | F64
    x_um: F64
    t_ns: F64
    exposure_s: F64
    axis: Axis = "x"
    brightest_hz: float = 0.0
    """Mean count rate at the brightest single place, which a sum over rows would hide."""

    def __iter__(self) -> Any:
        """Iterate over counts, x_um and t_ns."""
        return iter((self.counts, self.x_um, self.t_ns))


@dataclass(frozen=True)
class Centrings:
    """Where the emission peak was found in the course of a scan; arrays, one value each time.

    Attributes
    ----------
    time_s : ndarray
        Since the scan began.
    x_um, y_um, x_stderr_um, y_stderr_um : ndarray
        Place in the sample plane, relative to the centre of the profile. The map follows it.
    sigma_um, peak_hz : ndarray
        Width of the peak, and counts per second above the background.
    z_um, z_stderr_um : ndarray
        Focus of the sample stage; NaN where it was not searched for.
    """

    time_s: F64
    x_um: F64
    y_um: F64
    x_stderr_um: F64
    y_stderr_um: F64
    sigma_um: F64
    peak_hz: F64
    z_um: F64
    z_stderr_um: F64


@dataclass(frozen=True)
class Scan:
    """A scan file's content; histograms are read from the file when asked for.

    Attributes
    ----------
    path : Path
        The file.
    header : ScanHeader
        Plan, profile, identities, time axis.
    columns : mapping of str to ndarray, shape (visits,)
        One value per visit, by the names in `tplm_daq.store.layout.COLUMNS`.
    stored : ndarray of bool, shape (visits,)
        Which visits are there, checksum verified.
    journal : tuple of dict
        What happened, oldest first.
    """

    path: Path
    header: ScanHeader
    columns: Mapping[str, NDArray[Any]]
    stored: NDArray[np.bool_]
    journal: tuple[dict[str, Any], ...]
    position_counts: I64
    """Counts of each place of the plan, shape ``(places, bins)``, summed over stored visits."""

    @property
    def plan(self) -> ScanPlan:
        """The plan measured."""
        return self.header.plan

    @property
    def complete(self) -> bool:
        """Whether every visit is there, but for those that the run decided to leave out."""
        return bool((self.stored | ~self.wanted).all())

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Visits that nothing was decided against, shape ``(visits,)``.

        Once a run has found that the scan has told enough, no further pass is wanted.
        """
        ended = any(line.get("event") == "decided" and line.get("ends") for line in self.journal)
        return np.full(self.stored.size, True) if not ended else self.columns["pass_index"] < 0

    @property
    def decisions(self) -> tuple[dict[str, Any], ...]:
        """What was decided on the way, when and why, oldest first."""
        return tuple(line for line in self.journal if line.get("event") == "decided")

    @property
    def ending(self) -> str | None:
        """How the last run ended; None while it runs or if it was killed."""
        for line in reversed(self.journal):
            if line.get("event") == "run-ended":
                return str(line["ending"])
            if line.get("event") == "run-started":
                return None
        return None

    @property
    def exposure_s(self) -> F64:
        """Time counted at each place of the plan, shape ``(places,)``."""
        return np.bincount(
            self.columns["position_index"][self._map_rows],
            weights=self.columns["live_s"][self._map_rows],
            minlength=self.plan.place_count,
        ).astype(np.float64)

    @property
    def sync_rate_hz(self) -> float | None:
        """Mean pulses per second over the map's visits; None if unknown."""
        rates = self.columns["sync_rate_hz"][self._map_rows]
        rates = rates[np.isfinite(rates) & (rates > 0)]
        return float(rates.mean()) if rates.size else None

    @property
    def pulses(self) -> F64:
        """Laser pulses at each place of the plan, shape ``(places,)``; NaN where unknown."""
        rows = self._map_rows
        return np.bincount(
            self.columns["position_index"][rows],
            weights=self.columns["live_s"][rows] * self.columns["sync_rate_hz"][rows],
            minlength=self.plan.place_count,
        ).astype(np.float64)

    @property
    def _map_rows(self) -> NDArray[np.bool_]:
        return self.stored & (self.columns["position_index"] >= 0)

    def map(self, axis: Axis | None = None) -> ScanMap:
        """Counts along one axis, positions in ascending order; see `project`."""
        return project(self.plan, self.position_counts, self.exposure_s, self.header.t_ns, axis)

    def totals(self, kind: str) -> tuple[F64, F64, I64]:
        """Visits of one kind: when they began, how long they counted, and their total counts."""
        rows = np.flatnonzero(self.stored & (self.columns["kind"] == KINDS.index(kind)))
        counts = self.histograms(rows)
        return (
            self.columns["started_s"][rows],
            self.columns["live_s"][rows],
            counts.sum(axis=1, dtype=np.int64),
        )

    @property
    def centrings(self) -> Centrings:
        """Where the peak was found each time it was searched for."""
        lines = [line for line in self.journal if line.get("event") == "centred"]
        return Centrings(
            *(
                np.array([line.get(field.name) for line in lines], dtype=np.float64)
                for field in fields(Centrings)
            )
        )

    def drift(self) -> Drift | None:
        """How peak and brightness drifted; None if the scan did not look twice."""
        rows = np.flatnonzero(self.stored & (self.columns["kind"] == KINDS.index("reference")))
        started_s, live_s = (
            np.where(self.stored, self.columns[name], np.nan) for name in ("started_s", "live_s")
        )
        place, widths = self.plan.reference, self.centrings.sigma_um
        return find_drift(
            track(self.journal),
            float(widths.mean()) if widths.size else None,
            started_s,
            live_s,
            rows,
            self.histograms(rows).sum(axis=1, dtype=np.int64),
            (0.0, 0.0) if place is None else (place.x_um, place.y_um),
        )

    def irf_counts(self) -> I64 | None:
        """Histogram of the instrument response, all its visits together; None without one."""
        rows = np.flatnonzero(self.stored & (self.columns["kind"] == KINDS.index("irf")))
        return self.histograms(rows).sum(axis=0, dtype=np.int64) if rows.size else None

    def save_analysis(
        self,
        result: "Result",
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> str:
        """Keep a result of this scan in its file; the raw data stay as they are.

        Parameters
        ----------
        result : Result
            Such as what `tplm_analysis.fit_map` returns.
        settings : mapping, optional
            With what it was made; what JSON can hold.
        name : str, optional
            Unlike that of the other analyses in the file; otherwise the method and a number.

        Returns
        -------
        str
            The name under which `read_analyses` gives it back.

        Raises
        ------
        InputError
            If a run owns the file, it cannot be written, the disk is full, or the name is taken;
            the file is then as it was.
        """
        return add_analysis(self.path, result, settings or {}, name, int(self.stored.sum()))

    def histograms(self, rows: NDArray[Any]) -> NDArray[np.uint32]:
        """Raw histograms of some visits, shape ``(len(rows), bins)``."""
        with h5py.File(self.path, "r") as file:
            dataset = file[COUNTS]
            if rows.size == 0:
                return np.zeros((0, self.header.bins), dtype=np.uint32)
            return np.stack([dataset[int(row)] for row in rows])


def default_axis(plan: ScanPlan) -> Axis:
    """The axis that a map takes when none is named."""
    if isinstance(plan, LineScan):
        return plan.axis
    if isinstance(plan, PositionScan) and len(set(plan.x_um)) == 1 and len(set(plan.y_um)) > 1:
        return "y"
    return "x"


def project(
    plan: ScanPlan, counts: I64 | F64, exposure_s: F64, t_ns: F64, axis: Axis | None = None
) -> ScanMap:
    """Bring the counts of a plan's places into a map along one axis.

    Parameters
    ----------
    plan : ScanPlan
        Whose places they are.
    counts : ndarray, shape (places, bins)
        Counts of each place.
    exposure_s : ndarray, shape (places,)
        Time counted at each place.
    t_ns : ndarray, shape (bins,)
        Time axis.
    axis : {"x", "y"}, optional
        Which line of a cross; a line has only its own. A raster is summed over its other axis.

    Returns
    -------
    ScanMap
        Positions in ascending order.

    Raises
    ------
    InputError
        If the plan has no map along that axis.
    """
    wanted = axis or default_axis(plan)
    if isinstance(plan, LineScan) and wanted != plan.axis:
        raise InputError("axis", f"a line along {plan.axis} has no map along {wanted}")
    places = plan.places()
    along = np.array([place.x_um if wanted == "x" else place.y_um for place in places])
    rows = np.arange(len(places))
    seen = exposure_s > 0
    rates_hz = counts[seen].sum(axis=1) / exposure_s[seen]
    brightest_hz = float(rates_hz.max(initial=0.0))
    if isinstance(plan, CrossScan):
        rows = rows[: plan.positions] if wanted == "x" else rows[plan.positions :]
    if isinstance(plan, RasterScan):
        x_um, slot = np.unique(along, return_inverse=True)
        line: NDArray[Any] = np.zeros((x_um.size, counts.shape[1]), dtype=counts.dtype)
        np.add.at(line, slot, counts)
        exposure = np.bincount(slot, exposure_s, x_um.size).astype(np.float64)
        return ScanMap(line, x_um, t_ns, exposure, wanted, brightest_hz)
    rows = rows[np.argsort(along[rows], kind="stable")]
    return ScanMap(counts[rows], along[rows], t_ns, exposure_s[rows], wanted, brightest_hz)


def read_scan(path: str | Path) -> Scan:
    """Read a scan file, whether finished, running, or left behind by a crash.

    Raises
    ------
    InputError
        If it is not a scan file of ours.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            check_format(path, file)
            return _read(path, file)
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        detail = str(error).split("\n", 1)[0][:200]
        raise InputError(path, f"not a readable scan file ({detail})") from None


def save_analysis(
    path: str | Path,
    result: "Result",
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> str:
    """Keep a result in a scan file; as `Scan.save_analysis`."""
    return read_scan(path).save_analysis(result, settings, name)


def check_format(path: Path, file: h5py.File) -> None:
    """Refuse what is not a scan file.

    Raises
    ------
    InputError
        If its format is another one.
    """
    found = file.attrs.get("format")
    if found != FORMAT:
        raise InputError(
            path,
            f"an HDF5 file, but its format is {found!r}",
            f"a scan file of this program has format {FORMAT!r}",
        )


def read_head(path: Path, file: h5py.File) -> tuple[ScanHeader, dict[str, NDArray[Any]]]:
    """Read everything but counts and journal: the header, and the columns as they stand.

    Raises
    ------
    InputError
        If the tables do not fit the plan.
    """
    raw = read_header(file)
    visits, bins = file[COUNTS].shape
    profile, problem = None, ""
    if raw["profile"] is not None:
        try:
            profile = parse_profile(raw["profile"], f"{path} (its profile)")
        except InputError as error:  # of another version: the counts are as good as ever
            problem = str(error)
    header = ScanHeader(
        plan=parse_plan(raw["plan"], f"{path} (its plan)"),
        profile=profile,
        profile_problem=problem,
        simulated=raw["simulated"],
        time_bin_ps=raw["time_bin_ps"],
        bins=bins,
        offset_ns=raw["offset_ns"],
        identities=raw["identities"],
        created=raw["created"],
        software=raw["software"],
    )
    datasets = {column.name: file[f"{VISITS}/{column.name}"] for column in COLUMNS}
    if header.plan.visit_count != visits or any(d.shape != (visits,) for d in datasets.values()):
        raise InputError(path, "its tables do not have one row for each visit of its plan")
    if header.plan.card.bins != bins:
        raise InputError(path, f"its histograms have {bins} bins, its plan {header.plan.card.bins}")
    columns = {name: dataset[()] for name, dataset in datasets.items()}
    # no checksum covers the planned columns, but the plan itself tells what they must hold
    for name, planned in planned_columns(header.plan).items():
        if not np.array_equal(columns[name], planned):
            raise InputError(path, f"its table '{name}' is not that of its plan")
    return header, columns


def _read(path: Path, file: h5py.File) -> Scan:
    header, columns = read_head(path, file)
    visits, bins = columns["kind"].size, header.bins
    stored = np.zeros(visits, dtype=np.bool_)
    by_position = np.zeros((header.plan.place_count, bins), dtype=np.int64)
    crc = file[CRC][()]
    counts = file[COUNTS]
    for row in np.flatnonzero(crc):
        histogram = counts[row]
        measured = b"".join(columns[column.name][row].tobytes() for column in MEASURED)
        if row_crc(measured, histogram.astype("<u4", copy=False).tobytes()) != crc[row]:
            continue
        stored[row] = True
        position = columns["position_index"][row]
        if position >= 0:
            by_position[position] += histogram
    journal = file[JOURNAL][()].tobytes().split(b"\0", 1)[0]
    for values in columns.values():
        values.flags.writeable = False
    return Scan(
        path=path,
        header=header,
        columns=MappingProxyType(columns),
        stored=stored,
        # a last line without its end was cut by a crash
        journal=tuple(json.loads(line) for line in journal.split(b"\n")[:-1]),
        position_counts=by_position,
    )
