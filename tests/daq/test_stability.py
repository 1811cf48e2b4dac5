"""Stability is a definition, and waiting for it can be watched, cancelled and given up."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tplm_config import load_profile
from tplm_config.devices import AttoDry800, LakeShore335, Montana
from tplm_config.simulation import SimulationSettings, ThermostatSettings
from tplm_daq.stability import Stability, StabilityProgress, StableReading, wait_until_stable
from tplm_drivers import DeviceError, connect
from tplm_drivers.connect import open_device
from tplm_drivers.roles import Identity
from tplm_simulators import OpticsSettings, RunningClock, SimulatedClock, VirtualMicroscope
from tplm_simulators.wire import serve

TARGET_K = 77.0
Trace = Callable[[float], float]


class Traced:
    """A controller whose temperature is a function of time."""

    def __init__(self, trace: Trace) -> None:
        self.clock = SimulatedClock()
        self.trace = trace
        self.readings: list[tuple[float, float]] = []

    def identify(self) -> Identity:
        return Identity("trace")

    def close(self) -> None:
        """Nothing to let go of."""

    def temperature_k(self) -> float:
        now_s = self.clock.now_s()
        self.readings.append((now_s, self.trace(now_s)))
        return self.readings[-1][1]

    def set_point_k(self) -> float:
        return TARGET_K

    def set_set_point_k(self, set_point_k: float) -> None:
        raise AssertionError("waiting never gives a set point")

    def wait_for(
        self, stability: Stability, timeout_s: float = 1000.0, **changes: Any
    ) -> StableReading:
        at: dict[str, Any] = {"wait": self.clock.wait} | changes
        return wait_until_stable(self, self.clock, TARGET_K, stability, timeout_s, **at)


STABILITIES = st.builds(
    Stability,
    band_k=st.floats(0.02, 2.0),
    time_s=st.floats(2.0, 120.0),
    slope_k_per_min=st.floats(0.01, 1.0),
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """An approach, a drift, a wave and noise."""
    off_k, tau_s = draw(st.floats(-20, 20)), draw(st.floats(1, 100))
    drift = draw(st.sampled_from([0.0, 1e-4, -1e-3, 5e-3]))
    wave_k, period_s = draw(st.floats(0, 0.5)), draw(st.floats(5, 300))
    noise_k, seed = draw(st.floats(0, 0.05)), draw(st.integers(0, 99))
    noise = np.random.default_rng(seed).normal(0, noise_k, 4096)

    def trace(time_s: float) -> float:
        return float(
            TARGET_K
            + off_k * math.exp(-time_s / tau_s)
            + drift * time_s
            + wave_k * math.sin(2 * math.pi * time_s / period_s)
            + noise[int(time_s * 5) % len(noise)]
        )

    return trace


@settings(deadline=None, max_examples=80)
@given(trace=traces(), stability=STABILITIES)
def test_what_is_called_stable_is_stable(trace: Trace, stability: Stability) -> None:
    it = Traced(trace)
    try:
        found = it.wait_for(stability, timeout_s=600.0)
    except DeviceError as error:
        assert "did not settle at 77 K within 600 s" in str(error)
        assert it.readings[-1][0] == pytest.approx(600.0)
        return
    end_s = it.readings[-1][0]
    window = np.array([r for r in it.readings if r[0] >= end_s - stability.time_s - 1e-9])
    assert end_s >= stability.time_s
    assert len(window) >= 10
    assert np.all(np.abs(window[:, 1] - TARGET_K) <= stability.band_k)
    assert abs(found.temperature_k - TARGET_K) <= stability.band_k
    assert found.spread_k <= stability.band_k
    # The straight line goes through these readings, and at most one more before them.
    count = len(window)
    slopes = [
        60 * np.polyfit(*np.array(it.readings[-number:]).T, 1)[0] for number in (count, count + 1)
    ]
    assert any(found.slope_k_per_min == pytest.approx(slope, abs=1e-6) for slope in slopes)
    assert abs(found.slope_k_per_min) <= stability.slope_k_per_min
    assert found.waited_s == pytest.approx(end_s)


@settings(deadline=None, max_examples=60)
@given(stability=STABILITIES, off_k=st.floats(0, 1))
def test_a_steady_temperature_takes_the_time_asked_for(stability: Stability, off_k: float) -> None:
    it = Traced(lambda _: TARGET_K + off_k * stability.band_k * 0.99)
    found = it.wait_for(stability)
    assert stability.time_s <= found.waited_s <= stability.time_s * 1.1 + 1.0
    assert found.slope_k_per_min == pytest.approx(0.0, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(off_k=st.floats(1, 100), tau_s=st.floats(5, 60), stability=STABILITIES)
def test_an_approach_ends_when_theory_says(off_k, tau_s, stability: Stability) -> None:
    enters_s = tau_s * math.log(off_k / stability.band_k)
    # The mean slope over the window is known up to the shape of the weights: bracket it.
    level_s = tau_s * math.log(off_k * 60 / tau_s / stability.slope_k_per_min)
    it = Traced(lambda time_s: TARGET_K + off_k * math.exp(-time_s / tau_s))
    assume(max(enters_s, level_s) < 800)
    found = it.wait_for(stability, timeout_s=2000.0)
    assert found.waited_s >= enters_s + stability.time_s - 1e-6
    assert found.waited_s <= max(enters_s, level_s, 0.0) + stability.time_s + 3.0


@settings(deadline=None, max_examples=30)
@given(stability=STABILITIES, steeper=st.floats(1.05, 5), sign=st.sampled_from([-1, 1]))
def test_a_drift_through_the_band_is_never_stable(stability, steeper, sign) -> None:
    rate = sign * steeper * stability.slope_k_per_min / 60
    it = Traced(lambda time_s: TARGET_K + rate * (time_s - 200.0))
    with pytest.raises(DeviceError, match="did not settle"):
        it.wait_for(stability, timeout_s=400.0)


def test_a_glitch_begins_the_time_anew() -> None:
    it = Traced(lambda time_s: TARGET_K + (0.2 if 25.0 <= time_s < 26.0 else 0.0))
    found = it.wait_for(Stability(0.1, 30.0, 1.0))
    assert 55.0 <= found.waited_s <= 58.0


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        (lambda _: 80.0, "it is 80.000 K, 3 K off, changing by +0 K/min"),
        (lambda t: 77.0 + 0.01 * t / 60, "it is changing by +0.01 K/min, more than the 0.001"),
        (lambda t: 90.0 if t < 90 else 77.0, "within 0.1 K for 10 s only, of 30 s asked for"),
        (lambda _: math.nan, "it is nan K"),
    ],
)
def test_the_reason_is_told(trace: Trace, words: str) -> None:
    with pytest.raises(DeviceError) as caught:
        Traced(trace).wait_for(Stability(0.1, 30.0, 0.001), timeout_s=100.0)
    text = str(caught.value)
    assert text.startswith("temperature: did not settle at 77 K within 100 s: ")
    assert words in text
    assert "\n" not in text


class Cancelled(Exception):  # noqa: N818 - a request, not an error
    pass


def test_cancelled_by_the_wait() -> None:
    it = Traced(lambda _: 90.0)

    def wait(seconds: float) -> None:
        it.clock.wait(seconds)
        if it.clock.now_s() >= 5.0:
            raise Cancelled

    with pytest.raises(Cancelled):
        it.wait_for(Stability(), wait=wait)
    assert it.readings[-1][0] < 5.0, "not read again"


def test_progress() -> None:
    told: list[StabilityProgress] = []
    it = Traced(lambda time_s: TARGET_K + max(10.0 - time_s, 0.0))
    found = it.wait_for(Stability(0.5, 20.0, 0.1), on_progress=told.append)
    assert len(told) == len(it.readings)
    assert told[0].temperature_k == 87.0
    assert told[0].set_point_k == TARGET_K
    assert told[0].in_band_s == 0.0
    assert math.isnan(told[0].slope_k_per_min)
    assert told[5].slope_k_per_min == pytest.approx(-60.0)
    assert told[-1].in_band_s >= 20.0
    assert told[-1].elapsed_s == found.waited_s
    assert all(a.elapsed_s < b.elapsed_s for a, b in itertools.pairwise(told))
    with pytest.raises(dataclasses.FrozenInstanceError):
        told[0].in_band_s = 1.0  # type: ignore[misc]


def test_time_in_which_nobody_looked_does_not_count() -> None:
    it = Traced(lambda _: TARGET_K)
    naps = iter([1.0] * 5 + [3600.0])

    def wait(seconds: float) -> None:
        it.clock.wait(next(naps, seconds))

    found = it.wait_for(Stability(0.1, 30.0, 1.0), timeout_s=7200.0, wait=wait)
    assert found.waited_s >= 5.0 + 3600.0 + 30.0


def test_an_error_of_the_controller_ends_it() -> None:
    with connect(load_profile("simulated")) as instrument:
        assert instrument.temperature is not None
        thermostat = instrument.laser.microscope.thermostat  # type: ignore[attr-defined]
        instrument.clock.call_at(20.0, thermostat.unplug)  # type: ignore[attr-defined]
        with pytest.raises(DeviceError, match="temperature: does not answer"):
            wait_until_stable(
                instrument.temperature,
                instrument.clock,
                100.0,
                Stability(),
                1000.0,
                instrument.clock.wait,
            )


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["band_k", "time_s", "slope_k_per_min"])
def test_a_definition_is_of_positive_numbers(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        Stability(**{name: value})


DRIVERS = [
    LakeShore335(port="COM3"),
    Montana(host="cryostation", generation="older"),
    Montana(host="cryostation", generation="newer"),
    AttoDry800(host="cryostat"),
]


@contextmanager
def behind_a_wire(driver: Any):
    simulation = SimulationSettings(thermostat=ThermostatSettings(lag_s=5.0))
    microscope = VirtualMicroscope(simulation, OpticsSettings(), RunningClock(50))
    served = serve(driver, microscope, "temperature")
    device: Any = open_device(
        "temperature", served.settings, load_profile("simulated"), microscope.clock
    )
    try:
        yield device, microscope
    finally:
        device.close()
        served.stop()


@pytest.mark.parametrize(
    "driver", DRIVERS, ids=["lakeshore335", "older montana", "newer montana", "attodry800"]
)
def test_through_the_wire(driver: Any) -> None:
    with behind_a_wire(driver) as (device, microscope):
        clock = microscope.clock
        told: list[StabilityProgress] = []
        device.set_set_point_k(294.0)
        found = wait_until_stable(
            device, clock, 294.0, Stability(0.1, 15.0, 0.2), 300.0, clock.wait, told.append
        )
        truth_k = microscope.thermostat.kelvin_at(clock.now_s())
        assert found.temperature_k == pytest.approx(truth_k, abs=0.1)
        assert 6.0 + 15.0 < found.waited_s < 80.0
        assert told[0].in_band_s == 0.0
        assert told[-1].in_band_s >= 15.0


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (DRIVERS[0], "reports an open load"),
        (DRIVERS[1], "reports an alarm"),
        (DRIVERS[2], "did not settle"),
        (DRIVERS[3], "is off, although it was on"),
    ],
    ids=["lakeshore335", "older montana", "newer montana", "attodry800"],
)
def test_heater_fault_while_waiting(driver: Any, words: str) -> None:
    with behind_a_wire(driver) as (device, microscope):
        clock = microscope.clock
        device.set_set_point_k(300.0)
        microscope.schedule(clock.now_s() + 5.0, microscope.thermostat.fail_heater)
        with pytest.raises(DeviceError, match=words):
            wait_until_stable(device, clock, 300.0, Stability(), 60.0, clock.wait)
