"""Thorlabs SC10 shutter controller, over its RS-232 command line.

The controller echoes each command, answers, and shows its prompt: ``ens?`` CR gives
``ens?`` CR ``1`` CR ``> ``. `ens` toggles, so it is sent only when `ens?` differs from what is
wanted, and what became of the blade is read back.
"""

import serial

from tplm_config import InstrumentProfile
from tplm_config.devices import Sc10 as Settings
from tplm_drivers._serial import close_port
from tplm_drivers._translate import told
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity, RoleName

PROMPT = b"> "
MANUAL_MODE = "1"
INTERNAL_TRIGGER = "0"


class Sc10:
    """The shutter.

    Parameters
    ----------
    settings
        Of the profile.
    role
        Which role it plays.
    clock
        For the time the blade needs.
    """

    def __init__(self, settings: Settings, role: RoleName, clock: Clock) -> None:
        self._settings = settings
        self._role = role
        self._clock = clock
        self._told = told(role, timeout_s=settings.timeout_s, address=settings.port)
        self._is_out_of_step = True  # whatever was in the line before
        with self._told:
            self.port = serial.serial_for_url(
                settings.port,
                baudrate=settings.baud,
                timeout=settings.timeout_s,
                write_timeout=settings.timeout_s,
            )
        try:
            self.identify()
            # in the other modes, and with an external trigger, the blade moves by itself
            if self._ask("mode?") != MANUAL_MODE:
                self._ask(f"mode={MANUAL_MODE}")
            if self._ask("trig?") != INTERNAL_TRIGGER:
                self._ask(f"trig={INTERNAL_TRIGGER}")
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Ask the controller; it does not tell its serial number."""
        text = self._ask("id?")
        name, _, firmware = text.partition(" VERSION ")
        if not name.endswith("SC10"):
            raise DeviceError(
                self._role,
                f"what answers at {self._settings.port} says it is {text!r}, not an SC10",
                "check the port in the profile",
            )
        return Identity("Thorlabs SC10", "", firmware)

    def close(self) -> None:
        """Let go of the port."""
        close_port(self.port)

    def is_open(self) -> bool:
        """Whether light can pass, by the sensor at the blade."""
        return not self._flag("closed?")

    def set_open(self, open_: bool) -> None:
        """Open or close; returns when the blade has had its time and its sensor agrees."""
        if open_ and self._flag("interlock?"):
            raise DeviceError(
                self._role,
                "will not open: its interlock is tripped",
                "close the interlock circuit at the back of the SC10",
            )
        if self._flag("ens?") != open_:
            self._ask("ens")
            self._clock.wait(self._settings.travel_s)
            if self._flag("ens?") != open_:
                raise self._disobeyed(open_, "the controller did not take the command")
        if self.is_open() != open_:
            in_time = f"within {self._settings.travel_s:g} s"
            raise self._disobeyed(open_, f"the blade did not move {in_time}")

    def _disobeyed(self, open_: bool, why: str) -> DeviceError:
        if open_:
            return DeviceError(self._role, f"did not open: {why}", "look at the SC10 and its head")
        return DeviceError(self._role, f"did not close: {why}", "block the beam by hand")

    def _flag(self, query: str) -> bool:
        answer = self._ask(query)
        if answer not in ("0", "1"):
            with self._told:
                raise ValueError(f"{query} was answered with {answer!r}")
        return answer == "1"

    def _ask(self, command: str) -> str:
        """Send a command or query; gives what stands between its echo and the prompt."""
        with self._told:
            if self._is_out_of_step:
                self._fall_in_step()
            self._is_out_of_step = True
            answer = self._exchange(command)
            self._is_out_of_step = False
        if "error" in answer.lower():
            raise DeviceError(
                self._role, f"refused {command}: {answer}", "check that it is an SC10"
            )
        return answer

    def _exchange(self, command: str) -> str:
        self.port.reset_input_buffer()
        self.port.write(command.encode() + b"\r")
        return self._answer_to(command, self._until_prompt())

    def _until_prompt(self) -> bytes:
        reply: bytes = self.port.read_until(PROMPT)
        if not reply:
            raise TimeoutError
        if not reply.endswith(PROMPT):
            raise ValueError(f"{reply!r} without a prompt")
        return reply

    @staticmethod
    def _answer_to(command: str, reply: bytes) -> str:
        echo, *lines = reply.removesuffix(PROMPT).decode("ascii").strip().split("\r")
        if echo.strip() != command:
            raise ValueError(f"{reply!r} does not begin with {command!r}")
        return " ".join(line.strip() for line in lines).strip()

    def _fall_in_step(self) -> None:
        """Drop replies that came too late: whatever comes before the identity asked for now."""
        self.port.reset_input_buffer()
        self.port.write(b"id?\r")
        while not self._until_prompt().lstrip().startswith(b"id?"):
            pass


def open_device(
    *,
    role: RoleName,
    settings: Settings,
    profile: InstrumentProfile,
    clock: Clock,
    library: object = None,
) -> Sc10:
    """Open the shutter's controller; the blade stays as it is."""
    return Sc10(settings, role, clock)
