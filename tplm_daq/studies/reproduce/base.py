"""What every reproduced figure is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tplm_analysis.results import plain
from tplm_config import InputError
from tplm_daq.store.files import replacing
from tplm_daq.studies.cache import Cache
from tplm_daq.studies.running import Progress, compute
from tplm_daq.studies.tasks import Outcome, Task

F64 = NDArray[np.float64]
Verdict = Literal["agrees", "differs", "no number"]
COLOURS = ("#1f4e79", "#2a9d8f", "#8ab17d", "#e9a03b", "#c8553d", "#7a3b69", "#555555")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One statement of a paper beside what is calculated here.

    Attributes
    ----------
    what : str
        Quantity or behaviour, with the rule that decides.
    paper, here : str
        What the paper says, in its text or captions, and what is found.
    verdict : {"agrees", "differs", "no number"}
        ``"no number"``: the paper gives nothing to compare with, or does not say with which
        parameters.
    """

    what: str
    paper: str
    here: str
    verdict: Verdict

    @classmethod
    def of(cls, what: str, paper: str, here: str, agrees: bool) -> "Comparison":
        """Judge a statement that can be judged."""
        return cls(what, paper, here, "agrees" if agrees else "differs")


@dataclass(frozen=True, slots=True)
class Study:
    """A figure or table of a paper.

    Attributes
    ----------
    name, title : str
        For the command line, and for a heading.
    reading : str
        How the paper was read, and where and why the literal reading gives something else;
        Markdown, in sentences.
    tasks : callable
        What must be calculated; in little time if its argument, quick, is true.
    compare : callable
        Comparisons and values from the tasks and their results.
    draw : callable
        The picture, on a figure, from the same.
    """

    name: str
    title: str
    reading: str
    tasks: Callable[[bool], list[Task]]
    compare: Callable[[list[Task], list[Outcome]], tuple[list[Comparison], dict[str, Any]]]
    draw: Callable[[list[Task], list[Outcome], Figure], None]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A study with its results.

    Attributes
    ----------
    study : Study
        What was done.
    tasks, results : list
        Calculated, in the same order.
    comparisons : list of Comparison
        With the paper.
    values : dict
        Numbers behind them, ready for JSON.
    """

    study: Study
    tasks: list[Task]
    results: list[Outcome]
    comparisons: list[Comparison]
    values: dict[str, Any]

    def to_dict(self) -> dict[str, object]:
        """Return name, comparisons and values."""
        return {
            "figure": self.study.name,
            "comparisons": plain(self.comparisons),
            "values": self.values,
        }

    def __str__(self) -> str:
        lines = [self.study.title]
        lines += [
            f"  {one.verdict:>9}: {one.what}: {one.here} (paper: {one.paper})"
            for one in self.comparisons
        ]
        return "\n".join(lines)


def reproduce(
    studies: Sequence[Study],
    *,
    quick: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> list[Reproduction]:
    """Calculate figures and compare them; the keywords are those of `compute`.

    Parameters
    ----------
    studies
        Which ones; the tasks of all are calculated side by side.
    quick
        With far fewer random numbers: to see the shape, not to judge.
    workers, scheduler, cache, progress
        As in `compute`.
    """
    tasks = [study.tasks(quick) for study in studies]
    flat = [task for some in tasks for task in some]
    found = iter(
        compute(flat, workers=workers, scheduler=scheduler, cache=cache, progress=progress)
    )
    done = []
    for study, some in zip(studies, tasks, strict=True):
        results = [next(found) for _ in some]
        comparisons, values = study.compare(some, results)
        plain_values = plain(values)
        assert isinstance(plain_values, dict)
        done.append(Reproduction(study, some, results, comparisons, plain_values))
    return done


def draw(found: Reproduction, path: Path) -> None:
    """Draw a figure.

    Parameters
    ----------
    found
        The figure.
    path
        A file name that ends in .png, .pdf or .svg.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    figure = Figure(figsize=(10.5, 4.2), dpi=120, layout="constrained")
    found.study.draw(found.tasks, found.results, figure)
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        raise InputError(path, f"the picture cannot be written ({error.strerror})") from None


def page(found: Sequence[Reproduction], pictures: dict[str, str], command: str) -> str:
    """Return a page in Markdown that shows each picture with its verdict.

    Parameters
    ----------
    found
        What it shows.
    pictures
        Address of the picture of each, by name.
    command
        That makes it.
    """
    verdicts: tuple[Verdict, ...] = ("agrees", "differs", "no number")
    parts = [
        "# Figures of the papers, calculated anew\n",
        f"""\
Made by `{command}`. Papers: [references](references.md); models: [transport
models](transport-models.md). "No number" means that text and captions of the paper state none, or
not for which parameters: what could be read off a printed curve is not compared. How it is spread
over cores or a cluster: [many simulations](cluster.md).
""",
        f"| | {' | '.join(verdicts)} |\n|---|---|---|---|",
        *(
            f"| {one.study.title} | {' | '.join(_count(one, name) for name in verdicts)} |"
            for one in found
        ),
    ]
    for one in found:
        parts += [
            f"\n## {one.study.title}\n",
            f"![{one.study.title}]({pictures[one.study.name]})\n",
            f"{one.study.reading}\n",
            "| | paper | here | |\n|---|---|---|---|",
            *(
                f"| {row.what} | {row.paper} | {row.here} | **{row.verdict}** |"
                for row in one.comparisons
            ),
            f"\n`tplm reproduce {one.study.name}`",
        ]
    return "\n".join(parts) + "\n"


def _count(found: Reproduction, verdict: Verdict) -> str:
    return str(sum(one.verdict == verdict for one in found.comparisons))


def value_of(task: Task, name: str) -> float:
    """Return a parameter of a task as a number."""
    found = dict(task.values)[name]
    assert isinstance(found, int | float)
    return float(found)


def array(result: Outcome, name: str) -> F64:
    """Return a list of a result; NaN for what could not be given."""
    return np.array(result[name], dtype=np.float64)


def number(result: Outcome, name: str) -> float:
    """Return a number of a result; NaN when it could not be given."""
    return float("nan") if result[name] is None else float(result[name])


def plus_minus(value: float, stderr: float, digits: int = 2) -> str:
    """Write a value with its standard error to so many digits of the latter."""
    if not (np.isfinite(stderr) and stderr > 0):
        return f"{value:.4g}"
    places = max(0, digits - 1 - int(np.floor(np.log10(stderr))))
    return f"{value:.{places}f} ± {stderr:.{places}f}"


def logarithmic(axes: Axes, at: Sequence[float]) -> None:
    """Make the axis along x logarithmic, with numbers at these places only."""
    axes.set_xscale("log")
    axes.set_xticks(at, [f"{one:g}" for one in at])
    axes.set_xticks([], minor=True)


def finish(axes: Axes, x: str, y: str, title: str) -> None:
    """Label a panel."""
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10)
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(frameon=False, fontsize=8)
