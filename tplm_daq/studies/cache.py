"""Results that are kept: one JSON file for each task, named by what was calculated."""

import json
from pathlib import Path

from tplm_daq.store.files import replacing
from tplm_daq.studies.tasks import Outcome, Task
from tplm_simulators.samples.cache import cache_folder


class Cache:
    """Results of tasks.

    Parameters
    ----------
    folder
        Where they are, made when the first one comes; None for ``studies`` in the user's cache
        folder, which ``TPLM_CACHE_DIR`` overrides.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = cache_folder() / "studies" if folder is None else Path(folder)

    def path(self, task: Task) -> Path:
        """File of a task."""
        return self.folder / f"{task.key}.json"

    def get(self, task: Task) -> Outcome | None:
        """Return a kept result; None if there is none, or none that can be read."""
        try:
            found = json.loads(self.path(task).read_text(encoding="utf-8"))
            result = found["result"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return result if isinstance(result, dict) else None

    def put(self, task: Task, result: Outcome) -> None:
        """Keep a result.

        Raises
        ------
        OSError
            If it cannot be written, in a sentence.
        """
        record = {"kind": task.kind, "values": dict(task.values), "seed": task.seed}
        text = json.dumps(record | {"result": result})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.path(task)) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OSError(f"{self.folder}: no result can be kept ({error.strerror})") from error
