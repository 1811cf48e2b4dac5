"""The one way in and out of the window: what the host tells comes as signals, requests go by `ask`.

Every view is given a `Hub` and nothing else; no view speaks to a host, a file or a device. All
signals are emitted in the thread of the window.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from PyQt6.QtCore import QObject, pyqtSignal

from tplm_config import InstrumentProfile

Level = Literal["info", "warning", "error"]
RUNS = ("scan", "series")
"""What a host may be doing that is a run."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a host answered.

    Attributes
    ----------
    ok : bool
        Whether it does what was asked.
    words : str
        What it does, or why not, in a sentence.
    content : mapping
        The whole answer; see ``docs/host.md``.
    """

    ok: bool
    words: str
    content: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """A sentence for the person at the table; warnings and errors become banners.

    Attributes
    ----------
    level, text
        How bad, and the sentence: what happened, what is safe now, what to do.
    code : str
        What it is about; a later one of the same code takes the place of the banner before.
    at : str
        When, ISO 8601; empty: now.
    action : str
        Words of a button on the banner; empty: none.
    act : callable, optional
        What the button does.
    """

    level: Level
    text: str
    code: str = ""
    at: str = ""
    action: str = ""
    act: Callable[[], None] | None = None


class Asker(Protocol):
    """What carries requests to the host; never blocks."""

    def ask(
        self, command: str, arguments: Mapping[str, Any], then: Callable[[Reply], None]
    ) -> None:
        """Send a command; ``then`` is called in the thread of the window, also if it is lost."""


class Hub(QObject):
    """Signals and state that the views share.

    Attributes
    ----------
    status : dict
        The newest status of the host, as in ``docs/host.md``; empty before the first.
    readings : dict
        The newest read-backs; empty before the first.
    profile : InstrumentProfile or None
        Of the host's instrument.
    is_linked : bool
        Whether a host answers.
    """

    linked = pyqtSignal(bool, str)
    """A host was found or lost; the words say which."""
    status_changed = pyqtSignal(dict)
    readings_changed = pyqtSignal(dict)
    light = pyqtSignal(dict)
    """Live count while aligning."""
    happened = pyqtSignal(dict)
    """Every event of the host as it came, also those with a signal of their own."""
    profile_changed = pyqtSignal(object)
    news = pyqtSignal(object)
    """`News` from the host or from a view."""
    map_changed = pyqtSignal(object)
    """`tplm_gui.data.feed.MapView` of the scan that is measured, or was last."""
    open_requested = pyqtSignal(str)
    """A scan file or a folder of a series is to be shown in Browse."""
    plan_offered = pyqtSignal(object)
    """A `ScanPlan` or `SeriesPlan` for the form of the Scan view ("measure this again")."""
    view_requested = pyqtSignal(str)
    """A view is to be brought to the front: instrument, align, scan, live, series, browse, …"""

    def __init__(self, asker: Asker | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.asker = asker
        self.status: dict[str, Any] = {}
        self.readings: dict[str, Any] = {}
        self.profile: InstrumentProfile | None = None
        self.is_linked = False

    def ask(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        then: Callable[[Reply], None] | None = None,
    ) -> None:
        """Send a command to the host; returns at once.

        A refusal becomes a banner unless ``then`` takes the reply.
        """

        def replied(reply: Reply) -> None:
            if then is not None:
                then(reply)
            elif not reply.ok:
                self.tell("error", reply.words, code=f"ask-{command}")

        if self.asker is None:
            replied(Reply(ok=False, words="no host answers; nothing was asked of the instrument"))
        else:
            self.asker.ask(command, arguments or {}, replied)

    def tell(
        self,
        level: Level,
        text: str,
        code: str = "",
        action: str = "",
        act: Callable[[], None] | None = None,
    ) -> None:
        """Say something to the person at the table."""
        self.news.emit(News(level, text, code, action=action, act=act))

    # -- what the link brings --------------------------------------------------------------

    def take_status(self, status: dict[str, Any]) -> None:
        """Take in a status of the host."""
        self.status = status
        self.status_changed.emit(status)

    def take_readings(self, readings: dict[str, Any]) -> None:
        """Take in read-backs."""
        self.readings = readings
        self.readings_changed.emit(readings)

    def take_profile(self, profile: InstrumentProfile | None) -> None:
        """Take in the profile of the host's instrument."""
        self.profile = profile
        self.profile_changed.emit(profile)

    def take_link(self, is_linked: bool, words: str) -> None:
        """Take in that a host was found or lost."""
        self.is_linked = is_linked
        self.linked.emit(is_linked, words)


def is_running(status: Mapping[str, Any], kind: str | None = None) -> bool:
    """Whether a scan or a series goes on, or just one of these."""
    wanted = RUNS if kind is None else (kind,)
    return status.get("doing") in wanted and status.get("ending") is None
