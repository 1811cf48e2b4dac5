"""Simulated light on disk: read back, never trusted, never in the way."""

import os
import sys
import threading
import time
from pathlib import Path

import filelock
import numpy as np
import pytest

from tplm_simulators.samples import cache
from tplm_simulators.samples.cache import cache_file, cache_folder, kept_or_computed
from tplm_simulators.samples.gridded import LightHistogram

RECIPE = {"kind": "memory", "alpha": 0.1, "seed": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPLM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def light(value: float = 1.0) -> LightHistogram:
    return LightHistogram(
        np.full((2, 3, 3), value, np.float32), np.arange(4.0), np.arange(3.0), np.zeros(3), 0.1,
        0.05, 0.001,
    )  # fmt: skip


class Source:
    """Light that counts how often it was computed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> LightHistogram:
        self.times += 1
        return light(self.times)


def never() -> None:
    raise AssertionError("nobody else computes")


def same(a: LightHistogram, b: LightHistogram) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in cache._FIELDS)


def test_light_is_computed_once_and_read_back(folder):
    source = Source()
    first = kept_or_computed(RECIPE, source, never)
    again = kept_or_computed(dict(reversed(RECIPE.items())), source, never)
    assert source.times == 1
    assert same(first, again)
    assert [p.suffix for p in sorted(folder.iterdir()) if p.suffix != ".lock"] == [".npz"]


@pytest.mark.parametrize("change", [{"alpha": 0.1001}, {"seed": 2}, {"kind": "bright-dark"}])
def test_any_other_parameter_is_other_light(change):
    source = Source()
    kept_or_computed(RECIPE, source, never)
    kept_or_computed(RECIPE | change, source, never)
    assert source.times == 2
    assert cache_file(RECIPE) != cache_file(RECIPE | change)


def whole() -> bytes:
    kept_or_computed(RECIPE, light, never)
    return cache_file(RECIPE).read_bytes()


def rewritten(**changes: object) -> bytes:
    whole()
    with np.load(cache_file(RECIPE)) as kept:
        values = {name: kept[name] for name in kept.files}
    values |= changes
    np.savez_compressed(cache_file(RECIPE), **{n: v for n, v in values.items() if v is not None})
    return cache_file(RECIPE).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda: b"",
        lambda: b"PK\x03\x04 not a zip",
        lambda: whole()[: len(whole()) // 2],
        lambda: whole()[:200] + bytes(40) + whole()[240:],
        lambda: rewritten(photons=None),
        lambda: rewritten(photons=np.full((2, 3, 3), np.nan, np.float32)),
        lambda: rewritten(photons=np.array([object()], dtype=object)),
        lambda: rewritten(edges_um=np.arange(5.0)),
        lambda: rewritten(recipe=np.array("another one")),
        lambda: rewritten(d_cm2_per_s=np.zeros(2)),
    ],
)
def test_a_damaged_file_is_computed_again_and_replaced(folder, damage):
    folder.mkdir()
    cache_file(RECIPE).write_bytes(damage())
    source = Source()
    assert same(kept_or_computed(RECIPE, source, never), light(1.0))
    assert source.times == 1
    kept_or_computed(RECIPE, source, never)
    assert source.times == 1


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path, folder):
    folder.write_text("a file stands in its place")
    source = Source()
    kept_or_computed(RECIPE, source, never)
    kept_or_computed(RECIPE, source, never)
    assert source.times == 2


def test_a_full_disk_is_no_reason_to_fail(monkeypatch, folder):
    def full(*_args: object, **_values: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert same(kept_or_computed(RECIPE, light, never), light())
    assert [p for p in folder.iterdir() if p.suffix != ".lock"] == []


def test_who_comes_second_waits_for_the_first_and_takes_its_light(folder):
    """Two at once, as two processes are: the lock belongs to one."""
    folder.mkdir()
    source, seen = Source(), threading.Event()
    lock = filelock.FileLock(cache_file(RECIPE).with_suffix(".lock"))
    found: list[LightHistogram] = []

    with lock:
        second = threading.Thread(
            target=lambda: found.append(kept_or_computed(RECIPE, source, seen.set))
        )
        second.start()
        assert seen.wait(10.0)
        cache._write(cache_file(RECIPE), RECIPE, light(5.0))
    second.join(10.0)
    assert source.times == 0
    assert same(found[0], light(5.0))


def test_whoever_waits_may_leave(folder):
    folder.mkdir()

    def leave() -> None:
        raise LookupError

    begun = time.monotonic()
    with filelock.FileLock(cache_file(RECIPE).with_suffix(".lock")):
        # a lock object of another owner, as in another process
        outcome: list[type] = []

        def second() -> None:
            try:
                kept_or_computed(RECIPE, light, leave)
            except LookupError as error:
                outcome.append(type(error))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10.0)
    assert outcome == [LookupError]
    assert time.monotonic() - begun < 5


def test_what_was_not_used_for_longest_goes_first(monkeypatch, folder):
    size = len(whole())
    monkeypatch.setattr(cache, "MAX_BYTES", int(3.5 * size))
    for seed in (2, 3):
        kept_or_computed(RECIPE | {"seed": seed}, light, never)
    for age, seed in ((300, 1), (200, 2), (100, 3)):
        path = cache_file(RECIPE | {"seed": seed})
        os.utime(path, (time.time() - age,) * 2)
    kept_or_computed(RECIPE, Source(), never)  # read, so used just now
    kept_or_computed(RECIPE | {"seed": 4}, light, never)
    left = {seed for seed in (1, 2, 3, 4) if cache_file(RECIPE | {"seed": seed}).exists()}
    assert left == {1, 3, 4}


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "X"}, Path("X/tplm")),
        ("linux", {}, Path.home() / ".cache/tplm"),
        ("darwin", {}, Path.home() / "Library/Caches/tplm"),
        ("win32", {"LOCALAPPDATA": "L"}, Path("L/tplm")),
        ("linux", {"TPLM_CACHE_DIR": "C", "XDG_CACHE_HOME": "X"}, Path("C")),
    ],
)
def test_where_the_files_are(monkeypatch, platform, environment, expected):
    for name in ("TPLM_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == expected
