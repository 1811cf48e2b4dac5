"""The first session: its pictures are those of the page, and it can be gone through."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from PyQt6.QtCore import QSettings
from PyQt6.QtGui import QAction, QKeySequence, QShortcut
from pytestqt.qtbot import QtBot

from tplm_gui.hub import Hub
from tplm_gui.tour import PICTURES, SMALL, STEPS
from tplm_gui.window import KEYS, Window

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [f"{name}.png" for name, _ in STEPS]
LARGEST = 150_000
QUICK = 3
"""Steps in every run: opened, connected, set by hand."""


def go(tmp_path: Path, *options: str) -> list[str]:
    """Go through the tour in a process of its own; names of its pictures."""
    out = tmp_path / "pictures"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    words = [sys.executable, "-m", "tplm_gui.tour", "--out", str(out), *options]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    for path in out.iterdir():
        with Image.open(path) as image:
            assert image.size == SMALL
            assert len(image.getcolors() or []) > 50  # not an empty window
    return sorted(path.name for path in out.iterdir())


def test_the_first_steps(tmp_path: Path) -> None:
    assert go(tmp_path, "--steps", str(QUICK)) == NAMES[:QUICK]


@pytest.mark.full
def test_the_whole_session(tmp_path: Path) -> None:
    assert go(tmp_path) == NAMES


def test_every_step_has_its_picture() -> None:
    assert sorted(path.name for path in PICTURES.iterdir()) == NAMES
    for path in PICTURES.iterdir():
        assert path.stat().st_size < LARGEST, path.name
        with Image.open(path) as image:
            assert image.size == SMALL, path.name


def test_the_page_shows_every_picture_in_order() -> None:
    page = (DOCS / "first-session.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", page)
    assert [link for _, link in shown] == [f"images/window/{name}" for name in NAMES]
    assert len({words for words, _ in shown}) == len(shown)


def keys_of(text: str) -> set[str]:
    """Keys in the first column of a table, with ranges written out."""
    found: set[str] = set()
    for row in re.findall(r"^\| (.*?) \|", text, re.MULTILINE):
        for span in re.findall(r"Ctrl\+(\d)`? … `?Ctrl\+(\d)", row):
            found |= {f"Ctrl+{i}" for i in range(int(span[0]), int(span[1]) + 1)}
        found |= set(re.findall(r"(?:Ctrl\+|Shift\+)?\b(?:Esc|Return|Del|F\d+|[A-Z]|\d)\b", row))
    return found


@pytest.fixture
def shortcuts(qtbot: QtBot, tmp_path: Path) -> set[str]:
    """Every key that a window with all its views listens to."""
    window = Window(Hub(), QSettings(str(tmp_path / "w.ini"), QSettings.Format.IniFormat))
    qtbot.addWidget(window)
    with qtbot.waitSignal(window.loaded, timeout=20_000):
        window.load_views()
    keys = [key for action in window.findChildren(QAction) for key in action.shortcuts()]
    keys += [one.key() for one in window.findChildren(QShortcut)]
    return {key.toString(QKeySequence.SequenceFormat.PortableText) for key in keys} - {""}


def test_the_page_tells_every_key(shortcuts: set[str]) -> None:
    page = (DOCS / "window.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## Keys\n(.*?)\n## ", page, re.DOTALL)
    assert keys_of(section) == shortcuts


def test_the_help_tells_keys_that_there_are(shortcuts: set[str]) -> None:
    told = keys_of(KEYS)
    assert told <= shortcuts
    assert {"Esc", "Ctrl+Esc", "Ctrl+7", "F1"} <= told
