"""The one error for input that cannot be used, whatever it was read from."""

from pathlib import Path


class InputError(ValueError):
    """Something a person gave us cannot be used; the text is one sentence they can act on.

    Parameters
    ----------
    source : str or Path
        The file, bundled name or option the input came from.
    problem : str
        What was found, and where in it.
    allowed : str
        What would have been accepted, or what to do.
    key : str
        Dotted key inside the source, if there is one.
    """

    def __init__(self, source: str | Path, problem: str, allowed: str = "", key: str = "") -> None:
        self.source = str(source)
        self.key = key
        self.problem = problem
        self.allowed = allowed
        where = f"{self.source}: {key}: " if key else f"{self.source}: "
        sentence = f"{where}{problem}" + (f"; {allowed}" if allowed else "")
        super().__init__(" ".join(sentence.split()))
