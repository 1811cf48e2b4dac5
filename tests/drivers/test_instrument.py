"""The way out: dark if it can be made dark, told in capitals if not, and never stuck halfway."""

import dataclasses
import math
import time
import traceback
from contextlib import ExitStack
from typing import Any

import pytest

from tests.drivers.bench import Break, is_lit, lit, microscope_of, opened
from tplm_config import InputError, load_profile
from tplm_drivers import DeviceError, Instrument, SafeState, WallClock, connect
from tplm_drivers.roles import ROLE_NAMES
from tplm_drivers.simulated import SimulatedBench, SimulatedLaser


def stand_in(instrument: Instrument, **devices: Any) -> Instrument:
    """The instrument with other devices in some roles."""
    return dataclasses.replace(instrument, **devices)


class Broken:
    """A device that raises whatever it is asked."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: object) -> None:
            raise self.error

        return refuse


class Hollow:
    """A device without a single method."""


# Faults and what is left of safety: laser off, shutter closed, verified, told
FAULTS: list[tuple[str, Break, bool | None, bool | None, str]] = [
    ("nothing", lambda m: None, True, True, ""),
    ("laser goes on", lambda m: m.laser.refuse_to_stop(), False, True, ""),
    ("shutter jams", lambda m: m.shutter.jam(), True, False, ""),
    ("no laser", lambda m: m.laser.unplug(), None, True, "laser: does not answer"),
    ("no shutter", lambda m: m.shutter.unplug(), True, None, "shutter: does not answer"),
    ("no card", lambda m: m.card.unplug(), True, True, "card: does not answer"),
    (
        "no stage",
        lambda m: m.detector_stage.unplug(),
        True,
        True,
        "detector_stage: does not answer",
    ),
    (
        "no sample stage",
        lambda m: m.sample_stage.unplug(),
        True,
        True,
        "sample_stage: does not answer",
    ),
    ("stalled stage", lambda m: m.detector_stage.stall(), True, True, ""),
    ("no thermometer", lambda m: m.thermostat.unplug(), True, True, ""),
    ("interlock", lambda m: m.laser.open_interlock(), True, True, ""),
    ("both", lambda m: (m.laser.refuse_to_stop(), m.shutter.jam()), False, False, ""),
    ("both gone", lambda m: (m.laser.unplug(), m.shutter.unplug()), None, None, "shutter: does"),
    ("gone and jammed", lambda m: (m.laser.unplug(), m.shutter.jam()), None, False, "laser: does"),
    ("on and gone", lambda m: (m.laser.refuse_to_stop(), m.shutter.unplug()), False, None, "shut"),
]


@pytest.mark.parametrize(
    ("damage", "laser_off", "shutter_closed", "problem"),
    [case[1:] for case in FAULTS],
    ids=[case[0] for case in FAULTS],
)
def test_make_safe(damage, laser_off, shutter_closed, problem) -> None:
    with lit() as instrument:
        damage(microscope_of(instrument))
        state = instrument.make_safe()
        assert state.laser_off is laser_off
        assert state.shutter_closed is shutter_closed
        assert state.verified is (laser_off is True or shutter_closed is True)
        assert any(told.startswith(problem) for told in state.problems) or not problem
        assert len(set(state.problems)) == len(state.problems)
        if state.verified:
            assert not is_lit(instrument)
            assert "MAY STILL BE ON" not in str(state)
        else:
            assert is_lit(instrument)
            assert str(state).startswith("THE LASER MAY STILL BE ON (laser off: ")
            assert "block the beam by hand" in str(state)
        assert all(told in str(state) for told in state.problems)


def test_the_sentences() -> None:
    assert str(SafeState(True, True)) == "laser off: yes, shutter closed: yes"
    assert str(SafeState(None, True, ("laser: is gone",))) == (
        "laser off: unknown, shutter closed: yes; laser: is gone"
    )
    assert str(SafeState(False, None, ("a", "b"))) == (
        "THE LASER MAY STILL BE ON (laser off: NO, shutter closed: unknown): "
        "block the beam by hand; a; b"
    )


def test_make_safe_stops_the_card_and_both_stages() -> None:
    with lit() as instrument:
        assert instrument.sample_stage is not None
        instrument.detector_stage.move_to((9000, 0))
        instrument.sample_stage.move_to((900, 0, 0))
        instrument.card.configure(200, 128, 0, 1)
        instrument.card.start(100)
        instrument.clock.wait(0.5)
        instrument.make_safe()
        assert not instrument.detector_stage.is_moving()
        assert not instrument.sample_stage.is_moving()
        assert not instrument.card.is_counting()


def test_make_safe_is_quick_and_can_be_repeated() -> None:
    with lit() as instrument:
        before_s = instrument.clock.now_s()
        first = instrument.make_safe()
        assert instrument.clock.now_s() - before_s < 0.1
        assert instrument.make_safe() == first == SafeState(True, True)


ERRORS = [
    DeviceError("x", "is gone"),
    OSError(5, "Input/output error"),
    ValueError("not a number"),
    TypeError(),
    MemoryError(),
    RecursionError("too deep"),
    StopIteration(),
    AssertionError(),
    SystemExit(3),
    KeyboardInterrupt(),
    BaseException("something else"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("role", ROLE_NAMES)
def test_whatever_a_device_raises_the_others_are_made_safe(role, error) -> None:
    with lit() as instrument:
        state = stand_in(instrument, **{role: Broken(error)}).close()
        assert state.verified
        assert not is_lit(instrument)
        assert any(f"{role} could not be closed: " in told for told in state.problems)
        assert all(told.strip() == told and not told.endswith(":") for told in state.problems)


def test_whatever_all_devices_raise_it_is_told() -> None:
    with lit() as instrument:
        broken = dict.fromkeys(ROLE_NAMES, Broken(ValueError("boom")))
        state = stand_in(instrument, **broken).close()
        assert not state.verified
        assert "THE LASER MAY STILL BE ON" in str(state)
        assert state.problems[:2] == ("shutter: ValueError: boom", "laser: ValueError: boom")
        assert {f"{role} could not be closed: ValueError: boom" for role in ROLE_NAMES} <= set(
            state.problems
        )


def test_a_driver_that_lacks_a_method_is_told_too() -> None:
    with lit() as instrument:
        state = stand_in(instrument, card=Hollow(), detector_stage=Hollow()).close()
        assert state.verified
        assert state.problems[0].startswith("card: AttributeError: 'Hollow' object")


def test_an_instrument_without_a_shutter_relies_on_the_laser() -> None:
    with lit() as instrument:
        bare = stand_in(
            instrument,
            shutter=None,
            sample_stage=None,
            attenuator=None,
            detection_attenuator=None,
            power_meter=None,
            temperature=None,
        )
        assert list(bare.devices()) == ["laser", "card", "detector_stage"]
        assert bare.make_safe() == SafeState(True, None)
        assert bare.make_safe().verified


def test_close_closes_every_device_even_if_one_fails() -> None:
    closed: list[str] = []

    class Closing:
        def __init__(self, role: str) -> None:
            self.role = role

        def close(self) -> None:
            closed.append(self.role)
            if self.role in ("laser", "shutter"):
                raise OSError("port is gone")

        def __getattr__(self, name: str) -> Any:
            return lambda *_: False

    with opened() as instrument:
        state = stand_in(instrument, **{role: Closing(role) for role in ROLE_NAMES}).close()
    assert closed == list(ROLE_NAMES)
    assert state == SafeState(
        True,
        True,
        (
            "shutter could not be closed: OSError: port is gone",
            "laser could not be closed: OSError: port is gone",
        ),
    )


# Leaving the context


def hopeless(instrument: Instrument) -> None:
    microscope = microscope_of(instrument)
    microscope.laser.refuse_to_stop()
    microscope.shutter.jam()


def test_a_context_ends_dark() -> None:
    with lit() as instrument:
        with instrument as same:
            assert same is instrument
        assert not is_lit(instrument)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_of_the_body_passes_through_and_leaves_it_dark(error) -> None:
    with lit() as instrument:
        with pytest.raises(type(error)) as caught, instrument:
            raise error
        assert caught.value is error
        assert error.__context__ is None
        assert not is_lit(instrument)


def test_a_light_that_cannot_be_proven_off_is_an_error() -> None:
    with lit() as instrument:
        with (
            pytest.raises(DeviceError, match="^laser: THE LASER MAY STILL BE ON") as caught,
            instrument,
        ):
            hopeless(instrument)
        assert caught.value.__context__ is None
        assert "before that" not in str(caught.value)


BODIES = [
    (InputError("p.toml", "is wrong", "do it right"), "before that, p.toml: is wrong; do it right"),
    (DeviceError("card", "is gone", "look"), "before that, card: is gone; look"),
    (ValueError("mine"), "before that, ValueError: mine"),
    (KeyboardInterrupt(), "before that, KeyboardInterrupt"),
]


@pytest.mark.parametrize(("error", "words"), BODIES, ids=lambda case: type(case).__name__)
@pytest.mark.parametrize("way", ["with", "ExitStack"])
def test_the_unsafe_laser_is_told_and_the_first_error_stays_visible(error, words, way) -> None:
    with lit() as instrument, pytest.raises(DeviceError) as caught:
        if way == "with":
            with instrument:
                hopeless(instrument)
                raise error
        with ExitStack() as stack:
            stack.enter_context(instrument)
            hopeless(instrument)
            raise error
    unsafe = caught.value
    assert str(unsafe).startswith("laser: THE LASER MAY STILL BE ON (")
    assert str(unsafe).endswith(words)
    assert unsafe.__context__ is error
    shown = "".join(traceback.format_exception(unsafe))
    assert type(error).__name__ in shown.removesuffix(f"{unsafe}\n")
    assert shown.rstrip().endswith(words)


# Connecting


def fail_at(monkeypatch, failing: str, error: BaseException, damage: Break | None = None) -> list:
    """Let the opening of one role fail; returns the bench, once there is one."""
    benches: list[SimulatedBench] = []
    open_ = SimulatedBench.open

    def opening(self, role):
        benches[:] = [self]
        if role == failing:
            if damage is not None:
                damage(self.microscope)
            raise error
        device = open_(self, role)
        if role == "laser":
            device.set_emission(True)  # somebody had left it on
        if role == "shutter":
            device.set_open(True)
        return device

    monkeypatch.setattr(SimulatedBench, "open", opening)
    return benches


@pytest.fixture
def closed(monkeypatch) -> list[str]:
    """Roles that were closed, in order."""
    roles: list[str] = []
    base = SimulatedLaser.__mro__[1]
    monkeypatch.setattr(base, "close", lambda self: roles.append(self.role))
    return roles


@pytest.mark.parametrize("error", [DeviceError("x", "is not there"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", ROLE_NAMES)
def test_connecting_is_all_or_nothing(monkeypatch, closed, failing, error) -> None:
    benches = fail_at(monkeypatch, failing, error)
    with pytest.raises(type(error)) as caught:
        connect(load_profile("simulated"))
    assert caught.value is error
    assert closed == list(ROLE_NAMES[: ROLE_NAMES.index(failing)])
    microscope = benches[0].microscope
    assert microscope.laser.output_nw() == 0
    assert not microscope.shutter.is_open()


def test_a_failed_connection_tells_of_a_laser_that_goes_on(monkeypatch, closed) -> None:
    error = DeviceError("card", "is not there")
    fail_at(monkeypatch, "card", error, lambda m: (m.laser.refuse_to_stop(), m.shutter.jam()))
    with pytest.raises(
        DeviceError, match="THE LASER MAY STILL BE ON.*before that, card: is"
    ) as told:
        connect(load_profile("simulated"))
    assert told.value.__cause__ is told.value.__context__ is error
    assert closed == ["shutter", "laser", "attenuator", "detection_attenuator", "power_meter"]


def test_a_failed_connection_with_a_broken_close_still_tells_the_first_error(monkeypatch) -> None:
    error = DeviceError("temperature", "is not there")
    fail_at(monkeypatch, "temperature", error)
    base = SimulatedLaser.__mro__[1]

    def refuse(self) -> None:
        raise OSError("busy")

    monkeypatch.setattr(base, "close", refuse)
    with pytest.raises(DeviceError) as caught:
        connect(load_profile("simulated"))
    assert caught.value is error


def test_only_the_devices_of_the_profile_are_opened() -> None:
    profile = load_profile("simulated")
    without = dict.fromkeys(("shutter", "sample_stage", "temperature"))
    with connect(profile.model_copy(update=without)) as instrument:
        assert list(instrument.devices()) == [
            "laser",
            "attenuator",
            "detection_attenuator",
            "power_meter",
            "card",
            "detector_stage",
        ]
        assert instrument.profile.name == "simulated"


def test_the_bench_takes_its_optics_from_the_profile() -> None:
    overrides = ["detector_stage.x={sign=-1, zero_um=3000}", "optics.magnification=100"]
    with opened(*overrides) as instrument:
        optics = microscope_of(instrument).optics
        assert (optics.magnification, optics.stage_directions) == (100, (-1, 1))
        assert optics.stage_zero_um == (3000, 0)


# Clocks


def test_the_wall_clock_waits_and_never_goes_back() -> None:
    clock = WallClock()
    start_s, real_s = clock.now_s(), time.monotonic()
    assert start_s == pytest.approx(real_s, abs=0.05)
    clock.wait(0.02)
    assert clock.now_s() - start_s >= 0.019
    clock.wait(0)
    readings = [clock.now_s() for _ in range(100)]
    assert readings == sorted(readings)


def test_no_clock_waits_backwards() -> None:
    with opened() as instrument:
        for clock in (WallClock(), instrument.clock):
            with pytest.raises(ValueError, match="."):
                clock.wait(-1)
            assert math.isfinite(clock.now_s())


def test_the_simulated_clock_moves_by_waiting_alone() -> None:
    with opened() as instrument:
        start_s = instrument.clock.now_s()
        assert instrument.clock.now_s() == start_s
        instrument.clock.wait(3600)
        assert instrument.clock.now_s() == start_s + 3600


def test_the_simulated_clock_can_keep_to_a_speed() -> None:
    with opened("simulation.speed=100") as instrument:
        begun_s = time.monotonic()
        instrument.clock.wait(2)
        assert time.monotonic() - begun_s >= 0.019
