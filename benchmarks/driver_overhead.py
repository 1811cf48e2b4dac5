"""What each driver costs beside the bare library that exchanges the same messages.

Every driver is opened against the simulator of its instrument. Then its role call and the bare
call of the library below it take turns in short blocks on the same open connection; before that
both are seen to send the same number of bytes, or to call the same C functions. Time is per role
call; the ratio is the median over the pairs of blocks, with its quartiles, so that a busy machine
is fair to both sides. Driver and simulator share one core (where the system allows it): across
two, what a connection happens to cost depends on where its threads wake up, and that differs by
more than any driver. ``--latency-ms`` lets the simulators answer later, as any real link does.

    python benchmarks/driver_overhead.py                       without and with 1 ms of latency
    python benchmarks/driver_overhead.py --latency-ms 0 5      other latencies
    python benchmarks/driver_overhead.py --rounds 200 --only zaber lakeshore335
    python benchmarks/driver_overhead.py --profile attodry800  where the time of its call goes

A few bare sides do not run on the driver's own connection but on a second one to the same
simulator: where the driver replaces the TCP code of a library, or is a client of its own, a second
row compares it with the library's own code, or with a plain socket.
"""

import argparse
import cProfile
import gc
import itertools
import json
import os
import pstats
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ctypes import byref, c_int, c_ubyte
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from lakeshore import Model335
from zaber_motion import Units

from tplm_config import load_profile
from tplm_config.devices import (
    Anc300Stage,
    Anc350Stage,
    AttoDry800,
    KinesisStage,
    KinesisWheel,
    LakeShore335,
    Montana,
    Pdl800d,
    PicoQuant,
    PiStage,
    Pm100,
    Sc10,
    Sepia2,
    SuperK,
    ZaberStage,
)
from tplm_config.simulation import SimulationSettings
from tplm_drivers import RoleName
from tplm_drivers.connect import open_device
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import Served, WireFault, serve

SPEED = 50.0
"""Simulated seconds per real second; homing takes its time before anything is measured."""
TARGET = 1.2
BLOCK_S = 6e-3
WARM_UP_S = 0.1
AXIS = "={zero_um=12500,travel_um=[0,25000]}"
WHEEL = "position_deg,transmission\n0,1\n75,0.1\n150,0.01\n300,0.0001\n"
PROFILE = load_profile("simulated", (f"detector_stage.x{AXIS}", f"detector_stage.y{AXIS}"))

Call = Callable[[], object]


class Pair(NamedTuple):
    """A role call and the bare call below it."""

    call: str
    driver: Call
    bare: Call
    note: str = ""


@dataclass
class Rig:
    """An open driver and the simulator behind it."""

    device: Any
    served: Served
    latency_s: float

    def delay(self) -> None:
        """Let every reply come later from now on."""
        if not self.latency_s:
            return
        late = WireFault("late", replies=None, delay_s=self.latency_s)
        for server in self.served.servers:
            server.fail(late)
        if hasattr(self.served.library, "bulk_read"):  # a USB of PyUSB
            self.served.library.fail(WireFault("late", 200_000, self.latency_s))
        elif hasattr(self.served.library, "calls"):
            self.served.library.calls = SlowList(self.latency_s)

    def traffic(self, call: Call) -> tuple[object, ...]:
        """What a call sends: bytes on each wire, or functions of the C library."""
        call()
        logs: list[list[Any]] = [server.log for server in self.served.servers]
        if hasattr(self.served.library, "log"):
            logs.append(self.served.library.log)
        before = [len(log) for log in logs]
        called = getattr(self.served.library, "calls", [])
        called_before = len(called)
        call()
        sent = [
            sum(len(data) for way, data in log[start:] if way == "<")
            for log, start in zip(logs, before, strict=True)
        ]
        return (*sent, *called[called_before:])


class SlowList(list[Any]):
    """Takes its time for each entry: a C library notes every call in a list before it answers."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self._delay_s = delay_s

    def append(self, entry: Any) -> None:
        """Wait, then append."""
        time.sleep(self._delay_s)
        super().append(entry)


# -- the pairs: one function for each driver ----------------------------------------------------


def kinesis(at: Rig) -> Iterator[Pair]:
    """Two controllers, one question to each."""
    motors = [motor.library for motor in at.device.motors]
    pair = Pair(
        "position_um",
        at.device.position_um,
        lambda: [motor.get_position() * 1e6 for motor in motors],
    )
    yield from without_pause(pair, motors)


def kinesis_wheel(at: Rig) -> Iterator[Pair]:
    """Status and position of one controller."""
    motor = at.device.motor.library
    pair = Pair(
        "transmission",
        at.device.transmission,
        lambda: (set(motor.get_status()), motor.get_position()),
        "the driver also checks the status and looks the angle up in the calibration",
    )
    yield from without_pause(pair, [motor])
    yield Pair(
        "position_deg", at.device.position_deg, pair.bare, "so too, and not looked up in the table"
    )


def without_pause(pair: Pair, motors: list[Any]) -> Iterator[Pair]:
    """The same, then without the library's pause of 3 ms after each message."""
    yield pair
    for motor in motors:
        motor.instr.setup_cooldown(write=0)
    yield pair._replace(note="with the library's pause of 3 ms after each message left out")


def zaber(at: Rig) -> Iterator[Pair]:
    """Two devices, one question to each."""
    x, y = at.device._axes
    yield Pair(
        "position_um",
        at.device.position_um,
        lambda: (x.get_position(Units.NATIVE), y.get_position(Units.NATIVE)),
    )


def pi(at: Rig) -> Iterator[Pair]:
    """One question for both axes, and one for errors."""
    controller, names = at.device._device, at.device._names
    yield Pair("position_um", at.device.position_um, lambda: controller.qPOS(names))


def anc300(at: Rig) -> Iterator[Pair]:
    """It reads no positions: one question that shows whether it is there."""
    controller, slot = at.device._device, at.device._slots[0]
    yield Pair(
        "position_um",
        at.device.position_um,
        lambda: controller.get_mode(slot),
        "the driver also reckons the steps made",
    )


def anc350(at: Rig) -> Iterator[Pair]:
    """Three axes, one question to each."""
    controller, axes = at.device._device, at.device._axes
    yield Pair(
        "position_um",
        at.device.position_um,
        lambda: [controller.get_position(axis) for axis in axes],
    )


def lakeshore335(at: Rig) -> Iterator[Pair]:
    """One line that asks for temperature and faults."""
    line = "KRDG? A;RDGST? A;HTRST? 1;RANGE? 1"

    def asked(library: Any) -> tuple[float, list[int]]:
        kelvin, *states = library.query(line).split(";")
        return float(kelvin), [int(state) for state in states]

    driver = at.device.temperature_k
    yield Pair("temperature_k", driver, partial(asked, at.device.library), "the same line, parsed")
    host, _, port = at.served.servers[0].address.rpartition(":")
    own = Model335(57600, ip_address=host, tcp_port=int(port), timeout=2.0)
    try:
        yield Pair(
            "temperature_k",
            driver,
            partial(asked, own),
            "against the library's own TCP code, which hangs when the connection closes",
        )
    finally:
        own.disconnect_tcp()


def montana_older(at: Rig) -> Iterator[Pair]:
    """Alarm and temperature, one question each."""
    client, driver = at.device._link, at.device.temperature_k

    def asked() -> tuple[bool, float]:
        alarm = client.ask(b"03GAS", prefixed)[2:].decode("ascii") == "T"
        return alarm, float(client.ask(b"03GPT", prefixed)[2:].decode("ascii"))

    yield Pair("temperature_k", driver, asked, "our own client; bare is its exchange, parsed")
    with plain_socket(at) as plain:

        def plainly() -> tuple[bool, float]:
            plain.sendall(b"03GAS")
            alarm = plain.recv(4096)[2:].decode("ascii") == "T"
            plain.sendall(b"03GPT")
            return alarm, float(plain.recv(4096)[2:].decode("ascii"))

        yield Pair("temperature_k", driver, plainly, "against a plain socket that checks nothing")


def montana_newer(at: Rig) -> Iterator[Pair]:
    """One property, over a connection of its own on either side."""
    path = "/v1/sampleChamber/temperatureControllers/platform/thermometer/properties/sample"
    place = at.device._place

    def asked() -> float:
        connection = HTTPConnection(*place, timeout=2.0)
        connection.request("GET", path)
        reply = json.loads(connection.getresponse().read())
        connection.close()
        return float(reply["sample"]["temperature"])

    yield Pair(
        "temperature_k",
        at.device.temperature_k,
        asked,
        "our own client; bare is http.client and json, each with a new connection",
    )


def attodry800(at: Rig) -> Iterator[Pair]:
    """Temperature and control status, one question each."""
    client, driver, numbers = at.device._link, at.device.temperature_k, at.device._numbers
    methods = [
        f"com.attocube.cryostat.interface.sample.{name}"
        for name in ("getTemperature", "getTempControlStatus")
    ]

    def asked(exchange: Callable[[bytes], bytes]) -> list[object]:
        values = []
        for method in methods:
            request = {
                "jsonrpc": "2.0", "method": method, "params": [], "id": next(numbers), "api": 2,
            }  # fmt: skip
            values.append(json.loads(exchange(json.dumps(request).encode()))["result"][1])
        return values

    yield Pair(
        "temperature_k",
        driver,
        partial(asked, lambda question: client.ask(question, line_length)),
        "our own client; bare is its exchange with json",
    )
    with plain_socket(at) as plain:

        def plainly(question: bytes) -> bytes:
            plain.sendall(question)
            return plain.recv(4096)

        yield Pair(
            "temperature_k",
            driver,
            partial(asked, plainly),
            "against a plain socket with json that checks nothing",
        )


def superk(at: Rig) -> Iterator[Pair]:
    """One register."""
    bus = at.device.bus
    yield Pair("emission", at.device.emission, lambda: bus.ib_get_reg(15, 0x66, "u16") & 1)


def sepia2(at: Rig) -> Iterator[Pair]:
    """One C function."""
    function, slot = at.served.library.SEPIA2_SCM_GetLaserLocked, at.device._safety_slot

    def asked() -> bool:
        locked = c_ubyte()
        return function(0, slot, byref(locked)) == 0 and not locked.value

    yield Pair("emission", at.device.emission, asked, "C function; the simulator is Python behind")


def pdl800d(at: Rig) -> Iterator[Pair]:
    """One query of the generator."""
    generator = at.device.line.instrument
    yield Pair("emission", at.device.emission, lambda: bool(generator.output))


def pm100(at: Rig) -> Iterator[Pair]:
    """One query of the power meter."""
    meter = at.device.line.instrument
    yield Pair("power_nw", at.device.power_nw, lambda: meter.power * 1e9)


def sc10(at: Rig) -> Iterator[Pair]:
    """One query over pyserial."""
    port = at.device.port

    def asked() -> bool:
        port.write(b"closed?\r")
        return b"0" in port.read_until(b"> ")

    yield Pair(
        "is_open",
        at.device.is_open,
        asked,
        "our own client; bare is pyserial, without the driver's emptying of its buffer",
    )


def picoquant(at: Rig) -> Iterator[Pair]:
    """One C function."""
    function = at.served.library.TH260_GetCountRate

    def asked() -> float:
        rate = c_int()
        return float(rate.value) if function(0, 0, byref(rate)) == 0 else -1.0

    yield Pair(
        "count_rate_hz",
        at.device.count_rate_hz,
        asked,
        "C function; the simulator is Python behind",
    )


# the address of each is taken over by its simulator
DRIVERS: dict[str, tuple[RoleName, Any, Callable[[Rig], Iterator[Pair]]]] = {
    "kinesis": ("detector_stage", KinesisStage(x_port="COM3", y_port="COM4"), kinesis),
    "kinesis-wheel": (
        "attenuator",
        KinesisWheel(port="COM5"),
        kinesis_wheel,
    ),
    "zaber": ("detector_stage", ZaberStage(port="COM3", home_um=0.0), zaber),
    "pi": ("detector_stage", PiStage(port="COM3"), pi),
    "anc300": ("sample_stage", Anc300Stage(port="192.168.1.1:7230"), anc300),
    "anc350": ("sample_stage", Anc350Stage(), anc350),
    "lakeshore335": ("temperature", LakeShore335(port="COM3"), lakeshore335),
    "montana older": ("temperature", Montana(host="x", generation="older"), montana_older),
    "montana newer": ("temperature", Montana(host="x", generation="newer"), montana_newer),
    "attodry800": ("temperature", AttoDry800(host="x"), attodry800),
    "superk": ("laser", SuperK(port="COM9"), superk),
    "sepia2": ("laser", Sepia2(), sepia2),
    "pdl800d": ("laser", Pdl800d(generator="USB0::0x0957::0x2807::MY5::INSTR"), pdl800d),
    "pm100": ("power_meter", Pm100(resource="USB0::0x1313::0x8078::P5::INSTR"), pm100),
    "sc10": ("shutter", Sc10(port="COM7"), sc10),
    "picoquant": ("card", PicoQuant(), picoquant),
}


def prefixed(reply: bytes) -> int | None:
    """Length of a reply of the older Cryostation."""
    return 2 + int(reply[:2]) if len(reply) >= 2 else None


def line_length(reply: bytes) -> int | None:
    """Length of a reply of the attoDRY800."""
    end = reply.find(b"\r\n")
    return None if end < 0 else end + 2


@contextmanager
def plain_socket(at: Rig) -> Iterator[socket.socket]:
    """A second connection to the simulator."""
    host, _, port = at.served.servers[0].address.rpartition(":")
    with socket.create_connection((host, int(port)), 2.0) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield plain


@contextmanager
def rig(name: str, latency_s: float) -> Iterator[Rig]:
    """Serve the instrument and open its driver."""
    role, settings, _ = DRIVERS[name]
    microscope = VirtualMicroscope(SimulationSettings(), OpticsSettings(), RunningClock(SPEED))
    with ExitStack() as stack:
        if isinstance(settings, KinesisWheel):
            calibration = Path(stack.enter_context(TemporaryDirectory())) / "wheel.csv"
            calibration.write_text(WHEEL, encoding="utf-8")
            settings = settings.model_copy(update={"calibration": str(calibration)})
        served = serve(settings, microscope, role)
        stack.callback(served.stop)
        device: Any = open_device(role, served.settings, PROFILE, microscope.clock, served.library)
        stack.callback(device.close)
        yield Rig(device, served, latency_s)


# -- measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """Times per call, and their ratio with its quartiles."""

    driver_us: float
    bare_us: float
    ratio: tuple[float, float, float]


def block_s(call: Call, times: int) -> float:
    """Mean time of a call in one block."""
    start_s = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start_s) / times


def compared(pair: Pair, rounds: int) -> Result:
    """Let both take turns, each going first in every other round."""
    times, spent_s = 0, -time.perf_counter()
    while spent_s + time.perf_counter() < WARM_UP_S:
        pair.driver()
        pair.bare()
        times += 1
    calls = max(3, round(times * BLOCK_S / WARM_UP_S))
    blocks: dict[Call, list[float]] = {pair.driver: [], pair.bare: []}
    order = (pair.driver, pair.bare)
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for call in order if turn % 2 else reversed(order):
                blocks[call].append(block_s(call, calls))
    finally:
        gc.enable()
    driver_s, bare_s = blocks[pair.driver], blocks[pair.bare]
    ratios = [one / other for one, other in zip(driver_s, bare_s, strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    return Result(
        statistics.median(driver_s) * 1e6, statistics.median(bare_s) * 1e6, (lower, middle, upper)
    )


def table(names: list[str], latency_ms: float, rounds: int) -> None:
    """Measure and print."""
    print(f"\n{latency_ms:g} ms of latency in every reply")
    head = f"{'driver':15}{'call':15}{'driver µs':>10}{'bare µs':>10}{'ratio':>8}"
    print(f"{head}{'quartiles':>15}  note")
    for name in names:
        with rig(name, latency_ms / 1e3) as at:
            pairs = DRIVERS[name][2](at)
            first = next(pairs)
            same = at.traffic(first.driver), at.traffic(first.bare)
            if same[0] != same[1]:
                raise SystemExit(f"{name}: driver and bare call do not send the same: {same}")
            at.delay()
            for pair in itertools.chain([first], pairs):
                result = compared(pair, rounds)
                lower, ratio, upper = result.ratio
                print(
                    f"{name:15}{pair.call:15}{result.driver_us:10.1f}{result.bare_us:10.1f}"
                    f"{ratio:7.2f}{'!' if ratio > TARGET else ' '}"
                    f"{f'{lower:.2f} to {upper:.2f}':>15}  {pair.note}",
                    flush=True,
                )


def where_time_goes(name: str) -> None:
    """Print a profile of the role call."""
    with rig(name, 0.0) as at:
        pair = next(DRIVERS[name][2](at))
        profile = cProfile.Profile()
        profile.runcall(block_s, pair.driver, 2000)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Compare every driver, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--only", nargs="+", choices=DRIVERS, default=list(DRIVERS))
    parser.add_argument("--profile", choices=DRIVERS)
    chosen = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if chosen.profile is not None:
        where_time_goes(chosen.profile)
        return
    for latency_ms in chosen.latency_ms:
        table(chosen.only, latency_ms, chosen.rounds)
    print(f"\n! more than {TARGET:g} times the bare call")


if __name__ == "__main__":
    main()
