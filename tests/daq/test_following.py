"""Following a growing scan file: at every moment what `read_scan` gives, and only what is whole."""

import shutil
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daq.scan_files import LINE, write_counts
from tests.daq.test_store import header, record, short_plan, write
from tplm_config import CardSettings, CrossScan, InputError, LineScan, RasterScan, ScanPlan
from tplm_daq.store import FrozenFile, Scan, ScanFollower, ScanHeader, ScanWriter, read_scan
from tplm_daq.store.layout import COLUMNS, COUNTS, CRC, MEASURED, VISITS

CARD = CardSettings(time_bin_ps=100, range_ns=1.6)
PLANS = [
    short_plan(),
    CrossScan(half_range_um=1, positions=3, dwell_s=1, passes=2, card=CARD),
    RasterScan(x_positions=3, y_positions=2, dwell_s=1, passes=2, card=CARD),
]


def assert_same(found: Scan, wanted: Scan) -> None:
    """Two readings of a file agree in all that is stored."""
    assert found.path == wanted.path
    assert found.header == wanted.header
    assert found.journal == wanted.journal
    assert np.array_equal(found.stored, wanted.stored)
    assert np.array_equal(found.position_counts, wanted.position_counts)
    assert found.exposure_s.tolist() == wanted.exposure_s.tolist()
    assert (found.complete, found.ending) == (wanted.complete, wanted.ending)
    for column in COLUMNS:
        rows = slice(None) if column.planned else wanted.stored
        pair = found.columns[column.name][rows], wanted.columns[column.name][rows]
        assert np.array_equal(*pair, equal_nan=column.dtype == "<f8"), column.name


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.kind)
def test_at_every_visit_what_read_scan_gives_and_then_the_compact_file(
    tmp_path: Path, plan: ScanPlan
) -> None:
    path = tmp_path / "a.h5"
    follower = ScanFollower(path)
    with ScanWriter.create(path, header(plan)) as writer:
        assert follower.look()
        assert follower.is_growing
        for index in range(plan.visit_count):
            writer.write(record(plan, index))
            writer.note({"event": "notice", "number": index})
            assert follower.look()
            assert not follower.look()
            assert_same(follower.scan, read_scan(path))
        kept = follower.scan
        writer.finish()
    assert follower.look()
    assert not follower.is_growing
    assert not follower.look()
    assert_same(follower.scan, read_scan(path))
    assert follower.scan.complete
    assert_same(kept, read_scan(path))  # an earlier reading stays what it was


def test_a_resumed_scan_is_followed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plan = short_plan()
    write(path, [0, 2])
    follower = ScanFollower(path)
    follower.look()
    with ScanWriter.resume(path) as writer:
        writer.finish()  # stopped: made compact, not complete
    assert follower.look()
    assert not follower.is_growing
    with ScanWriter.resume(path) as writer:
        assert follower.look()
        assert follower.is_growing
        assert_same(follower.scan, read_scan(path))
        writer.write(record(plan, 1))
        assert follower.look()
        assert list(np.flatnonzero(follower.scan.stored)) == [0, 1, 2]
        assert_same(follower.scan, read_scan(path))


def test_another_scan_of_the_same_name_and_number_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, [0, 1, 2])
    follower = ScanFollower(path)
    follower.look()
    other = tmp_path / "b.h5"
    write(other, [1])
    path.write_bytes(other.read_bytes())  # the same inode and length, other rows
    assert follower.look()
    assert list(np.flatnonzero(follower.scan.stored)) == [1]
    assert_same(follower.scan, read_scan(path))


def test_another_plan_before_the_first_row_is_seen(tmp_path: Path) -> None:
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    base = LineScan(half_range_um=1, positions=3, dwell_s=1, passes=1, card=CARD)
    for at, half in ((path, 1.0), (other, 2.0)):
        plan = base.model_copy(update={"half_range_um": half})
        ScanWriter.create(at, ScanHeader(plan, 100.0, 16, created="x")).close()
    assert path.stat().st_size == other.stat().st_size
    follower = ScanFollower(path)
    follower.look()
    path.write_bytes(other.read_bytes())
    follower.look()
    assert_same(follower.scan, read_scan(path))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_half_written_rows_do_not_exist_until_they_are_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes of a finished file come in any pieces, as a killed or a slow writer leaves them."""
    folder = tmp_path_factory.mktemp("pieces")
    plan = short_plan()
    whole, path = folder / "whole.h5", folder / "a.h5"
    write(path, [])
    shutil.copy(path, whole)
    with FrozenFile(whole, writable=True) as file:
        for index in range(4):
            one = record(plan, index, value=data.draw(st.integers(0, 2**31)))
            values = {c.name: getattr(one, c.name) for c in MEASURED[:-1]} | {"flags": 0}
            file.write_row(index, values, one.counts)
            file.write_journal(f'{{"row": {index}}}')
    ready = whole.read_bytes()
    differs = [i for i, (a, b) in enumerate(zip(ready, path.read_bytes(), strict=True)) if a != b]
    follower = ScanFollower(path)
    order = data.draw(st.permutations(range(0, len(differs), 40)))
    with path.open("r+b") as out:
        for start in order:
            for at in differs[start : start + 40]:
                out.seek(at)
                out.write(ready[at : at + 1])
            out.flush()
            try:
                wanted = read_scan(path)
            except InputError:  # a torn line in the middle of the journal
                with pytest.raises(InputError):
                    follower.look()
                continue
            follower.look()
            assert_same(follower.scan, wanted)
    follower.look()
    assert follower.scan.stored.sum() == 4
    assert_same(follower.scan, read_scan(path))


@pytest.mark.parametrize("dataset", [COUNTS, CRC, f"{VISITS}/live_s"])
def test_a_spoiled_row_is_left_out(tmp_path: Path, dataset: str) -> None:
    path = tmp_path / "a.h5"
    write(path, [0, 1, 2])
    with h5py.File(path, "r+") as file:
        file[dataset][1] = file[dataset][1] + 1
    follower = ScanFollower(path)
    follower.look()
    assert list(np.flatnonzero(follower.scan.stored)) == [0, 2]
    assert_same(follower.scan, read_scan(path))


def test_what_is_no_scan_file_is_refused_until_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    follower = ScanFollower(path)
    with pytest.raises(InputError, match="no such file"):
        follower.look()
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a readable scan file"):
        follower.look()
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="format"):
        follower.look()
    with pytest.raises(InputError, match="nothing was read"):
        follower.scan  # noqa: B018
    path.unlink()
    wanted = write_counts(path, LINE)
    assert follower.look()
    assert_same(follower.scan, wanted)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        follower.look()
    assert_same(follower.scan, wanted)  # what was read stays


def test_nothing_is_open_between_looks_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, [0, 1])
    before = path.read_bytes()
    path.chmod(0o400)
    follower = ScanFollower(path)
    follower.look()
    follower.look()
    assert str(path) not in {one.path for one in psutil.Process().open_files()}
    assert path.read_bytes() == before


def test_memory_does_not_grow_with_visits(tmp_path: Path) -> None:
    card = CardSettings(time_bin_ps=25, range_ns=25.6)
    plan = LineScan(half_range_um=1, positions=5, dwell_s=1, passes=300, card=card)
    path = tmp_path / "a.h5"
    one = record(plan, 0)
    values = {c.name: getattr(one, c.name) for c in MEASURED[:-1]} | {"flags": 0}
    ScanWriter.create(path, ScanHeader(plan, 25.0, plan.card.bins)).close()
    follower = ScanFollower(path)
    with FrozenFile(path, writable=True) as file:
        for row in range(plan.visit_count):
            file.write_row(row, values, np.full(plan.card.bins, 3, np.uint32))
            if row == 10:
                follower.look()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    follower.look()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert follower.scan.stored.all()
    all_rows = plan.visit_count * plan.card.bins * 4
    assert after - before < 0.02 * all_rows
    assert peak - before < 0.2 * all_rows
