"""Lessons: drawn anew the same, judged fairly, every fault found with the application's tools."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from tplm_analysis import MapFit
from tplm_config import (
    Background,
    CardSettings,
    Centring,
    Excitation,
    Focus,
    InputError,
    LineScan,
    ScanPlan,
    load_profile,
    parse_profile,
    to_toml,
)
from tplm_config.simulation import FilmSettings
from tplm_daq.analysis import fit_scan
from tplm_daq.events import Centred, Event, Notice
from tplm_daq.host import HostClient
from tplm_daq.runner import Runner
from tplm_daq.session import begin, measure
from tplm_daq.station import Station
from tplm_daq.store import read_scan
from tplm_daq.store.layout import KINDS
from tplm_daq.training import (
    FAULTS,
    LESSONS,
    FaultKey,
    Hidden,
    Lesson,
    draw_lesson,
    lesson_of,
)
from tplm_drivers import DeviceError, connect

SEEDS = range(40)
FILM = FilmSettings(d_slow_cm2_per_s=0.03)
"""The film of the numbers in `FAULTS`."""
LOOK = LineScan(
    half_range_um=1.0, positions=9, dwell_s=2.0, passes=2,
    background=Background(dwell_s=5.0, when="before"),
)  # fmt: skip
"""A quick look with what is on the instrument."""


@dataclass(frozen=True)
class Look:
    """What a scan showed."""

    fit: MapFit
    centred: list[Centred]
    warned: set[str]
    power_nw: float
    sync_hz: float
    dark_hz: float
    decay: Any
    t_ns: Any


def look(lesson: Lesson, plan: ScanPlan = LOOK) -> Look:
    """Measure a plan on a lesson's microscope."""
    events: list[Event] = []
    with (
        TemporaryDirectory() as folder,
        connect(lesson.apply(load_profile("simulated"))) as instrument,
    ):
        with begin(instrument, plan, Path(folder) / "look.h5") as writer:
            outcome = measure(Runner(), instrument, writer, [events.append])
        if outcome.error is not None:
            raise outcome.error
        scan = read_scan(Path(folder) / "look.h5")
        at = scan.columns["position_index"] >= 0
        dark = np.flatnonzero(scan.columns["kind"] == KINDS.index("background"))
        live_s = scan.columns["live_s"][dark].sum()
        return Look(
            fit=fit_scan(scan),
            centred=[event for event in events if isinstance(event, Centred)],
            warned={event.code for event in events if isinstance(event, Notice)},
            power_nw=float(scan.columns["power_nw"][at].mean()),
            sync_hz=float(scan.columns["sync_rate_hz"][at].mean()),
            dark_hz=float(scan.histograms(dark).sum() / live_s) if live_s else math.nan,
            decay=scan.map().counts.sum(axis=0),
            t_ns=scan.header.t_ns,
        )


@cache
def seen(name: str, plan: ScanPlan = LOOK) -> Look:
    """What one sees in a lesson."""
    return look(draw_lesson(name, 1), plan)


def amount(name: str) -> Any:
    """The hidden number of a practice lesson."""
    (hidden,) = draw_lesson(name, 1).hidden
    (value,) = hidden.changes.values()
    return value


# -- drawing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LESSONS)
def test_the_same_again(name: str) -> None:
    course = LESSONS[name]
    drawn = [draw_lesson(name, seed) for seed in SEEDS]
    assert drawn == [draw_lesson(name, seed) for seed in SEEDS]
    assert [lesson_of(lesson.id) for lesson in drawn] == drawn
    assert len({lesson.sample for lesson in drawn}) == len(drawn)
    for lesson in drawn:
        keys = [hidden.key for hidden in lesson.hidden]
        assert course.fewest <= len(keys) <= course.most
        assert len(set(keys)) == len(keys)
        assert course.fault is None or keys == [course.fault]


def test_every_fault_comes_by_chance() -> None:
    wrong = {draw_lesson("something-is-wrong", seed).hidden[0].key for seed in range(100)}
    assert wrong == set(FAULTS)
    numbers = {len(draw_lesson("a-bad-day", seed).hidden) for seed in SEEDS}
    assert numbers == {2, 3}


@pytest.mark.parametrize("pair", [
    {"sync-divider", "repetition-rate"},
    {"time-window", "repetition-rate"},
    {"misaligned", "drifting"},
])  # fmt: skip
def test_faults_that_would_hide_each_other_never_come_together(pair: set[str]) -> None:
    for seed in range(200):
        assert not pair <= {hidden.key for hidden in draw_lesson("a-bad-day", seed).hidden}


@pytest.mark.parametrize("name", ["", "nonsense", "first light"])
def test_no_such_lesson(name: str) -> None:
    with pytest.raises(InputError, match="first-light"):
        draw_lesson(name)


@pytest.mark.parametrize("id_", ["", "first-light", "first-light:", "first-light:x", "x:1"])
def test_no_such_id(id_: str) -> None:
    with pytest.raises(InputError):
        lesson_of(id_)


@pytest.mark.parametrize("profile", ["simulated", "mit", "lmu", "purdue"])
@pytest.mark.parametrize("seed", [0, 1, 2, -3])
def test_any_profile_takes_a_lesson(profile: str, seed: int) -> None:
    before = load_profile(profile)
    after = draw_lesson("a-bad-day", seed).apply(before)
    assert parse_profile(to_toml(after), "lesson") == after
    # nothing but what is hidden in the simulation has changed
    assert after.model_copy(update={"simulation": before.simulation}) == before


@pytest.mark.parametrize("name", [n for n, c in LESSONS.items() if c.fault is None])
@pytest.mark.parametrize("seed", [0, 5])
def test_the_task_gives_nothing_away(name: str, seed: int) -> None:
    lesson = draw_lesson(name, seed)
    told = f"{lesson.task} {lesson.title} {to_toml(lesson.plan)}"
    assert f"{lesson.d_true_cm2_per_s:.3g}" not in told
    for hidden in lesson.hidden:
        assert hidden.amount not in told
        assert FAULTS[hidden.key].title not in told


def test_the_true_d_is_what_the_microscope_has() -> None:
    lesson = draw_lesson("first-light", 3)
    plan = lesson.plan.model_copy(update={"dwell_s": 2.0})
    found = look(lesson, plan).fit
    assert found.d_cm2_per_s is not None
    assert found.d_stderr_cm2_per_s is not None
    off = found.d_cm2_per_s - lesson.d_true_cm2_per_s
    assert abs(off) < 3 * found.d_stderr_cm2_per_s < 0.3 * lesson.d_true_cm2_per_s


# -- judging -----------------------------------------------------------------------------------

LESSON = Lesson(
    LESSONS["a-bad-day"], 0, FilmSettings(d_cm2_per_s=0.04),
    (Hidden("out-of-focus", "z", {}), Hidden("room-light", "a lamp", {})),
)  # fmt: skip


@pytest.mark.parametrize(("found", "right", "missed", "false_alarms"), [
    ([], [], ["out-of-focus", "room-light"], []),
    (["out-of-focus", "room-light"], ["out-of-focus", "room-light"], [], []),
    (["room-light", "drifting"], ["room-light"], ["out-of-focus"], ["drifting"]),
    (list(FAULTS), ["out-of-focus", "room-light"], [],
     [key for key in FAULTS if key not in ("out-of-focus", "room-light")]),
])  # fmt: skip
def test_found_and_missed(
    found: list[str], right: list[str], missed: list[str], false_alarms: list[str]
) -> None:
    verdict = LESSON.judge(found, 0.0401, 0.001)
    assert list(verdict.right) == right
    assert list(verdict.missed) == missed
    assert list(verdict.false_alarms) == false_alarms
    assert verdict.passed is (not missed and not false_alarms)
    for key in (*missed, *false_alarms):
        assert FAULTS[key].title in verdict.words  # type: ignore[index]
    assert [fault.amount for fault in verdict.faults] == ["z", "a lamp"]


@pytest.mark.parametrize(("d", "error", "agrees"), [
    (None, None, None),
    (0.04, None, True),
    (0.0419, None, True),   # within 5 %
    (0.0421, None, False),
    (0.0439, 0.002, True),  # within two standard errors
    (0.0441, 0.002, False),
    (0.04, 0.0121, False),  # says too little
    (0.0, 0.001, False),
    (0.05, 0.0, False),
])  # fmt: skip
def test_d_is_judged(d: float | None, error: float | None, agrees: bool | None) -> None:
    verdict = LESSON.judge(["out-of-focus", "room-light"], d, error)
    assert verdict.d_agrees is agrees
    assert verdict.passed is (agrees is True)
    assert "0.04 cm²/s" in verdict.d_words


@pytest.mark.parametrize(("found", "d", "error"), [
    (["nonsense"], None, None),
    ([], math.nan, None),
    ([], math.inf, None),
    ([], -1.0, None),
    ([], 0.01, math.nan),
])  # fmt: skip
def test_what_cannot_be_judged(found: list[str], d: float | None, error: float | None) -> None:
    with pytest.raises(InputError):
        LESSON.judge(found, d, error)


def test_a_verdict_goes_over_the_channel() -> None:
    verdict = draw_lesson("a-bad-day", 1).judge(["drifting"], 0.01, 0.001)
    plain = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert plain["words"] == verdict.words
    assert {*plain["faults"][0]} == {
        "key", "title", "amount", "sees", "finds", "effect", "cure"
    }  # fmt: skip


def test_a_station_has_a_lesson_and_judges_it() -> None:
    lesson = draw_lesson("a-bad-day", 1)
    with Station(lesson.apply(load_profile("simulated")), lesson=lesson) as station:
        assert station.entry is not None
        with HostClient(station.entry) as client:
            told = client.ask("status")["status"]["station"]
            assert lesson_of(told["lesson"]["id"]) == lesson
            assert told["lesson"]["title"] == lesson.title
            assert "simulation" not in told["profile_toml"]
            given = {"found": ["drifting"], "d_found": 0.01, "d_stderr": 0.001}
            answer = client.ask("judge", given)
            verdict = lesson.judge(["drifting"], 0.01, 0.001)
            assert answer["result"] == json.loads(json.dumps(verdict.to_dict()))
            assert client.ask("status")["status"]["station"]["lesson"] is None


# -- finding -----------------------------------------------------------------------------------

CENTRED = LOOK.model_copy(
    update={"centring": Centring(half_range_um=1.5, positions=15, dwell_s=0.2)}
)
FOCUSED = CENTRED.model_copy(
    update={"centring": CENTRED.centring.model_copy(update={"focus": Focus()})}  # type: ignore[union-attr]
)


def test_misaligned() -> None:
    """A cross finds the peak where it was hidden; without the fault at the zero."""
    magnification = load_profile("simulated").optics.magnification
    for name, (x_um, y_um) in (
        ("misaligned", amount("misaligned")), ("first-light", (0.0, 0.0))
    ):  # fmt: skip
        at = seen(name, CENTRED).centred[0]
        # the stage arrives within half a micrometre of the image
        slack_um = 3 * math.hypot(at.x_stderr_um, 0.5 / magnification)
        assert abs(at.x_um - x_um) < slack_um < 0.05
        assert abs(at.y_um - y_um) < slack_um
    assert "off-centre" in {w.code for w in seen("misaligned").fit.warnings}
    assert "off-centre" not in {w.code for w in seen("first-light").fit.warnings}


def test_out_of_focus() -> None:
    """The focus helper goes to where the focus was hidden; σ0 is wide until then."""
    for name, z_um in (("out-of-focus", amount("out-of-focus")), ("first-light", 0.0)):
        at = seen(name, FOCUSED).centred[0]
        assert at.z_um is not None
        assert at.z_um == pytest.approx(z_um, abs=0.1)
    blurred, sharp = seen("out-of-focus").fit, seen("first-light").fit
    assert sharp.sigma0_nm == pytest.approx(255, abs=15)
    assert blurred.sigma0_nm is not None
    assert blurred.sigma0_nm > 1.5 * 255
    assert seen("out-of-focus", FOCUSED).fit.sigma0_nm == pytest.approx(255, abs=15)


def test_drifting() -> None:
    """Two crosses some minutes apart tell how fast it goes."""
    plan = CENTRED.model_copy(
        update={
            "dwell_s": 8.0,
            "centring": CENTRED.centring.model_copy(update={"every_visits": 9}),  # type: ignore[union-attr]
        }
    )
    for name, (x, y) in (("drifting", amount("drifting")), ("first-light", (0.0, 0.0))):
        first, *_, last = seen(name, plan).centred
        hours = (last.time_s - first.time_s) / 3600
        error = 1e3 * math.hypot(first.x_stderr_um, last.x_stderr_um, 1.4e-3) / hours
        assert (last.x_um - first.x_um) * 1e3 / hours == pytest.approx(x, abs=3 * error)
        assert (last.y_um - first.y_um) * 1e3 / hours == pytest.approx(y, abs=3 * error)
        assert error < 800


def test_too_much_power() -> None:
    """The power meter tells, and so do the counts per pulse."""
    assert seen("too-much-power").power_nw == pytest.approx(
        100 * amount("too-much-power"), rel=0.05
    )
    assert seen("first-light").power_nw == pytest.approx(1, rel=0.05)
    assert "pile-up" in seen("too-much-power").warned
    assert "pile-up" not in seen("first-light").warned
    cured = LOOK.model_copy(update={"excitation": Excitation(power_nw=1.0)})
    assert seen("too-much-power", cured).power_nw == pytest.approx(1, rel=0.05)


def test_sync_divider() -> None:
    """No scan begins; with a divider the same scan does."""
    with pytest.raises(DeviceError, match="no sync pulses"):
        look(draw_lesson("sync-divider", 1))
    cured = LOOK.model_copy(update={"card": CardSettings(sync_divider=4)})
    assert seen("sync-divider", cured).sync_hz == pytest.approx(2.5e6)


def test_repetition_rate() -> None:
    """The sync rate tells; there is light before the rising edge."""
    wrong, good = seen("repetition-rate"), seen("first-light")
    assert wrong.sync_hz == pytest.approx(amount("repetition-rate"), rel=0.01)
    assert good.sync_hz == pytest.approx(2.5e6)

    def before(one: Look) -> float:
        return float(one.decay[one.t_ns < 1.5].mean() / one.decay.max())

    assert before(wrong) > 10 * before(good)
    cured = LOOK.model_copy(update={"excitation": Excitation(repetition_rate_hz=2.5e6)})
    assert seen("repetition-rate", cured).sync_hz == pytest.approx(2.5e6)


def test_room_light() -> None:
    """The background with the light blocked tells; dark it would be 50 of the room, 50 dark."""
    lamp_hz = amount("room-light") + 50
    # in the 25.6 ns of the window of 400 ns
    share = 25.6 / 400
    assert seen("room-light").dark_hz == pytest.approx(lamp_hz * share, rel=0.1)
    assert seen("first-light").dark_hz == pytest.approx(100 * share, abs=5)


def test_time_window() -> None:
    """The decay is brightest late; with an offset it begins early and the lifetime comes out."""
    wrong = seen("time-window")
    assert wrong.t_ns[wrong.decay.argmax()] == pytest.approx(amount("time-window") / 1e3, abs=0.5)
    assert wrong.t_ns[wrong.decay.argmax()] > 0.8 * 25.6
    cured = LOOK.model_copy(update={"card": CardSettings(offset_ns=20.0)})
    found = seen("time-window", cured)
    assert found.t_ns[found.decay.argmax()] < 20 + 0.2 * 25.6
    assert found.fit.lifetime_1e_ns is not None


# -- what it does to D -------------------------------------------------------------------------

EFFECTS: Mapping[FaultKey | str, tuple[tuple[str, str], Any, float, float]] = {
    # what is changed, by how much: D over the true D, error bar over that of a good instrument
    "misaligned": (("", "spot_image_um"), (0.35, 0.35), 1.0, 1.4),
    "out-of-focus": (("", "focus_z_um"), 1.5, 1.0, 5.1),
    "drifting": (("laser", "drift_nm_per_h"), (3000.0, 0.0), 1.20, 1.14),
    "drifting against": (("laser", "drift_nm_per_h"), (-3000.0, 0.0), 0.86, 0.88),
    "too-much-power": (("attenuator", "start_transmission"), 0.25, 4.6, 1.1),
    "repetition-rate": (("laser", "start_rate_hz"), 34e6, 1.02, 1.13),
    "room-light": (("detection", "ambient_rate_hz"), 15e3, 1.0, 1.44),
    "time-window": (("detection", "time_zero_ps"), 22.6e3, 1.0, 2.4),
}


def several(changes: Mapping[tuple[str, str], Any]) -> tuple[float, float, float]:
    """Mean of D over the true D with its standard error, and mean error bar, of four lessons."""
    hidden = (Hidden("misaligned", "", changes),) if changes else ()
    lessons = [Lesson(LESSONS["first-light"], seed, FILM, hidden) for seed in range(1, 5)]
    fits = [look(lesson, lesson.plan).fit for lesson in lessons]
    d = np.array([fit.d_cm2_per_s for fit in fits]) / lessons[0].d_true_cm2_per_s
    error = np.array([fit.d_stderr_cm2_per_s for fit in fits])
    return float(d.mean()), float(d.std(ddof=1) / 2), float(error.mean())


@cache
def good() -> float:
    """Error bar of a good instrument."""
    return several({})[2]


@pytest.mark.full
@pytest.mark.parametrize("key", EFFECTS)
def test_what_a_fault_does_to_d(key: str) -> None:
    """The numbers in the sentences of `FAULTS`."""
    where, value, d_ratio, error_ratio = EFFECTS[key]
    d, scatter, error = several({where: value})
    assert error / good() == pytest.approx(error_ratio, rel=0.1)
    # σ of the mean of four: as scattered, but not less than the error bars say
    sure = max(scatter, error / 2 / 0.03)
    assert d == pytest.approx(d_ratio, abs=0.01 * d_ratio + 2.5 * sure)


def test_the_page_names_every_lesson_and_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    for name, course in LESSONS.items():
        assert f"`{name}`" in page
        assert course.fault is None or FAULTS[course.fault].title in page
