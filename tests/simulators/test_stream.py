import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tplm_daq.t3 import T3_FORMATS, T3Decoder, T3Format
from tplm_simulators import OpticsSettings, VirtualFault, VirtualMicroscope
from tplm_simulators.stream import FORMATS, _lottery

GENERIC, PICOHARP, HYDRAHARP_1 = 0x00010307, 0x00010303, 0x00010304
DARK = OpticsSettings(dark_rate_hz=0)
NO_LIGHT = {"detection": {"ambient_rate_hz": 0.0}}
every_format = pytest.mark.parametrize("record_type", T3_FORMATS)

Records = NDArray[np.uint32]
Make = Callable[..., VirtualMicroscope]


@dataclass
class Events:
    """What records say, in plain NumPy; markers have channel -1."""

    channel: NDArray[np.int64]
    dtime: NDArray[np.int64]
    pulse: NDArray[np.int64]

    @property
    def photons(self) -> NDArray[np.bool_]:
        return self.channel >= 0


def events(records: Records, record_format: T3Format) -> Events:
    rows = records.astype(np.int64)
    nsync = rows & ((1 << record_format.nsync_bits) - 1)
    dtime = rows >> record_format.nsync_bits & (record_format.bins - 1)
    overflow = rows >> record_format.overflow_shift == record_format.overflow_code
    number = np.maximum(nsync, 1) if record_format.overflow_counted else np.ones_like(rows)
    pulse = (np.cumsum(np.where(overflow, number, 0)) << record_format.nsync_bits) + nsync
    if record_format.code == PICOHARP:
        channel = np.where(rows >> 28 == 15, -1, (rows >> 28) - 1)
    else:
        channel = np.where(rows >> 31 == 1, -1, rows >> 25)
    return Events(channel[~overflow], dtime[~overflow], pulse[~overflow])


def read_all(microscope: VirtualMicroscope, most: int = 2**21) -> Records:
    blocks = []
    while (records := microscope.card.read_records(most)).size > 0:
        assert records.dtype == np.uint32
        assert records.size <= most
        blocks.append(records)
    return np.concatenate([np.empty(0, np.uint32), *blocks])


def stream(microscope: VirtualMicroscope, dwell_s: float, pieces: int = 1) -> Records:
    """All records of a dwell, read in so many equal steps of time."""
    microscope.card.start(dwell_s)
    blocks = []
    for _ in range(pieces):
        microscope.clock.wait(dwell_s / pieces)
        blocks.append(read_all(microscope))
    return np.concatenate(blocks)


def decoded(records: Records, record_type: int) -> T3Decoder:
    decoder = T3Decoder(T3_FORMATS[record_type])
    decoder.feed(records)
    return decoder


# -- the light is right ------------------------------------------------------------------------


@every_format
def test_histogram_and_pulse_numbers_follow_the_light(lit: Make, record_type: int) -> None:
    microscope = lit()
    microscope.card.configure_stream(400, record_type=record_type)
    records = stream(microscope, 5, pieces=50)
    decoder = decoded(records, record_type)
    assert decoder.invalid == decoder.markers == decoder.out_of_range == 0
    assert decoder.histogram[1:].sum() == 0
    counts, expected = decoder.histogram[0], microscope.card.expected_counts()
    assert counts.sum() > 50_000
    bright = expected > 20
    chi2 = np.sum((counts[bright] - expected[bright]) ** 2 / expected[bright])
    low, high = stats.chi2.ppf([1e-3, 1 - 1e-3], np.count_nonzero(bright))
    assert low < chi2 < high
    rest = counts[~bright].sum()
    assert abs(rest - expected[~bright].sum()) < 4 * math.sqrt(expected[~bright].sum() + 1)
    assert counts[expected == 0].sum() == 0

    found = events(records, T3_FORMATS[record_type])
    assert np.all(np.diff(found.pulse) >= 0)
    per_slice = np.histogram(found.pulse, bins=500, range=(0, 5 * 2.5e6))[0]
    assert per_slice.sum() == decoder.photons
    chi2 = np.sum((per_slice - expected.sum() / 500) ** 2 / (expected.sum() / 500))
    low, high = stats.chi2.ppf([1e-3, 1 - 1e-3], 500)
    assert low < chi2 < high
    # Time after the pulse and number of the pulse know nothing of each other.
    assert abs(np.corrcoef(found.pulse, found.dtime)[0, 1]) < 4 / math.sqrt(found.pulse.size)


def test_bright_light_at_a_high_rate(lit: Make) -> None:
    """More than one photon in each pulse on the average, whatever a detector would do."""
    microscope = lit(detection={"dead_time_ns": 0, "max_count_rate_hz": 1e9})
    microscope.attenuator.set_transmission(1)
    microscope.clock.wait(2)
    microscope.laser.set_repetition_rate_hz(0.1e6)
    microscope.card.configure_stream(400)
    records = stream(microscope, 0.5)
    counts = decoded(records, GENERIC).histogram[0]
    expected = microscope.card.expected_counts()
    assert counts.sum() > 3 * 0.05e6
    bright = expected > 20
    chi2 = np.sum((counts[bright] - expected[bright]) ** 2 / expected[bright])
    low, high = stats.chi2.ppf([1e-3, 1 - 1e-3], np.count_nonzero(bright))
    assert low < chi2 < high


def test_light_that_changes_in_mid_dwell(lit: Make) -> None:
    microscope = lit()
    microscope.card.configure_stream(400)
    microscope.card.start(2)
    microscope.clock.wait(1)
    microscope.shutter.set_open(False)
    microscope.clock.wait(1)
    found = events(read_all(microscope), T3_FORMATS[GENERIC])
    closed = round(1.004 * 2.5e6)
    assert np.count_nonzero(found.pulse < closed) > 10_000
    dark = microscope.card.expected_rates().total_hz * 0.996
    assert abs(np.count_nonzero(found.pulse >= closed) - dark) < 4 * math.sqrt(dark)


def test_a_picoharp_tells_4096_bins(lit: Make) -> None:
    microscope = lit()
    microscope.card.configure_stream(25, record_type=PICOHARP)
    records = stream(microscope, 2)
    decoder = decoded(records, PICOHARP)
    expected = microscope.card.expected_counts()
    assert expected.size == 4096
    assert expected.sum() < microscope.card.expected_rates().total_hz * 2
    assert abs(decoder.photons - expected.sum()) < 4 * math.sqrt(expected.sum())


def test_an_offset_moves_the_light(lit: Make) -> None:
    microscope = lit()
    peaks = []
    for offset_ps in (0, 1000):
        microscope.card.configure_stream(25, offset_ps)
        peaks.append(np.argmax(decoded(stream(microscope, 2), GENERIC).histogram[0]))
    assert peaks[0] - peaks[1] == pytest.approx(1000 / 25, abs=3)


def test_the_lottery_is_fair() -> None:
    weights = np.random.default_rng(1).exponential(size=4096) ** 4
    weights[::3] = 0
    table = _lottery(weights)
    stays = (table >> np.uint64(32)) / 2.0**32
    shares = stays.copy()
    np.add.at(shares, (table & np.uint64(0xFFFFFFFF)).astype(np.int64), 1 - stays)
    np.testing.assert_allclose(shares / 4096, weights / weights.sum(), rtol=0, atol=1e-9)
    assert np.all(shares[weights == 0] == 0)


# -- records -----------------------------------------------------------------------------------


@every_format
@pytest.mark.parametrize("channel", [0, 3])
def test_channels(lit: Make, record_type: int, channel: int) -> None:
    microscope = lit()
    microscope.card.configure_stream(400, record_type=record_type, channel=channel)
    decoder = decoded(stream(microscope, 0.1), record_type)
    assert decoder.histogram[channel].sum() == decoder.photons > 0


def most_overflows(record_type: int) -> int:
    return max(FORMATS[record_type].counted, 1)


@every_format
@pytest.mark.parametrize("rate_hz", [0.1e6, 2.5e6, 40e6])
def test_overflows_in_the_dark(build: Make, record_type: int, rate_hz: float) -> None:
    microscope = build(DARK, **NO_LIGHT)
    microscope.laser.set_repetition_rate_hz(rate_hz)
    microscope.card.configure_stream(400, record_type=record_type)
    turn = 1 << T3_FORMATS[record_type].nsync_bits
    microscope.card.start(3)
    decoder = T3Decoder(T3_FORMATS[record_type])
    most = most_overflows(record_type)
    for n in range(1, 11):
        microscope.clock.wait(0.3)
        before = decoder.sync_count // turn
        read = read_all(microscope)
        decoder.feed(read)
        assert decoder.sync_count == math.floor(n * 0.3 * rate_hz + 1e-6) // turn * turn
        assert read.size == math.ceil((decoder.sync_count // turn - before) / most)
    assert decoder.photons == decoder.invalid == 0


@every_format
def test_overflows_between_photons(lit: Make, record_type: int) -> None:
    """Rare photons, so that many overflows come between two; none is told twice or too late."""
    microscope = lit()
    microscope.laser.set_repetition_rate_hz(40e6)
    microscope.attenuator.set_transmission(1e-4)
    microscope.clock.wait(2)
    microscope.card.configure_stream(400, record_type=record_type)
    records = stream(microscope, 3)
    record_format = T3_FORMATS[record_type]
    decoder = decoded(records, record_type)
    assert 100 < decoder.photons < 5000
    turn = 1 << record_format.nsync_bits
    assert 3 * 40e6 - turn < decoder.sync_count <= 3 * 40e6
    found = events(records, record_format)
    at = np.concatenate([[0], found.pulse // turn, [3 * 40_000_000 // turn]])
    assert decoder.overflow_records == sum(
        math.ceil(step / most_overflows(record_type)) for step in np.diff(at)
    )


@pytest.mark.parametrize("most", [1, 7, 1000, 2**17])
def test_a_stream_is_the_same_in_blocks_of_any_size(lit: Make, most: int) -> None:
    def run(most: int) -> Records:
        microscope = lit()
        microscope.card.configure_stream(400)
        microscope.card.start(0.2)
        microscope.clock.wait(0.2)
        return read_all(microscope, most)

    reference = run(2**21)
    assert reference.size > 2000
    np.testing.assert_array_equal(run(most), reference)


def test_photons_do_not_depend_on_when_they_are_read(lit: Make) -> None:
    def run(pieces: int) -> Events:
        microscope = lit()
        microscope.card.configure_stream(400)
        return events(stream(microscope, 2, pieces), T3_FORMATS[GENERIC])

    once, often = run(1), run(1000)
    np.testing.assert_array_equal(often.pulse, once.pulse)
    np.testing.assert_array_equal(often.dtime, once.dtime)


def test_same_seed_and_calls_same_records(lit: Make) -> None:
    def run(seed: int, *, poll: bool) -> Records:
        microscope = lit(seed=seed, laser={"noise_rms": 0.02})
        microscope.card.configure_stream(25)
        microscope.card.start(1)
        for _ in range(10):
            microscope.clock.wait(0.1)
            if poll:
                microscope.card.is_running()
                microscope.card.count_rate_hz()
                microscope.card.elapsed_s()
        return read_all(microscope)

    reference = run(1, poll=False)
    np.testing.assert_array_equal(run(1, poll=False), reference)
    np.testing.assert_array_equal(run(1, poll=True), reference)
    assert not np.array_equal(run(2, poll=False), reference)


def test_dwells_differ(lit: Make) -> None:
    microscope = lit()
    microscope.card.configure_stream(400)
    assert not np.array_equal(stream(microscope, 0.1), stream(microscope, 0.1))


# -- start, stop, and what goes wrong ----------------------------------------------------------


def test_records_of_the_end_wait_until_stop(lit: Make) -> None:
    microscope = lit()
    card, clock = microscope.card, microscope.clock
    card.configure_stream(400)
    card.start(1)
    clock.wait(0.75)
    assert card.is_running()
    clock.wait(10)
    assert not card.is_running()
    assert card.elapsed_s() == pytest.approx(1)
    first = card.read_records(1000)
    assert first.size == 1000
    assert card.read_records(1000).size == 1000
    card.stop()
    assert card.read_records(1000).size == 0
    assert card.elapsed_s() == pytest.approx(1)


def test_stop_in_mid_dwell_and_start_again(lit: Make) -> None:
    microscope = lit()
    card, clock = microscope.card, microscope.clock
    card.configure_stream(400)
    card.start(10)
    clock.wait(1)
    card.stop()
    clock.wait(1)
    assert card.elapsed_s() == pytest.approx(1)
    assert card.read_records(2**20).size == 0
    card.start(0.1)  # counts pulses from 0 again
    clock.wait(1)
    found = events(read_all(microscope), T3_FORMATS[GENERIC])
    assert 0 < found.pulse.min() < found.pulse.max() < 0.1 * 2.5e6


def test_a_full_fifo_ends_the_stream(lit: Make) -> None:
    microscope = lit(detection={"fifo_records": 5000})
    card, clock = microscope.card, microscope.clock
    card.configure_stream(400)
    assert card.fifo_records == 5000
    card.start(100)
    clock.wait(0.3)
    kept = card.read_records(1000)
    assert card.flags() == frozenset()
    clock.wait(1)
    assert card.flags() == {"fifo-full"}
    assert card.is_running()
    rest = read_all(microscope)
    assert rest.size == 5000
    clock.wait(1)
    assert card.read_records(10).size == 0
    assert card.flags() == {"fifo-full"}
    found = events(np.concatenate([kept, rest]), T3_FORMATS[GENERIC])
    assert np.all(np.diff(found.pulse) >= 0)  # sound as far as it goes
    card.stop()
    assert "fifo-full" in card.flags()
    card.start(1)
    assert card.flags() == frozenset()
    clock.wait(0.1)
    assert card.read_records(10).size == 10


def test_a_fifo_that_is_read_in_time_never_fills(lit: Make) -> None:
    microscope = lit(detection={"fifo_records": 1024})
    microscope.card.configure_stream(400)
    records = stream(microscope, 3, pieces=100)
    assert records.size > 30_000
    assert microscope.card.flags() == frozenset()
    assert decoded(records, GENERIC).invalid == 0


def test_a_family_may_have_a_shorter_fifo(lit: Make) -> None:
    microscope = lit()
    microscope.card.configure_stream(400, fifo_records=2000)
    assert microscope.card.fifo_records == 2000
    assert stream(microscope, 1).size == 2000
    assert microscope.card.flags() == {"fifo-full"}


def test_years_of_light_take_no_memory(lit: Make) -> None:
    microscope = lit(detection={"fifo_records": 1024})
    microscope.card.configure_stream(400, record_type=HYDRAHARP_1)
    assert stream(microscope, 1e8).size == 1024


def test_overrun(lit: Make) -> None:
    microscope = lit()
    microscope.card.configure_stream(400)
    microscope.card.start(10)
    microscope.clock.wait(0.1)
    microscope.card.overrun()
    microscope.clock.wait(1)
    assert microscope.card.flags() == {"fifo-full"}
    found = events(read_all(microscope), T3_FORMATS[GENERIC])
    assert 0 < found.pulse.max() < 0.1 * 2.5e6


def test_lost_sync_stops_the_records_and_the_numbers(lit: Make) -> None:
    microscope = lit()
    card, clock = microscope.card, microscope.clock
    card.configure_stream(400)
    decoder = T3Decoder(T3_FORMATS[GENERIC])
    card.start(10)
    clock.wait(1)
    card.lose_sync()
    decoder.feed(read_all(microscope))
    photons = decoder.photons
    assert decoder.sync_count == pytest.approx(1 * 2.5e6, abs=1024)
    assert "sync-lost" in card.flags()
    clock.wait(1)
    assert card.read_records(10).size == 0
    card.find_sync()
    clock.wait(1)
    decoder.feed(read_all(microscope))
    assert decoder.photons > 1.5 * photons
    assert decoder.sync_count == pytest.approx(2 * 2.5e6, abs=1024)
    assert "sync-lost" in card.flags()  # it happened in this measurement


def test_numbers_go_on_at_a_new_repetition_rate(lit: Make) -> None:
    microscope = lit()
    microscope.card.configure_stream(400)
    microscope.card.start(10)
    pulses = 0.0
    decoder = T3Decoder(T3_FORMATS[GENERIC])
    for n, rate_hz in enumerate((2.5e6, 0.7e6, 40e6, 0.1e6)):
        microscope.laser.set_repetition_rate_hz(rate_hz)
        microscope.clock.wait(0.1 + 0.01 * n)
        pulses += (0.1 + 0.01 * n) * rate_hz
        decoder.feed(read_all(microscope))
        assert pulses - 1024 < decoder.sync_count <= pulses + 1e-3


def test_a_divider_changes_no_number(lit: Make) -> None:
    microscope = lit(detection={"max_sync_rate_hz": 10e6}, laser={"start_rate_hz": 40e6})
    microscope.card.configure_stream(400)
    assert stream(microscope, 0.1).size == 0
    assert "sync-lost" in microscope.card.flags()
    microscope.card.stop()
    microscope.card.configure_stream(400, sync_divider=4)
    decoder = decoded(stream(microscope, 0.1), GENERIC)
    assert decoder.sync_count == pytest.approx(4e6, abs=1024)
    assert microscope.card.flags() == frozenset()


def test_high_count_rates_are_flagged(lit: Make) -> None:
    microscope = lit(detection={"max_count_rate_hz": 1e4})
    microscope.card.configure_stream(400)
    stream(microscope, 0.1)
    assert microscope.card.flags() == {"count-rate-limit"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"time_bin_ps": 30}, "refuses bins of 30 ps"),
        ({"offset_ps": 10}, "refuses an offset"),
        ({"sync_divider": 3}, "refuses sync divider 3"),
        ({"record_type": 0x00010203}, "refuses records of type 0x00010203"),
        ({"channel": 63}, "refuses input 63"),
        ({"channel": -1}, "refuses input -1"),
        ({"channel": 4, "record_type": PICOHARP}, "refuses input 4: its records know 0 to 3"),
    ],
)
def test_impossible_settings_are_refused(lit: Make, wrong: dict[str, int], words: str) -> None:
    with pytest.raises(VirtualFault, match=words):
        lit().card.configure_stream(**{"time_bin_ps": 25, **wrong})


def test_each_mode_gives_its_own(lit: Make) -> None:
    microscope = lit()
    card = microscope.card
    with pytest.raises(VirtualFault, match="refuses to give records: it makes histograms"):
        card.read_records(1)
    card.configure_stream(400)
    with pytest.raises(VirtualFault, match="refuses to give a histogram: it streams records"):
        card.histogram()
    card.start(1)
    for order in (lambda: card.configure(25, 100), lambda: card.configure_stream(25)):
        with pytest.raises(VirtualFault, match="measures"):
            order()
    card.stop()
    card.configure(400, 512)
    card.start(0.1)
    microscope.clock.wait(1)
    assert card.histogram().sum() > 0
    assert card.fifo_records == 2**21


def test_an_unplugged_card_gives_no_records(lit: Make) -> None:
    microscope = lit()
    microscope.card.configure_stream(400)
    microscope.card.start(1)
    microscope.card.unplug()
    with pytest.raises(VirtualFault, match="does not answer"):
        microscope.card.read_records(1)


def test_a_thread_that_has_joined_the_clock_misses_nothing(lit: Make) -> None:
    microscope = lit(detection={"fifo_records": 1024})
    card, clock = microscope.card, microscope.clock
    card.configure_stream(400)
    started = threading.Event()

    def read() -> int:
        read = 0
        with clock.joined():
            started.set()
            while card.is_running():
                clock.wait(0.01)
                read += card.read_records(2**20).size
        return read

    with ThreadPoolExecutor(1) as pool:
        card.start(5)
        total = pool.submit(read)
        assert started.wait(10)
        clock.wait(10)
        assert total.result(10) > 5 * 13_000
    assert card.flags() == frozenset()


# -- markers -----------------------------------------------------------------------------------


@every_format
def test_markers_of_a_moving_stage(lit: Make, record_type: int) -> None:
    microscope = lit(detector_stage={"trigger_um": 10.0, "trigger_zero_um": 5.0})
    card, clock, stage = microscope.card, microscope.clock, microscope.detector_stage
    card.configure_stream(400, record_type=record_type, markers=True)
    stage.set_speed_um_per_s(100)
    begin_s = clock.now_s()
    card.start(4)
    blocks = []
    stage.move_to(200, 0)
    while card.is_running():
        clock.wait(0.05)
        blocks.append(read_all(microscope))
    records = np.concatenate(blocks)
    found = events(records, T3_FORMATS[record_type])
    times_s = np.array(stage.trigger_times_s(begin_s, begin_s + 4))
    assert times_s.size == 20
    pulses = np.floor((times_s - begin_s) * 2.5e6)
    np.testing.assert_array_equal(found.pulse[~found.photons], pulses)
    assert np.all(np.diff(found.pulse) >= 0)
    decoder = decoded(records, record_type)
    assert decoder.markers == 20
    assert decoder.photons > 20_000
    assert decoder.invalid == 0


@every_format
def test_markers_in_the_dark(build: Make, record_type: int) -> None:
    microscope = build(DARK, detector_stage={"trigger_um": 10.0}, **NO_LIGHT)
    microscope.card.configure_stream(400, record_type=record_type, markers=True)
    microscope.detector_stage.set_speed_um_per_s(100)
    microscope.detector_stage.move_to(-50, 0)
    records = stream(microscope, 1)
    found = events(records, T3_FORMATS[record_type])
    times_s = np.array(microscope.detector_stage.trigger_times_s(0, 10))
    assert times_s.size == 5
    np.testing.assert_array_equal(found.pulse, np.floor(times_s * 2.5e6))
    decoder = decoded(records, record_type)
    assert (decoder.markers, decoder.photons, decoder.invalid) == (5, 0, 0)
    turn = 1 << T3_FORMATS[record_type].nsync_bits
    assert decoder.sync_count == 2_500_000 // turn * turn


def test_markers_only_if_listened_to(lit: Make) -> None:
    microscope = lit(detector_stage={"trigger_um": 10.0})
    microscope.card.configure_stream(400)
    microscope.detector_stage.move_to(200, 0)
    assert decoded(stream(microscope, 1), GENERIC).markers == 0


def test_markers_fill_the_fifo_too(build: Make) -> None:
    microscope = build(DARK, detector_stage={"trigger_um": 0.1}, **NO_LIGHT)
    microscope.card.configure_stream(400, markers=True, fifo_records=1024)
    microscope.detector_stage.move_to(1000, 0)
    assert stream(microscope, 1).size == 1024
    assert microscope.card.flags() == {"fifo-full"}
