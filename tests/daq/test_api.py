"""The scripting interface, the live fit, the report and the prediction."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.daq.rig import rig, small_plan, small_profile, virtual
from tplm_analysis import fit_map, synthetic_map
from tplm_config import CrossScan, InputError, LineScan, RasterScan
from tplm_daq import DeviceError, open_instrument, read_scan
from tplm_daq.analysis import fit_scan
from tplm_daq.events import Event, VisitStored
from tplm_daq.live import LiveFit
from tplm_daq.log import EventLog
from tplm_daq.prediction import predict
from tplm_daq.report import draw_report
from tplm_daq.session import begin, measure
from tplm_daq.store import ScanMap

PLAN = LineScan(half_range_um=2, positions=21, dwell_s=1, passes=4)


@pytest.mark.parametrize("d_cm2_per_s", [0.0, pytest.param(0.02, marks=pytest.mark.full), 0.1])
def test_a_scan_gives_back_the_films_diffusivity(tmp_path: Path, d_cm2_per_s: float) -> None:
    change = f"simulation.sample.d_cm2_per_s={d_cm2_per_s}"
    with open_instrument("simulated", [change, "simulation.seed=7"]) as microscope:
        scan = microscope.scan(PLAN, out=tmp_path / "film.h5")
    fit = fit_scan(scan)
    assert fit.d_cm2_per_s is not None
    assert fit.d_stderr_cm2_per_s is not None
    assert abs(fit.d_cm2_per_s - d_cm2_per_s) < 3 * fit.d_stderr_cm2_per_s
    assert fit.d_stderr_cm2_per_s < 0.01
    counts, x_um, t_ns = read_scan(tmp_path / "film.h5").map()
    assert counts.shape == (x_um.size, t_ns.size) == (21, 1024)


def test_a_cross_and_a_raster_give_it_along_both_axes(tmp_path: Path) -> None:
    cross = CrossScan(positions=21, passes=4)
    raster = RasterScan(x_positions=13, y_positions=13, dwell_s=1.0)
    with open_instrument("simulated", ["simulation.sample.d_cm2_per_s=0.05"]) as microscope:
        for name, plan in (("cross", cross), ("raster", raster)):
            scan = microscope.scan(plan, out=tmp_path / f"{name}.h5")
            for axis in ("x", "y"):
                fit = fit_scan(scan, axis=axis)  # type: ignore[arg-type]
                assert fit.d_cm2_per_s is not None
                assert fit.d_stderr_cm2_per_s is not None
                assert abs(fit.d_cm2_per_s - 0.05) < 3.5 * fit.d_stderr_cm2_per_s, (name, axis)


def test_time_between_excitations_sets_the_diffusivity_of_the_film(tmp_path: Path) -> None:
    found = []
    with open_instrument("simulated") as microscope:
        for i, power_nw in enumerate((1.0, 8.0)):
            excitation = {"power_nw": power_nw, "repetition_rate_hz": 5e6}
            plan = PLAN.model_copy(
                update={"excitation": PLAN.excitation.model_validate(excitation)}
            )
            fit = fit_scan(microscope.scan(plan, out=tmp_path / f"{i}.h5"))
            found.append(fit.d_cm2_per_s)
            truth = microscope.instrument.laser.microscope.conditions()  # type: ignore[attr-defined]
            assert truth.repetition_rate_hz == 5e6
    assert found[0] is not None
    assert found[1] is not None
    assert found[1] > 1.5 * found[0]


def test_the_laser_is_off_after_the_with_block_even_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), open_instrument("simulated") as microscope:
        inside = virtual(microscope.instrument)
        microscope.instrument.laser.set_emission(True)
        raise ZeroDivisionError
    assert not inside.laser.emission


def test_a_device_that_fails_raises_and_the_file_can_go_on(tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    with open_instrument(small_profile()) as microscope:
        inside = virtual(microscope.instrument)
        inside.schedule(8.0, inside.detector_stage.stall)
        with pytest.raises(DeviceError, match="detector_stage"):
            microscope.scan(small_plan(), out=out)
        kept = int(read_scan(out).stored.sum())
        assert kept > 0
        inside.detector_stage.release()
        scan = microscope.resume(out)
        assert scan.complete


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"card": {"time_bin_ps": 30, "range_ns": 30}}, "card.time_bin_ps: found 30"),
        ({"card": {"time_bin_ps": 25, "range_ns": 1000}}, "card.range_ns"),
        ({"half_range_um": 100.0}, "detector stage"),
        ({"excitation": {"power_nw": 1e6}}, "excitation.power_nw"),
    ],
)
def test_a_plan_beyond_the_instrument_is_refused_before_anything_moves(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with open_instrument("simulated") as microscope, pytest.raises(InputError, match=words):
        microscope.scan(small_plan(**changes), out=tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_the_live_fit_follows_the_scan(tmp_path: Path) -> None:
    with rig("simulation.sample.d_cm2_per_s=0.05") as it:
        plan = PLAN
        with begin(it.instrument, plan, tmp_path / "a.h5") as writer:
            with LiveFit(read_scan(writer.path)) as live:
                seen: list[bool] = []

                def wait_for_a_fit(event: Event) -> None:
                    # the scan is faster than any fit: give the thread its turn half way
                    if isinstance(event, VisitStored) and event.index == 42:
                        for _ in range(2000):
                            if live.latest is not None:
                                break
                            live._thread.join(0.005)
                        seen.append(live.latest is not None)

                measure(it.runner, it.instrument, writer, [live, wait_for_a_fit])
            assert live.failure is None
            assert seen == [True]
            assert live.latest is not None
            assert live.latest.d_cm2_per_s == pytest.approx(0.05, abs=0.02)


def test_the_log_holds_every_event_but_no_histogram(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with rig() as it, EventLog(path) as log:
        it.runner.subscribe(log)
        it.scan(small_plan(), tmp_path / "a.h5")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {line["event"] for line in lines} >= {"run-started", "visit-stored", "run-ended"}
    assert all("at" in line for line in lines)
    with pytest.raises(InputError, match="log"):
        EventLog(tmp_path / "no" / "log")


def test_the_report_is_a_picture_with_something_on_it(tmp_path: Path) -> None:
    film = synthetic_map(3, d_cm2_per_s=0.05)
    found = ScanMap(film.counts, film.x_um, film.t_ns, np.ones(film.x_um.size))
    fit = fit_map(*found)
    for name in ("a.png", "a.pdf", "a.svg"):
        draw_report(found, fit, tmp_path / name, "a film")
        assert (tmp_path / name).stat().st_size > 20_000
    picture = matplotlib.image.imread(tmp_path / "a.png")
    assert picture.shape[0] > 800
    assert picture[..., :3].std() > 0.1


@pytest.mark.parametrize("method", ["slices", "gaussian-msd", "voigt-davg", "moment"])
def test_the_report_draws_every_method(tmp_path: Path, method: str) -> None:
    film = synthetic_map(3, d_cm2_per_s=0.05, bins=200, bin_ns=0.1)
    found = ScanMap(film.counts, film.x_um, film.t_ns, np.ones(film.x_um.size))
    draw_report(found, fit_map(*found, method=method), tmp_path / "a.png")  # type: ignore[misc]


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (7, 40)])
def test_the_report_of_an_empty_map_says_so(tmp_path: Path, shape: tuple[int, int]) -> None:
    n, bins = shape
    found = ScanMap(
        np.zeros(shape, dtype=np.int64), np.arange(float(n)), np.arange(float(bins)), np.ones(n)
    )
    draw_report(found, fit_map(*found), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_the_report_refuses_what_it_cannot_draw(tmp_path: Path) -> None:
    film = synthetic_map(3, bins=100)
    found = ScanMap(film.counts, film.x_um, film.t_ns, np.ones(film.x_um.size))
    fit = fit_map(*found)
    with pytest.raises(InputError, match="picture"):
        draw_report(found, fit, tmp_path / "a.txt")
    with pytest.raises(InputError, match="does not exist"):
        draw_report(found, fit, tmp_path / "no" / "a.png")


def test_the_prediction_agrees_with_the_measurement(tmp_path: Path) -> None:
    overrides = ["simulation.sample.d_cm2_per_s=0.05", "optics.spot_fwhm_nm=600"]
    with open_instrument("simulated", overrides) as microscope:
        profile = microscope.instrument.profile
        plan = PLAN.model_copy(update={"half_range_um": 1.5})
        scan = microscope.scan(plan, out=tmp_path / "a.h5")
    found = scan.map()
    centre = found.counts[10].sum() / found.exposure_s[10]
    expected = predict(plan, profile, float(centre), 0.05)
    measured = fit_scan(scan).d_stderr_cm2_per_s
    assert expected is not None
    # the prediction assumes a background of a tenth of the signal, this film has far less
    assert measured == pytest.approx(expected, rel=0.5)
    assert predict(plan, profile, 4 * float(centre), 0.05) == pytest.approx(expected / 2, rel=0.01)


def test_no_prediction_for_a_plan_that_learns_nothing() -> None:
    plan = LineScan(positions=1)
    assert predict(plan, small_profile(), 1e4, 0.01) is None
