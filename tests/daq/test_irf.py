"""Time zero from the response a scan measured, and pile-up from the pulses it counted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.rig import rig, small_plan
from tests.daq.scan_files import CARD, write_counts
from tplm_analysis import coates, find_irf
from tplm_config import CardSettings, CrossScan, InputError, LineScan, RasterScan
from tplm_daq.analysis import fit_scan, read_irf
from tplm_daq.cli import main
from tplm_daq.store import Scan, read_scan

FINE = {"time_bin_ps": 25, "range_ns": 25.6}
GLASS = {"dwell_s": 2.0, "sample_x_um": 100.0}
FILM = {"positions": 21, "half_range_um": 2.0, "passes": 1, "card": FINE}
BRIGHT = {"power_nw": 40.0, "repetition_rate_hz": 2.5e6}


def measure(out: Path, *overrides: str, **changes: Any) -> Scan:
    with rig(*overrides) as made:
        return made.scan(small_plan(**(FILM | changes)), out)[1]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan with a visit to bare glass; the light comes 2 ns after its pulse."""
    out = tmp_path_factory.mktemp("irf") / "film.h5"
    measure(out, irf=GLASS)
    return out


def codes(fit: Any) -> set[str]:
    return {warning.code for warning in fit.warnings}


def test_a_scan_knows_its_response(film: Path, tmp_path: Path) -> None:
    scan = read_scan(film)
    counts = scan.irf_counts()
    assert counts is not None
    assert counts.sum() == scan.totals("irf")[2].sum() > 1000
    irf = find_irf(counts, scan.header.t_ns)
    assert irf.centroid_ns == pytest.approx(2.0, abs=5 * irf.centroid_stderr_ns)
    assert irf.fwhm_ns == pytest.approx(0.08, abs=0.004)
    assert write_counts(tmp_path / "none.h5").irf_counts() is None


@pytest.mark.parametrize(
    ("options", "expected", "source"),
    [
        ({}, 1.96, "irf half-maximum"),
        ({"time_zero": "centroid"}, 2.0, "irf centroid"),
        ({"time_zero": "decay"}, 2.0, "decay half-maximum"),
        ({"time_zero_ns": 1.9}, 1.9, "given"),
    ],
)
def test_time_zero_of_a_scan(
    film: Path, options: dict[str, Any], expected: float, source: str
) -> None:
    fit = fit_scan(read_scan(film), **options)
    assert fit.time_zero_from == source
    assert fit.time_zero_ns == pytest.approx(expected, abs=0.01)
    assert "irf" not in codes(fit)
    assert fit.d_cm2_per_s is not None


def test_unusable_response_is_told(tmp_path: Path) -> None:
    """A visit that saw no light: the film's own edge is used, and the person is told."""
    scan = measure(tmp_path / "a.h5", "simulation.sample.film_edge_um=50", irf=GLASS)
    dark = scan.histograms(np.array([0])) * 0

    class Dark(Scan):
        def histograms(self, rows: Any) -> Any:
            return np.repeat(dark, len(rows), axis=0)

    blind = Dark(**{name: getattr(scan, name) for name in Scan.__dataclass_fields__})
    for options in ({}, {"time_zero": "centroid"}):
        fit = fit_scan(blind, **options)  # type: ignore[arg-type]
        assert fit.time_zero_from == "decay half-maximum"
        (message,) = [w.message for w in fit.warnings if w.code == "irf"]
        assert "No peak stands out" in message
    fit = fit_scan(blind, time_zero="decay")
    assert "irf" not in codes(fit)


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["analyze", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    capsys.readouterr()
    assert main(["analyze", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("kind", ["h5", "npz", "csv"])
def test_response_from_another_file(
    kind: str, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = read_scan(film)
    other = film if kind == "h5" else tmp_path / f"irf.{kind}"
    counts, t_ns = scan.irf_counts(), scan.header.t_ns
    assert counts is not None
    if kind == "npz":
        np.savez(other, counts=counts, t_ns=t_ns)
    elif kind == "csv":
        table = np.stack([t_ns, counts], axis=1)
        np.savetxt(other, table, delimiter=",", header="t_ns,counts", comments="")
    expected = fit_scan(scan)
    bare = tmp_path / "bare.npz"
    map_ = scan.map()
    np.savez(bare, counts=map_.counts, x_um=map_.x_um, t_ns=t_ns, exposure_s=map_.exposure_s)
    found = run(capsys, bare, "--irf", other)
    assert found["time_zero_from"] == "irf half-maximum"
    assert found["time_zero_ns"] == pytest.approx(expected.time_zero_ns, abs=1e-9)
    assert found["d_cm2_per_s"] == pytest.approx(expected.d_cm2_per_s)
    assert run(capsys, bare)["time_zero_from"] == "decay half-maximum"
    assert run(capsys, bare, "--irf", other, "--time-zero", "centroid")["time_zero_from"] == (
        "irf centroid"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "no such file"),
        ("a.txt", b"", "a response is one of .h5, .npz, .csv"),
        ("a.npz", b"PK", "not a readable response"),
        ("a.csv", b"", "two lists of the same length"),
        ("a.csv", b"t,n\n1,2\n3\n", "line 3: found 1 values; two are needed"),
        ("a.csv", b"t,n\n1,2\nx,3\n", "line 3: not a row of numbers"),
        ("a.csv", b"\xff\xfe\x00", "not a readable CSV file"),
        ("a.csv", b"".join(b"%d,7\n" % i for i in range(100)), "No peak stands out"),
    ],
)
def test_no_response_in_a_file(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_irf(tmp_path / name)
    assert name in str(error.value)
    assert message in str(error.value)


def test_scan_without_response(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_counts(tmp_path / "a.h5")
    with pytest.raises(InputError, match="no visit for the instrument response"):
        read_irf(tmp_path / "a.h5")
    assert "there is none" in refused(capsys, tmp_path / "a.h5", "--time-zero", "centroid")


@pytest.mark.parametrize(
    "plan",
    [
        LineScan(positions=5, passes=2, card=CARD),
        CrossScan(positions=5, passes=2, card=CARD),
        RasterScan(x_positions=5, y_positions=3, passes=2, card=CARD),
    ],
    ids=lambda plan: plan.kind,
)
def test_every_place_is_corrected_for_itself(plan: Any, tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5", plan)
    # two visits of a place, each with its time and rate
    assert scan.pulses == pytest.approx(2 * 2.5e6 * plan.dwell_s)
    few = replace(scan, columns={**scan.columns, "sync_rate_hz": np.full(scan.stored.size, 2e3)})
    fit = fit_scan(few, pile_up="coates", t_range_ns=(0, 2))
    (message,) = [w.message for w in fit.warnings if w.code == "pile-up-corrected"]
    corrected = coates(few.position_counts, few.pulses)
    places = plan.places()[: plan.positions] if plan.kind == "cross" else plan.places()
    rows = len(places)
    factor = corrected[:rows, -1] / np.maximum(few.position_counts[:rows, -1], 1)
    worst = places[int(np.argmax((corrected / few.position_counts)[:rows].max(axis=1)))]
    assert f"most at {worst.x_um:.2f} µm" in message
    assert factor.max() > 1.01
    unknown = replace(
        few, columns={**few.columns, "sync_rate_hz": np.full(few.stored.size, np.nan)}
    )
    with pytest.raises(InputError, match="number of laser pulses is not known"):
        fit_scan(unknown, pile_up="coates")


def test_pile_up_of_a_bright_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The virtual detector loses counts; the correction brings D back, and says so."""
    settings = ("simulation.sample.d_cm2_per_s=0.05", "simulation.laser.noise_rms=0")
    scan = measure(tmp_path / "a.h5", *settings, excitation=BRIGHT, dwell_s=2.0)
    path = tmp_path / "a.h5"
    assert 0.1 < scan.map().counts.sum(axis=1).max() / scan.pulses[10] < 0.4
    plain = run(capsys, path)
    fixed = run(capsys, path, "--pile-up", "coates", "--dead-time-ns", 80)
    assert "pile-up" in {w["code"] for w in plain["warnings"]}
    told = {w["code"]: w["message"] for w in fixed["warnings"]}
    assert "pile-up" not in told
    assert "dead time 80 ns" in told["pile-up-corrected"]
    assert plain["d_cm2_per_s"] - 0.05 > 10 * plain["d_stderr_cm2_per_s"]
    assert abs(fixed["d_cm2_per_s"] - 0.05) < 4 * fixed["d_stderr_cm2_per_s"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dead-time-ns", 80), "without --pile-up coates it does nothing"),
        (("--pile-up", "coates"), "only a scan file knows the laser pulses"),
        (("--pile-up", "some"), "'some' is not one of 'none', 'coates'"),
        (("--time-zero", "noon"), "'noon' is not one of 'decay', 'half-maximum', 'centroid'"),
        (("--time-zero", "centroid"), "there is none"),
        (("--irf", "none.h5"), "none.h5: no such file"),
    ],
)
def test_options_refused(
    options: tuple[Any, ...], message: str, film: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = read_scan(film).map()
    np.savez(tmp_path / "a.npz", counts=found.counts, x_um=found.x_um, t_ns=found.t_ns)
    assert message in refused(capsys, tmp_path / "a.npz", *options)


def test_card_of_the_tests_is_what_they_think() -> None:
    assert CardSettings(**FINE).bins == 1024
