"""Scan files from .ptu, .phu and .sdt files."""

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daq.curve_files import decay, measure_info, write_phu, write_sdt
from tests.daq.ptu_files import GENERIC, random_stream, write_ptu
from tplm_config import InputError, PositionScan
from tplm_daq.importing import import_files
from tplm_daq.store import Scan
from tplm_daq.t3 import read_ptu

NOON = datetime.fromisoformat("2024-02-29T12:00")


def write_ptus(folder: Path, n: int, *, bins: int = 3125, channels: int = 1) -> list[Path]:
    """Files p0.ptu, p1.ptu …, a minute apart and with a little more each time."""
    return [
        write_ptu(
            folder / f"p{i}.ptu",
            GENERIC,
            random_stream(
                GENERIC, 400 + 10 * i, np.random.default_rng(i), channels=channels, dtimes=bins
            ),
            File_CreatingTime=NOON + timedelta(minutes=i),
            MeasDesc_GlobalResolution=(bins + 0.2) * 64e-12,
            TTResult_SyncRate=round(1 / ((bins + 0.2) * 64e-12)),
        )
        for i in range(n)
    ]


def table(folder: Path, text: str) -> Path:
    path = folder / "positions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def run(folder: Path, text: str, files: list[Path] | None = None, **options: Any) -> Scan:
    files = sorted(folder.glob("*.ptu")) if files is None else files
    return import_files(files, table(folder, text), folder / "out.h5", **options)


# -- what is made --------------------------------------------------------------------------------


def test_one_pass(tmp_path: Path) -> None:
    files = write_ptus(tmp_path, 3)
    scan = run(tmp_path, "file,x_um\np0.ptu,0.5\np1.ptu,-0.5\np2.ptu,0\n")
    assert scan.complete
    assert isinstance(scan.plan, PositionScan)
    assert (scan.plan.x_um, scan.plan.passes, scan.plan.card.bins) == ((0.5, -0.5, 0), 1, 3125)
    assert scan.plan.card.time_bin_ps == pytest.approx(64)
    assert scan.header.profile is None
    headers = [read_ptu(path) for path in files]
    found = scan.map()
    assert found.x_um.tolist() == [-0.5, 0, 0.5]
    for row, header in zip(found.counts, [headers[1], headers[2], headers[0]], strict=True):
        np.testing.assert_array_equal(row, header.total)
    np.testing.assert_allclose(found.t_ns, headers[0].t_ns)
    live_s = [header.acquisition_time_s for header in headers]
    np.testing.assert_allclose(scan.columns["live_s"], live_s)
    assert scan.columns["started_s"].tolist() == [0, 60, 120]
    assert scan.sync_rate_hz == pytest.approx(1 / (3125.2 * 64e-12))
    for name in ("stage_x_um", "temperature_k", "power_nw", "count_rate_hz"):
        assert np.isnan(scan.columns[name]).all()
    assert scan.header.created == "2024-02-29T12:00:00.000"
    assert scan.header.identities["card"].model == "TimeHarp 260"


def test_the_journal_tells_the_sources(tmp_path: Path) -> None:
    write_ptus(tmp_path, 2)
    (tmp_path / "b").mkdir()
    data = (tmp_path / "p1.ptu").read_bytes()[:-402]
    (tmp_path / "b" / "p1.ptu").write_bytes(data)
    files = [tmp_path / "p0.ptu", tmp_path / "b" / "p1.ptu"]
    scan = run(tmp_path, "file,x_um\np0.ptu,0\nb\\p1.ptu,1\n", files)
    (note,) = scan.journal
    assert note["event"] == "imported"
    assert note["positions"] == "positions.csv"
    assert note["files"] == {"0": "p0.ptu", "1": "p1.ptu"}
    assert note["record_type"] == ["GenericT3"]
    assert note["device_model"] == ["TimeHarp 260"]
    assert note["device_serial"] == ["1001234"]
    assert note["comment"] == ["a film"]
    assert note["warnings"][0].startswith("p1.ptu: The file ends early; 309 of 410 records")
    assert str(tmp_path) not in str(note)


def test_passes_in_the_order_of_their_dates(tmp_path: Path) -> None:
    files = write_ptus(tmp_path, 5)
    rows = ["p4.ptu,0,1", "p1.ptu,0,2", "p0.ptu,1,3", "p3.ptu,1,4", "p2.ptu,2,5"]
    scan = run(tmp_path, "\n".join(["file,x_um,exposure_s", *rows]))
    assert scan.plan.x_um == (1, 0, 2)  # type: ignore[attr-defined]
    assert scan.plan.passes == 2
    assert scan.stored.tolist() == [True, True, True, True, True, False]
    assert scan.columns["live_s"].tolist()[:5] == [3, 2, 5, 4, 1]
    assert scan.columns["started_s"].tolist()[:5] == [0, 60, 120, 180, 240]
    assert scan.plan.dwell_s == 3
    expected = read_ptu(files[4]).total + read_ptu(files[1]).total
    np.testing.assert_array_equal(scan.map().counts[0], expected)
    assert scan.map().exposure_s.tolist() == [3, 7, 5]


def test_without_dates_the_table_gives_the_order(tmp_path: Path) -> None:
    write_ptus(tmp_path, 1)
    records = random_stream(GENERIC, 50, np.random.default_rng(9), channels=1, dtimes=3125)
    write_ptu(tmp_path / "a.ptu", GENERIC, records, File_CreatingTime=...)
    scan = run(tmp_path, "file,x_um,y_um\np0.ptu,0,-1.5\na.ptu,0,0.5\n")
    assert scan.plan.y_um == (-1.5, 0.5)  # type: ignore[attr-defined]
    assert scan.columns["started_s"][0] == 0
    assert math.isnan(scan.columns["started_s"][1])
    assert scan.map().x_um.tolist() == [-1.5, 0.5]  # along y, as x stands still


def test_histograms_of_slightly_different_length_are_cut(tmp_path: Path) -> None:
    (tmp_path / "longer").mkdir()
    files = [*write_ptus(tmp_path, 1), *write_ptus(tmp_path / "longer", 1, bins=3130)]
    scan = run(tmp_path, "file,x_um\np0.ptu,0\nlonger/p0.ptu,1\n", files)
    assert scan.header.bins == scan.plan.card.bins == 3125
    np.testing.assert_array_equal(scan.map().counts[1], read_ptu(files[1]).total[:3125])
    assert "cut to 3125 bins, which left out" in scan.journal[0]["warnings"][0]


def test_one_of_several_channels(tmp_path: Path) -> None:
    files = write_ptus(tmp_path, 1, channels=3)
    with pytest.raises(InputError, match=r"p0.ptu: .* channels 0, 1, 2; choose one with --channel"):
        run(tmp_path, "file,x_um\np0.ptu,0\n")
    scan = run(tmp_path, "file,x_um\np0.ptu,0\n", channel=1)
    np.testing.assert_array_equal(scan.map().counts[0], read_ptu(files[0]).counts[1])


def test_a_dark_file_is_a_visit_without_counts(tmp_path: Path) -> None:
    write_ptus(tmp_path, 1)
    dark = np.full(100, 1 << 31 | 63 << 25 | 1, dtype=np.uint32)
    write_ptu(tmp_path / "dark.ptu", GENERIC, dark)
    scan = run(tmp_path, "file,x_um\np0.ptu,0\ndark.ptu,1\n")
    assert scan.map().counts[1].sum() == 0
    assert scan.map().exposure_s[1] > 0
    assert scan.journal[0]["warnings"] == ["dark.ptu: The file has no photons."]


def test_names_are_taken_from_the_files_given(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    files = write_ptus(tmp_path / "data", 2)
    assert run(tmp_path, "file,x_um\np1.ptu,0\ndata/p0.ptu,1\n", files).complete


def test_sdt_files(tmp_path: Path) -> None:
    pages = np.stack([decay(256, 1), decay(256, 2)])
    write_sdt(tmp_path / "a.sdt", pages)
    late = measure_info(256, time=b"12:40:00", stop_time=0.5)
    write_sdt(tmp_path / "b.sdt", pages[::-1], info=late)
    files = [tmp_path / "b.sdt", tmp_path / "a.sdt"]
    with pytest.raises(InputError, match=r"photons in the curves 0, 1; choose one with --channel"):
        run(tmp_path, "file,x_um\nb.sdt,1\na.sdt,0\n", files)
    scan = run(tmp_path, "file,x_um\nb.sdt,1\na.sdt,0\n", files, channel=1)
    np.testing.assert_array_equal(scan.map().counts, [pages[1], pages[0]])
    np.testing.assert_allclose(scan.map().t_ns, (np.arange(256) + 0.5) * 50 / 256)
    assert scan.map().exposure_s.tolist() == [2, 0.5]
    assert scan.sync_rate_hz == scan.plan.excitation.repetition_rate_hz == 20e6
    assert scan.plan.card.mode == "histogram"
    assert scan.plan.notes == "imported from 2 .sdt files"
    assert scan.columns["started_s"].tolist() == [0, 600]
    assert scan.header.identities["card"].model == "SPC-150"
    assert scan.journal[0]["record_type"] == ["SDT decay curve"]
    (warning,) = scan.journal[0]["warnings"]
    assert warning == "b.sdt: The measurement was stopped after 0.5 of 2 s."


def test_phu_files(tmp_path: Path) -> None:
    for i in range(3):
        offset = {"HistResDscr_MDescOffset": [20]}
        write_phu(tmp_path / f"p{i}.phu", decay(3125, i), **offset)
    files = sorted(tmp_path.glob("*.phu"))
    scan = run(tmp_path, "file,x_um\np0.phu,0\np1.phu,1\np2.phu,2\n", files)
    np.testing.assert_array_equal(scan.map().counts, [decay(3125, i) for i in range(3)])
    assert scan.map().t_ns[0] == 20.032
    assert scan.header.offset_ns == scan.plan.card.offset_ns == 20
    assert scan.map().exposure_s.tolist() == [0.9] * 3
    assert scan.journal[0]["warnings"] == []


def test_an_unknown_pulse_rate_stays_unknown(tmp_path: Path) -> None:
    write_phu(tmp_path / "a.phu", decay(100), HistResDscr_SyncRate=...)
    info = measure_info(100, tac_r=6.4e-9, min_sync_rate=-1.0)
    write_sdt(tmp_path / "b.sdt", decay(100)[None], info=info)
    files = [tmp_path / "a.phu", tmp_path / "b.sdt"]
    scan = run(tmp_path, "file,x_um\na.phu,0\nb.sdt,1\n", files)
    assert scan.sync_rate_hz is None
    assert scan.plan.excitation.repetition_rate_hz is None
    assert np.isnan(scan.columns["sync_rate_hz"]).all()
    assert scan.plan.notes == "imported from 2 .phu and .sdt files"
    assert scan.journal[0]["warnings"] == [
        f"{name}: The file does not tell the pulse rate." for name in ("a.phu", "b.sdt")
    ]


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no row"),
        ("file,x_um\n", "there is no row"),
        ("file;x_um\np0.ptu;1\n", "line 1: the first row is 'file;x_um'; it must be file,x_um"),
        ("file,x_nm\np0.ptu,1\n", "'file,x_nm'"),
        ("file,y_um\np0.ptu,1\n", "'file,y_um'"),
        ("p0.ptu,0\np1.ptu,1\n", "'p0.ptu,0'"),
        ("file,x_um,x_um\np0.ptu,0,1\n", "it must be file,x_um"),
        ("file,x_um\np0.ptu\n", "line 2: found 1 values; 2 are needed"),
        ("file,x_um\np0.ptu,\n", "line 2, x_um: found ''; a place is a number"),
        ("file,x_um\np0.ptu,nan\n", "line 2, x_um: found 'nan'"),
        ("file,x_um\np0.ptu,1e9\n", "line 2, x_um: found '1e9'; a place is a number from -10000"),
        ("file,x_um,y_um\np0.ptu,1,here\n", "line 2, y_um: found 'here'"),
        ("file,x_um\n,1\n", "line 2, file: the file name is missing"),
        ("file,x_um,exposure_s\np0.ptu,0,0\n", "line 2, exposure_s: found '0'; an exposure is"),
        ("file,x_um,exposure_s\np0.ptu,0,-1\n", "line 2, exposure_s: found '-1'"),
        ("file,x_um\np0.ptu,0\np1.ptu,1\nq.ptu,2\n", "line 4, file: 'q.ptu' is not among the 2"),
        ("file,x_um\np0.ptu,0\np0.ptu,1\n", "line 3, file: 'p0.ptu' is not .* has a row already"),
        ("file,x_um\np0.ptu,0\n", "p1.ptu has no row; one row for each file"),
    ],
)
def test_a_wrong_table(text: str, message: str, tmp_path: Path) -> None:
    write_ptus(tmp_path, 2)
    with pytest.raises(InputError, match=message) as caught:
        run(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "positions.csv"))
    assert not (tmp_path / "out.h5").exists()


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    files = write_ptus(tmp_path, 1)
    (tmp_path / "positions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8 text"):
        import_files(files, tmp_path / "positions.csv", tmp_path / "out.h5")
    with pytest.raises(InputError, match="no such file"):
        import_files(files, tmp_path / "none.csv", tmp_path / "out.h5")


def test_files_of_the_same_name(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files += write_ptus(tmp_path / name, 1)
    with pytest.raises(InputError, match="'p0.ptu' may be .*; write the folder too"):
        run(tmp_path, "file,x_um\np0.ptu,0\np0.ptu,1\n", files)
    assert run(tmp_path, "file,x_um\na/p0.ptu,0\nb/p0.ptu,1\n", files).complete


def test_a_file_given_twice(tmp_path: Path) -> None:
    files = write_ptus(tmp_path, 1)
    with pytest.raises(InputError, match="may be .* give each file once"):
        run(tmp_path, "file,x_um\np0.ptu,0\np0.ptu,1\n", files * 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MeasDesc_Resolution": 32e-12}, r"time bin is 32 ps; .*p0.ptu has 64 ps"),
        ({"MeasDesc_GlobalResolution": 180e-9}, "has 2812 bins .* the same repetition rate"),
        ({"channel": 5}, "the photons are in channel 5, those of .*p0.ptu in channel 0"),
        ({"Measurement_Mode": 2}, "T2 file"),
        ({"MeasDesc_Offset": 5}, "first bin lies 5 ns after the sync; that of .*p0.ptu 0 ns"),
    ],
)
def test_files_that_do_not_belong_together(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_ptus(tmp_path, 1)
    records = random_stream(GENERIC, 50, np.random.default_rng(9), channels=1, dtimes=2000)
    special = records >> 31
    records = np.where(special, records, records | changes.pop("channel", 0) << 25)
    write_ptu(tmp_path / "q.ptu", GENERIC, records.astype(np.uint32), **changes)
    with pytest.raises(InputError, match=message) as caught:
        run(tmp_path, "file,x_um\np0.ptu,0\nq.ptu,1\n")
    assert "q.ptu: " in str(caught.value)


def test_an_unknown_live_time(tmp_path: Path) -> None:
    records = np.array([1 << 10], dtype=np.uint32)
    write_ptu(
        tmp_path / "a.ptu", GENERIC, records, TTResult_StopAfter=0, MeasDesc_AcquisitionTime=0
    )
    with pytest.raises(InputError, match="gives 0 s .* add a column exposure_s to .*positions.csv"):
        run(tmp_path, "file,x_um\na.ptu,0\n")
    scan = run(tmp_path, "file,x_um,exposure_s\na.ptu,0,2.5\n")
    assert scan.map().exposure_s.tolist() == [2.5]


def test_a_file_that_does_not_tell_its_time(tmp_path: Path) -> None:
    write_sdt(tmp_path / "a.sdt", decay(256)[None], info=measure_info(256, col_t=0.0))
    files = [tmp_path / "a.sdt"]
    with pytest.raises(InputError, match="a.sdt: .* gives 0 s .* add a column exposure_s to"):
        run(tmp_path, "file,x_um\na.sdt,0\n", files)
    scan = run(tmp_path, "file,x_um,exposure_s\na.sdt,0,1.5\n", files)
    assert scan.map().exposure_s.tolist() == [1.5]


def test_files_of_unequal_length_without_a_pulse_rate(tmp_path: Path) -> None:
    for name, bins in (("a.phu", 100), ("b.phu", 200)):
        write_phu(tmp_path / name, decay(bins), HistResDscr_SyncRate=...)
    with pytest.raises(InputError, match=r"a.phu: .* has 100 bins \(unknown pulse rate\)"):
        run(tmp_path, "file,x_um\na.phu,0\nb.phu,1\n", [*tmp_path.glob("*.phu")])


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.spc").write_bytes(b"x")
    with pytest.raises(InputError, match=r"ends in '.spc'; allowed: .ptu, .phu, .sdt"):
        run(tmp_path, "file,x_um\na.spc,0\n", [tmp_path / "a.spc"])


def test_endings_in_capitals(tmp_path: Path) -> None:
    write_sdt(tmp_path / "A.SDT", decay(256)[None])
    assert run(tmp_path, "file,x_um\nA.SDT,0\n", [tmp_path / "A.SDT"]).complete


def test_one_bin_is_no_decay(tmp_path: Path) -> None:
    records = np.array([1, 2], dtype=np.uint32)
    write_ptu(tmp_path / "a.ptu", GENERIC, records, MeasDesc_Resolution=150e-9)
    with pytest.raises(InputError, match="the histogram has one bin"):
        run(tmp_path, "file,x_um\na.ptu,0\n")


def test_the_file_to_make(tmp_path: Path) -> None:
    files = write_ptus(tmp_path, 1)
    rows = table(tmp_path, "file,x_um\np0.ptu,0\n")
    with pytest.raises(InputError, match=r"ends in .h5"):
        import_files(files, rows, tmp_path / "out.dat")
    with pytest.raises(InputError, match="does not exist"):
        import_files(files, rows, tmp_path / "no" / "out.h5")
    (tmp_path / "out.h5").write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        import_files(files, rows, tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_text() == "precious"


def test_damaged_texts_do_no_harm(tmp_path: Path) -> None:
    records = random_stream(GENERIC, 50, np.random.default_rng(9), channels=1, dtimes=2000)
    write_ptu(
        tmp_path / "a.ptu", GENERIC, records,
        HW_Type="Harp\x01\n\0x", HW_SerialNo="", File_Comment="line\r\nline" * 100,
    )  # fmt: skip
    scan = run(tmp_path, "file,x_um\na.ptu,0\n")
    assert scan.header.identities["card"].model.isprintable()
    assert len(scan.journal[0]["comment"][0]) == 500


def test_more_names_than_a_journal_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ptus(tmp_path, 1)
    monkeypatch.setattr("tplm_daq.importing.files.JOURNAL_BYTES", 1100)
    with pytest.raises(InputError, match="do not fit into one scan file"):
        run(tmp_path, "file,x_um\np0.ptu,0\n")
