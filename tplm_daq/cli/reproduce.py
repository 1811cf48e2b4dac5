"""Commands that calculate much: reproduce, simulate sweep."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from tplm_config import InputError
from tplm_daq.cli.bar import progress_bar
from tplm_daq.cli.options import F, json_option
from tplm_daq.cli.output import answer, stderr
from tplm_daq.store.files import replacing
from tplm_daq.studies import Cache, compute, load_sweep
from tplm_daq.studies import reproduce as papers


def _where(function: F) -> F:
    """Add the options that say where to calculate and where results are kept."""
    options = [
        click.option(
            "--workers", type=click.IntRange(1, 1024),
            help="Processes on this machine.  [default: one for each core]",
        ),
        click.option(
            "--scheduler", metavar="ADDRESS",
            help="Calculate on the dask cluster of this scheduler (tcp://host:port) instead.",
        ),
        click.option(
            "--cache", type=click.Path(path_type=Path, file_okay=False),
            help="Folder of results that are kept.  [default: in the user's cache folder]",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Draw on a terminal how many are done; say what is kept when it is stopped."""
    count = (0, 0)
    try:
        with progress_bar(what) as draw:

            def progress(done: int, total: int) -> None:
                nonlocal count
                count = done, total
                draw(done, total)

            yield progress
    except KeyboardInterrupt:
        done, total = count
        stderr().print(f"{done} of {total} are kept; the same command goes on from there")
        raise


@click.command()
@click.argument("figures", nargs=-1, metavar="[FIGURE]...")
@click.option("--quick", is_flag=True, help="Far fewer random numbers: the shape, in seconds.")
@_where
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("reproduce"),
    show_default=True, help="Folder of the page, the pictures and the numbers.",
)  # fmt: skip
@json_option
def reproduce(
    figures: tuple[str, ...], quick: bool, workers: int | None, scheduler: str | None,
    cache: Path | None, out: Path, as_json: bool,
) -> None:  # fmt: skip
    """Calculate figures of the papers, compare them with what the papers say, and draw them.

    FIGURE: s1-4e, s1-s7, s1-tables, s2-2e, s2-3cd, s3-3d, s3-3e, s3-4b; all when none is given.
    """
    names = list(dict.fromkeys(figures)) or list(papers.STUDIES)
    for name in names:
        if name not in papers.STUDIES:
            allowed = f"allowed: {', '.join(papers.STUDIES)}"
            raise InputError("tplm reproduce", f"there is no figure '{name}'", allowed)
    images, kept = out / "images", Cache(cache)
    _make(images)
    _make(kept.folder)
    with _bar("simulations") as progress:
        found = papers.reproduce(
            [papers.STUDIES[name] for name in names], quick=quick, workers=workers,
            scheduler=scheduler, cache=kept, progress=progress,
        )  # fmt: skip
    pictures = {one.study.name: f"images/reproduce-{one.study.name}.png" for one in found}
    for one in found:
        papers.draw(one, out / pictures[one.study.name])
    command = " ".join(["tplm reproduce", *figures, *(["--quick"] if quick else [])])
    result: dict[str, Any] = {"quick": quick, "figures": [one.to_dict() for one in found]}
    _write(out / "reproduce.md", papers.page(found, pictures, command))
    _write(out / "reproduce.json", json.dumps(result, ensure_ascii=False, allow_nan=False))
    text = "\n".join([*map(str, found), f"page: {out / 'reproduce.md'}"])
    answer(result | {"page": str(out / "reproduce.md")}, text, as_json)


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@_where
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True,
    help="Folder of the table (sweep.csv) and of all results (sweep.json).",
)  # fmt: skip
@json_option
def sweep(
    plan: Path, workers: int | None, scheduler: str | None, cache: Path | None, out: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Simulate a model (memory, bright-dark, quantum) at every combination of some values.

    PLAN is TOML: model = "memory", seed = 1, a table [axes] of lists, a table [fixed] of values.
    """
    found, kept = load_sweep(plan), Cache(cache)
    _make(out)
    _make(kept.folder)
    with _bar(found.model) as progress:
        results = compute(
            found.tasks, workers=workers, scheduler=scheduler, cache=kept,
            progress=progress,
        )  # fmt: skip
    rows = found.rows(results)
    try:
        with (
            replacing(out / "sweep.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(out / "sweep.csv", f"it cannot be written ({error.strerror})") from None
    points = [
        {"values": dict(task.values), "result": result}
        for task, result in zip(found.tasks, results, strict=True)
    ]
    record = {"model": found.model, "axes": dict(found.axes), "points": points}
    _write(out / "sweep.json", json.dumps(record))
    files = {"table": str(out / "sweep.csv"), "file": str(out / "sweep.json")}
    text = f"{len(rows)} points: {files['table']}, {files['file']}"
    answer({"model": found.model, "rows": rows, **files}, text, as_json)


def _make(folder: Path) -> None:
    """Make a folder before anything long is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"this folder cannot be made ({error.strerror})") from None


def _write(path: Path, text: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(path, f"it cannot be written ({error.strerror})") from None
