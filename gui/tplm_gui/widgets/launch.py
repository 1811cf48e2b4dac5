"""What the forms of scans and series share: whether a run may begin, and the buttons for it."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QKeySequence, QPalette, QShortcut
from PyQt6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tplm_config import InputError, LineScan, ScanPlan, SeriesPlan, to_toml
from tplm_gui import theme, words
from tplm_gui.hub import Hub, Reply, is_running
from tplm_gui.widgets.form import ModelForm, NumberEdit, finite, number_text

if TYPE_CHECKING:
    from tplm_gui.data.maps import MapView

Kind = Literal["scan", "series"]
RECORD = ("operator", "sample", "notes")
"""Fields of a plan that say who measures what."""
HALF_PX, GAP_PX = 560, 12
"""Greatest width of a form beside another, and between the two, px."""
CHANGED = 0.05
"""A rate that changed by less than this share is not taken over anew."""


def why_not(hub: Hub) -> str:
    """Why no run can begin now, in a sentence; empty if one can."""
    status = hub.status
    if not hub.is_linked or not status:
        return "No instrument host answers yet."
    station = status.get("station")
    if is_running(status):
        whose = "" if station else " from a terminal"
        return f"A {status['doing']} goes on{whose}: {Path(status.get('path') or '').name}."
    if not station:
        return "This host only ends its own run; the next needs a station."
    if not station.get("connected"):
        return "The instrument is not connected: connect it in Instrument."
    if station.get("aligning"):
        return "Alignment goes on: end it with Dark in Align."
    job = station.get("job")
    if job:
        return f"The host is busy: {job.get('words') or job.get('kind')}."
    return ""


def wall_s(status: Mapping[str, Any], duration_s: float) -> float | None:
    """How long something takes by the wall's clock.

    None of a simulation that is as quick as the machine: nobody knows.
    """
    station = status.get("station") or {}
    speed = station.get("speed")
    if speed:
        return float(duration_s / speed)
    return None if station.get("simulated") else duration_s


def clock(after_s: float | None, now: datetime | None = None) -> str:
    """The wall's clock after some time: ``14:05``, ``Mon 14:05``; ``soon`` if nobody knows."""
    if after_s is None:
        return "soon"
    now = now or datetime.now().astimezone()
    then = now + timedelta(seconds=min(after_s, 3e9))
    if then.date() == now.date():
        return f"{then:%H:%M}"
    return f"{then:%a %H:%M}" if (then - now).days < 6 else f"{then:%d %b %Y}"


def by_the_clock(status: Mapping[str, Any], duration_s: float) -> str:
    """What a duration of the instrument is for a person, where that is something else."""
    real_s = wall_s(status, duration_s)
    if real_s is None:
        return "By the simulated clock; it runs as fast as this machine can"
    return "" if real_s == duration_s else f"{words.duration(real_s)} by the clock on the wall"


def size(count: float) -> str:
    """Bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def folder_of(hub: Hub) -> Path:
    """Where the host writes to if nobody says otherwise."""
    return Path((hub.status.get("station") or {}).get("folder") or Path.home())


def short_path(path: Path) -> str:
    """Write a path as people do, from the home folder on: ``~/films/a.h5``."""
    home = Path.home()
    if path == home:
        return "~"
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def whole_path(text: str) -> Path:
    """The path that is written from the home folder on, or whole."""
    text = text.strip()
    return Path.home() / text[2:] if text == "~" or text.startswith("~/") else Path(text or ".")


# -- what is on the disk -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Disk:
    """What a folder has for a new run.

    Attributes
    ----------
    name : str
        First free name.
    free_bytes : int or None
        Room; None if the folder cannot be asked.
    problem : str
        Why nothing can be written there, in a sentence.
    """

    name: str
    free_bytes: int | None
    problem: str = ""


def free_name(folder: Path, sample: str, suffix: str, now: datetime | None = None) -> str:
    """A name that nothing in a folder has: ``20261121_film-3_001.h5``.

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    now = now or datetime.now().astimezone()
    words = re.sub(r"[^\w.-]+", "-", sample.strip())[:40].strip("-.") or "scan"
    stem = f"{now:%Y%m%d}_{words}_"
    taken = [0]
    if folder.exists():
        pattern = re.compile(re.escape(stem) + r"(\d{1,6})")
        # any ending counts, so that a series and a scan never have the same name either
        taken += [int(m[1]) for each in folder.iterdir() if (m := pattern.match(each.name))]
    return f"{stem}{max(taken) + 1:03d}{suffix}"


def room_in(folder: Path, sample: str, suffix: str) -> Disk:
    """The first free name in a folder, and its room; it may take a while.

    A series (without a suffix) makes its folders itself; a scan does not.
    """
    try:
        if suffix and not folder.is_dir() and not folder.is_file():
            words = f"The folder {short_path(folder)} does not exist: make it, or choose another."
            return Disk("", None, words)
        name = free_name(folder, sample, suffix)
        there = next(each for each in (folder, *folder.parents) if each.exists())
        return Disk(name, shutil.disk_usage(there).free)
    except (OSError, StopIteration, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return Disk("", None, f"The folder cannot be used ({why}).")


# -- widgets -----------------------------------------------------------------------------------


class Figures(QFrame):
    """A few figures in a row, each with its name above it."""

    def __init__(self, names: Sequence[tuple[str, str]], key: str) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(18)
        grid.setVerticalSpacing(0)
        self._labels: dict[str, QLabel] = {}
        for column, (name, title) in enumerate(names):
            above = QLabel(title)
            above.setEnabled(False)
            label = self._labels[name] = QLabel(words.NONE)
            label.setObjectName(f"{key}-{name}")
            label.setFont(theme.figure_font(10.5))
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            grid.addWidget(above, 0, column)
            grid.addWidget(label, 1, column)
            grid.setColumnStretch(column, 1)

    def say(self, name: str, text: str, tip: str = "") -> None:
        """Set one of them."""
        self._labels[name].setText(text)
        self._labels[name].setToolTip(tip)


def in_scroll(widget: QWidget) -> QScrollArea:
    """A form that scrolls by itself."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    holder = QWidget()  # on a large screen the rows stay together
    column = QVBoxLayout(holder)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(widget)
    column.addStretch(1)
    area.setWidget(holder)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return area


def together(widget: QWidget) -> QHBoxLayout:
    """A row with a widget that does not spread over all of a large screen."""
    widget.setMaximumWidth(2 * HALF_PX + GAP_PX)
    row = QHBoxLayout()
    row.addWidget(widget, 1)
    row.addStretch()
    return row


class Chooser(QWidget):
    """Bundled plans, and plans from files."""

    def __init__(self, key: str, names: Sequence[str], what: str) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.box = QComboBox()
        self.box.setObjectName(f"{key}-plan")
        self.box.setAccessibleName(f"Bundled {what}")
        self.box.setToolTip(f"A {what} that comes with the program")
        self.box.addItems(list(names))
        self.box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.load = QPushButton("&Open …")
        self.load.setObjectName(f"{key}-open")
        self.load.setToolTip(f"Open a {what} from a TOML file")
        self.save = QPushButton("Sa&ve …")
        self.save.setObjectName(f"{key}-save")
        self.save.setToolTip(f"Save this {what} as a TOML file")
        label = QLabel("plan")
        label.setBuddy(self.box)
        row.addWidget(label)
        row.addWidget(self.box, 1)
        for button in (self.load, self.save):
            button.setAutoDefault(False)
            button.setFixedWidth(button.fontMetrics().horizontalAdvance("Open … ") + 24)
            row.addWidget(button)

    def name_it(self, name: str) -> None:
        """Say where the plan came from."""
        bundled_at = self.box.findText(name)
        if bundled_at < 0:
            self.box.addItem(name)
            bundled_at = self.box.count() - 1
        self.box.setCurrentIndex(bundled_at)


def choose_file(parent: QWidget, title: str, taken: Any, save: bool = False) -> QFileDialog:
    """A dialog for a TOML file that does not block."""
    dialog = QFileDialog(parent, title)
    dialog.setObjectName("choose-toml")
    dialog.setNameFilter("Plans (*.toml)")
    dialog.setDefaultSuffix("toml")
    if save:
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.fileSelected.connect(taken)
    dialog.show()
    return dialog


P = TypeVar("P", bound=ScanPlan | SeriesPlan)


def read_plan(hub: Hub, path: str, load: Callable[[str], P]) -> P | None:
    """A plan from a file; what is wrong with it is told, and gives None."""
    try:
        return load(path)
    except InputError as error:
        hub.tell("error", str(error), code="open-plan")
        return None


def write_plan(hub: Hub, path: str, plan: ScanPlan | SeriesPlan | None) -> bool:
    """Write a plan to a file, and tell; whether that went well."""
    if plan is None:
        hub.tell("error", "The plan has errors; it was not saved.", code="save-plan")
        return False
    try:
        Path(path).write_text(to_toml(plan), encoding="utf-8")
    except OSError as error:
        text = f"{path} was not written: {error.strerror}. Choose another place."
        hub.tell("error", text, code="save-plan")
        return False
    hub.tell("info", f"{path} written.", code="save-plan")
    return True


def rule() -> QWidget:
    """A line across."""
    line = QWidget()
    line.setFixedHeight(1)
    line.setAutoFillBackground(True)
    line.setBackgroundRole(QPalette.ColorRole.Mid)
    return line


def record_form() -> ModelForm:
    """A form for who measures what, which every scan has."""
    unseen = [name for name in LineScan.model_fields if name not in RECORD]
    return ModelForm(LineScan, hidden=unseen, order=RECORD)


class Assumed(QWidget):
    """Count rate and D that a prediction assumes: typed, or as they were measured last."""

    changed = pyqtSignal()

    def __init__(self, hub: Hub, key: str, rate_of: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hub = hub
        self._live_hz: float | None = None
        self._live_d: float | None = None
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self.rate = NumberEdit({"gt": 0})
        self.rate_live = QCheckBox("live")
        self.d = NumberEdit({"gt": 0})
        self.d_live = QCheckBox("live")
        self.rate.set_content("10000")
        self.d.set_content("0.01")
        for box, name, tip in (
            (self.rate, "rate", f"Count rate {rate_of} that counts and error of D assume, 1/s"),
            (self.d, "d", "Diffusivity that the error of D assumes, cm²/s"),
            (self.rate_live, "rate-live", "Take the count rate from the detector while it counts"),
            (self.d_live, "d-live", "Take D from the map that is measured, or was last"),
        ):
            box.setObjectName(f"{key}-{name}")
            box.setToolTip(tip)
            box.setAccessibleName(tip)
        for number in (self.rate, self.d):
            number.setFixedWidth(number.fontMetrics().averageCharWidth() * 13)
        for tick in (self.rate_live, self.d_live):
            tick.setChecked(True)
            tick.setEnabled(False)
            tick.toggled.connect(self._follow)
        self.rate.changed.connect(self.changed)
        self.d.changed.connect(self.changed)
        for widget in (
            QLabel("assuming"), self.rate, QLabel(f"counts/s {rate_of}"), self.rate_live,
        ):  # fmt: skip
            layout.addWidget(widget)
        layout.addSpacing(12)
        for widget in (QLabel("D"), self.d, QLabel("cm²/s"), self.d_live):
            layout.addWidget(widget)
        layout.addStretch()
        hub.light.connect(self._take_light)
        hub.readings_changed.connect(self._take_readings)
        hub.status_changed.connect(self._take_status)
        hub.map_changed.connect(self._take_map)
        self._take_readings(hub.readings)
        self._take_status(hub.status)

    def values(self) -> tuple[float, float] | None:
        """Count rate and D; None if they are not numbers above 0."""
        rate, d = finite(self.rate.content()), finite(self.d.content())
        return None if rate is None or d is None else (rate, d)

    def _take_light(self, light: dict[str, Any]) -> None:
        if not light.get("is_dark"):
            self._know_rate(light.get("count_rate_hz"))

    def _take_readings(self, readings: dict[str, Any]) -> None:
        values = readings.get("values") or {}
        if is_running(self._hub.status):
            return  # the rate is that of wherever the run looks, not of the spot
        if values.get("emission") and values.get("shutter_open"):
            self._know_rate(values.get("count_rate_hz"))

    def _take_status(self, status: dict[str, Any]) -> None:
        self._know_d(status.get("d_cm2_per_s"))

    def _take_map(self, view: "MapView | None") -> None:
        if view is not None and view.fit is not None:
            self._know_d(view.fit.d_cm2_per_s)

    def _know_d(self, d: float | None) -> None:
        if d and d > 0 and (self._live_d is None or abs(d / self._live_d - 1) > CHANGED):
            self._live_d = float(f"{d:.3g}")
            self.d_live.setEnabled(True)
            self._follow()

    def _know_rate(self, hz: float | None) -> None:
        if hz and hz > 0 and (self._live_hz is None or abs(hz / self._live_hz - 1) > CHANGED):
            self._live_hz = float(f"{hz:.3g}")
            self.rate_live.setEnabled(True)
            self._follow()

    def _follow(self) -> None:
        for box, tick, live in (
            (self.rate, self.rate_live, self._live_hz), (self.d, self.d_live, self._live_d)
        ):  # fmt: skip
            follows = tick.isChecked() and live is not None
            box.setReadOnly(follows)
            if follows and live is not None:
                box.set_content(number_text(live))


class Target(QWidget):
    """Where a run writes to: a folder, and a name in it."""

    changed = pyqtSignal()

    def __init__(self, key: str, what: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._what = what
        self._proposed = ""
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.folder = QLineEdit()
        self.folder.setObjectName(f"{key}-folder")
        self.folder.setToolTip("Folder on the machine that measures; ~ is your home folder")
        self.folder.setAccessibleName("Folder")
        self.choose = QToolButton()
        self.choose.setText("…")
        self.choose.setObjectName(f"{key}-choose-folder")
        self.choose.setToolTip("Choose the folder")
        self.choose.setAccessibleName("Choose the folder")
        self.choose.clicked.connect(self._choose)
        self.name = QLineEdit()
        self.name.setObjectName(f"{key}-name")
        self.name.setToolTip(f"Name of the {what}; a name that is taken is refused")
        self.name.setAccessibleName(f"Name of the {what}")
        self.folder.textChanged.connect(self.changed)
        self.name.textChanged.connect(self.changed)
        layout.addWidget(QLabel("folder"), 0, 0)
        layout.addWidget(self.folder, 0, 1)
        layout.addWidget(self.choose, 0, 2)
        layout.addWidget(QLabel(what), 1, 0)
        layout.addWidget(self.name, 1, 1, 1, 2)

    def propose(self, name: str) -> None:
        """Put a free name in, unless the person gave one."""
        if self.name.text() in ("", self._proposed):
            self._proposed = name
            if self.name.text() != name:
                self.name.setText(name)

    def forget(self) -> None:
        """Let the next proposal in."""
        self._proposed = self.name.text()

    def set_folder(self, folder: Path) -> None:
        """Write there."""
        if self.folder.text() != short_path(folder):
            self.folder.setText(short_path(folder))

    @property
    def is_unset(self) -> bool:
        """Whether nobody said yet where."""
        return not self.folder.text() or self.where() == Path.home()

    def where(self) -> Path:
        """The folder."""
        return whole_path(self.folder.text())

    def path(self) -> Path:
        """The whole path."""
        return self.where() / self.name.text().strip()

    def _choose(self) -> None:
        dialog = QFileDialog(self, "Where the measurement goes", str(self.where()))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda name: self.set_folder(Path(name)))
        dialog.show()


class RunBar(QWidget):
    """Start, Pause and Stop of a run, and why Start is off, in words.

    Parameters
    ----------
    hub : Hub
        Whose host carries it out.
    kind : str
        Scan or series.
    start : callable
        Begins it: ``hub.ask`` with the arguments.
    scope : QWidget
        Ctrl+Return works within it.
    """

    def __init__(
        self, hub: Hub, kind: Kind, start: Callable[[], None], scope: QWidget,
        parent: QWidget | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._hub = hub
        self._kind = kind
        self._start = start
        self._hindrance = ""
        self._said = ""
        self._is_asking = False
        self.watchdog = QCheckBox("&watchdog")
        self.watchdog.setObjectName(f"{kind}-watchdog")
        self.watchdog.setToolTip("A process of its own blocks the laser if the host dies or hangs")
        self.watchdog.setChecked(True)
        self.begin = QPushButton(f"&Start {kind}")
        self.begin.setObjectName(f"{kind}-start")
        self.pause = QPushButton("Pa&use")
        self.pause.setObjectName(f"{kind}-pause")
        self.stop = QPushButton("S&top")
        self.stop.setObjectName(f"{kind}-stop")
        self.stop.setToolTip("Finish this visit, keep everything, end")
        for button in (self.begin, self.pause, self.stop):
            button.setAutoDefault(False)
        font = self.begin.font()
        font.setBold(True)
        self.begin.setFont(font)
        self.reason = QLabel()
        self.reason.setObjectName(f"{kind}-reason")
        self.reason.setWordWrap(True)
        self.reason.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.reason.setMinimumHeight(self.reason.fontMetrics().lineSpacing() * 2)
        self.extra = QHBoxLayout()
        self.extra.setSpacing(6)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.reason, 1)
        row.addLayout(self.extra)
        row.addWidget(self.watchdog)
        row.addWidget(self.begin)
        row.addWidget(self.pause)
        row.addWidget(self.stop)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addLayout(row)
        self.begin.clicked.connect(self._begin)
        self.pause.clicked.connect(self._pause)
        self.stop.clicked.connect(lambda: hub.ask("stop"))
        keys = QShortcut(QKeySequence("Ctrl+Return"), scope)
        keys.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        keys.activated.connect(self._begin)
        hub.status_changed.connect(self._refresh)
        hub.linked.connect(self._refresh)
        theme.notifier.changed.connect(self._refresh)
        self._refresh()

    def hinder(self, words: str) -> None:
        """Say why the plan itself cannot be begun; empty: it can."""
        if words != self._hindrance:  # or a refusal would be gone before anybody read it
            self._said = ""
        self._hindrance = words
        self._refresh()

    def forgive(self) -> None:
        """Forget why the host refused: something was changed."""
        self._said = ""
        self._refresh()

    def replied(self, reply: Reply) -> None:
        """Take in what the host said to the start."""
        self._is_asking = False
        self._said = "" if reply.ok else reply.words
        self._refresh()

    def why_not(self) -> str:
        """Why Start is off; empty if it is on."""
        if self._is_asking:
            return "The host is asked …"
        return why_not(self._hub) or self._hindrance

    def _begin(self) -> None:
        if self.why_not():
            self._hub.tell("info", self.why_not(), code=f"start-{self._kind}")
            return
        self._is_asking = True
        self._said = ""
        self._refresh()
        self._start()

    def _pause(self) -> None:
        self._hub.ask("continue" if self._hub.status.get("state") == "paused" else "pause")

    def _refresh(self) -> None:
        status = self._hub.status
        runs = is_running(status, self._kind)
        why = self.why_not()
        self.begin.setEnabled(not why)
        self.begin.setToolTip(why or "Ctrl+Return")
        self.pause.setEnabled(runs)
        self.stop.setEnabled(runs)
        paused = status.get("state") == "paused"
        self.pause.setText("Contin&ue" if paused else "Pa&use")
        self.pause.setToolTip(
            "Go on where it paused" if paused else "Finish this visit, block the light, wait"
        )
        asked = status.get("requested")
        words = self._said or why
        if runs:
            words = f"It will {asked} after this visit." if asked and not paused else ""
            words = words or (f"Paused: {status.get('why') or 'asked for'}." if paused else why)
        colours = theme.colours()
        self.reason.setText(words)
        self.reason.setStyleSheet(f"color: {colours.bad if self._said else colours.dim};")
