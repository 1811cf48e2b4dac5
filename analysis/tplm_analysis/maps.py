"""The map a fit works on: checked, sorted, and pooled along time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._jit import jit

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

POOL_COUNTS = 200
"""Fewest counts in a pooled slice; below that a profiled amplitude starts to bias D."""
CLEAR = 5.0
"""Least signal of a pooled slice over its noise."""
MOST_SLICES = 512
"""Finer slices than this many of equal counts hold no further information on D."""


@dataclass(frozen=True, eq=False)
class MapData:
    """A checked map, measured positions only, sorted by position.

    Repeated positions are added up, which loses nothing for Poisson counts.

    Attributes
    ----------
    counts : (time, position) float64
        Counts.
    x_um : (position,) float64
        Sample-plane positions, increasing, each once.
    t_ns : (time,) float64
        Bin centres.
    exposure : (position,) float64
        Exposure relative to the mean exposure of a measured row.
    width : (time,) float64
        Bin width relative to the mean width.
    rows, missing : int
        Rows of the map as given, and how many of them were not measured.
    """

    counts: FloatArray
    x_um: FloatArray
    t_ns: FloatArray
    exposure: FloatArray
    width: FloatArray
    rows: int
    missing: int

    @property
    def decay(self) -> FloatArray:
        """Counts of every time bin, all positions added up; (time,)."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.float64)

    @property
    def density(self) -> FloatArray:
        """The decay as if every bin were as wide as the narrowest; no noisier than counts."""
        return np.asarray(self.decay / self.width * self.width.min())

    @property
    def spacing_um(self) -> float:
        """Mean distance of neighbouring positions."""
        return float(self.x_um[-1] - self.x_um[0]) / max(self.x_um.size - 1, 1)

    def between(self, start_ns: float, stop_ns: float) -> "MapData":
        """Return the part with bin centres in ``[start_ns, stop_ns]``."""
        keep = (self.t_ns >= start_ns) & (self.t_ns <= stop_ns)
        return MapData(
            self.counts[keep],
            self.x_um,
            self.t_ns[keep],
            self.exposure,
            self.width[keep],
            self.rows,
            self.missing,
        )

    def pooled(
        self, at_least: float = POOL_COUNTS, most: int = MOST_SLICES, background: float = 0.0
    ) -> "MapData":
        """Return the map with neighbouring bins added until each slice has enough light.

        The time of a slice is the mean arrival time of its signal photons, so a variance that is
        linear in time stays linear. `width` is the number of mean bins in the slice.

        Parameters
        ----------
        at_least
            Fewest counts in a slice.
        most
            Upper limit of the number of slices.
        background
            Counts per bin and row. Where it outshines the signal, slices grow until their signal
            stands out five times above its noise: many free amplitudes that are noise alone
            would bias D and fake information on it.
        """
        decay = self.decay
        signal = decay - background * self.exposure.sum() * self.width
        starts = _pool_starts(decay, signal, max(float(at_least), float(decay.sum()) / most))
        since = self.t_ns - self.t_ns[0]
        light = np.add.reduceat(signal, starts)
        plain = np.add.reduceat(since, starts) / np.add.reduceat(np.ones_like(decay), starts)
        weighted = np.add.reduceat(signal * since, starts) / np.where(light > 0, light, 1.0)
        stops = np.append(starts[1:], decay.size) - 1
        clear = light > 3 * np.sqrt(np.add.reduceat(decay, starts))
        time = np.clip(np.where(clear, weighted, plain), since[starts], since[stops])
        return MapData(
            np.add.reduceat(self.counts, starts, axis=0),
            self.x_um,
            self.t_ns[0] + time,
            self.exposure,
            np.add.reduceat(self.width, starts),
            self.rows,
            self.missing,
        )


@jit
def _pool_starts(decay: FloatArray, signal: FloatArray, target: float) -> IntArray:
    """Return the first bin of each slice; what has too few counts at the end joins the last."""
    starts = np.empty(decay.size, dtype=np.int64)
    n = 0
    full = True
    total = 0.0
    light = 0.0
    for k in range(decay.size):
        if full:
            starts[n] = k
            n += 1
            total = 0.0
            light = 0.0
        total += decay[k]
        light += signal[k]
        full = total >= target and light > 0.0 and light * light >= CLEAR**2 * total
    if n > 1 and total < target:
        n -= 1
    return starts[:n].copy()


def check_map(
    counts: ArrayLike,
    x_um: ArrayLike,
    t_ns: ArrayLike,
    exposure_s: ArrayLike | None,
    *,
    corrected: bool = False,
) -> MapData:
    """Check a map as it comes from a file or a detector and bring it into order.

    Parameters
    ----------
    counts : (position, time)
        Whole numbers, zero or more.
    x_um : (position,)
        Positions in any order, repeats allowed.
    t_ns : (time,)
        Bin centres, strictly increasing.
    exposure_s : (position,), optional
        Time spent at each position; 0 means not measured; None means equal.
    corrected
        The counts were corrected and need not be whole.

    Raises
    ------
    ValueError
        When anything is malformed, with one sentence that says what.
    """
    x, t = _axis("x_um", x_um, 1e6), _axis("t_ns", t_ns, 1e9)
    table = _numbers("counts", counts) if corrected else _whole_numbers(counts)
    if table.shape != (x.size, t.size):
        raise ValueError(
            f"counts must have one row per position and one column per time bin, "
            f"({x.size}, {t.size}) here, but it has shape {table.shape}."
        )
    if t.size > 1 and np.any(np.diff(t) <= 0):
        bad = int(np.argmax(np.diff(t) <= 0))
        raise ValueError(f"t_ns must increase from bin to bin; it does not after bin {bad}.")
    exposure = np.ones(x.size) if exposure_s is None else _axis("exposure_s", exposure_s, 1e12)
    if exposure.shape != x.shape:
        raise ValueError(
            f"exposure_s must have one value per position ({x.size}); it has {exposure.size}."
        )
    if np.any(exposure < 0):
        raise ValueError("exposure_s must not be negative; 0 means a position was not measured.")
    measured = exposure > 0
    if not measured.any():
        return MapData(np.zeros((t.size, 0)), x[:0], t, x[:0], _widths(t), x.size, x.size)
    exposure = exposure[measured] / exposure[measured].mean()
    places, index = np.unique(x[measured], return_inverse=True)
    merged = np.zeros((t.size, places.size))
    rows = table[measured]
    if places.size == rows.shape[0]:
        merged[:, index] = rows.T
    else:
        np.add.at(merged.T, index, rows)
    return MapData(
        merged,
        places,
        t,
        np.bincount(index, exposure, places.size).astype(np.float64),
        _widths(t),
        x.size,
        int(x.size - measured.sum()),
    )


def _axis(name: str, values: ArrayLike, largest: float) -> FloatArray:
    array = _numbers(name, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a list of numbers; it has shape {array.shape}.")
    axis = array.astype(np.float64)
    if not np.all(np.isfinite(axis)):
        bad = int(np.argmin(np.isfinite(axis)))
        raise ValueError(f"{name} must be finite; value {bad} is {axis[bad]}.")
    if np.any(np.abs(axis) > largest):
        raise ValueError(f"{name} reaches {np.abs(axis).max():g}; is the unit right?")
    return axis


def _whole_numbers(counts: ArrayLike) -> NDArray[Any]:
    table = _numbers("counts", counts)
    if table.ndim != 2:
        raise ValueError(
            f"counts must be a table (position, time bin); it has {table.ndim} dimension(s)."
        )
    if table.dtype.kind == "f" and not np.all(np.isfinite(table) & (table == np.rint(table))):
        bad = np.argwhere(~(np.isfinite(table) & (table == np.rint(table))))[0]
        raise ValueError(
            f"counts must be whole numbers of photons; row {bad[0]}, bin {bad[1]} holds "
            f"{table[bad[0], bad[1]]}."
        )
    if table.size and table.min() < 0:
        raise ValueError(f"counts must not be negative; the lowest is {table.min()}.")
    if table.size and table.max() > 2**52:
        raise ValueError(f"counts reach {table.max()}, more than any detector delivers.")
    return table


def _numbers(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers with equal rows.") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold numbers; it holds {array.dtype}.")
    return array


def _widths(t: FloatArray) -> FloatArray:
    """Return bin widths over their mean; steps equal within 10 % are rounding, not binning."""
    if t.size < 3:
        return np.ones(t.size)
    steps = np.diff(t)
    if np.ptp(steps) <= 0.1 * steps.mean():
        return np.ones(t.size)
    width = np.gradient(t)
    return np.asarray(width / width.mean(), dtype=np.float64)
