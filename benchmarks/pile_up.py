"""What pile-up does to D, and what is left of that after the correction.

Maps of a film are counted by the recursion of the virtual microscope (a detector with a dead time
of 80 ns), drawn count by count, and fitted with and without the correction after Coates.
"""

import argparse
import warnings

import numpy as np

import tplm_analysis as ta
from tplm_simulators.pileup import registered

DEAD_NS = 80.0
BIN_NS = 0.025
SEED = 11


def run(photons: float, period_ns: float, maps: int, amplitude: float, d: float) -> None:
    """Print bias, spread and coverage for so many photons per pulse at the brightest position."""
    truth = ta.expected_map(d_cm2_per_s=d, amplitude=amplitude, time_zero_ns=1.0)
    positions, bins = truth.expected.shape
    light = np.zeros((positions, round(period_ns / BIN_NS)))
    light[:, :bins] = truth.expected * photons / truth.expected.sum(axis=1).max()
    share = np.array([registered(row, round(DEAD_NS / BIN_NS)) for row in light])[:, :bins]
    counted = float(share.sum(axis=1).max())
    # the same number of counts whatever the rate
    pulses = round(float(truth.expected.sum(axis=1).max()) / counted)
    rest = 1 - share.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(SEED)
    given = {"exposure_s": np.full(positions, pulses * period_ns * 1e-9)}
    fixed = {"pile_up": "coates", "dead_time_ns": DEAD_NS, "sync_rate_hz": 1e9 / period_ns}
    found: dict[str, list[tuple[float, float]]] = {"as counted": [], "corrected": []}
    for _ in range(maps):
        counts = rng.multinomial(pulses, np.hstack([share, rest]))[:, :bins]
        for name, options in (("as counted", {}), ("corrected", fixed)):
            fit = ta.fit_map(counts, truth.x_um, truth.t_ns, **given, **options)
            found[name].append((fit.d_cm2_per_s, fit.d_stderr_cm2_per_s))
    print(f"{counted:.4f} counts per pulse at the centre, {period_ns:g} ns from pulse to pulse")
    for name, values in found.items():
        got, error = np.array(values).T
        z, bias = (got - d) / error, 100 * (got / d - 1)
        print(
            f"  {name:10} bias {bias.mean():+6.2f} ± {bias.std() / maps**0.5:.2f} %"
            f" {z.mean():+6.2f} ± {z.std() / maps**0.5:.2f} σ   spread {z.std():.2f} σ"
            f"   68 %: {np.mean(np.abs(z) < 1):.2f}   95 %: {np.mean(np.abs(z) < 1.96):.2f}",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=400)
    parser.add_argument("--amplitude", type=float, default=2e6)
    parser.add_argument("--diffusivity", type=float, default=0.01)
    parser.add_argument("--photons", type=float, nargs="+",
                        default=[0.0005, 0.005, 0.01, 0.05, 0.2])  # fmt: skip
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    ta.warm_up()
    print(
        f"{arguments.maps} maps each, seed {SEED}, D = {arguments.diffusivity} cm²/s, "
        f"A = {arguments.amplitude:g}"
    )
    for photons in arguments.photons:
        run(photons, 400.0, arguments.maps, arguments.amplitude, arguments.diffusivity)
    # 40 MHz: a count hides the light of three further pulses
    run(0.05, 25.0, arguments.maps, arguments.amplitude, arguments.diffusivity)


if __name__ == "__main__":
    main()
