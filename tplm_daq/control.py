"""What may be asked of something that runs, from any thread: a scan or a series."""

from typing import Protocol


class Controls(Protocol):
    """The four promises; see ``docs/run.md``."""

    def pause(self) -> None:
        """Finish this visit, block the light, wait."""

    def resume(self) -> None:
        """Go on after a pause."""

    def stop(self, why: str = ...) -> None:
        """Finish this visit, keep everything, end; a success."""

    def abort(self, why: str = ...) -> None:
        """End now; finished visits are kept."""

    def emergency(self, why: str = ...) -> None:
        """Block the laser before anything else, then end."""


__all__ = ["Controls"]
