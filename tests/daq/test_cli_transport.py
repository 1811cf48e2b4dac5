"""tplm simulate bright-dark and tplm simulate quantum."""

import json

import numpy as np
import pytest

from tplm_daq.cli import transport
from tplm_daq.cli.main import main

BRIGHT_DARK = ["simulate", "bright-dark", "--gamma-fret", "0.12", "--seed", "3"]
QUANTUM = ["simulate", "quantum", "--sites", "24", "--realisations", "3", "--t-max", "4"]


def answered(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "msd_sites2", "t_max_ns"),
    [
        (["--gamma-db", "0"], {20: 8.15, 80: 1.52}, 0.425),
        (["--gamma-db", "0.02", "--bright-fraction", "0.5"], {40: 5.85, 160: 12.2}, None),
        (["--trap-rate", "0.01"], {40: 24.8, 80: 47.8}, 3.025),
    ],
)
def test_bright_dark_check_points(capsys, arguments, msd_sites2, t_max_ns):
    found = answered(capsys, *BRIGHT_DARK, *arguments, "--repeats", "2000")
    assert found["t_max_ns"] == t_max_ns
    for step, expected in msd_sites2.items():
        assert found["time_ns"][step] == pytest.approx(0.025 * step)
        off = abs(found["msd_sites2"][step] - expected)
        assert off < 3 * found["msd_stderr_sites2"][step] + 0.005 * expected
        assert found["exact_msd_sites2"][step] == pytest.approx(expected, rel=0.004)


def test_bright_dark_temperature(capsys):
    few = ["--repeats", "10"]
    warm = answered(capsys, *BRIGHT_DARK, "--temperature-k", "60", "--edge-nm", "5", *few)
    assert warm["gamma_db"] == pytest.approx(0.45 * np.exp(-15 / (0.08617333 * 60)), rel=1e-6)
    same = answered(capsys, *BRIGHT_DARK, "--temperature-k", "60", "--splitting-mev", "15", *few)
    assert same["msd_sites2"] == warm["msd_sites2"]


def test_bright_dark_in_words(capsys):
    assert main([*BRIGHT_DARK, "--repeats", "10"]) == 0
    out = capsys.readouterr().out
    assert "t_max_ns = 0.425 ns" in out
    assert "(exactly 8.15" in out


def test_quantum(capsys):
    found = answered(capsys, *QUANTUM, "--disorder", "0", "--dephasing", "2", "--seed", "1")
    time = np.array(found["time"])
    assert time[-1] == pytest.approx(4)
    exact = 2 * (time + np.expm1(-2 * time) / 2)
    np.testing.assert_allclose(found["msd"], exact, atol=1e-9)
    np.testing.assert_allclose(found["diffusivity"], -np.expm1(-2 * time), atol=1e-9)
    assert found["d_long_time"] == pytest.approx(1.0)
    assert found["d_long_time_stderr"] == pytest.approx(0, abs=1e-9)
    assert found["window"] == pytest.approx([2.6, 4.0])


def test_quantum_options_reach_the_model(capsys):
    usual = answered(capsys, *QUANTUM)
    for change in (
        ["--geometry", "chain"], ["--start", "gaussian", "--sigma-sites", "2"],
        ["--variant", "published"], ["--method", "trajectories"], ["--seed", "1"],
        ["--disorder", "2"],
    ):  # fmt: skip
        assert answered(capsys, *QUANTUM, *change)["msd"] != usual["msd"], change


def test_quantum_scan(capsys):
    gammas = [word for gamma in ("0.1", "0.5", "10") for word in ("--dephasing", gamma)]
    found = answered(capsys, *QUANTUM, *gammas)
    assert found["dephasing"] == [0.1, 0.5, 10]
    assert 0.1 < found["best_dephasing"] < 10
    assert main([*QUANTUM, *gammas]) == 0
    assert "Γ = 0.5: D = " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*BRIGHT_DARK, "--gamma-fret", "0.9"], "add up to"),
        ([*BRIGHT_DARK, "--temperature-k", "60"], "goes with one of"),
        ([*BRIGHT_DARK, "--edge-nm", "5"], "goes with one of"),
        (
            [*BRIGHT_DARK, "--temperature-k", "60", "--edge-nm", "5", "--gamma-db", "0.1"],
            "only one of '--gamma-db' and '--temperature-k'",
        ),
        (
            [*BRIGHT_DARK, "--temperature-k", "60", "--edge-nm", "5", "--splitting-mev", "1"],
            "only one of '--edge-nm' and '--splitting-mev'",
        ),
        ([*BRIGHT_DARK, "--repeats", "100000000"], "at most 1000000000 are allowed"),
        ([*QUANTUM, "--step", "0.0001", "--t-max", "100"], "at most 100000 are allowed"),
        ([*QUANTUM, "--realisations", "2000000"], "at most 50000000 are allowed"),
        ([*QUANTUM, "--dephasing", "nan"], "nan is not a finite number"),
        ([*QUANTUM, "--dephasing", "2", "--dephasing", "1"], "must rise"),
        ([*QUANTUM, "--variant", "published", "--dephasing", "1", "--dephasing", "2"], "limit"),
    ],
)
def test_what_is_refused(capsys, arguments, message):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_an_interrupt_is_no_failure(capsys, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(transport, "simulate_quantum", interrupted)
    assert main([*QUANTUM, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["exit_code"] == 3
