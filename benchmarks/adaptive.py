"""Time to 5 % on D: scans that place their dwell against even ones, in pairs, on the engine.

``python benchmarks/adaptive.py --pairs 300`` measures each pair with the same seed on the virtual
microscope, with the stage times of the MIT profile, until the live fit knows D to 5 %, and prints
the ratio of the mean times, bias and coverage; ``--trouble`` does the same for adaptive scans with
drift, laser noise, a Voigt profile and a spot beside the centre; ``--predictions 100`` compares
the error predicted for random plans, from a scan that ends at 15 %, with what is then measured;
``--decisions 10`` times the decisions of so many scans.
"""

import argparse
import gc
import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from unittest import mock

import numpy as np

from tplm_analysis import ModelChoice
from tplm_config import Leg, LineScan, load_profile
from tplm_daq import open_instrument, session
from tplm_daq.analysis import fit_scan
from tplm_daq.deciding import DecidedRoute
from tplm_daq.prediction import light_of_scan, stderr_of
from tplm_daq.store import Scan

NO_TAIL = "simulation.sample.delayed_exponent=3"
STEADY = "simulation.laser.noise_rms=0"
CASES: dict[float, tuple[float, float, float, list[str]]] = {
    0.1: (0.25, 0.001, 2.5e6, []),
    0.01: (0.25, 0.004, 2.5e6, []),
    0.001: (1.0, 0.03, 5e6, [NO_TAIL, STEADY]),
}
"""Diffusivity; dwell, transmission of the wheel, pulses a second, and what else is set.

The counts stay below 1 % of the pulses. With the slow tail of the standard film, light of former
pulses alone would make D = 0.001 cm²/s appear 4 % larger. A steady laser (else 0.5 % noise) is
simulated quicker.
"""
GOAL = "5 % on D"
TROUBLE = {
    "none": [],
    "50 nm drift": [STEADY, "simulation.laser.drift_nm_per_h=[{drift},0]"],
    "3 % laser noise": ["simulation.laser.noise_rms=0.03"],
    "Voigt profile": [STEADY, "simulation.sample.emission_lorentz_hwhm_nm=40"],
    "0.3 µm off centre": [STEADY],
}


@dataclass(frozen=True)
class Job:
    """One scan."""

    d_cm2_per_s: float
    seed: int
    adaptive: bool
    trouble: str = "none"
    time_s: float = 0.0


def scan_of(job: Job, folder: Path) -> tuple[Scan, float]:
    """One scan, and the time it took."""
    dwell_s, transmission, rate_hz, film = CASES[job.d_cm2_per_s]
    drift = 0.0 if job.time_s == 0 else 50 / job.time_s * 3600
    overrides = [
        f"simulation.sample.d_cm2_per_s={job.d_cm2_per_s}",
        f"simulation.seed={job.seed}",
        f"simulation.attenuator.start_transmission={transmission}",
        *film,
        *(text.format(drift=drift) for text in TROUBLE[job.trouble]),
    ]
    off_um = 0.3 if job.trouble == "0.3 µm off centre" else 0.0
    plan = LineScan(
        dwell_s=dwell_s, passes=250, x_center_um=off_um, stop_when=GOAL,
        excitation={"repetition_rate_hz": rate_hz},
        adaptive={} if job.adaptive else None,
    )  # fmt: skip
    with open_instrument(load_profile("simulated", overrides)) as microscope:
        begun_s = microscope.instrument.clock.now_s()
        scan = microscope.scan(plan, folder / "scan.h5")
        return scan, microscope.instrument.clock.now_s() - begun_s


Row = tuple[float, float, float, int]
"""Measuring time, D, its error, and visits."""


def measure_as(job: Job, models: Sequence[ModelChoice]) -> list[Row]:
    """What one scan gives, fitted with each model."""
    with tempfile.TemporaryDirectory() as folder:
        scan, took_s = scan_of(job, Path(folder))
        fits = [fit_scan(scan, pile_up="coates", model=model) for model in models]
    visits = int(scan.stored.sum())
    return [
        (took_s, fit.d_cm2_per_s or math.nan, fit.d_stderr_cm2_per_s or math.nan, visits)
        for fit in fits
    ]


def measure(job: Job) -> Row:
    """What one scan gives by default."""
    return measure_as(job, ["auto"])[0]


def predicted_and_measured(seed: int) -> tuple[float, float, float]:
    """Predicted error of D, the one then measured, and the deviation of D from the truth."""
    rng = np.random.default_rng(seed)
    d = float(10 ** rng.uniform(-2, -0.7))
    overrides = [
        f"simulation.sample.d_cm2_per_s={d}",
        f"simulation.sample.emission_fwhm_nm={rng.uniform(520, 800)}",
        f"simulation.sample.prompt_lifetime_ns={rng.uniform(1.5, 5)}",
        f"simulation.detection.ambient_rate_hz={10 ** rng.uniform(1, 3)}",
        f"simulation.attenuator.start_transmission={10 ** rng.uniform(-3, -2.3)}",
        f"simulation.seed={seed}",
    ]
    half_um = float(rng.uniform(0.8, 2.5))
    plan = LineScan(
        half_range_um=half_um,
        positions=int(rng.integers(15, 60)),
        x_center_um=float(rng.uniform(-0.2, 0.2)),
        dwell_s=float(rng.uniform(0.2, 1.5)),
        passes=int(rng.integers(2, 12)),
        card={"time_bin_ps": 25.0 * 2 ** int(rng.integers(0, 3)), "range_ns": 25.6},
    )
    short = LineScan(positions=21, dwell_s=1.0, passes=40, stop_when="15 % on D")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_instrument(load_profile("simulated", overrides)) as microscope,
    ):
        light = light_of_scan(microscope.scan(short, Path(folder) / "first.h5"))
        predicted = stderr_of(light.until(25.6), plan)
        fit = fit_scan(microscope.scan(plan, Path(folder) / "scan.h5"))
    found, error = fit.d_cm2_per_s, fit.d_stderr_cm2_per_s
    if predicted is None or found is None or error is None:
        return math.nan, math.nan, math.nan
    return predicted, error, found - d


def decision_times_ms(scans: int) -> np.ndarray:
    """Time that each decision of adaptive scans takes, ms: on the wall, and of a processor."""
    times_ms: list[tuple[float, float]] = []

    class Timed(DecidedRoute):
        def next_leg(self, elapsed_s: float) -> Leg | None:
            begun_s, cpu_s = time.perf_counter(), time.thread_time()
            leg = super().next_leg(elapsed_s)
            took_s = time.perf_counter() - begun_s
            if took_s > 1e-3:  # without a decision it takes microseconds
                times_ms.append((1e3 * took_s, 1e3 * (time.thread_time() - cpu_s)))
            return leg

    with mock.patch.object(session, "DecidedRoute", Timed):
        measure(Job(0.01, 1, True))  # compiles
        gc.collect()
        gc.freeze()  # as the host does
        times_ms.clear()
        for seed in range(2, 2 + scans):
            measure(Job(0.01, seed, True))
    return np.array(times_ms)


def words(name: str, d: float, found: np.ndarray) -> str:
    """Bias and coverage of many scans."""
    pull = (found[:, 1] - d) / found[:, 2]
    good = np.isfinite(pull)
    n = int(good.sum())
    cover = float((np.abs(pull[good]) < 1).mean())
    return (
        f"{name:24} {found[:, 0].mean():8.1f} s  bias {pull[good].mean():+.3f} ± {n**-0.5:.3f} σ  "
        f"68 % covers {cover:.3f} ± {math.sqrt(0.68 * 0.32 / n):.3f}  "
        f"D {100 * (found[good, 1].mean() / d - 1):+.2f} ± "
        f"{100 * np.std(found[good, 1]) / d / math.sqrt(n):.2f} %  ({n} of {len(found)})"
    )


def draw(path: Path) -> None:
    """One pair at D = 0.01 cm²/s: where the time went, and how the error fell."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (where, when) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for is_adaptive, name in ((False, "even"), (True, "adaptive")):
        with tempfile.TemporaryDirectory() as folder:
            scan = scan_of(Job(0.01, 7, is_adaptive), Path(folder))[0]
            x_um, exposure_s = scan.map().x_um, scan.exposure_s
            told = [line for line in scan.decisions if line["d_stderr_cm2_per_s"]]
            # of a pair of passes the first: both are decided at once
            told = [b for a, b in pairwise([{"why": ""}, *told]) if a["why"] != b["why"]]
            rows = np.flatnonzero(scan.stored)
            ends_s = scan.columns["started_s"] + scan.columns["live_s"]
            passes = scan.columns["pass_index"]
            at_s = [ends_s[rows][passes[rows] < line["pass_index"]].max() for line in told]
        errors = [100 * line["d_stderr_cm2_per_s"] / abs(line["d_cm2_per_s"]) for line in told]
        where.step(x_um, exposure_s, where="mid", label=f"{name}\n{exposure_s.sum():.0f} s in all")
        when.plot(at_s, errors, ".-", label=name)
    where.set(xlabel="position (µm)", ylabel="counting time (s)", title="Where the time went")
    when.set(
        xlabel="time since the scan began (s)", ylabel="σ of D over D (%)", xscale="log",
        yscale="log", title="How well D is known",
    )  # fmt: skip
    for axis, ticks in ((when.xaxis, (20, 50, 100, 200, 500)), (when.yaxis, (5, 10, 20))):
        axis.set_ticks(ticks, labels=[str(tick) for tick in ticks])
        axis.set_minor_formatter(lambda *_: "")
    when.axhline(5, color="0.6", lw=0.8)
    where.legend(frameon=False, loc="upper left", fontsize="small")
    when.legend(frameon=False)
    figure.savefig(path, dpi=130)
    print(f"drawn: {path}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--trouble", type=int, default=0)
    parser.add_argument("--which", nargs="*", choices=list(TROUBLE), default=list(TROUBLE))
    parser.add_argument("--predictions", type=int, default=0)
    parser.add_argument("--decisions", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--diffusivity", type=float, nargs="*", default=list(CASES))
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    if asked.picture:
        draw(asked.picture)
    if asked.decisions:
        for name, t in zip(
            ("wall", "processor"), decision_times_ms(asked.decisions).T, strict=True
        ):
            print(
                f"{t.size} decisions, {name}: median {np.median(t):.1f} ms, 95 % below "
                f"{np.quantile(t, 0.95):.1f} ms, longest {t.max():.1f} ms",
                flush=True,
            )
    with ProcessPoolExecutor(asked.workers) as pool:
        for d in asked.diffusivity if asked.pairs else ():
            seeds = range(1, asked.pairs + 1)
            even = np.array(list(pool.map(measure, [Job(d, s, False) for s in seeds])))
            print(words(f"{d} even", d, even), flush=True)
            best = np.array(list(pool.map(measure, [Job(d, s, True) for s in seeds])))
            ratios = even[:, 0].mean() / best[:, 0].mean()
            spread = [
                even[pick, 0].mean() / best[pick, 0].mean()
                for pick in np.random.default_rng(0).integers(0, asked.pairs, (500, asked.pairs))
            ]
            print(words(f"{d} adaptive", d, best))
            print(f"  {ratios:.2f} ± {np.std(spread):.2f} times shorter", flush=True)
        if asked.predictions:
            rows = np.array(list(pool.map(predicted_and_measured, range(1, asked.predictions + 1))))
            ratio, pull = rows[:, 0] / rows[:, 1], rows[:, 2] / rows[:, 0]
            print(
                f"predicted / measured error of D over {len(rows)} random plans: median "
                f"{np.nanmedian(ratio):.3f}, {np.nanmin(ratio):.3f} to {np.nanmax(ratio):.3f}, "
                f"{int((np.abs(ratio - 1) <= 0.15).sum())} within 15 %; (D - truth) / predicted: "
                f"std {np.nanstd(pull):.2f}",
                flush=True,
            )
            print(np.round(np.sort(ratio), 2))
        for d in asked.diffusivity if asked.trouble else ():
            for trouble in asked.which:
                seeds = range(1001, 1001 + asked.trouble)
                probe = measure(Job(d, 1000, True))[0]
                jobs = [Job(d, s, True, trouble, probe) for s in seeds]
                models: list[ModelChoice] = ["auto"]
                models += ["voigt"] if trouble == "Voigt profile" else []
                found = np.array(list(pool.map(measure_as, jobs, repeat(models))))
                for k, model in enumerate(models):
                    print(f"D = {d}, {model}: " + words(trouble, d, found[:, k]), flush=True)


if __name__ == "__main__":
    main()
