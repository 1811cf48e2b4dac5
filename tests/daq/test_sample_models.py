"""Models of excitons under the virtual microscope: through the whole chain to the analysis."""

import json
import math
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.daq.rig import Rig, small_plan
from tplm_config import InputError, ScanPlan, load_profile, with_sample
from tplm_config.toml import ANY_SCAN_PLAN
from tplm_daq import open_instrument, read_scan
from tplm_daq.analysis import fit_scan
from tplm_daq.cli import main
from tplm_daq.events import Ending, Notice
from tplm_daq.store import Scan
from tplm_drivers import connect
from tplm_simulators import Conditions
from tplm_simulators.samples import modelled
from tplm_simulators.samples.gridded import LightHistogram
from tplm_simulators.samples.modelled import ModelledSample, recipe_for

TIME_ZERO_NS = 2.0
APERTURE_UM = 50 / 495


def measured(
    path: Path, kind: str, changes: list[str], plan: ScanPlan, *profile: str
) -> tuple[Scan, LightHistogram, float]:
    """A scan, the light that it was drawn from, and the width of its spot."""
    overrides = ["simulation.seed=7", "simulation.laser.noise_rms=0", *profile]
    with open_instrument(with_sample(load_profile("simulated", overrides), kind, changes)) as it:
        scan = it.scan(plan, out=path)
        it.instrument.laser.set_emission(True)
        microscope = it.instrument.laser.microscope  # type: ignore[attr-defined]
        conditions = microscope.conditions()
        light = microscope.sample.light(conditions)
    return scan, light, conditions.spot_sigma_um


def fitted(scan: Scan, from_ns: float, to_ns: float, axis: str = "x") -> tuple[float, float]:
    """D and its standard error from a window of times after the pulse."""
    window = (TIME_ZERO_NS + from_ns, TIME_ZERO_NS + to_ns)
    fit = fit_scan(scan, axis=axis, t_range_ns=window, aperture_um=APERTURE_UM)  # type: ignore[arg-type]
    assert fit.d_cm2_per_s is not None
    assert fit.d_stderr_cm2_per_s is not None
    return fit.d_cm2_per_s, fit.d_stderr_cm2_per_s


@pytest.mark.full
def test_a_scan_of_the_memory_model_gives_the_models_own_diffusivity(tmp_path: Path) -> None:
    """Its profile is no Gaussian, so only the whole plane tells of its variance: a raster."""
    plan = ANY_SCAN_PLAN.validate_python({
        "kind": "raster", "x_positions": 11, "y_positions": 11, "x_half_range_um": 1.6,
        "y_half_range_um": 1.6, "dwell_s": 0.5, "passes": 1,
        "card": {"time_bin_ps": 100, "range_ns": 12.8},
        "excitation": {"power_nw": 40.0, "repetition_rate_hz": 20e6},
    })  # fmt: skip
    changes = ["excitons=100000", "sites=301", "detected_per_incident_photon=3e-4"]
    scan, light, spot_um = measured(tmp_path / "a.h5", "memory", changes, plan)
    for axis in ("x", "y"):
        d, stderr = fitted(scan, 0.1, 1.0, axis)
        own, own_stderr = light.d_cm2_per_s, light.d_stderr_cm2_per_s
        assert stderr < 0.08 * own
        assert abs(d - own) < 2 * np.hypot(stderr, own_stderr)
        for to_ns in (1.0, 2.0):
            d, stderr = fitted(scan, 0.1, to_ns, axis)
            line = light.line_d_cm2_per_s(spot_um, 0.1, to_ns)
            assert abs(d - line) < 2 * stderr, (axis, to_ns)


BRIGHT_DARK = [
    "gamma_fret=0.12", "splitting_mev=15", "emission_fwhm_nm=260",
    "detected_per_incident_photon=2e-4",
]  # fmt: skip


def bright_dark_line(path: Path, kelvin: float) -> tuple[Scan, LightHistogram, float]:
    plan = ANY_SCAN_PLAN.validate_python({
        "kind": "line", "positions": 15, "half_range_um": 0.5, "dwell_s": 120.0, "passes": 1,
        "card": {"time_bin_ps": 25, "range_ns": 12.8},
        "excitation": {"power_nw": 40.0, "repetition_rate_hz": 40e6},
    })  # fmt: skip
    thermostat = f"simulation.thermostat.start_temperature_k={kelvin}"
    return measured(path, "bright-dark", BRIGHT_DARK, plan, thermostat)


@pytest.mark.full
def test_bright_and_dark_excitons_at_nine_kelvin_seem_to_diffuse_backwards(tmp_path: Path) -> None:
    scan, light, spot_um = bright_dark_line(tmp_path / "cold.h5", 9.0)
    rise, rise_stderr = fitted(scan, 0.1, 0.4)
    fall, fall_stderr = fitted(scan, 0.45, 1.0)
    assert rise > 3 * rise_stderr
    assert fall < -3 * fall_stderr
    assert abs(fall - light.line_d_cm2_per_s(spot_um, 0.45, 1.0)) < 2 * fall_stderr


@pytest.mark.full
def test_warmth_brings_them_back(tmp_path: Path) -> None:
    scan, light, spot_um = bright_dark_line(tmp_path / "warm.h5", 200.0)
    d, stderr = fitted(scan, 0.45, 1.0)
    assert d > 3 * stderr
    assert abs(d - light.line_d_cm2_per_s(spot_um, 0.45, 1.0)) < 2 * stderr


def test_chains_of_the_quantum_model_widen_along_themselves_only(tmp_path: Path) -> None:
    plan = ANY_SCAN_PLAN.validate_python({
        "kind": "raster", "x_positions": 11, "y_positions": 11, "x_half_range_um": 1.6,
        "y_half_range_um": 1.6, "dwell_s": 0.5, "passes": 1,
        "card": {"time_bin_ps": 100, "range_ns": 12.8},
        "excitation": {"power_nw": 40.0, "repetition_rate_hz": 20e6},
    })  # fmt: skip
    changes = [
        "dephasing=0.01", "sites=20", "realisations=8", "detected_per_incident_photon=3e-4",
    ]  # fmt: skip
    scan, light, _ = measured(tmp_path / "a.h5", "quantum", changes, plan)
    own = light.d_cm2_per_s
    along, along_stderr = fitted(scan, 0.1, 2.0, "x")
    assert along_stderr < 0.05 * own
    assert abs(along - own) < 2.5 * along_stderr
    across, across_stderr = fitted(scan, 0.1, 2.0, "y")
    assert across_stderr < 0.05 * own
    assert abs(across) < 2.5 * across_stderr
    told = [line["message"] for line in scan.journal if line.get("code") == "simulated-sample"]
    assert len(told) == 1
    assert told[0].startswith(
        "the sample is the quantum model (disorder = 3, dephasing = 0.01, coupling_mev = 30); "
        f"its own D is {own:.4g} ± "
    )
    assert "along x, at long times" in told[0]


ENDLESS = with_sample(load_profile("simulated"), "memory", ["excitons=1000000000"])


def seconds_until_stopped(path: Path, how: str) -> float:
    """Real time from a request while light is computed until the laser is off."""
    with connect(ENDLESS) as instrument:
        rig = Rig(instrument)
        asked_s: list[float] = []
        ended_s: list[float] = []

        def ask(event: object) -> None:
            if isinstance(event, Notice) and event.code == "waiting" and not asked_s:
                asked_s.append(time.monotonic())
                thread = threading.Thread(target=getattr(rig.runner, how))
                thread.start()
                thread.join()
            if asked_s and not ended_s and rig.runner.finishing:  # the light is out by then
                ended_s.append(time.monotonic())

        rig.runner.subscribe(ask)
        outcome, scan = rig.scan(small_plan(), path)
        assert outcome.ending is (Ending.STOPPED if how == "stop" else Ending.ABORTED)
        assert outcome.safe_state.verified
        assert not scan.stored.any()
        assert rig.dark
        sample = rig.microscope.sample
        assert isinstance(sample, ModelledSample)
    assert sample._computation is not None
    sample._computation._thread.join(60.0)  # the first one compiles
    assert not sample._computation._thread.is_alive()
    return ended_s[0] - asked_s[0]


@pytest.mark.parametrize("how", ["abort", "stop", "emergency"])
def test_a_run_is_stopped_at_once_while_light_is_computed(tmp_path: Path, how: str) -> None:
    # the best of a few, for the sake of busy computers
    took_s = (seconds_until_stopped(tmp_path / f"{i}.h5", how) for i in range(5))
    assert any(seconds < 0.2 for seconds in took_s)


QUICK = ["excitons=2000", "sites=151", "lifetime_ps=500"]
FEW = ["--set", "positions=5", "--set", "passes=1", "--set", "card.time_bin_ps=200"]


def sample_options(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--sample-set", change)]


def test_a_scan_from_the_command_line_names_its_sample_and_keeps_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.h5"
    arguments = ["scan", "line", "--sample", "memory", "--out", str(out), *FEW]
    code = main([*arguments, *sample_options(*QUICK), "--json"])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["simulated"] is True
    scan = read_scan(out)
    profile = scan.header.profile
    assert profile is not None
    sample = profile.simulation.sample
    assert (sample.kind, sample.excitons, sample.sites) == ("memory", 2000, 151)  # type: ignore[union-attr]
    told = [line["message"] for line in scan.journal if line.get("code") == "simulated-sample"]
    assert len(told) == 1
    assert "the memory model (alpha = 0.00819, pulse_interval_us = 0.4); its own D is" in told[0]


def test_a_sample_of_the_profile_can_be_changed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    check = ["check", "line", "--sample-set"]
    assert main([*check, "prompt_lifetime_ns=3"]) == 0
    assert main([*check, "excitons=3000"]) == 2
    assert "excitons: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["scan line", "sweep power-series", "check line"])
def test_a_real_microscope_takes_no_sample_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out = [] if command.startswith("check") else ["--out", str(tmp_path / "a")]
    assert main([*command.split(), "--profile", "mit", "--sample", "memory", *out]) == 2
    assert "the profile 'mit' is a real microscope" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_forecasts_on_another_sample(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep", "power-series", "--dry-run", "--sample", "bright-dark", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["points"]


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("memroy", [], "did you mean 'memory'?"),
        ("memory", ["hop_fast=0.001"], "hop_slow must not be above hop_fast"),
        ("memory", ["emission_fwhm_nm=255"], "emission_fwhm_nm must be at least 261 nm"),
        ("memory", ["lattice=cubic"], 'allowed: "square"'),
        ("bright-dark", ["gamma_fret=0.2"], "of a bright exciton add up to 1.08 in a step"),
        ("bright-dark", ["gamma_bd=0.34"], "of a dark exciton add up to 1.02 in a step"),
        ("bright-dark", ["emission_fwhm_nm=200"], "emission_fwhm_nm must be at least"),
        ("quantum", ["dephasing=0", "disorder=0.5"], "without dephasing, disorder must be"),
    ],
)
def test_a_sample_that_makes_no_sense_is_refused(kind: str, changes: list[str], words: str) -> None:
    with pytest.raises(InputError, match="^--sample: ") as refused:
        with_sample(load_profile("simulated"), kind, changes)
    assert words in str(refused.value)


CONDITIONS = Conditions(
    photons_per_pulse=300.0, fluence_uj_per_cm2=0.076, mean_excitons_per_nc=0.0082,
    repetition_rate_hz=2.5e6, temperature_k=9.0, spot_sigma_um=0.255,
)  # fmt: skip


def conditions(**changes: float) -> Conditions:
    values = {name: getattr(CONDITIONS, name) for name in Conditions.__dataclass_fields__}
    return Conditions(**{**values, **changes})


def sample(kind: str, *changes: str) -> modelled.ModelledSettings:
    found = with_sample(load_profile("simulated"), kind, changes).simulation.sample
    assert not isinstance(found, type(load_profile("simulated").simulation.sample))
    return found


@pytest.mark.parametrize(
    ("kind", "changes", "new", "same"),
    [
        ("memory", [], {"mean_excitons_per_nc": 0.008201}, True),
        ("memory", [], {"mean_excitons_per_nc": 0.0083}, False),
        ("memory", [], {"repetition_rate_hz": 5e6}, False),
        ("memory", [], {"temperature_k": 200.0}, True),
        ("memory", ["disorder_mev=20"], {"temperature_k": 200.0}, False),
        ("memory", [], {"spot_sigma_um": 0.3, "x_um": 5.0}, True),
        ("bright-dark", [], {"temperature_k": 20.0}, False),
        ("bright-dark", ["gamma_db=0"], {"temperature_k": 20.0}, True),
        ("bright-dark", [], {"mean_excitons_per_nc": 0.1, "repetition_rate_hz": 5e6}, True),
        ("quantum", [], {"mean_excitons_per_nc": 0.1, "temperature_k": 200.0}, True),
    ],
)
def test_light_is_computed_again_only_where_it_differs(
    kind: str, changes: list[str], new: dict[str, float], same: bool
) -> None:
    settings = sample(kind, *changes)
    before, after = (recipe_for(settings, c) for c in (CONDITIONS, conditions(**new)))
    assert before is not None
    assert (before == after) is same


def test_what_only_concerns_the_image_shares_the_light() -> None:
    plain, other = sample("memory"), sample("memory", "emission_fwhm_nm=500", "edge_nm=5")
    assert recipe_for(plain, CONDITIONS) == recipe_for(other, CONDITIONS)


def test_boltzmann_sets_the_way_back_from_the_dark() -> None:
    recipe = recipe_for(sample("bright-dark", "splitting_mev=15"), conditions(temperature_k=60.0))
    assert recipe is not None
    expected = 3 * 0.15 * np.exp(-15 / (0.0861733 * 60))
    assert recipe["gamma_db"] == pytest.approx(expected, rel=5e-3)


def test_without_excitation_there_is_neither_light_nor_work() -> None:
    dark = ModelledSample(sample("memory", "excitons=1000000000"))
    nothing = conditions(mean_excitons_per_nc=0.0, photons_per_pulse=0.0)
    assert dark.pending(nothing) is None
    assert dark.describe(nothing) is None
    image = dark.emission(np.arange(4.0), nothing)
    assert image.through_aperture(0.0, 0.0, None).tolist() == [0.0, 0.0, 0.0]  # type: ignore[arg-type]


@pytest.mark.parametrize(("interval_us", "least"), [(0.4, 4.94e-5), (2.0, 2.47e-4), (10.0, 1e-3)])
def test_a_film_at_rest_is_not_simulated_dimmer_still(interval_us: float, least: float) -> None:
    found = [
        recipe_for(
            sample("memory"),
            conditions(mean_excitons_per_nc=dim, repetition_rate_hz=1e6 / interval_us),
        )
        for dim in (1e-12, least / 2, 2 * least)
    ]
    assert [one["alpha"] for one in found if one] == pytest.approx([least, least, 2 * least], 5e-3)


def test_excitons_without_light_make_a_dark_sample() -> None:
    changes = ("excitons=1000", "gamma_bright=0", "gamma_dark=0", "steps=40")
    dark = ModelledSample(sample("bright-dark", *changes))
    light = dark.light(CONDITIONS)
    assert light is not None
    assert not light.photons.any()
    words = dark.describe(CONDITIONS)
    assert words is not None
    assert "straight line" not in words
    assert math.isnan(light.line_d_cm2_per_s(0.2, 0.0, 1.0))


def test_what_the_temperature_makes_impossible_is_said_in_a_sentence() -> None:
    frozen = ModelledSample(sample("memory", "disorder_mev=200"))
    with pytest.raises(InputError, match="^the memory sample: disorder_mev must be at most"):
        frozen.light(CONDITIONS)


def test_a_fault_of_the_model_comes_out_where_the_light_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: object) -> None:
        raise ValueError("no such lattice")

    monkeypatch.setattr(modelled, "compute", fail)
    broken = ModelledSample(sample("memory", "seed=12345"))
    with pytest.raises(ValueError, match="no such lattice"):
        broken.light(CONDITIONS)
