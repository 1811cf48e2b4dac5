"""Writing .ptu files: every layout, read back by ptufile and by our own reader."""

import os
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import ptufile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.daq.ptu_files import FORMATS, GENERIC, Stream, overflow, photon, random_stream, stream
from tplm_config import InputError
from tplm_daq.store import files
from tplm_daq.t3 import T3Decoder, T3Format, read_ptu
from tplm_daq.t3.tags import encode_tag
from tplm_daq.t3.writing import PtuHeader, PtuWriter, overflows, separator

every_format = pytest.mark.parametrize("record_format", FORMATS, ids=lambda f: f.name)
BINS = 3125
HEADER = PtuHeader(
    record_type=GENERIC.code,
    time_bin_ps=64,
    sync_rate_hz=5e6,
    offset_ns=12.5,
    sync_divider=8,
    binning_factor=4,
    channel=1,
    device_model="MultiHarp 150",
    device_serial="1045678",
    comment="ein µ-Film, 20 Ω",
    created=datetime.fromisoformat("2024-02-29T12:30"),
)


def records_of(record_format: T3Format, n: int, seed: int = 0) -> Stream:
    return random_stream(record_format, n, np.random.default_rng(seed), dtimes=BINS)


def decoded(record_format: T3Format, *parts: Stream) -> T3Decoder:
    decoder = T3Decoder(record_format, min(BINS, record_format.bins))
    for part in parts:
        decoder.feed(part)
    return decoder


def measure(writer: PtuWriter, record_format: T3Format, *blocks: Stream) -> int:
    """Write a whole measurement; returns where it begins."""
    for block in blocks:
        writer.write(block)
    return writer.end_measurement(decoded(record_format, *blocks).sync_count, 0.5)


# -- what is written -----------------------------------------------------------------------------


@every_format
def test_ptufile_reads_back_every_layout(record_format: T3Format, tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    parts = [records_of(record_format, 5000, seed) for seed in range(3)]
    with PtuWriter(path, replace(HEADER, record_type=record_format.code)) as writer:
        begins = [measure(writer, record_format, part) for part in parts]
    expected = decoded(record_format, *parts)
    with ptufile.PtuFile(path, trimdims="") as found:
        counts = found.decode_histogram(dtime=0)
        rows = slice(len(counts))
        np.testing.assert_array_equal(counts, expected.histogram[rows, : counts.shape[1]])
        assert found.number_photons == expected.photons
        assert found.number_markers == expected.markers + 2
        assert found.record_type.name == record_format.name
        assert (
            found.global_acquisition_time == begins[2] + decoded(record_format, parts[2]).sync_count
        )
    # a measurement begins at the first multiple of the overflow period above the last sync count
    period = 1 << record_format.nsync_bits
    ends = [decoded(record_format, part).sync_count for part in parts]
    assert begins[0] == 0
    for begin, end, following in zip(begins, ends, begins[1:], strict=False):
        assert following == begin + (end // period + 1) * period
    ours = read_ptu(path)
    np.testing.assert_array_equal(ours.counts, expected.histogram[list(ours.channels)])
    assert ours.sync_count == begins[2] + ends[2]
    assert ours.acquisition_time_s == 1.5  # not what the pulses between the measurements add
    assert ours.warnings == ()


@every_format
def test_a_marker_tells_where_a_measurement_begins(record_format: T3Format, tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    parts = [stream([photon(record_format, 0, dtime, 7)]) for dtime in (1, 2)]
    with PtuWriter(path, replace(HEADER, record_type=record_format.code)) as writer:
        begins = [measure(writer, record_format, part) for part in parts]
    with ptufile.PtuFile(path) as found:
        records = found.decode_records()
    period = 1 << record_format.nsync_bits
    assert begins == [0, period]
    kept = records[[0, 2, 3]]  # between them the overflow
    assert kept["time"].tolist() == [7, period, period + 7]
    assert kept["marker"].tolist() == [0, 1, 0]


def test_the_vendor_s_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    with PtuWriter(path, HEADER) as writer:
        measure(writer, GENERIC, records_of(GENERIC, 100))
        measure(writer, GENERIC, records_of(GENERIC, 100))
    with ptufile.PtuFile(path) as found:
        tags = found.tags
        assert found.is_t3
        assert found.frequency == pytest.approx(5e6)
        assert found.guid.version == 4
        assert found.datetime == HEADER.created
    assert uuid.UUID(tags["File_GUID"])
    assert tags["File_GUID"] == tags["File_GUID"].upper()
    expected = {
        "File_Comment": "ein µ-Film, 20 Ω",
        "CreatorSW_Name": "tplm-daq",
        "Measurement_Mode": 3,
        "Measurement_SubMode": 1,
        "HW_Type": "MultiHarp 150",
        "HW_SerialNo": "1045678",
        "HW_InpChannels": 3,
        "HW_BaseResolution": pytest.approx(16e-12),
        "HWSync_Divider": 8,
        "MeasDesc_BinningFactor": 4,
        "MeasDesc_Offset": 12,
        "MeasDesc_Resolution": pytest.approx(64e-12),
        "MeasDesc_GlobalResolution": pytest.approx(200e-9),
        "MeasDesc_AcquisitionTime": 1000,
        "TTResult_StopAfter": 1000,
        "TTResult_SyncRate": 5_000_000,
        "TTResult_NumberOfRecords": 202,
        "TTResultFormat_TTTRRecType": 0x00010307,
        "TTResultFormat_BitsPerRecord": 32,
    }
    assert {name: tags[name] for name in expected} == expected
    assert tags["CreatorSW_Version"]
    # every tag begins at a multiple of 8 bytes, and the records follow the last one at once
    data = path.read_bytes()
    assert (len(data) - 4 * 202) % 8 == 0
    assert data.index(b"Header_End") + 48 == len(data) - 4 * 202


def test_our_own_reader_has_the_header_back(tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    with PtuWriter(path, replace(HEADER, bins=1000, time_bin_ps=25, sync_rate_hz=2.5e6)) as writer:
        measure(writer, GENERIC, records_of(GENERIC, 500))
    found = read_ptu(path)
    assert found.counts.shape == (3, 1000)
    assert found.photons_out_of_range > 0
    assert (found.time_bin_ps, found.offset_ns, found.sync_rate_hz) == (25, 12.5, 2.5e6)
    assert found.t_ns[0] == 12.5125
    assert (found.device_model, found.device_serial) == ("MultiHarp 150", "1045678")
    assert found.comment == HEADER.comment
    assert found.created == HEADER.created
    assert found.warnings == ()


def test_a_file_cut_off_tells_its_time_by_its_pulses(tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    with PtuWriter(path, HEADER) as writer:
        measure(writer, GENERIC, np.full(100, overflow(GENERIC), dtype=np.uint32))
    assert read_ptu(path).acquisition_time_s == 0.5
    path.write_bytes(path.read_bytes()[:-200])
    assert read_ptu(path).acquisition_time_s == pytest.approx(50 * 1024 / 5e6)


def test_a_file_is_dated_by_itself(tmp_path: Path) -> None:
    before = datetime.now().astimezone().replace(tzinfo=None)
    with PtuWriter(tmp_path / "a.ptu", replace(HEADER, created=None)) as writer:
        measure(writer, GENERIC, records_of(GENERIC, 5))
    created = read_ptu(tmp_path / "a.ptu").created
    assert created is not None
    assert abs((created - before).total_seconds()) < 100


@every_format
@pytest.mark.parametrize("count", [0, 1, 1022, 1023, 1024, 5000])
def test_overflows_move_the_sync_count(record_format: T3Format, count: int) -> None:
    found = decoded(record_format, overflows(record_format, count))
    assert found.sync_count == count << record_format.nsync_bits
    assert found.invalid == 0
    found = decoded(record_format, separator(record_format))
    assert found.sync_count == 1 << record_format.nsync_bits
    assert (found.markers, found.overflow_records, found.invalid) == (1, 1, 0)


# -- several measurements, kept and discarded ----------------------------------------------------

steps = st.lists(
    st.tuples(
        st.lists(st.integers(0, 40), max_size=4),  # records in each write
        st.sampled_from(["keep", "keep", "discard", "close"]),
    ),
    max_size=6,
)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(record_format=st.sampled_from(FORMATS), seed=st.integers(0, 99), steps=steps)
def test_the_file_holds_the_whole_measurements_in_any_case(
    record_format: T3Format, seed: int, steps: list[tuple[list[int], str]], tmp_path: Path
) -> None:
    path = tmp_path / "a.ptu"
    path.unlink(missing_ok=True)
    writer = PtuWriter(path, replace(HEADER, record_type=record_format.code))
    begin = len(path.read_bytes())
    rng = np.random.default_rng(seed)
    kept: list[Stream] = []
    for sizes, what in steps:
        blocks = [random_stream(record_format, size, rng, dtimes=BINS) for size in sizes]
        if what == "keep":
            measure(writer, record_format, *blocks)
            between = [separator(record_format)] if kept else []
            kept.append(np.concatenate([stream([]), *between, *blocks]).astype(np.uint32))
            continue
        for block in blocks:
            writer.write(block)
        writer.discard_measurement() if what == "discard" else writer.close()
    writer.close()
    expected = np.concatenate([stream([]), *kept]).astype("<u4")
    assert path.read_bytes()[begin:] == expected.tobytes()
    with ptufile.PtuFile(path) as found:
        assert found.tags["TTResult_NumberOfRecords"] == expected.size
        assert found.tags["TTResult_StopAfter"] == 500 * len(kept)
    if expected.size:
        ours = read_ptu(path)
        whole = decoded(record_format, expected)
        np.testing.assert_array_equal(ours.counts, whole.histogram[list(ours.channels)])
        assert ours.sync_count == whole.sync_count


def test_a_dark_measurement_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    with PtuWriter(path, HEADER) as writer:
        assert writer.end_measurement(0, 1.0) == 0
        assert writer.end_measurement(0, 1.0) == 1024
        assert measure(writer, GENERIC, stream([photon(GENERIC, 0, 5, 3)])) == 2048
    found = read_ptu(path)
    assert (found.markers, found.photons, found.sync_count) == (2, 1, 2051)


def test_many_writers_hold_no_file_open(tmp_path: Path) -> None:
    writers = [PtuWriter(tmp_path / f"{i}.ptu", HEADER) for i in range(300)]
    resource = pytest.importorskip("resource")  # Windows has another limit
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        for turn in range(2):
            for i, writer in enumerate(writers):
                measure(writer, GENERIC, stream([photon(GENERIC, 0, i, turn)]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for i in (0, 299):
        assert read_ptu(tmp_path / f"{i}.ptu").total[i] == 2


def test_a_strided_or_big_endian_block_is_written_as_it_should(tmp_path: Path) -> None:
    records = records_of(GENERIC, 100)
    with PtuWriter(tmp_path / "a.ptu", HEADER) as writer:
        measure(writer, GENERIC, records[::2])
    with PtuWriter(tmp_path / "b.ptu", HEADER) as writer:
        writer.write(records[::2].astype(">u4"))
        writer.end_measurement(1, 0.5)
    for name in "ab":
        assert (tmp_path / f"{name}.ptu").read_bytes().endswith(records[::2].tobytes())


# -- what goes wrong -----------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    path.write_text("precious")
    with pytest.raises(InputError, match="the file exists already"):
        PtuWriter(path, HEADER)
    assert path.read_text() == "precious"
    with pytest.raises(FileNotFoundError):
        PtuWriter(tmp_path / "no" / "a.ptu", HEADER)


class Disk:
    """Takes a number of bytes, then is full; takes single writes in halves."""

    def __init__(self, room: int) -> None:
        self.room = room

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        size = min(len(data), self.room, max(1, len(data) // 2))
        self.room -= size
        written: int = os.lseek(fd, offset, os.SEEK_SET) and os.write(fd, data[:size])
        return written


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="the fault stands in for os.pwrite")
def test_a_full_disk_costs_the_running_measurement_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ptu"
    first, second = records_of(GENERIC, 100), records_of(GENERIC, 1000, 1)
    writer = PtuWriter(path, HEADER)
    measure(writer, GENERIC, first)
    whole = path.read_bytes()
    monkeypatch.setattr(files.os, "pwrite", Disk(1500).pwrite)
    with pytest.raises(OSError, match="No space"):
        writer.write(second)
    monkeypatch.undo()
    assert read_ptu(path).warnings == (
        "The file goes on after the 100 records the header tells of; what follows was left out.",
    )
    writer.close()
    assert path.read_bytes() == whole
    measure(writer, GENERIC, second)  # there is room again
    assert read_ptu(path).photons == decoded(GENERIC, first, second).photons


@pytest.mark.parametrize("failing", [1, 2])
def test_a_disk_that_does_not_confirm(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ptu"
    writer = PtuWriter(path, HEADER)
    measure(writer, GENERIC, records_of(GENERIC, 100))
    whole = path.read_bytes()
    calls: list[int] = []

    def sync(fd: int) -> None:
        calls.append(fd)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("tplm_daq.t3.writing.sync_data", sync)
    writer.write(records_of(GENERIC, 10))
    with pytest.raises(OSError, match="Input/output"):
        writer.end_measurement(5, 0.5)
    writer.discard_measurement()
    assert path.read_bytes() == whole


CHILD = """
import sys
from pathlib import Path
import numpy as np
from tplm_daq.t3.tags import encode_tag
from tplm_daq.t3.writing import PtuHeader, PtuWriter
writer = PtuWriter(Path(sys.argv[1]), PtuHeader(0x00010307, 64, 5e6))
records = np.arange(1000, dtype=np.uint32)
for _ in range(3):
    writer.write(records)
    writer.end_measurement(999, 0.5)
writer.write(records)
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_program_leaves_the_whole_measurements(tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"written"
        child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    with ptufile.PtuFile(path) as found:
        assert found.number_records == 3004
        assert found.number_photons == 3000
        assert found.number_markers == 2
    assert read_ptu(path).photons == 3000


def test_the_order_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are on the disk before the header tells of them, whenever the power goes."""
    path = tmp_path / "a.ptu"
    told: list[tuple[int, int]] = []

    def sync(fd: int) -> None:
        with ptufile.PtuFile(path) as found:
            begin, records = found.record_offset, found.tags["TTResult_NumberOfRecords"]
        told.append((records, (path.stat().st_size - begin) // 4))

    writer = PtuWriter(path, HEADER)
    monkeypatch.setattr("tplm_daq.t3.writing.sync_data", sync)
    for _ in range(2):
        writer.write(np.full(10, overflow(GENERIC), dtype=np.uint32))
        writer.end_measurement(0, 0.1)
    assert told == [(0, 10), (10, 10), (10, 22), (22, 22)]


def test_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        PtuWriter(tmp_path / "a.ptu", replace(HEADER, record_type=0x00010203))
    assert list(tmp_path.iterdir()) == []


def test_a_tag_holds_plain_values_only() -> None:
    for value in (b"raw", [1], object()):
        with pytest.raises(TypeError, match="a tag cannot hold"):
            encode_tag("X", value)
