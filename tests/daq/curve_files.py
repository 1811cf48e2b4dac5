"""Small synthetic .phu and .sdt files, written down from the vendors' descriptions."""

import io
import struct
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.daq.ptu_files import tag

Counts = NDArray[np.int64]


def decay(bins: int, seed: int = 0, photons: float = 300.0) -> Counts:
    """An exponential decay, with noise."""
    expected = np.exp(-np.arange(bins) / (0.1 * bins))
    counts: Counts = np.random.default_rng(seed).poisson(expected * photons / expected.sum())
    return counts.astype(np.int64)


# -- PicoQuant .phu: tags as in .ptu, then the curves -------------------------------------------


def phu_bytes(*curves: Counts, **changes: Any) -> bytes:
    """A file at 5 MHz with 64 ps bins; a change to `...` removes a tag, a list is by curve."""
    count = len(curves)
    own = {
        "CurveIndex": list(range(count)),
        "TimeOfRecording": [datetime.fromisoformat("2024-02-29T12:30")] * count,
        "HWType": ["TimeHarp 260"] * count,
        "HWSerialNo": ["1001234"] * count,
        "MDescResolution": [64e-12] * count,
        "MDescOffset": [0] * count,
        "MDescAcquisTime": [1000] * count,
        "MDescStopAfter": [900] * count,
        "SyncRate": [5_000_000] * count,
        "HistogramBins": [len(curve) for curve in curves],
    }
    tags: dict[str, Any] = {
        "File_GUID": "{AB5C6F88-9CF1-49E8-8198-0ADBEC1A47F2}",
        "File_Comment": "a film",
        "Measurement_Mode": 0,
        "Measurement_SubMode": 1,
        "HistoResult_NumberOfCurves": count,
        "HistoResult_BitsPerBin": 32,
        **{f"HistResDscr_{name}": values for name, values in own.items()},
        **changes,
    }

    def header(offsets: list[int]) -> bytes:
        found = {"HistResDscr_DataOffset": offsets, **tags}
        encoded = b"".join(tag(name, value) for name, value in found.items() if value is not ...)
        return b"PQHISTO\0" + b"1.0.00\0\0" + encoded + tag("Header_End", None)

    begin = len(header([0] * count))
    ends = np.cumsum([4 * len(curve) for curve in curves]).tolist()
    data = b"".join(curve.astype("<u4").tobytes() for curve in curves)
    return header([begin, *(begin + end for end in ends)][:count]) + data


def write_phu(path: Path, *curves: Counts, **changes: Any) -> Path:
    path.write_bytes(phu_bytes(*curves, **changes))
    return path


# -- Becker & Hickl .sdt: header, texts, descriptions of measurements, blocks -------------------

DECAY, PAGE, IMAGE = 0x00, 0x10, 0x60
MEASURED, FIFO = 1, 8
ULONG, ZIPPED = 0x100, 0x1000


def measure_info(bins: int, **changes: Any) -> bytes:
    """Description of a measurement with 50 ns over `bins` steps, 512 bytes."""
    values = {
        "time": b"12:30:00", "date": b"02-29-2024", "serial": b"3E0123", "mode": 0,
        "cfd": (0.0,) * 4, "syn_zc": 0.0, "syn_fd": 1, "syn_hf": 0.0, "tac_r": 50e-9, "tac_g": 1,
        "tac": (0.0,) * 3, "adc_re": bins if bins < 32768 else 0, "eal_de": 0,
        "ncx": 1, "ncy": 1, "page": 1, "col_t": 2.0, "rep_t": 2.0, "stopt": 1, "overfl": 0,
        "use_motor": 0, "steps": 1,
        "offset": 0.0, "dither": 0, "incr": 0, "mem_bank": 0, "module": b"SPC-150", "syn_th": 0.0,
        "flags": (0,) * 5, "accumulate": 0, "flyback": (0,) * 4, "pix_time": 0.0, "pix": (0, 0),
        "scan": (0,) * 4, "fifo": 0, "epx_div": 0, "codes": (0, 0), "corr": 0.0, "adc_zoom": 0,
        "cycles": 1, "status": (0, 0), "stop_time": 2.0, "current": (0,) * 3,
        "min_sync_rate": 19.99e6, "min_rates": (0.0,) * 3, "max_sync_rate": 20.01e6,
        "max_rates": (0.0,) * 3, "reserved": (0, 0.0),
    }  # fmt: skip
    flat: list[Any] = []
    for value in {**values, **changes}.values():
        flat += value if isinstance(value, tuple) else (value,)
    # strings, discriminators, TAC and ADC; collection, stage, module; scanner; stop information
    layout = "<9s11s16sh4ffhffhfffhhhhHffhBhHfhhh16sfhhhhhhiiiifhhiiiihiHHfiiHHfiiiffffffffif"
    return struct.pack(layout, *flat).ljust(512, b"\0")


def sdt_bytes(
    *blocks: Counts,
    kind: int = MEASURED | PAGE,
    info: bytes | None = None,
    identification: str = "SPC Setup & Data File",
    revision: int = 0x28 << 4 | 15,
) -> bytes:
    """A file with one block for each array of shape (curves, bins)."""
    text = (
        f"*IDENTIFICATION\r\n  ID        : \x04{identification}\x04\r\n  Title     : startup\r\n"
        "  Contents  : a film\r\n*END\r\n"
    ).encode()
    setup = b"*SETUP\r\n*END\r\n"
    info = measure_info(blocks[0].shape[-1]) if info is None else info
    setup_at = 42 + len(text)
    info_at = setup_at + len(setup)
    at = first = info_at + len(info)
    body = b""
    for number, counts in enumerate(blocks, 1):
        raw = counts.astype("<u4" if kind & ULONG else "<u2").tobytes()
        data = raw
        if kind & ZIPPED:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("data_block", raw)
            data = packed.getvalue()
        begin = at + 22
        at = begin + len(data)
        if revision & 15 >= 15:
            head = struct.pack("<BBIIHhII", 0, 0, begin, at, kind, 0, number, len(raw))
        else:
            head = struct.pack("<hiiHhII", number, begin, at, kind, 0, number, len(raw))
        body += head + data
    header = struct.pack(
        "<hihiHihIihhHIHH", revision, 42, len(text), setup_at, len(setup), first, len(blocks),
        max(block.size for block in blocks) * 4, info_at, 1, len(info), 0x5555, len(blocks), 0,
        0x55AA,
    )  # fmt: skip
    return header + text + setup + info + body


def write_sdt(path: Path, *blocks: Counts, **changes: Any) -> Path:
    path.write_bytes(sdt_bytes(*blocks, **changes))
    return path
