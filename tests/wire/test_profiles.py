"""The instruments of the papers, whole: devices and scans through the vendors' libraries."""

import ctypes
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.wire.program import Program, program, scan_arguments, vendor
from tplm_config import SeriesPlan, legs, to_toml
from tplm_daq.store import read_scan
from tplm_daq.t3 import read_ptu
from tplm_drivers import Opener, let_go
from tplm_simulators.wire import Served

__all__ = ["program"]

TRUE_D_CM2_PER_S = 0.05
KINESIS = (
    "pylablib.devices.Thorlabs.kinesis.KinesisMotor",
    bytes.fromhex("050000005001"),  # MGMSG_HW_REQ_INFO
    bytes.fromhex("060054008150"),  # MGMSG_HW_GET_INFO, 84 bytes follow
)
PM100 = (
    "pymeasure.instruments.thorlabs.thorlabspm100usb.ThorlabsPM100USB",
    b"SYST:SENSOR:IDN?\n",
    b"S130C,140101101,20-Jan-2014,1,18,289\n",
)
SC10 = (
    "serial.urlhandler.protocol_socket.Serial",
    b"id?\r",
    b"id?\rTHORLABS SC10 VERSION 1.07\r> ",
)
OVER_A_WIRE: dict[str, dict[str, tuple[str, str, bytes, bytes]]] = {
    "mit": {
        "shutter": ("port", *SC10),
        "laser": (
            "line.instrument",
            "pymeasure.instruments.agilent.agilent33500.Agilent33500",
            b"OUTP?\n",
            b"0\n",
        ),
        "attenuator": ("motor.library", *KINESIS),
        "detection_attenuator": ("motor.library", *KINESIS),
        "power_meter": ("line.instrument", *PM100),
        "detector_stage": ("motors.1.library", *KINESIS),
        "sample_stage": (
            "_device",
            "pylablib.devices.Attocube.anc350.ANC350",
            # get, address 0x0168, index 0, correlation 1: a telegram on a back end of PyUSB
            bytes.fromhex("10000000 01000000 68010000 00000000 01000000"),
            bytes.fromhex("18000000 03000000 68010000 00000000 01000000 00000000 ffffffff"),
        ),
        "temperature": (
            "library",
            "lakeshore.model_335.Model335",
            b"*IDN?\n",
            b"LSCI,MODEL335,335A1B2/#######,1.3\r\n",
        ),
    },
    "lmu": {
        "laser": (
            "bus",
            "pylablib.devices.NKT.interbus.GenericInterbusDevice",
            b"\r\x0f@\x04ay\x00\n",  # register 0x61 of module 15: which type?
            b"\r@\x0f\x08a\x88D\xbc\n",  # 0x88, a Fianium
        ),
        "attenuator": ("motor.library", *KINESIS),
        "detection_attenuator": ("motor.library", *KINESIS),
        "power_meter": ("line.instrument", *PM100),
        "detector_stage": (
            "_device",
            "pipython.pidevice.gcs2.gcs2device.GCS2Device",
            b"SAI?\n",
            b"1 \n2\n",
        ),
        "sample_stage": (
            "_device",
            "pylablib.devices.Attocube.anc300.ANC300",
            b"getcser\r\n",
            b"ANC300B-C-1514-3006076\r\nOK\r\n",
        ),
        "temperature": (
            "_link",
            "tplm_drivers._link.TcpLink",  # attocube has no package to install: a client of ours
            b'{"jsonrpc": "2.0", "method": "com.attocube.cryostat.interface.sample.getTempControl',
            b'{"jsonrpc": "2.0", "id": 1, "result": [0, true]}\r\n',
        ),
    },
    "purdue": {
        "shutter": ("port", *SC10),
        "detector_stage": (
            "_connection",
            "zaber_motion.ascii.connection.Connection",
            b"/1 1 00 warnings:75\n",
            b"@01 1 00 OK IDLE WR 01 WR\r\n",
        ),
        "temperature": (
            "",
            "tplm_drivers.montana.NewerMontana",  # REST over Python's own http.client
            b"GET /v1/controller/properties/systemState HTTP/1.1\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
        ),
    },
}
"""For each role: where in its driver the library's object is, its class, and an exchange."""
THROUGH_C: dict[tuple[str, str], tuple[str, str, Any]] = {
    ("mit", "card"): ("_library", "TH260_Initialize", ("Initialize", (0, 0))),
    ("lmu", "card"): ("_library", "TH260_Initialize", ("Initialize", (0, 0))),
    ("purdue", "card"): ("_library", "MH_Initialize", ("Initialize", (0, 0, 0))),
    ("purdue", "laser"): ("library", "SEPIA2_USB_OpenDevice", "USB_OpenDevice"),
}
"""PicoQuant's libraries are closed: a client of ours calls the same C functions, simulated."""


def exchanged(served: Served, question: bytes, answer: bytes) -> bool:
    """Whether bytes that begin like these followed each other on a wire."""
    logs = [server.log for server in served.servers] or [served.library.log]
    return any(
        (way, back) == ("<", ">") and asked.startswith(question) and said.startswith(answer)
        for log in logs
        for (way, asked), (back, said) in pairwise(log)
    )


@pytest.mark.parametrize("profile", OVER_A_WIRE)
def test_every_role_by_the_library_itself(
    program: Program, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    openers: list[Opener] = []
    seen: dict[str, str] = {}

    def opener(*arguments: Any, **more: Any) -> Opener:
        openers.append(Opener(*arguments, **more))
        return openers[0]

    def look_and_let_go(opened: dict[Any, Any]) -> Any:
        for role, (path, *_) in OVER_A_WIRE[profile].items():
            seen[role] = vendor(opened[role], path)
        for (name, role), (path, function, _) in THROUGH_C.items():
            if name == profile:
                library = openers[0].bench.served[role].library
                assert isinstance(getattr(library, function), ctypes._CFuncPtr)
                client = getattr(opened[role], path)
                seen[role] = type(client).__module__
        return let_go(opened)

    monkeypatch.setattr("tplm_daq.cli.devices.Opener", opener)
    monkeypatch.setattr("tplm_daq.cli.devices.let_go", look_and_let_go)
    answer = program("devices", "--profile", profile, "--simulated")
    assert program.code == 0
    assert answer["laser_safe"] is True
    rows = {row["role"]: row for row in answer["devices"]}
    bench = openers[0].bench
    through_c = {role: entry for (name, role), entry in THROUGH_C.items() if name == profile}
    assert set(rows) == set(openers[0].roles) == set(OVER_A_WIRE[profile]) | set(through_c)
    for role, row in rows.items():
        assert row["error"] is None
        assert row["model"]
        assert row["state"]
        assert row["round_trip_ms"] < 1000
        assert row["checked_against"] == "simulator only"
        if role in through_c:
            assert seen[role].startswith("tplm_drivers.")
            assert through_c[role][2] in bench.served[role].library.calls
        else:
            _, library, question, reply = OVER_A_WIRE[profile][role]
            assert seen[role] == library
            assert exchanged(bench.served[role], question, reply), role


# So little light that pile-up, which makes D come out too large, stays far below 1 %.
SCANS = {
    "mit": ["positions=15", "excitation.power_nw=1"],
    "lmu": ["positions=21", "excitation.power_nw=1", "background=none"],
    "purdue": ["positions=21", "excitation={}", "profile:laser.driver.intensity_fraction=0.1"],
}


def deviation(program: Program, profile: str, seed: int, out: Path, *more: str) -> float:
    """By how many standard errors the D of a quick scan misses the one built into the film."""
    answer = program(
        *scan_arguments(
            profile,
            out,
            "passes=2",
            "dwell_s=2",
            "half_range_um=1.5",
            f"profile:simulation.seed={seed}",
            f"profile:simulation.sample.d_cm2_per_s={TRUE_D_CM2_PER_S}",
            "profile:simulation.speed=60",
            *SCANS[profile],
            *more,
        )
    )
    assert program.code == 0, program.err
    assert answer["ending"] == "completed"
    assert answer["visits_stored"] == answer["visits_planned"]
    assert answer["laser_off"] is True
    assert program.dark
    scan = read_scan(out)
    assert set(scan.header.identities) == set(program.bench.served)
    fit = answer["fit"]
    assert "pile-up" not in [warning["code"] for warning in fit["warnings"]]
    d, error = fit["d_cm2_per_s"], fit["d_stderr_cm2_per_s"]
    assert error < 0.05 * d
    return float((d - TRUE_D_CM2_PER_S) / error)


@pytest.mark.parametrize("profile", SCANS)
def test_a_scan_finds_the_diffusivity(tmp_path: Path, program: Program, profile: str) -> None:
    # The clock runs by itself, so that a seed does not fix the counts: 3.5 is exceeded by chance
    # once in 2000 runs, 2 would be once in 20. The long test holds the spread against 2.
    assert abs(deviation(program, profile, 1, tmp_path / "a.h5")) < 3.5


# Slower, because a stage that flies is asked where it is, and a busy computer asks late.
T3 = [
    'card.mode="t3"',
    'card.raw="scan"',
    'fly.cut="time"',
    "dwell_s=4",
    "profile:simulation.speed=30",
]


@pytest.mark.full
@pytest.mark.parametrize("profile", ["purdue", "mit", "lmu"])
def test_photons_counted_in_flight_find_it_too(
    tmp_path: Path, program: Program, profile: str
) -> None:
    assert abs(deviation(program, profile, 2, tmp_path / "a.h5", *T3)) < 3.5
    kept, scan = read_ptu(tmp_path / "a.ptu"), read_scan(tmp_path / "a.h5")
    assert kept.markers == len(list(legs(scan.plan, scan.plan.visits()))) - 1
    assert kept.photons > scan.position_counts.sum() > 0.9 * kept.photons


@pytest.mark.full
@pytest.mark.parametrize("profile", SCANS)
def test_scans_miss_the_diffusivity_by_no_more_than_chance(
    tmp_path: Path, program: Program, profile: str
) -> None:
    found = [
        deviation(program, profile, seed, tmp_path / f"{seed}.h5", "passes=4")
        for seed in (11, 12, 13)
    ]
    with program.capsys.disabled():
        print(f"\n{profile}: D misses by {', '.join(f'{z:+.2f}' for z in found)} standard errors")
    assert max(map(abs, found)) < 3.5
    assert sorted(map(abs, found))[1] < 2


SERIES: dict[str, dict[str, Any]] = {
    "mit": {"scan": {"positions": 15}, "axis": {"power_nw": [1.0, 0.7]}},
    "lmu": {"scan": {"positions": 21, "background": None}, "axis": {"power_nw": [1.0, 0.7]}},
    "purdue": {"scan": {"positions": 21}, "axis": {}},  # no wheel, no meter
}


@pytest.mark.full
@pytest.mark.parametrize("profile", SERIES)
def test_a_series_sets_temperature_and_power(
    tmp_path: Path, program: Program, profile: str
) -> None:
    set_points_k = [294.0, 292.0]
    scan = {
        "kind": "line", "passes": 2, "dwell_s": 2.0, "half_range_um": 1.5,
        "temperature": {"set_point_k": 294.0, "band_k": 0.5, "time_s": 5.0},
        **SERIES[profile]["scan"],
    }  # fmt: skip
    axis = {"temperature_k": set_points_k, **SERIES[profile]["axis"]}
    plan = SeriesPlan.model_validate({"kind": "series", "scan": scan, "axes": [axis]})
    file, folder = tmp_path / "plan.toml", tmp_path / "series"
    file.write_text(to_toml(plan), encoding="utf-8")
    changes = [
        "simulation.seed=3", f"simulation.sample.d_cm2_per_s={TRUE_D_CM2_PER_S}",
        *(["laser.driver.intensity_fraction=0.1"] if profile == "purdue" else []),
    ]  # fmt: skip
    answer = program(
        "sweep", str(file), "--profile", profile, "--simulated", "--out", str(folder),
        *(word for change in changes for word in ("--set-profile", change)),
    )  # fmt: skip
    assert program.code == 0, program.err
    assert answer["points_done"] == 2
    assert answer["laser_off"] is True
    for index, point in enumerate(answer["points"]):
        found = read_scan(folder / point["file"])
        assert found.complete
        assert set(found.columns) >= {"temperature_k", "power_nw"}
        assert found.columns["temperature_k"] == pytest.approx(set_points_k[index], abs=0.5)
        if "power_nw" in axis:
            assert found.columns["power_nw"] == pytest.approx(axis["power_nw"][index], rel=0.1)
        d, error = (point["result"][f"d{words}_cm2_per_s"] for words in ("", "_stderr"))
        assert error < 0.1 * d
        assert abs(d - TRUE_D_CM2_PER_S) < 4 * error
