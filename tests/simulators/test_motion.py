import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tplm_simulators import VirtualFault
from tplm_simulators.motion import Travel

lengths = st.integers(-(10**6), 10**6).map(lambda nanometres: nanometres / 1e3)
TRIGGERS = {"trigger_um": 10.0, "trigger_zero_um": 5.0}


@given(
    start=lengths,
    target=lengths,
    begin_s=st.floats(0, 1e5),
    speed=st.floats(0.1, 5000),
    acceleration=st.floats(1, 1e5) | st.just(math.inf),
    share=st.floats(0, 1),
)
def test_time_at_undoes_place_at(start, target, begin_s, speed, acceleration, share):
    travel = Travel(start, target, begin_s, speed, acceleration)
    place = start + share * (target - start)
    time_s = travel.time_at(place)
    assert begin_s <= time_s <= travel.end_s * (1 + 1e-12)
    # A rounding of the time moves the place by as much as the speed says.
    assert travel.place_at(time_s) == pytest.approx(place, abs=1e-9 + 1e-10 * speed)


@pytest.mark.parametrize(
    ("start", "target", "marks"),
    [
        (0.0, 40.0, [5, 15, 25, 35]),
        (40.0, 0.0, [35, 25, 15, 5]),
        (5.0, 25.0, [15, 25]),
        (25.0, 5.0, [15, 5]),
        (5.0 + 1e-12, 25.0 - 1e-12, [15, 25]),
        (-12.0, 12.0, [-5, 5]),
        (12.0, -12.0, [5, -5]),
        (6.0, 14.0, []),
        (15.0, 15.0, []),
    ],
)
def test_marks_on_the_way(start, target, marks):
    travel = Travel(start, target, 3.0, 100.0, 2000.0)
    times_s = travel.times_at_marks(5.0, 10.0, 0.0, 100.0)
    assert [travel.place_at(time_s) for time_s in times_s] == pytest.approx(marks)
    assert times_s == sorted(times_s)


@given(cuts=st.lists(st.floats(0, 12), max_size=10))
def test_cutting_the_time_loses_and_repeats_no_mark(cuts):
    travel = Travel(-300.0, 500.0, 1.0, 100.0, 500.0)
    edges = [0.0, *sorted(cuts), 20.0]
    pieces = [
        time_s
        for from_s, to_s in pairwise(edges)
        for time_s in travel.times_at_marks(0.0, 7.0, from_s, to_s)
    ]
    assert pieces == travel.times_at_marks(0.0, 7.0, 0.0, 20.0)
    assert len(pieces) == math.floor(500 / 7) + math.floor(300 / 7) + 1


def test_the_stage_gives_pulses_at_equal_distances(build):
    microscope = build(detector_stage=TRIGGERS)
    stage, clock = microscope.detector_stage, microscope.clock
    stage.set_speed_um_per_s(50)
    stage.move_to(200, -30)
    clock.wait(10)
    times_s = stage.trigger_times_s(0, clock.now_s())
    assert len(times_s) == 20 + 3
    assert stage.trigger_times_s(1.0, 2.0) == [time_s for time_s in times_s if 1 < time_s <= 2]
    stage.move_to(0, -30)
    clock.wait(10)
    back_s = stage.trigger_times_s(10, 20)
    assert len(back_s) == 20
    cruise_s = np.diff(back_s)[2:-2]
    assert cruise_s == pytest.approx(10 / 50)
    assert stage.trigger_times_s(20, 30) == []  # at rest


def test_a_move_broken_off_gives_each_pulse_once(build):
    microscope = build(detector_stage=TRIGGERS)
    stage, clock = microscope.detector_stage, microscope.clock
    stage.set_speed_um_per_s(100)
    seen = []
    for target_um in (100, 300):  # the second takes over while the first is on its way
        stage.move_to(target_um, 0)
        begin_s = clock.now_s()
        clock.wait(0.55)
        seen += stage.trigger_times_s(begin_s, clock.now_s())
    before = stage.position_um()[0]
    stage.stop()
    clock.wait(1)
    seen += stage.trigger_times_s(begin_s + 0.55, clock.now_s())
    assert len(seen) == math.floor((before - 5) / 10) + 1


def test_no_pulses_unless_asked_for(build):
    microscope = build()
    microscope.detector_stage.move_to(200, 100)
    microscope.clock.wait(1)
    assert microscope.detector_stage.trigger_times_s(0, 1) == []


def test_speed_of_the_moves_that_follow(build):
    microscope = build()
    stage, clock = microscope.detector_stage, microscope.clock

    def duration_s(target_um: float) -> float:
        begin_s = clock.now_s()
        stage.move_to(target_um, 0)
        while stage.is_moving():
            clock.wait(0.001)
        return clock.now_s() - begin_s

    assert duration_s(1000) == pytest.approx(1000 / 2000 + 2000 / 20000, abs=0.002)
    stage.set_speed_um_per_s(500)
    assert duration_s(0) == pytest.approx(1000 / 500 + 500 / 20000, abs=0.002)
    stage.set_speed_um_per_s(None)
    assert duration_s(1000) == pytest.approx(1000 / 2000 + 2000 / 20000, abs=0.002)


def test_a_new_speed_does_not_touch_a_move_under_way(build):
    microscope = build()
    stage, clock = microscope.detector_stage, microscope.clock
    stage.move_to(1000, 0)
    clock.wait(0.3)
    stage.set_speed_um_per_s(1)
    clock.wait(0.301)
    assert stage.position_um() == (1000, 0)


def test_an_axis_goes_on_while_the_other_is_commanded(build):
    microscope = build()
    stage, clock = microscope.detector_stage, microscope.clock
    stage.move_to(1000, 0)
    for place_um in range(1, 6):
        clock.wait(0.1)
        stage.move_to(1000, place_um)
    clock.wait(0.101)
    assert stage.position_um() == (1000, 5)


@pytest.mark.parametrize("speed", [0.0, -1.0, 2000.1, math.nan, math.inf])
def test_impossible_speeds_are_refused(build, speed):
    with pytest.raises(VirtualFault, match=r"refuses a speed of .* up to 2000 µm/s"):
        build().detector_stage.set_speed_um_per_s(speed)


def test_steps_of_light_are_as_short_as_the_speed_needs(build):
    microscope = build()
    stage = microscope.detector_stage
    stage.set_speed_um_per_s(20)
    stage.move_to(100, 0)
    step_s = stage.steady_until_s(0.0)
    assert step_s == pytest.approx(microscope.optics.aperture_um / 10 / 20)
