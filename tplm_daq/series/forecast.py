"""What a series will be, point by point, before anything is opened: the dry run."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tplm_config import InstrumentProfile, SeriesPlan
from tplm_daq.prediction import predict, weighted_exposure_s
from tplm_daq.series.points import check_series, excitation_at, light_of, set_up_s
from tplm_daq.series.sharing import SharedTime, Shares


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one point will be; None where the plan leaves the light as it is.

    Attributes
    ----------
    index, label : int, str
        The point.
    power_nw, repetition_rate_hz, fluence_uj_per_cm2, mean_excitons : float or None
        Excitation; the power is nominal.
    time_between_excitations_us : float or None
        Of one nanocrystal.
    expected_counts : float
        In the map, at the assumed count rate.
    d_stderr_cm2_per_s : float or None
        Predicted error of D at the assumed D.
    duration_s : float
        Settings, counting, travel, and the cryostat's way; with [share], the share foreseen.
    ends_s : float
        From the beginning of the series.
    disk_bytes : int
        While measuring.
    """

    index: int
    label: str
    power_nw: float | None
    repetition_rate_hz: float | None
    fluence_uj_per_cm2: float | None
    mean_excitons: float | None
    time_between_excitations_us: float | None
    expected_counts: float
    d_stderr_cm2_per_s: float | None
    duration_s: float
    ends_s: float
    disk_bytes: int

    def ends_at(self, start: datetime) -> datetime:
        """By the wall's clock."""
        return start + timedelta(seconds=self.ends_s)


def forecast(
    plan: SeriesPlan,
    profile: InstrumentProfile,
    count_rate_hz: float,
    d_cm2_per_s: float | None,
    source: str | Path = "series",
) -> list[Forecast]:
    """Foretell every point.

    Parameters
    ----------
    plan : SeriesPlan
        The series.
    profile : InstrumentProfile
        The instrument.
    count_rate_hz : float
        Count rate at the centre of the brightest point; others follow from power and wheel.
    d_cm2_per_s : float
        Diffusivity assumed for the error; None: no error is predicted. With [share] that of the
        plan's guesses.

    Raises
    ------
    InputError
        If the instrument cannot carry it out.
    """
    checked = check_series(plan, profile, source)
    shared = foresee(plan, profile, count_rate_hz, source)
    brightest = max(light_of(scan) for _, scan, _ in checked)
    ends_s = 0.0
    before_k: float | None = None
    found = []
    for point, scan, cost in checked:
        power_nw, rate_hz = scan.excitation.power_nw, scan.excitation.repetition_rate_hz
        light = excitation_at(plan, profile, power_nw, rate_hz) if power_nw and rate_hz else None
        at_centre_hz = scan.detection.count_rate_hz or count_rate_hz * light_of(scan) / brightest
        duration_s, part, d = set_up_s(scan, before_k) + cost.duration_s, 1.0, d_cm2_per_s
        before_k = None if scan.temperature is None else scan.temperature.set_point_k
        if shared is not None:
            duration_s = float(shared.times_s[point.index])
            part = float(shared.passes_s[point.index]) / cost.duration_s
            d = None if d is None else float(shared.d_cm2_per_s[point.index])
        error = None if d is None else predict(scan, profile, at_centre_hz, d)
        ends_s += duration_s
        found.append(
            Forecast(
                index=point.index,
                label=point.label,
                power_nw=power_nw,
                repetition_rate_hz=rate_hz,
                fluence_uj_per_cm2=light.fluence_uj_per_cm2 if light else None,
                mean_excitons=light.mean_excitons_per_nc if light else None,
                time_between_excitations_us=(
                    light.mean_time_between_excitations_us if light else None
                ),
                expected_counts=part * at_centre_hz * weighted_exposure_s(scan, profile),
                d_stderr_cm2_per_s=None if error is None else error / math.sqrt(part),
                duration_s=duration_s,
                ends_s=ends_s,
                disk_bytes=cost.disk_bytes,
            )
        )
    return found


def foresee(
    plan: SeriesPlan,
    profile: InstrumentProfile,
    count_rate_hz: float,
    source: str | Path = "series",
) -> Shares | None:
    """How the time of a series with [share] would be shared; None without.

    Raises
    ------
    InputError
        If the time cannot be shared.
    """
    if plan.share is None:
        return None
    return SharedTime(plan, profile, count_rate_hz, source).foresee()
