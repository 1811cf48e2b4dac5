import numpy as np
import pytest

from tplm_config.simulation import SimulationSettings
from tplm_simulators import OpticsSettings, SimulatedClock, VirtualFault, VirtualMicroscope

CALLS = [
    ("laser", lambda m: m.laser.emission),
    ("laser", lambda m: m.laser.set_emission(False)),
    ("laser", lambda m: m.laser.set_repetition_rate_hz(1e6)),
    ("laser", lambda m: m.laser.power_fraction),
    ("attenuator", lambda m: m.attenuator.transmission()),
    ("shutter", lambda m: m.shutter.set_open(True)),
    ("power_meter", lambda m: m.power_meter.power_nw()),
    ("detector_stage", lambda m: m.detector_stage.position_um()),
    ("detector_stage", lambda m: m.detector_stage.move_to(0, 0)),
    ("sample_stage", lambda m: m.sample_stage.is_moving()),
    ("thermostat", lambda m: m.thermostat.temperature_k()),
    ("card", lambda m: m.card.start(1)),
    ("card", lambda m: m.card.histogram()),
]


@pytest.mark.parametrize(("part", "call"), CALLS)
def test_an_unplugged_device_does_not_answer(build, part, call):
    microscope = build()
    device = getattr(microscope, part)
    device.unplug()
    with pytest.raises(VirtualFault, match="does not answer") as caught:
        call(microscope)
    assert caught.value.device == device.name
    device.plug_in()
    call(microscope)


def test_everything_starts_dark(build):
    microscope = build()
    assert not microscope.laser.emission
    assert not microscope.shutter.is_open()


# Laser


def test_laser_limits(build):
    laser = build().laser
    for refused in (0.0, 50e6, float("nan")):
        with pytest.raises(VirtualFault, match="refuses"):
            laser.set_repetition_rate_hz(refused)
    for refused in (-0.1, 1.1, float("nan")):
        with pytest.raises(VirtualFault, match="refuses"):
            laser.set_power_fraction(refused)


def test_a_laser_that_refuses_to_stop(build):
    laser = build().laser
    laser.set_emission(True)
    laser.refuse_to_stop()
    laser.set_emission(False)
    assert laser.emission
    laser.obey()
    laser.set_emission(False)
    assert not laser.emission


def test_the_interlock_stops_even_that_laser(build):
    laser = build().laser
    laser.set_emission(True)
    laser.refuse_to_stop()
    laser.open_interlock()
    assert not laser.emission
    assert not laser.interlock_closed
    with pytest.raises(VirtualFault, match="interlock"):
        laser.set_emission(True)
    laser.close_interlock()
    assert not laser.emission
    laser.set_emission(True)
    assert laser.emission


def test_laser_noise_has_the_asked_rms_and_is_slow(build):
    microscope = build(laser={"noise_rms": 0.02}, power_meter={"noise_nw": 0.0, "noise_rms": 0.0})
    microscope.laser.set_emission(True)
    powers = []
    for _ in range(8000):
        microscope.clock.wait(1)
        powers.append(microscope.power_meter.power_nw() - 0.01)
    assert np.std(powers) == pytest.approx(0.02, rel=0.15)
    assert np.mean(powers) == pytest.approx(1, abs=0.01)


# Attenuator, shutter, power meter


def test_the_wheel_takes_its_time(build):
    microscope = build()
    wheel = microscope.attenuator
    wheel.set_transmission(1.0)
    assert wheel.is_moving()
    microscope.clock.wait(0.5)
    assert wheel.transmission() == pytest.approx(0.1)
    microscope.clock.wait(0.5)
    assert not wheel.is_moving()
    assert wheel.transmission() == 1
    with pytest.raises(VirtualFault, match="refuses"):
        wheel.set_transmission(1e-6)


def test_the_shutter_takes_a_few_milliseconds(build):
    microscope = build()
    microscope.shutter.set_open(True)
    assert not microscope.shutter.is_open()
    microscope.clock.wait(0.005)
    assert microscope.shutter.is_open()
    microscope.shutter.set_open(False)
    assert microscope.shutter.is_open()
    microscope.clock.wait(0.005)
    assert not microscope.shutter.is_open()


def test_a_jammed_shutter_stays(build):
    microscope = build()
    microscope.shutter.set_open(True)
    microscope.clock.wait(1)
    microscope.shutter.jam()
    microscope.shutter.set_open(False)
    microscope.clock.wait(1)
    assert microscope.shutter.is_open()
    microscope.shutter.free()
    microscope.shutter.set_open(False)
    microscope.clock.wait(1)
    assert not microscope.shutter.is_open()


def test_the_meter_reads_the_nominal_power_before_the_shutter(build):
    microscope = build()

    def mean() -> float:
        return float(np.mean([microscope.power_meter.power_nw() for _ in range(400)]))

    assert mean() == pytest.approx(0.01, abs=0.001)
    microscope.laser.set_emission(True)
    assert mean() == pytest.approx(1.01, abs=0.001)
    microscope.laser.set_power_fraction(0.5)
    microscope.attenuator.set_transmission(0.1)
    microscope.clock.wait(5)
    assert mean() == pytest.approx(5.01, abs=0.005)


# Stages


def test_travel_time_is_trapezoidal(build):
    microscope = build(detector_stage={"speed_um_per_s": 1000.0, "acceleration_um_per_s2": 2000.0})
    stage, clock = microscope.detector_stage, microscope.clock
    stage.move_to(2000, -10)  # 0.5 s up, 1.5 s even, 0.5 s down
    clock.wait(0.5)
    x_um, y_um = stage.position_um()
    assert x_um == pytest.approx(250)
    assert y_um == -10
    clock.wait(1)
    assert stage.position_um()[0] == pytest.approx(1250)
    clock.wait(0.999)
    assert stage.is_moving()
    clock.wait(0.002)
    assert not stage.is_moving()
    assert stage.position_um() == (2000, -10)


def test_a_stopped_stage_stands_where_it_is(build):
    microscope = build()
    microscope.detector_stage.move_to(5000, 0)
    microscope.clock.wait(1)
    microscope.detector_stage.stop()
    place = microscope.detector_stage.position_um()
    assert 0 < place[0] < 5000
    microscope.clock.wait(10)
    assert not microscope.detector_stage.is_moving()
    assert microscope.detector_stage.position_um() == place


@pytest.mark.parametrize("place", [(13000, 0), (0, -13000), (float("nan"), 0)])
def test_limits_are_refused_and_nothing_moves(build, place):
    stage = build().detector_stage
    with pytest.raises(VirtualFault, match="limits"):
        stage.move_to(*place)
    assert not stage.is_moving()


def test_a_stalled_stage_moves_for_ever_and_gets_nowhere(build):
    microscope = build()
    stage = microscope.detector_stage
    stage.move_to(5000, 0)
    microscope.clock.wait(0.5)
    stage.stall()
    place = stage.position_um()
    microscope.clock.wait(1000)
    stage.move_to(0, 0)
    assert stage.is_moving()
    assert stage.position_um() == place
    stage.release()
    stage.move_to(0, 0)
    microscope.clock.wait(10)
    assert stage.position_um() == (0, 0)
    assert not stage.is_moving()


def test_arrivals_scatter_unseen(build):
    microscope = build(detector_stage={"repeatability_um": 2.0})
    real = []
    for _ in range(500):
        microscope.detector_stage.move_to(100, 0)
        microscope.clock.wait(1)
        assert microscope.detector_stage.position_um() == (100, 0)
        real.append(microscope.detector_stage.place_um_at(microscope.clock.now_s())[0])
    assert np.std(real) == pytest.approx(2, rel=0.15)


# Thermostat


def test_temperature_follows_the_ramp_with_a_lag(build):
    microscope = build(thermostat={"noise_k": 0.0, "lag_s": 20.0})
    thermostat = microscope.thermostat
    thermostat.set_ramp_k_per_min(6.0)  # 0.1 K/s, so 2 K behind
    thermostat.set_set_point_k(265)
    microscope.clock.wait(200)
    assert thermostat.temperature_k() == pytest.approx(295 - 20 + 2, abs=0.01)
    microscope.clock.wait(100)
    assert thermostat.temperature_k() == pytest.approx(265 + 2, abs=0.01)
    microscope.clock.wait(20)
    assert thermostat.temperature_k() == pytest.approx(265 + 2 / np.e, abs=0.01)
    microscope.clock.wait(1000)
    assert thermostat.temperature_k() == pytest.approx(265, abs=1e-6)
    assert thermostat.set_point_k == 265


def test_a_new_set_point_in_mid_ramp_makes_no_jump(build):
    microscope = build(thermostat={"noise_k": 0.0})
    thermostat = microscope.thermostat
    thermostat.set_set_point_k(100)
    microscope.clock.wait(300)
    before = thermostat.temperature_k()
    thermostat.set_set_point_k(200)
    assert thermostat.temperature_k() == pytest.approx(before)
    microscope.clock.wait(3600)
    assert thermostat.temperature_k() == pytest.approx(200)


def test_thermostat_limits(build):
    thermostat = build().thermostat
    for refused in (3.0, 500.0, float("nan")):
        with pytest.raises(VirtualFault, match="limits"):
            thermostat.set_set_point_k(refused)
    with pytest.raises(VirtualFault, match="ramp"):
        thermostat.set_ramp_k_per_min(0)


def test_without_its_heater_the_sample_cools_to_base(build):
    microscope = build(thermostat={"noise_k": 0.0})
    thermostat = microscope.thermostat
    thermostat.fail_heater()
    assert not thermostat.heater_works
    microscope.clock.wait(900)
    assert thermostat.temperature_k() == pytest.approx(7 + (295 - 7) / np.e)
    thermostat.set_set_point_k(250)
    microscope.clock.wait(20000)
    assert thermostat.temperature_k() == pytest.approx(7, abs=0.01)
    thermostat.repair_heater()
    microscope.clock.wait(60)
    assert thermostat.temperature_k() == pytest.approx(7 + 10 - 10 / 3, abs=0.3)
    microscope.clock.wait(3600)
    assert thermostat.temperature_k() == pytest.approx(250)


def test_temperature_changes_the_diffusivity(build):
    microscope = build()
    warm = microscope.sample.diffusivity_cm2_per_s(microscope.conditions())
    microscope.thermostat.set_set_point_k(150)
    microscope.clock.wait(3600)
    cold = microscope.sample.diffusivity_cm2_per_s(microscope.conditions())
    assert cold == pytest.approx(warm * 1.787, rel=1e-3)


# The whole


def test_a_fault_can_be_scheduled(lit):
    microscope = lit()
    at_s = microscope.clock.now_s() + 0.5
    microscope.schedule(at_s, microscope.laser.open_interlock)
    bright = microscope.card.expected_rates().per_bin_hz
    microscope.card.start(1)
    microscope.clock.wait(1)
    dark = microscope.card.expected_rates().per_bin_hz
    expected = 0.5 * (bright + dark)
    np.testing.assert_allclose(microscope.card.expected_counts(), expected, rtol=1e-9)


def test_defaults_build_and_settings_refuse_nonsense():
    VirtualMicroscope(SimulationSettings(), OpticsSettings(), SimulatedClock())
    for wrong in ({"stage_directions": (0.5, 1)}, {"magnification": 0}, {"throughput": 2}):
        with pytest.raises(ValueError, match=r"must be|at most"):
            OpticsSettings(**wrong)
    for group, value in (
        ("laser", {"start_rate_hz": 1e9}),
        ("thermostat", {"start_temperature_k": 1.0}),
        ("attenuator", {"start_transmission": 1e-9}),
        ("detector_stage", {"lower_limit_um": 1.0}),
        ("sample", {"kind": "soup"}),
    ):
        with pytest.raises(ValueError, match=group):
            SimulationSettings.model_validate({group: value})


def test_every_setting_is_described():
    schema = SimulationSettings.model_json_schema()
    for name, part in {**schema["$defs"], "SimulationSettings": schema}.items():
        for key, field in part["properties"].items():
            # pydantic leaves out what the class it refers to already says.
            assert field.get("description") or "$ref" in field, f"{name}.{key}"
