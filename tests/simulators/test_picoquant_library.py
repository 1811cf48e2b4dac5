"""The simulated PicoQuant library in T3 mode, called as C; the driver has its own tests."""

import ctypes
from ctypes import byref, c_double, c_int, create_string_buffer
from typing import Any

import numpy as np
import pytest

from tplm_config.devices import PicoQuant
from tplm_daq.t3 import T3_FORMATS, T3Decoder
from tplm_simulators.wire.picoquant import READ_ALL, READ_MOST, SimulatedLibrary

INVALID, INVALID_MODE, RUNNING, NOT_CALIBRATED = -17, -18, -16, -23
FIFO_BITS = {"PicoHarp 300": 0x03}
FAMILIES = {
    # name: record type, FIFO, whether ReadFiFo takes a count, flag of a lost sync
    ("TimeHarp 260", 25.0): (0x00010306, 2**21, True, 0x04),
    ("TimeHarp 260", 250.0): (0x00010305, 2**21, True, 0x04),
    ("PicoHarp 300", 4.0): (0x00010303, 2**18, True, 0),
    ("PicoHarp 330", 1.0): (0x00010307, 2**21, False, 0x04),
    ("HydraHarp 400", 1.0): (0x01010304, 2**21, True, 0x04),
    ("MultiHarp 150/160", 5.0): (0x00010307, 2**21, False, 0x04),
}
PREFIXES = {
    "TimeHarp 260": "TH260_", "PicoHarp 300": "PH_", "PicoHarp 330": "PH330_",
    "HydraHarp 400": "HH_", "MultiHarp 150/160": "MH_",
}  # fmt: skip
every_card = pytest.mark.parametrize(("family", "base_ps"), FAMILIES)
COARSE = {1.0: 5, 4.0: 3, 5.0: 3, 25.0: 1, 250.0: 0}
"""Binning for which the light is quickly computed."""


class Card:
    """A card behind a library, opened and set to a mode."""

    def __init__(self, microscope: Any, family: str, base_ps: float, mode: int = 3) -> None:
        self.microscope = microscope
        self.family = family
        self.record_type, self.fifo, self.counts, self.sync_bit = FAMILIES[family, base_ps]
        self.library = SimulatedLibrary(PicoQuant(family=family), microscope)
        self.buffer = np.zeros(READ_ALL, dtype=np.uint32)
        assert self.call("OpenDevice", 0, create_string_buffer(16)) == 0
        assert self.initialize(mode) == 0

    def call(self, name: str, *arguments: Any) -> int:
        function = getattr(self.library, PREFIXES[self.family] + name)
        function.restype = c_int
        code: int = function(*arguments)
        return code

    def has(self, name: str) -> bool:
        return hasattr(self.library, PREFIXES[self.family] + name)

    def initialize(self, mode: int) -> int:
        """Set the mode, calibrate where it is needed, and choose coarse time bins."""
        takes_clock = self.family not in ("TimeHarp 260", "PicoHarp 300")
        code = self.call("Initialize", 0, mode, *((0,) if takes_clock else ()))
        if code == 0:
            if self.has("Calibrate"):
                assert self.call("StartMeas", 0, 100) == NOT_CALIBRATED
                assert self.call("Calibrate", 0) == 0
            assert self.call("SetBinning", 0, COARSE[self.microscope.card.base_resolution_ps]) == 0
        return code

    def read(self, count: int = READ_MOST) -> np.ndarray:
        actual = c_int(-1)
        pointer = ctypes.c_void_p(self.buffer.ctypes.data)
        counted = (count,) if self.counts else ()
        assert self.call("ReadFiFo", 0, pointer, *counted, byref(actual)) == 0
        return self.buffer[: actual.value].copy()

    def integer(self, name: str) -> int:
        value = c_int(-1)
        assert self.call(name, 0, byref(value)) == 0
        return value.value

    def decode(self) -> T3Decoder:
        decoder = T3Decoder(T3_FORMATS[self.record_type])
        while (records := self.read()).size > 0:
            decoder.feed(records)
        return decoder


@pytest.fixture
def card(lit: Any, family: str, base_ps: float) -> Card:
    microscope = lit(
        detection={"base_resolution_ps": base_ps, "max_bins": 2**19},
        detector_stage={"trigger_um": 10.0},
    )
    return Card(microscope, family, base_ps)


@pytest.fixture
def lit(build: Any) -> Any:
    def make(**groups: Any) -> Any:
        microscope = build(**groups)
        microscope.laser.set_emission(True)
        microscope.shutter.set_open(True)
        microscope.clock.wait(0.1)
        return microscope

    return make


@every_card
def test_a_dwell(card: Card) -> None:
    assert card.call("StartMeas", 0, 1000) == 0
    card.microscope.clock.wait(0.5)
    assert card.integer("CTCStatus") == 0
    decoder = card.decode()
    expected = card.microscope.card.expected_counts().sum()
    assert decoder.photons == pytest.approx(expected, abs=5 * expected**0.5)
    card.microscope.clock.wait(1)
    assert card.integer("CTCStatus") != 0
    decoder = card.decode()
    assert decoder.photons > 0
    assert decoder.invalid == decoder.markers == 0
    assert decoder.histogram[0].sum() == decoder.photons
    elapsed_ms = c_double()
    assert card.call("GetElapsedMeasTime", 0, byref(elapsed_ms)) == 0
    assert elapsed_ms.value == pytest.approx(1000)
    assert card.integer("GetFlags") & 0x47 == 0


@every_card
def test_stop_empties_the_fifo(card: Card) -> None:
    assert card.call("StartMeas", 0, 1000) == 0
    card.microscope.clock.wait(0.5)
    assert card.read(512).size > 0
    card.microscope.clock.wait(0.1)
    assert card.call("StopMeas", 0) == 0
    assert card.read().size == 0


@pytest.mark.parametrize(
    ("family", "base_ps"), [key for key, (_, _, counts, _) in FAMILIES.items() if counts]
)
def test_counts_that_are_refused(card: Card) -> None:
    pointer = ctypes.c_void_p(card.buffer.ctypes.data)
    for count in (0, -512, 100, 513, READ_MOST + 512):
        assert card.call("ReadFiFo", 0, pointer, count, byref(c_int())) == INVALID


@every_card
def test_a_read_gives_no_more_than_asked_for(card: Card) -> None:
    assert card.call("StartMeas", 0, 1000) == 0
    card.microscope.clock.wait(0.5)
    first = card.read(1024)
    assert first.size == 1024 if card.counts else first.size > 1024
    rest = card.read()
    assert (rest.size > 1024) == card.counts


@every_card
def test_functions_of_the_other_mode_are_refused(card: Card) -> None:
    pointer = ctypes.c_void_p(card.buffer.ctypes.data)
    clear = (0,) if card.family in ("TimeHarp 260", "HydraHarp 400") else ()
    histograms: dict[str, tuple[Any, ...]] = {
        "GetHistogram": (pointer, 0, *clear),
        "SetStopOverflow": (1, 1000),
        "ClearHistMem": (0,) if card.family == "PicoHarp 300" else (),
    }
    if card.has("SetHistoLen"):
        histograms["SetHistoLen"] = (2, byref(c_int()))
    t3: dict[str, tuple[Any, ...]] = {
        "ReadFiFo": (pointer, *((512,) if card.counts else ()), byref(c_int())),
        "SetMarkerEdges": (1, 1, 1, 1),
        "SetMarkerEnable": (1, 0, 0, 0),
        "SetMarkerHoldoffTime": (0,),
    }
    for name, arguments in histograms.items():
        assert card.call(name, 0, *arguments) == INVALID_MODE, name
    for name, arguments in t3.items():
        assert card.call(name, 0, *arguments) == 0, name
    assert card.initialize(0) == 0
    for name, arguments in histograms.items():
        assert card.call(name, 0, *arguments) == 0, name
    for name, arguments in t3.items():
        assert card.call(name, 0, *arguments) == INVALID_MODE, name


@every_card
def test_modes(card: Card) -> None:
    assert card.initialize(2) == INVALID  # T2
    assert card.call("StartMeas", 0, 1000) == 0
    assert card.initialize(0) == RUNNING
    assert card.call("StopMeas", 0) == 0
    assert card.initialize(0) == 0
    assert card.initialize(3) == 0


@every_card
def test_a_new_mode_forgets_the_settings(card: Card) -> None:
    assert card.call("SetBinning", 0, 4) == 0
    assert card.call("SetMarkerEnable", 0, 1, 0, 0, 0) == 0
    clock = () if card.family in ("TimeHarp 260", "PicoHarp 300") else (0,)
    assert card.call("Initialize", 0, 3, *clock) == 0
    resolution_ps = c_double()
    assert card.call("GetResolution", 0, byref(resolution_ps)) == 0
    assert resolution_ps.value == card.microscope.card.base_resolution_ps
    assert card.initialize(3) == 0
    card.microscope.detector_stage.move_to(200, 0)
    assert card.call("StartMeas", 0, 1000) == 0
    card.microscope.clock.wait(1)
    assert card.decode().markers == 0


@every_card
def test_markers(card: Card) -> None:
    assert card.call("SetMarkerEdges", 0, 1, 1, 1, 1) == 0
    assert card.call("SetMarkerHoldoffTime", 0, 10_000) == 0
    for enabled, markers in (((1, 1, 1, 1), 20), ((0, 1, 1, 1), 0), ((1, 0, 0, 0), 20)):
        assert card.call("SetMarkerEnable", 0, *enabled) == 0
        target_um = 200 if card.microscope.detector_stage.position_um()[0] == 0 else 0
        card.microscope.detector_stage.move_to(target_um, 0)
        assert card.call("StartMeas", 0, 1000) == 0
        card.microscope.clock.wait(1)
        decoder = card.decode()
        assert (decoder.markers, decoder.invalid) == (markers, 0)
        assert card.call("StopMeas", 0) == 0


@every_card
def test_marker_settings_out_of_range(card: Card) -> None:
    assert card.call("SetMarkerEdges", 0, 1, 1, 1, 2) == INVALID
    assert card.call("SetMarkerEnable", 0, 2, 0, 0, 0) == INVALID
    assert card.call("SetMarkerHoldoffTime", 0, -1) == INVALID
    assert card.call("SetMarkerHoldoffTime", 0, 600_000) == INVALID


@every_card
def test_an_overrun_is_told(card: Card) -> None:
    assert card.microscope.card.fifo_records == card.fifo
    assert card.call("StartMeas", 0, 10_000) == 0
    card.microscope.clock.wait(1)
    bits = FIFO_BITS.get(card.family, 0x02)
    assert card.integer("GetFlags") & bits == 0
    card.microscope.card.overrun()
    assert card.integer("GetFlags") & bits == bits
    assert card.call("StopMeas", 0) == 0
    assert card.call("StartMeas", 0, 100) == 0
    assert card.integer("GetFlags") & bits == 0


@every_card
def test_a_lost_sync(card: Card) -> None:
    assert card.call("StartMeas", 0, 10_000) == 0
    card.microscope.clock.wait(0.1)
    card.microscope.card.lose_sync()
    card.decode()
    card.microscope.clock.wait(1)
    assert card.read().size == 0
    assert card.integer("GetFlags") & 0x04 == card.sync_bit
    # in histogram mode a TimeHarp does not tell
    assert card.call("StopMeas", 0) == 0
    assert card.initialize(0) == 0
    assert card.integer("GetFlags") & 0x04 == (0 if "TimeHarp" in card.family else card.sync_bit)


@every_card
def test_a_card_that_is_gone(card: Card) -> None:
    assert card.call("StartMeas", 0, 1000) == 0
    card.microscope.card.unplug()
    pointer = ctypes.c_void_p(card.buffer.ctypes.data)
    counted = (512,) if card.counts else ()
    lost = -24 if card.family == "TimeHarp 260" else -36
    assert card.call("ReadFiFo", 0, pointer, *counted, byref(c_int())) == lost
