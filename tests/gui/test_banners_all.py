"""Every banner that there can be: what it says, that it fits, goes away and takes no focus."""

import re
from dataclasses import dataclass
from functools import cache

import pytest
from PyQt6.QtCore import QSettings, Qt
from PyQt6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from tplm_gui.hub import Hub, Level, News
from tplm_gui.window import Window

from .spoken import ANY, Spoken, all_spoken

CARRIERS = {
    "gui/tplm_gui/widgets/banners.py", "gui/tplm_gui/hub.py", "gui/tplm_gui/host/link.py",
    "tplm_daq/station/aligning.py",
}  # fmt: skip
"""What hands on what others said; whatever they put in front is in the table by its code."""
NARROW = 1366
SAFE = "laser off: yes, shutter closed: yes"
NOT_SAFE = "laser off: NOT KNOWN, shutter closed: no; block the beam by hand"
BY_HAND = "block the laser beam by hand"


@dataclass(frozen=True, slots=True)
class Banner:
    """One that there can be, as it is read.

    Attributes
    ----------
    code, level, text
        As in `News`.
    advice : str
        The part that says what to do, or what is safe as it is.
    action : str
        Of its button.
    """

    code: str
    level: Level
    text: str
    advice: str
    action: str = ""


W, E, I = "warning", "error", "info"  # noqa: E741
TABLE = [Banner(*row) for row in (  # type: ignore[arg-type]
    # the host and the link
    ("host", E, ("the host (process 4711) has not answered for 5 s: it is stopped or stuck. Its "
     "watchdog blocks the laser; look whether it is blocked, and if in doubt, block the laser beam "
     "by hand. What was measured is kept. This window goes on asking."), BY_HAND),
    ("host", E, ("the host (process 4711) has ended without a word or was killed. Every finished "
     "visit is kept in its file, and the watchdog blocks the laser; look whether it is blocked, "
     "and if in doubt, block the laser beam by hand. Then start again and resume the file."),
     "start again and resume the file", "Start again"),
    ("host", I, "the host answers again; nothing was lost, it is in the log", "nothing was lost"),
    ("host", I, "the station has ended", "Start again", "Start again"),
    ("host", I, "the scan film.h5 from a terminal is over: completed", "Look for a run",
     "Look for a run"),
    ("host", E, ("station: it ended while starting (exit code 4): the card is used by another "
     "program; nothing was switched on by this window"), "nothing was switched on", "Try again"),
    ("profile", W, ("the profile of the host is not usable here: laser.colour: no such "
     "key; its run goes on: use a window of its version"),
     "use a window of its version"),
    ("ask-set", E, "limits: 12 nW is more than allowed; at most 10 nW", "at most 10 nW"),
    ("job-connect", E, "shutter: no port /dev/ttyUSB3; see that it is plugged in and switched on",
     "see that it is plugged in"),
    ("job-raster", E, "raster failed: ValueError: a defect (laser off: yes, shutter closed: yes)",
     "laser off: yes"),
    ("run", E, "the scan failed: shutter: it did not close within 2 s; look at its cable",
     "look at its cable"),
    ("asked-stop", I, ("Stop: the run ends after this visit, whose dwell is 10 s; all that is "
     "measured is kept"), "is measured is kept"),
    ("asked-emergency", W, "Emergency: the laser is blocked before all else; then the run ends",
     "the laser is blocked"),
    ("emergency", E, f"emergency: {NOT_SAFE}", "block the beam by hand"),
    ("closing", W, "A run goes on. It does not need this window; a new one finds it again.",
     "does not need this window"),
    ("defect", E, ("this window has a defect (ValueError: a wrong turn); the run is another "
     "process and is not touched by it. The details are in "
     "/home/u/.local/state/tplm/windows/defects.log"),
     "is not touched"),
    # the station
    ("aligning", E, f"counting live ended: card: it does not answer; look at its cable ({SAFE})",
     "laser off: yes"),
    ("station", E, "laser: it does not answer; look at its cable; every device was let go",
     "every device was let go"),
    ("station", E, "the station ends by a defect: KeyError: 'x'", "the station ends"),
    ("unattended", W, ("nobody has been there for 60 s, so the light was switched off: "
     "laser off: yes, shutter closed: yes"), "the light was switched off"),
    ("safe-state", E, NOT_SAFE, "block the beam by hand"),
    ("safe-state", W, NOT_SAFE, "block the beam by hand"),
    ("too-bright", W, ("detector: 2.1e+06 counts/s are more than the 1e+06 counts/s it bears, the "
     "shutter was closed; open the shutter, or align, again with less of it"), "with less of it"),
    ("sync", W, "no sync pulses come; look at the laser's trigger output and its cable", "look at"),
    ("emission", W, ("the emission is off, so the shutter was closed; if nobody switched it off, "
     "look at the interlock, then align again"), "look at the interlock"),
    ("range", W, ("the time range ends 400 ns after a pulse, but the next one comes after 200 ns; "
     "a scan would need a shorter range or fewer pulses"), "a shorter range"),
    ("sample-stage", W, ("sample stage: it did not come back to x 0 y 0 µm; look at it before the "
     "next scan"), "look at it"),
    ("channel", W, "commands were refused: the token is wrong or missing (3 so far)", "refused"),
    # runs
    ("card-flags", W, "the card reports FIFO overrun in visit 7: counts are lost; lower the light",
     "lower the light"),
    ("disk", W, "the disk cannot follow the records; the run waits for it in the dark", "waits"),
    ("pile-up", W, ("3.1e+05 counts/s in visit 7 are 12.4% of the pulses; above 5% the first "
     "photons hide later ones: lower the light, or analyse with --pile-up coates"),
     "lower the light"),
    ("power", W, ("the power meter reads 1.20 nW after 40 visits and 1.00 nW were set; places "
     "measured with different light spoil D: look at the laser, or let the plan pause the "
     "run ([conditions.power])"),
     "look at the laser"),
    ("records", W, "film.ptu could not be closed properly (No space left on device)", "closed"),
    ("temperature", W, ("the temperature was 295.00 K when the run began and is 297.10 K now; look "
     "at the heater and the set point"), "look at the heater"),
    ("not-packed", W, "film.h5 is whole, but could not be packed (No space left on device)",
     "is whole"),
    ("observer", E, ("LiveFit failed and is no longer told of events: ValueError: x; the "
     "measurement goes on"), "the measurement goes on"),
    ("watchdog", W, "the watchdog has ended; nothing blocks the laser if this process dies now",
     "blocks the laser"),
    # series
    ("fault", E, "point 3 (2 nW), attempt 1: shutter: it did not close; tried again in 60 s",
     "tried again"),
    ("manifest", W, "series.json could not be written (No space left on device); it is tried again",
     "tried again"),
    ("notify", W, "nobody could be told: the mail server does not answer; the series goes on",
     "goes on"),
    ("result", E, "p003.h5 is measured, but could not be analysed: too few counts", "is measured"),
    ("set-aside", W, ("p003.h5 was measured with settings that the plan no longer asks for; it "
     "stays"), "it stays"),
    ("spoilt", E, "p003.h5 is damaged; it stays as it is, and its point is measured again",
     "is measured again"),
    ("summary", W, ("results.csv could not be written (it is open elsewhere); it is tried again "
     "later"), "tried again"),
    ("summary", E, ("no further point can be proposed: singular matrix; what is measured is kept"),
     "what is measured is kept"),
    ("goal", W, ("at this light 5 % on D needs about 43 min more, but its 10 passes end in about 7 "
     "min, with D known to ± 0.001 cm²/s; more light, more passes or a longer time limit would "
     "help"), "would help"),
    ("summary", E, "the summary is not whole: results.csv: No space left on device", "not whole"),
    ("summary", E, "there is no new picture: the disk is full", "no new picture"),
    # views
    ("browse-again", W, ("film.h5 was measured on another instrument than this one: magnification "
     "100 here 60. Its plan is in the form: look it over before you start."), "look it over"),
    ("browse-again", I, ("film.h5 does not say on which instrument it was measured; its plan is in "
     "the form."), "in the form"),
    ("browse-export", W, "Written without errors of the counts.", "Written"),
    ("browse-export", I, "film.csv written.", "written"),
    ("browse-export", E, "film.csv: no room left; choose another place.", "choose another"),
    ("browse-fit", E, "film.h5: fewer than five positions; measure more.", "measure more"),
    ("browse-most", I, "8 files are compared at most; untick another.", "untick another"),
    ("browse-open", E, "a.h5: this is not a scan file; choose a file that tplm has written.",
     "choose a file"),
    ("browse-plot", E, "a.svg was not written: no room left", "not written"),
    ("browse-save", I, "The result is kept in film.h5 as fit-3.", "is kept"),
    ("browse-save", E, "film.h5: it is being measured; save when the run has ended.", "save when"),
    ("export", E, "a.csv was not written: no room left", "not written"),
    ("instrument", W, "Nominal power: 12 nW is more than 10 nW, which the profile allows.",
     "the profile allows"),
    ("live-map", W, ("The live map cannot be shown: film.h5: no such file. What is measured is not "
     "affected."), "is not affected"),
    ("live-map", W, ("What reads the live map ended by itself (code -9) and is started again. What "
     "is measured is not affected."), "is started again"),
    ("log-save", I, "the log was saved to /home/u/a.log", "saved"),
    ("log-save", E, ("the log was not saved to /home/u/a.log (Permission denied); choose another "
     "place"), "choose another place"),
    ("open-plan", E, "a.toml: positions: 3 is too few; at least 5", "at least 5"),
    ("save-plan", E, "The plan has errors; it was not saved.", "has errors"),
    ("save-plan", I, "/home/u/a.toml written.", "written"),
    ("save-plan", E, "/home/u/a.toml was not written: Permission denied. Choose another place.",
     "Choose another place"),
    ("start-scan", I, "The instrument is not connected: connect it in Instrument.", "connect it"),
    ("training", E, "the lesson was not started: quit: a run goes on; stop it first", "stop it"),
    ("training", E, ("This window cannot start a station. In a terminal: tplm host --lesson "
     "something-is-wrong --seed 3"), "In a terminal"),
    ("training", E, "The station has a lesson that is unknown here: film.", "unknown here"),
    ("training", W, "film.h5 gives no D. Fewer than five positions.", "gives no D"),
    ("training", I, "No scan was measured yet; D can be typed.", "can be typed"),
    ("training", E, "film.h5: no such file.", "no such file"),
)]  # fmt: skip


@cache
def spoken() -> tuple[Spoken, ...]:
    return tuple(
        one for one in all_spoken()
        if not (one.code == ANY and one.where.split(":")[0] in CARRIERS) and one.text
    )  # fmt: skip


def test_what_is_found_in_the_program_is_not_nothing() -> None:
    assert len(spoken()) > 60
    assert {one.where.split("/")[0] for one in spoken()} == {"gui", "tplm_daq"}


@pytest.mark.parametrize("one", spoken(), ids=lambda one: one.where)
def test_whatever_the_program_says_is_in_the_table(one: Spoken) -> None:
    assert any(
        re.fullmatch(one.code, banner.code)
        and re.fullmatch(one.text, banner.text)
        and one.level in ("", banner.level)
        for banner in TABLE
    ), f"{one.where} says something new (code {one.code}): put it into the table"


@pytest.mark.parametrize("banner", TABLE, ids=lambda b: f"{b.code}-{b.level}")
def test_the_table_has_nothing_that_is_never_said(banner: Banner) -> None:
    assert any(
        re.fullmatch(one.code, banner.code) and re.fullmatch(one.text, banner.text)
        for one in spoken()
    )


@pytest.fixture
def bare(qtbot: QtBot, hub: Hub, settings: QSettings) -> Window:
    window = Window(hub, settings)
    qtbot.addWidget(window)
    window.resize(NARROW, 768)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    return window


def test_each_fits_goes_away_and_takes_no_focus(qtbot: QtBot, bare: Window, hub: Hub) -> None:
    field = QLineEdit(bare)
    field.show()
    field.setFocus()
    for banner in TABLE:
        assert len(banner.text.split()) >= 2
        assert banner.advice in f"{banner.text} {banner.action}", banner.text
        acted: list[bool] = []
        act = (lambda acted=acted: acted.append(True)) if banner.action else None
        hub.news.emit(News(banner.level, banner.text, banner.code, action=banner.action, act=act))
        (bar,) = bare.banners.bars
        assert bar.isVisible()
        assert bare.width() == NARROW
        label = bar.text
        # wrapped, and every line of it seen
        assert label.wordWrap()
        qtbot.waitUntil(lambda label=label: label.height() >= label.heightForWidth(label.width()))
        for part in (label, bar.dismiss, *bar.buttons):
            corner = part.mapTo(bare, part.rect().bottomRight())
            assert corner.x() < NARROW, banner.text
            assert corner.y() < 250, banner.text
        assert bare.focusWidget() is field
        qtbot.keyClicks(field, "a")
        if banner.action:
            qtbot.mouseClick(bar.buttons[0], Qt.MouseButton.LeftButton)
            assert acted == [True]
        else:
            qtbot.mouseClick(bar.dismiss, Qt.MouseButton.LeftButton)
        assert bare.banners.bars == ()
        assert bare.focusWidget() is field
    assert field.text() == "a" * len(TABLE)


@pytest.mark.parametrize(
    "text",
    ["x" * 300, "x" * 3000, "/data" * 200, "word " * 2000, "two\nlines\n" * 50, "<b>&amp;" * 30,
     "Gerät «Wärmebühne» 测量 \u202eright to left\u202c 😀", "\x00\x1b[31m"],
)  # fmt: skip
def test_text_without_end_or_sense_neither_widens_nor_covers_the_window(
    qtbot: QtBot, bare: Window, hub: Hub, text: str
) -> None:
    """A path of many folders, or what a broken driver says."""
    hub.tell("error", f"{text}: no such file", "browse-open")
    (bar,) = bare.banners.bars
    qtbot.waitUntil(bar.isVisible)
    assert bare.width() == NARROW
    for part in (bar.text, bar.dismiss):
        assert part.mapTo(bare, part.rect().topRight()).x() < NARROW
    assert bar.height() < 200
    assert text in bar.accessibleName()
    assert bar.text.toolTip().endswith(": no such file</qt>")
