"""The Montana driver, both generations, against the simulated Cryostation."""

import json
from collections.abc import Iterator

import pytest

from tests.wire.cryostats import (
    LOST,
    SILENT,
    TIMEOUT_S,
    WIRE_FAULTS,
    Cryostat,
    cryostat,
    opened,
    sent,
    told,
)
from tplm_config.devices import Montana as Settings
from tplm_drivers.montana import NewerMontana, OlderMontana
from tplm_simulators.wire import WireFault

OLDER = Settings(host="cryostation", generation="older", timeout_s=TIMEOUT_S)
NEWER = Settings(host="cryostation", generation="newer", timeout_s=TIMEOUT_S)
HOT_AND_COLD = [1.9, 351.0, float("nan"), -300.0]


@pytest.fixture(params=[OLDER, NEWER], ids=["older", "newer"])
def lab(request) -> Iterator[Cryostat]:
    with cryostat(request.param) as lab:
        yield lab


@pytest.fixture
def older() -> Iterator[Cryostat]:
    with cryostat(OLDER) as lab:
        yield lab


@pytest.fixture
def newer() -> Iterator[Cryostat]:
    with cryostat(NEWER) as lab:
        yield lab


def test_follows_a_set_point(lab: Cryostat) -> None:
    assert lab.device.temperature_k() == pytest.approx(295.0, abs=0.1)
    assert lab.device.set_point_k() == 295.0
    lab.device.set_set_point_k(290.0)
    assert lab.microscope.thermostat.set_point_k == 290.0
    assert lab.device.set_point_k() == 290.0
    lab.microscope.clock.wait(65.0)
    assert lab.device.temperature_k() == pytest.approx(290.0, abs=0.1)


@pytest.mark.parametrize("kelvin", HOT_AND_COLD)
def test_limits_of_the_profile(lab: Cryostat, kelvin) -> None:
    before = len(lab.wire.log)
    assert "outside the limits of the profile (2 to 350 K)" in lab.refused(kelvin)
    assert len(lab.wire.log) == before, "nothing was sent"


@pytest.mark.parametrize("kelvin", [6.5, 330.0])
def test_limits_of_the_instrument(lab: Cryostat, kelvin) -> None:
    assert "refused" in lab.refused(kelvin)
    assert lab.device.set_point_k() == 295.0


@pytest.mark.parametrize(
    ("fault", "words"), [case[1:] for case in WIRE_FAULTS], ids=[case[0] for case in WIRE_FAULTS]
)
def test_wire_faults(lab: Cryostat, fault, words) -> None:
    if fault.kind == "truncated" and isinstance(lab.device, NewerMontana):
        words = SILENT  # the rest of the reply is waited for
    lab.wire.fail(fault)
    assert words in lab.failed()
    assert lab.device.set_point_k() == 295.0, "not the late reply to the question before"
    assert lab.device.temperature_k() == pytest.approx(295.0, abs=0.1)


def test_one_drop_is_made_good_in_mid_ramp(lab: Cryostat) -> None:
    lab.device.set_set_point_k(280.0)
    lab.wire.drop()
    assert lab.device.temperature_k() == pytest.approx(lab.truth_k, abs=0.5)
    lab.wire.fail(WireFault("dropped"))
    assert lab.device.temperature_k() == pytest.approx(lab.truth_k, abs=0.5)
    assert lab.microscope.thermostat.set_point_k == 280.0


def test_unplugged_and_gone(lab: Cryostat) -> None:
    lab.microscope.thermostat.unplug()
    assert SILENT in lab.failed()
    assert SILENT in told(lambda: opened(lab.served, lab.microscope))
    lab.microscope.thermostat.plug_in()
    assert lab.device.temperature_k() == pytest.approx(295.0, abs=0.1)
    lab.served.stop()
    assert LOST in lab.failed()


def test_sample_thermometer(lab: Cryostat) -> None:
    device = opened(lab.served, lab.microscope, thermometer="sample")
    assert "the sample thermometer gives no reading" in told(device.temperature_k)
    device.close()
    mounted = lab.served.settings.model_copy(update={"thermometer": "sample", "port": None})
    with cryostat(mounted) as other:
        assert other.device.temperature_k() == pytest.approx(295.0, abs=0.1)


def test_older_bytes(older: Cryostat) -> None:
    assert type(older.device) is OlderMontana
    identity = older.device.identify()
    assert identity.model == "Montana Instruments Cryostation (text interface)"
    assert identity.checked_against == "simulator only"
    older.device.set_set_point_k(290)
    assert sent(older.wire, b"11STSP 290.00") == b"34OK, Temperature Set Point = 290.00"
    older.device.set_point_k()
    assert sent(older.wire, b"04GTSP") == b"06290.00"
    assert sent(older.wire, b"03GAS") == b"01F"
    older.device.temperature_k()
    assert sent(older.wire, b"03GPT").startswith(b"0729")


def test_older_words_of_the_instrument(older: Cryostat) -> None:
    assert "refused 330.00 K: Error: Invalid set point" in older.refused(330.0)


def test_older_heater_fault_is_an_alarm(older: Cryostat) -> None:
    older.microscope.thermostat.fail_heater()
    assert "the Cryostation reports an alarm" in older.failed()
    older.microscope.thermostat.repair_heater()
    assert 280.0 < older.device.temperature_k() < 296.0


def test_newer_bytes(newer: Cryostat) -> None:
    assert type(newer.device) is NewerMontana
    identity = newer.device.identify()
    assert identity.model == "Montana Instruments Cryostation (REST interface)"
    newer.device.set_set_point_k(290.0)
    requests = b"".join(data for direction, data in newer.wire.log if direction == "<")
    put = b"PUT /v1/controller/properties/platformTargetTemperature HTTP/1.1\r\n"
    assert put in requests
    assert requests.endswith(b'\r\n\r\n{"platformTargetTemperature": 290.0}')
    newer.device.set_point_k()
    direction, reply = newer.wire.log[-1]
    assert direction == ">"
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {"platformTargetTemperature": 290.0}


def test_newer_words_of_the_instrument(newer: Cryostat) -> None:
    text = newer.refused(330.0)
    assert "400 Bad Request" in text
    assert "refuses 330 K" in text


def test_newer_does_not_start_a_cool_down(newer: Cryostat) -> None:
    newer.device._request("POST", "/v1/controller/methods/abortGoal()")
    assert "does not control its temperature now (its goal is 'None')" in newer.refused(77.0)
    assert newer.microscope.thermostat.set_point_k == 295.0
    newer.device._request("POST", "/v1/controller/methods/cooldown()")
    newer.device.set_set_point_k(77.0)
    assert newer.microscope.thermostat.set_point_k == 77.0


def test_newer_heater_fault_shows_as_a_temperature(newer: Cryostat) -> None:
    newer.microscope.thermostat.fail_heater()
    newer.microscope.clock.wait(100.0)
    assert newer.device.temperature_k() < 270.0
    assert newer.device.set_point_k() == 295.0
