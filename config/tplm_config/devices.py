"""Settings of each driver: what it is called, and how to reach the device."""

from typing import Annotated, Literal

from pydantic import Field

from tplm_config._model import Fraction, Interval, Model, NonNegativeFloat, PositiveFloat

Port = Annotated[str, Field(min_length=1, max_length=500)]
"""A serial port (``COM3``, ``/dev/ttyUSB0``) or ``socket://host:port``."""
Host = Annotated[str, Field(min_length=1, max_length=253)]
TcpPort = Annotated[int, Field(ge=1, le=65535)]
Visa = Annotated[str, Field(min_length=1, max_length=500)]
"""A VISA resource name, such as ``USB0::0x1313::0x8078::P0012345::INSTR``."""
AxisNumber = Annotated[int, Field(ge=0, le=99)]
TimeoutS = Annotated[float, Field(gt=0, le=60)]


class Simulated(Model):
    """The virtual microscope, in this process."""

    name: Literal["simulated"] = "simulated"


class KinesisStage(Model):
    """Two Thorlabs actuators, each on its own Kinesis controller (KST101 with ZFS25B)."""

    name: Literal["kinesis"] = "kinesis"
    x_port: Port
    y_port: Port
    scale: Literal["ZFS25B", "ZFS13B", "ZFS06B", "ZST225B", "ZST213B", "ZST206B"] = "ZFS25B"
    backlash_um: NonNegativeFloat = 10.0
    """Moves end from below: a move downwards goes this much too far and comes back."""
    home: bool = True
    """Home axes that have lost their reference when the profile is opened."""
    timeout_s: TimeoutS = 2.0


class ZaberStage(Model):
    """Two Zaber axes on one chain."""

    name: Literal["zaber"] = "zaber"
    port: Port
    """A serial port or ``tcp://host:port``."""
    x_address: AxisNumber = 1
    y_address: AxisNumber = 2
    """Address of each device on the chain."""
    x_axis: AxisNumber = 1
    y_axis: AxisNumber = 1
    """Axis of each device, for controllers with several."""
    microstep_um: PositiveFloat = 0.047625
    """Length of one microstep, from the stage's data sheet."""
    home_um: float = -12500.0
    """Reading at the home position, where the controller counts 0 microsteps."""
    backlash_um: NonNegativeFloat = 5.0
    """Moves end from below: a move downwards goes this much too far and comes back."""
    home: bool = True
    """Home axes that have lost their reference when the profile is opened."""
    timeout_s: TimeoutS = 2.0


class PiStage(Model):
    """PI Q-521 piezo stages on an E-873 controller, or any two axes that speak GCS 2."""

    name: Literal["pi"] = "pi"
    port: Port
    """A serial port or ``tcp://host:port``."""
    baud: int = 115200
    x_axis: str = "1"
    y_axis: str = "2"
    home: bool = True
    timeout_s: TimeoutS = 2.0


class Anc300Stage(Model):
    """attocube ANC300: stepping positioners without read-back; positions are counted steps."""

    name: Literal["anc300"] = "anc300"
    port: Port
    """``host:port`` or a serial port."""
    password: str = "123456"
    x_axis: AxisNumber = 1
    y_axis: AxisNumber = 2
    z_axis: AxisNumber = 3
    step_um: PositiveFloat = 0.1
    """Mean length of one step, as calibrated by eye."""
    voltage_v: Annotated[float, Field(gt=0, le=60)] = 30.0
    frequency_hz: Annotated[int, Field(ge=1, le=10_000)] = 500
    timeout_s: TimeoutS = 2.0


class Anc350Stage(Model):
    """attocube ANC350: positioners with read-back."""

    name: Literal["anc350"] = "anc350"
    index: Annotated[int, Field(ge=0)] = 0
    """Which of the controllers on USB."""
    x_axis: Annotated[int, Field(ge=0, le=2)] = 0
    y_axis: Annotated[int, Field(ge=0, le=2)] = 1
    z_axis: Annotated[int, Field(ge=0, le=2)] = 2
    tolerance_um: PositiveFloat = 0.5
    """A move has arrived when the read-back is this close to the target."""
    timeout_s: TimeoutS = 2.0


class LakeShore335(Model):
    """Lake Shore 335 temperature controller."""

    name: Literal["lakeshore335"] = "lakeshore335"
    port: Port
    """A serial port or ``tcp://host:port``."""
    baud: int = 57600
    sensor: Literal["A", "B"] = "A"
    output: Literal[1, 2] = 1
    heater_range: Literal["low", "medium", "high"] = "high"
    """Taken when a set point is given; until then the heater is left as it is."""
    ramp_k_per_min: Annotated[float, Field(ge=0, le=100)] = 10.0
    """0 goes to a new set point at once; the instrument takes nothing between 0 and 0.1."""
    pid: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] | None = None
    """Control parameters; None leaves what the controller has."""
    limits_k: Interval = (2.0, 350.0)
    """Lowest and highest set point allowed."""
    timeout_s: TimeoutS = 2.0


class Montana(Model):
    """Montana Instruments Cryostation."""

    name: Literal["montana"] = "montana"
    generation: Literal["older", "newer"] = "newer"
    """``older``: text over TCP 7773; ``newer``: REST over port 47101."""
    host: Host
    port: TcpPort | None = None
    """None: the generation's own."""
    thermometer: Literal["platform", "sample"] = "platform"
    """``sample``: the one beside the sample, where one is mounted (user 1 of the newer ones)."""
    limits_k: Interval = (2.0, 350.0)
    """Lowest and highest set point allowed."""
    timeout_s: TimeoutS = 5.0


class AttoDry800(Model):
    """attocube attoDRY800, newer generation (JSON-RPC over TCP)."""

    name: Literal["attodry800"] = "attodry800"
    host: Host
    port: TcpPort = 9090
    limits_k: Interval = (2.0, 320.0)
    """Lowest and highest set point allowed."""
    timeout_s: TimeoutS = 5.0


class SuperK(Model):
    """NKT SuperK Fianium with VARIA tunable filter."""

    name: Literal["superk"] = "superk"
    port: Port
    fianium_address: AxisNumber = 15
    varia_address: AxisNumber = 16
    filter_nm: tuple[PositiveFloat, PositiveFloat] = (440.0, 450.0)
    """Lower and upper edge of the VARIA."""
    power_fraction: Fraction = 1.0
    seed_rate_hz: PositiveFloat = 78.0e6
    """Repetition rate of the seed laser; the pulse picker divides it by a whole number."""
    timeout_s: TimeoutS = 2.0


class Sepia2(Model):
    """PicoQuant Sepia II (PDL 828), through the vendor's library."""

    name: Literal["sepia2"] = "sepia2"
    library: str | None = None
    """Path of the vendor's library; None looks for it where the vendor installs it."""
    device: Annotated[int, Field(ge=0, le=7)] = 0
    oscillator_slot: Annotated[int, Field(ge=0, le=1000)] = 100
    laser_slot: Annotated[int, Field(ge=0, le=1000)] = 200
    trigger_edge: Literal["rising", "falling"] = "falling"
    """Edge of the oscillator's pulses on which the laser driver fires."""
    intensity_fraction: Fraction = 0.5
    """Of the control voltage of the laser head."""
    timeout_s: TimeoutS = 2.0


class Pdl800d(Model):
    """PicoQuant PDL 800-D, which has no computer interface: a generator triggers it.

    Emission is the generator's output; the intensity dial is recorded, not set.
    """

    name: Literal["pdl800d"] = "pdl800d"
    generator: Visa
    model: Literal["Agilent33500", "Agilent33220A", "AFG3152C"] = "Agilent33500"
    amplitude_v: Annotated[float, Field(gt=0, le=5)] = 1.5
    """Peak to peak, into 50 Ω."""
    offset_v: Annotated[float, Field(ge=-2.5, le=2.5)] = 0.0
    """Middle of the square wave; the trigger level of the PDL 800-D must lie within it."""
    trigger_edge: Literal["rising", "falling"] = "rising"
    """Which edge fires the laser; reports differ between heads."""
    max_rate_hz: PositiveFloat = 40.0e6
    dial: str = ""
    """Position of the intensity dial, read by hand; kept in the file."""
    timeout_s: TimeoutS = 2.0


class KinesisWheel(Model):
    """A neutral-density wheel on a Kinesis controller, with a calibration table."""

    name: Literal["kinesis-wheel"] = "kinesis-wheel"
    port: Port
    steps_per_degree: PositiveFloat = 1137.7777777777778
    calibration: str | None = None
    """CSV table position_deg,transmission beside the profile; made by tplm calibrate."""
    home: bool = True
    timeout_s: TimeoutS = 2.0


class Pm100(Model):
    """Thorlabs PM100 power meter."""

    name: Literal["pm100"] = "pm100"
    resource: Visa
    timeout_s: TimeoutS = 2.0


class Sc10(Model):
    """Thorlabs SC10 shutter controller."""

    name: Literal["sc10"] = "sc10"
    port: Port
    baud: Literal[9600, 115200] = 9600
    travel_s: NonNegativeFloat = 0.02
    """Time the blade needs."""
    timeout_s: TimeoutS = 2.0


class PicoQuant(Model):
    """A PicoQuant TCSPC card, through the vendor's library."""

    name: Literal["picoquant"] = "picoquant"
    family: Literal[
        "TimeHarp 260", "PicoHarp 300", "PicoHarp 330", "HydraHarp 400", "MultiHarp 150/160"
    ] = "TimeHarp 260"
    library: str | None = None
    """Path of the vendor's library; None looks for it where the vendor installs it."""
    serial_number: str | None = None
    """None takes the first card that answers."""
    discriminator: Literal["cfd", "edge"] = "cfd"
    """Of the PicoHarp 330, which has both; every other card has one kind."""
    sync_level_mv: Annotated[int, Field(ge=-1500, le=1500)] = -50
    """Threshold as on the oscilloscope: negative for negative pulses, whatever the card."""
    sync_zero_mv: Annotated[int, Field(ge=-100, le=0)] = -10
    """Zero crossing, where the discriminator is a constant-fraction one."""
    sync_edge: Literal["rising", "falling"] = "falling"
    """Edge that counts, where the discriminator is an edge trigger."""
    input_level_mv: Annotated[int, Field(ge=-1500, le=1500)] = -50
    input_zero_mv: Annotated[int, Field(ge=-100, le=0)] = -10
    input_edge: Literal["rising", "falling"] = "falling"
    channel: Annotated[int, Field(ge=0, le=63)] = 0
    marker_edge: Literal["rising", "falling"] = "rising"
    """Edge of the marker inputs that counts."""
    sync_offset_ps: Annotated[int, Field(ge=-99999, le=99999)] = 0
    input_offset_ps: Annotated[int, Field(ge=-99999, le=99999)] = 0
