"""tplm excitation and tplm simulate heat."""

import json

import pytest

from tplm_daq.cli.main import main

BASE = ["excitation", "--rep-rate-mhz", "2.5"]
HEAT = ["simulate", "heat", "--rep-rate-mhz", "2.5", "--radius-um", "50"]


def answered(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_excitation(capsys):
    found = answered(capsys, *BASE, "--power-nw", "1")
    assert found["mean_excitons_per_nc"] == pytest.approx(0.0082, rel=0.01)
    back = answered(capsys, *BASE, "--excitons-per-nc", str(found["mean_excitons_per_nc"]))
    assert back["nominal_power_nw"] == pytest.approx(1)
    fluence = answered(capsys, *BASE, "--fluence-uj-per-cm2", str(found["fluence_uj_per_cm2"]))
    assert fluence["nominal_power_nw"] == pytest.approx(1)


@pytest.mark.parametrize(("table", "excitons"), [("S1", 0.163), ("S2", 0.1025)])
def test_tables_side_by_side(capsys, table, excitons):
    found = answered(capsys, "excitation", "--table", table)
    assert found["paper"][-1][-1] == excitons
    assert found["largest_deviation"] < 0.02
    assert main(["excitation", "--table", table]) == 0
    assert str(excitons) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (BASE, "Missing option '--power-nw'"),
        (HEAT, "Missing option '--power-nw'"),
        (["excitation", "--power-nw", "1"], "Missing option '--rep-rate-mhz'"),
        ([*BASE, "--power-nw", "1", "--excitons-per-nc", "0.1"], "only one of"),
        ([*HEAT, "--fluence-uj-per-cm2", "nan"], "nan is not a finite number"),
    ],
)
def test_excitation_must_be_determined(capsys, arguments, message):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_heat(capsys, tmp_path):
    picture = tmp_path / "heat.png"
    found = answered(capsys, *HEAT, "--power-nw", "1", "--out", str(picture))
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert 0.001 < found["pulse_rise_k"] < found["delta_t_max_k"] < 0.01
    assert found["before_pulse_k"] < found["steady_rise_k"] < found["highest_rise_k"]
    assert found["excitation"]["nominal_power_nw"] == 1
    alone = answered(capsys, *HEAT, "--power-nw", "1", "--substrate", "none")
    assert alone["half_ns"] > 10 * found["half_ns"]


def test_heat_says_it_in_words(capsys):
    assert main([*HEAT, "--excitons-per-nc", "0.01", "--substrate", "none"]) == 0
    text = capsys.readouterr().out
    assert "ΔT_max" in text
    assert "when the next comes" in text
