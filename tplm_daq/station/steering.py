"""What directs the devices outside a run: it can be interrupted at every look."""

from collections.abc import Callable

from tplm_daq.events import Event, Notice, RunState


class Interrupted(Exception):  # noqa: N818 - a request that was obeyed, not an error
    """Unwinds what is done outside a run; the text says who wanted that."""


class Steering:
    """A `tplm_daq.handling.Director` for what is done by hand and while aligning.

    Parameters
    ----------
    sign : callable
        Called at each look: the watchdog's sign of life.
    tell : callable
        Takes events.
    """

    def __init__(self, sign: Callable[[], None], tell: Callable[[Event], None]) -> None:
        self._sign = sign
        self._tell = tell
        self._why: str | None = None

    def interrupt(self, why: str) -> None:
        """Have what is being done end at its next look; from any thread."""
        self._why = why

    def clear(self) -> None:
        """Whatever was to be interrupted has ended."""
        self._why = None

    def check_abort(self) -> None:
        """Raise `Interrupted` if somebody wants that."""
        self._sign()
        if self._why is not None:
            raise Interrupted(self._why)

    def check_stop(self) -> None:
        """As `check_abort`."""
        self.check_abort()

    def enter(self, state: RunState, why: str = "") -> None:
        """Tell why something else is done now, if there is a reason."""
        if why:
            self._tell(Notice("info", "by-hand", f"{state}: {why}"))

    def emit(self, event: Event) -> None:
        """Tell an event."""
        self._tell(event)
