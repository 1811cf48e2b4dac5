"""Browse as a person uses it: open, compare, fit again, keep, export, measure again."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QFileDialog, QTableWidget
from pytestqt.qtbot import QtBot

from tests.daq.scan_files import write_counts
from tplm_analysis import synthetic_map
from tplm_config import (
    Axis,
    CardSettings,
    InputError,
    LineScan,
    SeriesPlan,
    load_profile,
    to_toml,
)
from tplm_config import (
    Settings as Point,
)
from tplm_daq.series.manifest import Entry, Manifest, Result, write_manifest
from tplm_daq.store import read_analyses
from tplm_gui.data import opened
from tplm_gui.data.background import Background
from tplm_gui.data.latest import work_pool
from tplm_gui.data.opened import RUNNING, Settings, Shelf
from tplm_gui.hub import Hub, News
from tplm_gui.views.browse import MOST, BrowseView, recent

PLAN = LineScan(
    half_range_um=2, positions=15, dwell_s=1, passes=1, sample="a film",
    card=CardSettings(time_bin_ps=100, range_ns=12.8),
)  # fmt: skip
PROFILE = load_profile("simulated")


def film(path: Path, d: float = 0.05, skip: tuple[int, ...] = (), **header: Any) -> Path:
    """A scan file with a film's counts."""
    made = synthetic_map(
        1, d_cm2_per_s=d, positions=15, bins=128, bin_ns=0.1, time_zero_ns=1.0, amplitude=3e5
    )
    plan = header.pop("plan", PLAN)
    write_counts(path, plan, skip, table=made.counts, profile=PROFILE, **header)
    return path


@pytest.fixture
def view(qtbot: QtBot, hub: Hub) -> Iterator[BrowseView]:
    hub.take_profile(PROFILE)
    view = BrowseView(hub)
    qtbot.addWidget(view)
    view.resize(1160, 640)
    view.show()
    yield view
    for _ in range(2):  # what nobody wants any more still runs to its end
        work_pool().submit(int).result()


@pytest.fixture
def told(hub: Hub) -> list[News]:
    news: list[News] = []
    hub.news.connect(news.append)
    return news


def idle(qtbot: QtBot, view: BrowseView) -> None:
    qtbot.waitUntil(lambda: view.background.busy == 0, timeout=20_000)


def show(qtbot: QtBot, view: BrowseView, *paths: Path) -> None:
    for path in paths:
        view.open(str(path))
    idle(qtbot, view)


def cells(table: QTableWidget, column: int) -> list[str]:
    return [table.item(row, column).text() for row in range(table.rowCount())]  # type: ignore[union-attr]


def listed(view: BrowseView) -> QTableWidget:
    table = view.findChild(QTableWidget, "browse-list")
    assert table is not None
    return table


def results(view: BrowseView) -> QTableWidget:
    table = view.findChild(QTableWidget, "browse-results")
    assert table is not None
    return table


def test_an_opened_scan_is_listed_fitted_and_drawn(
    qtbot: QtBot, view: BrowseView, tmp_path: Path
) -> None:
    path = film(tmp_path / "a.h5")
    show(qtbot, view, path)
    row = [listed(view).item(0, c).text() for c in range(1, 7)]  # type: ignore[union-attr]
    assert row[0] == "a.h5"
    assert row[1] == "line, 15 × 1"
    assert row[2] == "a film"
    d, error = (float(part) for part in row[4].split(" ± "))
    assert d == pytest.approx(0.05, abs=4 * error)
    assert view.current is not None
    assert view.current.content.path == path
    assert path in view._map_plots
    for tab, key in ((1, "msd"), (2, "decay"), (3, "d")):
        view._tabs.setCurrentIndex(tab)
        if key != "d":
            assert view.plots[key].arrays()
    assert recent() == [str(path)]


def test_opened_by_the_hub_in_the_order_asked(
    qtbot: QtBot, view: BrowseView, hub: Hub, tmp_path: Path
) -> None:
    paths = [film(tmp_path / f"{name}.h5", d) for name, d in (("b", 0.02), ("a", 0.1))]
    for path in paths:
        hub.open_requested.emit(str(path))
    idle(qtbot, view)
    assert cells(listed(view), 1) == ["b.h5", "a.h5"]
    hub.open_requested.emit(str(paths[0]))  # again: no second line
    idle(qtbot, view)
    assert cells(listed(view), 1) == ["b.h5", "a.h5"]
    view._tabs.setCurrentIndex(1)
    _, low, _ = view.plots["msd"].data("b-msd")
    _, high, _ = view.plots["msd"].data("a-msd")
    assert high[-20:].mean() > 2 * low[-20:].mean()
    tick = listed(view).item(0, 0)
    assert tick is not None
    tick.setCheckState(Qt.CheckState.Unchecked)
    assert [file.content.name for _, file in view.compared] == ["a.h5"]
    assert "b-msd_x" not in view.plots["msd"].arrays()


def test_tables_are_opened_too(qtbot: QtBot, view: BrowseView, tmp_path: Path) -> None:
    made = synthetic_map(2, d_cm2_per_s=0.05, positions=15, bins=100, bin_ns=0.1, time_zero_ns=1.0)
    path = tmp_path / "map.npz"
    np.savez(path, counts=made.counts, x_um=made.x_um, t_ns=made.t_ns)
    show(qtbot, view, path)
    assert "0.0" in cells(listed(view), 5)[0]
    assert not view._again_button.isEnabled()
    assert not view._panel.save_button.isEnabled()
    assert not view._export_actions["ptu"].isEnabled()


@pytest.mark.parametrize("make", [
    lambda folder: folder / "nothing.h5",
    lambda folder: folder,  # no series
    lambda folder: write(folder / "text.h5", b"not HDF5"),
    lambda folder: write(folder / "text.txt", b"1,2"),
    lambda folder: write(folder / "broken.npz", b"PK\x03\x04"),
    lambda folder: write(folder / "empty.csv", b""),
])  # fmt: skip
def test_a_wrong_file_gives_one_banner(
    qtbot: QtBot, view: BrowseView, told: list[News], tmp_path: Path,
    make: Callable[[Path], Path],
) -> None:  # fmt: skip
    path = make(tmp_path)
    show(qtbot, view, path)
    assert [(one.level, one.code) for one in told] == [("error", "browse-open")]
    assert path.name in told[0].text
    assert "\n" not in told[0].text
    assert listed(view).rowCount() == 0


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_scan_that_goes_on_is_opened(qtbot: QtBot, view: BrowseView, tmp_path: Path) -> None:
    path = film(tmp_path / "growing.h5", skip=(0, 1, 14))
    show(qtbot, view, path)
    assert cells(listed(view), 6) == [f"{RUNNING}, 80%"]
    film(tmp_path / "whole.h5").replace(path)
    view._reload_button.click()
    idle(qtbot, view)
    assert cells(listed(view), 6) == [RUNNING]


def test_a_run_that_ends_is_read_again(
    qtbot: QtBot, view: BrowseView, hub: Hub, tmp_path: Path
) -> None:
    path = film(tmp_path / "growing.h5", skip=(0,))
    show(qtbot, view, path)
    film(tmp_path / "whole.h5").replace(path)
    last = {"kind": "scan", "path": "growing.h5", "ending": "completed"}
    hub.take_status({"station": {"folder": str(tmp_path), "last": last}})
    idle(qtbot, view)
    assert cells(listed(view), 6) == [RUNNING]


def test_estimators_side_by_side(qtbot: QtBot, view: BrowseView, tmp_path: Path) -> None:
    show(qtbot, view, film(tmp_path / "a.h5"))
    panel = view._panel
    for method in ("slices", "gaussian-msd", "voigt-davg", "moment"):
        panel.method.setCurrentIndex(panel.method.findData(method))
        assert panel.model.isEnabled() is False
        panel.fit_button.click()
        idle(qtbot, view)
    names = cells(results(view), 0)
    assert names == ["global", "slices", "gaussian-msd", "voigt-davg", "moment"]
    for words in cells(results(view), 1):
        assert float(words.split(" ± ")[0]) == pytest.approx(0.05, rel=0.5)
    # what was asked for last is shown; another is a click away
    assert cells(listed(view), 5) == [cells(results(view), 1)[-1]]
    results(view).selectRow(1)
    assert cells(listed(view), 5) == [cells(results(view), 1)[1]]
    panel.method.setCurrentIndex(0)
    panel.model.setCurrentIndex(panel.model.findData("voigt"))
    panel.from_ns.setText("2")
    panel.to_ns.setText("8,5")
    panel.fit_button.click()
    idle(qtbot, view)
    assert cells(results(view), 0)[-1] == "global, voigt, 2 to 8.5 ns"


@pytest.mark.parametrize(("low", "high"), [("x", ""), ("5", "2"), ("", "nan")])
def test_times_that_make_no_sense_are_told_and_not_fitted(
    qtbot: QtBot, view: BrowseView, tmp_path: Path, low: str, high: str
) -> None:
    show(qtbot, view, film(tmp_path / "a.h5"))
    view._panel.from_ns.setText(low)
    view._panel.to_ns.setText(high)
    view._panel.fit_button.click()
    assert view.background.busy == 0
    assert view._panel.warnings.toPlainText().endswith(".")
    assert results(view).rowCount() == 1


def test_a_setting_that_cannot_be_is_one_banner(
    qtbot: QtBot, view: BrowseView, told: list[News], tmp_path: Path
) -> None:
    show(qtbot, view, film(tmp_path / "a.h5"))
    view.fit_current(Settings(drift=True))  # the scan did not measure it
    idle(qtbot, view)
    assert [(one.level, one.code) for one in told] == [("error", "browse-fit")]
    assert "drift" in told[0].text
    assert results(view).rowCount() == 1


def test_a_result_is_kept_in_the_file(
    qtbot: QtBot, view: BrowseView, told: list[News], tmp_path: Path
) -> None:
    path = film(tmp_path / "a.h5")
    show(qtbot, view, path)
    view.fit_current(Settings(method="slices", t_range_ns=(1.5, 9.0)))
    idle(qtbot, view)
    before = cells(listed(view), 5)
    view._panel.save_button.click()
    idle(qtbot, view)
    (kept,) = read_analyses(path)
    assert kept.settings["method"] == "slices"
    assert kept.settings["t_range_ns"] == [1.5, 9.0]
    assert told[-1].level == "info"
    assert cells(listed(view), 5) == before
    assert "kept" in cells(results(view), 0)[0]
    assert not view._panel.save_button.isEnabled()  # it is in the file already
    # a new view shows it without a fit of its own, with its MSD
    again = BrowseView(view.hub)
    qtbot.addWidget(again)
    show(qtbot, again, path)
    assert len(cells(results(again), 0)) == 1
    again._tabs.setCurrentIndex(1)
    assert np.isfinite(again.plots["msd"].data("a-msd")[1]).all()


@pytest.mark.parametrize("form", ["csv", "npz", "mat", "ptu"])
def test_export(
    qtbot: QtBot, view: BrowseView, told: list[News], tmp_path: Path, form: Any
) -> None:
    show(qtbot, view, film(tmp_path / "a.h5"))
    target = tmp_path / f"out.{form}"
    view._export_actions[form].trigger()
    dialog = view.findChild(QFileDialog, "browse-export-dialog")
    assert dialog is not None
    assert not dialog.isModal() or dialog.windowModality() is Qt.WindowModality.WindowModal
    dialog.fileSelected.emit(str(target))
    dialog.close()
    idle(qtbot, view)
    assert target.is_file()
    view.export(form, str(target))  # it exists now
    idle(qtbot, view)
    assert [one.level for one in told][-1] == "error"
    assert "exists" in told[-1].text


@pytest.mark.parametrize(("changes", "level"), [
    ({}, None),
    ({"simulation": PROFILE.simulation.model_copy(update={"seed": 7})}, None),  # no instrument
    ({"optics": PROFILE.optics.model_copy(update={"magnification": 122.0})}, "warning"),
])  # fmt: skip
def test_measure_this_again(
    qtbot: QtBot, view: BrowseView, hub: Hub, told: list[News], tmp_path: Path,
    changes: dict[str, Any], level: str | None,
) -> None:  # fmt: skip
    show(qtbot, view, film(tmp_path / "a.h5"))
    hub.take_profile(PROFILE.model_copy(update=changes))
    offered: list[object] = []
    views: list[str] = []
    hub.plan_offered.connect(offered.append)
    hub.view_requested.connect(views.append)
    view._again_button.click()
    assert offered == [PLAN]
    assert views == ["scan"]
    assert [one.level for one in told] == ([level] if level else [])
    if level:
        assert "magnification 495.0 → 122.0" in told[0].text


def series(folder: Path) -> Path:
    """A folder with the manifest of a power series, and the file of its first point."""
    folder.mkdir()
    powers = (1.0, 5.0, 20.0)
    plan = SeriesPlan(scan=PLAN, axes=(Axis(power_nw=powers),))
    entries = tuple(
        Entry(
            index=i, label=f"{power:g} nW", settings=Point(power_nw=power), file=f"p{i}.h5",
            state="done" if i < 2 else "waiting",
            result=Result(power_nw=power, d_cm2_per_s=0.01 * (i + 1), d_stderr_cm2_per_s=0.001)
            if i < 2 else None,
        )
        for i, power in enumerate(powers)
    )  # fmt: skip
    write_manifest(
        folder,
        Manifest(
            created="2026-11-21T10:00:00+00:00", plan=to_toml(plan), profile=to_toml(PROFILE),
            simulated=False, points=entries,
        ),
    )  # fmt: skip
    film(folder / "p0.h5", 0.01)
    return folder


def test_a_series(qtbot: QtBot, view: BrowseView, hub: Hub, tmp_path: Path) -> None:
    folder = series(tmp_path / "powers")
    show(qtbot, view, folder)
    assert cells(listed(view), 2) == ["series, 3 points"]
    assert cells(results(view), 0) == ["1 nW", "5 nW", "20 nW"]
    assert cells(results(view), 2) == ["done", "done", "waiting"]
    view._tabs.setCurrentIndex(3)
    x, d, error = view.plots["d"].data("powers")
    np.testing.assert_allclose(x, [1, 5])
    np.testing.assert_allclose(d, [0.01, 0.02])
    np.testing.assert_allclose(error, [0.001, 0.001])  # type: ignore[arg-type]
    view._normalised.setChecked(True)
    np.testing.assert_allclose(view.plots["d"].data("powers")[1], [1, 2])
    view._against.setCurrentIndex(view._against.findData("temperature_k"))
    assert not view.plots["d"].arrays().keys() - {"x_axis", "y_axis"}  # nobody knows it
    results(view).cellDoubleClicked.emit(0, 0)
    idle(qtbot, view)
    assert cells(listed(view), 1) == ["powers", "p0.h5"]
    offered: list[object] = []
    hub.plan_offered.connect(offered.append)
    listed(view).selectRow(0)
    view._again_button.click()
    assert isinstance(offered[0], SeriesPlan)
    # the manifest itself does as well as its folder
    show(qtbot, view, folder / "series.json")
    assert listed(view).rowCount() == 2


def test_texts_hide_what_a_lesson_hides(qtbot: QtBot, view: BrowseView, tmp_path: Path) -> None:
    secret = PROFILE.model_copy(
        update={
            "simulation": PROFILE.simulation.model_copy(update={"focus_z_um": 1.2345}),
        }
    )
    made = synthetic_map(1, positions=15, bins=128, bin_ns=0.1, time_zero_ns=1.0)
    path = tmp_path / "lesson.h5"
    write_counts(path, PLAN, table=made.counts, profile=secret)
    show(qtbot, view, path)
    file = view.current
    assert file is not None
    assert {"Header", "Plan", "Profile", "Journal", "Centring and drift"} <= set(file.content.texts)
    view._tabs.setCurrentIndex(4)
    for title in file.content.texts:
        view._which_text.setCurrentText(title)
        text = view._text.toPlainText()
        assert text
        assert "1.2345" not in text
        assert "[simulation" not in text
    assert "magnification = 495" in file.content.texts["Profile"]


def test_closing_takes_it_off_the_list(qtbot: QtBot, view: BrowseView, tmp_path: Path) -> None:
    show(qtbot, view, film(tmp_path / "a.h5"), film(tmp_path / "b.h5"))
    listed(view).selectRow(0)
    listed(view).setFocus()
    qtbot.keyClick(listed(view), Qt.Key.Key_Delete)
    assert cells(listed(view), 1) == ["b.h5"]
    view._close_button.click()
    assert listed(view).rowCount() == 0
    assert not view._close_button.isEnabled()


def test_counts_of_a_few_files_only(tmp_path: Path) -> None:
    shelf = Shelf(2)
    paths = [film(tmp_path / f"{i}.h5") for i in range(4)]
    found = [opened.open_path(path, shelf) for path in paths]
    assert len(shelf) == 2
    assert shelf.read(paths[3]) is shelf.read(paths[3])
    assert all(one.rate.shape[1] <= opened.COLUMNS for one in found)
    before = shelf.read(paths[3])
    film(tmp_path / "new.h5", 0.1).replace(paths[3])
    assert shelf.read(paths[3]) is not before  # it has changed


def test_no_more_files_are_compared_than_there_are_colours(
    view: BrowseView, tmp_path: Path
) -> None:
    content = opened.open_path(film(tmp_path / "0.h5"), view.shelf)
    for i in range(MOST + 1):
        view._opened(replace(content, path=tmp_path / f"{i}.h5", stored=0))  # nothing to fit
    assert listed(view).rowCount() == MOST + 1
    assert len(view.compared) == MOST
    last = listed(view).item(MOST, 0)
    assert last is not None
    assert last.checkState() is Qt.CheckState.Unchecked
    last.setCheckState(Qt.CheckState.Checked)  # one too many
    assert len(view.compared) == MOST
    assert listed(view).item(MOST, 0).checkState() is Qt.CheckState.Unchecked  # type: ignore[union-attr]


def test_only_the_newest_answer_counts(qtbot: QtBot, qapp: Any) -> None:
    background = Background(qapp)
    gate = threading.Event()
    told: list[object] = []

    def slowly() -> str:
        assert gate.wait(10)
        return "old"

    background.start("fit", slowly, told.append, told.append)
    background.start("fit", lambda: "new", told.append, told.append)
    background.start("other", lambda: "other", told.append, told.append)
    gate.set()
    qtbot.waitUntil(lambda: background.busy == 0)
    assert sorted(map(str, told)) == ["new", "other"]

    def wrong() -> None:
        raise InputError("a.h5", "it is broken")

    background.start("x", wrong, told.append, lambda words: told.append(words))
    background.start("y", lambda: 1 / 0, told.append, lambda words: told.append(words))
    qtbot.waitUntil(lambda: background.busy == 0)
    assert {str(one) for one in told[2:]} == {
        "a.h5: it is broken", "it could not be done (ZeroDivisionError: division by zero)"
    }  # fmt: skip
    background.start("z", lambda: "unwanted", told.append, told.append)
    background.cancel("z")
    assert not background.is_busy("z")
    qtbot.waitUntil(lambda: background.busy == 0)
    assert "unwanted" not in told


def test_everything_can_be_reached_and_says_what_it_is(qtbot: QtBot, view: BrowseView) -> None:
    from PyQt6.QtWidgets import QAbstractButton, QComboBox, QLineEdit

    for kind in (QAbstractButton, QComboBox, QLineEdit):
        for widget in view.findChildren(kind):
            if widget.objectName().startswith("browse-"):
                assert widget.toolTip()
                assert widget.focusPolicy() is not Qt.FocusPolicy.NoFocus or (
                    widget.objectName().endswith("-menu")
                )
