"""The Lake Shore 335 driver, through Lake Shore's library, against the simulated instrument."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest
import serial

from tests.wire.cryostats import TIMEOUT_S, WIRE_FAULTS, Cryostat, cryostat, opened, sent, told
from tplm_config.devices import LakeShore335 as Settings
from tplm_drivers.lakeshore335 import LakeShore335Controller
from tplm_simulators.wire import Lines, WireFault
from tplm_simulators.wire.lakeshore335 import LakeShore335

SETTINGS = Settings(port="COM3", timeout_s=TIMEOUT_S)


@pytest.fixture
def lab() -> Iterator[Cryostat]:
    with cryostat(SETTINGS) as lab:
        yield lab


def at_the_panel(lab: Cryostat, command: str) -> None:
    """What somebody does at the instrument itself."""
    host, port = lab.wire.address.split(":")
    with socket.create_connection((host, int(port)), 1) as panel:
        panel.sendall(f"{command};*OPC?\n".encode())
        assert panel.recv(100)


def test_library(lab: Cryostat) -> None:
    assert isinstance(lab.device, LakeShore335Controller)
    assert type(lab.device.library).__module__.startswith("lakeshore.")


def test_identity(lab: Cryostat) -> None:
    identity = lab.device.identify()
    assert (identity.model, identity.serial_number) == ("LSCI MODEL335", "335A1B2")
    assert (identity.firmware, identity.checked_against) == ("1.3", "simulator only")
    assert sent(lab.wire, b"*IDN?\n") == b"LSCI,MODEL335,335A1B2/#######,1.3\r\n"


def test_bytes(lab: Cryostat) -> None:
    lab.device.set_set_point_k(295.0)
    lab.device.temperature_k()
    assert sent(lab.wire, b"SETP 1,295.0;*ESR?\n") == b"000\r\n"
    assert sent(lab.wire, b"RANGE 1,3;*ESR?\n") == b"000\r\n"
    assert sent(lab.wire, b"RAMP 1,1,10.0;*ESR?\n") == b"000\r\n"
    reply = sent(lab.wire, b"KRDG? A;RDGST? A;HTRST? 1;RANGE? 1;*ESR?\n")
    assert reply.startswith(b"+29")
    assert reply.endswith(b";000;0;3;000\r\n")


def test_ramp(lab: Cryostat) -> None:
    thermostat = lab.microscope.thermostat
    assert lab.device.temperature_k() == pytest.approx(lab.truth_k, abs=0.1)
    lab.device.set_set_point_k(290.0)
    assert thermostat.set_point_k == 290.0
    assert thermostat.ramp_k_per_min == 10.0
    lab.microscope.clock.wait(6.0)
    assert 290.5 < lab.device.set_point_k() < 294.1, "on its way"
    lab.microscope.clock.wait(65.0)
    assert lab.device.set_point_k() == 290.0
    assert lab.device.temperature_k() == pytest.approx(290.0, abs=0.1)


def test_no_ramp() -> None:
    with cryostat(SETTINGS.model_copy(update={"ramp_k_per_min": 0.0}), lag_s=1.0) as lab:
        lab.device.set_set_point_k(100.0)
        assert lab.device.set_point_k() == 100.0
        lab.microscope.clock.wait(20.0)
        assert lab.device.temperature_k() == pytest.approx(100.0, abs=0.1)


@pytest.mark.parametrize(("name", "number"), [("low", 1), ("medium", 2), ("high", 3)])
def test_control_settings(name, number) -> None:
    settings = SETTINGS.model_copy(
        update={"heater_range": name, "pid": (60.0, 30.0, 0.0), "output": 2, "sensor": "B"}
    )
    with cryostat(settings) as lab:
        lab.device.set_set_point_k(290.0)
        assert lab.device.library.get_heater_range(2) == number
        assert lab.device.library.get_heater_pid(2) == {
            "gain": 60.0,
            "integral": 30.0,
            "derivative": 0.0,
        }
        assert lab.microscope.thermostat.set_point_k == 290.0


def test_ramp_begins_at_the_sample_when_the_heater_was_off(lab: Cryostat) -> None:
    at_the_panel(lab, "RANGE 1,0")
    lab.microscope.clock.wait(60.0)
    cold_k = lab.truth_k
    assert cold_k < 290.0
    lab.device.set_set_point_k(300.0)
    assert lab.device.set_point_k() == pytest.approx(cold_k, abs=1.0), "not 295 K, the old one"


@pytest.mark.parametrize("kelvin", [1.9, 351.0, float("nan"), float("inf"), -300.0])
def test_limits_of_the_profile(lab: Cryostat, kelvin) -> None:
    before = len(lab.wire.log)
    assert "outside the limits of the profile (2 to 350 K)" in lab.refused(kelvin)
    assert len(lab.wire.log) == before, "nothing was sent"


def test_limit_of_the_instrument(lab: Cryostat) -> None:
    text = lab.refused(330.0)
    assert "refused: Execution Error" in text
    assert "330 K may be beyond what its sensor curve allows" in text
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
    assert lab.microscope.thermostat.set_point_k == 280.0


def test_unplugged(lab: Cryostat) -> None:
    lab.microscope.thermostat.unplug()
    assert "does not answer within 0.3 s" in lab.failed()
    lab.microscope.thermostat.plug_in()
    assert lab.device.temperature_k() == pytest.approx(295.0, abs=0.1)


def test_gone(lab: Cryostat) -> None:
    lab.served.stop()
    assert "was lost or could not be made" in lab.failed()


def test_heater_fault(lab: Cryostat) -> None:
    lab.device.set_set_point_k(290.0)
    lab.microscope.thermostat.fail_heater()
    assert "heater output 1 reports an open load and has switched itself off" in lab.failed()
    assert "heater output 1 is off, although it was on" in lab.failed(), "told until it is mended"
    lab.device.set_set_point_k(290.0)
    assert "reports an open load" in lab.failed()
    lab.microscope.thermostat.repair_heater()
    lab.device.set_set_point_k(290.0)
    assert 280.0 < lab.device.temperature_k() < 296.0


def test_heater_switched_off_by_somebody(lab: Cryostat) -> None:
    at_the_panel(lab, "RANGE 1,0")
    assert "heater output 1 is off, although it was on" in lab.failed()


def test_sensor_fault(lab: Cryostat) -> None:
    at_the_panel(lab, "INTYPE A,0,0,0,0,1")
    assert "sensor at input A gives no valid reading (invalid reading)" in lab.failed()
    at_the_panel(lab, "INTYPE A,1,1,0,0,1")
    assert lab.device.temperature_k() == pytest.approx(295.0, abs=0.1)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("INTYPE A,1,1,0,0,2", "input A is set to celsius, so set points are not in kelvin"),
        ("OUTMODE 1,1,2,0", "output 1 is set to closed loop with channel b"),
        ("OUTMODE 1,3,1,0", "output 1 is set to open loop with channel a"),
    ],
)
def test_refuses_an_instrument_set_up_otherwise(lab: Cryostat, command, words) -> None:
    at_the_panel(lab, command)
    assert words in told(lambda: opened(lab.served, lab.microscope))


def test_open_with_nobody_there(lab: Cryostat) -> None:
    lab.microscope.thermostat.unplug()
    assert "does not answer within 0.3 s" in told(lambda: opened(lab.served, lab.microscope))
    text = told(lambda: opened(lab.served, lab.microscope, port="no-such-port"))
    assert "the connection to the Lake Shore 335 at no-such-port was lost" in text


def test_garbled_at_open(lab: Cryostat) -> None:
    lab.wire.fail(WireFault("garbled"))
    assert "makes no sense" in told(lambda: opened(lab.served, lab.microscope))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_serial_port(lab: Cryostat, monkeypatch) -> None:
    ours, theirs = os.openpty()
    lines = Lines(LakeShore335(lab.microscope, "A", 1).answer)

    def answer() -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while True:
                for reply in lines.receive(os.read(ours, 4096)):
                    os.write(ours, reply)

    asked = []

    def open_port(port, *line, **times) -> serial.Serial:
        asked.append((line, times))
        return real(port, line[0], **times)  # a pseudo-terminal has no parity

    real = serial.Serial
    with monkeypatch.context() as patch:
        patch.setattr(serial, "Serial", open_port)
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        device = opened(lab.served, lab.microscope, port=os.ttyname(theirs))
        assert asked[0] == ((57600, 7, "O", 1), {"timeout": 0.3, "write_timeout": 0.3})
        assert device.identify().model == "LSCI MODEL335"
        assert device.temperature_k() == pytest.approx(295.0, abs=0.1)
        lab.microscope.thermostat.unplug()
        assert "does not answer within 0.3 s" in told(device.temperature_k)
        lab.microscope.thermostat.plug_in()
        assert device.temperature_k() == pytest.approx(295.0, abs=0.1)
        device.close()
    os.close(theirs)
    thread.join(5)
    assert not thread.is_alive()
    os.close(ours)


@pytest.mark.skipif(sys.platform == "win32", reason="pyserial raises its own there")
def test_port_without_parity(lab: Cryostat, monkeypatch) -> None:
    import termios

    def open_port(*_, **__) -> None:
        raise termios.error(22, "Invalid argument")

    monkeypatch.setattr(serial, "Serial", open_port)
    text = told(lambda: opened(lab.served, lab.microscope, port="/dev/ttyUSB0"))
    assert "Invalid argument" in text


def test_port_unplugged_in_mid_reading(lab: Cryostat, monkeypatch) -> None:
    class Port:
        def __init__(self, *_, **__) -> None:
            self.reset_input_buffer = self.close = lambda: None

        def write(self, _) -> None:
            raise serial.SerialException("ClearCommError failed")

    monkeypatch.setattr(serial, "Serial", Port)
    text = told(lambda: opened(lab.served, lab.microscope, port="COM3"))
    assert "the connection to the Lake Shore 335 at COM3 was lost" in text
