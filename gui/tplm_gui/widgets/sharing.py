"""How the time of a series is shared, in a few figures and two sentences."""

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from tplm_gui import words
from tplm_gui.data.sharing import Sharing
from tplm_gui.widgets.launch import Figures
from tplm_gui.widgets.parts import ElidedLabel

TIPS = {
    "now": "Standard error of {} by what was counted so far, as the shares reckon it; the fit "
    "below has its own",
    "then": "Standard error of {} that is expected when all the time is used as it is shared",
    "even": "Standard error of {} that is expected if what is left were shared evenly",
}


def error_of(value: float | None, unit: str) -> str:
    """A standard error, with two digits."""
    return words.NONE if value is None else f"± {value:.2g} {unit}".rstrip()


class SharedFigures(Figures):
    """Error of what is wanted: so far, in the end, and with even shares."""

    def __init__(self) -> None:
        names = [("now", "error so far"), ("then", "in the end"), ("even", "with even shares")]
        super().__init__(names, "series-shared")

    def show_sharing(self, sharing: Sharing) -> None:
        """Show other figures."""
        name, unit = sharing.wanted, sharing.unit
        # a long unit would spread the figures out
        short, whole = (unit, name) if name == "τ" else ("", f"the slope, {unit}")
        for key, tip in TIPS.items():
            value: float | None = getattr(sharing, key)
            text = words.NONE if value is None else f"{name} {error_of(value, short)}"
            self.say(key, text, tip.format(whole))


class SharingLines(QWidget):
    """What was decided last and why, and which point would tell most next."""

    taken = pyqtSignal(object)
    """A `Proposal` that is to be measured too."""

    def __init__(self) -> None:
        super().__init__()
        self._sharing: Sharing | None = None
        self.why, self.next = _line("series-shared-why"), _line("series-shared-next")
        self.take = QPushButton("Measure it &too")
        self.take.setObjectName("series-shared-take")
        self.take.setAutoDefault(False)
        self.take.clicked.connect(self._take)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.why)
        row = QHBoxLayout()
        row.addWidget(self.next, 1)
        row.addWidget(self.take)
        column.addLayout(row)
        self.hide()

    def show_sharing(self, sharing: Sharing | None) -> None:
        """Show other sentences; None: there are none."""
        self._sharing = sharing
        proposal = None if sharing is None else sharing.proposal
        self.setVisible(sharing is not None)
        if sharing is None:
            return
        why = sharing.why and f"Decided last: {sharing.why}."
        if sharing.problem:
            why = f"{why} How it is shared from here cannot be told: {sharing.problem}.".lstrip()
        _say(self.why, why)
        # what is still to come is not counted in the proposal
        what = "If it ended now, would" if sharing.shares_s else "Would"
        _say(self.next, "" if proposal is None else f"{what} tell most next: {proposal}.")
        self.take.setVisible(proposal is not None)

    def allow(self, why_not: str) -> None:
        """Let the proposed point be measured, or say why not."""
        self.take.setEnabled(not why_not)
        self.take.setToolTip(
            why_not
            or "Go on with this series, with the proposed point at its end and the time for it; "
            "what is done stays"
        )

    def _take(self) -> None:
        if self._sharing is not None and self._sharing.proposal is not None:
            self.taken.emit(self._sharing.proposal)


def _line(name: str) -> ElidedLabel:
    label = ElidedLabel()
    label.setObjectName(name)
    return label


def _say(label: ElidedLabel, text: str) -> None:
    label.setText(text)
    label.setToolTip(text)
    label.setVisible(bool(text))
