"""What every test may use."""

import os
import sys
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

# The matrices here are small: several threads for one of them only stand in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def hosts_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders with numbers: `mktemp` reads all those there are, each time."""
    folder = tmp_path_factory.mktemp("runtime")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def hosts_of_its_own(hosts_folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep a test's running scans apart from those of the person who runs the tests."""
    folder = next(hosts_folders)
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("TPLM_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the light of simulated samples out of the user's cache; one for all tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPLM_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(autouse=True, scope="session")
def kernels_compiled_once(
    worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Of several workers one compiles a kernel, while those that need it too wait for its cache.

    In a fresh checkout each would else compile everything, which takes longer than most tests.
    """
    if worker_id == "master" or sys.platform == "win32":
        yield
        return
    import fcntl

    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    compile_ = Dispatcher.compile
    shared = tmp_path_factory.getbasetemp().parent / "kernels.lock"

    def compile_alone(kernel: Any, signature: Any) -> Any:
        place = zlib.crc32(f"{kernel.__module__}.{kernel.__name__}".encode())
        # numba's own lock first: another thread may be compiling what calls this kernel
        with global_compiler_lock:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
            try:
                return compile_(kernel, signature)
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    with shared.open("wb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatcher, "compile", compile_alone)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the long tests")
    parser.addoption("--kills", type=int, default=60, help="kills of a series with --full")
    parser.addoption("--kill-seed", type=int, default=20261121, help="when they come")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    skip = pytest.mark.skip(reason="long; run with --full")
    for item in items:
        if "full" in item.keywords:
            item.add_marker(skip)
