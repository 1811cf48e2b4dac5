"""Commands that look before anything is measured: check, devices, profiles."""

import json
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
from tplm_daq.prediction import COUNT_RATE_HZ, D_CM2_PER_S, outlook


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
    "--count-rate-hz", type=Number(1e-3, 1e12), default=COUNT_RATE_HZ,
    show_default=True, help="Count rate at the centre that the predicted error assumes.",
)  # fmt: skip
@click.option(
    "--d-cm2-per-s", type=Number(0, 1e3), default=D_CM2_PER_S, show_default=True,
    help="Diffusivity that the predicted error assumes.",
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
    count_rate_hz: float,
    d_cm2_per_s: float,
    as_json: bool,
) -> None:
    """Check a plan: positions, duration, disk, and how well it will know D.

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
        foretell(found, instrument, plan, as_json, count_rate_hz, d_cm2_per_s)
        return
    foreseen = outlook(found, instrument, count_rate_hz, d_cm2_per_s, plan)
    cost, stderr_d = foreseen.cost, foreseen.d_stderr_cm2_per_s
    places = found.places()
    result: dict[str, Any] = {
        "plan": plan,
        "profile": instrument.name,
        "kind": found.kind,
        **cost.model_dump(),
        "x_um": sorted({round(place.x_um, 6) for place in places}),
        "y_um": sorted({round(place.y_um, 6) for place in places}),
        "predicted_d_stderr_cm2_per_s": stderr_d,
        "assumed_d_cm2_per_s": d_cm2_per_s,
        "assumed_count_rate_hz": count_rate_hz,
    }
    known = (
        "the error of D cannot be predicted for this plan"
        if stderr_d is None
        else f"D = {d_cm2_per_s:g} cm²/s would be known to ± {stderr_d:.2g} cm²/s, "
        f"with {count_rate_hz:g} counts/s at the centre"
    )
    minutes, seconds = divmod(round(cost.duration_s), 60)
    text = (
        f"{plan}: a {found.kind} of {cost.positions} positions, {found.passes} "
        f"{found.order} passes, {cost.visits} visits\n"
        f"x from {min(result['x_um']):g} to {max(result['x_um']):g} µm, "
        f"y from {min(result['y_um']):g} to {max(result['y_um']):g} µm\n"
        f"{found.card.bins} bins of {found.card.time_bin_ps:g} ps\n"
        f"{minutes} min {seconds} s, of which {cost.counting_s:.0f} s counting; "
        f"{cost.disk_bytes / 1e6:.1f} MB while measuring\n{known}"
    )
    answer(result, text, as_json)


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
