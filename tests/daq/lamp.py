"""A laser and a shutter in a process of their own, and the truth about the light.

Run by its path with the name of the laser's driver: it prints the drivers' settings, then answers
each line on its standard input with one of JSON.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from tplm_config.devices import Pdl800d, Sc10, SuperK
from tplm_config.simulation import SimulationSettings
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import serve
from tplm_simulators.wire.sc10 import ServedSc10

TIMEOUT_S = 0.5
LASERS: dict[str, Any] = {
    "pdl800d": Pdl800d(generator="TCPIP0::192.168.0.20::5025::SOCKET", timeout_s=TIMEOUT_S),
    "superk": SuperK(port="COM3", timeout_s=TIMEOUT_S),
}


class Bench:
    """A microscope whose laser and shutter hang on wires."""

    def __init__(self, laser: str = "pdl800d") -> None:
        clock = RunningClock(1)
        self.microscope = VirtualMicroscope(SimulationSettings(), OpticsSettings(), clock)
        drivers = {"laser": LASERS[laser], "shutter": Sc10(port="COM7", timeout_s=TIMEOUT_S)}
        self.served = {
            role: serve(driver, self.microscope, role) for role, driver in drivers.items()
        }

    @property
    def lit(self) -> bool:
        """Whether, in truth, light reaches the sample."""
        at = self.microscope
        return at.laser.output_nw() > 0 and at.shutter.passes_at(at.clock.now_s())

    def light(self) -> None:
        """Switch the laser on and open the shutter, as an engine would have."""
        self.microscope.laser.set_emission(True)
        shutter = self.served["shutter"]
        assert isinstance(shutter, ServedSc10)
        assert shutter.controller is not None
        shutter.controller.answer("ens")
        self.microscope.clock.wait(0.1)
        assert self.lit

    def overrides(self) -> list[str]:
        """What makes a profile use them."""
        return [
            f"{role}.driver.{key}={json.dumps(value)}"
            for role, served in self.served.items()
            for key, value in served.settings.model_dump(exclude_none=True).items()
        ]

    def close(self) -> None:
        for served in self.served.values():
            served.stop()


class Lamp:
    """The process of a bench, from outside."""

    def __init__(self, process: "Popen[str]") -> None:
        self._process = process
        self.overrides: list[str] = self._answer()

    def changes(self) -> list[tuple[float, bool]]:
        """When the light went on and off, on the computer's monotonic clock."""
        return [(at_s, lit) for at_s, lit in self._ask("light")]

    @property
    def lit(self) -> bool:
        return self.changes()[-1][1]

    def went_dark_s(self, patience_s: float) -> float:
        """Wait until it is dark, and tell since when."""
        until_s = time.monotonic() + patience_s
        while self.lit:
            assert time.monotonic() < until_s, f"still lit after {patience_s:g} s"
        return self.changes()[-1][0]

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def lamp(laser: str = "pdl800d") -> Iterator[Lamp]:
    command = [sys.executable, str(Path(__file__)), laser]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            yield Lamp(process)
        finally:
            process.kill()


def main() -> None:
    bench = Bench(sys.argv[1])
    print(json.dumps(bench.overrides()), flush=True)
    changes = [(time.monotonic(), bench.lit)]

    def look() -> None:
        while True:
            if bench.lit is not changes[-1][1]:
                changes.append((time.monotonic(), not changes[-1][1]))
            time.sleep(0.005)

    threading.Thread(target=look, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(changes), flush=True)


if __name__ == "__main__":
    main()
