"""Setting and moving by hand: the instrument of S1 on simulated wires, and every refusal."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.daq.test_aligning import Director, Given, Table, table
from tplm_config import InputError, load_profile
from tplm_daq.handling import DetectorTooBrightError, Handling
from tplm_daq.station.manual import Manual, halt
from tplm_daq.station.readings import identify, read_back
from tplm_daq.station.settings import Move
from tplm_drivers import DeviceError, Instrument, connect

# -- real drivers ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mit() -> Iterator[Instrument]:
    with connect(load_profile("mit"), simulated=True) as instrument:
        yield instrument


def by_hand(instrument: Instrument) -> Manual:
    return Manual(instrument, Handling(Director(), instrument, lambda: None))


SET: list[tuple[str, bool | float, str, dict[str, Any]]] = [
    ("emission", True, "the laser emits, and the shutter is closed", {"emission": True}),
    ("repetition_rate_hz", 5e6, "the laser pulses at 5 MHz", {"repetition_rate_hz": 5e6}),
    ("power_nw", 2, "the power meter reads ", {"power_nw": pytest.approx(2.0, rel=0.05)}),
    (
        "transmission", 0.01, "the attenuator lets 0.01 of the light through",
        {"transmission": pytest.approx(0.01, rel=0.05)},
    ),
    (
        "transmission", 0, "the attenuator lets 0.0001 ",
        {"transmission": pytest.approx(1e-4, rel=0.01)},
    ),
    (
        "detection_transmission", 0.3, "the wheel before the detector lets 0.3 ",
        {"detection_transmission": pytest.approx(0.3, rel=0.05)},
    ),
    ("shutter", True, "the shutter is open; nothing watches", {"shutter_open": True}),
    ("shutter", False, "the shutter is closed", {"shutter_open": False}),
    ("emission", False, "the laser is off", {"emission": False}),
    ("set_point_k", 200, "200 K were given; the set point reads 29", {}),
]  # fmt: skip


def test_every_setting_over_the_wire(mit: Instrument) -> None:
    manual = by_hand(mit)
    for what, value, words, expected in SET:
        assert manual.set(what, value).startswith(words), what
        values = read_back(mit, False)["values"]
        assert {key: values[key] for key in expected} == expected


MOVES: list[tuple[Move, tuple[str, ...], tuple[float, ...]]] = [
    (
        Move(stage="detector", to=(1.0, -0.5)),
        ("detector_image_x_um", "detector_image_y_um"), (12995.0, 12252.5),
    ),
    (
        Move(stage="detector", to=(-99.0, 49.5), plane="image", relative=True),
        ("detector_x_um", "detector_y_um"), (0.8, -0.4),
    ),
    (
        Move(stage="detector", to=(12500, 12500), plane="image"),
        ("detector_x_um", "detector_y_um"), (0.0, 0.0),
    ),
    (
        Move(stage="sample", to=(3.0, 4.0)),
        ("sample_x_um", "sample_y_um", "sample_z_um"), (3.0, 4.0, 0.0),
    ),
    (
        Move(stage="sample", to=(-1.0, 0.0, 2.0), relative=True),
        ("sample_x_um", "sample_y_um", "sample_z_um"), (2.0, 4.0, 2.0),
    ),
]  # fmt: skip


def test_every_move_over_the_wire(mit: Instrument) -> None:
    manual = by_hand(mit)
    for asked, keys, expected in MOVES:
        manual.move(asked)
        values = read_back(mit, False)["values"]
        assert [values[key] for key in keys] == pytest.approx(expected, abs=0.3)


def test_who_answers_over_the_wire(mit: Instrument) -> None:
    models = identify(mit)
    found = read_back(mit, False, models)
    assert {entry["state"] for entry in found["devices"].values()} == {"ready"}
    assert found["devices"]["shutter"]["model"] == "Thorlabs SC10"
    assert found["devices"]["temperature"]["model"] == "LSCI MODEL335 335A1B2"


# -- refusals -------------------------------------------------------------------------------


REFUSED: list[tuple[str, object, str]] = [
    ("powr_nw", 1.0, "set: there is no 'powr_nw'; did you mean 'power_nw'?"),
    ("colour", 1.0, "these can be set: emission, shutter"),
    ("emission", 1, "set: emission: found 1; true or false is needed"),
    ("shutter", "open", "true or false is needed"),
    ("power_nw", True, "set: power_nw: found True; a number is needed"),
    ("power_nw", math.nan, "a number is needed"),
    ("power_nw", None, "a number is needed"),
    ("power_nw", 0, "more than 0 nW is needed"),
    ("power_nw", 200.1, "found 200.1; the profile allows 200 nW at most"),
    ("power_nw", 1.0, "the laser is off; switch the emission on first"),
    ("repetition_rate_hz", -1, "more than 0 Hz is needed"),
    ("transmission", 1.01, "set: transmission: found 1.01; 0 to 1 is allowed"),
    ("detection_transmission", -0.1, "0 to 1 is allowed"),
    ("set_point_k", 3.9, "set: set_point_k: found 3.9; the profile allows 4 to 325 K"),
    ("set_point_k", 325.1, "the profile allows 4 to 325 K"),
]


@pytest.mark.parametrize(("what", "value", "words"), REFUSED)
def test_what_may_not_be_set_is_refused_in_words(what: str, value: object, words: str) -> None:
    with table(begin=False) as it:
        before = read_back(it.instrument, False)["values"]
        with pytest.raises(InputError) as refused:
            it.manual.set(what, value)
        assert words in str(refused.value)
        after = read_back(it.instrument, False)["values"]
        noisy = {"power_nw", "temperature_k"}
        assert {key: after[key] for key in after.keys() - noisy} == {
            key: before[key] for key in before.keys() - noisy
        }


BEYOND: list[tuple[dict[str, Any], str]] = [
    (
        {"stage": "detector", "to": (25.3, 0)},
        (
            "move: to: x = 25.300 µm, stage reading 12523.5 µm, is beyond the detector stage's "
            "travel; it goes from -12500 to 12500 µm, -25.25 to 25.25 µm of the sample"
        ),
    ),
    ({"stage": "detector", "to": (0, -12501), "plane": "image"}, "y = -25.255 µm"),
    ({"stage": "detector", "to": (0, 26), "relative": True}, "y = 26.000 µm"),
    ({"stage": "detector", "to": (0, 0, 0)}, "found 3 numbers; the detector has x and y"),
    (
        {"stage": "sample", "to": (0, 0, 2501)},
        "z = 2501.00 µm is beyond the sample stage's travel; it goes from -2500 to 2500 µm",
    ),
    ({"stage": "sample", "to": (0, 0), "plane": "image"}, 'in the sample plane only; use "sample"'),
]


@pytest.mark.parametrize(("asked", "words"), BEYOND)
def test_moves_beyond_the_travel_are_refused_in_words(asked: dict[str, Any], words: str) -> None:
    with table(begin=False) as it:
        with pytest.raises(InputError) as refused:
            it.manual.move(Move(**asked))
        assert words in str(refused.value)
        assert not it.at.detector_stage.is_moving()
        assert not it.at.sample_stage.is_moving()


ABSENT: list[tuple[str, Callable[[Manual], str], str]] = [
    ("shutter", lambda manual: manual.set("shutter", True), "no shutter; switch the emission"),
    ("attenuator", lambda manual: manual.set("transmission", 0.5), "no attenuator"),
    ("attenuator", lambda manual: manual.set("power_nw", 1.0), "lacks one; set the transmission"),
    ("power_meter", lambda manual: manual.set("power_nw", 1.0), "lacks one; set the transmission"),
    (
        "detection_attenuator", lambda manual: manual.set("detection_transmission", 0.5),
        "no wheel before the detector",
    ),
    ("temperature", lambda manual: manual.set("set_point_k", 100), "no temperature controller"),
    (
        "sample_stage", lambda manual: manual.move(Move(stage="sample", to=(0.0, 0.0))),
        "no sample stage",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("role", "step", "words"), ABSENT)
def test_what_is_not_there_cannot_be_set(
    role: str, step: Callable[[Manual], str], words: str
) -> None:
    profile = load_profile("simulated").model_copy(update={role: None})
    with connect(profile) as instrument, pytest.raises(InputError, match=words):
        step(by_hand(instrument))


# -- power ----------------------------------------------------------------------------------


LOW = "limits.laser_power_nw=3"


def test_a_transmission_that_would_be_too_much_is_refused_before_it_turns() -> None:
    with table(LOW, begin=False) as it:
        it.manual.set("emission", True)
        words = "that would make 4.* nW of the .* nW there are now, and the profile allows 3 nW"
        with pytest.raises(InputError, match=words):
            it.manual.set("transmission", 0.04)
        assert it.at.attenuator.transmission() == 0.01
        it.manual.set("transmission", 0.02)
        assert it.at.attenuator.transmission() == pytest.approx(0.02)


def test_too_much_power_keeps_the_shutter_closed() -> None:
    with table(LOW, begin=False) as it:
        it.manual.set("transmission", 0.1)  # in the dark nobody knows
        it.manual.set("emission", True)
        with pytest.raises(DeviceError, match="but the profile allows 3 nW at most"):
            it.manual.set("shutter", True)
        assert it.dark
        it.manual.set("power_nw", 2.5)
        it.manual.set("shutter", True)
        assert not it.dark


def test_emission_behind_an_open_shutter_is_judged_at_once() -> None:
    with table(LOW, begin=False) as it:
        it.manual.set("transmission", 0.1)
        it.manual.set("shutter", True)
        with pytest.raises(DeviceError, match="turn the light down"):
            it.manual.set("emission", True)
        assert it.dark


# -- faults ---------------------------------------------------------------------------------


FAULTS: list[tuple[str, Callable[[Table], object], Callable[[Manual], str], str]] = [
    (
        "interlock", lambda it: it.at.laser.open_interlock(),
        lambda manual: manual.set("emission", True), "interlock",
    ),
    (
        "shutter", lambda it: it.at.shutter.unplug(),
        lambda manual: manual.set("shutter", True), "does not answer",
    ),
    (
        "wheel", lambda it: it.at.attenuator.unplug(),
        lambda manual: manual.set("transmission", 0.5), "does not answer",
    ),
    (
        "meter", lambda it: (it.at.laser.set_emission(True), it.at.power_meter.unplug()),
        lambda manual: manual.set("power_nw", 2.0), "does not answer",
    ),
    (
        "cryostat", lambda it: it.at.thermostat.unplug(),
        lambda manual: manual.set("set_point_k", 100), "does not answer",
    ),
    (
        "stage", lambda it: it.at.schedule(it.at.clock.now_s() + 0.1, it.at.detector_stage.stop),
        lambda manual: manual.move(Move(stage="detector", to=(2.0, 0.0))),
        "stopped at .* instead of .990.0, 0.0. µm",
    ),
    (
        "sample", lambda it: it.at.schedule(it.at.clock.now_s() + 0.01, it.at.sample_stage.stop),
        lambda manual: manual.move(Move(stage="sample", to=(500.0, 0.0))),
        "stopped at .* then try again",
    ),
]  # fmt: skip


@pytest.mark.parametrize("name", [fault[0] for fault in FAULTS])
def test_a_device_that_fails_is_told(name: str) -> None:
    _, breaks, step, words = next(fault for fault in FAULTS if fault[0] == name)
    with table(begin=False) as it:
        breaks(it)
        with pytest.raises(DeviceError, match=words):
            step(it.manual)


@pytest.mark.parametrize("stage", ["detector", "sample"])
def test_a_move_that_is_given_up_stops(stage: Any) -> None:
    with table(begin=False) as it:
        it.director.last_look = it.director.looks + 2
        with pytest.raises(Given):
            it.manual.move(Move(stage=stage, to=(20.0, 0.0) if stage == "detector" else (900.0, 0)))
        it.at.clock.wait(0.5)
        device = getattr(it.at, f"{stage}_stage")
        assert not device.is_moving()
        assert 0 < device.position_um()[0] < 500


def test_halt_stops_everything() -> None:
    with table(begin=False) as it:
        it.at.detector_stage.move_to(9000.0, 0.0)
        it.at.sample_stage.move_to(900.0, 0.0, 0.0)
        it.at.clock.wait(0.05)
        assert halt(it.instrument) == "all stages were told to stop"
        it.at.clock.wait(0.5)
        assert not it.at.detector_stage.is_moving()
        assert not it.at.sample_stage.is_moving()
        it.at.sample_stage.move_to(900.0, 0.0, 0.0)
        it.at.detector_stage.unplug()
        with pytest.raises(DeviceError, match="does not answer"):
            halt(it.instrument)
        it.at.clock.wait(0.5)
        assert not it.at.sample_stage.is_moving()


def test_the_detector_is_protected_while_a_wheel_turns() -> None:
    limits = ("limits.detector_count_rate_hz=2e4", LOW)
    with table(*limits) as it:
        it.manual.set("detection_transmission", 0.1)
        it.at.laser.set_power_fraction(1.0)
        it.at.attenuator.set_transmission(0.03)
        it.at.clock.wait(2.0)
        with pytest.raises(DetectorTooBrightError, match="then open the shutter, or align"):
            it.manual.set("detection_transmission", 1.0)
        assert it.dark
