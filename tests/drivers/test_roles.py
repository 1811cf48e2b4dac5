"""Every simulated device plays its role: as mypy reads it, and as it behaves."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest

from tests.drivers.bench import microscope_of, opened
from tests.drivers.typed_roles import assembled
from tplm_config import load_profile
from tplm_daq.t3 import T3_FORMATS, T3Decoder
from tplm_drivers import DeviceError, Histogram, Identity, Instrument, roles
from tplm_drivers.simulated import SimulatedBench
from tplm_simulators import VirtualFault


def test_the_devices_mypy_has_checked_make_an_instrument() -> None:
    bench = SimulatedBench(load_profile("simulated"))
    with assembled(bench) as instrument:
        assert tuple(instrument.devices()) == roles.ROLE_NAMES


PROTOCOLS = {
    "shutter": roles.Shutter,
    "laser": roles.PulsedLaser,
    "attenuator": roles.Attenuator,
    "detection_attenuator": roles.Attenuator,
    "power_meter": roles.PowerMeter,
    "card": roles.TcspcCard,
    "detector_stage": roles.DetectorStage,
    "sample_stage": roles.SampleStage,
    "temperature": roles.TemperatureController,
}


def test_every_role_has_a_protocol_a_place_in_the_profile_and_one_in_the_instrument() -> None:
    assert tuple(PROTOCOLS) == roles.ROLE_NAMES
    with opened() as instrument:
        assert tuple(instrument.devices()) == roles.ROLE_NAMES
        assert all(getattr(instrument.profile, role) is not None for role in roles.ROLE_NAMES)


@pytest.mark.parametrize("role", roles.ROLE_NAMES)
def test_methods_have_the_same_parameters_as_their_role(role) -> None:
    protocol = PROTOCOLS[role]
    names = [name for name in dir(protocol) if not name.startswith("_")]
    assert {"identify", "close"} < set(names)
    with opened() as instrument:
        device = instrument.devices()[role]
        for name in names:
            asked = inspect.signature(getattr(protocol, name))
            given = inspect.signature(getattr(type(device), name))
            assert given == asked, name


@pytest.mark.parametrize("role", roles.ROLE_NAMES)
def test_devices_say_who_they_are_and_can_be_closed_twice(role) -> None:
    with opened() as instrument:
        device = instrument.devices()[role]
        who = device.identify()
        assert isinstance(who, Identity)
        assert role.replace("_", " ") in who.model
        assert who.checked_against == "simulator only"
        device.close()
        device.close()


# One call of each kind that talks to the device
CALLS: list[tuple[str, str, Callable[[Instrument], object]]] = [
    ("laser", "laser", lambda i: i.laser.emission()),
    ("laser", "laser", lambda i: i.laser.set_emission(True)),
    ("laser", "laser", lambda i: i.laser.repetition_rate_hz()),
    ("laser", "laser", lambda i: i.laser.set_repetition_rate_hz(1e6)),
    ("attenuator", "attenuator", lambda i: i.attenuator.transmission()),
    ("attenuator", "attenuator", lambda i: i.attenuator.set_transmission(0.5)),
    ("attenuator", "attenuator", lambda i: i.attenuator.is_moving()),
    ("shutter", "shutter", lambda i: i.shutter.is_open()),
    ("shutter", "shutter", lambda i: i.shutter.set_open(True)),
    ("power_meter", "power_meter", lambda i: i.power_meter.power_nw()),
    ("card", "card", lambda i: i.card.configure(100, 256, 0, 1)),
    ("card", "card", lambda i: i.card.sync_rate_hz()),
    ("card", "card", lambda i: i.card.count_rate_hz()),
    ("card", "card", lambda i: i.card.start(1)),
    ("card", "card", lambda i: i.card.is_counting()),
    ("card", "card", lambda i: i.card.stop()),
    ("card", "card", lambda i: i.card.read()),
    ("card", "card", lambda i: i.card.configure_stream(100, 0, 1)),
    ("card", "card", lambda i: i.card.end_stream()),
    ("detector_stage", "detector_stage", lambda i: i.detector_stage.position_um()),
    ("detector_stage", "detector_stage", lambda i: i.detector_stage.move_to((1, 2))),
    ("detector_stage", "detector_stage", lambda i: i.detector_stage.is_moving()),
    ("detector_stage", "detector_stage", lambda i: i.detector_stage.stop()),
    ("detector_stage", "detector_stage", lambda i: i.detector_stage.set_speed_um_per_s(100)),
    ("sample_stage", "sample_stage", lambda i: i.sample_stage.position_um()),
    ("sample_stage", "sample_stage", lambda i: i.sample_stage.move_to((1, 2, 3))),
    ("sample_stage", "sample_stage", lambda i: i.sample_stage.is_moving()),
    ("sample_stage", "sample_stage", lambda i: i.sample_stage.stop()),
    ("temperature", "thermostat", lambda i: i.temperature.temperature_k()),
    ("temperature", "thermostat", lambda i: i.temperature.set_point_k()),
    ("temperature", "thermostat", lambda i: i.temperature.set_set_point_k(200)),
]


@pytest.mark.parametrize(("role", "part", "call"), CALLS)
def test_an_unplugged_device_is_a_device_error_with_its_role(role, part, call) -> None:
    with opened() as instrument:
        virtual = getattr(microscope_of(instrument), part)
        call(instrument)
        virtual.unplug()
        with pytest.raises(DeviceError, match=f"^{role}: .*does not answer; .+") as caught:
            call(instrument)
        assert caught.value.device == role
        assert isinstance(caught.value.__cause__, VirtualFault)
        virtual.plug_in()
        instrument.card.stop()
        call(instrument)


REFUSED: list[tuple[str, Callable[[Instrument], object], str]] = [
    ("laser", lambda i: i.laser.set_repetition_rate_hz(1e9), "refuses 1e.09 Hz"),
    ("attenuator", lambda i: i.attenuator.set_transmission(1.5), "refuses"),
    ("card", lambda i: i.card.configure(33, 256, 0, 1), "card: "),
    ("card", lambda i: i.card.configure(25, 10**6, 0, 1), "card: "),
    ("card", lambda i: i.card.configure_stream(33, 0, 1), "card: "),
    ("card", lambda i: i.card.read_records(np.empty(2**17, np.uint32)), "refuses to give records"),
    ("detector_stage", lambda i: i.detector_stage.move_to((1e6, 0)), "limits"),
    ("detector_stage", lambda i: i.detector_stage.set_speed_um_per_s(1e6), "refuses a speed"),
    ("sample_stage", lambda i: i.sample_stage.move_to((0, 0, 1e6)), "limits"),
    ("temperature", lambda i: i.temperature.set_set_point_k(5000), "refuses"),
]


@pytest.mark.parametrize(("role", "call", "words"), REFUSED)
def test_a_refusal_is_a_device_error_too(role, call, words) -> None:
    with opened() as instrument, pytest.raises(DeviceError, match=words) as caught:
        call(instrument)
    assert caught.value.device == role


# Behaviour


def test_laser_and_shutter_read_back() -> None:
    with opened() as i:
        assert (i.laser.emission(), i.shutter.is_open()) == (False, False)
        i.laser.set_emission(True)
        i.shutter.set_open(True)
        assert (i.laser.emission(), i.shutter.is_open()) == (True, True)
        i.shutter.set_open(False)
        assert not i.shutter.is_open()
        i.laser.set_repetition_rate_hz(1e6)
        assert i.laser.repetition_rate_hz() == 1e6


def test_slow_devices_are_started_and_watched() -> None:
    with opened() as i:
        slow = [
            (i.detector_stage, lambda: i.detector_stage.move_to((500, -500))),
            (i.sample_stage, lambda: i.sample_stage.move_to((50, 20, 1))),
            (i.attenuator, lambda: i.attenuator.set_transmission(1.0)),
        ]
        for device, start in slow:
            before_s = i.clock.now_s()
            start()
            assert i.clock.now_s() == before_s
            assert device.is_moving()
            i.clock.wait(30)
            assert not device.is_moving()
        assert i.detector_stage.position_um() == pytest.approx((500, -500))
        assert i.sample_stage.position_um() == pytest.approx((50, 20, 1))
        assert i.attenuator.transmission() == pytest.approx(1.0)


def test_a_stage_stops_on_its_way() -> None:
    with opened() as i:
        i.detector_stage.move_to((5000, 0))
        i.clock.wait(1)
        i.detector_stage.stop()
        assert not i.detector_stage.is_moving()
        assert 0 < i.detector_stage.position_um()[0] < 5000


def test_the_wheel_goes_no_darker_than_it_can() -> None:
    with opened() as i:
        i.attenuator.set_transmission(0)
        i.clock.wait(30)
        assert i.attenuator.transmission() == pytest.approx(1e-4)


def test_the_power_meter_follows_the_wheel() -> None:
    with opened() as i:
        dark_nw = i.power_meter.power_nw()
        i.laser.set_emission(True)
        i.attenuator.set_transmission(0.5)
        i.clock.wait(30)
        assert i.power_meter.power_nw() - dark_nw == pytest.approx(50, rel=0.05)


def test_the_card_counts_for_a_dwell() -> None:
    with opened() as i:
        assert i.card.allowed_time_bins_ps()[:4] == (25, 50, 100, 200)
        assert i.card.configure(200, 128, 1.01, 2) == roles.CardConfiguration(200, 128, 1.0, 2)
        assert i.card.max_bins() >= 128
        i.card.configure(200, 128, 0, 1)
        i.laser.set_emission(True)
        i.shutter.set_open(True)
        i.card.start(0.5)
        assert i.card.is_counting()
        i.clock.wait(0.6)
        assert not i.card.is_counting()
        assert i.card.sync_rate_hz() == pytest.approx(2.5e6)
        assert i.card.count_rate_hz() > 0
        histogram = i.card.read()
        assert isinstance(histogram, Histogram)
        assert histogram.counts.dtype == np.uint32
        assert histogram.counts.shape == (128,)
        assert histogram.counts.sum() > 100
        assert histogram.live_s == pytest.approx(0.5, rel=1e-3)
        assert histogram.flags == frozenset()


def test_the_card_streams_the_photons_of_a_dwell() -> None:
    with opened("simulation.detection.fifo_records=500000") as i:
        assert i.card.counter_max() == 2**32 - 1
        made = i.card.configure_stream(200, 1.01, 2, markers=True)
        assert made == roles.StreamConfiguration(200, 1.0, 2, 0x00010307, 0, 500_000, 2**17)
        i.laser.set_emission(True)
        i.shutter.set_open(True)
        i.card.start(2)
        expected = microscope_of(i).card.expected_rates().total_hz * 2
        i.clock.wait(1)
        assert i.card.is_counting()
        buffer = np.zeros(made.read_records, dtype=np.uint32)
        decoder = T3Decoder(T3_FORMATS[made.record_type])
        decoder.feed(buffer[: i.card.read_records(buffer)])
        early = decoder.photons
        assert early == pytest.approx(expected / 2, rel=0.1)
        i.clock.wait(1.1)
        assert not i.card.is_counting()
        decoder.feed(buffer[: i.card.read_records(buffer)])
        assert i.card.read_records(buffer) == 0
        assert decoder.photons == decoder.histogram[made.channel].sum() > 1.5 * early
        assert i.card.end_stream() == roles.StreamEnd(pytest.approx(2), frozenset())  # type: ignore[arg-type]


def test_a_fifo_that_is_not_read_runs_over_and_is_told() -> None:
    with opened("simulation.detection.fifo_records=1024") as i:
        made = i.card.configure_stream(200, 0, 1)
        i.laser.set_emission(True)
        i.shutter.set_open(True)
        i.card.start(2)
        i.clock.wait(2.1)
        assert i.card.read_records(np.zeros(made.read_records, dtype=np.uint32)) == 1024
        assert i.card.end_stream().flags == {"fifo-full"}


def test_a_stream_that_is_stopped_gives_nothing_more() -> None:
    with opened() as i:
        made = i.card.configure_stream(200, 0, 1)
        i.card.start(10)
        i.clock.wait(1)
        i.card.stop()
        assert not i.card.is_counting()
        assert i.card.read_records(np.zeros(made.read_records, dtype=np.uint32)) == 0
        assert i.card.end_stream().live_s == pytest.approx(1, rel=1e-3)


def test_the_speed_of_the_detector_stage_is_set_and_restored() -> None:
    with opened() as i:
        took_s = []
        for speed, place in ((None, 1000.0), (100.0, 0.0), (None, 1000.0)):
            i.detector_stage.set_speed_um_per_s(speed)
            i.detector_stage.move_to((place, 0.0))
            before_s = i.clock.now_s()
            while i.detector_stage.is_moving():
                i.clock.wait(0.01)
            took_s.append(i.clock.now_s() - before_s)
        assert took_s[1] == pytest.approx(10, rel=0.02)
        assert took_s[0] == pytest.approx(took_s[2], abs=0.02)
        assert took_s[0] < 2


def test_a_dwell_can_be_ended_early() -> None:
    with opened() as i:
        i.card.configure(200, 128, 0, 1)
        i.card.start(10)
        i.clock.wait(1)
        i.card.stop()
        i.card.stop()
        assert not i.card.is_counting()
        assert i.card.read().live_s == pytest.approx(1, rel=1e-3)


def test_the_temperature_follows_its_set_point() -> None:
    with opened() as i:
        i.temperature.set_set_point_k(285)
        assert i.temperature.set_point_k() == 285
        i.clock.wait(1000)
        assert i.temperature.temperature_k() == pytest.approx(285, abs=0.1)


def test_a_device_error_is_one_sentence() -> None:
    assert str(DeviceError("card", "is gone")) == "card: is gone"
    assert str(DeviceError("card", "is gone", "plug it in")) == "card: is gone; plug it in"
