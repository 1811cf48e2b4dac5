"""The path of a scan: which places, in which order, how often, and with what in between."""

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings

from tests.config.strategies import plans
from tplm_config import (
    Background,
    CrossScan,
    Irf,
    LineScan,
    PositionScan,
    RasterScan,
    Reference,
    ScanPlan,
    Visit,
    VisitKind,
)
from tplm_config.plan import path_order

ORDERS = ("one-way", "bidirectional", "interleaved", "random")


def by_pass(plan: ScanPlan) -> list[list[int]]:
    """Position indices of the map visits, pass by pass."""
    passes: list[list[int]] = [[] for _ in range(plan.passes)]
    for visit in plan.visits():
        if visit.kind is VisitKind.MAP:
            passes[visit.pass_index].append(visit.position_index)
    return passes


# Places


def xy(plan: ScanPlan) -> list[tuple[float, float]]:
    return [(place.x_um, place.y_um) for place in plan.places()]


PLACES = [
    (
        "line along x",
        LineScan(half_range_um=2, positions=5, x_center_um=1, y_center_um=-3),
        [(-1, -3), (0, -3), (1, -3), (2, -3), (3, -3)],
    ),
    (
        "line along y",
        LineScan(axis="y", half_range_um=1, positions=2, x_center_um=1),
        [(1, -1), (1, 1)],
    ),
    ("line of one", LineScan(positions=1, x_center_um=0.5), [(0.5, 0)]),
    (
        "cross",
        CrossScan(half_range_um=1, positions=3),
        [(-1, 0), (0, 0), (1, 0), (0, -1), (0, 0), (0, 1)],
    ),
    (
        "snaking raster",
        RasterScan(x_half_range_um=1, y_half_range_um=2, x_positions=3, y_positions=2),
        [(-1, -2), (0, -2), (1, -2), (1, 2), (0, 2), (-1, 2)],
    ),
    (
        "one-way raster",
        RasterScan(
            x_half_range_um=1, y_half_range_um=2, x_positions=2, y_positions=2, order="one-way"
        ),
        [(-1, -2), (1, -2), (-1, 2), (1, 2)],
    ),
    ("positions on the x axis", PositionScan(x_um=[3, 1, 2]), [(3, 0), (1, 0), (2, 0)]),
    ("positions anywhere", PositionScan(x_um=[3, 1], y_um=[0.5, -1]), [(3, 0.5), (1, -1)]),
]


@pytest.mark.parametrize(
    ("plan", "expected"), [case[1:] for case in PLACES], ids=[case[0] for case in PLACES]
)
def test_places(plan: ScanPlan, expected: list[tuple[float, float]]) -> None:
    assert xy(plan) == expected
    assert plan.place_count == len(expected)


@pytest.mark.parametrize("positions", [3, 7, 41, 1001])
def test_an_odd_line_is_symmetric_about_its_exact_centre(positions: int) -> None:
    xs = [place.x_um for place in LineScan(half_range_um=0.7, positions=positions).places()]
    assert xs[positions // 2] == 0
    assert xs == [-x for x in reversed(xs)]


def test_the_axes_of_a_raster_are_its_places() -> None:
    raster = RasterScan(x_positions=4, y_positions=3, order="one-way")
    xs, ys = raster.axes_um()
    assert xy(raster) == [(x, y) for y in ys for x in xs]


# Order


PATHS = [
    (1, 0, "one-way", [0]),
    (4, 1, "one-way", [0, 1, 2, 3]),
    (1, 1, "bidirectional", [0]),
    (4, 0, "bidirectional", [0, 1, 2, 3]),
    (4, 1, "bidirectional", [3, 2, 1, 0]),
    (4, 2, "bidirectional", [0, 1, 2, 3]),
    (1, 0, "interleaved", [0]),
    (2, 0, "interleaved", [0, 1]),
    (5, 3, "interleaved", [0, 2, 4, 3, 1]),
    (6, 0, "interleaved", [0, 2, 4, 5, 3, 1]),
    (1, 0, "random", [0]),
]


@pytest.mark.parametrize(("count", "pass_index", "order", "expected"), PATHS)
def test_the_path_of_one_pass(count, pass_index, order, expected) -> None:
    assert list(path_order(count, pass_index, order, seed=0)) == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("count", [1, 2, 3, 8, 41, 100])
def test_every_path_is_a_permutation(order, count) -> None:
    for pass_index in range(4):
        assert sorted(path_order(count, pass_index, order, seed=5)) == list(range(count))


def test_interleaving_never_steps_further_than_two_places() -> None:
    path = path_order(41, 0, "interleaved", seed=0)
    assert max(abs(a - b) for a, b in pairwise(path)) == 2


# Written down on purpose: whoever changes these, changes what old plans measure.
SHUFFLED = [[7, 1, 6, 5, 4, 2, 3, 0], [6, 3, 4, 2, 7, 0, 5, 1], [3, 0, 5, 2, 7, 1, 6, 4]]


def test_random_orders_are_the_same_for_ever() -> None:
    plan = LineScan(positions=8, passes=3, order="random", seed=7)
    assert by_pass(plan) == SHUFFLED


def test_random_orders_are_the_same_in_another_process() -> None:
    program = (
        "from tplm_config.plan import path_order;"
        "print([list(path_order(8, i, 'random', 7)) for i in range(3)])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "99"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(SHUFFLED)


def test_another_seed_is_another_order() -> None:
    plan = LineScan(positions=41, passes=4, order="random", seed=1)
    orders = [*by_pass(plan), *by_pass(plan.model_copy(update={"seed": 2}))]
    assert len({tuple(order) for order in orders}) == 8


# Visits


SHAPES = [
    LineScan(positions=4, passes=3),
    CrossScan(positions=3, passes=2),
    RasterScan(x_positions=3, y_positions=2),
    PositionScan(x_um=[0, 2, 1], y_um=[1, 1, 0], passes=5),
]
EXTRAS = [
    ({}, 0),
    ({"background": Background(when="before")}, 1),
    ({"background": Background(when="after")}, 1),
    ({"background": Background(when="both")}, 2),
    ({"irf": Irf(sample_x_um=100)}, 1),
    ({"background": Background(), "irf": Irf(sample_x_um=100)}, 3),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("extra", "count"), EXTRAS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_every_place_is_visited_once_in_every_pass(shape, extra, count, order) -> None:
    plan = type(shape).model_validate(shape.model_dump() | extra | {"order": order})
    visits = list(plan.visits())
    assert plan.visit_count == len(visits) == plan.place_count * plan.passes + count
    assert [visit.index for visit in visits] == list(range(len(visits)))
    for path in by_pass(plan):
        assert sorted(path) == list(range(plan.place_count))
    places = plan.places()
    for visit in visits:
        if visit.kind is VisitKind.MAP:
            place = places[visit.position_index]
            assert (visit.x_um, visit.y_um, visit.dwell_s) == (place.x_um, place.y_um, plan.dwell_s)


def test_bidirectional_passes_go_forth_and_back_by_turns() -> None:
    paths = by_pass(LineScan(positions=5, passes=4))
    assert paths == [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]] * 2


def test_the_irf_comes_first_and_the_background_frames_the_passes() -> None:
    plan = LineScan(
        positions=1,
        passes=1,
        dwell_s=2,
        irf=Irf(sample_x_um=120, sample_y_um=-7, dwell_s=3),
        background=Background(dwell_s=4, x_um=1, y_um=2),
    )
    assert list(plan.visits()) == [
        Visit(0, VisitKind.IRF, -1, -1, 0, 0, 3, sample_xy_um=(120, -7)),
        Visit(1, VisitKind.BACKGROUND, -1, -1, 1, 2, 4, shutter_open=False),
        Visit(2, VisitKind.MAP, 0, 0, 0, 0, 2),
        Visit(3, VisitKind.BACKGROUND, -1, -1, 1, 2, 4, shutter_open=False),
    ]


REFERENCES = [  # (every, positions, passes) and the visits, r for the reference
    (1, 2, 1, "r0r1r"),
    (2, 3, 2, "r01r22r10r"),
    (3, 3, 2, "r012r210r"),
    (4, 3, 2, "r0122r10r"),
    (100, 3, 2, "r012210r"),
]


@pytest.mark.parametrize(("every", "positions", "passes", "expected"), REFERENCES)
def test_the_reference_comes_first_last_and_every_so_often(every, positions, passes, expected):
    plan = LineScan(
        positions=positions,
        passes=passes,
        reference=Reference(every_visits=every, x_um=0.5, y_um=-0.5, dwell_s=0.25),
    )
    visits = list(plan.visits())
    letters = ["r" if v.kind is VisitKind.REFERENCE else str(v.position_index) for v in visits]
    assert "".join(letters) == expected
    assert plan.visit_count == len(visits)
    assert {
        (v.x_um, v.y_um, v.dwell_s, v.position_index, v.shutter_open)
        for v in visits
        if v.kind is VisitKind.REFERENCE
    } == {(0.5, -0.5, 0.25, -1, True)}


@given(plans())
@settings(max_examples=150, deadline=None)
def test_any_plan_keeps_its_promises(plan: ScanPlan) -> None:
    visits = list(plan.visits())
    assert plan.visit_count == len(visits)
    assert [visit.index for visit in visits] == list(range(len(visits)))
    assert len(plan.places()) == plan.place_count
    seen = Counter(v.position_index for v in visits if v.kind is VisitKind.MAP)
    assert seen == Counter(dict.fromkeys(range(plan.place_count), plan.passes))
    for visit in visits:
        assert visit.dwell_s > 0
        assert visit.shutter_open is (visit.kind is not VisitKind.BACKGROUND)
        assert (visit.sample_xy_um is not None) is (visit.kind is VisitKind.IRF)
    passes = [v.pass_index for v in visits if v.pass_index >= 0]
    assert passes == sorted(passes)
    assert list(plan.visits()) == visits
