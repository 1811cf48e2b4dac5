"""What every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# The matrices here are small: several threads for one of them only stand in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def hosts_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Keep a test's running scans apart from those of the person who runs the tests."""
    folder = tmp_path_factory.mktemp("runtime")
    monkeypatch.setenv("TPLM_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the light of simulated samples out of the user's cache; one for all tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPLM_CACHE_DIR", str(folder))
        yield folder


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
