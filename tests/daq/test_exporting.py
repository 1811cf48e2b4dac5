"""Writing maps for other programs, and reading them back."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import ptufile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.io import loadmat

from tests.daq.scan_files import CARD, LINE, write_counts
from tplm_config import (
    CardSettings,
    CrossScan,
    InputError,
    LineScan,
    load_profile,
    parse_plan,
    parse_profile,
)
from tplm_daq import photons
from tplm_daq.exporting import FORMATS, export_map, write_map
from tplm_daq.importing import import_files
from tplm_daq.photons import draw_records
from tplm_daq.store import Scan, ScanMap, read_scan
from tplm_daq.t3 import T3_FORMATS, T3Decoder, read_ptu
from tplm_daq.tables import read_map
from tplm_drivers import Identity


def assert_equal(found: ScanMap, expected: ScanMap, *names: str) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_npz_reads_back_exactly(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", skip=(1,))
    assert export_map(scan, tmp_path / "a.npz", "npz") == []
    assert_equal(read_map(tmp_path / "a.npz"), scan.map(), "counts", "x_um", "t_ns", "exposure_s")


def test_csv_reads_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    made = ScanMap(
        rng.integers(0, 2**52, (7, 9)),
        np.sort(rng.normal(size=7)),
        np.cumsum(rng.random(9)) / 3,
        np.full(7, 2.0),
    )
    assert write_map(made, tmp_path / "a.csv", "csv") == []
    assert_equal(read_map(tmp_path / "a.csv"), made, "counts", "x_um", "t_ns")


def test_csv_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", skip=(1, 4))
    assert export_map(scan, tmp_path / "a.csv", "csv") == []
    assert read_map(tmp_path / "a.csv").x_um.tolist() == [-1, 0, 0.5]


def test_csv_says_that_it_loses_the_exposures(tmp_path: Path) -> None:
    made = ScanMap(np.ones((2, 3), int), np.arange(2.0), np.arange(3.0), np.array([1.0, 1.5]))
    (warning,) = write_map(made, tmp_path / "a.csv", "csv")
    assert "unequal exposures (1 to 1.5 s); use npz" in warning
    assert write_map(made, tmp_path / "a.npz", "npz") == []


def test_mat_holds_the_map_and_where_it_came_from(tmp_path: Path) -> None:
    profile = load_profile("simulated")
    scan = write_counts(tmp_path / "a.h5", profile=profile)
    export_map(scan, tmp_path / "a.mat", "mat")
    found = loadmat(tmp_path / "a.mat", squeeze_me=True)
    for name in ("counts", "x_um", "t_ns", "exposure_s"):
        np.testing.assert_array_equal(found[name], getattr(scan.map(), name))
    assert parse_plan(str(found["plan"]), "mat") == LINE
    assert parse_profile(str(found["profile"]), "mat") == profile


def test_an_axis_of_a_cross(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", CrossScan(positions=3, passes=1, card=CARD))
    export_map(scan, tmp_path / "y.npz", "npz", "y")
    assert_equal(read_map(tmp_path / "y.npz"), scan.map("y"), "counts", "x_um")


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_is_overwritten_or_left_behind(format_: str, tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(InputError, match="the file exists already"):
        export_map(scan, tmp_path / "a.h5", format_)  # type: ignore[arg-type]
    assert (tmp_path / "a.h5").read_bytes() == before
    with pytest.raises(InputError, match="the folder .* does not exist"):
        export_map(scan, tmp_path / "no" / "a.npz", format_)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = write_counts(tmp_path / "a.h5")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match=r"cannot be made \(No space left on device\)"):
        export_map(scan, tmp_path / "a.npz", "npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_csv_of_nothing(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", skip=tuple(range(5)))
    with pytest.raises(InputError, match="no position was measured"):
        export_map(scan, tmp_path / "a.csv", "csv")


# -- photons ---------------------------------------------------------------------------------------

GENERIC = T3_FORMATS[0x00010307]
HEADER: dict[str, Any] = {
    "identities": {"card": Identity("MultiHarp 150", "1045678")},
    "created": "2024-02-29T12:30:00.000+00:00",
}
OFFSET = LineScan(
    axis="y", positions=3, passes=3, order="random", y_center_um=1 / 3,
    card=CardSettings(time_bin_ps=12.5, range_ns=0.4, offset_ns=2.3),
)  # fmt: skip


def there_and_back(scan: Scan, folder: Path, axis: str | None = None) -> Scan:
    """Export as one file for each visit, and import them."""
    export_map(scan, folder / "photons", "ptu", axis)  # type: ignore[arg-type]
    files = sorted((folder / "photons").glob("*.ptu"))
    return import_files(files, folder / "photons" / "positions.csv", folder / "back.h5")


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(
    "skip", [(), (1,), (0, 4)], ids=["whole", "without a place", "without the ends"]
)
def test_photons_of_a_cross_come_back_as_the_map(
    axis: str, skip: tuple[int, ...], tmp_path: Path
) -> None:
    plan = CrossScan(positions=5, passes=3, card=CARD)
    scan = write_counts(tmp_path / "a.h5", plan, skip=skip, **HEADER)
    back = there_and_back(scan, tmp_path, axis).map()
    expected = scan.map(axis)  # type: ignore[arg-type]
    measured = expected.exposure_s > 0
    for name in ("counts", "x_um", "exposure_s"):
        np.testing.assert_array_equal(getattr(back, name), getattr(expected, name)[measured])
    np.testing.assert_array_equal(back.t_ns, expected.t_ns)


def test_photons_of_a_line_with_an_offset_come_back(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", OFFSET, offset_ns=2.3, **HEADER)
    back = there_and_back(scan, tmp_path)
    assert_equal(back.map(), scan.map(), "counts", "x_um", "t_ns", "exposure_s", "axis")
    assert back.header.offset_ns == back.plan.card.offset_ns == 2.3
    assert back.sync_rate_hz == scan.sync_rate_hz
    assert back.header.identities["card"].model == "MultiHarp 150"
    assert sorted(back.columns["started_s"]) == sorted(scan.columns["started_s"])
    assert back.journal[0]["warnings"] == []
    assert "their order of arrival is not known" in back.journal[0]["comment"][0]


def test_a_file_for_each_position_and_pass(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", skip=(1,), **HEADER)
    (remark,) = export_map(scan, tmp_path / "a", "ptu")
    assert remark.startswith(f"{tmp_path / 'a'}: Made from histograms: delay times and totals")
    names = {path.name for path in (tmp_path / "a").iterdir()}
    visits = [(place, turn) for place in (0, 2, 3, 4) for turn in (0, 1)]
    assert names == {"positions.csv", *(f"p{place:04d}_{turn:03d}.ptu" for place, turn in visits)}
    rows = (tmp_path / "a" / "positions.csv").read_text().splitlines()
    assert rows[:2] == ["file,x_um,y_um,exposure_s", "p0000_000.ptu,-1.0,0.0,0.5"]
    found = read_ptu(tmp_path / "a" / "p0003_001.ptu")
    (row,) = np.flatnonzero(
        (scan.columns["position_index"] == 3) & (scan.columns["pass_index"] == 1)
    )
    np.testing.assert_array_equal(found.total, scan.histograms(np.array([row]))[0])
    assert found.record_type == "GenericT3"
    assert found.comment == photons.COMMENT
    assert found.acquisition_time_s == 0.5
    assert found.sync_count / 2.5e6 == pytest.approx(0.5, abs=1024 / 2.5e6)
    assert found.warnings == ()


def test_one_file_with_markers_between_the_visits(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", **HEADER)
    export_map(scan, tmp_path / "a.ptu", "ptu")
    with ptufile.PtuFile(tmp_path / "a.ptu") as file:
        records = file.decode_records()
        assert file.comment == photons.COMMENT
        assert file.tags["TTResult_StopAfter"] == 5000
    begins = np.flatnonzero(records["marker"])
    assert len(begins) == 9
    pulses = 1_250_000
    turn = -(-(pulses + 1) // 1024) * 1024
    assert records["time"][begins].tolist() == [turn * (i + 1) for i in range(9)]
    rows = scan.histograms(np.arange(10))
    for part, expected in zip(np.split(records, begins), rows, strict=True):
        delays = part["dtime"][part["channel"] >= 0]
        np.testing.assert_array_equal(np.bincount(delays, minlength=20), expected)


def test_a_visit_without_photons(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", per_bin=0, **HEADER)
    back = there_and_back(scan, tmp_path)
    assert back.map().counts.sum() == 0
    assert back.map().exposure_s.tolist() == scan.map().exposure_s.tolist()


def arrivals(blocks: list[NDArray[np.uint32]]) -> NDArray[np.int64]:
    """Number of the pulse of each photon."""
    records = np.concatenate(blocks).astype(np.int64)
    special = records >> 31 == 1
    turns = np.cumsum(np.where(special, records & 1023, 0))
    return ((turns << 10) + (records & 1023))[~special]


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(0, 50), min_size=2, max_size=9),
    pulses=st.integers(1, 10_000_000),
    block=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_drawn_records_hold_the_histogram(
    counts: list[int], pulses: int, block: int, seed: int
) -> None:
    histogram = np.array(counts, dtype=np.uint32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photons, "_BLOCK_PHOTONS", block)
        blocks = list(draw_records(histogram, pulses, np.random.default_rng(seed)))
    decoder = T3Decoder(GENERIC, len(counts))
    for part in blocks:
        decoder.feed(part)
    np.testing.assert_array_equal(decoder.histogram[0], histogram)
    assert (decoder.out_of_range, decoder.invalid, decoder.markers) == (0, 0, 0)
    found = arrivals(blocks)
    assert (np.diff(found) >= 0).all()
    assert found.size == 0 or 0 <= found[0] <= found[-1] < pulses
    assert pulses - 1024 < decoder.sync_count <= pulses


@pytest.mark.parametrize("block", [1 << 21, 1000])
def test_drawn_photons_come_evenly_and_in_no_order(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photons, "_BLOCK_PHOTONS", block)
    counts = np.full(10, 4000, dtype=np.uint32)
    blocks = list(draw_records(counts, 1_000_003, np.random.default_rng(7)))
    found = arrivals(blocks)
    seen = np.histogram(found, bins=20, range=(0, 1_000_003))[0]
    assert ((seen - 2000) ** 2 / 2000).sum() < 50  # chi² of 19 degrees: 1 in 10 000
    records = np.concatenate(blocks)
    delays = (records[records >> 31 == 0] >> 10).astype(float)
    assert abs(np.corrcoef(delays, found)[0, 1]) < 0.02


def test_the_draw_is_the_same_every_time(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", **HEADER)
    for name in "ab":
        export_map(scan, tmp_path / f"{name}.ptu", "ptu")
    first, second = ((tmp_path / f"{name}.ptu").read_bytes() for name in "ab")
    assert first[-1000:] == second[-1000:]


def test_photons_beyond_a_pulse_period_are_told(tmp_path: Path) -> None:
    long = LineScan(positions=2, passes=1, card=CardSettings(time_bin_ps=1000, range_ns=600))
    scan = write_counts(tmp_path / "a.h5", long, **HEADER)
    remark = export_map(scan, tmp_path / "a.ptu", "ptu")[1]
    late = scan.map().counts[:, 400:].sum()
    assert f"{late} photons lie after one pulse period; other programs" in remark
    assert_equal(there_and_back(scan, tmp_path).map(), scan.map(), "counts", "t_ns")


@pytest.mark.parametrize(
    ("plan", "changes", "message"),
    [
        (LineScan(positions=2, passes=1, card=CardSettings(time_bin_ps=1, range_ns=32.769)), {},
         "its histograms have 32769 bins; T3 records have delay times for 32768"),
        (LINE, {"sync_rate_hz": np.nan}, "its pulse rate is not known; T3 records count"),
        (LINE, {"skip": tuple(range(5))}, "no position was measured; there is nothing to write"),
        (CrossScan(positions=2, passes=1, card=CARD), {"skip": (0, 1)}, "no position was measured"),
    ],
)  # fmt: skip
def test_what_cannot_be_photons(
    plan: LineScan, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    scan = write_counts(tmp_path / "a.h5", plan, **changes)
    with pytest.raises(InputError, match=message) as caught:
        export_map(scan, tmp_path / "a.ptu", "ptu")
    assert str(caught.value).startswith(str(tmp_path / "a.h5"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_an_axis_that_a_line_has_not(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5")
    with pytest.raises(InputError, match="a line along x has no map along y"):
        export_map(scan, tmp_path / "a.ptu", "ptu", "y")


@pytest.mark.parametrize("out", ["a.ptu", "folder"])
def test_a_disk_that_fills_up_with_photons(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = write_counts(tmp_path / "a.h5")
    measured: list[int] = []

    def write(self: object, records: object) -> None:
        measured.append(1)
        if len(measured) > 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tplm_daq.t3.writing.PtuWriter.write", write)
    with pytest.raises(InputError, match=r"cannot be made \(No space left on device\)"):
        export_map(scan, tmp_path / out, "ptu")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("created", ["", "yesterday", "9999-12-31T23:59:59"])
def test_a_scan_without_a_date(created: str, tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", created="2024-02-29")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["entry/start_time"]
        file["entry/start_time"] = created
    scan = read_scan(tmp_path / "a.h5")
    assert_equal(there_and_back(scan, tmp_path).map(), scan.map(), "counts", "exposure_s")
