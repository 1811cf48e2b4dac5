"""Colours and fonts of the window, light and dark; widgets that paint themselves follow `notifier`.

The line colours are those of Okabe and Ito (Color Universal Design, 2008), which people with any
common kind of colour blindness can tell apart, made darker on white and lighter on black.
"""

from dataclasses import dataclass

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PyQt6.QtWidgets import QApplication

FUSION = "tplm-fusion"
"""Property of the application: it looks alike on every system."""

OUTLINED = (
    "QAbstractSpinBox", "QCheckBox", "QComboBox", "QListView", "QPushButton", "QTableView",
    "QToolButton",
)  # fmt: skip
"""Kinds of widgets whose outline Fusion makes from the colour behind them."""
DARKER = 1.4
"""By how much; on a dark panel nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Colours:
    """Colours as ``#rrggbb``.

    Attributes
    ----------
    background, panel : str
        Behind plots and lists, and behind everything else.
    text, dim : str
        What is read, and what is read only if one looks for it.
    accent : str
        What is chosen.
    good, warn, bad : str
        As one expects it, to be looked at, not to be left like this.
    grid : str
        Grid lines and frames.
    edge : str
        Edges of what one types into or ticks.
    series : tuple of str
        Lines of a plot in their order.
    map : str
        Name of the colour map of images, for pyqtgraph and matplotlib.
    """

    background: str
    panel: str
    text: str
    dim: str
    accent: str
    good: str
    warn: str
    bad: str
    grid: str
    edge: str
    series: tuple[str, ...]
    map: str = "viridis"


LIGHT = Colours(
    background="#ffffff",
    panel="#f1f2f4",
    text="#1b1e23",
    dim="#5e6672",
    accent="#1f66b5",
    good="#17803d",
    warn="#9a6200",
    bad="#c02626",
    grid="#c9ced6",
    edge="#a3abb6",
    series=(
        "#0072b2", "#d55e00", "#00825f", "#b3478a", "#b07a00", "#3f96cf", "#6b4a1e", "#4d545e",
    ),
)  # fmt: skip
DARK = Colours(
    background="#14171b",
    panel="#1f2329",
    text="#e4e7eb",
    dim="#98a1ad",
    accent="#5aa2f0",
    good="#4cc27a",
    warn="#e9ae3c",
    bad="#f26a63",
    grid="#3a414b",
    edge="#5b6573",
    series=(
        "#56b4e9", "#f08a3c", "#2bc49a", "#dd8fbc", "#f0e442", "#7f9cf5", "#c9a27a", "#b4bac3",
    ),
)  # fmt: skip


class _Notifier(QObject):
    """Tells that the colours are others now."""

    changed = pyqtSignal()


notifier = _Notifier()
_now = LIGHT


def colours() -> Colours:
    """The colours of the moment."""
    return _now


def current_is_dark() -> bool:
    """Whether the window is dark."""
    return _now is DARK


def apply(app: QApplication, dark: bool) -> None:
    """Give the application its colours; tells `notifier`."""
    global _now
    _now = DARK if dark else LIGHT
    if not app.property(FUSION):  # a style of its own has every widget laid out anew
        app.setStyle("fusion")
        app.setProperty(FUSION, True)
    sheet = _style(_now)
    if app.styleSheet() != sheet:
        app.setPalette(_palette(_now))
        for kind in OUTLINED:
            app.setPalette(_outlined(_now), kind)
        app.setStyleSheet(sheet)
    notifier.changed.emit()


def figure_font(pt: float) -> QFont:
    """Font of a figure that is read from across the room; its digits are all of one width."""
    font = QFont(QApplication.font())
    font.setPointSizeF(pt)
    font.setWeight(QFont.Weight.DemiBold)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def fixed_font(pt: float = 9.0) -> QFont:
    """Font of a log: every letter of one width."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setPointSizeF(pt)
    return font


def _palette(c: Colours) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette()
    for which, value in (
        (role.Window, c.panel),
        (role.WindowText, c.text),
        (role.Base, c.background),
        (role.AlternateBase, c.panel),
        (role.Text, c.text),
        (role.PlaceholderText, c.dim),
        (role.Button, c.panel),
        (role.ButtonText, c.text),
        (role.BrightText, c.bad),
        (role.ToolTipBase, c.background),
        (role.ToolTipText, c.text),
        (role.Highlight, c.accent),
        (role.HighlightedText, "#ffffff" if c is LIGHT else "#0c0e11"),
        (role.Link, c.accent),
        (role.LinkVisited, c.accent),
        (role.Light, c.background if c is LIGHT else c.grid),
        (role.Midlight, c.panel),
        (role.Mid, c.grid),
        (role.Dark, c.grid),
        (role.Shadow, c.grid if c is LIGHT else c.background),
    ):
        palette.setColor(which, QColor(value))
    for which in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, QColor(c.dim))
    return palette


def _outlined(c: Colours) -> QPalette:
    """A palette with which Fusion draws outlines in the colour of edges."""
    palette = _palette(c)
    edge = QColor(c.edge)
    red, green, blue = (min(round(part * DARKER), 255) for part in edge.getRgb()[:3] if part)
    palette.setColor(QPalette.ColorRole.Window, QColor(red, green, blue))
    return palette


def _style(c: Colours) -> str:
    """What a palette cannot say."""
    return f"""
    QToolTip {{ color: {c.text}; background: {c.background}; border: 1px solid {c.grid}; }}
    QMainWindow::separator {{ background: {c.panel}; width: 4px; height: 4px; }}
    QMainWindow::separator:hover {{ background: {c.accent}; }}
    QDockWidget {{ font-weight: 600; }}
    QDockWidget > QWidget {{ font-weight: 400; }}
    QLineEdit, QPlainTextEdit {{ background: {c.background}; border: 1px solid {c.edge};
        border-radius: 2px; padding: 1px; }}
    QLineEdit:focus, QPlainTextEdit:focus {{ border-color: {c.accent}; }}
    QLineEdit:disabled {{ background: {c.panel}; color: {c.dim}; }}
    QAbstractSpinBox QLineEdit, QComboBox QLineEdit {{ border: none; padding: 0px; }}
    QCheckBox::indicator:unchecked {{ background: {c.background}; border: 1px solid {c.edge};
        border-radius: 2px; width: 11px; height: 11px; margin: 0px; }}
    QCheckBox::indicator:unchecked:disabled {{ background: {c.panel}; }}
    """
