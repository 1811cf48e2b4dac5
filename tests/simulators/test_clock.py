import _thread
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from tplm_simulators import RunningClock, SimulatedClock


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


# -- threads that work beside the one that measures ------------------------------------------


@contextmanager
def beside(clock: SimulatedClock, work: Callable[[], None]) -> Iterator[None]:
    """A thread that has joined a clock; what it raises comes out at the end."""
    started = threading.Event()

    def run() -> None:
        with clock.joined():
            started.set()
            work()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run)
        assert started.wait(10)
        yield
        done.result(10)


@pytest.mark.parametrize("speed", [None, 1000])
def test_time_stops_wherever_a_joined_thread_wants_it(speed):
    clock = SimulatedClock(speed)
    seen = []

    def work() -> None:
        for _ in range(100):
            clock.wait(0.1)
            seen.append(clock.now_s())

    with beside(clock, work):
        clock.wait(3.05)
        assert clock.now_s() == 3.05
        assert seen == pytest.approx([0.1 * n for n in range(1, 31)], abs=1e-9)
        clock.wait(20)
    assert clock.now_s() == pytest.approx(23.05)
    assert seen == pytest.approx([0.1 * n for n in range(1, 101)], abs=1e-9)


def test_a_busy_joined_thread_holds_time_still():
    clock = SimulatedClock()
    go_on, seen = threading.Event(), []

    def work() -> None:
        clock.wait(1)
        assert go_on.wait(10)
        seen.append(clock.now_s())

    with beside(clock, work):
        driver = threading.Thread(target=clock.wait, args=(5,))
        driver.start()
        driver.join(0.05)
        assert driver.is_alive()
        assert clock.now_s() == 1
        go_on.set()
        driver.join(10)
    assert seen == [1]
    assert clock.now_s() == 5


def test_after_a_wait_joined_threads_have_done_what_was_due():
    clock = SimulatedClock()
    seen = []

    def work() -> None:
        for _ in range(50):
            clock.wait(1)
            seen.append(clock.now_s())

    with beside(clock, work):
        for n in range(1, 51):
            clock.wait(1)
            assert seen == list(range(1, n + 1))


def test_joined_threads_and_actions_go_in_the_order_of_time():
    clock = SimulatedClock()
    seen = []

    def work(name: str, step_s: float) -> None:
        for _ in range(4):
            clock.wait(step_s)
            seen.append((clock.now_s(), name))

    clock.call_at(2, lambda: seen.append((clock.now_s(), "action")))
    with (
        beside(clock, lambda: work("a", 1)),
        beside(clock, lambda: work("b", 1.25)),
    ):
        clock.wait(10)
    assert seen == [
        (1, "a"), (1.25, "b"), (2, "action"), (2, "a"), (2.5, "b"), (3, "a"), (3.75, "b"),
        (4, "a"), (5, "b"),
    ]  # fmt: skip


def test_a_joined_wait_of_nothing_takes_no_time():
    clock = SimulatedClock()
    with clock.joined():
        clock.wait(0)
    assert clock.now_s() == 0


def test_two_threads_may_drive_at_once():
    clock = SimulatedClock()
    seen = []

    def work() -> None:
        for _ in range(500):
            clock.wait(0.01)
            seen.append(clock.now_s())

    with beside(clock, work):
        drivers = [threading.Thread(target=clock.wait, args=(5.5,)) for _ in range(2)]
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join(20)
    assert np.diff(seen) == pytest.approx(0.01)
    assert 5.5 <= clock.now_s() <= 11


def test_a_thread_that_leaves_holds_nothing_up():
    clock = SimulatedClock()

    def work() -> None:
        clock.wait(1)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), beside(clock, work):
        clock.wait(10)
    assert clock.now_s() == 10
    with clock.joined(), pytest.raises(RuntimeError, match="joined the clock already"):
        clock.joined().__enter__()


def test_the_driver_can_be_interrupted_while_a_joined_thread_is_busy():
    clock = SimulatedClock()
    go_on = threading.Event()

    def work() -> None:
        assert go_on.wait(10)

    # a shell that runs the tests in the background has Ctrl-C ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with beside(clock, work):
            timer = threading.Timer(0.05, _thread.interrupt_main)
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                clock.wait(1)
            timer.join()
            go_on.set()
    finally:
        signal.signal(signal.SIGINT, before)
    clock.wait(1)
    assert clock.now_s() == 1


def test_running_time_waits_for_nobody():
    clock = RunningClock(100)
    go_on = threading.Event()

    def work() -> None:
        assert go_on.wait(10)

    with beside(clock, work):
        begin_s = clock.now_s()
        clock.wait(1)
        assert clock.now_s() >= begin_s + 1
        go_on.set()
