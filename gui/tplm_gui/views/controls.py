"""The strip above everything: what goes on, how far it is, and the buttons that end it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QColor, QFontMetrics, QResizeEvent
from PyQt6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from tplm_gui import theme, words
from tplm_gui.hub import Hub, Level, Reply, is_running
from tplm_gui.widgets.parts import ElidedLabel

STEPS = 1000
"""Of the progress bar."""
WHO_FROM, LEFT_FROM, D_FROM = 560, 720, 900
"""Widths from which the strip has room for the host, the time left and D, px."""


class Controls(QFrame):
    """Host, state, progress, D, time left; Pause, Stop, Emergency.

    Stop and Emergency are never disabled: without a host they say so.

    Parameters
    ----------
    hub : Hub
        What is shown, and who is asked.
    """

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("controls")
        self._hub = hub
        self._link_words = "looking for a host …"
        self.profile = _label("controls-profile", "The instrument of the host", bold=True)
        self.host = _label("controls-host", "The host that this window is linked to")
        self.state = ElidedLabel()
        self.state.setObjectName("controls-state")
        self.state.setFont(self.profile.font())
        self.progress = QProgressBar()
        self.progress.setObjectName("controls-progress")
        self.progress.setAccessibleName("Progress of the run")
        self.progress.setRange(0, STEPS)
        self.progress.setMinimumWidth(60)
        self.d = _Figure(
            "controls-d", "D, cm²/s", "Diffusivity of the map so far, ± one σ", "0.01034 ± 0.00029"
        )
        self.left = _Figure(
            "controls-left",
            "time left",
            "From what is done so far; pauses do not count",
            "1 h 28 min",
        )
        self.pause = QPushButton("&Pause")
        self.pause.setObjectName("controls-pause")
        self.pause.clicked.connect(self._pause_or_continue)
        self.stop = QPushButton("Stop")
        self.stop.setObjectName("controls-stop")
        self.stop.setToolTip(
            "Finish this visit, keep everything, block the light, end (Esc, from anywhere)"
        )
        self.stop.clicked.connect(self.ask_stop)
        self.emergency = QPushButton("Emergency")
        self.emergency.setObjectName("controls-emergency")
        self.emergency.setToolTip(
            "Block the laser before anything else, then end (Ctrl+Esc or Shift+Esc, from anywhere)"
        )
        self.emergency.clicked.connect(self.ask_emergency)
        self._lay_out()
        hub.status_changed.connect(lambda _status: self._show())
        hub.profile_changed.connect(lambda _profile: self._show())
        hub.linked.connect(self._linked)
        theme.notifier.changed.connect(self._recolour)
        self._recolour()
        self._show()

    def resizeEvent(self, a0: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Leave out what there is no room for, and never a button."""
        super().resizeEvent(a0)
        width = self.width()
        for part, least in ((self.d, D_FROM), (self.left, LEFT_FROM), (self.who, WHO_FROM)):
            part.setVisible(width >= least)

    def ask_stop(self) -> None:
        """Ask the host to stop after this visit, and to end an alignment."""
        self.state.setText("Stop is asked for …")
        self._hub.ask("stop", then=lambda reply: self._answered("stop", reply))

    def ask_emergency(self) -> None:
        """Ask the host to block the laser at once."""
        self.state.setText("Emergency: the laser is being blocked …")
        self._hub.ask("emergency", then=lambda reply: self._answered("emergency", reply))

    def _pause_or_continue(self) -> None:
        command = "continue" if _is_held(self._hub.status) else "pause"
        self._hub.ask(command)

    def _answered(self, command: str, reply: Reply) -> None:
        self._show()
        level: Level = "warning" if command == "emergency" else "info"
        name = command.capitalize()
        # not the code of what is read back afterwards: "not known" must not be replaced by this
        code = f"asked-{command}"
        self._hub.tell(level if reply.ok else "error", f"{name}: {reply.words}", code)

    def _linked(self, _is_linked: bool, link_words: str) -> None:
        self._link_words = link_words
        self._show()

    def _show(self) -> None:
        status, is_linked = self._hub.status, self._hub.is_linked
        name = self._hub.profile.name if self._hub.profile is not None else ""
        self.profile.setText(profile_words(status, name) or "no instrument")
        self.host.setText(self._link_words)
        self.host.setToolTip(f"{self._link_words}\nits folder: {_folder(status)}")
        self.state.setText(state_words(status) if is_linked else self._link_words)
        self.state.setToolTip(self.state.text())
        running = is_running(status)
        share, text = progress(status)
        self.progress.setValue(round(share * STEPS))
        self.progress.setFormat(text)
        self.progress.setEnabled(running)
        self.d.show_text(
            words.plus_minus(status.get("d_cm2_per_s"), status.get("d_stderr_cm2_per_s"))
        )
        self.left.show_text(words.duration(left_s(status)) if running else words.NONE)
        held = _is_held(status)
        self.pause.setEnabled(is_linked and running)
        self.pause.setText("&Continue" if held else "&Pause")
        self.pause.setToolTip(
            "Go on measuring" if held else "Finish this visit, block the light, wait"
        )

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 5, 8, 5)
        row.setSpacing(14)
        self.who = QWidget()
        who = QVBoxLayout(self.who)
        who.setContentsMargins(0, 0, 0, 0)
        who.setSpacing(1)
        for label in (self.profile, self.host):
            label.setMinimumWidth(120)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            who.addWidget(label)
        run = QVBoxLayout()
        run.setSpacing(3)
        run.addWidget(self.state)
        run.addWidget(self.progress)
        row.addWidget(self.who, 3)
        row.addLayout(run, 6)
        row.addWidget(self.d)
        row.addWidget(self.left)
        for button, width in ((self.pause, 84), (self.stop, 96), (self.emergency, 96)):
            button.setMinimumSize(QSize(width, 40))
            button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
            # the space bar must not end a run because somebody once clicked here
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            row.addWidget(button)

    def _recolour(self) -> None:
        c = theme.colours()
        red, deep = "#c62828", "#8e1b1b"
        accent = QColor(c.accent)
        r, g, b = accent.red(), accent.green(), accent.blue()
        dim = f"color: {c.dim}; font-size: 8.5pt;"
        self.host.setStyleSheet(dim)
        for figure in (self.d, self.left):
            figure.caption.setStyleSheet(dim)
        self.setStyleSheet(
            f"""
            QFrame#controls {{ border-bottom: 1px solid {c.grid}; }}
            QProgressBar {{ border: 1px solid {c.grid}; border-radius: 3px; height: 15px;
                background: {c.background}; text-align: center; font-size: 8.5pt; }}
            QProgressBar::chunk {{ background: rgba({r}, {g}, {b}, 90); }}
            QPushButton#controls-stop {{ background: {red}; color: white; border-radius: 4px;
                border: 2px solid {red}; font-weight: 700; font-size: 12pt; }}
            QPushButton#controls-stop:hover, QPushButton#controls-stop:focus {{
                border-color: {c.text}; }}
            QPushButton#controls-stop:pressed {{ background: {deep}; }}
            QPushButton#controls-emergency {{ background: {c.background}; color: {c.bad};
                border: 2px solid {c.bad}; border-radius: 4px; font-weight: 700; }}
            QPushButton#controls-emergency:hover, QPushButton#controls-emergency:focus {{
                border-color: {c.text}; }}
            QPushButton#controls-emergency:pressed {{ background: {red}; color: white; }}
            """
        )


class _Figure(QWidget):
    """A large figure with its caption below."""

    def __init__(self, name: str, caption: str, tip: str, longest: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.value = QLabel(words.NONE)
        self.value.setObjectName(name)
        self.value.setAccessibleName(caption)
        self.value.setFont(theme.figure_font(13))
        self.setMinimumWidth(QFontMetrics(self.value.font()).horizontalAdvance(longest) + 6)
        self.caption = QLabel(caption)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(0)
        for i, label in enumerate((self.value, self.caption)):
            label.setAlignment(Qt.AlignmentFlag.AlignRight)
            grid.addWidget(label, i, 0)

    def show_text(self, text: str) -> None:
        self.value.setText(text)


def _label(name: str, tip: str, *, bold: bool = False) -> QLabel:
    label = QLabel()
    label.setObjectName(name)
    label.setToolTip(tip)
    label.setTextFormat(Qt.TextFormat.PlainText)
    if bold:
        font = label.font()
        font.setBold(True)
        label.setFont(font)
    return label


def _is_held(status: Mapping[str, Any]) -> bool:
    """Whether it is paused, or will be."""
    return status.get("state") == "paused" or status.get("requested") == "pause"


def _folder(status: Mapping[str, Any]) -> str:
    station = status.get("station") or {}
    return str(station.get("folder") or Path(str(status.get("path", ""))).parent)


def profile_words(status: Mapping[str, Any], name: str) -> str:
    """Which instrument, and how real: ``simulated, 10 × real time``.

    Parameters
    ----------
    status : mapping
        Of the host.
    name : str
        Of the profile, for a run that does not tell it.
    """
    station = status.get("station") or {}
    parts = [str(station.get("profile") or name)]
    if station.get("wired"):
        parts.append("its drivers on simulators")
    elif station.get("simulated") and parts[0] != "simulated":
        parts.append("simulated")
    speed = station.get("speed")
    if speed is not None and speed != 1:
        parts.append(f"{speed:,.6g} × real time")
    return ", ".join(part for part in parts if part)


def state_words(status: Mapping[str, Any]) -> str:
    """What the host does, in a line."""
    station = status.get("station") or {}
    if not status:
        return "nothing is known yet"
    if status.get("doing") == "station":
        job = station.get("job")
        if job is not None:
            return str(job.get("words") or job.get("kind"))
        if station.get("aligning"):
            return "aligning: the laser is on, the card counts"
        if not station.get("connected"):
            return "not connected"
        last = station.get("last")
        if last is not None:
            return f"ready; {last['kind']} {Path(last['path']).name} {last['ending']}"
        return "ready"
    what = f"{status.get('doing')} {Path(str(status.get('path'))).name}"
    state = status.get("ending") or status.get("state")
    why = status.get("ended_because") if status.get("ending") else status.get("why")
    text = f"{what}: {state}"
    asked = status.get("requested")
    if asked and not status.get("ending") and state != "paused":
        text += f", {asked} is asked for"
    return f"{text} ({why})" if why else text


def left_s(status: Mapping[str, Any]) -> float | None:
    """Seconds that are left by the clock on the wall; a scan tells them by the instrument's."""
    left: float | None = status.get("left_s")
    speed = (status.get("station") or {}).get("speed")
    if left is None or not speed or status.get("doing") != "scan":
        return left
    return float(left / speed)


def progress(status: Mapping[str, Any]) -> tuple[float, str]:
    """Share that is done, from 0 to 1, and in words."""
    visits, planned = status.get("visits_done") or 0, status.get("visits_planned")
    share = visits / planned if planned else 0.0
    text = f"{visits:,} of {planned:,} visits" if planned else ""
    points = status.get("points_planned")
    if points:
        done = status.get("points_done") or 0
        share = min((done + (share if status.get("ending") is None else 0.0)) / points, 1.0)
        text = f"{done:,} of {points:,} points" + (f" · {text}" if text else "")
    if status.get("doing") == "station":
        return 0.0, ""
    return share, text
