"""The memory model: speed against the rules written down in C, check points, figure 4e of S1.

The C program does what S1 prints, step by step, with one generator of random numbers
(xoshiro256++), and is compiled with -O3. Both take turns in the same run, on processor time. The
limit beside them is a walk without a lattice: the same random numbers, and a sum.

    python benchmarks/memory_kmc.py [--rounds 5] [--check-points] [--figure]
"""

import argparse
import math
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from tplm_simulators._jit import jit
from tplm_simulators.samples import _walk
from tplm_simulators.samples.memory import MemoryModel, _intervals, simulate_memory

NAIVE = r"""
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#define L 1000
static uint64_t s[4];
static inline uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
static inline uint64_t next(void) {
  uint64_t r = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
  s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = rotl(s[3], 45);
  return r;
}
static inline double uniform(void) { return (next() >> 11) * 0x1.0p-53; }
static uint8_t mod[L * L], occupied[L * L];
static int x[L * L], y[L * L], xs[L * L], ys[L * L];
int main(int argc, char **argv) {
  double alpha = atof(argv[1]), interval = atof(argv[2]);
  int burn_in = atoi(argv[3]), pulses = atoi(argv[4]);
  static const int dx[] = {1, -1, 0, 0}, dy[] = {0, 0, 1, -1};
  double growth = 0, loop = 0, begin = 0;
  long alive = 0, steps = 0;
  s[0] = atol(argv[5]) * 0x9E3779B97F4A7C15ULL + 1; s[1] = 2; s[2] = 3; s[3] = 4;
  for (int i = 0; i < 100; i++) next();
  for (int p = 0; p < burn_in + pulses; p++) {
    int n = 0;
    if (p == burn_in) { begin = clock(); loop = 0; steps = 0; }
    for (int Y = 0; Y < L; Y++) for (int X = 0; X < L; X++) {
      double r2 = (X - 500.) * (X - 500.) + (Y - 500.) * (Y - 500.);
      if (r2 < 70 * 70 && uniform() < alpha * exp(-r2 / 2 / 10.62 / 10.62)) {
        x[n] = xs[n] = X; y[n] = ys[n] = Y; n++;
        occupied[Y * L + X] = mod[Y * L + X] = 1;
      }
    }
    double from = clock();
    for (int step = 0; n > 0; step++) {
      if (step == 1000 && p >= burn_in) for (int i = 0; i < n; i++) {
        double a = x[i] - 500, b = y[i] - 500, a0 = xs[i] - 500, b0 = ys[i] - 500;
        growth += a * a + b * b - a0 * a0 - b0 * b0; alive++;
      }
      steps += n;
      for (int i = 0; i < n; i++) {
        int d = (int)(uniform() * 4), X = (x[i] + dx[d] + L) % L, Y = (y[i] + dy[d] + L) % L;
        int q = Y * L + X;
        if (!occupied[q] && uniform() < (mod[q] ? 0.7 : 0.006)) {
          occupied[y[i] * L + x[i]] = 0; occupied[q] = mod[q] = 1; x[i] = X; y[i] = Y;
        }
        if (uniform() < 4e-4) {
          occupied[y[i] * L + x[i]] = 0; n--;
          x[i] = x[n]; y[i] = y[n]; xs[i] = xs[n]; ys[i] = ys[n]; i--;
        }
      }
    }
    loop += clock() - from;
    for (int q = 0; q < L * L; q++)
      if (mod[q] && -8.1 * log(1 - uniform()) <= interval) mod[q] = 0;
  }
  printf("%.6g %.6g %.6g\n", growth / alive / 4 * 1e-3,
         (clock() - begin) / CLOCKS_PER_SEC / steps * 1e9, loop / CLOCKS_PER_SEC / steps * 1e9);
}
"""
"""Prints D in cm²/s, and nanoseconds per step of an exciton: all, and those of the hops alone."""

CHECK_POINTS = [(0.08, 0.4, 0.0596), (0.08, 2.0, 0.0079), (0.16, 0.2, 0.1181)]
ALPHAS = (0.04, 0.08, 0.16, 0.2)
INTERVALS_US = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4)


@jit
def _plain(place: _walk.I32, tries: _walk.I32) -> None:
    for i in range(place.size):
        place[i] += tries[i] >> np.int32(2)


def plain_walk_ns() -> float:
    """Nanoseconds per step of a walk without a lattice."""
    grid = _walk.Grid(1000 * 1002, 1000 * 1002, 1002, 500, 500, 0.0, 1.0)
    edges, jumps = _intervals(MemoryModel(), grid)
    state = np.random.default_rng(0).integers(1, 2**63, (4, _walk.LANES), dtype=np.uint64)
    words, tries = np.empty(1024, np.uint64), np.empty(2048, np.int32)
    place = np.zeros(2048, np.int32)
    repeats = 10_000
    for count in (1, repeats):
        begin_s = time.process_time()
        for _ in range(count):
            _walk.fill_random(state, words)
            _walk.encode(words.view(np.uint32), edges, jumps, tries)
            _plain(place, tries)
        spent_s = time.process_time() - begin_s
    return spent_s / repeats / place.size * 1e9


def ours(alpha: float, interval_us: float, seed: int) -> tuple[float, float, float]:
    """D, its error, and nanoseconds per step."""
    model = MemoryModel(alpha=alpha, pulse_interval_us=interval_us)
    found = simulate_memory(model, pulses=100, burn_in=100, replicas=4, seed=seed)
    ns = found.cpu_seconds / found.exciton_steps * 1e9
    return found.d_cm2_per_s, found.d_stderr_cm2_per_s, ns


def compare(rounds: int) -> None:
    """Let both take turns."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    plain = median(plain_walk_ns() for _ in range(5))
    print(f"walk without a lattice: {plain:.2f} ns per step")
    if compiler is None:
        print("there is no C compiler here: no comparison with the rules in C")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "naive"
        if compiler is not None:
            source = program.with_suffix(".c")
            source.write_text(NAIVE)
            subprocess.run([compiler, "-O3", "-o", program, source, "-lm"], check=True)
        ours(0.08, 0.4, 0)
        for alpha in (0.08, 0.2):
            mine, all_c, loop_c = [], [], []
            for seed in range(rounds):
                mine.append(ours(alpha, 0.4, seed)[2])
                if compiler is not None:
                    given = [str(one) for one in (alpha, 0.4, 20, 40, seed)]
                    out = subprocess.run(
                        [program, *given], check=True, capture_output=True, text=True
                    ).stdout
                    _, whole, loop = (float(one) for one in out.split())
                    all_c.append(whole)
                    loop_c.append(loop)
            text = f"alpha {alpha}: {median(mine):.2f} ns per step, {median(mine) / plain:.1f} × it"
            if all_c:
                whole, loop = median(all_c), median(loop_c)
                text += (
                    f"; C as printed {whole:.1f} ({whole / median(mine):.1f} ×),"
                    f" its hops alone {loop:.1f} ({loop / median(mine):.1f} ×)"
                )
            print(text, flush=True)


def check_points() -> None:
    """16 × 1000 pulses after as many, against values found with another program."""
    for alpha, interval_us, expected in CHECK_POINTS:
        model = MemoryModel(alpha=alpha, pulse_interval_us=interval_us)
        found = simulate_memory(model, seed=1)
        off = (found.d_cm2_per_s - expected) / math.hypot(found.d_stderr_cm2_per_s, 1e-4)
        print(
            f"alpha {alpha}, {interval_us} µs: D = {found.d_cm2_per_s:.5f} ±"
            f" {found.d_stderr_cm2_per_s:.5f} cm²/s, {expected} expected ({off:+.1f} σ);"
            f" excitons' own {found.d_displacement_cm2_per_s:.5f};"
            f" {found.cpu_seconds / found.exciton_steps * 1e9:.2f} ns per step",
            flush=True,
        )


def figure() -> None:
    """24 points, 1000 pulses each (4 replicas × 250, after 250 that do not count), two threads."""
    points = [(alpha, interval_us) for alpha in ALPHAS for interval_us in INTERVALS_US]
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()

    def one(point: tuple[float, float]) -> tuple[float, float]:
        model = MemoryModel(alpha=point[0], pulse_interval_us=point[1])
        found = simulate_memory(model, pulses=250, burn_in=250, replicas=4, seed=1)
        return found.d_cm2_per_s, found.d_stderr_cm2_per_s

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(one, points))
    wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
    for (alpha, interval_us), (d, stderr) in zip(points, found, strict=True):
        print(
            f"alpha {alpha}, {interval_us} µs, {interval_us / alpha:.4g} µs per exciton:"
            f" D = {d:.5f} ± {stderr:.5f} cm²/s"
        )
    print(f"{len(points)} points: {wall_s:.1f} s on the clock, {cpu_s:.1f} s of processor time")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check-points", action="store_true")
    parser.add_argument("--figure", action="store_true")
    given = parser.parse_args()
    compare(given.rounds)
    if given.check_points:
        check_points()
    if given.figure:
        figure()


if __name__ == "__main__":
    main()
