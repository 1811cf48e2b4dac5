"""Lessons: something is wrong with the virtual microscope, and the trainee finds out what.

Which lesson goes on is what the station says; what is wrong is told only with its verdict.
"""

import html
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from PyQt6.QtCore import QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QHideEvent
from PyQt6.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from tplm_config import InputError
from tplm_daq.host.entries import runtime_folder
from tplm_daq.training import FAULTS, LESSONS, Lesson, lesson_of
from tplm_gui import theme
from tplm_gui.data import opened
from tplm_gui.data.background import Background
from tplm_gui.hub import Hub, Reply
from tplm_gui.widgets.parts import NumberField
from tplm_gui.words import plus_minus

MOST_SEED = 9999
GIVEN_UP = "Given up"
KEEP_MS = 400
"""From the last key to writing the notes down."""
WIDEST_PX = 900
"""Lines of text longer than this are hard to read."""


class TrainingView(QWidget):
    """Choosing a lesson, the list of suspicions, and the verdict."""

    TITLE: ClassVar[str] = "Training"
    KEY: ClassVar[str] = "training"

    lesson_requested = pyqtSignal(str, int)
    """A new station with this lesson and seed is wanted."""

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(self.KEY)
        self.hub = hub
        self.background = Background(self)
        self.lesson: Lesson | None = None
        self._told_lesson: dict[str, Any] = {}
        self._keeper = QTimer(self)
        self._keeper.setSingleShot(True)
        self._keeper.setInterval(KEEP_MS)
        self._keeper.timeout.connect(self._keep)
        self.verdict: dict[str, Any] | None = None
        self._gave_up = False
        self._pages = QStackedWidget()
        self._pages.setObjectName("training-pages")
        for page in (self._choosing(), self._working(), self._judged()):
            self._pages.addWidget(page)
        box = QVBoxLayout(self)
        box.setContentsMargins(10, 8, 10, 8)
        self._pages.setMaximumWidth(WIDEST_PX + 200)
        row = QHBoxLayout()
        row.addWidget(self._pages, 1)
        row.addStretch()
        box.addLayout(row)
        hub.status_changed.connect(self._take_status)
        hub.linked.connect(self._take_link)
        theme.notifier.changed.connect(self._recolour)
        self._recolour()
        self._take_status(hub.status)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for the list of suspicions."""
        return QSize(900, 600)

    # -- choosing --------------------------------------------------------------------------

    def _choosing(self) -> QWidget:
        page = QWidget()
        self._lessons = QListWidget()
        self._lessons.setObjectName("training-lessons")
        self._lessons.setAccessibleName("lessons")
        self._lessons.setToolTip("What there is to practise; Enter starts it")
        for course in LESSONS.values():
            item = QListWidgetItem(course.title)
            item.setData(Qt.ItemDataRole.UserRole, course.name)
            self._lessons.addItem(item)
        self._lessons.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self._lessons.setFixedWidth(230)
        self._lessons.currentItemChanged.connect(self._course_chosen)
        self._lessons.itemActivated.connect(self._start)
        self._about = _words("training-about")
        self.seed = QSpinBox()
        self.seed.setObjectName("training-seed")
        self.seed.setAccessibleName("number of the lesson")
        self.seed.setToolTip("The same number is the same lesson, for another try or trainee")
        self.seed.setRange(0, MOST_SEED)
        self.seed.setValue(random.randrange(MOST_SEED))
        other = _button("training-other", "&Another", "Draw another number")
        other.clicked.connect(lambda: self.seed.setValue(random.randrange(MOST_SEED)))
        self.start_button = _button(
            "training-start",
            "&Start the lesson",
            "Start a virtual microscope with it; a run that goes on is not touched",
        )
        self.start_button.clicked.connect(self._start)
        self._starting = _words("training-starting")
        row = QHBoxLayout()
        row.addWidget(QLabel("Number"))
        row.addWidget(self.seed)
        row.addWidget(other)
        row.addSpacing(12)
        row.addWidget(self.start_button)
        row.addStretch(1)
        self._known = _page_of_text("training-known", "what can be wrong")
        how = _words("training-how")
        how.setText(
            "A lesson is a virtual microscope with a film whose D nobody tells and, mostly, "
            "something that is not as it should be. Use everything there is: Instrument, Align, "
            "Scan, Live, Browse. Then tick what you suspect, give D, and have it judged."
        )
        right = QVBoxLayout()
        right.setSpacing(10)
        right.addWidget(how)
        right.addWidget(_rule())
        right.addWidget(self._about)
        right.addLayout(row)
        right.addWidget(self._starting)
        right.addWidget(_rule())
        right.addWidget(self._known, 1)
        layout = QHBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(14)
        layout.addWidget(self._lessons)
        layout.addLayout(right, 1)
        self._lessons.setCurrentRow(0)
        return page

    def _course_chosen(self) -> None:
        course = LESSONS[self._chosen_name()]
        self._about.setText(f"<b>{html.escape(course.title)}</b><br>{html.escape(course.words)}")

    def _chosen_name(self) -> str:
        item = self._lessons.currentItem()
        return "first-light" if item is None else str(item.data(Qt.ItemDataRole.UserRole))

    def choose(self, name: str, seed: int) -> None:
        """Choose a lesson in the list."""
        self._lessons.setCurrentRow(list(LESSONS).index(name))
        self.seed.setValue(seed)

    def _start(self, *_: object) -> None:
        name, seed = self._chosen_name(), self.seed.value()
        if self.receivers(self.lesson_requested) == 0:
            self.hub.tell(
                "error",
                f"This window cannot start a station. In a terminal: tplm host --lesson {name} "
                f"--seed {seed}",
                code="training",
            )
            return
        self._starting.setText("A virtual microscope with the lesson is being started …")
        self.lesson_requested.emit(name, seed)

    # -- working ---------------------------------------------------------------------------

    def _working(self) -> QWidget:
        page = QWidget()
        self._title = QLabel()
        self._title.setObjectName("training-title")
        self._title.setStyleSheet("font-weight: 600;")
        self._task = _words("training-task")
        self.plan_button = _button(
            "training-plan",
            "Colleague's &plan",
            "Put the plan that a colleague left into the form of Scan; nothing starts by itself",
        )
        self.plan_button.clicked.connect(self._offer_plan)
        self.ticks: dict[str, QCheckBox] = {}
        self.evidence: dict[str, QLineEdit] = {}
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 6, 0)
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(5)
        for column, words in enumerate(("Suspicion", "What speaks for it, or against it")):
            label = QLabel(words)
            label.setStyleSheet("font-weight: 600;")
            grid.addWidget(label, 0, column)
        for row, fault in enumerate(FAULTS.values(), start=1):
            tick = QCheckBox(fault.title)
            tick.setObjectName(f"training-tick-{fault.key}")
            tick.setToolTip("Tick it if you are sure")
            tick.toggled.connect(self._ready)
            tick.toggled.connect(self._keeper.start)
            note = QLineEdit()
            note.setObjectName(f"training-evidence-{fault.key}")
            note.setAccessibleName(f"evidence: {fault.title}")
            note.setToolTip("For yourself; it stands beside the verdict")
            note.setPlaceholderText("what you saw, with numbers")
            note.textChanged.connect(self._keeper.start)
            grid.addWidget(tick, row, 0)
            grid.addWidget(note, row, 1)
            self.ticks[fault.key], self.evidence[fault.key] = tick, note
        grid.setColumnStretch(1, 1)
        grid.setRowStretch(len(FAULTS) + 1, 1)
        table = QWidget()
        table.setLayout(grid)
        scroll = QScrollArea()
        scroll.setMaximumHeight(table.sizeHint().height() + 4)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(table)
        self.d = NumberField("training-d", "D", "cm²/s")
        self.d_stderr = NumberField("training-d-stderr", "Its standard error", "cm²/s")
        for entry in (self.d, self.d_stderr):
            entry.set_limits(0.0, 1e3)
            entry.setPlaceholderText("")
            entry.setMaximumWidth(110)
            entry.textChanged.connect(self._ready)
            entry.textChanged.connect(self._keeper.start)
            entry.refused.connect(partial(self.hub.tell, "error", code="training"))
        take = _button(
            "training-take", "&Take over the last fit", "D of the last scan, with its error"
        )
        take.clicked.connect(self._take_fit)
        self._from = QLabel()
        self._from.setObjectName("training-from")
        line = QHBoxLayout()
        for widget in (QLabel("D"), self.d, QLabel("±"), self.d_stderr, QLabel("cm²/s"), take):
            line.addWidget(widget)
        line.addWidget(self._from, 1)
        self.judge_button = _button(
            "training-judge", "&I have found it", "Ends the lesson and tells what was wrong"
        )
        self.judge_button.clicked.connect(self._judge)
        self.give_up_button = _button(
            "training-give-up", "&Give up", "Ends the lesson and tells what was wrong"
        )
        self.give_up_button.clicked.connect(self._give_up)
        self._warning = QLabel()
        self._warning.setObjectName("training-warning")
        last = QHBoxLayout()
        last.addWidget(self.judge_button)
        last.addWidget(self.give_up_button)
        last.addWidget(self._warning, 1)
        self._signs = _page_of_text("training-signs", "how each would show")
        top = QHBoxLayout()
        top.addWidget(self._title, 1)
        top.addWidget(self.plan_button)
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(top)
        layout.addWidget(self._task)
        layout.addWidget(_rule())
        layout.addWidget(scroll, 2)
        layout.addWidget(_rule())
        layout.addLayout(line)
        layout.addLayout(last)
        layout.addWidget(_rule())
        layout.addWidget(self._signs, 1)
        return page

    def _take_link(self, is_linked: bool, _: str) -> None:
        if is_linked:
            self._starting.clear()

    def _take_status(self, status: Mapping[str, Any]) -> None:
        """Follow the station into a lesson, and out of one that ended elsewhere."""
        told: dict[str, Any] = (status.get("station") or {}).get("lesson") or {}
        id_ = str(told.get("id", "")) if told else None
        if id_ is None:
            self.lesson = None
            if self._pages.currentIndex() == 1:
                self._pages.setCurrentIndex(0)
            return
        if self.lesson is not None and self.lesson.id == id_:
            return
        try:
            self.lesson = lesson_of(id_)
        except InputError as error:
            self.hub.tell("error", f"The station has a lesson that is unknown here: {error}.",
                          code="training")  # fmt: skip
            return
        self._told_lesson = {key: told.get(key) for key in ("id", "started")}
        self._begin(self.lesson)
        self._recall()

    def _begin(self, lesson: Lesson) -> None:
        self.verdict, self._gave_up = None, False
        self._starting.clear()
        self._title.setText(f"{lesson.title}, number {lesson.seed}")
        self._task.setText(lesson.task)
        for tick in self.ticks.values():
            tick.setChecked(False)
        for note in self.evidence.values():
            note.clear()
        self.d.clear()
        self.d_stderr.clear()
        self._from.clear()
        self._pages.setCurrentIndex(1)
        self._ready()

    # -- notes outlive the window, as the lesson does --------------------------------------

    def _keep(self) -> None:
        """Write down what the trainee has so far."""
        self._keeper.stop()
        if self.lesson is None or self.verdict is not None:
            return
        notes = {
            "lesson": self._told_lesson,
            "found": self.found,
            "evidence": {key: note.text() for key, note in self.evidence.items() if note.text()},
            "d": [self.d.text(), self.d_stderr.text()],
        }
        with suppress(OSError):  # a convenience, nothing that may stop anybody
            _notes_file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _notes_file().write_text(json.dumps(notes), encoding="utf-8")

    def _recall(self) -> None:
        """Put back what was written down of this very lesson."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            notes = json.loads(_notes_file().read_text(encoding="utf-8"))
            if notes["lesson"] != self._told_lesson:
                return
            d, error = notes["d"]
            self.d.setText(str(d))
            self.d_stderr.setText(str(error))
            for key, text in notes["evidence"].items():
                self.evidence[key].setText(str(text))
            for key in notes["found"]:
                self.ticks[key].setChecked(True)

    def hideEvent(self, a0: QHideEvent | None) -> None:  # noqa: N802
        """Lose nothing that was just typed."""
        super().hideEvent(a0)
        if self._keeper.isActive():
            self._keep()

    def _offer_plan(self) -> None:
        if self.lesson is not None:
            self.hub.plan_offered.emit(self.lesson.plan)
            self.hub.view_requested.emit("scan")

    @property
    def found(self) -> list[str]:
        """Keys of what is ticked."""
        return [key for key, tick in self.ticks.items() if tick.isChecked()]

    def _ready(self, *_: object) -> None:
        """Say what is still missing; only a D is not wrong to leave out."""
        self.give_up_button.setText("&Give up")
        problems = [
            entry.problem()
            for entry in (self.d, self.d_stderr)
            if entry.text().strip() and entry.problem()
        ]
        self.judge_button.setEnabled(not problems)
        if problems:
            self._warning.setText(f"{problems[0]}.")
        elif not self.d.text().strip():
            self._warning.setText("No D is given yet; it is judged too.")
        elif not self.d_stderr.text().strip():
            self._warning.setText("A D without its error bar is judged within 5 %.")
        else:
            ticked = len(self.found)
            self._warning.setText(
                "Nothing is ticked: you say that all is in order." if not ticked else ""
            )

    # -- D ---------------------------------------------------------------------------------

    def _take_fit(self) -> None:
        """Take D of the run that goes on, or of the last scan's file."""
        status = self.hub.status
        if status.get("d_cm2_per_s") is not None:
            self._put_d(status["d_cm2_per_s"], status.get("d_stderr_cm2_per_s"), "of the run")
            return
        last = (status.get("station") or {}).get("last") or {}
        if not last.get("path") or last.get("kind") != "scan":
            self.hub.tell("info", "No scan was measured yet; D can be typed.", code="training")
            return
        path = Path((status.get("station") or {}).get("folder", "."), str(last["path"]))

        def done(outcome: opened.Outcome) -> None:
            d = outcome.number("d_cm2_per_s")
            if d is None:
                self.hub.tell("warning", f"{path.name} gives no D. {outcome.text}", code="training")
                return
            self._put_d(d, outcome.number("d_stderr_cm2_per_s"), f"of {path.name}")

        def failed(problem: str) -> None:
            self.hub.tell("error", f"{problem}.", code="training")

        self._from.setText(f"fitting {path.name} …")
        self.background.start(
            "fit", partial(opened.fit, path, opened.Settings(), opened.Shelf(1)), done, failed
        )

    def _put_d(self, d: float, error: float | None, whence: str) -> None:
        self.d.setText(f"{d:.4g}")
        self.d_stderr.setText("" if error is None else f"{error:.2g}")
        self._from.setText(whence)

    # -- verdict ---------------------------------------------------------------------------

    def _judge(self) -> None:
        self._ask(self.found, self.d.number(), self.d_stderr.number())

    def _give_up(self) -> None:
        """The first click asks, the second one does it."""
        if self.give_up_button.text() == "&Give up":
            self.give_up_button.setText("&Give up: sure?")
            self._warning.setText("Once told, the lesson is over. Press again to be told.")
            return
        self._gave_up = True
        self._ask(self.found, self.d.number(), self.d_stderr.number())

    def _ask(self, found: list[str], d: float | None, error: float | None) -> None:
        arguments: dict[str, Any] = {"found": found}
        if d is not None:
            arguments["d_found"] = d
            if error is not None:
                arguments["d_stderr"] = error
        self.judge_button.setEnabled(False)
        self.hub.ask("judge", arguments, self._told)

    def _told(self, reply: Reply) -> None:
        self.judge_button.setEnabled(True)
        result = reply.content.get("result")
        if not reply.ok or not isinstance(result, Mapping):
            self._gave_up = False
            self.hub.tell("error", reply.words, code="training")
            return
        self.verdict = dict(result)
        self._keeper.stop()
        with suppress(OSError):
            _notes_file().unlink(missing_ok=True)
        self._write_verdict()
        self._pages.setCurrentIndex(2)

    def _judged(self) -> QWidget:
        page = QWidget()
        self._verdict = _page_of_text("training-verdict", "verdict")
        again = _button("training-same", "The &same again", "The same lesson from the beginning")
        again.clicked.connect(self._same_again)
        other = _button("training-next", "&Choose another", "Back to the list of lessons")
        other.clicked.connect(self._choose_another)
        row = QHBoxLayout()
        row.addWidget(other)
        row.addWidget(again)
        row.addStretch(1)
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._verdict, 1)
        layout.addLayout(row)
        return page

    def _same_again(self) -> None:
        self._pages.setCurrentIndex(0)
        self._start()

    def _choose_another(self) -> None:
        self._pages.setCurrentIndex(0)
        self.seed.setValue(random.randrange(MOST_SEED))

    def _recolour(self) -> None:
        for text in (self._known, self._signs):
            text.setHtml(known_html())
        self._write_verdict()

    def _write_verdict(self) -> None:
        if self.verdict is None:
            return
        evidence = {key: note.text().strip() for key, note in self.evidence.items()}
        self._verdict.setHtml(verdict_html(self.verdict, evidence, self._gave_up))


def known_html() -> str:
    """Write what can be wrong, how it shows and which tool tells, for reading beforehand."""
    dim = theme.colours().dim
    rows = "".join(
        f'<tr><td width="210"><b>{html.escape(fault.title)}</b></td>'
        f'<td>{html.escape(fault.sees)} <span style="color:{dim}">{html.escape(fault.finds)}</span>'
        "</td></tr>"
        for fault in FAULTS.values()
    )
    return f'<table cellspacing="0" cellpadding="4" width="100%">{rows}</table>'


def verdict_html(verdict: Mapping[str, Any], evidence: Mapping[str, str], gave_up: bool) -> str:
    """Write a verdict for a person.

    Parameters
    ----------
    verdict : mapping
        As `tplm_daq.training.Verdict.to_dict` gives it.
    evidence : mapping
        What the trainee wrote beside each suspicion.
    gave_up : bool
        Whether the lesson was given up.
    """
    c = theme.colours()

    def said(text: object) -> str:
        return html.escape(str(text))

    if verdict["passed"]:
        head, colour = "Passed", c.good
    elif gave_up:
        head, colour = GIVEN_UP, c.dim
    else:
        head, colour = "Not yet", c.warn
    d = plus_minus(verdict["d_found_cm2_per_s"], verdict["d_stderr_cm2_per_s"])
    right = {True: "✓ right", False: "✗ not right", None: "not given"}[verdict["d_agrees"]]
    lines = [
        f'<p style="font-size:18pt; font-weight:600; color:{colour}; margin:0">{head}</p>',
        f"<p>{said(verdict['words'])}</p>",
        '<table cellspacing="0" cellpadding="3">',
        f"<tr><td>D of the film</td><td><b>{verdict['d_true_cm2_per_s']:.4g} cm²/s</b></td></tr>",
        f"<tr><td>yours</td><td><b>{d} cm²/s</b> &nbsp; {right}</td></tr></table>",
    ]
    for fault in verdict["faults"]:
        key = fault["key"]
        is_found = key in verdict["right"]
        mark, ink = ("✓ found", c.good) if is_found else ("✗ missed", c.bad)
        wrote = evidence.get(key, "")
        rows = [
            ("Hidden", f"{fault['amount']}."),
            ("What it did to D", fault["effect"]),
            ("The signs", fault["sees"]),
            ("How to find it" if is_found else "Look next time", fault["finds"]),
            ("The cure", fault["cure"]),
        ]
        if wrote:
            rows.append(("You wrote", wrote))
        title = f'<b>{said(fault["title"])}</b> &nbsp; <span style="color:{ink}">{mark}</span>'
        lines += [
            f'<p style="margin-top:14px; margin-bottom:2px">{title}</p>',
            '<table cellspacing="0" cellpadding="2" width="100%">',
            *(
                f'<tr><td width="130" style="color:{c.dim}">{name}</td><td>{said(text)}</td></tr>'
                for name, text in rows
            ),
            "</table>",
        ]
    for key in verdict["false_alarms"]:
        fault_ = FAULTS[key]
        wrote = evidence.get(key, "")
        tail = f" You wrote: {said(wrote)}" if wrote else ""
        lines.append(
            f'<p style="margin-top:14px"><b>{said(fault_.title)}</b> &nbsp; '
            f'<span style="color:{c.warn}">was not so</span><br>'
            f'<span style="color:{c.dim}">It would have shown like this: </span>'
            f"{said(fault_.sees)}{tail}</p>"
        )
    return "\n".join(lines)


def _notes_file() -> Path:
    return runtime_folder() / "windows" / "lesson.json"


def _words(name: str) -> QLabel:
    label = QLabel()
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setMaximumWidth(WIDEST_PX)
    return label


def _page_of_text(name: str, what: str) -> QTextBrowser:
    text = QTextBrowser()
    text.setObjectName(name)
    text.setAccessibleName(what)
    text.setFrameShape(QFrame.Shape.NoFrame)
    # what it would like to have is not to make the page higher than the dock
    text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
    text.setMinimumHeight(90)
    return text


def _button(name: str, words: str, tip: str) -> QPushButton:
    button = QPushButton(words)
    button.setObjectName(name)
    button.setToolTip(tip)
    button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    return button


def _rule() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Plain)
    line.setForegroundRole(line.palette().ColorRole.Mid)
    return line
