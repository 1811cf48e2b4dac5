"""`tplm decay`: lifetimes of the light of all positions."""

import json

import numpy as np
import pytest
from scipy.special import ndtr

from tplm_daq.cli import main

EDGES = np.arange(801) * 0.025
T_NS = 0.5 * (EDGES[1:] + EDGES[:-1])
DELAY_NS, SIGMA_NS = 2.0, 0.034


@pytest.fixture
def files(tmp_path):
    """A map of a decay of 2.3 ns and a response."""
    grid = np.linspace(-4, 4, 33) * SIGMA_NS
    since = np.maximum(EDGES - DELAY_NS - grid[:, None], 0)
    weight = np.exp(-0.5 * (grid / SIGMA_NS) ** 2)
    light = np.diff(weight @ (1 - np.exp(-since / 2.3)) / weight.sum())
    counts = np.random.default_rng(1).poisson(np.outer([1e4, 3e4, 1e4], light) + 0.1)
    np.savez(tmp_path / "map.npz", counts=counts, x_um=[-1.0, 0.0, 1.0], t_ns=T_NS)
    flash = 1e7 * np.diff(ndtr((EDGES - DELAY_NS) / SIGMA_NS))
    np.savez(tmp_path / "irf.npz", counts=flash, t_ns=T_NS)
    return str(tmp_path / "map.npz"), str(tmp_path / "irf.npz")


def told(capsys):
    return json.loads(capsys.readouterr().out)


def test_one_model(files, capsys):
    film, irf = files
    assert main(["decay", film, "--irf", irf, "--model", "exponential", "--json"]) == 0
    found = told(capsys)
    assert found["model"] == "exponential"
    (lifetime,), (stderr,) = found["lifetime_ns"], found["lifetime_stderr_ns"]
    assert abs(lifetime - 2.3) < 4 * stderr < 0.1
    assert abs(found["lifetime_1e_ns"] - 2.3) < 4 * found["lifetime_1e_stderr_ns"]


def test_all_models_in_words(files, capsys):
    film, irf = files
    assert main(["decay", film, "--irf", irf, "--period-ns", "25"]) == 0
    out = capsys.readouterr().out
    assert "The counts warrant the model exponential" in out
    assert "1/e after 2." in out


def test_windows_and_shift(files, capsys):
    film, irf = files
    assert main(["decay", film, "--model", "windows", "--json"]) == 0
    found = told(capsys)
    assert found["prompt_ns"] == [0.0, 3.0]
    assert abs(found["lifetime_ns"] - 2.3) < 4 * found["lifetime_stderr_ns"]
    arguments = ["decay", film, "--irf", irf, "--model", "exponential", "--fit-shift", "--json"]
    assert main(arguments) == 0
    found = told(capsys)
    assert abs(found["shift_ns"]) < 4 * found["shift_stderr_ns"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fit-shift", "--shift-ns", "0.1"], "already says what it is"),
        (["--fit-shift"], "needs an instrument response"),
        (["--period-ns", "10"], "longer than the period"),
        (["--model", "four"], "four"),
    ],
)
def test_refused(files, capsys, options, words):
    assert main(["decay", files[0], *options, "--json"]) == 2
    streams = capsys.readouterr()
    assert words in streams.err
    assert json.loads(streams.out)["exit_code"] == 2
