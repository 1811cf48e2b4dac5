"""What a scan file holds, and under which names."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import ScanPlan

FORMAT = "tplm-scan/1"
VISITS = "entry/visits"
COUNTS = f"{VISITS}/counts"
CRC = f"{VISITS}/crc"
T_NS = "entry/t_ns"
JOURNAL = "entry/journal"
DATA = "entry/data"
ANALYSES = "entry/analyses"
PLAN = "entry/configuration/plan"
PROFILE = "entry/configuration/profile"

FLAGS = ("overflow", "sync-lost", "fifo-full", "count-rate-limit", "system-error")
"""Meaning of the bits in the column ``flags``, lowest first; the next bit means any other."""

KINDS = ("map", "reference", "background", "irf")
"""Meaning of the numbers in the column ``kind``."""


@dataclass(frozen=True, slots=True)
class Column:
    """One value of every visit.

    Attributes
    ----------
    planned : bool
        Known from the plan, and so written once when the file is made; otherwise measured,
        written with each row, and covered by the row's CRC.
    """

    name: str
    dtype: str
    units: str
    meaning: str
    planned: bool = False


COLUMNS = (
    Column("kind", "<u1", "", f"what the counts are for: {', '.join(KINDS)} = 0, 1, 2, 3", True),
    Column("pass_index", "<i4", "", "which pass; -1 outside the passes", True),
    Column("position_index", "<i4", "", "which place of the map; -1 if none", True),
    Column("x_um", "<f8", "um", "place in the sample plane", True),
    Column("y_um", "<f8", "um", "place in the sample plane", True),
    Column("dwell_s", "<f8", "s", "counting time planned", True),
    Column("started_s", "<f8", "s", "start of counting since the scan began"),
    Column("live_s", "<f8", "s", "time really counted"),
    Column("stage_x_um", "<f8", "um", "detector stage, image plane, read back"),
    Column("stage_y_um", "<f8", "um", "detector stage, image plane, read back"),
    Column("sync_rate_hz", "<f8", "Hz", "pulses per second"),
    Column("count_rate_hz", "<f8", "Hz", "highest detector rate during the dwell"),
    Column("temperature_k", "<f8", "K", "temperature read back; NaN without a thermometer"),
    Column("power_nw", "<f8", "nW", "nominal power read back; NaN without a power meter"),
    Column("flags", "<u4", "", f"bits, lowest first: {', '.join(FLAGS)}, other"),
)
MEASURED = tuple(column for column in COLUMNS if not column.planned)


def planned_columns(plan: ScanPlan) -> dict[str, NDArray[Any]]:
    """The columns that follow from a plan, one value per visit."""
    visits = list(plan.visits())
    values: dict[str, list[Any]] = {"kind": [KINDS.index(visit.kind) for visit in visits]}
    return {
        column.name: np.asarray(
            values.get(column.name) or [getattr(visit, column.name) for visit in visits],
            dtype=column.dtype,
        )
        for column in COLUMNS
        if column.planned
    }


def flag_bits(flags: frozenset[str]) -> int:
    """Flags as a bit field."""
    bits = sum(1 << i for i, name in enumerate(FLAGS) if name in flags)
    return bits | (1 << len(FLAGS) if flags - set(FLAGS) else 0)


def flag_names(bits: int) -> frozenset[str]:
    """Names of the flags in a bit field."""
    return frozenset(name for i, name in enumerate((*FLAGS, "other")) if bits >> i & 1)


def row_crc(measured: bytes, counts: bytes) -> int:
    """Checksum of one row; never 0, which means that the row does not exist."""
    return zlib.crc32(counts, zlib.crc32(measured)) or 1


def measured_bytes(values: dict[str, Any]) -> list[bytes]:
    """The measured columns of a row as they stand in the file, in the order of `MEASURED`."""
    return [np.asarray(values[column.name], dtype=column.dtype).tobytes() for column in MEASURED]
