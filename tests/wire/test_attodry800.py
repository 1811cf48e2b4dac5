"""The attoDRY800 driver against the simulated cryostat."""

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
    told,
)
from tplm_config.devices import AttoDry800 as Settings
from tplm_drivers.attodry800 import AttoDry800Controller
from tplm_simulators.wire import WireFault

SAMPLE = "com.attocube.cryostat.interface.sample"


@pytest.fixture
def lab() -> Iterator[Cryostat]:
    with cryostat(Settings(host="cryostat", timeout_s=TIMEOUT_S)) as lab:
        yield lab


def test_identity(lab: Cryostat) -> None:
    assert isinstance(lab.device, AttoDry800Controller)
    identity = lab.device.identify()
    assert (identity.model, identity.serial_number) == ("attoDRY800", "D800-0042")
    assert (identity.firmware, identity.checked_against) == ("1.5.3", "simulator only")


def test_bytes(lab: Cryostat) -> None:
    lab.device.set_point_k()
    (_, question), (_, reply) = lab.wire.log[-2:]
    asked = json.loads(question)
    number = asked["id"]
    method = f"{SAMPLE}.getSetPoint"
    assert (
        question
        == (
            f'{{"jsonrpc": "2.0", "method": "{method}", "params": [], "id": {number}, "api": 2}}'
        ).encode()
    )
    assert reply == f'{{"jsonrpc": "2.0", "id": {number}, "result": [0, 295.0]}}\r\n'.encode()


def test_follows_a_set_point(lab: Cryostat) -> None:
    assert lab.device.temperature_k() == pytest.approx(295.0, abs=0.1)
    lab.device.set_set_point_k(290.0)
    assert lab.microscope.thermostat.set_point_k == 290.0
    assert lab.device.set_point_k() == 290.0
    lab.microscope.clock.wait(65.0)
    assert lab.device.temperature_k() == pytest.approx(290.0, abs=0.1)


@pytest.mark.parametrize("kelvin", [1.9, 321.0, float("nan"), -300.0])
def test_limits_of_the_profile(lab: Cryostat, kelvin) -> None:
    before = len(lab.wire.log)
    assert "outside the limits of the profile (2 to 320 K)" in lab.refused(kelvin)
    assert len(lab.wire.log) == before, "nothing was sent"


def test_limits_of_the_instrument(lab: Cryostat) -> None:
    assert "refused setSetPoint[5.0]: Value out of range (error 10)" in lab.refused(5.0)
    assert lab.device.set_point_k() == 295.0


@pytest.mark.parametrize(
    ("fault", "words"), [case[1:] for case in WIRE_FAULTS], ids=[case[0] for case in WIRE_FAULTS]
)
def test_wire_faults(lab: Cryostat, fault, words) -> None:
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


def test_unplugged_and_gone(lab: Cryostat) -> None:
    lab.microscope.thermostat.unplug()
    assert SILENT in lab.failed()
    assert SILENT in told(lambda: opened(lab.served, lab.microscope))
    lab.microscope.thermostat.plug_in()
    assert lab.device.temperature_k() == pytest.approx(295.0, abs=0.1)
    lab.served.stop()
    assert LOST in lab.failed()


def test_heater_fault(lab: Cryostat) -> None:
    lab.microscope.thermostat.fail_heater()
    assert "temperature control of the sample is off, although it was on" in lab.failed()
    assert "refused startTempControl: Hardware not available (error 9)" in lab.refused(290.0)
    lab.microscope.thermostat.repair_heater()
    lab.device.set_set_point_k(290.0)
    assert 280.0 < lab.device.temperature_k() < 296.0


def test_control_that_was_off_is_left_off_until_a_set_point(lab: Cryostat) -> None:
    lab.device._call(f"{SAMPLE}.stopTempControl")
    device = opened(lab.served, lab.microscope)
    lab.microscope.clock.wait(60.0)
    assert device.temperature_k() < 294.0
    assert lab.microscope.thermostat.set_point_k < 10.0
    device.set_set_point_k(290.0)
    assert lab.microscope.thermostat.set_point_k == 290.0
    device.close()


def test_another_firmware(lab: Cryostat) -> None:
    text = told(lambda: lab.device._call("com.attocube.nothing"))
    assert "does not know com.attocube.nothing" in text
    assert "newer attoDRY800" in text
