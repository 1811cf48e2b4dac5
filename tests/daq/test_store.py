"""The scan file: what is acknowledged stays, whatever happens to the writer."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import filelock
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daq.rig import rig, small_plan, small_profile
from tplm_config import (
    CardSettings,
    CrossScan,
    InputError,
    LineScan,
    PositionScan,
    RasterScan,
    ScanPlan,
)
from tplm_daq.events import VisitRecord
from tplm_daq.store import FrozenFile, ScanHeader, ScanWriter, project, read_scan
from tplm_daq.store import files as store_files
from tplm_daq.store import writer as store_writer
from tplm_daq.store.files import replacing
from tplm_daq.store.frozen import JOURNAL_BYTES, is_frozen
from tplm_daq.store.layout import COUNTS, CRC, flag_bits, flag_names

BINS = 16


CARD = CardSettings(time_bin_ps=100, range_ns=1.6)


def short_plan() -> ScanPlan:
    """The small plan with 16 bins."""
    return small_plan(card=CARD)


def header(plan: ScanPlan | None = None) -> ScanHeader:
    plan = plan or short_plan()
    return ScanHeader(plan=plan, time_bin_ps=100.0, bins=BINS, profile=small_profile())


def record(plan: ScanPlan, index: int, value: int | None = None) -> VisitRecord:
    visit = list(plan.visits())[index]
    fill = index + 1 if value is None else value
    return VisitRecord(
        visit, 1.5 * index, visit.dwell_s, 495 * visit.x_um, 0.0, 2.5e6, 1e4, 295.0, 1.0,
        frozenset(), np.full(BINS, fill, dtype=np.uint32),
    )  # fmt: skip


def write(path: Path, indices: range | list[int], plan: ScanPlan | None = None) -> ScanPlan:
    plan = plan or short_plan()
    with ScanWriter.create(path, header(plan)) as writer:
        for index in indices:
            writer.write(record(plan, index))
    return plan


def test_an_unfinished_file_opens_plainly_and_holds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, [0, 3])
    scan = read_scan(path)
    assert list(np.flatnonzero(scan.stored)) == [0, 3]
    assert scan.ending is None
    assert scan.columns["temperature_k"][3] == 295.0
    with h5py.File(path, "r") as file:
        assert file["entry/data"].attrs["signal"] == "counts"
        assert (file[COUNTS][3] == 4).all()


def test_a_reader_follows_while_the_writer_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plan = short_plan()
    with ScanWriter.create(path, header(plan)) as writer, FrozenFile(path) as reader:
        assert reader.read_counts(2) is None
        with h5py.File(path, "r"):
            writer.write(record(plan, 2))
            counts = reader.read_counts(2)
            assert counts is not None
            assert (counts == 3).all()
            assert read_scan(path).stored.sum() == 1


def test_finishing_keeps_every_number_and_makes_a_default_plot(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plan = short_plan()
    with ScanWriter.create(path, header(plan)) as writer:
        for visit in plan.visits():
            writer.write(record(plan, visit.index))
        before = read_scan(path)
        writer.finish()
    after = read_scan(path)
    assert not is_frozen(path)
    assert after.complete
    assert np.array_equal(before.position_counts, after.position_counts)
    for name, values in before.columns.items():
        assert np.array_equal(values, after.columns[name], equal_nan=True), name
    with h5py.File(path, "r") as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data.attrs["NX_class"] == "NXdata"
        assert list(data.attrs["axes"]) == ["x_um", "t_ns"]
        signal = data[data.attrs["signal"]]
        assert signal.shape == (7, BINS)
        assert np.array_equal(signal[()], after.map().counts)
        assert np.issubdtype(signal.dtype, np.integer)
        assert file[COUNTS].chunks == (1, BINS)
    assert after.header.plan == plan
    assert after.header.profile == small_profile()
    assert after.header.software.startswith("tplm-daq ")


@pytest.mark.parametrize("finish", [True, False])
def test_resume_measures_only_what_is_missing(tmp_path: Path, finish: bool) -> None:
    path = tmp_path / "a.h5"
    plan = short_plan()
    with ScanWriter.create(path, header(plan)) as writer:
        for index in (0, 1, 5):
            writer.write(record(plan, index))
        writer.note({"event": "hello"})
        if finish:
            writer.finish()
    with ScanWriter.resume(path) as writer:
        assert [v.index for v in writer.todo] == [2, 3, 4, *range(6, 14)]
        assert writer.elapsed_s == pytest.approx(1.5 * 5 + 1.0)
        for visit in writer.todo:
            writer.write(record(plan, visit.index))
        writer.finish()
    scan = read_scan(path)
    assert scan.complete
    assert [line["event"] for line in scan.journal] == ["hello"]
    rows = scan.histograms(np.arange(14))
    assert (rows == np.arange(1, 15)[:, None]).all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all its rows."""
    path = tmp_path_factory.mktemp("whole") / "a.h5"
    write(path, range(14))
    return path


@settings(max_examples=40, deadline=None)
@given(row=st.integers(0, 13), byte=st.integers(0, BINS * 4 - 1), bit=st.integers(0, 7))
def test_a_row_with_a_wrong_checksum_does_not_exist(
    whole: Path, row: int, byte: int, bit: int
) -> None:
    path = whole.with_name("spoilt.h5")
    path.write_bytes(whole.read_bytes())
    with h5py.File(path, "r") as file:
        offset = file[COUNTS].id.get_offset() + row * BINS * 4 + byte
    with path.open("r+b") as raw:
        raw.seek(offset)
        old = raw.read(1)[0]
        raw.seek(offset)
        raw.write(bytes([old ^ 1 << bit]))
    scan = read_scan(path)
    assert not scan.stored[row]
    assert scan.stored.sum() == 13
    with FrozenFile(path) as reader:
        assert reader.read_counts(row) is None


def test_a_write_cut_short_is_not_a_row(tmp_path: Path) -> None:
    """The order on the disk: values, counts, then the checksum; a cut at any byte is seen."""
    path = tmp_path / "a.h5"
    plan = short_plan()
    real = store_files.write_at
    for cut in range(1, 13):
        calls = 0

        def crash(fd: int, offset: int, data: bytes, cut: int = cut) -> None:
            nonlocal calls
            calls += 1
            if calls == cut:
                real(fd, offset, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(fd, offset, data)

        path.unlink(missing_ok=True)
        with ScanWriter.create(path, header(plan)) as writer:
            writer.write(record(plan, 0))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("tplm_daq.store.frozen.write_at", crash)
                if cut <= 11:
                    with pytest.raises(OSError, match="tplm resume"):
                        writer.write(record(plan, 1))
                else:
                    writer.write(record(plan, 1))
        assert list(np.flatnonzero(read_scan(path).stored)) == ([0] if cut <= 11 else [0, 1])


def test_only_one_run_may_write(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plan = short_plan()
    with (
        ScanWriter.create(path, header(plan)),
        pytest.raises(InputError, match="another run is writing"),
    ):
        ScanWriter.resume(path)
    ScanWriter.resume(path).close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"dear data")
    with pytest.raises(InputError, match="exists already"):
        ScanWriter.create(path, header())
    assert path.read_bytes() == b"dear data"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ScanWriter.create(tmp_path / "no" / "a.h5", header())


def test_no_room_is_told_at_the_start_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tplm_daq.store.frozen.reserve", full)
    with pytest.raises(InputError, match="no room"):
        ScanWriter.create(tmp_path / "a.h5", header())
    assert list(tmp_path.iterdir()) == []


def test_room_is_really_reserved(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, [])
    state = path.stat()
    if hasattr(state, "st_blocks"):
        assert state.st_blocks * 512 >= state.st_size


@pytest.mark.skipif(sys.platform != "linux", reason="limits a file's size the Linux way")
def test_a_file_that_cannot_grow_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """A real refusal by the system, through the command line."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
        "from tplm_daq.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    out = tmp_path / "a.h5"
    command = [sys.executable, "-c", code, "scan", "line", "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "no room" in json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_in_mid_scan_keeps_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store_files.write_at
    with rig() as it:
        plan = small_plan()
        rows = 0

        def fill(fd: int, offset: int, data: bytes) -> None:
            nonlocal rows
            if len(data) == 128 * 4:
                rows += 1
            if rows > 6:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(fd, offset, data)

        monkeypatch.setattr("tplm_daq.store.frozen.write_at", fill)
        outcome, scan = it.scan(plan, tmp_path / "a.h5")
        assert outcome.ending == "failed"
        assert "make room" in outcome.message
        assert scan.stored.sum() == 6
        assert it.dark
        monkeypatch.undo()
        again, scan = type(it)(it.instrument).resume(tmp_path / "a.h5")
        assert again.ending == "completed"
        assert scan.complete


def test_a_failed_repack_keeps_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with rig() as it:
        monkeypatch.setattr("tplm_daq.store.writer._write_map", no)
        outcome, scan = it.scan(small_plan(), tmp_path / "a.h5")
        assert outcome.ending == "completed"
        assert scan.complete
        assert is_frozen(tmp_path / "a.h5")
        assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_full_journal_does_not_stop_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plan = short_plan()
    with ScanWriter.create(path, header(plan)) as writer:
        for i in range(JOURNAL_BYTES // 1000 + 10):
            writer.note({"event": "noise", "i": i, "text": "x" * 1000})
        writer.write(record(plan, 0))
    scan = read_scan(path)
    assert scan.stored[0]
    assert scan.journal[-1]["event"] == "noise"


@given(st.sets(st.sampled_from(["overflow", "sync-lost", "fifo-full", "something new"])))
def test_flags_survive(names: set[str]) -> None:
    found = flag_names(flag_bits(frozenset(names)))
    assert found == {"other" if name == "something new" else name for name in names}


LINE_Y = LineScan(card=CARD, axis="y", positions=3, half_range_um=1, passes=1)
CROSS = CrossScan(card=CARD, positions=3, half_range_um=1, passes=1, x_center_um=5)
RASTER = RasterScan(card=CARD, x_positions=3, y_positions=2, x_half_range_um=1, y_half_range_um=1)
LISTED = PositionScan(card=CARD, x_um=(2.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("plan", "axis", "coordinates", "rows"),
    [
        (LINE_Y, None, [-1, 0, 1], [[0], [1], [2]]),
        (LINE_Y, "y", [-1, 0, 1], [[0], [1], [2]]),
        (CROSS, None, [4, 5, 6], [[0], [1], [2]]),
        (CROSS, "y", [-1, 0, 1], [[3], [4], [5]]),
        (RASTER, None, [-1, 0, 1], [[0, 5], [1, 4], [2, 3]]),
        (RASTER, "y", [-1, 1], [[0, 1, 2], [3, 4, 5]]),
        (LISTED, None, [0, 1, 2], [[1], [2], [0]]),
    ],
)
def test_projecting_places_onto_an_axis(
    plan: ScanPlan, axis: str | None, coordinates: list[float], rows: list[list[int]]
) -> None:
    n = plan.place_count
    counts = np.eye(n, dtype=np.int64)
    found = project(plan, counts, np.arange(1.0, n + 1), np.arange(float(n)), axis)  # type: ignore[arg-type]
    assert found.x_um == pytest.approx(coordinates)
    assert [list(np.flatnonzero(row)) for row in found.counts] == [sorted(r) for r in rows]
    assert found.exposure_s == pytest.approx([sum(i + 1 for i in r) for r in rows])


def test_a_line_has_no_map_along_the_other_axis() -> None:
    counts = np.zeros((3, 1), dtype=np.int64)
    with pytest.raises(InputError, match="no map along x"):
        project(LINE_Y, counts, np.ones(3), np.ones(1), "x")


@pytest.mark.parametrize("kind", ["line", "cross", "raster", "positions"])
def test_every_kind_of_plan_is_stored_and_plotted(tmp_path: Path, kind: str) -> None:
    plans: dict[str, ScanPlan] = {
        "line": LINE_Y, "cross": CROSS, "raster": RASTER, "positions": LISTED,
    }  # fmt: skip
    path = tmp_path / "a.h5"
    plan = plans[kind]
    with ScanWriter.create(path, header(plan)) as writer:
        for visit in plan.visits():
            writer.write(record(plan, visit.index))
        writer.finish()
    scan = read_scan(path)
    assert scan.complete
    with h5py.File(path, "r") as file:
        data = file["entry/data"]
        axes = list(data.attrs["axes"])
        shape = data["counts"].shape
        assert [data[name].shape[0] for name in axes] == list(shape)
        assert axes[-1] == "t_ns"
        assert data["counts"][()].sum() == (
            scan.map("x").counts.sum() if kind != "line" else scan.map().counts.sum()
        )


def test_a_crc_of_zero_means_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, range(14))
    with h5py.File(path, "r") as file:
        assert (file[CRC][()] != 0).all()


def test_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="format"):
        read_scan(path)


def test_a_profile_of_another_version_does_not_hide_the_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plan = write(path, range(5))
    with h5py.File(path, "r+") as file:
        text = file["entry/configuration/profile"].asstr()[()]
        del file["entry/configuration/profile"]
        file["entry/configuration/profile"] = text.replace("magnification", "enlargement")
    scan = read_scan(path)
    assert scan.plan == plan
    assert scan.stored.sum() == 5
    assert "enlargement" in scan.header.profile_problem
    with pytest.raises(InputError, match="enlargement"):
        ScanWriter.resume(path)


def test_visits_stored_while_resume_waits_for_its_turn_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run stores visits and packs the file between our first look and our lock."""
    path = tmp_path / "a.h5"
    plan = write(path, range(5))
    real = store_writer.take_lock

    def other_run_first(wanted: Path) -> filelock.BaseFileLock:
        monkeypatch.setattr(store_writer, "take_lock", real)
        with ScanWriter.resume(path) as writer:
            for index in range(5, 12):
                writer.write(record(plan, index))
            writer.finish()
        return real(wanted)

    monkeypatch.setattr(store_writer, "take_lock", other_run_first)
    with ScanWriter.resume(path) as writer:
        assert [visit.index for visit in writer.todo] == [12, 13]
    assert read_scan(path).stored.sum() == 12


def test_on_windows_a_reader_that_looks_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace a file while anybody has it open."""
    path, held = tmp_path / "a.txt", [2]
    path.write_text("old")
    replace = Path.replace

    def busy(self: Path, target: Path) -> Path:
        if held[0]:
            held[0] -= 1
            raise PermissionError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr("tplm_daq.store.files.time.sleep", lambda _: None)
    monkeypatch.setattr("tplm_daq.store.files.ON_WINDOWS", True)
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
