"""An attocube ANC300 with stepping positioners under the sample.

It counts no steps and knows no positions: ``stepu 1 200`` makes 200 steps upwards on axis 1, each
as long as the settings say at the voltage that the settings say, and in proportion at others. An
axis at the end of its travel steps on the spot, and nobody is told. On TCP the first line is the
password; nothing else is answered before it is right.
"""

import math
from dataclasses import dataclass

from tplm_config.devices import Anc300Stage
from tplm_simulators.clock import SimulatedClock
from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Lines, Served, WireServer
from tplm_simulators.wire._axes import Axes

VERSION = "attocube ANC300 controller version 1.1.0-1304 2013-10-17 08:16"
SERIAL_NUMBER = "ANC300B-C-1514-3006076"


class Refused(Exception):  # noqa: N818 - it is the controller's word
    """What the controller says before ``ERROR``."""


@dataclass
class Module:
    """One axis module and the positioner on it."""

    axes: Axes
    number: int
    clock: SimulatedClock
    step_um: float
    nominal_v: float
    mode: str = "gnd"
    voltage_v: float = 20.0
    frequency_hz: int = 1000
    begin_s: float = -math.inf
    begin_um: float = 0.0
    steps: float = 0.0

    def is_stepping(self) -> bool:
        """Whether steps are left to do; a positioner that is stuck makes no difference."""
        under_way = self.axes.is_moving(self.number) and not self.axes.is_stalled(self.number)
        return self._passed_steps() < abs(self.steps) or under_way

    def step(self, steps: float) -> None:
        """Begin to step; the virtual stage covers the way at its own speed."""
        self.stop()
        self.begin_um = self.axes.position_um(self.number)
        self.begin_s, self.steps = self.clock.now_s(), steps
        self._go(steps)

    def stop(self) -> None:
        """Stay where the steps have come to."""
        if self.is_stepping():
            self._go(math.copysign(min(self._passed_steps(), abs(self.steps)), self.steps))
        self.steps = 0.0

    def _passed_steps(self) -> float:
        passed_s = self.clock.now_s() - self.begin_s
        return math.floor(passed_s * self.frequency_hz) if math.isfinite(passed_s) else math.inf

    def _go(self, steps: float) -> None:
        lower_um, upper_um = self.axes.limits_um
        way_um = steps * self.step_um * self.voltage_v / self.nominal_v
        self.axes.move({self.number: min(max(self.begin_um + way_um, lower_um), upper_um)})


class Controller:
    """The state that all connections share.

    Parameters
    ----------
    modules
        By the number of their slot.
    """

    def __init__(self, modules: dict[int, Module]) -> None:
        self._modules = modules

    def answer(self, line: str) -> str | None:
        """The whole reply to a line, or None if the stage is dead."""
        try:
            for module in self._modules.values():
                module.axes.position_um(module.number)  # the plug is the controller's as well
            text = self._carry_out(line.split())
        except VirtualFault:
            return None
        except (Refused, ValueError) as refused:
            return f"{refused}\r\nERROR"
        return f"{text}\r\nOK" if text else "OK"

    def _carry_out(self, words: list[str]) -> str:
        match words:
            case ["echo", "on" | "off"]:
                return ""
            case ["ver"]:
                return VERSION
            case ["getcser"]:
                return SERIAL_NUMBER
            case [name, slot, *values]:
                if not slot.isdigit() or int(slot) not in self._modules:
                    raise Refused("Wrong axis type")
                return self._of_axis(self._modules[int(slot)], name, values)
        raise Refused("Unknown command")

    def _of_axis(self, module: Module, name: str, values: list[str]) -> str:
        match name, values:
            case "getser", []:
                return f"ANM150A-M-{3000 + module.number}"
            case "getm", []:
                return f"mode = {module.mode}"
            case "setm", ["gnd" | "stp" as mode]:
                module.stop()
                module.mode = mode
            case "getv", []:
                return f"voltage = {module.voltage_v:.6f} V"
            case "setv", [value] if 0 <= float(value) <= 150:
                module.voltage_v = float(value)
            case "getf", []:
                return f"frequency = {module.frequency_hz} Hz"
            case "setf", [value] if 1 <= int(value) <= 10_000:
                module.frequency_hz = int(value)
            case "geto", []:
                return f"voltage = {module.voltage_v * module.is_stepping():.6f} V"
            case (("stepu" | "stepd"), [count]):
                if module.mode != "stp":
                    raise Refused("Axis in wrong mode")
                steps = math.inf if count == "c" else float(int(count))
                module.step(steps if name == "stepu" else -steps)
            case "stop", []:
                module.stop()
            case _:
                raise Refused("Wrong parameter")
        return ""


class Connection:
    """One connection, which begins with the password.

    Parameters
    ----------
    controller
        Behind it.
    password
        The right one.
    """

    def __init__(self, controller: Controller, password: str) -> None:
        self._controller = controller
        self._password = password
        self._let_in = False
        self._lines = Lines(self._answer)

    def receive(self, data: bytes) -> list[bytes]:
        """Answer every whole line."""
        return self._lines.receive(data)

    def _answer(self, line: str) -> str | None:
        if self._let_in:
            return self._controller.answer(line)
        self._let_in = line == self._password
        return "Authorization success" if self._let_in else "Authorization code:"


def serve(settings: Anc300Stage, microscope: VirtualMicroscope, role: str) -> Served:
    """Serve the controller over TCP."""
    axes = Axes(microscope, role)
    slots = (settings.x_axis, settings.y_axis, settings.z_axis)
    modules = {
        slot: Module(axes, number, microscope.clock, settings.step_um, settings.voltage_v)
        for number, slot in enumerate(slots)
    }
    controller = Controller(modules)
    server = WireServer(lambda: Connection(controller, settings.password))
    changed = settings.model_copy(update={"port": server.address})
    return Served(changed, server.stop, (server,))
