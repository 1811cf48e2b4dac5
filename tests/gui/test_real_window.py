"""The application as a process of its own, on a real X server."""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PyQt6.QtGui import QImage

from tplm_daq.host import HostClient, find_hosts

from .conftest import Threads

pytestmark = pytest.mark.skipif(
    shutil.which("Xvfb") is None or shutil.which("import") is None,
    reason="needs Xvfb, and ImageMagick's import",
)
UP_S = 3.0
"""Of processor time until the window is up: others may be at work on the machine."""


@pytest.fixture
def display() -> Iterator[str]:
    """An X server that chooses its own number."""
    told, tell = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(tell), "-screen", "0", "1366x768x24", "-nolisten", "tcp"],
        pass_fds=[tell],
        stderr=subprocess.DEVNULL,
    )
    os.close(tell)
    try:
        ready, _, _ = select.select([told], [], [], 20)
        assert ready, "the X server does not start"
        yield f":{os.read(told, 20).decode().strip()}"
    finally:
        os.close(told)
        server.terminate()
        server.wait()


def look(display: str, path: Path) -> np.ndarray:
    """What the X server shows, as grey levels."""
    subprocess.run(
        ["import", "-display", display, "-window", "root", str(path)], check=True, timeout=20
    )
    image = QImage(str(path)).convertToFormat(QImage.Format.Format_Grayscale8)
    bits = image.constBits()
    assert bits is not None
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bytes(bits), dtype=np.uint8).reshape(image.height(), -1)
    return rows[:, : image.width()]


def is_painted(grey: np.ndarray) -> bool:
    """Neither one colour nor two: there are letters on it."""
    return len(np.unique(grey)) > 20


def stands_still(display: str, picture: Path, until: float) -> None:
    """Wait until every view is there: three pictures in a row are the same."""
    same, last = 0, look(display, picture)
    while same < 3:
        wait(until, "a picture that stands still")
        now = look(display, picture)
        same = same + 1 if np.array_equal(now, last) else 0
        last = now


def wait(until: float, what: str) -> None:
    if time.monotonic() > until:
        pytest.fail(f"not within its time: {what}")


def test_on_a_real_display(display: str, tmp_path: Path, threads: Threads) -> None:
    with threads.lent():  # the window is another process here
        see_it(display, tmp_path)


def see_it(display: str, tmp_path: Path) -> None:
    """From the first picture to its sudden end; the station that it started goes on."""
    picture = tmp_path / "window.png"
    assert not is_painted(look(display, picture))
    env = os.environ | {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    began_s = time.monotonic()
    window = subprocess.Popen(
        [sys.executable, "-m", "tplm_gui.app", "--light", "--settings", str(tmp_path / "w.ini")],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    hosts = []
    try:
        while not is_painted(look(display, picture)):
            assert window.poll() is None, window.communicate()[0]
            wait(began_s + 60, "the first picture")
        first_s = time.monotonic() - began_s
        times = psutil.Process(window.pid).cpu_times()
        print(
            f"first picture on the screen {first_s:.2f} s after the start of the process, "
            f"{times.user + times.system:.2f} s of them at work"
        )
        assert times.user + times.system < UP_S
        while not (hosts := find_hosts()):  # the station it starts
            wait(began_s + 60, "a station")
        # what a window is for: a client is there, and the instrument's name is on the screen
        with HostClient(hosts[0]) as client:
            status = client.ask("status")["status"]
            assert status["station"]["speed"] == 10
            assert status["station"]["profile"] == "simulated"
            stands_still(display, picture, began_s + 90)
            assert is_painted(look(display, picture))
            window.send_signal(signal.SIGKILL)
            said, _ = window.communicate(timeout=20)
            assert said == b""  # it prints nothing
            assert client.ask("status")["ok"]  # and the station is none the worse
            client.ask("quit")
        while find_hosts():
            wait(began_s + 90, "the end of the station")
    finally:
        window.kill()
        window.communicate()
        for entry in find_hosts():
            os.kill(entry.pid, signal.SIGTERM)
