"""Reading maps: what is read, and how every other file is refused."""

import io
import os
import stat
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.scan_files import write_counts
from tplm_config import InputError
from tplm_config.errors import printable
from tplm_daq import tables
from tplm_daq.tables import read_map

COUNTS = np.arange(6).reshape(2, 3)
X_UM = np.array([-0.5, 0.5])
T_NS = np.array([0.1, 0.2, 0.4])


def write_npz(path: Path, **changes: Any) -> Path:
    """A sound file but for `changes`; a change to `...` removes a key."""
    arrays: dict[str, Any] = {"counts": COUNTS, "x_um": X_UM, "t_ns": T_NS, **changes}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not ...})
    return path


def npy(shape: str, descr: str = "'<i8'", data: bytes = b"") -> bytes:
    """An array file with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def write_zip(path: Path, counts: bytes, **others: bytes) -> Path:
    """An npz whose arrays are given as bytes."""

    def saved(values: Any) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, values)
        return buffer.getvalue()

    members = {"counts": counts, "x_um": saved(X_UM), "t_ns": saved(T_NS), **others}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_map(path)
    text = str(caught.value)
    assert text.startswith(f"{printable(str(path))}: ")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
    return text.removeprefix(f"{path}: ")


# -- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counts",
    [
        COUNTS,
        COUNTS.astype(np.uint8),
        COUNTS.astype(np.float16),
        COUNTS.astype(">u4"),
        np.asfortranarray(COUNTS.astype(float)),
    ],
    ids=lambda c: c.dtype.str,
)
def test_npz(counts: Any, tmp_path: Path) -> None:
    found = read_map(write_npz(tmp_path / "a.npz", counts=counts, comment=np.array("anything")))
    np.testing.assert_array_equal(found.counts, COUNTS)
    np.testing.assert_array_equal(found.x_um, X_UM)
    np.testing.assert_array_equal(found.t_ns, T_NS)
    np.testing.assert_array_equal(found.exposure_s, [1, 1])
    assert found.counts.dtype == np.int64


def test_npz_compressed_with_exposures_and_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.NPZ"
    with path.open("wb") as file:
        np.savez_compressed(file, counts=COUNTS, x_um=[1, -1], t_ns=T_NS, exposure_s=[0.0, 2.5])
    found = read_map(path)
    assert found.x_um.tolist() == [-1, 1]
    assert found.exposure_s.tolist() == [2.5, 0]
    np.testing.assert_array_equal(found.counts, COUNTS[::-1])


@pytest.mark.parametrize(
    "text",
    [
        "x_um \\ t_ns,0.1,0.2,0.4\n-0.5,0,1,2\n0.5,3,4,5\n",
        "\ufeff,0.1,0.2,0.4\r\n-0.5,0,1,2\r\n0.5,3,4,5",
        '"x, then t",0.1, 2e-1 ,"0.4"\n\n0.5,3.0,4,5.\n-0.5,0,1e0,2\n,,,\n',
    ],
)
def test_csv(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    found = read_map(tmp_path / "a.csv")
    np.testing.assert_array_equal(found.counts, COUNTS)
    np.testing.assert_array_equal(found.x_um, X_UM)
    np.testing.assert_array_equal(found.t_ns, T_NS)
    np.testing.assert_array_equal(found.exposure_s, [1, 1])


def test_our_own_file(tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", skip=(2,))
    found, expected = read_map(tmp_path / "a.h5"), scan.map()
    for name in ("counts", "x_um", "t_ns", "exposure_s"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.exposure_s.tolist() == [1, 1, 0, 1, 1]


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": ...}, "counts: the key is missing; found: t_ns, x_um; needed are"),
        ({"x_um": ...}, "x_um: the key is missing"),
        ({"t_ns": ...}, "t_ns: the key is missing"),
        ({"counts": COUNTS.T}, r"counts: the shape is (3, 2); with 2 values of x_um and 3 of"),
        ({"counts": COUNTS.ravel()}, "position × time bin is needed"),
        ({"counts": np.zeros((0, 3))}, "not empty"),
        ({"counts": COUNTS + 0.5}, "position 0, bin 0 (from 0) holds 0.5; counts are whole"),
        ({"counts": COUNTS - 1}, "position 0, bin 0 (from 0) holds -1"),
        ({"counts": COUNTS * np.nan}, "holds nan"),
        ({"counts": COUNTS + np.array([[0, 0, np.inf]] * 2)}, "holds inf"),
        ({"counts": np.full((2, 3), 2**63, np.uint64)}, "holds 9223372036854775808"),
        ({"counts": COUNTS > 1}, "counts: holds bool; plain numbers"),
        ({"counts": COUNTS * 1j}, "complex128"),
        ({"counts": COUNTS.astype(str)}, "counts: holds <U"),
        ({"counts": COUNTS.astype(object)}, "counts: holds object"),
        ({"counts": np.zeros((2, 3), [("a", int)])}, "plain numbers are needed"),
        ({"counts": np.zeros((2, 3), [("µ", int)])}, "numbers are needed"),
        ({"counts": np.array(3)}, "the shape is ()"),
        ({"x_um": X_UM[:, None]}, "x_um: the shape is (2, 1); a list of numbers"),
        ({"x_um": np.array([0, np.nan])}, "x_um: value 1 (from 0) is nan; finite"),
        ({"x_um": np.array([0, np.inf])}, "x_um: value 1 (from 0) is inf"),
        ({"t_ns": T_NS[::-1]}, "t_ns: 0.2 follows 0.4; times must increase"),
        ({"t_ns": np.array([0.1, 0.1, 0.2])}, "t_ns: 0.1 follows 0.1"),
        ({"exposure_s": np.ones(3)}, "exposure_s: found 3 values; one for each of the 2"),
        ({"exposure_s": np.array([1, -1])}, "exposure_s: found -1; an exposure is 0"),
        ({"exposure_s": np.array([1, np.inf])}, "exposure_s: value 1 (from 0) is inf"),
    ],
)
@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
def test_npz_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refusal(write_npz(tmp_path / "a.npz", **changes))


@pytest.mark.parametrize(
    "counts",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(20),
        npy("(2, 3)", data=bytes(47)),
        npy("(2, -3)"),
        npy("(2, 3.0)"),
        npy("2"),
        npy("(" * 3000),
        npy("(2, 3), 'more': 1"),
        npy("(2L, 3L)", data=bytes(48)).replace(b"<i8", b"<q9"),
        npy("(2, 3)", "'|O'", b"\x80\x04N."),
        npy("(2, 3)", "__import__('os').abort()"),
        npy("(2, 3)", "'\\d'"),
    ],
)
def test_npz_with_a_broken_array(counts: bytes, tmp_path: Path) -> None:
    refusal(write_zip(tmp_path / "a.npz", counts))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    trap = b"cos\nmkdir\n(S'" + str(tmp_path / "trapped").encode() + b"'\ntR."
    refusal(write_zip(tmp_path / "a.npz", npy("(2, 3)", "'|O'", trap)))
    refusal(write_zip(tmp_path / "a.npz", trap))
    (tmp_path / "a.npz").write_bytes(trap)
    refusal(tmp_path / "a.npz")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("shape", ["(1000000, 1000000)", "(2, 10000000000000000000000000)"])
def test_a_giant_shape_takes_no_memory(shape: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.npz", npy(shape))
    tracemalloc.start()
    try:
        assert "at most 500000000 are allowed" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_a_shape_that_fits_but_is_not_there(tmp_path: Path) -> None:
    x_um, t_ns = (npy("(20000,)", "'<f8'"), npy("(20000,)", "'<f8'"))
    path = write_zip(tmp_path / "a.npz", npy("(20000, 20000)"), x_um=x_um, t_ns=t_ns)
    assert "not a readable .npz file" in refusal(path)


def test_csv_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("c,1,2\n" + "0,1,1\n" * 50)
    monkeypatch.setattr(tables, "MAX_CELLS", 99)
    assert "100 values; at most 99" in refusal(tmp_path / "a.csv")
    monkeypatch.setattr(tables, "_MAX_LINE", 4)
    assert "a line is longer" in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"corner\n1\n", "line 1: there is no comma in the first row"),
        (b"c;0,1;0,2\n1;1;1\n", "line 1, column 2: found '1;0'; a finite number"),
        (b"c,0.1,0.2\n", "there is no row of counts"),
        (b"c,0.1,0.2\n0,1\n", "line 2: found 2 values; the first row has 3"),
        (b"c,0.1,0.2\n0,1,2,3\n", "line 2: found 4 values"),
        (b"c,0.1,0.2\n\n0,1,many\n", "line 3, column 3: found 'many'; a finite number"),
        (b"c,0.1,0.2\n0,,2\n", "line 2, column 2: found ''"),
        (b"c,0.1,0.2\n0,1,3.5\n", "line 2, column 3: found 3.5; counts are whole numbers"),
        (b"c,0.1,0.2\n0,-1,3\n", "line 2, column 2: found -1"),
        (b"c,0.1,0.2\n0,nan,3\n", "line 2, column 2: found 'nan'"),
        (b"c,0.1,0.2\ninf,1,3\n", "line 2, column 1: found 'inf'"),
        (b"c,0.1,1e999\n0,1,3\n", "line 1, column 3: found '1e999'"),
        (b"c,0.1,0.2\n0,1,9007199254740993\n", "line 2, column 3: found 9007199254740993"),
        (b"c,0.2,0.1\n0,1,3\n", "t_ns: 0.1 follows 0.2; times must increase"),
        (b"c,0.1,0.2\n0,1,\xff\n", "not UTF-8 text"),
        ("c,0.1\n0,1\n".encode("utf-16"), "not UTF-8 text"),
        (b'c,0.1,0.2\n0,1,"' + b"1" * 200_000, "not a CSV table (field larger than"),
        (b"\x00\x01\x02", "no comma"),
        (b"c,0.1,0.2\n0,1,\x00\n", r"line 2, column 3: found '\x00'"),
    ],
)
def test_csv_refused(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    assert message in refusal(tmp_path / "a.csv")


def test_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "a.dat").write_bytes(b"1,2\n")
    (tmp_path / "a.npz").write_bytes(npy("(2, 3)", data=bytes(48)))
    assert "no such file" in refusal(tmp_path / "none.npz")
    assert "no such file" in refusal(tmp_path / "nul\0.npz")
    assert "this is a folder" in refusal(tmp_path / "folder.npz")
    assert "ends in '.dat'; a map is one of .h5, .npz, .csv" in refusal(tmp_path / "a.dat")
    assert "not a readable .npz file (File is not a zip file)" in refusal(tmp_path / "a.npz")
    with pytest.raises(InputError, match="read|no such file"):
        read_map(tmp_path / ("a" * 300 + ".npz"))
    whole = write_npz(tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[:-30])
    assert "not a readable .npz file" in refusal(tmp_path / "b.npz")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.csv").write_text("c,1\n1,1\n")
    monkeypatch.setattr(io, "open", refuse)  # root may read everything, so chmod shows nothing
    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refusal(tmp_path / "a.csv")
    assert "Permission denied" in refusal(tmp_path / "a.npz")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert stat.S_ISFIFO((tmp_path / "pipe.csv").stat().st_mode)
    assert "not an ordinary file" in refusal(tmp_path / "pipe.csv")
