"""The live view and its feed: what a person sees of a scan that grows, ends, is resumed."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PyQt6.QtCore import QPointF, Qt
from PyQt6.QtGui import QImage
from PyQt6.QtTest import QTest
from pytestqt.qtbot import QtBot

import tplm_analysis as ta
from tests.daq.scan_files import write_counts
from tplm_config import (
    CardSettings,
    CrossScan,
    InputError,
    LineScan,
    PositionScan,
    RasterScan,
    ScanPlan,
)
from tplm_daq.analysis import fit_scan
from tplm_daq.events import Ending, RunEnded, VisitRecord
from tplm_daq.store import ScanHeader, ScanWriter, read_scan
from tplm_daq.tables import read_map
from tplm_drivers import SafeState
from tplm_gui import theme
from tplm_gui.data import maps as maps_module
from tplm_gui.data.feed import ScanFeed
from tplm_gui.data.maps import History, MapReader, MapView, read_message, write_message
from tplm_gui.hub import Hub
from tplm_gui.views.live import QUIET, LiveView, binned, normalised, pooled
from tplm_gui.widgets.plots import Axis, CurvePlot, MapPlot, Quantity, steady
from tplm_gui.words import duration, plus_minus, rate, si

CARD = CardSettings(time_bin_ps=100, range_ns=12.8)
LINE = LineScan(half_range_um=2, positions=21, dwell_s=1, passes=4, card=CARD, sample="a film")
CROSS = CrossScan(half_range_um=2, positions=21, dwell_s=1, passes=2, card=CARD)
RASTER = RasterScan(x_positions=11, y_positions=5, dwell_s=1, passes=1, card=CARD)
ONE = PositionScan(x_um=(0.0,), y_um=(0.0,), dwell_s=1, passes=3, card=CARD)
PLANS = {"line": LINE, "cross": CROSS, "raster": RASTER, "one": ONE}
SAFE = SafeState(laser_off=True, shutter_closed=True)


def table_of(plan: ScanPlan, light: float = 1500.0) -> Any:
    """Counts of every place for a film with D = 0.05 cm²/s."""
    rng = np.random.default_rng(6)
    t_ns = (np.arange(CARD.bins) + 0.5) * 0.1
    rows = []
    for place in plan.places():
        variance = 0.065 + 2 * 0.005 * t_ns
        u2 = place.x_um**2 + place.y_um**2
        rate = light * np.exp(-t_ns / 3) * np.exp(-u2 / (2 * variance)) / variance
        rows.append(rng.poisson(0.1 * rate + 0.5))
    return np.array(rows)


@cache
def _made(name: str, folder: Path) -> Path:
    path = folder / f"{name}.h5"
    write_counts(path, PLANS[name], table=table_of(PLANS[name]))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Finished scan files by name."""
    folder = tmp_path_factory.mktemp("scans")
    return lambda name: _made(name, folder)


@cache
def _read(path: Path) -> MapView:
    reader = MapReader(path)
    views = []
    for _ in range(8):
        view = reader.step()
        if view is not None:
            views.append(view)
    return views[-1]


def record(plan: ScanPlan, index: int, table: Any) -> VisitRecord:
    """What a visit measured."""
    visit = list(plan.visits())[index]
    return VisitRecord(
        visit, float(index), visit.dwell_s, 0.0, 0.0, 2.5e6, 1e4, np.nan, np.nan, frozenset(),
        table[visit.position_index].astype(np.uint32),
    )  # fmt: skip


@pytest.fixture
def live(qtbot: QtBot, hub: Hub) -> LiveView:
    """The view, on the screen."""
    view = LiveView(hub)
    qtbot.addWidget(view)
    view.resize(1000, 600)
    with qtbot.waitExposed(view):
        view.show()
    return view


def shown(live: LiveView, view: MapView) -> None:
    """Hand a map to the view and let it draw all of it."""
    live.take(view)
    live.draw_all()


# -- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (plus_minus(0.05123, 0.0031, "cm²/s"), "0.0512 ± 0.0031 cm²/s"),
        (plus_minus(1, 0.0996), "1.00 ± 0.10"),
        (plus_minus(1234, 56, "nm"), "1234 ± 56 nm"),
        (plus_minus(-3e-7, 2e-8), "(−3.00 ± 0.20) × 10⁻⁷"),
        (plus_minus(12e6, 4e5, "Hz"), "(1.200 ± 0.040) × 10⁷ Hz"),
        (plus_minus(5, None, "K"), "5 K"),
        (plus_minus(5, float("nan"), "K"), "5 K"),
        (plus_minus(None, 1, "K"), "–"),
        (plus_minus(0, 0.03), "0.000 ± 0.030"),
        (duration(0.4), "0.4 s"),
        (duration(59.6), "1 min 00 s"),
        (duration(185), "3 min 05 s"),
        (duration(3599.9), "1 h 00 min"),
        (duration(100_000), "1 d 3 h"),
        (duration(-3), "−3.0 s"),
        (duration(None), "–"),
        (rate(312), "312 /s"),
        (rate(999.96), "1.00 k/s"),
        (rate(58_700), "58.7 k/s"),
        (rate(2.5e6), "2.50 M/s"),
        (rate(0), "0 /s"),
        (rate(None), "–"),
        (si(2.5e6, "Hz"), "2.5 MHz"),
        (si(999.99, "Hz"), "1 kHz"),
        (si(-3.3e-9, "A"), "−3.3 nA"),
        (si(0, "Hz"), "0 Hz"),
        (si(None, "Hz"), "–"),
    ],
)
def test_numbers_in_words(found: str, wanted: str) -> None:
    assert found == wanted


# -- plots -----------------------------------------------------------------------------------


def test_a_steady_axis_holds_the_data_and_seldom_changes() -> None:
    now = steady(None, 0.3, 9.7)
    assert now == (0.0, 10.0)
    assert steady(now, 0.5, 9.9) == now
    assert steady(now, 0.5, 10.1) == (0.0, 11.0)  # left: as little more as round numbers allow
    assert steady(now, 2.0, 3.0) == pytest.approx((2.0, 3.0))  # too little of it was filled
    assert steady(now, float("nan"), 1.0) == now
    assert steady(None, 5.0, 5.0)[0] < 5.0 < steady(None, 5.0, 5.0)[1]


@pytest.fixture
def curves(qtbot: QtBot) -> CurvePlot:
    plot = CurvePlot("decay", "Decay", Quantity("time", "ns"), Quantity("counts"), log_y=True,
                     legend=True)  # fmt: skip
    qtbot.addWidget(plot)
    plot.add("data", "data", style="points", error="bars")
    plot.add("fit", "fit", colour=1, error="band")
    plot.put("data", [0, 1, 2, 3], [1000, 100, 0, 1], [30, 10, 1, 1])
    plot.put("fit", [0, 3], [900, 2], [10, 1])
    plot.resize(420, 300)
    plot.show()
    return plot


@pytest.fixture
def table(qtbot: QtBot) -> MapPlot:
    plot = MapPlot(
        "map", "Map", Quantity("time", "ns"), Quantity("x", "µm"), Quantity("rate", "1/s")
    )
    qtbot.addWidget(plot)
    plot.resize(420, 300)
    plot.show()
    values = np.arange(12.0).reshape(3, 4)
    values[2] = np.nan
    plot.put(values, [0.0, 1.0, 2.0, 3.0], [-1.0, 0.0, 5.0])
    return plot


def test_curves_are_exported_and_read_again(curves: CurvePlot, tmp_path: Path) -> None:
    for suffix in ("csv", "npz", "png", "svg"):
        curves.export(tmp_path / f"a.{suffix}")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].split(",")[:3] == [
        "data: time (ns)", "data: counts", "data: error of counts"
    ]  # fmt: skip
    cells = [line.split(",") for line in lines[1:]]
    assert [row[:3] for row in cells][1] == ["1", "100", "10"]
    assert [row[3:] for row in cells][1:3] == [["3", "2", "1"], ["", "", ""]]
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["data_y"].tolist() == [1000, 100, 0, 1]
        assert archive["fit_error"].tolist() == [10, 1]
        assert str(archive["x_axis"]) == "time (ns)"
    picture = QImage(str(tmp_path / "a.png"))
    assert picture.width() == 2 * curves.width()
    assert len({picture.pixel(x, 300) for x in range(0, picture.width(), 3)}) > 3
    drawing = (tmp_path / "a.svg").read_text()
    assert "<svg" in drawing
    assert "Decay" in drawing


def test_a_map_is_exported_and_read_again(table: MapPlot, tmp_path: Path) -> None:
    for suffix in ("csv", "npz", "png", "svg"):
        table.export(tmp_path / f"a.{suffix}")
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    assert rows[0][1:] == ["0", "1", "2", "3"]
    assert rows[2] == ["0", "4", "5", "6", "7"]
    assert rows[3] == ["5", "", "", "", ""]
    with np.load(tmp_path / "a.npz") as archive:
        assert np.isnan(archive["values"][2]).all()
        assert archive["y"].tolist() == [-1, 0, 5]
    assert not QImage(str(tmp_path / "a.png")).isNull()


def test_what_cannot_be_written_is_said(qtbot: QtBot, curves: CurvePlot, tmp_path: Path) -> None:
    with qtbot.waitSignal(curves.said) as said:
        curves.export_and_tell(str(tmp_path / "none" / "a.csv"))
    assert said.args[0] == "error"
    assert "No such file" in said.args[1]
    with pytest.raises(ValueError, match="not one of"):
        curves.export(tmp_path / "a.doc")
    with qtbot.waitSignal(curves.said) as said:
        curves.export_and_tell(str(tmp_path / "a.csv"))
    assert said.args == ["info", f"{tmp_path / 'a.csv'} written."]


def test_hovering_reads_values_with_units(curves: CurvePlot, table: MapPlot) -> None:
    assert curves.read_at(1.1, 5) == "time 1 ns   data 100 ± 10   fit 900 ± 10"
    assert curves.read_at(9, 5) == "time 9 ns"
    assert table.read_at(1.2, 0.3) == "time 1 ns   x 0 µm   5 1/s"
    assert table.read_at(1.2, 5.1) == "time 1 ns   x 5 µm   not measured"
    assert table.read_at(99, 0) == "time 99 ns   x 0 µm"
    table._hovered(table.view.mapViewToScene(QPointF(2.1, -0.9)))
    assert table.readout.text() == "time 2 ns   x −1 µm   2 1/s"
    table._hovered(QPointF(-5, -5))
    assert table.readout.text() == ""


def test_the_menu_offers_every_export(table: MapPlot) -> None:
    names = [action.objectName() for action in table.menu.actions() if action.text()]
    assert names == ["map-show-all", "map-csv", "map-npz", "map-png", "map-svg", "map-copy"]


def test_a_zoom_stays_until_all_is_asked_for(curves: CurvePlot) -> None:
    before = curves.view.viewRange()
    curves.view.setRange(xRange=(1, 2), padding=0)
    curves.view.sigRangeChangedManually.emit([True, True])
    curves.put("data", [0, 50], [1, 1e6])
    assert curves.view.viewRange()[0] == [1, 2]
    curves.show_all()
    assert curves.view.viewRange()[0][1] >= 50 > before[0][1]


def test_a_map_of_more_columns_than_pixels_keeps_its_means(table: MapPlot) -> None:
    values = np.tile(np.array([0.0, 10.0]), 4096)[None, :].repeat(2, axis=0)
    table.put(values, np.arange(8192.0), [0.0, 1.0], levels=(0.0, 10.0))
    image = table.image.image
    assert image.dtype == np.uint8
    assert image.shape[1] < 8192 / 2
    assert abs(float(image[:, :-1].mean()) - 128.5) < 3


# -- the reader ------------------------------------------------------------------------------


def test_the_reader_follows_a_scan_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    table = table_of(LINE)
    now = [0.0]
    with ScanWriter.create(path, ScanHeader(LINE, 100.0, CARD.bins)) as writer:
        reader = MapReader(path, clock=lambda: now[0])
        first = reader.step()
        assert first is not None
        assert (first.done, first.fit, first.ending) == (0, None, None)
        assert reader.step() is None
        seen = []
        for index in range(LINE.visit_count):
            writer.write(record(LINE, index, table))
            now[0] += 0.02
            view = reader.step()
            assert view is not None
            seen.append(view)
        assert seen[3].fit is None
        assert seen[10].fit is not None
        assert seen[-1].analysis is not None
        assert not seen[-1].is_final
        assert seen[-1].done == LINE.visit_count
        writer.note({"event": "run-ended", "ending": "completed"})
        writer.finish()
    views = [view for view in (reader.step() for _ in range(4)) if view is not None]
    last = views[-1]
    assert (last.complete, last.ending, last.is_final) == (True, "completed", True)
    whole = fit_scan(read_scan(path))
    assert last.analysis is not None
    assert last.analysis.d_cm2_per_s == whole.d_cm2_per_s
    assert last.d_cm2_per_s == (whole.d_cm2_per_s, whole.d_stderr_cm2_per_s)
    assert last.d_cm2_per_s[0] == pytest.approx(0.05, abs=4 * (last.d_cm2_per_s[1] or 0))
    assert last.decay is not None and last.lifetime is not None
    assert last.lifetime.lifetime_1e_ns == pytest.approx(2.5, rel=0.05)  # exp(-t/3)/σ(t)
    assert (last.measured_s, last.planned_s) == (84.0, 84.0)
    assert np.all(np.diff(last.history.measured_s) > 0)
    assert last.history.d_stderr_cm2_per_s[-1] < last.history.d_stderr_cm2_per_s[0]


def test_a_file_opened_late_has_the_history_of_all_of_it(files: Callable[[str], Path]) -> None:
    view = _read(files("line"))
    assert view.history.measured_s.size > 10
    assert view.history.measured_s[0] < 0.3 * view.measured_s
    assert view.history.measured_s[-1] == view.measured_s


@pytest.mark.parametrize("name", PLANS)
def test_every_kind_of_plan_is_read(name: str, files: Callable[[str], Path]) -> None:
    view = _read(files(name))
    scan = read_scan(files(name))
    assert view.complete
    assert np.array_equal(view.map.counts, scan.map().counts)
    assert view.planned_s == pytest.approx(view.map.exposure_s.sum())
    assert (view.fit is None) == (name == "one")


def test_the_history_is_capped(
    files: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps_module, "HISTORY", 10)
    reader = MapReader(files("line"))
    reader.step()
    fit = reader._fit
    assert fit is not None
    for second in range(1000):
        reader._note(1000.0 + second, fit)
        assert len(reader._points) <= 10
    assert reader._points[-1][0] == 1999.0


def test_a_series_is_followed_from_point_to_point(tmp_path: Path) -> None:
    reader = MapReader(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        reader.step()
    for name in ("p000", "p001"):
        write_counts(tmp_path / f"{name}.h5", LINE, table=table_of(LINE))
        view = reader.step()
        assert view is not None
        assert view.path.name == f"{name}.h5"
        assert view.history.measured_s.size <= 1


@pytest.mark.parametrize("name", PLANS)
def test_a_map_goes_through_the_pipe_unchanged(name: str, files: Callable[[str], Path]) -> None:
    view = _read(files(name))
    pipe = io.BytesIO()
    write_message(pipe, {"ticket": 3, "view": view})
    pipe.seek(0)
    got = read_message(pipe)
    assert got["ticket"] == 3
    back = got["view"]
    assert (back.path, back.plan, back.sample) == (view.path, view.plan, view.sample)
    assert np.array_equal(back.map.counts, view.map.counts)
    assert back.map.counts.dtype == view.map.counts.dtype
    assert not back.map.counts.flags.writeable
    assert back.d_cm2_per_s == view.d_cm2_per_s
    for one in ("fit", "analysis", "decay", "lifetime"):
        a, b = getattr(view, one), getattr(back, one)
        assert (a is None and b is None) or a.to_json(curves=True) == b.to_json(curves=True)
    with pytest.raises(EOFError):
        read_message(pipe)
    with pytest.raises(EOFError):
        read_message(io.BytesIO(pipe.getvalue()[:-9]))


# -- the view --------------------------------------------------------------------------------


def test_a_finished_scan_is_shown_whole(live: LiveView, files: Callable[[str], Path]) -> None:
    view = _read(files("line"))
    shown(live, view)
    assert view.analysis is not None
    d, error = view.d_cm2_per_s
    assert live.d.value.text() == plus_minus(d, error, "cm²/s")
    assert "84 of 84 visits" in live.words.text()
    assert live.share.value.text() == "0.00\u00a0%"
    assert live.rate.value.text() == "100 /s"
    zero = view.analysis.time_zero_ns or 0.0
    x, y, error_bars = live.msd.data("msd")
    assert error_bars is not None and x.size == y.size == error_bars.size > 20
    x, y, _ = live.msd.data("line")
    slope = np.polyfit(x, y, 1)[0]
    assert slope == pytest.approx(0.2 * (d or 0), rel=0.02)  # 2 D, 0.1 µm²/ns for 1 cm²/s
    x, y, _ = live.course.data("d")
    assert y[-1] == pytest.approx(d, rel=0.2)
    x, y, _ = live.decay.data("decay")
    assert x[0] == pytest.approx(view.t_ns[0] - zero, abs=0.1)
    assert live.decay.data("fit")[0].size > 20
    assert live.decay.note.text().startswith(("τ", "prompt"))
    for i in (1, 2, 3):
        assert np.nanmax(live.slices.data(f"fit {i}")[1]) == pytest.approx(1.0)
        assert np.abs(live.residuals.data(f"slice {i}")[1]).max() < 7


def test_sliders_and_lines_pick_the_slices(
    qtbot: QtBot, live: LiveView, files: Callable[[str], Path]
) -> None:
    shown(live, _read(files("line")))
    slider = live.sliders[1]
    assert slider.isEnabled()
    before = live.slices.data("data 2")[1].copy()
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_End)
    assert slider.value() == slider.maximum()
    assert not np.array_equal(before, live.slices.data("data 2")[1])
    at = live.map.line_at("slice 2")
    assert at == live._spans[-1].middle_ns
    live.map.moved.emit("slice 2", live._spans[2].middle_ns)
    assert slider.value() == 2
    shown(live, replace(_read(files("line")), analysed=1))  # another analysis: the choice stays
    assert slider.value() == 2


def test_a_line_on_the_map_is_dragged(
    qtbot: QtBot, live: LiveView, files: Callable[[str], Path]
) -> None:
    shown(live, _read(files("line")))
    line, _ = live.map._lines["slice 3"]
    line.setValue(2.0)
    line.sigDragged.emit(line)
    assert live._wanted_ns[2] == 2.0
    span = live._spans[live.sliders[2].value()]
    assert abs(span.middle_ns - 2.0) == min(abs(s.middle_ns - 2.0) for s in live._spans)


def test_the_modes_of_the_map(live: LiveView, files: Callable[[str], Path]) -> None:
    view = _read(files("line"))
    shown(live, view)
    assert [live.mode.itemData(i) for i in range(3)] == ["log", "raw", "normalised"]
    raw = view.map.counts / view.map.exposure_s[:, None]
    live.mode.setCurrentIndex(1)
    assert np.allclose(live.map._values, raw)
    assert "1/s" in live.map.read_at(1.0, 0.0)
    live.mode.setCurrentIndex(2)
    assert np.nanmax(live.map._values) == 1.0
    assert "share" not in live.map.read_at(1.0, 0.0)
    assert live.map.value.name == "share of the maximum"
    live.mode.setCurrentIndex(0)
    assert live.map._is_log


def test_the_map_is_exported_as_analyze_reads_it(
    live: LiveView, files: Callable[[str], Path], tmp_path: Path
) -> None:
    view = _read(files("line"))
    shown(live, view)
    live.map.export(tmp_path / "map.npz")
    found = read_map(tmp_path / "map.npz")
    assert np.array_equal(found.counts, view.map.counts)
    again = ta.fit_map(found.counts, found.x_um, found.t_ns, found.exposure_s)
    assert view.analysis is not None
    # the map's axis in the file begins at the sync pulse, as that of the scan file
    assert again.d_cm2_per_s == pytest.approx(view.analysis.d_cm2_per_s, rel=1e-6)


@pytest.mark.parametrize("name", ["cross", "raster", "one"])
def test_other_plans_are_drawn(live: LiveView, files: Callable[[str], Path], name: str) -> None:
    view = _read(files(name))
    shown(live, view)
    assert live.map._values.shape == view.map.counts.shape
    assert (live.d.value.text() == "–") == (name == "one")
    assert live.sliders[0].isEnabled() == (name != "one")


def test_an_empty_scan_and_missing_places(live: LiveView, files: Callable[[str], Path]) -> None:
    whole = _read(files("line"))
    nothing = replace(
        whole, map=replace(whole.map, counts=whole.map.counts * 0, exposure_s=np.zeros(21)),
        fit=None, analysis=None, analysed=0, is_final=False, decay=None, lifetime=None, done=0,
        measured_s=0.0, complete=False, history=History(np.zeros(0), np.zeros(0), np.zeros(0)),
        count_rate_hz=None, sync_rate_hz=None,
    )  # fmt: skip
    shown(live, nothing)
    assert live.d.value.text() == "–"
    assert np.isnan(live.map._values).all()
    assert "not measured" in live.map.read_at(1.0, 0.0)
    some = whole.map.exposure_s.copy()
    some[5:] = 0
    shown(live, replace(nothing, map=replace(whole.map, exposure_s=some)))
    assert np.isfinite(live.map._values[:5]).all()
    shown(live, whole)
    assert live.d.value.text() != "–"


def test_a_logarithmic_axis_names_few_of_its_ticks() -> None:
    axis = Axis("left")
    axis.setLogMode(y=True)
    values = [np.log10(v * 10.0**p) for p in (-2, 0, 2) for v in range(1, 10)]
    named = [text for text in axis.tickStrings(values, 1.0, None) if text]
    assert named == ["0.01", "0.02", "0.05", "1", "2", "5", "10²", "2·10²", "5·10²"]


def test_what_d_will_be_at_the_end(live: LiveView, files: Callable[[str], Path]) -> None:
    whole = _read(files("line"))
    view = replace(whole, is_final=False, ending=None, planned_s=2.25 * whole.measured_s)
    shown(live, view)
    x, y, error = live.course.data("to come")
    assert error is not None and view.fit is not None
    last = view.history.d_stderr_cm2_per_s[-1]
    assert (x[0], x[-1]) == (whole.measured_s, 2.25 * whole.measured_s)
    assert error[0] == pytest.approx(last)
    assert error[-1] == pytest.approx(last / 1.5)
    assert set(y) == {view.history.d_cm2_per_s[-1]}
    expected = (view.fit.d_stderr_cm2_per_s or 0) / 1.5
    assert live.end.value.text() == f"± {expected:.2g}"


def test_warnings_in_words(live: LiveView, files: Callable[[str], Path]) -> None:
    view = _read(files("line"))
    assert view.analysis is not None
    view = replace(view, is_final=False, ending=None)
    words = (ta.FitWarning("pile-up", "Too <bright>."), ta.FitWarning("alpha", "a remark"))
    shown(live, replace(view, analysed=6, analysis=replace(view.analysis, warnings=words[1:])))
    assert live.warnings_area.isHidden()  # its room is the plots'
    assert "no warnings" in live.words.text()
    shown(live, replace(view, analysed=7, analysis=replace(view.analysis, warnings=words)))
    height = live.warnings_area.height()
    assert "Too &lt;bright>." in live.warnings.text()
    assert "remark" not in live.warnings.text()
    assert live.warnings_area.isVisible()
    assert "no warnings" not in live.words.text()
    shown(live, replace(view, analysed=8, analysis=replace(view.analysis, warnings=())))
    assert "no warnings" in live.warnings.text()
    assert live.warnings_area.isVisible()  # a plot that moves cannot be read
    assert live.warnings_area.height() == height
    for i in range(9, 9 + QUIET):
        shown(live, replace(view, analysed=i, analysis=replace(view.analysis, warnings=())))
    assert live.warnings_area.isHidden()


def test_the_lower_plots_stay_readable_in_a_low_window(
    qtbot: QtBot, live: LiveView, files: Callable[[str], Path]
) -> None:
    shown(live, _read(files("line")))
    for high in (900, 520, 300):
        live.resize(1020, max(high, live.minimumSizeHint().height()))
        qtbot.waitUntil(lambda: live.height() >= live.minimumSizeHint().height())
        for plot in (live.msd, live.course, live.decay):
            assert plot.view.height() >= 60, (high, plot.objectName())
            axis = plot.plot.getAxis("left")
            assert axis.label.boundingRect().width() <= plot.canvas.height(), plot.objectName()


def test_the_msd_has_a_band_and_a_line(live: LiveView, files: Callable[[str], Path]) -> None:
    shown(live, _read(files("line")))
    _, y, error = live.msd.data("msd")
    assert error is not None
    low, high, between = live.msd._curves["msd"].bounds  # what is drawn
    assert np.allclose(low.yData, y - error) and np.allclose(high.yData, y + error)
    assert between.brush().color().alpha() > 0 and between.path().boundingRect().height() > 0
    assert live.msd.data("line")[0].size > 1


@pytest.mark.parametrize(
    ("count_hz", "colour", "words"),
    [(1e4, "good", "0.40"), (5e4, "warn", "2.00"), (2.5e5, "bad", "10.00")],
)
def test_pile_up_has_colours(
    live: LiveView, hub: Hub, count_hz: float, colour: str, words: str
) -> None:
    hub.happened.emit({"event": "rates", "count_rate_hz": count_hz, "sync_rate_hz": 2.5e6})
    assert live.share.value.text() == f"{words}\u00a0%"
    assert getattr(theme.colours(), colour) in live.share.value.styleSheet()
    hub.happened.emit({"event": "rates", "count_rate_hz": count_hz, "sync_rate_hz": 0.0})
    assert live.sync.value.text() == "lost"


def test_the_brightest_place_decides_on_pile_up(
    live: LiveView, files: Callable[[str], Path]
) -> None:
    view = _read(files("line"))
    shown(live, replace(view, map=replace(view.map, brightest_hz=3e4)))
    assert live.share.value.text() == "0.00\u00a0%"  # of the last visit
    assert live.share.remark.text() == "brightest place 1.20\u00a0%"
    assert theme.colours().warn in live.share.value.styleSheet()


def test_a_hidden_view_draws_when_it_is_shown(
    qtbot: QtBot, hub: Hub, files: Callable[[str], Path]
) -> None:
    view = LiveView(hub)
    qtbot.addWidget(view)
    hub.map_changed.emit(_read(files("line")))
    assert view.d.value.text() == "–"
    with qtbot.waitExposed(view):
        view.show()
    assert view.d.value.text() != "–"


def test_another_scan_begins_with_empty_plots(live: LiveView, files: Callable[[str], Path]) -> None:
    shown(live, _read(files("line")))
    shown(live, _read(files("one")))
    assert live.msd.data("msd")[0].size == 0
    assert live.slices.data("data 1")[0].size == 0


def test_averages_keep_sums_and_gaps() -> None:
    t, v = binned(np.arange(10.0), np.arange(10.0), 3)
    assert t.tolist() == [1.5, 5.5, 8.5] == v.tolist()
    t, v, e = pooled(np.arange(4.0), np.array([1.0, 3.0, 5.0, 7.0]), np.ones(4), 2)
    assert v.tolist() == [2.0, 6.0]
    assert e == pytest.approx([0.5**0.5] * 2)
    values = np.array([[1.0] * 6, [np.nan] * 6, [4.0] * 6])
    shares, _ = normalised(values, np.arange(6.0))
    assert shares[2].tolist() == [1.0] * 6
    assert shares[0].tolist() == [0.25] * 6
    assert np.isnan(shares[1]).all()


# -- the feed --------------------------------------------------------------------------------


@pytest.fixture
def feed(hub: Hub) -> Iterator[ScanFeed]:
    """A feed with its child process."""
    made = ScanFeed(hub)
    yield made
    made.close()


def test_the_feed_follows_the_run_that_the_host_tells_of(
    qtbot: QtBot, hub: Hub, feed: ScanFeed, live: LiveView, tmp_path: Path
) -> None:
    """A smaller form of ``benchmarks/window.py``: a scan in the making, a window that watches."""
    path = tmp_path / "a.h5"
    table = table_of(LINE)
    views: list[MapView] = []
    hub.map_changed.connect(views.append)
    with ScanWriter.create(path, ScanHeader(LINE, 100.0, CARD.bins)) as writer:
        for index in range(30):
            writer.write(record(LINE, index, table))
        hub.take_status({"doing": "scan", "path": str(path), "station": None})
        assert feed.path == str(path)
        qtbot.waitUntil(lambda: bool(views) and views[-1].fit is not None, timeout=30_000)
        for index in range(30, LINE.visit_count):
            writer.write(record(LINE, index, table))
        writer(RunEnded(Ending.COMPLETED, "all measured", LINE.visit_count, SAFE))
        writer.finish()
    qtbot.waitUntil(lambda: views[-1].is_final, timeout=30_000)
    whole = fit_scan(read_scan(path))
    assert views[-1].analysis is not None
    assert views[-1].analysis.d_cm2_per_s == whole.d_cm2_per_s
    qtbot.waitUntil(lambda: live.msd.data("msd")[0].size > 0)
    assert "completed" in live.words.text()
    child = psutil.Process(feed.process_id)
    feed.close()
    assert not child.is_running()


@pytest.mark.full
def test_a_reader_that_was_killed_is_started_again(
    qtbot: QtBot, hub: Hub, feed: ScanFeed, files: Callable[[str], Path]
) -> None:
    views: list[MapView] = []
    news: list[Any] = []
    hub.map_changed.connect(views.append)
    hub.news.connect(news.append)
    feed.follow(files("line"))
    qtbot.waitUntil(lambda: bool(views), timeout=30_000)
    first = feed.process_id
    psutil.Process(first).kill()
    qtbot.waitUntil(lambda: feed.process_id not in (None, first), timeout=30_000)
    views.clear()
    qtbot.waitUntil(lambda: bool(views), timeout=30_000)
    assert "started again" in news[0].text


def test_a_file_that_is_no_scan_is_told_once(
    qtbot: QtBot, hub: Hub, feed: ScanFeed, tmp_path: Path
) -> None:
    (tmp_path / "a.h5").write_bytes(b"no")
    feed._patience.setInterval(0)
    with qtbot.waitSignal(hub.news, timeout=30_000) as told:
        feed.follow(tmp_path / "a.h5")
    assert "cannot be shown" in told.args[0].text
    assert "not a readable scan file" in told.args[0].text


@pytest.mark.parametrize(
    ("status", "followed"),
    [
        ({"doing": "scan", "path": "/d/a.h5"}, "/d/a.h5"),
        ({"doing": "series", "path": "/d/s"}, "/d/s"),
        ({"doing": "scan", "path": "b.h5", "station": {"folder": "/f"}}, "/f/b.h5"),
        ({"doing": "station", "path": None, "station": {"last": None}}, ""),
        (
            {"doing": "station", "path": None, "station": {"last": {"path": "/d/c.h5"}}},
            "/d/c.h5",
        ),
    ],
)
def test_what_is_followed(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], followed: str
) -> None:
    feed = ScanFeed(hub)
    monkeypatch.setattr(feed, "_send", lambda: None)
    hub.take_status(status)
    assert feed.path == (str(Path(followed)) if followed else "")


def test_the_child_ends_with_its_input_and_loads_no_qt() -> None:
    code = (
        "import sys, tplm_gui.data.maps; "
        "assert not any(name.startswith(('PyQt6', 'pyqtgraph')) for name in sys.modules); "
        "tplm_gui.data.maps.main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], input=b"", capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_every_control_can_be_reached_and_named(live: LiveView) -> None:
    for widget in (live.mode, *live.sliders):
        assert widget.objectName()
        assert widget.toolTip()
        assert widget.accessibleName()
        assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    QTest.keyClick(live.mode, Qt.Key.Key_Down)
    assert live.mode.currentIndex() == 1
