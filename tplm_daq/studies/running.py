"""Many tasks: from the cache, from this process, from several, or from a cluster."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import closing

from tplm_config import InputError
from tplm_daq.studies.cache import Cache
from tplm_daq.studies.executors import cluster, cores, processes, starting
from tplm_daq.studies.tasks import Outcome, Task, run_task

Progress = Callable[[int, int], None]
_LOOK_S = 0.2
"""Between two looks at whether the user wants to stop; Windows waits through a Ctrl-C."""


def compute(
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Return the result of each task.

    Neither the order nor the number of workers nor where they are changes a result. Whatever ends
    it early, also Ctrl-C, what is finished is in the cache.

    Parameters
    ----------
    tasks
        What to calculate; equal ones are calculated once.
    workers
        Processes; None for all cores, 1 for none but this one.
    scheduler
        Address of a dask scheduler, in place of `workers`.
    cache
        Where results are looked up and kept; None for nowhere.
    progress
        Called with those done and all, at the beginning and after each.

    Raises
    ------
    InputError
        For a scheduler that cannot be used, and values that only the calculation finds to be
        impossible, such as a film too large for the memory.
    OSError
        When workers die or the cache cannot be written.
    """
    wanted = {task.key: task for task in tasks}
    results: dict[str, Outcome] = {}
    for key, task in wanted.items():
        kept = cache.get(task) if cache is not None else None
        if kept is not None:
            results[key] = kept
    missing = [task for key, task in wanted.items() if key not in results]
    if progress is not None:
        progress(len(results), len(wanted))
    with closing(_calculated(missing, workers, scheduler)) as found:
        for task, result in found:
            results[task.key] = result
            if cache is not None:
                cache.put(task, result)
            if progress is not None:
                progress(len(results), len(wanted))
    return [results[task.key] for task in tasks]


def _calculated(
    tasks: list[Task], workers: int | None, scheduler: str | None
) -> Generator[tuple[Task, Outcome], None, None]:
    """Give tasks and results as they come."""
    if not tasks:
        return
    number = min(workers or cores(), len(tasks))
    if scheduler is None and number == 1:
        for task in tasks:
            try:
                result = run_task(task, task.code)
            except (ValueError, MemoryError) as error:
                raise _impossible(task, error) from error
            yield task, result
        return
    with processes(number) if scheduler is None else cluster(scheduler) as pool:
        with starting():
            pending = {pool.submit(run_task, task, task.code): task for task in tasks}
        while pending:
            finished, _ = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in finished:
                task = pending.pop(future)
                try:
                    result = future.result()
                except (ValueError, MemoryError) as error:
                    raise _impossible(task, error) from error
                except (ImportError, RuntimeError) as error:
                    if scheduler is None:
                        raise
                    raise InputError(
                        "--scheduler", f"a worker cannot calculate: {error}",
                        "the workers need this version of tplm-daq",
                    ) from error  # fmt: skip
                yield task, result


def _impossible(task: Task, error: Exception) -> InputError:
    changed = (f"{name} = {value}" for name, value in task.changed.items())
    reason = "there is not enough memory" if isinstance(error, MemoryError) else str(error)
    return InputError(f"{task.kind} with {', '.join(changed) or 'its defaults'}", reason)
