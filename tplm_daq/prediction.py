"""How well a plan will know D, from the Fisher information of the map it will take."""

import numpy as np

from tplm_analysis import cramer_rao, expected_map
from tplm_config import InstrumentProfile, ScanPlan
from tplm_daq.store import project

BACKGROUND_SHARE = 0.1
"""Background over signal that a prediction assumes."""


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
