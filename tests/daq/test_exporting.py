"""Writing maps for other programs, and reading them back."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from tests.daq.scan_files import CARD, LINE, write_counts
from tplm_config import CrossScan, InputError, load_profile, parse_plan, parse_profile
from tplm_daq.exporting import FORMATS, export_map, write_map
from tplm_daq.store import ScanMap
from tplm_daq.tables import read_map


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
