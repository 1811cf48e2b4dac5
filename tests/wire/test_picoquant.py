"""PicoQuant cards: the real binding, through the C ABI, on a library fed by the virtual card."""

import ctypes
import dataclasses
import math
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tplm_config import load_profile
from tplm_config.devices import PicoQuant
from tplm_config.simulation import SimulationSettings, StageSettings
from tplm_daq.store.layout import FLAGS
from tplm_daq.t3 import T3_FORMATS, T3Decoder
from tplm_drivers._picoquant_families import FAMILIES, Family
from tplm_drivers._picoquant_library import Library, LibraryError
from tplm_drivers.connect import open_device
from tplm_drivers.picoquant import PicoQuantCard, discover
from tplm_drivers.roles import DeviceError, StreamConfiguration, StreamEnd, TcspcCard
from tplm_simulators import OpticsSettings, RunningClock, VirtualMicroscope
from tplm_simulators.wire import serve
from tplm_simulators.wire.picoquant import SimulatedLibrary

PROFILE = load_profile("simulated")
CARDS = [
    (family.name, base_ps) for family in FAMILIES.values() for base_ps in family.base_resolutions_ps
]
every_card = pytest.mark.parametrize(("family", "base_ps"), CARDS)
every_family = pytest.mark.parametrize("family", FAMILIES)


@dataclass
class Rig:
    """A microscope, and the library and settings that lead to its card."""

    microscope: VirtualMicroscope
    settings: PicoQuant
    library: SimulatedLibrary

    @property
    def family(self) -> Family:
        return FAMILIES[self.settings.family]

    def open(self, **changes: Any) -> PicoQuantCard:
        card = open_device(
            "card",
            self.settings.model_copy(update=changes),
            PROFILE,
            self.microscope.clock,
            self.library,
        )
        assert isinstance(card, PicoQuantCard)
        return card

    def light(self) -> None:
        self.microscope.laser.set_emission(True)
        self.microscope.shutter.set_open(True)
        self.microscope.clock.wait(0.01)

    def functions(self) -> list[str]:
        return [name for name, _ in self.library.calls]


def rig(
    family: str = "TimeHarp 260", base_ps: float = 25.0, trigger_um: float = 0.0, **detection: Any
) -> Rig:
    whole = SimulationSettings(detector_stage=StageSettings(trigger_um=trigger_um))
    limits = {"base_resolution_ps": base_ps, "max_bins": 2**19} | detection
    microscope = VirtualMicroscope(
        whole.model_copy(update={"detection": whole.detection.model_copy(update=limits)}),
        OpticsSettings(),
        RunningClock(50),
    )
    served = serve(PicoQuant(family=family), microscope, "card")
    assert served.servers == ()
    return Rig(microscope, served.settings, served.library)


def count(card: TcspcCard, at: Rig, dwell_s: float = 0.2) -> None:
    """Count for a dwell, to its end."""
    card.start(dwell_s)
    until_s = at.microscope.clock.now_s() + 20 * dwell_s + 20
    while card.is_counting():
        assert at.microscope.clock.now_s() < until_s
        at.microscope.clock.wait(dwell_s / 10)


def coarse(base_ps: float) -> float:
    """A time bin near 100 ps."""
    return base_ps * 2 ** max(0, round(math.log2(100 / base_ps)))


def one_sentence(error: DeviceError) -> bool:
    return error.device == "card" and "\n" not in str(error) and error.advice != ""


# -- who it is, and a dwell ----------------------------------------------------------------------


@every_card
def test_identify(family, base_ps):
    at = rig(family, base_ps)
    card = at.open()
    identity = card.identify()
    assert identity.model.split()[0] == family.split()[0]
    assert identity.serial_number == "1000001"
    assert identity.firmware == "1.0, library 3.0"
    assert identity.checked_against == "simulator only"
    assert at.functions()[-2:] == ["GetHardwareInfo", "GetLibraryVersion"]


@every_card
def test_the_library_is_called_through_the_c_abi(family, base_ps):
    at = rig(family, base_ps)
    for name in at.family.signatures:
        function = getattr(at.library, at.family.prefix + name)
        assert isinstance(function, ctypes._CFuncPtr)
        assert ctypes.cast(function, ctypes.c_void_p).value
    card = at.open()
    binding: Library = card._library
    assert type(binding).__module__ == "tplm_drivers._picoquant_library"
    before = len(at.library.calls)
    card.count_rate_hz()
    channel = 1 if family == "PicoHarp 300" else 0
    assert at.library.calls[before:] == [("GetCountRate", (0, channel))]


@every_card
def test_signatures_agree_with_those_of_the_simulated_library(family, base_ps):
    # Both were written from the vendor's headers, each on its own.
    at = rig(family, base_ps)
    simulated = at.library._functions()
    used = at.family.signatures
    model = at.open().identify().model
    if family != "TimeHarp 260":
        assert set(simulated) == set(used), model
    for name, arguments in used.items():
        codes = {ctypes.c_int: "i", ctypes.c_uint: "u"}
        assert "".join(codes.get(a, "p") for a in arguments) == simulated[name][0], name


@every_card
def test_a_dwell_holds_what_the_virtual_card_recorded(family, base_ps):
    at = rig(family, base_ps)
    card = at.open()
    time_bin_ps = coarse(base_ps)
    configured = card.configure(time_bin_ps, 1000, 0.0, 2)
    assert configured.time_bin_ps == time_bin_ps
    assert (configured.bins, configured.offset_ns, configured.sync_divider) == (1000, 0.0, 2)
    at.light()
    count(card, at)
    histogram = card.read()
    recorded = at.microscope.card.histogram()
    np.testing.assert_array_equal(histogram.counts, recorded[:1000])
    assert histogram.counts.dtype == np.uint32
    assert histogram.counts.sum() > 100
    assert histogram.live_s == pytest.approx(0.2)
    assert histogram.flags == frozenset()
    # the pulse is where the microscope puts it: 2 ns after the sync pulse
    peak_ps = (np.argmax(at.microscope.card.expected_counts()) + 0.5) * time_bin_ps
    assert peak_ps == pytest.approx(2000, abs=100 + time_bin_ps)


@every_family
def test_rates(family):
    at = rig(family)
    card = at.open()
    for divider in (1, 4):
        card.configure(100, 1024, 0.0, divider)
        assert card.sync_rate_hz() == 2.5e6  # divider undone; waited for the meter
    at.light()
    expected_hz = at.microscope.card.expected_rates().total_hz
    rates = [card.count_rate_hz() for _ in range(20)]
    assert np.mean(rates) == pytest.approx(expected_hz, rel=0.1)


@every_family
def test_offset(family):
    at = rig(family, 4.0)
    card = at.open()
    card.configure(64, 4096, 0.0, 1)
    at.light()
    count(card, at)
    first = at.microscope.card.expected_counts()  # where they come from, without their noise
    configured = card.configure(64, 4096, 1.6, 1)
    unit_ns = at.family.offset_unit_ps / 1e3
    assert configured.offset_ns == pytest.approx(round(1.6 / unit_ns) * unit_ns)
    count(card, at)
    second = at.microscope.card.expected_counts()
    moved = round(configured.offset_ns * 1e3 / 64)
    assert int(np.argmax(first)) - int(np.argmax(second)) == pytest.approx(moved, abs=1)


@every_family
def test_dwell_in_whole_milliseconds(family):
    at = rig(family)
    card = at.open()
    for asked_s, sent_ms in [(0.001, 1), (0.0126, 13), (360_000.0, 360_000_000)]:
        card.start(asked_s)
        assert at.library.calls[-1] == ("StartMeas", (0, sent_ms))
        card.stop()


def test_stop_ends_the_dwell_and_keeps_the_counts():
    at = rig()
    card = at.open()
    card.configure(100, 4096, 0.0, 1)
    at.light()
    card.start(1000)
    at.microscope.clock.wait(0.5)
    assert card.is_counting()
    card.stop()
    assert not card.is_counting()
    histogram = card.read()
    assert 0.5 <= histogram.live_s < 1000
    assert histogram.counts.sum() > 0
    before = len(at.library.calls)
    card.stop()  # nothing runs: nothing is sent
    assert len(at.library.calls) == before


# -- the order of the calls ----------------------------------------------------------------------

SETTERS = {
    "TimeHarp 260": ["SetSyncCFD", "SetSyncChannelOffset", "SetInputCFD", "SetInputChannelOffset",
                     "SetInputChannelEnable", "SetStopOverflow", "SetHistoLen"],
    "PicoHarp 300": ["SetInputCFD", "SetSyncOffset", "SetInputCFD", "SetStopOverflow"],
    "PicoHarp 330": ["SetSyncTrgMode", "SetSyncCFD", "SetSyncChannelOffset", "SetInputTrgMode",
                     "SetInputCFD", "SetInputChannelOffset", "SetInputChannelEnable",
                     "SetStopOverflow", "SetHistoLen"],
    "HydraHarp 400": ["SetSyncCFD", "SetSyncChannelOffset", "SetInputCFD",
                      "SetInputChannelOffset", "SetInputChannelEnable", "SetStopOverflow",
                      "SetHistoLen"],
    "MultiHarp 150/160": ["SetSyncEdgeTrg", "SetSyncChannelOffset", "SetInputEdgeTrg",
                          "SetInputChannelOffset", "SetInputChannelEnable", "SetStopOverflow",
                          "SetHistoLen"],
}  # fmt: skip


CALIBRATED = ("PicoHarp 300", "HydraHarp 400")


@every_family
def test_order_of_calls(family):
    at = rig(family)
    card = at.open()
    opening = ["OpenDevice", "Initialize"]
    if family in CALIBRATED:
        opening += ["Calibrate"]
    opening += ["GetHardwareInfo", "GetLibraryVersion", "GetBaseResolution"]
    if family != "PicoHarp 300":
        opening += ["GetNumOfInputChannels"]
    setting = ["SetSyncDiv", *SETTERS[family], "SetBinning", "SetOffset", "GetResolution"]
    assert at.functions() == opening + setting

    at.library.calls.clear()
    card.configure(100, 1024, 0.0, 1)
    assert at.functions() == setting

    at.library.calls.clear()
    count(card, at, 0.01)
    card.read()
    functions = [f for f in at.functions() if f not in ("GetSyncRate", "GetCountRate")]
    polls = functions.count("CTCStatus")
    assert polls >= 1
    assert functions == [
        "ClearHistMem", "StartMeas", *["CTCStatus"] * polls, "StopMeas",
        "GetHistogram", "GetElapsedMeasTime", "GetFlags",
    ]  # fmt: skip

    at.library.calls.clear()
    card.close()
    assert at.functions() == ["CloseDevice"]


@every_family
def test_rate_meters_are_given_their_time(family):
    at = rig(family)
    card = at.open()
    clock = at.microscope.clock
    card.configure(100, 1024, 0.0, 1)
    started_s = clock.now_s()
    assert card.sync_rate_hz() > 0
    assert clock.now_s() - started_s >= 0.15


@pytest.mark.parametrize(
    ("family", "base_ps", "changes", "expected"),
    [
        ("TimeHarp 260", 25.0, {}, {"SetSyncCFD": (0, -70, -12), "SetInputCFD": (0, 0, -90, -8)}),
        (
            "TimeHarp 260",
            250.0,
            {"sync_level_mv": 100, "sync_edge": "rising"},
            {"SetSyncEdgeTrg": (0, 100, 1), "SetInputEdgeTrg": (0, 0, -90, 0)},
        ),
        ("PicoHarp 300", 4.0, {}, {"SetInputCFD": (0, 1, 90, 8)}),
        (
            "PicoHarp 330",
            1.0,
            {"channel": 2},
            {"SetSyncTrgMode": (0, 1), "SetInputTrgMode": (0, 2, 1), "SetSyncCFD": (0, -70, -12)},
        ),
        (
            "PicoHarp 330",
            1.0,
            {"discriminator": "edge", "input_edge": "rising"},
            {"SetInputTrgMode": (0, 0, 0), "SetInputEdgeTrg": (0, 0, -90, 1)},
        ),
        ("HydraHarp 400", 1.0, {}, {"SetSyncCFD": (0, 70, 12), "SetInputCFD": (0, 0, 90, 8)}),
        ("MultiHarp 150/160", 5.0, {}, {"SetSyncEdgeTrg": (0, -70, 0)}),
    ],
)
def test_thresholds_as_each_library_wants_them(family, base_ps, changes, expected):
    at = rig(family, base_ps)
    at.open(
        **{
            "sync_level_mv": -70,
            "sync_zero_mv": -12,
            "input_level_mv": -90,
            "input_zero_mv": -8,
        }
        | changes
    )
    sent = dict(at.library.calls)
    for name, arguments in expected.items():
        assert sent[name] == arguments
    assert sent["SetStopOverflow"] == (0, 1, at.family.counter_max)
    if at.family.name != "PicoHarp 300":
        assert sent["SetInputChannelEnable"] == (0, changes.get("channel", 0), 1)


# -- what may be configured ----------------------------------------------------------------------


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_allowed_can_be_configured(data, cards):
    card, family = cards[data.draw(st.sampled_from(CARDS))]
    widths = card.allowed_time_bins_ps()
    time_bin_ps = data.draw(st.sampled_from(widths))
    bins = data.draw(st.integers(1, card.max_bins()) | st.just(card.max_bins()))
    most_ns = min(family.max_offset * family.offset_unit_ps / 1e3, 1e5)
    offset_ns = data.draw(st.floats(0, most_ns))
    divider = data.draw(st.sampled_from([d for d in (1, 2, 4, 8, 16) if d <= 2**4]))
    if divider > family.max_sync_divider:
        with pytest.raises(DeviceError, match=f"sync divider {divider} cannot be had"):
            card.configure(time_bin_ps, bins, offset_ns, divider)
        return
    made = card.configure(time_bin_ps, bins, offset_ns, divider)
    assert made.time_bin_ps == time_bin_ps
    assert made.bins == bins
    assert made.sync_divider == divider
    assert abs(made.offset_ns - offset_ns) <= family.offset_unit_ps / 2e3 * (1 + 1e-9)
    for refused in (
        lambda: card.configure(time_bin_ps * 1.5, bins, offset_ns, divider),
        lambda: card.configure(widths[0] / 2, bins, offset_ns, divider),
        lambda: card.configure(widths[-1] * 2, bins, offset_ns, divider),
        lambda: card.configure(time_bin_ps, card.max_bins() + 1, offset_ns, divider),
        lambda: card.configure(time_bin_ps, 0, offset_ns, divider),
        lambda: card.configure(time_bin_ps, bins, -1.0, divider),
        lambda: card.configure(time_bin_ps, bins, math.nan, divider),
        lambda: card.configure(time_bin_ps, bins, offset_ns, 3),
    ):
        with pytest.raises(DeviceError) as caught:
            refused()
        assert one_sentence(caught.value)


@pytest.fixture(scope="module")
def cards() -> dict[tuple[str, float], tuple[PicoQuantCard, Family]]:
    return {(name, base_ps): (rig(name, base_ps).open(), FAMILIES[name]) for name, base_ps in CARDS}


@every_family
def test_lengths_that_are_asked_for(family):
    at = rig(family)
    card = at.open()
    for bins in (1, 1024, 4096, 4097, 20000, card.max_bins()):
        card.configure(100, bins, 0.0, 1)
        count(card, at, 0.001)
        assert card.read().counts.shape == (bins,)
        if family != "PicoHarp 300":
            code = dict(at.library.calls)["SetHistoLen"][1]
            assert 1024 << code >= bins
            # shorter ones cannot be read from these two
            assert code >= (2 if family in ("MultiHarp 150/160", "PicoHarp 330") else 0)


@pytest.mark.parametrize("dwell_s", [0.0, 0.0009, 360_001.0, -1.0, math.nan, math.inf])
def test_dwells_that_are_refused(dwell_s):
    at = rig()
    card = at.open()
    before = len(at.library.calls)
    with pytest.raises(DeviceError, match="a dwell of .* cannot be had.*between 1 ms and 100 h"):
        card.start(dwell_s)
    assert len(at.library.calls) == before


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("TimeHarp 260", {"sync_level_mv": 10}, "cannot do sync_level_mv = 10.*-1200 to 0"),
        ("TimeHarp 260", {"input_zero_mv": -41}, "cannot do input_zero_mv = -41.*-40 to 0"),
        ("TimeHarp 260", {"channel": 2}, "no detector input 2: the TimeHarp 260 P has 2"),
        ("PicoHarp 300", {"channel": 1}, "no detector input 1: the PicoHarp 300 has 1"),
        ("PicoHarp 300", {"input_level_mv": -801}, "-800 to 0"),
        ("MultiHarp 150/160", {"sync_level_mv": -1300}, "-1200 to 1200"),
    ],
)
def test_settings_that_the_card_cannot_do(family, changes, words):
    at = rig(family)
    with pytest.raises(DeviceError, match=words) as caught:
        at.open(**changes)
    assert one_sentence(caught.value)
    assert at.functions()[-1] == "CloseDevice"
    at.open()  # let go of, so it can be opened


# -- which card ----------------------------------------------------------------------------------


@every_family
def test_devices_0_to_7_are_looked_at(family):
    at = rig(family)
    at.library.index = 7
    at.library.others = {2: "1000555"}
    at.library.fail("OpenDevice", -1, 4)  # the first four look empty
    assert [str(one) for one in discover("card", at.settings, at.library)] == [
        "device 7: serial number 1000001"
    ]
    assert [one.serial_number for one in discover("card", at.settings, at.library)] == [
        "1000555", "1000001",
    ]  # fmt: skip
    card = at.open(serial_number="1000001")
    assert card.identify().serial_number == "1000001"
    opened = [arguments for name, arguments in at.library.calls if name == "OpenDevice"]
    assert opened[-8:] == [(index,) for index in range(8)]
    assert ("CloseDevice", (2,)) in at.library.calls


def test_a_card_that_is_not_there_by_its_serial_number():
    at = rig()
    at.library.others = {1: "1000555"}
    with pytest.raises(
        DeviceError,
        match=r"no TimeHarp 260 with serial number 42 answers \(found: device 0: serial number "
        r"1000001; device 1: serial number 1000555\)",
    ):
        at.open(serial_number="42")
    at.open()


@every_family
def test_no_card(family):
    at = rig(family)
    at.microscope.card.unplug()
    with pytest.raises(DeviceError, match=f"no {family} answers") as caught:
        at.open()
    assert "driver" in caught.value.advice
    assert len(at.library.calls) == 8
    at.microscope.card.plug_in()
    at.open()


@every_family
def test_card_in_use_by_another_program(family):
    at = rig(family)
    at.library.held = True
    with pytest.raises(DeviceError, match=r"in use by another program \(.*DEVICE_BUSY, -2\)"):
        at.open()
    with pytest.raises(DeviceError, match="serial number 7 .*in use by another program"):
        at.open(serial_number="7")
    at.library.held = False
    card = at.open()
    with pytest.raises(DeviceError, match="in use"):
        at.open()
    card.close()
    at.open()


# -- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "code", "happened", "advice"),
    [
        ("OpenDevice", -2, "in use by another program", "close"),
        ("OpenDevice", -11, "in use by another program", "close"),
        ("OpenDevice", -9, "do not belong together", "same PicoQuant package"),
        ("OpenDevice", -33, "do not belong together .*unknown error, -33", "same PicoQuant"),
        ("Initialize", -36, "connection to the card was lost", "cable"),
        ("Calibrate", -46, r"could not be calibrated \(HH_Calibrate: CALIB_FAIL, -46\)", "warm"),
        ("SetSyncDiv", -17, r"refuses a setting \(HH_SetSyncDiv: INVALID_ARGUMENT", "change"),
        ("SetBinning", -22, "not initialised", "connect"),
        ("SetOffset", -16, "is measuring", "stop"),
        ("GetBaseResolution", -70, "the card failed .*unknown error, -70", "PicoQuant"),
    ],
)  # fmt: skip
def test_error_codes_become_sentences(function, code, happened, advice):
    at = rig("HydraHarp 400")
    at.library.fail(function, code)
    with pytest.raises(LibraryError, match=happened) as caught:
        at.open()
    assert caught.value.code == code
    assert advice in caught.value.advice
    assert one_sentence(caught.value)
    at.open()  # let go of, so it can be opened


def test_not_calibrated():
    at = rig("PicoHarp 300")
    card = at.open()
    at.library._calibrated = False
    with pytest.raises(DeviceError, match=r"not calibrated \(PH_StartMeas: NOT_CALIBRATED, -23\)"):
        card.start(1)


@every_family
def test_settings_while_measuring(family):
    at = rig(family)
    card = at.open()
    card.start(1000)
    with pytest.raises(DeviceError, match="the card is measuring .*INSTANCE_RUNNING, -16"):
        card.configure(100, 1024, 0.0, 1)
    card.stop()
    card.configure(100, 1024, 0.0, 1)


@every_family
def test_sync_lost_in_mid_dwell(family):
    at = rig(family)
    card = at.open()
    card.configure(100, 4096, 0.0, 1)
    at.light()
    card.start(1000)
    at.microscope.clock.wait(1)
    assert card.is_counting()
    at.microscope.card.lose_sync()
    at.microscope.clock.wait(1)
    assert card.is_counting()
    card.stop()
    assert "sync-lost" in card.read().flags
    assert card.sync_rate_hz() == 0
    at.microscope.card.find_sync()
    count(card, at)
    assert card.read().flags == frozenset()


@every_family
def test_usb_gone_in_mid_dwell(family):
    at = rig(family)
    card = at.open()
    at.light()
    card.start(1000)
    assert card.is_counting()
    at.microscope.card.unplug()
    with pytest.raises(DeviceError, match="connection to the card was lost") as caught:
        card.is_counting()
    assert one_sentence(caught.value)
    calls: list[Callable[[], object]] = [
        card.identify, card.sync_rate_hz, card.count_rate_hz, card.stop, card.read,
        lambda: card.start(1), lambda: card.configure(100, 1024, 0.0, 1),
    ]  # fmt: skip
    at.microscope.card.plug_in()
    for call in calls:  # back on its cable, but no longer the one that was opened
        with pytest.raises(DeviceError, match="no longer open .*DEVICE_NOT_OPEN, -10"):
            call()
    card.close()
    at.microscope.card.stop()
    again = at.open()
    count(again, at)
    assert again.read().counts.sum() > 0


@every_family
def test_every_call_fails_without_the_card(family):
    at = rig(family)
    card = at.open()
    at.microscope.card.unplug()
    for call in (
        card.identify,
        card.sync_rate_hz,
        card.count_rate_hz,
        card.read,
        lambda: card.start(1),
        lambda: card.configure(100, 1024, 0.0, 1),
    ):
        with pytest.raises(DeviceError, match="was lost|no longer open"):
            call()
    card.close()  # never raises


@every_family
def test_overflow_stops_the_dwell(family):
    widest = 2**16 - 1 if family == "PicoHarp 300" else 500
    at = rig(family, counter_max=2**32 - 1 if family == "PicoHarp 300" else widest)
    card = at.open()
    card.configure(3200, 1024, 0.0, 1)  # wide bins, so that one soon is full
    at.microscope.attenuator.set_transmission(1.0)
    at.microscope.clock.wait(2)
    at.light()
    card.start(3000)
    while card.is_counting():
        at.microscope.clock.wait(0.5)
    histogram = card.read()
    assert histogram.flags >= {"overflow"}
    assert histogram.counts.max() == widest
    rate_hz = at.microscope.card.expected_rates().per_bin_hz.max()
    assert histogram.live_s == pytest.approx(widest / rate_hz, rel=0.2)
    at.microscope.shutter.set_open(False)
    card.configure(100, 1024, 0.0, 1)
    count(card, at)
    assert "overflow" not in card.read().flags


@pytest.mark.parametrize(
    ("family", "mask", "name"),
    [
        (family.name, 1 << bit, name)
        for family in FAMILIES.values()
        for mask, name in family.flags
        for bit in range(16)
        if mask & 1 << bit
    ],
)
def test_flags(family, mask, name):
    assert name in (*FLAGS, "reference-lost")  # the names of the scan file, whose last is "other"
    at = rig(family)
    card = at.open()
    at.library._family = dataclasses.replace(at.library._family, flags={"this": mask})
    at.microscope.card.flags = lambda: frozenset({"this"})
    count(card, at, 0.01)
    assert card.read().flags == {name}


@every_family
def test_a_running_measurement_and_what_is_unknown_are_no_flags(family):
    at = rig(family)
    card = at.open()
    unknown = 0x4000 | at.library._family.running_flag
    at.library._family = dataclasses.replace(at.library._family, flags={"this": unknown})
    at.microscope.card.flags = lambda: frozenset({"this"})
    count(card, at, 0.01)
    assert card.read().flags == frozenset()


# -- T3 records ----------------------------------------------------------------------------------

HISTOGRAM_ONLY = {"SetStopOverflow", "SetHistoLen", "ClearHistMem", "GetHistogram"}


def stream(
    card: PicoQuantCard, at: Rig, settings: StreamConfiguration, dwell_s: float = 0.2
) -> tuple[NDArray[np.uint32], StreamEnd]:
    """Stream for a dwell, to its end."""
    card.start(dwell_s)
    records = read_to_the_end(card, at, settings, dwell_s / 10)
    return records, card.end_stream()


def read_to_the_end(
    card: PicoQuantCard, at: Rig, settings: StreamConfiguration, pause_s: float = 0.02
) -> NDArray[np.uint32]:
    buffer = np.empty(settings.read_records, dtype=np.uint32)
    blocks = []
    while True:
        over = not card.is_counting()
        count = card.read_records(buffer)
        blocks.append(buffer[:count].copy())
        if over and count == 0:
            return np.concatenate(blocks)
        at.microscope.clock.wait(pause_s)


def decoded(records: NDArray[np.uint32], settings: StreamConfiguration) -> T3Decoder:
    decoder = T3Decoder(T3_FORMATS[settings.record_type])
    decoder.feed(records)
    return decoder


@pytest.mark.parametrize(
    ("family", "base_ps", "record_type", "fifo_records", "read_records"),
    [
        ("TimeHarp 260", 25.0, 0x00010306, 2_097_152, 131_072),
        ("TimeHarp 260", 250.0, 0x00010305, 2_097_152, 131_072),
        ("PicoHarp 300", 4.0, 0x00010303, 262_144, 131_072),
        ("PicoHarp 330", 1.0, 0x00010307, 134_217_728, 1_048_576),
        ("HydraHarp 400", 1.0, 0x01010304, 2_097_152, 131_072),
        ("MultiHarp 150/160", 5.0, 0x00010307, 134_217_728, 1_048_576),
        ("MultiHarp 150/160", 80.0, 0x00010307, 134_217_728, 1_048_576),
    ],
)
def test_what_a_stream_is_made_of(family, base_ps, record_type, fifo_records, read_records):
    at = rig(family, base_ps)
    channel = 0 if family == "PicoHarp 300" else 1
    card = at.open(channel=channel)
    made = card.configure_stream(4 * base_ps, 3.0, 2)
    assert made == StreamConfiguration(
        time_bin_ps=4 * base_ps,
        offset_ns=3.0,
        sync_divider=2,
        record_type=record_type,
        channel=channel,
        fifo_records=fifo_records,
        read_records=read_records,
    )
    assert channel < T3_FORMATS[record_type].channels
    assert card.counter_max() == (65535 if family == "PicoHarp 300" else 2**32 - 1)


@every_family
def test_order_of_calls_in_t3_mode(family):
    at = rig(family)
    card = at.open()
    inputs = [name for name in SETTERS[family] if name not in HISTOGRAM_ONLY]
    initializing = ["Initialize", *(["Calibrate"] if family in CALIBRATED else [])]
    setting = ["SetSyncDiv", *inputs, "SetBinning", "SetOffset", "GetResolution"]
    marking = ["SetMarkerHoldoffTime", "SetMarkerEdges", "SetMarkerEnable"]

    at.library.calls.clear()
    card.configure_stream(100, 0.0, 1, markers=True)
    assert at.functions() == [*initializing, *setting, *marking]

    at.library.calls.clear()
    settings = card.configure_stream(100, 0.0, 1)
    assert at.functions() == [*setting, "SetMarkerEnable"]

    at.library.calls.clear()
    stream(card, at, settings, 0.05)
    functions = [f for f in at.functions() if f not in ("GetSyncRate", "GetCountRate")]
    polls = functions.count("CTCStatus")
    assert polls >= 2
    assert functions == [
        "StartMeas", *["GetFlags", "CTCStatus", "ReadFiFo"] * polls,
        "GetFlags", "StopMeas", "GetElapsedMeasTime",
    ]  # fmt: skip

    at.library.calls.clear()
    card.configure(100, 1024, 0.0, 1)
    assert at.functions()[: len(initializing)] == initializing
    count(card, at, 0.01)
    assert card.read().counts.shape == (1024,)


@every_family
def test_settings_on_the_wire_in_t3_mode(family):
    at = rig(family, 4.0)
    card = at.open(marker_edge="falling", sync_offset_ps=100, input_offset_ps=40)
    at.library.calls.clear()
    card.configure_stream(64, 2.0, 4, markers=True)
    sent = dict(at.library.calls)
    reference = (0,) if family in ("PicoHarp 330", "HydraHarp 400", "MultiHarp 150/160") else ()
    assert sent["Initialize"] == (0, 3, *reference)
    assert sent["SetSyncDiv"] == (0, 4)
    assert sent["SetBinning"] == (0, 4)
    assert sent["SetOffset"] == (0, 2000 if family == "PicoHarp 300" else 2)
    assert sent["SetMarkerEdges"] == (0, 0, 0, 0, 0)
    assert sent["SetMarkerEnable"] == (0, 1, 1, 1, 1)
    assert sent["SetMarkerHoldoffTime"] == (0, 10_000)
    if family == "PicoHarp 300":
        assert sent["SetSyncOffset"] == (0, 60)
    else:
        assert sent["SetSyncChannelOffset"] == (0, 100)
        assert sent["SetInputChannelOffset"] == (0, 0, 40)
    assert not HISTOGRAM_ONLY & set(sent)

    card.configure_stream(64, 2.0, 4)
    assert dict(at.library.calls)["SetMarkerEnable"] == (0, 0, 0, 0, 0)
    settings = card.configure_stream(64, 0.0, 4)
    stream(card, at, settings, 0.01)
    reads = [arguments for name, arguments in at.library.calls if name == "ReadFiFo"]
    counts = () if family in ("PicoHarp 330", "MultiHarp 150/160") else (131_072,)
    assert set(reads) == {(0, *counts)}


@every_card
def test_a_decoded_stream_is_the_histogram_of_the_same_light(family, base_ps):
    at = rig(family, base_ps)
    card = at.open()
    time_bin_ps, bins, dwell_s = coarse(base_ps), 1000, 2.0
    card.configure(time_bin_ps, bins, 0.0, 1)
    at.light()
    count(card, at, dwell_s)
    expected = at.microscope.card.expected_counts()[:bins]
    assert card.read().counts.sum() == pytest.approx(expected.sum(), rel=0.1)

    settings = card.configure_stream(time_bin_ps, 0.0, 1)
    records, end = stream(card, at, settings, dwell_s)
    decoder = decoded(records, settings)
    assert end.live_s == pytest.approx(dwell_s)
    assert end.flags == frozenset()
    counts = decoder.histogram[settings.channel]
    assert decoder.photons == counts.sum()  # all of them at this input
    counts = counts[:bins]
    assert counts.sum() == pytest.approx(expected.sum(), abs=5 * math.sqrt(expected.sum()))
    strong = expected > 10
    assert strong.sum() > 20
    chi2 = ((counts - expected)[strong] ** 2 / expected[strong]).sum()
    assert abs(chi2 - strong.sum()) < 6 * math.sqrt(2 * strong.sum())
    # the time axis is that of the sync pulses, which the records number
    assert decoder.sync_count == pytest.approx(2.5e6 * dwell_s, abs=2.5e6 * 0.05)
    assert (decoder.markers, decoder.invalid) == (0, 0)


@every_family
def test_markers(family):
    at = rig(family, trigger_um=100.0)
    card = at.open()
    for markers, target_um in ((True, 550.0), (False, 0.0)):
        settings = card.configure_stream(100, 0.0, 1, markers=markers)
        card.start(3.0)
        at.microscope.detector_stage.move_to(target_um, 0.0)
        decoder = decoded(read_to_the_end(card, at, settings), settings)
        assert card.end_stream().flags == frozenset()
        assert decoder.markers == (5 if markers else 0)


@every_family
def test_a_stream_is_read_by_another_thread_while_this_one_polls(family):
    at = rig(family)
    card = at.open()
    settings = card.configure_stream(100, 0.0, 1)
    at.light()
    card.start(5.0)
    read: list[NDArray[np.uint32]] = []
    reader = threading.Thread(target=lambda: read.append(read_to_the_end(card, at, settings)))
    reader.start()
    polls = 0
    while reader.is_alive():
        assert card.sync_rate_hz() == 2.5e6
        card.count_rate_hz()
        polls += 1
    reader.join()
    end = card.end_stream()
    assert polls > 5
    assert (end.live_s, end.flags) == (pytest.approx(5.0), frozenset())
    expected = at.microscope.card.expected_counts().sum()
    photons = decoded(read[0], settings).photons
    assert photons == pytest.approx(expected, abs=6 * math.sqrt(expected))


def test_no_two_calls_at_once():
    at = rig()
    card = at.open()
    settings = card.configure_stream(100, 0.0, 1)
    card.start(1000)
    functions = card._library._functions
    reading, go_on = threading.Event(), threading.Event()

    class Slow:
        argtypes = functions["ReadFiFo"].argtypes

        def __init__(self, function: Any) -> None:
            self.function = function

        def __call__(self, *arguments: Any) -> int:
            reading.set()
            assert go_on.wait(10)
            code: int = self.function(*arguments)
            return code

    functions["ReadFiFo"] = Slow(functions["ReadFiFo"])
    buffer = np.empty(settings.read_records, dtype=np.uint32)
    reader = threading.Thread(target=card.read_records, args=(buffer,))
    reader.start()
    assert reading.wait(10)
    before = len(at.library.calls)
    poller = threading.Thread(target=card.is_counting)
    poller.start()
    poller.join(0.1)
    assert poller.is_alive()
    assert len(at.library.calls) == before
    go_on.set()
    reader.join(10)
    poller.join(10)
    assert not (reader.is_alive() or poller.is_alive())
    names = at.functions()[before:]
    assert names == ["ReadFiFo", "GetFlags", "CTCStatus"]


@pytest.mark.parametrize(
    "buffer",
    [
        np.empty(131_071, dtype=np.uint32),
        np.empty(131_072, dtype=np.int32),
        np.empty(262_144, dtype=np.uint32)[::2],
    ],
)
def test_buffers_that_the_library_would_write_beyond_are_refused(buffer):
    at = rig()
    card = at.open()
    card.configure_stream(100, 0.0, 1)
    card.start(1)
    before = len(at.library.calls)
    with pytest.raises(ValueError, match="131072 records"):
        card.read_records(buffer)
    assert len(at.library.calls) == before


@every_family
def test_fifo_overrun(family):
    at = rig(family)
    card = at.open()
    settings = card.configure_stream(100, 0.0, 1)
    at.light()
    card.start(1.0)
    at.microscope.clock.wait(0.3)
    at.microscope.card.overrun()
    read_to_the_end(card, at, settings)
    assert card.end_stream().flags == {"fifo-full"}
    _, end = stream(card, at, settings)
    assert end.flags == frozenset()


def test_a_flag_that_reading_takes_away_is_kept():
    at = rig()
    card = at.open()
    settings = card.configure_stream(100, 0.0, 1)
    card.start(0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at.microscope.card, "flags", lambda: frozenset({"fifo-full"}))
        assert card.is_counting()
    read_to_the_end(card, at, settings)
    assert card.end_stream().flags == {"fifo-full"}


@every_family
def test_sync_lost_in_mid_stream(family):
    at = rig(family)
    card = at.open()
    settings = card.configure_stream(100, 0.0, 1)
    at.light()
    card.start(30.0)  # 0.6 s on the computer's clock, however busy that is
    at.microscope.clock.wait(0.5)
    assert card.is_counting()
    at.microscope.card.lose_sync()
    at.microscope.clock.wait(0.5)
    assert card.is_counting()
    at.microscope.card.find_sync()
    read_to_the_end(card, at, settings)
    assert card.end_stream().flags == {"sync-lost"}
    _, end = stream(card, at, settings)
    assert end.flags == frozenset()


@every_family
def test_usb_gone_in_mid_stream(family):
    at = rig(family)
    card = at.open()
    settings = card.configure_stream(100, 0.0, 1)
    at.light()
    card.start(1000)
    buffer = np.empty(settings.read_records, dtype=np.uint32)
    card.read_records(buffer)
    at.microscope.card.unplug()
    with pytest.raises(DeviceError, match="connection to the card was lost") as caught:
        card.read_records(buffer)
    assert one_sentence(caught.value)
    at.microscope.card.plug_in()
    calls: list[Callable[[], object]] = [
        lambda: card.read_records(buffer), card.is_counting, card.end_stream, card.stop,
        lambda: card.configure_stream(100, 0.0, 1), lambda: card.configure(100, 1024, 0.0, 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(DeviceError, match="no longer open .*DEVICE_NOT_OPEN, -10"):
            call()
    card.close()
    at.microscope.card.stop()
    again = at.open()
    records, end = stream(again, at, again.configure_stream(100, 0.0, 1))
    assert records.size > 0
    assert end.flags == frozenset()


@every_family
def test_settings_while_streaming(family):
    at = rig(family)
    card = at.open()
    card.configure_stream(100, 0.0, 1)
    card.start(1000)
    for configure in (
        lambda: card.configure_stream(100, 0.0, 1),
        lambda: card.configure(100, 1024, 0.0, 1),
    ):
        with pytest.raises(DeviceError, match="the card is measuring .*INSTANCE_RUNNING, -16"):
            configure()
    card.stop()
    card.configure(100, 1024, 0.0, 1)
    count(card, at, 0.01)
    assert card.read().flags == frozenset()


@every_family
def test_a_stream_that_is_stopped_gives_nothing_more(family):
    at = rig(family)
    card = at.open()
    settings = card.configure_stream(100, 0.0, 1)
    at.light()
    card.start(1000)
    at.microscope.clock.wait(0.5)
    card.stop()
    before = len(at.library.calls)
    assert not card.is_counting()
    assert card.read_records(np.empty(settings.read_records, dtype=np.uint32)) == 0
    card.stop()
    assert len(at.library.calls) == before
    assert 0.5 <= card.end_stream().live_s < 1000


def test_a_card_without_the_option_of_t3():
    at = rig()
    card = at.open()
    at.library.fail("Initialize", -18)
    with pytest.raises(DeviceError, match=r"cannot do this mode .*-18") as caught:
        card.configure_stream(100, 0.0, 1)
    assert one_sentence(caught.value)
    card.configure(100, 1024, 0.0, 1)  # sets the mode again, whatever the card made of it
    assert at.functions().count("Initialize") == 3
    count(card, at, 0.01)
    assert card.read().flags == frozenset()


@every_family
def test_streams_that_are_refused_before_anything_is_sent(family):
    at = rig(family)
    card = at.open()
    before = len(at.library.calls)
    for arguments in ((33.0, 0.0, 1), (100.0, -1.0, 1), (100.0, math.nan, 1), (100.0, 0.0, 3)):
        with pytest.raises(DeviceError, match="cannot be had from the") as caught:
            card.configure_stream(*arguments)
        assert one_sentence(caught.value)
    assert len(at.library.calls) == before


@every_family
def test_rates_in_t3_mode_are_given_their_time(family):
    at = rig(family)
    card = at.open()
    card.configure_stream(100, 0.0, 4)
    assert card.sync_rate_hz() == 2.5e6


# -- loading -------------------------------------------------------------------------------------


@every_family
def test_no_library(family):
    with pytest.raises(DeviceError, match=f"library of the {family} was not found") as caught:
        open_device("card", PicoQuant(family=family), PROFILE, RunningClock(50), None)
    assert FAMILIES[family].needs in caught.value.advice
    assert one_sentence(caught.value)


def test_library_that_is_none(tmp_path):
    path = tmp_path / "th260lib64.dll"
    path.write_bytes(b"MZ")
    with pytest.raises(DeviceError, match=r"th260lib64\.dll cannot be loaded") as caught:
        open_device("card", PicoQuant(library=str(path)), PROFILE, RunningClock(50), None)
    assert one_sentence(caught.value)


def test_library_that_is_too_old():
    at = rig()
    del at.library.TH260_GetElapsedMeasTime  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match="has no function TH260_GetElapsedMeasTime") as caught:
        at.open()
    assert "TH260Lib 3.1 or newer" in caught.value.advice


@pytest.fixture
def compiled(tmp_path) -> Iterator[str]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = tmp_path / "empty.c"
    names = FAMILIES["TimeHarp 260"].signatures
    source.write_text(
        "".join(
            f"int TH260_{name}(void) {{ return {-1 if name == 'OpenDevice' else 0}; }}\n"
            for name in names
        )
    )
    path = tmp_path / "libth260.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, source], check=True)
    yield str(path)


def test_library_from_a_file(compiled):
    with pytest.raises(DeviceError, match="no TimeHarp 260 answers"):
        open_device("card", PicoQuant(library=compiled), PROFILE, RunningClock(50), None)
