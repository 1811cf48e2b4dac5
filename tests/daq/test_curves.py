"""Reading .phu and .sdt files: against ptufile and sdtfile, and every way a file can be wrong."""

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import ptufile
import pytest
import sdtfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.daq.curve_files import (
    DECAY,
    FIFO,
    IMAGE,
    MEASURED,
    PAGE,
    ULONG,
    ZIPPED,
    decay,
    measure_info,
    phu_bytes,
    sdt_bytes,
    write_phu,
    write_sdt,
)
from tplm_config import InputError
from tplm_daq.curves import Curves
from tplm_daq.importing import read_phu, read_sdt

NOON = datetime.fromisoformat("2024-02-29T12:30")
NO_RATE = "The file does not tell the pulse rate."


# -- .phu ------------------------------------------------------------------------------------------


def test_a_phu_file_agrees_with_ptufile(tmp_path: Path) -> None:
    path = write_phu(tmp_path / "a.phu", decay(3125), np.zeros(3125, int), decay(3125, 2))
    found = read_phu(path)
    with ptufile.PhuFile(path) as expected:
        curves = expected.histograms()
    assert found.channels == (0, 2)
    np.testing.assert_array_equal(found.counts, [curves[0], curves[2]])
    assert (found.time_bin_ps, found.offset_ns, found.sync_rate_hz) == (64, 0, 5e6)
    np.testing.assert_allclose(found.t_ns[:2], [0.032, 0.096])
    assert found.acquisition_time_s == 0.9
    assert (found.device_model, found.device_serial) == ("TimeHarp 260", "1001234")
    assert (found.comment, found.created) == ("a film", NOON)
    assert found.warnings == ()


def test_one_curve_of_a_phu_file(tmp_path: Path) -> None:
    path = write_phu(tmp_path / "a.phu", decay(100), decay(100, 1), np.zeros(100, int))
    np.testing.assert_array_equal(read_phu(path, 1).counts, [decay(100, 1)])
    assert read_phu(path, 2).warnings == ("Curve 2 has no photons; curves with photons: 0, 1.",)
    with pytest.raises(InputError, match="curve 3 was asked for; the file has curves 0 to 2"):
        read_phu(path, 3)


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"HistResDscr_MDescStopAfter": ...}, "acquisition_time_s", 1.0),
        ({"HistResDscr_MDescStopAfter": [0]}, "acquisition_time_s", 1.0),
        ({"HistResDscr_MDescStopAfter": ..., "HistResDscr_MDescAcquisTime": ...,
          "MeasDesc_AcquisitionTime": 3000}, "acquisition_time_s", 3.0),
        ({"HistResDscr_MDescStopAfter": ..., "HistResDscr_MDescAcquisTime": ...},
         "acquisition_time_s", 0.0),
        ({"HistResDscr_SyncRate": ..., "TTResult_SyncRate": 4_000_000}, "sync_rate_hz", 4e6),
        ({"HistResDscr_MDescOffset": [7]}, "offset_ns", 7),
        ({"HistResDscr_TimeOfRecording": ..., "File_CreatingTime": NOON}, "created", NOON),
        ({"HistResDscr_TimeOfRecording": ...}, "created", None),
        ({"HistResDscr_HWType": ..., "HW_Type": "PicoHarp"}, "device_model", "PicoHarp"),
    ],
)  # fmt: skip
def test_where_a_phu_file_tells_it(
    changes: dict[str, Any], name: str, expected: Any, tmp_path: Path
) -> None:
    found = read_phu(write_phu(tmp_path / "a.phu", decay(100), **changes))
    assert getattr(found, name) == expected
    assert found.warnings == ()


def test_a_phu_file_without_a_pulse_rate(tmp_path: Path) -> None:
    path = write_phu(tmp_path / "a.phu", decay(4000), HistResDscr_SyncRate=[0])
    found = read_phu(path)
    assert math.isnan(found.sync_rate_hz)
    assert found.counts.shape == (1, 4000)
    assert found.warnings == (NO_RATE,)


def test_a_phu_file_is_cut_to_one_period(tmp_path: Path) -> None:
    counts = np.zeros(4096, int)
    counts[:3125] = 10
    counts[3125] = 3  # the part of a bin at the end of the period
    found = read_phu(write_phu(tmp_path / "a.phu", counts))
    assert found.counts.shape == (1, 3125)
    assert found.warnings == ()
    counts[3200:] = 10
    (warning,) = read_phu(write_phu(tmp_path / "b.phu", counts)).warnings
    assert warning.startswith("8963 photons arrive after one pulse period (3125 bins)")


SOUND_PHU = phu_bytes(decay(100), decay(100, 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"PQTTTR\0\0" + bytes(200), r"not a .phu file \(it does not start with PQHISTO\)"),
        (SOUND_PHU[:300], "header is damaged or incomplete"),
        (SOUND_PHU.replace(b"Header_End", b"Header_eNd"), "header is damaged"),
        (SOUND_PHU[:-1], "the file ends before its curve 1"),
        (phu_bytes(decay(100), HistoResult_NumberOfCurves=0), "NumberOfCurves in the header is 0"),
        (phu_bytes(decay(100), HistoResult_NumberOfCurves="x"), "NumberOfCurves .* is x"),
        (phu_bytes(decay(100), HistoResult_NumberOfCurves=2), "whole number for each of its 2"),
        (phu_bytes(decay(100), HistoResult_NumberOfCurves=10**9), "from 1 to 4096"),
        (phu_bytes(decay(100), HistoResult_BitsPerBin=16), "its bins have 16 bits"),
        (phu_bytes(decay(100), HistResDscr_HistogramBins=[-1]), "whole number for each"),
        (phu_bytes(decay(100), HistResDscr_HistogramBins=[10**12]), "a curve has 1000000000000"),
        (phu_bytes(decay(100), HistResDscr_DataOffset=[2**62]), "ends before its curve 0"),
        (phu_bytes(decay(100), HistResDscr_DataOffset=...), "whole number for each"),
        (phu_bytes(decay(100), decay(99)), "unequal numbers of bins"),
        (phu_bytes(decay(100), HistResDscr_MDescResolution=...), "time bin .* is 0 s"),
        (phu_bytes(decay(100), HistResDscr_MDescResolution=[64.0]), "time bin .* 64 s"),
        (phu_bytes(decay(100), HistResDscr_MDescResolution=[math.nan]), "is nan"),
        (phu_bytes(decay(100), decay(100), HistResDscr_MDescResolution=[1e-12, 2e-12]),
         "curve 1 has another time bin; choose one curve with --channel"),
        (phu_bytes(decay(100), HistResDscr_SyncRate=[2**62]), "sync rate of"),
        (phu_bytes(decay(100), HistResDscr_MDescResolution=[1e-6]), "longer than the sync period"),
        (phu_bytes(decay(100), HistResDscr_MDescOffset=[-1]), "is -1 ns; it must lie between 0"),
    ],
)  # fmt: skip
def test_a_wrong_phu_file(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.phu"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_phu(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


# -- .sdt ------------------------------------------------------------------------------------------

KINDS = {
    "16 bits": MEASURED | PAGE,
    "one curve a block": MEASURED | DECAY,
    "32 bits": FIFO | DECAY | ULONG,
    "compressed": MEASURED | PAGE | ZIPPED,
    "32 bits, compressed": FIFO | DECAY | ULONG | ZIPPED,
}


@pytest.mark.parametrize("revision", [0x28 << 4 | 15, 0x28 << 4 | 12], ids=["new", "old"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_sdt_file_agrees_with_sdtfile(kind: int, revision: int, tmp_path: Path) -> None:
    blocks = [decay(256)[None], decay(256, 1)[None], np.zeros((1, 256), int)]
    path = write_sdt(tmp_path / "a.sdt", *blocks, kind=kind, revision=revision)
    found = read_sdt(path)
    with sdtfile.SdtFile(path) as expected:
        pass  # it reads everything when it is opened
    assert found.channels == (0, 1)
    np.testing.assert_array_equal(found.counts, np.concatenate(expected.data)[:2])
    np.testing.assert_array_equal(found.counts, np.concatenate(blocks)[:2])
    np.testing.assert_allclose(found.t_ns - found.t_ns[0], expected.times[0] * 1e9, rtol=1e-6)
    assert found.time_bin_ps == 195.3125
    assert (found.sync_rate_hz, found.acquisition_time_s) == (20e6, 2.0)
    assert (found.device_model, found.device_serial) == ("SPC-150", "3E0123")
    assert (found.comment, found.created) == ("a film", NOON)
    assert found.warnings == ()


def test_curves_are_numbered_through_all_blocks(tmp_path: Path) -> None:
    pages = [np.stack([decay(64, seed) for seed in seeds]) for seeds in ((1, 2), (3, 4, 5))]
    path = write_sdt(tmp_path / "a.sdt", *pages, identification="SPC FCS Data File")
    assert read_sdt(path).channels == (0, 1, 2, 3, 4)
    np.testing.assert_array_equal(read_sdt(path, 3).counts, [decay(64, 4)])
    with pytest.raises(InputError, match="curve 5 was asked for; the file has curves 0 to 4"):
        read_sdt(path, 5)


def info(**changes: Any) -> bytes:
    return measure_info(256, **changes)


@pytest.mark.parametrize(
    ("description", "name", "expected", "warning"),
    [
        (info(min_sync_rate=-1.0, max_sync_rate=-1.0), "sync_rate_hz", math.nan, NO_RATE),
        (info(min_sync_rate=1e6), "sync_rate_hz", math.nan, NO_RATE),  # it did not stand still
        (info(syn_fd=4), "sync_rate_hz", math.nan, NO_RATE),
        (info()[:211], "sync_rate_hz", math.nan, NO_RATE),  # before version 7.9
        (info(stop_time=2.003), "acquisition_time_s", 2.0, None),
        (info(stop_time=0.5), "acquisition_time_s", 0.5, "stopped after 0.5 of 2 s"),
        (info()[:211], "acquisition_time_s", 2.0, NO_RATE),
        (info(col_t=0.0), "acquisition_time_s", 0.0, None),
        (info(col_t=math.nan), "acquisition_time_s", 0.0, None),
        (info(accumulate=1, cycles=5), "acquisition_time_s", 0.0, "sums 5 cycles"),
        (info(accumulate=1), "acquisition_time_s", 2.0, None),
        (info(date=b"someday"), "created", None, None),
        (info(tac_g=4), "time_bin_ps", 48.828125, None),
        (info(tac_r=6.4e-9), "time_bin_ps", 25.0, None),
        (info(module=b"SPC-\xff\x01"), "device_model", "SPC-˙\x01", None),
    ],
)
def test_what_an_sdt_file_tells(
    description: bytes, name: str, expected: Any, warning: str | None, tmp_path: Path
) -> None:
    found = read_sdt(write_sdt(tmp_path / "a.sdt", decay(256)[None], info=description))
    if isinstance(expected, float):
        expected = pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert getattr(found, name) == expected
    assert len(found.warnings) == (warning is not None)
    assert (warning or "") in "".join(found.warnings)


def test_65536_steps_are_written_as_none(tmp_path: Path) -> None:
    path = write_sdt(tmp_path / "a.sdt", decay(65536)[None])
    assert read_sdt(path).time_bin_ps == pytest.approx(50e3 / 65536, rel=1e-6)


def test_a_full_bin_is_told(tmp_path: Path) -> None:
    counts = decay(256)[None]
    counts[0, 5] = 65535
    (warning,) = read_sdt(write_sdt(tmp_path / "a.sdt", counts)).warnings
    assert warning.startswith("A bin is full (65535 counts)")
    assert read_sdt(write_sdt(tmp_path / "b.sdt", counts, kind=FIFO | ULONG)).warnings == ()


SOUND_SDT = sdt_bytes(decay(256)[None], decay(256, 1)[None])


def changed(at: int, data: bytes) -> bytes:
    return SOUND_SDT[:at] + data + SOUND_SDT[at + len(data) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"\(it is empty\)"),
        (SOUND_SDT[:30], "it ends within its header"),
        (bytes(500), "does not begin like one"),
        (SOUND_SDT[:700], "block 0 (is not where|ends after)"),
        (SOUND_SDT[:-1], "block 1 ends after the file"),
        (changed(14, (5).to_bytes(4, "little")), "block 0 ends after the file"),
        (changed(18, (9).to_bytes(2, "little")), "block 2 is not where it should be"),
        (changed(28, (-1).to_bytes(2, "little", signed=True)), "not a readable .sdt file"),
        (changed(60, b"\xff" * 40), "not a readable .sdt file"),
        (sdt_bytes(decay(256)[None], identification="SPC Flow Data File"), "not supported"),
        (sdt_bytes(decay(256)[None], kind=FIFO | IMAGE), "no decay curve in it"),
        (sdt_bytes(decay(256)[None], kind=MEASURED | 0x200), "not a readable|no decay curve"),
        (sdt_bytes(decay(256)[None], info=info(tac_r=0.0)), "give a time bin of 0 s"),
        (sdt_bytes(decay(256)[None], info=info(tac_g=0)), "gain 0 and 256 ADC steps"),
        (sdt_bytes(decay(256)[None], info=info(tac_r=math.nan)), "time bin of nan s"),
        (sdt_bytes(np.zeros((5000, 2), int)), "an image cannot be imported, only decay curves"),
    ],
)
def test_a_wrong_sdt_file(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.sdt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_sdt(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 300


# -- damage of every kind --------------------------------------------------------------------------

SOUND: dict[str, tuple[bytes, Callable[[Path], Curves]]] = {
    "a.phu": (SOUND_PHU, read_phu),
    "a.sdt": (SOUND_SDT, read_sdt),
    "b.sdt": (sdt_bytes(decay(256)[None], kind=MEASURED | PAGE | ZIPPED), read_sdt),
}


@settings(
    deadline=5000, max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(SOUND)),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
    length=st.floats(0.2, 1.5),
)
def test_damage(name: str, flips: list[tuple[float, int]], length: float, tmp_path: Path) -> None:
    sound, read = SOUND[name]
    data = bytearray(sound)
    for where, bits in flips:
        data[int(where * (len(data) - 1))] ^= bits
    path = tmp_path / name
    path.write_bytes(data[: int(length * len(data))])
    try:
        found = read(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).isprintable()
    else:
        assert found.counts.min(initial=0) >= 0
        assert np.isfinite(found.t_ns).all()
        assert math.isfinite(found.acquisition_time_s)
        assert found.sync_rate_hz > 0 or math.isnan(found.sync_rate_hz)
