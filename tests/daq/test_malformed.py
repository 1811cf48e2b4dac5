"""Whatever a file holds: one line that names it, exit code 2, never a traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.daq.curve_files import decay, phu_bytes, sdt_bytes
from tests.daq.ptu_files import GENERIC, ptu_bytes, random_stream
from tests.daq.scan_files import write_counts
from tplm_config import InputError, load_plan, load_profile
from tplm_daq.cli import main
from tplm_daq.importing import import_files
from tplm_daq.tables import read_map

RUBBISH = bytes(range(256)) * 8
RECORDS = random_stream(GENERIC, 50, np.random.default_rng(3), channels=1, dtimes=3000)
PTU = ptu_bytes(GENERIC, RECORDS)
PHU = phu_bytes(decay(100))
SDT = sdt_bytes(decay(100)[None])
PROFILE = """
name = "mine"
[optics]
magnification = 495
detector_size_um = 50
[limits]
detector_count_rate_hz = 2e6
laser_power_nw = 200
[laser]
driver = { name = "simulated" }
[card]
driver = { name = "simulated" }
[detector_stage]
driver = { name = "simulated" }
"""


def npz(path: Path, **changes: Any) -> None:
    arrays: dict[str, Any] = {"counts": np.ones((3, 4), int), "x_um": np.arange(3.0), **changes}
    arrays.setdefault("t_ns", np.arange(4.0))
    np.savez(path, **arrays)


def scan_file(path: Path, damage: Callable[[h5py.File], Any]) -> None:
    """A sound scan file, then damaged."""
    write_counts(path)
    with h5py.File(path, "r+") as file:
        damage(file)


def replaced(name: str, value: Any) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return damage


def cut(path: Path, share: float) -> None:
    write_counts(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def to_h5(damage: Callable[[h5py.File], Any]) -> Callable[[Path], None]:
    return lambda path: scan_file(path, damage)


def as_group(name: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return damage


def huge(file: h5py.File) -> None:
    del file["entry/visits/counts"]
    shape, chunks = (10, 2**40), (1, 20)
    file.create_dataset("entry/visits/counts", shape, "<u4", chunks=chunks, compression="gzip")


Content = str | bytes | Callable[[Path], Any]

PLANS: dict[str, Content] = {
    "empty": "",
    "no TOML": "kind = line",
    "half": 'kind = "li',
    "binary": RUBBISH,
    "UTF-16": 'kind = "line"'.encode("utf-16"),
    "unknown kind": 'kind = "spiral"',
    "kind of wrong type": "kind = 3",
    "unknown key": 'kind = "line"\nposition = 41',
    "unknown key in a table": 'kind = "line"\n[card]\ntime_bin = 25',
    "negative dwell": 'kind = "line"\ndwell_s = -1',
    "dwell NaN": 'kind = "line"\ndwell_s = nan',
    "dwell infinite": 'kind = "line"\ndwell_s = inf',
    "dwell as text": 'kind = "line"\ndwell_s = "a while"',
    "no position": 'kind = "line"\npositions = 0',
    "half a position": 'kind = "line"\npositions = 1.5',
    "a table for a number": 'kind = "line"\n[positions]\nn = 3',
    "a number for a table": 'kind = "line"\ncard = 3',
    "too many visits": 'kind = "line"\npositions = 100000\npasses = 100000',
    "too many bins": 'kind = "line"\n[card]\ntime_bin_ps = 1e-9',
    "beyond the stage": 'kind = "line"\nhalf_range_um = 5000',
    "no places": 'kind = "positions"\nx_um = []',
    "places of unequal length": 'kind = "positions"\nx_um = [0, 1]\ny_um = [0]',
    "nested too deep": f"kind = {'[' * 5000}",
    "nested and closed": f"kind = {'[' * 5000}{']' * 5000}",
    "tables too deep": f'kind = "line"\n[{".".join("a" * 3000)}]',
    "a key twice": 'kind = "line"\nkind = "line"',
    "too large": b"#" * 5_000_000,
    "giant integer": f'kind = "line"\npositions = {"9" * 5000}',
    "folder": lambda path: path.mkdir(),
    "missing": lambda path: None,
}
PROFILES: dict[str, Content] = {
    "empty": "",
    "no TOML": "name",
    "binary": RUBBISH,
    "unknown driver": PROFILE.replace('"simulated"', '"telepathy"', 1),
    "no card": PROFILE.replace("[card]", "[kart]"),
    "negative magnification": PROFILE.replace("495", "-495"),
    "travel backwards": PROFILE + "[detector_stage.x]\ntravel_um = [5, -5]",
    "travel of three": PROFILE + "[detector_stage.x]\ntravel_um = [1, 2, 3]",
    "nested too deep": f"name = {'{a=' * 5000}",
    "missing": lambda path: None,
}
NPZ: dict[str, Content] = {
    "empty": b"",
    "binary": RUBBISH,
    "zip without arrays": b"PK\5\6" + bytes(18),
    "no counts": lambda path: np.savez(path, x_um=[1.0]),
    "wrong shape": lambda path: npz(path, counts=np.ones((4, 3), int)),
    "negative": lambda path: npz(path, counts=np.full((3, 4), -1)),
    "halves": lambda path: npz(path, counts=np.full((3, 4), 0.5)),
    "NaN": lambda path: npz(path, x_um=np.array([0, np.nan, 1])),
    "text": lambda path: npz(path, counts=np.full((3, 4), "1")),
    "objects": lambda path: npz(path, counts=np.full((3, 4), None)),
    "times descend": lambda path: npz(path, t_ns=np.arange(4.0)[::-1]),
    "absurd places": lambda path: npz(path, x_um=np.arange(3.0) * 1e300),
    "folder": lambda path: path.mkdir(),
    "missing": lambda path: None,
}
CSV: dict[str, Content] = {
    "empty": b"",
    "binary": RUBBISH,
    "words": "the quick brown fox",
    "semicolons": "x;1;2\n0;1;1\n",
    "ragged": "x,1,2\n0,1\n",
    "halves": "x,1,2\n0,1.5,1\n",
    "negative": "x,1,2\n0,-1,1\n",
    "NaN": "x,1,2\n0,nan,1\n",
    "UTF-16": "x,1,2\n0,1,1\n".encode("utf-16"),
    "one long line": b"1," * 9_000_000,
    "missing": lambda path: None,
}
PTUS: dict[str, Content] = {
    "empty": b"",
    "binary": RUBBISH,
    "half a header": PTU[:400],
    "header only": PTU[: -4 * len(RECORDS)],
    "T2": ptu_bytes(GENERIC, RECORDS, Measurement_Mode=2),
    "resolution NaN": ptu_bytes(GENERIC, RECORDS, MeasDesc_Resolution=float("nan")),
    "no sync": ptu_bytes(GENERIC, RECORDS, TTResult_SyncRate=0, MeasDesc_GlobalResolution=0.0),
    "two channels": ptu_bytes(GENERIC, random_stream(GENERIC, 99, np.random.default_rng(3))),
    "missing": lambda path: None,
}
PHUS: dict[str, Content] = {
    "empty": b"",
    "binary": RUBBISH,
    "half a header": PHU[:400],
    "no curve": PHU[:-400],
    "a ptu file": PTU,
    "offset far off": phu_bytes(decay(100), HistResDscr_DataOffset=[2**40]),
    "resolution NaN": phu_bytes(decay(100), HistResDscr_MDescResolution=[float("nan")]),
    "no time": phu_bytes(decay(9), HistResDscr_MDescStopAfter=..., HistResDscr_MDescAcquisTime=...),
    "two curves": phu_bytes(decay(100), decay(100)),
    "a bin": phu_bytes(decay(1)),
    "missing": lambda path: None,
}
SDTS: dict[str, Content] = {
    "empty": b"",
    "binary": RUBBISH,
    "half a header": SDT[:20],
    "half": SDT[: len(SDT) // 2],
    "almost whole": SDT[:-1],
    "texts gone": SDT[:42] + bytes(100) + SDT[142:],
    "an image": sdt_bytes(decay(100)[None], kind=0x68),
    "two curves": sdt_bytes(decay(100)[None], decay(100)[None]),
    "missing": lambda path: None,
}
H5: dict[str, Content] = {
    "empty": b"",
    "binary": RUBBISH,
    "signature only": b"\x89HDF\r\n\x1a\n",
    "half": lambda path: cut(path, 0.5),
    "almost whole": lambda path: cut(path, 0.99),
    "somebody else's": lambda path: h5py.File(path, "w").close(),
    "other format": to_h5(lambda file: file.attrs.update(format="tplm-scan/99")),
    "format of wrong type": to_h5(lambda file: file.attrs.update(format=[1, 2])),
    "no counts": to_h5(lambda file: file.pop("entry/visits/counts")),
    "counts of other shape": to_h5(replaced("entry/visits/counts", np.zeros((3, 4)))),
    "counts are a group": to_h5(as_group("entry/visits/counts")),
    "counts of one dimension": to_h5(replaced("entry/visits/counts", np.zeros(10))),
    "counts too large": to_h5(huge),
    "places out of range": to_h5(replaced("entry/visits/position_index", np.arange(10) + 9)),
    "plan of rubbish": to_h5(replaced("entry/configuration/plan", "kind = 7")),
    "plan is a number": to_h5(replaced("entry/configuration/plan", 7)),
    "journal of rubbish": to_h5(replaced("entry/journal", np.frombuffer(b"{]\n", np.uint8))),
    "no time axis": to_h5(lambda file: file.pop("entry/t_ns")),
    "missing": lambda path: None,
}


def cases(kind: str, table: dict[str, Content]) -> list[Any]:
    return [pytest.param(kind, content, id=f"{kind}: {name}") for name, content in table.items()]


def make(folder: Path, kind: str, content: Content) -> tuple[str, list[str]]:
    """A malformed file, and a command that reads it."""
    name = f"wrong.{'toml' if kind in ('plan', 'profile') else kind}"
    path = folder / name
    if isinstance(content, str | bytes):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    else:
        content(path)
    match kind:
        case "plan":
            return name, ["check", str(path)]
        case "profile":
            return name, ["check", "line", "--profile", str(path)]
        case "ptu" | "phu" | "sdt":
            (folder / "places.csv").write_text(f"file,x_um\n{name},0\n")
            out = str(folder / "out.h5")
            places = str(folder / "places.csv")
            return name, ["import", str(path), "--positions", places, "--out", out]
    return name, ["analyze", str(path)]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        *cases("plan", PLANS),
        *cases("profile", PROFILES),
        *cases("npz", NPZ),
        *cases("csv", CSV),
        *cases("ptu", PTUS),
        *cases("phu", PHUS),
        *cases("sdt", SDTS),
        *cases("h5", H5),
    ],
)
@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
def test_one_line_that_names_the_file(
    kind: str, content: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, arguments = make(tmp_path, kind, content)
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.startswith("tplm: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert name in err
    assert len(err) < 500 + 2 * len(str(tmp_path))


@pytest.mark.parametrize(
    "arguments", [["check", "lime"], ["check", "line", "--profile", "simulatet"]]
)
def test_an_unknown_bundled_name(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"tplm: {arguments[-1]}: no such")
    assert "did you mean" in err
    assert err.count("\n") == 1


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    name, arguments = make(tmp_path, "csv", "x,1,2\n0,1.5,1\n")
    done = subprocess.run(
        [sys.executable, "-m", "tplm_daq", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"tplm: {tmp_path / name}: line 2, column 2: found 1.5; counts are whole numbers from 0\n"
    )


# -- damage of every kind ---------------------------------------------------------------------

fuzz = settings(
    deadline=5000, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_or_refuse(read: Callable[[Path], Any], path: Path, data: bytes) -> None:
    """Only success or `InputError`; any warning is an error by pytest's settings."""
    path.write_bytes(data)
    try:
        read(path)
    except InputError as error:
        assert path.name in str(error)
        assert "\n" not in str(error)


def as_import(path: Path) -> None:
    table = path.with_name("places.csv")
    table.write_text(f"file,x_um\n{path.name},0\n")
    out = path.with_name("out.h5")
    out.unlink(missing_ok=True)
    import_files([path], table, out)


def as_positions(path: Path) -> None:
    file, out = path.with_name("sound.ptu"), path.with_name("out.h5")
    file.write_bytes(PTU)
    out.unlink(missing_ok=True)
    import_files([file], path, out)


READERS: dict[str, Callable[[Path], Any]] = {
    "a.npz": read_map,
    "a.csv": read_map,
    "a.h5": read_map,
    "a.plan": load_plan,
    "a.profile": load_profile,
    "a.ptu": as_import,
    "a.phu": as_import,
    "a.sdt": as_import,
    "a.positions": as_positions,
}


@fuzz
@given(name=st.sampled_from(sorted(READERS)), data=st.binary(max_size=500))
def test_random_bytes(name: str, data: bytes, tmp_path: Path) -> None:
    read_or_refuse(READERS[name], tmp_path / name, data)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound file for every reader."""
    folder = tmp_path_factory.mktemp("sound")
    npz(folder / "a.npz", exposure_s=np.ones(3))
    write_counts(folder / "a.h5")
    texts = {
        "a.csv": "x \\ t,0.1,0.2,0.3\n-0.5,1,2,3\n0.5,4,5,6\n",
        "a.plan": 'kind = "line"\npositions = 5\ndwell_s = 0.5\n[card]\ntime_bin_ps = 25\n',
        "a.profile": PROFILE,
        "a.positions": "file,x_um,exposure_s\nsound.ptu,-0.5,2\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name, data in (("a.ptu", PTU), ("a.phu", PHU), ("a.sdt", SDT)):
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_sound_files_are_sound(name: str, sound: Path) -> None:
    READERS[name](sound / name)


# Flipped bytes make libhdf5 itself crash or hang now and then, so .h5 is only cut.
@fuzz
@given(
    name=st.sampled_from(sorted(READERS.keys() - {"a.h5"})),
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4
    ),
)
def test_flipped_bytes(
    name: str, flips: list[tuple[float, int]], sound: Path, tmp_path: Path
) -> None:
    data = bytearray((sound / name).read_bytes())
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    read_or_refuse(READERS[name], tmp_path / name, bytes(data))


@fuzz
@given(name=st.sampled_from(sorted(READERS)), share=st.floats(0, 1))
def test_truncated_anywhere(name: str, share: float, sound: Path, tmp_path: Path) -> None:
    data = (sound / name).read_bytes()
    read_or_refuse(READERS[name], tmp_path / name, data[: int(share * len(data))])
