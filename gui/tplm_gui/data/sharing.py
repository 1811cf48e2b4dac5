"""How the time of a series is shared between its points, and what that brings, from its folder.

Everything follows from the manifest, as when the series itself decides, so that a window that comes
later, or opens the folder years after, shows the same; only the words of the last decision are read
from the log.
"""

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tplm_config import InstrumentProfile, SeriesPlan

if TYPE_CHECKING:
    from tplm_daq.series import Entry, Proposal

DECIDED = b'"event": "time-shared"'
PARAMETERS = {"tau": 3, "slope": 2}
"""Of the curve: with fewer different points its errors are those of rounding."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the time of a series is shared.

    Attributes
    ----------
    wanted, unit : str
        What is to be known best, ``τ`` or ``slope``, and its unit.
    left_s : float
        Time of the instrument that no point has taken yet.
    shares_s : dict of int to float
        What each point that is not over is to get of it, set-up included; empty if there is no
        time for a pass.
    visits : dict of int to float
        Visits at its places that each of these will have in the end, those before a crash included.
    now, then, even : float or None
        Error of what is wanted: so far, in the end, and in the end with even shares of what is
        left; None where it is not known.
    why : str
        The last decision; empty if there was none, or the log is gone.
    proposal : Proposal or None
        The point that would tell most next, by the points that are done.
    problem : str
        Why nothing of this is known.
    """

    wanted: str
    unit: str
    left_s: float
    shares_s: dict[int, float]
    visits: dict[int, float]
    now: float | None
    then: float | None
    even: float | None
    why: str = ""
    proposal: "Proposal | None" = None
    problem: str = ""


def sharing_of(
    folder: Path, entries: "tuple[Entry, ...]", plan: SeriesPlan, profile: InstrumentProfile
) -> Sharing | None:
    """How the time of a series in a folder is shared; None without [share].

    Parameters
    ----------
    folder : Path
        With the log.
    entries : tuple of Entry
        Of the manifest.
    plan, profile
        Of the series.
    """
    from tplm_daq.series import propose

    if plan.share is None:
        return None
    left_s = plan.share.time_s - sum(entry.spent_s for entry in entries)
    why = last_decision(folder / "log.jsonl")
    wanted, unit = wanted_of(plan)
    try:
        shares_s, visits, (now, then, even) = _shares(entries, plan, profile)
        proposal = propose(entries, plan, profile)
    except Exception as failure:  # noqa: BLE001 - the points are shown all the same
        problem = f"{type(failure).__name__}: {failure}"
        return Sharing(wanted, unit, left_s, {}, {}, None, None, None, why, problem=problem)
    return Sharing(wanted, unit, left_s, shares_s, visits, now, then, even, why, proposal)


def wanted_of(plan: SeriesPlan) -> tuple[str, str]:
    """What is to be known best, and its unit."""
    from tplm_daq.series.sharing import UNITS

    if plan.share is None or plan.share.so_that == "tau":
        return "τ", "µs"
    return "slope", f"cm²/s per {UNITS[plan.varied[0]]}"


def _shares(
    entries: "tuple[Entry, ...]", plan: SeriesPlan, profile: InstrumentProfile
) -> tuple[dict[int, float], dict[int, float], tuple[float | None, ...]]:
    """Shares and visits of the points that are not over; error now, in the end, with even shares.

    What `tplm_daq.series.SharedTime.decide` says of the next point, for all of them.
    """
    from tplm_daq.series import SharedTime

    shared = SharedTime(plan, profile)
    each = shared.prospects
    is_open = {entry.index for entry in entries if entry.state in ("waiting", "running")}
    x, standing = shared.x(entries), shared.standing(entries, is_open)
    # with no further time the error is the one of what was counted so far
    so_far, found = shared.shares(entries, is_open, 0.0), shared.shares(entries, is_open)
    shares_s, visits = {}, {}
    for index in sorted(is_open):
        entry, passes_s = entries[index], float(found.passes_s[index])
        if passes_s > 0:
            decided_s = entry.time_share_s if entry.state == "running" else None
            shares_s[index] = decided_s or float(found.times_s[index])
            dwells = entry.counted_s / each[index].scan.dwell_s
            visits[index] = dwells + passes_s / each[index].visit_s
    counted = (standing.passes_s > 0) & (standing.is_known | standing.is_open)
    told = np.unique(x[counted]).size >= PARAMETERS[shared.share.so_that]
    errors = (
        so_far.stderr if told else math.inf,
        found.stderr if shares_s else math.inf,
        found.even_stderr if shares_s else math.inf,
    )
    return shares_s, visits, tuple(e if math.isfinite(e) else None for e in errors)


def last_decision(log: Path) -> str:
    """The last decision in the log of a series; empty if there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = log.read_bytes()
        at = told.rfind(DECIDED)
        if at >= 0:
            line = told[told.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0]
            return str(json.loads(line)["why"])
    return ""


def with_point(plan: SeriesPlan, entries: "tuple[Entry, ...]", proposal: "Proposal") -> SeriesPlan:
    """The plan of a series with one more point, and the time for it.

    The points that were measured stay as they are, with their files; the floor of the shares is
    raised where the passes of the scan would else not allow the longest share that could be.
    """
    assert plan.share is not None
    settings = [each.settings for each in entries]
    value = float(f"{proposal.value:.3g}")  # as a person would set it
    further = settings[proposal.like].model_copy(update={proposal.quantity: value})
    time_s, count = plan.share.time_s + proposal.time_s, len(settings) + 1
    most_s = plan.scan.passes * plan.scan.dwell_s * plan.scan.place_count
    least_floor = (1 - most_s / time_s) / (1 - 1 / count)
    # a little above, for the sake of rounding
    floor = max(plan.share.floor, min((math.floor(1e4 * least_floor) + 1) / 1e4, 1.0))
    share = plan.share.model_copy(update={"time_s": time_s, "floor": floor})
    longer: SeriesPlan = plan.model_copy(
        update={"axes": (), "points": (*settings, further), "repeats": 1, "share": share}
    )
    return longer
