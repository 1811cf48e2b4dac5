"""The commands on measured data and the calculators, run in this process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.curve_files import decay, write_sdt
from tests.daq.ptu_files import GENERIC, random_stream, write_ptu
from tests.daq.scan_files import CARD, write_counts
from tplm_analysis import expected_map, synthetic_map
from tplm_config import CardSettings, CrossScan, LineScan, load_profile
from tplm_daq.cli import main
from tplm_daq.store import read_scan
from tplm_daq.tables import read_map

KEYS = [
    "method", "model", "d_cm2_per_s", "d_stderr_cm2_per_s", "sigma0_nm", "center_um",
    "background_per_bin", "alpha", "alpha_stderr", "lifetime_1e_ns", "diffusion_length_nm",
    "t_max_ns", "time_zero_ns", "time_zero_from", "warnings",
]  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that must succeed; gives stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out, err

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that must be refused; gives its one sentence."""

    def refused(*arguments: str | Path) -> str:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.startswith("tplm: ")
        assert err.count("\n") == 1
        return err

    return refused


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map with D = 0.02 cm²/s."""
    path = tmp_path_factory.mktemp("film") / "film.npz"
    made = synthetic_map(3, d_cm2_per_s=0.02, bins=200, bin_ns=0.1, amplitude=8e5)
    np.savez(path, counts=made.counts, x_um=made.x_um, t_ns=made.t_ns)
    return path


def test_analyze_prints_exactly_one_object(run: Any, film: Path) -> None:
    out, err = run("analyze", film, "--json")
    found = json.loads(out)
    assert list(found) == KEYS
    assert out.count("\n") == 1
    assert err == ""
    assert abs(found["d_cm2_per_s"] - 0.02) < 4 * found["d_stderr_cm2_per_s"] < 0.008


@pytest.mark.parametrize("method", ["slices", "gaussian-msd", "voigt-davg", "moment"])
def test_analyze_by_every_method(method: str, run: Any, film: Path) -> None:
    found = json.loads(run("analyze", film, "--method", method, "--json")[0])
    own = ["d_max_cm2_per_s", "d_max_stderr_cm2_per_s"] if method == "moment" else []
    assert list(found) == [*KEYS, *own]
    assert found["method"] == method
    assert found["d_cm2_per_s"] == pytest.approx(0.02, rel=0.4)


def test_analyze_with_options_and_a_picture(run: Any, film: Path, tmp_path: Path) -> None:
    out, _ = run(
        "analyze", film, "--report", tmp_path / "r.png", "--time-zero-ns", 0, "--t-range-ns", 0.1,
        8, "--background-per-bin", 8,
    )  # fmt: skip
    assert "D = 0.0" in out
    assert f"report: {tmp_path / 'r.png'}" in out
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("model", ["gaussian", "two-gaussian", "voigt"])
def test_analyze_with_a_model(model: str, run: Any, tmp_path: Path) -> None:
    film, picture = tmp_path / "film.npz", tmp_path / "r.png"
    made = synthetic_map(
        3, d_cm2_per_s=0.02, bins=200, bin_ns=0.1, amplitude=8e5, wing_fraction=0.2
    )
    np.savez(film, counts=made.counts, x_um=made.x_um, t_ns=made.t_ns)
    found = json.loads(run("analyze", film, "--model", model, "--report", picture, "--json")[0])
    assert found["model"] == model
    assert ("lorentz_hwhm_nm" in found) is (model == "voigt")
    assert ("wing_fraction" in found) is (model == "two-gaussian")
    if model == "two-gaussian":  # as it was made
        assert abs(found["d_cm2_per_s"] - 0.02) < 4 * found["d_stderr_cm2_per_s"] < 0.01
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_analyze_compares_models(run: Any, film: Path) -> None:
    found = json.loads(run("analyze", film, "--compare-models", "--json")[0])
    assert list(found) == [*KEYS, "models"]
    assert found["models"]["warranted"] == "gaussian, linear"
    assert len(found["models"]["scores"]) == 9
    simplest = found["models"]["scores"][0]
    assert simplest["d_cm2_per_s"] == pytest.approx(found["d_cm2_per_s"])
    text, _ = run("analyze", film, "--compare-models")
    assert "→ gaussian, linear" in text
    assert found["models"]["reason"] in text


@pytest.fixture
def scan_of_film(tmp_path: Path) -> Path:
    """A scan file of a film with D = 0.05 cm²/s, light from 0.5 ns on."""
    card = CardSettings(time_bin_ps=100, range_ns=12)
    plan = LineScan(half_range_um=2, positions=41, passes=1, card=card)
    truth = expected_map(
        d_cm2_per_s=0.05, amplitude=2e6, bins=card.bins, bin_ns=0.1, time_zero_ns=0.5
    )
    write_counts(
        tmp_path / "film.h5", plan, table=truth.sample(3).counts, profile=load_profile("mit")
    )
    return tmp_path / "film.h5"


def test_analyze_takes_the_aperture_off(run: Any, scan_of_film: Path) -> None:
    """0.1 µm is 50 µm seen at 495 times, the detector of this profile."""
    plain = json.loads(run("analyze", scan_of_film, "--json")[0])
    aperture = {
        "square": (("--aperture-um", 0.1), 1 / 12),
        "disc": (("--aperture-um", 0.1, "--aperture", "disc"), 1 / 16),
        "profile": (("--aperture", "profile"), (50 / 49.5) ** 2 / 12),
    }
    for name, (options, share) in aperture.items():
        found = json.loads(run("analyze", scan_of_film, *options, "--json")[0])
        assert found["d_cm2_per_s"] == plain["d_cm2_per_s"], name
        taken_nm2 = plain["sigma0_nm"] ** 2 - found["sigma0_nm"] ** 2
        assert taken_nm2 == pytest.approx(share * 100**2), name


def test_analyze_counts_ages(run: Any, scan_of_film: Path) -> None:
    """Bins of 100 ps: their light is younger than their middle."""
    plain, mixed = (
        json.loads(run("analyze", scan_of_film, "--time-zero-ns", 0.5, *more, "--json")[0])
        for more in ((), ("--mix-ages",))
    )
    assert mixed["sigma0_nm"] != plain["sigma0_nm"]
    assert mixed["d_cm2_per_s"] == pytest.approx(plain["d_cm2_per_s"], rel=0.01)


def test_everything_is_kept(run: Any, scan_of_film: Path) -> None:
    options = ("--model", "voigt", "--compare-models", "--aperture", "profile", "--mix-ages")
    text, _ = run("analyze", scan_of_film, *options, "--save-as", "mine")
    assert "kept in the file as: mine, model-comparison-1" in text
    again = json.loads(run("analyze", scan_of_film, *options, "--save", "--json")[0])
    assert (again["saved_as"], again["models_saved_as"]) == ("global-1", "model-comparison-2")
    kept = json.loads(run("inspect", scan_of_film, "--json")[0])["analyses"]
    assert [one["name"] for one in kept[:2]] == ["mine", "model-comparison-1"]
    for one in kept:
        settings = one["settings"]
        assert (settings["model"], settings["mix_ages"]) == ("voigt", True)
        assert settings["aperture_um"] == pytest.approx(50 / 495)
    assert kept[0]["values"]["lorentz_hwhm_nm"] == pytest.approx(again["lorentz_hwhm_nm"])
    assert kept[1]["values"]["warranted"] == again["models"]["warranted"]


def test_a_response_of_no_use_is_not_used_for_the_comparison_either(
    run: Any, scan_of_film: Path, tmp_path: Path
) -> None:
    """Its edge is nanoseconds away from that of the decay."""
    t_ns = read_scan(scan_of_film).header.t_ns
    counts = np.round(1e4 * np.exp(-0.5 * ((t_ns - 6) / 0.2) ** 2))
    np.savez(tmp_path / "irf.npz", t_ns=t_ns, counts=counts)
    options = ("--irf", tmp_path / "irf.npz", "--compare-models", "--json")
    found = json.loads(run("analyze", scan_of_film, *options)[0])
    assert "irf" in [one["code"] for one in found["warnings"]]
    assert found["models"]["time_zero_ns"] == found["time_zero_ns"]
    simplest = found["models"]["scores"][0]
    assert simplest["d_cm2_per_s"] == pytest.approx(found["d_cm2_per_s"])


def test_an_imported_file_knows_no_aperture(refused: Any, tmp_path: Path) -> None:
    write_counts(tmp_path / "a.h5")
    words = refused("analyze", tmp_path / "a.h5", "--aperture", "profile")
    assert "a.h5: it holds no profile" in words
    pile_up = ("--pile-up", "coates", "--compare-models")
    assert "without --pile-up" in refused("analyze", tmp_path / "a.h5", *pile_up)


def test_analyze_a_scan_along_an_axis(run: Any, refused: Any, film: Path, tmp_path: Path) -> None:
    write_counts(tmp_path / "a.h5", CrossScan(positions=5, passes=1, card=CARD))
    for axis in ("x", "y"):
        found = json.loads(run("analyze", tmp_path / "a.h5", "--axis", axis, "--json")[0])
        assert list(found) == KEYS
        assert found["warnings"]  # noise has no diffusivity
    assert "the map has one axis; leave --axis out" in refused("analyze", film, "--axis", "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "magic"), "'magic' is not one of 'global', 'slices'"),
        (("--t-range-ns", 5, 1), "film.npz: t_range_ns must be (start, stop)"),
        (("--t-range-ns", "nan", 1), "nan is not a finite number"),
        (("--time-zero-ns", "inf"), "inf is not a finite number"),
        (("--background-per-bin", -1), "-1.0 is not in the range x>=0"),
        (("--report", "no/folder/r.png"), "the folder no/folder does not exist"),
        (("--report", "r.txt"), "r.txt"),
        (("--axis", "z"), "'z' is not one of 'x', 'y'"),
        (("--model", "lorentz"), "'lorentz' is not one of 'auto', 'gaussian'"),
        (("--model", "voigt", "--method", "slices"), 'model "voigt" needs method "global"'),
        (("--aperture-um", -1), "-1.0 is not in the range x>=0"),
        (("--aperture", "disc"), "--aperture: the size is missing; add --aperture-um"),
        (("--aperture", "profile"), "only a scan file (.h5) holds a profile"),
        (("--aperture", "profile", "--aperture-um", 1), "leave --aperture-um out"),
        (("--two-d", "--model", "voigt"), "--two-d: it goes with"),
        (("--two-d", "--compare-models"), "--two-d: it goes with"),
        (("--two-d", "--mix-ages"), "--two-d: it goes with"),
        (("--two-d", "--aperture-um", 0.1), "--two-d: it goes with"),
        (("--colour", "red"), "No such option"),
    ],
)
def test_analyze_refuses(options: tuple[Any, ...], message: str, refused: Any, film: Path) -> None:
    assert message in refused("analyze", film, *options)


def test_an_error_is_an_object_too(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(film.parent / "none.npz"), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": err[6:-1], "exit_code": 2}
    assert "none.npz: no such file" in err


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Three .ptu files and their table."""
    for i in range(3):
        records = random_stream(
            GENERIC, 300, np.random.default_rng(i), channels=1 + (i == 2), dtimes=2000
        )
        write_ptu(tmp_path / f"p{i}.ptu", GENERIC, records)
    (tmp_path / "places.csv").write_text("file,x_um\np0.ptu,-1\np1.ptu,0\np2.ptu,1\n")
    return tmp_path


def test_import_export_analyze(measured: Path, run: Any, refused: Any) -> None:
    arguments = [
        "import", measured / "*.ptu", "--positions", measured / "places.csv",
        "--out", measured / "film.h5",
    ]  # fmt: skip
    assert "p2.ptu: there are photons in the channels 0, 1; choose" in refused(*arguments)
    out, err = run(*arguments, "--channel", 0, "--json")
    found = json.loads(out)
    scan = read_scan(measured / "film.h5")
    assert found["files"] == found["positions"] == 3
    assert found["counts"] == scan.map().counts.sum() > 0
    assert found["warnings"] == []
    assert err == ""
    assert "exists already" in refused(*arguments, "--channel", 0)

    for kind in ("csv", "npz", "mat"):
        out, err = run(
            "export", measured / "film.h5", "--format", kind, "--out", measured / f"film.{kind}"
        )
        assert out == f"wrote {measured / f'film.{kind}'}\n"
        assert ("unequal exposures" in err) is (kind == "csv")
    np.testing.assert_array_equal(read_map(measured / "film.csv").counts, scan.map().counts)
    assert "exists already" in refused(
        "export", measured / "film.h5", "--format", "npz", "--out", measured / "film.npz"
    )
    assert "not a readable scan file" in refused(
        "export", measured / "film.npz", "--format", "csv", "--out", measured / "b.csv"
    )
    by_file = [
        json.loads(run("analyze", measured / f"film.{k}", "--json")[0]) for k in ("h5", "npz")
    ]
    assert by_file[0]["d_cm2_per_s"] == by_file[1]["d_cm2_per_s"]


def test_photons_there_and_back(run: Any, refused: Any, tmp_path: Path) -> None:
    scan = write_counts(tmp_path / "a.h5")
    export = ["export", tmp_path / "a.h5", "--format", "ptu", "--out", tmp_path / "photons"]
    out, err = run(*export)
    assert out == f"wrote {tmp_path / 'photons'}\n"
    assert "their order of arrival is not known and was drawn at random" in err
    assert "exists already" in refused(*export)
    run(
        "import", tmp_path / "photons" / "*.ptu",
        "--positions", tmp_path / "photons" / "positions.csv", "--out", tmp_path / "b.h5",
    )  # fmt: skip
    back, expected = read_scan(tmp_path / "b.h5").map(), scan.map()
    for name in ("counts", "x_um", "t_ns", "exposure_s"):
        np.testing.assert_array_equal(getattr(back, name), getattr(expected, name))
    found = json.loads(run(*export[:-1], tmp_path / "one.ptu", "--json")[0])
    assert found["file"] == str(tmp_path / "one.ptu")
    assert "Made from histograms" in found["warnings"][0]
    assert "the file exists already" in refused(*export[:-1], tmp_path / "one.ptu")


def test_import_curves(run: Any, refused: Any, tmp_path: Path) -> None:
    write_sdt(tmp_path / "a.sdt", np.stack([decay(256), decay(256, 1)]))
    write_sdt(tmp_path / "b.sdt", np.stack([decay(256, 2), decay(256, 3)]))
    (tmp_path / "places.csv").write_text("file,x_um\na.sdt,0\nb.sdt,1\n")
    arguments = [
        "import", tmp_path / "*.sdt", "--positions", tmp_path / "places.csv",
        "--out", tmp_path / "film.h5",
    ]  # fmt: skip
    assert "a.sdt: there are photons in the curves 0, 1; choose one" in refused(*arguments)
    assert "a.sdt: curve 2 was asked for" in refused(*arguments, "--channel", 2)
    found = json.loads(run(*arguments, "--channel", 1, "--json")[0])
    assert (found["bins"], found["sync_rate_hz"]) == (256, 20e6)
    assert found["counts"] == decay(256, 1).sum() + decay(256, 3).sum()


def test_import_passes_warnings_on(measured: Path, run: Any) -> None:
    (measured / "p1.ptu").write_bytes((measured / "p1.ptu").read_bytes()[:-100])
    out, err = run(
        "import", *(measured / f"p{i}.ptu" for i in range(3)), "--channel", 0,
        "--positions", measured / "places.csv", "--out", measured / "film.h5",
    )  # fmt: skip
    assert (
        err == "warning: p1.ptu: The file ends early; 275 of 300 records are there and were read.\n"
    )
    assert "film.h5: 3 files, 3 positions, 3125 bins of 64 ps" in out


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_simulate_map(kind: str, run: Any, refused: Any, tmp_path: Path) -> None:
    path = tmp_path / f"film.{kind}"
    arguments = ["simulate", "map", "--bins", 100, "--time-bin-ps", 100, "--out", path]
    found = json.loads(run(*arguments, "--d-cm2-per-s", 0.05, "--seed", 4, "--json")[0])
    made = read_map(path)
    expected = synthetic_map(4, d_cm2_per_s=0.05, bins=100, bin_ns=0.1)
    np.testing.assert_array_equal(made.counts, expected.counts)
    np.testing.assert_array_equal(made.x_um, expected.x_um)
    np.testing.assert_array_equal(made.t_ns, expected.t_ns)
    assert found["counts"] == made.counts.sum()
    assert found["d_cm2_per_s"] == 0.05
    assert "exists already" in refused(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "film.txt"), "film.txt: the file name ends in '.txt'; allowed: .npz, .csv"),
        (("--d-cm2-per-s", "nan"), "nan is not a finite number"),
        (("--d-cm2-per-s", "-0.1"), "-0.1 is not in the range"),
        (("--amplitude", "inf"), "inf is not in the range"),
        (("--fwhm-nm", 0), "0.0 is not in the range"),
        (("--positions", 0), "0 is not in the range"),
        (("--positions", 3.5), "'3.5' is not a valid integer"),
        (("--positions", 100_000, "--bins", 65_536), "at most 20000000 are allowed"),
    ],
)
def test_simulate_map_refuses(
    options: tuple[Any, ...], message: str, refused: Any, tmp_path: Path
) -> None:
    assert message in refused("simulate", "map", "--out", tmp_path / "film.npz", *options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("power_nw", "rep_rate_mhz", "fluence", "excitons"),
    [(1, 2.5, 0.076, 0.0082), (20, 2.5, 1.52, 0.163), (25, 5, 0.95, 0.1025)],
)
def test_excitation_gives_the_published_numbers(
    power_nw: float, rep_rate_mhz: float, fluence: float, excitons: float, run: Any
) -> None:
    given = ("excitation", "--power-nw", power_nw, "--rep-rate-mhz", rep_rate_mhz, "--fwhm-nm", 500)
    found = json.loads(run(*given, "--edge-nm", 8.3, "--json")[0])
    assert found["fluence_uj_per_cm2"] == pytest.approx(fluence, rel=0.02)
    assert found["mean_excitons_per_nc"] == pytest.approx(excitons, rel=0.02)
    assert "top-hat-fwhm" in run(*given)[0]
    peak = json.loads(run(*given, "--profile-shape", "gaussian-peak", "--json")[0])
    ratio = peak["fluence_uj_per_cm2"] / found["fluence_uj_per_cm2"]
    assert ratio == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Missing option '--power-nw'"),
        (("--power-nw", 0), "0.0 is not in the range"),
        (("--power-nw", "nan"), "nan is not a finite number"),
        (("--power-nw", "much"), "'much' is not a valid float"),
        (("--power-nw", 1, "--throughput", 1.5), "1.5 is not in the range"),
        (("--power-nw", 1, "--profile-shape", "cone"), "'cone' is not one of"),
    ],
)
def test_excitation_refuses(options: tuple[Any, ...], message: str, refused: Any) -> None:
    assert message in refused("excitation", "--rep-rate-mhz", 2.5, *options)
