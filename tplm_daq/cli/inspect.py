"""Commands that look before anything is measured: check, devices, profiles."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tplm_config import (
    InputError,
    ScanPlan,
    SeriesPlan,
    bundled,
    load_any,
    load_plan,
    load_profile,
    load_series,
    schema,
)
from tplm_config.toml import Kind
from tplm_daq.cli.options import Number, json_option, sample_options, sampled, set_option
from tplm_daq.cli.output import answer
from tplm_daq.cli.series import foretell
from tplm_daq.prediction import (
    COUNT_RATE_HZ,
    D_CM2_PER_S,
    Outlook,
    count_rate_hz_of,
    light_of_scan,
    outlook,
)
from tplm_daq.store import read_scan


@click.command()
@click.argument("plan", required=False)
@click.option("--profile", default="simulated", show_default=True, help="TOML file or name.")
@set_option("--set", "plan")
@set_option("--set-profile", "profile")
@sample_options
@click.option(
    "--schema", "schema_of", type=click.Choice(["plan", "profile", "series"]),
    help="Print the JSON Schema for editors and leave.",
)  # fmt: skip
@click.option(
    "--like", type=click.Path(path_type=Path),
    help="Foretell by the light of this scan, a short one is enough: rate, width, decay, D.",
)  # fmt: skip
@click.option(
    "--count-rate-hz", type=Number(1e-3, 1e12),
    help=f"Count rate at the centre to foretell by; {COUNT_RATE_HZ:g} if nothing tells it.",
)  # fmt: skip
@click.option(
    "--d-cm2-per-s", type=Number(0, 1e3), multiple=True,
    help=f"Diffusivity to foretell by, more than once for a range; {D_CM2_PER_S:g} if nothing "
    "tells it.",
)  # fmt: skip
@json_option
def check(
    plan: str | None,
    profile: str,
    set: tuple[str, ...],
    set_profile: tuple[str, ...],
    sample: str | None,
    sample_set: tuple[str, ...],
    schema_of: Kind | None,
    like: Path | None,
    count_rate_hz: float | None,
    d_cm2_per_s: tuple[float, ...],
    as_json: bool,
) -> None:
    """Check a plan: positions, duration, disk, how well it will know D, and what limits that.

    Of a series every point is listed, with its excitation and the time at which it ends.
    """
    if schema_of is not None:
        click.echo(json.dumps(schema(schema_of), indent=2))
        return
    if plan is None:
        names = ", ".join([*bundled("plan"), *bundled("series")])
        raise InputError("tplm check", "no plan was named", f"bundled are: {names}")
    found = load_any(plan, set)
    instrument = sampled(load_profile(profile, set_profile), sample, sample_set, simulated=False)
    if isinstance(found, SeriesPlan):
        d = d_cm2_per_s[0] if d_cm2_per_s else D_CM2_PER_S
        foretell(found, instrument, plan, as_json, count_rate_hz or COUNT_RATE_HZ, d)
        return
    light = None if like is None else light_of_scan(read_scan(like))
    rate_hz = count_rate_hz or (COUNT_RATE_HZ if light is None else count_rate_hz_of(light))
    known_d = D_CM2_PER_S if light is None else light.d_cm2_per_s
    outlooks = [
        outlook(found, instrument, rate_hz, d, plan, light) for d in d_cm2_per_s or (known_d,)
    ]
    foreseen = outlooks[0]
    cost = foreseen.cost
    places = found.places()
    result: dict[str, Any] = {
        "plan": plan,
        "profile": instrument.name,
        "kind": found.kind,
        **cost.model_dump(),
        "x_um": sorted({round(place.x_um, 6) for place in places}),
        "y_um": sorted({round(place.y_um, 6) for place in places}),
        "predicted_d_stderr_cm2_per_s": foreseen.d_stderr_cm2_per_s,
        "assumed_d_cm2_per_s": foreseen.d_cm2_per_s,
        "assumed_count_rate_hz": foreseen.count_rate_hz,
        "assumed_from": None if like is None else str(like),
        "goal_s": foreseen.goal_s,
        "predicted_between_cm2_per_s": foreseen.between_cm2_per_s,
        "limits": [asdict(limit) for limit in foreseen.limits],
        "range": [
            {"d_cm2_per_s": o.d_cm2_per_s, "d_stderr_cm2_per_s": o.d_stderr_cm2_per_s,
             "goal_s": o.goal_s}
            for o in outlooks
        ],
    }  # fmt: skip
    known = "\n".join(foretold(found, each) for each in outlooks)
    known += "".join(f"\n  {limit.name}: {limit.advice}" for limit in foreseen.limits)
    if foreseen.d_stderr_cm2_per_s is not None and not foreseen.limits:
        known += "\n  only the number of counts limits it: it falls with the root of the time"
    text = (
        f"{plan}: a {found.kind} of {cost.positions} positions, {found.passes} "
        f"{found.order} passes, {cost.visits} visits\n"
        f"x from {min(result['x_um']):g} to {max(result['x_um']):g} µm, "
        f"y from {min(result['y_um']):g} to {max(result['y_um']):g} µm\n"
        f"{found.card.bins} bins of {found.card.time_bin_ps:g} ps\n"
        f"{duration(cost.duration_s)}, of which {cost.counting_s:.0f} s counting; "
        f"{cost.disk_bytes / 1e6:.1f} MB while measuring\n{known}"
    )
    answer(result, text, as_json)


def foretold(plan: ScanPlan, foreseen: Outlook) -> str:
    """How well D will be known, in a sentence."""
    d, error = foreseen.d_cm2_per_s, foreseen.d_stderr_cm2_per_s
    if error is None:
        return f"for D = {d:.3g} cm²/s the error cannot be predicted for this plan"
    share = f" ({error / d:.1%})" if d > 0 else ""
    words = (
        f"D = {d:.3g} cm²/s would be known to ± {error:.2g} cm²/s{share}, with "
        f"{foreseen.count_rate_hz:.4g} counts/s at the centre"
    )
    if foreseen.between_cm2_per_s is not None:
        low, high = foreseen.between_cm2_per_s
        words += (
            f" (between {low:.2g} and {high:.2g}: the scan it is foretold by hardly knows D; "
            "measure on there first)"
        )
    if foreseen.goal_s is None or not math.isfinite(foreseen.goal_s):
        return words
    goal_s, whole_s = foreseen.goal_s, foreseen.cost.duration_s
    limit_s = min(whole_s, plan.time_limit_s or math.inf)
    reach = "" if goal_s <= limit_s else ", longer than this plan may take"
    return f"{words}; {plan.stop_when} would take about {duration(goal_s)}{reach}"


def duration(seconds: float) -> str:
    """A time in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _in_words(plan: ScanPlan) -> str:
    return (
        f"{plan.kind}, {plan.place_count} positions, {plan.passes} {plan.order} passes, "
        f"{plan.dwell_s:g} s a visit"
    )


def _points_in_words(plan: SeriesPlan) -> str:
    first, *_, last = plan.walk()
    return f"{plan.count} points, from {first.label} to {last.label}"


@click.command()
@json_option
def profiles(as_json: bool) -> None:
    """List the bundled profiles, plans and series."""
    rows = {name: load_profile(name).description for name in bundled("profile")}
    plans = {name: _in_words(load_plan(name)) for name in bundled("plan")}
    series = {name: _points_in_words(load_series(name)) for name in bundled("series")}
    text = "\n".join(
        [
            "profiles:",
            *(f"  {name:12} {words}" for name, words in rows.items()),
            "plans:",
            *(f"  {name:12} {words}" for name, words in plans.items()),
            "series:",
            *(f"  {name:20} {words}" for name, words in series.items()),
        ]
    )
    answer({"profiles": rows, "plans": plans, "series": series}, text, as_json)
