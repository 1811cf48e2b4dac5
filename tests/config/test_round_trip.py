"""Plans and profiles are values, and survive TOML and JSON unchanged."""

import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import BaseModel, ValidationError

from tests.config.strategies import plans
from tplm_config import (
    CardSettings,
    LineScan,
    PositionScan,
    ScanPlan,
    bundled,
    estimate,
    load_plan,
    load_profile,
    parse_plan,
    parse_profile,
    to_toml,
)
from tplm_config.toml import ANY_SCAN_PLAN

PROFILE = load_profile("simulated")


@given(plans())
@settings(max_examples=150, deadline=None)
def test_any_plan_survives_toml_and_json(plan: ScanPlan) -> None:
    again = parse_plan(to_toml(plan), "memory")
    assert again == plan
    assert hash(again) == hash(plan)
    assert type(again) is type(plan)
    assert ANY_SCAN_PLAN.validate_json(plan.model_dump_json()) == plan
    assert ANY_SCAN_PLAN.validate_python(plan.model_dump()) == plan


@given(plans())
@settings(max_examples=100, deadline=None)
def test_any_plan_costs_something(plan: ScanPlan) -> None:
    cost = estimate(plan, PROFILE)
    assert cost.visits == plan.visit_count
    assert cost.positions == plan.place_count
    assert 0 < cost.counting_s < cost.duration_s
    assert cost.disk_bytes > 4 * plan.card.bins * plan.visit_count


@pytest.mark.parametrize("name", bundled("profile"))
def test_profiles_survive_toml_and_json(name: str) -> None:
    profile = load_profile(name)
    assert parse_profile(to_toml(profile), "memory") == profile
    assert type(profile).model_validate_json(profile.model_dump_json()) == profile
    assert hash(parse_profile(to_toml(profile), "memory")) == hash(profile)


def test_a_changed_profile_survives_too() -> None:
    profile = load_profile(
        "simulated",
        [
            "simulation.laser.drift_nm_per_h=[30, -5.5]",
            "simulation.sample.d_cm2_per_s=0.05",
            "simulation.speed=2",
            "detector_stage.x={sign=-1, zero_um=3100, travel_um=[0, 25000]}",
            'description="µ × \\u0001 \\"quoted\\" \\\\ \\n"',
        ],
    )
    assert profile.simulation.laser.drift_nm_per_h == (30, -5.5)
    assert parse_profile(to_toml(profile), "memory") == profile


def nested(value: BaseModel) -> list[BaseModel]:
    children = [child for _, child in value if isinstance(child, BaseModel)]
    return [value, *(below for child in children for below in nested(child))]


@pytest.mark.parametrize("value", [*nested(PROFILE), *nested(load_plan("line"))], ids=repr)
def test_values_are_frozen_and_hashable(value: BaseModel) -> None:
    hash(value)
    name = next(iter(type(value).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, name, getattr(value, name))


def test_python_may_pass_lists_and_numpy() -> None:
    assert PositionScan(x_um=[1, 2]) == PositionScan(x_um=np.array([1, 2]))
    plan = LineScan(passes=np.int64(3), card=CardSettings(time_bin_ps=np.float32(50)))
    assert type(plan.passes) is int
    assert type(plan.card.time_bin_ps) is float


@pytest.mark.parametrize(
    "values",
    [
        {"passes": 2.0},
        {"passes": True},
        {"dwell_s": "1.0"},
        {"dwell_s": True},
        {"dwell_s": np.bool_(True)},
        {"dwell_s": None},
        {"order": b"random"},
        {"card": {"sync_divider": True}},
        {"cards": {}},
    ],
    ids=str,
)
def test_python_is_held_to_the_types_too(values) -> None:
    with pytest.raises(ValidationError):
        LineScan(**values)


def test_what_all_plans_share_is_no_plan() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ScanPlan(kind="line")
