"""The devices: what state they are in, what they read back, and steering them by hand.

A row for each device of the profile, with what can be set below it. A value is sent by Enter or
its button; until the read-back agrees, both stand beside each other: ``2.5 MHz → 5 MHz``.
"""

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QColor, QPalette
from PyQt6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from tplm_config import InstrumentProfile
from tplm_gui import theme
from tplm_gui.hub import RUNS, Hub, Reply
from tplm_gui.widgets.doctor import DoctorDialog
from tplm_gui.widgets.parts import ROLES, ElidedLabel, Lamp, NumberField, StateLight, finite
from tplm_gui.widgets.stages import StageControl
from tplm_gui.words import NONE, si

STATES: dict[str, Lamp] = {
    "ready": "ready", "busy": "busy", "failed": "failed", "absent": "absent", "closed": "closed",
}  # fmt: skip
BRIEF = ("set", "move", "halt")
"""Jobs too short to close the controls for."""
REACHED_K = 0.1
"""A temperature this close to its set point has reached it."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that can be set, and how it is read back.

    Attributes
    ----------
    what : str
        Name for the host; also that of the read-back.
    role : str
        Whose row shows it.
    unit : str
        As shown and typed.
    factor : float
        Times what is typed is what the host is told.
    tolerance, least : float
        Relative, and least, deviation at which asked and read back agree.
    """

    what: str
    role: str
    unit: str = ""
    factor: float = 1.0
    tolerance: float = 0.05
    least: float = 1e-9

    def words(self, value: object) -> str:
        """A value as the row shows it."""
        if isinstance(value, bool):
            on, off = ("open", "closed") if self.what == "shutter" else ("on", "off")
            return on if value else off
        number = finite(value)
        if number is None:
            return NONE
        if self.unit == "MHz":
            return si(number, "Hz")
        return f"{number:.4g} {self.unit}".rstrip()

    def agrees(self, asked: object, read: object) -> bool:
        """Whether the device reads back what it was asked for."""
        if isinstance(asked, bool) or isinstance(read, bool):
            return asked is read
        wanted, found = finite(asked), finite(read)
        if wanted is None or found is None:
            return False
        return abs(wanted - found) <= self.tolerance * abs(wanted) + self.least


EMISSION = Quantity("emission", "laser")
SHUTTER = Quantity("shutter", "shutter")
RATE = Quantity("repetition_rate_hz", "laser", "MHz", 1e6)
TRANSMISSION = Quantity("transmission", "attenuator", least=1e-3)
POWER = Quantity("power_nw", "power_meter", "nW")
DETECTION = Quantity("detection_transmission", "detection_attenuator", least=1e-3)
SET_POINT = Quantity("set_point_k", "temperature", "K", tolerance=0, least=0.05)
READ_AS = {"shutter": "shutter_open"}
"""Where the name of a read-back is another than that of the request."""


def why_not(linked: bool, status: Mapping[str, Any]) -> str:
    """Why nothing can be set by hand, in a sentence; empty: it can."""
    if not linked or not status:
        return "No host answers: nothing is known of the instrument, and nothing can be asked."
    if status.get("doing") in RUNS:
        what = "A scan" if status["doing"] == "scan" else "A series"
        if status.get("station") is None:
            return f"{what} started in a terminal is running: it alone speaks to the devices."
        return f"{what} is running: the devices can be set by hand again when it has ended."
    station = status.get("station")
    if station is None:
        return "This host runs scans only: it takes no orders for single devices."
    job = station.get("job")
    if job is not None and not station.get("aligning") and job.get("kind") not in BRIEF:
        return f"Busy: {job.get('words') or job.get('kind')}."
    if not station.get("connected"):
        return "Not connected: Connect opens the devices."
    return ""


def rate_limits_mhz(profile: InstrumentProfile) -> tuple[float, float]:
    """Lowest and highest repetition rate that the profile tells of, in MHz."""
    driver = profile.laser.driver
    match driver.name:
        case "pdl800d":
            return 0.0, driver.max_rate_hz / 1e6
        case "superk":
            return 0.0, driver.seed_rate_hz / 1e6
        case "simulated":
            laser = profile.simulation.laser
            return laser.min_rate_hz / 1e6, laser.max_rate_hz / 1e6
        case _:
            return 0.0, math.inf


def temperature_limits_k(profile: InstrumentProfile) -> tuple[float, float]:
    """Lowest and highest set point that profile and driver both allow."""
    low, high = profile.limits.temperature_k
    own = getattr(getattr(profile.temperature, "driver", None), "limits_k", (low, high))
    return max(low, own[0]), min(high, own[1])


class DeviceRow(QWidget):
    """State light, name, model and read-back of a device; what failed; what can be set."""

    def __init__(self, role: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(f"device-{role}")
        self.role = role
        self.light = StateLight(f"light-{role}")
        name = QLabel(ROLES[role])
        font = name.font()
        font.setBold(True)
        name.setFont(font)
        self.model = ElidedLabel()
        self.model.setObjectName(f"model-{role}")
        self.reading = QLabel(NONE)
        self.reading.setObjectName(f"reading-{role}")
        self.reading.setTextFormat(Qt.TextFormat.RichText)
        self.error = QLabel()
        self.error.setObjectName(f"error-{role}")
        self.error.setWordWrap(True)
        self.error.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.error.hide()
        head = QHBoxLayout()
        head.setSpacing(5)
        for widget in (self.light, name):
            head.addWidget(widget)
        head.addWidget(self.model, stretch=1)
        head.addWidget(self.reading)
        self.body = QWidget()
        self.controls = QVBoxLayout(self.body)
        self.controls.setContentsMargins(LEFT_PX, 0, 0, 0)
        self.controls.setSpacing(2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(head)
        column.addWidget(self.error)
        column.addWidget(self.body)
        self.recolour()

    def recolour(self) -> None:
        """Take the colours of the moment."""
        colours = theme.colours()
        for label, colour in ((self.model, colours.dim), (self.error, colours.bad)):
            palette = QPalette()
            palette.setColor(QPalette.ColorRole.WindowText, QColor(colour))
            label.setPalette(palette)

    def show_device(self, device: Mapping[str, Any], known: bool) -> None:
        """Show state, model and error; without read-backs the state is unknown."""
        state = str(device.get("state", "closed")) if known else "absent"
        error = str(device.get("error") or "") if known else ""
        words = state if known else "unknown: no host answers"
        model = str(device.get("model") or "")
        self.light.show_lamp(STATES.get(state, "absent"), f"{ROLES[self.role]}: {words}")
        self.model.setText(model)
        self.model.setToolTip(model)
        self.error.setText(error)
        self.error.setVisible(bool(error))

    def show_reading(self, words: str, asked: str) -> None:
        """Show what is read back, and beside it what was asked for and is not there yet."""
        text = html.escape(words)
        if asked:
            colour = theme.colours().warn
            text += f" <b style='color:{colour}'>→&nbsp;{html.escape(asked)}</b>"
        self.reading.setText(text)
        self.reading.setToolTip(f"reads back {words}; asked for: {asked}" if asked else words)


LEFT_PX = 19
"""Controls begin below the name of their device."""
SET_PX = 116
"""Buttons below each other are of one width."""


class InstrumentView(QWidget):
    """Every device with its state and read-back, and steering by hand."""

    TITLE = "Instrument"
    KEY = "instrument"

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(self.KEY)
        self._hub = hub
        self._asked: dict[Quantity, Any] = {}
        self._typed: dict[Quantity, NumberField] = {}
        self._switches: dict[Quantity, QPushButton] = {}
        self._rows: dict[str, DeviceRow] = {}
        self._stages: dict[str, StageControl] = {}
        self._doctor: DoctorDialog | None = None
        self._connect = self._command("&Connect", "connect", "Open every device of the profile")
        self._disconnect = self._command(
            "&Disconnect", "disconnect", "Laser off, then let go of every device"
        )
        self._look = self._command(
            "D&octor", "doctor", "Ask every device who it is, and show what it says"
        )
        self._words = QLabel()
        self._words.setObjectName("instrument-words")
        self._words.setWordWrap(True)
        self._list = QWidget()
        self._column = QVBoxLayout(self._list)
        self._column.setContentsMargins(0, 0, 2, 0)
        self._column.setSpacing(5)
        area = QScrollArea()
        area.setObjectName("instrument-devices")
        area.setAccessibleName("Devices")
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(self._list)
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        for button in (self._connect, self._disconnect, self._look):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 4, 4)
        column.setSpacing(5)
        column.addLayout(buttons)
        column.addWidget(self._words)
        column.addWidget(area, 1)
        hub.linked.connect(self._take_status)
        hub.status_changed.connect(self._take_status)
        hub.readings_changed.connect(self._take_readings)
        hub.profile_changed.connect(self._build)
        hub.happened.connect(self._take_event)
        theme.notifier.changed.connect(self._recolour)
        self._build(hub.profile)

    def sizeHint(self) -> QSize:  # noqa: D102, N802
        return QSize(300, 640)

    def minimumSizeHint(self) -> QSize:  # noqa: D102, N802
        return QSize(280, 200)

    # -- building --------------------------------------------------------------------------

    def _command(self, text: str, command: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(f"instrument-{command}")
        button.setToolTip(tip)
        button.setMinimumWidth(40)
        button.clicked.connect(lambda: self._hub.ask(command))
        return button

    def _build(self, profile: InstrumentProfile | None) -> None:
        """Make a row for each device the profile has."""
        for row in self._rows.values():
            row.setParent(None)
            row.deleteLater()
        while self._column.count():
            self._column.takeAt(0)
        self._rows, self._stages = {}, {}
        self._asked, self._typed, self._switches = {}, {}, {}
        if profile is not None:
            for role in ROLES:
                if getattr(profile, role) is not None:
                    self._rows[role] = row = DeviceRow(role)
                    self._add_controls(row, profile)
                    row.body.setVisible(row.controls.count() > 0)
                    self._column.addWidget(row)
        self._column.addStretch(1)
        self._take_status()
        self._take_readings()

    def _add_controls(self, row: DeviceRow, profile: InstrumentProfile) -> None:
        whose = f" (profile '{profile.name}')"
        add = row.controls.addLayout
        match row.role:
            case "laser":
                switch = self._switch(EMISSION, "The laser emits, or not")
                rate = self._field(RATE, "Repetition rate", "Set r&ate")
                rate.set_limits(*rate_limits_mhz(profile), whose)
                add(self._line(RATE, before=switch))
            case "shutter":
                row.layout().itemAt(0).layout().addWidget(  # type: ignore[union-attr]
                    self._switch(SHUTTER, "Light reaches the sample, or not")
                )
            case "attenuator":
                field = self._field(TRANSMISSION, "Transmission", "Set trans&mission")
                field.set_limits(0, 1, "", "share of the light that passes, 1 is all")
                add(self._line(TRANSMISSION))
            case "power_meter" if profile.attenuator is not None:
                field = self._field(POWER, "Nominal power", "Set &power")
                why = "the ND wheel turns until the power meter reads it"
                field.set_limits(0, profile.limits.laser_power_nw, whose, why)
                add(self._line(POWER))
            case "detection_attenuator":
                field = self._field(DETECTION, "Detection transmission", "Set transmission")
                field.set_limits(0, 1, "", "share of the light that reaches the detector")
                add(self._line(DETECTION))
            case "temperature":
                field = self._field(SET_POINT, "Set point", "Set temperature")
                field.set_limits(*temperature_limits_k(profile), whose)
                add(self._line(SET_POINT))
            case "detector_stage" | "sample_stage":
                stage = row.role.removesuffix("_stage")
                self._stages[row.role] = control = StageControl(self._hub, stage, profile)
                control.refused.connect(self._refuse)
                row.controls.addWidget(control)
            case _:
                pass

    def _switch(self, quantity: Quantity, tip: str) -> QPushButton:
        button = QPushButton()
        button.setObjectName(f"set-{quantity.what}")
        button.setToolTip(tip)
        button.clicked.connect(lambda: self._ask(quantity, not self._is_on(quantity)))
        self._switches[quantity] = button
        return button

    def _field(self, quantity: Quantity, what: str, text: str) -> NumberField:
        field = NumberField(f"value-{quantity.what}", what, quantity.unit)
        field.entered.connect(lambda value: self._ask(quantity, value * quantity.factor))
        field.refused.connect(self._refuse)
        field.setProperty("button", text)
        self._typed[quantity] = field
        return field

    def _line(self, quantity: Quantity, before: QWidget | None = None) -> QHBoxLayout:
        field = self._typed[quantity]
        button = QPushButton(str(field.property("button")))
        button.setObjectName(f"set-{quantity.what}")
        button.setToolTip("Send what is typed, as Enter does")
        button.clicked.connect(field.enter)
        if before is None:
            button.setMinimumWidth(SET_PX)
        line = QHBoxLayout()
        line.setSpacing(4)
        if before is not None:
            line.addWidget(before)
        line.addWidget(field, 1)
        if quantity.unit:
            line.addWidget(QLabel(quantity.unit))
        line.addWidget(button)
        return line

    # -- asking ----------------------------------------------------------------------------

    def _refuse(self, words: str) -> None:
        self._hub.tell("warning", words, code="instrument")

    def _read(self, quantity: Quantity) -> Any:
        values = self._hub.readings.get("values") or {}
        return values.get(READ_AS.get(quantity.what, quantity.what))

    def _is_on(self, quantity: Quantity) -> bool:
        """Whether it is on, or was asked to be."""
        return bool(self._asked.get(quantity, self._read(quantity)))

    def _ask(self, quantity: Quantity, value: Any) -> None:
        self._asked[quantity] = value

        def replied(reply: Reply) -> None:
            if not reply.ok:
                if self._asked.get(quantity) == value:
                    del self._asked[quantity]
                self._refuse(reply.words)
                self._show_row(quantity.role)

        self._hub.ask("set", {"what": quantity.what, "value": value}, replied)
        self._show_row(quantity.role)

    # -- what the host tells ---------------------------------------------------------------

    def _take_status(self, *_: object) -> None:
        status, linked = self._hub.status, self._hub.is_linked
        station = status.get("station") or {}
        reason = why_not(linked, status)
        is_connected = linked and bool(station.get("connected"))
        can_ask = linked and bool(station) and status.get("doing") not in RUNS
        is_idle = can_ask and station.get("job") is None and not station.get("aligning")
        self._connect.setEnabled(is_idle and not is_connected)
        self._disconnect.setEnabled(is_idle and is_connected)
        self._look.setEnabled(is_idle)
        for row in self._rows.values():
            row.body.setEnabled(not reason)
        if SHUTTER in self._switches:
            self._switches[SHUTTER].setEnabled(not reason)
        if reason:
            self._words.setText(reason)
        else:
            behind = ""
            if station.get("simulated"):
                behind = ": simulated, nothing real behind it"
            elif station.get("wired"):
                behind = ": its real drivers on simulated devices"
            self._words.setText(f"Connected to '{station.get('profile')}'{behind}.")
        palette = QPalette()
        if not reason:
            palette.setColor(QPalette.ColorRole.WindowText, QColor(theme.colours().dim))
        self._words.setPalette(palette)
        if not is_connected:
            self._forget()
        self._take_readings()

    def _forget(self) -> None:
        """Nothing that was asked for is to be waited for any more."""
        self._asked.clear()
        for control in self._stages.values():
            control.forget()

    def _take_readings(self, *_: object) -> None:
        known = self._hub.is_linked and bool(self._hub.readings)
        devices = self._hub.readings.get("devices") or {}
        for role, row in self._rows.items():
            row.show_device(devices.get(role) or {}, known)
            row.setVisible((devices.get(role) or {}).get("state") != "absent")
        for quantity, asked in list(self._asked.items()):
            if quantity.agrees(asked, self._read(quantity)):
                del self._asked[quantity]
                field = self._typed.get(quantity)
                if field is not None and field.number() == asked / quantity.factor:
                    field.clear()
        for control in self._stages.values():
            control.take_readings()
        for role in self._rows:
            self._show_row(role)

    def _take_event(self, event: Mapping[str, Any]) -> None:
        if event.get("event") != "job-ended":
            return
        kind = (event.get("job") or {}).get("kind")
        if kind in ("set", "move") and not event.get("ok"):
            self._forget()
            self._take_readings()
        elif kind == "doctor" and event.get("result"):
            self._show_doctor(event["result"])

    def _show_doctor(self, result: Mapping[str, Any]) -> None:
        if self._doctor is None:
            self._doctor = DoctorDialog(self)
        self._doctor.show_rows(result)
        self._doctor.show()
        self._doctor.activateWindow()

    def _show_row(self, role: str) -> None:
        """Show what a device reads back, and what of it was asked for."""
        row = self._rows.get(role)
        if row is None:
            return
        asked = ", ".join(
            quantity.words(value)
            for quantity, value in self._asked.items()
            if quantity.role == role
        )
        known = self._hub.is_linked and bool(self._hub.readings)
        row.show_reading(self._reading(role) if known else NONE, asked)
        for quantity, (on, off) in SWITCH_WORDS.items():
            if quantity.role == role and quantity in self._switches:
                self._switches[quantity].setText(off if self._is_on(quantity) else on)

    def _reading(self, role: str) -> str:
        values = self._hub.readings.get("values") or {}
        device = (self._hub.readings.get("devices") or {}).get(role) or {}
        if device.get("state") == "failed":
            return "failed"
        if role in self._stages and self._stages[role].reading != NONE:
            return self._stages[role].reading
        written = ""
        match role:
            case "laser" if values.get("emission") is not None:
                rate = RATE.words(values.get("repetition_rate_hz"))
                written = f"{EMISSION.words(values['emission'])}, {rate}"
            case "card" if finite(values.get("sync_rate_hz")) is not None:
                written = f"sync {si(values['sync_rate_hz'], 'Hz')}"
            case "temperature":
                written = _temperature_words(values)
            case "attenuator" | "detection_attenuator":
                quantity = TRANSMISSION if role == "attenuator" else DETECTION
                if finite(self._read(quantity)) is not None:
                    written = f"T {quantity.words(self._read(quantity))}"
            case "power_meter" if finite(values.get("power_nw")) is not None:
                written = POWER.words(values["power_nw"])
            case "shutter" if values.get("shutter_open") is not None:
                written = SHUTTER.words(values["shutter_open"])
            case _:
                pass
        if written:
            return written
        return str(device.get("words") or NONE)

    def _recolour(self) -> None:
        for row in self._rows.values():
            row.recolour()
        self._take_status()


SWITCH_WORDS = {
    EMISSION: ("&Laser on", "&Laser off"),
    SHUTTER: ("Op&en", "Clos&e"),
}
"""What a switch would do, if it is off and if it is on."""


def _temperature_words(values: Mapping[str, Any]) -> str:
    """Temperature, set point, and whether it is reached; empty: not known."""
    here, wanted = finite(values.get("temperature_k")), finite(values.get("set_point_k"))
    if here is None:
        return ""
    if wanted is None:
        return f"{here:.2f} K"
    if abs(wanted - here) <= REACHED_K:
        return f"{here:.2f} K, {wanted:g} K reached"
    return f"{here:.2f} K, {wanted:g} K under way"


__all__ = ["InstrumentView", "why_not"]
