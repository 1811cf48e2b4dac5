"""The simulated library of a PicoQuant card: real C functions in front of the virtual card.

Each function is a `ctypes` thunk, so a driver calls it through the C ABI with pointers, exactly
as it calls the vendor's; no compiler is needed. Written from the vendor's header files, apart
from the driver's own table, so that a slip in one of them shows.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_double, c_int, c_uint, c_void_p
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tplm_config.devices import PicoQuant
from tplm_simulators.faults import VirtualFault
from tplm_simulators.microscope import VirtualMicroscope
from tplm_simulators.wire import Served

OPEN_FAIL, BUSY, NOT_OPEN, RUNNING = -1, -2, -10, -16
INVALID, INVALID_MODE = -17, -18
NOT_INITIALIZED, NOT_CALIBRATED, UNSUPPORTED = -22, -23, -80
ERRORS = {
    OPEN_FAIL: "DEVICE_OPEN_FAIL",
    BUSY: "DEVICE_BUSY",
    -9: "DEVICE_VERSION_MISMATCH",
    NOT_OPEN: "DEVICE_NOT_OPEN",
    -11: "DEVICE_LOCKED",
    RUNNING: "INSTANCE_RUNNING",
    INVALID: "INVALID_ARGUMENT",
    INVALID_MODE: "INVALID_MODE",
    NOT_INITIALIZED: "NOT_INITIALIZED",
    NOT_CALIBRATED: "NOT_CALIBRATED",
    -24: "DMA_FAIL",
    -36: "USB_VCMD_FAIL",
    -37: "USB_BULKRD_FAIL",
    -46: "CALIB_FAIL",
    UNSUPPORTED: "UNSUPPORTED_FUNCTION",
}
METER_S = 0.1
"""The rate meters read 0 for this long after `Initialize` and `SetSyncDiv`."""
LONGEST_MS = 360_000_000
HISTOGRAMS, T3 = 0, 3
"""Modes of `Initialize`; T2, which is 2, is not simulated."""
READ_STEP, READ_MOST, READ_ALL = 512, 131_072, 1_048_576
"""`ReadFiFo` is asked for a multiple of the first up to the second, or always gives the third."""
ONLY_HISTOGRAMS = {"SetStopOverflow", "SetHistoLen", "ClearHistMem", "GetHistogram"}
ONLY_T3 = {"SetMarkerEdges", "SetMarkerEnable", "SetMarkerHoldoffTime", "ReadFiFo"}

Range = tuple[int, int]
_FLAGS = {"overflow": 0x01, "sync-lost": 0x04}
_TYPES = {"i": c_int, "u": c_uint, "p": c_void_p}


@dataclass(frozen=True)
class _Family:
    """What the library of one family does differently."""

    prefix: str
    model: str
    inputs: int
    levels: Range
    zeros: Range | None = None
    edges: bool = False
    chooses: bool = False
    reference: bool = False
    calibrates: bool = False
    clearing: bool = False
    length_codes: Range = (0, 6)
    readable_code: int = 0
    dividers: int = 8
    steps: int = 22
    offset: int = 100_000_000
    offset_ps: int = 1000
    counter_max: int = 2**32 - 1
    flags: dict[str, int] = field(default_factory=lambda: dict(_FLAGS))
    t3_flags: dict[str, int] = field(default_factory=lambda: {"fifo-full": 0x02})
    record_type: int = 0x00010307
    fifo: int = 2**27
    reads_all: bool = False
    hold_off_ns: int = 25_500
    running_flag: int = 0
    lost: int = -36


_FAMILIES = {
    "TimeHarp 260 P": _Family(
        "TH260_", "TimeHarp 260 P", 2, (-1200, 0), (-40, 0), clearing=True, length_codes=(0, 5),
        flags={"overflow": 0x01, "count-rate-limit": 0x08}, lost=-24,
        t3_flags={"fifo-full": 0x02, "sync-lost": 0x04}, record_type=0x00010306, fifo=2**21,
    ),
    "TimeHarp 260 N": _Family(
        "TH260_", "TimeHarp 260 N", 2, (-1200, 1200), edges=True, clearing=True,
        length_codes=(0, 5), flags={"overflow": 0x01, "count-rate-limit": 0x08}, lost=-24,
        t3_flags={"fifo-full": 0x02, "sync-lost": 0x04}, record_type=0x00010305, fifo=2**21,
    ),
    "PicoHarp 300": _Family(
        "PH_", "PicoHarp 300", 1, (0, 800), (0, 20), calibrates=True, steps=8,
        offset=1_000_000_000, offset_ps=1, counter_max=65535, flags={"overflow": 0x40},
        t3_flags={"fifo-full": 0x03}, record_type=0x00010303, fifo=2**18, hold_off_ns=210_480,
    ),
    "PicoHarp 330": _Family(
        "PH330_", "PicoHarp 330", 4, (-1500, 0), (-100, 0), edges=True, chooses=True,
        reference=True, length_codes=(0, 9), readable_code=2, steps=24,
        flags=_FLAGS | {"count-rate-limit": 0x40}, running_flag=0x20, reads_all=True,
    ),
    "HydraHarp 400": _Family(
        "HH_", "HydraHarp 400", 2, (0, 1000), (0, 40), reference=True, calibrates=True,
        clearing=True, dividers=16, steps=26, offset=500_000, running_flag=0x20,
        record_type=0x01010304, fifo=2**21, hold_off_ns=524_296,
    ),
    "MultiHarp 150/160": _Family(
        "MH_", "MultiHarp 150 4P", 4, (-1200, 1200), edges=True, reference=True,
        readable_code=2, dividers=16, steps=23,
        flags=_FLAGS | {"count-rate-limit": 0x40}, running_flag=0x20, reads_all=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    bins: int
    divider: int = 1
    binning: int = 0
    offset: int = 0


class SimulatedLibrary:
    """A library with one card, fed by the virtual card; its attributes are C functions.

    It is the vendor's library as seen by one process. Cable delays, and the edge and hold-off of
    markers, are accepted and change nothing; the detector stage gives its pulses at the first
    marker input. Lengths beyond the virtual card's own `max_bins` are refused; the PicoHarp 300,
    whose length is fixed, leaves bins beyond it empty. The FIFO is that of the family, or of the
    virtual card if that is shorter.

    Parameters
    ----------
    settings
        Of the driver: the family, the serial number, and the input where the detector is.
    microscope
        What the card belongs to.

    Attributes
    ----------
    calls
        Every call: the function without its prefix, and its arguments without pointers.
    index
        Device number at which the card is.
    others
        Serial numbers of further cards, by device number; they open, and that is all.
    held
        Whether another program has the card.
    """

    def __init__(self, settings: PicoQuant, microscope: VirtualMicroscope) -> None:
        name: str = settings.family
        if name == "TimeHarp 260":
            name += " N" if microscope.card.base_resolution_ps >= 250 else " P"
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.index = 0
        self.others: dict[int, str] = {}
        self.held = False
        self._family = _FAMILIES[name]
        self._serial = settings.serial_number or "1000001"
        self._channel = settings.channel
        self._clock = microscope.clock
        self._card = microscope.card
        self._rng = np.random.default_rng((microscope.settings.seed, 300))
        self._failures: dict[str, list[int]] = {}
        self._opened = self._initialized = False
        self._widest = microscope.settings.detection.counter_max
        self._forget(HISTOGRAMS)
        self._meters_from_s = 0.0
        self._full: tuple[NDArray[np.int64], float] | None = None
        self._thunks = []
        for function, (codes, method) in self._functions().items():
            arguments = [_TYPES[code] for code in codes]
            thunk = ctypes.CFUNCTYPE(c_int, *arguments)(self._guarded(function, codes, method))
            self._thunks.append(thunk)  # or the C side would call what is no longer there
            address = ctypes.cast(thunk, c_void_p).value
            setattr(self, self._family.prefix + function, ctypes.CFUNCTYPE(c_int)(address or 0))

    def fail(self, function: str, code: int, times: int = 1) -> None:
        """Let the next calls of a function return an error, whatever their arguments."""
        self._failures.setdefault(function, []).extend([code] * times)

    def _guarded(self, function: str, codes: str, method: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: int) -> int:
            plain = tuple(a for a, code in zip(arguments, codes, strict=True) if code != "p")
            if function != "GetErrorString":
                self.calls.append((function, plain))
            if self._failures.get(function):
                return self._failures[function].pop(0)
            if function in ("GetLibraryVersion", "GetErrorString", "OpenDevice"):
                return method(*arguments)
            device, *rest = arguments
            if device in self.others and function == "CloseDevice":
                return 0
            if device != self.index or not self._opened:
                return NOT_OPEN
            try:
                self._card.is_running()  # raises if it was unplugged
            except VirtualFault:
                self._opened = self._initialized = False
                return self._family.lost
            if not self._initialized and function not in ("Initialize", "CloseDevice"):
                return NOT_INITIALIZED
            if function in (ONLY_HISTOGRAMS if self._mode == T3 else ONLY_T3):
                return INVALID_MODE
            try:
                return method(*rest)
            except VirtualFault:
                return RUNNING if self._card.is_running() else INVALID

        return call

    def _functions(self) -> dict[str, tuple[str, Callable[..., int]]]:
        """Types of the arguments of every function, and what it does after the device number."""
        family = self._family
        level, zero = _within(family.levels), _within(family.zeros or (0, 0))
        edge, delay = _within((0, 1)), _within((-99999, 99999))
        channel = _within((0, family.inputs - 1))
        functions: dict[str, tuple[str, Callable[..., int]]] = {
            "GetLibraryVersion": ("p", lambda text: _text(text, "3.0")),
            "GetErrorString": ("pi", self._error_string),
            "OpenDevice": ("ip", self._open),
            "CloseDevice": ("i", self._close),
            "Initialize": ("iii" if family.reference else "ii", self._initialize),
            "GetHardwareInfo": ("ippp", self._hardware_info),
            "GetBaseResolution": ("ipp", self._base_resolution),
            "SetSyncDiv": ("ii", self._set_divider),
            "SetStopOverflow": ("iiu", self._set_stop_overflow),
            "SetBinning": ("ii", self._set_binning),
            "SetOffset": ("ii", self._set_offset),
            "GetResolution": ("ip", self._resolution),
            "GetCountRate": ("iip", self._count_rate),
            "StartMeas": ("ii", self._start),
            "StopMeas": ("i", self._stop),
            "CTCStatus": ("ip", self._status),
            "GetHistogram": ("ipii" if family.clearing else "ipi", self._histogram),
            "GetElapsedMeasTime": ("ip", self._elapsed),
            "GetFlags": ("ip", self._get_flags),
            "SetMarkerEdges": ("iiiii", _every(edge, edge, edge, edge)),
            "SetMarkerEnable": ("iiiii", self._set_markers),
            "SetMarkerHoldoffTime": ("ii", _every(_within((0, family.hold_off_ns)))),
            "ReadFiFo": ("ipp", self._read_all) if family.reads_all else ("ipip", self._read_some),
        }
        if family.calibrates:
            functions["Calibrate"] = ("i", self._calibrate)
        if family.prefix == "PH_":
            both = _within((0, 1))
            return functions | {
                "SetStopOverflow": ("iii", self._set_stop_overflow),
                "SetInputCFD": ("iiii", _every(both, level, zero)),
                "SetSyncOffset": ("ii", _every(delay)),
                "ClearHistMem": ("ii", self._clear),
            }
        if family.zeros is not None:
            functions["SetSyncCFD"] = ("iii", _every(level, zero))
            functions["SetInputCFD"] = ("iiii", _every(channel, level, zero))
        if family.edges:
            functions["SetSyncEdgeTrg"] = ("iii", _every(level, edge))
            functions["SetInputEdgeTrg"] = ("iiii", _every(channel, level, edge))
        if family.prefix == "TH260_":  # one library for both models, which refuse each other's
            for name, codes in (("CFD", family.zeros), ("EdgeTrg", family.edges or None)):
                if codes is None:
                    functions[f"SetSync{name}"] = ("iii", lambda *_: UNSUPPORTED)
                    functions[f"SetInput{name}"] = ("iiii", lambda *_: UNSUPPORTED)
        if family.chooses:
            functions["SetSyncTrgMode"] = ("ii", _every(edge))
            functions["SetInputTrgMode"] = ("iii", _every(channel, edge))
        return functions | {
            "GetNumOfInputChannels": ("ip", lambda p: _integer(p, family.inputs)),
            "SetSyncChannelOffset": ("ii", _every(delay)),
            "SetInputChannelOffset": ("iii", _every(channel, delay)),
            "SetInputChannelEnable": ("iii", _every(channel, edge)),
            "SetHistoLen": ("iip", self._set_length),
            "GetSyncRate": ("ip", self._sync_rate),
            "ClearHistMem": ("i", self._clear),
        }

    # -- opening ------------------------------------------------------------------------------

    def _error_string(self, text: int, code: int) -> int:
        return _text(text, ERRORS[code]) if code in ERRORS else INVALID

    def _open(self, device: int, serial: int) -> int:
        if device in self.others:
            return _text(serial, self.others[device])
        if device != self.index:
            return OPEN_FAIL
        try:
            self._card.is_running()
        except VirtualFault:
            return OPEN_FAIL
        if self.held or self._opened:
            return BUSY
        self._opened = True
        return _text(serial, self._serial)

    def _close(self) -> int:
        self._opened = self._initialized = self._calibrated = False
        return 0

    def _initialize(self, mode: int, reference: int = 0) -> int:
        if mode not in (HISTOGRAMS, T3) or reference != 0:  # the only clock there is
            return INVALID
        if self._card.is_running():
            return RUNNING
        self._initialized = True
        self._forget(mode)
        self._restart_meters()
        return self._change()

    def _forget(self, mode: int) -> None:
        """Lose all settings, and with them the calibration."""
        self._mode = mode
        self._calibrated = self._listens = False
        self._stop_count: int | None = None
        self._length = 1024 << min(self._family.length_codes[1], 6)
        self._layout = _Layout(bins=self._length)

    def _calibrate(self) -> int:
        self._calibrated = True
        return 0

    def _hardware_info(self, model: int, part: int, version: int) -> int:
        return _text(model, self._family.model) + _text(part, "SIM") + _text(version, "1.0")

    def _base_resolution(self, resolution: int, steps: int) -> int:
        _real(resolution, self._card.base_resolution_ps)
        return _integer(steps, self._family.steps)

    # -- settings -----------------------------------------------------------------------------

    def _change(self, **changes: int) -> int:
        layout, base_ps = replace(self._layout, **changes), self._card.base_resolution_ps
        time_bin_ps = base_ps * 2**layout.binning
        offset_ps = round(layout.offset * self._family.offset_ps / base_ps) * base_ps
        if self._mode == T3:
            self._card.configure_stream(
                time_bin_ps,
                offset_ps,
                layout.divider,
                record_type=self._family.record_type,
                channel=self._channel,
                markers=self._listens,
                fifo_records=min(self._family.fifo, self._card.fifo_records),
            )
        else:
            bins = min(layout.bins, self._card.max_bins)
            self._card.configure(time_bin_ps, bins, offset_ps, layout.divider)
        self._layout, self._full = layout, None
        return 0

    def _set_divider(self, divider: int) -> int:
        if divider > self._family.dividers:
            return INVALID
        self._restart_meters()
        return self._change(divider=divider)

    def _set_length(self, code: int, actual: int) -> int:
        lowest, highest = self._family.length_codes
        if not lowest <= code <= highest or 1024 << code > self._card.max_bins:
            return INVALID
        self._change(bins=1024 << code)
        self._length = 1024 << code
        return _integer(actual, self._length)

    def _set_binning(self, binning: int) -> int:
        return self._change(binning=binning) if 0 <= binning < self._family.steps else INVALID

    def _set_offset(self, offset: int) -> int:
        return self._change(offset=offset) if 0 <= offset <= self._family.offset else INVALID

    def _set_stop_overflow(self, stop: int, count: int) -> int:
        if not 1 <= count <= self._family.counter_max:
            return INVALID
        self._stop_count = count if stop else None
        return 0

    def _set_markers(self, *enabled: int) -> int:
        if not set(enabled) <= {0, 1}:
            return INVALID
        listened = self._listens
        self._listens = bool(enabled[0])
        try:
            return self._change()
        except VirtualFault:
            self._listens = listened
            raise

    def _resolution(self, resolution: int) -> int:
        return _real(resolution, self._card.base_resolution_ps * 2**self._layout.binning)

    # -- rates --------------------------------------------------------------------------------

    def _restart_meters(self) -> None:
        self._meters_from_s = self._clock.now_s() + METER_S

    def _sync_rate(self, rate: int) -> int:
        valid = self._clock.now_s() >= self._meters_from_s
        return _integer(rate, round(self._card.sync_rate_hz()) if valid else 0)

    def _count_rate(self, channel: int, rate: int) -> int:
        if self._family.prefix == "PH_":  # the sync input is input 0
            if channel == 0:
                return self._sync_rate(rate)
            channel -= 1
        if not 0 <= channel < self._family.inputs:
            return INVALID
        valid = channel == self._channel and self._clock.now_s() >= self._meters_from_s
        return _integer(rate, round(self._card.count_rate_hz()) if valid else 0)

    # -- measuring ----------------------------------------------------------------------------

    def _clear(self, block: int = 0) -> int:
        return 0  # the virtual card clears by itself when it starts

    def _start(self, milliseconds: int) -> int:
        if self._family.calibrates and not self._calibrated:
            return NOT_CALIBRATED
        if not 1 <= milliseconds <= LONGEST_MS:
            return INVALID
        self._card.start(milliseconds / 1e3)
        self._full = None
        return 0

    def _stop(self) -> int:
        self._card.stop()
        return 0

    def _read_some(self, records: int, count: int, actual: int) -> int:
        if not 0 < count <= READ_MOST or count % READ_STEP != 0:
            return INVALID
        return self._read(records, count, actual)

    def _read_all(self, records: int, actual: int) -> int:
        return self._read(records, READ_ALL, actual)

    def _read(self, records: int, most: int, actual: int) -> int:
        read = self._card.read_records(most)
        ctypes.memmove(records, read.ctypes.data, read.nbytes)
        return _integer(actual, read.size)

    def _status(self, ended: int) -> int:
        self._look_for_full_bins()
        return _integer(ended, int(not self._card.is_running()))

    def _histogram(self, counts: int, channel: int, clear: int = 0) -> int:
        if not 0 <= channel < self._family.inputs or (
            self._length < 1024 << self._family.readable_code
        ):
            return INVALID
        whole = np.zeros(self._length, dtype=np.uint32)
        if channel == self._channel:
            measured = self._measured()[0]
            whole[: measured.size] = np.minimum(measured, self._family.counter_max)
        ctypes.memmove(counts, whole.ctypes.data, whole.nbytes)
        return 0

    def _get_flags(self, flags: int) -> int:
        self._look_for_full_bins()
        names = set(self._card.flags())
        if self._full is not None:
            names.add("overflow")
        known = self._family.flags | (self._family.t3_flags if self._mode == T3 else {})
        bits = sum(bit for name, bit in known.items() if name in names)
        return _integer(flags, bits | self._family.running_flag * self._card.is_running())

    def _elapsed(self, milliseconds: int) -> int:
        elapsed_s = self._card.elapsed_s() if self._mode == T3 else self._measured()[1]
        return _real(milliseconds, 1e3 * elapsed_s)

    def _look_for_full_bins(self) -> None:
        if self._mode != T3:
            self._measured()

    def _measured(self) -> tuple[NDArray[Any], float]:
        """Counts and time, ended where the first bin reached the count that stops this card.

        The virtual card's counter may be wider than this card's. Light is taken as even over the
        measurement, so what was counted before that moment is a thinning of the whole.
        """
        limit = self._stop_count
        if limit is None or limit >= self._widest:
            return self._card.histogram(), self._card.elapsed_s()
        if self._full is None:
            if self._card.histogram().max() < limit:
                return self._card.histogram(), self._card.elapsed_s()
            self._card.stop()  # first, so that counts and time belong together
            counts = self._card.histogram().astype(np.int64)
            fullest = int(counts.argmax())
            share = limit / int(counts[fullest])
            thinned = np.minimum(self._rng.binomial(counts, share), limit)
            thinned[fullest] = limit
            self._full = thinned, share * self._card.elapsed_s()
        return self._full


def _within(limits: Range) -> Callable[[int], bool]:
    return lambda value: limits[0] <= value <= limits[1]


def _every(*allowed: Callable[[int], bool]) -> Callable[..., int]:
    """A setter that accepts what is within its limits."""

    def check(*values: int) -> int:
        inside = all(within(value) for within, value in zip(allowed, values, strict=True))
        return 0 if inside else INVALID

    return check


def _text(pointer: int, text: str) -> int:
    data = text.encode("latin-1") + b"\0"
    ctypes.memmove(pointer, data, len(data))
    return 0


def _integer(pointer: int, value: int) -> int:
    c_int.from_address(pointer).value = value
    return 0


def _real(pointer: int, value: float) -> int:
    c_double.from_address(pointer).value = value
    return 0


def serve(settings: PicoQuant, microscope: VirtualMicroscope, role: str) -> Served:
    """Put a library with the same C interface in the place of the vendor's."""
    library = SimulatedLibrary(settings, microscope)
    return Served(settings=settings, stop=lambda: None, library=library)
