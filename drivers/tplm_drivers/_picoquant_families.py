"""What differs between the PicoQuant card families: prefixes, signatures, limits, error codes."""

from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_int,
    c_uint,
    c_uint32,
)
from dataclasses import dataclass, field
from typing import Any

MODE_HISTOGRAM, MODE_T3 = 0, 3
DEVICES = range(8)
WARM_UP_S = 0.2
"""Time the rate meters need after new settings; the vendor asks for 100 to 200 ms."""
ACQUISITION_S = (1e-3, 360_000.0)
"""Shortest and longest measurement of every card: 1 ms and 100 h."""
MARKER_HOLDOFF_NS = 10_000
"""After a marker the same input is deaf for so long: ringing edges are one marker, not several."""

Signature = tuple[Any, ...]
_INT, _REAL = POINTER(c_int), POINTER(c_double)
_SIGNATURES: dict[str, Signature] = {
    "GetLibraryVersion": (c_char_p,),
    "GetErrorString": (c_char_p, c_int),
    "OpenDevice": (c_int, c_char_p),
    "CloseDevice": (c_int,),
    "Initialize": (c_int, c_int),
    "GetHardwareInfo": (c_int, c_char_p, c_char_p, c_char_p),
    "GetBaseResolution": (c_int, _REAL, _INT),
    "GetNumOfInputChannels": (c_int, _INT),
    "SetSyncDiv": (c_int, c_int),
    "SetSyncChannelOffset": (c_int, c_int),
    "SetInputChannelOffset": (c_int, c_int, c_int),
    "SetInputChannelEnable": (c_int, c_int, c_int),
    "SetStopOverflow": (c_int, c_int, c_uint),
    "SetHistoLen": (c_int, c_int, _INT),
    "SetBinning": (c_int, c_int),
    "SetOffset": (c_int, c_int),
    "GetResolution": (c_int, _REAL),
    "GetSyncRate": (c_int, _INT),
    "GetCountRate": (c_int, c_int, _INT),
    "ClearHistMem": (c_int,),
    "StartMeas": (c_int, c_int),
    "CTCStatus": (c_int, _INT),
    "StopMeas": (c_int,),
    "GetHistogram": (c_int, POINTER(c_uint32), c_int),
    "GetElapsedMeasTime": (c_int, _REAL),
    "GetFlags": (c_int, _INT),
    "SetMarkerHoldoffTime": (c_int, c_int),
    "SetMarkerEdges": (c_int, c_int, c_int, c_int, c_int),
    "SetMarkerEnable": (c_int, c_int, c_int, c_int, c_int),
    "ReadFiFo": (c_int, POINTER(c_uint32), _INT),
}
_CFD: dict[str, Signature] = {
    "SetSyncCFD": (c_int, c_int, c_int),
    "SetInputCFD": (c_int, c_int, c_int, c_int),
}
_EDGE: dict[str, Signature] = {
    "SetSyncEdgeTrg": (c_int, c_int, c_int),
    "SetInputEdgeTrg": (c_int, c_int, c_int, c_int),
}
_REFERENCE: dict[str, Signature] = {"Initialize": (c_int, c_int, c_int)}
"""Here the source of the reference clock is named: 0, the card's own."""
_CLEARING: dict[str, Signature] = {"GetHistogram": (c_int, POINTER(c_uint32), c_int, c_int)}
"""Here reading may clear: 0, it does not."""
_COUNTING: dict[str, Signature] = {"ReadFiFo": (c_int, POINTER(c_uint32), c_int, _INT)}
"""Here the most records to read are asked for."""
_CALIBRATING: dict[str, Signature] = {"Calibrate": (c_int,)}
_PICOHARP_300: dict[str, Signature] = {
    "SetInputCFD": (c_int, c_int, c_int, c_int),
    "SetSyncOffset": (c_int, c_int),
    "SetStopOverflow": (c_int, c_int, c_int),
    "ClearHistMem": (c_int, c_int),
}
_NOT_PICOHARP_300 = {
    "GetNumOfInputChannels", "SetSyncChannelOffset", "SetInputChannelOffset",
    "SetInputChannelEnable", "SetHistoLen", "GetSyncRate",
}  # fmt: skip

_OVERFLOW, _FIFO = (0x0001, "overflow"), (0x0002, "fifo-full")
_SYNC, _REFERENCE_LOST = (0x0004, "sync-lost"), (0x0008, "reference-lost")
_SYSTEM = (0x0010, "system-error")
_DROPPED = (0x0040, "count-rate-limit")


@dataclass(frozen=True, slots=True)
class Discriminator:
    """What an input accepts as a threshold, in millivolts as on the oscilloscope.

    Attributes
    ----------
    level_mv : tuple of int
        Lowest and highest threshold.
    zero_mv : tuple of int or None
        Lowest and highest zero crossing of a constant-fraction discriminator; None for an edge
        trigger.
    magnitudes : bool
        The library wants negative voltages without their sign.
    """

    level_mv: tuple[int, int]
    zero_mv: tuple[int, int] | None = None
    magnitudes: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """What is peculiar to one family of cards and its library.

    Attributes
    ----------
    name : str
        What the vendor calls the cards.
    prefix : str
        Start of the name of every function.
    needs : str
        Library and version with these signatures.
    windows : str
        File name of the library.
    linux : tuple of str
        Name of its folder, which is also its system-wide name, and its file name in that folder.
    signatures : dict
        Types of the arguments of every function, by its name without the prefix.
    base_resolutions_ps : tuple of float
        Of the models sold; the card tells its own.
    lengths : tuple of int
        Lengths a histogram can have; more than one where there is `SetHistoLen`.
    first_length_code : int
        Code of the first of them.
    max_inputs : int
        Most detector inputs of a model.
    counter_max : int
        Most counts in one bin.
    max_sync_divider : int
        Largest divider of the sync input.
    max_offset : int
        Largest offset of the first bin, in its unit.
    offset_unit_ps : int
        Unit of the offset.
    cfd, edge : Discriminator or None
        The discriminators; a family has one, or both.
    flags : tuple
        Bits of `GetFlags`, and what they are called in a scan file.
    tells_sync_loss, tells_sync_loss_t3 : bool
        Whether there is a flag for it in histogram and in T3 mode; otherwise the sync rate is
        watched.
    record_types : dict
        Layout of the T3 records, as in a .ptu file, by the end of the model's name.
    fifo_records : int
        How many records the card holds.
    read_records : int
        Most records of one read; its buffer must have this size.
    """

    name: str
    prefix: str
    needs: str
    windows: str
    linux: tuple[str, str]
    signatures: dict[str, Signature]
    base_resolutions_ps: tuple[float, ...]
    lengths: tuple[int, ...]
    max_inputs: int
    first_length_code: int = 0
    counter_max: int = 2**32 - 1
    max_sync_divider: int = 8
    max_offset: int = 100_000_000
    offset_unit_ps: int = 1000
    cfd: Discriminator | None = None
    edge: Discriminator | None = None
    flags: tuple[tuple[int, str], ...] = (_OVERFLOW, _FIFO, _SYNC, _REFERENCE_LOST, _SYSTEM)
    tells_sync_loss: bool = True
    tells_sync_loss_t3: bool = True
    record_types: dict[str, int] = field(default_factory=lambda: {"": 0x00010307})
    fifo_records: int = 2**27
    read_records: int = 2**20

    @property
    def counts_reads(self) -> bool:
        """Whether `ReadFiFo` is told how many records to read."""
        return len(self.signatures["ReadFiFo"]) == len(_COUNTING["ReadFiFo"])


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="TimeHarp 260",
            prefix="TH260_",
            needs="TH260Lib 3.1",
            windows="th260lib64.dll",
            linux=("th260", "th260lib.so"),
            signatures=_SIGNATURES | _CFD | _EDGE | _CLEARING | _COUNTING,
            base_resolutions_ps=(25.0, 250.0),  # PICO, NANO
            lengths=tuple(1024 << code for code in range(6)),
            max_inputs=2,
            cfd=Discriminator((-1200, 0), (-40, 0)),  # PICO
            edge=Discriminator((-1200, 1200)),  # NANO
            flags=(
                _OVERFLOW, _FIFO, _SYNC, (0x0008, "count-rate-limit"), _SYSTEM,
                (0x0020, "system-error"),
            ),
            tells_sync_loss=False,  # the flag is raised in T3 mode only
            record_types={"N": 0x00010305, "": 0x00010306},
            fifo_records=2**21,
            read_records=2**17,
        ),
        Family(
            name="PicoHarp 300",
            prefix="PH_",
            needs="PHLib 3.0",
            windows="phlib64.dll",
            linux=("ph300", "phlib.so"),
            signatures={
                name: arguments
                for name, arguments in (
                    _SIGNATURES | _COUNTING | _CALIBRATING | _PICOHARP_300
                ).items()
                if name not in _NOT_PICOHARP_300
            },
            base_resolutions_ps=(4.0,),
            lengths=(65536,),
            max_inputs=1,  # a router makes them four, and is not served here
            counter_max=2**16 - 1,
            max_offset=1_000_000_000,
            offset_unit_ps=1,
            cfd=Discriminator((-800, 0), (-20, 0), magnitudes=True),
            flags=((0x0040, "overflow"), (0x0003, "fifo-full"), (0x0100, "system-error")),
            tells_sync_loss=False,
            tells_sync_loss_t3=False,
            record_types={"": 0x00010303},
            fifo_records=2**18,
            read_records=2**17,
        ),
        Family(
            name="PicoHarp 330",
            prefix="PH330_",
            needs="PH330Lib 2.0",
            windows="PH330Lib.dll",
            linux=("ph330", "ph330lib.so"),
            signatures=_SIGNATURES | _CFD | _EDGE | _REFERENCE | {
                "SetSyncTrgMode": (c_int, c_int),
                "SetInputTrgMode": (c_int, c_int, c_int),
            },
            base_resolutions_ps=(1.0,),
            lengths=tuple(1024 << code for code in range(2, 10)),
            first_length_code=2,  # taken to be as in the MultiHarp
            max_inputs=4,
            cfd=Discriminator((-1500, 0), (-100, 0)),
            edge=Discriminator((-1500, 1500)),
            flags=(
                _OVERFLOW, _FIFO, _SYNC, _REFERENCE_LOST, _SYSTEM, _DROPPED,
                (0x0080, "system-error"),
            ),  # the FIFO is taken to be at least that of the MultiHarp
        ),
        Family(
            name="HydraHarp 400",
            prefix="HH_",
            needs="HHLib 3.0",
            windows="hhlib64.dll",
            linux=("hh400", "hhlib.so"),
            signatures=_SIGNATURES | _CFD | _REFERENCE | _CLEARING | _CALIBRATING | _COUNTING,
            base_resolutions_ps=(1.0,),
            lengths=tuple(1024 << code for code in range(7)),
            max_inputs=8,
            max_sync_divider=16,
            max_offset=500_000,
            cfd=Discriminator((-1000, 0), (-40, 0), magnitudes=True),
            record_types={"": 0x01010304},
            fifo_records=2**21,
            read_records=2**17,
        ),
        Family(
            name="MultiHarp 150/160",
            prefix="MH_",
            needs="MHLib 3.0",
            windows="mhlib64.dll",
            linux=("mh150", "mhlib.so"),
            signatures=_SIGNATURES | _EDGE | _REFERENCE,
            base_resolutions_ps=(5.0, 10.0, 80.0),
            lengths=tuple(1024 << code for code in range(2, 7)),
            first_length_code=2,  # GetHistogram does not work below
            max_inputs=64,
            max_sync_divider=16,
            edge=Discriminator((-1200, 1200)),
            flags=(_OVERFLOW, _FIFO, _SYNC, _REFERENCE_LOST, _SYSTEM, _DROPPED),
        ),
    )
}  # fmt: skip
"""Every family, by the name its settings have."""

NO_DEVICE = -1
_BUSY = "the card is in use by another program", "close PicoQuant's own and any other program"
_MISMATCH = (
    "the card, its driver and the library do not belong together",
    "install driver and library from the same PicoQuant package",
)
_LOST = "the connection to the card was lost", "check its cable and its power, then connect again"
MEANINGS: dict[int, tuple[str, str]] = {
    NO_DEVICE: ("no card answers", "check its cable, its power and PicoQuant's device driver"),
    -2: _BUSY,
    -9: _MISMATCH,
    -10: ("the card is no longer open", "connect again"),
    -11: _BUSY,
    -12: _MISMATCH,
    -16: ("the card is measuring", "stop the measurement first"),
    -17: ("the card refuses a setting", "change it to what the card allows"),
    -18: ("the card cannot do this mode", "ask PicoQuant for the option of time-tagged modes"),
    -22: ("the card is not initialised", "connect again"),
    -23: ("the card is not calibrated", "connect again"),
    -24: _LOST,
    -33: _MISMATCH,
    -36: _LOST,
    -37: _LOST,
    -46: ("the card could not be calibrated", "let it warm up, then connect again"),
}
"""What the commonest errors mean and what helps; the numbers are the same in every family."""
