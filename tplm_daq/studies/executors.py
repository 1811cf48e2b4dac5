"""Where tasks are calculated: processes of this machine, or a dask cluster."""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any

from tplm_config import InputError

CONNECT_S = 10
# several processes with a linear algebra of several threads each would stand in each other's way
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Start processes of this machine, and end them at once when something is raised.

    Raises
    ------
    OSError
        If one of them dies.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_ignore_interrupts
    )
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(active_children()) - others:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise OSError(
                "a worker process died, perhaps for lack of memory; what was finished is kept: "
                "the same command goes on, with fewer --workers if need be"
            ) from error
        raise
    pool.shutdown()


@contextmanager
def starting() -> Iterator[None]:
    """Within this, processes are started that leave Ctrl-C to this one."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    masks = hasattr(signal, "pthread_sigmask")
    if masks:  # a mask is inherited; what comes meanwhile is delivered afterwards
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Connect to a dask scheduler, and take back what it has not done when something is raised.

    Parameters
    ----------
    address
        Such as ``tcp://node:8786``.

    Raises
    ------
    InputError
        Without the package distributed, or when no scheduler answers.
    OSError
        If its workers die again and again, or the scheduler does.
    """
    try:
        from distributed import Client, KilledWorker  # an extra
    except ImportError:
        raise InputError(
            "--scheduler",
            "the package distributed is not installed",
            "pip install 'tplm-daq[distributed]' brings it",
        ) from None
    if not re.fullmatch(r"(\w+://)?[^/\s]+:\d+", address):
        raise InputError(
            "--scheduler", f"'{address}' is no address of a scheduler", "tcp://host:port is needed"
        )
    try:
        client: Any = Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(
            "--scheduler", f"no scheduler answers at '{address}'", "tcp://host:port is needed"
        ) from error
    with client:
        # every task once: a result is kept here, not by the scheduler
        pool: Executor = client.get_executor(pure=False)
        try:
            yield pool
        except (KilledWorker, CancelledError) as error:
            reason = (
                "its workers died again and again, perhaps for lack of memory"
                if isinstance(error, KilledWorker)
                else "its scheduler is gone"
            )
            raise OSError(
                f"the cluster gave up: {reason}; what was finished is kept: the same command "
                "goes on"
            ) from error
        finally:
            pool.shutdown(wait=False)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
