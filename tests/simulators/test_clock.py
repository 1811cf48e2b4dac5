import math
import threading
import time

import pytest

from tplm_simulators import SimulatedClock


def test_time_passes_only_by_waiting():
    clock = SimulatedClock()
    assert clock.now_s() == 0
    clock.wait(3600)
    assert clock.now_s() == 3600


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_impossible_waits_are_refused(seconds):
    with pytest.raises(ValueError, match="cannot wait"):
        SimulatedClock().wait(seconds)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_impossible_speeds_are_refused(speed):
    with pytest.raises(ValueError, match="speed"):
        SimulatedClock(speed)


def test_speed_is_simulated_seconds_per_second():
    clock = SimulatedClock(100)
    begin = time.monotonic()
    clock.wait(5)
    assert time.monotonic() - begin == pytest.approx(0.05, abs=0.03)
    assert clock.now_s() == 5


def test_threads_wait_side_by_side():
    clock = SimulatedClock(100)
    threads = [threading.Thread(target=clock.wait, args=(5,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 5 <= clock.now_s() < 12


def test_actions_run_at_their_time_in_order():
    clock = SimulatedClock()
    seen = []
    clock.call_at(2, lambda: seen.append(("b", clock.now_s())))
    clock.call_at(1, lambda: seen.append(("a", clock.now_s())))
    clock.call_at(2, lambda: seen.append(("c", clock.now_s())))
    clock.wait(1.5)
    assert seen == [("a", 1)]
    clock.wait(1)
    assert seen == [("a", 1), ("b", 2), ("c", 2)]
    assert clock.now_s() == 2.5


def test_an_action_may_ask_for_the_next():
    clock = SimulatedClock()
    seen = []
    clock.call_at(1, lambda: clock.call_at(2, lambda: seen.append(clock.now_s())))
    clock.wait(3)
    assert seen == [2]


def test_what_an_action_raises_comes_out_of_the_wait():
    clock = SimulatedClock()

    def fail() -> None:
        raise RuntimeError("boom")

    clock.call_at(1, fail)
    with pytest.raises(RuntimeError, match="boom"):
        clock.wait(2)
    assert clock.now_s() == 1


def test_the_past_cannot_be_scheduled():
    clock = SimulatedClock()
    clock.wait(1)
    with pytest.raises(ValueError, match="not ahead"):
        clock.call_at(0.5, lambda: None)
