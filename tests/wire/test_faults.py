"""What goes wrong in mid-scan, from the wire to the exit code.

Each fault meets the whole program: real drivers, simulated instruments, five positions measured
twice. What the user is told, what state the instrument is in, and that the data are kept.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.wire.program import Act, Fault, Program, program, scan_arguments
from tplm_daq.store import read_scan
from tplm_simulators.wire import WireFault
from tplm_simulators.wire.kinesis import ServedKinesis

__all__ = ["program"]

TIMEOUT_S = 0.3
SILENT = "does not answer within 0.3 s"
LOST = "was lost"
GARBLED = "makes no sense"

QUICK = [
    "positions=5",
    "passes=2",
    "dwell_s=0.5",
    "half_range_um=1.5",
    "card.time_bin_ps=200",
    "background=none",
]
# what a fault has nothing to do with stays away, for opening it takes its time
WITHOUT = [
    "excitation={}",
    "profile:attenuator=none",
    "profile:detection_attenuator=none",
    "profile:sample_stage=none",
]
PROFILES = {"mit": WITHOUT, "lmu": WITHOUT, "purdue": ["excitation={}"]}
WITH_POWER = [
    "excitation.power_nw=1.5",
    f"profile:attenuator.driver.timeout_s={TIMEOUT_S}",
    "profile:detection_attenuator=none",
    "profile:sample_stage=none",
]
WIRES = {
    "mit": ("shutter", "laser", "power_meter", "detector_stage", "temperature"),
    "lmu": ("laser", "power_meter", "detector_stage", "temperature"),
    "purdue": ("shutter", "detector_stage", "temperature"),
}
# slow enough to be caught in mid-move by somebody who has other things to do
SLOW = {
    "mit": "profile:simulation.detector_stage.acceleration_um_per_s2=1000",
    "lmu": "profile:simulation.detector_stage.acceleration_um_per_s2=300",
    "purdue": "profile:simulation.detector_stage.acceleration_um_per_s2=300",
}


@dataclass
class Scan:
    """A scan in which something goes wrong, and what it left behind."""

    program: Program
    out: Path

    def __call__(
        self,
        profile: str,
        act: Act | None = None,
        when: str = "visit",
        more: list[str] | None = None,
        settings: list[str] | None = None,
    ) -> "Scan":
        """Measure; `settings` take the place of what a profile has by itself."""
        fault = None if act is None else Fault(act, when)
        self.program.fault = fault
        # in mid-move the clock goes slower, for the fault to come in time
        speed = f"profile:simulation.speed={20 if when == 'moving' else 60}"
        timeouts = [f"profile:{role}.driver.timeout_s={TIMEOUT_S}" for role in WIRES[profile]]
        usual = PROFILES[profile] if settings is None else settings
        self.program(
            *scan_arguments(profile, self.out, *QUICK, *usual, *timeouts, speed, *(more or []))
        )
        assert fault is None or fault.happened == [when]
        return self

    @property
    def sentence(self) -> str:
        answer = self.program.answer
        said = answer["message"] if "message" in answer else answer["error"]
        assert isinstance(said, str)
        assert "\n" not in said
        return said

    def completed(self) -> None:
        """The driver got over it by itself."""
        answer = self.program.answer
        assert self.program.code == 0, answer
        assert (answer["ending"], answer["visits_stored"]) == ("completed", 10)
        assert self.program.dark
        assert self._kept() == 10

    def failed(self, role: str, *words: str, visits: int | None = 3) -> None:
        """It is told in one sentence, the instrument is dark, and the data are kept."""
        answer = self.program.answer
        assert self.program.code == 4
        assert answer["ending"] == "failed"
        assert self.sentence.startswith(f"{role}: ")
        for word in words:
            assert word in self.sentence
        lines = self.program.err.splitlines()
        assert sum(line.startswith(f"failed: {self.sentence} (") for line in lines) == 1
        assert answer["laser_off"] is True or answer["shutter_closed"] is True
        assert self.program.dark
        assert answer["visits_stored"] == self._kept()
        assert visits is None or answer["visits_stored"] == visits

    def left_lit(self, *words: str, visits: int) -> None:
        """Nothing proves that the light is off, and that is what is shouted."""
        assert self.program.code == 4
        assert self.program.answer == {"error": self.sentence, "exit_code": 4}
        assert self.sentence.startswith("laser: THE LASER MAY STILL BE ON (laser off: ")
        for word in ("block the beam by hand", *words):
            assert word in self.sentence
        assert f"tplm: {self.sentence}" in self.program.err.splitlines()
        assert not self.program.dark
        assert self._kept() == visits

    def goes_on(self, *more: str) -> None:
        """The rest is measured by a program that is started when the fault is gone."""
        before = read_scan(self.out)
        self.program.fault = None
        options = [part for change in more for part in ("--set-profile", change)]
        answer = self.program(
            "resume", self.out, "--simulated", "--set-profile", "simulation.speed=60", *options
        )
        assert self.program.code == 0, answer
        assert answer["visits_stored"] == answer["visits_planned"] == 10
        assert self.program.dark
        after = read_scan(self.out)
        assert after.complete
        kept = before.stored
        for column in ("started_s", "live_s", "stage_x_um"):
            assert (after.columns[column][kept] == before.columns[column][kept]).all()

    def _kept(self) -> int:
        """How many visits were acknowledged; everything of them is in the file."""
        scan, records = read_scan(self.out), [event.record for event in self.program.records]
        assert np.flatnonzero(scan.stored).tolist() == [r.visit.index for r in records]
        assert scan.columns["started_s"][scan.stored].tolist() == [r.started_s for r in records]
        total = sum(int(record.counts.sum()) for record in records)
        assert scan.position_counts.sum() == total
        return len(records)


@pytest.fixture
def scan(program: Program, tmp_path: Path) -> Scan:
    return Scan(program, tmp_path / "a.h5")


# -- on the wire ------------------------------------------------------------------------------

Kind = Literal["garbled", "truncated", "late", "silent", "dropped"]
SENTENCES: dict[tuple[str, str], dict[Kind, str]] = {
    ("purdue", "shutter"): {
        "garbled": GARBLED, "truncated": GARBLED, "late": SILENT, "silent": SILENT, "dropped": LOST,
    },
    ("purdue", "detector_stage"): {  # Zaber's library discards what has a wrong checksum
        "garbled": SILENT, "truncated": SILENT, "late": SILENT, "silent": SILENT, "dropped": LOST,
    },
    ("purdue", "temperature"): {
        "garbled": GARBLED, "truncated": SILENT, "late": SILENT, "silent": SILENT, "dropped": "",
    },
    ("lmu", "laser"): {
        "garbled": GARBLED, "truncated": SILENT, "late": SILENT, "silent": SILENT, "dropped": LOST,
    },
    ("lmu", "power_meter"): {
        "garbled": GARBLED, "truncated": SILENT, "late": SILENT, "silent": SILENT, "dropped": LOST,
    },
    ("lmu", "detector_stage"): {
        "garbled": GARBLED, "truncated": SILENT, "late": SILENT, "silent": SILENT, "dropped": LOST,
    },
    ("lmu", "temperature"): {
        "garbled": GARBLED, "truncated": GARBLED, "late": SILENT, "silent": SILENT, "dropped": "",
    },
    ("mit", "laser"): {
        "garbled": GARBLED, "truncated": SILENT, "late": SILENT, "silent": SILENT, "dropped": LOST,
    },
    ("mit", "detector_stage"): {
        "garbled": GARBLED, "truncated": SILENT, "late": SILENT, "silent": SILENT, "dropped": LOST,
    },
    ("mit", "temperature"): {
        "garbled": GARBLED, "truncated": GARBLED, "late": SILENT, "silent": SILENT, "dropped": "",
    },
}  # fmt: skip
"""What is told; nothing where the driver connects again, which does no harm there."""
ALWAYS = {
    ("purdue", "shutter", "garbled"),
    ("purdue", "shutter", "dropped"),
    ("purdue", "detector_stage", "garbled"),
    ("purdue", "detector_stage", "truncated"),
    ("purdue", "detector_stage", "late"),
    ("purdue", "detector_stage", "dropped"),
    ("purdue", "temperature", "truncated"),
    ("purdue", "temperature", "dropped"),
    ("lmu", "laser", "garbled"),
    ("lmu", "laser", "late"),
    ("lmu", "laser", "dropped"),
    ("lmu", "power_meter", "late"),
    ("lmu", "detector_stage", "dropped"),
    ("mit", "detector_stage", "dropped"),
}
"""The others only with --full."""


@pytest.mark.parametrize(
    ("profile", "role", "kind"),
    [
        pytest.param(
            profile, role, kind,
            marks=() if (profile, role, kind) in ALWAYS else pytest.mark.full,
        )
        for (profile, role), sentences in SENTENCES.items()
        for kind in sentences
    ],
)  # fmt: skip
def test_a_reply_goes_wrong(scan: Scan, profile: str, role: str, kind: Kind) -> None:
    def act(program: Program) -> None:
        stage = program.microscope.detector_stage
        server = program.served(role).servers[0]
        if kind == "dropped":
            assert role != "detector_stage" or stage.is_moving()
            server.drop()
        else:
            server.fail(WireFault(kind, delay_s=1.5 * TIMEOUT_S))

    in_mid_move = kind == "dropped" and role == "detector_stage"
    when, more = ("moving", [SLOW[profile]]) if in_mid_move else ("visit", [])
    found, sentence = scan(profile, act, when, more), SENTENCES[profile, role][kind]
    if not sentence:
        found.completed()
    elif (profile, role, kind) == ("lmu", "laser", "dropped"):
        # a laser is never connected again, and this profile has no shutter
        found.left_lit(sentence, visits=3)
        found.goes_on()
    else:
        found.failed(role, sentence)
        found.goes_on()


# -- of the instruments themselves ------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("purdue", "fault FS (it stalled and stopped)"),
        ("lmu", "refused: Motion error: position error too large"),
        pytest.param("mit", "is still moving after 12 s", marks=pytest.mark.full),
    ],
)
def test_the_stage_stalls(scan: Scan, profile: str, words: str) -> None:
    def act(program: Program) -> None:
        assert program.microscope.detector_stage.is_moving()
        program.microscope.detector_stage.stall()

    patience = "profile:detector_stage.timeout_s=" + ("12" if profile == "mit" else "60")
    scan(profile, act, "moving", [SLOW[profile], patience]).failed("detector_stage", words)
    scan.goes_on()


@pytest.mark.parametrize(
    ("profile", "limit_um", "words"),
    [
        ("purdue", 200, "rejected command"),
        ("lmu", 150, "refused: Position out of limits"),
        ("mit", 12900, "the x axis ran into its limit switch at 12900.0 µm on its way to 13242.5"),
    ],
)
def test_the_stage_reports_a_limit(scan: Scan, profile: str, limit_um: int, words: str) -> None:
    # its travel is shorter than the profile has it: the fifth position lies beyond the end
    key = "simulation.detector_stage.upper_limit_um"
    scan(profile, more=[f"profile:{key}={limit_um}"])
    scan.failed("detector_stage", words, visits=4)
    scan.goes_on(f"{key}=25000")


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("mit", "heater output 1 reports an open load and has switched itself off"),
        ("lmu", "the temperature control of the sample is off, although it was on"),
    ],
)
def test_the_heater_fails(scan: Scan, profile: str, words: str) -> None:
    scan(profile, lambda program: program.microscope.thermostat.fail_heater())
    scan.failed("temperature", words)
    scan.goes_on()


def test_a_heater_that_fails_without_a_word_shows_in_the_temperatures(scan: Scan) -> None:
    # the REST interface of the newer Cryostation has no property known to us that says so
    scan("purdue", lambda program: program.microscope.thermostat.fail_heater()).completed()
    kelvin = read_scan(scan.out).columns["temperature_k"]
    assert kelvin[-1] < kelvin[0]


@pytest.mark.parametrize(
    ("profile", "settings", "words"),
    [
        ("purdue", None, "the emission went off during visit 3, which is not kept"),
        ("lmu", None, "the emission went off during visit 3, which is not kept"),
        # nothing but the light itself tells that a PDL 800-D is dark
        ("mit", WITH_POWER, "the power meter reads 0.0"),
    ],
)
def test_the_interlock_opens(
    scan: Scan, profile: str, settings: list[str] | None, words: str
) -> None:
    def act(program: Program) -> None:
        program.microscope.laser.open_interlock()

    scan(profile, act, "counting", settings=settings).failed("laser", words, "check the interlock")
    assert scan.program.microscope.laser.output_nw() == 0
    scan.goes_on()


def refuse(program: Program) -> None:
    program.microscope.laser.refuse_to_stop()


@pytest.mark.parametrize("profile", ["purdue", "mit"])
def test_the_laser_refuses_to_go_off_behind_a_shutter(scan: Scan, profile: str) -> None:
    # the shutter proves the sample dark and the scan is kept, but the laser has failed
    scan(profile, refuse)
    answer, err = scan.program.answer, scan.program.err
    assert answer["ending"] == "failed"
    assert answer["visits_stored"] == answer["visits_planned"]
    assert (answer["laser_off"], answer["shutter_closed"]) == (False, True)
    assert scan.program.microscope.laser.output_nw() > 0
    assert "warning: laser off: NO, shutter closed: yes; laser: refuses to go off" in err
    assert "block the beam by hand" in err


def test_the_laser_refuses_to_go_off_without_a_shutter(scan: Scan) -> None:
    scan("lmu", refuse).left_lit("laser off: NO", "refuses to go off", visits=10)
    scan.program.fault = None
    assert scan.program("resume", scan.out, "--simulated")["message"] == (
        "nothing was left to measure"
    )


def test_the_power_meter_is_over_range(scan: Scan) -> None:
    scan("lmu", lambda program: program.microscope.power_meter.flood(6e6))
    scan.failed("power_meter", "is over range: more light than its sensor can measure")
    scan.goes_on()


def lose_reference(program: Program) -> None:
    served = program.served("attenuator")
    assert isinstance(served, ServedKinesis)
    served.controllers[0].power_cycle()


def slip(program: Program) -> None:
    lose_reference(program)
    program.microscope.attenuator.set_transmission(1e-3)


def test_the_wheel_loses_its_position_while_the_power_is_set(scan: Scan) -> None:
    scan("lmu", lose_reference, "preparing", settings=WITH_POWER)
    scan.failed("attenuator", "the wheel has lost its reference", "to home it", visits=0)
    scan.goes_on()


def test_the_wheel_loses_its_position_and_slips(scan: Scan) -> None:
    scan("lmu", slip, settings=WITH_POWER)
    scan.failed("laser", "the power meter reads", "check the interlock, the attenuator", visits=3)
    scan.goes_on()


def test_a_wheel_that_loses_its_position_and_stays_harms_nothing(scan: Scan) -> None:
    # nobody turns it in mid-scan, and the next program to open it homes it
    scan("lmu", lose_reference, settings=WITH_POWER).completed()
    power_nw = read_scan(scan.out).columns["power_nw"]
    assert power_nw == pytest.approx(1.5, rel=0.05)
