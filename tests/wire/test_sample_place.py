"""The sample taken away and brought back, on simulators of the stages under it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.wire.stages import Bench, bench, told
from tplm_config import ScanPlan, Visit, VisitKind
from tplm_config.devices import Anc300Stage, Anc350Stage
from tplm_config.profile import SampleStageRole
from tplm_config.toml import ANY_SCAN_PLAN
from tplm_daq.handling import Handling
from tplm_daq.sample_place import SamplePlace
from tplm_drivers import Instrument

STAGES = {"anc300": Anc300Stage(port="192.168.1.1:7230"), "anc350": Anc350Stage()}
PLAN: ScanPlan = ANY_SCAN_PLAN.validate_python({"kind": "line", "positions": 1})
SCATTERER = Visit(0, VisitKind.IRF, -1, -1, 0.0, 0.0, 1.0, sample_xy_um=(30.0, -20.0))
FILM = Visit(1, VisitKind.MAP, 0, 0, 0.0, 0.0, 1.0)


def sample(at: Bench, **role: Any) -> SamplePlace:
    """The sample on a served stage, of which the wait lasts 10 s at most."""
    settings = SampleStageRole(driver=at.served.settings, timeout_s=10, **role)
    instrument = SimpleNamespace(
        sample_stage=at.stage,
        clock=at.microscope.clock,
        profile=SimpleNamespace(sample_stage=settings),
    )
    nobody = SimpleNamespace(check_abort=lambda: None)
    handling = Handling(cast(Any, nobody), cast(Instrument, instrument), lambda: None)
    place = SamplePlace(handling, cast(Instrument, instrument), None)
    place.begin(PLAN)
    return place


@pytest.mark.parametrize("name", STAGES)
def test_a_sample_that_arrives_is_where_it_was_told_to_be(name: str) -> None:
    with bench(STAGES[name], "sample_stage") as at:
        place = sample(at)
        place.go_for(SCATTERER)
        assert at.virtual.position_um() == pytest.approx((30, -20, 0), abs=1)
        assert place.go_to_z(0.34) == pytest.approx(0.34, abs=0.6)
        place.go_for(FILM)
        assert at.virtual.position_um() == pytest.approx((0, 0, 0), abs=1)


def test_the_focus_is_read_when_the_stage_rests() -> None:
    with bench(STAGES["anc350"], "sample_stage", acceleration_um_per_s2=5) as at:
        place = sample(at)
        for z_um in (2.0, -1.5, 0.5):
            # the controller calls itself there half a micrometre before
            read_um = place.go_to_z(z_um)
            at.microscope.clock.wait(1.0)
            assert read_um == pytest.approx(at.virtual.position_um()[2], abs=0.04)


def test_a_stage_with_read_back_that_stands_still_is_told() -> None:
    with bench(STAGES["anc350"], "sample_stage") as at:
        place = sample(at)
        at.virtual.stall()
        with told("sample_stage", "is still moving after 10 s"):
            place.go_for(SCATTERER)
        words = place.bring_back()
        assert words is None  # it has not left
        assert at.virtual.position_um() == (0, 0, 0)


def test_a_stage_that_arrives_too_early_is_told() -> None:
    rough = Anc350Stage(tolerance_um=8.0)
    with bench(rough, "sample_stage", acceleration_um_per_s2=5, speed_um_per_s=5) as at:
        place = sample(at, tolerance_um=1.0)
        with told("sample_stage", "stopped at (", ") µm instead of (30.0, -20.0, 0.0) µm"):
            place.go_for(SCATTERER)


def test_steps_that_are_only_counted_pass() -> None:
    with bench(STAGES["anc300"], "sample_stage") as at:
        place = sample(at)
        at.virtual.stall()
        place.go_for(SCATTERER)  # the controller cannot know
        assert at.virtual.position_um() == (0, 0, 0)
