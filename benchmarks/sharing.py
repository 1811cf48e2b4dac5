"""How much better the relaxation time, or a slope, is known when a night is shared between points.

Numbers only: the error of D at each point is the one that is predicted for its scan, D is drawn
with that error, and every decision is made as a series makes it, from what was drawn so far.

    python benchmarks/sharing.py [draws]
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tplm_analysis import fit_relaxation, fit_trend
from tplm_config import SeriesPlan, Share, load_profile
from tplm_daq.series.sharing import SharedTime, Standing, share_out

F64 = NDArray[np.float64]
TRUE = (0.01, 0.14, 6.0)
DS = np.geomspace(1e-3, 0.5, 24)
CALIBRATION = 1.15
"""Errors are so much larger than predicted."""


@dataclass(frozen=True)
class Night:
    """A series on numbers."""

    share: Share
    x: F64
    true_d: F64
    units: F64
    """Error after one second of passes, shape (point, D)."""
    set_up_s: F64

    def unit_errors(self, d: F64) -> F64:
        """Interpolated between the predictions."""
        at = np.clip(d, DS[0], DS[-1])
        rows = zip(at, self.units, strict=True)
        return np.array([np.interp(one, DS, row) for one, row in rows])


def night_of(plan: SeriesPlan, true_d: F64 | None = None) -> Night:
    """A series of a plan, with S1's relaxation unless another curve is given."""
    shared = SharedTime(plan, load_profile("simulated"))
    x = np.array([each.x for each in shared.prospects])
    units = np.array([shared.unit_errors(np.full(x.size, d)) for d in DS]).T
    d = TRUE[0] + TRUE[1] * np.exp(-x / TRUE[2]) if true_d is None else true_d
    set_up_s = np.array([each.beside_s for each in shared.prospects])
    return Night(shared.share, x, d, units, set_up_s)


def drawn(night: Night, rng: np.random.Generator, even: bool) -> tuple[F64, F64, F64]:
    """Walk through the points once; gives D, its errors and the time of the passes."""
    standing = Standing.fresh(night.x.size)
    left_s = night.share.time_s
    true_units = CALIBRATION * night.unit_errors(night.true_d)
    passes_s = (left_s - night.set_up_s.sum()) / night.x.size
    for i in range(night.x.size):
        if not even:
            found = share_out(
                night.share, night.x, night.unit_errors, night.set_up_s, standing, left_s
            )
            left_s -= found.times_s[i]
            passes_s = found.passes_s[i]
        standing.passes_s[i] = passes_s
        standing.is_open[i] = False
        standing.stderr_cm2_per_s[i] = true_units[i] / np.sqrt(passes_s)
        noise = standing.stderr_cm2_per_s[i] * rng.standard_normal()
        standing.d_cm2_per_s[i] = night.true_d[i] + noise
    return standing.d_cm2_per_s, standing.stderr_cm2_per_s, standing.passes_s


@dataclass(frozen=True)
class Spread:
    """What came of many draws.

    Attributes
    ----------
    off, errors : (draw,)
        Deviation of what was wanted, and its error bar; NaN where the fit gave none.
    """

    off: F64
    errors: F64

    @property
    def refused(self) -> int:
        """Draws without a result."""
        return int(np.isnan(self.off).sum())

    @property
    def rms(self) -> float:
        """Root mean square deviation."""
        return float(np.sqrt(np.nanmean(self.off**2)))

    @property
    def covered(self) -> float:
        """Share of the draws within their error bar."""
        known = np.isfinite(self.off)
        return float((np.abs(self.off) < self.errors)[known].mean())


def spread(night: Night, draws: int, even: bool, seed: int = 20_000) -> Spread:
    """Draw a series many times; the same seeds for shared and even time."""
    off, errors = np.full(draws, np.nan), np.full(draws, np.nan)
    for k in range(draws):
        d, error, _ = drawn(night, np.random.default_rng(seed + k), even)
        if night.share.so_that == "slope":
            line = fit_trend(night.x, d, error)
            truth = np.polyfit(night.x, night.true_d, 1)[0]
            off[k], errors[k] = (line.slope or 0.0) - truth, line.slope_stderr or 0.0
            continue
        try:
            curve = fit_relaxation(night.x, d, error)
        except ValueError:
            continue
        off[k], errors[k] = curve.tau_us - TRUE[2], curve.tau_stderr_us
    return Spread(off, errors)


def series(so_that: str = "tau", hours: float = 1.0, **guesses: float) -> SeriesPlan:
    """Eight points of a line of 41 positions, for some hours."""
    axes = {"power_nw": [20, 15, 10, 7, 5, 3, 2, 1]}
    scan = {
        "kind": "line", "positions": 41, "dwell_s": 1.0, "passes": 10_000,
        "excitation": {"repetition_rate_hz": 2.5e6},
    }  # fmt: skip
    if so_that == "slope":
        axes = {"temperature_k": [150, 180, 210, 240, 270, 295]}
        scan["temperature"] = {"set_point_k": 295}
    scan["passes"] = round(hours * 3600 / 41) + 1
    share = {"time_s": 3600.0 * hours, "so_that": so_that, **guesses}
    return SeriesPlan.model_validate({"scan": scan, "axes": [axes], "share": share})


def main(draws: int) -> None:
    """Print the figures of docs/series.md."""
    cases = {
        "guesses right": {},
        "tau guessed 3 us": {"tau_us": 3.0},
        "tau guessed 12 us": {"tau_us": 12.0},
        "D guessed three times too small": {"d_slow_cm2_per_s": 0.003, "d_memory_cm2_per_s": 0.05},
    }
    night = night_of(series())
    reversed_ = replace(night, x=night.x[::-1], true_d=night.true_d[::-1], units=night.units[::-1])
    nights = {
        name: replace(night, share=series(**guesses).share) for name, guesses in cases.items()
    }
    nights["dim points first"] = reversed_
    nights["tau guessed 3 us, dim first"] = replace(
        reversed_, share=nights["tau guessed 3 us"].share
    )
    twice = replace(
        night, x=np.tile(night.x, 2), true_d=np.tile(night.true_d, 2),
        units=np.tile(night.units, (2, 1)), set_up_s=np.tile(night.set_up_s, 2),
        share=nights["tau guessed 3 us"].share,
    )  # fmt: skip
    nights["tau guessed 3 us, repeats = 2"] = twice
    nights["repeats = 2"] = replace(twice, share=night.share)
    nights["floor 0.1"] = replace(night, share=night.share.model_copy(update={"floor": 0.1}))
    by_t = night_of(series("slope", 6.0))
    nights["slope against temperature"] = replace(
        by_t, true_d=0.02 + 1e-4 * (by_t.x - 150), share=by_t.share
    )
    for name, one in nights.items():
        alike, shared = spread(one, draws, even=True), spread(one, draws, even=False)
        ratio = (alike.rms / shared.rms) ** 2
        # of the ratio of two variances, without the draws in common
        error = ratio * np.sqrt(4 / draws)
        foreseen = share_out(
            one.share, one.x, one.unit_errors, one.set_up_s, Standing.fresh(one.x.size),
            one.share.time_s, one.true_d,
        )  # fmt: skip
        expected = (foreseen.even_stderr / foreseen.stderr) ** 2
        print(
            f"{name:34} even {alike.rms:.3g}, covered {alike.covered:.3f}; shared "
            f"{shared.rms:.3g}, covered {shared.covered:.3f} ± {0.466 / np.sqrt(draws):.3f}; "
            f"variance ratio {ratio:.2f} ± {error:.2f}, foreseen {expected:.2f}; "
            f"refused {alike.refused}, {shared.refused}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
