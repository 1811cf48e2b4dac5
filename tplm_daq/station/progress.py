"""How far a search is, by what it shows."""

from collections.abc import Mapping
from typing import Any

from tplm_daq.station.settings import LineSettings, RasterSettings

LINES = {"cross": 2, "find": 4}
"""Along x and y; coarse and fine."""


class Progress:
    """Follows the events of one search.

    Parameters
    ----------
    kind : str
        The command.
    asked : LineSettings, RasterSettings or other
        Its settings.
    """

    def __init__(self, kind: str, asked: Any) -> None:
        self._lines = LINES.get(kind, 0)
        self._positions = asked.positions if isinstance(asked, LineSettings | RasterSettings) else 0
        self._done = 0

    def take(self, news: Mapping[str, Any]) -> tuple[float | None, str] | None:
        """Take in an event.

        Returns
        -------
        tuple or None
            Share of what is to be done, None if nobody can tell, and words; None if the event says
            nothing of it.
        """
        match news["event"]:
            case "line" if self._lines:
                words = f"line {min(self._done + 1, self._lines)} of {self._lines}"
                self._done += news["done"]
                part = 0.0 if news["done"] else len(news["x_um"]) / self._positions
                return min((self._done + part) / self._lines, 1.0), words
            case "image":
                measured = sum(rate is not None for row in news["rate_hz"] for rate in row)
                total = self._positions**2
                return measured / total, f"{measured} of {total} places"
            case "focus":
                return None, f"{len(news['z_um'])} heights"
        return None
