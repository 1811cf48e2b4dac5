"""A log file of everything a run tells."""

import json
from pathlib import Path
from typing import Self

from tplm_config import InputError
from tplm_daq.events import Event, Rates, VisitMeasured, to_json
from tplm_daq.wall import utc_now


class EventLog:
    """An observer that writes one JSON object a line, each with the wall's time."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            # nothing is held back, so that nothing can fail on closing
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(path, f"the log cannot be written ({error.strerror})") from None

    def __call__(self, event: Event) -> None:
        """Write an event; a measured visit is logged once it is stored, meters not at all."""
        if not isinstance(event, VisitMeasured | Rates):
            line = json.dumps({"at": utc_now(), **to_json(event)}, ensure_ascii=False)
            self._file.write(f"{line}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
