"""What every device said of itself: the answer of the doctor as a table."""

from collections.abc import Mapping
from typing import Any

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from tplm_gui import theme
from tplm_gui.widgets.parts import ROLES, finite
from tplm_gui.words import NONE


class DoctorDialog(QDialog):
    """What every device said of itself: a table, with a sentence for each."""

    COLUMNS = (
        ("role", "Device"), ("model", "Model"), ("serial_number", "Serial number"),
        ("firmware", "Firmware"), ("round_trip_ms", "Round trip"),
        ("checked_against", "Driver tried on"), ("sentence", "Found"),
    )  # fmt: skip

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("doctor")
        self.setWindowTitle("Doctor: what the devices say of themselves")
        self.setModal(False)
        self.summary = QLabel()
        self.summary.setObjectName("doctor-summary")
        self.summary.setWordWrap(True)
        self.table = QTableWidget(0, len(self.COLUMNS))
        self.table.setObjectName("doctor-table")
        self.table.setAccessibleName("Devices and what was found")
        self.table.setToolTip("One line a device; Ctrl+C copies what is selected")
        self.table.setHorizontalHeaderLabels([title for _, title in self.COLUMNS])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setWordWrap(True)
        if (head := self.table.verticalHeader()) is not None:
            head.hide()
            head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        if (head := self.table.horizontalHeader()) is not None:
            head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
            head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            head.setStretchLastSection(True)
        close = QPushButton("&Close")
        close.setObjectName("doctor-close")
        close.setToolTip("Close this list")
        close.clicked.connect(self.accept)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(close)
        column = QVBoxLayout(self)
        column.addWidget(self.summary)
        column.addWidget(self.table, 1)
        column.addLayout(foot)
        self.resize(900, 360)

    def show_rows(self, result: Mapping[str, Any]) -> None:
        """Show the rows of a result; they are those of ``tplm devices --json``."""
        rows = list(result.get("rows") or ())
        self.table.setRowCount(len(rows))
        failed = 0
        for line, row in enumerate(rows):
            failed += row.get("error") is not None
            for column, (key, _) in enumerate(self.COLUMNS):
                item = QTableWidgetItem(_cell(row, key))
                if row.get("error") is not None:
                    item.setForeground(QColor(theme.colours().bad))
                self.table.setItem(line, column, item)
        words = f"{len(rows) - failed} of {len(rows)} devices answer."
        if absent := result.get("none"):
            names = (role.replace("_", " ") for role in absent)
            words += f" None on this instrument: {', '.join(names)}."
        self.summary.setText(words)


def _cell(row: Mapping[str, Any], key: str) -> str:
    if key == "role":
        role = str(row.get("role", ""))
        return ROLES.get(role, role)
    if key == "round_trip_ms":
        value = finite(row.get(key))
        return NONE if value is None else f"{value:.3g} ms"
    if key == "sentence":
        error = row.get("error")
        return f"✕ {error}" if error is not None else f"✓ answers: {row.get('state') or 'ready'}"
    return str(row.get(key) or NONE)


__all__ = ["DoctorDialog"]
