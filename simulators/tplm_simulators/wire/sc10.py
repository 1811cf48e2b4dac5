"""Thorlabs SC10 shutter controller speaking its RS-232 command line.

Only the manual mode moves the blade as it should; the other modes can be set and are otherwise
not simulated.
"""

import threading
from dataclasses import dataclass
from typing import Any

from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.shutter import Shutter
from tplm_simulators.wire import Lines, Served, WireServer

IDENTITY = "THORLABS SC10 VERSION 1.07"
UNKNOWN = "Command error CMD_NOT_DEFINED"
OUT_OF_RANGE = "Command error CMD_ARG_INVALID"


class Controller:
    """One SC10 and its shutter, whoever is connected to it.

    Parameters
    ----------
    shutter
        Its head.

    Attributes
    ----------
    parameters : dict
        What can be set and asked for, with the range of each: operating mode, trigger, times.
    """

    def __init__(self, shutter: Shutter) -> None:
        self._shutter = shutter
        self._lock = threading.Lock()
        self._is_enabled = False
        self._is_tripped = False
        self.parameters = {"mode": 1, "trig": 0, "xto": 0, "rep": 1, "open": 100, "shut": 100}
        self._ranges = {
            "mode": (1, 5), "trig": (0, 1), "xto": (0, 1), "rep": (1, 99),
            "open": (1, 999_999), "shut": (1, 999_999),
        }  # fmt: skip

    def trip_interlock(self) -> None:
        """Open the interlock circuit: the shutter closes and stays so."""
        with self._lock:
            self._is_tripped, self._is_enabled = True, False
            self._shutter.set_open(False)

    def reset_interlock(self) -> None:
        """Close the interlock circuit; the shutter has to be opened again."""
        with self._lock:
            self._is_tripped = False

    def answer(self, command: str) -> str | None:
        """Echo the command, then its answer if it has one; nothing if the plug is pulled."""
        with self._lock:
            try:
                is_closed = not self._shutter.is_open()
                answer = self._carry_out(command, is_closed)
            except VirtualFault:
                return None
        return command if answer is None else f"{command}\r{answer}"

    def _carry_out(self, command: str, is_closed: bool) -> str | None:
        name, _, value = command.partition("=")
        match command:
            case "":
                return None
            case "id?":
                return IDENTITY
            case "ens":
                self._is_enabled = not self._is_enabled and not self._is_tripped
                self._shutter.set_open(self._is_enabled)
                return None
            case "ens?":
                return str(int(self._is_enabled))
            case "closed?":
                return str(int(is_closed))
            case "interlock?":
                return str(int(self._is_tripped))
            case _ if command.endswith("?") and command[:-1] in self.parameters:
                return str(self.parameters[command[:-1]])
            case _ if name in self.parameters:
                lowest, highest = self._ranges[name]
                if not (value.isdecimal() and lowest <= int(value) <= highest):
                    return OUT_OF_RANGE
                self.parameters[name] = int(value)
                return None
            case _:
                return UNKNOWN


@dataclass(frozen=True)
class ServedSc10(Served):
    """A running controller.

    Attributes
    ----------
    controller
        For faults of the instrument itself.
    """

    controller: Controller | None = None


def serve(settings: Any, microscope: VirtualMicroscope, role: str) -> ServedSc10:
    """Start the controller of the microscope's shutter."""
    controller = Controller(microscope.shutter)
    server = WireServer(lambda: Lines(controller.answer, reply_end=b"\r> ", line_end=b"\r"))
    return ServedSc10(
        settings=settings.model_copy(update={"port": f"socket://{server.address}"}),
        stop=server.stop,
        servers=(server,),
        controller=controller,
    )
