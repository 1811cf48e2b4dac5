"""A first session at the window, driven as a person would, with a picture at each step.

The pictures of ``docs/first-session.md`` are made by it::

    python -m tplm_gui.tour

A real station on the virtual microscope is started by the real window; every button is clicked and
every field is typed into by its name. Two runs differ by the noise of the counts and of the clock.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from PIL import Image
from PyQt6.QtCore import QPoint, QSettings, Qt
from PyQt6.QtGui import QAction, QImage
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QTableWidget,
    QTabWidget,
    QWidget,
)

from tplm_daq.host import find_hosts
from tplm_gui.host.link import Link
from tplm_gui.host.spawn import Wanted
from tplm_gui.hub import Hub
from tplm_gui.window import VIEWS, Window

PICTURES = Path(__file__).parents[2] / "docs" / "images" / "window"
SPEED = 40.0
"""Times real time: a scan of eight minutes takes twelve seconds."""
SLOWER = 5.0
"""By how much it is slower where large pictures are taken while a scan goes on."""
OVERRIDES = ("simulation.seed=8", "simulation.spot_image_um=[170, -120]")
"""The detector does not look at the spot at first, as on any morning."""
SMALL, LARGE = (1366, 768), (3840, 2160)
LOOK_MS = 20
LONGEST_S = 150.0
COMMON = 96
"""Colours of a picture that are kept as they are."""
W = TypeVar("W", bound=QWidget)
hands: Any = QTest
"""Its type stubs take the first argument for ``self``."""


class TourError(Exception):
    """A step did not come about; the text says which."""


class Tour:
    """A window on a station of its own, and hands for it.

    Parameters
    ----------
    window : Window
        Shown, with all its views.
    hub : Hub
        Of the window; only looked at, for what is waited for.
    """

    def __init__(self, window: Window, hub: Hub) -> None:
        self.window = window
        self.hub = hub
        self.events: list[dict[str, Any]] = []
        hub.happened.connect(self.events.append)

    # -- hands -----------------------------------------------------------------------------

    def find(self, name: str, view: str = "") -> QWidget:
        """A widget by its name, of a certain view where several have it."""
        return self.part(QWidget, name, view)

    def part(self, kind: type[W], name: str, view: str = "") -> W:
        """A widget of a certain kind by its name."""
        place: QWidget = self.window.docks[view] if view else self.window
        found = place.findChild(kind, name)
        if found is None:
            raise TourError(f"there is no '{name}' in {view or 'the window'}")
        return found

    def click(self, name: str, view: str = "") -> None:
        """Click on something as soon as it can be clicked on."""
        widget = self.find(name, view)
        self.until(lambda: widget.isVisible() and widget.isEnabled(), f"'{name}' can be clicked")
        at = QPoint(8, widget.height() // 2) if isinstance(widget, QCheckBox) else QPoint()
        hands.mouseClick(widget, Qt.MouseButton.LeftButton, pos=at)

    def type(self, name: str, text: str, view: str = "") -> None:
        """Put a text in the place of what is in a field."""
        widget = self.find(name, view)
        widget.setFocus()
        if not isinstance(widget, QComboBox):
            hands.keyClick(widget, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        if text:
            hands.keyClicks(widget, text)
        else:
            hands.keyClick(widget, Qt.Key.Key_Delete)

    def enter(self, name: str, text: str, view: str = "") -> None:
        """Type, and press Enter."""
        self.type(name, text, view)
        hands.keyClick(self.find(name, view), Qt.Key.Key_Return)

    def show_view(self, key: str) -> None:
        """Bring a view to the front by its key."""
        number = [view.key for view in VIEWS].index(key)
        pressed = Qt.Key.Key_L if key == "log" else Qt.Key(Qt.Key.Key_1 + number)
        hands.keyClick(self.window, pressed, Qt.KeyboardModifier.ControlModifier)
        view = self.window.docks[key]
        self.until(lambda: not view.visibleRegion().isEmpty(), f"the view {key} is seen")

    def tab(self, name: str, number: int) -> None:
        """Turn to a tab within a view."""
        self.part(QTabWidget, name).setCurrentIndex(number)

    # -- eyes ------------------------------------------------------------------------------

    def until(self, ready: Callable[[], object], what: str, seconds: float = LONGEST_S) -> None:
        """Let the window live until something is so.

        Raises
        ------
        TourError
            If it is not so in time.
        """
        end_s = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end_s:
                raise TourError(f"it did not come about within {seconds:g} s that {what}")
            hands.qWait(LOOK_MS)

    def rest(self) -> None:
        """Let what was just told be drawn: the plots take turns."""
        hands.qWait(400)

    @property
    def station(self) -> dict[str, Any]:
        """What the station says of itself."""
        return self.hub.status.get("station") or {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing goes on at the station."""
        return self.hub.status.get("doing") == "station" and self.station.get("job") is None

    def do(self, kind: str, act: Callable[[], None]) -> None:
        """Do something that the host calls a job, and wait for its end.

        Raises
        ------
        TourError
            If it does not come about, or fails.
        """
        begin = len(self.events)
        act()

        def ended() -> list[dict[str, Any]]:
            return [
                event
                for event in self.events[begin:]
                if event.get("event") == "job-ended" and event["job"]["kind"] == kind
            ]

        self.until(ended, f"'{kind}' ends")
        if not ended()[0]["ok"]:
            raise TourError(f"'{kind}' failed: {ended()[0]['message']}")
        self.until(lambda: self.station.get("job") is None, f"'{kind}' is over")


# -- the steps ---------------------------------------------------------------------------------


def _opened(tour: Tour) -> None:
    tour.until(lambda: tour.hub.is_linked and tour.hub.profile is not None, "a station answers")
    tour.until(lambda: tour.hub.readings, "the station tells of its devices")


def _connected(tour: Tour) -> None:
    tour.do("connect", lambda: tour.click("instrument-connect"))
    tour.until(lambda: tour.station.get("connected"), "the instrument is connected")
    tour.until(lambda: _reading(tour, "sample_x_um") is not None, "the devices read back")


def _by_hand(tour: Tour) -> None:
    tour.do("set", lambda: tour.click("set-emission"))
    tour.until(lambda: _reading(tour, "emission"), "the laser is on")
    tour.do("set", lambda: tour.enter("value-power_nw", "2", "instrument"))
    tour.until(lambda: abs((_reading(tour, "power_nw") or 0) - 2) < 0.1, "the power reads 2 nW")
    tour.type("value-repetition_rate_hz", "5", "instrument")


def _light(tour: Tour) -> None:
    tour.type("value-repetition_rate_hz", "", "instrument")
    tour.show_view("align")
    tour.click("align-light")
    begin = len(tour.events)
    tour.until(
        lambda: sum(event.get("event") == "light" for event in tour.events[begin:]) > 50,
        "the light is counted",
    )


def _found(tour: Tour) -> None:
    tour.do("cross", lambda: tour.click("align-cross"))
    tour.do("raster", lambda: tour.click("align-raster"))
    tour.do("find", lambda: tour.click("align-find"))


def _centred(tour: Tour) -> None:
    tour.do("centre", lambda: tour.click("align-centre"))
    tour.do("cross", lambda: tour.click("align-cross"))


def _timed(tour: Tour) -> None:
    tour.do("focus", lambda: tour.click("align-focus"))
    tour.do("move", lambda: tour.enter("goto-sample-x", GLASS_UM, "instrument"))
    tour.do("irf", lambda: tour.click("align-irf"))
    tour.do("move", lambda: tour.enter("goto-sample-x", "0", "instrument"))


def _planned(tour: Tour) -> None:
    tour.click("align-dark")
    tour.until(lambda: not tour.station.get("aligning"), "it is dark")
    tour.show_view("scan")
    tour.type("operator", "Ann", "scan")
    tour.type("sample", "film 3", "scan")
    start = tour.find("scan-start", "scan")
    tour.until(start.isEnabled, "a scan can be started")


def _half_way(tour: Tour) -> None:
    tour.click("scan-start", "scan")
    tour.until(lambda: tour.hub.status.get("doing") == "scan", "the scan begins")
    tour.show_view("live")
    tour.until(lambda: _share(tour) > 0.45, "half of the scan is done")
    tour.until(lambda: tour.hub.status.get("d_cm2_per_s") is not None, "there is a D")


def _paused(tour: Tour) -> None:
    tour.click("controls-pause")
    tour.until(lambda: tour.hub.status.get("state") == "paused", "the scan pauses")


def _closing(tour: Tour) -> None:
    hands.keyClick(tour.window, Qt.Key.Key_Q, Qt.KeyboardModifier.ControlModifier)
    tour.until(lambda: tour.find("banner-stay-here").isVisible(), "the window asks")


def _finished(tour: Tour) -> None:
    tour.click("banner-stay-here")
    finals: list[bool] = []
    tour.hub.map_changed.connect(lambda view: finals.append(view.is_final))
    tour.click("controls-pause")
    tour.until(lambda: tour.is_idle, "the scan ends")
    tour.until(lambda: finals and finals[-1], "the finished map is fitted")


def _series_planned(tour: Tour) -> None:
    tour.show_view("series")
    tour.type("axes[0].power_nw", "1, 5, 10, 20", "series")
    tour.type("scan.passes", "3", "series")
    tour.type("operator", "Ann", "series")
    tour.type("sample", "film 3", "series")
    tour.until(tour.find("series-start", "series").isEnabled, "a series can be started")


def _series_running(tour: Tour) -> None:
    tour.click("series-start", "series")
    tour.until(lambda: (tour.hub.status.get("points_done") or 0) >= 2, "two points are done")
    tour.tab("series-tabs", 1)
    tour.until(lambda: 0.2 < _share(tour) < 0.9, "the third goes on")


def _series_finished(tour: Tour) -> None:
    tour.until(lambda: tour.is_idle, "the series ends")


def _compared(tour: Tour) -> None:
    tour.show_view("browse")
    last = Path(tour.station["folder"], tour.station["last"]["path"])
    scan = next(Path(tour.station["folder"]).glob("*.h5"))
    point = sorted(last.glob("*.h5"))[-1]
    for path in (scan, point):
        tour.click("browse-open")
        dialog = tour.part(QFileDialog, "browse-open-dialog")
        field = dialog.findChild(QLineEdit, "fileNameEdit")
        buttons = dialog.findChild(QDialogButtonBox)
        assert field is not None
        assert buttons is not None
        field.setText(str(path))
        button = buttons.button(QDialogButtonBox.StandardButton.Open)
        hands.mouseClick(button, Qt.MouseButton.LeftButton)
        tour.until(lambda: not dialog.isVisible(), "the file is chosen")  # noqa: B023
    table = tour.part(QTableWidget, "browse-list")
    tour.until(lambda: table.rowCount() == 2, "two files are open")
    busy = tour.part(QLabel, "browse-busy")
    tour.until(lambda: not busy.text(), "they are read")


def _fitted_anew(tour: Tour) -> None:
    tour.type("browse-method", "Gaussian", "browse")
    tour.click("browse-fit")
    tour.tab("browse-tabs", 1)
    busy = tour.part(QLabel, "browse-busy")
    tour.until(lambda: not busy.text(), "it is fitted")


def _lesson(tour: Tour) -> None:
    tour.type("log-search", "")
    tour.show_view("training")
    tour.type("training-lessons", "Something")
    seed = tour.find("training-seed", "training")
    tour.type("training-seed", LESSON_SEED)
    hands.keyClick(seed, Qt.Key.Key_Tab)
    tour.click("training-start")
    tour.until(lambda: tour.station.get("lesson"), "the lesson begins")
    tour.until(lambda: tour.find("training-judge").isVisible(), "its task is shown")


def _judged(tour: Tour) -> None:
    tour.click("training-tick-out-of-focus")
    tour.type("training-evidence-out-of-focus", "sigma0 of the fit is 420 nm, not 255")
    tour.type("training-d", "0.031")
    tour.type("training-d-stderr", "0.002")
    tour.click("training-judge")
    tour.until(lambda: tour.find("training-verdict").isVisible(), "the verdict is told")


def _logged(tour: Tour) -> None:
    tour.show_view("log")
    tour.type("log-search", "completed")


def _reading(tour: Tour, name: str) -> float | None:
    value: float | None = (tour.hub.readings.get("values") or {}).get(name)
    return value


def _share(tour: Tour) -> float:
    status = tour.hub.status
    return (status.get("visits_done") or 0) / (status.get("visits_planned") or 1)


GLASS_UM = "70"
LESSON_SEED = "3"
STEPS: tuple[tuple[str, Callable[[Tour], None]], ...] = (
    ("01-opened", _opened),
    ("02-connected", _connected),
    ("03-by-hand", _by_hand),
    ("04-light", _light),
    ("05-spot", _found),
    ("06-centred", _centred),
    ("07-time-zero", _timed),
    ("08-plan", _planned),
    ("09-half-way", _half_way),
    ("10-paused", _paused),
    ("11-closing", _closing),
    ("12-finished", _finished),
    ("13-series-plan", _series_planned),
    ("14-series-running", _series_running),
    ("15-series-finished", _series_finished),
    ("16-compared", _compared),
    ("17-fitted-anew", _fitted_anew),
    ("18-log", _logged),
    ("19-lesson", _lesson),
    ("20-verdict", _judged),
)
"""Names of the pictures, and what is done before each."""


# -- the whole of it ---------------------------------------------------------------------------


@contextmanager
def session(
    folder: Path, size: tuple[int, int], dark: bool = False, speed: float = SPEED
) -> Iterator[Tour]:
    """A window whose station writes into a folder; both end with it.

    Parameters
    ----------
    folder : Path
        Empty.
    size : tuple of int
        Of the window, pixels.
    dark : bool
        Its colours.
    speed : float
        Simulated seconds for each second.
    """
    before = Path.cwd()
    # the folder is the home of a person who is about to begin
    own = {"TPLM_RUNTIME_DIR": str(folder / "runtime"), "HOME": str(folder)}
    kept = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    data = folder / "tplm" / "first-session"
    data.mkdir(parents=True)
    os.chdir(data)  # the station writes to where it was started
    hub = Hub()
    link = Link(hub, Wanted(overrides=OVERRIDES, speed=speed))
    ini = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
    window = Window(hub, ini, link, dark)
    window.resize(*size)
    tour = Tour(window, hub)
    loaded: list[bool] = []
    window.loaded.connect(lambda: loaded.append(True))
    try:
        window.show()
        window.activateWindow()
        window.load_views()
        link.begin()
        tour.until(lambda: loaded, "the views are loaded")
        yield tour
    finally:
        gone: list[bool] = []
        window.closed.connect(lambda: gone.append(True))
        window.let_go()
        window.close()
        try:
            tour.until(lambda: gone and not find_hosts(), "window and station end", 20)
        finally:
            os.chdir(before)
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def save(window: QWidget, path: Path) -> None:
    """Save a picture of a window, small enough for a repository."""
    picture = window.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = picture.constBits()
    assert bits is not None
    data = bits.asstring(picture.sizeInBytes())
    shape = (picture.width(), picture.height())
    image = Image.frombytes("RGB", shape, data, "raw", "RGB", picture.bytesPerLine())
    # the commonest colours as they are; the rest such that a few yellow pixels keep their yellow
    counted: list[Any] = list(image.getcolors(image.width * image.height) or [])
    common = [colour for _, colour in sorted(counted, reverse=True)[:COMMON]]
    rest = image.quantize(256 - len(common), Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in common for part in colour] + rest)
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def run(
    folder: Path,
    out: Path,
    size: tuple[int, int] = SMALL,
    darks: Sequence[bool] = (False,),
    steps: int = len(STEPS),
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Do the steps and save a picture after each.

    Parameters
    ----------
    folder : Path
        Empty; for what is measured.
    out : Path
        Where the pictures go; with more than one of ``darks`` into a folder for each.
    size : tuple of int
        Of the window, pixels.
    darks : sequence of bool
        Colours: light (False), dark (True).
    steps : int
        Only the first ones.
    tell : callable
        Is told each picture.

    Raises
    ------
    TourError
        If a step does not come about.
    """
    out = out.absolute()
    speed = SPEED / SLOWER if size != SMALL else SPEED
    with session(folder, size, darks[0], speed) as tour:
        for name, step in STEPS[:steps]:
            try:
                step(tour)
            except TourError as error:
                raise TourError(f"{name}: {error}") from error
            tour.rest()
            for dark in darks:
                place = out / ("dark" if dark else "light") if len(darks) > 1 else out
                if len(darks) > 1:
                    action = tour.window.findChild(
                        QAction, f"action-colours-{'dark' if dark else 'light'}"
                    )
                    assert action is not None
                    action.trigger()
                    tour.rest()
                place.mkdir(parents=True, exist_ok=True)
                save(tour.window, place / f"{name}.png")
                tell(str(place / f"{name}.png"))


def _size(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, int]:
    width, by, height = text.partition("x")
    if not (by and width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"'{text}' is no size", param_hint="--size") from None
    return int(width), int(height)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out", default=PICTURES, type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the pictures.",
)  # fmt: skip
@click.option("--size", default="1366x768", show_default=True, callback=_size)
@click.option("--dark", is_flag=True, help="Dark colours.")
@click.option(
    "--all", "both", is_flag=True,
    help="Light and dark, at 1366x768 and at 3840x2160; --out must be given.",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1, len(STEPS)), default=len(STEPS),
    help="Only the first ones.",
)  # fmt: skip
def main(out: Path, size: tuple[int, int], dark: bool, both: bool, steps: int) -> None:
    """Go through a first session at the window and take a picture at each step."""
    if both and out == PICTURES:
        raise click.UsageError("--all makes pictures to look at, not for the pages: give --out")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    QApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs)
    app = QApplication(["tplm-gui"])
    app.setApplicationName("tplm-gui")
    app.setQuitOnLastWindowClosed(False)
    for each in (SMALL, LARGE) if both else (size,):
        place = out / f"{each[0]}x{each[1]}" if both else out
        with tempfile.TemporaryDirectory(prefix="tplm-", ignore_cleanup_errors=True) as folder:
            try:
                darks = (False, True) if both else (dark,)
                run(Path(folder), place, each, darks, steps, click.echo)
            except TourError as error:
                raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
