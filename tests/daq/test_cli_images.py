"""Two-dimensional maps by the command line: rasters and stacks of images."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.daq.scan_files import CARD, write_counts
from tplm_config import LineScan, RasterScan
from tplm_daq.cli import main


def run(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> tuple[str, str]:
    assert main([str(one) for one in arguments]) == code
    out, err = capsys.readouterr()
    return out, err


def oval(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Dx = 0.02, Dy = 0.005 cm²/s."""
    mx, my = np.meshgrid(x, x)
    vx, vy = 0.07 + 0.2 * 0.02 * t, 0.07 + 0.2 * 0.005 * t
    q = mx[..., None] ** 2 / vx + my[..., None] ** 2 / vy
    return np.exp(-0.5 * q - t / 3) / np.sqrt(vx * vy)


@pytest.mark.parametrize("key", ["counts", "signal"])
def test_a_stack_of_images(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, t = np.linspace(-1.5, 1.5, 17), np.arange(0.25, 6, 0.5)
    rng = np.random.default_rng(5)
    made = oval(x, t)
    values = rng.poisson(30 * made + 1) if key == "counts" else rng.normal(made, 0.1)
    np.savez(tmp_path / "a.npz", **{key: values, "x_um": x, "y_um": x, "t_ns": t})
    picture = tmp_path / "a.png"
    out, _ = run(capsys, 0, "analyze", tmp_path / "a.npz", "--two-d", "--report", picture, "--json")
    found = json.loads(out)
    assert abs(found["d_x_cm2_per_s"] - 0.02) < 4 * found["d_x_stderr_cm2_per_s"] < 0.02
    assert abs(found["d_y_cm2_per_s"] - 0.005) < 4 * found["d_y_stderr_cm2_per_s"] < 0.02
    assert found["noise"] == ("poisson" if key == "counts" else "gaussian")
    assert "diffusion" in found["comparison"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_raster_of_noise_has_no_diffusivity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = RasterScan(x_positions=5, y_positions=5, passes=1, card=CARD)
    write_counts(tmp_path / "r.h5", plan, skip=(3,))
    out, _ = run(capsys, 0, "analyze", tmp_path / "r.h5", "--two-d", "--json", "--save")
    found = json.loads(out)
    assert found["d_cm2_per_s"] is None
    assert {one["code"] for one in found["warnings"]} == {"no-signal", "missing-positions"}
    assert found["saved_as"]


def test_what_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_counts(tmp_path / "l.h5", LineScan(positions=5, passes=1, card=CARD))
    np.savez(tmp_path / "n.npz", x_um=np.arange(3.0))
    np.savez(tmp_path / "s.npz", counts=np.ones((3, 3, 2)), x_um=[1, 2], y_um=[1], t_ns=[1, 2])
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 no zip")
    cases = [
        ("l.h5", (), "does not cover an area"),
        ("n.npz", (), "counts and signal"),
        ("s.npz", (), "must be (y, x, time)"),
        ("d.npz", (), "not a readable .npz"),
        ("l.h5", ("--axis", "x"), "--two-d: it goes with"),
        ("l.h5", ("--method", "moment"), "--two-d: it goes with"),
    ]
    for name, more, words in cases:
        _, err = run(capsys, 2, "analyze", tmp_path / name, "--two-d", *more)
        assert words in err
        assert err.count("\n") == 1
