"""Speed of the T3 decoder beside the other ways to do the same.

Run as ``python benchmarks/t3_decoder.py [MILLION_RECORDS]``. Every decoder makes the same
per-channel histogram of the same records in the same process, on one core; the best of
several alternating rounds counts, and the ratios are to our decoder. The C single pass needs
gcc. ptufile is timed with its records and file information already in memory.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ptufile
from numpy.typing import NDArray

from tplm_daq.t3 import T3_FORMATS, T3Decoder

BINS = 3125
CHANNELS = 64
ROUNDS = 7
GENERIC = T3_FORMATS[0x00010307]

Records = NDArray[np.uint32]
Histogram = NDArray[np.int64]

C_SOURCE = r"""
#include <stdint.h>
#include <stddef.h>

int64_t count(const uint32_t *records, size_t n, int64_t *histogram, uint32_t bins)
{
    int64_t overflows = 0, markers = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t record = records[i];
        const uint32_t channel = record >> 25 & 63;
        if (record >> 31) {
            if (channel == 63) {
                const uint32_t number = record & 1023;
                overflows += number ? number : 1;
            } else {
                markers++;
            }
        } else {
            const uint32_t dtime = record >> 10 & 0x7fff;
            if (dtime < bins) histogram[(size_t)channel * bins + dtime]++;
        }
    }
    return overflows + (markers < 0);
}
"""


def made_records(n: int, overflow_fraction: float) -> Records:
    """Decays on two channels, with overflows strewn in at random."""
    rng = np.random.default_rng(1)
    channel = rng.integers(0, 2, n, dtype=np.uint32)
    dtime = (rng.exponential(300, n) % BINS).astype(np.uint32)
    records = channel << np.uint32(25) | dtime << np.uint32(10)
    records |= rng.integers(0, 1024, n, dtype=np.uint32)
    records[rng.random(n) < overflow_fraction] = 1 << 31 | 63 << 25 | 1
    return records


def ours(records: Records) -> Histogram:
    """Decode with `tplm_daq.t3` in the blocks the file reader uses."""
    decoder = T3Decoder(GENERIC, BINS)
    for start in range(0, len(records), 1 << 18):
        decoder.feed(records[start : start + (1 << 18)])
    return decoder.histogram


def numpy_blocks(records: Records) -> Histogram:
    """Decode with NumPy in blocks of 131,072 records."""
    histogram = np.zeros(CHANNELS * BINS, dtype=np.int64)
    overflows = 0
    for start in range(0, len(records), 1 << 17):
        block = records[start : start + (1 << 17)]
        special = block >> 31 != 0
        if special.any():
            marks = block[special]
            ends = marks[marks >> 25 == 127]
            overflows += int(np.maximum(ends & 1023, 1).sum())
            block = block[~special]
        dtime = block >> 10 & 0x7FFF
        cells = ((block >> 25) * np.uint32(BINS) + dtime)[dtime < BINS]
        counts = np.bincount(cells)
        histogram[: len(counts)] += counts
    return histogram.reshape(CHANNELS, BINS)


def c_single_pass(folder: Path) -> Callable[[Records], Histogram] | None:
    """Return a decoder compiled from `C_SOURCE`, None without gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    (folder / "count.c").write_text(C_SOURCE)
    library = folder / "count.so"
    subprocess.run(
        [gcc, "-O3", "-march=native", "-shared", "-fPIC", "-o", library, folder / "count.c"],
        check=True,
    )
    count = ctypes.CDLL(str(library)).count
    count.restype = ctypes.c_int64
    count.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint32]

    def decode(records: Records) -> Histogram:
        histogram = np.zeros((CHANNELS, BINS), dtype=np.int64)
        count(records.ctypes.data, len(records), histogram.ctypes.data, BINS)
        return histogram

    return decode


def ptufile_decoder(folder: Path) -> Callable[[Records], Histogram]:
    """Return ptufile's own decoder, on a file that has only a header."""
    tags: dict[str, int | float] = {
        "Measurement_Mode": 3,
        "Measurement_SubMode": 0,
        "MeasDesc_Resolution": 64e-12,
        "MeasDesc_GlobalResolution": BINS * 64e-12,
        "TTResult_NumberOfRecords": 1,
        "TTResultFormat_TTTRRecType": GENERIC.code,
        "TTResultFormat_BitsPerRecord": 32,
    }
    header = b"PQTTTR\0\0" + b"1.0.00\0\0"
    for name, value in tags.items():
        code, kind = (0x20000008, "d") if isinstance(value, float) else (0x10000008, "q")
        header += struct.pack(f"<32siI{kind}", name.encode(), -1, code, value)
    header += struct.pack("<32siIq", b"Header_End", -1, 0xFFFF0008, 0)
    (folder / "one.ptu").write_bytes(header + bytes(4))
    file = ptufile.PtuFile(folder / "one.ptu", trimdims="")

    def decode(records: Records) -> Histogram:
        return file.decode_histogram(records=records, dtime=BINS)

    return decode


def main() -> None:
    """Time every decoder on dense and on overflow-rich records."""
    million = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        decoders: dict[str, Callable[[Records], Histogram]] = {
            "tplm_daq.t3": ours,
            "NumPy, 131 k blocks": numpy_blocks,
            "ptufile": ptufile_decoder(folder),
        }
        single_pass = c_single_pass(folder)
        if single_pass is not None:
            decoders["C single pass, gcc -O3"] = single_pass
        else:
            print("gcc not found: no C figure")

        for title, overflow_fraction in (("dense", 0.0), ("38 % overflows", 0.38)):
            records = made_records(int(million * 1e6), overflow_fraction)
            expected = ours(records)
            for label, decode in decoders.items():
                if not np.array_equal(decode(records), expected):
                    raise SystemExit(f"{label} gives another histogram")
            best_s = dict.fromkeys(decoders, float("inf"))
            for _ in range(ROUNDS):  # alternating, so that a busy machine is fair to all
                for label, decode in decoders.items():
                    start_s = time.perf_counter()
                    decode(records)
                    best_s[label] = min(best_s[label], time.perf_counter() - start_s)
            print(f"{title}, {million:g} million records")
            for label, seconds in best_s.items():
                rate = len(records) / seconds / 1e6
                ratio = best_s["tplm_daq.t3"] / seconds
                print(f"  {label:24}{rate:7.0f} M records/s  {ratio:5.2f} × ours")


if __name__ == "__main__":
    main()
