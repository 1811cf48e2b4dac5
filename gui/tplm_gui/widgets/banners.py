"""Sentences for the person at the table, in bars that stand in nobody's way.

Above the views, at most three; the rest are counted. One of the same code takes the place of the
one before, and one without a text takes it away. What is only for information goes by itself.
"""

from collections.abc import Callable, Sequence

from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tplm_gui import theme
from tplm_gui.hub import Hub, Level, News

MOST = 3
INFO_S = 8.0
LONGEST = 600
"""Letters that are shown; the rest is in the tooltip and in the log."""
_WORDS = {"info": "Information", "warning": "Warning", "error": "Error"}
_RANK = {"info": 0, "warning": 1, "error": 2}


class Bar(QFrame):
    """One sentence, its buttons, and how bad it is."""

    def __init__(
        self,
        news: News,
        choices: Sequence[tuple[str, Callable[[], None]]],
        gone: Callable[["Bar"], None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.news = news
        self._gone = gone
        self.setObjectName("banner")
        self.setAccessibleName(f"{_WORDS[news.level]}: {news.text}")
        short = news.text if len(news.text) <= LONGEST else f"{news.text[:LONGEST]} …"
        self.text = QLabel(f"<b>{_WORDS[news.level]}</b>&nbsp; {_html(short)}")
        self.text.setObjectName("banner-text")
        self.text.setToolTip(f"<qt>{_html(news.text)}</qt>")  # whatever is too long to be seen
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 4, 6, 4)
        row.addWidget(self.text, 1)
        self.buttons: list[QPushButton] = []
        for words, act in choices:
            button = QPushButton(words)
            button.setObjectName(f"banner-{words.lower().replace('&', '').replace(' ', '-')}")
            button.setToolTip(f"{words.replace('&', '')}: {news.text}")
            # a click leaves the keys where one types, and does not hand them on to Stop
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(lambda _=False, act=act: self._chosen(act))
            row.addWidget(button)
            self.buttons.append(button)
        self.dismiss = QToolButton()
        self.dismiss.setText("✕")
        self.dismiss.setAutoRaise(True)
        self.dismiss.setObjectName("banner-dismiss")
        self.dismiss.setToolTip("Take this bar away; the log keeps what it says")
        self.dismiss.setAccessibleName("Dismiss")
        self.dismiss.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.dismiss.clicked.connect(lambda: self._gone(self))
        row.addWidget(self.dismiss)
        self.recolour()

    def recolour(self) -> None:
        """Take on the colours of the moment."""
        c = theme.colours()
        edge = {"info": c.accent, "warning": c.warn, "error": c.bad}[self.news.level]
        self.setStyleSheet(
            f"QFrame#banner {{ background: {c.background}; border: 1px solid {edge};"
            f" border-left: 6px solid {edge}; border-radius: 3px; }}"
        )

    def _chosen(self, act: Callable[[], None]) -> None:
        self._gone(self)
        act()


class Banners(QWidget):
    """The bars, newest first among equals, the worst on top.

    Parameters
    ----------
    hub : Hub
        Whose `News` are shown.
    """

    def __init__(self, hub: Hub, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("banners")
        self._bars: list[Bar] = []
        self._shows_all = False
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(6, 0, 6, 4)
        self._column.setSpacing(3)
        self.more = QPushButton()
        self.more.setObjectName("banners-more")
        self.more.setFlat(True)
        self.more.setToolTip("Show the other sentences too, or only the first ones")
        self.more.clicked.connect(self._turn)
        self._column.addWidget(self.more)
        hub.news.connect(self.show_news)
        theme.notifier.changed.connect(self._recolour)
        self._arrange()

    @property
    def bars(self) -> tuple[Bar, ...]:
        """All bars, those that are counted only among them."""
        return tuple(self._bars)

    def show_news(self, news: News) -> None:
        """Show a sentence; without a text, take away the one of that code."""
        self.withdraw(news.code)
        if not news.text:
            return
        choices = [(news.action, news.act)] if news.action and news.act is not None else []
        bar = self._add(news, choices)
        if news.level == "info" and not choices:
            fade = QTimer(bar)
            fade.setSingleShot(True)
            fade.timeout.connect(lambda: self._remove(bar))
            fade.start(round(INFO_S * 1000))

    def question(
        self,
        text: str,
        choices: Sequence[tuple[str, Callable[[], None]]],
        code: str,
        level: Level = "warning",
    ) -> None:
        """Ask something without standing in the way; the first choice has the focus."""
        self.withdraw(code)
        bar = self._add(News(level, text, code), choices)
        bar.buttons[0].setDefault(True)
        bar.buttons[0].setFocus()

    def withdraw(self, code: str) -> None:
        """Take away the bar of a code, if there is one."""
        for bar in [bar for bar in self._bars if code and bar.news.code == code]:
            self._remove(bar)

    def _add(self, news: News, choices: Sequence[tuple[str, Callable[[], None]]]) -> Bar:
        same = next((bar for bar in self._bars if bar.news.text == news.text), None)
        if same is not None:  # said twice is not twice as bad
            self._remove(same)
        bar = Bar(news, choices, self._remove, self)
        rank = _RANK[news.level]
        place = next(
            (i for i, other in enumerate(self._bars) if _RANK[other.news.level] <= rank),
            len(self._bars),
        )
        self._bars.insert(place, bar)
        self._column.insertWidget(place, bar)
        self._arrange()
        return bar

    def _remove(self, bar: Bar) -> None:
        if bar in self._bars:
            self._bars.remove(bar)
            self._column.removeWidget(bar)
            focus, window = QApplication.focusWidget(), self.window()
            if focus is not None and window is not None and bar.isAncestorOf(focus):
                window.setFocus()  # or Qt would hand it on to the next button
            bar.hide()
            bar.deleteLater()
            self._arrange()

    def _turn(self) -> None:
        self._shows_all = not self._shows_all
        self._arrange()

    def _arrange(self) -> None:
        """Show the first ones and count the rest."""
        rest = len(self._bars) - MOST
        self._shows_all = self._shows_all and rest > 0
        for i, bar in enumerate(self._bars):
            bar.setVisible(self._shows_all or i < MOST)
        self.more.setVisible(rest > 0)
        self.more.setText("only the first three" if self._shows_all else f"{rest} more")
        self.setVisible(bool(self._bars))

    def _recolour(self) -> None:
        for bar in self._bars:
            bar.recolour()


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
