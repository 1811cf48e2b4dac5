"""Legs of a scan, and how they are flown over."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tplm_config import InputError, ScanPlan, VisitKind, flight, legs, load_plan, load_profile
from tplm_config.toml import ANY_SCAN_PLAN

PROFILE = load_profile("simulated")


def plan(**changes: object) -> ScanPlan:
    values = {"kind": "line", "card": {"mode": "t3"}, "fly": {}, "dwell_s": 0.2, "passes": 2}
    return ANY_SCAN_PLAN.validate_python(values | changes)


def test_without_fly_every_visit_is_a_leg() -> None:
    found = load_plan("raster")
    assert [len(leg) for leg in legs(found, found.visits())] == [1] * found.visit_count


CASES = [
    ("a line, forth and back", plan(positions=5), [5, 5]),
    ("a dark dwell before and after", plan(positions=5, background={}), [1, 5, 5, 1]),
    (
        "two lines of a cross, each way",
        plan(kind="cross", positions=4),
        [4, 4, 4, 4],
    ),
    (
        "the rows of a raster",
        plan(kind="raster", x_positions=3, y_positions=4, passes=1),
        [3, 3, 3, 3],
    ),
    (
        "rows all in one direction",
        plan(kind="raster", x_positions=3, y_positions=2, passes=1, order="one-way"),
        [3, 3],
    ),
    ("a single place", plan(positions=1), [1, 1]),
]


@pytest.mark.parametrize(("the_plan", "sizes"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_legs(the_plan: ScanPlan, sizes: list[int]) -> None:
    assert [len(leg) for leg in legs(the_plan, the_plan.visits())] == sizes


@given(
    positions=st.integers(1, 12),
    passes=st.integers(1, 4),
    missing=st.sets(st.integers(0, 40)),
    kind=st.sampled_from(["line", "cross"]),
)
def test_legs_hold_every_visit_once_and_fly_evenly(
    positions: int, passes: int, missing: set[int], kind: str
) -> None:
    the_plan = plan(kind=kind, positions=positions, passes=passes, background={})
    todo = [visit for visit in the_plan.visits() if visit.index not in missing]
    found = list(legs(the_plan, todo))
    assert [visit for leg in found for visit in leg] == todo
    for leg in found:
        if len(leg) == 1:
            continue
        assert {visit.kind for visit in leg} == {VisitKind.MAP}
        assert len({visit.pass_index for visit in leg}) == 1
        flown = flight(leg, PROFILE)
        borders = np.array(flown.borders_um)
        steps = np.diff(borders)
        assert np.allclose(steps, flown.direction * flown.step_um)
        centres = (borders[1:] + borders[:-1]) / 2
        places = [PROFILE.stage_position_um(visit.x_um, visit.y_um)[flown.axis] for visit in leg]
        assert np.allclose(centres, places)
        assert flown.speed_um_per_s == pytest.approx(flown.step_um / leg[0].dwell_s)
        # acceleration, run-up, borders, run-out: in this order along the way
        way = [flown.start_um[flown.axis], flown.constant_from_um, *borders]
        way.append(flown.end_um[flown.axis])
        assert np.all(np.diff(way) * flown.direction > 0)
        assert flown.start_um[1 - flown.axis] == flown.end_um[1 - flown.axis]


def test_what_is_left_of_a_row_stays_in_its_row() -> None:
    the_plan = plan(kind="raster", x_positions=3, y_positions=3, passes=1)
    todo = [visit for visit in the_plan.visits() if visit.index not in (0, 1, 7)]
    found = [[visit.index for visit in leg] for leg in legs(the_plan, todo)]
    assert found == [[2], [3, 4, 5], [6], [8]], "2 and 3 are one above the other"


REFUSED = [
    ({"card": {"mode": "t3", "raw": "position"}}, 'use raw = "scan"'),
    ({"card": {"mode": "histogram"}}, 'needs card.mode = "t3"'),
    ({"order": "random"}, "walked end to end"),
    ({"kind": "positions", "x_um": [0, 1]}, "evenly spaced lines"),
    ({"reference": {}}, "would interrupt the passes"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_plans_that_cannot_fly(changes: dict[str, object], words: str) -> None:
    with pytest.raises((ValueError, InputError), match=words):
        plan(**changes)


def test_raw_records_need_a_stream() -> None:
    with pytest.raises(ValueError, match='needs mode = "t3"'):
        plan(card={"mode": "histogram", "raw": "scan"}, fly=None)
