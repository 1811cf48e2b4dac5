"""What `[adaptive] mode = "robust"` brings: films with wings or α ≠ 1, at equal counting time.

``python benchmarks/robust.py --maps 300`` draws maps of 41 places over ±2 µm (σ0 = 255 nm, decay of
S1, background a tenth), bright enough for an even scan to know D to 5 %. The time is spread evenly,
placed for D (`precision`), or placed for D, α and the share of wings (`robust`), both with a floor
of a fifth and as for the plain film, since wings and α are what nobody knows yet. Each row: how
often the default fit, and `compare_models`, tell wings and an exponent, and what the D of the
default fit is then worth. What the information says is in `tests/analysis/test_robust_design.py`.
"""

import argparse
import math
import warnings

import numpy as np

import tplm_analysis as ta
from tplm_analysis.design import Information, Light, best_exposure
from tplm_analysis.synthetic import two_part_decay

SEED = 20261121
FLOOR = 0.2
CELLS = {0.01: 4e5, 0.1: 1.65e4}
"""D in cm²/s, and the area under the profile at time zero in counts·nm per bin of 25 ps."""
WIDER = 1200.0  # nm, FWHM of the wings: twice the spot
FILMS: dict[str, dict[str, float]] = {
    "plain": {},
    "1 % wings": {"wing_fraction": 0.01, "wing_fwhm0_nm": WIDER},
    "5 % wings": {"wing_fraction": 0.05, "wing_fwhm0_nm": WIDER},
    "10 % wings": {"wing_fraction": 0.1, "wing_fwhm0_nm": WIDER},
    "α = 0.8": {"alpha": 0.8},
    "α = 1.2": {"alpha": 1.2},
}
WAYS = ("even", "precision", "robust")


def exposures(d_cm2_per_s: float, way: str) -> np.ndarray:
    """Time at each place, one second on average."""
    amplitude = CELLS[d_cm2_per_s]
    plain = ta.expected_map(amplitude=amplitude, d_cm2_per_s=d_cm2_per_s)
    places = plain.x_um.size
    if way == "even":
        return np.ones(places)
    light = Light(
        since_ns=plain.t_ns,
        amplitude_hz_um=amplitude * 1e-3 * two_part_decay(plain.t_ns),
        background_hz=np.full(plain.t_ns.size, plain.background_per_bin),
        center_um=0.0,
        sigma0_um=plain.sigma0_nm / 1e3,
        d_cm2_per_s=d_cm2_per_s,
    )
    known = Information(light.pooled(), plain.x_um, robust=way == "robust")
    return best_exposure(known, np.zeros(places), float(places), FLOOR)


def share(told: np.ndarray) -> str:
    """A share in % with its standard error; where nothing or all was found, that of one case."""
    n, p = told.size, float(told.mean())
    return f"{100 * p:.1f} ± {100 * math.sqrt(max(p * (1 - p), 1 / n) / n):.1f}"


def row(d_cm2_per_s: float, film: str, way: str, maps: int) -> str:
    """What became of the maps of one film that were taken in one way."""
    truth = ta.expected_map(
        amplitude=CELLS[d_cm2_per_s], d_cm2_per_s=d_cm2_per_s,
        exposure_s=exposures(d_cm2_per_s, way), **FILMS[film],
    )  # fmt: skip
    cell = (round(1000 * d_cm2_per_s), list(FILMS).index(film), WAYS.index(way))
    rng = np.random.default_rng((SEED, *cell))
    wings, bent, values = [], [], []
    for _ in range(maps):
        given = (rng.poisson(truth.expected), truth.x_um, truth.t_ns, truth.exposure_s)
        fit = ta.fit_map(*given)
        best = ta.compare_models(*given)
        wings.append((fit.model != "gaussian", best.model not in ("gaussian", None)))
        anomalous = any(one.code == "anomalous" for one in fit.warnings)
        bent.append((anomalous, best.growth not in ("linear", None)))
        values.append((fit.d_cm2_per_s, fit.d_stderr_cm2_per_s, fit.alpha))
    has_wings, has_exponent = np.array(wings), np.array(bent)
    d, error, alpha = np.array(values, dtype=np.float64).T
    cells = [f"{d_cm2_per_s:g}", film, way]
    cells += [share(has_wings[:, i]) for i in (0, 1)] + [share(has_exponent[:, i]) for i in (0, 1)]
    if "alpha" in FILMS[film]:
        cells += ["–"] * 3  # a single D is no answer
    else:
        pull = (d - d_cm2_per_s) / error
        one = pull[np.isfinite(pull) & ~has_wings[:, 0]]
        few = one.size < 10
        spread = "–" if few else f"{one.mean():+.2f} ± {one.std(ddof=1) / math.sqrt(one.size):.2f}"
        known = d[np.isfinite(d)] / d_cm2_per_s
        rms = float(np.sqrt(np.mean((known - 1) ** 2)))
        cells += [spread, share(np.abs(pull) < 1)]
        cells += [f"{100 * rms:.2f} ± {100 * rms / math.sqrt(2 * known.size):.2f}"]
    seen = alpha[np.isfinite(alpha)]
    cells += [f"{seen.std(ddof=1):.3f} ± {seen.std(ddof=1) / math.sqrt(2 * seen.size):.3f}"]
    cells += [f"{maps - np.count_nonzero(np.isfinite(d))}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=300)
    parser.add_argument("--only", choices=FILMS, help="one kind of film")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    heads = ["D (cm²/s)", "film", "way", "wings told (%): fit", "compare"]
    heads += ["α ≠ 1 told (%): fit", "compare", "bias of D if one Gaussian (σ)"]
    heads += ["68 % covers (%)", "rms error of D (%)", "scatter of α", "no D"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)
    for d_cm2_per_s in CELLS:
        for film in FILMS:
            for way in WAYS:
                if asked.only in (None, film):
                    print(row(d_cm2_per_s, film, way, asked.maps), flush=True)


if __name__ == "__main__":
    main()
