"""Thorlabs Kinesis stepper controllers (KST101), through pylablib.

A reading is the position of the actuator as its controller reports it, from 0 at home to its
length; where the optical axis lies is `zero_um` of the profile.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from pylablib.devices.Thorlabs import KinesisMotor
from pylablib.devices.Thorlabs.base import ThorlabsError

from tplm_config import InstrumentProfile
from tplm_config.devices import KinesisStage
from tplm_drivers._serial import close_port
from tplm_drivers._translate import told
from tplm_drivers._travel import no_faster, refuse_beyond
from tplm_drivers.clock import Clock
from tplm_drivers.roles import DeviceError, Identity, RoleName

UM_PER_M = 1e6
LENGTHS_UM = {
    "ZFS25B": 25e3,
    "ZFS13B": 13e3,
    "ZFS06B": 6e3,
    "ZST225B": 25e3,
    "ZST213B": 13e3,
    "ZST206B": 6e3,
}
"""Travel of each actuator; the controller itself does not know it."""
POLL_S = 0.05
GRACE_S = 0.5
"""Time a controller may take to report that it moves, or its position to settle."""
FAULTS = {
    "motion_error": "lost steps",
    "overtemp": "is too hot",
    "volt_supply_fault": "has too low a supply voltage",
    "overcurrent": "draws too much current",
    "encoder_fault": "has a fault in its encoder",
    "error": "reports an error",
}
"""Bits of the status word after which the position cannot be relied on."""
MOVING = {"moving_fw", "moving_bk", "jogging_fw", "jogging_bk", "homing"}
LIMITS = {"hw_fw_lim", "hw_bk_lim", "sw_fw_lim", "sw_bk_lim"}


class Motor:
    """One motor on its own controller.

    Parameters
    ----------
    role
        Which role it plays, or plays a part in.
    name
        What the operator calls it.
    port
        A serial port or ``socket://host:port``.
    scale
        Name of the actuator, which makes the library count in metres, or steps per unit.
    unit
        Of the positions.
    units_per_scale
        Positions for one unit of the library.
    tolerance
        A move has arrived when the read-back is this close to the target.
    timeout_s
        For each reply; while opening the library takes its own, 3 s.
    clock
        Device time.
    """

    def __init__(
        self,
        role: RoleName,
        name: str,
        port: str,
        *,
        scale: str | float,
        unit: Literal["µm", "°"],
        units_per_scale: float,
        tolerance: float,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self._role = role
        self._name = name
        self._unit = unit
        self._factor = units_per_scale
        self._tolerance = tolerance
        self._clock = clock
        self._has_reference = False
        self._is_out_of_step = False
        self._lowest = 0.0
        self._backlash = 0.0
        self._is_from_below = False
        self._legs: list[float] = []
        self._leg_started_s = 0.0
        # the library takes a short message for a long one (AttributeError) if a bit is flipped
        self._told = told(
            role,
            ThorlabsError,
            UserWarning,
            AttributeError,
            advice="check which controller and actuator are connected",
            timeout_s=timeout_s,
            address=f"the {name} at {port}",
        )
        with self._told, warnings.catch_warnings():
            # of a controller it does not know the library warns, and then counts in steps
            warnings.filterwarnings("error", "can't recognize", UserWarning)
            self.library = KinesisMotor(("serial", port), scale=scale)
            self.library.instr.set_timeout(timeout_s)

    def approach_from_below(self, backlash: float, lowest: float) -> None:
        """End every move from below, as far as the travel allows.

        Parameters
        ----------
        backlash
            How much too far a move downwards goes before it comes back.
        lowest
            Lower end of the travel.
        """
        self._backlash, self._lowest = backlash, lowest
        with self._asking() as motor:
            # the controller has a correction of its own, of which nothing shows in its status
            motor.setup_gen_move(backlash_distance=0)

    def identify(self) -> Identity:
        """Ask the controller."""
        with self._asking() as motor:
            about = motor.get_device_info()
        return Identity(about.model_no, str(about.serial_no), about.fw_ver)

    def is_homed(self) -> bool:
        """Whether it knows its reference; from then on losing it is an error."""
        self._has_reference = "homed" in self._status()
        return self._has_reference

    def home(self) -> None:
        """Start looking for the reference; `is_homed` tells when it is found."""
        self._forget_move()
        self._has_reference = False
        with self._asking() as motor:
            motor.home(sync=False, force=True)

    def check(self) -> None:
        """Raise what the status word has to complain of, if anything."""
        self._status()

    def position(self) -> float:
        """Where it is, read back."""
        with self._asking() as motor:
            return float(motor.get_position()) * self._factor

    def start(self, target: float) -> None:
        """Start moving to a position; `is_moving` leads it there."""
        self._status()
        here = self.position()
        slack = 0.0 if self._is_from_below else self._backlash
        is_direct = self._backlash == 0 or target >= here + slack
        below = max(target - self._backlash, self._lowest)
        self._is_from_below = False
        self._legs = [target] if is_direct else [below, target]
        self._start_leg()

    def is_moving(self) -> bool:
        """Whether it is still on its way; starts the second leg when the first is done."""
        status = self._status()
        if status & MOVING:
            return True
        if not self._legs:
            return False
        here = self.position()
        if abs(here - self._legs[0]) > self._tolerance:
            if self._clock.now_s() - self._leg_started_s < GRACE_S:
                return True
            raise self._stopped_short(here, status)
        del self._legs[0]
        if self._legs:
            self._start_leg()
            return True
        self._is_from_below = True
        return False

    def speed(self) -> float:
        """Speed of its moves, per second, read back."""
        with self._asking() as motor:
            return float(motor.get_velocity_parameters().max_velocity) * self._factor

    def set_speed(self, speed: float) -> None:
        """Speed of the moves that follow, per second."""
        with self._asking() as motor:
            motor.setup_velocity(max_velocity=speed / self._factor)

    def stop(self) -> None:
        """Stop at once."""
        self._forget_move()
        with self._asking() as motor:
            motor.stop(immediate=True, sync=False)

    def close(self) -> None:
        """Let go of the port."""
        close_port(self.library.instr.instr)
        with suppress(ThorlabsError):  # it is gone already
            self.library.close()

    def _start_leg(self) -> None:
        with self._asking() as motor:
            motor.move_to(self._legs[0] / self._factor)
        self._leg_started_s = self._clock.now_s()

    def _forget_move(self) -> None:
        self._legs = []
        self._is_from_below = False

    def _status(self) -> set[str]:
        with self._asking() as motor:
            status = set(motor.get_status())
        for bit, words in FAULTS.items():
            if bit in status:
                self._forget_move()
                raise DeviceError(
                    self._role,
                    f"the controller of the {self._name} {words}",
                    "switch it off and on, look for an obstacle, then connect again to home it",
                )
        if self._has_reference and "homed" not in status:
            self._forget_move()
            raise DeviceError(
                self._role,
                f"the {self._name} has lost its reference, as after a power cut",
                "connect again to home it",
            )
        return status

    def _stopped_short(self, here: float, status: set[str]) -> DeviceError:
        target = self._legs[0]
        self._forget_move()
        how = "ran into its limit switch" if status & LIMITS else "stopped"
        return DeviceError(
            self._role,
            f"the {self._name} {how} at {here:.1f} {self._unit} on its way to "
            f"{target:.1f} {self._unit}",
            "look for an obstacle, check the travel in the profile, then connect again to home it",
        )

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        """The library's motor; if the last exchange failed, first back in step with it."""
        with self._told:
            if self._is_out_of_step:
                self._fall_in_step()
            self._is_out_of_step = True
            yield self.library
            self._is_out_of_step = False

    def _fall_in_step(self) -> None:
        """Drop replies that came too late: whatever arrives before the answer asked for now."""
        self.library.instr.flush_read()
        self.library.send_comm(0x0005)
        while self.library.recv_comm().messageID != 0x0006:
            pass


def home(motors: list[Motor], role: RoleName, clock: Clock, limit_s: float | None) -> list[Motor]:
    """Home those motors that do not know their reference, all at once, and wait for them.

    Parameters
    ----------
    motors
        Of one device.
    role
        Which role it plays.
    clock
        Device time.
    limit_s
        Longest time it may take; None asks for the references and homes nothing.

    Returns
    -------
    list of Motor
        Those that did not know their reference.

    Raises
    ------
    DeviceError
        If they take longer than ``limit_s``.
    """
    lost = missing = [motor for motor in motors if not motor.is_homed()]
    if limit_s is None:
        return lost
    for motor in lost:
        motor.home()
    deadline_s = clock.now_s() + limit_s
    while missing := [motor for motor in missing if not motor.is_homed()]:
        if clock.now_s() > deadline_s:
            for motor in missing:
                motor.stop()
            raise DeviceError(
                role,
                f"did not find its reference within {limit_s:g} s",
                "look for an obstacle and at the controller's display, then connect again",
            )
        clock.wait(POLL_S)
    return lost


class Stage:
    """Two actuators, each on its own controller.

    Parameters
    ----------
    settings
        Of the profile.
    role
        Which role it plays.
    profile
        For the travel.
    clock
        Device time.
    """

    def __init__(
        self, settings: KinesisStage, role: RoleName, profile: InstrumentProfile, clock: Clock
    ) -> None:
        self._role = role
        self._settings = settings
        place = profile.detector_stage
        length_um = LENGTHS_UM[settings.scale]
        self.travels_um = [
            (max(axis.travel_um[0], 0.0), min(axis.travel_um[1], length_um))
            for axis in (place.x, place.y)
        ]
        self.motors: list[Motor] = []
        self._own_um_per_s: list[float] | None = None
        try:
            for name, port in (("x axis", settings.x_port), ("y axis", settings.y_port)):
                motor = Motor(
                    role,
                    name,
                    port,
                    scale=settings.scale,
                    unit="µm",
                    units_per_scale=UM_PER_M,
                    tolerance=place.tolerance_um,
                    timeout_s=settings.timeout_s,
                    clock=clock,
                )
                self.motors.append(motor)
            for motor, (lowest_um, _) in zip(self.motors, self.travels_um, strict=True):
                motor.approach_from_below(settings.backlash_um, lowest_um)
            home(self.motors, role, clock, place.timeout_s if settings.home else None)
        except BaseException:
            self.close()
            raise

    def identify(self) -> Identity:
        """Ask both controllers."""
        x, y = (motor.identify() for motor in self.motors)
        return Identity(
            model=f"{x.model} with {self._settings.scale}",
            serial_number=f"{x.serial_number}, {y.serial_number}",
            firmware=x.firmware if x.firmware == y.firmware else f"{x.firmware}, {y.firmware}",
        )

    def close(self) -> None:
        """Let go of both controllers."""
        for motor in self.motors:
            motor.close()

    def position_um(self) -> tuple[float, ...]:
        """Positions of the actuators, from home."""
        return tuple(motor.position() for motor in self.motors)

    def move_to(self, target_um: tuple[float, ...]) -> None:
        """Start both axes; nothing moves if one of them may not go there."""
        refuse_beyond(self._role, target_um, self.travels_um)
        for motor, place_um in zip(self.motors, target_um, strict=True):
            motor.start(place_um)

    def is_moving(self) -> bool:
        """Whether any axis still moves."""
        moving = [motor.is_moving() for motor in self.motors]  # each starts its own second leg
        return any(moving)

    def set_speed_um_per_s(self, speed_um_per_s: float | None) -> None:
        """Speed of the moves that follow, the same for both axes; None is what they had."""
        if self._own_um_per_s is None:  # nobody has asked for another one yet
            self._own_um_per_s = [motor.speed() for motor in self.motors]
        speeds = self._own_um_per_s
        if speed_um_per_s is not None:
            speeds = [no_faster(self._role, speed_um_per_s, min(speeds))] * len(speeds)
        for motor, speed in zip(self.motors, speeds, strict=True):
            motor.set_speed(speed)

    def stop(self) -> None:
        """Stop both axes at once, also if one of them does not answer."""
        failures = []
        for motor in self.motors:
            try:
                motor.stop()
            except DeviceError as error:
                failures.append(error)
        if failures:
            raise failures[0]


def open_device(
    *,
    role: RoleName,
    settings: KinesisStage,
    profile: InstrumentProfile,
    clock: Clock,
    library: object = None,
) -> Stage:
    """Open the stage; axes that have lost their reference are homed, if the settings say so."""
    return Stage(settings, role, profile, clock)
