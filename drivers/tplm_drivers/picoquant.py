"""PicoQuant timing cards, histograms and T3: one binding for the vendor's family of libraries.

The libraries differ in their prefix, in a few signatures and in their limits, all of which stand
in `_picoquant_families`; the driver is the same for every card. Needs the vendor's 64-bit library.
"""

import math
from collections.abc import Iterator
from ctypes import (
    POINTER,
    byref,
    c_double,
    c_int,
    c_uint32,
)
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config import InstrumentProfile
from tplm_config.devices import PicoQuant
from tplm_drivers._picoquant_families import (
    ACQUISITION_S,
    DEVICES,
    MARKER_HOLDOFF_NS,
    MEANINGS,
    MODE_HISTOGRAM,
    MODE_T3,
    NO_DEVICE,
    WARM_UP_S,
    Discriminator,
)
from tplm_drivers._picoquant_library import Library, LibraryError, bind
from tplm_drivers.clock import Clock
from tplm_drivers.roles import (
    CardConfiguration,
    DeviceError,
    Histogram,
    Identity,
    StreamConfiguration,
    StreamEnd,
)


@dataclass(frozen=True, slots=True)
class Found:
    """What answered at one device number.

    Attributes
    ----------
    index : int
        Number of the device, 0 to 7.
    serial_number : str
        Empty if it could not be opened.
    error : LibraryError or None
        Why it could not.
    """

    index: int
    serial_number: str = ""
    error: LibraryError | None = None

    def __str__(self) -> str:
        """In words."""
        if self.error is not None:
            return f"device {self.index}: {self.error.happened}"
        return f"device {self.index}: serial number {self.serial_number}"


def discover(role: str, settings: PicoQuant, library: Any = None) -> tuple[Found, ...]:
    """List the cards of a family, each opened and let go again.

    Parameters
    ----------
    role : str
        Whose errors they would be.
    settings : PicoQuant
        Family, and where its library is.
    library
        Takes the place of the vendor's, in simulations.
    """
    bound = bind(role, settings, library)
    found = []
    for one in _answers(bound):
        bound.close(one.index)
        found.append(one)
    return tuple(found)


def open_device(
    *,
    role: str,
    settings: PicoQuant,
    profile: InstrumentProfile,
    clock: Clock,
    library: Any = None,
) -> "PicoQuantCard":
    """Open the card with the serial number of the settings, or the first one that answers.

    Raises
    ------
    DeviceError
        If there is no library or no such card, or if it cannot do what the settings ask for.
    """
    bound = bind(role, settings, library)
    index, serial_number = _open(bound, settings.serial_number)
    try:
        return PicoQuantCard(bound, settings, clock, index, serial_number)
    except BaseException:
        bound.close(index)
        raise


class PicoQuantCard:
    """A PicoQuant card that makes histograms of one detector input, or streams its photons.

    Only `read_records` and `is_counting` may be called by a second thread.

    Parameters
    ----------
    library : Library
        The vendor's.
    settings : PicoQuant
        Discriminators, input and cable delays.
    clock : Clock
        Device time.
    index : int
        Number of the open device.
    serial_number : str
        What it told when it was opened.
    """

    def __init__(
        self, library: Library, settings: PicoQuant, clock: Clock, index: int, serial_number: str
    ) -> None:
        self._library = library
        self._family = library.family
        self._settings = settings
        self._clock = clock
        self._index = index
        self._serial_number = serial_number
        self._counting = self._sync_lost = False
        self._flag_bits = 0
        self._settled_s: float | None = None
        self._mode: int | None = None

        self._set_mode(MODE_HISTOGRAM)
        model = self.identify().model
        base_ps, steps = c_double(), c_int()
        library.call("GetBaseResolution", index, byref(base_ps), byref(steps))
        self._base_ps, self._steps = base_ps.value, steps.value
        self._record_type = next(
            code
            for ending, code in self._family.record_types.items()
            if model.upper().endswith(ending)
        )
        self._discriminator = self._checked_discriminator(model)
        self._check_channel(model)
        self.configure(self._base_ps, 4096, 0.0, 1)

    def identify(self) -> Identity:
        """Ask the card for its model and version, and the library for its own."""
        model, _, version = self._library.texts("GetHardwareInfo", self._index, number=3)
        (of_library,) = self._library.texts("GetLibraryVersion")
        return Identity(model, self._serial_number, f"{version}, library {of_library}")

    def close(self) -> None:
        """Let go of the card; it may be gone."""
        self._library.close(self._index)

    def allowed_time_bins_ps(self) -> tuple[float, ...]:
        """Time bins the card can make, shortest first."""
        return tuple(self._base_ps * 2**step for step in range(self._steps))

    def max_bins(self) -> int:
        """Longest histogram."""
        return self._family.lengths[-1]

    def counter_max(self) -> int:
        """Most counts in one bin; a dwell ends when one is full."""
        return self._family.counter_max

    def configure(
        self, time_bin_ps: float, bins: int, offset_ns: float, sync_divider: int
    ) -> CardConfiguration:
        """Set the card up for histograms; returns what it really does.

        The offset is rounded to what the library takes: nanoseconds, or picoseconds for the
        PicoHarp 300.
        """
        binning = self._binning(time_bin_ps)
        code = self._length_code(bins)
        offset = self._offset(offset_ns)
        self._check_divider(sync_divider)
        library, index = self._library, self._index
        self._set_mode(MODE_HISTOGRAM)
        library.call("SetSyncDiv", index, sync_divider)
        self._set_inputs()
        library.call("SetStopOverflow", index, 1, self._family.counter_max)
        self._length = self._family.lengths[code]
        if library.has("SetHistoLen"):
            self._length = library.integer(
                "SetHistoLen", index, self._family.first_length_code + code
            )
        library.call("SetBinning", index, binning)
        library.call("SetOffset", index, offset)
        self._bins = bins
        self._settled_s = self._clock.now_s() + WARM_UP_S
        return CardConfiguration(
            time_bin_ps=library.real("GetResolution", index),
            bins=min(bins, self._length),
            offset_ns=offset * self._family.offset_unit_ps / 1000,
            sync_divider=sync_divider,
        )

    def configure_stream(
        self, time_bin_ps: float, offset_ns: float, sync_divider: int, *, markers: bool = False
    ) -> StreamConfiguration:
        """Set the card up for T3 records; the offset is rounded as in `configure`."""
        binning = self._binning(time_bin_ps)
        offset = self._offset(offset_ns)
        self._check_divider(sync_divider)
        library, index, family = self._library, self._index, self._family
        self._set_mode(MODE_T3)
        library.call("SetSyncDiv", index, sync_divider)
        self._set_inputs()
        library.call("SetBinning", index, binning)
        library.call("SetOffset", index, offset)
        time_bin_ps = library.real("GetResolution", index)
        if markers:
            edge = int(self._settings.marker_edge == "rising")
            library.call("SetMarkerHoldoffTime", index, MARKER_HOLDOFF_NS)
            library.call("SetMarkerEdges", index, edge, edge, edge, edge)
        enable = int(markers)
        library.call("SetMarkerEnable", index, enable, enable, enable, enable)
        self._settled_s = self._clock.now_s() + WARM_UP_S
        return StreamConfiguration(
            time_bin_ps=time_bin_ps,
            offset_ns=offset * family.offset_unit_ps / 1000,
            sync_divider=sync_divider,
            record_type=self._record_type,
            channel=self._settings.channel,
            fifo_records=family.fifo_records,
            read_records=family.read_records,
        )

    def sync_rate_hz(self) -> float:
        """Rate at the sync input; the library undoes the divider."""
        self._settle()
        if self._library.has("GetSyncRate"):
            return float(self._library.integer("GetSyncRate", self._index))
        return float(self._library.integer("GetCountRate", self._index, 0))

    def count_rate_hz(self) -> float:
        """Rate at the detector input."""
        self._settle()
        return float(self._library.integer("GetCountRate", self._index, self._input))

    def start(self, dwell_s: float) -> None:
        """Clear histogram or FIFO and start counting for a dwell, in whole milliseconds."""
        shortest_s, longest_s = ACQUISITION_S
        if not shortest_s <= dwell_s <= longest_s:
            raise self._refused(
                f"a dwell of {dwell_s:g} s", f"between 1 ms and {longest_s / 3600:g} h"
            )
        if not self._streams:
            self._library.call("ClearHistMem", self._index)
        elif not self._family.tells_sync_loss_t3:
            self._settle()  # or the first look at the sync rate would keep the FIFO waiting
        self._library.call("StartMeas", self._index, round(dwell_s * 1e3))
        self._counting, self._sync_lost, self._flag_bits = True, False, 0

    def is_counting(self) -> bool:
        """Whether the dwell is still running."""
        if not self._counting:
            return False
        self._watch_sync()
        if self._streams:
            # As in the vendor's examples before each read: reading may take a flag away.
            self._flag_bits |= self._library.integer("GetFlags", self._index)
        if self._library.integer("CTCStatus", self._index) == 0:
            return True
        if not self._streams:  # there it would empty the FIFO
            self.stop()
        return False

    def stop(self) -> None:
        """End the dwell now, if one runs."""
        if self._counting:
            # Needed also after the time is up, before the histogram may be read; empties the FIFO.
            self._library.call("StopMeas", self._index)
            self._counting = False

    def read(self) -> Histogram:
        """The counts of the dwell that just ended."""
        self._watch_sync()
        self.stop()
        counts = np.zeros(self._length, dtype=np.uint32)
        pointer = counts.ctypes.data_as(POINTER(c_uint32))
        self._library.call("GetHistogram", self._index, pointer, self._settings.channel)
        live_s = self._live_s()
        self._flag_bits |= self._library.integer("GetFlags", self._index)
        return Histogram(counts[: self._bins].copy(), live_s, self._flags())

    def read_records(self, into: NDArray[np.uint32]) -> int:
        """Move records from the FIFO to the front of a buffer; returns how many."""
        most = self._family.read_records
        if into.dtype != np.uint32 or into.size < most or not into.flags.c_contiguous:
            raise ValueError(f"the library writes up to {most} records without looking")
        if not self._counting:
            return 0
        pointer = into.ctypes.data_as(POINTER(c_uint32))
        size = (most,) if self._family.counts_reads else ()
        return self._library.integer("ReadFiFo", self._index, pointer, *size)

    def end_stream(self) -> StreamEnd:
        """End the stream, whose records have been read, and tell how it went."""
        self._flag_bits |= self._library.integer("GetFlags", self._index)
        self.stop()
        return StreamEnd(self._live_s(), self._flags())

    # -- modes and flags ----------------------------------------------------------------------

    @property
    def _streams(self) -> bool:
        return self._mode == MODE_T3

    def _set_mode(self, mode: int) -> None:
        """Initialise again if the mode changes: it loses every setting, and the calibration."""
        if mode == self._mode:
            return
        self._mode = None  # should it fail, the next call tries again
        self._library.call("Initialize", self._index, mode)
        if self._library.has("Calibrate"):
            self._library.call("Calibrate", self._index)
        self._mode = mode

    def _live_s(self) -> float:
        return self._library.real("GetElapsedMeasTime", self._index) / 1e3

    def _flags(self) -> frozenset[str]:
        flags = {name for mask, name in self._family.flags if self._flag_bits & mask}
        if self._sync_lost:
            flags.add("sync-lost")
        return frozenset(flags)

    # -- settings, checked before anything is sent ------------------------------------------

    def _binning(self, time_bin_ps: float) -> int:
        widths = self.allowed_time_bins_ps()
        for step, width_ps in enumerate(widths):
            if math.isclose(width_ps, time_bin_ps, rel_tol=1e-9):
                return step
        raise self._refused(
            f"time bins of {time_bin_ps:g} ps",
            f"{widths[0]:g} ps times a power of two, up to {widths[-1]:g} ps",
        )

    def _length_code(self, bins: int) -> int:
        if bins >= 1:
            for code, length in enumerate(self._family.lengths):
                if bins <= length:
                    return code
        raise self._refused(f"{bins} time bins", f"1 to {self.max_bins()}")

    def _offset(self, offset_ns: float) -> int:
        unit_ps, most = self._family.offset_unit_ps, self._family.max_offset
        longest_ns = most * unit_ps / 1000
        if not 0 <= offset_ns <= longest_ns:
            raise self._refused(f"an offset of {offset_ns:g} ns", f"0 to {longest_ns:g} ns")
        return round(offset_ns * 1000 / unit_ps)

    def _check_divider(self, sync_divider: int) -> None:
        most = self._family.max_sync_divider
        allowed = [divider for divider in (1, 2, 4, 8, 16) if divider <= most]
        if sync_divider not in allowed:
            raise self._refused(
                f"sync divider {sync_divider}", ", ".join(str(divider) for divider in allowed)
            )

    def _check_channel(self, model: str) -> None:
        inputs = self._family.max_inputs
        if self._library.has("GetNumOfInputChannels"):
            inputs = self._library.integer("GetNumOfInputChannels", self._index)
        if self._settings.channel >= inputs:
            raise DeviceError(
                self._library.role,
                f"there is no detector input {self._settings.channel}: the {model} has {inputs}",
                "correct card.driver.channel, which counts from 0",
            )

    def _checked_discriminator(self, model: str) -> Discriminator:
        """The kind of discriminator this card has, or is to use, with the settings in range."""
        cfd, edge, settings = self._family.cfd, self._family.edge, self._settings
        found = cfd or edge
        if cfd is not None and edge is not None:
            by_edge = settings.discriminator == "edge"
            if not self._library.has("SetSyncTrgMode"):
                by_edge = model.upper().endswith("N")  # TimeHarp 260 NANO; the PICO ends in P
            found = edge if by_edge else cfd
        assert found is not None, self._family.name
        for name in ("sync_level_mv", "input_level_mv", "sync_zero_mv", "input_zero_mv"):
            limits = found.level_mv if "level" in name else found.zero_mv
            value = getattr(settings, name)
            if limits is not None and not limits[0] <= value <= limits[1]:
                raise DeviceError(
                    self._library.role,
                    f"the {model} cannot do {name} = {value}: possible are {limits[0]} to "
                    f"{limits[1]}",
                    f"correct card.driver.{name}",
                )
        return found

    def _refused(self, what: str, possible: str) -> DeviceError:
        return DeviceError(
            self._library.role, f"{what} cannot be had from the {self._family.name}",
            f"possible: {possible}",
        )  # fmt: skip

    # -- the inputs ---------------------------------------------------------------------------

    @property
    def _input(self) -> int:
        """Number of the detector input for the functions that count the sync input as 0."""
        return self._settings.channel + (0 if self._library.has("GetSyncRate") else 1)

    def _set_inputs(self) -> None:
        library, index, settings = self._library, self._index, self._settings
        kind = "EdgeTrg" if self._discriminator.zero_mv is None else "CFD"
        sync = self._thresholds(settings.sync_level_mv, settings.sync_zero_mv, settings.sync_edge)
        detector = self._thresholds(
            settings.input_level_mv, settings.input_zero_mv, settings.input_edge
        )
        if not library.has("GetSyncRate"):  # PicoHarp 300: the sync input is input 0
            library.call("SetInputCFD", index, 0, *sync)
            library.call("SetSyncOffset", index, settings.sync_offset_ps - settings.input_offset_ps)
            library.call("SetInputCFD", index, self._input, *detector)
            return
        if library.has("SetSyncTrgMode"):
            library.call("SetSyncTrgMode", index, int(kind == "CFD"))
        library.call(f"SetSync{kind}", index, *sync)
        library.call("SetSyncChannelOffset", index, settings.sync_offset_ps)
        if library.has("SetInputTrgMode"):
            library.call("SetInputTrgMode", index, self._input, int(kind == "CFD"))
        library.call(f"SetInput{kind}", index, self._input, *detector)
        library.call("SetInputChannelOffset", index, self._input, settings.input_offset_ps)
        library.call("SetInputChannelEnable", index, self._input, 1)

    def _thresholds(self, level_mv: int, zero_mv: int, edge: str) -> tuple[int, int]:
        """Level and zero crossing, or level and edge, as the library wants them."""
        if self._discriminator.zero_mv is None:
            return level_mv, int(edge == "rising")
        if self._discriminator.magnitudes:
            return -level_mv, -zero_mv
        return level_mv, zero_mv

    def _settle(self) -> None:
        if self._settled_s is not None:
            self._clock.wait(max(0.0, self._settled_s - self._clock.now_s()))
            self._settled_s = None

    def _watch_sync(self) -> None:
        """Look at the sync rate while counting, where no flag would tell of a loss."""
        family = self._family
        tells = family.tells_sync_loss_t3 if self._streams else family.tells_sync_loss
        if self._counting and not tells:
            self._sync_lost = self._sync_lost or self.sync_rate_hz() == 0


def _answers(library: Library) -> Iterator[Found]:
    """Each card that answers at one of the device numbers, left open for the caller to close."""
    for index in DEVICES:
        try:
            (serial_number,) = library.texts("OpenDevice", index)
        except LibraryError as error:
            if error.code != NO_DEVICE:
                yield Found(index, error=error)
        else:
            yield Found(index, serial_number)


def _open(library: Library, wanted: str | None) -> tuple[int, str]:
    """Open the wanted card, or the first that can be opened."""
    others: list[Found] = []
    for found in _answers(library):
        if found.error is None and wanted in (None, found.serial_number):
            return found.index, found.serial_number
        if found.error is None:
            library.close(found.index)
        others.append(found)
    errors = [found.error for found in others if found.error is not None]
    if wanted is None and errors:
        raise errors[0]
    which = "" if wanted is None else f" with serial number {wanted}"
    seen = f" (found: {'; '.join(str(found) for found in others)})" if others else ""
    raise DeviceError(
        library.role,
        f"no {library.family.name}{which} answers{seen}",
        errors[0].advice if errors else MEANINGS[NO_DEVICE][1],
    )
