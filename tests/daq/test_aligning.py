"""Aligning outside a run: live light, searches, response, background, and every way out."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.daq.rig import Rig, small_profile, virtual
from tests.daq.test_centring import beside
from tplm_config import InputError
from tplm_config.toml import validate
from tplm_daq.centring import SearchError
from tplm_daq.events import Event, Notice, RunState
from tplm_daq.handling import POLL_S, DetectorTooBrightError
from tplm_daq.station.aligning import SHOWN_BINS, Aligner, Result, shown
from tplm_daq.station.manual import Manual, recentred
from tplm_daq.station.readings import identify, not_open, read_back, sample_plane_um
from tplm_daq.station.settings import (
    AlignSettings,
    BackgroundSettings,
    FocusSettings,
    IrfSettings,
    LineSettings,
    Move,
    RasterSettings,
)
from tplm_drivers import DeviceError, Instrument, connect
from tplm_drivers.roles import ROLE_NAMES

QUICK = "simulation.laser.start_rate_hz=20e6"
"""Fewer time bins to simulate."""
LIVE = AlignSettings(dwell_s=0.2, range_ns=25.6, time_bin_ps=100)
LINE = LineSettings(half_range_um=1.2, positions=9, dwell_s=0.05)


class Given(Exception):  # noqa: N818 - a request that was obeyed
    """The director wants no more."""


@dataclass
class Director:
    """Notes what it is told; may end everything at the n-th look."""

    events: list[Event] = field(default_factory=list)
    looks: int = 0
    last_look: float = math.inf

    def check_abort(self) -> None:
        self.looks += 1
        if self.looks > self.last_look:
            raise Given

    def check_stop(self) -> None:
        self.check_abort()

    def enter(self, state: RunState, why: str = "") -> None:
        raise AssertionError("nothing of a run")

    def emit(self, event: Event) -> None:
        self.events.append(event)

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, Notice)]


@dataclass
class Table:
    """An instrument that is being aligned, and what was told."""

    instrument: Instrument
    director: Director = field(default_factory=Director)
    published: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.aligner = Aligner(self.instrument, self.director, self.published.append)
        self.at = virtual(self.instrument)
        self.manual = Manual(self.instrument, self.aligner.handling)

    @property
    def dark(self) -> bool:
        return Rig(self.instrument).dark

    @property
    def safe(self) -> bool:
        """Dark twice over, with nothing left moving or counting."""
        at = self.at
        return (
            at.laser.output_nw() == 0
            and not at.shutter.passes_at(at.clock.now_s())
            and not at.card.is_running()
            and not at.detector_stage.is_moving()
            and not at.sample_stage.is_moving()
            and not self.aligner.is_aligning
        )

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.published if event["event"] == kind]


@contextmanager
def table(
    *overrides: str, x_um: float = 0.0, y_um: float = 0.0, begin: bool = True
) -> Iterator[Table]:
    with connect(small_profile(QUICK, *overrides)) as instrument:
        it = Table(beside(instrument, x_um, y_um))
        it.manual.move(Move(stage="detector", to=(0.0, 0.0)))
        if begin:
            it.aligner.begin(LIVE)
        yield it


# -- live light -----------------------------------------------------------------------------


def test_begin_makes_light_and_end_takes_it() -> None:
    with table(begin=False) as it:
        assert it.dark
        result = it.aligner.begin(LIVE)
        assert not it.dark
        assert it.aligner.is_aligning
        assert result.words.startswith("aligning: ")
        assert result.values["sync_rate_hz"] == 20e6
        state = it.aligner.end()
        assert state.verified
        assert (state.laser_off, state.shutter_closed) == (True, True)
        assert it.safe


def test_live_rates_are_those_of_the_light() -> None:
    with table() as it:
        # a period of 50 ns, all of it in the histogram
        it.aligner.begin(AlignSettings(dwell_s=1.0, range_ns=50, time_bin_ps=25))
        for _ in range(5):
            it.aligner.count_once()
        events = it.of("light")
        assert len(events) == 5
        counted = sum(sum(event["counts"]) for event in events)
        live_s = sum(event["live_s"] for event in events)
        assert live_s == pytest.approx(5.0)
        metered_hz = float(np.mean([event["count_rate_hz"] for event in events]))
        # five gates of 0.1 s; the laser flickers by half a per cent
        stderr_hz = math.hypot(math.sqrt(metered_hz / 0.5), 0.005 * metered_hz)
        assert counted / live_s == pytest.approx(metered_hz, abs=4 * stderr_hz)
        assert metered_hz > 1000
        last = events[-1]
        assert last["sync_rate_hz"] == 20e6
        assert last["share"] == pytest.approx(last["count_rate_hz"] / 20e6)
        assert last["limit_hz"] == 2e6
        assert last["is_dark"] is False
        assert (len(last["counts"]), last["bin_ns"]) == (500, pytest.approx(0.1))
        # the light comes 2 ns after its pulse, and fades in 2.3 ns
        assert last["bin_ns"] * int(np.argmax(last["counts"])) == pytest.approx(2.0, abs=0.5)
        assert max(last["counts"]) / 4 <= last["brightest_bin"] <= max(last["counts"])


@given(st.integers(1, 40_000), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_no_count_is_lost_in_what_is_shown(bins: int, most: int) -> None:
    counts = np.full(bins, most, dtype=np.uint32)
    sums, merged = shown(counts)
    assert len(sums) == math.ceil(bins / merged) <= SHOWN_BINS
    assert sum(sums) == bins * most


def test_every_setting_reaches_the_card() -> None:
    with table() as it:
        it.aligner.begin(
            AlignSettings(dwell_s=0.1, range_ns=12.8, time_bin_ps=50, offset_ns=1.0, sync_divider=4)
        )
        it.aligner.count_once()
        event = it.of("light")[-1]
        assert (event["offset_ns"], event["bin_ns"], len(event["counts"])) == (1.0, 0.05, 256)
        assert event["sync_rate_hz"] == 20e6
        assert np.argmax(event["counts"]) * 0.05 == pytest.approx(1.0, abs=0.5)


def test_a_range_longer_than_the_period_is_told() -> None:
    with table() as it:
        assert "range" not in it.director.codes
        it.aligner.begin(AlignSettings(range_ns=102.4, time_bin_ps=100))
        assert it.director.codes == ["range"]


def test_light_is_dark_behind_the_shutter_and_counting_goes_on() -> None:
    with table() as it:
        it.aligner.count_once()
        it.manual.set("shutter", False)
        it.aligner.count_once()
        bright, dark = it.of("light")
        assert (bright["is_dark"], dark["is_dark"]) == (False, True)
        assert sum(dark["counts"]) < 0.1 * sum(bright["counts"])
        with pytest.raises(InputError, match="no light reaches the sample; open the shutter"):
            it.aligner.cross(LINE)
        assert it.aligner.is_aligning
        it.manual.set("shutter", True)
        it.aligner.cross(LINE)


def test_lost_pulses_are_told_once_and_counting_goes_on() -> None:
    with table() as it:
        it.at.card.lose_sync()
        for _ in range(2):
            it.aligner.count_once()
        assert it.of("light")[-1]["sync_rate_hz"] == 0
        assert it.of("light")[-1]["share"] is None
        it.at.card.find_sync()
        it.aligner.count_once()
        assert it.of("light")[-1]["sync_rate_hz"] == 20e6
        it.at.card.lose_sync()
        it.aligner.count_once()
        assert it.director.codes == ["sync", "sync"]


def test_a_laser_that_went_off_stays_off() -> None:
    with table() as it:
        it.at.laser.open_interlock()
        for _ in range(2):
            it.aligner.count_once()
        assert it.director.codes == ["emission"]
        assert it.of("light")[-1]["is_dark"] is True
        assert not it.at.shutter.passes_at(it.at.clock.now_s())


# -- too much light -------------------------------------------------------------------------


def brighter(it: Table) -> Callable[[], None]:
    return lambda: it.at.laser.set_power_fraction(1.0)


DIM = ("limits.detector_count_rate_hz=2e4", "simulation.attenuator.start_transmission=0.05")


def test_a_jump_of_the_light_is_blocked_within_one_look() -> None:
    with table(*DIM, begin=False) as it:
        it.at.laser.set_power_fraction(0.02)
        it.aligner.begin(replace_dwell(LIVE, 1.0))
        jump_s = it.at.clock.now_s() + 0.43
        it.at.schedule(jump_s, brighter(it))
        it.at.schedule(
            jump_s + POLL_S + it.at.settings.shutter.travel_s, lambda: seen.append(it.dark)
        )
        seen: list[bool] = []
        it.aligner.count_once()
        assert seen == [True]
        assert it.director.codes == ["too-bright"]
        told = [event for event in it.director.events if isinstance(event, Notice)][-1]
        assert "more than the profile's limit of 2e+04" in told.message
        assert told.message.endswith("then open the shutter, or align, again with less of it")
        event = it.of("light")[-1]
        assert event["is_dark"] is True
        assert event["count_rate_hz"] > 2e4
        # and it stays dark until light is asked for again
        for _ in range(3):
            it.aligner.count_once()
            assert it.dark
        assert it.director.codes == ["too-bright"]
        with pytest.raises(InputError, match="no light"):
            it.aligner.find(LINE)
        with pytest.raises(DetectorTooBrightError):
            it.aligner.begin(LIVE)
        assert it.dark
        assert it.aligner.is_aligning
        it.at.laser.set_power_fraction(0.02)
        it.aligner.begin(LIVE)
        assert not it.dark
        it.aligner.count_once()
        assert it.of("light")[-1]["is_dark"] is False


def replace_dwell(asked: AlignSettings, dwell_s: float) -> AlignSettings:
    return asked.model_copy(update={"dwell_s": dwell_s})


def test_room_light_does_not_keep_it_busy() -> None:
    with table("limits.detector_count_rate_hz=10", begin=False) as it:
        with pytest.raises(DetectorTooBrightError, match="room light"):
            it.aligner.begin(LIVE)
        before_s = it.at.clock.now_s()
        for _ in range(3):
            it.aligner.count_once()
        assert it.at.clock.now_s() - before_s == pytest.approx(3 * LIVE.dwell_s)
        assert [event["counts"] for event in it.of("light")] == [[], [], []]
        assert it.dark


@pytest.mark.parametrize("step", ["cross", "raster", "find", "focus", "irf"])
def test_a_jump_of_the_light_ends_a_step_in_the_dark(step: str) -> None:
    with table(*DIM, begin=False) as it:
        it.at.laser.set_power_fraction(0.02)
        it.aligner.begin(LIVE)
        it.at.schedule(it.at.clock.now_s() + 0.3, brighter(it))
        with pytest.raises(DetectorTooBrightError, match="align, again with less of it"):
            STEPS[step](it)
        assert it.dark
        assert it.aligner.is_aligning
        assert it.at.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.05)


# -- searches -------------------------------------------------------------------------------


def test_a_cross_finds_a_spot_within_its_error_bars() -> None:
    pulls = []
    for seed in range(6):
        with table(f"simulation.seed={seed}", x_um=0.4, y_um=-0.3) as it:
            before_um = it.at.detector_stage.position_um()
            result = it.aligner.cross(LINE)
            for axis, true_um in (("x", 0.4), ("y", -0.3)):
                found, stderr = result.values[f"{axis}_um"], result.values[f"{axis}_stderr_um"]
                assert found is not None
                assert stderr is not None
                assert stderr < 0.03
                pulls.append((found - true_um) / stderr)
            assert it.at.detector_stage.position_um() == pytest.approx(before_um, abs=5)
    assert np.abs(pulls).max() < 4
    assert 0.3 < np.std(pulls) < 2


def test_the_lines_of_a_cross_grow() -> None:
    with table(x_um=0.4) as it:
        it.aligner.cross(LINE)
        for axis, fixed in (("x", "y"), ("y", "x")):
            lines = [event for event in it.of("line") if event["axis"] == axis]
            assert [len(event["x_um"]) for event in lines] == [*range(1, 10), 9]
            assert [event["done"] for event in lines] == [False] * 9 + [True]
            assert all(event["fit"] is None for event in lines[:-1])
            last = lines[-1]
            assert last["x_um"] == pytest.approx(np.linspace(-1.2, 1.2, 9).tolist())
            assert len(last["rate_hz"]) == 9
            fit = last["fit"]
            assert fit["peak_hz"] + fit["background_hz"] == pytest.approx(
                max(last["rate_hz"]), rel=0.3
            )
            assert 0.2 < fit["sigma_um"] < 0.4
            assert fixed != axis


def test_a_raster_shows_where_the_light_is() -> None:
    with table(x_um=0.4, y_um=-0.4) as it:
        places: list[tuple[float, ...]] = []
        go = it.aligner.handling.go_to_reading

        def note(target: tuple[float, float]) -> tuple[float, float]:
            places.append(sample_plane_um(it.instrument.profile, target))
            return go(target)

        with patch.object(it.aligner.handling, "go_to_reading", note):
            result = it.aligner.raster(RasterSettings(half_range_um=0.8, positions=5, dwell_s=0.1))
        assert result.values["x_um"] == pytest.approx(0.4)
        assert result.values["y_um"] == pytest.approx(-0.4)
        images = it.of("image")
        last = images[-1]
        assert last["done"] is True
        rates = np.array(last["rate_hz"], dtype=np.float64)
        row, column = np.unravel_index(rates.argmax(), rates.shape)
        assert (last["x_um"][column], last["y_um"][row]) == pytest.approx((0.4, -0.4))
        # one line there, the next one back
        columns = [-0.8, -0.4, 0.0, 0.4, 0.8]
        assert [x for x, _ in places[:10]] == pytest.approx(columns + columns[::-1])
        # what is not there yet is null, and what is stays
        assert len(images) > 1
        holes = [
            sum(rate is None for line in event["rate_hz"] for rate in line) for event in images
        ]
        assert holes == sorted(holes, reverse=True)
        assert holes[0] > 0
        assert holes[-1] == 0


def test_find_goes_to_the_peak() -> None:
    with table(x_um=0.5, y_um=0.4) as it:
        dim_hz = it.instrument.card.count_rate_hz()
        result = it.aligner.find(LINE)
        here_um = sample_plane_um(it.instrument.profile, it.at.detector_stage.position_um())
        assert here_um == pytest.approx((0.5, 0.4), abs=0.06)
        assert result.words.startswith("the detector looks at the peak: x = 0.")
        assert it.instrument.card.count_rate_hz() > 2 * dim_hz


def test_a_search_in_vain_comes_back_and_goes_on() -> None:
    with table(x_um=9.0) as it:
        before_um = it.at.detector_stage.position_um()
        with pytest.raises(SearchError, match="no emission peak was found within 1.2 µm"):
            it.aligner.find(LINE)
        assert it.at.detector_stage.position_um() == pytest.approx(before_um, abs=5)
        assert it.aligner.is_aligning
        assert not it.dark
        words = it.aligner.cross(LINE).words
        assert words == "the cross: no peak along x, no peak along y"


@pytest.mark.parametrize(("by", "z_um"), [("peak", -1.2), ("width", 0.9)])
def test_focus_finds_the_height(by: Any, z_um: float) -> None:
    with table() as it:
        it.at.sample_stage.move_to(0.0, 0.0, z_um)
        it.at.clock.wait(5.0)
        result = it.aligner.focus(FocusSettings(by=by, dwell_s=0.05))
        found, stderr = result.values["z_um"], result.values["z_stderr_um"]
        assert found is not None
        assert stderr is not None
        assert found == pytest.approx(0.0, abs=4 * math.hypot(stderr, 0.02))
        assert it.at.sample_stage.position_um()[2] == pytest.approx(found, abs=0.05)
        events = it.of("focus")
        assert all(event["best_z_um"] is None for event in events[:-1])
        last = events[-1]
        assert last["best_z_um"] == found
        assert (last["by"], last["z_um"]) == (by, sorted(last["z_um"]))
        sizes = [len(event["z_um"]) for event in events]
        assert sizes == sorted(sizes)
        values = np.array(last["value"], dtype=np.float64)
        best = last["z_um"][int(np.nanargmax(values) if by == "peak" else np.nanargmin(values))]
        assert best == pytest.approx(0.0, abs=0.6)


@pytest.mark.parametrize("seed", range(6))
def test_no_focus_leaves_the_sample_where_it_was(seed: int) -> None:
    """Among noise there is always a place that seems the sharpest."""
    with table(f"simulation.seed={seed}") as it:
        it.at.sample_stage.move_to(0.0, 0.0, 9.0)
        it.at.clock.wait(9.0)
        with pytest.raises(SearchError, match="focus"):
            it.aligner.focus(FocusSettings(half_range_um=0.5))
        assert it.at.sample_stage.position_um() == pytest.approx((0, 0, 9), abs=0.05)
        assert it.aligner.is_aligning


# -- response and background ----------------------------------------------------------------


def test_the_response_is_that_of_the_detector() -> None:
    with table() as it:
        it.aligner.begin(AlignSettings(dwell_s=0.1, range_ns=25.6, time_bin_ps=25))
        result = it.aligner.irf(IrfSettings(dwell_s=5.0, sample_x_um=100.0))
        values, event = result.values, it.of("irf")[-1]
        fwhm_ps, stderr_ps = values["fwhm_ps"], values["stderr_ps"]
        assert fwhm_ps is not None
        assert stderr_ps is not None
        assert fwhm_ps == pytest.approx(80.0, abs=4 * stderr_ps)
        assert stderr_ps < 4
        assert values["time_zero_ns"] == pytest.approx(1.96, abs=0.01)
        assert {key: event[key] for key in values} == values
        counts = np.array(event["counts"])
        assert counts.size <= SHOWN_BINS
        peak_ns = event["offset_ns"] + event["bin_ns"] * (np.argmax(counts) + 0.5)
        assert peak_ns == pytest.approx(2.0, abs=0.05)
        assert it.at.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.05)
        assert not it.dark
        assert it.aligner.is_aligning


def test_a_response_without_light_is_told() -> None:
    with table(
        "simulation.sample.film_edge_um=5", "simulation.sample.glass_scatter_per_incident_photon=0"
    ) as it:
        with pytest.raises(SearchError, match="look for a scatterer"):
            it.aligner.irf(IrfSettings(dwell_s=0.1, sample_x_um=100.0, sample_y_um=3.0))
        assert it.at.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.05)
        assert it.aligner.is_aligning
        assert not it.dark


@pytest.mark.parametrize("dark", [False, True])
def test_background_is_that_of_room_and_detector(dark: bool) -> None:
    with table() as it:
        result = it.aligner.background(BackgroundSettings(dwell_s=10.0, dark=dark))
        rate_hz, stderr_hz = result.values["count_rate_hz"], result.values["stderr_hz"]
        assert rate_hz is not None
        assert stderr_hz is not None
        true_hz = it.at.optics.dark_rate_hz + it.at.settings.detection.ambient_rate_hz
        assert rate_hz == pytest.approx(true_hz, abs=4 * stderr_hz)
        assert stderr_hz == pytest.approx(math.sqrt(true_hz / 10), rel=0.4)
        event = it.of("background")[-1]
        assert event == {"event": "background", **result.values}
        assert result.values["dark"] is dark
        assert not it.dark
        it.aligner.count_once()
        assert it.of("light")[-1]["is_dark"] is False


def test_background_in_the_dark_leaves_it_dark() -> None:
    with table() as it:
        it.manual.set("shutter", False)
        it.aligner.background(BackgroundSettings(dwell_s=0.2))
        assert it.dark
        assert it.aligner.is_aligning


# -- ways out -------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Table], Result | None]] = {
    "begin": lambda it: it.aligner.begin(LIVE),
    "count": lambda it: it.aligner.count_once(),
    "cross": lambda it: it.aligner.cross(LINE),
    "raster": lambda it: it.aligner.raster(
        RasterSettings(half_range_um=0.8, positions=3, dwell_s=0.05)
    ),
    "find": lambda it: it.aligner.find(LINE),
    "focus": lambda it: it.aligner.focus(FocusSettings(dwell_s=0.02)),
    "irf": lambda it: it.aligner.irf(IrfSettings(dwell_s=2.0, sample_x_um=80.0)),
    "background": lambda it: it.aligner.background(BackgroundSettings(dwell_s=0.3)),
    "dark": lambda it: it.aligner.background(BackgroundSettings(dwell_s=0.3, dark=True)),
}


@pytest.fixture(scope="module")
def looks() -> dict[str, int]:
    """How often the director is asked in each step."""
    found = {}
    for name, step in STEPS.items():
        with table() as it:
            before = it.director.looks
            step(it)
            found[name] = it.director.looks - before
    return found


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", STEPS)
def test_an_abort_anywhere_leaves_it_dark(name: str, share: float, looks: dict[str, int]) -> None:
    with table() as it:
        it.director.last_look = it.director.looks + round(share * (looks[name] - 1))
        with pytest.raises(Given):
            STEPS[name](it)
        assert it.safe
        assert it.at.sample_stage.position_um() == pytest.approx((0, 0, 0), abs=0.05)
        with pytest.raises(InputError, match="align first"):
            it.aligner.count_once()
        it.director.last_look = math.inf
        it.aligner.begin(LIVE)
        assert not it.dark


BROKEN = [
    ("begin", "laser"), ("begin", "shutter"), ("begin", "card"), ("begin", "power_meter"),
    ("count", "card"), ("count", "laser"), ("count", "shutter"),
    ("cross", "detector_stage"), ("cross", "card"), ("raster", "detector_stage"),
    ("find", "detector_stage"), ("find", "card"), ("focus", "sample_stage"), ("focus", "card"),
    ("irf", "sample_stage"), ("irf", "card"), ("background", "shutter"), ("background", "card"),
    ("dark", "laser"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "device"), BROKEN)
def test_a_device_that_fails_in_a_step_leaves_it_dark(name: str, device: str) -> None:
    with table() as it:
        broken = getattr(it.at, device)
        if name == "background" and device == "shutter":
            broken.unplug()
        else:
            it.at.schedule(it.at.clock.now_s() + 0.06, broken.unplug)
            it.at.clock.wait(0.06 if name in ("count", "dark") else 0.0)
        with pytest.raises(DeviceError, match="does not answer"):
            STEPS[name](it)
        assert it.dark
        assert not it.aligner.is_aligning
        assert "safe-state" in it.director.codes or device in ("power_meter",)
        broken.plug_in()
        it.aligner.end()
        assert it.safe


def test_no_light_without_pulses_or_with_too_much_power() -> None:
    with table(begin=False) as it:
        it.at.card.lose_sync()
        with pytest.raises(DeviceError, match="there are no sync pulses; check the trigger"):
            it.aligner.begin(LIVE)
        assert it.safe
        it.at.card.find_sync()
    with table("limits.laser_power_nw=0.5", begin=False) as it:
        with pytest.raises(DeviceError, match="reads .* nW, but the profile allows 0.5 nW"):
            it.aligner.begin(LIVE)
        assert it.safe


def test_what_the_card_cannot_do_changes_nothing() -> None:
    with table() as it:
        with pytest.raises(InputError, match="align: time_bin_ps: found 30; the card can make 25"):
            it.aligner.begin(AlignSettings(time_bin_ps=30))
        assert not it.dark
        it.aligner.count_once()
        assert len(it.of("light")) == 1


REFUSED = {
    "short dwell": (AlignSettings, {"dwell_s": 0}, "dwell_s: found 0"),
    "long dwell": (AlignSettings, {"dwell_s": 61}, "dwell_s: found 61"),
    "dwell in words": (AlignSettings, {"dwell_s": "1"}, 'dwell_s: found "1"'),
    "few bins": (AlignSettings, {"range_ns": 0.01}, "gives 0.4 bins; 2 to"),
    "divider": (AlignSettings, {"sync_divider": 3}, "sync_divider: found 3"),
    "stream": (AlignSettings, {"mode": "t3"}, 'mode: found "t3"'),
    "nonsense": (AlignSettings, {"dwel_s": 1}, "dwell_s"),
    "line": (LineSettings, {"positions": 402}, "positions: found 402"),
    "short line": (LineSettings, {"positions": 6}, "positions: found 6"),
    "half a place": (LineSettings, {"positions": 9.5}, "positions: found 9.5"),
    "no range": (LineSettings, {"half_range_um": 0}, "half_range_um: found 0"),
    "not a number": (LineSettings, {"half_range_um": math.nan}, "half_range_um: found"),
    "raster": (RasterSettings, {"positions": 102}, "positions: found 102"),
    "focus": (FocusSettings, {"by": "eye"}, 'by: found "eye"'),
    "steps": (FocusSettings, {"steps": 4}, "steps: found 4"),
    "irf": (IrfSettings, {"dwell_s": 100}, "dwell_s: found 100"),
    "background": (BackgroundSettings, {"dark": 1}, "dark: found 1"),
    "stage": (Move, {"stage": "moon", "to": [0, 0]}, 'stage: found "moon"'),
    "place": (Move, {"stage": "sample", "to": [0]}, "to"),
    "plane": (Move, {"stage": "sample", "to": [0, 0], "plane": "ecliptic"}, "plane: found"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_in_words(name: str) -> None:
    model, arguments, words = REFUSED[name]
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    with pytest.raises(InputError) as refused:
        validate(adapter, arguments, "align")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_raster_beyond_the_travel_is_refused() -> None:
    with table() as it:
        words = r"raster: half_range_um: x from -30.00 to 30.00 µm goes beyond .* reaches -25.25"
        with pytest.raises(InputError, match=words):
            it.aligner.raster(RasterSettings(half_range_um=30))
        with pytest.raises(SearchError, match="only 5 of 9 places"):
            it.aligner.cross(LineSettings(half_range_um=50, positions=9))
        assert it.aligner.is_aligning


def test_steps_before_begin_are_refused() -> None:
    with table(begin=False) as it:
        for name, step in STEPS.items():
            if name != "begin":
                with pytest.raises(InputError, match="align first"):
                    step(it)
        assert it.dark


# -- planes and places ----------------------------------------------------------------------

SIGNS = st.sampled_from([-1, 1])
UM = st.floats(-20, 20)


@given(SIGNS, SIGNS, st.floats(1, 2000), UM, UM, UM, UM)
@settings(max_examples=60, deadline=None)
def test_image_and_sample_plane_are_each_others_inverse(
    sign_x: int, sign_y: int, m: float, zero_x: float, zero_y: float, x_um: float, y_um: float
) -> None:
    base = small_profile()
    stage = base.detector_stage
    turned = stage.model_copy(
        update={
            "x": stage.x.model_copy(update={"sign": sign_x, "zero_um": zero_x}),
            "y": stage.y.model_copy(update={"sign": sign_y, "zero_um": zero_y}),
        }
    )
    optics = base.optics.model_copy(update={"magnification": m})
    profile = base.model_copy(update={"detector_stage": turned, "optics": optics})
    there = profile.stage_position_um(x_um, y_um)
    assert there == pytest.approx((zero_x + sign_x * m * x_um, zero_y + sign_y * m * y_um))
    assert sample_plane_um(profile, there) == pytest.approx((x_um, y_um), abs=1e-6)


SIGNED = (
    "detector_stage.x.sign=-1",
    "detector_stage.x.zero_um=100",
    "optics.magnification=500",
)
JOGS = {
    "sample": (["sample", False, (1.0, -2.0)], (-400.0, -1000.0)),
    "image": (["image", False, (1.0, -2.0)], (1.0, -2.0)),
    "sample by": (["sample", True, (0.5, 0.5)], (100 - 500 * 0.7, 500 * 0.9)),
    "image by": (["image", True, (50.0, -20.0)], (50.0, 180.0)),
}


@pytest.mark.parametrize("name", JOGS)
def test_jogging_by_sample_and_image(name: str) -> None:
    (plane, relative, to), expected = JOGS[name]
    with table(*SIGNED, begin=False) as it:
        it.manual.move(Move(stage="detector", to=(0.2, 0.4)))
        assert it.at.detector_stage.position_um() == pytest.approx((0.0, 200.0))
        words = it.manual.move(Move(stage="detector", to=to, plane=plane, relative=relative))
        assert it.at.detector_stage.position_um() == pytest.approx(expected)
        at_um = read_back(it.instrument, False)["values"]
        assert (at_um["detector_image_x_um"], at_um["detector_image_y_um"]) == pytest.approx(
            expected
        )
        sample_um = (at_um["detector_x_um"], at_um["detector_y_um"])
        assert sample_um == pytest.approx(((100 - expected[0]) / 500, expected[1] / 500))
        assert f"({expected[0]:.1f}, {expected[1]:.1f}) µm" in words


def test_another_zero_of_the_map() -> None:
    with table(*SIGNED) as it:
        it.aligner.find(LINE)
        stage_um = it.at.detector_stage.position_um()
        moved = recentred(it.instrument)
        it.aligner.recentre(moved)
        assert sample_plane_um(moved.profile, stage_um) == pytest.approx((0, 0), abs=1e-9)
        # nothing moves, and the peak is now at zero
        assert it.at.detector_stage.position_um() == stage_um
        result = it.aligner.cross(LINE)
        assert result.values["x_um"] == pytest.approx(0.0, abs=0.06)
        assert recentred(it.instrument, 0.5, -1.0).profile.stage_position_um(0, 0) == (
            pytest.approx((100 - 250, -500))
        )
        with pytest.raises(InputError, match="centre: x_um: .* beyond the detector stage's travel"):
            recentred(it.instrument, 99.0)


# -- readings -------------------------------------------------------------------------------


def test_everything_is_read_back() -> None:
    with table() as it:
        it.manual.move(Move(stage="sample", to=(3.0, 4.0, 0.5)))
        found = read_back(it.instrument, True, identify(it.instrument))
        assert {entry["state"] for entry in found["devices"].values()} == {"ready"}
        assert list(found["devices"]) == list(ROLE_NAMES)
        assert found["devices"]["laser"]["words"] == "emitting, 20 MHz"
        assert found["devices"]["shutter"]["words"] == "open"
        assert found["devices"]["card"]["model"] == "virtual card SIM-0"
        values = found["values"]
        assert (values["emission"], values["shutter_open"]) == (True, True)
        assert values["power_nw"] == pytest.approx(1.01, abs=0.05)
        assert (values["transmission"], values["detection_transmission"]) == (0.01, 1.0)
        assert values["sample_x_um"] == pytest.approx(3.0, abs=0.1)
        assert values["sample_z_um"] == pytest.approx(0.5, abs=0.1)
        assert values["temperature_k"] == pytest.approx(295, abs=0.1)
        assert (values["set_point_k"], values["sync_rate_hz"]) == (295.0, 20e6)
        assert values["count_rate_hz"] > 100
        rates = {"sync_rate_hz", "count_rate_hz"}
        assert values.keys() - read_back(it.instrument, False)["values"].keys() == rates


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_a_device_that_fails_is_told_and_hides_no_other(role: str) -> None:
    with table() as it:
        names = {"temperature": "thermostat"}
        getattr(it.at, names.get(role, role)).unplug()
        found = read_back(it.instrument, True)
        entry = found["devices"].pop(role)
        assert (entry["state"], entry["words"]) == ("failed", entry["error"])
        assert "does not answer" in str(entry["error"])
        assert {other["state"] for other in found["devices"].values()} == {"ready"}
        assert len(found["values"]) >= 13


def test_what_is_not_there_is_absent_or_closed() -> None:
    profile = small_profile().model_copy(update={"shutter": None, "sample_stage": None})
    states = {role: entry["state"] for role, entry in not_open(profile).items()}
    assert [role for role, state in states.items() if state == "absent"] == [
        "shutter", "sample_stage"
    ]  # fmt: skip
    assert states["laser"] == "closed"
    with connect(profile) as instrument:
        found = read_back(instrument, False)
    assert found["devices"]["shutter"]["state"] == "absent"
    assert "shutter_open" not in found["values"]


def test_without_a_shutter_the_laser_is_the_light() -> None:
    with connect(small_profile(QUICK).model_copy(update={"shutter": None})) as instrument:
        it = Table(instrument)
        it.at.shutter.set_open(True)
        it.at.clock.wait(0.1)
        it.aligner.begin(LIVE)
        assert not it.dark
        with pytest.raises(InputError, match="no shutter; measure with the laser off"):
            it.aligner.background(BackgroundSettings(dwell_s=0.2))
        it.aligner.background(BackgroundSettings(dwell_s=0.2, dark=True))
        assert not it.dark
        it.aligner.cross(LINE)
        assert it.aligner.end().laser_off
        assert it.dark
