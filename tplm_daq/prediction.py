"""How well a plan will know D, from the Fisher information of the map it will take."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tplm_analysis import cramer_rao, expected_map
from tplm_config import InstrumentProfile, PlanEstimate, ScanPlan, check
from tplm_daq.store import project

BACKGROUND_SHARE = 0.1
"""Background over signal that a prediction assumes."""
COUNT_RATE_HZ, D_CM2_PER_S = 10_000.0, 0.01
"""What is assumed where nobody knows better."""
FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a scan will be, before anything is opened.

    Attributes
    ----------
    cost : PlanEstimate
        Visits, time, disk.
    expected_counts : float
        In the map, without background.
    d_stderr_cm2_per_s : float or None
        Predicted error of D; None if it cannot be predicted.
    count_rate_hz, d_cm2_per_s : float
        Count rate at the centre, and D, that are assumed.
    """

    cost: PlanEstimate
    expected_counts: float
    d_stderr_cm2_per_s: float | None
    count_rate_hz: float
    d_cm2_per_s: float


def outlook(
    plan: ScanPlan,
    profile: InstrumentProfile,
    count_rate_hz: float = COUNT_RATE_HZ,
    d_cm2_per_s: float = D_CM2_PER_S,
    source: str | Path = "plan",
) -> Outlook:
    """Check a plan against an instrument and foretell the scan; parameters as of `predict`.

    Raises
    ------
    InputError
        With the first thing the instrument cannot do.
    """
    return Outlook(
        cost=check(plan, profile, source),
        expected_counts=count_rate_hz * weighted_exposure_s(plan, profile),
        d_stderr_cm2_per_s=predict(plan, profile, count_rate_hz, d_cm2_per_s),
        count_rate_hz=count_rate_hz,
        d_cm2_per_s=d_cm2_per_s,
    )


def weighted_exposure_s(plan: ScanPlan, profile: InstrumentProfile) -> float:
    """Counting time of all places, each weighted with its brightness over that of the centre."""
    two_variances = 2 * (profile.optics.spot_fwhm_nm * 1e-3 / FWHM_PER_SIGMA) ** 2
    seen = sum(math.exp(-(p.x_um**2 + p.y_um**2) / two_variances) for p in plan.places())
    return plan.passes * plan.dwell_s * seen


def predict(
    plan: ScanPlan, profile: InstrumentProfile, count_rate_hz: float, d_cm2_per_s: float
) -> float | None:
    """Predict the standard error of D for a plan.

    The Cramér–Rao bound of a map with the plan's positions and exposures, the decay and
    background of S1 note 7, and a spot as wide as the profile's.

    Parameters
    ----------
    plan : ScanPlan
        The scan; of a raster, all rows are summed.
    profile : InstrumentProfile
        For the width of the spot.
    count_rate_hz : float
        Count rate with the detector at the centre.
    d_cm2_per_s : float
        Diffusivity assumed.

    Returns
    -------
    float or None
        In cm²/s; None if such a map would hold no information on D.
    """
    places = plan.place_count
    nothing = np.zeros((places, 1), dtype=np.int64)
    line = project(plan, nothing, np.full(places, plan.passes * plan.dwell_s), np.zeros(1))
    bin_ns = plan.card.time_bin_ps * 1e-3
    try:
        at_centre = expected_map(
            amplitude=1.0, d_cm2_per_s=d_cm2_per_s, fwhm0_nm=profile.optics.spot_fwhm_nm,
            x_um=[0.0], bins=plan.card.bins, bin_ns=bin_ns, background_fraction=BACKGROUND_SHARE,
        )  # fmt: skip
        expected = expected_map(
            amplitude=count_rate_hz / float(at_centre.expected.sum()),
            d_cm2_per_s=d_cm2_per_s, fwhm0_nm=profile.optics.spot_fwhm_nm,
            x_um=line.x_um, exposure_s=line.exposure_s, bins=plan.card.bins, bin_ns=bin_ns,
            background_fraction=BACKGROUND_SHARE,
        )  # fmt: skip
        return cramer_rao(expected)
    except ValueError:
        return None
