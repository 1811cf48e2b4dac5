"""Analyses kept in a scan file: beside the data, whole or not at all, the raw rows untouched."""

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import tplm_daq
from tests.daq.scan_files import write_counts
from tests.daq.test_store import header, record, short_plan
from tests.daq.test_store import write as write_visits
from tplm_analysis import Result, fit_slices, synthetic_map
from tplm_config import CardSettings, InputError, LineScan
from tplm_daq.analysis import fit_scan
from tplm_daq.cli import main
from tplm_daq.store import Scan, ScanWriter, read_analyses, read_scan, save_analysis
from tplm_daq.store.frozen import is_frozen
from tplm_daq.store.layout import ANALYSES, VISITS
from tplm_daq.store.locks import release_lock, take_lock

SEED = 20261121


@dataclass(frozen=True, eq=False)
class Everything(Result):
    """A result with every kind of value."""

    CURVES: ClassVar[tuple[str, ...]] = ("curve_nm2",)

    d_cm2_per_s: float | None
    number: int
    flag: bool
    words: str
    pair_ns: tuple[float, float | None]
    names: tuple[str, ...]
    nothing: None
    parts: tuple["Everything", ...]
    curve_nm2: NDArray[np.float64]


def everything(*parts: Everything) -> Everything:
    curve = np.linspace(0, 1, 3000).reshape(3, 1000)
    curve[1, 1] = np.nan
    return Everything(0.1, -3, True, "µ", (1.0, None), ("a", "b"), None, parts, curve)


def raw_hash(path: Path) -> str:
    """Every byte of every table of visits."""
    digest = hashlib.sha256()
    with h5py.File(path, "r") as file:
        for name in sorted(file[VISITS]):
            digest.update(name.encode() + file[VISITS][name][()].tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A scan with a diffusing spot in it."""
    made = synthetic_map(5, positions=21, bins=100, bin_ns=0.1, amplitude=2e6)
    path = tmp_path_factory.mktemp("film") / "a.h5"
    card = CardSettings(time_bin_ps=100, range_ns=10)
    plan = LineScan(positions=21, half_range_um=2, dwell_s=1, passes=1, card=card)
    write_counts(path, plan, table=made.counts)
    return path.read_bytes()


@pytest.fixture
def scan(film: bytes, tmp_path: Path) -> Scan:
    (tmp_path / "a.h5").write_bytes(film)
    return read_scan(tmp_path / "a.h5")


def test_what_is_kept_is_read_back(scan: Scan) -> None:
    before = raw_hash(scan.path)
    fit = fit_scan(scan)
    assert fit.d_cm2_per_s == pytest.approx(0.01, rel=0.5)
    name = scan.save_analysis(fit, {"method": "global", "t_range_ns": (0, 5)})
    (kept,) = read_analyses(scan.path)
    assert name == kept.name == "global-1"
    assert (kept.result, kept.program, kept.visits) == ("MapFit", "tplm-daq", 21)
    assert kept.settings == {"method": "global", "t_range_ns": [0, 5]}
    assert kept.text == str(fit)
    assert kept.version
    assert kept.date.endswith("+00:00")
    assert set(kept.values) == set(fit.to_dict(curves=True))
    for key, value in fit.to_dict().items():
        found = kept.values[key]
        assert (found if not isinstance(found, np.ndarray) else found.tolist()) == value, key
    for key in ("observed", "predicted", "x_um", "slice_t_ns"):
        np.testing.assert_array_equal(kept.values[key], getattr(fit, key))
    assert fit.msd is not None
    np.testing.assert_array_equal(kept.values["msd"]["msd_um2"], fit.msd.msd_um2)
    assert raw_hash(scan.path) == before
    after = read_scan(scan.path)
    np.testing.assert_array_equal(after.position_counts, scan.position_counts)
    assert after.journal == scan.journal
    assert [path.name for path in scan.path.parent.iterdir()] == ["a.h5"]


def test_every_kind_of_value(scan: Scan) -> None:
    result = everything(everything(), everything())
    assert save_analysis(scan.path, result) == "everything-1"
    (kept,) = read_analyses(scan.path)
    values = kept.values
    assert values["parts"][1]["names"] == values["names"] == ["a", "b"]
    assert (values["number"], values["flag"], values["words"]) == (-3, True, "µ")
    assert (type(values["number"]), type(values["flag"])) == (int, bool)
    assert values["nothing"] is None
    np.testing.assert_array_equal(values["pair_ns"], [1, np.nan])
    np.testing.assert_array_equal(values["parts"][0]["curve_nm2"], result.curve_nm2)
    bare = kept.numbers()
    assert bare["parts"][0]["d_cm2_per_s"] == 0.1
    assert "curve_nm2" not in bare["parts"][0]
    json.dumps(bare, allow_nan=False)


def test_other_programs_find_units_and_still_the_map(scan: Scan) -> None:
    scan.save_analysis(fit_scan(scan, "moment"))
    with h5py.File(scan.path, "r") as file:
        process = file[ANALYSES]["moment-1"]
        assert process.attrs["NX_class"] == "NXprocess"
        result = process["result"]
        units = {name: node.attrs.get("units") for name, node in result.items()}
        assert units["d_cm2_per_s"] == units["d_stderr_cm2_per_s"] == "cm^2/s"
        assert units["slice_t_ns"] == "ns"
        assert units["background_per_bin"] == "1/bin"
        assert units["method"] is None
        assert result["msd/msd_um2"].attrs["units"] == "um^2"
        assert result["diffusivity/d_cm2_per_s"].shape == result["diffusivity/since_zero_ns"].shape
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data.name == "/entry/data"
        assert data[data.attrs["signal"]].shape == (21, 100)
        assert "default" not in file[ANALYSES].attrs


def test_several_have_names(scan: Scan) -> None:
    fit = fit_scan(scan)
    found = [scan.save_analysis(fit) for _ in range(2)]
    found.append(scan.save_analysis(fit, name="tuesday"))
    found.append(scan.save_analysis(fit))
    slices = fit_slices(*scan.map())
    found.append(scan.save_analysis(slices))
    assert found == ["global-1", "global-2", "tuesday", "global-3", "slice-fits-1"]
    assert [one.name for one in read_analyses(scan.path)] == found
    size = scan.path.stat().st_size
    for name, words in [("tuesday", "already"), ("a/b", "no name"), ("", "no name")]:
        with pytest.raises(InputError, match=words):
            scan.save_analysis(fit, name=name)
    assert scan.path.stat().st_size == size
    assert tplm_daq.read_analyses(scan.path)[2].name == "tuesday"


def test_a_file_without_analyses_has_none(scan: Scan, tmp_path: Path) -> None:
    assert read_analyses(scan.path) == ()
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    for name, words in [("b.h5", "cannot be read"), ("c.h5", "no such file")]:
        with pytest.raises(InputError, match=words):
            read_analyses(tmp_path / name)


@pytest.mark.parametrize("finished_before", [True, False])
def test_a_scan_goes_on_and_keeps_them(tmp_path: Path, finished_before: bool) -> None:
    """Of an unfinished scan; its rows keep their places, and both rewritings take it along."""
    path, plan = tmp_path / "a.h5", short_plan()
    with ScanWriter.create(path, header(plan)) as writer:
        for index in (0, 1, 5):
            writer.write(record(plan, index))
        if finished_before:
            writer.finish()
    before = raw_hash(path)
    save_analysis(path, everything())
    assert raw_hash(path) == before
    assert is_frozen(path) is not finished_before
    if hasattr(path.stat(), "st_blocks"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size - 4096
    with ScanWriter.resume(path) as writer:
        assert len(writer.todo) == 11
        for visit in writer.todo:
            writer.write(record(plan, visit.index))
        assert len(read_analyses(path)) == 1
        writer.finish()
    whole = read_scan(path)
    assert whole.complete
    assert (whole.histograms(np.arange(14)) == np.arange(1, 15)[:, None]).all()
    (kept,) = read_analyses(path)
    assert kept.visits == 3
    np.testing.assert_array_equal(kept.values["curve_nm2"], everything().curve_nm2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_file_that_a_run_owns_is_refused(tmp_path: Path) -> None:
    path, plan = tmp_path / "a.h5", short_plan()
    with ScanWriter.create(path, header(plan)) as writer:
        writer.write(record(plan, 0))
        with pytest.raises(InputError, match="another run is writing this file"):
            save_analysis(path, everything())
        writer.write(record(plan, 1))
    assert read_scan(path).stored.sum() == 2
    assert read_analyses(path) == ()


def test_nobody_begins_a_run_meanwhile(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object, **__: object) -> str:
        with pytest.raises(InputError, match="another run is writing"):
            take_lock(scan.path)
        return "now"

    monkeypatch.setattr("tplm_daq.store.analyses.utc_now", look)
    scan.save_analysis(everything())
    assert read_analyses(scan.path)[0].date == "now"
    release_lock(take_lock(scan.path))


def test_a_read_only_file_is_refused(scan: Scan) -> None:
    scan.path.chmod(0o444)
    with pytest.raises(InputError, match="a.h5: the file is read-only; allow writing, or analyze"):
        scan.save_analysis(everything())
    scan.path.chmod(0o640)
    scan.save_analysis(everything())
    assert scan.path.stat().st_mode & 0o777 == (0o640 if os.name != "nt" else 0o666)


@pytest.mark.parametrize("call", ["check_room", "shutil.copy", "_process", "os.fsync"])
def test_a_failure_at_any_step_leaves_the_file_as_it_was(
    call: str, scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = scan.path.read_bytes()
    target = call if call.startswith("os.") else f"tplm_daq.store.analyses.{call}"
    with monkeypatch.context() as patch:
        patch.setattr(target, no)
        with pytest.raises(InputError, match=r"no room for the .* MB of a copy.*make room"):
            scan.save_analysis(everything())
    assert scan.path.read_bytes() == before
    assert [path.name for path in scan.path.parent.iterdir()] == ["a.h5"]
    assert scan.save_analysis(everything()) == "everything-1"


@pytest.mark.skipif(sys.platform != "linux", reason="limits a file's size the Linux way")
def test_a_full_disk_through_the_command_line(scan: Scan) -> None:
    """A real refusal by the system."""
    size = scan.path.stat().st_size
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 10_000}, {size + 10_000}))\n"
        "from tplm_daq.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    before = scan.path.read_bytes()
    command = [sys.executable, "-c", code, "analyze", str(scan.path), "--save", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "the disk has no room for" in json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr
    assert scan.path.read_bytes() == before
    assert [path.name for path in scan.path.parent.iterdir()] == ["a.h5"]


CHILD = """
import sys
import numpy as np
from tplm_analysis import DiffusivityCurve
from tplm_daq.store import read_scan
scan = read_scan(sys.argv[1])
many = np.linspace(0, 1, 3000)
print("ready", flush=True)
while True:
    print(scan.save_analysis(DiffusivityCurve(many, many, many)), flush=True)
"""


@pytest.mark.parametrize(
    ("frozen", "kills"),
    [
        (False, 2),
        pytest.param(False, 60, marks=[pytest.mark.full, pytest.mark.timeout(1000)]),
        pytest.param(True, 60, marks=[pytest.mark.full, pytest.mark.timeout(1000)]),
    ],
)
def test_killed_while_saving(frozen: bool, kills: int, tmp_path: Path) -> None:
    """The file opens plainly, the raw rows are those, and what was told to be kept is there."""
    path, plan = tmp_path / "a.h5", short_plan()
    write_visits(path, range(9), plan)
    if not frozen:
        with ScanWriter.resume(path) as writer:
            writer.finish()
    before = raw_hash(path)
    choose = random.Random(SEED)
    told = 0
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(choose.randrange(1, 4)):
                told += bool(process.stdout.readline())
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=choose.uniform(0, 0.05))
            process.kill()
            told += process.stdout.read().count("\n")
        with h5py.File(path, "r") as file:
            assert file["entry/visits/counts"].shape == (14, 16)
        assert raw_hash(path) == before
        found = read_analyses(path)
        assert told <= len(found)
        told = len(found)
        assert {len(one.values) for one in found} <= {3}
        assert read_scan(path).stored.sum() == 9
    print(f"\n{kills} kills, {told} analyses kept, none lost")
    assert told > 0
    with ScanWriter.resume(path) as writer:
        for visit in writer.todo:
            writer.write(record(plan, visit.index))
        writer.finish()
    assert len(read_analyses(path)) == told
    assert {path.name for path in tmp_path.iterdir()} == {"a.h5"}


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_commands(scan: Scan, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, out, _ = run(capsys, "analyze", scan.path, "--save")
    assert out.endswith("kept in the file as: global-1\n")
    options = ["--method", "moment", "--t-range-ns", 0, 8, "--save-as", "s3"]
    found: dict[str, Any] = json.loads(run(capsys, "analyze", scan.path, *options, "--json")[1])
    assert found["saved_as"] == "s3"
    shown = json.loads(run(capsys, "inspect", scan.path, "--json")[1])
    assert (shown["visits_stored"], shown["counts"]) == (21, int(scan.position_counts.sum()))
    first, second = shown["analyses"]
    assert first["settings"]["method"] == "global"
    assert second["settings"]["t_range_ns"] == [0, 8]
    for name in ("d_cm2_per_s", "d_max_cm2_per_s", "d_max_stderr_cm2_per_s", "warnings"):
        assert second["values"][name] == found[name], name
    _, text, _ = run(capsys, "inspect", scan.path)
    assert "line, 21 of 21 visits, 21 positions, 100 bins of 100 ps" in text
    assert "\ns3 (20" in text
    assert "  D_max = " in text
    code, _, err = run(capsys, "analyze", scan.path, "--save-as", "s3")
    assert (code, err.count("\n")) == (2, 1)
    assert "it holds an analysis 's3' already; choose another name" in err
    np.savez(tmp_path / "a.npz", counts=np.zeros((2, 2), int), x_um=[0, 1], t_ns=[0, 1])
    code, _, err = run(capsys, "analyze", tmp_path / "a.npz", "--save")
    assert (code, err) == (
        2, f"tplm: {tmp_path / 'a.npz'}: only a scan file (.h5) keeps analyses; leave out --save\n"
    )  # fmt: skip


def test_inspect_says_what_an_analysis_did_not_see(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    plan = write_visits(path, range(5))
    save_analysis(path, everything())
    with ScanWriter.resume(path) as writer:
        writer.write(record(plan, 9))
    assert "of 5 visits only" in run(capsys, "inspect", path)[1]
