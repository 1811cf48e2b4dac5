"""Whether a plan suits an instrument, before anything is opened."""

from typing import Any

import pytest

from tplm_config import (
    InputError,
    InstrumentProfile,
    LineScan,
    PositionScan,
    check,
    estimate,
    load_profile,
    parse_profile,
    to_toml,
)
from tplm_config.check import OVERHEAD_S


def profile(*overrides: str, without: tuple[str, ...] = ()) -> InstrumentProfile:
    """The simulated microscope, changed, and without some of its devices."""
    found = load_profile("simulated", overrides)
    return found.model_copy(update=dict.fromkeys(without))


def plan(**values: Any) -> LineScan:
    return LineScan.model_validate({"positions": 3, "passes": 1, **values})


REFUSED: list[tuple[str, LineScan, InstrumentProfile, str, list[str]]] = [
    (
        "too wide",
        plan(half_range_um=30),
        profile(),
        "",
        [
            "x = -30 µm",
            "stage at -14850 µm",
            "x axis travels from -12500 to 12500 µm",
            "'simulated'",
        ],
    ),
    (
        "too high",
        plan(axis="y", half_range_um=30),
        profile(),
        "",
        ["y = -30 µm", "its y axis travels"],
    ),
    (
        "zero off centre",
        plan(half_range_um=2),
        profile("detector_stage.x.zero_um=12000"),
        "",
        ["x = 2 µm", "12990 µm"],
    ),
    (
        "background out of reach",
        plan(background={"x_um": 100}),
        profile(),
        "",
        ["x = 100 µm", "49500 µm"],
    ),
    ("reference out of reach", plan(reference={"y_um": -100}), profile(), "", ["y = -100 µm"]),
    (
        "irf looks at the centre",
        plan(x_center_um=1, half_range_um=0.1, irf={"sample_x_um": 0}),
        profile("detector_stage.x.travel_um=[100, 900]"),
        "",
        ["x = 0 µm"],
    ),
    (
        "too strong",
        plan(excitation={"power_nw": 200.5}),
        profile(),
        "excitation.power_nw",
        ["found 200.5", "at most 200 nW"],
    ),
    (
        "no attenuator",
        plan(excitation={"power_nw": 1}),
        profile(without=("attenuator",)),
        "excitation.power_nw",
        ["no attenuator with power meter", "leave the key out"],
    ),
    (
        "no power meter",
        plan(excitation={"power_nw": 1}),
        profile(without=("power_meter",)),
        "excitation.power_nw",
        ["no attenuator with power meter"],
    ),
    (
        "no shutter",
        plan(background={}),
        profile(without=("shutter",)),
        "background",
        ["needs a shutter", "leave [background] out"],
    ),
    (
        "no sample stage",
        plan(irf={"sample_x_um": 0}),
        profile(without=("sample_stage",)),
        "irf",
        ["moves the sample stage", "leave [irf] out"],
    ),
    (
        "glass out of reach in x",
        plan(irf={"sample_x_um": 2501}),
        profile(),
        "irf.sample_x_um",
        ["found 2501", "from -2500 to 2500 µm"],
    ),
    (
        "glass out of reach in y",
        plan(irf={"sample_x_um": 0, "sample_y_um": -3000}),
        profile(),
        "irf.sample_y_um",
        ["found -3000"],
    ),
    (
        "flown too fast",
        plan(card={"mode": "t3"}, fly={}, dwell_s=0.01),
        profile(),
        "dwell_s",
        ["a step every 0.01 s is", "allows 2000 µm/s; use a longer dwell"],
    ),
    (
        "no room to run up",
        plan(card={"mode": "t3"}, fly={}, dwell_s=50, half_range_um=25.2),
        profile(),
        "",
        ["the run-up of a flown line needs the detector stage at", "from -12500 to 12500"],
    ),
]


@pytest.mark.parametrize(
    ("the_plan", "the_profile", "key", "words"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_refused(the_plan, the_profile, key, words) -> None:
    with pytest.raises(InputError) as caught:
        check(the_plan, the_profile, "p.toml")
    text = str(caught.value)
    assert caught.value.key == key
    assert text.startswith(f"p.toml: {key}: " if key else "p.toml: ")
    assert "\n" not in text
    for word in words:
        assert word in text


ALLOWED = [
    ("at both ends of the travel", plan(half_range_um=25), profile("optics.magnification=500")),
    ("at the power limit", plan(excitation={"power_nw": 200}), profile()),
    (
        "at the end of the sample stage",
        plan(irf={"sample_x_um": 2500, "sample_y_um": -2500}),
        profile(),
    ),
    (
        "with nothing that can be left out",
        plan(excitation={"repetition_rate_hz": 1e6}),
        profile(without=("attenuator", "shutter", "power_meter", "sample_stage", "temperature")),
    ),
]


@pytest.mark.parametrize(
    ("the_plan", "the_profile"), [case[1:] for case in ALLOWED], ids=[case[0] for case in ALLOWED]
)
def test_allowed(the_plan, the_profile) -> None:
    assert check(the_plan, the_profile) == estimate(the_plan, the_profile)


# Stage coordinates


STAGE = [
    ([], (1.0, -2.0), (495.0, -990.0)),
    (["detector_stage.x.sign=-1"], (1.0, -2.0), (-495.0, -990.0)),
    (["detector_stage.y.sign=-1"], (1.0, -2.0), (495.0, 990.0)),
    (["detector_stage.x.zero_um=3000", "detector_stage.y.zero_um=-10"], (0, 0), (3000, -10)),
    (
        ["detector_stage.x={sign=-1, zero_um=3000}", "optics.magnification=100"],
        (2.0, 3.0),
        (2800.0, 300.0),
    ),
]


@pytest.mark.parametrize(("overrides", "place", "stage"), STAGE)
def test_stage_positions(overrides, place, stage) -> None:
    found = profile(*overrides).stage_position_um(*place)
    assert found == pytest.approx(stage, rel=1e-15)


def test_a_profile_without_optional_devices_survives_toml() -> None:
    bare = profile(without=("attenuator", "shutter", "power_meter", "sample_stage", "temperature"))
    assert parse_profile(to_toml(bare), "memory") == bare


# Time


def test_a_move_takes_its_ramp_its_way_and_its_rest() -> None:
    stage = profile(
        "detector_stage={driver={name='simulated'}, settle_s=0.05}"
    )  # 2000 µm/s, 20000 µm/s²
    assert stage.travel_s(0) == 0
    assert stage.travel_s(50) == pytest.approx(2 * (50 / 20_000) ** 0.5 + 0.05)
    assert stage.travel_s(200) == pytest.approx(0.2 + 0.05)
    assert stage.travel_s(2200) == pytest.approx(1.1 + 0.1 + 0.05)


@pytest.mark.parametrize("speed", [1e-3, 1e200])
def test_a_strange_speed_is_no_accident(speed: float) -> None:
    assert profile(f"detector_stage.speed_um_per_s={speed}").travel_s(100) > 0


def test_the_estimate_adds_up() -> None:
    instrument = profile()
    found = estimate(
        PositionScan(x_um=[0, 1], passes=2, dwell_s=3, background={"dwell_s": 10}),
        instrument,
    )
    move_s = instrument.travel_s(495)  # 0 → 1 → (1) → 0 → background at 0
    assert found.visits == 6
    assert found.positions == 2
    assert found.counting_s == 4 * 3 + 2 * 10
    assert found.duration_s == pytest.approx(32 + 2 * move_s + 6 * OVERHEAD_S)
