"""The T3 decoder against the vendor's description, read slowly."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daq.ptu_files import (
    FORMATS,
    GENERIC,
    PICOHARP,
    Stream,
    marker,
    overflow,
    photon,
    random_stream,
    reference,
    stream,
)
from tplm_daq.t3 import T2_FORMATS, T3_FORMATS, T3Decoder, T3Format

every_format = pytest.mark.parametrize("record_format", FORMATS, ids=lambda f: f.name)


def decode(records: Stream, record_format: T3Format, bins: int, *cuts: int) -> dict[str, Any]:
    decoder = T3Decoder(record_format, bins)
    for block in np.split(records, sorted(cuts)):
        decoder.feed(block)
    return {
        "counts": decoder.histogram,
        "records": decoder.records,
        "photons": decoder.photons,
        "out_of_range": decoder.out_of_range,
        "markers": decoder.markers,
        "overflow_records": decoder.overflow_records,
        "invalid": decoder.invalid,
        "sync_count": decoder.sync_count,
    }


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    np.testing.assert_array_equal(found.pop("counts"), expected.pop("counts"))
    assert found == expected


@every_format
def test_every_field_of_a_short_stream(record_format: T3Format) -> None:
    decoder = T3Decoder(record_format)
    counted = record_format.overflow_counted
    step = 1 << record_format.nsync_bits
    decoder.feed(
        stream(
            [
                photon(record_format, 0, 0, 3),
                photon(record_format, 3, record_format.bins - 1, step - 1),
                overflow(record_format, 5),
                overflow(record_format, 0),  # old firmware: one overflow
                marker(record_format, 0b0101, 7),
                photon(record_format, 3, record_format.bins - 1, 9),
            ]
        )
    )
    assert decoder.sync_count == (6 if counted else 2) * step + 9
    assert (decoder.photons, decoder.markers, decoder.overflow_records) == (3, 1, 2)
    assert decoder.histogram.shape == (record_format.channels, record_format.bins)
    assert decoder.histogram.dtype == np.int64
    assert decoder.histogram[0, 0] == 1
    assert decoder.histogram[3, -1] == 2
    assert decoder.histogram.sum() == 3


@every_format
@pytest.mark.parametrize("overflow_fraction", [0, 0.4, 1])
@pytest.mark.parametrize("bins", [1, 3125, None])
def test_agrees_with_the_reference(
    record_format: T3Format, overflow_fraction: float, bins: int | None
) -> None:
    rng = np.random.default_rng(1)
    bins = bins or record_format.bins
    records = random_stream(
        record_format, 5000, rng, overflow_fraction=overflow_fraction, channels=4
    )
    assert_same(
        decode(records, record_format, bins, 17, 17, 2500), reference(records, record_format, bins)
    )


def legal_record(record_format: T3Format) -> st.SearchStrategy[int]:
    nsync = st.integers(0, (1 << record_format.nsync_bits) - 1)
    return st.one_of(
        st.builds(
            photon,
            st.just(record_format),
            st.integers(0, record_format.channels - 1),
            st.integers(0, record_format.bins - 1),
            nsync,
        ),
        st.builds(marker, st.just(record_format), st.integers(1, 15), nsync),
        st.builds(overflow, st.just(record_format), st.integers(0, 1023)),
    )


@settings(deadline=None, max_examples=150)
@given(data=st.data(), record_format=st.sampled_from(FORMATS))
def test_any_legal_stream_cut_anywhere(data: st.DataObject, record_format: T3Format) -> None:
    records = stream(data.draw(st.lists(legal_record(record_format), max_size=60)))
    cuts = data.draw(st.lists(st.integers(0, len(records)), max_size=6))
    bins = data.draw(st.integers(1, record_format.bins))
    expected = reference(records, record_format, bins)
    assert expected["invalid"] == 0
    assert_same(decode(records, record_format, bins, *cuts), expected)


@settings(deadline=None, max_examples=150)
@given(
    record_format=st.sampled_from(FORMATS),
    records=st.lists(st.integers(0, 2**32 - 1), max_size=60),
    bins=st.integers(1, 4096),
)
def test_any_noise_is_counted_and_stays_in_bounds(
    record_format: T3Format, records: list[int], bins: int
) -> None:
    noise = stream(records)
    found = decode(noise, record_format, bins, len(records) // 2)
    kinds = ("photons", "markers", "overflow_records", "invalid")
    assert sum(found[kind] for kind in kinds) == len(records)
    assert found["counts"].sum() + found["out_of_range"] == found["photons"]
    assert_same(found, reference(noise, record_format, bins))


def test_the_largest_fields_stay_in_their_own_cells() -> None:
    for record_format, record in (
        (GENERIC, photon(GENERIC, 63, 32767, 1023)),
        (PICOHARP, photon(PICOHARP, 3, 4095, 65535)),
    ):
        decoder = T3Decoder(record_format)
        decoder.feed(stream([record]))
        assert decoder.histogram[-1, -1] == decoder.histogram.sum() == 1


def test_sync_numbers_beyond_32_bits() -> None:
    decoder = T3Decoder(GENERIC, 8)
    block = np.full(10_000, overflow(GENERIC, 1023), dtype=np.uint32)
    decoder.feed(block)
    decoder.feed(stream([photon(GENERIC, 0, 0, 5)]))
    assert decoder.sync_count == 10_000 * 1023 * 1024 + 5


def test_records_from_read_only_or_strided_memory() -> None:
    records = random_stream(GENERIC, 1000, np.random.default_rng(2))
    frozen = np.frombuffer(records.tobytes(), dtype=np.uint32)
    strided = np.repeat(records, 2)[::2]
    expected = reference(records, GENERIC, 100)
    for variant in (frozen, strided):
        assert_same(decode(variant, GENERIC, 100), dict(expected))
    assert records.flags.writeable


@pytest.mark.parametrize(
    "records", [np.zeros(3, np.int32), np.zeros(3), np.zeros((2, 2), np.uint32)]
)
def test_records_of_another_type_are_refused(records: Any) -> None:
    with pytest.raises(TypeError, match="uint32"):
        T3Decoder(GENERIC).feed(records)


@every_format
def test_impossible_bins_are_refused(record_format: T3Format) -> None:
    for bins in (0, -1, record_format.bins + 1):
        with pytest.raises(ValueError, match="bins"):
            T3Decoder(record_format, bins)


def test_the_histogram_is_live_while_another_thread_feeds() -> None:
    decoder = T3Decoder(GENERIC, 100)
    view = decoder.histogram
    block = np.full(1000, photon(GENERIC, 1, 7, 0), dtype=np.uint32)

    def feed() -> None:
        for _ in range(20):
            decoder.feed(block)

    thread = threading.Thread(target=feed)
    thread.start()
    thread.join()
    assert view[1, 7] == 20_000


def test_the_table_of_formats() -> None:
    ptufile = pytest.importorskip("ptufile")
    names = {t.value: t.name for t in ptufile.PtuRecordType}
    ours = {code: f.name for code, f in T3_FORMATS.items()} | T2_FORMATS
    assert ours == names
    assert all(code == f.code for code, f in T3_FORMATS.items())
