"""Writing T3 records as .ptu files, which PicoQuant's software and ptufile open.

A file holds one measurement or several, one after another. Its header tells of whole ones only,
at any moment: what a killed program leaves behind is what was ended before.
"""

import os
import struct
import uuid
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tplm_config import InputError
from tplm_daq.store.files import sync_data, sync_folder, write_at
from tplm_daq.t3.decoder import T3_FORMATS, T3Format
from tplm_daq.t3.tags import BINS, LIVE, MAGIC, OFFSET, encode_tag

_RECORDS = "TTResult_NumberOfRecords"
_TIMES = ("MeasDesc_AcquisitionTime", "TTResult_StopAfter")
_VALUE_AT = 40
"""Where in a tag its value is."""
_MARKER = 1


@dataclass(frozen=True, slots=True)
class PtuHeader:
    """What the header of a .ptu file tells of its measurements.

    Attributes
    ----------
    record_type : int
        Layout of the records, a key of `T3_FORMATS`.
    time_bin_ps : float
        Width of a time bin.
    sync_rate_hz : float
        Rate at the sync input, divider undone.
    bins : int or None
        Time bins to keep when the file is read by this program; None: one sync period.
    offset_ns : float
        Time between the sync and the first bin.
    sync_divider : int
        Divider of the sync input.
    binning_factor : int
        Time bin in units of the card's base resolution.
    channel : int
        Input of the detector as the records number it, from 0.
    device_model, device_serial : str
        Who the card said it is.
    comment : str
        In words.
    created : datetime or None
        When the first measurement began, in local time; None: when the file is made.
    """

    record_type: int
    time_bin_ps: float
    sync_rate_hz: float
    bins: int | None = None
    offset_ns: float = 0.0
    sync_divider: int = 1
    binning_factor: int = 1
    channel: int = 0
    device_model: str = ""
    device_serial: str = ""
    comment: str = ""
    created: datetime | None = None

    def tags(self) -> dict[str, object]:
        """Tags in the order of the file."""
        bin_s = self.time_bin_ps * 1e-12
        ours: dict[str, object] = {OFFSET: float(self.offset_ns), LIVE: 0.0}
        if self.bins is not None:
            ours[BINS] = self.bins
        return {
            "File_GUID": f"{{{str(uuid.uuid4()).upper()}}}",
            "File_AssuredContent": f"{self.device_model or 'unknown'}: HWSETG SWSETG BINDAT",
            "File_CreatingTime": self.created or datetime.now().astimezone().replace(tzinfo=None),
            "File_Comment": self.comment,
            "Measurement_Mode": 3,
            "Measurement_SubMode": 1,  # a point, integrated
            "CreatorSW_Name": "tplm-daq",
            "CreatorSW_Version": version("tplm-daq"),
            "HW_Type": self.device_model,
            "HW_SerialNo": self.device_serial,
            "HW_InpChannels": self.channel + 2,  # the sync input is one of them
            "HW_BaseResolution": bin_s / self.binning_factor,
            "HWSync_Divider": self.sync_divider,
            "MeasDesc_BinningFactor": self.binning_factor,
            "MeasDesc_Offset": round(self.offset_ns),
            "MeasDesc_Resolution": bin_s,
            "MeasDesc_GlobalResolution": 1 / self.sync_rate_hz,
            **dict.fromkeys(_TIMES, 0),
            "TTResult_SyncRate": round(self.sync_rate_hz),
            _RECORDS: 0,
            "TTResultFormat_TTTRRecType": self.record_type,
            "TTResultFormat_BitsPerRecord": 32,
            **ours,
            "Header_End": None,
        }


class PtuWriter:
    """Writes a .ptu file, measurement by measurement.

    Where a measurement follows another, an overflow record moves the sync count, which begins at
    0 again in every measurement, to the next multiple of the overflow period, and a marker (bit 1)
    tells where it begins. The file is open only while a measurement is being written.

    Parameters
    ----------
    path : Path
        File to make.
    header : PtuHeader
        Of all its measurements.

    Raises
    ------
    InputError
        If the file exists.
    OSError
        If it cannot be made.
    """

    def __init__(self, path: Path, header: PtuHeader) -> None:
        self.path = path
        self._format = T3_FORMATS[header.record_type]
        self._value_at: dict[str, int] = {}
        data = bytearray(MAGIC[".ptu"] + b"1.0.00\0\0")
        for name, value in header.tags().items():
            self._value_at[name] = len(data) + _VALUE_AT
            data += encode_tag(name, value)
        self._begin = self._whole = self._end = len(data)
        """Offsets in the file: of the records, behind the whole ones, behind the last one."""
        self._starts_at = 0
        """Sync count of the file at which the running measurement begins."""
        self._live_s = 0.0
        self.measurements = 0
        """Whole ones in the file."""
        self._separated = True
        self._fd: int | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(path, flags, 0o666)
        except FileExistsError:
            raise InputError(path, "the file exists already", "choose another name") from None
        try:
            write_at(fd, 0, bytes(data))
            sync_data(fd)
        finally:
            os.close(fd)
        sync_folder(path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, records: NDArray[np.uint32]) -> None:
        """Append records of the running measurement.

        Raises
        ------
        OSError
            If the disk does not take all of them; the measurement can then only be discarded.
        """
        fd = self._open()
        if not self._separated:
            self._append(fd, separator(self._format))
            self._separated = True
        self._append(fd, records)

    def end_measurement(self, sync_count: int, live_s: float) -> int:
        """End the running measurement; when this returns, it is safe.

        Parameters
        ----------
        sync_count : int
            Number of the last sync pulse its records tell of, as in `T3Decoder`.
        live_s : float
            How long it counted.

        Returns
        -------
        int
            Sync count of the file at which it begins.

        Raises
        ------
        OSError
            If the disk does not take it; it can then only be discarded.
        """
        self.write(np.empty(0, dtype=np.uint32))  # one without photons has its place too
        fd = self._open()
        # on the disk before the header tells of them
        sync_data(fd)
        self._tell(fd, self._end, self._live_s + live_s)
        sync_data(fd)
        self._whole = self._end
        self.measurements += 1
        self._live_s += live_s
        began_at = self._starts_at
        turns = (sync_count >> self._format.nsync_bits) + 1
        self._starts_at += turns << self._format.nsync_bits
        self._separated = False
        self._let_go()
        return began_at

    def discard_measurement(self) -> None:
        """Cut off the running measurement, if there is one.

        Raises
        ------
        OSError
            If that fails; the header does not tell of it in any case.
        """
        if self._fd is None:
            return
        try:
            self._tell(self._fd, self._whole, self._live_s)
            os.ftruncate(self._fd, self._whole)
            self._end = self._whole
            self._separated = self.measurements == 0
        finally:
            self._let_go()

    def close(self) -> None:
        """Let go of the file; a measurement that was not ended is discarded."""
        self.discard_measurement()

    def _open(self) -> int:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        return self._fd

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, fd: int, records: NDArray[np.uint32]) -> None:
        # little-endian and contiguous as they come from a card: nothing is copied then
        data = np.ascontiguousarray(records, dtype="<u4").view(np.uint8).data
        write_at(fd, self._end, data)  # type: ignore[arg-type] # takes any buffer
        self._end += data.nbytes

    def _tell(self, fd: int, end: int, live_s: float) -> None:
        """Bring the header up to date; the number of records, which readers trust, comes last."""
        write_at(fd, self._value_at[LIVE], struct.pack("<d", live_s))
        milliseconds = round(live_s * 1e3)
        values = {**dict.fromkeys(_TIMES, milliseconds), _RECORDS: (end - self._begin) // 4}
        for name, value in values.items():
            write_at(fd, self._value_at[name], struct.pack("<q", value))


def separator(record_format: T3Format) -> NDArray[np.uint32]:
    """Records between two measurements: an overflow, then a marker at its sync count."""
    picoharp = record_format.nsync_bits == 16
    marker = (15 << 28 | _MARKER << 16) if picoharp else (1 << 31 | _MARKER << 25)
    return np.array([*overflows(record_format, 1), marker], dtype=np.uint32)


def overflows(record_format: T3Format, count: int) -> NDArray[np.uint32]:
    """Overflow records that move the sync count on by `count` overflow periods."""
    one = record_format.overflow_code << record_format.overflow_shift
    if not record_format.overflow_counted:
        return np.full(count, one, dtype=np.uint32)
    most = (1 << record_format.nsync_bits) - 1
    full, rest = divmod(count, most)
    return np.array([one | most] * full + [one | rest] * (rest > 0), dtype=np.uint32)
