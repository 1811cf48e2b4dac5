"""Who calls what in which thread, over a whole session; and that a violation does not pass."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest
from PyQt6.QtCore import QTimer
from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QApplication, QLabel, QTableWidgetItem, QWidget
from pytestqt.qtbot import QtBot

from tplm_config import load_profile
from tplm_drivers import connect
from tplm_gui.data.latest import work_pool
from tplm_gui.window import Window

from .conftest import Threads
from .person import Person
from .witness import Witness


@pytest.fixture
def witness(threads: Threads) -> Iterator[Witness]:
    with Witness(threads) as witness:
        yield witness


SHORT = {"positions": "9", "dwell_s": "0.5", "passes": "3"}


def test_a_whole_session_keeps_to_its_threads(
    witness: Witness, qtbot: QtBot, window: Window, tmp_path: Path
) -> None:
    """The witness comes before the station and the window: their threads begin under its eyes."""
    person = Person(qtbot, window)
    person.connect()
    person.click("instrument-doctor")
    person.click("doctor-close")
    window.activateWindow()  # where there is a window manager it does so
    qtbot.waitUntil(window.isActiveWindow)
    person.until_idle()
    person.go_to("align")
    person.type_in("align-dwell", "0.05", "align")
    person.type_in("align-places", "7", "align")
    person.click("align-light")
    person.click("align-cross")
    found = person.find("align-found")
    person.until(lambda: found.rowCount() > 0)
    person.click("align-dark")
    person.until(lambda: not person.hub.status["station"]["aligning"])
    person.until_idle()
    maps: list[object] = []
    person.hub.map_changed.connect(maps.append)
    person.start_scan("film", SHORT, first=1)
    person.go_to("live")
    person.until(lambda: person.last.get("ending") == "completed")
    person.until(lambda: maps)
    person.drop(tmp_path / "film.h5")
    listed = person.find("browse-list")
    person.until(lambda: listed.rowCount() == 1 and listed.item(0, 5).text().startswith("0."))
    person.click("controls-emergency")
    person.until(lambda: person.bar("asked-emergency"))
    assert witness.faults == set()
    # it did look
    assert witness.qt_calls > 1000
    assert witness.device_calls > 100
    assert witness.socket_calls > 10


# -- a watch that can be fooled is none ------------------------------------------------------


def in_thread(act: Callable[[], object]) -> None:
    thread = threading.Thread(target=act, name="wrong")
    thread.start()
    thread.join()


def in_pool(act: Callable[[], object]) -> None:
    work_pool().submit(act).exception(5.0)


def wait_a_moment() -> None:
    time.sleep(0.001)  # the violation itself


def ask_a_socket() -> None:
    """Not one of the calls that the patches know."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))


def open_a_file(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w"):
        pass


def ask_a_device() -> None:
    with connect(load_profile("simulated")) as instrument:
        instrument.laser.identify()


@pytest.mark.parametrize(
    ("make", "act"),
    [
        (QWidget, lambda widget: widget.resize(3, 3)),
        (QAction, lambda action: action.setEnabled(False)),
        (QTableWidgetItem, lambda item: item.setText("a")),
        (QTimer, lambda timer: timer.objectName()),
        (QLabel, lambda label: label.text()),
    ],
)
@pytest.mark.parametrize("where", [in_thread, in_pool])
def test_a_qt_object_touched_elsewhere_is_seen(
    qapp: QApplication, witness: Witness, where: Callable[..., None],
    make: Callable[[], object], act: Callable[[object], object],
) -> None:  # fmt: skip
    it = make()
    act(it)
    assert witness.faults == set()
    where(lambda: act(it))
    assert len(witness.faults) == 1, witness.faults
    assert type(it).__name__ in witness.faults.pop()


def test_the_patches_of_every_test_see_it_too(qapp: QApplication, threads: Threads) -> None:
    label, said = QLabel(), []

    def wrong() -> None:
        try:
            label.setText("a")
        except AssertionError as error:
            said.append(str(error))

    in_thread(wrong)
    assert said == threads.faults == ["QLabel.setText in thread wrong"]
    threads.faults.clear()
    with (
        socket.socket() as one,
        pytest.raises(AssertionError, match=r"socket\.connect_ex in the thread of the window"),
    ):
        one.connect_ex(("127.0.0.1", 9))
    assert len(threads.faults) == 1
    threads.faults.clear()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (wait_a_moment, "sleep"), (ask_a_socket, "bind"), (ask_a_device, "device"),
        (open_a_file, "scan file"),
    ],
)  # fmt: skip
def test_waiting_work_in_the_thread_of_the_window_is_seen(
    qapp: QApplication, witness: Witness, threads: Threads, tmp_path: Path,
    act: Callable[..., None], words: str,
) -> None:  # fmt: skip
    def do() -> None:
        if act is open_a_file:
            act(tmp_path)
        else:
            act()

    in_thread(do)
    assert witness.faults == set()
    with threads.lent():
        do()
    assert witness.faults == set()
    do()
    assert any(words in fault for fault in witness.faults), witness.faults
