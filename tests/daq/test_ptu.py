"""Reading .ptu files: against ptufile, and every way a file can be wrong."""

import json
import math
import os
import pickle
import sys
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import ptufile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.daq.ptu_files import (
    FORMATS,
    GENERIC,
    MAGIC,
    PICOHARP,
    overflow,
    photon,
    ptu_bytes,
    random_stream,
    stream,
    tag,
    write_ptu,
)
from tplm_config import InputError
from tplm_daq.t3 import T3Format, read_ptu, reading

SAMPLE = Path(__file__).parents[3] / "shared/data/picoquant-sample-data/v20_t3.ptu"
needs_sample = pytest.mark.skipif(
    not SAMPLE.exists(), reason="no sample data beside the repository"
)

every_format = pytest.mark.parametrize("record_format", FORMATS, ids=lambda f: f.name)
RECORDS = random_stream(GENERIC, 2000, np.random.default_rng(3), dtimes=3125)


# -- what a sound file gives ---------------------------------------------------------------


@needs_sample
def test_the_sample_agrees_with_ptufile_bin_by_bin() -> None:
    found = read_ptu(SAMPLE)
    with ptufile.PtuFile(SAMPLE) as expected:
        np.testing.assert_array_equal(found.counts, expected.decode_histogram())
        assert found.channels == expected.active_channels
        assert found.photons == expected.number_photons == found.counts.sum()
        assert found.sync_count == expected.global_acquisition_time
        assert found.acquisition_time_s == expected.acquisition_time
        assert found.created == expected.datetime
    assert found.counts.dtype == np.int64
    assert found.counts.shape == (2, 3125)
    assert found.record_type == "HydraHarp2T3"
    assert (found.device_model, found.device_serial) == ("HydraHarp", "1008994")
    assert found.sync_rate_hz == 4_999_960
    assert found.time_bin_ps == pytest.approx(64)
    assert found.warnings == ()


@needs_sample
def test_one_channel_of_the_sample() -> None:
    both = read_ptu(SAMPLE)
    for row, channel in enumerate(both.channels):
        one = read_ptu(SAMPLE, channel)
        assert one.channels == (channel,)
        np.testing.assert_array_equal(one.counts, both.counts[row : row + 1])
        np.testing.assert_array_equal(one.total, both.counts[row])
    np.testing.assert_array_equal(both.total, both.counts[0] + both.counts[1])


@every_format
def test_agrees_with_ptufile_on_every_record_type(record_format: T3Format, tmp_path: Path) -> None:
    records = random_stream(record_format, 20_000, np.random.default_rng(4), dtimes=3125)
    path = write_ptu(tmp_path / "a.ptu", record_format, records)
    found = read_ptu(path)
    with ptufile.PtuFile(path, trimdims="") as expected:
        counts = expected.decode_histogram(dtime=0)[list(found.channels)]
        np.testing.assert_array_equal(found.counts, counts)
        assert found.channels == expected.active_channels
        assert found.photons == expected.number_photons
        assert found.markers == expected.number_markers
        assert found.sync_count == expected.global_acquisition_time
    assert found.record_type == record_format.name
    assert found.warnings == ()


@pytest.mark.parametrize("record_type", ["PicoHarpT3", "GenericT3"])
def test_an_image_written_by_ptufile(record_type: str, tmp_path: Path) -> None:
    image = np.random.default_rng(5).poisson(0.2, (2, 4, 5, 2, 250)).astype(np.uint16)
    path = tmp_path / "image.ptu"
    ptufile.imwrite(path, image, 12.5e-9, 50e-12, record_type=ptufile.PtuRecordType[record_type])
    found = read_ptu(path)
    np.testing.assert_array_equal(found.counts, image.sum(axis=(0, 1, 2)))
    assert found.markers > 0
    assert found.sync_rate_hz == 80e6


def test_the_header_and_the_time_axis(tmp_path: Path) -> None:
    path = write_ptu(
        tmp_path / "a.ptu",
        GENERIC,
        RECORDS,
        Blob=b"raw",
        Odd=math.nan,
        Nothing=None,
        File_Comment="µ",
    )
    found = read_ptu(path)
    assert found.counts.shape[1] == len(found.t_ns) == 3125
    np.testing.assert_allclose(found.t_ns[:2], [0.032, 0.096])
    assert found.time_bin_ps == pytest.approx(64)
    assert found.acquisition_time_s == pytest.approx(found.sync_count * 200e-9)
    assert found.comment == "µ"
    assert found.created == datetime.fromisoformat("2024-02-29T12:30")
    assert (found.device_model, found.device_serial) == ("TimeHarp 260", "1001234")
    assert json.loads(json.dumps(found.tags, allow_nan=False)) == found.tags
    assert found.tags["HWInpChan_CFDLevel"] == [180, 170]
    assert found.tags["File_CreatingTime"] == "2024-02-29T12:30:00"
    assert found.tags["Odd"] is None
    assert "Blob" not in found.tags


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ptu(tmp_path / "a.ptu", GENERIC, RECORDS)
    whole = read_ptu(path)
    monkeypatch.setattr(reading, "_BLOCK_RECORDS", 7)
    np.testing.assert_array_equal(read_ptu(path).counts, whole.counts)


@pytest.mark.parametrize(
    ("changes", "bins"),
    [
        ({"MeasDesc_GlobalResolution": 3125 * 64e-12}, 3125),  # whatever the rounding does
        ({"MeasDesc_GlobalResolution": 821.3 * 64e-12, "TTResult_SyncRate": 0}, 821),
        ({"MeasDesc_GlobalResolution": 1.0, "TTResult_SyncRate": 1}, 32768),
        ({"MeasDesc_GlobalResolution": ...}, 3125),
    ],
)
def test_the_bins_cover_one_period(changes: dict[str, Any], bins: int, tmp_path: Path) -> None:
    path = write_ptu(tmp_path / "a.ptu", GENERIC, stream([photon(GENERIC, 0, 1, 1)]), **changes)
    assert read_ptu(path).counts.shape == (1, bins)


def test_sound_files_of_other_makes_bring_no_warning(tmp_path: Path) -> None:
    spread = [photon(GENERIC, 0, dtime, 1) for dtime in range(100)] * 2
    part_of_a_bin = photon(GENERIC, 0, 100, 1)
    found = read_ptu(
        write_ptu(
            tmp_path / "a.ptu",
            GENERIC,
            stream([*spread, part_of_a_bin]),
            MeasDesc_GlobalResolution=100.4 * 64e-12,
            TTResult_SyncRate=round(1 / (100.4 * 64e-12)),
            TTResultFormat_BitsPerRecord=0,
        )
    )
    assert found.warnings == ()
    assert found.photons_out_of_range == 1
    assert found.total.tolist() == [2] * 100


def test_a_chosen_channel_without_photons(tmp_path: Path) -> None:
    found = read_ptu(write_ptu(tmp_path / "a.ptu", GENERIC, RECORDS), 9)
    assert found.counts.shape == (1, 3125)
    assert found.counts.sum() == 0
    assert found.warnings == ("Channel 9 has no photons; channels with photons: 0, 1, 2.",)


def test_a_file_in_the_dark(tmp_path: Path) -> None:
    records = np.full(100, overflow(GENERIC), dtype=np.uint32)
    found = read_ptu(write_ptu(tmp_path / "a.ptu", GENERIC, records))
    assert found.channels == ()
    assert found.total.tolist() == [0] * 3125
    assert found.acquisition_time_s == pytest.approx(100 * 1024 * 200e-9)
    assert found.warnings == ("The file has no photons.",)


# -- files that are read with a warning --------------------------------------------------


def file_with(data: bytes = b"", records: Any = RECORDS, **changes: Any) -> bytes:
    return ptu_bytes(GENERIC, records, **changes) + data


@pytest.mark.parametrize(
    ("data", "photons_of", "warning"),
    [
        pytest.param(
            file_with(TTResult_NumberOfRecords=0), 2000, "not finished properly", id="unfinished"
        ),
        pytest.param(
            file_with(TTResult_NumberOfRecords=-1), 2000, "not finished properly", id="wrapped"
        ),
        pytest.param(
            file_with(TTResult_NumberOfRecords=...), 2000, "not finished properly", id="no number"
        ),
        pytest.param(file_with()[:-2002], 1499, "1499 of 2000 records", id="cut"),
        pytest.param(
            file_with(TTResult_NumberOfRecords=2**60), 2000, f"2000 of {2**60} records", id="huge"
        ),
        pytest.param(file_with(b"abc"), 2000, "goes on after the 2000 records", id="rest"),
        pytest.param(
            file_with(TTResult_NumberOfRecords=500), 500, "goes on after the 500", id="more"
        ),
        pytest.param(
            file_with(MeasDesc_GlobalResolution=100e-9), 2000, "after the last time bin", id="late"
        ),
        pytest.param(
            file_with(TTResult_SyncRate=4_900_000),
            2000,
            "disagree",
            id="rates",
        ),
        pytest.param(
            file_with(records=np.append(RECORDS[:-1], np.uint32(1 << 31))),
            2000,
            "1 of 2000 records are neither",
            id="invalid",
        ),
    ],
)
def test_read_with_a_warning(data: bytes, photons_of: int, warning: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ptu"
    path.write_bytes(data)
    found = read_ptu(path)
    assert any(warning in text for text in found.warnings), found.warnings
    specials = RECORDS[:photons_of] >> 31
    assert found.photons == pytest.approx(photons_of - specials.sum(), abs=1)
    assert found.counts.sum() == found.photons - found.photons_out_of_range


def test_a_file_that_shrinks_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_ptu(tmp_path / "a.ptu", GENERIC, RECORDS)
    monkeypatch.setattr(reading, "_record_count", lambda *args: 3000)
    assert "2000 of 3000 records" in read_ptu(path).warnings[0]


@pytest.mark.parametrize(
    ("changes", "expected_s"),
    [
        ({}, 1.0),
        ({"TTResult_StopAfter": 0, "MeasDesc_AcquisitionTime": 2000}, 2.0),
        ({"TTResult_StopAfter": "soon", "MeasDesc_AcquisitionTime": ...}, 0.0),
    ],
)
def test_the_header_tells_the_time_when_no_record_does(
    changes: dict[str, Any], expected_s: float, tmp_path: Path
) -> None:
    records = stream([photon(GENERIC, 0, 1, 0)])
    found = read_ptu(write_ptu(tmp_path / "a.ptu", GENERIC, records, **changes))
    assert found.acquisition_time_s == expected_s
    assert len(found.warnings) == (expected_s == 0)


# -- files that are refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"PQHISTO\0" + bytes(100), "not a .ptu file", id="phu"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(100), "not a .ptu file", id="hdf5"),
        pytest.param(MAGIC[:5], "not a .ptu file", id="half a magic"),
        pytest.param(MAGIC, "header is damaged or incomplete", id="magic only"),
        pytest.param(file_with()[:500], "header is damaged or incomplete", id="half a header"),
        pytest.param(
            file_with().replace(b"Header_End", b"Header_eNd"), "header is damaged", id="no end"
        ),
        pytest.param(
            file_with().replace(b"1.0.00", b"\xff.0.00"), "header is damaged", id="version"
        ),
        pytest.param(
            file_with().replace(tag("HW_SerialNo", "1001234")[:48], tag("X", 1)[:36] + b"\1" * 12),
            "header is damaged",
            id="unknown tag type",
        ),
        pytest.param(file_with(records=stream([])), "no records", id="no records"),
        pytest.param(
            file_with(records=stream([]), TTResult_NumberOfRecords=9), "no records", id="all lost"
        ),
        pytest.param(
            file_with(TTResultFormat_TTTRRecType=0x00010206),
            r"T2 file \(TimeHarp260PT2\).* TPLM needs T3",
            id="T2",
        ),
        pytest.param(file_with(Measurement_Mode=2), "T2 file", id="T2 by its mode"),
        pytest.param(
            file_with(TTResultFormat_TTTRRecType=0x00010399),
            "unknown record type 0x00010399.*GenericT3",
            id="unknown type",
        ),
        pytest.param(file_with(TTResultFormat_TTTRRecType=...), "record type", id="no type"),
        pytest.param(file_with(TTResult_NumberOfRecords=True), "is True", id="records bool"),
        pytest.param(file_with(TTResultFormat_TTTRRecType=[1]), "record type", id="type list"),
        pytest.param(file_with(TTResultFormat_BitsPerRecord=64), "64 bits", id="bits"),
        pytest.param(file_with(TTResult_NumberOfRecords="many"), "is many", id="records text"),
        pytest.param(file_with(MeasDesc_Resolution=0.0), "time bin .* 0 s", id="resolution 0"),
        pytest.param(file_with(MeasDesc_Resolution=...), "time bin .* 0 s", id="no resolution"),
        pytest.param(file_with(MeasDesc_Resolution=math.nan), "is nan", id="resolution nan"),
        pytest.param(file_with(MeasDesc_Resolution=-64e-12), "-6.4e-11", id="resolution < 0"),
        pytest.param(file_with(MeasDesc_Resolution=1e300), r"1e\+300", id="resolution huge"),
        pytest.param(file_with(MeasDesc_Resolution="64 ps"), "is 64 ps", id="resolution text"),
        pytest.param(file_with(MeasDesc_Resolution=1e-6), "longer than", id="bin > period"),
        pytest.param(file_with(MeasDesc_GlobalResolution=math.inf), "is inf", id="period inf"),
        pytest.param(file_with(MeasDesc_GlobalResolution=5e-324), "sync period", id="period tiny"),
        pytest.param(file_with(TTResult_SyncRate=2**63 - 1), "sync rate of 9.2", id="rate huge"),
        pytest.param(file_with(TTResult_SyncRate=-5), "sync rate of -5", id="rate < 0"),
        pytest.param(
            file_with(TTResult_SyncRate=0, MeasDesc_GlobalResolution=0.0), "sync", id="no sync"
        ),
    ],
)
def test_refused_with_one_sentence(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.ptu"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_ptu(path)
    assert_is_one_sentence(caught.value, path)


def assert_is_one_sentence(error: InputError, path: Path) -> None:
    text = str(error)
    assert isinstance(error, InputError)
    assert text.startswith(f"{path}: ")
    assert text == f"{path}: {error.problem}; {error.allowed}"
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < len(str(path)) + 300
    assert str(pickle.loads(pickle.dumps(error))) == text  # noqa: S301 - crosses processes


def test_a_folder_or_nothing_at_all(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path, "folder"),
        (tmp_path / "no.ptu", "no such file"),
        (tmp_path / "nul\0.ptu", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_ptu(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ptu")
    with pytest.raises(InputError, match="not an ordinary file"):
        read_ptu(tmp_path / "pipe.ptu")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ptu(tmp_path / "a.ptu", GENERIC, RECORDS)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so chmod shows nothing
    with pytest.raises(InputError, match=r"reading failed \(Permission denied\)") as caught:
        read_ptu(path)
    assert_is_one_sentence(caught.value, path)


@pytest.mark.parametrize(
    ("record_format", "channel"), [(GENERIC, 64), (GENERIC, -1), (PICOHARP, 4)]
)
def test_an_impossible_channel(record_format: T3Format, channel: int, tmp_path: Path) -> None:
    records = random_stream(record_format, 10, np.random.default_rng(6))
    path = write_ptu(tmp_path / "a.ptu", record_format, records)
    with pytest.raises(InputError, match=f"channel {channel} was asked for"):
        read_ptu(path, channel)


# -- damage of every kind --------------------------------------------------------------------

DAMAGE_BASE = ptu_bytes(GENERIC, RECORDS[:20])
HEADER_BYTES = len(DAMAGE_BASE) - 80


def read_or_refuse(path: Path, data: bytes) -> None:
    """Only success or `InputError`; any warning is an error by pytest's settings."""
    path.write_bytes(data)
    try:
        found = read_ptu(path)
    except InputError as exc:
        text = str(exc)
        assert text.startswith(str(path))
        assert text.isprintable()
        assert len(text) < len(str(path)) + 300
    else:
        assert found.counts.shape[1] <= 32768
        assert np.isfinite(found.t_ns).all()
        assert math.isfinite(found.acquisition_time_s)
        json.dumps(found.tags, allow_nan=False)


fuzz = settings(
    deadline=2000, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzz
@given(
    flips=st.lists(
        st.tuples(st.integers(0, HEADER_BYTES - 1), st.integers(1, 255)), min_size=1, max_size=4
    )
)
def test_flipped_header_bytes(flips: list[tuple[int, int]], tmp_path: Path) -> None:
    data = bytearray(DAMAGE_BASE)
    for position, bits in flips:
        data[position] ^= bits
    read_or_refuse(tmp_path / "a.ptu", bytes(data))


@fuzz
@given(length=st.integers(0, len(DAMAGE_BASE)))
def test_truncated_anywhere(length: int, tmp_path: Path) -> None:
    read_or_refuse(tmp_path / "a.ptu", DAMAGE_BASE[:length])


@fuzz
@given(
    name=st.sampled_from(
        [
            "Measurement_Mode",
            "MeasDesc_Resolution",
            "MeasDesc_GlobalResolution",
            "TTResult_SyncRate",
            "TTResult_StopAfter",
            "TTResult_NumberOfRecords",
            "TTResultFormat_TTTRRecType",
            "TTResultFormat_BitsPerRecord",
            "File_CreatingTime",
            "File_Comment",
        ]
    ),
    value=st.one_of(
        st.floats(),
        st.integers(-(2**63), 2**63 - 1),
        st.booleans(),
        st.none(),
        st.text(st.characters(max_codepoint=127), max_size=80),
        st.binary(max_size=9),
        st.lists(st.integers(0, 9), min_size=1, max_size=3),
        st.datetimes(datetime.fromisoformat("1900-01-01"), datetime.fromisoformat("2100-01-01")),
    ),
)
def test_any_value_of_any_tag(name: str, value: Any, tmp_path: Path) -> None:
    read_or_refuse(tmp_path / "a.ptu", ptu_bytes(GENERIC, RECORDS[:20], **{name: value}))


def test_a_damaged_length_does_not_take_the_memory(tmp_path: Path) -> None:
    comment = tag("File_Comment", "a film")
    for length in (2**62, 2**33, -1, -(2**40)):
        damaged = comment[:40] + length.to_bytes(8, "little", signed=True) + comment[48:]
        path = tmp_path / "a.ptu"
        path.write_bytes(file_with().replace(comment, damaged))
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="header is damaged"):
                read_ptu(path)
            assert tracemalloc.get_traced_memory()[1] < 40e6
        finally:
            tracemalloc.stop()
