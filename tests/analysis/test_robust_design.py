"""What placing the dwell robustly brings, and costs, by the information of the map."""

import numpy as np
import pytest

from tplm_analysis import expected_map
from tplm_analysis._likelihood import FIRST_VARIANCE, WING, WING_UM2, X0, B
from tplm_analysis.design import UM2_PER_NS, Information, Light, best_exposure
from tplm_analysis.global_fit import information_at
from tplm_analysis.maps import MapData
from tplm_analysis.synthetic import two_part_decay

PLACES, FLOOR = 41, 0.2
D, ALPHA = FIRST_VARIANCE + 1, FIRST_VARIANCE + 2
ONE_GAUSSIAN = [X0, B, FIRST_VARIANCE, D]
ASKED = {"d": (ONE_GAUSSIAN, D), "alpha": ([*ONE_GAUSSIAN, ALPHA], ALPHA),
         "wings": ([*ONE_GAUSSIAN, ALPHA, WING], WING)}  # fmt: skip


def light_of(d_cm2_per_s: float) -> Light:
    """The light of a plain film of S1, a background of a tenth."""
    plain = expected_map(d_cm2_per_s=d_cm2_per_s, bins=200, bin_ns=0.1)
    return Light(
        since_ns=plain.t_ns,
        amplitude_hz_um=200 * two_part_decay(plain.t_ns),
        background_hz=np.full(plain.t_ns.size, plain.background_per_bin),
        center_um=0.0,
        sigma0_um=plain.sigma0_nm / 1e3,
        d_cm2_per_s=d_cm2_per_s,
    )


def variances(d_cm2_per_s: float, exposure_s: np.ndarray, wider: float = 2.0) -> dict[str, float]:
    """Var of 2D, α and the share of a second Gaussian, by the likelihood that maps are fitted with.

    Of D with one Gaussian and α = 1, of α with one Gaussian, of the share whatever α; the second
    Gaussian is `wider` times as wide as the first.
    """
    plain = expected_map(d_cm2_per_s=d_cm2_per_s, bins=200, bin_ns=0.1, exposure_s=exposure_s)
    counts = np.ascontiguousarray(plain.expected.T)
    each_bin = np.ones(plain.t_ns.size)
    data = MapData(counts, plain.x_um, plain.t_ns, exposure_s, each_bin, PLACES, 0)
    sigma2_um2 = (plain.sigma0_nm / 1e3) ** 2
    theta = np.zeros(ALPHA + 1)
    theta[B] = plain.background_per_bin / exposure_s.mean()
    theta[WING_UM2] = (wider**2 - 1) * sigma2_um2
    theta[WING] = 1e-6  # at none at all the fit leaves the second Gaussian out
    theta[FIRST_VARIANCE:] = sigma2_um2, 2 * UM2_PER_NS * d_cm2_per_s, 1.0
    information, _ = information_at(data, 0.0, theta)
    found = {}
    for name, (free, asked) in ASKED.items():
        block = information[np.ix_(free, free)]
        scale = np.sqrt(np.diag(block))
        inverse = np.linalg.inv(block / np.outer(scale, scale))
        place = free.index(asked)
        found[name] = float(inverse[place, place] / scale[place] ** 2)
    return found


def placed(d_cm2_per_s: float, *, robust: bool) -> np.ndarray:
    light, x_um = light_of(d_cm2_per_s), np.linspace(-2, 2, PLACES)
    known = Information(light.pooled(), x_um, robust=robust)
    return best_exposure(known, np.zeros(PLACES), float(PLACES), FLOOR)


@pytest.mark.parametrize("wider", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("d_cm2_per_s", [0.001, 0.01, 0.1])
def test_robust_tells_more_at_equal_time(d_cm2_per_s: float, wider: float) -> None:
    precise, robust, even = (
        variances(d_cm2_per_s, exposure_s, wider)
        for exposure_s in (
            placed(d_cm2_per_s, robust=False), placed(d_cm2_per_s, robust=True), np.ones(PLACES)
        )
    )  # fmt: skip
    # wings need five times the time where only D was thought of, D a third more where all was
    assert precise["wings"] > 5 * robust["wings"]
    assert robust["d"] < 1.36 * precise["d"]
    assert robust["alpha"] < 1.31 * precise["alpha"]
    # better than an even scan in everything, which placing for D alone is not
    assert even["d"] > 1.75 * robust["d"]
    assert even["alpha"] > 1.7 * robust["alpha"]
    assert even["wings"] > 1.05 * robust["wings"]
    assert precise["wings"] > 3 * even["wings"]


def test_a_second_gains_what_it_lowers_the_product_of_the_three_by() -> None:
    light, x_um = light_of(0.05), np.linspace(-2, 2, PLACES)
    exposure_s = np.random.default_rng(3).uniform(0.5, 2.0, PLACES)
    d_variance, gain = Information(light, x_um, robust=True).variances(exposure_s)
    assert d_variance == pytest.approx(Information(light, x_um).variances(exposure_s)[0], rel=1e-9)
    for place in (0, 14, 20, 33):
        step_s = np.zeros(PLACES)
        step_s[place] = 1e-3
        less, more = (variances(0.05, exposure_s + sign * step_s) for sign in (-1, 1))
        lowered = sum(np.log(less[name] / more[name]) for name in ASKED) / 3 / 2e-3
        assert gain[place] == pytest.approx(d_variance * lowered, rel=1e-3)


def test_without_widening_there_is_no_exponent_to_know() -> None:
    known = Information(light_of(0.0), np.linspace(-2, 2, PLACES), robust=True)
    assert known.variances(np.ones(PLACES))[0] == np.inf
    assert best_exposure(known, np.zeros(PLACES), 8.2) == pytest.approx(np.full(PLACES, 0.2))
