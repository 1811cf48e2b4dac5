"""How the emission peak and its brightness drifted while a scan was measured."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Drift:
    """Drift in the middle of each visit; arrays of shape ``(visits,)``, NaN where there is none.

    Between two centrings of one run the peak is taken to move evenly from where the first found it
    to where the second did. After the last centring of a run it is taken to stay.

    Attributes
    ----------
    time_s : ndarray
        Since the scan began.
    x_um, y_um : ndarray
        Place of the emission peak in the sample plane, relative to where the scan began.
    off_x_um, off_y_um : ndarray
        Its place relative to where the detector was aimed: what the last centring could not know.
    intensity : ndarray
        Brightness of the peak relative to the first reference revisit, linear between revisits.
        What the drift of the place takes from the reference is put back. 1 with fewer than two,
        NaN if the first counted nothing.
    """

    time_s: F64
    x_um: F64
    y_um: F64
    off_x_um: F64
    off_y_um: F64
    intensity: F64


@dataclass(frozen=True, eq=False)
class Track:
    """The peak as the centrings found it, and where the detector was aimed for it.

    Attributes
    ----------
    time_s : ndarray, shape (centrings,)
        When, ascending.
    place_um : ndarray, shape (centrings, 2)
        Where, x and y.
    begins_run : ndarray of bool, shape (centrings,)
        Whether a run began with it: nothing is known of the time between two runs.
    """

    time_s: F64
    place_um: F64
    begins_run: NDArray[np.bool_]

    @property
    def is_followed(self) -> bool:
        """Whether any run found the peak more than once."""
        return bool((~self.begins_run[1:]).any())

    def at(self, started_s: F64, time_s: F64) -> tuple[F64, F64]:
        """Peak and aim of visits, each of shape ``(visits, 2)``.

        Parameters
        ----------
        started_s, time_s : ndarray, shape (visits,)
            When the visits began, and the times at which the peak is asked for.
        """
        if self.time_s.size == 0:
            nothing = np.zeros((time_s.size, 2))
            return nothing, nothing
        last = np.maximum(np.searchsorted(self.time_s, started_s, side="right") - 1, 0)
        after = np.minimum(last + 1, self.time_s.size - 1)
        after = np.where(self.begins_run[after], last, after)
        span_s = self.time_s[after] - self.time_s[last]
        share = np.divide(
            time_s - self.time_s[last], span_s, out=np.zeros_like(time_s), where=span_s > 0
        )
        aim = self.place_um[last]
        moved = np.clip(share, 0, 1)[:, None] * (self.place_um[after] - aim)
        return aim + moved, aim


def track(journal: tuple[dict[str, Any], ...]) -> Track:
    """The centrings of a scan file's journal."""
    lines = [line for line in journal if line.get("event") in ("centred", "run-started")]
    found, begins = [], []
    for i, line in enumerate(lines):
        if line["event"] != "centred":
            continue
        found.append((line["time_s"], line["x_um"], line["y_um"]))
        # a run is said to have started when it has found the peak
        begins.append(i + 1 < len(lines) and lines[i + 1]["event"] == "run-started")
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    return Track(table[:, 0], table[:, 1:], np.array(begins, dtype=np.bool_))


def find_drift(
    peak: Track,
    sigma_um: float | None,
    started_s: F64,
    live_s: F64,
    references: I64,
    reference_counts: I64,
    reference_um: tuple[float, float],
) -> Drift | None:
    """Drift from centrings and reference revisits.

    Parameters
    ----------
    peak : Track
        Where the peak was found.
    sigma_um : float or None
        Its width, if it was found.
    started_s, live_s : ndarray, shape (visits,)
        When each visit began and how long it counted; NaN if it was not measured.
    references, reference_counts : ndarray, shape (revisits,)
        Which visits were reference revisits, and their counts.
    reference_um : tuple of float
        Place of the reference, x and y.

    Returns
    -------
    Drift or None
        None with neither two centrings in one run nor two revisits.
    """
    if not peak.is_followed and references.size < 2:
        return None
    time_s = started_s + live_s / 2
    place, aim = peak.at(started_s, time_s)
    off = place - aim
    begin = peak.place_um[0] if peak.time_s.size else np.zeros(2)
    intensity = np.ones(time_s.size)
    if references.size >= 2:
        rate = reference_counts / live_s[references]
        if sigma_um is not None:
            rate = rate / seen(np.array(reference_um) - off[references], sigma_um)
        first = rate[0] if rate[0] > 0 else np.nan
        intensity = np.interp(time_s, time_s[references], rate / first)
    known = np.isfinite(time_s)
    x, y, off_x, off_y, intensity = (
        np.where(known, values, np.nan) for values in (*(place - begin).T, *off.T, intensity)
    )
    return Drift(time_s, x, y, off_x, off_y, intensity)


def seen(from_peak_um: F64, sigma_um: float) -> F64:
    """Share of the peak's brightness at places relative to it, shape ``(places, axes)``."""
    return np.asarray(np.exp(-0.5 * (from_peak_um**2).sum(axis=-1) / sigma_um**2))
